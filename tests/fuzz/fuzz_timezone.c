/* Zone files are foreign bytes: whatever they hold, reading and asking must end and stay in bounds. */
#include <stdlib.h>

#include "../../policies/schedule.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int64_t times[] = { INT64_MIN,  -62135596800, -1,           0,
                                     1774746000, 4102444800,   253402300799, INT64_MAX - 1 };
    struct tz *tz = NULL;
    struct as_error err;
    if (tz_parse(data, size, &tz, &err))
        return 0;
    struct schedule s = { .tz = tz, .start = 9000, .duration = 7200, .weekdays = SCHEDULE_EVERY_DAY };
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        struct schedule_window w;
        char text[64];
        if (tz_at(tz, times[i]).end <= times[i])
            abort();
        if (times[i] < -62135596800 || times[i] > 253402300799)
            continue; /* outside the calendar */
        if (schedule_inside(&s, times[i], &w) && (w.start > times[i] || w.end <= times[i]))
            abort();
        if (schedule_next(&s, times[i], &w))
            schedule_text(tz, w.start, times[i], text, sizeof text);
    }
    tz_free(tz);
    return 0;
}
