/* The libvirt driver against libvirt's own test hypervisor, which lives in this process: test:///default and
 * an inventory of our own. A second, plain connection plays the other users of the host. No daemon and no
 * root are needed; what only a real hypervisor shows is in tests/e2e. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../drivers/compute/libvirt.h"

extern const struct as_compute_driver as_compute_libvirt;

#define BASIC                                                                                                \
    "base=\"pool/base.qcow2\"; pool=\"pool\"; memory=\"64MiB\"; port=8080; network=\"net\";"                 \
    "range=\"10.7.0.10-10.7.0.12\";"

static const char inventory[] =
    "<node><cpu><mhz>2000</mhz><model>x</model><active>4</active><nodes>1</nodes><sockets>1</sockets>"
    "<cores>4</cores><threads>1</threads></cpu><memory>1048576</memory>"
    "<domain "
    "type='test'><name>web-foreign</name><memory>131072</memory><vcpu>2</vcpu><os><type>hvm</type></os>"
    "</domain>"
    "<network><name>net</name><forward mode='nat'/><bridge name='vb7'/><ip address='10.7.0.1' "
    "netmask='255.255.255.0'><dhcp><range start='10.7.0.100' end='10.7.0.200'/></dhcp></ip></network>"
    "<pool type='dir'><name>pool</name><target><path>/pool</path></target></pool></node>";

static char dir[] = "/tmp/as-libvirt-XXXXXX", uri[64];
static virConnectPtr other; /* somebody else on the same host */

/* --- helpers ------------------------------------------------------------------------------------------ */

struct driver {
    struct libvirt *self;
    struct as_settings *settings;
    struct as_owner owner;
    struct as_error err;
};

static int try_open(struct driver *d, const char *at, const char *group, const char *text)
{
    *d = (struct driver){ .owner = { .controller = "shop", .group = group } };
    d->self = calloc(1, as_compute_libvirt.state_size);
    int rc = as_settings_parse(as_compute_libvirt.options, text, &d->settings, &d->err);
    return rc == AS_OK ? as_compute_libvirt.open(d->self, d->settings, &d->owner, at, &d->err) : rc;
}

/* Every connection to an inventory is a host of its own, so all share the one. */
static void lend(struct driver *d)
{
    virConnectRef(other);
    d->self->link.idle[d->self->link.idle_count++] = other;
}

static struct driver open_as(const char *group, const char *text)
{
    struct driver d;
    if (try_open(&d, uri, group, text) != AS_OK)
        fail_msg("open: %s", d.err.msg);
    lend(&d);
    return d;
}

static void close_driver(struct driver *d)
{
    as_compute_libvirt.close(d->self);
    as_settings_free(d->settings);
    free(d->self);
}

static as_time soon(void)
{
    return as_clock_monotonic() + 60000;
}

static int create(struct driver *d, const char *id, struct as_instance *out)
{
    struct as_launch launch = { .id = id, .revision = "r1" };
    return as_compute_libvirt.create(d->self, soon(), &launch, out, &d->err);
}

static int destroy(struct driver *d, const char *id)
{
    struct as_instance i = { 0 };
    snprintf(i.id, sizeof i.id, "%s", id);
    return as_compute_libvirt.destroy(d->self, soon(), &i, &d->err);
}

static size_t list(struct driver *d, struct as_instance *first, int *room)
{
    struct as_instances all = { .room = -1 };
    if (as_compute_libvirt.list(d->self, soon(), &all, &d->err) != AS_OK)
        fail_msg("list: %s", d->err.msg);
    size_t n = all.count;
    if (n && first)
        *first = all.items[0];
    if (room)
        *room = all.room;
    as_instances_fini(&all);
    return n;
}

static bool has_domain(const char *name)
{
    virDomainPtr dom = virDomainLookupByName(other, name);
    if (dom)
        virDomainFree(dom);
    return dom != NULL;
}

static bool has_volume(const char *name)
{
    virStoragePoolPtr pool = virStoragePoolLookupByName(other, "pool");
    virStorageVolPtr vol = virStorageVolLookupByName(pool, name);
    if (vol)
        virStorageVolFree(vol);
    virStoragePoolFree(pool);
    return vol != NULL;
}

