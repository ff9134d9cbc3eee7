/* Step scaling against hand-computed numbers and the documented run of cloud step scaling. */
#include "../../policies/change.h"
#include "policy_kit.h"

extern const struct as_policy_type as_policy_step;

/* threshold 50; out 0..10: 0, 10..20: +10 %, from 20: +30 %; in the same, downwards */
#define DOCUMENTED                                                                                           \
    "metric = \"lb.web.load\"; threshold = 50; steps = ("                                                    \
    "{ from = 0; to = 10; change = \"0\"; }, { from = 10; to = 20; change = \"+10%\"; },"                    \
    "{ from = 20; change = \"+30%\"; }, { from = -10; to = 0; change = \"0\"; },"                            \
    "{ from = -20; to = -10; change = \"-10%\"; }, { to = -20; change = \"-30%\"; } );"

static void full_load_never_plans_a_shrink(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_step, DOCUMENTED);
    for (int serving = 1; serving <= 50; serving++)
        for (int pending = 0; pending <= 50; pending += 5)
            assert_true(kit_want(k, 100, serving, pending) >= serving + pending);
    assert_int_equal(kit_want(k, 100, 1, 0), 2);
    kit_free(k);
}

static void documented_run_comes_out(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_step, DOCUMENTED);
    assert_int_equal(kit_want(k, 60, 10, 0), 11); /* +1.0 */
    assert_int_equal(kit_want(k, 70, 11, 0), 14); /* +3.3 is cut to 3 */
    assert_int_equal(kit_want(k, 40, 14, 0), 13); /* -1.4 is cut to -1 */
    assert_int_equal(kit_want(k, 30, 13, 0), 10); /* -3.9 is cut to -3 */
    struct as_proposal p = kit_tick(k, 70, 11, 0);
    assert_string_equal(p.reason,
                        "lb.web.load 70 (+20 from 50) is in step from 20: +30% of 11 serving, want 14");
    kit_free(k);
}

static void one_breach_is_answered_once(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_step, DOCUMENTED);
    assert_int_equal(kit_want(k, 60, 10, 0), 11);
    assert_int_equal(kit_want(k, 60, 10, 1), 11); /* on its way */
    assert_int_equal(kit_want(k, 75, 10, 1), 13); /* a higher step: 10 + 3 */
    assert_int_equal(kit_want(k, 60, 10, 3), 13); /* back in the lower step: keeps them */
    assert_int_equal(kit_want(k, 20, 10, 3), 13); /* no fewer while some are on their way */
    assert_int_equal(kit_want(k, 20, 13, 0), 10);
    kit_free(k);
}

static void bounds_belong_to_the_step_further_from_the_threshold(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_step, DOCUMENTED);
    assert_int_equal(kit_want(k, 59.99, 10, 0), 10);
    assert_int_equal(kit_want(k, 60, 10, 0), 11);
    assert_int_equal(kit_want(k, 69.99, 10, 0), 11);
    assert_int_equal(kit_want(k, 70, 10, 0), 13);
    assert_int_equal(kit_want(k, 50, 10, 0), 10);
    assert_int_equal(kit_want(k, 40.01, 10, 0), 10);
    assert_int_equal(kit_want(k, 40, 10, 0), 9);
    assert_int_equal(kit_want(k, 30.01, 10, 0), 9);
    assert_int_equal(kit_want(k, 30, 10, 0), 7);
    kit_free(k);
    k = kit_new(&as_policy_step,
                "metric = \"a.b\"; threshold = 0.5; steps = ("
                "{ from = 0; to = 0.2; change = \"0\"; }, { from = 0.2; change = \"+1\"; } );");
    assert_int_equal(kit_want(k, 0.7, 10, 0), 11); /* 0.7 - 0.5 is a little under 0.2 in binary */
    kit_free(k);
}

static void without_threshold_bounds_are_values(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_step, "metric = \"a.b\"; steps = ( { to = 30; change = \"-1\"; },"
                                             "{ from = 60; to = 80; change = \"+2\"; },"
                                             "{ from = 80; change = \"=20\"; } );");
    assert_int_equal(kit_want(k, 29.9, 5, 0), 4);
    assert_int_equal(kit_want(k, 30, 5, 0), 5); /* between: no change */
    assert_int_equal(kit_want(k, 60, 5, 0), 7);
    assert_int_equal(kit_want(k, 80, 5, 0), 20);
    assert_int_equal(kit_want(k, 10, 0, 0), -1); /* a mean over none */
    kit_free(k);
}

