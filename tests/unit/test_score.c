/* Elasticity metrics against the worked example and the cases whose result is known beforehand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../controller/sim/score.h"

#define NEAR(a, b) assert_true((a) - (b) < 1e-5 && (b) - (a) < 1e-5)

static const double demand[] = { 2, 2, 2, 2, 5, 5, 5, 3, 3, 3 };
static const double supply[] = { 2, 2, 2, 2, 2, 6, 6, 6, 3, 3 };
static const double fixed[] = { 3, 3, 3, 3, 3, 3, 3, 3, 3, 3 };

static void the_worked_example(void **state)
{
    struct score s, n;
    (void)state;
    score_elasticity(demand, supply, 10, 60, 10, &s);
    NEAR(s.accuracy_u, 0.3);
    NEAR(s.accuracy_o, 0.5);
    NEAR(s.a_u, 3);
    NEAR(s.a_o, 5);
    NEAR(s.theta_u, 6);
    NEAR(s.theta_o, 14);
    NEAR(s.tau_u, 10);
    NEAR(s.tau_o, 30);
    NEAR(s.jitter, 0.2);
    NEAR(s.k, 22.222222);
    NEAR(s.k2, 22.222222);
    NEAR(s.upsilon, 44.444444);
    NEAR(s.sigma5, 45.655301);
    score_elasticity(demand, fixed, 10, 60, 10, &n);
    NEAR(n.theta_u, 12);
    NEAR(n.theta_o, 20);
    NEAR(n.tau_u, 30);
    NEAR(n.tau_o, 40);
    NEAR(n.jitter, -0.5);
    NEAR(n.k, 11.111111);
    NEAR(n.k2, 11.111111);
    NEAR(n.upsilon, 22.222222);
    NEAR(score_speedup(&s, &n), 1.838645);
}

static void perfect_is_zero_and_static_peak_is_never_short(void **state)
{
    struct score s;
    double peak[10];
    (void)state;
    score_elasticity(demand, demand, 10, 60, 10, &s);
    NEAR(s.sigma5, 0);
    NEAR(s.jitter, 0);
    for (int i = 0; i < 10; i++)
        peak[i] = 5;
    score_elasticity(demand, peak, 10, 60, 10, &s);
    NEAR(s.theta_u, 0);
    NEAR(s.tau_u, 0);
    assert_true(s.theta_o > 0 && s.tau_o > 0);
}

static void a_delayed_copy_is_short_only_after_rises(void **state)
{
    struct score s;
    double late[10] = { 2 };
    (void)state;
    for (int i = 1; i < 10; i++)
        late[i] = demand[i - 1];
    score_elasticity(demand, late, 10, 60, 10, &s);
    NEAR(s.tau_u, 10);
    NEAR(s.tau_o, 10);
    NEAR(s.jitter, 0);
}

static void upsilon_does_not_depend_on_a_finer_step(void **state)
{
    struct score fine, coarse;
    double d[60], s[60];
    (void)state;
    for (int i = 0; i < 60; i++) {
        d[i] = demand[i / 6];
        s[i] = supply[i / 6];
    }
    score_elasticity(demand, supply, 10, 60, 10, &coarse);
    score_elasticity(d, s, 60, 10, 10, &fine);
    NEAR(fine.upsilon, coarse.upsilon);
    NEAR(fine.theta_o, coarse.theta_o);
    NEAR(fine.jitter, coarse.jitter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_worked_example),
        cmocka_unit_test(perfect_is_zero_and_static_peak_is_never_short),
        cmocka_unit_test(a_delayed_copy_is_short_only_after_rises),
        cmocka_unit_test(upsilon_does_not_depend_on_a_finer_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
