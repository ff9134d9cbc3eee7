/* What all sections share: names, places, the choice of a driver, and the two tables of a block. */
#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "loader.h"
#include "schema.h"

struct cfg_place block_place(struct loader *l, const config_setting_t *node)
{
    return (struct cfg_place){ files_name(l, config_setting_source_file(node)),
                               (int)config_setting_source_line(node) };
}

void block_error(struct loader *l, const config_setting_t *node, const char *fmt, ...)
{
    char text[320];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    struct cfg_place at = block_place(l, node);
    problems_error(l->problems, at.file, at.line, "%s", text);
}

bool block_name_legal(const char *name)
{
    return islower((unsigned char)*name) && strlen(name) <= 48 &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(name);
}

static bool plain_name_legal(const char *name)
{
    if (!isalpha((unsigned char)*name) || strlen(name) >= AS_NAME_MAX)
        return false;
    while (isalnum((unsigned char)*name) || *name == '-' || *name == '_')
        name++;
    return !*name;
}

bool block_named(struct loader *l, const config_setting_t *node, const char *kind)
{
    const char *name = config_setting_name(node);
    bool strict = strcmp(kind, "group") == 0;
    if (!config_setting_is_group(node))
        block_error(l, node, "%s '%.63s': wants a block, as { … }", kind, name);
    else if (!(strict ? block_name_legal(name) : plain_name_legal(name)))
        block_error(l, node, "%s '%.63s': a name has %s", kind, name,
                    strict ? "at most 48 lower case letters, digits and dashes, and begins with a letter"
                           : "at most 63 letters, digits, '-' and '_', and begins with a letter");
    else
        return true;
    return false;
}

/* The text of `key`, or NULL after adding what is wrong. */
static const char *word_of(struct loader *l, const config_setting_t *node, const char *where, const char *key)
{
    const config_setting_t *word = config_setting_get_member(node, key);
    if (!word)
        block_error(l, node, "%s'%s' is missing", where, key);
    else if (config_setting_type(word) != CONFIG_TYPE_STRING)
        block_error(l, word, "%s%s: wants a name in double quotes", where, key);
    else
        return word->value.sval ? word->value.sval : "";
    return NULL;
}

int block_pick(struct loader *l, const config_setting_t *node, const char *where,
               const struct block_choice *from)
{
    char hint[256];
    const char *word = word_of(l, node, where, from->key);
    if (!word)
        return -1;
    for (size_t i = 0; i < from->count; i++)
        if (strcmp(from->names[i], word) == 0)
            return (int)i;
    block_error(l, config_setting_get_member(node, from->key), "%sno %s is called '%.63s'%s", where,
                from->what, word, block_hint(word, from->names, from->count, hint, sizeof hint));
    return -1;
}

/* --- reading ------------------------------------------------------------------------------------- */

static bool has_option(const struct as_option *table, const char *name)
{
    for (; table->name; table++)
        if (strcmp(table->name, name) == 0)
            return true;
    return false;
}

/* Beside the options of some blocks stand those of the drivers. */
static bool block_has(const struct as_registry *r, const struct schema_block *b, const char *name)
{
    bool has = has_option(b->options, name);
    for (size_t i = 0; !has && b->options == schema_compute && r->computes[i]; i++)
        has = has_option(r->computes[i]->options, name);
    for (size_t i = 0; !has && b->options == schema_balancer && r->balancers[i]; i++)
        has = has_option(r->balancers[i]->options, name);
    return has;
}

/* Among the blocks of a group, which are easily mistaken for each other. */
static void home_of(void *arg, const struct as_option *here, const char *option, char *buf, size_t size)
{
    static const char group[] = "groups.NAME";
    const struct loader *l = arg;
    const struct schema_block *own = schema_blocks;
    size_t used = 0;
    *buf = '\0';
    while (own->title && own->options != here)
        own++;
    if (!own->title || strncmp(own->title, group, sizeof group - 1) != 0)
        return;
    for (const struct schema_block *b = schema_blocks; b->title; b++) {
        if (b == own || strncmp(b->title, group, sizeof group - 1) != 0 ||
            !block_has(l->cfg->registry, b, option))
            continue;
        const char *join = used ? " or " : "", *name = b->title + sizeof group - 1;
        int n = *name ? snprintf(buf + used, size - used, "%s'%s'", join, name + 1)
                      : snprintf(buf + used, size - used, "%sthe group itself", join);
        used = n > 0 && (size_t)n < size - used ? used + (size_t)n : size - 1;
    }
}

int block_read(struct loader *l, const config_setting_t *node, const char *where,
               const struct as_option *const tables[2], struct as_settings *outs[2])
{
    const struct as_option *const all[] = { tables[0], tables[1], NULL };
    const struct settings_scope scope = { l->problems, where, files_name, home_of, l };
    return settings_read(&scope, node, all, outs);
}

void block_refused(struct loader *l, const struct as_settings *s, const char *where,
                   const struct as_error *err)
{
    int line = err->line > 0 ? err->line : s->line;
    problems_error(l->problems, settings_file(s, line), line, "%s%s", where,
                   *err->msg ? err->msg : as_rc_name(err->rc));
}

int block_endpoints(struct loader *l, const struct as_settings *s, const char *where, const char *name,
                    const char *alone, const char ***out, size_t *count)
{
    size_t n = name ? as_settings_count(s, name) : 1;
    const char **list = calloc(n ? n : 1, sizeof *list);
    if (!list)
        return AS_ENOMEM;
    int rc = AS_OK;
    if (!name)
        list[0] = alone;
    for (size_t i = 0; name && i < n; i++) {
        list[i] = as_settings_item(s, name, i);
        if (strlen(list[i]) >= AS_ENDPOINT_MAX) {
            int line = settings_line(s, name);
            problems_error(l->problems, settings_file(s, line), line,
                           "%s%s: \"%.60s...\" is longer than %d bytes", where, name, list[i],
                           AS_ENDPOINT_MAX - 1);
            rc = AS_EINVAL;
        }
        for (size_t k = 0; k < i; k++)
            if (strcmp(list[k], list[i]) == 0) {
                int line = settings_line(s, name);
                problems_error(l->problems, settings_file(s, line), line, "%s%s: \"%.100s\" is listed twice",
                               where, name, list[i]);
                rc = AS_EINVAL;
            }
    }
    if (n == 0) {
        int line = settings_line(s, name);
        problems_error(l->problems, settings_file(s, line), line, "%s%s: at least one is needed", where,
                       name);
        rc = AS_EINVAL;
    }
    *out = list;
    *count = n;
    return rc;
}

const char *block_hint(const char *wrong, const char *const *names, size_t count, char *buf, size_t size)
{
    struct suggestion near = { .wrong = wrong };
    for (size_t i = 0; i < count; i++)
        suggest_try(&near, names[i]);
    if (near.best || count == 0)
        return suggest_text(&near, buf, size);
    size_t used = (size_t)snprintf(buf, size, " (there %s: ", count == 1 ? "is" : "are");
    for (size_t i = 0; i < count && used < size; i++)
        used += (size_t)snprintf(buf + used, size - used, "%s%s", i ? ", " : "", names[i]);
    if (used < size)
        snprintf(buf + used, size - used, ")");
    else if (size > 4)
        memcpy(buf + size - 5, "...)", 5);
    return buf;
}
