/* The redis source against real, private Redis servers: what it reports is compared with clients, keys and
 * evictions this test makes itself. Starts its own servers in a temporary directory and ends only those. */
#pragma GCC diagnostic push /* hiredis's own inline functions are not clean */
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include <hiredis.h>
#pragma GCC diagnostic pop

#include "source_kit.h"

extern const struct as_source_driver as_source_redis;

#define CLIENTS_MAX 12

struct server {
    char dir[128];
    int port;
    pid_t pid;
};

static struct server master, replica, extra;

/* --- servers ---------------------------------------------------------------------------------- */

static redisContext *session(const struct server *s)
{
    return redisConnectWithTimeout("127.0.0.1", s->port, (struct timeval){ .tv_sec = 10 });
}

static redisReply *ask(redisContext *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

static redisReply *ask(redisContext *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *r = redisvCommand(c, format, args);
    va_end(args);
    if (!r || r->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", format, r ? r->str : c->errstr);
    return r;
}

#define TELL(c, ...) freeReplyObject(ask(c, __VA_ARGS__))

static void tell(const struct server *s, const char *command)
{
    redisContext *c = session(s);
    TELL(c, command, NULL);
    redisFree(c);
}

static bool server_answers(void *arg)
{
    redisContext *c = session(arg);
    redisReply *r = c && !c->err ? redisCommand(c, "PING") : NULL;
    bool ok = r != NULL;
    if (r)
        freeReplyObject(r);
    if (c)
        redisFree(c);
    return ok;
}

static void server_spawn(struct server *s, const char *more)
{
    char conf[200], log[200], text[1500];
    snprintf(conf, sizeof conf, "%s/redis.conf", s->dir);
    snprintf(log, sizeof log, "%s/server.log", s->dir);
    snprintf(text, sizeof text,
             "port %d\nbind 127.0.0.1\ndir %s\nunixsocket %s/redis.sock\nunixsocketperm 777\nsave \"\"\n"
             "appendonly no\nmaxclients %d\n%s\n",
             s->port, s->dir, s->dir, CLIENTS_MAX, more);
    write_file(conf, text, 0644);
    const char *const argv[] = { "redis-server", conf, NULL };
    s->pid = start_command("redis", log, argv);
}

static void server_start(struct server *s, const char *more)
{
    server_spawn(s, more);
    char log[200];
    snprintf(log, sizeof log, "%s/server.log", s->dir);
    if (!wait_until(server_answers, s))
        fail_msg("Redis does not answer: %s", end_of(log));
}

static void server_place(struct server *s, const char *name)
{
    snprintf(s->dir, sizeof s->dir, "%s/%s", root, name);
    s->port = free_port();
    place_make(s->dir, "redis");
}

static void probe_server(struct probe *p, const struct server *s, const char *more)
{
    char text[600];
    snprintf(text, sizeof text, "address = \"127.0.0.1:%d\";\n%s", s->port, more);
    probe_open(p, &as_source_redis, text);
}

static void probe_password(struct probe *p, const char *user, const char *file)
{
    char more[300];
    snprintf(more, sizeof more, "%s%s%s password_file = \"%s\";", user ? "user = \"" : "", user ? user : "",
             user ? "\";" : "", file);
    probe_server(p, &extra, more);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void clients_are_counted_by_what_they_do(void **state)
{
    (void)state;
    struct probe p;
    redisContext *held[4];
    for (int i = 0; i < 4; i++)
        held[i] = session(&master);
    for (int i = 0; i < 4; i++)
        TELL(held[i], "PING");
    redisAppendCommand(held[0], "BLPOP nothing 0");
    int done = 0;
    while (!done)
        assert_int_equal(redisBufferWrite(held[0], &done), REDIS_OK);
    probe_server(&p, &master, "");
    wait_value(&p, "clients_blocked", 1);
    wait_value(&p, "clients", 5); /* four and ours */
    assert_value(&p, "clients_max", CLIENTS_MAX);
    assert_true(value(&p, "memory_used") > 100000);
    assert_value(&p, "memory_limit", NAN); /* no limit: missing, not zero */
    assert_value(&p, "memory_used_ratio", NAN);
    assert_value(&p, "replication_link_up", NAN); /* no replica */
    for (int i = 0; i < 4; i++)
        redisFree(held[i]);
    wait_value(&p, "clients", 1);
    assert_value(&p, "clients_blocked", 0);
    probe_close(&p);
}

static void rates_need_two_polls_and_leave_our_own_commands_out(void **state)
{
    (void)state;
    struct probe p;
    redisContext *c = session(&master);
    TELL(c, "SET present 1");
    probe_server(&p, &master, "");
    probe_ok(&p);
    assert_value(&p, "operations_per_second", NAN);
    assert_value(&p, "hit_ratio", NAN);
    assert_value(&p, "evictions_per_second", NAN);
    as_time began = as_clock_monotonic();
    for (int i = 0; i < 300; i++)
        TELL(c, "GET present");
    for (int i = 0; i < 100; i++)
        TELL(c, "GET absent");
    usleep(20000); /* at least this long lies between the polls */
    probe_ok(&p);
    double seconds = (double)(as_clock_monotonic() - began) / 1000;
    assert_value(&p, "hit_ratio", 0.75);
    assert_true(value(&p, "operations_per_second") >= 400 / (seconds + 0.5));
    assert_true(value(&p, "operations_per_second") <= 400 / 0.02 + 1);
    assert_value(&p, "evictions_per_second", 0);
    usleep(20000);
    probe_ok(&p);
    assert_value(&p, "operations_per_second", 0); /* idle but for us */
    assert_value(&p, "hit_ratio", NAN);           /* nothing was looked up: unknown, not zero */
    TELL(c, "CONFIG RESETSTAT");
    probe_ok(&p);
    assert_value(&p, "operations_per_second", NAN); /* a reset is no rate */
    redisFree(c);
    probe_close(&p);
}

static void full_memory_shows_as_ratio_and_evictions(void **state)
{
    (void)state;
    struct probe p;
    char big[4096];
    redisContext *c = session(&master);
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    TELL(c, "CONFIG SET maxmemory-policy allkeys-lru");
    TELL(c, "CONFIG SET maxmemory 4194304");
    probe_server(&p, &master, "");
    probe_ok(&p);
    assert_value(&p, "memory_limit", 4194304);
    double before = value(&p, "memory_used_ratio");
    for (int i = 0; i < 2000; i++)
        TELL(c, "SET key%d %s", i, big);
    probe_ok(&p);
    assert_true(value(&p, "evictions_per_second") > 0);
    assert_true(value(&p, "memory_used_ratio") > 0.9 && value(&p, "memory_used_ratio") > before);
    assert_true(fabs(value(&p, "memory_used_ratio") - value(&p, "memory_used") / 4194304) < 1e-9);
    TELL(c, "FLUSHALL");
    TELL(c, "CONFIG SET maxmemory 0");
    redisFree(c);
    probe_close(&p);
}

static void refusals_say_what_to_do_and_hold_no_secret(void **state)
{
    (void)state;
    struct probe p;
    server_start(&extra, "requirepass " SECRET "\nuser mon on >" SECRET " -@all +info\n"
                         "user blind on >" SECRET " -@all +ping");
    probe_password(&p, NULL, secret_file);
    probe_ok(&p);
    probe_close(&p);
    probe_password(&p, "mon", secret_file);
    probe_ok(&p);
    probe_close(&p);
    probe_password(&p, "mon", wrong_file);
    assert_int_equal(probe_poll(&p), AS_EAUTH);
    assert_string_equal(p.err.msg,
                        "the server refuses the password of user 'mon': correct password_file or user");
    probe_close(&p);
    probe_password(&p, NULL, wrong_file);
    assert_int_equal(probe_poll(&p), AS_EAUTH);
    assert_text(p.err.msg, "refuses the password of user 'default'");
    probe_close(&p);
    probe_password(&p, "blind", secret_file);
    assert_int_equal(probe_poll(&p), AS_EAUTH);
    assert_string_equal(p.err.msg, "the user may not run INFO: ACL SETUSER blind +info");
    probe_close(&p);
    probe_server(&p, &extra, "");
    assert_int_equal(probe_poll(&p), AS_EAUTH);
    assert_string_equal(p.err.msg, "the server asks for a password and there is none: set password_file");
    probe_close(&p);
    stop_process(&extra.pid, SIGTERM);
    probe_password(&p, NULL, secret_file);
    assert_int_equal(probe_poll(&p), AS_EAGAIN);
    assert_text(p.err.msg, "Connection refused");
    probe_close(&p);
}

/* Such a server answers "unknown command 'AUTH', with args beginning with: 'the password'". */
static void server_that_quotes_the_password_is_not_quoted(void **state)
{
    (void)state;
    struct probe p;
    server_start(&extra, "rename-command AUTH \"\"");
    probe_password(&p, NULL, secret_file);
    assert_int_equal(probe_poll(&p), AS_EAUTH);
    assert_string_equal(p.err.msg, "the server refuses AUTH for user 'default'");
    probe_close(&p);
    stop_process(&extra.pid, SIGTERM);
    server_start(&extra, "");
    probe_password(&p, NULL, secret_file);
    assert_int_equal(probe_poll(&p), AS_EAUTH);
    assert_text(p.err.msg, "has no password set for user 'default': remove password_file");
    probe_close(&p);
    stop_process(&extra.pid, SIGTERM);
}

static void bad_settings_are_refused_offline(void **state)
{
    (void)state;
    assert_open_refuses(&as_source_redis, "address = \"redis://:" SECRET "@cache1\"", "not a URL");
    assert_open_refuses(&as_source_redis, "address = \"cache1:0\"", "the port is a number");
    assert_open_refuses(&as_source_redis, "address = \"::1\"", "write an IPv6 address as [ADDRESS]:PORT");
    assert_open_refuses(&as_source_redis, "address = \":6379\"", "is not an address");
    assert_open_refuses(&as_source_redis, "address = \"cache1\"; user = \"mon\"", "needs password_file");
}

static void names_and_unix_sockets_are_addresses(void **state)
{
    (void)state;
    struct probe p;
    char text[300];
    snprintf(text, sizeof text, "address = \"localhost:%d\"", master.port);
    probe_open(&p, &as_source_redis, text);
    probe_ok(&p);
    probe_close(&p);
    snprintf(text, sizeof text, "address = \"unix:%s/redis.sock\"", master.dir);
    probe_open(&p, &as_source_redis, text);
    probe_ok(&p);
    wait_value(&p, "clients", 1);
    probe_close(&p);
    probe_open(&p, &as_source_redis, "address = \"cache.invalid\"");
    assert_int_equal(probe_poll(&p), AS_EAGAIN);
    assert_text(p.err.msg, "cache.invalid");
    probe_close(&p);
}

static void saturated_server_is_seen_over_the_kept_connection(void **state)
{
    (void)state;
    struct probe p, late;
    redisContext *held[CLIENTS_MAX - 1];
    probe_server(&p, &master, "");
    wait_value(&p, "clients", 1);
    for (int i = 0; i < CLIENTS_MAX - 1; i++) {
        held[i] = session(&master);
        TELL(held[i], "PING");
    }
    wait_value(&p, "clients", CLIENTS_MAX);
    probe_server(&late, &master, "");
    assert_int_equal(probe_poll(&late), AS_EAGAIN);
    assert_text(late.err.msg, "too many clients, the server has no connection slot left for us");
    probe_ok(&p);
    for (int i = 0; i < CLIENTS_MAX - 1; i++)
        redisFree(held[i]);
    wait_value(&late, "clients", 2); /* it heals */
    probe_close(&late);
    probe_close(&p);
}

static void hung_server_costs_the_deadline_and_no_more(void **state)
{
    (void)state;
    struct probe p, fresh;
    redisContext *c = session(&master);
    probe_server(&p, &master, "");
    wait_value(&p, "clients", 2);
    hang_process(master.pid);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(probe_poll_within(&p, 300), AS_EAGAIN);
        assert_text(p.err.msg, "no answer within ");
        assert_in_range(p.took, 299, LATE);
    }
    probe_server(&fresh, &master, "");
    assert_int_equal(probe_poll_within(&fresh, 300), AS_EAGAIN);
    assert_in_range(fresh.took, 299, LATE);
    kill(master.pid, SIGCONT);
    probe_ok(&p);
    probe_ok(&fresh);
    wait_value(&p, "clients", 3); /* the connection was kept, none was left behind */
    redisFree(c);
    probe_close(&fresh);
    probe_close(&p);
}

static void dripping_and_foreign_peers_do_not_outlast_the_deadline(void **state)
{
    (void)state;
    static const char *const starts[] = { "$100000\r\n", "+", "$" };
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        struct probe p;
        char text[100];
        int port;
        pid_t pid = start_dripper(&port, starts[i], '1');
        snprintf(text, sizeof text, "address = \"127.0.0.1:%d\"", port);
        probe_open(&p, &as_source_redis, text);
        assert_true(probe_poll_within(&p, 400) != AS_OK);
        assert_in_range(p.took, 0, LATE);
        probe_close(&p);
        stop_process(&pid, SIGKILL);
    }
    static const char *const foreign[] = { "HTTP/1.1 400 Bad Request\r\n",
                                           "*1000000000\r\n",
                                           "*-7\r\n$",
                                           "$5\r\nhello\r\n",
                                           "+OK\r\n",
                                           ":1\r\n",
                                           "$-1\r\n" };
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        struct probe p;
        char text[100];
        int port;
        pid_t pid = start_dripper(&port, foreign[i], 'x');
        snprintf(text, sizeof text, "address = \"127.0.0.1:%d\"", port);
        probe_open(&p, &as_source_redis, text);
        int rc = probe_poll(&p);
        if (rc != AS_EPROTO)
            fail_msg("'%s' gives %s: %s", foreign[i], as_rc_name((enum as_rc)rc), p.err.msg);
        probe_close(&p);
        stop_process(&pid, SIGKILL);
    }
}

