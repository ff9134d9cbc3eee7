/* history: rows of the journal as JSON, for the daemon's answers and for `history` without a daemon. */
#ifndef RUNTIME_HISTORY_H
#define RUNTIME_HISTORY_H

#include <cjson/cJSON.h>

#include "../journal/journal.h"

/* {"events":[…],"decisions":[…]}, newest first; group NULL: all. NULL with *err on failure. */
cJSON *history_json(struct journal *j, const char *group, int64_t since_wall, int limit, struct as_error *err);
/* The decision of `group` in force at wall time `at` (0: the newest), as it was recorded; NULL with AS_ENOENT when none.
 * `interval`: how often one is made. */
cJSON *history_decision(struct journal *j, const char *group, int64_t at_wall, as_time interval, struct as_error *err);

#endif
