/* The blocking HTTP client over libcurl's easy interface. It tells apart what a writer must know: was
 * anything sent at all, and did the whole answer come back. It never reuses a connection, never
 * follows a redirect and never keeps more of an answer than the caller allows. */
#include "http.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autoscale/settings.h"

#define HEADER_BYTES_MAX (64 * 1024)
#define SECRET_MAX       4096

struct transfer {
    struct http_answer answer;
    size_t cap, room, header_bytes;
    const char *want;
    bool too_big, no_memory;
    enum http_fault fault;
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_start(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static size_t on_body(char *data, size_t unit, size_t count, void *arg)
{
    struct transfer *t = arg;
    size_t size = unit * count, need = t->answer.size + size;
    if (size > t->cap - t->answer.size) {
        t->too_big = true;
        return 0;
    }
    if (need + 1 > t->room) {
        size_t room = t->room ? t->room : 4096;
        while (room < need + 1)
            room *= 2;
        char *bigger = realloc(t->answer.body, room);
        if (!bigger) {
            t->no_memory = true;
            return 0;
        }
        t->answer.body = bigger;
        t->room = room;
    }
    memcpy(t->answer.body + t->answer.size, data, size);
    t->answer.size = need;
    t->answer.body[need] = '\0';
    return size;
}

/* Keeps the value of the wanted header; a line arrives whole, with its line end, not terminated. */
static size_t on_header(char *line, size_t unit, size_t count, void *arg)
{
    struct transfer *t = arg;
    size_t size = unit * count, name = t->want ? strlen(t->want) : 0;
    t->header_bytes += size;
    if (t->header_bytes > HEADER_BYTES_MAX) {
        t->too_big = true;
        return 0;
    }
    if (!name || size <= name || line[name] != ':' || strncasecmp(line, t->want, name) != 0)
        return size;
    const char *from = line + name + 1, *to = line + size;
    while (from < to && (*from == ' ' || *from == '\t'))
        from++;
    while (to > from && (to[-1] == '\r' || to[-1] == '\n' || to[-1] == ' '))
        to--;
    size_t n = (size_t)(to - from);
    if (n < sizeof t->answer.header) {
        memcpy(t->answer.header, from, n);
        t->answer.header[n] = '\0';
    }
    return size;
}

static bool is_local_errno(long code)
{
    return code == EMFILE || code == ENFILE || code == ENOBUFS || code == ENOMEM || code == EACCES ||
           code == EPERM || code == EADDRNOTAVAIL || code == ENETUNREACH || code == ENETDOWN;
}

static enum http_fault connect_fault(CURL *h, const char *text)
{
    long code = 0;
    curl_easy_getinfo(h, CURLINFO_OS_ERRNO, &code);
    if (strncmp(text, "Resolving timed out", 19) == 0)
        return HTTP_FAULT_NAME;
    if (is_local_errno(code))
        return HTTP_FAULT_LOCAL;
    return code == ECONNREFUSED ? HTTP_FAULT_REFUSED : HTTP_FAULT_CONNECT;
}

/* Whose fault a failed transfer is. */
static enum http_fault fault_of(CURL *h, CURLcode rc, const char *text, bool sent)
{
    switch (rc) {
    case CURLE_OK: return HTTP_FAULT_NONE;
    case CURLE_COULDNT_RESOLVE_HOST: return HTTP_FAULT_NAME;
    case CURLE_COULDNT_CONNECT: return connect_fault(h, text);
    case CURLE_OPERATION_TIMEDOUT: return sent ? HTTP_FAULT_TIMEOUT : connect_fault(h, text);
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS: return HTTP_FAULT_TLS;
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING: return HTTP_FAULT_LOST;
    default: return sent ? HTTP_FAULT_NONSENSE : HTTP_FAULT_LOCAL;
    }
}

static bool tls_refused(CURLcode rc)
{
    return rc == CURLE_PEER_FAILED_VERIFICATION || rc == CURLE_SSL_CONNECT_ERROR ||
           rc == CURLE_SSL_CERTPROBLEM || rc == CURLE_SSL_CACERT_BADFILE || rc == CURLE_SSL_ISSUER_ERROR ||
           rc == CURLE_SSL_INVALIDCERTSTATUS || rc == CURLE_SSL_PINNEDPUBKEYNOTMATCH;
}

/* Of a unix socket curl only says that it is no host. */
static const char *reason(CURL *h, CURLcode rc, const char *text, const struct http_peer *peer)
{
    long code = 0;
    if (peer->unix_path && rc == CURLE_COULDNT_CONNECT)
        curl_easy_getinfo(h, CURLINFO_OS_ERRNO, &code);
    if (code > 0)
        return strerror((int)code);
    return *text ? text : curl_easy_strerror(rc);
}

/* What a failed transfer means to the caller. */
static int judge(CURL *h, CURLcode rc, const char *text, const struct http_peer *peer, struct as_error *err)
{
    long sent = 0;
    const char *why = reason(h, rc, text, peer);
    curl_easy_getinfo(h, CURLINFO_REQUEST_SIZE, &sent);
    if (rc == CURLE_OUT_OF_MEMORY)
        return as_fail(err, sent ? AS_EUNKNOWN : AS_ENOMEM, "out of memory while talking to %s", peer->name);
    if (sent == 0 && tls_refused(rc))
        return as_fail(err, AS_EAUTH, "TLS with %s failed, check the certificates: %s", peer->name, why);
    if (sent == 0)
        return as_fail(err, AS_EAGAIN, "cannot reach %s: %s", peer->name, why);
    if (rc == CURLE_UNSUPPORTED_PROTOCOL || rc == CURLE_WEIRD_SERVER_REPLY || rc == CURLE_HTTP2 ||
        rc == CURLE_HTTP2_STREAM)
        return as_fail(err, AS_EPROTO, "%s does not answer in HTTP: %s", peer->name, why);
    if (rc == CURLE_OPERATION_TIMEDOUT)
        return as_fail(err, AS_EUNKNOWN, "%s took the request but did not answer in time", peer->name);
    return as_fail(err, AS_EUNKNOWN, "%s took the request but the answer was lost: %s", peer->name, why);
}

static void set_peer(CURL *h, const struct http_peer *peer)
{
    if (peer->unix_path)
        curl_easy_setopt(h, CURLOPT_UNIX_SOCKET_PATH, peer->unix_path);
    if (peer->tls_ca) {
        curl_easy_setopt(h, CURLOPT_CAINFO, peer->tls_ca);
        curl_easy_setopt(h, CURLOPT_CAPATH, NULL); /* these authorities and no others */
    }
    if (peer->tls_cert) {
        curl_easy_setopt(h, CURLOPT_SSLCERT, peer->tls_cert);
        curl_easy_setopt(h, CURLOPT_SSLKEY, peer->tls_key);
    }
    curl_easy_setopt(h, CURLOPT_PROXY, "");
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(h, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(h, CURLOPT_FORBID_REUSE, 1L);
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_QUICK_EXIT, 1L); /* a hanging resolver must not outlive the deadline */
    curl_easy_setopt(h, CURLOPT_USERAGENT, "autoscale");
}

static void set_request(CURL *h, const struct http_request *req, struct transfer *t,
                        struct curl_slist *headers)
{
    if (strcmp(req->method, "HEAD") == 0)
        curl_easy_setopt(h, CURLOPT_NOBODY, 1L); /* or it waits for the body that never comes */
    else
        curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, req->method);
    if (req->body || strcmp(req->method, "POST") == 0) {
        curl_easy_setopt(h, CURLOPT_POSTFIELDS, req->body ? req->body : "");
        curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)(req->body ? strlen(req->body) : 0));
    }
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(h, CURLOPT_HEADERDATA, t);
}

