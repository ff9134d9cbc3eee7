/* forecast: a floor from what the season says of the load one lead time ahead. It never asks for fewer, and it speaks
 * only while such forecasts were better than persistence: a season that breaks is let go within the hour. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "season.h"

#define BIN_LEAST   AS_SECOND /* a compressed day has no shorter bins */
#define KEEP_LEAD   0.75      /* a lead that shrinks less than to this is kept: each change is learnt anew */
#define SHARE_LEAST 0.5       /* what is mostly persistence is for the other policies to say */

struct minutes { /* the recorded past, until the first look tells the clock */
    int64_t *walls;
    double *means;
    size_t count;
};

struct forecast {
    struct policy_metric metric;
    double per_instance, headroom;
    as_time lead, day; /* lead 0: as measured */
    bool advise;
    struct tz *tz;
    struct season_rules rules; /* bin 0 before the first look */
    struct season season;
    struct minutes past;
    int64_t bin; /* the present one, its samples so far */
    double sum, samples;
};

static const char *const modes[] = { "act", "advise", NULL };

static const struct as_option options[] = {
    { .name = "metric",
      .type = AS_OPT_METRIC,
      .flags = AS_OPT_REQUIRED,
      .help = "the load of the whole group, best as requests per second that arrive" },
    { .name = "per_instance",
      .type = AS_OPT_NUMBER,
      .flags = AS_OPT_REQUIRED,
      .min = 1e-9,
      .max = 1e15,
      .help = "what one instance carries of it" },
    { .name = "quantile",
      .type = AS_OPT_PERCENT,
      .def = "90%",
      .min = 0.5,
      .max = 0.999,
      .help = "the floor carries the load that is not passed with this probability" },
    { .name = "headroom",
      .type = AS_OPT_PERCENT,
      .def = "0%",
      .max = 0.9,
      .help = "share of per_instance that is not planned with" },
    { .name = "lead",
      .type = AS_OPT_DURATION,
      .min = 1000,
      .max = 43200000,
      .help = "how far ahead; not given: the measured time from decision to serving" },
    { .name = "timezone",
      .type = AS_OPT_STRING,
      .def = "UTC",
      .help = "IANA name of the zone by whose clock the visitors live, as \"Europe/Berlin\"" },
    { .name = "day",
      .type = AS_OPT_DURATION,
      .def = "1d",
      .min = 60000,
      .max = 86400000,
      .help = "the season's length; shorter only where time is compressed, in simulations" },
    { .name = "mode",
      .type = AS_OPT_CHOICE,
      .def = "act",
      .choices = modes,
      .help = "advise: shown, never acted upon" },
    { 0 },
};

static void drop_past(struct minutes *m)
{
    free(m->walls);
    free(m->means);
    *m = (struct minutes){ 0 };
}

static void forecast_fini(void *state)
{
    struct forecast *f = state;
    season_fini(&f->season);
    drop_past(&f->past);
    tz_free(f->tz);
    f->tz = NULL;
}

static int read_zone(struct forecast *f, const struct as_settings *s, struct as_error *err)
{
    const char *name = as_settings_str(s, "timezone");
    struct as_error why;
    if (f->day == AS_DAY)
        return tz_load(name, &f->tz, &why) ? as_settings_fail(s, "timezone", err, "%s", why.msg) : AS_OK;
    return strcmp(name, "UTC") == 0
               ? AS_OK
               : as_settings_fail(s, "timezone", err, "needs a day of 1d: no clock shows a compressed one");
}

static int forecast_init(void *state, const struct as_settings *s, struct as_error *err)
{
    struct forecast *f = state;
    f->metric = (struct policy_metric){ .name = as_settings_str(s, "metric"), .aggregate = AS_LAST };
    f->per_instance = as_settings_num(s, "per_instance");
    f->headroom = as_settings_num(s, "headroom");
    f->lead = as_settings_ms(s, "lead");
    f->day = as_settings_ms(s, "day");
    f->advise = strcmp(as_settings_str(s, "mode"), "advise") == 0;
    f->rules.quantile = as_settings_num(s, "quantile");
    int rc = read_zone(f, s, err);
    if (rc == AS_OK)
        rc = season_init(&f->season, err);
    if (rc != AS_OK)
        forecast_fini(f);
    return rc;
}

/* --- the clock and the past -------------------------------------------------------------------------------- */

static void forecast_learn(void *state, size_t input, const int64_t *walls, const double *means, size_t count)
{
    struct forecast *f = state;
    const size_t most = SEASON_DAYS * SEASON_BINS_MOST, skip = count > most ? count - most : 0;
    if (input != 0 || count == 0 || f->past.walls)
        return;
    f->past.walls = malloc((count - skip) * sizeof *walls);
    f->past.means = malloc((count - skip) * sizeof *means);
    if (!f->past.walls || !f->past.means) { /* without the past it starts as on the first day */
        drop_past(&f->past);
        return;
    }
    f->past.count = count - skip;
    memcpy(f->past.walls, walls + skip, f->past.count * sizeof *walls);
    memcpy(f->past.means, means + skip, f->past.count * sizeof *means);
}

