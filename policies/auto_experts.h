/* The experts of the policies that look ahead: simple forecasts of a load one lead time from now, each judged by
 * what it said one lead time ago, and mixed by that. Loads are in units (what one instance carries); time is
 * counted in ticks of equal length. Pure: the only memory is the structure's own. */
#ifndef POLICIES_AUTO_EXPERTS_H
#define POLICIES_AUTO_EXPERTS_H

#include "autoscale/policy.h"

#define EXPERTS_RING 4096      /* ticks kept one by one                                                 */
#define EXPERTS_LEAD_MOST 2048 /* ticks a forecast reaches at most                                      */
#define EXPERTS_BUCKET (20 * AS_SECOND)
#define EXPERTS_SEASON 30720   /* buckets kept: seven days of 20 s, and two hours                       */

enum expert { EXPERT_LAST, EXPERT_M1, EXPERT_M5, EXPERT_M15, EXPERT_TREND, EXPERT_LTREND, EXPERT_DAY, EXPERT_WEEK, EXPERT_DAY3,
              EXPERT_SEASON, EXPERT_COUNT };

struct said {                  /* one tick's forecasts for the tick `due`                               */
    int64_t made, due;
    double f[EXPERT_COUNT];
    bool has[EXPERT_COUNT];    /* it had the history it needs; else f is that of EXPERT_LAST            */
    double with, without;      /* weighted by loss^-8: all that speak, and all but the season           */
    double mix;                /* the one of them that counts                                           */
    double base;               /* of the way there: max(mix, last)                                      */
    double scale_point, scale_path; /* of the errors, as the caller knew them                           */
};

struct trial {                 /* of the season: rolling means of |error| of the mix with and without it  */
    double with, without, judged;
    bool passed;
};

struct experts {
    as_time tick, day;
    int64_t count;             /* ticks so far; the present one is count - 1                            */
    double *x, *sum;           /* rings: the load of a tick, and of all ticks up to it                  */
    double *season;            /* ring: the load of all ticks up to the end of a bucket                 */
    int64_t per_bucket, buckets; /* ticks of a bucket; buckets that are complete                        */
    double total;
    double expected;           /* the season's forecast for what is said next; NAN: it cannot say. The caller's */
    struct trial trial;
    bool seen;                 /* the present tick was measured, not held over a gap                    */
    struct said *said;         /* ring by due tick                                                      */
    double loss[EXPERT_COUNT], judged; /* rolling means of |error|, and the weight of what they rest on  */
};

/* Rings empty, no tick length yet. AS_ENOMEM leaves nothing behind. */
int experts_init(struct experts *e, struct as_error *err);
void experts_fini(struct experts *e);
/* Starts anew with this tick and length of a day. */
void experts_clock(struct experts *e, as_time tick, as_time day);

/* The next tick's load; `seen` false: held over a gap, nobody is judged by it. Returns what was said for this
 * tick, NULL when nothing was or it cannot be judged. */
const struct said *experts_push(struct experts *e, double x, bool seen);
/* Forecasts `lead` ticks ahead (1 … EXPERTS_LEAD_MOST); count > 0. Kept until due: the caller adds the scales. */
struct said *experts_say(struct experts *e, int64_t lead);

double experts_mean(const struct experts *e, as_time span);   /* of the newest ticks, at least one       */
double experts_highest(const struct experts *e, int64_t ticks); /* of the newest ticks                   */
/* Share of weight that one more tick has in a rolling mean of this half-life. */
double experts_share(as_time tick, as_time half_life);

#endif
