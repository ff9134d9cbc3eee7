/* The docker source without a Docker: what is read of the daemon's answers, and what is made of two of them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../drivers/source/docker_stats.h"

#define REF_A "aa00000000000000000000000000000000000000000000000000000000000000"
#define REF_B "bb00000000000000000000000000000000000000000000000000000000000000"
#define LABELS(id, group)                                                                                    \
    "\"Labels\":{\"autoscale.controller\":\"shop\",\"autoscale.group\":\"" group                             \
    "\",\"autoscale.instance\":\"" id "\"}"
#define LISTED(ref, id, group, state)                                                                        \
    "{\"Id\":\"" ref "\",\"Names\":[\"/" id "\"]," LABELS(id, group) ",\"State\":\"" state "\"}"

static double sample(const struct as_samples *s, const char *object, const char *series) /* NAN: missing */
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->items[i].object, object) == 0 && strcmp(s->items[i].series, series) == 0)
            return s->items[i].value;
    return NAN;
}

static void assert_sample(const struct as_samples *s, const char *object, const char *series, double want)
{
    double got = sample(s, object, series);
    if (isnan(want) ? !isnan(got) : !(fabs(got - want) < 1e-9))
        fail_msg("%s.%s is %g, not %g", object, series, got, want);
}

static int running(const char *text, struct docker_meter **out, size_t *count)
{
    struct as_error err;
    return docker_running_parse(text, strlen(text), "shop", out, count, &err);
}

static struct docker_usage usage(const char *text)
{
    struct docker_usage u;
    struct as_error err = { 0 };
    if (docker_usage_parse(text, strlen(text), &u, &err) != AS_OK)
        fail_msg("%s", err.msg);
    return u;
}

/* --- reading --------------------------------------------------------------------------------------- */

static void only_running_containers_with_our_whole_mark_are_measured(void **state)
{
    (void)state;
    static const char text[] = "[" LISTED(REF_B, "web-00000002", "web", "running") "," /* out of order */
        LISTED(REF_A, "web-00000001", "web", "running") "," LISTED(
            "cc01", "web-00000003", "web",
            "paused") ","
                      "{\"Id\":\"cc02\",\"Names\":[\"/copy\"]," LABELS(
                          "web-00000004",
                          "web") ",\"State\":\"running\"},"
                                 "{\"Id\":\"cc03\",\"Names\":[\"/"
                                 "web-00000005\"],\"Labels\":{\"autoscale.controller\":\"other\","
                                 "\"autoscale.group\":\"web\",\"autoscale.instance\":\"web-00000005\"},"
                                 "\"State\":\"running\"},"
                                 "{\"Id\":\"cc04\",\"Names\":[\"/"
                                 "web-00000006\"],\"Labels\":{\"autoscale.controller\":\"shop\","
                                 "\"autoscale.instance\":\"web-00000006\"},\"State\":\"running\"},"
                                 "{\"Id\":\"../x\",\"Names\":[\"/web-00000007\"]," LABELS(
                                     "web-00000007",
                                     "web") ",\"State\":\"running\"},"
                                            "{\"Id\":\"cc05\",\"Names\":null,\"Labels\":null}, 7, null]";
    struct docker_meter *m = NULL;
    size_t n = 0;
    assert_int_equal(running(text, &m, &n), AS_OK);
    assert_int_equal(n, 2);
    assert_string_equal(m[0].ref, REF_A);
    assert_string_equal(m[0].id, "web-00000001");
    assert_string_equal(m[0].group, "web");
    assert_string_equal(m[1].id, "web-00000002");
    free(m);
    assert_int_equal(running("{\"message\":\"no\"}", &m, &n), AS_EPROTO);
    assert_int_equal(running("", &m, &n), AS_EPROTO);
}

static void more_containers_than_the_cap_are_refused(void **state)
{
    (void)state;
    char *text = malloc(FLEET_ROWS_MAX * 3 + 16), *to = text;
    struct docker_meter *m = NULL;
    size_t n = 0;
    *to++ = '[';
    for (int i = 0; i <= FLEET_ROWS_MAX; i++)
        to += sprintf(to, "%s{}", i ? "," : "");
    strcpy(to, "]");
    assert_int_equal(running(text, &m, &n), AS_EPROTO);
    free(text);
}

