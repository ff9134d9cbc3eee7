/* Source `docker`: what our containers on one Docker host use, each and by group. One list and one question for
 * each running container, many at a time, as a Docker of today's Debian answers each after up to a second. Reads
 * only, and only of containers with our mark. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../wire/docker_api.h"
#include "docker_stats.h"

#define WORKERS_MAX  64
#define WORKER_STACK ((size_t)512 * 1024)
#define LIMIT_AGE    AS_MINUTE /* a container's CPU limit may be changed while it runs                 */

struct docker_source {
    struct docker_host host;
    const struct as_settings *settings;
    const char *controller;
    char *list_path;
    struct docker_meter *meters; /* of the containers of the newest poll, sorted by ref */
    size_t count;
    struct fleet fleet;
};

struct answer { /* of one container */
    struct docker_usage usage;
    as_time at;
    int rc;
    struct as_error err;
};

struct round { /* one poll's questions, shared by its workers */
    struct docker_source *source;
    struct docker_meter *meters;
    struct answer *answers;
    size_t count;
    atomic_size_t next;
    as_time deadline;
};

static const struct as_option options[] = {
    { .name = "hosts",
      .type = AS_OPT_STRINGS,
      .def = "unix:///var/run/docker.sock",
      .help = "Docker hosts: unix:///path, tcp://host:port, or https://host:port" },
    { .name = "groups",
      .type = AS_OPT_STRINGS,
      .help = "measure only containers of these groups; of all groups of this controller when not given" },
    DOCKER_TLS_OPTIONS,
    { 0 },
};

/* --- asking -------------------------------------------------------------------------------------------- */

/* GETs a path; a status that is no success is an error. */
static int get(struct docker_source *s, const char *what, const char *path, as_time deadline, size_t cap,
               struct http_answer *a, struct as_error *err)
{
    struct docker_request req = { .method = "GET", .path = path, .cap = cap, .deadline = deadline };
    int rc = docker_call(&s->host, &req, a, err);
    if (rc == AS_OK && a->status != 200) {
        rc = docker_refused(&s->host, what, a, err);
        http_answer_fini(a);
    }
    return rc;
}

static int ask_limit(struct docker_source *s, struct docker_meter *m, as_time deadline, struct as_error *err)
{
    char path[DOCKER_REF_MAX + 32];
    struct http_answer a = { 0 };
    as_time now = as_clock_monotonic();
    if (m->limit_at > 0 && now - m->limit_at < LIMIT_AGE)
        return AS_OK;
    snprintf(path, sizeof path, "/containers/%s/json", m->ref);
    int rc = get(s, "inspecting", path, deadline, 0, &a, err);
    if (rc != AS_OK)
        return rc;
    rc = docker_limit_parse(a.body, a.size, &m->cpus, err);
    http_answer_fini(&a);
    if (rc == AS_OK)
        m->limit_at = now;
    return rc;
}

static int ask_usage(struct docker_source *s, struct docker_meter *m, as_time deadline, struct answer *out)
{
    char path[DOCKER_REF_MAX + 64];
    struct http_answer a = { 0 };
    snprintf(path, sizeof path, "/containers/%s/stats?stream=false&one-shot=true", m->ref);
    int rc = get(s, "asking for statistics", path, deadline, 0, &a, &out->err);
    if (rc != AS_OK)
        return rc;
    out->at = as_clock_monotonic();
    rc = docker_usage_parse(a.body, a.size, &out->usage, &out->err);
    http_answer_fini(&a);
    return rc;
}

static void *work(void *arg)
{
    struct round *r = arg;
    for (size_t i = r->next++; i < r->count; i = r->next++) {
        struct answer *a = &r->answers[i];
        a->rc = ask_limit(r->source, &r->meters[i], r->deadline, &a->err);
        if (a->rc == AS_OK)
            a->rc = ask_usage(r->source, &r->meters[i], r->deadline, a);
    }
    return NULL;
}

/* All questions, as many at a time as there are workers; this thread is one of them. */
static void ask_all(struct round *r)
{
    pthread_t workers[WORKERS_MAX];
    size_t started = 0, wanted = r->count < WORKERS_MAX ? r->count : WORKERS_MAX;
    pthread_attr_t attr;
    if (pthread_attr_init(&attr) == 0) {
        pthread_attr_setstacksize(&attr, WORKER_STACK);
        while (started + 1 < wanted && pthread_create(&workers[started], &attr, work, r) == 0)
            started++;
        pthread_attr_destroy(&attr);
    }
    work(r);
    while (started > 0)
        pthread_join(workers[--started], NULL);
}

/* --- one poll -------------------------------------------------------------------------------------------- */

static bool is_wanted(const struct docker_source *s, const char *group)
{
    size_t n = as_settings_count(s->settings, "groups");
    for (size_t i = 0; i < n; i++)
        if (strcmp(as_settings_item(s->settings, "groups", i), group) == 0)
            return true;
    return n == 0;
}

