/* Policies and the metrics they name: a metric must come from a source that exists and can give it. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "../model/formula.h"
#include "loader.h"

#define NAMES_MAX 128

void config_policy_fini(struct cfg_policy *p)
{
    as_settings_free(p->settings);
    free(p->canon);
}

static const struct as_policy_type *find_type(struct loader *l, const config_setting_t *node,
                                              const char *where)
{
    const struct as_policy_type *const *all = l->cfg->registry->policies;
    struct block_choice from = { .key = "type", .what = "policy type" };
    while (from.count < CHOICE_MAX && all[from.count]) {
        from.names[from.count] = all[from.count]->name;
        from.count++;
    }
    int i = block_pick(l, node, where, &from);
    return i >= 0 ? all[i] : NULL;
}

/* --- metrics ------------------------------------------------------------------------------------- */

struct metric {
    const char *option, *text;
    char source[AS_NAME_MAX], object[AS_NAME_MAX], series[AS_NAME_MAX];
};

__attribute__((format(printf, 5, 6))) static void metric_error(struct loader *l, const struct cfg_policy *p,
                                                               const char *where, const struct metric *m,
                                                               const char *fmt, ...)
{
    char text[320];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    int line = settings_line(p->settings, m->option);
    problems_error(l->problems, settings_file(p->settings, line), line, "%s%s: %s", where, m->option, text);
}

static const struct cfg_source *find_source(struct loader *l, const struct cfg_policy *p, const char *where,
                                            const struct metric *m)
{
    const struct cfg *c = l->cfg;
    const char *names[NAMES_MAX];
    char hint[256];
    size_t count = 0;
    for (size_t i = 0; i < c->source_count; i++) {
        if (strcmp(c->sources[i].name, m->source) == 0)
            return &c->sources[i];
        if (count < NAMES_MAX)
            names[count++] = c->sources[i].name;
    }
    metric_error(l, p, where, m, "there is no source '%s'%s", m->source,
                 block_hint(m->source, names, count, hint, sizeof hint));
    return NULL;
}

/* The series a source can give: the driver's and the user's own. */
static size_t series_names(const struct cfg_source *s, const char *names[NAMES_MAX])
{
    size_t count = 0;
    for (const struct as_series_doc *d = s->driver->series; d && d->name && count < NAMES_MAX; d++)
        names[count++] = d->name;
    const char *user = s->driver->user_series;
    for (size_t i = 0; user && i < as_settings_count(s->settings, user) && count < NAMES_MAX; i++)
        names[count++] = as_settings_key(s->settings, user, i);
    return count;
}

static void check_series(struct loader *l, const struct cfg_policy *p, const char *where,
                         const struct metric *m, const struct cfg_source *s)
{
    const char *names[NAMES_MAX];
    char hint[256];
    size_t count = series_names(s, names);
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], m->series) == 0)
            return;
    metric_error(l, p, where, m, "source '%s' (%s) has no series '%s'%s", s->name, s->driver->name, m->series,
                 block_hint(m->series, names, count, hint, sizeof hint));
}

static void check_metric(struct loader *l, const struct cfg_policy *p, const char *where, struct metric *m)
{
    if (!config_metric_split(m->text, m->source, m->object, m->series))
        return;
    const struct cfg_source *s = find_source(l, p, where, m);
    if (!s || !s->driver || !s->settings)
        return; /* reported where it stands */
    if (s->driver->has_objects && !*m->object)
        metric_error(l, p, where, m, "source '%s' (%s) measures several things: write \"%s.OBJECT.%s\"",
                     s->name, s->driver->name, s->name, m->series);
    else if (!s->driver->has_objects && *m->object)
        metric_error(l, p, where, m, "source '%s' (%s) measures one thing: write \"%s.%s\"", s->name,
                     s->driver->name, s->name, m->series);
    check_series(l, p, where, m, s);
}

/* --- policies ------------------------------------------------------------------------------------ */

static int try_init(struct loader *l, const struct cfg_policy *p, const char *where)
{
    struct as_error err = { 0 };
    void *state = calloc(1, p->type->state_size ? p->type->state_size : 1);
    if (!state)
        return AS_ENOMEM;
    int rc = p->type->init(state, p->settings, &err);
    if (rc == AS_OK && p->type->fini)
        p->type->fini(state); /* a failed init has cleaned up after itself */
    free(state);
    if (rc)
        block_refused(l, p->settings, where, &err);
    return rc == AS_ENOMEM ? rc : AS_OK;
}

static int make_canon(struct cfg_policy *p)
{
    size_t size = 0;
    FILE *out = open_memstream(&p->canon, &size);
    if (!out)
        return AS_ENOMEM;
    fprintf(out, "type = %s\n", p->type->name);
    settings_canon(out, p->settings, NULL);
    return fclose(out) == 0 ? AS_OK : AS_ENOMEM;
}

static int policy_read(struct loader *l, struct cfg_policy *p, const config_setting_t *node)
{
    char where[WHERE_MAX];
    struct as_settings *parts[2] = { NULL, NULL };
    snprintf(where, sizeof where, "policy '%s': ", p->name);
    p->type = find_type(l, node, where);
    if (!p->type)
        return AS_OK;
    snprintf(where, sizeof where, "policy '%s' (%s): ", p->name, p->type->name);
    const struct as_option *const tables[2] = { schema_policy, p->type->options };
    int rc = block_read(l, node, where, tables, parts);
    as_settings_free(parts[0]);
    p->settings = parts[1];
    for (const struct as_option *o = p->type->options; rc != AS_ENOMEM && o->name; o++) {
        const char *text = o->type == AS_OPT_METRIC ? as_settings_str(p->settings, o->name) : NULL;
        struct formula f;
        if (!text || formula_parse(text, &f, NULL) != AS_OK)
            continue;
        for (int k = 0; k < f.metric_count; k++) {
            struct metric m = { .option = o->name, .text = f.metrics[k] };
            check_metric(l, p, where, &m);
        }
    }
    if (rc == AS_OK)
        rc = make_canon(p);
    if (rc == AS_OK)
        rc = try_init(l, p, where);
    return rc == AS_ENOMEM ? rc : AS_OK;
}

static bool already_there(struct loader *l, const config_setting_t *node)
{
    const char *name = config_setting_name(node);
    for (size_t i = 0; i < l->cfg->policy_count; i++) {
        const struct cfg_policy *p = &l->cfg->policies[i];
        if (strcmp(p->name, name) == 0) {
            block_error(l, node, "policy '%s': already defined at %s:%d", name, p->at.file, p->at.line);
            return true;
        }
    }
    return false;
}

int config_load_policies(struct loader *l, const config_setting_t *policies)
{
    struct cfg *c = l->cfg;
    int length = policies ? config_setting_length(policies) : 0;
    struct cfg_policy *all = reallocarray(c->policies, c->policy_count + (size_t)length + 1, sizeof *all);
    if (!all)
        return AS_ENOMEM;
    c->policies = all;
    for (int i = 0; i < length; i++) {
        const config_setting_t *node = config_setting_get_elem(policies, (unsigned)i);
        if (!block_named(l, node, "policy") || already_there(l, node))
            continue;
        struct cfg_policy *p = &all[c->policy_count++];
        *p = (struct cfg_policy){ .at = block_place(l, node) };
        snprintf(p->name, sizeof p->name, "%s", config_setting_name(node));
        if (policy_read(l, p, node) == AS_ENOMEM)
            return AS_ENOMEM;
    }
    return AS_OK;
}
