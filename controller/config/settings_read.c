/* Reading a libconfig block against option tables. Only config_setting_type decides what a value is:
 * libconfig's own getters convert, wrap and truncate silently. Every problem is reported with its
 * place and the reading goes on; an option that was wrong has its default afterwards. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "../model/formula.h"
#include "settings_internal.h"
#include "units.h"

#define ITEMS_CAP 1000 /* of one array, map or list */

struct reader {
    const struct settings_scope *scope;
    const char *path; /* of the block: "" or "steps #2: " */
    const struct as_option *option;
    const config_setting_t *node;
    struct settings_value *value;
};

static const char *node_file(const struct settings_scope *scope, const config_setting_t *node)
{
    return scope->file_name(scope->arg, config_setting_source_file(node));
}

static int node_line(const config_setting_t *node)
{
    return (int)config_setting_source_line(node);
}

/* Adds "WHERE PATH NAME: text" at the node's place; returns AS_EINVAL. */
__attribute__((format(printf, 2, 3))) static int complain(const struct reader *r, const char *fmt, ...)
{
    char text[320];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    problems_error(r->scope->problems, node_file(r->scope, r->node), node_line(r->node), "%s%s%s: %s",
                   r->scope->where, r->path, r->option->name, text);
    return AS_EINVAL;
}

static const char *wanted(enum as_option_type type)
{
    switch (type) {
    case AS_OPT_STRING: return "text in double quotes";
    case AS_OPT_FILE:
    case AS_OPT_SECRET: return "the path of a file in double quotes";
    case AS_OPT_BOOL: return "true or false";
    case AS_OPT_INT: return "a whole number";
    case AS_OPT_NUMBER: return "a number";
    case AS_OPT_DURATION: return "a duration with its unit, as \"30s\"";
    case AS_OPT_BYTES: return "a size with its unit, as \"512MiB\"";
    case AS_OPT_PERCENT: return "a percentage, as \"80%\"";
    case AS_OPT_CHOICE: return "one of its words in double quotes";
    case AS_OPT_STRINGS: return "texts, as [ \"a\", \"b\" ]";
    case AS_OPT_MAP: return "a block of texts, as { name = \"text\"; }";
    case AS_OPT_METRIC: return "a metric, as \"source.series\"";
    case AS_OPT_GROUP: return "a block, as { … }";
    case AS_OPT_LIST: return "a list of blocks, as ( { … }, { … } )";
    }
    return "another value";
}

static const char *found(const config_setting_t *node)
{
    switch (config_setting_type(node)) {
    case CONFIG_TYPE_GROUP: return "a block";
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
    case CONFIG_TYPE_FLOAT: return "a number";
    case CONFIG_TYPE_STRING: return "text";
    case CONFIG_TYPE_BOOL: return "true or false";
    case CONFIG_TYPE_ARRAY: return "an array";
    default: return "a list";
    }
}

/* "5" of an integer node, or NULL. */
static const char *number_text(const config_setting_t *node, char *buf)
{
    switch (config_setting_type(node)) {
    case CONFIG_TYPE_INT: snprintf(buf, UNITS_TEXT_MAX, "%d", node->value.ival); return buf;
    case CONFIG_TYPE_INT64: snprintf(buf, UNITS_TEXT_MAX, "%lld", node->value.llval); return buf;
    case CONFIG_TYPE_FLOAT: return units_number_text(node->value.fval, buf);
    default: return NULL;
    }
}

static int wrong_type(const struct reader *r)
{
    return complain(r, "wants %s, not %s", wanted(r->option->type), found(r->node));
}

static bool node_text(const struct reader *r, const char **text)
{
    if (config_setting_type(r->node) != CONFIG_TYPE_STRING)
        return false;
    *text = r->node->value.sval ? r->node->value.sval : "";
    return true;
}

static int check_range(const struct reader *r, const char *shown)
{
    char range[128];
    if (settings_in_range(r->option, r->value))
        return AS_OK;
    return complain(r, "%s is out of range %s", shown, settings_range_text(r->option, range));
}

const char *settings_quantity(const struct as_option *option, const char *text, struct settings_value *value)
{
    char *end;
    switch (option->type) {
    case AS_OPT_DURATION: {
        as_time ms;
        if (!units_duration(text, &ms))
            return "is not a duration: write \"500ms\", \"30s\", \"5m\", \"2h\", \"1d\" or \"1h30m\"";
        value->integer = ms;
        return NULL;
    }
    case AS_OPT_BYTES:
        return units_bytes(text, &value->bytes)
                   ? NULL
                   : "is not a size: write \"512MiB\", \"1GB\" or plain bytes in quotes, \"4096\"";
    case AS_OPT_PERCENT:
        return units_percent(text, &value->number) ? NULL : "is not a percentage: write \"80%\"";
    case AS_OPT_INT:
        value->integer = strtoll(text, &end, 10);
        return *text && !*end ? NULL : "is not a whole number";
    case AS_OPT_NUMBER:
        value->number = strtod(text, &end);
        return *text && !*end && isfinite(value->number) ? NULL : "is not a number";
    default: return "is not a quantity";
    }
}

