/* reload: swaps the configuration, all or nothing. First everything new is bound beside the old; only when all
 * of it stands is the old replaced. What did not change keeps its windows, cooldowns and state. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../runtime/log.h"
#include "act.h"
#include "engine.h"

struct staged {             /* what the new configuration needs, bound and not in use yet */
    struct source *sources; /* new or changed ones */
    struct group *groups;
};

static bool same(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

static struct source *find_source(struct source *list, const char *name)
{
    while (list && (list->retired || strcmp(list->cfg->name, name) != 0))
        list = list->next;
    return list;
}

static void drop_staged(struct engine *e, struct staged *st)
{
    while (st->sources) {
        struct source *s = st->sources;
        st->sources = s->next;
        source_free(e, s);
    }
    while (st->groups) {
        struct group *g = st->groups;
        st->groups = g->next;
        group_free(e, g);
    }
}

/* --- what forbids a reload ---------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static int refuse(struct as_error *err, struct cfg_place at,
                                                        const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    as_fail(err, AS_EINVAL, "%s:%d: %s", at.file, at.line, text);
    err->line = at.line;
    return AS_EINVAL;
}

static bool names_endpoint(const struct cfg_group *c, const char *name)
{
    for (size_t k = 0; k < c->compute.endpoint_count; k++)
        if (strcmp(c->compute.endpoints[k], name) == 0)
            return true;
    return false;
}

static int check_hosts(const struct group *g, const struct cfg_group *c, struct as_error *err)
{
    struct cfg_place at = config_place(c->compute.settings, c->compute.driver->endpoints);
    size_t places = g->host_count; /* of hosts that left too: operations refer to them by number */
    for (size_t n = 0; n < c->compute.endpoint_count; n++) {
        size_t k = 0;
        while (k < g->host_count && strcmp(g->hosts[k].name, c->compute.endpoints[n]) != 0)
            k++;
        places += k == g->host_count;
    }
    if (places > HOSTS_MOST)
        return refuse(err, at,
                      "group '%s': %zu hosts came and went since the start, at most %d can: restart instead",
                      c->name, places, HOSTS_MOST);
    for (size_t k = 0; k < g->host_count; k++) {
        int here = 0;
        for (const struct instance *i = g->instances; i; i = i->next)
            here += i->host == (int)k && i->state != INST_GONE;
        if (here && !names_endpoint(c, g->hosts[k].name) && !config_host_lost(c, g->hosts[k].name))
            return refuse(
                err, at,
                "group '%s': host %s still has %d of its instances; keep it until they are gone, or "
                "name it in lost_hosts when it is gone for good",
                c->name, g->hosts[k].name, here);
    }
    if (c->compute.driver != g->cfg->compute.driver && group_footprint(g) > 0)
        return refuse(err, config_place(c->compute.settings, "driver"),
                      "group '%s': the compute driver cannot change while it has instances", c->name);
    return AS_OK;
}

/* Its servers would stay behind in the pool they are in, where nobody would ever evict them. */
static int check_pool(const struct group *g, const struct cfg_group *c, struct as_error *err)
{
    const struct as_balancer_driver *was = g->cfg->balancer.driver, *is = c->balancer.driver;
    if (!was || group_footprint(g) == 0)
        return AS_OK;
    if (was != is)
        return refuse(err, is ? config_place(c->balancer.settings, "driver") : c->at,
                      "group '%s': the balancer driver cannot change while the group has instances", c->name);
    if (was->pool && !same(as_settings_str(g->cfg->balancer.settings, was->pool),
                           as_settings_str(c->balancer.settings, is->pool)))
        return refuse(err, config_place(c->balancer.settings, is->pool),
                      "group '%s': balancer.%s cannot change while the group has instances: they would stay "
                      "behind in '%s'",
                      c->name, was->pool, as_settings_str(g->cfg->balancer.settings, was->pool));
    return AS_OK;
}

static int check_swap(struct engine *e, const struct cfg *c, struct as_error *err)
{
    if (strcmp(c->name, e->cfg->name) != 0)
        return refuse(err, config_place(c->controller, "name"),
                      "controller.name cannot change at run time: it is the ownership mark; restart instead");
    bool state = same(c->state, e->cfg->state);
    if (!state || !same(c->socket, e->cfg->socket))
        return refuse(err, config_place(c->controller, state ? "socket" : "state"),
                      "controller.state and controller.socket cannot change at run time: restart instead");
    for (size_t k = 0; k < c->group_count; k++) {
        struct group *g = engine_group(e, c->groups[k].name);
        int rc = g ? check_hosts(g, &c->groups[k], err) : AS_OK;
        if (rc == AS_OK && g)
            rc = check_pool(g, &c->groups[k], err);
        if (rc != AS_OK)
            return rc;
    }
    return AS_OK;
}

