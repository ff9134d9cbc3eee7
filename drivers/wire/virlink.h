/* The connection to one libvirtd: opened when first needed, kept with keep-alive, opened anew after a loss, as
 * libvirt never does by itself. virConnectOpen has no time limit, so it runs on a thread of its own: who waits
 * for it goes at his deadline, and an attempt that takes for ever is given up. Calls may run in several threads
 * at once; init and fini run alone. */
#ifndef WIRE_VIRLINK_H
#define WIRE_VIRLINK_H

#include "virlib.h"

struct virlink_attempt;

struct virlink {
    const char *uri;                /* borrowed                                                        */
    virConnectPtr conn;             /* NULL: not connected                                             */
    struct virlink_attempt *attempt;/* under way or ended, NULL: none                                  */
    int given_up;                   /* attempts that never ended, one after the other                  */
};

/* Is this a libvirt URI, as far as can be said without libvirt? */
bool virlink_uri_ok(const char *uri);

void virlink_init(struct virlink *l, const char *uri);
void virlink_fini(struct virlink *l); /* also of a zeroed one; never waits for an attempt              */

/* Loads libvirt when need be and gives a reference to the connection, which the caller gives back with
 * vir.ConnectClose. AS_EAGAIN: nobody answers there, in any case by the deadline. */
int virlink_get(struct virlink *l, as_time deadline, virConnectPtr *out, struct as_error *err);

#endif
