/* The daemon's ear: HTTP on a unix socket (mode 0660), answered on the loop thread. Peers are root, the
 * daemon's own user, and members of the socket's group; anyone else gets 403. It knows nothing of what is
 * asked: the handler does, and it must not block. */
#ifndef RUNTIME_API_H
#define RUNTIME_API_H

#include <stddef.h>
#include <uv.h>

#include "autoscale/error.h"

#define API_BODY_MAX ((size_t)64 * 1024) /* of a request; more is 413 */

struct api;
struct api_request;

struct api_reply {    /* arrives zeroed                                                             */
    int status;       /* 0 stays "500"                                                              */
    char *body;       /* malloc'ed, taken by the caller; NULL: empty                                */
    size_t length;    /* 0 with a body: it is a string                                              */
    const char *type; /* a literal; NULL: application/json                                          */
};

/* method "GET", "POST", …; path decoded, without the query. */
typedef void (*api_handler)(void *arg, const char *method, const char *path, const struct api_request *request,
                            struct api_reply *reply);

/* Borrowed for the call; NULL when the query has no such key ("" for a key without a value). */
const char *api_query(const struct api_request *request, const char *key);

/* A socket file nobody listens on is replaced; AS_EEXIST when somebody does, or when the path is taken
 * by something that is no socket. */
int api_new(uv_loop_t *loop, const char *socket_path, api_handler handler, void *arg, struct api **out,
            struct as_error *err);
/* Drops connections, removes the socket; the loop must run once more for uv handles to close. */
void api_free(struct api *a);

#endif
