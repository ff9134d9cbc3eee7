/* The libvirt compute driver against a real, private libvirtd with QEMU's emulation and a guest that boots in
 * seconds. Everything runs in namespaces of its own, so that no libvirt, bridge or domain of the machine is
 * touched and all of it ends with this process, however it ends. Needs root, libvirt and QEMU; every test is
 * skipped otherwise. Run from the top of the repository. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "autoscale/compute.h"
#include "libvirt_kit.h"
#include "server_kit.h"

extern const struct as_compute_driver as_compute_libvirt;

#define QUIET         "quiet console=ttyS0"
#define LIST_PATIENCE 30000

static const char *at = uri; /* where drivers are opened */

/* --- helpers ------------------------------------------------------------------------------------------ */

struct driver {
    void *state;
    struct as_settings *settings;
    struct as_owner owner;
    struct as_error err;
};

/* What is usual, unless the test says otherwise: libconfig takes no option twice. */
static const char *usual(const char *more, const char *option, const char *text)
{
    return strstr(more, option) ? "" : text;
}

static struct driver open_in(int subnet, const char *group, const char *cmdline, const char *more)
{
    char text[2048];
    struct driver d = { .owner = { .controller = "test", .group = group } };
    snprintf(text, sizeof text,
             "pool=\"pool\"; port=8080; network=\"as-test-%d\"; subnet=\"10.%d.0.0/24\"; bridge=\"astest%d\";"
             "forward=\"none\"; range=\"10.%d.0.10-10.%d.0.20\"; kernel=\"%s/kernel\"; initrd=\"%s/initrd\";"
             "cmdline=\"%s\"; serial_log=\"%s/serial\"; cpu_overcommit=100; %s%s%s %s",
             subnet, subnet, subnet, subnet, subnet, dir, dir, cmdline, dir,
             usual(more, "memory=", "memory=\"96MiB\";"), usual(more, "machine=", "machine=\"q35\";"),
             usual(more, "type=", "type=\"qemu\";"), more);
    d.state = calloc(1, as_compute_libvirt.state_size);
    if (as_settings_parse(as_compute_libvirt.options, text, &d.settings, &d.err) != AS_OK ||
        as_compute_libvirt.open(d.state, d.settings, &d.owner, at, &d.err) != AS_OK)
        fail_msg("open: %s", d.err.msg);
    return d;
}

static struct driver open_as(const char *group, const char *cmdline, const char *more)
{
    return open_in(77, group, cmdline, more);
}

#define BASE "base=\"pool/base.qcow2\";"

static void close_driver(struct driver *d)
{
    as_compute_libvirt.close(d->state);
    as_settings_free(d->settings);
    free(d->state);
}

static as_time in(as_time ms)
{
    return as_clock_monotonic() + ms;
}

static int create(struct driver *d, const char *id, struct as_instance *out)
{
    struct as_launch launch = { .id = id, .revision = "r1" };
    d->err = (struct as_error){ 0 };
    return as_compute_libvirt.create(d->state, in(60000), &launch, out, &d->err);
}

static int destroy(struct driver *d, const char *id)
{
    struct as_instance i = { 0 };
    snprintf(i.id, sizeof i.id, "%s", id);
    d->err = (struct as_error){ 0 };
    return as_compute_libvirt.destroy(d->state, in(120000), &i, &d->err);
}

static int list(struct driver *d, struct as_instance *first, size_t *count)
{
    struct as_instances all = { .room = -1 };
    int rc = as_compute_libvirt.list(d->state, in(LIST_PATIENCE), &all, &d->err);
    if (rc == AS_OK && all.count && first)
        *first = all.items[0];
    if (count)
        *count = all.count;
    as_instances_fini(&all);
    return rc;
}

#define assert_ok(d, rc)                                                                                     \
    do {                                                                                                     \
        if ((rc) != AS_OK)                                                                                   \
            fail_msg("%s", (d).err.msg);                                                                     \
    } while (0)

