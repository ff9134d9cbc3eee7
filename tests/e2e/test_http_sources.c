/* The sources http, probe and prometheus against an HTTP server in this test that hangs, drips, redirects, floods,
 * refuses, lies and stops in the middle: what is measured, what fails, and in what time. */
#include <pthread.h>
#include <stdatomic.h>

#include "source_kit.h"

extern const struct as_source_driver as_source_http;
extern const struct as_source_driver as_source_probe;
extern const struct as_source_driver as_source_prometheus;

#define SHORT     400 /* ms a poll of something that never answers may take                           */
#define REQUEST   4096
#define JSON_HEAD "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"

/* --- the server ------------------------------------------------------------------------------- */

static struct {
    int fd, port;
    pthread_t thread;
    pthread_mutex_t lock;
    char last[REQUEST]; /* the last request */
    atomic_int count;   /* of requests */
    atomic_bool ill;    /* /moody answers 500 */
} server;

static bool say(int fd, const char *text)
{
    return send(fd, text, strlen(text), MSG_NOSIGNAL) > 0;
}

static void hold(int fd) /* until the client goes */
{
    char c;
    while (recv(fd, &c, 1, 0) > 0)
        ;
}

static void flood(int fd)
{
    char chunk[4096 + 16];
    memcpy(chunk, "1000\r\n", 6);
    memset(chunk + 6, ' ', 4096);
    memcpy(chunk + 6 + 4096, "\r\n", 3);
    bool ok = say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    while (ok)
        ok = say(fd, chunk);
}

static void drip(int fd)
{
    bool ok = say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
    while (ok && say(fd, "1"))
        usleep(20000);
}

static bool starts(const char *path, const char *with)
{
    return strncmp(path, with, strlen(with)) == 0;
}

