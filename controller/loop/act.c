/* act: carries out a plan. States move first, then operations are queued; the turn's commit makes the
 * moves durable before any write leaves. What comes back is judged by its class, never by its text. */
#include <stdio.h>
#include <string.h>

#include "../runtime/log.h"
#include "act.h"

#define BACKOFF_FIRST (5 * AS_SECOND)
#define UNPARK_TRIES  3
#define RETRY_FIRST   (1 * AS_SECOND)
#define RETRY_MOST    (30 * AS_SECOND)

bool backoff_fail(struct backoff *b, as_time now, as_time began, const char *why)
{
    as_time wait = BACKOFF_FIRST;
    b->probing = false;
    snprintf(b->why, sizeof b->why, "%.*s", (int)sizeof b->why - 1, why);
    if (b->fails > 0 && began <= b->failed_at)
        return false;
    for (int k = 0; k < b->fails && wait < BACKOFF_MOST; k++)
        wait *= 2;
    b->until = now + (wait < BACKOFF_MOST ? wait : BACKOFF_MOST);
    b->failed_at = now;
    b->fails++;
    return true;
}

void backoff_clear(struct backoff *b)
{
    *b = (struct backoff){ 0 };
}

bool backoff_open(const struct backoff *b, as_time now)
{
    return now >= b->until && !b->probing;
}

static as_time retry_delay(int fails)
{
    as_time d = RETRY_FIRST;
    while (fails-- > 1 && d < RETRY_MOST)
        d *= 2;
    return d < RETRY_MOST ? d : RETRY_MOST;
}

/* --- operations ------------------------------------------------------------------------------------ */

static struct op *instance_op(struct instance *i, enum op_kind kind, as_time timeout)
{
    struct op *op = engine_op(i->group->engine, kind, timeout);
    if (!op)
        return NULL;
    op->group = i->group;
    op->inst = i;
    i->inflight++;
    i->group->inflight++;
    return op;
}

static void identify(struct as_instance *out, const struct instance *i)
{
    snprintf(out->id, sizeof out->id, "%s", i->id);
    snprintf(out->revision, sizeof out->revision, "%s", i->notes->revision);
    snprintf(out->address, sizeof out->address, "%s", i->address);
    out->port = i->port;
}

static void launch(struct instance *i, int host, const char *why)
{
    struct group *g = i->group;
    struct host *h = &g->hosts[host];
    struct op *op = instance_op(i, OP_CREATE, g->cfg->compute.timeout);
    if (!op)
        return;
    i->host = host;
    snprintf(i->notes->host_name, sizeof i->notes->host_name, "%s", h->name);
    i->busy = true;
    i->listed = i->absent = i->died = false;
    i->launched_at = g->engine->now;
    i->tries++;
    h->launching++;
    h->launch.probing = h->launch.fails >= BREAKER_TRIPS;
    g->launches++;
    op->port = h->port;
    op->index = host;
    identify(&op->call->target, i);
    instance_move(i, INST_CREATING, "on %s: %s", h->name, why);
    engine_submit(g->engine, op);
}

/* Destroys, parks or unparks it where it is. */
static void tell_host(struct instance *i, enum op_kind kind)
{
    struct group *g = i->group;
    struct op *op = instance_op(i, kind, g->cfg->compute.timeout);
    if (!op)
        return;
    i->busy = true;
    op->port = g->hosts[i->host].port;
    op->index = i->host;
    identify(&op->call->target, i);
    engine_submit(g->engine, op);
}

/* The state first: whoever finds it in the journal goes on from there, whether or not the host was told. */
static void park(struct instance *i, const char *why)
{
    if (i->state != INST_PARKED)
        instance_move(i, INST_PARKED, "%s", why);
    tell_host(i, OP_PARK);
}

