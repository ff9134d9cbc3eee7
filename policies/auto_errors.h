/* The distribution of forecast errors, learnt from what was said one lead time ago, and the newsvendor's choice: as many
 * units as make the sum of their cost and of the risk of having too few least. Pure. */
#ifndef POLICIES_AUTO_ERRORS_H
#define POLICIES_AUTO_ERRORS_H

#include "autoscale/time.h"

#define ERRORS_BINS 220

struct errors {
    double fast, slow;          /* rolling means of |error| / sqrt(forecast + 1/4)                       */
    double bin[ERRORS_BINS];    /* weight of error / scale; of no fixed unit                             */
    double all, next;           /* of all bins; the weight of the next sample                            */
};

/* Knows nothing yet: a Laplace distribution that is worth 20 samples. */
void errors_init(struct errors *d);
/* Scale of the error of a forecast made now. */
double errors_scale(const struct errors *d, double forecast);
/* The error of a forecast that was `forecast` when it was made, with the scale of then. */
void errors_learn(struct errors *d, as_time tick, double error, double forecast, double scale);
/* P(error / scale > r). */
double errors_beyond(const struct errors *d, double r);

struct newsvendor {
    double base, scale;         /* the need is base + scale * r, r from the distribution                 */
    double price;               /* units that a certain miss is worth                                    */
    double carries;             /* of the need, by one unit                                              */
    int min, max;
    int sure;                   /* units that serve; each one beyond them fails to come with probability */
    double fails;
};
/* The n in [min, max] that makes n + price * P(need > what comes of n * carries) least, among those with P <= 1/2; max when
 * there is none: a large need must not make it cheapest to give up. */
int errors_choose(const struct errors *d, const struct newsvendor *n);

#endif
