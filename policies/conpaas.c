/* ConPaaS (Fernandez, Pierre, Kielmann, IC2E 2014): three forecasters, of which the one that was best in the last
 * round sizes the group. A reference to compare with. Must never forecast from fewer than 21 steps. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conpaas.h"

enum { MODEL_AR, MODEL_LINE, MODEL_SEASON, MODELS };
#define SEASON_AHEAD 2

struct conpaas {
    struct baseline base;
    as_time period, next;
    double loads[CONPAAS_WINDOW];
    size_t count;
    struct conpaas_season season;
    bool promised;
    double promise[MODELS]; /* of the last round for this one */
};

static const struct as_option options[] = {
    BASELINE_OPTIONS("100%"),
    { .name = "period",
      .type = AS_OPT_DURATION,
      .def = "60s",
      .min = 1000,
      .max = 3600000,
      .help = "the time of one step: how often it decides and keeps the load" },
    { .name = "season",
      .type = AS_OPT_INT,
      .def = "1440",
      .min = 2,
      .max = 10080,
      .help = "the steps of one season for Holt-Winters" },
    { 0 },
};

static int conpaas_init(void *state, const struct as_settings *settings, struct as_error *err)
{
    struct conpaas *p = state;
    baseline_init(&p->base, settings);
    p->period = as_settings_ms(settings, "period");
    p->season.length = (size_t)as_settings_int(settings, "season");
    p->season.seasonal = calloc(p->season.length, sizeof *p->season.seasonal);
    return p->season.seasonal ? AS_OK : as_fail(err, AS_ENOMEM, "out of memory for the season of a policy");
}

static void conpaas_fini(void *state)
{
    struct conpaas *p = state;
    free(p->season.seasonal);
    p->season.seasonal = NULL;
}

/* --- forecasters -------------------------------------------------------------------------------------- */

/* Burg's recursion: close to the maximum of the likelihood, and always stable, also on 21 values. */
static void burg(const double *x, size_t n, double a[CONPAAS_ORDER])
{
    double f[CONPAAS_WINDOW], b[CONPAAS_WINDOW], old[CONPAAS_ORDER];
    memcpy(f, x, n * sizeof *f);
    memcpy(b, x, n * sizeof *b);
    memset(a, 0, CONPAAS_ORDER * sizeof *a);
    for (size_t m = 0; m < CONPAAS_ORDER; m++) {
        double num = 0, den = 0;
        for (size_t i = m + 1; i < n; i++) {
            num += f[i] * b[i - 1];
            den += f[i] * f[i] + b[i - 1] * b[i - 1];
        }
        if (den < 1e-12)
            return;
        double k = 2 * num / den;
        memcpy(old, a, sizeof old);
        for (size_t i = 0; i < m; i++)
            a[i] = old[i] - k * old[m - 1 - i];
        a[m] = k;
        for (size_t i = n; i-- > m + 1;) {
            double before = f[i];
            f[i] -= k * b[i - 1];
            b[i] = b[i - 1] - k * before;
        }
    }
}

void conpaas_autoregression(const double *y, size_t n, double *out, size_t steps)
{
    double x[CONPAAS_WINDOW + CONPAAS_AHEAD], a[CONPAAS_ORDER], mean = 0;
    n = n > CONPAAS_WINDOW ? CONPAAS_WINDOW : n;
    steps = steps > CONPAAS_AHEAD ? CONPAAS_AHEAD : steps;
    for (size_t i = 0; i < n; i++)
        mean += y[i] / (double)n;
    for (size_t i = 0; i < n; i++)
        x[i] = y[i] - mean;
    burg(x, n, a);
    for (size_t h = 0; h < steps; h++) {
        x[n + h] = 0;
        for (size_t i = 0; i < CONPAAS_ORDER; i++)
            x[n + h] += a[i] * x[n + h - 1 - i];
        out[h] = mean + x[n + h];
    }
}

void conpaas_line(const double *y, size_t n, double *out, size_t steps)
{
    double middle = ((double)n - 1) / 2, level = 0, xx = 0, xy = 0;
    for (size_t i = 0; i < n; i++)
        level += y[i] / (double)n;
    for (size_t i = 0; i < n; i++) {
        xx += ((double)i - middle) * ((double)i - middle);
        xy += ((double)i - middle) * (y[i] - level);
    }
    for (size_t h = 0; h < steps; h++)
        out[h] = level + xy / xx * ((double)(n + h) - middle);
}

