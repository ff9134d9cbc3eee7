/* standby: the pool of parked instances as the planner and the decision see it. It must never change what it looks
 * at, and never count on an instance whose host has not said that it is parked. */
#include <string.h>

#include "act.h"
#include "standby.h"

int standby_wanted(const struct group *g)
{
    int room = g->cfg->max - g->desired, want = g->cfg->compute.standby;
    if (g->cfg->compute.park == CFG_PARK_NONE || !g->decided || room < 0)
        return 0;
    return want < room ? want : room;
}

bool standby_outdated(const struct group *g, const struct instance *i)
{
    return i->notes->revision[0] && strcmp(i->notes->revision, g->cfg->compute.revision) != 0;
}

bool standby_usable(const struct group *g, const struct instance *i)
{
    if (i->state != INST_PARKED || !i->parked || i->busy || i->absent || i->died || i->host < 0)
        return false;
    const struct host *h = &g->hosts[i->host];
    return !h->retired && !h->failing_since && !standby_outdated(g, i);
}

int standby_usable_count(const struct group *g)
{
    int n = 0;
    for (const struct instance *i = g->parked ? g->instances : NULL; i; i = i->next)
        n += standby_usable(g, i);
    return n;
}

bool standby_fresh(const struct instance *i)
{
    return i->state < INST_BOOTING || (i->state == INST_BOOTING && !i->warm && !i->notes->serving_wall);
}

bool standby_quiet(const struct group *g, as_time now)
{
    int serving = 0;
    if (g->doubt_since || !backoff_open(&g->launch, now) || !backoff_open(&g->refill, now))
        return false;
    for (const struct instance *i = g->instances; i; i = i->next) {
        if (i->state != INST_SERVING && i->state != INST_PARKED && i->state != INST_FAILED)
            return false;
        serving += i->state == INST_SERVING;
    }
    return serving == g->desired;
}

const struct instance *standby_pick(const struct group *g, const int *live, standby_taken *taken,
                                    const void *arg)
{
    const struct instance *best = NULL;
    for (const struct instance *i = g->instances; i; i = i->next) {
        if (!standby_usable(g, i) || taken(arg, i))
            continue;
        if (!best || live[i->host] < live[best->host] ||
            (live[i->host] == live[best->host] && i->since >= best->since))
            best = i;
    }
    return best;
}

const struct instance *standby_surplus(const struct group *g, standby_taken *taken, const void *arg)
{
    const struct instance *best = NULL;
    for (const struct instance *i = g->instances; i; i = i->next)
        if (i->state == INST_PARKED && !i->busy && !taken(arg, i) && (!best || i->since < best->since))
            best = i;
    return best;
}
