/* A page that nginx serves for us (stub_status, the generation marker): "http://HOST[:PORT]/PATH", or
 * "unix:/SOCKET:/PATH". One GET, one small text. */
#ifndef WIRE_NGINX_PAGE_H
#define WIRE_NGINX_PAGE_H

#include "http.h"

#define NGINX_PAGE_CAP 4096 /* most bytes of such a page */

struct nginx_page {         /* zeroed by the caller; nginx_page_fini accepts a half-opened one       */
    struct http_peer peer;
    char *base, *socket;
    const char *path;       /* of the URL given to init, borrowed                                  */
};

/* Splits and checks `url` (borrowed), offline. */
int nginx_page_init(struct nginx_page *p, const char *url, struct as_error *err);
void nginx_page_fini(struct nginx_page *p);

/* AS_OK with the body of a 200. AS_ENOENT: it answers, but another status. AS_EAGAIN: nobody listens, or no
 * answer by the deadline. AS_EPROTO: the answer is no HTTP, or too long. */
int nginx_page_get(const struct nginx_page *p, as_time deadline, struct http_answer *out, struct as_error *err);

#endif
