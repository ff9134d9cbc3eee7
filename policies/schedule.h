/* Recurring windows of time: on some days, from a local time, for a real duration. Pure: everything
 * follows from the question "is `t` inside?", never from having seen a moment pass.
 *
 * A window begins at the first instant at which the local clock of its day shows the start or later:
 * a start that a daylight-saving change skips begins right after the skip, one that comes twice begins
 * the first time. It lasts `duration` of elapsed time, whatever the clock does meanwhile.
 * Times are seconds since the Unix epoch. */
#ifndef POLICIES_SCHEDULE_H
#define POLICIES_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>

#include "timezone.h"

#define SCHEDULE_DURATION_MAX (31 * 86400) /* seconds */
#define SCHEDULE_DATES_MAX    400
#define SCHEDULE_EVERY_DAY    0x7f

struct schedule_date {
    int year; /* 0: every year */
    int month, day;
};

struct schedule {
    const struct tz *tz;    /* borrowed */
    int32_t start;          /* second of the local day */
    int64_t duration;       /* seconds */
    unsigned weekdays;      /* bit 0 is Sunday */
    const struct schedule_date *dates; /* further days; borrowed */
    size_t date_count;
};

struct schedule_window {
    int64_t start, end; /* [start, end) */
};

/* Whether t lies in a window; *w is it, or the span of those that overlap at t. */
bool schedule_inside(const struct schedule *s, int64_t t, struct schedule_window *w);
/* The first window that starts after t; false when none does within nine years. */
bool schedule_next(const struct schedule *s, int64_t t, struct schedule_window *w);

bool schedule_parse_time(const char *text, int32_t *second_of_day);       /* "20:00" "20:00:30"    */
bool schedule_parse_date(const char *text, struct schedule_date *date);   /* "2026-11-27" "12-24"  */
int schedule_parse_weekday(const char *text);                             /* "mon": 1; -1: none    */

/* "Fri 27 Nov 20:00 CET"; with the year when it is not that of `now`. Returns buf. */
const char *schedule_text(const struct tz *tz, int64_t t, int64_t now, char *buf, size_t size);

#endif
