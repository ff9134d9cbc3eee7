/* Reloads that take something away under a running group: a balancer, a host, the group itself. What is refused says
 * where; what is taken away is left without anything of ours. */
#include "../../controller/model/series.h"
#include "hostile.h"

#define WEB(name, hosts, balancers)                                                                          \
    "controller = { " name "};\n"                                                                            \
    "sources = { m = { driver = \"sim\"; }; };\n"                                                            \
    "groups = { web = { min = 2; max = 10;\n"                                                                \
    "  compute = { driver = \"sim\";\n"                                                                      \
    "              hosts = [ " hosts " ]; };\n"                                                              \
    "  health = { http = \"/\"; interval = \"500ms\"; };\n"                                                  \
    "  balancer = { driver = \"sim\";\n"                                                                     \
    "               hosts = [ " balancers " ]; drain = \"10s\"; };\n"                                        \
    "  policies = [ \"load\" ]; }; };\n"                                                                     \
    "policies = { load = { type = \"target\"; metric = \"m.load\"; per_instance = 10.0; }; };\n"

static const char on_lb1[] = WEB("", "\"a\", \"b\"", "\"lb1\"");
static const char on_lb2[] = WEB("", "\"a\", \"b\"", "\"lb2\"");
static const char on_both[] = WEB("", "\"a\", \"b\"", "\"lb1\", \"lb2\"");
static const char without_b[] = WEB("", "\"a\"", "\"lb1\"");
static const char renamed[] = WEB("name = \"other\"; ", "\"a\", \"b\"", "\"lb1\"");

static const char unbalanced[] =
    "sources = { m = { driver = \"sim\"; }; };\n"
    "groups = { web = { min = 2; max = 10; compute = { driver = \"sim\"; hosts = [ \"a\", \"b\" ]; };\n"
    "  policies = [ \"load\" ]; }; };\n"
    "policies = { load = { type = \"target\"; metric = \"m.load\"; per_instance = 10.0; }; };\n";

static const char another_group[] =
    "groups = { other = { min = 0; max = 1; compute = { driver = \"sim\"; hosts = [ \"a\" ]; };\n"
    "  policies = [ \"load\" ]; }; };\n"
    "sources = { m = { driver = \"sim\"; }; };\n"
    "policies = { load = { type = \"target\"; metric = \"m.load\"; per_instance = 10.0; }; };\n";

/* Never fewer UP than before while they move; nothing of ours is left behind. */
static void a_group_that_moves_leaves_nothing_in_its_old_balancer(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, on_lb1, &(struct sim_params){ .seed = 71, .session_ms = 3000 });
    kit_run(&k, 10 * AS_SECOND);
    assert_int_equal(sim_seated(k.sim, "lb1"), 5);
    reload(&k, on_lb2);
    for (int n = 0; n < 300; n++) {
        kit_run(&k, 50);
        assert_true(sim_up(k.sim, "web") >= 5);
    }
    assert_int_equal(sim_seated(k.sim, "lb1"), 0);
    assert_int_equal(sim_seated(k.sim, "lb2"), 5);
    assert_true(web(&k)->pools[0].retired);
    assert_int_equal(sim_alive(k.sim, "web"), 5);
    kit_end(&k);
}

static void one_of_two_balancers_is_left(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, on_both, &(struct sim_params){ .seed = 72 });
    kit_run(&k, 10 * AS_SECOND);
    assert_int_equal(sim_seated(k.sim, "lb2"), 5);
    reload(&k, on_lb1);
    kit_run(&k, 15 * AS_SECOND);
    assert_int_equal(sim_seated(k.sim, "lb1"), 5);
    assert_int_equal(sim_seated(k.sim, "lb2"), 0);
    reload(&k, on_both); /* and back */
    kit_run(&k, 10 * AS_SECOND);
    assert_int_equal(sim_seated(k.sim, "lb2"), 5);
    kit_end(&k);
}

/* A typing error in an address must not take the group out of service. */
static void nobody_leaves_before_the_new_balancer_serves(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, on_lb1, &(struct sim_params){ .seed = 73 });
    kit_run(&k, 10 * AS_SECOND);
    sim_hang_host(k.sim, "lb2", true);
    reload(&k, on_lb2);
    kit_run(&k, 5 * AS_MINUTE);
    assert_int_equal(sim_up(k.sim, "web"), 5);
    sim_hang_host(k.sim, "lb2", false);
    kit_run(&k, 30 * AS_SECOND);
    assert_int_equal(sim_seated(k.sim, "lb1"), 0);
    assert_int_equal(sim_seated(k.sim, "lb2"), 5);
    kit_end(&k);
}

