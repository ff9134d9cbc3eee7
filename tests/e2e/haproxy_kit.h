/* What the tests of the haproxy drivers work with: private HAProxys on 127.0.0.1 in a temporary directory, and the
 * balancer as the core calls it. Ends only what it started. Included once. */
#ifndef E2E_HAPROXY_KIT_H
#define E2E_HAPROXY_KIT_H

#include "../../drivers/wire/haproxy_cli.h"
#include "web_kit.h"

extern const struct as_source_driver as_source_haproxy;
extern const struct as_balancer_driver as_balancer_haproxy;

#define PATIENCE 60000 /* ms: how long a condition may take        */
#define CALL     20000 /* ms: deadline of one call; ends much earlier */

/* --- HAProxy ---------------------------------------------------------------------------------- */

struct proxy {
    char dir[128], socket[160], operator_socket[160], conf[160];
    uint16_t port, cli_port;
    pid_t pid;
};

static struct proxy lb; /* shared by the tests that do not harm it */

static inline void write_conf(const struct proxy *p, uint16_t static_port)
{
    FILE *f = fopen(p->conf, "w");
    assert_non_null(f);
    fprintf(f,
            "global\n  stats socket %s mode 600 level admin\n  stats socket %s mode 600 level operator\n"
            "  stats socket ipv4@127.0.0.1:%u level admin\n"
            "defaults\n  mode http\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n"
            "  timeout check 10s\n"
            "  timeout queue 60s\n"
            "frontend shop\n  bind 127.0.0.1:%u\n  default_backend web\n"
            "backend web\n  balance leastconn\n  option httpchk GET /check\n"
            "backend mixed\n  balance roundrobin\n  server fixed 127.0.0.1:%u\n"
            "backend chance\n  balance random\n"
            "frontend twin\n  default_backend twin\nbackend twin\n  balance roundrobin\n"
            "backend fixed\n  balance static-rr\n"
            "backend pinned\n  balance roundrobin\n  use-server extra if { path /x }\n  server extra "
            "127.0.0.1:%u\n",
            p->socket, p->operator_socket, p->cli_port, p->port, static_port, static_port);
    fclose(f);
}

static inline void proxy_run(struct proxy *p)
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

static inline void proxy_end(struct proxy *p)
{
    kill(p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
    p->pid = 0;
}

static inline struct proxy proxy_start(const char *name)
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

/* --- the balancer ----------------------------------------------------------------------------- */

static const struct as_owner owner = { "test", "web" };

static inline int pool_try(struct pool *b, const char *endpoint, const char *more, struct as_error *err)
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

static inline struct pool pool_open(const char *endpoint, const char *more)
{
    struct pool b;
    struct as_error err = { 0 };
    if (pool_try(&b, endpoint, more, &err))
        fail_msg("open: %s", err.msg);
    return b;
}

static inline void pool_close(struct pool *b)
{
    if (b->self)
        as_balancer_haproxy.close(b->self);
    free(b->self);
    as_settings_free(b->settings);
}

static inline struct as_member member(const char *id, uint16_t port)
{
    struct as_member m = { .address = "127.0.0.1", .port = port };
    snprintf(m.id, sizeof m.id, "%s", id);
    return m;
}

static inline void admit(struct pool *b, const struct as_member *m)
{
    struct as_error err = { 0 };
    ok(as_balancer_haproxy.admit(b->self, soon(CALL), m, &err), &err);
}

/* Looks for one member; false when it is not listed. */
static inline bool look(struct pool *b, const char *id, struct as_member *out)
{
    struct as_members list = { 0 };
    struct as_error err = { 0 };
    ok(as_balancer_haproxy.list(b->self, soon(CALL), &list, &err), &err);
    bool found = false;
    for (size_t i = 0; i < list.count; i++)
        if (strcmp(list.items[i].id, id) == 0) {
            *out = list.items[i];
            found = true;
        }
    as_members_fini(&list);
    return found;
}

static inline struct as_member wait_state(struct pool *b, const char *id, enum as_member_state state)
{
    struct as_member m = { 0 };
    as_time until = soon(PATIENCE);
    while (!look(b, id, &m) || m.state != state) {
        assert_true(as_time_left(until) > 0);
        pause_ms(STEP);
    }
    return m;
}

static inline void wait_held(struct pool *b, const char *id, double held)
{
    struct as_member m = { 0 };
    as_time until = soon(PATIENCE);
    while (!look(b, id, &m) || m.held < held || m.held > held) {
        assert_true(as_time_left(until) > 0);
        pause_ms(STEP);
    }
}

static inline void evict_all(struct pool *b, const struct as_member *m)
{
    struct as_error err = { 0 };
    ok(as_balancer_haproxy.evict(b->self, soon(CALL), m, true, &err), &err);
}

/* --- around all tests ------------------------------------------------------------------------- */

static inline int start_all(void **state)
{
    (void)state;
    if (!root_make("haproxy"))
        return -1;
    lb = proxy_start("lb");
    return 0;
}

static inline int end_all(void **state)
{
    (void)state;
    proxy_end(&lb);
    return root_remove();
}

#endif
