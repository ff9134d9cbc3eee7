/* The simulated world: an event queue over a virtual clock. It must never look into the engine to decide what an
 * operation does; it only looks there to check guarantees. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../controller/loop/standby.h"
#include "../../controller/sim/chance.h"
#include "simworld.h"
#include "wakes.h"

struct box { /* a container, a VM: what exists on a host */
    char id[AS_ID_MAX], group[AS_NAME_MAX], host[AS_ENDPOINT_MAX], revision[AS_REVISION_MAX];
    as_time ready_at;    /* answers from then on; 0 never */
    as_time dies_at;     /* 0 never */
    as_time vanishes_at; /* 0 never */
    bool stopped, parked;
    bool surprise; /* parked by what a process that is dead had asked for */
    uint16_t port;
    struct box *next;
};

struct seat { /* a member of a balancer's pool */
    char id[AS_ID_MAX], group[AS_NAME_MAX], pool[AS_ENDPOINT_MAX];
    bool draining;
    as_time admitted_at, quiet_at; /* UP from admitted_at + rise; sessions end at quiet_at */
    struct seat *next;
};

struct sim_port {
    char kind, name[AS_ENDPOINT_MAX], group[AS_NAME_MAX];
    struct sim_port *next;
};

struct delivery {
    as_time at;
    uint64_t order;
    struct op *op;
};

struct simworld {
    struct sim_params p;
    sim_metric metric;
    void *arg;
    struct engine *engine;
    as_time now;
    struct chance chance;
    uint64_t order, creates;
    uint16_t next_port;
    int epoch;
    struct box *boxes;
    struct seat *seats;
    struct sim_port *ports; /* freed at the end: deliveries under way name them */
    struct delivery *heap;
    size_t count, cap;
    char hung[AS_ENDPOINT_MAX], violation[320];
    struct op *ghosts;
};

/* --- chance and what it breaks ------------------------------------------------------------------------- */

static as_time jitter(struct simworld *s, as_time most)
{
    return most > 0 ? (as_time)(chance_unit(&s->chance) * (double)most) : 0;
}

static uint32_t random_u32(void *arg)
{
    return (uint32_t)(chance_draw(&((struct simworld *)arg)->chance) >> 32);
}

__attribute__((format(printf, 2, 3))) static void broken(struct simworld *s, const char *fmt, ...)
{
    if (s->violation[0])
        return;
    va_list ap;
    va_start(ap, fmt);
    int n = snprintf(s->violation, sizeof s->violation, "t=%lld ms: ", (long long)s->now);
    vsnprintf(s->violation + n, sizeof s->violation - (size_t)n, fmt, ap);
    va_end(ap);
}

/* --- the queue --------------------------------------------------------------------------------------- */

