/* Recurring windows of time. Must never depend on a tick having been seen, nor on the process' own
 * time zone or locale. */
#include <stdio.h>
#include <string.h>

#include "civil.h"
#include "schedule.h"

#define LOOK_AHEAD_DAYS (9 * 366)   /* 29 February may be eight years away */
#define ZONE_SPAN       (26 * 3600) /* no offset is as large */
#define ZONE_DAYS       2

static const char *const weekdays[] = { "sun", "mon", "tue", "wed", "thu", "fri", "sat" };

static bool occurs_on(const struct schedule *s, int64_t day)
{
    if (s->weekdays >> civil_weekday(day) & 1)
        return true;
    if (!s->date_count)
        return false;
    struct civil c = civil_of(day);
    for (size_t i = 0; i < s->date_count; i++) {
        const struct schedule_date *d = &s->dates[i];
        if (d->month == c.month && d->day == c.day && (!d->year || d->year == c.year))
            return true;
    }
    return false;
}

/* The first instant at which the local clock shows `local` or later: right for normal, skipped and
 * doubled times alike. */
static int64_t first_instant(const struct tz *tz, int64_t local)
{
    int64_t t = local - ZONE_SPAN;
    for (;;) {
        struct tz_segment seg = tz_at(tz, t);
        int64_t shown = local - seg.offset;
        if (shown < t)
            shown = t;
        if (shown < seg.end)
            return shown;
        t = seg.end;
    }
}

static struct schedule_window window_of(const struct schedule *s, int64_t day)
{
    int64_t start = first_instant(s->tz, day * CIVIL_DAY + s->start);
    return (struct schedule_window){ start, start + s->duration };
}

bool schedule_inside(const struct schedule *s, int64_t t, struct schedule_window *w)
{
    bool inside = false;
    int64_t first = civil_day_of(t - s->duration) - ZONE_DAYS, last = civil_day_of(t) + ZONE_DAYS;
    for (int64_t day = first; day <= last; day++) {
        if (!occurs_on(s, day))
            continue;
        struct schedule_window one = window_of(s, day);
        if (t < one.start || t >= one.end)
            continue;
        if (!inside)
            *w = one;
        else if (one.end > w->end)
            w->end = one.end;
        inside = true;
    }
    return inside;
}

bool schedule_next(const struct schedule *s, int64_t t, struct schedule_window *w)
{
    int64_t first = civil_day_of(t) - ZONE_DAYS;
    for (int64_t day = first; day <= first + LOOK_AHEAD_DAYS; day++) {
        if (!occurs_on(s, day))
            continue;
        struct schedule_window one = window_of(s, day);
        if (one.start > t) {
            *w = one;
            return true;
        }
    }
    return false;
}

/* --- text ---------------------------------------------------------------------------------------- */

/* Exactly `n` digits at p as a number, -1 when they are not. */
static int digits(const char *p, int n)
{
    int v = 0;
    for (int i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return -1;
        v = v * 10 + (p[i] - '0');
    }
    return v;
}

bool schedule_parse_time(const char *text, int32_t *second_of_day)
{
    size_t len = strlen(text);
    if ((len != 5 && len != 8) || text[2] != ':' || (len == 8 && text[5] != ':'))
        return false;
    int h = digits(text, 2), m = digits(text + 3, 2), s = len == 8 ? digits(text + 6, 2) : 0;
    if (h < 0 || h > 23 || m < 0 || m > 59 || s < 0 || s > 59)
        return false;
    *second_of_day = h * 3600 + m * 60 + s;
    return true;
}

bool schedule_parse_date(const char *text, struct schedule_date *date)
{
    size_t len = strlen(text);
    int year = 0;
    if (len == 10 && text[4] == '-') {
        year = digits(text, 4);
        if (year < 1970)
            return false;
        text += 5;
    } else if (len != 5) {
        return false;
    }
    int month = digits(text, 2), day = text[2] == '-' ? digits(text + 3, 2) : -1;
    const int leap = 2000; /* a yearly 29 February is a date */
    if (month < 1 || month > 12 || day < 1 || day > civil_month_days(year ? year : leap, month))
        return false;
    *date = (struct schedule_date){ year, month, day };
    return true;
}

int schedule_parse_weekday(const char *text)
{
    for (int i = 0; i < 7; i++)
        if (!strcmp(text, weekdays[i]))
            return i;
    return -1;
}

const char *schedule_text(const struct tz *tz, int64_t t, int64_t now, char *buf, size_t size)
{
    static const char *const days[] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
    static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
    struct tz_segment seg = tz_at(tz, t);
    int64_t local = t + seg.offset, day = civil_day_of(local);
    int second = (int)(local - day * CIVIL_DAY);
    struct civil c = civil_of(day), today = civil_of(civil_day_of(now + tz_at(tz, now).offset));
    char year[16] = "", seconds[16] = "";
    if (c.year != today.year)
        snprintf(year, sizeof year, " %d", c.year);
    if (second % 60)
        snprintf(seconds, sizeof seconds, ":%02d", second % 60);
    snprintf(buf, size, "%s %d %s%s %02d:%02d%s %s", days[civil_weekday(day)], c.day, months[c.month - 1],
             year, second / 3600, second / 60 % 60, seconds, seg.abbrev);
    return buf;
}
