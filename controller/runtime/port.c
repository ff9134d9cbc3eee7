/* Ports: drivers on lanes. A call that outlives its deadline is abandoned: its outcome counts as unknown, its
 * thread keeps what it holds, and a port that allows one call at a time takes no other until it returns. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "port.h"

#define WRITE_WIDTH 16 /* threads per compute host; how many launch at once is the planner's */

struct port {
    atomic_int users;
    atomic_int stuck; /* abandoned calls that have not returned */
    bool one_call;    /* the driver takes one call at a time */
    struct cfg_hold *hold;
    void *state;
    void (*close)(void *self);
    struct lane *read, *write;
    struct as_owner owner;
    const struct as_source_driver *source;
    int (*list)(void *, as_time, struct as_instances *, struct as_error *);
    int (*create)(void *, as_time, const struct as_launch *, struct as_instance *, struct as_error *);
    int (*destroy)(void *, as_time, const struct as_instance *, struct as_error *);
    int (*park)(void *, as_time, const struct as_instance *, struct as_error *); /* or save */
    int (*unpark)(void *, as_time, const struct as_instance *, struct as_instance *, struct as_error *);
    int (*members)(void *, as_time, struct as_members *, struct as_error *);
    int (*admit)(void *, as_time, const struct as_member *, struct as_error *);
    int (*drain)(void *, as_time, const struct as_member *, struct as_error *);
    int (*evict)(void *, as_time, const struct as_member *, bool, struct as_error *);
    int (*weight)(void *, as_time, const struct as_member *, int, struct as_error *);
};

struct port_job {
    struct lane_job job;
    struct port *port;
    struct op *op;     /* the worker's while it runs */
    struct op *ticket; /* goes back in its place when the call is abandoned */
    void (*done)(void *arg, struct op *op);
    void *arg;
};

static struct port *port_new(struct cfg_hold *hold, size_t state_size, void (*close)(void *),
                             struct as_error *err)
{
    struct port *p = calloc(1, sizeof *p);
    void *state = calloc(1, state_size ? state_size : 1);
    if (!p || !state) {
        free(p);
        free(state);
        as_fail(err, AS_ENOMEM, "out of memory");
        return NULL;
    }
    p->users = 1;
    p->hold = cfg_hold_get(hold);
    p->state = state;
    p->close = close;
    return p;
}

void port_put(struct port *p)
{
    if (!p || --p->users > 0)
        return;
    p->close(p->state);
    free(p->state);
    cfg_hold_put(p->hold);
    free(p);
}

static struct lane *lane_for(struct lanes *ls, const char *role, const char *driver, const char *endpoint,
                             int width)
{
    char key[512];
    snprintf(key, sizeof key, "%s %s %s", role, driver, endpoint);
    return lanes_get(ls, key, width);
}

static struct port *port_ready(struct port *p, int rc, struct as_error *err)
{
    if (rc == AS_OK && p->read && p->write)
        return p;
    if (rc == AS_OK)
        as_fail(err, AS_ENOMEM, "out of memory");
    port_put(p);
    return NULL;
}

struct port *port_source(struct lanes *ls, struct cfg_hold *hold, const struct cfg_source *s,
                         const char *endpoint, struct as_error *err)
{
    struct port *p = port_new(hold, s->driver->state_size, s->driver->close, err);
    if (!p)
        return NULL;
    char who[AS_NAME_MAX + 160]; /* two sources of one server keep their own connections */
    snprintf(who, sizeof who, "%s %.150s", s->name, endpoint);
    p->one_call = true;
    p->source = s->driver;
    p->read = p->write = lane_for(ls, "source", s->driver->name, who, 1);
    if (s->driver->own)
        s->driver->own(p->state, cfg_of(hold)->name);
    return port_ready(p, s->driver->open(p->state, s->settings, endpoint, err), err);
}

struct port *port_compute(struct lanes *ls, struct cfg_hold *hold, const struct cfg_group *g,
                          const char *endpoint, bool act, struct as_error *err)
{
    const struct as_compute_driver *d = g->compute.driver;
    struct port *p = port_new(hold, d->state_size, d->close, err);
    if (!p)
        return NULL;
    p->owner = (struct as_owner){ cfg_of(hold)->name, g->name };
    p->list = d->list;
    p->create = act ? d->create : NULL;
    p->destroy = act ? d->destroy : NULL;
    p->park = act ? (g->compute.park == CFG_PARK_SAVE ? d->save : d->park) : NULL;
    p->unpark = act ? d->unpark : NULL;
    p->read = lane_for(ls, "compute-list", d->name, endpoint, 1);
    p->write = lane_for(ls, "compute-act", d->name, endpoint, WRITE_WIDTH);
    return port_ready(p, d->open(p->state, g->compute.settings, &p->owner, endpoint, err), err);
}

