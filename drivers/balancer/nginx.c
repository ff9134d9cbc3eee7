/* The nginx balancer: keeps one upstream of one nginx on this machine in step. It owns one include file,
 * tests the whole configuration, reloads, and believes nothing before a proof that nginx runs what was
 * written. It never writes to a file without its mark and never signals anything but the nginx master.
 *
 * A write is durable and tested when it returns. The reload comes at once or, when the last one was less than
 * reload_interval ago, with a later call (the core lists often while something is on its way), so that
 * many writes share a reload. Removing a server that is already out of use waits for the next reload. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nginx_view.h"

#define TEST_OUTPUT_MAX 4096 /* bytes of `nginx -t` on its standard output */

struct balancer {
    struct nginx_link link;
    const struct as_settings *settings;
    struct nginx_style style;
    char mark[2 * AS_NAME_MAX];
    struct subprocess test; /* of the configuration */
    const char *argv[6];
};

static const char *const algorithms[] = { "round_robin", "random", "least_conn", "hash", "ip_hash", NULL };

static const struct as_option options[] = {
    { .name = "include",
      .type = AS_OPT_STRING,
      .flags = AS_OPT_REQUIRED,
      .help = "file that autoscale writes and nginx's configuration includes at http level; it defines the "
              "upstream "
              "and the variable $autoscale_UPSTREAM" },
    { .name = "upstream",
      .type = AS_OPT_STRING,
      .flags = AS_OPT_REQUIRED,
      .help = "name of the upstream, for proxy_pass http://UPSTREAM" },
    { .name = "marker",
      .type = AS_OPT_STRING,
      .help = "URL (http://HOST:PORT/PATH or unix:/SOCKET:/PATH) of a location with `return 200 "
              "$autoscale_UPSTREAM;` that proves which configuration nginx runs; without, new workers are "
              "the proof" },
    { .name = "config",
      .type = AS_OPT_FILE,
      .def = "/etc/nginx/nginx.conf",
      .help = "nginx's main configuration file, tested before every reload" },
    { .name = "nginx",
      .type = AS_OPT_FILE,
      .def = "/usr/sbin/nginx",
      .help = "nginx's program, for the test" },
    { .name = "pid_file",
      .type = AS_OPT_FILE,
      .def = "/run/nginx.pid",
      .help = "where nginx's master writes its pid" },
    { .name = "reload_interval",
      .type = AS_OPT_DURATION,
      .def = "1s",
      .max = 3600000,
      .help = "least time between two reloads; changes in between share one" },
    { .name = "weight_interval",
      .type = AS_OPT_DURATION,
      .def = "30s",
      .max = 86400000,
      .help = "how long a mere change of weight may wait for a reload that is needed anyway" },
    { .name = "algorithm",
      .type = AS_OPT_CHOICE,
      .def = "round_robin",
      .choices = algorithms,
      .help = "how nginx picks a server; random takes the less busy one of two picked at random" },
    { .name = "hash_key",
      .type = AS_OPT_STRING,
      .help = "for algorithm hash: text with variables, as \"$request_uri\"; requests with the same value go "
              "to the "
              "same server (consistent hashing)" },
    { .name = "zone",
      .type = AS_OPT_BYTES,
      .def = "1MiB",
      .min = 65536,
      .max = 1073741824,
      .help = "shared memory of the upstream; 1MiB is enough for 1000 servers" },
    { .name = "keepalive",
      .type = AS_OPT_INT,
      .min = 1,
      .max = 100000,
      .help = "idle connections to servers that each worker keeps; needs proxy_http_version 1.1 and an empty "
              "Connection header in nginx's location" },
    { .name = "max_conns",
      .type = AS_OPT_INT,
      .min = 1,
      .max = 1000000,
      .help = "most connections to one server" },
    { .name = "max_fails",
      .type = AS_OPT_INT,
      .max = 1000,
      .help =
          "failures within fail_timeout after which nginx skips a server; 0: never; nginx's default is 1" },
    { .name = "fail_timeout",
      .type = AS_OPT_DURATION,
      .min = 1000,
      .max = 86400000,
      .help = "window of max_fails, and how long the server is then skipped; whole seconds; nginx's default "
              "is 10s" },
    { .name = NULL },
};

