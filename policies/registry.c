/* Every policy of the program. */
#include <string.h>

#include "autoscale/registry.h"

extern const struct as_policy_type as_policy_auto, as_policy_target, as_policy_step, as_policy_ceiling, as_policy_floor,
    as_policy_slo;

const struct as_policy_type *const as_policy_types[] = {
    &as_policy_auto, &as_policy_target, &as_policy_step, &as_policy_ceiling, &as_policy_floor, &as_policy_slo, NULL,
};

const struct as_policy_type *as_policy_find(const struct as_registry *r, const char *name)
{
    for (const struct as_policy_type *const *p = r->policies; *p; p++)
        if (!strcmp((*p)->name, name))
            return *p;
    return NULL;
}