static void unpark(struct instance *i, const char *why)
{
    struct group *g = i->group;
    if (i->state == INST_PARKED) {
        instance_move(i, INST_BOOTING, "unparked on %s: %s", i->notes->host_name, why);
        i->warm = true;
        i->wanted_at = g->engine->now;
        i->passes = i->misses = 0;
        g->unparks++;
    }
    tell_host(i, OP_UNPARK);
}

static void tell_pool(struct instance *i, enum op_kind kind, const struct step *s)
{
    struct group *g = i->group;
    struct op *op = instance_op(i, kind, g->cfg->balancer.timeout);
    if (!op)
        return;
    i->pools[s->index].busy = true;
    op->port = g->pools[s->index].port;
    op->index = s->index;
    op->force = s->force;
    snprintf(op->call->member.id, sizeof op->call->member.id, "%s", i->id);
    snprintf(op->call->member.address, sizeof op->call->member.address, "%s", i->address);
    op->call->member.port = i->port;
    const struct membership *m = &i->pools[s->index];
    op->call->member.weight = kind == OP_WEIGHT ? s->weight : m->weigh > 0 ? (int)(m->weigh + 0.5) : 0;
    engine_submit(g->engine, op);
}

/* --- steps ----------------------------------------------------------------------------------------- */

static void want(struct group *g, const char *why)
{
    char id[AS_ID_MAX];
    struct world *w = &g->engine->world;
    int known;
    do {
        snprintf(id, sizeof id, "%s-%08x", g->cfg->name, w->random(w->arg));
        known = journal_knows_instance(g->engine->journal, id);
    } while (known == 1 || instance_find(g, id));
    if (known < 0) /* the journal does not answer: the commit of this turn says so */
        return;
    struct instance *i = instance_new(g, id);
    if (i)
        log_debug(g->cfg->name, "instance %s: WANTED (%s)", id, why);
    g->dirty = true;
}

static void join(struct instance *i, enum inst_state to, const char *why)
{
    for (size_t k = 0; k < i->group->pool_count; k++)
        i->pools[k].retry_at = 0;
    instance_move(i, to, "%s", why);
}

static void act_on(struct group *g, const struct step *s)
{
    struct instance *i = s->inst;
    switch (s->kind) {
    case STEP_WANT: want(g, s->why); break;
    case STEP_LAUNCH: launch(i, s->index, s->why); break;
    case STEP_FORGET: instance_move(i, INST_GONE, "not needed any more: %s", s->why); break;
    case STEP_FAIL: instance_move(i, INST_FAILED, "%s", s->why); break;
    case STEP_JOIN: join(i, INST_JOINING, s->why); break;
    case STEP_READMIT: join(i, INST_JOINING, s->why); break;
    case STEP_SERVE: instance_move(i, INST_SERVING, "%s", s->why); break;
    case STEP_ADMIT: tell_pool(i, OP_ADMIT, s); break;
    case STEP_MARK: tell_pool(i, OP_DRAIN, s); break;
    case STEP_EVICT: tell_pool(i, OP_EVICT, s); break;
    case STEP_WEIGH:
        log_debug(g->cfg->name, "instance %s: %s", i->id, s->why);
        tell_pool(i, OP_WEIGHT, s);
        break;
    case STEP_DRAIN: instance_move(i, INST_DRAINING, "%s", s->why); break;
    case STEP_PARK: park(i, s->why); break;
    case STEP_UNPARK: unpark(i, s->why); break;
    case STEP_LEAVE:
        i->force = s->force;
        i->fit = i->state == INST_DRAINING && !i->absent && !i->died && i->misses == 0;
        instance_move(i, INST_LEAVING, "%s", s->why);
        break;
    case STEP_REMOVE: instance_move(i, INST_DESTROYING, "%s", s->why); break;
    case STEP_DESTROY: tell_host(i, OP_DESTROY); break;
    case STEP_GONE: instance_move(i, INST_GONE, "%s", s->why); break;
    case STEP_KINDS: break;
    }
}

