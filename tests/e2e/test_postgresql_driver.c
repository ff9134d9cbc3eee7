/* The postgresql source against a real, private PostgreSQL: what it reports is compared with sessions this
 * test holds itself. Starts its own servers in a temporary directory, as a user that is not root, and
 * ends only those. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <libpq-fe.h>
#include <math.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "autoscale/source.h"
#include "server_kit.h"

extern const struct as_source_driver as_source_postgresql;

#define SECRET  "kept-secret-8d1f"
#define WRONG   "wrong-secret-77aa"
#define SLOTS   12    /* max_connections */
#define USABLE  9     /* without the three for superusers */
#define TIMEOUT 20000 /* ms, of a poll that shall succeed: the machine may be busy         */
#define LATE    15000 /* ms: so late may a deadline be kept there; without one nothing ended */

struct server {
    char dir[200];
    int port;
    pid_t pid;
};

static char root[64], bin[200], secret_file[128], wrong_file[128];
static struct server primary, standby;

/* --- processes -------------------------------------------------------------------------------- */

static void become_server_user(void)
{
    const struct passwd *pw = getpwnam("postgres");
    if (!pw)
        pw = getpwnam("nobody");
    if (geteuid() == 0 && (!pw || setgid(pw->pw_gid) != 0 || setuid(pw->pw_uid) != 0))
        _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGQUIT); /* after setuid, which clears it */
}

static pid_t start_command(const char *log, const char *const argv[])
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int in = open("/dev/null", O_RDONLY), out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0666);
        if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
            _exit(126);
        become_server_user();
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    return pid;
}

static void run_command(const char *const argv[])
{
    char log[128];
    int status;
    snprintf(log, sizeof log, "%s/commands.log", root);
    pid_t pid = start_command(log, argv);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("%s failed: %s", argv[0], end_of(log));
}

static const char *tool(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", bin, name);
    return path;
}

/* Calls `ready` every 20 ms until it is true; false after a minute. */
static bool wait_until(bool (*ready)(void *), void *arg)
{
    as_time end = as_clock_monotonic() + AS_MINUTE;
    do {
        if (ready(arg))
            return true;
        usleep(20000);
    } while (as_clock_monotonic() < end);
    return false;
}

/* --- servers ---------------------------------------------------------------------------------- */

static PGconn *session(const struct server *s, const char *role)
{
    char info[400];
    snprintf(info, sizeof info, "host=%s port=%d user=%s dbname=postgres connect_timeout=60", s->dir, s->port,
             role);
    return PQconnectdb(info);
}

static bool server_answers(void *arg)
{
    PGconn *c = session(arg, "postgres");
    bool ok = PQstatus(c) == CONNECTION_OK;
    PQfinish(c);
    return ok;
}

static void server_start(struct server *s)
{
    char data[256], log[256], port[16], slots[40];
    snprintf(data, sizeof data, "%s/data", s->dir);
    snprintf(log, sizeof log, "%s/server.log", s->dir);
    snprintf(port, sizeof port, "%d", s->port);
    snprintf(slots, sizeof slots, "max_connections=%d", SLOTS);
    const char *const argv[] = { tool("postgres"),
                                 "-D",
                                 data,
                                 "-p",
                                 port,
                                 "-k",
                                 s->dir,
                                 "-c",
                                 slots,
                                 "-c",
                                 "fsync=off",
                                 "-c",
                                 "shared_buffers=8MB",
                                 "-c",
                                 "wal_level=replica",
                                 NULL };
    s->pid = start_command(log, argv);
    if (!wait_until(server_answers, s))
        fail_msg("PostgreSQL does not answer: %s", end_of(log));
}

static void server_stop(struct server *s, int sig)
{
    if (s->pid <= 0)
        return;
    kill(s->pid, sig);
    kill(s->pid, SIGCONT);
    waitpid(s->pid, NULL, 0);
    s->pid = 0;
}

