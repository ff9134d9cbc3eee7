/* observe: asks sources, hosts, balancers and instances when they are due and takes in what they answer.
 * Reads only. A source that does not answer leaves its series to age; it never yields a number. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../model/series.h"
#include "../runtime/log.h"
#include "plan.h"

#define POOL_FAST 100 /* ms between lists of a balancer while some member is on its way */

/* --- sources --------------------------------------------------------------------------------------- */

bool binding_failing(const struct source *s, const struct binding *b)
{
    bool left_out = false;
    for (size_t k = 0; s->partial && k < s->feed_count; k++)
        left_out = left_out || b->parts[k].left_out;
    return s->failing || left_out;
}

bool source_idle(const struct source *s)
{
    if (s->retired)
        return true;
    for (size_t k = 0; k < s->binding_count; k++)
        if (s->bindings[k]->users > 0)
            return false;
    return s->cfg->driver->on_demand && !s->weighs;
}

static bool weighs_by(const struct group *g, const struct source *s)
{
    return !g->retired && strcmp(g->cfg->balancer.weigh_source, s->cfg->name) == 0;
}

void sources_weigh(struct engine *e)
{
    for (struct source *s = e->sources; s; s = s->next) {
        s->weighs = false;
        for (const struct group *g = e->groups; g; g = g->next)
            s->weighs = s->weighs || (!s->retired && weighs_by(g, s));
    }
}

static void poll_source(struct engine *e, struct source *s)
{
    s->round++;
    for (size_t k = 0; k < s->feed_count; k++) {
        struct feed *f = &s->feeds[k];
        if (f->busy) { /* still out since an earlier round: not waited for */
            if (s->round_open > 0)
                s->round_open--;
            continue;
        }
        struct op *op = engine_op(e, OP_POLL, s->cfg->timeout);
        if (!op)
            continue;
        op->source = s;
        op->index = (int)k;
        op->port = f->port;
        f->busy = true;
        s->inflight++;
        s->round_open++;
        engine_submit(e, op);
    }
    s->next_poll = s->next_poll + s->cfg->interval > e->now ? s->next_poll + s->cfg->interval
                                                            : e->now + s->cfg->interval;
}

void observe_tick(struct engine *e)
{
    for (struct source *s = e->sources; s; s = s->next)
        if (e->now >= s->next_poll && !source_idle(s))
            poll_source(e, s);
}

/* One value of several endpoints. False when no endpoint has a current one. */
static bool merge_parts(const struct source *s, const struct binding *b, as_time now, double *out,
                        bool *partial)
{
    double sum = 0, weight = 0, least = 0, most = 0;
    int n = 0;
    for (size_t k = 0; k < s->feed_count; k++) {
        if (b->parts[k].at == 0 || s->feeds[k].failing_since || now - b->parts[k].at > s->cfg->max_age)
            continue;
        double v = b->parts[k].value, w = b->parts[k].weight;
        least = n == 0 || v < least ? v : least;
        most = n == 0 || v > most ? v : most;
        sum += b->merge == AS_MERGE_MEAN ? v * w : v;
        weight += w;
        n++;
    }
    if (n == 0)
        return false;
    *partial = s->failing;
    *out = b->merge == AS_MERGE_SUM   ? sum
           : b->merge == AS_MERGE_MAX ? most
           : b->merge == AS_MERGE_MIN ? least
                                      : sum / weight;
    return isfinite(*out);
}

bool observe_roll_up(struct engine *e, struct rollup *r, const char *metric, double v)
{
    struct journal_sample *m = &r->minute;
    int64_t minute = e->wall / 60000 * 60000;
    if (e->world.forgets)
        return false;
    if (m->count && m->wall != minute) {
        r->closed = *m;
        r->closed.mean /= m->count;
        m->count = 0;
    }
    if (m->count == 0)
        *m = (struct journal_sample){ .wall = minute, .metric = metric, .min = v, .max = v };
    if (!isfinite(m->mean + v)) /* the journal takes no sum that is not */
        return r->closed.count > 0;
    m->mean += v;
    m->min = v < m->min ? v : m->min;
    m->max = v > m->max ? v : m->max;
    m->count++;
    return r->closed.count > 0;
}

