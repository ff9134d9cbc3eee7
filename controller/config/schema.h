/* The blocks every configuration has, as option tables: the reader, the manual page and `autoscale
 * drivers --man-blocks` all use these. Options of a driver or policy come from its own table and
 * stand in the same block. */
#ifndef CONFIG_SCHEMA_H
#define CONFIG_SCHEMA_H

#include "autoscale/settings.h"

extern const struct as_option schema_controller[];
extern const struct as_option schema_source[];   /* beside the source driver's own   */
extern const struct as_option schema_compute[];  /* beside the compute driver's own  */
extern const struct as_option schema_balancer[]; /* beside the balancer driver's own */
extern const struct as_option schema_policy[];   /* beside the policy type's own     */
extern const struct as_option schema_group[];    /* compute and balancer have no sub table here: see above */
extern const struct as_option schema_health[];
extern const struct as_option schema_scale_out[];
extern const struct as_option schema_scale_in[];

struct schema_block {
    const char *title;   /* as it stands in the file: "groups.NAME.health" */
    const char *summary; /* one sentence */
    const struct as_option *options;
};
extern const struct schema_block schema_blocks[]; /* in the order of the manual; ends with a NULL title */

/* The keys of the file itself, ends with NULL. */
extern const char *const schema_top_level[];

#endif
