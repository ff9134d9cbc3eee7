/* The baselines against the numbers of their publications, and what must hold for every one of them. */
#include <math.h>

#include "../../policies/azure.h"
#include "../../policies/conpaas.h"
#include "../../policies/hpa.h"
#include "../../policies/kpa.h"
#include "../../policies/reg.h"
#include "policy_kit.h"

extern const struct as_policy_type as_policy_hpa, as_policy_kpa, as_policy_aws_target, as_policy_aws_step,
    as_policy_gce, as_policy_azure, as_policy_autopilot, as_policy_react, as_policy_adapt, as_policy_hist,
    as_policy_reg, as_policy_conpaas, as_policy_static;

#define COMMON   "metric = \"lb.web.load\"; per_instance = 10.0;"
#define FULL     COMMON "target = \"100%\";"
#define HUNDREDS "metric = \"lb.web.load\"; per_instance = 100.0;"

/* `seconds` later: a fresh sample, the size, the proposal. */
static struct as_proposal later(struct kit *k, int seconds, double load, int serving, int pending)
{
    k->view.now += seconds * AS_SECOND;
    k->view.now_wall += seconds * AS_SECOND;
    series_push(k->series, k->view.now, load, false);
    kit_size(k, serving, pending);
    return kit_look(k);
}

static int want(struct kit *k, int seconds, double load, int serving, int pending)
{
    struct as_proposal p = later(k, seconds, load, serving, pending);
    return p.kind == AS_WANT ? p.count : -1;
}

/* The same every 10 seconds for so many seconds: what it wants at the end. */
static int want_for(struct kit *k, int seconds, double load, int serving, int pending)
{
    int count = -1;
    for (int s = 0; s < seconds; s += 10)
        count = want(k, 10, load, serving, pending);
    return count;
}

/* --- hpa ------------------------------------------------------------------------------------------- */

static int replicas(int ready, int percent, int unready, int missing, int target)
{
    struct hpa_pods p = { .current = ready + unready + missing,
                          .ready = ready,
                          .unready = unready,
                          .missing = missing,
                          .usage = (int64_t)percent * 10 * ready,
                          .request = 1000,
                          .target = target,
                          .up = 0.1,
                          .down = 0.1 };
    return hpa_replicas(&p);
}

static void hpa_replicas_are_those_of_kubernetes(void **unused)
{
    (void)unused;
    assert_int_equal(replicas(3, 60, 0, 0, 30), 6);
    assert_int_equal(replicas(4, 55, 0, 0, 50), 4); /* 1.1: both ends of the tolerance are inside */
    assert_int_equal(replicas(4, 56, 0, 0, 50), 5);
    assert_int_equal(replicas(4, 45, 0, 0, 50), 4);
    assert_int_equal(replicas(3, 90, 1, 0, 50), 6);
    assert_int_equal(replicas(3, 60, 1, 0, 50), 4);
    assert_int_equal(replicas(3, 20, 0, 1, 50), 4);
    assert_int_equal(replicas(4, 10, 0, 1, 50), 3);
    assert_int_equal(replicas(3, 90, 0, 1, 50), 6);
    assert_int_equal(replicas(3, 40, 0, 3, 50),
                     6); /* fewer by what is known, more with what is not: no change */
    assert_int_equal(replicas(3, 60, 0, 3, 50), 6);
}

static void hpa_percentages_lose_what_doubles_lose(void **unused)
{
    (void)unused;
    int lost = 0;
    assert_int_equal(hpa_limit_down(5, true, 80), 0);
    assert_int_equal(hpa_limit_up(25, true, 12), 29);
    assert_int_equal(hpa_limit_up(10, true, 100), 20);
    assert_int_equal(hpa_limit_up(10, false, 4), 14);
    assert_int_equal(hpa_limit_down(3, false, 4), 0);
    for (int start = 1; start < 300; start++)
        for (int percent = 1; percent <= 100; percent++)
            lost += hpa_limit_down(start, true, percent) != start * (100 - percent) / 100;
    assert_int_equal(lost, 166);
}