static void memory_is_without_the_page_cache_that_can_be_dropped(void **state)
{
    (void)state;
    static const char cpu[] = "\"read\":\"2026-11-23T11:46:15.727895091Z\",\"cpu_stats\":{\"cpu_usage\":"
                              "{\"total_usage\":941390181},\"throttling_data\":{\"periods\":31,"
                              "\"throttled_periods\":30}}";
    char text[1024];
    snprintf(text, sizeof text,
             "{%s,\"memory_stats\":{\"usage\":1000,\"limit\":4000,\"stats\":{\"inactive_file\":300}}}", cpu);
    struct docker_usage u = usage(text);
    assert_int_equal(u.read_ms, INT64_C(1795434375727));
    assert_true(u.cpu_ns == 941390181 && u.periods == 31 && u.throttled == 30);
    assert_true(u.memory == 700 && u.memory_limit == 4000);
    snprintf(text, sizeof text,
             "{%s,\"memory_stats\":{\"usage\":1000,\"limit\":4000,\"stats\":{\"inactive_file\":100,"
             "\"total_inactive_file\":1200}}}",
             cpu);
    assert_true(usage(text).memory == 0);
    snprintf(text, sizeof text, "{%s,\"memory_stats\":{}}", cpu);
    u = usage(text);
    assert_true(u.memory < 0 && u.memory_limit == 0);
}

static void nonsense_is_told_from_a_container_that_has_ended(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int want;
    } cases[] = {
        { "{\"read\":\"0001-01-01T00:00:00Z\",\"cpu_stats\":{\"cpu_usage\":{\"total_usage\":0}}}",
          AS_ENOENT },
        { "{\"read\":\"2026-11-23T11:46:15Z\",\"cpu_stats\":{\"cpu_usage\":{\"total_usage\":-1}}}",
          AS_EPROTO },
        { "{\"read\":\"2026-11-23T11:46:15Z\",\"cpu_stats\":{\"cpu_usage\":{\"total_usage\":1e300}}}",
          AS_EPROTO },
        { "{\"read\":\"2026-11-23T11:46:15Z\"}", AS_EPROTO },
        { "[]", AS_EPROTO },
        { "", AS_EPROTO },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct docker_usage u;
        struct as_error err;
        if (docker_usage_parse(cases[i].text, strlen(cases[i].text), &u, &err) != cases[i].want)
            fail_msg("%s", cases[i].text);
    }
}

static void the_limit_is_read_in_either_of_dockers_forms(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double want;
    } cases[] = {
        { "{\"HostConfig\":{\"NanoCpus\":300000000,\"CpuQuota\":0,\"CpuPeriod\":0}}", 0.3 },
        { "{\"HostConfig\":{\"NanoCpus\":0,\"CpuQuota\":50000,\"CpuPeriod\":25000}}", 2 },
        { "{\"HostConfig\":{\"CpuQuota\":50000}}", 0.5 },
        { "{\"HostConfig\":{\"CpuQuota\":-1}}", 0 },
        { "{\"HostConfig\":{}}", 0 },
    };
    double cpus;
    struct as_error err;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(docker_limit_parse(cases[i].text, strlen(cases[i].text), &cpus, &err), AS_OK);
        assert_true(fabs(cpus - cases[i].want) < 1e-9);
    }
    assert_int_equal(docker_limit_parse("{}", 2, &cpus, &err), AS_EPROTO);
}

/* --- rates ------------------------------------------------------------------------------------------- */

#define SECOND_NS 1e9

static struct fleet_row take(struct docker_meter *m, as_time now, int64_t read_ms, double cpu_ns)
{
    struct fleet_row row = { 0 };
    struct docker_usage u = { .read_ms = read_ms, .cpu_ns = cpu_ns, .memory = 300, .memory_limit = 400 };
    docker_meter_take(m, &u, now, &row);
    return row;
}

static void assert_no_rate(const struct fleet_row *row)
{
    assert_false(row->has[DOCKER_CPUS]);
    assert_false(row->has[DOCKER_CPU_PERCENT]);
    assert_false(row->has[DOCKER_THROTTLED]);
    assert_true(row->has[DOCKER_MEMORY]); /* which needs no earlier poll */
}

static void cpu_is_by_the_limit_or_by_one_cpu_without(void **state)
{
    (void)state;
    struct docker_meter limited = { .cpus = 0.5, .limit_at = 1 }, free_one = { .limit_at = 1 };
    struct fleet_row row = take(&limited, 1000, 500000, 7 * SECOND_NS);
    assert_no_rate(&row);
    row = take(&limited, 3000, 502000, 7.5 * SECOND_NS);
    assert_true(fabs(row.value[DOCKER_CPUS] - 0.25) < 1e-9);
    assert_true(fabs(row.value[DOCKER_CPU_PERCENT] - 50) < 1e-9);
    assert_true(fabs(row.value[DOCKER_MEMORY_PERCENT] - 75) < 1e-9);
    take(&free_one, 1000, 500000, 0);
    row = take(&free_one, 2000, 501000, 1.5 * SECOND_NS);
    assert_true(fabs(row.value[DOCKER_CPU_PERCENT] - 150) < 1e-9);
    assert_false(row.has[DOCKER_THROTTLED]); /* nothing can throttle it */
}

