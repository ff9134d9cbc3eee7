/* bind: turns configuration blocks into running sources and groups, and takes them down. Offline: binding
 * opens drivers, which connect to nothing. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../model/series.h"
#include "../runtime/log.h"
#include "engine.h"

#define SERIES_LEAST 32

struct cfg_hold {
    struct cfg *cfg;
    struct cfg_group **kept;
    size_t kept_count;
    atomic_int users;
};

struct cfg_hold *cfg_hold_new(struct cfg *cfg)
{
    struct cfg_hold *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    h->cfg = cfg;
    h->users = 1;
    return h;
}

struct cfg_hold *cfg_hold_get(struct cfg_hold *h)
{
    h->users++;
    return h;
}

bool cfg_hold_keep(struct cfg_hold *h, struct cfg_group *g)
{
    struct cfg_group **room = realloc(h->kept, (h->kept_count + 1) * sizeof *room);
    if (!room)
        return false;
    h->kept = room;
    room[h->kept_count++] = g;
    return true;
}

void cfg_hold_put(struct cfg_hold *h)
{
    if (!h || --h->users > 0)
        return;
    for (size_t k = 0; k < h->kept_count; k++) {
        as_settings_free(h->kept[k]->balancer.settings);
        free(h->kept[k]);
    }
    free(h->kept);
    config_free(h->cfg);
    free(h);
}

const struct cfg *cfg_of(const struct cfg_hold *h)
{
    return h->cfg;
}

/* --- sources ---------------------------------------------------------------------------------------- */

static void binding_free(struct binding *b)
{
    series_free(b->series);
    free(b->parts);
    free(b);
}

void source_forget_unread(struct source *s)
{
    size_t kept = 0;
    for (size_t k = 0; k < s->binding_count; k++)
        if (s->bindings[k]->users > 0)
            s->bindings[kept++] = s->bindings[k];
        else
            binding_free(s->bindings[k]);
    s->binding_count = kept;
}

void source_free(struct engine *e, struct source *s)
{
    if (!s)
        return;
    for (size_t k = 0; k < s->feed_count; k++)
        if (s->feeds[k].port)
            e->world.unbind(e->world.arg, s->feeds[k].port);
    for (size_t k = 0; k < s->binding_count; k++)
        binding_free(s->bindings[k]);
    free(s->bindings);
    free(s->feeds);
    cfg_hold_put(s->hold);
    free(s);
}

struct source *source_bind(struct engine *e, struct cfg_hold *hold, const struct cfg_source *c,
                           struct as_error *err)
{
    struct source *s = calloc(1, sizeof *s);
    if (!s) {
        as_fail(err, AS_ENOMEM, "out of memory");
        return NULL;
    }
    size_t n = c->driver->endpoints ? as_settings_count(c->settings, c->driver->endpoints) : 1;
    s->cfg = c;
    s->hold = cfg_hold_get(hold);
    s->feeds = calloc(n ? n : 1, sizeof *s->feeds);
    for (size_t k = 0; s->feeds && k < n; k++) {
        struct feed *f = &s->feeds[s->feed_count++];
        f->endpoint = c->driver->endpoints ? as_settings_item(c->settings, c->driver->endpoints, k) : "";
        f->port = e->world.bind_source(e->world.arg, hold, c, f->endpoint, err);
        if (!f->port)
            break;
    }
    if (!s->feeds || s->feed_count < n || (n && !s->feeds[n - 1].port)) {
        if (!s->feeds)
            as_fail(err, AS_ENOMEM, "out of memory");
        source_free(e, s);
        return NULL;
    }
    return s;
}

static struct source *source_find(struct source *list, const char *name)
{
    while (list && strcmp(list->cfg->name, name) != 0)
        list = list->next;
    return list;
}

static enum as_merge merge_of(const struct as_source_driver *d, const char *series)
{
    for (const struct as_series_doc *doc = d->series; doc && doc->name; doc++)
        if (strcmp(doc->name, series) == 0)
            return doc->merge;
    return AS_MERGE_SUM;
}

