/* The arithmetic of Knative's pod autoscaler, apart from its averages. */
#ifndef POLICIES_KPA_H
#define POLICIES_KPA_H

#include "baseline.h"

struct kpa_rates {
    double target, up, down, threshold;
    as_time stable;
    int activation;
};
struct kpa_memory {
    bool seen, panic;
    as_time since; /* the last tick over the threshold */
    int most;      /* wanted in this panic */
};

/* Wants so many for the two averages, and moves the memory on. The first call with more than one ready begins in
 * panic at that size, so that a restart takes nothing away. */
int kpa_want(struct kpa_memory *m, const struct kpa_rates *r, as_time now, int ready, const double averages[2]);

#endif
