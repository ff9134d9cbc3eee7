/* One question to the running daemon, for the subcommands. Blocking. */
#ifndef RUNTIME_CLIENT_H
#define RUNTIME_CLIENT_H

#include <stddef.h>

#include "autoscale/error.h"

#define CLIENT_ANSWER_MAX ((size_t)64 * 1024 * 1024)

/* path: "/status?group=web", already encoded. AS_OK for any HTTP status; *body is malloc'ed and
 * NUL-terminated. AS_ENOENT: no daemon there; AS_EAUTH: no permission; AS_EUNKNOWN: no answer in time (a
 * POST may have had its effect); AS_EPROTO: the answer is too large or is not HTTP. */
int client_call(const char *socket_path, const char *method, const char *path, int timeout_ms, char **body,
                int *status, struct as_error *err);

#endif
