/* What the baselines share. Must never let a baseline decide on lost data, nor let its memory grow with time. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "baseline.h"

#define PAST_MAX 100000

void baseline_init(struct baseline *b, const struct as_settings *settings)
{
    b->metric = as_settings_str(settings, "metric");
    b->per_instance = as_settings_num(settings, "per_instance");
    b->target = as_settings_num(settings, "target");
    b->unit = b->per_instance * b->target;
}

bool baseline_load(const struct baseline *b, const struct as_view *view, as_time window, double *load,
                   struct as_proposal *out)
{
    struct policy_metric m = { .name = b->metric,
                               .aggregate = window > 0 ? AS_MEAN : AS_LAST,
                               .window = window };
    struct as_reading r;
    if (!policy_metric_read(&m, view, &r, out))
        return false;
    *load = r.value > 0 ? r.value : 0;
    return true;
}

bool baseline_due(as_time *next, as_time now, as_time period)
{
    if (*next && now < *next)
        return false;
    *next = *next && *next + period > now ? *next + period : now + period;
    return true;
}

static void propose(const struct as_view *view, int count, struct as_proposal *out)
{
    out->kind = AS_WANT;
    out->count = out->blind && count < view->current ? view->current : policy_clamp(count);
}

void baseline_want(struct baseline *b, const struct as_view *view, int count, struct as_proposal *out)
{
    propose(view, count, out);
    b->last = out->count;
    b->has_last = true;
    memcpy(b->reason, out->reason, sizeof b->reason);
}

void baseline_repeat(const struct baseline *b, const struct as_view *view, struct as_proposal *out)
{
    propose(view, b->has_last ? b->last : view->current, out);
    if (b->has_last)
        memcpy(out->reason, b->reason, sizeof out->reason);
    else
        policy_reason(out, "%s: its first period has not passed yet, want the present %d", b->metric,
                      view->current);
}

int baseline_stand(const struct baseline *b, const struct as_view *view)
{
    return b->has_last && b->last > view->current ? b->last : view->current;
}

void baseline_explain(const struct baseline *b, double load, const char *then, struct as_proposal *out)
{
    policy_words(out, b->metric, " ", policy_num(load).s, " / ", policy_num(b->unit).s,
                 " per instance = ", policy_num(load / b->unit).s, then, NULL);
}

void baseline_meter_add(struct baseline_meter *m, double value, bool partial)
{
    m->sum += value;
    m->count++;
    m->partial = m->partial || partial;
}

bool baseline_meter_end(struct baseline_meter *m, as_time now, as_time period, struct baseline_point *point)
{
    if (!m->next)
        m->next = now + period;
    if (now < m->next)
        return false;
    bool skipped = now >= m->next + period;
    *point = (struct baseline_point){ .missing = !m->count || skipped,
                                      .partial = m->partial,
                                      .value = m->count ? m->sum / m->count : 0 };
    *m = (struct baseline_meter){ .next = skipped ? now + period : m->next + period };
    return true;
}

int baseline_past_init(struct baseline_past *p, as_time span, as_time period, struct as_error *err)
{
    as_time room = span / (period > 0 ? period : 1) + 4;
    p->capacity = room > PAST_MAX ? PAST_MAX : (size_t)room;
    p->first = p->count = 0;
    p->ring = calloc(p->capacity, sizeof *p->ring);
    return p->ring ? AS_OK : as_fail(err, AS_ENOMEM, "out of memory for the past of a policy");
}

void baseline_past_add(struct baseline_past *p, as_time now, int count)
{
    p->ring[(p->first + p->count) % p->capacity] = (struct baseline_mark){ .at = now, .count = count };
    if (p->count < p->capacity)
        p->count++;
    else
        p->first = (p->first + 1) % p->capacity;
}

static int extreme(const struct baseline_past *p, as_time since, int best, int sign)
{
    for (size_t k = p->count; k-- > 0;) {
        const struct baseline_mark *m = &p->ring[(p->first + k) % p->capacity];
        if (m->at < since)
            break;
        if (sign * m->count > sign * best)
            best = m->count;
    }
    return best;
}

int baseline_past_max(const struct baseline_past *p, as_time since, int count)
{
    return extreme(p, since, count, 1);
}

int baseline_past_min(const struct baseline_past *p, as_time since, int count)
{
    return extreme(p, since, count, -1);
}

static void join(struct baseline_warming *w, as_time at, int count)
{
    if (w->count == BASELINE_WARMING) { /* too many cohorts: the newest two become one, warm with the later */
        w->cohorts[w->count - 1].at = at;
        w->cohorts[w->count - 1].count += count;
        return;
    }
    w->cohorts[w->count++] = (struct baseline_mark){ .at = at, .count = count };
}

int baseline_warming(struct baseline_warming *w, const struct as_view *view, as_time warmup)
{
    int sum = 0;
    size_t kept = 0;
    if (w->seen && view->serving > w->serving && warmup > 0)
        join(w, view->now + warmup, view->serving - w->serving);
    w->seen = true; /* those found at first sight count as warm */
    w->serving = view->serving;
    for (size_t i = 0; i < w->count; i++)
        if (w->cohorts[i].at > view->now) {
            sum += w->cohorts[i].count;
            w->cohorts[kept++] = w->cohorts[i];
        }
    w->count = kept;
    return sum < view->serving ? sum : view->serving;
}
