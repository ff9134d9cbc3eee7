/* The Docker Engine API as a peer: where it is, which version both speak, one call, and what a refusal
 * means. Calls may run in several threads at once; open and close run alone. */
#ifndef WIRE_DOCKER_API_H
#define WIRE_DOCKER_API_H

#include <pthread.h>
#include <stdbool.h>

#include "autoscale/settings.h"
#include "http.h"

#define DOCKER_MINOR_WANTED 41      /* 1.41: what Docker 20.10 speaks                              */
#define DOCKER_MINOR_LEAST 25       /* 1.25: the first with Init and NanoCpus                      */
#define DOCKER_ANSWER_MAX ((size_t)1 << 20)
#define DOCKER_LIST_MAX ((size_t)16 << 20)
#define DOCKER_MESSAGE_MAX 1024
#define DOCKER_TAIL_MAX    130

struct docker_tls {                 /* PEM files, each may be NULL; borrowed                       */
    const char *ca, *cert, *key;
};

/* Rows of the option table of a driver that speaks to Docker, and what they say; AS_EINVAL names what is
 * wrong with the files. */
#define DOCKER_TLS_OPTIONS                                                                                             \
    { .name = "tls_ca",                                                                                                \
      .type = AS_OPT_FILE,                                                                                             \
      .help = "PEM file of the authorities that sign the hosts' certificates" },                                       \
        { .name = "tls_cert", .type = AS_OPT_FILE, .help = "PEM file of our client certificate" },                     \
    {                                                                                                                  \
        .name = "tls_key", .type = AS_OPT_SECRET, .help = "PEM file of our client certificate's key"                   \
    }
int docker_tls_read(const struct as_settings *s, struct docker_tls *out, struct as_error *err);

struct docker_host {
    struct http_peer peer;
    char *base;                     /* owned                                                       */
    pthread_mutex_t lock;           /* over minor                                                  */
    int minor;                      /* negotiated API 1.<minor>, 0: not yet                        */
    bool ready;                     /* the lock is initialised                                     */
};

/* Reads "unix:///path", "tcp://host:port", "http://host:port" or "https://host:port" (tcp with any TLS file is
 * https). `endpoint` is borrowed. Connects to nothing. AS_EINVAL says what is wrong with it. */
int docker_host_open(struct docker_host *h, const char *endpoint, const struct docker_tls *tls,
                     struct as_error *err);
void docker_host_close(struct docker_host *h); /* also after a failed open, or zeroed              */

struct docker_request {
    const char *method, *path;      /* path without the version, escaped: "/containers/json?all=1"  */
    const char *body;               /* JSON text or NULL                                           */
    size_t cap;                     /* 0: DOCKER_ANSWER_MAX                                        */
    as_time deadline;
};

/* One call, with the version negotiated first (and again when the daemon rejects it). AS_OK: the daemon
 * answered; out->status may still be a refusal. Otherwise GETs give AS_EAGAIN where a write gives
 * AS_EUNKNOWN. The answer is freed with http_answer_fini. */
int docker_call(struct docker_host *h, const struct docker_request *req, struct http_answer *out,
                struct as_error *err);

/* The daemon's own words in an error answer, as printable text of one line; "" when it said nothing. */
void docker_message(const struct http_answer *a, char out[DOCKER_MESSAGE_MAX]);

/* The last DOCKER_TAIL_MAX characters of it: what fits an error text. */
const char *docker_tail(const char *text);

/* The class of a refused write or read (status >= 300) by status and words. */
enum as_rc docker_class(long status, const char *message);

/* Fills *err with "HOST: WHAT: words" and the class. */
int docker_refused(const struct docker_host *h, const char *what, const struct http_answer *a,
                   struct as_error *err);

/* "1.41" -> 41; 0 when it is no version 1.N. */
int docker_minor(const char *version);
/* Does this 400 complain about the version in the path? *least is the lowest minor it takes, 0: not said. */
bool docker_version_refused(const char *message, int *least);

#endif
