/* The mark of ownership on Docker's objects, and what else its answers about a container have in common. */
#ifndef WIRE_DOCKER_MARK_H
#define WIRE_DOCKER_MARK_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#define DOCKER_LABEL_CONTROLLER "autoscale.controller"
#define DOCKER_LABEL_GROUP      "autoscale.group"
#define DOCKER_LABEL_INSTANCE   "autoscale.instance"
#define DOCKER_LABEL_REVISION   "autoscale.revision"
#define DOCKER_REF_MAX 80       /* a container id (64 hex) with the NUL                            */

/* Can this be the name of a container (and so part of a path without escaping)? */
bool docker_name_ok(const char *id);
/* Is this Docker's own id of a container? NULL is none. */
bool docker_ref_ok(const char *ref);

/* The instance id in the labels when the mark is whole and `name` (with its leading slash) is that id; else
 * NULL. A NULL group stands for every group of the controller. */
const char *docker_marked_id(const cJSON *labels, const char *controller, const char *group, const char *name);

/* "2026-11-23T07:52:14.48313342Z" in ms since the epoch; 0 when it is something else, or before it. */
int64_t docker_time(const char *text);

#endif