static struct binding *binding_new(struct source *s, const char *metric, const char *object, const char *name,
                                   size_t capacity)
{
    struct binding *b = calloc(1, sizeof *b);
    struct binding **list = realloc(s->bindings, (s->binding_count + 1) * sizeof(struct binding *));
    if (list)
        s->bindings = list;
    if (b) {
        b->parts = calloc(s->feed_count, sizeof *b->parts);
        b->series = series_new(metric, capacity, s->cfg->max_age);
    }
    if (!b || !list || !b->parts || !b->series) {
        if (b) {
            free(b->parts);
            series_free(b->series);
        }
        free(b);
        return NULL;
    }
    snprintf(b->object, sizeof b->object, "%s", object);
    snprintf(b->name, sizeof b->name, "%s", name);
    b->merge = merge_of(s->cfg->driver, name);
    s->bindings[s->binding_count++] = b;
    return b;
}

/* The binding of a metric in a source of this list, made when missing, with room for `window`. */
static struct binding *bind_metric(struct source *list, const char *metric, as_time window,
                                   struct source **owner)
{
    char source[AS_NAME_MAX], object[AS_NAME_MAX], name[AS_NAME_MAX];
    if (!config_metric_split(metric, source, object, name) || !(*owner = source_find(list, source)))
        return NULL;
    size_t capacity = (size_t)(window / (*owner)->cfg->interval) + 8;
    capacity = capacity < SERIES_LEAST ? SERIES_LEAST : capacity;
    for (size_t k = 0; k < (*owner)->binding_count; k++) {
        struct binding *b = (*owner)->bindings[k];
        if (strcmp(as_series_name(b->series), metric) != 0)
            continue;
        if (series_capacity(b->series) < capacity && !series_resize(b->series, capacity))
            return NULL;
        b->users++;
        return b;
    }
    struct binding *b = binding_new(*owner, metric, object, name, capacity);
    if (b)
        b->users = 1;
    return b;
}

/* --- policies --------------------------------------------------------------------------------------- */

/* The longest duration among a policy's options: what its windows may reach back. */
static as_time longest_window(const struct cfg_policy *c)
{
    as_time most = 0;
    for (const struct as_option *o = c->type->options; o && o->name; o++)
        if (o->type == AS_OPT_DURATION && as_settings_ms(c->settings, o->name) > most)
            most = as_settings_ms(c->settings, o->name);
    return most > AS_DAY ? AS_DAY : most;
}

/* A formula's results make a series of their own, kept over a rebinding. */
static bool bind_input(struct engine *e, struct source *sources, as_time window, struct policy_input *in,
                       const char *text)
{
    as_time oldest = 0;
    struct formula f;
    if (!text)
        return true;
    if (formula_parse(text, &f, NULL) != AS_OK)
        return false;
    window = f.longest > window ? f.longest : window;
    in->metric_count = f.metric_count;
    for (int k = 0; k < f.metric_count; k++) {
        in->bound[k] = bind_metric(sources, f.metrics[k], window, &in->owners[k]);
        if (!in->bound[k])
            return false;
        oldest = in->owners[k]->cfg->max_age > oldest ? in->owners[k]->cfg->max_age : oldest;
    }
    if (formula_is_plain(&f))
        return true;
    size_t capacity = (size_t)(window / e->cfg->interval) + SERIES_LEAST;
    if (!in->own)
        in->own = series_new(text, capacity, oldest);
    else if (series_capacity(in->own) < capacity && !series_resize(in->own, capacity))
        return false;
    if (!in->formula)
        in->formula = malloc(sizeof f); /* a few KiB that the many plain ones need not have */
    if (in->formula)
        *in->formula = f;
    return in->own && in->formula;
}

