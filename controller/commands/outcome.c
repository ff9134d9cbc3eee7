/* Outcomes of `autoscale simulate`: summed over seeds, as a table and as JSON. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "simulate.h"
#include "tables.h"

static void add_score(struct score *to, const struct score *s)
{
    double *a = (double *)to;
    const double *b = (const double *)s;
    for (size_t k = 0; k < sizeof *to / sizeof *a; k++)
        a[k] += b[k];
}

static void add_parts(struct outcome *to, const struct outcome *o)
{
    to->over_percent += o->over_percent;
    to->lost_percent += o->lost_percent;
    to->miss_minutes += o->miss_minutes;
    to->p50 += o->p50;
    to->p95 += o->p95;
    to->p99 += o->p99;
    to->adaptations += o->adaptations;
    to->hours += o->hours;
    to->pain += o->pain;
}

void outcome_fini(struct outcome *o)
{
    free(o->by_seed);
    o->by_seed = NULL;
}

void outcome_sum(struct outcome *to, const struct outcome *o)
{
    add_score(&to->at100, &o->at100);
    add_score(&to->at70, &o->at70);
    add_parts(to, o);
}

void outcome_add(struct outcome *o, const struct contest *c, const struct replay *r)
{
    const struct tier *t = &r->tier;
    double all = t->served + t->lost, missed = (double)t->missed;
    struct outcome one = { .over_percent = all > 0 ? 100 * t->over / all : 0,
                           .lost_percent = all > 0 ? 100 * t->lost / all : 0,
                           .miss_minutes = missed,
                           .p50 = tier_quantile(t, 0.5),
                           .p95 = tier_quantile(t, 0.95),
                           .p99 = tier_quantile(t, 0.99),
                           .adaptations = (double)(r->outs + r->ins),
                           .hours = r->instance_hours,
                           .pain = r->instance_hours + c->price * missed };
    score_elasticity(r->demand, r->supply, r->count, r->step_s, c->max, &one.at100);
    score_elasticity(r->demand70, r->supply, r->count, r->step_s, c->max, &one.at70);
    outcome_sum(o, &one);
    if (o->by_seed && o->seeds < c->seeds) {
        o->by_seed[2 * o->seeds] = one.hours;
        o->by_seed[2 * o->seeds++ + 1] = missed;
    }
    if (!*o->violation)
        memcpy(o->violation, r->violation, sizeof o->violation);
}

void outcome_mean(struct outcome *o, int seeds)
{
    double n = seeds, *parts[] = { &o->over_percent, &o->lost_percent, &o->miss_minutes, &o->p50, &o->p95,
                                   &o->p99,          &o->adaptations,  &o->hours,        &o->pain };
    double *a = (double *)&o->at100, *b = (double *)&o->at70;
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
        *parts[k] /= n;
    for (size_t k = 0; k < sizeof(struct score) / sizeof *a; k++) {
        a[k] /= n;
        b[k] /= n;
    }
}

static double wins(const struct outcome *a, const struct outcome *b)
{
    const double mine[] = { a->at100.theta_u, a->at100.theta_o, a->at100.tau_u,
                            a->at100.tau_o,   a->at100.upsilon, a->over_percent };
    const double other[] = { b->at100.theta_u, b->at100.theta_o, b->at100.tau_u,
                             b->at100.tau_o,   b->at100.upsilon, b->over_percent };
    const size_t n = sizeof mine / sizeof *mine;
    double won = 0;
    for (size_t k = 0; k < n; k++)
        won += mine[k] < other[k] ? 1 : mine[k] > other[k] ? 0 : 0.5;
    return won / (double)n;
}

void outcome_compete(struct outcome *all, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        double won = 0;
        for (size_t j = 0; j < count; j++)
            won += j == k ? 0 : wins(&all[k], &all[j]);
        all[k].kappa = count > 1 ? 100 * won / (double)(count - 1) : 0;
    }
}

/* What shoppers and the bill see; fits 80 columns with a short name. */
static void print_service(FILE *out, const struct contest *c, const struct outcome *all, size_t count,
                          int wide)
{
    fprintf(out, "%-*s %8s %8s %8s %8s %9s %9s %7s %7s\n", wide, "policy", ">SLO", "missed", "p95", "changes",
            "inst-h", "pain", "cost/or", "pain/or");
    for (size_t k = 0; k < count; k++) {
        const struct outcome *o = &all[k];
        fprintf(out, "%-*s %7.3f%% %4.4gmin %6.0fms %8.0f %9.1f %9.1f", wide, o->name, o->over_percent,
                o->miss_minutes, o->p95 * 1000, o->adaptations, o->hours, o->pain);
        if (o->pain_ratio > 0)
            fprintf(out, " %7.3f %7.3f\n", o->cost_ratio, o->pain_ratio);
        else
            fprintf(out, " %7s %7s\n", "-", "-");
        if (*o->violation)
            fprintf(out, "  %sGUARANTEE BROKEN%s: %s\n", colour(out, "\033[31m"), colour(out, "\033[0m"),
                    o->violation);
    }
    fprintf(out,
            ">SLO: requests slower than %g ms, or lost; missed: minutes with over 1 %% of them; inst-h: "
            "instance-hours, boots included;\npain: instance-hours + %g per missed minute; /or: against the "
            "oracle, which knows the load and waits for the same boots\n\n",
            c->params.tier.slo_s * 1000, c->price);
}

