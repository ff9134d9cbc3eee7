/* A tier of servers as a queue. Pure arithmetic. */
#include <math.h>
#include <string.h>

#include "autoscale/queueing.h"
#include "tier.h"

#define BUSY_MOST  0.98  /* the small queue is stable below 1; what is beyond is the backlog's matter */
#define MISSED     0.01  /* share of a minute's requests over the SLO that makes it a missed one */
#define TIME_LEAST 0.001 /* scale of times: 1 ms to about 100 s */
#define TIME_STEP  1.28

void tier_init(struct tier *t, const struct tier_params *p)
{
    memset(t, 0, sizeof *t);
    t->p = *p;
}

/* What the small queue looks like during a step. */
struct small_queue {
    double lambda, mu, wait; /* wait: P(wait > 0) */
    int c;
};

static struct small_queue small_queue(const struct tier *t, double rate, int n)
{
    struct small_queue q = { .c = n * t->p.workers, .mu = t->p.capacity / t->p.workers };
    double most = BUSY_MOST * n * t->p.capacity;
    q.lambda = rate < most ? rate : most;
    q.wait = t->p.model == TIER_MMC ? as_erlang_c(q.lambda / q.mu, q.c) : 0;
    return q;
}

static double tail_at(const struct tier *t, const struct small_queue *q, double time)
{
    if (t->p.model == TIER_FLUID)
        return time < 1 / q->mu ? 1 : 0;
    return as_response_tail(q->wait, q->c * q->mu - q->lambda, q->mu, time);
}

static void sample_times(struct tier *t, const struct small_queue *q, double delay, double requests)
{
    double time = TIME_LEAST;
    for (int k = 0; k < TIER_TIMES; k++, time *= TIME_STEP)
        t->tail[k] += requests * tail_at(t, q, time - delay);
    t->tail_weight += requests;
}

double tier_carries(const struct tier_params *p, int n)
{
    struct tier t = { .p = *p };
    double low = 0, high = n * p->capacity;
    if (p->model == TIER_FLUID || n <= 0)
        return n > 0 ? high : 0;
    for (int k = 0; k < 40; k++) {
        double rate = (low + high) / 2;
        struct small_queue q = small_queue(&t, rate, n);
        if (rate < BUSY_MOST * n * p->capacity && tail_at(&t, &q, p->slo_s) <= 0.01)
            low = rate;
        else
            high = rate;
    }
    return low;
}

static void count_minutes(struct tier *t, const struct tier_step *s, double dt)
{
    double left = dt, all = s->served + s->lost;
    while (left > 1e-9) { /* a step may be longer than a minute */
        double rest = 60 - t->minute_s, part = left < rest ? left : rest;
        t->minute_over += s->over * part / dt;
        t->minute_all += all * part / dt;
        t->minute_s += part;
        left -= part;
        if (t->minute_s < 60 - 1e-6)
            continue;
        t->minutes++;
        t->missed += t->minute_all > 0 && t->minute_over > MISSED * t->minute_all;
        t->minute_s = t->minute_over = t->minute_all = 0;
    }
}

void tier_run(struct tier *t, double rate, int n, double dt, int sample, struct tier_step *out)
{
    double full = n * t->p.capacity, before = t->backlog;
    *out = (struct tier_step){ .arrived = rate * dt };
    double offered = out->arrived + before;
    out->served = offered < full * dt ? offered : full * dt;
    t->backlog = offered - out->served;
    double patience = (n > 0 ? full : rate) * t->p.timeout_s; /* who stands further back gives up */
    if (t->backlog > patience) {
        out->lost = t->backlog - patience;
        t->backlog = patience;
    }
    if (n > 0) {
        struct small_queue q = small_queue(t, rate, n);
        double delay = (before + t->backlog) / 2 / full, theta = q.c * q.mu - q.lambda;
        double wait = t->p.model == TIER_MMC ? q.wait / theta : 0;
        out->utilisation = out->served / (full * dt);
        out->mean_s = delay + 1 / q.mu + wait;
        out->queued = (before + t->backlog) / 2 + q.lambda * wait;
        out->in_system = out->queued + out->served / dt / q.mu;
        out->over = out->lost + out->served * tail_at(t, &q, t->p.slo_s - delay);
        if (sample)
            sample_times(t, &q, delay, out->served);
    } else {
        out->queued = out->in_system = t->backlog;
        out->mean_s = t->p.timeout_s;
        out->over = out->arrived > out->lost ? out->arrived : out->lost;
    }
    t->arrived += out->arrived;
    t->served += out->served;
    t->lost += out->lost;
    t->over += out->over;
    count_minutes(t, out, dt);
}

double tier_quantile(const struct tier *t, double q)
{
    double time = TIME_LEAST, goal = (1 - q) * t->tail_weight;
    for (int k = 0; k < TIER_TIMES; k++, time *= TIME_STEP) {
        if (t->tail[k] > goal)
            continue;
        double above = k ? t->tail[k - 1] : t->tail_weight, span = above - t->tail[k];
        double part = span > 0 ? (above - goal) / span : 1; /* straight line within the step of the scale */
        double from = k ? time / TIME_STEP : 0;
        return from + part * (time - from);
    }
    return time;
}
