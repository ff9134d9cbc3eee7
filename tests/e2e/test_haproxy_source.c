/* The haproxy source against a real, private HAProxy and the load this process makes. */
#include "haproxy_kit.h"

static struct pool source_open(const char *endpoint, const char *more)
{
    struct pool s = { 0 };
    struct as_error err = { 0 };
    char text[512];
    snprintf(text, sizeof text, "address = \"%s\"; %s", endpoint, more);
    ok(as_settings_parse(as_source_haproxy.options, text, &s.settings, &err), &err);
    s.self = calloc(1, as_source_haproxy.state_size);
    ok(as_source_haproxy.open(s.self, s.settings, endpoint, &err), &err);
    return s;
}

static void source_close(struct pool *s)
{
    as_source_haproxy.close(s->self);
    free(s->self);
    as_settings_free(s->settings);
}

static const struct as_sample *sample(const struct as_samples *s, const char *object, const char *series)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->items[i].object, object) == 0 && strcmp(s->items[i].series, series) == 0)
            return &s->items[i];
    return NULL;
}

static double value(const struct as_samples *s, const char *series)
{
    const struct as_sample *found = sample(s, "web", series);
    if (!found)
        fail_msg("no sample '%s'", series);
    return found->value;
}

static void poll_source(struct pool *s, struct as_samples *out)
{
    struct as_error err = { 0 };
    as_samples_fini(out);
    ok(as_source_haproxy.poll(s->self, soon(CALL), out, &err), &err);
}

static void the_source_counts_sessions_in_service_and_in_the_queue(void **state)
{
    (void)state;
    struct target *t = target_start();
    struct pool b = pool_open(lb.socket, "backend = \"web\"; maxconn = 2;"), s = source_open(lb.socket, "");
    struct as_member m = member("web-full", t->port);
    struct as_samples now = { 0 };
    struct client c[6];
    poll_source(&s, &now);
    assert_null(sample(&now, "web", "sessions_per_server")); /* nobody is up */
    assert_int_equal(value(&now, "servers_up"), 0);
    admit(&b, &m);
    wait_state(&b, m.id, AS_MEMBER_UP);
    for (int i = 0; i < 6; i++)
        client_start(&c[i], lb.port, "/hold");
    as_time until = soon(PATIENCE);
    do {
        assert_true(as_time_left(until) > 0);
        pause_ms(STEP);
        poll_source(&s, &now);
    } while (value(&now, "sessions") < 6 || value(&now, "queue") < 4);
    assert_int_equal(value(&now, "sessions"), 6);
    assert_int_equal(value(&now, "queue"), 4);
    assert_int_equal(value(&now, "sessions_active"), 2);
    assert_int_equal(value(&now, "servers_up"), 1);
    assert_int_equal(value(&now, "sessions_per_server"), 6);
    t->released = true;
    for (int i = 0; i < 6; i++)
        assert_int_equal(client_status(&c[i]), 200);
    as_samples_fini(&now);
    source_close(&s);
    evict_all(&b, &m);
    pool_close(&b);
    target_stop(t);
}

/* HAProxy counts a request when it has closed its session, which a client does not wait for. */
static void wait_idle(void)
{
    struct pool other = source_open(lb.socket, "backends = \"web\";");
    struct as_samples now = { 0 };
    as_time until = soon(PATIENCE);
    for (poll_source(&other, &now); value(&now, "sessions") > 0; poll_source(&other, &now)) {
        assert_true(as_time_left(until) > 0);
        pause_ms(STEP);
    }
    as_samples_fini(&now);
    source_close(&other);
}

static void the_source_forms_rates_and_times_of_what_happened_since_the_last_poll(void **state)
{
    (void)state;
    struct target *t = target_start();
    struct pool b = pool_open(lb.socket, "backend = \"web\";"),
                s = source_open(lb.socket, "backends = \"web\";");
    struct as_member m = member("web-rate", t->port);
    struct as_samples now = { 0 };
    admit(&b, &m);
    wait_state(&b, m.id, AS_MEMBER_UP);
    as_time before = as_clock_monotonic();
    poll_source(&s, &now);
    as_time from = as_clock_monotonic();
    assert_null(sample(&now, "mixed", "sessions")); /* filtered */
    assert_null(sample(&now, "web", "error_rate"));
    for (int i = 0; i < 10; i++)
        assert_int_equal(get(lb.port, "/slow"), 200);
    for (int i = 0; i < 5; i++)
        assert_int_equal(get(lb.port, "/broken"), 500);
    wait_idle();
    as_time until = as_clock_monotonic();
    poll_source(&s, &now);
    double least = (double)(until - from - 1) / 1000,
           most = (double)(as_clock_monotonic() - before + 1) / 1000;
    double requests = value(&now, "request_rate"), errors = value(&now, "error_rate");
    assert_true(requests * most > 14.5 && requests * least < 15.5);
    assert_true(errors * most > 4.6 && errors * least < 5.4);
    assert_true(value(&now, "response_time_ms") > 1);
    poll_source(&s, &now);
    assert_null(sample(&now, "web", "response_time_ms")); /* nothing moved */
    as_samples_fini(&now);
    source_close(&s);
    evict_all(&b, &m);
    pool_close(&b);
    target_stop(t);
}

static void the_source_needs_no_admin_level_and_names_what_is_wrong(void **state)
{
    (void)state;
    struct as_samples now = { 0 };
    struct as_error err = { 0 };
    struct pool s = source_open(lb.operator_socket, "");
    poll_source(&s, &now);
    assert_non_null(sample(&now, "web", "sessions"));
    source_close(&s);
    s = source_open(lb.socket, "backends = [ \"shop\" ];");
    assert_int_equal(as_source_haproxy.poll(s.self, soon(CALL), &now, &err), AS_EINVAL);
    assert_non_null(strstr(err.msg, "'shop'"));
    source_close(&s);
    s = source_open("127.0.0.1:1", "");
    assert_int_equal(as_source_haproxy.poll(s.self, soon(CALL), &now, &err), AS_EAGAIN);
    source_close(&s);
    as_samples_fini(&now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_source_counts_sessions_in_service_and_in_the_queue),
        cmocka_unit_test(the_source_forms_rates_and_times_of_what_happened_since_the_last_poll),
        cmocka_unit_test(the_source_needs_no_admin_level_and_names_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, start_all, end_all);
}
