/* Calls to a Docker daemon and the meaning of what it answers. This file decides which failures are
 * safe to repeat: it never calls an outcome "did not happen" unless nothing was sent or the daemon
 * itself refused. It knows nothing of containers of ours. */
#include "docker_api.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json.h"

/* --- where ---------------------------------------------------------------------------------------- */

static int open_unix(struct docker_host *h, const char *endpoint, const char *path, struct as_error *err)
{
    if (path[0] != '/' || strlen(path) > 107)
        return as_fail(err, AS_EINVAL, "'%s' is no absolute socket path of at most 107 characters", endpoint);
    h->peer.unix_path = path;
    h->base = strdup("http://docker");
    return h->base ? AS_OK : as_fail(err, AS_ENOMEM, "out of memory for host '%s'", endpoint);
}

static bool host_and_port(const char *text)
{
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text || strpbrk(text, "/@?# \t"))
        return false;
    char *end;
    errno = 0;
    long port = strtol(colon + 1, &end, 10);
    return isdigit((unsigned char)colon[1]) && !*end && !errno && port >= 1 && port <= 65535 &&
           (text[0] == '[' ? colon[-1] == ']' : memchr(text, ':', (size_t)(colon - text)) == NULL);
}

int docker_tls_read(const struct as_settings *s, struct docker_tls *out, struct as_error *err)
{
    static const char *const names[] = { "tls_ca", "tls_cert", "tls_key" };
    *out = (struct docker_tls){ as_settings_str(s, "tls_ca"), as_settings_str(s, "tls_cert"),
                                as_settings_str(s, "tls_key") };
    const char *const files[] = { out->ca, out->cert, out->key };
    if (!out->cert != !out->key)
        return as_settings_fail(s, out->cert ? "tls_cert" : "tls_key", err,
                                "tls_cert and tls_key go together");
    for (size_t i = 0; i < 3; i++)
        if (files[i] && access(files[i], R_OK) != 0)
            return as_settings_fail(s, names[i], err, "cannot read '%s': %s", files[i], strerror(errno));
    return AS_OK;
}

int docker_host_open(struct docker_host *h, const char *endpoint, const struct docker_tls *tls,
                     struct as_error *err)
{
    *h = (struct docker_host){ .peer.name = endpoint };
    if (pthread_mutex_init(&h->lock, NULL) != 0)
        return as_fail(err, AS_ENOMEM, "out of memory for host '%s'", endpoint);
    h->ready = true;
    if (strncmp(endpoint, "unix://", 7) == 0) {
        int rc = open_unix(h, endpoint, endpoint + 7, err);
        h->peer.base = h->base;
        return rc;
    }
    bool plain = strncmp(endpoint, "http://", 7) == 0, secure = strncmp(endpoint, "https://", 8) == 0;
    bool tcp = strncmp(endpoint, "tcp://", 6) == 0, files = tls->ca || tls->cert || tls->key;
    const char *rest = strstr(endpoint, "://");
    if ((!plain && !secure && !tcp) || !host_and_port(rest + 3))
        return as_fail(err, AS_EINVAL, "'%s' must be unix:///path, tcp://host:port or https://host:port",
                       endpoint);
    if (plain && files)
        return as_fail(err, AS_EINVAL, "'%s' would not use the TLS files, write https:// or tcp://",
                       endpoint);
    if (asprintf(&h->base, "%s%s", secure || files ? "https" : "http", rest) < 0) {
        h->base = NULL;
        return as_fail(err, AS_ENOMEM, "out of memory for host '%s'", endpoint);
    }
    h->peer = (struct http_peer){
        .name = endpoint, .base = h->base, .tls_ca = tls->ca, .tls_cert = tls->cert, .tls_key = tls->key
    };
    return AS_OK;
}

void docker_host_close(struct docker_host *h)
{
    if (h->ready)
        pthread_mutex_destroy(&h->lock);
    free(h->base);
    *h = (struct docker_host){ 0 };
}

