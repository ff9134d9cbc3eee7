/* Step scaling: ranges of the metric, each with its change of the count. Must never let one breach be
 * answered twice: instances still on their way count toward the size a step asks for. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "change.h"
#include "common.h"

#define STEPS_MAX 32

struct step {
    double from, to; /* as given: differences from the threshold, or values; open ends are infinite */
    struct change change;
    const char *text; /* borrowed from the settings */
    size_t index;     /* in the settings, for messages */
};

struct step_policy {
    struct policy_metric metric;
    bool relative; /* a threshold is given, and the bounds are differences from it */
    double threshold;
    bool per_instance;
    int min_change;
    size_t count;
    struct step steps[STEPS_MAX]; /* in order of their ranges */
};

static const struct as_option step_options[] = {
    { .name = "from", .type = AS_OPT_NUMBER, .help = "where the range begins; left out: open below" },
    { .name = "to", .type = AS_OPT_NUMBER, .help = "where the range ends; left out: open above" },
    { .name = "change",
      .type = AS_OPT_STRING,
      .flags = AS_OPT_REQUIRED,
      .help = "what to do to the count: \"+2\" or \"-1\" instances, \"+10%\" or \"-30%\", \"=5\" exactly, "
              "\"0\"" },
    { 0 },
};

static const struct as_option options[] = {
    POLICY_METRIC_OPTIONS,
    { .name = "threshold",
      .type = AS_OPT_NUMBER,
      .help = "when given, from and to are differences from it; else they are values of the metric" },
    { .name = "steps",
      .type = AS_OPT_LIST,
      .flags = AS_OPT_REQUIRED,
      .sub = step_options,
      .help = "ranges that do not overlap, each with its change" },
    { .name = "min_change",
      .type = AS_OPT_INT,
      .def = "1",
      .min = 1,
      .max = 10000,
      .help = "least number of instances a percentage changes" },
    { .name = "per_instance_metric",
      .type = AS_OPT_BOOL,
      .def = "true",
      .help = "the metric is a mean per instance, which rises as instances leave" },
    { 0 },
};

/* --- validation ---------------------------------------------------------------------------------- */

static int read_step(const struct as_settings *settings, size_t i, struct step *out, struct as_error *err)
{
    const struct as_settings *s = as_settings_sub(settings, "steps", i);
    bool from = as_settings_has(s, "from"), to = as_settings_has(s, "to");
    *out = (struct step){ .from = from ? as_settings_num(s, "from") : -INFINITY,
                          .to = to ? as_settings_num(s, "to") : INFINITY,
                          .text = as_settings_str(s, "change"),
                          .index = i + 1 };
    if (!change_parse(out->text, &out->change))
        return as_settings_fail(
            s, "change", err,
            "\"%.40s\" is not a change: write \"+2\", \"-1\", \"+10%%\", \"-30%%\", \"=5\" "
            "or \"0\"",
            out->text);
    if (!from && !to)
        return as_settings_fail(s, "from", err, "step %zu needs from, to or both", i + 1);
    if (out->from >= out->to)
        return as_settings_fail(s, "to", err, "%s must be above from = %s", policy_num(out->to).s,
                                policy_num(out->from).s);
    return AS_OK;
}

static int by_range(const void *a, const void *b)
{
    const struct step *x = a, *y = b;
    return x->from != y->from ? (x->from > y->from) - (x->from < y->from) : (x->to > y->to) - (x->to < y->to);
}

/* Between two neighbours nothing may happen only where the direction turns: across the threshold, or
 * between steps that shrink and steps that grow. */
static bool gap_allowed(const struct step_policy *p, const struct step *a, const struct step *b)
{
    if (p->relative)
        return a->to <= 0 && b->from >= 0;
    return change_sign(&a->change) * change_sign(&b->change) < 0;
}

static int check_neighbours(const struct step_policy *p, const struct as_settings *settings,
                            struct as_error *err)
{
    for (size_t i = 0; i + 1 < p->count; i++) {
        const struct step *a = &p->steps[i], *b = &p->steps[i + 1];
        if (a->to > b->from)
            return as_settings_fail(settings, "steps", err, "steps %zu and %zu overlap", a->index, b->index);
        if (a->to < b->from && !gap_allowed(p, a, b))
            return as_settings_fail(settings, "steps", err,
                                    "nothing covers %s to %s between steps %zu and %zu: let them meet, or "
                                    "add a step with change = \"0\"",
                                    policy_num(a->to).s, policy_num(b->from).s, a->index, b->index);
    }
    return AS_OK;
}

/* A value beyond the last step must not fall out of the policy. */
static int check_ends(const struct step_policy *p, const struct as_settings *settings, struct as_error *err)
{
    const struct step *low = &p->steps[0], *high = &p->steps[p->count - 1];
    for (size_t i = 0; p->relative && i < p->count; i++)
        if (p->steps[i].from < 0 && p->steps[i].to > 0)
            return as_settings_fail(settings, "steps", err,
                                    "step %zu reaches across the threshold: split it at 0",
                                    p->steps[i].index);
    if (isfinite(high->to) && (!p->relative || high->to > 0))
        return as_settings_fail(settings, "steps", err,
                                "step %zu is the highest and must be open above: leave out its to",
                                high->index);
    if (p->relative && isfinite(low->from) && low->from < 0)
        return as_settings_fail(settings, "steps", err,
                                "step %zu is the lowest and must be open below: leave out its from",
                                low->index);
    return AS_OK;
}

