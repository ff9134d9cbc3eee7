/* plan: from what is wanted and what is to the next legal steps. Pure: it looks at a group and fills a list;
 * nothing is changed. The daemon acts on the list, `plan` prints it. */
#ifndef LOOP_PLAN_H
#define LOOP_PLAN_H

#include "engine.h"

/* A create without an answer may still happen for so long after we gave up waiting, or after a host that
 * hung came back: only a list asked for later than unknown_settled proves that it did not. */
#define UNKNOWN_SETTLE (5 * AS_SECOND)
as_time unknown_settled(const struct host *h, const struct instance *i);

/* An unknown create on a host that does not answer is capacity nobody can count on after this long. */
#define UNKNOWN_COUNTS (10 * AS_SECOND)

enum step_kind {
    STEP_WANT,     /* a new instance (id not chosen yet)                                              */
    STEP_LAUNCH,   /* create a WANTED instance on `host`                                              */
    STEP_FORGET,   /* drop a WANTED instance that was never sent                                      */
    STEP_FAIL,     /* it does not work (deadline passed, died, checks fail)                           */
    STEP_JOIN,     /* it answers: to the balancer                                                     */
    STEP_ADMIT,    /* register it at balancer `pool`                                                  */
    STEP_WEIGH,    /* give it another weight at balancer `pool`                                       */
    STEP_SERVE,    /* it takes traffic                                                                */
    STEP_PARK,     /* warm standby: stop it where it is                                               */
    STEP_UNPARK,   /* let it go on, before anything new is made                                       */
    STEP_DRAIN,    /* scale-in: no new sessions                                                       */
    STEP_READMIT,  /* cancel a drain                                                                  */
    STEP_MARK,     /* tell balancer `pool` to drain it                                                */
    STEP_LEAVE,    /* sessions ended, deadline passed, or never served                                */
    STEP_EVICT,    /* take it out of balancer `pool`                                                  */
    STEP_REMOVE,   /* it is out everywhere: destroy comes next                                        */
    STEP_DESTROY,
    STEP_GONE,     /* proven gone                                                                     */
    STEP_KINDS
};

struct step {
    enum step_kind kind;
    struct instance *inst; /* NULL for STEP_WANT                                                      */
    int index;             /* host of LAUNCH, pool of ADMIT, MARK, EVICT, WEIGH                       */
    int weight;            /* WEIGH                                                                   */
    bool force;            /* LEAVE, EVICT: cut what it still holds                                   */
    char why[160];
};

struct plan {
    struct step *items;
    size_t count, cap;
    as_time due;           /* earliest time something of this group is due again                      */
    char blocked[320];     /* why fewer launches than wanted were planned, or ""                      */
};

const char *step_name(enum step_kind k);
/* False when out of memory; the plan is then incomplete and the next turn goes on. */
bool plan_group(const struct group *g, as_time now, struct plan *out);
void plan_fini(struct plan *p);

#endif
