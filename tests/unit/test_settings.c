/* Settings: what people write in a block, and what the program makes of it. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../controller/config/settings_internal.h"
#include "../../controller/config/units.h"

static const char *const colours[] = { "red", "green", "blue", NULL };

static const struct as_option inner[] = {
    { .name = "above", .type = AS_OPT_NUMBER, .help = "from here" },
    { .name = "change", .type = AS_OPT_STRING, .flags = AS_OPT_REQUIRED, .help = "what to do" },
    { 0 },
};

static const struct as_option table[] = {
    { .name = "text", .type = AS_OPT_STRING, .def = "none", .help = "any text" },
    { .name = "file", .type = AS_OPT_FILE, .help = "a file" },
    { .name = "password_file", .type = AS_OPT_SECRET, .help = "a secret" },
    { .name = "flag", .type = AS_OPT_BOOL, .def = "true", .help = "yes or no" },
    { .name = "count", .type = AS_OPT_INT, .def = "4", .min = 1, .max = 100, .help = "how many" },
    { .name = "at_least", .type = AS_OPT_INT, .min = 5, .help = "no upper bound" },
    { .name = "number", .type = AS_OPT_NUMBER, .help = "a number" },
    { .name = "interval",
      .type = AS_OPT_DURATION,
      .def = "30s",
      .min = 100,
      .max = 3600000,
      .help = "a time" },
    { .name = "memory", .type = AS_OPT_BYTES, .min = 1048576, .max = 1099511627776.0, .help = "a size" },
    { .name = "share", .type = AS_OPT_PERCENT, .def = "80%", .max = 1, .help = "a share" },
    { .name = "colour", .type = AS_OPT_CHOICE, .choices = colours, .def = "red", .help = "a colour" },
    { .name = "hosts", .type = AS_OPT_STRINGS, .def = "unix:///run/x.sock", .help = "hosts" },
    { .name = "env", .type = AS_OPT_MAP, .help = "environment" },
    { .name = "metric", .type = AS_OPT_METRIC, .help = "a metric" },
    { .name = "tls", .type = AS_OPT_GROUP, .sub = inner, .help = "a block" },
    { .name = "steps", .type = AS_OPT_LIST, .sub = inner, .help = "blocks" },
    { 0 },
};

static const struct as_option needy[] = {
    { .name = "address", .type = AS_OPT_STRING, .flags = AS_OPT_REQUIRED, .help = "where it listens" },
    { .name = "hosts", .type = AS_OPT_STRINGS, .flags = AS_OPT_REQUIRED, .help = "the hosts" },
    { 0 },
};

static struct as_settings *parse(const char *text)
{
    struct as_settings *s = NULL;
    struct as_error err = { 0 };
    if (as_settings_parse(table, text, &s, &err) != AS_OK)
        fail_msg("%s: %s", text, err.msg);
    return s;
}

static void refused_by(const struct as_option *options, const char *text, int line, const char *message)
{
    struct as_settings *s = NULL;
    struct as_error err = { 0 };
    assert_int_equal(as_settings_parse(options, text, &s, &err), AS_EINVAL);
    assert_string_equal(err.msg, message);
    assert_int_equal(err.line, line);
    assert_int_equal(err.rc, AS_EINVAL);
    assert_null(s);
}

static void refused(const char *text, int line, const char *message)
{
    refused_by(table, text, line, message);
}

static void unset_options_have_their_defaults(void **state)
{
    (void)state;
    struct as_settings *s = parse("");
    assert_string_equal(as_settings_str(s, "text"), "none");
    assert_null(as_settings_str(s, "file"));
    assert_true(as_settings_bool(s, "flag"));
    assert_int_equal(as_settings_int(s, "count"), 4);
    assert_int_equal(as_settings_ms(s, "interval"), 30000);
    assert_true(as_settings_num(s, "share") > 0.7999 && as_settings_num(s, "share") < 0.8001);
    assert_int_equal(as_settings_count(s, "hosts"), 1);
    assert_string_equal(as_settings_item(s, "hosts", 0), "unix:///run/x.sock");
    assert_false(as_settings_has(s, "memory"));
    assert_int_equal(as_settings_bytes(s, "memory"), 0);
    assert_null(as_settings_sub(s, "tls", 0));
    as_settings_free(s);
}

static void given_values_are_read_by_type(void **state)
{
    (void)state;
    struct as_settings *s =
        parse("text = \"a\" \"b\"; flag = false; count = 7; number = 3;\n"
              "interval = \"1m30s\"; memory = \"512MiB\"; share = \"12.5%\";\n"
              "colour = \"blue\"; hosts = [ \"h1\", \"h2\" ]; env = { B = \"2\"; A = \"1\"; };\n"
              "metric = \"lb.web.1.sessions\"; tls = { change = \"x\"; };\n"
              "steps = ( { above = 1.5; change = \"+1\"; }, { change = \"-1\"; } );");
    assert_string_equal(as_settings_str(s, "text"), "ab");
    assert_false(as_settings_bool(s, "flag"));
    assert_int_equal(as_settings_int(s, "count"), 7);
    assert_true(as_settings_num(s, "number") > 2.999 && as_settings_num(s, "number") < 3.001);
    assert_int_equal(as_settings_ms(s, "interval"), 90000);
    assert_int_equal(as_settings_bytes(s, "memory"), 536870912);
    assert_true(as_settings_num(s, "share") > 0.1249 && as_settings_num(s, "share") < 0.1251);
    assert_string_equal(as_settings_str(s, "colour"), "blue");
    assert_string_equal(as_settings_item(s, "hosts", 1), "h2");
    assert_null(as_settings_item(s, "hosts", 2));
    assert_string_equal(as_settings_key(s, "env", 0), "B");
    assert_string_equal(as_settings_item(s, "env", 1), "1");
    assert_string_equal(as_settings_str(as_settings_sub(s, "tls", 0), "change"), "x");
    assert_int_equal(as_settings_count(s, "steps"), 2);
    assert_true(as_settings_has(as_settings_sub(s, "steps", 0), "above"));
    assert_false(as_settings_has(as_settings_sub(s, "steps", 1), "above"));
    as_settings_free(s);
}

static void one_string_is_a_list_of_one(void **state)
{
    (void)state;
    struct as_settings *s = parse("hosts = \"only\";");
    assert_int_equal(as_settings_count(s, "hosts"), 1);
    assert_string_equal(as_settings_item(s, "hosts", 0), "only");
    as_settings_free(s);
}

static void quantities_without_unit_are_refused_with_what_to_write(void **state)
{
    (void)state;
    refused("interval = 30;", 1,
            "interval: wants a duration with its unit, as \"30s\": write \"30s\" instead of 30");
    refused("memory = 512;", 1,
            "memory: wants a size with its unit, as \"512MiB\": write \"512MiB\" instead of 512");
    refused("share = 80;", 1, "share: wants a percentage, as \"80%\": write \"80%\" instead of 80");
    refused("interval = 30s;", 1, "30s needs double quotes: write \"30s\"");
    refused("share = 80%;", 1, "80% needs double quotes: write \"80%\"");
    refused(
        "interval = \"30\";", 1,
        "interval: \"30\" is not a duration: write \"500ms\", \"30s\", \"5m\", \"2h\", \"1d\" or \"1h30m\"");
    refused("memory = \"12Q\";", 1,
            "memory: \"12Q\" is not a size: write \"512MiB\", \"1GB\" or plain bytes in quotes, \"4096\"");
    refused("share = \"0.8\";", 1, "share: \"0.8\" is not a percentage: write \"80%\"");
}

static void numbers_in_quotes_are_refused_with_what_to_write(void **state)
{
    (void)state;
    refused("count = \"4\";", 1, "count: wants a whole number: write 4 without quotes");
    refused("number = \"0.5\";", 1, "number: wants a number: write 0.5 without quotes");
    refused("flag = \"true\";", 1, "flag: wants true or false: write true without quotes");
    refused("count = \"many\";", 1, "count: wants a whole number, not text");
    refused("count = 2.5;", 1, "count: wants a whole number, not 2.5");
}

static void values_of_another_shape_are_refused(void **state)
{
    (void)state;
    refused("text = 5;", 1, "text: wants text in double quotes, not a number");
    refused("flag = 1;", 1, "flag: wants true or false, not a number");
    refused("text = { };", 1, "text: wants text in double quotes, not a block");
    refused("hosts = 5;", 1, "hosts: wants texts, as [ \"a\", \"b\" ], not a number");
    refused("hosts = [ 1, 2 ];", 1, "hosts: wants texts, as [ \"a\", \"b\" ]: item 1 is a number");
    refused("env = [ \"A=1\" ];", 1, "env: wants a block of texts, as { name = \"text\"; }, not an array");
    refused("env = { A = 1; };", 1, "env: 'A' wants text in double quotes, not a number");
    refused("tls = ( );", 1, "tls: wants a block, as { … }, not a list");
    refused("steps = { };", 1, "steps: wants a list of blocks, as ( { … }, { … } ), not a block");
    refused("steps = ( 1 );", 1, "steps: wants a list of blocks, as ( { … }, { … } ): item 1 is a number");
    refused("file = \"\";", 1, "file: must not be empty");
    refused("metric = \"sessions\";", 1,
            "metric: \"sessions\" is not a metric: write \"source.series\" or \"source.object.series\"");
    refused("number = 1e999;", 1, "number: the number is too large");
}

static void ranges_are_checked_and_shown(void **state)
{
    (void)state;
    refused("count = 0;", 1, "count: 0 is out of range (1 to 100)");
    refused("count = 101;", 1, "count: 101 is out of range (1 to 100)");
    refused("at_least = 4;", 1, "at_least: 4 is out of range (at least 5)");
    refused("interval = \"99ms\";", 1, "interval: \"99ms\" is out of range (100ms to 1h)");
    refused("interval = \"61m\";", 1, "interval: \"61m\" is out of range (100ms to 1h)");
    refused("memory = \"1kB\";", 1, "memory: \"1kB\" is out of range (1MiB to 1TiB)");
    refused("share = \"101%\";", 1, "share: \"101%\" is out of range (0% to 100%)");
    struct as_settings *s =
        parse("count = 100; interval = \"1h\"; at_least = 2000000000; memory = \"1MiB\"; share = \"100%\";");
    assert_int_equal(as_settings_int(s, "at_least"), 2000000000);
    as_settings_free(s);
}

static void integers_that_libconfig_would_wrap_are_refused(void **state)
{
    (void)state;
    refused("count = 5000000000;", 1,
            "the number 5000000000 does not fit 32 bits and would be cut: write 5000000000L");
    refused("at_least = -2147483649;", 1,
            "the number -2147483649 does not fit 32 bits and would be cut: write -2147483649L");
    refused("at_least = 99999999999999999999L;", 1, "the number 99999999999999999999L is too large");
    struct as_settings *s =
        parse("at_least = 5000000000L; # 6000000000\n text = \"7000000000\"; /* 8000000000 */");
    assert_true(as_settings_int(s, "at_least") == INT64_C(5000000000));
    as_settings_free(s);
}

