/* Source `mariadb`: sessions, slots, statements, buffer pool and replication of one server per lane, plus the
 * operator's own queries. It keeps its one connection, because a server whose slots are all taken is
 * exactly when it must be seen. It must never give a number for a replica that stands still, never take
 * a missing privilege for an idle server, and never write to the database. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../wire/marialink.h"
#include "autoscale/source.h"
#include "own_queries.h"

#define RESTART_SLACK 3000 /* ms by which two reckonings of one start may differ */
#define SPARE_SLOTS   2    /* below that the connection is not given up */
#define NEEDS_PROCESS "processlist"

struct mariadb {
    const struct as_settings *settings; /* borrowed */
    struct marialink link;
    struct as_counter questions, slow;
    double requests, reads; /* of the buffer pool, of the last poll */
    bool seen_pool, seen_start;
    bool refused;   /* a privilege was missing in this poll */
    double free;    /* slots */
    double started; /* when the server started, on our clock, ms */
    char role[160]; /* as GRANT wants it: 'mon'@'%' */
};

static const struct as_option options[] = {
    { .name = "address",
      .type = AS_OPT_STRINGS,
      .flags = AS_OPT_REQUIRED,
      .help = "MariaDB servers, each \"HOST:PORT\" (port 3306 when not given) or the path of a unix socket" },
    { .name = "user", .type = AS_OPT_STRING, .flags = AS_OPT_REQUIRED, .help = "user to connect as" },
    { .name = "password_file", .type = AS_OPT_SECRET, .help = "file that holds the password of the user" },
    { .name = "database", .type = AS_OPT_STRING, .help = "database that your own queries mean" },
    { .name = "tls_ca",
      .type = AS_OPT_FILE,
      .help =
          "certificate authority (PEM): connections over TCP use TLS, and the server must prove its name" },
    { .name = "replication",
      .type = AS_OPT_BOOL,
      .def = "true",
      .help = "look whether the server is a replica, which needs SLAVE MONITOR" },
    OWN_QUERIES_OPTIONS,
    { 0 },
};

static const struct as_series_doc series[] = {
    { "connections", "sessions", "client sessions, ours included", AS_MERGE_SUM },
    { "connections_running", "sessions", "sessions running a statement, ours excluded", AS_MERGE_SUM },
    { "connections_max", "sessions", "slots for ordinary users; of several servers the smallest",
      AS_MERGE_MIN },
    { "connections_free", "sessions", "slots still free; of several servers the fewest", AS_MERGE_MIN },
    { "queries_per_second", "1/s", "statements of clients since the last poll, ours excluded", AS_MERGE_SUM },
    { "slow_queries_per_second", "1/s", "statements over long_query_time since the last poll", AS_MERGE_SUM },
    { "row_lock_waits", "waits", "InnoDB row locks waited for right now", AS_MERGE_SUM },
    { "buffer_pool_hit_ratio", "ratio",
      "InnoDB page reads answered from memory since the last poll; missing when there were none",
      AS_MERGE_MEAN },
    { "replication_lag_s", "s",
      "how far the slowest channel of a replica is behind; missing while one is stopped, and on a master",
      AS_MERGE_MAX },
    { "replication_stopped", "channels",
      "channels of a replica that do not run, 0 when all do; missing on a master", AS_MERGE_SUM },
    { "queries_failed", "queries", "own queries that gave no number in the last poll", AS_MERGE_SUM },
    { 0 },
};

static const char status_sql[] =
    "show global status where variable_name in ('Threads_connected', 'Threads_running', 'Questions',"
    " 'Slow_queries', 'Innodb_row_lock_current_waits', 'Innodb_buffer_pool_reads',"
    " 'Innodb_buffer_pool_read_requests', 'Uptime')";

static const char server_sql[] =
    "select @@global.max_connections as slots, concat(quote(substring_index(u.name, '@', 1)), '@',"
    " quote(substring_index(u.name, '@', -1))) as role from (select current_user() as name) u";

static int add(struct as_samples *out, const char *name, double value, double weight, struct as_error *err)
{
    return as_samples_add(out, "", name, value, weight, err);
}

