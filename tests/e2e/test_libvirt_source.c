/* The libvirt source against a real, private libvirtd with QEMU's emulation and guests that compute, write, answer
 * or do nothing. Everything runs in namespaces of its own, and ends with this process, however it ends. Needs
 * root, libvirt and QEMU; every test is skipped otherwise. Run from the top of the repository. */
#include "autoscale/compute.h"
#include "source_kit.h"

#include "libvirt_kit.h"

extern const struct as_compute_driver as_compute_libvirt;
extern const struct as_source_driver as_source_libvirt;

/* --- machines -------------------------------------------------------------------------------------------- */

struct maker { /* the compute driver, for one kind of machine of one group */
    struct as_owner owner;
    struct as_settings *settings;
    void *self;
    struct as_error err;
};

static struct maker *maker_open(const char *controller, const char *group, const char *words)
{
    char text[1024];
    struct maker *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m->owner = (struct as_owner){ controller, group };
    m->self = calloc(1, as_compute_libvirt.state_size);
    snprintf(text, sizeof text,
             "base=\"pool/base.qcow2\"; pool=\"pool\"; memory=\"96MiB\"; port=8080; network=\"as-test\"; "
             "subnet=\"10.78.0.0/24\"; bridge=\"assrc0\"; forward=\"none\"; "
             "range=\"10.78.0.10-10.78.0.20\"; machine=\"q35\"; type=\"qemu\"; kernel=\"%s/kernel\"; "
             "initrd=\"%s/initrd\"; cmdline=\"quiet console=ttyS0 %s\"; serial_log=\"%s/serial\"; "
             "cpu_overcommit=100; stop_timeout=\"0s\";",
             dir, dir, words, dir);
    if (as_settings_parse(as_compute_libvirt.options, text, &m->settings, &m->err) != AS_OK ||
        as_compute_libvirt.open(m->self, m->settings, &m->owner, uri, &m->err) != AS_OK)
        fail_msg("open: %s", m->err.msg);
    return m;
}

static as_time soon(void)
{
    return as_clock_monotonic() + 2 * AS_MINUTE;
}

static struct as_instance make(struct maker *m, const char *id)
{
    struct as_instance i = { 0 };
    struct as_launch launch = { .id = id, .revision = "r1" };
    if (as_compute_libvirt.create(m->self, soon(), &launch, &i, &m->err) != AS_OK)
        fail_msg("create %s: %s", id, m->err.msg);
    return i;
}

static void unmake(struct maker *m, const char *id)
{
    struct as_instance i = { 0 };
    snprintf(i.id, sizeof i.id, "%s", id);
    if (as_compute_libvirt.destroy(m->self, soon(), &i, &m->err) != AS_OK)
        fail_msg("destroy %s: %s", id, m->err.msg);
}

static void maker_close(struct maker *m)
{
    as_compute_libvirt.close(m->self);
    as_settings_free(m->settings);
    free(m->self);
    free(m);
}

/* --- the source ------------------------------------------------------------------------------------------ */

static void source_open(struct probe *p, const char *more)
{
    char text[256];
    snprintf(text, sizeof text, "hosts=\"%s\"; %s", uri, more);
    probe_open(p, &as_source_libvirt, text);
}

struct wish {
    struct probe *p;
    const char *object, *series;
    double low, high;
    as_time next;
};

/* A rate over 20 ms says little: one poll each 500 ms. */
static bool granted(void *arg)
{
    struct wish *w = arg;
    if (as_clock_monotonic() < w->next)
        return false;
    w->next = as_clock_monotonic() + 500;
    double v = probe_poll(w->p) == AS_OK ? value_of(w->p, w->object, w->series) : NAN;
    return v >= w->low && v <= w->high;
}

/* Polls until the series of the object is in the range; machines boot slowly under emulation. */
static void wait_for(struct probe *p, const char *object, const char *series, double low, double high)
{
    struct wish w = { p, object, series, low, high, 0 };
    if (!wait_until(granted, &w) && !wait_until(granted, &w) && !wait_until(granted, &w)) {
        shell("tail -n 5 %s/serial/*.log", dir);
        fail_msg("%s.%s is %g, not in %g..%g; %s", object, series, value_of(p, object, series), low, high,
                 p->err.msg);
    }
}