/* --- opening ------------------------------------------------------------------------------------------- */

static bool hash_key_ok(const char *key)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:/${}-";
    size_t len = strlen(key);
    return len > 0 && len < 128 && strspn(key, allowed) == len && strchr(key, '$');
}

static int open_method(struct balancer *b, const struct as_settings *s, struct as_error *err)
{
    const char *name = as_settings_str(s, "algorithm"), *key = as_settings_str(s, "hash_key");
    bool hash = strcmp(name, "hash") == 0;
    if (hash && !key)
        return as_settings_fail(s, "algorithm", err, "hash needs hash_key, as \"$request_uri\"");
    if (!hash && key)
        return as_settings_fail(s, "hash_key", err, "is only for algorithm \"hash\"");
    if (hash && !hash_key_ok(key))
        return as_settings_fail(
            s, "hash_key", err,
            "must hold a variable, as \"$request_uri\", and no blanks, quotes or semicolons");
    if (hash)
        snprintf(b->style.method, sizeof b->style.method, "hash \"%s\" consistent;", key);
    else if (strcmp(name, "random") == 0)
        snprintf(b->style.method, sizeof b->style.method, "random two least_conn;");
    else if (strcmp(name, "round_robin") != 0)
        snprintf(b->style.method, sizeof b->style.method, "%s;", name);
    return AS_OK;
}

static void open_params(struct balancer *b, const struct as_settings *s)
{
    char *at = b->style.params;
    size_t room = sizeof b->style.params;
    static const char *const counts[] = { "max_conns", "max_fails" };
    for (size_t i = 0; i < 2; i++)
        if (as_settings_has(s, counts[i])) {
            int n = snprintf(at, room, " %s=%" PRId64, counts[i], as_settings_int(s, counts[i]));
            at += n;
            room -= (size_t)n;
        }
    if (as_settings_has(s, "fail_timeout"))
        snprintf(at, room, " fail_timeout=%" PRId64 "s", as_settings_ms(s, "fail_timeout") / 1000);
}

static void open_test(struct balancer *b, const struct as_settings *s)
{
    const char *const argv[] = { as_settings_str(s, "nginx"),  "-t", "-q", "-c",
                                 as_settings_str(s, "config"), NULL };
    memcpy(b->argv, argv, sizeof b->argv);
    b->test = (struct subprocess){ .argv = b->argv, .directory = "/", .cap = TEST_OUTPUT_MAX };
}

static int check_paths(const struct as_settings *s, struct as_error *err)
{
    static const char *const paths[] = { "include", "config", "nginx", "pid_file" };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        const char *path = as_settings_str(s, paths[i]);
        if (*path != '/' || path[strlen(path) - 1] == '/')
            return as_settings_fail(s, paths[i], err, "must be the absolute path of a file");
    }
    if (as_settings_has(s, "fail_timeout") && as_settings_ms(s, "fail_timeout") % 1000 != 0)
        return as_settings_fail(s, "fail_timeout", err, "must be whole seconds");
    return AS_OK;
}

static int balancer_open(void *self, const struct as_settings *settings, const struct as_owner *owner,
                         const char *endpoint, struct as_error *err)
{
    struct balancer *b = self;
    struct as_error why;
    (void)endpoint;
    b->settings = settings;
    b->link.include = as_settings_str(settings, "include");
    b->link.pid_file = as_settings_str(settings, "pid_file");
    snprintf(b->mark, sizeof b->mark, "%s/%s", owner->controller, owner->group);
    b->link.mark = b->style.mark = b->mark;
    b->link.upstream = b->style.upstream = as_settings_str(settings, "upstream");
    b->link.interval = as_settings_ms(settings, "reload_interval");
    b->style.zone_kib = (unsigned)(as_settings_bytes(settings, "zone") / 1024);
    if (as_settings_has(settings, "keepalive"))
        b->style.keepalive = (int)as_settings_int(settings, "keepalive");
    if (!nginx_name_ok(b->style.upstream, NGINX_UPSTREAM_MAX))
        return as_settings_fail(settings, "upstream", err,
                                "'%.60s' is not 1 to %d letters, digits, '.', '_' or '-'", b->style.upstream,
                                NGINX_UPSTREAM_MAX);
    int rc = check_paths(settings, err);
    rc = rc ? rc : open_method(b, settings, err);
    if (rc)
        return rc;
    open_params(b, settings);
    open_test(b, settings);
    const char *marker = as_settings_str(settings, "marker");
    b->link.has_marker = marker != NULL;
    if (marker && nginx_page_init(&b->link.marker, marker, &why))
        return as_settings_fail(settings, "marker", err, "%s", why.msg);
    return AS_OK;
}

