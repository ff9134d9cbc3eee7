/* weigh: aims each member's weight so that all answer alike (weighting = "load"). Who answers slower than the
 * group's median, and is proven to, gets less, step by step: an integral control of the square root of the
 * ratio, at most 30 % a step, one step for each piece of evidence, between 10 and 200 of the usual 100, never
 * zero. Who answers alike, or has nothing to do, drifts back to the usual. Never acts: the planner compares
 * the aim with what is set.
 *
 * A balancer tells a mean over hundreds of requests in whole milliseconds. A member that gets little work
 * would be judged by what it was minutes ago, so the newest work is taken out of that mean, with its error.
 *
 * With a weighting_source it is the CPU of the instances that shall be alike, by the same control. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "../runtime/log.h"
#include "engine.h"

#define WEIGHT_USUAL   100.0
#define WEIGHT_LEAST   10.0
#define WEIGHT_MOST    200.0
#define STEP_MOST      1.3
#define DRIFT          1.05
#define ALIKE          0.1
#define WORK_LEAST     10  /* pieces of work that are judged                                           */
#define SHARE_LEAST    0.1 /* of the mean that the newest work makes up, for a verdict "alike"         */
#define SHARE_MOST     0.5 /* from here on they are judged anew                                        */
#define NOTE_EVERY     AS_MINUTE /* steps of a minute are one entry of the history                     */
#define IDLE_INTERVALS 10 /* without work, until it is given more to be measured by                   */

#define CPU_ALIKE 0.2 /* readings of a few seconds scatter more than means over requests          */
#define CPU_LEAST 5   /* percent of the median, below which nobody has enough to do to be judged  */

struct pace { /* ms that the newest work took: certainly within least and most */
    double least, most, share;
};

static double within(double v, double least, double most)
{
    return v < least ? least : v > most ? most : v;
}

static bool measured(const struct instance *i, int pool)
{
    const struct membership *m = &i->pools[pool];
    return i->state == INST_SERVING && m->listed && m->state == AS_MEMBER_UP && m->response_ms > 0;
}

static void mark(struct membership *m)
{
    m->mark_ms = m->response_ms;
    m->mark_served = m->served;
}

