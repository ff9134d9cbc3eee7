/* The haproxy source and balancer against real, private HAProxys on 127.0.0.1, with HTTP servers that live
 * in this process and count what reaches them. Starts its own HAProxys in a temporary directory and
 * ends only those. */
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

#include "../../drivers/wire/haproxy_cli.h"
#include "autoscale/balancer.h"
#include "autoscale/source.h"

extern const struct as_source_driver as_source_haproxy;
extern const struct as_balancer_driver as_balancer_haproxy;

#define PATIENCE 5000 /* ms: how long a condition may take */
#define STEP     20

static char root[64];

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

static as_time soon(as_time ms)
{
    return as_clock_monotonic() + ms;
}

/* --- servers behind HAProxy ------------------------------------------------------------------- */

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

static bool read_head(int fd, char *buf, size_t size)
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

static void *serve_one(void *arg)
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
                pause_ms(100);
            }
        }
        send(v.fd, answer, strlen(answer), MSG_NOSIGNAL);
    }
    shutdown(v.fd, SHUT_RDWR);
    close(v.fd);
    return NULL;
}

static void *serve(void *arg)
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

static int listen_on(uint16_t *port)
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

static uint16_t free_port(void)
{
    uint16_t port;
    close(listen_on(&port));
    return port;
}

static struct target *target_start(void)
{
    static struct target targets[40]; /* each outlives the threads that still answer for it */
    static size_t used;
    assert_true(used < sizeof targets / sizeof *targets);
    struct target *t = &targets[used++];
    t->fd = listen_on(&t->port);
    assert_int_equal(pthread_create(&t->thread, NULL, serve, t), 0);
    return t;
}

static void target_stop(struct target *t)
{
    t->done = true;
    shutdown(t->fd, SHUT_RDWR);
    pthread_join(t->thread, NULL);
    close(t->fd);
}

/* --- clients ---------------------------------------------------------------------------------- */

/* The status of one request, 0 when the connection was cut. */
static int get(uint16_t port, const char *path)
{
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(port) };
    char text[4096];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), status = 0;
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0) {
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", path);
        send(fd, text, strlen(text), MSG_NOSIGNAL);
        if (read_head(fd, text, sizeof text))
            sscanf(text, "HTTP/1.%*d %d", &status);
    }
    close(fd);
    return status;
}

struct client {
    pthread_t thread;
    uint16_t port;
    const char *path;
    int status;
};

static void *run_client(void *arg)
{
    struct client *c = arg;
    c->status = get(c->port, c->path);
    return NULL;
}

static void client_start(struct client *c, uint16_t port, const char *path)
{
    *c = (struct client){ .port = port, .path = path };
    assert_int_equal(pthread_create(&c->thread, NULL, run_client, c), 0);
}

static int client_status(struct client *c)
{
    pthread_join(c->thread, NULL);
    return c->status;
}

/* --- HAProxy ---------------------------------------------------------------------------------- */

struct proxy {
    char dir[128], socket[160], operator_socket[160], conf[160];
    uint16_t port, cli_port;
    pid_t pid;
};

static void write_conf(const struct proxy *p, uint16_t static_port)
{
    FILE *f = fopen(p->conf, "w");
    assert_non_null(f);
    fprintf(f,
            "global\n  stats socket %s mode 600 level admin\n  stats socket %s mode 600 level operator\n"
            "  stats socket ipv4@127.0.0.1:%u level admin\n"
            "defaults\n  mode http\n  timeout connect 1s\n  timeout client 20s\n  timeout server 20s\n"
            "  timeout queue 10s\n"
            "frontend shop\n  bind 127.0.0.1:%u\n  default_backend web\n"
            "backend web\n  balance leastconn\n  option httpchk GET /check\n"
            "backend mixed\n  balance roundrobin\n  server fixed 127.0.0.1:%u\n"
            "backend chance\n  balance random\n"
            "backend fixed\n  balance static-rr\n"
            "backend pinned\n  balance roundrobin\n  use-server extra if { path /x }\n  server extra "
            "127.0.0.1:%u\n",
            p->socket, p->operator_socket, p->cli_port, p->port, static_port, static_port);
    fclose(f);
}

