/* commit: the one transaction of a turn. What changed is written; only after that has succeeded do the
 * turn's writes leave. While the journal cannot be written nothing is lost and nothing is done: rows
 * stay dirty, writes stay in the outbox, and the next turns try again. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../runtime/log.h"
#include "crashpoint.h"
#include "engine.h"

#define EVENTS_MOST 10000
#define RETRY_EVERY (1 * AS_SECOND)
#define SAY_AGAIN   (30 * AS_SECOND) /* an endpoint may fail with another text at every poll */

static void journal_failed(struct engine *e, const struct as_error *err)
{
    e->transaction = false;
    for (struct group *g = e->groups; g; g = g->next)
        g->outcome_at = 0; /* the decisions of this turn were lost with it */
    e->journal_retry = e->now + RETRY_EVERY;
    if (!e->journal_failing_since || strcmp(e->journal_err.msg, err->msg) != 0)
        log_error("journal", "%s; no instance is created, drained or destroyed until it can be written",
                  err->msg);
    if (!e->journal_failing_since)
        e->journal_failing_since = e->now;
    e->journal_err = *err;
}

bool engine_transaction(struct engine *e)
{
    struct as_error err = { 0 };
    if (e->transaction)
        return true;
    if (e->now < e->journal_retry)
        return false;
    if (journal_begin(e->journal, &err) != AS_OK) {
        journal_failed(e, &err);
        return false;
    }
    e->transaction = true;
    return true;
}

/* --- events ----------------------------------------------------------------------------------------- */

static struct event *event_add(struct engine *e, const char *group, const char *instance, const char *kind)
{
    struct event *v = e->event_count < EVENTS_MOST && !e->world.forgets ? calloc(1, sizeof *v) : NULL;
    if (!v)
        return NULL;
    snprintf(v->group, sizeof v->group, "%s", group);
    snprintf(v->instance, sizeof v->instance, "%s", instance);
    snprintf(v->kind, sizeof v->kind, "%s", kind);
    v->wall = e->wall;
    *e->events_tail = v;
    e->events_tail = &v->next;
    e->event_count++;
    return v;
}

void engine_event(struct engine *e, const char *group, const char *instance, const char *kind,
                  const char *fmt, ...)
{
    struct event *v = event_add(e, group, instance, kind);
    if (!v)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(v->text, sizeof v->text, fmt, ap);
    va_end(ap);
}

bool engine_says(struct engine *e, struct said *last, bool first, const char *text)
{
    if (!first && (e->now - last->at < SAY_AGAIN || strcmp(last->text, text) == 0))
        return false;
    last->at = e->now;
    snprintf(last->text, sizeof last->text, "%s", text);
    return true;
}

void engine_scale_event(struct engine *e, const char *group, int delta, const char *text)
{
    struct event *v = event_add(e, group, "", delta > 0 ? "scale-out" : "scale-in");
    if (!v)
        return;
    v->delta = delta;
    snprintf(v->text, sizeof v->text, "%s", text);
}

/* --- writing ---------------------------------------------------------------------------------------- */

static int write_instance(struct engine *e, const struct instance *i, struct as_error *err)
{
    struct journal_instance row = { .id = i->id,
                                    .group = i->group->cfg->name,
                                    .host = i->notes->host_name,
                                    .state = inst_state_name(i->state),
                                    .address = i->address,
                                    .revision = i->notes->revision,
                                    .reason = i->notes->reason,
                                    .port = i->port,
                                    .wanted_wall = i->notes->wanted_wall,
                                    .state_wall = i->notes->since_wall,
                                    .serving_wall = i->notes->serving_wall };
    return journal_put_instance(e->journal, &row, err);
}