static void add_volume(const char *name)
{
    char xml[512];
    virStoragePoolPtr pool = virStoragePoolLookupByName(other, "pool");
    snprintf(
        xml, sizeof xml,
        "<volume><name>%s</name><capacity>8388608</capacity><target><format type='qcow2'/></target></volume>",
        name);
    virStorageVolPtr vol = virStorageVolCreateXML(pool, xml, 0);
    assert_non_null(vol);
    virStorageVolFree(vol);
    virStoragePoolFree(pool);
}

/* How often `text` occurs in the network's description. */
static int in_network(const char *text)
{
    virNetworkPtr net = virNetworkLookupByName(other, "net");
    char *xml = virNetworkGetXMLDesc(net, 0);
    int n = 0;
    for (const char *at = xml; (at = strstr(at, text)); at++)
        n++;
    free(xml);
    virNetworkFree(net);
    return n;
}

/* A domain of somebody else, `inside` in its metadata. */
static void add_domain(const char *name, const char *inside)
{
    char xml[1024];
    snprintf(xml, sizeof xml,
             "<domain type='test'><name>%s</name><metadata>%s</metadata><memory>65536</memory><vcpu>1</vcpu>"
             "<os><type>hvm</type></os></domain>",
             name, inside);
    virDomainPtr dom = virDomainCreateXML(other, xml, 0);
    assert_non_null(dom);
    virDomainFree(dom);
}

static void drop_domain(const char *name)
{
    virDomainPtr dom = virDomainLookupByName(other, name);
    assert_non_null(dom);
    assert_int_equal(virDomainDestroy(dom), 0);
    virDomainFree(dom);
}

#define assert_ok(d, rc)                                                                                     \
    do {                                                                                                     \
        if ((rc) != AS_OK)                                                                                   \
            fail_msg("%s", (d).err.msg);                                                                     \
    } while (0)

/* --- life --------------------------------------------------------------------------------------------- */

static void an_instance_lives_and_leaves_nothing_behind(void **state)
{
    (void)state;
    struct driver d = open_as("web", BASIC);
    struct as_instance i = { 0 }, seen = { 0 };
    assert_ok(d, create(&d, "web-00000001", &i));
    assert_int_equal(i.state, AS_RUN_RUNNING);
    assert_int_equal(i.port, 8080);
    assert_memory_equal(i.address, "10.7.0.1", 8);
    assert_string_equal(i.revision, "r1");
    assert_true(i.created_wall > 1600000000000);
    assert_true(has_volume("autoscale.shop.web-00000001.qcow2"));
    assert_int_equal(in_network("name='web-00000001'"), 1);
    assert_int_equal(list(&d, &seen, NULL), 1);
    assert_string_equal(seen.id, "web-00000001");
    assert_string_equal(seen.address, i.address);
    assert_int_equal(seen.created_wall, i.created_wall);
    assert_ok(d, destroy(&d, "web-00000001"));
    assert_false(has_domain("web-00000001"));
    assert_false(has_volume("autoscale.shop.web-00000001.qcow2"));
    assert_int_equal(in_network("web-00000001"), 0);
    assert_int_equal(list(&d, NULL, NULL), 0);
    close_driver(&d);
}

static void is_defined_and_leaves_nothing(const char *options, int comes_back)
{
    struct driver d = open_as("web", options);
    struct as_instance i = { 0 };
    int autostart = 0;
    assert_ok(d, create(&d, "web-00000001", &i));
    assert_int_equal(i.state, AS_RUN_RUNNING);
    virDomainPtr dom = virDomainLookupByName(other, "web-00000001");
    assert_non_null(dom);
    assert_int_equal(virDomainIsPersistent(dom), 1);
    assert_int_equal(virDomainGetAutostart(dom, &autostart), 0);
    assert_int_equal(autostart, comes_back);
    assert_int_equal(virDomainDestroy(dom),
                     0); /* as a restart of autoscale between defining and starting leaves it */
    virDomainFree(dom);
    assert_int_equal(list(&d, &i, NULL), 1);
    assert_int_equal(i.state, AS_RUN_STOPPED);
    assert_ok(d, create(&d, "web-00000001", &i));
    assert_int_equal(i.state, AS_RUN_RUNNING);
    assert_int_equal(list(&d, NULL, NULL), 1);
    assert_ok(d, destroy(&d, "web-00000001"));
    assert_false(has_domain("web-00000001"));
    assert_false(has_volume("autoscale.shop.web-00000001.qcow2"));
    assert_int_equal(in_network("web-00000001"), 0);
    assert_int_equal(list(&d, NULL, NULL), 0);
    close_driver(&d);
}

