/* Formulas over series: what a policy's metric may be beside one plain metric.
 *
 *   lb.web.request_rate + 2 * lb.web.queue
 *   max(p95(lb.web.sessions, 1m), avg(lb.web.sessions, 5m))
 *
 * + - * / and parentheses with the usual precedence; min(a, b, …) and max(a, b, …); over a window of one metric:
 * avg(m, 30s), min(m, 30s), max(m, 30s), p1 … p99(m, 1m), rate(m, 1m) (per second, of a counter). A name may hold
 * '-', so a minus between names stands between spaces. Any input that is missing or stale makes the result
 * missing; a partial one makes it partial. Pure. */
#ifndef MODEL_FORMULA_H
#define MODEL_FORMULA_H

#include "autoscale/error.h"
#include "autoscale/series.h"
#include "autoscale/source.h"

#define FORMULA_OPS 64
#define FORMULA_METRICS 8
#define FORMULA_METRIC_MAX (3 * AS_NAME_MAX)

enum formula_op_kind { FORMULA_NUMBER, FORMULA_READ, FORMULA_ADD, FORMULA_SUB, FORMULA_MUL, FORMULA_DIV, FORMULA_NEG,
                       FORMULA_MIN, FORMULA_MAX };

struct formula_op {          /* postfix                                                             */
    enum formula_op_kind kind;
    double number;           /* NUMBER; the quantile of a READ                                      */
    int metric;              /* READ: index into metrics                                            */
    enum as_aggregate aggregate;
    as_time window;
    int count;               /* MIN, MAX: how many operands                                         */
};

struct formula {
    struct formula_op ops[FORMULA_OPS];
    int count;
    char metrics[FORMULA_METRICS][FORMULA_METRIC_MAX]; /* each name once                            */
    int metric_count;
    as_time longest;         /* window any READ reaches back                                        */
};

/* AS_EINVAL with "character 12: …" for what is no formula. Metric names are not looked up here. */
int formula_parse(const char *text, struct formula *out, struct as_error *err);
/* One metric as it is, nothing to compute. */
bool formula_is_plain(const struct formula *f);
/* inputs: one series per entry of metrics. AS_NEVER when any of them has no data or the result is not finite. */
struct as_reading formula_eval(const struct formula *f, const struct as_series *const *inputs, as_time now);

#endif
