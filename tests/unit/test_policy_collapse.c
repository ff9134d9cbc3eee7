/* The collapse guard: an outage is told from a trough, and the size kept through the storm that follows. */
#include "policy_kit.h"

extern const struct as_policy_type as_policy_guard;

#define GUARD "metric = \"lb.web.load\"; errors = \"lb.web.errors\"; window = \"5m\"; hold = \"10m\";"

struct shop {
    struct kit *k;
    struct as_series *errors;
    int serving, pending;
};

static struct shop shop_new(const char *text)
{
    struct shop s = { .k = kit_new(&as_policy_guard, text),
                      .errors = series_new("lb.web.errors", 100, 10 * AS_SECOND),
                      .serving = 10 };
    assert_non_null(s.errors);
    s.k->inputs[1] = s.errors;
    s.k->view.input_count = 2;
    return s;
}

static void shop_free(struct shop *s)
{
    kit_free(s->k);
    series_free(s->errors);
}

/* So many seconds of ticks; the last proposal. */
static struct as_proposal shop_run(struct shop *s, int seconds, double traffic, double errors)
{
    struct as_proposal p = { 0 };
    for (int i = 0; i < seconds; i += 2) {
        series_push(s->errors, s->k->view.now + 2000, errors, false);
        p = kit_tick(s->k, traffic, s->serving, s->pending);
        assert_true(p.kind == AS_FLOOR || p.kind == AS_ABSTAIN); /* never a count, never a ceiling */
    }
    return p;
}

static void calm_traffic_raises_nothing(void **unused)
{
    (void)unused;
    struct shop s = shop_new(GUARD);
    struct as_proposal p = shop_run(&s, 600, 100, 0.2);
    assert_int_equal(p.kind, AS_FLOOR);
    assert_int_equal(p.count, 0);
    assert_false(p.blind);
    assert_string_equal(p.reason, "calm: lb.web.load 100, usual 100");
    shop_free(&s);
}

static void fall_with_errors_keeps_the_size_through_the_storm(void **unused)
{
    (void)unused;
    struct shop s = shop_new(GUARD);
    shop_run(&s, 300, 100, 0.2);
    struct as_proposal p = shop_run(&s, 2, 20, 5);
    assert_int_equal(p.count, 10);
    assert_string_equal(
        p.reason, "outage, not a trough: lb.web.load fell from 100 with errors rising, now 20: keeping 10 "
                  "for the retries, 10m more");
    assert_int_equal(shop_run(&s, 1800, 20, 5).count, 10); /* as long as it lasts */
    assert_int_equal(shop_run(&s, 590, 150, 1).count, 10); /* and through the storm */
    assert_int_equal(shop_run(&s, 20, 110, 0.2).count, 0);
    shop_free(&s);
}

static void errors_that_follow_the_fall_are_waited_for(void **unused)
{
    (void)unused;
    struct shop s = shop_new(GUARD);
    shop_run(&s, 300, 100, 0);
    struct as_proposal p = shop_run(&s, 60, 20, 0);
    assert_int_equal(p.count, 10);
    assert_non_null(strstr(p.reason, "keeping 10 to see whether errors follow, 1m02s more"));
    s.serving = 9; /* someone else shrinks it: the size before the fall counts */
    p = shop_run(&s, 2, 20, 30);
    assert_int_equal(p.count, 10);
    assert_non_null(strstr(p.reason, "outage"));
    shop_free(&s);
}

static void trough_without_errors_is_let_go(void **unused)
{
    (void)unused;
    struct shop s = shop_new(GUARD);
    shop_run(&s, 300, 1000, 2);
    assert_int_equal(shop_run(&s, 110, 100, 0.2).count, 10); /* the end of a sale */
    struct as_proposal p = shop_run(&s, 20, 100, 0.2);
    assert_int_equal(p.count, 0);
    assert_string_equal(p.reason, "calm: lb.web.load 100, usual 100"); /* taken for the new usual */
    s.serving = 2;
    assert_int_equal(shop_run(&s, 600, 100, 0.2).count, 0);
    shop_free(&s);
}

static void slow_decline_is_never_a_collapse(void **unused)
{
    (void)unused;
    struct shop s = shop_new(GUARD);
    shop_run(&s, 600, 100, 1);
    for (double load = 100; load > 5; load *= 0.998)
        assert_int_equal(shop_run(&s, 2, load, 1).count, 0); /* halves in 12 minutes, and the errors stay */
    shop_free(&s);
}

