/* HTTP for the loop thread: libmicrohttpd with its epoll descriptor watched by libuv. It starts no thread,
 * opens no TCP port, holds no more than a bounded request, and removes only a socket that is its own. */
#include <errno.h>
#include <microhttpd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "api.h"
#include "log.h"

#define CONNECTIONS_MAX   64u
#define CONNECTION_MEMORY ((size_t)16 * 1024) /* request line and headers */
#define IDLE_SECONDS      10u
#define BACKLOG           64
#define GROUPS_MAX        1024

struct api {
    struct MHD_Daemon *daemon;
    uv_poll_t *poll; /* handles outlive us until the loop has closed them */
    uv_timer_t *timer;
    api_handler handler;
    void *arg;
    struct sockaddr_un address;
    dev_t dev; /* of our socket file */
    ino_t ino;
};

struct api_request {
    struct MHD_Connection *connection;
    size_t length; /* of its body: no request has anything to say in one, it is read past */
};

/* --- requests ------------------------------------------------------------------------------------ */

const char *api_query(const struct api_request *request, const char *key)
{
    const char *value = NULL;
    size_t length;
    if (MHD_lookup_connection_value_n(request->connection, MHD_GET_ARGUMENT_KIND, key, strlen(key), &value,
                                      &length) != MHD_YES)
        return NULL;
    return value ? value : "";
}

static bool in_peer_groups(int fd, gid_t group)
{
    gid_t groups[GROUPS_MAX];
    socklen_t size = sizeof groups;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) != 0)
        return false;
    for (size_t i = 0; i < size / sizeof *groups; i++) {
        if (groups[i] == group)
            return true;
    }
    return false;
}

/* The kernel already asks for write permission on the file at connect; this holds also when its mode was
 * changed, or the descriptor handed on by who may connect. The file's group is read anew: it may be given
 * to another with chgrp while we run. */
static bool peer_allowed(const struct api *a, struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct ucred peer;
    socklen_t size = sizeof peer;
    struct stat st;
    if (!info || getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        return false;
    if (peer.uid == 0 || peer.uid == geteuid())
        return true;
    if (lstat(a->address.sun_path, &st) != 0 || st.st_ino != a->ino || st.st_dev != a->dev)
        return false;
    return peer.gid == st.st_gid || in_peer_groups(info->connect_fd, st.st_gid);
}

/* Takes the body. */
static enum MHD_Result send_reply(struct MHD_Connection *connection, const struct api_reply *reply)
{
    size_t length = reply->body && !reply->length ? strlen(reply->body) : reply->length;
    struct MHD_Response *response =
        reply->body ? MHD_create_response_from_buffer(length, reply->body, MHD_RESPMEM_MUST_FREE)
                    : MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
    if (!response) {
        free(reply->body);
        return MHD_NO;
    }
    MHD_add_response_header(response, "Content-Type", reply->type ? reply->type : "application/json");
    enum MHD_Result rc = MHD_queue_response(
        connection, reply->status ? (unsigned)reply->status : MHD_HTTP_INTERNAL_SERVER_ERROR, response);
    MHD_destroy_response(response);
    return rc;
}

static enum MHD_Result refuse(struct MHD_Connection *connection, int status, const char *why)
{
    char body[160];
    snprintf(body, sizeof body, "{\"error\":\"%s\"}\n", why);
    struct api_reply reply = { .status = status, .body = strdup(body) };
    return send_reply(connection, &reply);
}

/* The first call for a request: headers are here, the body is not. */
static enum MHD_Result begin_request(const struct api *a, struct MHD_Connection *connection, void **context)
{
    if (!peer_allowed(a, connection))
        return refuse(connection, MHD_HTTP_FORBIDDEN, "not a member of the socket's group");
    const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");
    if (length && strtoull(length, NULL, 10) > API_BODY_MAX)
        return refuse(connection, MHD_HTTP_CONTENT_TOO_LARGE, "the request is too large");
    struct api_request *r = calloc(1, sizeof *r);
    if (!r)
        return MHD_NO;
    r->connection = connection;
    *context = r;
    return MHD_YES;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data, size_t *size,
                                  void **context)
{
    (void)version, (void)data;
    const struct api *a = arg;
    struct api_request *r = *context;
    if (!r)
        return begin_request(a, connection, context);
    if (*size) {
        if (*size > API_BODY_MAX - r->length) /* a chunked one: no answer is possible in the middle of it */
            return MHD_NO;
        r->length += *size;
        *size = 0;
        return MHD_YES;
    }
    struct api_reply reply = { 0 };
    a->handler(a->arg, method, url, r, &reply);
    return send_reply(connection, &reply);
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode why)
{
    (void)arg;
    (void)connection;
    (void)why;
    free(*context);
    *context = NULL;
}

__attribute__((format(printf, 2, 0))) static void on_library_log(void *arg, const char *fmt, va_list ap)
{
    (void)arg;
    char text[256];
    vsnprintf(text, sizeof text, fmt, ap);
    text[strcspn(text, "\n")] = '\0';
    log_debug("api", "%s", text);
}

/* --- libuv --------------------------------------------------------------------------------------- */

static void turn(struct api *a);

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    turn(poll->data);
}

static void on_timer(uv_timer_t *timer)
{
    turn(timer->data);
}

static void turn(struct api *a)
{
    MHD_UNSIGNED_LONG_LONG ms;
    MHD_run(a->daemon);
    if (MHD_get_timeout(a->daemon, &ms) == MHD_YES)
        uv_timer_start(a->timer, on_timer, ms, 0);
    else
        uv_timer_stop(a->timer);
}

