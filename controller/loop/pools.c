/* pools: the balancers that may have our servers. They are journalled before anything is admitted there and until they
 * are proven empty, with all it takes to bind them, so that a later start clears those its configuration does not name any
 * more. It never talks to a balancer. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../runtime/log.h"
#include "engine.h"

static bool equal(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

bool pool_same(const struct pool *a, const struct pool *b)
{
    return strcmp(a->name, b->name) == 0 && a->driver == b->driver && equal(a->place, b->place);
}

void pool_fini(struct engine *e, struct pool *p)
{
    if (p->port)
        e->world.unbind(e->world.arg, p->port);
    free(p->place);
    free(p->terms);
    *p = (struct pool){ 0 };
}

int pool_bind(struct engine *e, struct pool *p, struct cfg_hold *hold, const struct cfg_group *c,
              const char *endpoint, struct as_error *err)
{
    const struct as_balancer_driver *d = c->balancer.driver;
    const char *place = d->pool ? as_settings_str(c->balancer.settings, d->pool) : NULL;
    snprintf(p->name, sizeof p->name, "%s", endpoint);
    p->driver = d;
    p->place = place ? strdup(place) : NULL;
    p->terms = config_balancer_text(&c->balancer);
    if (!p->terms || (place && !p->place))
        return as_fail(err, AS_ENOMEM, "out of memory");
    p->port = e->world.bind_balancer(e->world.arg, hold, c, endpoint, err);
    return p->port ? AS_OK : err && err->rc ? (int)err->rc : AS_EINVAL;
}

void pool_say_leaving(const struct group *g, const struct pool *p)
{
    log_info(g->cfg->name,
             "balancer %s%s%s left the configuration: our servers there are drained and evicted once they "
             "serve elsewhere",
             p->name, p->place ? ", " : "", p->place ? p->place : "");
}

/* --- writing ------------------------------------------------------------------------------------------ */

static char *row_text(const struct group *g)
{
    cJSON *list = cJSON_CreateArray();
    for (size_t k = 0; k < g->pool_count; k++) {
        if (g->pools[k].retired)
            continue;
        cJSON *o = cJSON_CreateObject();
        if (!cJSON_AddStringToObject(o, "endpoint", g->pools[k].name) ||
            !cJSON_AddStringToObject(o, "driver", g->pools[k].driver->name) ||
            !cJSON_AddStringToObject(o, "settings", g->pools[k].terms) || !cJSON_AddItemToArray(list, o)) {
            cJSON_Delete(o);
            cJSON_Delete(list);
            return NULL;
        }
    }
    char *text = cJSON_PrintUnformatted(list);
    cJSON_Delete(list);
    return text;
}

static void row_key(const struct group *g, char key[AS_NAME_MAX + 16])
{
    snprintf(key, AS_NAME_MAX + 16, "balancers/%s", g->cfg->name);
}

int pools_write(const struct group *g, struct as_error *err)
{
    char key[AS_NAME_MAX + 16], *text = row_text(g);
    row_key(g, key);
    int rc =
        text ? journal_set(g->engine->journal, key, text, err) : as_fail(err, AS_ENOMEM, "out of memory");
    free(text);
    return rc;
}

/* --- reading, at the start ----------------------------------------------------------------------------- */

/* Binds it as it was bound then: by its driver, to its pool, with its settings. */
static int bind_former(struct group *g, struct pool *p, const char *endpoint, const char *driver,
                       const char *settings, struct as_error *err)
{
    struct cfg_group *then = malloc(sizeof *then);
    struct as_settings *read = NULL;
    if (!then)
        return as_fail(err, AS_ENOMEM, "out of memory");
    *then = *g->cfg;
    int rc = config_balancer_recall(cfg_of(g->hold)->registry, driver, settings, &then->balancer.driver,
                                    &read, err);
    then->balancer.settings = read;
    if (rc == AS_OK && !cfg_hold_keep(g->hold, then))
        rc = as_fail(err, AS_ENOMEM, "out of memory");
    if (rc != AS_OK) {
        as_settings_free(read);
        free(then);
        return rc;
    }
    return pool_bind(g->engine, p, g->hold, then, endpoint, err);
}

static bool is_known(const struct group *g, const struct pool *p)
{
    for (size_t k = 0; k < g->pool_count; k++)
        if (pool_same(&g->pools[k], p))
            return true;
    return false;
}

static int take_former(struct group *g, const struct pool *p, struct as_error *err)
{
    struct pool *room = realloc(g->pools, (g->pool_count + 1) * sizeof *room);
    if (!room)
        return as_fail(err, AS_ENOMEM, "out of memory");
    g->pools = room;
    room[g->pool_count++] = *p;
    pool_say_leaving(g, p);
    return AS_OK;
}

/* Nearly always: what was is what is. */
static bool unchanged(const struct group *g, const char *endpoint, const char *driver, const char *settings)
{
    for (size_t k = 0; k < g->pool_count; k++)
        if (equal(g->pools[k].name, endpoint) && equal(g->pools[k].driver->name, driver) &&
            equal(g->pools[k].terms, settings))
            return true;
    return false;
}

static int recall(struct group *g, const cJSON *row, struct as_error *err)
{
    const char *endpoint = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(row, "endpoint"));
    const char *driver = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(row, "driver"));
    const char *settings = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(row, "settings"));
    struct pool p = { .leaving = true };
    if (unchanged(g, endpoint, driver, settings))
        return AS_OK;
    int rc = endpoint && driver && settings ? bind_former(g, &p, endpoint, driver, settings, err)
                                            : as_fail(err, AS_EPROTO, "its row in the journal is damaged");
    if (rc == AS_OK && !is_known(g, &p) && (rc = take_former(g, &p, err)) == AS_OK)
        return AS_OK;
    pool_fini(g->engine, &p);
    if (rc == AS_OK || rc == AS_ENOMEM)
        return rc;
    log_warning(g->cfg->name,
                "balancer %s left the configuration and cannot be cleared: %s; take our servers, named "
                "%s-*, out of it by hand",
                endpoint ? endpoint : "of before", err->msg, g->cfg->name);
    return AS_OK;
}

int pools_recall(struct group *g, struct as_error *err)
{
    char key[AS_NAME_MAX + 16], *value = NULL;
    row_key(g, key);
    int rc = journal_get(engine_past(g->engine), key, &value, err);
    cJSON *rows = value ? cJSON_Parse(value) : NULL;
    for (const cJSON *row = rows ? rows->child : NULL; row && rc == AS_OK; row = row->next)
        rc = recall(g, row, err);
    cJSON_Delete(rows);
    char *now = rc == AS_OK ? row_text(g) : NULL;
    if (rc == AS_OK && !now)
        rc = as_fail(err, AS_ENOMEM, "out of memory");
    if (rc == AS_OK && (value || g->pool_count) && !equal(value, now)) {
        g->pools_dirty = true;
        group_rows_changed(g);
    }
    free(now);
    free(value);
    return rc;
}