static void stopped_server_is_an_error_and_a_restart_begins_the_rates_anew(void **state)
{
    (void)state;
    struct probe p;
    server_start(&extra, "");
    probe_server(&p, &extra, "");
    probe_ok(&p);
    usleep(20000);
    probe_ok(&p);
    assert_true(value(&p, "operations_per_second") >= 0);
    stop_process(&extra.pid, SIGTERM);
    assert_int_equal(probe_poll(&p), AS_EAGAIN);
    assert_text(p.err.msg, "Connection refused");
    server_start(&extra, "");
    redisContext *c = session(&extra);
    for (int i = 0; i < 500; i++) /* past the old count: only run_id tells the restart */
        TELL(c, "GET absent");
    probe_ok(&p);
    assert_value(&p, "operations_per_second", NAN);
    assert_value(&p, "hit_ratio", NAN);
    usleep(20000);
    probe_ok(&p);
    assert_true(value(&p, "operations_per_second") >= 0);
    redisFree(c);
    probe_close(&p);
    stop_process(&extra.pid, SIGTERM);
}

static bool says_loading(void *arg)
{
    struct probe *p = arg;
    int rc = probe_poll(p);
    if (rc == AS_OK)
        fail_msg("a loading server gave %zu samples", p->samples.count);
    return strstr(p->err.msg, "the server is loading its data set") != NULL;
}

