/* The Docker driver's state and what its files share. */
#ifndef COMPUTE_DOCKER_H
#define COMPUTE_DOCKER_H

#include <stdatomic.h>

#include "../wire/docker_api.h"
#include "autoscale/compute.h"
#include "docker_json.h"

struct docker {
    struct docker_host host;
    struct docker_shape shape;
    struct as_owner owner;
    atomic_bool network_seen; /* do not ask again before every launch                              */
};

extern const struct as_option docker_options[];
int docker_open(void *self, const struct as_settings *s, const struct as_owner *owner, const char *endpoint,
                struct as_error *err);
void docker_close(void *self);

/* A call without a body; AS_OK with any status, the answer is the caller's. */
int docker_ask(struct docker *d, const char *method, const char *path, as_time deadline, struct http_answer *a,
               struct as_error *err);
/* AS_ENOENT: no container has this name. AS_EEXIST: one has, and it is not ours. */
int docker_inspect_ours(struct docker *d, const char *id, as_time deadline, struct docker_container *out,
                        struct as_error *err);
/* Kills and removes, with anonymous volumes. Gone is AS_OK. */
int docker_remove(struct docker *d, const char *ref, as_time deadline, struct as_error *err);

/* Pauses or unpauses a container of ours until its state is `want`; out may be NULL. */
int docker_switch(struct docker *d, const char *id, as_time deadline, enum as_run_state want,
                  struct as_instance *out, struct as_error *err);

int docker_create(void *self, as_time deadline, const struct as_launch *launch, struct as_instance *out,
                  struct as_error *err);

#endif