/* Whoever is scaled in meanwhile goes out of the balancer that is left, too, before it is destroyed. */
static void a_balancer_that_is_left_does_not_keep_destroyed_ones(void **state)
{
    (void)state;
    struct kit k = { .load = 80 };
    kit_start(&k, on_both, &(struct sim_params){ .seed = 74, .session_ms = 2000 });
    kit_run(&k, 10 * AS_SECOND);
    k.load = 20;
    as_time limit = sim_now(k.sim) + 2 * AS_MINUTE;
    while (in_state(&k, INST_DRAINING) == 0 && sim_now(k.sim) < limit)
        kit_run(&k, 10);
    reload(&k, on_lb1);
    kit_run(&k, 90 * AS_SECOND);
    assert_int_equal(sim_alive(k.sim, "web"), 2);
    assert_int_equal(sim_seated(k.sim, "lb1"), 2);
    assert_int_equal(sim_seated(k.sim, "lb2"), 0);
    kit_end(&k);
}

/* A dead balancer is not waited for. The simulation would have it that shoppers are still sent there: not checked. */
static void a_dead_balancer_can_be_left(void **state)
{
    (void)state;
    struct kit k = { .load = 60 };
    kit_start(&k, on_both, &(struct sim_params){ .seed = 75 });
    kit_run(&k, 10 * AS_SECOND);
    sim_hang_host(k.sim, "lb2", true);
    kit_run(&k, 10 * AS_SECOND);
    reload(&k, on_lb1);
    k.load = 20;
    sim_run(k.sim, sim_now(k.sim) + 3 * AS_MINUTE, NULL, NULL); /* drains are not held up by it */
    assert_int_equal(sim_alive(k.sim, "web"), 2);
    assert_int_equal(sim_seated(k.sim, "lb1"), 2);
    sim_hang_host(k.sim, "lb2", false); /* it was not dead after all: what it kept is cleared */
    sim_run(k.sim, sim_now(k.sim) + 30 * AS_SECOND, NULL, NULL);
    assert_int_equal(sim_seated(k.sim, "lb2"), 0);
    kit_end(&k);
}

/* What a balancer that is left and does not answer still sends is not cut before a drain's time is over. */
static void G5_a_dead_balancer_that_is_left_keeps_a_drains_time(void **state)
{
    (void)state;
    struct kit k = { .load = 60 };
    kit_start(&k, on_both, &(struct sim_params){ .seed = 78, .session_ms = 100 });
    kit_run(&k, 10 * AS_SECOND);
    sim_hang_host(k.sim, "lb2", true);
    kit_run(&k, 10 * AS_SECOND);
    reload(&k, on_lb1);
    k.load = 20;
    as_time limit = sim_now(k.sim) + 3 * AS_MINUTE;
    while (in_state(&k, INST_DRAINING) == 0 && sim_now(k.sim) < limit)
        kit_run(&k, 10);
    int draining = in_state(&k, INST_DRAINING);
    assert_in_range(draining, 1, 4);
    sim_run(k.sim, sim_now(k.sim) + 9500, NULL, NULL);
    assert_true(in_state(&k, INST_DRAINING) >= draining);
    sim_run(k.sim, sim_now(k.sim) + AS_MINUTE, NULL, NULL);
    assert_int_equal(sim_alive(k.sim, "web"), 2);
    kit_end(&k);
}

/* One that hangs for a moment while it is left goes on sending to whom it was not told of. */
static void G5_a_balancer_that_is_left_may_hang_for_a_moment(void **state)
{
    (void)state;
    struct kit k = { .load = 60 };
    kit_start(&k, on_both, &(struct sim_params){ .seed = 81, .session_ms = 2000 });
    kit_run(&k, 10 * AS_SECOND);
    k.load = 20;
    as_time limit = sim_now(k.sim) + 3 * AS_MINUTE;
    while (in_state(&k, INST_DRAINING) == 0 && sim_now(k.sim) < limit)
        kit_run(&k, 1);
    assert_in_range(in_state(&k, INST_DRAINING), 1, 4);
    sim_hang_host(k.sim, "lb2", true);
    as_time began = sim_now(k.sim);
    while (!web(&k)->pools[1].failing_since && sim_now(k.sim) < limit)
        kit_run(&k, 10);
    reload(&k, on_lb1);
    assert_in_range(sim_now(k.sim) - began, 1, 8 * AS_SECOND); /* a drain lasts ten */
    kit_run(&k, began + 12 * AS_SECOND - sim_now(k.sim));
    sim_hang_host(k.sim, "lb2", false);
    kit_run(&k, AS_MINUTE);
    assert_int_equal(sim_alive(k.sim, "web"), 2);
    assert_int_equal(sim_seated(k.sim, "lb2"), 0);
    kit_end(&k);
}

