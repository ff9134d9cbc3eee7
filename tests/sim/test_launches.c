/* Launches that fail, and instances that die soon after they served: how often the loop tries again, what it says of
 * it, and what it leaves alone meanwhile. */
#include "simkit.h"

#define WEB(boot, compute)                                                                                   \
    "sources = { m = { driver = \"sim\"; }; };\n"                                                            \
    "groups = { web = { min = 2; max = 10;\n"                                                                \
    "  compute = { driver = \"sim\"; " compute " };\n"                                                       \
    "  health = { http = \"/\"; interval = \"500ms\"; rise = 2; boot_timeout = \"" boot "\"; };\n"           \
    "  balancer = { driver = \"sim\"; hosts = [ \"lb\" ]; drain = \"10s\"; };\n"                             \
    "  policies = [ \"load\" ]; }; };\n"                                                                     \
    "policies = { load = { type = \"target\"; metric = \"m.load\"; per_instance = 10.0; }; };\n"

static const char plain[] = WEB("20s", "hosts = [ \"a\", \"b\" ];");
static const char boots_two[] = WEB("20s", "hosts = [ \"a\", \"b\" ]; boots = 2;");
static const char one_host[] = WEB("20s", "hosts = [ \"a\" ];");
static const char keeps[] = WEB("20s", "hosts = [ \"a\" ]; keep_failed = \"1h\";");

/* Five that fail together say once that something is wrong, not five times. */
static void G9_a_batch_of_failures_is_one_failure(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, plain, &(struct sim_params){ .seed = 61, .never_boots = 1.0 });
    kit_run(&k, 22 * AS_SECOND); /* all five have passed their boot_timeout */
    assert_int_equal(web(&k)->launch_failures, 5);
    assert_int_equal(web(&k)->launch.fails, 1);
    sim_tune(k.sim)->never_boots = 0;
    kit_run(&k, 15 * AS_SECOND); /* 5 s of back-off, not 160 */
    assert_int_equal(sim_up(k.sim, "web"), 5);
    kit_end(&k);
}

/* The same of creates that a host refuses. */
static void G9_creates_refused_together_are_one_failure_of_their_host(void **state)
{
    (void)state;
    struct kit k = { .load = 40 };
    kit_start(&k, one_host, &(struct sim_params){ .seed = 62, .fail_create = 1.0, .create_jitter_ms = 300 });
    as_time limit = sim_now(k.sim) + 10 * AS_SECOND;
    while (sim_creates(k.sim) < 4 && sim_now(k.sim) < limit)
        kit_run(&k, 10);
    kit_run(&k, 700);
    assert_int_equal(sim_creates(k.sim), 4);
    assert_int_equal(web(&k)->hosts[0].launch.fails, 1);
    kit_end(&k);
}

/* After a failed batch fewer are tried at once: 8, 4, 2, then one. */
static void G9_after_failures_fewer_launches_start_at_once(void **state)
{
    (void)state;
    struct kit k = { .load = 80 };
    kit_start(&k, plain, &(struct sim_params){ .seed = 63, .never_boots = 1.0 });
    kit_run(&k, 22 * AS_SECOND);
    assert_int_equal(sim_creates(k.sim), 8);
    kit_run(&k, 26 * AS_SECOND);
    assert_int_equal(web(&k)->launch.fails, 2);
    assert_int_equal(sim_creates(k.sim), 12);
    kit_run(&k, 32 * AS_SECOND);
    assert_int_equal(web(&k)->launch.fails, 3);
    assert_int_equal(sim_creates(k.sim), 14);
    kit_run(&k, 25 * AS_SECOND);
    assert_int_equal(sim_creates(k.sim), 15);
    assert_non_null(strstr(web(&k)->blocked, "one launch at a time after 3 failures"));
    kit_end(&k);
}

