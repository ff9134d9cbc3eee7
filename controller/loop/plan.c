/* plan: the next legal steps of one group. Pure; it must never change what it looks at. First each instance
 * is moved on towards where it is going, then the number of live instances is brought to the desired one. */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "act.h"
#include "plan.h"
#include "standby.h"

#define POOL_LOST (10 * AS_SECOND)

struct planner {
    const struct group *g;
    as_time now;
    struct plan *out;
    bool ok;
    size_t scaled; /* the first so many steps came from the count                 */
    int ready;     /* live ones that are not fresh; with what this plan adds      */
    int pool;      /* how many more may be parked; below 0: too many are          */
    int launching[HOSTS_MOST], members[HOSTS_MOST]; /* with what this plan adds */
};

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

/* What is overdue waits for something else to happen, not for the time. */
static void due_at(struct planner *p, as_time when)
{
    if (when > p->now && (p->out->due == 0 || when < p->out->due))
        p->out->due = when;
}

__attribute__((format(printf, 4, 5))) static struct step *add(struct planner *p, enum step_kind kind,
                                                              const struct instance *i, const char *fmt, ...)
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

/* Has the count already decided what becomes of it? Then its state has no say in this plan. */
static bool planned_already(const struct planner *p, const struct instance *i)
{
    for (size_t k = 0; k < p->out->count && k < p->scaled; k++)
        if (p->out->items[k].inst == i)
            return true;
    return false;
}

static bool is_planned(const void *planner, const struct instance *i)
{
    return planned_already(planner, i);
}

/* Our newest call about this membership ended before the list it is judged by was asked for. */
static bool settled(const struct membership *m)
{
    return !m->busy && m->listed_at > 0 && m->listed_at >= m->changed_at;
}

static bool pool_blind(const struct pool *pool)
{
    return pool->retired || pool->refused || pool->failing_since != 0 || pool->listed_at == 0;
}

static bool ready_to_call(struct planner *p, const struct pool *pool, const struct membership *m)
{
    if (pool_blind(pool) || !settled(m))
        return false;
    if (p->now < m->retry_at) {
        due_at(p, m->retry_at);
        return false;
    }
    return true;
}

/* Whether it exists, or wakes, may not be known for as long as its host does not answer. It stays in the footprint,
 * but nobody waits for it: another takes its place, and if it turns up after all it is one too many. */
static bool lost_from_sight(struct planner *p, const struct instance *i)
{
    bool asleep = i->state == INST_BOOTING && i->parked;
    if ((i->state != INST_UNKNOWN && !asleep) || (i->host >= 0 && !p->g->hosts[i->host].failing_since))
        return false;
    due_at(p, i->since + UNKNOWN_COUNTS);
    return p->now - i->since >= UNKNOWN_COUNTS;
}

/* Can every balancer be told? One that cannot goes on sending to what we would drain. */
static bool pools_hear(const struct group *g)
{
    for (size_t k = 0; k < g->pool_count; k++)
        if (pool_in_use(&g->pools[k]) && pool_blind(&g->pools[k]))
            return false;
    return true;
}

/* Has nobody to wait for it: gone, or about to go and not to be spoken to. */
static bool pool_off(const struct pool *pool)
{
    return pool->retired || (pool->leaving && pool_blind(pool));
}

/* --- states --------------------------------------------------------------------------------------- */

/* Died, vanished or silent, and not doubted: adds the step out and says so. */
static bool plan_dead(struct planner *p, const struct instance *i)
{
    const struct group *g = p->g;
    if (i->doubted)
        return false;
    if (i->absent && !i->serving_wall) /* a launch that came to nothing: it counts for the back-off */
        add(p, STEP_FAIL, i, "it vanished from %s before it served", i->host_name);
    else if (i->absent)
        add(p, STEP_LEAVE, i, "it is not on %s any more", i->host_name)->force = true;
    else if (i->died)
        add(p, STEP_FAIL, i, "it ended by itself: %s", i->health);
    else if (i->state == INST_SERVING && g->cfg->health.kind != CFG_HEALTH_RUNNING &&
             i->misses >= g->cfg->health.fall)
        add(p, STEP_FAIL, i, "%d health checks failed in a row: %s", i->misses, i->health);
    else
        return false;
    return true;
}