static void unknown_names_are_refused_with_the_nearest(void **state)
{
    (void)state;
    refused("intervall = \"3s\";", 1, "unknown option 'intervall': did you mean 'interval'?");
    refused("cuont = 3;", 1, "unknown option 'cuont': did you mean 'count'?");
    refused("zebra = 3;", 1, "unknown option 'zebra'");
    refused("colour = \"gren\";", 1,
            "colour: \"gren\" is none of \"red\", \"green\", \"blue\": did you mean 'green'?");
    refused("\n\ntls = {\n change = \"x\";\n abov = 1; };", 5,
            "tls: unknown option 'abov': did you mean 'above'?");
    refused("steps = ( { change = \"x\"; },\n { abov = 1; change = \"y\"; } );", 2,
            "steps #2: unknown option 'abov': did you mean 'above'?");
}

static void an_inline_secret_is_refused_and_not_shown(void **state)
{
    (void)state;
    refused("password = \"hunter2\";", 1,
            "unknown option 'password': a secret is read from a file, write 'password_file'");
}

static void missing_options_are_named_with_their_help(void **state)
{
    (void)state;
    refused_by(needy, "hosts = [ \"a\" ];", 0, "'address' is missing (where it listens)");
    refused_by(needy, "address = \"\"; hosts = \"a\";", 1, "address: must not be empty");
    refused_by(needy, "address = \"x\"; hosts = [ ];", 1, "hosts: must not be empty");
    refused("tls = {\n };", 1, "tls: 'change' is missing (what to do)");
}

