/* Options and settings: one table per driver and policy drives parsing, ranges, defaults,
 * `autoscale drivers`, `autoscale policies` and the manual page, so they cannot drift apart.
 *
 * A driver declares `static const struct as_option options[] = { …, { 0 } };` (ends with a NULL
 * name). The configuration reader turns a block of the file into an immutable `struct as_settings`
 * that knows the file and line of each value. Asking for a name that is not in the table, or
 * with the wrong type, is our bug and aborts. */
#ifndef AUTOSCALE_SETTINGS_H
#define AUTOSCALE_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "autoscale/error.h"
#include "autoscale/time.h"

enum as_option_type {
    AS_OPT_STRING,   /* "text"                                                   as_settings_str   */
    AS_OPT_FILE,     /* path of a file; not read by the reader                   as_settings_str   */
    AS_OPT_SECRET,   /* path of a file that holds a secret: must not be          as_settings_str   */
                     /*   readable by others; never the secret itself                              */
    AS_OPT_BOOL,     /* true, false                                              as_settings_bool  */
    AS_OPT_INT,      /* 12                                                       as_settings_int   */
    AS_OPT_NUMBER,   /* 0.75 or 3                                                as_settings_num   */
    AS_OPT_DURATION, /* "500ms" "30s" "5m" "2h" "1d" "1h30m"; min/max in ms      as_settings_ms    */
    AS_OPT_BYTES,    /* "512MiB" "1GB" "4096"                                    as_settings_bytes */
    AS_OPT_PERCENT,  /* "80%" gives 0.8; min/max as fractions                    as_settings_num   */
    AS_OPT_CHOICE,   /* one of .choices                                          as_settings_str   */
    AS_OPT_STRINGS,  /* [ "a", "b" ] or just "a"                          as_settings_count, _item */
    AS_OPT_MAP,      /* { NAME = "text"; … }                        as_settings_count, _key, _item */
    AS_OPT_METRIC,   /* "source.series" or "source.object.series"; bound to the   as_settings_str  */
                     /*   policy's inputs in table order (policies only)                           */
    AS_OPT_GROUP,    /* { … } of .sub                                       as_settings_sub(…, 0)  */
    AS_OPT_LIST,     /* ( { … }, { … } ) of .sub                     as_settings_count, _sub(…, i) */
};

enum {
    AS_OPT_REQUIRED = 1,
    AS_OPT_HOSTS = 2,             /* of the hosts or how they are asked, not of what is made       */
};                                /*   there: a change outdates no instance                        */

struct as_option {
    const char *name;
    enum as_option_type type;
    unsigned flags;               /* AS_OPT_REQUIRED, AS_OPT_HOSTS                                 */
    const char *def;              /* default as the user would write it without quotes ("30s",     */
                                  /*   "true", "80%", "4"); NULL: unset                            */
    double min, max;              /* for quantities, both inclusive; both 0: not checked           */
    const char *const *choices;   /* AS_OPT_CHOICE: ends with NULL                                 */
    const struct as_option *sub;  /* AS_OPT_GROUP, AS_OPT_LIST                                     */
    const char *help;             /* one sentence, starts lower case, no full stop                 */
};

struct as_settings; /* immutable, owned by the configuration; drivers borrow it from open to close */

bool as_settings_has(const struct as_settings *s, const char *name); /* given by user or default   */
const char *as_settings_str(const struct as_settings *s, const char *name);   /* NULL when unset   */
bool as_settings_bool(const struct as_settings *s, const char *name);         /* false when unset  */
int64_t as_settings_int(const struct as_settings *s, const char *name);       /* 0 when unset      */
double as_settings_num(const struct as_settings *s, const char *name);        /* 0 when unset      */
as_time as_settings_ms(const struct as_settings *s, const char *name);        /* 0 when unset      */
uint64_t as_settings_bytes(const struct as_settings *s, const char *name);    /* 0 when unset      */
size_t as_settings_count(const struct as_settings *s, const char *name);      /* 0 when unset      */
const char *as_settings_item(const struct as_settings *s, const char *name, size_t i);
const char *as_settings_key(const struct as_settings *s, const char *name, size_t i);
const struct as_settings *as_settings_sub(const struct as_settings *s, const char *name, size_t i);

/* Reports a semantic error at the option's place: fills *err (class AS_EINVAL, the line of `name`, or
 * of the block when it was not given) with "NAME: message" and returns AS_EINVAL. */
__attribute__((format(printf, 4, 5))) int as_settings_fail(const struct as_settings *s, const char *name,
                                                           struct as_error *err, const char *fmt, ...);

/* Reads the secret in the file an AS_OPT_SECRET names: refuses one that others can read, cuts one
 * trailing newline, at most size-1 bytes. The caller wipes buf after use (explicit_bzero). */
int as_secret_read(const char *path, char *buf, size_t size, struct as_error *err);

/* For tests and tools: parses `text` (the inside of a block, libconfig syntax) against a table. */
int as_settings_parse(const struct as_option *options, const char *text, struct as_settings **out,
                      struct as_error *err);
void as_settings_free(struct as_settings *s);

#endif
