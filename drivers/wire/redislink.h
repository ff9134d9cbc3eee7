/* A kept connection to one Redis server, with deadlines; hiredis forms commands and reads replies, the bytes
 * are moved here, because its own timeouts are per call.
 *
 * The connection is made (and authenticated) by the first command and kept: a server with all its client
 * slots taken is exactly when it must be seen. One that turns out dead is replaced once within the
 * call. A reply that did not come in time is awaited and dropped by the next call, at most REDISLINK_LATE_MAX.
 *
 * Errors: AS_EAUTH (password, ACL, protected mode), AS_EAGAIN (not reachable, no slot free, busy, no answer in
 * time), AS_EPROTO (not a Redis server, over the cap). No text holds a secret. One call at a time. */
#ifndef WIRE_REDISLINK_H
#define WIRE_REDISLINK_H

#include <stdint.h>

#include "endpoint.h"

#define REDISLINK_REPLY_MAX (1024 * 1024) /* bytes of one reply; INFO is about 6 KB                */
#define REDISLINK_LATE_MAX (30 * AS_SECOND)

struct redislink_reader;

struct redislink {
    struct endpoint at;
    const char *user, *password_file; /* borrowed; NULL: none                                      */
    int fd;                           /* valid while reader is there                               */
    struct redislink_reader *reader;  /* NULL: not connected                                       */
    size_t received;                  /* bytes of the current reply                                */
    uint64_t commands;                /* that we had the server run, all connections together      */
    bool late;                        /* an earlier command has not been answered yet              */
    as_time late_since, began;
};

/* Offline. Takes a zeroed link; borrows user and password_file, either may be NULL. AS_EINVAL. */
int redislink_init(struct redislink *l, const char *address, const char *user, const char *password_file,
                   struct as_error *err);
void redislink_fini(struct redislink *l); /* also after a failed init or on a zeroed link         */

/* Connects if need be and runs INFO; *text is the caller's (free), NUL-terminated, at most REDISLINK_REPLY_MAX. */
int redislink_info(struct redislink *l, as_time deadline, char **text, size_t *len, struct as_error *err);

#endif
