/* Warm standby under a virtual clock: the pool fills, serves first, takes back and is replaced; failures of parks and
 * unparks, crashes and reloads in between, and a hostile world in which the guarantees are checked after every turn. */
#include "../../controller/loop/standby.h"
#include "hostile.h"

#define GROUP_WEB(min, max, compute)                                                                         \
    "controller = { interval = \"2s\"; };\n"                                                                 \
    "sources = { m = { driver = \"sim\"; }; };\n"                                                            \
    "groups = { web = { min = " #min "; max = " #max ";\n"                                                   \
    "  compute = { driver = \"sim\"; hosts = [ \"a\", \"b\" ]; " compute " };\n"                             \
    "  health = { http = \"/\"; interval = \"500ms\"; rise = 2; boot_timeout = \"20s\"; };\n"                \
    "  balancer = { driver = \"sim\"; hosts = [ \"lb\" ]; drain = \"10s\"; };\n"                             \
    "  scale_in = { window = \"20s\"; };\n"                                                                  \
    "  policies = [ \"load\" ]; }; };\n"                                                                     \
    "policies = { load = { type = \"target\"; metric = \"m.load\"; per_instance = 10.0; }; };\n"

static const char warm_2[] = GROUP_WEB(2, 10, "park = \"suspend\"; standby = 2;");
static const char warm_3[] = GROUP_WEB(2, 10, "park = \"suspend\"; standby = 3;");
static const char warm_0[] = GROUP_WEB(2, 10, "park = \"suspend\"; standby = 0;");
static const char cold[] = GROUP_WEB(2, 10, "");
static const char warm_keeps[] = GROUP_WEB(2, 10, "park = \"suspend\"; standby = 2; keep_failed = \"2m\";");
static const char warm_5[] = GROUP_WEB(2, 5, "park = \"suspend\"; standby = 3;");

static const char warm_nobalancer[] =
    "sources = { m = { driver = \"sim\"; }; };\n"
    "groups = { web = { min = 0; max = 6; policies = [ \"load\" ];\n"
    "  compute = { driver = \"sim\"; hosts = [ \"a\" ]; park = \"suspend\"; standby = 2; };\n"
    "  health = { http = \"/\"; interval = \"500ms\"; }; scale_in = { window = \"10s\"; }; }; };\n"
    "policies = { load = { type = \"target\"; metric = \"m.load\"; per_instance = 10.0; }; };\n";

static void assert_counts(struct kit *k, int up, int parked)
{
    if (sim_up(k->sim, "web") != up || sim_parked(k->sim, "web") != parked ||
        in_state(k, INST_PARKED) != parked || sim_alive(k->sim, "web") != up + parked)
        fail_msg("wanted %d up, %d parked; %d are up, %d paused, %d in state PARKED, %d exist", up, parked,
                 sim_up(k->sim, "web"), sim_parked(k->sim, "web"), in_state(k, INST_PARKED),
                 sim_alive(k->sim, "web"));
}

static void start_warm(struct kit *k, const char *text, const struct sim_params *p, int up, int parked)
{
    kit_start(k, text, p);
    kit_run(k, 60 * AS_SECOND);
    assert_counts(k, up, parked);
}

static void run_until_up(struct kit *k, int up, as_time most)
{
    as_time limit = sim_now(k->sim) + most;
    while (sim_up(k->sim, "web") < up && sim_now(k->sim) < limit)
        kit_run(k, 10);
    assert_int_equal(sim_up(k->sim, "web"), up);
}

/* --- the pool ---------------------------------------------------------------------------------------- */

static void the_pool_is_filled_in_quiet_times(void **state)
{
    (void)state;
    struct kit k = { .load = 15 };
    start_warm(&k, warm_2, &(struct sim_params){ .seed = 40 }, 2, 2);
    assert_int_equal(sim_creates(k.sim), 4);
    assert_int_equal(web(&k)->decision.pending, 0);
    assert_int_equal(web(&k)->decision.serving, 2); /* parked ones do not count as serving */
    assert_int_equal(group_footprint(web(&k)), 4);  /* but in the footprint */
    kit_run(&k, 10 * AS_MINUTE);
    assert_int_equal(sim_creates(k.sim), 4); /* and that is all */
    kit_end(&k);
}

