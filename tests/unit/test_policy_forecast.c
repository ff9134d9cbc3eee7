/* The season: its model against loads whose future is known exactly, then the policy that makes a floor of it. */
#include <math.h>
#include <time.h>

#include "../../policies/season_say.h"
#include "policy_kit.h"

extern const struct as_policy_type as_policy_forecast;

#define NEAR(a, b, e)                                                                                        \
    do {                                                                                                     \
        if (!(fabs((a) - (b)) <= (e)))                                                                       \
            fail_msg("%s is %.9g, not %.9g", #a, (double)(a), (double)(b));                                  \
    } while (0)

#define DAY_BINS 1440
#define BEGIN    (20500 * (int64_t)DAY_BINS) /* bin of 2026-02-16 00:00 UTC */

static struct tz *zone(const char *name)
{
    struct tz *tz = NULL;
    struct as_error err = { 0 };
    if (tz_load(name, &tz, &err))
        fail_msg("%s", err.msg);
    return tz;
}

static struct season model(const struct tz *tz, double quantile, int64_t lead)
{
    struct season s;
    struct as_error err;
    assert_int_equal(season_init(&s, &err), AS_OK);
    season_clock(&s, &(struct season_rules){ AS_MINUTE, AS_DAY, tz, quantile });
    season_lead(&s, lead);
    return s;
}

/* Straight lines between 100 in the night, 500 from 12 to 18 o'clock: a bin's mean of three is its own value. */
static double shop(int64_t minute)
{
    int64_t m = minute % DAY_BINS;
    double rise = (double)(m - 480) / 240, fall = (double)(1320 - m) / 240;
    return 100 + 400 * fmax(0, fmin(1, fmin(rise, fall)));
}

static uint32_t chance;

static double unit(void)
{
    chance = chance * 1664525 + 1013904223;
    return ((double)(chance >> 8) + 0.5) / 16777216;
}

static double normal(void)
{
    double u = unit(), v = unit();
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

static double pinball(double y, double said, double quantile)
{
    return y > said ? quantile * (y - said) : (1 - quantile) * (said - y);
}

static int64_t run_shop(struct season *s, int64_t from, int64_t bins)
{
    for (int64_t b = from; b < from + bins; b++)
        season_push(s, b, shop(b));
    return from + bins;
}

static int64_t bin_of(int month, int day, int hour, int minute) /* of 2026, UTC */
{
    struct tm tm = { .tm_year = 126, .tm_mon = month - 1, .tm_mday = day, .tm_hour = hour, .tm_min = minute };
    return (int64_t)timegm(&tm) / 60;
}

/* --- the same time of another day ------------------------------------------------------------------------------ */

static void days_of_23_and_25_hours_shift_nothing(void **unused)
{
    (void)unused;
    struct tz *tz = zone("Europe/Berlin");
    struct season s = model(tz, 0.9, 10);
    int64_t spring = bin_of(3, 29, 6, 0), autumn = bin_of(10, 25, 7, 0); /* 08:00 there */
    assert_int_equal(spring - season_same_time(&s, spring, 1), 23 * 60);
    assert_int_equal(spring - season_same_time(&s, spring, 7), 7 * DAY_BINS - 60);
    assert_int_equal(autumn - season_same_time(&s, autumn, 1), 25 * 60);
    assert_int_equal(autumn - season_same_time(&s, autumn, 28), 28 * DAY_BINS + 60);
    assert_int_equal(spring + DAY_BINS - season_same_time(&s, spring + DAY_BINS, 1), DAY_BINS);
    int64_t after = bin_of(3, 30, 0, 30); /* 02:30 of the 30th; the 29th had none: an hour to either side */
    int64_t then = season_same_time(&s, after, 1);
    assert_true(then == bin_of(3, 29, 0, 30) || then == bin_of(3, 29, 1, 30));
    after = bin_of(10, 26, 1, 30); /* the 25th had two of them */
    then = season_same_time(&s, after, 1);
    assert_true(then == bin_of(10, 25, 0, 30) || then == bin_of(10, 25, 1, 30));
    season_fini(&s);
    tz_free(tz);
}

static void without_a_zone_a_day_is_a_day_however_it_divides(void **unused)
{
    (void)unused;
    struct season s = model(NULL, 0.9, 1);
    assert_int_equal(season_same_time(&s, BEGIN, 3), BEGIN - 3 * DAY_BINS);
    season_clock(&s, &(struct season_rules){ 7000, 7000 * 100 + 3000, NULL, 0.9 });
    assert_int_equal(s.per_day, 100);
    assert_int_equal(season_same_time(&s, 100000, 1), 100000 - 100); /* 100.43 */
    assert_int_equal(season_same_time(&s, 100000, 7), 100000 - 703);
    season_fini(&s);
}

/* A shop that lives by Berlin's clock: on the day of the change its forecasts are as right as ever. */
static void forecast_is_exact_through_both_clock_changes(void **unused)
{
    (void)unused;
    const int64_t from[] = { bin_of(3, 21, 0, 0), bin_of(10, 17, 0, 0) };
    for (int change = 0; change < 2; change++)
        for (int local = 0; local < 2; local++) {
            struct tz *berlin = zone("Europe/Berlin");
            struct season s = model(local ? berlin : NULL, 0.9, 30);
            double worst = 0;
            for (int64_t b = from[change]; b < from[change] + 10 * DAY_BINS; b++) {
                double y = shop(b + tz_at(berlin, b * 60).offset / 60);
                const struct season_said *said = season_for(&s, b);
                int64_t hour =
                    b % DAY_BINS / 60; /* by daylight: the jump itself is in the flat of the night */
                if (said && b > from[change] + 8 * DAY_BINS && b < from[change] + 9 * DAY_BINS && hour > 3)
                    worst = fmax(worst, fabs(said->point - y));
                season_push(&s, b, y);
            }
            if (local)
                NEAR(worst, 0, 5); /* of 500: where the slope begins and ends, as means are taken */
            else
                assert_true(worst > 40); /* so the zone is what made it right */
            season_fini(&s);
            tz_free(berlin);
        }
}

/* --- forecasts -------------------------------------------------------------------------------------------------- */

static void experts_by_hand(void **unused)
{
    (void)unused;
    struct season s = model(NULL, 0.9, 30);
    int64_t now = run_shop(&s, BEGIN, 3 * DAY_BINS + 600); /* 10:00: 300, one hour later 400 */
    const struct season_said *said = season_for(&s, now - 1 + 30);
    assert_non_null(said);
    double level = said->f[SEASON_LEVEL], y = shop(said->due), then = shop(said->made);
    NEAR(said->f[SEASON_LAST], then, 1e-3);
    NEAR(said->f[SEASON_M5], shop(now - 3), 1e-3);
    NEAR(said->f[SEASON_M30], (shop(now - 15) + shop(now - 16)) / 2, 1e-3);
    assert_true(level <= then && level >= said->f[SEASON_M30]);
    NEAR(said->f[SEASON_DAY], y, 1e-3);
    NEAR(said->f[SEASON_CALM_DAY], y, 1e-3);
    NEAR(said->f[SEASON_LATELY], y, 1e-3);
    NEAR(said->season, y, 1e-3);
    NEAR(said->f[SEASON_USUAL], y, 1e-3);
    assert_false(said->has[SEASON_WEEK] || said->has[SEASON_WEEKS]);
    NEAR(said->f[SEASON_WEEK], level, 0); /* counts as persistence until it has a past */
    NEAR(said->point, y, 1);
    NEAR(said->soft, 0.02 * s.mean, 1e-9);
    assert_true(said->share > 0.999);
    season_fini(&s);
}

static void week_tells_what_the_day_cannot(void **unused)
{
    (void)unused;
    struct season s = model(NULL, 0.9, 60);
    double sunday = 0, n = 0;
    for (int64_t b = BEGIN; b < BEGIN + 21 * DAY_BINS; b++) { /* on each seventh day it rises twice as fast */
        double y = b / DAY_BINS % 7 == 6 ? 100 + 2 * (shop(b) - 100) : shop(b);
        const struct season_said *said = season_for(&s, b);
        if (b >= BEGIN + 15 * DAY_BINS && b / DAY_BINS % 7 == 6 && b % DAY_BINS >= 600 &&
            b % DAY_BINS < 660) {
            sunday += fabs(said->f[SEASON_WEEK] - y) / fabs(said->f[SEASON_DAY] - y);
            n++;
            assert_true(said->has[SEASON_WEEKS]);
        }
        season_push(&s, b, y);
    }
    NEAR(n, 60, 0);
    assert_true(sunday / n < 0.2);
    season_fini(&s);
}

/* One in ten is above the 90 % quantile, one in two above the 50 % one, whatever the noise. */
static void quantile_is_calibrated(void **unused)
{
    (void)unused;
    const double quantiles[] = { 0.5, 0.9, 0.98 };
    for (int k = 0; k < 3; k++) {
        struct season s = model(NULL, quantiles[k], 20);
        double below = 0, n = 0;
        chance = 7;
        for (int64_t b = BEGIN; b < BEGIN + 12 * DAY_BINS; b++) {
            double y = shop(b) * exp(0.1 * normal());
            const struct season_said *said = season_for(&s, b);
            if (b >= BEGIN + 3 * DAY_BINS) {
                below += y <= said->bound;
                n++;
            }
            season_push(&s, b, y);
        }
        NEAR(below / n, quantiles[k], 0.02);
        season_fini(&s);
    }
}

/* --- gaps and outages ---------------------------------------------------------------------------------------------- */

static void gap_is_no_zero(void **unused)
{
    (void)unused;
    struct season s = model(NULL, 0.9, 30);
    int64_t now = run_shop(&s, BEGIN, 4 * DAY_BINS + 660);
    season_push(&s, now + 119, NAN); /* two hours that nobody measured: one bin said, the others left out */
    assert_true(isnan(season_load(&s, now)) && isnan(season_load(&s, now + 119)));
    assert_null(season_for(&s, now + 119 + 30)); /* no level, no forecast */
    double mean = s.mean;
    now += 120;
    season_push(&s, now, shop(now));
    NEAR(s.mean, mean, 1);
    const struct season_said *said = season_for(&s, now + 30);
    NEAR(said->point, shop(said->due), 5);
    now = run_shop(&s, now + 1, DAY_BINS - 90); /* the gap is yesterday, just ahead */
    said = season_for(&s, now - 1 + 30);
    assert_false(said->has[SEASON_DAY]);
    assert_true(said->has[SEASON_LATELY]);
    NEAR(said->point, shop(said->due), 5);
    NEAR(season_usual(&s, said->due), shop(said->due), 5);
    season_fini(&s);
}

static void outage_becomes_no_season(void **unused)
{
    (void)unused;
    struct season s = model(NULL, 0.9, 30);
    int64_t noon = BEGIN + 5 * DAY_BINS + 720, now = run_shop(&s, BEGIN, 5 * DAY_BINS + 720);
    double score = s.score, count = s.count;
    for (; now < noon + 120; now++)
        season_push(&s, now, 20); /* of 500 */
    assert_true(season_is_odd(&s, noon) && season_is_odd(&s, now - 1));
    NEAR(s.score, score, 1e-12); /* nobody is judged by it */
    NEAR(s.count, count, 0);
    for (; now < noon + 128; now++)
        season_push(&s, now, 4000); /* all come back at once */
    assert_true(season_is_odd(&s, now - 1));
    now = run_shop(&s, now, DAY_BINS - 128 - 60); /* 11:00 of the next day */
    assert_true(s.open);
    for (; now < noon + DAY_BINS + 128; now++) {
        const struct season_said *said = season_for(&s, now);
        NEAR(said->point, shop(now), 5);
        season_push(&s, now, shop(now));
    }
    season_fini(&s);
}

static void what_shows_a_second_day_is_the_new_usual(void **unused)
{
    (void)unused;
    struct season s = model(NULL, 0.9, 30);
    int64_t now = BEGIN;
    for (int day = 0; day < 12; day++) /* from the sixth day on the shop is closed from 12 to 14 */
        for (int64_t m = 0; m < DAY_BINS; m++, now++) {
            bool closed = day >= 5 && m >= 720 && m < 840;
            season_push(&s, now, closed ? 5 : shop(now));
            if (m == 780)
                assert_int_equal(season_is_odd(&s, now), day == 5);
        }
    NEAR(season_usual(&s, now + 780), 5, 1e-3);
    season_fini(&s);
}

/* --- the gate --------------------------------------------------------------------------------------------------------- */

static void gate_opens_when_the_season_was_better_for_six_hours(void **unused)
{
    (void)unused;
    struct season s = model(NULL, 0.9, 30);
    int64_t now = run_shop(&s, BEGIN, DAY_BINS);
    assert_int_equal((int)s.count, 0);
    assert_false(s.open || season_is_learnt(&s));
    while (!s.open && now < BEGIN + 2 * DAY_BINS)
        now = run_shop(&s, now, 1);
    assert_true(season_is_learnt(&s));
    assert_in_range(now - BEGIN, DAY_BINS + 6 * 60,
                    DAY_BINS + 13 * 60); /* nothing to beat before the rise at 8 */
    assert_true(s.score < 0.97 * s.score_persists);
    run_shop(&s, now, BEGIN + 3 * DAY_BINS - now);
    assert_true(s.open && s.score < 0.5 * s.score_persists);
    season_fini(&s);
}

/* Chance looks like a season now and then; what is lost by believing it stays small. */
static void load_without_a_season_costs_little(void **unused)
{
    (void)unused;
    for (uint32_t seed = 1; seed <= 8; seed++) {
        struct season s = model(NULL, 0.9, 15);
        double walk = 0, mine = 0, theirs = 0, all = 0;
        chance = seed;
        for (int64_t b = BEGIN; b < BEGIN + 10 * DAY_BINS; b++) {
            walk += 0.01 * normal();
            double y = 100 * exp(walk);
            const struct season_said *said = season_for(&s, b);
            double loss = said ? pinball(y, said->persists, 0.9) : 0;
            all += loss;
            mine += s.open && said ? pinball(y, said->bound, 0.9) : 0;
            theirs += s.open ? loss : 0;
            season_push(&s, b, y);
        }
        if (mine - theirs > 0.02 * all)
            fail_msg("seed %u: %.1f%% worse than persistence", seed, 100 * (mine - theirs) / all);
        season_fini(&s);
    }
}

/* A season that breaks: the day that follows is flat, upside down, or another. While the gate is open its forecasts
 * may lose against persistence for an hour or so, not for long. */
static void gate_closes_when_the_season_breaks(void **unused)
{
    (void)unused;
    for (int kind = 0; kind < 3; kind++) {
        struct season s = model(NULL, 0.9, 30);
        int64_t now = BEGIN, high = 0;
        chance = 5;
        for (; now < BEGIN + 7 * DAY_BINS + 480; now++)
            season_push(&s, now, shop(now) * exp(0.02 * normal()));
        assert_true(s.open);
        for (int64_t m = 480; m < 2 * DAY_BINS; m++, now++) {
            double y = kind == 0 ? 150 : kind == 1 ? 600 - shop(now) : shop(now + 6 * 60);
            const struct season_said *said = season_for(&s, now);
            high += said && s.open && said->bound > 1.3 * fmax(y, said->persists);
            season_push(&s, now, y * exp(0.02 * normal()));
        }
        if (high > 150)
            fail_msg("kind %d: too high for %d minutes of 40 hours", kind, (int)high);
        season_fini(&s);
    }
}

/* --- the clock and the past ----------------------------------------------------------------------------------------- */

static void past_relived_is_the_past_lived(void **unused)
{
    (void)unused;
    struct season a = model(NULL, 0.9, 25), b = model(NULL, 0.9, 25);
    chance = 3;
    for (int64_t k = BEGIN; k < BEGIN + 6 * DAY_BINS + 600; k++) {
        double y = shop(k) * exp(0.05 * normal());
        season_push(&a, k, y);
        season_recall(&b, k, y);
    }
    assert_null(season_for(&b, b.newest + 5));
    season_lead(&b, 25);
    for (int64_t due = a.newest + 1; due <= a.newest + 25; due++) {
        const struct season_said *x = season_for(&a, due), *y = season_for(&b, due);
        assert_int_equal(x->made, y->made);
        NEAR(x->point, y->point, 0.005 * x->point);
        NEAR(x->bound, y->bound, 0.01 * x->bound);
    }
    assert_true(a.open && b.open);
    NEAR(a.score / a.score_persists, b.score / b.score_persists, 0.02);
    season_fini(&a);
    season_fini(&b);
}

static void another_lead_is_judged_anew_from_what_is_kept(void **unused)
{
    (void)unused;
    struct season s = model(NULL, 0.9, 3);
    int64_t now = run_shop(&s, BEGIN, 4 * DAY_BINS + 600);
    season_lead(&s, 60);
    assert_true(s.open && s.lead == 60);
    for (int64_t due = now; due <= now - 1 + 60; due++)
        NEAR(season_for(&s, due)->point, shop(due), 5);
    season_lead(&s, 1000000);
    assert_int_equal(s.lead, DAY_BINS / 2);
    season_fini(&s);
}

static void clock_set_back_takes_back_and_forward_leaves_a_gap(void **unused)
{
    (void)unused;
    struct season s = model(NULL, 0.9, 30);
    int64_t now = run_shop(&s, BEGIN, 4 * DAY_BINS + 600);
    season_push(&s, now + 300, shop(now)); /* five hours ahead by mistake */
    assert_true(isnan(season_load(&s, now + 100)));
    NEAR(season_load(&s, now + 300), shop(now), 1e-3);
    season_push(&s, now, shop(now));
    assert_int_equal(s.newest, now);
    assert_true(isnan(season_load(&s, now + 300)));
    assert_null(season_for(&s, now + 330)); /* what was said then is void */
    assert_non_null(season_for(&s, now + 29));
    now = run_shop(&s, now + 1, 60);
    NEAR(season_for(&s, now + 29)->point, shop(now + 29), 5);
    season_push(&s, now + 1000 * DAY_BINS, 100); /* years ahead: all is forgotten */
    assert_int_equal(season_history(&s), 1);
    assert_false(season_for(&s, s.newest + 30) && season_for(&s, s.newest + 30)->share > 0);
    season_push(&s, now, 100);
    assert_int_equal(season_history(&s), 1);
    season_fini(&s);
}

static void four_weeks_are_kept_and_no_more(void **unused)
{
    (void)unused;
    struct season s = model(NULL, 0.9, 5);
    run_shop(&s, BEGIN, 40 * DAY_BINS);
    assert_int_equal(season_history(&s), SEASON_DAYS * DAY_BINS);
    assert_true(isnan(season_load(&s, s.newest - SEASON_DAYS * DAY_BINS)));
    NEAR(season_load(&s, s.first), shop(s.first), 1e-3);
    season_fini(&s);
}

/* --- the policy ------------------------------------------------------------------------------------------------------ */

#define PLAIN "metric = \"lb.web.load\"; per_instance = 50.0; lead = \"28m\";"

struct past {
    int64_t walls[30 * DAY_BINS];
    double means[30 * DAY_BINS];
    size_t count;
};

/* A policy that was shown the load from `from` to `now`, as a clock shows it that is `zone`'s (NULL: UTC). */
static struct kit *learnt(const char *text, int64_t from, int64_t now, const struct tz *tz)
{
    struct kit *k = kit_new(&as_policy_forecast, text);
    struct past *p = calloc(1, sizeof *p);
    assert_non_null(p);
    for (int64_t b = from; b < now; b++) {
        p->walls[p->count] = b * AS_MINUTE;
        p->means[p->count++] = shop(b + (tz ? tz_at(tz, b * 60).offset / 60 : 0));
    }
    if (p->count)
        k->type->learn(k->state, 0, p->walls, p->means, p->count);
    free(p);
    k->view.now_wall = now * AS_MINUTE;
    k->view.lead = 10 * AS_SECOND;
    return k;
}

static struct kit *learnt_days(const char *text, int days, int minute)
{
    return learnt(text, BEGIN, BEGIN + days * DAY_BINS + minute, NULL);
}

static struct as_proposal minute_later(struct kit *k, double load)
{
    k->view.now += AS_MINUTE - 2000;
    k->view.now_wall += AS_MINUTE;
    return kit_tick(k, load, 4, 0);
}

static int floor_of(struct as_proposal p)
{
    if (p.kind != AS_FLOOR)
        fail_msg("no floor: %s", p.reason);
    return p.count;
}

static void says(struct as_proposal p, const char *part)
{
    if (!strstr(p.reason, part))
        fail_msg("\"%s\" does not say \"%s\"", p.reason, part);
}

static void floor_carries_the_load_one_lead_ahead(void **unused)
{
    (void)unused;
    struct kit *k = learnt_days(PLAIN, 5, 600);
    struct as_proposal p = kit_tick(k, shop(600), 4, 0);
    assert_int_equal(floor_of(p), 7); /* 10:29, the end of the minute in which they serve: 348 / 50 */
    assert_false(p.blind || p.advice);
    says(p, "lb.web.load 34");
    says(p, "in 29m, P90 3");
    says(p, "season 100%");
    says(p, "at least 7");
    for (int m = 601; m < 1439; m++) { /* never below what comes on the way, never far above */
        int count = floor_of(minute_later(k, shop(m)));
        double most = 0;
        for (int ahead = 0; ahead < 28; ahead++)
            most = fmax(most, shop(m + ahead));
        assert_in_range(count, (int)ceil(most / 50), (int)ceil(1.1 * most / 50));
    }
    kit_free(k);
}

static void headroom_and_the_measured_lead_count(void **unused)
{
    (void)unused;
    struct kit *k = learnt_days(PLAIN "headroom = \"20%\";", 5, 600);
    assert_int_equal(floor_of(kit_tick(k, shop(600), 4, 0)), 9); /* 348 / 40 */
    kit_free(k);
    k = learnt_days("metric = \"lb.web.load\"; per_instance = 50.0;", 5, 600);
    k->view.lead = 80 * AS_MINUTE; /* 11:21: 435 / 50 */
    assert_int_equal(floor_of(kit_tick(k, shop(600), 4, 0)), 9);
    k->view.lead = 70 * AS_MINUTE; /* not much less: kept */
    says(minute_later(k, shop(601)), "in 1h21m");
    k->view.lead = 10 * AS_MINUTE;
    says(minute_later(k, shop(602)), "in 11m");
    kit_free(k);
}

static void what_parked_instances_can_carry_in_time_is_not_ordered_yet(void **unused)
{
    (void)unused;
    struct kit *k = learnt_days("metric = \"lb.web.load\"; per_instance = 50.0;", 5, 610);
    k->view.lead = 28 * AS_MINUTE;
    k->view.unpark_lead = 3 * AS_SECOND;
    k->view.parked = 4;
    assert_int_equal(floor_of(kit_tick(k, shop(610), 4, 0)), 7); /* 10:11, of 8 with the four: 318 / 50 */
    k->view.parked = 3;
    assert_int_equal(floor_of(minute_later(k, shop(611))), 8); /* one is to be made: 10:40, 366 / 50 */
    kit_free(k);
}

static void advice_is_shown_and_never_acted_upon(void **unused)
{
    (void)unused;
    struct kit *k = learnt_days(PLAIN "mode = \"advise\";", 5, 600);
    struct as_proposal p = kit_tick(k, shop(600), 4, 0);
    assert_int_equal(floor_of(p), 7);
    assert_true(p.advice);
    kit_free(k);
    k = learnt_days(PLAIN "mode = \"advise\";", 0, 600);
    assert_true(kit_tick(k, shop(600), 4, 0).advice);
    kit_free(k);
}

static void cold_start_learns_before_it_speaks(void **unused)
{
    (void)unused;
    struct kit *k = learnt(PLAIN, BEGIN + 600, BEGIN + 600, NULL);
    struct as_proposal p = kit_tick(k, shop(600), 4, 0);
    assert_int_equal(p.kind, AS_ABSTAIN);
    assert_false(p.blind);
    says(p, "learning");
    int m = 601;
    for (; m < 600 + DAY_BINS + 6 * 60; m++) {
        p = minute_later(k, shop(m));
        if (p.kind != AS_ABSTAIN)
            fail_msg("%d: %s", m, p.reason);
    }
    says(p, "learning: 1d5h of lb.web.load known");
    says(p, "takes 1d, and 6h of them");
    for (; m < 2 * DAY_BINS + 600; m++) /* the rise of the third day */
        p = minute_later(k, shop(m));
    assert_int_equal(floor_of(p), 7);
    kit_free(k);
}

static void gate_that_is_closed_says_by_how_much(void **unused)
{
    (void)unused;
    struct kit *k = learnt_days(PLAIN, 5, 480);
    struct as_proposal p = kit_tick(k, 100, 4, 0);
    assert_int_equal(p.kind, AS_FLOOR);
    int high = 0, closed = 0;
    for (int m = 481; m < 480 + DAY_BINS; m++) { /* the shop opens six hours late that day */
        p = minute_later(k, shop(m + DAY_BINS - 360));
        high += p.kind == AS_FLOOR && p.count > 1 + 1.3 * shop(m + DAY_BINS - 360 + 30) / 50;
        if (p.kind != AS_ABSTAIN)
            continue;
        closed++;
        says(p, "gate closed");
        says(p, "times as much as persistence");
        assert_false(p.blind);
    }
    if (high >= 60 || closed < 60)
        fail_msg("too high for %d minutes, closed for %d", high, closed);
    kit_free(k);
}

static void what_was_said_holds_while_the_metric_is_silent(void **unused)
{
    (void)unused;
    struct kit *k = learnt_days(PLAIN, 5, 600);
    int count = floor_of(kit_tick(k, shop(600), 4, 0));
    for (int m = 601; m < 660; m++) {
        k->view.now += AS_MINUTE;
        k->view.now_wall += AS_MINUTE;
        struct as_proposal p = kit_look(k);
        assert_true(p.blind);
        if (m < 600 + 29)
            assert_in_range(floor_of(p), count, count + 1); /* for five minutes there still is a level */
        else if (m > 600 + 29 + 5)
            assert_int_equal(p.kind, AS_ABSTAIN);
    }
    says(kit_look(k), "no data: lb.web.load is stale");
    struct as_proposal p = minute_later(k, shop(660));
    assert_int_equal(p.kind, AS_ABSTAIN); /* a minute has to be over first */
    says(p, "not measured in the last 5 minutes");
    assert_in_range(floor_of(minute_later(k, shop(661))), 9, 10); /* 11:30: 450 */
    kit_free(k);
}

static void partial_data_is_learnt_from_by_nobody(void **unused)
{
    (void)unused;
    struct kit *k = learnt_days(PLAIN, 5, 600);
    int count = floor_of(kit_tick(k, shop(600), 4, 0));
    for (int m = 601; m < 604; m++) {
        k->view.now += AS_MINUTE;
        k->view.now_wall += AS_MINUTE;
        series_push(k->series, k->view.now, 10, true);
        struct as_proposal p = kit_look(k);
        assert_true(p.blind);
        assert_in_range(floor_of(p), count, count + 1);
    }
    assert_in_range(floor_of(minute_later(k, shop(604))), count, count + 1);
    kit_free(k);
}

static void shop_opens_by_its_own_clock_on_the_day_it_changes(void **unused)
{
    (void)unused;
    const int64_t mornings[] = { bin_of(3, 29, 6, 1), bin_of(10, 25, 7, 1) }; /* 08:01 in Berlin */
    for (int k = 0; k < 2; k++) {
        struct tz *berlin = zone("Europe/Berlin");
        struct kit *right = learnt(PLAIN "timezone = \"Europe/Berlin\";", mornings[k] - 9 * DAY_BINS,
                                   mornings[k], berlin),
                   *wrong = learnt(PLAIN, mornings[k] - 9 * DAY_BINS, mornings[k], berlin);
        assert_int_equal(floor_of(kit_tick(right, shop(481), 4, 0)), 4); /* 08:30: 150 */
        struct as_proposal p = kit_tick(wrong, shop(481), 4, 0);
        assert_true(p.kind == AS_ABSTAIN || p.count < 4); /* an hour early or late there is no such rise */
        kit_free(right);
        kit_free(wrong);
        tz_free(berlin);
    }
}

static void compressed_day_has_a_season_too(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_forecast,
                            "metric = \"lb.web.load\"; per_instance = 50.0; day = \"2h\"; lead = \"140s\";");
    struct as_proposal p = { 0 };
    k->view.interval = 5000;
    k->view.now_wall = 1795000000000;
    for (int m = 0; m < 3 * DAY_BINS + 600; m++) { /* a minute of the day is 5 s */
        k->view.now += 3000;
        k->view.now_wall += 5000;
        p = kit_tick(k, shop(m), 4, 0);
    }
    assert_int_equal(floor_of(p), 7);
    kit_free(k);
}

static void interval_longer_than_a_minute_has_longer_bins(void **unused)
{
    (void)unused;
    struct kit *k = learnt_days(PLAIN, 5, 600);
    k->view.interval = 5 * AS_MINUTE;
    assert_in_range(floor_of(kit_tick(k, shop(600), 4, 0)), 7, 8);
    kit_free(k);
}

static void what_cannot_be_is_refused(void **unused)
{
    (void)unused;
    kit_refused(&as_policy_forecast, "metric = \"lb.web.load\";", "per_instance");
    kit_refused(&as_policy_forecast, PLAIN "timezone = \"Mars/Olympus\";", "Mars/Olympus");
    kit_refused(&as_policy_forecast, PLAIN "timezone = \"Europe/Berlin\"; day = \"2h\";",
                "needs a day of 1d");
    kit_refused(&as_policy_forecast, PLAIN "quantile = \"100%\";", "quantile");
    kit_refused(&as_policy_forecast, PLAIN "mode = \"on\";", "mode");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(days_of_23_and_25_hours_shift_nothing),
        cmocka_unit_test(without_a_zone_a_day_is_a_day_however_it_divides),
        cmocka_unit_test(forecast_is_exact_through_both_clock_changes),
        cmocka_unit_test(experts_by_hand),
        cmocka_unit_test(week_tells_what_the_day_cannot),
        cmocka_unit_test(quantile_is_calibrated),
        cmocka_unit_test(gap_is_no_zero),
        cmocka_unit_test(outage_becomes_no_season),
        cmocka_unit_test(what_shows_a_second_day_is_the_new_usual),
        cmocka_unit_test(gate_opens_when_the_season_was_better_for_six_hours),
        cmocka_unit_test(load_without_a_season_costs_little),
        cmocka_unit_test(gate_closes_when_the_season_breaks),
        cmocka_unit_test(past_relived_is_the_past_lived),
        cmocka_unit_test(another_lead_is_judged_anew_from_what_is_kept),
        cmocka_unit_test(clock_set_back_takes_back_and_forward_leaves_a_gap),
        cmocka_unit_test(four_weeks_are_kept_and_no_more),
        cmocka_unit_test(floor_carries_the_load_one_lead_ahead),
        cmocka_unit_test(headroom_and_the_measured_lead_count),
        cmocka_unit_test(what_parked_instances_can_carry_in_time_is_not_ordered_yet),
        cmocka_unit_test(advice_is_shown_and_never_acted_upon),
        cmocka_unit_test(cold_start_learns_before_it_speaks),
        cmocka_unit_test(gate_that_is_closed_says_by_how_much),
        cmocka_unit_test(what_was_said_holds_while_the_metric_is_silent),
        cmocka_unit_test(partial_data_is_learnt_from_by_nobody),
        cmocka_unit_test(shop_opens_by_its_own_clock_on_the_day_it_changes),
        cmocka_unit_test(compressed_day_has_a_season_too),
        cmocka_unit_test(interval_longer_than_a_minute_has_longer_bins),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
