/* sd_notify messages. It never blocks and never reports an error: there is nobody who could act on it. */
#include <stdio.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "notify.h"

#define STATUS_MAX 256

void notify_ready(void)
{
    sd_notify(0, "READY=1");
}

void notify_reloading(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)t.tv_sec * 1000000 + t.tv_nsec / 1000);
}

void notify_stopping(void)
{
    sd_notify(0, "STOPPING=1");
}

/* A line break in the text would begin another assignment. */
void notify_status(const char *text)
{
    char line[STATUS_MAX];
    snprintf(line, sizeof line, "STATUS=%s", text);
    for (char *s = line; *s; s++) {
        if ((unsigned char)*s < ' ')
            *s = ' ';
    }
    sd_notify(0, line);
}

as_time notify_watchdog_interval(void)
{
    uint64_t usec = 0;
    if (sd_watchdog_enabled(0, &usec) <= 0 || usec == 0)
        return 0;
    as_time half = (as_time)(usec / 2000);
    return half > 0 ? half : 1;
}

void notify_watchdog(void)
{
    sd_notify(0, "WATCHDOG=1");
}
