/* Knative's pod autoscaler as a policy: a slow and a fast window, and panic in which it never shrinks. A
 * reference to compare with: must never be "improved". */
#include <math.h>
#include <stdlib.h>

#include "kpa.h"

struct kpa {
    struct baseline base;
    as_time period, panic, delay, next;
    struct kpa_rates rates;
    struct kpa_memory memory;
    struct baseline_past past;
};

static const struct as_option options[] = {
    BASELINE_OPTIONS("70%"),
    { .name = "period",
      .type = AS_OPT_DURATION,
      .def = "2s",
      .min = 1000,
      .max = 60000,
      .help = "how often it decides" },
    { .name = "stable_window",
      .type = AS_OPT_DURATION,
      .def = "60s",
      .min = 6000,
      .max = 3600000,
      .help = "the slow window" },
    { .name = "panic_window",
      .type = AS_OPT_PERCENT,
      .def = "10%",
      .min = 0.01,
      .max = 1,
      .help = "the fast window, as part of the slow one" },
    { .name = "panic_threshold",
      .type = AS_OPT_PERCENT,
      .def = "200%",
      .min = 1.1,
      .max = 10,
      .help = "panic when the fast window asks for this much of the ready instances" },
    { .name = "up_rate",
      .type = AS_OPT_NUMBER,
      .def = "1000",
      .min = 1.01,
      .max = 1e6,
      .help = "most instances after one decision, as a multiple of the ready ones" },
    { .name = "down_rate",
      .type = AS_OPT_NUMBER,
      .def = "2",
      .min = 1.01,
      .max = 1e6,
      .help = "least instances after one decision: the ready ones divided by this" },
    { .name = "activation_scale",
      .type = AS_OPT_INT,
      .def = "1",
      .min = 1,
      .max = POLICY_COUNT_MAX,
      .help = "at least so many whenever there is any load" },
    { .name = "scale_down_delay",
      .type = AS_OPT_DURATION,
      .def = "0s",
      .max = 3600000,
      .help = "shrinks to the most that was wanted in this time" },
    { 0 },
};

static int kpa_init(void *state, const struct as_settings *settings, struct as_error *err)
{
    struct kpa *k = state;
    baseline_init(&k->base, settings);
    k->period = as_settings_ms(settings, "period");
    k->rates = (struct kpa_rates){ .target = fmax(0.01, k->base.unit),
                                   .up = as_settings_num(settings, "up_rate"),
                                   .down = as_settings_num(settings, "down_rate"),
                                   .threshold = as_settings_num(settings, "panic_threshold"),
                                   .stable = as_settings_ms(settings, "stable_window"),
                                   .activation = (int)as_settings_int(settings, "activation_scale") };
    k->panic = (as_time)((double)k->rates.stable * as_settings_num(settings, "panic_window"));
    k->panic = k->panic < AS_SECOND ? AS_SECOND : k->panic;
    k->delay = as_settings_ms(settings, "scale_down_delay");
    return baseline_past_init(&k->past, k->delay, k->period, err);
}

static void kpa_fini(void *state)
{
    struct kpa *k = state;
    free(k->past.ring);
    k->past.ring = NULL;
}

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

int kpa_want(struct kpa_memory *m, const struct kpa_rates *r, as_time now, int ready,
             const double averages[2])
{
    ready = ready > 1 ? ready : 1;
    if (!m->seen && ready > 1)
        *m = (struct kpa_memory){ .panic = true, .since = now, .most = ready };
    m->seen = true;
    double high = ceil(r->up * ready), low = floor(ready / r->down);
    double stable_raw = ceil(averages[0] / r->target), panic_raw = ceil(averages[1] / r->target);
    double stable = clamp(stable_raw, low, high), panic = clamp(panic_raw, low, high);
    if (r->activation > 1 && stable_raw > 0)
        stable = fmax(stable, r->activation);
    if (r->activation > 1 && panic_raw > 0)
        panic = fmax(panic, r->activation);
    if (panic_raw / ready >= r->threshold) {
        m->panic = true;
        m->since = now;
    } else if (m->panic && m->since + r->stable < now) {
        m->panic = false;
        m->most = 0;
    }
    if (!m->panic)
        return policy_ceil(stable);
    int want = policy_ceil(fmax(stable, panic));
    m->most = want > m->most ? want : m->most;
    return m->most;
}

static double six_digits(double x)
{
    return round(x * 1e6) / 1e6;
}

static void kpa_decide(void *state, const struct as_view *view, struct as_proposal *out)
{
    struct kpa *k = state;
    double averages[2];
    if (!baseline_load(&k->base, view, k->rates.stable, &averages[0], out) ||
        !baseline_load(&k->base, view, k->panic, &averages[1], out))
        return;
    if (!baseline_due(&k->next, view->now, k->period)) {
        baseline_repeat(&k->base, view, out);
        return;
    }
    averages[0] = six_digits(averages[0]);
    averages[1] = six_digits(averages[1]);
    int want = kpa_want(&k->memory, &k->rates, view->now, view->serving, averages);
    if (k->delay > 0) {
        int raw = want;
        want = baseline_past_max(&k->past, view->now - k->delay + 1, raw);
        baseline_past_add(&k->past, view->now, raw);
    }
    policy_words(out, k->base.metric, " ", policy_num(averages[0]).s, " slow, ", policy_num(averages[1]).s,
                 " fast / ", policy_num(k->rates.target).s, " per instance, ",
                 k->memory.panic ? "in panic" : "stable", ": want ", policy_num(want).s, NULL);
    baseline_want(&k->base, view, want, out);
}

const struct as_policy_type as_policy_kpa = {
    .name = "kpa",
    .summary = "baseline: Knative's pod autoscaler with its panic window",
    .options = options,
    .state_size = sizeof(struct kpa),
    .damps_itself = true,
    .init = kpa_init,
    .decide = kpa_decide,
    .fini = kpa_fini,
};
