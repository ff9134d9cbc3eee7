/* Sources: what measures. Opened offline once per endpoint to let the driver judge its options, and
 * closed again. */
#include <stdlib.h>
#include <string.h>

#include "loader.h"

void config_source_fini(struct cfg_source *s)
{
    as_settings_free(s->settings);
    free(s->canon);
}

static const struct as_source_driver *find_driver(struct loader *l, const config_setting_t *node,
                                                  const char *where)
{
    const struct as_source_driver *const *all = l->cfg->registry->sources;
    struct block_choice from = { .key = "driver", .what = "source driver" };
    while (from.count < CHOICE_MAX && all[from.count]) {
        from.names[from.count] = all[from.count]->name;
        from.count++;
    }
    int i = block_pick(l, node, where, &from);
    return i >= 0 ? all[i] : NULL;
}

static int try_open(struct loader *l, const struct cfg_source *s, const char *where)
{
    const char **endpoints = NULL;
    size_t count = 0;
    int rc = block_endpoints(l, s->settings, where, s->driver->endpoints, "", &endpoints, &count);
    for (size_t i = 0; rc == AS_OK && i < count; i++) {
        struct as_error err = { 0 };
        void *self = calloc(1, s->driver->state_size ? s->driver->state_size : 1);
        if (!self) {
            rc = AS_ENOMEM;
            break;
        }
        if (s->driver->own)
            s->driver->own(self, l->cfg->name);
        rc = s->driver->open(self, s->settings, endpoints[i], &err);
        s->driver->close(self);
        free(self);
        if (rc)
            block_refused(l, s->settings, where, &err);
    }
    free(endpoints);
    return rc == AS_ENOMEM ? rc : AS_OK;
}

static int make_canon(struct cfg_source *s)
{
    size_t size = 0;
    FILE *out = open_memstream(&s->canon, &size);
    if (!out)
        return AS_ENOMEM;
    fprintf(out, "driver = %s\ninterval = %lld\ntimeout = %lld\nmax_age = %lld\n", s->driver->name,
            (long long)s->interval, (long long)s->timeout, (long long)s->max_age);
    settings_canon(out, s->settings, NULL);
    return fclose(out) == 0 ? AS_OK : AS_ENOMEM;
}

static void take_common(const struct cfg *c, struct cfg_source *s, const struct as_settings *common)
{
    s->timeout = as_settings_ms(common, "timeout");
    s->interval = as_settings_has(common, "interval") ? as_settings_ms(common, "interval") : c->interval;
    s->max_age =
        as_settings_has(common, "max_age") ? as_settings_ms(common, "max_age") : 3 * s->interval + s->timeout;
}

static int source_read(struct loader *l, struct cfg_source *s, const config_setting_t *node)
{
    char where[WHERE_MAX];
    struct as_settings *parts[2] = { NULL, NULL };
    snprintf(where, sizeof where, "source '%s': ", s->name);
    s->driver = find_driver(l, node, where);
    if (!s->driver)
        return AS_OK;
    snprintf(where, sizeof where, "source '%s' (%s): ", s->name, s->driver->name);
    const struct as_option *const tables[2] = { schema_source, s->driver->options };
    int rc = block_read(l, node, where, tables, parts);
    s->settings = parts[1];
    if (rc == AS_OK) {
        take_common(l->cfg, s, parts[0]);
        rc = make_canon(s);
    }
    if (rc == AS_OK)
        rc = try_open(l, s, where);
    as_settings_free(parts[0]);
    return rc == AS_ENOMEM ? rc : AS_OK;
}

int config_load_sources(struct loader *l, const config_setting_t *sources)
{
    struct cfg *c = l->cfg;
    int length = sources ? config_setting_length(sources) : 0;
    c->sources = calloc((size_t)length + 1, sizeof *c->sources);
    if (!c->sources)
        return AS_ENOMEM;
    for (int i = 0; i < length; i++) {
        const config_setting_t *node = config_setting_get_elem(sources, (unsigned)i);
        if (!block_named(l, node, "source"))
            continue;
        struct cfg_source *s = &c->sources[c->source_count++];
        snprintf(s->name, sizeof s->name, "%s", config_setting_name(node));
        s->at = block_place(l, node);
        if (source_read(l, s, node) == AS_ENOMEM)
            return AS_ENOMEM;
    }
    return AS_OK;
}
