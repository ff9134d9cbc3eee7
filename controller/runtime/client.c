/* The subcommands' side of the daemon's socket. It tries once: a question is asked again by the person who
 * sees the error, never by itself. */
#include <curl/curl.h>
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "autoscale/time.h"
#include "client.h"

struct answer {
    char *body;
    size_t length, room;
    int failed; /* errno: EFBIG or ENOMEM */
};

static size_t take(char *bytes, size_t size, size_t count, void *arg)
{
    struct answer *a = arg;
    size_t n = size * count;
    if (n > CLIENT_ANSWER_MAX - a->length) {
        a->failed = EFBIG;
        return 0;
    }
    if (a->length + n + 1 > a->room) {
        size_t room = 2 * (a->length + n + 1);
        char *grown = realloc(a->body, room);
        if (!grown) {
            a->failed = ENOMEM;
            return 0;
        }
        a->body = grown;
        a->room = room;
    }
    memcpy(a->body + a->length, bytes, n);
    a->length += n;
    a->body[a->length] = '\0';
    return n;
}

static int no_permission(const char *path, struct as_error *err)
{
    struct stat st;
    struct group *g = stat(path, &st) == 0 ? getgrgid(st.st_gid) : NULL;
    if (g && st.st_gid != 0)
        return as_fail(err, AS_EAUTH, "permission denied on %s: join the group '%.32s', or use sudo", path,
                       g->gr_name);
    return as_fail(err, AS_EAUTH,
                   "permission denied on %s: run this as the user that runs autoscale, or as root", path);
}

static int explain(CURL *easy, CURLcode code, const struct answer *a, const char *path, int timeout_ms,
                   struct as_error *err)
{
    long os = 0;
    char span[32];
    curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &os);
    if (a->failed == EFBIG)
        return as_fail(err, AS_EPROTO, "the answer of autoscale on %s is larger than %zu MiB: ask for less",
                       path, CLIENT_ANSWER_MAX / 1024 / 1024);
    if (a->failed || code == CURLE_OUT_OF_MEMORY)
        return as_fail(err, AS_ENOMEM, "out of memory");
    if (code == CURLE_OPERATION_TIMEDOUT)
        return as_fail(err, AS_EUNKNOWN, "autoscale on %s did not answer in %s: its log may tell why", path,
                       as_time_text(timeout_ms, span, sizeof span));
    if (code == CURLE_COULDNT_CONNECT && os == EACCES)
        return no_permission(path, err);
    if (code == CURLE_COULDNT_CONNECT && (os == ENOENT || os == ECONNREFUSED || os == ENOTDIR))
        return as_fail(err, AS_ENOENT, "no autoscale is running on %s (start it with `autoscale run`)", path);
    if (code == CURLE_COULDNT_CONNECT)
        return as_fail(err, AS_EIO, "cannot connect to %s: %s", path,
                       os ? strerror((int)os) : curl_easy_strerror(code));
    return as_fail(err, AS_EPROTO, "the answer on %s is not one of autoscale: %s", path,
                   curl_easy_strerror(code));
}

static CURLcode ask(CURL *e, const char *socket_path, const char *method, const char *url, struct answer *a)
{
    curl_easy_setopt(e, CURLOPT_URL, url);
    CURLcode rc = curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, socket_path);
    if (rc != CURLE_OK)
        return rc;
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, a);
    if (strcmp(method, "GET") != 0) {
        curl_easy_setopt(e, CURLOPT_POSTFIELDS, "");
        curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, method);
    }
    return curl_easy_perform(e);
}

int client_call(const char *socket_path, const char *method, const char *path, int timeout_ms, char **body,
                int *status, struct as_error *err)
{
    char url[2048];
    if ((size_t)snprintf(url, sizeof url, "http://autoscale%s", path) >= sizeof url)
        return as_fail(err, AS_EINVAL, "the question is too long");
    CURL *easy = curl_easy_init();
    struct answer a = { .body = calloc(1, 1), .room = 1 };
    if (!easy || !a.body) {
        curl_easy_cleanup(easy);
        free(a.body);
        return as_fail(err, AS_ENOMEM, "out of memory");
    }
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    long code = 0;
    CURLcode rc = ask(easy, socket_path, method, url, &a);
    int result = rc == CURLE_OK ? AS_OK : explain(easy, rc, &a, socket_path, timeout_ms, err);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &code);
    curl_easy_cleanup(easy);
    if (result) {
        free(a.body);
        return result;
    }
    *body = a.body;
    *status = (int)code;
    return AS_OK;
}