static int step_init(void *state, const struct as_settings *settings, struct as_error *err)
{
    struct step_policy *p = state;
    policy_metric_init(&p->metric, settings);
    p->relative = as_settings_has(settings, "threshold");
    p->threshold = as_settings_num(settings, "threshold");
    p->per_instance = as_settings_bool(settings, "per_instance_metric");
    p->min_change = (int)as_settings_int(settings, "min_change");
    p->count = as_settings_count(settings, "steps");
    if (p->count < 1 || p->count > STEPS_MAX)
        return as_settings_fail(settings, "steps", err, "give 1 to %d steps", STEPS_MAX);
    for (size_t i = 0; i < p->count; i++) {
        int rc = read_step(settings, i, &p->steps[i], err);
        if (rc)
            return rc;
    }
    qsort(p->steps, p->count, sizeof *p->steps, by_range);
    int rc = check_neighbours(p, settings, err);
    return rc ? rc : check_ends(p, settings, err);
}

/* --- decision ------------------------------------------------------------------------------------ */

/* At and above the threshold a range holds its lower bound, below it its upper one. Without a
 * threshold every range holds its lower bound. The distance is rounded to what decimals can say, so
 * that 0.7 - 0.5 meets a bound of 0.2. */
static const struct step *step_for(const struct step_policy *p, double value)
{
    double at = value - p->threshold;
    double slack = POLICY_EPSILON * fmax(1, fabs(value));
    for (size_t i = 0; i < p->count; i++) {
        const struct step *s = &p->steps[i];
        bool below = p->relative && s->to <= 0;
        if (below ? at > s->from + slack && at <= s->to + slack && at < -slack
                  : at >= s->from - slack && at < s->to - slack)
            return s;
    }
    return NULL;
}

/* On the threshold itself only a range above it holds; one that ends there from below takes it when
 * there is none above. */
static const struct step *find_step(const struct step_policy *p, double value)
{
    const struct step *s = step_for(p, value);
    if (s || !p->relative)
        return s;
    bool on_it = fabs(value - p->threshold) <= POLICY_EPSILON * fmax(1, fabs(value));
    for (size_t i = 0; on_it && i < p->count; i++)
        if (p->steps[i].to == 0)
            return &p->steps[i];
    return NULL;
}

static void explain(const struct step_policy *p, const struct as_view *view, double value,
                    const struct step *s, struct as_proposal *out, const char *why)
{
    char range[96], near[96] = "";
    if (!isfinite(s->from))
        snprintf(range, sizeof range, "up to %s", policy_num(s->to).s);
    else if (!isfinite(s->to))
        snprintf(range, sizeof range, "from %s", policy_num(s->from).s);
    else
        snprintf(range, sizeof range, "%s to %s", policy_num(s->from).s, policy_num(s->to).s);
    if (p->relative)
        snprintf(near, sizeof near, " (%s%s from %s)", value >= p->threshold ? "+" : "",
                 policy_num(value - p->threshold).s, policy_num(p->threshold).s);
    policy_reason(out, "%s %s%s is in step %s: %s of %d serving, want %d%s%s", p->metric.name,
                  policy_num(value).s, near, range, s->text, view->serving, out->count, *why ? ", " : "",
                  why);
}

static bool may_shrink(const struct step_policy *p)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->steps[i].change.kind == CHANGE_EXACT || change_sign(&p->steps[i].change) < 0)
            return true;
    return false;
}

static void step_decide(void *state, const struct as_view *view, struct as_proposal *out)
{
    const struct step_policy *p = state;
    struct as_reading r;
    if (!policy_metric_read(&p->metric, view, &r, out))
        return;
    if (p->per_instance && view->serving == 0) {
        out->blind = view->current > 0;
        policy_reason(out, "%s is a mean over serving instances, and none serves (%d on their way)",
                      p->metric.name, view->pending);
        return;
    }
    const struct step *s = find_step(p, r.value);
    int want = s ? change_apply(&s->change, view->serving, p->min_change) : view->current;
    const char *why = "";
    if (want < view->current) {
        bool shrinks = s->change.kind == CHANGE_EXACT || change_sign(&s->change) < 0;
        if (view->pending > 0)
            why = shrinks ? "no fewer while some are on their way" : "already on their way";
        else if (r.partial)
            why = "no fewer on partial data";
        if (*why)
            want = view->current;
    }
    /* Between its steps a policy that can shrink the group wants it as it is; one that only grows it has
     * nothing to say there, and must not stand in the way of the others. */
    out->kind = s || may_shrink(p) ? AS_WANT : AS_ABSTAIN;
    out->count = out->kind == AS_WANT ? want : 0;
    if (s)
        explain(p, view, r.value, s, out, why);
    else
        policy_reason(out, "%s %s is in no step: no change", p->metric.name, policy_num(r.value).s);
}

/* The metric `count` instances would show, and whether its step would ask for more than they are. */
static bool step_sustains(const void *state, const struct as_view *view, int count)
{
    const struct step_policy *p = state;
    double value;
    if (!policy_metric_whole(&p->metric, view, &value))
        return false;
    if (p->per_instance) {
        if (view->serving == 0 || count <= 0)
            return false;
        value = value * view->serving / count;
    }
    const struct step *s = find_step(p, value);
    return !s || change_apply(&s->change, count, p->min_change) <= count;
}

const struct as_policy_type as_policy_step = {
    .name = "step",
    .summary = "step scaling: ranges of a metric, each with its change of the count",
    .options = options,
    .state_size = sizeof(struct step_policy),
    .init = step_init,
    .decide = step_decide,
    .sustains = step_sustains,
};
