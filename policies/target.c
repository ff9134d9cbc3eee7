/* Target tracking: as many instances as hold the metric at its target. Must never plan a shrink while
 * those that serve are at or over their target, nor on data that is old or incomplete. */
#include <stdio.h>

#include "common.h"

struct target {
    struct policy_metric metric;
    double per_instance; /* what one instance carries, in the metric's unit */
    double tolerance;
    bool mean; /* the metric is already a mean per serving instance */
    bool scale_in;
};

static const struct as_option options[] = {
    POLICY_METRIC_OPTIONS,
    { .name = "per_instance",
      .type = AS_OPT_NUMBER,
      .min = 1e-9,
      .max = 1e15,
      .help = "the metric is a total, and one instance carries this much of it" },
    { .name = "average",
      .type = AS_OPT_NUMBER,
      .min = 1e-9,
      .max = 1e15,
      .help = "the metric is a mean per serving instance, to be held at this value" },
    { .name = "tolerance",
      .type = AS_OPT_PERCENT,
      .def = "10%",
      .max = 1,
      .help = "no change while the metric lies this near to its target, both ends included" },
    { .name = "scale_in",
      .type = AS_OPT_BOOL,
      .def = "true",
      .help = "false: never agrees to fewer instances, whatever other policies say" },
    { 0 },
};

static int target_init(void *state, const struct as_settings *settings, struct as_error *err)
{
    struct target *t = state;
    bool total = as_settings_has(settings, "per_instance"), mean = as_settings_has(settings, "average");
    if (total && mean)
        return as_settings_fail(settings, "average", err,
                                "give either per_instance (the metric is a total) or average, not both");
    if (!total && !mean)
        return as_settings_fail(settings, "per_instance", err,
                                "give per_instance when the metric is a total, or average when it is a "
                                "mean per instance");
    policy_metric_init(&t->metric, settings);
    t->mean = mean;
    t->per_instance = as_settings_num(settings, mean ? "average" : "per_instance");
    t->tolerance = as_settings_num(settings, "tolerance");
    t->scale_in = as_settings_bool(settings, "scale_in");
    return AS_OK;
}

/* The whole load, in the metric's unit. A mean counts for the instances it was formed of. */
static double load_of(const struct target *t, const struct as_view *view, double value)
{
    return value <= 0 ? 0 : t->mean ? value * view->serving : value;
}

static bool within(const struct target *t, double ratio)
{
    return ratio >= 1 - t->tolerance - POLICY_EPSILON && ratio <= 1 + t->tolerance + POLICY_EPSILON;
}

static void explain(const struct target *t, const struct as_view *view, double value, double need, int want,
                    struct as_proposal *out, const char *why)
{
    char times[32] = "";
    if (t->mean)
        snprintf(times, sizeof times, " x %d serving", view->serving);
    policy_words(out, t->metric.name, " ", policy_num(value).s, times, " / ", policy_num(t->per_instance).s,
                 " per instance = ", policy_num(need).s, ": want ", policy_num(want).s, *why ? ", " : "", why,
                 NULL);
}

static void target_decide(void *state, const struct as_view *view, struct as_proposal *out)
{
    const struct target *t = state;
    struct as_reading r;
    if (!policy_metric_read(&t->metric, view, &r, out))
        return;
    if (t->mean && view->serving == 0) {
        out->blind = view->current > 0;
        policy_reason(out, "%s is a mean over serving instances, and none serves (%d on their way)",
                      t->metric.name, view->pending);
        return;
    }
    double load = load_of(t, view, r.value), need = load / t->per_instance;
    int want = policy_ceil(need);
    const char *why = "";
    if (view->current > 0 && within(t, need / view->current)) {
        want = view->current;
        why = "within tolerance";
    } else if (want < view->current && view->pending > 0 && need >= view->serving * (1 - POLICY_EPSILON)) {
        want = view->current; /* those that serve are full: what is on its way is still needed */
        why = "no fewer while the serving ones are full";
    } else if (want < view->current && r.partial) {
        want = view->current;
        why = "no fewer on partial data";
    } else if (want < view->current && !t->scale_in) {
        why = "but scale_in is off: left to the other policies";
    }
    bool silent = want < view->current && !t->scale_in;
    out->kind = silent ? AS_ABSTAIN : AS_WANT;
    out->count = silent ? 0 : want;
    explain(t, view, r.value, need, want, out, why);
}

static bool target_sustains(const void *state, const struct as_view *view, int count)
{
    const struct target *t = state;
    double value;
    if (!policy_metric_whole(&t->metric, view, &value) || (t->mean && view->serving == 0))
        return false;
    double need = load_of(t, view, value) / t->per_instance;
    return count > 0 ? need / count <= 1 + t->tolerance + POLICY_EPSILON : need <= 0;
}

const struct as_policy_type as_policy_target = {
    .name = "target",
    .summary = "target tracking: as many instances as hold a metric at its target",
    .options = options,
    .state_size = sizeof(struct target),
    .init = target_init,
    .decide = target_decide,
    .sustains = target_sustains,
};
