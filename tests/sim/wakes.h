/* Whether the engine's table of when to look at which group agrees with the groups: a turn looks at those that are
 * due by it and at no others, so one that is late there is forgotten. */
#ifndef TESTS_SIM_WAKES_H
#define TESTS_SIM_WAKES_H

#include "../../controller/loop/engine.h"

static inline bool sleeps_past(const struct wake *w, as_time due)
{
    return due && w->at > due;
}

/* The first group that would be looked at too late, or NULL. */
static inline const struct group *wakes_oversleep(const struct engine *e)
{
    size_t awake = 0;
    for (const struct group *g = e->groups; g; g = g->next) {
        const struct wake *w = &e->wakes[g->wake];
        if (g->retired)
            continue;
        awake++;
        if (g->wake >= e->wake_count || w->group != g || w->decide_at != g->decide_at || (g->dirty && w->at) ||
            sleeps_past(w, g->due) || sleeps_past(w, g->plan_due) || sleeps_past(w, g->decide_at))
            return g;
    }
    return awake == e->wake_count ? NULL : e->groups;
}

#endif
