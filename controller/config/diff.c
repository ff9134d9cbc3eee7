/* What changed between two configurations, one line per difference. Values of lists, maps and blocks are
 * not shown: environment variables and the like may hold what a log must not. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "loader.h"
#include "units.h"

struct differ {
    struct cfg_diff *out;
    bool failed;
};

__attribute__((format(printf, 2, 3))) static void line_add(struct differ *d, const char *fmt, ...)
{
    struct cfg_diff *out = d->out;
    if (out->count == out->cap) {
        size_t cap = out->cap ? out->cap * 2 : 16;
        void *lines = reallocarray(out->lines, cap, sizeof *out->lines);
        if (!lines) {
            d->failed = true;
            return;
        }
        out->lines = lines;
        out->cap = cap;
    }
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(out->lines[out->count++], sizeof *out->lines, fmt, ap);
    va_end(ap);
}

static void diff_text(struct differ *d, const char *where, const char *name, const char *a, const char *b)
{
    if (strcmp(a, b) != 0)
        line_add(d, "%s%s %.60s -> %.60s", where, name, *a ? a : "\"\"", *b ? b : "\"\"");
}

static void diff_int(struct differ *d, const char *where, const char *name, int a, int b)
{
    if (a != b)
        line_add(d, "%s%s %d -> %d", where, name, a, b);
}

static void diff_percent(struct differ *d, const char *where, const char *name, int a, int b)
{
    if (a != b)
        line_add(d, "%s%s %d%% -> %d%%", where, name, a, b);
}

static void diff_ms(struct differ *d, const char *where, const char *name, as_time a, as_time b)
{
    char x[UNITS_TEXT_MAX], y[UNITS_TEXT_MAX];
    diff_text(d, where, name, units_duration_text(a, x), units_duration_text(b, y));
}

/* --- settings ------------------------------------------------------------------------------------ */

static bool is_many(enum as_option_type type)
{
    return type == AS_OPT_STRINGS || type == AS_OPT_MAP || type == AS_OPT_LIST || type == AS_OPT_GROUP;
}

/* A value as people read it: without quotes. NULL: out of memory. */
static char *value_text(const struct as_option *option, const struct settings_value *v)
{
    if (!v->set)
        return strdup("unset");
    if (v->text)
        return strdup(*v->text ? v->text : "\"\"");
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    settings_value_print(out, option, v);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    if (size > 1 && text[0] == '"' && text[size - 1] == '"') {
        memmove(text, text + 1, size - 2);
        text[size - 2] = '\0';
    }
    return text;
}

static void diff_value(struct differ *d, const char *where, const struct as_option *option,
                       const struct settings_value *a, const struct settings_value *b)
{
    if (is_many(option->type)) {
        if (a->count != b->count)
            line_add(d, "%s%s changed (%zu -> %zu entries)", where, option->name, a->count, b->count);
        else
            line_add(d, "%s%s changed", where, option->name);
        return;
    }
    char *before = value_text(option, a), *after = value_text(option, b);
    if (before && after)
        diff_text(d, where, option->name, before, after);
    else
        d->failed = true;
    free(before);
    free(after);
}

/* Both were read against the same table. */
static void diff_settings(struct differ *d, const char *where, const struct as_settings *a,
                          const struct as_settings *b)
{
    for (size_t i = 0; i < a->option_count; i++)
        if (!settings_value_equal(&a->options[i], &a->values[i], &b->values[i]))
            diff_value(d, where, &a->options[i], &a->values[i], &b->values[i]);
}

/* --- sections ------------------------------------------------------------------------------------ */

static void diff_controller(struct differ *d, const struct cfg *a, const struct cfg *b)
{
    const char *where = "controller: ";
    diff_text(d, where, "name", a->name, b->name);
    diff_ms(d, where, "interval", a->interval, b->interval);
    diff_text(d, where, "state", a->state, b->state);
    diff_text(d, where, "socket", a->socket, b->socket);
    diff_ms(d, where, "retention", a->retention, b->retention);
    diff_text(d, where, "log_level", a->log_level, b->log_level);
}

static void diff_source(struct differ *d, const struct cfg_source *a, const struct cfg_source *b)
{
    char where[WHERE_MAX];
    snprintf(where, sizeof where, "source '%s': ", a->name);
    diff_ms(d, where, "interval", a->interval, b->interval);
    diff_ms(d, where, "timeout", a->timeout, b->timeout);
    diff_ms(d, where, "max_age", a->max_age, b->max_age);
    if (a->driver == b->driver)
        diff_settings(d, where, a->settings, b->settings);
    else
        diff_text(d, where, "driver", a->driver->name, b->driver->name);
}

