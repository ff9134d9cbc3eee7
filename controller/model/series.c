/* A series: the recent past of one metric in a ring. Reads are pure and allocate nothing; they must
 * never make a missing sample look like a zero or an old one look fresh. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "series.h"

struct sample {
    int64_t stamp; /* time * 2 + partial: keeps a sample at 16 bytes */
    double value;
};

struct as_series {
    struct sample *ring;
    uint32_t capacity, count;
    uint32_t next; /* where the next sample goes */
    as_time max_age;
    struct sample newest; /* again, beside what every read looks at: the ring is seldom in a cache */
    char name[];
};

/* The samples of one window: `count` of them, from index `first` (0 is the oldest in the ring). */
struct span {
    uint32_t first, count;
};

static as_time sample_time(const struct sample *p)
{
    return (p->stamp - (p->stamp & 1)) / 2;
}

/* The i-th oldest sample. */
static const struct sample *sample_at(const struct as_series *s, uint32_t i)
{
    if (i + 1 == s->count)
        return &s->newest;
    uint32_t start = s->next >= s->count ? s->next - s->count : s->next + s->capacity - s->count;
    uint32_t pos = start + i;
    return &s->ring[pos >= s->capacity ? pos - s->capacity : pos];
}

static uint32_t capacity_within(size_t capacity)
{
    return capacity < 1 ? 1 : capacity > SERIES_CAPACITY_MAX ? SERIES_CAPACITY_MAX : (uint32_t)capacity;
}

struct as_series *series_new(const char *name, size_t capacity, as_time max_age)
{
    size_t len = strlen(name) + 1;
    struct as_series *s = calloc(1, sizeof *s + len);
    if (!s)
        return NULL;
    s->capacity = capacity_within(capacity);
    s->max_age = max_age;
    memcpy(s->name, name, len);
    s->ring = calloc(s->capacity, sizeof *s->ring);
    if (!s->ring) {
        free(s);
        return NULL;
    }
    return s;
}

void series_free(struct as_series *s)
{
    if (s)
        free(s->ring);
    free(s);
}

void series_push(struct as_series *s, as_time now, double value, bool partial)
{
    if (!isfinite(value))
        return;
    if (s->count && now < sample_time(&s->newest))
        now = sample_time(&s->newest);
    s->newest = (struct sample){ .stamp = now * 2 + (partial ? 1 : 0), .value = value };
    s->ring[s->next] = s->newest;
    s->next = s->next + 1 == s->capacity ? 0 : s->next + 1;
    if (s->count < s->capacity)
        s->count++;
}

void series_amend(struct as_series *s, as_time now, double value, bool partial)
{
    if (s->count && isfinite(value)) {
        s->count--;
        s->next = s->next ? s->next - 1 : s->capacity - 1;
    }
    series_push(s, now, value, partial);
}

bool series_resize(struct as_series *s, size_t capacity)
{
    uint32_t wanted = capacity_within(capacity);
    if (wanted == s->capacity)
        return true;
    struct sample *ring = calloc(wanted, sizeof *ring);
    if (!ring)
        return false;
    uint32_t keep = s->count < wanted ? s->count : wanted;
    for (uint32_t i = 0; i < keep; i++)
        ring[i] = *sample_at(s, s->count - keep + i);
    free(s->ring);
    s->ring = ring;
    s->capacity = wanted;
    s->count = keep;
    s->next = keep == wanted ? 0 : keep;
    return true;
}

size_t series_capacity(const struct as_series *s)
{
    return s->capacity;
}

size_t series_count(const struct as_series *s)
{
    return s->count;
}

const char *as_series_name(const struct as_series *s)
{
    return s->name;
}

