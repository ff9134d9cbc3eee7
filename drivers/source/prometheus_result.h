/* What Prometheus' query API answers, as one number: the series of a result are reduced to one value, and of a
 * range query the steps to one value. A result that is empty, stale, partial or not a number is none: there is
 * no default. Pure: bytes in, a number or an error out. */
#ifndef SOURCE_PROMETHEUS_RESULT_H
#define SOURCE_PROMETHEUS_RESULT_H

#include <stddef.h>
#include <stdint.h>

#include "autoscale/error.h"

#define PROM_STEPS_MAX  1000   /* evaluations of one range query                                     */
#define PROM_SERIES_MAX 100000 /* series of one result                                               */

enum prom_reduce { PROM_SUM, PROM_MAX, PROM_MIN, PROM_AVG, PROM_COUNT };
enum prom_over { PROM_OVER_MEAN, PROM_OVER_MAX, PROM_OVER_MIN, PROM_OVER_LAST };

struct prom_ask {           /* what was asked                                                        */
    enum prom_reduce reduce;   /* over the series, at each moment                                    */
    enum prom_over over;       /* then over the moments of a range query                             */
    int64_t start_wall, step;  /* ms; the steps are start, start + step, ...                         */
    int steps;                 /* 0: an instant query                                                */
};

/* "sum", "max", ...: the index in enum prom_reduce, -1 when it is none. Both lists end with NULL. */
extern const char *const prom_reduce_names[];
extern const char *const prom_over_names[];
int prom_name_index(const char *const *names, const char *name);

/* `body` has size bytes and a NUL behind them. AS_EINVAL: the server refuses the query; AS_EAGAIN: it could not
 * evaluate it now, or only in part; AS_ENOENT: no data, or none any more; AS_EPROTO: not an answer. */
int prom_result(const struct prom_ask *ask, const char *body, size_t size, double *out, struct as_error *err);

#endif
