/* The stages of a decision, each alone, by hand-computed numbers: merge, stabilise, flap test, rate, bound. Values
 * only: no group, no clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../controller/loop/decide.h"

#define POLICIES 4

struct desk {
    struct cfg_group group;
    struct decide_in in;
    struct damper damper;
    struct proposal_record proposals[POLICIES];
    struct decision out;
};

/* A group of 5, all serving, within 1 and 20; nothing is damped. */
static void desk_start(struct desk *d)
{
    *d = (struct desk){ .group.min = 1, .group.max = 20 };
    d->group.compute.timeout = 10 * AS_SECOND;
    d->group.health.boot_timeout = 20 * AS_SECOND;
    d->group.out.period = d->group.in.period = 10 * AS_SECOND;
    d->in = (struct decide_in){ .group = &d->group,
                                .now = AS_HOUR,
                                .interval = AS_SECOND,
                                .current = 5,
                                .serving = 5,
                                .footprint = 5,
                                .room = ROOM_UNKNOWN };
    d->out.proposals = d->proposals;
}

static struct proposal_record *propose(struct desk *d, enum as_proposal_kind kind, int count)
{
    struct proposal_record *r = &d->proposals[d->out.proposal_count++];
    *r = (struct proposal_record){ .policy = "load", .type = "target", .input_count = 1 };
    r->p.kind = kind;
    r->p.count = count;
    r->inputs[0] = (struct input_record){ .metric = "m", .reading.fresh = AS_FRESH };
    return r;
}

/* Decides with one policy that wants `count`; a change is made, as the loop does. */
static int want(struct desk *d, as_time later, int count)
{
    d->in.now += later;
    d->out.proposal_count = 0;
    propose(d, AS_WANT, count);
    decide(&d->in, &d->damper, &d->out);
    if (d->out.desired != d->in.current)
        damper_note(&d->damper, d->in.now, d->out.desired - d->in.current);
    d->in.current = d->in.serving = d->out.desired;
    return d->out.desired;
}

static int decided(struct desk *d)
{
    decide(&d->in, &d->damper, &d->out);
    return d->out.desired;
}

static void assert_stage(const struct desk *d, enum stage_id s, int before, int after, const char *says)
{
    const struct stage_record *r = &d->out.stages[s];
    if (r->before != before || r->after != after || !strstr(r->reason, says))
        fail_msg("%s: %d -> %d (%s); expected %d -> %d (%s)", stage_name(s), r->before, r->after, r->reason,
                 before, after, says);
}

static void out_if_any_asks_and_the_largest_wins(void **state)
{
    (void)state;
    struct desk d;
    desk_start(&d);
    propose(&d, AS_WANT, 3);
    propose(&d, AS_WANT, 9)->policy = "queue";
    propose(&d, AS_WANT, 7);
    assert_int_equal(decided(&d), 9);
    assert_stage(&d, STAGE_MERGE, 5, 9, "queue asks for 9");
}

static void in_only_to_what_the_hungriest_agrees_to(void **state)
{
    (void)state;
    struct desk d;
    desk_start(&d);
    propose(&d, AS_WANT, 2);
    propose(&d, AS_WANT, 4);
    assert_int_equal(decided(&d), 4);
    propose(&d, AS_WANT, 5);
    assert_int_equal(decided(&d), 5);
}

static void G3_one_blind_input_of_anybody_forbids_fewer_and_allows_more(void **state)
{
    (void)state;
    static const struct input_record bad[] = { { .reading.fresh = AS_NEVER },
                                               { .reading.fresh = AS_STALE },
                                               { .reading.fresh = AS_FRESH, .reading.partial = true },
                                               { .reading.fresh = AS_FRESH, .failing = true } };
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        struct desk d;
        desk_start(&d);
        propose(&d, AS_WANT, 2);
        propose(&d, AS_CEILING, 10)->inputs[0] = bad[k];
        assert_int_equal(decided(&d), 5);
        assert_stage(&d, STAGE_MERGE, 5, 5, "lacks fresh data");
        assert_true(d.out.blind);
        d.proposals[0].p.count = 8;
        assert_int_equal(decided(&d), 8);
    }
}

static void advice_neither_counts_nor_blinds(void **state)
{
    (void)state;
    struct desk d;
    desk_start(&d);
    propose(&d, AS_WANT, 3);
    propose(&d, AS_WANT, 15)->p.advice = true;
    d.proposals[1].p.blind = true;
    propose(&d, AS_CEILING, 2)->p.advice = true;
    assert_int_equal(decided(&d), 3);
    assert_false(d.out.blind);
}