/* The round is over, or as much of it as will come: merged values go into the series. */
static void close_round(struct engine *e, struct source *s)
{
    s->round_open = 0;
    if (!s->fresh_round)
        return;
    s->fresh_round = false;
    for (size_t k = 0; k < s->binding_count; k++) {
        struct binding *b = s->bindings[k];
        bool partial = false;
        as_time newest = 0;
        double v;
        for (size_t f = 0; f < s->feed_count; f++)
            newest = b->parts[f].at > newest ? b->parts[f].at : newest;
        if (newest > b->merged_at && merge_parts(s, b, e->now, &v, &partial)) {
            b->merged_at = newest;
            if (b->round == s->round) /* one was late: the sample is that of all now */
                series_amend(b->series, newest, v, partial);
            else
                series_push(b->series, newest, v, partial);
            b->round = s->round;
            s->minutes_wait = observe_roll_up(e, &b->past, as_series_name(b->series), v) || s->minutes_wait;
        }
    }
}

/* Samples of a poll by name. A balancer with a thousand backends gives thousands of them, and to search for
 * each binding among them would cost more than all decisions together. */
struct sample_index {
    const struct as_samples *samples;
    uint32_t *slots, mask; /* number of the sample + 1; 0: empty. Made for the first that is looked up */
    bool failed;           /* no memory */
};

static uint32_t name_hash(const char *object, const char *series)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (; *object; object++)
        h = (h ^ (unsigned char)*object) * 16777619u;
    for (h *= 16777619u; *series; series++)
        h = (h ^ (unsigned char)*series) * 16777619u;
    return h ^ h >> 15;
}

static bool is_named(const struct as_sample *v, const char *object, const char *series)
{
    return strcmp(v->series, series) == 0 && strcmp(v->object, object) == 0;
}

/* The slot of this name: the first sample's that has it, or the empty one where it would be. */
static uint32_t *index_slot(const struct sample_index *ix, const char *object, const char *series)
{
    for (uint32_t at = name_hash(object, series);; at++) {
        uint32_t *slot = &ix->slots[at & ix->mask];
        if (!*slot || is_named(&ix->samples->items[*slot - 1], object, series))
            return slot;
    }
}

static bool index_samples(struct sample_index *ix)
{
    const struct as_samples *samples = ix->samples;
    uint32_t size = 16;
    while (size < 2 * samples->count)
        size *= 2;
    ix->slots = calloc(size, sizeof *ix->slots);
    ix->mask = size - 1;
    for (uint32_t n = 0; ix->slots && n < samples->count; n++) {
        uint32_t *slot = index_slot(ix, samples->items[n].object, samples->items[n].series);
        if (*slot == 0)
            *slot = n + 1;
    }
    ix->failed = !ix->slots;
    return !ix->failed;
}

/* Its number + 1, or 0. */
static uint32_t look_up(struct sample_index *ix, const char *object, const char *series)
{
    bool ready = ix->slots || (!ix->failed && index_samples(ix));
    return ready ? *index_slot(ix, object, series) : 0;
}

/* The same. A source that tells the same things as before has this one where it was. */
static uint32_t find_sample(struct sample_index *ix, const struct binding *b, uint32_t before)
{
    const struct as_samples *all = ix->samples;
    bool there = before > 0 && before <= all->count && is_named(&all->items[before - 1], b->object, b->name);
    return there ? before : look_up(ix, b->object, b->name);
}

static void take_cpu(struct engine *e, const struct source *s, struct sample_index *ix)
{
    for (struct group *g = e->groups; g; g = g->next)
        for (struct instance *i = weighs_by(g, s) ? g->instances : NULL; i; i = i->next) {
            uint32_t n = look_up(ix, i->id, AS_SERIES_CPU);
            if (n)
                weigh_cpu_take(i, ix->samples->items[n - 1].value, e->now, s->cfg->max_age);
        }
}

