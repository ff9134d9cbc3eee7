/* Compute driver for containers on one Docker host. A container's name is the instance id and its labels
 * are the mark of ownership: every write looks at the labels first and touches nothing else, neither
 * containers nor networks nor named volumes. It never waits for an application to answer, and it never
 * calls a write undone unless Docker said so or nothing was sent. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "docker.h"

#define REMOVE_RESERVE (2 * AS_SECOND) /* of a deadline, kept for removing after a slow stop */

/* --- small calls ---------------------------------------------------------------------------------------- */

/* A call whose answer only matters by its status. The body of the answer stays with the caller. */
int docker_ask(struct docker *d, const char *method, const char *path, as_time deadline,
               struct http_answer *a, struct as_error *err)
{
    struct docker_request req = { .method = method, .path = path, .deadline = deadline };
    return docker_call(&d->host, &req, a, err);
}

/* AS_ENOENT when no container has this name. */
static int inspect(struct docker *d, const char *name, as_time deadline, struct docker_container *out,
                   struct as_error *err)
{
    char path[AS_ID_MAX + 64];
    struct http_answer a = { 0 };
    snprintf(path, sizeof path, "/containers/%s/json", name);
    int rc = docker_ask(d, "GET", path, deadline, &a, err);
    if (rc != AS_OK)
        return rc;
    if (a.status == 404)
        rc = as_fail(err, AS_ENOENT, "there is no container '%s' on %s", name, d->host.peer.name);
    else if (a.status != 200)
        rc = docker_refused(&d->host, "inspecting", &a, err);
    else
        rc = docker_read_container(&d->shape, name, a.body, a.size, out, err);
    http_answer_fini(&a);
    return rc;
}

static int not_ours(const struct docker *d, const char *id, struct as_error *err)
{
    return as_fail(err, AS_EEXIST, "container '%s' on %s is not ours (its labels say so), it is left alone",
                   id, d->host.peer.name);
}

/* inspect, refusing what does not carry our mark */
int docker_inspect_ours(struct docker *d, const char *id, as_time deadline, struct docker_container *out,
                        struct as_error *err)
{
    if (!docker_name_ok(id))
        return as_fail(err, AS_EINVAL, "'%s' cannot be the name of a container", id);
    int rc = inspect(d, id, deadline, out, err);
    return rc == AS_OK && !out->ours ? not_ours(d, id, err) : rc;
}

/* Removes by Docker's own id, so that a namesake made in between is safe. Anonymous volumes go with it. */
int docker_remove(struct docker *d, const char *ref, as_time deadline, struct as_error *err)
{
    char path[DOCKER_REF_MAX + 64];
    struct http_answer a = { 0 };
    snprintf(path, sizeof path, "/containers/%s?force=1&v=1", ref);
    int rc = docker_ask(d, "DELETE", path, deadline, &a, err);
    if (rc != AS_OK)
        return rc;
    if (a.status == 409) /* somebody removes it right now: not gone yet, not refused either */
        rc = as_fail(err, AS_EAGAIN, "container '%.12s' on %s is already being removed", ref,
                     d->host.peer.name);
    else if (a.status >= 300 && a.status != 404)
        rc = docker_refused(&d->host, "removing", &a, err);
    http_answer_fini(&a);
    return rc;
}

/* --- list ------------------------------------------------------------------------------------------------- */

static int docker_list(void *self, as_time deadline, struct as_instances *out, struct as_error *err)
{
    struct docker *d = self;
    struct http_answer a = { 0 };
    char *path = docker_list_path(&d->shape);
    if (!path)
        return as_fail(err, AS_ENOMEM, "out of memory for a request to %s", d->host.peer.name);
    struct docker_request req = {
        .method = "GET", .path = path, .cap = DOCKER_LIST_MAX, .deadline = deadline
    };
    int rc = docker_call(&d->host, &req, &a, err);
    free(path);
    if (rc != AS_OK)
        return rc;
    if (a.status != 200)
        rc = docker_refused(&d->host, "listing", &a, err);
    else
        rc = docker_read_list(&d->shape, a.body, a.size, out, err);
    http_answer_fini(&a);
    return rc;
}

/* --- destroy ------------------------------------------------------------------------------------------------- */