static void balancer_close(void *self)
{
    struct balancer *b = self;
    nginx_page_fini(&b->link.marker);
    subprocess_fini(&b->test);
}

/* --- writing ------------------------------------------------------------------------------------------- */

static int put_back(const struct balancer *b, const struct nginx_view *v, struct as_error *err)
{
    struct as_error why;
    if (nginx_file_store(b->link.include, v->text, &why) == AS_OK)
        return (int)err->rc;
    char first[sizeof err->msg];
    snprintf(first, sizeof first, "%s", err->msg);
    return as_fail(err, AS_EIO, "%.110s; and the old file could not be put back: %.90s", first, why.msg);
}

/* The pool of the view becomes the file; on failure the old file is back. */
static int write_pool(struct balancer *b, as_time deadline, struct nginx_view *v, struct as_error *err)
{
    struct as_error why = { .rc = AS_ENOMEM, .msg = "out of memory for the include file" };
    char *text = nginx_file_render(&v->pool, &b->style);
    int rc = text ? nginx_file_store(b->link.include, text, &why) : AS_ENOMEM;
    if (rc == AS_OK) {
        rc = nginx_config_test(&b->test, deadline, &why);
        if (rc)
            rc = put_back(b, v, &why);
    } else if (text) {
        rc = put_back(b, v, &why); /* the new name may be there, only not yet durable */
    }
    if (rc) {
        free(text);
        return as_fail(err, (enum as_rc)rc, "%s", why.msg);
    }
    free(v->text);
    v->text = text;
    return AS_OK;
}

/* The generation of the write to come; seconds of the clock, so that a file begun anew is no repetition. */
static uint64_t next_generation(const struct balancer *b, const struct nginx_pool *p)
{
    uint64_t n = p->generation > b->link.seen ? p->generation : b->link.seen;
    int64_t clock = as_clock_wall() / 1000;
    if (n == 0 && clock > 0)
        return (uint64_t)clock;
    return n + 1;
}

static void new_state(struct balancer *b, struct nginx_view *v, struct nginx_server *s, bool down)
{
    s->down = down;
    s->since = v->pool.generation = next_generation(b, &v->pool);
    s->at = nginx_boot_ms();
}

static int check_id(const struct as_member *m, struct as_error *err)
{
    if (nginx_name_ok(m->id, AS_ID_MAX - 1))
        return AS_OK;
    return as_fail(err, AS_EINVAL, "'%s' cannot be the name of a server", m->id);
}

/* --- listing ------------------------------------------------------------------------------------------- */

static void describe(const struct balancer *b, const struct nginx_view *v, const struct nginx_server *s,
                     struct as_member *m)
{
    bool on = nginx_effective(&b->link, v, s), soon = nginx_moving(&b->link);
    int old = s->down ? nginx_old_workers(v, s) : 0;
    snprintf(m->id, sizeof m->id, "%s", s->id);
    snprintf(m->address, sizeof m->address, "%s", s->address);
    m->port = s->port;
    m->weight = s->weight > 256 ? 256 : s->weight;
    if (!s->down) /* OUT: no reload is on its way that would bring it in, it must be asked for again */
        m->state = on ? AS_MEMBER_UP : soon ? AS_MEMBER_CHECKING : AS_MEMBER_OUT;
    else
        m->state = on || soon ? AS_MEMBER_DRAINING : AS_MEMBER_UP;
    m->held = on ? old : s->down ? (old > 1 ? old : 1) : 0;
}

