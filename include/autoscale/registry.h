/* Every driver and policy of the program, as tables that end with NULL. */
#ifndef AUTOSCALE_REGISTRY_H
#define AUTOSCALE_REGISTRY_H

#include "autoscale/balancer.h"
#include "autoscale/compute.h"
#include "autoscale/policy.h"
#include "autoscale/source.h"

struct as_registry {
    const struct as_source_driver *const *sources;
    const struct as_compute_driver *const *computes;
    const struct as_balancer_driver *const *balancers;
    const struct as_policy_type *const *policies;
};

extern const struct as_source_driver *const as_source_drivers[];     /* drivers/registry.c          */
extern const struct as_compute_driver *const as_compute_drivers[];
extern const struct as_balancer_driver *const as_balancer_drivers[];
extern const struct as_policy_type *const as_policy_types[];         /* policies/registry.c         */

const struct as_policy_type *as_policy_find(const struct as_registry *r, const char *name);

#endif
