/* Addresses of servers: "HOST:PORT" and socket paths, names resolved beside the caller's thread, connections
 * made without blocking. It must never wait past its deadline. */
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "endpoint.h"

#define FULL_MS 10 /* between two attempts at a full backlog */

/* --- parsing ---------------------------------------------------------------------------------- */

static int path_parse(struct endpoint *e, const char *path, struct as_error *err)
{
    if (path[0] != '/')
        return as_fail(err, AS_EINVAL, "'%.60s': the path of a socket begins with '/'", path);
    if (strlen(path) >= sizeof e->path)
        return as_fail(err, AS_EINVAL, "the path of the socket is longer than %zu characters",
                       sizeof e->path - 1);
    snprintf(e->path, sizeof e->path, "%s", path);
    return AS_OK;
}

static bool port_parse(const char *text, unsigned *port)
{
    size_t digits = strspn(text, "0123456789");
    long n = digits > 0 && digits <= 5 && !text[digits] ? strtol(text, NULL, 10) : 0;
    *port = (unsigned)n;
    return n >= 1 && n <= 65535;
}

int endpoint_init(struct endpoint *e, const char *text, unsigned default_port, struct as_error *err)
{
    const char *host = text, *end;
    if (text[0] == '/')
        return path_parse(e, text, err);
    if (strncmp(text, "unix:", 5) == 0)
        return path_parse(e, text + 5, err);
    if (strchr(text, '@') || strstr(text, "://")) /* might hold a password: not repeated */
        return as_fail(err, AS_EINVAL, "write HOST:PORT or the path of a socket, not a URL");
    if (text[0] == '[') {
        host = text + 1;
        end = strchr(host, ']');
        if (!end || (end[1] && end[1] != ':'))
            return as_fail(err, AS_EINVAL, "'%.60s': write an IPv6 address as [ADDRESS]:PORT", text);
    } else {
        end = host + strcspn(host, ":");
        if (*end && strchr(end + 1, ':'))
            return as_fail(err, AS_EINVAL, "'%.60s': write an IPv6 address as [ADDRESS]:PORT", text);
    }
    size_t len = (size_t)(end - host);
    const char *port = *end == ']' ? end + 1 : end;
    if (len == 0 || strcspn(host, " \t\r\n/") < len)
        return as_fail(err, AS_EINVAL, "'%.60s' is not an address: write HOST:PORT or the path of a socket",
                       text);
    if (len >= sizeof e->host)
        return as_fail(err, AS_EINVAL, "'%.40s...' is too long for an address", text);
    e->port = default_port;
    if (*port && !port_parse(port + 1, &e->port))
        return as_fail(err, AS_EINVAL, "'%.60s': the port is a number from 1 to 65535", text);
    memcpy(e->host, host, len);
    e->host[len] = '\0';
    return AS_OK;
}

const char *endpoint_line(const char *text, char *buf, size_t size)
{
    size_t n = 0;
    while (text && *text && *text != '\n' && *text != '\r' && n + 1 < size) {
        unsigned char c = (unsigned char)*text++;
        buf[n++] = c < 0x20 || c == 0x7f ? ' ' : (char)c;
    }
    while (n > 0 && (buf[n - 1] == ' ' || buf[n - 1] == '.'))
        n--;
    buf[n] = '\0';
    return buf;
}

/* --- names ------------------------------------------------------------------------------------ */

static void addrs_take(const struct addrinfo *list, struct endpoint_addrs *out)
{
    out->count = 0;
    for (const struct addrinfo *i = list; i && out->count < ENDPOINT_TRIED_MAX; i = i->ai_next) {
        size_t n = out->count;
        if (i->ai_addrlen > sizeof out->addr[n] || getnameinfo(i->ai_addr, i->ai_addrlen, out->text[n],
                                                               sizeof out->text[n], NULL, 0, NI_NUMERICHOST))
            continue;
        memcpy(&out->addr[n], i->ai_addr, i->ai_addrlen);
        out->len[n] = i->ai_addrlen;
        out->count++;
    }
}