static void nobody_leaves_while_one_is_on_its_way_but_not_for_ever(void **state)
{
    (void)state;
    struct desk d;
    desk_start(&d);
    d.in.pending = 1;
    d.in.pending_since = d.in.now - 49 * AS_SECOND; /* 10 s to create and twice 20 s to boot */
    propose(&d, AS_WANT, 3);
    assert_int_equal(decided(&d), 5);
    d.in.now += AS_SECOND;
    assert_int_equal(decided(&d), 3);
}

static void a_pause_leaves_the_size_but_not_beyond_the_bounds(void **state)
{
    (void)state;
    struct desk d;
    desk_start(&d);
    snprintf(d.group.pause, sizeof d.group.pause, "migration");
    propose(&d, AS_WANT, 9);
    propose(&d, AS_FLOOR, 12);
    assert_int_equal(decided(&d), 5);
    d.group.max = 4;
    assert_int_equal(decided(&d), 4);
}

static void scale_in_goes_to_the_highest_want_of_the_window(void **state)
{
    (void)state;
    struct desk d;
    desk_start(&d);
    d.group.in.window = 60 * AS_SECOND;
    assert_int_equal(want(&d, 0, 2), 5);
    assert_stage(&d, STAGE_STABILISE, 2, 5, "5 was wanted within the last 1m");
    assert_int_equal(want(&d, 30 * AS_SECOND, 4), 5);
    assert_int_equal(want(&d, 10 * AS_SECOND, 2), 5);
    assert_int_equal(want(&d, 30 * AS_SECOND, 2), 4); /* 5 was 70 s ago, 4 was wanted until 30 s ago */
    assert_int_equal(d.out.next_change, d.in.now + 30 * AS_SECOND);
    assert_int_equal(want(&d, 29 * AS_SECOND, 2), 4);
    assert_int_equal(want(&d, AS_SECOND, 2), 2);
}

static void scale_out_goes_to_the_lowest_want_of_the_window(void **state)
{
    (void)state;
    struct desk d;
    desk_start(&d);
    d.group.out.window = 10 * AS_SECOND;
    assert_int_equal(want(&d, 0, 9), 5);
    assert_int_equal(want(&d, 4 * AS_SECOND, 7), 5);
    assert_int_equal(want(&d, 4 * AS_SECOND, 9), 5);
    assert_int_equal(want(&d, 2 * AS_SECOND, 9), 7);
    assert_int_equal(want(&d, 8 * AS_SECOND, 9), 9);
}

static bool carries(void *least, int count)
{
    return count >= *(int *)least;
}

static void a_scale_in_that_would_bounce_takes_the_smallest_step_that_holds(void **state)
{
    (void)state;
    struct desk d;
    int least = 4;
    desk_start(&d);
    d.in.sustains = carries;
    d.in.arg = &least;
    propose(&d, AS_WANT, 2);
    assert_int_equal(decided(&d), 4);
    assert_stage(&d, STAGE_FLAP, 2, 4, "with 3 the load would ask for more at once");
    least = 5;
    assert_int_equal(decided(&d), 5);
    d.proposals[0].damps_itself = true; /* has windows of its own */
    assert_int_equal(decided(&d), 2);
}

static void a_cooldown_begins_with_a_real_change_of_its_direction(void **state)
{
    (void)state;
    struct desk d;
    desk_start(&d);
    d.group.in.cooldown = 30 * AS_SECOND;
    assert_int_equal(want(&d, 0, 7), 7); /* the other direction */
    assert_int_equal(want(&d, AS_SECOND, 6), 6);
    assert_int_equal(want(&d, 29 * AS_SECOND, 4), 6);
    assert_stage(&d, STAGE_RATE, 4, 6, "cooldown of scale-in: 1s left");
    assert_int_equal(want(&d, 0, 8), 8); /* growth is not cooled down */
    assert_int_equal(want(&d, AS_SECOND, 4), 4);
}

static void step_limits_hold_for_a_period_and_the_larger_one_counts(void **state)
{
    (void)state;
    struct desk d;
    desk_start(&d);
    d.group.out.max_step = 2;
    assert_int_equal(want(&d, 0, 15), 7);
    assert_stage(&d, STAGE_RATE, 15, 7, "at most 2 more per 10s");
    assert_int_equal(want(&d, 9 * AS_SECOND, 15), 7);
    assert_int_equal(d.out.next_change, d.in.now + AS_SECOND);
    assert_int_equal(want(&d, AS_SECOND, 15), 9);
    d.group.out.max_percent = 50; /* of 7, which there were when the period began: 4, two of them taken */
    assert_int_equal(want(&d, AS_SECOND, 15), 11);
}

