/* Strict reading of a peer's JSON. A scan before the parser bounds depth and node count, because the
 * parser turns one byte of input into up to 64 bytes of memory and recurses per level. */
#include "json.h"

#include <math.h>
#include <string.h>

/* Counts commas and brackets outside strings: an upper bound of the nodes. */
static bool within_bounds(const char *text, size_t size)
{
    size_t depth = 0, nodes = 1;
    bool quoted = false;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '[' || c == '{') {
            nodes++;
            if (++depth > JSON_DEPTH_MAX)
                return false;
        } else if (c == ']' || c == '}') {
            if (depth-- == 0)
                return false;
        } else if (c == ',') {
            nodes++;
        }
        if (nodes > JSON_NODES_MAX)
            return false;
    }
    return depth == 0 && !quoted;
}

cJSON *json_parse(const char *text, size_t size)
{
    bool marked = size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0; /* the parser would skip it */
    if (marked || memchr(text, '\0', size) || !within_bounds(text, size))
        return NULL;
    const char *end = NULL;
    cJSON *root = cJSON_ParseWithLengthOpts(text, size + 1, &end, 0);
    if (!root)
        return NULL;
    while (end < text + size && strchr(" \t\r\n", *end))
        end++;
    if (end != text + size) {
        cJSON_Delete(root);
        return NULL;
    }
    return root;
}

const cJSON *json_get(const cJSON *object, const char *name)
{
    return cJSON_IsObject(object) ? cJSON_GetObjectItemCaseSensitive(object, name) : NULL;
}

const char *json_str(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(json_get(object, name));
}

bool json_int(const cJSON *object, const char *name, int64_t min, int64_t max, int64_t *out)
{
    const cJSON *item = json_get(object, name);
    if (!cJSON_IsNumber(item))
        return false;
    double v = item->valuedouble;
    if (!isfinite(v) || v != floor(v) || v < (double)min || v > (double)max)
        return false;
    *out = (int64_t)v;
    return true;
}
