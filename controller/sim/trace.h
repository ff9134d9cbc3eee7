/* A recorded load: CSV lines "time,rate" with an optional header, the
 * time in seconds, in milliseconds since 1970, or as a date and time (UTC where no zone is given). The step is the commonest difference of
 * time stamps; where samples are missing the last value is held. */
#ifndef SIM_TRACE_H
#define SIM_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "autoscale/error.h"
#include "autoscale/time.h"

#define TRACE_BYTES_MAX (256u << 20)
#define TRACE_SAMPLES_MAX 10000000

struct trace {
    double *rate;      /* per step, held where samples are missing                                    */
    size_t count;
    size_t before;     /* steps in front of rate[0] that were cut off: the past                         */
    double step_s;
    double first_s;    /* time stamp of the first sample                                              */
    size_t held;       /* steps that were missing                                                     */
    size_t dropped;    /* lines out of order or doubled, left out                                     */
};

/* AS_EINVAL with file:line for what is no sample, AS_EIO, AS_ENOMEM. Freed with trace_fini. */
int trace_load(const char *path, struct trace *out, struct as_error *err);
/* The same from memory; `name` is for errors. */
int trace_parse(const char *name, const char *text, size_t length, struct trace *out, struct as_error *err);
void trace_fini(struct trace *t);

/* Keeps only what lies in [from, from + span) seconds since the first sample; span 0: to the end. AS_EINVAL when
 * fewer than two steps are left. */
int trace_cut(struct trace *t, double from, double span, struct as_error *err);

/* Milliseconds since 1970 of the first sample; 0 when the times count from somewhere else. */
int64_t trace_wall(const struct trace *t);
double trace_peak(const struct trace *t);

enum trace_between { TRACE_STRAIGHT, TRACE_HELD }; /* what the load does between two samples              */
/* The rate at second `at` since the first sample, below 0 in the past; the last sample holds to the end of its step. */
double trace_at(const struct trace *t, double at, enum trace_between between);

#endif