static void print_elasticity(FILE *out, const struct outcome *all, size_t count, int wide)
{
    fprintf(out, "%-*s %7s %7s %6s %6s %6s %7s %6s %7s %6s\n", wide, "elasticity", "thetaU%", "thetaO%",
            "tauU%", "tauO%", "ups%", "jitter", "sig5", "sig5@70", "kappa%");
    for (size_t k = 0; k < count; k++) {
        const struct outcome *o = &all[k];
        char kappa[16] = "-";
        if (o->by_seed) /* the yardsticks do not compete */
            snprintf(kappa, sizeof kappa, "%.1f", o->kappa);
        fprintf(out, "%-*s %7.2f %7.2f %6.2f %6.2f %6.2f %7.3f %6.1f %7.1f %6s\n", wide, o->name,
                o->at100.theta_u, o->at100.theta_o, o->at100.tau_u, o->at100.tau_o, o->at100.upsilon,
                o->at100.jitter, o->at100.sigma5, o->at70.sigma5, kappa);
    }
    fprintf(out,
            "of demand at full instances (@70: at 70 %% of that): theta: share short (U), in excess (O); "
            "tau: of the time so;\nups: of the minutes in which only one of demand and supply moves; "
            "jitter: changes of supply beyond those of demand, a minute;\nsig5: distance from perfect; "
            "kappa: won of all comparisons with the other policies in theta, tau, ups and >SLO\n");
}

void print_outcomes(FILE *out, const struct contest *c, const struct outcome *all, size_t count)
{
    int wide = 12;
    for (size_t k = 0; k < count; k++)
        wide = (int)strlen(all[k].name) > wide ? (int)strlen(all[k].name) : wide;
    print_service(out, c, all, count, wide);
    print_elasticity(out, all, count, wide);
}

static void put_score(cJSON *o, const char *name, const struct score *s)
{
    const struct {
        const char *name;
        double v;
    } all[] = {
        { "theta_u", s->theta_u }, { "theta_o", s->theta_o },       { "tau_u", s->tau_u },
        { "tau_o", s->tau_o },     { "upsilon", s->upsilon },       { "jitter", s->jitter },
        { "sigma5", s->sigma5 },   { "accuracy_u", s->accuracy_u }, { "accuracy_o", s->accuracy_o },
    };
    cJSON *part = cJSON_AddObjectToObject(o, name);
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        cJSON_AddNumberToObject(part, all[k].name, all[k].v);
}

static cJSON *outcome_json(const struct outcome *o)
{
    cJSON *j = cJSON_CreateObject();
    const struct {
        const char *name;
        double v;
    } all[] = {
        { "over_slo_percent", o->over_percent },
        { "lost_percent", o->lost_percent },
        { "miss_minutes", o->miss_minutes },
        { "p50_s", o->p50 },
        { "p95_s", o->p95 },
        { "p99_s", o->p99 },
        { "adaptations", o->adaptations },
        { "instance_hours", o->hours },
        { "pain", o->pain },
        { "speedup", o->speedup },
        { "cost_to_oracle", o->cost_ratio },
        { "pain_to_oracle", o->pain_ratio },
    };
    cJSON_AddStringToObject(j, "policy", o->name);
    put_score(j, "demand_at_100", &o->at100);
    put_score(j, "demand_at_70", &o->at70);
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        cJSON_AddNumberToObject(j, all[k].name, all[k].v);
    if (o->by_seed) {
        cJSON_AddNumberToObject(j, "kappa_percent", o->kappa);
        cJSON *seeds = cJSON_AddArrayToObject(j, "by_seed");
        for (int k = 0; k < o->seeds; k++) {
            cJSON *one = cJSON_CreateObject();
            cJSON_AddNumberToObject(one, "instance_hours", o->by_seed[2 * k]);
            cJSON_AddNumberToObject(one, "miss_minutes", o->by_seed[2 * k + 1]);
            cJSON_AddItemToArray(seeds, one);
        }
    }
    cJSON_AddStringToObject(j, "violation", o->violation);
    return j;
}

int print_outcomes_json(const struct contest *c, const struct outcome *all, size_t count)
{
    cJSON *o = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(o, "outcomes");
    cJSON_AddStringToObject(o, "trace", c->trace_path);
    cJSON_AddNumberToObject(o, "trace_step_s", c->trace.step_s);
    cJSON_AddNumberToObject(o, "trace_samples", (double)c->trace.count);
    cJSON_AddNumberToObject(o, "trace_held", (double)c->trace.held);
    cJSON_AddNumberToObject(o, "speed", c->params.speed);
    cJSON_AddNumberToObject(o, "seeds", c->seeds);
    cJSON_AddNumberToObject(o, "first_seed", (double)c->params.seed);
    cJSON_AddNumberToObject(o, "price", c->price);
    for (size_t k = 0; k < count; k++)
        cJSON_AddItemToArray(list, outcome_json(&all[k]));
    return tables_print_json(o);
}
