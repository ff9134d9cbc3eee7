/* The prober: many health checks at once without a thread, on libcurl's multi interface driven by
 * the loop's libuv. An HTTP check is one GET on a fresh connection; a TCP check is one connect.
 * Targets are literal addresses: no name is ever resolved. */
#ifndef RUNTIME_PROBER_H
#define RUNTIME_PROBER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "autoscale/error.h"
#include "autoscale/time.h"

struct prober;

struct probe {
    const char *address; /* copied */
    uint16_t port;
    const char *path;    /* with the query; NULL: TCP connect only; copied */
    int expect;          /* status, 0: any 2xx */
    as_time timeout;     /* ms, for the whole answer */
};

/* Called on the loop thread, exactly once per accepted probe, never from within prober_start, also on
 * prober_free (ok false). It may start probes, but not free the prober. `detail` for people: "HTTP 503",
 * "connection refused", "no answer in 1s". */
typedef void (*probe_done)(void *arg, bool ok, const char *detail);

int prober_new(uv_loop_t *loop, struct prober **out, struct as_error *err);
void prober_free(struct prober *p); /* the loop must run once more for uv handles to close */
/* AS_EINVAL for an address that is no literal, a missing port or timeout, a path that is no path. */
int prober_start(struct prober *p, const struct probe *what, probe_done done, void *arg, struct as_error *err);

#endif
