/* Queueing theory for a tier of workers behind one queue. Pure arithmetic: must never need a factorial, nor divide by
 * what may be nothing. */
#include <math.h>

#include "autoscale/queueing.h"

#define MUT_MOST 600 /* beyond it exp(-mu t) is next to nothing, and its factor may be infinite */

static double erlang_c_from(double b, double load, int workers)
{
    return load >= workers ? 1 : b / (1 - load / workers * (1 - b));
}

double as_erlang_c(double load, int workers)
{
    double b = 1;
    if (load >= workers)
        return 1;
    for (int n = 1; n <= workers; n++)
        b = load * b / (n + load * b);
    return erlang_c_from(b, load, workers);
}

double as_response_tail(double wait, double theta, double mu, double t)
{
    double d = theta - mu;
    if (t <= 0)
        return 1;
    if (mu * t > MUT_MOST)
        return theta < mu ? wait * mu / (mu - theta) * exp(-theta * t) : 0;
    double g = fabs(d * t) < 1e-12 ? t : -expm1(-d * t) / d;
    double tail = exp(-mu * t) * (1 + wait * mu * g);
    return tail > 1 ? 1 : tail;
}

/* Allen-Cunneen: a wait that happens lasts `variability` times as long. */
static double tail_from(const struct as_queue *q, int workers, double wait, enum as_queue_time of, double t)
{
    double mu = 1 / q->service, theta = (workers * mu - q->rate) / q->variability;
    if (theta <= 0)
        return 1;
    return of == AS_QUEUE_WAIT ? t < 0 ? 1 : wait * exp(-theta * t) : as_response_tail(wait, theta, mu, t);
}

double as_queue_tail(const struct as_queue *q, int workers, enum as_queue_time of, double t)
{
    return tail_from(q, workers, as_erlang_c(q->rate * q->service, workers), of, t);
}

int as_queue_feasible(const struct as_queue *q, enum as_queue_time of, double t, double miss)
{
    return of == AS_QUEUE_WAIT || exp(-t / q->service) <= miss;
}

int as_queue_workers(const struct as_queue *q, enum as_queue_time of, double t, double miss, int most)
{
    double load = q->rate * q->service, b = 1;
    if (load <= 0)
        return 0;
    if (load >= most || !as_queue_feasible(q, of, t, miss))
        return -1;
    for (int n = 1; n <= most; n++) {
        b = load * b / (n + load * b);
        if (n > load && tail_from(q, n, erlang_c_from(b, load, n), of, t) <= miss)
            return n;
    }
    return -1;
}
