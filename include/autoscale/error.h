/* Errors: a class the core acts on, and one sentence for the operator.
 *
 * A fallible call returns an enum as_rc (0 is success), takes `struct as_error *err` last and leaves
 * its outputs untouched on failure. An error is returned or logged, never both. The text never
 * holds a secret. `err` may be NULL where the caller only needs the class. */
#ifndef AUTOSCALE_ERROR_H
#define AUTOSCALE_ERROR_H

enum as_rc {
    AS_OK = 0,
    AS_EINVAL,   /* the configuration or argument is wrong: will not heal by itself             */
    AS_EAUTH,    /* the peer refuses us: will not heal by itself, do not hammer                 */
    AS_EPROTO,   /* the peer answered nonsense                                                  */
    AS_ENOENT,   /* it is not there                                                             */
    AS_EEXIST,   /* the name is taken by something that is not ours                             */
    AS_EAGAIN,   /* it did NOT happen; retrying is safe                                         */
    AS_EUNKNOWN, /* it MAY have happened: list before any retry                                 */
    AS_EFULL,    /* no room on this host: try another                                           */
    AS_ENOMEM,
    AS_EIO,      /* a local file or the system failed                                           */
    AS_EUNSUP,   /* this driver or peer cannot do that                                          */
};

struct as_error {
    enum as_rc rc;
    int line;      /* line in the configuration file the error is about, 0 if none             */
    char msg[256]; /* one sentence, no trailing newline or full stop                            */
};

/* Fills *err (when not NULL; over-long text is cut) with line 0 and returns rc. */
__attribute__((format(printf, 3, 4))) int as_fail(struct as_error *err, enum as_rc rc, const char *fmt, ...);

/* "invalid", "refused", "protocol", "not found", "exists", "retry", "unknown outcome", ... */
const char *as_rc_name(enum as_rc rc);

#endif
