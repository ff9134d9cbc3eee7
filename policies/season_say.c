/* The experts of the season model. Must never use a bin that lies ahead of the newest, nor an odd one as a season. */
#include <math.h>
#include <stdlib.h>

#include "season_say.h"

#define RATIO_MOST 5.0
#define LOSS_LEAST 1e-9
#define SMOOTH     1  /* bins to each side that a season is the mean of: more would blunt what is steep */
#define CALM       30 /* newest bins of a calm look, as long as the longest of persistence */
#define DAYS       7
#define WEEKS      4

/* --- the same time on another day --------------------------------------------------------------------------- */

int64_t season_same_time(const struct season *s, int64_t bin, int days)
{
    int64_t day = (int64_t)days * s->day;
    if (!s->tz)
        return bin - (day + s->bin / 2) / s->bin;
    int64_t t = bin * s->bin / 1000, shown = t + tz_at(s->tz, t).offset - day / 1000;
    int64_t then = shown - tz_at(s->tz, t).offset;
    then = shown - tz_at(s->tz, then).offset; /* the offset of then, not of now */
    return bin - ((t - then) * 1000 + s->bin / 2) / s->bin;
}

/* Mean about a bin; NAN unless most of it is known and as usual. */
static double about(const struct season *s, int64_t bin)
{
    int known = 0;
    double sum = 0;
    for (int64_t b = bin - SMOOTH; b <= bin + SMOOTH; b++) {
        double y = season_load(s, b);
        if (isnan(y) || season_is_odd(s, b))
            continue;
        sum += y;
        known++;
    }
    return known > SMOOTH ? sum / known : NAN;
}

/* What the newest `base` bins were, times the growth from the same ones of that day to the time of `due`. Both are taken
 * from the same bins, as a mean lags on a slope. */
static double grown(const struct season *s, const struct season_said *said, int64_t base, int days)
{
    int64_t then = season_same_time(s, s->newest, days), known = 0;
    double now_sum = 0, then_sum = 0, after = about(s, season_same_time(s, said->due, days));
    for (int64_t k = 0; k < base; k++) {
        double y = season_load(s, s->newest - k), x = season_load(s, then - k);
        if (isnan(x) || isnan(y) || season_is_odd(s, then - k) || (k && season_is_odd(s, s->newest - k)))
            continue;
        now_sum += y + said->soft;
        then_sum += x + said->soft;
        known++;
    }
    if (known * 2 <= base || isnan(after))
        return NAN;
    double r = (after + said->soft) * (double)known / then_sum;
    return now_sum / (double)known * fmin(RATIO_MOST, fmax(1 / RATIO_MOST, r)) - said->soft;
}

/* --- experts --------------------------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n, int least)
{
    if (n < least)
        return NAN;
    qsort(v, (size_t)n, sizeof *v, ascending);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

double season_usual(const struct season *s, int64_t bin)
{
    double v[DAYS];
    int n = 0;
    for (int d = 1; d <= DAYS; d++) {
        double y = about(s, season_same_time(s, bin, d));
        if (!isnan(y))
            v[n++] = y;
    }
    return median(v, n, 3);
}

static void say(struct season_said *said, enum season_expert e, double f)
{
    said->has[e] = !isnan(f);
    said->f[e] = said->has[e] ? fmax(0, f) : said->f[SEASON_LEVEL];
}

/* Mean of the newest bins that were measured. */
static double newest_mean(const struct season *s, int64_t bins)
{
    double sum = 0;
    int64_t n = 0;
    for (int64_t b = s->newest; b > s->newest - bins; b--)
        if (!isnan(season_load(s, b))) {
            sum += season_load(s, b);
            n++;
        }
    return n ? sum / (double)n : NAN;
}

static double weight_of(const struct season *s, int k)
{
    double l = fmax(s->loss[k], LOSS_LEAST * (s->mean + 1)), l2 = l * l, l4 = l2 * l2;
    return 1 / (l4 * l4);
}

/* Mean of experts first..last by loss^-8, of those that speak; NAN: none does. */
static double mix(const struct season *s, const struct season_said *said, int first, int last)
{
    double sum = 0, all = 0;
    for (int k = first; k <= last; k++) {
        double w = said->has[k] ? weight_of(s, k) : 0;
        sum += w * said->f[k];
        all += w;
    }
    return all > 0 ? sum / all : NAN;
}

static void say_persistence(const struct season *s, struct season_said *said, double last)
{
    double m5 = newest_mean(s, 5);
    said->f[SEASON_LAST] = isnan(last) ? m5 : last;
    said->f[SEASON_M5] = m5;
    said->f[SEASON_M30] = newest_mean(s, CALM);
    for (int k = 0; k <= SEASON_LEVEL; k++)
        said->has[k] = true;
    said->f[SEASON_LEVEL] = mix(s, said, SEASON_LAST, SEASON_M30);
}

static void say_season(const struct season *s, struct season_said *said, enum season_expert first,
                       int64_t base)
{
    double one[DAYS + 1], day[DAYS], week[WEEKS];
    int days = 0, weeks = 0;
    for (int d = 1; d <= DAYS; d++) {
        one[d] = grown(s, said, base, d);
        if (!isnan(one[d]))
            day[days++] = one[d];
    }
    for (int w = 1; w <= WEEKS; w++) {
        double f = w == 1 ? one[DAYS] : grown(s, said, base, 7 * w);
        if (!isnan(f))
            week[weeks++] = f;
    }
    say(said, first, one[1]);
    say(said, first + 1, one[DAYS]);
    say(said, first + 2, median(day, days, 3));
    say(said, first + 3, median(week, weeks, 2));
}

static void say_seasons(const struct season *s, struct season_said *said)
{
    say_season(s, said, SEASON_DAY, 1);
    say_season(s, said, SEASON_CALM_DAY, CALM);
    say(said, SEASON_USUAL, season_usual(s, said->due));
}

/* How far the load went where the season said it would: by least squares, newer looks weigh more. Where the season
 * expects no change it proves nothing, so a quiet night does not talk it down. */
static double trust(const struct season *s)
{
    return s->expected > 0 ? fmin(1, fmax(0, s->followed / s->expected)) : 0;
}

bool season_experts(const struct season *s, struct season_said *said)
{
    double last = newest_mean(s, 1), recent = newest_mean(s, 5);
    if (isnan(recent)) /* a level of long ago is none */
        return false;
    say_persistence(s, said, last);
    say_seasons(s, said);
    said->season = mix(s, said, SEASON_DAY, SEASON_USUAL);
    said->share = isnan(said->season) ? 0 : trust(s);
    said->point = said->f[SEASON_LEVEL];
    if (said->share > 0)
        said->point += said->share * (said->season - said->point);
    return true;
}