static int write_group(struct engine *e, struct group *g, struct as_error *err)
{
    int rc = AS_OK;
    for (struct instance *i = g->instances; i && rc == AS_OK; i = i->next)
        if (i->dirty)
            rc = write_instance(e, i, err);
    if (rc == AS_OK && g->desired_dirty) {
        char key[AS_NAME_MAX + 16], value[16];
        snprintf(key, sizeof key, "desired/%s", g->cfg->name);
        snprintf(value, sizeof value, "%d", g->desired);
        rc = journal_set(e->journal, key, value, err);
    }
    if (rc == AS_OK && g->pools_dirty)
        rc = pools_write(g, err);
    if (rc == AS_OK && g->unpark_lead_dirty) {
        char key[AS_NAME_MAX + 16], value[24];
        snprintf(key, sizeof key, "unpark-ms/%s", g->cfg->name);
        snprintf(value, sizeof value, "%lld", (long long)group_unpark_lead(g));
        rc = journal_set(e->journal, key, value, err);
    }
    return rc;
}

static int write_events(struct engine *e, struct as_error *err)
{
    int rc = AS_OK;
    for (const struct event *v = e->events; v && rc == AS_OK; v = v->next) {
        rc = journal_put_event(e->journal, v->wall, v->group, v->instance, v->kind, v->text, err);
        if (rc == AS_OK && v->delta)
            rc = journal_put_scale(e->journal, v->wall, v->group, v->delta, err);
    }
    return rc;
}

/* Every minute that is ready: written (err given), or let go because it is. */
static int each_minute(struct engine *e, int (*cb)(struct engine *e, struct rollup *r, struct as_error *err),
                       struct as_error *err)
{
    int rc = AS_OK;
    for (struct source *s = e->sources; s; s = s->next)
        for (size_t k = 0; s->minutes_wait && k < s->binding_count && rc == AS_OK; k++)
            rc = cb(e, &s->bindings[k]->past, err);
    for (struct group *g = e->minutes_wait ? e->groups : NULL; g; g = g->next)
        for (size_t p = 0; p < g->policy_count + g->shadow_count; p++) {
            struct policy_run *run =
                p < g->policy_count ? &g->policies[p] : &g->shadows[p - g->policy_count].run;
            for (size_t k = 0; k < run->input_count && rc == AS_OK; k++)
                if (run->sources[k].past)
                    rc = cb(e, run->sources[k].past, err);
        }
    return rc;
}

static int write_minute(struct engine *e, struct rollup *r, struct as_error *err)
{
    return r->closed.count ? journal_put_sample(e->journal, &r->closed, err) : AS_OK;
}

static int drop_minute(struct engine *e, struct rollup *r, struct as_error *err)
{
    (void)e, (void)err;
    r->closed.count = 0;
    return AS_OK;
}

static bool anything_to_write(struct engine *e)
{
    if (e->transaction || e->events || e->outbox || e->rows_dirty || e->minutes_wait ||
        e->journal_failing_since) /* an empty one tells that it works */
        return true;
    for (const struct source *s = e->sources; s; s = s->next)
        if (s->minutes_wait)
            return true;
    return false;
}

static void written(struct engine *e)
{
    if (e->journal_failing_since) {
        char span[32];
        log_info("journal", "can be written again after %s",
                 as_time_text(e->now - e->journal_failing_since, span, sizeof span));
    }
    e->journal_failing_since = e->journal_retry = 0;
    while (e->events) {
        struct event *v = e->events;
        e->events = v->next;
        free(v);
    }
    e->events_tail = &e->events;
    e->event_count = 0;
    each_minute(e, drop_minute, NULL);
    e->minutes_wait = false;
    for (struct source *s = e->sources; s; s = s->next)
        s->minutes_wait = false;
    for (struct group *g = e->rows_dirty ? e->groups : NULL; g; g = g->next) {
        if (!g->rows_dirty)
            continue;
        g->rows_dirty = g->desired_dirty = g->pools_dirty = g->unpark_lead_dirty = false;
        for (struct instance *i = g->instances; i; i = i->next)
            i->dirty = false;
    }
    e->rows_dirty = false;
}

/* Points before and after the commit that makes a state durable. */
#ifdef AUTOSCALE_TEST_HOOKS
static void crash_on_states(const struct engine *e, const char *when)
{
    for (const struct group *g = e->groups; g; g = g->next)
        for (const struct instance *i = g->instances; i; i = i->next)
            if (i->dirty)
                crashpoint(when, inst_state_name(i->state));
}
#else
#define crash_on_states(e, when) ((void)0)
#endif

