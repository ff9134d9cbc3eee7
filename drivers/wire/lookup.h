/* Name lookup with a deadline. glibc's resolver may hang for many seconds, so a name is resolved by its helper thread; a
 * lookup that misses the deadline goes on, and the next call takes it up again. One thread at a time. */
#ifndef WIRE_LOOKUP_H
#define WIRE_LOOKUP_H

#include <netdb.h>

#include "autoscale/error.h"
#include "autoscale/time.h"

#define LOOKUP_HOST_MAX 256

struct lookup;

/* Waits for the addresses of a host (and port, 0: none asked for); *l is NULL at first and kept between calls for one
 * host. AS_OK: *out is borrowed from *l until lookup_end. AS_EAGAIN: not in time (*l goes on), or it cannot be
 * resolved (*l has ended). */
int lookup_wait(struct lookup **l, const char *host, unsigned port, as_time deadline, const struct addrinfo **out,
                struct as_error *err);
/* Ends it, whatever has become of it. NULL is fine. */
void lookup_end(struct lookup **l);

#endif