static void syntax_errors_have_their_line(void **state)
{
    (void)state;
    refused("count = 3;\ntext = ;", 2,
            "syntax error: look for a missing quote, bracket or \"=\" here or on the line before");
    refused("count = 3;\ncount = 4;", 2, "this name is already set in the same block");
    refused("@include \"x\"\n", 1, "@include is not possible here");
}

static void deep_nesting_is_an_error_and_no_crash(void **state)
{
    (void)state;
    size_t depth = 30000;
    char *text = malloc(depth * 3 + 1);
    assert_non_null(text);
    for (size_t i = 0; i < depth; i++)
        memcpy(text + 3 * i, "a={", 3);
    text[depth * 3] = '\0';
    refused(text, 1, "cannot be parsed: blocks are nested too deeply");
    free(text);
}

static void a_driver_names_the_place_of_its_own_error(void **state)
{
    (void)state;
    struct as_error err = { 0 };
    struct as_settings *s = parse("\ncount = 3;\nsteps = ( { change = \"a\"; },\n { change = \"b\"; } );");
    assert_int_equal(as_settings_fail(s, "count", &err, "%d is odd", 3), AS_EINVAL);
    assert_string_equal(err.msg, "count: 3 is odd");
    assert_int_equal(err.line, 2);
    as_settings_fail(as_settings_sub(s, "steps", 1), "change", &err, "no");
    assert_string_equal(err.msg, "steps #2: change: no");
    assert_int_equal(err.line, 4);
    as_settings_fail(as_settings_sub(s, "steps", 1), "above", &err, "needed");
    assert_int_equal(err.line, 4); /* not given: the block's line */
    as_settings_free(s);
}