static bool names_content_type(const struct http_request *req)
{
    for (const char *const *h = req->headers; h && *h; h++)
        if (strncasecmp(*h, "Content-Type:", 13) == 0)
            return true;
    return false;
}

static bool append(struct curl_slist **list, const char *line)
{
    struct curl_slist *more = curl_slist_append(*list, line);
    if (more)
        *list = more;
    return more != NULL;
}

static struct curl_slist *make_headers(const struct http_request *req)
{
    struct curl_slist *list = NULL;
    bool ok = append(&list, "Expect:"); /* no 100-continue round trip */
    if (!names_content_type(req))
        ok = ok && append(&list, req->body ? "Content-Type: application/json" : "Content-Type:");
    for (const char *const *h = req->headers; h && *h; h++)
        ok = ok && append(&list, *h);
    if (ok)
        return list;
    curl_slist_free_all(list);
    return NULL;
}

/* A line break in a secret would smuggle a header of its own. */
static int read_secret(const char *path, char secret[SECRET_MAX], struct as_error *err)
{
    int rc = as_secret_read(path, secret, SECRET_MAX, err);
    for (const char *c = secret; rc == AS_OK && *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            rc = as_fail(err, AS_EINVAL, "secret file %s holds a line break or another control character",
                         path);
    return rc;
}

static int set_token(CURL *h, const struct http_auth *auth, const char *secret, struct curl_slist **headers)
{
    if (!auth->token_header) {
        curl_easy_setopt(h, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
        return curl_easy_setopt(h, CURLOPT_XOAUTH2_BEARER, secret) == CURLE_OK ? AS_OK : AS_ENOMEM;
    }
    char line[SECRET_MAX + 256];
    snprintf(line, sizeof line, "%.200s: %s", auth->token_header, secret);
    bool ok = append(headers, line);
    explicit_bzero(line, sizeof line);
    return ok ? AS_OK : AS_ENOMEM;
}

static int set_password(CURL *h, const char *user, const char *secret)
{
    curl_easy_setopt(h, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
    bool ok = curl_easy_setopt(h, CURLOPT_USERNAME, user) == CURLE_OK &&
              curl_easy_setopt(h, CURLOPT_PASSWORD, secret) == CURLE_OK;
    return ok ? AS_OK : AS_ENOMEM;
}

static int set_auth(CURL *h, const struct http_auth *auth, struct curl_slist **headers, struct as_error *err)
{
    char secret[SECRET_MAX] = "";
    int rc = AS_OK;
    if (auth && auth->token_file && (rc = read_secret(auth->token_file, secret, err)) == AS_OK)
        rc = set_token(h, auth, secret, headers);
    else if (auth && auth->user && (rc = read_secret(auth->password_file, secret, err)) == AS_OK)
        rc = set_password(h, auth->user, secret);
    explicit_bzero(secret, sizeof secret);
    return rc == AS_ENOMEM ? as_fail(err, AS_ENOMEM, "out of memory for the credentials") : rc;
}

static int finish(struct transfer *t, const struct http_peer *peer, struct http_answer *out,
                  struct as_error *err)
{
    if (!t->answer.body && !(t->answer.body = calloc(1, 1)))
        return as_fail(err, AS_EUNKNOWN, "out of memory for the answer of %s", peer->name);
    *out = t->answer;
    t->answer.body = NULL;
    return AS_OK;
}

/* Runs the prepared request and says how it ended. */
static int perform(CURL *h, const struct http_peer *peer, const struct http_request *req, struct transfer *t,
                   struct as_error *err)
{
    char text[CURL_ERROR_SIZE] = "";
    int left = as_time_left(req->deadline);
    if (left <= 0)
        return as_fail(err, AS_EAGAIN, "no time left to ask %s", peer->name);
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, text);
    curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, (long)left);
    CURLcode rc = curl_easy_perform(h);
    long sent = 0;
    curl_easy_getinfo(h, CURLINFO_REQUEST_SIZE, &sent);
    t->fault = t->too_big     ? HTTP_FAULT_NONSENSE
               : t->no_memory ? HTTP_FAULT_LOCAL
                              : fault_of(h, rc, text, sent > 0);
    if (t->too_big)
        return as_fail(err, AS_EPROTO, "%s sent more than %zu bytes", peer->name, req->cap);
    if (t->no_memory)
        return as_fail(err, AS_EUNKNOWN, "out of memory for the answer of %s", peer->name);
    if (rc != CURLE_OK)
        return judge(h, rc, text, peer, err);
    curl_off_t took = 0;
    curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &t->answer.status);
    curl_easy_getinfo(h, CURLINFO_TOTAL_TIME_T, &took);
    t->answer.took_ms = (double)took / 1000;
    return AS_OK;
}