static char *sql(const struct server *s, const char *text) /* first value, owned by the caller */
{
    PGconn *c = session(s, "postgres");
    PGresult *r = PQexec(c, text);
    if (PQresultStatus(r) != PGRES_TUPLES_OK && PQresultStatus(r) != PGRES_COMMAND_OK)
        fail_msg("%s: %s", text, PQerrorMessage(c));
    char *value = strdup(PQntuples(r) > 0 ? PQgetvalue(r, 0, 0) : "");
    PQclear(r);
    PQfinish(c);
    return value;
}

static void run_sql(const struct server *s, const char *text)
{
    free(sql(s, text));
}

static bool sql_is_true(void *text)
{
    char *value = sql(&primary, text);
    bool yes = strcmp(value, "t") == 0;
    free(value);
    return yes;
}

static void end_sessions(PGconn **held, int n)
{
    for (int i = 0; i < n; i++)
        PQfinish(held[i]);
    run_sql(&primary, "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() "
                      "and backend_type = 'client backend'");
    assert_true(wait_until(
        sql_is_true, "select count(*) = 1 from pg_stat_activity where backend_type = 'client backend'"));
}

/* --- the driver under test -------------------------------------------------------------------- */

struct probe {
    struct as_settings *settings;
    void *self;
    struct as_samples samples;
    struct as_error err;
    as_time took;
};

static void probe_open(struct probe *p, const char *text)
{
    memset(p, 0, sizeof *p);
    if (as_settings_parse(as_source_postgresql.options, text, &p->settings, &p->err) != AS_OK)
        fail_msg("settings: %s", p->err.msg);
    p->self = calloc(1, as_source_postgresql.state_size);
    assert_non_null(p->self);
    if (as_source_postgresql.open(p->self, p->settings, as_settings_item(p->settings, "conninfo", 0),
                                  &p->err) != AS_OK)
        fail_msg("open: %s", p->err.msg);
}

static void probe_role(struct probe *p, const struct server *s, const char *role, const char *file,
                       const char *more)
{
    char text[3000];
    snprintf(text, sizeof text, "conninfo = \"host=127.0.0.1 port=%d user=%s dbname=postgres\";\n", s->port,
             role);
    if (file)
        snprintf(text + strlen(text), sizeof text - strlen(text), "password_file = \"%s\";\n", file);
    snprintf(text + strlen(text), sizeof text - strlen(text), "%s", more);
    probe_open(p, text);
}

static void probe_mon(struct probe *p, const char *more)
{
    probe_role(p, &primary, "mon", secret_file, more);
}

static int probe_poll_within(struct probe *p, as_time span)
{
    as_samples_fini(&p->samples);
    memset(&p->err, 0, sizeof p->err);
    as_time began = as_clock_monotonic();
    int rc = as_source_postgresql.poll(p->self, began + span, &p->samples, &p->err);
    p->took = as_clock_monotonic() - began;
    if (rc != AS_OK) {
        assert_int_equal(p->err.rc, rc);
        assert_int_equal(p->samples.count, 0);
    }
    assert_null(strstr(p->err.msg, SECRET));
    assert_null(strstr(p->err.msg, WRONG));
    return rc;
}

static int probe_poll(struct probe *p)
{
    return probe_poll_within(p, TIMEOUT);
}

static void probe_ok(struct probe *p)
{
    if (probe_poll(p) != AS_OK)
        fail_msg("poll: %s", p->err.msg);
}

static void probe_close(struct probe *p)
{
    as_source_postgresql.close(p->self);
    free(p->self);
    as_samples_fini(&p->samples);
    as_settings_free(p->settings);
}

static double value(const struct probe *p, const char *series) /* NAN: missing */
{
    for (size_t i = 0; i < p->samples.count; i++)
        if (strcmp(p->samples.items[i].series, series) == 0)
            return p->samples.items[i].value;
    return NAN;
}

static void assert_value(const struct probe *p, const char *series, double want)
{
    double got = value(p, series);
    if (isnan(want) ? !isnan(got) : !(fabs(got - want) < 1e-9))
        fail_msg("%s is %g, not %g", series, got, want);
}

static void assert_text(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("no '%s' in '%s'", part, text);
}

