/* autoscale plan: observes the real platform, decides once and says what would be done. It holds no writer. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "../loop/report.h"
#include "../runtime/log.h"
#include "../runtime/offline.h"
#include "../runtime/realworld.h"
#include "ask.h"
#include "commands.h"
#include "tables.h"

static const char usage[] =
    "usage: autoscale plan [-c FILE] [--json]\n"
    "\n"
    "Observes the real platform, decides once and prints what would change and why. It cannot act: it holds\n"
    "nothing that writes. It may run beside the daemon.\n"
    "\n"
    "  -c, --config FILE  configuration (default " COMMANDS_CONFIG_FILE ")\n"
    "      --json         complete, for programs\n"
    "  -h, --help         this text\n"
    "\n"
    "Exit status: 0 nothing to do, 2 changes planned, 1 error (something could not be observed).\n";

#define LOOK_MOST (15 * AS_SECOND) /* a hung peer is reported, not waited for */

struct planning {
    uv_loop_t loop;
    struct cfg_hold *hold;
    struct journal *journal, *past;
    struct realworld *world;
    struct engine *engine;
    as_time began;
    uint64_t seen_ticks; /* of the turn in which everything had been observed */
    bool json;
};

/* A rate needs two looks: is there a series without a value whose source has been asked only once, and will be
 * asked again in time? */
static bool one_look_missing(const struct planning *p, const struct source *s)
{
    bool never = false;
    for (size_t k = 0; k < s->binding_count; k++)
        never =
            never || as_series_read(s->bindings[k]->series, p->engine->now, AS_LAST, 0, 0).fresh == AS_NEVER;
    if (!never || source_idle(s))
        return false;
    for (size_t k = 0; k < s->feed_count; k++) {
        const struct feed *f = &s->feeds[k];
        bool soon = f->busy || s->next_poll < p->began + LOOK_MOST;
        if (!f->failing_since && f->polls < 2 && soon)
            return true;
    }
    return false;
}

static bool told(const struct planning *p)
{
    if (!engine_observed(p->engine))
        return false;
    for (const struct source *s = p->engine->sources; s; s = s->next)
        if (one_look_missing(p, s))
            return false;
    return true;
}

static bool decided(const struct planning *p)
{
    for (const struct group *g = p->engine->groups; g; g = g->next)
        if (g->decide_at)
            return false;
    return p->engine->ticks > p->seen_ticks;
}

/* Everything answered or failed, and a decision was made with it. */
static void on_turn(void *arg)
{
    struct planning *p = arg;
    bool late = as_clock_monotonic() - p->began > LOOK_MOST;
    if (!late && !p->seen_ticks && !told(p))
        return;
    if (!p->seen_ticks) {
        p->seen_ticks = p->engine->ticks;
        engine_release(p->engine); /* the next tick is due now, however long the interval */
    }
    if (late || decided(p))
        uv_stop(&p->loop);
}

static int observe(struct planning *p, struct as_error *err)
{
    const struct cfg *c = cfg_of(p->hold);
    int rc = offline_journal(c, &p->journal, &p->past, err);
    if (rc == AS_OK)
        rc = realworld_new(&p->loop, false, &p->world, err);
    p->began = as_clock_monotonic();
    struct world world = rc == AS_OK ? *realworld_world(p->world) : (struct world){ 0 };
    world.past = p->past;
    if (rc == AS_OK)
        rc = engine_new(&world, p->hold, p->journal, p->began, as_clock_wall(), &p->engine, err);
    if (rc != AS_OK)
        return rc;
    realworld_start(p->world, p->engine, on_turn, p);
    uv_run(&p->loop, UV_RUN_DEFAULT);
    return AS_OK;
}

/* --- printing --------------------------------------------------------------------------------------------- */

static int unreachable_source(const struct source *s, cJSON *out)
{
    int n = 0;
    char text[600];
    for (size_t k = 0; k < s->feed_count; k++) {
        const struct feed *f = &s->feeds[k];
        if (!f->failing_since && (f->polls > 0 || source_idle(s)))
            continue;
        snprintf(text, sizeof text, "source %s%s%s: %s", s->cfg->name, *f->endpoint ? " " : "", f->endpoint,
                 f->polls ? f->err.msg : "no answer yet");
        cJSON_AddItemToArray(out, cJSON_CreateString(text));
        n++;
    }
    return n;
}

static int unreachable_group(const struct group *g, cJSON *out)
{
    int n = 0;
    char text[600];
    for (size_t k = 0; k < g->host_count; k++)
        if (g->hosts[k].failing_since || g->hosts[k].tries == 0) {
            snprintf(text, sizeof text, "group %s, host %s: %s", g->cfg->name, g->hosts[k].name,
                     g->hosts[k].tries ? g->hosts[k].err.msg : "no answer yet");
            cJSON_AddItemToArray(out, cJSON_CreateString(text));
            n++;
        }
    for (size_t k = 0; k < g->pool_count; k++)
        if (g->pools[k].failing_since || (g->pools[k].tries == 0 && pool_in_use(&g->pools[k]))) {
            snprintf(text, sizeof text, "group %s, balancer %s: %s", g->cfg->name, g->pools[k].name,
                     g->pools[k].tries ? g->pools[k].err.msg : "no answer yet");
            cJSON_AddItemToArray(out, cJSON_CreateString(text));
            n++;
        }
    return n;
}

