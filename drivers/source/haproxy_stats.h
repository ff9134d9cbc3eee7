/* What a poll of HAProxy's statistics means: pure, from the table of backends to samples.
 *
 * Memory between polls is one record per backend of the last poll. What HAProxy counts upwards becomes a rate here; its
 * averages, which cover the last 512 requests however old, become averages over the latest ones. */
#ifndef SOURCE_HAPROXY_STATS_H
#define SOURCE_HAPROXY_STATS_H

#include "autoscale/source.h"

extern const struct as_series_doc haproxy_series[];

struct haproxy_recent {       /* a mean over the latest requests                                     */
    double average, done;     /* HAProxy's average and count of requests at the point of reference   */
    double value;             /* the latest mean formed                                              */
    bool seen, formed;
};

struct haproxy_backend {
    char name[AS_NAME_MAX];
    struct as_counter arrivals, errors;
    double done;              /* requests completed by the last poll, < 0: not known                 */
    struct haproxy_recent answer, queue;
    bool listed;              /* in this poll                                                        */
};

struct haproxy_stats {        /* zero-initialised, freed with haproxy_stats_fini                     */
    struct haproxy_backend *items;
    size_t count, cap;
    char epoch[48];           /* of the process the counters belong to                               */
};

struct haproxy_filter {       /* which backends; wanted NULL: all                                    */
    bool (*wanted)(const void *arg, const char *backend);
    const void *arg;
};

struct haproxy_table {        /* one poll: borrowed for the call                                     */
    as_time now;
    const char *epoch;        /* a new one forgets all counters                                      */
    const char *text;         /* answer to `show stat -1 2 -1`                                       */
    size_t len;
};

/* Adds the samples of the filtered backends to *out; *found counts these backends. AS_EPROTO when the text
 * is no such table; *out is then as it was. */
int haproxy_stats_add(struct haproxy_stats *s, const struct haproxy_table *table,
                      const struct haproxy_filter *filter, size_t *found, struct as_samples *out,
                      struct as_error *err);
void haproxy_stats_fini(struct haproxy_stats *s);

#endif