struct expected {
    struct probe *p;
    const char *series;
    double want;
};

static bool has_value(void *arg)
{
    struct expected *e = arg;
    probe_ok(e->p);
    return fabs(value(e->p, e->series) - e->want) < 1e-9;
}

/* Polls until the series has the value: a session that was ended counts until its process is gone. */
static void wait_value(struct probe *p, const char *series, double want)
{
    if (!wait_until(has_value, &(struct expected){ p, series, want }))
        assert_value(p, series, want);
}

/* --- tests ------------------------------------------------------------------------------------ */

static bool sees_a_lock_wait(void *arg)
{
    struct probe *p = arg;
    probe_ok(p);
    return value(p, "connections_waiting_on_lock") > 0 && value(p, "connections_active") > 1;
}

static void sessions_are_counted_by_what_they_do(void **state)
{
    (void)state;
    struct probe p;
    PGconn *held[4];
    for (int i = 0; i < 4; i++)
        held[i] = session(&primary, "app");
    PQclear(PQexec(held[0], "begin; lock table t in access exclusive mode"));
    assert_true(PQsendQuery(held[1], "select * from t"));
    assert_true(PQsendQuery(held[2], "select pg_sleep(60)"));
    probe_mon(&p, "");
    assert_true(wait_until(sees_a_lock_wait, &p));
    wait_value(&p, "connections", 5); /* four and ours */
    assert_value(&p, "connections_active", 2);
    assert_value(&p, "connections_idle_in_transaction", 1);
    assert_value(&p, "connections_waiting_on_lock", 1);
    assert_value(&p, "connections_max", USABLE);
    assert_value(&p, "connections_free", USABLE - 5);
    assert_true(value(&p, "oldest_transaction_s") > 0 && value(&p, "oldest_transaction_s") < 300);
    assert_value(&p, "replication_lag_bytes", NAN); /* no standby: missing, not zero */
    assert_value(&p, "queries_failed", NAN);
    end_sessions(held, 4);
    probe_ok(&p);
    wait_value(&p, "connections", 1);
    assert_value(&p, "connections_active", 0);
    assert_value(&p, "oldest_transaction_s", 0);
    probe_close(&p);
}

static bool sees_transactions(void *arg)
{
    struct probe *p = arg;
    probe_ok(p);
    return value(p, "transactions_per_second") > 2; /* 300 since the poll before, or none */
}

static void rates_need_two_polls_and_show_the_interval(void **state)
{
    (void)state;
    struct probe p;
    probe_mon(&p, "");
    probe_ok(&p);
    assert_value(&p, "transactions_per_second", NAN);
    assert_value(&p, "cache_hit_ratio", NAN);
    PGconn *c = session(&primary, "app");
    for (int i = 0; i < 300; i++)
        PQclear(PQexec(c, "select count(*) from pg_class"));
    PQfinish(c); /* a session's counts are published when it ends, at the latest */
    assert_true(wait_until(sees_transactions, &p));
    assert_true(value(&p, "cache_hit_ratio") > 0.5 && value(&p, "cache_hit_ratio") <= 1);
    run_sql(&primary, "select pg_stat_reset()");
    probe_ok(&p);
    assert_value(&p, "transactions_per_second", NAN); /* a reset is no rate */
    probe_close(&p);
}

static void role_without_pg_monitor_is_an_error_and_not_an_idle_database(void **state)
{
    (void)state;
    struct probe p;
    probe_role(&p, &primary, "blind", secret_file, "");
    assert_int_equal(probe_poll(&p), AS_EAUTH);
    assert_string_equal(p.err.msg, "role 'blind' cannot see other sessions: GRANT pg_monitor TO blind");
    run_sql(&primary, "grant pg_monitor to blind; alter role blind noinherit");
    assert_int_equal(probe_poll(&p), AS_EAUTH);
    assert_string_equal(p.err.msg, "role 'blind' does not inherit pg_monitor: ALTER ROLE blind INHERIT");
    run_sql(&primary, "alter role blind inherit");
    probe_ok(&p);
    wait_value(&p, "connections", 1);
    run_sql(&primary, "revoke pg_monitor from blind");
    probe_close(&p);
}