/* Durations, sizes, percentages: text with a unit. */
static int read_quantity(struct reader *r)
{
    char number[UNITS_TEXT_MAX], shown[96];
    const char *text;
    if (number_text(r->node, number)) {
        const char *unit = r->option->type == AS_OPT_DURATION ? "s"
                           : r->option->type == AS_OPT_BYTES  ? "MiB"
                                                              : "%";
        return complain(r, "wants %s: write \"%s%s\" instead of %s", wanted(r->option->type), number, unit,
                        number);
    }
    if (!node_text(r, &text))
        return wrong_type(r);
    const char *wrong = settings_quantity(r->option, text, r->value);
    if (wrong)
        return complain(r, "\"%.60s\" %s", text, wrong);
    snprintf(shown, sizeof shown, "\"%.60s\"", text);
    return check_range(r, shown);
}

static int read_number(struct reader *r)
{
    char shown[UNITS_TEXT_MAX];
    const char *text;
    if (node_text(r, &text)) {
        struct settings_value probe = { 0 };
        if (settings_quantity(r->option, text, &probe) == NULL)
            return complain(r, "wants %s: write %.40s without quotes", wanted(r->option->type), text);
    }
    if (!number_text(r->node, shown))
        return wrong_type(r);
    int type = config_setting_type(r->node);
    long long whole = type == CONFIG_TYPE_INT ? r->node->value.ival : r->node->value.llval;
    if (r->option->type == AS_OPT_INT) {
        if (type == CONFIG_TYPE_FLOAT)
            return complain(r, "wants a whole number, not %s", shown);
        r->value->integer = whole;
    } else {
        r->value->number = type == CONFIG_TYPE_FLOAT ? r->node->value.fval : (double)whole;
        if (!isfinite(r->value->number))
            return complain(r, "the number is too large");
    }
    return check_range(r, shown);
}

static int read_bool(struct reader *r)
{
    const char *text;
    if (node_text(r, &text) && (strcmp(text, "true") == 0 || strcmp(text, "false") == 0))
        return complain(r, "wants true or false: write %s without quotes", text);
    if (config_setting_type(r->node) != CONFIG_TYPE_BOOL)
        return wrong_type(r);
    r->value->flag = r->node->value.ival != 0;
    return AS_OK;
}

static int check_choice(const struct reader *r, const char *text)
{
    char all[160] = "", hint[96];
    struct suggestion near = { .wrong = text };
    for (size_t i = 0; r->option->choices[i]; i++) {
        if (strcmp(text, r->option->choices[i]) == 0)
            return AS_OK;
        suggest_try(&near, r->option->choices[i]);
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s\"%s\"", i ? ", " : "", r->option->choices[i]);
    }
    return complain(r, "\"%.60s\" is none of %s%s", text, all, suggest_text(&near, hint, sizeof hint));
}

/* One metric or a formula of several; where they come from is looked up when all sources are known. */
static int check_formula(const struct reader *r, const char *text)
{
    char source[AS_NAME_MAX], object[AS_NAME_MAX], series[AS_NAME_MAX];
    struct as_error err = { 0 };
    struct formula f;
    if (formula_parse(text, &f, &err) != AS_OK)
        return complain(r, "\"%.80s\" is no formula: %s", text, err.msg);
    for (int k = 0; k < f.metric_count; k++)
        if (!config_metric_split(f.metrics[k], source, object, series))
            return complain(r,
                            "\"%.80s\" is not a metric: write \"source.series\" or \"source.object.series\"",
                            f.metrics[k]);
    return AS_OK;
}

static int check_text(const struct reader *r, const char *text)
{
    enum as_option_type type = r->option->type;
    bool must = r->option->flags & AS_OPT_REQUIRED || type == AS_OPT_FILE || type == AS_OPT_SECRET;
    if (!*text && must)
        return complain(r, "must not be empty");
    if (type == AS_OPT_CHOICE)
        return check_choice(r, text);
    return type == AS_OPT_METRIC ? check_formula(r, text) : AS_OK;
}

static int read_text(struct reader *r)
{
    const char *text;
    if (!node_text(r, &text))
        return wrong_type(r);
    int rc = check_text(r, text);
    if (rc)
        return rc;
    r->value->text = strdup(text);
    return r->value->text ? AS_OK : AS_ENOMEM;
}

