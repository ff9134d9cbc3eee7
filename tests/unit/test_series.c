/* Series: the ring, the aggregates, and missing, stale and zero kept apart. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../controller/model/series.h"

static struct as_series *filled(const double *values, size_t n)
{
    struct as_series *s = series_new("lb.web.sessions", 64, 0);
    assert_non_null(s);
    for (size_t i = 0; i < n; i++)
        series_push(s, (as_time)(i + 1) * 1000, values[i], false);
    return s;
}

static double value_of(const struct as_series *s, as_time now, enum as_aggregate agg, as_time window,
                       double q)
{
    struct as_reading r = as_series_read(s, now, agg, window, q);
    assert_int_equal(r.fresh, AS_FRESH);
    return r.value;
}

static void never_stale_and_zero_are_three_things(void **unused)
{
    (void)unused;
    struct as_series *s = series_new("a", 4, 5000);
    assert_int_equal(as_series_read(s, 1000, AS_LAST, 0, 0).fresh, AS_NEVER);
    series_push(s, 1000, 0, false);
    struct as_reading r = as_series_read(s, 1000, AS_LAST, 0, 0);
    assert_int_equal(r.fresh, AS_FRESH);
    assert_true(r.value == 0);
    assert_int_equal(as_series_read(s, 6000, AS_LAST, 0, 0).fresh, AS_FRESH);
    r = as_series_read(s, 6001, AS_MEAN, 1000, 0);
    assert_int_equal(r.fresh, AS_STALE);
    assert_int_equal(r.age, 5001);
    assert_true(r.value == 0);
    series_free(s);
}

static void window_excludes_its_start_and_includes_now(void **unused)
{
    (void)unused;
    const double v[] = { 100, 10, 20, 30 }; /* at 1, 2, 3, 4 s */
    struct as_series *s = filled(v, 4);
    struct as_reading r = as_series_read(s, 4000, AS_MEAN, 3000, 0);
    assert_int_equal(r.samples, 3);
    assert_true(r.value == 20);
    assert_true(value_of(s, 4000, AS_MAX, 3000, 0) == 30);
    assert_true(value_of(s, 4000, AS_MIN, 3000, 0) == 10);
    assert_true(value_of(s, 4000, AS_MAX, 3001, 0) == 100);
    assert_true(value_of(s, 4000, AS_LAST, 3000, 0) == 30);
    assert_true(value_of(s, 4000, AS_MEAN, 0, 0) == 30);
    series_free(s);
}

static void empty_window_gives_the_newest_with_its_age(void **unused)
{
    (void)unused;
    const double v[] = { 1, 7 };
    struct as_series *s = filled(v, 2);
    struct as_reading r = as_series_read(s, 9000, AS_MEAN, 1000, 0);
    assert_true(r.value == 7);
    assert_int_equal(r.age, 7000);
    assert_int_equal(r.samples, 1);
    series_free(s);
}

