/* The newsvendor policy: its pieces against hand-computed and brute-force values, then the whole on plain loads. */
#include <math.h>

#include "../../policies/auto_errors.h"
#include "../../policies/auto_experts.h"
#include "policy_kit.h"

extern const struct as_policy_type as_policy_auto;

#define NEAR(a, b, e)                                                                                        \
    do {                                                                                                     \
        if (!(fabs((a) - (b)) <= (e)))                                                                       \
            fail_msg("%s is %.9g, not %.9g", #a, (double)(a), (double)(b));                                  \
    } while (0)

/* --- the error distribution ------------------------------------------------------------------------------- */

static void prior_is_laplace_worth_twenty_samples(void **unused)
{
    (void)unused;
    struct errors d;
    errors_init(&d);
    NEAR(errors_beyond(&d, 0), 0.5, 0.002); /* the tail below -6 is cut: 0.12 % of the weight */
    NEAR(errors_beyond(&d, 1), 0.5 * exp(-1), 0.002);
    NEAR(errors_beyond(&d, 3), 0.5 * exp(-3), 0.001);
    NEAR(errors_beyond(&d, -2), 1 - 0.5 * exp(-2), 0.002);
    NEAR(errors_beyond(&d, 10), exp(-10) / 2, 1e-6);
    assert_true(errors_beyond(&d, 2000) == 0 && errors_beyond(&d, -6) == 1);
    NEAR(d.all, 20 * (1 - exp(-6) / 2), 1e-9);
    for (int k = 0; k < 20; k++) /* twenty equal samples outweigh the prior by just one half */
        errors_learn(&d, 1, 2.05, 1, 1);
    NEAR(errors_beyond(&d, 3), 0.25 * exp(-3), 0.001);
    NEAR(errors_beyond(&d, 1.95), 0.25 * exp(-1.95) + 0.5, 0.002);
}

static void rare_jumps_are_as_large_as_they_are(void **unused)
{
    (void)unused;
    struct errors d;
    errors_init(&d);
    for (int k = 0; k < 20000; k++) /* one in a hundred is 50 scales, and one of those 700 */
        errors_learn(&d, 1000, k % 10000 == 0 ? 700.0 : k % 100 == 0 ? 50.0 : 0.01, 1, 1);
    NEAR(errors_beyond(&d, 9), 0.01, 0.002);
    NEAR(errors_beyond(&d, 40), 0.01, 0.002);
    NEAR(errors_beyond(&d, 56), 0.0001, 0.00005);
    NEAR(errors_beyond(&d, 800), 0, 1e-9);
    double before = 1; /* never grows, also where the bins change their kind */
    for (double r = -7; r < 1500; r += r < 12 ? 0.013 : 0.7) {
        assert_true(errors_beyond(&d, r) <= before);
        before = errors_beyond(&d, r);
    }
}

static void scale_follows_fast_and_slow(void **unused)
{
    (void)unused;
    struct errors d;
    errors_init(&d);
    NEAR(errors_scale(&d, 3.75), 0.2, 1e-12);    /* 0.1 * sqrt(4) */
    NEAR(errors_scale(&d, 0), 0.05, 1e-12);      /* 0.1 * sqrt(1/4) is the least */
    errors_learn(&d, 2 * AS_MINUTE, 2, 3.75, 1); /* size 1: fast goes half of the way, slow 1/120 half-life */
    NEAR(d.fast, 0.55, 1e-12);
    NEAR(d.slow, 0.1 + 0.9 * (1 - exp2(-1.0 / 60)), 1e-12);
}

static void weights_survive_a_very_long_time(void **unused)
{
    (void)unused;
    struct errors d;
    errors_init(&d);
    for (int k = 0; k < 20000; k++) /* more than six years of hours */
        errors_learn(&d, 3 * AS_HOUR, 0.05, 1, 1);
    assert_true(isfinite(d.all) && isfinite(d.next) && d.all > 0);
    NEAR(errors_beyond(&d, 0.2), 0, 1e-6); /* of the prior nothing is left */
}

/* P(too few) with c units: all ways in which those that are ordered come or fail. */
static double risk(const struct errors *d, const struct newsvendor *n, int c)
{
    int ordered = c > n->sure ? c - n->sure : 0;
    double sum = 0;
    for (int failed = 0; failed <= ordered; failed++) {
        double ways = exp(lgamma(ordered + 1) - lgamma(failed + 1) - lgamma(ordered - failed + 1));
        double p = ways * pow(n->fails, failed) * pow(1 - n->fails, ordered - failed);
        sum += p * errors_beyond(d, (n->carries * (c - failed) - n->base) / n->scale);
    }
    return sum;
}

static int brute_force(const struct errors *d, const struct newsvendor *n)
{
    int best = n->max;
    double least = INFINITY;
    for (int c = n->min; c <= n->max; c++) {
        double cost = c + n->price * risk(d, n, c);
        if (risk(d, n, c) <= 0.5 && cost < least - 1e-3) {
            least = cost;
            best = c;
        }
    }
    return best;
}

static void choice_is_the_cheapest_of_all(void **unused)
{
    (void)unused;
    struct errors d;
    errors_init(&d);
    uint32_t random = 12345;
    for (int k = 0; k < 3000; k++) {
        double u[5];
        for (int j = 0; j < 5; j++)
            u[j] = (double)((random = random * 1664525 + 1013904223) >> 8) / 16777216;
        struct newsvendor n = { .base = 30 * u[0],
                                .scale = 0.05 + 3 * u[1],
                                .price = pow(10, 4 * u[2] - 1),
                                .carries = 0.5 + u[3],
                                .min = k % 3,
                                .max = 5 + k % 40,
                                .sure = k % 25,
                                .fails = k % 4 ? 0.25 * u[4] : 0 };
        int mine = errors_choose(&d, &n), best = brute_force(&d, &n);
        double more = mine + n.price * risk(&d, &n, mine) - best - n.price * risk(&d, &n, best);
        if (mine != best &&
            (risk(&d, &n, mine) > 0.5 || more > 0.01)) /* failures rarer than 1e-6 are left out */
            fail_msg("%d: %d instead of %d costs %g more", k, mine, best, more);
        errors_learn(&d, 5000, 4 * u[1] - 1, 3, 0.5);
    }
}

static void choice_by_hand(void **unused)
{
    (void)unused;
    struct errors d;
    errors_init(&d);
    /* Laplace, need 9.5 + r: 10 costs 10 + 60/2 e^-0.5 = 28.2, 12: 14.46, 13: 13.91, 14: 14.33 */
    assert_int_equal(errors_choose(&d, &(struct newsvendor){ 9.5, 1, 60, 1, 1, 20, 0, 0 }), 13);
    assert_int_equal(errors_choose(&d, &(struct newsvendor){ 9.5, 1, 0, 1, 1, 20, 0, 0 }),
                     10); /* free misses: the median */
    assert_int_equal(errors_choose(&d, &(struct newsvendor){ 9.5, 1, 60, 1, 1, 11, 0, 0 }),
                     11); /* bounds hold */
    assert_int_equal(errors_choose(&d, &(struct newsvendor){ 500, 1, 60, 1, 1, 20, 0, 0 }),
                     20); /* never gives up */
    assert_int_equal(errors_choose(&d, &(struct newsvendor){ 0, 0.05, 60, 1, 4, 20, 0, 0 }), 4);
    /* Surely 4.5 and two there: one in ten fails. 5: 5 + 300 * (1 - 0.9^3) = 86, 6: 6 + 300 * 0.0523 = 21.7, 7: 9.57, 8: 8.38 */
    struct newsvendor risky = { 4.5, 0.05, 300, 1, 1, 20, 2, 0.1 };
    assert_int_equal(errors_choose(&d, &risky), 8);
    risky.price = 30; /* 5: 13.1, 6: 7.57, 7: 7.26, 8: 8.04 */
    assert_int_equal(errors_choose(&d, &risky), 7);
    risky.sure = 5; /* who has them need not order */
    assert_int_equal(errors_choose(&d, &risky), 5);
}

/* --- the experts ---------------------------------------------------------------------------------------------- */

static struct experts fresh(as_time tick)
{
    struct experts e;
    struct as_error err;
    assert_int_equal(experts_init(&e, &err), AS_OK);
    experts_clock(&e, tick, AS_DAY);
    return e;
}

static void means_trends_and_path_by_hand(void **unused)
{
    (void)unused;
    struct experts e = fresh(5000);
    for (int k = 1; k <= 24; k++)
        experts_push(&e, k, true);
    const struct said *s = experts_say(&e, 12);
    NEAR(s->f[EXPERT_LAST], 23.5, 1e-9);   /* 24, 23 */
    NEAR(s->f[EXPERT_M1], 18.5, 1e-9);     /* 13 to 24 */
    NEAR(s->f[EXPERT_M5], 12.5, 1e-9);     /* all there is */
    NEAR(s->f[EXPERT_TREND], 36.5, 1e-9);  /* halves of 2: 23.5 + 1 * (12 + 1) */
    NEAR(s->f[EXPERT_LTREND], 36.5, 1e-9); /* halves of 3: 23 + 1 * (12 + 1.5) */
    assert_false(s->has[EXPERT_DAY] || s->has[EXPERT_WEEK] || s->has[EXPERT_DAY3]);
    NEAR(s->mix, 23.5, 1e-9); /* nobody was judged yet: persistence */
    NEAR(experts_highest(&e, 3), 24, 1e-9);
    experts_push(&e, 7, true);
    NEAR(experts_highest(&e, 2), 24, 1e-9); /* of 24 and 7 */
    NEAR(experts_highest(&e, 1), 7, 1e-9);
    experts_fini(&e);
}

static void mix_weighs_by_loss_to_the_eighth(void **unused)
{
    (void)unused;
    struct experts e = fresh(5000);
    for (int k = 0; k < 30; k++)
        experts_push(&e, 10, true);
    e.judged = 1;
    for (int k = 0; k < EXPERT_COUNT; k++)
        e.loss[k] = 2;
    e.loss[EXPERT_TREND] = 1;
    experts_push(&e, 14, true);
    const struct said *s = experts_say(&e, 4); /* weights 1 : 256 */
    double w = 1.0 / 256, others = s->f[0] + s->f[1] + s->f[2] + s->f[3] + s->f[EXPERT_LTREND];
    NEAR(s->f[EXPERT_TREND], 12 + 1.0 * (4 + 1), 1e-9); /* halves 12 and 10 over 2 ticks each */
    NEAR(s->mix, (w * others + s->f[EXPERT_TREND]) / (5 * w + 1), 1e-9);
    NEAR(s->base, fmax(s->mix, s->f[EXPERT_LAST]), 1e-9);
    experts_fini(&e);
}

static void nobody_is_judged_by_what_was_not_measured(void **unused)
{
    (void)unused;
    struct experts e = fresh(5000);
    experts_push(&e, 10, true);
    experts_say(&e, 1);
    assert_null(experts_push(&e, 99, false));
    NEAR(e.judged, 0, 0);
    experts_say(&e, 2);
    assert_null(experts_push(&e, 10, true)); /* not due */
    assert_non_null(experts_push(&e, 10, true));
    assert_true(e.judged > 0);
    experts_fini(&e);
}

static void season_knows_yesterday(void **unused)
{
    (void)unused;
    struct experts e = fresh(AS_MINUTE);
    for (int k = 0; k < 2 * 1440 - 30; k++) { /* twice as much in the second half of each day's hours */
        const struct said *s = experts_push(&e, k % 60 < 30 ? 4 : 8, true);
        (void)s;
        experts_say(&e, 15);
    }
    const struct said *s = experts_say(&e, 15); /* the last tick was minute 29 of an hour: 8 comes */
    assert_true(s->has[EXPERT_DAY]);
    assert_false(s->has[EXPERT_WEEK]);
    NEAR(s->f[EXPERT_LAST], 4, 1e-9);
    NEAR(s->mix, 8, 0.4); /* yesterday did better here than all others */
    experts_fini(&e);
}

/* A load that only the season sees coming; after two days it sees what never comes. */
static void season_has_a_say_after_it_was_clearly_better_for_long(void **unused)
{
    (void)unused;
    struct experts e = fresh(AS_MINUTE);
    int passed = 0, wrong_from = 48 * 60;
    for (int minute = 0; minute < wrong_from + 6 * 60; minute++) {
        experts_push(&e, minute * 7919 / 60 % 10, true);
        e.expected = (minute + 10) * 7919 / 60 % 10 + (minute < wrong_from ? 0 : 20);
        const struct said *s = experts_say(&e, 10);
        NEAR(s->mix, e.trial.passed ? s->with : s->without, 0);
        if (e.trial.passed && !passed)
            passed = minute;
        if (minute == wrong_from - 1)
            NEAR(s->mix, e.expected, 0.01);
        if (minute > wrong_from + 3 * 60) /* its own weight is gone long before the trial is lost */
            NEAR(s->mix, s->without, 0.5);
    }
    if (passed < 3 * 60 || passed > 24 * 60)
        fail_msg("trusted after %d minutes", passed);
    experts_fini(&e);
}

static void season_that_cannot_say_has_no_say(void **unused)
{
    (void)unused;
    struct experts e = fresh(AS_MINUTE);
    for (int k = 0; k < 2000; k++) {
        experts_push(&e, k % 60, true);
        const struct said *s = experts_say(&e, 10);
        assert_false(s->has[EXPERT_SEASON]);
        NEAR(s->with, s->without, 1e-12);
    }
    assert_false(e.trial.passed);
    experts_fini(&e);
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

#define TEXT "metric = \"lb.web.load\"; per_instance = 100.0; "

/* `ticks` ticks of 2 s at this load, following every proposal at once; returns the last. */
static struct as_proposal run(struct kit *k, double load, int ticks, int *size)
{
    struct as_proposal p = { 0 };
    for (int t = 0; t < ticks; t++) {
        p = kit_tick(k, load, *size, 0);
        assert_int_equal(p.kind, AS_WANT);
        assert_true(p.count >= 0 && p.count <= k->view.max);
        *size = p.count;
    }
    return p;
}

static void steady_load_needs_little_spare(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_auto, TEXT);
    k->view.lead = 30 * AS_SECOND;
    int size = 10;
    run(k, 790, 600, &size);
    assert_int_equal(size, 9); /* 7.9 / 0.9 = 8.8: headroom, and no spare for errors that do not happen */
    kit_free(k);
}

/* Enough of them for max: nothing new will be waited for. One too few: it may be. */
static void parked_instances_shorten_the_look_ahead_when_they_suffice(void **unused)
{
    (void)unused;
    for (int missing = 0; missing < 2; missing++) {
        struct kit *k = kit_new(&as_policy_auto, TEXT);
        k->view.lead = 60 * AS_SECOND;
        k->view.unpark_lead = AS_SECOND;
        struct as_proposal p = { 0 };
        for (int n = 0; n < 20; n++) {
            k->view.parked = k->view.max - 10 - missing;
            p = kit_tick(k, 790, 10, 0);
        }
        assert_non_null(strstr(p.reason, missing ? " in 1m" : " in 4s"));
        kit_free(k);
    }
}

static void more_load_never_wants_fewer(void **unused)
{
    (void)unused;
    int before = 0;
    for (int load = 50; load <= 3000; load += 50) {
        struct kit *k = kit_new(&as_policy_auto, TEXT);
        k->view.lead = 20 * AS_SECOND;
        int size = 1;
        run(k, load, 100, &size);
        assert_true(size >= before && size * 90 >= load);
        before = size;
        kit_free(k);
    }
}

static void out_at_once_in_only_after_the_hold(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_auto, TEXT "hold = \"1m\";");
    k->view.lead = 2 * AS_SECOND;
    int size = 3, waited = 0;
    run(k, 200, 300, &size);
    int small = size;
    assert_true(kit_want(k, 900, size, 0) > size); /* at once, if not all of it */
    run(k, 900, 300, &size); /* long enough that the rise itself, and what was bought for it, is over */
    assert_true(size >= 10);
    int large = size;
    while (size >= large && waited < 1000) {
        run(k, 200, 1, &size);
        waited++;
    }
    if (waited < 30 || waited >= 60)
        fail_msg("given back after %d ticks", waited); /* a minute is 30 of them */
    run(k, 200, 1000, &size);
    assert_int_equal(size, small);
    kit_free(k);
}

