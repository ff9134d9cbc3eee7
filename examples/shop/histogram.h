/* Latencies in a fixed space: quantiles with an error under 1.6 %, whatever the count. Pure. */
#ifndef SHOP_HISTOGRAM_H
#define SHOP_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB     64 /* steps per power of two */
#define HISTOGRAM_POWERS  30 /* up to 2^35 us, over nine hours */
#define HISTOGRAM_BUCKETS (HISTOGRAM_SUB * HISTOGRAM_POWERS)

struct histogram {
    uint64_t count, max_us;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_reset(struct histogram *h);
void histogram_add(struct histogram *h, uint64_t us);
/* The value that the fraction q (0..1) of the samples does not exceed, in milliseconds; 0 when there are none. */
double histogram_quantile_ms(const struct histogram *h, double q);

#endif