static void hpa_averages_over_pods_and_counts_starting_ones_as_idle(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_hpa, HUNDREDS "target = \"50%\";");
    assert_int_equal(want(k, 15, 220, 4, 0), 4); /* 55 each: within 10 % of 50 */
    assert_int_equal(want(k, 15, 300, 4, 0), 6); /* 75 each */
    assert_int_equal(want(k, 2, 900, 4, 2), 6);  /* the next sync is not yet due */
    assert_int_equal(want(k, 13, 270, 3, 1), 6); /* 90 each, over four pods 67.5 */
    assert_int_equal(want(k, 15, 180, 3, 1), 6); /* 60 each, over four 45: no change; but 6 of the window */
    assert_int_equal(want(k, 15, 500, 0, 4), 4); /* none ready: no metric, no change */
    kit_free(k);
    k = kit_new(&as_policy_hpa, HUNDREDS);
    assert_int_equal(want(k, 15, 70, 120, 0), 100); /* outside of the bounds: at once */
    k->view.min = 5;
    assert_int_equal(want(k, 15, 0, 3, 0), 5);
    kit_free(k);
}

static void hpa_shrinks_to_the_highest_of_the_window(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_hpa, HUNDREDS "target = \"50%\";");
    assert_int_equal(want(k, 15, 500, 10, 0), 10);
    for (int s = 15; s <= 300; s += 15)
        assert_int_equal(want(k, 15, 100, 10, 0), 10); /* a sample of 300 s ago still counts */
    assert_int_equal(want(k, 15, 100, 10, 0), 2);
    kit_free(k);
    k = kit_new(&as_policy_hpa, HUNDREDS "target = \"50%\"; behavior = true;");
    assert_int_equal(want(k, 15, 500, 10, 0), 10);
    for (int s = 15; s < 300; s += 15)
        assert_int_equal(want(k, 15, 100, 10, 0), 10);
    assert_int_equal(want(k, 15, 100, 10, 0), 2); /* with behavior it no longer does */
    kit_free(k);
    k = kit_new(&as_policy_hpa, HUNDREDS "target = \"50%\";");
    assert_int_equal(want(k, 15, 100, 10, 0), 10); /* after a start what runs was asked for */
    kit_free(k);
}

static void hpa_grows_within_its_rates(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_hpa, HUNDREDS);
    assert_int_equal(want(k, 15, 7000, 1, 0), 4);
    assert_int_equal(want(k, 15, 7000, 4, 0), 8);
    kit_free(k);
    k = kit_new(&as_policy_hpa, HUNDREDS "behavior = true;");
    assert_int_equal(want(k, 15, 7000, 1, 0), 5);
    assert_int_equal(want(k, 15, 7000, 5, 0), 10);
    kit_free(k);
    k = kit_new(&as_policy_hpa,
                HUNDREDS "behavior = true; up_limits = ( { value = 4; period = \"60s\"; } );");
    assert_int_equal(want(k, 15, 7000, 10, 0), 14);
    assert_int_equal(want(k, 15, 7000, 14, 0), 14);
    assert_int_equal(want(k, 15, 7000, 10, 0), 14); /* the launches failed: still asked for */
    assert_int_equal(want(k, 15, 7000, 14, 0), 14);
    assert_int_equal(want(k, 15, 7000, 14, 0), 18); /* 60 s after the first change it no longer counts */
    kit_free(k);
    k = kit_new(&as_policy_hpa, HUNDREDS "behavior = true; up_select = \"disabled\";");
    assert_int_equal(want(k, 15, 7000, 10, 0), 10);
    kit_free(k);
    k = kit_new(&as_policy_hpa, HUNDREDS "behavior = true; up_select = \"min\";");
    assert_int_equal(want(k, 15, 7000, 10, 0), 14);
    kit_free(k);
    k = kit_new(&as_policy_hpa, HUNDREDS "behavior = true; down_window = \"0s\"; down_limits = "
                                         "( { type = \"percent\"; value = 50; }, { value = 2; } );");
    assert_int_equal(want(k, 15, 70, 20, 0), 10);
    kit_free(k);
}

/* --- kpa ------------------------------------------------------------------------------------------- */

static int kpa(struct kpa_memory *m, struct kpa_rates r, int second, int ready, double slow, double fast)
{
    const double averages[2] = { slow, fast };
    return kpa_want(m, &r, KIT_NOW + second * AS_SECOND, ready, averages);
}

