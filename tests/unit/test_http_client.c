/* The HTTP client and the Docker call layer against a scripted server on a unix socket: lost answers, endless
 * ones, silence, nonsense, and a daemon that wants another API version. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../drivers/wire/docker_api.h"
#include "../../drivers/wire/http.h"

#define ENDLESS "endless" /* a script entry: chunks without end                                    */
#define SILENCE "silence" /* reads the request and waits until the client goes away                */
#define PATIENT 20000     /* ms: deadline of what ends much earlier                               */
#define PING    "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\n\r\nOK"

struct server {
    char dir[32], path[64], endpoint[80];
    int fd;
    pthread_t thread;
    const char *const *script; /* one answer per connection, ends with NULL; "" hangs up      */
    char seen[8][512];         /* the first bytes of each request                             */
    atomic_int count;
};

static void serve(int fd, const char *answer, char *seen)
{
    ssize_t n = recv(fd, seen, 511, 0);
    if (n <= 0)
        return;
    if (strcmp(answer, SILENCE) == 0) {
        char c;
        while (recv(fd, &c, 1, 0) > 0)
            ;
    } else if (strcmp(answer, ENDLESS) == 0) {
        static const char head[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        static const char chunk[] = "8\r\nxxxxxxxx\r\n";
        for (ssize_t ok = send(fd, head, sizeof head - 1, MSG_NOSIGNAL); ok > 0;)
            ok = send(fd, chunk, sizeof chunk - 1, MSG_NOSIGNAL);
    } else {
        send(fd, answer, strlen(answer), MSG_NOSIGNAL);
    }
}

static void *server_run(void *arg)
{
    struct server *s = arg;
    for (int i = 0; s->script[i] && i < 8; i++) {
        int fd = accept(s->fd, NULL, NULL);
        if (fd < 0)
            break;
        atomic_fetch_add(&s->count, 1);
        serve(fd, s->script[i], s->seen[i]);
        close(fd);
    }
    return NULL;
}

static void server_start(struct server *s, const char *const *script)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    *s = (struct server){ .dir = "/tmp/as-http-XXXXXX", .script = script };
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->path, sizeof s->path, "%s/s", s->dir);
    snprintf(s->endpoint, sizeof s->endpoint, "unix://%s", s->path);
    snprintf(at.sun_path, sizeof at.sun_path, "%s", s->path);
    s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(s->fd, 8), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, server_run, s), 0);
}

static void server_stop(struct server *s)
{
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
    unlink(s->path);
    rmdir(s->dir);
}

static int call(struct server *s, const char *method, size_t cap, as_time ms, struct http_answer *a,
                struct as_error *err)
{
    struct http_peer peer = { .name = "it", .base = "http://it", .unix_path = s->path };
    struct http_request req = { .method = method,
                                .path = "/x",
                                .body = strcmp(method, "POST") == 0 ? "{}" : NULL,
                                .want = "X-Want",
                                .cap = cap,
                                .deadline = as_clock_monotonic() + ms };
    return http_call(&peer, &req, a, err);
}

/* --- the client -------------------------------------------------------------------------------------- */

static void answer_arrives_with_status_body_and_wanted_header(void **state)
{
    (void)state;
    static const char *const script[] = {
        "HTTP/1.1 418 No\r\nx-want:  tea \r\nContent-Length: 5\r\n\r\nhello", NULL
    };
    struct server s;
    struct http_answer a = { 0 };
    struct as_error err;
    server_start(&s, script);
    assert_int_equal(call(&s, "POST", 5, PATIENT, &a, &err), AS_OK);
    server_stop(&s);
    assert_int_equal(a.status, 418);
    assert_string_equal(a.body, "hello");
    assert_string_equal(a.header, "tea");
    assert_int_equal(strncmp(s.seen[0], "POST /x HTTP/1.1\r\n", 18), 0);
    assert_non_null(strstr(s.seen[0], "Content-Type: application/json\r\n"));
    http_answer_fini(&a);
}

