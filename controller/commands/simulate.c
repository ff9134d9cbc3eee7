/* autoscale simulate: replays a recorded load through the daemon's own decisions under a virtual clock, for one
 * policy or for several in the same world. Touches nothing real. */
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../config/units.h"
#include "../runtime/log.h"
#include "../sim/svg.h"
#include "ask.h"
#include "commands.h"
#include "simulate.h"
#include "tables.h"

static const char usage[] =
    "usage: autoscale simulate --trace CSV [--compare SPEC,SPEC… | --policy SPEC | -c FILE [-g GROUP]] "
    "[OPTIONS]\n"
    "\n"
    "Replays a recorded load (lines of time,rate) through the daemon's own decisions, plans and "
    "lifecycle\n"
    "in a simulated world. A SPEC is a policy type with options: auto, \"hpa:target=70%\",\n"
    "\"target:per_instance=70+window=30s\". Where it does not say, per_instance is --capacity: a policy "
    "that\n"
    "keeps no headroom of its own then fills every instance to the brim.\n"
    "\n"
    " what is simulated\n"
    "      --trace CSV          the load; times in seconds or like 2026-11-27T20:00:00Z\n"
    "      --from TIME --for TIME  only this part of it, counted from its first sample; what lies before is "
    "the\n"
    "                           past that policies which learn have in their journal (--cold: they have "
    "none)\n"
    "      --speed N            trace seconds per second (default 1; 12 replays an hour in five minutes)\n"
    "      --load KIND          between samples: straight, held or poisson (default straight)\n"
    "      --units N            scale the load so that its peak needs N instances (default 20, with -c as\n"
    "                           recorded; 0: as recorded)\n"
    "      --capacity RPS       requests a second one instance carries at most (default 100)\n"
    "      --believed FACTOR    the policies are told capacity / FACTOR (default 1)\n"
    "      --workers N          parallel requests of one instance (default 4)\n"
    "      --model KIND         queue: mmc or fluid (default mmc)\n"
    "      --slo TIME           a slower request has missed (default 500ms)\n"
    "      --db CONNECTIONS:N   a database with so many connections, N for each instance\n"
    " what provisions\n"
    "      --boot TIME          from decision to serving (default 60s)\n"
    "      --boot-spread SIGMA  lognormal with this sigma (default 0: exactly)\n"
    "      --boot-journal FILE  draw from the launches of group -g that a journal has measured\n"
    "      --fail PERCENT       of launches that fail\n"
    "      --deaths N           of one instance in an hour\n"
    "      --metric-delay TIME  how late metrics are\n"
    "      --metric-loss PERCENT of polls without an answer\n"
    " what decides\n"
    "      --policy SPEC        one policy          --compare A,B,…  several in the same world\n"
    "  -c, --config FILE        the group of a configuration, with its own policies; -g, --group GROUP names "
    "it\n"
    "      --sweep OPTION=A,B,… tries values of an option of --policy\n"
    "      --min N --max N      bounds (default 1 and 1.5 times the peak's need; with -c the group's)\n"
    "      --interval TIME      of the control loop (default 5s)\n"
    " how it is judged\n"
    "      --price K            instance-hours a missed minute is worth (default 1)\n"
    "      --seed N --seeds N   first seed and how many (default 1 and 1); the same seed, the same run\n"
    "      --json               complete            --svg FILE       a picture of the last run\n"
    "  -h, --help               this text\n"
    "\n"
    "Exit status: 0, 1 wrong usage or an unreadable trace.\n";

enum {
    OPT_TRACE = 256,
    OPT_FROM,
    OPT_COLD,
    OPT_FOR,
    OPT_SPEED,
    OPT_LOAD,
    OPT_UNITS,
    OPT_CAPACITY,
    OPT_BELIEVED,
    OPT_WORKERS,
    OPT_MODEL,
    OPT_SLO,
    OPT_DB,
    OPT_BOOT,
    OPT_SPREAD,
    OPT_BOOT_JOURNAL,
    OPT_FAIL,
    OPT_DEATHS,
    OPT_DELAY,
    OPT_LOSS,
    OPT_POLICY,
    OPT_COMPARE,
    OPT_SWEEP,
    OPT_MIN,
    OPT_MAX,
    OPT_INTERVAL,
    OPT_PRICE,
    OPT_SEED,
    OPT_SEEDS,
    OPT_JSON,
    OPT_SVG
};

