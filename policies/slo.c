/* Sizes a tier for a latency goal by queueing theory: workers behind one queue, the load from the request rate and the
 * time one request keeps a worker busy. That time comes from the utilisation law or from the user, never from
 * latency under load, which holds the waiting that is to be planned. Must never learn from a full tier. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "autoscale/queueing.h"
#include "common.h"

#define INPUT_BUSY  1
#define FULL        0.95 /* of the serving workers busy: more may want in, what is measured is a lower bound */
#define LEARN_BELOW 0.9
#define LOOKS_LEAST 10
#define ERROR_MOST  0.25 /* relative; beyond it the time is not known well enough to size by */
#define BOUND       2 /* standard errors: sized by the upper end of what the time may be, so early caution fades */

static const char *const times[] = { "response", "wait", NULL };

/* Busy workers b and rates l of looks, with weights w that fade: service time = sum(wb) / sum(wl). */
struct lesson {
    as_time last; /* of the newest sample learned from; 0: none */
    double w, ww, b, l, bb, bl, ll;
};

struct slo {
    struct policy_metric metric;
    const char *busy;  /* NULL: the service time is given */
    double service;    /* given, seconds; 0: learned */
    double goal, miss; /* P(time > goal) <= miss */
    double variability;
    as_time memory; /* half-life of what was learned */
    int workers, reserve;
    enum as_queue_time of;
    struct lesson lesson;
};

static const struct as_option options[] = {
    POLICY_METRIC_OPTIONS,
    { .name = "busy",
      .type = AS_OPT_METRIC,
      .help = "workers busy in the whole group (sessions in service): the time of a request is learned as "
              "busy / rate" },
    { .name = "service_time",
      .type = AS_OPT_DURATION,
      .min = 1,
      .max = 3600000,
      .help = "instead of busy: the time a request keeps a worker busy, its waiting left out" },
    { .name = "workers",
      .type = AS_OPT_INT,
      .flags = AS_OPT_REQUIRED,
      .min = 1,
      .max = 100000,
      .help = "requests one instance works on at the same time" },
    { .name = "goal",
      .type = AS_OPT_DURATION,
      .flags = AS_OPT_REQUIRED,
      .min = 1,
      .max = 3600000,
      .help = "the time that the percentile of the requests shall not exceed" },
    { .name = "percentile",
      .type = AS_OPT_PERCENT,
      .def = "95%",
      .min = 0.5,
      .max = 0.9999,
      .help = "the part of the requests that shall keep the goal" },
    { .name = "of",
      .type = AS_OPT_CHOICE,
      .def = "response",
      .choices = times,
      .help = "what the goal is for: the whole response, or the wait before a worker begins" },
    { .name = "variability",
      .type = AS_OPT_NUMBER,
      .def = "1",
      .min = 1,
      .max = 1000,
      .help = "half the sum of the squared coefficients of variation of arrivals and services; waits are as "
              "much longer" },
    { .name = "reserve",
      .type = AS_OPT_INT,
      .def = "0",
      .max = POLICY_COUNT_MAX,
      .help = "instances on top: how many may be lost without missing the goal" },
    { .name = "memory",
      .type = AS_OPT_DURATION,
      .def = "1h",
      .min = 60000,
      .max = 86400000,
      .help = "what was learned from busy counts half after this time" },
    { 0 },
};

static int slo_init(void *state, const struct as_settings *settings, struct as_error *err)
{
    struct slo *s = state;
    bool given = as_settings_has(settings, "service_time"), learned = as_settings_has(settings, "busy");
    if (given && learned)
        return as_settings_fail(settings, "service_time", err,
                                "give either busy (it is learned) or service_time, not both");
    if (!given && !learned)
        return as_settings_fail(
            settings, "busy", err,
            "give the metric of busy workers, so that the time of a request can be learned, or "
            "service_time");
    policy_metric_init(&s->metric, settings);
    s->busy = as_settings_str(settings, "busy");
    s->service = (double)as_settings_ms(settings, "service_time") / 1000;
    s->goal = (double)as_settings_ms(settings, "goal") / 1000;
    s->miss = 1 - as_settings_num(settings, "percentile");
    s->variability = as_settings_num(settings, "variability");
    s->memory = as_settings_ms(settings, "memory");
    s->workers = (int)as_settings_int(settings, "workers");
    s->reserve = (int)as_settings_int(settings, "reserve");
    s->of = strcmp(as_settings_str(settings, "of"), "wait") == 0 ? AS_QUEUE_WAIT : AS_QUEUE_RESPONSE;
    return AS_OK;
}

