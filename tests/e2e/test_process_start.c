/* The process compute driver with real processes: what is refused before a start, ports, what a process is given and
 * what it is not, and many starts at once. Needs neither root nor a network beyond loopback. */
#include "process_kit.h"

/* --- failing starts ----------------------------------------------------------------------------------- */

static void check_refused_start(const char *text, const char *why)
{
    struct driver d = open_driver(text);
    if (create(&d, "web-00000001", NULL) != AS_EINVAL)
        fail_msg("create with %s: class %d: %s", text, d.err.rc, d.err.msg);
    if (!strstr(d.err.msg, why))
        fail_msg("no '%s' in '%s'", why, d.err.msg);
    assert_int_equal(list(&d, "", NULL, NULL), 0);
    assert_false(exists("state/web-00000001.log"));
    close_driver(&d);
}

static void a_command_that_cannot_start_is_refused_with_the_reason(void **state)
{
    (void)state;
    char text[256];
    check_refused_start("command = \"no-such-program\";",
                        "'no-such-program' cannot be started: No such file");
    check_refused_start("command = \"/no/such/program\";", "No such file");
    check_refused_start("command = \"/etc/passwd\";", "Permission denied");
    check_refused_start(SLEEPER "cwd = \"/no/such/directory\";", "(cwd) failed");
    put("text", "this is no program\n");
    chmod(path_of("text"), 0700);
    snprintf(text, sizeof text, "command = \"%s/text\";", dir);
    check_refused_start(text, "Exec format error");
}

static void wrong_options_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } cases[] = {
        { "command = \"./relative\";", "command: " },
        { "command = [ \"sleep\", \"{prot}\" ];", "'{prot}'" },
        { SLEEPER "env = { A = \"{ident}\"; };", "'{ident}'" },
        { SLEEPER "env = { AUTOSCALE_INSTANCE = \"x\"; };", "reserved" },
        { SLEEPER "ports = \"20000\u201320010\";", "ports: " },
        { SLEEPER "ports = \"20010-20000\";", "ports: " },
        { SLEEPER "ports = \"0-10\";", "ports: " },
        { SLEEPER "ports = \"65535-65536\";", "ports: " },
        { SLEEPER "ports = \"\";", "ports: " },
        { SLEEPER "cwd = \"relative\";", "cwd: " },
        { SLEEPER "user = \"no-such-user\";", "user: " },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct driver d;
        if (try_open(&d, "test", "web", cases[i].text) != AS_EINVAL)
            fail_msg("accepted: %s", cases[i].text);
        if (!strstr(d.err.msg, cases[i].why))
            fail_msg("no '%s' in '%s'", cases[i].why, d.err.msg);
        close_driver(&d);
    }
}

/* --- ports -------------------------------------------------------------------------------------------- */

static void a_port_in_use_is_skipped_and_a_full_range_is_full(void **state)
{
    (void)state;
    struct driver d = open_driver(SLEEPER "ports = \"21001-21003\";");
    struct as_instance a, b;
    int left, taken = listen_on(21001);
    must_create(&d, "web-00000001", &a);
    must_create(&d, "web-00000002", &b);
    assert_int_equal(a.port, 21002);
    assert_int_equal(b.port, 21003);
    assert_int_equal(create(&d, "web-00000003", NULL), AS_EFULL);
    assert_non_null(strstr(d.err.msg, "21001-21003"));
    list(&d, "", NULL, &left);
    assert_int_equal(left, 1); /* by the records; who else has a port is seen when it is tried */
    close(taken);
    must_create(&d, "web-00000003", &a);
    assert_int_equal(a.port, 21001);
    list(&d, "", NULL, &left);
    assert_int_equal(left, 0);
    must_destroy(&d, "web-00000002");
    must_create(&d, "web-00000004", &a);
    assert_int_equal(a.port, 21003);
    must_destroy(&d, "web-00000001");
    must_destroy(&d, "web-00000003");
    must_destroy(&d, "web-00000004");
    close_driver(&d);
}

static void an_address_of_another_machine_is_refused(void **state)
{
    (void)state;
    struct as_settings *s;
    struct as_owner owner = { "test", "web" };
    struct as_error err;
    struct as_launch launch = { "web-00000001", "r1" };
    struct as_instance out;
    char text[256];
    void *self = calloc(1, as_compute_process.state_size);
    snprintf(text, sizeof text, SLEEPER "directory = \"%s/state\"; address = \"192.0.2.1\";", dir);
    assert_int_equal(as_settings_parse(as_compute_process.options, text, &s, &err), AS_OK);
    assert_int_equal(as_compute_process.open(self, s, &owner, "local", &err), AS_OK);
    assert_int_equal(as_compute_process.create(self, in(PATIENCE), &launch, &out, &err), AS_EINVAL);
    assert_non_null(strstr(err.msg, "192.0.2.1"));
    as_compute_process.close(self);
    as_settings_free(s);
    free(self);
}

