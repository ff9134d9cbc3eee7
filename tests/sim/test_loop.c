/* The loop under a virtual clock: scale out and in, failures, restarts, doubt, and twenty seeds of a hostile
 * world in which the guarantees are checked after every turn. */
#include "hostile.h"

static const char shop[] =
    "controller = { interval = \"2s\"; };\n"
    "sources = { lb = { driver = \"sim\"; }; };\n"
    "groups = { web = { min = 2; max = 10;\n"
    "  compute = { driver = \"sim\"; hosts = [ \"a\", \"b\" ]; };\n"
    "  health = { http = \"/\"; interval = \"500ms\"; rise = 2; boot_timeout = \"20s\"; };\n"
    "  balancer = { driver = \"sim\"; hosts = [ \"lb\" ]; drain = \"10s\"; };\n"
    "  scale_in = { window = \"20s\"; };\n"
    "  policies = [ \"load\" ]; }; };\n"
    "policies = { load = { type = \"target\"; metric = \"lb.load\"; per_instance = 10.0; }; };\n";

static const char shadowed[] =
    "sources = { lb = { driver = \"sim\"; }; };\n"
    "groups = { web = { min = 2; max = 10; policies = [ \"load\" ]; shadow = [ \"half\" ];\n"
    "  compute = { driver = \"sim\"; hosts = [ \"a\" ]; };\n"
    "  health = { http = \"/\"; interval = \"500ms\"; }; }; };\n"
    "policies = { load = { type = \"target\"; metric = \"lb.load\"; per_instance = 10.0; };\n"
    "  half = { type = \"target\"; metric = \"lb.load\"; per_instance = 20.0; }; };\n";

static void follows_the_load_out_and_in(void **state)
{
    (void)state;
    struct kit k = { .load = 15 };
    kit_start(&k, shop, &(struct sim_params){ .seed = 1, .session_ms = 3000 });
    kit_run(&k, 10 * AS_SECOND);
    assert_int_equal(sim_up(k.sim, "web"), 2);
    k.load = 72;
    kit_run(&k, 8 * AS_SECOND);
    assert_int_equal(sim_up(k.sim, "web"), 8);
    k.load = 31;
    kit_run(&k, 60 * AS_SECOND);
    assert_int_equal(sim_up(k.sim, "web"), 4);
    assert_int_equal(sim_alive(k.sim, "web"), 4);
    assert_int_equal(group_footprint(web(&k)), 4);
    kit_end(&k);
}

static void G1_footprint_stays_within_max(void **state)
{
    (void)state;
    struct kit k = { .load = 1000 };
    kit_start(&k, shop, &(struct sim_params){ .seed = 2 });
    kit_run(&k, 30 * AS_SECOND);
    assert_int_equal(sim_up(k.sim, "web"), 10);
    sim_kill(k.sim, "web", 10); /* all end by themselves: replaced without ever passing max */
    kit_run(&k, 60 * AS_SECOND);
    assert_int_equal(sim_up(k.sim, "web"), 10);
    assert_int_equal(sim_alive(k.sim, "web"), 10);
    kit_end(&k);
}

static void G2_min_is_kept_without_any_data(void **state)
{
    (void)state;
    struct kit k = { .blind = true };
    kit_start(&k, shop, &(struct sim_params){ .seed = 3 });
    kit_run(&k, 10 * AS_SECOND);
    assert_int_equal(sim_up(k.sim, "web"), 2);
    sim_kill(k.sim, "web", 2);
    kit_run(&k, 30 * AS_SECOND);
    assert_int_equal(sim_up(k.sim, "web"), 2);
    kit_end(&k);
}

static void G3_no_scale_in_while_blind(void **state)
{
    (void)state;
    struct kit k = { .load = 60 };
    kit_start(&k, shop, &(struct sim_params){ .seed = 4 });
    kit_run(&k, 20 * AS_SECOND);
    assert_int_equal(sim_up(k.sim, "web"), 6);
    k.blind = true;
    kit_run(&k, 10 * AS_MINUTE);
    assert_int_equal(sim_up(k.sim, "web"), 6);
    assert_true(web(&k)->decision.blind);
    k.blind = false;
    k.load = 20;
    kit_run(&k, 90 * AS_SECOND);
    assert_int_equal(sim_up(k.sim, "web"), 2);
    kit_end(&k);
}