static bool bind_inputs(struct engine *e, struct source *sources, struct policy_run *run)
{
    size_t k = 0;
    for (const struct as_option *o = run->cfg->type->options; o && o->name; o++) {
        if (o->type != AS_OPT_METRIC)
            continue;
        struct policy_input *in = &run->sources[k];
        in->text = as_settings_str(run->cfg->settings, o->name);
        if (!bind_input(e, sources, longest_window(run->cfg), in, in->text))
            return false;
        if (in->own && run->cfg->type->learn && !in->past && !(in->past = calloc(1, sizeof *in->past)))
            return false;
        run->inputs[k++] = in->own ? in->own : in->bound[0] ? in->bound[0]->series : NULL;
    }
    return true;
}

static bool note_read(struct group *g, struct source *s)
{
    for (size_t k = 0; k < g->read_count; k++)
        if (g->reads[k] == s)
            return true;
    struct source **room = reallocarray(g->reads, g->read_count + 1, sizeof(struct source *));
    if (!room)
        return false;
    g->reads = room;
    g->reads[g->read_count++] = s;
    return true;
}

static bool note_reads(struct group *g)
{
    bool ok = true;
    g->read_count = 0;
    for (size_t p = 0; p < g->policy_count; p++)
        for (size_t k = 0; k < g->policies[p].input_count; k++)
            for (int m = 0; ok && m < g->policies[p].sources[k].metric_count; m++)
                ok = note_read(g, g->policies[p].sources[k].owners[m]);
    return ok;
}

bool group_rebind_inputs(struct engine *e, struct source *sources, struct group *g)
{
    bool ok = true;
    for (size_t p = 0; ok && p < g->policy_count; p++)
        ok = bind_inputs(e, sources, &g->policies[p]);
    ok = ok && note_reads(g);
    for (size_t p = 0; ok && p < g->shadow_count; p++)
        ok = bind_inputs(e, sources, &g->shadows[p].run);
    return ok;
}

static int policy_open(struct policy_run *run, struct cfg_hold *hold, const struct cfg_policy *c,
                       struct as_error *err)
{
    size_t n = 0;
    for (const struct as_option *o = c->type->options; o && o->name; o++)
        n += o->type == AS_OPT_METRIC;
    run->cfg = c;
    run->input_count = n;
    run->state = calloc(1, c->type->state_size ? c->type->state_size : 1);
    run->inputs = calloc(n ? n : 1, sizeof(struct as_series *));
    run->sources = calloc(n ? n : 1, sizeof *run->sources);
    if (!run->state || !run->inputs || !run->sources)
        return as_fail(err, AS_ENOMEM, "out of memory");
    int rc = c->type->init(run->state, c->settings, err);
    if (rc == AS_OK)
        run->hold = cfg_hold_get(hold);
    return rc;
}

static void policy_close(struct policy_run *run)
{
    if (run->hold && run->cfg->type->fini)
        run->cfg->type->fini(run->state);
    free(run->state);
    free(run->inputs);
    for (size_t k = 0; run->sources && k < run->input_count; k++) {
        series_free(run->sources[k].own);
        free(run->sources[k].formula);
        free(run->sources[k].past);
    }
    free(run->sources);
    cfg_hold_put(run->hold);
}

/* --- groups ----------------------------------------------------------------------------------------- */

void group_free(struct engine *e, struct group *g)
{
    if (!g)
        return;
    for (size_t k = 0; k < g->host_count; k++)
        if (g->hosts[k].port)
            e->world.unbind(e->world.arg, g->hosts[k].port);
    for (size_t k = 0; k < g->pool_count; k++)
        pool_fini(e, &g->pools[k]);
    for (size_t k = 0; k < g->policy_count; k++)
        policy_close(&g->policies[k]);
    for (size_t k = 0; k < g->shadow_count; k++)
        policy_close(&g->shadows[k].run);
    instances_fini(g);
    free(g->hosts);
    free(g->pools);
    free(g->policies);
    free(g->shadows);
    free(g->reads);
    free(g->decision.proposals);
    cfg_hold_put(g->hold);
    free(g);
}

