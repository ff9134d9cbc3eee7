/* Picks series out of a JSON document by pointer. It must never fill a gap: what is absent or no number is left
 * out, and the others are read all the same. */
#include "json_values.h"

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
