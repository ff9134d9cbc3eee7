/* What the simulated tests share: drivers that only have names, a configuration from text, an engine in a
 * simulated world, and its restart. */
#ifndef TESTS_SIM_SIMKIT_H
#define TESTS_SIM_SIMKIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../controller/runtime/log.h"
#include "simworld.h"

static int kit_open_source(void *self, const struct as_settings *s, const char *endpoint, struct as_error *err)
{
    (void)self, (void)s, (void)endpoint, (void)err;
    return AS_OK;
}

static int kit_open_owned(void *self, const struct as_settings *s, const struct as_owner *owner, const char *endpoint,
                          struct as_error *err)
{
    (void)self, (void)s, (void)owner, (void)endpoint, (void)err;
    return AS_OK;
}

static void kit_close(void *self)
{
    (void)self;
}

/* Only that they are there is looked at: the simulated world carries operations out. */
static int kit_park(void *self, as_time deadline, const struct as_instance *inst, struct as_error *err)
{
    (void)self, (void)deadline, (void)inst;
    return as_fail(err, AS_EUNSUP, "simulated");
}

static int kit_unpark(void *self, as_time deadline, const struct as_instance *inst, struct as_instance *out,
                      struct as_error *err)
{
    (void)out;
    return kit_park(self, deadline, inst, err);
}

static const struct as_option kit_endpoint_options[] = {
    { .name = "hosts", .type = AS_OPT_STRINGS, .help = "names" }, { 0 }
};
static const struct as_series_doc kit_series[] = { { "load", "units", "demand", AS_MERGE_SUM },
                                                   { "room", "units", "room left", AS_MERGE_MIN },
                                                   { 0 } };
static const struct as_source_driver kit_source = { .name = "sim",
                                                    .summary = "simulated",
                                                    .options = kit_endpoint_options,
                                                    .series = kit_series,
                                                    .open = kit_open_source,
                                                    .close = kit_close };
static const struct as_source_driver kit_on_demand = { .name = "dear",
                                                       .summary = "simulated, asked when needed",
                                                       .options = kit_endpoint_options,
                                                       .series = kit_series,
                                                       .on_demand = true,
                                                       .open = kit_open_source,
                                                       .close = kit_close };
static const struct as_compute_driver kit_compute = { .name = "sim",
                                                      .summary = "simulated",
                                                      .options = kit_endpoint_options,
                                                      .endpoints = "hosts",
                                                      .open = kit_open_owned,
                                                      .park = kit_park,
                                                      .unpark = kit_unpark,
                                                      .close = kit_close };
static const struct as_balancer_driver kit_balancer = { .name = "sim",
                                                        .summary = "simulated",
                                                        .options = kit_endpoint_options,
                                                        .endpoints = "hosts",
                                                        .open = kit_open_owned,
                                                        .close = kit_close };
static const struct as_source_driver *const kit_sources[] = { &kit_source, &kit_on_demand, NULL };
static const struct as_compute_driver *const kit_computes[] = { &kit_compute, NULL };
static const struct as_balancer_driver *const kit_balancers[] = { &kit_balancer, NULL };

struct kit {
    struct as_registry registry;
    const struct as_policy_type *const *policies; /* NULL: those of the program */
    struct cfg_hold *hold;
    struct simworld *sim;
    struct engine *engine;
    struct journal *journal;
    char journal_path[64];
    double load, room;
    bool blind; /* the source gives nothing */
};

__attribute__((unused)) static bool kit_metric(void *arg, const char *metric, as_time now, double *value)
{
    struct kit *k = arg;
    (void)now;
    if (k->blind)
        return false;
    *value = strstr(metric, "room") ? k->room : k->load;
    return true;
}

