/* An operation: one blocking call of a driver, or one health check, as values. The engine fills the upper
 * part and hands it to the world; the world fills the lower part and hands it back, exactly once,
 * on the loop thread. An operation that outlives its deadline comes back with AS_EUNKNOWN (a write) or
 * AS_EAGAIN (never started). */
#ifndef LOOP_OP_H
#define LOOP_OP_H

#include "autoscale/balancer.h"
#include "autoscale/source.h"

enum op_kind {
    OP_POLL,    /* source:   poll                                                                     */
    OP_LIST,    /* compute:  list                                                                     */
    OP_MEMBERS, /* balancer: list                                                                     */
    OP_PROBE,   /* health check                                                                       */
    OP_CREATE,  /* compute writers, from here on only with permission to act                          */
    OP_DESTROY,
    OP_PARK,
    OP_UNPARK,
    OP_ADMIT,   /* balancer writers                                                                   */
    OP_DRAIN,
    OP_EVICT,
    OP_WEIGHT,
    OP_KINDS
};
#define OP_FIRST_WRITE OP_CREATE

struct instance;
struct group;
struct source;

struct op {
    enum op_kind kind;
    void *port;              /* the bound driver, as the world's bind gave it; NULL for OP_PROBE      */
    struct source *source;   /* whose it is; the engine's                                             */
    struct group *group;
    struct instance *inst;   /* NULL for lists, polls and orphans                                     */
    int index;               /* feed, host or pool                                                    */
    as_time submitted, deadline;
    as_time measured;        /* POLL: when its values held; 0: when they came, as no driver can tell   */
    struct as_instance target; /* id, revision (CREATE); all (DESTROY, PARK, UNPARK); address and port (PROBE) */
    struct as_member member;   /* ADMIT, DRAIN, EVICT, WEIGHT                                          */
    const struct cfg_health *health; /* PROBE                                                         */
    bool force;                /* EVICT                                                               */

    enum as_rc rc;
    struct as_error err;
    struct as_samples samples;
    struct as_instances instances;
    struct as_members members;
    struct as_instance created;
    char detail[96];           /* PROBE: what was seen                                                */
    struct op *next;
};

const char *op_name(enum op_kind k);
struct op *op_new(enum op_kind kind, as_time now, as_time timeout);
void op_free(struct op *op);

#endif
