/* Step scaling as AWS does it: an alarm on either side of the target, and steps by how far the metric is beyond. Unlike
 * `step` it looks at points of one minute and counts what warms up as not there yet. A reference to compare with. Must
 * never answer one breach twice, nor shrink while an instance warms up. */
#include <math.h>

#include "baseline.h"
#include "change.h"

#define STEPS_MAX 20

struct aws_range {
    double from, to; /* percent points from the target */
    struct change change;
};

struct aws_step {
    struct baseline base;
    as_time period, warmup;
    int need_points, above, below; /* in a row */
    int min_change;
    size_t count;
    struct aws_range steps[STEPS_MAX];
    struct baseline_meter meter;
    struct baseline_warming warming;
};

/* The example of the documentation. */
static const struct {
    double from, to;
    const char *change;
} documented[] = {
    { -INFINITY, -20, "-30%" }, { -20, -10, "-10%" },     { -10, 0, "0" }, { 0, 10, "0" },
    { 10, 20, "+10%" },         { 20, INFINITY, "+30%" },
};

static const struct as_option step_options[] = {
    { .name = "from", .type = AS_OPT_NUMBER, .help = "begin of the range in percent points from the target" },
    { .name = "to", .type = AS_OPT_NUMBER, .help = "end of the range in percent points from the target" },
    { .name = "change",
      .type = AS_OPT_STRING,
      .flags = AS_OPT_REQUIRED,
      .help = "what to do to the count: \"+2\", \"-1\", \"+10%\", \"-30%\", \"=5\" or \"0\"" },
    { 0 },
};

static const struct as_option options[] = {
    BASELINE_OPTIONS("50%"),
    { .name = "steps",
      .type = AS_OPT_LIST,
      .sub = step_options,
      .help =
          "ranges; none given: -30% from 20 points below, -10% from 10, +10% from 10 above, +30% from 20" },
    { .name = "min_change",
      .type = AS_OPT_INT,
      .def = "1",
      .min = 1,
      .max = 10000,
      .help = "least number of instances a percentage changes" },
    { .name = "period",
      .type = AS_OPT_DURATION,
      .def = "60s",
      .min = 1000,
      .max = 3600000,
      .help = "the time of one point of the metric; each point is the mean per serving instance" },
    { .name = "points",
      .type = AS_OPT_INT,
      .def = "1",
      .min = 1,
      .max = 100,
      .help = "so many points in a row on one side of the target make an alarm" },
    { .name = "warmup",
      .type = AS_OPT_DURATION,
      .def = "5m",
      .max = 86400000,
      .help = "how long a new instance counts as warming up after it began to serve" },
    { 0 },
};

static int read_steps(struct aws_step *a, const struct as_settings *settings, struct as_error *err)
{
    a->count = as_settings_count(settings, "steps");
    if (a->count > STEPS_MAX)
        return as_settings_fail(settings, "steps", err, "give at most %d steps", STEPS_MAX);
    for (size_t i = 0; i < a->count; i++) {
        const struct as_settings *s = as_settings_sub(settings, "steps", i);
        struct aws_range *r = &a->steps[i];
        r->from = as_settings_has(s, "from") ? as_settings_num(s, "from") : -INFINITY;
        r->to = as_settings_has(s, "to") ? as_settings_num(s, "to") : INFINITY;
        if (r->from >= r->to || (r->from < 0 && r->to > 0))
            return as_settings_fail(s, "to", err, "must be above from, on the same side of the target (0)");
        if (!change_parse(as_settings_str(s, "change"), &r->change))
            return as_settings_fail(s, "change", err,
                                    "\"%.40s\" is not a change: write \"+2\", \"-10%%\" or \"=5\"",
                                    as_settings_str(s, "change"));
    }
    for (size_t i = 0; !as_settings_count(settings, "steps") && i < sizeof documented / sizeof *documented;
         i++) {
        struct aws_range *r = &a->steps[a->count++];
        r->from = documented[i].from;
        r->to = documented[i].to;
        change_parse(documented[i].change, &r->change);
    }
    return AS_OK;
}

static int aws_step_init(void *state, const struct as_settings *settings, struct as_error *err)
{
    struct aws_step *a = state;
    baseline_init(&a->base, settings);
    a->period = as_settings_ms(settings, "period");
    a->warmup = as_settings_ms(settings, "warmup");
    a->need_points = (int)as_settings_int(settings, "points");
    a->min_change = (int)as_settings_int(settings, "min_change");
    return read_steps(a, settings, err);
}

/* At and above the target a range holds its lower bound, below it its upper one. */
static const struct aws_range *range_of(const struct aws_step *a, double distance)
{
    const double slack = 1e-7;
    for (size_t i = 0; i < a->count; i++) {
        const struct aws_range *r = &a->steps[i];
        bool below = r->to <= 0;
        if (below ? distance > r->from + slack && distance <= r->to + slack && distance < -slack
                  : distance >= r->from - slack && distance < r->to - slack)
            return r;
    }
    return NULL;
}

static void count_alarms(struct aws_step *a, const struct baseline_point *p)
{
    double distance = 100 * (p->value - a->base.target);
    bool above = !p->missing && distance > -1e-7, below = !p->missing && !p->partial && distance <= -1e-7;
    a->above = above ? a->above + (a->above < a->need_points) : 0;
    a->below = below ? a->below + (a->below < a->need_points) : 0;
}

static void evaluate(struct aws_step *a, const struct as_view *view, const struct baseline_point *p, int warm,
                     struct as_proposal *out)
{
    int n = view->current, want = baseline_stand(&a->base, view);
    const struct aws_range *r = p->missing ? NULL : range_of(a, 100 * (p->value - a->base.target));
    const char *why = p->missing ? "a point is missing" : "no alarm";
    if (r && a->above >= a->need_points) {
        int to = change_apply(&r->change, warm, a->min_change);
        want = to > n ? to : n;
        why = "above";
    } else if (r && a->below >= a->need_points) {
        bool busy = view->pending > 0 || warm < view->serving;
        int to = change_apply(&r->change, n, a->min_change);
        why = busy ? "below, but some warm up" : "below";
        want = !busy && to < n ? to : n;
    }
    policy_words(out, a->base.metric, " at ", policy_num(100 * p->value).s,
                 " % of capacity per instance, target ", policy_num(100 * a->base.target).s, " %, ", why,
                 ": want ", policy_num(want).s, NULL);
    baseline_want(&a->base, view, want, out);
}

static void aws_step_decide(void *state, const struct as_view *view, struct as_proposal *out)
{
    struct aws_step *a = state;
    struct baseline_point point;
    double load;
    int warm = view->serving - baseline_warming(&a->warming, view, a->warmup);
    bool known = baseline_load(&a->base, view, 0, &load, out);
    if (known && view->serving > 0)
        baseline_meter_add(&a->meter, load / view->serving / a->base.per_instance, out->blind);
    bool ended = baseline_meter_end(&a->meter, view->now, a->period, &point);
    if (ended)
        count_alarms(a, &point);
    if (known && ended)
        evaluate(a, view, &point, warm, out);
    else if (known)
        baseline_repeat(&a->base, view, out);
}

const struct as_policy_type as_policy_aws_step = {
    .name = "aws_step",
    .summary = "baseline: step scaling as in AWS Auto Scaling",
    .options = options,
    .state_size = sizeof(struct aws_step),
    .damps_itself = true,
    .init = aws_step_init,
    .decide = aws_step_decide,
};
