/* The compute and balancer blocks of a group: both tables of each, the endpoints, and the revision
 * that tells instances of an older template apart. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "loader.h"

#define HOST_OPTIONS_MAX 16

/* FNV-1a, 64 bits: stable across versions and machines, as it is stored in the marks of instances. */
static void make_revision(const char *text, char out[CFG_REVISION_MAX])
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        hash = (hash ^ *c) * UINT64_C(0x100000001b3);
    snprintf(out, CFG_REVISION_MAX, "%016llx", (unsigned long long)hash);
}

/* Text of the driver's own options, after its name; owned by the caller, NULL: out of memory. */
static char *own_canon(const char *driver, const struct as_settings *s, const char *const *skip)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    fprintf(out, "driver = %s\n", driver);
    settings_canon(out, s, skip);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

__attribute__((format(printf, 2, 3))) static char *with_common(char *own, const char *fmt, ...)
{
    char common[160], *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(common, sizeof common, fmt, ap);
    va_end(ap);
    if (own && asprintf(&text, "%s%s", common, own) < 0)
        text = NULL;
    free(own);
    return text;
}

/* --- compute ------------------------------------------------------------------------------------- */

static const struct as_compute_driver *compute_driver(struct loader *l, const config_setting_t *node,
                                                      const char *where)
{
    const struct as_compute_driver *const *all = l->cfg->registry->computes;
    struct block_choice from = { .key = "driver", .what = "compute driver" };
    while (from.count < CHOICE_MAX && all[from.count]) {
        from.names[from.count] = all[from.count]->name;
        from.count++;
    }
    int i = block_pick(l, node, where, &from);
    return i >= 0 ? all[i] : NULL;
}

static int compute_try(struct loader *l, const struct cfg_group *g, const char *where)
{
    const struct cfg_compute *c = &g->compute;
    const struct as_owner owner = { l->cfg->name, g->name };
    int rc = AS_OK;
    for (size_t i = 0; rc == AS_OK && i < c->endpoint_count; i++) {
        struct as_error err = { 0 };
        void *self = calloc(1, c->driver->state_size ? c->driver->state_size : 1);
        if (!self)
            return AS_ENOMEM;
        rc = c->driver->open(self, c->settings, &owner, c->endpoints[i], &err);
        c->driver->close(self);
        free(self);
        if (rc)
            block_refused(l, c->settings, where, &err);
    }
    return rc;
}

const char *config_park_name(enum cfg_park park)
{
    static const char *const names[] = { "none", "suspend", "save" };
    return (unsigned)park < sizeof names / sizeof *names ? names[park] : "?";
}

static enum cfg_park park_of(const char *name)
{
    return strcmp(name, "save") == 0      ? CFG_PARK_SAVE
           : strcmp(name, "suspend") == 0 ? CFG_PARK_SUSPEND
                                          : CFG_PARK_NONE;
}

/* Refuses standby that could never be. */
static void take_standby(struct loader *l, struct cfg_group *g, const config_setting_t *node,
                         const char *where, const struct as_settings *s)
{
    struct cfg_compute *c = &g->compute;
    const struct as_compute_driver *d = c->driver;
    bool suspends = d->park && d->unpark, saves = d->save && d->unpark;
    c->park = park_of(as_settings_str(s, "park"));
    c->standby = (int)as_settings_int(s, "standby");
    if ((c->park == CFG_PARK_SUSPEND && !suspends) || (c->park == CFG_PARK_SAVE && !saves))
        block_error(l, node, "%spark: compute driver %s cannot %s an instance; write park = \"%s\"", where,
                    d->name, c->park == CFG_PARK_SAVE ? "save" : "suspend",
                    c->park == CFG_PARK_SAVE && suspends ? "suspend" : "none");
    if (c->standby > 0 && c->park == CFG_PARK_NONE)
        block_error(l, node, "%sstandby: %d instances cannot be kept with park = \"none\"; %s", where,
                    c->standby,
                    suspends ? "write park = \"suspend\"" : "this driver has no warm standby, leave it out");
    if (c->standby > 0 && g->min <= g->max && c->standby > g->max - g->min)
        block_error(
            l, node,
            "%sstandby: min = %d that serve and %d parked ones are more than max = %d, which counts both",
            where, g->min, c->standby, g->max);
}

/* The part of the options that makes an instance what it is. */
static char *template_canon(const struct cfg_compute *c)
{
    const char *skip[HOST_OPTIONS_MAX + 2] = { NULL };
    size_t n = 0;
    if (c->driver->endpoints)
        skip[n++] = c->driver->endpoints;
    for (const struct as_option *o = c->driver->options; o->name && n <= HOST_OPTIONS_MAX; o++)
        if (o->flags & AS_OPT_HOSTS)
            skip[n++] = o->name;
    return own_canon(c->driver->name, c->settings, skip);
}