/* --- the server itself ------------------------------------------------------------------------ */

/* The number of a status variable; false when the server does not have it. */
static bool status_value(const struct marialink_table *t, const char *name, double *out)
{
    for (unsigned r = 0; r < t->rows; r++) {
        const char *key = marialink_cell(t, r, "Variable_name");
        if (key && strcasecmp(key, name) == 0)
            return own_number_parse(marialink_cell(t, r, "Value"), out) && *out >= 0;
    }
    return false;
}

static int read_server(struct mariadb *m, as_time deadline, double *slots, struct as_error *err)
{
    struct marialink_table t = { 0 };
    int rc = marialink_query(&m->link, server_sql, deadline, &t, NULL, err);
    if (rc != AS_OK)
        return rc;
    const char *role = marialink_cell(&t, 0, "role");
    if (!own_number_parse(marialink_cell(&t, 0, "slots"), slots))
        rc = as_fail(err, AS_EPROTO, "the server's max_connections is not a number");
    snprintf(m->role, sizeof m->role, "%s", role ? role : "USER");
    marialink_table_fini(&t);
    return rc;
}

static int add_sessions(struct mariadb *m, struct as_samples *out, const struct marialink_table *t,
                        double slots, struct as_error *err)
{
    double total, running, waits;
    if (!status_value(t, "Threads_connected", &total) || !status_value(t, "Threads_running", &running))
        return as_fail(err, AS_EPROTO, "the server's count of sessions is not a number");
    int rc = add(out, "connections", total, 1, err);
    if (rc == AS_OK) /* the statement that asks runs, too */
        rc = add(out, "connections_running", fmax(0, running - 1), 1, err);
    if (rc == AS_OK)
        rc = add(out, "connections_max", slots, 1, err);
    m->free = fmax(0, slots - total); /* an administrator in the extra slot makes it negative */
    if (rc == AS_OK)
        rc = add(out, "connections_free", m->free, 1, err);
    if (rc == AS_OK && status_value(t, "Innodb_row_lock_current_waits", &waits))
        rc = add(out, "row_lock_waits", waits, 1, err);
    return rc;
}

/* After a restart the counters begin anew, and may well be past their old values by now. */
static void notice_restart(struct mariadb *m, const struct marialink_table *t, as_time now)
{
    double uptime;
    if (!status_value(t, "Uptime", &uptime))
        return;
    double started = (double)now - uptime * 1000;
    if (m->seen_start && started > m->started + RESTART_SLACK) {
        m->questions = m->slow = (struct as_counter){ 0 };
        m->seen_pool = false;
    }
    m->started = started;
    m->seen_start = true;
}

static int add_pool(struct mariadb *m, struct as_samples *out, const struct marialink_table *t,
                    struct as_error *err)
{
    double requests, reads;
    int rc = AS_OK;
    if (!status_value(t, "Innodb_buffer_pool_read_requests", &requests) ||
        !status_value(t, "Innodb_buffer_pool_reads", &reads))
        return AS_OK; /* a server without InnoDB */
    double asked = requests - m->requests, missed = reads - m->reads;
    if (m->seen_pool && asked > 0 && missed >= 0)
        rc = add(out, "buffer_pool_hit_ratio", fmax(0, 1 - missed / asked), asked, err);
    m->requests = requests;
    m->reads = reads;
    m->seen_pool = true;
    return rc;
}

/* What moved since the last poll; our own statements do not count as load. */
static int add_rates(struct mariadb *m, struct as_samples *out, const struct marialink_table *t,
                     uint64_t ours, struct as_error *err)
{
    as_time now = as_clock_monotonic();
    double value, rate;
    int rc = AS_OK;
    notice_restart(m, t, now);
    if (status_value(t, "Questions", &value) &&
        as_counter_rate(&m->questions, now, value - (double)ours, &rate))
        rc = add(out, "queries_per_second", rate, 1, err);
    if (rc == AS_OK && status_value(t, "Slow_queries", &value) &&
        as_counter_rate(&m->slow, now, value, &rate))
        rc = add(out, "slow_queries_per_second", rate, 1, err);
    return rc == AS_OK ? add_pool(m, out, t, err) : rc;
}

