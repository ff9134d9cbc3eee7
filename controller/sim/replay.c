/* replay: the engine in a world made of a trace and a queue. Instances are launched by the engine's own operations;
 * a create comes back when the instance would serve. It must never draw from anything but its seed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../config/loader.h"
#include "replay_parts.h"

#define START        ((as_time)1000000)
#define SOME_DAY     (1795000000000 + START) /* in November 2026: when the trace's times are no dates */
#define DELAY_MOST   1024
#define UNPARK_TAKES AS_SECOND /* until one that was suspended serves */

struct box {
    char id[AS_ID_MAX], revision[AS_REVISION_MAX];
    as_time dies_at;
    bool up, stopped;
    struct box *next;
};

struct due {
    as_time at;
    struct op *op;
    struct due *next;
};

struct measured { /* what the sources would tell, of one interval */
    as_time at;
    double rate, served_rate, sessions, queued, response_ms, error_rate, up, db_free, db_used;
};

struct world_state {
    const struct replay_params *p;
    struct engine *engine;
    struct replay *out;
    as_time now, accounted;
    int64_t wall; /* at START */
    struct chance chance;
    struct load load;
    struct box *boxes;
    struct due *queue; /* sorted by time */
    struct measured ring[DELAY_MOST];
    size_t ring_count;
    size_t sample_every;
};

/* --- chance -------------------------------------------------------------------------------------------- */

static double unit(struct world_state *w)
{
    return chance_unit(&w->chance);
}

static uint32_t random_u32(void *arg)
{
    struct world_state *w = arg;
    return (uint32_t)(chance_draw(&w->chance) >> 32);
}

static double boot_time(struct world_state *w)
{
    const struct replay_params *p = w->p;
    if (p->boot_count)
        return p->boots[(size_t)(unit(w) * (double)p->boot_count) % p->boot_count];
    return p->boot_sigma > 0 ? p->boot_s * exp(p->boot_sigma * chance_normal(&w->chance)) : p->boot_s;
}

static void turn(struct world_state *w)
{
    engine_turn(w->engine, w->now, w->wall + w->now - START);
}

/* --- the tier, step by step ------------------------------------------------------------------------------ */

static int count_up(const struct world_state *w)
{
    int n = 0;
    for (const struct box *b = w->boxes; b; b = b->next)
        n += b->up && !b->stopped;
    return n;
}

/* Lets the load of one control interval happen to what serves now. */
static void account(struct world_state *w, as_time until)
{
    struct replay *out = w->out;
    double dt = (double)(until - w->accounted) / 1000.0;
    if (dt <= 0)
        return;
    struct load_step l = load_step(&w->load, (double)(w->accounted - START) / 1000 + dt / 2, dt);
    int up = count_up(w), footprint = group_footprint(w->engine->groups);
    struct tier_step s;
    tier_run(&out->tier, l.arrived, up, dt, out->count % w->sample_every == 0, &s);
    out->instance_hours += footprint * dt / 3600;
    replay_note(out, &l);
    out->supply[out->count] = up;
    out->footprint[out->count++] = footprint;
    double used = w->p->db_per_instance * up;
    w->ring[w->ring_count++ % DELAY_MOST] =
        (struct measured){ until,       l.arrived, s.served / dt,
                           s.in_system, s.queued,  s.mean_s * 1000,
                           s.lost / dt, up,        fmax(0, w->p->db_connections - used),
                           used };
    w->accounted = until;
}

/* --- what the sources tell ------------------------------------------------------------------------------- */

static const struct measured *seen(const struct world_state *w)
{
    as_time newest = w->now - (as_time)(w->p->metric_delay_s * 1000);
    size_t oldest = w->ring_count > DELAY_MOST ? w->ring_count - DELAY_MOST : 0;
    for (size_t k = w->ring_count; k-- > oldest;)
        if (w->ring[k % DELAY_MOST].at <= newest)
            return &w->ring[k % DELAY_MOST];
    return NULL;
}

