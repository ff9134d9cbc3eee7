/* Source `prometheus`: PromQL queries, each one series. Several URLs are redundant servers that hold the same:
 * one is asked, the next only when it does not answer, and none is mixed with another. It must never make a
 * number of an empty, stale or partial result. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../wire/site.h"
#include "autoscale/source.h"
#include "own_queries.h"
#include "prometheus_result.h"

#define ANSWER_MAX  (16 * 1024 * 1024)
#define SERVERS_MAX 8
#define RETRY_AFTER (30 * AS_SECOND) /* a server that failed is passed over for so long               */

struct server {
    struct site site;
    as_time failed_at; /* 0: it answered when last asked */
};

struct prometheus {
    const struct as_settings *settings; /* borrowed */
    struct server servers[SERVERS_MAX];
    size_t count;
    struct prom_ask ask; /* but for start_wall, and reduce where a query has its own */
};

static const struct as_option options[] = {
    { .name = "url",
      .type = AS_OPT_STRINGS,
      .flags = AS_OPT_REQUIRED,
      .help = "base URL of the server, as \"http://prometheus:9090\"; of several, redundant ones the next is "
              "asked "
              "when one does not answer" },
    { .name = "queries",
      .type = AS_OPT_MAP,
      .flags = AS_OPT_REQUIRED,
      .help = "the series: NAME = \"PromQL expression\"; the server fills gaps of up to 5m: where a sample "
              "must be "
              "younger, write \"x and time() - timestamp(x) < 30\"" },
    { .name = "reduce",
      .type = AS_OPT_CHOICE,
      .def = "sum",
      .choices = prom_reduce_names,
      .help = "how the elements of a result become one number" },
    { .name = "reduces", .type = AS_OPT_MAP, .help = "reduce of single queries: NAME = \"max\"" },
    { .name = "window",
      .type = AS_OPT_DURATION,
      .min = 1000,
      .max = 7.0 * AS_DAY,
      .help =
          "evaluate over so long until now (a range query) instead of once now; the elements are reduced at "
          "each step first" },
    { .name = "step",
      .type = AS_OPT_DURATION,
      .def = "15s",
      .min = 100,
      .max = AS_DAY,
      .help = "time between the evaluations in a window" },
    { .name = "over",
      .type = AS_OPT_CHOICE,
      .def = "mean",
      .choices = prom_over_names,
      .help = "how the steps of a window become one number" },
    SITE_OPTIONS,
    { 0 },
};

static const struct as_series_doc series[] = {
    { "queries_failed", "queries", "queries that gave no number in the last poll", AS_MERGE_MAX },
    { "servers_failed", "servers", "redundant servers that did not answer when last asked", AS_MERGE_MAX },
    { 0 },
};

/* --- one query ------------------------------------------------------------------------------------------- */

struct query {
    const char *name, *promql;
    struct prom_ask ask;
    double value;
    bool answered; /* the server spoke as Prometheus does, whatever it said about the query */
};

static struct query query_get(const struct prometheus *p, size_t i)
{
    const struct as_settings *s = p->settings;
    struct query q = { .name = as_settings_key(s, "queries", i),
                       .promql = as_settings_item(s, "queries", i),
                       .ask = p->ask };
    for (size_t k = 0; k < as_settings_count(s, "reduces"); k++)
        if (strcmp(as_settings_key(s, "reduces", k), q.name) == 0)
            q.ask.reduce =
                (enum prom_reduce)prom_name_index(prom_reduce_names, as_settings_item(s, "reduces", k));
    if (q.ask.steps) /* the last step is now */
        q.ask.start_wall = as_clock_wall() - (int64_t)(q.ask.steps - 1) * q.ask.step;
    return q;
}

static void range_text(const struct prom_ask *ask, char *out, size_t size)
{
    int64_t end = ask->start_wall + (int64_t)(ask->steps - 1) * ask->step;
    snprintf(out, size, "&start=%.3f&end=%.3f&step=%.3f", (double)ask->start_wall / 1000, (double)end / 1000,
             (double)ask->step / 1000);
}

