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

/* JSON pointers (RFC 6901). ok: "" or "/a/0/b~1c" with nothing but ~0 and ~1 behind a tilde. json_pointer
 * returns what it points at in `root`, NULL when there is nothing. */
bool json_pointer_ok(const char *pointer);
const cJSON *json_pointer(const cJSON *root, const char *pointer);
/* A finite number, or true and false as 1 and 0; text that looks like a number is none. */
bool json_measure(const cJSON *item, double *out);
/* "nothing", "null", "text", "an object", ...: for error texts about an item that is no measure. */
const char *json_kind(const cJSON *item);

#endif
