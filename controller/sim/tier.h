/* A tier of servers behind one queue: what becomes of the requests of a step. Fluid in the large (a backlog that grows
 * and shrinks), M/M/c in the small (waiting and service vary though the tier is not full).
 *
 * The queueing formulas are those of autoscale/queueing.h. */
#ifndef SIM_TIER_H
#define SIM_TIER_H

#include <stddef.h>

enum tier_model { TIER_MMC, TIER_FLUID }; /* FLUID: a request that does not queue takes the service time    */

struct tier_params {
    double capacity;  /* requests a second one instance carries at most                                 */
    int workers;      /* of one instance; service time = workers / capacity                             */
    double slo_s;     /* a request that takes longer has missed                                          */
    double timeout_s; /* a request that waits longer is lost                                             */
    enum tier_model model;
};

#define TIER_TIMES 48

struct tier {
    struct tier_params p;
    double backlog;                        /* requests waiting beyond what the model's queue holds        */
    double arrived, served, lost, over;    /* totals; over: beyond the SLO, the lost ones included        */
    double tail[TIER_TIMES], tail_weight;  /* requests longer than each time of the scale                 */
    size_t minutes, missed;                /* so far; missed: more than 1 % of its requests were over       */
    double minute_s, minute_over, minute_all; /* of the minute under way                                  */
};

struct tier_step {
    double arrived, served, lost, over;    /* of this step                                                */
    double utilisation;                    /* served / capacity                                           */
    double mean_s;                         /* response time                                               */
    double in_system;                      /* requests in service and waiting (Little)                    */
    double queued;                         /* of them waiting                                             */
};

void tier_init(struct tier *t, const struct tier_params *p);
/* `rate` requests a second arrive at `n` instances for `dt` seconds. `sample`: take the times into account too. */
void tier_run(struct tier *t, double rate, int n, double dt, int sample, struct tier_step *out);
/* The time that share q (0..1) of all requests did not exceed, in seconds. */
double tier_quantile(const struct tier *t, double q);

/* The highest rate at which n instances keep all but 1 % of the requests within the SLO: what n carry. */
double tier_carries(const struct tier_params *p, int n);

#endif
