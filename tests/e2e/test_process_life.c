/* The process compute driver with real processes: their life, from their start to their end, over restarts of whoever
 * started them; and what it leaves alone. Needs neither root nor a network beyond loopback. */
#include "process_kit.h"

/* --- life ------------------------------------------------------------------------------------------- */

static void an_instance_is_created_listed_and_destroyed(void **state)
{
    (void)state;
    struct driver d = open_driver(SLEEPER);
    struct as_instance i, seen;
    int before, after;
    assert_int_equal(list(&d, "", NULL, &before), 0);
    assert_false(exists("state")); /* looking makes nothing */
    must_create(&d, "web-00000001", &i);
    assert_string_equal(i.id, "web-00000001");
    assert_string_equal(i.revision, "r1");
    assert_string_equal(i.address, ADDRESS);
    assert_int_equal(i.state, AS_RUN_RUNNING);
    assert_in_range(i.port, 20000, 20999);
    assert_true(i.created_wall > 0);
    seen = named("");
    assert_int_equal(list(&d, "web-00000001", &seen, &after), 1);
    assert_memory_equal(&seen, &i, sizeof i);
    assert_int_equal(before - after, 1);
    struct process_record r = record("web-00000001");
    assert_true(lives(r.pid));
    assert_int_equal(getsid((pid_t)r.pid), r.pid); /* no terminal of ours reaches it */
    must_destroy(&d, "web-00000001");
    assert_false(lives(r.pid));
    assert_int_equal(list(&d, "", NULL, NULL), 0);
    assert_false(exists("state/web-00000001.json"));
    assert_false(exists("state/web-00000001.log"));
    close_driver(&d);
}

static void create_and_destroy_are_idempotent(void **state)
{
    (void)state;
    struct driver d = open_driver(SLEEPER);
    struct as_instance first, again;
    must_create(&d, "web-00000001", &first);
    int64_t pid = record("web-00000001").pid;
    must_create(&d, "web-00000001", &again);
    assert_memory_equal(&first, &again, sizeof first);
    assert_int_equal(record("web-00000001").pid, pid);
    assert_int_equal(list(&d, "", NULL, NULL), 1);
    must_destroy(&d, "web-00000001");
    must_destroy(&d, "web-00000001");
    must_destroy(&d, "web-00000002"); /* never was */
    close_driver(&d);
}

static void an_ended_instance_is_told_with_its_status_and_started_again(void **state)
{
    (void)state;
    struct driver d = open_driver("command = [ \"/bin/sh\", \"-c\", \"echo why; exit 3\" ];");
    must_create(&d, "web-00000001", NULL);
    struct as_instance i = await(&d, "web-00000001", AS_RUN_STOPPED);
    assert_non_null(strstr(i.detail, "exited (3)"));
    list(&d, "web-00000001", &i, NULL); /* and it stays known */
    assert_non_null(strstr(i.detail, "exited (3)"));
    assert_string_equal(contents("state/web-00000001.log"), "why\n");
    close_driver(&d);
    d = open_driver(SLEEPER);
    must_create(&d, "web-00000001", NULL);
    await(&d, "web-00000001", AS_RUN_RUNNING);
    assert_string_equal(contents("state/web-00000001.log.1"), "why\n");
    must_destroy(&d, "web-00000001");
    assert_false(exists("state/web-00000001.log.1"));
    close_driver(&d);
}

static void a_killed_instance_is_told_with_its_signal(void **state)
{
    (void)state;
    struct driver d = open_driver(SLEEPER "keep_logs = true;");
    must_create(&d, "web-00000001", NULL);
    kill((pid_t)record("web-00000001").pid, SIGKILL);
    struct as_instance i = await(&d, "web-00000001", AS_RUN_STOPPED);
    assert_non_null(strstr(i.detail, "killed by signal 9"));
    must_destroy(&d, "web-00000001");
    assert_true(exists("state/web-00000001.log"));
    close_driver(&d);
}

static void an_instance_is_parked_and_goes_on(void **state)
{
    (void)state;
    struct driver d = open_driver(SLEEPER);
    struct as_instance i;
    must_create(&d, "web-00000001", &i);
    int64_t pid = record("web-00000001").pid;
    assert_int_equal(as_compute_process.park(d.state, in(PATIENCE), &i, &d.err), AS_OK);
    assert_int_equal(as_compute_process.park(d.state, in(PATIENCE), &i, &d.err), AS_OK);
    await(&d, "web-00000001", AS_RUN_PARKED);
    assert_int_equal(as_compute_process.unpark(d.state, in(PATIENCE), &i, &i, &d.err), AS_OK);
    assert_int_equal(i.state, AS_RUN_RUNNING);
    assert_int_equal(as_compute_process.park(d.state, in(PATIENCE), &i, &d.err), AS_OK);
    must_create(&d, "web-00000001", &i); /* creating brings to running, too */
    assert_int_equal(record("web-00000001").pid, pid);
    await(&d, "web-00000001", AS_RUN_RUNNING);
    assert_int_equal(as_compute_process.park(d.state, in(PATIENCE), &i, &d.err), AS_OK);
    must_destroy(&d, "web-00000001"); /* a parked one hears its signal */
    assert_false(lives(pid));
    i = named("web-00000009");
    assert_int_equal(as_compute_process.park(d.state, in(PATIENCE), &i, &d.err), AS_ENOENT);
    close_driver(&d);
}