static void growth_takes_parked_ones_before_anything_new(void **state)
{
    (void)state;
    struct kit k = { .load = 15 };
    start_warm(&k, warm_2, &(struct sim_params){ .seed = 41, .boot_ms = 9000 }, 2, 2);
    k.load = 38;
    run_until_up(&k, 4, 5 * AS_SECOND); /* a new one would need nine seconds more */
    assert_int_equal(sim_creates(k.sim), 4);
    kit_run(&k, 60 * AS_SECOND); /* then the pool is filled again */
    assert_counts(&k, 4, 2);
    assert_true(group_unpark_lead(web(&k)) < 5 * AS_SECOND);
    assert_true(group_lead(web(&k)) > 9 * AS_SECOND); /* two measures that do not mix */
    kit_end(&k);
}

static void more_than_the_pool_has_is_created_beside_it(void **state)
{
    (void)state;
    struct kit k = { .load = 15 };
    start_warm(&k, warm_2, &(struct sim_params){ .seed = 42, .boot_ms = 9000 }, 2, 2);
    k.load = 65;
    kit_run(&k, 5 * AS_SECOND);
    assert_int_equal(sim_up(k.sim, "web"), 4);
    kit_run(&k, 15 * AS_SECOND);
    assert_int_equal(sim_up(k.sim, "web"), 7);
    kit_run(&k, 60 * AS_SECOND);
    assert_counts(&k, 7, 2);
    kit_end(&k);
}

/* One that is being made for the pool when load comes: the warm one serves, the new one takes its place. */
static void a_parked_one_goes_before_one_that_boots(void **state)
{
    (void)state;
    struct kit k = { .load = 15 };
    kit_start(&k, warm_2, &(struct sim_params){ .seed = 43, .boot_ms = 10000 });
    as_time limit = sim_now(k.sim) + 2 * AS_MINUTE;
    while ((in_state(&k, INST_PARKED) < 1 || in_state(&k, INST_BOOTING) < 1) && sim_now(k.sim) < limit)
        kit_run(&k, 100);
    k.load = 28;
    kit_run(&k, 5 * AS_SECOND);
    assert_int_equal(sim_up(k.sim, "web"), 3);
    assert_int_equal(sim_creates(k.sim), 4);
    kit_run(&k, 60 * AS_SECOND);
    assert_counts(&k, 3, 2);
    assert_int_equal(sim_creates(k.sim), 5); /* the one that booted was kept */
    kit_end(&k);
}

static void a_scale_in_parks_until_the_pool_is_full(void **state)
{
    (void)state;
    struct kit k = { .load = 75 };
    start_warm(&k, warm_2, &(struct sim_params){ .seed = 44, .session_ms = 3000 }, 8, 2);
    uint64_t made = sim_creates(k.sim);
    k.load = 100; /* all ten */
    kit_run(&k, 10 * AS_SECOND);
    assert_counts(&k, 10, 0);
    k.load = 35;
    kit_run(&k, 2 * AS_MINUTE);
    assert_counts(&k, 4, 2);
    assert_int_equal(sim_creates(k.sim), made); /* nothing was made for it */
    k.load = 55;
    run_until_up(&k, 6, 6 * AS_SECOND);
    assert_int_equal(sim_creates(k.sim), made);
    kit_end(&k);
}

static void the_pool_gives_way_to_max(void **state)
{
    (void)state;
    struct kit k = { .load = 15 };
    start_warm(&k, warm_5, &(struct sim_params){ .seed = 45 }, 2, 3);
    k.load = 35;
    kit_run(&k, 60 * AS_SECOND);
    assert_counts(&k, 4, 1); /* three would be six with max = 5 */
    k.load = 200;
    kit_run(&k, 60 * AS_SECOND);
    assert_counts(&k, 5, 0);
    kit_end(&k);
}

static void a_group_of_none_keeps_its_pool(void **state)
{
    (void)state;
    struct kit k = { .load = 0 };
    kit_start(&k, warm_nobalancer, &(struct sim_params){ .seed = 46, .boot_ms = 9000 });
    kit_run(&k, 90 * AS_SECOND);
    assert_int_equal(sim_parked(k.sim, "web"), 2);
    assert_int_equal(sim_alive(k.sim, "web"), 2);
    k.load = 18;
    kit_run(&k, 5 * AS_SECOND);
    assert_int_equal(in_state(&k, INST_SERVING), 2);
    k.load = 0;
    kit_run(&k, 60 * AS_SECOND);
    assert_int_equal(sim_parked(k.sim, "web"), 2);
    assert_int_equal(in_state(&k, INST_SERVING), 0);
    assert_int_equal(sim_creates(k.sim), 4); /* two more were on their way into the pool, or two came back */
    kit_end(&k);
}

