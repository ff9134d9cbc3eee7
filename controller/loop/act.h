/* act: carries out a plan: moves states, hands operations to the world. The only place that asks for writes. */
#ifndef LOOP_ACT_H
#define LOOP_ACT_H

#include "plan.h"

void act_on_plan(struct group *g, const struct plan *p);
void act_created(struct group *g, struct op *op);   /* OP_CREATE came back  */
void act_destroyed(struct group *g, struct op *op); /* OP_DESTROY came back */
void act_parked(struct group *g, struct op *op);    /* OP_PARK came back    */
void act_unparked(struct group *g, struct op *op);  /* OP_UNPARK came back  */
void act_balanced(struct group *g, struct op *op);  /* what a balancer was told came back */

/* After so many failures in a row the breaker is open: one probe at a time until one succeeds. */
#define BREAKER_TRIPS 3

/* Back-off: 5 s doubling to 5 min; `why` is shown by status. What was begun before the newest failure was counted
 * is one with it: its failing tells nothing new. False when it was not counted. */
#define BACKOFF_MOST (5 * AS_MINUTE)
bool backoff_fail(struct backoff *b, as_time now, as_time began, const char *why);
void backoff_clear(struct backoff *b);
/* May a launch start? With the breaker open only while no probe is on its way. */
bool backoff_open(const struct backoff *b, as_time now);

#endif