static bool before(const struct delivery *a, const struct delivery *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void push(struct simworld *s, struct op *op, as_time at)
{
    if (s->count == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 64;
        struct delivery *heap = realloc(s->heap, s->cap * sizeof *heap);
        if (!heap)
            abort();
        s->heap = heap;
    }
    size_t k = s->count++;
    struct delivery d = { at, s->order++, op };
    for (; k > 0 && before(&d, &s->heap[(k - 1) / 2]); k = (k - 1) / 2)
        s->heap[k] = s->heap[(k - 1) / 2];
    s->heap[k] = d;
}

static struct delivery pop(struct simworld *s)
{
    struct delivery top = s->heap[0], last = s->heap[--s->count];
    size_t k = 0;
    for (;;) {
        size_t c = 2 * k + 1;
        if (c >= s->count)
            break;
        if (c + 1 < s->count && before(&s->heap[c + 1], &s->heap[c]))
            c++;
        if (!before(&s->heap[c], &last))
            break;
        s->heap[k] = s->heap[c];
        k = c;
    }
    s->heap[k] = last;
    return top;
}

/* --- what exists -------------------------------------------------------------------------------------- */

static struct box *find_box(const struct simworld *s, const char *id)
{
    struct box *b = s->boxes;
    while (b && strcmp(b->id, id) != 0)
        b = b->next;
    return b;
}

static struct seat *find_seat(const struct simworld *s, const char *pool, const char *id)
{
    struct seat *m = s->seats;
    while (m && (strcmp(m->id, id) != 0 || strcmp(m->pool, pool) != 0))
        m = m->next;
    return m;
}

static bool answers(const struct simworld *s, const struct box *b)
{
    return b && !b->stopped && !b->parked && b->ready_at && s->now >= b->ready_at;
}

static bool seat_up(const struct simworld *s, const struct seat *m)
{
    return !m->draining && s->now >= m->admitted_at + s->p.member_rise_ms && answers(s, find_box(s, m->id));
}

int sim_alive(const struct simworld *s, const char *group)
{
    int n = 0;
    for (const struct box *b = s->boxes; b; b = b->next)
        n += strcmp(b->group, group) == 0;
    return n;
}

int sim_up(const struct simworld *s, const char *group)
{
    int n = 0;
    for (const struct seat *m = s->seats; m; m = m->next)
        n += strcmp(m->group, group) == 0 && seat_up(s, m);
    return n;
}

int sim_parked(const struct simworld *s, const char *group)
{
    int n = 0;
    for (const struct box *b = s->boxes; b; b = b->next)
        n += strcmp(b->group, group) == 0 && b->parked && !b->stopped;
    return n;
}

/* What was parked serves first: asked of the engine at the moment it asks for a new one. */
static void watch_create(struct simworld *s, const struct op *op)
{
    const struct group *g = op->group;
    int ready = 0, usable = standby_usable_count(g);
    for (const struct instance *i = g->instances; i; i = i->next)
        ready += inst_live(i) && !standby_fresh(i);
    if (g->unpark.fails == 0 && usable > 0 && ready < g->desired)
        broken(s, "%s is created while %d are parked and %d of %d serve or soon will", op->call->target.id,
               usable, ready, g->desired);
}

static void make_box(struct simworld *s, const struct op *op, const struct sim_port *port)
{
    struct box *b = find_box(s, op->call->target.id);
    if (b)
        return;
    b = calloc(1, sizeof *b);
    if (!b)
        abort();
    snprintf(b->id, sizeof b->id, "%s", op->call->target.id);
    snprintf(b->revision, sizeof b->revision, "%s", op->call->target.revision);
    snprintf(b->group, sizeof b->group, "%s", port->group);
    snprintf(b->host, sizeof b->host, "%s", port->name);
    b->port = s->next_port++;
    if (chance_unit(&s->chance) >= s->p.never_boots)
        b->ready_at = s->now + s->p.boot_ms + jitter(s, s->p.boot_jitter_ms);
    if (s->p.death_per_hour > 0)
        b->dies_at = s->now + (as_time)(3600000.0 / s->p.death_per_hour * 2 * chance_unit(&s->chance));
    if (s->p.crash_ms)
        b->dies_at = s->now + s->p.crash_ms;
    b->vanishes_at = s->p.vanish_ms ? s->now + s->p.vanish_ms : 0;
    b->next = s->boxes;
    s->boxes = b;
    const struct group *g = s->engine ? engine_group(s->engine, port->group) : NULL;
    if (g && sim_alive(s, port->group) > g->cfg->max)
        broken(s, "G1: %d instances of '%s' exist, max is %d", sim_alive(s, port->group), port->group,
               g->cfg->max);
}

static void unmake_box(struct simworld *s, const char *id)
{
    for (const struct seat *m = s->seats; m; m = m->next)
        if (strcmp(m->id, id) == 0 && seat_up(s, m))
            broken(s, "G5: %s is destroyed while it takes traffic", id);
    for (struct box **at = &s->boxes; *at; at = &(*at)->next)
        if (strcmp((*at)->id, id) == 0) {
            struct box *b = *at;
            *at = b->next;
            free(b);
            return;
        }
}

struct seat *sim_seat(struct simworld *s, const char *pool, const char *group, const char *id)
{
    struct seat *m = calloc(1, sizeof *m);
    if (!m)
        abort();
    snprintf(m->id, sizeof m->id, "%s", id);
    snprintf(m->pool, sizeof m->pool, "%s", pool);
    snprintf(m->group, sizeof m->group, "%s", group);
    m->admitted_at = s->now;
    m->next = s->seats;
    s->seats = m;
    return m;
}

static void take_seat(struct simworld *s, const struct sim_port *port, const char *id)
{
    struct seat *m = find_seat(s, port->name, id);
    const struct box *b = find_box(s, id);
    if (b && b->parked && !b->surprise)
        broken(s, "G4: %s is admitted while it is parked", id);
    if (b &&
        (!b->ready_at || s->now < b->ready_at)) /* one that answered once and died since is another matter */
        broken(s, "G4: %s is admitted before it answers", id);
    if (!m)
        m = sim_seat(s, port->name, port->group, id);
    m->draining = false;
}

static void drain_seat(struct simworld *s, struct seat *m)
{
    if (m->draining)
        return;
    if (seat_up(s, m) && sim_up(s, m->group) == 1)
        broken(s, "G5: %s is the last serving member and is drained", m->id);
    m->draining = true;
    m->quiet_at = s->now + s->p.session_ms / 2 + jitter(s, s->p.session_ms / 2);
}

static void leave_seat(struct simworld *s, struct seat *m, bool force)
{
    if (s->now < m->quiet_at && m->draining && !force)
        broken(s, "G5: %s leaves with sessions", m->id);
    for (struct seat **at = &s->seats; *at; at = &(*at)->next)
        if (*at == m) {
            *at = m->next;
            free(m);
            return;
        }
}

/* --- operations ---------------------------------------------------------------------------------------- */

static int agree(struct op *op)
{
    return op->rc = AS_OK;
}

static void do_poll(struct simworld *s, struct op *op)
{
    if (chance_unit(&s->chance) < s->p.fail_poll) {
        op->rc = (enum as_rc)as_fail(&op->err, AS_EAGAIN, "simulated: no answer");
        return;
    }
    for (size_t k = 0; k < op->source->binding_count; k++) {
        const struct binding *b = op->source->bindings[k];
        double v = 0;
        if (s->metric && s->metric(s->arg, as_series_name(b->series), s->now, &v))
            as_samples_add(&op->samples, b->object, b->name, v, 1, NULL);
        else if (s->p.tells_gaps)
            snprintf(op->err.msg, sizeof op->err.msg, "simulated: no %.100s", as_series_name(b->series));
    }
    agree(op);
}

/* What a host says of the room it has, which it only knows by what is there. */
static int room_of(const struct simworld *s, const char *host)
{
    const int *capacity = s->p.capacity;
    if (!capacity[0] && !capacity[1])
        return -1;
    int room = capacity[strcmp(host, "a") != 0];
    for (const struct box *b = s->boxes; b; b = b->next)
        room -= strcmp(b->host, host) == 0;
    return room > 0 ? room : 0;
}

static void do_list(struct simworld *s, struct op *op, const struct sim_port *port)
{
    for (struct box *b = s->boxes; b; b = b->next) {
        if (strcmp(b->host, port->name) != 0 || strcmp(b->group, port->group) != 0)
            continue;
        struct as_instance *i = as_instances_add(&op->instances);
        if (!i)
            abort();
        snprintf(i->id, sizeof i->id, "%s", b->id);
        snprintf(i->revision, sizeof i->revision, "%s", b->revision);
        snprintf(i->address, sizeof i->address, "127.0.0.1");
        snprintf(i->detail, sizeof i->detail, "%s", b->stopped ? "exited (1)" : "");
        i->port = b->port;
        i->state = b->stopped ? AS_RUN_STOPPED : b->parked ? AS_RUN_PARKED : AS_RUN_RUNNING;
    }
    op->instances.room = room_of(s, port->name);
    agree(op);
}

static void do_members(struct simworld *s, struct op *op, const struct sim_port *port)
{
    for (const struct seat *m = s->seats; m; m = m->next) {
        if (strcmp(m->pool, port->name) != 0 || strcmp(m->group, port->group) != 0)
            continue;
        struct as_member *o = as_members_add(&op->members);
        if (!o)
            abort();
        snprintf(o->id, sizeof o->id, "%s", m->id);
        o->state = m->draining ? AS_MEMBER_DRAINING : seat_up(s, m) ? AS_MEMBER_UP : AS_MEMBER_CHECKING;
        o->held = m->draining && s->now < m->quiet_at ? 1 : 0;
    }
    snprintf(op->members.epoch, sizeof op->members.epoch, "%d", s->epoch);
    agree(op);
}

static void do_create(struct simworld *s, struct op *op, const struct sim_port *port)
{
    double u = chance_unit(&s->chance);
    s->creates++;
    if (u < s->p.fail_create) {
        op->rc = (enum as_rc)as_fail(&op->err, AS_EAGAIN, "simulated: create refused");
        return;
    }
    if (u < s->p.fail_create + s->p.unknown_create) {
        if (u < s->p.fail_create + s->p.unknown_create / 2)
            make_box(s, op, port);
        op->rc = (enum as_rc)as_fail(&op->err, AS_EUNKNOWN, "simulated: no answer to a create");
        return;
    }
    make_box(s, op, port);
    snprintf(op->call->created.address, sizeof op->call->created.address, "127.0.0.1");
    op->call->created.port = find_box(s, op->call->target.id)->port;
    agree(op);
}

static void switch_box(struct simworld *s, const struct op *op, struct box *b)
{
    bool park = op->kind == OP_PARK;
    b->surprise = park && !op->group;
    for (const struct seat *m = s->seats; park && !b->surprise && m; m = m->next)
        if (strcmp(m->id, b->id) == 0 && (seat_up(s, m) || (m->draining && s->now < m->quiet_at)))
            broken(s, "G5: %s is parked while it is a member", b->id);
    b->parked = park;
}

static void do_switch(struct simworld *s, struct op *op)
{
    struct box *b = find_box(s, op->call->target.id);
    double u = chance_unit(&s->chance);
    if (u < s->p.unknown_switch) {
        if (b && !b->stopped && u < s->p.unknown_switch / 2)
            switch_box(s, op, b);
        op->rc = (enum as_rc)as_fail(&op->err, AS_EUNKNOWN, "simulated: no answer");
    } else if (!b) {
        op->rc = (enum as_rc)as_fail(&op->err, AS_ENOENT, "simulated: it is not there");
    } else if (b->stopped ||
               u < s->p.unknown_switch + (op->kind == OP_PARK ? s->p.fail_park : s->p.fail_unpark)) {
        op->rc = (enum as_rc)as_fail(&op->err, AS_EINVAL, "simulated: it does not run any more");
    } else {
        switch_box(s, op, b);
        agree(op);
    }
}

static void do_probe(struct simworld *s, struct op *op)
{
    for (const struct box *b = s->boxes; b; b = b->next)
        if (b->port == op->call->target.port && (answers(s, b) || (b->parked && s->p.accepts_parked))) {
            snprintf(op->call->detail, sizeof op->call->detail, "HTTP 200");
            agree(op);
            return;
        }
    snprintf(op->call->detail, sizeof op->call->detail, "connection refused");
    op->rc = AS_EAGAIN;
}

static void do_balancer(struct simworld *s, struct op *op, const struct sim_port *port)
{
    struct seat *m = find_seat(s, port->name, op->call->member.id);
    agree(op);
    if (op->kind == OP_ADMIT)
        take_seat(s, port, op->call->member.id);
    else if (op->kind == OP_DRAIN && m)
        drain_seat(s, m);
    else if (op->kind == OP_WEIGHT)
        return;
    else if (op->kind == OP_DRAIN)
        op->rc = (enum as_rc)as_fail(&op->err, AS_ENOENT, "no such member");
    else if (m && s->now < m->quiet_at && m->draining && !op->force)
        op->rc = (enum as_rc)as_fail(&op->err, AS_EAGAIN, "it still holds sessions");
    else if (m)
        leave_seat(s, m, op->force);
}

static void carry_out(struct simworld *s, struct op *op)
{
    const struct sim_port *port = op->port;
    if (op->deadline <= op->submitted) {
        op->rc = (enum as_rc)as_fail(&op->err, AS_EAGAIN, "simulated: it has no time");
        return;
    }
    bool fails = op->kind != OP_POLL && op->kind != OP_CREATE && op->kind != OP_PROBE &&
                 chance_unit(&s->chance) < s->p.fail_call;
    if (fails || (op->kind == OP_EVICT && s->p.fail_evict > 0 && chance_unit(&s->chance) < s->p.fail_evict)) {
        op->rc = (enum as_rc)as_fail(&op->err, AS_EAGAIN, "simulated: refused");
        return;
    }
    switch (op->kind) {
    case OP_POLL: do_poll(s, op); break;
    case OP_LIST: do_list(s, op, port); break;
    case OP_MEMBERS: do_members(s, op, port); break;
    case OP_PROBE: do_probe(s, op); break;
    case OP_CREATE: do_create(s, op, port); break;
    case OP_PARK:
    case OP_UNPARK: do_switch(s, op); break;
    case OP_DESTROY:
        unmake_box(s, op->call->target.id);
        agree(op);
        break;
    default: do_balancer(s, op, port); break;
    }
}

static void submit(void *arg, struct op *op)
{
    struct simworld *s = arg;
    const struct sim_port *port = op->port;
    if (op->kind == OP_CREATE)
        watch_create(s, op);
    as_time took = op->kind == OP_CREATE ? s->p.create_ms + jitter(s, s->p.create_jitter_ms) : s->p.call_ms;
    if (port && s->hung[0] && strcmp(port->name, s->hung) == 0)
        took = op->deadline - s->now; /* judged at delivery: it may hang no more by then */
    push(s, op, s->now + took);
}

/* A write that a hung host has received is carried out when it goes on, long after anybody waits for it. */
static void haunt(struct simworld *s, const struct op *op)
{
    struct op *ghost = op->kind >= OP_FIRST_WRITE ? op_again(op) : NULL;
    if (!ghost)
        return;
    ghost->group = NULL;
    ghost->source = NULL;
    ghost->inst = NULL;
    ghost->next = s->ghosts;
    s->ghosts = ghost;
}

static void deliver(struct simworld *s)
{
    struct delivery d = pop(s);
    const struct sim_port *port = d.op->port;
    s->now = d.at > s->now ? d.at : s->now;
    bool hangs = port && s->hung[0] && strcmp(port->name, s->hung) == 0;
    if (hangs && s->now < d.op->deadline) { /* nobody knows before its time is over */
        push(s, d.op, d.op->deadline);
        return;
    }
    if (hangs)
        haunt(s, d.op);
    if (hangs)
        d.op->rc = (enum as_rc)as_fail(&d.op->err, d.op->kind >= OP_FIRST_WRITE ? AS_EUNKNOWN : AS_EAGAIN,
                                       "simulated: it hangs");
    else
        carry_out(s, d.op);
    if (s->engine && (d.op->group || d.op->source)) /* else it was asked for by a process that is dead */
        engine_done(s->engine, d.op);
    else
        op_free(d.op);
}

/* --- binding -------------------------------------------------------------------------------------------- */

static void *new_port(struct simworld *s, char kind, const char *name, const char *group,
                      struct as_error *err)
{
    struct sim_port *p = calloc(1, sizeof *p);
    if (!p) {
        as_fail(err, AS_ENOMEM, "out of memory");
        return NULL;
    }
    p->kind = kind;
    snprintf(p->name, sizeof p->name, "%s", name);
    snprintf(p->group, sizeof p->group, "%s", group);
    p->next = s->ports;
    s->ports = p;
    return p;
}

static void *bind_source(void *arg, struct cfg_hold *hold, const struct cfg_source *c, const char *endpoint,
                         struct as_error *err)
{
    (void)hold;
    return new_port(arg, 's', *endpoint ? endpoint : c->name, "", err);
}

static void *bind_compute(void *arg, struct cfg_hold *hold, const struct cfg_group *g, const char *endpoint,
                          struct as_error *err)
{
    (void)hold;
    return new_port(arg, 'c', endpoint, g->name, err);
}

static void *bind_balancer(void *arg, struct cfg_hold *hold, const struct cfg_group *g, const char *endpoint,
                           struct as_error *err)
{
    (void)hold;
    return new_port(arg, 'b', endpoint, g->name, err);
}

static void unbind(void *arg, void *port)
{
    (void)arg, (void)port;
}

struct world sim_world(struct simworld *s)
{
    return (struct world){ .arg = s,
                           .act = true,
                           .bind_source = bind_source,
                           .bind_compute = bind_compute,
                           .bind_balancer = bind_balancer,
                           .unbind = unbind,
                           .submit = submit,
                           .random = random_u32 };
}

/* --- running --------------------------------------------------------------------------------------------- */

struct simworld *sim_new(const struct sim_params *p, sim_metric metric, void *arg)
{
    struct simworld *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->p = *p;
    s->p.call_ms = p->call_ms ? p->call_ms : 2;
    s->p.create_ms = p->create_ms ? p->create_ms : 300;
    s->p.boot_ms = p->boot_ms ? p->boot_ms : 500;
    s->p.member_rise_ms = p->member_rise_ms ? p->member_rise_ms : 1000;
    s->metric = metric;
    s->arg = arg;
    s->chance = chance_new(p->seed, 0);
    s->now = 1000000; /* not 0: a time of 0 means "never" */
    s->next_port = 1024;
    return s;
}

void sim_free(struct simworld *s)
{
    if (!s)
        return;
    while (s->count)
        op_free(pop(s).op);
    while (s->ghosts) {
        struct op *ghost = s->ghosts;
        s->ghosts = ghost->next;
        op_free(ghost);
    }
    while (s->boxes) {
        struct box *b = s->boxes;
        s->boxes = b->next;
        free(b);
    }
    while (s->seats) {
        struct seat *m = s->seats;
        s->seats = m->next;
        free(m);
    }
    while (s->ports) {
        struct sim_port *p = s->ports;
        s->ports = p->next;
        free(p);
    }
    free(s->heap);
    free(s);
}

void sim_attach(struct simworld *s, struct engine *e)
{
    s->engine = e;
    if (e)
        return;
    for (size_t k = 0; k < s->count; k++) { /* nobody is left to hear of these; the world still does them */
        s->heap[k].op->inst = NULL;
        s->heap[k].op->group = NULL;
        s->heap[k].op->source = s->heap[k].op->kind == OP_POLL ? s->heap[k].op->source : NULL;
    }
    size_t n = s->count; /* a poll or a probe without an engine has no effect: drop them */
    struct delivery *old = s->heap;
    s->heap = NULL;
    s->count = s->cap = 0;
    for (size_t k = 0; k < n; k++)
        if (old[k].op->kind >= OP_FIRST_WRITE)
            push(s, old[k].op, old[k].at);
        else
            op_free(old[k].op);
    free(old);
}

static void age(struct simworld *s)
{
    for (struct box *b = s->boxes; b; b = b->next)
        if (b->dies_at && s->now >= b->dies_at)
            b->stopped = true;
    for (struct box **at = &s->boxes; *at;) {
        struct box *b = *at;
        if (!b->vanishes_at || s->now < b->vanishes_at) {
            at = &b->next;
            continue;
        }
        *at = b->next;
        free(b);
    }
}

static void watch(struct simworld *s)
{
    const struct group *late = wakes_oversleep(s->engine);
    if (late)
        broken(s, "'%s' is not looked at when it is due", late->cfg->name);
    for (const struct group *g = s->engine->groups; g; g = g->next) {
        if (group_footprint(g) > g->cfg->max)
            broken(s, "G1: the footprint of '%s' is %d, max is %d", g->cfg->name, group_footprint(g),
                   g->cfg->max);
        if (g->decision.at == s->now && g->decision.blind && g->decision.desired < g->decision.current &&
            g->decision.desired < g->cfg->max)
            broken(s, "G3: '%s' scales in without fresh data", g->cfg->name);
    }
}

void sim_run(struct simworld *s, as_time until, void (*each)(void *arg), void *arg)
{
    for (;;) {
        as_time next = s->engine ? engine_next(s->engine) : INT64_MAX;
        if (s->count && s->heap[0].at <= next)
            next = s->heap[0].at;
        if (next > until)
            break;
        s->now = next > s->now ? next : s->now;
        age(s);
        while (s->count && s->heap[0].at <= s->now)
            deliver(s);
        if (!s->engine)
            continue;
        engine_turn(s->engine, s->now, sim_wall(s));
        watch(s);
        if (each)
            each(arg);
    }
    s->now = until > s->now ? until : s->now;
}

as_time sim_now(const struct simworld *s)
{
    return s->now;
}

int64_t sim_wall(const struct simworld *s)
{
    return 1795000000000 + s->now; /* some day in November 2026 */
}

struct sim_params *sim_tune(struct simworld *s)
{
    return &s->p;
}

static void end_some(struct simworld *s, const char *group, int n, bool only_parked)
{
    for (struct box *b = s->boxes; b && n > 0; b = b->next)
        if (strcmp(b->group, group) == 0 && (b->parked || !only_parked) && !b->stopped) {
            b->stopped = true;
            n--;
        }
}

void sim_kill(struct simworld *s, const char *group, int n)
{
    end_some(s, group, n, false);
}

void sim_kill_parked(struct simworld *s, const char *group, int n)
{
    end_some(s, group, n, true);
}

void sim_restart_host(struct simworld *s, const char *host, bool wakes)
{
    for (struct box *b = s->boxes; b; b = b->next)
        if (strcmp(b->host, host) == 0 && b->parked) {
            b->stopped = b->stopped || !wakes;
            b->parked = !wakes;
        }
}

/* Going on, it does at once what it was asked for meanwhile. */
static void go_on(struct simworld *s, const char *host)
{
    while (s->ghosts) {
        struct op *ghost = s->ghosts;
        s->ghosts = ghost->next;
        ghost->next = NULL;
        push(s, ghost, s->now + s->p.create_ms + jitter(s, s->p.create_jitter_ms));
    }
    size_t n = s->count;
    struct delivery *old = s->heap;
    s->heap = NULL;
    s->count = s->cap = 0;
    for (size_t k = 0; k < n; k++) {
        const struct sim_port *port = old[k].op->port;
        bool waited = port && strcmp(port->name, host) == 0 && old[k].at > s->now + s->p.create_ms;
        push(s, old[k].op, waited ? s->now + s->p.create_ms : old[k].at);
    }
    free(old);
}

void sim_hang_host(struct simworld *s, const char *host, bool hung)
{
    char before[sizeof s->hung];
    if ((strcmp(s->hung, host) == 0) == hung)
        return;
    memcpy(before, s->hung, sizeof before);
    snprintf(s->hung, sizeof s->hung, "%s", hung ? host : "");
    if (before[0]) /* one at a time: another that hung goes on */
        go_on(s, before);
}

void sim_lose_members(struct simworld *s)
{
    while (s->seats) {
        struct seat *m = s->seats;
        s->seats = m->next;
        free(m);
    }
    s->epoch++;
}

int sim_seated(const struct simworld *s, const char *pool)
{
    int n = 0;
    for (const struct seat *m = s->seats; m; m = m->next)
        n += strcmp(m->pool, pool) == 0;
    return n;
}

uint64_t sim_creates(const struct simworld *s)
{
    return s->creates;
}

const char *sim_violation(const struct simworld *s)
{
    return s->violation;
}
