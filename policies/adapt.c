/* Adapt (Ali-Eldin, Tordsson, Elmroth, NOMS 2012): grows at once, shrinks along an estimate of the load's change. A
 * reference to compare with. Its unit of time is one period. Must never shrink below the present need. */
#include <math.h>
#include <stdio.h>

#include "baseline.h"

struct adapt {
    struct baseline base;
    as_time period, next;
    bool seen;
    double start, last, estimated, averaged; /* times: t0, the last step, te, tg */
    double alive, since_average;             /* integrals of the capacity: from t0, from tg */
    double average, wait, rate, carry;       /* avg, dT, R, r */
};

static const struct as_option options[] = {
    BASELINE_OPTIONS("100%"),
    { .name = "period",
      .type = AS_OPT_DURATION,
      .def = "60s",
      .min = 1000,
      .max = 3600000,
      .help = "the time of one step, which is the unit of its rates" },
    { 0 },
};

static int adapt_init(void *state, const struct as_settings *settings, struct as_error *err)
{
    struct adapt *a = state;
    (void)err;
    baseline_init(&a->base, settings);
    a->period = as_settings_ms(settings, "period");
    return AS_OK;
}

static void begin(struct adapt *a, double t)
{
    a->start = a->last = a->estimated = a->averaged = t;
    a->alive = 1;
    a->wait = 5;
    a->seen = true;
}

static void estimate(struct adapt *a, double t, int cap, int need)
{
    if (t > a->averaged && t - a->averaged >= ceil(a->wait)) {
        a->average = a->since_average / (t - a->averaged);
        a->since_average = 0;
        a->averaged = t;
    }
    if (t <= a->start || t - a->estimated < a->wait || a->average <= 0)
        return;
    double n = a->alive / (t - a->start), u = a->average / n, p = (need - cap) / n;
    a->wait = 5 * 0.01 * cap / a->average;
    a->rate = u * p * n;
    if (a->rate < 0)
        a->rate /= 4;
    a->estimated = t;
}

static int step(struct adapt *a, double t, int cap, int need)
{
    if (!a->seen)
        begin(a, t);
    double dt = t - a->last;
    a->alive += cap * dt;
    a->since_average += cap * dt;
    a->last = t;
    estimate(a, t, cap, need);
    a->carry += a->rate * dt;
    int pro = 0;
    if (a->carry < 0) {
        double k = trunc(a->carry);
        a->carry -= k;
        return cap + k > need ? cap + (int)k : need;
    }
    if (a->carry >= 1) {
        double whole = trunc(a->carry);
        pro = policy_floor(whole);
        a->carry -= whole;
    }
    return need > cap ? policy_clamp((int64_t)policy_ceil(1.1 * need) + pro) : cap;
}

static void adapt_decide(void *state, const struct as_view *view, struct as_proposal *out)
{
    struct adapt *a = state;
    double load;
    if (!baseline_load(&a->base, view, 0, &load, out))
        return;
    if (!baseline_due(&a->next, view->now, a->period)) {
        baseline_repeat(&a->base, view, out);
        return;
    }
    int need = policy_ceil(load / a->base.unit);
    int want = step(a, (double)view->now / (double)a->period, view->current, need);
    char then[96];
    snprintf(then, sizeof then, ": %d needed, changing by %s per step, want %d", need, policy_num(a->rate).s,
             want);
    baseline_explain(&a->base, load, then, out);
    baseline_want(&a->base, view, want, out);
}

const struct as_policy_type as_policy_adapt = {
    .name = "adapt",
    .summary = "baseline: Adapt, shrinks along the load's change (NOMS 2012)",
    .options = options,
    .state_size = sizeof(struct adapt),
    .damps_itself = true,
    .init = adapt_init,
    .decide = adapt_decide,
};
