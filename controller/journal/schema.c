/* The journal's tables, as a table of steps from one version to the next. It never touches a file that
 * another program wrote or that is newer than this program. */
#include <stdbool.h>
#include <stdio.h>

#include "schema.h"

static const char version_1[] =
    "CREATE TABLE setting(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"

    "CREATE TABLE instance(id TEXT PRIMARY KEY, grp TEXT NOT NULL, host TEXT NOT NULL, state TEXT NOT NULL,"
    " address TEXT NOT NULL, port INTEGER NOT NULL, revision TEXT NOT NULL, reason TEXT NOT NULL,"
    " wanted_wall INTEGER NOT NULL, state_wall INTEGER NOT NULL, serving_wall INTEGER NOT NULL);"
    "CREATE INDEX instance_alive ON instance(grp) WHERE state <> 'GONE';"
    "CREATE INDEX instance_gone ON instance(state_wall) WHERE state = 'GONE';"
    "CREATE INDEX instance_launch ON instance(grp, serving_wall) WHERE serving_wall > 0;"

    "CREATE TABLE event(id INTEGER PRIMARY KEY AUTOINCREMENT, wall INTEGER NOT NULL, grp TEXT NOT NULL,"
    " instance TEXT NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL);"
    "CREATE INDEX event_wall ON event(wall);"
    "CREATE INDEX event_grp ON event(grp, wall);"

    "CREATE TABLE scale(id INTEGER PRIMARY KEY, wall INTEGER NOT NULL, grp TEXT NOT NULL,"
    " delta INTEGER NOT NULL);"
    "CREATE INDEX scale_wall ON scale(wall);"
    "CREATE INDEX scale_grp ON scale(grp, wall);"

    /* last_json is NULL until the row is repeated */
    "CREATE TABLE decision(id INTEGER PRIMARY KEY AUTOINCREMENT, wall INTEGER NOT NULL,"
    " last_wall INTEGER NOT NULL, repeats INTEGER NOT NULL, grp TEXT NOT NULL, current INTEGER NOT NULL,"
    " desired INTEGER NOT NULL, outcome TEXT NOT NULL, json TEXT NOT NULL, last_json TEXT);"
    "CREATE INDEX decision_wall ON decision(last_wall);"
    "CREATE INDEX decision_grp ON decision(grp, last_wall);"

    /* the one table that grows with time alone: a month of a hundred metrics is four million rows */
    "CREATE TABLE metric(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
    "CREATE TABLE sample(metric INTEGER NOT NULL, wall INTEGER NOT NULL, mean REAL NOT NULL,"
    " min REAL NOT NULL, max REAL NOT NULL, count INTEGER NOT NULL, PRIMARY KEY(metric, wall)) WITHOUT "
    "ROWID;";

const char *const schema_steps[] = { version_1 };
const int schema_version = (int)(sizeof schema_steps / sizeof *schema_steps);

static int read_number(sqlite3 *db, const char *sql, int *out)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &s, NULL);
    if (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        *out = sqlite3_column_int(s, 0);
        rc = SQLITE_OK;
    }
    sqlite3_finalize(s);
    return rc;
}

int schema_upgrade(sqlite3 *db, const char *const *steps, int count)
{
    int version = 0;
    int rc = read_number(db, "PRAGMA user_version", &version);
    if (rc != SQLITE_OK || version >= count)
        return rc;
    rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    for (int i = version; rc == SQLITE_OK && i < count; i++)
        rc = sqlite3_exec(db, steps[i], NULL, NULL, NULL);
    char sql[120];
    snprintf(sql, sizeof sql, "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
             SCHEMA_APPLICATION_ID, count);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    if (rc != SQLITE_OK && !sqlite3_get_autocommit(db))
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

int schema_inspect(sqlite3 *db, const char *path, int *version, struct as_error *err)
{
    int application = 0, found = 0, tables = 0;
    if (read_number(db, "PRAGMA application_id", &application) != SQLITE_OK ||
        read_number(db, "PRAGMA user_version", &found) != SQLITE_OK ||
        read_number(db, "SELECT count(*) FROM sqlite_schema", &tables) != SQLITE_OK)
        return AS_EIO;
    bool empty = application == 0 && found == 0 && tables == 0;
    if (!empty && application != SCHEMA_APPLICATION_ID)
        return as_fail(err, AS_EINVAL,
                       "%s is a database of another program: name another file as controller.state", path);
    if (found < 0 || found > schema_version)
        return as_fail(err, AS_EINVAL,
                       "%s was written by a newer autoscale (version %d of the journal, this one knows %d): "
                       "upgrade this autoscale",
                       path, found, schema_version);
    *version = found;
    return AS_OK;
}