static void missing_servers_are_evidence(void **unused)
{
    (void)unused;
    struct shop s = shop_new(GUARD);
    shop_run(&s, 300, 100, 0);
    s.serving = 4;
    s.pending = 6; /* their replacements */
    struct as_proposal p = shop_run(&s, 2, 30, 0);
    assert_int_equal(p.count, 10);
    assert_non_null(strstr(p.reason, "with servers missing"));
    shop_free(&s);
}

static void zero_from_a_source_that_never_gave_one_is_one_sign(void **unused)
{
    (void)unused;
    struct shop s = shop_new(GUARD);
    shop_run(&s, 300, 100, 0);
    struct as_proposal p = shop_run(&s, 2, 0, 0);
    assert_int_equal(p.count, 10);
    assert_non_null(strstr(p.reason, "exact 0, which this source never gave"));
    assert_int_equal(shop_run(&s, 590, 0, 0).count, 10);
    assert_int_equal(shop_run(&s, 20, 0, 0).count, 0); /* a shop that has closed shrinks at last */
    shop_run(&s, 400, 100, 0);
    p = shop_run(&s, 130, 0, 0); /* now it is known for zeros: a doubt, and no more */
    assert_int_equal(p.count, 0);
    shop_free(&s);
}

static void few_errors_are_none(void **unused)
{
    (void)unused;
    struct shop s = shop_new(GUARD);
    shop_run(&s, 300, 100, 0);
    assert_null(strstr(shop_run(&s, 2, 20, 0.9).reason, "outage")); /* below 1 % of 100 */
    assert_non_null(strstr(shop_run(&s, 2, 20, 1.1).reason, "outage"));
    shop_free(&s);
    s = shop_new(GUARD "errors_from = 10.0;");
    shop_run(&s, 300, 100, 0);
    assert_null(strstr(shop_run(&s, 2, 20, 9).reason, "outage"));
    assert_non_null(strstr(shop_run(&s, 2, 20, 10).reason, "outage"));
    shop_free(&s);
}

static void short_history_judges_nothing(void **unused)
{
    (void)unused;
    struct shop s = shop_new(GUARD);
    shop_run(&s, 40, 100, 0);
    assert_int_equal(shop_run(&s, 2, 0, 50).count, 0);
    shop_free(&s);
}

static void lost_data_is_blind_and_keeps_the_hold_no_longer(void **unused)
{
    (void)unused;
    struct shop s = shop_new(GUARD);
    struct as_proposal p = kit_look(s.k);
    assert_int_equal(p.kind, AS_ABSTAIN);
    assert_true(p.blind);
    shop_run(&s, 300, 100, 0);
    shop_run(&s, 2, 20, 5);
    s.k->view.now += 60 * AS_SECOND;
    p = kit_look(s.k);
    assert_int_equal(p.kind, AS_FLOOR);
    assert_int_equal(p.count, 10);
    assert_true(p.blind);
    s.k->view.now += 540 * AS_SECOND;
    p = kit_look(s.k);
    assert_int_equal(p.kind, AS_ABSTAIN);
    assert_true(p.blind);
    shop_free(&s);
}

static void contradictory_settings_are_refused(void **unused)
{
    (void)unused;
    kit_refused(&as_policy_guard, "errors = \"lb.web.errors\";", "metric");
    kit_refused(&as_policy_guard, "metric = \"lb.web.load\"; errors_from = 1.0;", "needs errors");
    kit_refused(&as_policy_guard, GUARD "fall = \"100%\";", "fall");
}

/* --- by its season -------------------------------------------------------------------------------------------------- */

#define SEASON_DAYS_SEEN 5
#define NOON             (20500 * (int64_t)1440 + 720) /* minute of a day */

/* 500 from 8 to 22 o'clock, 100 in the night: steep, and every day. */
static double daily(int64_t minute)
{
    int64_t m = minute % 1440;
    return m >= 480 && m < 1320 ? 500 : 100;
}