static void G9_a_crash_loop_after_serving_backs_off(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, plain, &(struct sim_params){ .seed = 64, .crash_ms = 8000 });
    kit_run(&k, 20 * AS_MINUTE);
    assert_true(web(&k)->crashes >= 4);
    assert_true(web(&k)->launch.fails >= 3);
    assert_in_range(sim_creates(k.sim), 10, 60); /* without a pause it would be about 600 */
    uint64_t made = sim_creates(k.sim);
    kit_run(&k, 4 * AS_MINUTE);
    assert_in_range(sim_creates(k.sim) - made, 0, 5);
    sim_tune(k.sim)->crash_ms = 0; /* it heals */
    kit_run(&k, 6 * AS_MINUTE);
    assert_int_equal(sim_up(k.sim, "web"), 5);
    assert_int_equal(web(&k)->crashes, 0);
    assert_int_equal(web(&k)->launch.fails, 0);
    kit_end(&k);
}

/* Anything may die once: its place is filled without a pause, and what served for long counts for nothing. */
static void a_server_that_dies_is_replaced_at_once(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, plain, &(struct sim_params){ .seed = 65 });
    kit_run(&k, 8 * AS_SECOND); /* serving for less than boot_timeout */
    assert_int_equal(sim_up(k.sim, "web"), 5);
    sim_kill(k.sim, "web", 2);
    kit_run(&k, 10 * AS_SECOND);
    assert_int_equal(sim_up(k.sim, "web"), 5);
    assert_int_equal(web(&k)->crashes, 1); /* two that served side by side */
    for (int n = 0; n < 4; n++) {
        kit_run(&k, 30 * AS_SECOND);
        sim_kill(k.sim, "web", 1); /* the newest box, after it has lasted */
        kit_run(&k, 10 * AS_SECOND);
        assert_int_equal(sim_up(k.sim, "web"), 5);
        assert_int_equal(web(&k)->crashes, 0);
    }
    kit_end(&k);
}

/* What is kept for somebody to look at makes way for a launch, not for a launch that may not start anyway. */
static void kept_failures_are_not_dropped_while_launches_back_off(void **state)
{
    (void)state;
    struct kit k = { .load = 100 };
    kit_start(&k, keeps, &(struct sim_params){ .seed = 66, .never_boots = 1.0 });
    as_time limit = sim_now(k.sim) + 2 * AS_MINUTE;
    while (web(&k)->launch.fails < 1 && sim_now(k.sim) < limit)
        kit_run(&k, 100);
    kit_run(&k, 4 * AS_SECOND); /* within the five of back-off */
    assert_true(sim_now(k.sim) < web(&k)->launch.until);
    assert_int_equal(in_state(&k, INST_FAILED), 10);
    assert_int_equal(sim_alive(k.sim, "web"), 10);
    kit_run(&k, 5 * AS_SECOND); /* now room is what is missing */
    assert_true(in_state(&k, INST_FAILED) < 10);
    kit_end(&k);
}

/* What a host said of its room is old news once something was launched there. */
static void hosts_of_unequal_size_take_what_they_have_room_for(void **state)
{
    (void)state;
    for (uint64_t seed = 68; seed < 78; seed++) {
        struct kit k = { .load = 10 };
        kit_start(&k, plain,
                  &(struct sim_params){ .seed = seed, .capacity = { 4, 1 }, .create_jitter_ms = 2000 });
        kit_run(&k, 20 * AS_SECOND);
        k.load = 90;
        for (int n = 0; n < 300; n++) {
            kit_run(&k, 200);
            assert_in_range(sim_alive(k.sim, "web"), 1, 5);
        }
        assert_int_equal(sim_up(k.sim, "web"), 5);
        assert_int_equal(web(&k)->desired, 5);
        assert_string_equal(web(&k)->decision.binding, "room on the hosts");
        kit_end(&k);
    }
}

static void of_equal_hosts_the_one_with_more_room_is_taken(void **state)
{
    (void)state;
    struct kit k = { .load = 30 };
    kit_start(&k, plain, &(struct sim_params){ .seed = 79, .capacity = { 2, 8 } });
    kit_run(&k, 20 * AS_SECOND);
    int on[2] = { 0 };
    for (const struct instance *i = web(&k)->instances; i; i = i->next)
        on[i->host]++;
    assert_int_equal(on[0], 1);
    assert_int_equal(on[1], 2);
    kit_end(&k);
}

