/* The daemon: ties engine, real world, journal, socket and signals to one libuv loop. It must never block the
 * loop, and never touch an instance because it ends. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../loop/report.h"
#include "api.h"
#include "daemon.h"
#include "history.h"
#include "log.h"
#include "notify.h"
#include "offline.h"
#include "realworld.h"

#define LAST_CALLS   (3 * AS_SECOND) /* what is under way may finish so long at the end */
#define HISTORY_MOST 5000

struct daemon {
    uv_loop_t loop;
    const char *path;
    const struct as_registry *registry;
    struct cfg_hold *hold;
    struct journal *journal, *past; /* past: of a dry run */
    struct realworld *world;
    struct engine *engine;
    struct api *api;
    uv_signal_t term, intr, hup;
    uv_timer_t watchdog;
    bool dry_run, checked, stopping;
    int status;
};

/* --- reload ---------------------------------------------------------------------------------------------- */

static void log_problems(const struct cfg_problems *problems)
{
    char line[700];
    for (size_t k = 0; k < problems->count; k++) {
        config_problem_text(&problems->items[k], line, sizeof line);
        if (problems->items[k].warning)
            log_warning("config", "%s", line);
        else
            log_error("config", "%s", line);
    }
}

static void put_problems(cJSON *list, const struct cfg_problems *problems)
{
    char line[700];
    for (size_t k = 0; k < problems->count; k++)
        cJSON_AddItemToArray(list,
                             cJSON_CreateString(config_problem_text(&problems->items[k], line, sizeof line)));
}

/* The log has every problem; history tells that there was an attempt, and the first of what was wrong. */
static void refused(struct daemon *d, const char *why)
{
    log_error("reload", "nothing was changed: %s", why);
    engine_event(d->engine, "", "", "reload", "refused, nothing was changed: %s", why);
}

static int swap_in(struct daemon *d, struct cfg *cfg, cJSON *answer)
{
    struct as_error err = { 0 };
    struct cfg_diff diff = { 0 };
    struct cfg_hold *hold = cfg_hold_new(cfg);
    if (!hold) {
        config_free(cfg);
        return AS_ENOMEM;
    }
    int rc = engine_reload(d->engine, hold, &diff, &err);
    if (rc != AS_OK) {
        refused(d, err.msg);
        cJSON_AddStringToObject(answer, "error", err.msg);
    } else {
        cJSON *changes = cJSON_AddArrayToObject(answer, "changes");
        enum log_level level;
        if (log_parse_level(cfg_of(hold)->log_level, &level) == 0)
            log_set_level(level);
        for (size_t k = 0; k < diff.count; k++) {
            log_info("reload", "%s", diff.lines[k]);
            engine_event(d->engine, "", "", "reload", "%s", diff.lines[k]);
            cJSON_AddItemToArray(changes, cJSON_CreateString(diff.lines[k]));
        }
        log_info("reload",
                 diff.count == 0   ? "done: nothing is different"
                 : diff.count == 1 ? "done: %zu change"
                                   : "done: %zu changes",
                 diff.count);
        cfg_hold_put(d->hold);
        d->hold = cfg_hold_get(hold);
    }
    config_diff_fini(&diff);
    cfg_hold_put(hold);
    return rc;
}

static int reload(struct daemon *d, cJSON *answer)
{
    struct cfg_problems problems = { 0 };
    struct cfg *cfg = NULL;
    char line[700];
    notify_reloading();
    int rc = config_load(d->path, d->registry, &cfg, &problems);
    log_problems(&problems);
    put_problems(cJSON_AddArrayToObject(answer, "problems"), &problems);
    if (rc == AS_OK)
        rc = swap_in(d, cfg, answer);
    else
        refused(d, problems.count ? config_problem_text(&problems.items[0], line, sizeof line)
                                  : "out of memory");
    config_problems_fini(&problems);
    cJSON_AddBoolToObject(answer, "ok", rc == AS_OK);
    notify_ready();
    realworld_wake(d->world);
    return rc;
}

/* --- the socket ------------------------------------------------------------------------------------------- */

static void reply_json(struct api_reply *reply, int status, cJSON *o)
{
    reply->body = o ? cJSON_PrintUnformatted(o) : NULL;
    reply->status = reply->body ? status : 500;
    cJSON_Delete(o);
}

static void reply_error(struct api_reply *reply, int status, const char *text)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "error", text);
    reply_json(reply, status, o);
}

static int64_t query_number(const struct api_request *rq, const char *key, int64_t fallback)
{
    const char *text = api_query(rq, key);
    char *end = NULL;
    long long v = text ? strtoll(text, &end, 10) : 0;
    return text && *text && *end == '\0' ? v : fallback;
}