static struct cfg_hold *kit_config(struct kit *k, const char *text)
{
    char path[] = "/tmp/autoscale-sim-XXXXXX", line[700];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    struct cfg *c = NULL;
    struct cfg_problems problems = { 0 };
    k->registry = (struct as_registry){ kit_sources, kit_computes, kit_balancers,
                                         k->policies ? k->policies : as_policy_types };
    int rc = config_load(path, &k->registry, &c, &problems);
    for (size_t n = 0; rc != AS_OK && n < problems.count; n++)
        print_error("%s\n", config_problem_text(&problems.items[n], line, sizeof line));
    config_problems_fini(&problems);
    unlink(path);
    assert_int_equal(rc, AS_OK);
    return cfg_hold_new(c);
}

__attribute__((unused)) static void kit_boot(struct kit *k)
{
    struct as_error err = { 0 };
    struct world w = sim_world(k->sim);
    if (journal_open(k->journal_path, "autoscale", JOURNAL_WRITE, &k->journal, &err) != AS_OK)
        fail_msg("%s", err.msg);
    if (engine_new(&w, k->hold, k->journal, sim_now(k->sim), sim_wall(k->sim), &k->engine, &err) != AS_OK)
        fail_msg("%s", err.msg);
    sim_attach(k->sim, k->engine);
}

/* As by kill -9: nothing is said to anybody, what is under way goes on. */
__attribute__((unused)) static void kit_crash(struct kit *k)
{
    sim_attach(k->sim, NULL);
    engine_free(k->engine);
    journal_close(k->journal);
    k->engine = NULL;
    k->journal = NULL;
}

__attribute__((unused)) static void kit_start(struct kit *k, const char *text, const struct sim_params *p)
{
    log_set_level(getenv("SIM_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
    const char *dir = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; /* thousands of commits: no disk needed */
    snprintf(k->journal_path, sizeof k->journal_path, "%s/autoscale-sim-XXXXXX", dir);
    assert_non_null(mkdtemp(k->journal_path)); /* never what a test that was killed has left behind */
    strcat(k->journal_path, "/db");
    k->hold = kit_config(k, text);
    k->sim = sim_new(p, kit_metric, k);
    assert_non_null(k->sim);
    kit_boot(k);
}

__attribute__((unused)) static void kit_end(struct kit *k)
{
    static const char *const suffixes[] = { "", "-wal", "-shm", ".lock" };
    kit_crash(k);
    sim_free(k->sim);
    cfg_hold_put(k->hold);
    for (size_t n = 0; n < 4; n++) {
        char path[96];
        snprintf(path, sizeof path, "%s%s", k->journal_path, suffixes[n]);
        unlink(path);
    }
    *strrchr(k->journal_path, '/') = '\0';
    rmdir(k->journal_path);
}

__attribute__((unused)) static void kit_run(struct kit *k, as_time span)
{
    sim_run(k->sim, sim_now(k->sim) + span, NULL, NULL);
    if (*sim_violation(k->sim))
        fail_msg("%s", sim_violation(k->sim));
}

__attribute__((unused)) static struct group *web(struct kit *k)
{
    return engine_group(k->engine, "web");
}

__attribute__((unused)) static int in_state(struct kit *k, enum inst_state state)
{
    int n = 0;
    for (const struct instance *i = web(k)->instances; i; i = i->next)
        n += i->state == state;
    return n;
}

/* AS_OK, or why the new configuration is refused. */
__attribute__((unused)) static int try_reload(struct kit *k, const char *text, struct as_error *err)
{
    struct cfg_diff diff = { 0 };
    struct cfg_hold *hold = kit_config(k, text);
    int rc = engine_reload(k->engine, hold, &diff, err);
    config_diff_fini(&diff);
    cfg_hold_put(rc == AS_OK ? k->hold : hold);
    k->hold = rc == AS_OK ? hold : k->hold;
    return rc;
}

__attribute__((unused)) static void reload(struct kit *k, const char *text)
{
    struct as_error err = { 0 };
    if (try_reload(k, text, &err) != AS_OK)
        fail_msg("%s", err.msg);
}

#endif