static void one_that_comes_back_with_its_host_is_defined_and_leaves_nothing_either(void **state)
{
    (void)state;
    is_defined_and_leaves_nothing(BASIC "autostart=true;", 1);
}

static void one_whose_firmware_has_variables_is_defined_but_does_not_come_back(void **state)
{
    (void)state;
    is_defined_and_leaves_nothing(BASIC "firmware=\"efi\";", 0);
}

static void create_and_destroy_are_idempotent(void **state)
{
    (void)state;
    struct driver d = open_as("web", BASIC);
    struct as_instance a = { 0 }, b = { 0 };
    assert_ok(d, create(&d, "web-00000002", &a));
    assert_ok(d, create(&d, "web-00000002", &b));
    assert_string_equal(a.address, b.address);
    assert_int_equal(a.created_wall, b.created_wall);
    assert_int_equal(list(&d, NULL, NULL), 1);
    assert_ok(d, destroy(&d, "web-00000002"));
    assert_ok(d, destroy(&d, "web-00000002"));
    close_driver(&d);
}

static void parked_ones_are_resumed(void **state)
{
    (void)state;
    struct driver d = open_as("web", BASIC);
    struct as_instance i = { 0 }, seen = { 0 };
    assert_ok(d, create(&d, "web-00000003", &i));
    assert_ok(d, as_compute_libvirt.park(d.self, soon(), &i, &d.err));
    assert_ok(d, as_compute_libvirt.park(d.self, soon(), &i, &d.err));
    assert_int_equal(list(&d, &seen, NULL), 1);
    assert_int_equal(seen.state, AS_RUN_PARKED);
    assert_ok(d, as_compute_libvirt.unpark(d.self, soon(), &i, &seen, &d.err));
    assert_int_equal(seen.state, AS_RUN_RUNNING);
    assert_ok(d, as_compute_libvirt.park(d.self, soon(), &i, &d.err));
    assert_ok(d, create(&d, "web-00000003", &seen)); /* create brings to running */
    assert_int_equal(seen.state, AS_RUN_RUNNING);
    assert_ok(d, as_compute_libvirt.park(d.self, soon(), &i, &d.err));
    assert_ok(d, destroy(&d, "web-00000003"));
    assert_int_equal(as_compute_libvirt.park(d.self, soon(), &i, &d.err), AS_ENOENT);
    close_driver(&d);
}

/* Memory on disk: off for libvirt, parked for us, and no other off one is taken for it. */
static void saved_ones_are_restored(void **state)
{
    (void)state;
    struct driver d = open_as("web", BASIC);
    struct as_instance i = { 0 }, seen = { 0 };
    assert_ok(d, create(&d, "web-00000013", &i));
    for (int n = 0; n < 2; n++) {
        assert_ok(d, as_compute_libvirt.save(d.self, soon(), &i, &d.err));
        assert_ok(d, as_compute_libvirt.save(d.self, soon(), &i, &d.err));
        assert_int_equal(list(&d, &seen, NULL), 1);
        assert_int_equal(seen.state, AS_RUN_PARKED);
        assert_string_equal(seen.address, i.address);
        assert_string_equal(seen.detail, "saved");
        assert_ok(d, as_compute_libvirt.unpark(d.self, soon(), &i, &seen, &d.err));
        assert_int_equal(seen.state, AS_RUN_RUNNING);
        assert_int_equal(list(&d, &seen, NULL), 1);
        assert_int_equal(seen.state, AS_RUN_RUNNING);
    }
    assert_ok(d, as_compute_libvirt.save(d.self, soon(), &i, &d.err));
    assert_ok(d, create(&d, "web-00000013", &seen)); /* create brings to running */
    assert_int_equal(seen.state, AS_RUN_RUNNING);
    assert_ok(d, as_compute_libvirt.save(d.self, soon(), &i, &d.err));
    assert_ok(d, destroy(&d, "web-00000013"));
    assert_int_equal(list(&d, &seen, NULL), 0);
    assert_int_equal(as_compute_libvirt.unpark(d.self, soon(), &i, &seen, &d.err), AS_ENOENT);
    close_driver(&d);
}

