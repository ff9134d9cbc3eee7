/* Tables with named columns, read in place. Every pointer stays within the text given; a text that is
 * no table ends early and never makes a number out of nothing. */
#include "csv.h"

#include <stdlib.h>
#include <string.h>

/* The field that starts at c->at. Leaves c->at on the separator, the line end or the end of the text. */
static struct csv_field take_field(struct csv *c)
{
    if (c->at < c->end && *c->at == '"') {
        const char *start = ++c->at;
        while (c->at < c->end && (*c->at != '"' || (c->at + 1 < c->end && c->at[1] == '"')))
            c->at += *c->at == '"' ? 2 : 1;
        struct csv_field f = { start, (size_t)(c->at - start) };
        /* Past the closing quote, and past what a broken table has between it and the separator. */
        while (c->at < c->end && *c->at != c->separator && *c->at != '\n')
            c->at++;
        return f;
    }
    const char *start = c->at;
    while (c->at < c->end && *c->at != c->separator && *c->at != '\n')
        c->at++;
    return (struct csv_field){ start, (size_t)(c->at - start) };
}

/* Steps over a separator; at the end of a line steps over that and says that the row is done. */
static bool row_goes_on(struct csv *c)
{
    if (c->at >= c->end)
        return false;
    return *c->at++ == c->separator;
}

static bool skip_to_header(struct csv *c)
{
    while (c->end - c->at >= 2) {
        if (c->at[0] == '#' && c->at[1] == ' ') {
            c->at += 2;
            return true;
        }
        const char *line_end = memchr(c->at, '\n', (size_t)(c->end - c->at));
        if (!line_end)
            return false;
        c->at = line_end + 1;
    }
    return false;
}

static short find_wanted(struct csv_field name, const char *const *wanted, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (csv_is(name, wanted[i]))
            return (short)i;
    return -1;
}

bool csv_open(struct csv *c, const char *text, size_t len, char separator, const char *const *wanted,
              size_t count)
{
    *c = (struct csv){ .at = text, .end = text + len, .wanted = count, .separator = separator };
    if (!skip_to_header(c))
        return false;
    bool keyed = false, more = true;
    while (more) {
        short slot = find_wanted(take_field(c), wanted, count);
        if (c->columns < CSV_COLUMNS_MAX)
            c->slot[c->columns++] = slot;
        keyed = keyed || slot == 0;
        more = row_goes_on(c);
    }
    return keyed;
}

bool csv_next(struct csv *c, struct csv_field *fields)
{
    while (c->at < c->end) {
        for (size_t i = 0; i < c->wanted; i++)
            fields[i] = (struct csv_field){ "", 0 };
        bool more = true;
        for (size_t column = 0; more; column++) {
            struct csv_field f = take_field(c);
            if (column < c->columns && c->slot[column] >= 0)
                fields[c->slot[column]] = f;
            more = row_goes_on(c);
        }
        if (fields[0].len > 0)
            return true;
    }
    return false;
}

bool csv_is(struct csv_field f, const char *text)
{
    return strlen(text) == f.len && memcmp(f.text, text, f.len) == 0;
}

bool csv_starts(struct csv_field f, const char *text)
{
    size_t len = strlen(text);
    return len <= f.len && memcmp(f.text, text, len) == 0;
}

bool csv_number(struct csv_field f, double *out)
{
    char digits[32];
    if (f.len == 0 || f.len >= sizeof digits)
        return false;
    for (size_t i = 0; i < f.len; i++)
        if (!(f.text[i] >= '0' && f.text[i] <= '9') && f.text[i] != '.' && !(i == 0 && f.text[i] == '-'))
            return false;
    memcpy(digits, f.text, f.len);
    digits[f.len] = '\0';
    char *rest;
    double value = strtod(digits, &rest);
    if (rest == digits || *rest)
        return false;
    *out = value;
    return true;
}

bool csv_copy(struct csv_field f, char *buf, size_t size)
{
    if (f.len == 0 || f.len >= size)
        return false;
    for (size_t i = 0; i < f.len; i++)
        if ((unsigned char)f.text[i] < ' ' || f.text[i] == 127)
            return false;
    memcpy(buf, f.text, f.len);
    buf[f.len] = '\0';
    return true;
}
