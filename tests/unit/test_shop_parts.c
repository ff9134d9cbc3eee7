/* The pure parts of the example shop: an order's check, the load curve's schedule, the latency histogram. They belong
 * to no library, so that the sources are taken in here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../examples/shop/curve.c"
#include "../../examples/shop/histogram.c"
#include "../../examples/shop/orderform.c"

#define assert_near(a, b, epsilon) assert_true(fabs((a) - (b)) <= (epsilon))

/* --- orders ------------------------------------------------------------------------------------------------------ */

static void order_is_taken_exactly(void **state)
{
    static const char body[] = " {\"quantity\": 1000, \"user_id\": 9007199254740991, \"product_id\": 1e3}\n";
    struct order order;
    struct order_problem problem;
    (void)state;
    assert_int_equal(order_parse(body, sizeof body - 1, &order, &problem), 0);
    assert_int_equal(order.user_id, 9007199254740991);
    assert_int_equal(order.product_id, 1000);
    assert_int_equal(order.quantity, 1000);
}

static void order_problem_names_the_field(void **state)
{
    static const struct {
        const char *body, *field, *text;
    } cases[] = {
        { "{\"user_id\":1,\"product_id\":2}", "quantity", "quantity is missing" },
        { "{\"user_id\":1,\"product_id\":2,\"quantity\":1001}", "quantity",
          "quantity must be a whole number from 1 to 1000" },
        { "{\"user_id\":-1,\"product_id\":2,\"quantity\":1}", "user_id",
          "user_id must be a whole number from 1 to 9007199254740991" },
        { "{\"user_id\":1e999,\"product_id\":2,\"quantity\":1}", "user_id",
          "user_id must be a whole number from 1 to 9007199254740991" },
        { "{\"user_id\":true,\"product_id\":2,\"quantity\":1}", "user_id",
          "user_id must be a whole number from 1 to 9007199254740991" },
        { "{\"quantity\":1,\"quantity\":2}", "quantity", "quantity is given twice" },
        { "{\"coupon\":1}", "coupon", "this field is not part of an order" },
        { "[1]", "", "the body must be one JSON object" },
        { "{} {}", "", "the body is not valid JSON" },
        { "", "", "the body is empty; an order is a JSON object" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct order order = { 5, 6, 7 };
        struct order_problem problem;
        assert_int_equal(order_parse(cases[i].body, strlen(cases[i].body), &order, &problem), -1);
        assert_string_equal(problem.field, cases[i].field);
        assert_string_equal(problem.text, cases[i].text);
        assert_int_equal(order.quantity, 7); /* untouched */
    }
}

static void order_with_a_nul_inside_is_refused(void **state)
{
    static const char body[] = "{\"user_id\":1,\"product_id\":2,\"quantity\":3}\0junk";
    struct order order;
    struct order_problem problem;
    (void)state;
    assert_int_equal(order_parse(body, sizeof body - 1, &order, &problem), -1);
    assert_string_equal(problem.text, "the body is not valid JSON");
}

/* --- curves ------------------------------------------------------------------------------------------------------ */

static uint64_t schedule(const char *text, double *times, size_t size)
{
    static struct curve curve;
    struct curve_cursor cursor = { 0 };
    char err[160];
    double due;
    uint64_t count = 0;
    assert_int_equal(curve_parse(text, &curve, err, sizeof err), 0);
    for (; curve_next(&curve, &cursor, &due); count++)
        if (count < size)
            times[count] = due;
    return count;
}

static void flat_curve_is_evenly_spaced(void **state)
{
    double t[20];
    (void)state;
    assert_int_equal(schedule("0s:10,2s:10", t, 20), 20);
    for (size_t i = 0; i < 20; i++)
        assert_near(t[i], 0.1 * (double)(i + 1), 1e-9);
}

static void ramp_follows_the_area(void **state)
{
    double t[8];
    (void)state;
    /* rate 4t: the area is 2t^2, so that the k-th request is due at sqrt(k/2) */
    assert_int_equal(schedule("0:0,2:8", t, 8), 8);
    for (size_t i = 0; i < 8; i++)
        assert_near(t[i], sqrt((double)(i + 1) / 2), 1e-9);
}

static void pieces_carry_their_fractions_on(void **state)
{
    double t[2];
    (void)state;
    /* the first piece brings half a request, the second, 0.5 + x/2 at x, the rest: 0.5x + x^2/4 = 0.5 and 1.5 */
    assert_int_equal(schedule("0:0.5,1:0.5,3:1.5", t, 2), 2);
    assert_near(t[0], 1 + sqrt(3) - 1, 1e-9);
    assert_near(t[1], 1 + sqrt(7) - 1, 1e-9);
}

static void falling_curve_ends_at_zero(void **state)
{
    double t[4];
    (void)state;
    assert_int_equal(schedule("0:4,2:0", t, 4), 4);
    assert_near(t[3], 2, 1e-6);
}

static void rate_is_linear_between_points(void **state)
{
    static struct curve curve;
    char err[160];
    (void)state;
    assert_int_equal(curve_parse("0s:20,10s:20,15s:200", &curve, err, sizeof err), 0);
    assert_near(curve_rate(&curve, 5), 20, 1e-9);
    assert_near(curve_rate(&curve, 12.5), 110, 1e-9);
    assert_near(curve_rate(&curve, 15), 0, 1e-9);
    assert_near(curve_total(&curve), 200 + 550, 1e-9);
}

/* --- latencies --------------------------------------------------------------------------------------------------- */

static void quantiles_are_near_and_never_flatter(void **state)
{
    static struct histogram h;
    (void)state;
    histogram_reset(&h);
    assert_near(histogram_quantile_ms(&h, 0.5), 0, 0);
    for (uint64_t us = 1; us <= 100000; us++)
        histogram_add(&h, us);
    for (int percent = 1; percent <= 100; percent++) {
        double exact = percent, seen = histogram_quantile_ms(&h, percent / 100.0);
        assert_true(seen >= exact - 1e-9 && seen <= exact * 1.016);
    }
    assert_near(histogram_quantile_ms(&h, 1), 100, 1e-9);
}

static void latency_beyond_the_range_counts(void **state)
{
    static struct histogram h;
    (void)state;
    histogram_reset(&h);
    histogram_add(&h, UINT64_MAX / 2);
    histogram_add(&h, 0);
    assert_near(histogram_quantile_ms(&h, 0.5), 0, 0);
    assert_true(histogram_quantile_ms(&h, 1) > 3e7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_is_taken_exactly),
        cmocka_unit_test(order_problem_names_the_field),
        cmocka_unit_test(order_with_a_nul_inside_is_refused),
        cmocka_unit_test(flat_curve_is_evenly_spaced),
        cmocka_unit_test(ramp_follows_the_area),
        cmocka_unit_test(pieces_carry_their_fractions_on),
        cmocka_unit_test(falling_curve_ends_at_zero),
        cmocka_unit_test(rate_is_linear_between_points),
        cmocka_unit_test(quantiles_are_near_and_never_flatter),
        cmocka_unit_test(latency_beyond_the_range_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
