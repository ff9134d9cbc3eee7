/* check, drivers and policies as a shell sees them: what they print where, and their exit status. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "../../controller/commands/commands.h"

static char dir[] = "/tmp/autoscale-commands-XXXXXX";
static char out_text[256 * 1024], err_text[16 * 1024];

static int setup(void **state)
{
    (void)state;
    return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    unlink("x.conf");
    return chdir("/") || rmdir(dir);
}

static void slurp(FILE *f, char *buf, size_t size)
{
    rewind(f);
    buf[fread(buf, 1, size - 1, f)] = '\0';
    fclose(f);
}

/* Runs a command with both outputs caught; returns its exit status. */
static int run(int (*command)(int, char **), char **argv)
{
    int argc = 0, saved_out = dup(1), saved_err = dup(2);
    FILE *out = tmpfile(), *err = tmpfile();
    assert_non_null(out);
    assert_non_null(err);
    while (argv[argc])
        argc++;
    fflush(NULL);
    dup2(fileno(out), 1);
    dup2(fileno(err), 2);
    int rc = command(argc, argv);
    fflush(NULL);
    dup2(saved_out, 1);
    dup2(saved_err, 2);
    close(saved_out);
    close(saved_err);
    slurp(out, out_text, sizeof out_text);
    slurp(err, err_text, sizeof err_text);
    return rc;
}

#define RUN(command, ...) run(command, (char *[]){ __VA_ARGS__, NULL })

static void put(const char *text)
{
    FILE *f = fopen("x.conf", "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

#define GROUP                                                                                                \
    "groups = { web = { min = 1; max = 3; compute = { driver = \"docker\"; image = \"x\"; port = 80; }; }; " \
    "};\n"

static void check_tells_what_a_good_file_holds(void **state)
{
    (void)state;
    put(GROUP);
    assert_int_equal(RUN(command_check, "check", "-c", "x.conf"), 0);
    assert_string_equal(out_text, "x.conf: ok: 1 group, 0 sources, 0 policies (1 warning)\n");
    assert_string_equal(
        err_text,
        "x.conf:1: warning: group 'web': has no policies: it is kept at min = 1 and never scaled\n");
}

static void check_complains_on_standard_error(void **state)
{
    (void)state;
    put("groups = { web = { min = 3; max = 1;\n compute = { driver = \"dokcer\"; }; }; };\nx = 1;\n");
    assert_int_equal(RUN(command_check, "check", "--config=x.conf"), 1);
    assert_string_equal(out_text, "");
    assert_string_equal(err_text,
                        "x.conf:1: error: group 'web': min: 3 is above max = 1\n"
                        "x.conf:2: error: group 'web': compute: no compute driver is called 'dokcer': did "
                        "you mean 'docker'?\n"
                        "x.conf:3: error: unknown key 'x'\n");
}

static void check_as_json_holds_every_problem(void **state)
{
    (void)state;
    put("groups = { };\nx = 1;\n");
    assert_int_equal(RUN(command_check, "check", "-c", "x.conf", "--json"), 1);
    assert_string_equal(err_text, "");
    cJSON *root = cJSON_Parse(out_text);
    const cJSON *problems = cJSON_GetObjectItemCaseSensitive(root, "problems");
    const cJSON *first = cJSON_GetArrayItem(problems, 0);
    assert_true(cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(root, "ok")));
    assert_int_equal(cJSON_GetArraySize(problems), 1);
    assert_string_equal(cJSON_GetObjectItemCaseSensitive(first, "file")->valuestring, "x.conf");
    assert_int_equal(cJSON_GetObjectItemCaseSensitive(first, "line")->valueint, 2);
    assert_string_equal(cJSON_GetObjectItemCaseSensitive(first, "severity")->valuestring, "error");
    assert_string_equal(cJSON_GetObjectItemCaseSensitive(first, "text")->valuestring, "unknown key 'x'");
    cJSON_Delete(root);
}

static void check_of_a_missing_file_fails(void **state)
{
    (void)state;
    assert_int_equal(RUN(command_check, "check", "-c", "nowhere.conf"), 1);
    assert_string_equal(err_text, "nowhere.conf: error: cannot be read: No such file or directory\n");
    assert_int_equal(RUN(command_check, "check", "x.conf"), 1);
    assert_string_equal(err_text, "autoscale check: 'x.conf' is too much: the file is named with -c\n"
                                  "`autoscale check -h` tells how it is used\n");
}

static void every_command_has_help(void **state)
{
    (void)state;
    assert_int_equal(RUN(command_check, "check", "-h"), 0);
    assert_memory_equal(out_text, "usage: autoscale check ", 23);
    assert_int_equal(RUN(command_drivers, "drivers", "--help"), 0);
    assert_memory_equal(out_text, "usage: autoscale drivers ", 25);
    assert_int_equal(RUN(command_policies, "policies", "-h"), 0);
    assert_memory_equal(out_text, "usage: autoscale policies ", 26);
    assert_int_equal(RUN(command_policies, "policies", "--nonsense"), 1);
    assert_string_equal(out_text, "");
}

static void drivers_are_listed_and_shown_by_name(void **state)
{
    (void)state;
    assert_int_equal(RUN(command_drivers, "drivers"), 0);
    assert_non_null(strstr(out_text, "source    haproxy"));
    assert_non_null(strstr(out_text, "compute   docker"));
    assert_non_null(strstr(out_text, "balancer  haproxy"));
    assert_int_equal(RUN(command_drivers, "drivers", "haproxy"), 0);
    assert_non_null(strstr(out_text, "source haproxy: "));
    assert_non_null(strstr(out_text, "balancer haproxy: "));
    assert_non_null(strstr(out_text, "Series, as \"NAME.OBJECT.SERIES\" in a metric:"));
    assert_null(strstr(out_text, "compute docker"));
    assert_int_equal(RUN(command_drivers, "drivers", "haprox"), 1);
    assert_string_equal(err_text,
                        "autoscale drivers: no driver is called 'haprox': did you mean 'haproxy'?\n");
}

static void policies_are_listed_and_shown_by_name(void **state)
{
    (void)state;
    assert_int_equal(RUN(command_policies, "policies"), 0);
    assert_non_null(strstr(out_text, "target "));
    assert_int_equal(RUN(command_policies, "policies", "step"), 0);
    assert_non_null(strstr(out_text, "change  string  required"));
    assert_int_equal(RUN(command_policies, "policies", "tarket"), 1);
    assert_string_equal(err_text,
                        "autoscale policies: no policy type is called 'tarket': did you mean 'target'?\n");
}

static void json_lists_are_complete(void **state)
{
    (void)state;
    assert_int_equal(RUN(command_drivers, "drivers", "--json", "process"), 0);
    cJSON *root = cJSON_Parse(out_text);
    const cJSON *process = cJSON_GetArrayItem(root, 0);
    assert_int_equal(cJSON_GetArraySize(root), 1);
    assert_string_equal(cJSON_GetObjectItemCaseSensitive(process, "kind")->valuestring, "compute");
    assert_true(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(process, "options")) > 3);
    cJSON_Delete(root);
    assert_int_equal(RUN(command_policies, "policies", "--json"), 0);
    root = cJSON_Parse(out_text);
    assert_true(cJSON_GetArraySize(root) >= 4);
    cJSON_Delete(root);
}

