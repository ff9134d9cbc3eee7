/* What a unit carries, learnt from the queue: while all are full throughput shows it, and a calm queue close to the limit
 * shows that headroom is not needed. Loads are in units (what one instance is said to carry). Pure. */
#ifndef POLICIES_AUTO_CAPACITY_H
#define POLICIES_AUTO_CAPACITY_H

#include "autoscale/policy.h"

#define CAPACITY_CLASSES 12   /* sizes of a fleet by powers of two: large ones need less headroom         */

struct look {                 /* what one tick measured                                                   */
    double x;                 /* load that came, in units                                                 */
    double served, queue;     /* served in units; waiting requests                                        */
    bool whole, knows_served, knows_queue;
    as_time age;
};

struct capacity {
    double per_instance, headroom; /* as stated: requests/s; share of it to begin with                    */
    double carries;           /* learnt: what a unit carries; 1 as stated                                 */
    double margin[CAPACITY_CLASSES], calm_s[CAPACITY_CLASSES]; /* learnt: share of it to leave free, and the */
                              /*   evidence for less, in seconds                                          */
    bool overrun;             /* more came than was carried, and still waits                              */
    double queue, peak;       /* waiting at the last tick; highest load since saturation began            */
    bool known, saturated;    /* there was a last tick; it ended with all of them full                    */
    int serving, steady;      /* at the last tick, and for how many ticks before it                       */
};

void capacity_init(struct capacity *c, double per_instance, double headroom);
/* The next look will not be compared with the last one. */
void capacity_clock(struct capacity *c);
/* Learns from a tick of this length; returns the load that was offered, in units. */
double capacity_offered(struct capacity *c, as_time tick, const struct look *l, const struct as_view *view);
/* What a unit of a fleet of n is planned with. */
double capacity_planned(const struct capacity *c, int n);

#endif