static int copy_members(const struct balancer *b, const struct nginx_view *v, struct as_members *out,
                        struct as_error *err)
{
    size_t before = out->count;
    for (size_t i = 0; i < v->pool.count; i++) {
        struct as_member *m = as_members_add(out);
        if (!m) {
            out->count = before;
            return as_fail(err, AS_ENOMEM, "out of memory for the servers of %s", b->style.upstream);
        }
        describe(b, v, &v->pool.items[i], m);
    }
    if (v->running)
        snprintf(out->epoch, sizeof out->epoch, "%d@%" PRId64, (int)v->master.pid, v->master.start);
    return AS_OK;
}

static int balancer_list(void *self, as_time deadline, struct as_members *out, struct as_error *err)
{
    struct balancer *b = self;
    struct nginx_view v = { 0 };
    struct as_error why;
    int rc = nginx_look(&b->link, deadline, &v, &why);
    if (rc == AS_EEXIST) /* a path that is taken is a mistake in the configuration */
        rc = as_fail(err, AS_EINVAL, "%s", why.msg);
    else if (rc)
        as_fail(err, (enum as_rc)rc, "%s", why.msg);
    else if (!v.running && v.pool.generation) /* without a file, the first admit must be able to write it */
        rc = as_fail(err, AS_EAGAIN, "%s: start it", v.why);
    else
        rc = nginx_reload_step(&b->link, &v, err);
    rc = rc ? rc : copy_members(b, &v, out, err);
    nginx_view_fini(&v);
    return rc;
}

/* --- admitting ----------------------------------------------------------------------------------------- */

static int weight_of(const struct as_member *m)
{
    return m->weight < 1 ? 100 : m->weight > 256 ? 256 : m->weight;
}

static int admit_changed(struct balancer *b, as_time deadline, struct nginx_view *v,
                         const struct as_member *m, struct as_error *err)
{
    char address[AS_ADDRESS_MAX];
    nginx_address(m->address, address, sizeof address);
    struct nginx_server *s = nginx_pool_find(&v->pool, m->id);
    bool same = s && !s->down && strcmp(s->address, address) == 0 && s->port == m->port;
    if (same && (nginx_effective(&b->link, v, s) || nginx_moving(&b->link)))
        return AS_OK;
    int rc = AS_OK;
    if (!same) {
        s = s ? s : nginx_pool_add(&v->pool);
        if (!s)
            return as_fail(err, AS_ENOMEM, "out of memory, or too many servers");
        snprintf(s->id, sizeof s->id, "%s", m->id);
        snprintf(s->address, sizeof s->address, "%s", address);
        s->port = m->port;
        s->weight = weight_of(m);
        new_state(b, v, s, false);
        rc = write_pool(b, deadline, v, err);
    }
    return rc ? rc : nginx_push(&b->link, deadline, v, false, err);
}

static int balancer_admit(void *self, as_time deadline, const struct as_member *m, struct as_error *err)
{
    struct balancer *b = self;
    struct nginx_view v = { 0 };
    char address[AS_ADDRESS_MAX];
    int rc = check_id(m, err);
    if (rc == AS_OK && (!nginx_address(m->address, address, sizeof address) || m->port == 0))
        rc = as_fail(err, AS_EINVAL, "'%s' port %u of %s is not a literal address with a port", m->address,
                     m->port, m->id);
    rc = rc ? rc : nginx_look(&b->link, deadline, &v, err);
    rc = rc ? rc : nginx_await_reload(&b->link, deadline, &v, err);
    rc = rc ? rc : admit_changed(b, deadline, &v, m, err);
    nginx_view_fini(&v);
    return rc;
}

/* --- draining, evicting, weight ------------------------------------------------------------------------ */

/* Out of use: no request goes there once it is effective. With `wait`, AS_OK means that it is. */
static int take_down(struct balancer *b, as_time deadline, struct nginx_view *v, struct nginx_server *s,
                     bool wait, struct as_error *err)
{
    int rc = AS_OK;
    if (s->down && (nginx_effective(&b->link, v, s) || (!wait && nginx_moving(&b->link))))
        return AS_OK;
    if (!s->down) {
        new_state(b, v, s, true);
        rc = write_pool(b, deadline, v, err);
    }
    return rc ? rc : nginx_push(&b->link, deadline, v, wait, err);
}

