/* The prober: health checks on libcurl's multi interface, driven by libuv's polls and one timer. It never
 * resolves a name, follows a redirect, uses a proxy, keeps a connection or stores a byte of an answer. */
#include <arpa/inet.h>
#include <ctype.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "prober.h"

#define POOL_MAX       16                  /* idle handles kept for reuse */
#define ANSWER_MAX     ((size_t)64 * 1024) /* bytes of headers, and of body, that are read at most */
#define PATH_MAX_BYTES 1024
#define DETAIL_MAX     128

struct check { /* one probe under way */
    struct prober *prober;
    struct check *next, **link; /* prober->checks */
    CURL *easy;
    probe_done done;
    void *arg;
    as_time timeout;
    int expect;
    bool tcp, cut; /* cut: we stopped reading a body that is long enough */
    size_t header_bytes, body_bytes;
};

struct prober {
    uv_loop_t *loop;
    uv_timer_t *timer; /* a handle outlives us until the loop has closed it */
    CURLM *multi;
    struct curl_slist *headers;
    struct check *checks;
    CURL *pool[POOL_MAX];
    size_t pooled;
    bool closing;
};

/* --- libuv and libcurl --------------------------------------------------------------------------- */

static void free_handle(uv_handle_t *h)
{
    free(h);
}

static void collect(struct prober *p);

static void on_timer(uv_timer_t *timer)
{
    struct prober *p = timer->data;
    int running;
    curl_multi_socket_action(p->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    collect(p);
}

static int want_timer(CURLM *multi, long ms, void *arg)
{
    (void)multi;
    struct prober *p = arg;
    if (p->closing || ms < 0)
        uv_timer_stop(p->timer);
    else
        uv_timer_start(p->timer, on_timer, (uint64_t)ms, 0);
    return 0;
}

static void on_socket(uv_poll_t *poll, int status, int events)
{
    struct prober *p = poll->data;
    uv_os_fd_t fd;
    int running, flags = status < 0 ? CURL_CSELECT_ERR : 0;
    if (uv_fileno((uv_handle_t *)poll, &fd) != 0)
        return;
    if (events & UV_READABLE)
        flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        flags |= CURL_CSELECT_OUT;
    curl_multi_socket_action(p->multi, fd, flags, &running);
    collect(p);
}

static void close_poll(uv_poll_t *poll)
{
    if (!poll)
        return;
    uv_poll_stop(poll); /* at once: libcurl closes the socket next */
    uv_close((uv_handle_t *)poll, free_handle);
}

static uv_poll_t *new_poll(struct prober *p, curl_socket_t fd)
{
    uv_poll_t *poll = calloc(1, sizeof *poll);
    if (!poll)
        return NULL;
    if (uv_poll_init(p->loop, poll, fd) != 0) {
        free(poll);
        return NULL;
    }
    poll->data = p;
    return poll;
}

static int want_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *of_socket)
{
    (void)easy;
    struct prober *p = arg;
    uv_poll_t *poll = of_socket;
    if (what == CURL_POLL_REMOVE) {
        close_poll(poll);
        curl_multi_assign(p->multi, fd, NULL);
        return 0;
    }
    if (!poll && !(poll = new_poll(p, fd)))
        return -1; /* the transfers of this multi fail: out of memory */
    curl_multi_assign(p->multi, fd, poll);
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    return uv_poll_start(poll, events, on_socket) == 0 ? 0 : -1;
}

/* --- one check ----------------------------------------------------------------------------------- */

static size_t take_header(char *bytes, size_t size, size_t count, void *arg)
{
    (void)bytes;
    struct check *c = arg;
    c->header_bytes += size * count;
    return c->header_bytes > ANSWER_MAX ? 0 : size * count;
}

static size_t take_body(char *bytes, size_t size, size_t count, void *arg)
{
    (void)bytes;
    struct check *c = arg;
    c->body_bytes += size * count;
    c->cut = c->body_bytes > ANSWER_MAX; /* the status is known, the rest is of no interest */
    return c->cut ? 0 : size * count;
}

static void explain_failure(const struct check *c, CURLcode code, char *out, size_t size)
{
    long os = 0;
    char span[32];
    curl_easy_getinfo(c->easy, CURLINFO_OS_ERRNO, &os);
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
        snprintf(out, size, "no answer in %s", as_time_text(c->timeout, span, sizeof span));
        return;
    case CURLE_GOT_NOTHING: snprintf(out, size, "connection closed without an answer"); return;
    case CURLE_PARTIAL_FILE: snprintf(out, size, "connection closed in the middle of the answer"); return;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY: snprintf(out, size, "the answer is not HTTP"); return;
    case CURLE_WRITE_ERROR: snprintf(out, size, "the answer's header is too large"); return;
    case CURLE_COULDNT_CONNECT:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
        if (os) {
            snprintf(out, size, "%s", strerror((int)os));
            break;
        }
        /* fall through */
    default: snprintf(out, size, "%s", curl_easy_strerror(code)); break;
    }
    out[0] = (char)tolower((unsigned char)out[0]);
}

static bool judge(const struct check *c, CURLcode code, char *detail, size_t size)
{
    long status = 0;
    if (c->cut)
        code = CURLE_OK;
    if (code != CURLE_OK) {
        explain_failure(c, code, detail, size);
        return false;
    }
    if (c->tcp) {
        snprintf(detail, size, "connected");
        return true;
    }
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    snprintf(detail, size, "HTTP %ld", status);
    return c->expect ? status == c->expect : status >= 200 && status < 300;
}

static void put_back(struct prober *p, CURL *easy)
{
    if (p->pooled < POOL_MAX && !p->closing)
        p->pool[p->pooled++] = easy;
    else
        curl_easy_cleanup(easy);
}

