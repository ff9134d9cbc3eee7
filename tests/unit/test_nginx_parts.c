/* What is read for nginx, offline: the include file of the balancer, the stub_status page, log formats and
 * lines, quantiles, following a log over rotations, and what the options refuse. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../drivers/balancer/nginx_file.h"
#include "../../drivers/source/nginx_stats.h"
#include "../../drivers/wire/nginx_page.h"

extern const struct as_balancer_driver as_balancer_nginx;
extern const struct as_source_driver as_source_nginx;

/* --- the include file ---------------------------------------------------------------------------------- */

static const struct nginx_style style = { .mark = "shop/web",
                                          .upstream = "web-1",
                                          .method = "least_conn;",
                                          .params = " max_conns=9",
                                          .zone_kib = 64,
                                          .keepalive = 8 };

static void add(struct nginx_pool *p, const char *id, const char *address, bool down)
{
    struct nginx_server *s = nginx_pool_add(p);
    assert_non_null(s);
    snprintf(s->id, sizeof s->id, "%s", id);
    snprintf(s->address, sizeof s->address, "%s", address);
    s->port = 8080;
    s->weight = 100;
    s->down = down;
    s->since = 7;
    s->at = 123450;
}

static char *example(void)
{
    struct nginx_pool p = { .generation = 9, .boot = "boot-1" };
    add(&p, "web-00000001", "10.0.0.1", false);
    add(&p, "web-00000002", "2001:db8::1", true);
    char *text = nginx_file_render(&p, &style);
    assert_non_null(text);
    nginx_pool_fini(&p);
    return text;
}

static void the_file_is_what_nginx_expects(void **state)
{
    (void)state;
    char *text = example();
    assert_string_equal(
        text, "# written by autoscale: shop/web; do not edit\n"
              "# generation 9 boot boot-1\n"
              "map $nginx_version $autoscale_web_1 { default \"web-1 9\"; }\n"
              "upstream web-1 {\n"
              "    zone web-1 64k;\n"
              "    least_conn;\n"
              "    server 10.0.0.1:8080 weight=100 max_conns=9; # web-00000001 since 7 at 123450\n"
              "    server [2001:db8::1]:8080 weight=100 max_conns=9 down; # web-00000002 since 7 at 123450\n"
              "    keepalive 8;\n"
              "}\n");
    free(text);
}

static void what_was_written_is_read_back(void **state)
{
    (void)state;
    struct nginx_pool p = { 0 };
    char *text = example();
    assert_int_equal(nginx_file_parse(text, strlen(text), "shop/web", &p, NULL), AS_OK);
    assert_int_equal(p.generation, 9);
    assert_string_equal(p.boot, "boot-1");
    assert_int_equal(p.count, 2);
    struct nginx_server *s = nginx_pool_find(&p, "web-00000002");
    assert_non_null(s);
    assert_string_equal(s->address, "2001:db8::1");
    assert_int_equal(s->port, 8080);
    assert_int_equal(s->since, 7);
    assert_int_equal(s->at, 123450);
    assert_true(s->down);
    assert_false(p.items[0].down);
    char *again = nginx_file_render(&p, &style);
    assert_string_equal(again, text);
    free(again);
    nginx_pool_drop(&p, &p.items[0]);
    nginx_pool_drop(&p, &p.items[0]);
    char *empty = nginx_file_render(&p, &style);
    assert_non_null(strstr(empty, "server 127.0.0.1:1 down;"));
    nginx_pool_fini(&p);
    assert_int_equal(nginx_file_parse(empty, strlen(empty), "shop/web", &p, NULL), AS_OK);
    assert_int_equal(p.count, 0);
    free(empty);
    free(text);
    nginx_pool_fini(&p);
}

static void blanks_are_an_empty_pool(void **state)
{
    (void)state;
    struct nginx_pool p = { .generation = 5 };
    assert_int_equal(nginx_file_parse(" \n\n", 3, "shop/web", &p, NULL), AS_OK);
    assert_int_equal(p.generation, 0);
}

