/* Yardsticks of a replay: the load without anybody who decides, and supplies that are given. Must never look at what a
 * contestant did. */
#include <stdlib.h>

#include "load.h"
#include "replay_parts.h"

int replay_results(struct replay *out)
{
    size_t steps = out->steps + 1;
    out->load = calloc(steps, sizeof(double));
    out->demand = calloc(steps, sizeof(double));
    out->demand70 = calloc(steps, sizeof(double));
    out->needed = calloc(steps, sizeof(double));
    out->supply = calloc(steps, sizeof(double));
    out->footprint = calloc(steps, sizeof(double));
    return out->load && out->demand && out->demand70 && out->needed && out->supply && out->footprint
               ? AS_OK
               : AS_ENOMEM;
}

void replay_fini(struct replay *r)
{
    free(r->load);
    free(r->demand);
    free(r->demand70);
    free(r->needed);
    free(r->supply);
    free(r->footprint);
    *r = (struct replay){ 0 };
}

void replay_note(struct replay *out, const struct load_step *l)
{
    out->load[out->count] = l->rate;
    out->demand[out->count] = l->demand;
    out->demand70[out->count] = l->demand70;
    out->needed[out->count] = l->needed;
}

size_t replay_steps(const struct replay_params *p, double step_s)
{
    return (size_t)((double)p->trace->count * p->trace->step_s / p->speed / step_s);
}

/* --- the oracle ------------------------------------------------------------------------------------------- */

struct reach { /* of a sliding window around a step; scratch: as long as the series */
    size_t back, ahead, *scratch;
};

/* The highest or lowest of a window around each step. Each index enters and leaves the window once. */
static void extreme(const double *a, double *out, size_t count, struct reach reach, bool highest)
{
    size_t from = 0, to = 0, next = 0, *window = reach.scratch;
    for (size_t i = 0; i < count; i++) {
        for (; next < count && next <= i + reach.ahead; next++) {
            while (to > from && (highest ? a[window[to - 1]] <= a[next] : a[window[to - 1]] >= a[next]))
                to--;
            window[to++] = next;
        }
        while (window[from] + reach.back < i)
            from++;
        out[i] = a[window[from]];
    }
}

double *replay_oracle(const double *demand, size_t count, double step_s, double boot_s)
{
    /* A boot costs as much as keeping an instance for so long: shorter gaps of the demand are bridged, and an
     * instance serves from the very step that needs it. That is the closing of the demand: highest of the steps
     * ahead, then lowest of those behind. */
    double *supply = malloc((count ? count : 1) * sizeof *supply),
           *high = malloc((count ? count : 1) * sizeof *high);
    size_t *scratch = malloc((count ? count : 1) * sizeof *scratch);
    size_t span = (size_t)(boot_s / step_s);
    if (supply && high && scratch) {
        extreme(demand, high, count, (struct reach){ .ahead = span, .scratch = scratch }, true);
        extreme(high, supply, count, (struct reach){ .back = span, .scratch = scratch }, false);
    } else {
        free(supply);
        supply = NULL;
    }
    free(high);
    free(scratch);
    return supply;
}

/* --- given supplies --------------------------------------------------------------------------------------- */

static void one_step(struct replay *out, const struct load_step *l, double supply, double boot_s)
{
    size_t i = out->count, every = out->steps / REPLAY_SAMPLES + 1;
    double grown = i ? supply - out->supply[i - 1] : 0;
    struct tier_step s;
    tier_run(&out->tier, l->arrived, (int)supply, out->step_s, i % every == 0, &s);
    out->supply[i] = out->footprint[i] = supply;
    out->instance_hours += supply * out->step_s / 3600 + (grown > 0 ? grown * boot_s / 3600 : 0);
    out->outs += grown > 0;
    out->ins += grown < 0;
}

int replay_given(const struct replay_params *p, struct replay_frame f, const double *supply,
                 struct replay *out, struct as_error *err)
{
    size_t steps = replay_steps(p, f.step_s);
    struct load load;
    *out = (struct replay){ .step_s = f.step_s, .steps = steps };
    if (load_init(&load, p, f.min, f.max) != AS_OK || replay_results(out) != AS_OK) {
        load_fini(&load);
        replay_fini(out);
        return as_fail(err, AS_ENOMEM, "out of memory");
    }
    tier_init(&out->tier, &p->tier);
    for (; out->count < steps; out->count++) {
        struct load_step l = load_step(&load, ((double)out->count + 0.5) * f.step_s, f.step_s);
        replay_note(out, &l);
        if (supply)
            one_step(out, &l, supply[out->count], p->boot_s);
    }
    load_fini(&load);
    return AS_OK;
}
