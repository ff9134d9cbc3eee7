/* The load of a replay, step by step: what the trace means, what arrives of it, and how many instances that needs. The
 * same for every contestant and for the yardsticks, whatever they do about it. */
#ifndef SIM_LOAD_H
#define SIM_LOAD_H

#include "chance.h"
#include "replay.h"

struct load {
    const struct replay_params *p;
    int min, max;
    struct chance arrivals;
    double *carries;  /* by n instances, within the latency goal                                       */
};

struct load_step {
    double rate;             /* that the trace means, in requests a second                             */
    double arrived;          /* requests a second of this step                                         */
    double demand, demand70; /* instances that carry `rate`: within the goal, at 70 % of capacity       */
    double needed;           /* instances that carry what arrived                                      */
};

/* AS_ENOMEM leaves nothing behind. */
int load_init(struct load *l, const struct replay_params *p, int min, int max);
void load_fini(struct load *l);
/* The step of `dt` seconds whose middle is `at` seconds after the start. Steps are asked for once each, in order. */
struct load_step load_step(struct load *l, double at, double dt);
/* Instances that carry the rate at 70 % of their capacity. */
double load_demand_70(const struct load *l, double rate);
double load_rate(const struct replay_params *p, double at);

#endif
