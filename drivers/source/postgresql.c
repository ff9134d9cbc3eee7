/* Source `postgresql`: sessions, slots, transactions, cache and replication of one server per lane, plus the
 * operator's own queries. It keeps its one connection, because a server whose slots are all taken is
 * exactly when it must be seen. It must never report the little that a role without pg_monitor sees as
 * if it were the load, and never write to the database. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../wire/pglink.h"
#include "autoscale/source.h"

#define NUMBER_MAX 400 /* characters; the largest double has 309 digits */

struct postgresql {
    const struct as_settings *settings; /* borrowed */
    struct pglink link;
    struct as_counter transactions;
    double hits, reads; /* of the last poll */
    bool seen_blocks;
};

static const struct as_option options[] = {
    { .name = "conninfo",
      .type = AS_OPT_STRINGS,
      .flags = AS_OPT_REQUIRED,
      .help = "libpq connection string of each server, without a password" },
    { .name = "password_file", .type = AS_OPT_SECRET, .help = "file that holds the password of the role" },
    { .name = "statement_timeout",
      .type = AS_OPT_DURATION,
      .def = "2s",
      .min = 10,
      .max = 10 * 60000,
      .help = "the server cancels a statement that runs longer" },
    { .name = "queries",
      .type = AS_OPT_MAP,
      .help = "series of your own: NAME = \"SELECT that gives one number\"; run read-only" },
    { 0 },
};

static const struct as_series_doc series[] = {
    { "connections", "sessions", "client sessions, ours included", AS_MERGE_SUM },
    { "connections_active", "sessions", "sessions running a statement, ours excluded", AS_MERGE_SUM },
    { "connections_idle_in_transaction", "sessions", "sessions idle inside an open transaction",
      AS_MERGE_SUM },
    { "connections_waiting_on_lock", "sessions", "active sessions that wait for a lock", AS_MERGE_SUM },
    { "connections_max", "sessions", "slots for ordinary roles; of several servers the smallest",
      AS_MERGE_MIN },
    { "connections_free", "sessions", "slots for ordinary roles still free; of several servers the fewest",
      AS_MERGE_MIN },
    { "transactions_per_second", "1/s", "commits and rollbacks since the last poll", AS_MERGE_SUM },
    { "cache_hit_ratio", "ratio", "block reads answered from shared buffers since the last poll",
      AS_MERGE_MEAN },
    { "oldest_transaction_s", "s", "age of the oldest open transaction, 0 when there is none", AS_MERGE_MAX },
    { "replication_lag_bytes", "bytes",
      "WAL not yet replayed by the worst standby; on a standby, received and not replayed", AS_MERGE_MAX },
    { "queries_failed", "queries", "own queries that gave no number in the last poll", AS_MERGE_SUM },
    { 0 },
};

/* One statement, one snapshot; PostgreSQL 10 and later. `sees` is what the server itself asks before it shows
 * other sessions. Without track_activities the states are not known. A standby that does not
 * stream has no known lag; a walsender that replays nothing (a backup) has none either. */
static const char builtin_sql[] =
    "select quote_ident(current_user::text) as role,"
    " case when pg_has_role('pg_read_all_stats', 'usage') then 1 else 0 end as sees,"
    " case when pg_has_role('pg_monitor', 'member') then 1 else 0 end as member,"
    " s.total, s.active, s.idle_tx, s.lock_wait, s.oldest,"
    " current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
    "  - coalesce(current_setting('reserved_connections', true), '0')::int as usable,"
    " d.xacts, d.hits, d.reads, r.lag "
    "from (select count(*) as total,"
    "  case when k.hidden then null else count(*) filter (where state = 'active' and o.other) end as active,"
    "  case when k.hidden then null else count(*) filter (where state like 'idle in transaction%') end as "
    "idle_tx,"
    "  case when k.hidden then null else count(*) filter (where state = 'active' and wait_event_type = "
    "'Lock') end"
    "   as lock_wait,"
    "  greatest(0, coalesce(extract(epoch from max(clock_timestamp() - xact_start) filter (where o.other)), "
    "0))"
    "   as oldest"
    "  from pg_stat_activity a"
    "  cross join lateral (select a.pid <> pg_backend_pid() as other) o"
    "  cross join (select current_setting('track_activities') = 'off' as hidden) k"
    "  where backend_type = 'client backend' group by k.hidden) s,"
    " (select sum(xact_commit + xact_rollback) as xacts, sum(blks_hit) as hits, sum(blks_read) as reads"
    "  from pg_stat_database where datname is not null) d,"
    " (select case when not pg_is_in_recovery() then"
    "   (select max(greatest(0, pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn))) from pg_stat_replication)"
    "  when exists (select from pg_stat_wal_receiver where status = 'streaming') then"
    "   greatest(0, pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()))"
    "  end as lag) r";

