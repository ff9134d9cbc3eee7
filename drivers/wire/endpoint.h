/* Where a server listens: parsing, name lookup and connecting with a deadline.
 *
 * glibc's resolver may hang for many seconds, so a name is resolved by its helper thread; a lookup that
 * misses the deadline goes on and the next call takes it up again. Addresses are resolved anew for each
 * connection. Threads: one call at a time. */
#ifndef WIRE_ENDPOINT_H
#define WIRE_ENDPOINT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "autoscale/error.h"
#include "autoscale/time.h"
#include "lookup.h"

#define ENDPOINT_HOST_MAX 200
#define ENDPOINT_TRIED_MAX 4 /* addresses of one name that are tried                               */


struct endpoint {
    char host[ENDPOINT_HOST_MAX];     /* "" when it is a unix socket                               */
    char path[sizeof((struct sockaddr_un *)0)->sun_path]; /* of the unix socket                    */
    unsigned port;
    struct lookup *lookup;            /* a name being resolved, or NULL                            */
};

struct endpoint_addrs {
    char text[ENDPOINT_TRIED_MAX][INET6_ADDRSTRLEN + 20]; /* numeric, with a scope when it has one */
    struct sockaddr_storage addr[ENDPOINT_TRIED_MAX];
    socklen_t len[ENDPOINT_TRIED_MAX];
    size_t count;
};

/* Offline. Takes a zeroed endpoint; "HOST", "HOST:PORT", "[::1]:PORT", "/path" or "unix:/path". AS_EINVAL
 * with the reason. */
int endpoint_init(struct endpoint *e, const char *text, unsigned default_port, struct as_error *err);
void endpoint_fini(struct endpoint *e); /* also on a zeroed one                                    */

/* The addresses of the host, at least one. AS_EAGAIN: the name is not known (now). */
int endpoint_resolve(struct endpoint *e, as_time deadline, struct endpoint_addrs *out, struct as_error *err);

/* A connected, non-blocking, close-on-exec socket, the caller's. AS_EAGAIN with the reason. */
int endpoint_connect(struct endpoint *e, as_time deadline, int *fd, struct as_error *err);

/* Waits for events of poll(2): > 0 ready, 0 the deadline passed, -1 failed (errno). A peer that always has a
 * byte cannot outlast the deadline. */
int endpoint_wait(int fd, short events, as_time deadline);

/* The first line of a peer's text, printable, without a full stop: fit for one sentence. Returns buf. */
const char *endpoint_line(const char *text, char *buf, size_t size);

#endif
