/* The daemon's socket and its client, on a real unix socket: questions, permissions, limits, stale files. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../controller/runtime/api.h"
#include "../../controller/runtime/client.h"

#define SOME_GROUP 4242

static char dir[64], path[96];
static struct as_error err;
static uv_loop_t loop;
static struct api *api;
static int handled;

static void handler(void *arg, const char *method, const char *url, const struct api_request *request,
                    struct api_reply *reply)
{
    const char *group = api_query(request, "group");
    handled++;
    assert_ptr_equal(arg, &handled);
    if (strcmp(url, "/silent") == 0)
        return;
    reply->status = strcmp(url, "/none") == 0 ? 404 : 200;
    if (strcmp(url, "/big") == 0) {
        reply->length = (size_t)3 * 1024 * 1024;
        reply->body = malloc(reply->length);
        assert_non_null(reply->body);
        memset(reply->body, 'b', reply->length);
        return;
    }
    assert_true(asprintf(&reply->body, "%s %s group=%s", method, url, group ? group : "(none)") > 0);
}

static int start(void)
{
    return api_new(&loop, path, handler, &handled, &api, &err);
}

static int setup(void **state)
{
    (void)state;
    memset(&err, 0, sizeof err);
    handled = 0;
    api = NULL;
    strcpy(dir, "/tmp/autoscale-api-XXXXXX");
    if (!mkdtemp(dir) || uv_loop_init(&loop))
        return -1;
    snprintf(path, sizeof path, "%s/sock", dir);
    return 0;
}

static int setup_running(void **state)
{
    return setup(state) || start();
}

static int teardown(void **state)
{
    (void)state;
    api_free(api);
    uv_run(&loop, UV_RUN_DEFAULT);
    unlink(path);
    return uv_loop_close(&loop) || rmdir(dir);
}

/* --- a client beside the loop -------------------------------------------------------------------- */

struct call {
    const char *method, *url;
    int timeout;
    char *body;
    int rc, status;
    struct as_error err;
    bool done;
    uv_async_t async;
};

static void *call_thread(void *arg)
{
    struct call *c = arg;
    c->rc = client_call(path, c->method, c->url, c->timeout, &c->body, &c->status, &c->err);
    uv_async_send(&c->async);
    return NULL;
}

static void call_done(uv_async_t *async)
{
    ((struct call *)async->data)->done = true;
}

static void call(struct call *c)
{
    pthread_t thread;
    assert_int_equal(uv_async_init(&loop, &c->async, call_done), 0);
    c->async.data = c;
    if (!c->timeout)
        c->timeout = 30000;
    assert_int_equal(pthread_create(&thread, NULL, call_thread, c), 0);
    while (!c->done)
        uv_run(&loop, UV_RUN_ONCE);
    pthread_join(thread, NULL);
    uv_close((uv_handle_t *)&c->async, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
}

static void expect(const char *method, const char *url, int status, const char *body)
{
    struct call c = { .method = method, .url = url };
    call(&c);
    assert_int_equal(c.rc, AS_OK);
    assert_int_equal(c.status, status);
    assert_string_equal(c.body, body);
    free(c.body);
}

static void a_question_gets_the_handlers_answer(void **state)
{
    (void)state;
    expect("GET", "/explain?group=web%201&x", 200, "GET /explain group=web 1");
    expect("POST", "/reload", 200, "POST /reload group=(none)");
    expect("GET", "/none?group", 404, "GET /none group=");
    expect("GET", "/silent", 500, "");
    assert_int_equal(handled, 4);
}

static void a_large_answer_arrives_whole(void **state)
{
    (void)state;
    struct call c = { .method = "GET", .url = "/big" };
    call(&c);
    assert_int_equal(c.rc, AS_OK);
    assert_int_equal(strlen(c.body), 3 * 1024 * 1024);
    assert_int_equal(c.body[3 * 1024 * 1024 - 1], 'b');
    free(c.body);
}

static void the_socket_is_for_user_and_group_only_and_goes_at_the_end(void **state)
{
    (void)state;
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0660);
    api_free(api);
    api = NULL;
    assert_int_equal(lstat(path, &st), -1);
}

/* --- raw requests -------------------------------------------------------------------------------- */

static int dial(void)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