/* A transient domain that powers itself off vanishes; what it leaves is found and taken away. */
static void a_guest_that_left_by_itself_is_listed_by_its_disk(void **state)
{
    (void)state;
    struct driver d = open_as("web", BASIC), two = open_as("web-two", BASIC);
    struct as_instance i = { 0 };
    assert_ok(d, create(&d, "web-00000004", &i));
    assert_ok(two, create(&two, "web-two-00000005", &i));
    drop_domain("web-00000004");
    drop_domain("web-two-00000005");
    assert_int_equal(list(&d, &i, NULL), 1);
    assert_string_equal(i.id, "web-00000004");
    assert_int_equal(i.state, AS_RUN_STOPPED);
    assert_true(strlen(i.detail) > 0);
    assert_ok(d, destroy(&d, "web-00000004"));
    assert_int_equal(list(&d, NULL, NULL), 0);
    assert_int_equal(list(&two, NULL, NULL), 1);
    assert_ok(two, create(&two, "web-two-00000005", &i)); /* over the disk that was left */
    assert_int_equal(i.state, AS_RUN_RUNNING);
    assert_ok(two, destroy(&two, "web-two-00000005"));
    assert_false(has_volume("autoscale.shop.web-two-00000005.qcow2"));
    close_driver(&d);
    close_driver(&two);
}

/* --- others' ------------------------------------------------------------------------------------------ */

static void what_is_not_ours_is_neither_listed_nor_touched(void **state)
{
    (void)state;
    struct driver d = open_as("web", BASIC);
    struct as_instance i = { 0 };
    add_domain("web-aaaaaaaa", "");
    add_domain("web-bbbbbbbb", "<x:instance xmlns:x='" LIBVIRT_NAMESPACE "' controller='other' group='web' "
                               "id='web-bbbbbbbb'/>");
    add_domain("web-cccccccc", "<x:instance xmlns:x='" LIBVIRT_NAMESPACE "' controller='shop' group='web' "
                               "id='web-11111111'/>"); /* a copy of one of ours under another name */
    static const char *const ids[] = { "web-foreign", "web-aaaaaaaa", "web-bbbbbbbb", "web-cccccccc" };
    assert_int_equal(list(&d, NULL, NULL), 0);
    for (size_t k = 0; k < sizeof ids / sizeof *ids; k++) {
        char volume[80];
        snprintf(volume, sizeof volume, "autoscale.shop.%s.qcow2", ids[k]);
        add_volume(volume); /* as if it were the disk of that domain */
        snprintf(i.id, sizeof i.id, "%s", ids[k]);
        assert_int_equal(create(&d, ids[k], &i), AS_EEXIST);
        assert_int_equal(destroy(&d, ids[k]), AS_EEXIST);
        assert_int_equal(as_compute_libvirt.park(d.self, soon(), &i, &d.err), AS_EEXIST);
        assert_true(has_domain(ids[k]));
        assert_true(has_volume(volume));
        assert_int_equal(in_network(ids[k]), 0);
    }
    for (size_t k = 1; k < sizeof ids / sizeof *ids; k++)
        drop_domain(ids[k]);
    for (size_t k = 1; k < sizeof ids / sizeof *ids; k++)
        assert_ok(d, destroy(&d, ids[k]));
    assert_true(has_domain("web-foreign"));
    close_driver(&d);
}

static void groups_do_not_see_each_other(void **state)
{
    (void)state;
    struct driver web = open_as("web", BASIC), api = open_as("api", BASIC);
    struct as_instance i = { 0 };
    assert_ok(web, create(&web, "web-00000006", &i));
    assert_int_equal(list(&api, NULL, NULL), 0);
    assert_int_equal(destroy(&api, "web-00000006"), AS_EEXIST);
    assert_int_equal(list(&web, NULL, NULL), 1);
    assert_ok(web, destroy(&web, "web-00000006"));
    close_driver(&web);
    close_driver(&api);
}

/* --- what can be missing -------------------------------------------------------------------------------- */

static void what_is_missing_is_named_and_leaves_nothing(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "base=\"pool/none.qcow2\"; pool=\"pool\"; network=\"net\";", "none.qcow2" },
        { "base=\"/pool/none.qcow2\"; pool=\"pool\"; network=\"net\";", "none.qcow2" },
        { "base=\"pool/base.qcow2\"; pool=\"nopool\"; network=\"net\";", "nopool" },
        { "base=\"pool/base.qcow2\"; pool=\"pool\"; network=\"nonet\";", "nonet" },
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        char text[512];
        struct as_instance i = { 0 };
        snprintf(text, sizeof text, "%s memory=\"64MiB\"; port=80; range=\"10.7.0.10-10.7.0.12\";",
                 cases[k][0]);
        struct driver d = open_as("web", text);
        if (create(&d, "web-00000007", &i) != AS_EINVAL)
            fail_msg("%s", d.err.msg);
        assert_non_null(strstr(d.err.msg, cases[k][1]));
        assert_false(has_domain("web-00000007"));
        assert_int_equal(i.id[0], 0);
        close_driver(&d);
    }
    assert_int_equal(in_network("web-00000007"), 0);
}

