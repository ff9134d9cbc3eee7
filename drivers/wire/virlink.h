/* The connections to one libvirtd: opened when needed, kept with keep-alive, opened anew after a loss, as libvirt
 * never does by itself. Each belongs to one caller at a time: until 10.3 libvirt's client writes into the stack of
 * another thread when two have shared a connection and its daemon hung. virConnectOpen has no time limit, so it
 * runs on a thread of its own: who waits for it goes at his deadline, and an attempt that takes for ever is given
 * up. Calls may run in several threads at once; init and fini run alone. Who uses a connection has SIGPIPE blocked or
 * ignored, as lanes have: libvirt's client writes to a daemon that has just died. */
#ifndef WIRE_VIRLINK_H
#define WIRE_VIRLINK_H

#include "virlib.h"

#define VIRLINK_IDLE 4              /* connections that are kept for the next callers                  */

struct virlink_attempt;

struct virlink {
    const char *uri;                /* borrowed                                                        */
    virConnectPtr idle[VIRLINK_IDLE]; /* nobody uses them; the last one is taken first                 */
    int idle_count;
    struct virlink_attempt *attempt;/* under way or ended, NULL: none                                  */
    int given_up;                   /* attempts that never ended, one after the other                  */
};

/* What is wrong with a libvirt URI, to be read behind it; NULL: nothing that can be told without libvirt. */
const char *virlink_uri_fault(const char *uri);

void virlink_init(struct virlink *l, const char *uri);
void virlink_fini(struct virlink *l); /* also of a zeroed one; waits neither for an attempt nor for a daemon that hangs */

/* Loads libvirt when need be and lends a connection, which nobody else uses until the caller gives it back with
 * virlink_put. AS_EAGAIN: nobody answers there, in any case by the deadline. */
int virlink_get(struct virlink *l, as_time deadline, virConnectPtr *out, struct as_error *err);
void virlink_put(struct virlink *l, virConnectPtr conn);

#endif
