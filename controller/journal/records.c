/* The journal's rows: one statement per write, prepared once and kept; readers prepare their own, so that a
 * callback may use the journal. Nothing here decides about files or turns. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define PRUNE_BATCH      1000
#define PRUNE_BATCH_TEXT "1000"

static const char *const texts[STATEMENTS] = {
    [PUT_INSTANCE] =
        "INSERT INTO instance(id, grp, host, state, address, port, revision, reason, wanted_wall, state_wall,"
        " serving_wall) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
        " ON CONFLICT(id) DO UPDATE SET grp = ?2, host = ?3, state = ?4, address = ?5, port = ?6, revision = "
        "?7,"
        " reason = ?8, wanted_wall = ?9, state_wall = ?10, serving_wall = ?11",
    [KNOWS_INSTANCE] = "SELECT 1 FROM instance WHERE id = ?1",
    [PUT_EVENT] = "INSERT INTO event(wall, grp, instance, kind, text) VALUES(?1, ?2, ?3, ?4, ?5)",
    [PUT_SCALE] = "INSERT INTO scale(wall, grp, delta) VALUES(?1, ?2, ?3)",
    [PUT_DECISION] = "INSERT INTO decision(wall, last_wall, repeats, grp, current, desired, outcome, json)"
                     " VALUES(?1, ?1, 0, ?2, ?3, ?4, ?5, ?6)",
    [FOLD_DECISION] = "UPDATE decision SET last_wall = ?1, repeats = repeats + 1, last_json = ?2"
                      " WHERE id = ?3 AND grp = ?4",
    [NEWEST_DECISION] =
        "SELECT id, outcome FROM decision WHERE grp = ?1 ORDER BY last_wall DESC, id DESC LIMIT 1",
    [PUT_METRIC] = "INSERT INTO metric(name) VALUES(?1)",
    [PUT_SAMPLE] = "INSERT OR IGNORE INTO sample(metric, wall, mean, min, max, count)"
                   " VALUES((SELECT id FROM metric WHERE name = ?1), ?2, ?3, ?4, ?5, ?6)"
                   " ON CONFLICT DO UPDATE SET mean = ?3, min = ?4, max = ?5, count = ?6",
    [SET_VALUE] = "INSERT INTO setting(key, value) VALUES(?1, ?2) ON CONFLICT(key) DO UPDATE SET value = ?2",
    [UNSET_VALUE] = "DELETE FROM setting WHERE key = ?1",
    [GET_VALUE] = "SELECT value FROM setting WHERE key = ?1",
};

/* Binds one argument a letter: t text (NULL as ""), i int64_t, n int, d double. Texts are borrowed. */
static int bind(sqlite3_stmt *s, const char *types, va_list ap)
{
    int rc = SQLITE_OK;
    for (int i = 1; *types && rc == SQLITE_OK; types++, i++) {
        const char *text;
        switch (*types) {
        case 't':
            text = va_arg(ap, const char *);
            rc = sqlite3_bind_text(s, i, text ? text : "", -1, SQLITE_STATIC);
            break;
        case 'i': rc = sqlite3_bind_int64(s, i, va_arg(ap, int64_t)); break;
        case 'n': rc = sqlite3_bind_int(s, i, va_arg(ap, int)); break;
        default: rc = sqlite3_bind_double(s, i, va_arg(ap, double)); break;
        }
    }
    return rc;
}

/* The kept statement with its arguments bound, or NULL. */
static sqlite3_stmt *ready(struct journal *j, enum statement which, const char *types, va_list ap)
{
    sqlite3_stmt **s = &j->statements[which];
    if (!*s && sqlite3_prepare_v3(j->db, texts[which], -1, SQLITE_PREPARE_PERSISTENT, s, NULL) != SQLITE_OK)
        return NULL;
    return bind(*s, types, ap) == SQLITE_OK ? *s : NULL;
}

static void done_with(struct journal *j, enum statement which)
{
    sqlite3_stmt *s = j->statements[which];
    if (s) {
        sqlite3_reset(s);
        sqlite3_clear_bindings(s);
    }
}

/* A turn with a failed write is lost: SQLite may have left the transaction by itself, and what came after
 * would be on its own. */
