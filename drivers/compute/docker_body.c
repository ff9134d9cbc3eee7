/* Request bodies and queries of the Docker driver, built from its settings alone. The same settings and
 * id always give the same body; nothing here connects or remembers. */
#include "docker_json.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../wire/http.h"

/* Adds `item` under `name`; deletes it when that fails, so that nothing leaks. */
static bool put(cJSON *object, const char *name, cJSON *item)
{
    if (item && object && cJSON_AddItemToObject(object, name, item))
        return true;
    cJSON_Delete(item);
    return false;
}

static bool put_str(cJSON *object, const char *name, const char *value)
{
    return put(object, name, cJSON_CreateString(value));
}

/* The strings of an option as a list under `name`; nothing when the option is not given. */
static bool put_strings(cJSON *object, const char *name, const struct as_settings *s, const char *option)
{
    size_t count = as_settings_count(s, option);
    cJSON *list = count ? cJSON_CreateArray() : NULL;
    for (size_t i = 0; list && i < count; i++) {
        cJSON *item = cJSON_CreateString(as_settings_item(s, option, i));
        if (!item || !cJSON_AddItemToArray(list, item)) {
            cJSON_Delete(item);
            cJSON_Delete(list);
            return false;
        }
    }
    return count == 0 || put(object, name, list);
}

static bool put_env(cJSON *object, const struct as_settings *s)
{
    size_t count = as_settings_count(s, "env");
    cJSON *list = count ? cJSON_CreateArray() : NULL;
    for (size_t i = 0; list && i < count; i++) {
        char *pair = NULL;
        if (asprintf(&pair, "%s=%s", as_settings_key(s, "env", i), as_settings_item(s, "env", i)) < 0)
            pair = NULL;
        cJSON *item = pair ? cJSON_CreateString(pair) : NULL;
        free(pair);
        if (!item || !cJSON_AddItemToArray(list, item)) {
            cJSON_Delete(item);
            cJSON_Delete(list);
            return false;
        }
    }
    return count == 0 || put(object, "Env", list);
}

static bool put_labels(cJSON *body, const struct docker_shape *shape, const struct as_launch *launch)
{
    cJSON *labels = cJSON_CreateObject();
    bool ok = labels != NULL;
    size_t count = as_settings_count(shape->settings, "labels");
    for (size_t i = 0; ok && i < count; i++)
        ok = put_str(labels, as_settings_key(shape->settings, "labels", i),
                     as_settings_item(shape->settings, "labels", i));
    ok = ok && put_str(labels, DOCKER_LABEL_CONTROLLER, shape->owner->controller) &&
         put_str(labels, DOCKER_LABEL_GROUP, shape->owner->group) &&
         put_str(labels, DOCKER_LABEL_INSTANCE, launch->id) &&
         put_str(labels, DOCKER_LABEL_REVISION, launch->revision ? launch->revision : "");
    if (ok)
        return put(body, "Labels", labels);
    cJSON_Delete(labels);
    return false;
}

/* {"8080/tcp": value} under `name`. */
static bool put_port(cJSON *object, const char *name, uint16_t port, cJSON *value)
{
    char key[16];
    snprintf(key, sizeof key, "%u/tcp", (unsigned)port);
    cJSON *ports = cJSON_CreateObject();
    if (!put(ports, key, value)) {
        cJSON_Delete(ports);
        return false;
    }
    return put(object, name, ports);
}

static bool put_binding(cJSON *host, const struct docker_shape *shape)
{
    cJSON *list = cJSON_CreateArray(), *one = cJSON_CreateObject();
    bool ok = list && one && put_str(one, "HostIp", shape->publish) && put_str(one, "HostPort", "");
    if (!ok || !cJSON_AddItemToArray(list, one)) {
        cJSON_Delete(one);
        cJSON_Delete(list);
        return false;
    }
    return put_port(host, "PortBindings", shape->port, list);
}

