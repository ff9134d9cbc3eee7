/* The autoscaler of Google's managed instance groups: the peak of the last ten minutes, and scale-in controls over a
 * longer window. A reference to compare with. Must never shrink below what the recent peak needed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "baseline.h"

struct gce {
    struct baseline base;
    as_time window, period, stabilise, control_window, next;
    double control_share;
    int control_count;
    bool only_out, controls, seen;
    struct baseline_past past;
};

static const char *const modes[] = { "on", "only_scale_out", NULL };

static const struct as_option options[] = {
    BASELINE_OPTIONS("60%"),
    BASELINE_WINDOW_OPTION,
    { .name = "period",
      .type = AS_OPT_DURATION,
      .def = "10s",
      .min = 1000,
      .max = 600000,
      .help = "how often it decides" },
    { .name = "stabilization",
      .type = AS_OPT_DURATION,
      .def = "10m",
      .max = 3600000,
      .help = "shrinks to the most that was needed in this time" },
    { .name = "init_period",
      .type = AS_OPT_DURATION,
      .def = "60s",
      .max = 3600000,
      .help = "how long an instance takes to initialise: stabilization is at least this" },
    { .name = "control_window",
      .type = AS_OPT_DURATION,
      .def = "0s",
      .max = 3600000,
      .help = "scale-in control: the peak of this time counts; 0s: no control" },
    { .name = "control_count",
      .type = AS_OPT_INT,
      .def = "0",
      .max = POLICY_COUNT_MAX,
      .help = "scale-in control: so many instances below that peak are allowed" },
    { .name = "control_percent",
      .type = AS_OPT_PERCENT,
      .max = 1,
      .help = "scale-in control: as control_count, in percent of the present size" },
    { .name = "mode", .type = AS_OPT_CHOICE, .def = "on", .choices = modes, .help = "whether it may shrink" },
    { 0 },
};

static int gce_init(void *state, const struct as_settings *settings, struct as_error *err)
{
    struct gce *g = state;
    as_time init = as_settings_ms(settings, "init_period");
    baseline_init(&g->base, settings);
    g->window = as_settings_ms(settings, "window");
    g->period = as_settings_ms(settings, "period");
    g->stabilise = as_settings_ms(settings, "stabilization");
    g->stabilise = g->stabilise > init ? g->stabilise : init;
    g->control_window = as_settings_ms(settings, "control_window");
    g->control_count = (int)as_settings_int(settings, "control_count");
    g->control_share = as_settings_num(settings, "control_percent");
    g->controls = g->control_window > 0;
    if (!g->controls && (g->control_count || as_settings_has(settings, "control_percent")))
        return as_settings_fail(settings, "control_window", err,
                                "is needed beside control_count or control_percent");
    if (g->control_count && as_settings_has(settings, "control_percent"))
        return as_settings_fail(settings, "control_percent", err,
                                "give either control_count or control_percent");
    g->only_out = strcmp(as_settings_str(settings, "mode"), "on") != 0;
    return baseline_past_init(&g->past, g->stabilise > g->control_window ? g->stabilise : g->control_window,
                              g->period, err);
}

static void gce_fini(void *state)
{
    struct gce *g = state;
    free(g->past.ring);
    g->past.ring = NULL;
}

static int recommend(struct gce *g, const struct as_view *view, int need, double mean)
{
    if (!g->seen) /* the time before the start is unknown: what runs was needed */
        baseline_past_add(&g->past, view->now, view->current);
    g->seen = true;
    int rec = baseline_past_max(&g->past, view->now - g->stabilise, need);
    if (g->controls) {
        int peak = baseline_past_max(&g->past, view->now - g->control_window, need);
        int allowed = g->control_share > 0 ? (int)lround(g->control_share * view->current) : g->control_count;
        rec = rec > peak - allowed ? rec : peak - allowed;
    }
    baseline_past_add(&g->past, view->now, need);
    bool over = view->serving == 0 || mean > g->base.unit * (1 + POLICY_EPSILON);
    if (rec > view->current && !over)
        return view->current; /* grows only while those that serve are over their target */
    return g->only_out && rec < view->current ? view->current : rec;
}

static void gce_decide(void *state, const struct as_view *view, struct as_proposal *out)
{
    struct gce *g = state;
    double load;
    if (!baseline_load(&g->base, view, g->window, &load, out))
        return;
    if (!baseline_due(&g->next, view->now, g->period)) {
        baseline_repeat(&g->base, view, out);
        return;
    }
    int need = policy_ceil(load / g->base.unit);
    int want = recommend(g, view, need, view->serving > 0 ? load / view->serving : 0);
    char then[80];
    snprintf(then, sizeof then, ": %d needed now, want %d after the recent peaks", need, want);
    baseline_explain(&g->base, load, then, out);
    baseline_want(&g->base, view, want, out);
}

const struct as_policy_type as_policy_gce = {
    .name = "gce",
    .summary = "baseline: the autoscaler of Google Compute Engine's instance groups",
    .options = options,
    .state_size = sizeof(struct gce),
    .damps_itself = true,
    .init = gce_init,
    .decide = gce_decide,
    .fini = gce_fini,
};