static int lost_turn(const struct journal *j, struct as_error *err)
{
    if (j->in_turn && j->failed.rc && err)
        *err = j->failed;
    return j->in_turn ? (int)j->failed.rc : AS_OK;
}

static int write_row(struct journal *j, struct as_error *err, enum statement which, const char *types, ...)
{
    int rc = lost_turn(j, err);
    if (rc)
        return rc;
    va_list ap;
    va_start(ap, types);
    sqlite3_stmt *s = ready(j, which, types, ap);
    va_end(ap);
    if (!s || sqlite3_step(s) != SQLITE_DONE)
        rc = journal_failure(j, "write", err);
    done_with(j, which);
    return rc;
}

/* 1: *s stands on the row (end with done_with), 0: no row, -1: failed. */
static int read_row(struct journal *j, sqlite3_stmt **s, enum statement which, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    *s = ready(j, which, types, ap);
    va_end(ap);
    int rc = *s ? sqlite3_step(*s) : SQLITE_ERROR;
    return rc == SQLITE_ROW ? 1 : rc == SQLITE_DONE ? 0 : -1;
}

struct reader {
    const char *sql;
    int (*row)(const struct reader *r, sqlite3_stmt *s); /* non-zero ends the walk */
    void (*cb)(void);                                    /* the caller's, cast back by row */
    void *arg;
};

static int walk(struct journal *j, const struct reader *r, struct as_error *err, const char *types, ...)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(j->db, r->sql, -1, &s, NULL);
    if (rc == SQLITE_OK) {
        va_list ap;
        va_start(ap, types);
        rc = bind(s, types, ap);
        va_end(ap);
    }
    bool stop = false;
    while (rc == SQLITE_OK && !stop && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        stop = r->row(r, s) != 0;
        rc = SQLITE_OK;
    }
    int result = rc == SQLITE_OK || rc == SQLITE_DONE ? AS_OK : journal_failure(j, "read", err);
    sqlite3_finalize(s);
    return result;
}

static const char *text_at(sqlite3_stmt *s, int column)
{
    const char *text = (const char *)sqlite3_column_text(s, column);
    return text ? text : "";
}

/* --- instances ----------------------------------------------------------------------------------- */

int journal_put_instance(struct journal *j, const struct journal_instance *r, struct as_error *err)
{
    return write_row(j, err, PUT_INSTANCE, "tttttnttiii", r->id, r->group, r->host, r->state, r->address,
                     r->port, r->revision, r->reason, r->wanted_wall, r->state_wall, r->serving_wall);
}

static int instance_row(const struct reader *r, sqlite3_stmt *s)
{
    const struct journal_instance row = {
        .id = text_at(s, 0),
        .group = text_at(s, 1),
        .host = text_at(s, 2),
        .state = text_at(s, 3),
        .address = text_at(s, 4),
        .port = sqlite3_column_int(s, 5),
        .revision = text_at(s, 6),
        .reason = text_at(s, 7),
        .wanted_wall = sqlite3_column_int64(s, 8),
        .state_wall = sqlite3_column_int64(s, 9),
        .serving_wall = sqlite3_column_int64(s, 10),
    };
    return ((int (*)(void *, const struct journal_instance *))r->cb)(r->arg, &row);
}

#define INSTANCES                                                                                            \
    "SELECT id, grp, host, state, address, port, revision, reason, wanted_wall, state_wall, serving_wall"    \
    " FROM instance WHERE state <> 'GONE'"

int journal_each_instance(struct journal *j, const char *group,
                          int (*cb)(void *arg, const struct journal_instance *), void *arg,
                          struct as_error *err)
{
    const struct reader r = { .sql = group ? INSTANCES " AND grp = ?1 ORDER BY wanted_wall, id"
                                           : INSTANCES " ORDER BY wanted_wall, id",
                              .row = instance_row,
                              .cb = (void (*)(void))cb,
                              .arg = arg };
    return walk(j, &r, err, group ? "t" : "", group);
}

int journal_knows_instance(struct journal *j, const char *id)
{
    sqlite3_stmt *s;
    int known = read_row(j, &s, KNOWS_INSTANCE, "t", id);
    done_with(j, KNOWS_INSTANCE);
    return known;
}

struct launches {
    double *out;
    int count;
};

