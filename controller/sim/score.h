/* score: elasticity metrics of a supply against a demand, on equal steps. Pure. Definitions and the worked example
 * that verifies them: SPEC RG (theta, tau, upsilon), BUNGEE (raw accuracy, jitter), as named below. */
#ifndef SIM_SCORE_H
#define SIM_SCORE_H

#include <stddef.h>

struct score {
    double accuracy_u, accuracy_o; /* mean units short, in excess (BUNGEE)                               */
    double a_u, a_o;               /* the same in percent of all units available                          */
    double theta_u, theta_o;       /* percent of demand short, in excess (SPEC RG)                        */
    double tau_u, tau_o;           /* percent of the time short, in excess                                */
    double upsilon, k, k2;         /* percent of steps in which supply and demand do not move alike; k: supply */
                                   /*   rises while demand does not, k2: the other way                     */
    double jitter;                 /* (changes of supply - changes of demand) per minute, in units         */
    double sigma5;                 /* distance from the perfect policy: 5-norm of theta, tau and upsilon    */
};

/* demand (>= 1) and supply at n equal steps of step_s seconds; `all`: units available. upsilon is formed on steps of
 * at least 60 s: finer ones are thinned to every 60 s. n >= 1. */
void score_elasticity(const double *demand, const double *supply, size_t n, double step_s, double all, struct score *out);

/* Elastic speedup of `a` against reference `ref`: geometric mean of the four ratios, each floored at 0.01 %. */
double score_speedup(const struct score *a, const struct score *ref);

#endif
