/* tick: the engine's turn. One clock reading, everything that is due, one transaction, then the writes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../runtime/log.h"
#include "act.h"
#include "crashpoint.h"
#include "engine.h"

#define GRACE_MOST  250 /* ms a decision waits for the polls of its round */
#define STRAGGLER   250 /* ms a start waits for balancers after others have answered */
#define PASSES_MOST 8   /* plan and act again while states move, then leave the rest to the next turn */

struct op *engine_op(struct engine *e, enum op_kind kind, as_time timeout)
{
    struct op *op = op_new(kind, e->now, timeout);
    if (!op)
        log_error("loop", "out of memory: a %s was left out", op_name(kind));
    return op;
}

void engine_submit(struct engine *e, struct op *op)
{
    if (op->kind < OP_FIRST_WRITE) {
        e->world.submit(e->world.arg, op);
        return;
    }
    *e->outbox_tail = op;
    e->outbox_tail = &op->next;
}

struct group *engine_group(struct engine *e, const char *name)
{
    struct group *g = e->groups;
    while (g && (g->retired || strcmp(g->cfg->name, name) != 0))
        g = g->next;
    return g;
}

/* --- which groups a turn looks at -------------------------------------------------------------------- */

bool engine_wakes_room(struct engine *e, size_t groups)
{
    if (groups <= e->wake_room)
        return true;
    struct wake *room = reallocarray(e->wakes, groups, sizeof *room);
    if (!room)
        return false;
    e->wakes = room;
    e->wake_room = groups;
    return true;
}

void engine_wakes_fill(struct engine *e)
{
    e->wake_count = 0;
    for (struct group *g = e->groups; g; g = g->next)
        if (!g->retired) {
            g->wake = e->wake_count;
            e->wakes[e->wake_count++] = (struct wake){ .decide_at = g->decide_at, .group = g };
        }
}

static void wake_now(struct group *g)
{
    if (!g->retired)
        g->engine->wakes[g->wake].at = 0;
}

static as_time earlier(as_time a, as_time b)
{
    return b && b < a ? b : a;
}

static void sleep_until_due(struct group *g)
{
    struct wake *w = &g->engine->wakes[g->wake];
    w->decide_at = g->decide_at;
    w->at = g->dirty ? 0 : earlier(earlier(earlier(INT64_MAX, g->due), g->plan_due), g->decide_at);
}

/* --- life ------------------------------------------------------------------------------------------- */

int engine_new(const struct world *w, struct cfg_hold *hold, struct journal *j, as_time now, int64_t wall,
               struct engine **out, struct as_error *err)
{
    struct engine *e = calloc(1, sizeof *e);
    if (!e)
        return as_fail(err, AS_ENOMEM, "out of memory");
    e->world = *w;
    e->hold = cfg_hold_get(hold);
    e->cfg = cfg_of(hold);
    e->journal = j;
    e->now = e->started = e->next_tick = now;
    e->wall = wall;
    e->outbox_tail = &e->outbox;
    e->events_tail = &e->events;
    e->inbox_tail = &e->inbox;
    e->next_prune = now + AS_MINUTE;
    int rc = bind_all(e, hold, err);
    if (rc == AS_OK && !engine_wakes_room(e, e->cfg->group_count))
        rc = as_fail(err, AS_ENOMEM, "out of memory");
    if (rc == AS_OK)
        rc = engine_load(e, err);
    if (rc == AS_OK)
        engine_wakes_fill(e);
    if (rc != AS_OK) {
        engine_free(e);
        return rc;
    }
    *out = e;
    return AS_OK;
}

static void drop_ops(struct op *op)
{
    while (op) {
        struct op *next = op->next;
        op_free(op);
        op = next;
    }
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    while (e->groups) {
        struct group *g = e->groups;
        e->groups = g->next;
        group_free(e, g);
    }
    while (e->sources) {
        struct source *s = e->sources;
        e->sources = s->next;
        source_free(e, s);
    }
    drop_ops(e->outbox);
    drop_ops(e->inbox);
    while (e->events) {
        struct event *v = e->events;
        e->events = v->next;
        free(v);
    }
    cfg_hold_put(e->hold);
    free(e->wakes);
    free(e);
}

/* --- operations that came back ------------------------------------------------------------------------ */

static as_time grace(const struct engine *e)
{
    return e->cfg->interval / 4 < GRACE_MOST ? e->cfg->interval / 4 : GRACE_MOST;
}

