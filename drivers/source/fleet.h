/* What many like instances of several groups use, as samples: each instance's own, and for each group the sum,
 * the mean or the largest of its instances'.
 *
 * The object of a sample is the instance's id or the group's name. A series whose documented merge is
 * AS_MERGE_MAX is of groups alone. A sum is given only when every instance of the group tells its part; a mean
 * and a largest are of those that can tell already, so that a new instance does not blind its group. A group of
 * which one instance could not be asked is left out whole. */
#ifndef SOURCE_FLEET_H
#define SOURCE_FLEET_H

#include "autoscale/source.h"

#define FLEET_FIELDS     12
#define FLEET_GROUPS_MAX 1000
#define FLEET_ROWS_MAX   1200 /* instances of one endpoint: with all their series below AS_SAMPLES_CAP  */

struct fleet_row {          /* one instance during one poll                                        */
    char id[AS_NAME_MAX], group[AS_NAME_MAX];
    bool failed;            /* it could not be asked                                               */
    bool has[FLEET_FIELDS];
    double value[FLEET_FIELDS];
};

struct fleet {              /* zeroed by the caller, freed with fleet_fini                         */
    char (*groups)[AS_NAME_MAX]; /* seen since the start: one that has no instance left uses nothing  */
    size_t count, cap;
};

struct fleet_series {       /* the documented series and which field each is made of               */
    const struct as_series_doc *docs;
    const int *fields;
};

int fleet_add(struct fleet *f, const struct fleet_series *series, const struct fleet_row *rows, size_t count,
              struct as_samples *out, struct as_error *err);
void fleet_fini(struct fleet *f);

static inline void fleet_set(struct fleet_row *row, int field, double value)
{
    row->has[field] = true;
    row->value[field] = value;
}

#endif