static int add_builtin(struct mariadb *m, as_time deadline, struct as_samples *out, struct as_error *err)
{
    struct marialink_table t = { 0 };
    double slots = 0;
    int rc = read_server(m, deadline, &slots, err);
    if (rc == AS_OK)
        rc = marialink_query(&m->link, status_sql, deadline, &t, NULL, err);
    if (rc == AS_OK)
        rc = add_sessions(m, out, &t, slots, err);
    if (rc == AS_OK)
        rc = add_rates(m, out, &t, m->link.statements, err);
    marialink_table_fini(&t);
    return rc;
}

/* --- replication ------------------------------------------------------------------------------ */

struct channels {
    unsigned stopped, first; /* first: row of the first stopped one */
    double lag;
};

static void channels_read(const struct marialink_table *t, struct channels *c)
{
    for (unsigned r = 0; r < t->rows; r++) {
        double lag;
        if (own_number_parse(marialink_cell(t, r, "Seconds_Behind_Master"), &lag))
            c->lag = fmax(c->lag, lag);
        else if (c->stopped++ == 0) /* NULL: it stands still, however far behind */
            c->first = r;
    }
}

static const char *text_or(const char *text, const char *otherwise)
{
    return text && *text ? text : otherwise;
}

/* The error texts of a channel may quote rows, so only their numbers are told. */
static void note_stopped(const struct marialink_table *t, unsigned r, struct as_error *note)
{
    const char *sql_error = text_or(marialink_cell(t, r, "Last_SQL_Errno"), "0");
    const char *io_error = text_or(marialink_cell(t, r, "Last_IO_Errno"), "0");
    as_fail(
        note, AS_EAGAIN,
        "replication%s%.40s does not run (IO thread: %.20s, error %.8s; SQL thread: %.20s, error %.8s), its "
        "lag is not known: look at SHOW ALL SLAVES STATUS",
        *text_or(marialink_cell(t, r, "Connection_name"), "") ? " " : "",
        text_or(marialink_cell(t, r, "Connection_name"), ""),
        text_or(marialink_cell(t, r, "Slave_IO_Running"), "?"), io_error,
        text_or(marialink_cell(t, r, "Slave_SQL_Running"), "?"), sql_error);
}

/* Trouble with it is a *note: the rest of the server is still seen. */
static int add_replication(struct mariadb *m, as_time deadline, struct as_samples *out, struct as_error *note)
{
    struct marialink_table t = { 0 };
    struct channels c = { 0 };
    struct as_error why = { 0 };
    if (!marialink_usable(&m->link))
        return AS_OK; /* a query of the operator took the time, and has said so */
    int rc = marialink_query(&m->link, "show all slaves status", deadline, &t, NULL, &why);
    if (rc == AS_ENOMEM)
        return as_fail(note, AS_ENOMEM, "%s", why.msg);
    m->refused = m->refused || rc == AS_EAUTH;
    if (rc == AS_EAUTH)
        as_fail(note, AS_EAUTH,
                "replication is not seen: GRANT SLAVE MONITOR ON *.* TO %s, or set replication = false",
                m->role);
    else if (rc != AS_OK)
        as_fail(note, (enum as_rc)rc, "replication is not seen: %s", why.msg);
    if (rc != AS_OK || t.rows == 0) { /* no rows: it is no replica */
        marialink_table_fini(&t);
        return AS_OK;
    }
    channels_read(&t, &c);
    if (c.stopped > 0)
        note_stopped(&t, c.first, note);
    rc = add(out, "replication_stopped", c.stopped, 1, note);
    if (rc == AS_OK && c.stopped == 0)
        rc = add(out, "replication_lag_s", c.lag, 1, note);
    marialink_table_fini(&t);
    return rc;
}

/* --- own queries ------------------------------------------------------------------------------ */

/* Without PROCESS a user sees its own session in the process list and nothing tells so. This small table of
 * InnoDB's is refused without it. */
