/* Forecasts and their judges. A season or a trend gets weight only while it beats persistence at this very lead; an
 * expert must never be judged by a value that was not measured. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "auto_experts.h"

#define LOSS_HALF_LIFE (30 * AS_MINUTE)
#define LOSS_LEAST     1e-6
#define RATIO_MOST     2.0
#define TRIAL_LIFE                                                                                           \
    (12 * AS_HOUR)         /* half-life of the comparison of the mix with and without the season      */
#define TRIAL_LEAST   0.2  /* weight that it must rest on before it is believed                       */
#define TRIAL_CLEARLY 0.95 /* errors that must be so much smaller before the season has a say         */

int experts_init(struct experts *e, struct as_error *err)
{
    *e = (struct experts){ .x = calloc(EXPERTS_RING, sizeof(double)),
                           .sum = calloc(EXPERTS_RING, sizeof(double)),
                           .season = calloc(EXPERTS_SEASON, sizeof(double)),
                           .said = calloc(EXPERTS_LEAD_MOST + 1, sizeof(struct said)) };
    if (e->x && e->sum && e->season && e->said)
        return AS_OK;
    experts_fini(e);
    return as_fail(err, AS_ENOMEM, "out of memory");
}

void experts_fini(struct experts *e)
{
    free(e->x);
    free(e->sum);
    free(e->season);
    free(e->said);
    *e = (struct experts){ 0 };
}

void experts_clock(struct experts *e, as_time tick, as_time day)
{
    e->tick = tick;
    e->day = day;
    e->count = e->buckets = 0;
    e->per_bucket = tick < EXPERTS_BUCKET ? EXPERTS_BUCKET / tick : 1;
    e->total = e->judged = 0;
    e->expected = NAN;
    e->trial = (struct trial){ 0 };
    for (int k = 0; k <= EXPERTS_LEAD_MOST; k++)
        e->said[k].due = -1;
    memset(e->loss, 0, sizeof e->loss);
}

double experts_share(as_time tick, as_time half_life)
{
    return 1 - exp2(-(double)tick / (double)half_life);
}

/* --- the past ----------------------------------------------------------------------------------------------- */

static double sum_until(const struct experts *e, int64_t tick) /* of all ticks up to and with this one */
{
    return tick < 0 ? 0 : e->sum[tick % EXPERTS_RING];
}

static double mean_of(const struct experts *e, int64_t from,
                      int64_t ticks) /* ticks from .. from + ticks - 1 */
{
    return (sum_until(e, from + ticks - 1) - sum_until(e, from - 1)) / (double)ticks;
}

static int64_t kept(const struct experts *e)
{
    return e->count < EXPERTS_RING - 1 ? e->count : EXPERTS_RING - 1;
}

static int64_t ticks_of(const struct experts *e, as_time span)
{
    int64_t n = (span + e->tick / 2) / e->tick;
    return n < 1 ? 1 : n;
}

double experts_mean(const struct experts *e, as_time span)
{
    int64_t n = ticks_of(e, span), most = kept(e);
    n = n < most ? n : most;
    return n > 0 ? fmax(0, mean_of(e, e->count - n, n)) : 0;
}

double experts_highest(const struct experts *e, int64_t ticks)
{
    double highest = 0;
    int64_t n = ticks < kept(e) ? ticks : kept(e);
    for (int64_t k = e->count - n; k < e->count; k++)
        highest = fmax(highest, e->x[k % EXPERTS_RING]);
    return highest;
}

/* Load of all ticks before this instant (in ticks); NAN when it is forgotten or yet to come. */
static double season_until(const struct experts *e, double instant)
{
    double at = instant / (double)e->per_bucket;
    int64_t k = (int64_t)floor(at), oldest = e->buckets > EXPERTS_SEASON ? e->buckets - EXPERTS_SEASON : 0;
    double part = at - (double)k;
    if (at < 0 || k - 1 < oldest - (oldest == 0) || k + (part > 0) > e->buckets)
        return NAN;
    double before = k > 0 ? e->season[(k - 1) % EXPERTS_SEASON] : 0;
    return part > 0 ? before + part * (e->season[k % EXPERTS_SEASON] - before) : before;
}

static double season_mean(const struct experts *e, double middle)
{
    double width = (double)(EXPERTS_BUCKET > e->tick ? EXPERTS_BUCKET : e->tick) / (double)e->tick;
    return (season_until(e, middle + width / 2) - season_until(e, middle - width / 2)) / width;
}

/* By how much the load grew over the next `lead` ticks, `days` ago. False: that is not known. */
static bool season_ratio(const struct experts *e, int64_t lead, int days, double *ratio)
{
    double now = (double)e->count - 0.5, back = (double)days * (double)e->day / (double)e->tick;
    if (e->day <= 0)
        return false;
    double then = season_mean(e, now - back), after = season_mean(e, now - back + (double)lead);
    if (!isfinite(then) || !isfinite(after))
        return false;
    double r = then > 1e-6 ? after / then : after > 1e-6 ? RATIO_MOST : 1;
    *ratio = fmin(RATIO_MOST, fmax(1 / RATIO_MOST, r));
    return true;
}

/* --- the experts ------------------------------------------------------------------------------------------------- */