/* Sends all of it while the loop runs; stops when the peer hangs up. Returns what came back. */
static void talk(const char *request, size_t size, char *out, size_t room)
{
    int fd = dial();
    size_t len = 0;
    uint64_t end = uv_hrtime() + 30000000000u;
    while (uv_hrtime() < end) {
        ssize_t n = size ? send(fd, request, size, MSG_NOSIGNAL) : 0;
        if (n > 0) {
            request += n;
            size -= (size_t)n;
        }
        uv_run(&loop, UV_RUN_NOWAIT);
        n = recv(fd, out + len, room - 1 - len, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            break;
        len += n > 0 ? (size_t)n : 0;
    }
    assert_true(uv_hrtime() < end);
    out[len] = '\0';
    close(fd);
}

static void a_body_is_read_past_and_an_overlarge_one_refused(void **state)
{
    (void)state;
    char out[1024];
    static char request[300000];
    int n = snprintf(request, sizeof request,
                     "POST /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello");
    talk(request, (size_t)n, out, sizeof out);
    assert_non_null(strstr(out, "\r\n\r\nPOST /x group=(none)"));

    n = snprintf(request, sizeof request,
                 "POST /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 70000\r\n\r\n");
    talk(request, (size_t)n, out, sizeof out);
    assert_memory_equal(out, "HTTP/1.1 413", 12);
    assert_int_equal(handled, 1);
}

static void a_chunked_body_cannot_grow_over_the_cap(void **state)
{
    (void)state;
    char out[1024];
    static char request[300000];
    size_t n = (size_t)snprintf(request, sizeof request,
                                "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 20; i++) {
        n += (size_t)snprintf(request + n, sizeof request - n, "2000\r\n");
        memset(request + n, 'c', 0x2000);
        n += 0x2000;
        n += (size_t)snprintf(request + n, sizeof request - n, "\r\n");
    }
    n += (size_t)snprintf(request + n, sizeof request - n, "0\r\n\r\n");
    talk(request, n, out, sizeof out);
    assert_int_equal(handled, 0);
}

static void rubbish_is_refused_and_the_socket_goes_on(void **state)
{
    (void)state;
    char out[1024];
    talk("\x16\x03\x01\r\n\r\n", 7, out, sizeof out);
    assert_int_equal(handled, 0);
    expect("GET", "/still", 200, "GET /still group=(none)");
}

static void a_silent_peer_does_not_hold_up_others(void **state)
{
    (void)state;
    int silent = dial(), half = dial();
    assert_true(send(half, "GET /x HT", 9, MSG_NOSIGNAL) == 9);
    expect("GET", "/now", 200, "GET /now group=(none)");
    close(silent);
    close(half);
}

/* --- who may ask --------------------------------------------------------------------------------- */

/* Asks as another user in a child; returns the HTTP status, or 1000 + class. */
static int ask_as(uid_t uid, gid_t gid, size_t groups, const gid_t *list)
{
    pid_t pid = fork();
    assert_int_not_equal(pid, -1);
    if (pid == 0) {
        int fds[2], status = 0;
        char *body = NULL;
        if (setgroups(groups, list) || setgid(gid) || setuid(uid) || pipe(fds))
            _exit(1);
        int rc = client_call(path, "GET", "/who", 5000, &body, &status, &err);
        free(body);
        _exit(rc ? 100 + rc : status == 200 ? 20 : status == 403 ? 43 : 1);
    }
    int status;
    while (waitpid(pid, &status, WNOHANG) == 0)
        uv_run(&loop, UV_RUN_NOWAIT);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void only_the_owner_and_the_sockets_group_may_ask(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    const gid_t other = 100, some = SOME_GROUP;
    chmod(dir, 0755);
    assert_int_equal(ask_as(65534, 65534, 1, &other), 100 + AS_EAUTH); /* by the file's mode */
    assert_int_equal(chmod(path, 0666), 0);                            /* somebody opened the door too wide */
    assert_int_equal(ask_as(65534, 65534, 1, &other), 43);
    assert_int_equal(handled, 0);
    assert_int_equal(chown(path, (uid_t)-1, SOME_GROUP), 0);
    assert_int_equal(ask_as(65534, 65534, 1, &some), 20);
    assert_int_equal(ask_as(65534, SOME_GROUP, 1, &other), 20);
    assert_int_equal(ask_as(65534, 65534, 1, &other), 43);
    assert_int_equal(ask_as(0, 0, 0, NULL), 20);
}

/* --- the path ------------------------------------------------------------------------------------ */

static void a_running_daemon_is_not_pushed_aside(void **state)
{
    (void)state;
    struct api *second = NULL;
    assert_int_equal(api_new(&loop, path, handler, NULL, &second, &err), AS_EEXIST);
    assert_null(second);
    assert_non_null(strstr(err.msg, "another autoscale is running on /tmp/"));
    expect("GET", "/still", 200, "GET /still group=(none)");
}

static void a_stale_socket_is_replaced(void **state)
{
    (void)state;
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 1), 0);
    close(fd); /* as a killed daemon leaves it */
    assert_int_equal(start(), AS_OK);
    expect("GET", "/new", 200, "GET /new group=(none)");
}

