/* The docker source against a real, private Docker daemon with containers that do nothing, work, are held back
 * by their limit, or fill memory. Everything runs in a network namespace of this process. Needs root and
 * dockerd; every test is skipped otherwise. Run from the top of the repository. */
#include <sched.h>

#include "autoscale/compute.h"
#include "source_kit.h"

extern const struct as_compute_driver as_compute_docker;
extern const struct as_source_driver as_source_docker;

#define DAEMON "bash tests/e2e/lib/dockerd.sh "
#define SPIN   "[\"sh\",\"-c\",\"while :; do :; done\"]"
#define SLEEP  "[\"sleep\",\"1000\"]"
#define CURL   "curl -sf -o /dev/null --noproxy '*' --unix-socket %s/a/docker.sock "

static char dir[] = "/tmp/as-dksource-XXXXXX";
static char endpoint[80];
static bool usable;

/* --- containers ---------------------------------------------------------------------------------------- */

__attribute__((format(printf, 1, 2))) static int shell(const char *fmt, ...)
{
    char command[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(command, sizeof command, fmt, ap);
    va_end(ap);
    return system(command);
}

struct maker { /* the compute driver, for one group of one controller */
    struct as_owner owner;
    struct as_settings *settings;
    void *self;
};

static struct maker *maker_open(const char *controller, const char *group, const char *command,
                                const char *more)
{
    char text[512];
    struct as_error err = { 0 };
    struct maker *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m->owner = (struct as_owner){ controller, group };
    m->self = calloc(1, as_compute_docker.state_size);
    snprintf(text, sizeof text,
             "image=\"bb:1\"; port=80; network=\"srcnet\"; stop_timeout=\"0s\"; command=%s; %s", command,
             more);
    if (as_settings_parse(as_compute_docker.options, text, &m->settings, &err) != AS_OK ||
        as_compute_docker.open(m->self, m->settings, &m->owner, endpoint, &err) != AS_OK)
        fail_msg("open: %s", err.msg);
    return m;
}

static void make(struct maker *m, const char *id)
{
    struct as_error err = { 0 };
    struct as_instance i;
    struct as_launch launch = { .id = id, .revision = "r1" };
    if (as_compute_docker.create(m->self, as_clock_monotonic() + AS_MINUTE, &launch, &i, &err) != AS_OK)
        fail_msg("create %s: %s", id, err.msg);
}

/* Removes all of its containers. */
static void maker_close(struct maker *m)
{
    struct as_instances all = { 0 };
    struct as_error err = { 0 };
    as_time until = as_clock_monotonic() + AS_MINUTE;
    if (as_compute_docker.list(m->self, until, &all, &err) != AS_OK)
        fail_msg("list: %s", err.msg);
    for (size_t i = 0; i < all.count; i++)
        if (as_compute_docker.destroy(m->self, until, &all.items[i], &err) != AS_OK)
            fail_msg("destroy: %s", err.msg);
    as_instances_fini(&all);
    as_compute_docker.close(m->self);
    as_settings_free(m->settings);
    free(m->self);
    free(m);
}

static void source_open(struct probe *p, const char *more)
{
    char text[256];
    snprintf(text, sizeof text, "hosts=\"%s\"; %s", endpoint, more);
    memset(p, 0, sizeof *p);
    probe_open(p, &as_source_docker, text);
}

struct wish {
    struct probe *p;
    const char *object, *series;
    double low, high;
};

static bool granted(void *arg)
{
    struct wish *w = arg;
    double v = probe_poll(w->p) == AS_OK ? value_of(w->p, w->object, w->series) : NAN;
    return v >= w->low && v <= w->high;
}

/* Polls until the series of the object is in the range. */
static void wait_for(struct probe *p, const char *object, const char *series, double low, double high)
{
    if (!wait_until(granted, &(struct wish){ p, object, series, low, high }))
        fail_msg("%s.%s is %g, not in %g..%g; %s", object, series, value_of(p, object, series), low, high,
                 p->err.msg);
}

static void assert_missing(const struct probe *p, const char *object, const char *series)
{
    double v = value_of(p, object, series);
    if (!isnan(v))
        fail_msg("%s.%s is %g, not missing", object, series, v);
}

static pid_t daemon_pid(void)
{
    char path[96];
    snprintf(path, sizeof path, "%s/a/pid", dir);
    return pid_in(path);
}

#define NEEDS_DOCKER()                                                                                       \
    do {                                                                                                     \
        if (!usable)                                                                                         \
            skip();                                                                                          \
    } while (0)

/* --- the tests ----------------------------------------------------------------------------------------- */

static void a_busy_an_idle_and_a_throttled_container_are_told_apart(void **state)
{
    (void)state;
    NEEDS_DOCKER();
    struct probe p;
    struct maker *idle = maker_open("test", "web", SLEEP, "cpus = 0.2;");
    /* so little that it is held back on a machine with much else to do as well */
    struct maker *held = maker_open("test", "web", SPIN, "cpus = 0.04;");
    struct maker *busy = maker_open("test", "job", SPIN, "");
    make(idle, "web-0000001d");
    make(held, "web-0000001e");
    make(busy, "job-0000001f");
    source_open(&p, "");
    probe_ok(&p);
    assert_missing(&p, "web", "cpu_percent"); /* one look makes no rate */
    assert_missing(&p, "web-0000001d", "cpu_percent");
    assert_missing(&p, "web", "throttled_percent");
    assert_true(value_of(&p, "web", "memory_used") > 0);
    assert_true(value_of(&p, "web", "instances") == 2);
    wait_for(&p, "web-0000001e", "throttled_percent", 20, 100);
    wait_for(&p, "web-0000001e", "cpu_percent", 30, 150);
    wait_for(&p, "web-0000001e", "cpus_used", 0.012, 0.06);
    wait_for(&p, "web-0000001d", "cpu_percent", 0, 10);
    wait_for(&p, "web-0000001d", "throttled_percent", 0, 10);
    wait_for(&p, "web", "cpu_percent", 15, 80); /* the mean of both */
    wait_for(&p, "web", "cpu_percent_max", 30, 150);
    wait_for(&p, "job", "cpus_used", 0.01, 1.1); /* how much depends on who else works on this machine */
    double percent = value_of(&p, "job", "cpu_percent"); /* no limit: of one CPU */
    assert_true(fabs(percent - 100 * value_of(&p, "job", "cpus_used")) < 1e-6);
    assert_missing(&p, "job", "throttled_percent");
    assert_missing(&p, "job-0000001f", "cpu_percent_max");
    probe_close(&p);
    maker_close(busy);
    maker_close(held);
    as_compute_docker.close(idle->self); /* its container went with the other maker's: same group */
    as_settings_free(idle->settings);
    free(idle->self);
    free(idle);
}

static void memory_counts_what_is_needed_and_not_what_can_be_dropped(void **state)
{
    (void)state;
    NEEDS_DOCKER();
    struct probe p;
    struct maker *fill = maker_open(
        "test", "shm",
        "[\"busybox\",\"sh\",\"-c\",\"busybox dd if=/dev/zero of=/dev/shm/x bs=1M count=32; sleep 1000\"]",
        "memory = \"64MiB\";");
    struct maker *cache =
        maker_open("test", "disk",
                   "[\"busybox\",\"sh\",\"-c\",\"busybox dd if=/dev/zero of=/tmp/x bs=1M count=40; "
                   "busybox sync; busybox touch /tmp/done; sleep 1000\"]",
                   "memory = \"64MiB\";");
    make(fill, "shm-0000002a");
    make(cache, "disk-0000002b");
    source_open(&p, "");
    wait_for(&p, "shm", "memory_percent", 50, 65);
    wait_for(&p, "shm", "memory_used", 32 << 20, 40 << 20);
    assert_int_equal(shell("n=0; until " CURL "-I 'http://d/containers/disk-0000002b/archive?path=/tmp/done';"
                           " do n=$((n + 1)); [ $n -lt 600 ] || exit 1; sleep 0.1; done",
                           dir),
                     0);
    wait_for(&p, "disk", "memory_used", 0, 12 << 20); /* 40 MiB were written, and are on the disk */
    wait_for(&p, "disk", "memory_percent_max", 0, 20);
    probe_close(&p);
    maker_close(fill);
    maker_close(cache);
}

static void strangers_and_parked_containers_are_not_measured(void **state)
{
    (void)state;
    NEEDS_DOCKER();
    struct probe p;
    struct maker *ours = maker_open("test", "web", SLEEP, ""),
                 *theirs = maker_open("other", "web", SLEEP, "");
    struct as_instance i = { .id = "web-0000003b" };
    struct as_error err = { 0 };
    make(ours, "web-0000003a");
    make(ours, "web-0000003b");
    make(theirs, "web-0000003c");
    source_open(&p, "");
    probe_ok(&p);
    assert_true(value_of(&p, "web", "instances") == 2);
    assert_missing(&p, "web-0000003c", "memory_used");
    assert_int_equal(as_compute_docker.park(ours->self, as_clock_monotonic() + AS_MINUTE, &i, &err), AS_OK);
    probe_ok(&p);
    assert_true(value_of(&p, "web", "instances") == 1);
    assert_missing(&p, "web-0000003b", "memory_used");
    assert_true(value_of(&p, "web-0000003a", "memory_used") > 0);
    probe_close(&p);
    source_open(&p, "groups = [ \"api\" ];");
    probe_ok(&p);
    assert_int_equal(p.samples.count, 0);
    probe_close(&p);
    maker_close(ours);
    maker_close(theirs);
}

static void a_restarted_container_has_no_rate_once(void **state)
{
    (void)state;
    NEEDS_DOCKER();
    struct probe p;
    struct maker *m = maker_open("test", "web", SPIN, "cpus = 0.1;");
    make(m, "web-0000004a");
    source_open(&p, "");
    probe_ok(&p);
    wait_for(&p, "web", "cpus_used", 0.02, 0.3);
    assert_int_equal(shell(CURL "-X POST 'http://d/containers/web-0000004a/restart?t=0'", dir), 0);
    probe_ok(&p);
    assert_missing(&p, "web", "cpus_used");
    assert_missing(&p, "web", "cpu_percent");
    assert_true(value_of(&p, "web", "memory_used") > 0);
    wait_for(&p, "web", "cpus_used", 0.02, 0.3);
    assert_int_equal(shell(CURL "-X POST 'http://d/containers/web-0000004a/kill'", dir), 0);
    wait_for(&p, "web", "instances", 0,
             0); /* a group without a container uses nothing, its mean is not told */
    assert_true(value_of(&p, "web", "cpus_used") == 0);
    assert_missing(&p, "web", "cpu_percent");
    probe_close(&p);
    maker_close(m);
}

/* How long a poll took that left nothing out. */
static as_time poll_whole(struct probe *p, int instances)
{
    if (probe_poll_within(p, AS_MINUTE) != AS_OK)
        fail_msg("poll: %s", p->err.msg);
    assert_string_equal(p->err.msg, "");
    assert_true(value_of(p, "web", "instances") == instances);
    return p->took;
}

/* One after the other they would take a second each, on a machine of whatever speed: this Docker answers when its next
 * sample is made. */
static void many_containers_are_asked_at_the_same_time(void **state)
{
    (void)state;
    NEEDS_DOCKER();
    enum { MANY = 16 };
    struct probe p;
    struct maker *m = maker_open("test", "web", SLEEP, "");
    for (int i = 0; i < MANY; i++) {
        char id[32];
        snprintf(id, sizeof id, "web-000005%02x", (unsigned)i);
        make(m, id);
    }
    source_open(&p, "");
    poll_whole(&p, MANY);
    as_time took = poll_whole(&p, MANY);
    for (int again = 0; again < 5 && took >= 10 * AS_SECOND; again++) /* the machine does other things too */
        took = poll_whole(&p, MANY);
    assert_true(value_of(&p, "web", "cpus_used") >= 0);
    print_message("%d containers in %d ms\n", MANY, (int)took);
    assert_true(took < 10 * AS_SECOND);
    probe_close(&p);
    maker_close(m);
}

static void a_hung_daemon_costs_the_deadline_and_no_value(void **state)
{
    (void)state;
    NEEDS_DOCKER();
    struct probe p;
    struct maker *m = maker_open("test", "web", SLEEP, "");
    make(m, "web-0000006a");
    source_open(&p, "");
    probe_ok(&p);
    hang_process(daemon_pid());
    int rc = probe_poll_within(&p, 500);
    as_time took = p.took;
    kill(daemon_pid(), SIGCONT);
    assert_int_equal(rc, AS_EAGAIN);
    assert_true(took >= 400 && took < LATE);
    wait_for(&p, "web", "cpus_used", 0, 0.2);
    probe_close(&p);
    maker_close(m);
}

static void a_dead_daemon_is_asked_again_without_a_restart_of_ours(void **state)
{
    (void)state;
    NEEDS_DOCKER();
    struct probe p;
    struct maker *m = maker_open("test", "web", SLEEP, "");
    source_open(&p, "");
    make(m, "web-0000007a");
    probe_ok(&p);
    assert_int_equal(shell(DAEMON "kill %s/a", dir), 0);
    assert_int_equal(probe_poll(&p), AS_EAGAIN);
    assert_int_equal(shell(DAEMON "start %s/a", dir), 0);
    wait_for(&p, "web", "instances", 0, 0);
    make(m, "web-0000007b");
    wait_for(&p, "web", "cpus_used", 0, 0.2);
    assert_true(value_of(&p, "web", "instances") == 1);
    probe_close(&p);
    maker_close(m);
}

static void wrong_hosts_are_refused_offline(void **state)
{
    (void)state;
    assert_open_refuses(&as_source_docker, "hosts=\"/var/run/docker.sock\";",
                        "hosts: '/var/run/docker.sock' must be");
    assert_open_refuses(&as_source_docker, "hosts=\"tcp://h:1\"; tls_cert=\"/dev/null\";", "go together");
}

/* --- the daemon ------------------------------------------------------------------------------------------ */

static int start_daemon(void **state)
{
    (void)state;
    if (geteuid() != 0 || shell("command -v dockerd curl busybox >/dev/null 2>&1") != 0 ||
        unshare(CLONE_NEWNET) != 0 || shell("ip link set lo up") != 0) {
        print_message("docker is not usable here (needs root and dockerd): tests are skipped\n");
        return 0;
    }
    if (!mkdtemp(dir))
        return -1;
    snprintf(endpoint, sizeof endpoint, "unix://%s/a/docker.sock", dir);
    if (shell(DAEMON "start %s/a && " DAEMON "image %s/a bb:1", dir, dir) != 0)
        return -1;
    usable = true;
    return 0;
}

/* What a failed test has left must not fail the next one. */
static int remove_containers(void **state)
{
    (void)state;
    if (usable)
        shell("for id in $(curl -s --noproxy '*' --unix-socket %s/a/docker.sock "
              "'http://d/containers/json?all=1' |"
              " grep -oE '\"Id\":\"[0-9a-f]{64}' | cut -d'\"' -f4); do " CURL
              "-X DELETE \"http://d/containers/$id?force=1\"; done",
              dir, dir);
    return 0;
}

static int stop_daemon(void **state)
{
    (void)state;
    if (strchr(dir, 'X') == NULL)
        shell(DAEMON "stop %s/a; rm -rf %s", dir, dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_busy_an_idle_and_a_throttled_container_are_told_apart, remove_containers),
        cmocka_unit_test_teardown(memory_counts_what_is_needed_and_not_what_can_be_dropped,
                                  remove_containers),
        cmocka_unit_test_teardown(strangers_and_parked_containers_are_not_measured, remove_containers),
        cmocka_unit_test_teardown(a_restarted_container_has_no_rate_once, remove_containers),
        cmocka_unit_test_teardown(many_containers_are_asked_at_the_same_time, remove_containers),
        cmocka_unit_test_teardown(a_hung_daemon_costs_the_deadline_and_no_value, remove_containers),
        cmocka_unit_test_teardown(a_dead_daemon_is_asked_again_without_a_restart_of_ours, remove_containers),
        cmocka_unit_test_teardown(wrong_hosts_are_refused_offline, remove_containers),
    };
    return cmocka_run_group_tests(tests, start_daemon, stop_daemon);
}