static void diff_policy(struct differ *d, const struct cfg_policy *a, const struct cfg_policy *b)
{
    char where[WHERE_MAX];
    snprintf(where, sizeof where, "policy '%s': ", a->name);
    if (a->type == b->type)
        diff_settings(d, where, a->settings, b->settings);
    else
        diff_text(d, where, "type", a->type->name, b->type->name);
}

static void diff_rate(struct differ *d, const char *group, const char *block, const struct cfg_rate *a,
                      const struct cfg_rate *b)
{
    char where[WHERE_MAX];
    snprintf(where, sizeof where, "group '%s': %s: ", group, block);
    diff_ms(d, where, "window", a->window, b->window);
    diff_ms(d, where, "cooldown", a->cooldown, b->cooldown);
    diff_ms(d, where, "period", a->period, b->period);
    diff_int(d, where, "max_step", a->max_step, b->max_step);
    diff_percent(d, where, "max_percent", a->max_percent, b->max_percent);
}

static const char *health_name(enum cfg_health_kind kind)
{
    return kind == CFG_HEALTH_HTTP ? "http" : kind == CFG_HEALTH_TCP ? "tcp" : "running";
}

static void diff_health(struct differ *d, const char *group, const struct cfg_health *a,
                        const struct cfg_health *b)
{
    char where[WHERE_MAX];
    snprintf(where, sizeof where, "group '%s': health: ", group);
    diff_text(d, where, "check", health_name(a->kind), health_name(b->kind));
    diff_text(d, where, "http", a->path, b->path);
    diff_int(d, where, "expect", a->expect, b->expect);
    diff_ms(d, where, "interval", a->interval, b->interval);
    diff_ms(d, where, "timeout", a->timeout, b->timeout);
    diff_ms(d, where, "boot_timeout", a->boot_timeout, b->boot_timeout);
    diff_int(d, where, "rise", a->rise, b->rise);
    diff_int(d, where, "fall", a->fall, b->fall);
}

static void diff_lost(struct differ *d, const char *where, const struct as_settings *a,
                      const struct as_settings *b)
{
    int i = settings_index(a, "lost_hosts");
    if (!settings_value_equal(&a->options[i], &a->values[i], &b->values[i]))
        diff_value(d, where, &a->options[i], &a->values[i], &b->values[i]);
}

static void diff_compute(struct differ *d, const char *group, const struct cfg_compute *a,
                         const struct cfg_compute *b)
{
    char where[WHERE_MAX];
    snprintf(where, sizeof where, "group '%s': compute: ", group);
    diff_int(d, where, "launches", a->launches, b->launches);
    diff_int(d, where, "boots", a->boots, b->boots);
    diff_ms(d, where, "timeout", a->timeout, b->timeout);
    diff_ms(d, where, "keep_failed", a->keep_failed, b->keep_failed);
    diff_text(d, where, "park", config_park_name(a->park), config_park_name(b->park));
    diff_int(d, where, "standby", a->standby, b->standby);
    diff_lost(d, where, a->common, b->common);
    if (a->driver == b->driver)
        diff_settings(d, where, a->settings, b->settings);
    else
        diff_text(d, where, "driver", a->driver->name, b->driver->name);
}

static void diff_balancer(struct differ *d, const char *group, const struct cfg_balancer *a,
                          const struct cfg_balancer *b)
{
    char where[WHERE_MAX];
    snprintf(where, sizeof where, "group '%s': balancer: ", group);
    if (!a->driver && !b->driver)
        return;
    if (a->driver != b->driver) {
        diff_text(d, where, "driver", a->driver ? a->driver->name : "none",
                  b->driver ? b->driver->name : "none");
        return;
    }
    diff_ms(d, where, "drain", a->drain, b->drain);
    diff_ms(d, where, "timeout", a->timeout, b->timeout);
    if (a->weigh != b->weigh)
        diff_text(d, where, "weighting", a->weigh ? "load" : "even", b->weigh ? "load" : "even");
    if (strcmp(a->weigh_source, b->weigh_source) != 0)
        diff_text(d, where, "weighting_source", *a->weigh_source ? a->weigh_source : "none",
                  *b->weigh_source ? b->weigh_source : "none");
    diff_settings(d, where, a->settings, b->settings);
}

struct policies { /* what a group names, and how it names them */
    const char *kind, *kinds;
    const struct cfg_policy *const *list;
    size_t count;
};

static bool names(const struct policies *p, const char *policy)
{
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->list[i]->name, policy) == 0)
            return true;
    return false;
}

