/* Answers of Prometheus' query API: how series and steps become one number, and everything that must not become
 * one: empty, stale, partial, not finite, not an answer at all. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../drivers/source/prometheus_result.h"

#define VECTOR(result) "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[" result "]}}"
#define MATRIX(result) "{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\",\"result\":[" result "]}}"
#define ONE(value)     "{\"metric\":{},\"value\":[1.5,\"" value "\"]}"
#define SERIES(points) "{\"metric\":{},\"values\":[" points "]}"

static const struct prom_ask instant = { .reduce = PROM_SUM };
static const struct prom_ask range = { .start_wall = 100000,
                                       .step = 10000,
                                       .steps = 4 }; /* 100, 110, 120, 130 s */

static double number(const struct prom_ask *ask, const char *body)
{
    double value = NAN;
    struct as_error err = { 0 };
    if (prom_result(ask, body, strlen(body), &value, &err) != AS_OK)
        fail_msg("%s: %s", body, err.msg);
    return value;
}

static void assert_number(const struct prom_ask *ask, const char *body, double want)
{
    double got = number(ask, body);
    if (!(fabs(got - want) < 1e-9))
        fail_msg("%s gives %g, not %g", body, got, want);
}

static void assert_none(const struct prom_ask *ask, const char *body, int rc, const char *says)
{
    double value = 42;
    struct as_error err = { 0 };
    int got = prom_result(ask, body, strlen(body), &value, &err);
    if (got != rc || (int)err.rc != rc || !strstr(err.msg, says) || !(fabs(value - 42) < 1e-9))
        fail_msg("%s gives class %d '%s', value %g", body, got, err.msg, value);
}

static void vector_is_reduced_as_asked(void **state)
{
    (void)state;
    static const char body[] = VECTOR(ONE("1") "," ONE("4.5") "," ONE("-1e0"));
    static const double want[] = { 4.5, 4.5, -1, 1.5, 3 };
    for (int i = 0; prom_reduce_names[i]; i++)
        assert_number(&(struct prom_ask){ .reduce = (enum prom_reduce)i }, body, want[i]);
    assert_number(&instant,
                  "{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[1,\"7\"]}}", 7);
}

static void empty_is_missing_and_never_zero(void **state)
{
    (void)state;
    for (int i = 0; prom_reduce_names[i]; i++)
        assert_none(&(struct prom_ask){ .reduce = (enum prom_reduce)i }, VECTOR(""), AS_ENOENT, "no data");
    assert_none(&range, MATRIX(""), AS_ENOENT, "no data");
    assert_none(&range, MATRIX(SERIES("")), AS_ENOENT, "no data");
}

static void not_finite_is_missing(void **state)
{
    (void)state;
    assert_none(&instant, VECTOR(ONE("NaN")), AS_ENOENT, "finite");
    assert_none(&instant, VECTOR(ONE("1") "," ONE("+Inf")), AS_ENOENT, "finite");
    assert_none(&instant, VECTOR(ONE("-Inf")), AS_ENOENT, "finite");
    assert_none(&instant, VECTOR(ONE("1e999")), AS_ENOENT, "finite");
    assert_none(&instant, VECTOR(ONE("1e308") "," ONE("1e308")), AS_ENOENT, "finite");
    assert_none(&range, MATRIX(SERIES("[120,\"1\"],[130,\"NaN\"]")), AS_ENOENT, "finite");
}

/* Two instances that follow one another are one at each moment, not two. */
static void steps_are_reduced_after_series(void **state)
{
    (void)state;
    static const char churn[] =
        MATRIX(SERIES("[100,\"5\"],[110,\"5\"]") "," SERIES("[120,\"7\"],[130,\"9\"]"));
    struct prom_ask ask = range;
    static const double want[] = { 6.5, 9, 5, 9 };
    for (int i = 0; prom_over_names[i]; i++) {
        ask.over = (enum prom_over)i;
        assert_number(&ask, churn, want[i]);
    }
    ask = range;
    assert_number(&ask, MATRIX(SERIES("[130,\"2\"]") "," SERIES("[130.004,\"3\"]")), 5);
    assert_number(&ask, MATRIX(SERIES("[110,\"NaN\"],[120,\"2\"],[130,\"4\"]")), 3);
}

