/* The nginx source and balancer against real, private nginxs on 127.0.0.1, with HTTP servers that live in
 * this process and count what reaches them. Starts its own nginxs in a temporary directory and ends only
 * those. */
#include "nginx_kit.h"

/* --- tests: joining ------------------------------------------------------------------------------------ */

static void the_first_admit_writes_the_file_that_nginx_needs_to_start(void **state)
{
    (void)state;
    struct web w = web_new("first");
    struct target *t = target_start();
    struct as_member m = member("web-00000001", t->port), seen;
    struct pool b = pool_marked(&w, "");
    struct as_members all = { 0 };
    struct as_error err;
    assert_int_equal(as_balancer_nginx.list(b.self, soon(CALL), &all, &err), AS_OK);
    assert_int_equal(all.count, 0);
    assert_int_equal(access(w.include, F_OK), -1); /* list writes nothing */
    assert_int_equal(try_admit(&b, &m, &err), AS_EAGAIN);
    assert_non_null(strstr(err.msg, "start it"));
    assert_int_equal(as_balancer_nginx.list(b.self, soon(CALL), &all, &err), AS_EAGAIN);
    assert_non_null(strstr(err.msg, "not running"));
    web_run(&w);
    await_up(&b, &m);
    assert_int_equal(get(w.port, "/"), 200);
    pool_close(&b);
    b = pool_marked(&w, ""); /* the file is all the memory there is */
    assert_true(listed(&b, m.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_UP);
    assert_int_equal(seen.port, t->port);
    web_end(&w);
    web_run(&w);
    await_up(&b, &m);
    pool_close(&b);
    web_end(&w);
    target_stop(t);
}

static void many_admits_share_a_reload(void **state)
{
    (void)state;
    struct web w;
    struct target *t = target_start();
    struct as_member m = member("web-00000001", t->port), more[10];
    struct pool b = start_with(&w, "batch", &m, "reload_interval = \"3s\";");
    int before = reloads(&w);
    as_time began = as_clock_monotonic();
    for (unsigned i = 0; i < 10; i++) {
        char id[32];
        snprintf(id, sizeof id, "web-000001%02x", i);
        more[i] = member(id, t->port);
        admit(&b, &more[i]);
    }
    for (unsigned i = 0; i < 10; i++)
        await_up(&b, &more[i]);
    int most = (int)((as_clock_monotonic() - began) / 3000) + 1;
    assert_in_range(reloads(&w) - before, 1, most);
    pool_close(&b);
    web_end(&w);
    target_stop(t);
}

static void a_member_that_nginx_was_not_told_of_is_out_until_it_is_admitted_again(void **state)
{
    (void)state;
    struct web w;
    struct target *t = target_start();
    struct as_member one = member("web-00000001", t->port), two = member("web-00000002", t->port),
                     three = member("web-00000003", t->port), seen;
    struct pool b = start_with(&w, "crash", &one, "reload_interval = \"1h\";");
    admit(&b, &two);   /* reloads at once */
    admit(&b, &three); /* would reload in an hour */
    drain(&b, &one);
    await_up(&b, &two);
    assert_true(listed(&b, three.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_CHECKING);
    assert_true(listed(&b, one.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_DRAINING);
    assert_true(seen.held > 0);
    pool_close(&b);
    b = pool_marked(&w, "");
    assert_true(listed(&b, three.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_OUT);
    assert_true(listed(&b, one.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_UP); /* nginx still sends it work */
    assert_true(listed(&b, two.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_UP);
    admit(&b, &three);
    await_up(&b, &three);
    await_state(&b, one.id, AS_MEMBER_DRAINING, true);
    pool_close(&b);
    web_end(&w);
    target_stop(t);
}

static void without_a_marker_new_workers_are_the_proof(void **state)
{
    (void)state;
    struct web w;
    struct target *t = target_start(), *u = target_start();
    struct as_member one = member("web-00000001", t->port), two = member("web-00000002", u->port), seen;
    struct pool b = start_with(&w, "plain", &one, "");
    pool_close(&b);
    b = pool_open(&w, "");
    assert_true(listed(&b, one.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_UP);
    admit(&b, &two);
    await_up(&b, &two);
    drain(&b, &one);
    await_state(&b, one.id, AS_MEMBER_DRAINING, true);
    int before = atomic_load(&t->requests);
    for (int i = 0; i < 20; i++)
        assert_int_equal(get(w.port, "/"), 200);
    assert_int_equal(t->requests, before);
    evict(&b, &one);
    assert_false(listed(&b, one.id, &seen));
    pool_close(&b);
    web_end(&w);
    target_stop(t);
    target_stop(u);
}

static void every_algorithm_is_taken_by_nginx(void **state)
{
    (void)state;
    static const char *const more[] = { "algorithm = \"round_robin\"; max_conns = 50; max_fails = 0;",
                                        "algorithm = \"random\"; fail_timeout = \"3s\"; keepalive = 4;",
                                        "algorithm = \"least_conn\"; max_fails = 3;",
                                        "algorithm = \"hash\"; hash_key = \"${request_uri}$cookie_sid\";",
                                        "algorithm = \"ip_hash\";" };
    struct web w;
    struct target *t = target_start();
    struct as_member m = member("web-00000001", t->port);
    struct pool b = start_with(&w, "algorithms", &m, "");
    pool_close(&b);
    for (unsigned i = 0; i < sizeof more / sizeof *more; i++) {
        char id[32];
        snprintf(id, sizeof id, "web-0000001%u", i);
        struct as_member n = member(id, t->port);
        b = pool_marked(&w, more[i]);
        admit(&b, &n);
        await_up(&b, &n);
        for (int k = 0; k < 4; k++)
            assert_int_equal(get(w.port, "/"), 200);
        pool_close(&b);
    }
    b = pool_marked(&w, "weight_interval = \"0ms\";");
    struct as_error err = { 0 };
    struct as_member seen;
    ok(as_balancer_nginx.weight(b.self, soon(CALL), &m, 20, &err), &err);
    assert_true(listed(&b, m.id, &seen));
    assert_int_equal(seen.weight, 20);
    assert_int_equal(seen.state, AS_MEMBER_UP);
    pool_close(&b);
    web_end(&w);
    target_stop(t);
}

/* --- tests: leaving ------------------------------------------------------------------------------------ */

static void a_draining_member_keeps_its_request_and_gets_no_other(void **state)
{
    (void)state;
    struct web w;
    struct target *t = target_start(), *u = target_start();
    struct as_member one = member("web-00000001", t->port), two = member("web-00000002", u->port), seen;
    struct as_error err;
    struct pool b = start_with(&w, "drain", &one, "reload_interval = \"0s\";");
    struct client c = { .port = w.port, .path = "/hold" };
    pthread_create(&c.thread, NULL, run_client, &c);
    while (!t->holding)
        pause_ms(STEP);
    admit(&b, &two);
    await_up(&b, &two);
    drain(&b, &one);
    drain(&b, &one);
    await_state(&b, one.id, AS_MEMBER_DRAINING, false);
    int before = atomic_load(&t->requests);
    as_time until = soon(PATIENCE);
    while (u->requests < 5 && as_time_left(until) > 0) {
        assert_true(listed(&b, one.id, &seen));
        assert_true(seen.held > 0);
        get(w.port, "/");
    }
    assert_int_equal(as_balancer_nginx.evict(b.self, soon(CALL), &one, false, &err), AS_EAGAIN);
    await_state(&b, two.id, AS_MEMBER_UP, false);
    int settled = atomic_load(&t->requests);
    for (int i = 0; i < 20; i++)
        assert_int_equal(get(w.port, "/"), 200);
    assert_int_equal(t->requests, settled);
    assert_true(settled - before <= 5);
    t->released = true;
    pthread_join(c.thread, NULL);
    assert_int_equal(c.status, 200);
    await_state(&b, one.id, AS_MEMBER_DRAINING, true);
    evict(&b, &one);
    assert_false(listed(&b, one.id, &seen));
    assert_int_equal(as_balancer_nginx.drain(b.self, soon(CALL), &one, &err), AS_ENOENT);
    assert_int_equal(as_balancer_nginx.evict(b.self, soon(CALL), &one, false, &err), AS_OK);
    pool_close(&b);
    web_end(&w);
    target_stop(t);
    target_stop(u);
}

static void force_waits_for_no_session_but_for_the_routing(void **state)
{
    (void)state;
    struct web w;
    struct target *t = target_start(), *u = target_start();
    struct as_member one = member("web-00000001", t->port), two = member("web-00000002", u->port), seen;
    struct as_error err = { 0 };
    struct pool b = start_with(&w, "force", &one, "reload_interval = \"0s\";");
    struct client c = { .port = w.port, .path = "/hold" };
    pthread_create(&c.thread, NULL, run_client, &c);
    while (!t->holding)
        pause_ms(STEP);
    admit(&b, &two);
    await_up(&b, &two);
    ok(as_balancer_nginx.evict(b.self, soon(PATIENCE), &one, true, &err), &err);
    assert_false(listed(&b, one.id, &seen));
    int before = atomic_load(&t->requests);
    for (int i = 0; i < 20; i++)
        assert_int_equal(get(w.port, "/"), 200);
    assert_int_equal(t->requests, before);
    ok(as_balancer_nginx.evict(b.self, soon(PATIENCE), &two, true, &err), &err);
    assert_int_equal(get(w.port, "/"), 502); /* empty, and nginx goes on */
    admit(&b, &two);
    await_up(&b, &two);
    assert_int_equal(get(w.port, "/"), 200);
    t->released = true;
    pthread_join(c.thread, NULL);
    pool_close(&b);
    web_end(&w);
    target_stop(t);
    target_stop(u);
}

static struct web upgraded; /* its masters are nobody's children: they are ended by their pid files */

static void end_master(const char *path)
{
    pid_t pid = pid_in(path);
    if (pid > 1)
        kill(pid, SIGTERM);
    for (as_time until = soon(PATIENCE); pid > 1 && kill(pid, 0) == 0 && as_time_left(until) > 0;)
        pause_ms(STEP);
}

static int end_upgraded(void **state)
{
    (void)state;
    char former[600];
    snprintf(former, sizeof former, "%s.oldbin", upgraded.pid_file);
    end_master(former);
    end_master(upgraded.pid_file);
    return 0;
}

/* As a daemon: nginx takes no upgrade while its first parent is there. */
static pid_t run_daemon(struct web *w)
{
    char *text = strdup(file_text(w->conf)), *off = strstr(text, "daemon off;");
    assert_non_null(off);
    memset(off, ' ', strlen("daemon off;"));
    put_file(w->conf, text);
    free(text);
    web_run(w);
    waitpid(w->pid, NULL, 0);
    pid_t first = pid_in(w->pid_file);
    assert_int_not_equal(first, w->pid);
    return first;
}

/* As a package's upgrade does it: a new master beside the old one, whose workers serve as before until it is told
 * to quit, and then finish their requests. */
static void the_workers_of_the_master_before_an_upgrade_count(void **state)
{
    (void)state;
    struct target *t = target_start(), *u = target_start();
    struct as_member one = member("web-00000001", t->port), two = member("web-00000002", u->port);
    struct as_error err = { 0 };
    struct web *w = &upgraded;
    *w = web_new("upgrade");
    struct pool b = pool_open(w, "reload_interval = \"0s\";");
    assert_int_equal(try_admit(&b, &one, &err), AS_EAGAIN); /* the file is there now, nginx is not */
    pid_t first = run_daemon(w);
    await_up(&b, &one);
    static struct client c; /* may outlive a test that fails */
    c = (struct client){ .port = w->port, .path = "/hold" };
    pthread_create(&c.thread, NULL, run_client, &c);
    while (!t->holding)
        pause_ms(STEP);
    admit(&b, &two);
    await_up(&b, &two);
    char former[600];
    snprintf(former, sizeof former, "%s.oldbin", w->pid_file);
    assert_int_equal(rename(w->pid_file, former), 0); /* as it is for a moment of an upgrade */
    assert_int_equal(as_balancer_nginx.evict(b.self, soon(CALL), &one, false, &err), AS_EAGAIN);
    assert_non_null(strstr(err.msg, "upgraded"));
    assert_int_equal(rename(former, w->pid_file), 0);
    kill(first, SIGUSR2);
    struct as_members all = { 0 };
    as_time until = soon(PATIENCE);
    while (pid_in(w->pid_file) == first || as_balancer_nginx.list(b.self, soon(CALL), &all, &err) != AS_OK) {
        assert_true(as_time_left(until) > 0);
        pause_ms(STEP);
    }
    as_members_fini(&all);
    int before = reloads(w), served = t->requests;
    drain(&b, &one);
    while (reloads(w) == before || t->requests == served) {
        assert_true(as_time_left(until) > 0);
        get(w->port, "/");
    }
    assert_int_equal(as_balancer_nginx.evict(b.self, soon(CALL), &one, false, &err), AS_EUNKNOWN);
    assert_non_null(strstr(err.msg, "QUIT"));
    kill(first, SIGQUIT);
    await_state(&b, one.id, AS_MEMBER_DRAINING, false);
    assert_int_equal(as_balancer_nginx.evict(b.self, soon(CALL), &one, false, &err), AS_EAGAIN);
    t->released = true;
    pthread_join(c.thread, NULL);
    assert_int_equal(c.status, 200);
    evict(&b, &one);
    assert_int_equal(get(w->port, "/"), 200);
    pool_close(&b);
    target_stop(t);
    target_stop(u);
}

/* Instances come and go, each stopped for real once it is evicted; nobody may notice. */
static void no_request_fails_while_members_come_and_go(void **state)
{
    (void)state;
    struct web w;
    struct target *now = target_start();
    struct as_member m = member("web-00000001", now->port);
    struct pool b = start_with(&w, "load", &m, "reload_interval = \"200ms\"; algorithm = \"least_conn\";");
    atomic_bool stop = false;
    struct load loads[6];
    for (int i = 0; i < 6; i++) {
        loads[i] = (struct load){ .port = w.port, .keep = i >= 4, .stop = &stop };
        assert_int_equal(pthread_create(&loads[i].thread, NULL, run_load, &loads[i]), 0);
    }
    for (unsigned round = 2; round < 7; round++) {
        char id[32];
        snprintf(id, sizeof id, "web-0000000%u", round);
        struct target *next = target_start();
        struct as_member n = member(id, next->port);
        admit(&b, &n);
        await_up(&b, &n);
        drain(&b, &m);
        await_state(&b, m.id, AS_MEMBER_DRAINING, true);
        evict(&b, &m);
        target_stop(now);
        now = next;
        m = n;
    }
    stop = true;
    int good = 0, bad = 0, kept = 0;
    for (int i = 0; i < 6; i++) {
        pthread_join(loads[i].thread, NULL);
        good += loads[i].good;
        bad += loads[i].bad;
        kept += loads[i].keep ? loads[i].good : 0;
    }
    assert_true(good > 100 && kept > 20);
    assert_int_equal(bad, 0);
    pool_close(&b);
    web_end(&w);
    target_stop(now);
}

/* --- tests: refusals ----------------------------------------------------------------------------------- */

static void a_configuration_that_nginx_refuses_puts_the_old_file_back(void **state)
{
    (void)state;
    struct web w;
    struct target *t = target_start();
    struct as_member m = member("web-00000001", t->port), n = member("web-00000002", t->port), seen;
    struct as_error err;
    struct pool b = start_with(&w, "refuse", &m, "");
    char *old = strdup(file_text(w.include));
    put_file(w.extra, "server { no_such_thing on; }\n");
    int before = reloads(&w);
    assert_int_equal(try_admit(&b, &n, &err), AS_EINVAL);
    assert_non_null(strstr(err.msg, "unknown directive \"no_such_thing\""));
    assert_string_equal(file_text(w.include), old);
    assert_true(listed(&b, m.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_UP);
    assert_false(listed(&b, n.id, &seen));
    assert_int_equal(reloads(&w), before);
    put_file(w.extra, "");
    admit(&b, &n);
    await_up(&b, &n);
    free(old);
    pool_close(&b);
    web_end(&w);
    target_stop(t);
}

static void a_reload_that_nginx_does_not_carry_out_is_noticed(void **state)
{
    (void)state;
    struct web w;
    struct target *t = target_start();
    struct as_member m = member("web-00000001", t->port), n = member("web-00000002", t->port), seen;
    struct as_error err = { 0 };
    struct pool b = start_with(&w, "silent", &m, "");
    uint16_t busy;
    char extra[128];
    int taken = listen_on(&busy);
    snprintf(extra, sizeof extra, "server { listen 127.0.0.1:%u; return 204; }\n", busy);
    put_file(w.extra, extra); /* `nginx -t` has nothing against it */
    admit(&b, &n);
    assert_true(listed(&b, n.id, &seen));
    assert_int_equal(seen.state, AS_MEMBER_CHECKING);
    await_state(&b, n.id, AS_MEMBER_OUT, false);
    assert_int_equal(as_balancer_nginx.admit(b.self, soon(2000), &n, &err), AS_EUNKNOWN);
    assert_non_null(strstr(err.msg, "nginx did not take the reload"));
    assert_int_not_equal(as_balancer_nginx.evict(b.self, soon(1000), &m, true, &err), AS_OK);
    assert_true(listed(&b, m.id, &seen)); /* nginx still sends it work: it is not let go */
    await_state(&b, m.id, AS_MEMBER_UP, false);
    assert_int_equal(get(w.port, "/"), 200);
    close(taken);
    as_time until = soon(PATIENCE);
    while ((try_admit(&b, &n, &err) != AS_OK || try_admit(&b, &m, &err) != AS_OK) && as_time_left(until) > 0)
        pause_ms(STEP);
    await_up(&b, &m);
    await_up(&b, &n);
    pool_close(&b);
    web_end(&w);
    target_stop(t);
}

static void a_file_of_somebody_else_is_never_touched(void **state)
{
    (void)state;
    static const char *const foreign[] = {
        "upstream web { server 127.0.0.1:9; }\nmap $uri $autoscale_web { default x; }\n",
        "# written by autoscale: test/other; do not edit\n# generation 5 boot b\nupstream web {\n    server "
        "127.0.0.1:1 down; # keeps nginx content while there is no member\n}\nmap $uri $autoscale_web { "
        "default x; }\n"
    };
    struct web w = web_new("foreign");
    struct pool b = pool_marked(&w, "");
    struct as_member m = member("web-00000001", 9);
    struct as_members all = { 0 };
    struct as_error err;
    for (int i = 0; i < 2; i++) {
        put_file(w.include, foreign[i]);
        if (i == 0)
            web_run(&w);
        int before = reloads(&w);
        assert_int_equal(as_balancer_nginx.list(b.self, soon(CALL), &all, &err), AS_EINVAL);
        assert_int_equal(try_admit(&b, &m, &err), AS_EEXIST);
        assert_int_equal(as_balancer_nginx.drain(b.self, soon(CALL), &m, &err), AS_EEXIST);
        assert_int_equal(as_balancer_nginx.evict(b.self, soon(CALL), &m, true, &err), AS_EEXIST);
        assert_string_equal(file_text(w.include), foreign[i]);
        assert_int_equal(reloads(&w), before);
    }
    pool_close(&b);
    web_end(&w);
}

static void only_an_nginx_master_is_ever_signalled(void **state)
{
    (void)state;
    struct web w = web_new("stale");
    struct pool b = pool_open(&w, "");
    struct as_member m = member("web-00000001", 9);
    struct as_error err;
    char pid[32];
    snprintf(pid, sizeof pid, "%d\n", (int)getpid()); /* a signal would end this test */
    put_file(w.pid_file, pid);
    assert_int_equal(try_admit(&b, &m, &err), AS_EAGAIN);
    assert_non_null(strstr(err.msg, "no nginx master"));
    m.address[0] = 'x';
    assert_int_equal(try_admit(&b, &m, &err), AS_EINVAL);
    struct as_member evil = member("web; }", 9);
    assert_int_equal(try_admit(&b, &evil, &err), AS_EINVAL);
    pool_close(&b);
}

/* --- tests: the source --------------------------------------------------------------------------------- */

static double series(void *self, const char *name, struct as_error *err)
{
    struct as_samples out = { 0 };
    double v = NAN;
    *err = (struct as_error){ 0 };
    int rc = as_source_nginx.poll(self, soon(CALL), &out, err);
    if (rc)
        fail_msg("poll: %s", err->msg);
    for (size_t i = 0; i < out.count; i++)
        if (strcmp(out.items[i].series, name) == 0)
            v = out.items[i].value;
    as_samples_fini(&out);
    return v;
}

/* Of two looks in one millisecond the second tells nothing of the log, and the next one does. */
static double series_soon(void *self, const char *name, struct as_error *err)
{
    as_time until = soon(PATIENCE);
    double v;
    while (isnan(v = series(self, name, err)) && as_time_left(until) > 0)
        pause_ms(STEP);
    return v;
}

static void wait_for_lines(const struct web *w, int count)
{
    as_time until = soon(PATIENCE);
    for (;;) {
        int n = 0;
        for (const char *at = file_text(w->log); (at = strchr(at, '\n')); at++)
            n++;
        if (n >= count)
            return;
        assert_true(as_time_left(until) > 0);
        pause_ms(STEP);
    }
}

static void the_source_measures_load_and_times_over_a_rotation(void **state)
{
    (void)state;
    struct web w;
    struct target *t = target_start();
    struct as_member m = member("web-00000001", t->port);
    struct pool b = start_with(&w, "source", &m, "");
    char text[512], moved[180];
    struct as_error err = { 0 };
    struct as_settings *s = NULL;
    void *self = calloc(1, as_source_nginx.state_size);
    snprintf(
        text, sizeof text,
        "address = \"http://127.0.0.1:%u/status\"; log = \"%s\"; log_format = \"$remote_addr [$time_local] "
        "\\\"$request\\\" $status $request_time $upstream_response_time\";",
        w.port, w.log);
    ok(as_settings_parse(as_source_nginx.options, text, &s, &err), &err);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/status", w.port);
    ok(as_source_nginx.open(self, s, url, &err), &err);
    assert_true(isnan(series(self, "request_rate", &err))); /* a first poll has nothing to compare */
    struct client c = { .port = w.port, .path = "/hold" };
    pthread_create(&c.thread, NULL, run_client, &c);
    while (!t->holding)
        pause_ms(STEP);
    assert_float_equal(series(self, "active", &err), 1, 0);
    t->released = true;
    pthread_join(c.thread, NULL);
    wait_for_lines(&w, 1);
    assert_true(series_soon(self, "request_time_p99_ms", &err) >=
                0); /* whole milliseconds: a quick machine takes none */
    for (int i = 0; i < 3; i++)
        get(w.port, "/slow");
    get(w.port, "/broken");
    wait_for_lines(&w, 5);
    double p50 = series_soon(self, "request_time_p50_ms", &err);
    assert_true(p50 >= 190 && p50 < 20000);
    assert_true(isnan(series(self, "request_time_p50_ms", &err))); /* nothing since */
    snprintf(moved, sizeof moved, "%s.1", w.log);
    assert_int_equal(rename(w.log, moved), 0);
    get(w.port, "/broken"); /* to the old file */
    kill(w.pid, SIGUSR1);
    as_time until = soon(PATIENCE);
    while (access(w.log, F_OK) != 0 && as_time_left(until) > 0)
        pause_ms(STEP);
    while (isnan(series(self, "upstream_time_p95_ms", &err)) && as_time_left(until) > 0)
        pause_ms(STEP);
    bool seen = false;
    while (!seen && as_time_left(until) > 0) { /* from the new file */
        get(w.port, "/broken");
        seen = series(self, "error_rate", &err) > 0;
    }
    assert_true(seen);
    assert_int_equal(unlink(w.log), 0);
    assert_int_equal(err.rc, AS_OK);
    as_source_nginx.close(self);
    free(self);
    as_settings_free(s);
    pool_close(&b);
    web_end(&w);
    target_stop(t);
}

static void an_nginx_that_is_gone_or_another_page_is_told(void **state)
{
    (void)state;
    struct web w;
    struct target *t = target_start();
    struct as_member m = member("web-00000001", t->port);
    struct pool b = start_with(&w, "gone", &m, "");
    struct as_error err = { 0 };
    struct as_settings *s = NULL;
    struct as_samples out = { 0 };
    void *self = calloc(1, as_source_nginx.state_size);
    char text[256], url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/", w.port);
    snprintf(text, sizeof text, "address = \"%s\";", url);
    ok(as_settings_parse(as_source_nginx.options, text, &s, &err), &err);
    ok(as_source_nginx.open(self, s, url, &err), &err);
    assert_int_equal(as_source_nginx.poll(self, soon(CALL), &out, &err), AS_EPROTO);
    web_end(&w);
    assert_int_equal(as_source_nginx.poll(self, soon(CALL), &out, &err), AS_EAGAIN);
    assert_int_equal(out.count, 0);
    as_source_nginx.close(self);
    free(self);
    as_settings_free(s);
    pool_close(&b);
    target_stop(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_admit_writes_the_file_that_nginx_needs_to_start),
        cmocka_unit_test(many_admits_share_a_reload),
        cmocka_unit_test(a_member_that_nginx_was_not_told_of_is_out_until_it_is_admitted_again),
        cmocka_unit_test(without_a_marker_new_workers_are_the_proof),
        cmocka_unit_test(every_algorithm_is_taken_by_nginx),
        cmocka_unit_test(a_draining_member_keeps_its_request_and_gets_no_other),
        cmocka_unit_test(force_waits_for_no_session_but_for_the_routing),
        cmocka_unit_test_teardown(the_workers_of_the_master_before_an_upgrade_count, end_upgraded),
        cmocka_unit_test(no_request_fails_while_members_come_and_go),
        cmocka_unit_test(a_configuration_that_nginx_refuses_puts_the_old_file_back),
        cmocka_unit_test(a_reload_that_nginx_does_not_carry_out_is_noticed),
        cmocka_unit_test(a_file_of_somebody_else_is_never_touched),
        cmocka_unit_test(only_an_nginx_master_is_ever_signalled),
        cmocka_unit_test(the_source_measures_load_and_times_over_a_rotation),
        cmocka_unit_test(an_nginx_that_is_gone_or_another_page_is_told),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
