/* The configuration as a whole: what is read, and what a reload makes of two of them. */
#include "config_kit.h"

/* --- what is read -------------------------------------------------------------------------------- */

static void check_top(const struct cfg *c)
{
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
}

static void check_group(const struct cfg_group *g)
{
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
}

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
    check_top(c);
    assert_int_equal(c->group_count, 1);
    check_group(&c->groups[0]);
    assert_ptr_equal(c->groups[0].policies[1], &c->policies[1]);
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

#define HOSTED(more)                                                                                         \
    SOURCES "groups = { web = { min = 2; max = 20; policies = \"web-load\";\n"                               \
            "compute = { driver = \"box\"; image = \"shop:1\"; hosts = [ \"h1\", \"h2\" ]; " more            \
            "}; }; };\n" POLICIES("")

static void hosts_that_are_lost_are_named(void **state)
{
    (void)state;
    struct cfg *c = load_text(HOSTED("lost_hosts = \"h3\"; "));
    assert_true(config_host_lost(&c->groups[0], "h3"));
    assert_false(config_host_lost(&c->groups[0], "h1"));
    config_free(c);
    char *text = diff_of(HOSTED(""), HOSTED("lost_hosts = [ \"h3\", \"h4\" ]; "));
    assert_string_equal(text, "group 'web': compute: lost_hosts changed (0 -> 2 entries)\n");
    free(text);
    refused(HOSTED("lost_hosts = [ \"h4\", \"h2\" ]; "),
            "main.conf:4: error: group 'web': compute (box): lost_hosts: \"h2\" is named in hosts too: it is "
            "either "
            "gone for good or in use\n");
}

static void a_diff_names_shadows_too(void **state)
{
    (void)state;
    char *text =
        diff_of(SOURCES GROUP("shadow = \"web-load\";") POLICIES(""), SOURCES GROUP("") POLICIES(""));
    assert_string_equal(text, "group 'web': shadow 'web-load' removed\n");
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
                "memory = \"256MiB\"; slots = 4;",
                b);
    assert_string_equal(a, b);
    assert_string_equal(a, "90c3b3c174159142");
    revision_of("image = \"shop:2\";", b);
    assert_string_not_equal(a, b);
    revision_of("image = \"shop:1\"; memory = \"257MiB\";", b);
    assert_string_not_equal(a, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_whole_configuration_is_read),
        TEST(what_is_left_out_has_its_default),
        TEST(health_without_a_kind_follows_the_balancer),
        TEST(policy_files_add_in_sorted_order),
        TEST(included_files_keep_their_own_places),
        TEST(a_diff_names_every_change),
        TEST(a_diff_names_shadows_too),
        TEST(hosts_that_are_lost_are_named),
        TEST(rewriting_without_changing_is_no_difference),
        TEST(canon_is_equal_for_equal_meaning_only),
        TEST(the_revision_follows_the_template_alone),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
