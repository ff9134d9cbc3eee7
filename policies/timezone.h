/* A time zone: its offsets from UTC, as the system's tz database (RFC 9636 files) tells them.
 *
 * Read once, then immutable and without side effects: the process' own TZ is neither used nor
 * changed. Times are seconds since the Unix epoch. */
#ifndef POLICIES_TIMEZONE_H
#define POLICIES_TIMEZONE_H

#include <stddef.h>
#include <stdint.h>

#include "autoscale/error.h"
#include "timezone_rule.h"

#define TZ_FILE_MAX (64 * 1024) /* the largest in the database has under 5 KiB */

struct tz;

struct tz_segment {     /* a stretch of time with one offset                                          */
    int32_t offset;     /* seconds east of UTC                                                        */
    int64_t end;        /* first second after it; INT64_MAX: none follows                             */
    const char *abbrev; /* "CET"; borrowed from the zone                                              */
};

/* Loads an IANA zone ("Europe/Berlin") from the tz database; "UTC" needs no file. AS_EINVAL: no such
 * zone or not a name; AS_EIO: unreadable. Freed with tz_free, which accepts NULL. */
int tz_load(const char *name, struct tz **out, struct as_error *err);
/* The same from the bytes of a zone file. AS_EPROTO: not one. */
int tz_parse(const uint8_t *data, size_t size, struct tz **out, struct as_error *err);
void tz_free(struct tz *tz);

struct tz_segment tz_at(const struct tz *tz, int64_t t);

#endif