struct arguments {
    struct contest c;
    const char *journal, *sweep;
    const char *of_group; /* an option that was given: with -c the group says it itself */
    char *specs[CONTESTANTS_MAX];
    size_t spec_count;
    double units, from_s, for_s, boots[1000];
};

static int complain(const char *option, const char *value, const char *wants)
{
    fprintf(stderr, "autoscale simulate: --%s %s: wants %s\n", option, value, wants);
    return 1;
}

static int take_number(const char *option, const char *text, double least, double most, double *out)
{
    char *end, wants[80];
    double v = strtod(text, &end);
    snprintf(wants, sizeof wants, "a number from %g to %g", least, most);
    if (*text == '\0' || *end || !(v >= least && v <= most))
        return complain(option, text, wants);
    *out = v;
    return 0;
}

static int take_seconds(const char *option, const char *text, double *out)
{
    as_time ms;
    if (!units_duration(text, &ms))
        return complain(option, text, "a time like 500ms, 30s or 2m");
    *out = (double)ms / 1000;
    return 0;
}

static int take_percent(const char *option, const char *text, double *out)
{
    if (!units_percent(text, out) || *out < 0 || *out > 1)
        return complain(option, text, "a percentage like 5%");
    return 0;
}

static int take_int(const char *option, const char *text, int least, int most, int *out)
{
    double v;
    if (take_number(option, text, least, most, &v))
        return 1;
    if (floor(v) < v)
        return complain(option, text, "a whole number");
    *out = (int)v;
    return 0;
}

static int take_specs(struct arguments *a, char *list)
{
    for (char *at = NULL, *spec = strtok_r(list, ",", &at); spec; spec = strtok_r(NULL, ",", &at)) {
        if (a->spec_count == CONTESTANTS_MAX)
            return complain("compare", spec, "at most 64 policies");
        for (char *plus = spec; (plus = strchr(plus, '+')) != NULL;)
            *plus = ','; /* within a spec '+' separates options, as ',' separates specs */
        a->specs[a->spec_count++] = spec;
    }
    return 0;
}

static int take_load(struct replay_params *p, const char *text)
{
    p->poisson = strcmp(text, "poisson") == 0;
    p->between = strcmp(text, "held") == 0 ? TRACE_HELD : TRACE_STRAIGHT;
    return p->poisson || p->between == TRACE_HELD || strcmp(text, "straight") == 0
               ? 0
               : complain("load", text, "straight, held or poisson");
}

static int take_model(struct replay_params *p, const char *text)
{
    p->tier.model = strcmp(text, "fluid") == 0 ? TIER_FLUID : TIER_MMC;
    return p->tier.model == TIER_FLUID || strcmp(text, "mmc") == 0 ? 0
                                                                   : complain("model", text, "mmc or fluid");
}

static int take_db(struct replay_params *p, char *text)
{
    char *colon = strchr(text, ':');
    if (!colon)
        return complain("db", text, "CONNECTIONS:PER_INSTANCE, like 100:4");
    *colon = '\0';
    return take_number("db", text, 1, 1e6, &p->db_connections) ||
           take_number("db", colon + 1, 0, 1e6, &p->db_per_instance);
}

static int take_world(struct arguments *a, int opt, char *v)
{
    struct replay_params *p = &a->c.params;
    switch (opt) {
    case OPT_TRACE: a->c.trace_path = v; return 0;
    case OPT_COLD: p->cold = true; return 0;
    case OPT_FROM: return take_seconds("from", v, &a->from_s);
    case OPT_FOR: return take_seconds("for", v, &a->for_s);
    case OPT_SPEED: return take_number("speed", v, 0.001, 1e6, &p->speed);
    case OPT_LOAD: return take_load(p, v);
    case OPT_UNITS: return take_number("units", v, 0, 1000, &a->units);
    case OPT_CAPACITY: return take_number("capacity", v, 1e-6, 1e9, &p->tier.capacity);
    case OPT_BELIEVED: a->of_group = "believed"; return take_number("believed", v, 0.01, 100, &p->believed);
    case OPT_WORKERS: return take_int("workers", v, 1, 1000, &p->tier.workers);
    case OPT_MODEL: return take_model(p, v);
    case OPT_SLO: return take_seconds("slo", v, &p->tier.slo_s);
    case OPT_DB: return take_db(p, v);
    case OPT_BOOT: return take_seconds("boot", v, &p->boot_s);
    case OPT_SPREAD: return take_number("boot-spread", v, 0, 3, &p->boot_sigma);
    case OPT_BOOT_JOURNAL: a->journal = v; return 0;
    case OPT_FAIL: return take_percent("fail", v, &p->fail_launch);
    case OPT_DEATHS: return take_number("deaths", v, 0, 3600, &p->deaths_per_hour);
    case OPT_DELAY: return take_seconds("metric-delay", v, &p->metric_delay_s);
    case OPT_LOSS: return take_percent("metric-loss", v, &p->metric_loss);
    default: return -1;
    }
}

