/* What a unit carries. Must never learn from a fleet that has just changed, nor from a queue that nobody measures. */
#include <math.h>

#include "auto_capacity.h"

#define SATURATED   0.3  /* seconds of the present capacity that wait                                */
#define CALM        0.05 /* so little waiting means that the capacity suffices                       */
#define EASE_STEP   0.01
#define EASE_AFTER  10.0 /* calm seconds close to the limit that earn one step                       */
#define EASE_NEAR   0.04
#define STEADY      (30 * AS_SECOND) /* how long the fleet must be the same: longer than metrics are late  */
#define STEADY_MOST 4096
#define G_LEAST     0.3
#define G_MOST      3.0

void capacity_init(struct capacity *c, double per_instance, double headroom)
{
    *c = (struct capacity){ .per_instance = per_instance, .headroom = headroom, .carries = 1 };
    for (int k = 0; k < CAPACITY_CLASSES; k++)
        c->margin[k] = headroom;
}

void capacity_clock(struct capacity *c)
{
    c->known = c->saturated = false;
    c->serving = c->steady = 0;
}

/* Two full ticks in a row show what the serving ones carry. A tick that is not full shows at most that a unit
 * carries more than was thought. */
static void learn_capacity(struct capacity *c, as_time tick, const struct look *l, const struct as_view *view,
                           bool full)
{
    double seconds = (double)tick / 1000, ready = view->serving;
    double served = l->knows_served ? l->served : l->x - (l->queue - c->queue) / (seconds * c->per_instance);
    double most = l->knows_served ? G_MOST : 1;
    if (ready <= 0 || c->steady * tick < STEADY)
        return;
    double each = served / ready, wait = l->queue / (ready * c->per_instance);
    if (full && c->saturated)
        c->carries += (1 - pow(0.7, seconds / 5)) * (each - c->carries);
    else if (wait < CALM && each > c->carries)
        c->carries = each;
    c->carries = fmin(most, fmax(G_LEAST, c->carries));
}

static int class_of(int n)
{
    int k = 0;
    while (n > 1 && k < CAPACITY_CLASSES - 1) {
        n /= 2;
        k++;
    }
    return k;
}

/* Headroom is for the doubt whether a unit really carries what was stated. Calm close to the limit takes from the
 * doubt, a queue below it adds. A small fleet never needs less of it than a large one. */
static void learn_margin(struct capacity *c, as_time tick, double x, double queue, int ready)
{
    double used = x / (ready * c->carries), wait = x > 0 ? queue / (x * c->per_instance) : 0;
    int k = class_of(ready);
    if (used >= 1 || wait < CALM)
        c->overrun = used >= 1;
    if (c->overrun || used < 1 - c->margin[k] - EASE_NEAR)
        return;
    if (wait < CALM) {
        c->calm_s[k] += (double)tick / 1000;
        if (c->calm_s[k] < EASE_AFTER)
            return;
        c->calm_s[k] = 0;
        c->margin[k] = fmax(c->headroom / 10, c->margin[k] - EASE_STEP);
    } else {
        c->calm_s[k] = 0;
        c->margin[k] = fmin(2 * c->headroom, fmax(c->margin[k], 1 - used + EASE_STEP));
    }
    for (int j = 0; j < CAPACITY_CLASSES; j++)
        c->margin[j] = j < k ? fmax(c->margin[j], c->margin[k]) : fmin(c->margin[j], c->margin[k]);
}

/* While requests queue up throughput shows capacity and not demand. */
static double while_full(struct capacity *c, as_time tick, const struct look *l, const struct as_view *view)
{
    double x = l->x, grown = (l->queue - c->queue) / ((double)tick / 1000 * c->per_instance);
    if (!l->knows_queue)
        return l->knows_served ? fmax(x, l->served) : x;
    if (l->knows_served && c->known)
        x = fmax(x, l->served + grown);
    bool full = view->serving > 0 && l->queue > SATURATED * view->serving * c->carries * c->per_instance;
    if (c->known)
        learn_capacity(c, tick, l, view, full);
    if (c->known && l->whole && view->serving > 0 && c->steady * tick >= STEADY)
        learn_margin(c, tick, x, l->queue, view->serving);
    c->peak = full ? fmax(x, c->saturated ? c->peak : 0) : 0;
    c->saturated = full;
    c->queue = l->queue;
    return fmax(x, c->peak);
}

double capacity_offered(struct capacity *c, as_time tick, const struct look *l, const struct as_view *view)
{
    c->steady = view->serving == c->serving ? c->steady + (c->steady < STEADY_MOST) : 0;
    double x = while_full(c, tick, l, view);
    c->serving = view->serving;
    c->known = true;
    return x;
}

double capacity_planned(const struct capacity *c, int n)
{
    return c->carries * (1 - c->margin[class_of(n)]);
}
