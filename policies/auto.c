/* auto: the newsvendor policy, for a user who only says what one instance carries and what a missed minute is worth. It
 * forecasts the load at the moment at which what it asks for now will serve, learns how wrong such forecasts are,
 * and weighs the cost of an instance against the risk of one too few. Must never propose from missing data. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auto_capacity.h"
#include "auto_errors.h"
#include "auto_experts.h"
#include "common.h"
#include "season_feed.h"

#define TICK_LEAST    AS_SECOND
#define CLEAR_BACKLOG 20.0 /* seconds in which a backlog shall be gone                                */
#define PRICE_OUT     30.0 /* a minute of one unit is 1/60 of the price's hour; one that is asked for is paid */
#define PRICE_IN      60.0 /*   for longer than the minute that it is for. One that is kept can go at any tick */
#define LEARN_FROM    (12 * AS_HOUR) /* how much of the recorded past the errors are learnt from            */
#define KEEP_LEAD                                                                                            \
    0.75 /* a lead that shrinks less than to this is kept by the season: each change is learnt anew */
#define FAILS_MOST 0.25 /* a platform where most launches fail is not mended by asking for more */
#define HELD_MOST  EXPERTS_RING

enum { INPUT_LOAD, INPUT_SERVED, INPUT_QUEUE };

struct minutes { /* the recorded past, until the first look tells the clock */
    int64_t *walls;
    double *means;
    size_t count;
};

struct autopilot {
    const char *metric;
    double target, price;
    as_time hold, day;
    bool advise;
    struct experts experts;
    struct season_feed feed; /* of the days and weeks, by the minute: the model of `forecast` */
    struct errors point, path;
    struct minutes past;
    as_time interval, started, tick; /* tick: length; 0 before the first look */
    int64_t ticks;                   /* of this clock so far                  */
    struct capacity capacity;
    int out;          /* choice of the last tick */
    int *ins;         /* ring of the choices for scaling in */
    struct said said; /* at the last tick */
    int64_t lead;     /* ticks, at the last tick */
};

static const char *const modes[] = { "on", "advise", NULL };

static const struct as_option options[] = {
    { .name = "metric",
      .type = AS_OPT_METRIC,
      .flags = AS_OPT_REQUIRED,
      .help = "requests per second that arrive, as source.series or source.object.series" },
    { .name = "served",
      .type = AS_OPT_METRIC,
      .help = "requests per second that are answered: shows what an instance carries when all are full" },
    { .name = "queue", .type = AS_OPT_METRIC, .help = "requests that wait for an instance" },
    { .name = "per_instance",
      .type = AS_OPT_NUMBER,
      .flags = AS_OPT_REQUIRED,
      .min = 1e-9,
      .max = 1e15,
      .help = "requests per second one instance carries within its latency goal" },
    { .name = "headroom",
      .type = AS_OPT_PERCENT,
      .def = "10%",
      .max = 0.9,
      .help = "share of per_instance that is never planned with; less where the queue shows that more is "
              "carried" },
    { .name = "target",
      .type = AS_OPT_PERCENT,
      .min = 0.05,
      .max = 1,
      .help = "utilisation that the expected load shall not pass, on top of all else" },
    { .name = "price",
      .type = AS_OPT_NUMBER,
      .def = "1",
      .max = 1e6,
      .help = "instance-hours that one minute beyond the latency goal is worth" },
    { .name = "hold",
      .type = AS_OPT_DURATION,
      .def = "30s",
      .max = 86400000,
      .help = "how long fewer must suffice before any are given back" },
    { .name = "day",
      .type = AS_OPT_DURATION,
      .def = "1d",
      .min = 60000,
      .max = 86400000,
      .help = "the season's length; shorter only where time is compressed, in simulations" },
    { .name = "mode",
      .type = AS_OPT_CHOICE,
      .def = "on",
      .choices = modes,
      .help = "advise: shown, never acted upon" },
    { 0 },
};

static void auto_fini(void *state)
{
    struct autopilot *a = state;
    experts_fini(&a->experts);
    season_feed_fini(&a->feed);
    free(a->ins);
    free(a->past.walls);
    free(a->past.means);
    a->ins = NULL;
    a->past = (struct minutes){ 0 };
}