static void take_samples(struct engine *e, struct source *s, struct feed *f, const struct op *op)
{
    size_t idx = (size_t)(f - s->feeds);
    struct sample_index ix = { .samples = &op->samples };
    for (size_t k = 0; k < s->binding_count; k++) {
        struct binding *b = s->bindings[k];
        uint32_t n = find_sample(&ix, b, b->parts[idx].place);
        b->parts[idx].place = n;
        b->parts[idx].left_out = n == 0 && op->err.msg[0]; /* its last value is not what it is now */
        if (n == 0)
            continue;
        const struct as_sample *v = &op->samples.items[n - 1];
        b->parts[idx].value = v->value;
        b->parts[idx].weight = v->weight > 0 ? v->weight : 1;
        b->parts[idx].at = op->submitted;
    }
    if (s->weighs)
        take_cpu(e, s, &ix);
    if (ix.failed)
        log_error("loop", "out of memory: a poll was left out");
    free(ix.slots);
    s->fresh_round = true;
}

/* A poll that is good but for a part: said once, known since its first. */
static void feed_part(struct engine *e, const struct source *s, struct feed *f, const struct as_error *why)
{
    const char *sep = *f->endpoint ? " " : "";
    char span[32];
    bool partial = why->msg[0];
    if (partial && engine_says(e, &f->said, !f->partial_since, why->msg))
        log_warning(s->cfg->name, "source%s%s: %s; its series is left out", sep, f->endpoint, why->msg);
    if (!partial && f->partial_since)
        log_info(s->cfg->name, "source%s%s gives all its series again after %s", sep, f->endpoint,
                 as_time_text(e->now - f->partial_since, span, sizeof span));
    if (!partial || !f->partial_since)
        f->partial_since = partial ? e->now : 0;
}

static void feed_state(struct engine *e, struct source *s, struct feed *f, const struct op *op)
{
    const char *sep = *f->endpoint ? " " : "";
    f->polls++;
    if (op->rc == AS_OK) {
        char span[32];
        if (f->failing_since) {
            log_info(s->cfg->name, "source%s%s answers again after %s", sep, f->endpoint,
                     as_time_text(e->now - f->failing_since, span, sizeof span));
            engine_event(e, "", "", "source", "%s%s%s answers again after %s", s->cfg->name, sep, f->endpoint,
                         span);
        }
        f->failing_since = 0;
        f->last_ok = e->now;
        feed_part(e, s, f, &op->err);
        f->err = op->err;
        return;
    }
    f->failures++;
    if (engine_says(e, &f->said, !f->failing_since, op->err.msg)) { /* once, not at every poll */
        log_warning(s->cfg->name, "source%s%s: %s (%s); polled again every interval, no scale-in meanwhile",
                    sep, f->endpoint, op->err.msg, as_rc_name(op->rc));
        engine_event(e, "", "", "source", "%s%s%s: %s", s->cfg->name, sep, f->endpoint, op->err.msg);
    }
    if (!f->failing_since)
        f->failing_since = e->now;
    f->partial_since = 0;
    f->err = op->err;
    f->err.rc = op->rc;
}

/* Noted once a poll, for the many inputs that ask at every decision. */
static void note_feeds(struct source *s)
{
    s->failing = s->partial = false;
    for (size_t k = 0; k < s->feed_count; k++) {
        s->failing = s->failing || s->feeds[k].failing_since;
        s->partial = s->partial || s->feeds[k].partial_since;
    }
}

void observe_close_rounds(struct engine *e)
{
    for (struct source *s = e->sources; s; s = s->next)
        if (s->fresh_round)
            close_round(e, s);
}

void observe_polled(struct engine *e, struct op *op)
{
    struct source *s = op->source;
    struct feed *f = &s->feeds[op->index];
    f->busy = false;
    s->inflight--;
    if (s->retired)
        return;
    if (s->round_open > 0)
        s->round_open--;
    feed_state(e, s, f, op);
    note_feeds(s);
    op->submitted = op->measured ? op->measured : e->now;
    if (op->rc == AS_OK)
        take_samples(e, s, f, op);
    if (s->round_open == 0)
        close_round(e, s);
}

/* --- hosts, balancers, instances ------------------------------------------------------------------- */

static bool in_motion(const struct group *g)
{
    for (const struct instance *i = g->instances; i; i = i->next) {
        if (i->state == INST_JOINING || i->state == INST_DRAINING || i->state == INST_LEAVING)
            return true;
        for (size_t k = 0; k < g->pool_count; k++)
            if (!g->pools[k].failing_since && i->pools[k].changed_at > i->pools[k].listed_at)
                return true; /* the others know nothing of what a dead one was told */
    }
    return false;
}