static bool put_host(cJSON *body, const struct docker_shape *shape)
{
    const struct as_settings *s = shape->settings;
    cJSON *host = cJSON_CreateObject(), *restart = cJSON_CreateObject();
    bool ok = host && put_str(restart, "Name", "no");
    if (!ok)
        cJSON_Delete(restart);
    ok = ok && put(host, "RestartPolicy", restart);
    /* busybox-like programs ignore SIGTERM as process 1; Docker's init forwards it and reaps */
    ok = ok && put(host, "Init", cJSON_CreateTrue());
    if (ok && shape->network)
        ok = put_str(host, "NetworkMode", shape->network);
    if (ok && as_settings_has(s, "memory")) {
        double memory = (double)as_settings_bytes(s, "memory");
        ok = put(host, "Memory", cJSON_CreateNumber(memory)) &&
             put(host, "MemorySwap", cJSON_CreateNumber(memory)); /* equal: no swap on top */
    }
    if (ok && as_settings_has(s, "cpus"))
        ok = put(host, "NanoCpus", cJSON_CreateNumber(round(as_settings_num(s, "cpus") * 1e9)));
    ok = ok && put_strings(host, "Binds", s, "binds") && (!shape->publish || put_binding(host, shape));
    if (ok)
        return put(body, "HostConfig", host);
    cJSON_Delete(host);
    return false;
}

char *docker_create_body(const struct docker_shape *shape, const struct as_launch *launch)
{
    const struct as_settings *s = shape->settings;
    cJSON *body = cJSON_CreateObject();
    as_time stop = as_settings_ms(s, "stop_timeout");
    bool ok = body && put_str(body, "Image", as_settings_str(s, "image")) &&
              put(body, "StopTimeout", cJSON_CreateNumber((double)((stop + 999) / 1000))) &&
              put_port(body, "ExposedPorts", shape->port, cJSON_CreateObject()) &&
              put_strings(body, "Cmd", s, "command") && put_env(body, s) && put_labels(body, shape, launch) &&
              put_host(body, shape);
    char *text = ok ? cJSON_PrintUnformatted(body) : NULL;
    cJSON_Delete(body);
    return text;
}

static uint64_t mix(uint64_t hash, const char *text)
{
    do
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u; /* FNV-1a, the NUL included */
    while (*text++);
    return hash;
}

static bool put_bridge_name(cJSON *body, const char *host, const char *network)
{
    char name[16];
    uint64_t hash = mix(mix(0xcbf29ce484222325u, host), network);
    snprintf(name, sizeof name, "as%012llx", (unsigned long long)(hash >> 16));
    cJSON *driver = cJSON_CreateObject();
    if (put_str(driver, "com.docker.network.bridge.name", name))
        return put(body, "Options", driver);
    cJSON_Delete(driver);
    return false;
}

char *docker_network_body(const struct docker_shape *shape, const char *host)
{
    cJSON *body = cJSON_CreateObject(), *labels = cJSON_CreateObject();
    bool ok = body && put_str(labels, DOCKER_LABEL_CONTROLLER, shape->owner->controller);
    if (!ok)
        cJSON_Delete(labels);
    ok = ok && put(body, "Labels", labels) && put_str(body, "Name", shape->network) &&
         put_str(body, "Driver", "bridge") && put(body, "CheckDuplicate", cJSON_CreateTrue()) &&
         put_bridge_name(body, host, shape->network);
    char *text = ok ? cJSON_PrintUnformatted(body) : NULL;
    cJSON_Delete(body);
    return text;
}

char *docker_list_path(const struct docker_shape *shape)
{
    char label[2 * AS_ID_MAX + 64], *path = NULL;
    cJSON *filter = cJSON_CreateObject(), *marks = cJSON_CreateArray();
    const char *const pairs[][2] = { { DOCKER_LABEL_CONTROLLER, shape->owner->controller },
                                     { DOCKER_LABEL_GROUP, shape->owner->group } };
    bool ok = filter && marks;
    for (size_t i = 0; ok && i < 2; i++) {
        snprintf(label, sizeof label, "%s=%s", pairs[i][0], pairs[i][1]);
        cJSON *item = cJSON_CreateString(label);
        ok = item && cJSON_AddItemToArray(marks, item);
        if (!ok)
            cJSON_Delete(item);
    }
    if (!ok)
        cJSON_Delete(marks);
    ok = ok && put(filter, "label", marks);
    char *text = ok ? cJSON_PrintUnformatted(filter) : NULL;
    char *escaped = text ? http_escape(text) : NULL;
    if (escaped && asprintf(&path, "/containers/json?all=1&filters=%s", escaped) < 0)
        path = NULL;
    free(escaped);
    free(text);
    cJSON_Delete(filter);
    return path;
}

char *docker_pull_path(const char *image)
{
    const char *slash = strrchr(image, '/');
    bool exact = strchr(image, '@') || strchr(slash ? slash : image, ':');
    char *escaped = http_escape(image), *path = NULL;
    if (escaped && asprintf(&path, "/images/create?fromImage=%s%s", escaped, exact ? "" : "&tag=latest") < 0)
        path = NULL;
    free(escaped);
    return path;
}