static void load_that_returns_takes_draining_ones_back(void **state)
{
    (void)state;
    struct kit k = { .load = 60 };
    kit_start(&k, shop, &(struct sim_params){ .seed = 5, .session_ms = 60000 });
    kit_run(&k, 20 * AS_SECOND);
    uint64_t made = sim_creates(k.sim);
    k.load = 20;
    as_time limit = sim_now(k.sim) + AS_MINUTE;
    while (web(&k)->desired != 2 && sim_now(k.sim) < limit)
        kit_run(&k, AS_SECOND);
    kit_run(&k, 2 * AS_SECOND);
    assert_true(sim_up(k.sim, "web") < 6);
    k.load = 60;
    kit_run(&k, 6 * AS_SECOND);
    assert_int_equal(sim_up(k.sim, "web"), 6);
    assert_int_equal(sim_creates(k.sim), made); /* nothing new was created */
    kit_end(&k);
}

static void spreads_over_hosts_and_falls_back(void **state)
{
    (void)state;
    struct kit k = { .load = 40 };
    kit_start(&k, shop, &(struct sim_params){ .seed = 6 });
    kit_run(&k, 15 * AS_SECOND);
    int on[2] = { 0 };
    for (struct instance *i = web(&k)->instances; i; i = i->next)
        on[i->host]++;
    assert_int_equal(on[0], 2);
    assert_int_equal(on[1], 2);
    sim_hang_host(k.sim, "a", true);
    k.load = 80;
    kit_run(&k, 60 * AS_SECOND);
    int up_b = 0;
    for (struct instance *i = web(&k)->instances; i; i = i->next)
        up_b += i->host == 1 && i->state == INST_SERVING;
    assert_true(up_b >= 4); /* b takes what a cannot */
    kit_end(&k);
}

static void G9_failing_launches_back_off(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, shop, &(struct sim_params){ .seed = 7, .never_boots = 1.0 });
    kit_run(&k, 20 * AS_MINUTE);
    /* The first five may start at once; after their failure one probe at a time, 5 s doubling to 5 min:
     * in 20 minutes a dozen, not hundreds. */
    assert_true(sim_creates(k.sim) >= 7);
    assert_true(sim_creates(k.sim) <= 20);
    assert_true(web(&k)->launch.fails > 0);
    sim_tune(k.sim)->never_boots = 0; /* it heals: one probe, then all */
    kit_run(&k, 7 * AS_MINUTE);
    assert_int_equal(sim_up(k.sim, "web"), 5);
    assert_int_equal(web(&k)->launch.fails, 0);
    kit_end(&k);
}

static void G13_members_lost_by_the_balancer_come_back(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, shop, &(struct sim_params){ .seed = 8 });
    kit_run(&k, 20 * AS_SECOND);
    sim_lose_members(k.sim);
    assert_int_equal(sim_up(k.sim, "web"), 0);
    kit_run(&k, 2 * AS_SECOND + 1100); /* one interval, and the balancer's own rise */
    assert_int_equal(sim_up(k.sim, "web"), 5);
    kit_end(&k);
}

/* Serving for a while; then the first has failed so many checks, and each of the others so many. */
static void fall_silent(struct kit *k, int first, int others)
{
    kit_start(k, shop, &(struct sim_params){ .seed = 9 });
    kit_run(k, 20 * AS_SECOND);
    for (struct instance *i = web(k)->instances; i; i = i->next)
        i->misses = i == web(k)->instances ? first : others;
    web(k)->dirty = true;
}

static void nobody_was_replaced(struct kit *k)
{
    kit_run(k, 10 * AS_SECOND);
    assert_true(web(k)->doubt_since == 0);
    assert_int_equal(sim_creates(k->sim), 5);
    assert_int_equal(sim_up(k->sim, "web"), 5);
    kit_end(k);
}

static void G14_many_silent_at_once_are_doubted(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    fall_silent(&k, 100, 100); /* as if the network to all of them were gone for a moment */
    kit_run(&k, 300);
    assert_true(web(&k)->doubt_since != 0);
    nobody_was_replaced(&k);
}