/* 600 keys at 10 ms each (key-load-delay, in microseconds, is Redis's own means for such tests). */
static void loading_server_is_an_error_and_not_an_empty_cache(void **state)
{
    (void)state;
    struct probe p;
    server_start(&extra, "enable-debug-command yes");
    redisContext *c = session(&extra);
    TELL(c, "DEBUG POPULATE 600 key 2000");
    TELL(c, "SAVE");
    redisFree(c);
    stop_process(&extra.pid, SIGKILL);
    server_spawn(&extra,
                 "key-load-delay 10000\nrdbcompression no\nloading-process-events-interval-bytes 1024");
    probe_server(&p, &extra, "");
    assert_true(wait_until(says_loading, &p));
    assert_int_equal(p.err.rc, AS_EAGAIN);
    wait_value(&p, "clients", 1); /* and then it heals by itself */
    probe_close(&p);
    stop_process(&extra.pid, SIGTERM);
}

static void replica_tells_whether_its_link_is_up(void **state)
{
    (void)state;
    struct probe p;
    char more[100];
    server_place(&replica, "replica");
    snprintf(more, sizeof more, "replicaof 127.0.0.1 %d\nrepl-diskless-sync-delay 0", master.port);
    server_start(&replica, more);
    probe_server(&p, &replica, "");
    wait_value(&p, "replication_link_up", 1);
    tell(&replica, "REPLICAOF 127.0.0.1 1");
    wait_value(&p, "replication_link_up", 0);
    tell(&replica, "REPLICAOF NO ONE");
    probe_ok(&p);
    assert_value(&p, "replication_link_up", NAN);
    probe_close(&p);
    stop_process(&replica.pid, SIGTERM);
}