/* --- what it says ------------------------------------------------------------------------------------ */

void docker_message(const struct http_answer *a, char out[DOCKER_MESSAGE_MAX])
{
    cJSON *json = json_parse(a->body, a->size);
    const char *text = json_str(json, "message");
    if (!text && !json)
        text = a->body; /* refusals of the version are plain text */
    size_t n = 0;
    for (; text && *text && n < DOCKER_MESSAGE_MAX - 1; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < ' ' || c == 0x7f)
            c = ' ';
        else if (c > 0x7f)
            c = '?'; /* may be no valid UTF-8, and ends up in JSON of ours */
        if (c == ' ' && (n == 0 || out[n - 1] == ' '))
            continue;
        out[n++] = (char)c;
    }
    while (n > 0 && (out[n - 1] == ' ' || out[n - 1] == '.'))
        n--;
    out[n] = '\0';
    cJSON_Delete(json);
}

static bool says(const char *message, const char *const *phrases)
{
    for (; *phrases; phrases++)
        if (strcasestr(message, *phrases))
            return true;
    return false;
}

enum as_rc docker_class(long status, const char *message)
{
    /* Docker answers 500 to nearly everything that goes wrong at start; only the words tell. */
    static const char *const full[] = { "port is already allocated",
                                        "address already in use",
                                        "no space left",
                                        "cannot allocate memory",
                                        "not enough",
                                        "insufficient",
                                        "no available ipv4 addresses",
                                        "non-overlapping ipv4 address pool",
                                        "too many open files",
                                        "resource temporarily unavailable",
                                        NULL };
    static const char *const unsure[] = { "context deadline exceeded", "context canceled", NULL };
    static const char *const wrong[] = { "invalid ",
                                         "cannot assign requested address",
                                         "executable file not found",
                                         "no such file or directory",
                                         "permission denied",
                                         "not a directory",
                                         "no command specified",
                                         NULL };
    if (status == 401 || status == 403)
        return AS_EAUTH;
    if (status == 404)
        return AS_ENOENT;
    if (status == 409)
        return AS_EEXIST;
    if (status >= 400 && status < 500)
        return AS_EINVAL;
    if (status == 500)
        return says(message, unsure)  ? AS_EUNKNOWN
               : says(message, full)  ? AS_EFULL
               : says(message, wrong) ? AS_EINVAL
                                      : AS_EAGAIN;
    if (status == 503)
        return AS_EAGAIN;
    if (status > 500 && status < 600)
        return AS_EUNKNOWN; /* a gateway in between does not know either */
    return AS_EPROTO;
}

/* Docker puts the cause last: of a long text the end is shown. */
const char *docker_tail(const char *text)
{
    size_t n = strlen(text);
    return n <= DOCKER_TAIL_MAX ? text : text + n - DOCKER_TAIL_MAX;
}

int docker_refused(const struct docker_host *h, const char *what, const struct http_answer *a,
                   struct as_error *err)
{
    char text[DOCKER_MESSAGE_MAX];
    docker_message(a, text);
    const char *tail = docker_tail(text);
    return as_fail(err, docker_class(a->status, text), "%s on %.60s: %s%s%s(HTTP %ld)", what, h->peer.name,
                   tail == text ? "" : "...", tail, *tail ? " " : "", a->status);
}

/* --- which version ------------------------------------------------------------------------------------- */

int docker_minor(const char *version)
{
    if (strncmp(version, "1.", 2) != 0 || !isdigit((unsigned char)version[2]))
        return 0;
    char *end;
    long minor = strtol(version + 2, &end, 10);
    return (*end && !isspace((unsigned char)*end) && *end != ',') || minor < 1 || minor > 9999 ? 0
                                                                                               : (int)minor;
}