static bool value_of(const struct measured *m, const char *series, double *v)
{
    const struct {
        const char *name;
        double value;
    } all[] = {
        { "request_rate", m->rate },
        { "load", m->rate },
        { "served_rate", m->served_rate },
        { "sessions", m->sessions },
        { "sessions_active", m->sessions - m->queued },
        { "queue", m->queued },
        { "error_rate", m->error_rate },
        { "servers_up", m->up },
        { "response_time_ms", m->response_ms },
        { "connections_free", m->db_free },
        { "connections", m->db_used },
        { "connections_active", m->db_used },
    };
    if (strcmp(series, "sessions_per_server") == 0) {
        *v = m->up > 0 ? m->sessions / m->up : 0;
        return m->up > 0;
    }
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        if (strcmp(all[k].name, series) == 0) {
            *v = all[k].value;
            return true;
        }
    return false;
}

/* A series that the simulated world cannot give would silently be missing, or a limit of nothing. */
static int check_series(const struct engine *e, const struct replay_params *p, struct as_error *err)
{
    const struct measured any = { .up = 1 };
    double v;
    for (const struct source *s = e->sources; s; s = s->next)
        for (size_t k = 0; k < s->binding_count; k++) {
            const struct binding *b = s->bindings[k];
            bool database = strncmp(b->name, "connections", 11) == 0;
            if (!value_of(&any, b->name, &v))
                return as_fail(err, AS_EINVAL,
                               "the simulation cannot tell %s; it has request_rate, sessions, queue, "
                               "response_time_ms, error_rate, servers_up and connections",
                               as_series_name(b->series));
            if (database && p->db_connections <= 0)
                return as_fail(err, AS_EINVAL,
                               "%s needs a simulated database: say --db CONNECTIONS:PER_INSTANCE",
                               as_series_name(b->series));
        }
    return AS_OK;
}

static void answer_poll(struct world_state *w, struct op *op)
{
    const struct measured *m = seen(w);
    if (!m || unit(w) < w->p->metric_loss) {
        op->rc = (enum as_rc)as_fail(&op->err, AS_EAGAIN, "simulated: no answer");
        return;
    }
    op->measured = m->at;
    for (size_t k = 0; k < op->source->binding_count; k++) {
        const struct binding *b = op->source->bindings[k];
        double v;
        if (value_of(m, b->name, &v))
            as_samples_add(&op->samples, b->object, b->name, v, 1, NULL);
    }
}

/* --- operations ---------------------------------------------------------------------------------------------- */

static void later(struct world_state *w, struct op *op, as_time at)
{
    struct due **d = &w->queue, *mine = calloc(1, sizeof *mine);
    if (!mine)
        abort();
    while (*d && (*d)->at <= at)
        d = &(*d)->next;
    *mine = (struct due){ at, op, *d };
    *d = mine;
}

static void answer_list(struct world_state *w, struct op *op)
{
    for (const struct box *b = w->boxes; b; b = b->next) {
        struct as_instance *i = as_instances_add(&op->instances);
        if (!i)
            continue;
        snprintf(i->id, sizeof i->id, "%s", b->id);
        snprintf(i->revision, sizeof i->revision, "%s", b->revision);
        snprintf(i->address, sizeof i->address, "127.0.0.1");
        snprintf(i->detail, sizeof i->detail, "%s", b->stopped ? "lost" : "");
        i->port = 1;
        i->state = b->stopped ? AS_RUN_STOPPED : b->up ? AS_RUN_RUNNING : AS_RUN_PARKED;
    }
}

static void created(struct world_state *w, struct op *op)
{
    struct box *b = calloc(1, sizeof *b);
    if (!b)
        abort();
    snprintf(b->id, sizeof b->id, "%s", op->call->target.id);
    snprintf(b->revision, sizeof b->revision, "%s", op->call->target.revision);
    b->up = true;
    if (w->p->deaths_per_hour > 0)
        b->dies_at = w->now + (as_time)(-log(unit(w)) * 3600000.0 / w->p->deaths_per_hour);
    struct box **tail = &w->boxes; /* oldest first, as the engine has them: each is found at once */
    while (*tail)
        tail = &(*tail)->next;
    *tail = b;
    snprintf(op->call->created.address, sizeof op->call->created.address, "127.0.0.1");
    op->call->created.port = 1;
    w->out->launches++;
}