/* What is not in `fixed`. */
static void answer_special(int fd, const char *path, const char *request)
{
    if (starts(path, "/hang"))
        hold(fd);
    else if (starts(path, "/drip"))
        drip(fd);
    else if (starts(path, "/flood"))
        flood(fd);
    else if (starts(path, "/moody"))
        say(fd, server.ill ? "HTTP/1.1 500 Ouch\r\nContent-Length: 0\r\n\r\n" : JSON_HEAD "{\"n\":1}");
    else if (starts(path, "/bearer"))
        say(fd, strstr(request, "\r\nAuthorization: Bearer " SECRET "\r\n") ? JSON_HEAD "{\"n\":1}"
                                                                            : "HTTP/1.1 401 No\r\n\r\n");
    else if (starts(path, "/key"))
        say(fd, strstr(request, "\r\nX-Api-Key: " SECRET "\r\n") && !strstr(request, "Authorization")
                    ? JSON_HEAD "{\"n\":1}"
                    : "HTTP/1.1 403 No\r\n\r\n");
    else if (starts(path, "/basic")) /* mon:kept-secret-8d1f */
        say(fd, strstr(request, "\r\nAuthorization: Basic bW9uOmtlcHQtc2VjcmV0LThkMWY=\r\n")
                    ? JSON_HEAD "{\"n\":1}"
                    : "HTTP/1.1 401 No\r\n\r\n");
    else
        say(fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
}

static void answer(int fd, const char *path, const char *request)
{
    static const char *const fixed[][2] = {
        { "/doc",
          JSON_HEAD "{\"queue\":{\"depth\":12,\"a/b\":[0.5,7]},\"up\":true,\"text\":\"3\",\"none\":null}" },
        { "/redirect", "HTTP/1.1 302 Found\r\nLocation: /doc\r\nContent-Length: 0\r\n\r\n" },
        { "/garbage", "SSH-2.0-OpenSSH_9.2\r\n" },
        { "/html", JSON_HEAD "<html>hello</html>" },
        { "/trailing", JSON_HEAD "{\"n\":1} x" },
        { "/cut", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"n\":" },
        { "/close", "" },
        { "/busy", "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n" },
        { "/order",
          "HTTP/1.1 201 Created\r\nConnection: close\r\n\r\n{\"order\": 77, \"state\": \"stored\"}" },
        { "/head", "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n" },
        { "/prom/api/v1/query?query=good&",
          JSON_HEAD "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[{\"value\":[1,"
                    "\"2\"]},{\"value\":["
                    "1,\"3\"]}]}}" },
        { "/prom/api/v1/query?query=empty&",
          JSON_HEAD "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[]}}" },
        { "/prom/api/v1/query?query=bad&",
          "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
          "{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"parse error: unexpected end\"}" },
        { "/prom/api/v1/query?query=html&", JSON_HEAD "<html>" },
    };
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (starts(path, fixed[i][0])) {
            if (*fixed[i][1])
                say(fd, fixed[i][1]);
            return;
        }
    answer_special(fd, path, request);
}

/* Reads a request: the head, and as much body as it says. */
static bool read_request(int fd, char *text)
{
    size_t n = 0;
    ssize_t got;
    text[0] = '\0';
    while (n < REQUEST - 1 && (got = recv(fd, text + n, REQUEST - 1 - n, 0)) > 0) {
        text[n += (size_t)got] = '\0';
        const char *end = strstr(text, "\r\n\r\n"), *length = strstr(text, "Content-Length: ");
        size_t body = length ? strtoul(length + 16, NULL, 10) : 0;
        if (end && n >= (size_t)(end + 4 - text) + body)
            return true;
    }
    return false;
}

static void *server_run(void *arg)
{
    static char text[REQUEST];
    char path[512] = "";
    int fd;
    (void)arg;
    while ((fd = accept(server.fd, NULL, NULL)) >= 0) {
        if (read_request(fd, text) && sscanf(text, "%*s %511s", path) == 1) {
            pthread_mutex_lock(&server.lock);
            memcpy(server.last, text, sizeof text);
            pthread_mutex_unlock(&server.lock);
            atomic_fetch_add(&server.count, 1);
            answer(fd, path, text);
        }
        close(fd);
    }
    return NULL;
}

static bool server_saw(const char *text)
{
    pthread_mutex_lock(&server.lock);
    bool yes = strstr(server.last, text) != NULL;
    pthread_mutex_unlock(&server.lock);
    return yes;
}

static int server_start(void **state)
{
    (void)state;
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;
    if (!root_make("http-sources"))
        return -1;
    pthread_mutex_init(&server.lock, NULL);
    server.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(server.fd, (struct sockaddr *)&at, len) != 0 || listen(server.fd, 16) != 0 ||
        getsockname(server.fd, (struct sockaddr *)&at, &len) != 0)
        return -1;
    server.port = ntohs(at.sin_port);
    return pthread_create(&server.thread, NULL, server_run, NULL);
}

static int server_stop(void **state)
{
    (void)state;
    shutdown(server.fd, SHUT_RDWR);
    pthread_join(server.thread, NULL);
    close(server.fd);
    root_remove();
    return 0;
}

/* --- helpers ---------------------------------------------------------------------------------- */

static void open_at(struct probe *p, const struct as_source_driver *d, const char *path, const char *more)
{
    char text[1000];
    snprintf(text, sizeof text, "url = \"http://127.0.0.1:%d%s\"; %s", server.port, path, more);
    probe_open(p, d, text);
}

/* One poll of the http source, which must fail with this class. */
static void assert_http_fails(const char *path, const char *more, int rc, const char *says)
{
    struct probe p;
    char settings[600];
    bool silent = starts(path, "/hang") || starts(path, "/drip");
    snprintf(settings, sizeof settings, "values = { n = \"/n\"; }; %s", more);
    open_at(&p, &as_source_http, path, settings);
    int got = probe_poll_within(&p, silent ? SHORT : TIMEOUT);
    if (got != rc || !strstr(p.err.msg, says))
        fail_msg("%s: class %d, '%s'", path, got, p.err.msg);
    if (silent)
        assert_true(p.took < TIMEOUT);
    probe_close(&p);
}

