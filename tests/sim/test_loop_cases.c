/* The loop in corners where a guarantee was once lost: hosts that hang or die with most of a group, a balancer that
 * cannot be told anything, launches that vanish, a journal that fails while there is nothing to write, reloads. */
#include "../../controller/loop/plan.h"
#include "../../controller/loop/report.h"
#include "hostile.h"

#define GROUP_WEB(max, extra, compute)                                                                       \
    "controller = { interval = \"2s\"; };\n"                                                                 \
    "groups = { web = { min = 2; max = " #max ";\n"                                                          \
    "  compute = { driver = \"sim\"; hosts = [ \"a\", \"b\" ]; " compute "};\n"                              \
    "  health = { http = \"/\"; interval = \"500ms\"; rise = 2; boot_timeout = \"20s\"; };\n"                \
    "  balancer = { driver = \"sim\"; hosts = [ \"lb\" ]; drain = \"10s\"; };\n"                             \
    "  scale_in = { window = \"20s\"; };\n"                                                                  \
    "  policies = [ \"load\" ]; }; };\n" extra                                                               \
    "policies = { load = { type = \"target\"; metric = \"m.load\"; per_instance = 10.0; }; };\n"

static const char web_10[] = GROUP_WEB(10, "sources = { m = { driver = \"sim\"; }; };\n", "");
static const char web_12[] = GROUP_WEB(12, "sources = { m = { driver = \"sim\"; }; };\n", "");
static const char web_dear_unread[] =
    GROUP_WEB(10, "sources = { m = { driver = \"sim\"; }; d = { driver = \"dear\"; }; };\n", "");
static const char web_dear_read[] =
    GROUP_WEB(10, "sources = { d = { driver = \"sim\"; }; m = { driver = \"dear\"; }; };\n", "");
static const char web_dear_idle[] = /* the same source, now read by nobody */
    "controller = { interval = \"2s\"; };\n"
    "sources = { d = { driver = \"sim\"; }; m = { driver = \"dear\"; }; };\n"
    "groups = { web = { min = 2; max = 10;\n"
    "  compute = { driver = \"sim\"; hosts = [ \"a\", \"b\" ]; };\n"
    "  health = { http = \"/\"; interval = \"500ms\"; rise = 2; boot_timeout = \"20s\"; };\n"
    "  balancer = { driver = \"sim\"; hosts = [ \"lb\" ]; drain = \"10s\"; };\n"
    "  policies = [ \"load\" ]; }; };\n"
    "policies = { load = { type = \"target\"; metric = \"d.load\"; per_instance = 10.0; }; };\n";
static const char web_10_slow[] =
    GROUP_WEB(10, "sources = { m = { driver = \"sim\"; interval = \"3s\"; }; };\n", "");
static const char web_keeps[] =
    GROUP_WEB(10, "sources = { m = { driver = \"sim\"; }; };\n", "keep_failed = \"10m\"; ");

/* Creates that a hung host never answered are no capacity: another host takes over, within max. */
static void G10_creates_lost_on_a_hung_host_are_made_elsewhere(void **state)
{
    (void)state;
    struct kit k = { .load = 15 };
    kit_start(&k, web_10, &(struct sim_params){ .seed = 21 });
    kit_run(&k, 15 * AS_SECOND);
    assert_int_equal(sim_up(k.sim, "web"), 2);
    sim_hang_host(k.sim, "a", true);
    k.load = 60;
    kit_run(&k, 5 * AS_MINUTE);
    assert_true(in_state(&k, INST_UNKNOWN) > 0);
    assert_int_equal(sim_up(k.sim, "web"), 6);
    sim_hang_host(k.sim, "a", false); /* what it made after all is too many */
    kit_run(&k, 2 * AS_MINUTE);
    assert_int_equal(in_state(&k, INST_UNKNOWN), 0);
    assert_int_equal(sim_up(k.sim, "web"), 6);
    assert_int_equal(sim_alive(k.sim, "web"), 6);
    kit_end(&k);
}

