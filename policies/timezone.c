/* Time zone files of the system's tz database (TZif, RFC 9636): reading them, and the offset at a time.
 * The bytes are foreign: every count is capped and checked against the size before it is used. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "timezone.h"

#define ZONE_DIR        "/usr/share/zoneinfo"
#define HEADER_SIZE     44
#define TRANSITIONS_MAX 4096
#define TYPES_MAX       256
#define CHARS_MAX       256
#define RULE_MAX        128
#define OFFSET_LIMIT    (26 * 3600)

struct tz_type {
    int32_t offset;
    uint8_t abbrev; /* where in abbrevs */
};

struct tz_transition {
    int64_t at;
    uint8_t type;
};

struct tz {
    size_t type_count, transition_count;
    struct tz_type types[TYPES_MAX];
    char abbrevs[CHARS_MAX + 1];
    bool has_rule; /* for the time from the last transition on */
    struct tz_rule rule;
    struct tz_transition transitions[];
};

struct counts { /* of one data block, in the order of its header */
    uint32_t isut, isstd, leap, time, type, chars;
};

static uint32_t big32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int64_t big_signed(const uint8_t *p, size_t width)
{
    if (width == 4)
        return (int32_t)big32(p);
    return (int64_t)((uint64_t)big32(p) << 32 | big32(p + 4));
}

/* False when this is no header or a count is beyond reason. */
static bool read_header(const uint8_t *data, size_t size, struct counts *c)
{
    if (size < HEADER_SIZE || memcmp(data, "TZif", 4) != 0)
        return false;
    const uint8_t *p = data + 20;
    *c = (struct counts){ big32(p), big32(p + 4), big32(p + 8), big32(p + 12), big32(p + 16), big32(p + 20) };
    return c->isut <= TYPES_MAX && c->isstd <= TYPES_MAX && c->leap <= TRANSITIONS_MAX &&
           c->time <= TRANSITIONS_MAX && c->type >= 1 && c->type <= TYPES_MAX && c->chars >= 1 &&
           c->chars <= CHARS_MAX;
}

/* Bytes of the data block; small, as the counts are capped. `width` of a time is 4 or 8. */
static size_t block_size(const struct counts *c, size_t width)
{
    return c->time * (width + 1) + c->type * 6 + c->chars + c->leap * (width + 4) + c->isstd + c->isut;
}

static bool read_types(const uint8_t *p, const struct counts *c, struct tz *tz)
{
    memcpy(tz->abbrevs, p + c->type * 6, c->chars); /* one zero byte always follows */
    tz->type_count = c->type;
    for (size_t i = 0; i < c->type; i++, p += 6) {
        int64_t offset = big_signed(p, 4);
        if (offset <= -OFFSET_LIMIT || offset >= OFFSET_LIMIT || p[5] >= c->chars)
            return false;
        tz->types[i] = (struct tz_type){ (int32_t)offset, p[5] };
    }
    return true;
}

static bool read_transitions(const uint8_t *p, const struct counts *c, size_t width, struct tz *tz)
{
    const uint8_t *types = p + c->time * width;
    for (size_t i = 0; i < c->time; i++) {
        struct tz_transition *t = &tz->transitions[i];
        *t = (struct tz_transition){ big_signed(p + i * width, width), types[i] };
        if (t->type >= c->type || (i && t->at <= tz->transitions[i - 1].at))
            return false;
    }
    tz->transition_count = c->time;
    return true;
}

/* "\nRULE\n" after the second block; an empty rule is none. */
static bool read_rule(const uint8_t *p, size_t size, struct tz *tz)
{
    char text[RULE_MAX];
    const uint8_t *end = size > 1 && p[0] == '\n' ? memchr(p + 1, '\n', size - 1) : NULL;
    if (!end)
        return false;
    size_t len = (size_t)(end - p) - 1;
    if (len >= sizeof text || memchr(p + 1, '\0', len))
        return false;
    memcpy(text, p + 1, len);
    text[len] = '\0';
    tz->has_rule = len > 0;
    return !len || tz_rule_parse(text, &tz->rule);
}

static int malformed(struct as_error *err, const char *what)
{
    return as_fail(err, AS_EPROTO, "is not a valid zone file (%s): reinstall the package tzdata", what);
}

