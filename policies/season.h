/* A model of a load with a daily and a weekly season: the means of short bins over the last four weeks, forecasts from
 * them beside persistence, a quantile from the errors that such forecasts made, and a score of both. Seasons follow the
 * wall clock of a time zone, so a day of 23 or 25 hours shifts nothing. Pure; memory is fixed when it is made.
 *
 * A bin is numbered by its start: wall clock / length of a bin. Bins that nobody measured are gaps, never zeros.
 * Nothing here knows instances: any metric will do that is not negative. */
#ifndef POLICIES_SEASON_H
#define POLICIES_SEASON_H

#include "autoscale/error.h"
#include "autoscale/time.h"
#include "timezone.h"

#define SEASON_DAYS 29        /* days kept: four weeks, and one for the lead                             */
#define SEASON_BINS_MOST 1440 /* bins of a day; a bin is a minute where a day is a day                    */
#define SEASON_ERRORS 600     /* bins of the histogram of errors                                         */

enum season_expert {          /* the first four are persistence, the others need a past                  */
    SEASON_LAST, SEASON_M5, SEASON_M30,          /* means of the newest 1, 5, 30 bins                    */
    SEASON_LEVEL,                                /* the three, weighted by loss^-8                       */
    SEASON_DAY, SEASON_WEEK,                     /* the newest bin x growth from the same time then      */
    SEASON_LATELY, SEASON_WEEKS,                 /* the same by the median of 7 days, of 4 weeks         */
    SEASON_CALM_DAY, SEASON_CALM_WEEK,           /* all four again, but from the newest 30 bins and      */
    SEASON_CALM_LATELY, SEASON_CALM_WEEKS,       /*   their like then: for loads that are noisy          */
    SEASON_USUAL,                                /* median of the load at that time of the last 7 days   */
    SEASON_EXPERTS };

struct season_said {          /* one forecast, made at the end of bin `made` for bin `due`               */
    int64_t made, due;
    double f[SEASON_EXPERTS];
    bool has[SEASON_EXPERTS]; /* it had the past it needs; else f is that of SEASON_LEVEL                */
    double season;            /* the others, weighted by loss^-8; NAN: none had its past                 */
    double point, share;      /* level + share * (season - level)                                        */
    double bound;             /* `quantile` of the load, by the point's errors                           */
    double persists;          /* the same by persistence and its errors                                  */
    bool open;                /* the season was trusted when this was said                               */
    double soft;              /* added to both sides of an error's ratio, as loads near 0 have no ratio  */
};

struct season_errors {        /* log((load + soft) / (forecast + soft)), newer ones weigh more           */
    double bin[SEASON_ERRORS], all, next;
};

struct season {
    as_time bin, day;
    const struct tz *tz;      /* borrowed; NULL: a day is always as long                                 */
    double quantile;
    int64_t per_day, capacity; /* bins */
    float *load;              /* ring by bin; NAN: a gap                                                 */
    bool *odd;                /* ring: far from usual, as in an outage; not part of a season             */
    int64_t first, newest;    /* bins known of; newest < first: none                                     */
    int64_t head;             /* of the rings: where the newest is                                       */
    bool unlived;             /* there is a past that was only recalled                                  */
    int64_t lead;             /* bins ahead that everything below is for                                 */
    struct season_said *said; /* ring by due bin                                                         */
    int64_t said_most;
    double loss[SEASON_EXPERTS], judged, mean; /* rolling means of |error|; of the load, of a day        */
    double followed, expected; /* sums of (load - level) (season - level) and of the latter squared       */
    struct season_errors errors, persists;
    double score, score_persists;             /* rolling pinball loss, of about a day                    */
    double lately, lately_persists;           /* of about an hour                                        */
    double weight, count;     /* how full the rolling mean is; forecasts judged                          */
    bool open;                /* the season may be trusted                                               */
};

struct season_rules {
    as_time bin, day;         /* 2 to SEASON_BINS_MOST bins a day                                        */
    const struct tz *tz;
    double quantile;
};

/* Memory for any rules; AS_ENOMEM leaves nothing behind. */
int season_init(struct season *s, struct as_error *err);
void season_fini(struct season *s); /* half-built is fine */
/* Begins with an empty past, to look 1 bin ahead. */
void season_clock(struct season *s, const struct season_rules *rules);

/* Bins to look ahead, 1 to half a day at most. A change, or a past that was recalled, forms the verdicts anew from what
 * is kept: as much work as ten thousand forecasts. */
void season_lead(struct season *s, int64_t lead);
/* The mean of a bin that is over; NAN: nobody measured. Bins left out are gaps; one that goes back takes back what came
 * after it, as the clock did. */
void season_push(struct season *s, int64_t bin, double load);
/* The same for the recorded past: nothing is forecast or judged before the next season_lead() or season_push(). */
void season_recall(struct season *s, int64_t bin, double load);

/* What was said for this bin; NULL: nothing was. */
const struct season_said *season_for(const struct season *s, int64_t bin);
/* Bins from the first known one to the newest. */
int64_t season_history(const struct season *s);
/* Whether enough was judged for an opinion, and a forecast for that bin has a season. */
bool season_is_learnt(const struct season *s);

#endif