/* As by kill -9, and started with what the file says now. */
static void restart_with(struct kit *k, const char *text)
{
    kit_crash(k);
    cfg_hold_put(k->hold);
    k->hold = kit_config(k, text);
    kit_boot(k);
}

static void all_moved(struct kit *k, as_time within)
{
    as_time limit = sim_now(k->sim) + within;
    while ((sim_seated(k->sim, "lb1") || sim_seated(k->sim, "lb2") < 5) && sim_now(k->sim) < limit) {
        kit_run(k, 50);
        assert_true(sim_up(k->sim, "web") >= 5);
    }
    assert_int_equal(sim_seated(k->sim, "lb1"), 0);
    assert_int_equal(sim_seated(k->sim, "lb2"), 5);
    assert_int_equal(sim_alive(k->sim, "web"), 5);
}

static char *remembered(struct kit *k)
{
    char *value = NULL;
    assert_int_equal(journal_get(k->journal, "balancers/web", &value, NULL), AS_OK);
    assert_non_null(value);
    return value;
}

static void G7_a_balancer_that_is_left_is_cleared_after_a_crash(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, on_lb1, &(struct sim_params){ .seed = 82, .session_ms = 3000 });
    kit_run(&k, 10 * AS_SECOND);
    reload(&k, on_lb2);
    for (int n = 0; n < 4; n++) { /* before the new one has them, while they drain, while they go */
        kit_run(&k, 1500);
        restart_with(&k, on_lb2);
    }
    all_moved(&k, 30 * AS_SECOND);
    kit_run(&k, 10 * AS_SECOND);
    char *row = remembered(&k); /* it is proven empty: nobody asks it at the next start */
    assert_null(strstr(row, "lb1"));
    assert_non_null(strstr(row, "lb2"));
    free(row);
    restart_with(&k, on_lb2);
    assert_int_equal(web(&k)->pool_count, 1);
    kit_end(&k);
}

static void G7_a_group_that_moved_while_nothing_ran_leaves_its_old_balancer(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, on_lb1, &(struct sim_params){ .seed = 83, .session_ms = 3000 });
    kit_run(&k, 10 * AS_SECOND);
    restart_with(&k, on_lb2);
    all_moved(&k, 30 * AS_SECOND);
    kit_end(&k);
}

/* It has no other: who serves stays in it, and who is scaled in leaves it as ever. */
static void G5_a_balancer_whose_block_is_gone_is_left_by_those_that_leave(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, on_lb1, &(struct sim_params){ .seed = 95, .session_ms = 2000 });
    kit_run(&k, 10 * AS_SECOND);
    restart_with(&k, unbalanced);
    kit_run(&k, 30 * AS_SECOND);
    assert_int_equal(web(&k)->pools[0].failing_since, 0);
    assert_int_equal(sim_up(k.sim, "web"), 5);
    k.load = 20;
    kit_run(&k, 3 * AS_MINUTE);
    assert_int_equal(sim_alive(k.sim, "web"), 2);
    assert_int_equal(sim_seated(k.sim, "lb1"), 2);
    assert_int_equal(sim_up(k.sim, "web"), 2);
    kit_end(&k);
}

/* The group is taken out and put back elsewhere, before and while it leaves. */
static void a_group_that_comes_back_elsewhere_leaves_its_old_balancer(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, on_lb1, &(struct sim_params){ .seed = 84, .session_ms = 3000 });
    kit_run(&k, 10 * AS_SECOND);
    for (int n = 0; n < 3; n++) {
        reload(&k, another_group);
        sim_run(k.sim, sim_now(k.sim) + AS_SECOND, NULL, NULL);
        reload(&k, on_lb2);
        kit_run(&k, 2 * AS_SECOND);
    }
    all_moved(&k, 30 * AS_SECOND);
    kit_end(&k);
}