void observe_at(struct group *g, as_time when)
{
    if (g->due == 0 || when < g->due)
        g->due = when;
}

/* The list that settles what became of an unknown create is asked for as soon as it can tell. */
static void hasten_hosts(struct group *g)
{
    for (const struct instance *i = g->instances; i; i = i->next) {
        if (i->state != INST_UNKNOWN || i->busy || i->host < 0)
            continue;
        struct host *h = &g->hosts[i->host];
        as_time settled = unknown_settled(h, i) + 1;
        if (h->listed_at < settled && h->next_list > settled && !h->failing_since)
            h->next_list = settled;
    }
}

static void hasten_pools(struct group *g)
{
    as_time soon = g->engine->now + POOL_FAST;
    if (!g->pool_count || !in_motion(g))
        return;
    for (size_t k = 0; k < g->pool_count; k++)
        if (!g->pools[k].failing_since && g->pools[k].next_list > soon)
            g->pools[k].next_list = soon;
}

void observe_hasten(struct group *g)
{
    hasten_hosts(g);
    hasten_pools(g);
}

static void list_hosts(struct group *g)
{
    struct engine *e = g->engine;
    for (size_t k = 0; k < g->host_count; k++) {
        struct host *h = &g->hosts[k];
        if (h->listing || h->retired)
            continue;
        if (e->now < h->next_list) {
            observe_at(g, h->next_list);
            continue;
        }
        struct op *op = engine_op(e, OP_LIST, 5 * AS_SECOND);
        if (!op)
            continue;
        op->group = g;
        op->index = (int)k;
        op->port = h->port;
        h->listing = true;
        g->inflight++;
        h->next_list = e->now + (e->cfg->interval > 5 * AS_SECOND ? e->cfg->interval : 5 * AS_SECOND);
        engine_submit(e, op);
    }
}

static void list_pools(struct group *g)
{
    struct engine *e = g->engine;
    for (size_t k = 0; k < g->pool_count; k++) {
        struct pool *p = &g->pools[k];
        if (p->listing || p->retired)
            continue;
        if (e->now < p->next_list) {
            observe_at(g, p->next_list);
            continue;
        }
        struct op *op = engine_op(e, OP_MEMBERS, g->cfg->balancer.timeout);
        if (!op)
            continue;
        op->group = g;
        op->index = (int)k;
        op->port = p->port;
        p->listing = true;
        g->inflight++;
        p->next_list = e->now + e->cfg->interval;
        engine_submit(e, op);
    }
}

static void probe_instance(struct group *g, struct instance *i)
{
    struct engine *e = g->engine;
    bool wanted = i->state == INST_BOOTING || i->state == INST_JOINING || i->state == INST_SERVING;
    if (!wanted || i->probing || i->busy || (i->parked && i->state == INST_BOOTING) || !i->address[0] ||
        !i->port)
        return;
    if (e->now < i->next_probe) {
        observe_at(g, i->next_probe);
        return;
    }
    struct op *op = engine_op(e, OP_PROBE, g->cfg->health.timeout);
    if (!op)
        return;
    op->group = g;
    op->inst = i;
    op->health = &g->cfg->health;
    snprintf(op->call->target.address, sizeof op->call->target.address, "%s", i->address);
    op->call->target.port = i->port;
    i->probing = true;
    i->inflight++;
    g->inflight++;
    i->next_probe = e->now + g->cfg->health.interval;
    engine_submit(e, op);
}

void observe_group(struct group *g)
{
    g->due = 0;
    list_hosts(g);
    list_pools(g);
    bool probes = g->cfg->health.kind != CFG_HEALTH_RUNNING;
    for (struct instance *i = probes ? g->instances : NULL; i; i = i->next)
        probe_instance(g, i);
}

void observe_probed(struct group *g, struct op *op)
{
    struct instance *i = op->inst;
    i->probing = false;
    bool ok = op->rc == AS_OK;
    snprintf(i->notes->health, sizeof i->notes->health, "%s", op->call->detail);
    i->passes = ok ? i->passes + 1 : 0;
    bool news = !ok || i->misses > 0 || i->state != INST_SERVING;
    i->misses = ok ? 0 : i->misses + 1;
    if (news)
        g->dirty = true;
    else
        observe_at(g, i->next_probe); /* one more good check of a good instance changes nothing */
}