static void kpa_follows_knative(void **unused)
{
    (void)unused;
    struct kpa_rates r = {
        .target = 70, .up = 1000, .down = 2, .threshold = 2, .stable = 60 * AS_SECOND, .activation = 1
    };
    struct kpa_memory m = { .seen = true };
    assert_int_equal(kpa(&m, r, 0, 5, 300, 800), 12);
    for (int s = 2; s <= 60; s += 2)
        assert_int_equal(kpa(&m, r, s, 5, 300, 100), 12); /* in panic never fewer */
    assert_int_equal(kpa(&m, r, 62, 5, 300, 100), 5);
    m = (struct kpa_memory){ .seen = true };
    r.target = 1;
    assert_int_equal(kpa(&m, r, 0, 9, 1, 1), 4);
    assert_int_equal(kpa(&m, r, 2, 4, 1, 1), 2);
    assert_int_equal(kpa(&m, r, 4, 2, 1, 1), 1);
    r.up = 1.1;
    assert_int_equal(kpa(&m, r, 6, 2, 3, 3), 3);
    m = (struct kpa_memory){ 0 };
    assert_int_equal(kpa(&m, r, 0, 7, 0, 0), 7); /* begins in panic: a restart takes nothing away */
    assert_int_equal(kpa(&m, r, 60, 7, 0, 0), 7);
    assert_int_equal(kpa(&m, r, 62, 7, 0, 0), 3);
    m = (struct kpa_memory){ .seen = true };
    r.activation = 4;
    assert_int_equal(kpa(&m, r, 0, 1, 1, 1), 4);
    assert_int_equal(kpa(&m, r, 2, 1, 0, 0), 0);
}

static void kpa_takes_its_windows_from_the_series(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_kpa, HUNDREDS);
    for (int s = 0; s < 60; s += 2)
        assert_int_equal(want(k, 2, 70, 1, 0), 1);
    assert_int_equal(want(k, 2, 700, 1, 0), 4); /* 6 s: (70 + 70 + 700) / 3 = 280; 280 / 70 = 4 of 1: panic */
    assert_int_equal(want(k, 2, 700, 1, 3), 7); /* 490 */
    assert_int_equal(want(k, 2, 700, 1, 6), 10);
    assert_int_equal(want(k, 2, 0, 10, 0), 10);
    kit_free(k);
}

/* --- AWS ------------------------------------------------------------------------------------------- */

static void aws_target_needs_3_points_to_grow_and_15_to_shrink(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_aws_target, HUNDREDS "target = \"50%\";");
    assert_int_equal(want(k, 10, 300, 4, 0), 4);
    assert_int_equal(want_for(k, 170, 300, 4, 0), 4);
    assert_int_equal(want(k, 10, 300, 4, 0), 6); /* three points of 75 % */
    kit_free(k);
    k = kit_new(&as_policy_aws_target, HUNDREDS "target = \"50%\";");
    assert_int_equal(want(k, 10, 400, 10, 0), 10); /* 40 %, and 45 % is the low threshold */
    assert_int_equal(want_for(k, 15 * 60 - 10, 400, 10, 0), 10);
    assert_int_equal(want(k, 10, 400, 10, 0), 8);
    kit_free(k);
    k = kit_new(&as_policy_aws_target, HUNDREDS "target = \"50%\"; low_factor = \"70%\";");
    assert_int_equal(want_for(k, 30 * 60, 400, 10, 0), 10); /* 35 % is not passed */
    kit_free(k);
    k = kit_new(&as_policy_aws_target, HUNDREDS "target = \"50%\"; scale_in = false;");
    assert_int_equal(want_for(k, 30 * 60, 100, 10, 0), 10);
    kit_free(k);
}

static void aws_target_waits_for_what_warms_up(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_aws_target, HUNDREDS "target = \"50%\";");
    want(k, 10, 300, 4, 0);
    assert_int_equal(want_for(k, 180, 300, 4, 0), 6);
    assert_int_equal(want_for(k, 240, 450, 6, 0), 6);      /* 75 %, but of the four warm ones: no more */
    assert_int_equal(want_for(k, 120, 450, 6, 0), 9);      /* all are warm */
    assert_int_equal(want_for(k, 20 * 60, 100, 9, 1), 10); /* low, but one is on its way */
    kit_free(k);
}

