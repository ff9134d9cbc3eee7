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
#include "../../drivers/wire/virssh.h"

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
    assert_null(virlink_uri_fault("qemu:///system"));
    assert_null(virlink_uri_fault("qemu+unix:///system?socket=/run/other/libvirt-sock"));
    assert_null(virlink_uri_fault("qemu+tls://hv1.example.org/system?pkipath=/etc/pki"));
    assert_null(virlink_uri_fault("qemu+ssh://root@hv1:2222/system?no_tty=1"));
    assert_non_null(virlink_uri_fault("/run/libvirt/libvirt-sock"));
    assert_non_null(virlink_uri_fault("qemu://"));
    assert_non_null(virlink_uri_fault("://x"));
    assert_non_null(virlink_uri_fault("qemu:///sys tem"));
}

static void ssh_is_never_let_ask_and_given_nothing_it_would_ignore(void **state)
{
    (void)state;
    static const char *const quiet[][2] = {
        { "qemu+ssh://hv1/system", "qemu+ssh://hv1/system?no_tty=1" },
        { "qemu+ssh://hv1/system?keyfile=/k", "qemu+ssh://hv1/system?keyfile=/k&no_tty=1" },
        { "qemu+ssh://hv1/system?no_tty=1&keyfile=/k", "qemu+ssh://hv1/system?no_tty=1&keyfile=/k" },
        { "qemu+tls://hv1/system", "qemu+tls://hv1/system" },
    };
    for (size_t i = 0; i < sizeof quiet / sizeof *quiet; i++) {
        char *text = virssh_quiet(quiet[i][0]);
        assert_string_equal(text, quiet[i][1]);
        free(text);
    }
    assert_non_null(strstr(virlink_uri_fault("qemu+ssh://hv1/system?no_tty=0"), "leave no_tty out"));
    assert_non_null(
        strstr(virlink_uri_fault("qemu+ssh://hv1/system?keyfile=/k&known_hosts=/h"), "ssh_config"));
    assert_null(virlink_uri_fault("qemu+libssh2://hv1/system?keyfile=/k&known_hosts=/h"));
    assert_null(virlink_uri_fault("qemu+ssh://hv1/system?command=/x/known_hosts=1"));
}

static virError last;

static virErrorPtr last_error(void)
{
    return &last;
}

/* What libvirt 9.0 makes of what ssh writes. */
static void the_words_of_ssh_are_told_without_those_around_them(void **state)
{
    (void)state;
    static const struct {
        const char *message;
        enum as_rc rc;
        const char *said;
    } cases[] = {
        { "Cannot recv data: root@h: Permission denied (publickey).: Connection reset by peer", AS_EAUTH,
          "(ssh: root@h: Permission denied (publickey).): look at keyfile" },
        { "Cannot recv data: Warning: Identity file /k not accessible: No such file.\r\nroot@h: Permission "
          "denied "
          "(publickey).\r\n: Connection reset by peer",
          AS_EAUTH, "(ssh: root@h: Permission denied (publickey).)" },
        { "Cannot recv data: Host key verification failed.: Connection reset by peer", AS_EAUTH,
          "known_hosts of the user" },
        { "Cannot recv data: @@@@@@@@@\r\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\r\nHost key "
          "verification "
          "failed.: Connection reset by peer",
          AS_EAUTH, "is not the one in ssh's known_hosts" },
        { "Cannot recv data: ssh: connect to host h port 22: Connection refused: Connection reset by peer",
          AS_EAGAIN, ": ssh: connect to host h port 22: Connection refused" },
        { "End of file while reading data: sh: 1: nc: not found: Input/output error", AS_EAGAIN,
          ": ssh: sh: 1: nc: not found" },
        { "End of file while reading data: : Input/output error", AS_EAGAIN, "hung up without a word" },
        { "End of file while reading data: Input/output error", AS_EAGAIN, "hung up without a word" },
    };
    struct as_error err;
    assert_int_equal(virlib_load(&err), AS_OK);
    __typeof__(vir.GetLastError) before = vir.GetLastError;
    vir.GetLastError = last_error;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *message = strdup(cases[i].message);
        last = (virError){ .code = VIR_ERR_SYSTEM_ERROR, .message = message };
        assert_true(virssh_refused("qemu+ssh://h/system", &err));
        assert_int_equal(err.rc, cases[i].rc);
        if (!strstr(err.msg, cases[i].said))
            fail_msg("no '%s' in '%s'", cases[i].said, err.msg);
        assert_null(strpbrk(err.msg, "\r\n"));
        free(message);
    }
    last.message = NULL;
    assert_false(virssh_refused("qemu+ssh://h/system", &err));
    vir.GetLastError = before;
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
        cmocka_unit_test(ssh_is_never_let_ask_and_given_nothing_it_would_ignore),
        cmocka_unit_test(the_words_of_ssh_are_told_without_those_around_them),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