static void range_that_ended_is_stale(void **state)
{
    (void)state;
    assert_none(&range, MATRIX(SERIES("[100,\"5\"],[110,\"5\"],[120,\"5\"]")), AS_ENOENT, "ended");
}

static void error_and_warnings_are_told(void **state)
{
    (void)state;
    assert_none(&instant,
                "{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"parse error:\\n at 1\"}",
                AS_EINVAL, "refuses it: parse error: at 1");
    assert_none(&instant, "{\"status\":\"error\",\"errorType\":\"timeout\",\"error\":\"query timed out\"}",
                AS_EAGAIN, "query timed out");
    assert_none(
        &instant,
        "{\"status\":\"success\",\"warnings\":[\"store s3 is gone\"],\"data\":{\"resultType\":\"vector\","
        "\"result\":[" ONE("3") "]}}",
        AS_EAGAIN, "store s3 is gone");
    assert_number(
        &instant,
        "{\"status\":\"success\",\"warnings\":[],\"infos\":[\"x\"],\"data\":{\"resultType\":\"vector\","
        "\"result\":[" ONE("3") "]}}",
        3);
    assert_none(&instant, MATRIX(SERIES("[1,\"2\"]")), AS_EINVAL, "range");
}

static void long_and_hostile_texts_stay_one_printable_line(void **state)
{
    (void)state;
    char body[2000], junk[1200];
    double value;
    struct as_error err = { 0 };
    memset(junk, 'x', sizeof junk);
    junk[sizeof junk - 1] = '\0';
    junk[3] = (char)0xc3;
    memcpy(junk + 5, "\\u001b", 6);
    snprintf(body, sizeof body, "{\"status\":\"error\",\"errorType\":\"execution\",\"error\":\"%s\"}", junk);
    assert_int_equal(prom_result(&instant, body, strlen(body), &value, &err), AS_EINVAL);
    assert_true(strlen(err.msg) < 200);
    for (const char *c = err.msg; *c; c++)
        assert_true(*c >= ' ' && *c < 0x7f);
}

static void nonsense_is_a_protocol_error(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",
        "<html>",
        "[]",
        "{}",
        "{\"status\":\"success\"}",
        "{\"status\":\"error\"}",
        "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\"}}",
        "{\"status\":\"success\",\"data\":{\"resultType\":\"heap\",\"result\":[]}}",
        VECTOR("1"),
        VECTOR("{\"value\":[1]}"),
        VECTOR("{\"value\":[1,2]}"),
        VECTOR("{\"value\":[\"1\",\"2\"]}"),
        VECTOR("{\"value\":[1,\"2\",3]}"),
        VECTOR(ONE("")),
        VECTOR(ONE("0x10")),
        VECTOR(ONE(" 1")),
        VECTOR(ONE("1e")),
        VECTOR(ONE("nan")),
        VECTOR(ONE("1")) "x",
    };
    static const char *const ranges[] = {
        VECTOR(ONE("1")),
        MATRIX("{\"values\":1}"),
        MATRIX(SERIES("[90,\"1\"]")),
        MATRIX(SERIES("[140,\"1\"]")),
        MATRIX(SERIES("[105,\"1\"]")),
        MATRIX(SERIES("[1e300,\"1\"]")),
        MATRIX(SERIES("[1e999,\"1\"]")),
        MATRIX(SERIES("[-1e18,\"1\"]")),
    };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        assert_none(&instant, bodies[i], AS_EPROTO, "not that of Prometheus");
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        assert_none(&range, ranges[i], AS_EPROTO, "not that of Prometheus");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vector_is_reduced_as_asked),
        cmocka_unit_test(empty_is_missing_and_never_zero),
        cmocka_unit_test(not_finite_is_missing),
        cmocka_unit_test(steps_are_reduced_after_series),
        cmocka_unit_test(range_that_ended_is_stale),
        cmocka_unit_test(error_and_warnings_are_told),
        cmocka_unit_test(long_and_hostile_texts_stay_one_printable_line),
        cmocka_unit_test(nonsense_is_a_protocol_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