void conpaas_season_add(struct conpaas_season *p, double y)
{
    double *s = &p->seasonal[p->at], before = p->level;
    if (!p->begun) {
        p->level = y;
    } else {
        p->level = 0.2 * (y - *s) + 0.8 * (p->level + p->trend);
        p->trend = 0.1 * (p->level - before) + 0.9 * p->trend;
        *s = 0.05 * (y - p->level) + 0.95 * *s;
    }
    p->begun = true;
    p->at = (p->at + 1) % p->length;
}

void conpaas_season_forecast(const struct conpaas_season *p, double *out, size_t steps)
{
    for (size_t h = 0; h < steps; h++)
        out[h] = p->level + (double)(h + 1) * p->trend + p->seasonal[(p->at + h) % p->length];
}

double conpaas_weigh(const double *forecast, size_t steps)
{
    double sum = 0, weights = 0;
    for (size_t i = 1; i <= steps; i++)
        if (forecast[i - 1] >= 0) {
            sum += (double)i * forecast[i - 1];
            weights += (double)i;
        }
    return weights > 0 ? sum / weights : 0;
}

/* --- decision ----------------------------------------------------------------------------------------- */

static void keep(struct conpaas *p, double load)
{
    conpaas_season_add(&p->season, load);
    if (p->count == CONPAAS_WINDOW) {
        memmove(p->loads, p->loads + 1, (CONPAAS_WINDOW - 1) * sizeof *p->loads);
        p->count--;
    }
    p->loads[p->count++] = load;
}

static int best_model(const struct conpaas *p, double load)
{
    int best = MODEL_AR;
    for (int m = 1; p->promised && m < MODELS; m++)
        if (fabs(p->promise[m] - load) < fabs(p->promise[best] - load))
            best = m;
    return best;
}

static int step(struct conpaas *p, int cap, double load, const char **model)
{
    static const char *const names[MODELS] = { "AR(9)", "regression", "Holt-Winters" };
    static const size_t steps[MODELS] = { CONPAAS_AHEAD, CONPAAS_AHEAD, SEASON_AHEAD };
    double f[MODELS][CONPAAS_AHEAD] = { { 0 } };
    keep(p, load);
    *model = "the load";
    if (p->count < CONPAAS_WINDOW)
        return policy_ceil(load / p->base.unit);
    int best = best_model(p, load);
    conpaas_autoregression(p->loads, p->count, f[MODEL_AR], CONPAAS_AHEAD);
    conpaas_line(p->loads, p->count, f[MODEL_LINE], CONPAAS_AHEAD);
    conpaas_season_forecast(&p->season, f[MODEL_SEASON], SEASON_AHEAD);
    p->promised = true;
    for (int m = 0; m < MODELS; m++)
        p->promise[m] = f[m][0];
    if (load <= p->base.unit)
        return 1;
    *model = names[best];
    double forecast = conpaas_weigh(f[best], steps[best]);
    return forecast > 0 ? policy_ceil(forecast / p->base.unit) : cap;
}

static void conpaas_decide(void *state, const struct as_view *view, struct as_proposal *out)
{
    struct conpaas *p = state;
    const char *model;
    double load;
    if (!baseline_load(&p->base, view, 0, &load, out))
        return;
    if (!baseline_due(&p->next, view->now, p->period)) {
        baseline_repeat(&p->base, view, out);
        return;
    }
    int want = step(p, view->current, load, &model);
    char then[64];
    snprintf(then, sizeof then, ": want %d by %s", want, model);
    baseline_explain(&p->base, load, then, out);
    baseline_want(&p->base, view, want, out);
}

const struct as_policy_type as_policy_conpaas = {
    .name = "conpaas",
    .summary = "baseline: ConPaaS, the best of three forecasters (IC2E 2014)",
    .options = options,
    .state_size = sizeof(struct conpaas),
    .damps_itself = true,
    .init = conpaas_init,
    .decide = conpaas_decide,
    .fini = conpaas_fini,
};