static void aws_target_forgets_its_alarm_when_a_point_is_missing(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_aws_target, HUNDREDS "target = \"50%\";");
    want(k, 10, 300, 4, 0);
    assert_int_equal(want_for(k, 130, 300, 4, 0), 4); /* two points */
    for (int s = 0; s < 120; s += 10) {
        k->view.now += 10 * AS_SECOND;
        struct as_proposal p = kit_look(k);
        assert_true(s < 10 || (p.kind == AS_ABSTAIN && p.blind));
    }
    assert_int_equal(want_for(k, 120, 300, 4, 0), 4);
    assert_int_equal(want_for(k, 90, 300, 4, 0), 6);
    kit_free(k);
    k = kit_new(&as_policy_aws_target, HUNDREDS "target = \"50%\";");
    want(k, 10, 300, 4, 0);
    want_for(k, 120, 300, 4, 0);
    assert_int_equal(want(k, 130, 300, 4, 0), 4); /* nobody looked for two minutes */
    assert_int_equal(want_for(k, 120, 300, 4, 0), 4);
    assert_int_equal(want_for(k, 60, 300, 4, 0), 6);
    kit_free(k);
}

static void aws_step_runs_as_documented(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_aws_step, HUNDREDS "warmup = \"0s\";");
    want(k, 10, 600, 10, 0);
    assert_int_equal(want_for(k, 60, 600, 10, 0), 11);
    assert_int_equal(want_for(k, 60, 770, 11, 0), 14);
    assert_int_equal(want_for(k, 60, 560, 14, 0), 13);
    assert_int_equal(want_for(k, 60, 390, 13, 0), 10);
    assert_int_equal(want_for(k, 60, 550, 10, 0), 10);
    assert_int_equal(want_for(k, 60, 600, 10, 1), 11); /* on its way: not ordered twice */
    assert_int_equal(want_for(k, 60, 750, 10, 1), 13);
    kit_free(k);
    k = kit_new(&as_policy_aws_step, HUNDREDS);
    want(k, 10, 600, 10, 0);
    assert_int_equal(want_for(k, 60, 600, 10, 0), 11);
    assert_int_equal(want_for(k, 60, 660, 11, 0), 11); /* one still warms up */
    assert_int_equal(want_for(k, 60, 300, 11, 0), 11); /* so nothing goes */
    assert_int_equal(want_for(k, 300, 330, 11, 0), 8);
    kit_free(k);
    kit_refused(&as_policy_aws_step, HUNDREDS "steps = ( { from = -5.0; to = 5.0; change = \"0\"; } );",
                "target");
}

/* --- GCE and Azure ----------------------------------------------------------------------------------- */

static void gce_keeps_the_peak_of_ten_minutes(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_gce, HUNDREDS "target = \"100%\";");
    assert_int_equal(want(k, 10, 7000, 70, 0), 70);
    assert_int_equal(want_for(k, 600, 1000, 70, 0), 70);
    assert_int_equal(want(k, 10, 1000, 70, 0), 10);
    assert_int_equal(want(k, 10, 1000, 9, 0), 10);
    assert_int_equal(want(k, 10, 900, 9, 0), 9); /* the peak was more, but those that serve are not over */
    assert_int_equal(want(k, 10, 2500, 9, 0), 25);
    kit_free(k);
    k = kit_new(&as_policy_gce, HUNDREDS "target = \"100%\"; mode = \"only_scale_out\";");
    assert_int_equal(want_for(k, 1200, 1000, 70, 0), 70);
    assert_int_equal(want(k, 10, 8000, 70, 0), 80);
    kit_free(k);
}

static void gce_scale_in_control_leaves_the_documented_floor(void **unused)
{
    (void)unused;
    struct kit *k =
        kit_new(&as_policy_gce, HUNDREDS "target = \"100%\"; control_window = \"30m\"; control_count = 20;");
    assert_int_equal(want(k, 10, 7000, 70, 0), 70);
    assert_int_equal(want_for(k, 900, 1000, 70, 0), 50); /* all 20 may go in one step */
    assert_int_equal(want_for(k, 300, 1000, 65, 0), 50); /* 15 of 65 */
    assert_int_equal(want_for(k, 590, 1000, 50, 0), 50);
    assert_int_equal(want_for(k, 20, 1000, 50, 0), 10);
    kit_free(k);
    kit_refused(&as_policy_gce, HUNDREDS "control_count = 3;", "control_window");
}

static void azure_estimates_before_it_shrinks(void **unused)
{
    (void)unused;
    assert_int_equal(azure_flap_test(60, 3, 2, 80), 3);    /* 90 */
    assert_int_equal(azure_flap_test(50, 3, 2, 80), 2);    /* 75 */
    assert_int_equal(azure_flap_test(65, 30, 27, 70), 28); /* 72.2, then 69.6 */
    assert_int_equal(azure_flap_test(1, 1, 0, 80), 1);
    assert_int_equal(azure_flap_test(0, 1, 0, 80), 0);
}