static int balancer_drain(void *self, as_time deadline, const struct as_member *m, struct as_error *err)
{
    struct balancer *b = self;
    struct nginx_view v = { 0 };
    struct nginx_server *s;
    int rc = check_id(m, err);
    rc = rc ? rc : nginx_look(&b->link, deadline, &v, err);
    rc = rc ? rc : nginx_await_reload(&b->link, deadline, &v, err);
    if (rc == AS_OK && !(s = nginx_pool_find(&v.pool, m->id)))
        rc = as_fail(err, AS_ENOENT, "%s is no server of the upstream %s", m->id, b->style.upstream);
    else if (rc == AS_OK)
        rc = take_down(b, deadline, &v, s, false, err);
    nginx_view_fini(&v);
    return rc;
}

/* nginx cannot cut what a server holds; `force` only stops the waiting for it. No request may reach the server
 * any more when it has left the pool, so being out of use is proven first in any case. */
static int remove_server(struct balancer *b, as_time deadline, struct nginx_view *v, const char *id,
                         bool force, struct as_error *err)
{
    struct nginx_server *s = nginx_pool_find(&v->pool, id);
    if (!s)
        return AS_OK;
    int rc = v->running ? take_down(b, deadline, v, s, true, err) : AS_OK;
    if (rc)
        return rc;
    int old = v->running ? nginx_old_workers(v, s) : 0;
    if (old > 0 && !force)
        return as_fail(err, AS_EAGAIN, "%d old worker(s) of nginx may still serve requests with %s", old, id);
    nginx_pool_drop(&v->pool, s);
    v->pool.generation = next_generation(b, &v->pool);
    return write_pool(b, deadline, v, err);
}

static int balancer_evict(void *self, as_time deadline, const struct as_member *m, bool force,
                          struct as_error *err)
{
    struct balancer *b = self;
    struct nginx_view v = { 0 };
    int rc = check_id(m, err);
    rc = rc ? rc : nginx_look(&b->link, deadline, &v, err);
    if (rc == AS_OK && nginx_pool_find(&v.pool, m->id))
        rc = nginx_await_reload(&b->link, deadline, &v, err);
    rc = rc ? rc : remove_server(b, deadline, &v, m->id, force, err);
    nginx_view_fini(&v);
    return rc;
}

static int change_weight(struct balancer *b, as_time deadline, struct nginx_view *v, struct nginx_server *s,
                         int weight, struct as_error *err)
{
    if (s->weight == weight)
        return AS_OK;
    s->weight = weight;
    v->pool.generation = next_generation(b, &v->pool);
    int rc = write_pool(b, deadline, v, err);
    if (rc == AS_OK)
        nginx_want_reload(&b->link, as_clock_monotonic() + as_settings_ms(b->settings, "weight_interval"));
    return rc;
}

static int balancer_weight(void *self, as_time deadline, const struct as_member *m, int weight,
                           struct as_error *err)
{
    struct balancer *b = self;
    struct nginx_view v = { 0 };
    struct nginx_server *s;
    int rc = check_id(m, err);
    if (rc == AS_OK && (weight < 1 || weight > 256))
        rc = as_fail(err, AS_EINVAL, "weight %d of %s is not within 1 and 256", weight, m->id);
    rc = rc ? rc : nginx_look(&b->link, deadline, &v, err);
    rc = rc ? rc : nginx_await_reload(&b->link, deadline, &v, err);
    if (rc == AS_OK && !(s = nginx_pool_find(&v.pool, m->id)))
        rc = as_fail(err, AS_ENOENT, "%s is no server of the upstream %s", m->id, b->style.upstream);
    else if (rc == AS_OK)
        rc = change_weight(b, deadline, &v, s, weight, err);
    nginx_view_fini(&v);
    return rc;
}

extern const struct as_balancer_driver as_balancer_nginx;
const struct as_balancer_driver as_balancer_nginx = {
    .name = "nginx",
    .summary =
        "servers of an nginx upstream (open source, 1.11.5 or newer) on this machine, by an include file and "
        "reloads",
    .options = options,
    .pool = "include",
    .state_size = sizeof(struct balancer),
    .open = balancer_open,
    .list = balancer_list,
    .admit = balancer_admit,
    .drain = balancer_drain,
    .evict = balancer_evict,
    .weight = balancer_weight,
    .close = balancer_close,
};
