/* What the tests of balancers and their sources share: HTTP servers and clients that live in this process and count
 * what reaches them. Included once, by the kit of one balancer. */
#ifndef E2E_WEB_KIT_H
#define E2E_WEB_KIT_H

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "autoscale/balancer.h"
#include "autoscale/source.h"
#include "server_kit.h"

#define STEP 20 /* ms between two looks at what is waited for */

static char root[64]; /* of everything a test makes */

static inline void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

static inline as_time soon(as_time ms)
{
    return as_clock_monotonic() + ms;
}

/* --- servers behind the balancer ----------------------------------------------------------------------- */

struct target {
    int fd;
    uint16_t port;
    pthread_t thread;
    atomic_int checks, requests, checks_at_first, holding;
    atomic_bool released, done;
};

struct visit {
    struct target *target;
    int fd;
};

static inline bool read_head(int fd, char *buf, size_t size)
{
    size_t len = 0;
    while (len < size - 1) {
        ssize_t n = recv(fd, buf + len, size - 1 - len, 0);
        if (n <= 0)
            return false;
        len += (size_t)n;
        buf[len] = '\0';
        if (strstr(buf, "\r\n\r\n"))
            return true;
    }
    return false;
}

static inline void *serve_one(void *arg)
{
    struct visit v = *(struct visit *)arg;
    struct target *t = v.target;
    char head[4096];
    free(arg);
    if (read_head(v.fd, head, sizeof head)) {
        const char *answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
        if (strstr(head, " /check ")) {
            t->checks++;
        } else {
            if (t->requests++ == 0)
                t->checks_at_first = atomic_load(&t->checks);
            if (strstr(head, " /hold ")) {
                t->holding++;
                while (!t->released && !t->done)
                    pause_ms(5);
                t->holding--;
            } else if (strstr(head, " /broken ")) {
                answer = "HTTP/1.1 500 Broken\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            } else if (strstr(head, " /slow ")) {
                pause_ms(200);
            }
        }
        send(v.fd, answer, strlen(answer), MSG_NOSIGNAL);
    }
    shutdown(v.fd, SHUT_RDWR);
    close(v.fd);
    return NULL;
}

static inline void *serve(void *arg)
{
    struct target *t = arg;
    for (;;) {
        int fd = accept4(t->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            return NULL;
        struct visit *v = malloc(sizeof *v);
        pthread_t thread;
        *v = (struct visit){ t, fd };
        if (pthread_create(&thread, NULL, serve_one, v) == 0)
            pthread_detach(thread);
    }
}

static inline int listen_on(uint16_t *port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 128), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &size), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

static inline struct target *target_start(void)
{
    static struct target targets[60]; /* each outlives the threads that still answer for it */
    static size_t used;
    assert_true(used < sizeof targets / sizeof *targets);
    struct target *t = &targets[used++];
    t->fd = listen_on(&t->port);
    assert_int_equal(pthread_create(&t->thread, NULL, serve, t), 0);
    return t;
}

static inline void target_stop(struct target *t)
{
    t->done = true;
    shutdown(t->fd, SHUT_RDWR);
    pthread_join(t->thread, NULL);
    close(t->fd);
}

/* --- clients ------------------------------------------------------------------------------------------- */

static inline int dial(uint16_t port)
{
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(port) };
    struct timeval limit = { .tv_sec = 30 };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    close(fd);
    return -1;
}

/* The status of one request over an open connection, 0 when it was cut. */
static inline int ask(int fd, const char *path, const char *connection)
{
    char text[4096];
    int status = 0;
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: test\r\nConnection: %s\r\n\r\n", path, connection);
    send(fd, text, strlen(text), MSG_NOSIGNAL);
    if (!read_head(fd, text, sizeof text) || sscanf(text, "HTTP/1.%*d %d", &status) != 1)
        return 0;
    const char *body = strstr(text, "\r\n\r\n") + 4;
    if (status == 200 && strcmp(connection, "close") != 0) { /* the rest of a short body */
        const char *length = strstr(text, "Content-Length: ");
        size_t want = length ? strtoul(length + 16, NULL, 10) : 0, have = strlen(body);
        char rest[64];
        while (have < want) {
            ssize_t n = recv(fd, rest, sizeof rest, 0);
            if (n <= 0)
                return 0;
            have += (size_t)n;
        }
    }
    return status;
}

static inline int get(uint16_t port, const char *path)
{
    int fd = dial(port);
    int status = fd >= 0 ? ask(fd, path, "close") : 0;
    if (fd >= 0)
        close(fd);
    return status;
}

struct client {
    pthread_t thread;
    uint16_t port;
    const char *path;
    int status;
};

static inline void *run_client(void *arg)
{
    struct client *c = arg;
    c->status = get(c->port, c->path);
    return NULL;
}

static inline void client_start(struct client *c, uint16_t port, const char *path)
{
    *c = (struct client){ .port = port, .path = path };
    assert_int_equal(pthread_create(&c->thread, NULL, run_client, c), 0);
}

static inline int client_status(struct client *c)
{
    pthread_join(c->thread, NULL);
    return c->status;
}

/* --- an opened driver ---------------------------------------------------------------------------------- */

struct pool {
    struct as_settings *settings;
    void *self;
};

static inline void ok(int rc, const struct as_error *err)
{
    if (rc)
        fail_msg("%s: %s", as_rc_name((enum as_rc)rc), err->msg);
}

static inline bool root_make(const char *name)
{
    signal(SIGPIPE, SIG_IGN);
    snprintf(root, sizeof root, "/tmp/as-%s.XXXXXX", name);
    return mkdtemp(root) != NULL;
}

static inline int root_remove(void)
{
    char *argv[] = { "rm", "-rf", root, NULL };
    pid_t pid = fork();
    if (pid == 0) {
        execvp("rm", argv);
        _exit(127);
    }
    return pid > 0 && waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

#endif
