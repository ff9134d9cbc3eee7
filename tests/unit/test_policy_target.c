/* Target tracking against hand-computed numbers, the saturated case first. */
#include "policy_kit.h"

extern const struct as_policy_type as_policy_target;

#define TOTAL "metric = \"lb.web.load\"; per_instance = 40.0;"
#define MEAN  "metric = \"lb.web.load\"; average = 0.7;"

static void full_load_never_plans_a_shrink(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_target, MEAN);
    for (int serving = 1; serving <= 50; serving++)
        for (int pending = 0; pending <= 50; pending += 5) {
            int want = kit_want(k, 1.0, serving, pending);
            assert_true(want >= serving + pending);
        }
    assert_int_equal(kit_want(k, 1.0, 3, 0), 5);  /* 3 / 0.7 = 4.29 */
    assert_int_equal(kit_want(k, 1.0, 3, 9), 12); /* would be 5: but the three that serve are full */
    kit_free(k);
    k = kit_new(&as_policy_target, "metric = \"lb.web.load\"; average = 1.0;");
    assert_int_equal(kit_want(k, 1.0, 3, 3), 6); /* exactly on target */
    kit_free(k);
}

static void total_is_divided_by_what_one_carries(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_target, TOTAL);
    assert_int_equal(kit_want(k, 184, 4, 0), 5);  /* 4.6 */
    assert_int_equal(kit_want(k, 100, 4, 0), 3);  /* 2.5 */
    assert_int_equal(kit_want(k, 801, 4, 0), 21); /* 20.025 */
    assert_int_equal(kit_want(k, 0, 4, 0), 0);
    assert_int_equal(kit_want(k, -5, 4, 0), 0);
    struct as_proposal p = kit_tick(k, 184, 4, 0);
    assert_string_equal(p.reason, "lb.web.load 184 / 40 per instance = 4.6: want 5");
    assert_false(p.blind);
    kit_free(k);
}

static void binary_fractions_do_not_add_an_instance(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_target, "metric = \"a.b\"; per_instance = 0.1; tolerance = \"0%\";");
    assert_int_equal(kit_want(k, 0.1 + 0.2, 1, 0), 3); /* 3.0000000000000004 */
    assert_int_equal(kit_want(k, 0.3001, 1, 0), 4);
    kit_free(k);
}

static void tolerance_includes_both_ends(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_target, TOTAL); /* 10 instances: target 400 */
    assert_int_equal(kit_want(k, 440, 10, 0), 10);
    assert_int_equal(kit_want(k, 360, 10, 0), 10);
    assert_int_equal(kit_want(k, 440.1, 10, 0), 12);
    assert_int_equal(kit_want(k, 359.9, 10, 0), 9);
    kit_free(k);
}

static void instances_on_their_way_are_not_asked_for_again(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_target, TOTAL);
    assert_int_equal(kit_want(k, 320, 4, 4), 8);  /* 320 / (40 * 8) = 1 */
    assert_int_equal(kit_want(k, 400, 4, 4), 10); /* 1.25 */
    kit_free(k);
    k = kit_new(&as_policy_target, "metric = \"a.b\"; average = 50.0;");
    assert_int_equal(kit_want(k, 90, 4, 0), 8); /* 4 * 90 / 50 = 7.2 */
    assert_int_equal(kit_want(k, 90, 4, 4), 8); /* 7.2 / 8 = 0.9: within */
    assert_int_equal(kit_want(k, 90, 4, 1), 8); /* only 1 of the 4 was started */
    kit_free(k);
}

static void mean_over_none_says_nothing(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_target, MEAN);
    struct as_proposal p = kit_tick(k, 0.5, 0, 3);
    assert_int_equal(p.kind, AS_ABSTAIN);
    assert_true(p.blind);
    p = kit_tick(k, 0.5, 0, 0);
    assert_int_equal(p.kind, AS_ABSTAIN);
    assert_false(p.blind);
    kit_free(k);
    k = kit_new(&as_policy_target, TOTAL);
    assert_int_equal(kit_want(k, 41, 0, 0), 2); /* a total needs nobody to serve */
    assert_int_equal(kit_want(k, 0, 0, 0), 0);
    kit_free(k);
}

static void lost_data_abstains_and_blinds(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_target, TOTAL);
    kit_size(k, 4, 0);
    struct as_proposal p = kit_look(k);
    assert_int_equal(p.kind, AS_ABSTAIN);
    assert_true(p.blind);
    kit_tick(k, 10, 4, 0);
    k->view.now += 10001;
    p = kit_look(k);
    assert_int_equal(p.kind, AS_ABSTAIN);
    assert_true(p.blind);
    assert_non_null(strstr(p.reason, "stale, last 10, 10s ago"));
    assert_false(k->type->sustains(k->state, &k->view, 4));
    k->inputs[0] = NULL;
    assert_int_equal(kit_look(k).kind, AS_ABSTAIN);
    kit_free(k);
}

