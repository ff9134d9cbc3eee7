/* Every policy of the program. */
#include <string.h>

#include "autoscale/registry.h"

extern const struct as_policy_type as_policy_auto, as_policy_target, as_policy_step, as_policy_ceiling,
    as_policy_floor, as_policy_forecast, as_policy_slo, as_policy_guard;
extern const struct as_policy_type as_policy_hpa, as_policy_kpa, as_policy_aws_target, as_policy_aws_step,
    as_policy_gce, as_policy_azure, as_policy_autopilot, as_policy_react, as_policy_adapt, as_policy_hist,
    as_policy_reg, as_policy_conpaas, as_policy_static;

const struct as_policy_type *const as_policy_types[] = {
    &as_policy_auto,       &as_policy_target,
    &as_policy_step,       &as_policy_ceiling,
    &as_policy_floor,      &as_policy_forecast,
    &as_policy_slo,        &as_policy_guard,
    &as_policy_hpa,        &as_policy_kpa,
    &as_policy_aws_target, &as_policy_aws_step,
    &as_policy_gce,        &as_policy_azure,
    &as_policy_autopilot,  &as_policy_react,
    &as_policy_adapt,      &as_policy_hist,
    &as_policy_reg,        &as_policy_conpaas,
    &as_policy_static,     NULL,
};

const struct as_policy_type *as_policy_find(const struct as_registry *r, const char *name)
{
    for (const struct as_policy_type *const *p = r->policies; *p; p++)
        if (!strcmp((*p)->name, name))
            return *p;
    return NULL;
}
