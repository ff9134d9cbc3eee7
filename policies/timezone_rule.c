/* POSIX TZ rules: reading and applying them. The text comes from a file: must never read past its
 * end, nor accept a value that later arithmetic could not hold. */
#include <ctype.h>
#include <string.h>

#include "civil.h"
#include "timezone_rule.h"

/* --- reading: each takes its part off *p and says whether it was there ------------------------- */

static bool take(const char **p, char c)
{
    if (**p != c)
        return false;
    ++*p;
    return true;
}

static bool take_number(const char **p, int min, int max, int *out)
{
    int n = 0;
    const char *start = *p;
    for (; **p >= '0' && **p <= '9'; ++*p) {
        n = n * 10 + (**p - '0');
        if (n > max)
            return false;
    }
    *out = n;
    return *p > start && n >= min;
}

static bool take_name(const char **p, char out[TZ_ABBREV_MAX])
{
    bool quoted = take(p, '<');
    size_t n = 0;
    for (;
         isalpha((unsigned char)**p) || (quoted && (isdigit((unsigned char)**p) || **p == '+' || **p == '-'));
         ++*p) {
        if (n + 1 >= TZ_ABBREV_MAX)
            return false;
        out[n++] = **p;
    }
    out[n] = '\0';
    return n >= 3 && (!quoted || take(p, '>'));
}

/* [+-]hh[:mm[:ss]] in seconds. */
static bool take_time(const char **p, int max_hours, int32_t *out)
{
    int sign = take(p, '-') ? -1 : 1, h, m = 0, s = 0;
    if (sign > 0)
        take(p, '+');
    if (!take_number(p, 0, max_hours, &h))
        return false;
    if (take(p, ':') && (!take_number(p, 0, 59, &m) || (take(p, ':') && !take_number(p, 0, 59, &s))))
        return false;
    *out = sign * (h * 3600 + m * 60 + s);
    return true;
}

static bool take_day(const char **p, struct tz_day *d)
{
    *d = (struct tz_day){ .time = 2 * 3600 };
    bool ok;
    if (take(p, 'M')) {
        d->kind = TZ_DAY_OF_MONTH;
        ok = take_number(p, 1, 12, &d->month) && take(p, '.') && take_number(p, 1, 5, &d->week) &&
             take(p, '.') && take_number(p, 0, 6, &d->day);
    } else if (take(p, 'J')) {
        d->kind = TZ_DAY_JULIAN;
        ok = take_number(p, 1, 365, &d->day);
    } else {
        d->kind = TZ_DAY_OF_YEAR;
        ok = take_number(p, 0, 365, &d->day);
    }
    return ok && (!take(p, '/') || take_time(p, 167, &d->time));
}

bool tz_rule_parse(const char *text, struct tz_rule *out)
{
    const char *p = text;
    struct tz_rule r = { 0 };
    if (!take_name(&p, r.std) || !take_time(&p, 24, &r.std_offset))
        return false;
    r.std_offset = -r.std_offset; /* POSIX counts west */
    if (*p) {
        r.has_dst = true;
        r.dst_offset = r.std_offset + 3600;
        if (!take_name(&p, r.dst))
            return false;
        if (*p != ',') {
            if (!take_time(&p, 24, &r.dst_offset))
                return false;
            r.dst_offset = -r.dst_offset;
        }
        if (!take(&p, ',') || !take_day(&p, &r.start) || !take(&p, ',') || !take_day(&p, &r.end) || *p)
            return false;
    }
    *out = r;
    return true;
}

/* --- applying ------------------------------------------------------------------------------------ */

/* The local second of the rule's day in a year. */
static int64_t day_in(const struct tz_day *d, int year)
{
    int64_t days = 0;
    switch (d->kind) {
    case TZ_DAY_JULIAN:
        days = civil_days(year, 1, 1) + d->day - 1 + (civil_is_leap(year) && d->day >= 60);
        break;
    case TZ_DAY_OF_YEAR: days = civil_days(year, 1, 1) + d->day; break;
    case TZ_DAY_OF_MONTH: {
        int64_t first = civil_days(year, d->month, 1);
        int in_month = (d->day - civil_weekday(first) + 7) % 7 + (d->week - 1) * 7;
        while (in_month >= civil_month_days(year, d->month))
            in_month -= 7;
        days = first + in_month;
        break;
    }
    }
    return days * CIVIL_DAY + d->time;
}

/* The last change at or before t decides, the first after it is the next. Three years hold both, and
 * in a tie the start wins: rules for daylight saving all year end and start in the same second. */
bool tz_rule_at(const struct tz_rule *rule, int64_t t, int64_t *until)
{
    *until = INT64_MAX;
    if (!rule->has_dst)
        return false;
    int year = civil_of(civil_day_of(t)).year;
    int64_t last = INT64_MIN;
    bool dst = false;
    for (int y = year > 1 ? year - 1 : 1; y <= year + 1; y++) {
        int64_t start = day_in(&rule->start, y) - rule->std_offset;
        int64_t end = day_in(&rule->end, y) - rule->dst_offset;
        if (end <= t && end > last) {
            last = end;
            dst = false;
        }
        if (start <= t && start >= last) {
            last = start;
            dst = true;
        }
        if (start > t && start < *until)
            *until = start;
        if (end > t && end < *until)
            *until = end;
    }
    return dst;
}
