/* A load curve: requests per second over time, straight lines between points, and the exact moment at which each
 * request of it is due. Pure: no clock; time is seconds since the start. */
#ifndef SHOP_CURVE_H
#define SHOP_CURVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CURVE_POINTS_MAX  4096
#define CURVE_RATE_MAX    100000.0
#define CURVE_SECONDS_MAX 86400.0

struct curve_point {
    double at, rate; /* seconds, requests per second */
};
struct curve {
    size_t count;
    struct curve_point points[CURVE_POINTS_MAX];
};
struct curve_cursor { /* where the schedule is; start with zeroes */
    size_t piece;
    double carried;   /* requests due before this piece began */
    uint64_t taken;
};

/* "0s:20,10s:20,15s:200": times rise strictly from 0, an "s" is optional. -1 with a sentence in err. */
int curve_parse(const char *text, struct curve *out, char *err, size_t err_size);
/* A file of "seconds,rate" lines; empty lines, # comments and one header line are skipped. */
int curve_read(const char *path, struct curve *out, char *err, size_t err_size);

double curve_end(const struct curve *c);
double curve_rate(const struct curve *c, double at);
double curve_total(const struct curve *c);

/* The moment the next request is due: when the area under the curve reaches the next whole number. False at the end. */
bool curve_next(const struct curve *c, struct curve_cursor *cursor, double *due);

#endif
