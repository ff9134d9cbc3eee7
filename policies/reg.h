/* The regression of Reg. */
#ifndef POLICIES_REG_H
#define POLICIES_REG_H

#include "baseline.h"

#define REG_POINTS 60

/* The least-squares parabola through the n points, at `at`. The order of the points does not matter. */
double reg_parabola(const double *x, const double *y, size_t n, double at);

#endif
