/* JSON from a peer, read strictly with cJSON: one value and nothing behind it, bounded depth and number of
 * nodes, no NUL bytes; names compared case-sensitively; numbers range-checked as doubles. */
#ifndef WIRE_JSON_H
#define WIRE_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 64
#define JSON_NODES_MAX 1000000

/* `text` has size bytes and a NUL behind them. Returns owned (cJSON_Delete), NULL when it is not JSON. */
cJSON *json_parse(const char *text, size_t size);

/* All accept NULL and values of a wrong type, and then return NULL. */
const cJSON *json_get(const cJSON *object, const char *name);
const char *json_str(const cJSON *object, const char *name);
/* True when the member is a whole number in [min, max]. */
bool json_int(const cJSON *object, const char *name, int64_t min, int64_t max, int64_t *out);

#endif
