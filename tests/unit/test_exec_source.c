/* The exec source with real commands: what they print, how they fail, and that nothing of them outlives the poll. */
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "autoscale/source.h"

extern const struct as_source_driver as_source_exec;

struct run {
    struct as_settings *settings;
    void *self;
    struct as_samples samples;
    struct as_error err;
    as_time took;
};

static int open_text(struct run *r, const char *text)
{
    *r = (struct run){ 0 };
    if (as_settings_parse(as_source_exec.options, text, &r->settings, &r->err) != AS_OK)
        fail_msg("settings: %s", r->err.msg);
    r->self = calloc(1, as_source_exec.state_size);
    assert_non_null(r->self);
    return as_source_exec.open(r->self, r->settings, "", &r->err);
}

static int poll_within(struct run *r, as_time span)
{
    as_samples_fini(&r->samples);
    r->err = (struct as_error){ 0 };
    as_time began = as_clock_monotonic();
    int rc = as_source_exec.poll(r->self, began + span, &r->samples, &r->err);
    r->took = as_clock_monotonic() - began;
    if (rc != AS_OK) {
        assert_int_equal(r->err.rc, rc);
        assert_int_equal(r->samples.count, 0);
    }
    return rc;
}

static void run_close(struct run *r)
{
    as_source_exec.close(r->self);
    free(r->self);
    as_samples_fini(&r->samples);
    as_settings_free(r->settings);
}

/* Opens and polls a command of the shell, with further settings. */
static int run_shell(struct run *r, const char *script, const char *more)
{
    char text[2000];
    snprintf(text, sizeof text, "command = [ \"/bin/sh\", \"-c\", \"%s\" ]; %s", script, more);
    if (open_text(r, text) != AS_OK)
        fail_msg("open: %s", r->err.msg);
    return poll_within(r, 20000);
}

static double value(const struct run *r, const char *series) /* NAN: missing */
{
    for (size_t i = 0; i < r->samples.count; i++)
        if (strcmp(r->samples.items[i].series, series) == 0)
            return r->samples.items[i].value;
    return NAN;
}

static void assert_value(const struct run *r, const char *series, double want)
{
    double got = value(r, series);
    if (isnan(want) ? !isnan(got) : !(fabs(got - want) < 1e-9))
        fail_msg("%s is %g, not %g (%s)", series, got, want, r->err.msg);
}

static void assert_says(const struct run *r, const char *part)
{
    if (!strstr(r->err.msg, part))
        fail_msg("no '%s' in '%s'", part, r->err.msg);
}

static void one_number_is_the_series_value(void **state)
{
    (void)state;
    struct run r;
    assert_int_equal(run_shell(&r, "echo 12.5", ""), AS_OK);
    assert_value(&r, "value", 12.5);
    assert_int_equal(poll_within(&r, 20000), AS_OK); /* again */
    run_close(&r);
}

static void json_whole_or_by_lines_gives_the_named_values(void **state)
{
    (void)state;
    static const char values[] = "values = { depth = \"/q/depth\"; ok = \"/ok\"; gone = \"/nothing\"; };";
    static const char *const scripts[] = {
        "printf '{\\\"q\\\": {\\\"depth\\\": 7},\\n \\\"ok\\\": true}\\n'",
        "printf '{\\\"q\\\":{\\\"depth\\\":1}}\\n\\n{\\\"ok\\\":true}\\n{\\\"q\\\":{\\\"depth\\\":7}}'",
    };
    struct run r;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(run_shell(&r, scripts[i], values), AS_OK);
        assert_value(&r, "depth", 7);
        assert_value(&r, "ok", 1);
        assert_value(&r, "gone", NAN);
        assert_value(&r, "values_missing", 1);
        assert_says(&r, "value 'gone': there is nothing at");
        run_close(&r);
    }
}

