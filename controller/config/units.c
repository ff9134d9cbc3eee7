/* Quantities with units. Integer arithmetic throughout, so that "0.1s" is 100 ms and not 99; whatever
 * does not come out whole, or would overflow, is not a quantity. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "units.h"

#define DURATION_MAX (100 * 365 * AS_DAY)
#define BYTES_MAX    ((uint64_t)1 << 60)

struct unit {
    const char *name;
    uint64_t size;
};

static const struct unit durations[] = {
    /* largest first */
    { "d", (uint64_t)AS_DAY },
    { "h", (uint64_t)AS_HOUR },
    { "m", (uint64_t)AS_MINUTE },
    { "s", (uint64_t)AS_SECOND },
    { "ms", 1 },
};
static const struct unit sizes[] = {
    /* of the same size, the first is printed */
    { "TiB", (uint64_t)1 << 40 },
    { "GiB", 1 << 30 },
    { "MiB", 1 << 20 },
    { "KiB", 1 << 10 },
    { "TB", 1000000000000 },
    { "GB", 1000000000 },
    { "MB", 1000000 },
    { "kB", 1000 },
    { "KB", 1000 },
    { "B", 1 },
};

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const struct unit *unit_find(const struct unit *units, size_t count, const char *text, size_t length)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(units[i].name) == length && strncmp(units[i].name, text, length) == 0)
            return &units[i];
    return NULL;
}

/* A decimal "12" or "1.5" as digits and a power of ten: value = digits / scale. */
struct decimal {
    uint64_t digits, scale;
};

static bool decimal_read(const char **text, struct decimal *out)
{
    const char *s = *text;
    *out = (struct decimal){ 0, 1 };
    bool fraction = false, any = false;
    for (;; s++) {
        if (*s == '.' && !fraction && any && isdigit((unsigned char)s[1])) {
            fraction = true;
            continue;
        }
        if (!isdigit((unsigned char)*s))
            break;
        if (out->digits > BYTES_MAX / 10 || out->scale > 1000000)
            return false;
        out->digits = out->digits * 10 + (uint64_t)(*s - '0');
        out->scale *= fraction ? 10 : 1;
        any = true;
    }
    *text = s;
    return any;
}

static bool decimal_times(struct decimal d, uint64_t unit, uint64_t limit, uint64_t *out)
{
    __extension__ unsigned __int128 product = (unsigned __int128)d.digits * unit;
    if (product % d.scale != 0 || product / d.scale > limit)
        return false;
    *out = (uint64_t)(product / d.scale);
    return true;
}

bool units_duration(const char *text, as_time *out)
{
    uint64_t total = 0, last = UINT64_MAX;
    if (!*text)
        return false;
    while (*text) {
        struct decimal d;
        if (!decimal_read(&text, &d))
            return false;
        size_t length = strspn(text, "dhms");
        const struct unit *unit = unit_find(durations, COUNT(durations), text, length);
        uint64_t part;
        if (!unit || unit->size >= last || !decimal_times(d, unit->size, (uint64_t)DURATION_MAX, &part))
            return false;
        last = unit->size;
        total += part;
        text += length;
    }
    if (total > (uint64_t)DURATION_MAX)
        return false;
    *out = (as_time)total;
    return true;
}

bool units_bytes(const char *text, uint64_t *out)
{
    struct decimal d;
    if (!decimal_read(&text, &d))
        return false;
    static const struct unit plain = { "", 1 };
    const struct unit *unit = *text ? unit_find(sizes, COUNT(sizes), text, strlen(text)) : &plain;
    return unit && decimal_times(d, unit->size, BYTES_MAX, out);
}

bool units_percent(const char *text, double *out)
{
    struct decimal d;
    if (!decimal_read(&text, &d) || strcmp(text, "%") != 0)
        return false;
    *out = (double)d.digits / ((double)d.scale * 100.0);
    return true;
}

const char *units_duration_text(as_time ms, char *buf)
{
    uint64_t left = ms > 0 ? (uint64_t)ms : 0;
    size_t used = 0;
    for (size_t i = 0; i < COUNT(durations); i++) {
        uint64_t n = left / durations[i].size;
        left %= durations[i].size;
        if (n)
            used += (size_t)snprintf(buf + used, UNITS_TEXT_MAX - used, "%llu%s", (unsigned long long)n,
                                     durations[i].name);
    }
    if (!used)
        snprintf(buf, UNITS_TEXT_MAX, "0s");
    return buf;
}

/* In the unit that takes the smallest number: "1GiB", "100TB". */
const char *units_bytes_text(uint64_t bytes, char *buf)
{
    const struct unit *best = NULL;
    for (size_t i = 0; i < COUNT(sizes) && bytes; i++)
        if (sizes[i].size > 1 && bytes % sizes[i].size == 0 && (!best || sizes[i].size > best->size))
            best = &sizes[i];
    snprintf(buf, UNITS_TEXT_MAX, "%llu%s", (unsigned long long)(best ? bytes / best->size : bytes),
             best ? best->name : "");
    return buf;
}

const char *units_number_text(double number, char *buf)
{
    if (number > -1e15 && number < 1e15 && !(floor(number) < number)) {
        snprintf(buf, UNITS_TEXT_MAX, "%lld", (long long)number);
        return buf;
    }
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(buf, UNITS_TEXT_MAX, "%.*g", digits, number);
        if (!(strtod(buf, NULL) < number) && !(strtod(buf, NULL) > number))
            break;
    }
    return buf;
}

const char *units_percent_text(double fraction, char *buf)
{
    snprintf(buf, UNITS_TEXT_MAX, "%.10g%%", fraction * 100.0);
    return buf;
}
