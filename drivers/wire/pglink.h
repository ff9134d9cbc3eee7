/* A kept connection to one PostgreSQL server (libpq), with deadlines.
 *
 * The connection is made by the first statement and kept: when all slots of a server are taken, who
 * is already connected still sees it. One that turns out dead is replaced once within the call. An
 * answer that did not come in time is awaited (and dropped) by the next call rather than thrown away
 * with the connection, at most PGLINK_LATE_MAX. Every session is read-only and has a statement timeout.
 *
 * Errors: AS_EAUTH (role, password, pg_hba.conf, privilege), AS_EINVAL (no such database), AS_EAGAIN (not
 * reachable, no slot free, starting, no answer in time), AS_EPROTO (the statement is wrong or gives
 * other than one row). No text holds a secret. Threads: one call at a time. */
#ifndef WIRE_PGLINK_H
#define WIRE_PGLINK_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "autoscale/error.h"
#include "autoscale/time.h"
#include "lookup.h"

#define PGLINK_ANSWER_MAX (1024 * 1024)  /* bytes of one answer, counted between two reads; more drops the connection */
#define PGLINK_LATE_MAX (30 * AS_SECOND) /* how long a late answer may keep the connection busy    */
#define PGLINK_PARAMS_MAX 80             /* connection parameters; libpq knows about 45            */


struct pglink {
    char *keys[PGLINK_PARAMS_MAX], *values[PGLINK_PARAMS_MAX]; /* without the password            */
    int params;
    char *password_file;          /* NULL: none; read anew for each connection                     */
    struct lookup *lookup;        /* a host name being resolved, or NULL                           */
    PGconn *conn;                 /* NULL: not connected                                           */
    size_t received;              /* bytes of the current answer                                   */
    bool late;                    /* an earlier statement has not been answered yet                */
    as_time late_since, began;
};

/* Offline. Takes a zeroed link, copies the strings. AS_EINVAL for a malformed conninfo or one that
 * holds a secret. */
int pglink_init(struct pglink *link, const char *conninfo, const char *password_file,
                as_time statement_timeout, struct as_error *err);
void pglink_fini(struct pglink *link); /* also after a failed init or on a zeroed link */

/* Connects if need be, runs one statement, gives its only row as text; the caller owns it (PQclear). */
int pglink_row(struct pglink *link, const char *sql, as_time deadline, PGresult **out, struct as_error *err);

/* A further statement has a chance: connected, and no answer is late. */
bool pglink_usable(const struct pglink *link);

/* Pure: finds the SQLSTATE in a libpq message of PQERRORS_VERBOSE ("…FATAL:  28P01: text"), copies it and
 * returns the text after it; NULL when there is none. */
const char *pglink_sqlstate(const char *message, char state[6]);

#endif