/* How many samples, from the oldest, have time <= t. Times are in order: bisect. */
static uint32_t count_until(const struct as_series *s, as_time t)
{
    uint32_t lo = 0, hi = s->count;
    if (hi == 0 || sample_time(sample_at(s, hi - 1)) <= t)
        return hi; /* the common question: all of them */
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (sample_time(sample_at(s, mid)) <= t)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* --- aggregates: each over a span that is not empty ------------------------------------------- */

static double span_mean(const struct as_series *s, struct span w)
{
    double sum = 0, scaled = 0;
    for (uint32_t i = 0; i < w.count; i++) {
        double v = sample_at(s, w.first + i)->value;
        sum += v;
        scaled += v / w.count; /* less exact, but cannot overflow */
    }
    return isfinite(sum) ? sum / w.count : scaled;
}

static double span_extreme(const struct as_series *s, struct span w, bool max)
{
    double best = sample_at(s, w.first)->value;
    for (uint32_t i = 1; i < w.count; i++) {
        double v = sample_at(s, w.first + i)->value;
        if (max ? v > best : v < best)
            best = v;
    }
    return best;
}

/* Doubles as integers of the same order, and back. */
static uint64_t order_of(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits >> 63 ? ~bits : bits | (UINT64_C(1) << 63);
}

static double from_order(uint64_t order)
{
    uint64_t bits = order >> 63 ? order ^ (UINT64_C(1) << 63) : ~order;
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static uint32_t span_count_upto(const struct as_series *s, struct span w, double limit)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < w.count; i++)
        n += sample_at(s, w.first + i)->value <= limit;
    return n;
}

/* The k-th smallest (from 0), by bisecting the values: at most 64 passes, exact at any window and
 * without the scratch that a sort would need. */
static double span_select(const struct as_series *s, struct span w, uint32_t k)
{
    uint64_t lo = order_of(span_extreme(s, w, false)), hi = order_of(span_extreme(s, w, true));
    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (span_count_upto(s, w, from_order(mid)) > k)
            hi = mid;
        else
            lo = mid + 1;
    }
    return from_order(lo);
}

static double span_quantile(const struct as_series *s, struct span w, double q)
{
    q = q >= 0 ? (q <= 1 ? q : 1) : 0; /* a NaN ends at 0 */
    double at = q * (w.count - 1);
    uint32_t k = (uint32_t)at;
    double part = at - k, low = span_select(s, w, k);
    if (part <= 0 || span_count_upto(s, w, low) > k + 1)
        return low;
    double high = span_extreme(s, w, true);
    for (uint32_t i = 0; i < w.count; i++) {
        double v = sample_at(s, w.first + i)->value;
        if (v > low && v < high)
            high = v;
    }
    return low * (1 - part) + high * part;
}

/* Increase per second of a counter; false when the window holds no two moments. */
static bool span_rate(const struct as_series *s, struct span w, double *rate)
{
    if (w.count < 2)
        return false;
    const struct sample *first = sample_at(s, w.first), *last = sample_at(s, w.first + w.count - 1);
    as_time elapsed = sample_time(last) - sample_time(first);
    double grown = 0, before = first->value;
    for (uint32_t i = 1; i < w.count; i++) {
        double v = sample_at(s, w.first + i)->value;
        grown += v < before ? v : v - before;
        before = v;
    }
    *rate = grown * 1000 / (double)elapsed;
    return elapsed > 0 && isfinite(*rate);
}

/* --- reading ------------------------------------------------------------------------------------ */

static bool span_partial(const struct as_series *s, struct span w)
{
    for (uint32_t i = 0; i < w.count; i++)
        if (sample_at(s, w.first + i)->stamp & 1)
            return true;
    return false;
}

static struct span span_of(const struct as_series *s, as_time now, enum as_aggregate agg, as_time window)
{
    uint32_t end = count_until(s, now);
    uint32_t first = agg == AS_LAST || window <= 0 ? end : count_until(s, now - window);
    if (first < end)
        return (struct span){ first, end - first };
    return (struct span){ s->count - 1, 1 }; /* the newest, however old */
}

struct as_reading as_series_read(const struct as_series *s, as_time now, enum as_aggregate agg,
                                 as_time window, double q)
{
    struct as_reading r = { .fresh = AS_NEVER };
    if (!s->count)
        return r;
    struct span w = span_of(s, now, agg, window);
    as_time newest = sample_time(sample_at(s, s->count - 1));
    r.age = now > newest ? now - newest : 0;
    switch (agg) {
    case AS_LAST: r.value = sample_at(s, w.first)->value; break;
    case AS_MEAN: r.value = span_mean(s, w); break;
    case AS_MAX: r.value = span_extreme(s, w, true); break;
    case AS_MIN: r.value = span_extreme(s, w, false); break;
    case AS_QUANTILE: r.value = span_quantile(s, w, q); break;
    case AS_RATE:
        if (!span_rate(s, w, &r.value)) {
            r.value = 0;
            return r;
        }
        break;
    }
    r.fresh = s->max_age > 0 && r.age > s->max_age ? AS_STALE : AS_FRESH;
    r.partial = span_partial(s, w);
    r.samples = w.count;
    return r;
}