static void flush_outbox(struct engine *e)
{
    while (e->outbox) {
        struct op *op = e->outbox;
        e->outbox = op->next;
        op->next = NULL;
        op->deadline += e->now - op->submitted; /* the time it waited for the journal is not the peer's */
        op->submitted = e->now;
        e->world.submit(e->world.arg, op);
    }
    e->outbox_tail = &e->outbox;
}

void engine_commit(struct engine *e)
{
    struct as_error err = { 0 };
    if (!anything_to_write(e) || !engine_transaction(e))
        return;
    int rc = write_events(e, &err);
    for (struct group *g = e->rows_dirty ? e->groups : NULL; g && rc == AS_OK; g = g->next)
        if (g->rows_dirty)
            rc = write_group(e, g, &err);
    if (rc == AS_OK)
        rc = each_minute(e, write_minute, &err);
    crash_on_states(e, "before");
    if (rc == AS_OK)
        rc = journal_commit(e->journal, &err);
    else
        journal_rollback(e->journal);
    if (rc != AS_OK) {
        journal_failed(e, &err);
        return;
    }
    e->transaction = false;
    crash_on_states(e, "after");
    written(e);
    flush_outbox(e);
}

/* --- reading, at the start ---------------------------------------------------------------------------- */

static int take_row(void *arg, const struct journal_instance *row)
{
    struct group *g = arg;
    struct engine *e = g->engine;
    enum inst_state state = inst_state_parse(row->state);
    struct instance *i = state < INST_GONE || state == INST_FAILED ? instance_new(g, row->id) : NULL;
    if (!i)
        return 0;
    i->state = state == INST_CREATING ? INST_UNKNOWN : state; /* sent or not, only a list can tell */
    i->dirty = i->state != state;
    i->compute_done = e->now; /* what the last process asked for may still be under way */
    i->notes->since_wall = row->state_wall;
    i->since = e->now - (e->wall > row->state_wall ? e->wall - row->state_wall : 0);
    i->notes->wanted_wall = row->wanted_wall;
    i->wanted_at = 0; /* a launch that a restart interrupted measures nothing */
    i->notes->serving_wall = row->serving_wall;
    i->port = (uint16_t)row->port;
    i->force = i->state == INST_LEAVING && row->serving_wall == 0;
    g->parked += i->state == INST_PARKED;
    i->warm = i->state == INST_BOOTING && row->serving_wall != 0;
    snprintf(i->notes->host_name, sizeof i->notes->host_name, "%s", row->host);
    snprintf(i->address, sizeof i->address, "%s", row->address);
    snprintf(i->notes->revision, sizeof i->notes->revision, "%s", row->revision);
    snprintf(i->notes->reason, sizeof i->notes->reason, "%s", row->reason);
    if (i->state == INST_BOOTING || i->state == INST_JOINING)
        i->since = e->now; /* its deadline starts anew: we were not there to see it answer */
    for (size_t k = 0; k < g->host_count; k++)
        if (strcmp(g->hosts[k].name, row->host) == 0)
            i->host = (int)k;
    if (i->host < 0 && i->notes->host_name[0] && !config_host_lost(g->cfg, i->notes->host_name))
        log_warning(g->cfg->name,
                    "instance %s is on %s, which the configuration does not name any more: it counts in "
                    "the footprint and is left alone; put the host back, or name it in lost_hosts when it is "
                    "gone for good",
                    i->id, i->notes->host_name);
    return 0;
}

static int take_scale(void *arg, int64_t wall, int delta)
{
    struct group *g = arg;
    struct engine *e = g->engine;
    if (delta)
        damper_note(&g->damper, e->now - (e->wall > wall ? e->wall - wall : 0), delta);
    return 0;
}

struct past {
    int64_t *walls;
    double *means;
    size_t count, cap;
};