static void nothing_sent_is_safe_to_retry(void **state)
{
    (void)state;
    struct server nowhere = { .path = "/nonexistent/s" };
    struct http_answer a = { 0 };
    struct as_error err;
    assert_int_equal(call(&nowhere, "POST", 99, PATIENT, &a, &err), AS_EAGAIN);
    assert_string_equal(err.msg, "cannot reach it: No such file or directory");
    assert_int_equal(call(&nowhere, "POST", 99, 0, &a, &err), AS_EAGAIN);
    assert_null(a.body);
}

static void post_whose_answer_is_lost_is_unknown_and_sent_once(void **state)
{
    (void)state;
    static const char *const script[] = { "", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel",
                                          "HTTP/1.1 20", NULL };
    struct server s;
    struct http_answer a = { 0 };
    struct as_error err;
    server_start(&s, script);
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(call(&s, "POST", 99, PATIENT, &a, &err), AS_EUNKNOWN);
        assert_int_equal(s.count, i);
    }
    server_stop(&s);
    assert_null(a.body);
}

static void silence_ends_at_the_deadline_and_is_unknown(void **state)
{
    (void)state;
    static const char *const script[] = { SILENCE, NULL };
    struct server s;
    struct http_answer a = { 0 };
    struct as_error err;
    server_start(&s, script);
    as_time began = as_clock_monotonic();
    assert_int_equal(call(&s, "POST", 99, 600, &a, &err), AS_EUNKNOWN);
    as_time took = as_clock_monotonic() - began;
    assert_true(took >= 590 && took < 10000);
    assert_non_null(strstr(err.msg, "did not answer in time"));
    server_stop(&s);
}

static void huge_and_foreign_answers_are_protocol_errors(void **state)
{
    (void)state;
    static const char *const script[] = { ENDLESS, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789",
                                          "SSH-2.0-OpenSSH_9.2\r\n", NULL };
    struct server s;
    struct http_answer a = { 0 };
    struct as_error err;
    server_start(&s, script);
    assert_int_equal(call(&s, "GET", 100000, PATIENT, &a, &err), AS_EPROTO);
    assert_int_equal(call(&s, "GET", 9, PATIENT, &a, &err), AS_EPROTO);
    assert_int_equal(call(&s, "GET", 99, PATIENT, &a, &err), AS_EPROTO);
    server_stop(&s);
    assert_null(a.body);
}

static void escaping_keeps_only_unreserved_characters(void **state)
{
    (void)state;
    char *out = http_escape("aZ09-_.~ /?&=\"\xc3\xa9");
    assert_string_equal(out, "aZ09-_.~%20%2F%3F%26%3D%22%C3%A9");
    free(out);
}

/* --- Docker's versions and refusals ---------------------------------------------------------------------- */

static int docker(struct server *s, struct docker_host *h, const char *method, struct http_answer *a,
                  struct as_error *err)
{
    struct docker_request req = { .method = method,
                                  .path = "/y",
                                  .deadline = as_clock_monotonic() + PATIENT };
    struct docker_tls none = { 0 };
    if (!h->ready)
        assert_int_equal(docker_host_open(h, s->endpoint, &none, err), AS_OK);
    return docker_call(h, &req, a, err);
}

static void version_is_asked_once_and_never_above_theirs(void **state)
{
    (void)state;
    static const char *const script[] = {
        "HTTP/1.1 200 OK\r\nApi-Version: 1.30\r\nContent-Length: 2\r\n\r\nOK",
        "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n", NULL
    };
    struct server s;
    struct docker_host h = { 0 };
    struct http_answer a = { 0 };
    struct as_error err;
    server_start(&s, script);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(docker(&s, &h, "POST", &a, &err), AS_OK);
        assert_int_equal(a.status, 204);
        http_answer_fini(&a);
    }
    server_stop(&s);
    docker_host_close(&h);
    assert_int_equal(strncmp(s.seen[0], "GET /_ping ", 11), 0);
    assert_int_equal(strncmp(s.seen[1], "POST /v1.30/y ", 14), 0);
    assert_int_equal(strncmp(s.seen[2], "POST /v1.30/y ", 14), 0);
}