static void a_full_range_is_full_until_one_leaves(void **state)
{
    (void)state;
    struct driver d = open_as("web", BASIC);
    struct as_instance i[4] = { 0 };
    char id[AS_ID_MAX];
    for (int k = 0; k < 3; k++) {
        snprintf(id, sizeof id, "web-1000000%d", k);
        assert_ok(d, create(&d, id, &i[k]));
        for (int j = 0; j < k; j++)
            assert_string_not_equal(i[j].address, i[k].address);
    }
    assert_int_equal(create(&d, "web-10000003", &i[3]), AS_EFULL);
    assert_non_null(strstr(d.err.msg, "range"));
    assert_false(has_volume("autoscale.shop.web-10000003.qcow2"));
    assert_ok(d, destroy(&d, "web-10000001"));
    assert_ok(d, create(&d, "web-10000003", &i[3]));
    assert_string_equal(i[3].address, i[1].address);
    assert_ok(d, destroy(&d, "web-10000000"));
    assert_ok(d, destroy(&d, "web-10000002"));
    assert_ok(d, destroy(&d, "web-10000003"));
    close_driver(&d);
}

static void a_described_network_is_made_without_spanning_tree(void **state)
{
    (void)state;
    struct driver d = open_as("web", "base=\"pool/base.qcow2\"; pool=\"pool\"; memory=\"64MiB\"; port=80;"
                                     "network=\"made\"; subnet=\"10.8.0.0/24\"; bridge=\"vb8\";"
                                     "range=\"10.8.0.9-10.8.0.9\"; forward=\"none\";");
    struct as_instance i = { 0 };
    assert_ok(d, create(&d, "web-00000008", &i));
    assert_string_equal(i.address, "10.8.0.9");
    virNetworkPtr net = virNetworkLookupByName(other, "made");
    assert_non_null(net);
    char *xml = virNetworkGetXMLDesc(net, 0);
    assert_non_null(strstr(xml, "stp='off'"));
    assert_non_null(strstr(xml, "address='10.8.0.1'"));
    assert_non_null(strstr(xml, LIBVIRT_NAMESPACE));
    free(xml);
    assert_ok(d, destroy(&d, "web-00000008"));
    assert_int_equal(virNetworkIsActive(net), 1); /* kept */
    virNetworkDestroy(net);
    virNetworkFree(net);
    close_driver(&d);
}

/* 1 GiB and 4 processors, 128 MiB and 2 of them are booked by a domain that is not ours. */
static void room_is_what_memory_and_processors_leave(void **state)
{
    (void)state;
    struct as_instance i = { 0 };
    struct driver d = open_as("web", BASIC);
    int room = -1;
    list(&d, NULL, &room);
    assert_int_equal(room, 14);
    assert_ok(d, create(&d, "web-00000009", &i));
    list(&d, NULL, &room);
    assert_int_equal(room, 13);
    assert_ok(d, destroy(&d, "web-00000009"));
    close_driver(&d);
    d = open_as("web", BASIC "cpu_overcommit=1;");
    list(&d, NULL, &room);
    assert_int_equal(room, 2);
    close_driver(&d);
}

static void nobody_there_is_worth_another_try(void **state)
{
    (void)state;
    struct driver d;
    struct as_instances all = { 0 };
    assert_int_equal(try_open(&d, "qemu+unix:///system?socket=/nonexistent/sock", "web", BASIC), AS_OK);
    assert_int_equal(as_compute_libvirt.list(d.self, soon(), &all, &d.err), AS_EAGAIN);
    assert_non_null(strstr(d.err.msg, "/nonexistent/sock"));
    close_driver(&d);
    assert_int_equal(try_open(&d, "qemu+nosuch:///x", "web", BASIC), AS_OK);
    if (as_compute_libvirt.list(d.self, soon(), &all, &d.err) != AS_EINVAL)
        fail_msg("%s", d.err.msg);
    close_driver(&d);
}

