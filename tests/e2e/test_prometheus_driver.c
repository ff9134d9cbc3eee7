/* The prometheus source against a real, private Prometheus that scrapes an exporter in this test: what it reports is
 * compared with what the exporter says, also when a series ends, is old, or is no number. */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "source_kit.h"

extern const struct as_source_driver as_source_prometheus;

#define PASSWORD_HASH "$2b$04$abcdefghijklmnopqrstuuo946xMaCRH8XEKs0l1GdT1VxTuKOyia" /* of SECRET */

struct prom {
    char dir[100];
    int port;
    pid_t pid;
    bool tls;
};

static struct prom plain, secure;

/* --- the exporter ----------------------------------------------------------------------------- */

static struct {
    int fd, port;
    pthread_t thread;
    atomic_bool gone; /* the series `passing` is no longer exposed */
} exporter;

static void expose(int fd)
{
    char text[1000];
    long long then = ((long long)time(NULL) - 60) / 20 * 20000; /* 60 to 80 s ago, new every 20 s */
    snprintf(text, sizeof text,
             "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n\r\n"
             "demand{shop=\"a\"} 3\ndemand{shop=\"b\"} 4.5\nodd NaN\nendless +Inf\nold 5 %lld\n%s",
             then, exporter.gone ? "" : "passing 8\n");
    send(fd, text, strlen(text), MSG_NOSIGNAL);
}

static void *exporter_run(void *arg)
{
    char request[2048];
    int fd;
    (void)arg;
    while ((fd = accept(exporter.fd, NULL, NULL)) >= 0) {
        if (recv(fd, request, sizeof request, 0) > 0)
            expose(fd);
        close(fd);
    }
    return NULL;
}

static bool exporter_start(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;
    exporter.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(exporter.fd, (struct sockaddr *)&at, len) != 0 || listen(exporter.fd, 16) != 0 ||
        getsockname(exporter.fd, (struct sockaddr *)&at, &len) != 0)
        return false;
    exporter.port = ntohs(at.sin_port);
    return pthread_create(&exporter.thread, NULL, exporter_run, NULL) == 0;
}

/* --- the servers ------------------------------------------------------------------------------ */

static void run_command(const char *const argv[])
{
    char log[128];
    int status = -1;
    snprintf(log, sizeof log, "%s/commands.log", root);
    pid_t pid = start_command(NULL, log, argv);
    if (waitpid(pid, &status, 0) != pid || status != 0)
        fail_msg("%s failed: %s", argv[0], end_of(log));
}

static void file_in(const struct prom *p, const char *name, char out[160])
{
    snprintf(out, 160, "%s/%s", p->dir, name);
}

static void prom_spawn(struct prom *p)
{
    char conf[160], log[160], data[200], web[200], listen_at[80];
    file_in(p, "prometheus.yml", conf);
    file_in(p, "server.log", log);
    snprintf(data, sizeof data, "--storage.tsdb.path=%s/data", p->dir);
    snprintf(web, sizeof web, "--web.config.file=%s/web.yml", p->dir);
    snprintf(listen_at, sizeof listen_at, "--web.listen-address=127.0.0.1:%d", p->port);
    char flag[200];
    snprintf(flag, sizeof flag, "--config.file=%s", conf);
    const char *const argv[] = { "prometheus",        flag, data, listen_at, "--log.level=warn",
                                 p->tls ? web : NULL, NULL };
    p->pid = start_command("prometheus", log, argv);
}

static void make_certificate(const struct prom *p)
{
    char key[160], cert[160];
    file_in(p, "key.pem", key);
    file_in(p, "cert.pem", cert);
    const char *const argv[] = { "openssl",
                                 "req",
                                 "-x509",
                                 "-newkey",
                                 "ec",
                                 "-pkeyopt",
                                 "ec_paramgen_curve:P-256",
                                 "-nodes",
                                 "-days",
                                 "2",
                                 "-subj",
                                 "/CN=autoscale test",
                                 "-addext",
                                 "subjectAltName=IP:127.0.0.1",
                                 "-keyout",
                                 key,
                                 "-out",
                                 cert,
                                 NULL };
    run_command(argv);
    assert_int_equal(chmod(key, 0644), 0); /* the server is another user, and it is a test */
    assert_int_equal(chmod(cert, 0644), 0);
}

static void prom_make(struct prom *p, const char *name, bool tls)
{
    char path[160], text[600];
    *p = (struct prom){ .port = free_port(), .tls = tls };
    snprintf(p->dir, sizeof p->dir, "%s/%s", root, name);
    place_make(p->dir, "prometheus");
    assert_int_equal(chmod(p->dir, 0755), 0);
    file_in(p, "prometheus.yml", path);
    snprintf(text, sizeof text,
             "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n- job_name: shop\n"
             "  static_configs:\n  - targets: ['127.0.0.1:%d']\n",
             exporter.port);
    write_file(path, text, 0644);
    if (tls) {
        make_certificate(p);
        file_in(p, "web.yml", path);
        write_file(path,
                   "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\nbasic_auth_users:\n"
                   "  mon: " PASSWORD_HASH "\n",
                   0644);
    }
    prom_spawn(p);
}

