/* The life of instances: making, finding, and THE function that changes a state. It notes the change
 * for the journal, counts it and logs one canonical line; it never acts. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../runtime/log.h"
#include "act.h"
#include "engine.h"

struct instance *instance_find(const struct group *g, const char *id)
{
    struct instance *i = g->instances;
    while (i && strcmp(i->id, id) != 0)
        i = i->next;
    return i;
}

struct instance *instance_new(struct group *g, const char *id)
{
    struct instance *i = calloc(1, sizeof *i);
    struct membership *pools = calloc(g->pool_count ? g->pool_count : 1, sizeof *pools);
    if (!i || !pools) {
        free(i);
        free(pools);
        return NULL;
    }
    i->group = g;
    i->pools = pools;
    i->host = -1;
    i->state = INST_WANTED;
    i->since = i->wanted_at = g->engine->now;
    i->since_wall = i->wanted_wall = g->engine->wall;
    i->dirty = true;
    snprintf(i->id, sizeof i->id, "%s", id);
    snprintf(i->revision, sizeof i->revision, "%s", g->cfg->compute.revision);
    struct instance **tail = &g->instances; /* oldest first: ties go to the newest at the end */
    while (*tail)
        tail = &(*tail)->next;
    *tail = i;
    return i;
}

void instance_free(struct instance *i)
{
    if (!i)
        return;
    free(i->pools);
    free(i);
}

static void measure_launch(struct group *g, struct instance *i)
{
    if (i->serving_wall || i->wanted_at == 0)
        return;
    i->serving_wall = g->engine->wall;
    g->lead_s[g->lead_next] = (double)(g->engine->now - i->wanted_at) / 1000.0;
    g->lead_next = (g->lead_next + 1) % (int)(sizeof g->lead_s / sizeof *g->lead_s);
    if (g->lead_count < (int)(sizeof g->lead_s / sizeof *g->lead_s))
        g->lead_count++;
}

static void note_failure(struct group *g, struct instance *i)
{
    if (i->serving_wall)
        return; /* a server that broke says nothing about launches */
    g->launch_failures++;
    backoff_fail(&g->launch, g->engine->now, i->reason);
    char wait[32];
    as_time_text(g->launch.until - g->engine->now, wait, sizeof wait);
    log_warning(g->cfg->name, "launch failed %d in a row: next try in %s (%s)", g->launch.fails, wait,
                i->reason);
    engine_event(g->engine, g->cfg->name, i->id, "launch-failed", "%d in a row, next try in %s: %s",
                 g->launch.fails, wait, i->reason);
}

void instance_move(struct instance *i, enum inst_state to, const char *fmt, ...)
{
    struct group *g = i->group;
    enum inst_state from = i->state;
    assert(inst_move_legal(from, to));
    char reason[sizeof i->reason], span[32];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    memcpy(i->reason, reason, sizeof reason);
    as_time_text(g->engine->now - i->since, span, sizeof span);
    i->state = to;
    i->since = g->engine->now;
    i->since_wall = g->engine->wall;
    i->dirty = g->dirty = g->touched = true;
    g->gone += to == INST_GONE;
    i->retry_at = 0;
    i->fails = 0;
    g->moves++;
    log_info(g->cfg->name, "instance %s: %s -> %s after %s (%s)", i->id, inst_state_name(from),
             inst_state_name(to), span, reason);
    engine_event(g->engine, g->cfg->name, i->id, "instance", "%s -> %s after %s (%s)", inst_state_name(from),
                 inst_state_name(to), span, reason);
    if (to == INST_SERVING) {
        measure_launch(g, i);
        backoff_clear(&g->launch);
    }
    if (to == INST_FAILED) {
        i->never_served = !i->serving_wall;
        note_failure(g, i);
    }
}