static void no_such_group(const struct daemon *d, const char *name, struct api_reply *reply)
{
    char text[400];
    size_t used = (size_t)snprintf(text, sizeof text, "there is no group '%.60s' (there are:", name);
    for (const struct group *g = d->engine->groups; g; g = g->next)
        if (!g->retired && used < sizeof text - AS_NAME_MAX - 8)
            used += (size_t)snprintf(text + used, sizeof text - used, " %s", g->cfg->name);
    snprintf(text + used, sizeof text - used, ")");
    reply_error(reply, 404, text);
}

static void answer_explain(struct daemon *d, const struct api_request *rq, struct api_reply *reply)
{
    const char *name = api_query(rq, "group");
    struct group *g = name ? engine_group(d->engine, name) : NULL;
    int64_t at = query_number(rq, "at", 0);
    struct as_error err = { 0 };
    if (!g && !at) { /* one that is no more has its past in the journal */
        no_such_group(d, name ? name : "", reply);
        return;
    }
    cJSON *o =
        at ? history_decision(d->journal, name, at, d->engine->cfg->interval, &err) : report_decision(g);
    if (!o) {
        reply_error(reply, 404, err.msg);
        return;
    }
    if (!at) {
        cJSON_AddStringToObject(o, "blocked", g->blocked);
        cJSON_AddStringToObject(o, "doubt", g->doubt_since ? g->doubt : "");
    }
    reply_json(reply, 200, o);
}

static void answer_history(struct daemon *d, const struct api_request *rq, struct api_reply *reply)
{
    struct as_error err = { 0 };
    int64_t limit = query_number(rq, "limit", 50);
    const char *group = api_query(rq, "group");
    limit = limit < 1 ? 1 : limit > HISTORY_MOST ? HISTORY_MOST : limit;
    cJSON *o = history_json(d->journal, group && *group ? group : NULL, query_number(rq, "since", 0),
                            (int)limit, &err);
    if (o)
        reply_json(reply, 200, o);
    else
        reply_error(reply, 500, err.msg);
}

static void answer_reload(struct daemon *d, struct api_reply *reply)
{
    cJSON *o = cJSON_CreateObject();
    int rc = reload(d, o);
    reply_json(reply, rc == AS_OK ? 200 : 422, o);
}

static void on_request(void *arg, const char *method, const char *path, const struct api_request *rq,
                       struct api_reply *reply)
{
    struct daemon *d = arg;
    bool get = strcmp(method, "GET") == 0;
    if (strcmp(path, "/reload") == 0 && strcmp(method, "POST") == 0)
        answer_reload(d, reply);
    else if (!get)
        reply_error(reply, 405, "only GET, and POST /reload");
    else if (strcmp(path, "/status") == 0)
        reply_json(reply, 200, report_status(d->engine));
    else if (strcmp(path, "/explain") == 0)
        answer_explain(d, rq, reply);
    else if (strcmp(path, "/history") == 0)
        answer_history(d, rq, reply);
    else
        reply_error(reply, 404, "there are /status, /explain, /history and POST /reload");
}

/* --- signals, watchdog, the first look -------------------------------------------------------------------- */

static void stop(struct daemon *d, int status)
{
    if (d->stopping)
        return;
    d->stopping = true;
    d->status = status;
    notify_stopping();
    uv_stop(&d->loop);
}

static void on_term(uv_signal_t *s, int signum)
{
    struct daemon *d = s->data;
    if (d->stopping)
        _exit(128 + signum);
    log_info("daemon", "%s: stopping; instances are left serving", signum == SIGTERM ? "SIGTERM" : "SIGINT");
    engine_event(d->engine, "", "", "stop", "%s; instances are left serving",
                 signum == SIGTERM ? "SIGTERM" : "SIGINT");
    signal(SIGTERM, SIG_DFL); /* the loop ends now: a second one stops at once, whichever of the two */
    signal(SIGINT, SIG_DFL);
    stop(d, 0);
}

static void on_hup(uv_signal_t *s, int signum)
{
    (void)signum;
    cJSON *answer = cJSON_CreateObject();
    reload(s->data, answer);
    cJSON_Delete(answer);
}

static void on_watchdog(uv_timer_t *t)
{
    struct daemon *d = t->data;
    if (as_clock_monotonic() - d->engine->now < 5 * d->engine->cfg->interval + 5 * AS_SECOND)
        notify_watchdog();
}

/* A balancer that cannot be driven as it is configured is refused at the start, before anything is made. */
static void on_turn(void *arg)
{
    struct daemon *d = arg;
    if (d->checked || !engine_balancers_asked(d->engine))
        return;
    d->checked = true;
    for (const struct group *g = d->engine->groups; g; g = g->next) {
        const struct pool *p = group_refused(g);
        if (!p || p->err.rc != AS_EINVAL)
            continue;
        log_error(g->cfg->name, "balancer %s cannot be driven: %s", p->name, p->err.msg);
        stop(d, 1);
    }
    if (!d->stopping)
        engine_release(d->engine);
}