/* A line that begins with a dot or a quote is a request to roff: only those we mean may be there. */
static void manual_fragments_hold_only_known_requests(void **state)
{
    (void)state;
    static int (*const commands[])(int, char **) = { command_drivers, command_policies, command_drivers };
    static const char *const flags[] = { "--man", "--man", "--man-blocks" };
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(run(commands[i], (char *[]){ "x", (char *)(uintptr_t)flags[i], NULL }), 0);
        assert_non_null(strstr(out_text, ".SS \""));
        for (char *save = NULL, *line = strtok_r(out_text, "\n", &save); line;
             line = strtok_r(NULL, "\n", &save))
            if (*line == '\'' ||
                (*line == '.' && strncmp(line, ".SS \"", 5) != 0 && strcmp(line, ".TP") != 0 &&
                 strcmp(line, ".PP") != 0 && strcmp(line, ".RS") != 0 && strcmp(line, ".RE") != 0))
                fail_msg("%s: %s", flags[i], line);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_tells_what_a_good_file_holds),
        cmocka_unit_test(check_complains_on_standard_error),
        cmocka_unit_test(check_as_json_holds_every_problem),
        cmocka_unit_test(check_of_a_missing_file_fails),
        cmocka_unit_test(every_command_has_help),
        cmocka_unit_test(drivers_are_listed_and_shown_by_name),
        cmocka_unit_test(policies_are_listed_and_shown_by_name),
        cmocka_unit_test(json_lists_are_complete),
        cmocka_unit_test(manual_fragments_hold_only_known_requests),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
