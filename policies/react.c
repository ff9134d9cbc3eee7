/* React (Chieu, Mohindra, Karve, Segal, ICEBE 2009): threshold scaling on the load of this moment. A reference to
 * compare with: must look at nothing but the present. */
#include <stdio.h>

#include "baseline.h"

struct react {
    struct baseline base;
    as_time window;
};

static const struct as_option options[] = { BASELINE_OPTIONS("100%"), BASELINE_WINDOW_OPTION, { 0 } };

static int react_init(void *state, const struct as_settings *settings, struct as_error *err)
{
    struct react *r = state;
    (void)err;
    baseline_init(&r->base, settings);
    r->window = as_settings_ms(settings, "window");
    return AS_OK;
}

static void react_decide(void *state, const struct as_view *view, struct as_proposal *out)
{
    struct react *r = state;
    double load;
    if (!baseline_load(&r->base, view, r->window, &load, out))
        return;
    int cap = view->current, need = policy_ceil(load / r->base.unit), want = cap;
    if (need > cap)
        want = policy_clamp((int64_t)cap + policy_floor(1.2 * (need - cap)));
    else if (1.1 * load / r->base.unit < cap * (1 - POLICY_EPSILON))
        want = policy_ceil(1.2 * need);
    char then[64];
    snprintf(then, sizeof then, ": %d needed, want %d", need, want);
    baseline_explain(&r->base, load, then, out);
    baseline_want(&r->base, view, want, out);
}

const struct as_policy_type as_policy_react = {
    .name = "react",
    .summary = "baseline: React, thresholds on the present load (ICEBE 2009)",
    .options = options,
    .state_size = sizeof(struct react),
    .damps_itself = true,
    .init = react_init,
    .decide = react_decide,
};