/* --- the time of a request ----------------------------------------------------------------------- */

struct service {
    double time, error; /* seconds, and the relative standard error */
    double looks;       /* how many looks the time is worth */
    bool known;
    bool full;  /* the serving workers are busy: the rate and the time are lower bounds */
    bool blind; /* busy is not measured now */
};

static void learn(struct lesson *e, as_time at, as_time half_life, double busy, double rate)
{
    double fade = e->last ? exp2(-(double)(at - e->last) / (double)half_life) : 0;
    e->w = e->w * fade + 1;
    e->ww = e->ww * fade * fade + 1;
    e->b = e->b * fade + busy;
    e->l = e->l * fade + rate;
    e->bb = e->bb * fade + busy * busy;
    e->bl = e->bl * fade + busy * rate;
    e->ll = e->ll * fade + rate * rate;
    e->last = at;
}

/* The ratio estimate and its error, from the scatter of the looks about it. */
static void lesson_tell(const struct lesson *e, struct service *out)
{
    if (e->last == 0 || e->l <= 0 || e->b <= 0)
        return;
    double time = e->b / e->l;
    double scatter = fmax(0, e->bb - 2 * time * e->bl + time * time * e->ll) / e->w;
    out->looks = e->w * e->w / e->ww;
    out->time = time;
    out->error = sqrt(scatter / out->looks) / (e->l / e->w) / time;
    out->known = rint(out->looks) >= LOOKS_LEAST && out->error <= ERROR_MOST;
}

static struct service service_now(const struct slo *s, const struct as_view *view, double rate)
{
    struct service v = { .time = s->service, .known = s->service > 0 };
    if (!s->busy)
        return v;
    lesson_tell(&s->lesson, &v);
    struct as_reading busy = policy_input(view, INPUT_BUSY, AS_LAST, 0, 0);
    v.blind = busy.fresh != AS_FRESH || busy.partial;
    if (busy.fresh != AS_FRESH)
        return v;
    v.full = view->serving > 0 && busy.value >= FULL * view->serving * s->workers;
    if (v.full && rate > 0 && (!v.known || busy.value / rate > v.time)) {
        v.time = busy.value / rate; /* at least that: the rate holds some that are not served yet */
        v.known = true;
    }
    return v;
}

/* Looks at what is new of both; a tier that is nearly full lets fewer through than arrive, and is no lesson. */
static void look(struct slo *s, const struct as_view *view)
{
    struct as_reading rate = policy_input(view, 0, AS_LAST, 0, 0),
                      busy = policy_input(view, INPUT_BUSY, AS_LAST, 0, 0);
    if (!s->busy || rate.fresh != AS_FRESH || busy.fresh != AS_FRESH || rate.partial || busy.partial)
        return;
    as_time at = view->now - busy.age;
    if (at > s->lesson.last && rate.value > 0 && busy.value >= 0 && view->serving > 0 &&
        busy.value < LEARN_BELOW * view->serving * s->workers)
        learn(&s->lesson, at, s->memory, busy.value, rate.value);
}

/* --- the size ------------------------------------------------------------------------------------ */

struct size {
    struct as_queue queue;
    bool feasible;
    double limit; /* the goal; where none can meet it, a wait as long as the service */
    int workers, want;
};