int endpoint_resolve(struct endpoint *e, as_time deadline, struct endpoint_addrs *out, struct as_error *err)
{
    const struct addrinfo *found;
    int rc = lookup_wait(&e->lookup, e->host, e->port, deadline, &found, err);
    if (rc != AS_OK)
        return rc;
    addrs_take(found, out);
    lookup_end(&e->lookup);
    return out->count ? AS_OK : as_fail(err, AS_EAGAIN, "cannot resolve '%s': it has no address", e->host);
}

/* --- connecting ------------------------------------------------------------------------------- */

int endpoint_wait(int fd, short events, as_time deadline)
{
    struct pollfd p = { .fd = fd, .events = events };
    int left, n = 0;
    while ((left = as_time_left(deadline)) > 0) { /* asked first, and again after each signal */
        n = poll(&p, 1, left);
        if (n >= 0 || errno != EINTR)
            break;
        n = 0;
    }
    return n;
}

/* 0 connected, ETIMEDOUT when the deadline passed, otherwise errno of the failure. */
static int socket_connect(int fd, const struct sockaddr *addr, socklen_t len, as_time deadline)
{
    int error = 0;
    socklen_t size = sizeof error;
    int rc;
    while ((rc = connect(fd, addr, len)) != 0 && errno == EAGAIN && as_time_left(deadline) > 0)
        poll(NULL, 0, FULL_MS); /* a unix socket whose backlog is full: it does not become ready */
    if (rc == 0)
        return 0;
    if (errno == EAGAIN)
        return ETIMEDOUT;
    if (errno != EINPROGRESS && errno != EINTR)
        return errno;
    int n = endpoint_wait(fd, POLLOUT, deadline);
    if (n == 0)
        return ETIMEDOUT;
    return n < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 ? errno : error;
}

/* A vanished peer is noticed even when nothing is sent. */
static void socket_keepalive(int fd)
{
    int on = 1, idle = 10, count = 3, unacked = 20000;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacked, sizeof unacked);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int address_connect(const struct sockaddr *addr, socklen_t len, as_time deadline, int *fd)
{
    int s = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s < 0)
        return errno;
    if (addr->sa_family != AF_UNIX)
        socket_keepalive(s);
    int error = socket_connect(s, addr, len, deadline);
    if (error != 0) {
        close(s);
        return error;
    }
    *fd = s;
    return 0;
}

static int fail_connect(int error, as_time began, struct as_error *err)
{
    char span[32];
    if (error == ETIMEDOUT)
        return as_fail(err, AS_EAGAIN, "no connection within %s",
                       as_time_text(as_clock_monotonic() - began, span, sizeof span));
    if (error == EACCES || error == EPERM)
        return as_fail(err, AS_EAUTH, "cannot connect: %s: let autoscale's user open the socket",
                       strerror(error));
    return as_fail(err, AS_EAGAIN, "cannot connect: %s", strerror(error));
}

int endpoint_connect(struct endpoint *e, as_time deadline, int *fd, struct as_error *err)
{
    as_time began = as_clock_monotonic();
    int error = 0;
    if (!e->host[0]) {
        struct sockaddr_un un = { .sun_family = AF_UNIX };
        memcpy(un.sun_path, e->path, sizeof un.sun_path);
        error = address_connect((struct sockaddr *)&un, sizeof un, deadline, fd);
        return error == 0 ? AS_OK : fail_connect(error, began, err);
    }
    struct endpoint_addrs at = { 0 };
    int rc = endpoint_resolve(e, deadline, &at, err);
    if (rc != AS_OK)
        return rc;
    for (size_t i = 0; i < at.count; i++) {
        /* a silent first address must leave time for the next */
        as_time part = as_clock_monotonic() + as_time_left(deadline) / (as_time)(at.count - i);
        error = address_connect((struct sockaddr *)&at.addr[i], at.len[i], part, fd);
        if (error == 0)
            return AS_OK;
    }
    return fail_connect(error, began, err);
}

void endpoint_fini(struct endpoint *e)
{
    lookup_end(&e->lookup);
}
