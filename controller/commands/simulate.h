/* What the parts of `autoscale simulate` share: its options, one run's outcome, and how outcomes are shown. */
#ifndef COMMANDS_SIMULATE_H
#define COMMANDS_SIMULATE_H

#include "../sim/replay.h"
#include "../sim/score.h"

#define CONTESTANTS_MAX 64

struct contest {             /* what all contestants share                                          */
    const char *config, *group, *trace_path, *svg;
    struct trace trace;
    struct replay_params params;
    int min, max;
    double interval_s, price; /* price: instance-hours a missed minute is worth                     */
    int seeds;
    bool json;
};

struct outcome {             /* of one contestant: sums over the seeds, then their means            */
    char name[96];
    struct score at100, at70;
    double over_percent, lost_percent, miss_minutes, p50, p95, p99;
    double adaptations, hours, pain, speedup;
    double *by_seed;         /* hours and missed minutes of each seed in turn; NULL for a yardstick */
    int seeds;
    double kappa;            /* percent of comparisons with the other contestants won, ties half    */
    double cost_ratio, pain_ratio; /* against the oracle; 0: not known                              */
    char violation[200];
};

void outcome_add(struct outcome *o, const struct contest *c, const struct replay *r);
void outcome_fini(struct outcome *o);
void outcome_sum(struct outcome *to, const struct outcome *o); /* but for names, seeds and ratios */
void outcome_mean(struct outcome *o, int seeds);
/* Pairwise competition of the first `count`: theta, tau, upsilon and share over the SLO, each less than another's. */
void outcome_compete(struct outcome *all, size_t count);
void print_outcomes(FILE *out, const struct contest *c, const struct outcome *all, size_t count);
int print_outcomes_json(const struct contest *c, const struct outcome *all, size_t count);

/* The configuration of one contestant "NAME" or "TYPE:option=value,…" for the contest's group, as libconfig text.
 * NULL with *err when there is no such type or option. */
char *contestant_config(const struct contest *c, const char *spec, struct as_error *err);
extern const struct as_registry simulate_registry;

#endif