static void quantile_interpolates_between_order_statistics(void **unused)
{
    (void)unused;
    const double v[] = { 4, -1, 3, 2, 2 }; /* sorted -1 2 2 3 4; type 7: h = q * 4 */
    struct as_series *s = filled(v, 5);
    assert_true(value_of(s, 5000, AS_QUANTILE, 60000, 0) == -1);
    assert_true(value_of(s, 5000, AS_QUANTILE, 60000, 1) == 4);
    assert_true(value_of(s, 5000, AS_QUANTILE, 60000, 0.5) == 2);
    assert_true(fabs(value_of(s, 5000, AS_QUANTILE, 60000, 0.95) - 3.8) < 1e-12);
    assert_true(fabs(value_of(s, 5000, AS_QUANTILE, 60000, 0.1) - 0.2) < 1e-12);
    assert_true(fabs(value_of(s, 5000, AS_QUANTILE, 60000, 0.625) - 2.5) < 1e-12);
    series_free(s);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void quantile_of_a_large_window_is_exact(void **unused)
{
    (void)unused;
    enum { N = 5000 };
    static double v[N];
    struct as_series *s = series_new("a", N, 0);
    uint32_t seed = 12345;
    for (int i = 0; i < N; i++) {
        seed = seed * 1664525u + 1013904223u;
        v[i] = ((double)(seed >> 8) - 8e6) / 1000;
        series_push(s, i, v[i], false);
    }
    qsort(v, N, sizeof *v, by_value);
    for (double q = 0; q <= 1; q += 0.125) {
        double h = q * (N - 1);
        int k = (int)h;
        double want = k + 1 < N ? v[k] + (h - k) * (v[k + 1] - v[k]) : v[k];
        assert_true(fabs(value_of(s, N, AS_QUANTILE, 2 * N, q) - want) < 1e-9);
    }
    series_free(s);
}

static void rate_counts_a_fall_as_a_reset_from_zero(void **unused)
{
    (void)unused;
    const double v[] = { 100, 160, 10, 40 }; /* +60, reset +10, +30 over 3 s */
    struct as_series *s = filled(v, 4);
    assert_true(fabs(value_of(s, 4000, AS_RATE, 60000, 0) - 100.0 / 3) < 1e-12);
    assert_true(value_of(s, 4000, AS_RATE, 2000, 0) == 30); /* (2s, 4s]: 10 -> 40 */
    assert_int_equal(as_series_read(s, 4000, AS_RATE, 1000, 0).fresh, AS_NEVER);
    assert_int_equal(as_series_read(s, 90000, AS_RATE, 1000, 0).fresh, AS_NEVER);
    series_free(s);
}

static void rate_needs_two_moments(void **unused)
{
    (void)unused;
    struct as_series *s = series_new("a", 4, 0);
    series_push(s, 1000, 5, false);
    series_push(s, 1000, 9, false);
    assert_int_equal(as_series_read(s, 1000, AS_RATE, 5000, 0).fresh, AS_NEVER);
    series_free(s);
}

static void partial_shows_only_while_such_a_sample_is_read(void **unused)
{
    (void)unused;
    struct as_series *s = series_new("a", 8, 0);
    series_push(s, 1000, 1, true);
    series_push(s, 2000, 2, false);
    assert_false(as_series_read(s, 2000, AS_LAST, 0, 0).partial);
    assert_true(as_series_read(s, 2000, AS_MEAN, 2000, 0).partial);
    assert_false(as_series_read(s, 2000, AS_MEAN, 1000, 0).partial);
    series_free(s);
}

static void full_ring_forgets_the_oldest(void **unused)
{
    (void)unused;
    struct as_series *s = series_new("a", 3, 0);
    for (int i = 1; i <= 7; i++)
        series_push(s, i * 1000, i, false);
    struct as_reading r = as_series_read(s, 7000, AS_MIN, 60000, 0);
    assert_int_equal(r.samples, 3);
    assert_true(r.value == 5);
    assert_true(as_series_read(s, 7000, AS_MEAN, 60000, 0).value == 6);
    assert_true(as_series_read(s, 7000, AS_LAST, 0, 0).value == 7);
    series_free(s);
}

static void resize_keeps_the_newest(void **unused)
{
    (void)unused;
    struct as_series *s = series_new("a", 4, 0);
    for (int i = 1; i <= 6; i++)
        series_push(s, i, i, i == 5);
    assert_true(series_resize(s, 9));
    assert_int_equal(series_capacity(s), 9);
    series_push(s, 7, 7, false);
    assert_int_equal(as_series_read(s, 7, AS_MEAN, 60, 0).samples, 5);
    assert_true(as_series_read(s, 7, AS_MIN, 60, 0).value == 3 &&
                as_series_read(s, 7, AS_MAX, 60, 0).value == 7);
    assert_true(as_series_read(s, 7, AS_MEAN, 5, 0).partial);
    assert_true(series_resize(s, 2));
    assert_int_equal(as_series_read(s, 7, AS_MEAN, 60, 0).samples, 2);
    assert_true(as_series_read(s, 7, AS_MIN, 60, 0).value == 6);
    series_push(s, 8, 8, false);
    assert_int_equal(as_series_read(s, 8, AS_MEAN, 60, 0).samples, 2);
    assert_true(as_series_read(s, 8, AS_MIN, 60, 0).value == 7 &&
                as_series_read(s, 8, AS_LAST, 0, 0).value == 8);
    series_free(s);
}

static void amending_replaces_the_newest_alone(void **unused)
{
    (void)unused;
    struct as_series *s = series_new("a", 3, 0);
    series_amend(s, 1000, 1, true); /* there is none yet */
    assert_int_equal(series_count(s), 1);
    series_amend(s, 1500, 2, false);
    assert_int_equal(series_count(s), 1);
    struct as_reading r = as_series_read(s, 2000, AS_LAST, 0, 0);
    assert_true(r.value == 2 && r.age == 500 && !r.partial);
    for (int i = 3; i <= 6; i++)
        series_push(s, i * 1000, i, false);
    series_amend(s, 6500, 9, false);
    series_amend(s, 6600, NAN, false); /* stays as it was */
    r = as_series_read(s, 7000, AS_MEAN, 60000, 0);
    assert_int_equal(r.samples, 3);
    assert_true(r.value == 6); /* 4, 5, 9 */
    assert_int_equal(r.age, 500);
    series_free(s);
}

static void values_that_are_not_finite_are_not_stored(void **unused)
{
    (void)unused;
    struct as_series *s = series_new("a", 4, 0);
    series_push(s, 1, NAN, false);
    series_push(s, 1, INFINITY, false);
    assert_int_equal(series_count(s), 0);
    series_push(s, 2, 1.7e308, false);
    series_push(s, 3, 1.7e308, false);
    assert_true(isfinite(value_of(s, 3, AS_MEAN, 10, 0)));
    series_free(s);
}

static void time_never_goes_back(void **unused)
{
    (void)unused;
    struct as_series *s = series_new("a", 4, 0);
    series_push(s, 5000, 1, false);
    series_push(s, 4000, 2, false);
    struct as_reading r = as_series_read(s, 5000, AS_LAST, 0, 0);
    assert_true(r.value == 2);
    assert_int_equal(r.age, 0);
    assert_string_equal(as_series_name(s), "a");
    series_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_stale_and_zero_are_three_things),
        cmocka_unit_test(window_excludes_its_start_and_includes_now),
        cmocka_unit_test(empty_window_gives_the_newest_with_its_age),
        cmocka_unit_test(quantile_interpolates_between_order_statistics),
        cmocka_unit_test(quantile_of_a_large_window_is_exact),
        cmocka_unit_test(rate_counts_a_fall_as_a_reset_from_zero),
        cmocka_unit_test(rate_needs_two_moments),
        cmocka_unit_test(partial_shows_only_while_such_a_sample_is_read),
        cmocka_unit_test(full_ring_forgets_the_oldest),
        cmocka_unit_test(resize_keeps_the_newest),
        cmocka_unit_test(amending_replaces_the_newest_alone),
        cmocka_unit_test(values_that_are_not_finite_are_not_stored),
        cmocka_unit_test(time_never_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