static void a_restarted_container_has_no_rate_once(void **state)
{
    (void)state;
    struct docker_meter m = { .cpus = 1, .limit_at = 1 };
    take(&m, 1000, 500000, 9 * SECOND_NS);
    struct fleet_row row = take(&m, 3000, 502000, 1 * SECOND_NS);
    assert_no_rate(&row);
    row = take(&m, 5000, 504000, 2 * SECOND_NS);
    assert_true(fabs(row.value[DOCKER_CPUS] - 0.5) < 1e-9);
}

static void a_set_clock_of_the_daemon_makes_no_rate(void **state)
{
    (void)state;
    struct docker_meter m = { .cpus = 1, .limit_at = 1 };
    take(&m, 1000, 500000, 1 * SECOND_NS);
    struct fleet_row row = take(&m, 3000, 500000 + 3600000, 2 * SECOND_NS); /* an hour ahead: 0.03 % */
    assert_no_rate(&row);
    row = take(&m, 5000, 500000 + 3602000, 3 * SECOND_NS);
    assert_true(fabs(row.value[DOCKER_CPUS] - 0.5) < 1e-9);
    row = take(&m, 7000, 500000, 4 * SECOND_NS); /* and back */
    assert_no_rate(&row);
    row = take(&m, 9000, 502000, 5 * SECOND_NS);
    assert_true(fabs(row.value[DOCKER_CPUS] - 0.5) < 1e-9);
}

static void the_same_answer_twice_is_no_idle_container(void **state)
{
    (void)state;
    struct docker_meter m = { .cpus = 1, .limit_at = 1 };
    take(&m, 1000, 500000, 1 * SECOND_NS);
    struct fleet_row row = take(&m, 1200, 500000, 1 * SECOND_NS);
    assert_no_rate(&row);
    row = take(&m, 3000, 502000, 3 * SECOND_NS);
    assert_true(fabs(row.value[DOCKER_CPUS] - 1) < 1e-9);
}

static void throttling_is_the_share_of_periods_since_the_last_poll(void **state)
{
    (void)state;
    struct docker_meter m = { .cpus = 0.5, .limit_at = 1 };
    struct docker_usage u = { .read_ms = 500000, .cpu_ns = 0, .periods = 100, .throttled = 90, .memory = -1 };
    struct fleet_row row = { 0 };
    docker_meter_take(&m, &u, 1000, &row);
    assert_false(row.has[DOCKER_THROTTLED]);
    u = (struct docker_usage){
        .read_ms = 502000, .cpu_ns = 1e9, .periods = 120, .throttled = 95, .memory = -1
    };
    docker_meter_take(&m, &u, 3000, &row);
    assert_true(fabs(row.value[DOCKER_THROTTLED] - 25) < 1e-9);
    assert_false(row.has[DOCKER_MEMORY]);
    u.read_ms += 2000; /* an idle one has no periods */
    docker_meter_take(&m, &u, 5000, &row);
    assert_true(row.value[DOCKER_THROTTLED] == 0);
}

/* --- groups ------------------------------------------------------------------------------------------ */

static struct fleet_row make_row(const char *id, const char *group, double cpu, double memory)
{
    struct fleet_row row = { 0 };
    snprintf(row.id, sizeof row.id, "%s", id);
    snprintf(row.group, sizeof row.group, "%s", group);
    if (cpu >= 0) {
        fleet_set(&row, DOCKER_CPU_PERCENT, cpu);
        fleet_set(&row, DOCKER_CPUS, cpu / 100);
    }
    fleet_set(&row, DOCKER_MEMORY, memory);
    fleet_set(&row, DOCKER_ONE, 1);
    return row;
}

static struct as_samples add(struct fleet *f, const struct fleet_row *rows, size_t count)
{
    struct as_samples out = { 0 };
    struct as_error err = { 0 };
    if (fleet_add(f, &docker_fleet_series, rows, count, &out, &err) != AS_OK)
        fail_msg("%s", err.msg);
    return out;
}

