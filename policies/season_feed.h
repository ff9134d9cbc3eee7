/* What stands between a policy and its season: ticks become bins, the recorded past becomes history, the clock may jump. */
#ifndef POLICIES_SEASON_FEED_H
#define POLICIES_SEASON_FEED_H

#include "autoscale/policy.h"
#include "season.h"

struct season_feed {
    struct season season;      /* as of the newest bin that is over; its `bin` is 0 before the first tick */
    struct season_rules rules;
    struct tz *tz;
    int64_t *walls;            /* the recorded past, until the first tick tells the clock                */
    double *means;
    size_t count;
    int64_t bin;               /* the present one, and its samples so far                                */
    double sum, samples;
};

/* Takes day and quantile of the rules. A day that is no calendar day has no zone, whatever its name. AS_EINVAL: no such
 * zone. Leaves nothing behind on failure. */
int season_feed_init(struct season_feed *f, const struct season_rules *rules, const char *zone, struct as_error *err);
void season_feed_fini(struct season_feed *f);
/* As as_policy_type.learn; copies. */
void season_feed_learn(struct season_feed *f, const int64_t *walls, const double *means, size_t count);
/* Once per tick, with the load now; NAN: not measured, or not all of it. */
void season_feed_tick(struct season_feed *f, const struct as_view *view, double load);

#endif
