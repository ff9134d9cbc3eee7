/* The life of instances: making, finding, and THE function that changes a state. It notes the change
 * for the journal, counts it and logs one canonical line; it never acts. */
#include <assert.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../runtime/log.h"
#include "act.h"
#include "engine.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, size)   ((void)(at), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#endif

#define CRASH_LOOP 2 /* so many in a row that die soon after they served */

struct instance *instance_find(const struct group *g, const char *id)
{
    struct instance *i = g->instances;
    while (i && strcmp(i->id, id) != 0)
        i = i->next;
    return i;
}

/* --- memory --------------------------------------------------------------------------------------------- */

/* Nobody may look at it any more: a check of memory will tell who does. */
static void give_back_cell(struct instance *i)
{
    struct group *g = i->group;
    i->next = g->vacant;
    g->vacant = i;
    ASAN_POISON_MEMORY_REGION(&i->pools, sizeof *i - offsetof(struct instance, pools));
}

static struct instance *take_cell(struct group *g)
{
    struct instance *i = g->vacant;
    if (i) {
        ASAN_UNPOISON_MEMORY_REGION(i, sizeof *i);
        g->vacant = i->next;
    } else {
        if (!g->blocks || g->blocks->used == INSTANCE_BLOCK) {
            struct instance_block *b = calloc(1, sizeof *b);
            if (!b)
                return NULL;
            b->next = g->blocks;
            g->blocks = b;
        }
        i = &g->blocks->cells[g->blocks->used++];
    }
    *i = (struct instance){ .group = g };
    return i;
}

struct instance *instance_new(struct group *g, const char *id)
{
    struct instance *i = take_cell(g);
    if (!i)
        return NULL;
    i->notes = calloc(1, sizeof *i->notes);
    i->pools = g->pool_count > 1 ? calloc(g->pool_count, sizeof *i->pools) : &i->only;
    if (!i->notes || !i->pools) {
        instance_free(i);
        return NULL;
    }
    i->host = -1;
    i->state = INST_WANTED;
    i->since = i->wanted_at = g->engine->now;
    i->notes->since_wall = i->notes->wanted_wall = g->engine->wall;
    i->dirty = true;
    group_rows_changed(g);
    snprintf(i->id, sizeof i->id, "%s", id);
    snprintf(i->notes->revision, sizeof i->notes->revision, "%s", g->cfg->compute.revision);
    struct instance **tail = &g->instances; /* oldest first: ties go to the newest at the end */
    while (*tail)
        tail = &(*tail)->next;
    *tail = i;
    return i;
}

void instance_take_pools(struct instance *i, struct membership *pools)
{
    if (i->pools != &i->only)
        free(i->pools);
    i->pools = pools;
}

void instance_free(struct instance *i)
{
    if (!i)
        return;
    instance_take_pools(i, NULL);
    free(i->notes);
    give_back_cell(i);
}

void instances_fini(struct group *g)
{
    while (g->instances) {
        struct instance *i = g->instances;
        g->instances = i->next;
        instance_free(i);
    }
    while (g->blocks) {
        struct instance_block *b = g->blocks;
        g->blocks = b->next;
        ASAN_UNPOISON_MEMORY_REGION(b, sizeof *b);
        free(b);
    }
    g->vacant = NULL;
}

/* --- what became of them ------------------------------------------------------------------------------------ */

static void measure_launch(struct group *g, struct instance *i)
{
    double seconds = (double)(g->engine->now - i->wanted_at) / 1000.0;
    if (i->wanted_at == 0)
        return;
    if (i->warm) {
        leads_add(&g->unpark_lead, seconds);
        g->unpark_lead_dirty = true;
        group_rows_changed(g);
    } else if (!i->notes->serving_wall) {
        i->notes->serving_wall = g->engine->wall;
        leads_add(&g->lead, seconds);
        if (i->tries <= 1)
            leads_add(&g->boot, seconds);
        group_count_launch(g, i, false);
    }
}

static void note_serving(struct group *g, struct instance *i)
{
    measure_launch(g, i);
    if (i->warm)
        backoff_clear(&g->unpark); /* it says nothing about launches */
    else if (g->crashes < CRASH_LOOP)
        backoff_clear(&g->launch);
    i->warm = false;
}

static void note_parked(struct group *g, struct instance *i, enum inst_state from)
{
    if (from == INST_BOOTING && !i->warm && g->crashes < CRASH_LOOP)
        backoff_clear(&g->launch);
    if (!i->notes->serving_wall)
        i->notes->serving_wall =
            i->notes->wanted_wall; /* it could have served; a time of 0 is no measurement */
    i->wanted_at = 0;
    i->warm = i->fit = false;
    g->parks++;
}

/* After so long without one, a failure is the first again. */
#define REFILL_FORGETS (10 * AS_MINUTE)

static void note_lost_from_pool(struct group *g, const struct instance *i, as_time parked_since)
{
    as_time now = g->engine->now;
    if (g->refill.fails && now - g->refill.until > REFILL_FORGETS)
        backoff_clear(&g->refill);
    backoff_fail(&g->refill, now, parked_since, i->notes->reason);
}

