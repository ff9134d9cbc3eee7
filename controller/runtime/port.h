/* A port: one opened driver bound to one endpoint, shared by the loop and the calls under way. The last of
 * them closes the driver. */
#ifndef RUNTIME_PORT_H
#define RUNTIME_PORT_H

#include "../loop/engine.h"
#include "lane.h"

struct port;

/* Open the driver offline and find its lanes. NULL with *err on failure. `act` false leaves the writers out. */
struct port *port_source(struct lanes *ls, struct cfg_hold *hold, const struct cfg_source *s, const char *endpoint,
                         struct as_error *err);
struct port *port_compute(struct lanes *ls, struct cfg_hold *hold, const struct cfg_group *g, const char *endpoint,
                          bool act, struct as_error *err);
struct port *port_balancer(struct lanes *ls, struct cfg_hold *hold, const struct cfg_group *g, const char *endpoint,
                           bool act, struct as_error *err);
void port_put(struct port *p); /* any thread */

/* Runs op on the port's lane; `done` is called on the loop thread by port_reap or port_expire, exactly once. */
void port_submit(struct port *p, struct op *op, void (*done)(void *arg, struct op *op), void *arg);
void port_reap(struct lanes *ls);

#endif
