/* Target tracking: as many instances as hold the metric at its target; what waits counts as load, and a fast window
 * beside the slow one answers a flash crowd. Must never plan a shrink while those that serve are at or over their
 * target, nor on data that is old or incomplete. */
#include <stdio.h>

#include "common.h"

#define INPUT_QUEUE 1

struct panic {
    bool on;
    as_time since; /* the fast window last called for it */
    int most;      /* no fewer while it lasts */
};

struct target {
    struct policy_metric metric, fast; /* fast.window 0: no fast window */
    const char *queue;                 /* NULL: none */
    double drain;                      /* seconds in which what waits shall be served; 0: added as it is */
    double panic_threshold;
    struct panic panic;
    double per_instance; /* what one instance carries, in the metric's unit */
    char each[64];       /* the same in a reason */
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
    { .name = "queue",
      .type = AS_OPT_METRIC,
      .help = "what waits, in the whole group: counts as load, so that a full tier is not taken for a "
              "content one; "
              "needs per_instance" },
    { .name = "drain_time",
      .type = AS_OPT_DURATION,
      .min = 100,
      .max = 3600000,
      .help = "the metric is a rate per second: queue / drain_time is added, so that what waits is served in "
              "this "
              "time; not given: the metric counts what is under way, and queue is added as it is" },
    { .name = "panic_window",
      .type = AS_OPT_DURATION,
      .min = 1000,
      .max = 3600000,
      .help = "a second look over this shorter window, for flash crowds; not given: none" },
    { .name = "panic_threshold",
      .type = AS_OPT_PERCENT,
      .def = "200%",
      .min = 1.1,
      .max = 100,
      .help = "panic when the panic_window calls for this part of the present size: the larger of both "
              "windows is "
              "wanted, and no fewer until window has passed" },
    { 0 },
};

static int read_queue(struct target *t, const struct as_settings *settings, struct as_error *err)
{
    t->queue = as_settings_str(settings, "queue");
    t->drain = (double)as_settings_ms(settings, "drain_time") / 1000;
    if (t->queue && t->mean)
        return as_settings_fail(settings, "queue", err,
                                "needs per_instance: what waits cannot be added to a mean per instance");
    if (!t->queue && t->drain > 0)
        return as_settings_fail(settings, "drain_time", err, "needs queue: the metric of what waits");
    return AS_OK;
}

static int read_panic(struct target *t, const struct as_settings *settings, struct as_error *err)
{
    t->panic_threshold = as_settings_num(settings, "panic_threshold");
    t->fast = t->metric;
    t->fast.window = as_settings_ms(settings, "panic_window");
    if (t->fast.window && t->fast.window >= t->metric.window)
        return as_settings_fail(settings, "panic_window", err, "must be shorter than window");
    return AS_OK;
}

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
    snprintf(t->each, sizeof t->each, " / %s per instance = ", policy_num(t->per_instance).s);
    t->tolerance = as_settings_num(settings, "tolerance");
    t->scale_in = as_settings_bool(settings, "scale_in");
    int rc = read_queue(t, settings, err);
    return rc ? rc : read_panic(t, settings, err);
}

/* --- load ---------------------------------------------------------------------------------------- */

struct load {
    double value, queue; /* as measured */
    double need;         /* instances */
    bool partial;        /* a lower bound */
};

/* What is asked of the group by `value`, seen over the window of `m`. A mean counts for the instances it was formed
 * of. A queue that is not measured now may hold anything. */
static struct load load_of(const struct target *t, const struct as_view *view, const struct policy_metric *m,
                           const struct as_reading *r)
{
    struct load l = { .value = r->value, .partial = r->partial };
    double all = r->value <= 0 ? 0 : t->mean ? r->value * view->serving : r->value;
    if (t->queue) {
        struct as_reading q = policy_input(view, INPUT_QUEUE, m->aggregate, m->window, m->quantile);
        l.partial = l.partial || q.fresh != AS_FRESH || q.partial;
        l.queue = q.fresh == AS_FRESH && q.value > 0 ? q.value : 0;
        all += t->drain > 0 ? l.queue / t->drain : l.queue;
    }
    l.need = all / t->per_instance;
    return l;
}

