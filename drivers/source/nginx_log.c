/* Reading nginx's access log. A line that does not fit the format is counted and never fatal; a line's text
 * goes no further than this file, since it holds what shoppers typed. */
#include "nginx_log.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG_MAX ((off_t)64 * 1024 * 1024) /* one poll reads no more of a file than this */
#define TIME_MAX_MS 86400000.0

/* --- the format ---------------------------------------------------------------------------------------- */

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* At a '$': moves behind the variable; false when there is no name. */
static bool take_variable(char **at, enum nginx_field *field)
{
    static const char *const names[NGINX_FIELDS] = { "", "status", "request_time", "upstream_response_time" };
    char *from = *at + 1, *to;
    bool braces = *from == '{';
    from += braces;
    for (to = from; name_char(*to); to++)
        ;
    size_t n = (size_t)(to - from);
    if (n == 0 || (braces && *to != '}'))
        return false;
    *field = NGINX_SKIP;
    for (int k = NGINX_STATUS; k < NGINX_FIELDS; k++)
        if (strlen(names[k]) == n && strncmp(names[k], from, n) == 0)
            *field = (enum nginx_field)k;
    *at = to + braces;
    return true;
}

static int take_part(struct nginx_format *f, char **at, struct as_error *err)
{
    enum nginx_field field = NGINX_SKIP;
    char *from = *at;
    if (f->count == NGINX_PARTS_MAX)
        return as_fail(err, AS_EINVAL, "more than %d variables", NGINX_PARTS_MAX);
    if (!take_variable(at, &field))
        return as_fail(err, AS_EINVAL, "no variable begins at '%.40s'", from);
    if (field != NGINX_SKIP && f->has[field])
        return as_fail(err, AS_EINVAL, "'%.40s' repeats a variable", from);
    if (**at == '$')
        return as_fail(err, AS_EINVAL, "nothing separates two variables at '%.40s'", from);
    f->has[field] = true;
    size_t len = strcspn(*at, "$");
    f->parts[f->count++] = (struct nginx_part){ field, *at, len };
    *at += len;
    return AS_OK;
}

int nginx_format_init(struct nginx_format *f, const char *text, struct as_error *err)
{
    *f = (struct nginx_format){ 0 };
    if (strlen(text) >= sizeof f->text || strpbrk(text, "\r\n"))
        return as_fail(err, AS_EINVAL, "longer than %d characters, or more than one line",
                       NGINX_FORMAT_MAX - 1);
    strcpy(f->text, text);
    char *at = f->text;
    f->before = at;
    f->before_len = strcspn(at, "$");
    at += f->before_len;
    while (*at) {
        int rc = take_part(f, &at, err);
        if (rc)
            return rc;
    }
    if (!f->has[NGINX_STATUS] && !f->has[NGINX_REQUEST_TIME] && !f->has[NGINX_UPSTREAM_TIME])
        return as_fail(err, AS_EINVAL, "has neither $status nor $request_time nor $upstream_response_time");
    return AS_OK;
}

/* --- a line -------------------------------------------------------------------------------------------- */

/* Seconds with up to three decimals, as nginx writes them, to ms; moves *at. */
static bool take_seconds(const char **at, const char *end, double *ms)
{
    double whole = 0, part = 0, scale = 1000;
    const char *from = *at;
    for (; *at < end && **at >= '0' && **at <= '9'; (*at)++)
        whole = whole * 10 + (**at - '0');
    if (*at == from)
        return false;
    if (*at < end && **at == '.')
        for ((*at)++; *at < end && **at >= '0' && **at <= '9'; (*at)++)
            part += (**at - '0') * (scale /= 10);
    *ms = whole * 1000 + part;
    return *ms <= TIME_MAX_MS;
}

/* One time, or those of several tries ("0.010, 0.020 : 0.003"), added up; "-" for one that was not made. */
static bool take_times(const char **at, const char *end, double *ms)
{
    double sum = 0, one;
    bool any = false;
    for (;;) {
        if (*at < end && **at == '-') {
            (*at)++;
        } else if (take_seconds(at, end, &one)) {
            sum += one;
            any = true;
        } else {
            return false;
        }
        if (end - *at >= 2 && memcmp(*at, ", ", 2) == 0)
            *at += 2;
        else if (end - *at >= 3 && memcmp(*at, " : ", 3) == 0)
            *at += 3;
        else
            break;
    }
    *ms = any ? sum : -1;
    return sum <= TIME_MAX_MS;
}

