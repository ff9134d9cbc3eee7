/* Decision cost: the daemon's own engine (observe, decide, plan, act, journal) over many groups in a world of
 * memory that answers at once and costs nothing while the engine is on the clock. Only processor time
 * spent inside engine_turn counts. Prints "key value" lines for tests/bench/run; it must never judge them.
 *
 *     bench_decide                    1,000 groups of 10 instances and 5 series each; then beside 10,000
 *     bench_decide GROUPS TICKS       one size, for a profiler
 */
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../controller/loop/engine.h"
#include "../../controller/runtime/log.h"

#define INSTANCES  10
#define SERIES     5
#define PER_SOURCE 100  /* groups that share a source */
#define COMPARED   31   /* ticks of each size */
#define PER_FILE   1000 /* groups that share a file */
#define CALL_MS    2
#define AT_ONCE    1000 /* calls that come back between two turns */
#define WALL_START 1795000000000

struct site { /* what runs for one group: its host and its backend at once */
    char name[AS_NAME_MAX];
    size_t number, count;
    char ids[INSTANCES][AS_ID_MAX];
};

struct bench {
    size_t groups;
    struct site *sites;
    struct op *queue, **queue_tail;
    as_time now;
    uint32_t seed;
    uint64_t writes;
    struct engine *engine;
    struct journal *journal;
    struct cfg_hold *hold;
    char dir[40];
};

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

static uint32_t next_random(void *arg)
{
    struct bench *b = arg;
    b->seed ^= b->seed << 13;
    b->seed ^= b->seed >> 17;
    b->seed ^= b->seed << 5;
    return b->seed;
}

/* --- drivers that only have names: the world below answers for them -------------------------------------- */

static int open_source(void *self, const struct as_settings *s, const char *endpoint, struct as_error *err)
{
    (void)self, (void)s, (void)endpoint, (void)err;
    return AS_OK;
}

static int open_owned(void *self, const struct as_settings *s, const struct as_owner *owner,
                      const char *endpoint, struct as_error *err)
{
    (void)self, (void)s, (void)owner, (void)endpoint, (void)err;
    return AS_OK;
}

static void close_nothing(void *self)
{
    (void)self;
}

static const struct as_option endpoint_options[] = {
    { .name = "hosts", .type = AS_OPT_STRINGS, .help = "names" }, { 0 }
};
static const struct as_series_doc series[] = {
    { "s0", "units", "load", AS_MERGE_SUM }, { "s1", "units", "load", AS_MERGE_SUM },
    { "s2", "units", "load", AS_MERGE_SUM }, { "s3", "units", "load", AS_MERGE_SUM },
    { "s4", "units", "load", AS_MERGE_SUM }, { 0 },
};
static const struct as_source_driver source_driver = { .name = "memory",
                                                       .summary = "memory",
                                                       .options = endpoint_options,
                                                       .series = series,
                                                       .has_objects = true,
                                                       .open = open_source,
                                                       .close = close_nothing };
static const struct as_compute_driver compute_driver = { .name = "memory",
                                                         .summary = "memory",
                                                         .options = endpoint_options,
                                                         .endpoints = "hosts",
                                                         .open = open_owned,
                                                         .close = close_nothing };
static const struct as_balancer_driver balancer_driver = { .name = "memory",
                                                           .summary = "memory",
                                                           .options = endpoint_options,
                                                           .endpoints = "hosts",
                                                           .open = open_owned,
                                                           .close = close_nothing };
static const struct as_source_driver *const sources[] = { &source_driver, NULL };
static const struct as_compute_driver *const computes[] = { &compute_driver, NULL };
static const struct as_balancer_driver *const balancers[] = { &balancer_driver, NULL };
static const struct as_registry registry = { sources, computes, balancers, as_policy_types };

/* --- the world in memory ------------------------------------------------------------------------------------ */

static struct site *site_of(struct bench *b, const char *group)
{
    return &b->sites[strtoul(group + 1, NULL, 10)];
}

static void *bind_source(void *arg, struct cfg_hold *hold, const struct cfg_source *s, const char *endpoint,
                         struct as_error *err)
{
    struct bench *b = arg;
    (void)hold, (void)endpoint, (void)err;
    return &b->sites[strtoul(s->name + 2, NULL, 10) * PER_SOURCE];
}

