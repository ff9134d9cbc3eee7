/* Traces: a strict reader of two columns. It must never take a broken line for a number. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "trace.h"

#define MILLISECONDS_FROM 1e11 /* as seconds: the year 5138 */
#define CALENDAR_FROM     1e8  /* 1973; three years of counting from 0 */

struct row {
    double at, rate;
};

struct rows {
    struct row *items;
    size_t count, cap;
};

/* The next field, without quotes and blanks around it; false when there is none or it is too long for one. */
static bool field(const char **at, const char *end, char text[64])
{
    size_t n = 0;
    while (*at < end && (**at == ' ' || **at == '\t'))
        ++*at;
    bool quoted = *at < end && **at == '"';
    *at += quoted;
    while (*at < end && **at != (quoted ? '"' : ',') && n + 1 < 64)
        text[n++] = *(*at)++;
    if (quoted && (*at == end || *(*at)++ != '"'))
        return false;
    while (quoted && *at < end && (**at == ' ' || **at == '\t'))
        ++*at;
    while (n && (text[n - 1] == ' ' || text[n - 1] == '\r' || text[n - 1] == '\t'))
        n--;
    text[n] = '\0';
    return n > 0 && (*at == end || **at == ',');
}

static bool number(const char *text, double *out)
{
    char *stop;
    *out = strtod(text, &stop);
    return *stop == '\0' && isfinite(*out);
}

static bool zone(const char *at, long *east)
{
    int h, m, used = 0;
    *east = 0;
    if (*at == '\0' || strcmp(at, "Z") == 0)
        return true;
    if ((*at != '+' && *at != '-') ||
        (sscanf(at + 1, "%2d:%2d%n", &h, &m, &used) != 2 && sscanf(at + 1, "%2d%2d%n", &h, &m, &used) != 2))
        return false;
    *east = (*at == '-' ? -60L : 60L) * (h * 60 + m);
    return at[1 + used] == '\0' && h >= 0 && h <= 14 && m >= 0 && m < 60;
}

/* Seconds, milliseconds since 1970 (what a dashboard exports), or a date: "2026-11-27T20:00:00Z",
 * "2026-11-27 20:00:00.5+01:00"; one without a zone is taken as UTC. */
static bool stamp(const char *text, double *out)
{
    if (number(text, out)) {
        if (fabs(*out) >= MILLISECONDS_FROM)
            *out /= 1000;
        return fabs(*out) <= 1e12;
    }
    struct tm tm = { 0 };
    char *at = strptime(text, "%Y-%m-%d", &tm), *stop;
    at = at && (*at == 'T' || *at == ' ') ? strptime(at + 1, "%H:%M", &tm) : NULL;
    if (at && *at == ':')
        at = strptime(at + 1, "%S", &tm);
    double part = at && *at == '.' ? strtod(at, &stop) : 0;
    long east;
    if (!at || !zone(*at == '.' ? stop : at, &east) || part >= 1)
        return false;
    *out = (double)(timegm(&tm) - east) + part;
    return true;
}

static int push(struct rows *r, struct row row, struct as_error *err)
{
    if (r->count == TRACE_SAMPLES_MAX)
        return as_fail(err, AS_EINVAL, "more than %d samples", TRACE_SAMPLES_MAX);
    if (r->count == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 4096;
        struct row *items = realloc(r->items, cap * sizeof *items);
        if (!items)
            return as_fail(err, AS_ENOMEM, "out of memory");
        r->items = items;
        r->cap = cap;
    }
    r->items[r->count++] = row;
    return AS_OK;
}