struct port *port_balancer(struct lanes *ls, struct cfg_hold *hold, const struct cfg_group *g,
                           const char *endpoint, bool act, struct as_error *err)
{
    const struct as_balancer_driver *d = g->balancer.driver;
    struct port *p = port_new(hold, d->state_size, d->close, err);
    if (!p)
        return NULL;
    p->owner = (struct as_owner){ cfg_of(hold)->name, g->name };
    p->one_call = true;
    p->members = d->list;
    p->admit = act ? d->admit : NULL;
    p->drain = act ? d->drain : NULL;
    p->evict = act ? d->evict : NULL;
    p->weight = act ? d->weight : NULL;
    p->read = p->write = lane_for(ls, "balancer", d->name, endpoint, 1);
    return port_ready(p, d->open(p->state, g->balancer.settings, &p->owner, endpoint, err), err);
}

/* --- calls ------------------------------------------------------------------------------------------- */

static int no_writer(struct as_error *err)
{
    return as_fail(err, AS_EUNSUP, "this run may not act");
}

static int create(struct port *p, struct op *op)
{
    const struct as_launch launch = { op->call->target.id, op->call->target.revision };
    return p->create(p->state, op->deadline, &launch, &op->call->created, &op->err);
}

static int call(struct port *p, struct op *op)
{
    as_time until = op->deadline;
    struct op_call *c = op->call;
    struct as_error *err = &op->err;
    switch (op->kind) {
    case OP_POLL: return p->source->poll(p->state, until, &op->samples, err);
    case OP_LIST: return p->list(p->state, until, &op->instances, err);
    case OP_MEMBERS: return p->members(p->state, until, &op->members, err);
    case OP_CREATE: return p->create ? create(p, op) : no_writer(err);
    case OP_DESTROY: return p->destroy ? p->destroy(p->state, until, &c->target, err) : no_writer(err);
    case OP_PARK: return p->park ? p->park(p->state, until, &c->target, err) : no_writer(err);
    case OP_UNPARK:
        return p->unpark ? p->unpark(p->state, until, &c->target, &c->created, err) : no_writer(err);
    case OP_ADMIT: return p->admit ? p->admit(p->state, until, &c->member, err) : no_writer(err);
    case OP_DRAIN: return p->drain ? p->drain(p->state, until, &c->member, err) : no_writer(err);
    case OP_EVICT: return p->evict ? p->evict(p->state, until, &c->member, op->force, err) : no_writer(err);
    case OP_WEIGHT:
        return p->weight ? p->weight(p->state, until, &c->member, c->member.weight, err) : no_writer(err);
    default: return as_fail(err, AS_EUNSUP, "no driver does '%s'", op_name(op->kind));
    }
}

static void job_run(struct lane_job *job)
{
    struct port_job *j = (struct port_job *)job;
    if (j->port->one_call && j->port->stuck > 0)
        j->op->rc = (enum as_rc)as_fail(&j->op->err, AS_EAGAIN, "an earlier call still hangs");
    else
        j->op->rc = (enum as_rc)call(j->port, j->op);
    if (j->op->rc != AS_OK && !j->op->err.msg[0])
        as_fail(&j->op->err, j->op->rc, "%s", as_rc_name(j->op->rc));
}

static void job_abandoned(struct lane_job *job)
{
    struct port_job *j = (struct port_job *)job;
    struct op *t = j->ticket;
    j->ticket = NULL;
    j->port->stuck++;
    t->rc = (enum as_rc)as_fail(&t->err, t->kind >= OP_FIRST_WRITE ? AS_EUNKNOWN : AS_EAGAIN,
                                "no answer by the deadline: the call hangs");
    j->done(j->arg, t);
}

static void job_release(struct lane_job *job) /* abandoned and returned at last, or never run */
{
    struct port_job *j = (struct port_job *)job;
    if (!j->ticket)
        j->port->stuck--;
    op_free(j->op);
    op_free(j->ticket);
    port_put(j->port);
    free(j);
}

void port_submit(struct port *p, struct op *op, void (*done)(void *arg, struct op *op), void *arg)
{
    struct port_job *j = calloc(1, sizeof *j);
    struct op *ticket = op_again(op); /* what comes back should the call hang */
    if (!j || !ticket) {
        free(j);
        op_free(ticket);
        op->rc = (enum as_rc)as_fail(&op->err, AS_EAGAIN, "out of memory");
        done(arg, op);
        return;
    }
    p->users++;
    *j = (struct port_job){ .port = p, .op = op, .ticket = ticket, .done = done, .arg = arg };
    j->job = (struct lane_job){
        .run = job_run, .abandoned = job_abandoned, .release = job_release, .deadline = op->deadline
    };
    lane_submit(op->kind == OP_LIST || op->kind == OP_MEMBERS || op->kind == OP_POLL ? p->read : p->write,
                &j->job);
}

void port_reap(struct lanes *ls)
{
    struct lane_job *job = lanes_reap(ls);
    while (job) {
        struct port_job *j = (struct port_job *)job;
        job = job->next;
        struct op *op = j->op;
        if (j->job.state == LANE_EXPIRED)
            op->rc = (enum as_rc)as_fail(&op->err, AS_EAGAIN, "it waited in the queue until its deadline");
        op_free(j->ticket);
        port_put(j->port);
        void (*done)(void *, struct op *) = j->done;
        void *arg = j->arg;
        free(j);
        done(arg, op);
    }
}