bool docker_version_refused(const char *message, int *least)
{
    static const char minimum[] = "minimum supported API version is ";
    if (!strcasestr(message, "client version"))
        return false;
    const char *at = strcasestr(message, minimum);
    *least = at ? docker_minor(at + strlen(minimum)) : 0;
    return true;
}

/* A GET that failed did not change anything: asking again is always safe. */
static int as_read(int rc, struct as_error *err)
{
    if (rc == AS_EUNKNOWN && err)
        err->rc = AS_EAGAIN;
    return rc == AS_EUNKNOWN ? AS_EAGAIN : rc;
}

static int negotiate(struct docker_host *h, int least, as_time deadline, int *minor, struct as_error *err)
{
    struct http_answer a = { 0 };
    struct http_request ping = { .method = "GET",
                                 .path = "/_ping",
                                 .want = "Api-Version",
                                 .cap = DOCKER_ANSWER_MAX,
                                 .deadline = deadline };
    int rc = as_read(http_call(&h->peer, &ping, &a, err), err);
    if (rc != AS_OK)
        return rc;
    int theirs = docker_minor(a.header);
    if (a.status != 200)
        rc = docker_refused(h, "asking for the version", &a, err);
    else if (theirs == 0)
        rc = as_fail(err, AS_EPROTO, "%s does not answer like a Docker daemon", h->peer.name);
    else if (theirs < DOCKER_MINOR_LEAST)
        rc = as_fail(err, AS_EUNSUP, "%s speaks API 1.%d, at least 1.%d is needed: upgrade its Docker",
                     h->peer.name, theirs, DOCKER_MINOR_LEAST);
    http_answer_fini(&a);
    if (rc != AS_OK)
        return rc;
    int use = least > DOCKER_MINOR_WANTED ? least : DOCKER_MINOR_WANTED;
    *minor = use < theirs ? use : theirs;
    pthread_mutex_lock(&h->lock);
    h->minor = *minor;
    pthread_mutex_unlock(&h->lock);
    return AS_OK;
}

/* --- one call ------------------------------------------------------------------------------------------- */

static int call_as(struct docker_host *h, int minor, const struct docker_request *req,
                   struct http_answer *out, struct as_error *err)
{
    char *path = NULL;
    if (asprintf(&path, "/v1.%d%s", minor, req->path) < 0)
        return as_fail(err, AS_ENOMEM, "out of memory for a request to %s", h->peer.name);
    struct http_request r = { .method = req->method,
                              .path = path,
                              .body = req->body,
                              .cap = req->cap ? req->cap : DOCKER_ANSWER_MAX,
                              .deadline = req->deadline };
    int rc = http_call(&h->peer, &r, out, err);
    free(path);
    if (strcmp(req->method, "GET") == 0)
        return as_read(rc, err);
    if (rc == AS_EPROTO) { /* the write was sent; what came back tells nothing about its outcome */
        if (err)
            err->rc = AS_EUNKNOWN;
        return AS_EUNKNOWN;
    }
    return rc;
}

int docker_call(struct docker_host *h, const struct docker_request *req, struct http_answer *out,
                struct as_error *err)
{
    char text[DOCKER_MESSAGE_MAX];
    int least = 0, rc = AS_OK;
    pthread_mutex_lock(&h->lock);
    int minor = h->minor;
    pthread_mutex_unlock(&h->lock);
    if (minor == 0 && (rc = negotiate(h, 0, req->deadline, &minor, err)) != AS_OK)
        return rc;
    if ((rc = call_as(h, minor, req, out, err)) != AS_OK || out->status != 400)
        return rc;
    docker_message(out, text);
    if (!docker_version_refused(text, &least))
        return AS_OK;
    http_answer_fini(out); /* the daemon was replaced by another version; a 400 did nothing, repeat it */
    if ((rc = negotiate(h, least, req->deadline, &minor, err)) != AS_OK)
        return rc;
    return call_as(h, minor, req, out, err);
}
