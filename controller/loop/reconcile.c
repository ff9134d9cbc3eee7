/* reconcile: compares the three inventories: what the journal says, what hosts list, what balancers
 * list. It takes notes on instances (seen, absent, died, held) and adopts or evicts what carries our mark;
 * what does not carry it is counted and never touched. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../runtime/log.h"
#include "engine.h"

#define DOUBT_MOST       (60 * AS_SECOND) /* then replaced one at a time */
#define ORPHANS_PER_LIST 50
#define LOST_AFTER       (5 * AS_SECOND) /* one list that fails is no outage */
#define GIVEN_UP_AFTER   AS_DAY          /* a balancer that left and does not answer */

/* --- what is news ------------------------------------------------------------------------------------ */

/* Nothing but serving: then a list that shows it as the one before did changes no plan. While anything else goes
 * on, every list is worth one. */
static bool all_serve(const struct group *g)
{
    for (const struct instance *i = g->instances; i; i = i->next)
        if (i->state != INST_SERVING || i->busy)
            return false;
    return true;
}

/* The group is planned anew for this list, or only looked at again when the next one is due. */
static void end_list(struct group *g, bool news, as_time next_list)
{
    if (news || !all_serve(g))
        g->dirty = true;
    else
        observe_at(g, next_list);
}

/* --- endpoints that fail and answer again ----------------------------------------------------------- */

struct endpoint { /* a host or a balancer */
    const char *what, *name;
    as_time *failing_since;
    struct as_error *err;
    struct said *said;
};

/* One that fails is news at every list. */
static bool endpoint_ok(struct group *g, const struct endpoint *p, const struct op *op)
{
    struct engine *e = g->engine;
    char span[32];
    if (op->rc == AS_OK) {
        if (*p->failing_since) {
            log_info(g->cfg->name, "%s %s answers again after %s", p->what, p->name,
                     as_time_text(e->now - *p->failing_since, span, sizeof span));
            engine_event(e, g->cfg->name, "", p->what, "%s answers again after %s", p->name, span);
        }
        *p->failing_since = 0;
        return true;
    }
    if (engine_says(e, p->said, !*p->failing_since, op->err.msg)) { /* not at every interval */
        log_warning(g->cfg->name, "%s %s: %s (%s); asked again every interval", p->what, p->name, op->err.msg,
                    as_rc_name(op->rc));
        engine_event(e, g->cfg->name, "", p->what, "%s: %s", p->name, op->err.msg);
    }
    if (!*p->failing_since)
        *p->failing_since = e->now;
    *p->err = op->err;
    p->err->rc = op->rc;
    g->dirty = true;
    return false;
}

/* --- hosts ------------------------------------------------------------------------------------------ */

/* Returns true when it is not what the one before showed of it. */
static bool take_listed(struct instance *i, const struct as_instance *seen)
{
    bool parked = seen->state == AS_RUN_PARKED, news = i->absent || i->parked != parked;
    i->listed = true;
    i->absent = false;
    i->parked = parked;
    if (seen->address[0] && seen->port && (strcmp(i->address, seen->address) != 0 || i->port != seen->port)) {
        snprintf(i->address, sizeof i->address, "%s", seen->address);
        i->port = seen->port;
        i->passes = i->misses = 0;
        i->dirty = news = true;
        group_rows_changed(i->group);
    }
    if (i->state == INST_UNKNOWN && seen->state == AS_RUN_RUNNING) {
        i->next_probe = i->group->engine->now;
        instance_move(i, INST_BOOTING, "found running on %s", i->notes->host_name);
    } else if (i->state == INST_UNKNOWN && i->parked) {
        instance_move(i, INST_PARKED, "found parked on %s", i->notes->host_name);
    } else if (i->state == INST_UNKNOWN) {
        instance_move(i, INST_FAILED, "found on %s, but it does not run: %s", i->notes->host_name,
                      seen->detail);
    } else if (i->state != INST_DESTROYING &&
               (seen->state == AS_RUN_STOPPED || seen->state == AS_RUN_CREATED)) {
        i->died = news = true;
        snprintf(i->notes->health, sizeof i->notes->health, "%s",
                 seen->detail[0] ? seen->detail : "it does not run");
    }
    return news;
}

