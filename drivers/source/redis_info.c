/* Parser of Redis's INFO. It must never take for a number what is not one, nor read past the text. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "redis_info.h"

#define NUMBER_MAX 40 /* characters */

static const char *const names[REDIS_FIELDS] = {
    "used_memory",     "maxmemory",           "connected_clients",
    "blocked_clients", "maxclients",          "total_commands_processed",
    "keyspace_hits",   "keyspace_misses",     "evicted_keys",
    "loading",         "loading_loaded_perc",
};

struct span {
    const char *at;
    size_t len;
};

static bool span_is(struct span s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.at, text, s.len) == 0;
}

static bool span_number(struct span s, double *out)
{
    char text[NUMBER_MAX], *end;
    if (s.len == 0 || s.len >= sizeof text)
        return false;
    memcpy(text, s.at, s.len);
    text[s.len] = '\0';
    if (strspn(text, "0123456789.") != s.len)
        return false;
    double value = strtod(text, &end);
    if (*end || end == text || !isfinite(value))
        return false;
    *out = value;
    return true;
}

static void span_copy(struct span s, char *buf, size_t size)
{
    if (*buf || s.len >= size)
        return;
    memcpy(buf, s.at, s.len);
    buf[s.len] = '\0';
}

static int line_take(struct redis_info *info, struct span key, struct span value, struct as_error *err)
{
    if (span_is(key, "run_id"))
        span_copy(value, info->run_id, sizeof info->run_id);
    else if (span_is(key, "master_link_status"))
        span_copy(value, info->link, sizeof info->link);
    for (int f = 0; f < REDIS_FIELDS; f++) {
        if (info->has[f] || !span_is(key, names[f]))
            continue;
        if (!span_number(value, &info->value[f]))
            return as_fail(err, AS_EPROTO, "INFO: %s is not a number", names[f]);
        info->has[f] = true;
    }
    return AS_OK;
}

int redis_info_parse(const char *text, size_t len, struct redis_info *out, struct as_error *err)
{
    const char *at = text, *end = text + len;
    struct redis_info info = { 0 };
    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        const char *next = line_end ? line_end + 1 : end;
        if (!line_end)
            line_end = end;
        if (line_end > at && line_end[-1] == '\r')
            line_end--;
        const char *colon = memchr(at, ':', (size_t)(line_end - at));
        int rc = AS_OK;
        if (colon && *at != '#')
            rc = line_take(&info, (struct span){ at, (size_t)(colon - at) },
                           (struct span){ colon + 1, (size_t)(line_end - colon - 1) }, err);
        if (rc != AS_OK)
            return rc;
        at = next;
    }
    if (!info.has[REDIS_USED_MEMORY] || !info.has[REDIS_CONNECTED_CLIENTS])
        return as_fail(err, AS_EPROTO,
                       "INFO tells no used_memory or connected_clients: is this a Redis server?");
    *out = info;
    return AS_OK;
}