/* What was left behind by one that is gone, in a balancer that was dead when it went. */
static void a_balancer_that_was_dead_is_cleared_after_a_restart(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, on_both, &(struct sim_params){ .seed = 85 });
    kit_run(&k, 10 * AS_SECOND);
    sim_hang_host(k.sim, "lb2", true);
    reload(&k, on_lb1);
    k.load = 20;
    sim_run(k.sim, sim_now(k.sim) + 3 * AS_MINUTE, NULL, NULL);
    assert_int_equal(sim_alive(k.sim, "web"), 2);
    assert_int_equal(sim_seated(k.sim, "lb2"), 5);
    restart_with(&k, on_lb1);
    sim_run(k.sim, sim_now(k.sim) + 30 * AS_SECOND, NULL, NULL);
    sim_hang_host(k.sim, "lb2", false);
    sim_run(k.sim, sim_now(k.sim) + 30 * AS_SECOND, NULL, NULL);
    assert_int_equal(sim_seated(k.sim, "lb2"), 0);
    assert_int_equal(sim_seated(k.sim, "lb1"), 2);
    kit_end(&k);
}

/* What a dead daemon had asked of a balancer that hangs is carried out when it wakes, maybe after its first list. */
static void a_balancer_that_is_left_is_cleared_of_late_admits(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, on_lb1, &(struct sim_params){ .seed = 92, .create_ms = 3000, .call_ms = 40 });
    kit_run(&k, 20 * AS_SECOND);
    reload(&k, on_both);
    as_time limit = sim_now(k.sim) + AS_MINUTE;
    while (!web(&k)->instances->pools[1].busy && sim_now(k.sim) < limit)
        kit_run(&k, 5);
    assert_true(web(&k)->instances->pools[1].busy); /* being admitted at lb2 */
    sim_hang_host(k.sim, "lb2", true);
    kit_run(&k, 5 * AS_SECOND);
    restart_with(&k, on_lb1);
    kit_run(&k, AS_SECOND);
    sim_hang_host(k.sim, "lb2", false);
    kit_run(&k, 30 * AS_SECOND);
    assert_int_equal(sim_seated(k.sim, "lb2"), 0);
    assert_int_equal(sim_seated(k.sim, "lb1"), 5);
    kit_end(&k);
}

#define STANDBY(balancers)                                                                                   \
    "sources = { m = { driver = \"sim\"; }; };\n"                                                            \
    "groups = { web = { min = 2; max = 10;\n"                                                                \
    "  compute = { driver = \"sim\"; hosts = [ \"a\" ]; park = \"suspend\"; standby = 1; };\n"               \
    "  health = { http = \"/\"; interval = \"500ms\"; };\n"                                                  \
    "  balancer = { driver = \"sim\"; hosts = [ " balancers " ]; drain = \"3s\"; };\n"                       \
    "  scale_in = { window = \"5s\"; };\n"                                                                   \
    "  policies = [ \"load\" ]; }; };\n"                                                                     \
    "policies = { load = { type = \"target\"; metric = \"m.load\"; per_instance = 10.0; }; };\n"

/* A balancer that is left and hangs may still admit it: only one that no balancer has is parked. */
static void G4_nobody_is_parked_whom_a_balancer_may_still_admit(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, STANDBY("\"lb1\""), &(struct sim_params){ .seed = 93, .call_ms = 40, .session_ms = 100 });
    kit_run(&k, 30 * AS_SECOND);
    assert_int_equal(sim_parked(k.sim, "web"), 1);
    reload(&k, STANDBY("\"lb1\", \"lb2\""));
    as_time limit = sim_now(k.sim) + AS_MINUTE;
    while (!web(&k)->instances->pools[1].busy && sim_now(k.sim) < limit)
        kit_run(&k, 5);
    assert_true(web(&k)->instances->pools[1].busy); /* being admitted at lb2 */
    sim_hang_host(k.sim, "lb2", true);
    kit_run(&k, 5 * AS_SECOND);
    reload(&k, STANDBY("\"lb1\""));
    sim_kill_parked(k.sim, "web", 1); /* the pool has room */
    k.load = 20;
    kit_run(&k, AS_MINUTE);
    assert_int_equal(sim_up(k.sim, "web"), 2);
    sim_hang_host(k.sim, "lb2", false);
    kit_run(&k, AS_MINUTE);
    assert_int_equal(sim_seated(k.sim, "lb2"), 0);
    assert_int_equal(sim_parked(k.sim, "web"), 1);
    kit_end(&k);
}

