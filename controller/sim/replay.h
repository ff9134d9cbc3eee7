/* replay: a recorded load through the daemon's own decisions, plans and lifecycle under a virtual clock. The world
 * around them is simulated: instances boot, fail and die, metrics arrive late or not at all, the tier is a
 * queue, the database has so many connections. The calendar is the trace's, where its times are dates, so that
 * schedules and seasons meet the load they met then. Seeded: the same seed gives the same run, bit for bit. */
#ifndef SIM_REPLAY_H
#define SIM_REPLAY_H

#include "../config/config.h"
#include "../loop/engine.h"
#include "tier.h"
#include "trace.h"

struct replay_params {
    const struct trace *trace;
    enum trace_between between;
    bool poisson;              /* arrivals of a step are drawn around the trace's rate                     */
    double speed;              /* trace seconds per second; 1 as recorded                                  */
    double scale;              /* rates are multiplied by this                                             */
    struct tier_params tier;
    double believed;           /* the true capacity is this times what the policies are told; 1            */
    double boot_s, boot_sigma; /* provisioning: lognormal of this median and sigma; 0: exactly             */
    const double *boots;       /* measured launches to draw from instead, in seconds                       */
    size_t boot_count;
    double fail_launch;        /* share of launches that fail                                              */
    double deaths_per_hour;    /* of one instance                                                          */
    bool cold;                 /* policies know nothing of the trace before its beginning                  */
    double metric_delay_s, metric_loss;
    double db_connections, db_per_instance; /* of the shared database; 0: none                             */
    uint64_t seed;
    void (*progress)(void *arg, double part); /* may be NULL                                               */
    void *arg;
};

struct replay {                /* one value per control interval; freed with replay_fini                   */
    size_t count, steps;       /* there are; there will be                                                 */
    double step_s;
    double *load;              /* offered, in requests a second                                            */
    double *demand, *demand70; /* instances that carry it at 100 % and at 70 % of capacity, within min, max */
    double *needed;            /* instances that carry what really arrived: drawn around the load          */
    double *supply;            /* instances that served                                                    */
    double *footprint;         /* instances that were paid for                                             */
    struct tier tier;          /* totals and times                                                         */
    double instance_hours;     /* paid, boots included                                                     */
    size_t outs, ins, launches, failures;
    char violation[200];       /* a guarantee that did not hold, or ""                                     */
};

/* Runs group 0 of the configuration; takes a reference on hold. The group's health checks and balancer are
 * replaced by the world's (replay_prepare). */
int replay_run(struct cfg_hold *hold, const struct replay_params *p, struct replay *out, struct as_error *err);
void replay_fini(struct replay *r);

/* Makes a loaded configuration fit for a replay: only `group` is left, without balancer, health checks and hosts
 * of its own. False when there is no such group (NULL: the first). */
bool replay_prepare(struct cfg *c, const char *group);

/* What a perfect policy pays that knows the whole load but the same boot time: its supply per step, freed by the
 * caller; NULL: out of memory. demand: per step, of what it shall be ready for. */
double *replay_oracle(const double *demand, size_t count, double step_s, double boot_s);

struct replay_frame {
    int min, max;
    double step_s;
};
/* The same load served by a given supply per step: misses, times and cost into *out (no decisions are made, no launch
 * fails). NULL: only what the load is and needs. */
int replay_given(const struct replay_params *p, struct replay_frame f, const double *supply, struct replay *out,
                 struct as_error *err);

#endif