/* --- restart ---------------------------------------------------------------------------------------- */

static void instances_survive_the_process_that_created_them(void **state)
{
    (void)state;
    struct as_instance seen = named("");
    pid_t controller = fork();
    assert_true(controller >= 0);
    if (controller == 0) {
        struct driver d = open_driver(SLEEPER);
        if (create(&d, "web-00000001", NULL) != AS_OK || create(&d, "web-00000002", NULL) != AS_OK)
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    int status;
    waitpid(controller, &status, 0);
    assert_true(WIFSIGNALED(status));
    struct driver d = open_driver(SLEEPER);
    assert_int_equal(list(&d, "web-00000001", &seen, NULL), 2);
    assert_int_equal(seen.state, AS_RUN_RUNNING);
    int64_t pid = record("web-00000001").pid, other = record("web-00000002").pid;
    assert_true(lives(pid) && lives(other));
    must_create(&d, "web-00000001", NULL); /* no second one */
    assert_int_equal(record("web-00000001").pid, pid);
    kill((pid_t)other, SIGKILL); /* nobody here can ask for its status */
    seen = await(&d, "web-00000002", AS_RUN_STOPPED);
    assert_non_null(strstr(seen.detail, "ended"));
    must_destroy(&d, "web-00000001");
    must_destroy(&d, "web-00000002");
    assert_false(lives(pid));
    close_driver(&d);
}

/* Kills creators at every moment of a create, one after the other: what was started has a record. */
static void a_controller_killed_while_it_creates_leaves_nothing_unknown(void **state)
{
    (void)state;
    char text[256];
    snprintf(text, sizeof text,
             "command = [ \"/bin/sh\", \"-c\", \"echo {id} >>%s/begun; exec sleep 1000\" ];", dir);
    struct driver d = open_driver(text);
    for (long n = 0; n < 40; n++) {
        char id[AS_ID_MAX];
        snprintf(id, sizeof id, "web-%08lx", n);
        pid_t controller = fork();
        assert_true(controller >= 0);
        if (controller == 0) {
            create(&d, id, NULL);
            for (;;)
                pause();
        }
        nanosleep(&(struct timespec){ .tv_nsec = n * 150000 }, NULL);
        kill(controller, SIGKILL);
        waitpid(controller, NULL, 0);
    }
    struct as_instances all = { 0 };
    size_t running = 0, listed = 0;
    assert_int_equal(as_compute_process.list(d.state, in(PATIENCE), &all, &d.err), AS_OK);
    for (size_t i = 0; i < all.count; i++)
        running += all.items[i].state == AS_RUN_RUNNING;
    for (char *line = contents("begun"); *line; line += strcspn(line, "\n") + 1, listed++)
        for (size_t i = 0; i <= all.count; i++) {
            if (i == all.count)
                fail_msg("%.12s began and has no record", line);
            if (strncmp(all.items[i].id, line, strlen(all.items[i].id)) == 0)
                break;
        }
    assert_true(listed <= all.count && running <= all.count);
    for (size_t i = 0; i < all.count; i++)
        must_destroy(&d, all.items[i].id);
    as_instances_fini(&all);
    assert_int_equal(list(&d, "", NULL, NULL), 0);
    close_driver(&d);
}

/* --- what is not ours ------------------------------------------------------------------------------- */

static void a_recycled_pid_is_never_signalled(void **state)
{
    (void)state;
    struct driver d = open_driver(SLEEPER);
    must_create(&d, "web-00000001", NULL);
    must_create(&d, "web-00000002", NULL);
    struct process_record mine = record("web-00000001"), other = record("web-00000002"), forged = mine;
    forged.pid = other.pid; /* as if the kernel had given our number to the other one, later */
    forged.start = other.start - 1;
    put_record(&forged);
    kill((pid_t)mine.pid, SIGKILL);
    await(&d, "web-00000001", AS_RUN_STOPPED);
    must_destroy(&d, "web-00000001");
    assert_true(lives(other.pid));
    forged = other;
    snprintf(forged.id, sizeof forged.id, "web-00000003");
    snprintf(forged.boot, sizeof forged.boot, "00000000-0000-0000-0000-000000000000");
    put_record(&forged); /* the same pid and start time of another boot */
    struct as_instance i = await(&d, "web-00000003", AS_RUN_STOPPED);
    assert_non_null(strstr(i.detail, "machine restarted"));
    must_destroy(&d, "web-00000003");
    assert_true(lives(other.pid));
    waitpid((pid_t)mine.pid, NULL, 0);
    must_destroy(&d, "web-00000002");
    close_driver(&d);
}

static void records_of_others_are_left_alone(void **state)
{
    (void)state;
    struct driver web = open_as("test", "web", SLEEPER), api = open_as("test", "api", SLEEPER),
                  foreign = open_as("other", "web", SLEEPER);
    must_create(&api, "web-00000001", NULL);
    must_create(&foreign, "web-00000002", NULL);
    int64_t pids[] = { record("web-00000001").pid, record("web-00000002").pid };
    for (int i = 0; i < 2; i++) {
        const char *id = i ? "web-00000002" : "web-00000001";
        struct as_instance inst = named(id);
        assert_int_equal(create(&web, id, NULL), AS_EEXIST);
        assert_int_equal(destroy(&web, id), AS_EEXIST);
        assert_int_equal(as_compute_process.park(web.state, in(PATIENCE), &inst, &web.err), AS_EEXIST);
        assert_true(lives(pids[i]));
    }
    assert_int_equal(list(&web, "", NULL, NULL), 0);
    assert_int_equal(list(&api, "", NULL, NULL), 1);
    must_destroy(&api, "web-00000001");
    must_destroy(&foreign, "web-00000002");
    close_driver(&web);
    close_driver(&api);
    close_driver(&foreign);
}

static void garbage_in_the_directory_is_left_out_and_left_there(void **state)
{
    (void)state;
    static const char *const names[] = { "state/web-00000007.json", "state/notes.txt", "state/.hidden.json",
                                         "state/web-00000008.json.bak" };
    struct driver d = open_driver(SLEEPER);
    must_create(&d, "web-00000001", NULL);
    for (size_t i = 0; i < 4; i++)
        put(names[i], "{\"pid\":1}");
    assert_int_equal(mkfifo(path_of("state/web-0000000a.json"), 0600), 0);
    assert_int_equal(symlink("web-00000001.json", path_of("state/web-0000000b.json")), 0);
    assert_int_equal(mkdir(path_of("state/web-0000000c.json"), 0700), 0);
    assert_int_equal(list(&d, "", NULL, NULL), 1);
    assert_non_null(strstr(d.err.msg, ".json")); /* it names one that looks like a record */
    assert_int_equal(create(&d, "web-00000007", NULL), AS_EEXIST);
    assert_int_equal(destroy(&d, "web-00000007"), AS_EEXIST);
    assert_int_equal(destroy(&d, "web-0000000b"), AS_EEXIST);
    assert_int_equal(destroy(&d, "../web-00000001"), AS_EINVAL);
    must_destroy(&d, "web-00000001");
    for (size_t i = 0; i < 4; i++)
        assert_true(exists(names[i]));
    close_driver(&d);
}

static void a_directory_open_to_others_is_refused(void **state)
{
    (void)state;
    struct driver d = open_driver(SLEEPER);
    struct as_instances all = { 0 };
    assert_int_equal(mkdir(path_of("state"), 0700), 0);
    assert_int_equal(chmod(path_of("state"), 0750), 0);
    assert_int_equal(create(&d, "web-00000001", NULL), AS_EINVAL);
    assert_non_null(strstr(d.err.msg, "chmod 700"));
    assert_int_equal(as_compute_process.list(d.state, in(PATIENCE), &all, &d.err), AS_EINVAL);
    if (geteuid() == 0) {
        assert_int_equal(chmod(path_of("state"), 0700), 0);
        assert_int_equal(chown(path_of("state"), 65534, 65534), 0);
        assert_int_equal(create(&d, "web-00000001", NULL), AS_EINVAL);
        assert_non_null(strstr(d.err.msg, "uid 65534"));
    }
    close_driver(&d);
}

/* --- ending ------------------------------------------------------------------------------------------- */

static void one_that_ignores_the_signal_is_killed(void **state)
{
    (void)state;
    struct driver d =
        open_driver("command = [ \"/bin/sh\", \"-c\", \"trap '' TERM; echo ready; while :; do sleep 1; "
                    "done\" ]; stop_timeout = \"300ms\";");
    must_create(&d, "web-00000001", NULL);
    int64_t pid = record("web-00000001").pid;
    await_text("state/web-00000001.log", "ready");
    as_time began = as_clock_monotonic();
    must_destroy(&d, "web-00000001");
    assert_true(as_clock_monotonic() - began >= 300);
    assert_false(lives(pid));
    close_driver(&d);
}

static void the_configured_signal_ends_it_in_its_own_way(void **state)
{
    (void)state;
    char text[320];
    snprintf(text, sizeof text,
             "stop_signal = \"QUIT\"; command = [ \"/bin/sh\", \"-c\", \"trap 'echo quit >%s/how; exit 0' "
             "QUIT; echo "
             "ready; while :; do sleep 0.05; done\" ];",
             dir);
    struct driver d = open_driver(text);
    must_create(&d, "web-00000001", NULL);
    await_text("state/web-00000001.log", "ready");
    must_destroy(&d, "web-00000001");
    assert_string_equal(contents("how"), "quit\n");
    close_driver(&d);
}

/* Three generations, one of them in a group of its own, all deaf. */
static void all_that_an_instance_started_ends_with_it(void **state)
{
    (void)state;
    char text[640];
    snprintf(text, sizeof text,
             "stop_timeout = \"200ms\"; command = [ \"/bin/sh\", \"-c\", \"trap '' TERM; sleep 1000 & echo "
             "$! >>%s/kids; "
             "sh -mc 'trap \\\"\\\" TERM; sleep 1000 & echo $! >>%s/kids; echo ready; wait' & wait\" ];",
             dir, dir);
    struct driver d = open_driver(text);
    must_create(&d, "web-00000001", NULL);
    await_text("state/web-00000001.log", "ready");
    long first = 0, second = 0;
    assert_int_equal(sscanf(contents("kids"), "%ld %ld", &first, &second), 2);
    assert_true(lives(first) && lives(second));
    must_destroy(&d, "web-00000001");
    assert_false(lives(first) || lives(second));
    close_driver(&d);
}

static void what_a_dead_leader_left_behind_is_ended_too(void **state)
{
    (void)state;
    char text[256];
    snprintf(text, sizeof text,
             "command = [ \"/bin/sh\", \"-c\", \"sleep 1000 & echo $! >%s/kid; exit 0\" ];", dir);
    struct driver d = open_driver(text);
    must_create(&d, "web-00000001", NULL);
    await(&d, "web-00000001", AS_RUN_STOPPED); /* its status is taken: the pid is free for others */
    long kid = atol(contents("kid"));
    assert_true(kid > 1 && lives(kid));
    must_destroy(&d, "web-00000001");
    assert_false(lives(kid));
    close_driver(&d);
}

static void *stay(void *unused)
{
    (void)unused;
    while (pause() != 0)
        ;
    return NULL;
}

/* What the test below starts: a program that goes on when its first thread has ended. */
static int headless(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, stay, NULL) != 0)
        return 1;
    pthread_exit(NULL);
}