static void azure_acts_by_its_rules_and_cools_down(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_azure, HUNDREDS "target = \"80%\"; low = \"61%\"; grains = 1;");
    want(k, 10, 180, 3, 0);
    assert_int_equal(want_for(k, 60, 180, 3, 0), 3);
    assert_int_equal(want_for(k, 60, 150, 3, 0), 2);
    assert_int_equal(want_for(k, 240, 190, 2, 0), 2); /* 95 %, but cooling down */
    assert_int_equal(want_for(k, 60, 190, 2, 0), 3);
    kit_free(k);
    k = kit_new(&as_policy_azure,
                HUNDREDS "target = \"70%\"; low = \"66%\"; grains = 10; in_change = \"-3\";");
    want(k, 10, 1950, 30, 0);
    assert_int_equal(want_for(k, 60, 1950, 30, 0), 28);
    kit_free(k);
    kit_refused(&as_policy_azure, HUNDREDS "in_change = \"+1\";", "does not shrink");
    kit_refused(&as_policy_azure, HUNDREDS "low = \"80%\";", "below target");
}

/* --- the literature ---------------------------------------------------------------------------------- */

static void react_follows_its_thresholds(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_react, COMMON);
    assert_int_equal(want(k, 2, 100, 4, 0), 11); /* 4 + floor(1.2 * 6) */
    assert_int_equal(want(k, 2, 100, 4, 5), 10); /* 9 + floor(1.2) */
    assert_int_equal(want(k, 2, 50, 10, 0), 6);
    assert_int_equal(want(k, 2, 55, 6, 0), 6); /* 6.05 */
    assert_int_equal(want(k, 2, 50, 4, 1), 5);
    assert_int_equal(want(k, 2, 0, 4, 0), 0);
    kit_free(k);
}

static void reg_fits_a_parabola(void **unused)
{
    (void)unused;
    double x[60], y[60];
    for (int i = 0; i < 60; i++) {
        x[i] = 28000000 + i; /* minutes of the epoch: the fit must not lose its digits */
        y[i] = 2.0 * i * i - 3.0 * i + 1;
    }
    assert_true(fabs(reg_parabola(x, y, 10, 28000012) - 253) < 1e-6);
    assert_true(fabs(reg_parabola(x, y, 60, 28000059) - y[59]) < 1e-6);
    assert_true(fabs(reg_parabola(x, y, 2, 28000002) - -1) < 1e-9); /* two points: a line */
    assert_true(fabs(reg_parabola(x, y, 1, 28000002) - 1) < 1e-9);
    const double plain[3] = { 0, 1, 2 }, bent[4] = { 1, 0, 1, 2 }, at[4] = { 0, 1, 2, 3 };
    assert_true(fabs(reg_parabola(plain, plain, 3, 5) - 5) < 1e-9);
    assert_true(fabs(reg_parabola(at, bent, 4, 3) - 2.1) < 1e-9); /* 0.9 - 1.1 x + 0.5 x^2 */
}

static void reg_shrinks_by_regression_and_grows_by_load(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_reg, COMMON);
    assert_int_equal(want(k, 60, 50, 10, 0), 6); /* 1.2 * 5 */
    assert_int_equal(want(k, 60, 50, 6, 0), 6);
    assert_int_equal(want(k, 30, 500, 6, 0), 6);  /* within the step */
    assert_int_equal(want(k, 30, 100, 5, 0), 11); /* ceil(10.5) */
    assert_int_equal(want(k, 60, 54, 5, 0), 5);   /* 5.4, but by 4 requests only */
    kit_free(k);
}