static void destroyed(struct world_state *w, const char *id)
{
    for (struct box **at = &w->boxes; *at; at = &(*at)->next)
        if (strcmp((*at)->id, id) == 0) {
            struct box *b = *at;
            *at = b->next;
            free(b);
            return;
        }
}

static void switch_box(struct world_state *w, const char *id, bool up)
{
    for (struct box *b = w->boxes; b; b = b->next)
        if (strcmp(b->id, id) == 0)
            b->up = up;
}

static void submit(void *arg, struct op *op)
{
    struct world_state *w = arg;
    if (op->kind == OP_UNPARK) {
        later(w, op, w->now + UNPARK_TAKES);
        return;
    }
    if (op->kind == OP_CREATE) {
        later(w, op, w->now + (as_time)(boot_time(w) * 1000));
        return;
    }
    if (op->kind == OP_POLL)
        answer_poll(w, op);
    else if (op->kind == OP_LIST)
        answer_list(w, op);
    else if (op->kind == OP_DESTROY)
        destroyed(w, op->call->target.id);
    else if (op->kind == OP_PARK)
        switch_box(w, op->call->target.id, false);
    engine_done(w->engine, op);
}

static void finish_launch(struct world_state *w, struct op *op)
{
    if (op->kind == OP_UNPARK) {
        switch_box(w, op->call->target.id, true);
    } else if (unit(w) < w->p->fail_launch) {
        w->out->failures++;
        op->rc = (enum as_rc)as_fail(&op->err, AS_EAGAIN, "simulated: the launch failed");
    } else {
        created(w, op);
    }
    engine_done(w->engine, op);
}

static void die(struct world_state *w)
{
    for (struct box *b = w->boxes; b; b = b->next)
        if (b->dies_at && b->dies_at <= w->now)
            b->stopped = true;
}

static void *bind_any_source(void *arg, struct cfg_hold *h, const struct cfg_source *s, const char *e,
                             struct as_error *err)
{
    (void)h, (void)s, (void)e, (void)err;
    return arg;
}

static void *bind_any_group(void *arg, struct cfg_hold *h, const struct cfg_group *g, const char *e,
                            struct as_error *err)
{
    (void)h, (void)g, (void)e, (void)err;
    return arg;
}

static void unbind(void *arg, void *port)
{
    (void)arg, (void)port;
}

/* --- the run --------------------------------------------------------------------------------------------------- */

static void watch(struct world_state *w, const struct group *g)
{
    if (*w->out->violation)
        return;
    if (group_footprint(g) > g->cfg->max)
        snprintf(w->out->violation, sizeof w->out->violation, "G1: footprint %d above max %d",
                 group_footprint(g), g->cfg->max);
    if (g->decision.at == w->now && g->decision.blind && g->decision.desired < g->decision.current)
        snprintf(w->out->violation, sizeof w->out->violation, "G3: scale-in without fresh data");
}

/* The first instances serve from the beginning: a shop that opens is no test of scaling. */
static void open_shop(struct world_state *w, struct engine *e, int n)
{
    struct replay_params now = *w->p;
    const struct replay_params *kept = w->p;
    now.boot_s = 0;
    now.boot_sigma = now.fail_launch = 0;
    now.boot_count = 0;
    w->p = &now;
    e->groups->desired = n;
    for (int k = 0; k < 6; k++) {
        turn(w);
        while (w->queue && w->queue->at <= w->now) {
            struct due *d = w->queue;
            w->queue = d->next;
            finish_launch(w, d->op);
            free(d);
        }
    }
    w->p = kept;
    w->out->launches = 0;
    e->groups->lead.count = e->groups->lead.next = 0;
    e->groups->boot.count = e->groups->boot.next = 0;
    e->groups->odds = (struct odds){ 0 };
    memset(&e->groups->damper, 0, sizeof e->groups->damper);
}

