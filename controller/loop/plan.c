/* plan: the next legal steps of one group. Pure; it must never change what it looks at. First the number of live
 * instances is brought to the desired one (plan_size.c), then each of the others is moved on towards where it is
 * going. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "act.h"
#include "planner.h"
#include "standby.h"

#define POOL_LOST (10 * AS_SECOND)

const char *step_name(enum step_kind k)
{
    static const char *const names[STEP_KINDS] = {
        "create", "launch", "forget",  "fail", "join",  "admit", "weigh",  "serve",   "park",
        "unpark", "drain",  "readmit", "mark", "leave", "evict", "remove", "destroy", "gone",
    };
    return (unsigned)k < STEP_KINDS ? names[k] : "?";
}

void plan_fini(struct plan *p)
{
    free(p->items);
    *p = (struct plan){ 0 };
}

void plan_due(struct planner *p, as_time when)
{
    if (when > p->now && (p->out->due == 0 || when < p->out->due))
        p->out->due = when;
}

struct step *plan_add(struct planner *p, enum step_kind kind, const struct instance *i, const char *fmt, ...)
{
    static struct step lost; /* swallows what does not fit into memory; never read */
    struct plan *out = p->out;
    if (out->count == out->cap) {
        size_t cap = out->cap ? 2 * out->cap : 16;
        struct step *items = realloc(out->items, cap * sizeof *items);
        if (!items) {
            p->ok = false;
            return &lost;
        }
        out->items = items;
        out->cap = cap;
    }
    struct step *s = &out->items[out->count++];
    *s = (struct step){ .kind = kind, .inst = (struct instance *)i, .index = -1 };
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(s->why, sizeof s->why, fmt, ap);
    va_end(ap);
    return s;
}

bool plan_has(const struct planner *p, const struct instance *i)
{
    for (size_t k = 0; k < p->out->count && k < p->scaled; k++)
        if (p->out->items[k].inst == i)
            return true;
    return false;
}

/* Our newest call about this membership ended before the list it is judged by was asked for. */
static bool settled(const struct membership *m)
{
    return !m->busy && m->listed_at > 0 && m->listed_at >= m->changed_at;
}

bool pool_blind(const struct pool *pool)
{
    return pool->retired || pool->refused || pool->failing_since != 0 || pool->listed_at == 0;
}

static bool ready_to_call(struct planner *p, const struct pool *pool, const struct membership *m)
{
    if (pool_blind(pool) || !settled(m))
        return false;
    if (p->now < m->retry_at) {
        plan_due(p, m->retry_at);
        return false;
    }
    return true;
}

/* Whether it exists, or wakes, may not be known for as long as its host does not answer. It stays in the footprint,
 * but nobody waits for it: another takes its place, and if it turns up after all it is one too many. */
bool plan_lost(struct planner *p, const struct instance *i)
{
    bool asleep = i->state == INST_BOOTING && i->parked;
    if ((i->state != INST_UNKNOWN && !asleep) || (i->host >= 0 && !p->g->hosts[i->host].failing_since))
        return false;
    plan_due(p, i->since + UNKNOWN_COUNTS);
    return p->now - i->since >= UNKNOWN_COUNTS;
}

/* Blind for so long that nobody waits for it: when it comes back, its list shows the stale member. */
static bool pool_lost(struct planner *p, const struct pool *pool)
{
    as_time since = pool->failing_since ? pool->failing_since : p->g->engine->started;
    plan_due(p, since + POOL_LOST);
    return p->now - since >= POOL_LOST;
}

/* Has nobody to wait for it: gone, or about to go and not to be spoken to. One list that fails is no outage. */
static bool pool_off(struct planner *p, const struct pool *pool)
{
    return pool->retired || (pool->leaving && pool_blind(pool) && pool_lost(p, pool));
}

/* --- states --------------------------------------------------------------------------------------- */

