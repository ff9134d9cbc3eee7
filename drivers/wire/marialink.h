/* A kept connection to one MariaDB server (Connector/C, its non-blocking calls), with deadlines.
 *
 * The connection is made by the first statement and kept: when all slots of a server are taken, who is
 * already connected still sees it. One that turns out dead is replaced once within the call. An answer
 * that did not come in time is awaited and dropped by the next call, at most MARIALINK_LATE_MAX. Every
 * session is read-only and has a statement timeout; the server cannot ask for local files, nor for the
 * password in clear.
 *
 * With `tls_ca` the server must prove its name or address over TCP; the name is then looked up a second
 * time by the library itself, which knows no deadline.
 *
 * Errors: AS_EAUTH (user, password, privilege, certificate), AS_EINVAL (no such database), AS_EAGAIN (not
 * reachable, no slot free, no answer in time), AS_EPROTO (the statement is wrong, or its answer over the
 * caps). No text holds a secret. Threads: one call at a time; marialink_init may run anywhere. */
#ifndef WIRE_MARIALINK_H
#define WIRE_MARIALINK_H

#include <stdint.h>

#include "endpoint.h"

#define MARIALINK_ROWS_MAX 256
#define MARIALINK_COLUMNS_MAX 256
#define MARIALINK_ANSWER_MAX ((size_t)512 * 1024) /* bytes of all cells                            */
#define MARIALINK_LATE_MAX (30 * AS_SECOND)

struct marialink_login {        /* all borrowed; NULL: none                                        */
    const char *user, *password_file, *database, *tls_ca;
    as_time statement_timeout;
};

struct marialink_table {        /* freed with marialink_table_fini                                 */
    unsigned columns, rows;
    char **names;               /* columns                                                         */
    char **cells;               /* rows * columns, row by row; NULL: SQL's NULL                     */
};

struct st_mysql;
struct st_mysql_res;

struct marialink {
    struct endpoint at;
    struct marialink_login login;
    struct st_mysql *conn;      /* NULL: not connected                                             */
    struct st_mysql_res *result;
    char *sql;                  /* of the statement under way                                      */
    enum { MARIALINK_IDLE, MARIALINK_QUERY, MARIALINK_ROWS } step;
    int waits;                  /* what the library waits for; 0: nothing                          */
    int failed;                 /* written by the library during a step: it outlives a late call   */
    char **row;
    uint64_t statements;        /* that we had the server run, all connections together            */
    bool late;                  /* the statement under way belongs to an earlier call              */
    as_time late_since, began;
};

/* Offline. Takes a zeroed link and borrows the login. AS_EINVAL. */
int marialink_init(struct marialink *l, const char *address, const struct marialink_login *login,
                   struct as_error *err);
void marialink_fini(struct marialink *l); /* also after a failed init or on a zeroed link          */

/* Connects if need be, runs one statement, gives its rows as text. `code` (may be NULL) gets the server's error
 * number, 0 when it gave none. */
int marialink_query(struct marialink *l, const char *sql, as_time deadline, struct marialink_table *out,
                    unsigned *code, struct as_error *err);
void marialink_table_fini(struct marialink_table *t);

/* The text in a named column; NULL when there is no such column or it is SQL's NULL. */
const char *marialink_cell(const struct marialink_table *t, unsigned row, const char *name);

/* The next query connects anew: what was granted to a user globally holds for new sessions only. */
void marialink_reset(struct marialink *l);

/* A further statement has a chance: connected, and no answer is late. */
bool marialink_usable(const struct marialink *l);

#endif
