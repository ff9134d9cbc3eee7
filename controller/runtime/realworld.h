/* The real world: drivers on lanes, health checks on the prober, all on one libuv loop. It carries an
 * engine: wakes it when something came back or is due. The daemon and `plan` are built on it. With
 * act == false it holds no writer: the ports have none to call. */
#ifndef RUNTIME_REALWORLD_H
#define RUNTIME_REALWORLD_H

#include <uv.h>

#include "../loop/engine.h"

struct realworld;

int realworld_new(uv_loop_t *loop, bool act, struct realworld **out, struct as_error *err);
/* What engine_new takes; valid until realworld_free. */
const struct world *realworld_world(struct realworld *w);
/* From now on turns are run on the loop; after each one `turned` is called (may be NULL). */
void realworld_start(struct realworld *w, struct engine *e, void (*turned)(void *arg), void *arg);
/* Asks for a turn as soon as possible. */
void realworld_wake(struct realworld *w);
/* No more turns; waits for running calls at most until `deadline`. The engine is freed before. */
void realworld_free(struct realworld *w, as_time deadline);

#endif
