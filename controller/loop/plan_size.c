/* plan_size: how many. Brings the number of live instances to the desired one and the pool of parked ones to its size:
 * takes back what drains, wakes what is parked, makes what is missing, and lets go what is too much. Pure; it must
 * never change what it looks at. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "act.h"
#include "planner.h"
#include "standby.h"

/* Can every balancer be told? One that cannot goes on sending to what we would drain. */
static bool pools_hear(const struct group *g)
{
    for (size_t k = 0; k < g->pool_count; k++)
        if (pool_in_use(&g->pools[k]) && pool_blind(&g->pools[k]))
            return false;
    return true;
}

static bool is_planned(const void *planner, const struct instance *i)
{
    return plan_has(planner, i);
}

/* --- too few -------------------------------------------------------------------------------------- */

static bool has_room(const struct planner *p, size_t k)
{
    int room = host_room(p->g, (int)k);
    return room < 0 || p->launching[k] - p->g->hosts[k].launching < room;
}

static bool host_usable(const struct planner *p, size_t k)
{
    const struct host *h = &p->g->hosts[k];
    if (h->retired || h->listed_at == 0 || h->failing_since || !backoff_open(&h->launch, p->now))
        return false;
    const struct cfg_compute *c = &p->g->cfg->compute;
    int bound = h->launch.fails >= BREAKER_TRIPS ? 1 : c->launches; /* half-open: one probe */
    if (c->boots && p->launching[k] + p->booting[k] >= c->boots)
        return false;
    return p->launching[k] < bound && has_room(p, k);
}

static bool is_better(const struct planner *p, size_t k, int best)
{
    if (best < 0 || p->members[k] != p->members[best])
        return best < 0 || p->members[k] < p->members[best];
    return host_room(p->g, (int)k) - p->launching[k] > host_room(p->g, best) - p->launching[best];
}

/* Spread: the usable host with the fewest of the group; of equals the one with the most room, or the first. */
static int pick_host(const struct planner *p)
{
    int best = -1;
    for (size_t k = 0; k < p->g->host_count; k++)
        if (host_usable(p, k) && is_better(p, k, best))
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
    else if (!has_room(p, k))
        snprintf(buf, size, "host %s is full", h->name);
    return buf;
}

/* Appends the reasons of all hosts; nothing when one of them is only busy: then nothing is wrong. */
static void describe_hosts(const struct planner *p, char *buf, size_t size)
{
    char reason[AS_ENDPOINT_MAX + 96];
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
        if (i->state != INST_WANTED || plan_has(p, i))
            continue;
        int k = waiting ? -1 : pick_host(p);
        waiting += k < 0;
        if (k < 0)
            continue;
        p->launching[k]++;
        p->members[k]++;
        plan_add(p, STEP_LAUNCH, i, "it has the fewest of the group")->index = k;
    }
    if (waiting && !*blocked) {
        snprintf(blocked, sizeof p->out->blocked, "%d launch%s: ", waiting,
                 waiting == 1 ? " waits" : "es wait");
        describe_hosts(p, blocked, sizeof p->out->blocked);
    }
    for (size_t k = 0; k < p->g->host_count; k++)
        if (p->g->hosts[k].launch.until > p->now)
            plan_due(p, p->g->hosts[k].launch.until);
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
                plan_add(p, STEP_READMIT, i, "load came back");
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
        plan_due(p, g->unpark.until);
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
        plan_add(p, STEP_UNPARK, i, "%d wanted", g->desired);
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
                     !g->hosts[i->host].failing_since && !plan_has(p, i);
        if (!kept && !stuck)
            continue;
        plan_add(p, STEP_LEAVE, i, "its place is needed")->force = true;
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
        pending += inst_pending(i) && !plan_lost(p, i);
    if (!backoff_open(&g->launch, p->now)) {
        snprintf(blocked, sizeof p->out->blocked, "launches wait %s after %d failure%s: %.240s",
                 as_time_text(g->launch.until - p->now, span, sizeof span), g->launch.fails,
                 g->launch.fails == 1 ? "" : "s", g->launch.why);
        plan_due(p, g->launch.until);
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
        plan_add(p, STEP_WANT, NULL, "%d wanted", g->desired);
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
    return a->notes->wanted_wall >= b->notes->wanted_wall;
}