static char *canon(const char *text)
{
    char *out = NULL;
    size_t size = 0;
    struct as_settings *s = parse(text);
    FILE *stream = open_memstream(&out, &size);
    assert_non_null(stream);
    static const char *const except[] = { "text", NULL };
    settings_canon(stream, s, except);
    assert_int_equal(fclose(stream), 0);
    as_settings_free(s);
    return out;
}

static void equal_values_have_equal_text_however_written(void **state)
{
    (void)state;
    char *a = canon(
        "interval = \"60s\"; memory = \"1024MiB\"; number = 40; count = 4; env = { A = \"1\"; B = \"2\"; };");
    char *b = canon("env = { B = \"2\"; A = \"1\"; }; memory = \"1GiB\"; number = 40.0; interval = \"1m\"; "
                    "text = \"skipped\";");
    assert_string_equal(a, b);
    assert_string_equal(
        a, "number = 40\ninterval = \"1m\"\nmemory = \"1GiB\"\nenv = { A = \"1\"; B = \"2\"; }\n");
    char *c = canon(
        "hosts = [ \"a\\\"\", \"b\" ]; steps = ( { change = \"+1\"; above = 0.1; } ); share = \"80%\";");
    assert_string_equal(c, "hosts = [ \"a\\\"\", \"b\" ]\nsteps = ( { above = 0.1; change = \"+1\"; } )\n");
    free(a);
    free(b);
    free(c);
}