static bool is_failing(void *arg)
{
    return probe_poll(arg) == AS_EAGAIN;
}

static void assert_missing(const struct probe *p, const char *object, const char *series)
{
    double v = value_of(p, object, series);
    if (!isnan(v))
        fail_msg("%s.%s is %g, not missing", object, series, v);
}

/* --- the tests ------------------------------------------------------------------------------------------- */

static void a_busy_and_an_idle_machine_are_told_apart(void **state)
{
    (void)state;
    need_libvirt();
    struct probe p;
    struct maker *idle = maker_open("test", "web", "mute"), *busy = maker_open("test", "web", "mute busy");
    make(idle, "web-0000001a");
    make(busy, "web-0000001b");
    source_open(&p, "");
    probe_ok(&p);
    assert_true(value_of(&p, "web", "instances") == 2);
    assert_missing(&p, "web", "cpu_percent"); /* one look makes no rate */
    assert_missing(&p, "web", "network_in_rate");
    assert_missing(&p, "web-0000001a", "cpus_used");
    assert_true(value_of(&p, "web", "memory_resident") > 0);
    wait_for(&p, "web-0000001a", "memory_percent", 1, 99); /* both have booted: their balloons tell */
    wait_for(&p, "web-0000001b", "memory_percent", 1, 99);
    assert_true(value_of(&p, "web-0000001b", "memory_used") < 96 << 20);
    wait_for(&p, "web-0000001a", "cpu_percent", 0, 25);
    double calm = value_of(&p, "web-0000001a", "cpu_percent");
    wait_for(&p, "web-0000001b", "cpu_percent", fmax(10, 1.5 * calm), 130);
    double one = value_of(&p, "web-0000001a", "cpu_percent"),
           two = value_of(&p, "web-0000001b", "cpu_percent");
    assert_true(fabs(value_of(&p, "web", "cpu_percent") - (one + two) / 2) < 1e-6);
    assert_true(fabs(value_of(&p, "web", "cpu_percent_max") - fmax(one, two)) < 1e-6);
    assert_true(fabs(value_of(&p, "web-0000001b", "cpus_used") * 100 - two) < 1e-6); /* it has one vcpu */
    probe_close(&p);
    source_open(&p, "measure = \"cpu\";");
    wait_for(&p, "web", "cpus_used", 0.05, 2.2);
    assert_missing(&p, "web", "memory_resident");
    assert_missing(&p, "web", "disk_operation_rate");
    probe_close(&p);
    unmake(idle, "web-0000001a");
    unmake(busy, "web-0000001b");
    maker_close(idle);
    maker_close(busy);
}

static void network_and_disk_are_measured(void **state)
{
    (void)state;
    need_libvirt();
    struct probe p;
    struct maker *m = maker_open("test", "web", "scribbling");
    struct as_instance i = make(m, "web-0000002a");
    source_open(&p, "");
    wait_for(&p, "web", "disk_write_rate", 1000, 1e9); /* 256 KiB a second, once it has booted */
    assert_true(value_of(&p, "web", "disk_operation_rate") > 0);
    assert_int_equal(
        shell("(while curl -s -m 5 --noproxy '*' -o /dev/null http://%s:%d/ || sleep 0.1; do :; done)"
              " & echo $! >%s/curl.pid",
              i.address, i.port, dir),
        0);
    wait_for(&p, "web", "network_in_rate", 100, 1e9);
    wait_for(&p, "web", "network_out_rate", 100, 1e9);
    assert_int_equal(shell("kill $(cat %s/curl.pid)", dir), 0);
    probe_close(&p);
    unmake(m, "web-0000002a");
    maker_close(m);
}