/* --- stage --------------------------------------------------------------------------------------------- */

static int stage_sources(struct engine *e, struct cfg_hold *hold, struct staged *st, struct as_error *err)
{
    const struct cfg *c = cfg_of(hold);
    for (size_t k = 0; k < c->source_count; k++) {
        struct source *old = find_source(e->sources, c->sources[k].name);
        if (old && same(old->cfg->canon, c->sources[k].canon))
            continue;
        struct source *s = source_bind(e, hold, &c->sources[k], err);
        if (!s)
            return AS_EINVAL;
        s->next = st->sources;
        st->sources = s;
    }
    return AS_OK;
}

static int stage_groups(struct engine *e, struct cfg_hold *hold, struct staged *st, struct as_error *err)
{
    const struct cfg *c = cfg_of(hold);
    for (size_t k = 0; k < c->group_count; k++) {
        struct group *old = engine_group(e, c->groups[k].name);
        if (old && same(old->cfg->canon, c->groups[k].canon))
            continue;
        struct group *g = group_bind(e, hold, &c->groups[k], err);
        if (!g)
            return AS_EINVAL;
        g->next = st->groups;
        st->groups = g;
        if (!old) { /* it may have run before: the journal knows */
            int rc = group_load(g, err);
            if (rc != AS_OK)
                return rc;
        }
    }
    return AS_OK;
}

/* --- swap ---------------------------------------------------------------------------------------------- */

/* The endpoints of `fresh` take the places of the old ones with the same name; places are never removed,
 * because operations under way and instances refer to them by number. */
static void merge_hosts(struct engine *e, struct group *g, struct group *fresh, struct host *room)
{
    memcpy(room, g->hosts, g->host_count * sizeof *room);
    for (size_t k = 0; k < g->host_count; k++)
        room[k].retired = true;
    for (size_t n = 0; n < fresh->host_count; n++) {
        size_t k = 0;
        while (k < g->host_count && strcmp(room[k].name, fresh->hosts[n].name) != 0)
            k++;
        if (k == g->host_count) {
            room[g->host_count++] = fresh->hosts[n];
        } else {
            e->world.unbind(e->world.arg, room[k].port);
            room[k].port = fresh->hosts[n].port;
            room[k].retired = false;
            room[k].next_list = e->now;
        }
        fresh->hosts[n].port = NULL;
    }
    free(g->hosts);
    g->hosts = room;
}

/* Instances whose host the configuration did not name for a while are looked for where it is now. */
static void find_hosts(struct group *g)
{
    for (struct instance *i = g->instances; i; i = i->next)
        for (size_t k = 0; i->host < 0 && i->notes->host_name[0] && k < g->host_count; k++)
            if (strcmp(g->hosts[k].name, i->notes->host_name) == 0)
                i->host = (int)k;
}

/* What failed before was another configuration: whoever mended it need not wait for the back-off. */
static void forgive(struct group *g)
{
    backoff_clear(&g->launch);
    backoff_clear(&g->unpark);
    backoff_clear(&g->refill);
    g->crashes = 0;
    for (size_t k = 0; k < g->host_count; k++)
        backoff_clear(&g->hosts[k].launch);
}

/* A balancer that is not named any more keeps its place and its driver until our servers are out of it. */
static void merge_pools(struct engine *e, struct group *g, struct group *fresh, struct pool *room)
{
    memcpy(room, g->pools, g->pool_count * sizeof *room);
    for (size_t k = 0; k < g->pool_count; k++)
        room[k].leaving = !room[k].retired;
    for (size_t n = 0; n < fresh->pool_count; n++) {
        size_t k = 0;
        while (k < g->pool_count && !pool_same(&room[k], &fresh->pools[n]))
            k++;
        if (k == g->pool_count) {
            room[g->pool_count++] = fresh->pools[n];
            fresh->pools[n] = (struct pool){ 0 };
        } else {
            void *port = room[k].port;
            char *terms = room[k].terms;
            room[k].port = fresh->pools[n].port;
            room[k].terms = fresh->pools[n].terms;
            fresh->pools[n].port = port; /* closed with it */
            fresh->pools[n].terms = terms;
            room[k].retired = room[k].leaving = room[k].refused = false;
            room[k].moved_at = room[k].empty_since = 0;
            room[k].next_list = e->now;
        }
    }
    for (size_t k = 0; k < g->pool_count; k++)
        if (room[k].leaving && !room[k].moved_at)
            pool_say_leaving(g, &room[k]);
    g->pools_dirty = true;
    group_rows_changed(g);
    free(g->pools);
    g->pools = room;
}