static void durations_and_sizes_are_exact(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        as_time ms; /* -1: refused */
    } cases[] = {
        { "500ms", 500 },     { "0s", 0 },        { "1.5s", 1500 },  { "0.1s", 100 },
        { "1h30m", 5400000 }, { "1d", 86400000 }, { "1s1ms", 1001 }, { "36500d", 3153600000000 },
        { "", -1 },           { "5", -1 },        { "s", -1 },       { "1m1h", -1 },
        { "1s1s", -1 },       { "-1s", -1 },      { " 1s", -1 },     { "1 s", -1 },
        { "1s ", -1 },        { "0.0001s", -1 },  { "36501d", -1 },  { "1.s", -1 },
        { ".5s", -1 },        { "1e3s", -1 },     { "5hm", -1 },     { "99999999999999999999s", -1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        as_time ms = -1;
        assert_int_equal(units_duration(cases[i].text, &ms), cases[i].ms >= 0);
        assert_true(ms == cases[i].ms);
    }
    uint64_t bytes = 0;
    assert_true(units_bytes("1.5GiB", &bytes) && bytes == 1610612736);
    assert_true(units_bytes("4096", &bytes) && bytes == 4096);
    assert_true(units_bytes("1kB", &bytes) && bytes == 1000);
    assert_false(units_bytes("1.5", &bytes));
    assert_false(units_bytes("1mb", &bytes));
    assert_false(units_bytes("9999999TiB", &bytes));
    assert_false(units_bytes("-1", &bytes));
}

static void quantity_text_reads_back_as_the_same_value(void **state)
{
    (void)state;
    char buf[UNITS_TEXT_MAX];
    for (as_time ms = 0; ms < 4000000000; ms = ms * 3 + 1) {
        as_time back = -1;
        assert_true(units_duration(units_duration_text(ms, buf), &back));
        assert_true(back == ms);
        uint64_t bytes = 0;
        assert_true(units_bytes(units_bytes_text((uint64_t)ms, buf), &bytes));
        assert_true(bytes == (uint64_t)ms);
    }
    assert_string_equal(units_number_text(0.1, buf), "0.1");
    assert_string_equal(units_number_text(40, buf), "40");
    assert_string_equal(units_number_text(1000000, buf), "1000000");
    assert_string_equal(units_bytes_text(1073741824, buf), "1GiB");
    assert_string_equal(units_bytes_text(100000000000000, buf), "100TB");
    assert_string_equal(units_percent_text(0.125, buf), "12.5%");
}

static void metrics_split_at_the_first_and_last_dot(void **state)
{
    (void)state;
    char source[AS_NAME_MAX], object[AS_NAME_MAX], series[AS_NAME_MAX];
    assert_true(config_metric_split("db.connections", source, object, series));
    assert_string_equal(source, "db");
    assert_string_equal(object, "");
    assert_string_equal(series, "connections");
    assert_true(config_metric_split("lb.web.v2.queue", source, object, series));
    assert_string_equal(object, "web.v2");
    assert_string_equal(series, "queue");
    assert_false(config_metric_split("db", source, object, series));
    assert_false(config_metric_split("db.", source, object, series));
    assert_false(config_metric_split(".x", source, object, series));
    assert_false(config_metric_split("a..b", source, object, series));
    assert_false(config_metric_split("a.b c.d", source, object, series));
}

/* --- secrets ------------------------------------------------------------------------------------- */

static char secret_path[] = "/tmp/autoscale-secret-XXXXXX";

