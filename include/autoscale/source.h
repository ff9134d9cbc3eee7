/* A source measures: it is polled and yields values. Everything it yields is a gauge; rates over
 * counters are formed in the driver, which knows when a counter was reset (struct as_counter).
 *
 * Missing, stale and zero are three things: a series the driver cannot tell right now is simply not
 * added to the answer, and its age grows. Values are finite, or the poll is AS_EPROTO. */
#ifndef AUTOSCALE_SOURCE_H
#define AUTOSCALE_SOURCE_H

#include "autoscale/settings.h"

#define AS_NAME_MAX 64      /* source, object, series, group, policy names, with the NUL           */
#define AS_SAMPLES_CAP 20000 /* most samples of one poll; more is AS_EPROTO                        */

#define AS_SERIES_CPU "cpu_percent" /* of an instance, by its id: what weights may go by               */

enum as_merge {    /* how one series of several endpoints of a source becomes one value            */
    AS_MERGE_SUM,
    AS_MERGE_MAX,
    AS_MERGE_MIN,
    AS_MERGE_MEAN, /* weighted by as_sample.weight                                                 */
};

struct as_series_doc {  /* a series a source can give; tables end with a NULL name                 */
    const char *name, *unit, *help;
    enum as_merge merge;
};

struct as_sample {
    double value;
    double weight;            /* > 0, for AS_MERGE_MEAN; otherwise 1                               */
    char object[AS_NAME_MAX]; /* "" for a source that measures one thing                          */
    char series[AS_NAME_MAX];
};

struct as_samples {           /* zero-initialised by the caller, freed with as_samples_fini        */
    struct as_sample *items;
    size_t count, cap;
};

/* AS_EPROTO for a value that is not finite, a name too long or over AS_SAMPLES_CAP. */
int as_samples_add(struct as_samples *out, const char *object, const char *series, double value,
                   double weight, struct as_error *err);
void as_samples_fini(struct as_samples *s);

/* Rate of a growing counter. The first value, and a value below the last (a reset), give no rate. */
struct as_counter {
    double last;
    as_time at;
    bool seen;
};
/* True and *rate (per second, >= 0) when value can be compared with an earlier one. */
bool as_counter_rate(struct as_counter *c, as_time now, double value, double *rate);

struct as_source_driver {
    const char *name, *summary;
    const struct as_option *options;
    const struct as_series_doc *series;
    const char *user_series; /* name of an AS_OPT_MAP option whose keys are further series, or NULL */
    bool has_objects;        /* metrics are source.object.series (else source.series)              */
    const char *endpoints;   /* name of the AS_OPT_STRINGS option that lists endpoints: the core   */
                             /*   opens the driver once for each and merges; NULL: one, unnamed    */
    bool on_demand;          /* asked only while a policy reads one of its series                  */
    size_t state_size;       /* the host gives open() so many zeroed bytes, frees them after close */

    /* NULL, or called before open with the controller's name (borrowed until close), for a driver that tells
     * what is ours from what is not. */
    void (*own)(void *self, const char *controller);
    /* Validates and builds handles, offline: no connection is made here. */
    int (*open)(void *self, const struct as_settings *settings, const char *endpoint, struct as_error *err);
    /* Blocking, on the endpoint's lane; returns by `deadline`. Adds samples to *out. AS_OK with a text in
     * err->msg: a part failed (one user query), its series is left out and the operator is told. */
    int (*poll)(void *self, as_time deadline, struct as_samples *out, struct as_error *err);
    void (*close)(void *self); /* also after a failed open                                         */
};

#endif