/* Shadows that did not change keep what they have counted. */
static void keep_shadows(struct group *g, struct group *fresh)
{
    for (size_t n = 0; n < fresh->shadow_count; n++)
        for (size_t k = 0; k < g->shadow_count; k++)
            if (same(g->shadows[k].run.cfg->canon, fresh->shadows[n].run.cfg->canon) &&
                strcmp(g->shadows[k].run.cfg->name, fresh->shadows[n].run.cfg->name) == 0) {
                struct shadow kept = g->shadows[k];
                g->shadows[k] = fresh->shadows[n];
                fresh->shadows[n] = kept;
                break;
            }
}

/* A policy that did not change keeps its memory. */
static void keep_policies(struct group *g, struct group *fresh)
{
    for (size_t n = 0; n < fresh->policy_count; n++)
        for (size_t k = 0; k < g->policy_count; k++)
            if (same(g->policies[k].cfg->canon, fresh->policies[n].cfg->canon) &&
                strcmp(g->policies[k].cfg->name, fresh->policies[n].cfg->name) == 0) {
                struct policy_run kept = g->policies[k];
                g->policies[k] = fresh->policies[n];
                fresh->policies[n] = kept;
                break;
            }
}

struct spare { /* memory taken before the point of no return */
    struct host *hosts;
    struct pool *pools;
    struct membership **members;
    size_t count;
};

static void spare_fini(struct spare *s)
{
    for (size_t k = 0; s->members && k < s->count; k++)
        free(s->members[k]);
    free(s->members);
    free(s->hosts);
    free(s->pools);
    *s = (struct spare){ 0 };
}

static bool spare_init(struct spare *s, const struct group *g, const struct group *fresh)
{
    size_t pools = g->pool_count + fresh->pool_count + 1;
    for (const struct instance *i = g->instances; i; i = i->next)
        s->count++;
    s->hosts = calloc(g->host_count + fresh->host_count + 1, sizeof *s->hosts);
    s->pools = calloc(pools, sizeof *s->pools);
    s->members = calloc(s->count + 1, sizeof(struct membership *));
    bool ok = s->hosts && s->pools && s->members;
    for (size_t k = 0; ok && k < s->count; k++)
        ok = (s->members[k] = calloc(pools, sizeof(struct membership))) != NULL;
    return ok;
}

static void swap_group(struct engine *e, struct group *g, struct group *fresh, struct spare *sp)
{
    size_t k = 0, old_pools = g->pool_count;
    for (struct instance *i = g->instances; i; i = i->next, k++) {
        memcpy(sp->members[k], i->pools, old_pools * sizeof *i->pools);
        instance_take_pools(i, sp->members[k]);
        sp->members[k] = NULL;
    }
    merge_hosts(e, g, fresh, sp->hosts);
    find_hosts(g);
    forgive(g);
    merge_pools(e, g, fresh, sp->pools);
    sp->hosts = NULL;
    sp->pools = NULL;
    keep_policies(g, fresh);
    keep_shadows(g, fresh);
    struct shadow *shadows = g->shadows;
    size_t shadow_count = g->shadow_count;
    g->shadows = fresh->shadows;
    g->shadow_count = fresh->shadow_count;
    fresh->shadows = shadows;
    fresh->shadow_count = shadow_count;
    struct policy_run *policies = g->policies;
    struct proposal_record *proposals = g->decision.proposals;
    size_t count = g->policy_count;
    struct cfg_hold *hold = g->hold;
    g->policies = fresh->policies;
    g->policy_count = fresh->policy_count;
    g->decision.proposals = fresh->decision.proposals;
    g->decision.proposal_count = 0; /* the old records name policies that may be gone */
    g->hold = fresh->hold;
    g->cfg = fresh->cfg;
    group_write_off(g);
    fresh->policies = policies;
    fresh->policy_count = count;
    fresh->decision.proposals = proposals;
    fresh->hold = hold;
    g->dirty = true;
    group_free(e, fresh);
}

static struct group *take_staged(struct staged *st, const char *name)
{
    struct group **at = &st->groups;
    while (*at && strcmp((*at)->cfg->name, name) != 0)
        at = &(*at)->next;
    struct group *g = *at;
    if (g) {
        *at = g->next;
        g->next = NULL;
    }
    return g;
}