/* One poll of the probe source: a measured failure with this text. */
static void assert_target_fails(const char *path, double status, const char *says)
{
    struct probe p;
    bool silent = starts(path, "/hang") || starts(path, "/drip");
    open_at(&p, &as_source_probe, path, "expect_body = \"stored\";");
    assert_int_equal(probe_poll_within(&p, silent ? SHORT : TIMEOUT), AS_OK);
    assert_text(p.err.msg, says);
    assert_value(&p, "success", 0);
    assert_value(&p, "success_ratio", 0);
    assert_value(&p, "status", status);
    assert_value(&p, "latency_ms", NAN);
    probe_close(&p);
}

/* --- http ------------------------------------------------------------------------------------- */

static void numbers_are_picked_and_gaps_are_told(void **state)
{
    (void)state;
    struct probe p;
    open_at(&p, &as_source_http, "/doc?x=1",
            "headers = { X-Tenant = \"shop\"; }; values = { depth = \"/queue/depth\"; seven = "
            "\"/queue/a~1b/1\"; up = "
            "\"/up\"; text = \"/text\"; none = \"/none\"; gone = \"/queue/9\"; };");
    probe_ok(&p);
    assert_value(&p, "depth", 12);
    assert_value(&p, "seven", 7);
    assert_value(&p, "up", 1);
    assert_value(&p, "text", NAN);
    assert_value(&p, "none", NAN);
    assert_value(&p, "gone", NAN);
    assert_value(&p, "values_missing", 3);
    assert_text(p.err.msg, "value 'text': there is text at \"/text\", not a number");
    assert_true(server_saw("GET /doc?x=1 HTTP/1.1\r\n"));
    assert_true(server_saw("\r\nX-Tenant: shop\r\n"));
    probe_close(&p);
}

static void hostile_answers_fail_the_poll_in_time(void **state)
{
    (void)state;
    assert_http_fails("/hang", "", AS_EAGAIN, "did not answer in time");
    assert_http_fails("/drip", "", AS_EAGAIN, "did not answer in time");
    assert_http_fails("/flood", "", AS_EPROTO, "sent more than");
    assert_http_fails("/redirect", "", AS_EINVAL, "redirects (HTTP 302)");
    assert_http_fails("/garbage", "", AS_EPROTO, "does not answer in HTTP");
    assert_http_fails("/html", "", AS_EPROTO, "does not answer with JSON");
    assert_http_fails("/trailing", "", AS_EPROTO, "does not answer with JSON");
    assert_http_fails("/cut", "", AS_EAGAIN, "the answer was lost");
    assert_http_fails("/close", "", AS_EAGAIN, "the answer was lost");
    assert_http_fails("/busy", "", AS_EAGAIN, "HTTP 503");
    assert_http_fails("/nowhere", "", AS_ENOENT, "HTTP 404");
}

static void credentials_come_from_files(void **state)
{
    (void)state;
    static const struct {
        const char *path, *with;
        int rc;
    } cases[] = {
        { "/bearer", "token_file = \"%s\";", AS_EAUTH },
        { "/key", "token_header = \"X-Api-Key\"; token_file = \"%s\";", AS_EAUTH },
        { "/basic", "user = \"mon\"; password_file = \"%s\";", AS_EAUTH },
    };
    struct probe p;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char with[300], settings[400];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(with, sizeof with, cases[i].with, secret_file);
        snprintf(settings, sizeof settings, "values = { n = \"/n\"; }; %s", with);
        open_at(&p, &as_source_http, cases[i].path, settings);
        probe_ok(&p);
        assert_value(&p, "n", 1);
        probe_close(&p);
        snprintf(with, sizeof with, cases[i].with, wrong_file);
#pragma GCC diagnostic pop
        assert_http_fails(cases[i].path, with, AS_EAUTH, "refuses us");
        assert_http_fails(cases[i].path, "", AS_EAUTH, "refuses us");
    }
}

