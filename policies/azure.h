/* The flap test of Azure autoscale, apart from its rules. */
#ifndef POLICIES_AZURE_H
#define POLICIES_AZURE_H

/* The first count from `goal` up, below `current`, at which the metric (a mean per instance, now `value`) is estimated
 * to stay at or below `limit`; `current` when there is none. */
int azure_flap_test(double value, int current, int goal, double limit);

#endif