static int auto_init(void *state, const struct as_settings *s, struct as_error *err)
{
    struct autopilot *a = state;
    a->metric = as_settings_str(s, "metric");
    capacity_init(&a->capacity, as_settings_num(s, "per_instance"), as_settings_num(s, "headroom"));
    a->target = as_settings_has(s, "target") ? as_settings_num(s, "target") : 0;
    a->price = as_settings_num(s, "price");
    a->hold = as_settings_ms(s, "hold");
    a->day = as_settings_ms(s, "day");
    a->advise = strcmp(as_settings_str(s, "mode"), "advise") == 0;
    a->ins = calloc(HELD_MOST, sizeof *a->ins);
    struct season_rules rules = { .day = a->day, .quantile = 0.5 };
    if (season_feed_init(&a->feed, &rules, "UTC", err) != AS_OK || !a->ins ||
        experts_init(&a->experts, err) != AS_OK) {
        auto_fini(a);
        return as_fail(err, AS_ENOMEM, "out of memory");
    }
    return AS_OK;
}

/* --- the clock and the recorded past ---------------------------------------------------------------------- */

/* Ticks ahead at which what is asked for now serves: one more than the delays. Parked instances make it shorter only
 * when they suffice for whatever may come. */
static int64_t lead_of(const struct autopilot *a, const struct as_view *view, as_time age)
{
    as_time lead = as_view_lead(view, view->max);
    if (lead == view->lead && view->boot > 0)
        lead =
            view->boot; /* launches that fail are the choice's business: they must not stretch the forecast */
    int64_t n = (lead + age + 2 * a->tick - 1) / a->tick;
    return n < 1 ? 1 : n > EXPERTS_LEAD_MOST ? EXPERTS_LEAD_MOST : n;
}

static void learn_errors(struct autopilot *a, const struct said *s, double x)
{
    double highest = experts_highest(&a->experts, s->due - s->made);
    errors_learn(&a->point, a->tick, x - s->mix, s->mix, s->scale_point);
    errors_learn(&a->path, a->tick, highest - s->base, s->base, s->scale_path);
}

/* One tick's load: who spoke of it is judged. */
static void push(struct autopilot *a, double x, bool seen)
{
    const struct said *s = experts_push(&a->experts, x, seen);
    if (s)
        learn_errors(a, s, x);
}

static const struct said *say(struct autopilot *a, int64_t lead)
{
    struct said *s = experts_say(&a->experts, lead);
    s->scale_point = errors_scale(&a->point, s->mix);
    s->scale_path = errors_scale(&a->path, s->base);
    return s;
}

/* The load at an instant of minute k: on a straight line from the middle of one minute to that of the next. */
static double recorded(const struct minutes *m, size_t k, int64_t at)
{
    size_t from = at < m->walls[k] + AS_MINUTE / 2 && k > 0 ? k - 1 : k, to = from + 1;
    if (to >= m->count || m->walls[to] - m->walls[from] > AS_MINUTE)
        return m->means[k];
    double part = (double)(at - m->walls[from] - AS_MINUTE / 2) / (double)AS_MINUTE;
    return m->means[from] + part * (m->means[to] - m->means[from]);
}

/* The recorded minutes as if they had been seen, tick by tick; forecasts are made for the newest part only. */
static void relive(struct autopilot *a, const struct as_view *view)
{
    const struct minutes *m = &a->past;
    int64_t wall = view->now_wall, lead = lead_of(a, view, a->tick);
    int64_t from = wall - 7 * a->day - AS_HOUR;
    size_t k = 0;
    while (k < m->count && m->walls[k] < from)
        k++;
    if (k == m->count)
        return;
    int64_t ticks = (wall - m->walls[k]) / a->tick;
    for (int64_t t = ticks; t > 0; t--) { /* the tick that ended t - 1 ticks ago */
        int64_t at = wall - t * a->tick;
        while (k + 1 < m->count && m->walls[k + 1] <= at)
            k++;
        push(a, fmax(0, recorded(m, k, at)) / a->capacity.per_instance, at < m->walls[k] + AS_MINUTE);
        if (t * a->tick <= LEARN_FROM)
            say(a, lead);
    }
}

static void start_clock(struct autopilot *a, const struct as_view *view)
{
    as_time interval = view->interval > 0 ? view->interval : AS_SECOND;
    a->interval = view->interval;
    a->tick = interval >= TICK_LEAST ? interval : (TICK_LEAST + interval - 1) / interval * interval;
    a->started = view->now;
    a->ticks = 0;
    capacity_clock(&a->capacity);
    experts_clock(&a->experts, a->tick, a->day);
    errors_init(&a->point);
    errors_init(&a->path);
    relive(a, view);
}

