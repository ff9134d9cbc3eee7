/* The mariadb source against real, private MariaDB servers: what it reports is compared with sessions, locks and
 * replication this test makes itself. Starts its own servers in a temporary directory, as a user that is
 * not root, and ends only those. */
#include <mysql.h>

#include "source_kit.h"

extern const struct as_source_driver as_source_mariadb;

#define SLOTS 12 /* max_connections */

struct server {
    char dir[128];
    int port, id;
    pid_t pid;
};

static struct server primary = { .id = 1 }, replica = { .id = 2 };
static char cert_file[128], key_file[128], other_file[128];

/* --- servers ---------------------------------------------------------------------------------- */

static void run_command(const char *user, const char *const argv[])
{
    char log[128];
    int status = 0;
    snprintf(log, sizeof log, "%s/commands.log", root);
    pid_t pid = start_command(user, log, argv);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("%s failed: %s", argv[0], end_of(log));
}

/* A session over the socket, or NULL; root of these servers has no password. */
static MYSQL *session_try(const struct server *s, const char *user)
{
    char path[160];
    MYSQL *m = mysql_init(NULL);
    assert_non_null(m);
    snprintf(path, sizeof path, "%s/db.sock", s->dir);
    if (mysql_real_connect(m, NULL, user, NULL, NULL, 0, path, 0))
        return m;
    mysql_close(m);
    return NULL;
}

static MYSQL *session(const struct server *s, const char *user)
{
    MYSQL *m = session_try(s, user);
    if (!m)
        fail_msg("no session of %s", user);
    return m;
}

static void say(MYSQL *m, const char *sql)
{
    if (mysql_query(m, sql) != 0)
        fail_msg("%s: %s", sql, mysql_error(m));
    MYSQL_RES *r = mysql_store_result(m);
    if (r)
        mysql_free_result(r);
}

static void run_sql(const struct server *s, const char *sql)
{
    MYSQL *m = session(s, "root");
    say(m, sql);
    mysql_close(m);
}

static bool server_answers(void *arg)
{
    MYSQL *m = session_try(arg, "root");
    if (m)
        mysql_close(m);
    return m != NULL;
}

static void server_start(struct server *s)
{
    char arg[12][200], log[160];
    const char *argv[24] = { "mariadbd", "--no-defaults" };
    int n = 2, a = 0;
    snprintf(log, sizeof log, "%s/server.log", s->dir);
    snprintf(arg[a++], sizeof *arg, "--datadir=%s/data", s->dir);
    /* one that starts removes the temporary tables of all others in its directory for them */
    snprintf(arg[a++], sizeof *arg, "--tmpdir=%s", s->dir);
    snprintf(arg[a++], sizeof *arg, "--socket=%s/db.sock", s->dir);
    snprintf(arg[a++], sizeof *arg, "--pid-file=%s/db.pid", s->dir);
    snprintf(arg[a++], sizeof *arg, "--port=%d", s->port);
    snprintf(arg[a++], sizeof *arg, "--server-id=%d", s->id);
    snprintf(arg[a++], sizeof *arg, "--max-connections=%d", SLOTS);
    snprintf(arg[a++], sizeof *arg, "--ssl-cert=%s", cert_file);
    snprintf(arg[a++], sizeof *arg, "--ssl-key=%s", key_file);
    for (int i = 0; i < a; i++)
        argv[n++] = arg[i];
    static const char *const fixed[] = { "--bind-address=127.0.0.1",
                                         "--log-bin=bin",
                                         "--innodb-buffer-pool-size=8M",
                                         "--innodb-log-file-size=8M",
                                         "--innodb-flush-log-at-trx-commit=0",
                                         "--sync-binlog=0",
                                         "--skip-name-resolve",
                                         "--slave-net-timeout=5",
                                         "--log-bin-trust-function-creators=1" };
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        argv[n++] = fixed[i];
    s->pid = start_command("mysql", log, argv);
    if (!wait_until(server_answers, s))
        fail_msg("MariaDB does not answer: %s", end_of(log));
}