/* What cannot be bound any more is said, and nothing else suffers. */
static void a_balancer_that_cannot_be_remembered_stops_nothing(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "nonsense",
        "{}",
        "[ 1, {}, { \"endpoint\": \"lb1\" } ]",
        "[{\"endpoint\":\"lb1\",\"driver\":\"lvs\",\"settings\":\"\"}]",
        "[{\"endpoint\":\"lb1\",\"driver\":\"sim\",\"settings\":\"hosts = 1\"}]",
    };
    struct kit k = { .load = 50 };
    kit_start(&k, on_lb2, &(struct sim_params){ .seed = 87 });
    kit_run(&k, 10 * AS_SECOND);
    for (size_t n = 0; n < sizeof rows / sizeof *rows; n++) {
        assert_int_equal(journal_set(k.journal, "balancers/web", rows[n], NULL), AS_OK);
        restart_with(&k, on_lb2);
        kit_run(&k, 5 * AS_SECOND);
        assert_int_equal(web(&k)->pool_count, 1);
        assert_int_equal(sim_seated(k.sim, "lb2"), 5);
        char *row = remembered(&k);
        assert_string_not_equal(row, rows[n]);
        free(row);
    }
    kit_end(&k);
}

/* One that was taken down for good is not asked for ever. */
static void a_balancer_that_stays_dead_is_given_up_after_a_day(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, on_lb1, &(struct sim_params){ .seed = 86 });
    kit_run(&k, 10 * AS_SECOND);
    reload(&k, on_both);
    kit_run(&k, 10 * AS_SECOND);
    sim_hang_host(k.sim, "lb1", true);
    reload(&k, on_lb2);
    sim_run(k.sim, sim_now(k.sim) + 23 * AS_HOUR, NULL, NULL);
    assert_false(web(&k)->pools[0].retired);
    sim_run(k.sim, sim_now(k.sim) + 2 * AS_HOUR, NULL, NULL);
    assert_true(web(&k)->pools[0].retired);
    for (const struct instance *i = web(&k)->instances; i; i = i->next)
        assert_false(i->pools[0].listed); /* nor are sessions of then counted for ever */
    char *row = remembered(&k);
    assert_null(strstr(row, "lb1"));
    free(row);
    kit_end(&k);
}

static void come_and_go(uint64_t seed)
{
    static const char *const texts[] = { on_lb1, on_lb2, on_both };
    struct kit k = { .load = 30 };
    struct sim_params p = hostile_params(seed);
    kit_start(&k, on_lb1, &p);
    uint64_t r = seed;
    for (int step = 0; step < 80; step++) {
        r = hostile_draw(&k, r);
        if ((r >> 16) % 5 < 2)
            sim_hang_host(k.sim, "a", (r >> 16) % 5 == 0);
        if ((r >> 27) % 2 == 0)
            reload(&k, texts[(r >> 34) % 3]);
        else if ((r >> 28) % 6 == 0)
            restart_with(&k, texts[(r >> 34) % 3]);
        sim_run(k.sim, sim_now(k.sim) + (as_time)((r >> 36) % 20000), NULL, NULL);
        hostile_check(&k, seed, NULL);
    }
    hostile_calm(&k);
    reload(&k, on_lb1);
    sim_run(k.sim, sim_now(k.sim) + 25 * AS_MINUTE, NULL, NULL);
    hostile_converged(&k, seed);
    hostile_check(&k, seed, NULL);
    assert_int_equal(sim_seated(k.sim, "lb1"), sim_alive(k.sim, "web"));
    assert_int_equal(sim_seated(k.sim, "lb2"), 0);
    kit_end(&k);
}

static void balancers_that_come_and_go_keep_nothing_of_ours(void **state)
{
    (void)state;
    hostile_seeds(12, come_and_go);
}

#define MEASURED(interval, metric)                                                                           \
    "controller = { interval = \"" interval "\"; };\n"                                                       \
    "sources = { m = { driver = \"sim\"; interval = \"5s\"; }; };\n"                                         \
    "groups = { web = { min = 2; max = 10; compute = { driver = \"sim\"; hosts = [ \"a\" ]; };\n"            \
    "  policies = [ \"load\" ]; }; };\n"                                                                     \
    "policies = { load = { type = \"target\"; metric = \"" metric "\"; per_instance = 10.0;\n"               \
    "  window = \"10m\"; }; };\n"

/* A formula has a value each interval: with a shorter one its window needs more room. */
static void a_window_keeps_its_length_over_a_shorter_interval(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, MEASURED("20s", "m.load + m.room"), &(struct sim_params){ .seed = 89 });
    kit_run(&k, AS_MINUTE);
    reload(&k, MEASURED("1s", "m.load + m.room"));
    kit_run(&k, AS_MINUTE);
    assert_true(series_capacity(web(&k)->policies[0].sources[0].own) >= 600);
    kit_end(&k);
}

