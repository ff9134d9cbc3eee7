/* Groups: bounds, health, damping, and the names of their policies. compute and balancer are in
 * platform.c. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "loader.h"

#define NAMES_MAX 128

void config_group_fini(struct cfg_group *g)
{
    as_settings_free(g->compute.settings);
    as_settings_free(g->compute.common);
    as_settings_free(g->balancer.settings);
    free(g->compute.endpoints);
    free(g->balancer.endpoints);
    free(g->policies);
    free(g->shadows);
    free(g->canon);
    free(g->canon_compute);
    free(g->canon_balancer);
}

__attribute__((format(printf, 4, 5))) static void option_error(struct loader *l, const struct as_settings *s,
                                                               const char *name, const char *fmt, ...)
{
    char text[320];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    int line = settings_line(s, name);
    problems_error(l->problems, settings_file(s, line), line, "%s", text);
}

/* --- health -------------------------------------------------------------------------------------- */

static enum cfg_health_kind health_kind(const struct as_settings *s, bool balanced)
{
    if (as_settings_has(s, "http"))
        return CFG_HEALTH_HTTP;
    if (as_settings_has(s, "tcp"))
        return as_settings_bool(s, "tcp") ? CFG_HEALTH_TCP : CFG_HEALTH_RUNNING;
    return balanced ? CFG_HEALTH_TCP : CFG_HEALTH_RUNNING;
}

static void health_path(struct loader *l, struct cfg_group *g, const struct as_settings *s)
{
    const char *path = as_settings_str(s, "http");
    bool clean = *path == '/';
    for (const unsigned char *c = (const unsigned char *)path; *c; c++)
        clean = clean && *c > ' ' && *c < 0x7f;
    if (!clean)
        option_error(l, s, "http",
                     "group '%s': health: http: a path begins with \"/\" and has no blanks, as \"/healthz\"",
                     g->name);
    else if (strlen(path) >= sizeof g->health.path)
        option_error(l, s, "http", "group '%s': health: http: the path is longer than %zu bytes", g->name,
                     sizeof g->health.path - 1);
    else
        snprintf(g->health.path, sizeof g->health.path, "%s", path);
}

static void take_health(struct loader *l, struct cfg_group *g, const struct as_settings *s, bool balanced)
{
    g->health = (struct cfg_health){
        .kind = health_kind(s, balanced),
        .expect = (int)as_settings_int(s, "expect"),
        .interval = as_settings_ms(s, "interval"),
        .timeout = as_settings_ms(s, "timeout"),
        .boot_timeout = as_settings_ms(s, "boot_timeout"),
        .rise = (int)as_settings_int(s, "rise"),
        .fall = (int)as_settings_int(s, "fall"),
    };
    if (g->health.kind == CFG_HEALTH_HTTP)
        health_path(l, g, s);
    else if (as_settings_has(s, "expect"))
        option_error(l, s, "expect",
                     "group '%s': health: expect: only an HTTP check has a status: give http as well",
                     g->name);
    if (g->health.kind == CFG_HEALTH_HTTP && as_settings_has(s, "tcp"))
        option_error(l, s, "tcp", "group '%s': health: tcp: give either http or tcp, not both", g->name);
}

/* --- damping ------------------------------------------------------------------------------------- */

static void take_rate(struct loader *l, const struct cfg_group *g, const char *block,
                      const struct as_settings *s, struct cfg_rate *out)
{
    double percent = as_settings_num(s, "max_percent") * 100;
    *out = (struct cfg_rate){
        .window = as_settings_ms(s, "window"),
        .cooldown = as_settings_ms(s, "cooldown"),
        .period = as_settings_ms(s, "period"),
        .max_step = (int)as_settings_int(s, "max_step"),
        .max_percent = (int)(percent + 0.5),
    };
    double off = percent - out->max_percent;
    if (off > 1e-6 || off < -1e-6)
        option_error(l, s, "max_percent", "group '%s': %s: max_percent: wants whole percents", g->name,
                     block);
}