static int compute_finish(struct loader *l, struct cfg_group *g, const char *where)
{
    struct cfg_compute *c = &g->compute;
    char *template = template_canon(c);
    if (!template)
        return AS_ENOMEM;
    make_revision(template, c->revision);
    free(template);
    g->canon_compute = with_common(own_canon(c->driver->name, c->settings, NULL),
                                   "launches = %d %d\ntimeout = %lld\nkeep_failed = %lld\npark = %s %d\n",
                                   c->launches, c->boots, (long long)c->timeout, (long long)c->keep_failed,
                                   config_park_name(c->park), c->standby);
    if (!g->canon_compute)
        return AS_ENOMEM;
    int rc = block_endpoints(l, c->settings, where, c->driver->endpoints, "local", &c->endpoints,
                             &c->endpoint_count);
    return rc ? rc : compute_try(l, g, where);
}

bool config_host_lost(const struct cfg_group *g, const char *host)
{
    const struct as_settings *s = g->compute.common;
    for (size_t i = 0; s && i < as_settings_count(s, "lost_hosts"); i++)
        if (strcmp(as_settings_item(s, "lost_hosts", i), host) == 0)
            return true;
    return false;
}

static void check_lost(struct loader *l, const struct cfg_group *g, const char *where)
{
    const struct cfg_compute *c = &g->compute;
    int line = settings_line(c->common, "lost_hosts");
    for (size_t i = 0; i < c->endpoint_count; i++)
        if (config_host_lost(g, c->endpoints[i]))
            problems_error(
                l->problems, settings_file(c->common, line), line,
                "%slost_hosts: \"%.100s\" is named in %s too: it is either gone for good or in use", where,
                c->endpoints[i], c->driver->endpoints ? c->driver->endpoints : "use");
}

int config_load_compute(struct loader *l, struct cfg_group *g, const config_setting_t *node)
{
    char where[WHERE_MAX];
    struct cfg_compute *c = &g->compute;
    struct as_settings *parts[2] = { NULL, NULL };
    snprintf(where, sizeof where, "group '%s': compute: ", g->name);
    c->driver = compute_driver(l, node, where);
    if (!c->driver)
        return AS_OK;
    snprintf(where, sizeof where, "group '%s': compute (%s): ", g->name, c->driver->name);
    const struct as_option *const tables[2] = { schema_compute, c->driver->options };
    int rc = block_read(l, node, where, tables, parts);
    c->common = parts[0];
    c->settings = parts[1];
    if (rc == AS_OK) {
        c->launches = (int)as_settings_int(parts[0], "launches");
        c->boots = (int)as_settings_int(parts[0], "boots");
        c->timeout = as_settings_ms(parts[0], "timeout");
        c->keep_failed = as_settings_ms(parts[0], "keep_failed");
        take_standby(l, g, node, where, parts[0]);
        rc = compute_finish(l, g, where);
    }
    if (rc == AS_OK)
        check_lost(l, g, where);
    return rc == AS_ENOMEM ? rc : AS_OK;
}

/* --- balancer ------------------------------------------------------------------------------------ */

static const struct as_balancer_driver *balancer_driver(struct loader *l, const config_setting_t *node,
                                                        const char *where)
{
    const struct as_balancer_driver *const *all = l->cfg->registry->balancers;
    struct block_choice from = { .key = "driver", .what = "balancer driver" };
    while (from.count < CHOICE_MAX && all[from.count]) {
        from.names[from.count] = all[from.count]->name;
        from.count++;
    }
    int i = block_pick(l, node, where, &from);
    return i >= 0 ? all[i] : NULL;
}

static int balancer_try(struct loader *l, const struct cfg_group *g, const char *where)
{
    const struct cfg_balancer *b = &g->balancer;
    const struct as_owner owner = { l->cfg->name, g->name };
    int rc = AS_OK;
    for (size_t i = 0; rc == AS_OK && i < b->endpoint_count; i++) {
        struct as_error err = { 0 };
        void *self = calloc(1, b->driver->state_size ? b->driver->state_size : 1);
        if (!self)
            return AS_ENOMEM;
        rc = b->driver->open(self, b->settings, &owner, b->endpoints[i], &err);
        b->driver->close(self);
        free(self);
        if (rc)
            block_refused(l, b->settings, where, &err);
    }
    return rc;
}

