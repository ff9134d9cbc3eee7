/* What the tests of the configuration share: small fakes of drivers and policies behind the same tables as the real
 * ones, files in a directory of the test's own, and what is expected of them by its exact text. Included once. */
#ifndef UNIT_CONFIG_KIT_H
#define UNIT_CONFIG_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../controller/config/config.h"

/* --- fakes --------------------------------------------------------------------------------------- */

static int opened, closed; /* handles of all fakes */

static const struct as_option lb_options[] = {
    { .name = "address", .type = AS_OPT_STRINGS, .flags = AS_OPT_REQUIRED, .help = "the sockets" },
    { 0 },
};
static const struct as_option db_options[] = {
    { .name = "conninfo", .type = AS_OPT_STRING, .flags = AS_OPT_REQUIRED, .help = "where it is" },
    { .name = "password_file", .type = AS_OPT_SECRET, .help = "its password" },
    { .name = "queries", .type = AS_OPT_MAP, .help = "further series" },
    { 0 },
};
static const struct as_series_doc lb_series[] = {
    { "sessions", "sessions", "open sessions", AS_MERGE_SUM },
    { "queue", "requests", "waiting requests", AS_MERGE_SUM },
    { 0 },
};
static const struct as_series_doc db_series[] = {
    { "connections", "connections", "open connections", AS_MERGE_SUM },
    { "connections_free", "connections", "free connections", AS_MERGE_SUM },
    { 0 },
};

static inline int source_open(void *self, const struct as_settings *settings, const char *endpoint,
                       struct as_error *err)
{
    (void)self, (void)settings;
    opened++;
    return strstr(endpoint, "bad") ? as_settings_fail(settings, "address", err, "%s is no socket", endpoint)
                                   : AS_OK;
}

static inline void fake_close(void *self)
{
    (void)self;
    closed++;
}

static const struct as_source_driver lb = { .name = "fakelb",
                                            .options = lb_options,
                                            .series = lb_series,
                                            .has_objects = true,
                                            .endpoints = "address",
                                            .state_size = 8,
                                            .open = source_open,
                                            .close = fake_close };
static const struct as_source_driver db = { .name = "fakedb",
                                            .options = db_options,
                                            .series = db_series,
                                            .user_series = "queries",
                                            .open = source_open,
                                            .close = fake_close };

static const struct as_option box_options[] = {
    { .name = "hosts", .type = AS_OPT_STRINGS, .def = "unix:///box.sock", .help = "the hosts" },
    { .name = "image", .type = AS_OPT_STRING, .flags = AS_OPT_REQUIRED, .help = "what runs" },
    { .name = "slots", .type = AS_OPT_INT, .flags = AS_OPT_HOSTS, .def = "1", .help = "room on each host" },
    { .name = "memory", .type = AS_OPT_BYTES, .def = "256MiB", .help = "its memory" },
    { .name = "env", .type = AS_OPT_MAP, .help = "its environment" },
    { 0 },
};

static inline int box_open(void *self, const struct as_settings *settings, const struct as_owner *owner,
                    const char *endpoint, struct as_error *err)
{
    (void)self, (void)endpoint;
    opened++;
    if (strcmp(as_settings_str(settings, "image"), "broken") == 0)
        return as_settings_fail(settings, "image", err, "is broken for %s/%s", owner->controller,
                                owner->group);
    return AS_OK;
}

static const struct as_compute_driver box = { .name = "box",
                                              .options = box_options,
                                              .endpoints = "hosts",
                                              .state_size = 16,
                                              .open = box_open,
                                              .close = fake_close };
static const struct as_option plain_options[] = { { 0 } };
static inline int plain_open(void *self, const struct as_settings *settings, const struct as_owner *owner,
                      const char *endpoint, struct as_error *err)
{
    (void)self, (void)settings, (void)owner, (void)err;
    opened++;
    return strcmp(endpoint, "local") == 0 ? AS_OK : as_fail(err, AS_EINVAL, "endpoint %s", endpoint);
}
static const struct as_compute_driver plain = {
    .name = "plain", .options = plain_options, .open = plain_open, .close = fake_close
};