static bool take_status(const char **at, const char *end, int *status)
{
    int n = 0, digits = 0;
    for (; *at < end && **at >= '0' && **at <= '9' && digits < 4; (*at)++, digits++)
        n = n * 10 + (**at - '0');
    *status = n;
    return digits == 3 && n >= 100 && n <= 599;
}

static bool take_skipped(const char **at, const char *end, const struct nginx_part *p)
{
    const char *next = p->len ? memmem(*at, (size_t)(end - *at), p->text, p->len) : end;
    *at = next ? next : *at;
    return next != NULL;
}

static bool take_field(const char **at, const char *end, const struct nginx_part *p, struct nginx_line *out)
{
    switch (p->field) {
    case NGINX_STATUS: return take_status(at, end, &out->status);
    case NGINX_REQUEST_TIME: return take_seconds(at, end, &out->request_ms);
    case NGINX_UPSTREAM_TIME: return take_times(at, end, &out->upstream_ms);
    default: return take_skipped(at, end, p);
    }
}

bool nginx_format_read(const struct nginx_format *f, const char *line, size_t len, struct nginx_line *out)
{
    struct nginx_line l = { .status = 0, .request_ms = -1, .upstream_ms = -1 };
    const char *at = line, *end = line + len;
    if (len < f->before_len || memcmp(line, f->before, f->before_len) != 0)
        return false;
    at += f->before_len;
    for (size_t i = 0; i < f->count; i++) {
        const struct nginx_part *p = &f->parts[i];
        if (!take_field(&at, end, p, &l))
            return false;
        if ((size_t)(end - at) < p->len || memcmp(at, p->text, p->len) != 0)
            return false;
        at += p->len;
    }
    if (at != end)
        return false;
    *out = l;
    return true;
}

/* --- what the lines say -------------------------------------------------------------------------------- */

/* Exact below 64 ms, then 32 buckets for each doubling. */
static size_t bucket_of(double ms)
{
    uint64_t n = (uint64_t)ms;
    unsigned shift = 0;
    while (n >> shift >= 64)
        shift++;
    size_t at = n < 64 ? (size_t)n : 64 + (shift - 1) * 32 + (size_t)((n >> shift) - 32);
    return at < NGINX_BUCKETS ? at : NGINX_BUCKETS - 1;
}

static double bucket_ms(size_t at)
{
    if (at < 64)
        return (double)at;
    unsigned shift = (unsigned)((at - 64) / 32) + 1;
    double low = (double)((uint64_t)(32 + (at - 64) % 32) << shift);
    return low + ((double)(1ULL << shift) - 1) / 2;
}

void nginx_times_add(struct nginx_times *t, double ms)
{
    t->buckets[bucket_of(ms < 0 ? 0 : round(ms))]++;
    t->count++;
}

double nginx_times_quantile(const struct nginx_times *t, double q)
{
    uint64_t rank = (uint64_t)ceil(q * (double)t->count), sum = 0;
    size_t at = 0;
    for (; at < NGINX_BUCKETS - 1; at++) {
        sum += t->buckets[at];
        if (sum >= rank && sum > 0)
            break;
    }
    return bucket_ms(at);
}

void nginx_tally_add(struct nginx_tally *t, const struct nginx_format *f, const char *line, size_t len)
{
    struct nginx_line l;
    if (!nginx_format_read(f, line, len, &l)) {
        t->bad++;
        return;
    }
    t->lines++;
    if (l.status)
        t->classes[l.status / 100]++;
    if (l.request_ms >= 0)
        nginx_times_add(&t->request, l.request_ms);
    if (l.upstream_ms >= 0)
        nginx_times_add(&t->upstream, l.upstream_ms);
}

/* --- following a file ---------------------------------------------------------------------------------- */

static int open_log(struct nginx_follow *f, bool at_end, struct as_error *err)
{
    struct stat st;
    int fd = open(f->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        const char *why = fd < 0 ? strerror(errno) : "it is no plain file";
        if (fd >= 0)
            close(fd);
        return as_fail(err, AS_EIO, "cannot read %s: %s", f->path, why);
    }
    f->fd = fd;
    f->dev = st.st_dev;
    f->ino = st.st_ino;
    f->at = at_end ? st.st_size : 0;
    f->len = 0;
    f->overlong = at_end && st.st_size > 0; /* it may be in the midst of a line */
    char last;
    if (f->overlong && pread(fd, &last, 1, st.st_size - 1) == 1 && last == '\n')
        f->overlong = false;
    return AS_OK;
}

