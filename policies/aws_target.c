/* Target tracking as AWS does it: two alarms over one-minute points, quick to grow, slow and careful to shrink. A
 * reference to compare with: the alarm counts and the low threshold are observed, not promised by AWS. Must never
 * shrink while an instance is on its way or warms up. */
#include "baseline.h"

struct aws_target {
    struct baseline base;
    as_time period, warmup;
    int high_points, low_points; /* how many in a row make an alarm */
    double low;                  /* as a share of the target */
    bool scale_in;
    int above, below; /* in a row so far */
    struct baseline_meter meter;
    struct baseline_warming warming;
};

static const struct as_option options[] = {
    BASELINE_OPTIONS("70%"),
    { .name = "period",
      .type = AS_OPT_DURATION,
      .def = "60s",
      .min = 1000,
      .max = 3600000,
      .help = "the time of one point of the metric; each point is the mean per serving instance" },
    { .name = "high_points",
      .type = AS_OPT_INT,
      .def = "3",
      .min = 1,
      .max = 100,
      .help = "so many points above the target in a row make it grow" },
    { .name = "low_points",
      .type = AS_OPT_INT,
      .def = "15",
      .min = 1,
      .max = 100,
      .help = "so many points below the low threshold in a row make it shrink" },
    { .name = "low_factor",
      .type = AS_OPT_PERCENT,
      .def = "90%",
      .min = 0.01,
      .max = 1,
      .help =
          "the low threshold as part of the target: 90% in Application Auto Scaling, 70% for CPU in EC2" },
    { .name = "warmup",
      .type = AS_OPT_DURATION,
      .def = "5m",
      .max = 86400000,
      .help = "how long a new instance counts as warming up after it began to serve" },
    { .name = "scale_in", .type = AS_OPT_BOOL, .def = "true", .help = "false: never shrinks" },
    { 0 },
};

static int aws_init(void *state, const struct as_settings *settings, struct as_error *err)
{
    struct aws_target *a = state;
    (void)err;
    baseline_init(&a->base, settings);
    a->period = as_settings_ms(settings, "period");
    a->warmup = as_settings_ms(settings, "warmup");
    a->high_points = (int)as_settings_int(settings, "high_points");
    a->low_points = (int)as_settings_int(settings, "low_points");
    a->low = as_settings_num(settings, "low_factor") * a->base.target;
    a->scale_in = as_settings_bool(settings, "scale_in");
    return AS_OK;
}

static void count_alarms(struct aws_target *a, const struct baseline_point *p)
{
    bool above = !p->missing && p->value > a->base.target * (1 + POLICY_EPSILON);
    bool below = !p->missing && !p->partial && p->value < a->low * (1 - POLICY_EPSILON);
    a->above = above ? a->above + (a->above < a->high_points) : 0;
    a->below = below ? a->below + (a->below < a->low_points) : 0;
}

static void say(const struct aws_target *a, double m, const char *why, int want, struct as_proposal *out)
{
    policy_words(out, a->base.metric, " at ", policy_num(100 * m).s, " % of capacity per instance, target ",
                 policy_num(100 * a->base.target).s, " %, ", why, ": want ", policy_num(want).s, NULL);
}

/* One point has come in; `warm` instances have warmed up. */
static void evaluate(struct aws_target *a, const struct as_view *view, const struct baseline_point *p,
                     int warm, struct as_proposal *out)
{
    double m = p->value, target = a->base.target;
    int n = view->current, want = baseline_stand(&a->base, view);
    const char *why = p->missing ? "a point is missing" : "no alarm";
    if (a->above >= a->high_points) {
        int need = policy_ceil(warm * m / target);
        want = need > n ? need : n;
        why = "high alarm";
    } else if (a->below >= a->low_points && a->scale_in) {
        int need = policy_ceil(n * m / target);
        why = "low alarm";
        if (view->pending > 0 || warm < view->serving)
            why = "low alarm, but some warm up";
        else if (n < 2 ? m > 0 : n * m / (n - 1) > target * (1 + POLICY_EPSILON))
            why = "low alarm, but one less would pass the target";
        else
            want = need < n ? need : n;
    }
    say(a, m, why, want, out);
    baseline_want(&a->base, view, want, out);
}

static void aws_decide(void *state, const struct as_view *view, struct as_proposal *out)
{
    struct aws_target *a = state;
    struct baseline_point point;
    double load;
    int warm = view->serving - baseline_warming(&a->warming, view, a->warmup);
    bool known = baseline_load(&a->base, view, 0, &load, out);
    if (known && view->serving > 0)
        baseline_meter_add(&a->meter, load / view->serving / a->base.per_instance, out->blind);
    bool ended = baseline_meter_end(&a->meter, view->now, a->period, &point);
    if (ended)
        count_alarms(a, &point);
    if (!known)
        return;
    if (ended)
        evaluate(a, view, &point, warm, out);
    else
        baseline_repeat(&a->base, view, out);
}

const struct as_policy_type as_policy_aws_target = {
    .name = "aws_target",
    .summary = "baseline: target tracking as in AWS Auto Scaling",
    .options = options,
    .state_size = sizeof(struct aws_target),
    .damps_itself = true,
    .init = aws_init,
    .decide = aws_decide,
};
