/* What the policies share: reading their metric, rounding to a count, writing numbers for people.
 * Pure like the policies themselves. */
#ifndef POLICIES_COMMON_H
#define POLICIES_COMMON_H

#include "autoscale/policy.h"

#define POLICY_COUNT_MAX 1000000 /* largest count a policy proposes; the host's max is far below */
#define POLICY_EPSILON   1e-9    /* relative: what decimal fractions lose in binary, and no more */

/* Options of a policy that reads one metric over a window; for the option table, in this order. */
#define POLICY_METRIC_OPTIONS                                                                           \
    { .name = "metric", .type = AS_OPT_METRIC, .flags = AS_OPT_REQUIRED,                                \
      .help = "what is measured, as source.series or source.object.series" },                           \
    { .name = "window", .type = AS_OPT_DURATION, .def = "0s", .max = 86400000,                          \
      .help = "how far back the metric is looked at; 0s takes the newest value" },                      \
    { .name = "aggregate", .type = AS_OPT_CHOICE, .def = "mean", .choices = policy_aggregates,          \
      .help = "how the samples in the window become one value" }

extern const char *const policy_aggregates[]; /* "mean" "max" "p95" */

struct policy_metric {
    const char *name; /* borrowed from the settings */
    enum as_aggregate aggregate;
    double quantile;
    as_time window;
};
void policy_metric_init(struct policy_metric *m, const struct as_settings *settings);

/* Reads input 0 of the view. False when it was never seen or is stale; then *out abstains, is blind
 * and says why. A partial value sets out->blind. */
bool policy_metric_read(const struct policy_metric *m, const struct as_view *view, struct as_reading *r,
                        struct as_proposal *out);

/* Input number `index` of the view, without an opinion; AS_NEVER when it was not given. */
struct as_reading policy_input(const struct as_view *view, size_t index, enum as_aggregate how, as_time window,
                               double quantile);

/* True and the value only when it is whole and fresh: what a scale-in may be judged by. */
bool policy_metric_whole(const struct policy_metric *m, const struct as_view *view, double *value);

/* Rounds up or down, forgiving the last bits of binary fractions (3.0000000001 is 3), into
 * [0, POLICY_COUNT_MAX]. */
int policy_ceil(double x);
int policy_floor(double x);
int policy_clamp(int64_t count);

__attribute__((format(printf, 2, 3))) void policy_reason(struct as_proposal *out, const char *fmt, ...);
/* The same from words, to the first NULL: several times as fast, for what is said at every tick. */
__attribute__((sentinel)) void policy_words(struct as_proposal *out, const char *first, ...);

struct policy_text {
    char s[32];
};
/* At most two decimals and no trailing zeros: "184", "4.6", "0.25". Use at once: policy_num(x).s */
struct policy_text policy_num(double x);

#endif