static void output_that_is_no_number_is_a_protocol_error(void **state)
{
    (void)state;
    static const char *const scripts[] = { "true",          "echo",      "echo nan",          "echo 1 2",
                                           "echo 5 apples", "echo 0x10", "printf '1\\\\0002'" };
    struct run r;
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        if (run_shell(&r, scripts[i], "") != AS_EPROTO)
            fail_msg("%s is taken", scripts[i]);
        run_close(&r);
    }
    assert_int_equal(run_shell(&r, "echo '{}'; echo '[1]'", "values = { a = \"/a\"; };"), AS_EPROTO);
    run_close(&r);
}

static void failure_shows_status_and_first_line_of_the_complaint(void **state)
{
    (void)state;
    struct run r;
    assert_int_equal(run_shell(&r, "echo 5; echo no queue >&2; echo second >&2; exit 3", ""), AS_EIO);
    assert_says(&r, "/bin/sh ended with status 3: no queue");
    assert_null(strstr(r.err.msg, "second"));
    run_close(&r);
    assert_int_equal(run_shell(&r, "echo 5; kill -9 $$", ""), AS_EIO);
    assert_says(&r, "signal 9");
    run_close(&r);
    assert_int_equal(run_shell(&r, "yes complaint | head -c 100000 >&2; exit 1", ""), AS_EIO);
    assert_says(&r, "complaint");
    run_close(&r);
    assert_int_equal(open_text(&r, "command = \"/nonexistent/program\";"), AS_OK);
    assert_int_equal(poll_within(&r, 20000), AS_EIO);
    assert_says(&r, "cannot start /nonexistent/program: No such file");
    run_close(&r);
}

static void output_over_the_cap_ends_the_command(void **state)
{
    (void)state;
    struct run r;
    assert_int_equal(run_shell(&r, "yes", ""), AS_EPROTO);
    assert_says(&r, "more than 65536 bytes");
    assert_true(r.took < 15000);
    run_close(&r);
    assert_int_equal(run_shell(&r, "head -c 65535 /dev/zero | tr '\\\\0' ' '; echo", ""), AS_EPROTO);
    assert_says(&r, "printed nothing"); /* just within the cap */
    run_close(&r);
}

static bool is_gone(pid_t pid) /* or a zombie of somebody else, which is as good */
{
    char path[64], line[256] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return true;
    bool read = fgets(line, sizeof line, f) != NULL;
    fclose(f);
    const char *end = read ? strrchr(line, ')') : NULL;
    return !end || end[2] == 'Z' || end[2] == 'X';
}

static bool goes_away(pid_t pid)
{
    as_time end = as_clock_monotonic() + 30 * AS_SECOND;
    while (!is_gone(pid) && as_clock_monotonic() < end)
        usleep(10000);
    return is_gone(pid);
}

static pid_t pid_in(const char *path)
{
    int pid = 0;
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%d", &pid), 1);
    fclose(f);
    unlink(path);
    assert_true(pid > 1);
    return pid;
}

/* The command ignores SIGTERM and has a child in its group; neither lives on, and the poll keeps its time. */
static void deadline_ends_the_command_and_its_children(void **state)
{
    (void)state;
    char text[600], path[] = "/tmp/as-exec-XXXXXX";
    struct run r;
    close(mkstemp(path));
    snprintf(text, sizeof text,
             "command = [ \"/bin/sh\", \"-c\", \"trap '' TERM; sleep 600 & echo $! > %s; wait; wait\" ];",
             path);
    assert_int_equal(open_text(&r, text), AS_OK);
    assert_int_equal(poll_within(&r, 3000), AS_EAGAIN);
    assert_says(&r, "/bin/sh did not end in time");
    assert_true(r.took >= 500 && r.took < 20000);
    assert_true(goes_away(pid_in(path)));
    run_close(&r);
}

static void sigterm_comes_first(void **state)
{
    (void)state;
    char text[600], path[] = "/tmp/as-exec-XXXXXX", word[8] = "";
    struct run r;
    close(mkstemp(path));
    snprintf(text, sizeof text,
             "command = [ \"/bin/sh\", \"-c\", \"trap 'echo asked > %s; exit 0' TERM; while :; do sleep "
             "0.05; done\" ];",
             path);
    assert_int_equal(open_text(&r, text), AS_OK);
    assert_int_equal(poll_within(&r, 4000), AS_EAGAIN);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(read(fd, word, 5) == 5);
    assert_string_equal(word, "asked");
    close(fd);
    unlink(path);
    run_close(&r);
}