static void partial_data_may_grow_but_never_shrink(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_target, TOTAL);
    kit_size(k, 4, 0);
    series_push(k->series, k->view.now, 400, true);
    struct as_proposal p = kit_look(k);
    assert_int_equal(p.kind, AS_WANT);
    assert_int_equal(p.count, 10);
    assert_true(p.blind);
    series_push(k->series, k->view.now, 10, true);
    p = kit_look(k);
    assert_int_equal(p.count, 4);
    assert_true(p.blind);
    assert_false(k->type->sustains(k->state, &k->view, 4));
    kit_free(k);
}

static void without_scale_in_it_leaves_fewer_to_the_others(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_target, TOTAL "scale_in = false;");
    struct as_proposal p = kit_tick(k, 80, 4, 0);
    assert_int_equal(p.kind, AS_ABSTAIN);
    assert_false(p.blind); /* nor does it forbid it */
    assert_non_null(strstr(p.reason, "scale_in is off: left to the other policies"));
    assert_int_equal(kit_want(k, 160, 4, 0), 4);
    assert_int_equal(kit_want(k, 200, 4, 0), 5);
    kit_free(k);
}

static void window_aggregates_as_told(void **unused)
{
    (void)unused;
    struct kit *mean = kit_new(&as_policy_target, TOTAL "window = \"10s\";");
    struct kit *max = kit_new(&as_policy_target, TOTAL "window = \"10s\"; aggregate = \"max\";");
    struct kit *p95 = kit_new(&as_policy_target, TOTAL "window = \"10s\"; aggregate = \"p95\";");
    const double load[] = { 4000, 100, 200, 600, 100, 200 }; /* the first falls out of the window */
    int a = 0, b = 0, c = 0;
    for (size_t i = 0; i < 6; i++) {
        a = kit_want(mean, load[i], 2, 0);
        b = kit_want(max, load[i], 2, 0);
        c = kit_want(p95, load[i], 2, 0);
    }
    assert_int_equal(a, 6);  /* 1200 / 5 = 240 */
    assert_int_equal(b, 15); /* 600 */
    assert_int_equal(c, 13); /* 100 100 200 200 600 at 0.95 * 4 = 3.8: 520 */
    kit_free(mean);
    kit_free(max);
    kit_free(p95);
}

static void sustains_says_whether_fewer_would_ask_again(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_target, TOTAL);
    kit_tick(k, 220, 8, 0);
    assert_true(k->type->sustains(k->state, &k->view, 5));  /* 220 / 200 = 1.1: still within */
    assert_false(k->type->sustains(k->state, &k->view, 4)); /* 1.375 */
    assert_false(k->type->sustains(k->state, &k->view, 0));
    kit_free(k);
    k = kit_new(&as_policy_target, "metric = \"a.b\"; average = 50.0;");
    kit_tick(k, 22, 5, 0); /* load 110 */
    assert_true(k->type->sustains(k->state, &k->view, 2));
    assert_false(k->type->sustains(k->state, &k->view, 1));
    kit_free(k);
}

#define PANIC "metric = \"lb.web.load\"; per_instance = 70.0; window = \"60s\"; panic_window = \"6s\";"

/* Ticks of 2 s for `seconds` at this load; the last want. */
static int kit_run(struct kit *k, double value, int seconds, int serving)
{
    int want = -1;
    for (int i = 0; i < seconds; i += 2)
        want = kit_want(k, value, serving, 0);
    return want;
}

static void flash_crowd_is_answered_by_the_fast_window_and_held(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_target, PANIC);
    assert_int_equal(kit_run(k, 300, 60, 5), 5); /* 4.3: 0.86 of 5, so 5 */
    kit_tick(k, 800, 5, 0);
    kit_tick(k, 800, 5, 0);
    struct as_proposal p =
        kit_tick(k, 800, 5, 0); /* 800 / 70 = 11.4: 12 is 2.4 times 5; the slow one says 5 */
    assert_int_equal(p.count, 12);
    assert_non_null(strstr(p.reason, "want 12, panic: a flash crowd"));
    assert_int_equal(kit_run(k, 100, 60, 12),
                     12); /* gone at once, and still held until the minute has passed */
    assert_false(k->type->sustains(k->state, &k->view, 11));
    assert_int_equal(kit_run(k, 100, 8, 12), 2);
    assert_true(k->type->sustains(k->state, &k->view, 2));
    kit_free(k);
}

static void fast_window_alone_never_shrinks_nor_answers_a_small_rise(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_target, PANIC);
    assert_int_equal(kit_run(k, 700, 60, 10), 10);
    assert_int_equal(kit_run(k, 0, 6, 10), 10);    /* 9.3 by the slow window: within tolerance */
    assert_int_equal(kit_run(k, 1300, 6, 10), 10); /* 18.6 by the fast one: not twice 10 */
    kit_free(k);
    k = kit_new(&as_policy_target, PANIC "panic_threshold = \"150%\";");
    assert_int_equal(kit_run(k, 700, 60, 10), 10);
    assert_int_equal(kit_run(k, 1300, 6, 10), 19);
    kit_free(k);
}