static int read_line(struct rows *r, const char *name, const char *line, const char *end, int number_of,
                     struct trace *t, struct as_error *err)
{
    struct row row;
    const char *at = line;
    while (end > line && (end[-1] == '\r' || end[-1] == ' '))
        end--;
    if (end == line || *line == '#')
        return AS_OK;
    char text[64];
    bool ok = field(&at, end, text) && stamp(text, &row.at) && at < end && *at == ',';
    at += ok;
    ok = ok && field(&at, end, text) && number(text, &row.rate) && row.rate >= 0;
    if (!ok && number_of == 1)
        return AS_OK; /* the header */
    if (!ok) {
        char shown[61]; /* a file of another kind may hold what a terminal obeys */
        size_t n = (size_t)(end - line) < sizeof shown - 1 ? (size_t)(end - line) : sizeof shown - 1;
        for (size_t k = 0; k < n; k++)
            shown[k] = line[k] >= ' ' && line[k] < 127 ? line[k] : '?';
        shown[n] = '\0';
        return as_fail(err, AS_EINVAL,
                       "%s:%d: \"%s\" is no sample: write time,rate, the time in seconds or as "
                       "2026-11-27T20:00:00Z, the rate 0 or more",
                       name, number_of, shown);
    }
    if (r->count && row.at <= r->items[r->count - 1].at) {
        t->dropped++;
        return AS_OK;
    }
    return push(r, row, err);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The commonest difference of neighbours, not the smallest: real files have odd stamps. */
static double commonest_step(const struct rows *r)
{
    size_t n = r->count - 1, run = 0, most = 0;
    double *d = malloc(n * sizeof *d), best = 0;
    if (!d)
        return 0;
    for (size_t i = 0; i < n; i++)
        d[i] = r->items[i + 1].at - r->items[i].at;
    qsort(d, n, sizeof *d, by_value);
    for (size_t i = 0; i < n; i++) {
        run = i && d[i] - d[i - 1] < 1e-6 ? run + 1 : 1;
        if (run > most) {
            most = run;
            best = d[i];
        }
    }
    free(d);
    return best;
}

static int lay_out(const char *name, const struct rows *r, struct trace *t, struct as_error *err)
{
    if (r->count < 2)
        return as_fail(err, AS_EINVAL, "%s: a trace needs at least two samples", name);
    t->step_s = commonest_step(r);
    t->first_s = r->items[0].at;
    double steps = floor((r->items[r->count - 1].at - t->first_s) / t->step_s + 0.5) + 1;
    if (t->step_s <= 0)
        return as_fail(err, AS_ENOMEM, "out of memory");
    if (steps > TRACE_SAMPLES_MAX)
        return as_fail(err, AS_EINVAL, "%s: from %.0f to %.0f in steps of %g s are more than %d samples",
                       name, t->first_s, r->items[r->count - 1].at, t->step_s, TRACE_SAMPLES_MAX);
    t->count = (size_t)steps;
    t->rate = malloc(t->count * sizeof *t->rate);
    if (!t->rate)
        return as_fail(err, AS_ENOMEM, "out of memory");
    size_t from = 0, have = 0;
    for (size_t i = 0; i < t->count; i++) { /* the newest sample not after the middle of the step */
        double until = t->first_s + ((double)i + 0.5) * t->step_s;
        while (from + 1 < r->count && r->items[from + 1].at < until)
            from++;
        t->rate[i] = r->items[from].rate;
        have += r->items[from].at >= until - t->step_s;
    }
    t->held = t->count - have;
    return AS_OK;
}

int trace_parse(const char *name, const char *text, size_t length, struct trace *out, struct as_error *err)
{
    struct rows r = { 0 };
    struct trace t = { 0 };
    int line = 0, rc = AS_OK;
    const char *end = text + length;
    while (rc == AS_OK && text < end) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        stop = stop ? stop : end;
        rc = read_line(&r, name, text, stop, ++line, &t, err);
        text = stop < end ? stop + 1 : end;
    }
    if (rc == AS_OK)
        rc = lay_out(name, &r, &t, err);
    free(r.items);
    if (rc == AS_OK)
        *out = t;
    else
        trace_fini(&t);
    return rc;
}

int trace_load(const char *path, struct trace *out, struct as_error *err)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return as_fail(err, AS_EIO, "%s: %s", path, strerror(errno));
    char *text = NULL;
    size_t n = 0, cap = 0, got = 1;
    int rc = AS_OK;
    while (rc == AS_OK && got > 0) {
        if (n == cap) {
            cap = cap ? 2 * cap : 1 << 16;
            char *more = cap <= TRACE_BYTES_MAX ? realloc(text, cap) : NULL;
            if (!more) {
                rc = as_fail(err, AS_EINVAL, "%s: larger than %u MiB", path, TRACE_BYTES_MAX >> 20);
                break;
            }
            text = more;
        }
        got = fread(text + n, 1, cap - n, f);
        n += got;
    }
    if (rc == AS_OK && ferror(f))
        rc = as_fail(err, AS_EIO, "%s: %s", path, strerror(errno));
    fclose(f);
    if (rc == AS_OK)
        rc = trace_parse(path, text, n, out, err);
    free(text);
    return rc;
}

void trace_fini(struct trace *t)
{
    if (t->rate)
        free(t->rate - t->before);
    *t = (struct trace){ 0 };
}

int trace_cut(struct trace *t, double from, double span, struct as_error *err)
{
    size_t first = (size_t)(from / t->step_s), left = first < t->count ? t->count - first : 0;
    size_t want = span > 0 ? (size_t)(span / t->step_s + 0.5) : left;
    if (want > left)
        want = left;
    if (want < 2)
        return as_fail(err, AS_EINVAL, "the trace has %zu steps of %g s: nothing is left of it from %g s on",
                       t->count, t->step_s, from);
    t->rate += first;
    t->before += first;
    t->count = want;
    t->first_s += (double)first * t->step_s;
    return AS_OK;
}

int64_t trace_wall(const struct trace *t)
{
    return t->first_s >= CALENDAR_FROM ? (int64_t)(t->first_s * 1000) : 0;
}

double trace_peak(const struct trace *t)
{
    double peak = 0;
    for (size_t i = 0; i < t->count; i++)
        peak = t->rate[i] > peak ? t->rate[i] : peak;
    return peak;
}

double trace_at(const struct trace *t, double at, enum trace_between between)
{
    double pos = at / t->step_s + (double)t->before;
    const double *rate = t->rate - t->before;
    size_t count = t->count + t->before;
    if (pos <= 0)
        return rate[0];
    size_t i = (size_t)pos;
    if (i + 1 >= count)
        return rate[count - 1];
    double part = between == TRACE_STRAIGHT ? pos - (double)i : 0;
    return rate[i] + part * (rate[i + 1] - rate[i]);
}