/* The texts of an array or list, or of a map's members, in the order they stand. */
static int read_texts(struct reader *r, bool map)
{
    int length = config_setting_length(r->node);
    if (length > ITEMS_CAP)
        return complain(r, "has %d entries, at most %d are read", length, ITEMS_CAP);
    if (length == 0 && r->option->flags & AS_OPT_REQUIRED)
        return complain(r, "must not be empty");
    int rc = settings_texts_new(r->value, (size_t)length, map);
    for (int i = 0; rc == AS_OK && i < length; i++) {
        const config_setting_t *item = config_setting_get_elem(r->node, (unsigned)i);
        struct reader one = *r;
        one.node = item;
        if (config_setting_type(item) == CONFIG_TYPE_STRING)
            rc = settings_texts_add(r->value, map ? config_setting_name(item) : NULL,
                                    item->value.sval ? item->value.sval : "");
        else if (map)
            rc = complain(&one, "'%s' wants text in double quotes, not %s", config_setting_name(item),
                          found(item));
        else
            rc = complain(&one, "wants texts, as [ \"a\", \"b\" ]: item %d is %s", i + 1, found(item));
    }
    return rc;
}

static int read_strings(struct reader *r)
{
    const char *text;
    if (!node_text(r, &text)) {
        bool many = config_setting_is_array(r->node) || config_setting_is_list(r->node);
        return many ? read_texts(r, false) : wrong_type(r);
    }
    if (!*text && r->option->flags & AS_OPT_REQUIRED)
        return complain(r, "must not be empty");
    int rc = settings_texts_new(r->value, 1, false);
    return rc ? rc : settings_texts_add(r->value, NULL, text);
}

static int read_block(const struct settings_scope *scope, const config_setting_t *block,
                      const struct as_option *const *tables, const char *path, struct as_settings **outs);

/* One inner block, appended to the value's subs, which has room for it. */
static int read_sub(struct reader *r, const config_setting_t *block, const char *path)
{
    const struct as_option *const tables[] = { r->option->sub, NULL };
    struct as_settings *sub = NULL;
    int rc = read_block(r->scope, block, tables, path, &sub);
    if (sub)
        r->value->subs[r->value->count++] = sub;
    return rc;
}

static int read_group(struct reader *r)
{
    char path[160];
    if (!config_setting_is_group(r->node))
        return wrong_type(r);
    if (!r->option->sub)
        return AS_OK; /* read elsewhere, against tables that are known only then */
    snprintf(path, sizeof path, "%s%s: ", r->path, r->option->name);
    r->value->subs = calloc(1, sizeof(struct as_settings *));
    return r->value->subs ? read_sub(r, r->node, path) : AS_ENOMEM;
}

static int read_list(struct reader *r)
{
    char path[160];
    if (!config_setting_is_list(r->node))
        return wrong_type(r);
    int length = config_setting_length(r->node), worst = AS_OK;
    if (length > ITEMS_CAP)
        return complain(r, "has %d entries, at most %d are read", length, ITEMS_CAP);
    if (length == 0 && r->option->flags & AS_OPT_REQUIRED)
        return complain(r, "must not be empty");
    r->value->subs = calloc((size_t)length + 1, sizeof(struct as_settings *));
    if (!r->value->subs)
        return AS_ENOMEM;
    for (int i = 0; i < length; i++) {
        const config_setting_t *item = config_setting_get_elem(r->node, (unsigned)i);
        struct reader one = *r;
        one.node = item;
        snprintf(path, sizeof path, "%s%s #%d: ", r->path, r->option->name, i + 1);
        int rc = config_setting_is_group(item)
                     ? read_sub(&one, item, path)
                     : complain(&one, "wants a list of blocks, as ( { … }, { … } ): item %d is %s", i + 1,
                                found(item));
        if (rc == AS_ENOMEM)
            return rc;
        worst = rc ? rc : worst;
    }
    return worst;
}

static int read_by_type(struct reader *r)
{
    switch (r->option->type) {
    case AS_OPT_BOOL: return read_bool(r);
    case AS_OPT_INT:
    case AS_OPT_NUMBER: return read_number(r);
    case AS_OPT_DURATION:
    case AS_OPT_BYTES:
    case AS_OPT_PERCENT: return read_quantity(r);
    case AS_OPT_STRINGS: return read_strings(r);
    case AS_OPT_MAP: return config_setting_is_group(r->node) ? read_texts(r, true) : wrong_type(r);
    case AS_OPT_GROUP: return read_group(r);
    case AS_OPT_LIST: return read_list(r);
    default: return read_text(r);
    }
}

