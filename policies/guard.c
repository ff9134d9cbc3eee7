/* The collapse guard: traffic that falls far below what it just was, or far below what its season lets expect, while
 * errors rise or servers are missing, is an outage and not a trough. Those who got errors come back all at once, so the
 * size held before is kept as a floor through the storm. May only raise the floor; must never hold for good a size that
 * nobody needs. */
#include <math.h>
#include <stdio.h>

#include "common.h"
#include "season_feed.h"

#define INPUT_ERRORS 1
#define ERRORS_RISE  2    /* times their usual rate */
#define ERRORS_LEAST 0.01 /* of the usual traffic, when the user names no number */
#define MISSING                                                                                              \
    0.75 /* so few of the serving ones are left, and others are on their way: servers are missing */
#define HISTORY       0.2     /* of the window must have been seen before a fall is judged */
#define SAID_BEFORE   AS_HOUR /* an outage shall not be in the forecast that it is judged by */
#define BAND          0.02    /* of the loads are below the forecast's lower band */
#define EARLY_OR_LATE 5       /* minutes that a trough of every day may be */
#define SHARE_LEAST   0.5     /* of the forecast must be the season's */

enum mood { CALM, DOUBT, OUTAGE };

struct guard {
    const char *metric, *errors; /* errors NULL: not measured */
    double fall, errors_from;    /* errors_from 0: ERRORS_LEAST of the traffic */
    as_time window, doubt, hold;

    enum mood mood;
    as_time since;              /* DOUBT: the fall */
    as_time until;              /* OUTAGE: the floor holds */
    as_time first, last;        /* sample learned from; first 0: none */
    double usual, usual_errors; /* means that fade over the window, of calm times only */
    bool zero_seen;             /* this source gives exact zeros */
    const char *evidence;
    int held;           /* size to keep */
    as_time sizes_from; /* the largest sizes and numbers serving of this and the last stretch of calm */
    int size[2], serving[2];
    struct season_feed feed;
    bool seasonal; /* feed is there */
    bool accepted; /* this load is far below its season, and no errors followed */
};

static const struct as_option options[] = {
    { .name = "metric",
      .type = AS_OPT_METRIC,
      .flags = AS_OPT_REQUIRED,
      .help = "the traffic of the whole group, best as requests per second that arrive" },
    { .name = "errors",
      .type = AS_OPT_METRIC,
      .help = "errors per second; their rise beside a fall of the traffic is an outage" },
    { .name = "errors_from",
      .type = AS_OPT_NUMBER,
      .min = 0,
      .max = 1e15,
      .help = "fewer errors than this are none; not given: 1% of the usual traffic" },
    { .name = "window",
      .type = AS_OPT_DURATION,
      .def = "15m",
      .min = 60000,
      .max = 86400000,
      .help = "the usual traffic is its mean over about this time" },
    { .name = "fall",
      .type = AS_OPT_PERCENT,
      .def = "50%",
      .min = 0.01,
      .max = 0.95,
      .help = "traffic below this part of the usual has collapsed" },
    { .name = "doubt",
      .type = AS_OPT_DURATION,
      .def = "2m",
      .max = 3600000,
      .help = "the size is kept so long to see whether errors follow a fall; a fall that none follow is a "
              "trough" },
    { .name = "season",
      .type = AS_OPT_BOOL,
      .def = "true",
      .help =
          "the usual traffic is what its daily and weekly season lets expect, as soon as that is learnt and "
          "better than the mean; false: always the mean over window" },
    { .name = "timezone",
      .type = AS_OPT_STRING,
      .def = "UTC",
      .help = "IANA name of the zone by whose clock the visitors live, as \"Europe/Berlin\"" },
    { .name = "hold",
      .type = AS_OPT_DURATION,
      .def = "15m",
      .min = 1000,
      .max = 86400000,
      .help = "the size is kept so long after the last sign of the outage, through the storm of retries" },
    { 0 },
};

