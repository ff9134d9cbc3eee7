/* Defaults of options, from the text in their table. A default that does not parse or is out of range is
 * our own bug and aborts; a test looks at every table of the program. */
#include <stdlib.h>
#include <string.h>

#include "settings_internal.h"

static int default_strings(const char *def, struct settings_value *out)
{
    size_t length = strlen(def), room = 1;
    for (const char *s = def; *s; s++)
        room += *s == ',';
    int rc = settings_texts_new(out, room, false);
    if (rc || *def != '[')
        return rc ? rc : settings_texts_add(out, NULL, def);
    char *copy = strndup(def + 1, length > 2 ? length - 2 : 0), *rest = NULL;
    if (!copy)
        return AS_ENOMEM;
    for (char *s = strtok_r(copy, " ,", &rest); s && rc == AS_OK; s = strtok_r(NULL, " ,", &rest))
        rc = settings_texts_add(out, NULL, s);
    free(copy);
    return rc;
}

struct as_settings *settings_new(const struct as_option *table, const char *path)
{
    struct as_settings *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->options = table;
    while (table[s->option_count].name)
        s->option_count++;
    s->values = calloc(s->option_count + 1, sizeof *s->values);
    s->path = strdup(path);
    if (!s->values || !s->path) {
        as_settings_free(s);
        return NULL;
    }
    return s;
}

static int default_block(const struct as_option *option, struct settings_value *out)
{
    char path[80];
    snprintf(path, sizeof path, "%s: ", option->name);
    out->subs = calloc(1, sizeof *out->subs);
    struct as_settings *s = out->subs ? settings_new(option->sub, path) : NULL;
    if (!s)
        return AS_ENOMEM;
    out->subs[out->count++] = s;
    int rc = AS_OK;
    for (size_t i = 0; rc == AS_OK && i < s->option_count; i++)
        rc = settings_default(&s->options[i], &s->values[i]);
    return rc;
}

static int default_value(const struct as_option *option, struct settings_value *out)
{
    switch (option->type) {
    case AS_OPT_BOOL: out->flag = strcmp(option->def, "true") == 0; return AS_OK;
    case AS_OPT_INT:
    case AS_OPT_NUMBER:
    case AS_OPT_DURATION:
    case AS_OPT_BYTES:
    case AS_OPT_PERCENT:
        if (settings_quantity(option, option->def, out) || !settings_in_range(option, out)) {
            fprintf(stderr, "autoscale: bug: default '%s' of option '%s'\n", option->def, option->name);
            abort();
        }
        return AS_OK;
    case AS_OPT_STRINGS: return default_strings(option->def, out);
    case AS_OPT_GROUP: return default_block(option, out);
    case AS_OPT_MAP:
    case AS_OPT_LIST: return AS_OK;
    default: out->text = strdup(option->def); return out->text ? AS_OK : AS_ENOMEM;
    }
}

int settings_default(const struct as_option *option, struct settings_value *out)
{
    *out = (struct settings_value){ 0 };
    if (!option->def)
        return AS_OK;
    int rc = default_value(option, out);
    out->set = true;
    if (rc)
        settings_value_clear(out);
    return rc;
}