static void one_that_serves_and_dies_is_replaced_from_the_pool(void **state)
{
    (void)state;
    struct kit k = { .load = 35 };
    start_warm(&k, warm_2, &(struct sim_params){ .seed = 47, .boot_ms = 9000 }, 4, 2);
    struct instance *victim = web(&k)->instances;
    while (victim->state != INST_SERVING)
        victim = victim->next;
    victim->misses = 100;
    web(&k)->dirty = true;
    kit_run(&k, 4 * AS_SECOND);
    assert_int_equal(sim_up(k.sim, "web"), 4);
    kit_run(&k, 60 * AS_SECOND);
    assert_counts(&k, 4, 2);
    kit_end(&k);
}

/* --- failures ----------------------------------------------------------------------------------------- */

static void a_parked_one_that_dies_is_replaced(void **state)
{
    (void)state;
    struct kit k = { .load = 15 };
    start_warm(&k, warm_2, &(struct sim_params){ .seed = 48 }, 2, 2);
    sim_kill_parked(k.sim, "web", 1);
    kit_run(&k, 60 * AS_SECOND);
    assert_counts(&k, 2, 2);
    sim_restart_host(k.sim, "a", false);
    sim_restart_host(k.sim, "b", false);
    kit_run(&k, 2 * AS_MINUTE);
    assert_counts(&k, 2, 2);
    kit_end(&k);
}

static void ones_that_die_again_and_again_back_off(void **state)
{
    (void)state;
    struct kit k = { .load = 15 };
    start_warm(&k, warm_2, &(struct sim_params){ .seed = 49 }, 2, 2);
    uint64_t made = sim_creates(k.sim);
    for (int n = 0; n < 600; n++) {
        sim_kill_parked(k.sim, "web", 2);
        kit_run(&k, 2 * AS_SECOND);
    }
    assert_true(sim_creates(k.sim) - made < 20);
    assert_int_equal(sim_up(k.sim, "web"), 2);
    kit_run(&k, 15 * AS_MINUTE);
    assert_counts(&k, 2, 2);
    kit_end(&k);
}

/* A daemon that restarted, or somebody, has let it run: it is told again, and it is in no balancer. */
static void one_that_runs_is_parked_again(void **state)
{
    (void)state;
    struct kit k = { .load = 15 };
    start_warm(&k, warm_2, &(struct sim_params){ .seed = 50 }, 2, 2);
    sim_restart_host(k.sim, "a", true);
    sim_restart_host(k.sim, "b", true);
    assert_int_equal(sim_parked(k.sim, "web"), 0);
    kit_run(&k, 10 * AS_SECOND);
    assert_counts(&k, 2, 2);
    assert_int_equal(sim_creates(k.sim), 4);
    kit_end(&k);
}

static void an_unpark_that_fails_falls_back_to_a_new_one(void **state)
{
    (void)state;
    struct kit k = { .load = 15 };
    start_warm(&k, warm_keeps, &(struct sim_params){ .seed = 51 }, 2, 2);
    sim_tune(k.sim)->fail_unpark = 1.0;
    k.load = 38;
    kit_run(&k, 15 * AS_SECOND);
    assert_int_equal(sim_up(k.sim, "web"), 4);
    assert_true(in_state(&k, INST_FAILED) >= 1); /* kept to be looked at */
    assert_true(web(&k)->unpark.fails >= 1);
    assert_int_equal(web(&k)->launch.fails, 0); /* it says nothing about launches */
    sim_tune(k.sim)->fail_unpark = 0;
    kit_run(&k, 4 * AS_MINUTE);
    assert_int_equal(in_state(&k, INST_FAILED), 0); /* and then destroyed */
    assert_counts(&k, 4, 2);
    kit_end(&k);
}

