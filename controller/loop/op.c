/* Operations as values: allocation and names. */
#include <stdlib.h>

#include "op.h"

const char *op_name(enum op_kind k)
{
    static const char *const names[OP_KINDS] = { "poll", "list",   "members", "probe", "create", "destroy",
                                                 "park", "unpark", "admit",   "drain", "evict",  "weight" };
    return (unsigned)k < OP_KINDS ? names[k] : "?";
}

struct op *op_new(enum op_kind kind, as_time now, as_time timeout)
{
    struct op *op = calloc(1, sizeof *op);
    if (!op)
        return NULL;
    op->kind = kind;
    op->submitted = now;
    op->deadline = now + timeout;
    op->instances.room = -1;
    return op;
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
