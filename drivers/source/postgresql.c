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
#include "own_queries.h"

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
    OWN_QUERIES_OPTIONS,
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

/* The number in a column of the only row; false when it is NULL or no number. */
static bool column(const PGresult *row, const char *name, double *out)
{
    int c = PQfnumber(row, name);
    return c >= 0 && !PQgetisnull(row, 0, c) && own_number_parse(PQgetvalue(row, 0, c), out);
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

/* Runs one query of the operator; the reason of a failure goes to *why. */
static int query_number(void *self, const char *sql, as_time deadline, double *value, struct as_error *why)
{
    struct postgresql *p = self;
    PGresult *row = NULL;
    if (!pglink_usable(&p->link))
        return as_fail(why, AS_EAGAIN, "not run, no time or connection was left");
    char *text = own_query_wrap(sql, "::text");
    int rc =
        text ? pglink_row(&p->link, text, deadline, &row, why) : as_fail(why, AS_ENOMEM, "out of memory");
    free(text);
    if (rc == AS_OK)
        rc = own_query_result(PQgetisnull(row, 0, 0) ? NULL : PQgetvalue(row, 0, 0), value, why);
    PQclear(row);
    return rc;
}

static int postgresql_poll(void *self, as_time deadline, struct as_samples *out, struct as_error *err)
{
    struct postgresql *p = self;
    struct as_error why = { 0 }; /* with AS_OK: about a query of the operator */
    size_t before = out->count;
    int rc = add_builtin(p, deadline, out, &why);
    if (rc == AS_OK)
        rc = own_queries_poll(&(struct own_queries){ p->settings, p, query_number }, deadline, out, &why);
    if (rc != AS_OK)
        out->count = before;
    if (err && why.rc != AS_OK)
        *err = why;
    return rc;
}

static int postgresql_open(void *self, const struct as_settings *settings, const char *endpoint,
                           struct as_error *err)
{
    struct postgresql *p = self;
    struct as_error why = { 0 };
    p->settings = settings;
    int rc = own_queries_check(settings, series, err);
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