/* test:///default as libvirt ships it. */
static void the_default_test_host_works_too(void **state)
{
    (void)state;
    struct driver d;
    struct as_instance i = { 0 };
    virConnectPtr conn = virConnectOpen("test:///default");
    virStoragePoolPtr pool = virStoragePoolLookupByName(conn, "default-pool");
    virStorageVolPtr vol =
        virStorageVolCreateXML(pool, "<volume><name>base</name><capacity>1048576</capacity></volume>", 0);
    assert_non_null(vol);
    assert_int_equal(try_open(&d, "test:///default", "web",
                              "base=\"/default-pool/base\"; pool=\"default-pool\"; memory=\"64MiB\"; port=80;"
                              "range=\"192.168.122.10-192.168.122.20\";"),
                     AS_OK);
    assert_int_equal(list(&d, NULL, NULL), 0);
    assert_ok(d, create(&d, "web-00000001", &i));
    assert_int_equal(list(&d, NULL, NULL), 1);
    assert_ok(d, destroy(&d, "web-00000001"));
    assert_int_equal(list(&d, NULL, NULL), 0);
    virStorageVolFree(vol);
    virStoragePoolFree(pool);
    virConnectClose(conn);
    close_driver(&d);
}

/* --- documents ------------------------------------------------------------------------------------------- */

static void hostile_text_stays_text(void **state)
{
    (void)state;
    struct driver d =
        open_as("web", BASIC "kernel=\"/boot/<k>&'\"; cmdline=\"a='b' \\\"c\\\" </cmdline><x>\";");
    struct libvirt_mark mark = { .controller = "a'/><evil>",
                                 .group = "g&amp;\"",
                                 .id = "web-1",
                                 .revision = "<r>",
                                 .address = "10.7.0.10",
                                 .mac = "52:00:00:00:00:01" },
                        back;
    struct libvirt_machine m = {
        .settings = d.settings, .mark = &mark, .type = "test", .volume = "/p/<v>'.q"
    };
    char *xml = libvirt_domain_xml(&m);
    assert_non_null(xml);
    virDomainPtr dom = virDomainCreateXML(other, xml, 0);
    assert_non_null(dom);
    char *text = virDomainGetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT, LIBVIRT_NAMESPACE, 0);
    assert_non_null(text);
    assert_true(libvirt_mark_read(text, &back));
    assert_string_equal(back.controller, mark.controller);
    assert_string_equal(back.group, mark.group);
    assert_string_equal(back.revision, mark.revision);
    char *dump = virDomainGetXMLDesc(dom, 0);
    assert_non_null(strstr(dump, "&lt;/cmdline&gt;&lt;x&gt;"));
    assert_null(strstr(dump, "<evil>"));
    virDomainDestroy(dom);
    virDomainFree(dom);
    free(dump);
    free(text);
    free(xml);
    close_driver(&d);
}

static void marks_that_are_none_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "<",
        "<instance",
        "<instance/>",
        "<instance controller='a' group='b'/>",
        "<instance controller='a' group='b' id=''/>",
        "<instance controller='a' group='b' id='&bogus;'/>",
        "<instance controller='a' group='b' id='&#0;'/>",
        "<instance controller='a' group='b' id='x",
        "<other controller='a' group='b' id='c'/>",
        "</instance controller='a' group='b' id='c'>",
        "<instance controller=a group='b' id='c'/>",
        "<!-- <instance controller='a' group='b' id='c'/>",
    };
    struct libvirt_mark m;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (libvirt_mark_read(bad[i], &m))
            fail_msg("taken for a mark: %s", bad[i]);
    char *huge = malloc(LIBVIRT_MARK_MAX + 64);
    assert_non_null(huge);
    int n = snprintf(huge, 64, "<instance controller='a' group='b' id='c'/>");
    memset(huge + n, ' ', (size_t)(LIBVIRT_MARK_MAX + 10 - n));
    huge[LIBVIRT_MARK_MAX + 10] = '\0';
    assert_false(libvirt_mark_read(huge, &m));
    free(huge);
    assert_true(libvirt_mark_read(
        "<instance xmlns=\"x\" controller=\"a\" group='&#xE9;' id = 'c' created='12'/>", &m));
    assert_string_equal(m.group, "\xc3\xa9");
    assert_int_equal(m.created_wall, 12);
}

