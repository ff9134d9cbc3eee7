/* From HAProxy's table of backends to samples. Knows which of HAProxy's numbers mean what, and which must
 * not be believed: its time averages never decay, its session count holds the queue, its error counts
 * overlap. Does no I/O and never invents a value: what is not known is not added. */
#include "haproxy_stats.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../wire/csv.h"

#define WINDOW 512.0 /* requests in HAProxy's averages (measured on 2.6, its manual says 1024) */

const struct as_series_doc haproxy_series[] = {
    { "sessions", "sessions", "in service and waiting in the queue: what the tier would carry if it could",
      AS_MERGE_SUM },
    { "sessions_active", "sessions", "in service: sessions without those in the queue", AS_MERGE_SUM },
    { "queue", "sessions", "waiting for a free server", AS_MERGE_SUM },
    { "request_rate", "1/s", "arriving requests (mode http) or connections (mode tcp)", AS_MERGE_SUM },
    { "response_time_ms", "ms",
      "mode http: from the request to the first byte of the answer, queue included, of the latest requests; "
      "not given while none completes",
      AS_MERGE_MEAN },
    { "queue_time_ms", "ms", "mode http: the part of response_time_ms spent in the queue", AS_MERGE_MEAN },
    { "error_rate", "1/s", "answers 5xx (mode http), failed or broken server connections (mode tcp)",
      AS_MERGE_SUM },
    { "servers_up", "servers", "servers that take traffic, backup servers included", AS_MERGE_MAX },
    { "sessions_per_server", "sessions", "sessions for each server that is up; not given when none is",
      AS_MERGE_SUM },
    { .name = NULL },
};

enum {
    PXNAME, /* first: every row has it */
    TYPE,
    SCUR,
    QCUR,
    STOT,
    RATE,
    ACT,
    BCK,
    MODE,
    ECON,
    ERESP,
    HRSP_5XX,
    REQ_TOT,
    QTIME,
    CTIME,
    RTIME,
    COLUMNS
};
static const char *const columns[COLUMNS] = {
    [PXNAME] = "pxname",   [TYPE] = "type",   [SCUR] = "scur",   [QCUR] = "qcur",
    [STOT] = "stot",       [RATE] = "rate",   [ACT] = "act",     [BCK] = "bck",
    [MODE] = "mode",       [ECON] = "econ",   [ERESP] = "eresp", [HRSP_5XX] = "hrsp_5xx",
    [REQ_TOT] = "req_tot", [QTIME] = "qtime", [CTIME] = "ctime", [RTIME] = "rtime",
};

struct row { /* one backend during one poll */
    const struct csv_field *fields;
    struct haproxy_backend *memory;
    as_time now;
    struct as_samples *out;
    struct as_error *err;
};

static bool number(const struct row *r, int column, double *out)
{
    return csv_number(r->fields[column], out) && *out >= 0;
}

static int add(const struct row *r, const char *series, double value, double weight)
{
    return as_samples_add(r->out, r->memory->name, series, value, weight, r->err);
}

static struct haproxy_backend *remember(struct haproxy_stats *s, const char *name, size_t expected)
{
    /* Backends come in the same order each time, so the expected place is nearly always right. */
    if (expected < s->count && strcmp(s->items[expected].name, name) == 0)
        return &s->items[expected];
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->items[i].name, name) == 0)
            return &s->items[i];
    if (s->count == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 16;
        struct haproxy_backend *bigger = reallocarray(s->items, cap, sizeof *bigger);
        if (!bigger)
            return NULL;
        s->items = bigger;
        s->cap = cap;
    }
    struct haproxy_backend *b = &s->items[s->count++];
    *b = (struct haproxy_backend){ .done = -1 };
    strcpy(b->name, name);
    return b;
}

/* HAProxy's average after k further requests of mean v is a·r + v·(1-r): until WINDOW requests it is the plain
 * mean (r = before/after), then each request takes away 1/WINDOW. Solving for v gives the mean of just
 * those k. The average is a whole number of ms, an error that grows to 1/(1-r): while that is over an
 * eighth of v (and over 2 ms), more requests are awaited and the last mean stands. */
static double recent(struct haproxy_recent *r, double average, double done)
{
    if (!r->seen || done < r->done) {
        *r = (struct haproxy_recent){ .average = average, .done = done, .value = average, .seen = true };
        return average;
    }
    double before = fmin(r->done, WINDOW), after = fmin(done, WINDOW);
    double beyond = fmax(0, done - fmax(r->done, WINDOW));
    double keep = (after > 0 ? before / after : 0) * pow(1 - 1 / WINDOW, beyond);
    if (keep < 1) {
        double value = fmax(0, (average - r->average * keep) / (1 - keep));
        if (1 / (1 - keep) <= fmax(2, value / 8))
            *r = (struct haproxy_recent){ average, done, value, true, true };
    }
    return r->formed ? r->value : average;
}

