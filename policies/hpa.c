/* Kubernetes' Horizontal Pod Autoscaler (autoscaling/v2) as a policy: per-pod average, tolerance, windows and
 * rates. A reference to compare with: must never be "improved", also where the original rounds oddly. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "baseline.h"
#include "hpa.h"

#define LIMITS_MAX 8
#define EVENTS_MAX 128

struct limit {
    bool percent;
    int value;
    as_time period;
};

enum select { SELECT_MAX, SELECT_MIN, SELECT_DISABLED };

struct direction {
    as_time window;
    enum select select;
    size_t count;
    struct limit limits[LIMITS_MAX];
    struct baseline_mark events[EVENTS_MAX]; /* the changes made, a ring */
    size_t next;
};

struct hpa {
    struct baseline base;
    as_time sync, window, next;
    double tolerance_up, tolerance_down;
    bool behavior, seen;
    struct direction up, down;
    struct baseline_past past;
};

static const char *const selects[] = { "max", "min", "disabled", NULL };
static const char *const kinds[] = { "pods", "percent", NULL };

static const struct as_option limit_options[] = {
    { .name = "type", .type = AS_OPT_CHOICE, .def = "pods", .choices = kinds, .help = "what value counts" },
    { .name = "value",
      .type = AS_OPT_INT,
      .flags = AS_OPT_REQUIRED,
      .min = 1,
      .max = POLICY_COUNT_MAX,
      .help = "by how much the size may change within the period" },
    { .name = "period",
      .type = AS_OPT_DURATION,
      .def = "15s",
      .min = 1000,
      .max = 1800000,
      .help = "the period" },
    { 0 },
};

static const struct as_option options[] = {
    BASELINE_OPTIONS("70%"),
    BASELINE_WINDOW_OPTION,
    { .name = "sync",
      .type = AS_OPT_DURATION,
      .def = "15s",
      .min = 1000,
      .max = 600000,
      .help = "how often it decides" },
    { .name = "tolerance_up",
      .type = AS_OPT_PERCENT,
      .def = "10%",
      .max = 1,
      .help = "no change while the metric is this little above its target" },
    { .name = "tolerance_down",
      .type = AS_OPT_PERCENT,
      .def = "10%",
      .max = 1,
      .help = "no change while the metric is this little below its target" },
    { .name = "behavior",
      .type = AS_OPT_BOOL,
      .def = "false",
      .help =
          "whether the resource has a behavior section: only then up_window, select and the limits hold" },
    { .name = "up_window",
      .type = AS_OPT_DURATION,
      .def = "0s",
      .max = 3600000,
      .help = "stabilisation: grows to the least that was asked for in this time" },
    { .name = "down_window",
      .type = AS_OPT_DURATION,
      .def = "5m",
      .max = 3600000,
      .help = "stabilisation: shrinks to the most that was asked for in this time" },
    { .name = "up_select",
      .type = AS_OPT_CHOICE,
      .def = "max",
      .choices = selects,
      .help =
          "which limit holds for growth: that of the largest change, of the smallest, or no change at all" },
    { .name = "down_select",
      .type = AS_OPT_CHOICE,
      .def = "max",
      .choices = selects,
      .help = "which limit holds for shrinking: that of the largest change, of the smallest, or no change at "
              "all" },
    { .name = "up_limits",
      .type = AS_OPT_LIST,
      .sub = limit_options,
      .help = "limits of growth; none given: 4 pods and 100 percent per 15s" },
    { .name = "down_limits",
      .type = AS_OPT_LIST,
      .sub = limit_options,
      .help = "limits of shrinking; none given: 100 percent per 15s" },
    { 0 },
};

/* --- settings ---------------------------------------------------------------------------------------- */

static int read_direction(struct direction *d, const struct as_settings *s, const char *const names[3],
                          struct as_error *err)
{
    const char *select = as_settings_str(s, names[1]);
    d->window = as_settings_ms(s, names[0]);
    d->select = !strcmp(select, "max") ? SELECT_MAX : !strcmp(select, "min") ? SELECT_MIN : SELECT_DISABLED;
    d->count = as_settings_count(s, names[2]);
    if (d->count > LIMITS_MAX)
        return as_settings_fail(s, names[2], err, "give at most %d limits", LIMITS_MAX);
    for (size_t i = 0; i < d->count; i++) {
        const struct as_settings *l = as_settings_sub(s, names[2], i);
        d->limits[i] = (struct limit){ .percent = !strcmp(as_settings_str(l, "type"), "percent"),
                                       .value = (int)as_settings_int(l, "value"),
                                       .period = as_settings_ms(l, "period") };
    }
    return AS_OK;
}

static int hpa_init(void *state, const struct as_settings *settings, struct as_error *err)
{
    static const char *const up[3] = { "up_window", "up_select", "up_limits" };
    static const char *const down[3] = { "down_window", "down_select", "down_limits" };
    struct hpa *h = state;
    baseline_init(&h->base, settings);
    h->sync = as_settings_ms(settings, "sync");
    h->window = as_settings_ms(settings, "window");
    h->tolerance_up = as_settings_num(settings, "tolerance_up");
    h->tolerance_down = as_settings_num(settings, "tolerance_down");
    h->behavior = as_settings_bool(settings, "behavior");
    int rc = read_direction(&h->up, settings, up, err);
    if (!rc)
        rc = read_direction(&h->down, settings, down, err);
    if (rc)
        return rc;
    if (!h->up.count) {
        h->up.limits[h->up.count++] = (struct limit){ false, 4, 15 * AS_SECOND };
        h->up.limits[h->up.count++] = (struct limit){ true, 100, 15 * AS_SECOND };
    }
    if (!h->down.count)
        h->down.limits[h->down.count++] = (struct limit){ true, 100, 15 * AS_SECOND };
    as_time longest = h->up.window > h->down.window ? h->up.window : h->down.window;
    return baseline_past_init(&h->past, longest, h->sync, err);
}