static int take_sample(void *arg, const struct journal_sample *row)
{
    struct past *p = arg;
    if (p->count == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 4096;
        int64_t *walls = realloc(p->walls, cap * sizeof *walls);
        if (walls)
            p->walls = walls;
        double *means = walls ? realloc(p->means, cap * sizeof *means) : NULL;
        if (!means)
            return 1; /* what fits is learnt from */
        p->means = means;
        p->cap = cap;
    }
    p->walls[p->count] = row->wall;
    p->means[p->count++] = row->mean;
    return 0;
}

static void learn(struct engine *e, struct policy_run *run)
{
    bool learns = run->cfg->type->learn && !run->learnt;
    run->learnt = true;
    for (size_t n = 0; learns && n < run->input_count; n++) {
        struct past past = { 0 };
        if (run->inputs[n])
            journal_each_sample(engine_past(e), as_series_name(run->inputs[n]), e->wall - e->cfg->retention,
                                take_sample, &past, NULL);
        if (past.count)
            run->cfg->type->learn(run->state, n, past.walls, past.means, past.count);
        free(past.walls);
        free(past.means);
    }
}

/* Shows policies that learn from the past what the journal kept of their inputs, once. */
void group_learn(struct group *g)
{
    for (size_t k = 0; k < g->policy_count; k++)
        learn(g->engine, &g->policies[k]);
    for (size_t k = 0; k < g->shadow_count; k++)
        learn(g->engine, &g->shadows[k].run);
}

static double middle_of(const double *v, int n)
{
    double middle = 0;
    for (int k = 0; k < n; k++) {
        int below = 0;
        for (int i = 0; i < n; i++)
            below += v[i] < v[k];
        if (2 * below <= n)
            middle = v[k] > middle ? v[k] : middle;
    }
    return middle;
}

static int load_leads(struct group *g, struct as_error *err)
{
    double past[sizeof g->lead.s / sizeof *g->lead.s];
    int n = journal_launch_seconds(engine_past(g->engine), g->cfg->name, past, sizeof past / sizeof *past);
    char key[AS_NAME_MAX + 16], *value = NULL;
    for (int k = n - 1; k >= 0; k--) /* the oldest first: it is the first to be forgotten */
        leads_add(&g->lead, past[k]);
    double usual = middle_of(past, n);
    for (int k = n - 1; k >= 0; k--) /* which of them failed at first is not known: those took much longer */
        if (past[k] < 1.5 * usual)
            leads_add(&g->boot, past[k]);
    snprintf(key, sizeof key, "unpark-ms/%s", g->cfg->name);
    int rc = journal_get(engine_past(g->engine), key, &value, err);
    if (rc == AS_OK && value && atoll(value) > 0)
        leads_add(&g->unpark_lead, (double)atoll(value) / 1000.0);
    free(value);
    return rc;
}

int group_load(struct group *g, struct as_error *err)
{
    struct journal *j = g->engine->journal;
    char key[AS_NAME_MAX + 16], *value = NULL;
    int rc = pools_recall(g, err); /* first: an instance has room for its memberships */
    if (rc == AS_OK)
        rc = journal_each_instance(j, g->cfg->name, take_row, g, err);
    group_write_off(g);
    as_time longest = g->cfg->out.cooldown + g->cfg->in.cooldown + g->cfg->out.period + g->cfg->in.period;
    if (rc == AS_OK)
        rc = journal_each_scale(j, g->cfg->name, g->engine->wall - longest, take_scale, g, err);
    snprintf(key, sizeof key, "desired/%s", g->cfg->name);
    if (rc == AS_OK)
        rc = journal_get(j, key, &value, err);
    if (rc != AS_OK)
        return rc;
    g->desired = value ? atoi(value) : -1;
    free(value);
    return load_leads(g, err);
}

int engine_load(struct engine *e, struct as_error *err)
{
    for (struct group *g = e->groups; g; g = g->next) {
        int rc = group_load(g, err);
        if (rc != AS_OK)
            return rc;
        group_learn(g);
    }
    return AS_OK;
}
