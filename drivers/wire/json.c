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

/* --- pointers ----------------------------------------------------------------------------------------- */

bool json_pointer_ok(const char *pointer)
{
    if (*pointer && *pointer != '/')
        return false;
    for (; *pointer; pointer++)
        if (*pointer == '~' && pointer[1] != '0' && pointer[1] != '1')
            return false;
    return true;
}

/* Is the token (up to the next slash) this member name? */
static bool token_is(const char *token, const char *name)
{
    for (; *token && *token != '/'; token++, name++) {
        char c = *token;
        if (c == '~')
            c = *++token == '0' ? '~' : '/';
        if (*name != c)
            return false;
    }
    return *name == '\0';
}

/* An index of an array: digits without a leading zero. */
static bool token_index(const char *token, int *out)
{
    size_t n = strspn(token, "0123456789");
    if (n == 0 || n > 9 || (token[n] && token[n] != '/') || (n > 1 && *token == '0'))
        return false;
    *out = 0;
    for (size_t i = 0; i < n; i++)
        *out = *out * 10 + (token[i] - '0');
    return true;
}

static const cJSON *step_into(const cJSON *item, const char *token)
{
    const cJSON *child = NULL;
    int index = 0;
    if (cJSON_IsObject(item))
        for (child = item->child; child && !(child->string && token_is(token, child->string));)
            child = child->next;
    else if (cJSON_IsArray(item) && token_index(token, &index))
        child = cJSON_GetArrayItem(item, index);
    return child;
}

const cJSON *json_pointer(const cJSON *root, const char *pointer)
{
    if (!json_pointer_ok(pointer))
        return NULL;
    while (root && *pointer) {
        root = step_into(root, ++pointer);
        pointer += strcspn(pointer, "/");
    }
    return root;
}

bool json_measure(const cJSON *item, double *out)
{
    bool truth = cJSON_IsBool(item);
    if (!truth && (!cJSON_IsNumber(item) || !isfinite(item->valuedouble)))
        return false;
    *out = truth ? cJSON_IsTrue(item) : item->valuedouble;
    return true;
}

const char *json_kind(const cJSON *item)
{
    return !item                                                  ? "nothing"
           : cJSON_IsNull(item)                                   ? "null"
           : cJSON_IsString(item)                                 ? "text"
           : cJSON_IsObject(item)                                 ? "an object"
           : cJSON_IsArray(item)                                  ? "an array"
           : cJSON_IsBool(item)                                   ? "true or false"
           : cJSON_IsNumber(item) && !isfinite(item->valuedouble) ? "a number out of range"
                                                                  : "a number";
}
