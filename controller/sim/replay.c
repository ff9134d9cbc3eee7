/* replay: the engine in a world made of a trace and a queue. Instances are launched by the engine's own operations;
 * a create comes back when the instance would serve. It must never draw from anything but its seed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../config/loader.h"
#include "replay.h"

#define START        ((as_time)1000000)
#define SAMPLES_MOST 50000 /* steps whose response times are looked at */
#define DELAY_MOST   1024

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
    uint64_t random;
    struct box *boxes;
    struct due *queue; /* sorted by time */
    struct measured ring[DELAY_MOST];
    size_t ring_count;
    size_t sample_every;
    double *carries; /* by n instances */
    double minute_over, minute_all;
    int minute_steps;
};

/* --- chance -------------------------------------------------------------------------------------------- */

static uint64_t draw(struct world_state *w)
{
    w->random ^= w->random >> 12;
    w->random ^= w->random << 25;
    w->random ^= w->random >> 27;
    return w->random * 2685821657736338717u;
}

static double unit(struct world_state *w)
{
    return ((double)(draw(w) >> 11) + 0.5) / 9007199254740992.0;
}

static double normal(struct world_state *w)
{
    double u = unit(w), v = unit(w);
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

static uint32_t random_u32(void *arg)
{
    return (uint32_t)(draw(arg) >> 32);
}

static double boot_time(struct world_state *w)
{
    const struct replay_params *p = w->p;
    if (p->boot_count)
        return p->boots[(size_t)(unit(w) * (double)p->boot_count) % p->boot_count];
    return p->boot_sigma > 0 ? p->boot_s * exp(p->boot_sigma * normal(w)) : p->boot_s;
}

/* Arrivals of a step: Poisson, by its normal limit where that is indistinguishable. */
static double arrivals(struct world_state *w, double mean)
{
    if (!w->p->poisson || mean <= 0)
        return mean;
    if (mean > 500)
        return fmax(0, floor(mean + sqrt(mean) * normal(w) + 0.5));
    double limit = exp(-mean), product = unit(w);
    int n = 0;
    while (product > limit && n < 2000) {
        product *= unit(w);
        n++;
    }
    return n;
}

/* --- the tier, step by step ------------------------------------------------------------------------------ */

static double load_at(const struct replay_params *p, as_time now)
{
    return p->scale * trace_at(p->trace, (double)(now - START) / 1000.0 * p->speed, p->between);
}

static int count_up(const struct world_state *w)
{
    int n = 0;
    for (const struct box *b = w->boxes; b; b = b->next)
        n += b->up && !b->stopped;
    return n;
}

static void end_minute(struct world_state *w)
{
    w->out->minutes++;
    w->out->miss_minutes += w->minute_all > 0 && w->minute_over > 0.01 * w->minute_all;
    w->minute_over = w->minute_all = 0;
}

/* The least number of instances that carries the rate within the SLO: by bisection in what n of them carry. */
static double demand_for(const struct world_state *w, const struct cfg_group *g, double rate)
{
    int low = g->min > 1 ? g->min : 1, high = g->max;
    while (low < high) {
        int mid = low + (high - low) / 2;
        if (w->carries[mid] >= rate)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

static double demand_at_70(const struct replay_params *p, const struct cfg_group *g, double rate)
{
    double n = ceil(rate / (p->tier.capacity * 0.7) - 1e-9);
    return n < g->min ? g->min : n > g->max ? g->max : n < 1 ? 1 : n;
}

static int measure_capacity(struct world_state *w, const struct cfg_group *g)
{
    w->carries = calloc((size_t)g->max + 1, sizeof *w->carries);
    for (int n = 1; w->carries && n <= g->max; n++)
        w->carries[n] = tier_carries(&w->p->tier, n);
    return w->carries ? AS_OK : AS_ENOMEM;
}

static void note_minutes(struct world_state *w, const struct tier_step *s, double dt)
{
    double left = dt;
    while (left > 1e-9) { /* a step may be longer than a minute */
        double part = left < 60 ? left : 60;
        w->minute_over += s->over * part / dt;
        w->minute_all += (s->served + s->lost) * part / dt;
        left -= part;
        w->minute_steps += (int)(part * 1000 + 0.5);
        if (w->minute_steps >= 60000) {
            end_minute(w);
            w->minute_steps = 0;
        }
    }
}

/* Lets the load of one control interval happen to what serves now. */
static void account(struct world_state *w, const struct cfg_group *g, as_time until)
{
    struct replay *out = w->out;
    double dt = (double)(until - w->accounted) / 1000.0;
    if (dt <= 0)
        return;
    double rate = load_at(w->p, w->accounted + (until - w->accounted) / 2);
    int up = count_up(w), footprint = group_footprint(w->engine->groups);
    struct tier_step s;
    double arrived = arrivals(w, rate * dt);
    tier_run(&out->tier, arrived / dt, up, dt, out->count % w->sample_every == 0, &s);
    note_minutes(w, &s, dt);
    out->instance_hours += footprint * dt / 3600;
    out->load[out->count] = rate;
    out->demand[out->count] = demand_for(w, g, rate);
    out->demand70[out->count] = demand_at_70(w->p, g, rate);
    out->supply[out->count] = up;
    out->footprint[out->count++] = footprint;
    double used = w->p->db_per_instance * up;
    w->ring[w->ring_count++ % DELAY_MOST] =
        (struct measured){ until,       arrived / dt, s.served / dt,
                           s.in_system, s.queued,     s.mean_s * 1000,
                           s.lost / dt, up,           fmax(0, w->p->db_connections - used),
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
                               b->metric);
            if (database && p->db_connections <= 0)
                return as_fail(err, AS_EINVAL,
                               "%s needs a simulated database: say --db CONNECTIONS:PER_INSTANCE", b->metric);
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
        struct as_instance *i = b->up || b->stopped ? as_instances_add(&op->instances) : NULL;
        if (!i)
            continue;
        snprintf(i->id, sizeof i->id, "%s", b->id);
        snprintf(i->revision, sizeof i->revision, "%s", b->revision);
        snprintf(i->address, sizeof i->address, "127.0.0.1");
        snprintf(i->detail, sizeof i->detail, "%s", b->stopped ? "lost" : "");
        i->port = 1;
        i->state = b->stopped ? AS_RUN_STOPPED : AS_RUN_RUNNING;
    }
}

static void created(struct world_state *w, struct op *op)
{
    struct box *b = calloc(1, sizeof *b);
    if (!b)
        abort();
    snprintf(b->id, sizeof b->id, "%s", op->target.id);
    snprintf(b->revision, sizeof b->revision, "%s", op->target.revision);
    b->up = true;
    if (w->p->deaths_per_hour > 0)
        b->dies_at = w->now + (as_time)(-log(unit(w)) * 3600000.0 / w->p->deaths_per_hour);
    b->next = w->boxes;
    w->boxes = b;
    snprintf(op->created.address, sizeof op->created.address, "127.0.0.1");
    op->created.port = 1;
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

static void submit(void *arg, struct op *op)
{
    struct world_state *w = arg;
    if (op->kind == OP_CREATE) {
        later(w, op, w->now + (as_time)(boot_time(w) * 1000));
        return;
    }
    if (op->kind == OP_POLL)
        answer_poll(w, op);
    else if (op->kind == OP_LIST)
        answer_list(w, op);
    else if (op->kind == OP_DESTROY)
        destroyed(w, op->target.id);
    engine_done(w->engine, op);
}

static void finish_create(struct world_state *w, struct op *op)
{
    if (unit(w) < w->p->fail_launch) {
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

static int results(struct replay *out, size_t steps)
{
    out->load = calloc(steps, sizeof(double));
    out->demand = calloc(steps, sizeof(double));
    out->demand70 = calloc(steps, sizeof(double));
    out->supply = calloc(steps, sizeof(double));
    out->footprint = calloc(steps, sizeof(double));
    return out->load && out->demand && out->demand70 && out->supply && out->footprint ? AS_OK : AS_ENOMEM;
}

void replay_fini(struct replay *r)
{
    free(r->load);
    free(r->demand);
    free(r->demand70);
    free(r->supply);
    free(r->footprint);
    *r = (struct replay){ 0 };
}

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
        engine_turn(e, w->now, 1795000000000 + w->now);
        while (w->queue && w->queue->at <= w->now) {
            struct due *d = w->queue;
            w->queue = d->next;
            finish_create(w, d->op);
            free(d);
        }
    }
    w->p = kept;
    w->out->launches = 0;
    e->groups->lead_count = e->groups->lead_next = 0;
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
            account(w, g->cfg, w->now);
            if (w->p->progress && w->out->count % 4096 == 0)
                w->p->progress(w->p->arg, (double)w->out->count / (double)total);
        }
        while (w->queue && w->queue->at <= w->now) {
            struct due *d = w->queue;
            w->queue = d->next;
            finish_create(w, d->op);
            free(d);
        }
        engine_turn(e, w->now, 1795000000000 + w->now);
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

static size_t steps_of(const struct replay_params *p, double step_s)
{
    return (size_t)((double)p->trace->count * p->trace->step_s / p->speed / step_s);
}

int replay_run(struct cfg_hold *hold, const struct replay_params *p, struct replay *out, struct as_error *err)
{
    const struct cfg *c = cfg_of(hold);
    struct world_state *w = calloc(1, sizeof *w);
    struct journal *j = NULL;
    struct engine *e = NULL;
    double step_s = (double)c->interval / 1000.0;
    size_t steps = steps_of(p, step_s);
    *out = (struct replay){ .step_s = step_s };
    if (!w || steps == 0 || results(out, steps + 1) != AS_OK) {
        free(w);
        return steps ? as_fail(err, AS_ENOMEM, "out of memory")
                     : as_fail(err, AS_EINVAL, "the trace is shorter than one control interval");
    }
    *w = (struct world_state){ .p = p,
                               .out = out,
                               .now = START,
                               .accounted = START,
                               .random = p->seed * 6364136223846793005u + 1442695040888963407u,
                               .sample_every = steps / SAMPLES_MOST + 1 };
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
        rc = engine_new(&world, hold, j, START, 1795000000000 + START, &e, err);
    if (rc == AS_OK) {
        w->engine = e;
        rc = check_series(e, p, err);
    }
    if (rc == AS_OK) {
        rc = measure_capacity(w, e->groups->cfg);
    }
    if (rc == AS_OK) {
        open_shop(w, e, (int)demand_at_70(p, e->groups->cfg, load_at(p, START)));
        run(w, e, START + (as_time)steps * c->interval);
        out->outs = e->groups->scale_outs;
        out->ins = e->groups->scale_ins;
    }
    engine_free(e);
    drop_queue(w);
    journal_close(j);
    free(w->carries);
    free(w);
    if (rc == AS_ENOMEM)
        as_fail(err, AS_ENOMEM, "out of memory");
    if (rc != AS_OK)
        replay_fini(out);
    return rc;
}

/* --- yardsticks ------------------------------------------------------------------------------------------------- */

struct reach { /* of a sliding window around a step; scratch: as long as the series */
    size_t back, ahead, *scratch;
};

/* The highest or lowest of a window around each step. Each index enters and leaves the window once. */
static void extreme(const double *a, double *out, size_t count, struct reach reach, bool highest)
{
    size_t from = 0, to = 0, next = 0, *window = reach.scratch;
    for (size_t i = 0; i < count; i++) {
        for (; next < count && next <= i + reach.ahead; next++) {
            while (to > from && (highest ? a[window[to - 1]] <= a[next] : a[window[to - 1]] >= a[next]))
                to--;
            window[to++] = next;
        }
        while (window[from] + reach.back < i)
            from++;
        out[i] = a[window[from]];
    }
}

double *replay_oracle(const double *demand, size_t count, double step_s, double boot_s)
{
    /* A boot costs as much as keeping an instance for so long: shorter gaps of the demand are bridged, and an
     * instance serves from the very step that needs it. That is the closing of the demand: highest of the steps
     * ahead, then lowest of those behind. */
    double *supply = malloc((count ? count : 1) * sizeof *supply),
           *high = malloc((count ? count : 1) * sizeof *high);
    size_t *scratch = malloc((count ? count : 1) * sizeof *scratch);
    size_t span = (size_t)(boot_s / step_s);
    if (supply && high && scratch) {
        extreme(demand, high, count, (struct reach){ .ahead = span, .scratch = scratch }, true);
        extreme(high, supply, count, (struct reach){ .back = span, .scratch = scratch }, false);
    } else {
        free(supply);
        supply = NULL;
    }
    free(high);
    free(scratch);
    return supply;
}

int replay_supply(const struct replay_params *p, const double *supply, size_t count, double step_s,
                  struct replay *out, struct as_error *err)
{
    struct world_state *w = calloc(1, sizeof *w);
    *out = (struct replay){ .step_s = step_s };
    if (!w || results(out, count + 1) != AS_OK) {
        free(w);
        return as_fail(err, AS_ENOMEM, "out of memory");
    }
    *w = (struct world_state){ .p = p,
                               .out = out,
                               .random = p->seed * 6364136223846793005u + 1442695040888963407u };
    tier_init(&out->tier, &p->tier);
    for (size_t i = 0; i < count; i++) {
        struct tier_step s;
        double rate = load_at(p, START + (as_time)(((double)i + 0.5) * step_s * 1000));
        double arrived = arrivals(w, rate * step_s), grown = i ? supply[i] - supply[i - 1] : 0;
        tier_run(&out->tier, arrived / step_s, (int)supply[i], step_s, i % (count / SAMPLES_MOST + 1) == 0,
                 &s);
        note_minutes(w, &s, step_s);
        out->load[i] = rate;
        out->supply[i] = out->footprint[i] = supply[i];
        out->instance_hours += supply[i] * step_s / 3600 + (grown > 0 ? grown * p->boot_s / 3600 : 0);
        out->outs += grown > 0;
        out->ins += grown < 0;
    }
    out->count = count;
    free(w);
    return AS_OK;
}

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
