/* The journal's tables and their versions (PRAGMA user_version). Private to the journal and its tests. */
#ifndef JOURNAL_SCHEMA_H
#define JOURNAL_SCHEMA_H

#include <sqlite3.h>

#include "autoscale/error.h"

#define SCHEMA_APPLICATION_ID 0x61736a6c /* "asjl", PRAGMA application_id */

/* Step i takes a file from version i to version i + 1. A step, once released, is never edited: a change of
 * the tables is a new step at the end. */
extern const char *const schema_steps[];
extern const int schema_version; /* of this program: the number of steps */

/* Takes the file from its version to `count`, in one transaction: all steps or none. SQLITE_OK, or the result
 * code with its text left in the connection. */
int schema_upgrade(sqlite3 *db, const char *const *steps, int count);

/* What kind of file is this? *version 0: empty. AS_EINVAL for another program's file or a newer version,
 * AS_EIO when it cannot be read (the caller asks the connection why). */
int schema_inspect(sqlite3 *db, const char *path, int *version, struct as_error *err);

#endif