static void *bind_group(void *arg, struct cfg_hold *hold, const struct cfg_group *g, const char *endpoint,
                        struct as_error *err)
{
    (void)hold, (void)endpoint, (void)err;
    return site_of(arg, g->name);
}

static void unbind(void *arg, void *port)
{
    (void)arg, (void)port;
}

static void submit(void *arg, struct op *op)
{
    struct bench *b = arg;
    op->next = NULL;
    *b->queue_tail = op;
    b->queue_tail = &op->next;
}

/* Each group's load wanders a little around ten instances' worth, so that every value is new at every poll and
 * no decision changes: the common case, and the one that is paid for all day. */
static void answer_poll(struct bench *b, struct op *op)
{
    const struct site *first = op->port;
    for (size_t k = 0; k < PER_SOURCE && first->number + k < b->groups; k++)
        for (size_t s = 0; s < SERIES; s++) {
            double wander = (double)((b->now / 1000 + (as_time)(first->number + k + s)) % 10) / 2.0;
            as_samples_add(&op->samples, first[k].name, series[s].name, 96.0 + wander, 1, NULL);
        }
}

static void answer_list(const struct site *site, struct op *op)
{
    op->instances.room = -1;
    for (size_t k = 0; k < site->count; k++) {
        struct as_instance *i = as_instances_add(&op->instances);
        if (!i)
            die("out of memory");
        snprintf(i->id, sizeof i->id, "%s", site->ids[k]);
        snprintf(i->address, sizeof i->address, "10.0.0.1");
        i->port = 8080;
        i->state = AS_RUN_RUNNING;
    }
}

static void answer_members(const struct site *site, struct op *op)
{
    snprintf(op->members.epoch, sizeof op->members.epoch, "1");
    for (size_t k = 0; k < site->count; k++) {
        struct as_member *m = as_members_add(&op->members);
        if (!m)
            die("out of memory");
        snprintf(m->id, sizeof m->id, "%s", site->ids[k]);
        snprintf(m->address, sizeof m->address, "10.0.0.1");
        m->port = 8080;
        m->state = AS_MEMBER_UP;
        m->weight = 100;
        m->held = 3;
    }
}

static void answer(struct bench *b, struct op *op)
{
    struct site *site = op->port;
    b->writes += op->kind >= OP_FIRST_WRITE;
    switch (op->kind) {
    case OP_POLL: answer_poll(b, op); break;
    case OP_LIST: answer_list(site, op); break;
    case OP_MEMBERS: answer_members(site, op); break;
    case OP_CREATE:
        if (site->count == INSTANCES)
            die("an instance too many was asked for");
        snprintf(site->ids[site->count++], AS_ID_MAX, "%s", op->call->target.id);
        snprintf(op->call->created.address, sizeof op->call->created.address, "10.0.0.1");
        op->call->created.port = 8080;
        break;
    case OP_PROBE:
    case OP_DESTROY:
    case OP_PARK:
    case OP_UNPARK:
    case OP_ADMIT:
    case OP_DRAIN:
    case OP_EVICT:
    case OP_WEIGHT:
    case OP_KINDS: break;
    }
    op->rc = AS_OK;
}

/* As a loop finds them when it wakes: the answers of ten thousand hosts never lie there all at once. */
static void answer_some(struct bench *b, size_t most)
{
    for (size_t k = 0; b->queue && k < most; k++) {
        struct op *op = b->queue;
        b->queue = op->next;
        if (!b->queue)
            b->queue_tail = &b->queue;
        answer(b, op);
        engine_done(b->engine, op);
    }
}

/* --- set-up --------------------------------------------------------------------------------------------------- */

/* A file of a configuration may have 1 MiB: blocks of groups go into files of their own. */
static FILE *open_part(const char *dir, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    if (!f)
        die("cannot write %s", path);
    return f;
}

static void close_part(FILE *f)
{
    if (fclose(f) != 0)
        die("the configuration cannot be written");
}

