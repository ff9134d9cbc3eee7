/* Sizing for a latency goal: known numbers of queueing theory, learning by the utilisation law, its refusals. */
#include "policy_kit.h"

extern const struct as_policy_type as_policy_slo;

#define RATE "metric = \"lb.web.load\";"

static void assert_want(const char *text, double rate, int want)
{
    struct kit *k = kit_new(&as_policy_slo, text);
    assert_int_equal(kit_want(k, rate, 1, 0), want);
    kit_free(k);
}

static void sizes_match_the_known_numbers_of_erlang_c(void **unused)
{
    (void)unused;
#define WAIT RATE "of = \"wait\"; "
    assert_want(WAIT "service_time = \"100ms\"; workers = 1; goal = \"50ms\";", 100, 14);
    assert_want(WAIT "service_time = \"100ms\"; workers = 1; goal = \"20ms\"; percentile = \"99%\";", 1000,
                114);
    assert_want(WAIT "service_time = \"200ms\"; workers = 1; goal = \"100ms\";", 1000, 206);
    assert_want(WAIT "service_time = \"100ms\"; workers = 4; goal = \"50ms\";", 100, 4);
    assert_want(WAIT "service_time = \"100ms\"; workers = 4; goal = \"50ms\"; reserve = 2;", 100, 6);
    assert_want(WAIT "service_time = \"100ms\"; workers = 4; goal = \"50ms\"; reserve = 1;", 0, 1);
    assert_want(WAIT "service_time = \"1s\"; workers = 1; goal = \"1h\"; percentile = \"50%\";", 1e9,
                1000000);
}

static void response_goal_needs_what_the_tail_says(void **unused)
{
    (void)unused;
    /* P(response > 2 s) at 8/s and one second each: 18.321740 % with 10 workers */
    assert_want(RATE "service_time = \"1s\"; workers = 1; goal = \"2s\"; percentile = \"81.67%\";", 8, 10);
    assert_want(RATE "service_time = \"1s\"; workers = 1; goal = \"2s\"; percentile = \"81.68%\";", 8, 11);
}

static void variability_asks_for_more(void **unused)
{
    (void)unused;
    assert_want(RATE "of = \"wait\"; service_time = \"1s\"; workers = 1; goal = \"1s\";", 8, 11);
    assert_want(RATE "of = \"wait\"; service_time = \"1s\"; workers = 1; goal = \"1s\"; variability = 2;", 8,
                12);
}

static void reason_shows_the_numbers(void **unused)
{
    (void)unused;
    struct kit *k =
        kit_new(&as_policy_slo, RATE "of = \"wait\"; service_time = \"100ms\"; workers = 4; goal = \"50ms\";"
                                     "reserve = 1;");
    assert_string_equal(
        kit_tick(k, 100, 2, 0).reason,
        "lb.web.load 100, one instance at most 40: 14 workers of 100ms keep 95% of waits within 50ms: "
        "want 5 with 1 in reserve");
    kit_free(k);
}

static void impossible_goal_is_said_and_the_load_is_carried_all_the_same(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_slo, RATE "service_time = \"100ms\"; workers = 1; goal = \"200ms\";");
    struct as_proposal p = kit_tick(k, 100, 5, 0); /* exp(-2) is 13.5 %, whatever the number */
    assert_int_equal(p.kind, AS_WANT);
    assert_int_equal(p.count, 13); /* P(wait > 100 ms) = C(10,13) exp(-3) = 1.4 %; with 12: 6.1 % */
    assert_non_null(strstr(p.reason, "no number of instances can meet this goal"));
    assert_int_equal(kit_want(k, 50, 20, 0), 7);
    kit_free(k);
}

/* --- learning ------------------------------------------------------------------------------------ */

#define LEARNS RATE "busy = \"lb.web.busy\"; workers = 4; goal = \"200ms\";"

struct learner {
    struct kit *k;
    struct as_series *busy;
};

static struct learner learner_new(const char *text)
{
    struct learner l = { .k = kit_new(&as_policy_slo, text),
                         .busy = series_new("lb.web.busy", 100, 10 * AS_SECOND) };
    assert_non_null(l.busy);
    l.k->inputs[1] = l.busy;
    l.k->view.input_count = 2;
    return l;
}

static void learner_free(struct learner *l)
{
    kit_free(l->k);
    series_free(l->busy);
}

static struct as_proposal learner_tick(struct learner *l, double rate, double busy, int serving)
{
    series_push(l->busy, l->k->view.now + 2000, busy, false);
    return kit_tick(l->k, rate, serving, 0);
}

static void service_time_is_learned_by_the_utilisation_law(void **unused)
{
    (void)unused;
    struct learner l = learner_new(LEARNS);
    struct as_proposal p = { 0 };
    for (int i = 0; i < 9; i++) {
        p = learner_tick(&l, 100 + 10 * i, (100 + 10 * i) * 0.05, 10);
        assert_int_equal(p.kind, AS_ABSTAIN);
        assert_false(p.blind);
        assert_non_null(strstr(p.reason, "learning"));
    }
    p = learner_tick(&l, 200, 10, 10); /* 50 ms each: 10 busy */
    assert_int_equal(p.kind, AS_WANT);
    assert_non_null(strstr(p.reason, "one instance at most 80 +-0% (10 looks)"));
    struct kit *given =
        kit_new(&as_policy_slo, RATE "service_time = \"50ms\"; workers = 4; goal = \"200ms\";");
    assert_int_equal(p.count, kit_want(given, 200, 10, 0));
    kit_free(given);
    learner_free(&l);
}

