/* Source `probe`: makes one configured HTTP request at each poll and tells how it went, as a shopper would see it.
 * A target that fails is a measurement (success 0), not a failed poll; what is broken on our own side (a file,
 * the resolver, descriptors) is a failed poll, never a measurement. It must never repeat a request. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../wire/site.h"
#include "autoscale/source.h"

#define ANSWER_MAX (4 * 1024 * 1024)
#define BODY_MAX   (1024 * 1024)

struct probe_source {
    const struct as_settings *settings; /* borrowed */
    struct site site;
    bool *past; /* ring of the last outcomes */
    size_t size, count, next;
};

static const char *const methods[] = { "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", NULL };

static const struct as_option options[] = {
    { .name = "url",
      .type = AS_OPT_STRINGS,
      .flags = AS_OPT_REQUIRED,
      .help = "URL that is asked at each poll; of several the worst counts" },
    { .name = "method",
      .type = AS_OPT_CHOICE,
      .def = "GET",
      .choices = methods,
      .help = "method of the request" },
    { .name = "body",
      .type = AS_OPT_STRING,
      .help = "body of the request, JSON unless headers has a Content-Type" },
    { .name = "body_file",
      .type = AS_OPT_FILE,
      .help = "file with the body of the request, text of at most 1 MiB, read at each poll" },
    { .name = "expect_status",
      .type = AS_OPT_STRINGS,
      .help = "good answers, as [ \"201\", \"3xx\" ]; 2xx when unset" },
    { .name = "expect_body", .type = AS_OPT_STRING, .help = "text that a good answer holds" },
    { .name = "ratio_over",
      .type = AS_OPT_INT,
      .def = "20",
      .min = 1,
      .max = 10000,
      .help = "how many of the last polls success_ratio looks at" },
    SITE_OPTIONS,
    { 0 },
};

static const struct as_series_doc series[] = {
    { "latency_ms", "ms", "time from the request to the end of a good answer; none when it failed",
      AS_MERGE_MAX },
    { "success", "bool", "1 when the last request got a good answer, else 0", AS_MERGE_MIN },
    { "success_ratio", "ratio", "good answers of the last ratio_over requests", AS_MERGE_MIN },
    { "status", "code", "HTTP status of the last answer; none when there was no answer", AS_MERGE_MAX },
    { 0 },
};

/* --- the request ----------------------------------------------------------------------------------------- */

static int body_failed(const char *path, const char *why, struct as_error *err)
{
    return as_fail(err, AS_EIO, "body_file %.120s: %s", path, why);
}

static int read_body(const char *path, char **out, struct as_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    if (fd < 0)
        return body_failed(path, strerror(errno), err);
    char *text = malloc(BODY_MAX + 1);
    size_t n = 0;
    ssize_t got = 0;
    int rc = text ? AS_OK : as_fail(err, AS_ENOMEM, "out of memory");
    if (rc == AS_OK && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)))
        rc = body_failed(path, "not a regular file", err);
    while (rc == AS_OK && n <= BODY_MAX && (got = read(fd, text + n, BODY_MAX + 1 - n)) > 0)
        n += (size_t)got;
    if (rc == AS_OK && got < 0)
        rc = body_failed(path, strerror(errno), err);
    else if (rc == AS_OK && (n > BODY_MAX || memchr(text, '\0', n)))
        rc = body_failed(path, "not a text of at most 1 MiB", err);
    close(fd);
    if (rc != AS_OK) {
        free(text);
        return rc;
    }
    text[n] = '\0';
    *out = text;
    return AS_OK;
}

static int request(const struct probe_source *p, as_time deadline, struct http_answer *a,
                   enum http_fault *fault, struct as_error *err)
{
    const char *file = as_settings_str(p->settings, "body_file");
    char *read = NULL;
    *fault = HTTP_FAULT_LOCAL;
    int rc = file ? read_body(file, &read, err) : AS_OK;
    if (rc != AS_OK)
        return rc;
    struct http_request req = { .method = as_settings_str(p->settings, "method"),
                                .path = p->site.query,
                                .body = file ? read : as_settings_str(p->settings, "body"),
                                .cap = ANSWER_MAX,
                                .deadline = deadline,
                                .headers = (const char *const *)p->site.headers,
                                .auth = &p->site.auth,
                                .fault = fault };
    rc = http_call(&p->site.peer, &req, a, err);
    free(read);
    return rc;
}

/* --- the verdict ----------------------------------------------------------------------------------------- */

/* "204", "2xx" */
static bool is_status_pattern(const char *text)
{
    return strlen(text) == 3 && text[0] >= '1' && text[0] <= '5' &&
           (strcmp(text + 1, "xx") == 0 || strspn(text + 1, "0123456789") == 2);
}

static bool status_matches(const char *pattern, long status)
{
    return pattern[1] == 'x' ? status / 100 == pattern[0] - '0' : status == strtol(pattern, NULL, 10);
}

static bool status_is_good(const struct as_settings *s, long status)
{
    size_t count = as_settings_count(s, "expect_status");
    for (size_t i = 0; i < count; i++)
        if (status_matches(as_settings_item(s, "expect_status", i), status))
            return true;
    return count == 0 && status_matches("2xx", status);
}