static void decide_later(struct engine *e, struct group *g)
{
    g->decide_at = e->now + grace(e);
    if (!e->decide_by || g->decide_at < e->decide_by)
        e->decide_by = g->decide_at;
    struct wake *w = &e->wakes[g->wake];
    w->decide_at = g->decide_at;
    w->at = earlier(w->at, g->decide_at);
}

/* The first decision has to wait for every host and balancer; once they have answered it is due, not a tick
 * later. */
static void first_decision(struct engine *e, struct group *g)
{
    if (!g->retired && !g->decided && !g->decide_at && group_observed(g))
        decide_later(e, g);
}

static void take(struct engine *e, struct op *op)
{
    struct group *g = op->group;
    if (op->kind == OP_POLL) {
        e->polled = true;
        observe_polled(e, op);
        op_free(op);
        return;
    }
    crashpoint("done", op_name(op->kind)); /* it happened, nobody has noted it */
    g->inflight--;
    if (op->inst)
        op->inst->inflight--;
    if (g->retired && op->kind < OP_FIRST_WRITE) { /* nothing may come of what it sees */
        op_free(op);
        return;
    }
    wake_now(g);
    if (op->kind >= OP_FIRST_WRITE) /* what was read may be no news */
        g->dirty = true;
    switch (op->kind) {
    case OP_LIST: reconcile_hosts(g, op); break;
    case OP_MEMBERS: reconcile_pool(g, op); break;
    case OP_PROBE: observe_probed(g, op); break;
    case OP_CREATE: act_created(g, op); break;
    case OP_DESTROY: act_destroyed(g, op); break;
    case OP_PARK: act_parked(g, op); break;
    case OP_UNPARK: act_unparked(g, op); break;
    case OP_ADMIT:
    case OP_DRAIN:
    case OP_WEIGHT:
    case OP_EVICT: act_balanced(g, op); break;
    case OP_POLL:
    case OP_KINDS: break;
    }
    first_decision(e, g);
    op_free(op);
}

static void take_inbox(struct engine *e)
{
    struct op *op = e->inbox;
    e->inbox = NULL;
    e->inbox_tail = &e->inbox;
    while (op) {
        struct op *next = op->next;
        take(e, op);
        op = next;
    }
}

void engine_done(struct engine *e, struct op *op)
{
    op->next = NULL;
    *e->inbox_tail = op;
    e->inbox_tail = &op->next;
}

/* --- one turn --------------------------------------------------------------------------------------- */

static void begin_tick(struct engine *e)
{
    e->ticks++;
    e->next_tick += e->cfg->interval;
    if (e->next_tick <= e->now) /* we were held up: go on from here, do not catch up */
        e->next_tick = e->now + e->cfg->interval;
    for (size_t k = 0; k < e->wake_count; k++)
        decide_later(e, e->wakes[k].group);
}

static bool any_round_open(const struct engine *e)
{
    for (const struct source *s = e->sources; s; s = s->next)
        if (s->round_open > 0)
            return true;
    return false;
}

/* Groups without a source to wait for decide at once. */
static bool waits_for_poll(const struct group *g)
{
    for (size_t k = 0; k < g->read_count; k++)
        if (g->reads[k]->round_open > 0)
            return true;
    return false;
}

static void free_gone(struct group *g)
{
    struct instance **at = &g->instances;
    while (*at) {
        struct instance *i = *at;
        if (i->state != INST_GONE || i->dirty || i->inflight > 0) {
            at = &i->next;
            continue;
        }
        *at = i->next;
        instance_free(i);
        g->gone--;
    }
}

static void step_group(struct engine *e, struct group *g)
{
    static struct plan plan; /* scratch, kept for its memory */
    g->dirty = false;
    reconcile_doubt(g);
    for (int pass = 0; pass < PASSES_MOST; pass++) {
        plan_group(g, e->now, &plan);
        if (plan.count == 0 || !e->world.act || e->held || e->journal_failing_since)
            break;
        act_on_plan(g, &plan);
    }
    if (*plan.blocked || *g->blocked)
        memcpy(g->blocked, plan.blocked, sizeof g->blocked);
    observe_hasten(g);
    observe_group(g);
    g->plan_due = plan.due;
}