static int bind_endpoints(struct engine *e, struct group *g, struct cfg_hold *hold, struct as_error *err)
{
    const struct cfg_group *c = g->cfg;
    for (size_t k = 0; k < c->compute.endpoint_count; k++) {
        struct host *h = &g->hosts[g->host_count++];
        snprintf(h->name, sizeof h->name, "%s", c->compute.endpoints[k]);
        h->room = -1;
        h->port = e->world.bind_compute(e->world.arg, hold, c, c->compute.endpoints[k], err);
        if (!h->port)
            return err && err->rc ? (int)err->rc : AS_EINVAL;
    }
    for (size_t k = 0; k < c->balancer.endpoint_count; k++) {
        int rc = pool_bind(e, &g->pools[g->pool_count++], hold, c, c->balancer.endpoints[k], err);
        if (rc != AS_OK)
            return rc;
    }
    return AS_OK;
}

/* Not NULL for none, and not a whole item either: a shadow alone is 9 KiB. */
static void *room_for(size_t count, size_t size)
{
    return count ? calloc(count, size) : calloc(1, 1);
}

static int group_fill(struct engine *e, struct group *g, struct cfg_hold *hold, struct as_error *err)
{
    const struct cfg_group *c = g->cfg;
    if (c->compute.endpoint_count > HOSTS_MOST)
        return as_fail(err, AS_EINVAL, "group '%s': more than %d hosts", c->name, HOSTS_MOST);
    g->hosts = room_for(c->compute.endpoint_count, sizeof *g->hosts);
    g->pools = room_for(c->balancer.endpoint_count, sizeof *g->pools);
    g->policies = room_for(c->policy_count, sizeof *g->policies);
    g->decision.proposals = room_for(c->policy_count, sizeof *g->decision.proposals);
    g->shadows = room_for(c->shadow_count, sizeof *g->shadows);
    if (!g->hosts || !g->pools || !g->policies || !g->shadows || !g->decision.proposals)
        return as_fail(err, AS_ENOMEM, "out of memory");
    int rc = bind_endpoints(e, g, hold, err);
    for (size_t k = 0; rc == AS_OK && k < c->policy_count; k++) {
        g->policy_count++;
        rc = policy_open(&g->policies[k], hold, c->policies[k], err);
    }
    for (size_t k = 0; rc == AS_OK && k < c->shadow_count; k++) {
        g->shadow_count++;
        g->shadows[k].desired = -1;
        rc = policy_open(&g->shadows[k].run, hold, c->shadows[k], err);
    }
    return rc;
}

struct group *group_bind(struct engine *e, struct cfg_hold *hold, const struct cfg_group *c,
                         struct as_error *err)
{
    struct group *g = calloc(1, sizeof *g);
    if (!g) {
        as_fail(err, AS_ENOMEM, "out of memory");
        return NULL;
    }
    g->engine = e;
    g->cfg = c;
    g->hold = cfg_hold_get(hold);
    g->desired = -1;
    g->dirty = true;
    if (group_fill(e, g, hold, err) != AS_OK) {
        group_free(e, g);
        return NULL;
    }
    return g;
}

int bind_all(struct engine *e, struct cfg_hold *hold, struct as_error *err)
{
    const struct cfg *c = cfg_of(hold);
    struct source **s = &e->sources;
    for (size_t k = 0; k < c->source_count; k++, s = &(*s)->next)
        if (!(*s = source_bind(e, hold, &c->sources[k], err)))
            return AS_EINVAL;
    struct group **g = &e->groups;
    for (size_t k = 0; k < c->group_count; k++, g = &(*g)->next) {
        if (!(*g = group_bind(e, hold, &c->groups[k], err)))
            return AS_EINVAL;
        if (!group_rebind_inputs(e, e->sources, *g))
            return as_fail(err, AS_ENOMEM, "group '%s': a metric cannot be bound", c->groups[k].name);
    }
    sources_weigh(e);
    return AS_OK;
}