int nginx_follow_open(struct nginx_follow *f, struct as_error *err)
{
    return open_log(f, true, err);
}

void nginx_follow_close(struct nginx_follow *f)
{
    if (f->fd >= 0)
        close(f->fd);
    if (f->old >= 0)
        close(f->old);
    f->fd = f->old = -1;
}

/* The whole lines of buf to the tally; what is left moves to its beginning. */
static void take_lines(struct nginx_follow *f, const struct nginx_format *format, struct nginx_tally *tally)
{
    size_t from = 0;
    char *end;
    while ((end = memchr(f->buf + from, '\n', f->len - from))) {
        size_t next = (size_t)(end - f->buf) + 1;
        if (!f->overlong)
            nginx_tally_add(tally, format, f->buf + from, next - 1 - from);
        f->overlong = false;
        from = next;
    }
    f->len -= from;
    memmove(f->buf, f->buf + from, f->len);
    if (f->len == sizeof f->buf) {
        tally->bad += !f->overlong;
        f->overlong = true;
        f->len = 0;
    }
}

/* To the end of fd, from *at. */
static int drain(struct nginx_follow *f, int fd, off_t *at, const struct nginx_format *format,
                 as_time deadline, struct nginx_tally *tally)
{
    while (as_time_left(deadline) > 0) {
        ssize_t n = pread(fd, f->buf + f->len, sizeof f->buf - f->len, *at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : 0;
        *at += n;
        f->len += (size_t)n;
        take_lines(f, format, tally);
    }
    return 0;
}

/* A file that shrank was emptied in place; one that grew beyond measure is left behind. */
static void adjust(struct nginx_follow *f, off_t *skipped)
{
    struct stat st;
    if (fstat(f->fd, &st) != 0)
        return;
    if (st.st_size < f->at) {
        f->at = 0;
        f->len = 0;
        f->overlong = false;
    }
    if (st.st_size - f->at > BACKLOG_MAX) {
        *skipped += st.st_size - BACKLOG_MAX - f->at;
        f->at = st.st_size - BACKLOG_MAX;
        f->len = 0;
        f->overlong = true;
    }
}

static bool was_rotated(const struct nginx_follow *f)
{
    struct stat st;
    return stat(f->path, &st) == 0 && (st.st_dev != f->dev || st.st_ino != f->ino);
}

/* nginx's workers reopen the log a moment after it was moved: the old file is read once more next time. */
static int rotate(struct nginx_follow *f, struct as_error *err)
{
    int fd = f->fd;
    off_t at = f->at;
    int rc = open_log(f, false, err);
    if (rc)
        return rc;
    f->old = fd;
    f->old_at = at;
    return AS_OK;
}

/* What arrived in the rotated file since it was left. Its last bytes are whole lines: nginx writes no others. */
static void finish_old(struct nginx_follow *f, const struct nginx_format *format, as_time deadline,
                       struct nginx_tally *tally)
{
    if (f->old < 0)
        return;
    struct nginx_follow *rest = malloc(sizeof *rest);
    if (rest) {
        rest->fd = f->old;
        rest->len = 0;
        rest->overlong = false;
        drain(rest, f->old, &f->old_at, format, deadline, tally);
    }
    free(rest);
    close(f->old);
    f->old = -1;
}

int nginx_follow_read(struct nginx_follow *f, const struct nginx_format *format, as_time deadline,
                      struct nginx_tally *tally, off_t *skipped, struct as_error *err)
{
    finish_old(f, format, deadline, tally);
    adjust(f, skipped);
    int why = drain(f, f->fd, &f->at, format, deadline, tally);
    if (why)
        return as_fail(err, AS_EIO, "cannot read %s: %s", f->path, strerror(why));
    if (!was_rotated(f))
        return AS_OK;
    int rc = rotate(f, err);
    if (rc)
        return rc;
    why = drain(f, f->fd, &f->at, format, deadline, tally);
    return why ? as_fail(err, AS_EIO, "cannot read %s: %s", f->path, strerror(why)) : AS_OK;
}