/* --- the driver under test -------------------------------------------------------------------- */

static void probe_user(struct probe *p, const struct server *s, const char *user, const char *file,
                       const char *more)
{
    char text[3000];
    snprintf(text, sizeof text, "address = \"127.0.0.1:%d\"; user = \"%s\";\n%s%s%s\n%s", s->port, user,
             file ? "password_file = \"" : "", file ? file : "", file ? "\";" : "", more);
    probe_open(p, &as_source_mariadb, text);
}

static void probe_mon(struct probe *p, const char *more)
{
    probe_user(p, &primary, "mon", secret_file, more);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void send_only(MYSQL *m, const char *sql)
{
    assert_int_equal(mysql_send_query(m, sql, strlen(sql)), 0);
}

static void sessions_are_counted_by_what_they_do(void **state)
{
    (void)state;
    struct probe p;
    MYSQL *held[4];
    for (int i = 0; i < 4; i++)
        held[i] = session(&primary, "app");
    say(held[0], "begin");
    say(held[0], "update shop.t set a = a + 1 where id = 1");
    send_only(held[1], "update shop.t set a = a + 1 where id = 1");
    send_only(held[2], "select sleep(300)");
    probe_mon(&p, "");
    wait_value(&p, "row_lock_waits", 1);
    wait_value(&p, "connections_running", 2); /* without ours */
    wait_value(&p, "connections", 5);         /* four and ours */
    assert_value(&p, "connections_max", SLOTS);
    assert_value(&p, "connections_free", SLOTS - 5);
    assert_value(&p, "replication_lag_s", NAN); /* no replica: missing, not zero */
    assert_value(&p, "replication_stopped", NAN);
    assert_value(&p, "queries_failed", NAN);
    assert_string_equal(p.err.msg, "");
    say(held[0], "rollback");
    wait_value(&p, "row_lock_waits", 0);
    char kill_it[64];
    snprintf(kill_it, sizeof kill_it, "kill %lu", mysql_thread_id(held[2]));
    run_sql(&primary, kill_it);
    for (int i = 0; i < 4; i++)
        mysql_close(held[i]);
    wait_value(&p, "connections", 1);
    wait_value(&p, "connections_running", 0);
    probe_close(&p);
}

static void rates_need_two_polls_and_leave_our_own_statements_out(void **state)
{
    (void)state;
    struct probe p;
    MYSQL *m = session(&primary, "app");
    say(m, "set long_query_time = 0.000001");
    say(m, "set slow_query_log = 1");
    probe_mon(&p, "");
    probe_ok(&p);
    assert_value(&p, "queries_per_second", NAN);
    assert_value(&p, "slow_queries_per_second", NAN);
    assert_value(&p, "buffer_pool_hit_ratio", NAN);
    as_time began = as_clock_monotonic();
    for (int i = 0; i < 200; i++)
        say(m, "select count(*) from shop.t");
    usleep(20000); /* at least this long lies between the polls */
    probe_ok(&p);
    double seconds = (double)(as_clock_monotonic() - began) / 1000;
    assert_true(value(&p, "queries_per_second") >= 200 / (seconds + 0.5));
    assert_true(value(&p, "queries_per_second") <= 200 / 0.02 + 1);
    assert_true(value(&p, "slow_queries_per_second") >= 200 / (seconds + 0.5));
    assert_true(value(&p, "buffer_pool_hit_ratio") > 0.5 && value(&p, "buffer_pool_hit_ratio") <= 1);
    mysql_close(m);
    wait_value(&p, "connections", 1);
    wait_value(&p, "queries_per_second", 0); /* idle but for us */
    assert_value(&p, "slow_queries_per_second", 0);
    probe_close(&p);
}

static void missing_privileges_are_told_apart_from_idle(void **state)
{
    (void)state;
    struct probe p;
    const char *const processes =
        "queries = { seen = \"select count(*) from information_schema.processlist\"; }";
    MYSQL *m = session(&primary, "app");
    probe_user(&p, &primary, "blind", secret_file, "");
    wait_value(&p, "connections", 2); /* this needs none */
    assert_value(&p, "replication_lag_s", NAN);
    assert_int_equal(p.err.rc, AS_EAUTH);
    assert_string_equal(p.err.msg,
                        "replication is not seen: GRANT SLAVE MONITOR ON *.* TO 'blind'@'%', or set "
                        "replication = false");
    probe_close(&p);
    probe_user(&p, &primary, "blind", secret_file, "replication = false;");
    probe_ok(&p);
    assert_string_equal(p.err.msg, "");
    probe_close(&p);
    char more[300];
    snprintf(more, sizeof more, "replication = false; %s", processes);
    probe_user(&p, &primary, "blind", secret_file, more);
    probe_ok(&p);
    assert_value(&p, "seen", NAN); /* it would see itself only */
    assert_value(&p, "queries_failed", 1);
    assert_string_equal(p.err.msg,
                        "query 'seen': it cannot see other sessions: GRANT PROCESS ON *.* TO 'blind'@'%'");
    probe_close(&p);
    probe_user(&p, &primary, "blind", secret_file, processes);
    probe_ok(&p);
    assert_value(&p, "seen", NAN);
    run_sql(&primary, "grant process, slave monitor on *.* to blind");
    wait_range(&p, "seen", 2, SLOTS); /* a session made before the GRANT would never see more */
    assert_string_equal(p.err.msg, "");
    run_sql(&primary, "revoke process, slave monitor on *.* from blind");
    probe_close(&p);
    mysql_close(m);
}

static void expect_failure(struct probe *p, int rc, const char *want)
{
    int got = probe_poll(p);
    if (got != rc)
        fail_msg("%s instead of %s: %s", as_rc_name((enum as_rc)got), as_rc_name((enum as_rc)rc), p->err.msg);
    assert_text(p->err.msg, want);
    probe_close(p);
}

static void refusals_say_what_to_do_and_hold_no_secret(void **state)
{
    (void)state;
    struct probe p;
    probe_user(&p, &primary, "mon", wrong_file, "");
    expect_failure(&p, AS_EAUTH, "the server refuses us: Access denied for user 'mon'@'");
    probe_user(&p, &primary, "mon", NULL, "");
    expect_failure(&p, AS_EAUTH, "the server asks for a password and there is none: set password_file");
    probe_user(&p, &primary, "mon", secret_file, "database = \"nowhere\";");
    expect_failure(&p, AS_EINVAL, "Unknown database 'nowhere': correct database");
    probe_user(&p, &primary, "mon", secret_file, "database = \"mysql\";");
    expect_failure(&p, AS_EAUTH,
                   "the server refuses us: Access denied for user 'mon'@'%' to database 'mysql'");
    probe_user(&p, &primary, "locked", secret_file, "");
    expect_failure(&p, AS_EAUTH, "account is locked");
    probe_open(&p, &as_source_mariadb, "address = \"127.0.0.1:1\"; user = \"mon\"");
    expect_failure(&p, AS_EAGAIN, "Can't connect to server on '127.0.0.1'");
    probe_open(&p, &as_source_mariadb, "address = \"db.invalid\"; user = \"mon\"");
    expect_failure(&p, AS_EAGAIN, "db.invalid");
}

static void bad_settings_are_refused_offline(void **state)
{
    (void)state;
    assert_open_refuses(&as_source_mariadb, "user = \"mon\"; address = \"mysql://mon:" SECRET "@db1\"",
                        "not a URL");
    assert_open_refuses(&as_source_mariadb, "user = \"mon\"; address = \"db1:x\"", "the port is a number");
    assert_open_refuses(&as_source_mariadb,
                        "user = \"mon\"; address = \"db1\"; queries = { connections = \"select 1\"; }",
                        "'connections' is a series");
    assert_open_refuses(&as_source_mariadb,
                        "user = \"mon\"; address = \"db1\"; queries = { orders = \" ; \"; }",
                        "'orders' is empty");
}

static void names_and_unix_sockets_are_addresses(void **state)
{
    (void)state;
    struct probe p;
    char text[400];
    snprintf(text, sizeof text, "address = \"localhost:%d\"; user = \"mon\"; password_file = \"%s\"",
             primary.port, secret_file);
    probe_open(&p, &as_source_mariadb, text);
    probe_ok(&p);
    probe_close(&p);
    snprintf(text, sizeof text, "address = \"%s/db.sock\"; user = \"app\"", primary.dir);
    probe_open(&p, &as_source_mariadb, text);
    wait_value(&p, "connections", 1);
    probe_close(&p);
}

static void tls_is_spoken_only_with_the_right_server(void **state)
{
    (void)state;
    struct probe p;
    char more[300];
    const char *const cipher = "queries = { tls = \"select length(variable_value) > 0 from "
                               "information_schema.session_status where variable_name = 'Ssl_cipher'\"; }";
    snprintf(more, sizeof more, "tls_ca = \"%s\"; %s", cert_file, cipher);
    probe_mon(&p, more);
    probe_ok(&p);
    assert_string_equal(p.err.msg, "");
    assert_value(&p, "tls", 1);
    probe_close(&p);
    probe_mon(&p, cipher);
    probe_ok(&p);
    assert_value(&p, "tls", 0);
    probe_close(&p);
    snprintf(more, sizeof more, "tls_ca = \"%s\";", other_file);
    probe_mon(&p, more);
    expect_failure(&p, AS_EAUTH, "the server does not prove who it is");
}

static void saturated_server_is_seen_over_the_kept_connection(void **state)
{
    (void)state;
    struct probe p, late;
    char more[200];
    MYSQL *held[SLOTS - 1];
    probe_mon(&p, "");
    wait_value(&p, "connections", 1);
    for (int i = 0; i < SLOTS - 1; i++)
        held[i] = session(&primary, "app");
    wait_value(&p, "connections_free", 0);
    assert_value(&p, "connections", SLOTS);
    probe_mon(&late, "");
    assert_int_equal(probe_poll(&late), AS_EAGAIN);
    assert_text(late.err.msg, "too many connections, the server has no slot left for us");
    snprintf(more, sizeof more, "tls_ca = \"%s\";", cert_file);
    struct probe tls; /* there the refusal comes before the handshake */
    probe_mon(&tls, more);
    expect_failure(&tls, AS_EAGAIN, "too many connections, the server has no slot left for us");
    probe_ok(&p);
    for (int i = 0; i < SLOTS - 1; i++)
        mysql_close(held[i]);
    wait_value(&late, "connections", 2); /* it heals */
    probe_close(&late);
    probe_close(&p);
}

static void hung_server_costs_the_deadline_and_no_more(void **state)
{
    (void)state;
    struct probe p, fresh;
    probe_mon(&p, "queries = { me = \"select connection_id()\"; }");
    probe_ok(&p);
    double before = value(&p, "me");
    hang_process(primary.pid);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(probe_poll_within(&p, 300), AS_EAGAIN);
        assert_text(p.err.msg, "no answer within ");
        assert_in_range(p.took, 299, LATE);
    }
    probe_mon(&fresh, "");
    assert_int_equal(probe_poll_within(&fresh, 300), AS_EAGAIN);
    assert_text(fresh.err.msg, "no connection within ");
    assert_in_range(fresh.took, 299, LATE);
    kill(primary.pid, SIGCONT);
    probe_ok(&fresh);
    probe_ok(&p);
    assert_value(&p, "me", before); /* the connection was kept */
    hang_process(primary.pid);
    assert_int_equal(probe_poll_within(&p, 200), AS_EAGAIN);
    as_time began = as_clock_monotonic();
    probe_close(&p); /* with an answer still owed */
    probe_close(&fresh);
    assert_in_range(as_clock_monotonic() - began, 0, LATE);
    kill(primary.pid, SIGCONT);
}