/* What a machine answers to a request for this path; "" when it does not. */
static void fetch(const struct as_instance *i, const char *path, char *text, size_t size)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(i->port) };
    struct timeval patience = { .tv_sec = 2 };
    char request[128];
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.0\r\n\r\n", path);
    memset(text, 0, size);
    assert_int_equal(inet_pton(AF_INET, i->address, &to.sin_addr), 1);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* of connect as well */
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 &&
        send(fd, request, (size_t)length, MSG_NOSIGNAL) == length)
        recv(fd, text, size - 1, MSG_WAITALL);
    close(fd);
}

static bool answers_once(const struct as_instance *i)
{
    char text[512];
    fetch(i, "/", text, sizeof text);
    return strstr(text, " 200 ") != NULL;
}

static bool answers(const struct as_instance *i, as_time patience)
{
    for (as_time until = in(patience); as_clock_monotonic() < until; usleep(100000))
        if (answers_once(i))
            return true;
    return false;
}

static bool exists(const char *fmt, const char *id)
{
    char path[256], name[192];
    snprintf(name, sizeof name, fmt, id);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

#define DISK "pool/autoscale.test.%s.qcow2"
#define SEED "pool/autoscale.test.%s.iso"

static void signal_daemon(int number)
{
    char path[64];
    snprintf(path, sizeof path, "%s/pid", dir);
    pid_t pid = pid_in(path);
    if (number == SIGCONT)
        assert_int_equal(kill(pid, number), 0);
    else
        still_process(pid, number);
}

/* --- tests -------------------------------------------------------------------------------------------- */

static void a_machine_boots_serves_sleeps_and_shuts_down(void **state)
{
    (void)state;
    need_libvirt();
    struct driver d = open_as("web", QUIET, BASE "stop_timeout=\"90s\";");
    struct as_instance i = { 0 }, seen = { 0 };
    size_t n = 0;
    assert_ok(d, create(&d, "web-00000001", &i));
    assert_int_equal(i.state, AS_RUN_RUNNING);
    assert_true(exists(DISK, "web-00000001"));
    if (!answers(&i, 180000)) {
        shell("tail -n 20 %s/serial/web-00000001.log", dir);
        fail_msg("%s:%d does not answer", i.address, i.port);
    }
    assert_ok(d, as_compute_libvirt.park(d.state, in(60000), &i, &d.err));
    assert_ok(d, list(&d, &seen, &n));
    assert_int_equal(n, 1);
    assert_int_equal(seen.state, AS_RUN_PARKED);
    assert_string_equal(seen.address, i.address);
    assert_false(answers_once(&i));
    assert_ok(d, as_compute_libvirt.unpark(d.state, in(60000), &i, &seen, &d.err));
    assert_int_equal(seen.state, AS_RUN_RUNNING);
    assert_true(answers(&i, 30000));
    assert_ok(d, as_compute_libvirt.save(d.state, in(60000), &i, &d.err));
    assert_ok(d, list(&d, &seen, &n));
    assert_int_equal(n, 1);
    assert_int_equal(seen.state, AS_RUN_PARKED);
    assert_string_equal(seen.address, i.address);
    assert_string_equal(seen.detail, "saved");
    assert_false(answers_once(&i));
    assert_ok(d, as_compute_libvirt.unpark(d.state, in(60000), &i, &seen, &d.err));
    assert_int_equal(seen.state, AS_RUN_RUNNING);
    assert_true(answers(&i, 30000));
    as_time before = as_clock_monotonic();
    assert_ok(d, destroy(&d, "web-00000001"));
    assert_true(as_clock_monotonic() - before < 80000); /* the guest did it, not the deadline */
    assert_false(exists(DISK, "web-00000001"));
    assert_true(exists("%s", "pool/base.qcow2"));
    assert_ok(d, list(&d, NULL, &n));
    assert_int_equal(n, 0);
    close_driver(&d);
}

static void cloud_init_finds_its_seed(void **state)
{
    (void)state;
    need_libvirt();
    char more[256], text[1024];
    assert_int_equal(shell("echo 'I am {id} at {address}:{port}, not ${id}' >%s/user-data", dir), 0);
    snprintf(more, sizeof more, BASE "user_data=\"%s/user-data\"; stop_timeout=\"0s\";", dir);
    struct driver d = open_as("seed", QUIET, more);
    struct as_instance i = { 0 };
    size_t n = 0;
    assert_ok(d, create(&d, "seed-00000001", &i));
    assert_true(exists(SEED, "seed-00000001"));
    assert_true(answers(&i, 180000));
    fetch(&i, "/seed/user-data", text, sizeof text);
    char wanted[128];
    snprintf(wanted, sizeof wanted, "\r\n\r\nI am seed-00000001 at %s:8080, not ${id}\n", i.address);
    assert_non_null(strstr(text, wanted));
    fetch(&i, "/seed/meta-data", text, sizeof text);
    assert_non_null(strstr(text, "instance-id: seed-00000001\n"));
    assert_ok(d, destroy(&d, "seed-00000001"));
    assert_false(exists(SEED, "seed-00000001"));
    assert_ok(d, list(&d, NULL, &n));
    assert_int_equal(n, 0);
    close_driver(&d);
}

/* Waits until the driver knows where the machine is, and for its answer there. */
static void is_found_by(const char *group, const char *cmdline, const char *address)
{
    char more[256], id[32];
    snprintf(more, sizeof more, BASE "stop_timeout=\"0s\"; address=\"%s\";", address);
    snprintf(id, sizeof id, "%s-00000001", group);
    struct driver d = open_in(78, group, cmdline, more);
    struct as_instance i = { 0 };
    size_t n = 0;
    assert_ok(d, create(&d, id, &i));
    for (as_time until = in(180000); !i.address[0] && as_clock_monotonic() < until; usleep(100000))
        assert_ok(d, list(&d, &i, &n));
    assert_int_equal(strncmp(i.address, "10.78.0.", 8), 0);
    assert_int_equal(i.port, 8080);
    assert_true(answers(&i, 180000));
    assert_ok(d, destroy(&d, id));
    assert_ok(d, list(&d, NULL, &n));
    assert_int_equal(n, 0);
    close_driver(&d);
}

static void an_address_is_found_by_its_lease(void **state)
{
    (void)state;
    need_libvirt();
    is_found_by("lease", QUIET, "lease");
}

static void an_address_is_told_by_the_guest_agent(void **state)
{
    (void)state;
    need_libvirt();
    is_found_by("agent", QUIET " agent", "agent");
}

static void a_hypervisor_is_reached_by_tls(void **state)
{
    (void)state;
    need_libvirt();
    char tls[128];
    size_t n = 9;
    snprintf(tls, sizeof tls, "qemu+tls://127.0.0.1/system?pkipath=%s/pki", dir);
    at = tls;
    struct driver d = open_as("tls", QUIET, BASE);
    assert_ok(d, list(&d, NULL, &n));
    assert_int_equal(n, 0);
    close_driver(&d);
    snprintf(tls, sizeof tls, "qemu+tls://127.0.0.1/system?pkipath=%s/serial",
             dir); /* no certificate there */
    d = open_as("tls", QUIET, BASE);
    assert_int_not_equal(list(&d, NULL, NULL), AS_OK);
    assert_non_null(strstr(d.err.msg, "cacert.pem"));
    close_driver(&d);
    at = uri;
}

static void a_guest_that_does_not_listen_is_switched_off(void **state)
{
    (void)state;
    need_libvirt();
    struct driver d = open_as("deaf", QUIET " deaf", BASE "stop_timeout=\"1s\";");
    struct as_instance i = { 0 };
    size_t n = 9;
    assert_ok(d, create(&d, "deaf-00000001", &i));
    assert_ok(d, destroy(&d, "deaf-00000001"));
    assert_ok(d, destroy(&d, "deaf-00000001"));
    assert_ok(d, list(&d, NULL, &n));
    assert_int_equal(n, 0);
    assert_false(exists(DISK, "deaf-00000001"));
    close_driver(&d);
}

static void a_killed_or_hung_daemon_is_found_again_with_its_machines(void **state)
{
    (void)state;
    need_libvirt();
    struct driver d = open_as("kill", QUIET, BASE "stop_timeout=\"0s\";");
    struct as_instance i = { 0 }, seen = { 0 };
    size_t n = 0;
    assert_ok(d, create(&d, "kill-00000001", &i));
    assert_ok(d, as_compute_libvirt.park(d.state, in(60000), &i, &d.err));
    signal_daemon(SIGKILL);
    assert_int_equal(list(&d, NULL, NULL), AS_EAGAIN);
    assert_int_equal(create(&d, "kill-00000002", &seen), AS_EAGAIN);
    assert_int_equal(shell(LIB "start %s", dir), 0);
    assert_ok(d, list(&d, &seen, &n));
    assert_int_equal(n, 1);
    assert_string_equal(seen.id, "kill-00000001");
    assert_int_equal(seen.state, AS_RUN_PARKED); /* and parked as it was */
    assert_ok(d, as_compute_libvirt.unpark(d.state, in(60000), &i, &seen, &d.err));
    assert_int_equal(seen.state, AS_RUN_RUNNING);
    assert_string_equal(seen.address, i.address);
    assert_int_equal(seen.state, AS_RUN_RUNNING);
    signal_daemon(SIGSTOP);
    as_time before = as_clock_monotonic();
    assert_int_equal(list(&d, NULL, NULL), AS_EAGAIN);
    as_time hung = as_clock_monotonic() - before;
    signal_daemon(SIGCONT);
    assert_true(hung < LIST_PATIENCE +
                           60000); /* it came back by itself; how soon, the machine's speed decides too */
    assert_ok(d, list(&d, NULL, &n));
    assert_int_equal(n, 1);
    assert_ok(d, destroy(&d, "kill-00000001"));
    signal_daemon(SIGSTOP);
    before = as_clock_monotonic();
    close_driver(&d); /* done by the loop, so it does not wait until the daemon is found to hang */
    as_time took = as_clock_monotonic() - before;
    signal_daemon(SIGCONT);
    assert_true(took < hung);
}

/* The power goes and comes back: no process of libvirt's is left, and nothing of what it keeps in /run. */
static void reboot_the_host(void)
{
    signal_daemon(SIGKILL);
    assert_int_equal(shell("for p in /proc/[0-9]*; do"
                           "  case $(readlink $p/exe) in *qemu-system*|*dnsmasq*) kill -9 ${p#/proc/};; esac;"
                           "done 2>/dev/null; PATH=$PATH:/sbin:/usr/sbin;"
                           "for b in $(ip -o link show type bridge | cut -d: -f2); do ip link del $b; done;"
                           "rm -rf %s/run/*",
                           dir),
                     0);
    assert_int_equal(shell(LIB "start %s", dir), 0);
}

static void a_machine_comes_back_with_its_host(void **state)
{
    (void)state;
    need_libvirt();
    struct driver d = open_in(79, "back", QUIET, BASE "stop_timeout=\"0s\"; autostart=true;");
    struct as_instance i = { 0 }, seen = { 0 };
    size_t n = 0;
    assert_ok(d, create(&d, "back-00000001", &i));
    reboot_the_host();
    assert_ok(d, list(&d, &seen, &n));
    assert_int_equal(n, 1);
    assert_string_equal(seen.id, "back-00000001");
    assert_int_equal(seen.state, AS_RUN_RUNNING);
    assert_string_equal(seen.address, i.address);
    assert_true(answers(&i, 180000)); /* where it was before: its address came back as well */
    assert_ok(d, create(&d, "back-00000001", &seen));
    assert_ok(d, destroy(&d, "back-00000001"));
    assert_ok(d, list(&d, NULL, &n));
    assert_int_equal(n, 0);
    assert_false(exists(DISK, "back-00000001"));
    reboot_the_host(); /* and once gone it is */
    assert_ok(d, list(&d, NULL, &n));
    assert_int_equal(n, 0);
    assert_int_equal(shell("grep -rl back-00000001 %s/etc", dir), 256); /* neither a domain nor an address */
    close_driver(&d);
}

static void foreign_domains_and_volumes_are_left_alone(void **state)
{
    (void)state;
    need_libvirt();
    char xml[1024];
    struct driver d = open_as("own", QUIET, BASE "stop_timeout=\"0s\";");
    struct as_instance i = { 0 };
    size_t n = 9;
    virConnectPtr conn = virConnectOpen(uri);
    assert_non_null(conn);
    snprintf(
        xml, sizeof xml,
        "<domain type='qemu'><name>own-00000001</name><memory unit='MiB'>64</memory><os><type>hvm</type></os>"
        "</domain>");
    virDomainPtr dom = virDomainCreateXML(conn, xml, VIR_DOMAIN_START_PAUSED);
    assert_non_null(dom);
    assert_int_equal(shell("cp %s/pool/base.qcow2 %s/pool/autoscale.other.own-00000001.qcow2", dir, dir), 0);
    assert_int_equal(create(&d, "own-00000001", &i), AS_EEXIST);
    assert_int_equal(destroy(&d, "own-00000001"), AS_EEXIST);
    assert_ok(d, list(&d, NULL, &n));
    assert_int_equal(n, 0);
    assert_int_equal(virDomainIsActive(dom), 1);
    assert_true(exists("pool/autoscale.other.%s.qcow2", "own-00000001"));
    assert_int_equal(virDomainDestroy(dom), 0);
    virDomainFree(dom);
    virConnectClose(conn);
    close_driver(&d);
}

static void what_is_missing_is_named_and_leaves_nothing(void **state)
{
    (void)state;
    need_libvirt();
    struct as_instance i = { 0 };
    struct driver d = open_as("none", QUIET, "base=\"pool/none.qcow2\"; stop_timeout=\"0s\";");
    assert_int_equal(create(&d, "none-00000001", &i), AS_EINVAL);
    assert_non_null(strstr(d.err.msg, "none.qcow2"));
    close_driver(&d);
    d = open_as("none", QUIET "\"; vcpus=4096; disk_bus=\"sata",
                BASE "stop_timeout=\"0s\";"); /* QEMU refuses */
    assert_int_not_equal(create(&d, "none-00000001", &i), AS_OK);
    assert_int_not_equal(d.err.rc, AS_EUNKNOWN);
    assert_false(exists(DISK, "none-00000001"));
    virConnectPtr conn = virConnectOpen(uri);
    virNetworkPtr net = virNetworkLookupByName(conn, "as-test-77");
    char *xml = net ? virNetworkGetXMLDesc(net, 0) : NULL;
    assert_non_null(xml);
    assert_null(strstr(xml, "none-00000001"));
    free(xml);
    virNetworkFree(net);
    virConnectClose(conn);
    close_driver(&d);
}

/* --- processors and firmware -------------------------------------------------------------------------- */

static bool host_has(const char *capability)
{
    virConnectPtr conn = virConnectOpen(uri);
    assert_non_null(conn);
    char *xml = virConnectGetDomainCapabilities(conn, NULL, "x86_64", "q35", "qemu", 0);
    assert_non_null(xml);
    bool has = strstr(xml, capability) != NULL;
    free(xml);
    virConnectClose(conn);
    return has;
}

static bool has_variables(const char *id)
{
    return shell("ls %s/var/qemu/nvram/%s_VARS* >/dev/null 2>&1", dir, id) == 0;
}

/* Nothing of the machine is left: no domain, running or defined, no disk, no address, no variables. */
static void leaves_nothing(struct driver *d, const char *id)
{
    size_t n = 9;
    assert_ok(*d, list(d, NULL, &n));
    assert_int_equal(n, 0);
    assert_false(exists(DISK, id));
    assert_false(has_variables(id));
    assert_int_equal(
        shell("grep -rl '%s' %s/etc %s/run --include='*.xml' --include='*.hostsfile'", id, dir, dir), 256);
}

/* What the guest sees of the machine it is in: two lines, "cpu NAME" and "firmware efi". */
static void says_machine(const struct as_instance *i, char *text, size_t size)
{
    *text = '\0';
    for (as_time until = in(180000); !strstr(text, "\nfirmware ") && as_clock_monotonic() < until;
         usleep(100000))
        fetch(i, "/machine", text, size);
    if (!strstr(text, "\nfirmware ")) {
        shell("tail -n 20 %s/serial/%s.log", dir, i->id);
        fail_msg("%s does not say what it is: %s", i->id, text);
    }
}

/* A machine with these options is made, asked and destroyed, and nothing of it stays. */
static void guest_says(const char *options, char *text, size_t size)
{
    char more[256];
    snprintf(more, sizeof more, BASE "stop_timeout=\"0s\"; %s", options);
    struct driver d = open_as("cpu", QUIET, more);
    struct as_instance i = { 0 };
    assert_ok(d, create(&d, "cpu-00000001", &i));
    says_machine(&i, text, size);
    assert_ok(d, destroy(&d, "cpu-00000001"));
    leaves_nothing(&d, "cpu-00000001");
    close_driver(&d);
}

static void boots_in(const char *options, const char *cpu, const char *firmware)
{
    char text[1024];
    guest_says(options, text, sizeof text);
    if (!strstr(text, cpu) || !strstr(text, firmware))
        fail_msg("%s and %s with %s: %s", cpu, firmware, options, text);
}

static void a_guest_has_the_processor_that_is_named(void **state)
{
    (void)state;
    need_libvirt();
    boots_in("cpu_model=\"Nehalem\"; firmware=\"bios\";", "\ncpu Intel Core i7 9xx (Nehalem",
             "\nfirmware bios\n");
}

static void a_guest_has_all_that_the_hypervisor_can_do(void **state)
{
    (void)state;
    need_libvirt();
    boots_in("cpu_mode=\"maximum\";", "\ncpu QEMU TCG CPU", "\nfirmware bios\n");
}

static void a_guest_has_the_processor_of_its_host(void **state)
{
    (void)state;
    char text[1024];
    need_libvirt();
    if (!host_has("<mode name='host-model' supported='yes'")) {
        print_message("host-model is not tested: emulated, this host does not offer it\n");
        skip();
    }
    guest_says("cpu_mode=\"host-model\";", text, sizeof text);
    assert_null(strstr(text, "\ncpu QEMU")); /* neither the default nor maximum */
}

#define FIRMWARE "/usr/share/qemu/firmware"

static void what_the_hypervisor_does_not_have_is_said_and_leaves_nothing(void **state)
{
    (void)state;
    need_libvirt();
    static const char *const wanted[][2] = {
        { "cpu_mode=\"host-passthrough\"; type=\"auto\";",
          " offers no KVM, which cpu_mode = \"host-passthrough\" needs: enable it there, or use \"maximum\" "
          "or "
          "\"host-model\"" },
        { "cpu_model=\"Abacus\";", " knows no such processor: virsh domcapabilities lists those it does" },
        { "firmware=\"efi\";", " has no UEFI firmware that fits: install it there (Debian: ovmf)" },
    };
    bool installed = mount("none", FIRMWARE, "tmpfs", 0, NULL) == 0; /* nothing of it is seen any more */
    for (size_t k = 0; k < sizeof wanted / sizeof *wanted; k++) {
        char more[256], text[sizeof(struct as_error)];
        snprintf(more, sizeof more, BASE "stop_timeout=\"0s\"; %s", wanted[k][0]);
        struct driver d = open_as("lack", QUIET, more);
        struct as_instance i = { 0 };
        int rc = create(&d, "lack-00000001", &i);
        snprintf(text, sizeof text, "%.60s%s", uri, wanted[k][1]);
        assert_string_equal(d.err.msg, text);
        assert_int_equal(rc, AS_EINVAL);
        leaves_nothing(&d, "lack-00000001");
        close_driver(&d);
    }
    assert_true(!installed || umount(FIRMWARE) == 0);
}

static void need_efi(void)
{
    need_libvirt();
    if (!host_has("<value>efi</value>")) {
        print_message("UEFI is not tested: the package ovmf is not installed\n");
        skip();
    }
}

#define EFI BASE "stop_timeout=\"0s\"; memory=\"192MiB\"; firmware=\"efi\";"

static void a_machine_boots_by_uefi_and_takes_its_variables_with_it(void **state)
{
    (void)state;
    need_efi();
    char text[1024];
    struct driver d = open_as("efi", QUIET, EFI);
    struct as_instance i = { 0 }, seen = { 0 };
    assert_ok(d, create(&d, "efi-00000001", &i));
    assert_int_equal(i.state, AS_RUN_RUNNING);
    assert_true(has_variables("efi-00000001"));
    says_machine(&i, text, sizeof text);
    assert_non_null(strstr(text, "\nfirmware efi\n"));
    close_driver(&d); /* whoever comes next finds it as it is */
    d = open_as("efi", QUIET, EFI);
    assert_ok(d, as_compute_libvirt.save(d.state, in(60000), &i, &d.err));
    assert_true(has_variables("efi-00000001"));
    assert_ok(d, as_compute_libvirt.unpark(d.state, in(60000), &i, &seen, &d.err));
    assert_int_equal(seen.state, AS_RUN_RUNNING);
    assert_true(answers(&i, 60000));
    assert_ok(d, as_compute_libvirt.save(d.state, in(60000), &i, &d.err));
    assert_ok(d, destroy(&d, "efi-00000001"));
    leaves_nothing(&d, "efi-00000001");
    close_driver(&d);
}

/* Also one that ended while nobody looked: what ends by itself must not take the trace of its variables with it. */
static void a_machine_with_uefi_that_ended_by_itself_leaves_nothing(void **state)
{
    (void)state;
    need_efi();
    struct driver d = open_as("gone", QUIET, EFI);
    struct as_instance i = { 0 }, seen = { 0 };
    size_t n = 0;
    assert_ok(d, create(&d, "gone-00000001", &i));
    virConnectPtr conn = virConnectOpen(uri);
    virDomainPtr dom = conn ? virDomainLookupByName(conn, "gone-00000001") : NULL;
    assert_non_null(dom);
    assert_int_equal(virDomainDestroy(dom), 0);
    virDomainFree(dom);
    virConnectClose(conn);
    signal_daemon(SIGKILL);
    assert_int_equal(shell(LIB "start %s", dir), 0);
    assert_ok(d, list(&d, &seen, &n));
    assert_int_equal(n, 1);
    assert_int_equal(seen.state, AS_RUN_STOPPED);
    assert_true(has_variables("gone-00000001"));
    assert_ok(d, destroy(&d, "gone-00000001"));
    leaves_nothing(&d, "gone-00000001");
    close_driver(&d);
}

struct launching {
    struct driver *d;
    char id[AS_ID_MAX];
    struct as_instance out;
    struct as_error err;
    int rc;
};

static void *launch_one(void *data)
{
    struct launching *l = data;
    struct as_launch launch = { .id = l->id, .revision = "r1" };
    l->rc = as_compute_libvirt.create(l->d->state, in(120000), &launch, &l->out, &l->err);
    return NULL;
}

static void launches_at_the_same_time_get_addresses_of_their_own(void **state)
{
    (void)state;
    need_libvirt();
    struct driver d = open_as("par", QUIET, BASE "stop_timeout=\"0s\";");
    struct launching l[3] = { 0 };
    pthread_t thread[3];
    size_t n = 0;
    for (int k = 0; k < 3; k++) {
        l[k].d = &d;
        snprintf(l[k].id, sizeof l[k].id, "par-0000000%d", k);
        assert_int_equal(pthread_create(&thread[k], NULL, launch_one, &l[k]), 0);
    }
    for (int k = 0; k < 3; k++)
        pthread_join(thread[k], NULL);
    for (int k = 0; k < 3; k++) {
        if (l[k].rc != AS_OK)
            fail_msg("%s: %s", l[k].id, l[k].err.msg);
        assert_string_not_equal(l[k].out.address, l[(k + 1) % 3].out.address);
    }
    assert_ok(d, list(&d, NULL, &n));
    assert_int_equal(n, 3);
    for (int k = 0; k < 3; k++)
        assert_ok(d, destroy(&d, l[k].id));
    close_driver(&d);
}

/* --- the world ---------------------------------------------------------------------------------------- */

/* These namespaces alone: what is to be refused without KVM is so on every machine. */
static int hide_kvm(void)
{
    return access("/dev/kvm", F_OK) == 0 ? mount("/dev/null", "/dev/kvm", NULL, MS_BIND, NULL) : 0;
}

static int set_up(void **state)
{
    (void)state;
    if (!usable)
        return 0;
    snprintf(uri, sizeof uri, "qemu+unix:///system?socket=%s/run/libvirt-sock", dir);
    return shell("PATH=$PATH:/sbin:/usr/sbin; ip link set lo up") != 0 || hide_kvm() != 0 ||
           shell(LIB "tls %s", dir) != 0 || shell(LIB "start %s", dir) != 0 ||
           shell(LIB "guest %s", dir) != 0 || shell(LIB "base %s >/dev/null", dir) != 0;
}

static int test_all(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_machine_boots_serves_sleeps_and_shuts_down),
        cmocka_unit_test(cloud_init_finds_its_seed),
        cmocka_unit_test(an_address_is_found_by_its_lease),
        cmocka_unit_test(an_address_is_told_by_the_guest_agent),
        cmocka_unit_test(a_hypervisor_is_reached_by_tls),
        cmocka_unit_test(a_guest_that_does_not_listen_is_switched_off),
        cmocka_unit_test(a_killed_or_hung_daemon_is_found_again_with_its_machines),
        cmocka_unit_test(a_machine_comes_back_with_its_host),
        cmocka_unit_test(foreign_domains_and_volumes_are_left_alone),
        cmocka_unit_test(what_is_missing_is_named_and_leaves_nothing),
        cmocka_unit_test(a_guest_has_the_processor_that_is_named),
        cmocka_unit_test(a_guest_has_all_that_the_hypervisor_can_do),
        cmocka_unit_test(a_guest_has_the_processor_of_its_host),
        cmocka_unit_test(what_the_hypervisor_does_not_have_is_said_and_leaves_nothing),
        cmocka_unit_test(a_machine_boots_by_uefi_and_takes_its_variables_with_it),
        cmocka_unit_test(a_machine_with_uefi_that_ended_by_itself_leaves_nothing),
        cmocka_unit_test(launches_at_the_same_time_get_addresses_of_their_own),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}

int main(void)
{
    return libvirt_kit_main(test_all);
}