static void note_not_back(struct group *g, struct instance *i)
{
    as_time now = g->engine->now;
    char wait[32];
    g->unpark_failures++;
    if (backoff_fail(&g->unpark, now, i->wanted_at ? i->wanted_at : now, i->notes->reason))
        log_warning(g->cfg->name,
                    "parked instances did not come back %d in a row: new ones are made for the next %s (%s)",
                    g->unpark.fails, as_time_text(g->unpark.until - now, wait, sizeof wait),
                    i->notes->reason);
    engine_event(g->engine, g->cfg->name, i->id, "unpark-failed", "%d in a row: %s", g->unpark.fails,
                 i->notes->reason);
    i->warm = false;
}

static void note_failure(struct group *g, struct instance *i)
{
    g->launch_failures++;
    group_count_launch(g, i, true);
    bool counted = backoff_fail(&g->launch, g->engine->now, i->launched_at, i->notes->reason);
    as_time left = g->launch.until - g->engine->now;
    char wait[32];
    as_time_text(left > 0 ? left : 0, wait, sizeof wait);
    if (counted)
        log_warning(g->cfg->name, "launch failed %d in a row: next try in %s (%s)", g->launch.fails, wait,
                    i->notes->reason);
    engine_event(g->engine, g->cfg->name, i->id, "launch-failed", "%d in a row, next try in %s: %s",
                 g->launch.fails, wait, i->notes->reason);
}

/* It served for less time than a boot may take. Anything may die once, and is replaced at once; from the second in
 * a row on it is a loop, and serving proves nothing. Those that served beside the one counted last are one with it. */
static void note_crash(struct group *g, struct instance *i, as_time served_since)
{
    as_time now = g->engine->now;
    char wait[32];
    if (g->crashes > 0 && served_since <= g->crashed_at)
        return;
    g->crashes++;
    g->crashed_at = now;
    if (g->crashes < CRASH_LOOP)
        return;
    if (g->launch.fails < g->crashes - CRASH_LOOP)
        g->launch.fails = g->crashes - CRASH_LOOP;
    backoff_fail(&g->launch, now, now, i->notes->reason);
    as_time_text(g->launch.until - now, wait, sizeof wait);
    log_warning(g->cfg->name, "%d in a row died soon after they served: next launch in %s (%s)", g->crashes,
                wait, i->notes->reason);
    engine_event(g->engine, g->cfg->name, i->id, "crash-loop",
                 "%d in a row died soon after they served, next launch in %s: %s", g->crashes, wait,
                 i->notes->reason);
}

/* What no list can tell any more, the operator has said. Should the host come back after all, its list shows instances
 * that were given up: they are destroyed. */
void group_write_off(struct group *g)
{
    for (struct instance *i = g->instances; i; i = i->next) {
        if (i->absent || !i->notes->host_name[0] || i->state == INST_GONE ||
            !config_host_lost(g->cfg, i->notes->host_name))
            continue;
        i->absent = true;
        g->dirty = true;
        log_warning(g->cfg->name, "instance %s: taken for gone with its host %s, which lost_hosts names",
                    i->id, i->notes->host_name);
    }
}

void group_forget_crashes(struct group *g)
{
    as_time now = g->engine->now, lasts = g->cfg->health.boot_timeout;
    bool over = now - g->crashed_at >= 2 * (BACKOFF_MOST + lasts); /* nothing was launched since */
    if (g->crashes == 0)
        return;
    for (const struct instance *i = g->instances; i && !over; i = i->next)
        over = i->state == INST_SERVING && i->since > g->crashed_at && now - i->since >= lasts;
    if (!over)
        return;
    if (g->crashes >= CRASH_LOOP) {
        log_info(g->cfg->name, "instances last again: launches need not wait any more");
        backoff_clear(&g->launch);
    }
    g->crashes = 0;
}

void instance_move(struct instance *i, enum inst_state to, const char *fmt, ...)
{
    struct group *g = i->group;
    enum inst_state from = i->state;
    assert(inst_move_legal(from, to));
    char reason[sizeof i->notes->reason], span[32];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    memcpy(i->notes->reason, reason, sizeof reason);
    as_time since = i->since, stood = g->engine->now - since;
    as_time_text(stood, span, sizeof span);
    i->state = to;
    i->since = g->engine->now;
    i->notes->since_wall = g->engine->wall;
    i->dirty = g->dirty = true;
    group_rows_changed(g);
    if (to == INST_GONE) {
        g->gone++;
        g->engine->burials = true;
    }
    g->parked += (to == INST_PARKED) - (from == INST_PARKED);
    i->retry_at = 0;
    i->fails = 0;
    g->moves++;
    log_info(g->cfg->name, "instance %s: %s -> %s after %s (%s)", i->id, inst_state_name(from),
             inst_state_name(to), span, reason);
    engine_event(g->engine, g->cfg->name, i->id, "instance", "%s -> %s after %s (%s)", inst_state_name(from),
                 inst_state_name(to), span, reason);
    if (to == INST_SERVING)
        note_serving(g, i);
    if (to == INST_DRAINING)
        i->warm = false; /* taken back, it measures nothing */
    if (to == INST_PARKED)
        note_parked(g, i, from);
    bool broke = to == INST_FAILED || (to == INST_LEAVING && i->absent);
    if (from == INST_PARKED && broke)
        note_lost_from_pool(g, i, since);
    else if (i->warm && broke)
        note_not_back(g, i);
    else if (to == INST_FAILED && !i->notes->serving_wall)
        note_failure(g, i);
    else if (from == INST_SERVING && broke && stood < g->cfg->health.boot_timeout)
        note_crash(g, i, since);
}