static int add_sessions(const struct row *r)
{
    double sessions, queue = 0, active = 0, backup = 0;
    if (!number(r, SCUR, &sessions))
        return AS_OK;
    int rc = add(r, "sessions", sessions, 1);
    if (!rc && number(r, QCUR, &queue)) {
        rc = add(r, "queue", queue, 1);
        /* The two are not read at the same instant: never below zero. */
        rc = rc ? rc : add(r, "sessions_active", fmax(0, sessions - queue), 1);
    }
    if (rc || !number(r, ACT, &active) || !number(r, BCK, &backup))
        return rc;
    /* Not the status: an empty backend says UP. */
    double up = active + backup;
    rc = add(r, "servers_up", up, 1);
    return rc || up <= 0 ? rc : add(r, "sessions_per_server", sessions / up, 1);
}

static int add_rates(const struct row *r, bool http)
{
    double value, rate, broken;
    int rc = AS_OK;
    if (number(r, STOT, &value)) {
        bool first = !r->memory->arrivals.seen;
        /* The first poll has nothing to compare with; HAProxy's own count of the last second serves. */
        if (as_counter_rate(&r->memory->arrivals, r->now, value, &rate) || (first && number(r, RATE, &rate)))
            rc = add(r, "request_rate", rate, 1);
    }
    /* A failed or broken connection ends as a 5xx in mode http: adding it would count it twice. */
    bool known = http ? number(r, HRSP_5XX, &value) : number(r, ECON, &value) && number(r, ERESP, &broken);
    if (rc || !known)
        return rc;
    value += http ? 0 : broken;
    return as_counter_rate(&r->memory->errors, r->now, value, &rate) ? add(r, "error_rate", rate, 1) : AS_OK;
}

static int add_times(const struct row *r)
{
    double done, queue, connect, answer, last_second = 0;
    if (!number(r, REQ_TOT, &done) || !number(r, QTIME, &queue) || !number(r, CTIME, &connect) ||
        !number(r, RTIME, &answer))
        return AS_OK;
    double before = r->memory->done;
    r->memory->done = done;
    double waited = recent(&r->memory->queue, queue, done);
    double total = recent(&r->memory->answer, queue + connect + answer, done);
    /* The averages stay as they are when nothing moves: say nothing then, so that they grow stale. */
    double completed = done - before;
    if (before < 0 || done < before) {
        number(r, RATE, &last_second);
        completed = fmin(last_second, done);
    }
    if (completed <= 0)
        return AS_OK;
    int rc = add(r, "response_time_ms", total, completed);
    return rc ? rc : add(r, "queue_time_ms", waited, completed);
}

static int add_backend(const struct row *r)
{
    bool http = csv_is(r->fields[MODE], "http");
    int rc = add_sessions(r);
    rc = rc ? rc : add_rates(r, http);
    return rc || !http ? rc : add_times(r);
}

static int add_rows(struct haproxy_stats *s, struct csv *csv, const struct haproxy_filter *filter,
                    size_t *found, const struct row *common)
{
    struct csv_field fields[COLUMNS];
    char name[AS_NAME_MAX];
    while (csv_next(csv, fields)) {
        /* A longer name cannot be written in a metric, so nobody asks for it. */
        if (!csv_is(fields[TYPE], "1") || !csv_copy(fields[PXNAME], name, sizeof name) ||
            (filter->wanted && !filter->wanted(filter->arg, name)))
            continue;
        struct row row = *common;
        row.fields = fields;
        if (*found >= AS_SAMPLES_CAP)
            return as_fail(common->err, AS_EPROTO, "HAProxy tells of more than %d backends", AS_SAMPLES_CAP);
        row.memory = remember(s, name, *found);
        if (!row.memory)
            return as_fail(common->err, AS_ENOMEM, "out of memory for HAProxy's backends");
        int rc = add_backend(&row);
        if (rc)
            return rc;
        row.memory->listed = true;
        ++*found;
    }
    return AS_OK;
}

/* Backends may come and go for as long as a HAProxy runs. */
static void forget_unlisted(struct haproxy_stats *s)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->count; i++) {
        if (!s->items[i].listed)
            continue;
        s->items[kept] = s->items[i];
        s->items[kept++].listed = false;
    }
    s->count = kept;
}

int haproxy_stats_add(struct haproxy_stats *s, const struct haproxy_table *table,
                      const struct haproxy_filter *filter, size_t *found, struct as_samples *out,
                      struct as_error *err)
{
    struct csv csv;
    *found = 0;
    if (!csv_open(&csv, table->text, table->len, ',', columns, COLUMNS))
        return as_fail(err, AS_EPROTO, "HAProxy's answer to `show stat` is no table of statistics");
    if (strcmp(s->epoch, table->epoch) != 0) {
        s->count = 0;
        snprintf(s->epoch, sizeof s->epoch, "%s", table->epoch);
    }
    size_t before = out->count;
    struct row common = { .now = table->now, .out = out, .err = err };
    int rc = add_rows(s, &csv, filter, found, &common);
    if (rc)
        out->count = before;
    forget_unlisted(s);
    return rc;
}

void haproxy_stats_fini(struct haproxy_stats *s)
{
    free(s->items);
    *s = (struct haproxy_stats){ 0 };
}