static void run(struct world_state *w, struct engine *e, as_time end)
{
    struct group *g = e->groups;
    size_t total = (size_t)((end - START) / e->cfg->interval);
    while (w->now < end) {
        as_time next = engine_next(e), boundary = w->accounted + e->cfg->interval;
        if (w->queue && w->queue->at < next)
            next = w->queue->at;
        next = next < w->now ? w->now : next > boundary ? boundary : next;
        w->now = next < end ? next : end;
        die(w);
        if (w->now >= boundary) {
            account(w, w->now);
            if (w->p->progress && w->out->count % 4096 == 0)
                w->p->progress(w->p->arg, (double)w->out->count / (double)total);
        }
        while (w->queue && w->queue->at <= w->now) {
            struct due *d = w->queue;
            w->queue = d->next;
            finish_launch(w, d->op);
            free(d);
        }
        turn(w);
        watch(w, g);
    }
}

static void drop_queue(struct world_state *w)
{
    while (w->queue) {
        struct due *d = w->queue;
        w->queue = d->next;
        op_free(d->op);
        free(d);
    }
    while (w->boxes) {
        struct box *b = w->boxes;
        w->boxes = b->next;
        free(b);
    }
}

int replay_run(struct cfg_hold *hold, const struct replay_params *p, struct replay *out, struct as_error *err)
{
    const struct cfg *c = cfg_of(hold);
    struct world_state *w = calloc(1, sizeof *w);
    struct journal *j = NULL;
    struct engine *e = NULL;
    double step_s = (double)c->interval / 1000.0;
    size_t steps = replay_steps(p, step_s);
    *out = (struct replay){ .step_s = step_s, .steps = steps };
    if (!w || steps == 0 || replay_results(out) != AS_OK) {
        free(w);
        replay_fini(out);
        return steps ? as_fail(err, AS_ENOMEM, "out of memory")
                     : as_fail(err, AS_EINVAL, "the trace is shorter than one control interval");
    }
    *w = (struct world_state){ .p = p,
                               .out = out,
                               .now = START,
                               .accounted = START,
                               .wall = trace_wall(p->trace) ? trace_wall(p->trace) : SOME_DAY,
                               .chance = chance_new(p->seed, 0),
                               .sample_every = steps / REPLAY_SAMPLES + 1 };
    tier_init(&out->tier, &p->tier);
    struct world world = { .arg = w,
                           .act = true,
                           .forgets = true,
                           .bind_source = bind_any_source,
                           .bind_compute = bind_any_group,
                           .bind_balancer = bind_any_group,
                           .unbind = unbind,
                           .submit = submit,
                           .random = random_u32 };
    int rc = journal_open(NULL, c->name, JOURNAL_MEMORY, &j, err);
    if (rc == AS_OK)
        rc = engine_new(&world, hold, j, START, w->wall, &e, err);
    if (rc == AS_OK) {
        w->engine = e;
        rc = check_series(e, p, err);
    }
    if (rc == AS_OK) {
        rc = load_init(&w->load, p, e->groups->cfg->min, e->groups->cfg->max);
    }
    if (rc == AS_OK)
        rc = past_teach(e->groups, p, w->wall, e->cfg->retention);
    if (rc == AS_OK) {
        open_shop(w, e, (int)load_demand_70(&w->load, load_rate(p, 0)));
        run(w, e, START + (as_time)steps * c->interval);
        out->outs = e->groups->scale_outs;
        out->ins = e->groups->scale_ins;
    }
    engine_free(e);
    drop_queue(w);
    journal_close(j);
    load_fini(&w->load);
    free(w);
    if (rc == AS_ENOMEM)
        as_fail(err, AS_ENOMEM, "out of memory");
    if (rc != AS_OK)
        replay_fini(out);
    return rc;
}

/* --- fitting a configuration ------------------------------------------------------------ */

bool replay_prepare(struct cfg *c, const char *group)
{
    size_t at = 0;
    while (at < c->group_count && group && strcmp(c->groups[at].name, group) != 0)
        at++;
    if (at >= c->group_count)
        return false;
    struct cfg_group picked = c->groups[at];
    c->groups[at] = c->groups[0];
    c->groups[0] = picked;
    while (c->group_count > 1)
        config_group_fini(&c->groups[--c->group_count]);
    struct cfg_group *g = &c->groups[0];
    g->health.kind = CFG_HEALTH_RUNNING;
    g->balancer.endpoint_count = 0;
    g->balancer.drain = 0;
    g->compute.endpoint_count = 1;
    g->compute.launches = 1000;
    g->compute.timeout = AS_DAY;
    return true;
}