/* The kernel calls it a zombie then, which it is not. */
static void one_whose_first_thread_has_ended_still_runs(void **state)
{
    (void)state;
    char self[256], text[300], path[64];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(n > 0);
    self[n] = '\0';
    snprintf(text, sizeof text, "command = [ \"%s\", \"--headless\" ];", self);
    struct driver d = open_driver(text);
    must_create(&d, "web-00000001", NULL);
    pid_t pid = (pid_t)record("web-00000001").pid;
    char line[512] = "";
    for (as_time until = in(PATIENCE); !strstr(line, ") Z ") && as_time_left(until) > 0;) {
        snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
        FILE *f = fopen(path, "r");
        assert_non_null(f);
        assert_non_null(fgets(line, sizeof line, f));
        fclose(f);
    }
    assert_non_null(strstr(line, ") Z "));
    struct as_instance seen = named("");
    assert_int_equal(list(&d, "web-00000001", &seen, NULL), 1);
    assert_int_equal(seen.state, AS_RUN_RUNNING);
    must_destroy(&d, "web-00000001");
    assert_int_equal(kill(pid, 0), -1);
    close_driver(&d);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--headless") == 0)
        return headless();
    const struct CMUnitTest tests[] = {
        TEST(an_instance_is_created_listed_and_destroyed),
        TEST(create_and_destroy_are_idempotent),
        TEST(an_ended_instance_is_told_with_its_status_and_started_again),
        TEST(a_killed_instance_is_told_with_its_signal),
        TEST(an_instance_is_parked_and_goes_on),
        TEST(instances_survive_the_process_that_created_them),
        TEST(a_controller_killed_while_it_creates_leaves_nothing_unknown),
        TEST(a_recycled_pid_is_never_signalled),
        TEST(records_of_others_are_left_alone),
        TEST(garbage_in_the_directory_is_left_out_and_left_there),
        TEST(a_directory_open_to_others_is_refused),
        TEST(one_that_ignores_the_signal_is_killed),
        TEST(the_configured_signal_ends_it_in_its_own_way),
        TEST(all_that_an_instance_started_ends_with_it),
        TEST(what_a_dead_leader_left_behind_is_ended_too),
        TEST(one_whose_first_thread_has_ended_still_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