/* A daemon left behind with our pipe open neither delays the poll nor survives it. */
static void background_child_neither_delays_nor_survives(void **state)
{
    (void)state;
    char text[600], path[] = "/tmp/as-exec-XXXXXX";
    struct run r;
    close(mkstemp(path));
    snprintf(text, sizeof text, "command = [ \"/bin/sh\", \"-c\", \"sleep 600 & echo $! > %s; echo 4\" ];",
             path);
    assert_int_equal(open_text(&r, text), AS_OK);
    assert_int_equal(poll_within(&r, 60000), AS_OK);
    assert_value(&r, "value", 4);
    assert_true(r.took < 30000);
    assert_true(goes_away(pid_in(path)));
    run_close(&r);
}

static int count_fds(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void child_gets_only_its_own_environment_and_descriptors(void **state)
{
    (void)state;
    struct run r;
    int leak = open("/dev/null", O_RDONLY); /* without O_CLOEXEC, as some library might */
    assert_true(leak >= 0);
    setenv("AS_TEST_SECRET", "1", 1);
    signal(SIGPIPE, SIG_IGN);
    sigset_t block;
    sigemptyset(&block);
    sigaddset(&block, SIGUSR1);
    sigprocmask(SIG_BLOCK, &block, NULL);
    int before = count_fds();
    assert_int_equal(run_shell(&r, "env | grep -c -e AS_TEST_SECRET -e HOME=; true", ""), AS_OK);
    assert_value(&r, "value", 0);
    run_close(&r);
    assert_int_equal(run_shell(&r, "echo $NUMBER", "env = { NUMBER = \"17\"; };"), AS_OK);
    assert_value(&r, "value", 17);
    run_close(&r);
    assert_int_equal(run_shell(&r, "ls /proc/self/fd | wc -l", "directory = \"/tmp\";"), AS_OK);
    assert_true(value(&r, "value") <=
                4); /* 0, 1, 2 and the directory it lists; the shell itself holds its pipe for a moment */
    run_close(&r);
    assert_int_equal(run_shell(&r, "test $PWD = /tmp && echo 1", "directory = \"/tmp\";"), AS_OK);
    run_close(&r);
    /* the C library leaves its own two signals, 32 and 33, ignored */
    assert_int_equal(
        run_shell(&r, "grep -E 'Sig(Blk|Ign)' /proc/$$/status | grep -vcE '0{7}(00|18)0{7}'; true", ""),
        AS_OK);
    assert_value(&r, "value", 0);
    run_close(&r);
    assert_int_equal(count_fds(), before);
    sigprocmask(SIG_UNBLOCK, &block, NULL);
    close(leak);
}

static void configuration_mistakes_are_named(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "command = \"depth -q\";", "no absolute path" },
        { "command = \"/bin/true\"; directory = \"tmp\";", "directory" },
        { "command = \"/bin/true\"; values = { a = \"b\"; };", "no JSON pointer" },
        { "command = \"/bin/true\"; values = { values_missing = \"/b\"; };", "choose another name" },
    };
    struct run r;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(open_text(&r, cases[i][0]), AS_EINVAL);
        assert_says(&r, cases[i][1]);
        run_close(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_number_is_the_series_value),
        cmocka_unit_test(json_whole_or_by_lines_gives_the_named_values),
        cmocka_unit_test(output_that_is_no_number_is_a_protocol_error),
        cmocka_unit_test(failure_shows_status_and_first_line_of_the_complaint),
        cmocka_unit_test(output_over_the_cap_ends_the_command),
        cmocka_unit_test(deadline_ends_the_command_and_its_children),
        cmocka_unit_test(sigterm_comes_first),
        cmocka_unit_test(background_child_neither_delays_nor_survives),
        cmocka_unit_test(child_gets_only_its_own_environment_and_descriptors),
        cmocka_unit_test(configuration_mistakes_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