static void plan_boot_deadline(struct planner *p, const struct instance *i, as_time since, const char *what)
{
    as_time limit = p->g->cfg->health.boot_timeout;
    char span[32];
    if (p->now - since >= limit)
        add(p, STEP_FAIL, i, "%s within %s%s%s", what, as_time_text(limit, span, sizeof span),
            i->health[0] ? ": " : "", i->health);
    else
        due_at(p, since + limit);
}

/* On its way back from the pool, but its host has not said yet that it runs: a port may be answered by the kernel
 * while nobody is awake behind it. */
static bool plan_waking(struct planner *p, const struct instance *i)
{
    if (!i->busy && !i->parked && (i->listed || !i->warm))
        return false;
    if (i->parked && !i->busy && p->now >= i->retry_at && i->host >= 0)
        add(p, STEP_UNPARK, i, "it is still parked");
    else
        plan_boot_deadline(p, i, i->since, "it did not come back from the pool");
    due_at(p, i->retry_at);
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
    add(p, STEP_PARK, i, "it is ready; %d serve or soon will", p->ready);
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
        add(p, p->g->pool_count ? STEP_JOIN : STEP_SERVE, i, "it runs");
    else
        add(p, p->g->pool_count ? STEP_JOIN : STEP_SERVE, i, "%d health checks passed", i->passes);
}

static void plan_admit(struct planner *p, const struct instance *i, bool also_held_out)
{
    if (!i->address[0] || !i->port) /* its host does not know it yet */
        return;
    for (size_t k = 0; k < p->g->pool_count; k++) {
        const struct membership *m = &i->pools[k];
        bool out = m->state == AS_MEMBER_OUT || m->state == AS_MEMBER_DRAINING;
        if (p->g->pools[k].leaving)
            continue;
        if (ready_to_call(p, &p->g->pools[k], m) && (!m->listed || ((also_held_out || m->unsure) && out)))
            add(p, STEP_ADMIT, i, m->listed ? "it is out of rotation" : "it is no member")->index = (int)k;
    }
}

/* A call to park it that was long given up may be carried out at last. In a group without standby it is an
 * operator's hand: left alone. */
static bool plan_asleep(struct planner *p, const struct instance *i)
{
    if (!i->parked || p->g->cfg->compute.park == CFG_PARK_NONE)
        return false;
    if (p->now < i->retry_at)
        due_at(p, i->retry_at);
    else if (!i->busy && i->host >= 0)
        add(p, STEP_UNPARK, i, "it is parked, but it should not be");
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
            add(p, STEP_SERVE, i, "the checks of %s passed", p->g->pools[k].name);
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

/* A weight is worth a call when it is off by a twentieth. */
static void plan_weights(struct planner *p, const struct instance *i)
{
    for (size_t k = 0; k < p->g->pool_count; k++) {
        const struct membership *m = &i->pools[k];
        int aim = (int)(m->weigh + 0.5), off = aim - m->weight;
        if (aim == 0 || p->g->pools[k].leaving || !m->listed || m->state != AS_MEMBER_UP ||
            20 * (off < 0 ? -off : off) < m->weight)
            continue;
        if (off == 0 || !ready_to_call(p, &p->g->pools[k], m))
            continue;
        struct step *s =
            add(p, STEP_WEIGH, i, "weight %d -> %d: it answers in %.0f ms", m->weight, aim, m->response_ms);
        s->index = (int)k;
        s->weight = aim;
    }
}

static void add_evict(struct planner *p, const struct instance *i, int pool, bool force)
{
    struct step *s = add(p, STEP_EVICT, i, force ? "it leaves now" : "it leaves");
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
        due_at(p, pool->moved_at + g->cfg->balancer.drain);
        if (member && !late)
            add(p, STEP_MARK, i, "its balancer left the configuration")->index = (int)k;
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
        add(p, STEP_LEAVE, i, "it ended while draining")->force = true;
        return;
    }
    bool quiet = true, untold = false;
    double held = 0;
    for (size_t k = 0; k < g->pool_count; k++) {
        if (pool_off(&g->pools[k]))
            continue;
        const struct membership *m = &i->pools[k];
        bool member = m->listed && m->state != AS_MEMBER_DRAINING && m->state != AS_MEMBER_OUT;
        if (member && ready_to_call(p, &g->pools[k], m))
            add(p, STEP_MARK, i, "scale-in")->index = (int)k;
        untold = untold || (pool_blind(&g->pools[k]) && (member || m->unsure || !settled(m)));
        held += m->listed ? m->held : 0;
        if (pool_blind(&g->pools[k]) || !settled(m) || m->listed_at <= i->since || member ||
            (m->listed && m->held > 0))
            quiet = false;
        if (p->now < m->veiled_until) {
            due_at(p, m->veiled_until);
            quiet = false;
        }
    }
    if (quiet)
        add(p, STEP_LEAVE, i, "its sessions ended");
    else if (untold) /* as far as anybody knows it still gets new sessions */
        return;
    else if (p->now - i->since >= g->cfg->balancer.drain)
        add(p, STEP_LEAVE, i, "the drain deadline passed with %.0f sessions", held)->force = true;
    else
        due_at(p, i->since + g->cfg->balancer.drain);
}

