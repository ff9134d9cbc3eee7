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

static void contradictory_settings_are_refused(void **unused)
{
    (void)unused;
    kit_refused(&as_policy_target, TOTAL "average = 1.0;", "not both");
    kit_refused(&as_policy_target, "metric = \"a.b\";", "per_instance");
    kit_refused(&as_policy_target, "metric = \"a.b\"; per_instance = 0.0;", "per_instance");
    kit_refused(&as_policy_target, "per_instance = 1.0;", "metric");
    kit_refused(&as_policy_target, TOTAL "aggregate = \"median\";", "aggregate");
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
        cmocka_unit_test(contradictory_settings_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