static void secret_file_must_be_private_and_one_line(void **state)
{
    (void)state;
    char path[200], with[300];
    snprintf(path, sizeof path, "%s/odd", root);
    snprintf(with, sizeof with, "token_file = \"%s\";", path);
    assert_http_fails("/bearer", with, AS_EIO, "odd");
    write_file(path, SECRET, 0600);
    assert_int_equal(chmod(path, 0644), 0);
    assert_http_fails("/bearer", with, AS_EINVAL, "can be read by others");
    assert_int_equal(chmod(path, 0600), 0);
    write_file(path, SECRET "\r\nX-Smuggled: 1", 0600);
    int before = server.count;
    assert_http_fails("/bearer", with, AS_EINVAL, "line break");
    assert_int_equal(server.count, before); /* nothing was sent */
    unlink(path);
}

static void mistakes_in_the_configuration_are_named(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "url = \"ftp://h/x\";", "http:// or https://" },
        { "url = \"http://mon:" SECRET "@h/\";", "password does not belong" },
        { "url = \"http:///x\";", "no host" },
        { "url = \"http://h/a b\";", "%XX" },
        { "url = \"http://h/#x\";", "fragment" },
        { "url = \"http://h/\"; headers = { Authorization = \"Basic " SECRET "\"; };", "use token_file" },
        { "url = \"http://h/\"; headers = { X = \"a\\nb\"; };", "one line" },
        { "url = \"http://h/\"; user = \"u\";", "need each other" },
        { "url = \"http://h/\"; user = \"u:v\"; password_file = \"/x\";", "colon" },
        { "url = \"http://h/\"; token_file = \"/x\"; user = \"u\"; password_file = \"/x\";", "either" },
        { "url = \"http://h/\"; token_header = \"X\";", "without token_file" },
        { "url = \"http://h/\"; tls_ca = \"/x\";", "write https://" },
        { "url = \"https://h/\"; tls_cert = \"/x\";", "need each other" },
    };
    char text[400];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text, "%s values = { n = \"/n\"; };", cases[i][0]);
        assert_open_refuses(&as_source_http, text, cases[i][1]);
        assert_open_refuses(&as_source_probe, cases[i][0], cases[i][1]);
    }
    assert_open_refuses(&as_source_http, "url = \"http://h/\"; values = { n = \"n\"; };", "no JSON pointer");
    assert_open_refuses(&as_source_probe, "url = \"http://h/\"; body = \"x\";", "has no body");
    assert_open_refuses(&as_source_probe, "url = \"http://h/\"; expect_status = \"20\";", "no status");
    assert_open_refuses(&as_source_prometheus, "url = \"http://h/?x\"; queries = { a = \"up\"; };",
                        "no base URL");
    assert_open_refuses(&as_source_prometheus, "url = \"http://h/\"; queries = { a = \" \"; };", "empty");
    assert_open_refuses(&as_source_prometheus,
                        "url = \"http://h/\"; queries = { a = \"up\"; }; reduces = { b = \"max\"; };",
                        "no query 'b'");
    assert_open_refuses(&as_source_prometheus,
                        "url = \"http://h/\"; queries = { a = \"up\"; }; window = \"1h\"; step = \"1s\";",
                        "more than 1000 steps");
}

/* --- probe ------------------------------------------------------------------------------------ */

