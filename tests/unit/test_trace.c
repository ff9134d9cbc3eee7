/* Traces: steps, gaps, headers, and lines that are no samples. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../controller/sim/trace.h"

static struct trace parsed(const char *text)
{
    struct as_error err = { 0 };
    struct trace t;
    if (trace_parse("t.csv", text, strlen(text), &t, &err) != AS_OK)
        fail_msg("%s", err.msg);
    return t;
}

static void step_is_the_commonest_difference_and_gaps_are_held(void **state)
{
    (void)state;
    struct trace t = parsed("time,rate\n0,1\n60,2\n61,9\n120,3\n180,4\r\n420,5\n480,6\n");
    assert_true(t.step_s > 59.9 && t.step_s < 60.1);
    assert_int_equal(t.count, 9);
    static const double want[] = { 1, 9, 3, 4, 4, 4, 4, 5, 6 };
    for (size_t i = 0; i < t.count; i++)
        assert_true(t.rate[i] > want[i] - 1e-9 && t.rate[i] < want[i] + 1e-9);
    assert_int_equal(t.held, 3);
    trace_fini(&t);
}

static void between_samples_straight_or_held(void **state)
{
    (void)state;
    struct trace t = parsed("0,10\n10,20\n20,40\n");
    assert_true(trace_at(&t, 5, TRACE_STRAIGHT) > 14.9 && trace_at(&t, 5, TRACE_STRAIGHT) < 15.1);
    assert_true(trace_at(&t, 9, TRACE_HELD) < 10.1);
    assert_true(trace_at(&t, 1000, TRACE_HELD) > 39.9);
    assert_true(trace_peak(&t) > 39.9);
    trace_fini(&t);
}

static void what_is_no_sample_is_named_with_its_line(void **state)
{
    static const char *const cases[][2] = {
        { "0,1\n60,x\n", "t.csv:2: \"60,x\" is no sample: write time,rate, the time in seconds or as "
                         "2026-11-27T20:00:00Z, the rate 0 or more" },
        { "0,1\n60,-1\n", "t.csv:2: \"60,-1\" is no sample: write time,rate, the time in seconds or as "
                          "2026-11-27T20:00:00Z, the rate 0 or more" },
        { "0,1\n60,1,2\n120", "t.csv:3: \"120\" is no sample: write time,rate, the time in seconds or as "
                              "2026-11-27T20:00:00Z, the rate 0 or more" },
        { "0,1\n60,nan\n", "t.csv:2: \"60,nan\" is no sample: write time,rate, the time in seconds or as "
                           "2026-11-27T20:00:00Z, the rate 0 or more" },
        { "time,rate\n0,1\n", "t.csv: a trace needs at least two samples" },
        { "", "t.csv: a trace needs at least two samples" },
    };
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct as_error err = { 0 };
        struct trace t;
        assert_int_equal(trace_parse("t.csv", cases[k][0], strlen(cases[k][0]), &t, &err), AS_EINVAL);
        assert_string_equal(err.msg, cases[k][1]);
    }
    struct as_error err = { 0 };
    struct trace t;
    assert_int_equal(trace_load("/nonexistent/t.csv", &t, &err), AS_EIO);
}

static void a_part_is_cut_out(void **state)
{
    (void)state;
    struct trace t = parsed("0,0\n10,1\n20,2\n30,3\n40,4\n");
    assert_int_equal(trace_cut(&t, 10, 20, NULL), AS_OK);
    assert_int_equal(t.count, 2);
    assert_true(t.rate[0] > 0.9 && t.rate[0] < 1.1 && t.rate[1] > 1.9);
    assert_true(fabs(trace_at(&t, -10, TRACE_STRAIGHT) - 0) < 1e-9 &&
                fabs(trace_at(&t, -5, TRACE_STRAIGHT) - 0.5) < 1e-9);
    assert_true(fabs(trace_at(&t, -99, TRACE_HELD)) < 1e-9 && fabs(trace_at(&t, -5, TRACE_HELD)) < 1e-9);
    assert_true(fabs(trace_at(&t, 99, TRACE_STRAIGHT) - 2) < 1e-9); /* what comes after is cut off */
    assert_int_equal(trace_cut(&t, 10, 0, NULL), AS_EINVAL);
    trace_fini(&t);
}

static void times_are_seconds_milliseconds_or_dates(void **state)
{
    static const char quoted[] = "\"Time\",\"req/s\"\n\"2026-11-27 20:00:00\",\"1\"\n"
                                 "\"2026-11-27 20:01:00\" , 2\n\"2026-11-27 20:02\",3\r\n";
    static const char *const same[] = {
        "1795809600,1\n1795809660,2\n1795809720,3\n",
        "1795809600000,1\n1795809660000,2\n1795809720000,3\n",
        quoted,
        "2026-11-27T20:00:00Z,1\n2026-11-27T20:01:00.000Z,2\n2026-11-27T20:02:00Z,3\n",
        "2026-11-27T21:00:00+01:00,1\n2026-11-27T21:01:00+0100,2\n2026-11-27T15:02-05:00,3\n",
    };
    (void)state;
    for (size_t k = 0; k < sizeof same / sizeof *same; k++) {
        struct trace t = parsed(same[k]);
        assert_int_equal(t.count, 3);
        assert_int_equal((long)t.first_s, 1795809600);
        assert_int_equal((long)t.step_s, 60);
        assert_true(t.rate[2] > 2.9);
        trace_fini(&t);
    }
    struct trace t = parsed("2026-11-27T20:00:00.25Z,1\n2026-11-27T20:00:00.75Z,2\n");
    assert_true(t.step_s > 0.49 && t.step_s < 0.51);
    trace_fini(&t);
}

static void broken_dates_and_quotes_are_no_samples(void **state)
{
    static const char *const odd[] = {
        "2026-11-27,1",
        "2026-11-27T20,1",
        "2026-13-27T20:00,1",
        "2026-11-27T20:00X,1",
        "2026-11-27T20:00+1,1",
        "2026-11-27T20:00+99:00,1",
        "2026-11-27T20:00:00.,1",
        "\"2026-11-27T20:00,1",
        "\"60\"0,1",
        "\"\",1",
        "60,\"2",
        "0x1p9999,1",
    };
    (void)state;
    for (size_t k = 0; k < sizeof odd / sizeof *odd; k++) {
        char text[128];
        struct as_error err = { 0 };
        struct trace t;
        snprintf(text, sizeof text, "0,1\n%s\n", odd[k]);
        assert_int_equal(trace_parse("t.csv", text, strlen(text), &t, &err), AS_EINVAL);
        assert_non_null(strstr(err.msg, "t.csv:2: "));
    }
}

static void doubled_stamps_are_dropped(void **state)
{
    (void)state;
    struct trace t = parsed("0,1\n60,2\n60,3\n30,4\n120,5\n");
    assert_int_equal(t.dropped, 2);
    assert_int_equal(t.count, 3);
    trace_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(step_is_the_commonest_difference_and_gaps_are_held),
        cmocka_unit_test(between_samples_straight_or_held),
        cmocka_unit_test(what_is_no_sample_is_named_with_its_line),
        cmocka_unit_test(a_part_is_cut_out),
        cmocka_unit_test(times_are_seconds_milliseconds_or_dates),
        cmocka_unit_test(broken_dates_and_quotes_are_no_samples),
        cmocka_unit_test(doubled_stamps_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