static void write_groups(const char *dir, size_t part, size_t from, size_t to)
{
    char groups[32], policies[32];
    snprintf(groups, sizeof groups, "groups-%zu", part);
    snprintf(policies, sizeof policies, "policies-%zu", part);
    FILE *g = open_part(dir, groups), *p = open_part(dir, policies);
    for (size_t k = from; k < to; k++) {
        fprintf(g,
                "g%zu = { min = %d; max = 20; health = { tcp = false; };\n"
                "compute = { driver = \"memory\"; hosts = [ \"host\" ]; launches = 20; };\n"
                "balancer = { driver = \"memory\"; hosts = [ \"lb\" ]; }; policies = [ ",
                k, INSTANCES);
        for (int s = 0; s < SERIES; s++) {
            fprintf(g, "%s\"p%zu-%d\"", s ? ", " : "", k, s);
            fprintf(p,
                    "p%zu-%d = { type = \"target\"; metric = \"lb%zu.g%zu.s%d\"; per_instance = 10.0; };\n",
                    k, s, k / PER_SOURCE, k, s);
        }
        fprintf(g, " ]; };\n");
    }
    close_part(g);
    close_part(p);
}

static void write_config(const struct bench *b, const char *dir)
{
    FILE *f = open_part(dir, "main.conf");
    size_t parts = (b->groups + PER_FILE - 1) / PER_FILE;
    fprintf(f, "controller = { interval = \"2s\"; log_level = \"error\"; };\nsources = {\n");
    for (size_t k = 0; k < b->groups; k += PER_SOURCE)
        fprintf(f, "  lb%zu = { driver = \"memory\"; };\n", k / PER_SOURCE);
    fprintf(f, "};\ngroups = {\n");
    for (size_t k = 0; k < parts; k++)
        fprintf(f, "@include \"groups-%zu\"\n", k);
    fprintf(f, "};\npolicies = {\n");
    for (size_t k = 0; k < parts; k++) {
        size_t to = (k + 1) * PER_FILE;
        fprintf(f, "@include \"policies-%zu\"\n", k);
        write_groups(dir, k, k * PER_FILE, to < b->groups ? to : b->groups);
    }
    fprintf(f, "};\n");
    close_part(f);
}

static struct cfg_hold *load_config(const char *path)
{
    struct cfg *cfg = NULL;
    struct cfg_problems problems = { 0 };
    char line[700];
    if (config_load(path, &registry, &cfg, &problems) != AS_OK)
        die("%s", problems.count ? config_problem_text(&problems.items[0], line, sizeof line)
                                 : "the configuration fails");
    config_problems_fini(&problems);
    struct cfg_hold *hold = cfg_hold_new(cfg);
    if (!hold)
        die("out of memory");
    return hold;
}

static void make_sites(struct bench *b)
{
    b->sites = calloc(b->groups, sizeof *b->sites);
    if (!b->sites)
        die("out of memory");
    for (size_t k = 0; k < b->groups; k++) {
        b->sites[k].number = k;
        snprintf(b->sites[k].name, sizeof b->sites[k].name, "g%zu", k);
    }
}

/* --- measuring -------------------------------------------------------------------------------------------------- */

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* One turn and what it asks for, answered CALL_MS later. Returns the milliseconds of the turn. */
static double turn(struct bench *b, as_time until)
{
    as_time next = engine_next(b->engine);
    if (next > until) {
        b->now = until;
        return 0;
    }
    b->now = next > b->now ? next : b->now;
    double before = cpu_ms();
    engine_turn(b->engine, b->now, WALL_START + b->now);
    double spent = cpu_ms() - before;
    if (b->queue) {
        b->now += CALL_MS;
        answer_some(b, AT_ONCE);
    }
    return spent;
}

/* Everything of one interval: polls, lists and members come in, all groups decide, plan and are journalled. */
static double interval(struct bench *b)
{
    as_time until = b->now + b->engine->cfg->interval;
    double spent = 0;
    while (b->now < until)
        spent += turn(b, until);
    return spent;
}

