/* The PostgreSQL link on a server that misbehaves, as no real one does: a child process that speaks just
 * enough of the protocol. Also what can be said without any server. */
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../drivers/wire/pglink.h"

#define PORT     "5432"
#define DEADLINE 1500  /* ms: that shall pass                             */
#define PATIENT  20000 /* ms: of what ends much earlier                   */

static void sqlstate_is_found_in_a_refusal(void **state)
{
    (void)state;
    static const struct {
        const char *message, *state, *text;
    } cases[] = {
        { "connection to server at \"127.0.0.1\", port 1 failed: FATAL:  28P01: no\nLOCATION:  x", "28P01",
          "no\nLOCATION:  x" },
        { "a:  b:  53300: sorry, too many clients already", "53300", "sorry, too many clients already" },
        { "FATAL:  HV000: odd", "HV000", "odd" },
        { "FATAL:  ABCDE: no digit", NULL, NULL },
        { "FATAL:  28P0: short", NULL, NULL },
        { "FATAL:  28p01: small letters", NULL, NULL },
        { "FATAL:  28P01:", NULL, NULL },
        { ":  ", NULL, NULL },
        { "", NULL, NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char found[6] = "";
        const char *text = pglink_sqlstate(cases[i].message, found);
        if (!cases[i].state) {
            assert_null(text);
            continue;
        }
        assert_non_null(text);
        assert_string_equal(found, cases[i].state);
        assert_string_equal(text, cases[i].text);
    }
}

static void session_is_read_only_and_keeps_the_operators_options(void **state)
{
    (void)state;
    struct pglink l = { 0 };
    assert_int_equal(
        pglink_init(&l, "host=/x options='-c work_mem=1MB' application_name=mine", NULL, 1500, NULL), AS_OK);
    int seen = 0;
    for (int i = 0; i < l.params; i++) {
        if (strcmp(l.keys[i], "options") == 0 && ++seen)
            assert_string_equal(
                l.values[i], "-c work_mem=1MB -c default_transaction_read_only=on -c statement_timeout=1500");
        if (strcmp(l.keys[i], "application_name") == 0 && ++seen)
            assert_string_equal(l.values[i], "mine");
    }
    assert_int_equal(seen, 2);
    pglink_fini(&l);
}

static void unused_and_half_built_links_can_be_ended(void **state)
{
    (void)state;
    struct pglink l = { 0 };
    struct as_error err;
    pglink_fini(&l);
    assert_int_equal(pglink_init(&l, "host=db1 password=x", NULL, 1000, &err), AS_EINVAL);
    pglink_fini(&l);
    assert_false(pglink_usable(&l));
}

/* --- a hostile server ------------------------------------------------------------------------- */

struct peer {
    char dir[64], path[100];
    int listener;
    pid_t pid;
};

static void peer_write(int fd, const void *data, size_t n)
{
    for (const char *p = data; n > 0;) {
        ssize_t w = write(fd, p, n);
        if (w <= 0)
            _exit(0); /* the link hung up: just what it should do */
        p += w;
        n -= (size_t)w;
    }
}

static void peer_accept(int listener, int *fd)
{
    static const char ready[] = "R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
    char buf[4096];
    *fd = accept(listener, NULL, NULL);
    if (*fd < 0 || read(*fd, buf, sizeof buf) <= 0)
        _exit(1);
    peer_write(*fd, ready, sizeof ready - 1);
    if (read(*fd, buf, sizeof buf) <= 0) /* the statement */
        _exit(1);
}

/* Starts a child that accepts one connection, sends `head` after the statement, then `body` for ever (or
 * nothing, and waits, when it is empty). */
static void peer_start(struct peer *p, const char *head, size_t head_size, const char *body, size_t body_size)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    snprintf(p->dir, sizeof p->dir, "/tmp/pglink.XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->path, sizeof p->path, "%s/.s.PGSQL." PORT, p->dir);
    memcpy(at.sun_path, p->path, strlen(p->path) + 1);
    p->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(p->listener >= 0);
    assert_int_equal(bind(p->listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(p->listener, 4), 0);
    p->pid = fork();
    assert_true(p->pid >= 0);
    if (p->pid == 0) {
        int fd = -1;
        signal(SIGPIPE, SIG_IGN);
        alarm(60);
        peer_accept(p->listener, &fd);
        peer_write(fd, head, head_size);
        if (body_size > 0)
            for (;;) {
                peer_write(fd, body, body_size);
                poll(NULL, 0, 2); /* as a network would: not faster than it is read */
            }
        pause();
        _exit(0);
    }
}

static void peer_end(struct peer *p)
{
    kill(p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
    close(p->listener);
    unlink(p->path);
    rmdir(p->dir);
}

static int peer_row(struct peer *p, struct pglink *l, as_time ms, struct as_error *err)
{
    char info[200];
    PGresult *row = NULL;
    memset(l, 0, sizeof *l);
    snprintf(info, sizeof info, "host=%s port=" PORT " user=x", p->dir);
    assert_int_equal(pglink_init(l, info, NULL, 1000, err), AS_OK);
    int rc = pglink_row(l, "select 1", as_clock_monotonic() + ms, &row, err);
    assert_null(row);
    return rc;
}

#define BIND_AND_DESCRIBE                                                                                    \
    "1\0\0\0\x04"                                                                                            \
    "2\0\0\0\x04"                                                                                            \
    "T\0\0\0\x1a\0\x01"                                                                                      \
    "x\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0"

static void flood_of_one_endless_value_is_cut_off(void **state)
{
    (void)state;
    static char body[65536];
    /* a row of one value, 800 MB announced */
    static const char head[] = BIND_AND_DESCRIBE "D\x30\0\0\x0a\0\x01\x30\0\0\0";
    struct peer p;
    struct pglink l;
    struct as_error err = { 0 };
    peer_start(&p, head, sizeof head - 1, body, sizeof body);
    assert_int_equal(peer_row(&p, &l, PATIENT, &err), AS_EPROTO);
    assert_string_equal(err.msg, "the answer is larger than 1024 KiB");
    assert_false(pglink_usable(&l));
    pglink_fini(&l);
    peer_end(&p);
}

static void flood_of_rows_is_cut_off(void **state)
{
    (void)state;
    static const char row[] = "D\0\0\0\x0b\0\x01\0\0\0\x01"
                              "7";
    struct peer p;
    struct pglink l;
    struct as_error err = { 0 };
    static char body[(sizeof row - 1) * 4096];
    for (size_t i = 0; i < 4096; i++)
        memcpy(body + i * (sizeof row - 1), row, sizeof row - 1);
    peer_start(&p, BIND_AND_DESCRIBE, sizeof BIND_AND_DESCRIBE - 1, body, sizeof body);
    assert_int_equal(peer_row(&p, &l, PATIENT, &err), AS_EPROTO);
    assert_string_equal(err.msg, "the answer is larger than 1024 KiB");
    pglink_fini(&l);
    peer_end(&p);
}

static void copy_nobody_asked_for_ends_the_connection(void **state)
{
    (void)state;
    static const char head[] = "1\0\0\0\x04"
                               "2\0\0\0\x04"
                               "H\0\0\0\x09\0\0\x01\0\0";
    struct peer p;
    struct pglink l;
    struct as_error err = { 0 };
    peer_start(&p, head, sizeof head - 1, NULL, 0);
    assert_int_equal(peer_row(&p, &l, PATIENT, &err), AS_EPROTO);
    assert_string_equal(err.msg, "a COPY gives no row: use SELECT");
    assert_false(pglink_usable(&l));
    pglink_fini(&l);
    peer_end(&p);
}

static void trickle_of_notices_does_not_stretch_the_deadline(void **state)
{
    (void)state;
    static const char notice[] = "N\0\0\0\x14SNOTICE\0Mhello\0\0";
    struct peer p;
    struct pglink l;
    struct as_error err = { 0 };
    peer_start(&p, NULL, 0, notice, sizeof notice - 1);
    as_time began = as_clock_monotonic();
    assert_int_equal(peer_row(&p, &l, DEADLINE, &err), AS_EAGAIN);
    assert_int_equal(strncmp(err.msg, "no answer within ", 17), 0);
    assert_in_range(as_clock_monotonic() - began, DEADLINE - 1, DEADLINE + PATIENT);
    assert_false(pglink_usable(&l)); /* busy with a late answer */
    assert_non_null(l.conn);
    pglink_fini(&l);
    peer_end(&p);
}

static void nonsense_and_silence_are_errors_in_time(void **state)
{
    (void)state;
    static const char head[] = "\xff\xff\xff\xff\xff\xff nonsense";
    struct peer p;
    struct pglink l;
    struct as_error err = { 0 };
    peer_start(&p, head, sizeof head - 1, NULL, 0);
    as_time began = as_clock_monotonic();
    assert_int_not_equal(peer_row(&p, &l, DEADLINE, &err), AS_OK);
    assert_true(as_clock_monotonic() - began < DEADLINE + PATIENT);
    pglink_fini(&l);
    peer_end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sqlstate_is_found_in_a_refusal),
        cmocka_unit_test(session_is_read_only_and_keeps_the_operators_options),
        cmocka_unit_test(unused_and_half_built_links_can_be_ended),
        cmocka_unit_test(flood_of_one_endless_value_is_cut_off),
        cmocka_unit_test(flood_of_rows_is_cut_off),
        cmocka_unit_test(copy_nobody_asked_for_ends_the_connection),
        cmocka_unit_test(trickle_of_notices_does_not_stretch_the_deadline),
        cmocka_unit_test(nonsense_and_silence_are_errors_in_time),
    };
    return cmocka_run_group_tests_name("pglink", tests, NULL, NULL);
}
