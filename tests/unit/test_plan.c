/* The planner on groups made by hand: who leaves first, who is never taken, where launches go; and the table of legal
 * moves of an instance. Pure: nothing is carried out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../controller/loop/plan.h"

#define MOST 6
#define NOW  AS_HOUR

struct desk {
    struct engine engine;
    struct cfg cfg;
    struct cfg_group group_cfg;
    struct group group;
    struct host hosts[2];
    struct pool lb;
    struct instance instances[MOST];
    struct inst_notes notes[MOST];
    struct membership members[MOST];
    int count;
    struct plan plan;
};

static void desk_start(struct desk *d, int desired)
{
    *d = (struct desk){ .group_cfg.min = 0, .group_cfg.max = 10 };
    d->group_cfg.compute.launches = 4;
    d->group_cfg.health.kind = CFG_HEALTH_RUNNING;
    d->group_cfg.balancer.drain = 30 * AS_SECOND;
    d->engine.cfg = &d->cfg;
    d->engine.now = NOW;
    d->group.engine = &d->engine;
    d->group.cfg = &d->group_cfg;
    d->group.decided = true;
    d->group.desired = desired;
    d->group.hosts = d->hosts;
    d->group.host_count = 2;
    d->group.pools = &d->lb;
    d->group.pool_count = 1;
    d->lb.listed_at = NOW - AS_SECOND;
    for (int k = 0; k < 2; k++) {
        snprintf(d->hosts[k].name, sizeof d->hosts[k].name, "%c", 'a' + k);
        d->hosts[k].listed_at = NOW - AS_SECOND;
        d->hosts[k].room = -1;
    }
}

/* One that serves on a host and holds so many sessions; each is newer than the one before. */
static struct instance *serving(struct desk *d, int host, double held)
{
    int n = d->count++;
    struct instance *i = &d->instances[n];
    d->members[n] = (struct membership){
        .listed = true, .state = AS_MEMBER_UP, .held = held, .listed_at = NOW - AS_SECOND
    };
    *i = (struct instance){ .group = &d->group,
                            .notes = &d->notes[n],
                            .pools = &d->members[n],
                            .state = INST_SERVING,
                            .host = host };
    i->listed = true;
    i->since = i->wanted_at = NOW - AS_MINUTE + n;
    i->notes->wanted_wall = 1000 + n;
    snprintf(i->id, sizeof i->id, "web-%08x", (unsigned)n);
    if (n)
        d->instances[n - 1].next = i;
    else
        d->group.instances = i;
    return i;
}

static int planned(struct desk *d, enum step_kind kind)
{
    int n = 0;
    assert_true(plan_group(&d->group, NOW, &d->plan));
    for (size_t k = 0; k < d->plan.count; k++)
        n += d->plan.items[k].kind == kind;
    return n;
}

static void assert_leaves(struct desk *d, const struct instance *who)
{
    assert_int_equal(planned(d, STEP_DRAIN), 1);
    for (size_t k = 0; k < d->plan.count; k++)
        if (d->plan.items[k].kind == STEP_DRAIN && d->plan.items[k].inst != who)
            fail_msg("%s leaves, not %s", d->plan.items[k].inst->id, who->id);
    plan_fini(&d->plan);
}

static void the_newest_leaves_first_of_equals(void **state)
{
    (void)state;
    struct desk d;
    desk_start(&d, 1);
    serving(&d, 0, 3);
    assert_leaves(&d, serving(&d, 0, 3));
}

static void fewer_sessions_count_more_than_age(void **state)
{
    (void)state;
    struct desk d;
    desk_start(&d, 1);
    struct instance *idle = serving(&d, 0, 1);
    serving(&d, 0, 2);
    assert_leaves(&d, idle);
}

static void the_host_with_most_of_the_group_counts_more_than_sessions(void **state)
{
    (void)state;
    struct desk d;
    desk_start(&d, 2);
    struct instance *less = serving(&d, 0, 8);
    serving(&d, 0, 9);
    serving(&d, 1, 0);
    assert_leaves(&d, less);
}

static void one_that_does_not_answer_leaves_before_all_others(void **state)
{
    (void)state;
    struct desk d;
    desk_start(&d, 2);
    serving(&d, 0, 0);
    serving(&d, 0, 0);
    struct instance *sick = serving(&d, 1, 50);
    sick->misses = 1;
    assert_leaves(&d, sick);
    sick->misses = 0;
    sick->pools[0].state = AS_MEMBER_DOWN;
    assert_leaves(&d, sick);
}

static void G5_the_last_that_serves_is_not_taken(void **state)
{
    (void)state;
    struct desk d;
    desk_start(&d, 1);
    serving(&d, 0, 0);
    struct instance *sick = serving(&d, 0, 0), *sick_too = serving(&d, 0, 0);
    sick->pools[0].state = sick_too->pools[0].state = AS_MEMBER_DOWN;
    assert_int_equal(planned(&d, STEP_DRAIN), 2);
    for (size_t k = 0; k < d.plan.count; k++)
        assert_ptr_not_equal(d.plan.items[k].inst, &d.instances[0]);
    plan_fini(&d.plan);
    d.group.desired = 0; /* wanted so */
    assert_int_equal(planned(&d, STEP_DRAIN), 3);
    plan_fini(&d.plan);
}

