/* A balancer driver routes: it keeps one pool (a backend) of one balancer (endpoint) in step.
 *
 * A balancer is anything that spreads work over members: sessions over web servers, hash slots over
 * cache nodes. admit and drain may take long to have effect; `list` says where each member stands
 * and what it still holds. list yields all members of the pool, foreign ones too; the core
 * calls the writers only with ids it created itself.
 *
 * Threads: one call at a time for one `self`. */
#ifndef AUTOSCALE_BALANCER_H
#define AUTOSCALE_BALANCER_H

#include "autoscale/compute.h"

#define AS_MEMBERS_CAP 20000

enum as_member_state {
    AS_MEMBER_UP,       /* takes new work; its checks pass (or has none)                           */
    AS_MEMBER_CHECKING, /* admitted, checks have not passed yet: no work                           */
    AS_MEMBER_DOWN,     /* admitted, checks fail: no work                                          */
    AS_MEMBER_DRAINING, /* keeps what it holds, gets nothing new                                   */
    AS_MEMBER_OUT,      /* registered but out of rotation (maintenance)                            */
};

struct as_member {
    char id[AS_ID_MAX];
    enum as_member_state state; /* set by list                                                     */
    int weight;                 /* 1..256; admit: 0 is the driver's usual                            */
    double held;                /* sessions (or slots) it holds now, set by list                   */
    uint16_t port;
    double response_ms;         /* mean time of its recent work, set by list; 0: not known         */
    double response_over;       /* pieces of work that mean runs over, set by list; 0: not known   */
    double served;              /* work it has finished so far, set by list; 0: not known          */
    char address[AS_ADDRESS_MAX];
};

struct as_members {             /* zero-initialised by the caller, freed with as_members_fini      */
    struct as_member *items;
    size_t count, cap;
    char epoch[48];             /* changes when the balancer lost its run-time state (restart)     */
};

/* Appends a zeroed item and returns it, or NULL (out of memory, or AS_MEMBERS_CAP reached). */
struct as_member *as_members_add(struct as_members *list);
void as_members_fini(struct as_members *list);

struct as_balancer_driver {
    const char *name, *summary;
    const struct as_option *options;
    const char *endpoints;      /* AS_OPT_STRINGS option that lists the balancers, kept in step    */
    const char *pool;           /* option that names the pool: it cannot change under its members      */
    size_t state_size;
    bool times_members;         /* list tells response_ms: weighting = "load" has something to go by */

    int (*open)(void *self, const struct as_settings *settings, const struct as_owner *owner,
                const char *endpoint, struct as_error *err);                            /* offline */
    /* AS_EINVAL when the pool cannot be driven at run time, with the reason: plan and start refuse. */
    int (*list)(void *self, as_time deadline, struct as_members *out, struct as_error *err);
    /* Registers the member if it is missing and puts it in rotation; work reaches it only after the
     * balancer's own checks pass. Also takes a draining member back. Idempotent. */
    int (*admit)(void *self, as_time deadline, const struct as_member *m, struct as_error *err);
    /* No new work; what it holds goes on. AS_ENOENT when it is not a member. Idempotent. */
    int (*drain)(void *self, as_time deadline, const struct as_member *m, struct as_error *err);
    /* Takes the member out of the pool for good. AS_EAGAIN while it still holds work, unless `force`,
     * which cuts it. AS_OK when it is no member. */
    int (*evict)(void *self, as_time deadline, const struct as_member *m, bool force, struct as_error *err);
    int (*weight)(void *self, as_time deadline, const struct as_member *m, int weight, struct as_error *err);
                                                  /* NULL when not supported                       */
    void (*close)(void *self);
};

#endif
