/* Series picked out of JSON: a map option NAME = "/json/pointer", shared by the sources that read documents. */
#ifndef SOURCE_JSON_VALUES_H
#define SOURCE_JSON_VALUES_H

#include <cjson/cJSON.h>

#include "autoscale/source.h"

#define JSON_VALUES_MISSING "values_missing" /* the built-in series of these sources */

/* Names and pointers of the map, offline. */
int json_values_check(const struct as_settings *settings, const char *option, struct as_error *err);
/* Adds the values found in `root`, and JSON_VALUES_MISSING. One that is absent or no number is left out: AS_OK, and
 * *err names the first such. */
int json_values_add(const struct as_settings *settings, const char *option, const cJSON *root,
                    struct as_samples *out, struct as_error *err);
/* One JSON object of those on the lines of `text`, which has a NUL behind it; of members of the same name the last
 * counts. Blank lines are skipped, anything else is AS_EPROTO. *out is owned by the caller. */
int json_lines(const char *text, size_t size, cJSON **out, struct as_error *err);

#endif