static char *query_path(const struct query *q, as_time deadline)
{
    char *query = http_escape(q->promql), *path = NULL, range[160] = "";
    double left = (double)as_time_left(deadline) / 1000;
    if (q->ask.steps)
        range_text(&q->ask, range, sizeof range);
    if (query && asprintf(&path, "/api/v1/query%s?query=%s&timeout=%.3f%s", *range ? "_range" : "", query,
                          left > 0.1 ? left : 0.1, range) < 0)
        path = NULL;
    free(query);
    return path;
}

/* Errors of the query come with these and say more than the status. */
static bool has_answer(long status)
{
    return status == 200 || status == 400 || status == 422 || status == 503;
}

static int read_answer(const struct server *s, const struct http_answer *a, struct query *q,
                       struct as_error *err)
{
    struct as_error why = { 0 };
    int rc = has_answer(a->status) ? prom_result(&q->ask, a->body, a->size, &q->value, &why) : AS_EPROTO;
    if (rc == AS_EPROTO && a->status != 200)
        return site_judge(&s->site, a->status, err);
    if (rc == AS_EPROTO)
        return as_fail(err, AS_EPROTO, "%.140s: %s", s->site.peer.name, why.msg);
    q->answered = rc != AS_ENOMEM;
    if (rc != AS_OK)
        *err = why;
    return rc;
}

static int run_query(const struct server *s, struct query *q, as_time deadline, struct as_error *err)
{
    struct http_answer a = { 0 };
    char *path = query_path(q, deadline);
    if (!path)
        return as_fail(err, AS_ENOMEM, "out of memory");
    int rc = site_get(&s->site, path, ANSWER_MAX, deadline, &a, err);
    if (rc == AS_OK)
        rc = read_answer(s, &a, q, err);
    http_answer_fini(&a);
    free(path);
    return rc;
}

/* --- one server ------------------------------------------------------------------------------------------ */

/* A query that fails must not blind the others: its series is left out and *note says why (the first). Fails
 * itself only when the server answers no query at all. */
static int ask_server(const struct prometheus *p, const struct server *s, as_time deadline,
                      struct as_samples *out, struct as_error *note)
{
    size_t count = as_settings_count(p->settings, "queries");
    int failed = 0;
    bool spoke = false;
    for (size_t i = 0; i < count; i++) {
        struct query q = query_get(p, i);
        struct as_error why = { 0 };
        int rc = run_query(s, &q, deadline, &why);
        if (rc == AS_OK)
            rc = as_samples_add(out, "", q.name, q.value, 1, &why);
        spoke = spoke || q.answered;
        if (rc == AS_ENOMEM || (rc != AS_OK && !spoke)) {
            *note = why;
            return rc;
        }
        if (rc != AS_OK && failed++ == 0)
            as_fail(note, (enum as_rc)rc, "query '%s': %.180s", q.name, why.msg);
    }
    return as_samples_add(out, "", "queries_failed", failed, 1, note);
}

/* --- polls ----------------------------------------------------------------------------------------------- */

/* The first that is not known to fail, then those that failed, for when all do. */
static size_t order_servers(struct prometheus *p, struct server *order[SERVERS_MAX], as_time now)
{
    size_t n = 0;
    for (int shunned = 0; shunned < 2; shunned++)
        for (size_t i = 0; i < p->count; i++) {
            struct server *s = &p->servers[i];
            bool bad = s->failed_at && now - s->failed_at < RETRY_AFTER;
            if (bad == (shunned == 1))
                order[n++] = s;
        }
    return n;
}

static int add_failed_servers(const struct prometheus *p, struct as_samples *out, struct as_error *err)
{
    int failed = 0;
    for (size_t i = 0; i < p->count; i++)
        failed += p->servers[i].failed_at != 0;
    return as_samples_add(out, "", "servers_failed", failed, 1, err);
}

static int prometheus_poll(void *self, as_time deadline, struct as_samples *out, struct as_error *err)
{
    struct prometheus *p = self;
    struct server *order[SERVERS_MAX];
    struct as_error first = { 0 }, why = { 0 };
    size_t before = out->count, n = order_servers(p, order, as_clock_monotonic());
    int rc = AS_EAGAIN;
    for (size_t i = 0; i < n; i++) {
        as_time now = as_clock_monotonic(); /* a hung server must leave time for the next one */
        as_time until = now + (deadline - now) / (as_time)(n - i);
        why = (struct as_error){ 0 };
        rc = ask_server(p, order[i], until, out, &why);
        order[i]->failed_at = rc == AS_OK ? 0 : as_clock_monotonic();
        if (rc == AS_OK || rc == AS_ENOMEM)
            break;
        out->count = before;
        if (i == 0)
            first = why;
    }
    if (rc == AS_OK)
        rc = add_failed_servers(p, out, &why);
    if (rc != AS_OK) {
        out->count = before;
        why = first.rc != AS_OK && rc != AS_ENOMEM ? first : why;
        rc = (int)why.rc;
    }
    if (err && why.rc != AS_OK)
        *err = why;
    return rc;
}