/* What no policy reads any more is not measured, journalled and shown for ever. */
static void a_metric_that_nobody_reads_any_more_is_let_go(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, MEASURED("2s", "m.load"), &(struct sim_params){ .seed = 90 });
    kit_run(&k, 2 * AS_MINUTE);
    reload(&k, MEASURED("2s", "m.room"));
    kit_run(&k, 2 * AS_MINUTE);
    assert_int_equal(k.engine->sources->binding_count, 1);
    assert_string_equal(as_series_name(k.engine->sources->bindings[0]->series), "m.room");
    reload(&k, MEASURED("2s", "m.load + m.room"));
    kit_run(&k, 2 * AS_MINUTE);
    assert_int_equal(k.engine->sources->binding_count, 2);
    kit_end(&k);
}

#define NAMED(name)                                                                                          \
    "sources = { m = { driver = \"sim\"; }; };\n"                                                            \
    "groups = { web = { min = 2; max = 10; compute = { driver = \"sim\"; hosts = [ \"a\" ]; };\n"            \
    "  policies = [ \"" name "\" ]; }; };\n"                                                                 \
    "policies = { " name " = { type = \"target\"; metric = \"m.load\"; per_instance = 10.0; }; };\n"

static void a_policy_that_was_renamed_goes_by_its_new_name(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, NAMED("load"), &(struct sim_params){ .seed = 94 });
    kit_run(&k, 10 * AS_SECOND);
    reload(&k, NAMED("sessions"));
    kit_run(&k, 10 * AS_SECOND);
    assert_string_equal(web(&k)->decision.proposals[0].policy, "sessions");
    kit_end(&k);
}

#define LONG_HOST                                                                                            \
    "qemu+ssh://autoscale@hypervisor-17.rack-4.datacentre-one.example.com:2222/"                             \
    "system?keyfile=/etc/autoscale/keys/hypervisors/id_ed25519&known_hosts=/etc/autoscale/"                  \
    "known_hosts&socket="

/* The address of a host is longer than a line: it is one host, and that one, all the same. */
static void hosts_with_long_names_are_told_apart(void **state)
{
    (void)state;
    static const char before[] = WEB("", "\"" LONG_HOST "a\", \"" LONG_HOST "b\"", "\"lb1\"");
    static const char after[] =
        WEB("interval = \"1s\"; ", "\"" LONG_HOST "b\", \"" LONG_HOST "a\"", "\"lb1\"");
    struct kit k = { .load = 40 };
    kit_start(&k, before, &(struct sim_params){ .seed = 88 });
    kit_run(&k, 10 * AS_SECOND);
    assert_int_equal(sim_up(k.sim, "web"), 4);
    reload(&k, after);
    restart_with(&k, after);
    kit_run(&k, 10 * AS_SECOND);
    assert_int_equal(sim_up(k.sim, "web"), 4);
    assert_int_equal(web(&k)->host_count, 2);
    int on_first = 0;
    for (const struct instance *i = web(&k)->instances; i; i = i->next) {
        assert_true(i->host >= 0);
        on_first += i->host == 0;
    }
    assert_int_equal(on_first, 2);
    kit_end(&k);
}

#define ON_HOSTS(hosts, more)                                                                                \
    "sources = { m = { driver = \"sim\"; }; };\n"                                                            \
    "groups = { web = { min = 2; max = 4; compute = { driver = \"sim\"; hosts = [ " hosts " ]; " more        \
    " };\n"                                                                                                  \
    "  health = { http = \"/\"; interval = \"500ms\"; };\n"                                                  \
    "  balancer = { driver = \"sim\"; hosts = [ \"lb1\" ]; drain = \"10s\"; };\n"                            \
    "  policies = [ \"load\" ]; }; };\n"                                                                     \
    "policies = { load = { type = \"target\"; metric = \"m.load\"; per_instance = 10.0; }; };\n"

static void run_on(struct kit *k, as_time span) /* what exists where nobody looks any more is more than max */
{
    sim_run(k->sim, sim_now(k->sim) + span, NULL, NULL);
}