static int launch_row(const struct reader *r, sqlite3_stmt *s)
{
    struct launches *l = r->arg;
    l->out[l->count++] = (double)sqlite3_column_int64(s, 0) / 1000.0;
    return 0;
}

int journal_launch_seconds(struct journal *j, const char *group, double *out, int max)
{
    struct launches l = { out, 0 };
    const struct reader r = { .sql = "SELECT max(serving_wall - wanted_wall, 0) FROM instance"
                                     " WHERE grp = ?1 AND serving_wall > 0 AND serving_wall <> wanted_wall"
                                     " ORDER BY serving_wall DESC LIMIT ?2",
                              .row = launch_row,
                              .arg = &l };
    if (max > 0)
        (void)walk(j, &r, NULL, "tn", group, max); /* what came before a failure is still true */
    return l.count;
}

/* --- events, scale ledger ------------------------------------------------------------------------ */

int journal_put_event(struct journal *j, int64_t wall, const char *group, const char *instance,
                      const char *kind, const char *text, struct as_error *err)
{
    return write_row(j, err, PUT_EVENT, "itttt", wall, group, instance, kind, text);
}

static int event_row(const struct reader *r, sqlite3_stmt *s)
{
    const struct journal_event row = {
        .id = sqlite3_column_int64(s, 0),
        .wall = sqlite3_column_int64(s, 1),
        .group = text_at(s, 2),
        .instance = text_at(s, 3),
        .kind = text_at(s, 4),
        .text = text_at(s, 5),
    };
    return ((int (*)(void *, const struct journal_event *))r->cb)(r->arg, &row);
}

#define EVENTS "SELECT id, wall, grp, instance, kind, text FROM event WHERE wall >= ?1"
#define NEWEST " ORDER BY wall DESC, id DESC LIMIT ?2"

int journal_each_event(struct journal *j, const char *group, int64_t since, int limit,
                       int (*cb)(void *arg, const struct journal_event *), void *arg, struct as_error *err)
{
    const struct reader r = { .sql = group ? EVENTS " AND grp = ?3" NEWEST : EVENTS NEWEST,
                              .row = event_row,
                              .cb = (void (*)(void))cb,
                              .arg = arg };
    return walk(j, &r, err, group ? "int" : "in", since, limit < 0 ? 0 : limit, group);
}

int journal_put_scale(struct journal *j, int64_t wall, const char *group, int delta, struct as_error *err)
{
    return write_row(j, err, PUT_SCALE, "itn", wall, group, delta);
}

static int scale_row(const struct reader *r, sqlite3_stmt *s)
{
    return ((int (*)(void *, int64_t, int))r->cb)(r->arg, sqlite3_column_int64(s, 0),
                                                  sqlite3_column_int(s, 1));
}

int journal_each_scale(struct journal *j, const char *group, int64_t since,
                       int (*cb)(void *arg, int64_t wall, int delta), void *arg, struct as_error *err)
{
    const struct reader r = {
        .sql = "SELECT wall, delta FROM scale WHERE grp = ?1 AND wall >= ?2 ORDER BY wall, id",
        .row = scale_row,
        .cb = (void (*)(void))cb,
        .arg = arg
    };
    return walk(j, &r, err, "ti", group, since);
}

/* --- decisions ----------------------------------------------------------------------------------- */

void journal_forget_heads(struct journal *j)
{
    for (size_t k = 0; k < HEAD_LISTS; k++)
        while (j->heads[k]) {
            struct journal_head *h = j->heads[k];
            j->heads[k] = h->next;
            free(h->outcome);
            free(h);
        }
}

static struct journal_head **heads_of(struct journal *j, const char *group)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (const char *c = group; *c; c++)
        h = (h ^ (unsigned char)*c) * 16777619u;
    return &j->heads[h % HEAD_LISTS];
}

