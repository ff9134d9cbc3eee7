/* The prober against real sockets: good, bad, silent and hostile servers, one and hundreds at once. */
#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../controller/runtime/prober.h"

#define OK_ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

enum manner { ANSWERS, HANGS, DRIPS, FLOODS };

struct server {
    int fd;
    uint16_t port;
    enum manner manner;
    const char *answer; /* what DRIPS drips and FLOODS repeats */
    const char *head;   /* what FLOODS begins with */
    pthread_t thread;
    atomic_int accepted;
    char request[1024]; /* of the newest connection; read it after stop */
    int held[16];
    int holds;
};

static uv_loop_t loop;
static struct prober *prober;
static struct as_error err;

static void read_request(struct server *s, int fd)
{
    size_t len = 0;
    ssize_t n;
    do {
        n = read(fd, s->request + len, sizeof s->request - 1 - len);
        len += n > 0 ? (size_t)n : 0;
        s->request[len] = '\0';
    } while (n > 0 && !strstr(s->request, "\r\n\r\n"));
}

/* Blocking sends: they end when the prober hangs up. */
static void answer(struct server *s, int fd)
{
    size_t len = strlen(s->answer);
    switch (s->manner) {
    case DRIPS:
        for (size_t i = 0; i < len && send(fd, s->answer + i, 1, MSG_NOSIGNAL) == 1; i++)
            usleep(100000);
        break;
    case FLOODS:
        if (send(fd, s->head, strlen(s->head), MSG_NOSIGNAL) > 0) {
            while (send(fd, s->answer, len, MSG_NOSIGNAL) > 0)
                ;
        }
        break;
    default: (void)send(fd, s->answer, len, MSG_NOSIGNAL);
    }
}

static void *serve(void *arg)
{
    struct server *s = arg;
    for (int fd; (fd = accept(s->fd, NULL, NULL)) >= 0;) {
        atomic_fetch_add(&s->accepted, 1);
        if (s->manner == HANGS && s->holds < 16) {
            s->held[s->holds++] = fd;
            continue;
        }
        read_request(s, fd);
        answer(s, fd);
        shutdown(fd, SHUT_WR);
        char rest[256];
        while (s->manner == ANSWERS && read(fd, rest, sizeof rest) > 0)
            ;
        close(fd);
    }
    return NULL;
}

static int bind_any(bool six, uint16_t *port)
{
    struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    struct sockaddr_in a4 = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    struct sockaddr *a = six ? (struct sockaddr *)&a6 : (struct sockaddr *)&a4;
    socklen_t len = six ? sizeof a6 : sizeof a4;
    int fd = socket(a->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, a, len) != 0 || getsockname(fd, a, &len) != 0) {
        close(fd);
        return -1;
    }
    *port = ntohs(six ? a6.sin6_port : a4.sin_port);
    return fd;
}