/* A plain decimal number: no blanks, hexadecimal, NaN or infinity, which strtod would take. */
static bool number_parse(const char *text, double *out)
{
    char *end;
    if (!*text || strspn(text, "0123456789+-.eE") != strlen(text))
        return false;
    double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value))
        return false;
    *out = value;
    return true;
}

/* The number in a column of the only row; false when it is NULL or no number. */
static bool column(const PGresult *row, const char *name, double *out)
{
    int c = PQfnumber(row, name);
    return c >= 0 && !PQgetisnull(row, 0, c) && number_parse(PQgetvalue(row, 0, c), out);
}

static int add(struct as_samples *out, const char *name, double value, double weight, struct as_error *err)
{
    return as_samples_add(out, "", name, value, weight, err);
}

/* Adds a column as a series; one the server cannot tell right now is left out. */
static int add_column(struct as_samples *out, const PGresult *row, const char *col, const char *name,
                      struct as_error *err)
{
    double value;
    return column(row, col, &value) ? add(out, name, value, 1, err) : AS_OK;
}

static int check_role(const PGresult *row, struct as_error *err)
{
    double sees = 0, member = 0;
    int c = PQfnumber(row, "role");
    const char *role = c >= 0 ? PQgetvalue(row, 0, c) : "?";
    if (!column(row, "sees", &sees) || !column(row, "member", &member))
        return as_fail(err, AS_EPROTO, "the server's answer about the role is not understood");
    if (sees > 0)
        return AS_OK;
    if (member > 0)
        return as_fail(err, AS_EAUTH, "role '%s' does not inherit pg_monitor: ALTER ROLE %s INHERIT", role,
                       role);
    return as_fail(err, AS_EAUTH, "role '%s' cannot see other sessions: GRANT pg_monitor TO %s", role, role);
}

static int add_sessions(struct as_samples *out, const PGresult *row, struct as_error *err)
{
    static const char *const columns[][2] = {
        { "active", "connections_active" },
        { "idle_tx", "connections_idle_in_transaction" },
        { "lock_wait", "connections_waiting_on_lock" },
        { "oldest", "oldest_transaction_s" },
        { "lag", "replication_lag_bytes" },
    };
    double total, usable;
    int rc = AS_OK;
    if (!column(row, "total", &total) || !column(row, "usable", &usable))
        return as_fail(err, AS_EPROTO, "the server's count of sessions is not a number");
    for (size_t i = 0; rc == AS_OK && i < sizeof columns / sizeof *columns; i++)
        rc = add_column(out, row, columns[i][0], columns[i][1], err);
    if (rc == AS_OK)
        rc = add(out, "connections", total, 1, err);
    if (rc == AS_OK)
        rc = add(out, "connections_max", usable, 1, err);
    /* superusers in their reserved slots make it negative */
    return rc == AS_OK ? add(out, "connections_free", fmax(0, usable - total), 1, err) : rc;
}

/* What moved since the last poll. A dropped database or a statistics reset lowers the sums: no value then. */
static int add_deltas(struct postgresql *p, struct as_samples *out, const PGresult *row, struct as_error *err)
{
    double transactions, rate, hits, reads;
    int rc = AS_OK;
    if (column(row, "xacts", &transactions) &&
        as_counter_rate(&p->transactions, as_clock_monotonic(), transactions, &rate))
        rc = add(out, "transactions_per_second", rate, 1, err);
    if (!column(row, "hits", &hits) || !column(row, "reads", &reads))
        return rc;
    double hit = hits - p->hits, read = reads - p->reads;
    if (rc == AS_OK && p->seen_blocks && hit >= 0 && read >= 0 && hit + read > 0)
        rc = add(out, "cache_hit_ratio", hit / (hit + read), hit + read, err);
    p->hits = hits;
    p->reads = reads;
    p->seen_blocks = true;
    return rc;
}

static int add_builtin(struct postgresql *p, as_time deadline, struct as_samples *out, struct as_error *err)
{
    PGresult *row = NULL;
    int rc = pglink_row(&p->link, builtin_sql, deadline, &row, err);
    if (rc != AS_OK)
        return rc;
    rc = check_role(row, err);
    if (rc == AS_OK)
        rc = add_sessions(out, row, err);
    if (rc == AS_OK)
        rc = add_deltas(p, out, row, err);
    PQclear(row);
    return rc;
}

/* The query becomes a scalar subquery: so it is one SELECT of one column and at most one row, and however long
 * its text is, the server sends NUMBER_MAX characters. The line break ends a comment. */
static char *query_wrap(const char *sql)
{
    size_t len = strlen(sql);
    char *text;
    while (len > 0 && strchr(" \t\r\n;", sql[len - 1]))
        len--;
    return asprintf(&text, "select left((%.*s\n)::text, %d)", (int)len, sql, NUMBER_MAX) < 0 ? NULL : text;
}