/* --- the source ------------------------------------------------------------------------------- */

static void open_queries(struct probe *p, const char *queries, const char *more)
{
    char text[1500];
    snprintf(text, sizeof text, "url = \"http://127.0.0.1:%d/\"; queries = { %s }; %s", plain.port, queries,
             more);
    probe_open(p, &as_source_prometheus, text);
}

/* Until the first scrape has been stored. */
static void wait_ready(void)
{
    struct probe p;
    open_queries(&p, "n = \"demand\";", "");
    wait_value(&p, "n", 7.5);
    probe_close(&p);
}

static bool text_comes(void *arg)
{
    const struct expected *e = arg;
    return probe_poll(e->p) == AS_OK && strstr(e->p->err.msg, e->series) != NULL;
}

static void wait_text(struct probe *p, const char *text)
{
    if (!wait_until(text_comes, &(struct expected){ .p = p, .series = text }))
        fail_msg("no '%s', but '%s'", text, p->err.msg);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void results_are_reduced_as_asked(void **state)
{
    (void)state;
    struct probe p;
    open_queries(
        &p,
        "all = \"demand\"; most = \"demand\"; least = \"demand\"; mean = \"demand\"; n = \"demand\"; one = "
        "\"demand{shop=\\\"a\\\"}\"; scalar = \"scalar(sum(demand)) * 2\"; real_zero = \"demand * 0\";",
        "reduces = { most = \"max\"; least = \"min\"; mean = \"avg\"; n = \"count\"; };");
    wait_value(&p, "all", 7.5); /* a scrape that came too late has no value */
    assert_string_equal(p.err.msg, "");
    assert_value(&p, "most", 4.5);
    assert_value(&p, "least", 3);
    assert_value(&p, "mean", 3.75);
    assert_value(&p, "n", 2);
    assert_value(&p, "one", 3);
    assert_value(&p, "scalar", 15);
    assert_value(&p, "real_zero", 0);
    assert_value(&p, "queries_failed", 0);
    assert_value(&p, "servers_failed", 0);
    probe_close(&p);
}

static void what_is_no_number_is_missing_and_named(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "no_such_metric", "query 'q': it gives no data" },
        { "count(no_such_metric)", "query 'q': it gives no data" },
        { "odd", "query 'q': its value is not a finite number" },
        { "endless", "query 'q': its value is not a finite number" },
        { "sum(demand", "query 'q': the server refuses it: invalid parameter" },
        { "demand[1m]", "query 'q': it gives a range" },
        { "demand / on() demand", "query 'q': the server refuses it: found duplicate series" },
    };
    struct probe p;
    char queries[200];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(queries, sizeof queries, "q = \"%s\"; good = \"demand\";", cases[i][0]);
        open_queries(&p, queries, "");
        wait_value(&p, "good", 7.5);
        assert_value(&p, "q", NAN);
        assert_value(&p, "queries_failed", 1);
        assert_text(p.err.msg, cases[i][1]);
        probe_close(&p);
    }
}

static void window_is_evaluated_in_steps(void **state)
{
    (void)state;
    struct probe p;
    open_queries(&p, "clock = \"time()\"; n = \"demand\"; bad = \"sum(demand\"; gone = \"no_such_metric\";",
                 "window = \"10s\"; step = \"1s\";");
    wait_value(&p, "n", 7.5); /* steps before there was data do not count as zero */
    double now = (double)as_clock_wall() / 1000, before = now - (double)p.took / 1000;
    double clock = value(&p, "clock"); /* the mean of the last ten seconds */
    assert_true(clock > before - 9.9 && clock < now - 0.1);
    assert_value(&p, "bad", NAN);
    assert_value(&p, "gone", NAN);
    assert_text(p.err.msg, "query 'bad': the server refuses it");
    probe_close(&p);
    open_queries(&p, "clock = \"time()\";", "window = \"1h\"; step = \"10s\"; over = \"max\";");
    probe_ok(&p);
    now = (double)as_clock_wall() / 1000, before = now - (double)p.took / 1000;
    assert_true(value(&p, "clock") > before - 11 && value(&p, "clock") < now + 1);
    probe_close(&p);
}

