/* Replays: repeatable bit for bit, the guarantees under failing launches and lost metrics, and yardsticks whose results
 * are known beforehand. */
#include <math.h>

#include "../../controller/sim/replay.h"
#include "../../controller/sim/score.h"
#include "simkit.h"

static const char tier[] =
    "controller = { interval = \"5s\"; };\n"
    "sources = { lb = { driver = \"sim\"; max_age = \"30s\"; }; };\n"
    "groups = { web = { min = 1; max = 30; policies = [ \"load\" ];\n"
    "  compute = { driver = \"sim\"; hosts = [ \"a\" ]; };\n"
    "  scale_in = { window = \"2m\"; }; }; };\n"
    "policies = { load = { type = \"target\"; metric = \"lb.load\"; per_instance = 70.0; }; };\n";

/* A day with a noon peak and a spike, by the minute. */
static struct trace a_day(void)
{
    struct trace t = { .count = 1440, .step_s = 60 };
    t.rate = malloc(t.count * sizeof *t.rate);
    assert_non_null(t.rate);
    for (size_t i = 0; i < t.count; i++)
        t.rate[i] = 900 - 800 * cos(6.283185307 * (double)i / 1440) + (i > 900 && i < 930 ? 500 : 0);
    return t;
}

static struct replay_params usual(const struct trace *t, uint64_t seed)
{
    return (struct replay_params){ .trace = t,
                                   .speed = 1,
                                   .scale = 1,
                                   .believed = 1,
                                   .boot_s = 60,
                                   .seed = seed,
                                   .tier = { .capacity = 100, .workers = 4, .slo_s = 0.5, .timeout_s = 10 } };
}

static struct cfg_hold *fit(struct kit *k)
{
    log_set_level(LOG_LEVEL_ERROR);
    struct cfg_hold *hold = kit_config(k, tier);
    assert_true(replay_prepare((struct cfg *)cfg_of(hold), NULL));
    return hold;
}

static void the_same_seed_is_the_same_run(void **state)
{
    (void)state;
    struct kit k = { 0 };
    struct cfg_hold *hold = fit(&k);
    struct trace t = a_day();
    struct replay_params p = usual(&t, 7);
    struct replay a, b, c;
    p.poisson = true;
    p.boot_sigma = 0.3;
    p.fail_launch = 0.05;
    p.metric_loss = 0.02;
    assert_int_equal(replay_run(hold, &p, &a, NULL), AS_OK);
    assert_int_equal(replay_run(hold, &p, &b, NULL), AS_OK);
    p.seed = 8;
    assert_int_equal(replay_run(hold, &p, &c, NULL), AS_OK);
    assert_int_equal(a.count, 17280);
    assert_int_equal(a.count, b.count);
    assert_memory_equal(a.supply, b.supply, a.count * sizeof *a.supply);
    assert_memory_equal(&a.tier, &b.tier, sizeof a.tier);
    assert_true(a.instance_hours >= b.instance_hours && a.instance_hours <= b.instance_hours);
    assert_memory_not_equal(a.supply, c.supply, a.count * sizeof *a.supply);
    replay_fini(&a);
    replay_fini(&b);
    replay_fini(&c);
    trace_fini(&t);
    cfg_hold_put(hold);
}

static double most(const struct replay *r, double from_s, double to_s)
{
    double n = 0;
    for (size_t i = (size_t)(from_s / r->step_s); i < r->count && (double)i * r->step_s < to_s; i++)
        n = fmax(n, r->supply[i]);
    return n;
}

static void a_schedule_meets_the_day_of_the_trace(void **state)
{
    static const char sale[] =
        "controller = { interval = \"5s\"; };\n"
        "sources = { lb = { driver = \"sim\"; max_age = \"30s\"; }; };\n"
        "groups = { web = { min = 1; max = 30; policies = [ \"load\", \"sale\" ];\n"
        "  compute = { driver = \"sim\"; hosts = [ \"a\" ]; };\n"
        "  scale_in = { window = \"2m\"; }; }; };\n"
        "policies = { load = { type = \"target\"; metric = \"lb.load\"; per_instance = 70.0; };\n"
        "  sale = { type = \"floor\"; count = 9; start = \"2025-11-28 20:00\"; duration = \"1h\";\n"
        "           timezone = \"Europe/Berlin\"; }; };\n";
    static const char day[] = "2025-11-28T18:00:00Z,40\n2025-11-28T18:30:00Z,40\n2025-11-28T19:00:00Z,40\n"
                              "2025-11-28T19:30:00Z,40\n2025-11-28T20:00:00Z,40\n2025-11-28T20:30:00Z,40\n";
    struct kit k = { 0 };
    struct trace t;
    struct replay r;
    (void)state;
    log_set_level(LOG_LEVEL_ERROR);
    struct cfg_hold *hold = kit_config(&k, sale);
    assert_true(replay_prepare((struct cfg *)cfg_of(hold), NULL));
    assert_int_equal(trace_parse("t", day, sizeof day - 1, &t, NULL), AS_OK);
    struct replay_params p = usual(&t, 1);
    p.boot_s = 25; /* the first guess of the lead is 30 s */
    assert_int_equal(replay_run(hold, &p, &r, NULL), AS_OK);
    assert_true(most(&r, 60, 3600 - 300) < 2);    /* an hour before it */
    assert_true(most(&r, 3600 - 10, 3600) > 8.9); /* ready at 20:00 in Berlin */
    assert_true(most(&r, 7200 + 600, 9000) < 2);  /* and gone after it */
    replay_fini(&r);
    trace_fini(&t);
    cfg_hold_put(hold);
}