/* A host that died takes its places along only until somebody says that it will never come back. */
static void a_host_that_is_gone_for_good(bool by_restart)
{
    struct as_error err = { 0 };
    struct kit k = { .load = 40 };
    kit_start(&k, ON_HOSTS("\"a\", \"b\"", ""), &(struct sim_params){ .seed = 96 });
    kit_run(&k, 20 * AS_SECOND);
    assert_int_equal(sim_up(k.sim, "web"), 4);
    sim_hang_host(k.sim, "b", true);
    int on_b = 0;
    for (const struct instance *i = web(&k)->instances; i; i = i->next)
        on_b += i->host == 1;
    assert_int_equal(on_b, 2);
    assert_int_equal(try_reload(&k, ON_HOSTS("\"a\"", ""), &err), AS_EINVAL);
    assert_non_null(strstr(err.msg, "name it in lost_hosts when it is gone for good"));
    if (by_restart) {
        restart_with(&k, ON_HOSTS("\"a\"", ""));
        run_on(&k, 2 * AS_MINUTE);
        assert_int_equal(group_footprint(web(&k)), 4);
    }
    reload(&k, ON_HOSTS("\"a\"", "lost_hosts = [ \"b\" ]; "));
    run_on(&k, 5 * AS_MINUTE);
    assert_int_equal(group_footprint(web(&k)), 4);
    for (const struct instance *i = web(&k)->instances; i; i = i->next)
        assert_int_equal(i->host, 0);
    assert_int_equal(sim_seated(k.sim, "lb1"), 4);
    assert_int_equal(sim_up(k.sim, "web"), 4);
    sim_hang_host(k.sim, "b", false); /* it was not lost after all */
    reload(&k, ON_HOSTS("\"a\", \"b\"", ""));
    run_on(&k, AS_MINUTE);
    assert_int_equal(sim_alive(k.sim, "web"), 4);
    assert_int_equal(sim_up(k.sim, "web"), 4);
    kit_end(&k);
}

static void a_lost_host_gives_its_places_back(void **state)
{
    (void)state;
    a_host_that_is_gone_for_good(false);
    a_host_that_is_gone_for_good(true);
}

static void refused_with_place(struct kit *k, const char *text, int line, const char *what)
{
    struct as_error err = { 0 };
    char place[32];
    snprintf(place, sizeof place, ":%d: ", line);
    assert_int_equal(try_reload(k, text, &err), AS_EINVAL);
    assert_int_equal(err.line, line);
    if (!strstr(err.msg, place) || !strstr(err.msg, what))
        fail_msg("'%s' lacks '%s' or '%s'", err.msg, place, what);
}

static void what_a_reload_refuses_says_where(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, on_lb1, &(struct sim_params){ .seed = 76 });
    kit_run(&k, 10 * AS_SECOND);
    refused_with_place(&k, without_b, 5, "group 'web': host b still has 2 of its instances");
    refused_with_place(&k, renamed, 1, "controller.name cannot change at run time");
    refused_with_place(&k, unbalanced, 2, "the balancer driver cannot change while the group has instances");
    kit_run(&k, 10 * AS_SECOND);
    assert_int_equal(sim_seated(k.sim, "lb1"), 5);
    kit_end(&k);
}

/* The list under way when the group is taken out shows a member of a dead instance. Nothing may come of it. */
static void orphan_during(bool group_stays)
{
    char id[AS_ID_MAX];
    struct kit k = { .load = 50 };
    kit_start(&k, on_lb1, &(struct sim_params){ .seed = 77, .call_ms = 40 });
    kit_run(&k, 10 * AS_SECOND);
    snprintf(id, sizeof id, "%s", web(&k)->instances->id);
    sim_kill(k.sim, "web", 5);
    as_time limit = sim_now(k.sim) + AS_MINUTE;
    while ((instance_find(web(&k), id) || sim_up(k.sim, "web") < 5) && sim_now(k.sim) < limit)
        kit_run(&k, 10);
    assert_null(instance_find(web(&k), id));
    while (!web(&k)->pools[0].listing && sim_now(k.sim) < limit)
        kit_run(&k, 1);
    int before = sim_seated(k.sim, "lb1");
    sim_seat(k.sim, "lb1", "web", id); /* somebody restored the balancer from a backup */
    if (!group_stays)
        reload(&k, another_group);
    kit_run(&k, 10 * AS_SECOND);
    assert_int_equal(sim_seated(k.sim, "lb1"), group_stays ? before : before + 1);
    kit_end(&k);
}

