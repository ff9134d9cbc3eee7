/* Several hypervisors of one group, offline: each has addresses of its own, found by its place among the hosts, and no
 * two hand out the same ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../drivers/compute/libvirt.h"

extern const struct as_compute_driver as_compute_libvirt;

#define HOST_A "qemu+ssh://root@hv1/system"
#define HOST_B "qemu+tls://hv2/system"

/* Opens for this host; `seen` gets what it has made of the settings. */
static int try_open(const char *endpoint, const char *more, struct libvirt *seen, struct as_error *err)
{
    char text[1024];
    struct libvirt self;
    struct as_settings *s = NULL;
    const struct as_owner owner = { .controller = "shop", .group = "web" };
    snprintf(text, sizeof text,
             "hosts=[\"" HOST_A "\", \"" HOST_B "\"]; base=\"p/b\"; memory=\"1GiB\"; port=80; %s", more);
    int rc = as_settings_parse(as_compute_libvirt.options, text, &s, err);
    if (rc != AS_OK)
        return rc;
    rc = as_compute_libvirt.open(&self, s, &owner, endpoint, err);
    if (seen)
        *seen = self;
    as_compute_libvirt.close(&self);
    as_settings_free(s);
    return rc;
}

static void each_host_has_the_addresses_at_its_place(void **state)
{
    (void)state;
    static const char both[] = "range=[\"10.1.0.9-10.1.0.19\", \"10.2.0.9-10.2.0.19\"];"
                               "subnet=[\"10.1.0.0/24\", \"10.2.0.0/24\"];";
    struct libvirt seen;
    struct as_error err;
    assert_int_equal(try_open(HOST_A, both, &seen, &err), AS_OK);
    assert_int_equal(seen.range.first, 0x0a010009);
    assert_int_equal(seen.subnet.gateway, 0x0a010001);
    assert_int_equal(try_open(HOST_B, both, &seen, &err), AS_OK);
    assert_int_equal(seen.range.last, 0x0a020013);
    assert_int_equal(seen.subnet.gateway, 0x0a020001);
    /* two hosts on one wire share its subnet, but no address */
    assert_int_equal(
        try_open(HOST_B, "range=[\"10.1.0.9-10.1.0.19\", \"10.1.0.20-10.1.0.29\"];", &seen, &err), AS_OK);
}

static void hosts_that_would_hand_out_the_same_addresses_are_refused(void **state)
{
    (void)state;
    static const char *const bad[][3] = {
        { "range=\"10.1.0.9-10.1.0.19\";", "range: 1 of them for 2 hosts", HOST_A },
        { "range=[\"10.1.0.9-10.1.0.19\", \"10.1.0.19-10.1.0.29\"];", "range: '10.1.0.9-10.1.0.19' and",
          HOST_B },
        { "range=[\"10.1.0.9-10.1.0.19\", \"10.1.0.2-10.1.0.200\"];", "overlap: hosts '" HOST_A "'", HOST_B },
        { "range=[\"10.1.0.9-10.1.0.19\", \"10.2.0.9-10.2.0.19\"]; subnet=\"10.1.0.0/24\";",
          "subnet: 1 of them", HOST_A },
        { "range=[\"10.1.0.9-10.1.0.19\", \"10.1.0.29-10.1.0.39\"]; subnet=[\"10.1.0.0/24\", "
          "\"10.1.0.0/25\"];",
          "subnet: '10.1.0.0/24' and '10.1.0.0/25' overlap", HOST_B },
        { "range=[\"10.1.0.9-10.1.0.19\", \"10.3.0.9-10.3.0.19\"]; subnet=[\"10.1.0.0/24\", "
          "\"10.2.0.0/24\"];",
          "range: '10.3.0.9-10.3.0.19' must lie inside subnet '10.2.0.0/24'", HOST_B },
    };
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        struct as_error err = { 0 };
        assert_int_equal(try_open(bad[k][2], bad[k][0], NULL, &err), AS_EINVAL);
        if (!strstr(err.msg, bad[k][1]))
            fail_msg("%s: %s", bad[k][0], err.msg);
    }
}

static void addresses_that_are_not_known_before_need_no_range(void **state)
{
    (void)state;
    struct libvirt seen;
    struct as_error err;
    assert_int_equal(try_open(HOST_A, "address=\"lease\";", &seen, &err), AS_OK);
    assert_int_equal(try_open(HOST_B, "address=\"agent\";", &seen, &err), AS_OK);
    static const char *const bad[] = { "", "address=\"static\";",
                                       "address=\"lease\"; subnet=[\"10.1.0.0/24\", \"10.2.0.0/24\"];" };
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        assert_int_equal(try_open(HOST_A, bad[k], NULL, &err), AS_EINVAL);
        assert_non_null(strstr(err.msg, "range: is needed"));
    }
}

static void a_seed_cannot_tell_an_address_that_is_not_known_yet(void **state)
{
    (void)state;
    char path[] = "/tmp/as-seed-XXXXXX", more[128];
    struct as_error err;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "{address}\n", 10), 10);
    close(fd);
    snprintf(more, sizeof more, "address=\"lease\"; network_config=\"%s\";", path);
    assert_int_equal(try_open(HOST_A, more, NULL, &err), AS_EINVAL);
    assert_non_null(strstr(err.msg, "network_config: "));
    unlink(path);
    assert_int_equal(try_open(HOST_A, more, NULL, &err), AS_EINVAL);
    assert_non_null(strstr(err.msg, "cannot read"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_host_has_the_addresses_at_its_place),
        cmocka_unit_test(hosts_that_would_hand_out_the_same_addresses_are_refused),
        cmocka_unit_test(addresses_that_are_not_known_before_need_no_range),
        cmocka_unit_test(a_seed_cannot_tell_an_address_that_is_not_known_yet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
