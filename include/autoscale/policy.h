/* A policy looks at a view and proposes a count. It is pure: no clock, no file, no log; its only
 * memory is its state. The same table serves the daemon, `plan`, `simulate` and the tests. */
#ifndef AUTOSCALE_POLICY_H
#define AUTOSCALE_POLICY_H

#include "autoscale/series.h"
#include "autoscale/settings.h"

#define AS_REASON_MAX 192

struct as_view {             /* everything a policy may know, borrowed for the call                */
    as_time now;             /* monotonic ms                                                       */
    int64_t now_wall;        /* ms since the epoch: for schedules only                             */
    as_time interval;        /* of the control loop                                                */
    as_time lead;            /* of a new instance: measured P95 from decision to serving, or the   */
                             /*   configured guess                                                 */
    as_time boot;            /* the same of those whose first launch did not fail; 0: not known    */
    double fails;            /* share of launches that fail, and show it only about when they would */
                             /*   have served: 0 … 1                                               */
    as_time unpark_lead;     /* of a parked one                                                    */
    int parked;              /* so many can come back that fast, beside those of `current`         */
    int min, max;            /* the group's own bounds                                             */
    int current;             /* instances serving or on their way (what a proposal is compared to) */
    int serving;             /* instances that take traffic                                        */
    int pending;             /* on their way: current - serving                                    */
    const struct as_series *const *inputs; /* one per AS_OPT_METRIC option, in table order;        */
                             /*   NULL for an option not given                                     */
    size_t input_count;
};

/* How long it takes until `count` instances serve. */
static inline as_time as_view_lead(const struct as_view *v, int count)
{
    return v->parked > 0 && count <= v->current + v->parked ? v->unpark_lead : v->lead;
}

enum as_proposal_kind {
    AS_ABSTAIN,              /* cannot say: `reason` tells why. Lost data also sets `blind`        */
    AS_WANT,                 /* wants `count` instances                                            */
    AS_FLOOR,                /* at least `count`, whatever the load: raises the minimum            */
    AS_CEILING,              /* at most `count`: lowers the maximum, never triggers anything       */
};

struct as_proposal {
    enum as_proposal_kind kind;
    int count;               /* >= 0; the host applies min and max                                 */
    bool blind;              /* some input was missing, stale or partial: scaling in is forbidden  */
    bool advice;             /* shown, never acted upon                                            */
    char reason[AS_REASON_MAX]; /* with the numbers: "184 sessions / 40 per instance = 4.6"        */
};

struct as_policy_type {
    const char *name, *summary;
    const struct as_option *options;
    size_t state_size;       /* the host gives init() so many zeroed bytes                         */
    bool damps_itself;       /* has windows of its own: the group's stabilisation and flap test are */
                             /*   left out when every policy that wants a count is such             */

    /* Validates the settings; keeps what decide needs. The settings outlive the state. */
    int (*init)(void *state, const struct as_settings *settings, struct as_error *err);
    /* Fills *out, which arrives zeroed (AS_ABSTAIN). Called once per tick, time never goes back. */
    void (*decide)(void *state, const struct as_view *view, struct as_proposal *out);
    /* Would `count` instances carry the load of this view without asking at once for more? Must not
     * change the state. NULL: always. Used to refuse a scale-in that would bounce. */
    bool (*sustains)(const void *state, const struct as_view *view, int count);
    /* The recorded past of input number `input`, by the minute, oldest first, given once before the first
     * decide: `walls` are the starts of the minutes (ms since the epoch), `means` their mean values. Gaps are
     * left out. NULL: the policy does not learn from the past. */
    void (*learn)(void *state, size_t input, const int64_t *walls, const double *means, size_t count);
    void (*fini)(void *state); /* frees what init allocated; NULL when nothing                     */
};

#endif