/* Runs one query of the operator; the reason of a failure goes to *why. */
static int query_number(struct postgresql *p, const char *sql, as_time deadline, double *value,
                        struct as_error *why)
{
    PGresult *row = NULL;
    char *text = query_wrap(sql);
    int rc =
        text ? pglink_row(&p->link, text, deadline, &row, why) : as_fail(why, AS_ENOMEM, "out of memory");
    free(text);
    if (rc != AS_OK)
        return rc;
    if (PQgetisnull(row, 0, 0))
        rc = as_fail(why, AS_EPROTO, "it gives no row or NULL: use coalesce() if that means a number");
    else if (PQgetlength(row, 0, 0) >= NUMBER_MAX || !number_parse(PQgetvalue(row, 0, 0), value))
        rc = as_fail(why, AS_EPROTO, "it gives '%.40s', which is not a number", PQgetvalue(row, 0, 0));
    PQclear(row);
    return rc;
}

/* A bad query must not blind the rest: its series is left out, and *note says why (the first one). */
static int add_queries(struct postgresql *p, as_time deadline, struct as_samples *out, struct as_error *note)
{
    size_t count = as_settings_count(p->settings, "queries");
    int failed = 0;
    for (size_t i = 0; i < count; i++) {
        const char *name = as_settings_key(p->settings, "queries", i);
        struct as_error why = { 0 };
        double value;
        int rc = pglink_usable(&p->link)
                     ? query_number(p, as_settings_item(p->settings, "queries", i), deadline, &value, &why)
                     : as_fail(&why, AS_EAGAIN, "not run, no time or connection was left");
        if (rc == AS_OK)
            rc = add(out, name, value, 1, &why);
        if (rc == AS_ENOMEM)
            return as_fail(note, AS_ENOMEM, "%s", why.msg);
        if (rc != AS_OK && failed++ == 0)
            as_fail(note, (enum as_rc)rc, "query '%s': %s", name, why.msg);
    }
    return count == 0 ? AS_OK : add(out, "queries_failed", failed, 1, note);
}

static int postgresql_poll(void *self, as_time deadline, struct as_samples *out, struct as_error *err)
{
    struct postgresql *p = self;
    struct as_error why = { 0 }; /* with AS_OK: about a query of the operator */
    size_t before = out->count;
    int rc = add_builtin(p, deadline, out, &why);
    if (rc == AS_OK)
        rc = add_queries(p, deadline, out, &why);
    if (rc != AS_OK)
        out->count = before;
    if (err && why.rc != AS_OK)
        *err = why;
    return rc;
}

static bool is_builtin(const char *name)
{
    for (const struct as_series_doc *s = series; s->name; s++)
        if (strcmp(s->name, name) == 0)
            return true;
    return false;
}

static int check_queries(const struct as_settings *s, struct as_error *err)
{
    for (size_t i = 0; i < as_settings_count(s, "queries"); i++) {
        const char *name = as_settings_key(s, "queries", i), *sql = as_settings_item(s, "queries", i);
        if (strlen(name) >= AS_NAME_MAX)
            return as_settings_fail(s, "queries", err, "the name '%.32s...' is longer than %d characters",
                                    name, AS_NAME_MAX - 1);
        if (is_builtin(name))
            return as_settings_fail(s, "queries", err,
                                    "'%s' is a series of the driver itself: choose another name", name);
        if (strspn(sql, " \t\r\n;") == strlen(sql))
            return as_settings_fail(s, "queries", err, "'%s' is empty", name);
    }
    return AS_OK;
}

static int postgresql_open(void *self, const struct as_settings *settings, const char *endpoint,
                           struct as_error *err)
{
    struct postgresql *p = self;
    struct as_error why = { 0 };
    p->settings = settings;
    int rc = check_queries(settings, err);
    if (rc != AS_OK)
        return rc;
    rc = pglink_init(&p->link, endpoint, as_settings_str(settings, "password_file"),
                     as_settings_ms(settings, "statement_timeout"), &why);
    if (rc == AS_EINVAL)
        return as_settings_fail(settings, "conninfo", err, "%s", why.msg);
    return rc == AS_OK ? AS_OK : as_fail(err, (enum as_rc)rc, "%s", why.msg);
}

static void postgresql_close(void *self)
{
    struct postgresql *p = self;
    pglink_fini(&p->link);
}

const struct as_source_driver as_source_postgresql = {
    .name = "postgresql",
    .summary = "sessions, slots, transactions and replication of PostgreSQL servers, and queries of your own",
    .options = options,
    .series = series,
    .user_series = "queries",
    .endpoints = "conninfo",
    .state_size = sizeof(struct postgresql),
    .open = postgresql_open,
    .poll = postgresql_poll,
    .close = postgresql_close,
};