static struct driver with_template(const char *text, int *rc)
{
    char path[64], settings[512];
    struct driver d;
    snprintf(path, sizeof path, "%s/domain.xml", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    snprintf(settings, sizeof settings, BASIC "template=\"%s\";", path);
    *rc = try_open(&d, uri, "web", settings);
    if (*rc == AS_OK)
        lend(&d);
    return d;
}

#define TEMPLATE(name, meta)                                                                                 \
    "<?xml version='1.0'?><!-- <domain> {mac} --><domain type='test'><name>" name "</name>" meta             \
    "<memory unit='KiB'>{memory_kib}</memory><vcpu>{vcpus}</vcpu><os><type>hvm</type></os><devices>"         \
    "<disk type='file'><source file='{volume}'/><target dev='vda' bus='virtio'/></disk>"                     \
    "<interface type='network'><mac address='{mac}'/><source network='{network}'/></interface>"              \
    "</devices></domain>"

static void a_template_becomes_a_machine_with_our_mark(void **state)
{
    (void)state;
    static const char *const texts[] = {
        TEMPLATE("{id}", ""), TEMPLATE("{name}", "<metadata><u:x xmlns:u='urn:u'>kept</u:x></metadata>"),
        TEMPLATE("{id}", "<metadata></metadata>")
    };
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
        int rc;
        struct as_instance i = { 0 };
        struct driver d = with_template(texts[k], &rc);
        assert_ok(d, rc);
        assert_ok(d, create(&d, "web-0000000a", &i));
        assert_int_equal(list(&d, NULL, NULL), 1);
        virDomainPtr dom = virDomainLookupByName(other, "web-0000000a");
        char *xml = virDomainGetXMLDesc(dom, 0);
        assert_non_null(strstr(xml, "/pool/autoscale.shop.web-0000000a.qcow2"));
        assert_non_null(strstr(xml, "<source network='net'"));
        assert_int_equal(strstr(xml, ">kept<") != NULL, k == 1);
        free(xml);
        virDomainFree(dom);
        assert_ok(d, destroy(&d, "web-0000000a"));
        close_driver(&d);
    }
}

static void bad_templates_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "plain",
        "<domain/>",
        TEMPLATE("fixed", ""),
        TEMPLATE("{id}", "{seed}"),
        "<network>{id}{mac}{volume}</network>",
        "<domain>{id}{mac}</domain>",
        "<domain><uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>{id}{mac}{volume}</domain>",
        "<domain>{id}{volume}<!-- {mac} --></domain>",
        "<domain>{id}{mac}{volume}<os><nvram>/var/lib/golden_VARS.fd</nvram></os></domain>",
        "<domain>{id}{mac}{volume}<os><nvram type='file'><source "
        "file='/var/lib/golden_VARS.fd'/></nvram></os></domain>",
        "<domain>{id}{mac}{volume}<os><nvram>/var/lib/golden_VARS.fd",
    };
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
        int rc;
        struct driver d = with_template(texts[k], &rc);
        assert_int_equal(rc, AS_EINVAL);
        assert_non_null(strstr(d.err.msg, "template"));
        close_driver(&d);
    }
    static const char *const good[] = {
        "<domain>{id}{mac}{volume}<os><nvram template='/usr/share/golden_VARS.fd'/></os></domain>",
        "<domain>{id}{mac}{volume}<os><nvram> </nvram></os></domain>",
        "<domain>{id}{mac}{volume}<os><nvram>/var/lib/{id}_VARS.fd</nvram></os></domain>",
        "<domain>{id}{mac}{volume}<os><nvram type='file'><source "
        "file='/var/lib/{name}.fd'/></nvram></os></domain>",
    };
    int rc;
    for (size_t k = 0; k < sizeof good / sizeof *good; k++) {
        struct driver d = with_template(good[k], &rc);
        assert_ok(d, rc);
        close_driver(&d);
    }
    struct as_instance i = { 0 };
    struct driver d = with_template(TEMPLATE("x{id}", ""), &rc); /* only the made domain shows it */
    assert_ok(d, rc);
    assert_int_equal(create(&d, "web-0000000b", &i), AS_EINVAL);
    assert_false(has_domain("xweb-0000000b"));
    assert_false(has_volume("autoscale.shop.web-0000000b.qcow2"));
    close_driver(&d);
}