static void superuser_needs_no_grant(void **state)
{
    (void)state;
    struct probe p;
    char text[300];
    snprintf(text, sizeof text, "conninfo = \"host=%s port=%d user=postgres dbname=postgres\"", primary.dir,
             primary.port);
    probe_open(&p, text);
    probe_ok(&p);
    wait_value(&p, "connections", 1);
    probe_close(&p);
}

static void refusals_say_what_to_do_and_hold_no_secret(void **state)
{
    (void)state;
    struct probe p;
    probe_role(&p, &primary, "mon", wrong_file, "");
    assert_int_equal(probe_poll(&p), AS_EAUTH);
    assert_string_equal(p.err.msg, "the server refuses us: password authentication failed for user \"mon\"");
    probe_close(&p);
    probe_role(&p, &primary, "mon", NULL, "");
    assert_int_equal(probe_poll(&p), AS_EAUTH);
    assert_string_equal(p.err.msg, "the server asks for a password and there is none: set password_file");
    probe_close(&p);
    char text[400];
    snprintf(text, sizeof text,
             "conninfo = \"host=127.0.0.1 port=%d user=mon dbname=shop\"; password_file = \"%s\"",
             primary.port, secret_file);
    probe_open(&p, text);
    assert_int_equal(probe_poll(&p), AS_EINVAL);
    assert_string_equal(p.err.msg, "database \"shop\" does not exist: correct dbname in conninfo");
    probe_close(&p);
    probe_open(&p, "conninfo = \"host=127.0.0.1 port=1 user=mon\"");
    assert_int_equal(probe_poll(&p), AS_EAGAIN);
    assert_text(p.err.msg, "Connection refused");
    probe_close(&p);
    probe_open(&p, "conninfo = \"host=db.invalid user=mon\"");
    assert_int_equal(probe_poll_within(&p, 2000), AS_EAGAIN);
    assert_text(p.err.msg, "db.invalid");
    assert_true(p.took <= LATE);
    probe_close(&p);
}

static void host_names_are_resolved(void **state)
{
    (void)state;
    struct probe p;
    char text[400];
    snprintf(text, sizeof text,
             "conninfo = \"host=localhost port=%d user=mon dbname=postgres\"; password_file = \"%s\"",
             primary.port, secret_file);
    probe_open(&p, text);
    probe_ok(&p);
    probe_close(&p);
}

static void open_refuses(const char *text, const char *want)
{
    struct as_settings *s = NULL;
    struct as_error err = { 0 };
    void *self = calloc(1, as_source_postgresql.state_size);
    assert_non_null(self);
    assert_int_equal(as_settings_parse(as_source_postgresql.options, text, &s, &err), AS_OK);
    assert_int_equal(as_source_postgresql.open(self, s, as_settings_item(s, "conninfo", 0), &err), AS_EINVAL);
    assert_text(err.msg, want);
    assert_null(strstr(err.msg, SECRET));
    as_source_postgresql.close(self);
    free(self);
    as_settings_free(s);
}

static void inline_secrets_and_bad_settings_are_refused_offline(void **state)
{
    (void)state;
    open_refuses("conninfo = \"host=db1 password=" SECRET "\"", "use password_file");
    open_refuses("conninfo = \"postgresql://mon:" SECRET "@db1/shop\"", "use password_file");
    open_refuses("conninfo = \"host=db1 sslpassword=" SECRET "\"", "'sslpassword' is a secret");
    open_refuses("conninfo = \"host=db1 password=a " SECRET "\"", "not a connection string");
    open_refuses("conninfo = \"host=db1 " SECRET "=1\"", "not a connection string");
    open_refuses("conninfo = \"host=db1\"; queries = { connections = \"select 1\"; }",
                 "'connections' is a series");
    open_refuses("conninfo = \"host=db1\"; queries = { orders = \" ; \"; }", "'orders' is empty");
}

