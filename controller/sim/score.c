/* score: sums over steps, as the definitions say. */
#include <math.h>
#include <string.h>

#include "score.h"

#define UPSILON_STEP 60.0
#define FLOOR        0.01 /* percent; a metric that is 0 would make a ratio undefined */

static double above(double v)
{
    return v > 0 ? v : 0;
}

static int sign(double v)
{
    return (v > 0) - (v < 0);
}

/* Moves of supply and demand from step to step, `every` steps apart. */
static void instability(const double *d, const double *s, size_t n, size_t every, struct score *out)
{
    size_t steps = 0, unlike = 0, up = 0, down = 0;
    for (size_t i = every; i < n; i += every) {
        int ds = sign(s[i] - s[i - every]), dd = sign(d[i] - d[i - every]);
        steps++;
        unlike += ds != dd;
        up += ds > dd;
        down += dd > ds;
    }
    if (steps == 0)
        return;
    out->upsilon = 100.0 * (double)unlike / (double)steps;
    out->k = 100.0 * (double)up / (double)steps;
    out->k2 = 100.0 * (double)down / (double)steps;
}

void score_elasticity(const double *demand, const double *supply, size_t n, double step_s, double all,
                      struct score *out)
{
    double moved_s = 0, moved_d = 0, steps = (double)n;
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < n; i++) {
        double d = demand[i] < 1 ? 1 : demand[i], s = supply[i];
        out->accuracy_u += above(d - s) / steps;
        out->accuracy_o += above(s - d) / steps;
        out->theta_u += 100 * above(d - s) / d / steps;
        out->theta_o += 100 * above(s - d) / d / steps;
        out->tau_u += 100 * (d > s) / steps;
        out->tau_o += 100 * (s > d) / steps;
        if (i > 0) {
            moved_s += fabs(s - supply[i - 1]);
            moved_d += fabs(demand[i] - demand[i - 1]);
        }
    }
    out->a_u = all > 0 ? 100 * out->accuracy_u / all : 0;
    out->a_o = all > 0 ? 100 * out->accuracy_o / all : 0;
    out->jitter = (moved_s - moved_d) / (steps * step_s / 60);
    size_t every = step_s < UPSILON_STEP ? (size_t)(UPSILON_STEP / step_s + 0.5) : 1;
    instability(demand, supply, n, every, out);
    out->sigma5 = pow(pow(out->theta_u, 5) + pow(out->theta_o, 5) + pow(out->tau_u, 5) + pow(out->tau_o, 5) +
                          pow(out->upsilon, 5),
                      0.2);
}

static double ratio(double ref, double a)
{
    return (ref < FLOOR ? FLOOR : ref) / (a < FLOOR ? FLOOR : a);
}

double score_speedup(const struct score *a, const struct score *ref)
{
    return pow(ratio(ref->theta_u, a->theta_u) * ratio(ref->theta_o, a->theta_o) *
                   ratio(ref->tau_u, a->tau_u) * ratio(ref->tau_o, a->tau_o),
               0.25);
}
