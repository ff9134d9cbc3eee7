/* Load curves: reading them and turning them into a schedule. The k-th request is due when the integral of the rate
 * reaches k, computed in closed form, so that the schedule never depends on how fast anything answers. */
#include "curve.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "12.5s<separator>200" at *text, which moves behind it. */
static bool read_point(const char **text, char separator, struct curve_point *out)
{
    char *end;
    out->at = strtod(*text, &end);
    if (end == *text)
        return false;
    if (*end == 's')
        end++;
    while (*end == ' ')
        end++;
    if (*end != separator)
        return false;
    const char *rate = end + 1;
    out->rate = strtod(rate, &end);
    if (end == rate)
        return false;
    *text = end;
    return isfinite(out->at) && isfinite(out->rate);
}

static int add_point(struct curve *c, struct curve_point p, char *err, size_t err_size)
{
    if (c->count == CURVE_POINTS_MAX)
        snprintf(err, err_size, "the curve has more than %d points", CURVE_POINTS_MAX);
    else if (p.rate < 0 || p.rate > CURVE_RATE_MAX)
        snprintf(err, err_size, "the rate %g is not between 0 and %g requests per second", p.rate,
                 CURVE_RATE_MAX);
    else if (p.at > CURVE_SECONDS_MAX)
        snprintf(err, err_size, "the curve is longer than %g s", CURVE_SECONDS_MAX);
    else if (c->count == 0 ? p.at != 0 : p.at <= c->points[c->count - 1].at)
        snprintf(err, err_size, "the times must begin at 0 and rise, %g does not fit", p.at);
    else {
        c->points[c->count++] = p;
        return 0;
    }
    return -1;
}

static int check_curve(const struct curve *c, char *err, size_t err_size)
{
    if (c->count >= 2)
        return 0;
    snprintf(err, err_size, "a curve needs at least two points");
    return -1;
}

int curve_parse(const char *text, struct curve *out, char *err, size_t err_size)
{
    struct curve_point p;
    out->count = 0;
    for (;;) {
        if (!read_point(&text, ':', &p) || (*text && *text != ',')) {
            snprintf(err, err_size, "point %zu is not SECONDS:RATE", out->count + 1);
            return -1;
        }
        if (add_point(out, p, err, err_size) < 0)
            return -1;
        if (!*text++)
            return check_curve(out, err, err_size);
    }
}

int curve_read(const char *path, struct curve *out, char *err, size_t err_size)
{
    char line[256], why[160];
    FILE *f = fopen(path, "re");
    int rc = 0;
    out->count = 0;
    if (!f) {
        snprintf(err, err_size, "cannot read %s: %s", path, strerror(errno));
        return -1;
    }
    for (int number = 1; rc == 0 && fgets(line, sizeof line, f); number++) {
        struct curve_point p;
        const char *text = line + strspn(line, " \t");
        if (*text == '#' || !text[strspn(text, "\r\n")] || (number == 1 && isalpha((unsigned char)*text)))
            continue;
        bool ok = read_point(&text, ',', &p) && !text[strspn(text, " \t\r\n")];
        snprintf(why, sizeof why, "not SECONDS,RATE");
        if (!ok || add_point(out, p, why, sizeof why) < 0) {
            snprintf(err, err_size, "%s:%d: %s", path, number, why);
            rc = -1;
        }
    }
    fclose(f);
    return rc < 0 ? rc : check_curve(out, err, err_size);
}

double curve_end(const struct curve *c)
{
    return c->points[c->count - 1].at;
}

double curve_rate(const struct curve *c, double at)
{
    for (size_t i = 1; i < c->count; i++) {
        const struct curve_point *a = &c->points[i - 1], *b = &c->points[i];
        if (at < b->at)
            return a->rate + (b->rate - a->rate) * (at - a->at) / (b->at - a->at);
    }
    return 0;
}

static double area(const struct curve_point *a, const struct curve_point *b)
{
    return (a->rate + b->rate) / 2 * (b->at - a->at);
}

double curve_total(const struct curve *c)
{
    double sum = 0;
    for (size_t i = 1; i < c->count; i++)
        sum += area(&c->points[i - 1], &c->points[i]);
    return sum;
}

bool curve_next(const struct curve *c, struct curve_cursor *cursor, double *due)
{
    const double wanted = (double)cursor->taken + 1;
    for (; cursor->piece + 1 < c->count; cursor->piece++) {
        const struct curve_point *a = &c->points[cursor->piece], *b = a + 1;
        double whole = area(a, b), need = wanted - cursor->carried;
        if (need > whole + 1e-9) {
            cursor->carried += whole;
            continue;
        }
        /* a->rate x + slope x^2 / 2 = need; this form of the root is exact for slope 0 too */
        double slope = (b->rate - a->rate) / (b->at - a->at);
        double root = a->rate + sqrt(fmax(0, a->rate * a->rate + 2 * slope * need));
        *due = fmin(b->at, a->at + (root > 0 ? 2 * need / root : 0));
        cursor->taken++;
        return true;
    }
    return false;
}