static void what_drains_comes_back_before_anything_is_made(void **state)
{
    (void)state;
    struct desk d;
    desk_start(&d, 4);
    serving(&d, 0, 0);
    struct instance *older = serving(&d, 0, 0), *newer = serving(&d, 1, 0);
    older->state = newer->state = INST_DRAINING;
    older->since = NOW - 9 * AS_SECOND;
    newer->since = NOW - 2 * AS_SECOND;
    assert_int_equal(planned(&d, STEP_READMIT), 2);
    assert_int_equal(planned(&d, STEP_WANT), 1);
    d.group.desired = 2;
    assert_int_equal(planned(&d, STEP_READMIT), 1);
    assert_ptr_equal(d.plan.items[0].inst, newer); /* holds the most sessions */
    assert_int_equal(planned(&d, STEP_WANT), 0);
    plan_fini(&d.plan);
}

static void launches_go_where_the_fewest_are_within_the_bound_of_the_host(void **state)
{
    (void)state;
    struct desk d;
    desk_start(&d, 6);
    serving(&d, 0, 0);
    for (int n = 0; n < 5; n++)
        *serving(&d, -1, 0) = (struct instance){ .group = &d.group,
                                                 .notes = &d.notes[n + 1],
                                                 .pools = &d.members[n + 1],
                                                 .state = INST_WANTED,
                                                 .host = -1,
                                                 .next = n < 4 ? &d.instances[n + 2] : NULL };
    d.instances[0].next = &d.instances[1];
    for (int bound = 1; bound <= 3; bound++) {
        int on[2] = { 0 };
        d.group_cfg.compute.launches = bound;
        assert_int_equal(planned(&d, STEP_LAUNCH), 2 * bound < 5 ? 2 * bound : 5);
        for (size_t k = 0; k < d.plan.count; k++)
            if (d.plan.items[k].kind == STEP_LAUNCH)
                on[d.plan.items[k].index]++;
        assert_int_equal(on[1], bound);
    }
    d.hosts[1].failing_since = NOW - AS_SECOND;
    assert_int_equal(planned(&d, STEP_LAUNCH), 3);
    plan_fini(&d.plan);
}

static void the_footprint_leaves_no_room_beyond_max(void **state)
{
    (void)state;
    struct desk d;
    desk_start(&d, 4);
    d.group_cfg.max = 4;
    serving(&d, 0, 0);
    serving(&d, 0, 0);
    serving(&d, 1, 0)->state = INST_DESTROYING; /* not proven gone */
    d.instances[2].busy = true;
    assert_int_equal(planned(&d, STEP_WANT), 1);
    assert_non_null(strstr(d.plan.blocked, "room for 1 of max 4"));
    plan_fini(&d.plan);
}

/* Row by row, as the design draws it. */
static void only_drawn_moves_are_legal(void **state)
{
    (void)state;
    static const char *const moves[] = {
        "WANTED: CREATING GONE",
        "CREATING: WANTED UNKNOWN BOOTING FAILED",
        "UNKNOWN: BOOTING PARKED LEAVING FAILED GONE",
        "BOOTING: JOINING SERVING PARKED LEAVING FAILED",
        "JOINING: BOOTING SERVING DRAINING LEAVING FAILED",
        "SERVING: JOINING DRAINING LEAVING FAILED",
        "DRAINING: JOINING LEAVING FAILED",
        "PARKED: BOOTING LEAVING FAILED",
        "LEAVING: PARKED DESTROYING GONE",
        "DESTROYING: GONE",
        "FAILED: LEAVING",
        "GONE:",
    };
    assert_int_equal(sizeof moves / sizeof *moves, INST_STATES);
    for (int from = 0; from < INST_STATES; from++) {
        char row[160];
        size_t n = (size_t)snprintf(row, sizeof row, "%s:", inst_state_name((enum inst_state)from));
        for (int to = 0; to < INST_STATES; to++)
            if (inst_move_legal((enum inst_state)from, (enum inst_state)to))
                n += (size_t)snprintf(row + n, sizeof row - n, " %s", inst_state_name((enum inst_state)to));
        assert_string_equal(row, moves[from]);
        assert_int_equal(inst_state_parse(inst_state_name((enum inst_state)from)), from);
    }
    assert_int_equal(inst_state_parse("NOWHERE"), INST_STATES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_leaves_first_of_equals),
        cmocka_unit_test(fewer_sessions_count_more_than_age),
        cmocka_unit_test(the_host_with_most_of_the_group_counts_more_than_sessions),
        cmocka_unit_test(one_that_does_not_answer_leaves_before_all_others),
        cmocka_unit_test(G5_the_last_that_serves_is_not_taken),
        cmocka_unit_test(what_drains_comes_back_before_anything_is_made),
        cmocka_unit_test(launches_go_where_the_fewest_are_within_the_bound_of_the_host),
        cmocka_unit_test(the_footprint_leaves_no_room_beyond_max),
        cmocka_unit_test(only_drawn_moves_are_legal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