/* Those that were on their way when the daemon died have not relieved anybody yet, either. */
static void no_scale_in_while_some_are_on_their_way_after_a_crash(void **state)
{
    (void)state;
    static const char text[] =
        "controller = { interval = \"2s\"; };\n"
        "sources = { m = { driver = \"sim\"; }; };\n"
        "groups = { web = { min = 1; max = 10; compute = { driver = \"sim\"; hosts = [ \"a\", \"b\" ]; };\n"
        "  health = { http = \"/\"; interval = \"500ms\"; rise = 2; boot_timeout = \"60s\"; };\n"
        "  balancer = { driver = \"sim\"; hosts = [ \"lb\" ]; drain = \"10s\"; };\n"
        "  scale_in = { window = \"0s\"; }; policies = [ \"load\" ]; }; };\n"
        "policies = { load = { type = \"target\"; metric = \"m.load\"; per_instance = 10.0; window = \"0s\"; "
        "}; "
        "};\n";
    struct kit k = { .load = 30 };
    kit_start(&k, text, &(struct sim_params){ .seed = 91, .boot_ms = 30000 });
    kit_run(&k, 2 * AS_MINUTE);
    assert_int_equal(sim_up(k.sim, "web"), 3);
    k.load = 60;
    kit_run(&k, 5 * AS_SECOND);
    assert_int_equal(web(&k)->desired, 6);
    kit_crash(&k);
    kit_boot(&k);
    k.load = 15;
    kit_run(&k, 10 * AS_SECOND);
    assert_int_equal(in_state(&k, INST_BOOTING), 3);
    assert_int_equal(web(&k)->desired, 6);
    kit_run(&k, 2 * AS_MINUTE);
    assert_int_equal(web(&k)->desired, 2);
    kit_end(&k);
}

/* A dead host cannot confirm that its instances are gone; those it took along are replaced all the same. */
static void G14_doubt_ends_when_a_dead_host_held_the_whole_group(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, web_12, &(struct sim_params){ .seed = 22 });
    sim_hang_host(k.sim, "b", true);
    kit_run(&k, 2 * AS_MINUTE);
    assert_int_equal(sim_up(k.sim, "web"), 5);
    for (const struct instance *i = web(&k)->instances; i; i = i->next)
        assert_true(i->host == 0 || i->state != INST_SERVING);
    sim_hang_host(k.sim, "b", false);
    kit_run(&k, AS_MINUTE);
    sim_hang_host(k.sim, "a", true);
    sim_kill(k.sim, "web", 5);
    kit_run(&k, 20 * AS_SECOND);
    assert_true(web(&k)->doubt_since != 0);
    kit_run(&k, 5 * AS_MINUTE);
    assert_int_equal(sim_up(k.sim, "web"), 5);
    assert_true(web(&k)->doubt_since == 0);
    kit_end(&k);
}

/* Launches that vanish before they answer fail as much as those that stay and are silent. */
static void G9_launches_that_vanish_back_off(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, web_10, &(struct sim_params){ .seed = 23, .boot_ms = 8000, .vanish_ms = 1000 });
    kit_run(&k, 20 * AS_MINUTE);
    assert_true(web(&k)->launch.fails > 0);
    assert_true(sim_creates(k.sim) >= 7);
    assert_true(sim_creates(k.sim) <= 20);
    kit_end(&k);
}

static const char web_paused[] =
    "controller = { interval = \"2s\"; };\n"
    "groups = { web = { min = 2; max = 10; pause = \"INC-4711\";\n"
    "  compute = { driver = \"sim\"; hosts = [ \"a\", \"b\" ]; };\n"
    "  health = { http = \"/\"; interval = \"500ms\"; rise = 2; boot_timeout = \"20s\"; };\n"
    "  balancer = { driver = \"sim\"; hosts = [ \"lb\" ]; drain = \"10s\"; };\n"
    "  scale_in = { window = \"20s\"; };\n"
    "  policies = [ \"load\" ]; }; };\n"
    "sources = { m = { driver = \"sim\"; }; };\n"
    "policies = { load = { type = \"target\"; metric = \"m.load\"; per_instance = 10.0; }; };\n";