static const struct as_option pool_options[] = {
    { .name = "address", .type = AS_OPT_STRINGS, .flags = AS_OPT_REQUIRED, .help = "the sockets" },
    { .name = "backend", .type = AS_OPT_STRING, .flags = AS_OPT_REQUIRED, .help = "the pool" },
    { 0 },
};
static inline int pool_open(void *self, const struct as_settings *settings, const struct as_owner *owner,
                     const char *endpoint, struct as_error *err)
{
    (void)self, (void)settings, (void)owner, (void)endpoint, (void)err;
    opened++;
    return AS_OK;
}
static const struct as_balancer_driver pool = {
    .name = "pool", .options = pool_options, .endpoints = "address", .open = pool_open, .close = fake_close
};

static const struct as_option target_options[] = {
    { .name = "metric", .type = AS_OPT_METRIC, .flags = AS_OPT_REQUIRED, .help = "what is held" },
    { .name = "per_instance", .type = AS_OPT_NUMBER, .help = "of one instance" },
    { .name = "tolerance", .type = AS_OPT_PERCENT, .def = "10%", .max = 1, .help = "dead band" },
    { 0 },
};
static const struct as_option ceiling_options[] = {
    { .name = "metric", .type = AS_OPT_METRIC, .help = "what is left" },
    { .name = "capacity", .type = AS_OPT_NUMBER, .help = "the whole" },
    { .name = "per_instance", .type = AS_OPT_NUMBER, .flags = AS_OPT_REQUIRED, .help = "of one instance" },
    { .name = "reserve", .type = AS_OPT_NUMBER, .def = "0", .help = "kept" },
    { .name = "settle", .type = AS_OPT_DURATION, .def = "10s", .help = "shows for" },
    { 0 },
};
static const struct as_option step_sub[] = {
    { .name = "from", .type = AS_OPT_NUMBER, .help = "begin" },
    { .name = "to", .type = AS_OPT_NUMBER, .help = "end" },
    { .name = "change", .type = AS_OPT_STRING, .flags = AS_OPT_REQUIRED, .help = "change" },
    { 0 },
};
static const struct as_option step_options[] = {
    { .name = "metric", .type = AS_OPT_METRIC, .flags = AS_OPT_REQUIRED, .help = "what is looked at" },
    { .name = "threshold", .type = AS_OPT_NUMBER, .help = "base" },
    { .name = "steps", .type = AS_OPT_LIST, .flags = AS_OPT_REQUIRED, .sub = step_sub, .help = "ranges" },
    { 0 },
};

static inline int target_init(void *state, const struct as_settings *s, struct as_error *err)
{
    (void)state;
    if (!as_settings_has(s, "per_instance"))
        return as_settings_fail(s, "per_instance", err, "give it");
    return AS_OK;
}
static inline int any_init(void *state, const struct as_settings *s, struct as_error *err)
{
    (void)state, (void)s, (void)err;
    return AS_OK;
}

static const struct as_policy_type target = { .name = "target",
                                              .options = target_options,
                                              .init = target_init };
static const struct as_policy_type ceiling = { .name = "ceiling",
                                               .options = ceiling_options,
                                               .init = any_init };
static const struct as_policy_type step = { .name = "step", .options = step_options, .init = any_init };
static const struct as_policy_type forecast = { .name = "forecast",
                                                .options = target_options,
                                                .init = target_init };

static const struct as_source_driver *const sources[] = { &lb, &db, NULL };
static const struct as_compute_driver *const computes[] = { &box, &plain, NULL };
static const struct as_balancer_driver *const balancers[] = { &pool, NULL };
static const struct as_policy_type *const policies[] = { &target, &ceiling, &step, &forecast, NULL };
static const struct as_registry registry = { sources, computes, balancers, policies };