/* Reads one member into its slot. A wrong one is reported and leaves the slot empty. */
static int read_member(const struct settings_scope *scope, const char *path, struct as_settings *s, size_t i,
                       const config_setting_t *node)
{
    struct settings_value *v = &s->values[i];
    struct reader r = { scope, path, &s->options[i], node, v };
    int rc = read_by_type(&r);
    bool keep = v->subs && rc != AS_ENOMEM; /* what could be read of inner blocks stays */
    if (rc && !keep)
        settings_value_clear(v);
    v->set = rc == AS_OK || keep;
    v->given = true;
    v->file = node_file(scope, node);
    v->line = node_line(node);
    return rc;
}

/* Says that no table has this name; never shows the value, which may be a secret put in the wrong place. */
static int unknown_member(const struct settings_scope *scope, const char *path, struct as_settings **outs,
                          const config_setting_t *node)
{
    char hint[160], home[128] = "", file_name[AS_NAME_MAX + 8];
    const char *name = config_setting_name(node);
    struct suggestion near = { .wrong = name };
    bool secret = false;
    snprintf(file_name, sizeof file_name, "%.*s_file", AS_NAME_MAX, name);
    for (size_t t = 0; outs[t]; t++)
        for (size_t i = 0; i < outs[t]->option_count; i++) {
            suggest_try(&near, outs[t]->options[i].name);
            secret = secret || (outs[t]->options[i].type == AS_OPT_SECRET &&
                                strcmp(outs[t]->options[i].name, file_name) == 0);
        }
    if (scope->home && outs[0])
        scope->home(scope->arg, outs[0]->options, name, home, sizeof home);
    if (secret)
        snprintf(hint, sizeof hint, ": a secret is read from a file, write '%s'", file_name);
    else if (*home)
        snprintf(hint, sizeof hint, ": it belongs in %s", home);
    else
        suggest_text(&near, hint, sizeof hint);
    problems_error(scope->problems, node_file(scope, node), node_line(node), "%s%sunknown option '%.64s'%s",
                   scope->where, path, name, hint);
    return AS_EINVAL;
}

static int read_members(const struct settings_scope *scope, const config_setting_t *block, const char *path,
                        struct as_settings **outs)
{
    int worst = AS_OK;
    for (int m = 0; m < config_setting_length(block); m++) {
        const config_setting_t *node = config_setting_get_elem(block, (unsigned)m);
        int index = -1;
        size_t t = 0;
        while (outs[t] && (index = settings_index(outs[t], config_setting_name(node))) < 0)
            t++;
        int rc = index >= 0 ? read_member(scope, path, outs[t], (size_t)index, node)
                            : unknown_member(scope, path, outs, node);
        if (rc == AS_ENOMEM)
            return rc;
        worst = rc ? rc : worst;
    }
    return worst;
}

/* Defaults for what was not given or was wrong; names what is missing. */
static int fill_defaults(const struct settings_scope *scope, const char *path, struct as_settings *s)
{
    int worst = AS_OK;
    for (size_t i = 0; i < s->option_count; i++) {
        const struct as_option *option = &s->options[i];
        struct settings_value *v = &s->values[i];
        if (v->set)
            continue;
        if (option->flags & AS_OPT_REQUIRED && !v->given) {
            problems_error(scope->problems, s->file, s->line, "%s%s'%s' is missing (%s)", scope->where, path,
                           option->name, option->help ? option->help : settings_type_name(option->type));
            worst = AS_EINVAL;
            continue;
        }
        struct settings_value keep = *v;
        if (settings_default(option, v) != AS_OK)
            return AS_ENOMEM;
        v->given = keep.given;
        v->file = keep.file;
        v->line = keep.line;
    }
    return worst;
}

#define TABLES_MAX 4

static int read_block(const struct settings_scope *scope, const config_setting_t *block,
                      const struct as_option *const *tables, const char *path, struct as_settings **outs)
{
    struct as_settings *all[TABLES_MAX + 1] = { 0 };
    int rc = AS_OK, worst = AS_OK;
    for (size_t t = 0; tables[t] && t < TABLES_MAX && rc != AS_ENOMEM; t++) {
        all[t] = settings_new(tables[t], path);
        if (!all[t]) {
            rc = AS_ENOMEM;
            break;
        }
        all[t]->file = node_file(scope, block);
        all[t]->line = node_line(block);
    }
    if (rc == AS_OK)
        worst = rc = read_members(scope, block, path, all);
    for (size_t t = 0; all[t] && rc != AS_ENOMEM; t++) {
        rc = fill_defaults(scope, path, all[t]);
        worst = rc ? rc : worst;
    }
    for (size_t t = 0; all[t]; t++) {
        if (rc == AS_ENOMEM)
            as_settings_free(all[t]);
        else
            outs[t] = all[t];
    }
    return rc == AS_ENOMEM ? rc : worst;
}

int settings_read(const struct settings_scope *scope, const config_setting_t *block,
                  const struct as_option *const *tables, struct as_settings **outs)
{
    return read_block(scope, block, tables, "", outs);
}