static int take_rest(struct arguments *a, int opt, char *v)
{
    double seed;
    switch (opt) {
    case OPT_POLICY:
    case OPT_COMPARE: return take_specs(a, v);
    case OPT_SWEEP: a->sweep = v; return 0;
    case OPT_MIN: a->of_group = "min"; return take_int("min", v, 0, 1000, &a->c.min);
    case OPT_MAX: a->of_group = "max"; return take_int("max", v, 1, 1000, &a->c.max);
    case OPT_INTERVAL: a->of_group = "interval"; return take_seconds("interval", v, &a->c.interval_s);
    case OPT_PRICE: return take_number("price", v, 0, 1e9, &a->c.price);
    case OPT_SEED:
        if (take_number("seed", v, 0, 9e15, &seed))
            return 1;
        a->c.params.seed = (uint64_t)seed;
        return 0;
    case OPT_SEEDS: return take_int("seeds", v, 1, 10000, &a->c.seeds);
    case OPT_JSON: a->c.json = true; return 0;
    case OPT_SVG: a->c.svg = v; return 0;
    case 'c': a->c.config = v; return 0;
    case 'g': a->c.group = v; return 0;
    default: return usage_hint("simulate");
    }
}

static const struct option options[] = {
    { "from", 1, NULL, OPT_FROM },
    { "cold", 0, NULL, OPT_COLD },
    { "for", 1, NULL, OPT_FOR },
    { "trace", 1, NULL, OPT_TRACE },
    { "speed", 1, NULL, OPT_SPEED },
    { "load", 1, NULL, OPT_LOAD },
    { "units", 1, NULL, OPT_UNITS },
    { "capacity", 1, NULL, OPT_CAPACITY },
    { "believed", 1, NULL, OPT_BELIEVED },
    { "workers", 1, NULL, OPT_WORKERS },
    { "model", 1, NULL, OPT_MODEL },
    { "slo", 1, NULL, OPT_SLO },
    { "db", 1, NULL, OPT_DB },
    { "boot", 1, NULL, OPT_BOOT },
    { "boot-spread", 1, NULL, OPT_SPREAD },
    { "boot-journal", 1, NULL, OPT_BOOT_JOURNAL },
    { "fail", 1, NULL, OPT_FAIL },
    { "deaths", 1, NULL, OPT_DEATHS },
    { "metric-delay", 1, NULL, OPT_DELAY },
    { "metric-loss", 1, NULL, OPT_LOSS },
    { "policy", 1, NULL, OPT_POLICY },
    { "compare", 1, NULL, OPT_COMPARE },
    { "sweep", 1, NULL, OPT_SWEEP },
    { "min", 1, NULL, OPT_MIN },
    { "max", 1, NULL, OPT_MAX },
    { "interval", 1, NULL, OPT_INTERVAL },
    { "price", 1, NULL, OPT_PRICE },
    { "seed", 1, NULL, OPT_SEED },
    { "seeds", 1, NULL, OPT_SEEDS },
    { "json", 0, NULL, OPT_JSON },
    { "svg", 1, NULL, OPT_SVG },
    { "config", 1, NULL, 'c' },
    { "group", 1, NULL, 'g' },
    { "help", 0, NULL, 'h' },
    { 0 },
};

/* --- setting up ------------------------------------------------------------------------------------------- */

/* "window=10s,30s" on a spec makes a contestant of each value. */
static int unfold_sweep(struct arguments *a)
{
    char *values = a->sweep ? strchr(a->sweep, '=') : NULL, *at = NULL;
    if (!a->sweep)
        return 0;
    if (!values || a->spec_count != 1)
        return complain("sweep", a->sweep, "OPTION=A,B,… and exactly one --policy");
    const char *base = a->specs[0];
    char *list = strdup(values + 1);
    size_t name = (size_t)(values - a->sweep);
    a->spec_count = 0;
    for (char *v = list ? strtok_r(list, ",", &at) : NULL; v && a->spec_count < CONTESTANTS_MAX;
         v = strtok_r(NULL, ",", &at)) {
        char spec[512];
        snprintf(spec, sizeof spec, "%s%c%.*s=%s", base, strchr(base, ':') ? ',' : ':', (int)name, a->sweep,
                 v);
        a->specs[a->spec_count++] = strdup(spec);
    }
    free(list);
    return 0;
}

