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

struct op_call { /* what a write or a health check is about; polls and lists, most of all calls, have none     */
    struct as_instance target; /* id, revision (CREATE); all (DESTROY, PARK, UNPARK); address and port (PROBE) */
    struct as_member member;   /* ADMIT, DRAIN, EVICT, WEIGHT                                          */

    struct as_instance created;
    char detail[96];           /* PROBE: what was seen                                                */
};

struct op {
    enum op_kind kind;
    int index;               /* feed, host or pool                                                    */
    bool force;              /* EVICT                                                                 */
    void *port;              /* the bound driver, as the world's bind gave it; NULL for OP_PROBE      */
    struct source *source;   /* whose it is; the engine's                                             */
    struct group *group;
    struct instance *inst;   /* NULL for lists, polls and orphans                                     */
    as_time submitted, deadline;
    as_time measured;        /* POLL: when its values held; 0: when they came, as no driver can tell   */
    const struct cfg_health *health; /* PROBE                                                         */
    struct op_call *call;    /* of the same memory; NULL for POLL, LIST, MEMBERS                      */

    enum as_rc rc;
    struct as_samples samples;
    struct as_instances instances;
    struct as_members members;
    struct op *next;
    struct as_error err;
};

const char *op_name(enum op_kind k);
struct op *op_new(enum op_kind kind, as_time now, as_time timeout);
/* A second one of the same request, as yet without an answer; NULL: out of memory. */
struct op *op_again(const struct op *op);
void op_free(struct op *op);

#endif