static int transfer(CURL *h, const struct http_peer *peer, const struct http_request *req,
                    struct http_answer *out, struct as_error *err)
{
    struct transfer t = { .cap = req->cap, .want = req->want, .fault = HTTP_FAULT_LOCAL };
    char *url = NULL;
    struct curl_slist *headers = make_headers(req);
    if (!headers || asprintf(&url, "%s%s", peer->base, req->path) < 0) {
        curl_slist_free_all(headers);
        return as_fail(err, AS_ENOMEM, "out of memory for a request to %s", peer->name);
    }
    int rc = set_auth(h, req->auth, &headers, err);
    if (rc == AS_OK) {
        set_peer(h, peer);
        set_request(h, req, &t, headers);
        curl_easy_setopt(h, CURLOPT_URL, url);
        rc = perform(h, peer, req, &t, err);
    }
    if (rc == AS_OK)
        rc = finish(&t, peer, out, err);
    if (req->fault)
        *req->fault = rc != AS_OK && t.fault == HTTP_FAULT_NONE ? HTTP_FAULT_LOCAL : t.fault;
    free(t.answer.body);
    free(url);
    curl_slist_free_all(headers);
    return rc;
}

int http_call(const struct http_peer *peer, const struct http_request *req, struct http_answer *out,
              struct as_error *err)
{
    pthread_once(&curl_once, curl_start);
    CURL *h = curl_easy_init();
    if (req->fault)
        *req->fault = HTTP_FAULT_LOCAL;
    if (!h)
        return as_fail(err, AS_ENOMEM, "out of memory for a request to %s", peer->name);
    int rc = transfer(h, peer, req, out, err);
    curl_easy_cleanup(h);
    return rc;
}

void http_answer_fini(struct http_answer *a)
{
    free(a->body);
    *a = (struct http_answer){ 0 };
}

char *http_escape(const char *text)
{
    static const char hex[] = "0123456789ABCDEF";
    char *out = malloc(strlen(text) * 3 + 1), *to = out;
    if (!out)
        return NULL;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        bool plain = (*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                     strchr("-_.~", *c);
        if (plain) {
            *to++ = (char)*c;
        } else {
            *to++ = '%';
            *to++ = hex[*c >> 4];
            *to++ = hex[*c & 15];
        }
    }
    *to = '\0';
    return out;
}
