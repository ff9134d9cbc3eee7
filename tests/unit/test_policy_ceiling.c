/* The ceiling of a shared resource against hand-computed numbers, and what it does without data. */
#include "policy_kit.h"

extern const struct as_policy_type as_policy_ceiling;

#define FREE "metric = \"db.connections_free\"; per_instance = 10.0; reserve = 10.0; settle = \"0s\";"

#define FREE_SETTLING                                                                                        \
    "metric = \"db.connections_free\"; per_instance = 10.0; reserve = 10.0; settle = \"10s\";"

static int ceiling(struct kit *k, double left, int serving, int pending)
{
    struct as_proposal p = kit_tick(k, left, serving, pending);
    assert_int_equal(p.kind, AS_CEILING);
    return p.count;
}

static void exhausted_resource_leaves_no_room(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_ceiling, FREE);
    assert_int_equal(ceiling(k, 10, 5, 0), 5);
    assert_int_equal(ceiling(k, 10, 5, 3), 5); /* the three on their way would already be too many */
    assert_int_equal(ceiling(k, 0, 5, 0), 4);  /* into the reserve: one too many */
    assert_int_equal(ceiling(k, 9, 5, 0), 4);
    assert_int_equal(ceiling(k, 0, 0, 0), 0);
    kit_free(k);
}

static void room_is_what_is_left_by_cost(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_ceiling, FREE);
    assert_int_equal(ceiling(k, 45, 5, 0), 8); /* 35 / 10 = 3.5 */
    assert_int_equal(ceiling(k, 49.9, 5, 0), 8);
    assert_int_equal(ceiling(k, 50, 5, 0), 9);
    struct as_proposal p = kit_tick(k, 45, 5, 0);
    assert_string_equal(
        p.reason,
        "(db.connections_free 45 - reserve 10) / 10 per instance = 3.5 beside 5 serving: at most 8");
    assert_false(p.blind);
    kit_free(k);
}

static void ceiling_stays_while_instances_take_their_part(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_ceiling, FREE); /* 100 in all: 9 instances */
    assert_int_equal(ceiling(k, 50, 5, 0), 9);
    assert_int_equal(ceiling(k, 50, 5, 4), 9); /* on their way: nothing taken yet */
    assert_int_equal(ceiling(k, 30, 7, 2), 9); /* two of them arrived */
    assert_int_equal(ceiling(k, 10, 9, 0), 9);
    kit_free(k);
}

static void binary_fractions_do_not_cost_an_instance(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_ceiling, "metric = \"a.b\"; per_instance = 0.1; settle = \"0s\";");
    assert_int_equal(ceiling(k, 0.3, 0, 0), 3); /* 0.3 / 0.1 = 2.9999999999999996 */
    kit_free(k);
}

static void seeming_room_of_new_instances_is_not_given_away(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_ceiling, FREE_SETTLING); /* ticks are 2 s, settle 10 s */
    assert_int_equal(ceiling(k, 50, 5, 4), 9);
    assert_int_equal(ceiling(k, 50, 9, 0), 9); /* four serve, their connections are not counted yet */
    struct as_proposal p = kit_tick(k, 40, 9, 0);
    assert_int_equal(p.count, 9);
    assert_non_null(strstr(p.reason, "at most 9 until 12 has settled"));
    assert_int_equal(ceiling(k, 10, 9, 0), 9); /* now they are */
    for (int i = 0; i < 5; i++)                /* others really let go of 20, and of 30 at first */
        assert_int_equal(ceiling(k, i == 0 ? 40 : 30, 9, 0), 9);
    assert_int_equal(ceiling(k, 30, 9, 0), 11);
    assert_int_equal(ceiling(k, 0, 9, 0), 8); /* a fall counts at once */
    kit_free(k);
}

static void stale_data_holds_the_last_ceiling_and_blinds(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_ceiling, FREE);
    assert_int_equal(ceiling(k, 50, 5, 0), 9);
    for (int i = 0; i < 3; i++) {
        k->view.now += 3600 * AS_SECOND;
        kit_size(k, 5 + 2 * i, 0);
        struct as_proposal p = kit_look(k);
        assert_int_equal(p.kind, AS_CEILING);
        assert_int_equal(p.count, 9);
        assert_true(p.blind);
        assert_non_null(strstr(p.reason, "ceiling held at 9"));
    }
    assert_int_equal(ceiling(k, 20, 9, 0), 10); /* back */
    kit_free(k);
}

static void never_measured_forbids_growth_but_not_replacement(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_ceiling, FREE);
    kit_size(k, 5, 0);
    struct as_proposal p = kit_look(k);
    assert_int_equal(p.kind, AS_CEILING);
    assert_int_equal(p.count, 5);
    assert_true(p.blind);
    kit_size(k, 3, 0); /* two died */
    assert_int_equal(kit_look(k).count, 5);
    kit_size(k, 6, 0); /* min was raised */
    assert_int_equal(kit_look(k).count, 6);
    kit_free(k);
}

static void partial_data_is_a_safe_bound_but_blinds(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_ceiling, FREE);
    kit_size(k, 5, 0);
    series_push(k->series, k->view.now, 30, true);
    struct as_proposal p = kit_look(k);
    assert_int_equal(p.count, 7);
    assert_true(p.blind);
    kit_free(k);
}

static void fixed_capacity_needs_no_data(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_ceiling, "capacity = 100; per_instance = 12; reserve = 3;");
    k->inputs[0] = NULL;
    struct as_proposal p = kit_look(k);
    assert_int_equal(p.kind, AS_CEILING);
    assert_int_equal(p.count, 8); /* 97 / 12 = 8.08 */
    assert_false(p.blind);
    assert_string_equal(p.reason, "(capacity 100 - reserve 3) / 12 per instance: at most 8");
    kit_free(k);
}

static void contradictory_settings_are_refused(void **unused)
{
    (void)unused;
    kit_refused(&as_policy_ceiling, FREE "capacity = 5;", "not both");
    kit_refused(&as_policy_ceiling, "per_instance = 5;", "metric");
    kit_refused(&as_policy_ceiling, "capacity = 10; per_instance = 8; reserve = 3;", "leaves no room");
    kit_refused(&as_policy_ceiling, "capacity = 10;", "per_instance");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exhausted_resource_leaves_no_room),
        cmocka_unit_test(room_is_what_is_left_by_cost),
        cmocka_unit_test(ceiling_stays_while_instances_take_their_part),
        cmocka_unit_test(binary_fractions_do_not_cost_an_instance),
        cmocka_unit_test(seeming_room_of_new_instances_is_not_given_away),
        cmocka_unit_test(stale_data_holds_the_last_ceiling_and_blinds),
        cmocka_unit_test(never_measured_forbids_growth_but_not_replacement),
        cmocka_unit_test(partial_data_is_a_safe_bound_but_blinds),
        cmocka_unit_test(fixed_capacity_needs_no_data),
        cmocka_unit_test(contradictory_settings_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
