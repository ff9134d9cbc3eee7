/* Reg (Iqbal, Dailey, Carrera, Janecek, FGCS 27(6), 2011): grows on the present load, shrinks to what a parabola
 * through the last hour says. A reference to compare with. Must never grow on the parabola. */
#include <math.h>
#include <stdio.h>

#include "reg.h"

struct reg {
    struct baseline base;
    as_time period, next;
    bool ahead;
    double at[REG_POINTS], needs[REG_POINTS]; /* a ring; times in periods */
    size_t count, head;
};

static const struct as_option options[] = {
    BASELINE_OPTIONS("100%"),
    { .name = "period",
      .type = AS_OPT_DURATION,
      .def = "60s",
      .min = 1000,
      .max = 3600000,
      .help = "the time of one step: how often it decides and keeps a point" },
    { .name = "ahead",
      .type = AS_OPT_BOOL,
      .def = "false",
      .help = "evaluate the parabola one lead time ahead instead of now, which the original does not" },
    { 0 },
};

static int reg_init(void *state, const struct as_settings *settings, struct as_error *err)
{
    struct reg *r = state;
    (void)err;
    baseline_init(&r->base, settings);
    r->period = as_settings_ms(settings, "period");
    r->ahead = as_settings_bool(settings, "ahead");
    return AS_OK;
}

/* Least squares in orthogonal polynomials over x moved to its mean and scaled: exact where a parabola is, and of
 * the degree that the number of different points allows. */
double reg_parabola(const double *x, const double *y, size_t n, double at)
{
    double mean = 0, span = 0, level = 0, xx = 0, xxx = 0, xy = 0;
    for (size_t i = 0; i < n; i++) {
        mean += x[i] / (double)n;
        level += y[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++)
        span = fmax(span, fabs(x[i] - mean));
    if (n < 2 || span <= 0)
        return level;
    for (size_t i = 0; i < n; i++) {
        double u = (x[i] - mean) / span;
        xx += u * u;
        xxx += u * u * u;
        xy += u * (y[i] - level);
    }
    double slope = xy / xx, bend = xxx / xx, base = xx / (double)n, qq = 0, qy = 0;
    for (size_t i = 0; i < n; i++) { /* q(u) = u^2 - bend u - base is orthogonal to 1 and u */
        double u = (x[i] - mean) / span, q = u * u - bend * u - base;
        qq += q * q;
        qy += q * (y[i] - level - slope * u);
    }
    double u = (at - mean) / span;
    return level + slope * u + (qq > 1e-9 ? qy / qq * (u * u - bend * u - base) : 0);
}

static void keep(struct reg *r, double at, double need)
{
    r->at[r->head] = at;
    r->needs[r->head] = need;
    r->head = (r->head + 1) % REG_POINTS;
    r->count += r->count < REG_POINTS;
}

static void reg_decide(void *state, const struct as_view *view, struct as_proposal *out)
{
    struct reg *r = state;
    double load, c = r->base.unit;
    if (!baseline_load(&r->base, view, 0, &load, out))
        return;
    if (!baseline_due(&r->next, view->now, r->period)) {
        baseline_repeat(&r->base, view, out);
        return;
    }
    int cap = view->current, need = policy_ceil(load / c), want = cap;
    double now = (double)view->now / (double)r->period;
    double when = r->ahead ? now + (double)view->lead / (double)r->period : now;
    keep(r, now, need);
    int fit = need;
    if (cap > need) {
        fit = policy_ceil(reg_parabola(r->at, r->needs, r->count, when));
        int room = policy_ceil(1.2 * fit);
        if (fit > 0)
            want = room < cap ? room : cap;
    } else if (load / c > cap * (1 + POLICY_EPSILON) && load - cap * c > 5) {
        want = policy_ceil(1.05 * load / c);
    }
    char then[80];
    snprintf(then, sizeof then, ": %d needed, %d by the parabola, want %d", need, fit, want);
    baseline_explain(&r->base, load, then, out);
    baseline_want(&r->base, view, want, out);
}

const struct as_policy_type as_policy_reg = {
    .name = "reg",
    .summary = "baseline: Reg, shrinks by a regression of degree 2 (FGCS 2011)",
    .options = options,
    .state_size = sizeof(struct reg),
    .damps_itself = true,
    .init = reg_init,
    .decide = reg_decide,
};