static void groups_are_added_up_apart_and_instances_stand_alone(void **state)
{
    (void)state;
    struct fleet f = { 0 };
    const struct fleet_row rows[] = { make_row("web-1", "web", 80, 100), make_row("api-1", "api", 10, 5),
                                      make_row("web-2", "web", 20, 300) };
    struct as_samples s = add(&f, rows, 3);
    assert_sample(&s, "web", "cpu_percent", 50);
    assert_sample(&s, "web", "cpu_percent_max", 80);
    assert_sample(&s, "web", "cpus_used", 1);
    assert_sample(&s, "web", "memory_used", 400);
    assert_sample(&s, "web", "instances", 2);
    assert_sample(&s, "api", "cpu_percent", 10);
    assert_sample(&s, "api", "instances", 1);
    assert_sample(&s, "web-1", "cpu_percent", 80);
    assert_sample(&s, "web-1", "memory_used", 100);
    assert_sample(&s, "web-1", "cpu_percent_max", NAN);
    for (size_t i = 0; i < s.count; i++) /* hosts are averaged by how many containers each has */
        if (strcmp(s.items[i].object, "web") == 0 && strcmp(s.items[i].series, "cpu_percent") == 0)
            assert_true(s.items[i].weight == 2);
    as_samples_fini(&s);
    fleet_fini(&f);
}

static void a_new_instance_does_not_blind_its_group_but_its_sums(void **state)
{
    (void)state;
    struct fleet f = { 0 };
    const struct fleet_row rows[] = { make_row("web-1", "web", 80, 100), make_row("web-2", "web", -1, 300) };
    struct as_samples s = add(&f, rows, 2);
    assert_sample(&s, "web", "cpu_percent", 80);
    assert_sample(&s, "web", "cpus_used", NAN);
    assert_sample(&s, "web", "memory_used", 400);
    assert_sample(&s, "web-2", "cpu_percent", NAN);
    as_samples_fini(&s);
    fleet_fini(&f);
}

static void a_group_with_an_instance_that_does_not_answer_is_left_out(void **state)
{
    (void)state;
    struct fleet f = { 0 };
    struct fleet_row rows[] = { make_row("web-1", "web", 80, 100), make_row("web-2", "web", 10, 300),
                                make_row("api-1", "api", 10, 5) };
    rows[1].failed = true;
    struct as_samples s = add(&f, rows, 3);
    assert_sample(&s, "web", "cpu_percent", NAN);
    assert_sample(&s, "web", "cpu_percent_max", NAN);
    assert_sample(&s, "web", "instances", NAN);
    assert_sample(&s, "web-2", "cpu_percent", NAN);
    assert_sample(&s, "web-1", "cpu_percent", 80);
    assert_sample(&s, "api", "cpu_percent", 10);
    as_samples_fini(&s);
    fleet_fini(&f);
}

/* The sum over nothing is zero, the mean over nothing is not told. */
static void a_group_that_left_the_host_uses_nothing_there(void **state)
{
    (void)state;
    struct fleet f = { 0 };
    const struct fleet_row rows[] = { make_row("web-1", "web", 80, 100) };
    struct as_samples s = add(&f, rows, 1);
    as_samples_fini(&s);
    s = add(&f, NULL, 0);
    assert_sample(&s, "web", "cpus_used", 0);
    assert_sample(&s, "web", "instances", 0);
    assert_sample(&s, "web", "cpu_percent", NAN);
    assert_sample(&s, "web", "cpu_percent_max", NAN);
    as_samples_fini(&s);
    fleet_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_running_containers_with_our_whole_mark_are_measured),
        cmocka_unit_test(more_containers_than_the_cap_are_refused),
        cmocka_unit_test(memory_is_without_the_page_cache_that_can_be_dropped),
        cmocka_unit_test(nonsense_is_told_from_a_container_that_has_ended),
        cmocka_unit_test(the_limit_is_read_in_either_of_dockers_forms),
        cmocka_unit_test(cpu_is_by_the_limit_or_by_one_cpu_without),
        cmocka_unit_test(a_restarted_container_has_no_rate_once),
        cmocka_unit_test(a_set_clock_of_the_daemon_makes_no_rate),
        cmocka_unit_test(the_same_answer_twice_is_no_idle_container),
        cmocka_unit_test(throttling_is_the_share_of_periods_since_the_last_poll),
        cmocka_unit_test(groups_are_added_up_apart_and_instances_stand_alone),
        cmocka_unit_test(a_new_instance_does_not_blind_its_group_but_its_sums),
        cmocka_unit_test(a_group_with_an_instance_that_does_not_answer_is_left_out),
        cmocka_unit_test(a_group_that_left_the_host_uses_nothing_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
