/* What the journal's files share. Private to the journal. */
#ifndef JOURNAL_INTERNAL_H
#define JOURNAL_INTERNAL_H

#include <sqlite3.h>
#include <stdbool.h>

#include "journal.h"

enum statement { /* texts in records.c */
    PUT_INSTANCE,
    KNOWS_INSTANCE,
    PUT_EVENT,
    PUT_SCALE,
    PUT_DECISION,
    FOLD_DECISION,
    NEWEST_DECISION,
    PUT_METRIC,
    PUT_SAMPLE,
    SET_VALUE,
    UNSET_VALUE,
    GET_VALUE,
    STATEMENTS
};

struct journal_head { /* the newest decision of a group, so that folding is one UPDATE */
    struct journal_head *next;
    int64_t id; /* 0: the group has none */
    char *outcome;
    char group[];
};

#define HEAD_LISTS 1024 /* ten thousand groups are ten to a list */

struct journal {
    sqlite3 *db;
    char *path;
    int lock; /* descriptor of PATH.lock, -1 */
    bool in_turn;
    struct as_error failed; /* first failed write of this turn: it cannot be committed any more */
    sqlite3_stmt *statements[STATEMENTS];
    struct journal_head *heads[HEAD_LISTS]; /* by the hash of the group's name */
};

/* The connection's last failure as an error that says what to do; spoils the turn under way. */
int journal_failure(struct journal *j, const char *doing, struct as_error *err);
void journal_forget_heads(struct journal *j);

#endif
