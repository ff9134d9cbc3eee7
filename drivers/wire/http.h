/* A small blocking HTTP client: one request, one answer, one connection, within a deadline.
 *
 * No connection is ever reused: libcurl silently repeats a request, also a POST, when a reused
 * connection dies, and a repeated create is a second instance. Redirects, proxies, compression and
 * HTTP/0.9 are refused. Any number of threads may call at the same time. */
#ifndef WIRE_HTTP_H
#define WIRE_HTTP_H

#include <stddef.h>

#include "autoscale/error.h"
#include "autoscale/time.h"

struct http_peer {          /* where to; strings are borrowed                                      */
    const char *name;       /* for error texts                                                     */
    const char *base;       /* "http://host:port" or "https://host:port"                           */
    const char *unix_path;  /* connect here instead; the base is then only the Host header         */
    const char *tls_ca;     /* PEM file of accepted authorities, NULL: the system's                */
    const char *tls_cert, *tls_key; /* PEM files of the client certificate, NULL: none             */
};

struct http_request {
    const char *method;     /* "GET", "POST", "DELETE", ...                                        */
    const char *path;       /* begins with '/', already escaped                                    */
    const char *body;       /* JSON text, or NULL                                                  */
    const char *want;       /* name of a response header to keep, or NULL                          */
    size_t cap;             /* most bytes of answer body; more is AS_EPROTO                        */
    as_time deadline;
};

struct http_answer {        /* freed with http_answer_fini                                         */
    long status;
    char *body;             /* never NULL after AS_OK; NUL-terminated; may hold NULs inside        */
    size_t size;
    char header[64];        /* the wanted header's value, "" when absent or too long               */
};

/* AS_OK when an answer arrived whole, whatever its status. AS_EAGAIN: not a byte was sent, or AS_EAUTH
 * when that is because TLS refused. AS_EUNKNOWN: sent, but the answer did not arrive by the deadline or
 * was cut off. AS_EPROTO: sent, and the answer is no HTTP or over the cap. */
int http_call(const struct http_peer *peer, const struct http_request *req, struct http_answer *out,
              struct as_error *err);
void http_answer_fini(struct http_answer *a);

/* Percent-escapes everything but unreserved characters; returns owned text, NULL: out of memory. */
char *http_escape(const char *text);

#endif