static struct shop shop_of_days(const char *text, int64_t minute)
{
    static int64_t walls[SEASON_DAYS_SEEN * 1440];
    static double means[SEASON_DAYS_SEEN * 1440];
    struct shop s = shop_new(text);
    for (int k = 0; k < SEASON_DAYS_SEEN * 1440; k++) {
        walls[k] = (minute - SEASON_DAYS_SEEN * 1440 + k) * AS_MINUTE;
        means[k] = daily(walls[k] / AS_MINUTE);
    }
    s.k->type->learn(s.k->state, 0, walls, means, SEASON_DAYS_SEEN * 1440);
    s.k->view.now_wall = minute * AS_MINUTE;
    return s;
}

static struct as_proposal shop_minute(struct shop *s, double traffic, double errors)
{
    struct as_proposal p = { 0 };
    for (int i = 0; i < 60; i += 2) {
        s->k->view.now_wall += 2000;
        p = shop_run(s, 2, traffic, errors);
    }
    return p;
}

static void trough_of_every_day_is_no_fall_even_while_servers_are_replaced(void **unused)
{
    (void)unused;
    for (int season = 0; season < 2; season++) {
        struct shop s = shop_of_days(season ? GUARD : GUARD "season = false;", NOON + 570); /* 21:30 */
        struct as_proposal p = { 0 };
        for (int64_t m = 0; m < 28; m++)
            p = shop_minute(&s, daily(NOON + 570 + m), 0);
        assert_int_equal(p.count, 0);
        assert_non_null(strstr(p.reason, season ? "forecast 100" : "usual 500")); /* as it is soon */
        s.serving = 7;
        s.pending = 3;
        for (int64_t m = 28; m < 34; m++)
            p = shop_minute(&s, daily(NOON + 570 + m), 0);
        assert_int_equal(p.count, season ? 0 : 10);
        shop_free(&s);
    }
}

static void outage_that_comes_slowly_is_seen_by_the_season(void **unused)
{
    (void)unused;
    for (int season = 0; season < 2; season++) {
        struct shop s = shop_of_days(season ? GUARD : GUARD "season = false;", NOON);
        struct as_proposal p = { 0 };
        for (int m = 0; m < 10; m++)
            p = shop_minute(&s, 500, 0.5);
        for (int m = 0; m < 60; m++) /* 6 less every minute, in 5 minutes never near half */
            p = shop_minute(&s, 500 - 6 * m, m < 40 ? 0.5 : 30);
        assert_int_equal(p.count, season ? 10 : 0);
        if (season)
            assert_non_null(strstr(p.reason, "fell from 500 with errors rising"));
        for (int m = 0; m < 14 && season; m++) /* through the night it would be held as long as errors show */
            p = shop_minute(&s, 500, 0.5);
        assert_int_equal(p.count, 0);
        shop_free(&s);
    }
}

static void quiet_day_is_doubted_once_and_not_held(void **unused)
{
    (void)unused;
    struct shop s = shop_of_days(GUARD, NOON);
    int held = 0;
    for (int m = 0; m < 10; m++)
        shop_minute(&s, 500, 0);
    for (int m = 0; m < 240; m++)
        held += shop_minute(&s, 150, 0).count > 0;
    assert_in_range(held, 1, 5);
    for (int m = 0; m < 60; m++) /* back, and away again: once more */
        shop_minute(&s, 500, 0);
    assert_int_equal(shop_minute(&s, 20, 0).count, 10);
    shop_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calm_traffic_raises_nothing),
        cmocka_unit_test(fall_with_errors_keeps_the_size_through_the_storm),
        cmocka_unit_test(errors_that_follow_the_fall_are_waited_for),
        cmocka_unit_test(trough_without_errors_is_let_go),
        cmocka_unit_test(slow_decline_is_never_a_collapse),
        cmocka_unit_test(missing_servers_are_evidence),
        cmocka_unit_test(zero_from_a_source_that_never_gave_one_is_one_sign),
        cmocka_unit_test(few_errors_are_none),
        cmocka_unit_test(short_history_judges_nothing),
        cmocka_unit_test(lost_data_is_blind_and_keeps_the_hold_no_longer),
        cmocka_unit_test(contradictory_settings_are_refused),
        cmocka_unit_test(trough_of_every_day_is_no_fall_even_while_servers_are_replaced),
        cmocka_unit_test(outage_that_comes_slowly_is_seen_by_the_season),
        cmocka_unit_test(quiet_day_is_doubted_once_and_not_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