static double trend(const struct experts *e, as_time span, int64_t lead)
{
    int64_t half = ticks_of(e, span / 2);
    if (2 * half > kept(e))
        return experts_mean(e, 10 * AS_SECOND);
    double newer = mean_of(e, e->count - half, half), older = mean_of(e, e->count - 2 * half, half);
    double slope = (newer - older) / (double)half;
    return fmax(0, newer + slope * ((double)lead + (double)half / 2));
}

static double weight_of(const struct experts *e, int k)
{
    double l = fmax(e->loss[k], LOSS_LEAST), l2 = l * l, l4 = l2 * l2;
    return 1 / (l4 * l4);
}

/* Mean of the first `n` experts that speak, weighted by loss^-8; the first one before anybody was judged. */
static double mix(const struct experts *e, const struct said *s, int n)
{
    double sum = 0, all = 0;
    if (e->judged <= 0)
        return s->f[0];
    for (int k = 0; k < n; k++)
        if (s->has[k]) {
            double w = weight_of(e, k);
            sum += w * s->f[k];
            all += w;
        }
    return sum / all;
}

static void say_seasons(const struct experts *e, struct said *s, int64_t lead)
{
    double level = mix(e, s, EXPERT_M15 + 1), r1, r2, r3, r7;
    s->has[EXPERT_DAY] = season_ratio(e, lead, 1, &r1);
    s->has[EXPERT_WEEK] = season_ratio(e, lead, 7, &r7);
    s->has[EXPERT_DAY3] =
        s->has[EXPERT_DAY] && season_ratio(e, lead, 2, &r2) && season_ratio(e, lead, 3, &r3);
    s->f[EXPERT_DAY] = s->has[EXPERT_DAY] ? level * r1 : s->f[EXPERT_LAST];
    s->f[EXPERT_WEEK] = s->has[EXPERT_WEEK] ? level * r7 : s->f[EXPERT_LAST];
    s->f[EXPERT_DAY3] = s->has[EXPERT_DAY3] ? level * cbrt(r1 * r2 * r3) : s->f[EXPERT_LAST];
}

struct said *experts_say(struct experts *e, int64_t lead)
{
    int64_t due = e->count - 1 + lead;
    struct said *s = &e->said[due % (EXPERTS_LEAD_MOST + 1)];
    as_time ahead = lead * e->tick / 2;
    *s = (struct said){ .made = e->count - 1, .due = due };
    s->f[EXPERT_LAST] = experts_mean(e, 10 * AS_SECOND);
    s->f[EXPERT_M1] = experts_mean(e, AS_MINUTE);
    s->f[EXPERT_M5] = experts_mean(e, 5 * AS_MINUTE);
    s->f[EXPERT_M15] = experts_mean(e, 15 * AS_MINUTE);
    s->f[EXPERT_TREND] = trend(e, 20 * AS_SECOND, lead);
    s->f[EXPERT_LTREND] = trend(e, ahead > 20 * AS_SECOND ? ahead : 20 * AS_SECOND, lead);
    for (int k = 0; k <= EXPERT_LTREND; k++)
        s->has[k] = true;
    say_seasons(e, s, lead);
    s->has[EXPERT_SEASON] = isfinite(e->expected);
    s->f[EXPERT_SEASON] = s->has[EXPERT_SEASON] ? e->expected : s->f[EXPERT_LAST];
    s->without = mix(e, s, EXPERT_SEASON);
    s->with = mix(e, s, EXPERT_COUNT);
    s->mix = e->trial.passed ? s->with : s->without;
    s->base = fmax(s->mix, s->f[EXPERT_LAST]);
    return s;
}

/* --- a tick ---------------------------------------------------------------------------------------------------------- */

/* A season that seemed better for an hour often is not: it has a say only after it was clearly better for long, and
 * none any more as soon as it is not. */
static void judge_season(struct experts *e, const struct said *s, double x)
{
    struct trial *t = &e->trial;
    double share = experts_share(e->tick, TRIAL_LIFE);
    if (!s->has[EXPERT_SEASON])
        return;
    t->judged += share * (1 - t->judged);
    t->with += share / t->judged * (fabs(x - s->with) - t->with);
    t->without += share / t->judged * (fabs(x - s->without) - t->without);
    if (t->judged >= TRIAL_LEAST)
        t->passed = t->with < (t->passed ? 1 : TRIAL_CLEARLY) * t->without;
}

static void judge(struct experts *e, const struct said *s, double x)
{
    double share = experts_share(e->tick, LOSS_HALF_LIFE);
    e->judged += share * (1 - e->judged); /* early on this makes a plain mean of the rolling one */
    double step = share / e->judged;
    for (int k = 0; k < EXPERT_COUNT; k++)
        e->loss[k] += step * (fabs(x - s->f[k]) - e->loss[k]);
    judge_season(e, s, x);
}

const struct said *experts_push(struct experts *e, double x, bool seen)
{
    int64_t t = e->count++;
    const struct said *s = &e->said[t % (EXPERTS_LEAD_MOST + 1)];
    e->total += x;
    e->x[t % EXPERTS_RING] = x;
    e->sum[t % EXPERTS_RING] = e->total;
    if (e->count % e->per_bucket == 0)
        e->season[e->buckets++ % EXPERTS_SEASON] = e->total;
    e->seen = seen;
    if (!seen || s->due != t)
        return NULL;
    judge(e, s, x);
    return s;
}
