/* The simulated tier: its backlog by hand, its calm times against those of the queue. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../controller/sim/tier.h"

#define NEAR(a, b, e) assert_true((a) - (b) < (e) && (b) - (a) < (e))

static const struct tier_params shop = { .capacity = 100, .workers = 4, .slo_s = 0.5, .timeout_s = 10 };

static void a_full_tier_builds_a_backlog_and_a_larger_one_clears_it(void **state)
{
    struct tier t;
    struct tier_step s;
    (void)state;
    tier_init(&t, &shop);
    tier_run(&t, 300, 2, 5, 0, &s); /* 1500 arrive, 1000 are served */
    NEAR(s.served, 1000, 1e-9);
    NEAR(t.backlog, 500, 1e-9);
    NEAR(s.lost, 0, 1e-9);
    assert_true(s.over > 900);
    tier_run(&t, 300, 8, 1, 0, &s); /* 300 + 500 = 800: just all */
    NEAR(t.backlog, 0, 1e-9);
    tier_run(&t, 300, 2, 60, 0, &s); /* 6000 behind, patience for 2000 */
    NEAR(t.backlog, 2000, 1e-9);
    NEAR(s.lost, 4000, 1e-9);
}

static void a_calm_tier_misses_nothing_and_its_times_are_the_service_times(void **state)
{
    struct tier t;
    struct tier_step s;
    (void)state;
    tier_init(&t, &shop);
    tier_run(&t, 100, 10, 5, 1, &s);
    NEAR(s.mean_s, 0.04, 1e-4);
    assert_true(s.over < 0.01);
    NEAR(tier_quantile(&t, 0.5), 0.0277, 0.003); /* median of an exponential of mean 40 ms */
    NEAR(tier_quantile(&t, 0.95), 0.1198, 0.01);
    NEAR(s.in_system, 4, 0.05); /* Little: 100/s * 40 ms */
}

static void nobody_serves_without_instances(void **state)
{
    struct tier t;
    struct tier_step s;
    (void)state;
    tier_init(&t, &shop);
    tier_run(&t, 10, 0, 5, 1, &s);
    NEAR(s.served, 0, 1e-9);
    NEAR(s.over, 50, 1e-9);
    NEAR(t.backlog, 50, 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_tier_builds_a_backlog_and_a_larger_one_clears_it),
        cmocka_unit_test(a_calm_tier_misses_nothing_and_its_times_are_the_service_times),
        cmocka_unit_test(nobody_serves_without_instances),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