static void dripping_and_foreign_peers_do_not_outlast_the_deadline(void **state)
{
    (void)state;
    static const char *const starts[] = { "\xff\xff\x01", "\x4a", "HTTP/1.1 400 Bad Request\r\n\r\n",
                                          "-ERR unknown command\r\n" };
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        struct probe p;
        char text[100];
        int port;
        pid_t pid = start_dripper(&port, starts[i], 'x');
        snprintf(text, sizeof text, "address = \"127.0.0.1:%d\"; user = \"mon\"", port);
        probe_open(&p, &as_source_mariadb, text);
        assert_true(probe_poll_within(&p, 400) != AS_OK);
        assert_true(p.err.msg[0]);
        assert_in_range(p.took, 0, LATE);
        probe_close(&p);
        stop_process(&pid, SIGKILL);
    }
}

static void stopped_server_is_an_error_and_a_restart_begins_the_rates_anew(void **state)
{
    (void)state;
    struct probe p;
    probe_mon(&p, "");
    probe_ok(&p);
    usleep(20000);
    probe_ok(&p);
    assert_true(value(&p, "queries_per_second") >= 0);
    stop_process(&primary.pid, SIGTERM);
    assert_int_equal(probe_poll(&p), AS_EAGAIN);
    assert_text(p.err.msg, "Can't connect to server");
    server_start(&primary);
    probe_ok(&p);
    assert_value(&p, "queries_per_second", NAN);
    assert_value(&p, "buffer_pool_hit_ratio", NAN);
    stop_process(&primary.pid, SIGKILL); /* between two polls: nobody notices */
    server_start(&primary);
    wait_value(&p, "connections", 1);
    probe_close(&p);
}