static void parked_and_foreign_machines_are_not_measured(void **state)
{
    (void)state;
    need_libvirt();
    struct probe p;
    struct maker *ours = maker_open("test", "web", "mute"), *theirs = maker_open("other", "web", "mute");
    struct as_instance i = make(ours, "web-0000003a");
    make(ours, "web-0000003b");
    make(theirs, "web-0000003c");
    source_open(&p, "");
    probe_ok(&p);
    assert_true(value_of(&p, "web", "instances") == 2);
    assert_missing(&p, "web-0000003c", "instances");
    wait_for(&p, "web-0000003a", "cpus_used", 0, 2);
    assert_int_equal(as_compute_libvirt.park(ours->self, soon(), &i, &ours->err), AS_OK);
    probe_ok(&p);
    assert_true(value_of(&p, "web", "instances") == 1);
    assert_missing(&p, "web-0000003a", "memory_resident");
    probe_close(&p);
    unmake(ours, "web-0000003a");
    unmake(ours, "web-0000003b");
    unmake(theirs, "web-0000003c");
    maker_close(ours);
    maker_close(theirs);
}

static void a_machine_started_anew_has_no_rate_once(void **state)
{
    (void)state;
    need_libvirt();
    struct probe p;
    struct maker *m = maker_open("test", "web", "mute busy");
    make(m, "web-0000004a");
    source_open(&p, "");
    wait_for(&p, "web", "cpus_used", 0, 2);
    unmake(m, "web-0000004a");
    make(m, "web-0000004a");
    probe_ok(&p);
    assert_missing(&p, "web", "cpus_used");
    assert_missing(&p, "web-0000004a", "disk_operation_rate");
    assert_true(value_of(&p, "web", "instances") == 1);
    wait_for(&p, "web", "cpus_used", 0, 2);
    unmake(m, "web-0000004a");
    wait_for(&p, "web", "instances", 0, 0); /* none left: nothing is used, a mean is not told */
    assert_true(value_of(&p, "web", "cpus_used") == 0);
    assert_missing(&p, "web", "cpu_percent");
    probe_close(&p);
    maker_close(m);
}

static pid_t daemon_pid(void)
{
    char path[96];
    snprintf(path, sizeof path, "%s/pid", dir);
    return pid_in(path);
}

static void a_killed_or_hung_daemon_is_found_again(void **state)
{
    (void)state;
    need_libvirt();
    struct probe p;
    struct maker *m = maker_open("test", "web", "mute");
    make(m, "web-0000005a");
    source_open(&p, "");
    wait_for(&p, "web", "cpus_used", 0, 2);
    assert_int_equal(shell("kill -KILL $(cat %s/pid)", dir), 0);
    assert_true(wait_until(is_failing, &p));
    assert_int_equal(shell(LIB "start %s", dir), 0);
    wait_for(&p, "web", "cpus_used", 0, 2);
    assert_true(value_of(&p, "web", "instances") == 1);
    pid_t pid = daemon_pid();
    hang_process(pid);
    int rc = probe_poll_within(&p, 2 * AS_SECOND); /* its lane leaves it to itself; the keep-alive ends it */
    kill(pid, SIGCONT);
    assert_int_equal(rc, AS_EAGAIN);
    assert_true(p.took < 60 * AS_SECOND);
    wait_for(&p, "web", "cpus_used", 0, 2);
    unmake(m, "web-0000005a");
    probe_close(&p);
    maker_close(m);
}

/* --- the world ---------------------------------------------------------------------------------------- */

static int set_up(void **state)
{
    (void)state;
    if (!usable)
        return 0;
    snprintf(uri, sizeof uri, "qemu+unix:///system?socket=%s/run/libvirt-sock", dir);
    return shell("PATH=$PATH:/sbin:/usr/sbin; ip link set lo up") != 0 || shell(LIB "start %s", dir) != 0 ||
           shell(LIB "guest %s", dir) != 0 || shell(LIB "base %s >/dev/null", dir) != 0;
}

static int test_all(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_busy_and_an_idle_machine_are_told_apart),
        cmocka_unit_test(network_and_disk_are_measured),
        cmocka_unit_test(parked_and_foreign_machines_are_not_measured),
        cmocka_unit_test(a_machine_started_anew_has_no_rate_once),
        cmocka_unit_test(a_killed_or_hung_daemon_is_found_again),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}

int main(void)
{
    return libvirt_kit_main(test_all);
}