/* What cannot be parked is destroyed, as without standby, and making more of it for the pool backs off. */
static void a_park_that_fails_for_good_is_the_end_of_it(void **state)
{
    (void)state;
    struct kit k = { .load = 55 };
    start_warm(&k, warm_2, &(struct sim_params){ .seed = 61, .session_ms = 2000 }, 6, 2);
    sim_tune(k.sim)->fail_park = 1.0;
    sim_kill_parked(k.sim, "web", 2);
    k.load = 35;
    uint64_t moves = web(&k)->moves, made = sim_creates(k.sim);
    kit_run(&k, 20 * AS_MINUTE);
    assert_int_equal(sim_up(k.sim, "web"), 4);
    assert_int_equal(in_state(&k, INST_SERVING), 4);
    assert_true(sim_creates(k.sim) - made < 15);
    assert_true(web(&k)->moves - moves < 200);
    sim_tune(k.sim)->fail_park = 0;
    kit_run(&k, 15 * AS_MINUTE);
    assert_counts(&k, 4, 2);
    kit_end(&k);
}

/* At max the broken pool must not stand in the way of what is needed. */
static void a_pool_that_does_not_come_back_makes_room(void **state)
{
    (void)state;
    struct kit k = { .load = 15 };
    start_warm(&k, warm_5, &(struct sim_params){ .seed = 52, .fail_unpark = 1.0 }, 2, 3);
    k.load = 50;
    kit_run(&k, 90 * AS_SECOND);
    assert_counts(&k, 5, 0);
    kit_end(&k);
}

static void unparks_without_an_answer_are_looked_at(void **state)
{
    (void)state;
    for (uint64_t seed = 60; seed < 80; seed++) {
        struct kit k = { .load = 15 };
        start_warm(&k, warm_2, &(struct sim_params){ .seed = seed, .session_ms = 2000 }, 2, 2);
        sim_tune(k.sim)->unknown_switch = 0.6;
        for (int n = 0; n < 6; n++) {
            k.load = n % 2 ? 15 : 38;
            kit_run(&k, 45 * AS_SECOND);
            assert_int_equal(sim_up(k.sim, "web"), n % 2 ? 2 : 4);
        }
        sim_tune(k.sim)->unknown_switch = 0;
        kit_run(&k, 2 * AS_MINUTE);
        assert_counts(&k, 2, 2);
        kit_end(&k);
    }
}

/* The kernel accepts connections for a process that is stopped: no proof that it is awake. */
static void G4_the_kernel_answering_for_a_parked_one_is_no_health(void **state)
{
    (void)state;
    for (as_time at = 0; at < 3000; at += 170) {
        struct kit k = { .load = 15 };
        start_warm(&k, warm_2, &(struct sim_params){ .seed = 53, .accepts_parked = true, .call_ms = 400 }, 2,
                   2);
        sim_tune(k.sim)->unknown_switch = 0.5;
        k.load = 38;
        kit_run(&k, at);
        kit_crash(&k);
        kit_boot(&k);
        kit_run(&k, 60 * AS_SECOND); /* the world says when a parked one is admitted */
        assert_int_equal(sim_up(k.sim, "web"), 4);
        kit_end(&k);
    }
}

static void a_hung_host_keeps_its_parked_ones_to_itself(void **state)
{
    (void)state;
    struct kit k = { .load = 15 };
    start_warm(&k, warm_2, &(struct sim_params){ .seed = 54 }, 2, 2);
    sim_hang_host(k.sim, "a", true);
    kit_run(&k, 20 * AS_SECOND);
    k.load = 48;
    kit_run(&k, 90 * AS_SECOND); /* what is parked there cannot be had: made elsewhere */
    int up_b = 0;
    for (const struct instance *i = web(&k)->instances; i; i = i->next)
        up_b += i->host == 1 && i->state == INST_SERVING;
    assert_true(up_b >= 4);
    sim_hang_host(k.sim, "a", false);
    kit_run(&k, 3 * AS_MINUTE);
    assert_counts(&k, 5, 2);
    kit_end(&k);
}

static void a_host_that_hangs_while_they_wake_is_not_waited_for(void **state)
{
    (void)state;
    struct kit k = { .load = 15 };
    start_warm(&k, warm_3, &(struct sim_params){ .seed = 55, .call_ms = 20 }, 2, 3);
    k.load = 48;
    while (in_state(&k, INST_BOOTING) == 0)
        kit_run(&k, 1);
    sim_hang_host(k.sim, "a", true); /* the calls are on their way */
    kit_run(&k, 40 * AS_SECOND);     /* not the minute that a call may take */
    int up_b = 0;
    for (const struct instance *i = web(&k)->instances; i; i = i->next)
        up_b += i->host == 1 && i->state == INST_SERVING;
    assert_true(up_b >= 3);
    sim_hang_host(k.sim, "a", false);
    kit_run(&k, 4 * AS_MINUTE);
    assert_counts(&k, 5, 3);
    kit_end(&k);
}

