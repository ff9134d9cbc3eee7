/* The process compute driver with real processes: each test has a state directory of its own, and ends what it
 * started. Needs neither root nor a network beyond loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../drivers/compute/process.h"

extern const struct as_compute_driver as_compute_process;

#define SLEEPER  "command = [ \"sleep\", \"1000\" ];"
#define ADDRESS  "127.0.83.1"
#define PATIENCE (30 * AS_SECOND)

static char dir[64];

/* --- helpers ---------------------------------------------------------------------------------------- */

struct driver {
    void *state;
    struct as_settings *settings;
    struct as_owner owner;
    struct as_error err;
};

static as_time in(as_time ms)
{
    return as_clock_monotonic() + ms;
}

static int try_open(struct driver *d, const char *controller, const char *group, const char *text)
{
    char whole[2048];
    *d = (struct driver){ .owner = { .controller = controller, .group = group } };
    d->state = calloc(1, as_compute_process.state_size);
    assert_non_null(d->state);
    snprintf(whole, sizeof whole, "directory = \"%s/state\"; address = \"" ADDRESS "\"; %s", dir, text);
    if (as_settings_parse(as_compute_process.options, whole, &d->settings, &d->err) != AS_OK)
        fail_msg("settings: %s", d->err.msg);
    return as_compute_process.open(d->state, d->settings, &d->owner, "local", &d->err);
}

static struct driver open_as(const char *controller, const char *group, const char *text)
{
    struct driver d;
    if (try_open(&d, controller, group, text) != AS_OK)
        fail_msg("open: %s", d.err.msg);
    return d;
}

static struct driver open_driver(const char *text)
{
    return open_as("test", "web", text);
}

static void close_driver(struct driver *d)
{
    as_compute_process.close(d->state);
    as_settings_free(d->settings);
    free(d->state);
}

static int create(struct driver *d, const char *id, struct as_instance *out)
{
    struct as_launch launch = { .id = id, .revision = "r1" };
    struct as_instance ignored;
    d->err = (struct as_error){ 0 };
    return as_compute_process.create(d->state, in(PATIENCE), &launch, out ? out : &ignored, &d->err);
}

static void must_create(struct driver *d, const char *id, struct as_instance *out)
{
    if (create(d, id, out) != AS_OK)
        fail_msg("create %s: %s", id, d->err.msg);
}

static struct as_instance named(const char *id)
{
    struct as_instance i = { 0 };
    snprintf(i.id, sizeof i.id, "%s", id);
    return i;
}

static int destroy(struct driver *d, const char *id)
{
    struct as_instance i = named(id);
    d->err = (struct as_error){ 0 };
    return as_compute_process.destroy(d->state, in(PATIENCE), &i, &d->err);
}

static void must_destroy(struct driver *d, const char *id)
{
    if (destroy(d, id) != AS_OK)
        fail_msg("destroy %s: %s", id, d->err.msg);
}

/* How many are listed; *out gets the one of this id when it is. */
static size_t list(struct driver *d, const char *id, struct as_instance *out, int *room)
{
    struct as_instances all = { 0 };
    size_t count;
    d->err = (struct as_error){ 0 };
    if (as_compute_process.list(d->state, in(PATIENCE), &all, &d->err) != AS_OK)
        fail_msg("list: %s", d->err.msg);
    count = all.count;
    for (size_t i = 0; out && i < all.count; i++)
        if (strcmp(all.items[i].id, id) == 0)
            *out = all.items[i];
    if (room)
        *room = all.room;
    as_instances_fini(&all);
    return count;
}

/* Waits until the instance is listed in this state. */
static struct as_instance await(struct driver *d, const char *id, enum as_run_state state)
{
    struct as_instance i;
    for (as_time until = in(PATIENCE); as_time_left(until) > 0;
         nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL)) {
        i = named("");
        list(d, id, &i, NULL);
        if (i.id[0] && i.state == state)
            return i;
    }
    fail_msg("%s did not reach state %d but is %d: %s", id, state, i.state, i.detail);
    return i;
}

static const char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static char *contents(const char *name)
{
    static char text[65536];
    FILE *f = fopen(path_of(name), "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = '\0';
    if (f)
        fclose(f);
    return text;
}

static void put(const char *name, const char *text)
{
    FILE *f = fopen(path_of(name), "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static bool exists(const char *name)
{
    struct stat st;
    return lstat(path_of(name), &st) == 0;
}

/* Waits until the file of the test's directory holds the text. */
static void await_text(const char *name, const char *text)
{
    as_time until = in(PATIENCE);
    while (!strstr(contents(name), text)) {
        if (as_time_left(until) == 0)
            fail_msg("no '%s' in %s: '%s'", text, name, contents(name));
        nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
    }
}

static struct process_record record(const char *id)
{
    struct process_record r;
    struct as_error err;
    char name[128];
    snprintf(name, sizeof name, "state/%s.json", id);
    char *text = contents(name);
    if (process_record_parse(text, strlen(text), &r, &err) != AS_OK)
        fail_msg("record of %s: it %s", id, err.msg);
    return r;
}

static void put_record(const struct process_record *r)
{
    char name[128], *text = process_record_print(r);
    assert_non_null(text);
    snprintf(name, sizeof name, "state/%s.json", r->id);
    put(name, text);
    free(text);
}

/* Does a process of this pid live (a zombie does not)? */
static bool lives(int64_t pid)
{
    char path[64], text[1024];
    struct process_stat st;
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = '\0';
    if (f)
        fclose(f);
    return n > 0 && process_stat_parse(text, &st) && st.state != 'Z' && st.state != 'X';
}

static int listen_on(uint16_t port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    inet_pton(AF_INET, ADDRESS, &at.sin_addr);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 1) != 0)
        fail_msg("cannot listen on " ADDRESS ":%u: %s", (unsigned)port, strerror(errno));
    return fd;
}

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/as-process-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

/* Ends whatever a failed test left behind, by its records, then removes the directory. */
static int teardown(void **state)
{
    char command[128];
    DIR *d = opendir(path_of("state"));
    (void)state;
    for (struct dirent *e; d && (e = readdir(d));) {
        struct process p = { 0 };
        struct process_record r;
        char name[512];
        snprintf(name, sizeof name, "state/%s", e->d_name);
        if (e->d_type != DT_REG) /* a pipe would never end */
            continue;
        char *text = contents(name);
        if (process_boot_read(p.boot) && process_record_parse(text, strlen(text), &r, NULL) == AS_OK)
            process_signal(&p, &r, SIGKILL);
    }
    if (d)
        closedir(d);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

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
    pid_t pid = (pid_t)record("web-00000001")
                    .pid; /* read from outside: a shell blocks signals of its own while it forks */
    for (int fd = 0; fd < 64; fd++)
        if (process_has_fd(pid, fd) != (fd <= 2))
            fail_msg("descriptor %d is %s", fd, fd <= 2 ? "not open" : "handed on");
    assert_int_equal(process_signal_mask(pid, "SigBlk"), 0);
    assert_int_equal(process_signal_mask(pid, "SigIgn"), 0);
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
        TEST(a_command_that_cannot_start_is_refused_with_the_reason),
        TEST(wrong_options_are_refused),
        TEST(one_that_ignores_the_signal_is_killed),
        TEST(the_configured_signal_ends_it_in_its_own_way),
        TEST(all_that_an_instance_started_ends_with_it),
        TEST(what_a_dead_leader_left_behind_is_ended_too),
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