static int check_process(struct mariadb *m, const char *sql, as_time deadline, struct as_error *why)
{
    struct marialink_table t = { 0 };
    if (!strcasestr(sql, NEEDS_PROCESS))
        return AS_OK;
    int rc =
        marialink_query(&m->link, "select 1 from information_schema.innodb_cmp", deadline, &t, NULL, why);
    marialink_table_fini(&t);
    m->refused = m->refused || rc == AS_EAUTH;
    if (rc == AS_EAUTH)
        return as_fail(why, AS_EAUTH, "it cannot see other sessions: GRANT PROCESS ON *.* TO %s", m->role);
    if (rc == AS_EPROTO)
        return AS_OK; /* a server without InnoDB */
    return rc;
}

/* Runs one query of the operator; the reason of a failure goes to *why. */
static int query_number(void *self, const char *sql, as_time deadline, double *value, struct as_error *why)
{
    struct mariadb *m = self;
    struct marialink_table t = { 0 };
    int rc = marialink_usable(&m->link) ? check_process(m, sql, deadline, why)
                                        : as_fail(why, AS_EAGAIN, "not run, no time or connection was left");
    if (rc != AS_OK)
        return rc;
    char *text = own_query_wrap(sql, "");
    rc = text ? marialink_query(&m->link, text, deadline, &t, NULL, why)
              : as_fail(why, AS_ENOMEM, "out of memory");
    free(text);
    if (rc == AS_OK)
        rc = own_query_result(t.rows == 1 && t.columns == 1 ? t.cells[0] : NULL, value, why);
    marialink_table_fini(&t);
    return rc;
}

/* --- the driver ------------------------------------------------------------------------------- */

/* Replication comes last: the server may let that one statement wait for a lock. A replica that does not run is
 * more urgent to know than a bad query, so its note replaces the other. */
static int mariadb_poll(void *self, as_time deadline, struct as_samples *out, struct as_error *err)
{
    struct mariadb *m = self;
    struct as_error why = { 0 }; /* with AS_OK: about a part */
    size_t before = out->count;
    m->refused = false;
    int rc = add_builtin(m, deadline, out, &why);
    if (rc == AS_OK)
        rc = own_queries_poll(&(struct own_queries){ m->settings, m, query_number }, deadline, out, &why);
    if (rc == AS_OK && as_settings_bool(m->settings, "replication"))
        rc = add_replication(m, deadline, out, &why);
    if (rc != AS_OK)
        out->count = before;
    if (m->refused && marialink_usable(&m->link) && m->free > SPARE_SLOTS)
        marialink_reset(&m->link); /* a GRANT in the meantime would hold for new sessions only */
    if (err && why.rc != AS_OK)
        *err = why;
    return rc;
}

static int mariadb_open(void *self, const struct as_settings *settings, const char *endpoint,
                        struct as_error *err)
{
    struct mariadb *m = self;
    struct as_error why = { 0 };
    struct marialink_login login = {
        .user = as_settings_str(settings, "user"),
        .password_file = as_settings_str(settings, "password_file"),
        .database = as_settings_str(settings, "database"),
        .tls_ca = as_settings_str(settings, "tls_ca"),
        .statement_timeout = as_settings_ms(settings, "statement_timeout"),
    };
    m->settings = settings;
    int rc = own_queries_check(settings, series, err);
    if (rc != AS_OK)
        return rc;
    if (marialink_init(&m->link, endpoint, &login, &why) != AS_OK)
        return as_settings_fail(settings, "address", err, "%s", why.msg);
    return AS_OK;
}

static void mariadb_close(void *self)
{
    struct mariadb *m = self;
    marialink_fini(&m->link);
}

const struct as_source_driver as_source_mariadb = {
    .name = "mariadb",
    .summary = "sessions, slots, statements and replication of MariaDB servers, and queries of your own",
    .options = options,
    .series = series,
    .user_series = "queries",
    .endpoints = "address",
    .state_size = sizeof(struct mariadb),
    .open = mariadb_open,
    .poll = mariadb_poll,
    .close = mariadb_close,
};
