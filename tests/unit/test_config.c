/* The configuration as a whole: what is read, and every error by its exact text and place. Drivers and
 * policies here are small fakes behind the same tables as the real ones. */
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

static int source_open(void *self, const struct as_settings *settings, const char *endpoint,
                       struct as_error *err)
{
    (void)self, (void)settings;
    opened++;
    return strstr(endpoint, "bad") ? as_settings_fail(settings, "address", err, "%s is no socket", endpoint)
                                   : AS_OK;
}

static void fake_close(void *self)
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
    { .name = "memory", .type = AS_OPT_BYTES, .def = "256MiB", .help = "its memory" },
    { .name = "env", .type = AS_OPT_MAP, .help = "its environment" },
    { 0 },
};

static int box_open(void *self, const struct as_settings *settings, const struct as_owner *owner,
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
static int plain_open(void *self, const struct as_settings *settings, const struct as_owner *owner,
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
static int pool_open(void *self, const struct as_settings *settings, const struct as_owner *owner,
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

static int target_init(void *state, const struct as_settings *s, struct as_error *err)
{
    (void)state;
    if (!as_settings_has(s, "per_instance"))
        return as_settings_fail(s, "per_instance", err, "give it");
    return AS_OK;
}
static int any_init(void *state, const struct as_settings *s, struct as_error *err)
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

static const struct as_source_driver *const sources[] = { &lb, &db, NULL };
static const struct as_compute_driver *const computes[] = { &box, &plain, NULL };
static const struct as_balancer_driver *const balancers[] = { &pool, NULL };
static const struct as_policy_type *const policies[] = { &target, &ceiling, &step, NULL };
static const struct as_registry registry = { sources, computes, balancers, policies };

/* --- files --------------------------------------------------------------------------------------- */

static char dir[] = "/tmp/autoscale-config-XXXXXX";
static const char *const names[] = { "main.conf", "more.conf", "policies.d/10-a.conf", "policies.d/20-b.conf",
                                     "policies.d/notes.txt" };

static int setup(void **state)
{
    (void)state;
    return mkdtemp(dir) && chdir(dir) == 0 && mkdir("policies.d", 0700) == 0 ? 0 : -1;
}

static int clear_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(names[i]);
    opened = closed = 0;
    return 0;
}

static int teardown(void **state)
{
    clear_files(state);
    return rmdir("policies.d") || chdir("/") || rmdir(dir);
}

static void put(const char *name, const char *text)
{
    FILE *f = fopen(name, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

/* All problems, one a line; owned by the caller. */
static char *problems_of(const struct cfg_problems *p)
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
static struct cfg *accepted(const char *warnings)
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

static void refused_main(const char *want)
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

static void refused(const char *text, const char *want)
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
static void group_refused(const char *more, const char *want)
{
    char text[4096];
    snprintf(text, sizeof text,
             "%sgroups = { web = { min = 2; max = 20; policies = \"web-load\";\n%s%s}; };\n%s", SOURCES,
             COMPUTE, more, POLICIES(""));
    refused(text, want);
}

/* The policy stands on line 2 of a file that has no other error. */
static void policy_refused(const char *policy, const char *want)
{
    char text[4096];
    snprintf(text, sizeof text, "policies = { web-load = { \n%s }; };\n%s%s", policy, SOURCES, GROUP(""));
    refused(text, want);
}

/* --- what is read -------------------------------------------------------------------------------- */

static void a_whole_configuration_is_read(void **state)
{
    (void)state;
    put("main.conf",
        "controller = { name = \"shop\"; interval = \"1s\"; state = \"/s.db\"; socket = \"/s.sock\";\n"
        "  retention = \"7d\"; log_level = \"debug\"; };\n"
        "sources = { lb = { driver = \"fakelb\"; address = [ \"/a\", \"/b\" ]; };\n"
        "  db = { driver = \"fakedb\"; conninfo = \"x\"; interval = \"5s\"; timeout = \"1s\"; max_age = "
        "\"1m\"; }; };\n"
        "groups = { web = { min = 2; max = 20; lead = \"8s\";\n"
        "  compute = { driver = \"box\"; hosts = [ \"h1\", \"h2\" ]; image = \"shop:1\"; launches = 2;\n"
        "    timeout = \"20s\"; keep_failed = \"10m\"; };\n"
        "  health = { http = \"/healthz\"; expect = 204; interval = \"500ms\"; timeout = \"2s\";\n"
        "    boot_timeout = \"30s\"; rise = 1; fall = 5; };\n"
        "  balancer = { driver = \"pool\"; address = \"/lb\"; backend = \"web\"; drain = \"45s\"; timeout = "
        "\"3s\"; };\n"
        "  policies = [ \"web-load\", \"db-headroom\" ];\n"
        "  scale_out = { max_step = 4; max_percent = \"100%\"; period = \"30s\"; };\n"
        "  scale_in = { window = \"5m\"; cooldown = \"1m\"; }; }; };\n"
        "policies = { web-load = { type = \"target\"; metric = \"lb.web.sessions\"; per_instance = 40.0; };\n"
        "  db-headroom = { type = \"ceiling\"; metric = \"db.connections_free\"; per_instance = 10; "
        "settle = \"1m\"; }; };\n");
    struct cfg *c = accepted("");
    assert_string_equal(c->name, "shop");
    assert_int_equal(c->interval, 1000);
    assert_string_equal(c->state, "/s.db");
    assert_string_equal(c->socket, "/s.sock");
    assert_int_equal(c->retention, 7 * AS_DAY);
    assert_string_equal(c->log_level, "debug");
    assert_int_equal(c->source_count, 2);
    assert_ptr_equal(c->sources[0].driver, &lb);
    assert_int_equal(c->sources[0].interval, 1000);
    assert_int_equal(c->sources[0].timeout, 2000);
    assert_int_equal(c->sources[0].max_age, 5000); /* 3 intervals and a timeout */
    assert_int_equal(c->sources[1].interval, 5000);
    assert_int_equal(c->sources[1].max_age, 60000);
    assert_int_equal(c->sources[1].at.line, 4);
    assert_string_equal(c->sources[1].at.file, "main.conf");
    const struct cfg_group *g = &c->groups[0];
    assert_int_equal(c->group_count, 1);
    assert_int_equal(g->min, 2);
    assert_int_equal(g->max, 20);
    assert_int_equal(g->lead, 8000);
    assert_int_equal(g->compute.endpoint_count, 2);
    assert_string_equal(g->compute.endpoints[1], "h2");
    assert_int_equal(g->compute.launches, 2);
    assert_int_equal(g->compute.timeout, 20000);
    assert_int_equal(g->compute.keep_failed, 600000);
    assert_int_equal(strlen(g->compute.revision), 16);
    assert_int_equal(g->health.kind, CFG_HEALTH_HTTP);
    assert_string_equal(g->health.path, "/healthz");
    assert_int_equal(g->health.expect, 204);
    assert_int_equal(g->health.interval, 500);
    assert_int_equal(g->health.rise, 1);
    assert_int_equal(g->health.fall, 5);
    assert_ptr_equal(g->balancer.driver, &pool);
    assert_int_equal(g->balancer.drain, 45000);
    assert_int_equal(g->balancer.timeout, 3000);
    assert_int_equal(g->out.max_step, 4);
    assert_int_equal(g->out.max_percent, 100);
    assert_int_equal(g->out.period, 30000);
    assert_int_equal(g->out.window, 0);
    assert_int_equal(g->in.window, 300000);
    assert_int_equal(g->in.cooldown, 60000);
    assert_int_equal(g->policy_count, 2);
    assert_ptr_equal(g->policies[1], &c->policies[1]);
    assert_int_equal(opened, 6); /* lb twice, db, box twice, pool */
    config_free(c);
}

static void what_is_left_out_has_its_default(void **state)
{
    (void)state;
    put("main.conf", "groups = { web = { min = 1; max = 3; compute = { driver = \"plain\"; }; }; };");
    struct cfg *c = accepted(
        "main.conf:1: warning: group 'web': has no policies: it is kept at min = 1 and never scaled\n");
    assert_string_equal(c->name, "autoscale");
    assert_int_equal(c->interval, 2000);
    assert_string_equal(c->state, "/var/lib/autoscale/state.db");
    assert_string_equal(c->socket, "/run/autoscale.sock");
    assert_int_equal(c->retention, 30 * AS_DAY);
    assert_string_equal(c->log_level, "info");
    const struct cfg_group *g = &c->groups[0];
    assert_string_equal(g->compute.endpoints[0], "local");
    assert_int_equal(g->compute.launches, 4);
    assert_int_equal(g->compute.timeout, 60000);
    assert_int_equal(g->compute.keep_failed, 0);
    assert_int_equal(g->health.kind, CFG_HEALTH_RUNNING);
    assert_int_equal(g->health.boot_timeout, 60000);
    assert_int_equal(g->health.rise, 2);
    assert_int_equal(g->health.fall, 3);
    assert_null(g->balancer.driver);
    assert_null(g->canon_balancer);
    assert_int_equal(g->out.window, 0);
    assert_int_equal(g->in.window, 60000);
    assert_int_equal(g->in.period, 15000);
    assert_int_equal(g->lead, 30000);
    config_free(c);
}

static enum cfg_health_kind health_of(const char *blocks)
{
    char text[2048];
    snprintf(text, sizeof text,
             "%sgroups = { web = { min = 2; max = 20; policies = \"web-load\";\n%s%s}; };\n%s", SOURCES,
             COMPUTE, blocks, POLICIES(""));
    put("main.conf", text);
    struct cfg *c = accepted("");
    enum cfg_health_kind kind = c->groups[0].health.kind;
    config_free(c);
    return kind;
}

static void health_without_a_kind_follows_the_balancer(void **state)
{
    (void)state;
#define POOL "balancer = { driver = \"pool\"; address = \"/lb\"; backend = \"web\"; };"
    assert_int_equal(health_of(""), CFG_HEALTH_RUNNING);
    assert_int_equal(health_of(POOL), CFG_HEALTH_TCP);
    assert_int_equal(health_of(POOL "health = { rise = 1; };"), CFG_HEALTH_TCP);
    assert_int_equal(health_of(POOL "health = { tcp = false; };"), CFG_HEALTH_RUNNING);
    assert_int_equal(health_of("health = { tcp = true; };"), CFG_HEALTH_TCP);
    assert_int_equal(health_of("health = { http = \"/\"; };"), CFG_HEALTH_HTTP);
}

static void policy_files_add_in_sorted_order(void **state)
{
    (void)state;
    put("main.conf", SOURCES GROUP("") "policy_dir = \"policies.d\";");
    put("policies.d/20-b.conf",
        "policies = { spare = { type = \"ceiling\"; capacity = 100; per_instance = 1; }; };");
    put("policies.d/10-a.conf", POLICIES(""));
    put("policies.d/notes.txt", "not = a configuration");
    struct cfg *c = accepted("policies.d/20-b.conf:1: warning: policy 'spare': no group names it\n");
    assert_int_equal(c->file_count, 3);
    assert_string_equal(c->files[0], "main.conf");
    assert_string_equal(c->files[1], "policies.d/10-a.conf");
    assert_string_equal(c->files[2], "policies.d/20-b.conf");
    assert_string_equal(c->policies[0].name, "web-load");
    assert_string_equal(c->policies[0].at.file, "policies.d/10-a.conf");
    config_free(c);
}

static void included_files_keep_their_own_places(void **state)
{
    (void)state;
    put("main.conf", "\n@include \"more.conf\"\n" SOURCES POLICIES(""));
    put("more.conf", GROUP(""));
    struct cfg *c = accepted("");
    assert_string_equal(c->groups[0].at.file, "more.conf");
    assert_int_equal(c->groups[0].at.line, 1);
    assert_string_equal(c->files[1], "more.conf");
    config_free(c);
    put("more.conf", "\n" GROUP("maxx = 3;"));
    refused_main("more.conf:4: error: group 'web': unknown option 'maxx': did you mean 'max'?\n");
    put("more.conf", "groups = {\n web = ;");
    refused_main(
        "more.conf:2: error: syntax error: look for a missing quote, bracket or \"=\" here or on the line "
        "before\n");
    unlink("more.conf");
    refused_main("main.conf:2: error: @include \"more.conf\" cannot be read: No such file or directory\n");
    put("more.conf", "@include \"a\\b\"\n");
    refused_main("more.conf:1: error: @include wants the name of a file, as @include \"web.conf\"\n");
    put("more.conf", "@include \"more.conf\"\n");
    refused_main("more.conf:1: error: @include \"more.conf\": files include each other too deeply\n");
}

/* --- errors -------------------------------------------------------------------------------------- */

static void all_errors_are_reported_at_once(void **state)
{
    (void)state;
    put("main.conf", "contoller = { };\n"
                     "sources = { lb = { driver = \"fakelb\"; adress = \"/lb\"; };\n"
                     "  db = { driver = \"fakebd\"; conninfo = \"x\"; }; };\n"
                     "groups = {\n"
                     "  web = { min = 5; max = \"20\"; policies = [ \"web-laod\", \"extra\" ];\n"
                     "    compute = { driver = \"box\"; memory = 512;\n"
                     "      hosts = [ \"a\", \"a\" ]; }; };\n"
                     "  Api = { }; };\n"
                     "policies = { web-load = { type = \"target\"; metric = \"db.conections\"; }; };\n"
                     "policy_dir = \"policies.d\";\n");
    put("policies.d/10-a.conf",
        "policies = { extra = { type = \"targt\"; };\n web-load = { type = \"step\"; }; };\n"
        "groups = { };\n");
    refused_main(
        "main.conf:1: error: unknown key 'contoller': did you mean 'controller'?\n"
        "main.conf:2: error: source 'lb' (fakelb): 'address' is missing (the sockets)\n"
        "main.conf:2: error: source 'lb' (fakelb): unknown option 'adress': did you mean 'address'?\n"
        "main.conf:3: error: source 'db': no source driver is called 'fakebd': did you mean 'fakedb'?\n"
        "main.conf:5: error: group 'web': max: wants a whole number: write 20 without quotes\n"
        "main.conf:5: error: group 'web': policies: there is no policy 'web-laod': did you mean 'web-load'?\n"
        "main.conf:6: error: group 'web': compute (box): 'image' is missing (what runs)\n"
        "main.conf:6: error: group 'web': compute (box): memory: wants a size with its unit, as \"512MiB\": "
        "write "
        "\"512MiB\" instead of 512\n"
        "main.conf:8: error: group 'Api': a name has at most 48 lower case letters, digits and dashes, and "
        "begins "
        "with a letter\n"
        "main.conf:9: error: policy 'web-load' (target): per_instance: give it\n"
        "policies.d/10-a.conf:1: error: policy 'extra': no policy type is called 'targt': did you mean "
        "'target'?\n"
        "policies.d/10-a.conf:2: error: policy 'web-load': already defined at main.conf:9\n"
        "policies.d/10-a.conf:3: error: 'groups' belongs in the main file: a file of policy_dir holds only "
        "'policies'\n");
}

static void a_file_that_cannot_be_read_is_an_io_error(void **state)
{
    (void)state;
    struct cfg *c = NULL;
    struct cfg_problems problems = { 0 };
    assert_int_equal(config_load("nowhere.conf", &registry, &c, &problems), AS_EIO);
    char *text = problems_of(&problems);
    assert_string_equal(text, "nowhere.conf: error: cannot be read: No such file or directory\n");
    free(text);
    config_problems_fini(&problems);
    assert_int_equal(config_load("policies.d", &registry, &c, &problems), AS_EIO);
    text = problems_of(&problems);
    assert_string_equal(text, "policies.d: error: cannot be read: not a regular file\n");
    free(text);
    config_problems_fini(&problems);
    assert_null(c);
}

static void a_file_beyond_the_cap_is_refused_unparsed(void **state)
{
    (void)state;
    FILE *f = fopen("main.conf", "w");
    assert_non_null(f);
    for (size_t i = 0; i <= 1024 * 1024; i++)
        putc('#', f);
    fclose(f);
    struct cfg *c = NULL;
    struct cfg_problems problems = { 0 };
    assert_int_equal(config_load("main.conf", &registry, &c, &problems), AS_EIO);
    assert_string_equal(problems.items[0].text, "cannot be read: larger than 1 MiB");
    config_problems_fini(&problems);
}

static void the_top_level_is_strict(void **state)
{
    (void)state;
    refused("", "main.conf: error: there is no group: add groups = { web = { … }; };\n");
    refused("groups = [ ];", "main.conf:1: error: groups: wants a block, as { name = { … }; }\n");
    refused(
        "controller = { name = \"Shop 1\"; interval = \"10ms\"; log_level = \"loud\"; };\n" SOURCES GROUP("")
            POLICIES(""),
        "main.conf:1: error: controller: interval: \"10ms\" is out of range (100ms to 1h)\n"
        "main.conf:1: error: controller: log_level: \"loud\" is none of \"error\", \"warning\", \"info\", "
        "\"debug\"\n"
        "main.conf:1: error: controller: name: \"Shop 1\" must be at most 48 lower case letters, digits and "
        "dashes, and begin with a letter\n");
    refused(SOURCES GROUP("") POLICIES("") "policy_dir = \"nowhere.d\";",
            "main.conf:9: error: policy_dir: nowhere.d cannot be read: No such file or directory\n");
    refused("groups = { web = { min = 1;\n min = 2; }; };",
            "main.conf:2: error: this name is already set in the same block\n");
    refused("groups = { web = { max = 30s; }; };\nx = 5000000000;\n",
            "main.conf:1: error: 30s needs double quotes: write \"30s\"\n"
            "main.conf:2: error: the number 5000000000 does not fit 32 bits and would be cut: write "
            "5000000000L\n");
}

static void group_errors_have_their_place(void **state)
{
    (void)state;
    group_refused("min_ = 3;",
                  "main.conf:5: error: group 'web': unknown option 'min_': did you mean 'min'?\n");
    group_refused(
        "lead = \"-1s\";",
        "main.conf:5: error: group 'web': lead: \"-1s\" is not a duration: write \"500ms\", \"30s\", \"5m\", "
        "\"2h\", \"1d\" or \"1h30m\"\n");
    group_refused("balancer = { };", "main.conf:5: error: group 'web': balancer: 'driver' is missing\n");
    group_refused("balancer = { driver = \"pool\";\n address = [ \"/a\", \"/a\" ]; backend = \"web\"; };",
                  "main.conf:6: error: group 'web': balancer (pool): address: \"/a\" is listed twice\n");
    group_refused(
        "balancer = { driver = \"lvs\"; };",
        "main.conf:5: error: group 'web': balancer: no balancer driver is called 'lvs' (there is: pool)\n");
    group_refused(
        "health = { http = \"healthz\"; };",
        "main.conf:5: error: group 'web': health: http: a path begins with \"/\" and has no blanks, as "
        "\"/healthz\"\n");
    group_refused("health = { http = \"/\"; tcp = true; };",
                  "main.conf:5: error: group 'web': health: tcp: give either http or tcp, not both\n");
    group_refused(
        "health = { expect = 204; };",
        "main.conf:5: error: group 'web': health: expect: only an HTTP check has a status: give http as "
        "well\n");
    group_refused("health = { expect = 99; };",
                  "main.conf:5: error: group 'web': health: expect: 99 is out of range (100 to 599)\n");
    group_refused(
        "scale_in = { windw = \"5m\"; };",
        "main.conf:5: error: group 'web': scale_in: unknown option 'windw': did you mean 'window'?\n");
    group_refused("scale_in = { max_percent = \"12.5%\"; };",
                  "main.conf:5: error: group 'web': scale_in: max_percent: wants whole percents\n");
}

static void bounds_must_make_sense(void **state)
{
    (void)state;
    refused("groups = { web = {\n min = 5; max = 3; compute = { driver = \"plain\"; }; }; };",
            "main.conf:2: error: group 'web': min: 5 is above max = 3\n");
    refused("groups = { web = {\n min = 0; max = 3; compute = { driver = \"plain\"; }; }; };",
            "main.conf:2: error: group 'web': min: 0 needs a policy with a metric, or nothing would ever "
            "start the "
            "first instance\n");
    refused("groups = { web = {\n min = -1; max = 1001; compute = { driver = \"plain\"; }; }; };",
            "main.conf:2: error: group 'web': max: 1001 is out of range (1 to 1000)\n"
            "main.conf:2: error: group 'web': min: -1 is out of range (0 to 1000)\n");
    refused(
        "groups = {\n web = { }; };",
        "main.conf:2: error: group 'web': 'compute' is missing (what an instance is and where it runs)\n"
        "main.conf:2: error: group 'web': 'max' is missing (most instances that may exist at any moment, "
        "those "
        "that fail or leave included)\n"
        "main.conf:2: error: group 'web': 'min' is missing (least instances that serve, whatever the metrics "
        "say)\n");
    put("main.conf",
        SOURCES POLICIES("") "groups = { web = { min = 0; max = 9; policies = \"web-load\"; " COMPUTE
                             "}; };");
    config_free(accepted(""));
}

static void drivers_judge_their_own_options(void **state)
{
    (void)state;
    refused(SOURCES POLICIES("") "groups = { web = { min = 1; max = 9; policies = \"web-load\";\n"
                                 "compute = { driver = \"box\";\n image = \"broken\"; }; }; };",
            "main.conf:8: error: group 'web': compute (box): image: is broken for autoscale/web\n");
    refused("sources = { lb = { driver = \"fakelb\";\n address = [ \"/good\", \"/bad\" ]; }; };\n"
            "groups = { web = { min = 1; max = 2; compute = { driver = \"plain\"; }; }; };",
            "main.conf:2: error: source 'lb' (fakelb): address: /bad is no socket\n");
    refused("sources = { db = { driver = \"fakedb\"; conninfo = \"x\"; password = \"hunter2\"; }; };\n"
            "groups = { web = { min = 1; max = 2; compute = { driver = \"plain\"; }; }; };",
            "main.conf:1: error: source 'db' (fakedb): unknown option 'password': a secret is read from a "
            "file, write "
            "'password_file'\n");
    policy_refused("type = \"target\"; metric = \"lb.web.sessions\";",
                   "main.conf:1: error: policy 'web-load' (target): per_instance: give it\n");
}

static void metrics_must_exist(void **state)
{
    (void)state;
#define TARGET(metric) "type = \"target\"; per_instance = 1; metric = \"" metric "\";"
    policy_refused(
        TARGET("bl.web.sessions"),
        "main.conf:2: error: policy 'web-load' (target): metric: there is no source 'bl': did you mean "
        "'lb'?\n");
    policy_refused(
        TARGET("cache.hits"),
        "main.conf:2: error: policy 'web-load' (target): metric: there is no source 'cache' (there are: "
        "lb, db)\n");
    policy_refused(
        TARGET("lb.sessions"),
        "main.conf:2: error: policy 'web-load' (target): metric: source 'lb' (fakelb) measures several "
        "things: write \"lb.OBJECT.sessions\"\n");
    policy_refused(
        TARGET("db.main.connections"),
        "main.conf:2: error: policy 'web-load' (target): metric: source 'db' (fakedb) measures one thing: "
        "write \"db.connections\"\n");
    policy_refused(
        TARGET("lb.web.session"),
        "main.conf:2: error: policy 'web-load' (target): metric: source 'lb' (fakelb) has no series "
        "'session': did you mean 'sessions'?\n");
    policy_refused(
        TARGET("db.load"),
        "main.conf:2: error: policy 'web-load' (target): metric: source 'db' (fakedb) has no series 'load' "
        "(there are: connections, connections_free, carts)\n");
    policy_refused(
        TARGET("sessions"),
        "main.conf:2: error: policy 'web-load' (target): metric: \"sessions\" is not a metric: write "
        "\"source.series\" or \"source.object.series\"\n");
    put("main.conf", SOURCES GROUP("") "policies = { web-load = { " TARGET("db.carts") " }; };");
    config_free(accepted(""));
}

/* --- lints --------------------------------------------------------------------------------------- */

static void lints_warn_and_refuse_nothing(void **state)
{
    (void)state;
    put("main.conf", "sources = { lb = { driver = \"fakelb\"; address = \"/lb\"; interval = \"30s\"; max_age "
                     "= \"10s\"; }; };\n"
                     "groups = { web = { min = 8; max = 10; compute = { driver = \"plain\"; };\n"
                     "  health = { tcp = true; boot_timeout = \"1s\"; interval = \"2s\"; };\n"
                     "  scale_in = { window = \"0s\"; cooldown = \"5m\"; };\n"
                     "  policies = [ \"load\", \"room\", \"up\", \"down\" ]; }; };\n"
                     "policies = {\n"
                     "  load = { type = \"target\"; metric = \"lb.web.sessions\"; per_instance = 4; "
                     "tolerance = \"2%\"; };\n"
                     "  room = { type = \"ceiling\"; capacity = 100; reserve = 30; per_instance = 10; };\n"
                     "  up = { type = \"step\"; metric = \"lb.web.queue\"; threshold = 10;\n"
                     "    steps = ( { from = 0; change = \"+2\"; } ); };\n"
                     "  down = { type = \"step\"; metric = \"lb.web.queue\";\n"
                     "    steps = ( { to = 20; change = \"-1\"; } ); }; };\n");
    struct cfg *c = accepted(
        "main.conf:1: warning: source 'lb': max_age 10s is shorter than the interval 30s: its data will be "
        "stale "
        "between polls and nothing is ever scaled in\n"
        "main.conf:2: warning: group 'web': health: boot_timeout 1s is shorter than 2 checks every 2s: no "
        "instance can "
        "become healthy in time\n"
        "main.conf:2: warning: group 'web': scale_in: a cooldown without a window: one low reading still "
        "removes "
        "instances; write window = \"60s\"\n"
        "main.conf:7: warning: policy 'load': tolerance: 2% is less than half of what one instance changes "
        "(10% of the "
        "metric even at max = 10 of group 'web'): the group will swing with every ripple; write 5% or more\n"
        "main.conf:8: warning: policy 'room': capacity: leaves room for 7 instances, below min = 8 of group "
        "'web': min "
        "wins, and the resource is overrun\n"
        "main.conf:12: warning: policy 'down': steps: overlap with policy 'up': from 10 to 20 'up' grows "
        "while 'down' "
        "shrinks, so the shrinking never happens there\n");
    config_free(c);
}

#define CEILING(source, settle)                                                                              \
    "sources = { lb = { driver = \"fakelb\"; address = \"/lb\"; " source " }; };\n"                          \
    "groups = { web = { min = 1; max = 10; compute = { driver = \"plain\"; }; policies = [ \"room\" ]; }; "  \
    "};\n"                                                                                                   \
    "policies = { room = { type = \"ceiling\"; metric = \"lb.web.queue\"; per_instance = 2; " settle         \
    " }; };\n"

static void a_ceiling_that_settles_by_one_reading_is_warned_of(void **state)
{
    (void)state;
    put("main.conf", CEILING("interval = \"5s\";", "")); /* max_age: 3 intervals and the timeout */
    config_free(
        accepted("main.conf:3: warning: policy 'room': settle: 10s is shorter than the max_age 17s of "
                 "source 'lb': one reading alone can raise the ceiling; write settle = \"17s\" or "
                 "more\n"));
    put("main.conf", CEILING("interval = \"30s\"; max_age = \"30s\";", "settle = \"29s\";"));
    config_free(
        accepted("main.conf:3: warning: policy 'room': settle: 29s is shorter than the interval 30s of "
                 "source 'lb': one reading alone can raise the ceiling; write settle = \"30s\" or "
                 "more\n"));
    put("main.conf", CEILING("interval = \"5s\";", "settle = \"17s\";"));
    config_free(accepted(""));
    put("main.conf", CEILING("interval = \"5s\";", "settle = \"0s\";")); /* wants none */
    config_free(accepted(""));
    put("main.conf", CEILING("", ""));
    config_free(accepted(""));
}

static void steps_that_only_touch_do_not_overlap(void **state)
{
    (void)state;
    put("main.conf", SOURCES "groups = { web = { min = 1; max = 10; compute = { driver = \"plain\"; };\n"
                             "  policies = [ \"up\", \"down\", \"other\" ]; }; };\n"
                             "policies = {\n"
                             "  up = { type = \"step\"; metric = \"lb.web.queue\"; steps = ( { from = 20; "
                             "change = \"+2\"; } ); };\n"
                             "  down = { type = \"step\"; metric = \"lb.web.queue\"; steps = ( { to = 20; "
                             "change = \"-1\"; } ); };\n"
                             "  other = { type = \"step\"; metric = \"lb.api.queue\"; steps = ( { to = 99; "
                             "change = \"-1\"; } ); };\n"
                             "};\n");
    config_free(accepted(""));
}

/* --- reload -------------------------------------------------------------------------------------- */

static struct cfg *load_text(const char *text)
{
    put("main.conf", text);
    return accepted("");
}

static char *diff_of(const char *before, const char *after)
{
    struct cfg *a = load_text(before), *b = load_text(after);
    struct cfg_diff d = { 0 };
    char *all = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&all, &size);
    assert_non_null(out);
    assert_int_equal(config_diff(a, b, &d), AS_OK);
    for (size_t i = 0; i < d.count; i++)
        fprintf(out, "%s\n", d.lines[i]);
    assert_int_equal(fclose(out), 0);
    config_diff_fini(&d);
    config_free(a);
    config_free(b);
    return all;
}

static void a_diff_names_every_change(void **state)
{
    (void)state;
    char *text = diff_of(
        SOURCES GROUP("scale_in = { window = \"1m\"; };") POLICIES(""),
        "controller = { interval = \"1s\"; log_level = \"debug\"; };\n"
        "sources = { lb = { driver = \"fakelb\"; address = [ \"/lb\", \"/lb2\" ]; timeout = \"1500ms\"; };\n"
        "            db2 = { driver = \"fakedb\"; conninfo = \"y\"; }; };\n"
        "groups = { web = { min = 2; max = 30; policies = [ \"web-load\", \"room\" ];\n"
        "compute = { driver = \"box\"; image = \"shop:2\"; env = { TOKEN = \"hunter2\"; }; memory = "
        "\"1GiB\"; };\n"
        "health = { http = \"/healthz\"; };\n"
        "balancer = { driver = \"pool\"; address = \"/lb\"; backend = \"web\"; }; };\n"
        "api = { min = 1; max = 2; policies = \"room\"; compute = { driver = \"plain\"; }; }; };\n"
        "policies = { web-load = { type = \"target\"; metric = \"lb.web.queue\"; per_instance = 50; };\n"
        "room = { type = \"ceiling\"; capacity = 100; per_instance = 1; reserve = 5; }; };");
    assert_string_equal(text, "controller: interval 2s -> 1s\n"
                              "controller: log_level info -> debug\n"
                              "source 'lb': interval 2s -> 1s\n"
                              "source 'lb': timeout 2s -> 1s500ms\n"
                              "source 'lb': max_age 8s -> 4s500ms\n"
                              "source 'lb': address changed (1 -> 2 entries)\n"
                              "source 'db' removed\n"
                              "source 'db2' added\n"
                              "policy 'web-load': metric lb.web.sessions -> lb.web.queue\n"
                              "policy 'web-load': per_instance 40 -> 50\n"
                              "policy 'room' added\n"
                              "group 'web': max 20 -> 30\n"
                              "group 'web': compute: image shop:1 -> shop:2\n"
                              "group 'web': compute: memory 256MiB -> 1GiB\n"
                              "group 'web': compute: env changed (0 -> 1 entries)\n"
                              "group 'web': balancer: driver none -> pool\n"
                              "group 'web': health: check running -> http\n"
                              "group 'web': health: http \"\" -> /healthz\n"
                              "group 'web': policy 'room' added\n"
                              "group 'api' added\n");
    free(text);
}

static void rewriting_without_changing_is_no_difference(void **state)
{
    (void)state;
    char *text = diff_of(
        SOURCES GROUP("scale_in = { window = \"1m\"; };") POLICIES(""),
        "policies = { web-load = { per_instance = 40.0; metric = \"lb.web.sessions\"; type = \"target\";\n"
        "  tolerance = \"10%\"; }; };\n"
        "groups : { web : { max = 20; min = 0x2; policies = (\"web-load\");\n"
        "  compute = { image = \"shop\" \":1\"; driver = \"box\"; memory = \"262144KiB\"; }; }; "
        "};\n" SOURCES);
    assert_string_equal(text, "");
    free(text);
}

static void canon_is_equal_for_equal_meaning_only(void **state)
{
    (void)state;
    struct cfg *a = load_text(SOURCES GROUP("") POLICIES(""));
    struct cfg *b =
        load_text(SOURCES "groups = { web = { policies = \"web-load\"; max = 20; min = 2; lead = \"30s\";\n"
                          "scale_in = { window = \"1m\"; }; " COMPUTE "}; };" POLICIES(""));
    struct cfg *c =
        load_text(SOURCES GROUP("") "policies = { web-load = { type = \"target\"; per_instance = 41;\n"
                                    "metric = \"lb.web.sessions\"; }; };");
    assert_string_equal(a->groups[0].canon, b->groups[0].canon);
    assert_string_equal(a->sources[1].canon, b->sources[1].canon);
    assert_string_not_equal(a->groups[0].canon, c->groups[0].canon); /* its policies count */
    assert_string_equal(a->groups[0].canon_compute, c->groups[0].canon_compute);
    config_free(a);
    config_free(b);
    config_free(c);
}

static void revision_of(const char *compute, char out[CFG_REVISION_MAX])
{
    char text[2048];
    snprintf(text, sizeof text,
             "%s%sgroups = { web = { min = 1; max = 9; policies = \"web-load\"; compute = { driver = "
             "\"box\"; %s }; }; };",
             SOURCES, POLICIES(""), compute);
    struct cfg *c = load_text(text);
    snprintf(out, CFG_REVISION_MAX, "%s", c->groups[0].compute.revision);
    config_free(c);
}

static void the_revision_follows_the_template_alone(void **state)
{
    (void)state;
    char a[CFG_REVISION_MAX], b[CFG_REVISION_MAX];
    revision_of("image = \"shop:1\";", a);
    revision_of("image = \"shop:1\"; hosts = [ \"h1\", \"h2\" ]; launches = 9; timeout = \"5s\"; keep_failed "
                "= \"1h\"; "
                "memory = \"256MiB\";",
                b);
    assert_string_equal(a, b);
    assert_string_equal(a, "90c3b3c174159142");
    revision_of("image = \"shop:2\";", b);
    assert_string_not_equal(a, b);
    revision_of("image = \"shop:1\"; memory = \"257MiB\";", b);
    assert_string_not_equal(a, b);
}

static void problem_texts_name_their_place(void **state)
{
    (void)state;
    char buf[256];
    struct cfg_problem p = { .file = "x.conf", .line = 7, .text = "no" };
    assert_string_equal(config_problem_text(&p, buf, sizeof buf), "x.conf:7: error: no");
    p.line = 0;
    p.warning = true;
    assert_string_equal(config_problem_text(&p, buf, sizeof buf), "x.conf: warning: no");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, clear_files, clear_files)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_whole_configuration_is_read),
        TEST(what_is_left_out_has_its_default),
        TEST(health_without_a_kind_follows_the_balancer),
        TEST(policy_files_add_in_sorted_order),
        TEST(included_files_keep_their_own_places),
        TEST(all_errors_are_reported_at_once),
        TEST(a_file_that_cannot_be_read_is_an_io_error),
        TEST(a_file_beyond_the_cap_is_refused_unparsed),
        TEST(the_top_level_is_strict),
        TEST(group_errors_have_their_place),
        TEST(bounds_must_make_sense),
        TEST(drivers_judge_their_own_options),
        TEST(metrics_must_exist),
        TEST(lints_warn_and_refuse_nothing),
        TEST(a_ceiling_that_settles_by_one_reading_is_warned_of),
        TEST(steps_that_only_touch_do_not_overlap),
        TEST(a_diff_names_every_change),
        TEST(rewriting_without_changing_is_no_difference),
        TEST(canon_is_equal_for_equal_meaning_only),
        TEST(the_revision_follows_the_template_alone),
        TEST(problem_texts_name_their_place),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