static bool slots_are_full(void *arg)
{
    struct probe *p = arg;
    probe_ok(p);
    return value(p, "connections_free") < 0.5;
}

static void saturated_server_is_seen_over_the_kept_connection(void **state)
{
    (void)state;
    struct probe p, late;
    PGconn *held[USABLE - 1];
    probe_mon(&p, "");
    probe_ok(&p);
    for (int i = 0; i < USABLE - 1; i++)
        held[i] = session(&primary, "app");
    assert_true(wait_until(slots_are_full, &p));
    wait_value(&p, "connections", USABLE);
    assert_value(&p, "connections_free", 0);
    probe_mon(&late, "");
    assert_int_equal(probe_poll(&late), AS_EAGAIN);
    assert_text(late.err.msg, "too many clients, the server has no connection slot left for us");
    probe_ok(&p);
    probe_close(&late);
    probe_close(&p);
    end_sessions(held, USABLE - 1);
}

static pid_t backend_of(const char *role)
{
    char text[200];
    snprintf(text, sizeof text, "select pid from pg_stat_activity where usename = '%s'", role);
    char *pid = sql(&primary, text);
    pid_t n = atoi(pid);
    free(pid);
    return n;
}

static void hung_server_costs_the_deadline_and_no_more(void **state)
{
    (void)state;
    struct probe p, fresh;
    probe_mon(&p, "");
    probe_ok(&p);
    pid_t backend = backend_of("mon");
    assert_true(backend > 0);
    hang_process(backend);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(probe_poll_within(&p, 300), AS_EAGAIN);
        assert_text(p.err.msg, "no answer within ");
        assert_in_range(p.took, 299, LATE);
    }
    kill(backend, SIGCONT);
    probe_ok(&p);
    assert_int_equal(backend_of("mon"), backend); /* the connection was kept */
    probe_mon(&fresh, "");
    hang_process(primary.pid);
    assert_int_equal(probe_poll_within(&fresh, 300), AS_EAGAIN);
    assert_text(fresh.err.msg, "no connection within ");
    assert_in_range(fresh.took, 299, LATE);
    kill(primary.pid, SIGCONT);
    probe_ok(&fresh);
    probe_close(&fresh);
    probe_close(&p);
}

static void stopped_server_is_an_error_and_a_restarted_one_heals(void **state)
{
    (void)state;
    struct probe p;
    probe_mon(&p, "");
    probe_ok(&p);
    server_stop(&primary, SIGINT);
    assert_int_equal(probe_poll(&p), AS_EAGAIN);
    assert_text(p.err.msg, "Connection refused");
    server_start(&primary);
    probe_ok(&p);
    server_stop(&primary, SIGQUIT); /* between two polls: nobody notices */
    server_start(&primary);
    probe_ok(&p);
    wait_value(&p, "connections", 1);
    probe_close(&p);
}

