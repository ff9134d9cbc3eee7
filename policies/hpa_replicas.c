/* The arithmetic of hpa.h. A reference to compare with: must never be "improved", also where doubles lose. */
#include <math.h>

#include "common.h"
#include "hpa.h"

static double ratio(const struct hpa_pods *p, int64_t usage, int pods)
{
    int64_t value = p->request ? 100 * usage / (p->request * pods) : usage / pods;
    return (double)value / (double)p->target;
}

static bool within(const struct hpa_pods *p, double r)
{
    return 1.0 - p->down <= r && r <= 1.0 + p->up;
}

static int64_t fill_missing(const struct hpa_pods *p)
{
    return p->request ? p->request * (p->target > 100 ? p->target : 100) / 100 : p->target;
}

int hpa_whole(double x)
{
    return x >= POLICY_COUNT_MAX ? POLICY_COUNT_MAX : x > 0 ? (int)x : 0;
}

int hpa_replicas(const struct hpa_pods *p)
{
    double r = ratio(p, p->usage, p->ready);
    bool up = p->unready > 0 && r > 1.0;
    if (!up && p->missing == 0)
        return within(p, r) ? p->current : hpa_whole(ceil(r * p->ready));
    int64_t usage = p->usage;
    int pods = p->ready;
    if (p->missing && r < 1.0)
        usage += fill_missing(p) * p->missing;
    if (p->missing && (r < 1.0 || r > 1.0))
        pods += p->missing;
    if (up)
        pods += p->unready;
    double n = ratio(p, usage, pods);
    if (within(p, n) || (r < 1.0 && n > 1.0) || (r > 1.0 && n < 1.0))
        return p->current;
    int count = hpa_whole(ceil(n * pods));
    if ((n < 1.0 && count > p->current) || (n > 1.0 && count < p->current))
        return p->current;
    return count;
}

int hpa_limit_up(int start, bool percent, int value)
{
    return percent ? hpa_whole(ceil((double)start * (1.0 + (double)value / 100.0)))
                   : policy_clamp((int64_t)start + value);
}

int hpa_limit_down(int start, bool percent, int value)
{
    return percent ? hpa_whole((double)start * (1.0 - (double)value / 100.0))
                   : policy_clamp((int64_t)start - value);
}