static void refused(const char *text, const char *mark)
{
    struct nginx_pool p = { 0 };
    struct as_error err;
    if (nginx_file_parse(text, strlen(text), mark, &p, &err) != AS_EEXIST)
        fail_msg("taken: %s", text);
    assert_null(p.items);
}

/* `example` with the first occurrence of a text replaced. */
static void refused_with(const char *old, const char *new)
{
    char *text = example(), *at = strstr(text, old), changed[4096];
    assert_non_null(at);
    snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, new, at + strlen(old));
    refused(changed, "shop/web");
    free(text);
}

static void foreign_and_edited_files_are_refused(void **state)
{
    (void)state;
    char *text = example();
    refused(text, "shop/app");
    refused(text, "shop/we");
    free(text);
    refused("upstream web { server 10.0.0.1; }\n", "shop/web");
    refused("x", "shop/web");
    refused_with("do not edit\n", "do not edit \n");
    refused_with("    least_conn;\n", "    least_conn;\n    server 10.9.9.9:80;\n");
    refused_with("# generation 9", "# generation 0");
    refused_with("# generation 9", "# generation 99999999999999999999999");
    refused_with("since 7", "since 10");
    refused_with("web-00000002", "web-00000001");
    refused_with("10.0.0.1:8080", "shop.example:8080");
    refused_with("10.0.0.1:8080", "10.0.0.1:0");
    refused_with("10.0.0.1:8080", "10.0.0.1:65536");
    refused_with("[2001:db8::1]", "2001:db8::1");
    refused_with("weight=100", "weight=0");
    refused_with(" max_conns=9", " max_conns=9 backup");
    refused_with("}\n", "}\nserver {\n");
    refused_with("    keepalive 8;\n}\n", "    keepalive 8;\n");
    refused_with("    keepalive 8;\n}\n", "    keepalive 8;\n}");
}

/* --- stub_status --------------------------------------------------------------------------------------- */

static const char page[] = "Active connections: 12 \n"
                           "server accepts handled requests\n"
                           " 160 158 1000 \n"
                           "Reading: 1 Writing: 4 Waiting: 7 \n";

static double value(const struct as_samples *s, const char *series)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->items[i].series, series) == 0)
            return s->items[i].value;
    return NAN;
}

static void the_status_page_gives_load_without_the_poll_itself(void **state)
{
    (void)state;
    struct nginx_status st;
    struct nginx_stats stats = { .own = 1 };
    struct as_samples out = { 0 };
    assert_true(nginx_status_parse(page, strlen(page), &st));
    assert_int_equal(nginx_status_add(&stats, &st, 1000, &out, NULL), AS_OK);
    assert_float_equal(value(&out, "active"), 4, 0);
    assert_float_equal(value(&out, "waiting"), 7, 0);
    assert_true(isnan(value(&out, "request_rate")));
    as_samples_fini(&out);
    st.requests += 21;
    st.accepts += 6;
    stats.own = 1;
    assert_int_equal(nginx_status_add(&stats, &st, 3000, &out, NULL), AS_OK);
    assert_float_equal(value(&out, "request_rate"), 10, 0.001);
    assert_float_equal(value(&out, "dropped_per_second"), 3, 0.001);
    as_samples_fini(&out);
    st.requests = 5; /* nginx was restarted */
    assert_int_equal(nginx_status_add(&stats, &st, 4000, &out, NULL), AS_OK);
    assert_true(isnan(value(&out, "request_rate")));
    as_samples_fini(&out);
}

static void other_pages_are_no_status(void **state)
{
    (void)state;
    struct nginx_status st;
    assert_false(nginx_status_parse("", 0, &st));
    for (size_t n = 0; n < strlen(page); n++)
        assert_false(nginx_status_parse(page, n, &st));
    assert_false(nginx_status_parse("<html>ok</html>", 15, &st));
    char more[sizeof page + 1];
    snprintf(more, sizeof more, "%sx", page);
    assert_false(nginx_status_parse(more, strlen(more), &st));
    char *minus = strdup(page);
    *strstr(minus, "160") = '-';
    assert_false(nginx_status_parse(minus, strlen(minus), &st));
    free(minus);
}