static void own_queries_give_series_and_a_bad_one_blinds_nothing(void **state)
{
    (void)state;
    struct probe p;
    probe_mon(&p, "statement_timeout = \"5s\"; database = \"shop\"; queries = {\n"
                  "good = \"select 42.5\"; big = \"select 9007199254740991\"; semicolon = \"select 7;\";\n"
                  "comment = \"select count(*) from t where id = 1 # one\";\n"
                  "typo = \"selekt 1\"; nothing = \"select null\"; none = \"select 1 from t where false\";\n"
                  "two = \"select 1 union select 2\"; wide = \"select 1, 2\"; text = \"select 'x'\";\n"
                  "huge = \"select repeat('9', 1000)\"; last = \"select 1\"; }");
    probe_ok(&p);
    assert_value(&p, "good", 42.5);
    assert_value(&p, "big", 9007199254740991.0);
    assert_value(&p, "semicolon", 7);
    assert_value(&p, "comment", 1);
    const char *const bad[] = { "typo", "nothing", "none", "two", "wide", "text", "huge" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_value(&p, bad[i], NAN);
    assert_value(&p, "last", 1);
    assert_value(&p, "queries_failed", 7);
    assert_text(p.err.msg, "query 'typo': You have an error in your SQL syntax");
    probe_close(&p);
}

static void expect_query_fault(const char *query, const char *timeout, const char *want)
{
    struct probe p;
    char more[500];
    snprintf(
        more, sizeof more,
        "database = \"shop\"; statement_timeout = \"%s\"; queries = { q = \"%s\"; good = \"select 1\"; }",
        timeout, query);
    probe_mon(&p, more);
    probe_ok(&p);
    assert_value(&p, "q", NAN);
    assert_value(&p, "good", 1);
    assert_text(p.err.msg, want);
    probe_close(&p);
}

static void own_queries_cannot_write_or_run_away(void **state)
{
    (void)state;
    expect_query_fault("delete from t", "5s", "SQL syntax");
    expect_query_fault("select 1), 5); delete from t; select ((1", "5s", "SQL syntax");
    expect_query_fault("select spoil()", "5s", "Cannot execute statement in a READ ONLY transaction");
    expect_query_fault("select count(*) from t a, t b, t c where sleep(20) = 0", "1s",
                       "max_statement_time exceeded) (statement_timeout)");
    expect_query_fault("select repeat('x', 400000)", "5s", "it gives 'xxx");
    expect_query_fault("select a from hidden", "5s", "the server refuses us: SELECT command denied");
}

/* --- replication ------------------------------------------------------------------------------ */

static void replica_start(void)
{
    char sql[300];
    server_start(&replica);
    snprintf(sql, sizeof sql,
             "change master to master_host = '127.0.0.1', master_port = %d, master_user = 'copy', "
             "master_password = '" SECRET "', master_log_file = 'bin.000001', master_log_pos = 4",
             primary.port);
    run_sql(&replica, sql);
    run_sql(&replica, "start slave");
}

static void stopped_replica_has_no_lag_and_says_so(void **state)
{
    (void)state;
    struct probe p;
    replica_start();
    probe_user(&p, &replica, "mon", secret_file, "");
    wait_value(&p, "replication_lag_s", 0); /* its users came from the primary */
    assert_value(&p, "replication_stopped", 0);
    MYSQL *m = session(&replica, "root");
    say(m, "lock tables shop.t write");
    run_sql(&primary, "update shop.t set a = a + 1");
    wait_range(&p, "replication_lag_s", 1, 1000);
    assert_value(&p, "replication_stopped", 0);
    say(m, "unlock tables");
    wait_value(&p, "replication_lag_s", 0);
    say(m, "stop slave sql_thread");
    probe_ok(&p);
    assert_value(&p, "replication_lag_s", NAN); /* NULL: missing, never zero */
    assert_value(&p, "replication_stopped", 1);
    assert_text(p.err.msg, "replication does not run (IO thread: Yes, error 0; SQL thread: No, error 0)");
    say(m, "start slave");
    wait_value(&p, "replication_lag_s", 0);
    stop_process(&primary.pid, SIGTERM);
    wait_value(&p, "replication_stopped", 1);
    assert_value(&p, "replication_lag_s", NAN);
    mysql_close(m);
    probe_close(&p);
    server_start(&primary);
    stop_process(&replica.pid, SIGKILL);
}

/* --- set-up ----------------------------------------------------------------------------------- */

static void make_certificate(const char *name, char *cert, char *key, size_t size)
{
    snprintf(cert, size, "%s/%s.pem", root, name);
    snprintf(key, size, "%s/%s.key", root, name);
    const char *const argv[] = {
        "openssl", "req",   "-x509",         "-newkey", "rsa:2048",
        "-nodes",  "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-days",   "2",     "-keyout",       key,       "-out",
        cert,      NULL
    };
    run_command(NULL, argv);
    chmod(key, 0644); /* a key of this test only */
}

static void server_place(struct server *s, const char *name)
{
    snprintf(s->dir, sizeof s->dir, "%s/%s", root, name);
    s->port = free_port();
    place_make(s->dir, "mysql");
}

static void servers_make(void)
{
    char data[160], from[160];
    server_place(&primary, "primary");
    server_place(&replica, "replica");
    snprintf(data, sizeof data, "--datadir=%s/data", primary.dir);
    const char *const install[] = { "mariadb-install-db",
                                    "--no-defaults",
                                    data,
                                    "--auth-root-authentication-method=normal",
                                    "--skip-test-db",
                                    NULL };
    setenv("TMPDIR", primary.dir, 1); /* as below */
    run_command("mysql", install);
    snprintf(from, sizeof from, "%s/data", primary.dir);
    const char *const copy[] = { "cp", "-a", from, replica.dir, NULL };
    run_command("mysql", copy);
    server_start(&primary);
}

static void users_make(void)
{
    static const char *const statements[] = {
        "create database shop",
        "create table shop.t (id int primary key, a int) engine = innodb",
        "insert into shop.t values (1, 1), (2, 2), (3, 3)",
        "create table shop.hidden (a int)",
        "create user mon identified by '" SECRET "'",
        "grant process, slave monitor on *.* to mon",
        "grant select on shop.t to mon",
        "create user blind identified by '" SECRET "'",
        "create user locked identified by '" SECRET "' account lock",
        "create user app",
        "grant select, insert, update, delete on shop.* to app",
        "grant select on nowhere.* to mon",
        "create user copy identified by '" SECRET "'",
        "grant replication slave on *.* to copy",
        "create function shop.spoil() returns int begin insert into shop.t values (9, 9); return 1; end",
        "grant execute on shop.* to mon",
    };
    MYSQL *m = session(&primary, "root");
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++)
        say(m, statements[i]);
    mysql_close(m);
}

