/* The queueing formulas against known numbers, their limits, and one against the other. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "autoscale/queueing.h"

#define NEAR(a, b, e) assert_true(fabs((a) - (b)) < (e))

static void erlang_c_matches_its_vectors(void **unused)
{
    (void)unused;
    NEAR(as_erlang_c(2, 3), .444444444, 1e-9);
    NEAR(as_erlang_c(2.5, 5), .130371297, 1e-9);
    NEAR(as_erlang_c(10, 12), .449388224, 1e-9);
    NEAR(as_erlang_c(10, 14), .174131934, 1e-9);
    NEAR(as_erlang_c(100, 110), .237007500, 1e-9);
    NEAR(as_erlang_c(100, 120), .033195895, 1e-9);
    NEAR(as_erlang_c(1000, 1040), .140453895, 1e-9);
    NEAR(as_erlang_c(10000, 10150), .085782127, 1e-9);
    NEAR(as_erlang_c(5, 5), 1, 1e-12);
    NEAR(as_erlang_c(0, 3), 0, 1e-12);
}

static void least_workers_match_their_vectors(void **unused)
{
    (void)unused;
    struct as_queue q = { .rate = 100, .service = 1 / 10.0, .variability = 1 };
    assert_int_equal(as_queue_workers(&q, AS_QUEUE_WAIT, .050, .05, 1000), 14);
    q = (struct as_queue){ .rate = 1000, .service = 1 / 10.0, .variability = 1 };
    assert_int_equal(as_queue_workers(&q, AS_QUEUE_WAIT, .020, .01, 1000), 114);
    q = (struct as_queue){ .rate = 1000, .service = 1 / 5.0, .variability = 1 };
    assert_int_equal(as_queue_workers(&q, AS_QUEUE_WAIT, .100, .05, 1000), 206);
    assert_int_equal(as_queue_workers(&q, AS_QUEUE_WAIT, .100, .05, 205), -1);
    q.rate = 0;
    assert_int_equal(as_queue_workers(&q, AS_QUEUE_WAIT, .100, .05, 1000), 0);
}

static void response_tail_matches_its_vectors(void **unused)
{
    (void)unused;
    struct as_queue q = { .rate = 8, .service = 1, .variability = 1 };
    NEAR(as_queue_tail(&q, 10, AS_QUEUE_RESPONSE, 2), .18321740, 1e-8);
    q.rate = 9; /* the case where the two rates are equal */
    NEAR(as_queue_tail(&q, 10, AS_QUEUE_RESPONSE, 2), .31634122, 1e-8);
    q.rate = 9 + 1e-9;
    NEAR(as_queue_tail(&q, 10, AS_QUEUE_RESPONSE, 2), .31634122, 1e-7);
    q.rate = 10;
    NEAR(as_queue_tail(&q, 10, AS_QUEUE_RESPONSE, 2), 1, 1e-12);
    q.rate = 9.999; /* mu * t beyond 600: only the wait is left */
    NEAR(as_queue_tail(&q, 10, AS_QUEUE_RESPONSE, 1000), exp(-1.0), 1e-2);
    assert_true(isfinite(as_queue_tail(&q, 10, AS_QUEUE_RESPONSE, 1e9)));
}

static void no_number_of_workers_shortens_the_service(void **unused)
{
    (void)unused;
    struct as_queue q = { .rate = 10, .service = .1, .variability = 1 };
    assert_false(as_queue_feasible(&q, AS_QUEUE_RESPONSE, .2, .05)); /* exp(-2) = 13.5 % */
    assert_int_equal(as_queue_workers(&q, AS_QUEUE_RESPONSE, .2, .05, 100000), -1);
    assert_true(as_queue_feasible(&q, AS_QUEUE_RESPONSE, .3, .05)); /* exp(-3) = 4.98 % */
    assert_true(as_queue_feasible(&q, AS_QUEUE_WAIT, .0001, .0001));
}

static void more_workers_never_do_worse_and_more_load_never_needs_fewer(void **unused)
{
    (void)unused;
    for (double rate = 1; rate < 400; rate *= 1.3) {
        struct as_queue q = { .rate = rate, .service = .05, .variability = 1.5 };
        double before = 1;
        for (int c = 1; c < 60; c++) {
            double tail = as_queue_tail(&q, c, AS_QUEUE_RESPONSE, .2);
            assert_true(tail <= before + 1e-12);
            before = tail;
        }
        int c = as_queue_workers(&q, AS_QUEUE_RESPONSE, .2, .05, 1000);
        assert_true(as_queue_tail(&q, c, AS_QUEUE_RESPONSE, .2) <= .05);
        assert_true(c == 1 || as_queue_tail(&q, c - 1, AS_QUEUE_RESPONSE, .2) > .05);
    }
}

static void the_wait_has_an_exponential_tail(void **unused)
{
    (void)unused;
    struct as_queue q = { .rate = 8, .service = 1, .variability = 1 };
    double t = log(as_erlang_c(8, 10) / .05) / 2; /* ln(C / miss) / (c mu - lambda) */
    NEAR(as_queue_tail(&q, 10, AS_QUEUE_WAIT, t), .05, 1e-12);
    NEAR(as_queue_tail(&q, 8, AS_QUEUE_WAIT, t), 1, 1e-12);
}

static void variability_stretches_the_wait(void **unused)
{
    (void)unused;
    struct as_queue one = { .rate = 8, .service = 1, .variability = 1 }, two = one;
    two.variability = 2;
    NEAR(as_queue_tail(&two, 10, AS_QUEUE_WAIT, 2), as_queue_tail(&one, 10, AS_QUEUE_WAIT, 1), 1e-12);
    assert_true(as_queue_workers(&two, AS_QUEUE_WAIT, 1, .05, 100) >
                as_queue_workers(&one, AS_QUEUE_WAIT, 1, .05, 100));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(erlang_c_matches_its_vectors),
        cmocka_unit_test(least_workers_match_their_vectors),
        cmocka_unit_test(response_tail_matches_its_vectors),
        cmocka_unit_test(no_number_of_workers_shortens_the_service),
        cmocka_unit_test(more_workers_never_do_worse_and_more_load_never_needs_fewer),
        cmocka_unit_test(the_wait_has_an_exponential_tail),
        cmocka_unit_test(variability_stretches_the_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