static void hist_takes_the_percentile_and_its_error(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_hist, COMMON);
    assert_int_equal(want(k, 60, 50, 10, 0), 10); /* nothing known of the hour */
    for (int i = 0; i < 3; i++)
        assert_int_equal(want(k, 60, 50, 5, 0), 5);
    assert_int_equal(want(k, 60, 50, 5, 0), 4); /* errors 5 0 0 0 0: 5 - 1 */
    assert_int_equal(want(k, 60, 50, 4, 0), 6); /* 0 0 0 0 -1: 5 + 0.2 */
    k->view.now_wall += AS_HOUR;
    assert_int_equal(want(k, 60, 50, 9, 0), 9); /* a new hour: 9 - (0 0 0 -1 4) / 5 = 8.4 */
    kit_free(k);
    k = kit_new(&as_policy_hist, COMMON);
    assert_int_equal(want(k, 60, 100, 2, 0), 2);
    for (int i = 0; i < 3; i++)
        assert_int_equal(want(k, 60, 100, 2, 0), 10);
    assert_int_equal(want(k, 60, 100, 2, 0), 18);
    assert_int_equal(want(k, 60, 100, 2, 0), 11); /* short for the sixth time: 1.05 * 10 */
    assert_int_equal(want(k, 60, 100, 2, 0), 18);
    kit_free(k);
    k = kit_new(&as_policy_hist, COMMON);
    for (int i = 0; i < 4; i++)
        want(k, 60, 50, 20, 0);
    assert_int_equal(want(k, 60, 50, 20, 0), 2); /* 5 - 15 is below 0: 5 - 15 / 5 */
    kit_free(k);
}

static void hist_keeps_the_percentile_of_the_last_730(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_hist, COMMON "period = \"1s\";");
    for (int i = 0; i < 800; i++)
        want(k, 1, 10 * (1 + i % 100), 1 + i % 100, 0);
    assert_int_equal(want(k, 1, 10, 1, 0), 91); /* of 1..100 evenly but for the rest of 730 */
    kit_free(k);
}

static void adapt_grows_at_once_and_shrinks_by_a_quarter(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_adapt, COMMON);
    assert_int_equal(want(k, 60, 100, 4, 0), 11);
    kit_free(k);
    k = kit_new(&as_policy_adapt, COMMON);
    for (int t = 0; t < 5; t++)
        assert_int_equal(want(k, 60, 50, 10, 0), 10);
    assert_int_equal(want(k, 60, 50, 10, 0), 9); /* R = 10/10.2 * -5 / 4 = -1.225 */
    assert_int_equal(want(k, 60, 50, 9, 0), 8);  /* r = -0.225 - 0.9 */
    assert_int_equal(want(k, 60, 50, 8, 0), 8);  /* r = -0.125 - 0.618: not a whole one */
    kit_free(k);
}

static void conpaas_forecasters_meet_what_is_known(void **unused)
{
    (void)unused;
    double y[CONPAAS_WINDOW], f[CONPAAS_AHEAD];
    for (int i = 0; i < CONPAAS_WINDOW; i++)
        y[i] = 10 + 3 * i;
    conpaas_line(y, CONPAAS_WINDOW, f, CONPAAS_AHEAD);
    for (int h = 0; h < CONPAAS_AHEAD; h++)
        assert_true(fabs(f[h] - (10 + 3 * (21 + h))) < 1e-9);
    for (int i = 0; i < CONPAAS_WINDOW; i++)
        y[i] = 100 + 10 * sin(i * 1.3);
    conpaas_autoregression(y, CONPAAS_WINDOW, f, CONPAAS_AHEAD);
    for (int h = 0; h < 3; h++)
        assert_true(fabs(f[h] - (100 + 10 * sin((21 + h) * 1.3))) < 1.5);
    for (int h = 0; h < CONPAAS_AHEAD; h++)
        assert_true(f[h] > 80 && f[h] < 120); /* never runs away */
    double seasonal[2] = { 0 };
    struct conpaas_season season = { .seasonal = seasonal, .length = 2 };
    conpaas_season_add(&season, 10);
    conpaas_season_add(&season, 20); /* level 12, trend 0.2, its season 0.4 */
    conpaas_season_forecast(&season, f, 2);
    assert_true(fabs(f[0] - 12.2) < 1e-9 && fabs(f[1] - 12.8) < 1e-9);
    const double some[3] = { 1, 2, -1 };
    assert_true(fabs(conpaas_weigh(some, 3) - 5.0 / 3) < 1e-9);
}

static void conpaas_takes_the_model_that_was_best(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_conpaas, COMMON);
    for (int i = 0; i < 25; i++)
        assert_int_equal(want(k, 60, 100, 10, 0), 10);
    assert_int_equal(want(k, 60, 5, 10, 0), 1);
    kit_free(k);
    k = kit_new(&as_policy_conpaas, COMMON);
    for (int i = 0; i < 20; i++)
        assert_int_equal(want(k, 60, 100 + 10 * i, 10, 0), 10 + i);
    want(k, 60, 300, 10, 0);
    struct as_proposal p = later(k, 60, 310, 10, 0);
    assert_non_null(strstr(p.reason, "regression"));
    assert_int_equal(p.count, 45); /* 310 + 10 * 2870 / 210 */
    kit_free(k);
}