/* Died, vanished or silent, and not doubted: adds the step out and says so. */
static bool plan_dead(struct planner *p, const struct instance *i)
{
    const struct group *g = p->g;
    if (i->doubted)
        return false;
    if (i->absent && !i->notes->serving_wall) /* a launch that came to nothing: it counts for the back-off */
        plan_add(p, STEP_FAIL, i, "it vanished from %s before it served", i->notes->host_name);
    else if (i->absent)
        plan_add(p, STEP_LEAVE, i, "it is not on %s any more", i->notes->host_name)->force = true;
    else if (i->died)
        plan_add(p, STEP_FAIL, i, "it ended by itself: %s", i->notes->health);
    else if (i->state == INST_SERVING && g->cfg->health.kind != CFG_HEALTH_RUNNING &&
             i->misses >= g->cfg->health.fall)
        plan_add(p, STEP_FAIL, i, "%d health checks failed in a row: %s", i->misses, i->notes->health);
    else
        return false;
    return true;
}

static void plan_boot_deadline(struct planner *p, const struct instance *i, as_time since, const char *what)
{
    as_time limit = p->g->cfg->health.boot_timeout;
    char span[32];
    if (p->now - since >= limit)
        plan_add(p, STEP_FAIL, i, "%s within %s%s%s", what, as_time_text(limit, span, sizeof span),
                 i->notes->health[0] ? ": " : "", i->notes->health);
    else
        plan_due(p, since + limit);
}

/* On its way back from the pool, but its host has not said yet that it runs: a port may be answered by the kernel
 * while nobody is awake behind it. */
static bool plan_waking(struct planner *p, const struct instance *i)
{
    if (!i->busy && !i->parked && (i->listed || !i->warm))
        return false;
    if (i->parked && !i->busy && p->now >= i->retry_at && i->host >= 0)
        plan_add(p, STEP_UNPARK, i, "it is still parked");
    else
        plan_boot_deadline(p, i, i->since, "it did not come back from the pool");
    plan_due(p, i->retry_at);
    return true;
}

/* Ready, but enough serve without it: it was made for the pool. */
static bool plan_kept_warm(struct planner *p, const struct instance *i)
{
    bool member = false;
    if (!standby_fresh(i))
        return false;
    for (size_t k = 0; k < p->g->pool_count; k++)
        member = member || i->pools[k].listed;
    if (p->ready < p->g->desired || p->pool <= 0 || member) {
        p->ready++;
        return false;
    }
    p->pool--;
    plan_add(p, STEP_PARK, i, "it is ready; %d serve or soon will", p->ready);
    return true;
}

static void plan_booting(struct planner *p, const struct instance *i)
{
    const struct cfg_health *h = &p->g->cfg->health;
    if (plan_dead(p, i) || plan_waking(p, i))
        return;
    bool answers = h->kind == CFG_HEALTH_RUNNING ? i->address[0] != '\0' || i->listed : i->passes >= h->rise;
    if (!answers)
        plan_boot_deadline(p, i, i->since, "no healthy answer");
    else if (plan_kept_warm(p, i))
        return;
    else if (h->kind == CFG_HEALTH_RUNNING)
        plan_add(p, p->g->pool_count ? STEP_JOIN : STEP_SERVE, i, "it runs");
    else
        plan_add(p, p->g->pool_count ? STEP_JOIN : STEP_SERVE, i, "%d health checks passed", i->passes);
}

static void plan_admit(struct planner *p, const struct instance *i, bool also_held_out)
{
    for (size_t k = 0; k < p->g->pool_count; k++) {
        const struct membership *m = &i->pools[k];
        bool out = m->state == AS_MEMBER_OUT || m->state == AS_MEMBER_DRAINING;
        if (p->g->pools[k].leaving || (m->listed && !(out && (also_held_out || m->unsure))))
            continue;
        bool known = i->port && i->address[0]; /* to its host */
        if (known && ready_to_call(p, &p->g->pools[k], m))
            plan_add(p, STEP_ADMIT, i, m->listed ? "it is out of rotation" : "it is no member")->index =
                (int)k;
    }
}

/* A call to park it that was long given up may be carried out at last. In a group without standby it is an
 * operator's hand: left alone. */