static bool settled(const struct bench *b)
{
    for (const struct group *g = b->engine->groups; g; g = g->next)
        if (!g->decided || g->decision.blind || group_serving(g) != INSTANCES)
            return false;
    return true;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void settle(struct bench *b)
{
    for (int k = 0; k < 60 && !settled(b); k++)
        interval(b);
    if (!settled(b))
        die("the groups do not come to serve");
    interval(b);
}

/* So many ticks in which nothing changes, each one's milliseconds into `spent`. */
static void measure(struct bench *b, double *spent, size_t ticks)
{
    uint64_t writes = b->writes;
    for (size_t k = 0; k < ticks; k++)
        spent[k] = interval(b);
    if (b->writes != writes || !settled(b))
        die("something was done although nothing changed");
}

static void report(const struct bench *b, double *spent, size_t ticks)
{
    double sum = 0, instances = (double)(b->groups * INSTANCES);
    for (size_t k = 0; k < ticks; k++)
        sum += spent[k];
    qsort(spent, ticks, sizeof *spent, by_value);
    double middle = spent[ticks / 2];
    printf("groups %zu instances %zu series %zu ticks %zu mean_ms %.3f median_ms %.3f worst_ms %.3f "
           "us_per_instance %.4f\n",
           b->groups, b->groups * INSTANCES, b->groups * SERIES, ticks, sum / (double)ticks, middle,
           spent[ticks - 1], middle * 1000 / instances);
    fflush(stdout);
}

/* --- life ----------------------------------------------------------------------------------------------------- */

static void begin(struct bench *b, size_t groups)
{
    struct as_error err = { 0 };
    char conf[256], state[256];
    *b = (struct bench){
        .groups = groups, .seed = 2463534242u, .now = 100000, .dir = "/tmp/autoscale-bench-XXXXXX"
    };
    struct world w = { .arg = b,
                       .act = true,
                       .bind_source = bind_source,
                       .bind_compute = bind_group,
                       .bind_balancer = bind_group,
                       .unbind = unbind,
                       .submit = submit,
                       .random = next_random };
    b->queue_tail = &b->queue;
    if (!mkdtemp(b->dir))
        die("cannot make a directory in /tmp");
    snprintf(conf, sizeof conf, "%s/main.conf", b->dir);
    snprintf(state, sizeof state, "%s/state.db", b->dir);
    make_sites(b);
    write_config(b, b->dir);
    b->hold = load_config(conf);
    if (journal_open(state, "autoscale", JOURNAL_WRITE, &b->journal, &err) != AS_OK ||
        engine_new(&w, b->hold, b->journal, b->now, WALL_START + b->now, &b->engine, &err) != AS_OK)
        die("%s", err.msg);
    settle(b);
}

static void remove_dir(const char *dir)
{
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));)
        unlinkat(dirfd(d), e->d_name, 0); /* not "." and "..": they are directories */
    if (d)
        closedir(d);
    rmdir(dir);
}

static void end(struct bench *b)
{
    answer_some(b, SIZE_MAX);
    engine_free(b->engine);
    journal_close(b->journal);
    cfg_hold_put(b->hold);
    free(b->sites);
    remove_dir(b->dir);
}

/* One size alone. */
static void run(size_t groups, size_t ticks)
{
    struct bench b;
    double *spent = calloc(ticks, sizeof *spent);
    if (!spent)
        die("out of memory");
    begin(&b, groups);
    measure(&b, spent, ticks);
    report(&b, spent, ticks);
    end(&b);
    free(spent);
}

/* Two sizes, tick about: what else the machine does at a moment falls on both, so each pair is compared by itself. The
 * smaller one meets cold caches after the larger, as it does after two seconds of anything else. */
static void compare(size_t few, size_t many)
{
    struct bench a, b;
    double of_a[COMPARED], of_b[COMPARED], growth[COMPARED];
    begin(&a, few);
    begin(&b, many);
    for (size_t k = 0; k < COMPARED; k++) {
        measure(&b, &of_b[k], 1);
        measure(&a, &of_a[k], 1);
        growth[k] = of_b[k] / of_a[k] * (double)few / (double)many;
    }
    report(&a, of_a, COMPARED);
    report(&b, of_b, COMPARED);
    qsort(growth, COMPARED, sizeof *growth, by_value);
    printf("growth %.3f\n", growth[COMPARED / 2]);
    end(&a);
    end(&b);
}

int main(int argc, char **argv)
{
    log_set_level(LOG_LEVEL_ERROR);
    size_t groups = argc > 2 ? strtoul(argv[1], NULL, 10) : 1000,
           ticks = argc > 2 ? strtoul(argv[2], NULL, 10) : 90;
    if (argc == 2 || argc > 3 || groups < 1 || ticks < 1)
        die("usage: %s [GROUPS TICKS]", argv[0]);
    run(groups, ticks);
    if (argc < 3)
        compare(1000, 10000);
    return 0;
}
