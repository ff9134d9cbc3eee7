/* Instances out of Docker's answers. Everything a daemon says is checked for type, range and length; an
 * object without our whole mark under its own name is never reported as ours. */
#include "docker_json.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../wire/json.h"

/* --- the mark ---------------------------------------------------------------------------------------- */

static const char *marked_id(const struct docker_shape *shape, const cJSON *labels, const char *name)
{
    return docker_marked_id(labels, shape->owner->controller, shape->owner->group, name);
}

static void read_revision(const cJSON *labels, struct as_instance *i)
{
    const char *revision = json_str(labels, DOCKER_LABEL_REVISION);
    if (revision && strlen(revision) < sizeof i->revision && docker_name_ok(revision))
        strcpy(i->revision, revision);
}

/* --- state and detail -------------------------------------------------------------------------------- */

/* A word that a later Docker may invent counts as running: the health check decides then. */
static enum as_run_state state_of(const char *word)
{
    static const struct {
        const char *word;
        enum as_run_state state;
    } words[] = { { "created", AS_RUN_CREATED }, { "running", AS_RUN_RUNNING },
                  { "paused", AS_RUN_PARKED },   { "restarting", AS_RUN_STOPPED },
                  { "exited", AS_RUN_STOPPED },  { "dead", AS_RUN_STOPPED },
                  { "removing", AS_RUN_STOPPED } };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(word, words[i].word) == 0)
            return words[i].state;
    return AS_RUN_RUNNING;
}

static void set_detail(struct as_instance *i, const char *text)
{
    size_t n = 0;
    for (; *text && n < sizeof i->detail - 1; text++)
        i->detail[n++] = *text >= ' ' && *text < 0x7f ? *text : '?';
    i->detail[n] = '\0';
}

/* --- where it answers -------------------------------------------------------------------------------- */

static void set_address(struct as_instance *i, const char *address, int64_t port)
{
    unsigned char binary[16];
    if (!address || strlen(address) >= sizeof i->address || port < 1 || port > 65535 ||
        (inet_pton(AF_INET, address, binary) != 1 && inet_pton(AF_INET6, address, binary) != 1))
        return;
    strcpy(i->address, address);
    i->port = (uint16_t)port;
}

static void set_published(const struct docker_shape *shape, struct as_instance *i, int64_t port)
{
    set_address(i, shape->advertise ? shape->advertise : shape->publish, port);
}

/* The container's own address: on the configured network, or on the first that has one. */
static void read_own_address(const struct docker_shape *shape, const cJSON *settings, struct as_instance *i)
{
    const cJSON *networks = json_get(settings, "Networks"), *n;
    cJSON_ArrayForEach(n, networks)
    {
        if (!shape->network || (n->string && strcmp(n->string, shape->network) == 0))
            set_address(i, json_str(n, "IPAddress"), shape->port);
        if (i->port)
            return;
    }
}

/* [{"IP":"127.0.0.5","PrivatePort":8080,"PublicPort":32768,"Type":"tcp"}] */
static void read_listed_ports(const struct docker_shape *shape, const cJSON *ports, struct as_instance *i)
{
    const cJSON *p;
    cJSON_ArrayForEach(p, ports)
    {
        int64_t inner, outer;
        const char *ip = json_str(p, "IP"), *type = json_str(p, "Type");
        if (ip && type && strcmp(type, "tcp") == 0 && strcmp(ip, shape->publish) == 0 &&
            json_int(p, "PrivatePort", 1, 65535, &inner) && inner == shape->port &&
            json_int(p, "PublicPort", 1, 65535, &outer)) {
            set_published(shape, i, outer);
            return;
        }
    }
}

/* {"8080/tcp":[{"HostIp":"127.0.0.5","HostPort":"32768"}]} */
static void read_inspected_ports(const struct docker_shape *shape, const cJSON *ports, struct as_instance *i)
{
    char key[16];
    snprintf(key, sizeof key, "%u/tcp", (unsigned)shape->port);
    const cJSON *p;
    cJSON_ArrayForEach(p, json_get(ports, key))
    {
        const char *ip = json_str(p, "HostIp"), *port = json_str(p, "HostPort");
        char *end = NULL;
        long number = port ? strtol(port, &end, 10) : 0;
        if (ip && strcmp(ip, shape->publish) == 0 && end && end != port && !*end) {
            set_published(shape, i, number);
            return;
        }
    }
}

/* --- the list -------------------------------------------------------------------------------------------- */

static const char *own_name(const struct docker_shape *shape, const cJSON *c)
{
    const cJSON *name;
    cJSON_ArrayForEach(name, json_get(c, "Names"))
    {
        const char *id = marked_id(shape, json_get(c, "Labels"), cJSON_GetStringValue(name));
        if (id)
            return id;
    }
    return NULL;
}