static void twenty_seeds_of_failures_keep_the_guarantees(void **state)
{
    (void)state;
    struct kit k = { 0 };
    struct cfg_hold *hold = fit(&k);
    struct trace t = a_day();
    size_t failures = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct replay_params p = usual(&t, seed);
        struct replay r;
        p.poisson = true;
        p.boot_sigma = 0.5;
        p.fail_launch = 0.05;
        p.deaths_per_hour = 0.2;
        p.metric_loss = 0.05;
        p.metric_delay_s = 15;
        assert_int_equal(replay_run(hold, &p, &r, NULL), AS_OK);
        if (*r.violation)
            fail_msg("seed %llu: %s", (unsigned long long)seed, r.violation);
        double all = r.tier.served + r.tier.lost;
        if (r.tier.over > 0.2 * all)
            fail_msg("seed %llu: %.1f %% over the SLO", (unsigned long long)seed, 100 * r.tier.over / all);
        failures += r.failures;
        replay_fini(&r);
    }
    assert_true(failures > 5);
    trace_fini(&t);
    cfg_hold_put(hold);
}

static void the_oracle_misses_nothing_and_costs_less_than_the_peak(void **state)
{
    (void)state;
    struct kit k = { 0 };
    struct cfg_hold *hold = fit(&k);
    struct trace t = a_day();
    struct replay_params p = usual(&t, 1);
    struct replay like, best;
    p.tier.model = TIER_FLUID;
    assert_int_equal(replay_run(hold, &p, &like, NULL), AS_OK);
    double *supply = replay_oracle(like.demand, like.count, like.step_s, p.boot_s), peak = 0;
    assert_non_null(supply);
    for (size_t i = 0; i < like.count; i++) {
        assert_true(supply[i] >= like.demand[i]);
        peak = supply[i] > peak ? supply[i] : peak;
    }
    assert_int_equal(replay_given(&p, (struct replay_frame){ 1, 30, like.step_s }, supply, &best, NULL),
                     AS_OK);
    assert_int_equal((int)best.tier.missed, 0);
    assert_true(best.instance_hours < peak * 24 * 0.8);
    struct score s;
    score_elasticity(like.demand, supply, like.count, like.step_s, 30, &s);
    assert_true(s.theta_u < 1e-9);
    free(supply);
    replay_fini(&like);
    replay_fini(&best);
    trace_fini(&t);
    cfg_hold_put(hold);
}

static void a_longer_boot_never_helps(void **state)
{
    (void)state;
    struct kit k = { 0 };
    struct cfg_hold *hold = fit(&k);
    struct trace t = a_day();
    double before = -1;
    for (int boot = 2; boot <= 300; boot *= 5) {
        struct replay_params p = usual(&t, 1);
        struct replay r;
        p.boot_s = boot;
        assert_int_equal(replay_run(hold, &p, &r, NULL), AS_OK);
        assert_true(r.tier.over >= before);
        before = r.tier.over;
        replay_fini(&r);
    }
    trace_fini(&t);
    cfg_hold_put(hold);
}

static void everybody_meets_the_same_arrivals(void **state)
{
    (void)state;
    struct kit k = { 0 };
    struct cfg_hold *hold = fit(&k);
    struct trace t = a_day();
    struct replay_params p = usual(&t, 5);
    struct replay calm, rough, given;
    p.poisson = true;
    assert_int_equal(replay_run(hold, &p, &calm, NULL), AS_OK);
    p.boot_sigma = 0.5;
    p.fail_launch = 0.2;
    p.metric_loss = 0.1;
    assert_int_equal(replay_run(hold, &p, &rough, NULL), AS_OK);
    double *supply = replay_oracle(calm.needed, calm.count, calm.step_s, p.boot_s);
    assert_non_null(supply);
    assert_int_equal(replay_given(&p, (struct replay_frame){ 1, 30, calm.step_s }, supply, &given, NULL),
                     AS_OK);
    assert_memory_not_equal(calm.supply, rough.supply, calm.count * sizeof *calm.supply);
    assert_memory_equal(&calm.tier.arrived, &rough.tier.arrived, sizeof(double));
    assert_memory_equal(&calm.tier.arrived, &given.tier.arrived, sizeof(double));
    assert_memory_equal(calm.needed, given.needed, calm.count * sizeof *calm.needed);
    assert_memory_equal(calm.demand, given.demand, calm.count * sizeof *calm.demand);
    assert_memory_not_equal(calm.needed, calm.demand, calm.count * sizeof *calm.demand);
    free(supply);
    replay_fini(&calm);
    replay_fini(&rough);
    replay_fini(&given);
    trace_fini(&t);
    cfg_hold_put(hold);
}

/* The source's max_age is 30 s. */
static void late_metrics_are_as_old_as_they_are(void **state)
{
    (void)state;
    struct kit k = { 0 };
    struct cfg_hold *hold = fit(&k);
    struct trace t = a_day();
    struct replay_params p = usual(&t, 1);
    struct replay r;
    p.metric_delay_s = 20;
    assert_int_equal(replay_run(hold, &p, &r, NULL), AS_OK);
    assert_true(r.outs > 0 && r.ins > 0);
    replay_fini(&r);
    p.metric_delay_s = 40;
    assert_int_equal(replay_run(hold, &p, &r, NULL), AS_OK);
    assert_true(r.outs == 0 && r.ins == 0);
    replay_fini(&r);
    trace_fini(&t);
    cfg_hold_put(hold);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_is_the_same_run),
        cmocka_unit_test(a_schedule_meets_the_day_of_the_trace),
        cmocka_unit_test(twenty_seeds_of_failures_keep_the_guarantees),
        cmocka_unit_test(the_oracle_misses_nothing_and_costs_less_than_the_peak),
        cmocka_unit_test(a_longer_boot_never_helps),
        cmocka_unit_test(everybody_meets_the_same_arrivals),
        cmocka_unit_test(late_metrics_are_as_old_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