static void newer_daemon_that_wants_a_newer_version_gets_its_minimum(void **state)
{
    (void)state;
    static const char *const script[] = {
        "HTTP/1.1 200 OK\r\nApi-Version: 1.52\r\nContent-Length: 2\r\n\r\nOK",
        "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n{\"message\":\"client version 1.41 is too old. "
        "Minimum "
        "supported API version is 1.44, please upgrade your client to a newer version\"}",
        "HTTP/1.1 200 OK\r\nApi-Version: 1.52\r\nContent-Length: 2\r\n\r\nOK",
        "HTTP/1.1 204 No Content\r\n\r\n", NULL
    };
    struct server s;
    struct docker_host h = { 0 };
    struct http_answer a = { 0 };
    struct as_error err;
    server_start(&s, script);
    assert_int_equal(docker(&s, &h, "POST", &a, &err), AS_OK);
    assert_int_equal(a.status, 204);
    http_answer_fini(&a);
    server_stop(&s);
    docker_host_close(&h);
    assert_int_equal(strncmp(s.seen[1], "POST /v1.41/y ", 14), 0);
    assert_int_equal(strncmp(s.seen[3], "POST /v1.44/y ", 14), 0);
}

static void daemon_that_is_none_or_too_old_is_told_apart(void **state)
{
    (void)state;
    static const char *const script[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nApi-Version: 1.12\r\nContent-Length: 2\r\n\r\nOK",
        "HTTP/1.1 200 OK\r\nApi-Version: two\r\nContent-Length: 2\r\n\r\nOK", NULL
    };
    static const int classes[] = { AS_EPROTO, AS_EUNSUP, AS_EPROTO };
    struct server s;
    struct docker_host h = { 0 };
    struct http_answer a = { 0 };
    struct as_error err;
    server_start(&s, script);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(docker(&s, &h, "POST", &a, &err), classes[i]);
    server_stop(&s);
    docker_host_close(&h);
}

static void lost_read_is_safe_to_retry_and_lost_write_is_not(void **state)
{
    (void)state;
    static const char *const script[] = { PING, "", "", ENDLESS, NULL };
    struct server s;
    struct docker_host h = { 0 };
    struct http_answer a = { 0 };
    struct as_error err;
    server_start(&s, script);
    assert_int_equal(docker(&s, &h, "GET", &a, &err), AS_EAGAIN);
    assert_int_equal(err.rc, AS_EAGAIN);
    assert_int_equal(docker(&s, &h, "POST", &a, &err), AS_EUNKNOWN);
    assert_int_equal(docker(&s, &h, "DELETE", &a, &err), AS_EUNKNOWN);
    assert_int_equal(err.rc, AS_EUNKNOWN);
    server_stop(&s);
    docker_host_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answer_arrives_with_status_body_and_wanted_header),
        cmocka_unit_test(nothing_sent_is_safe_to_retry),
        cmocka_unit_test(post_whose_answer_is_lost_is_unknown_and_sent_once),
        cmocka_unit_test(silence_ends_at_the_deadline_and_is_unknown),
        cmocka_unit_test(huge_and_foreign_answers_are_protocol_errors),
        cmocka_unit_test(escaping_keeps_only_unreserved_characters),
        cmocka_unit_test(version_is_asked_once_and_never_above_theirs),
        cmocka_unit_test(newer_daemon_that_wants_a_newer_version_gets_its_minimum),
        cmocka_unit_test(daemon_that_is_none_or_too_old_is_told_apart),
        cmocka_unit_test(lost_read_is_safe_to_retry_and_lost_write_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
