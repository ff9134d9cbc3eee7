/* HAProxy's runtime socket ("stats socket … level admin"), one short connection for each exchange.
 *
 * A connection that was open before a reload keeps talking to the old worker, so none is kept. An
 * exchange is one line of commands joined by ';' and the answers to them, read to the end. The line is
 * sent with severity numbers switched on, so that a refusal can be told from an answer. Only text that
 * passed one of the checks below may be put on a line.
 *
 * Threads: one exchange at a time. */
#ifndef WIRE_HAPROXY_CLI_H
#define WIRE_HAPROXY_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "endpoint.h"

#define HAPROXY_REPLY_MAX ((size_t)32 << 20) /* bytes of one exchange; 1000 servers are 0.3 MB       */
#define HAPROXY_LINE_MAX 2048                /* bytes of a line of commands                          */
#define HAPROXY_NAME_MAX 128                 /* backend names, with the NUL                          */

struct haproxy_cli {
    char endpoint[256];   /* as configured, for error texts                                          */
    struct endpoint at;
};

struct haproxy_reply {    /* freed with haproxy_reply_fini                                           */
    char *text;           /* what is left to take; NUL-terminated                                    */
    size_t len;
    char *memory;
};

/* Offline. "/path", "unix:/path" or "HOST:PORT" ("[::1]:9999"). AS_EINVAL with the reason. */
int haproxy_cli_init(struct haproxy_cli *c, const char *endpoint, struct as_error *err);
void haproxy_cli_fini(struct haproxy_cli *c); /* also after a failed init, or of a zeroed one        */

/* AS_OK: the line was sent and the answers arrived whole. AS_EAGAIN: not a byte was sent, or, for a line
 * that only reads (`writes` false), no answer came. AS_EUNKNOWN: sent, and no whole answer by the deadline.
 * AS_EAUTH: not allowed to open the socket. AS_EPROTO: no such conversation, or over the cap. */
int haproxy_cli_exchange(struct haproxy_cli *c, as_time deadline, bool writes, const char *line,
                         struct haproxy_reply *out, struct as_error *err);
void haproxy_reply_fini(struct haproxy_reply *r);

/* The answer to the next command of the line, without the empty line that ends it; valid until
 * haproxy_reply_fini. NULL when there is none or it was cut off. `len` may be NULL. */
char *haproxy_reply_take(struct haproxy_reply *r, size_t *len);

/* AS_OK for an answer that is a success (empty, or a notice); otherwise its class and one sentence. `what`
 * is what was tried: "add server web/n1". */
int haproxy_cli_judge(const struct haproxy_cli *c, const char *what, const char *answer, struct as_error *err);

/* "PID@START" of `show info`: changes with every restart and reload. False when it is not such an answer.
 * *stopping: this is the old worker of a reload. */
bool haproxy_epoch(const char *info, char *epoch, size_t size, bool *stopping);
/* Is the "Version: 2.6.12-…" of `show info` at least this one? */
bool haproxy_is_at_least(const char *info, long major, long minor);

/* [A-Za-z0-9_.:-]+ shorter than HAPROXY_NAME_MAX: backends and servers. */
bool haproxy_name_ok(const char *name);
/* Printable words that cannot end a command or begin another: server keywords. */
bool haproxy_words_ok(const char *words);

#endif
