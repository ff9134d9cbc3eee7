/* Operations as values: allocation and names. */
#include <stdlib.h>

#include "op.h"

struct whole {
    struct op op;
    struct op_call call;
};

const char *op_name(enum op_kind k)
{
    static const char *const names[OP_KINDS] = { "poll", "list",   "members", "probe", "create", "destroy",
                                                 "park", "unpark", "admit",   "drain", "evict",  "weight" };
    return (unsigned)k < OP_KINDS ? names[k] : "?";
}

struct op *op_new(enum op_kind kind, as_time now, as_time timeout)
{
    bool reads = kind == OP_POLL || kind == OP_LIST || kind == OP_MEMBERS;
    struct whole *w = calloc(1, reads ? sizeof w->op : sizeof *w);
    if (!w)
        return NULL;
    w->op.kind = kind;
    w->op.call = reads ? NULL : &w->call;
    w->op.submitted = now;
    w->op.deadline = now + timeout;
    w->op.instances.room = -1;
    return &w->op;
}

struct op *op_again(const struct op *op)
{
    struct op *again = op_new(op->kind, op->submitted, op->deadline - op->submitted);
    if (!again)
        return NULL;
    struct op_call *call = again->call;
    *again = *op;
    again->call = call;
    if (call)
        *call = *op->call;
    return again;
}

void op_free(struct op *op)
{
    if (!op)
        return;
    as_samples_fini(&op->samples);
    as_instances_fini(&op->instances);
    as_members_fini(&op->members);
    free(op);
}
