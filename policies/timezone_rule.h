/* The rule at the end of a zone file for all time after its last transition, in the POSIX TZ form:
 * "CET-1CEST,M3.5.0,M10.5.0/3". Pure. */
#ifndef POLICIES_TIMEZONE_RULE_H
#define POLICIES_TIMEZONE_RULE_H

#include <stdbool.h>
#include <stdint.h>

#define TZ_ABBREV_MAX 16 /* with the NUL */

struct tz_day {
    enum tz_day_kind {
        TZ_DAY_JULIAN,   /* Jn: 1..365, 29 February is never counted */
        TZ_DAY_OF_YEAR,  /* n: 0..365, 29 February is counted */
        TZ_DAY_OF_MONTH, /* Mm.w.d: weekday d of week w (5: the last) of month m */
    } kind;
    int day, month, week;
    int32_t time; /* of day, seconds of local time; may lie outside the day */
};

struct tz_rule {
    int32_t std_offset, dst_offset; /* seconds east of UTC */
    bool has_dst;
    struct tz_day start, end;       /* of daylight saving time */
    char std[TZ_ABBREV_MAX], dst[TZ_ABBREV_MAX];
};

bool tz_rule_parse(const char *text, struct tz_rule *out);

/* Whether daylight saving time holds at `t`, and when that next changes (INT64_MAX: never). */
bool tz_rule_at(const struct tz_rule *rule, int64_t t, int64_t *until);

#endif