/* It has our mark, but no instance: made by a create that was given up, or the journal was lost. */
static void take_stranger(struct group *g, int host, const struct as_instance *seen, as_time asked)
{
    int known = journal_knows_instance(g->engine->journal, seen->id);
    if (known == 1 && asked <= g->hosts[host].destroyed_at)
        return; /* destroyed while it was being listed; the next list tells */
    struct instance *i = known < 0 ? NULL : instance_new(g, seen->id);
    if (!i)
        return;
    i->state = INST_UNKNOWN;
    i->host = host;
    snprintf(i->notes->host_name, sizeof i->notes->host_name, "%s", g->hosts[host].name);
    snprintf(i->notes->revision, sizeof i->notes->revision, "%s", seen->revision);
    i->wanted_at = 0; /* its launch was not measured */
    i->notes->serving_wall = i->notes->wanted_wall =
        seen->created_wall ? seen->created_wall : g->engine->wall;
    if (known) {
        i->force = i->listed = true;
        instance_move(i, INST_LEAVING, "found on %s although it was given up", i->notes->host_name);
        return;
    }
    engine_event(g->engine, g->cfg->name, i->id, "adopted",
                 "found on %s with our mark; the journal did not know it", i->notes->host_name);
    take_listed(i, seen);
}

static bool judged_by(const struct instance *i, const struct op *op)
{
    return !i->busy && i->compute_done <= op->submitted && i->state != INST_WANTED &&
           i->state != INST_CREATING && i->state != INST_GONE;
}

void reconcile_hosts(struct group *g, struct op *op)
{
    struct host *h = &g->hosts[op->index];
    h->listing = false;
    h->tries++;
    bool failed = h->failing_since || h->listed_at == 0;
    const struct endpoint it = { "host", h->name, &h->failing_since, &h->err, &h->said };
    if (h->retired || !endpoint_ok(g, &it, op))
        return;
    if (failed)
        h->answers_since = g->engine->now;
    bool news = failed || h->room != op->instances.room;
    h->listed_at = op->submitted;
    h->room = op->instances.room;
    for (struct instance *i = g->instances; i; i = i->next)
        if (i->host == op->index && judged_by(i, op))
            i->listed = false;
    struct instance *next = g->instances; /* probably the next one's */
    for (size_t k = 0; k < op->instances.count; k++) {
        const struct as_instance *seen = &op->instances.items[k];
        struct instance *i = next && strcmp(next->id, seen->id) == 0 ? next : instance_find(g, seen->id);
        next = i ? i->next : next;
        news = news || !i || i->host < 0;
        if (i && i->host < 0)
            i->host = op->index;
        if (!i)
            take_stranger(g, op->index, seen, op->submitted);
        else if (i->host == op->index && judged_by(i, op))
            news = take_listed(i, seen) || news;
    }
    for (struct instance *i = g->instances; i; i = i->next)
        if (i->host == op->index && judged_by(i, op) && !i->listed && i->state != INST_UNKNOWN)
            i->absent = news = true;
    end_list(g, news, h->next_list);
}

/* --- balancers -------------------------------------------------------------------------------------- */

/* Balancers list their members in the order they were admitted, which is nearly ours: the one after the last
 * match is nearly always the next. NULL when there is none of this id. */
static const struct as_member *find_member(const struct as_members *list, size_t *hint, const char *id)
{
    for (size_t n = 0, k = *hint; n < list->count; n++, k++) {
        const struct as_member *m = &list->items[k < list->count ? k : k - list->count];
        if (strcmp(m->id, id) == 0) {
            *hint = (size_t)(m - list->items) + 1;
            *hint = *hint == list->count ? 0 : *hint;
            return m;
        }
    }
    return NULL;
}

/* "<group>-<8 hex>": could be ours; the journal decides. */
static bool our_kind_of_name(const struct group *g, const char *id)
{
    size_t n = strlen(g->cfg->name);
    if (strncmp(id, g->cfg->name, n) != 0 || id[n] != '-' || strlen(id + n + 1) != 8)
        return false;
    for (const char *c = id + n + 1; *c; c++)
        if (!isxdigit((unsigned char)*c))
            return false;
    return true;
}

static void evict_orphan(struct group *g, int index, const struct as_member *m)
{
    struct engine *e = g->engine;
    bool may = e->world.act && !e->held && !e->journal_failing_since;
    struct op *op = may ? engine_op(e, OP_EVICT, g->cfg->balancer.timeout) : NULL;
    if (!op)
        return;
    log_warning(g->cfg->name, "member %s at %s belongs to an instance that is gone: evicted", m->id,
                g->pools[index].name);
    op->group = g;
    op->index = index;
    op->port = g->pools[index].port;
    op->force = true;
    op->call->member = *m;
    g->inflight++;
    engine_submit(e, op);
}

/* A reload leaves the sessions of before to a process that no list shows. Whoever was a member then may go on
 * serving them, so that a list without sessions proves nothing until a drain's time is over. */
static void veil(struct membership *m, const struct group *g)
{
    m->veiled_until = g->engine->now + g->cfg->balancer.drain;
}

/* What weights are worked out from. */
static void take_work(struct membership *m, const struct as_member *seen, as_time asked)
{
    if (seen && seen->served != m->served)
        m->worked_at = asked;
    m->served = seen ? seen->served : 0;
    m->response_ms = seen ? seen->response_ms : 0;
    m->response_over = seen ? seen->response_over : 0;
}