/* An operator's pause: neither more nor fewer, whatever the load; the dead are replaced, and the reason is said. */
static void a_pause_leaves_the_size_alone(void **state)
{
    (void)state;
    struct kit k = { .load = 40 };
    kit_start(&k, web_10, &(struct sim_params){ .seed = 43 });
    kit_run(&k, AS_MINUTE);
    assert_int_equal(sim_up(k.sim, "web"), 4);
    reload(&k, web_paused);
    k.load = 90;
    kit_run(&k, AS_MINUTE);
    assert_int_equal(sim_up(k.sim, "web"), 4);
    assert_string_equal(web(&k)->said, "stays at 4: paused: INC-4711");
    k.load = 1;
    sim_kill(k.sim, "web", 1);
    kit_run(&k, 5 * AS_MINUTE);
    assert_int_equal(sim_up(k.sim, "web"), 4);
    reload(&k, web_10);
    kit_run(&k, 2 * AS_MINUTE);
    assert_int_equal(sim_up(k.sim, "web"), 2);
    kit_end(&k);
}

static int planned(const struct plan *p, enum step_kind kind)
{
    int n = 0;
    for (size_t k = 0; k < p->count; k++)
        n += p->items[k].kind == kind;
    return n;
}

/* One fewer is wanted and one has just died: it is the one, and nobody who serves is drained beside it. */
static void the_dead_are_not_too_many(void **state)
{
    (void)state;
    struct kit k = { .load = 30 };
    struct plan plan = { 0 };
    kit_start(&k, web_10, &(struct sim_params){ .seed = 41 });
    kit_run(&k, 30 * AS_SECOND);
    struct group *g = web(&k);
    assert_int_equal(g->desired, 3);
    g->desired = 2;
    assert_true(plan_group(g, sim_now(k.sim), &plan));
    assert_int_equal(planned(&plan, STEP_DRAIN), 1);
    g->instances->died = true;
    assert_true(plan_group(g, sim_now(k.sim), &plan));
    assert_int_equal(planned(&plan, STEP_DRAIN), 0);
    assert_int_equal(planned(&plan, STEP_FAIL), 1);
    g->instances->died = false;
    g->desired = 3;
    plan_fini(&plan);
    kit_end(&k);
}

/* A balancer that cannot be told to stop sending is one that goes on sending. */
static void G5_nothing_is_drained_that_the_balancer_cannot_be_told_of(void **state)
{
    (void)state;
    struct kit k = { .load = 60 };
    kit_start(&k, web_10, &(struct sim_params){ .seed = 24, .session_ms = 2000 });
    kit_run(&k, 20 * AS_SECOND);
    assert_int_equal(sim_up(k.sim, "web"), 6);
    sim_hang_host(k.sim, "lb", true);
    kit_run(&k, 10 * AS_SECOND);
    k.load = 20;
    kit_run(&k, 10 * AS_MINUTE);
    assert_int_equal(sim_up(k.sim, "web"), 6);
    sim_hang_host(k.sim, "lb", false);
    kit_run(&k, 2 * AS_MINUTE);
    assert_int_equal(sim_up(k.sim, "web"), 2);
    assert_int_equal(sim_alive(k.sim, "web"), 2);
    kit_end(&k);
}

/* The balancer hangs while new ones join: nobody knows whether they take traffic, and no launch has failed. */
static void G5_joining_waits_for_a_balancer_that_hangs(void **state)
{
    (void)state;
    struct kit k = { .load = 20 };
    kit_start(&k, web_10, &(struct sim_params){ .seed = 30 });
    kit_run(&k, 20 * AS_SECOND);
    k.load = 60;
    as_time limit = sim_now(k.sim) + 20 * AS_SECOND;
    while (in_state(&k, INST_JOINING) < 4 && sim_now(k.sim) < limit)
        kit_run(&k, 1);
    kit_run(&k, 20); /* admitted, not up yet */
    sim_hang_host(k.sim, "lb", true);
    kit_run(&k, 5 * AS_MINUTE);
    assert_int_equal(web(&k)->launch.fails, 0);
    assert_int_equal(sim_up(k.sim, "web"), 6);
    sim_hang_host(k.sim, "lb", false);
    kit_run(&k, 5 * AS_SECOND);
    assert_int_equal(in_state(&k, INST_SERVING), 6);
    kit_end(&k);
}