static int listen_signals(struct daemon *d)
{
    struct {
        uv_signal_t *handle;
        int signum;
        uv_signal_cb cb;
    } all[] = { { &d->term, SIGTERM, on_term }, { &d->intr, SIGINT, on_term }, { &d->hup, SIGHUP, on_hup } };
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        uv_signal_init(&d->loop, all[k].handle);
        all[k].handle->data = d;
        if (uv_signal_start(all[k].handle, all[k].cb, all[k].signum) != 0)
            return AS_EIO;
    }
    uv_timer_init(&d->loop, &d->watchdog);
    d->watchdog.data = d;
    as_time every = notify_watchdog_interval();
    if (every > 0)
        uv_timer_start(&d->watchdog, on_watchdog, (uint64_t)every, (uint64_t)every);
    return AS_OK;
}

/* --- life -------------------------------------------------------------------------------------------------- */

static int load(struct daemon *d)
{
    struct cfg_problems problems = { 0 };
    struct cfg *cfg = NULL;
    int rc = config_load(d->path, d->registry, &cfg, &problems);
    log_problems(&problems);
    config_problems_fini(&problems);
    if (rc != AS_OK) {
        log_error("daemon", "not started: the configuration has errors (autoscale check -c %s)", d->path);
        return rc;
    }
    enum log_level level;
    if (log_parse_level(cfg->log_level, &level) == 0)
        log_set_level(level);
    d->hold = cfg_hold_new(cfg);
    if (!d->hold)
        config_free(cfg);
    return d->hold ? AS_OK : AS_ENOMEM;
}

static int start(struct daemon *d, struct as_error *err)
{
    const struct cfg *cfg = cfg_of(d->hold);
    int rc = d->dry_run ? offline_journal(cfg, &d->journal, &d->past, err)
                        : journal_open(cfg->state, cfg->name, JOURNAL_WRITE, &d->journal, err);
    if (rc == AS_OK)
        rc = realworld_new(&d->loop, !d->dry_run, &d->world, err);
    struct world world = rc == AS_OK ? *realworld_world(d->world) : (struct world){ 0 };
    world.past = d->past;
    if (rc == AS_OK)
        rc = engine_new(&world, d->hold, d->journal, as_clock_monotonic(), as_clock_wall(), &d->engine, err);
    if (rc == AS_OK && !d->dry_run)
        rc = api_new(&d->loop, cfg->socket, on_request, d, &d->api, err);
    if (rc == AS_OK && listen_signals(d) != AS_OK)
        rc = as_fail(err, AS_EIO, "signals cannot be caught");
    return rc;
}

static void run_loop(struct daemon *d)
{
    const struct cfg *cfg = cfg_of(d->hold);
    char status[120];
    log_info("daemon", "autoscale %s started%s: controller=%s groups=%zu sources=%zu interval=%lldms",
             AUTOSCALE_VERSION, d->dry_run ? " (dry run: it will not act)" : "", cfg->name, cfg->group_count,
             cfg->source_count, (long long)cfg->interval);
    engine_event(d->engine, "", "", "start", "autoscale %s started", AUTOSCALE_VERSION);
    snprintf(status, sizeof status, "%zu groups, %zu sources", cfg->group_count, cfg->source_count);
    notify_status(status);
    notify_ready();
    d->engine->held = true;
    realworld_start(d->world, d->engine, on_turn, d);
    uv_run(&d->loop, UV_RUN_DEFAULT);
}

static void close_handle(uv_handle_t *h, void *arg)
{
    (void)arg;
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

static void end(struct daemon *d)
{
    if (d->api)
        api_free(d->api);
    if (d->engine)
        engine_commit(d->engine);
    engine_free(d->engine);
    realworld_free(d->world, as_clock_monotonic() + LAST_CALLS);
    journal_close(d->journal);
    journal_close(d->past);
    uv_walk(&d->loop, close_handle, NULL);
    uv_run(&d->loop, UV_RUN_DEFAULT);
    uv_loop_close(&d->loop);
    cfg_hold_put(d->hold);
}

int daemon_run(const char *config_path, const struct as_registry *registry, bool dry_run)
{
    struct daemon d = { .path = config_path, .registry = registry, .dry_run = dry_run };
    struct as_error err = { 0 };
    signal(SIGPIPE, SIG_IGN);
    if (load(&d) != AS_OK)
        return 1;
    uv_loop_init(&d.loop);
    int rc = start(&d, &err);
    if (rc == AS_OK) {
        run_loop(&d);
    } else {
        log_error("daemon", "not started: %s", err.msg);
        d.status = 1;
    }
    end(&d);
    if (rc == AS_OK)
        log_info("daemon", "stopped");
    return d.status;
}
