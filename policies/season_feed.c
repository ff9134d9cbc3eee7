/* Feeds a season. Must never make a bin of what was not measured. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "season_feed.h"

#define BIN_LEAST AS_SECOND /* a compressed day has no shorter bins */

static void drop_past(struct season_feed *f)
{
    free(f->walls);
    free(f->means);
    f->walls = NULL;
    f->means = NULL;
    f->count = 0;
}

void season_feed_fini(struct season_feed *f)
{
    season_fini(&f->season);
    drop_past(f);
    tz_free(f->tz);
    f->tz = NULL;
}

int season_feed_init(struct season_feed *f, const struct season_rules *rules, const char *zone,
                     struct as_error *err)
{
    *f = (struct season_feed){ .rules = *rules };
    int rc = rules->day == AS_DAY ? tz_load(zone, &f->tz, err) : AS_OK;
    if (rc == AS_OK)
        rc = season_init(&f->season, err);
    if (rc != AS_OK)
        season_feed_fini(f);
    return rc;
}

/* --- the past ---------------------------------------------------------------------------------------------- */

void season_feed_learn(struct season_feed *f, const int64_t *walls, const double *means, size_t count)
{
    const size_t most = SEASON_DAYS * SEASON_BINS_MOST, skip = count > most ? count - most : 0;
    if (count == 0 || f->walls)
        return;
    f->walls = malloc((count - skip) * sizeof *walls);
    f->means = malloc((count - skip) * sizeof *means);
    if (!f->walls || !f->means) { /* without the past it starts as on the first day */
        drop_past(f);
        return;
    }
    f->count = count - skip;
    memcpy(f->walls, walls + skip, f->count * sizeof *walls);
    memcpy(f->means, means + skip, f->count * sizeof *means);
}

static void recall(struct season_feed *f)
{
    for (size_t k = 0; k < f->count;) {
        int64_t bin = f->walls[k] / f->rules.bin;
        double sum = 0, n = 0;
        for (; k < f->count && f->walls[k] / f->rules.bin == bin; k++, n++)
            sum += f->means[k];
        if (bin < f->bin)
            season_recall(&f->season, bin, sum / n);
    }
    drop_past(f);
}

/* --- the clock --------------------------------------------------------------------------------------------- */

/* A bin is the 1440th part of a day, or the interval where that is longer. */
static void keep_clock(struct season_feed *f, const struct as_view *view)
{
    as_time day = f->rules.day, bin = day / SEASON_BINS_MOST;
    as_time least = view->interval > BIN_LEAST ? view->interval : BIN_LEAST;
    if (bin < least)
        bin = day / (day / least > 2 ? day / least : 2);
    if (bin == f->rules.bin)
        return;
    f->rules.bin = bin;
    f->rules.tz = f->tz;
    f->bin = view->now_wall / bin;
    f->sum = f->samples = 0;
    season_clock(&f->season, &f->rules);
    recall(f);
}

/* Bins that are over go to the season; what nobody measured is a gap. */
static void keep_time(struct season_feed *f, const struct as_view *view)
{
    int64_t now = view->now_wall / f->rules.bin;
    if (now > f->bin) {
        season_push(&f->season, f->bin, f->samples > 0 ? f->sum / f->samples : NAN);
        if (now - 1 > f->bin)
            season_push(&f->season, now - 1, NAN);
    }
    if (now != f->bin)
        f->sum = f->samples = 0;
    f->bin = now;
}

void season_feed_tick(struct season_feed *f, const struct as_view *view, double load)
{
    keep_clock(f, view);
    keep_time(f, view);
    if (isnan(load))
        return;
    f->sum += fmax(0, load);
    f->samples++;
}