/* Removes the check before it tells: the callback may start the next one. */
static void finish(struct check *c, bool ok, const char *detail)
{
    struct prober *p = c->prober;
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    curl_multi_remove_handle(p->multi, c->easy);
    put_back(p, c->easy);
    c->done(c->arg, ok, detail);
    free(c);
}

static void collect(struct prober *p)
{
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(p->multi, &left));) {
        if (m->msg != CURLMSG_DONE)
            continue;
        struct check *c = NULL;
        char detail[DETAIL_MAX];
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&c);
        bool ok = judge(c, m->data.result, detail, sizeof detail);
        finish(c, ok, detail);
    }
}

/* "http://[fd00::7]:8080/healthz"; every part is checked, because a URL made of foreign text could
 * name another host. */
static int make_url(const struct probe *what, char *out, size_t size, struct as_error *err)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    bool six = inet_pton(AF_INET6, what->address, bytes) == 1;
    const char *path = what->path ? what->path : "/";
    if (!six && inet_pton(AF_INET, what->address, bytes) != 1)
        return as_fail(err, AS_EINVAL, "'%.64s' is not a literal address", what->address);
    if (!what->port || what->timeout <= 0)
        return as_fail(err, AS_EINVAL, "a health check needs a port and a timeout");
    if (*path != '/' || strlen(path) > PATH_MAX_BYTES)
        return as_fail(err, AS_EINVAL,
                       "the path of a health check must begin with '/' and have at most %d bytes",
                       PATH_MAX_BYTES);
    for (const char *s = path; *s; s++) {
        if (*s <= ' ' || *s == 0x7f || *s == '#') /* char may be signed: also bytes beyond ASCII */
            return as_fail(err, AS_EINVAL,
                           "the path of a health check holds a character that must be %%-encoded");
    }
    snprintf(out, size, six ? "http://[%s]:%u%s" : "http://%s:%u%s", what->address, (unsigned)what->port,
             path);
    return AS_OK;
}

static CURL *take_easy(struct prober *p)
{
    if (p->pooled == 0)
        return curl_easy_init();
    CURL *easy = p->pool[--p->pooled];
    curl_easy_reset(easy);
    return easy;
}

static CURLcode prepare(struct check *c, const char *url)
{
    CURL *e = c->easy;
    CURLcode rc = curl_easy_setopt(e, CURLOPT_URL, url);
    curl_easy_setopt(e, CURLOPT_PRIVATE, c);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)c->timeout);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)c->timeout);
    curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(e, CURLOPT_FORBID_REUSE, 1L);
    curl_easy_setopt(e, CURLOPT_BUFFERSIZE, 1024L); /* hundreds of checks at once stay small */
    curl_easy_setopt(e, CURLOPT_USERAGENT, "autoscale");
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, c->prober->headers);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, c);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, c);
    if (c->tcp)
        curl_easy_setopt(e, CURLOPT_CONNECT_ONLY, 1L);
    return rc;
}

/* --- the interface ------------------------------------------------------------------------------- */

int prober_start(struct prober *p, const struct probe *what, probe_done done, void *arg, struct as_error *err)
{
    char url[PATH_MAX_BYTES + 128];
    int rc = make_url(what, url, sizeof url, err);
    if (rc)
        return rc;
    if (p->closing)
        return as_fail(err, AS_EAGAIN, "the prober is being closed");
    struct check *c = calloc(1, sizeof *c);
    if (!c)
        return as_fail(err, AS_ENOMEM, "out of memory");
    c->prober = p;
    c->done = done;
    c->arg = arg;
    c->timeout = what->timeout > AS_HOUR ? AS_HOUR : what->timeout;
    c->expect = what->expect;
    c->tcp = !what->path;
    c->easy = take_easy(p);
    if (!c->easy || prepare(c, url) != CURLE_OK || curl_multi_add_handle(p->multi, c->easy) != CURLM_OK) {
        curl_easy_cleanup(c->easy);
        free(c);
        return as_fail(err, AS_ENOMEM, "out of memory");
    }
    c->next = p->checks;
    c->link = &p->checks;
    if (c->next)
        c->next->link = &c->next;
    p->checks = c;
    return AS_OK;
}

int prober_new(uv_loop_t *loop, struct prober **out, struct as_error *err)
{
    struct prober *p = calloc(1, sizeof *p);
    uv_timer_t *timer = calloc(1, sizeof *timer);
    if (!p || !timer || !(p->multi = curl_multi_init()) ||
        !(p->headers = curl_slist_append(NULL, "Connection: close"))) {
        if (p && p->multi)
            curl_multi_cleanup(p->multi);
        free(timer);
        free(p);
        return as_fail(err, AS_ENOMEM, "out of memory");
    }
    p->loop = loop;
    p->timer = timer;
    uv_timer_init(loop, timer); /* never fails */
    timer->data = p;
    curl_multi_setopt(p->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
    curl_multi_setopt(p->multi, CURLMOPT_SOCKETDATA, p);
    curl_multi_setopt(p->multi, CURLMOPT_TIMERFUNCTION, want_timer);
    curl_multi_setopt(p->multi, CURLMOPT_TIMERDATA, p);
    *out = p;
    return AS_OK;
}

void prober_free(struct prober *p)
{
    if (!p)
        return;
    p->closing = true;
    while (p->checks)
        finish(p->checks, false, "the check was stopped");
    while (p->pooled)
        curl_easy_cleanup(p->pool[--p->pooled]);
    curl_multi_cleanup(p->multi);
    curl_slist_free_all(p->headers);
    uv_close((uv_handle_t *)p->timer, free_handle);
    free(p);
}