/* The newest decision of the group, from memory or read once; NULL: failed. */
static struct journal_head *find_head(struct journal *j, const char *group, struct as_error *err)
{
    struct journal_head **heads = heads_of(j, group);
    for (struct journal_head *h = *heads; h; h = h->next) {
        if (strcmp(h->group, group) == 0)
            return h;
    }
    sqlite3_stmt *s;
    size_t size = strlen(group) + 1;
    struct journal_head *h = calloc(1, sizeof *h + size);
    int found = h ? read_row(j, &s, NEWEST_DECISION, "t", group) : -1;
    if (found > 0) {
        h->id = sqlite3_column_int64(s, 0);
        h->outcome = strdup(text_at(s, 1));
    }
    if (found < 0 || (found && !h->outcome)) {
        if (h && found < 0)
            journal_failure(j, "read", err);
        else
            as_fail(err, AS_ENOMEM, "out of memory");
        free(h);
        h = NULL;
    } else {
        memcpy(h->group, group, size);
        h->next = *heads;
        *heads = h;
    }
    done_with(j, NEWEST_DECISION);
    return h;
}

int journal_put_decision(struct journal *j, int64_t wall, const char *group, int current, int desired,
                         const char *outcome, const char *json, struct as_error *err)
{
    struct as_error local;
    struct journal_head *h = find_head(j, group, &local);
    if (!h) {
        if (err)
            *err = local;
        return (int)local.rc;
    }
    if (h->id && strcmp(h->outcome, outcome) == 0) {
        int rc = write_row(j, err, FOLD_DECISION, "itit", wall, json, h->id, group);
        if (rc || sqlite3_changes(j->db) > 0)
            return rc;
    }
    char *copy = strdup(outcome);
    if (!copy)
        return as_fail(err, AS_ENOMEM, "out of memory");
    int rc = write_row(j, err, PUT_DECISION, "itnntt", wall, group, current, desired, outcome, json);
    if (rc) {
        free(copy);
        return rc;
    }
    free(h->outcome);
    h->outcome = copy;
    h->id = sqlite3_last_insert_rowid(j->db);
    return AS_OK;
}

static int decision_row(const struct reader *r, sqlite3_stmt *s)
{
    const struct journal_decision row = {
        .id = sqlite3_column_int64(s, 0),
        .wall = sqlite3_column_int64(s, 1),
        .last_wall = sqlite3_column_int64(s, 2),
        .repeats = sqlite3_column_int64(s, 3),
        .group = text_at(s, 4),
        .current = sqlite3_column_int(s, 5),
        .desired = sqlite3_column_int(s, 6),
        .outcome = text_at(s, 7),
        .json = text_at(s, 8),
        .last_json = text_at(s, 9),
    };
    return ((int (*)(void *, const struct journal_decision *))r->cb)(r->arg, &row);
}

#define DECISIONS                                                                                            \
    "SELECT id, wall, last_wall, repeats, grp, current, desired, outcome, json, ifnull(last_json, json)"     \
    " FROM decision WHERE last_wall >= ?1 AND wall <= ?2"
#define LATEST " ORDER BY last_wall DESC, id DESC LIMIT ?3"

int journal_each_decision(struct journal *j, const char *group, int64_t since, int64_t until, int limit,
                          int (*cb)(void *arg, const struct journal_decision *), void *arg,
                          struct as_error *err)
{
    const struct reader r = { .sql = group ? DECISIONS " AND grp = ?4" LATEST : DECISIONS LATEST,
                              .row = decision_row,
                              .cb = (void (*)(void))cb,
                              .arg = arg };
    return walk(j, &r, err, group ? "iint" : "iin", since, until, limit < 0 ? 0 : limit, group);
}

/* --- samples ------------------------------------------------------------------------------------- */

/* Changes nothing when the metric has no number yet. */
static int put_known_sample(struct journal *j, const struct journal_sample *s, struct as_error *err)
{
    return write_row(j, err, PUT_SAMPLE, "tidddn", s->metric, s->wall, s->mean, s->min, s->max, s->count);
}

int journal_put_sample(struct journal *j, const struct journal_sample *s, struct as_error *err)
{
    if (!isfinite(s->mean) || !isfinite(s->min) || !isfinite(s->max))
        return as_fail(err, AS_EINVAL, "a sample of %s is not a finite number", s->metric);
    int rc = put_known_sample(j, s, err);
    if (rc || sqlite3_changes(j->db) > 0)
        return rc;
    rc = write_row(j, err, PUT_METRIC, "t", s->metric); /* the first of its metric */
    return rc ? rc : put_known_sample(j, s, err);
}