static void percentages_round_as_documented(void **unused)
{
    (void)unused;
    struct change c;
    assert_true(change_parse("+30%", &c));
    assert_int_equal(change_apply(&c, 11, 1), 14);
    assert_int_equal(change_apply(&c, 3, 1), 4);   /* 0.9 becomes 1 */
    assert_int_equal(change_apply(&c, 10, 5), 15); /* least change */
    assert_int_equal(change_apply(&c, 0, 1), 1);   /* a group at 0 can start */
    assert_true(change_parse("-30%", &c));
    assert_int_equal(change_apply(&c, 2, 1), 1); /* -0.6 becomes -1 */
    assert_int_equal(change_apply(&c, 1, 4), 0);
    assert_true(change_parse("+12%", &c));
    assert_int_equal(change_apply(&c, 25, 1), 28); /* exactly 3: doubles would say 28.000000000000004 */
    assert_true(change_parse("-80%", &c));
    assert_int_equal(change_apply(&c, 5, 1), 1);
    assert_true(change_parse("+12.5%", &c));
    assert_int_equal(change_apply(&c, 16, 1), 18);
    assert_true(change_parse("0%", &c));
    assert_int_equal(change_apply(&c, 7, 3), 7);
    assert_true(change_parse("-5", &c));
    assert_int_equal(change_apply(&c, 3, 1), 0);
}

static void changes_are_read_strictly(void **unused)
{
    (void)unused;
    const char *const bad[] = { "",    "+",    "5",    "%",        "+5 ",  " +5",  "+5%%", "=5%",
                                "++5", "+1.5", "=1.5", "+1.2345%", "+.5%", "+5.%", "1e3",  "+99999999999",
                                "-",   "=" };
    struct change c;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (change_parse(bad[i], &c))
            fail_msg("\"%s\" was read", bad[i]);
    assert_true(change_parse("=5", &c));
    assert_int_equal(c.kind, CHANGE_EXACT);
    assert_true(change_parse("+0", &c) && change_parse("0", &c));
}

static void lost_data_abstains_and_partial_never_shrinks(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_step, DOCUMENTED);
    kit_size(k, 10, 0);
    assert_true(kit_look(k).blind);
    assert_int_equal(kit_look(k).kind, AS_ABSTAIN);
    series_push(k->series, k->view.now, 20, true);
    struct as_proposal p = kit_look(k);
    assert_int_equal(p.count, 10);
    assert_true(p.blind);
    series_push(k->series, k->view.now, 90, true);
    assert_int_equal(kit_look(k).count, 13);
    k->view.now += 10001;
    assert_int_equal(kit_look(k).kind, AS_ABSTAIN);
    assert_true(kit_look(k).blind);
    kit_free(k);
}

static void policy_that_only_grows_is_silent_between_its_steps(void **unused)
{
    (void)unused;
    struct kit *k =
        kit_new(&as_policy_step, "metric = \"a.b\"; steps = ( { from = 80; change = \"+2\"; } );");
    struct as_proposal p = kit_tick(k, 20, 5, 0);
    assert_int_equal(p.kind, AS_ABSTAIN);
    assert_false(p.blind);
    assert_string_equal(p.reason, "a.b 20 is in no step: no change");
    assert_int_equal(kit_want(k, 90, 5, 0), 7);
    assert_int_equal(kit_want(k, 90, 5, 2), 7);
    kit_free(k);
}