static void free_handle(uv_handle_t *h)
{
    free(h);
}

static int watch(struct api *a, uv_loop_t *loop, struct as_error *err)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(a->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    uv_poll_t *poll = calloc(1, sizeof *poll);
    uv_timer_t *timer = calloc(1, sizeof *timer);
    int rc = info && poll && timer ? uv_poll_init(loop, poll, info->epoll_fd) : UV_ENOMEM;
    if (rc) {
        free(poll);
        free(timer);
        return as_fail(err, AS_EIO, "cannot watch %s: %s", a->address.sun_path, uv_strerror(rc));
    }
    uv_timer_init(loop, timer); /* never fails */
    a->poll = poll;
    a->timer = timer;
    poll->data = timer->data = a;
    uv_poll_start(poll, UV_READABLE, on_readable);
    turn(a);
    return AS_OK;
}

/* --- the socket ---------------------------------------------------------------------------------- */

/* AS_OK when the path is free now. Only an answer of the kernel that nobody listens makes a socket stale. */
static int clear_path(const struct sockaddr_un *address, struct as_error *err)
{
    const char *path = address->sun_path;
    struct stat st;
    if (lstat(path, &st) != 0)
        return errno == ENOENT ? AS_OK : as_fail(err, AS_EIO, "cannot look at %s: %s", path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return as_fail(err, AS_EEXIST, "%s is no socket: remove it or name another path for the socket",
                       path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return as_fail(err, AS_EIO, "cannot make a socket: %s", strerror(errno));
    int why = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ? 0 : errno;
    close(fd);
    if (why == 0 || why == EAGAIN) /* its queue may be full */
        return as_fail(err, AS_EEXIST, "another autoscale is running on %s", path);
    if (why != ECONNREFUSED)
        return as_fail(err, AS_EIO, "cannot use %s: %s", path, strerror(why));
    if (unlink(path) != 0)
        return as_fail(err, AS_EIO, "cannot remove the stale socket %s: %s", path, strerror(errno));
    return AS_OK;
}

/* The mode is set before anybody can connect: listen comes last. */
static int open_socket(struct api *a, int *out, struct as_error *err)
{
    const char *path = a->address.sun_path;
    struct stat st;
    int rc = clear_path(&a->address, err);
    if (rc)
        return rc;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return as_fail(err, AS_EIO, "cannot make a socket: %s", strerror(errno));
    if (bind(fd, (const struct sockaddr *)&a->address, sizeof a->address) != 0) {
        rc = as_fail(err, AS_EIO, "cannot make the socket %s: %s%s", path, strerror(errno),
                     errno == ENOENT ? ": create its directory" : "");
        close(fd);
        return rc;
    }
    if (chmod(path, 0660) != 0 || lstat(path, &st) != 0 || listen(fd, BACKLOG) != 0) {
        rc = as_fail(err, AS_EIO, "cannot listen on %s: %s", path, strerror(errno));
        unlink(path);
        close(fd);
        return rc;
    }
    a->dev = st.st_dev;
    a->ino = st.st_ino;
    *out = fd;
    return AS_OK;
}

static int start_daemon(struct api *a, int fd, struct as_error *err)
{
    const struct MHD_OptionItem options[] = {
        { MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)(void (*)(void *, const char *, va_list))on_library_log,
          NULL },
        { MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, NULL },
        { MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, NULL },
        { MHD_OPTION_CONNECTION_MEMORY_LIMIT, (intptr_t)CONNECTION_MEMORY, NULL },
        { MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS, NULL },
        { MHD_OPTION_END, 0, NULL },
    };
    a->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, a,
                                 MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
    if (a->daemon)
        return AS_OK;
    unlink(a->address.sun_path);
    return as_fail(err, AS_EIO, "cannot serve on %s: %s", a->address.sun_path, strerror(errno));
}

int api_new(uv_loop_t *loop, const char *socket_path, api_handler handler, void *arg, struct api **out,
            struct as_error *err)
{
    struct api *a = calloc(1, sizeof *a);
    if (!a)
        return as_fail(err, AS_ENOMEM, "out of memory");
    a->handler = handler;
    a->arg = arg;
    a->address.sun_family = AF_UNIX;
    int fd = -1, rc;
    if (strlen(socket_path) >= sizeof a->address.sun_path) {
        rc = as_fail(err, AS_EINVAL, "the path of the socket is longer than %zu bytes: %.100s",
                     sizeof a->address.sun_path - 1, socket_path);
    } else {
        strcpy(a->address.sun_path, socket_path);
        rc = open_socket(a, &fd, err);
    }
    if (!rc)
        rc = start_daemon(a, fd, err);
    if (!rc)
        rc = watch(a, loop, err);
    if (rc) {
        api_free(a);
        return rc;
    }
    *out = a;
    return AS_OK;
}

void api_free(struct api *a)
{
    if (!a)
        return;
    struct stat st;
    if (a->poll) {
        uv_poll_stop(a->poll);
        uv_close((uv_handle_t *)a->poll, free_handle);
        uv_close((uv_handle_t *)a->timer, free_handle);
    }
    if (a->daemon) {
        MHD_stop_daemon(a->daemon); /* closes the listening socket too */
        if (lstat(a->address.sun_path, &st) == 0 && st.st_ino == a->ino && st.st_dev == a->dev)
            unlink(a->address.sun_path);
    }
    free(a);
}