/* The same when the balancer is lost between the decision and the call. */
static void G5_a_drain_that_was_never_told_waits(void **state)
{
    (void)state;
    struct kit k = { .load = 60 };
    kit_start(&k, web_10, &(struct sim_params){ .seed = 25, .session_ms = 2000 });
    kit_run(&k, 20 * AS_SECOND);
    k.load = 20;
    as_time limit = sim_now(k.sim) + 2 * AS_MINUTE;
    while (in_state(&k, INST_DRAINING) == 0 && sim_now(k.sim) < limit)
        kit_run(&k, 1);
    sim_hang_host(k.sim, "lb", true); /* the calls are on their way and are never carried out */
    kit_run(&k, 5 * AS_MINUTE);
    sim_hang_host(k.sim, "lb", false);
    kit_run(&k, 2 * AS_MINUTE);
    assert_int_equal(sim_up(k.sim, "web"), 2);
    kit_end(&k);
}

/* Kept for somebody to look at it, not for shoppers to meet it. */
static void a_failed_one_that_is_kept_gets_no_new_sessions(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, web_keeps, &(struct sim_params){ .seed = 26 });
    kit_run(&k, 20 * AS_SECOND);
    web(&k)->instances->misses = 100; /* its check fails; the balancer's own still passes */
    web(&k)->dirty = true;
    kit_run(&k, 10 * AS_SECOND);
    assert_int_equal(in_state(&k, INST_FAILED), 1);
    assert_int_equal(sim_alive(k.sim, "web"), 6);
    assert_int_equal(sim_up(k.sim, "web"), 5);
    kit_end(&k);
}

static void a_journal_that_works_again_is_noticed_with_nothing_to_write(void **state)
{
    (void)state;
    struct kit k = { .load = 20 };
    kit_start(&k, web_10, &(struct sim_params){ .seed = 27 });
    kit_run(&k, 30 * AS_SECOND);
    uint64_t turns = k.engine->turns;
    k.engine->journal_failing_since = k.engine->now; /* as after a BEGIN that found the disk full */
    k.engine->journal_retry = k.engine->now + AS_SECOND;
    alarm(30); /* turns without end would stop the virtual clock */
    kit_run(&k, 5 * AS_SECOND);
    alarm(0);
    assert_true(k.engine->journal_failing_since == 0);
    assert_true(k.engine->turns - turns < 200);
    kit_end(&k);
}

static void an_endpoint_that_fails_in_other_words_each_time_is_told_of_now_and_then(void **state)
{
    (void)state;
    struct said last = { 0 };
    struct kit k = { .load = 20 };
    int told = 0;
    kit_start(&k, web_10, &(struct sim_params){ .seed = 28 });
    kit_run(&k, 10 * AS_SECOND);
    for (int i = 0; i < 120; i++) { /* once a second, for two minutes */
        char text[32];
        snprintf(text, sizeof text, "garbage %d", i);
        told += engine_says(k.engine, &last, i == 0, text);
        k.engine->now += AS_SECOND;
    }
    assert_int_equal(told, 4);
    assert_false(engine_says(k.engine, &last, false, last.text)); /* nothing new, whenever */
    assert_true(engine_says(k.engine, &last, true, last.text));   /* it was well in between */
    kit_end(&k);
}

static uint64_t polls_of_dear(struct kit *k)
{
    for (const struct source *s = k->engine->sources; s; s = s->next)
        if (!s->retired && strcmp(s->cfg->driver->name, "dear") == 0)
            return s->feeds[0].polls;
    fail_msg("the source is not there");
    return 0;
}