/* Goes on with what is known of the containers that were there before; both lists are sorted. */
static size_t go_on(const struct docker_source *s, struct docker_meter *listed, size_t count)
{
    size_t kept = 0, old = 0;
    for (size_t i = 0; i < count; i++) {
        if (!is_wanted(s, listed[i].group))
            continue;
        while (old < s->count && strcmp(s->meters[old].ref, listed[i].ref) < 0)
            old++;
        bool known = old < s->count && strcmp(s->meters[old].ref, listed[i].ref) == 0;
        struct docker_meter now = known ? s->meters[old] : listed[i];
        listed[kept++] = now;
    }
    return kept;
}

static int list_running(struct docker_source *s, as_time deadline, struct docker_meter **out, size_t *count,
                        struct as_error *err)
{
    struct http_answer a = { 0 };
    int rc = get(s, "listing", s->list_path, deadline, DOCKER_LIST_MAX, &a, err);
    if (rc != AS_OK)
        return rc;
    rc = docker_running_parse(a.body, a.size, s->controller, out, count, err);
    http_answer_fini(&a);
    if (rc == AS_OK)
        *count = go_on(s, *out, *count);
    return rc;
}

/* Rows of the answers; what has ended in between is left out. Keeps in *first the first failure. */
static size_t make_rows(struct round *r, struct fleet_row *rows, size_t *failed, const struct answer **first)
{
    size_t n = 0;
    *failed = 0;
    for (size_t i = 0; i < r->count; i++) {
        struct docker_meter *m = &r->meters[i];
        const struct answer *a = &r->answers[i];
        if (a->rc == AS_ENOENT)
            continue;
        struct fleet_row *row = &rows[n++];
        strcpy(row->id, m->id);
        strcpy(row->group, m->group);
        row->failed = a->rc != AS_OK;
        if (!row->failed)
            docker_meter_take(m, &a->usage, a->at, row);
        else if ((*failed)++ == 0)
            *first = a;
    }
    return n;
}

static int measure(struct round *r, struct as_samples *out, struct as_error *err)
{
    size_t failed;
    const struct answer *first = NULL;
    struct fleet_row *rows = calloc(r->count + 1, sizeof *rows);
    if (!rows)
        return as_fail(err, AS_ENOMEM, "out of memory");
    size_t n = make_rows(r, rows, &failed, &first);
    int rc = failed > 0 && failed == n
                 ? as_fail(err, first->err.rc, "%s", first->err.msg)
                 : fleet_add(&r->source->fleet, &docker_fleet_series, rows, n, out, err);
    if (rc == AS_OK && failed > 0)
        as_fail(err, AS_OK, "%zu of %zu containers gave no statistics: %.180s", failed, n, first->err.msg);
    free(rows);
    return rc;
}

static int source_poll(void *self, as_time deadline, struct as_samples *out, struct as_error *err)
{
    struct docker_source *s = self;
    struct round r = { .source = s, .deadline = deadline };
    int rc = list_running(s, deadline, &r.meters, &r.count, err);
    if (rc != AS_OK)
        return rc;
    r.answers = calloc(r.count + 1, sizeof *r.answers);
    if (!r.answers) {
        free(r.meters);
        return as_fail(err, AS_ENOMEM, "out of memory");
    }
    ask_all(&r);
    rc = measure(&r, out, err);
    free(r.answers);
    free(s->meters);
    s->meters = r.meters;
    s->count = r.count;
    return rc;
}

/* --- open and close -------------------------------------------------------------------------------------- */

static void source_own(void *self, const char *controller)
{
    struct docker_source *s = self;
    s->controller = controller;
}

/* The name of a controller needs no escaping in JSON. */
static char *make_list_path(const char *controller)
{
    char *filter = NULL, *path = NULL;
    if (asprintf(&filter, "{\"label\":[\"" DOCKER_LABEL_CONTROLLER "=%s\"]}", controller) < 0)
        return NULL;
    char *escaped = http_escape(filter);
    if (escaped && asprintf(&path, "/containers/json?filters=%s", escaped) < 0)
        path = NULL;
    free(escaped);
    free(filter);
    return path;
}

static int source_open(void *self, const struct as_settings *settings, const char *endpoint,
                       struct as_error *err)
{
    struct docker_source *s = self;
    struct docker_tls tls;
    struct as_error why = { 0 };
    s->settings = settings;
    int rc = docker_tls_read(settings, &tls, err);
    if (rc != AS_OK)
        return rc;
    if ((rc = docker_host_open(&s->host, endpoint, &tls, &why)) != AS_OK)
        return rc == AS_EINVAL ? as_settings_fail(settings, "hosts", err, "%s", why.msg)
                               : as_fail(err, (enum as_rc)rc, "%s", why.msg);
    s->list_path = make_list_path(s->controller);
    return s->list_path ? AS_OK : as_fail(err, AS_ENOMEM, "out of memory");
}

static void source_close(void *self)
{
    struct docker_source *s = self;
    docker_host_close(&s->host);
    fleet_fini(&s->fleet);
    free(s->list_path);
    free(s->meters);
}

extern const struct as_source_driver as_source_docker;
const struct as_source_driver as_source_docker = {
    .name = "docker",
    .summary =
        "CPU, throttling and memory of our containers, each and by group; asked only while a policy reads it",
    .options = options,
    .series = docker_series,
    .has_objects = true,
    .endpoints = "hosts",
    .on_demand = true,
    .state_size = sizeof(struct docker_source),
    .own = source_own,
    .open = source_open,
    .poll = source_poll,
    .close = source_close,
};