static int learn_boots(struct arguments *a, struct as_error *err)
{
    struct journal *j = NULL;
    if (!a->journal)
        return AS_OK;
    if (access(a->journal, F_OK) != 0)
        return as_fail(err, AS_EIO, "--boot-journal %s: there is no such file", a->journal);
    int rc = journal_open(a->journal, NULL, JOURNAL_READ, &j, err);
    if (rc != AS_OK)
        return rc;
    int n = journal_launch_seconds(j, a->c.group ? a->c.group : "web", a->boots,
                                   (int)(sizeof a->boots / sizeof *a->boots));
    journal_close(j);
    if (n <= 0)
        return as_fail(err, AS_EINVAL, "%s has measured no launch of group '%s' (name it with -g)",
                       a->journal, a->c.group ? a->c.group : "web");
    a->c.params.boots = a->boots;
    a->c.params.boot_count = (size_t)n;
    return AS_OK;
}

static int set_up(struct arguments *a, struct as_error *err)
{
    struct contest *c = &a->c;
    int rc = trace_load(c->trace_path, &c->trace, err);
    if (rc == AS_OK && (a->from_s > 0 || a->for_s > 0))
        rc = trace_cut(&c->trace, a->from_s, a->for_s, err);
    if (rc != AS_OK)
        return rc;
    double peak = trace_peak(&c->trace);
    if (peak <= 0)
        return as_fail(err, AS_EINVAL, "%s: the load is never above 0", c->trace_path);
    c->params.trace = &c->trace;
    double units = a->units >= 0 ? a->units
                   : c->config   ? 0
                                 : 20; /* a configuration meets its load as it was */
    c->params.scale = units > 0 ? tier_carries(&c->params.tier, (int)units) / peak : 1;
    if (c->max == 0) {
        double need = ceil(peak * c->params.scale / c->params.tier.capacity * 1.5);
        c->max = need < c->min + 1 ? c->min + 1 : need > 1000 ? 1000 : (int)need;
    }
    if (units > 0 && units < 1)
        return as_fail(err, AS_EINVAL, "--units %g: 0, or at least 1", units);
    if (c->min > c->max)
        return as_fail(err, AS_EINVAL, "--min %d is above --max %d", c->min, c->max);
    if (c->interval_s < 0.1)
        return as_fail(err, AS_EINVAL, "--interval: at least 100ms");
    return learn_boots(a, err);
}

/* --- running ------------------------------------------------------------------------------------------------ */

struct progress {
    const char *name;
    int done, all;
};

static void show_progress(void *arg, double part)
{
    const struct progress *p = arg;
    double whole = (p->done + part) / p->all;
    int width = 30, full = (int)(whole * width);
    fprintf(stderr, "\r[%.*s%*s] %3.0f%% %-30.30s", full, "##############################", width - full, "",
            100 * whole, p->name);
}

static struct cfg_hold *load_contestant(const struct contest *c, const char *spec, struct as_error *err)
{
    struct cfg *cfg = NULL;
    struct cfg_problems problems = { 0 };
    char path[] = "/tmp/autoscale-simulate-XXXXXX", line[700];
    int rc = AS_EINVAL, fd = -1;
    char *text = spec ? contestant_config(c, spec, err) : NULL;
    if (spec && text && (fd = mkstemp(path)) >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text))
        rc = config_load(path, &simulate_registry, &cfg, &problems);
    if (!spec)
        rc = config_load(c->config, &tables_registry, &cfg, &problems);
    for (size_t k = 0; rc != AS_OK && k < problems.count; k++) {
        config_problem_text(&problems.items[k], line, sizeof line);
        as_fail(err, AS_EINVAL, "%s", spec ? problems.items[k].text : line);
    }
    if (fd >= 0) {
        close(fd);
        unlink(path);
    }
    free(text);
    config_problems_fini(&problems);
    if (rc == AS_OK && !replay_prepare(cfg, spec ? NULL : c->group)) {
        as_fail(err, AS_EINVAL, "%s has no group '%s'", c->config, c->group ? c->group : "");
        config_free(cfg);
        return NULL;
    }
    return rc == AS_OK ? cfg_hold_new(cfg) : NULL;
}