static void autopilot_keeps_three_days_and_gives_up_slowly(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_autopilot, FULL);
    assert_int_equal(want(k, 300, 100, 4, 0), 8); /* half may be on their way */
    assert_int_equal(want(k, 300, 100, 8, 0), 10);
    assert_int_equal(want(k, 300, 10, 10, 0), 10);
    kit_free(k);
    for (int max = 0; max < 2; max++) {
        k = kit_new(&as_policy_autopilot, max ? FULL
                                              "history = \"100m\"; defer = \"0s\"; statistic = \"max\";"
                                              : FULL "history = \"100m\"; defer = \"0s\";");
        for (int i = 0; i < 20; i++)
            want(k, 300, 100, 10, 0);
        assert_int_equal(want(k, 300, 1000, 50, 0),
                         max ? 100 : 48); /* 19 of 20 points; 10 + 40 * 2^(-1/12) */
        kit_free(k);
    }
    k = kit_new(&as_policy_autopilot, FULL "defer = \"0s\"; history = \"5m\";");
    int size = 20;
    assert_int_equal(want(k, 300, 100, size, 0), 20);
    for (int i = 0; i < 12; i++)
        size = want(k, 300, 100, size, 0);
    assert_in_range(size, 14, 15); /* half of the ten too many after an hour */
    kit_free(k);
    k = kit_new(&as_policy_autopilot, FULL "defer = \"1h\"; halving = \"0s\"; history = \"5m\";");
    assert_int_equal(want(k, 300, 100, 10, 0), 10);
    for (int i = 0; i < 12; i++)
        assert_int_equal(want(k, 300, 20, 10, 0), 10);
    assert_int_equal(want(k, 300, 20, 10, 0), 6); /* the first period held 100 and 20: 60 */
    assert_int_equal(want(k, 300, 20, 10, 0), 2);
    kit_free(k);
}

static void static_wants_its_count(void **unused)
{
    (void)unused;
    struct kit *k = kit_new(&as_policy_static, "count = 7;");
    assert_int_equal(want(k, 2, 1000, 1, 0), 7);
    k->view.now += AS_HOUR;
    struct as_proposal p = kit_look(k);
    assert_int_equal(p.kind, AS_WANT);
    assert_false(p.blind);
    kit_free(k);
}

/* --- what holds for all ------------------------------------------------------------------------------ */

static const struct as_policy_type *const all[] = {
    &as_policy_hpa,   &as_policy_kpa,   &as_policy_aws_target, &as_policy_aws_step,
    &as_policy_gce,   &as_policy_azure, &as_policy_autopilot,  &as_policy_react,
    &as_policy_adapt, &as_policy_hist,  &as_policy_reg,        &as_policy_conpaas,
};
#define ALL (sizeof all / sizeof *all)

static uint32_t draw(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* Two of a kind fed alike agree at every tick, whatever comes: bursts, no load, lost instances, partial and lost
 * data, ticks of 1 to 60 seconds, restarts of the group from 0. */
static void same_past_gives_same_proposal_and_lost_data_none(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < ALL; i++) {
        struct kit *a = kit_new(all[i], COMMON), *b = kit_new(all[i], COMMON);
        uint32_t seed = 7;
        int size = 5;
        for (int t = 0; t < 1500; t++) {
            bool lost = draw(&seed) % 20 == 0, partial = draw(&seed) % 10 == 0;
            double load = draw(&seed) % 8 == 0 ? 0 : draw(&seed) % (t % 300 < 20 ? 3000 : 300);
            as_time dt = (lost ? 60 : 1 + draw(&seed) % (t % 100 < 50 ? 10 : 60)) * AS_SECOND;
            int serving = (int)(draw(&seed) % (uint32_t)(size + 1));
            struct kit *const both[2] = { a, b };
            struct as_proposal p[2];
            for (int n = 0; n < 2; n++) {
                both[n]->view.now += dt;
                both[n]->view.now_wall += dt;
                if (!lost)
                    series_push(both[n]->series, both[n]->view.now, load, partial);
                kit_size(both[n], serving, size - serving);
                p[n] = kit_look(both[n]);
            }
            assert_memory_equal(&p[0], &p[1], sizeof p[0]);
            if (lost && (p[0].kind != AS_ABSTAIN || !p[0].blind))
                fail_msg("%s proposes from lost data", all[i]->name);
            if (!lost && p[0].kind != AS_WANT)
                fail_msg("%s: %s", all[i]->name, p[0].reason);
            if (p[0].count < 0 || p[0].count > 1000000)
                fail_msg("%s wants %d", all[i]->name, p[0].count);
            if (!lost && partial && p[0].count < size)
                fail_msg("%s shrinks on partial data", all[i]->name);
            size = lost ? size : p[0].count < 1 ? 1 : p[0].count > 100 ? 100 : p[0].count;
        }
        kit_free(a);
        kit_free(b);
    }
}