static void auto_learn(void *state, size_t input, const int64_t *walls, const double *means, size_t count)
{
    struct autopilot *a = state;
    if (input != INPUT_LOAD || count == 0 || a->past.walls)
        return;
    season_feed_learn(&a->feed, walls, means, count);
    size_t most = 7 * 24 * 60 + 60, skip = count > most ? count - most : 0;
    a->past.walls = malloc((count - skip) * sizeof *walls);
    a->past.means = malloc((count - skip) * sizeof *means);
    if (!a->past.walls || !a->past.means) { /* without the past it starts as on the first day */
        free(a->past.walls);
        free(a->past.means);
        a->past = (struct minutes){ 0 };
        return;
    }
    a->past.count = count - skip;
    memcpy(a->past.walls, walls + skip, a->past.count * sizeof *walls);
    memcpy(a->past.means, means + skip, a->past.count * sizeof *means);
}

/* --- what is seen -------------------------------------------------------------------------------------------- */

static bool read_input(const struct autopilot *a, const struct as_view *view, size_t input,
                       struct as_reading *r)
{
    if (input >= view->input_count || !view->inputs[input])
        return false;
    enum as_aggregate how = input == INPUT_QUEUE ? AS_LAST : AS_MEAN;
    *r = as_series_read(view->inputs[input], view->now, how, a->tick, 0);
    return r->fresh == AS_FRESH && !r->partial && isfinite(r->value);
}

/* False: the load is not known, and *out says so. */
static bool look_at(struct autopilot *a, const struct as_view *view, struct look *l, struct as_proposal *out)
{
    struct policy_metric m = { .name = a->metric, .aggregate = AS_MEAN, .window = a->tick };
    struct as_reading r, other;
    if (!policy_metric_read(&m, view, &r, out))
        return false;
    *l = (struct look){ .x = fmax(0, r.value) / a->capacity.per_instance, .whole = !r.partial, .age = r.age };
    l->knows_served = read_input(a, view, INPUT_SERVED, &other);
    l->served = l->knows_served ? fmax(0, other.value) / a->capacity.per_instance : l->x;
    l->knows_queue = read_input(a, view, INPUT_QUEUE, &other);
    l->queue = l->knows_queue ? fmax(0, other.value) : 0;
    return true;
}

/* --- the choice ------------------------------------------------------------------------------------------------ */

static int choose(const struct autopilot *a, const struct as_view *view, const struct said *s, bool out)
{
    const struct capacity *c = &a->capacity;
    double backlog = c->queue / (c->per_instance * CLEAR_BACKLOG);
    struct newsvendor n = { .base = (out ? s->mix : s->base) + backlog,
                            .scale = out ? s->scale_point : s->scale_path,
                            .price = (out ? PRICE_OUT : PRICE_IN) * a->price,
                            .carries = capacity_planned(c, view->current),
                            .min = view->min,
                            .max = view->max,
                            .sure = view->current - view->pending + view->parked,
                            .fails = fmin(FAILS_MOST, view->fails) };
    const struct errors *d = out ? &a->point : &a->path;
    int want = errors_choose(d, &n);
    if (a->target <= 0 || a->target >= 1)
        return want;
    n.base -= backlog;
    n.price = 1;
    n.carries = a->target * c->carries;
    int calm = errors_choose(d, &n);
    return calm > want ? calm : want;
}

static int64_t held_ticks(const struct autopilot *a)
{
    int64_t n = (a->hold + a->tick - 1) / a->tick;
    return n < 1 ? 1 : n > HELD_MOST ? HELD_MOST : n;
}

/* What the season model says of the moment at which the lead is over, between the middles of its bins; NAN: nothing. */
static double expected(struct autopilot *a, const struct as_view *view)
{
    struct season *s = &a->feed.season;
    double ahead = (double)(a->lead * a->tick);
    double at = ((double)view->now_wall + ahead) / (double)s->bin - 0.5, part = at - floor(at);
    int64_t bins = (int64_t)ceil(ahead / (double)s->bin) + 2;
    if (bins > s->lead || (double)bins < KEEP_LEAD * (double)s->lead)
        season_lead(s, bins);
    const struct season_said *x = season_for(s, (int64_t)at), *y = season_for(s, (int64_t)at + 1);
    if (!x || !y || x->share <= 0 || y->share <= 0)
        return NAN;
    return (x->season + part * (y->season - x->season)) / a->capacity.per_instance;
}

