/* What the Docker driver writes and reads: request bodies out of its settings, instances out of answers.
 * Pure: no connection here. */
#ifndef COMPUTE_DOCKER_JSON_H
#define COMPUTE_DOCKER_JSON_H

#include "../wire/docker_mark.h"
#include "autoscale/compute.h"

struct docker_shape {           /* strings borrowed from settings and owner                        */
    const struct as_settings *settings;
    const struct as_owner *owner;
    const char *network;        /* NULL: Docker's default bridge                                   */
    const char *publish;        /* host address to publish on, NULL: use the container's address   */
    const char *advertise;      /* address the balancer uses, NULL: publish                        */
    uint16_t port;
};

struct docker_container {       /* one inspected container                                         */
    char ref[DOCKER_REF_MAX];   /* Docker's own id                                                 */
    bool ours;                  /* carries our whole mark, under its own name                      */
    bool going;                 /* being removed, or dead                                          */
    int exit_code;              /* of a STOPPED one                                                */
    struct as_instance instance;
};

/* Return owned JSON or query text; NULL: out of memory. */
char *docker_create_body(const struct docker_shape *shape, const struct as_launch *launch);
/* The bridge's own name is made of host and network: Docker checks that one under a lock, while its check for
 * the network's name lets two requests at the same moment both through. */
char *docker_network_body(const struct docker_shape *shape, const char *host);
char *docker_list_path(const struct docker_shape *shape);
/* "name" -> fromImage query; an image without tag gets :latest, otherwise Docker would pull all tags. */
char *docker_pull_path(const char *image);

/* Adds exactly the containers with the mark of the shape's owner. AS_EPROTO: not what Docker answers. */
int docker_read_list(const struct docker_shape *shape, const char *text, size_t size, struct as_instances *out,
                     struct as_error *err);
/* Reads an inspection of the container named `id`. */
int docker_read_container(const struct docker_shape *shape, const char *id, const char *text, size_t size,
                          struct docker_container *out, struct as_error *err);
/* The error in the progress stream of a pull: true and its text when there is one. */
bool docker_pull_failed(const char *text, size_t size, char *why, size_t why_size);

#endif
