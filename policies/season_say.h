/* Inside of the season model: what its two halves share. season.c keeps the past and the verdicts, season_say.c makes
 * the forecasts. */
#ifndef POLICIES_SEASON_SAY_H
#define POLICIES_SEASON_SAY_H

#include "season.h"

/* Load of a bin as measured; NAN: a gap, forgotten, or yet to come. */
double season_load(const struct season *s, int64_t bin);
bool season_is_odd(const struct season *s, int64_t bin);
/* The bin whose wall clock shows the same `days` earlier. */
int64_t season_same_time(const struct season *s, int64_t bin, int days);
/* Median of the last seven days at this bin's time of day; NAN: fewer than three are known. */
double season_usual(const struct season *s, int64_t bin);
/* Fills the experts and the point of a forecast from the newest bin for said->due. False: no load was measured lately,
 * and nothing is said. */
bool season_experts(const struct season *s, struct season_said *said);

#endif