void act_on_plan(struct group *g, const struct plan *p)
{
    for (size_t k = 0; k < p->count; k++)
        act_on(g, &p->items[k]);
}

/* --- what came back -------------------------------------------------------------------------------- */

static void created_ok(struct group *g, struct instance *i, const struct op *op)
{
    snprintf(i->address, sizeof i->address, "%s", op->call->created.address);
    i->port = op->call->created.port;
    i->passes = i->misses = 0;
    i->next_probe = g->engine->now;
    i->listed = true;
    i->parked = false;
    backoff_clear(&g->hosts[op->index].launch);
    instance_move(i, INST_BOOTING, "created on %s as %s:%u", i->notes->host_name, i->address, i->port);
}

void act_created(struct group *g, struct op *op)
{
    struct instance *i = op->inst;
    struct host *h = &g->hosts[op->index];
    as_time now = g->engine->now;
    h->launching--;
    h->launch.probing = false;
    if (op->rc != AS_OK ||
        h->launching == 0) /* a burst is listed once, at its end: the host has enough to do */
        h->next_list = now;
    i->busy = false;
    i->compute_done = now;
    if (op->rc == AS_OK) {
        created_ok(g, i, op);
        return;
    }
    log_warning(g->cfg->name, "instance %s: create on %s: %s (%s)", i->id, h->name, op->err.msg,
                as_rc_name(op->rc));
    engine_event(g->engine, g->cfg->name, i->id, "create-failed", "on %s: %s (%s)", h->name, op->err.msg,
                 as_rc_name(op->rc));
    backoff_fail(&h->launch, now, i->launched_at, op->err.msg);
    switch (op->rc) {
    case AS_EUNKNOWN:
    case AS_EPROTO:
    case AS_ENOMEM: instance_move(i, INST_UNKNOWN, "%s", op->err.msg); break;
    case AS_EAGAIN:
    case AS_EFULL:
        group_count_launch(g, i, true);
        instance_move(i, INST_WANTED, "%s", op->err.msg); /* it did not happen: another host, or later */
        i->host = -1;
        i->notes->host_name[0] = '\0';
        break;
    default: /* will not heal by itself: back off the whole group */
        i->absent = op->rc == AS_EINVAL || op->rc == AS_EAUTH || op->rc == AS_EUNSUP || op->rc == AS_EEXIST;
        instance_move(i, INST_FAILED, "%s", op->err.msg);
        break;
    }
}

void act_destroyed(struct group *g, struct op *op)
{
    struct instance *i = op->inst;
    i->busy = false;
    i->compute_done = g->engine->now;
    if (i->host >= 0)
        g->hosts[i->host].next_list = g->hosts[i->host].destroyed_at = g->engine->now;
    if (op->rc == AS_OK || op->rc == AS_ENOENT) {
        instance_move(i, INST_GONE, "destroyed on %s", i->notes->host_name);
        return;
    }
    if (op->rc == AS_EEXIST) {
        instance_move(i, INST_GONE, "what has its name on %s is not ours: left alone", i->notes->host_name);
        return;
    }
    i->retry_at = g->engine->now + retry_delay(++i->fails);
    char span[32];
    log_warning(g->cfg->name, "instance %s: destroy on %s: %s (%s); next try in %s", i->id,
                i->notes->host_name, op->err.msg, as_rc_name(op->rc),
                as_time_text(i->retry_at - g->engine->now, span, sizeof span));
}

/* It may have happened, or it did not and may be tried again. */
static bool worth_another_try(enum as_rc rc)
{
    return rc == AS_EAGAIN || rc == AS_EUNKNOWN || rc == AS_EPROTO || rc == AS_ENOMEM || rc == AS_EFULL;
}

