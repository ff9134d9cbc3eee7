/* Small pages of nginx, over TCP or a unix socket. It never sends credentials and never reads more than a
 * page is worth. */
#include "nginx_page.h"

#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static int check_text(const char *url, struct as_error *err)
{
    for (const unsigned char *c = (const unsigned char *)url; *c; c++)
        if (*c <= ' ' || *c >= 0x7f || *c == '#' || *c == '@')
            return as_fail(err, AS_EINVAL, "the URL holds a blank or a character that does not belong there");
    return AS_OK;
}

static int split_http(struct nginx_page *p, const char *url, struct as_error *err)
{
    const char *host = url + strlen("http://");
    size_t n = strcspn(host, "/?");
    if (n == 0 || *host == ':')
        return as_fail(err, AS_EINVAL, "'%.120s' names no host", url);
    p->path = host[n] == '/' ? host + n : "/";
    p->base = strndup(url, strlen("http://") + n);
    return p->base ? AS_OK : as_fail(err, AS_ENOMEM, "out of memory");
}

static int split_unix(struct nginx_page *p, const char *url, struct as_error *err)
{
    const char *from = url + strlen("unix:"), *colon = strchr(from, ':');
    size_t n = colon ? (size_t)(colon - from) : strlen(from);
    if (*from != '/' || n >= sizeof((struct sockaddr_un *)NULL)->sun_path || (colon && colon[1] != '/'))
        return as_fail(err, AS_EINVAL, "'%.120s' is not \"unix:/SOCKET:/PATH\"", url);
    p->path = colon ? colon + 1 : "/";
    p->socket = strndup(from, n);
    p->base = strdup("http://localhost");
    return p->socket && p->base ? AS_OK : as_fail(err, AS_ENOMEM, "out of memory");
}

int nginx_page_init(struct nginx_page *p, const char *url, struct as_error *err)
{
    int rc = check_text(url, err);
    if (rc)
        return rc;
    if (strncmp(url, "http://", 7) == 0)
        rc = split_http(p, url, err);
    else if (strncmp(url, "unix:", 5) == 0)
        rc = split_unix(p, url, err);
    else
        rc = as_fail(err, AS_EINVAL,
                     "'%.120s' is neither \"http://HOST:PORT/PATH\" nor \"unix:/SOCKET:/PATH\"", url);
    p->peer = (struct http_peer){ .name = url, .base = p->base, .unix_path = p->socket };
    return rc;
}

void nginx_page_fini(struct nginx_page *p)
{
    free(p->base);
    free(p->socket);
    *p = (struct nginx_page){ 0 };
}

int nginx_page_get(const struct nginx_page *p, as_time deadline, struct http_answer *out,
                   struct as_error *err)
{
    struct http_request req = {
        .method = "GET", .path = p->path, .cap = NGINX_PAGE_CAP, .deadline = deadline
    };
    struct as_error why;
    int rc = http_call(&p->peer, &req, out, &why);
    if (rc) /* a read may be repeated, whatever became of it */
        return as_fail(err, rc == AS_EUNKNOWN ? AS_EAGAIN : (enum as_rc)rc, "%s", why.msg);
    if (out->status == 200)
        return AS_OK;
    rc = as_fail(err, AS_ENOENT, "%s answers HTTP %ld", p->peer.name, out->status);
    http_answer_fini(out);
    return rc;
}
