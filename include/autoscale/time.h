/* Time. as_time is milliseconds of CLOCK_MONOTONIC: deadlines, windows, ages. Wall time
 * (milliseconds since the Unix epoch, int64_t, names end in _wall) is only for schedules, the
 * journal and people. The loop reads the clock once per turn and passes it in; a blocking driver
 * call may ask how much of its deadline is left. Policies never read a clock. */
#ifndef AUTOSCALE_TIME_H
#define AUTOSCALE_TIME_H

#include <stdint.h>

typedef int64_t as_time;

#define AS_SECOND ((as_time)1000)
#define AS_MINUTE (60 * AS_SECOND)
#define AS_HOUR (60 * AS_MINUTE)
#define AS_DAY (24 * AS_HOUR)

as_time as_clock_monotonic(void);
int64_t as_clock_wall(void);

/* Milliseconds until `deadline`, 0 when it has passed, at most INT_MAX: fits poll(2) and libcurl. */
int as_time_left(as_time deadline);

/* "850ms", "1.4s", "2m05s", "3h20m", "2d4h": what people read. Returns buf. */
const char *as_time_text(as_time span, char *buf, unsigned long size);

#endif
