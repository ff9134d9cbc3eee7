/* A series: the recent past of one metric, in a ring of fixed capacity. Policies read it through
 * these pure functions; only the observer writes it.
 *
 * Missing, stale and zero are kept apart: a reading says AS_NEVER (no sample yet), AS_STALE (the
 * newest is older than the series' max_age) or AS_FRESH. A fresh reading may be *partial*: one of the
 * source's endpoints did not answer, so the value is a lower bound and forbids scaling in. */
#ifndef AUTOSCALE_SERIES_H
#define AUTOSCALE_SERIES_H

#include <stdbool.h>
#include <stddef.h>

#include "autoscale/time.h"

struct as_series;

enum as_freshness { AS_NEVER, AS_STALE, AS_FRESH };

enum as_aggregate {
    AS_LAST,     /* newest value; window ignored                                                   */
    AS_MEAN,     /* arithmetic mean of the samples in (now - window, now]                          */
    AS_MAX,
    AS_MIN,
    AS_QUANTILE, /* `q` in [0,1], linear interpolation between order statistics (type 7)           */
    AS_RATE,     /* per second, of a counter over the window; a fall is a reset and counts from 0  */
};

struct as_reading {
    enum as_freshness fresh;
    bool partial;    /* some sample read was partial                                               */
    double value;    /* defined unless AS_NEVER; AS_STALE: the last known value                    */
    as_time age;     /* of the newest sample                                                       */
    size_t samples;  /* how many the aggregate was formed of                                       */
};

/* `q` is used by AS_QUANTILE only. An aggregate over a window in which no sample lies is the newest
 * value with its own age. AS_RATE with fewer than two samples in the window is AS_NEVER. */
struct as_reading as_series_read(const struct as_series *s, as_time now, enum as_aggregate agg, as_time window,
                                 double q);

const char *as_series_name(const struct as_series *s);

#endif