int tz_parse(const uint8_t *data, size_t size, struct tz **out, struct as_error *err)
{
    struct counts c;
    size_t width = 4;
    if (size > TZ_FILE_MAX || !read_header(data, size, &c))
        return malformed(err, "bad header");
    bool second = data[4] >= '2'; /* the first block is for readers of 32 bits */
    if (second) {
        size_t skip = HEADER_SIZE + block_size(&c, width);
        width = 8;
        if (skip > size || !read_header(data + skip, size - skip, &c))
            return malformed(err, "bad second header");
        data += skip;
        size -= skip;
    }
    if (block_size(&c, width) > size - HEADER_SIZE)
        return malformed(err, "cut short");
    if (c.leap)
        return as_fail(err, AS_EINVAL, "counts leap seconds: use the zone without \"right/\"");
    struct tz *tz = calloc(1, sizeof *tz + c.time * sizeof tz->transitions[0]);
    if (!tz)
        return as_fail(err, AS_ENOMEM, "out of memory for a time zone");
    const uint8_t *block = data + HEADER_SIZE;
    const char *what = NULL;
    if (!read_types(block + c.time * (width + 1), &c, tz))
        what = "bad offset";
    else if (!read_transitions(block, &c, width, tz))
        what = "bad transition";
    else if (second &&
             !read_rule(block + block_size(&c, width), size - HEADER_SIZE - block_size(&c, width), tz))
        what = "bad rule";
    if (what) {
        free(tz);
        return malformed(err, what);
    }
    *out = tz;
    return AS_OK;
}

void tz_free(struct tz *tz)
{
    free(tz);
}

/* --- loading ------------------------------------------------------------------------------------- */

static int load_utc(struct tz **out, struct as_error *err)
{
    struct tz *tz = calloc(1, sizeof *tz);
    if (!tz)
        return as_fail(err, AS_ENOMEM, "out of memory for a time zone");
    tz->type_count = 1;
    memcpy(tz->abbrevs, "UTC", 3);
    *out = tz;
    return AS_OK;
}

/* A relative path of plain components: cannot leave the database's directory. */
static bool is_zone_name(const char *name)
{
    size_t len = strlen(name);
    return len && len < 64 && name[0] != '/' && !strstr(name, "..") &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-/") == len;
}

static int read_whole(int fd, uint8_t *buf, size_t *size)
{
    *size = 0;
    while (*size <= TZ_FILE_MAX) {
        ssize_t n = read(fd, buf + *size, TZ_FILE_MAX + 1 - *size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        if (n == 0)
            return 0;
        *size += (size_t)n;
    }
    return 0; /* too large: tz_parse refuses it */
}

static int load_fd(int fd, const char *name, struct tz **out, struct as_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return as_fail(err, AS_EINVAL, "\"%s\" is no time zone: name one like \"Europe/Berlin\"", name);
    uint8_t *buf = malloc(TZ_FILE_MAX + 1);
    if (!buf)
        return as_fail(err, AS_ENOMEM, "out of memory for a time zone");
    size_t size;
    struct as_error why;
    int failed = read_whole(fd, buf, &size), rc;
    if (failed)
        rc = as_fail(err, AS_EIO, "cannot read " ZONE_DIR "/%s: %s", name, strerror(failed));
    else if ((rc = tz_parse(buf, size, out, &why)))
        as_fail(err, why.rc, ZONE_DIR "/%s %s", name, why.msg);
    free(buf);
    return rc;
}

int tz_load(const char *name, struct tz **out, struct as_error *err)
{
    if (!strcmp(name, "UTC"))
        return load_utc(out, err);
    if (!is_zone_name(name))
        return as_fail(err, AS_EINVAL, "\"%.63s\" is no time zone: name one like \"Europe/Berlin\"", name);
    if (access(ZONE_DIR, X_OK) != 0)
        return as_fail(err, AS_EIO, "there are no time zones in " ZONE_DIR ": install the package tzdata");
    char path[sizeof ZONE_DIR + 64];
    snprintf(path, sizeof path, ZONE_DIR "/%s", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return as_fail(err, AS_EINVAL,
                       "there is no time zone \"%s\" in " ZONE_DIR ": `timedatectl "
                       "list-timezones` shows them",
                       name);
    if (fd < 0)
        return as_fail(err, AS_EIO, "cannot open %s: %s", path, strerror(errno));
    int rc = load_fd(fd, name, out, err);
    close(fd);
    return rc;
}

/* --- looking up ---------------------------------------------------------------------------------- */

static struct tz_segment segment_of(const struct tz *tz, uint8_t type, int64_t end)
{
    const struct tz_type *t = &tz->types[type];
    return (struct tz_segment){ .offset = t->offset, .end = end, .abbrev = tz->abbrevs + t->abbrev };
}

struct tz_segment tz_at(const struct tz *tz, int64_t t)
{
    size_t lo = 0, hi = tz->transition_count; /* how many transitions are at or before t */
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (tz->transitions[mid].at <= t)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo < tz->transition_count)
        return segment_of(tz, lo ? tz->transitions[lo - 1].type : 0, tz->transitions[lo].at);
    if (!tz->has_rule)
        return segment_of(tz, lo ? tz->transitions[lo - 1].type : 0, INT64_MAX);
    struct tz_segment s;
    bool dst = tz_rule_at(&tz->rule, t, &s.end);
    s.offset = dst ? tz->rule.dst_offset : tz->rule.std_offset;
    s.abbrev = dst ? tz->rule.dst : tz->rule.std;
    return s;
}
