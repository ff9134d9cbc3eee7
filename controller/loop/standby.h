/* standby: what there is to say about the pool of parked instances. Pure: it looks and never changes anything.
 *
 * A parked instance does not serve and counts in the footprint. The pool is `standby` large as far as max leaves
 * room beside the desired count. Nothing marks an instance as made for the pool: whatever is on its way beyond the
 * desired count is parked when it is ready, and whatever is needed then joins instead. So a crash loses nothing. */
#ifndef LOOP_STANDBY_H
#define LOOP_STANDBY_H

#include "engine.h"

/* How many the pool should hold now; 0 without standby. */
int standby_wanted(const struct group *g);
/* Parked for sure, of the current template, on a host that answers: it can be brought back now. */
bool standby_usable(const struct group *g, const struct instance *i);
int standby_usable_count(const struct group *g);
/* Live, but new and not ready: a parked one serves earlier. */
bool standby_fresh(const struct instance *i);
/* Its template is not the group's any more. */
bool standby_outdated(const struct group *g, const struct instance *i);
/* Nothing is on its way, doubted or backing off: time to fill the pool. */
bool standby_quiet(const struct group *g, as_time now);

/* The one to bring back first, of those `planned` does not name: on the host with the fewest of the group that
 * live, then the one parked last. live: per host, may be changed by the caller. NULL: none. */
typedef bool standby_taken(const void *arg, const struct instance *i);
const struct instance *standby_pick(const struct group *g, const int *live, standby_taken *taken, const void *arg);
/* The one that leaves a pool that is too large: parked longest. NULL: none. */
const struct instance *standby_surplus(const struct group *g, standby_taken *taken, const void *arg);

#endif
