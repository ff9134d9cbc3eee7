/* What libvirt tells of a domain's use, and rates made of it. Pure: no connection here. */
#ifndef SOURCE_LIBVIRT_STATS_H
#define SOURCE_LIBVIRT_STATS_H

#include <libvirt/libvirt.h>

#include "fleet.h"

enum libvirt_field {
    LIBVIRT_CPU_PERCENT,
    LIBVIRT_CPUS,
    LIBVIRT_MEMORY,
    LIBVIRT_MEMORY_PERCENT,
    LIBVIRT_RESIDENT,
    LIBVIRT_NET_IN,
    LIBVIRT_NET_OUT,
    LIBVIRT_DISK_READ,
    LIBVIRT_DISK_WRITE,
    LIBVIRT_DISK_OPS,
    LIBVIRT_ONE,
};
extern const struct as_series_doc libvirt_series[];
extern const struct fleet_series libvirt_fleet_series;

enum libvirt_count {        /* what only grows while a domain runs                                 */
    LIBVIRT_COUNT_CPU_NS,   /* of all its vcpus together                                           */
    LIBVIRT_COUNT_NET_IN,
    LIBVIRT_COUNT_NET_OUT,
    LIBVIRT_COUNT_DISK_READ,
    LIBVIRT_COUNT_DISK_WRITE,
    LIBVIRT_COUNT_DISK_OPS,
    LIBVIRT_COUNTS
};

struct libvirt_usage {      /* one domain in one answer; < 0: not told                             */
    double counts[LIBVIRT_COUNTS];
    double vcpus;
    double guest_total, guest_free; /* bytes, as the guest tells; free: what could be had           */
    double told_at;         /* when the guest told, seconds of some clock                          */
    double resident;        /* bytes on the host                                                   */
};

struct libvirt_meter {      /* one domain over its polls; zeroed when new                          */
    struct as_counter counts[LIBVIRT_COUNTS];
    double told_at;
    as_time told_since;     /* when told_at was seen to change                                     */
    int run;                /* libvirt's number of this run of the domain                          */
};

void libvirt_usage_read(const virTypedParameter *params, int count, struct libvirt_usage *out);

/* Takes in a usage of run `run`, read at `now`, and fills the row; rates are missing at first, and once after
 * the domain was started anew or a counter went back. */
void libvirt_meter_take(struct libvirt_meter *m, int run, const struct libvirt_usage *u, as_time now,
                        struct fleet_row *row);

#endif