static int sample_row(const struct reader *r, sqlite3_stmt *s)
{
    const struct journal_sample row = {
        .wall = sqlite3_column_int64(s, 0),
        .mean = sqlite3_column_double(s, 1),
        .min = sqlite3_column_double(s, 2),
        .max = sqlite3_column_double(s, 3),
        .count = sqlite3_column_int(s, 4),
        .metric = text_at(s, 5),
    };
    return ((int (*)(void *, const struct journal_sample *))r->cb)(r->arg, &row);
}

int journal_each_sample(struct journal *j, const char *metric, int64_t since,
                        int (*cb)(void *arg, const struct journal_sample *), void *arg, struct as_error *err)
{
    const struct reader r = { .sql = "SELECT wall, mean, min, max, count, ?1 FROM sample"
                                     " WHERE metric = (SELECT id FROM metric WHERE name = ?1) AND wall >= ?2"
                                     " ORDER BY wall",
                              .row = sample_row,
                              .cb = (void (*)(void))cb,
                              .arg = arg };
    return walk(j, &r, err, "ti", metric, since);
}

static int metric_row(const struct reader *r, sqlite3_stmt *s)
{
    return ((int (*)(void *, const char *))r->cb)(r->arg, text_at(s, 0));
}

int journal_each_metric(struct journal *j, int (*cb)(void *arg, const char *metric), void *arg,
                        struct as_error *err)
{
    const struct reader r = {
        .sql = "SELECT name FROM metric WHERE id IN (SELECT metric FROM sample) ORDER BY name",
        .row = metric_row,
        .cb = (void (*)(void))cb,
        .arg = arg
    };
    return walk(j, &r, err, "");
}

/* --- values, retention --------------------------------------------------------------------------- */

int journal_set(struct journal *j, const char *key, const char *value, struct as_error *err)
{
    return value ? write_row(j, err, SET_VALUE, "tt", key, value) : write_row(j, err, UNSET_VALUE, "t", key);
}

int journal_get(struct journal *j, const char *key, char **out, struct as_error *err)
{
    sqlite3_stmt *s;
    int found = read_row(j, &s, GET_VALUE, "t", key);
    int rc = AS_OK;
    char *value = NULL;
    if (found < 0)
        rc = journal_failure(j, "read", err);
    else if (found && !(value = strdup(text_at(s, 0))))
        rc = as_fail(err, AS_ENOMEM, "out of memory");
    if (!rc)
        *out = value;
    done_with(j, GET_VALUE);
    return rc;
}

#define BATCH " LIMIT " PRUNE_BATCH_TEXT ")"

/* Each deletes at most a batch by an index. The last value of a metric's samples takes its name along. */
static const char *const prunes[] = {
    "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE wall < ?1" BATCH,
    "DELETE FROM scale WHERE id IN (SELECT id FROM scale WHERE wall < ?1" BATCH,
    "DELETE FROM decision WHERE id IN (SELECT id FROM decision WHERE last_wall < ?1" BATCH,
    "DELETE FROM instance WHERE id IN (SELECT id FROM instance WHERE state = 'GONE' AND state_wall < "
    "?1" BATCH,
    "DELETE FROM sample WHERE (metric, wall) IN (SELECT s.metric, s.wall FROM metric m CROSS JOIN sample s"
    " ON s.metric = m.id WHERE s.wall < ?1" BATCH,
    "DELETE FROM metric WHERE ?1 AND NOT EXISTS (SELECT 1 FROM sample WHERE metric = metric.id)",
};

static int ignore_row(const struct reader *r, sqlite3_stmt *s)
{
    (void)r;
    (void)s;
    return 0;
}

int journal_prune(struct journal *j, int64_t before, bool *more, struct as_error *err)
{
    bool again = false;
    int rc = lost_turn(j, err);
    if (rc)
        return rc;
    journal_forget_heads(j); /* they may name a row that goes */
    for (size_t i = 0; i < sizeof prunes / sizeof *prunes; i++) {
        const struct reader r = { .sql = prunes[i], .row = ignore_row };
        if ((rc = walk(j, &r, err, "i", before)))
            return rc;
        again = again || sqlite3_changes(j->db) >= PRUNE_BATCH;
    }
    *more = again;
    return AS_OK;
}