/* --- set-up ----------------------------------------------------------------------------------- */

static int group_setup(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    if (access("/usr/bin/redis-server", X_OK) != 0) {
        fprintf(stderr, "no Redis server here: apt-get install redis-server\n");
        return -1;
    }
    if (!root_make("redis"))
        return -1;
    server_place(&master, "master");
    server_place(&extra, "extra");
    server_start(&master, "");
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    stop_process(&replica.pid, SIGKILL);
    stop_process(&extra.pid, SIGKILL);
    stop_process(&master.pid, SIGKILL);
    root_remove();
    return 0;
}

static int tidy(void **state)
{
    (void)state;
    stop_process(&extra.pid, SIGKILL); /* of a test that failed */
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(clients_are_counted_by_what_they_do, tidy),
        cmocka_unit_test_teardown(rates_need_two_polls_and_leave_our_own_commands_out, tidy),
        cmocka_unit_test_teardown(full_memory_shows_as_ratio_and_evictions, tidy),
        cmocka_unit_test_teardown(refusals_say_what_to_do_and_hold_no_secret, tidy),
        cmocka_unit_test_teardown(server_that_quotes_the_password_is_not_quoted, tidy),
        cmocka_unit_test_teardown(bad_settings_are_refused_offline, tidy),
        cmocka_unit_test_teardown(names_and_unix_sockets_are_addresses, tidy),
        cmocka_unit_test_teardown(saturated_server_is_seen_over_the_kept_connection, tidy),
        cmocka_unit_test_teardown(hung_server_costs_the_deadline_and_no_more, tidy),
        cmocka_unit_test_teardown(dripping_and_foreign_peers_do_not_outlast_the_deadline, tidy),
        cmocka_unit_test_teardown(stopped_server_is_an_error_and_a_restart_begins_the_rates_anew, tidy),
        cmocka_unit_test_teardown(loading_server_is_an_error_and_not_an_empty_cache, tidy),
        cmocka_unit_test_teardown(replica_tells_whether_its_link_is_up, tidy),
    };
    return cmocka_run_group_tests_name("redis_driver", tests, group_setup, group_teardown);
}