/* --- files --------------------------------------------------------------------------------------- */

static char dir[] = "/tmp/autoscale-config-XXXXXX";
static const char *const names[] = { "main.conf", "more.conf", "policies.d/10-a.conf", "policies.d/20-b.conf",
                                     "policies.d/notes.txt" };

static inline int setup(void **state)
{
    (void)state;
    return mkdtemp(dir) && chdir(dir) == 0 && mkdir("policies.d", 0700) == 0 ? 0 : -1;
}

static inline int clear_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(names[i]);
    opened = closed = 0;
    return 0;
}

static inline int teardown(void **state)
{
    clear_files(state);
    return rmdir("policies.d") || chdir("/") || rmdir(dir);
}

static inline void put(const char *name, const char *text)
{
    FILE *f = fopen(name, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

/* All problems, one a line; owned by the caller. */
static inline char *problems_of(const struct cfg_problems *p)
{
    char *all = NULL, line[1024];
    size_t size = 0;
    FILE *out = open_memstream(&all, &size);
    assert_non_null(out);
    for (size_t i = 0; i < p->count; i++)
        fprintf(out, "%s\n", config_problem_text(&p->items[i], line, sizeof line));
    assert_int_equal(fclose(out), 0);
    return all;
}

/* Loads main.conf, which must be accepted with exactly these warnings. */
static inline struct cfg *accepted(const char *warnings)
{
    struct cfg *c = NULL;
    struct cfg_problems problems = { 0 };
    int rc = config_load("main.conf", &registry, &c, &problems);
    char *text = problems_of(&problems);
    assert_string_equal(text, warnings);
    assert_int_equal(rc, AS_OK);
    assert_int_equal(problems.errors, 0);
    assert_int_equal(opened, closed);
    free(text);
    config_problems_fini(&problems);
    return c;
}

static inline void refused_main(const char *want)
{
    struct cfg *c = NULL;
    struct cfg_problems problems = { 0 };
    int rc = config_load("main.conf", &registry, &c, &problems);
    char *text = problems_of(&problems);
    assert_string_equal(text, want);
    assert_int_equal(rc, AS_EINVAL);
    assert_null(c);
    assert_int_equal(opened, closed);
    free(text);
    config_problems_fini(&problems);
}

static inline void refused(const char *text, const char *want)
{
    put("main.conf", text);
    refused_main(want);
}

#define SOURCES                                                                                              \
    "sources = { lb = { driver = \"fakelb\"; address = \"/lb\"; };\n"                                        \
    "            db = { driver = \"fakedb\"; conninfo = \"x\"; queries = { carts = \"select 1\"; }; }; };\n"
#define WEB_LOAD "web-load = { type = \"target\"; metric = \"lb.web.sessions\"; per_instance = 40; };\n"
#define COMPUTE  "compute = { driver = \"box\"; image = \"shop:1\"; };\n"
#define GROUP(more)                                                                                          \
    "groups = { web = { min = 2; max = 20; policies = [ \"web-load\" ];\n" COMPUTE more "}; };\n"
#define POLICIES(more) "policies = {\n" WEB_LOAD more "};\n"

/* One group on lines 3 and 4; `more` begins on line 5. */
static inline void group_refused(const char *more, const char *want)
{
    char text[4096];
    snprintf(text, sizeof text,
             "%sgroups = { web = { min = 2; max = 20; policies = \"web-load\";\n%s%s}; };\n%s", SOURCES,
             COMPUTE, more, POLICIES(""));
    refused(text, want);
}

/* The policy stands on line 2 of a file that has no other error. */
static inline void policy_refused(const char *policy, const char *want)
{
    char text[4096];
    snprintf(text, sizeof text, "policies = { web-load = { \n%s }; };\n%s%s", policy, SOURCES, GROUP(""));
    refused(text, want);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, clear_files, clear_files)

#endif