static void recall(struct forecast *f)
{
    const struct minutes *m = &f->past;
    for (size_t k = 0; k < m->count;) {
        int64_t bin = m->walls[k] / f->rules.bin;
        double sum = 0, n = 0;
        for (; k < m->count && m->walls[k] / f->rules.bin == bin; k++, n++)
            sum += m->means[k];
        if (bin < f->bin)
            season_recall(&f->season, bin, sum / n);
    }
    drop_past(&f->past);
    season_relive(&f->season);
}

/* A bin is the 1440th part of a day, or the interval where that is longer. */
static void keep_clock(struct forecast *f, const struct as_view *view)
{
    as_time least = view->interval > BIN_LEAST ? view->interval : BIN_LEAST;
    as_time bin = f->day / SEASON_BINS_MOST;
    bin = bin > least ? bin : f->day / (f->day / least);
    if (bin == f->rules.bin)
        return;
    f->rules.bin = bin;
    f->rules.day = f->day;
    f->rules.tz = f->tz;
    f->bin = view->now_wall / bin;
    f->sum = f->samples = 0;
    season_clock(&f->season, &f->rules);
    recall(f);
}

static void keep_lead(struct forecast *f, const struct as_view *view, as_time age)
{
    as_time ahead = (f->lead ? f->lead : view->lead) + age + view->interval;
    int64_t bins =
        (ahead + f->rules.bin - 1) / f->rules.bin + 1; /* until the end of the bin in which they serve */
    if (bins > f->season.lead || (double)bins < KEEP_LEAD * (double)f->season.lead)
        season_lead(&f->season, bins);
}

/* Bins that are over go to the season; what nobody measured is a gap. */
static void keep_time(struct forecast *f, const struct as_view *view)
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

/* --- decision ---------------------------------------------------------------------------------------------- */

/* Of all that was said for the time until the lead is over: what is needed on the way is not let go. */
static const struct season_said *highest(const struct forecast *f)
{
    const struct season_said *best = NULL;
    for (int64_t bin = f->bin; bin <= f->bin + f->season.lead; bin++) {
        const struct season_said *said = season_for(&f->season, bin);
        if (said && said->share >= SHARE_LEAST && (!best || said->upper > best->upper))
            best = said;
    }
    return best;
}

static struct policy_text rounded(double x)
{
    return policy_num(fabs(x) < 10 ? x : rint(x * 10) / 10);
}

static void propose(const struct forecast *f, const struct season_said *said, struct as_proposal *out)
{
    const struct season *s = &f->season;
    char in[24];
    as_time ahead = (said->due - f->bin) * s->bin;
    const char *when = ahead > 0 ? as_time_text(ahead, in, sizeof in) : "";
    out->kind = AS_FLOOR;
    out->count = policy_ceil(said->upper / (f->per_instance * (1 - f->headroom)));
    policy_reason(out, "%s %s %s%s, P%s %s (season %s%%, error %s of persistence's): at least %d",
                  f->metric.name, rounded(said->point).s, ahead > 0 ? "in " : "now", when,
                  policy_num(100 * s->quantile).s, rounded(said->upper).s,
                  policy_num(rint(100 * said->share)).s, policy_num(s->score / s->score_persists).s,
                  out->count);
}

static void say_why_not(const struct forecast *f, struct as_proposal *out)
{
    const struct season *s = &f->season;
    char history[24], judged[24];
    if (!season_is_learnt(s))
        policy_reason(
            out, "learning: %s of %s known, forecasts of %s judged; the season needs a day and 6 hours more",
            as_time_text(season_history(s) * s->bin, history, sizeof history), f->metric.name,
            as_time_text((as_time)s->count * s->bin, judged, sizeof judged));
    else if (!s->open)
        policy_reason(
            out,
            "gate closed: forecasts of %s err %s times as much as persistence, %s in the last hour; below "
            "0.97 it opens",
            f->metric.name, policy_num(s->score / s->score_persists).s,
            policy_num(s->lately / s->lately_persists).s);
    else
        policy_reason(out, "no forecast: %s was not measured in the last 5 minutes", f->metric.name);
}

static void forecast_decide(void *state, const struct as_view *view, struct as_proposal *out)
{
    struct forecast *f = state;
    struct as_reading r;
    bool measured = policy_metric_read(&f->metric, view, &r, out);
    keep_clock(f, view);
    keep_time(f, view);
    if (measured && !r.partial) {
        f->sum += fmax(0, r.value);
        f->samples++;
    }
    if (measured)
        keep_lead(f, view, r.age);
    const struct season_said *said = f->season.open ? highest(f) : NULL;
    out->advice = f->advise;
    if (said) /* also while the metric is silent: what was said of this time still holds */
        propose(f, said, out);
    else if (measured)
        say_why_not(f, out);
}

const struct as_policy_type as_policy_forecast = {
    .name = "forecast",
    .summary = "a floor from the season: the load one lead time ahead, while it beats persistence",
    .options = options,
    .state_size = sizeof(struct forecast),
    .damps_itself = true,
    .init = forecast_init,
    .decide = forecast_decide,
    .learn = forecast_learn,
    .fini = forecast_fini,
};