/* What costs its host something is asked only while somebody reads it, and nothing waits for it otherwise. */
static void a_source_on_demand_is_asked_only_while_a_policy_reads_it(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, web_dear_unread, &(struct sim_params){ .seed = 31 });
    kit_run(&k, 30 * AS_SECOND);
    assert_int_equal(polls_of_dear(&k), 0);
    assert_true(engine_observed(k.engine));
    assert_int_equal(sim_up(k.sim, "web"), 5);
    reload(&k, web_dear_read);
    kit_run(&k, 20 * AS_SECOND);
    assert_true(polls_of_dear(&k) >= 9);
    k.load = 70;
    kit_run(&k, 20 * AS_SECOND);
    assert_int_equal(sim_up(k.sim, "web"), 7);
    reload(&k, web_dear_idle);
    uint64_t before = polls_of_dear(&k);
    kit_run(&k, 30 * AS_SECOND);
    assert_true(polls_of_dear(&k) <= before + 1); /* one may have been on its way */
    kit_end(&k);
}

/* The newest decision is asked for at any time, also between a reload and the next decision. */
static void G11_a_decision_outlives_the_source_it_was_made_from(void **state)
{
    (void)state;
    struct kit k = { .load = 45 };
    kit_start(&k, web_10, &(struct sim_params){ .seed = 28 });
    kit_run(&k, 20 * AS_SECOND + 700); /* nothing is under way: the old source goes at once */
    reload(&k, web_10_slow);
    for (int n = 0; n < 40; n++) {
        kit_run(&k, 1);
        char *text = report_decision_text(web(&k));
        assert_non_null(strstr(text, "\"m.load\""));
        free(text);
    }
    kit_run(&k, 30 * AS_SECOND);
    assert_int_equal(sim_up(k.sim, "web"), 5);
    kit_end(&k);
}

static void G11_reloads_with_operations_under_way_lose_nothing(void **state)
{
    (void)state;
    for (as_time at = 100; at < 4000; at += 210) {
        struct kit k = { .load = 45 };
        kit_start(&k, web_10,
                  &(struct sim_params){ .seed = (uint64_t)at, .create_jitter_ms = 700, .session_ms = 3000 });
        kit_run(&k, at);
        for (int n = 0; n < 6; n++) {
            reload(&k, n % 3 == 0 ? web_12 : n % 3 == 1 ? web_10_slow : web_10);
            kit_run(&k, 7 + at % 90);
        }
        kit_run(&k, 60 * AS_SECOND);
        assert_int_equal(sim_up(k.sim, "web"), 5);
        assert_int_equal(sim_alive(k.sim, "web"), 5);
        kit_end(&k);
    }
}

/* What reloads, hangs of hosts and of the balancer, vanishing instances and crashes make of each other. */
static void hostile_operators(uint64_t seed)
{
    static const char *const texts[] = { web_10, web_12, web_10_slow, web_keeps };
    struct kit k = { .load = 30 };
    struct sim_params p = hostile_params(seed);
    kit_start(&k, web_12, &p);
    uint64_t r = seed;
    for (int step = 0; step < 200; step++) {
        r = hostile_draw(&k, r);
        sim_tune(k.sim)->vanish_ms = (r >> 12) % 13 == 0 ? 5000 : 0;
        hostile_hang(&k, r, 4);
        if ((r >> 27) % 5 == 0)
            reload(&k, texts[(r >> 34) % 4]);
        hostile_crash(&k, r);
        sim_run(k.sim, sim_now(k.sim) + (as_time)((r >> 36) % 20000), NULL, NULL);
        hostile_check(&k, seed, "G1"); /* max of 12 may have become 10 */
    }
    hostile_calm(&k);
    kit_crash(&k); /* the last reload is what the file says */
    kit_boot(&k);
    sim_run(k.sim, sim_now(k.sim) + 25 * AS_MINUTE, NULL, NULL);
    hostile_converged(&k, seed);
    kit_end(&k);
}

static void hostile_operators_do_not_lose_instances(void **state)
{
    (void)state;
    hostile_seeds(8, hostile_operators);
}

static const char two_balancers[] =
    "sources = { m = { driver = \"sim\"; }; };\n"
    "groups = { web = { min = 2; max = 10; compute = { driver = \"sim\"; hosts = [ \"a\" ]; };\n"
    "    balancer = { driver = \"sim\"; hosts = [ \"lb\" ]; }; policies = [ \"load\" ]; };\n"
    "  two = { min = 1; max = 4; compute = { driver = \"sim\"; hosts = [ \"a\" ]; };\n"
    "    balancer = { driver = \"sim\"; hosts = [ \"lb2\" ]; }; policies = [ \"load\" ]; }; };\n"
    "policies = { load = { type = \"target\"; metric = \"m.load\"; per_instance = 10.0; }; };\n";