static bool answer_is_good(const struct probe_source *p, const struct http_answer *a, struct as_error *why)
{
    const char *text = as_settings_str(p->settings, "expect_body"), *name = p->site.peer.name;
    if (!status_is_good(p->settings, a->status)) {
        as_fail(why, AS_EPROTO, "%.160s: bad status %ld", name, a->status);
        return false;
    }
    if (text && !memmem(a->body, a->size, text, strlen(text))) {
        as_fail(why, AS_EPROTO, "%.160s: the answer lacks the expected text", name);
        return false;
    }
    return true;
}

/* What a shopper would say. NULL: the fault is ours and tells nothing about the target. */
static const char *fault_text(enum http_fault fault)
{
    switch (fault) {
    case HTTP_FAULT_REFUSED: return "connection refused";
    case HTTP_FAULT_CONNECT: return "no connection in time, or no way there";
    case HTTP_FAULT_TLS: return "TLS failed, check the certificate";
    case HTTP_FAULT_TIMEOUT: return "timed out";
    case HTTP_FAULT_LOST: return "the connection broke before the answer was whole";
    case HTTP_FAULT_NONSENSE: return "the answer is no HTTP, or too large";
    case HTTP_FAULT_NONE:
    case HTTP_FAULT_LOCAL:
    case HTTP_FAULT_NAME: break;
    }
    return NULL;
}

static double remember(struct probe_source *p, bool good)
{
    size_t sum = 0;
    p->past[p->next] = good;
    p->next = (p->next + 1) % p->size;
    p->count = p->count < p->size ? p->count + 1 : p->size;
    for (size_t i = 0; i < p->count; i++)
        sum += p->past[i];
    return (double)sum / (double)p->count;
}

static int add_outcome(struct probe_source *p, bool good, const struct http_answer *a, struct as_samples *out,
                       struct as_error *err)
{
    int rc = as_samples_add(out, "", "success", good, 1, err);
    if (rc == AS_OK)
        rc = as_samples_add(out, "", "success_ratio", remember(p, good), 1, err);
    if (rc == AS_OK && a->status > 0)
        rc = as_samples_add(out, "", "status", (double)a->status, 1, err);
    if (rc == AS_OK && good)
        rc = as_samples_add(out, "", "latency_ms", a->took_ms, 1, err);
    return rc;
}

static int probe_poll(void *self, as_time deadline, struct as_samples *out, struct as_error *err)
{
    struct probe_source *p = self;
    struct http_answer a = { 0 };
    struct as_error why = { 0 };
    enum http_fault fault = HTTP_FAULT_LOCAL;
    size_t before = out->count;
    int rc = request(p, deadline, &a, &fault, &why);
    const char *text = rc != AS_OK ? fault_text(fault) : NULL;
    if (text) /* the target's fault: measured */
        as_fail(&why, AS_EAGAIN, "%.160s: %s", p->site.peer.name, text);
    if (rc == AS_OK || text) {
        bool good = rc == AS_OK && answer_is_good(p, &a, &why);
        rc = add_outcome(p, good, &a, out, &why);
    }
    if (rc != AS_OK)
        out->count = before;
    http_answer_fini(&a);
    if (err && why.rc != AS_OK)
        *err = why;
    return rc;
}

/* --- open and close -------------------------------------------------------------------------------------- */

static int check_request(const struct as_settings *s, struct as_error *err)
{
    const char *method = as_settings_str(s, "method");
    bool body = as_settings_has(s, "body"), file = as_settings_has(s, "body_file");
    if (body && file)
        return as_settings_fail(s, "body_file", err, "give either body or body_file");
    if ((body || file) && (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0))
        return as_settings_fail(s, body ? "body" : "body_file", err, "a %s has no body: set method", method);
    if (as_settings_has(s, "expect_body") && strcmp(method, "HEAD") == 0)
        return as_settings_fail(s, "expect_body", err, "the answer to a HEAD has no body");
    for (size_t i = 0; i < as_settings_count(s, "expect_status"); i++)
        if (!is_status_pattern(as_settings_item(s, "expect_status", i)))
            return as_settings_fail(s, "expect_status", err, "'%.40s' is no status: write \"201\" or \"2xx\"",
                                    as_settings_item(s, "expect_status", i));
    return AS_OK;
}

static int probe_open(void *self, const struct as_settings *settings, const char *endpoint,
                      struct as_error *err)
{
    struct probe_source *p = self;
    p->settings = settings;
    p->size = (size_t)as_settings_int(settings, "ratio_over");
    p->past = calloc(p->size, sizeof *p->past);
    if (!p->past)
        return as_fail(err, AS_ENOMEM, "out of memory");
    int rc = check_request(settings, err);
    return rc == AS_OK ? site_open(&p->site, settings, "url", endpoint, err) : rc;
}

static void probe_close(void *self)
{
    struct probe_source *p = self;
    site_close(&p->site);
    free(p->past);
}

extern const struct as_source_driver as_source_probe;
const struct as_source_driver as_source_probe = {
    .name = "probe",
    .summary =
        "latency and success of an HTTP request that is made at each poll, a synthetic order for example",
    .options = options,
    .series = series,
    .endpoints = "url",
    .state_size = sizeof(struct probe_source),
    .open = probe_open,
    .poll = probe_poll,
    .close = probe_close,
};