/* Returns true when it is more than other sessions of members that serve. *known: how many of the list it found. */
static bool take_members(struct group *g, const struct op *op, size_t *known)
{
    size_t hint = 0;
    bool news = false;
    *known = 0;
    for (struct instance *i = g->instances; i; i = i->next) {
        struct membership *m = &i->pools[op->index];
        if (m->busy || m->changed_at > op->submitted) {
            news = true;
            continue;
        }
        const struct as_member *seen = find_member(&op->members, &hint, i->id);
        if (!seen && m->listed_at == 0 && (i->state == INST_SERVING || i->state == INST_DRAINING))
            veil(m, g); /* lost while we were away */
        *known += seen != NULL;
        int weight = seen ? seen->weight : 0;
        enum as_member_state state = seen ? seen->state : AS_MEMBER_OUT;
        news = news || m->listed_at == 0 || m->listed_at < m->changed_at || m->listed != (seen != NULL) ||
               m->state != state || m->weight != weight || m->weigh > 0;
        m->listed_at = op->submitted;
        m->listed = seen != NULL;
        m->state = state;
        m->held = seen ? seen->held : 0;
        m->weight = weight;
        if (g->cfg->balancer.weigh || m->weigh > 0)
            take_work(m, seen, op->submitted);
    }
    return news;
}

/* Returns how many are left behind by instances that are gone. */
static int find_strangers(struct group *g, const struct op *op)
{
    struct pool *p = &g->pools[op->index];
    const struct instance *next = g->instances; /* probably the next member's */
    int orphans = 0;
    for (size_t k = 0; k < op->members.count; k++) {
        const struct as_member *m = &op->members.items[k];
        const struct instance *known = next && strcmp(next->id, m->id) == 0 ? next : NULL;
        if (!known && our_kind_of_name(g, m->id))
            known = instance_find(g, m->id);
        next = known ? known->next : next;
        if (known)
            continue;
        if (!our_kind_of_name(g, m->id)) {
            p->foreign++;
        } else {
            if (journal_knows_instance(g->engine->journal, m->id) != 1)
                p->foreign++;
            else if (orphans++ < ORPHANS_PER_LIST)
                evict_orphan(g, op->index, m);
        }
    }
    return orphans;
}

static bool up_elsewhere(const struct group *g, const struct instance *i)
{
    for (size_t k = 0; k < g->pool_count; k++)
        if (pool_in_use(&g->pools[k]) && !g->pools[k].failing_since && i->pools[k].listed &&
            i->pools[k].state == AS_MEMBER_UP)
            return true;
    return false;
}

static void retire_pool(struct group *g, struct pool *p)
{
    p->retired = g->pools_dirty = true;
    group_rows_changed(g);
}

/* It was taken down for good, or the address was never right. */
static void give_up(struct group *g, struct pool *p)
{
    char span[32];
    as_time_text(g->engine->now - p->failing_since, span, sizeof span);
    for (struct instance *i = g->instances; i; i = i->next)
        i->pools[p - g->pools] = (struct membership){ 0 };
    retire_pool(g, p);
    log_warning(g->cfg->name,
                "balancer %s left the configuration and has not answered for %s: given up; if it ever comes "
                "back, take our servers, named %s-*, out of it by hand",
                p->name, span, g->cfg->name);
    engine_event(g->engine, g->cfg->name, "", "balancer",
                 "%s left the configuration and has not answered for %s: given up", p->name, span);
}

/* A balancer that left the configuration: may ours go, and are they out? */
static void let_go(struct group *g, struct pool *p, const struct op *op, int orphans)
{
    bool ours = orphans > 0, served = true;
    for (const struct instance *i = g->instances; i; i = i->next) {
        const struct membership *m = &i->pools[op->index];
        ours = ours || m->listed || m->busy || m->changed_at > op->submitted;
        served = served && (i->state != INST_SERVING || up_elsewhere(g, i));
    }
    p->moved_at = !served ? 0 : p->moved_at ? p->moved_at : g->engine->now;
    p->empty_since = ours ? 0 : p->empty_since ? p->empty_since : g->engine->now;
    if (ours || g->engine->now - p->empty_since < LOST_AFTER) /* a call of before may still be carried out */
        return;
    retire_pool(g, p);
    log_info(g->cfg->name, "balancer %s has none of our servers any more: it is left alone from now on",
             p->name);
    engine_event(g->engine, g->cfg->name, "", "balancer", "%s left the configuration and has none of ours",
                 p->name);
}

