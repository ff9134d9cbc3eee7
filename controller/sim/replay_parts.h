/* What replays and their yardsticks share. */
#ifndef SIM_REPLAY_PARTS_H
#define SIM_REPLAY_PARTS_H

#include "load.h"

#define REPLAY_SAMPLES 50000 /* steps whose response times are looked at                               */

int replay_results(struct replay *out); /* room for `steps`; AS_ENOMEM: replay_fini frees what there is */
/* Writes down the load of step `count`. */
void replay_note(struct replay *out, const struct load_step *l);
size_t replay_steps(const struct replay_params *p, double step_s);

#endif
