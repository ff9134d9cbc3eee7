/* Printing option tables. What is printed comes from the same tables that parse the configuration, so
 * that the documentation cannot say anything else than the program does. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "../config/settings_internal.h"
#include "tables.h"

const struct as_registry tables_registry = { as_source_drivers, as_compute_drivers, as_balancer_drivers,
                                             as_policy_types };

static bool is_quoted(enum as_option_type type)
{
    return type != AS_OPT_BOOL && type != AS_OPT_INT && type != AS_OPT_NUMBER && type != AS_OPT_GROUP;
}

/* "required", "\"30s\"" as it would be written, or "-"; a block that may be left
 * out has no default to show. */
static const char *default_text(const struct as_option *o, char *buf, size_t size)
{
    if (o->flags & AS_OPT_REQUIRED)
        return "required";
    if (!o->def || o->type == AS_OPT_GROUP)
        return "-";
    snprintf(buf, size, is_quoted(o->type) && *o->def != '[' ? "\"%s\"" : "%s", o->def);
    return buf;
}

/* " (100ms to 1h)", " (one of error, info)", or "". */
static const char *limits_text(const struct as_option *o, char *buf, size_t size)
{
    char range[128];
    settings_range_text(o, range);
    snprintf(buf, size, *range ? " %s" : "%s", range);
    if (o->type != AS_OPT_CHOICE)
        return buf;
    size_t used = (size_t)snprintf(buf, size, " (one of");
    for (size_t i = 0; o->choices[i] && used < size; i++)
        used += (size_t)snprintf(buf + used, size - used, "%s \"%s\"", i ? "," : "", o->choices[i]);
    if (used < size)
        snprintf(buf + used, size - used, ")");
    return buf;
}

/* --- text ---------------------------------------------------------------------------------------- */

void tables_text(FILE *out, const struct as_option *options, int indent)
{
    int name = 0, type = 0, def = 0;
    char buf[160], limits[256];
    for (const struct as_option *o = options; o->name; o++) {
        int n = (int)strlen(o->name), t = (int)strlen(settings_type_name(o->type));
        int d = (int)strlen(default_text(o, buf, sizeof buf));
        name = n > name ? n : name;
        type = t > type ? t : type;
        def = d > def ? d : def;
    }
    for (const struct as_option *o = options; o->name; o++) {
        fprintf(out, "%*s%-*s  %-*s  %-*s  %s%s\n", indent, "", name, o->name, type,
                settings_type_name(o->type), def, default_text(o, buf, sizeof buf), o->help ? o->help : "",
                limits_text(o, limits, sizeof limits));
        if (o->sub)
            tables_text(out, o->sub, indent + 4);
    }
}

/* --- roff ---------------------------------------------------------------------------------------- */

void tables_man_word(FILE *out, const char *text)
{
    if (*text == '.' || *text == '\'')
        fputs("\\&", out);
    for (; *text; text++) {
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '-')
            fputs("\\-", out);
        else if (*text == '"')
            fputs("\\(dq", out);
        else
            fputc(*text == '\n' ? ' ' : *text, out);
    }
}

void tables_man_sentence(FILE *out, const char *text)
{
    bool value = text[strcspn(text, " :")] == ':'; /* "even: …": as it is written in the file */
    char first[3] = { value ? *text : (char)toupper((unsigned char)*text), '\0' };
    size_t length = strlen(text);
    if (length == 0)
        return;
    tables_man_word(out, first);
    tables_man_word(out, text + 1);
    fputs(text[length - 1] == '.' ? "\n" : ".\n", out);
}

void tables_man(FILE *out, const struct as_option *options)
{
    char buf[160], limits[256];
    for (const struct as_option *o = options; o->name; o++) {
        const char *def = default_text(o, buf, sizeof buf);
        fputs(".TP\n\\fB", out);
        tables_man_word(out, o->name);
        fprintf(out, "\\fR (%s", settings_type_name(o->type));
        if (strcmp(def, "-") != 0) {
            fputs(strcmp(def, "required") == 0 ? ", " : ", default ", out);
            tables_man_word(out, def);
        }
        fputs(")\n", out);
        tables_man_sentence(out, o->help ? o->help : "");
        if (*limits_text(o, limits, sizeof limits)) {
            tables_man_word(out, limits + 1);
            fputs("\n", out);
        }
        if (o->sub) {
            fputs(".RS\n", out);
            tables_man(out, o->sub);
            fputs(".RE\n", out);
        }
    }
}

/* --- JSON ---------------------------------------------------------------------------------------- */

static bool has_range(const struct as_option *o)
{
    char range[128];
    return *settings_range_text(o, range) != '\0';
}

static bool add_choices(cJSON *item, const struct as_option *o)
{
    cJSON *all = cJSON_AddArrayToObject(item, "choices");
    for (size_t i = 0; all && o->choices[i]; i++) {
        cJSON *one = cJSON_CreateString(o->choices[i]);
        if (!one || !cJSON_AddItemToArray(all, one)) {
            cJSON_Delete(one);
            return false;
        }
    }
    return all != NULL;
}

static bool option_json(cJSON *item, const struct as_option *o)
{
    bool ok = cJSON_AddStringToObject(item, "name", o->name) &&
              cJSON_AddStringToObject(item, "type", settings_type_name(o->type)) &&
              cJSON_AddBoolToObject(item, "required", (o->flags & AS_OPT_REQUIRED) != 0) &&
              (o->def ? cJSON_AddStringToObject(item, "default", o->def)
                      : cJSON_AddNullToObject(item, "default")) &&
              cJSON_AddStringToObject(item, "help", o->help ? o->help : "");
    if (ok && has_range(o))
        ok = cJSON_AddNumberToObject(item, "min", o->min) &&
             (o->max < o->min || cJSON_AddNumberToObject(item, "max", o->max));
    if (ok && o->type == AS_OPT_CHOICE)
        ok = add_choices(item, o);
    if (ok && o->sub) {
        cJSON *sub = tables_json(o->sub);
        ok = sub && cJSON_AddItemToObject(item, "options", sub);
        if (!ok)
            cJSON_Delete(sub);
    }
    return ok;
}

cJSON *tables_json(const struct as_option *options)
{
    cJSON *all = cJSON_CreateArray();
    bool ok = all != NULL;
    for (const struct as_option *o = options; ok && o->name; o++) {
        cJSON *item = cJSON_CreateObject();
        ok = item && option_json(item, o) && cJSON_AddItemToArray(all, item);
        if (!ok)
            cJSON_Delete(item);
    }
    if (ok)
        return all;
    cJSON_Delete(all);
    return NULL;
}

int tables_print_json(cJSON *json)
{
    char *text = json ? cJSON_Print(json) : NULL;
    cJSON_Delete(json);
    if (!text) {
        fprintf(stderr, "autoscale: out of memory\n");
        return 1;
    }
    int rc = puts(text) < 0 || fflush(stdout) != 0;
    free(text);
    return rc;
}