static void secret_write(const char *text, mode_t mode)
{
    int fd = open(secret_path, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static int secret_setup(void **state)
{
    (void)state;
    int fd = mkstemp(secret_path);
    return fd < 0 ? -1 : close(fd);
}

static int secret_teardown(void **state)
{
    (void)state;
    return unlink(secret_path);
}

static void secret_refused(size_t size, const char *message)
{
    char buf[64] = "before", want[256];
    struct as_error err = { 0 };
    assert_int_not_equal(as_secret_read(secret_path, buf, size, &err), AS_OK);
    snprintf(want, sizeof want, message, secret_path, secret_path);
    assert_string_equal(err.msg, want);
    assert_string_equal(buf, "before");
}

static void a_secret_loses_one_newline(void **state)
{
    (void)state;
    char buf[64];
    secret_write("s3cret \n\n", 0600);
    assert_int_equal(as_secret_read(secret_path, buf, sizeof buf, NULL), AS_OK);
    assert_string_equal(buf, "s3cret \n");
    secret_write("1234567", 0400);
    assert_int_equal(as_secret_read(secret_path, buf, 8, NULL), AS_OK);
    assert_string_equal(buf, "1234567");
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void a_secret_others_can_read_is_refused(void **state)
{
    (void)state;
    secret_write("s3cret\n", 0640);
    secret_refused(64, "secret file %s can be read by others: run chmod 600 %s");
    secret_write("s3cret\n", 0604);
    secret_refused(64, "secret file %s can be read by others: run chmod 600 %s");
}

static void empty_and_long_secrets_are_refused(void **state)
{
    (void)state;
    secret_write("\n", 0600);
    secret_refused(64, "secret file %s is empty");
    secret_write("12345678", 0600);
    secret_refused(8, "secret file %s is too long (at most 7 bytes)");
}
#pragma GCC diagnostic pop

static void a_missing_secret_says_so(void **state)
{
    (void)state;
    char buf[8];
    struct as_error err = { 0 };
    assert_int_equal(as_secret_read("/nonexistent/pass", buf, sizeof buf, &err), AS_EIO);
    assert_string_equal(err.msg, "secret file /nonexistent/pass: No such file or directory");
    assert_int_equal(as_secret_read("/tmp", buf, sizeof buf, &err), AS_EINVAL);
    assert_string_equal(err.msg, "secret file /tmp is not a regular file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unset_options_have_their_defaults),
        cmocka_unit_test(given_values_are_read_by_type),
        cmocka_unit_test(one_string_is_a_list_of_one),
        cmocka_unit_test(quantities_without_unit_are_refused_with_what_to_write),
        cmocka_unit_test(numbers_in_quotes_are_refused_with_what_to_write),
        cmocka_unit_test(values_of_another_shape_are_refused),
        cmocka_unit_test(ranges_are_checked_and_shown),
        cmocka_unit_test(integers_that_libconfig_would_wrap_are_refused),
        cmocka_unit_test(unknown_names_are_refused_with_the_nearest),
        cmocka_unit_test(an_inline_secret_is_refused_and_not_shown),
        cmocka_unit_test(missing_options_are_named_with_their_help),
        cmocka_unit_test(syntax_errors_have_their_line),
        cmocka_unit_test(deep_nesting_is_an_error_and_no_crash),
        cmocka_unit_test(a_driver_names_the_place_of_its_own_error),
        cmocka_unit_test(equal_values_have_equal_text_however_written),
        cmocka_unit_test(durations_and_sizes_are_exact),
        cmocka_unit_test(quantity_text_reads_back_as_the_same_value),
        cmocka_unit_test(metrics_split_at_the_first_and_last_dot),
        cmocka_unit_test(a_secret_loses_one_newline),
        cmocka_unit_test(a_secret_others_can_read_is_refused),
        cmocka_unit_test(empty_and_long_secrets_are_refused),
        cmocka_unit_test(a_missing_secret_says_so),
    };
    return cmocka_run_group_tests(tests, secret_setup, secret_teardown);
}
