/* weigh: aims each member's weight so that all answer alike (weighting = "load"). The slower a member than the
 * group's median, the smaller its weight becomes, step by step: an integral control of the square root of the
 * ratio, at most 30 % a step, one step an interval, between 10 and 200 of the usual 100, never zero. Alike
 * within a tenth is let be. Never acts: the planner compares the aim with what is set. */
#include <math.h>
#include <stdlib.h>

#include "engine.h"

#define WEIGHT_USUAL 100.0
#define WEIGHT_LEAST 10.0
#define WEIGHT_MOST 200.0
#define STEP_MOST 1.3
#define ALIKE 0.1

static bool measured(const struct instance *i, int pool)
{
    const struct membership *m = &i->pools[pool];
    return i->state == INST_SERVING && m->listed && m->state == AS_MEMBER_UP && m->response_ms > 0;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* 0 when fewer than two members were measured: then there is nothing to compare. */
static double median_response(const struct group *g, int pool)
{
    size_t n = 0, cap = 0;
    for (const struct instance *i = g->instances; i; i = i->next)
        cap += measured(i, pool);
    double *ms = cap >= 2 ? malloc(cap * sizeof *ms) : NULL;
    if (!ms)
        return 0;
    for (const struct instance *i = g->instances; i; i = i->next)
        if (measured(i, pool))
            ms[n++] = i->pools[pool].response_ms;
    qsort(ms, n, sizeof *ms, by_value);
    double median = n % 2 ? ms[n / 2] : (ms[n / 2 - 1] + ms[n / 2]) / 2;
    free(ms);
    return median;
}

static double within(double v, double least, double most)
{
    return v < least ? least : v > most ? most : v;
}

void weigh_pool(struct group *g, int pool)
{
    as_time now = g->engine->now;
    double median = median_response(g, pool);
    for (struct instance *i = g->instances; i && median > 0; i = i->next) {
        struct membership *m = &i->pools[pool];
        if (!measured(i, pool) || now - m->weighed_at < g->engine->cfg->interval)
            continue;
        m->weighed_at = now;
        double ratio = median / m->response_ms, from = m->weigh > 0 ? m->weigh : WEIGHT_USUAL;
        if (!m->moved) /* nothing new was measured: drift back to where it would be measured again */
            ratio = from < WEIGHT_USUAL ? 1.05 : 1;
        else if (fabs(ratio - 1) <= ALIKE)
            ratio = 1;
        m->weigh = within(from * within(sqrt(ratio), 1 / STEP_MOST, STEP_MOST), WEIGHT_LEAST, WEIGHT_MOST);
    }
}
