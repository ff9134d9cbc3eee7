/* planner: what the two halves of the planner share. plan.c moves each instance on, plan_size.c brings their number to
 * the desired one and the pool to its size. */
#ifndef LOOP_PLANNER_H
#define LOOP_PLANNER_H

#include "plan.h"

struct planner {
    const struct group *g;
    as_time now;
    struct plan *out;
    bool ok;
    size_t scaled; /* the first so many steps came from the count                 */
    int ready;     /* live ones that are not fresh; with what this plan adds      */
    int pool;      /* how many more may be parked; below 0: too many are          */
    int launching[HOSTS_MOST], booting[HOSTS_MOST], members[HOSTS_MOST]; /* with what this plan adds */
};

/* Appends a step; never NULL (what does not fit into memory is swallowed, and ok is false). */
__attribute__((format(printf, 4, 5))) struct step *plan_add(struct planner *p, enum step_kind kind,
                                                            const struct instance *i, const char *fmt, ...);
/* Plan again then. What is overdue waits for something else to happen, not for the time. */
void plan_due(struct planner *p, as_time when);
/* Has the count already decided what becomes of it? Then its state has no say in this plan. */
bool plan_has(const struct planner *p, const struct instance *i);
bool plan_lost(struct planner *p, const struct instance *i);
bool pool_blind(const struct pool *pool);
/* plan_size.c */
void plan_size(struct planner *p);

#endif