static void diff_policies(struct differ *d, const char *group, const struct policies *a,
                          const struct policies *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; i < a->count; i++)
        if (!names(b, a->list[i]->name)) {
            line_add(d, "group '%s': %s '%s' removed", group, a->kind, a->list[i]->name);
            same = false;
        }
    for (size_t i = 0; i < b->count; i++)
        if (!names(a, b->list[i]->name)) {
            line_add(d, "group '%s': %s '%s' added", group, b->kind, b->list[i]->name);
            same = false;
        }
    for (size_t i = 0; same && i < a->count; i++)
        if (strcmp(a->list[i]->name, b->list[i]->name) != 0) {
            line_add(d, "group '%s': order of %s changed", group, a->kinds);
            same = false;
        }
}

static void diff_group_policies(struct differ *d, const struct cfg_group *a, const struct cfg_group *b)
{
    diff_policies(d, a->name, &(struct policies){ "policy", "policies", a->policies, a->policy_count },
                  &(struct policies){ "policy", "policies", b->policies, b->policy_count });
    diff_policies(d, a->name, &(struct policies){ "shadow", "shadows", a->shadows, a->shadow_count },
                  &(struct policies){ "shadow", "shadows", b->shadows, b->shadow_count });
}

static void diff_group(struct differ *d, const struct cfg_group *a, const struct cfg_group *b)
{
    char where[WHERE_MAX];
    snprintf(where, sizeof where, "group '%s': ", a->name);
    diff_int(d, where, "min", a->min, b->min);
    diff_int(d, where, "max", a->max, b->max);
    diff_text(d, where, "pause", *a->pause ? a->pause : "no", *b->pause ? b->pause : "no");
    diff_ms(d, where, "lead", a->lead, b->lead);
    diff_compute(d, a->name, &a->compute, &b->compute);
    diff_balancer(d, a->name, &a->balancer, &b->balancer);
    diff_health(d, a->name, &a->health, &b->health);
    diff_group_policies(d, a, b);
    diff_rate(d, a->name, "scale_out", &a->out, &b->out);
    diff_rate(d, a->name, "scale_in", &a->in, &b->in);
}

/* --- matching by name ---------------------------------------------------------------------------- */

/* An array of entries that begin with their name. */
struct entries {
    const char *items;
    size_t count, size;
};

static const void *entry(const struct entries *e, size_t i)
{
    return e->items + i * e->size;
}

static const void *entry_find(const struct entries *e, const char *name)
{
    for (size_t i = 0; i < e->count; i++)
        if (strcmp(entry(e, i), name) == 0)
            return entry(e, i);
    return NULL;
}

typedef void diff_entry(struct differ *d, const void *before, const void *after);

static void source_entry(struct differ *d, const void *before, const void *after)
{
    diff_source(d, before, after);
}

static void policy_entry(struct differ *d, const void *before, const void *after)
{
    diff_policy(d, before, after);
}

static void group_entry(struct differ *d, const void *before, const void *after)
{
    diff_group(d, before, after);
}

static void diff_entries(struct differ *d, const char *kind, const struct entries *a, const struct entries *b,
                         diff_entry *compare)
{
    for (size_t i = 0; i < a->count; i++) {
        const void *after = entry_find(b, entry(a, i));
        if (after)
            compare(d, entry(a, i), after);
        else
            line_add(d, "%s '%s' removed", kind, (const char *)entry(a, i));
    }
    for (size_t i = 0; i < b->count; i++)
        if (!entry_find(a, entry(b, i)))
            line_add(d, "%s '%s' added", kind, (const char *)entry(b, i));
}

#define ENTRIES(array, n)                                                                                    \
    &(struct entries)                                                                                        \
    {                                                                                                        \
        (const char *)(array), n, sizeof *(array)                                                            \
    }

int config_diff(const struct cfg *before, const struct cfg *after, struct cfg_diff *out)
{
    struct differ d = { .out = out };
    diff_controller(&d, before, after);
    diff_entries(&d, "source", ENTRIES(before->sources, before->source_count),
                 ENTRIES(after->sources, after->source_count), source_entry);
    diff_entries(&d, "policy", ENTRIES(before->policies, before->policy_count),
                 ENTRIES(after->policies, after->policy_count), policy_entry);
    diff_entries(&d, "group", ENTRIES(before->groups, before->group_count),
                 ENTRIES(after->groups, after->group_count), group_entry);
    return d.failed ? AS_ENOMEM : AS_OK;
}

void config_diff_fini(struct cfg_diff *d)
{
    free(d->lines);
    *d = (struct cfg_diff){ 0 };
}