static bool plan_asleep(struct planner *p, const struct instance *i)
{
    if (!i->parked || p->g->cfg->compute.park == CFG_PARK_NONE)
        return false;
    if (p->now < i->retry_at)
        plan_due(p, i->retry_at);
    else if (!i->busy && i->host >= 0)
        plan_add(p, STEP_UNPARK, i, "it is parked, but it should not be");
    return true;
}

static void plan_joining(struct planner *p, const struct instance *i)
{
    if (plan_dead(p, i))
        return;
    bool asleep = plan_asleep(p, i);
    for (size_t k = 0; k < p->g->pool_count && !asleep; k++)
        if (pool_in_use(&p->g->pools[k]) && settled(&i->pools[k]) && i->pools[k].listed &&
            i->pools[k].state == AS_MEMBER_UP) {
            plan_add(p, STEP_SERVE, i, "the checks of %s passed", p->g->pools[k].name);
            return;
        }
    if (!asleep)
        plan_admit(p, i, true);
    as_time since = i->since;
    bool heard = false;
    for (size_t k = 0; k < p->g->pool_count; k++) {
        const struct pool *pool = &p->g->pools[k];
        if (pool->leaving || pool_blind(pool))
            continue;
        heard = true;
        since = pool->answers_since > since ? pool->answers_since : since;
    }
    if (heard) /* a balancer that says nothing says nothing of the launch */
        plan_boot_deadline(p, i, since, "the balancer's checks did not pass");
}

/* A weight is worth a call when it is off by a twentieth; back to even, it is the usual one again and not nearly. */
static void plan_weights(struct planner *p, const struct instance *i)
{
    for (size_t k = 0; k < p->g->pool_count; k++) {
        const struct membership *m = &i->pools[k];
        int aim = (int)(m->weigh + 0.5), off = aim - m->weight;
        bool near = p->g->cfg->balancer.weigh && 20 * (off < 0 ? -off : off) < m->weight;
        if (aim == 0 || p->g->pools[k].leaving || !m->listed || m->state != AS_MEMBER_UP || near)
            continue;
        if (off == 0 || !ready_to_call(p, &p->g->pools[k], m))
            continue;
        bool by_cpu = *p->g->cfg->balancer.weigh_source != '\0';
        struct step *s = plan_add(p, STEP_WEIGH, i,
                                  by_cpu ? "weight %d -> %d: its CPU is at %.0f %%"
                                         : "weight %d -> %d: it answers in %.0f ms",
                                  m->weight, aim, by_cpu ? i->notes->cpu.percent : m->response_ms);
        s->index = (int)k;
        s->weight = aim;
    }
}

static void add_evict(struct planner *p, const struct instance *i, int pool, bool force)
{
    struct step *s = plan_add(p, STEP_EVICT, i, force ? "it leaves now" : "it leaves");
    s->index = pool;
    s->force = force;
}

/* Out of a balancer that left the configuration, once all serve elsewhere: drained, then evicted. */
static void plan_move(struct planner *p, const struct instance *i)
{
    const struct group *g = p->g;
    for (size_t k = 0; k < g->pool_count; k++) {
        const struct pool *pool = &g->pools[k];
        const struct membership *m = &i->pools[k];
        if (!pool->leaving || !pool->moved_at || !m->listed || !ready_to_call(p, pool, m))
            continue;
        bool member = m->state != AS_MEMBER_DRAINING && m->state != AS_MEMBER_OUT;
        bool late = p->now - pool->moved_at >= g->cfg->balancer.drain;
        plan_due(p, pool->moved_at + g->cfg->balancer.drain);
        if (member && !late)
            plan_add(p, STEP_MARK, i, "its balancer left the configuration")->index = (int)k;
        else if (late || (m->held <= 0 && p->now >= m->veiled_until))
            add_evict(p, i, (int)k, late);
    }
}

static void plan_serving(struct planner *p, const struct instance *i)
{
    if (plan_dead(p, i) || plan_asleep(p, i))
        return;
    plan_admit(p, i, false); /* out of rotation while SERVING is an operator's hand: left alone */
    plan_move(p, i);
    plan_weights(p, i);
}

