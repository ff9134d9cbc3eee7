/* Lints: a configuration that is legal and will probably not do what its author thinks. Warnings only;
 * each says what would happen and what to write instead. Policies are looked at by the names of their
 * type and options, so that no policy has to know about another. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "../model/formula.h"
#include "loader.h"
#include "units.h"

struct lint {
    const struct cfg *cfg;
    struct cfg_problems *problems;
};

/* Warns at the place of a policy's option; "policy 'web-load': NAME: …". */
__attribute__((format(printf, 4, 5))) static void
policy_warn(const struct lint *l, const struct cfg_policy *p, const char *option, const char *fmt, ...)
{
    char text[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    int line = settings_line(p->settings, option);
    problems_warn(l->problems, settings_file(p->settings, line), line, "policy '%s': %s: %s", p->name, option,
                  text);
}

static bool has(const struct as_settings *s, const char *name, enum as_option_type type)
{
    int i = settings_index(s, name);
    return i >= 0 && s->options[i].type == type && s->values[i].set;
}

/* --- sources ------------------------------------------------------------------------------------- */

static void lint_source(const struct lint *l, const struct cfg_source *s)
{
    char age[UNITS_TEXT_MAX], interval[UNITS_TEXT_MAX];
    if (s->max_age >= s->interval)
        return;
    problems_warn(
        l->problems, s->at.file, s->at.line,
        "source '%s': max_age %s is shorter than the interval %s: its data will be stale between polls and "
        "nothing is ever scaled in",
        s->name, units_duration_text(s->max_age, age), units_duration_text(s->interval, interval));
}

/* --- secrets --------------------------------------------------------------------------------------- */

/* A warning and no error: the machine that checks, and its user, need not be those that run. */
static void lint_secrets(const struct lint *l, const struct as_settings *s, const char *kind,
                         const char *name)
{
    struct as_error err;
    for (size_t i = 0; s && i < s->option_count; i++) {
        const struct settings_value *v = &s->values[i];
        if (s->options[i].type != AS_OPT_SECRET || !v->set || settings_secret_check(v->text, &err) == AS_OK)
            continue;
        problems_warn(l->problems, settings_file(s, v->line), v->line, "%s '%s': %s: %s", kind, name,
                      s->options[i].name, err.msg);
    }
}

/* --- target -------------------------------------------------------------------------------------- */

/* One instance more or less moves the metric by 1/n. Where the tolerance is under half of that even at
 * the largest size, no size of the group lets the load come to rest inside it, and every ripple of the
 * metric is a change of size. A stabilisation window of scale-in smooths ripples out, so a default
 * tolerance with a window is let pass; one that was written is not. */
static void lint_tolerance(const struct lint *l, const struct cfg_group *g, const struct cfg_policy *p)
{
    char given[UNITS_TEXT_MAX], effect[UNITS_TEXT_MAX], better[UNITS_TEXT_MAX];
    if (!has(p->settings, "tolerance", AS_OPT_PERCENT) || g->max < 2)
        return;
    double tolerance = as_settings_num(p->settings, "tolerance");
    if (tolerance * 2 * g->max >= 1 || (!settings_given(p->settings, "tolerance") && g->in.window > 0))
        return;
    policy_warn(l, p, "tolerance",
                "%s is less than half of what one instance changes (%s of the metric even at max = %d of "
                "group '%s'): "
                "the group will swing with every ripple; write %s or more",
                units_percent_text(tolerance, given), units_percent_text(round(100.0 / g->max) / 100, effect),
                g->max, g->name, units_percent_text(ceil(50.0 / g->max) / 100, better));
}

/* --- ceiling ------------------------------------------------------------------------------------- */

static const struct cfg_source *source_of(const struct cfg *c, const char *metric)
{
    char source[AS_NAME_MAX], object[AS_NAME_MAX], series[AS_NAME_MAX];
    if (!config_metric_split(metric, source, object, series))
        return NULL;
    for (size_t i = 0; i < c->source_count; i++)
        if (strcmp(c->sources[i].name, source) == 0)
            return &c->sources[i];
    return NULL;
}

/* A reading counts until it is older than max_age. A ceiling that settles in less can rise by one reading of a source
 * that has fallen silent since; within one interval it settles by a single one in any case. */
static void lint_settle(const struct lint *l, const struct cfg_policy *p)
{
    char settle[UNITS_TEXT_MAX], age[UNITS_TEXT_MAX], needed[UNITS_TEXT_MAX];
    struct formula f;
    as_time least = 0,
            given = has(p->settings, "settle", AS_OPT_DURATION) ? as_settings_ms(p->settings, "settle") : 0;
    const struct cfg_source *slowest = NULL;
    if (given == 0 || !has(p->settings, "metric", AS_OPT_METRIC) ||
        formula_parse(as_settings_str(p->settings, "metric"), &f, NULL) != AS_OK)
        return;
    for (int k = 0; k < f.metric_count; k++) {
        const struct cfg_source *s = source_of(l->cfg, f.metrics[k]);
        as_time lasts = !s ? 0 : s->max_age > s->interval ? s->max_age : s->interval;
        if (lasts <= least)
            continue;
        slowest = s;
        least = lasts;
    }
    if (!slowest || given >= least)
        return;
    bool by_age = slowest->max_age > slowest->interval;
    policy_warn(l, p, "settle",
                "%s is shorter than the %s %s of source '%s': one reading alone can raise the ceiling; write "
                "settle = \"%s\" or more",
                units_duration_text(given, settle), by_age ? "max_age" : "interval",
                units_duration_text(least, age), slowest->name, units_duration_text(least, needed));
}

static void lint_ceiling(const struct lint *l, const struct cfg_group *g, const struct cfg_policy *p)
{
    const struct as_settings *s = p->settings;
    lint_settle(l, p);
    if (!has(s, "capacity", AS_OPT_NUMBER) || !has(s, "per_instance", AS_OPT_NUMBER))
        return;
    double reserve = has(s, "reserve", AS_OPT_NUMBER) ? as_settings_num(s, "reserve") : 0;
    double room =
        floor((as_settings_num(s, "capacity") - reserve) / as_settings_num(s, "per_instance") + 1e-9);
    if (room < g->min)
        policy_warn(l, p, "capacity",
                    "leaves room for %.0f instances, below min = %d of group '%s': min wins, and "
                    "the resource is overrun",
                    room, g->min, g->name);
}

/* --- step ---------------------------------------------------------------------------------------- */

struct range {
    double from, to;
    int sign; /* of the change: 1 grows, -1 shrinks */
};

static bool step_range(const struct as_settings *policy, size_t i, struct range *out)
{
    const struct as_settings *s = as_settings_sub(policy, "steps", i);
    if (!s || !has(s, "change", AS_OPT_STRING))
        return false;
    const char *change = as_settings_str(s, "change");
    double base = has(policy, "threshold", AS_OPT_NUMBER) ? as_settings_num(policy, "threshold") : 0;
    bool zero = strtod(change + (*change == '+' || *change == '-'), NULL) <= 0;
    *out = (struct range){
        .from = has(s, "from", AS_OPT_NUMBER) ? base + as_settings_num(s, "from") : -INFINITY,
        .to = has(s, "to", AS_OPT_NUMBER) ? base + as_settings_num(s, "to") : INFINITY,
        .sign = zero             ? 0
                : *change == '+' ? 1
                : *change == '-' ? -1
                                 : 0,
    };
    return true;
}

static bool same_metric(const struct cfg_policy *a, const struct cfg_policy *b)
{
    return has(a->settings, "metric", AS_OPT_METRIC) && has(b->settings, "metric", AS_OPT_METRIC) &&
           strcmp(as_settings_str(a->settings, "metric"), as_settings_str(b->settings, "metric")) == 0;
}

static bool pull_apart(const struct range *x, const struct range *y)
{
    return x->sign * y->sign < 0 && fmax(x->from, y->from) < fmin(x->to, y->to);
}

/* The first range in which one policy grows and the other shrinks on the same metric. */
static bool lint_step_pair(const struct lint *l, const struct cfg_policy *a, const struct cfg_policy *b)
{
    char low[UNITS_TEXT_MAX], high[UNITS_TEXT_MAX];
    struct range x, y;
    for (size_t i = 0; i < as_settings_count(a->settings, "steps"); i++)
        for (size_t k = 0; k < as_settings_count(b->settings, "steps"); k++) {
            if (!step_range(a->settings, i, &x) || !step_range(b->settings, k, &y) || !pull_apart(&x, &y))
                continue;
            const struct cfg_policy *grows = x.sign > 0 ? a : b, *shrinks = x.sign > 0 ? b : a;
            policy_warn(
                l, b, "steps",
                "overlap with policy '%s': from %s to %s '%s' grows while '%s' shrinks, so the shrinking "
                "never happens there",
                a->name, units_number_text(fmax(x.from, y.from), low),
                units_number_text(fmin(x.to, y.to), high), grows->name, shrinks->name);
            return true;
        }
    return false;
}

static bool is_step(const struct cfg_policy *p)
{
    return strcmp(p->type->name, "step") == 0 && has(p->settings, "steps", AS_OPT_LIST);
}

static void lint_steps(const struct lint *l, const struct cfg_group *g, size_t at)
{
    for (size_t k = 0; k < at; k++)
        if (is_step(g->policies[k]) && same_metric(g->policies[k], g->policies[at]) &&
            lint_step_pair(l, g->policies[k], g->policies[at]))
            return;
}

/* --- forecast ------------------------------------------------------------------------------------ */

/* It speaks only while its season is trusted; a size must follow the load on other days too. */
static void lint_forecast(const struct lint *l, const struct cfg_group *g, const struct cfg_policy *p)
{
    static const char *const bounds[] = { "forecast", "floor", "ceiling", "collapse" };
    for (size_t i = 0; i < g->policy_count; i++) {
        bool bound = false;
        for (size_t k = 0; k < sizeof bounds / sizeof *bounds; k++)
            bound = bound || strcmp(g->policies[i]->type->name, bounds[k]) == 0;
        if (!bound)
            return;
    }
    policy_warn(
        l, p, "metric",
        "no policy of group '%s' follows the load itself: while the season is not learnt or not trusted "
        "the size stays as it is; add a target or auto policy",
        g->name);
}

/* --- groups -------------------------------------------------------------------------------------- */

static void lint_damping(const struct lint *l, const struct cfg_group *g)
{
    char a[UNITS_TEXT_MAX], b[UNITS_TEXT_MAX];
    const struct cfg_health *h = &g->health;
    if (g->in.window == 0 && g->in.cooldown > 0)
        problems_warn(
            l->problems, g->at.file, g->at.line,
            "group '%s': scale_in: a cooldown without a window: one low reading still removes instances; "
            "write window = \"60s\"",
            g->name);
    if (h->kind != CFG_HEALTH_RUNNING && h->boot_timeout < h->interval * h->rise)
        problems_warn(
            l->problems, g->at.file, g->at.line,
            "group '%s': health: boot_timeout %s is shorter than %d checks every %s: no instance can become "
            "healthy in time",
            g->name, units_duration_text(h->boot_timeout, a), h->rise, units_duration_text(h->interval, b));
}

/* From 0 the first request is refused, and what is measured at instances says nothing any more. */
static void lint_zero(const struct lint *l, const struct cfg_group *g)
{
    if (g->min == 0 && g->balancer.driver)
        problems_warn(
            l->problems, g->at.file, g->at.line,
            "group '%s': min = 0 behind a balancer: while nothing serves, requests are refused, and a metric "
            "per instance is missing, on which it never grows again: min = 1 keeps one",
            g->name);
}

static void lint_group(const struct lint *l, const struct cfg_group *g)
{
    lint_zero(l, g);
    if (g->policy_count == 0)
        problems_warn(l->problems, g->at.file, g->at.line,
                      "group '%s': has no policies: it is kept at min = %d and never scaled", g->name,
                      g->min);
    lint_damping(l, g);
    for (size_t i = 0; i < g->policy_count; i++) {
        const struct cfg_policy *p = g->policies[i];
        if (strcmp(p->type->name, "target") == 0)
            lint_tolerance(l, g, p);
        else if (strcmp(p->type->name, "ceiling") == 0)
            lint_ceiling(l, g, p);
        else if (strcmp(p->type->name, "forecast") == 0)
            lint_forecast(l, g, p);
        else if (is_step(p))
            lint_steps(l, g, i);
    }
}

static bool names_policy(const struct cfg_group *g, const struct cfg_policy *p)
{
    for (size_t k = 0; k < g->policy_count; k++)
        if (g->policies[k] == p)
            return true;
    for (size_t k = 0; k < g->shadow_count; k++)
        if (g->shadows[k] == p)
            return true;
    return false;
}

static bool policy_used(const struct cfg *c, const struct cfg_policy *p)
{
    for (size_t i = 0; i < c->group_count; i++)
        if (names_policy(&c->groups[i], p))
            return true;
    return false;
}

void config_lint(const struct cfg *c, struct cfg_problems *problems)
{
    const struct lint l = { c, problems };
    for (size_t i = 0; i < c->source_count; i++) {
        lint_source(&l, &c->sources[i]);
        lint_secrets(&l, c->sources[i].settings, "source", c->sources[i].name);
    }
    for (size_t i = 0; i < c->group_count; i++) {
        lint_group(&l, &c->groups[i]);
        lint_secrets(&l, c->groups[i].compute.settings, "group", c->groups[i].name);
        lint_secrets(&l, c->groups[i].balancer.settings, "group", c->groups[i].name);
    }
    for (size_t i = 0; i < c->policy_count; i++)
        if (!policy_used(c, &c->policies[i]))
            problems_warn(problems, c->policies[i].at.file, c->policies[i].at.line,
                          "policy '%s': no group names it", c->policies[i].name);
}