/* --- policies ------------------------------------------------------------------------------------ */

static const struct cfg_policy *find_policy(struct loader *l, const struct cfg_group *g,
                                            const struct as_settings *s, const char *option, const char *name)
{
    const struct cfg *c = l->cfg;
    const char *names[NAMES_MAX];
    char hint[256];
    size_t count = 0;
    for (size_t i = 0; i < c->policy_count; i++) {
        if (strcmp(c->policies[i].name, name) == 0)
            return &c->policies[i];
        if (count < NAMES_MAX)
            names[count++] = c->policies[i].name;
    }
    option_error(l, s, option, "group '%s': %s: there is no policy '%.63s'%s", g->name, option, name,
                 block_hint(name, names, count, hint, sizeof hint));
    return NULL;
}

/* The policies an option names, each once. */
static int take_policies(struct loader *l, const struct cfg_group *g, const struct as_settings *s,
                         const char *option, const struct cfg_policy ***list)
{
    size_t named = as_settings_count(s, option), count = 0;
    const struct cfg_policy **found = calloc(named + 1, sizeof *found);
    if (!found)
        return AS_ENOMEM;
    for (size_t i = 0; i < named; i++) {
        const char *name = as_settings_item(s, option, i);
        const struct cfg_policy *p = find_policy(l, g, s, option, name);
        for (size_t k = 0; p && k < count; k++)
            if (found[k] == p) {
                option_error(l, s, option, "group '%s': %s: '%s' is named twice", g->name, option, name);
                p = NULL;
            }
        if (p)
            found[count++] = p;
    }
    *list = found;
    return AS_OK;
}

static size_t list_length(const struct cfg_policy *const *list)
{
    size_t n = 0;
    while (list && list[n])
        n++;
    return n;
}

static int take_all_policies(struct loader *l, struct cfg_group *g, const struct as_settings *s)
{
    int rc = take_policies(l, g, s, "policies", &g->policies);
    g->policy_count = list_length(g->policies);
    if (rc == AS_OK)
        rc = take_policies(l, g, s, "shadow", &g->shadows);
    g->shadow_count = list_length(g->shadows);
    return rc;
}

static bool has_metric(const struct cfg_group *g)
{
    for (size_t i = 0; i < g->policy_count; i++) {
        const struct cfg_policy *p = g->policies[i];
        for (const struct as_option *o = p->type ? p->type->options : NULL; o && o->name; o++)
            if (o->type == AS_OPT_METRIC && p->settings && as_settings_has(p->settings, o->name))
                return true;
    }
    return false;
}

/* --- the block ----------------------------------------------------------------------------------- */

static void check_bounds(struct loader *l, const struct cfg_group *g, const struct as_settings *s)
{
    if (!as_settings_has(s, "min") || !as_settings_has(s, "max"))
        return;
    if (g->min > g->max)
        option_error(l, s, "min", "group '%s': min: %d is above max = %d", g->name, g->min, g->max);
    if (g->min == 0 && !has_metric(g))
        option_error(
            l, s, "min",
            "group '%s': min: 0 needs a policy with a metric, or nothing would ever start the first instance",
            g->name);
}

static void take_pause(struct loader *l, struct cfg_group *g, const struct as_settings *s)
{
    const char *why = as_settings_has(s, "pause") ? as_settings_str(s, "pause") : NULL;
    if (!why)
        return;
    if (!*why || strlen(why) >= sizeof g->pause)
        option_error(l, s, "pause",
                     "group '%s': pause: wants a reason of 1 to %zu bytes; leave it out to go on", g->name,
                     sizeof g->pause - 1);
    snprintf(g->pause, sizeof g->pause, "%s", why);
}

static void canon_rate(FILE *out, const char *name, const struct cfg_rate *r)
{
    fprintf(out, "%s = %lld %lld %lld %d %d\n", name, (long long)r->window, (long long)r->cooldown,
            (long long)r->period, r->max_step, r->max_percent);
}

