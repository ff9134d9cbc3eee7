/* Loading libvirt at run time, and a connection to a daemon that hangs, dies or comes back: played by a socket
 * that nobody answers at. Real daemons are in tests/e2e. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../drivers/wire/virlink.h"

static char dir[] = "/tmp/as-virlink-XXXXXX", uri[128], path[64];

static as_time in(as_time ms)
{
    return as_clock_monotonic() + ms;
}

/* A daemon that takes a connection and then says nothing: the kernel alone answers. */
static int hang(void)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 16), 0);
    return fd;
}

/* --- tests -------------------------------------------------------------------------------------------- */

static void the_library_is_loaded_when_first_asked_for(void **state)
{
    (void)state;
    struct virlink l;
    virConnectPtr conn = NULL, again = NULL;
    struct as_error err;
#ifndef __SANITIZE_ADDRESS__ /* for which it is linked */
    assert_null(dlopen("libvirt.so.0", RTLD_LAZY | RTLD_NOLOAD));
#endif
    virlink_init(&l, "test:///default");
    if (virlink_get(&l, in(30000), &conn, &err) != AS_OK)
        fail_msg("%s", err.msg);
    assert_string_equal(vir.ConnectGetType(conn), "TEST");
    virlink_put(&l, conn);
    assert_int_equal(virlink_get(&l, in(30000), &again, &err), AS_OK);
    assert_ptr_equal(conn, again);
    virlink_put(&l, again);
    virlink_fini(&l);
}

/* Until 10.3 libvirt's client corrupts memory otherwise. */
static void no_connection_is_lent_to_two(void **state)
{
    (void)state;
    struct virlink l;
    virConnectPtr conn[VIRLINK_IDLE + 2];
    struct as_error err;
    virlink_init(&l, "test:///default");
    for (int i = 0; i < VIRLINK_IDLE + 2; i++) {
        assert_int_equal(virlink_get(&l, in(30000), &conn[i], &err), AS_OK);
        for (int k = 0; k < i; k++)
            assert_ptr_not_equal(conn[i], conn[k]);
    }
    for (int i = 0; i < VIRLINK_IDLE + 2; i++)
        virlink_put(&l, conn[i]);
    assert_int_equal(l.idle_count, VIRLINK_IDLE);
    virlink_fini(&l);
}

static void a_library_that_is_none_is_an_error_that_says_what_to_install(void **state)
{
    (void)state;
    char file[96], text[512] = "", command[256];
#ifdef __SANITIZE_ADDRESS__
    skip(); /* it would not even start */
#endif
    snprintf(file, sizeof file, "%s/libvirt.so.0", dir);
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fputs("no library\n", f);
    fclose(f);
    snprintf(command, sizeof command, "LD_LIBRARY_PATH=%s exec /proc/%d/exe load", dir, (int)getpid());
    FILE *p = popen(command, "re");
    assert_non_null(p);
    assert_non_null(fgets(text, sizeof text, p));
    assert_int_equal(pclose(p), 0);
    assert_string_equal(text, "libvirt is not installed: apt install libvirt0\n");
}

static void a_daemon_that_hangs_costs_no_more_than_the_deadline(void **state)
{
    (void)state;
    struct virlink l;
    virConnectPtr conn = NULL;
    struct as_error err;
    int fd = hang();
    virlink_init(&l, uri);
    for (int i = 0; i < 3; i++) {
        as_time before = as_clock_monotonic();
        assert_int_equal(virlink_get(&l, before + 200, &conn, &err), AS_EAGAIN);
        assert_true(as_clock_monotonic() - before >= 200);
        assert_non_null(strstr(err.msg, "does not answer"));
    }
    virlink_fini(&l); /* returns although the attempt has not */
    close(fd);
}

static void a_daemon_that_dies_while_it_is_asked_is_asked_again(void **state)
{
    (void)state;
    struct virlink l;
    virConnectPtr conn = NULL;
    struct as_error err;
    int fd = hang();
    virlink_init(&l, uri);
    assert_int_equal(virlink_get(&l, in(200), &conn, &err), AS_EAGAIN);
    close(fd);
    unlink(path);
    assert_int_equal(virlink_get(&l, in(30000), &conn, &err), AS_EAGAIN); /* of the first attempt */
    assert_int_equal(virlink_get(&l, in(30000), &conn, &err), AS_EAGAIN);
    assert_non_null(strstr(err.msg, "Failed to connect socket"));
    assert_null(conn);
    virlink_fini(&l);
}

static void what_cannot_work_is_told_from_what_may_heal(void **state)
{
    (void)state;
    struct virlink l;
    virConnectPtr conn = NULL;
    struct as_error err;
    virlink_init(&l, "qemu+pigeon://host/system");
    assert_int_equal(virlink_get(&l, in(30000), &conn, &err), AS_EINVAL);
    virlink_fini(&l);
    virlink_init(&l, "qemu+unix:///system?socket=/nonexistent/socket");
    assert_int_equal(virlink_get(&l, in(30000), &conn, &err), AS_EAGAIN);
    virlink_fini(&l);
}

static void addresses_of_hypervisors_are_judged_offline(void **state)
{
    (void)state;
    assert_true(virlink_uri_ok("qemu:///system"));
    assert_true(virlink_uri_ok("qemu+unix:///system?socket=/run/other/libvirt-sock"));
    assert_true(virlink_uri_ok("qemu+tls://hv1.example.org/system?pkipath=/etc/pki"));
    assert_true(virlink_uri_ok("qemu+ssh://root@hv1:2222/system?no_tty=1"));
    assert_false(virlink_uri_ok("/run/libvirt/libvirt-sock"));
    assert_false(virlink_uri_ok("qemu://"));
    assert_false(virlink_uri_ok("://x"));
    assert_false(virlink_uri_ok("qemu:///sys tem"));
}

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/socket", dir);
    snprintf(uri, sizeof uri, "qemu+unix:///system?socket=%s", path);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char file[96];
    snprintf(file, sizeof file, "%s/libvirt.so.0", dir);
    unlink(file);
    unlink(path);
    return rmdir(dir);
}

int main(int argc, char **argv)
{
    struct as_error err = { 0 };
    if (argc == 2 && strcmp(argv[1], "load") == 0) {
        int rc = virlib_load(&err);
        puts(err.msg);
        return rc != AS_EUNSUP;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_library_is_loaded_when_first_asked_for),
        cmocka_unit_test(no_connection_is_lent_to_two),
        cmocka_unit_test(a_library_that_is_none_is_an_error_that_says_what_to_install),
        cmocka_unit_test(a_daemon_that_hangs_costs_no_more_than_the_deadline),
        cmocka_unit_test(a_daemon_that_dies_while_it_is_asked_is_asked_again),
        cmocka_unit_test(what_cannot_work_is_told_from_what_may_heal),
        cmocka_unit_test(addresses_of_hypervisors_are_judged_offline),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