static void settings_that_cannot_work_are_refused_offline(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        { "range=\"10.0.0.9\"", "range" },
        { "range=\"10.0.0.9-10.0.0.8\"", "range" },
        { "range=\"10.0.0.1-10.9.0.1\"", "range" },
        { "range=\"::1-::2\"", "range" },
        { "range=\"10.8.0.1-10.8.0.9\"; subnet=\"10.8.0.0/24\"", "range" },
        { "range=\"10.8.0.2-10.8.0.255\"; subnet=\"10.8.0.0/24\"", "range" },
        { "range=\"10.8.1.2-10.8.1.9\"; subnet=\"10.8.0.0/24\"", "range" },
        { "range=\"10.8.0.2-10.8.0.9\"; subnet=\"10.8.0.1/24\"", "subnet" },
        { "range=\"10.8.0.2-10.8.0.9\"; subnet=\"10.8.0.0/33\"", "subnet" },
        { "range=\"10.8.0.2-10.8.0.9\"; bridge=\"b\"", "bridge" },
        { "range=\"10.8.0.2-10.8.0.9\"; initrd=\"/i\"", "initrd" },
        { "range=\"10.8.0.2-10.8.0.9\"; kernel=\"boot/k\"", "kernel" },
        { "range=\"10.8.0.2-10.8.0.9\"; template=\"/nonexistent\"", "template" },
        { "range=\"10.8.0.2-10.8.0.9\"; cpu_mode=\"maximum\"; cpu_model=\"Nehalem\"",
          "cpu_model: and cpu_mode" },
        { "range=\"10.8.0.2-10.8.0.9\"; cpu_mode=\"host-passthrough\"; type=\"qemu\"",
          "cpu_mode: host-passthrough needs KVM, and type = \"qemu\" does without: use \"maximum\" or "
          "\"host-model\"" },
    };
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        char text[512];
        struct driver d;
        snprintf(text, sizeof text, "base=\"p/b\"; memory=\"64MiB\"; port=80; %s;", bad[k][0]);
        assert_int_equal(try_open(&d, uri, "web", text), AS_EINVAL);
        if (strncmp(d.err.msg, bad[k][1], strlen(bad[k][1])) != 0)
            fail_msg("%s: %s", bad[k][0], d.err.msg);
        close_driver(&d);
    }
    struct driver d;
    assert_int_equal(try_open(&d, "not a uri", "web", BASIC), AS_EINVAL);
    close_driver(&d);
}

static int setup(void **state)
{
    (void)state;
    char path[48];
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/host.xml", dir);
    FILE *f = fopen(path, "w");
    if (!f)
        return -1;
    fputs(inventory, f);
    fclose(f);
    snprintf(uri, sizeof uri, "test://%s", path);
    if (!(other = virConnectOpen(uri)))
        return -1;
    add_volume("base.qcow2");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    virConnectClose(other);
    char path[64];
    static const char *const files[] = { "host.xml", "domain.xml" };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        unlink(path);
    }
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_instance_lives_and_leaves_nothing_behind),
        cmocka_unit_test(one_that_comes_back_with_its_host_is_defined_and_leaves_nothing_either),
        cmocka_unit_test(one_whose_firmware_has_variables_is_defined_but_does_not_come_back),
        cmocka_unit_test(create_and_destroy_are_idempotent),
        cmocka_unit_test(parked_ones_are_resumed),
        cmocka_unit_test(saved_ones_are_restored),
        cmocka_unit_test(a_guest_that_left_by_itself_is_listed_by_its_disk),
        cmocka_unit_test(what_is_not_ours_is_neither_listed_nor_touched),
        cmocka_unit_test(groups_do_not_see_each_other),
        cmocka_unit_test(what_is_missing_is_named_and_leaves_nothing),
        cmocka_unit_test(a_full_range_is_full_until_one_leaves),
        cmocka_unit_test(a_described_network_is_made_without_spanning_tree),
        cmocka_unit_test(room_is_what_memory_and_processors_leave),
        cmocka_unit_test(nobody_there_is_worth_another_try),
        cmocka_unit_test(the_default_test_host_works_too),
        cmocka_unit_test(hostile_text_stays_text),
        cmocka_unit_test(marks_that_are_none_are_refused),
        cmocka_unit_test(a_template_becomes_a_machine_with_our_mark),
        cmocka_unit_test(bad_templates_are_refused),
        cmocka_unit_test(settings_that_cannot_work_are_refused_offline),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