/* --- log lines ----------------------------------------------------------------------------------------- */

#define TIMED                                                                                                \
    "$remote_addr [$time_local] \"$request\" $status $request_time $upstream_response_time "                 \
    "\"$http_user_agent\""

static bool read_line(const char *format, const char *line, struct nginx_line *out)
{
    struct nginx_format f;
    assert_int_equal(nginx_format_init(&f, format, NULL), AS_OK);
    return nginx_format_read(&f, line, strlen(line), out);
}

static void lines_are_read_by_the_format_of_nginx(void **state)
{
    (void)state;
    struct nginx_line l;
    assert_true(read_line(
        TIMED, "::1 [23/Nov/2026:09:00:00 +0000] \"GET /a b HTTP/1.1\" 200 0.125 0.100 \"x 500 y\"", &l));
    assert_int_equal(l.status, 200);
    assert_float_equal(l.request_ms, 125, 0.001);
    assert_float_equal(l.upstream_ms, 100, 0.001);
    assert_true(read_line(TIMED, "::1 [t] \"-\" 504 1.500 0.500, 0.250 : - \"\"", &l));
    assert_float_equal(l.upstream_ms, 750, 0.001);
    assert_true(read_line(TIMED, "::1 [t] \"GET /\" 304 0.000 - \"a\"", &l));
    assert_true(l.upstream_ms < 0);
    assert_true(read_line("{\"s\":${status},\"t\":\"$request_time\"}", "{\"s\":404,\"t\":\"2.000\"}", &l));
    assert_int_equal(l.status, 404);
    assert_float_equal(l.request_ms, 2000, 0.001);
}