static void start_server(struct server *s)
{
    if (!s->fd)
        s->fd = bind_any(false, &s->port);
    assert_true(s->fd >= 0);
    assert_int_equal(listen(s->fd, 1024), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void stop_server(struct server *s)
{
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
    while (s->holds)
        close(s->held[--s->holds]);
}

struct result {
    int calls;
    bool ok;
    char detail[128];
};

static void on_done(void *arg, bool ok, const char *detail)
{
    struct result *r = arg;
    r->calls++;
    r->ok = ok;
    snprintf(r->detail, sizeof r->detail, "%s", detail);
}

static int setup(void **state)
{
    (void)state;
    memset(&err, 0, sizeof err);
    return uv_loop_init(&loop) || prober_new(&loop, &prober, &err);
}

static int teardown(void **state)
{
    (void)state;
    prober_free(prober);
    prober = NULL;
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop); /* busy when a handle leaked */
}

static struct probe http(uint16_t port)
{
    return (
        struct probe){ .address = "127.0.0.1", .port = port, .path = "/healthz?full=1", .timeout = 60000 };
}

static struct result check(struct probe what)
{
    struct result r = { 0 };
    assert_int_equal(prober_start(prober, &what, on_done, &r, &err), AS_OK);
    assert_int_equal(r.calls, 0); /* never from within the start */
    while (r.calls == 0)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(r.calls, 1);
    return r;
}

static void expect(struct probe what, bool ok, const char *detail)
{
    struct result r = check(what);
    assert_string_equal(r.detail, detail);
    assert_int_equal(r.ok, ok);
}

static void a_2xx_answer_is_healthy(void **state)
{
    (void)state;
    struct server s = { .answer = OK_ANSWER };
    start_server(&s);
    expect(http(s.port), true, "HTTP 200");
    stop_server(&s);
    assert_non_null(strstr(s.request, "GET /healthz?full=1 HTTP/1.1\r\n"));
    assert_non_null(strstr(s.request, "Connection: close\r\n"));
}

static void another_status_is_not_unless_it_is_the_expected_one(void **state)
{
    (void)state;
    struct server s = { .answer = "HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n" };
    start_server(&s);
    struct probe p = http(s.port);
    expect(p, false, "HTTP 503");
    p.expect = 503;
    expect(p, true, "HTTP 503");
    p.expect = 200;
    expect(p, false, "HTTP 503");
    stop_server(&s);
}

static void a_redirect_is_not_followed(void **state)
{
    (void)state;
    struct server s = { .answer = "HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n" };
    start_server(&s);
    expect(http(s.port), false, "HTTP 302");
    assert_int_equal(s.accepted, 1);
    stop_server(&s);
}

static void every_check_is_a_fresh_connection(void **state)
{
    (void)state;
    struct server s = { .answer = OK_ANSWER };
    start_server(&s);
    for (int i = 1; i <= 5; i++) {
        expect(http(s.port), true, "HTTP 200");
        assert_int_equal(s.accepted, i);
    }
    stop_server(&s);
}

static void the_proxy_of_the_environment_is_not_used(void **state)
{
    (void)state;
    struct server s = { .answer = OK_ANSWER };
    start_server(&s);
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    expect(http(s.port), true, "HTTP 200");
    unsetenv("http_proxy");
    stop_server(&s);
}

static void a_refused_connection_says_so(void **state)
{
    (void)state;
    uint16_t port = 0;
    int fd = bind_any(false, &port); /* bound, not listening */
    struct probe p = http(port);
    expect(p, false, "connection refused");
    p.path = NULL;
    expect(p, false, "connection refused");
    close(fd);
}

static void a_listening_port_passes_a_tcp_check(void **state)
{
    (void)state;
    struct server s = { .manner = HANGS };
    start_server(&s);
    struct probe p = http(s.port);
    p.path = NULL;
    expect(p, true, "connected");
    stop_server(&s);
}

static void silence_and_dripping_end_at_the_timeout(void **state)
{
    (void)state;
    struct server hang = { .manner = HANGS }, drip = { .manner = DRIPS, .answer = OK_ANSWER };
    start_server(&hang);
    start_server(&drip);
    struct probe p = http(hang.port);
    p.timeout = 100;
    expect(p, false, "no answer in 100ms");
    p.port = drip.port;
    expect(p, false, "no answer in 100ms");
    stop_server(&hang);
    stop_server(&drip);
}

static void rubbish_is_not_an_answer(void **state)
{
    (void)state;
    struct server s = { .answer = "SSH-2.0-OpenSSH_9.2\r\n" };
    start_server(&s);
    expect(http(s.port), false, "the answer is not HTTP");
    stop_server(&s);
    struct server mute = { .answer = "" };
    start_server(&mute);
    expect(http(mute.port), false, "connection closed without an answer");
    stop_server(&mute);
    struct server cut = { .answer = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf" };
    start_server(&cut);
    expect(http(cut.port), false, "connection closed in the middle of the answer");
    stop_server(&cut);
}

static void an_endless_body_is_cut_and_the_status_counts(void **state)
{
    (void)state;
    struct server s = { .manner = FLOODS,
                        .head = "HTTP/1.1 200 OK\r\n\r\n",
                        .answer = "more and more of it " };
    start_server(&s);
    expect(http(s.port), true, "HTTP 200");
    stop_server(&s);
}

static void an_endless_header_fails(void **state)
{
    (void)state;
    struct server s = { .manner = FLOODS, .head = "HTTP/1.1 200 OK\r\n", .answer = "X-More: and more\r\n" };
    start_server(&s);
    expect(http(s.port), false, "the answer's header is too large");
    stop_server(&s);
    struct server again = { .manner = FLOODS, .head = "", .answer = "HTTP/1.1 100 Continue\r\n\r\n" };
    start_server(&again);
    struct result r = check(http(again.port));
    assert_false(r.ok);
    stop_server(&again);
}

static void ipv6_addresses_are_checked_too(void **state)
{
    (void)state;
    struct server s = { .answer = OK_ANSWER };
    s.fd = bind_any(true, &s.port);
    if (s.fd < 0)
        skip();
    start_server(&s);
    struct probe p = http(s.port);
    p.address = "::1";
    expect(p, true, "HTTP 200");
    p.path = NULL;
    expect(p, true, "connected");
    stop_server(&s);
}

static void what_is_no_literal_address_or_path_is_refused(void **state)
{
    (void)state;
    static const struct probe wrong[] = {
        { "localhost", 80, "/", 0, 1000 },
        { "[::1]", 80, "/", 0, 1000 },
        { "127.0.0.1@evil", 80, "/", 0, 1000 },
        { "127.0.0.1", 0, "/", 0, 1000 },
        { "127.0.0.1", 80, "healthz", 0, 1000 },
        { "127.0.0.1", 80, "/a b", 0, 1000 },
        { "127.0.0.1", 80, "/a\r\nX: y", 0, 1000 },
        { "127.0.0.1", 80, "/", 0, 0 },
        { "", 80, "/", 0, 1000 },
        { "127.0.0.1", 80, "/\xc3\xa9", 0, 1000 },
    };
    struct result r = { 0 };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(prober_start(prober, &wrong[i], on_done, &r, &err), AS_EINVAL);
    assert_int_equal(r.calls, 0);
}

static int count_fds(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void hundreds_at_once_all_come_back_and_leave_no_descriptor(void **state)
{
    (void)state;
    enum { MANY = 500 };
    static struct result r[MANY];
    struct server s = { .answer = OK_ANSWER };
    start_server(&s);
    (void)check(http(s.port));
    int before = count_fds();
    memset(r, 0, sizeof r);
    for (int i = 0; i < MANY; i++) {
        struct probe p = http(s.port);
        p.path = i % 3 ? p.path : NULL;
        assert_int_equal(prober_start(prober, &p, on_done, &r[i], &err), AS_OK);
    }
    for (int i = 0; i < MANY; i++) {
        while (r[i].calls == 0)
            uv_run(&loop, UV_RUN_ONCE);
    }
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(r[i].calls, 1);
        assert_string_equal(r[i].detail, i % 3 ? "HTTP 200" : "connected");
        assert_true(r[i].ok);
    }
    stop_server(&s);
    assert_true(count_fds() < before); /* the listener is gone, and nothing is left */
}

struct chain {
    int left;
    uint16_t port;
};

static void on_link(void *arg, bool ok, const char *detail)
{
    (void)detail;
    struct chain *c = arg;
    assert_true(ok);
    struct probe p = http(c->port);
    if (--c->left > 0)
        assert_int_equal(prober_start(prober, &p, on_link, c, &err), AS_OK);
}

static void a_finished_check_may_start_the_next(void **state)
{
    (void)state;
    struct server s = { .answer = OK_ANSWER };
    start_server(&s);
    struct chain c = { 20, s.port };
    struct probe p = http(s.port);
    assert_int_equal(prober_start(prober, &p, on_link, &c, &err), AS_OK);
    while (c.left)
        uv_run(&loop, UV_RUN_ONCE);
    stop_server(&s);
}

static int refusals;

static void on_stopped(void *arg, bool ok, const char *detail)
{
    struct probe p = http(80);
    on_done(arg, ok, detail);
    refusals += prober_start(prober, &p, on_done, arg, &err) == AS_EAGAIN;
}

static void freeing_ends_the_checks_under_way(void **state)
{
    (void)state;
    struct server s = { .manner = HANGS };
    start_server(&s);
    struct result r[3] = { 0 };
    for (int i = 0; i < 3; i++) {
        struct probe p = http(s.port);
        assert_int_equal(prober_start(prober, &p, on_stopped, &r[i], &err), AS_OK);
    }
    while (s.accepted < 3)
        uv_run(&loop, UV_RUN_NOWAIT);
    refusals = 0;
    prober_free(prober);
    prober = NULL;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(r[i].calls, 1);
        assert_false(r[i].ok);
    }
    assert_int_equal(refusals, 3);
    stop_server(&s);
}

int main(void)
{
#define PROBER_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        PROBER_TEST(a_2xx_answer_is_healthy),
        PROBER_TEST(another_status_is_not_unless_it_is_the_expected_one),
        PROBER_TEST(a_redirect_is_not_followed),
        PROBER_TEST(every_check_is_a_fresh_connection),
        PROBER_TEST(the_proxy_of_the_environment_is_not_used),
        PROBER_TEST(a_refused_connection_says_so),
        PROBER_TEST(a_listening_port_passes_a_tcp_check),
        PROBER_TEST(silence_and_dripping_end_at_the_timeout),
        PROBER_TEST(rubbish_is_not_an_answer),
        PROBER_TEST(an_endless_body_is_cut_and_the_status_counts),
        PROBER_TEST(an_endless_header_fails),
        PROBER_TEST(ipv6_addresses_are_checked_too),
        PROBER_TEST(what_is_no_literal_address_or_path_is_refused),
        PROBER_TEST(hundreds_at_once_all_come_back_and_leave_no_descriptor),
        PROBER_TEST(a_finished_check_may_start_the_next),
        PROBER_TEST(freeing_ends_the_checks_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
