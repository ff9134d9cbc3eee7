/* Azure autoscale for scale sets: threshold rules over a time window, a cooldown, and a flap test before shrinking.
 * A reference to compare with. Must never shrink to a size at which its own rules would at once grow again. */
#include "azure.h"
#include "baseline.h"
#include "change.h"

#define GRAINS_MAX 60 /* points of one minute that the metric is the mean of */

struct azure {
    struct baseline base;
    as_time grain, cooldown, acted;
    bool has_acted;
    double high, low; /* utilisation */
    struct change out, in;
    size_t window; /* in points */
    double points[GRAINS_MAX];
    size_t count, next;
    struct baseline_meter meter;
};

static const struct as_option options[] = {
    BASELINE_OPTIONS("70%"),
    { .name = "low",
      .type = AS_OPT_PERCENT,
      .def = "30%",
      .max = 1,
      .help = "shrinks below this part of per_instance; it grows above target" },
    { .name = "out_change",
      .type = AS_OPT_STRING,
      .def = "+1",
      .help = "how it grows: \"+2\", \"+10%\" or \"=5\"" },
    { .name = "in_change",
      .type = AS_OPT_STRING,
      .def = "-1",
      .help = "how it shrinks: \"-2\", \"-10%\" or \"=5\"" },
    { .name = "grain",
      .type = AS_OPT_DURATION,
      .def = "60s",
      .min = 1000,
      .max = 3600000,
      .help = "the time of one point of the metric, and how often it decides" },
    { .name = "grains",
      .type = AS_OPT_INT,
      .def = "10",
      .min = 1,
      .max = GRAINS_MAX,
      .help = "the rules look at the mean of so many points" },
    { .name = "cooldown",
      .type = AS_OPT_DURATION,
      .def = "5m",
      .max = 86400000,
      .help = "after any change no rule acts for this time" },
    { 0 },
};

static int read_change(const struct as_settings *s, const char *name, int sign, struct change *c,
                       struct as_error *err)
{
    if (!change_parse(as_settings_str(s, name), c) || change_sign(c) == -sign)
        return as_settings_fail(s, name, err, "\"%.40s\" does not %s: write \"%s1\", \"%s10%%\" or \"=5\"",
                                as_settings_str(s, name), sign > 0 ? "grow" : "shrink", sign > 0 ? "+" : "-",
                                sign > 0 ? "+" : "-");
    return AS_OK;
}

static int azure_init(void *state, const struct as_settings *settings, struct as_error *err)
{
    struct azure *a = state;
    baseline_init(&a->base, settings);
    a->high = a->base.target;
    a->low = as_settings_num(settings, "low");
    a->grain = as_settings_ms(settings, "grain");
    a->cooldown = as_settings_ms(settings, "cooldown");
    a->window = (size_t)as_settings_int(settings, "grains");
    if (a->low >= a->high)
        return as_settings_fail(settings, "low", err, "must be below target, %s %%",
                                policy_num(100 * a->high).s);
    int rc = read_change(settings, "out_change", 1, &a->out, err);
    return rc ? rc : read_change(settings, "in_change", -1, &a->in, err);
}

int azure_flap_test(double value, int current, int goal, double limit)
{
    for (int c = goal > 0 ? goal : 0; c < current; c++)
        if (c > 0 ? value * current / c <= limit * (1 + POLICY_EPSILON) : value <= 0)
            return c;
    return current;
}

static double push(struct azure *a, double value)
{
    double sum = 0;
    a->points[a->next] = value;
    a->next = (a->next + 1) % a->window;
    a->count += a->count < a->window;
    for (size_t i = 0; i < a->count; i++)
        sum += a->points[i];
    return sum / (double)a->count;
}

static int apply_rules(struct azure *a, const struct as_view *view, double value, const char **why)
{
    int cur = view->current, hold = baseline_stand(&a->base, view);
    bool cooling = a->has_acted && view->now - a->acted < a->cooldown;
    if (value > a->high * (1 + POLICY_EPSILON)) {
        int goal = change_apply(&a->out, cur, 1);
        *why = cooling ? "above the target, but cooling down" : "above the target";
        return cooling ? hold : goal > cur ? goal : cur;
    }
    if (value >= a->low * (1 - POLICY_EPSILON)) {
        *why = "between its rules";
        return hold;
    }
    int goal = change_apply(&a->in, cur, 1);
    int want = azure_flap_test(value, cur, goal < view->min ? view->min : goal, a->high);
    *why = cooling ? "low, but cooling down" : want < cur ? "low" : "low, but fewer would flap";
    return cooling ? hold : want;
}

static void decide_rules(struct azure *a, const struct as_view *view, double value, struct as_proposal *out)
{
    const char *why;
    int want = apply_rules(a, view, value, &why), before = a->base.has_last ? a->base.last : view->current;
    policy_words(out, a->base.metric, " at ", policy_num(100 * value).s, " % of capacity per instance, ", why,
                 ": want ", policy_num(want).s, NULL);
    baseline_want(&a->base, view, want, out);
    if (out->count != before && out->count != view->current) {
        a->acted = view->now;
        a->has_acted = true;
    }
}

static void azure_decide(void *state, const struct as_view *view, struct as_proposal *out)
{
    struct azure *a = state;
    struct baseline_point point;
    double load;
    bool known = baseline_load(&a->base, view, 0, &load, out);
    if (known && view->serving > 0)
        baseline_meter_add(&a->meter, load / view->serving / a->base.per_instance, out->blind);
    bool ended = baseline_meter_end(&a->meter, view->now, a->grain, &point);
    if (ended && point.missing)
        a->count = a->next = 0; /* a hole in the window: it begins anew */
    if (!known)
        return;
    if (ended && !point.missing)
        decide_rules(a, view, push(a, point.value), out);
    else
        baseline_repeat(&a->base, view, out);
}

const struct as_policy_type as_policy_azure = {
    .name = "azure",
    .summary = "baseline: autoscale rules of Azure with their flap test",
    .options = options,
    .state_size = sizeof(struct azure),
    .damps_itself = true,
    .init = azure_init,
    .decide = azure_decide,
};
