/* Queueing theory for a tier of workers behind one queue (M/M/c, with a correction for variability). Pure arithmetic,
 * shared by the policies that size a tier and by the simulator that plays one. Times in seconds, rates per second.
 *
 * Sources: Erlang B by recursion and Erlang C from it; the response tail of M/M/c in the form that stays stable where
 * its two rates are equal; Allen-Cunneen for arrivals and services that are not exponential. */
#ifndef AUTOSCALE_QUEUEING_H
#define AUTOSCALE_QUEUEING_H

struct as_queue {
    double rate;             /* requests that arrive                                               */
    double service;          /* seconds a worker spends on one, > 0                                */
    double variability;      /* (Ca^2 + Cs^2) / 2; 1 is M/M/c                                      */
};

enum as_queue_time { AS_QUEUE_WAIT, AS_QUEUE_RESPONSE }; /* before a worker begins; until it is done */

/* P(wait > 0) of offered load `load` = rate * service: Erlang C; 1 when load >= workers. O(workers). */
double as_erlang_c(double load, int workers);

/* P(response > t): service at rate mu, before it with probability `wait` an exponential wait of rate theta. */
double as_response_tail(double wait, double theta, double mu, double t);

/* P(time > t) with so many workers; 1 when they cannot carry the load. */
double as_queue_tail(const struct as_queue *q, int workers, enum as_queue_time of, double t);
/* The least number of workers with P(time > t) <= miss; 0 for no load, -1 when none up to `most` will do. */
int as_queue_workers(const struct as_queue *q, enum as_queue_time of, double t, double miss, int most);
/* Whether any number of workers would: a response is never shorter than its service. */
int as_queue_feasible(const struct as_queue *q, enum as_queue_time of, double t, double miss);

#endif
