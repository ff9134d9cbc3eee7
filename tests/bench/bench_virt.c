/* One look at a host with many machines: the libvirt driver's listing, and the same domains read by bare calls (list them,
 * read the document of each), on an inventory of libvirt's own test hypervisor, which lives in this process. Prints
 * "key value" pairs for tests/bench/vm; it must never judge them.
 *
 *     bench_virt MACHINES ROUNDS
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../drivers/compute/libvirt.h"

extern const struct as_compute_driver as_compute_libvirt;

static const char inventory[] =
    "<node><cpu><mhz>2000</mhz><model>x</model><active>64</active><nodes>1</nodes><sockets>1</sockets>"
    "<cores>64</cores><threads>1</threads></cpu><memory>268435456</memory>"
    "<network><name>net</name><forward mode='nat'/><bridge name='vb7'/><ip address='10.7.0.1' "
    "netmask='255.255.0.0'/></network>"
    "<pool type='dir'><name>pool</name><target><path>/pool</path></target></pool></node>";

static const char settings_text[] = "base=\"pool/base.qcow2\"; pool=\"pool\"; memory=\"64MiB\"; port=8080; "
                                    "network=\"net\"; cpu_overcommit=1000.0;"
                                    "range=\"10.7.1.0-10.7.99.255\";";

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static virConnectPtr connect_to_inventory(void)
{
    char path[] = "/tmp/as-bench-virt-XXXXXX", uri[64];
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, inventory, sizeof inventory - 1) != (ssize_t)sizeof inventory - 1)
        die("the inventory cannot be written");
    close(fd);
    snprintf(uri, sizeof uri, "test://%s", path);
    virConnectPtr conn = virConnectOpen(uri);
    unlink(path);
    if (!conn)
        die("libvirt's test hypervisor does not open");
    return conn;
}

static void add_base(virConnectPtr conn)
{
    virStoragePoolPtr pool = virStoragePoolLookupByName(conn, "pool");
    virStorageVolPtr vol =
        virStorageVolCreateXML(pool,
                               "<volume><name>base.qcow2</name><capacity>8388608</capacity><target>"
                               "<format type='qcow2'/></target></volume>",
                               0);
    if (!vol)
        die("no base image can be made");
    virStorageVolFree(vol);
    virStoragePoolFree(pool);
}

static void add_machines(struct libvirt *d, int count)
{
    for (int k = 0; k < count; k++) {
        char id[AS_ID_MAX];
        struct as_launch launch = { .id = id, .revision = "r1" };
        struct as_instance out;
        struct as_error err;
        snprintf(id, sizeof id, "web-%08x", (unsigned)k);
        if (as_compute_libvirt.create(d, as_clock_monotonic() + AS_MINUTE, &launch, &out, &err) != AS_OK)
            die("%s: %s", id, err.msg);
    }
}

static double look_by_driver(struct libvirt *d, int expected)
{
    struct as_instances all = { .room = -1 };
    struct as_error err;
    double begin = now_ms();
    if (as_compute_libvirt.list(d, as_clock_monotonic() + AS_MINUTE, &all, &err) != AS_OK)
        die("list: %s", err.msg);
    double took = now_ms() - begin;
    if (all.count != (size_t)expected)
        die("%zu of %d machines were seen", all.count, expected);
    as_instances_fini(&all);
    return took;
}

static double look_by_hand(virConnectPtr conn, int expected)
{
    virDomainPtr *all = NULL;
    double begin = now_ms();
    int n = virConnectListAllDomains(conn, &all, 0);
    for (int k = 0; k < n; k++) {
        char *xml = virDomainGetXMLDesc(all[k], 0);
        if (!xml)
            die("a document cannot be read");
        free(xml);
        virDomainFree(all[k]);
    }
    free(all);
    double took = now_ms() - begin;
    if (n != expected)
        die("%d of %d domains were seen", n, expected);
    return took;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    int machines = argc == 3 ? atoi(argv[1]) : 0, rounds = argc == 3 ? atoi(argv[2]) : 0;
    if (machines < 1 || machines > 10000 || rounds < 1 || rounds > 1000) {
        fputs("usage: bench_virt MACHINES ROUNDS\n", stderr);
        return 2;
    }
    struct as_owner owner = { .controller = "bench", .group = "web" };
    struct as_settings *settings = NULL;
    struct as_error err;
    struct libvirt *d = calloc(1, as_compute_libvirt.state_size);
    double *driver = calloc((size_t)rounds, sizeof *driver), *hand = calloc((size_t)rounds, sizeof *hand);
    if (!d || !driver || !hand)
        die("out of memory");
    virConnectPtr conn = connect_to_inventory();
    add_base(conn);
    if (as_settings_parse(as_compute_libvirt.options, settings_text, &settings, &err) != AS_OK ||
        as_compute_libvirt.open(d, settings, &owner, "test:///default", &err) != AS_OK)
        die("open: %s", err.msg);
    virConnectRef(conn);
    d->link.idle[d->link.idle_count++] = conn; /* each connection to an inventory is a host of its own */
    add_machines(d, machines);
    for (int k = 0; k < rounds; k++) { /* in turns, so that a busy machine slows both */
        driver[k] = look_by_driver(d, machines);
        hand[k] = look_by_hand(conn, machines);
    }
    qsort(driver, (size_t)rounds, sizeof *driver, by_size);
    qsort(hand, (size_t)rounds, sizeof *hand, by_size);
    printf("machines %d driver_ms %.3f hand_ms %.3f\n", machines, driver[rounds / 2], hand[rounds / 2]);
    as_compute_libvirt.close(d);
    as_settings_free(settings);
    virConnectClose(conn);
    free(d);
    free(driver);
    free(hand);
    return 0;
}