static void retire_sources(struct engine *e, const struct cfg *c, const struct staged *st)
{
    for (struct source *s = e->sources; s; s = s->next) {
        bool kept = false;
        for (size_t k = 0; k < c->source_count; k++)
            kept = kept || strcmp(c->sources[k].name, s->cfg->name) == 0;
        if (!kept || find_source(st->sources, s->cfg->name))
            s->retired = e->burials = true;
    }
}

static void retire_groups(struct engine *e, const struct cfg *c)
{
    for (struct group *g = e->groups; g; g = g->next) {
        bool kept = false;
        for (size_t k = 0; k < c->group_count; k++)
            kept = kept || strcmp(c->groups[k].name, g->cfg->name) == 0;
        if (kept || g->retired)
            continue;
        g->retired = e->burials = true;
        if (group_footprint(g) > 0)
            log_warning(g->cfg->name,
                        "the group left the configuration: its %d instances are left as they are; put it "
                        "back to manage them again",
                        group_footprint(g));
    }
}

/* The first source of a name counts: changed and new ones stand before the old. */
static bool inputs_bind(struct engine *e)
{
    for (struct source *s = e->sources; s; s = s->next)
        for (size_t k = 0; k < s->binding_count; k++)
            s->bindings[k]->users = 0;
    for (struct group *g = e->groups; g; g = g->next)
        if (!g->retired && !group_rebind_inputs(e, e->sources, g))
            return false;
    for (struct source *s = e->sources; s; s = s->next)
        source_forget_unread(s);
    return true;
}

static void append_group(struct engine *e, struct group *g)
{
    struct group **tail = &e->groups;
    while (*tail)
        tail = &(*tail)->next;
    *tail = g;
}

static void swap_all(struct engine *e, struct cfg_hold *hold, struct staged *st, struct spare *spares)
{
    const struct cfg *c = cfg_of(hold);
    retire_sources(e, c, st);
    retire_groups(e, c);
    for (size_t k = 0; k < c->group_count; k++) {
        struct group *fresh = take_staged(st, c->groups[k].name), *old = engine_group(e, c->groups[k].name);
        if (fresh && old)
            swap_group(e, old, fresh, &spares[k]);
        else if (fresh)
            append_group(e, fresh);
    }
    while (st->sources) { /* in front: found before a retired one of the same name */
        struct source *s = st->sources;
        st->sources = s->next;
        s->next = e->sources;
        e->sources = s;
    }
    cfg_hold_put(e->hold);
    e->hold = cfg_hold_get(hold);
    e->cfg = c;
    e->unbound = !inputs_bind(e);
    if (e->unbound)
        log_error("reload", "out of memory while binding metrics: some policies have no fresh input, and "
                            "their groups are held, until the next reload");
    sources_weigh(e);
    for (struct group *g = e->groups; g; g = g->next)
        if (!g->retired)
            group_learn(g);
    engine_wakes_fill(e);
    e->next_tick = e->now;
}

int engine_reload(struct engine *e, struct cfg_hold *hold, struct cfg_diff *diff, struct as_error *err)
{
    const struct cfg *c = cfg_of(hold);
    struct staged st = { 0 };
    struct spare *spares = calloc(c->group_count + 1, sizeof *spares);
    int rc = spares ? check_swap(e, c, err) : as_fail(err, AS_ENOMEM, "out of memory");
    if (rc == AS_OK)
        rc = stage_sources(e, hold, &st, err);
    if (rc == AS_OK)
        rc = stage_groups(e, hold, &st, err);
    for (size_t k = 0; rc == AS_OK && k < c->group_count; k++) {
        struct group *old = engine_group(e, c->groups[k].name), *fresh = st.groups;
        while (fresh && strcmp(fresh->cfg->name, c->groups[k].name) != 0)
            fresh = fresh->next;
        if (old && fresh && !spare_init(&spares[k], old, fresh))
            rc = as_fail(err, AS_ENOMEM, "out of memory");
    }
    if (rc == AS_OK && !engine_wakes_room(e, c->group_count))
        rc = as_fail(err, AS_ENOMEM, "out of memory");
    if (rc == AS_OK)
        rc = config_diff(e->cfg, c, diff);
    if (rc == AS_OK)
        swap_all(e, hold, &st, spares);
    drop_staged(e, &st);
    for (size_t k = 0; spares && k < c->group_count; k++)
        spare_fini(&spares[k]);
    free(spares);
    return rc;
}