/* --- crashes and reloads -------------------------------------------------------------------------------- */

static void G7_crash_at_any_moment_of_the_pools_life(void **state)
{
    (void)state;
    for (as_time at = 50; at < 9000; at += 170) {
        struct kit k = { .load = 15 };
        kit_start(&k, warm_2,
                  &(struct sim_params){ .seed = (uint64_t)at, .session_ms = 2000, .call_ms = 100 });
        kit_run(&k, at + 3 * AS_SECOND); /* while it is filled */
        kit_crash(&k);
        sim_run(k.sim, sim_now(k.sim) + 700, NULL, NULL);
        kit_boot(&k);
        kit_run(&k, 60 * AS_SECOND);
        assert_counts(&k, 2, 2);
        k.load = 38;
        kit_run(&k, at); /* while they come back */
        kit_crash(&k);
        sim_run(k.sim, sim_now(k.sim) + 700, NULL, NULL);
        kit_boot(&k);
        kit_run(&k, 60 * AS_SECOND);
        assert_counts(&k, 4, 2);
        k.load = 15;
        kit_run(&k, 20 * AS_SECOND + at); /* while it takes back */
        kit_crash(&k);
        kit_boot(&k);
        kit_run(&k, 90 * AS_SECOND);
        assert_counts(&k, 2, 2);
        kit_end(&k);
    }
}

static void a_lost_journal_finds_parked_ones_again(void **state)
{
    (void)state;
    struct kit k = { .load = 15 };
    start_warm(&k, warm_2, &(struct sim_params){ .seed = 56 }, 2, 2);
    kit_crash(&k);
    for (int n = 0; n < 4; n++) {
        static const char *const suffixes[] = { "", "-wal", "-shm", ".lock" };
        char path[96];
        snprintf(path, sizeof path, "%s%s", k.journal_path, suffixes[n]);
        unlink(path);
    }
    kit_boot(&k);
    kit_run(&k, 60 * AS_SECOND);
    assert_counts(&k, 2, 2);
    assert_int_equal(sim_creates(k.sim), 4);
    kit_end(&k);
}

static void G11_a_reload_turns_standby_on_and_off(void **state)
{
    (void)state;
    struct kit k = { .load = 15 };
    start_warm(&k, cold, &(struct sim_params){ .seed = 57 }, 2, 0);
    reload(&k, warm_3);
    kit_run(&k, 60 * AS_SECOND);
    assert_counts(&k, 2, 3);
    reload(&k, warm_2);
    kit_run(&k, 10 * AS_SECOND);
    assert_counts(&k, 2, 2);
    reload(&k, warm_0);
    kit_run(&k, 10 * AS_SECOND);
    assert_counts(&k, 2, 0);
    reload(&k, warm_2);
    kit_run(&k, 60 * AS_SECOND);
    reload(&k, cold);
    kit_run(&k, 10 * AS_SECOND);
    assert_counts(&k, 2, 0);
    assert_int_equal(group_footprint(web(&k)), 2);
    kit_end(&k);
}

/* Turned off while one comes back: it comes back. */
static void G11_standby_turned_off_in_the_middle_of_an_unpark(void **state)
{
    (void)state;
    for (as_time at = 0; at < 2600; at += 90) {
        struct kit k = { .load = 15 };
        start_warm(&k, warm_2, &(struct sim_params){ .seed = 58, .call_ms = 150 }, 2, 2);
        k.load = 38;
        kit_run(&k, at);
        reload(&k, cold);
        kit_run(&k, 40 * AS_SECOND);
        assert_counts(&k, 4, 0);
        kit_end(&k);
    }
}

static void an_outdated_one_never_comes_back(void **state)
{
    (void)state;
    struct kit k = { .load = 15 };
    start_warm(&k, warm_2, &(struct sim_params){ .seed = 59 }, 2, 2);
    for (struct instance *i = web(&k)->instances; i; i = i->next)
        if (i->state == INST_PARKED)
            snprintf(i->notes->revision, sizeof i->notes->revision, "0000000000000000");
    k.load = 38;
    kit_run(&k, 60 * AS_SECOND);
    assert_counts(&k, 4, 2);
    for (const struct instance *i = web(&k)->instances; i; i = i->next)
        assert_false(standby_outdated(web(&k), i));
    kit_end(&k);
}