static void nothing_is_proposed_from_missing_data(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_auto, TEXT);
    kit_size(k, 4, 0);
    struct as_proposal p = kit_look(k);
    assert_int_equal(p.kind, AS_ABSTAIN);
    assert_true(p.blind);
    int size = 4;
    run(k, 350, 100, &size);
    k->view.now += AS_MINUTE; /* stale after 10 s */
    p = kit_look(k);
    assert_int_equal(p.kind, AS_ABSTAIN);
    assert_true(p.blind);
    k->view.now += 3 * AS_HOUR;
    p = kit_tick(k, 350, size, 0); /* back after the gap */
    assert_int_equal(p.kind, AS_WANT);
    assert_int_equal(p.count, size);
    kit_free(k);
}

static void partial_data_never_shrinks(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_auto, TEXT);
    int size = 10;
    run(k, 900, 100, &size);
    for (int t = 0; t < 200; t++) {
        k->view.now += 2000;
        series_push(k->series, k->view.now, 100, true);
        struct as_proposal p = kit_look(k);
        assert_true(p.blind && p.count >= size);
    }
    kit_free(k);
}

/* Three inputs: load, served, queue. */
static void full_units_show_what_they_carry(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_auto, TEXT "served = \"a.b\"; queue = \"a.c\";");
    struct as_series *served = series_new("a.b", 100, AS_MINUTE), *queue = series_new("a.c", 100, AS_MINUTE);
    const struct as_series *inputs[] = { k->series, served, queue };
    struct as_proposal p = { 0 };
    k->view.inputs = inputs;
    k->view.input_count = 3;
    k->view.lead = 10 * AS_SECOND;
    for (int t = 0; t < 100; t++) { /* 5 that carry 80 each, and always 500 waiting */
        series_push(served, k->view.now + 2000, 400, false);
        series_push(queue, k->view.now + 2000, t ? 500 : 0, false);
        p = kit_tick(k, 400, 5, 0);
    }
    assert_non_null(strstr(p.reason, "one carries 80"));
    assert_true(p.count > 5);
    kit_free(k);
    series_free(served);
    series_free(queue);
}

