/* What the test of the nginx drivers works with: private nginxs in a temporary directory, and the balancer as the core
 * calls it. Included once. */
#ifndef E2E_NGINX_KIT_H
#define E2E_NGINX_KIT_H

#include <math.h>

#include "web_kit.h"

extern const struct as_source_driver as_source_nginx;
extern const struct as_balancer_driver as_balancer_nginx;

#define PATIENCE 40000 /* ms: how long a condition may take */
#define CALL     10000 /* ms: deadline of one call; ends much earlier */

static const char *const nginx_program = "/usr/sbin/nginx";

/* --- load ---------------------------------------------------------------------------------------------- */

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
             "    location / { proxy_pass http://web; proxy_next_upstream off; proxy_read_timeout 300s; }\n"
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
        execl(nginx_program, nginx_program, "-c", w->conf, (char *)NULL);
        _exit(127);
    }
    as_time until = soon(PATIENCE);
    while (get(w->port, "/status") != 200) {
        assert_true(as_time_left(until) > 0);
        int status = 0; /* one that runs as a daemon ends well */
        assert_true(waitpid(w->pid, &status, WNOHANG) <= 0 || status == 0);
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

/* --- around all tests ------------------------------------------------------------------------------------------- */

static int setup(void **state)
{
    (void)state;
    return root_make("nginx") ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return root_remove();
}

#endif