static void proxy_run(struct proxy *p)
{
    p->pid = fork();
    assert_true(p->pid >= 0);
    if (p->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        char log[160];
        snprintf(log, sizeof log, "%s/log", p->dir);
        if (freopen(log, "a", stdout) && dup2(fileno(stdout), 2) >= 0)
            execlp("haproxy", "haproxy", "-db", "-f", p->conf, (char *)NULL);
        _exit(127);
    }
    as_time until = soon(PATIENCE);
    while (get(p->port, "/") == 0) {
        assert_true(as_time_left(until) > 0);
        assert_int_equal(waitpid(p->pid, NULL, WNOHANG), 0);
        pause_ms(STEP);
    }
}

static void proxy_end(struct proxy *p)
{
    kill(p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
    p->pid = 0;
}

static struct proxy proxy_start(const char *name)
{
    struct proxy p = { .port = free_port(), .cli_port = free_port() };
    snprintf(p.dir, sizeof p.dir, "%s/%s", root, name);
    mkdir(p.dir, 0700);
    snprintf(p.socket, sizeof p.socket, "%s/admin.sock", p.dir);
    snprintf(p.operator_socket, sizeof p.operator_socket, "%s/operator.sock", p.dir);
    snprintf(p.conf, sizeof p.conf, "%s/haproxy.cfg", p.dir);
    write_conf(&p, free_port());
    proxy_run(&p);
    return p;
}

/* --- the drivers ------------------------------------------------------------------------------ */

struct pool {
    struct as_settings *settings;
    void *self;
};

static const struct as_owner owner = { "test", "web" };

static int pool_try(struct pool *b, const char *endpoint, const char *more, struct as_error *err)
{
    char text[1024];
    snprintf(text, sizeof text, "address = \"%s\"; inter = \"100ms\"; %s", endpoint, more);
    *b = (struct pool){ 0 };
    int rc = as_settings_parse(as_balancer_haproxy.options, text, &b->settings, err);
    if (rc)
        return rc;
    b->self = calloc(1, as_balancer_haproxy.state_size);
    return as_balancer_haproxy.open(b->self, b->settings, &owner, endpoint, err);
}

static struct pool pool_open(const char *endpoint, const char *more)
{
    struct pool b;
    struct as_error err = { 0 };
    if (pool_try(&b, endpoint, more, &err))
        fail_msg("open: %s", err.msg);
    return b;
}

static void pool_close(struct pool *b)
{
    if (b->self)
        as_balancer_haproxy.close(b->self);
    free(b->self);
    as_settings_free(b->settings);
}

static void ok(int rc, const struct as_error *err)
{
    if (rc)
        fail_msg("%s: %s", as_rc_name((enum as_rc)rc), err->msg);
}

static struct as_member member(const char *id, uint16_t port)
{
    struct as_member m = { .address = "127.0.0.1", .port = port };
    snprintf(m.id, sizeof m.id, "%s", id);
    return m;
}

static void admit(struct pool *b, const struct as_member *m)
{
    struct as_error err = { 0 };
    ok(as_balancer_haproxy.admit(b->self, soon(2000), m, &err), &err);
}

/* Looks for one member; false when it is not listed. */
static bool look(struct pool *b, const char *id, struct as_member *out)
{
    struct as_members list = { 0 };
    struct as_error err = { 0 };
    ok(as_balancer_haproxy.list(b->self, soon(2000), &list, &err), &err);
    bool found = false;
    for (size_t i = 0; i < list.count; i++)
        if (strcmp(list.items[i].id, id) == 0) {
            *out = list.items[i];
            found = true;
        }
    as_members_fini(&list);
    return found;
}

static struct as_member wait_state(struct pool *b, const char *id, enum as_member_state state)
{
    struct as_member m;
    as_time until = soon(PATIENCE);
    while (!look(b, id, &m) || m.state != state) {
        assert_true(as_time_left(until) > 0);
        pause_ms(STEP);
    }
    return m;
}

static void wait_held(struct pool *b, const char *id, double held)
{
    struct as_member m;
    as_time until = soon(PATIENCE);
    while (!look(b, id, &m) || m.held < held || m.held > held) {
        assert_true(as_time_left(until) > 0);
        pause_ms(STEP);
    }
}

static void evict_all(struct pool *b, const struct as_member *m)
{
    struct as_error err = { 0 };
    ok(as_balancer_haproxy.evict(b->self, soon(3000), m, true, &err), &err);
}

/* --- admitting -------------------------------------------------------------------------------- */

static struct proxy lb; /* shared by the tests that do not harm it */

static void no_request_reaches_a_member_before_its_checks_pass(void **state)
{
    (void)state;
    struct target *t = target_start();
    struct pool b = pool_open(lb.socket, "backend = \"web\"; rise = 3;");
    struct as_member m = member("web-0a", t->port), seen;
    admit(&b, &m);
    assert_true(look(&b, m.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_CHECKING);
    assert_string_equal(seen.address, "127.0.0.1");
    assert_int_equal(seen.port, t->port);
    as_time until = soon(PATIENCE);
    while (get(lb.port, "/") != 200)
        assert_true(as_time_left(until) > 0);
    assert_true(t->checks_at_first >= 3);
    wait_state(&b, m.id, AS_MEMBER_UP);
    admit(&b, &m); /* again: nothing changes */
    assert_true(look(&b, m.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_UP);
    evict_all(&b, &m);
    pool_close(&b);
    target_stop(t);
}

static void a_dead_member_never_comes_up(void **state)
{
    (void)state;
    struct pool b = pool_open(lb.socket, "backend = \"web\";");
    struct as_member m = member("web-dead", free_port()), seen;
    admit(&b, &m);
    for (as_time until = soon(800); as_time_left(until) > 0; pause_ms(10)) {
        assert_true(look(&b, m.id, &seen));
        assert_int_equal(seen.state, AS_MEMBER_CHECKING);
        assert_int_equal(get(lb.port, "/"), 503);
    }
    evict_all(&b, &m);
    pool_close(&b);
}

static void a_member_that_dies_is_down(void **state)
{
    (void)state;
    struct target *t = target_start();
    struct pool b = pool_open(lb.socket, "backend = \"web\";");
    struct as_member m = member("web-fall", t->port);
    admit(&b, &m);
    wait_state(&b, m.id, AS_MEMBER_UP);
    target_stop(t);
    wait_state(&b, m.id, AS_MEMBER_DOWN);
    evict_all(&b, &m);
    pool_close(&b);
}

static void without_checks_a_member_is_up_at_once(void **state)
{
    (void)state;
    struct target *t = target_start();
    struct pool b = pool_open(lb.socket, "backend = \"web\"; check = false; weight = 7;");
    struct as_member m = member("web-unchecked", t->port), seen;
    admit(&b, &m);
    assert_true(look(&b, m.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_UP);
    assert_int_equal(seen.weight, 7);
    assert_int_equal(get(lb.port, "/"), 200);
    evict_all(&b, &m);
    pool_close(&b);
    target_stop(t);
}

static void a_name_left_from_another_address_is_replaced(void **state)
{
    (void)state;
    struct target *t = target_start();
    struct pool b = pool_open(lb.socket, "backend = \"web\";");
    struct as_member old = member("web-same", free_port()), m = member("web-same", t->port);
    admit(&b, &old);
    admit(&b, &m);
    assert_int_equal(wait_state(&b, m.id, AS_MEMBER_UP).port, t->port);
    evict_all(&b, &m);
    pool_close(&b);
    target_stop(t);
}

static void names_addresses_and_options_that_are_not_plain_are_refused(void **state)
{
    (void)state;
    struct pool b = pool_open(lb.socket, "backend = \"web\";"), bad;
    struct as_error err = { 0 };
    struct as_member m = member("web-1;disable server mixed/fixed", 80);
    assert_int_equal(as_balancer_haproxy.admit(b.self, soon(1000), &m, &err), AS_EINVAL);
    assert_int_equal(as_balancer_haproxy.drain(b.self, soon(1000), &m, &err), AS_EINVAL);
    assert_int_equal(as_balancer_haproxy.evict(b.self, soon(1000), &m, true, &err), AS_EINVAL);
    m = member("web-1", 80);
    strcpy(m.address, "localhost");
    assert_int_equal(as_balancer_haproxy.admit(b.self, soon(1000), &m, &err), AS_EINVAL);
    assert_non_null(strstr(err.msg, "literal address"));
    pool_close(&b);
    assert_int_equal(pool_try(&bad, lb.socket, "backend = \"web;help\";", &err), AS_EINVAL);
    pool_close(&bad);
    assert_int_equal(pool_try(&bad, lb.socket, "backend = \"web\"; server_options = \"a;b\";", &err),
                     AS_EINVAL);
    pool_close(&bad);
    b = pool_open(lb.socket, "backend = \"web\"; server_options = [ \"cookie x\" ];");
    m = member("web-1", 80);
    assert_int_equal(as_balancer_haproxy.admit(b.self, soon(1000), &m, &err), AS_EINVAL);
    assert_non_null(strstr(err.msg, "cookie"));
    pool_close(&b);
}

/* --- draining and evicting -------------------------------------------------------------------- */

static void drain_keeps_a_running_session_and_takes_no_new_one(void **state)
{
    (void)state;
    struct target *t = target_start();
    struct pool b = pool_open(lb.socket, "backend = \"web\";");
    struct as_member m = member("web-drain", t->port);
    struct as_error err = { 0 };
    struct client c;
    admit(&b, &m);
    wait_state(&b, m.id, AS_MEMBER_UP);
    client_start(&c, lb.port, "/hold");
    wait_held(&b, m.id, 1);
    ok(as_balancer_haproxy.drain(b.self, soon(1000), &m, &err), &err);
    ok(as_balancer_haproxy.drain(b.self, soon(1000), &m, &err), &err);
    assert_int_equal(wait_state(&b, m.id, AS_MEMBER_DRAINING).held, 1);
    assert_int_equal(get(lb.port, "/"), 503);
    t->released = true;
    assert_int_equal(client_status(&c), 200);
    wait_held(&b, m.id, 0);
    wait_state(&b, m.id, AS_MEMBER_DRAINING);
    int checks = t->checks;
    admit(&b, &m); /* load returned: back at once, its checks never stopped */
    assert_int_equal(get(lb.port, "/"), 200);
    assert_true(checks >= 2);
    evict_all(&b, &m);
    pool_close(&b);
    target_stop(t);
}

static void a_draining_member_whose_checks_fail_is_still_draining(void **state)
{
    (void)state;
    struct pool b = pool_open(lb.socket, "backend = \"web\";");
    struct as_member m = member("web-sick", free_port()), seen;
    struct as_error err = { 0 };
    admit(&b, &m);
    ok(as_balancer_haproxy.drain(b.self, soon(1000), &m, &err), &err);
    assert_true(look(&b, m.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_DRAINING);
    admit(&b, &m); /* and taken back it must pass its checks like a new one */
    wait_state(&b, m.id, AS_MEMBER_CHECKING);
    assert_int_equal(get(lb.port, "/"), 503);
    evict_all(&b, &m);
    pool_close(&b);
}

static void evict_waits_for_sessions_unless_forced(void **state)
{
    (void)state;
    struct target *t = target_start();
    struct pool b = pool_open(lb.socket, "backend = \"web\";");
    struct as_member m = member("web-evict", t->port), seen;
    struct as_error err = { 0 };
    struct client c;
    admit(&b, &m);
    wait_state(&b, m.id, AS_MEMBER_UP);
    client_start(&c, lb.port, "/hold");
    wait_held(&b, m.id, 1);
    assert_int_equal(as_balancer_haproxy.evict(b.self, soon(2000), &m, false, &err), AS_EAGAIN);
    assert_true(look(&b, m.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_UP); /* nothing was done to it */
    ok(as_balancer_haproxy.evict(b.self, soon(2000), &m, true, &err), &err);
    assert_false(look(&b, m.id, &seen));
    assert_int_not_equal(client_status(&c), 200);
    ok(as_balancer_haproxy.evict(b.self, soon(2000), &m, false, &err), &err);
    assert_int_equal(as_balancer_haproxy.drain(b.self, soon(2000), &m, &err), AS_ENOENT);
    pool_close(&b);
    target_stop(t);
}

static void a_member_out_of_rotation_comes_back_through_its_checks(void **state)
{
    (void)state;
    struct target *t = target_start();
    struct pool b = pool_open(lb.socket, "backend = \"web\";");
    struct as_member m = member("web-out", t->port);
    admit(&b, &m);
    wait_state(&b, m.id, AS_MEMBER_UP);
    struct haproxy_cli cli; /* as an operator would */
    struct haproxy_reply reply;
    struct as_error err = { 0 };
    ok(haproxy_cli_init(&cli, lb.socket, &err), &err);
    ok(haproxy_cli_exchange(&cli, soon(1000), true, "set server web/web-out state maint", &reply, &err),
       &err);
    haproxy_reply_fini(&reply);
    wait_state(&b, m.id, AS_MEMBER_OUT);
    struct as_member seen;
    admit(&b, &m);
    assert_true(look(&b, m.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_CHECKING);
    wait_state(&b, m.id, AS_MEMBER_UP);
    evict_all(&b, &m);
    pool_close(&b);
    target_stop(t);
}

static void weight_changes_and_is_listed(void **state)
{
    (void)state;
    struct pool b = pool_open(lb.socket, "backend = \"web\";");
    struct as_member m = member("web-heavy", free_port()), seen;
    struct as_error err = { 0 };
    admit(&b, &m);
    assert_true(look(&b, m.id, &seen));
    assert_int_equal(seen.weight, 100);
    ok(as_balancer_haproxy.weight(b.self, soon(1000), &m, 30, &err), &err);
    assert_true(look(&b, m.id, &seen));
    assert_int_equal(seen.weight, 30);
    assert_int_equal(as_balancer_haproxy.weight(b.self, soon(1000), &m, 0, &err), AS_EINVAL);
    assert_int_equal(as_balancer_haproxy.weight(b.self, soon(1000), &m, 257, &err), AS_EINVAL);
    evict_all(&b, &m);
    pool_close(&b);
}

/* --- what cannot be driven -------------------------------------------------------------------- */

static void expect_list(const char *endpoint, const char *backend, int rc, const char *says)
{
    char more[64];
    snprintf(more, sizeof more, "backend = \"%s\";", backend);
    struct pool b = pool_open(endpoint, more);
    struct as_members list = { 0 };
    struct as_error err = { 0 };
    assert_int_equal(as_balancer_haproxy.list(b.self, soon(1000), &list, &err), rc);
    if (rc) {
        assert_int_equal(list.count, 0);
        assert_int_equal(err.rc, rc);
    }
    if (says && !strstr(err.msg, says))
        fail_msg("'%s' does not say '%s'", err.msg, says);
    as_members_fini(&list);
    pool_close(&b);
}

static void backends_that_cannot_take_servers_are_refused_with_the_reason(void **state)
{
    (void)state;
    expect_list(lb.socket, "fixed", AS_EINVAL, "roundrobin, leastconn");
    expect_list(lb.socket, "nosuch", AS_EINVAL, "has no backend 'nosuch'");
    expect_list(lb.operator_socket, "web", AS_EAUTH, "level admin");
    expect_list(lb.socket, "chance", AS_OK, NULL);
    expect_list(lb.socket, "web", AS_OK, NULL);
    char dead[200];
    snprintf(dead, sizeof dead, "%s/none.sock", root);
    expect_list(dead, "web", AS_EAGAIN, "does not take connections");
}

static void foreign_servers_are_listed_and_left_alone(void **state)
{
    (void)state;
    struct pool b = pool_open(lb.socket, "backend = \"mixed\";");
    struct as_member m = member("web-guest", free_port()), before, after;
    assert_true(look(&b, "fixed", &before));
    admit(&b, &m);
    evict_all(&b, &m);
    assert_true(look(&b, "fixed", &after));
    assert_int_equal(before.state, AS_MEMBER_UP);
    assert_int_equal(after.state, AS_MEMBER_UP);
    assert_int_equal(after.weight, before.weight);
    pool_close(&b);
}

static void a_server_named_by_the_configuration_cannot_be_evicted(void **state)
{
    (void)state;
    struct pool b = pool_open(lb.socket, "backend = \"pinned\";");
    struct as_member m = member("extra", 1);
    struct as_error err = { 0 };
    assert_int_equal(as_balancer_haproxy.evict(b.self, soon(1000), &m, false, &err), AS_EINVAL);
    assert_non_null(strstr(err.msg, "use-server"));
    pool_close(&b);
}

static void evicting_from_a_backend_that_is_gone_succeeds(void **state)
{
    (void)state;
    struct pool b = pool_open(lb.socket, "backend = \"nosuch\";");
    struct as_member m = member("web-1", 1);
    struct as_error err = { 0 };
    ok(as_balancer_haproxy.evict(b.self, soon(1000), &m, false, &err), &err);
    assert_int_equal(as_balancer_haproxy.admit(b.self, soon(1000), &m, &err), AS_EINVAL);
    pool_close(&b);
}

/* --- several, restarted and hung HAProxys ----------------------------------------------------- */

static void two_haproxys_are_kept_in_step_over_unix_and_tcp(void **state)
{
    (void)state;
    struct proxy other = proxy_start("other");
    struct target *t = target_start();
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%u", other.cli_port);
    struct pool a = pool_open(lb.socket, "backend = \"web\";"), b = pool_open(address, "backend = \"web\";");
    struct as_member m = member("web-both", t->port);
    admit(&a, &m);
    admit(&b, &m);
    wait_state(&a, m.id, AS_MEMBER_UP);
    wait_state(&b, m.id, AS_MEMBER_UP);
    assert_int_equal(get(lb.port, "/"), 200);
    assert_int_equal(get(other.port, "/"), 200);
    evict_all(&a, &m);
    pool_close(&a);
    pool_close(&b);
    proxy_end(&other);
    target_stop(t);
}

static void list_epoch(struct pool *b, struct as_members *list)
{
    struct as_error err = { 0 };
    *list = (struct as_members){ 0 };
    ok(as_balancer_haproxy.list(b->self, soon(1000), list, &err), &err);
    assert_true(strlen(list->epoch) > 2);
}

static void a_restart_changes_the_epoch_and_members_can_be_put_back(void **state)
{
    (void)state;
    struct proxy p = proxy_start("restarted");
    struct target *t = target_start();
    struct pool b = pool_open(p.socket, "backend = \"web\";");
    struct as_member m = member("web-back", t->port);
    struct as_members before, same, after;
    admit(&b, &m);
    list_epoch(&b, &before);
    list_epoch(&b, &same);
    proxy_end(&p);
    proxy_run(&p);
    list_epoch(&b, &after);
    assert_int_equal(before.count, 1);
    assert_int_equal(after.count, 0);
    assert_string_equal(before.epoch, same.epoch);
    assert_string_not_equal(before.epoch, after.epoch);
    admit(&b, &m);
    wait_state(&b, m.id, AS_MEMBER_UP);
    as_members_fini(&before);
    as_members_fini(&same);
    as_members_fini(&after);
    pool_close(&b);
    proxy_end(&p);
    target_stop(t);
}

static void a_hung_haproxy_costs_no_more_than_the_deadline(void **state)
{
    (void)state;
    struct proxy p = proxy_start("hung");
    struct pool b = pool_open(p.socket, "backend = \"web\";");
    struct as_member m = member("web-1", 80), other = member("web-2", 80);
    struct as_members list = { 0 };
    struct as_error err = { 0 };
    kill(p.pid, SIGSTOP);
    as_time began = as_clock_monotonic();
    assert_int_equal(as_balancer_haproxy.list(b.self, soon(200), &list, &err), AS_EAGAIN);
    assert_int_equal(as_balancer_haproxy.admit(b.self, soon(200), &m, &err), AS_EUNKNOWN);
    assert_int_equal(as_balancer_haproxy.drain(b.self, soon(200), &other, &err), AS_EUNKNOWN);
    as_time took = as_clock_monotonic() - began;
    assert_in_range(took, 500, 1500);
    kill(p.pid, SIGCONT);
    wait_state(&b, m.id, AS_MEMBER_OUT); /* it was carried out: unknown was the truth, and it takes no work */
    admit(&b, &m);
    wait_state(&b, m.id, AS_MEMBER_CHECKING);
    pool_close(&b);
    proxy_end(&p);
}

/* --- the source ------------------------------------------------------------------------------- */

static struct pool source_open(const char *endpoint, const char *more)
{
    struct pool s = { 0 };
    struct as_error err = { 0 };
    char text[512];
    snprintf(text, sizeof text, "address = \"%s\"; %s", endpoint, more);
    ok(as_settings_parse(as_source_haproxy.options, text, &s.settings, &err), &err);
    s.self = calloc(1, as_source_haproxy.state_size);
    ok(as_source_haproxy.open(s.self, s.settings, endpoint, &err), &err);
    return s;
}

static void source_close(struct pool *s)
{
    as_source_haproxy.close(s->self);
    free(s->self);
    as_settings_free(s->settings);
}

static const struct as_sample *sample(const struct as_samples *s, const char *object, const char *series)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->items[i].object, object) == 0 && strcmp(s->items[i].series, series) == 0)
            return &s->items[i];
    return NULL;
}

static double value(const struct as_samples *s, const char *series)
{
    const struct as_sample *found = sample(s, "web", series);
    if (!found)
        fail_msg("no sample '%s'", series);
    return found->value;
}

static void poll_source(struct pool *s, struct as_samples *out)
{
    struct as_error err = { 0 };
    as_samples_fini(out);
    ok(as_source_haproxy.poll(s->self, soon(2000), out, &err), &err);
}

static void the_source_counts_sessions_in_service_and_in_the_queue(void **state)
{
    (void)state;
    struct target *t = target_start();
    struct pool b = pool_open(lb.socket, "backend = \"web\"; maxconn = 2;"), s = source_open(lb.socket, "");
    struct as_member m = member("web-full", t->port);
    struct as_samples now = { 0 };
    struct client c[6];
    poll_source(&s, &now);
    assert_null(sample(&now, "web", "sessions_per_server")); /* nobody is up */
    assert_int_equal(value(&now, "servers_up"), 0);
    admit(&b, &m);
    wait_state(&b, m.id, AS_MEMBER_UP);
    for (int i = 0; i < 6; i++)
        client_start(&c[i], lb.port, "/hold");
    as_time until = soon(PATIENCE);
    do {
        assert_true(as_time_left(until) > 0);
        pause_ms(STEP);
        poll_source(&s, &now);
    } while (value(&now, "sessions") < 6 || value(&now, "queue") < 4);
    assert_int_equal(value(&now, "sessions"), 6);
    assert_int_equal(value(&now, "queue"), 4);
    assert_int_equal(value(&now, "sessions_active"), 2);
    assert_int_equal(value(&now, "servers_up"), 1);
    assert_int_equal(value(&now, "sessions_per_server"), 6);
    t->released = true;
    for (int i = 0; i < 6; i++)
        assert_int_equal(client_status(&c[i]), 200);
    as_samples_fini(&now);
    source_close(&s);
    evict_all(&b, &m);
    pool_close(&b);
    target_stop(t);
}

static void the_source_forms_rates_and_times_of_what_happened_since_the_last_poll(void **state)
{
    (void)state;
    struct target *t = target_start();
    struct pool b = pool_open(lb.socket, "backend = \"web\";"),
                s = source_open(lb.socket, "backends = \"web\";");
    struct as_member m = member("web-rate", t->port);
    struct as_samples now = { 0 };
    admit(&b, &m);
    wait_state(&b, m.id, AS_MEMBER_UP);
    poll_source(&s, &now);
    assert_null(sample(&now, "mixed", "sessions")); /* filtered */
    assert_null(sample(&now, "web", "error_rate"));
    as_time from = as_clock_monotonic();
    for (int i = 0; i < 10; i++)
        assert_int_equal(get(lb.port, "/slow"), 200);
    for (int i = 0; i < 5; i++)
        assert_int_equal(get(lb.port, "/broken"), 500);
    poll_source(&s, &now);
    double seconds = (double)(as_clock_monotonic() - from) / 1000;
    double requests = value(&now, "request_rate") * seconds, errors = value(&now, "error_rate") * seconds;
    assert_true(requests > 14 && requests < 16.5);
    assert_true(errors > 4.6 && errors < 5.5);
    assert_true(value(&now, "response_time_ms") > 1);
    poll_source(&s, &now);
    assert_null(sample(&now, "web", "response_time_ms")); /* nothing moved */
    as_samples_fini(&now);
    source_close(&s);
    evict_all(&b, &m);
    pool_close(&b);
    target_stop(t);
}

static void the_source_needs_no_admin_level_and_names_what_is_wrong(void **state)
{
    (void)state;
    struct as_samples now = { 0 };
    struct as_error err = { 0 };
    struct pool s = source_open(lb.operator_socket, "");
    poll_source(&s, &now);
    assert_non_null(sample(&now, "web", "sessions"));
    source_close(&s);
    s = source_open(lb.socket, "backends = [ \"shop\" ];");
    assert_int_equal(as_source_haproxy.poll(s.self, soon(1000), &now, &err), AS_EINVAL);
    assert_non_null(strstr(err.msg, "'shop'"));
    source_close(&s);
    s = source_open("127.0.0.1:1", "");
    assert_int_equal(as_source_haproxy.poll(s.self, soon(1000), &now, &err), AS_EAGAIN);
    source_close(&s);
    as_samples_fini(&now);
}

/* --- all -------------------------------------------------------------------------------------- */

static int start_all(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    strcpy(root, "/tmp/haproxy-test-XXXXXX");
    if (!mkdtemp(root))
        return -1;
    lb = proxy_start("lb");
    return 0;
}

static int end_all(void **state)
{
    (void)state;
    char command[100];
    proxy_end(&lb);
    snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_request_reaches_a_member_before_its_checks_pass),
        cmocka_unit_test(a_dead_member_never_comes_up),
        cmocka_unit_test(a_member_that_dies_is_down),
        cmocka_unit_test(without_checks_a_member_is_up_at_once),
        cmocka_unit_test(a_name_left_from_another_address_is_replaced),
        cmocka_unit_test(names_addresses_and_options_that_are_not_plain_are_refused),
        cmocka_unit_test(drain_keeps_a_running_session_and_takes_no_new_one),
        cmocka_unit_test(a_draining_member_whose_checks_fail_is_still_draining),
        cmocka_unit_test(evict_waits_for_sessions_unless_forced),
        cmocka_unit_test(a_member_out_of_rotation_comes_back_through_its_checks),
        cmocka_unit_test(weight_changes_and_is_listed),
        cmocka_unit_test(backends_that_cannot_take_servers_are_refused_with_the_reason),
        cmocka_unit_test(foreign_servers_are_listed_and_left_alone),
        cmocka_unit_test(a_server_named_by_the_configuration_cannot_be_evicted),
        cmocka_unit_test(evicting_from_a_backend_that_is_gone_succeeds),
        cmocka_unit_test(two_haproxys_are_kept_in_step_over_unix_and_tcp),
        cmocka_unit_test(a_restart_changes_the_epoch_and_members_can_be_put_back),
        cmocka_unit_test(a_hung_haproxy_costs_no_more_than_the_deadline),
        cmocka_unit_test(the_source_counts_sessions_in_service_and_in_the_queue),
        cmocka_unit_test(the_source_forms_rates_and_times_of_what_happened_since_the_last_poll),
        cmocka_unit_test(the_source_needs_no_admin_level_and_names_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, start_all, end_all);
}