/* A member whose eviction is refused must not keep the balancer busy with lists and evictions. */
static void an_orphan_that_stays_is_evicted_once_an_interval(void **state)
{
    (void)state;
    char id[AS_ID_MAX];
    struct kit k = { .load = 50 };
    kit_start(&k, on_lb1, &(struct sim_params){ .seed = 79 });
    kit_run(&k, 10 * AS_SECOND);
    snprintf(id, sizeof id, "%s", web(&k)->instances->id);
    sim_kill(k.sim, "web", 5);
    kit_run(&k, AS_MINUTE);
    assert_null(instance_find(web(&k), id));
    sim_tune(k.sim)->fail_evict = 1.0;
    sim_seat(k.sim, "lb1", "web", id);
    kit_run(&k, 5 * AS_SECOND);
    int before = web(&k)->pools[0].tries;
    kit_run(&k, 20 * AS_SECOND);
    assert_in_range(web(&k)->pools[0].tries - before, 5, 25); /* every 2 s, and not as fast as it refuses */
    sim_tune(k.sim)->fail_evict = 0;
    kit_run(&k, 5 * AS_SECOND);
    assert_int_equal(sim_seated(k.sim, "lb1"), 5);
    kit_end(&k);
}

/* One that died with a call under way must not have the living ones listed ten times a second. */
static void a_dead_balancer_does_not_hasten_the_others(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, on_both, &(struct sim_params){ .seed = 80, .call_ms = 40 });
    kit_run(&k, 10 * AS_SECOND);
    k.load = 60;
    as_time limit = sim_now(k.sim) + AS_MINUTE;
    const struct instance *busy = NULL;
    while (!busy && sim_now(k.sim) < limit) {
        kit_run(&k, 5);
        for (const struct instance *i = web(&k)->instances; i; i = i->next)
            busy = i->pools[1].busy ? i : busy;
    }
    assert_non_null(busy); /* it is being admitted at lb2 */
    sim_hang_host(k.sim, "lb2", true);
    kit_run(&k, 40 * AS_SECOND);
    assert_true(busy->pools[1].changed_at > busy->pools[1].listed_at);
    int before = web(&k)->pools[0].tries;
    kit_run(&k, 20 * AS_SECOND);
    assert_in_range(web(&k)->pools[0].tries - before, 5, 25);
    kit_end(&k);
}

static void a_group_that_left_evicts_nobody_any_more(void **state)
{
    (void)state;
    orphan_during(true); /* it is an orphan indeed */
    orphan_during(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_group_that_moves_leaves_nothing_in_its_old_balancer),
        cmocka_unit_test(one_of_two_balancers_is_left),
        cmocka_unit_test(nobody_leaves_before_the_new_balancer_serves),
        cmocka_unit_test(a_balancer_that_is_left_does_not_keep_destroyed_ones),
        cmocka_unit_test(a_dead_balancer_can_be_left),
        cmocka_unit_test(G5_a_dead_balancer_that_is_left_keeps_a_drains_time),
        cmocka_unit_test(G5_a_balancer_that_is_left_may_hang_for_a_moment),
        cmocka_unit_test(G7_a_balancer_that_is_left_is_cleared_after_a_crash),
        cmocka_unit_test(G7_a_group_that_moved_while_nothing_ran_leaves_its_old_balancer),
        cmocka_unit_test(G5_a_balancer_whose_block_is_gone_is_left_by_those_that_leave),
        cmocka_unit_test(a_group_that_comes_back_elsewhere_leaves_its_old_balancer),
        cmocka_unit_test(a_balancer_that_was_dead_is_cleared_after_a_restart),
        cmocka_unit_test(a_balancer_that_stays_dead_is_given_up_after_a_day),
        cmocka_unit_test(a_balancer_that_is_left_is_cleared_of_late_admits),
        cmocka_unit_test(G4_nobody_is_parked_whom_a_balancer_may_still_admit),
        cmocka_unit_test(a_balancer_that_cannot_be_remembered_stops_nothing),
        cmocka_unit_test(an_orphan_that_stays_is_evicted_once_an_interval),
        cmocka_unit_test(a_dead_balancer_does_not_hasten_the_others),
        cmocka_unit_test(balancers_that_come_and_go_keep_nothing_of_ours),
        cmocka_unit_test(a_window_keeps_its_length_over_a_shorter_interval),
        cmocka_unit_test(a_metric_that_nobody_reads_any_more_is_let_go),
        cmocka_unit_test(a_policy_that_was_renamed_goes_by_its_new_name),
        cmocka_unit_test(hosts_with_long_names_are_told_apart),
        cmocka_unit_test(a_lost_host_gives_its_places_back),
        cmocka_unit_test(what_a_reload_refuses_says_where),
        cmocka_unit_test(a_group_that_left_evicts_nobody_any_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