static bool within(const struct target *t, double ratio)
{
    return ratio >= 1 - t->tolerance - POLICY_EPSILON && ratio <= 1 + t->tolerance + POLICY_EPSILON;
}

static void explain(const struct target *t, const struct as_view *view, const struct load *l, int want,
                    struct as_proposal *out, const char *why)
{
    char times[32] = "", queue[96] = "";
    if (t->mean)
        snprintf(times, sizeof times, " x %d serving", view->serving);
    if (t->queue && t->drain > 0)
        snprintf(queue, sizeof queue, " + %s waiting / %ss", policy_num(l->queue).s, policy_num(t->drain).s);
    else if (t->queue)
        snprintf(queue, sizeof queue, " + %s waiting", policy_num(l->queue).s);
    policy_words(out, t->metric.name, " ", policy_num(l->value).s, times, queue, t->each,
                 policy_num(l->need).s, ": want ", policy_num(want).s, *why ? ", " : "", why, NULL);
}

/* The fast window beside the slow one: may only raise `want`. Never down before the slow window has seen it too. */
static int panic_raises(struct target *t, const struct as_view *view, int want)
{
    struct panic *p = &t->panic;
    const struct policy_metric *m = &t->fast;
    struct as_reading r = policy_input(view, 0, m->aggregate, m->window, m->quantile);
    struct load l = load_of(t, view, m, &r);
    int fast = policy_ceil(l.need);
    if (fast >= t->panic_threshold * (view->current > 0 ? view->current : 1) * (1 - POLICY_EPSILON)) {
        p->on = true;
        p->since = view->now;
    } else if (p->on && view->now - p->since > t->metric.window) {
        *p = (struct panic){ 0 };
    }
    if (!p->on)
        return want;
    want = want > fast ? want : fast;
    p->most = p->most > want ? p->most : want;
    return p->most;
}

static void target_decide(void *state, const struct as_view *view, struct as_proposal *out)
{
    struct target *t = state;
    struct as_reading r;
    if (!policy_metric_read(&t->metric, view, &r, out))
        return;
    if (t->mean && view->serving == 0) {
        out->blind = view->current > 0;
        policy_reason(out, "%s is a mean over serving instances, and none serves (%d on their way)",
                      t->metric.name, view->pending);
        return;
    }
    struct load l = load_of(t, view, &t->metric, &r);
    int want = policy_ceil(l.need);
    const char *why = "";
    out->blind = l.partial;
    if (view->current > 0 && within(t, l.need / view->current)) {
        want = view->current;
        why = "within tolerance";
    } else if (want < view->current && view->pending > 0 && l.need >= view->serving * (1 - POLICY_EPSILON)) {
        want = view->current; /* those that serve are full: what is on its way is still needed */
        why = "no fewer while the serving ones are full";
    } else if (want < view->current && l.partial) {
        want = view->current;
        why = "no fewer on partial data";
    } else if (want < view->current && !t->scale_in) {
        why = "but scale_in is off: left to the other policies";
    }
    int raised = t->fast.window ? panic_raises(t, view, want) : want;
    if (raised > want) {
        want = raised;
        why = "panic: a flash crowd in the fast window";
    }
    bool silent = want < view->current && !t->scale_in;
    out->kind = silent ? AS_ABSTAIN : AS_WANT;
    out->count = silent ? 0 : want;
    explain(t, view, &l, want, out, why);
}

static bool target_sustains(const void *state, const struct as_view *view, int count)
{
    const struct target *t = state;
    const struct policy_metric *m = &t->metric;
    struct as_reading r = policy_input(view, 0, m->aggregate, m->window, m->quantile);
    if (r.fresh != AS_FRESH || (t->mean && view->serving == 0))
        return false;
    struct load l = load_of(t, view, m, &r);
    if (l.partial || (t->panic.on && count < t->panic.most))
        return false;
    return count > 0 ? l.need / count <= 1 + t->tolerance + POLICY_EPSILON : l.need <= 0;
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
