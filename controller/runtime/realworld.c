/* The real world: ports, prober and the timer that wakes the engine, on one libuv loop. It must never block. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "lane.h"
#include "log.h"
#include "port.h"
#include "prober.h"
#include "realworld.h"

struct realworld {
    uv_loop_t *loop;
    struct world world;
    struct lanes *lanes;
    struct prober *prober;
    struct engine *engine; /* NULL before start and after the end */
    uv_async_t reaped;
    uv_timer_t timer;
    void (*turned)(void *arg);
    void *turned_arg;
    bool ending;
};

static void turn(struct realworld *w);

/* --- what the engine asks for -------------------------------------------------------------------------- */

static void *bind_source(void *arg, struct cfg_hold *hold, const struct cfg_source *s, const char *endpoint,
                         struct as_error *err)
{
    struct realworld *w = arg;
    return port_source(w->lanes, hold, s, endpoint, err);
}

static void *bind_compute(void *arg, struct cfg_hold *hold, const struct cfg_group *g, const char *endpoint,
                          struct as_error *err)
{
    struct realworld *w = arg;
    return port_compute(w->lanes, hold, g, endpoint, w->world.act, err);
}

static void *bind_balancer(void *arg, struct cfg_hold *hold, const struct cfg_group *g, const char *endpoint,
                           struct as_error *err)
{
    struct realworld *w = arg;
    return port_balancer(w->lanes, hold, g, endpoint, w->world.act, err);
}

static void unbind(void *arg, void *port)
{
    (void)arg;
    port_put(port);
}

static uint32_t random_u32(void *arg)
{
    uint32_t v = 0;
    (void)arg;
    if (getrandom(&v, sizeof v, 0) != (ssize_t)sizeof v)
        v = (uint32_t)(uv_hrtime() * 2654435761u);
    return v;
}

static void came_back(void *arg, struct op *op)
{
    struct realworld *w = arg;
    if (w->engine)
        engine_done(w->engine, op);
    else
        op_free(op);
}

struct probe_wait {
    struct realworld *world;
    struct op *op;
};

static void probed(void *arg, bool ok, const char *detail)
{
    struct probe_wait *p = arg;
    struct realworld *w = p->world;
    p->op->rc = ok ? AS_OK : AS_EAGAIN;
    snprintf(p->op->call->detail, sizeof p->op->call->detail, "%s", detail);
    came_back(w, p->op);
    free(p);
    realworld_wake(w);
}

static void probe(struct realworld *w, struct op *op)
{
    struct probe_wait *p = calloc(1, sizeof *p);
    const struct cfg_health *h = op->health;
    struct probe what = { .address = op->call->target.address,
                          .port = op->call->target.port,
                          .path = h->kind == CFG_HEALTH_HTTP ? h->path : NULL,
                          .expect = h->expect,
                          .timeout = h->timeout };
    if (p) {
        *p = (struct probe_wait){ w, op };
        if (prober_start(w->prober, &what, probed, p, &op->err) == AS_OK)
            return;
        snprintf(op->call->detail, sizeof op->call->detail, "%.90s", op->err.msg);
    }
    free(p);
    op->rc = AS_EAGAIN;
    came_back(w, op);
    realworld_wake(w);
}

static void submit(void *arg, struct op *op)
{
    struct realworld *w = arg;
    if (op->kind == OP_PROBE)
        probe(w, op);
    else
        port_submit(op->port, op, came_back, w);
}

/* --- turns ---------------------------------------------------------------------------------------------- */

static void on_timer(uv_timer_t *t)
{
    turn(t->data);
}

static void turn(struct realworld *w)
{
    if (!w->engine || w->ending)
        return;
    as_time now = as_clock_monotonic();
    lanes_expire(w->lanes, now);
    port_reap(w->lanes);
    engine_turn(w->engine, now, as_clock_wall());
    if (w->turned)
        w->turned(w->turned_arg);
    if (!w->engine || w->ending)
        return;
    as_time next = engine_next(w->engine);
    as_time wait = next > now ? next - now : 0;
    if (wait > 500) /* deadlines of hanging calls are looked at twice a second */
        wait = 500;
    uv_update_time(w->loop);
    uv_timer_start(&w->timer, on_timer, (uint64_t)wait, 0);
}

void realworld_wake(struct realworld *w)
{
    if (!w->ending && w->engine)
        uv_timer_start(&w->timer, on_timer, 0, 0);
}

static void on_reaped(uv_async_t *a)
{
    realworld_wake(a->data);
}

static void notify(void *arg) /* worker threads */
{
    struct realworld *w = arg;
    uv_async_send(&w->reaped);
}

/* --- life ------------------------------------------------------------------------------------------------ */

int realworld_new(uv_loop_t *loop, bool act, struct realworld **out, struct as_error *err)
{
    struct realworld *w = calloc(1, sizeof *w);
    if (!w)
        return as_fail(err, AS_ENOMEM, "out of memory");
    w->loop = loop;
    w->world = (struct world){ .arg = w,
                               .act = act,
                               .forgets = !act, /* nobody can ask for the history of a dry run */
                               .bind_source = bind_source,
                               .bind_compute = bind_compute,
                               .bind_balancer = bind_balancer,
                               .unbind = unbind,
                               .submit = submit,
                               .random = random_u32 };
    uv_async_init(loop, &w->reaped, on_reaped);
    uv_timer_init(loop, &w->timer);
    w->reaped.data = w->timer.data = w;
    w->lanes = lanes_new(notify, w);
    int rc = w->lanes ? prober_new(loop, &w->prober, err) : as_fail(err, AS_ENOMEM, "out of memory");
    if (rc != AS_OK) {
        realworld_free(w, 0);
        return rc;
    }
    *out = w;
    return AS_OK;
}

const struct world *realworld_world(struct realworld *w)
{
    return &w->world;
}

void realworld_start(struct realworld *w, struct engine *e, void (*turned)(void *arg), void *arg)
{
    w->engine = e;
    w->turned = turned;
    w->turned_arg = arg;
    realworld_wake(w);
}

void realworld_free(struct realworld *w, as_time deadline)
{
    if (!w)
        return;
    w->engine = NULL;
    w->ending = true;
    if (w->prober)
        prober_free(w->prober);
    uv_timer_stop(&w->timer);
    uv_close((uv_handle_t *)&w->timer, NULL);
    lanes_free(w->lanes, deadline);
    uv_close((uv_handle_t *)&w->reaped, NULL);
    uv_run(w->loop, UV_RUN_NOWAIT);
    free(w);
}