static void turn_group(struct engine *e, struct group *g, bool polling)
{
    if (g->decide_at && (e->now >= g->decide_at || !polling || !waits_for_poll(g))) {
        group_decide(g);
        if (!e->world.act && g->decided)
            dry_say(g);
    }
    if (g->dirty || (g->plan_due && e->now >= g->plan_due))
        step_group(e, g);
    else if (g->due && e->now >= g->due)
        observe_group(g); /* time to look again; nothing is known that would change the plan */
}

static void bury(struct engine *e)
{
    struct group **at = &e->groups;
    struct source **from = &e->sources;
    if (!e->burials)
        return;
    e->burials = false;
    while (*at) {
        struct group *g = *at;
        free_gone(g);
        if (g->retired && g->inflight == 0) {
            *at = g->next;
            group_free(e, g);
        } else {
            e->burials = e->burials || g->retired || g->gone;
            at = &g->next;
        }
    }
    while (*from) {
        struct source *s = *from;
        if (s->retired && s->inflight == 0 && !e->unbound) {
            *from = s->next;
            source_free(e, s);
        } else {
            e->burials = e->burials || s->retired;
            from = &s->next;
        }
    }
}

static void prune(struct engine *e)
{
    struct as_error err = { 0 };
    bool more = false;
    if (e->now < e->next_prune || !e->world.act || e->world.forgets || e->journal_failing_since)
        return;
    if (journal_prune(e->journal, e->wall - e->cfg->retention, &more, &err) != AS_OK)
        log_warning("journal", "old rows could not be deleted: %s", err.msg);
    e->next_prune = e->now + (more ? AS_SECOND : AS_HOUR);
}

static bool balancers_asked(const struct group *g)
{
    for (size_t k = 0; k < g->pool_count; k++)
        if (pool_in_use(&g->pools[k]) && g->pools[k].tries == 0)
            return false;
    return true;
}

static void hear(struct engine *e)
{
    for (const struct group *g = e->groups; g && !e->heard; g = g->next)
        if (!g->retired && balancers_asked(g))
            e->heard = e->now;
}

void engine_turn(struct engine *e, as_time now, int64_t wall)
{
    e->now = now;
    e->wall = wall;
    e->turns++;
    take_inbox(e);
    bool tick = now >= e->next_tick;
    observe_tick(e);
    if (tick)
        begin_tick(e);
    if (e->decide_by && now >= e->decide_by)
        observe_close_rounds(e);
    e->decide_by = 0;
    bool polling = any_round_open(e); /* most often not, and then no group need look at what it reads */
    for (size_t k = 0; k < e->wake_count; k++) {
        struct wake *w = &e->wakes[k];
        if (w->at <= now || (w->decide_at && (tick || e->polled))) {
            turn_group(e, w->group, polling);
            sleep_until_due(w->group);
        }
        if (w->decide_at && (!e->decide_by || w->decide_at < e->decide_by))
            e->decide_by = w->decide_at;
    }
    e->polled = false;
    if (e->held)
        hear(e);
    engine_commit(e);
    bury(e);
    prune(e);
}

as_time engine_next(const struct engine *e)
{
    as_time next = e->next_tick;
    if (e->inbox)
        return e->now;
    for (const struct source *s = e->sources; s; s = s->next)
        if (s->next_poll < next && !source_idle(s))
            next = s->next_poll;
    for (size_t k = 0; k < e->wake_count; k++) {
        if (e->wakes[k].at == 0)
            return e->now;
        next = earlier(next, e->wakes[k].at);
    }
    if (e->journal_failing_since && e->journal_retry < next)
        next = e->journal_retry;
    if (e->held && e->heard && e->heard + STRAGGLER < next)
        next = e->heard + STRAGGLER;
    return next;
}

bool engine_balancers_asked(const struct engine *e)
{
    bool all = true;
    for (const struct group *g = e->groups; g; g = g->next)
        all = all && (g->retired || balancers_asked(g));
    return all || (e->heard && e->now - e->heard >= STRAGGLER);
}

void engine_release(struct engine *e)
{
    e->held = false;
    e->next_tick = e->now;
}

bool engine_observed(const struct engine *e)
{
    for (const struct source *s = e->sources; s; s = s->next)
        for (size_t k = 0; k < s->feed_count; k++)
            if (s->feeds[k].polls == 0 && !source_idle(s))
                return false;
    for (const struct group *g = e->groups; g; g = g->next)
        if (!group_observed(g) || (!g->decided && !group_refused(g)))
            return false;
    return true;
}
