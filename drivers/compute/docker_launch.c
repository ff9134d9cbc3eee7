/* Launching a container: what it needs (network, image), its creation under the instance's name, its
 * start. What fails for good leaves nothing behind; what is in doubt is said to be in doubt; a container of
 * that name that is not ours is never touched. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../wire/json.h"
#include "docker.h"

#define PULL_ANSWER_MAX   ((size_t)16 << 20)
#define EXIT_NOT_RUNNABLE 126
#define EXIT_NOT_FOUND    127
#define NAP_MS            50
#define NETWORK_MAX       128

/* --- what it needs ---------------------------------------------------------------------------------- */

/* A short wait for something another call is doing; false when the deadline leaves no room for it. */
static bool nap(as_time deadline)
{
    if (as_time_left(deadline) <= NAP_MS)
        return false;
    usleep(NAP_MS * 1000);
    return true;
}

/* AS_ENOENT: the host has no network of this name. */
static int find_network(struct docker *d, as_time deadline, struct as_error *err)
{
    char path[NETWORK_MAX + 32];
    struct http_answer a = { 0 };
    snprintf(path, sizeof path, "/networks/%s", d->shape.network);
    int rc = docker_ask(d, "GET", path, deadline, &a, err);
    if (rc == AS_OK && a.status != 200)
        rc = docker_refused(&d->host, "looking for the network", &a, err);
    http_answer_fini(&a);
    return rc;
}

/* AS_OK: made, or somebody beside us makes it just now. */
static int make_network(struct docker *d, as_time deadline, struct as_error *err)
{
    struct http_answer a = { 0 };
    char text[DOCKER_MESSAGE_MAX];
    char *body = docker_network_body(&d->shape, d->host.peer.name);
    if (!body)
        return as_fail(err, AS_ENOMEM, "out of memory for a request to %s", d->host.peer.name);
    struct docker_request req = {
        .method = "POST", .path = "/networks/create", .body = body, .deadline = deadline
    };
    int rc = docker_call(&d->host, &req, &a, err);
    free(body);
    if (rc != AS_OK)
        return rc;
    docker_message(&a, text);
    if (a.status >= 300 && a.status != 409 && !strstr(text, "same bridge name"))
        rc = docker_refused(&d->host, "creating the network", &a, err);
    http_answer_fini(&a);
    return rc;
}

static int need_network(struct docker *d, as_time deadline, struct as_error *err)
{
    if (!d->shape.network || atomic_load(&d->network_seen))
        return AS_OK;
    int rc = find_network(d, deadline, err);
    if (rc == AS_ENOENT && (rc = make_network(d, deadline, err)) == AS_OK)
        do
            rc = find_network(d, deadline, err);
        while (rc == AS_ENOENT && nap(deadline));
    if (rc == AS_OK)
        atomic_store(&d->network_seen, true);
    /* nothing of the instance exists yet, so even an unknown outcome is safe to repeat */
    if (rc == AS_EUNKNOWN || rc == AS_ENOENT)
        rc = (int)(err->rc = AS_EAGAIN);
    return rc;
}

static int pull_image(struct docker *d, as_time deadline, struct as_error *err)
{
    const char *image = as_settings_str(d->shape.settings, "image");
    struct http_answer a = { 0 };
    char why[DOCKER_MESSAGE_MAX] = "";
    char *path = docker_pull_path(image);
    if (!path)
        return as_fail(err, AS_ENOMEM, "out of memory for a request to %s", d->host.peer.name);
    struct docker_request req = {
        .method = "POST", .path = path, .cap = PULL_ANSWER_MAX, .deadline = deadline
    };
    int rc = docker_call(&d->host, &req, &a, err);
    free(path);
    if (rc == AS_EUNKNOWN)
        return as_fail(err, AS_EAGAIN, "pulling image '%s' on %s did not end in time: pull it there by hand",
                       image, d->host.peer.name);
    if (rc != AS_OK)
        return rc;
    if (a.status >= 300)
        docker_message(&a, why);
    if (a.status >= 300 || docker_pull_failed(a.body, a.size, why, sizeof why))
        rc = as_fail(err, a.status == 404 ? AS_EINVAL : AS_EAGAIN, "cannot pull image '%s' on %.60s: %s",
                     image, d->host.peer.name, docker_tail(why));
    http_answer_fini(&a);
    return rc;
}

/* --- create -------------------------------------------------------------------------------------------------- */

/* A launch failed for good: nothing may stay behind. Keeps the error unless the removal is in doubt. */
static int undo(struct docker *d, const char *ref, as_time deadline, int rc, struct as_error *err)
{
    struct as_error why;
    if (rc == AS_EUNKNOWN || docker_remove(d, ref, deadline, &why) == AS_OK)
        return rc;
    return as_fail(err, AS_EUNKNOWN, "%s; and removing what was left failed: %s", err->msg, why.msg);
}

static int start_refused(struct docker *d, const struct http_answer *a, struct as_error *err)
{
    int rc = docker_refused(&d->host, "starting", a, err);
    if (rc == AS_ENOENT) { /* the container or its network went away beside us */
        atomic_store(&d->network_seen, false);
        err->rc = AS_EAGAIN;
        return AS_EAGAIN;
    }
    return rc;
}

