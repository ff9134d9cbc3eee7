/* Autopilot's horizontal autoscaling (Rzadca et al., EuroSys 2020): a high percentile of three days of load, given up
 * late and slowly. A reference to compare with. Must never shrink before the deferral has passed. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "baseline.h"

struct autopilot {
    struct baseline base;
    as_time period, defer, halving;
    double quantile, growth, small;
    double *points, *sorted; /* a ring of means per period, and room to sort them */
    size_t capacity, count, head;
    double held; /* what decays */
    bool seen;
    struct baseline_meter meter;
    struct baseline_past past;
};

static const char *const statistics[] = { "p95", "max", NULL };

static const struct as_option options[] = {
    BASELINE_OPTIONS("70%"),
    { .name = "period",
      .type = AS_OPT_DURATION,
      .def = "5m",
      .min = 1000,
      .max = 3600000,
      .help = "the time of one mean of the load, and how often it decides" },
    { .name = "history",
      .type = AS_OPT_DURATION,
      .def = "72h",
      .min = 60000,
      .max = 2678400000.0,
      .help = "how far back the load counts" },
    { .name = "statistic",
      .type = AS_OPT_CHOICE,
      .def = "p95",
      .choices = statistics,
      .help = "what of the history counts as the load" },
    { .name = "defer",
      .type = AS_OPT_DURATION,
      .def = "2d",
      .max = 2678400000.0,
      .help = "shrinks to the most that was recommended in this time" },
    { .name = "halving",
      .type = AS_OPT_DURATION,
      .def = "1h",
      .max = 86400000,
      .help = "the time in which half of what is too much is given up" },
    { .name = "growth",
      .type = AS_OPT_PERCENT,
      .def = "50%",
      .min = 0.01,
      .max = 0.99,
      .help = "at most this part of the instances may be on their way" },
    { .name = "small_change",
      .type = AS_OPT_PERCENT,
      .def = "0%",
      .max = 1,
      .help = "a smaller change than this part of the present size is put off" },
    { 0 },
};

static void autopilot_fini(void *state)
{
    struct autopilot *a = state;
    free(a->points);
    free(a->sorted);
    free(a->past.ring);
    a->points = a->sorted = NULL;
    a->past.ring = NULL;
}

static int autopilot_init(void *state, const struct as_settings *settings, struct as_error *err)
{
    struct autopilot *a = state;
    baseline_init(&a->base, settings);
    a->period = as_settings_ms(settings, "period");
    a->defer = as_settings_ms(settings, "defer");
    a->halving = as_settings_ms(settings, "halving");
    a->growth = as_settings_num(settings, "growth");
    a->small = as_settings_num(settings, "small_change");
    a->quantile = strcmp(as_settings_str(settings, "statistic"), "max") ? 0.95 : 1;
    as_time room = as_settings_ms(settings, "history") / a->period;
    if (room > 50000)
        return as_settings_fail(settings, "history", err,
                                "holds more than 50000 periods: make period longer");
    a->capacity = room < 1 ? 1 : (size_t)room;
    a->points = calloc(a->capacity, sizeof *a->points);
    a->sorted = calloc(a->capacity + 1, sizeof *a->sorted);
    int rc =
        a->points && a->sorted ? AS_OK : as_fail(err, AS_ENOMEM, "out of memory for the history of a policy");
    if (!rc)
        rc = baseline_past_init(&a->past, a->defer, a->period, err);
    if (rc)
        autopilot_fini(a);
    return rc;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Nearest rank; before the first period has passed, the load of this moment. */
static double statistic(struct autopilot *a, double now)
{
    if (!a->count)
        return now;
    memcpy(a->sorted, a->points, a->count * sizeof *a->sorted);
    qsort(a->sorted, a->count, sizeof *a->sorted, by_value);
    int rank = policy_ceil(a->quantile * (double)a->count);
    return a->sorted[rank > 0 ? rank - 1 : 0];
}

/* Half of the surplus goes in each halving time; the last half instance at once. */
static int decay(struct autopilot *a, const struct as_view *view, int deferred)
{
    double left = a->halving > 0 ? exp2(-(double)a->period / (double)a->halving) : 0;
    if (view->current <= deferred) {
        a->held = deferred;
        return deferred;
    }
    double from = a->held > deferred && a->held < view->current ? a->held : view->current;
    a->held = deferred + (from - deferred) * left;
    if (a->held - deferred < 0.5)
        a->held = deferred;
    return policy_ceil(a->held);
}

static int limit_growth(const struct autopilot *a, const struct as_view *view, int want)
{
    int most = policy_floor(view->serving / (1 - a->growth));
    most = most > view->serving ? most : view->serving + 1;
    most = most > view->current ? most : view->current;
    return want > most && view->serving > 0 ? most : want;
}

static void decide_now(struct autopilot *a, const struct as_view *view, double load, struct as_proposal *out)
{
    double r = statistic(a, load);
    int raw = policy_ceil(r / a->base.unit);
    if (!a->seen) /* the time before the start is unknown: what runs was recommended */
        baseline_past_add(&a->past, view->now, view->current);
    a->seen = true;
    int deferred = baseline_past_max(&a->past, view->now - a->defer, raw);
    baseline_past_add(&a->past, view->now, raw);
    int want = limit_growth(a, view, decay(a, view, deferred));
    if (abs(want - view->current) < a->small * view->current)
        want = view->current;
    policy_reason(out, "%.60s %s over the history / %s per instance: %d recommended, %d deferred, want %d",
                  a->base.metric, policy_num(r).s, policy_num(a->base.unit).s, raw, deferred, want);
    baseline_want(&a->base, view, want, out);
}

static void autopilot_decide(void *state, const struct as_view *view, struct as_proposal *out)
{
    struct autopilot *a = state;
    struct baseline_point point;
    double load;
    bool known = baseline_load(&a->base, view, 0, &load, out), ended;
    if (known)
        baseline_meter_add(&a->meter, load, out->blind);
    ended = baseline_meter_end(&a->meter, view->now, a->period, &point);
    if (ended && !point.missing && !point.partial) {
        a->points[a->head] = point.value;
        a->head = (a->head + 1) % a->capacity;
        a->count += a->count < a->capacity;
    }
    if (known && (ended || !a->seen))
        decide_now(a, view, load, out);
    else if (known)
        baseline_repeat(&a->base, view, out);
}

const struct as_policy_type as_policy_autopilot = {
    .name = "autopilot",
    .summary = "baseline: Autopilot, a percentile of three days (EuroSys 2020)",
    .options = options,
    .state_size = sizeof(struct autopilot),
    .damps_itself = true,
    .init = autopilot_init,
    .decide = autopilot_decide,
    .fini = autopilot_fini,
};
