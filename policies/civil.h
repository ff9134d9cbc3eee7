/* The proleptic Gregorian calendar: days counted from 1970-01-01, which is day 0. Years 1 to 9999. */
#ifndef POLICIES_CIVIL_H
#define POLICIES_CIVIL_H

#include <stdbool.h>
#include <stdint.h>

#define CIVIL_DAY 86400 /* seconds */

struct civil {
    int year, month, day; /* month and day from 1 */
};

bool civil_is_leap(int year);
int civil_month_days(int year, int month);
int64_t civil_days(int year, int month, int day);
struct civil civil_of(int64_t days);
int civil_weekday(int64_t days); /* 0 is Sunday */
int64_t civil_day_of(int64_t seconds); /* the day that holds this second; rounds down */

#endif
