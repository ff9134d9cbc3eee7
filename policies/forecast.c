/* forecast: a floor from what the season says of the load one lead time ahead. It never asks for fewer, and it speaks
 * only while such forecasts were better than persistence: a season that breaks is let go within the hour. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common.h"
#include "season_feed.h"

#define BIN_LEAST   AS_SECOND /* a compressed day has no shorter bins */
#define KEEP_LEAD   0.75      /* a lead that shrinks less than to this is kept: each change is learnt anew */
#define SHARE_LEAST 0.5       /* what is mostly persistence is for the other policies to say */

struct forecast {
    struct policy_metric metric;
    double per_instance, headroom;
    as_time lead; /* 0: as measured */
    bool advise;
    struct season_feed feed;
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

static void forecast_fini(void *state)
{
    struct forecast *f = state;
    season_feed_fini(&f->feed);
}

static int forecast_init(void *state, const struct as_settings *s, struct as_error *err)
{
    struct forecast *f = state;
    f->metric = (struct policy_metric){ .name = as_settings_str(s, "metric"), .aggregate = AS_LAST };
    f->per_instance = as_settings_num(s, "per_instance");
    f->headroom = as_settings_num(s, "headroom");
    f->lead = as_settings_ms(s, "lead");
    f->advise = strcmp(as_settings_str(s, "mode"), "advise") == 0;
    struct season_rules rules = { .day = as_settings_ms(s, "day"),
                                  .quantile = as_settings_num(s, "quantile") };
    const char *zone = as_settings_str(s, "timezone");
    if (rules.day != AS_DAY && strcmp(zone, "UTC") != 0)
        return as_settings_fail(s, "timezone", err, "needs a day of 1d: no clock shows a compressed one");
    struct as_error why;
    int rc = season_feed_init(&f->feed, &rules, zone, &why);
    return rc == AS_ENOMEM ? as_fail(err, AS_ENOMEM, "%s", why.msg)
           : rc            ? as_settings_fail(s, "timezone", err, "%s", why.msg)
                           : AS_OK;
}

static void forecast_learn(void *state, size_t input, const int64_t *walls, const double *means, size_t count)
{
    struct forecast *f = state;
    if (input == 0)
        season_feed_learn(&f->feed, walls, means, count);
}

static void keep_lead(struct forecast *f, const struct as_view *view, as_time age)
{
    struct season *s = &f->feed.season;
    as_time ahead = (f->lead ? f->lead : view->lead) + age + view->interval;
    int64_t bins = (ahead + s->bin - 1) / s->bin + 1; /* until the end of the bin in which they serve */
    if (bins > s->lead || (double)bins < KEEP_LEAD * (double)s->lead)
        season_lead(s, bins);
}

/* --- decision ---------------------------------------------------------------------------------------------- */

static int count_of(const struct forecast *f, const struct season_said *said)
{
    return policy_ceil(said->bound / (f->per_instance * (1 - f->headroom)));
}

/* What parked instances can serve soon enough when its time comes is not ordered yet. */
static bool can_wait(const struct forecast *f, const struct as_view *view, const struct season_said *said)
{
    as_time soon = as_view_lead(view, count_of(f, said)) + view->interval + f->feed.season.bin;
    return soon < view->lead && (said->due - f->feed.bin) * f->feed.season.bin > soon;
}

/* Of all that was said for the time until the lead is over: what is needed on the way is not let go. */
static const struct season_said *highest(const struct forecast *f, const struct as_view *view)
{
    const struct season_said *best = NULL;
    for (int64_t bin = f->feed.bin; bin <= f->feed.bin + f->feed.season.lead; bin++) {
        const struct season_said *said = season_for(&f->feed.season, bin);
        if (said && said->share >= SHARE_LEAST && !can_wait(f, view, said) &&
            (!best || said->bound > best->bound))
            best = said;
    }
    return best;
}

static struct policy_text rounded(double x)
{
    return policy_num(fabs(x) < 10 ? x : rint(x * 10) / 10);
}

static struct policy_text relative(double mine, double theirs)
{
    return policy_num(theirs > 0 ? mine / theirs : 1);
}

static void propose(const struct forecast *f, const struct season_said *said, struct as_proposal *out)
{
    const struct season *s = &f->feed.season;
    char in[24];
    as_time ahead = (said->due - f->feed.bin) * s->bin;
    const char *when = ahead > 0 ? as_time_text(ahead, in, sizeof in) : "";
    out->kind = AS_FLOOR;
    out->count = count_of(f, said);
    policy_reason(out, "%s %s %s%s, P%s %s (season %s%%, error %s of persistence's): at least %d",
                  f->metric.name, rounded(said->point).s, ahead > 0 ? "in " : "now", when,
                  policy_num(100 * s->quantile).s, rounded(said->bound).s,
                  policy_num(rint(100 * said->share)).s, relative(s->score, s->score_persists).s, out->count);
}

static void say_why_not(const struct forecast *f, struct as_proposal *out)
{
    const struct season *s = &f->feed.season;
    const struct season_said *said = season_for(s, s->newest + s->lead);
    char known[24], judged[24], day[24], part[24];
    if (!season_is_learnt(s))
        policy_reason(out, "learning: %s of %s known, forecasts of %s judged; takes %s, and %s of them",
                      as_time_text(season_history(s) * s->bin, known, sizeof known), f->metric.name,
                      as_time_text((as_time)s->count * s->bin, judged, sizeof judged),
                      as_time_text(s->day, day, sizeof day), as_time_text(s->day / 4, part, sizeof part));
    else if (!s->open)
        policy_reason(
            out,
            "gate closed: forecasts of %s err %s times as much as persistence over a day (opens below "
            "0.97), %s times in the last hour (1.1)",
            f->metric.name, relative(s->score, s->score_persists).s,
            relative(s->lately, s->lately_persists).s);
    else if (said)
        policy_reason(out, "the season says little of %s now (%s%%): left to the other policies",
                      f->metric.name, policy_num(rint(100 * said->share)).s);
    else
        policy_reason(out, "no forecast: %s was not measured in the last 5 minutes", f->metric.name);
}

static void forecast_decide(void *state, const struct as_view *view, struct as_proposal *out)
{
    struct forecast *f = state;
    struct as_reading r;
    bool measured = policy_metric_read(&f->metric, view, &r, out);
    season_feed_tick(&f->feed, view, measured && !r.partial ? r.value : NAN);
    if (measured)
        keep_lead(f, view, r.age);
    const struct season_said *said = f->feed.season.open ? highest(f, view) : NULL;
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