static int group_setup(void **state)
{
    (void)state;
    char key[128], log[128];
    signal(SIGPIPE, SIG_IGN);
    mysql_library_init(0, NULL, NULL);
    if (access("/usr/sbin/mariadbd", X_OK) != 0) {
        fprintf(stderr, "no MariaDB server here: apt-get install mariadb-server\n");
        return -1;
    }
    setenv("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin", 1);
    if (!root_make("mariadb"))
        return -1;
    snprintf(log, sizeof log, "%s/commands.log", root);
    write_file(log, "", 0666);
    chmod(log, 0666);
    make_certificate("server", cert_file, key_file, sizeof cert_file);
    make_certificate("other", other_file, key, sizeof key);
    servers_make();
    users_make();
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    stop_process(&replica.pid, SIGKILL);
    stop_process(&primary.pid, SIGKILL);
    root_remove();
    return 0;
}

/* Ends the sessions a failed test left behind, so that the next one counts its own. */
static int tidy(void **state)
{
    (void)state;
    run_sql(&primary, "kill user app");
    run_sql(&primary, "kill user mon");
    run_sql(&primary, "kill user blind");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(sessions_are_counted_by_what_they_do, tidy),
        cmocka_unit_test_teardown(rates_need_two_polls_and_leave_our_own_statements_out, tidy),
        cmocka_unit_test_teardown(missing_privileges_are_told_apart_from_idle, tidy),
        cmocka_unit_test_teardown(refusals_say_what_to_do_and_hold_no_secret, tidy),
        cmocka_unit_test_teardown(bad_settings_are_refused_offline, tidy),
        cmocka_unit_test_teardown(names_and_unix_sockets_are_addresses, tidy),
        cmocka_unit_test_teardown(tls_is_spoken_only_with_the_right_server, tidy),
        cmocka_unit_test_teardown(saturated_server_is_seen_over_the_kept_connection, tidy),
        cmocka_unit_test_teardown(hung_server_costs_the_deadline_and_no_more, tidy),
        cmocka_unit_test_teardown(dripping_and_foreign_peers_do_not_outlast_the_deadline, tidy),
        cmocka_unit_test_teardown(own_queries_give_series_and_a_bad_one_blinds_nothing, tidy),
        cmocka_unit_test_teardown(own_queries_cannot_write_or_run_away, tidy),
        cmocka_unit_test_teardown(stopped_server_is_an_error_and_a_restart_begins_the_rates_anew, tidy),
        cmocka_unit_test_teardown(stopped_replica_has_no_lag_and_says_so, tidy),
    };
    return cmocka_run_group_tests_name("mariadb_driver", tests, group_setup, group_teardown);
}