static int run_seeds(struct contest *c, const char *spec, struct progress *p, struct outcome *o,
                     struct as_error *err)
{
    struct cfg_hold *hold = load_contestant(c, spec, err);
    uint64_t first = c->params.seed;
    int rc = hold ? AS_OK : AS_EINVAL;
    o->by_seed = calloc(2 * (size_t)c->seeds, sizeof *o->by_seed);
    if (rc == AS_OK && !o->by_seed)
        rc = as_fail(err, AS_ENOMEM, "out of memory");
    snprintf(o->name, sizeof o->name, "%s", spec ? spec : c->group ? c->group : "as configured");
    p->name = o->name;
    for (int s = 0; rc == AS_OK && s < c->seeds; s++, p->done++) {
        struct replay r;
        c->params.seed = first + (uint64_t)s;
        rc = replay_run(hold, &c->params, &r, err);
        if (rc != AS_OK)
            break;
        outcome_add(o, c, &r);
        if (c->svg && s + 1 == c->seeds)
            rc = svg_write(c->svg, &r, o->name, err);
        replay_fini(&r);
    }
    c->params.seed = first;
    cfg_hold_put(hold);
    if (rc == AS_OK)
        outcome_mean(o, c->seeds);
    return rc;
}

/* A given supply as an outcome. */
static int run_given(struct contest *c, struct replay_frame f, const double *supply, struct outcome *o,
                     struct as_error *err)
{
    struct replay r;
    int rc = replay_given(&c->params, f, supply, &r, err);
    if (rc == AS_OK)
        outcome_add(o, c, &r);
    replay_fini(&r);
    return rc;
}

/* The oracle knows what will arrive, and is spared failing launches. Where arrivals are drawn around the load it may
 * be ready for the load or for each chance of it, whichever hurts less. */
static int run_oracle(struct contest *c, const struct replay *load, struct replay_frame f,
                      struct outcome *sum, struct as_error *err)
{
    const double *demands[] = { load->demand, load->needed };
    struct outcome best = { 0 };
    int rc = AS_OK;
    for (size_t k = 0; rc == AS_OK && k < (c->params.poisson ? 2 : 1); k++) {
        struct outcome o = { 0 };
        double *supply = replay_oracle(demands[k], load->count, f.step_s, c->params.boot_s);
        rc = supply ? run_given(c, f, supply, &o, err) : as_fail(err, AS_ENOMEM, "out of memory");
        free(supply);
        if (k == 0 || o.pain < best.pain)
            best = o;
    }
    outcome_sum(sum, &best);
    return rc;
}

/* A fixed fleet of the mean demand: the reference of the speedup. */
static int run_fixed(struct contest *c, const struct replay *load, struct replay_frame f, struct outcome *sum,
                     struct as_error *err)
{
    double *supply = malloc((load->count ? load->count : 1) * sizeof *supply), all = 0;
    if (!supply)
        return as_fail(err, AS_ENOMEM, "out of memory");
    for (size_t i = 0; i < load->count; i++)
        all += load->demand[i];
    for (size_t i = 0; i < load->count; i++)
        supply[i] = floor(all / (double)load->count + 0.5);
    int rc = run_given(c, f, supply, sum, err);
    free(supply);
    return rc;
}

/* The yardsticks meet the same arrivals as the contestants, seed by seed. */
static int run_yardsticks(struct contest *c, const char *spec, struct outcome *oracle, struct outcome *fixed,
                          struct as_error *err)
{
    struct cfg_hold *hold = load_contestant(c, spec, err);
    uint64_t first = c->params.seed;
    int rc = hold ? AS_OK : AS_EINVAL, seeds = c->params.poisson ? c->seeds : 1;
    if (!hold)
        return rc;
    const struct cfg *cfg = cfg_of(hold);
    struct replay_frame f = { cfg->groups[0].min, cfg->groups[0].max, (double)cfg->interval / 1000.0 };
    snprintf(oracle->name, sizeof oracle->name, "oracle");
    snprintf(fixed->name, sizeof fixed->name, "static mean");
    for (int s = 0; rc == AS_OK && s < seeds; s++) {
        struct replay load;
        c->params.seed = first + (uint64_t)s;
        rc = replay_given(&c->params, f, NULL, &load, err);
        rc = rc == AS_OK ? run_oracle(c, &load, f, oracle, err) : rc;
        rc = rc == AS_OK ? run_fixed(c, &load, f, fixed, err) : rc;
        replay_fini(&load);
    }
    c->params.seed = first;
    cfg_hold_put(hold);
    outcome_mean(oracle, seeds);
    outcome_mean(fixed, seeds);
    return rc;
}