static int guard_init(void *state, const struct as_settings *settings, struct as_error *err)
{
    struct guard *g = state;
    g->metric = as_settings_str(settings, "metric");
    g->errors = as_settings_str(settings, "errors");
    g->errors_from = as_settings_num(settings, "errors_from");
    if (!g->errors && as_settings_has(settings, "errors_from"))
        return as_settings_fail(settings, "errors_from", err, "needs errors: the metric it is for");
    g->window = as_settings_ms(settings, "window");
    g->fall = as_settings_num(settings, "fall");
    g->doubt = as_settings_ms(settings, "doubt");
    g->hold = as_settings_ms(settings, "hold");
    g->seasonal = as_settings_bool(settings, "season");
    struct as_error why;
    int rc = AS_OK;
    if (g->seasonal)
        rc = season_feed_init(&g->feed, &(struct season_rules){ .day = AS_DAY, .quantile = BAND },
                              as_settings_str(settings, "timezone"), &why);
    return rc == AS_ENOMEM ? as_fail(err, AS_ENOMEM, "%s", why.msg)
           : rc            ? as_settings_fail(settings, "timezone", err, "%s", why.msg)
                           : AS_OK;
}

static void guard_fini(void *state)
{
    struct guard *g = state;
    season_feed_fini(&g->feed);
}

static void guard_learn(void *state, size_t input, const int64_t *walls, const double *means, size_t count)
{
    struct guard *g = state;
    if (input == 0 && g->seasonal)
        season_feed_learn(&g->feed, walls, means, count);
}

/* --- calm: what is usual -------------------------------------------------------------------------- */

static int largest(const int pair[2])
{
    return pair[0] > pair[1] ? pair[0] : pair[1];
}

/* The size just before: servers may be gone, and the count with them, a moment before the traffic shows it. */
static void note_size(struct guard *g, const struct as_view *view)
{
    as_time stretch = g->doubt > AS_MINUTE ? g->doubt : AS_MINUTE;
    if (view->now - g->sizes_from >= stretch) {
        g->size[1] = g->size[0];
        g->serving[1] = g->serving[0];
        g->size[0] = g->serving[0] = 0;
        g->sizes_from = view->now;
    }
    if (view->current > g->size[0])
        g->size[0] = view->current;
    if (view->serving > g->serving[0])
        g->serving[0] = view->serving;
}

static void learn_usual(struct guard *g, as_time at, double value, double errors)
{
    if (g->first == 0) {
        g->first = at;
        g->usual = value;
        g->usual_errors = errors;
    } else if (at > g->last) {
        as_time age = at - g->first; /* a plain mean until the window has passed */
        double share = -expm1(-(double)(at - g->last) / (double)(age < g->window ? age : g->window));
        g->usual += share * (value - g->usual);
        g->usual_errors += share * (errors - g->usual_errors);
    }
    g->last = at;
    if (value <= 0)
        g->zero_seen = true;
}

/* What is there now is what is usual from now on. */
static void begin_anew(struct guard *g, as_time at, double value, double errors)
{
    g->mood = CALM;
    g->first = 0;
    learn_usual(g, at, value, errors);
}

/* --- suspicion ------------------------------------------------------------------------------------ */

/* The least that the season let expect of these minutes, before they came: a trough may be early or late. By what was
 * trusted then, as an outage is what makes a forecast look bad. NULL: it cannot say, or not well enough. */
static const struct season_said *expected(const struct guard *g)
{
    const struct season *s = &g->feed.season;
    const struct season_said *least = NULL;
    for (int64_t k = -EARLY_OR_LATE; k <= EARLY_OR_LATE && g->seasonal; k++) {
        const struct season_said *said = season_for(s, g->feed.bin + k);
        if (said && said->open && said->share >= SHARE_LEAST && (!least || said->point < least->point))
            least = said;
    }
    return least;
}

/* Below what was usual just before; in calm times what the season expects goes before, so that neither a steep trough
 * of every day is a fall, nor an outage that comes slowly none. */
static bool has_fallen(struct guard *g, double value)
{
    const struct season_said *said = g->mood == CALM ? expected(g) : NULL;
    if (said) {
        double low = fmin(g->fall * said->point, said->bound);
        g->accepted = g->accepted && value < low;
        if (!g->accepted) {
            g->usual = value < low ? said->point : g->usual;
            return value < low;
        }
    }
    bool known = g->first && (double)(g->last - g->first) >= HISTORY * (double)g->window;
    return known && value < g->fall * g->usual;
}

static const char *find_evidence(const struct guard *g, const struct as_view *view, double value,
                                 double errors)
{
    int before = largest(g->serving);
    double least = g->errors_from > 0 ? g->errors_from : ERRORS_LEAST * g->usual;
    if (g->errors && errors > 0 && errors >= least && errors > ERRORS_RISE * g->usual_errors)
        return "with errors rising";
    if (before > 0 && (view->serving == 0 || (view->pending > 0 && view->serving <= MISSING * before)))
        return "with servers missing";
    if (value <= 0 && !g->zero_seen)
        return "to an exact 0, which this source never gave";
    return NULL;
}