static void order_is_placed_once_and_measured(void **state)
{
    (void)state;
    struct probe p;
    char body[200], more[500];
    snprintf(body, sizeof body, "%s/order.json", root);
    write_file(body, "{\"product\": 42}", 0644);
    snprintf(more, sizeof more,
             "method = \"POST\"; body_file = \"%s\"; headers = { X-Probe = \"yes\"; }; expect_status = [ "
             "\"201\" ]; "
             "expect_body = \"stored\";",
             body);
    open_at(&p, &as_source_probe, "/order?synthetic=1", more);
    int before = server.count;
    probe_ok(&p);
    assert_int_equal(server.count, before + 1);
    assert_string_equal(p.err.msg, "");
    assert_true(server_saw("POST /order?synthetic=1 HTTP/1.1\r\n"));
    assert_true(server_saw("\r\nX-Probe: yes\r\n"));
    assert_true(server_saw("Content-Type: application/json\r\n"));
    assert_true(server_saw("\r\n\r\n{\"product\": 42}"));
    assert_value(&p, "success", 1);
    assert_value(&p, "success_ratio", 1);
    assert_value(&p, "status", 201);
    assert_true(value(&p, "latency_ms") > 0 && value(&p, "latency_ms") < (double)TIMEOUT);
    unlink(body);
    assert_int_equal(probe_poll(&p), AS_EIO); /* ours, not the shop's */
    assert_text(p.err.msg, "order.json");
    probe_close(&p);
    open_at(&p, &as_source_probe, "/order",
            "method = \"PUT\"; body = \"a=b\"; headers = { Content-Type = "
            "\"application/x-www-form-urlencoded\"; };");
    probe_ok(&p);
    assert_true(server_saw("Content-Type: application/x-www-form-urlencoded\r\n"));
    assert_false(server_saw("application/json"));
    probe_close(&p);
    open_at(&p, &as_source_probe, "/head", "method = \"HEAD\";");
    probe_ok(&p);
    assert_value(&p, "success", 1);
    assert_true(server_saw("HEAD /head HTTP/1.1\r\n"));
    probe_close(&p);
}

static void failures_of_the_target_are_measured_and_told_apart(void **state)
{
    (void)state;
    struct probe p;
    char text[100];
    assert_target_fails("/busy", 503, "bad status 503");
    assert_target_fails("/redirect", 302, "bad status 302");
    assert_target_fails("/doc", 200, "lacks the expected text");
    assert_target_fails("/hang", NAN, "timed out");
    assert_target_fails("/drip", NAN, "timed out");
    assert_target_fails("/close", NAN, "connection broke");
    assert_target_fails("/cut", NAN, "connection broke");
    assert_target_fails("/garbage", NAN, "no HTTP");
    assert_target_fails("/flood", NAN, "too large");
    snprintf(text, sizeof text, "url = \"http://127.0.0.1:%d/\";", free_port());
    probe_open(&p, &as_source_probe, text);
    probe_ok(&p);
    assert_text(p.err.msg, "connection refused");
    assert_value(&p, "success", 0);
    assert_value(&p, "status", NAN);
    probe_close(&p);
    snprintf(text, sizeof text, "url = \"https://127.0.0.1:%d/order\";", server.port); /* speaks no TLS */
    probe_open(&p, &as_source_probe, text);
    assert_int_equal(probe_poll_within(&p, SHORT), AS_OK);
    assert_value(&p, "success", 0);
    probe_close(&p);
}

static void local_faults_measure_nothing(void **state)
{
    (void)state;
    struct probe p;
    char text[200];
    snprintf(text, sizeof text, "url = \"https://127.0.0.1:%d/\"; tls_ca = \"/nonexistent.pem\";",
             server.port);
    probe_open(&p, &as_source_probe, text);
    assert_int_not_equal(probe_poll(&p), AS_OK);
    assert_text(p.err.msg, "certificate");
    probe_close(&p);
    probe_open(&p, &as_source_probe, "url = \"http://no-such-host.invalid/\";");
    assert_int_not_equal(probe_poll(&p), AS_OK);
    probe_close(&p);
    open_at(&p, &as_source_probe, "/order", "");
    assert_int_equal(probe_poll_within(&p, -1), AS_EAGAIN);
    probe_close(&p);
}