/* The mean forgets exponentially once it is full. Before, it is the plain mean of all work there was. */
static struct pace newest(const struct membership *m)
{
    double n = m->served - m->mark_served, over = m->response_over;
    if (!(over > 0)) /* the balancer does not say: taken at its word */
        return (struct pace){ m->response_ms, m->response_ms, 1 };
    double share = m->mark_served == 0 ? 1 : m->served > over ? 1 - exp(-n / over) : n / over;
    if (n < WORK_LEAST || !(share > 0))
        return (struct pace){ 0, INFINITY, 0 };
    double ms = m->mark_ms + (m->response_ms - m->mark_ms) / share, error = 1 / share;
    return (struct pace){ fmax(0, ms - error), fmax(0, ms + error), share };
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_of(double *values, size_t n)
{
    qsort(values, n, sizeof *values, by_value);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
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
        if (measured(i, pool)) {
            struct pace p = newest(&i->pools[pool]);
            ms[n++] = within(i->pools[pool].response_ms, p.least, p.most);
        }
    double median = median_of(ms, n);
    free(ms);
    return median;
}

/* The factor that the evidence asks for, 1 for none. */
static double judge(struct membership *m, double median)
{
    struct pace p = newest(m);
    bool slow = p.least > median * (1 + ALIKE), quick = p.most < median * (1 - ALIKE);
    if (slow || quick)
        m->alike = false;
    else if (p.share >= SHARE_LEAST)
        m->alike = true;
    if (slow || quick || p.share >= SHARE_MOST)
        mark(m);
    if (!slow && !quick)
        return 1;
    return within(sqrt(median / fmax(slow ? p.least : p.most, 0.1)), 1 / STEP_MOST, STEP_MOST);
}

static double drift(double from)
{
    return from < WEIGHT_USUAL ? fmin(DRIFT, WEIGHT_USUAL / from) : fmax(1 / DRIFT, WEIGHT_USUAL / from);
}

static void weigh_member(struct membership *m, double median, as_time now, as_time interval)
{
    double from = m->weigh > 0 ? m->weigh : m->weight > 0 ? m->weight : WEIGHT_USUAL;
    bool idle = now - m->worked_at > IDLE_INTERVALS * interval;
    double by = judge(m, median);
    if (by == 1 && (m->alike || idle))
        by = drift(from);
    m->weigh = within(from * by, WEIGHT_LEAST, WEIGHT_MOST);
    m->weighed_at = now;
}

/* --- by CPU ------------------------------------------------------------------------------------------------ */

void weigh_cpu_take(struct instance *i, double percent, as_time now, as_time max_age)
{
    bool goes_on = i->notes->cpu.at > 0 && now <= i->notes->cpu.until;
    i->notes->cpu.percent = goes_on ? (i->notes->cpu.percent + percent) / 2 : percent;
    i->notes->cpu.at = now;
    i->notes->cpu.until = now + max_age;
}

static bool cpu_known(const struct instance *i, int pool, as_time now)
{
    const struct membership *m = &i->pools[pool];
    return i->state == INST_SERVING && m->listed && m->state == AS_MEMBER_UP && i->notes->cpu.at > 0 &&
           now <= i->notes->cpu.until;
}

/* 0 when fewer than two are known. */
static double median_cpu(const struct group *g, int pool)
{
    size_t n = 0, cap = 0;
    for (const struct instance *i = g->instances; i; i = i->next)
        cap += cpu_known(i, pool, g->engine->now);
    double *percent = cap >= 2 ? malloc(cap * sizeof *percent) : NULL;
    if (!percent)
        return 0;
    for (const struct instance *i = g->instances; i; i = i->next)
        if (cpu_known(i, pool, g->engine->now))
            percent[n++] = i->notes->cpu.percent;
    double median = median_of(percent, n);
    free(percent);
    return median;
}

/* One step for each reading. Without enough to do for all of them to be told apart they drift to the usual. */
static void weigh_by_cpu(struct group *g, int pool)
{
    as_time now = g->engine->now;
    double median = median_cpu(g, pool);
    for (struct instance *i = g->instances; i; i = i->next) {
        struct membership *m = &i->pools[pool];
        if (median <= 0 || !cpu_known(i, pool, now) || m->weighed_at >= i->notes->cpu.at)
            continue;
        double from = m->weigh > 0 ? m->weigh : m->weight > 0 ? m->weight : WEIGHT_USUAL;
        double ratio = i->notes->cpu.percent / median;
        m->alike = median < CPU_LEAST || fabs(ratio - 1) <= CPU_ALIKE;
        double by = m->alike ? drift(from) : within(sqrt(1 / fmax(ratio, 0.01)), 1 / STEP_MOST, STEP_MOST);
        m->weigh = within(from * by, WEIGHT_LEAST, WEIGHT_MOST);
        m->weighed_at = now;
    }
}

void weigh_pool(struct group *g, int pool)
{
    if (g->cfg->balancer.weigh && *g->cfg->balancer.weigh_source) {
        weigh_by_cpu(g, pool);
        return;
    }
    as_time now = g->engine->now, interval = g->engine->cfg->interval;
    double median = g->cfg->balancer.weigh ? median_response(g, pool) : 0;
    for (struct instance *i = g->instances; i; i = i->next) {
        struct membership *m = &i->pools[pool];
        if (!g->cfg->balancer.weigh) /* nor what is left of the time when it was */
            m->weigh = m->weigh > 0 ? WEIGHT_USUAL : 0;
        else if (m->served < m->mark_served ||
                 !measured(i, pool)) /* the balancer was restarted, or it is not there */
            mark(m);
        else if (median > 0 && now - m->weighed_at >= interval)
            weigh_member(m, median, now, interval);
    }
}

/* "web-1 100 -> 53 (182 ms), web-2 97 -> 130 (20 ms)" of those that have moved by a tenth since the last time. The
 * first weight seen is where they start. */
static size_t describe_steps(struct group *g, int pool, char *buf, size_t size)
{
    size_t n = 0;
    bool by_cpu = *g->cfg->balancer.weigh_source != '\0';
    buf[0] = '\0';
    for (struct instance *i = g->instances; i && n < size; i = i->next) {
        struct membership *m = &i->pools[pool];
        if (i->state != INST_SERVING || !m->listed || m->state != AS_MEMBER_UP || m->weight <= 0)
            continue;
        if (m->noted > 0 && 10 * abs(m->weight - m->noted) < m->noted)
            continue;
        if (m->noted > 0)
            n += (size_t)snprintf(buf + n, size - n, "%s%s %d -> %d (%.0f %s)", n ? ", " : "", i->id,
                                  m->noted, m->weight, by_cpu ? i->notes->cpu.percent : m->response_ms,
                                  by_cpu ? "% CPU" : "ms");
        m->noted = m->weight;
    }
    return n;
}

void weigh_note(struct group *g, int pool)
{
    struct pool *p = &g->pools[pool];
    as_time now = g->engine->now;
    char steps[240];
    if (!g->cfg->balancer.weigh || (p->noted_at && now - p->noted_at < NOTE_EVERY))
        return;
    if (describe_steps(g, pool, steps, sizeof steps) == 0)
        return;
    p->noted_at = now;
    log_info(g->cfg->name, "weights at %s: %s", p->name, steps);
    engine_event(g->engine, g->cfg->name, "", "weights", "%.70s: %s", p->name, steps);
}
