/* What is particular about a hypervisor that libvirt reaches by running ssh: nobody is there to answer a prompt, ssh's
 * own words are what went wrong, and the ssh that libvirt has started must not outlive us, as it does when its sshd
 * hangs. Any thread. */
#ifndef WIRE_VIRSSH_H
#define WIRE_VIRSSH_H

#include "virlib.h"

/* Is it reached by a program that libvirt starts? */
bool virssh_is(const char *uri);

/* What is wrong with such a URI, to be read behind it; NULL: nothing. Offline. */
const char *virssh_fault(const char *uri);

/* The URI as libvirt is to get it, so that ssh never asks anybody; owned, NULL: out of memory. */
char *virssh_quiet(const char *uri);

/* Turns this thread's last libvirt error of connecting into one of ours; false: it is not of ssh. */
bool virssh_refused(const char *uri, struct as_error *err);

/* --- the process -------------------------------------------------------------------------------------- */

struct virssh;                      /* one process of ssh, from before it starts until it has ended          */

/* Whatever is still there when this process exits is ended then. NULL: out of memory, and it is not looked after; all
 * the others take NULL. */
struct virssh *virssh_new(void);
void virssh_starts(struct virssh *s); /* this thread is about to connect                                     */
void virssh_ended(struct virssh *s, virConnectPtr conn); /* the same thread has; NULL: it failed. Takes s    */
void virssh_stop(struct virssh *s); /* ends it while it connects, for which virConnectOpen then fails        */
void virssh_closed(virConnectPtr conn); /* after its end; others than ours are no error                      */

#endif