/* Blind for so long that nobody waits for it: when it comes back, its list shows the stale member. */
static bool pool_lost(struct planner *p, const struct pool *pool)
{
    as_time since = pool->failing_since ? pool->failing_since : p->g->engine->started;
    due_at(p, since + POOL_LOST);
    return p->now - since >= POOL_LOST;
}

/* No balancer knows it any more. Parked only when each of them said so. */
static void plan_left(struct planner *p, const struct instance *i, bool proven)
{
    const char *why = p->g->pool_count ? "no balancer has it" : "no balancer";
    if (i->absent)
        add(p, STEP_GONE, i, "%s", why);
    else if (proven && i->fit && p->pool > 0 && !i->died && i->host >= 0 && !standby_outdated(p->g, i)) {
        p->pool--;
        add(p, STEP_PARK, i, "%s; the pool has room", why);
    } else
        add(p, STEP_REMOVE, i, "%s", why);
}

static void plan_leaving(struct planner *p, const struct instance *i)
{
    const struct group *g = p->g;
    bool proven = true;
    bool out = true, force = i->force || p->now - i->since >= g->cfg->balancer.drain;
    for (size_t k = 0; k < g->pool_count; k++) {
        const struct membership *m = &i->pools[k];
        if (pool_off(&g->pools[k]))
            continue;
        if (pool_blind(&g->pools[k])) {
            out = out && force && pool_lost(p, &g->pools[k]);
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
        due_at(p, i->since + g->cfg->balancer.drain);
}

/* Out of every balancer first, then stopped where it is; a host that says it runs is told again. */
static void plan_parked(struct planner *p, const struct instance *i)
{
    const struct group *g = p->g;
    bool out = true;
    if (i->absent)
        add(p, STEP_LEAVE, i, "it is not on %s any more", i->host_name)->force = true;
    else if (i->died)
        add(p, STEP_FAIL, i, "it ended while it was parked: %s", i->health);
    if (i->absent || i->died)
        return;
    for (size_t k = 0; k < g->pool_count; k++) {
        const struct membership *m = &i->pools[k];
        if (pool_off(&g->pools[k]))
            continue;
        out = out && !pool_blind(&g->pools[k]) && settled(m) && !m->listed;
        if (m->listed && ready_to_call(p, &g->pools[k], m))
            add_evict(p, i, (int)k, true);
    }
    if (!out || i->parked || i->busy || !i->listed || i->host < 0)
        return;
    if (p->now < i->retry_at)
        due_at(p, i->retry_at);
    else
        add(p, STEP_PARK, i, "it is not parked yet");
}

static void plan_destroying(struct planner *p, const struct instance *i)
{
    if (i->busy)
        return;
    if (i->absent)
        add(p, STEP_GONE, i, "it is not on %s any more", i->host_name);
    else if (p->now < i->retry_at)
        due_at(p, i->retry_at);
    else if (i->host >= 0)
        add(p, STEP_DESTROY, i, "%s", i->reason);
}

as_time unknown_settled(const struct host *h, const struct instance *i)
{
    as_time from = i->compute_done > h->answers_since ? i->compute_done : h->answers_since;
    return from + UNKNOWN_SETTLE;
}

static void plan_unknown(struct planner *p, const struct instance *i)
{
    if (i->busy || i->host < 0)
        return;
    const struct host *h = &p->g->hosts[i->host];
    if (h->listed_at > unknown_settled(h, i) && !i->listed)
        add(p, STEP_GONE, i, "%s does not have it: the create never happened", h->name);
}

/* Kept for somebody to look at it: not in rotation, unless nothing else serves. */
static void plan_failed(struct planner *p, const struct instance *i)
{
    const struct group *g = p->g;
    as_time keep = g->cfg->compute.keep_failed;
    if (i->absent || p->now - i->since >= keep) {
        add(p, STEP_LEAVE, i,
            i->absent ? "there is nothing to keep"
            : keep    ? "kept long enough"
                      : "failed ones are not kept")
            ->force = true;
        return;
    }
    due_at(p, i->since + keep);
    plan_move(p, i);
    for (size_t k = 0; k < g->pool_count; k++) {
        const struct membership *m = &i->pools[k];
        bool member = m->listed && m->state != AS_MEMBER_DRAINING && m->state != AS_MEMBER_OUT;
        if (member && !g->pools[k].leaving && ready_to_call(p, &g->pools[k], m) && group_serving(g) > 0)
            add(p, STEP_MARK, i, "it failed and is kept")->index = (int)k;
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

/* --- too few -------------------------------------------------------------------------------------- */

static bool host_usable(const struct planner *p, size_t k)
{
    const struct host *h = &p->g->hosts[k];
    if (h->retired || h->listed_at == 0 || h->failing_since || !backoff_open(&h->launch, p->now))
        return false;
    int bound = h->launch.fails >= BREAKER_TRIPS ? 1 : p->g->cfg->compute.launches; /* half-open: one probe */
    return p->launching[k] < bound && (h->room < 0 || p->launching[k] - h->launching < h->room);
}

/* Spread: the usable host with the fewest of the group; the first of equals. */
static int pick_host(const struct planner *p)
{
    int best = -1;
    for (size_t k = 0; k < p->g->host_count; k++)
        if (host_usable(p, k) && (best < 0 || p->members[k] < p->members[best]))
            best = (int)k;
    return best;
}

/* Why a host takes no launch now, or "" when it only has as many under way as it may. */
static const char *host_reason(const struct planner *p, size_t k, char *buf, size_t size)
{
    const struct host *h = &p->g->hosts[k];
    char span[32];
    buf[0] = '\0';
    if (h->listed_at == 0 || h->failing_since)
        snprintf(buf, size, "host %s %s", h->name, h->tries ? "is unreachable" : "is not listed yet");
    else if (h->launch.until > p->now)
        snprintf(buf, size, "host %s backs off, retry in %s", h->name,
                 as_time_text(h->launch.until - p->now, span, sizeof span));
    else if (h->launch.fails >= BREAKER_TRIPS)
        snprintf(buf, size, "host %s is tried with one launch at a time after %d failures", h->name,
                 h->launch.fails);
    else if (h->room >= 0 && p->launching[k] - h->launching >= h->room)
        snprintf(buf, size, "host %s is full", h->name);
    return buf;
}

/* Appends the reasons of all hosts; nothing when one of them is only busy: then nothing is wrong. */
static void describe_hosts(const struct planner *p, char *buf, size_t size)
{
    char reason[224];
    size_t begin = strlen(buf), n = begin;
    const char *sep = "";
    for (size_t k = 0; k < p->g->host_count && n < size; k++) {
        if (p->g->hosts[k].retired)
            continue;
        if (!*host_reason(p, k, reason, sizeof reason)) {
            buf[0] = '\0';
            return;
        }
        n += (size_t)snprintf(buf + n, size - n, "%s%s", sep, reason);
        sep = "; ";
    }
}

static void plan_launches(struct planner *p)
{
    char *blocked = p->out->blocked;
    int waiting = 0;
    for (const struct instance *i = p->g->instances; i; i = i->next) {
        if (i->state != INST_WANTED || planned_already(p, i))
            continue;
        int k = waiting ? -1 : pick_host(p);
        waiting += k < 0;
        if (k < 0)
            continue;
        p->launching[k]++;
        p->members[k]++;
        add(p, STEP_LAUNCH, i, "it has the fewest of the group")->index = k;
    }
    if (waiting && !*blocked) {
        snprintf(blocked, sizeof p->out->blocked, "%d launch%s: ", waiting,
                 waiting == 1 ? " waits" : "es wait");
        describe_hosts(p, blocked, sizeof p->out->blocked);
    }
    for (size_t k = 0; k < p->g->host_count; k++)
        if (p->g->hosts[k].launch.until > p->now)
            due_at(p, p->g->hosts[k].launch.until);
}

static int plan_readmits(struct planner *p, int need)
{
    /* Newest drains first: they hold the most sessions. The list is oldest first, so ask for the newest again
     * and again; drains are few. */
    as_time before = INT64_MAX;
    while (need > 0) {
        const struct instance *best = NULL;
        for (const struct instance *i = p->g->instances; i; i = i->next)
            if (i->state == INST_DRAINING && !i->died && !i->absent && i->since < before &&
                (!best || i->since > best->since))
                best = i;
        if (!best)
            break;
        before = best->since;
        for (const struct instance *i = p->g->instances; i && need > 0; i = i->next)
            if (i->state == INST_DRAINING && !i->died && !i->absent && i->since == before) {
                add(p, STEP_READMIT, i, "load came back");
                need--;
            }
    }
    return need;
}

/* Parked ones come back before anything new is made, and also in the place of what is new and not ready yet. Does
 * this fail, new ones are made while it waits. Returns how many. */
static int plan_unparks(struct planner *p, int need)
{
    const struct group *g = p->g;
    int live[HOSTS_MOST] = { 0 }, woken = 0, waking = 0;
    const struct instance *i = need > 0 ? standby_pick(g, live, is_planned, p) : NULL;
    if (!i)
        return 0;
    if (!backoff_open(&g->unpark, p->now)) {
        due_at(p, g->unpark.until);
        return 0;
    }
    for (i = g->instances; i; i = i->next) {
        waking += i->state == INST_BOOTING && i->warm;
        if (i->host >= 0 && inst_live(i))
            live[i->host]++;
    }
    if (g->unpark.fails >= BREAKER_TRIPS && need > 1 - waking) /* half-open: one probe */
        need = 1 - waking;
    while (woken < need && (i = standby_pick(g, live, is_planned, p))) {
        add(p, STEP_UNPARK, i, "%d wanted", g->desired);
        live[i->host]++;
        woken++;
    }
    p->pool += woken;
    return woken;
}

/* Kept failures, and parked ones that do not come back, make room when the footprint stands in the way. */
static void plan_make_room(struct planner *p, int need)
{
    const struct group *g = p->g;
    for (const struct instance *i = g->instances; i && need > 0; i = i->next) {
        bool kept = i->state == INST_FAILED && p->now - i->since < g->cfg->compute.keep_failed;
        bool stuck = i->state == INST_PARKED && i->parked && !i->busy && i->host >= 0 &&
                     !g->hosts[i->host].failing_since && !planned_already(p, i);
        if (!kept && !stuck)
            continue;
        add(p, STEP_LEAVE, i, "its place is needed")->force = true;
        p->pool += stuck;
        need--;
    }
}

static bool some_host(const struct planner *p)
{
    for (size_t k = 0; k < p->g->host_count; k++) {
        const struct host *h = &p->g->hosts[k];
        if (!h->retired && h->listed_at && !h->failing_since && p->now >= h->launch.until && h->room != 0)
            return true;
    }
    return false;
}

/* After failures fewer are launched at once: half, a quarter, one until one succeeds. */
static int launches_at_once(const struct backoff *b, int wanted)
{
    int n = b->fails >= BREAKER_TRIPS ? 1 : wanted >> b->fails;
    return n > 1 ? n : 1;
}

static void blocked_by_failures(const struct group *g, int most, char *buf, size_t size)
{
    char count[24] = "one launch";
    if (most > 1)
        snprintf(count, sizeof count, "%d launches", most);
    snprintf(buf, size, "%s at a time after %d failure%s: %.240s", count, g->launch.fails,
             g->launch.fails == 1 ? "" : "s", g->launch.why);
}

static void plan_more(struct planner *p, int need)
{
    const struct group *g = p->g;
    char *blocked = p->out->blocked, span[32];
    int room = g->cfg->max - group_footprint(g), pending = 0;
    for (const struct instance *i = g->instances; i; i = i->next)
        pending += inst_pending(i) && !lost_from_sight(p, i);
    if (!backoff_open(&g->launch, p->now)) {
        snprintf(blocked, sizeof p->out->blocked, "launches wait %s after %d failure%s: %.240s",
                 as_time_text(g->launch.until - p->now, span, sizeof span), g->launch.fails,
                 g->launch.fails == 1 ? "" : "s", g->launch.why);
        due_at(p, g->launch.until);
        return;
    }
    if (!some_host(p)) {
        snprintf(blocked, sizeof p->out->blocked, "no host can take one: ");
        describe_hosts(p, blocked, sizeof p->out->blocked);
        return;
    }
    int most = launches_at_once(&g->launch, need + pending);
    if (need > most - pending) {
        need = most - pending;
        blocked_by_failures(g, most, blocked, sizeof p->out->blocked);
    }
    if (need > room) {
        plan_make_room(p, need - (room > 0 ? room : 0));
        snprintf(blocked, sizeof p->out->blocked, "the footprint of %d leaves room for %d of max %d",
                 group_footprint(g), room > 0 ? room : 0, g->cfg->max);
        need = room;
    }
    for (; need > 0; need--)
        add(p, STEP_WANT, NULL, "%d wanted", g->desired);
}

/* --- too many ------------------------------------------------------------------------------------- */

static double held_by(const struct group *g, const struct instance *i)
{
    double held = 0;
    for (size_t k = 0; k < g->pool_count; k++)
        held += i->pools[k].listed ? i->pools[k].held : 0;
    return held;
}

/* Is a the better victim than b? Not answering; then the host with most of the group; fewest sessions; newest. */
static bool better_victim(const struct planner *p, const struct instance *a, const struct instance *b)
{
    bool sick_a = a->misses > 0 || !instance_serves(p->g, a),
         sick_b = b->misses > 0 || !instance_serves(p->g, b);
    if (sick_a != sick_b)
        return sick_a;
    int on_a = a->host >= 0 ? p->members[a->host] : 0, on_b = b->host >= 0 ? p->members[b->host] : 0;
    if (on_a != on_b)
        return on_a > on_b;
    double held_a = held_by(p->g, a), held_b = held_by(p->g, b);
    if (held_a < held_b || held_b < held_a)
        return held_a < held_b;
    return a->wanted_wall >= b->wanted_wall;
}

static const struct instance *pick_victim(const struct planner *p)
{
    const struct instance *best = NULL;
    for (const struct instance *i = p->g->instances; i; i = i->next)
        if (i->state == INST_SERVING && !i->absent && !i->died && !planned_already(p, i) &&
            (!best || better_victim(p, i, best)))
            best = i;
    return best;
}

/* Back into the pool at once, or as soon as the call that woke it has ended. */
static void plan_park_again(struct planner *p, const struct instance *i)
{
    if (i->busy)
        return;
    bool room = p->pool > 0 && i->host >= 0;
    p->pool -= room;
    add(p, room ? STEP_PARK : STEP_LEAVE, i, "%d wanted", p->g->desired);
}

/* What is on its way beyond the desired count goes on for as many as the pool takes. */
static int plan_cancel_pending(struct planner *p, int excess)
{
    int fresh = 0, spare;
    for (const struct instance *i = p->g->instances; p->pool > 0 && i; i = i->next)
        fresh += standby_fresh(i) && !lost_from_sight(p, i);
    spare = fresh < p->pool ? fresh : p->pool > 0 ? p->pool : 0;
    spare = spare < excess ? spare : excess;
    int drop = spare > 0 ? fresh - spare : INT_MAX;
    excess -= spare;
    for (const struct instance *i = p->g->instances; i && excess > 0 && drop > 0; i = i->next)
        if (i->state == INST_WANTED) {
            add(p, STEP_FORGET, i, "%d wanted", p->g->desired);
            excess--;
            drop--;
        }
    for (const struct instance *i = p->g->instances; i && excess > 0; i = i->next) {
        bool on_the_way = i->state == INST_BOOTING || i->state == INST_JOINING;
        if (!on_the_way || i->absent || i->died || planned_already(p, i) || (standby_fresh(i) && drop-- <= 0))
            continue;
        if (i->warm && i->state == INST_BOOTING)
            plan_park_again(p, i);
        else
            add(p, i->state == INST_JOINING ? STEP_DRAIN : STEP_LEAVE, i, "%d wanted", p->g->desired);
        excess--;
    }
    return excess;
}

static void plan_fewer(struct planner *p, int excess)
{
    excess = plan_cancel_pending(p, excess);
    if (excess > 0 && !pools_hear(p->g)) {
        snprintf(p->out->blocked, sizeof p->out->blocked,
                 "nothing is drained while a balancer cannot be told: %d too many", excess);
        return;
    }
    int serving = group_serving(p->g);
    int keep = p->g->desired > 0 ? 1 : 0; /* the last serving member is never drained */
    while (excess > 0) {
        const struct instance *v = pick_victim(p);
        if (!v)
            return;
        if (instance_serves(p->g, v) && --serving < keep)
            return;
        if (v->host >= 0)
            p->members[v->host]--;
        add(p, STEP_DRAIN, v, "%d wanted", p->g->desired);
        excess--;
    }
}

/* --------------------------------------------------------------------------------------------------- */

static void count_hosts(struct planner *p)
{
    for (size_t k = 0; k < p->g->host_count; k++)
        p->launching[k] = p->g->hosts[k].launching;
    for (const struct instance *i = p->g->instances; i; i = i->next)
        if (i->host >= 0 && i->state != INST_GONE)
            p->members[i->host]++;
}

/* Brings the live ones to the desired count. */
static void plan_count(struct planner *p)
{
    const struct group *g = p->g;
    int live = 0, fresh = 0, dead = 0;
    for (const struct instance *i = g->instances; i; i = i->next) {
        bool counts = inst_live(i) && !lost_from_sight(p, i);
        live += counts;
        dead += counts && !i->doubted && (i->absent || i->died);
        fresh += counts && standby_fresh(i);
    }
    p->ready = live - fresh;
    if (!g->decided)
        return;
    int need = g->desired - live;
    int back = need > 0 ? need - plan_readmits(p, need) : 0;
    back += plan_unparks(p, g->desired - p->ready - back);
    p->ready += back;
    need -= back;
    if (need > 0)
        plan_more(p, need);
    else if (need + dead < 0) /* the dead go anyway: nobody who works goes in their stead */
        plan_fewer(p, -need - dead);
}

/* Keeps the pool as large as it should be: what is too much or outdated leaves at once, what is missing is made one
 * by one when nothing else is going on. */
static void plan_pool(struct planner *p)
{
    const struct group *g = p->g;
    const struct instance *i;
    for (i = g->instances; i; i = i->next)
        if (i->state == INST_PARKED && !i->busy && standby_outdated(g, i) && !planned_already(p, i)) {
            add(p, STEP_LEAVE, i, "it is parked with an outdated template")->force = true;
            p->pool++;
        }
    for (; p->pool < 0 && (i = standby_surplus(g, is_planned, p)); p->pool++)
        add(p, STEP_LEAVE, i, "%d parked ones are enough", standby_wanted(g))->force = true;
    if (g->refill.until > p->now)
        due_at(p, g->refill.until);
    if (p->pool > 0 && p->out->count == 0 && standby_quiet(g, p->now) && group_footprint(g) < g->cfg->max &&
        some_host(p))
        add(p, STEP_WANT, NULL, "for the pool: %d of %d are parked", standby_wanted(g) - p->pool,
            standby_wanted(g));
}

bool plan_group(const struct group *g, as_time now, struct plan *out)
{
    struct planner p = { .g = g, .now = now, .out = out, .ok = true, .scaled = SIZE_MAX };
    out->count = 0;
    out->due = 0;
    out->blocked[0] = '\0';
    count_hosts(&p);
    p.pool = standby_wanted(g) - standby_count(g);
    plan_count(&p);
    if (g->decided) {
        plan_pool(&p);
        plan_launches(&p);
    }
    p.scaled = out->count;
    for (const struct instance *i = g->instances; i; i = i->next)
        if (!planned_already(&p, i))
            plan_instance(&p, i);
    return p.ok;
}
