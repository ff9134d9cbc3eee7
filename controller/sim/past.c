/* The past of a replay: what the trace holds before its beginning, shown to the policies that learn as the journal of a
 * daemon would that had been there. Must never show what is yet to come. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"
#include "replay_parts.h"

#define TIMES 6 /* the load is looked at so often in a minute */

static bool is_load(const struct policy_input *in)
{
    static const char *const names[] = { "request_rate", "load", "served_rate" };
    bool plain = in->metric_count == 1 && !in->own && in->bound[0];
    for (size_t k = 0; plain && k < sizeof names / sizeof *names; k++)
        if (strcmp(in->bound[0]->name, names[k]) == 0)
            return true;
    return false;
}

static void teach(struct policy_run *run, const int64_t *walls, const double *means, size_t count)
{
    for (size_t n = 0; run->cfg->type->learn && n < run->input_count; n++)
        if (is_load(&run->sources[n]))
            run->cfg->type->learn(run->state, n, walls, means, count);
}

int past_teach(struct group *g, const struct replay_params *p, int64_t wall, as_time retention)
{
    double seconds = fmin((double)p->trace->before * p->trace->step_s / p->speed, (double)retention / 1000);
    size_t count = (size_t)(seconds / 60);
    int64_t begun = wall - wall % AS_MINUTE;
    if (p->cold || count == 0)
        return AS_OK;
    int64_t *walls = malloc(count * sizeof *walls);
    double *means = calloc(count, sizeof *means);
    for (size_t k = 0; walls && means && k < count; k++) {
        walls[k] = begun - (int64_t)(count - k) * AS_MINUTE;
        for (int i = 0; i < TIMES; i++)
            means[k] += load_rate(p, (double)(walls[k] - wall) / 1000 + (i + 0.5) * 60 / TIMES) / TIMES;
    }
    for (size_t k = 0; walls && means && k < g->policy_count; k++)
        teach(&g->policies[k], walls, means, count);
    int rc = walls && means ? AS_OK : AS_ENOMEM;
    free(walls);
    free(means);
    return rc;
}