static void plan_draining(struct planner *p, const struct instance *i)
{
    const struct group *g = p->g;
    if (i->absent || i->died) {
        plan_add(p, STEP_LEAVE, i, "it ended while draining")->force = true;
        return;
    }
    bool quiet = true, untold = false;
    double held = 0;
    for (size_t k = 0; k < g->pool_count; k++) {
        const struct membership *m = &i->pools[k];
        if (pool_off(p, &g->pools[k])) { /* its sessions there end unseen: they have a drain's time */
            quiet = quiet && (g->pools[k].retired || !(m->listed || m->unsure));
            continue;
        }
        bool member = m->listed && m->state != AS_MEMBER_DRAINING && m->state != AS_MEMBER_OUT;
        if (member && ready_to_call(p, &g->pools[k], m))
            plan_add(p, STEP_MARK, i, "scale-in")->index = (int)k;
        untold = untold || (pool_blind(&g->pools[k]) && (member || m->unsure || !settled(m)));
        held += m->listed ? m->held : 0;
        if (pool_blind(&g->pools[k]) || !settled(m) || m->listed_at <= i->since || member ||
            (m->listed && m->held > 0))
            quiet = false;
        if (p->now < m->veiled_until) {
            plan_due(p, m->veiled_until);
            quiet = false;
        }
    }
    if (quiet)
        plan_add(p, STEP_LEAVE, i, "its sessions ended");
    else if (untold) /* as far as anybody knows it still gets new sessions */
        return;
    else if (p->now - i->since >= g->cfg->balancer.drain)
        plan_add(p, STEP_LEAVE, i, "the drain deadline passed with %.0f sessions", held)->force = true;
    else
        plan_due(p, i->since + g->cfg->balancer.drain);
}

/* No balancer knows it any more. Parked only when each of them said so. */
static void plan_left(struct planner *p, const struct instance *i, bool proven)
{
    const char *why = p->g->pool_count ? "no balancer has it" : "no balancer";
    if (i->absent)
        plan_add(p, STEP_GONE, i, "%s", why);
    else if (proven && i->fit && p->pool > 0 && !i->died && i->host >= 0 && !standby_outdated(p->g, i)) {
        p->pool--;
        plan_add(p, STEP_PARK, i, "%s; the pool has room", why);
    } else
        plan_add(p, STEP_REMOVE, i, "%s", why);
}

static void plan_leaving(struct planner *p, const struct instance *i)
{
    const struct group *g = p->g;
    bool proven = true;
    bool out = true, force = i->force || p->now - i->since >= g->cfg->balancer.drain;
    for (size_t k = 0; k < g->pool_count; k++) {
        const struct membership *m = &i->pools[k];
        if (pool_off(p, &g->pools[k])) {
            proven = proven && g->pools[k].retired;
            continue;
        }
        if (pool_blind(
                &g->pools[k])) { /* one that works and was never taken out of rotation goes on serving */
            bool serves = i->fit && m->listed && m->state != AS_MEMBER_DRAINING && m->state != AS_MEMBER_OUT;
            out = out && force && !serves && pool_lost(p, &g->pools[k]);
            proven = false;
            continue;
        }
        if (settled(m) && !m->listed)
            continue;
        out = false;
        if (ready_to_call(p, &g->pools[k], m))
            add_evict(p, i, (int)k, force);
    }
    if (out)
        plan_left(p, i, proven);
    else if (!force)
        plan_due(p, i->since + g->cfg->balancer.drain);
}

