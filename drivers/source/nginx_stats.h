/* The page of nginx's stub_status module, and what it and the access log mean as samples. Pure. */
#ifndef SOURCE_NGINX_STATS_H
#define SOURCE_NGINX_STATS_H

#include "nginx_log.h"

extern const struct as_series_doc nginx_series[];

struct nginx_status {
    double active, accepts, handled, requests, reading, writing, waiting;
};

struct nginx_stats {          /* memory between polls; zero-initialised                               */
    struct as_counter requests, dropped;
    uint64_t own;             /* requests of ours since the last answer                               */
};

/* Strict: the four lines of nginx, nothing else. */
bool nginx_status_parse(const char *text, size_t len, struct nginx_status *out);

int nginx_status_add(struct nginx_stats *s, const struct nginx_status *status, as_time now, struct as_samples *out,
                     struct as_error *err);
/* Of an interval of `span` ms, > 0. Times are left out when there was no request, rates are then zero. */
int nginx_tally_samples(const struct nginx_tally *t, const struct nginx_format *f, as_time span,
                        struct as_samples *out, struct as_error *err);

#endif
