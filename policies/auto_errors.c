/* Error distributions and the newsvendor's choice. Must never answer outside its bounds. */
#include <math.h>

#include "auto_errors.h"
#include "auto_experts.h"

#define FAST_HALF_LIFE  (2 * AS_MINUTE)
#define SLOW_HALF_LIFE  (2 * AS_HOUR)
#define SHAPE_HALF_LIFE (3 * AS_HOUR)
#define PRIOR_WORTH     20.0
#define PRIOR_SCALE     0.1
#define SCALE_LEAST     0.05
#define WEIGHT_MOST     1e200
#define RARE            1e-6 /* so many failures at once that nobody counts on them */
#define LOW             (-6.0) /* bins from here, WIDTH each, up to HIGH; then each is RATIO times as far as the last */
#define WIDTH           0.1
#define EVEN            160
#define HIGH            10.0
#define RATIO           1.08 /* to a thousand: a load that jumps once in a while is calm in between */

static double edge(int k) /* the lower one */
{
    return k <= EVEN ? LOW + k * WIDTH : HIGH * pow(RATIO, k - EVEN);
}

/* Where in the bins an error of r scales lies: the number of the bin, and the part of it. */
static double place(double r)
{
    if (!(r > LOW))
        return 0;
    if (r < HIGH)
        return fmin((r - LOW) / WIDTH, EVEN);
    int k = EVEN + (int)(log(r / HIGH) / log(RATIO));
    if (k >= ERRORS_BINS)
        return ERRORS_BINS;
    double part = (r - edge(k)) / (edge(k + 1) - edge(k));
    return k + fmin(0.999, fmax(0, part)); /* an edge may round to either side */
}

void errors_init(struct errors *d)
{
    *d = (struct errors){ .fast = PRIOR_SCALE, .slow = PRIOR_SCALE, .next = 1 };
    for (int k = 0; k < ERRORS_BINS; k++) {
        double from = edge(k), to = edge(k + 1); /* 0 is an edge: one sign per bin */
        double mass = to <= WIDTH / 2 ? exp(to) - exp(from) : exp(-from) - exp(-to);
        d->bin[k] = PRIOR_WORTH * mass / 2;
        d->all += d->bin[k];
    }
}

static double spread_of(double forecast)
{
    return sqrt(fmax(0, forecast) + 0.25);
}

double errors_scale(const struct errors *d, double forecast)
{
    return fmax(SCALE_LEAST, (d->fast + d->slow) / 2 * spread_of(forecast));
}

/* Instead of fading all bins the newest sample weighs more; now and then all are made small again. */
static void fade(struct errors *d, as_time tick)
{
    d->next *= exp2((double)tick / (double)SHAPE_HALF_LIFE);
    if (d->next < WEIGHT_MOST)
        return;
    for (int k = 0; k < ERRORS_BINS; k++)
        d->bin[k] /= WEIGHT_MOST;
    d->all /= WEIGHT_MOST;
    d->next /= WEIGHT_MOST;
}

void errors_learn(struct errors *d, as_time tick, double error, double forecast, double scale)
{
    double size = fabs(error) / spread_of(forecast);
    d->fast += experts_share(tick, FAST_HALF_LIFE) * (size - d->fast);
    d->slow += experts_share(tick, SLOW_HALF_LIFE) * (size - d->slow);
    fade(d, tick);
    int k = (int)fmin(place(error / scale), ERRORS_BINS - 1);
    d->bin[k] += d->next;
    d->all += d->next;
}

double errors_beyond(const struct errors *d, double r)
{
    double at = place(r), above = 0;
    if (at <= 0)
        return 1;
    if (at >= ERRORS_BINS)
        return 0;
    int first = (int)at;
    for (int k = ERRORS_BINS - 1; k > first; k--)
        above += d->bin[k];
    above += d->bin[first] * (first + 1 - at);
    return above / d->all;
}

/* P(too few) with c units, of which those beyond the sure ones come or fail, each by itself. */
static double risk_of(const struct errors *d, const struct newsvendor *n, int c)
{
    int ordered = c > n->sure ? c - n->sure : 0;
    double risk = 0, left = 1, p = ordered && n->fails > 0 ? pow(1 - n->fails, ordered) : 1;
    for (int failed = 0; left > RARE; failed++) { /* p: that so many fail */
        double part = failed < ordered && p < left ? p : left;
        risk += part * errors_beyond(d, (n->carries * (c - failed) - n->base) / n->scale);
        left -= part;
        p *= (double)(ordered - failed) / (failed + 1) * n->fails / (1 - n->fails);
    }
    return risk;
}

int errors_choose(const struct errors *d, const struct newsvendor *n)
{
    double least = floor((n->base + LOW * n->scale) / n->carries), cost = INFINITY;
    int first = least > n->max ? n->max : least > n->min ? (int)least : n->min, best = n->max;
    for (int c = first; c <= n->max && c < cost; c++) { /* c alone costs that much */
        double risk = risk_of(d, n, c), mine = c + n->price * risk;
        if (risk <= 0.5 && mine < cost) {
            cost = mine;
            best = c;
        }
    }
    return best;
}
