/* The journal: one SQLite file (WAL, synchronous=FULL) that outlives the process. It holds what must
 * be known after a kill -9: the instances and their states, the ledger of scale events, and, for
 * people, transitions, decisions and samples with a retention.
 *
 * A turn of the loop is one transaction: journal_begin, writes, journal_commit; only after a commit
 * that returned AS_OK may the turn's actions be dispatched. All times are wall milliseconds.
 * One thread. A reading callback may use the journal; it returns 0 to go on. A file that is corrupt, of a
 * newer schema, of another controller, locked by another daemon or not writable is a clear error; it is
 * never replaced. A failed read or write inside a turn spoils the turn. */
#ifndef JOURNAL_JOURNAL_H
#define JOURNAL_JOURNAL_H

#include "autoscale/compute.h"

struct journal;

enum journal_mode {
    JOURNAL_WRITE,  /* the daemon: creates the file (0600) if missing, takes an exclusive lock */
    JOURNAL_READ,   /* plan, history: a missing file reads as an empty journal */
    JOURNAL_MEMORY, /* dry run and tests: private, lost at close */
};

int journal_open(const char *path, const char *controller, enum journal_mode mode, struct journal **out,
                 struct as_error *err);
void journal_close(struct journal *j);

int journal_begin(struct journal *j, struct as_error *err);
/* On failure the turn is rolled back and the journal goes on. A turn in which a write failed cannot be
 * committed: its later writes and its commit return that first error again. */
int journal_commit(struct journal *j, struct as_error *err);
/* Gives the turn up; nothing of it is kept. Harmless when none is under way. */
void journal_rollback(struct journal *j);

struct journal_instance { /* strings are borrowed when written, valid during the callback when read */
    const char *id, *group, *host, *state, *address, *revision, *reason;
    int port;
    int64_t wanted_wall, state_wall, serving_wall; /* serving: first time SERVING, 0 never */
};
/* Inserts or replaces by id. */
int journal_put_instance(struct journal *j, const struct journal_instance *row, struct as_error *err);
/* Rows whose state is not GONE (all groups when group is NULL). The callback returns 0 to go on. */
int journal_each_instance(struct journal *j, const char *group, int (*cb)(void *arg, const struct journal_instance *),
                          void *arg, struct as_error *err);
/* Was this id ever ours, GONE included? 1 yes, 0 no, negative on a failure. */
int journal_knows_instance(struct journal *j, const char *id);

/* One line of history: a transition, a launch failure, a reload, a breaker that tripped. */
struct journal_event {
    int64_t id, wall;
    const char *group, *instance, *kind, *text; /* group, instance may be "" */
};
int journal_put_event(struct journal *j, int64_t wall, const char *group, const char *instance, const char *kind,
                      const char *text, struct as_error *err);
/* Newest first, at most limit (none if it is not positive), with wall >= since; group NULL: all. */
int journal_each_event(struct journal *j, const char *group, int64_t since, int limit,
                       int (*cb)(void *arg, const struct journal_event *), void *arg, struct as_error *err);

/* Ledger of real changes of the desired count: cooldowns and step limits after a restart. Oldest first. */
int journal_put_scale(struct journal *j, int64_t wall, const char *group, int delta, struct as_error *err);
int journal_each_scale(struct journal *j, const char *group, int64_t since,
                       int (*cb)(void *arg, int64_t wall, int delta), void *arg, struct as_error *err);

/* A decision as JSON text. A row that repeats the last one's outcome is folded into it: same `outcome` text
 * as the group's newest row bumps its last_wall and repeats (0 at first) and replaces last_json (json at first). */
struct journal_decision {
    int64_t id, wall, last_wall, repeats;
    const char *group, *outcome, *json, *last_json;
    int current, desired;
};
int journal_put_decision(struct journal *j, int64_t wall, const char *group, int current, int desired,
                         const char *outcome, const char *json, struct as_error *err);
/* Newest first, at most limit, overlapping [since, until]. */
int journal_each_decision(struct journal *j, const char *group, int64_t since, int64_t until, int limit,
                          int (*cb)(void *arg, const struct journal_decision *), void *arg, struct as_error *err);

/* Samples, rolled up by the minute by the caller; the same minute again replaces. Read oldest first. A value that
 * is not finite is AS_EINVAL. */
struct journal_sample {
    int64_t wall; /* start of the minute */
    const char *metric;
    double mean, min, max;
    int count;
};
int journal_put_sample(struct journal *j, const struct journal_sample *s, struct as_error *err);
int journal_each_sample(struct journal *j, const char *metric, int64_t since,
                        int (*cb)(void *arg, const struct journal_sample *), void *arg, struct as_error *err);
/* The names of all that have samples, sorted. */
int journal_each_metric(struct journal *j, int (*cb)(void *arg, const char *metric), void *arg,
                        struct as_error *err);

/* Seconds from WANTED to SERVING of the newest `max` launches of a group, newest first; returns how many. */
int journal_launch_seconds(struct journal *j, const char *group, double *out, int max);

/* Small named values kept over restarts (breaker state and the like). A NULL value removes; *out is malloc'ed,
 * or NULL when there is none. Keys that begin with "journal." are the journal's own. */
int journal_set(struct journal *j, const char *key, const char *value, struct as_error *err);
int journal_get(struct journal *j, const char *key, char **out, struct as_error *err);

/* Deletes history older than `before`, instances GONE since before then included, at most a thousand rows a
 * table: call it now and then, outside a turn; *more says to call again. */
int journal_prune(struct journal *j, int64_t before, bool *more, struct as_error *err);

#endif