/* Checks are spread over their interval: when a network breaks one instance has failed them all first. */
static void G14_the_first_of_many_silent_ones_is_doubted_too(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    fall_silent(&k, 100, 1);
    nobody_was_replaced(&k);
}

static void shadows_are_counted_and_never_act(void **state)
{
    (void)state;
    struct kit k = { .load = 40 };
    kit_start(&k, shadowed, &(struct sim_params){ .seed = 12 });
    kit_run(&k, 10 * AS_MINUTE);
    const struct group *g = web(&k);
    assert_int_equal(sim_alive(k.sim, "web"), 4); /* as the acting policy wants it */
    assert_int_equal(g->shadow_count, 1);
    assert_int_equal(g->shadows[0].desired, 2);
    assert_true(g->shadows[0].instance_s > 2 * 590 && g->shadows[0].instance_s < 2 * 640);
    assert_true(g->instance_s > 4 * 580 && g->instance_s < 4 * 610);
    assert_true(g->shadows[0].missed_s > 580); /* half of what the load needs */
    assert_true(g->missed_s < 20);             /* only until the first four served */
    kit_end(&k);
}

static void G7_crash_at_any_moment_converges(void **state)
{
    (void)state;
    for (as_time at = 50; at < 6000; at += 130) {
        struct kit k = { .load = 45 };
        kit_start(&k, shop,
                  &(struct sim_params){ .seed = (uint64_t)at, .session_ms = 2000, .create_jitter_ms = 400 });
        kit_run(&k, at);
        kit_crash(&k);
        sim_run(k.sim, sim_now(k.sim) + 700, NULL, NULL);
        kit_boot(&k);
        kit_run(&k, 40 * AS_SECOND);
        assert_int_equal(sim_up(k.sim, "web"), 5);
        assert_int_equal(sim_alive(k.sim, "web"), 5);
        k.load = 10;
        kit_run(&k, 25 * AS_SECOND + at % 3000); /* in the middle of the scale-in */
        kit_crash(&k);
        kit_boot(&k);
        kit_run(&k, 90 * AS_SECOND);
        assert_int_equal(sim_alive(k.sim, "web"), 2);
        assert_int_equal(sim_up(k.sim, "web"), 2);
        kit_end(&k);
    }
}

static void hostile_world(uint64_t seed)
{
    struct kit k = { .load = 30 };
    struct sim_params p = hostile_params(seed);
    kit_start(&k, shop, &p);
    uint64_t r = seed;
    for (int step = 0; step < 120; step++) {
        r = hostile_draw(&k, r);
        if ((r >> 16) % 11 < 3)
            sim_hang_host(k.sim, "a", (r >> 16) % 11 == 0);
        hostile_crash(&k, r);
        sim_run(k.sim, sim_now(k.sim) + 15 * AS_SECOND, NULL, NULL);
        hostile_check(&k, seed, NULL);
    }
    hostile_calm(&k);
    sim_run(k.sim, sim_now(k.sim) + 12 * AS_MINUTE, NULL, NULL);
    hostile_converged(&k, seed);
    hostile_check(&k, seed, NULL);
    kit_end(&k);
}

static void twenty_hostile_seeds_keep_the_guarantees(void **state)
{
    (void)state;
    hostile_seeds(20, hostile_world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_load_out_and_in),
        cmocka_unit_test(G1_footprint_stays_within_max),
        cmocka_unit_test(G2_min_is_kept_without_any_data),
        cmocka_unit_test(G3_no_scale_in_while_blind),
        cmocka_unit_test(load_that_returns_takes_draining_ones_back),
        cmocka_unit_test(spreads_over_hosts_and_falls_back),
        cmocka_unit_test(G9_failing_launches_back_off),
        cmocka_unit_test(G13_members_lost_by_the_balancer_come_back),
        cmocka_unit_test(G14_many_silent_at_once_are_doubted),
        cmocka_unit_test(G14_the_first_of_many_silent_ones_is_doubted_too),
        cmocka_unit_test(shadows_are_counted_and_never_act),
        cmocka_unit_test(G7_crash_at_any_moment_converges),
        cmocka_unit_test(twenty_hostile_seeds_keep_the_guarantees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
