/* What systemd is told, read from a real notification socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../controller/runtime/notify.h"

static char path[96];
static int fd = -1;

static int setup(void **state)
{
    (void)state;
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    snprintf(path, sizeof path, "/tmp/autoscale-notify-%ld", (long)getpid());
    memcpy(a.sun_path, path, sizeof path);
    unlink(path); /* of a test that was killed, when pids were here before */
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    return bind(fd, (struct sockaddr *)&a, sizeof a) || setenv("NOTIFY_SOCKET", path, 1);
}

static int teardown(void **state)
{
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    close(fd);
    return unlink(path);
}

static const char *told(void)
{
    static char text[1024];
    ssize_t n = recv(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void states_are_told(void **state)
{
    (void)state;
    notify_ready();
    assert_string_equal(told(), "READY=1");
    notify_stopping();
    assert_string_equal(told(), "STOPPING=1");
    notify_watchdog();
    assert_string_equal(told(), "WATCHDOG=1");
}

static void a_reload_carries_the_monotonic_time(void **state)
{
    (void)state;
    as_time before = as_clock_monotonic();
    notify_reloading();
    long long usec = 0;
    assert_int_equal(sscanf(told(), "RELOADING=1\nMONOTONIC_USEC=%lld", &usec), 1);
    assert_true(usec / 1000 >= before && usec / 1000 <= as_clock_monotonic());
}

static void a_status_stays_one_line(void **state)
{
    (void)state;
    notify_status("web: 3 serving\nREADY=0");
    assert_string_equal(told(), "STATUS=web: 3 serving READY=0");
}

static void the_watchdog_is_fed_twice_in_its_time(void **state)
{
    (void)state;
    assert_int_equal(notify_watchdog_interval(), 0);
    setenv("WATCHDOG_USEC", "10000000", 1);
    assert_int_equal(notify_watchdog_interval(), 5000);
    setenv("WATCHDOG_PID", "1", 1); /* meant for another process */
    assert_int_equal(notify_watchdog_interval(), 0);
}

static void without_systemd_nothing_happens(void **state)
{
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    notify_ready();
    notify_status("x");
    assert_string_equal(told(), "");
}

int main(void)
{
#define NOTIFY_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        NOTIFY_TEST(states_are_told),
        NOTIFY_TEST(a_reload_carries_the_monotonic_time),
        NOTIFY_TEST(a_status_stays_one_line),
        NOTIFY_TEST(the_watchdog_is_fed_twice_in_its_time),
        NOTIFY_TEST(without_systemd_nothing_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