/* The mood after this sample. Evidence counts from its last sign, except for a zero: that is one sign, however often
 * it is repeated, or a shop that closes would never shrink. */
static void judge(struct guard *g, const struct as_view *view, as_time at, double value, double errors)
{
    bool fallen = has_fallen(g, value);
    const char *evidence = fallen ? find_evidence(g, view, value, errors) : NULL;
    if (g->mood == CALM && !fallen) {
        note_size(g, view);
        learn_usual(g, at, value, errors);
        return;
    }
    if (g->mood == CALM) {
        g->mood = DOUBT;
        g->since = view->now;
        g->held = largest(g->size);
    }
    if (evidence) {
        g->mood = OUTAGE;
        g->until = view->now + g->hold;
        g->evidence = evidence;
    }
    if (value <= 0)
        g->zero_seen = true;
    if (g->mood == DOUBT && !fallen)
        g->mood = CALM;
    else if (g->mood == DOUBT && view->now - g->since >= g->doubt) {
        begin_anew(g, at, value, errors);
        g->accepted = true;
    } else if (g->mood == OUTAGE && view->now >= g->until && fallen)
        begin_anew(g, at, value, errors);
    else if (g->mood == OUTAGE && view->now >= g->until)
        g->mood = CALM;
}

/* --- decision ------------------------------------------------------------------------------------- */

static void tell(const struct guard *g, const struct as_view *view, double value, struct as_proposal *out)
{
    char span[24];
    struct policy_text now = policy_num(value), usual = policy_num(g->usual);
    out->kind =
        AS_FLOOR; /* in calm times of 0, which raises nothing: this policy has no say in what the load asks for */
    out->count = g->mood == CALM ? 0 : g->held;
    const struct season_said *said = expected(g);
    if (g->mood == CALM)
        policy_words(out, "calm: ", g->metric, " ", now.s, said ? ", forecast " : ", usual ",
                     said ? policy_num(rint(said->point * 10) / 10).s : usual.s, NULL);
    else if (g->mood == DOUBT)
        policy_reason(out, "%s fell from %s to %s: keeping %d to see whether errors follow, %s more",
                      g->metric, usual.s, now.s, g->held,
                      as_time_text(g->since + g->doubt - view->now, span, sizeof span));
    else
        policy_reason(out,
                      "outage, not a trough: %s fell from %s %s, now %s: keeping %d for the retries, %s more",
                      g->metric, usual.s, g->evidence, now.s, g->held,
                      as_time_text(g->until - view->now, span, sizeof span));
}

static void guard_decide(void *state, const struct as_view *view, struct as_proposal *out)
{
    struct guard *g = state;
    struct as_reading r = policy_input(view, 0, AS_LAST, 0, 0);
    struct as_reading e = policy_input(view, INPUT_ERRORS, AS_LAST, 0, 0);
    char span[24];
    bool whole = r.fresh == AS_FRESH && !r.partial;
    if (g->seasonal) {
        season_feed_tick(&g->feed, view, whole ? r.value : NAN);
        season_lead(&g->feed.season, SAID_BEFORE / g->feed.season.bin);
    }
    if (!whole && g->mood != CALM && view->now >= (g->mood == OUTAGE ? g->until : g->since + g->doubt))
        g->mood = CALM; /* not on what was measured once, for good */
    if (whole) {
        judge(g, view, view->now - r.age, r.value, e.fresh == AS_FRESH ? e.value : 0);
        tell(g, view, r.value, out);
        out->blind = g->errors && e.fresh != AS_FRESH;
        return;
    }
    out->blind = true;
    if (g->mood != CALM) {
        tell(g, view, r.value, out);
    } else if (r.fresh == AS_NEVER) {
        policy_reason(out, "no data: %s has not been measured yet", g->metric);
    } else {
        policy_reason(out, "no whole data: %s was last %s, %s ago", g->metric, policy_num(r.value).s,
                      as_time_text(r.age, span, sizeof span));
    }
}

const struct as_policy_type as_policy_guard = {
    .name = "collapse",
    .summary =
        "a guard: a collapse of the traffic beside errors is an outage, through which the size is kept",
    .options = options,
    .state_size = sizeof(struct guard),
    .init = guard_init,
    .decide = guard_decide,
    .learn = guard_learn,
    .fini = guard_fini,
};
