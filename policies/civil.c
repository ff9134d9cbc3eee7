/* Calendar arithmetic. Must never ask the C library: its answers depend on the process' time zone. */
#include "civil.h"

#define EPOCH 719162 /* days from 0001-01-01 to 1970-01-01 */

bool civil_is_leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

int civil_month_days(int year, int month)
{
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    return month == 2 && civil_is_leap(year) ? 29 : days[month - 1];
}

static int64_t days_before_year(int year)
{
    int64_t y = year - 1;
    return y * 365 + y / 4 - y / 100 + y / 400 - EPOCH;
}

int64_t civil_days(int year, int month, int day)
{
    int64_t days = days_before_year(year) + day - 1;
    for (int m = 1; m < month; m++)
        days += civil_month_days(year, m);
    return days;
}

struct civil civil_of(int64_t days)
{
    const int64_t first = days_before_year(1), last = days_before_year(10000) - 1;
    days = days < first ? first : days > last ? last : days;
    int year = (int)((days + EPOCH) * 400 / 146097) + 1; /* right, or one off near new year */
    if (days < days_before_year(year))
        year--;
    else if (days >= days_before_year(year + 1))
        year++;
    struct civil c = { .year = year, .month = 1, .day = (int)(days - days_before_year(year)) + 1 };
    for (int n; c.day > (n = civil_month_days(c.year, c.month)); c.month++)
        c.day -= n;
    return c;
}

int civil_weekday(int64_t days)
{
    return (int)(((days + 4) % 7 + 7) % 7); /* day 0 was a Thursday */
}

int64_t civil_day_of(int64_t seconds)
{
    return seconds / CIVIL_DAY - (seconds % CIVIL_DAY < 0);
}
