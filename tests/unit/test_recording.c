/* What was measured, out of the journal and into a simulation: the two commands that a user joins, as they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../controller/journal/journal.h"

static char dir[] = "/tmp/autoscale-recording-XXXXXX";

static int run(const char *arguments, char *out, size_t size)
{
    char line[512];
    const char *build = getenv("BUILD");
    snprintf(line, sizeof line, "cd %s && %s/autoscale %s 2>&1 </dev/null", dir, build ? build : "build",
             arguments);
    assert_non_null(build);
    FILE *p = popen(line, "r");
    assert_non_null(p);
    out[fread(out, 1, size - 1, p)] = '\0';
    int status = pclose(p);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void write_to(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static struct journal *record(void)
{
    char path[128];
    struct journal *j;
    struct as_error err = { 0 };
    snprintf(path, sizeof path, "%s/state.db", dir);
    assert_int_equal(journal_open(path, "shop", JOURNAL_WRITE, &j, &err), AS_OK);
    for (int m = 0; m < 180; m++) {
        struct journal_sample s = {
            1795809600000 + m * 60000LL, "lb.web.request_rate", 100 + m / 60 * 200.5, 1, 9, 30
        };
        assert_int_equal(journal_put_sample(j, &s, &err), AS_OK);
    }
    struct journal_sample s = { 1795809600000, "db.connections", 4, 1, 9, 30 };
    assert_int_equal(journal_put_sample(j, &s, &err), AS_OK);
    return j;
}

static void what_was_measured_can_be_replayed(void **state)
{
    static char out[1 << 16];
    (void)state;
    struct journal *j = record(); /* a daemon holds it all the while */
    assert_int_equal(run("history -c shop.conf --metric lb.web.request_rate", out, sizeof out), 0);
    assert_ptr_equal(strstr(out, "time,lb.web.request_rate\n2026-11-27T20:00:00Z,100\n"), out);
    assert_non_null(strstr(out, "\n2026-11-27T21:00:00Z,300.5\n"));
    write_to("load.csv", out);
    assert_int_equal(run("simulate --trace load.csv --units 0 --policy auto", out, sizeof out), 0);
    assert_non_null(strstr(out, "load.csv: 180 samples every 60 s; peak 501/s"));
    assert_int_equal(run("history -c shop.conf --metric lb.web.request_rate --since '2026-11-27T22:58:30Z'",
                         out, sizeof out),
                     0);
    assert_string_equal(out, "time,lb.web.request_rate\n2026-11-27T22:59:00Z,501\n");
    journal_close(j);
}

static void what_was_not_measured_names_what_was(void **state)
{
    static char out[4096];
    (void)state;
    assert_int_equal(run("history -c shop.conf --metric lb.web.rate", out, sizeof out), 1);
    assert_string_equal(out, "autoscale history: nothing is recorded of lb.web.rate; it has db.connections, "
                             "lb.web.request_rate\n");
    assert_int_equal(run("history -c shop.conf --metric db.connections --json", out, sizeof out), 1);
    assert_non_null(strstr(out, "without --json and --group"));
    write_to("bad.conf", "nonsense");
    assert_int_equal(run("history -c bad.conf --metric db.connections", out, sizeof out), 1);
    assert_non_null(strstr(out, "bad.conf:1: "));
    assert_non_null(strstr(out, "history: the journal's path stands in the configuration"));
}

static int make_dir(void **state)
{
    char text[600];
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    snprintf(
        text, sizeof text,
        "controller = { name = \"shop\"; state = \"%s/state.db\"; };\n"
        "groups = { web = { min = 1; max = 2; policies = [ \"size\" ];\n"
        "  compute = { driver = \"process\"; directory = \"%s/i\"; command = [ \"sleep\", \"9\" ]; }; }; };\n"
        "policies = { size = { type = \"static\"; count = 1; }; };\n",
        dir, dir);
    write_to("shop.conf", text);
    return 0;
}

static int remove_dir(void **state)
{
    char line[64];
    (void)state;
    snprintf(line, sizeof line, "rm -rf %s", dir);
    return system(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_measured_can_be_replayed),
        cmocka_unit_test(what_was_not_measured_names_what_was),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