static void read_listed(const struct docker_shape *shape, const cJSON *c, const char *id,
                        struct as_instance *i)
{
    const char *state = json_str(c, "State"), *status = json_str(c, "Status");
    int64_t created;
    strcpy(i->id, id);
    read_revision(json_get(c, "Labels"), i);
    i->state = state_of(state);
    if (json_int(c, "Created", 0, INT32_MAX * (int64_t)16, &created))
        i->created_wall = created * 1000;
    if (i->state != AS_RUN_RUNNING || strcmp(state, "running") != 0)
        set_detail(i, status && *status ? status : state);
    /* the ports of a container that does not run are those of its last life */
    if (i->state != AS_RUN_RUNNING && i->state != AS_RUN_PARKED)
        return;
    if (shape->publish)
        read_listed_ports(shape, json_get(c, "Ports"), i);
    else
        read_own_address(shape, json_get(c, "NetworkSettings"), i);
}

static int read_items(const struct docker_shape *shape, const cJSON *root, struct as_instances *out,
                      struct as_error *err)
{
    const cJSON *c;
    cJSON_ArrayForEach(c, root)
    {
        if (!cJSON_IsObject(c) || !json_str(c, "State"))
            return as_fail(err, AS_EPROTO, "Docker listed a container without a state");
        const char *id = own_name(shape, c);
        if (!id)
            continue;
        struct as_instance *i = as_instances_add(out);
        if (!i)
            return as_fail(err, AS_ENOMEM, "out of memory, or more than %d instances on one host",
                           AS_INSTANCES_CAP);
        read_listed(shape, c, id, i);
    }
    return AS_OK;
}

int docker_read_list(const struct docker_shape *shape, const char *text, size_t size,
                     struct as_instances *out, struct as_error *err)
{
    struct as_instances found = { 0 };
    cJSON *root = json_parse(text, size);
    int rc = cJSON_IsArray(root) ? read_items(shape, root, &found, err)
                                 : as_fail(err, AS_EPROTO, "Docker's list of containers is no JSON list");
    cJSON_Delete(root);
    if (rc != AS_OK) {
        as_instances_fini(&found);
        return rc;
    }
    found.room = -1; /* Docker does not limit how many containers a host takes */
    as_instances_fini(out);
    *out = found;
    return AS_OK;
}

/* --- one container --------------------------------------------------------------------------------------- */

static void read_ending(const cJSON *state, struct docker_container *out)
{
    const char *word = json_str(state, "Status"), *why = json_str(state, "Error");
    const cJSON *oom = json_get(state, "OOMKilled");
    char text[sizeof out->instance.detail];
    int64_t code = 0;
    json_int(state, "ExitCode", INT32_MIN, INT32_MAX, &code);
    out->exit_code = (int)code;
    snprintf(text, sizeof text, "%s (%d)%s%s%.60s", word, (int)code,
             cJSON_IsTrue(oom) ? ", killed for lack of memory" : "", why && *why ? ": " : "", why ? why : "");
    set_detail(&out->instance, text);
}

static int read_inspected(const struct docker_shape *shape, const char *id, const cJSON *root,
                          struct docker_container *out, struct as_error *err)
{
    const cJSON *state = json_get(root, "State"), *labels = json_get(json_get(root, "Config"), "Labels");
    const cJSON *network = json_get(root, "NetworkSettings");
    const char *ref = json_str(root, "Id"), *word = json_str(state, "Status");
    if (!docker_ref_ok(ref) || !word)
        return as_fail(err, AS_EPROTO, "Docker's description of container '%s' has no id or state", id);
    const char *marked = marked_id(shape, labels, json_str(root, "Name"));
    struct as_instance *i = &out->instance;
    strcpy(out->ref, ref);
    out->ours = marked && strcmp(marked, id) == 0;
    out->going = strcmp(word, "removing") == 0 || strcmp(word, "dead") == 0;
    snprintf(i->id, sizeof i->id, "%s", id);
    read_revision(labels, i);
    i->state = state_of(word);
    i->created_wall = docker_time(json_str(root, "Created"));
    if (i->state == AS_RUN_STOPPED)
        read_ending(state, out);
    if (i->state != AS_RUN_RUNNING && i->state != AS_RUN_PARKED)
        return AS_OK;
    if (shape->publish)
        read_inspected_ports(shape, json_get(network, "Ports"), i);
    else
        read_own_address(shape, network, i);
    return AS_OK;
}

int docker_read_container(const struct docker_shape *shape, const char *id, const char *text, size_t size,
                          struct docker_container *out, struct as_error *err)
{
    struct docker_container found = { 0 };
    cJSON *root = json_parse(text, size);
    int rc = read_inspected(shape, id, root, &found, err);
    cJSON_Delete(root);
    if (rc == AS_OK)
        *out = found;
    return rc;
}

/* --- a pull ---------------------------------------------------------------------------------------------- */

bool docker_pull_failed(const char *text, size_t size, char *why, size_t why_size)
{
    const char *end = text + size;
    while (text < end) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        size_t n = (size_t)((stop ? stop : end) - text);
        char *line = memmem(text, n, "\"error", 6) ? strndup(text, n) : NULL;
        cJSON *json = line ? json_parse(line, strlen(line)) : NULL;
        const char *error = json_str(json, "error");
        if (error)
            snprintf(why, why_size, "%s", error);
        cJSON_Delete(json);
        free(line);
        if (error)
            return true;
        text += n + 1;
    }
    return false;
}