static void hpa_fini(void *state)
{
    struct hpa *h = state;
    free(h->past.ring);
    h->past.ring = NULL;
}

/* --- windows and rates ------------------------------------------------------------------------------- */

static int stabilise(struct hpa *h, const struct as_view *view, int proposal)
{
    int rec = view->current;
    if (!h->seen) /* what runs was asked for: no shrinking for one window after a start */
        baseline_past_add(&h->past, view->now, view->current);
    h->seen = true;
    /* "newer than" leaves out the very end of the window; without behavior the end belongs to it */
    int lo = baseline_past_min(&h->past, view->now - h->up.window + 1, proposal);
    int hi = baseline_past_max(&h->past, view->now - h->down.window + (h->behavior ? 1 : 0), proposal);
    baseline_past_add(&h->past, view->now, proposal);
    if (!h->behavior)
        return hi;
    rec = rec < lo ? lo : rec;
    return rec > hi ? hi : rec;
}

static int changed(const struct direction *d, as_time now, as_time period)
{
    int64_t sum = 0;
    for (size_t i = 0; i < EVENTS_MAX; i++)
        if (d->events[i].count && d->events[i].at > now - period)
            sum += d->events[i].count;
    return policy_clamp(sum);
}

/* `cur` is the size asked for: the host may not have reached it yet, and that is no reason to ask for less. */
static int limit_of(const struct hpa *h, const struct as_view *view, int cur, bool grow)
{
    const struct direction *d = grow ? &h->up : &h->down;
    int best = cur;
    if (d->select == SELECT_DISABLED)
        return cur;
    for (size_t i = 0; i < d->count; i++) {
        const struct limit *l = &d->limits[i];
        int64_t begin =
            (int64_t)cur - changed(&h->up, view->now, l->period) + changed(&h->down, view->now, l->period);
        int start = policy_clamp(begin);
        int n =
            grow ? hpa_limit_up(start, l->percent, l->value) : hpa_limit_down(start, l->percent, l->value);
        bool largest = grow == (d->select == SELECT_MAX);
        if (i == 0 || (largest ? n > best : n < best))
            best = n;
    }
    return (grow ? best < cur : best > cur) ? cur : best;
}

static int rate_limit(const struct hpa *h, const struct as_view *view, int cur, int rec)
{
    int most = rec, least = rec;
    if (!h->behavior)
        most = 2 * cur > 4 ? 2 * cur : 4;
    else if (rec > cur)
        most = limit_of(h, view, cur, true);
    else if (rec < cur)
        least = limit_of(h, view, cur, false);
    rec = rec > most ? most : rec < least ? least : rec;
    return rec < view->min ? view->min : rec > view->max ? view->max : rec;
}

static void note_change(struct hpa *h, const struct as_view *view, int cur, int want)
{
    if (!h->behavior || want == cur)
        return;
    struct direction *d = want > cur ? &h->up : &h->down;
    d->events[d->next] = (struct baseline_mark){ .at = view->now, .count = abs(want - cur) };
    d->next = (d->next + 1) % EVENTS_MAX;
}

/* --- decision ---------------------------------------------------------------------------------------- */

static int from_metric(const struct hpa *h, const struct as_view *view, double load)
{
    double milli = fmin(load * 1000, 1e15), target = fmin(fmax(1, h->base.unit * 1000), 1e15);
    struct hpa_pods pods = { .current = view->current,
                             .ready = view->serving,
                             .unready = view->pending,
                             .usage = llround(milli),
                             .target = llround(target),
                             .up = h->tolerance_up,
                             .down = h->tolerance_down };
    if (view->current == 0)
        return hpa_whole(ceil((double)pods.usage / (double)pods.target));
    return hpa_replicas(&pods);
}

static void hpa_decide(void *state, const struct as_view *view, struct as_proposal *out)
{
    struct hpa *h = state;
    double load;
    if (!baseline_load(&h->base, view, h->window, &load, out))
        return;
    if (!baseline_due(&h->next, view->now, h->sync)) {
        baseline_repeat(&h->base, view, out);
        return;
    }
    int want = view->current > view->max ? view->max : view->min;
    if (view->current > view->max || view->current < view->min) {
        policy_reason(out, "%d is outside of %d to %d: want %d at once", view->current, view->min, view->max,
                      want);
    } else if (view->current > 0 && view->serving == 0) {
        want = view->current;
        policy_reason(out, "no pod is ready (%d on their way): want %d, no change", view->pending, want);
    } else {
        int raw = from_metric(h, view, load);
        int rec = stabilise(h, view, raw);
        int asked = baseline_stand(&h->base, view);
        want = rate_limit(h, view, asked, rec);
        note_change(h, view, asked, want);
        policy_reason(out, "%.60s %s / %s per pod: %d asked, %d stabilised, %d within the rates",
                      h->base.metric, policy_num(load).s, policy_num(h->base.unit).s, raw, rec, want);
    }
    baseline_want(&h->base, view, want, out);
}

const struct as_policy_type as_policy_hpa = {
    .name = "hpa",
    .summary = "baseline: the Kubernetes Horizontal Pod Autoscaler, version 2",
    .options = options,
    .state_size = sizeof(struct hpa),
    .damps_itself = true,
    .init = hpa_init,
    .decide = hpa_decide,
    .fini = hpa_fini,
};
