/* An open-loop load generator: it follows a rate curve and sends each request when it is due, whatever became of the
 * ones before, and measures latency from the moment a request was *due*, so that a server that stalls cannot hide the
 * requests that it kept waiting. It must never load a machine that was not meant: anything but a loopback address is
 * refused unless --any-target is given. */
#include "curve.h"
#include "histogram.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MAX     65536 /* an answer longer than this is a failure */
#define INFLIGHT_LIMIT 20000
#define IDLE_REUSE_S                                                                                         \
    5L /* an older idle connection is not reused: the server may be closing it, and a POST sent into
                             that would be sent twice */

struct settings {
    char url[1024];
    const char *get;
    long timeout_ms, slo_ms, max_inflight;
    bool keepalive, any_target, json, progress_json, quiet;
};

struct counts { /* every request due is in exactly one of ok, failed or (at the end) unfinished */
    uint64_t due, sent, ok, slow, failed;
    uint64_t refused, timeout, status, other,
        overflow; /* failed by reason; overflow: never sent, too many in flight */
};

struct shot { /* one request under way, kept for reuse */
    CURL *curl;
    struct shot *next; /* free list */
    int64_t due_us;
    size_t received;
    char body[112];
};

struct load {
    struct settings settings;
    struct curve curve;
    struct curve_cursor cursor;
    CURLM *multi;
    struct curl_slist *headers;
    struct shot *free, **all;
    size_t shot_count;
    long inflight, inflight_max;
    int64_t start_us, end_us;
    struct counts total, second; /* second: of the progress line */
    struct histogram total_latency, second_latency;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* --- one request -------------------------------------------------------------------------------------------------- */

static size_t swallow(char *data, size_t size, size_t count, void *user)
{
    struct shot *s = user;
    (void)data;
    s->received += size * count;
    return s->received > ANSWER_MAX ? 0 : size * count;
}

static struct shot *new_shot(struct load *l)
{
    const struct settings *o = &l->settings;
    struct shot *s = calloc(1, sizeof *s);
    if (!s || !(s->curl = curl_easy_init())) {
        free(s);
        return NULL;
    }
    curl_easy_setopt(s->curl, CURLOPT_PRIVATE, s);
    curl_easy_setopt(s->curl, CURLOPT_URL, o->url);
    curl_easy_setopt(s->curl, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(s->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(s->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(s->curl, CURLOPT_WRITEFUNCTION, swallow);
    curl_easy_setopt(s->curl, CURLOPT_WRITEDATA, s);
    curl_easy_setopt(s->curl, CURLOPT_MAXAGE_CONN, IDLE_REUSE_S);
    curl_easy_setopt(s->curl, CURLOPT_FRESH_CONNECT, o->keepalive ? 0L : 1L);
    curl_easy_setopt(s->curl, CURLOPT_FORBID_REUSE, o->keepalive ? 0L : 1L);
    if (!o->get) {
        curl_easy_setopt(s->curl, CURLOPT_HTTPHEADER, l->headers);
        curl_easy_setopt(s->curl, CURLOPT_POSTFIELDS, s->body);
    }
    l->all[l->shot_count++] = s;
    return s;
}

static void count_failure(struct load *l, uint64_t *total_reason, uint64_t *second_reason)
{
    ++*total_reason, ++*second_reason;
    l->total.failed++, l->second.failed++;
}

/* Sends the request that was due at due_us, or counts it as failed when that is not possible. */
static void send_request(struct load *l, int64_t due_us)
{
    l->total.due++, l->second.due++;
    struct shot *s = NULL;
    if (l->inflight < l->settings.max_inflight) {
        s = l->free ? l->free : new_shot(l);
        if (s && s == l->free)
            l->free = s->next;
    }
    if (!s) {
        count_failure(l, &l->total.overflow, &l->second.overflow);
        return;
    }
    uint64_t n = l->total.due;
    snprintf(s->body, sizeof s->body,
             "{\"user_id\":%" PRIu64 ",\"product_id\":%" PRIu64 ",\"quantity\":%" PRIu64 "}", 1 + n % 10007,
             1 + n % 499, 1 + n % 3);
    s->due_us = due_us;
    s->received = 0;
    /* the clock runs from the due moment here too */
    int64_t left_ms = l->settings.timeout_ms - (now_us() - due_us) / 1000;
    curl_easy_setopt(s->curl, CURLOPT_TIMEOUT_MS, (long)(left_ms > 1 ? left_ms : 1));
    if (curl_multi_add_handle(l->multi, s->curl) != CURLM_OK) {
        s->next = l->free;
        l->free = s;
        count_failure(l, &l->total.other, &l->second.other);
        return;
    }
    l->total.sent++, l->second.sent++;
    if (++l->inflight > l->inflight_max)
        l->inflight_max = l->inflight;
}

static void count_answer(struct load *l, CURLcode rc, long status, int64_t latency_us)
{
    if (rc == CURLE_COULDNT_CONNECT) {
        count_failure(l, &l->total.refused, &l->second.refused);
    } else if (rc == CURLE_OPERATION_TIMEDOUT) {
        count_failure(l, &l->total.timeout, &l->second.timeout);
    } else if (rc != CURLE_OK) {
        count_failure(l, &l->total.other, &l->second.other);
    } else if (status < 200 || status > 299) {
        count_failure(l, &l->total.status, &l->second.status);
    } else {
        l->total.ok++, l->second.ok++;
        histogram_add(&l->total_latency, (uint64_t)latency_us);
        histogram_add(&l->second_latency, (uint64_t)latency_us);
        if (latency_us > (int64_t)l->settings.slo_ms * 1000)
            l->total.slow++, l->second.slow++;
    }
}

static void collect(struct load *l)
{
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(l->multi, &left));) {
        struct shot *s = NULL;
        long status = 0;
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode rc = m->data.result; /* m dies with the handle's removal */
        CURL *curl = m->easy_handle;
        curl_easy_getinfo(curl, CURLINFO_PRIVATE, &s);
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        curl_multi_remove_handle(l->multi, curl);
        l->inflight--;
        count_answer(l, rc, status, now_us() - s->due_us);
        s->next = l->free;
        l->free = s;
    }
}

/* --- reports ------------------------------------------------------------------------------------------------------ */

static void report_second(struct load *l, int64_t t)
{
    const struct counts *c = &l->second;
    const struct histogram *h = &l->second_latency;
    const char *format =
        l->settings.progress_json
            ? "{\"t\":%" PRId64 ",\"rate\":%.1f,\"due\":%" PRIu64 ",\"sent\":%" PRIu64 ",\"ok\":%" PRIu64
              ",\"failed\":%" PRIu64 ",\"slow\":%" PRIu64 ",\"inflight\":%ld,\"p50_ms\":%.1f,"
              "\"p95_ms\":%.1f,\"max_ms\":%.1f}\n"
            : "t=%" PRId64 " rate=%.1f due=%" PRIu64 " sent=%" PRIu64 " ok=%" PRIu64 " failed=%" PRIu64
              " slow=%" PRIu64 " inflight=%ld p50_ms=%.1f p95_ms=%.1f max_ms=%.1f\n";
    if (!l->settings.quiet) {
        printf(format, t, curve_rate(&l->curve, (double)t), c->due, c->sent, c->ok, c->failed, c->slow,
               l->inflight, histogram_quantile_ms(h, 0.5), histogram_quantile_ms(h, 0.95),
               (double)h->max_us / 1000);
        fflush(stdout);
    }
    l->second = (struct counts){ 0 };
    histogram_reset(&l->second_latency);
}

static void report_json(const struct load *l, uint64_t unfinished)
{
    const struct counts *c = &l->total;
    const struct histogram *h = &l->total_latency;
    printf("{\"seconds\":%.3f,\"due\":%" PRIu64 ",\"sent\":%" PRIu64 ",\"ok\":%" PRIu64 ",\"failed\":%" PRIu64
           ",\"slow\":%" PRIu64 ",\"unfinished\":%" PRIu64 ",\"interrupted\":%s,",
           (double)(l->end_us - l->start_us) / 1e6, c->due, c->sent, c->ok, c->failed, c->slow, unfinished,
           interrupted ? "true" : "false");
    printf("\"failed_by\":{\"refused\":%" PRIu64 ",\"timeout\":%" PRIu64 ",\"status\":%" PRIu64
           ",\"overflow\":%" PRIu64 ",\"other\":%" PRIu64 "},",
           c->refused, c->timeout, c->status, c->overflow, c->other);
    printf(
        "\"slo_ms\":%ld,\"max_inflight\":%ld,\"p50_ms\":%.1f,\"p90_ms\":%.1f,\"p95_ms\":%.1f,\"p99_ms\":%.1f,"
        "\"max_ms\":%.1f}\n",
        l->settings.slo_ms, l->inflight_max, histogram_quantile_ms(h, 0.5), histogram_quantile_ms(h, 0.9),
        histogram_quantile_ms(h, 0.95), histogram_quantile_ms(h, 0.99), (double)h->max_us / 1000);
}

static void report_text(const struct load *l, uint64_t unfinished)
{
    const struct counts *c = &l->total;
    const struct histogram *h = &l->total_latency;
    printf("\n%s %.1f s: %" PRIu64 " due, %" PRIu64 " ok, %" PRIu64 " failed, %" PRIu64 " slower than %ld ms",
           interrupted ? "interrupted after" : "done in", (double)(l->end_us - l->start_us) / 1e6, c->due,
           c->ok, c->failed, c->slow, l->settings.slo_ms);
    if (unfinished)
        printf(", %" PRIu64 " unfinished", unfinished);
    printf("\nlatency from the due moment: p50 %.1f ms, p90 %.1f, p95 %.1f, p99 %.1f, max %.1f; at most %ld "
           "in flight\n",
           histogram_quantile_ms(h, 0.5), histogram_quantile_ms(h, 0.9), histogram_quantile_ms(h, 0.95),
           histogram_quantile_ms(h, 0.99), (double)h->max_us / 1000, l->inflight_max);
    if (c->failed)
        printf("failed: %" PRIu64 " no connection, %" PRIu64 " timed out, %" PRIu64 " bad status, %" PRIu64
               " never sent (more than %ld in flight), %" PRIu64 " other\n",
               c->refused, c->timeout, c->status, c->overflow, l->settings.max_inflight, c->other);
}

/* --- the run ------------------------------------------------------------------------------------------------------ */

/* Sleeps until `until_us`, an answer, or a signal. */
static void wait_for_something(struct load *l, int64_t until_us)
{
    int64_t left_us = until_us - now_us();
    int ms = left_us <= 0 ? 0 : left_us > 1000000 ? 1000 : (int)((left_us + 999) / 1000);
    int running;
    if (ms > 0)
        curl_multi_poll(l->multi, NULL, 0, ms, NULL);
    curl_multi_perform(l->multi, &running);
}

static void run(struct load *l)
{
    double due = 0;
    bool more = curve_next(&l->curve, &l->cursor, &due);
    l->start_us = now_us();
    int64_t second = 1, curve_end_us = l->start_us + (int64_t)(curve_end(&l->curve) * 1e6);
    for (;;) {
        int64_t now = now_us(), due_us = l->start_us + (int64_t)(due * 1e6);
        for (; more && due_us <= now && !interrupted; due_us = l->start_us + (int64_t)(due * 1e6)) {
            send_request(l, due_us);
            more = curve_next(&l->curve, &l->cursor, &due);
        }
        for (; l->start_us + second * 1000000 <= now; second++)
            report_second(l, second);
        if (interrupted || (!more && l->inflight == 0 && now >= curve_end_us))
            break;
        int64_t next_us = l->start_us + second * 1000000;
        wait_for_something(l, more && due_us < next_us ? due_us : next_us);
        collect(l);
    }
    l->end_us = now_us();
    if (l->second.due || l->second.ok || l->second.failed)
        report_second(l, second);
}

static void finish(struct load *l)
{
    for (size_t i = 0; i < l->shot_count; i++) {
        curl_multi_remove_handle(l->multi, l->all[i]->curl);
        curl_easy_cleanup(l->all[i]->curl);
        free(l->all[i]);
    }
    free(l->all);
    curl_multi_cleanup(l->multi);
    curl_slist_free_all(l->headers);
}

/* --- options ------------------------------------------------------------------------------------------------------ */

static const char usage_text[] =
    "usage: loadgen --curve POINTS [options] URL\n"
    "Follows a curve of requests per second against URL (http://ADDRESS:PORT), each request a new order, "
    "sent when it\n"
    "is due whatever the latency; latencies count from that moment.\n"
    "  -c, --curve POINTS       \"0s:20,10s:20,15s:200,70s:20\": rate at each time, straight lines between\n"
    "  -f, --curve-file FILE    the same from lines of SECONDS,RATE\n"
    "  -g, --get PATH           GET this path in place of posting orders\n"
    "  -s, --slo MS             slower answers count as slow, default 500\n"
    "  -t, --timeout MS         later answers count as failed, default 10000\n"
    "  -n, --no-keepalive       a new connection for each request\n"
    "  -m, --max-inflight N     requests under way at most, default 1000; one due beyond them counts as "
    "failed\n"
    "  -d, --max-duration SEC   refuse longer curves, default 3600\n"
    "  -j, --json               summary as JSON\n"
    "  -J, --progress-json      one JSON line a second in place of key=value\n"
    "  -q, --quiet              no progress lines\n"
    "      --any-target         allow a target that is not a loopback address: only with its owner's "
    "consent\n"
    "  -h, --help               this text\n"
    "Ctrl-C prints the summary so far. Exit status: 0 none failed, 1 some failed, 64 wrong usage, 130 "
    "interrupted.\n";

static int wrong_usage(const char *what)
{
    fprintf(stderr, "loadgen: %s; see loadgen -h\n", what);
    return 64;
}

static bool to_long(const char *text, long min, long max, long *out)
{
    char *end;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (errno || end == text || *end || v < min || v > max)
        return false;
    *out = v;
    return true;
}

static bool is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    char bare[64];
    size_t n = strlen(host);
    if (n < 3 || n >= sizeof bare || host[0] != '[' || host[n - 1] != ']')
        return false;
    snprintf(bare, sizeof bare, "%.*s", (int)(n - 2), host + 1);
    return inet_pton(AF_INET6, bare, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/* Checks the target and completes it to the URL of the requests. 0, or the exit status. */
static int take_url(struct settings *o, const char *text)
{
    char *scheme = NULL, *host = NULL;
    const char *wrong = "the URL must be like http://127.0.0.1:8080";
    CURLU *url = curl_url();
    if (url && !curl_url_set(url, CURLUPART_URL, text, 0) &&
        !curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) && !curl_url_get(url, CURLUPART_HOST, &host, 0) &&
        strcmp(scheme, "http") == 0) {
        wrong = NULL;
        if (!o->any_target && !is_loopback(host))
            wrong = "the target is not a loopback address such as 127.0.0.1; --any-target allows it";
    }
    curl_free(scheme);
    curl_free(host);
    curl_url_cleanup(url);
    size_t length = strlen(text);
    while (length > 0 && text[length - 1] == '/')
        length--;
    const char *path = o->get ? o->get : "/api/order";
    if (!wrong && snprintf(o->url, sizeof o->url, "%.*s%s%s", (int)length, text, *path == '/' ? "" : "/",
                           path) >= (int)sizeof o->url)
        wrong = "the URL is too long";
    return wrong ? wrong_usage(wrong) : 0;
}

/* -1 to go on, otherwise the exit status. */
static int read_args(int argc, char **argv, struct load *l)
{
    static const struct option options[] = {
        { "curve", 1, NULL, 'c' },        { "curve-file", 1, NULL, 'f' },
        { "get", 1, NULL, 'g' },          { "slo", 1, NULL, 's' },
        { "timeout", 1, NULL, 't' },      { "no-keepalive", 0, NULL, 'n' },
        { "max-inflight", 1, NULL, 'm' }, { "max-duration", 1, NULL, 'd' },
        { "json", 0, NULL, 'j' },         { "progress-json", 0, NULL, 'J' },
        { "quiet", 0, NULL, 'q' },        { "any-target", 0, NULL, 'A' },
        { "help", 0, NULL, 'h' },         { NULL, 0, NULL, 0 },
    };
    struct settings *o = &l->settings;
    char err[256];
    long max_duration = 3600;
    for (int c; (c = getopt_long(argc, argv, "c:f:g:s:t:nm:d:jJqh", options, NULL)) != -1;) {
        bool ok = true;
        switch (c) {
        case 'c':
            if (curve_parse(optarg, &l->curve, err, sizeof err) < 0)
                return wrong_usage(err);
            break;
        case 'f':
            if (curve_read(optarg, &l->curve, err, sizeof err) < 0)
                return wrong_usage(err);
            break;
        case 'g': o->get = optarg; break;
        case 's': ok = to_long(optarg, 1, 3600000, &o->slo_ms); break;
        case 't': ok = to_long(optarg, 1, 3600000, &o->timeout_ms); break;
        case 'n': o->keepalive = false; break;
        case 'm': ok = to_long(optarg, 1, INFLIGHT_LIMIT, &o->max_inflight); break;
        case 'd': ok = to_long(optarg, 1, (long)CURVE_SECONDS_MAX, &max_duration); break;
        case 'j': o->json = true; break;
        case 'J': o->progress_json = true; break;
        case 'q': o->quiet = true; break;
        case 'A': o->any_target = true; break;
        case 'h': fputs(usage_text, stdout); return 0;
        default: return wrong_usage("that option is not known or lacks its value");
        }
        if (!ok)
            return wrong_usage("a number is malformed or out of range");
    }
    if (l->curve.count == 0)
        return wrong_usage("a curve is needed");
    if (curve_end(&l->curve) > (double)max_duration)
        return wrong_usage("the curve is longer than --max-duration");
    if (optind + 1 != argc)
        return wrong_usage("one URL is needed");
    int rc = take_url(o, argv[optind]);
    return rc ? rc : -1;
}

/* Each request under way may hold a socket. */
static bool raise_file_limit(long needed)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return false;
    if (limit.rlim_cur < (rlim_t)needed && limit.rlim_max >= (rlim_t)needed) {
        limit.rlim_cur = (rlim_t)needed;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= (rlim_t)needed;
}

static bool prepare(struct load *l)
{
    struct sigaction action = { .sa_handler = on_signal };
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (!raise_file_limit(l->settings.max_inflight + 64)) {
        fprintf(stderr,
                "loadgen: the limit of open files is too low for --max-inflight; raise it with ulimit -n\n");
        return false;
    }
    l->all = calloc((size_t)l->settings.max_inflight, sizeof *l->all);
    l->headers = curl_slist_append(NULL, "Content-Type: application/json");
    l->multi = curl_multi_init();
    if (!l->all || !l->headers || !l->multi) {
        fprintf(stderr, "loadgen: out of memory\n");
        return false;
    }
    curl_multi_setopt(l->multi, CURLMOPT_MAXCONNECTS, l->settings.max_inflight);
    curl_multi_setopt(l->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    return true;
}

int main(int argc, char **argv)
{
    static struct load load = {
        .settings = { .timeout_ms = 10000, .slo_ms = 500, .max_inflight = 1000, .keepalive = true },
    };
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int rc = read_args(argc, argv, &load);
    if (rc >= 0)
        return rc;
    if (!prepare(&load))
        return 64;
    run(&load);
    uint64_t unfinished = (uint64_t)load.inflight;
    if (load.settings.json)
        report_json(&load, unfinished);
    else
        report_text(&load, unfinished);
    bool failed = load.total.failed > 0, cut = interrupted;
    finish(&load);
    curl_global_cleanup();
    return failed ? 1 : cut ? 130 : 0;
}
