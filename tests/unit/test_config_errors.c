/* What is wrong with a configuration: every error and warning by its exact text and place. */
#include "config_kit.h"

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

static void an_option_of_another_block_of_the_group_is_sent_there(void **state)
{
    (void)state;
    refused(
        "groups = { web = { min = 1; max = 2; lost_hosts = [ \"h3\" ];\n"
        "  image = \"x\"; window = \"9s\"; nowhere = 1;\n"
        "  compute = { driver = \"box\"; hosts = [ \"a\" ]; image = \"x\"; standby_ = 1;\n"
        "    drain = \"9s\"; lead = \"9s\"; };\n"
        "  health = { min = 3; }; }; };\n",
        "main.conf:1: error: group 'web': unknown option 'lost_hosts': it belongs in 'compute'\n"
        "main.conf:2: error: group 'web': unknown option 'image': it belongs in 'compute'\n"
        "main.conf:2: error: group 'web': unknown option 'nowhere'\n"
        "main.conf:2: error: group 'web': unknown option 'window': it belongs in 'scale_out' or 'scale_in'\n"
        "main.conf:3: error: group 'web': compute (box): unknown option 'standby_': did you mean 'standby'?\n"
        "main.conf:4: error: group 'web': compute (box): unknown option 'drain': it belongs in 'balancer'\n"
        "main.conf:4: error: group 'web': compute (box): unknown option 'lead': it belongs in the group "
        "itself\n"
        "main.conf:5: error: group 'web': health: unknown option 'min': it belongs in the group itself\n");
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
    char address[300], text[400], problem[240];
    memset(address, 'a', 256);
    address[256] = '\0';
    snprintf(text, sizeof text, "balancer = { driver = \"pool\";\n address = \"%s\"; backend = \"web\"; };",
             address);
    snprintf(
        problem, sizeof problem,
        "main.conf:6: error: group 'web': balancer (pool): address: \"%.60s...\" is longer than 255 bytes\n",
        address);
    group_refused(text, problem);
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

#define SEASON(policies)                                                                                     \
    SOURCES "groups = { web = { min = 1; max = 10; compute = { driver = \"plain\"; }; policies = " policies  \
            "; }; };\n"                                                                                      \
            "policies = { season = { type = \"forecast\"; metric = \"lb.web.queue\"; per_instance = 2; };\n" \
            "  load = { type = \"target\"; metric = \"lb.web.queue\"; per_instance = 2; };\n"                \
            "  room = { type = \"ceiling\"; capacity = 100; per_instance = 2; }; };\n"

static void a_forecast_wants_a_load_policy_beside_it(void **state)
{
    (void)state;
    put("main.conf", SEASON("[ \"season\", \"load\", \"room\" ]"));
    config_free(accepted(""));
    put("main.conf", SEASON("[ \"season\", \"room\" ]"));
    config_free(
        accepted("main.conf:4: warning: policy 'season': metric: no policy of group 'web' follows the "
                 "load itself: while the season is not learnt or not trusted the size stays as it is; "
                 "add a target or auto policy\n"
                 "main.conf:5: warning: policy 'load': no group names it\n"));
}

static void a_policy_that_is_a_shadow_is_named(void **state)
{
    (void)state;
    put("main.conf", SEASON("[ \"load\", \"room\" ]; shadow = [ \"season\" ]"));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_errors_are_reported_at_once),
        TEST(an_option_of_another_block_of_the_group_is_sent_there),
        TEST(a_file_that_cannot_be_read_is_an_io_error),
        TEST(a_file_beyond_the_cap_is_refused_unparsed),
        TEST(the_top_level_is_strict),
        TEST(group_errors_have_their_place),
        TEST(bounds_must_make_sense),
        TEST(drivers_judge_their_own_options),
        TEST(metrics_must_exist),
        TEST(lints_warn_and_refuse_nothing),
        TEST(a_ceiling_that_settles_by_one_reading_is_warned_of),
        TEST(a_forecast_wants_a_load_policy_beside_it),
        TEST(a_policy_that_is_a_shadow_is_named),
        TEST(steps_that_only_touch_do_not_overlap),
        TEST(problem_texts_name_their_place),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
