/* What replays and their yardsticks share. */
#ifndef SIM_REPLAY_PARTS_H
#define SIM_REPLAY_PARTS_H

#include "load.h"

#define REPLAY_SAMPLES 50000 /* steps whose response times are looked at                               */

int replay_results(struct replay *out); /* room for `steps`; AS_ENOMEM: replay_fini frees what there is */
/* Writes down the load of step `count`. */
void replay_note(struct replay *out, const struct load_step *l);
/* Shows the policies of a group that learn the load before the replay, as far back as the journal would have kept it.
 * wall: at the beginning. AS_ENOMEM. */
int past_teach(struct group *g, const struct replay_params *p, int64_t wall, as_time retention);
size_t replay_steps(const struct replay_params *p, double step_s);

#endif