/* --- a hostile world --------------------------------------------------------------------------------------- */

static void hostile_world(uint64_t seed)
{
    static const char *const texts[] = { warm_2, warm_3, warm_keeps, cold, warm_0 };
    struct kit k = { .load = 30 };
    struct sim_params p = hostile_params(seed);
    p.call_ms = seed % 3 ? 2 : 150;
    p.fail_park = 0.05;
    p.fail_park = 0.05;
    p.fail_unpark = p.unknown_switch = 0.1;
    p.accepts_parked = true;
    kit_start(&k, warm_2, &p);
    uint64_t r = seed;
    for (int step = 0; step < 150; step++) {
        r = hostile_draw(&k, r);
        hostile_hang(&k, r, 6);
        if ((r >> 26) % 17 == 0)
            sim_restart_host(k.sim, hostile_place((r >> 21) % 2), (r >> 33) % 2 == 0);
        if ((r >> 27) % 13 == 0)
            sim_kill_parked(k.sim, "web", 1);
        if ((r >> 29) % 9 == 0)
            reload(&k, texts[(r >> 34) % 5]);
        hostile_crash(&k, r);
        sim_run(k.sim, sim_now(k.sim) + (as_time)((r >> 36) % 20000), NULL, NULL);
        hostile_check(&k, seed, NULL);
    }
    hostile_calm(&k);
    reload(&k, warm_2);
    sim_run(k.sim, sim_now(k.sim) + 25 * AS_MINUTE, NULL, NULL);
    for (int n = 0; n < 8 && (sim_up(k.sim, "web") != 5 || sim_parked(k.sim, "web") != 2); n++)
        sim_run(k.sim, sim_now(k.sim) + 15 * AS_SECOND, NULL, NULL); /* one whose hour had come is replaced */
    hostile_converged(&k, seed);
    hostile_check(&k, seed, NULL);
    if (sim_up(k.sim, "web") != 5 || sim_parked(k.sim, "web") != 2)
        fail_msg("seed %llu: %d are up, %d parked", (unsigned long long)seed, sim_up(k.sim, "web"),
                 sim_parked(k.sim, "web"));
    kit_end(&k);
}

static void hostile_seeds_keep_the_guarantees(void **state)
{
    (void)state;
    hostile_seeds(12, hostile_world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_pool_is_filled_in_quiet_times),
        cmocka_unit_test(growth_takes_parked_ones_before_anything_new),
        cmocka_unit_test(more_than_the_pool_has_is_created_beside_it),
        cmocka_unit_test(a_parked_one_goes_before_one_that_boots),
        cmocka_unit_test(a_scale_in_parks_until_the_pool_is_full),
        cmocka_unit_test(the_pool_gives_way_to_max),
        cmocka_unit_test(a_group_of_none_keeps_its_pool),
        cmocka_unit_test(one_that_serves_and_dies_is_replaced_from_the_pool),
        cmocka_unit_test(a_parked_one_that_dies_is_replaced),
        cmocka_unit_test(ones_that_die_again_and_again_back_off),
        cmocka_unit_test(one_that_runs_is_parked_again),
        cmocka_unit_test(an_unpark_that_fails_falls_back_to_a_new_one),
        cmocka_unit_test(a_park_that_fails_for_good_is_the_end_of_it),
        cmocka_unit_test(a_pool_that_does_not_come_back_makes_room),
        cmocka_unit_test(unparks_without_an_answer_are_looked_at),
        cmocka_unit_test(G4_the_kernel_answering_for_a_parked_one_is_no_health),
        cmocka_unit_test(a_hung_host_keeps_its_parked_ones_to_itself),
        cmocka_unit_test(a_host_that_hangs_while_they_wake_is_not_waited_for),
        cmocka_unit_test(G7_crash_at_any_moment_of_the_pools_life),
        cmocka_unit_test(a_lost_journal_finds_parked_ones_again),
        cmocka_unit_test(G11_a_reload_turns_standby_on_and_off),
        cmocka_unit_test(G11_standby_turned_off_in_the_middle_of_an_unpark),
        cmocka_unit_test(an_outdated_one_never_comes_back),
        cmocka_unit_test(hostile_seeds_keep_the_guarantees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