/* --- surroundings --------------------------------------------------------------------------------------- */

static void the_environment_is_clean_and_filled_in(void **state)
{
    (void)state;
    struct as_instance i;
    char want[64];
    setenv("PROCESS_TEST_SECRET", "leaked", 1);
    struct driver d = open_driver("command = [ \"/bin/sh\", \"-c\", \"env; echo arg=$0; exec sleep 1000\", "
                                  "\"{address}:{port}\" ]; env = { LISTEN = \"{port}\"; };");
    must_create(&d, "web-00000001", &i);
    await_text("state/web-00000001.log", "arg=");
    char *log = contents("state/web-00000001.log");
    snprintf(want, sizeof want, "LISTEN=%u\n", (unsigned)i.port);
    assert_non_null(strstr(log, want));
    snprintf(want, sizeof want, "arg=" ADDRESS ":%u\n", (unsigned)i.port);
    assert_non_null(strstr(log, want));
    assert_non_null(strstr(log, "PATH=/"));
    assert_non_null(strstr(log, "AUTOSCALE_INSTANCE=web-00000001\n"));
    assert_null(strstr(log, "leaked"));
    must_destroy(&d, "web-00000001");
    close_driver(&d);
    d = open_driver(
        "command = [ \"/bin/sh\", \"-c\", \"env; echo done; exec sleep 1000\" ]; inherit_env = true;");
    must_create(&d, "web-00000001", NULL);
    await_text("state/web-00000001.log", "done");
    assert_non_null(strstr(contents("state/web-00000001.log"), "PROCESS_TEST_SECRET=leaked"));
    must_destroy(&d, "web-00000001");
    close_driver(&d);
}

static bool process_has_fd(pid_t pid, int fd)
{
    char path[64];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, fd);
    return lstat(path, &st) == 0;
}

static unsigned long long process_signal_mask(pid_t pid, const char *name)
{
    char path[64], line[256];
    unsigned long long mask = ~0ULL;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        if (strncmp(line, name, strlen(name)) == 0)
            mask = strtoull(line + strlen(name) + 1, NULL, 16);
    fclose(f);
    return mask;
}

static void no_descriptor_and_no_blocked_signal_is_handed_on(void **state)
{
    (void)state;
    int leak = open("/dev/null", O_RDONLY); /* without close-on-exec, on purpose */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    signal(SIGPIPE, SIG_IGN);
    struct driver d = open_driver(SLEEPER);
    must_create(&d, "web-00000001", NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    signal(SIGPIPE, SIG_DFL);
    /* Read from outside: a shell blocks signals of its own while it forks. 32 and 33 are the C library's, cannot be
     * reset through it, and come ignored from make, whose posix_spawn does that. */
    const unsigned long long library = 3ULL << 31;
    pid_t pid = (pid_t)record("web-00000001").pid;
    for (int fd = 0; fd < 64; fd++)
        if (process_has_fd(pid, fd) != (fd <= 2))
            fail_msg("descriptor %d is %s", fd, fd <= 2 ? "not open" : "handed on");
    assert_int_equal(process_signal_mask(pid, "SigBlk") & ~library, 0);
    assert_int_equal(process_signal_mask(pid, "SigIgn") & ~library, 0);
    close(leak);
    must_destroy(&d, "web-00000001");
    close_driver(&d);
}

static void limits_priority_and_directory_are_set(void **state)
{
    (void)state;
    struct driver d =
        open_driver("memory = \"512MiB\"; open_files = 77; nice = 7; cwd = \"/usr\"; command = [ "
                    "\"/bin/sh\", \"-c\", \"ulimit -n; ulimit -v; pwd; exec sleep 1000\" ];");
    must_create(&d, "web-00000001", NULL);
    await_text("state/web-00000001.log", "/usr\n");
    assert_string_equal(contents("state/web-00000001.log"), "77\n524288\n/usr\n");
    assert_int_equal(getpriority(PRIO_PROCESS, (id_t)record("web-00000001").pid), 7);
    must_destroy(&d, "web-00000001");
    close_driver(&d);
}

static void root_can_start_as_another_user(void **state)
{
    (void)state;
    struct driver d;
    if (geteuid() != 0) {
        assert_int_equal(try_open(&d, "test", "web", SLEEPER "user = \"nobody\";"), AS_EINVAL);
        assert_non_null(strstr(d.err.msg, "only root"));
        close_driver(&d);
        return;
    }
    d = open_driver(
        "user = \"nobody\"; command = [ \"/bin/sh\", \"-c\", \"id -u; id -G; exec sleep 1000\" ];");
    must_create(&d, "web-00000001", NULL);
    await_text("state/web-00000001.log", "\n65534\n");
    assert_string_equal(contents("state/web-00000001.log"), "65534\n65534\n");
    must_destroy(&d, "web-00000001");
    close_driver(&d);
}

static void a_log_does_not_grow_for_ever(void **state)
{
    (void)state;
    struct stat st;
    struct driver d =
        open_driver("log_max = \"64KiB\"; command = [ \"/bin/sh\", \"-c\", \"head -c 400000 /dev/zero; "
                    "exec sleep 1000\" ];");
    must_create(&d, "web-00000001", NULL);
    struct as_instance i;
    as_time until = in(PATIENCE);
    do
        list(&d, "web-00000001", &i, NULL);
    while (as_time_left(until) > 0 &&
           (stat(path_of("state/web-00000001.log.1"), &st) != 0 ||
            stat(path_of("state/web-00000001.log"), &st) != 0 || st.st_size > 65536));
    assert_true(st.st_size <= 65536);
    assert_int_equal(stat(path_of("state/web-00000001.log.1"), &st), 0);
    assert_true(st.st_size > 0);
    assert_int_equal(i.state, AS_RUN_RUNNING);
    must_destroy(&d, "web-00000001");
    close_driver(&d);
}

/* --- many at once --------------------------------------------------------------------------------------- */

#define THREADS 8
#define EACH    4

struct worker {
    struct driver *d;
    int number, rc;
};

static void *create_some(void *arg)
{
    struct worker *w = arg;
    for (int k = 0; k < EACH && w->rc == AS_OK; k++) {
        struct as_instance out;
        struct as_error err;
        char id[AS_ID_MAX];
        snprintf(id, sizeof id, "web-%04x%04x", (unsigned)w->number, (unsigned)k);
        struct as_launch launch = { id, "r1" };
        w->rc = as_compute_process.create(w->d->state, in(PATIENCE), &launch, &out, &err);
    }
    return NULL;
}

static void *destroy_some(void *arg)
{
    struct worker *w = arg;
    for (int k = 0; k < EACH && w->rc == AS_OK; k++) {
        struct as_instance i = { 0 };
        struct as_error err;
        snprintf(i.id, sizeof i.id, "web-%04x%04x", (unsigned)w->number, (unsigned)k);
        w->rc = as_compute_process.destroy(w->d->state, in(PATIENCE), &i, &err);
    }
    return NULL;
}

static void run_workers(struct driver *d, void *(*work)(void *))
{
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){ d, i, AS_OK };
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].rc, AS_OK);
    }
}