static void lines_that_do_not_fit_are_told(void **state)
{
    (void)state;
    struct nginx_line l;
    static const char *const bad[] = { "",
                                       "garbage",
                                       "::1 [t] \"GET /\" 200 0.1 0.1",
                                       "::1 [t] \"GET /\" 20 0.1 0.1 \"\"",
                                       "::1 [t] \"GET /\" 2000 0.1 0.1 \"\"",
                                       "::1 [t] \"GET /\" 200 -1 0.1 \"\"",
                                       "::1 [t] \"GET /\" 200 0.1 0.1,0.2 \"\"",
                                       "::1 [t] \"GET /\" 200 0.1 0.1 \"\" x",
                                       "::1 [t] \"GET /\" 200 99999999 0.1 \"\"" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (read_line(TIMED, bad[i], &l))
            fail_msg("taken: %s", bad[i]);
}

static void formats_that_cannot_be_read_are_refused(void **state)
{
    (void)state;
    struct nginx_format f;
    static const char *const bad[] = { "",
                                       "plain",
                                       "$remote_addr $request",
                                       "$status$request_time",
                                       "$ $status",
                                       "$status ${request_time",
                                       "$status $status",
                                       "$status\n" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (nginx_format_init(&f, bad[i], NULL) != AS_EINVAL)
            fail_msg("taken: %s", bad[i]);
}

static void quantiles_are_within_three_percent(void **state)
{
    (void)state;
    struct nginx_times *t = calloc(1, sizeof *t);
    nginx_times_add(t, 7);
    assert_float_equal(nginx_times_quantile(t, 0.5), 7, 0);
    assert_float_equal(nginx_times_quantile(t, 0.99), 7, 0);
    memset(t, 0, sizeof *t);
    for (int i = 1; i <= 1000; i++)
        nginx_times_add(t, i);
    assert_float_equal(nginx_times_quantile(t, 0.5), 500, 15);
    assert_float_equal(nginx_times_quantile(t, 0.95), 950, 29);
    assert_float_equal(nginx_times_quantile(t, 0.99), 990, 30);
    nginx_times_add(t, 86400000);
    assert_float_equal(nginx_times_quantile(t, 0.9999), 86400000, 2600000);
    free(t);
}

static void an_interval_without_requests_has_rates_but_no_times(void **state)
{
    (void)state;
    struct nginx_format f;
    struct nginx_tally *t = calloc(1, sizeof *t);
    struct as_samples out = { 0 };
    assert_int_equal(nginx_format_init(&f, TIMED, NULL), AS_OK);
    assert_int_equal(nginx_tally_samples(t, &f, 2000, &out, NULL), AS_OK);
    assert_float_equal(value(&out, "rate_2xx"), 0, 0);
    assert_true(isnan(value(&out, "request_time_p50_ms")));
    as_samples_fini(&out);
    nginx_tally_add(t, &f, "no such line", 12); /* only garbage: unknown, not zero */
    assert_int_equal(nginx_tally_samples(t, &f, 2000, &out, NULL), AS_OK);
    assert_float_equal(value(&out, "log_bad_lines"), 1, 0);
    assert_true(isnan(value(&out, "rate_2xx")));
    as_samples_fini(&out);
    const char *line = "::1 [t] \"GET /\" 503 0.010 0.005 \"\"";
    nginx_tally_add(t, &f, line, strlen(line));
    assert_int_equal(nginx_tally_samples(t, &f, 2000, &out, NULL), AS_OK);
    assert_float_equal(value(&out, "error_rate"), 0.5, 0.001);
    assert_float_equal(value(&out, "request_time_p99_ms"), 10, 0);
    assert_float_equal(value(&out, "upstream_time_p95_ms"), 5, 0);
    as_samples_fini(&out);
    free(t);
}

/* --- following ----------------------------------------------------------------------------------------- */

static void append(const char *path, const char *text)
{
    FILE *f = fopen(path, "a");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static struct nginx_tally *read_log(struct nginx_follow *f, const struct nginx_format *format)
{
    static struct nginx_tally tally;
    off_t skipped = 0;
    tally = (struct nginx_tally){ 0 };
    assert_int_equal(nginx_follow_read(f, format, as_clock_monotonic() + 5000, &tally, &skipped, NULL),
                     AS_OK);
    assert_int_equal(skipped, 0);
    return &tally;
}

static void a_log_is_followed_over_rotation_and_truncation(void **state)
{
    (void)state;
    char dir[] = "/tmp/as-nginx-log.XXXXXX", path[64], moved[64];
    struct nginx_format format;
    static struct nginx_follow f = { .fd = -1, .old = -1 };
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/log", dir);
    snprintf(moved, sizeof moved, "%s/log.1", dir);
    assert_int_equal(nginx_format_init(&format, "$status", NULL), AS_OK);
    f.path = path;
    assert_int_equal(nginx_follow_open(&f, NULL), AS_EIO);
    append(path, "200\n200\n20");
    assert_int_equal(nginx_follow_open(&f, NULL), AS_OK);
    append(path, "0\n404\n50"); /* the line that was begun before is not ours */
    assert_int_equal(read_log(&f, &format)->lines, 1);
    append(path, "3\n");
    assert_int_equal(read_log(&f, &format)->classes[5], 1);
    append(path, "200\n");
    assert_int_equal(rename(path, moved), 0);
    append(moved, "200\n");
    assert_int_equal(read_log(&f, &format)->lines, 2);
    append(moved, "200\n");
    append(path, "301\n302\n");
    struct nginx_tally *t = read_log(&f, &format);
    assert_int_equal(t->classes[2], 1);
    assert_int_equal(t->classes[3], 2);
    append(moved, "200\n"); /* a worker that reopened late */
    append(path, "500\n");
    t = read_log(&f, &format);
    assert_int_equal(t->classes[2], 1);
    assert_int_equal(t->classes[5], 1);
    assert_int_equal(truncate(path, 0), 0);
    append(path, "204\n");
    assert_int_equal(read_log(&f, &format)->lines, 1);
    assert_int_equal(read_log(&f, &format)->lines, 0);
    nginx_follow_close(&f);
    unlink(path);
    unlink(moved);
    rmdir(dir);
}

static void an_endless_line_is_one_bad_line(void **state)
{
    (void)state;
    char path[] = "/tmp/as-nginx-line.XXXXXX";
    struct nginx_format format;
    static struct nginx_follow f = { .fd = -1, .old = -1 };
    close(mkstemp(path));
    assert_int_equal(nginx_format_init(&format, "$status", NULL), AS_OK);
    f.path = path;
    assert_int_equal(nginx_follow_open(&f, NULL), AS_OK);
    FILE *out = fopen(path, "a");
    for (int i = 0; i < 3 * NGINX_LINE_MAX; i++)
        fputc('x', out);
    fputs("\n200\n", out);
    fclose(out);
    struct nginx_tally *t = read_log(&f, &format);
    assert_int_equal(t->bad, 1);
    assert_int_equal(t->lines, 1);
    nginx_follow_close(&f);
    unlink(path);
}

/* --- options ------------------------------------------------------------------------------------------- */

static int open_balancer(const char *text, struct as_error *err)
{
    const struct as_owner owner = { "shop", "web" };
    struct as_settings *s = NULL;
    void *self = calloc(1, as_balancer_nginx.state_size);
    if (as_settings_parse(as_balancer_nginx.options, text, &s, err) != AS_OK)
        fail_msg("%s: %s", text, err->msg);
    int rc = as_balancer_nginx.open(self, s, &owner, "local", err);
    as_balancer_nginx.close(self);
    free(self);
    as_settings_free(s);
    return rc;
}

static void balancer_options_are_checked_offline(void **state)
{
    (void)state;
    struct as_error err;
#define BASE "include = \"/x/web.conf\"; upstream = \"web\";"
    static const char *const bad[] = {
        "include = \"web.conf\"; upstream = \"web\";",
        "include = \"/x/\"; upstream = \"web\";",
        "include = \"/x/web.conf\"; upstream = \"web; }\";",
        "include = \"/x/web.conf\"; upstream = \"a-name-that-nginx-has-no-room-for-in-its-hash\";",
        BASE "algorithm = \"hash\";",
        BASE "hash_key = \"$uri\";",
        BASE "algorithm = \"hash\"; hash_key = \"uri\";",
        BASE "algorithm = \"hash\"; hash_key = \"$uri; evil\";",
        BASE "fail_timeout = \"1500ms\";",
        BASE "marker = \"ftp://x/\";",
        BASE "marker = \"http://user@x/\";",
        BASE "marker = \"unix:relative\";",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (open_balancer(bad[i], &err) != AS_EINVAL)
            fail_msg("taken: %s", bad[i]);
    assert_int_equal(open_balancer(BASE, &err), AS_OK);
    assert_int_equal(open_balancer(BASE
                                   "algorithm = \"hash\"; hash_key = \"${cookie_sid}$uri\"; max_conns = 5;"
                                   "fail_timeout = \"5s\"; marker = \"unix:/run/m.sock:/gen\";",
                                   &err),
                     AS_OK);
}

/* Admits a member where a script (NULL: none) stands in for `nginx -t`; *written: the include file is there. */
static int admit_tested_by(const char *script, as_time patience, bool *written, struct as_error *err)
{
    char dir[] = "/tmp/as-nginx-unit-XXXXXX", text[512], program[64], include[64];
    const struct as_owner owner = { "shop", "web" };
    const struct as_member m = { .id = "web-1", .address = "127.0.0.1", .port = 80 };
    struct as_settings *s = NULL;
    void *self = calloc(1, as_balancer_nginx.state_size);
    assert_non_null(mkdtemp(dir));
    snprintf(program, sizeof program, "%s/nginx", dir);
    snprintf(include, sizeof include, "%s/web.conf", dir);
    FILE *f = script ? fopen(program, "we") : NULL;
    if (f) {
        fprintf(f, "#!/bin/sh\n%s\n", script);
        fclose(f);
        chmod(program, 0700);
    }
    snprintf(text, sizeof text,
             "include = \"%s\"; upstream = \"web\"; nginx = \"%s\"; pid_file = \"%s/pid\";", include, program,
             dir);
    assert_int_equal(as_settings_parse(as_balancer_nginx.options, text, &s, err), AS_OK);
    assert_int_equal(as_balancer_nginx.open(self, s, &owner, "local", err), AS_OK);
    int rc = as_balancer_nginx.admit(self, as_clock_monotonic() + patience, &m, err);
    *written = access(include, F_OK) == 0;
    as_balancer_nginx.close(self);
    as_settings_free(s);
    free(self);
    unlink(include);
    unlink(program);
    assert_int_equal(rmdir(dir), 0); /* and nothing else is left there */
    return rc;
}

static void a_file_stays_only_when_nginx_takes_it(void **state)
{
    (void)state;
    struct as_error err;
    bool written;
    assert_int_equal(
        admit_tested_by("[ \"$*\" = '-t -q -c /etc/nginx/nginx.conf' ]", AS_MINUTE, &written, &err),
        AS_EAGAIN);
    assert_non_null(strstr(err.msg, "is written, but nginx is not running"));
    assert_true(written);
    assert_int_equal(admit_tested_by("seq 400 >&2; echo 'nginx: [emerg] bad \"x\" in f:3' >&2; exit 1",
                                     AS_MINUTE, &written, &err),
                     AS_EINVAL);
    assert_string_equal(err.msg, "nginx refuses its configuration: bad \"x\" in f:3");
    assert_false(written);
    assert_int_equal(admit_tested_by(NULL, AS_MINUTE, &written, &err), AS_EINVAL);
    assert_non_null(strstr(err.msg, "cannot run"));
    assert_false(written);
    assert_int_equal(admit_tested_by("exit 1", AS_MINUTE, &written, &err), AS_EAGAIN);
    assert_false(written);
}

static void a_test_of_nginx_that_hangs_costs_no_more_than_the_deadline(void **state)
{
    (void)state;
    struct as_error err;
    bool written;
    as_time began = as_clock_monotonic();
    /* what it has started holds its standard error open */
    assert_int_equal(
        admit_tested_by("trap '' TERM; sleep 1000 & sleep 1000; sleep 1000", 1000, &written, &err),
        AS_EAGAIN);
    assert_true(as_clock_monotonic() - began < AS_MINUTE);
    assert_non_null(strstr(err.msg, "did not end in time"));
    assert_false(written);
}

static void a_log_belongs_to_one_address(void **state)
{
    (void)state;
    struct as_error err;
    struct as_settings *s = NULL;
    void *self = calloc(1, as_source_nginx.state_size);
    const char *text = "address = [ \"http://a/s\", \"http://b/s\" ]; log = \"/x/log\";";
    assert_int_equal(as_settings_parse(as_source_nginx.options, text, &s, &err), AS_OK);
    assert_int_equal(as_source_nginx.open(self, s, "http://a/s", &err), AS_EINVAL);
    as_source_nginx.close(self);
    as_settings_free(s);
    free(self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_file_is_what_nginx_expects),
        cmocka_unit_test(what_was_written_is_read_back),
        cmocka_unit_test(blanks_are_an_empty_pool),
        cmocka_unit_test(foreign_and_edited_files_are_refused),
        cmocka_unit_test(the_status_page_gives_load_without_the_poll_itself),
        cmocka_unit_test(other_pages_are_no_status),
        cmocka_unit_test(lines_are_read_by_the_format_of_nginx),
        cmocka_unit_test(lines_that_do_not_fit_are_told),
        cmocka_unit_test(formats_that_cannot_be_read_are_refused),
        cmocka_unit_test(quantiles_are_within_three_percent),
        cmocka_unit_test(an_interval_without_requests_has_rates_but_no_times),
        cmocka_unit_test(a_log_is_followed_over_rotation_and_truncation),
        cmocka_unit_test(an_endless_line_is_one_bad_line),
        cmocka_unit_test(balancer_options_are_checked_offline),
        cmocka_unit_test(a_file_stays_only_when_nginx_takes_it),
        cmocka_unit_test(a_test_of_nginx_that_hangs_costs_no_more_than_the_deadline),
        cmocka_unit_test(a_log_belongs_to_one_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