static void compare(struct outcome *all, size_t n)
{
    const struct outcome *oracle = &all[n], *fixed = &all[n + 1];
    for (size_t k = 0; k < n + 2; k++) {
        all[k].cost_ratio = oracle->hours > 0 ? all[k].hours / oracle->hours : 0;
        all[k].pain_ratio = oracle->pain > 0 ? all[k].pain / oracle->pain : 0;
        all[k].speedup = score_speedup(&all[k].at100, &fixed->at100);
    }
    outcome_compete(all, n);
}

static int print_all(const struct contest *c, const struct outcome *all, size_t count)
{
    if (c->json)
        return print_outcomes_json(c, all, count) ? AS_EIO : AS_OK;
    printf("%s: %zu samples every %g s", c->trace_path, c->trace.count, c->trace.step_s);
    if (c->trace.held)
        printf(", %zu missing and held", c->trace.held);
    if (c->trace.dropped)
        printf(", %zu doubled or out of order and left out", c->trace.dropped);
    printf("; peak %g/s x %.4g, boot %g s, seed %llu", trace_peak(&c->trace), c->params.scale,
           c->params.boot_s, (unsigned long long)c->params.seed);
    printf(c->seeds > 1 ? " to %llu\n\n" : "\n\n",
           (unsigned long long)c->params.seed + (unsigned)c->seeds - 1);
    print_outcomes(stdout, c, all, count);
    return AS_OK;
}

static int run_all(struct arguments *a, struct as_error *err)
{
    static struct outcome all[CONTESTANTS_MAX + 2];
    size_t n = a->c.config ? 1 : a->spec_count;
    struct progress p = { .all = (int)n * a->c.seeds };
    if (isatty(STDERR_FILENO)) {
        a->c.params.progress = show_progress;
        a->c.params.arg = &p;
    }
    int rc = AS_OK;
    for (size_t k = 0; rc == AS_OK && k < n; k++)
        rc = run_seeds(&a->c, a->c.config ? NULL : a->specs[k], &p, &all[k], err);
    if (rc == AS_OK)
        rc = run_yardsticks(&a->c, a->c.config ? NULL : a->specs[0], &all[n], &all[n + 1], err);
    if (a->c.params.progress)
        fprintf(stderr, "\r%72s\r", "");
    if (rc == AS_OK) {
        compare(all, n);
        rc = print_all(&a->c, all, n + 2);
    }
    for (size_t k = 0; k < n; k++)
        outcome_fini(&all[k]);
    return rc;
}

int command_simulate(int argc, char **argv)
{
    static struct arguments a;
    struct as_error err = { 0 };
    int opt, rc;
    a = (struct arguments){
        .units = -1,
        .c = { .min = 1,
               .interval_s = 5,
               .price = 1,
               .seeds = 1,
               .params = { .speed = 1,
                           .scale = 1,
                           .believed = 1,
                           .boot_s = 60,
                           .seed = 1,
                           .tier = { .capacity = 100, .workers = 4, .slo_s = 0.5, .timeout_s = 10 } } }
    };
    optind = 1;
    while ((opt = getopt_long(argc, argv, "c:g:h", options, NULL)) != -1) {
        if (opt == 'h') {
            fputs(usage, stdout);
            return 0;
        }
        rc = take_world(&a, opt, optarg);
        if (rc > 0 || (rc < 0 && take_rest(&a, opt, optarg)))
            return 1;
    }
    if (usage_no_operands("simulate", argc, argv, 0) != 0)
        return 1;
    if (!a.c.trace_path)
        return usage_wrong("simulate", "name a trace with --trace");
    if (!a.c.config == !a.spec_count)
        return usage_wrong("simulate", "name what decides: --policy, --compare or -c, one of them");
    if (a.c.config && a.of_group)
        return usage_wrong("simulate", "--%s: with -c the configuration says it; change it there, in a copy",
                           a.of_group);
    log_set_sink(NULL, NULL);
    log_set_level(LOG_LEVEL_ERROR);
    if (unfold_sweep(&a))
        return 1;
    rc = set_up(&a, &err);
    if (rc == AS_OK)
        rc = run_all(&a, &err);
    if (rc != AS_OK && err.msg[0])
        fprintf(stderr, "autoscale simulate: %s\n", err.msg);
    trace_fini(&a.c.trace);
    return rc == AS_OK ? 0 : 1;
}
