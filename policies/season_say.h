/* Inside of the season model: what its two halves share. season.c keeps the past and the verdicts, season_say.c makes
 * the forecasts. */
#ifndef POLICIES_SEASON_SAY_H
#define POLICIES_SEASON_SAY_H

#include <math.h>

#include "season.h"

/* Where a bin is kept; -1: forgotten, or yet to come. A forecast looks at a thousand of them. */
static inline int64_t season_place(const struct season *s, int64_t bin)
{
    int64_t age = s->newest - bin, at = s->head - age;
    return age < 0 || age >= s->capacity || bin < s->first ? -1 : at < 0 ? at + s->capacity : at;
}

/* Load of a bin as measured; NAN: a gap, or not kept. */
static inline double season_load(const struct season *s, int64_t bin)
{
    int64_t at = season_place(s, bin);
    return at < 0 ? NAN : (double)s->load[at];
}

static inline bool season_is_odd(const struct season *s, int64_t bin)
{
    int64_t at = season_place(s, bin);
    return at >= 0 && s->odd[at];
}

/* The bin whose wall clock shows the same `days` earlier. */
int64_t season_same_time(const struct season *s, int64_t bin, int days);
/* Median of the last seven days at this bin's time of day; NAN: fewer than three are known. */
double season_usual(const struct season *s, int64_t bin);
/* Fills the experts and the point of a forecast from the newest bin for said->due. False: no load was measured lately,
 * and nothing is said. */
bool season_experts(const struct season *s, struct season_said *said);

#endif