static void note_epoch(struct group *g, struct pool *p, const char *epoch)
{
    if (p->epoch[0] && strcmp(p->epoch, epoch) != 0) {
        log_info(g->cfg->name, "balancer %s was restarted or reloaded: members are put back", p->name);
        engine_event(g->engine, g->cfg->name, "", "balancer",
                     "%s was restarted or reloaded: members are put back", p->name);
        for (struct instance *i = g->instances; i; i = i->next)
            if (i->pools[p - g->pools].listed)
                veil(&i->pools[p - g->pools], g);
    }
    snprintf(p->epoch, sizeof p->epoch, "%s", epoch);
}

void reconcile_pool(struct group *g, struct op *op)
{
    struct pool *p = &g->pools[op->index];
    p->listing = false;
    p->tries++;
    if (p->retired)
        return;
    bool news = p->failing_since || p->listed_at == 0 || p->leaving || g->cfg->balancer.weigh;
    p->refused = op->rc == AS_EINVAL || op->rc == AS_EAUTH || op->rc == AS_EUNSUP;
    bool was_lost = p->failing_since && g->engine->now - p->failing_since >= LOST_AFTER;
    const struct endpoint it = { "balancer", p->name, &p->failing_since, &p->err, &p->said };
    if (!endpoint_ok(g, &it, op)) {
        p->empty_since = 0;
        if (p->leaving && g->engine->now - p->failing_since >= GIVEN_UP_AFTER)
            give_up(g, p);
        return;
    }
    if (was_lost)
        p->answers_since = g->engine->now;
    p->listed_at = op->submitted;
    note_epoch(g, p, op->members.epoch);
    size_t known;
    news = take_members(g, op, &known) || news;
    p->foreign = 0;
    int orphans = known < op->members.count ? find_strangers(g, op) : 0;
    if (p->leaving) {
        let_go(g, p, op, orphans);
    } else {
        weigh_pool(g, op->index);
        weigh_note(g, op->index);
    }
    end_list(g, news, p->next_list);
}

/* --- doubt ------------------------------------------------------------------------------------------ */

static bool looks_dead(const struct instance *i)
{
    const struct cfg_health *h = &i->group->cfg->health;
    bool silent = h->kind != CFG_HEALTH_RUNNING && i->misses >= h->fall;
    if (i->state != INST_SERVING || i->died)
        return false;           /* a host that says "exited" is a proof, not a suspicion */
    return silent != i->absent; /* two observers who agree are believed, one alone is doubted */
}

/* Not dead yet, but its newest check failed too: checks are spread over an interval, and when a network breaks one
 * instance is the first to look dead. */
static bool looks_ill(const struct instance *i)
{
    return i->state == INST_SERVING && !i->died && !i->absent && i->misses > 0;
}

/* Is the place of the one before still to be filled? What became of the one before does not count: a dead host
 * never confirms that it is gone. */
static bool replacing(const struct group *g)
{
    int live = 0;
    for (const struct instance *i = g->instances; i; i = i->next) {
        if (i->state == INST_UNKNOWN)
            continue;
        if (inst_pending(i))
            return true;
        live += inst_live(i);
    }
    return live < g->desired;
}

static void doubt_ends(struct group *g)
{
    if (!g->doubt_since)
        return;
    g->doubt_since = 0;
    g->doubted = 0;
    log_info(g->cfg->name, "the doubt is over: instances answer again or were replaced");
    engine_event(g->engine, g->cfg->name, "", "doubt", "over");
}

void reconcile_doubt(struct group *g)
{
    int dead = 0, ill = 0, all = 0;
    for (struct instance *i = g->instances; i; i = i->next) {
        all += i->state == INST_SERVING;
        dead += looks_dead(i);
        ill += looks_dead(i) || looks_ill(i);
    }
    /* Begun with many at once, it also lasts while a few of them are left. */
    bool doubt = (dead >= 2 && 2 * dead > all) || (g->doubt_since && dead > 0);
    bool wait = doubt || (ill >= 2 && 2 * ill > all);
    for (struct instance *i = g->instances; i; i = i->next)
        i->doubted = wait && looks_dead(i);
    if (!doubt) {
        doubt_ends(g);
        return;
    }
    g->doubted = dead;
    snprintf(g->doubt, sizeof g->doubt,
             "%d of %d serving instances look dead at once to one observer: held for %ds", dead, all,
             (int)(DOUBT_MOST / AS_SECOND));
    if (!g->doubt_since) {
        g->doubt_since = g->engine->now;
        log_warning(g->cfg->name, "%s; look at the network between here and the hosts", g->doubt);
        engine_event(g->engine, g->cfg->name, "", "doubt", "%s", g->doubt);
    }
    if (g->engine->now - g->doubt_since < DOUBT_MOST || replacing(g))
        return;
    for (struct instance *i = g->instances; i; i = i->next)
        if (i->doubted) {
            i->doubted = false; /* one at a time, so that a wrong belief stays small */
            return;
        }
}
