/* Hist (Urgaonkar, Shenoy, Chandra, Goyal, ICAC 2005): what this hour of the day needed on other days, corrected by
 * the recent error. A reference to compare with. Must never keep more than two years of hours. */
#include <stdio.h>
#include <string.h>

#include "baseline.h"

#define HOURS  24
#define KEEP   730
#define ERRORS 5
#define SIGNS  10

struct hour { /* the needs seen in one hour of the day: in order of time, and sorted */
    int times[KEEP], sorted[KEEP];
    int count, head;
};

struct hist {
    struct baseline base;
    as_time period, next;
    double share;
    double errors[ERRORS];
    int error_count, signs[SIGNS], sign_count; /* signs: 1 where the error was negative; oldest first */
    struct hour hours[HOURS];
};

static const struct as_option options[] = {
    BASELINE_OPTIONS("100%"),
    { .name = "period",
      .type = AS_OPT_DURATION,
      .def = "60s",
      .min = 1000,
      .max = 3600000,
      .help = "the time of one step: how often it decides and keeps what was needed" },
    { .name = "percentile",
      .type = AS_OPT_PERCENT,
      .def = "90%",
      .max = 0.999,
      .help = "which percentile of the hour's past needs is aimed at" },
    { 0 },
};

static int hist_init(void *state, const struct as_settings *settings, struct as_error *err)
{
    struct hist *h = state;
    (void)err;
    baseline_init(&h->base, settings);
    h->period = as_settings_ms(settings, "period");
    h->share = as_settings_num(settings, "percentile");
    return AS_OK;
}

/* Where `value` stands in the sorted ones, or would. */
static int place(const struct hour *h, int value)
{
    int lo = 0, hi = h->count;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        if (h->sorted[mid] < value)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void remember(struct hour *h, int need)
{
    if (h->count == KEEP) {
        int gone = place(h, h->times[h->head]);
        h->count--;
        memmove(&h->sorted[gone], &h->sorted[gone + 1], (size_t)(h->count - gone) * sizeof(int));
    }
    int at = place(h, need);
    memmove(&h->sorted[at + 1], &h->sorted[at], (size_t)(h->count - at) * sizeof(int));
    h->sorted[at] = need;
    h->count++;
    h->times[h->head] = need;
    h->head = (h->head + 1) % KEEP;
}

/* The mean of the last five errors; 0 while there are fewer. */
static double mean_error(struct hist *h, int error)
{
    double sum = 0;
    h->errors[h->error_count++] = error;
    if (h->error_count < ERRORS)
        return 0;
    for (int i = 0; i < ERRORS; i++)
        sum += h->errors[i];
    memmove(h->errors, h->errors + 1, (ERRORS - 1) * sizeof *h->errors);
    h->error_count--;
    return sum / ERRORS;
}

static bool mostly_short(struct hist *h, int error)
{
    int sum = 0;
    if (h->sign_count == SIGNS) {
        memmove(h->signs, h->signs + 1, (SIGNS - 1) * sizeof *h->signs);
        h->sign_count--;
    }
    h->signs[h->sign_count++] = error < 0;
    for (int i = 0; i < h->sign_count; i++)
        sum += h->signs[i];
    return sum > 5;
}

static int hour_of(int64_t wall)
{
    int64_t ms = wall % AS_DAY;
    return (int)((ms < 0 ? ms + AS_DAY : ms) / AS_HOUR);
}

static int step(struct hist *h, const struct as_view *view, double load)
{
    double c = h->base.unit;
    int cap = view->current, need = policy_ceil(load / c);
    struct hour *hour = &h->hours[hour_of(view->now_wall)];
    double error = mean_error(h, cap - need);
    double q = hour->count ? hour->sorted[(int)(h->share * hour->count + POLICY_EPSILON)] : cap;
    int want = policy_ceil(q - error > 0 ? q - error : q - error / 5);
    remember(hour, need);
    if (mostly_short(h, cap - need)) {
        if (load / c > cap * (1 + POLICY_EPSILON) && load - cap * c > 5)
            want = policy_ceil(1.05 * load / c);
        h->sign_count = 0;
    }
    return want;
}

static void hist_decide(void *state, const struct as_view *view, struct as_proposal *out)
{
    struct hist *h = state;
    double load;
    if (!baseline_load(&h->base, view, 0, &load, out))
        return;
    if (!baseline_due(&h->next, view->now, h->period)) {
        baseline_repeat(&h->base, view, out);
        return;
    }
    int want = step(h, view, load);
    char then[64];
    snprintf(then, sizeof then, ": want %d for hour %d (UTC)", want, hour_of(view->now_wall));
    baseline_explain(&h->base, load, then, out);
    baseline_want(&h->base, view, want, out);
}

const struct as_policy_type as_policy_hist = {
    .name = "hist",
    .summary = "baseline: Hist, a percentile of the hour's past needs (ICAC 2005)",
    .options = options,
    .state_size = sizeof(struct hist),
    .damps_itself = true,
    .init = hist_init,
    .decide = hist_decide,
};