static void never_measured_is_no_proposal(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < ALL; i++) {
        struct kit *k = kit_new(all[i], COMMON);
        kit_size(k, 3, 0);
        struct as_proposal p = kit_look(k);
        assert_int_equal(p.kind, AS_ABSTAIN);
        assert_true(p.blind);
        k->inputs[0] = NULL;
        p = kit_look(k);
        assert_int_equal(p.kind, AS_ABSTAIN);
        kit_free(k);
        assert_true(all[i]->damps_itself);
    }
}

/* A steady load must end in a size that carries it and is not absurd, from either side. */
static void steady_load_ends_in_a_size_that_carries_it(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < ALL; i++)
        for (int from = 1; from <= 60; from += 59) {
            struct kit *k = kit_new(all[i], FULL);
            int size = from;
            for (int t = 0; t < 4000; t++) {
                int n = want(k, 60, 195, size, 0);
                size = n < 1 ? 1 : n > 100 ? 100 : n;
            }
            int most =
                all[i] == &as_policy_azure ? 65 : 29; /* azure rests anywhere from 30 % up to its target */
            if (size < 18 || size > most) /* 19.5 are needed; hpa and aws_step rest at 10 % more */
                fail_msg("%s: from %d to %d for a load of 19.5 instances", all[i]->name, from, size);
            kit_free(k);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hpa_replicas_are_those_of_kubernetes),
        cmocka_unit_test(hpa_percentages_lose_what_doubles_lose),
        cmocka_unit_test(hpa_averages_over_pods_and_counts_starting_ones_as_idle),
        cmocka_unit_test(hpa_shrinks_to_the_highest_of_the_window),
        cmocka_unit_test(hpa_grows_within_its_rates),
        cmocka_unit_test(kpa_follows_knative),
        cmocka_unit_test(kpa_takes_its_windows_from_the_series),
        cmocka_unit_test(aws_target_needs_3_points_to_grow_and_15_to_shrink),
        cmocka_unit_test(aws_target_waits_for_what_warms_up),
        cmocka_unit_test(aws_target_forgets_its_alarm_when_a_point_is_missing),
        cmocka_unit_test(aws_step_runs_as_documented),
        cmocka_unit_test(gce_keeps_the_peak_of_ten_minutes),
        cmocka_unit_test(gce_scale_in_control_leaves_the_documented_floor),
        cmocka_unit_test(azure_estimates_before_it_shrinks),
        cmocka_unit_test(azure_acts_by_its_rules_and_cools_down),
        cmocka_unit_test(react_follows_its_thresholds),
        cmocka_unit_test(reg_fits_a_parabola),
        cmocka_unit_test(reg_shrinks_by_regression_and_grows_by_load),
        cmocka_unit_test(hist_takes_the_percentile_and_its_error),
        cmocka_unit_test(hist_keeps_the_percentile_of_the_last_730),
        cmocka_unit_test(adapt_grows_at_once_and_shrinks_by_a_quarter),
        cmocka_unit_test(conpaas_forecasters_meet_what_is_known),
        cmocka_unit_test(conpaas_takes_the_model_that_was_best),
        cmocka_unit_test(autopilot_keeps_three_days_and_gives_up_slowly),
        cmocka_unit_test(static_wants_its_count),
        cmocka_unit_test(same_past_gives_same_proposal_and_lost_data_none),
        cmocka_unit_test(never_measured_is_no_proposal),
        cmocka_unit_test(steady_load_ends_in_a_size_that_carries_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