/* Out of every balancer first, then stopped where it is; a host that says it runs is told again. */
static void plan_parked(struct planner *p, const struct instance *i)
{
    const struct group *g = p->g;
    bool out = true;
    if (i->absent)
        plan_add(p, STEP_LEAVE, i, "it is not on %s any more", i->notes->host_name)->force = true;
    else if (i->died)
        plan_add(p, STEP_FAIL, i, "it ended while it was parked: %s", i->notes->health);
    if (i->absent || i->died)
        return;
    for (size_t k = 0; k < g->pool_count; k++) {
        const struct membership *m = &i->pools[k];
        if (pool_off(p, &g->pools[k]))
            continue;
        out = out && !pool_blind(&g->pools[k]) && settled(m) && !m->listed;
        if (m->listed && ready_to_call(p, &g->pools[k], m))
            add_evict(p, i, (int)k, true);
    }
    if (!out || i->parked || i->busy || !i->listed || i->host < 0)
        return;
    if (p->now < i->retry_at)
        plan_due(p, i->retry_at);
    else
        plan_add(p, STEP_PARK, i, "it is not parked yet");
}

static void plan_destroying(struct planner *p, const struct instance *i)
{
    if (i->busy)
        return;
    if (i->absent)
        plan_add(p, STEP_GONE, i, "it is not on %s any more", i->notes->host_name);
    else if (p->now < i->retry_at)
        plan_due(p, i->retry_at);
    else if (i->host >= 0)
        plan_add(p, STEP_DESTROY, i, "%s", i->notes->reason);
}

as_time unknown_settled(const struct host *h, const struct instance *i)
{
    as_time from = i->compute_done > h->answers_since ? i->compute_done : h->answers_since;
    return from + UNKNOWN_SETTLE;
}

static void plan_unknown(struct planner *p, const struct instance *i)
{
    if (!i->busy && i->absent)
        plan_add(p, STEP_GONE, i, "its host %s is lost", i->notes->host_name);
    if (i->busy || i->absent || i->host < 0)
        return;
    const struct host *h = &p->g->hosts[i->host];
    if (h->listed_at > unknown_settled(h, i) && !i->listed)
        plan_add(p, STEP_GONE, i, "%s does not have it: the create never happened", h->name);
}

/* Kept for somebody to look at it: not in rotation, unless nothing else serves. */
static void plan_failed(struct planner *p, const struct instance *i)
{
    const struct group *g = p->g;
    as_time keep = g->cfg->compute.keep_failed;
    if (i->absent || p->now - i->since >= keep) {
        plan_add(p, STEP_LEAVE, i,
                 i->absent ? "there is nothing to keep"
                 : keep    ? "kept long enough"
                           : "failed ones are not kept")
            ->force = true;
        return;
    }
    plan_due(p, i->since + keep);
    plan_move(p, i);
    for (size_t k = 0; k < g->pool_count; k++) {
        const struct membership *m = &i->pools[k];
        bool member = m->listed && m->state != AS_MEMBER_DRAINING && m->state != AS_MEMBER_OUT;
        if (member && !g->pools[k].leaving && ready_to_call(p, &g->pools[k], m) && group_serving(g) > 0)
            plan_add(p, STEP_MARK, i, "it failed and is kept")->index = (int)k;
    }
}

static void plan_instance(struct planner *p, const struct instance *i)
{
    switch (i->state) {
    case INST_UNKNOWN: plan_unknown(p, i); break;
    case INST_BOOTING: plan_booting(p, i); break;
    case INST_JOINING: plan_joining(p, i); break;
    case INST_SERVING: plan_serving(p, i); break;
    case INST_DRAINING: plan_draining(p, i); break;
    case INST_PARKED: plan_parked(p, i); break;
    case INST_LEAVING: plan_leaving(p, i); break;
    case INST_DESTROYING: plan_destroying(p, i); break;
    case INST_FAILED: plan_failed(p, i); break;
    default: break;
    }
}

bool plan_group(const struct group *g, as_time now, struct plan *out)
{
    struct planner p = { .g = g, .now = now, .out = out, .ok = true, .scaled = SIZE_MAX };
    out->count = 0;
    out->due = 0;
    out->blocked[0] = '\0';
    plan_size(&p);
    p.scaled = out->count;
    for (const struct instance *i = g->instances; i; i = i->next)
        if (!plan_has(&p, i))
            plan_instance(&p, i);
    return p.ok;
}