static void calm_near_the_limit_takes_from_the_headroom(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_auto, TEXT "queue = \"a.c\";");
    struct as_series *queue = series_new("a.c", 100, AS_MINUTE);
    const struct as_series *inputs[] = { k->series, NULL, queue };
    struct as_proposal p = { 0 };
    k->view.inputs = inputs;
    k->view.input_count = 3;
    for (int t = 0; t < 1000; t++) { /* 88 % used: with 10 % headroom 18 were needed for 1590 */
        series_push(queue, k->view.now + 2000, 0, false);
        p = kit_tick(k, t < 900 ? 1410 : 1530, 16, 0);
    }
    assert_int_equal(p.count, 16);
    for (int t = 0; t < 300; t++) { /* now they queue at the same use: it was too little */
        series_push(queue, k->view.now + 2000, 120, false);
        p = kit_tick(k, 1530, 16, 0);
    }
    assert_true(p.count > 16);
    kit_free(k);
    series_free(queue);
}

static void learnt_past_is_a_season(void **unused)
{
    (void)unused;
    static int64_t walls[3000];
    static double means[3000];
    struct kit *k = kit_new(&as_policy_auto, TEXT);
    k->view.now_wall = 1795000000000;
    k->view.lead = 5 * AS_MINUTE;
    for (int m = 0; m < 3000; m++) { /* each hour begins with ten busy minutes; the next one is in three */
        walls[m] = k->view.now_wall - (int64_t)(3000 - m) * AS_MINUTE;
        means[m] = (m + 57 + 60) % 60 < 10 ? 1000 : 300;
    }
    k->type->learn(k->state, 0, walls, means, 3000);
    int size = 4;
    struct as_proposal p = kit_tick(k, 300, size, 0);
    assert_int_equal(p.kind, AS_WANT);
    if (p.count < 7) /* twice of now, the most that a season may ask for, with headroom */
        fail_msg("%d: %s", p.count, p.reason);
    kit_free(k);
    k = kit_new(&as_policy_auto, TEXT);
    k->view.lead = 5 * AS_MINUTE;
    assert_int_equal(kit_tick(k, 300, size, 0).count, size); /* who knows no past expects nothing */
    kit_free(k);
}

