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

struct http_auth {          /* secrets are read from their files at each call, so they may rotate; borrowed */
    const char *token_file;    /* sent as "Authorization: Bearer TOKEN", or raw in token_header      */
    const char *token_header;  /* NULL: Authorization                                                */
    const char *user, *password_file; /* HTTP basic authentication                                  */
};

enum http_fault {           /* why no answer arrived, for who must tell the peer's faults from ours  */
    HTTP_FAULT_NONE,
    HTTP_FAULT_LOCAL,       /* ours: a file, memory, descriptors, no time or no route               */
    HTTP_FAULT_NAME,        /* the host name is not resolved                                        */
    HTTP_FAULT_REFUSED,     /* nothing listens there                                                */
    HTTP_FAULT_CONNECT,     /* no connection for another reason, also not in time                   */
    HTTP_FAULT_TLS,         /* no TLS session, or a certificate that is not accepted                */
    HTTP_FAULT_TIMEOUT,     /* it took the request and did not answer in time                       */
    HTTP_FAULT_LOST,        /* the connection ended in the middle                                   */
    HTTP_FAULT_NONSENSE,    /* no HTTP, or over the cap                                             */
};

struct http_request {
    const char *method;     /* "GET", "POST", "DELETE", ...                                        */
    const char *path;       /* begins with '/', already escaped                                    */
    const char *body;       /* text, JSON unless `headers` name a Content-Type, or NULL            */
    const char *want;       /* name of a response header to keep, or NULL                          */
    size_t cap;             /* most bytes of answer body; more is AS_EPROTO                        */
    as_time deadline;
    const char *const *headers;   /* further "Name: value" lines, ends with NULL; or NULL          */
    const struct http_auth *auth; /* or NULL                                                       */
    enum http_fault *fault;       /* how it ended, or NULL                                         */
};

struct http_answer {        /* freed with http_answer_fini                                         */
    long status;
    char *body;             /* never NULL after AS_OK; NUL-terminated; may hold NULs inside        */
    size_t size;
    char header[64];        /* the wanted header's value, "" when absent or too long               */
    double took_ms;         /* from the look-up of the name to the last byte                       */
};

/* AS_OK when an answer arrived whole, whatever its status. AS_EAGAIN: not a byte was sent, or AS_EAUTH
 * when that is because TLS refused. AS_EUNKNOWN: sent, but the answer did not arrive by the deadline or
 * was cut off. AS_EPROTO: sent, and the answer is no HTTP or over the cap. Before anything is
 * sent also the error of as_secret_read for a file of `auth`. */
int http_call(const struct http_peer *peer, const struct http_request *req, struct http_answer *out,
              struct as_error *err);
void http_answer_fini(struct http_answer *a);

/* Percent-escapes everything but unreserved characters; returns owned text, NULL: out of memory. */
char *http_escape(const char *text);

#endif