static void tick(struct autopilot *a, const struct look *l, const struct as_view *view)
{
    int64_t gap = (view->now - a->started + a->tick / 2) / a->tick - a->ticks; /* ticks that nobody saw */
    int64_t most = 7 * AS_DAY / a->tick;
    double held = a->experts.count ? experts_mean(&a->experts, a->tick) : l->x;
    for (int64_t k = gap < most ? gap : most; k > 0; k--, a->ticks++) {
        push(a, held, false);
        a->ins[a->ticks % HELD_MOST] = view->current;
    }
    double x = capacity_offered(&a->capacity, a->tick, l, view);
    push(a, l->whole ? x : fmax(x, held), l->whole);
    a->lead = lead_of(a, view, l->age);
    season_feed_tick(&a->feed, view, l->whole ? x * a->capacity.per_instance : NAN);
    a->experts.expected = expected(a, view);
    a->said = *say(a, a->lead);
    a->out = choose(a, view, &a->said, true);
    a->ins[a->ticks % HELD_MOST] = choose(a, view, &a->said, false);
    a->ticks = (view->now - a->started + a->tick / 2) / a->tick + 1;
}

/* The highest choice for scaling in while the hold lasts; nothing is given back before it was watched that long. */
static int kept_count(const struct autopilot *a, const struct as_view *view)
{
    int64_t n = held_ticks(a);
    int keep = n > a->ticks ? view->current : a->out;
    for (int64_t k = a->ticks - n > 0 ? a->ticks - n : 0; k < a->ticks; k++)
        keep = a->ins[k % HELD_MOST] > keep ? a->ins[k % HELD_MOST] : keep;
    return keep;
}

static void explain(const struct autopilot *a, int want, const struct as_view *view, struct as_proposal *out)
{
    char ahead[24], learnt[48] = "", failing[48] = "";
    const struct said *s = &a->said;
    double c = a->capacity.per_instance, carries = a->capacity.carries;
    int median = policy_ceil(s->mix / carries);
    if (fabs(carries - 1) >= 0.005)
        snprintf(learnt, sizeof learnt, ", one carries %s", policy_num(carries * c).s);
    policy_words(out, "forecast ", policy_num(rint(s->mix * c * 10) / 10).s, "/s in ",
                 as_time_text(a->lead * a->tick, ahead, sizeof ahead), " (last ",
                 policy_num(rint(s->f[EXPERT_LAST] * c * 10) / 10).s, ", trend ",
                 policy_num(rint(s->f[EXPERT_TREND] * c * 10) / 10).s, ")", learnt, NULL);
    size_t n = strlen(out->reason);
    if (view->fails >= 0.005)
        snprintf(failing, sizeof failing, " with %.0f%% of launches failing", 100 * view->fails);
    snprintf(out->reason + n, sizeof out->reason - n, ", spare %+d at price %s%s: want %d%s", want - median,
             policy_num(a->price).s, failing, want, want == view->current && a->out < want ? ", held" : "");
}

static void auto_decide(void *state, const struct as_view *view, struct as_proposal *out)
{
    struct autopilot *a = state;
    struct look l;
    if (a->tick == 0 || a->interval != view->interval)
        start_clock(a, view);
    if (!look_at(a, view, &l, out))
        return;
    if ((view->now - a->started + a->tick / 2) / a->tick >= a->ticks)
        tick(a, &l, view);
    int keep = kept_count(a, view);
    int want = a->out > view->current ? a->out : keep < view->current ? keep : view->current;
    out->kind = AS_WANT;
    out->advice = a->advise;
    out->blind = !l.whole;
    out->count = out->blind && want < view->current ? view->current : want;
    explain(a, out->count, view, out);
}

static bool auto_sustains(const void *state, const struct as_view *view, int count)
{
    const struct autopilot *a = state;
    double value;
    struct policy_metric m = { .name = a->metric, .aggregate = AS_MEAN, .window = a->tick };
    return a->ticks > 0 && policy_metric_whole(&m, view, &value) && count >= a->out;
}

const struct as_policy_type as_policy_auto = {
    .name = "auto",
    .summary =
        "the least of cost and risk: forecasts the load, learns its own errors, needs a rate and a price",
    .options = options,
    .state_size = sizeof(struct autopilot),
    .damps_itself = true,
    .init = auto_init,
    .decide = auto_decide,
    .sustains = auto_sustains,
    .learn = auto_learn,
    .fini = auto_fini,
};