static void ratio_looks_at_the_last_polls(void **state)
{
    (void)state;
    static const double want[] = { 1, 1, 2 / 3.0, 0.5, 0.25, 0 };
    struct probe p;
    open_at(&p, &as_source_probe, "/moody", "ratio_over = 4;");
    for (int i = 0; i < 6; i++) {
        server.ill = i >= 2;
        probe_ok(&p);
        assert_value(&p, "success_ratio", want[i]);
    }
    server.ill = false;
    probe_ok(&p);
    assert_value(&p, "success_ratio", 0.25);
    assert_value(&p, "success", 1);
    probe_close(&p);
}

/* --- prometheus ------------------------------------------------------------------------------- */

static void bad_query_does_not_blind_the_others(void **state)
{
    (void)state;
    struct probe p;
    open_at(
        &p, &as_source_prometheus, "/prom/",
        "queries = { b = \"bad\"; a = \"good\"; m = \"good\"; e = \"empty\"; }; reduces = { m = \"max\"; };");
    probe_ok(&p);
    assert_value(&p, "a", 5);
    assert_value(&p, "m", 3);
    assert_value(&p, "b", NAN);
    assert_value(&p, "e", NAN);
    assert_value(&p, "queries_failed", 2);
    assert_text(p.err.msg, "query 'b': the server refuses it: parse error: unexpected end");
    probe_close(&p);
}

static void server_that_is_no_prometheus_fails_the_poll(void **state)
{
    (void)state;
    static const struct {
        const char *path, *query;
        int rc;
    } cases[] = {
        { "/nowhere", "good", AS_ENOENT }, { "/prom", "html", AS_EPROTO },
        { "/flood", "good", AS_EPROTO },   { "/busy", "good", AS_EAGAIN },
        { "/garbage", "good", AS_EPROTO }, { "/bearer", "good", AS_EAUTH },
        { "/close", "good", AS_EAGAIN },   { "/redirect", "good", AS_EINVAL },
    };
    struct probe p;
    char more[100];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(more, sizeof more, "queries = { a = \"%s\"; };", cases[i].query);
        open_at(&p, &as_source_prometheus, cases[i].path, more);
        int rc = probe_poll(&p);
        if (rc != cases[i].rc)
            fail_msg("%s: class %d, %s", cases[i].path, rc, p.err.msg);
        probe_close(&p);
    }
}

static void redundant_server_takes_over_and_is_kept(void **state)
{
    (void)state;
    struct probe p;
    char text[400];
    snprintf(
        text, sizeof text,
        "url = [ \"http://127.0.0.1:%d/hang\", \"http://127.0.0.1:%d/prom\" ]; queries = { a = \"good\"; };",
        server.port, server.port);
    probe_open(&p, &as_source_prometheus, text);
    assert_int_equal(probe_poll_within(&p, 6000), AS_OK);
    assert_value(&p, "a", 5);
    assert_value(&p, "servers_failed", 1);
    assert_true(p.took >= 2400);
    int before = server.count;
    probe_ok(&p); /* the hung one is not asked again at once */
    assert_value(&p, "a", 5);
    assert_int_equal(server.count, before + 1);
    probe_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_picked_and_gaps_are_told),
        cmocka_unit_test(hostile_answers_fail_the_poll_in_time),
        cmocka_unit_test(credentials_come_from_files),
        cmocka_unit_test(secret_file_must_be_private_and_one_line),
        cmocka_unit_test(mistakes_in_the_configuration_are_named),
        cmocka_unit_test(order_is_placed_once_and_measured),
        cmocka_unit_test(failures_of_the_target_are_measured_and_told_apart),
        cmocka_unit_test(local_faults_measure_nothing),
        cmocka_unit_test(ratio_looks_at_the_last_polls),
        cmocka_unit_test(bad_query_does_not_blind_the_others),
        cmocka_unit_test(server_that_is_no_prometheus_fails_the_poll),
        cmocka_unit_test(redundant_server_takes_over_and_is_kept),
    };
    return cmocka_run_group_tests(tests, server_start, server_stop);
}