static void print_steps(const cJSON *g)
{
    const cJSON *steps = cJSON_GetObjectItemCaseSensitive(g, "steps"), *s;
    int n = 0;
    printf("  steps\n");
    cJSON_ArrayForEach(s, steps)
    {
        const char *where = *answer_str(s, "host") ? answer_str(s, "host") : answer_str(s, "balancer");
        printf("    %2d. %-8s %s%s%s  (%s)\n", ++n, answer_str(s, "step"),
               *answer_str(s, "instance") ? answer_str(s, "instance") : "a new instance",
               *where ? " at " : "", where, answer_str(s, "why"));
    }
    if (n == 0)
        printf("    none\n");
}

/* The plan of each group for the number just decided. Returns how many steps. */
static int plan_groups(struct planning *p, cJSON *out)
{
    int steps = 0;
    for (struct group *g = p->engine->groups; g; g = g->next) {
        struct plan plan = { 0 };
        if (g->decision.at)
            g->desired = g->decision.desired;
        plan_group(g, p->engine->now, &plan);
        cJSON_AddItemToArray(out, report_plan(g, &plan));
        steps += (int)plan.count;
        plan_fini(&plan);
    }
    return steps;
}

static int show(struct planning *p)
{
    cJSON *all = cJSON_CreateObject();
    cJSON *groups = cJSON_AddArrayToObject(all, "groups"),
          *missing = cJSON_AddArrayToObject(all, "unreachable");
    int bad = 0, steps = plan_groups(p, groups);
    for (const struct source *s = p->engine->sources; s; s = s->next)
        bad += unreachable_source(s, missing);
    for (const struct group *g = p->engine->groups; g; g = g->next)
        bad += unreachable_group(g, missing);
    cJSON_AddNumberToObject(all, "changes", steps);
    int status = bad ? 1 : steps ? 2 : 0;
    if (p->json)
        return tables_print_json(all) ? 1 : status;
    const cJSON *x;
    cJSON_ArrayForEach(x, groups)
    {
        if (*answer_str(x, "time"))
            print_decision(stdout, x);
        else
            printf("group %s: no decision: not everything could be observed\n", answer_str(x, "group"));
        print_steps(x);
    }
    cJSON_ArrayForEach(x, missing)
        fprintf(stderr, "autoscale plan: unreachable: %s\n", cJSON_GetStringValue(x));
    printf("%s\n", steps && bad ? "Changes are planned, without knowing everything; nothing was done."
                   : steps      ? "Changes are planned; nothing was done."
                   : bad        ? "Nothing is planned; not everything could be observed."
                                : "Nothing to do.");
    cJSON_Delete(all);
    return status;
}

/* --- life -------------------------------------------------------------------------------------------------- */

static void close_handle(uv_handle_t *h, void *arg)
{
    (void)arg;
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

static int plan(struct planning *p, const char *path)
{
    struct cfg *c = NULL;
    struct cfg_problems problems = { 0 };
    struct as_error err = { 0 };
    char text[700];
    int rc = config_load(path, &tables_registry, &c, &problems);
    for (size_t k = 0; k < problems.count; k++)
        if (rc != AS_OK)
            fprintf(stderr, "%s\n", config_problem_text(&problems.items[k], text, sizeof text));
    config_problems_fini(&problems);
    if (rc != AS_OK || !(p->hold = cfg_hold_new(c)))
        return 1;
    uv_loop_init(&p->loop);
    rc = observe(p, &err);
    if (rc != AS_OK)
        fprintf(stderr, "autoscale plan: %s\n", err.msg);
    int status = rc == AS_OK ? show(p) : 1;
    engine_free(p->engine);
    realworld_free(p->world, as_clock_monotonic() + AS_SECOND);
    journal_close(p->journal);
    journal_close(p->past);
    uv_walk(&p->loop, close_handle, NULL);
    uv_run(&p->loop, UV_RUN_DEFAULT);
    uv_loop_close(&p->loop);
    cfg_hold_put(p->hold);
    return status;
}

int command_plan(int argc, char **argv)
{
    static const struct option options[] = {
        { "config", required_argument, NULL, 'c' },
        { "json", no_argument, NULL, 'j' },
        { "help", no_argument, NULL, 'h' },
        { 0 },
    };
    struct planning p = { 0 };
    const char *path = COMMANDS_CONFIG_FILE;
    int opt;
    optind = 1;
    while ((opt = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        switch (opt) {
        case 'c': path = optarg; break;
        case 'j': p.json = true; break;
        case 'h': fputs(usage, stdout); return 0;
        default: return usage_hint("plan");
        }
    }
    if (optind < argc)
        return usage_wrong("plan", "'%s' is too much: the file is named with -c", argv[optind]);
    log_set_level(LOG_LEVEL_ERROR); /* what cannot be reached is said once, at the end */
    return plan(&p, path);
}
