/* The forecasters of ConPaaS. */
#ifndef POLICIES_CONPAAS_H
#define POLICIES_CONPAAS_H

#include "baseline.h"

#define CONPAAS_WINDOW 21
#define CONPAAS_AHEAD  20
#define CONPAAS_ORDER  9

/* Each fills out[0] (one step ahead) and on from n values, oldest first, n > CONPAAS_ORDER. */
void conpaas_autoregression(const double *y, size_t n, double *out, size_t steps);
void conpaas_line(const double *y, size_t n, double *out, size_t steps);

struct conpaas_season { /* additive Holt-Winters; the owner gives and frees `length` zeroes */
    bool begun;
    double level, trend, *seasonal;
    size_t length, at;
};
void conpaas_season_add(struct conpaas_season *p, double y);
void conpaas_season_forecast(const struct conpaas_season *p, double *out, size_t steps);

/* The mean of the forecasts that are not negative, step i with weight i. 0 when all are negative. */
double conpaas_weigh(const double *forecast, size_t steps);

#endif
