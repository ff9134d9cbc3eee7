/* A ceiling from a shared resource: no more instances than it can carry, the database's connections
 * above all. Never triggers anything by itself. When the resource cannot be measured the last ceiling
 * holds: not knowing must never open the way to more load on it. */
#include <stdio.h>

#include "common.h"

struct ceiling {
    struct policy_metric metric;
    bool fixed; /* `capacity` is given: nothing is measured */
    double capacity, per_instance, reserve;
    as_time settle;
    int held; /* the ceiling in force, or the largest size seen when nothing was measured yet */
    bool measured, started;
    bool rising; /* measured above `held` ever since `since`, and never under `least` */
    as_time since;
    int least;
};

static const struct as_option options[] = {
    { .name = "metric",
      .type = AS_OPT_METRIC,
      .help = "what is left of the resource right now, as source.series (db.connections_free)" },
    { .name = "capacity",
      .type = AS_OPT_NUMBER,
      .max = 1e15,
      .min = 1e-9,
      .help = "instead of metric: the whole of the resource, a fixed number" },
    { .name = "per_instance",
      .type = AS_OPT_NUMBER,
      .flags = AS_OPT_REQUIRED,
      .min = 1e-9,
      .max = 1e15,
      .help = "how much of it one instance takes at most" },
    { .name = "reserve",
      .type = AS_OPT_NUMBER,
      .def = "0",
      .max = 1e15,
      .help = "how much is kept for others" },
    { .name = "settle",
      .type = AS_OPT_DURATION,
      .def = "10s",
      .max = 3600000,
      .help = "a higher ceiling must show for so long: new instances take their part only by and by" },
    { 0 },
};

static int ceiling_init(void *state, const struct as_settings *settings, struct as_error *err)
{
    struct ceiling *c = state;
    bool metric = as_settings_has(settings, "metric"), fixed = as_settings_has(settings, "capacity");
    if (metric && fixed)
        return as_settings_fail(settings, "capacity", err,
                                "give either metric (what is left) or capacity (a fixed whole), not both");
    if (!metric && !fixed)
        return as_settings_fail(settings, "metric", err,
                                "give metric (what is left right now) or capacity (a fixed whole)");
    c->metric = (struct policy_metric){ .name = as_settings_str(settings, "metric"), .aggregate = AS_LAST };
    c->fixed = fixed;
    c->capacity = as_settings_num(settings, "capacity");
    c->per_instance = as_settings_num(settings, "per_instance");
    c->reserve = as_settings_num(settings, "reserve");
    c->settle = as_settings_ms(settings, "settle");
    if (fixed && policy_floor((c->capacity - c->reserve) / c->per_instance) < 1)
        return as_settings_fail(
            settings, "reserve", err, "capacity %s - reserve %s leaves no room for one instance of %s",
            policy_num(c->capacity).s, policy_num(c->reserve).s, policy_num(c->per_instance).s);
    return AS_OK;
}

/* Room for more instances than those that serve, which have taken their part; may be negative. */
static int ceiling_measured(const struct ceiling *c, const struct as_view *view, double left)
{
    double room = (left - c->reserve) / c->per_instance;
    return room >= 0 ? policy_clamp((int64_t)view->serving + policy_floor(room))
                     : policy_clamp((int64_t)view->serving - policy_ceil(-room));
}

/* A fall holds at once. A rise must last, as an instance that just began to serve counts before its
 * connections do: for that moment there seems to be room for one more. */
static void settle(struct ceiling *c, as_time now, int count)
{
    if (!c->measured || count <= c->held) {
        c->held = count;
        c->rising = false;
    } else if (!c->rising || count < c->least) {
        c->least = count;
        if (!c->rising)
            c->since = now;
        c->rising = true;
    }
    if (c->rising && now - c->since >= c->settle) {
        c->held = c->least;
        c->rising = false;
    }
    c->measured = c->started = true;
}

/* Nothing fresh: what was measured last holds. If nothing ever was, the group may keep the size it has
 * had since (and replace what dies), but not grow. */
static void hold(struct ceiling *c, const struct as_view *view, const struct as_reading *r,
                 struct as_proposal *out)
{
    char age[24];
    c->rising = false;
    if (!c->measured && (!c->started || c->held < view->current))
        c->held = view->current;
    c->started = true;
    out->kind = AS_CEILING;
    out->count = c->held;
    out->blind = true;
    if (r->fresh == AS_NEVER)
        policy_reason(out, "no data: %s has not been measured yet; no growth beyond %d", c->metric.name,
                      c->held);
    else
        policy_reason(out, "no data: %s is stale, last measured %s ago; ceiling held at %d", c->metric.name,
                      as_time_text(r->age, age, sizeof age), c->held);
}

static void ceiling_decide(void *state, const struct as_view *view, struct as_proposal *out)
{
    struct ceiling *c = state;
    struct as_reading r;
    if (c->fixed) {
        out->kind = AS_CEILING;
        out->count = policy_floor((c->capacity - c->reserve) / c->per_instance);
        policy_reason(out, "(capacity %s - reserve %s) / %s per instance: at most %d",
                      policy_num(c->capacity).s, policy_num(c->reserve).s, policy_num(c->per_instance).s,
                      out->count);
        return;
    }
    if (!policy_metric_read(&c->metric, view, &r, out)) {
        hold(c, view, &r, out);
        return;
    }
    int count = ceiling_measured(c, view, r.value);
    settle(c, view->now, count);
    out->kind = AS_CEILING;
    out->count = c->held;
    char later[48] = "";
    if (count > c->held)
        snprintf(later, sizeof later, " until %d has settled", count);
    policy_reason(out, "(%s %s - reserve %s) / %s per instance = %s beside %d serving: at most %d%s",
                  c->metric.name, policy_num(r.value).s, policy_num(c->reserve).s,
                  policy_num(c->per_instance).s, policy_num((r.value - c->reserve) / c->per_instance).s,
                  view->serving, out->count, later);
}

const struct as_policy_type as_policy_ceiling = {
    .name = "ceiling",
    .summary = "headroom of a shared resource: no more instances than it can carry",
    .options = options,
    .state_size = sizeof(struct ceiling),
    .init = ceiling_init,
    .decide = ceiling_decide,
};
