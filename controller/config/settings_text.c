/* Settings as text: one canonical form per value, used for fingerprints, for diffs and in messages.
 * Two values that mean the same print the same ("60s" and "1m"). */
#include <stdlib.h>
#include <string.h>

#include "settings_internal.h"
#include "units.h"

static void print_quoted(FILE *out, const char *text)
{
    fputc('"', out);
    for (const unsigned char *s = (const unsigned char *)text; *s; s++) {
        if (*s == '"' || *s == '\\')
            fprintf(out, "\\%c", *s);
        else if (*s < 0x20 || *s == 0x7f)
            fprintf(out, "\\x%02x", *s);
        else
            fputc(*s, out);
    }
    fputc('"', out);
}

static void print_strings(FILE *out, const struct settings_value *v)
{
    fputs("[", out);
    for (size_t i = 0; i < v->count; i++) {
        fputs(i ? ", " : " ", out);
        print_quoted(out, v->items[i]);
    }
    fputs(" ]", out);
}

/* In the order of the keys, whatever order they were written in: selection by repeated minimum, as
 * maps are short and this must not fail. */
static void print_map(FILE *out, const struct settings_value *v)
{
    fputs("{ ", out);
    const char *last = NULL;
    for (size_t n = 0; n < v->count; n++) {
        size_t next = v->count;
        for (size_t i = 0; i < v->count; i++)
            if ((!last || strcmp(v->keys[i], last) > 0) &&
                (next == v->count || strcmp(v->keys[i], v->keys[next]) < 0))
                next = i;
        if (next == v->count)
            break;
        last = v->keys[next];
        fprintf(out, "%s = ", last);
        print_quoted(out, v->items[next]);
        fputs("; ", out);
    }
    fputs("}", out);
}

static void print_block(FILE *out, const struct as_settings *s)
{
    fputs("{ ", out);
    for (size_t i = 0; i < s->option_count; i++) {
        if (!s->values[i].set)
            continue;
        fprintf(out, "%s = ", s->options[i].name);
        settings_value_print(out, &s->options[i], &s->values[i]);
        fputs("; ", out);
    }
    fputs("}", out);
}

static void print_blocks(FILE *out, const struct settings_value *v)
{
    fputs("(", out);
    for (size_t i = 0; i < v->count; i++) {
        fputs(i ? ", " : " ", out);
        print_block(out, v->subs[i]);
    }
    fputs(" )", out);
}

void settings_value_print(FILE *out, const struct as_option *option, const struct settings_value *v)
{
    char buf[UNITS_TEXT_MAX];
    if (!v->set)
        return;
    switch (option->type) {
    case AS_OPT_STRING:
    case AS_OPT_FILE:
    case AS_OPT_SECRET:
    case AS_OPT_CHOICE:
    case AS_OPT_METRIC: print_quoted(out, v->text); break;
    case AS_OPT_BOOL: fputs(v->flag ? "true" : "false", out); break;
    case AS_OPT_INT: fprintf(out, "%lld", (long long)v->integer); break;
    case AS_OPT_NUMBER: fputs(units_number_text(v->number, buf), out); break;
    case AS_OPT_DURATION: fprintf(out, "\"%s\"", units_duration_text(v->integer, buf)); break;
    case AS_OPT_BYTES: fprintf(out, "\"%s\"", units_bytes_text(v->bytes, buf)); break;
    case AS_OPT_PERCENT: fprintf(out, "\"%s\"", units_percent_text(v->number, buf)); break;
    case AS_OPT_STRINGS: print_strings(out, v); break;
    case AS_OPT_MAP: print_map(out, v); break;
    case AS_OPT_GROUP:
        if (v->count)
            print_block(out, v->subs[0]);
        break;
    case AS_OPT_LIST: print_blocks(out, v); break;
    }
}