/* SIGTERM, and SIGKILL after stop_timeout or what the deadline allows, whichever is less. A refused stop
 * does not matter: the removal that follows kills. */
static int stop_container(struct docker *d, const char *ref, as_time deadline, struct as_error *err)
{
    char path[DOCKER_REF_MAX + 48];
    struct http_answer a = { 0 };
    as_time patience = as_settings_ms(d->shape.settings, "stop_timeout");
    as_time allowed = as_time_left(deadline) - REMOVE_RESERVE;
    if (allowed < 0)
        allowed = 0;
    as_time seconds = patience <= allowed ? (patience + 999) / 1000 : allowed / 1000;
    snprintf(path, sizeof path, "/containers/%s/stop?t=%lld", ref, (long long)seconds);
    int rc = docker_ask(d, "POST", path, deadline, &a, err);
    http_answer_fini(&a);
    return rc;
}

static int docker_destroy(void *self, as_time deadline, const struct as_instance *inst, struct as_error *err)
{
    struct docker *d = self;
    struct docker_container c;
    int rc = docker_inspect_ours(d, inst->id, deadline, &c, err);
    if (rc == AS_ENOENT)
        return AS_OK;
    if (rc != AS_OK)
        return rc;
    if (c.instance.state == AS_RUN_RUNNING || c.instance.state == AS_RUN_PARKED)
        rc = stop_container(d, c.ref, deadline, err);
    return rc == AS_OK ? docker_remove(d, c.ref, deadline, err) : rc;
}

/* --- park ------------------------------------------------------------------------------------------------------ */

/* Pauses or unpauses a container of ours until it is in state `want`. */
int docker_switch(struct docker *d, const char *id, as_time deadline, enum as_run_state want,
                  struct as_instance *out, struct as_error *err)
{
    struct docker_container c;
    struct http_answer a = { 0 };
    char path[DOCKER_REF_MAX + 32];
    int rc = docker_inspect_ours(d, id, deadline, &c, err);
    if (rc != AS_OK || c.instance.state == want)
        goto done;
    if (c.instance.state != AS_RUN_RUNNING && c.instance.state != AS_RUN_PARKED)
        return as_fail(err, AS_EINVAL, "'%s' on %s does not run: %s", id, d->host.peer.name,
                       c.instance.detail);
    snprintf(path, sizeof path, "/containers/%s/%s", c.ref, want == AS_RUN_PARKED ? "pause" : "unpause");
    if ((rc = docker_ask(d, "POST", path, deadline, &a, err)) != AS_OK)
        return rc;
    if (a.status >= 300) /* 409 when already paused, 500 when not paused: the state tells, not the words */
        rc = docker_refused(&d->host, want == AS_RUN_PARKED ? "pausing" : "unpausing", &a, err);
    http_answer_fini(&a);
    struct as_error why;
    int seen = docker_inspect_ours(d, id, deadline, &c, &why);
    if (seen != AS_OK)
        return rc != AS_OK ? rc
                           : as_fail(err, AS_EUNKNOWN, "'%s' cannot be inspected again: %s", id, why.msg);
    if (c.instance.state == want)
        rc = AS_OK;
    else if (rc == AS_OK)
        rc = as_fail(err, AS_EUNKNOWN, "'%s' on %s did not stay as it was put", id, d->host.peer.name);
done:
    if (rc == AS_OK && out)
        *out = c.instance;
    return rc;
}

static int docker_park(void *self, as_time deadline, const struct as_instance *inst, struct as_error *err)
{
    return docker_switch(self, inst->id, deadline, AS_RUN_PARKED, NULL, err);
}

static int docker_unpark(void *self, as_time deadline, const struct as_instance *inst,
                         struct as_instance *out, struct as_error *err)
{
    return docker_switch(self, inst->id, deadline, AS_RUN_RUNNING, out, err);
}

const struct as_compute_driver as_compute_docker = {
    .name = "docker",
    .summary = "containers on Docker hosts",
    .options = docker_options,
    .endpoints = "hosts",
    .state_size = sizeof(struct docker),
    .open = docker_open,
    .list = docker_list,
    .create = docker_create,
    .destroy = docker_destroy,
    .park = docker_park,
    .unpark = docker_unpark,
    .close = docker_close,
};