static int make_canon(struct cfg_group *g)
{
    size_t size = 0;
    const struct cfg_health *h = &g->health;
    FILE *out = open_memstream(&g->canon, &size);
    if (!out)
        return AS_ENOMEM;
    fprintf(out, "min = %d\nmax = %d\nlead = %lld\npause = %s\n", g->min, g->max, (long long)g->lead,
            g->pause);
    fprintf(out, "health = %d %s %d %lld %lld %lld %d %d\n", (int)h->kind, h->path, h->expect,
            (long long)h->interval, (long long)h->timeout, (long long)h->boot_timeout, h->rise, h->fall);
    canon_rate(out, "scale_out", &g->out);
    canon_rate(out, "scale_in", &g->in);
    fprintf(out, "compute\n%s", g->canon_compute ? g->canon_compute : "");
    for (size_t i = 0; g->compute.common && i < as_settings_count(g->compute.common, "lost_hosts"); i++)
        fprintf(out, "lost = %s\n", as_settings_item(g->compute.common, "lost_hosts", i));
    if (g->canon_balancer)
        fprintf(out, "balancer\n%s", g->canon_balancer);
    for (size_t i = 0; i < g->policy_count; i++)
        fprintf(out, "policy %s\n%s", g->policies[i]->name,
                g->policies[i]->canon ? g->policies[i]->canon : "");
    for (size_t i = 0; i < g->shadow_count; i++)
        fprintf(out, "shadow %s\n%s", g->shadows[i]->name, g->shadows[i]->canon ? g->shadows[i]->canon : "");
    return fclose(out) == 0 ? AS_OK : AS_ENOMEM;
}

static int group_read(struct loader *l, struct cfg_group *g, const config_setting_t *node)
{
    char where[WHERE_MAX];
    struct as_settings *parts[2] = { NULL, NULL };
    const struct as_option *const tables[2] = { schema_group, NULL };
    snprintf(where, sizeof where, "group '%s': ", g->name);
    int rc = block_read(l, node, where, tables, parts);
    const struct as_settings *s = parts[0];
    if (rc == AS_ENOMEM)
        return rc;
    const config_setting_t *compute = config_setting_get_member(node, "compute");
    const config_setting_t *balancer = config_setting_get_member(node, "balancer");
    g->min = (int)as_settings_int(s, "min");
    g->max = (int)as_settings_int(s, "max");
    g->lead = as_settings_ms(s, "lead");
    take_pause(l, g, s);
    take_health(l, g, as_settings_sub(s, "health", 0), balancer != NULL);
    take_rate(l, g, "scale_out", as_settings_sub(s, "scale_out", 0), &g->out);
    take_rate(l, g, "scale_in", as_settings_sub(s, "scale_in", 0), &g->in);
    int rest = take_all_policies(l, g, s);
    if (rest == AS_OK && compute && config_setting_is_group(compute))
        rest = config_load_compute(l, g, compute);
    if (rest == AS_OK && balancer && config_setting_is_group(balancer))
        rest = config_load_balancer(l, g, balancer);
    else if (rest == AS_OK)
        rest = config_no_balancer(g);
    if (rest == AS_OK && rc == AS_OK)
        check_bounds(l, g, s);
    if (rest == AS_OK)
        rest = make_canon(g);
    as_settings_free(parts[0]);
    return rest;
}

int config_load_groups(struct loader *l, const config_setting_t *groups)
{
    struct cfg *c = l->cfg;
    int length = groups ? config_setting_length(groups) : 0;
    c->groups = calloc((size_t)length + 1, sizeof *c->groups);
    if (!c->groups)
        return AS_ENOMEM;
    for (int i = 0; i < length; i++) {
        const config_setting_t *node = config_setting_get_elem(groups, (unsigned)i);
        if (!block_named(l, node, "group"))
            continue;
        struct cfg_group *g = &c->groups[c->group_count++];
        snprintf(g->name, sizeof g->name, "%s", config_setting_name(node));
        g->at = block_place(l, node);
        if (group_read(l, g, node) == AS_ENOMEM)
            return AS_ENOMEM;
    }
    return AS_OK;
}