static void series_that_ends_becomes_missing(void **state)
{
    (void)state;
    struct probe now, window;
    open_queries(&now, "q = \"passing\";", "");
    open_queries(&window, "q = \"passing\";", "window = \"2m\"; step = \"1s\";");
    wait_value(&now, "q", 8);
    wait_value(&window, "q", 8);
    exporter.gone = true;
    wait_text(&now, "it gives no data");
    assert_value(&now, "q", NAN);
    wait_text(&window, "its data ended within the window");
    assert_value(&window, "q", NAN);
    exporter.gone = false;
    wait_value(&now, "q", 8);
    wait_value(&window, "q", 8);
    probe_close(&now);
    probe_close(&window);
}

static void old_samples_are_kept_out_by_the_documented_expression(void **state)
{
    (void)state;
    struct probe p;
    open_queries(&p, "q = \"old\";", "");
    wait_value(&p, "q", 5); /* 60 to 80 s old, and the server's own limit is 5m */
    probe_close(&p);
    open_queries(
        &p,
        "q = \"old and time() - timestamp(old) < 30\"; n = \"demand and time() - timestamp(demand) < "
        "30\";",
        "");
    wait_value(&p, "n", 7.5);
    assert_value(&p, "q", NAN);
    assert_text(p.err.msg, "it gives no data");
    probe_close(&p);
}

static void hung_server_costs_its_deadline_and_recovers(void **state)
{
    (void)state;
    struct probe p;
    open_queries(&p, "q = \"demand\";", "");
    probe_ok(&p);
    hang_process(plain.pid);
    assert_int_equal(probe_poll_within(&p, 500), AS_EAGAIN);
    assert_true(p.took >= 400 && p.took < TIMEOUT);
    assert_int_equal(kill(plain.pid, SIGCONT), 0);
    wait_value(&p, "q", 7.5);
    stop_process(&plain.pid, SIGKILL);
    assert_int_equal(probe_poll(&p), AS_EAGAIN);
    assert_text(p.err.msg, "cannot reach");
    prom_spawn(&plain);
    wait_value(&p, "q", 7.5);
    probe_close(&p);
}

static void open_secure(struct probe *p, const char *password, bool ca)
{
    char text[700], authority[200] = "";
    if (ca)
        snprintf(authority, sizeof authority, "tls_ca = \"%s/cert.pem\";", secure.dir);
    snprintf(text, sizeof text,
             "url = \"https://127.0.0.1:%d\"; queries = { q = \"demand\"; }; user = \"mon\"; password_file = "
             "\"%s\"; %s",
             secure.port, password, authority);
    probe_open(p, &as_source_prometheus, text);
}

static void tls_and_basic_authentication_are_checked(void **state)
{
    (void)state;
    struct probe p;
    open_secure(&p, secret_file, true);
    wait_value(&p, "q", 7.5);
    probe_close(&p);
    open_secure(&p, wrong_file, true);
    assert_int_equal(probe_poll(&p), AS_EAUTH);
    assert_text(p.err.msg, "refuses us (HTTP 401)");
    probe_close(&p);
    open_secure(&p, secret_file, false); /* an authority nobody knows */
    assert_int_equal(probe_poll(&p), AS_EAUTH);
    assert_text(p.err.msg, "certificate");
    probe_close(&p);
}

static void one_of_two_servers_is_enough(void **state)
{
    (void)state;
    struct probe p;
    char text[400];
    snprintf(text, sizeof text,
             "url = [ \"http://127.0.0.1:%d\", \"http://127.0.0.1:%d\" ]; queries = { q = \"demand\"; };",
             free_port(), plain.port);
    probe_open(&p, &as_source_prometheus, text);
    probe_ok(&p);
    assert_value(&p, "q", 7.5); /* and not 15: they are the same numbers */
    assert_value(&p, "servers_failed", 1);
    probe_close(&p);
}

/* --- all -------------------------------------------------------------------------------------- */

static int set_up(void **state)
{
    (void)state;
    if (!root_make("prometheus") || !exporter_start())
        return -1;
    prom_make(&plain, "plain", false);
    prom_make(&secure, "secure", true);
    wait_ready();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    stop_process(&plain.pid, SIGKILL);
    stop_process(&secure.pid, SIGKILL);
    shutdown(exporter.fd, SHUT_RDWR);
    pthread_join(exporter.thread, NULL);
    close(exporter.fd);
    root_remove();
    return 0;
}

int main(void)
{
    if (access("/usr/bin/prometheus", X_OK) != 0) {
        fprintf(stderr, "prometheus is not installed: apt-get install prometheus\n");
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_reduced_as_asked),
        cmocka_unit_test(what_is_no_number_is_missing_and_named),
        cmocka_unit_test(window_is_evaluated_in_steps),
        cmocka_unit_test(series_that_ends_becomes_missing),
        cmocka_unit_test(old_samples_are_kept_out_by_the_documented_expression),
        cmocka_unit_test(one_of_two_servers_is_enough),
        cmocka_unit_test(hung_server_costs_its_deadline_and_recovers),
        cmocka_unit_test(tls_and_basic_authentication_are_checked),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