static void own_queries_give_series_and_a_bad_one_blinds_nothing(void **state)
{
    (void)state;
    struct probe p;
    probe_mon(&p, "statement_timeout = \"5s\"; queries = {\n"
                  "good = \"select 42.5\"; big = \"select 9007199254740991\"; semicolon = \"select 7;\";\n"
                  "typo = \"selekt 1\"; nothing = \"select null\"; none = \"select 1 where false\";\n"
                  "two = \"select generate_series(1,2)\"; wide = \"select 1, 2\"; text = \"select 'x'\";\n"
                  "nan = \"select 'NaN'::float8\"; huge = \"select repeat('9', 1000)\";  copy = \"copy "
                  "(select 1) to stdout\"; last = \"select 1\"; }");
    probe_ok(&p);
    wait_value(&p, "connections", 1);
    assert_value(&p, "good", 42.5);
    assert_value(&p, "big", 9007199254740991.0);
    assert_value(&p, "semicolon", 7);
    const char *const bad[] = { "typo", "nothing", "none", "two", "wide", "text", "nan", "huge", "copy" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_value(&p, bad[i], NAN);
    assert_value(&p, "last", 1);
    assert_value(&p, "queries_failed", 9);
    assert_string_equal(p.err.msg, "query 'typo': syntax error at or near \"1\" (SQLSTATE 42601)");
    probe_ok(&p);
    probe_close(&p);
}

static void expect_query_fault(const char *query, const char *timeout, const char *want)
{
    struct probe p;
    char more[400];
    snprintf(more, sizeof more, "statement_timeout = \"%s\"; queries = { q = \"%s\"; good = \"select 1\"; }",
             timeout, query);
    probe_mon(&p, more);
    probe_ok(&p);
    wait_value(&p, "connections", 1);
    assert_value(&p, "q", NAN);
    assert_text(p.err.msg, want);
    assert_true(p.took < LATE); /* the one that runs away would take 20 s */
    probe_close(&p);
}

static void own_queries_cannot_write_or_run_away(void **state)
{
    (void)state;
    expect_query_fault("create table owned (a int)", "5s", "syntax error");
    expect_query_fault("select spoil()", "5s", "cannot execute INSERT in a read-only transaction");
    expect_query_fault("select 1; select 2", "5s", "syntax error");
    expect_query_fault("select pg_sleep(20)", "1s", "statement timeout (statement_timeout)");
    expect_query_fault("select repeat('x', 4000000)", "5s", "it gives 'xxx");
    expect_query_fault("select repeat('x', 1000) from generate_series(1, 4000)", "5s", "more than one row");
    expect_query_fault("select a from hidden", "5s", "permission denied for table hidden");
    expect_query_fault("select null", "5s", "query 'q': it gives no row or NULL");
}

/* --- replication ------------------------------------------------------------------------------ */

static void standby_start(void)
{
    char data[256], port[16];
    snprintf(data, sizeof data, "%s/data", standby.dir);
    snprintf(port, sizeof port, "%d", primary.port);
    const char *const argv[] = { tool("pg_basebackup"),
                                 "-D",
                                 data,
                                 "-h",
                                 primary.dir,
                                 "-p",
                                 port,
                                 "-U",
                                 "postgres",
                                 "-R",
                                 "-c",
                                 "fast",
                                 "-N",
                                 NULL };
    run_command(argv);
    server_start(&standby);
}

struct lag_watch {
    struct probe *p;
    bool zero; /* wait for zero, else for at least 50 kB */
};

static bool lag_is(void *arg)
{
    struct lag_watch *w = arg;
    probe_ok(w->p);
    double lag = value(w->p, "replication_lag_bytes");
    return w->zero ? lag < 0.5 : lag >= 50000;
}

static bool lag_is_unknown(void *arg)
{
    probe_ok(arg);
    return isnan(value(arg, "replication_lag_bytes"));
}

static void replication_lag_is_the_bytes_not_replayed(void **state)
{
    (void)state;
    struct probe p, s;
    standby_start();
    assert_true(
        wait_until(sql_is_true, "select count(*) = 1 from pg_stat_replication where state = 'streaming'"));
    probe_mon(&p, "");
    probe_role(&s, &standby, "mon", secret_file, "");
    assert_true(wait_until(lag_is, &(struct lag_watch){ &p, true }));
    assert_true(wait_until(lag_is, &(struct lag_watch){ &s, true }));
    run_sql(&standby, "select pg_wal_replay_pause()");
    run_sql(&primary, "insert into t select generate_series(1, 3000)");
    assert_true(wait_until(lag_is, &(struct lag_watch){ &p, false }));
    assert_true(wait_until(lag_is, &(struct lag_watch){ &s, false }));
    run_sql(&standby, "select pg_wal_replay_resume()");
    assert_true(wait_until(lag_is, &(struct lag_watch){ &p, true }));
    server_stop(&primary, SIGINT); /* a standby that does not stream does not know its lag */
    assert_true(wait_until(lag_is_unknown, &s));
    server_start(&primary);
    server_stop(&standby, SIGQUIT);
    probe_close(&s);
    probe_close(&p);
}

/* --- set-up ----------------------------------------------------------------------------------- */

static void write_file(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void server_place(struct server *s, const char *name)
{
    const struct passwd *pw = getpwnam("postgres");
    snprintf(s->dir, sizeof s->dir, "%s/%s", root, name);
    s->port = free_port();
    assert_int_equal(mkdir(s->dir, 0700), 0);
    if (!pw)
        pw = getpwnam("nobody");
    if (geteuid() == 0)
        assert_int_equal(chown(s->dir, pw->pw_uid, pw->pw_gid), 0);
}

static void primary_init(void)
{
    char data[256];
    server_place(&primary, "primary");
    server_place(&standby, "standby");
    snprintf(data, sizeof data, "%s/data", primary.dir);
    const char *const argv[] = { tool("initdb"),
                                 "-D",
                                 data,
                                 "-U",
                                 "postgres",
                                 "-N",
                                 "--locale=C",
                                 "--auth-local=trust",
                                 "--auth-host=scram-sha-256",
                                 NULL };
    run_command(argv);
    server_start(&primary);
    run_sql(&primary,
            "create role mon login password '" SECRET "'; grant pg_monitor to mon;"
            "create role blind login password '" SECRET "'; create role app login superuser;"
            "alter role app nosuperuser; create table t (a int); create table hidden (a int);"
            "grant all on t to app; grant insert on t to mon;"
            "create function spoil() returns int language sql as 'insert into t values (1) returning a'");
}

static int group_setup(void **state)
{
    (void)state;
    glob_t found;
    if (glob("/usr/lib/postgresql/*/bin/postgres", 0, NULL, &found) != 0) {
        fprintf(stderr, "no PostgreSQL server here: apt-get install postgresql\n");
        return -1;
    }
    snprintf(bin, sizeof bin, "%s", found.gl_pathv[found.gl_pathc - 1]);
    *strrchr(bin, '/') = '\0';
    globfree(&found);
    snprintf(root, sizeof root, "/tmp/autoscale-pg.XXXXXX");
    if (!mkdtemp(root) || chmod(root, 0711) != 0)
        return -1;
    char log[128];
    snprintf(log, sizeof log, "%s/commands.log", root);
    write_file(log, "", 0644);
    snprintf(secret_file, sizeof secret_file, "%s/secret", root);
    snprintf(wrong_file, sizeof wrong_file, "%s/wrong", root);
    write_file(secret_file, SECRET "\n", 0600);
    write_file(wrong_file, WRONG "\n", 0600);
    primary_init();
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    server_stop(&standby, SIGQUIT);
    server_stop(&primary, SIGQUIT);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/rm", "rm", "-rf", "--", root, (char *)NULL);
        _exit(127);
    }
    return pid > 0 && waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

static int quiet(void **state)
{
    (void)state;
    end_sessions(NULL, 0);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(sessions_are_counted_by_what_they_do, quiet),
        cmocka_unit_test_setup(rates_need_two_polls_and_show_the_interval, quiet),
        cmocka_unit_test_setup(role_without_pg_monitor_is_an_error_and_not_an_idle_database, quiet),
        cmocka_unit_test_setup(superuser_needs_no_grant, quiet),
        cmocka_unit_test_setup(refusals_say_what_to_do_and_hold_no_secret, quiet),
        cmocka_unit_test_setup(host_names_are_resolved, quiet),
        cmocka_unit_test_setup(inline_secrets_and_bad_settings_are_refused_offline, quiet),
        cmocka_unit_test_setup(saturated_server_is_seen_over_the_kept_connection, quiet),
        cmocka_unit_test_setup(hung_server_costs_the_deadline_and_no_more, quiet),
        cmocka_unit_test_setup(stopped_server_is_an_error_and_a_restarted_one_heals, quiet),
        cmocka_unit_test_setup(own_queries_give_series_and_a_bad_one_blinds_nothing, quiet),
        cmocka_unit_test_setup(own_queries_cannot_write_or_run_away, quiet),
        cmocka_unit_test_setup(replication_lag_is_the_bytes_not_replayed, quiet),
    };
    return cmocka_run_group_tests_name("postgresql_driver", tests, group_setup, group_teardown);
}