static void creates_and_destroys_at_once_get_in_nobodys_way(void **state)
{
    (void)state;
    struct driver d = open_driver(SLEEPER "ports = \"22000-22031\";");
    struct as_instances all = { 0 };
    bool seen[32] = { false };
    run_workers(&d, create_some);
    assert_int_equal(as_compute_process.list(d.state, in(PATIENCE), &all, &d.err), AS_OK);
    assert_int_equal(all.count, THREADS * EACH);
    assert_int_equal(all.room, 0);
    for (size_t i = 0; i < all.count; i++) {
        assert_int_equal(all.items[i].state, AS_RUN_RUNNING);
        assert_in_range(all.items[i].port, 22000, 22031);
        assert_false(seen[all.items[i].port - 22000]);
        seen[all.items[i].port - 22000] = true;
    }
    as_instances_fini(&all);
    run_workers(&d, destroy_some);
    assert_int_equal(list(&d, "", NULL, NULL), 0);
    close_driver(&d);
}

static void a_locked_directory_is_waited_for_until_the_deadline(void **state)
{
    (void)state;
    struct driver d = open_driver(SLEEPER);
    struct as_launch launch = { "web-00000001", "r1" };
    struct as_instance out;
    struct process *p = d.state;
    int held;
    assert_int_equal(process_store_open(p, true, in(PATIENCE), &held, &d.err), AS_OK);
    assert_int_equal(as_compute_process.create(d.state, in(100), &launch, &out, &d.err), AS_EAGAIN);
    close(held);
    must_create(&d, "web-00000001", NULL);
    must_destroy(&d, "web-00000001");
    close_driver(&d);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_command_that_cannot_start_is_refused_with_the_reason),
        TEST(wrong_options_are_refused),
        TEST(a_port_in_use_is_skipped_and_a_full_range_is_full),
        TEST(an_address_of_another_machine_is_refused),
        TEST(the_environment_is_clean_and_filled_in),
        TEST(no_descriptor_and_no_blocked_signal_is_handed_on),
        TEST(limits_priority_and_directory_are_set),
        TEST(root_can_start_as_another_user),
        TEST(a_log_does_not_grow_for_ever),
        TEST(creates_and_destroys_at_once_get_in_nobodys_way),
        TEST(a_locked_directory_is_waited_for_until_the_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