/* --- open and close -------------------------------------------------------------------------------------- */

static int check_reduces(const struct as_settings *s, struct as_error *err)
{
    for (size_t i = 0; i < as_settings_count(s, "reduces"); i++) {
        const char *name = as_settings_key(s, "reduces", i), *how = as_settings_item(s, "reduces", i);
        bool known = false;
        for (size_t k = 0; !known && k < as_settings_count(s, "queries"); k++)
            known = strcmp(as_settings_key(s, "queries", k), name) == 0;
        if (!known)
            return as_settings_fail(s, "reduces", err, "there is no query '%s'", name);
        if (prom_name_index(prom_reduce_names, how) < 0)
            return as_settings_fail(s, "reduces", err,
                                    "'%s' must be sum, max, min, avg or count, not '%.40s'", name, how);
    }
    return AS_OK;
}

static int make_ask(struct prometheus *p, const struct as_settings *s, struct as_error *err)
{
    as_time window = as_settings_ms(s, "window"), step = as_settings_ms(s, "step");
    p->ask = (struct prom_ask){
        .reduce = (enum prom_reduce)prom_name_index(prom_reduce_names, as_settings_str(s, "reduce")),
        .over = (enum prom_over)prom_name_index(prom_over_names, as_settings_str(s, "over")),
        .step = step,
    };
    if (window == 0)
        return AS_OK;
    if (step > window)
        return as_settings_fail(s, "step", err, "is longer than the window");
    if (window / step >= PROM_STEPS_MAX)
        return as_settings_fail(s, "step", err, "the window has more than %d steps: make it longer",
                                PROM_STEPS_MAX);
    p->ask.steps = (int)(window / step) + 1;
    return AS_OK;
}

static int open_servers(struct prometheus *p, const struct as_settings *s, struct as_error *err)
{
    size_t count = as_settings_count(s, "url");
    if (count > SERVERS_MAX)
        return as_settings_fail(s, "url", err, "%zu servers are given, at most %d are used", count,
                                SERVERS_MAX);
    for (; p->count < count; p->count++) {
        struct site *site = &p->servers[p->count].site;
        int rc = site_open(site, s, "url", as_settings_item(s, "url", p->count), err);
        if (rc == AS_OK && *site->query)
            rc =
                as_settings_fail(s, "url", err, "'%.80s' is no base URL: it must not have a '?'", site->base);
        if (rc != AS_OK)
            return rc;
        for (size_t n = strlen(site->base); n > 0 && site->base[n - 1] == '/';)
            site->base[--n] = '\0';
    }
    return AS_OK;
}

static int prometheus_open(void *self, const struct as_settings *settings, const char *endpoint,
                           struct as_error *err)
{
    struct prometheus *p = self;
    (void)endpoint;
    p->settings = settings;
    int rc = own_queries_check(settings, series, err);
    if (rc == AS_OK)
        rc = check_reduces(settings, err);
    if (rc == AS_OK)
        rc = make_ask(p, settings, err);
    return rc == AS_OK ? open_servers(p, settings, err) : rc;
}

static void prometheus_close(void *self)
{
    struct prometheus *p = self;
    for (size_t i = 0; i < SERVERS_MAX; i++)
        site_close(&p->servers[i].site);
}

extern const struct as_source_driver as_source_prometheus;
const struct as_source_driver as_source_prometheus = {
    .name = "prometheus",
    .summary = "numbers from PromQL queries, evaluated now or over a window",
    .options = options,
    .series = series,
    .user_series = "queries",
    .state_size = sizeof(struct prometheus),
    .open = prometheus_open,
    .poll = prometheus_poll,
    .close = prometheus_close,
};