static void sustains_predicts_the_mean_of_fewer(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_step, "metric = \"a.b\"; steps = ( { to = 55; change = \"-1\"; },"
                                             "{ from = 80; change = \"+1\"; } );");
    kit_tick(k, 60, 3, 0);
    assert_false(k->type->sustains(k->state, &k->view, 2)); /* 60 * 3 / 2 = 90 */
    kit_tick(k, 50, 3, 0);
    assert_true(k->type->sustains(k->state, &k->view, 2)); /* 75 */
    assert_false(k->type->sustains(k->state, &k->view, 0));
    kit_tick(k, 65, 30, 0); /* 65 * 30 / 25 = 78, / 24 = 81.25 */
    assert_true(k->type->sustains(k->state, &k->view, 25));
    assert_false(k->type->sustains(k->state, &k->view, 24));
    kit_free(k);
    k = kit_new(&as_policy_step, "metric = \"a.b\"; per_instance_metric = false; steps = ("
                                 "{ to = 55; change = \"-1\"; }, { from = 80; change = \"+1\"; } );");
    kit_tick(k, 60, 3, 0);
    assert_true(k->type->sustains(k->state, &k->view, 1)); /* a total does not move with the count */
    assert_int_equal(kit_want(k, 90, 0, 0), 1);
    kit_free(k);
}

#define REFUSED(steps, part) kit_refused(&as_policy_step, "metric = \"a.b\"; " steps, part)

static void ranges_that_contradict_are_refused(void **unused)
{
    (void)unused;
    REFUSED("steps = ( { from = 0; to = 20; change = \"+1\"; }, { from = 10; change = \"+2\"; } );",
            "overlap");
    REFUSED("steps = ( { from = 0; to = 10; change = \"+1\"; }, { from = 20; change = \"+2\"; } );",
            "covers 10 to 20");
    REFUSED("steps = ( { from = 0; to = 10; change = \"+1\"; } );", "open above");
    REFUSED("steps = ( { change = \"+1\"; } );", "needs from");
    REFUSED("steps = ( { from = 9; to = 9; change = \"+1\"; } );", "above from");
    REFUSED("steps = ( { from = 9; change = \"1\"; } );", "is not a change");
    REFUSED("steps = ( );", "steps");
    REFUSED("", "steps");
    REFUSED("threshold = 5; steps = ( { from = -1; change = \"+1\"; } );", "split it at 0");
    REFUSED("threshold = 5; steps = ( { from = -4; to = 0; change = \"-1\"; } );", "open below");
    REFUSED(
        "threshold = 5; steps = ( { from = 4; to = 9; change = \"+1\"; }, { from = 10; change = \"+2\"; } );",
        "covers 9 to 10");
}

static void gap_may_lie_across_the_threshold(void **unused)
{
    (void)unused;
    struct kit *k =
        kit_new(&as_policy_step, "metric = \"a.b\"; threshold = 50; steps = ("
                                 "{ to = -20; change = \"-1\"; }, { from = 20; change = \"+1\"; } );");
    assert_int_equal(kit_want(k, 50, 5, 0), 5);
    assert_int_equal(kit_want(k, 30, 5, 0), 4);
    assert_int_equal(kit_want(k, 70, 5, 0), 6);
    kit_free(k);
    k = kit_new(&as_policy_step,
                "metric = \"a.b\"; threshold = 50; steps = ( { to = 0; change = \"-1\"; } );");
    assert_int_equal(kit_want(k, 50, 5, 0), 4); /* the upper bound is in, and nothing above claims it */
    assert_int_equal(kit_want(k, 50.1, 5, 0), 5);
    kit_free(k);
    k = kit_new(&as_policy_step, "metric = \"a.b\"; threshold = 50; steps = ("
                                 "{ to = 0; change = \"-1\"; }, { from = 0; change = \"+1\"; } );");
    assert_int_equal(kit_want(k, 50, 5, 0), 6); /* both reach it: the one above does */
    assert_int_equal(kit_want(k, 49.9, 5, 0), 4);
    kit_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_load_never_plans_a_shrink),
        cmocka_unit_test(documented_run_comes_out),
        cmocka_unit_test(one_breach_is_answered_once),
        cmocka_unit_test(bounds_belong_to_the_step_further_from_the_threshold),
        cmocka_unit_test(without_threshold_bounds_are_values),
        cmocka_unit_test(percentages_round_as_documented),
        cmocka_unit_test(changes_are_read_strictly),
        cmocka_unit_test(lost_data_abstains_and_partial_never_shrinks),
        cmocka_unit_test(policy_that_only_grows_is_silent_between_its_steps),
        cmocka_unit_test(sustains_predicts_the_mean_of_fewer),
        cmocka_unit_test(ranges_that_contradict_are_refused),
        cmocka_unit_test(gap_may_lie_across_the_threshold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