static struct size size_for(const struct slo *s, const struct service *v, double rate)
{
    struct size z = { .queue = { .rate = rate > 0 ? rate : 0,
                                 .service = v->time * (1 + BOUND * v->error),
                                 .variability = s->variability } };
    z.feasible = as_queue_feasible(&z.queue, s->of, s->goal, s->miss);
    z.limit = z.feasible ? s->goal : z.queue.service;
    z.workers =
        as_queue_workers(&z.queue, z.feasible ? s->of : AS_QUEUE_WAIT, z.limit, s->miss, POLICY_COUNT_MAX);
    if (z.workers < 0)
        z.workers = POLICY_COUNT_MAX;
    int instances = z.workers / s->workers + (z.workers % s->workers > 0);
    z.want = policy_clamp((int64_t)instances + s->reserve);
    return z;
}

static struct policy_text seconds(double t)
{
    struct policy_text text = policy_num(t < 10 ? t * 1000 : t);
    strcat(text.s, t < 10 ? "ms" : "s"); /* 16 characters at most before it */
    return text;
}

static void explain(const struct slo *s, const struct service *v, const struct size *z, int want,
                    const char *why, struct as_proposal *out)
{
    const double share = 100 * (1 - s->miss);
    char sure[96] = "", spare[48] = "";
    if (s->busy && v->looks > 0)
        snprintf(sure, sizeof sure, " +-%s%% (%s looks)", policy_num(100 * v->error).s,
                 policy_num(rint(v->looks)).s);
    if (s->reserve)
        snprintf(spare, sizeof spare, " with %d in reserve", s->reserve);
    if (z->feasible)
        policy_reason(
            out, "%s %s, one instance at most %s%s: %d workers of %s keep %s%% of %s within %s: want %d%s%s",
            s->metric.name, policy_num(z->queue.rate).s, policy_num(s->workers / v->time).s, sure, z->workers,
            seconds(v->time).s, policy_num(share).s, s->of == AS_QUEUE_WAIT ? "waits" : "responses",
            seconds(s->goal).s, want, spare, why);
    else
        policy_reason(
            out,
            "no number of instances can meet this goal, %s%% within %s: the work alone takes %s%s; %s %s: "
            "%d workers keep waits as short: want %d%s%s",
            policy_num(share).s, seconds(s->goal).s, seconds(v->time).s, sure, s->metric.name,
            policy_num(z->queue.rate).s, z->workers, want, spare, why);
}

static void slo_decide(void *state, const struct as_view *view, struct as_proposal *out)
{
    struct slo *s = state;
    struct as_reading r;
    look(s, view);
    if (!policy_metric_read(&s->metric, view, &r, out))
        return;
    struct service v = service_now(s, view, r.value);
    out->blind = out->blind || v.blind;
    if (!v.known) {
        policy_reason(out,
                      "learning how long a request keeps a worker busy: %s looks at %s so far, error %s%%",
                      policy_num(rint(v.looks)).s, s->busy, policy_num(100 * v.error).s);
        return;
    }
    struct size z = size_for(s, &v, r.value);
    const char *why = "";
    int want = z.want;
    if (want < view->current && v.full) {
        want = view->current;
        why = ", no fewer while the serving ones are full";
    } else if (want < view->current && out->blind) {
        want = view->current;
        why = ", no fewer on partial data";
    }
    out->kind = AS_WANT;
    out->count = want;
    explain(s, &v, &z, want, why, out);
}

static bool slo_sustains(const void *state, const struct as_view *view, int count)
{
    const struct slo *s = state;
    double rate;
    if (!policy_metric_whole(&s->metric, view, &rate))
        return false;
    struct service v = service_now(s, view, rate);
    return v.known && !v.full && !v.blind && size_for(s, &v, rate).want <= count;
}

const struct as_policy_type as_policy_slo = {
    .name = "slo",
    .summary = "a latency goal: as many instances as queueing theory says keep it",
    .options = options,
    .state_size = sizeof(struct slo),
    .init = slo_init,
    .decide = slo_decide,
    .sustains = slo_sustains,
};
