/* The load of a replay. Must never depend on what a contestant does. */
#include <math.h>
#include <stdlib.h>

#include "load.h"

#define ARRIVALS 1 /* purpose of the stream of chance */

int load_init(struct load *l, const struct replay_params *p, int min, int max)
{
    *l = (struct load){ .p = p, .min = min, .max = max, .arrivals = chance_new(p->seed, ARRIVALS) };
    l->carries = calloc((size_t)max + 1, sizeof *l->carries);
    for (int n = 1; l->carries && n <= max; n++)
        l->carries[n] = tier_carries(&p->tier, n);
    return l->carries ? AS_OK : AS_ENOMEM;
}

void load_fini(struct load *l)
{
    free(l->carries);
    l->carries = NULL;
}

/* The least number of instances that carries the rate within the SLO: by bisection in what n of them carry. */
static double demand_for(const struct load *l, double rate)
{
    int low = l->min > 1 ? l->min : 1, high = l->max;
    while (low < high) {
        int mid = low + (high - low) / 2;
        if (l->carries[mid] >= rate)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

double load_demand_70(const struct load *l, double rate)
{
    double n = ceil(rate / (l->p->tier.capacity * 0.7) - 1e-9);
    return n < l->min ? l->min : n > l->max ? l->max : n < 1 ? 1 : n;
}

double load_rate(const struct replay_params *p, double at)
{
    return p->scale * trace_at(p->trace, at * p->speed, p->between);
}

struct load_step load_step(struct load *l, double at, double dt)
{
    struct load_step s = { .rate = load_rate(l->p, at) };
    s.arrived = l->p->poisson ? chance_poisson(&l->arrivals, s.rate * dt) / dt : s.rate;
    s.demand = demand_for(l, s.rate);
    s.demand70 = load_demand_70(l, s.rate);
    s.needed = l->p->poisson ? demand_for(l, s.arrived) : s.demand;
    return s;
}
