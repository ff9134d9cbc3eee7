/* Settings: typed, immutable values of one block. A wrong name or type in a call is our own bug and
 * aborts; nothing a user writes can get here. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "settings_internal.h"

int settings_index(const struct as_settings *s, const char *name)
{
    for (size_t i = 0; i < s->option_count; i++)
        if (strcmp(s->options[i].name, name) == 0)
            return (int)i;
    return -1;
}

static const struct settings_value *value_of(const struct as_settings *s, const char *name, unsigned types)
{
    int i = settings_index(s, name);
    if (i < 0 || !(1u << s->options[i].type & types)) {
        fprintf(stderr, "autoscale: bug: option '%s' %s\n", name,
                i < 0 ? "is in no table" : "has another type");
        abort();
    }
    return &s->values[i];
}

#define TYPE(x)   (1u << AS_OPT_##x)
#define TYPE_TEXT (TYPE(STRING) | TYPE(FILE) | TYPE(SECRET) | TYPE(CHOICE) | TYPE(METRIC))
#define TYPE_ANY  (~0u)

bool as_settings_has(const struct as_settings *s, const char *name)
{
    return value_of(s, name, TYPE_ANY)->set;
}

bool settings_given(const struct as_settings *s, const char *name)
{
    return value_of(s, name, TYPE_ANY)->given;
}

const char *as_settings_str(const struct as_settings *s, const char *name)
{
    return value_of(s, name, TYPE_TEXT)->text;
}

bool as_settings_bool(const struct as_settings *s, const char *name)
{
    return value_of(s, name, TYPE(BOOL))->flag;
}

int64_t as_settings_int(const struct as_settings *s, const char *name)
{
    return value_of(s, name, TYPE(INT))->integer;
}

double as_settings_num(const struct as_settings *s, const char *name)
{
    return value_of(s, name, TYPE(NUMBER) | TYPE(PERCENT))->number;
}

as_time as_settings_ms(const struct as_settings *s, const char *name)
{
    return value_of(s, name, TYPE(DURATION))->integer;
}

uint64_t as_settings_bytes(const struct as_settings *s, const char *name)
{
    return value_of(s, name, TYPE(BYTES))->bytes;
}

size_t as_settings_count(const struct as_settings *s, const char *name)
{
    return value_of(s, name, TYPE(STRINGS) | TYPE(MAP) | TYPE(LIST) | TYPE(GROUP))->count;
}

const char *as_settings_item(const struct as_settings *s, const char *name, size_t i)
{
    const struct settings_value *v = value_of(s, name, TYPE(STRINGS) | TYPE(MAP));
    return i < v->count ? v->items[i] : NULL;
}

const char *as_settings_key(const struct as_settings *s, const char *name, size_t i)
{
    const struct settings_value *v = value_of(s, name, TYPE(MAP));
    return i < v->count ? v->keys[i] : NULL;
}

const struct as_settings *as_settings_sub(const struct as_settings *s, const char *name, size_t i)
{
    const struct settings_value *v = value_of(s, name, TYPE(GROUP) | TYPE(LIST));
    return i < v->count ? v->subs[i] : NULL;
}

int settings_line(const struct as_settings *s, const char *name)
{
    int i = settings_index(s, name);
    return i >= 0 && s->values[i].given ? s->values[i].line : s->line;
}

/* The file of the value that stands on this line, looking into blocks too; NULL when none does. */
static const char *file_of_line(const struct as_settings *s, int line)
{
    const char *found = s->line == line ? s->file : NULL;
    for (size_t i = 0; i < s->option_count && !found; i++) {
        const struct settings_value *v = &s->values[i];
        if (v->given && v->line == line)
            found = v->file;
        for (size_t k = 0; v->subs && k < v->count && !found; k++)
            found = file_of_line(v->subs[k], line);
    }
    return found;
}

const char *settings_file(const struct as_settings *s, int line)
{
    const char *found = file_of_line(s, line);
    return found ? found : s->file;
}

struct cfg_place config_place(const struct as_settings *s, const char *option)
{
    int line = option ? settings_line(s, option) : s->line;
    return (struct cfg_place){ settings_file(s, line), line };
}

int as_settings_fail(const struct as_settings *s, const char *name, struct as_error *err, const char *fmt,
                     ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    as_fail(err, AS_EINVAL, "%s%s: %s", s->path, name, text);
    if (err)
        err->line = settings_line(s, name);
    return AS_EINVAL;
}

int settings_texts_new(struct settings_value *v, size_t count, bool keys)
{
    v->items = calloc(count ? count : 1, sizeof *v->items);
    v->keys = keys ? calloc(count ? count : 1, sizeof *v->keys) : NULL;
    return v->items && (v->keys || !keys) ? AS_OK : AS_ENOMEM;
}

int settings_texts_add(struct settings_value *v, const char *key, const char *item)
{
    char *k = key ? strdup(key) : NULL, *text = strdup(item);
    if (!text || (key && !k)) {
        free(k);
        free(text);
        return AS_ENOMEM;
    }
    if (key)
        v->keys[v->count] = k;
    v->items[v->count++] = text;
    return AS_OK;
}

void settings_value_clear(struct settings_value *v)
{
    free(v->text);
    for (size_t i = 0; i < v->count; i++) {
        if (v->keys)
            free(v->keys[i]);
        if (v->items)
            free(v->items[i]);
        if (v->subs)
            as_settings_free(v->subs[i]);
    }
    free(v->keys);
    free(v->items);
    free(v->subs);
    *v = (struct settings_value){ 0 };
}

void as_settings_free(struct as_settings *s)
{
    if (!s)
        return;
    for (size_t i = 0; s->values && i < s->option_count; i++)
        settings_value_clear(&s->values[i]);
    free(s->values);
    free(s->path);
    free(s);
}