static bool text_equal(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool map_equal(const struct settings_value *a, const struct settings_value *b)
{
    for (size_t i = 0; i < a->count; i++) {
        size_t k = 0;
        while (k < b->count && strcmp(a->keys[i], b->keys[k]) != 0)
            k++;
        if (k == b->count || strcmp(a->items[i], b->items[k]) != 0)
            return false;
    }
    return true;
}

static bool blocks_equal(const struct settings_value *a, const struct settings_value *b)
{
    for (size_t i = 0; i < a->count; i++) {
        const struct as_settings *x = a->subs[i], *y = b->subs[i];
        for (size_t k = 0; k < x->option_count; k++)
            if (!settings_value_equal(&x->options[k], &x->values[k], &y->values[k]))
                return false;
    }
    return true;
}

bool settings_value_equal(const struct as_option *option, const struct settings_value *a,
                          const struct settings_value *b)
{
    if (a->set != b->set || a->count != b->count)
        return false;
    switch (option->type) {
    case AS_OPT_STRING:
    case AS_OPT_FILE:
    case AS_OPT_SECRET:
    case AS_OPT_CHOICE:
    case AS_OPT_METRIC: return text_equal(a->text, b->text);
    case AS_OPT_BOOL: return a->flag == b->flag;
    case AS_OPT_INT:
    case AS_OPT_DURATION: return a->integer == b->integer;
    case AS_OPT_NUMBER:
    case AS_OPT_PERCENT: return !(a->number < b->number) && !(a->number > b->number);
    case AS_OPT_BYTES: return a->bytes == b->bytes;
    case AS_OPT_STRINGS:
        for (size_t i = 0; i < a->count; i++)
            if (strcmp(a->items[i], b->items[i]) != 0)
                return false;
        return true;
    case AS_OPT_MAP: return map_equal(a, b);
    case AS_OPT_GROUP:
    case AS_OPT_LIST: return blocks_equal(a, b);
    }
    return false;
}

/* Values that equal their default are left out, so that a new option of a later version does not make
 * every running instance look outdated. Out of memory prints the value: too much never hides a
 * difference. */
static bool is_default(const struct as_option *option, const struct settings_value *v)
{
    struct settings_value def;
    if (settings_default(option, &def) != AS_OK)
        return false;
    bool equal = settings_value_equal(option, v, &def);
    settings_value_clear(&def);
    return equal;
}

void settings_canon(FILE *out, const struct as_settings *s, const char *const *except)
{
    for (size_t i = 0; i < s->option_count; i++) {
        bool skip = is_default(&s->options[i], &s->values[i]);
        for (size_t k = 0; except && except[k]; k++)
            skip = skip || strcmp(except[k], s->options[i].name) == 0;
        if (skip)
            continue;
        fprintf(out, "%s = ", s->options[i].name);
        settings_value_print(out, &s->options[i], &s->values[i]);
        fputs("\n", out);
    }
}

const char *settings_type_name(enum as_option_type type)
{
    static const char *const names[] = {
        [AS_OPT_STRING] = "string",     [AS_OPT_FILE] = "file",       [AS_OPT_SECRET] = "secret file",
        [AS_OPT_BOOL] = "boolean",      [AS_OPT_INT] = "integer",     [AS_OPT_NUMBER] = "number",
        [AS_OPT_DURATION] = "duration", [AS_OPT_BYTES] = "size",      [AS_OPT_PERCENT] = "percentage",
        [AS_OPT_CHOICE] = "choice",     [AS_OPT_STRINGS] = "strings", [AS_OPT_MAP] = "map",
        [AS_OPT_METRIC] = "metric",     [AS_OPT_GROUP] = "block",     [AS_OPT_LIST] = "list of blocks",
    };
    return (unsigned)type < sizeof names / sizeof *names ? names[type] : "?";
}

static const char *bound_text(const struct as_option *option, double bound, char *buf)
{
    switch (option->type) {
    case AS_OPT_DURATION: return units_duration_text((as_time)bound, buf);
    case AS_OPT_BYTES: return units_bytes_text((uint64_t)bound, buf);
    case AS_OPT_PERCENT: return units_percent_text(bound, buf);
    default: return units_number_text(bound, buf);
    }
}

static bool bound_none(const struct as_option *option)
{
    bool quantity = option->type == AS_OPT_INT || option->type == AS_OPT_NUMBER ||
                    option->type == AS_OPT_DURATION || option->type == AS_OPT_BYTES ||
                    option->type == AS_OPT_PERCENT;
    bool zero = !(option->min < 0) && !(option->min > 0) && !(option->max < 0) && !(option->max > 0);
    return !quantity || zero;
}

static bool bound_above(const struct as_option *option)
{
    return option->max >= option->min && option->max < 1e300;
}

const char *settings_range_text(const struct as_option *option, char *buf)
{
    char low[UNITS_TEXT_MAX], high[UNITS_TEXT_MAX];
    buf[0] = '\0';
    if (bound_none(option))
        return buf;
    bool from = option->min > -1e300;
    if (from)
        bound_text(option, option->min, low);
    if (bound_above(option))
        bound_text(option, option->max, high);
    if (from && bound_above(option))
        snprintf(buf, 128, "(%s to %s)", low, high);
    else if (from)
        snprintf(buf, 128, "(at least %s)", low);
    else if (bound_above(option))
        snprintf(buf, 128, "(at most %s)", high);
    return buf;
}

bool settings_in_range(const struct as_option *option, const struct settings_value *v)
{
    if (bound_none(option))
        return true;
    double x = option->type == AS_OPT_BYTES                                    ? (double)v->bytes
               : option->type == AS_OPT_INT || option->type == AS_OPT_DURATION ? (double)v->integer
                                                                               : v->number;
    return x >= option->min && (!bound_above(option) || x <= option->max);
}