static const struct instance *pick_victim(const struct planner *p)
{
    const struct instance *best = NULL;
    for (const struct instance *i = p->g->instances; i; i = i->next)
        if (i->state == INST_SERVING && !i->absent && !i->died && !plan_has(p, i) &&
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
    plan_add(p, room ? STEP_PARK : STEP_LEAVE, i, "%d wanted", p->g->desired);
}

/* What is on its way beyond the desired count goes on for as many as the pool takes. */
static int plan_cancel_pending(struct planner *p, int excess)
{
    int fresh = 0, spare;
    for (const struct instance *i = p->g->instances; p->pool > 0 && i; i = i->next)
        fresh += standby_fresh(i) && !plan_lost(p, i);
    spare = fresh < p->pool ? fresh : p->pool > 0 ? p->pool : 0;
    spare = spare < excess ? spare : excess;
    int drop = spare > 0 ? fresh - spare : INT_MAX;
    excess -= spare;
    for (const struct instance *i = p->g->instances; i && excess > 0 && drop > 0; i = i->next)
        if (i->state == INST_WANTED) {
            plan_add(p, STEP_FORGET, i, "%d wanted", p->g->desired);
            excess--;
            drop--;
        }
    for (const struct instance *i = p->g->instances; i && excess > 0; i = i->next) {
        bool on_the_way = i->state == INST_BOOTING || i->state == INST_JOINING;
        if (!on_the_way || i->absent || i->died || plan_has(p, i) || (standby_fresh(i) && drop-- <= 0))
            continue;
        if (i->warm && i->state == INST_BOOTING)
            plan_park_again(p, i);
        else
            plan_add(p, i->state == INST_JOINING ? STEP_DRAIN : STEP_LEAVE, i, "%d wanted", p->g->desired);
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
        plan_add(p, STEP_DRAIN, v, "%d wanted", p->g->desired);
        excess--;
    }
}

/* --- all together --------------------------------------------------------------------------------- */

static void count_hosts(struct planner *p)
{
    for (size_t k = 0; k < p->g->host_count; k++)
        p->launching[k] = p->g->hosts[k].launching;
    for (const struct instance *i = p->g->instances; i; i = i->next)
        if (i->host >= 0 && i->state != INST_GONE) {
            p->members[i->host]++;
            p->booting[i->host] += i->state == INST_BOOTING && !i->warm;
        }
    p->pool = standby_wanted(p->g) - p->g->parked;
}

/* Brings the live ones to the desired count. */
static void plan_count(struct planner *p)
{
    const struct group *g = p->g;
    int live = 0, fresh = 0, dead = 0;
    for (const struct instance *i = g->instances; i; i = i->next) {
        bool counts = inst_live(i) && !plan_lost(p, i);
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
    for (i = g->parked ? g->instances : NULL; i; i = i->next)
        if (i->state == INST_PARKED && !i->busy && standby_outdated(g, i) && !plan_has(p, i)) {
            plan_add(p, STEP_LEAVE, i, "it is parked with an outdated template")->force = true;
            p->pool++;
        }
    for (; p->pool < 0 && (i = standby_surplus(g, is_planned, p)); p->pool++)
        plan_add(p, STEP_LEAVE, i, "%d parked ones are enough", standby_wanted(g))->force = true;
    if (g->refill.until > p->now)
        plan_due(p, g->refill.until);
    if (p->pool > 0 && p->out->count == 0 && standby_quiet(g, p->now) && group_footprint(g) < g->cfg->max &&
        some_host(p))
        plan_add(p, STEP_WANT, NULL, "for the pool: %d of %d are parked", standby_wanted(g) - p->pool,
                 standby_wanted(g));
}

void plan_size(struct planner *p)
{
    count_hosts(p);
    plan_count(p);
    if (!p->g->decided)
        return;
    plan_pool(p);
    plan_launches(p);
}
