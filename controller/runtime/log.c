/* The log writes one event as one line with one write(2), so that lines of a shared standard error never
 * interleave. It never lets a control byte through: a peer's text cannot forge a line or drive a
 * terminal. It allocates nothing and never fails the caller. */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "autoscale/time.h"
#include "log.h"

#define TEXT_MAX       2048 /* formatted message before escaping */
#define LINE_MAX_BYTES 4096
#define CUT            " [cut]"

static const struct {
    const char *name;
    int priority; /* of syslog(3), as systemd's <N> prefix */
} levels[] = {
    [LOG_LEVEL_ERROR] = { "error", 3 },
    [LOG_LEVEL_WARNING] = { "warning", 4 },
    [LOG_LEVEL_INFO] = { "info", 6 },
    [LOG_LEVEL_DEBUG] = { "debug", 7 },
};

static enum log_level threshold = LOG_LEVEL_INFO;
static void (*sink)(void *arg, enum log_level level, const char *line);
static void *sink_arg;

void log_set_level(enum log_level level)
{
    threshold = level;
}

bool log_shows(enum log_level level)
{
    return level <= threshold;
}

int log_parse_level(const char *name, enum log_level *out)
{
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (strcmp(name, levels[i].name) == 0) {
            *out = (enum log_level)i;
            return 0;
        }
    }
    return -1;
}

void log_set_sink(void (*to)(void *arg, enum log_level level, const char *line), void *arg)
{
    sink = to;
    sink_arg = arg;
}

/* JOURNAL_STREAM is inherited by everything a unit starts, also by what redirected its standard error: only
 * when it names our own descriptor is the journal reading. */
static bool to_journal(void)
{
    static int known = -1;
    if (known < 0) {
        const char *stream = getenv("JOURNAL_STREAM");
        uintmax_t dev = 0, ino = 0;
        struct stat st;
        known = stream && sscanf(stream, "%ju:%ju", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
                st.st_dev == dev && st.st_ino == ino;
    }
    return known > 0;
}

/* Length of the well-formed UTF-8 sequence at s that may be shown as it is, 0 when it must be escaped. */
static size_t printable(const unsigned char *s)
{
    if (s[0] < 0x80)
        return s[0] >= 0x20 && s[0] != 0x7f;
    size_t n = s[0] >= 0xf0 && s[0] <= 0xf4   ? 4
               : s[0] >= 0xe0 && s[0] <= 0xef ? 3
               : s[0] >= 0xc2 && s[0] <= 0xdf ? 2
                                              : 0;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    }
    if (s[0] == 0xc2 && s[1] < 0xa0) /* C1 control characters */
        return 0;
    if (s[0] == 0xe2 && s[1] == 0x80 && (s[2] == 0xa8 || s[2] == 0xa9)) /* line, paragraph separator */
        return 0;
    return n;
}

/* Appends text, escaped, at out+len; returns the new length. Over-long text ends in a mark. */
static size_t append_escaped(char *out, size_t len, size_t size, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    while (*s) {
        size_t n = printable(s);
        if (len + (n ? n : 4) + sizeof CUT > size) {
            memcpy(out + len, CUT, sizeof CUT);
            return len + sizeof CUT - 1;
        }
        if (n) {
            memcpy(out + len, s, n);
            len += n;
            s += n;
        } else {
            const char *format = *s == '\n' ? "\\n" : *s == '\t' ? "\\t" : "\\x%02x";
            len += (size_t)snprintf(out + len, size - len, format, *s);
            s++;
        }
    }
    out[len] = '\0';
    return len;
}

static size_t put_prefix(char *out, size_t size, enum log_level level)
{
    if (!sink && to_journal())
        return (size_t)snprintf(out, size, "<%d>%s ", levels[level].priority, levels[level].name);
    int64_t wall = as_clock_wall();
    time_t seconds = (time_t)(wall / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    size_t len = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &tm);
    return len +
           (size_t)snprintf(out + len, size - len, ".%03dZ %s ", (int)(wall % 1000), levels[level].name);
}

static void write_line(const char *line, size_t len)
{
    while (len) {
        ssize_t n = write(STDERR_FILENO, line, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) /* nowhere to report it */
            return;
        line += n;
        len -= (size_t)n;
    }
}

static void put(enum log_level level, const char *component, const char *fmt, va_list ap)
{
    if (!log_shows(level))
        return;
    int saved = errno;
    char text[TEXT_MAX];
    int wanted = vsnprintf(text, sizeof text, fmt, ap);
    if (wanted < 0)
        snprintf(text, sizeof text, "(message that could not be formatted)");
    else if ((size_t)wanted >= sizeof text)
        memcpy(text + sizeof text - sizeof CUT, CUT, sizeof CUT);

    char line[LINE_MAX_BYTES + 1]; /* and the newline */
    size_t len = put_prefix(line, LINE_MAX_BYTES, level);
    len = append_escaped(line, len, LINE_MAX_BYTES / 2, component);
    line[len++] = ' ';
    len = append_escaped(line, len, LINE_MAX_BYTES, text);
    if (sink) {
        sink(sink_arg, level, line);
    } else {
        line[len++] = '\n';
        write_line(line, len);
    }
    errno = saved;
}

void log_error(const char *component, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    put(LOG_LEVEL_ERROR, component, fmt, ap);
    va_end(ap);
}

void log_warning(const char *component, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    put(LOG_LEVEL_WARNING, component, fmt, ap);
    va_end(ap);
}

void log_info(const char *component, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    put(LOG_LEVEL_INFO, component, fmt, ap);
    va_end(ap);
}

void log_debug(const char *component, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    put(LOG_LEVEL_DEBUG, component, fmt, ap);
    va_end(ap);
}
