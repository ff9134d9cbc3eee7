/* The arithmetic of the Kubernetes HPA for one metric per pod, apart from its windows. */
#ifndef POLICIES_HPA_H
#define POLICIES_HPA_H

#include <stdbool.h>
#include <stdint.h>

struct hpa_pods {
    int current;                 /* replicas of the scale                                              */
    int ready, unready, missing; /* pods with a sample, pods that start, pods without a sample         */
    int64_t usage;               /* sum over the ready ones, in thousandths                            */
    int64_t request;             /* of one pod, for utilisation in percent; 0: the target is an amount */
    int64_t target;              /* percent, or thousandths                                            */
    double up, down;             /* tolerances                                                         */
};

/* Replicas wanted for this metric. `ready` must not be 0. */
int hpa_replicas(const struct hpa_pods *p);

/* Per-period limits: the size a policy of `value` pods or percent allows, from `start` at the period's begin.
 * In doubles and truncated like the original, also where that loses (trunc(5 * (1 - 80/100)) is 0). */
int hpa_limit_up(int start, bool percent, int value);
int hpa_limit_down(int start, bool percent, int value);
int hpa_whole(double x); /* cut toward 0, within the counts a policy may propose */

#endif
