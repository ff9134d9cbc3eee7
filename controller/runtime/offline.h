/* offline: what `plan` and dry runs know instead of the journal: a private copy of it, lost at the end, and the
 * journal itself to read recorded samples in, which are too many to copy. */
#ifndef RUNTIME_OFFLINE_H
#define RUNTIME_OFFLINE_H

#include "../config/config.h"
#include "../journal/journal.h"

/* Copies instances, counts and ledgers of the configuration's groups; a missing file is an empty journal. Both are
 * the caller's to close. */
int offline_journal(const struct cfg *cfg, struct journal **out, struct journal **past, struct as_error *err);

#endif
