/* Errors and clocks: the two things every room needs. */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "autoscale/error.h"
#include "autoscale/time.h"

int as_fail(struct as_error *err, enum as_rc rc, const char *fmt, ...)
{
    if (err) {
        char text[sizeof err->msg]; /* the arguments may point into *err */
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(text, sizeof text, fmt, ap);
        va_end(ap);
        err->rc = rc;
        err->line = 0;
        snprintf(err->msg, sizeof err->msg, "%s", text);
    }
    return (int)rc;
}

const char *as_rc_name(enum as_rc rc)
{
    static const char *const names[] = {
        [AS_OK] = "ok",
        [AS_EINVAL] = "invalid",
        [AS_EAUTH] = "refused",
        [AS_EPROTO] = "protocol",
        [AS_ENOENT] = "not-found",
        [AS_EEXIST] = "exists",
        [AS_EAGAIN] = "retry",
        [AS_EUNKNOWN] = "unknown-outcome",
        [AS_EFULL] = "full",
        [AS_ENOMEM] = "no-memory",
        [AS_EIO] = "io",
        [AS_EUNSUP] = "unsupported",
    };
    return (unsigned)rc < sizeof names / sizeof *names ? names[rc] : "?";
}

static as_time clock_ms(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (as_time)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

as_time as_clock_monotonic(void)
{
    return clock_ms(CLOCK_MONOTONIC);
}

int64_t as_clock_wall(void)
{
    return clock_ms(CLOCK_REALTIME);
}

int as_time_left(as_time deadline)
{
    as_time left = deadline - as_clock_monotonic();
    return left <= 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

const char *as_time_text(as_time span, char *buf, unsigned long size)
{
    const char *sign = span < 0 ? "-" : "";
    unsigned long long ms = span < 0 ? -(unsigned long long)span : (unsigned long long)span;
    unsigned long long s = ms / 1000;
    if (ms < 1000)
        snprintf(buf, size, "%s%llums", sign, ms);
    else if (ms < 60000 && ms % 1000 >= 100)
        snprintf(buf, size, "%s%llu.%llus", sign, s, ms % 1000 / 100);
    else if (s < 60)
        snprintf(buf, size, "%s%llus", sign, s);
    else if (s < 3600)
        snprintf(buf, size, s % 60 ? "%s%llum%02llus" : "%s%llum", sign, s / 60, s % 60);
    else if (s < 86400)
        snprintf(buf, size, s / 60 % 60 ? "%s%lluh%02llum" : "%s%lluh", sign, s / 3600, s / 60 % 60);
    else
        snprintf(buf, size, s / 3600 % 24 ? "%s%llud%lluh" : "%s%llud", sign, s / 86400, s / 3600 % 24);
    return buf;
}
