/* The haproxy balancer against real, private HAProxys: admitting, draining, evicting, and what it refuses. */
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include "haproxy_kit.h"

/* --- admitting -------------------------------------------------------------------------------- */

static void no_request_reaches_a_member_before_its_checks_pass(void **state)
{
    (void)state;
    struct target *t = target_start();
    struct pool b = pool_open(lb.socket, "backend = \"web\"; rise = 20;");
    struct as_member m = member("web-0a", t->port), seen;
    admit(&b, &m);
    assert_true(look(&b, m.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_CHECKING);
    assert_string_equal(seen.address, "127.0.0.1");
    assert_int_equal(seen.port, t->port);
    as_time until = soon(PATIENCE);
    while (get(lb.port, "/") != 200)
        assert_true(as_time_left(until) > 0);
    assert_true(t->checks_at_first >= 20);
    wait_state(&b, m.id, AS_MEMBER_UP);
    admit(&b, &m); /* again: nothing changes */
    assert_true(look(&b, m.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_UP);
    evict_all(&b, &m);
    pool_close(&b);
    target_stop(t);
}

static void a_dead_member_never_comes_up(void **state)
{
    (void)state;
    struct pool b = pool_open(lb.socket, "backend = \"web\";");
    struct as_member m = member("web-dead", free_port()), seen;
    admit(&b, &m);
    for (as_time until = soon(800); as_time_left(until) > 0; pause_ms(10)) {
        assert_true(look(&b, m.id, &seen));
        assert_int_equal(seen.state, AS_MEMBER_CHECKING);
        assert_int_equal(get(lb.port, "/"), 503);
    }
    evict_all(&b, &m);
    pool_close(&b);
}

static void a_member_that_dies_is_down(void **state)
{
    (void)state;
    struct target *t = target_start();
    struct pool b = pool_open(lb.socket, "backend = \"web\";");
    struct as_member m = member("web-fall", t->port);
    admit(&b, &m);
    wait_state(&b, m.id, AS_MEMBER_UP);
    target_stop(t);
    wait_state(&b, m.id, AS_MEMBER_DOWN);
    evict_all(&b, &m);
    pool_close(&b);
}

static void without_checks_a_member_is_up_at_once(void **state)
{
    (void)state;
    struct target *t = target_start();
    struct pool b = pool_open(lb.socket, "backend = \"web\"; check = false; weight = 7;");
    struct as_member m = member("web-unchecked", t->port), seen;
    admit(&b, &m);
    assert_true(look(&b, m.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_UP);
    assert_int_equal(seen.weight, 7);
    assert_int_equal(get(lb.port, "/"), 200);
    evict_all(&b, &m);
    pool_close(&b);
    target_stop(t);
}

static void a_name_left_from_another_address_is_replaced(void **state)
{
    (void)state;
    struct target *t = target_start();
    struct pool b = pool_open(lb.socket, "backend = \"web\";");
    struct as_member old = member("web-same", free_port()), m = member("web-same", t->port);
    admit(&b, &old);
    admit(&b, &m);
    assert_int_equal(wait_state(&b, m.id, AS_MEMBER_UP).port, t->port);
    evict_all(&b, &m);
    pool_close(&b);
    target_stop(t);
}

static void names_addresses_and_options_that_are_not_plain_are_refused(void **state)
{
    (void)state;
    struct pool b = pool_open(lb.socket, "backend = \"web\";"), bad;
    struct as_error err = { 0 };
    struct as_member m = member("web-1;disable server mixed/fixed", 80);
    assert_int_equal(as_balancer_haproxy.admit(b.self, soon(CALL), &m, &err), AS_EINVAL);
    assert_int_equal(as_balancer_haproxy.drain(b.self, soon(CALL), &m, &err), AS_EINVAL);
    assert_int_equal(as_balancer_haproxy.evict(b.self, soon(CALL), &m, true, &err), AS_EINVAL);
    m = member("web-1", 80);
    strcpy(m.address, "localhost");
    assert_int_equal(as_balancer_haproxy.admit(b.self, soon(CALL), &m, &err), AS_EINVAL);
    assert_non_null(strstr(err.msg, "literal address"));
    pool_close(&b);
    assert_int_equal(pool_try(&bad, lb.socket, "backend = \"web;help\";", &err), AS_EINVAL);
    pool_close(&bad);
    assert_int_equal(pool_try(&bad, lb.socket, "backend = \"web\"; server_options = \"a;b\";", &err),
                     AS_EINVAL);
    pool_close(&bad);
    b = pool_open(lb.socket, "backend = \"web\"; server_options = [ \"cookie x\" ];");
    m = member("web-1", 80);
    assert_int_equal(as_balancer_haproxy.admit(b.self, soon(CALL), &m, &err), AS_EINVAL);
    assert_non_null(strstr(err.msg, "cookie"));
    pool_close(&b);
}

/* --- draining and evicting -------------------------------------------------------------------- */

static void drain_keeps_a_running_session_and_takes_no_new_one(void **state)
{
    (void)state;
    struct target *t = target_start();
    struct pool b = pool_open(lb.socket, "backend = \"web\";");
    struct as_member m = member("web-drain", t->port);
    struct as_error err = { 0 };
    struct client c;
    admit(&b, &m);
    wait_state(&b, m.id, AS_MEMBER_UP);
    client_start(&c, lb.port, "/hold");
    wait_held(&b, m.id, 1);
    ok(as_balancer_haproxy.drain(b.self, soon(CALL), &m, &err), &err);
    ok(as_balancer_haproxy.drain(b.self, soon(CALL), &m, &err), &err);
    assert_int_equal(wait_state(&b, m.id, AS_MEMBER_DRAINING).held, 1);
    assert_int_equal(get(lb.port, "/"), 503);
    t->released = true;
    assert_int_equal(client_status(&c), 200);
    wait_held(&b, m.id, 0);
    wait_state(&b, m.id, AS_MEMBER_DRAINING);
    int checks = t->checks;
    admit(&b, &m); /* load returned: back at once, its checks never stopped */
    assert_int_equal(get(lb.port, "/"), 200);
    assert_true(checks >= 2);
    evict_all(&b, &m);
    pool_close(&b);
    target_stop(t);
}

static void a_draining_member_whose_checks_fail_is_still_draining(void **state)
{
    (void)state;
    struct pool b = pool_open(lb.socket, "backend = \"web\";");
    struct as_member m = member("web-sick", free_port()), seen;
    struct as_error err = { 0 };
    admit(&b, &m);
    ok(as_balancer_haproxy.drain(b.self, soon(CALL), &m, &err), &err);
    assert_true(look(&b, m.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_DRAINING);
    admit(&b, &m); /* and taken back it must pass its checks like a new one */
    wait_state(&b, m.id, AS_MEMBER_CHECKING);
    assert_int_equal(get(lb.port, "/"), 503);
    evict_all(&b, &m);
    pool_close(&b);
}

static void evict_waits_for_sessions_unless_forced(void **state)
{
    (void)state;
    struct target *t = target_start();
    struct pool b = pool_open(lb.socket, "backend = \"web\";");
    struct as_member m = member("web-evict", t->port), seen;
    struct as_error err = { 0 };
    struct client c;
    admit(&b, &m);
    wait_state(&b, m.id, AS_MEMBER_UP);
    client_start(&c, lb.port, "/hold");
    wait_held(&b, m.id, 1);
    assert_int_equal(as_balancer_haproxy.evict(b.self, soon(CALL), &m, false, &err), AS_EAGAIN);
    assert_true(look(&b, m.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_UP); /* nothing was done to it */
    ok(as_balancer_haproxy.evict(b.self, soon(CALL), &m, true, &err), &err);
    assert_false(look(&b, m.id, &seen));
    assert_int_not_equal(client_status(&c), 200);
    ok(as_balancer_haproxy.evict(b.self, soon(CALL), &m, false, &err), &err);
    assert_int_equal(as_balancer_haproxy.drain(b.self, soon(CALL), &m, &err), AS_ENOENT);
    pool_close(&b);
    target_stop(t);
}

static void a_member_out_of_rotation_comes_back_through_its_checks(void **state)
{
    (void)state;
    struct target *t = target_start();
    struct pool b =
        pool_open(lb.socket, "backend = \"web\"; rise = 20;"); /* time to look before they have passed */
    struct as_member m = member("web-out", t->port);
    admit(&b, &m);
    wait_state(&b, m.id, AS_MEMBER_UP);
    struct haproxy_cli cli; /* as an operator would */
    struct haproxy_reply reply;
    struct as_error err = { 0 };
    ok(haproxy_cli_init(&cli, lb.socket, &err), &err);
    ok(haproxy_cli_exchange(&cli, soon(CALL), true, "set server web/web-out state maint", &reply, &err),
       &err);
    haproxy_reply_fini(&reply);
    wait_state(&b, m.id, AS_MEMBER_OUT);
    struct as_member seen;
    admit(&b, &m);
    assert_true(look(&b, m.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_CHECKING);
    wait_state(&b, m.id, AS_MEMBER_UP);
    evict_all(&b, &m);
    pool_close(&b);
    target_stop(t);
}

static void weight_changes_and_is_listed(void **state)
{
    (void)state;
    struct pool b = pool_open(lb.socket, "backend = \"web\";");
    struct as_member m = member("web-heavy", free_port()), seen;
    struct as_error err = { 0 };
    admit(&b, &m);
    assert_true(look(&b, m.id, &seen));
    assert_int_equal(seen.weight, 100);
    ok(as_balancer_haproxy.weight(b.self, soon(CALL), &m, 30, &err), &err);
    assert_true(look(&b, m.id, &seen));
    assert_int_equal(seen.weight, 30);
    assert_int_equal(as_balancer_haproxy.weight(b.self, soon(CALL), &m, 0, &err), AS_EINVAL);
    assert_int_equal(as_balancer_haproxy.weight(b.self, soon(CALL), &m, 257, &err), AS_EINVAL);
    evict_all(&b, &m);
    pool_close(&b);
}

/* --- what cannot be driven -------------------------------------------------------------------- */

static void expect_list(const char *endpoint, const char *backend, int rc, const char *says)
{
    char more[64];
    snprintf(more, sizeof more, "backend = \"%s\";", backend);
    struct pool b = pool_open(endpoint, more);
    struct as_members list = { 0 };
    struct as_error err = { 0 };
    assert_int_equal(as_balancer_haproxy.list(b.self, soon(CALL), &list, &err), rc);
    if (rc) {
        assert_int_equal(list.count, 0);
        assert_int_equal(err.rc, rc);
    }
    if (says && !strstr(err.msg, says))
        fail_msg("'%s' does not say '%s'", err.msg, says);
    as_members_fini(&list);
    pool_close(&b);
}

static void backends_that_cannot_take_servers_are_refused_with_the_reason(void **state)
{
    (void)state;
    expect_list(lb.socket, "fixed", AS_EINVAL, "roundrobin, leastconn");
    expect_list(lb.socket, "nosuch", AS_EINVAL, "has no backend 'nosuch'");
    expect_list(lb.operator_socket, "web", AS_EAUTH, "level admin");
    expect_list(lb.socket, "chance", AS_OK, NULL);
    expect_list(lb.socket, "web", AS_OK, NULL);
    char dead[200];
    snprintf(dead, sizeof dead, "%s/none.sock", root);
    expect_list(dead, "web", AS_EAGAIN, "does not take connections");
}

static void foreign_servers_are_listed_and_left_alone(void **state)
{
    (void)state;
    struct pool b = pool_open(lb.socket, "backend = \"mixed\";");
    struct as_member m = member("web-guest", free_port()), before, after;
    assert_true(look(&b, "fixed", &before));
    admit(&b, &m);
    evict_all(&b, &m);
    assert_true(look(&b, "fixed", &after));
    assert_int_equal(before.state, AS_MEMBER_UP);
    assert_int_equal(after.state, AS_MEMBER_UP);
    assert_int_equal(after.weight, before.weight);
    pool_close(&b);
}

static void a_server_named_by_the_configuration_cannot_be_evicted(void **state)
{
    (void)state;
    struct pool b = pool_open(lb.socket, "backend = \"pinned\";");
    struct as_member m = member("extra", 1);
    struct as_error err = { 0 };
    assert_int_equal(as_balancer_haproxy.evict(b.self, soon(CALL), &m, false, &err), AS_EINVAL);
    assert_non_null(strstr(err.msg, "use-server"));
    pool_close(&b);
}

static void evicting_from_a_backend_that_is_gone_succeeds(void **state)
{
    (void)state;
    struct pool b = pool_open(lb.socket, "backend = \"nosuch\";");
    struct as_member m = member("web-1", 1);
    struct as_error err = { 0 };
    ok(as_balancer_haproxy.evict(b.self, soon(CALL), &m, false, &err), &err);
    assert_int_equal(as_balancer_haproxy.admit(b.self, soon(CALL), &m, &err), AS_EINVAL);
    pool_close(&b);
}

static void a_frontend_of_the_same_name_hides_no_member(void **state)
{
    (void)state;
    struct target *t = target_start();
    struct pool b = pool_open(lb.socket, "backend = \"twin\";");
    struct as_member m = member("twin-1", t->port), seen;
    struct as_error err = { 0 };
    assert_false(look(&b, m.id, &seen));
    admit(&b, &m);
    wait_state(&b, m.id, AS_MEMBER_UP);
    ok(as_balancer_haproxy.weight(b.self, soon(PATIENCE), &m, 9, &err), &err);
    assert_true(look(&b, m.id, &seen));
    assert_int_equal(seen.weight, 9);
    ok(as_balancer_haproxy.drain(b.self, soon(PATIENCE), &m, &err), &err);
    wait_state(&b, m.id, AS_MEMBER_DRAINING);
    admit(&b, &m);
    wait_state(&b, m.id, AS_MEMBER_UP);
    evict_all(&b, &m);
    assert_false(look(&b, m.id, &seen));
    pool_close(&b);
    target_stop(t);
}

static int alerts(const struct proxy *p)
{
    char path[160], line[1024];
    int n = 0;
    snprintf(path, sizeof path, "%s/log", p->dir);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        n += strstr(line, "[ALERT]") != NULL;
    fclose(f);
    return n;
}

static void look_thrice(const struct proxy *p, const char *more)
{
    struct as_member seen;
    struct pool b = pool_open(p->socket, more);
    for (int i = 0; i < 3; i++)
        assert_false(look(&b, "web-none", &seen));
    pool_close(&b);
}

/* What a backend can do is known of most of them; of the others one start of HAProxy is asked once. */
static void looking_leaves_no_alerts_in_the_log_of_haproxy(void **state)
{
    (void)state;
    struct proxy p = proxy_start("quiet");
    look_thrice(&p, "backend = \"web\";");
    look_thrice(&p, "backend = \"mixed\";");
    assert_int_equal(alerts(&p), 0);
    look_thrice(&p, "backend = \"chance\";");
    assert_int_equal(alerts(&p), 1);
    expect_list(p.socket, "fixed", AS_EINVAL, "roundrobin, leastconn");
    expect_list(p.operator_socket, "web", AS_EAUTH, "level admin");
    assert_int_equal(alerts(&p), 1);
    proxy_end(&p);
}

/* --- several, restarted and hung HAProxys ----------------------------------------------------- */

static void two_haproxys_are_kept_in_step_over_unix_and_tcp(void **state)
{
    (void)state;
    struct proxy other = proxy_start("other");
    struct target *t = target_start();
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%u", other.cli_port);
    struct pool a = pool_open(lb.socket, "backend = \"web\";"), b = pool_open(address, "backend = \"web\";");
    struct as_member m = member("web-both", t->port);
    admit(&a, &m);
    admit(&b, &m);
    wait_state(&a, m.id, AS_MEMBER_UP);
    wait_state(&b, m.id, AS_MEMBER_UP);
    assert_int_equal(get(lb.port, "/"), 200);
    assert_int_equal(get(other.port, "/"), 200);
    evict_all(&a, &m);
    pool_close(&a);
    pool_close(&b);
    proxy_end(&other);
    target_stop(t);
}

static void list_epoch(struct pool *b, struct as_members *list)
{
    struct as_error err = { 0 };
    *list = (struct as_members){ 0 };
    ok(as_balancer_haproxy.list(b->self, soon(CALL), list, &err), &err);
    assert_true(strlen(list->epoch) > 2);
}

static void a_restart_changes_the_epoch_and_members_can_be_put_back(void **state)
{
    (void)state;
    struct proxy p = proxy_start("restarted");
    struct target *t = target_start();
    struct pool b = pool_open(p.socket, "backend = \"web\";");
    struct as_member m = member("web-back", t->port);
    struct as_members before, same, after;
    admit(&b, &m);
    list_epoch(&b, &before);
    list_epoch(&b, &same);
    proxy_end(&p);
    proxy_run(&p);
    list_epoch(&b, &after);
    assert_int_equal(before.count, 1);
    assert_int_equal(after.count, 0);
    assert_string_equal(before.epoch, same.epoch);
    assert_string_not_equal(before.epoch, after.epoch);
    admit(&b, &m);
    wait_state(&b, m.id, AS_MEMBER_UP);
    as_members_fini(&before);
    as_members_fini(&same);
    as_members_fini(&after);
    pool_close(&b);
    proxy_end(&p);
    target_stop(t);
}

static void a_hung_haproxy_costs_no_more_than_the_deadline(void **state)
{
    (void)state;
    struct proxy p = proxy_start("hung");
    struct pool b = pool_open(p.socket, "backend = \"web\";");
    struct as_member m = member("web-1", 80), other = member("web-2", 80);
    struct as_members list = { 0 };
    struct as_error err = { 0 };
    hang_process(p.pid);
    as_time began = as_clock_monotonic();
    assert_int_equal(as_balancer_haproxy.list(b.self, soon(200), &list, &err), AS_EAGAIN);
    assert_int_equal(as_balancer_haproxy.admit(b.self, soon(200), &m, &err), AS_EUNKNOWN);
    assert_int_equal(as_balancer_haproxy.drain(b.self, soon(200), &other, &err), AS_EUNKNOWN);
    as_time took = as_clock_monotonic() - began;
    assert_in_range(took, 500, 10000); /* it would have been for ever */
    kill(p.pid, SIGCONT);
    wait_state(&b, m.id, AS_MEMBER_OUT); /* it was carried out: unknown was the truth, and it takes no work */
    admit(&b, &m);
    wait_state(&b, m.id, AS_MEMBER_CHECKING);
    pool_close(&b);
    proxy_end(&p);
}

/* A network of its own, in which the name server takes every question and answers none. */
static bool hide_the_names(void)
{
    char conf[128];
    struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
    struct sockaddr_in dns = { .sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                               .sin_port = htons(53) };
    snprintf(conf, sizeof conf, "%s/resolv.conf", root);
    FILE *f = fopen(conf, "w");
    if (!f || fputs("nameserver 127.0.0.1\noptions timeout:10 attempts:3\n", f) < 0 || fclose(f) != 0 ||
        unshare(CLONE_NEWNET | CLONE_NEWNS) != 0)
        return false;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return ioctl(fd, SIOCSIFFLAGS, &lo) == 0 && bind(fd, (struct sockaddr *)&dns, sizeof dns) == 0 &&
           mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount(conf, "/etc/resolv.conf", NULL, MS_BIND, NULL) == 0;
}

static void a_name_that_is_not_resolved_costs_no_more_than_the_deadline(void **state)
{
    (void)state;
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct pool b = pool_open("haproxy.test:9999", "backend = \"web\";");
        struct as_members list = { 0 };
        struct as_error err = { 0 };
        if (!hide_the_names())
            _exit(3);
        as_time began = as_clock_monotonic();
        int rc = as_balancer_haproxy.list(b.self, soon(500), &list, &err);
        bool late = as_clock_monotonic() - began > 9000; /* the resolver's own patience is 30 s */
        _exit(late ? 2 : rc != AS_EAGAIN || !strstr(err.msg, "haproxy.test"));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_request_reaches_a_member_before_its_checks_pass),
        cmocka_unit_test(a_dead_member_never_comes_up),
        cmocka_unit_test(a_member_that_dies_is_down),
        cmocka_unit_test(without_checks_a_member_is_up_at_once),
        cmocka_unit_test(a_name_left_from_another_address_is_replaced),
        cmocka_unit_test(names_addresses_and_options_that_are_not_plain_are_refused),
        cmocka_unit_test(drain_keeps_a_running_session_and_takes_no_new_one),
        cmocka_unit_test(a_draining_member_whose_checks_fail_is_still_draining),
        cmocka_unit_test(evict_waits_for_sessions_unless_forced),
        cmocka_unit_test(a_member_out_of_rotation_comes_back_through_its_checks),
        cmocka_unit_test(weight_changes_and_is_listed),
        cmocka_unit_test(backends_that_cannot_take_servers_are_refused_with_the_reason),
        cmocka_unit_test(foreign_servers_are_listed_and_left_alone),
        cmocka_unit_test(a_server_named_by_the_configuration_cannot_be_evicted),
        cmocka_unit_test(evicting_from_a_backend_that_is_gone_succeeds),
        cmocka_unit_test(a_frontend_of_the_same_name_hides_no_member),
        cmocka_unit_test(looking_leaves_no_alerts_in_the_log_of_haproxy),
        cmocka_unit_test(two_haproxys_are_kept_in_step_over_unix_and_tcp),
        cmocka_unit_test(a_restart_changes_the_epoch_and_members_can_be_put_back),
        cmocka_unit_test(a_hung_haproxy_costs_no_more_than_the_deadline),
        cmocka_unit_test(a_name_that_is_not_resolved_costs_no_more_than_the_deadline),
    };
    return cmocka_run_group_tests(tests, start_all, end_all);
}
