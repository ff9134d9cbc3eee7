/* The nginx source and balancer against real, private nginxs on 127.0.0.1, with HTTP servers that live in
 * this process and count what reaches them. Starts its own nginxs in a temporary directory and ends only
 * those. */
#include <arpa/inet.h>
#include <math.h>
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

extern const struct as_source_driver as_source_nginx;
extern const struct as_balancer_driver as_balancer_nginx;

#define PATIENCE 40000 /* ms: how long a condition may take */
#define CALL     10000 /* ms: deadline of one call; ends much earlier */
#define STEP     20

static char root[64];
static const char *const nginx_program = "/usr/sbin/nginx";

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

static as_time soon(as_time ms)
{
    return as_clock_monotonic() + ms;
}

/* --- servers behind nginx ------------------------------------------------------------------------------ */

struct target {
    int fd;
    uint16_t port;
    pthread_t thread;
    atomic_int requests, holding;
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
        t->requests++;
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
    static struct target targets[60]; /* each outlives the threads that still answer for it */
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

/* --- clients ------------------------------------------------------------------------------------------- */

static int dial(uint16_t port)
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
static int ask(int fd, const char *path, const char *connection)
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

static int get(uint16_t port, const char *path)
{
    int fd = dial(port);
    int status = fd >= 0 ? ask(fd, path, "close") : 0;
    if (fd >= 0)
        close(fd);
    return status;
}

struct load {
    pthread_t thread;
    uint16_t port;
    bool keep;
    atomic_bool *stop;
    int good, bad, dropped;
};

/* A kept connection may be closed by nginx between two requests; the first request of a fresh one may not fail. */
static void *run_load(void *arg)
{
    struct load *l = arg;
    int fd = -1;
    while (!*l->stop) {
        bool fresh = fd < 0;
        fd = fresh ? dial(l->port) : fd;
        int status = fd >= 0 ? ask(fd, "/", l->keep ? "keep-alive" : "close") : 0;
        if (status == 200)
            l->good++;
        else if (status == 0 && !fresh)
            l->dropped++;
        else
            l->bad++;
        if (fd >= 0 && (!l->keep || status != 200)) {
            close(fd);
            fd = -1;
        }
        pause_ms(2);
    }
    if (fd >= 0)
        close(fd);
    return NULL;
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

/* --- nginx --------------------------------------------------------------------------------------------- */

struct web {
    char dir[128], include[160], extra[160], pid_file[160], conf[160], log[160];
    uint16_t port;
    pid_t pid;
};

static void put_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static char *file_text(const char *path)
{
    static char text[1 << 20];
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = '\0';
    if (f)
        fclose(f);
    return text;
}

static void write_conf(const struct web *w)
{
    char text[4096];
    const char *d = w->dir;
    snprintf(text, sizeof text,
             "daemon off;\nworker_processes 2;\nuser root;\npid %s;\nerror_log %s/error.log notice;\n"
             "events { worker_connections 512; }\nhttp {\n"
             "  log_format t '$remote_addr [$time_local] \"$request\" $status $request_time "
             "$upstream_response_time';\n"
             "  access_log %s t;\n  client_body_temp_path %s/t1;\n  proxy_temp_path %s/t2;\n"
             "  fastcgi_temp_path %s/t3;\n  uwsgi_temp_path %s/t4;\n  scgi_temp_path %s/t5;\n"
             "  include %s;\n  include %s;\n"
             "  server { listen 127.0.0.1:%u;\n"
             "    location / { proxy_pass http://web; proxy_next_upstream off; proxy_read_timeout 30s; }\n"
             "    location = /status { access_log off; stub_status; } }\n"
             "  server { listen unix:%s/marker.sock; access_log off;\n"
             "    location = /generation { return 200 $autoscale_web; } }\n}\n",
             w->pid_file, d, w->log, d, d, d, d, d, w->include, w->extra, w->port, d);
    put_file(w->conf, text);
}

static struct web web_new(const char *name)
{
    struct web w = { .port = free_port() };
    snprintf(w.dir, sizeof w.dir, "%s/%s", root, name);
    mkdir(w.dir, 0700);
    snprintf(w.include, sizeof w.include, "%s/web.conf", w.dir);
    snprintf(w.extra, sizeof w.extra, "%s/extra.conf", w.dir);
    snprintf(w.pid_file, sizeof w.pid_file, "%s/pid", w.dir);
    snprintf(w.conf, sizeof w.conf, "%s/nginx.conf", w.dir);
    snprintf(w.log, sizeof w.log, "%s/access.log", w.dir);
    put_file(w.extra, "");
    write_conf(&w);
    return w;
}

static void web_run(struct web *w)
{
    w->pid = fork();
    assert_true(w->pid >= 0);
    if (w->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        execl(nginx_program, "nginx", "-c", w->conf, (char *)NULL);
        _exit(127);
    }
    as_time until = soon(PATIENCE);
    while (get(w->port, "/status") != 200) {
        assert_true(as_time_left(until) > 0);
        assert_int_equal(waitpid(w->pid, NULL, WNOHANG), 0);
        pause_ms(STEP);
    }
}

static void web_end(struct web *w)
{
    kill(w->pid, SIGTERM);
    waitpid(w->pid, NULL, 0);
    w->pid = 0;
}

static int reloads(const struct web *w)
{
    char path[180];
    int n = 0;
    snprintf(path, sizeof path, "%s/error.log", w->dir);
    for (const char *at = file_text(path); (at = strstr(at, "(SIGHUP) received from")); at++)
        n++;
    return n;
}

/* --- the balancer -------------------------------------------------------------------------------------- */

struct pool {
    struct as_settings *settings;
    void *self;
};

static struct pool pool_open(const struct web *w, const char *more)
{
    static const struct as_owner owner = { "test", "web" };
    char text[1024];
    struct as_error err = { 0 };
    struct pool b = { 0 };
    snprintf(
        text, sizeof text,
        "include = \"%s\"; upstream = \"web\"; config = \"%s\"; pid_file = \"%s\"; nginx = \"%s\"; zone = "
        "\"64KiB\"; %s",
        w->include, w->conf, w->pid_file, nginx_program, more);
    if (as_settings_parse(as_balancer_nginx.options, text, &b.settings, &err))
        fail_msg("settings: %s", err.msg);
    b.self = calloc(1, as_balancer_nginx.state_size);
    if (as_balancer_nginx.open(b.self, b.settings, &owner, "local", &err))
        fail_msg("open: %s", err.msg);
    return b;
}

static struct pool pool_marked(const struct web *w, const char *more)
{
    char text[512];
    snprintf(text, sizeof text, "marker = \"unix:%s/marker.sock:/generation\"; %s", w->dir, more);
    return pool_open(w, text);
}

static void pool_close(struct pool *b)
{
    as_balancer_nginx.close(b->self);
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
    struct as_member m = { .address = "127.0.0.1", .port = port, .weight = 100 };
    snprintf(m.id, sizeof m.id, "%s", id);
    return m;
}

static int try_admit(struct pool *b, const struct as_member *m, struct as_error *err)
{
    return as_balancer_nginx.admit(b->self, soon(CALL), m, err);
}

static void admit(struct pool *b, const struct as_member *m)
{
    struct as_error err = { 0 };
    ok(try_admit(b, m, &err), &err);
}

static void drain(struct pool *b, const struct as_member *m)
{
    struct as_error err = { 0 };
    ok(as_balancer_nginx.drain(b->self, soon(CALL), m, &err), &err);
}

/* What list says of a member; false when it is none. */
static bool listed(struct pool *b, const char *id, struct as_member *out)
{
    struct as_members all = { 0 };
    struct as_error err = { 0 };
    bool found = false;
    ok(as_balancer_nginx.list(b->self, soon(CALL), &all, &err), &err);
    for (size_t i = 0; i < all.count; i++)
        if (strcmp(all.items[i].id, id) == 0) {
            *out = all.items[i];
            found = true;
        }
    as_members_fini(&all);
    return found;
}

static void await_state(struct pool *b, const char *id, enum as_member_state state, bool empty)
{
    struct as_member m = { 0 };
    as_time until = soon(PATIENCE);
    while (!listed(b, id, &m) || m.state != state || (empty && m.held > 0)) {
        if (as_time_left(until) == 0)
            fail_msg("%s has state %d, holds %.0f, not state %d", id, (int)m.state, m.held, (int)state);
        pause_ms(STEP);
    }
}

static void await_up(struct pool *b, const struct as_member *m)
{
    await_state(b, m->id, AS_MEMBER_UP, false);
}

/* As the core does it: asked again while the member holds work. */
static void evict(struct pool *b, const struct as_member *m)
{
    struct as_error err = { 0 };
    as_time until = soon(PATIENCE);
    int rc;
    while ((rc = as_balancer_nginx.evict(b->self, soon(CALL), m, false, &err)) == AS_EAGAIN &&
           as_time_left(until) > 0)
        pause_ms(STEP);
    ok(rc, &err);
}

/* An nginx with one member that is up. */
static struct pool start_with(struct web *w, const char *name, const struct as_member *m, const char *more)
{
    struct as_error err;
    *w = web_new(name);
    struct pool b = pool_marked(w, more);
    assert_int_equal(try_admit(&b, m, &err), AS_EAGAIN); /* the file is there now, nginx is not */
    web_run(w);
    await_up(&b, m);
    return b;
}

/* --- tests: joining ------------------------------------------------------------------------------------ */

static void the_first_admit_writes_the_file_that_nginx_needs_to_start(void **state)
{
    (void)state;
    struct web w = web_new("first");
    struct target *t = target_start();
    struct as_member m = member("web-00000001", t->port), seen;
    struct pool b = pool_marked(&w, "");
    struct as_members all = { 0 };
    struct as_error err;
    assert_int_equal(as_balancer_nginx.list(b.self, soon(CALL), &all, &err), AS_OK);
    assert_int_equal(all.count, 0);
    assert_int_equal(access(w.include, F_OK), -1); /* list writes nothing */
    assert_int_equal(try_admit(&b, &m, &err), AS_EAGAIN);
    assert_non_null(strstr(err.msg, "start it"));
    assert_int_equal(as_balancer_nginx.list(b.self, soon(CALL), &all, &err), AS_EAGAIN);
    assert_non_null(strstr(err.msg, "not running"));
    web_run(&w);
    await_up(&b, &m);
    assert_int_equal(get(w.port, "/"), 200);
    pool_close(&b);
    b = pool_marked(&w, ""); /* the file is all the memory there is */
    assert_true(listed(&b, m.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_UP);
    assert_int_equal(seen.port, t->port);
    web_end(&w);
    web_run(&w);
    await_up(&b, &m);
    pool_close(&b);
    web_end(&w);
    target_stop(t);
}

static void many_admits_share_a_reload(void **state)
{
    (void)state;
    struct web w;
    struct target *t = target_start();
    struct as_member m = member("web-00000001", t->port), more[10];
    struct pool b = start_with(&w, "batch", &m, "reload_interval = \"3s\";");
    int before = reloads(&w);
    as_time began = as_clock_monotonic();
    for (unsigned i = 0; i < 10; i++) {
        char id[32];
        snprintf(id, sizeof id, "web-000001%02x", i);
        more[i] = member(id, t->port);
        admit(&b, &more[i]);
    }
    for (unsigned i = 0; i < 10; i++)
        await_up(&b, &more[i]);
    int most = (int)((as_clock_monotonic() - began) / 3000) + 1;
    assert_in_range(reloads(&w) - before, 1, most);
    pool_close(&b);
    web_end(&w);
    target_stop(t);
}

static void a_member_that_nginx_was_not_told_of_is_out_until_it_is_admitted_again(void **state)
{
    (void)state;
    struct web w;
    struct target *t = target_start();
    struct as_member one = member("web-00000001", t->port), two = member("web-00000002", t->port),
                     three = member("web-00000003", t->port), seen;
    struct pool b = start_with(&w, "crash", &one, "reload_interval = \"1h\";");
    admit(&b, &two);   /* reloads at once */
    admit(&b, &three); /* would reload in an hour */
    drain(&b, &one);
    await_up(&b, &two);
    assert_true(listed(&b, three.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_CHECKING);
    assert_true(listed(&b, one.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_DRAINING);
    assert_true(seen.held > 0);
    pool_close(&b);
    b = pool_marked(&w, "");
    assert_true(listed(&b, three.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_OUT);
    assert_true(listed(&b, one.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_UP); /* nginx still sends it work */
    assert_true(listed(&b, two.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_UP);
    admit(&b, &three);
    await_up(&b, &three);
    await_state(&b, one.id, AS_MEMBER_DRAINING, true);
    pool_close(&b);
    web_end(&w);
    target_stop(t);
}

static void without_a_marker_new_workers_are_the_proof(void **state)
{
    (void)state;
    struct web w;
    struct target *t = target_start(), *u = target_start();
    struct as_member one = member("web-00000001", t->port), two = member("web-00000002", u->port), seen;
    struct pool b = start_with(&w, "plain", &one, "");
    pool_close(&b);
    b = pool_open(&w, "");
    assert_true(listed(&b, one.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_UP);
    admit(&b, &two);
    await_up(&b, &two);
    drain(&b, &one);
    await_state(&b, one.id, AS_MEMBER_DRAINING, true);
    int before = atomic_load(&t->requests);
    for (int i = 0; i < 20; i++)
        assert_int_equal(get(w.port, "/"), 200);
    assert_int_equal(t->requests, before);
    evict(&b, &one);
    assert_false(listed(&b, one.id, &seen));
    pool_close(&b);
    web_end(&w);
    target_stop(t);
    target_stop(u);
}

static void every_algorithm_is_taken_by_nginx(void **state)
{
    (void)state;
    static const char *const more[] = { "algorithm = \"round_robin\"; max_conns = 50; max_fails = 0;",
                                        "algorithm = \"random\"; fail_timeout = \"3s\"; keepalive = 4;",
                                        "algorithm = \"least_conn\"; max_fails = 3;",
                                        "algorithm = \"hash\"; hash_key = \"${request_uri}$cookie_sid\";",
                                        "algorithm = \"ip_hash\";" };
    struct web w;
    struct target *t = target_start();
    struct as_member m = member("web-00000001", t->port);
    struct pool b = start_with(&w, "algorithms", &m, "");
    pool_close(&b);
    for (unsigned i = 0; i < sizeof more / sizeof *more; i++) {
        char id[32];
        snprintf(id, sizeof id, "web-0000001%u", i);
        struct as_member n = member(id, t->port);
        b = pool_marked(&w, more[i]);
        admit(&b, &n);
        await_up(&b, &n);
        for (int k = 0; k < 4; k++)
            assert_int_equal(get(w.port, "/"), 200);
        pool_close(&b);
    }
    b = pool_marked(&w, "weight_interval = \"0ms\";");
    struct as_error err = { 0 };
    struct as_member seen;
    ok(as_balancer_nginx.weight(b.self, soon(CALL), &m, 20, &err), &err);
    assert_true(listed(&b, m.id, &seen));
    assert_int_equal(seen.weight, 20);
    assert_int_equal(seen.state, AS_MEMBER_UP);
    pool_close(&b);
    web_end(&w);
    target_stop(t);
}

/* --- tests: leaving ------------------------------------------------------------------------------------ */

static void a_draining_member_keeps_its_request_and_gets_no_other(void **state)
{
    (void)state;
    struct web w;
    struct target *t = target_start(), *u = target_start();
    struct as_member one = member("web-00000001", t->port), two = member("web-00000002", u->port), seen;
    struct as_error err;
    struct pool b = start_with(&w, "drain", &one, "reload_interval = \"0s\";");
    struct client c = { .port = w.port, .path = "/hold" };
    pthread_create(&c.thread, NULL, run_client, &c);
    while (!t->holding)
        pause_ms(STEP);
    admit(&b, &two);
    await_up(&b, &two);
    drain(&b, &one);
    drain(&b, &one);
    await_state(&b, one.id, AS_MEMBER_DRAINING, false);
    int before = atomic_load(&t->requests);
    as_time until = soon(PATIENCE);
    while (u->requests < 5 && as_time_left(until) > 0) {
        assert_true(listed(&b, one.id, &seen));
        assert_true(seen.held > 0);
        get(w.port, "/");
    }
    assert_int_equal(as_balancer_nginx.evict(b.self, soon(CALL), &one, false, &err), AS_EAGAIN);
    await_state(&b, two.id, AS_MEMBER_UP, false);
    int settled = atomic_load(&t->requests);
    for (int i = 0; i < 20; i++)
        assert_int_equal(get(w.port, "/"), 200);
    assert_int_equal(t->requests, settled);
    assert_true(settled - before <= 5);
    t->released = true;
    pthread_join(c.thread, NULL);
    assert_int_equal(c.status, 200);
    await_state(&b, one.id, AS_MEMBER_DRAINING, true);
    evict(&b, &one);
    assert_false(listed(&b, one.id, &seen));
    assert_int_equal(as_balancer_nginx.drain(b.self, soon(CALL), &one, &err), AS_ENOENT);
    assert_int_equal(as_balancer_nginx.evict(b.self, soon(CALL), &one, false, &err), AS_OK);
    pool_close(&b);
    web_end(&w);
    target_stop(t);
    target_stop(u);
}

static void force_waits_for_no_session_but_for_the_routing(void **state)
{
    (void)state;
    struct web w;
    struct target *t = target_start(), *u = target_start();
    struct as_member one = member("web-00000001", t->port), two = member("web-00000002", u->port), seen;
    struct as_error err = { 0 };
    struct pool b = start_with(&w, "force", &one, "reload_interval = \"0s\";");
    struct client c = { .port = w.port, .path = "/hold" };
    pthread_create(&c.thread, NULL, run_client, &c);
    while (!t->holding)
        pause_ms(STEP);
    admit(&b, &two);
    await_up(&b, &two);
    ok(as_balancer_nginx.evict(b.self, soon(PATIENCE), &one, true, &err), &err);
    assert_false(listed(&b, one.id, &seen));
    int before = atomic_load(&t->requests);
    for (int i = 0; i < 20; i++)
        assert_int_equal(get(w.port, "/"), 200);
    assert_int_equal(t->requests, before);
    ok(as_balancer_nginx.evict(b.self, soon(PATIENCE), &two, true, &err), &err);
    assert_int_equal(get(w.port, "/"), 502); /* empty, and nginx goes on */
    admit(&b, &two);
    await_up(&b, &two);
    assert_int_equal(get(w.port, "/"), 200);
    t->released = true;
    pthread_join(c.thread, NULL);
    pool_close(&b);
    web_end(&w);
    target_stop(t);
    target_stop(u);
}

/* Instances come and go, each stopped for real once it is evicted; nobody may notice. */
static void no_request_fails_while_members_come_and_go(void **state)
{
    (void)state;
    struct web w;
    struct target *now = target_start();
    struct as_member m = member("web-00000001", now->port);
    struct pool b = start_with(&w, "load", &m, "reload_interval = \"200ms\"; algorithm = \"least_conn\";");
    atomic_bool stop = false;
    struct load loads[6];
    for (int i = 0; i < 6; i++) {
        loads[i] = (struct load){ .port = w.port, .keep = i >= 4, .stop = &stop };
        assert_int_equal(pthread_create(&loads[i].thread, NULL, run_load, &loads[i]), 0);
    }
    for (unsigned round = 2; round < 7; round++) {
        char id[32];
        snprintf(id, sizeof id, "web-0000000%u", round);
        struct target *next = target_start();
        struct as_member n = member(id, next->port);
        admit(&b, &n);
        await_up(&b, &n);
        drain(&b, &m);
        await_state(&b, m.id, AS_MEMBER_DRAINING, true);
        evict(&b, &m);
        target_stop(now);
        now = next;
        m = n;
    }
    stop = true;
    int good = 0, bad = 0, kept = 0;
    for (int i = 0; i < 6; i++) {
        pthread_join(loads[i].thread, NULL);
        good += loads[i].good;
        bad += loads[i].bad;
        kept += loads[i].keep ? loads[i].good : 0;
    }
    assert_true(good > 100 && kept > 20);
    assert_int_equal(bad, 0);
    pool_close(&b);
    web_end(&w);
    target_stop(now);
}

/* --- tests: refusals ----------------------------------------------------------------------------------- */

static void a_configuration_that_nginx_refuses_puts_the_old_file_back(void **state)
{
    (void)state;
    struct web w;
    struct target *t = target_start();
    struct as_member m = member("web-00000001", t->port), n = member("web-00000002", t->port), seen;
    struct as_error err;
    struct pool b = start_with(&w, "refuse", &m, "");
    char *old = strdup(file_text(w.include));
    put_file(w.extra, "server { no_such_thing on; }\n");
    int before = reloads(&w);
    assert_int_equal(try_admit(&b, &n, &err), AS_EINVAL);
    assert_non_null(strstr(err.msg, "unknown directive \"no_such_thing\""));
    assert_string_equal(file_text(w.include), old);
    assert_true(listed(&b, m.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_UP);
    assert_false(listed(&b, n.id, &seen));
    assert_int_equal(reloads(&w), before);
    put_file(w.extra, "");
    admit(&b, &n);
    await_up(&b, &n);
    free(old);
    pool_close(&b);
    web_end(&w);
    target_stop(t);
}

static void a_reload_that_nginx_does_not_carry_out_is_noticed(void **state)
{
    (void)state;
    struct web w;
    struct target *t = target_start();
    struct as_member m = member("web-00000001", t->port), n = member("web-00000002", t->port), seen;
    struct as_error err = { 0 };
    struct pool b = start_with(&w, "silent", &m, "");
    uint16_t busy;
    char extra[128];
    int taken = listen_on(&busy);
    snprintf(extra, sizeof extra, "server { listen 127.0.0.1:%u; return 204; }\n", busy);
    put_file(w.extra, extra); /* `nginx -t` has nothing against it */
    admit(&b, &n);
    assert_true(listed(&b, n.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_CHECKING);
    await_state(&b, n.id, AS_MEMBER_OUT, false);
    assert_int_equal(as_balancer_nginx.admit(b.self, soon(2000), &n, &err), AS_EUNKNOWN);
    assert_non_null(strstr(err.msg, "nginx did not take the reload"));
    assert_int_not_equal(as_balancer_nginx.evict(b.self, soon(1000), &m, true, &err), AS_OK);
    assert_true(listed(&b, m.id, &seen)); /* nginx still sends it work: it is not let go */
    await_state(&b, m.id, AS_MEMBER_UP, false);
    assert_int_equal(get(w.port, "/"), 200);
    close(taken);
    as_time until = soon(PATIENCE);
    while (try_admit(&b, &m, &err) != AS_OK && as_time_left(until) > 0)
        pause_ms(STEP);
    await_up(&b, &m);
    await_up(&b, &n);
    pool_close(&b);
    web_end(&w);
    target_stop(t);
}

static void a_file_of_somebody_else_is_never_touched(void **state)
{
    (void)state;
    static const char *const foreign[] = {
        "upstream web { server 127.0.0.1:9; }\nmap $uri $autoscale_web { default x; }\n",
        "# written by autoscale: test/other; do not edit\n# generation 5 boot b\nupstream web {\n    server "
        "127.0.0.1:1 down; # keeps nginx content while there is no member\n}\nmap $uri $autoscale_web { "
        "default x; }\n"
    };
    struct web w = web_new("foreign");
    struct pool b = pool_marked(&w, "");
    struct as_member m = member("web-00000001", 9);
    struct as_members all = { 0 };
    struct as_error err;
    for (int i = 0; i < 2; i++) {
        put_file(w.include, foreign[i]);
        if (i == 0)
            web_run(&w);
        int before = reloads(&w);
        assert_int_equal(as_balancer_nginx.list(b.self, soon(CALL), &all, &err), AS_EINVAL);
        assert_int_equal(try_admit(&b, &m, &err), AS_EEXIST);
        assert_int_equal(as_balancer_nginx.drain(b.self, soon(CALL), &m, &err), AS_EEXIST);
        assert_int_equal(as_balancer_nginx.evict(b.self, soon(CALL), &m, true, &err), AS_EEXIST);
        assert_string_equal(file_text(w.include), foreign[i]);
        assert_int_equal(reloads(&w), before);
    }
    pool_close(&b);
    web_end(&w);
}

static void only_an_nginx_master_is_ever_signalled(void **state)
{
    (void)state;
    struct web w = web_new("stale");
    struct pool b = pool_open(&w, "");
    struct as_member m = member("web-00000001", 9);
    struct as_error err;
    char pid[32];
    snprintf(pid, sizeof pid, "%d\n", (int)getpid()); /* a signal would end this test */
    put_file(w.pid_file, pid);
    assert_int_equal(try_admit(&b, &m, &err), AS_EAGAIN);
    assert_non_null(strstr(err.msg, "no nginx master"));
    m.address[0] = 'x';
    assert_int_equal(try_admit(&b, &m, &err), AS_EINVAL);
    struct as_member evil = member("web; }", 9);
    assert_int_equal(try_admit(&b, &evil, &err), AS_EINVAL);
    pool_close(&b);
}

/* --- tests: the source --------------------------------------------------------------------------------- */

static double series(void *self, const char *name, struct as_error *err)
{
    struct as_samples out = { 0 };
    double v = NAN;
    *err = (struct as_error){ 0 };
    int rc = as_source_nginx.poll(self, soon(CALL), &out, err);
    if (rc)
        fail_msg("poll: %s", err->msg);
    for (size_t i = 0; i < out.count; i++)
        if (strcmp(out.items[i].series, name) == 0)
            v = out.items[i].value;
    as_samples_fini(&out);
    return v;
}

static void wait_for_lines(const struct web *w, int count)
{
    as_time until = soon(PATIENCE);
    for (;;) {
        int n = 0;
        for (const char *at = file_text(w->log); (at = strchr(at, '\n')); at++)
            n++;
        if (n >= count)
            return;
        assert_true(as_time_left(until) > 0);
        pause_ms(STEP);
    }
}

static void the_source_measures_load_and_times_over_a_rotation(void **state)
{
    (void)state;
    struct web w;
    struct target *t = target_start();
    struct as_member m = member("web-00000001", t->port);
    struct pool b = start_with(&w, "source", &m, "");
    char text[512], moved[180];
    struct as_error err = { 0 };
    struct as_settings *s = NULL;
    void *self = calloc(1, as_source_nginx.state_size);
    snprintf(
        text, sizeof text,
        "address = \"http://127.0.0.1:%u/status\"; log = \"%s\"; log_format = \"$remote_addr [$time_local] "
        "\\\"$request\\\" $status $request_time $upstream_response_time\";",
        w.port, w.log);
    ok(as_settings_parse(as_source_nginx.options, text, &s, &err), &err);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/status", w.port);
    ok(as_source_nginx.open(self, s, url, &err), &err);
    assert_true(isnan(series(self, "request_rate", &err))); /* a first poll has nothing to compare */
    struct client c = { .port = w.port, .path = "/hold" };
    pthread_create(&c.thread, NULL, run_client, &c);
    while (!t->holding)
        pause_ms(STEP);
    assert_float_equal(series(self, "active", &err), 1, 0);
    t->released = true;
    pthread_join(c.thread, NULL);
    wait_for_lines(&w, 1);
    assert_true(series(self, "request_time_p99_ms", &err) > 0);
    for (int i = 0; i < 3; i++)
        get(w.port, "/slow");
    get(w.port, "/broken");
    wait_for_lines(&w, 5);
    double p50 = series(self, "request_time_p50_ms", &err);
    assert_true(p50 >= 190 && p50 < 20000);
    assert_true(isnan(series(self, "request_time_p50_ms", &err))); /* nothing since */
    snprintf(moved, sizeof moved, "%s.1", w.log);
    assert_int_equal(rename(w.log, moved), 0);
    get(w.port, "/broken"); /* to the old file */
    kill(w.pid, SIGUSR1);
    as_time until = soon(PATIENCE);
    while (access(w.log, F_OK) != 0 && as_time_left(until) > 0)
        pause_ms(STEP);
    while (isnan(series(self, "upstream_time_p95_ms", &err)) && as_time_left(until) > 0)
        pause_ms(STEP);
    bool seen = false;
    while (!seen && as_time_left(until) > 0) { /* from the new file */
        get(w.port, "/broken");
        seen = series(self, "error_rate", &err) > 0;
    }
    assert_true(seen);
    assert_int_equal(unlink(w.log), 0);
    assert_int_equal(err.rc, AS_OK);
    as_source_nginx.close(self);
    free(self);
    as_settings_free(s);
    pool_close(&b);
    web_end(&w);
    target_stop(t);
}

static void an_nginx_that_is_gone_or_another_page_is_told(void **state)
{
    (void)state;
    struct web w;
    struct target *t = target_start();
    struct as_member m = member("web-00000001", t->port);
    struct pool b = start_with(&w, "gone", &m, "");
    struct as_error err = { 0 };
    struct as_settings *s = NULL;
    struct as_samples out = { 0 };
    void *self = calloc(1, as_source_nginx.state_size);
    char text[256], url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/", w.port);
    snprintf(text, sizeof text, "address = \"%s\";", url);
    ok(as_settings_parse(as_source_nginx.options, text, &s, &err), &err);
    ok(as_source_nginx.open(self, s, url, &err), &err);
    assert_int_equal(as_source_nginx.poll(self, soon(CALL), &out, &err), AS_EPROTO);
    web_end(&w);
    assert_int_equal(as_source_nginx.poll(self, soon(CALL), &out, &err), AS_EAGAIN);
    assert_int_equal(out.count, 0);
    as_source_nginx.close(self);
    free(self);
    as_settings_free(s);
    pool_close(&b);
    target_stop(t);
}

/* --- running ------------------------------------------------------------------------------------------- */

static int setup(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    snprintf(root, sizeof root, "/tmp/as-nginx.XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char *argv[] = { "rm", "-rf", root, NULL };
    pid_t pid = fork();
    if (pid == 0) {
        execvp("rm", argv);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_admit_writes_the_file_that_nginx_needs_to_start),
        cmocka_unit_test(many_admits_share_a_reload),
        cmocka_unit_test(a_member_that_nginx_was_not_told_of_is_out_until_it_is_admitted_again),
        cmocka_unit_test(without_a_marker_new_workers_are_the_proof),
        cmocka_unit_test(every_algorithm_is_taken_by_nginx),
        cmocka_unit_test(a_draining_member_keeps_its_request_and_gets_no_other),
        cmocka_unit_test(force_waits_for_no_session_but_for_the_routing),
        cmocka_unit_test(no_request_fails_while_members_come_and_go),
        cmocka_unit_test(a_configuration_that_nginx_refuses_puts_the_old_file_back),
        cmocka_unit_test(a_reload_that_nginx_does_not_carry_out_is_noticed),
        cmocka_unit_test(a_file_of_somebody_else_is_never_touched),
        cmocka_unit_test(only_an_nginx_master_is_ever_signalled),
        cmocka_unit_test(the_source_measures_load_and_times_over_a_rotation),
        cmocka_unit_test(an_nginx_that_is_gone_or_another_page_is_told),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
