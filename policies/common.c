/* What the policies share. Must never round in the direction that hides a full instance of load, and
 * never turn lost data into a number. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

const char *const policy_aggregates[] = { "mean", "max", "p95", NULL };

void policy_metric_init(struct policy_metric *m, const struct as_settings *settings)
{
    const char *how = as_settings_str(settings, "aggregate");
    m->name = as_settings_str(settings, "metric");
    m->window = as_settings_ms(settings, "window");
    m->aggregate = m->window <= 0        ? AS_LAST
                   : !strcmp(how, "max") ? AS_MAX
                   : !strcmp(how, "p95") ? AS_QUANTILE
                                         : AS_MEAN;
    m->quantile = 0.95;
}

struct as_reading policy_input(const struct as_view *view, size_t index, enum as_aggregate how,
                               as_time window, double quantile)
{
    if (index >= view->input_count || !view->inputs[index])
        return (struct as_reading){ .fresh = AS_NEVER };
    return as_series_read(view->inputs[index], view->now, how, window, quantile);
}

static struct as_reading read_metric(const struct policy_metric *m, const struct as_view *view)
{
    return policy_input(view, 0, m->aggregate, m->window, m->quantile);
}

bool policy_metric_read(const struct policy_metric *m, const struct as_view *view, struct as_reading *r,
                        struct as_proposal *out)
{
    *r = read_metric(m, view);
    if (r->fresh == AS_FRESH) {
        out->blind = r->partial;
        return true;
    }
    out->kind = AS_ABSTAIN;
    out->blind = true;
    char age[24];
    if (r->fresh == AS_NEVER)
        policy_reason(out, "no data: %s has not been measured yet", m->name);
    else
        policy_reason(out, "no data: %s is stale, last %s, %s ago", m->name, policy_num(r->value).s,
                      as_time_text(r->age, age, sizeof age));
    return false;
}

bool policy_metric_whole(const struct policy_metric *m, const struct as_view *view, double *value)
{
    struct as_reading r = read_metric(m, view);
    *value = r.value;
    return r.fresh == AS_FRESH && !r.partial;
}

static double slack(double x)
{
    return POLICY_EPSILON * fmax(1, fabs(x));
}

static int to_count(double whole)
{
    return whole >= POLICY_COUNT_MAX ? POLICY_COUNT_MAX : whole > 0 ? (int)whole : 0;
}

int policy_ceil(double x)
{
    return to_count(ceil(x - slack(x)));
}

int policy_floor(double x)
{
    return to_count(floor(x + slack(x)));
}

int policy_clamp(int64_t count)
{
    return count < 0 ? 0 : count > POLICY_COUNT_MAX ? POLICY_COUNT_MAX : (int)count;
}

void policy_reason(struct as_proposal *out, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(out->reason, sizeof out->reason, fmt, ap);
    va_end(ap);
}

void policy_words(struct as_proposal *out, const char *first, ...)
{
    char *at = out->reason, *end = out->reason + sizeof out->reason - 1;
    va_list ap;
    va_start(ap, first);
    for (const char *word = first; word; word = va_arg(ap, const char *))
        while (*word && at < end)
            *at++ = *word++;
    va_end(ap);
    *at = '\0';
}

/* printf of a double is most of what a proposal costs; this gives the same text for hundredths of common size. */
static bool hundredths(double x, struct policy_text *t)
{
    double scaled = x * 100, whole = rint(scaled);
    if (!(fabs(x) < 1e7) ||
        fabs(fabs(scaled - whole) - 0.5) < 1e-6) /* a tie is decided by digits that are lost here */
        return false;
    char digits[24], *p = digits + sizeof digits - 1;
    long n = labs((long)whole), part = n % 100;
    *p = '\0';
    if (part) {
        if (part % 10)
            *--p = (char)('0' + part % 10);
        *--p = (char)('0' + part / 10);
        *--p = '.';
    }
    n /= 100;
    do
        *--p = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    if (whole < 0)
        *--p = '-';
    memcpy(t->s, p, (size_t)(digits + sizeof digits - p));
    return true;
}

struct policy_text policy_num(double x)
{
    struct policy_text t;
    if (hundredths(x, &t))
        return t;
    if (fabs(x) >= 1e15) {
        snprintf(t.s, sizeof t.s, "%.3g", x);
        return t;
    }
    int n = snprintf(t.s, sizeof t.s, "%.2f", x);
    while (n > 1 && t.s[n - 1] == '0')
        t.s[--n] = '\0';
    if (n > 1 && t.s[n - 1] == '.')
        t.s[--n] = '\0';
    if (!strcmp(t.s, "-0"))
        strcpy(t.s, "0");
    return t;
}
