/* Picks series out of a JSON document by pointer. It must never fill a gap: what is absent or no number is left
 * out, and the others are read all the same. */
#include "json_values.h"

#include <stdlib.h>
#include <string.h>

#include "../wire/json.h"

int json_values_check(const struct as_settings *settings, const char *option, struct as_error *err)
{
    for (size_t i = 0; i < as_settings_count(settings, option); i++) {
        const char *name = as_settings_key(settings, option, i), *at = as_settings_item(settings, option, i);
        if (strlen(name) >= AS_NAME_MAX)
            return as_settings_fail(settings, option, err, "the name '%.32s...' is longer than %d characters",
                                    name, AS_NAME_MAX - 1);
        if (strcmp(name, JSON_VALUES_MISSING) == 0)
            return as_settings_fail(settings, option, err,
                                    "'%s' is a series of the driver itself: choose another name", name);
        if (!json_pointer_ok(at))
            return as_settings_fail(
                settings, option, err,
                "'%s': '%.80s' is no JSON pointer: write it as \"/member/0\", with ~1 for a "
                "slash and ~0 for a tilde inside a name",
                name, at);
    }
    return AS_OK;
}

int json_values_add(const struct as_settings *settings, const char *option, const cJSON *root,
                    struct as_samples *out, struct as_error *err)
{
    struct as_error first = { 0 };
    size_t missing = 0;
    int rc = AS_OK;
    for (size_t i = 0; rc == AS_OK && i < as_settings_count(settings, option); i++) {
        const char *name = as_settings_key(settings, option, i), *at = as_settings_item(settings, option, i);
        const cJSON *item = json_pointer(root, at);
        double value;
        if (json_measure(item, &value))
            rc = as_samples_add(out, "", name, value, 1, err);
        else if (missing++ == 0)
            as_fail(&first, AS_ENOENT, "value '%s': there is %s at \"%.80s\", not a number", name,
                    json_kind(item), at);
    }
    if (rc == AS_OK)
        rc = as_samples_add(out, "", JSON_VALUES_MISSING, (double)missing, 1, err);
    if (rc == AS_OK && missing && err)
        *err = first;
    return rc;
}

/* --- lines ----------------------------------------------------------------------------------------------- */

/* Members of a later line replace those of an earlier one. */
static bool merge_line(cJSON *all, cJSON *line)
{
    while (line->child) {
        cJSON *member = cJSON_DetachItemViaPointer(line, line->child);
        cJSON_DeleteItemFromObjectCaseSensitive(all, member->string);
        if (!cJSON_AddItemToObject(all, member->string, member)) {
            cJSON_Delete(member);
            return false;
        }
    }
    return true;
}

static int read_line(cJSON *all, const char *text, size_t size, struct as_error *err)
{
    char *line = strndup(text, size); /* with a NUL behind it */
    cJSON *root = line ? json_parse(line, size) : NULL;
    int rc = AS_OK;
    if (!line)
        rc = as_fail(err, AS_ENOMEM, "out of memory");
    else if (!cJSON_IsObject(root))
        rc = as_fail(err, AS_EPROTO, "the command's output is not JSON, nor a JSON object on each line");
    else if (!merge_line(all, root))
        rc = as_fail(err, AS_ENOMEM, "out of memory");
    cJSON_Delete(root);
    free(line);
    return rc;
}

int json_lines(const char *text, size_t size, cJSON **out, struct as_error *err)
{
    cJSON *all = cJSON_CreateObject();
    int rc = all ? AS_OK : as_fail(err, AS_ENOMEM, "out of memory");
    for (const char *at = text; rc == AS_OK && at < text + size;) {
        const char *end = memchr(at, '\n', (size_t)(text + size - at));
        size_t n = end ? (size_t)(end - at) : (size_t)(text + size - at);
        if (strspn(at, " \t\r") < n)
            rc = read_line(all, at, n, err);
        at += n + 1;
    }
    if (rc == AS_OK)
        *out = all;
    else
        cJSON_Delete(all);
    return rc;
}