/* Starts a container of ours and reads where it answers. */
static int bring_up(struct docker *d, as_time deadline, struct docker_container *c, struct as_error *err)
{
    char path[DOCKER_REF_MAX + 32];
    struct http_answer a = { 0 };
    snprintf(path, sizeof path, "/containers/%s/start", c->ref);
    if (docker_ask(d, "POST", path, deadline, &a, err) != AS_OK) /* whatever it is: the container is there */
        return as_fail(err, AS_EUNKNOWN, "container '%s' was created, its start is in doubt: %s",
                       c->instance.id, err->msg);
    int rc = AS_OK;
    if (a.status >= 300 && a.status != 304)
        rc = undo(d, c->ref, deadline, start_refused(d, &a, err), err);
    http_answer_fini(&a);
    if (rc != AS_OK)
        return rc;
    struct as_error why;
    char id[AS_ID_MAX];
    snprintf(id, sizeof id, "%s", c->instance.id);
    if ((rc = docker_inspect_ours(d, id, deadline, c, &why)) != AS_OK)
        return as_fail(err, AS_EUNKNOWN, "'%s' was started but cannot be inspected: %s", id, why.msg);
    bool unrunnable = c->exit_code == EXIT_NOT_RUNNABLE || c->exit_code == EXIT_NOT_FOUND;
    if (c->instance.state != AS_RUN_STOPPED || !unrunnable)
        return AS_OK;
    as_fail(err, AS_EINVAL, "'%s' on %s ended at once, %s: the command cannot be run in image '%s'", id,
            d->host.peer.name, c->instance.detail, as_settings_str(d->shape.settings, "image"));
    return undo(d, c->ref, deadline, AS_EINVAL, err);
}

/* The name is taken: ours is brought to running, anything else is left alone. AS_ENOENT: only the name is
 * taken, because an earlier create or removal is still at work. */
static int adopt(struct docker *d, const char *id, as_time deadline, struct docker_container *c,
                 struct as_error *err)
{
    int rc = docker_inspect_ours(d, id, deadline, c, err);
    if (rc != AS_OK)
        return rc;
    if (c->going) {
        docker_remove(d, c->ref, deadline, NULL); /* a dead one never leaves by itself */
        return as_fail(err, AS_EAGAIN, "'%s' is still being removed on %s", id, d->host.peer.name);
    }
    if (c->instance.state == AS_RUN_RUNNING)
        return AS_OK;
    if (c->instance.state == AS_RUN_PARKED)
        return docker_switch(d, id, deadline, AS_RUN_RUNNING, &c->instance, err);
    return bring_up(d, deadline, c, err);
}

/* Docker's id out of the answer to a create; when that is unreadable the name serves as well. */
static void read_ref(const struct http_answer *a, const char *name, char ref[DOCKER_REF_MAX])
{
    cJSON *json = json_parse(a->body, a->size);
    const char *id = json_str(json, "Id");
    snprintf(ref, DOCKER_REF_MAX, "%s", docker_ref_ok(id) ? id : name);
    cJSON_Delete(json);
}

/* AS_OK: created, c->ref is set. AS_EEXIST: the name is taken. AS_ENOENT: the image is missing. */
static int make_container(struct docker *d, const struct as_launch *launch, as_time deadline,
                          struct docker_container *c, struct as_error *err)
{
    char path[AS_ID_MAX + 64];
    struct http_answer a = { 0 };
    char *body = docker_create_body(&d->shape, launch);
    if (!body)
        return as_fail(err, AS_ENOMEM, "out of memory for launching '%s'", launch->id);
    snprintf(path, sizeof path, "/containers/create?name=%s", launch->id);
    struct docker_request req = { .method = "POST", .path = path, .body = body, .deadline = deadline };
    int rc = docker_call(&d->host, &req, &a, err);
    free(body);
    if (rc != AS_OK)
        return rc;
    if (a.status >= 300)
        rc = docker_refused(&d->host, "creating", &a, err);
    else
        read_ref(&a, launch->id, c->ref);
    http_answer_fini(&a);
    snprintf(c->instance.id, sizeof c->instance.id, "%s", launch->id);
    return rc;
}

static int make_or_pull(struct docker *d, const struct as_launch *launch, as_time deadline,
                        struct docker_container *c, struct as_error *err)
{
    const struct as_settings *s = d->shape.settings;
    int rc = make_container(d, launch, deadline, c, err);
    if (rc == AS_ENOENT && strcmp(as_settings_str(s, "pull"), "missing") == 0) {
        if ((rc = pull_image(d, deadline, err)) != AS_OK)
            return rc;
        rc = make_container(d, launch, deadline, c, err);
    }
    if (rc == AS_ENOENT)
        rc = as_fail(err, AS_EINVAL, "image '%s' is not on host %s: docker load or pull it there",
                     as_settings_str(s, "image"), d->host.peer.name);
    return rc;
}

int docker_create(void *self, as_time deadline, const struct as_launch *launch, struct as_instance *out,
                  struct as_error *err)
{
    struct docker *d = self;
    struct docker_container c = { 0 };
    struct as_error own;
    err = err ? err : &own;
    if (!docker_name_ok(launch->id))
        return as_fail(err, AS_EINVAL, "'%s' cannot be the name of a container", launch->id);
    int rc = need_network(d, deadline, err);
    if (rc != AS_OK)
        return rc;
    do {
        rc = make_or_pull(d, launch, deadline, &c, err);
        if (rc == AS_OK)
            rc = bring_up(d, deadline, &c, err);
        else if (rc == AS_EEXIST)
            rc = adopt(d, launch->id, deadline, &c, err);
    } while (rc == AS_ENOENT && nap(deadline));
    if (rc == AS_ENOENT)
        rc = as_fail(err, AS_EUNKNOWN, "'%s' is being created or removed by an earlier request on %s",
                     launch->id, d->host.peer.name);
    if (rc == AS_OK)
        *out = c.instance;
    return rc;
}