static int balancer_finish(struct loader *l, struct cfg_group *g, const char *where)
{
    struct cfg_balancer *b = &g->balancer;
    g->canon_balancer = with_common(own_canon(b->driver->name, b->settings, NULL),
                                    "drain = %lld\ntimeout = %lld\nweighting = %s %s\n", (long long)b->drain,
                                    (long long)b->timeout, b->weigh ? "load" : "even", b->weigh_source);
    if (!g->canon_balancer)
        return AS_ENOMEM;
    int rc = block_endpoints(l, b->settings, where, b->driver->endpoints, "local", &b->endpoints,
                             &b->endpoint_count);
    return rc ? rc : balancer_try(l, g, where);
}

static bool measures_cpu(const struct as_source_driver *d)
{
    for (const struct as_series_doc *s = d->series; d->has_objects && s && s->name; s++)
        if (strcmp(s->name, AS_SERIES_CPU) == 0)
            return true;
    return false;
}

/* Weights go by what the balancer measures of its members, or by what a source does. */
static void weighting_read(struct loader *l, struct cfg_balancer *b, const struct as_settings *s,
                           const char *where)
{
    const char *name = as_settings_str(s, "weighting_source");
    const struct cfg_source *source = NULL;
    struct as_error err;
    b->weigh = strcmp(as_settings_str(s, "weighting"), "load") == 0;
    for (size_t i = 0; name && i < l->cfg->source_count; i++)
        if (strcmp(l->cfg->sources[i].name, name) == 0)
            source = &l->cfg->sources[i];
    err.rc = AS_OK;
    if (b->weigh && (!b->driver->weight || (!name && !b->driver->times_members)))
        as_settings_fail(s, "weighting", &err,
                         "balancer driver %s does not measure its members; write weighting = \"even\"%s",
                         b->driver->name, b->driver->weight ? ", or name a weighting_source" : "");
    else if (name && !b->weigh)
        as_settings_fail(s, "weighting_source", &err, "has no meaning without weighting = \"load\"");
    else if (name && !source)
        as_settings_fail(s, "weighting_source", &err, "there is no source '%.40s'", name);
    else if (source && source->driver && !measures_cpu(source->driver))
        as_settings_fail(s, "weighting_source", &err,
                         "source '%.40s' (%s) does not measure the CPU of instances; docker and libvirt do",
                         name, source->driver->name);
    else if (name)
        snprintf(b->weigh_source, sizeof b->weigh_source, "%s", name);
    if (err.rc != AS_OK)
        block_refused(l, s, where, &err);
}

int config_load_balancer(struct loader *l, struct cfg_group *g, const config_setting_t *node)
{
    char where[WHERE_MAX];
    struct cfg_balancer *b = &g->balancer;
    struct as_settings *parts[2] = { NULL, NULL };
    snprintf(where, sizeof where, "group '%s': balancer: ", g->name);
    b->driver = balancer_driver(l, node, where);
    if (!b->driver)
        return AS_OK;
    snprintf(where, sizeof where, "group '%s': balancer (%s): ", g->name, b->driver->name);
    const struct as_option *const tables[2] = { schema_balancer, b->driver->options };
    int rc = block_read(l, node, where, tables, parts);
    b->settings = parts[1];
    if (rc == AS_OK) {
        b->drain = as_settings_ms(parts[0], "drain");
        b->timeout = as_settings_ms(parts[0], "timeout");
        weighting_read(l, b, parts[0], where);
        rc = balancer_finish(l, g, where);
    }
    as_settings_free(parts[0]);
    return rc == AS_ENOMEM ? rc : AS_OK;
}

int config_no_balancer(struct cfg_group *g)
{
    for (const struct as_option *o = schema_balancer; o->name; o++) {
        as_time *to = strcmp(o->name, "drain") == 0     ? &g->balancer.drain
                      : strcmp(o->name, "timeout") == 0 ? &g->balancer.timeout
                                                        : NULL;
        struct settings_value v;
        if (to && settings_default(o, &v) != AS_OK)
            return AS_ENOMEM;
        if (to)
            *to = v.integer;
    }
    return AS_OK;
}

char *config_balancer_text(const struct cfg_balancer *b)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    settings_canon(out, b->settings, NULL);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

int config_balancer_recall(const struct as_registry *registry, const char *driver, const char *text,
                           const struct as_balancer_driver **type, struct as_settings **out,
                           struct as_error *err)
{
    const struct as_balancer_driver *const *d = registry->balancers;
    while (*d && strcmp((*d)->name, driver) != 0)
        d++;
    if (!*d)
        return as_fail(err, AS_EUNSUP, "this program has no balancer driver '%.40s'", driver);
    *type = *d;
    return as_settings_parse((*d)->options, text, out, err);
}