static void larger_flash_crowd_within_the_panic_raises_it_further(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_target, PANIC);
    assert_int_equal(kit_run(k, 300, 60, 5), 5);
    assert_int_equal(kit_run(k, 800, 6, 5), 12);
    assert_int_equal(kit_run(k, 1200, 6, 12), 18);
    assert_int_equal(kit_run(k, 700, 20, 18), 18);
    kit_free(k);
}

/* A second input beside the kit's. */
static struct as_series *kit_queue(struct kit *k)
{
    struct as_series *q = series_new("lb.web.queue", 100, 10 * AS_SECOND);
    assert_non_null(q);
    k->inputs[1] = q;
    k->view.input_count = 2;
    return q;
}

static void what_waits_is_demand_so_that_a_full_tier_is_not_content(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_target, TOTAL "queue = \"lb.web.queue\";"); /* sessions */
    struct as_series *q = kit_queue(k);
    series_push(q, k->view.now + 2000, 0, false);
    assert_int_equal(kit_want(k, 160, 4, 0), 4); /* just content */
    series_push(q, k->view.now + 2000, 200, false);
    struct as_proposal p = kit_tick(k, 160, 4, 0); /* 360 / 40 */
    assert_int_equal(p.count, 9);
    assert_string_equal(p.reason, "lb.web.load 160 + 200 waiting / 40 per instance = 9: want 9");
    assert_false(k->type->sustains(k->state, &k->view, 4));
    assert_true(k->type->sustains(k->state, &k->view, 9));
    kit_free(k);
    series_free(q);
    k = kit_new(&as_policy_target, TOTAL "queue = \"lb.web.queue\"; drain_time = \"10s\";"); /* a rate */
    q = kit_queue(k);
    series_push(q, k->view.now + 2000, 1000, false);
    p = kit_tick(k, 160, 4, 0); /* 160 + 1000 / 10 = 260 */
    assert_int_equal(p.count, 7);
    assert_string_equal(p.reason, "lb.web.load 160 + 1000 waiting / 10s / 40 per instance = 6.5: want 7");
    kit_free(k);
    series_free(q);
}

static void queue_not_measured_never_shrinks(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_target, TOTAL "queue = \"lb.web.queue\";");
    struct as_series *q = kit_queue(k);
    struct as_proposal p = kit_tick(k, 40, 4, 0);
    assert_int_equal(p.kind, AS_WANT);
    assert_int_equal(p.count, 4);
    assert_true(p.blind);
    assert_false(k->type->sustains(k->state, &k->view, 4));
    assert_int_equal(kit_want(k, 400, 4, 0), 10);
    series_push(q, k->view.now + 2000, 0, false);
    p = kit_tick(k, 40, 4, 0);
    assert_int_equal(p.count, 1);
    assert_false(p.blind);
    kit_free(k);
    series_free(q);
}

static void contradictory_settings_are_refused(void **unused)
{
    (void)unused;
    kit_refused(&as_policy_target, TOTAL "average = 1.0;", "not both");
    kit_refused(&as_policy_target, "metric = \"a.b\";", "per_instance");
    kit_refused(&as_policy_target, "metric = \"a.b\"; per_instance = 0.0;", "per_instance");
    kit_refused(&as_policy_target, "per_instance = 1.0;", "metric");
    kit_refused(&as_policy_target, TOTAL "aggregate = \"median\";", "aggregate");
    kit_refused(&as_policy_target, TOTAL "panic_window = \"6s\";", "shorter than window");
    kit_refused(&as_policy_target, TOTAL "window = \"6s\"; panic_window = \"6s\";", "shorter than window");
    kit_refused(&as_policy_target, TOTAL "panic_threshold = \"100%\";", "panic_threshold");
    kit_refused(&as_policy_target, MEAN "queue = \"lb.web.queue\";", "needs per_instance");
    kit_refused(&as_policy_target, TOTAL "drain_time = \"5s\";", "needs queue");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_load_never_plans_a_shrink),
        cmocka_unit_test(total_is_divided_by_what_one_carries),
        cmocka_unit_test(binary_fractions_do_not_add_an_instance),
        cmocka_unit_test(tolerance_includes_both_ends),
        cmocka_unit_test(instances_on_their_way_are_not_asked_for_again),
        cmocka_unit_test(mean_over_none_says_nothing),
        cmocka_unit_test(lost_data_abstains_and_blinds),
        cmocka_unit_test(partial_data_may_grow_but_never_shrink),
        cmocka_unit_test(without_scale_in_it_leaves_fewer_to_the_others),
        cmocka_unit_test(window_aggregates_as_told),
        cmocka_unit_test(sustains_says_whether_fewer_would_ask_again),
        cmocka_unit_test(flash_crowd_is_answered_by_the_fast_window_and_held),
        cmocka_unit_test(fast_window_alone_never_shrinks_nor_answers_a_small_rise),
        cmocka_unit_test(larger_flash_crowd_within_the_panic_raises_it_further),
        cmocka_unit_test(what_waits_is_demand_so_that_a_full_tier_is_not_content),
        cmocka_unit_test(queue_not_measured_never_shrinks),
        cmocka_unit_test(contradictory_settings_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