/* As the daemon does: nothing is begun before the balancers have been asked whether they can be driven. */
static void release(void *arg)
{
    struct kit *k = arg;
    if (k->engine->held && engine_balancers_asked(k->engine))
        engine_release(k->engine);
}

static void G10_a_hung_balancer_does_not_hold_up_the_start_of_others(void **state)
{
    (void)state;
    struct kit k = { .load = 20 };
    kit_start(&k, two_balancers, &(struct sim_params){ .seed = 31 });
    k.engine->held = true;
    sim_hang_host(k.sim, "lb2", true);
    as_time began = sim_now(k.sim);
    while (sim_creates(k.sim) == 0 && sim_now(k.sim) < began + AS_MINUTE)
        sim_run(k.sim, sim_now(k.sim) + 1, release, &k);
    assert_true(sim_now(k.sim) - began < AS_SECOND); /* a call to lb2 takes two to fail */
    sim_run(k.sim, sim_now(k.sim) + 10 * AS_SECOND, release, &k);
    assert_int_equal(sim_up(k.sim, "web"), 2);
    kit_end(&k);
}

static void a_start_waits_for_its_only_balancer(void **state)
{
    (void)state;
    struct kit k = { .load = 20 };
    kit_start(&k, web_10, &(struct sim_params){ .seed = 32, .call_ms = 1500 });
    k.engine->held = true;
    sim_run(k.sim, sim_now(k.sim) + 1400, release, &k);
    assert_true(k.engine->held);
    sim_run(k.sim, sim_now(k.sim) + 200, release, &k);
    assert_false(k.engine->held);
    kit_end(&k);
}

static void G9_a_mended_configuration_need_not_wait_for_the_back_off(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, web_10, &(struct sim_params){ .seed = 29, .never_boots = 1.0 });
    kit_run(&k, 20 * AS_MINUTE);
    assert_true(web(&k)->launch.fails >= 5);
    sim_tune(k.sim)->never_boots = 0;
    reload(&k, web_12);
    kit_run(&k, 30 * AS_SECOND);
    assert_int_equal(sim_up(k.sim, "web"), 5);
    kit_end(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(G10_creates_lost_on_a_hung_host_are_made_elsewhere),
        cmocka_unit_test(no_scale_in_while_some_are_on_their_way_after_a_crash),
        cmocka_unit_test(G14_doubt_ends_when_a_dead_host_held_the_whole_group),
        cmocka_unit_test(G9_launches_that_vanish_back_off),
        cmocka_unit_test(the_dead_are_not_too_many),
        cmocka_unit_test(a_pause_leaves_the_size_alone),
        cmocka_unit_test(G5_nothing_is_drained_that_the_balancer_cannot_be_told_of),
        cmocka_unit_test(G5_joining_waits_for_a_balancer_that_hangs),
        cmocka_unit_test(G5_a_drain_that_was_never_told_waits),
        cmocka_unit_test(a_failed_one_that_is_kept_gets_no_new_sessions),
        cmocka_unit_test(a_journal_that_works_again_is_noticed_with_nothing_to_write),
        cmocka_unit_test(an_endpoint_that_fails_in_other_words_each_time_is_told_of_now_and_then),
        cmocka_unit_test(a_source_on_demand_is_asked_only_while_a_policy_reads_it),
        cmocka_unit_test(G11_a_decision_outlives_the_source_it_was_made_from),
        cmocka_unit_test(G11_reloads_with_operations_under_way_lose_nothing),
        cmocka_unit_test(G10_a_hung_balancer_does_not_hold_up_the_start_of_others),
        cmocka_unit_test(a_start_waits_for_its_only_balancer),
        cmocka_unit_test(G9_a_mended_configuration_need_not_wait_for_the_back_off),
        cmocka_unit_test(hostile_operators_do_not_lose_instances),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