static void scatter_delays_the_lesson_and_is_sized_for(void **unused)
{
    (void)unused;
    struct learner l = learner_new(LEARNS);
    struct as_proposal p = { 0 };
    for (int i = 0; i < 12; i++) /* 1 and 19 in turn: 10 in the mean, 90 % scatter, 26 % error */
        p = learner_tick(&l, 200, i % 2 ? 1 : 19, 10);
    assert_int_equal(p.kind, AS_ABSTAIN);
    for (int i = 0; i < 88; i++)
        p = learner_tick(&l, 200, i % 2 ? 1 : 19, 10);
    assert_int_equal(p.kind, AS_WANT);
    assert_non_null(strstr(p.reason, " +-9"));
    struct kit *given =
        kit_new(&as_policy_slo, RATE "service_time = \"50ms\"; workers = 4; goal = \"200ms\";");
    assert_true(p.count > kit_want(given, 200, 10, 0));
    kit_free(given);
    learner_free(&l);
}

static void one_sample_is_one_lesson(void **unused)
{
    (void)unused;
    struct learner l = learner_new(LEARNS);
    series_push(l.busy, l.k->view.now, 10, false);
    for (int i = 0; i < 5; i++)
        assert_int_equal(kit_tick(l.k, 200, 10, 0).kind, AS_ABSTAIN);
    assert_non_null(strstr(kit_tick(l.k, 200, 10, 0).reason, ": 1 looks"));
    learner_free(&l);
}

static void full_tier_teaches_nothing_and_is_never_shrunk(void **unused)
{
    (void)unused;
    struct learner l = learner_new(LEARNS);
    struct as_proposal p = { 0 };
    for (int i = 0; i < 20; i++)
        p = learner_tick(&l, 200, 10, 10);
    int calm = p.count;
    for (int i = 0; i < 20; i++) { /* 300 arrive, 8 workers of 50 ms let 160 through */
        p = learner_tick(&l, 300, 8, 2);
        assert_true(p.count > calm);
    }
    p = learner_tick(&l, 10, 8, 2); /* a rate that is let through is no demand: 8 busy are 8 of load */
    assert_true(p.count > 2);
    p = learner_tick(&l, 1, 39, 10);
    assert_int_equal(p.kind, AS_WANT);
    assert_true(p.count >= 10);
    assert_int_equal(learner_tick(&l, 200, 10, 10).count, calm); /* nothing of it was learned */
    learner_free(&l);
    l = learner_new(LEARNS);
    p = learner_tick(&l, 100, 8,
                     2); /* full at first sight: what is measured is a lower bound, and calls for more */
    assert_int_equal(p.kind, AS_WANT);
    assert_true(p.count > 2);
    learner_free(&l);
}

static void new_release_is_learned_as_the_old_one_fades(void **unused)
{
    (void)unused;
    struct learner l = learner_new(LEARNS "memory = \"1m\";");
    struct as_proposal p = { 0 };
    for (int i = 0; i < 100; i++)
        p = learner_tick(&l, 200, 10, 20);
    int before = p.count;
    for (int i = 0; i < 400; i++)
        p = learner_tick(&l, 200, 12, 20);
    assert_non_null(strstr(p.reason, "of 60ms"));
    assert_true(p.count >= before);
    learner_free(&l);
}

static void lost_data_never_shrinks(void **unused)
{
    (void)unused;
    struct learner l = learner_new(LEARNS);
    struct as_proposal p = { 0 };
    for (int i = 0; i < 20; i++)
        p = learner_tick(&l, 200, 10, 10);
    assert_true(p.count < 10);
    assert_true(l.k->type->sustains(l.k->state, &l.k->view, p.count));
    assert_false(l.k->type->sustains(l.k->state, &l.k->view, p.count - 1));
    for (int i = 0; i < 6; i++) /* busy ages, the rate does not */
        p = kit_tick(l.k, 200, 10, 0);
    assert_true(p.blind);
    assert_int_equal(p.count, 10);
    assert_false(l.k->type->sustains(l.k->state, &l.k->view, 10));
    assert_true(kit_tick(l.k, 2000, 10, 0).count > 10); /* but may grow by what was learned */
    l.k->view.now += 20000;
    p = kit_look(l.k);
    assert_int_equal(p.kind, AS_ABSTAIN);
    assert_true(p.blind);
    learner_free(&l);
}

static void contradictory_settings_are_refused(void **unused)
{
    (void)unused;
    kit_refused(&as_policy_slo, RATE "workers = 1; goal = \"1s\";", "service_time");
    kit_refused(&as_policy_slo, LEARNS "service_time = \"10ms\";", "not both");
    kit_refused(&as_policy_slo, RATE "service_time = \"10ms\"; goal = \"1s\";", "workers");
    kit_refused(&as_policy_slo, RATE "service_time = \"10ms\"; workers = 1;", "goal");
    kit_refused(&as_policy_slo, LEARNS "variability = 0.5;", "variability");
    kit_refused(&as_policy_slo, LEARNS "percentile = \"100%\";", "percentile");
    kit_refused(&as_policy_slo, LEARNS "of = \"service\";", "of");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_match_the_known_numbers_of_erlang_c),
        cmocka_unit_test(response_goal_needs_what_the_tail_says),
        cmocka_unit_test(variability_asks_for_more),
        cmocka_unit_test(reason_shows_the_numbers),
        cmocka_unit_test(impossible_goal_is_said_and_the_load_is_carried_all_the_same),
        cmocka_unit_test(service_time_is_learned_by_the_utilisation_law),
        cmocka_unit_test(scatter_delays_the_lesson_and_is_sized_for),
        cmocka_unit_test(one_sample_is_one_lesson),
        cmocka_unit_test(full_tier_teaches_nothing_and_is_never_shrunk),
        cmocka_unit_test(new_release_is_learned_as_the_old_one_fades),
        cmocka_unit_test(lost_data_never_shrinks),
        cmocka_unit_test(contradictory_settings_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