/* What both have in common. True: it is as it was asked to be, and nothing is left to do. */
static bool switched(struct group *g, const struct op *op)
{
    struct instance *i = op->inst;
    i->busy = false;
    i->compute_done = g->engine->now;
    if (op->rc == AS_OK)
        return true;
    g->hosts[op->index].next_list = g->engine->now;   /* see what became of it */
    if (op->rc == AS_ENOENT || op->rc == AS_EEXIST) { /* gone, or not ours: nothing of ours has its name */
        i->absent = true;
        return false;
    }
    char span[32];
    i->retry_at = g->engine->now + retry_delay(++i->fails);
    log_warning(
        g->cfg->name, "instance %s: %s on %s: %s (%s)%s%s", i->id, op_name(op->kind), i->notes->host_name,
        op->err.msg, as_rc_name(op->rc), worth_another_try(op->rc) ? "; next try in " : "",
        worth_another_try(op->rc) ? as_time_text(i->retry_at - g->engine->now, span, sizeof span) : "");
    return false;
}

void act_parked(struct group *g, struct op *op)
{
    struct instance *i = op->inst;
    if (switched(g, op)) {
        i->parked = true;
        if (g->cfg->compute.park == CFG_PARK_SAVE) /* its memory is free now */
            g->hosts[op->index].next_list = g->engine->now;
        return;
    }
    if (i->state != INST_PARKED || i->absent || worth_another_try(op->rc))
        return;
    backoff_fail(&g->refill, g->engine->now, i->since, op->err.msg);
    i->force = true;
    instance_move(i, INST_LEAVING, "it cannot be parked: %s", op->err.msg);
}

void act_unparked(struct group *g, struct op *op)
{
    struct instance *i = op->inst;
    i->parked =
        !switched(g, op) && !i->absent; /* not known to run is parked, until its host says otherwise */
    if (!i->parked && !i->absent) {
        if (op->call->created.address[0] && op->call->created.port) {
            snprintf(i->address, sizeof i->address, "%s", op->call->created.address);
            i->port = op->call->created.port;
            i->dirty = true;
            group_rows_changed(g);
        }
        i->listed = true;
        i->passes = i->misses = 0;
        i->next_probe = g->engine->now;
    } else if (i->state == INST_BOOTING && !i->absent &&
               (!worth_another_try(op->rc) || i->fails >= UNPARK_TRIES))
        instance_move(i, INST_FAILED, "it could not be unparked: %s", op->err.msg);
}

void act_balanced(struct group *g, struct op *op)
{
    struct instance *i = op->inst;
    struct pool *pool = &g->pools[op->index];
    as_time now = g->engine->now;
    if (!i) { /* left behind by one that is gone; seen again by the next list, it is evicted again */
        if (op->rc == AS_OK || op->rc == AS_ENOENT)
            pool->next_list = now;
        else
            log_warning(g->cfg->name, "member %s at %s: %s: %s (%s); next try when it is listed again",
                        op->call->member.id, pool->name, op_name(op->kind), op->err.msg, as_rc_name(op->rc));
        return;
    }
    pool->next_list = now; /* see what became of it */
    struct membership *m = &i->pools[op->index];
    m->busy = false;
    m->changed_at = now;
    if (op->rc == AS_OK || (op->rc == AS_ENOENT && op->kind != OP_ADMIT)) {
        m->fails = 0;
        m->retry_at = 0;
        m->unsure = m->unsure && op->kind != OP_ADMIT;
        return;
    }
    m->unsure = m->unsure || op->rc == AS_EUNKNOWN;
    m->retry_at =
        now + (op->rc == AS_EAGAIN && op->kind == OP_EVICT ? AS_SECOND / 4 : retry_delay(++m->fails));
    if (op->rc == AS_EAGAIN && op->kind == OP_EVICT) /* still holds work: asked again until the deadline */
        return;
    char span[32];
    log_warning(g->cfg->name, "instance %s: %s at %s: %s (%s); next try in %s", i->id, op_name(op->kind),
                pool->name, op->err.msg, as_rc_name(op->rc),
                as_time_text(m->retry_at - now, span, sizeof span));
}