static void what_is_no_socket_is_left_alone(void **state)
{
    (void)state;
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(start(), AS_EEXIST);
    assert_non_null(strstr(err.msg, "is no socket"));
    assert_int_equal(access(path, F_OK), 0);
}

static void a_bad_path_is_a_clear_error(void **state)
{
    (void)state;
    char real[96];
    memcpy(real, path, sizeof real);
    snprintf(path, sizeof path, "%s/none/sock", dir);
    assert_int_equal(start(), AS_EIO);
    assert_non_null(strstr(err.msg, "create its directory"));
    memcpy(path, real, sizeof path);
    char lengthy[200];
    memset(lengthy, 'p', sizeof lengthy - 1);
    lengthy[sizeof lengthy - 1] = '\0';
    assert_int_equal(api_new(&loop, lengthy, handler, NULL, &api, &err), AS_EINVAL);
}

/* --- the client alone ---------------------------------------------------------------------------- */

static void without_a_daemon_the_client_says_how_to_start_one(void **state)
{
    (void)state;
    char *body = NULL;
    int status = 0;
    assert_int_equal(client_call(path, "GET", "/status", 1000, &body, &status, &err), AS_ENOENT);
    assert_non_null(strstr(err.msg, "no autoscale is running on /tmp/"));
    assert_non_null(strstr(err.msg, "`autoscale run`"));
    assert_null(body);
}

/* A peer that listens and says what we want it to; the thread ends with the connection. */
struct peer {
    int fd;
    const char *head;
    bool flood;
};

static void *peer_thread(void *arg)
{
    struct peer *p = arg;
    int fd = accept(p->fd, NULL, NULL);
    static char block[1 << 20];
    char request[1024];
    if (p->head && read(fd, request, sizeof request) > 0 &&
        send(fd, p->head, strlen(p->head), MSG_NOSIGNAL) > 0) {
        while (p->flood && send(fd, block, sizeof block, MSG_NOSIGNAL) > 0)
            ;
    }
    while (!p->head && read(fd, request, sizeof request) > 0)
        ; /* silent until the client gives up */
    close(fd);
    return NULL;
}

static void client_gets(const char *head, bool flood, enum as_rc rc, const char *text)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    struct peer p = { .fd = socket(AF_UNIX, SOCK_STREAM, 0), .head = head, .flood = flood };
    pthread_t thread;
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    assert_int_equal(bind(p.fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(p.fd, 1), 0);
    assert_int_equal(pthread_create(&thread, NULL, peer_thread, &p), 0);
    char *body = NULL;
    int status = 0;
    assert_int_equal(client_call(path, "GET", "/status", head ? 10000 : 50, &body, &status, &err), rc);
    assert_null(body);
    assert_non_null(strstr(err.msg, text));
    pthread_join(thread, NULL);
    close(p.fd);
    unlink(path);
}

static void the_client_bounds_time_and_size_of_an_answer(void **state)
{
    (void)state;
    client_gets(NULL, false, AS_EUNKNOWN, "did not answer in 50ms");
    client_gets("HTTP/1.1 200 OK\r\n\r\n", true, AS_EPROTO, "larger than 64 MiB");
    client_gets("SSH-2.0-x\r\n", false, AS_EPROTO, "is not one of autoscale");
    client_gets("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", false, AS_EPROTO,
                "is not one of autoscale");
}

int main(void)
{
#define API_TEST(f, before) cmocka_unit_test_setup_teardown(f, before, teardown)
    const struct CMUnitTest tests[] = {
        API_TEST(a_question_gets_the_handlers_answer, setup_running),
        API_TEST(a_large_answer_arrives_whole, setup_running),
        API_TEST(the_socket_is_for_user_and_group_only_and_goes_at_the_end, setup_running),
        API_TEST(a_body_is_read_past_and_an_overlarge_one_refused, setup_running),
        API_TEST(a_chunked_body_cannot_grow_over_the_cap, setup_running),
        API_TEST(rubbish_is_refused_and_the_socket_goes_on, setup_running),
        API_TEST(a_silent_peer_does_not_hold_up_others, setup_running),
        API_TEST(only_the_owner_and_the_sockets_group_may_ask, setup_running),
        API_TEST(a_running_daemon_is_not_pushed_aside, setup_running),
        API_TEST(a_stale_socket_is_replaced, setup),
        API_TEST(what_is_no_socket_is_left_alone, setup),
        API_TEST(a_bad_path_is_a_clear_error, setup),
        API_TEST(without_a_daemon_the_client_says_how_to_start_one, setup),
        API_TEST(the_client_bounds_time_and_size_of_an_answer, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