static void percentages_round_up_going_out_down_going_in_and_never_to_none(void **state)
{
    (void)state;
    struct desk d;
    desk_start(&d);
    d.group.out.max_percent = d.group.in.max_percent = 30;
    assert_int_equal(want(&d, 0, 15), 7); /* 1.5 */
    desk_start(&d);
    d.group.in.max_percent = 30;
    assert_int_equal(want(&d, 0, 1), 4); /* 1.5 */
    desk_start(&d);
    d.group.in.max_percent = 10;
    assert_int_equal(want(&d, 0, 1), 4); /* 0.5 */
}

static void the_binding_constraint_is_named(void **state)
{
    (void)state;
    struct desk d;
    desk_start(&d);
    propose(&d, AS_WANT, 30);
    assert_int_equal(decided(&d), 20);
    assert_string_equal(d.out.binding, "max");
    propose(&d, AS_CEILING, 12)->policy = "db";
    assert_int_equal(decided(&d), 12);
    assert_string_equal(d.out.binding, "ceiling db");
    d.in.room = 3;
    assert_int_equal(decided(&d), 8);
    assert_string_equal(d.out.binding, "room on the hosts");
    d.proposals[0].p.count = 2;
    propose(&d, AS_FLOOR, 4)->policy = "sale";
    assert_int_equal(decided(&d), 4);
    assert_string_equal(d.out.binding, "floor sale");
}

static void a_ceiling_takes_nothing_away_and_gives_way_to_min(void **state)
{
    (void)state;
    struct desk d;
    desk_start(&d);
    propose(&d, AS_WANT, 9);
    propose(&d, AS_CEILING, 3);
    assert_int_equal(decided(&d), 5);
    propose(&d, AS_FLOOR, 8); /* room that is not there cannot be filled */
    assert_int_equal(decided(&d), 5);
    d.group.min = 7;
    assert_int_equal(decided(&d), 7);
}

static void min_and_max_hold_without_any_data(void **state)
{
    (void)state;
    struct desk d;
    desk_start(&d);
    propose(&d, AS_ABSTAIN, 0)->p.blind = true;
    d.group.min = 6;
    assert_int_equal(decided(&d), 6);
    d.group.min = 1;
    d.group.max = 3;
    assert_int_equal(decided(&d), 3);
}

static void more_changes_than_are_remembered_never_shrink_too_early(void **state)
{
    (void)state;
    struct desk d;
    desk_start(&d);
    d.group.in.window = AS_HOUR;
    want(&d, 0, 9);
    for (int n = 0; n < 3 * DAMP_WANTS; n++)
        want(&d, AS_SECOND, 2 + n % 2);
    assert_int_equal(d.out.desired, 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(out_if_any_asks_and_the_largest_wins),
        cmocka_unit_test(in_only_to_what_the_hungriest_agrees_to),
        cmocka_unit_test(G3_one_blind_input_of_anybody_forbids_fewer_and_allows_more),
        cmocka_unit_test(advice_neither_counts_nor_blinds),
        cmocka_unit_test(nobody_leaves_while_one_is_on_its_way_but_not_for_ever),
        cmocka_unit_test(a_pause_leaves_the_size_but_not_beyond_the_bounds),
        cmocka_unit_test(scale_in_goes_to_the_highest_want_of_the_window),
        cmocka_unit_test(scale_out_goes_to_the_lowest_want_of_the_window),
        cmocka_unit_test(a_scale_in_that_would_bounce_takes_the_smallest_step_that_holds),
        cmocka_unit_test(a_cooldown_begins_with_a_real_change_of_its_direction),
        cmocka_unit_test(step_limits_hold_for_a_period_and_the_larger_one_counts),
        cmocka_unit_test(percentages_round_up_going_out_down_going_in_and_never_to_none),
        cmocka_unit_test(the_binding_constraint_is_named),
        cmocka_unit_test(a_ceiling_takes_nothing_away_and_gives_way_to_min),
        cmocka_unit_test(min_and_max_hold_without_any_data),
        cmocka_unit_test(more_changes_than_are_remembered_never_shrink_too_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
