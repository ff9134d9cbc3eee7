/* The log: one line an event, levels, escapes, and what systemd's journal expects. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../controller/runtime/log.h"

static char last[8192];
static int lines;

static void keep(void *arg, enum log_level level, const char *line)
{
    (void)arg;
    (void)level;
    snprintf(last, sizeof last, "%s", line);
    lines++;
}

static int capture(void **state)
{
    (void)state;
    last[0] = '\0';
    lines = 0;
    log_set_sink(keep, NULL);
    log_set_level(LOG_LEVEL_INFO);
    return 0;
}

static void a_line_has_time_level_component_and_message(void **state)
{
    (void)state;
    log_warning("docker", "host %s is slow ms=%d", "h1", 1200);
    int y, mo, d, h, mi, s, ms, end = 0;
    assert_int_equal(sscanf(last, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %n", &y, &mo, &d, &h, &mi, &s, &ms, &end), 7);
    assert_int_equal(end, 25);
    assert_string_equal(last + end, "warning docker host h1 is slow ms=1200");
}

static void only_levels_up_to_the_set_one_are_written(void **state)
{
    (void)state;
    log_debug("x", "no");
    assert_int_equal(lines, 0);
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("x", "yes");
    assert_int_equal(lines, 1);
    log_set_level(LOG_LEVEL_ERROR);
    log_warning("x", "no");
    assert_int_equal(lines, 1);
    log_error("x", "yes");
    assert_int_equal(lines, 2);
}

static void level_names_are_parsed_and_unknown_ones_refused(void **state)
{
    (void)state;
    enum log_level level = LOG_LEVEL_INFO;
    assert_int_equal(log_parse_level("debug", &level), 0);
    assert_int_equal(level, LOG_LEVEL_DEBUG);
    assert_int_equal(log_parse_level("warning", &level), 0);
    assert_int_equal(level, LOG_LEVEL_WARNING);
    assert_int_equal(log_parse_level("loud", &level), -1);
    assert_int_equal(level, LOG_LEVEL_WARNING);
}

static void a_text_cannot_forge_a_line_or_drive_a_terminal(void **state)
{
    (void)state;
    log_info("x", "%s", "a\nb\tc\033[2J\177\xc2\x9b\xe2\x80\xa8z");
    assert_non_null(strstr(last, "x a\\nb\\tc\\x1b[2J\\x7f\\xc2\\x9b\\xe2\\x80\\xa8z"));
}

static void utf8_is_kept_and_broken_utf8_is_escaped(void **state)
{
    (void)state;
    log_info("x", "%s", "caf\xc3\xa9 \xe2\x86\x92 \xff \xc3");
    assert_non_null(strstr(last, "x caf\xc3\xa9 \xe2\x86\x92 \\xff \\xc3"));
}

static void an_overlong_message_is_cut_and_says_so(void **state)
{
    (void)state;
    char big[6000];
    memset(big, 'a', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    log_info("x", "%s", big);
    assert_in_range(strlen(last), 2000, 4095);
    assert_string_equal(last + strlen(last) - 6, " [cut]");
    memset(big, '\001', sizeof big - 1);
    log_info("x", "%s", big);
    assert_in_range(strlen(last), 4000, 4095);
    assert_string_equal(last + strlen(last) - 6, " [cut]");
}

/* What a fresh process writes to standard error, with JOURNAL_STREAM naming it or not. */
static void written(bool journal, bool own, char *out, size_t size)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_int_not_equal(pid, -1);
    if (pid == 0) {
        dup2(fds[1], STDERR_FILENO);
        struct stat st;
        fstat(STDERR_FILENO, &st);
        char stream[64];
        snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino + !own);
        if (journal)
            setenv("JOURNAL_STREAM", stream, 1);
        else
            unsetenv("JOURNAL_STREAM");
        log_set_sink(NULL, NULL);
        log_error("loop", "one\ntwo");
        _exit(0);
    }
    close(fds[1]);
    ssize_t n = read(fds[0], out, size - 1);
    close(fds[0]);
    waitpid(pid, NULL, 0);
    assert_true(n > 0);
    out[n] = '\0';
}

static void under_systemd_lines_carry_a_priority_and_no_time(void **state)
{
    (void)state;
    char line[512];
    written(true, true, line, sizeof line);
    assert_string_equal(line, "<3>error loop one\\ntwo\n");
}

static void a_foreign_journal_stream_is_not_believed(void **state)
{
    (void)state;
    char line[512];
    written(true, false, line, sizeof line);
    assert_string_equal(line + 24, " error loop one\\ntwo\n");
    written(false, true, line, sizeof line);
    assert_string_equal(line + 24, " error loop one\\ntwo\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_line_has_time_level_component_and_message, capture),
        cmocka_unit_test_setup(only_levels_up_to_the_set_one_are_written, capture),
        cmocka_unit_test_setup(level_names_are_parsed_and_unknown_ones_refused, capture),
        cmocka_unit_test_setup(a_text_cannot_forge_a_line_or_drive_a_terminal, capture),
        cmocka_unit_test_setup(utf8_is_kept_and_broken_utf8_is_escaped, capture),
        cmocka_unit_test_setup(an_overlong_message_is_cut_and_says_so, capture),
        cmocka_unit_test_setup(under_systemd_lines_carry_a_priority_and_no_time, capture),
        cmocka_unit_test_setup(a_foreign_journal_stream_is_not_believed, capture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