static void no_more_boot_at_once_on_a_host_than_may(void **state)
{
    (void)state;
    int most = 0;
    struct kit k = { .load = 90 };
    kit_start(&k, boots_two, &(struct sim_params){ .seed = 78, .boot_ms = 4000, .boot_jitter_ms = 3000 });
    for (int n = 0; n < 600; n++) {
        int under_way[2] = { 0 };
        kit_run(&k, 100);
        for (const struct instance *i = web(&k)->instances; i; i = i->next)
            if (i->state == INST_CREATING || i->state == INST_BOOTING)
                under_way[i->host]++;
        for (int h = 0; h < 2; h++)
            most = under_way[h] > most ? under_way[h] : most;
    }
    assert_int_equal(most, 2);
    assert_int_equal(sim_up(k.sim, "web"), 9);
    kit_end(&k);
}

static void status_says_that_a_launch_waits_for_its_host(void **state)
{
    (void)state;
    struct kit k = { .load = 20 };
    kit_start(&k, one_host, &(struct sim_params){ .seed = 67, .fail_create = 1.0 });
    kit_run(&k, 3 * AS_SECOND);
    assert_int_equal(in_state(&k, INST_WANTED), 2);
    assert_non_null(strstr(web(&k)->blocked, "2 launches wait: host a backs off, retry in "));
    sim_tune(k.sim)->fail_create = 0;
    kit_run(&k, AS_MINUTE);
    assert_int_equal(sim_up(k.sim, "web"), 2);
    assert_string_equal(web(&k)->blocked, "");
    kit_end(&k);
}

/* More launches than a host may have under way is nothing to tell anybody of. */
static void launches_that_wait_their_turn_are_no_trouble(void **state)
{
    (void)state;
    struct kit k = { .load = 100 };
    kit_start(&k, one_host, &(struct sim_params){ .seed = 68, .create_ms = 2000 });
    kit_run(&k, AS_SECOND);
    assert_int_equal(in_state(&k, INST_WANTED), 6);
    assert_string_equal(web(&k)->blocked, "");
    kit_end(&k);
}

/* Launches that fail when they should serve are counted and do not stretch the boot time, whoever fails them; refused
 * ones are tried again at once and are nothing to plan with. */
static void share_of_launches_that_fail_is_learnt(void **state)
{
    (void)state;
    const struct sim_params worlds[] = {
        { .seed = 65, .boot_ms = 12000, .never_boots = 0.2 },                   /* in the instance */
        { .seed = 66, .create_ms = 12000, .boot_ms = 500, .fail_create = 0.2 }, /* on the host, late */
        { .seed = 67, .create_ms = 300, .boot_ms = 12000, .fail_create = 0.2 }, /* at once */
    };
    for (int w = 0; w < 3; w++) {
        struct kit k = { .load = 20 };
        kit_start(&k, plain, &worlds[w]);
        for (int n = 0; n < 60; n++) {
            k.load = n % 2 ? 20 : 80;
            kit_run(&k, 4 * AS_MINUTE);
        }
        double fails = group_fails(web(&k));
        if (w == 2 ? fails > 0 : fails < 0.08 || fails > 0.3)
            fail_msg("%g %% of launches fail", 100 * fails);
        assert_in_range(group_boot(web(&k)), 12 * AS_SECOND, 16 * AS_SECOND);
        if (w == 1) /* tried again, they are late */
            assert_true(group_lead(web(&k)) > 24 * AS_SECOND);
        kit_end(&k);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(G9_a_batch_of_failures_is_one_failure),
        cmocka_unit_test(G9_creates_refused_together_are_one_failure_of_their_host),
        cmocka_unit_test(G9_after_failures_fewer_launches_start_at_once),
        cmocka_unit_test(G9_a_crash_loop_after_serving_backs_off),
        cmocka_unit_test(share_of_launches_that_fail_is_learnt),
        cmocka_unit_test(a_server_that_dies_is_replaced_at_once),
        cmocka_unit_test(kept_failures_are_not_dropped_while_launches_back_off),
        cmocka_unit_test(hosts_of_unequal_size_take_what_they_have_room_for),
        cmocka_unit_test(of_equal_hosts_the_one_with_more_room_is_taken),
        cmocka_unit_test(no_more_boot_at_once_on_a_host_than_may),
        cmocka_unit_test(status_says_that_a_launch_waits_for_its_host),
        cmocka_unit_test(launches_that_wait_their_turn_are_no_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
