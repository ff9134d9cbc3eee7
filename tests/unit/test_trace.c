/* Traces: steps, gaps, headers, and lines that are no samples. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
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
        { "0,1\n60,x\n", "t.csv:2: \"60,x\" is no sample: write seconds,rate with a rate of 0 or more" },
        { "0,1\n60,-1\n", "t.csv:2: \"60,-1\" is no sample: write seconds,rate with a rate of 0 or more" },
        { "0,1\n60,1,2\n120", "t.csv:3: \"120\" is no sample: write seconds,rate with a rate of 0 or more" },
        { "0,1\n60,nan\n", "t.csv:2: \"60,nan\" is no sample: write seconds,rate with a rate of 0 or more" },
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
    assert_int_equal(trace_cut(&t, 10, 0, NULL), AS_EINVAL);
    trace_fini(&t);
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
        cmocka_unit_test(doubled_stamps_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
