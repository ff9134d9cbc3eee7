/* What Docker tells of its containers' use, read strictly, and rates made of it. Pure: no connection here. */
#ifndef SOURCE_DOCKER_STATS_H
#define SOURCE_DOCKER_STATS_H

#include "../wire/docker_mark.h"
#include "fleet.h"

enum docker_field {
    DOCKER_CPU_PERCENT,
    DOCKER_CPUS,
    DOCKER_THROTTLED,
    DOCKER_MEMORY,
    DOCKER_MEMORY_PERCENT,
    DOCKER_ONE,
};
extern const struct as_series_doc docker_series[];
extern const struct fleet_series docker_fleet_series;

struct docker_usage {       /* one answer of /stats                                                */
    int64_t read_ms;        /* when, by the daemon's clock                                         */
    double cpu_ns;          /* CPU time since the container started                                */
    double periods, throttled; /* scheduling periods with a quota, and those that used it up       */
    double memory;          /* bytes without the page cache that can be dropped; < 0: not told     */
    double memory_limit;    /* bytes; the host's memory for a container without a limit; 0: not told */
};

struct docker_meter {       /* one container over its polls; zeroed when new                       */
    char ref[DOCKER_REF_MAX];
    char id[AS_NAME_MAX], group[AS_NAME_MAX];
    struct as_counter cpu;
    int64_t read_ms;
    as_time at, limit_at;   /* our clock: of the newest usage; of the limit, 0: not asked yet      */
    double periods, throttled;
    double cpus;            /* limit, 0: none                                                      */
};

/* Containers of the controller that run, sorted by ref; returned owned in *out. AS_EPROTO: not a list, or more
 * than FLEET_ROWS_MAX. */
int docker_running_parse(const char *text, size_t size, const char *controller, struct docker_meter **out,
                         size_t *count, struct as_error *err);
/* AS_ENOENT: the container does not run any more. */
int docker_usage_parse(const char *text, size_t size, struct docker_usage *out, struct as_error *err);
/* The CPU limit of an inspected container; 0: none. */
int docker_limit_parse(const char *text, size_t size, double *cpus, struct as_error *err);

/* Takes in a usage read at `now` and fills the row; what needs two of them is missing at first, after the
 * container was restarted and when the daemon's clock was set. */
void docker_meter_take(struct docker_meter *m, const struct docker_usage *u, as_time now, struct fleet_row *row);

#endif