static void same_input_same_proposals(void **unused)
{
    (void)unused;
    struct kit *a = kit_new(&as_policy_auto, TEXT), *b = kit_new(&as_policy_auto, TEXT);
    uint32_t random = 7;
    for (int t = 0; t < 2000; t++) {
        random = random * 1664525 + 1013904223;
        double load = 500 + (random >> 24) + 300 * sin(t / 50.0);
        struct as_proposal p = kit_tick(a, load, 8, t % 3), q = kit_tick(b, load, 8, t % 3);
        assert_int_equal(p.count, q.count);
        assert_string_equal(p.reason, q.reason);
    }
    kit_free(a);
    kit_free(b);
}

static void advice_is_only_shown(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_auto, TEXT "mode = \"advise\";");
    assert_true(kit_tick(k, 500, 2, 0).advice);
    kit_free(k);
    kit_refused(&as_policy_auto, "metric = \"a.b\";", "per_instance");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prior_is_laplace_worth_twenty_samples),
        cmocka_unit_test(rare_jumps_are_as_large_as_they_are),
        cmocka_unit_test(scale_follows_fast_and_slow),
        cmocka_unit_test(weights_survive_a_very_long_time),
        cmocka_unit_test(choice_is_the_cheapest_of_all),
        cmocka_unit_test(choice_by_hand),
        cmocka_unit_test(means_trends_and_path_by_hand),
        cmocka_unit_test(mix_weighs_by_loss_to_the_eighth),
        cmocka_unit_test(nobody_is_judged_by_what_was_not_measured),
        cmocka_unit_test(season_knows_yesterday),
        cmocka_unit_test(season_has_a_say_after_it_was_clearly_better_for_long),
        cmocka_unit_test(season_that_cannot_say_has_no_say),
        cmocka_unit_test(steady_load_needs_little_spare),
        cmocka_unit_test(parked_instances_shorten_the_look_ahead_when_they_suffice),
        cmocka_unit_test(more_load_never_wants_fewer),
        cmocka_unit_test(out_at_once_in_only_after_the_hold),
        cmocka_unit_test(nothing_is_proposed_from_missing_data),
        cmocka_unit_test(partial_data_never_shrinks),
        cmocka_unit_test(full_units_show_what_they_carry),
        cmocka_unit_test(calm_near_the_limit_takes_from_the_headroom),
        cmocka_unit_test(learnt_past_is_a_season),
        cmocka_unit_test(same_input_same_proposals),
        cmocka_unit_test(advice_is_only_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
