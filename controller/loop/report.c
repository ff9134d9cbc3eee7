/* report: the engine's state as JSON. Reads only. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "report.h"

#define TEXT_USUAL 8192 /* bytes of a decision: it grows when they do not do */

/* Names are literals: they are not copied. */
static void put_num(cJSON *o, const char *name, double v)
{
    char whole
        [16]; /* cJSON prints a number, reads it back and compares: half of what a decision's text costs */
    bool raw = fabs(v) < 1e9 && v == (int)v;
    if (raw)
        snprintf(whole, sizeof whole, "%d", (int)v);
    cJSON_AddItemToObjectCS(o, name, raw ? cJSON_CreateRaw(whole) : cJSON_CreateNumber(v));
}

static void put_str(cJSON *o, const char *name, const char *v)
{
    cJSON_AddItemToObjectCS(o, name, cJSON_CreateString(v));
}

static void put_bool(cJSON *o, const char *name, bool v)
{
    cJSON_AddItemToObjectCS(o, name, cJSON_CreateBool(v));
}

void report_put_time(cJSON *o, const char *name, int64_t wall)
{
    char text[40];
    struct tm tm;
    time_t s = (time_t)(wall / 1000);
    gmtime_r(&s, &tm);
    size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + n, sizeof text - n, ".%03dZ", (int)(wall % 1000));
    put_str(o, name, text);
}

/* --- decisions --------------------------------------------------------------------------------------- */

static const char *kind_name(enum as_proposal_kind k)
{
    static const char *const names[] = { "abstain", "want", "floor", "ceiling" };
    return (unsigned)k < sizeof names / sizeof *names ? names[k] : "?";
}

static const char *fresh_name(enum as_freshness f)
{
    return f == AS_FRESH ? "fresh" : f == AS_STALE ? "stale" : "never";
}

static void put_reading(cJSON *o, const struct as_reading *r)
{
    put_str(o, "state", fresh_name(r->fresh));
    if (r->fresh != AS_NEVER) {
        put_num(o, "value", r->value);
        put_num(o, "age_ms", (double)r->age);
        put_bool(o, "partial", r->partial);
    }
}

static cJSON *proposal_json(const struct proposal_record *r)
{
    cJSON *o = cJSON_CreateObject(), *inputs = cJSON_AddArrayToObject(o, "inputs");
    put_str(o, "policy", r->policy);
    put_str(o, "type", r->type);
    put_str(o, "kind", kind_name(r->p.kind));
    if (r->p.kind != AS_ABSTAIN)
        put_num(o, "count", r->p.count);
    put_bool(o, "blind", r->p.blind);
    if (r->p.advice)
        put_bool(o, "advice", true);
    put_str(o, "reason", r->p.reason);
    for (size_t k = 0; k < r->input_count; k++) {
        cJSON *in = cJSON_CreateObject();
        put_str(in, "metric", r->inputs[k].metric);
        put_reading(in, &r->inputs[k].reading);
        if (r->inputs[k].failing)
            put_bool(in, "source_failing", true);
        cJSON_AddItemToArray(inputs, in);
    }
    return o;
}

static void put_stages(cJSON *o, const struct decision *d)
{
    cJSON *stages = cJSON_AddArrayToObject(o, "stages");
    for (int s = 0; s < STAGES; s++) {
        cJSON *st = cJSON_CreateObject();
        put_str(st, "stage", stage_name((enum stage_id)s));
        put_num(st, "before", d->stages[s].before);
        put_num(st, "after", d->stages[s].after);
        put_str(st, "reason", d->stages[s].reason);
        cJSON_AddItemToArray(stages, st);
    }
}

static void put_cpu(cJSON *o, const struct group *g, const struct instance *i)
{
    if (*g->cfg->balancer.weigh_source && i->notes->cpu.at > 0 && g->engine->now <= i->notes->cpu.until)
        put_num(o, "cpu_percent", i->notes->cpu.percent);
}

/* What each member was measured at and the weight that came of it. */
static void put_group_weights(cJSON *o, const struct group *g)
{
    cJSON *list = cJSON_AddArrayToObject(o, "weights");
    for (const struct instance *i = g->instances; i; i = i->next)
        for (size_t k = 0; k < g->pool_count; k++) {
            const struct membership *m = &i->pools[k];
            if (g->pools[k].retired || !m->listed || i->state != INST_SERVING)
                continue;
            cJSON *w = cJSON_CreateObject();
            put_str(w, "instance", i->id);
            put_str(w, "balancer", g->pools[k].name);
            put_num(w, "weight", m->weight);
            put_num(w, "response_ms", m->response_ms);
            put_cpu(w, g, i);
            put_num(w, "sessions", m->held);
            cJSON_AddItemToArray(list, w);
        }
}

/* What each policy would have done alone, beside what was done, over the same time. */
static void put_shadows(cJSON *o, const struct group *g)
{
    if (g->shadow_count == 0)
        return;
    cJSON *list = cJSON_AddArrayToObject(o, "shadows");
    for (size_t k = 0; k < g->shadow_count; k++) {
        const struct shadow *sh = &g->shadows[k];
        cJSON *s = cJSON_CreateObject();
        put_str(s, "policy", sh->run.cfg->name);
        put_str(s, "type", sh->run.cfg->type->name);
        put_num(s, "wanted", sh->desired < 0 ? 0 : sh->desired);
        put_num(s, "instance_hours", sh->instance_s / 3600);
        put_num(s, "missed_minutes", sh->missed_s / 60);
        put_str(s, "reason", sh->record.p.reason);
        cJSON_AddItemToArray(list, s);
    }
    put_num(o, "instance_hours", g->instance_s / 3600);
    put_num(o, "missed_minutes", g->missed_s / 60);
}

static void put_summary(cJSON *o, const struct group *g)
{
    char text[DECISION_TEXT] = "";
    if (g->decision.at)
        decision_summary(&g->decision, text, sizeof text);
    put_str(o, "summary", text);
}

cJSON *report_decision(const struct group *g)
{
    const struct decision *d = &g->decision;
    cJSON *o = cJSON_CreateObject();
    put_str(o, "group", g->cfg->name);
    if (!d->at)
        return o;
    report_put_time(o, "time", d->wall);
    put_num(o, "current", d->current);
    put_num(o, "desired", d->desired);
    put_num(o, "serving", d->serving);
    put_num(o, "pending", d->pending);
    put_num(o, "parked", d->parked);
    put_num(o, "footprint", d->footprint);
    put_num(o, "lead_ms", (double)d->lead);
    put_num(o, "unpark_lead_ms", (double)d->unpark_lead);
    put_num(o, "min", d->min);
    put_num(o, "max", d->max);
    put_num(o, "floor", d->floor);
    put_num(o, "ceiling", d->ceiling);
    put_str(o, "binding", d->binding);
    put_bool(o, "blind", d->blind);
    put_bool(o, "acted", g->engine->world.act && d->desired != d->current);
    put_summary(o, g);
    if (d->next_change)
        put_num(o, "next_change_ms", (double)(d->next_change - d->at));
    cJSON *list = cJSON_AddArrayToObject(o, "proposals");
    for (size_t k = 0; k < d->proposal_count; k++)
        cJSON_AddItemToArray(list, proposal_json(&d->proposals[k]));
    put_stages(o, d);
    put_shadows(o, g);
    if (g->cfg->balancer.weigh)
        put_group_weights(o, g);
    return o;
}

char *report_decision_text(const struct group *g)
{
    cJSON *o = report_decision(g);
    char *text = cJSON_PrintBuffered(o, TEXT_USUAL, false);
    cJSON_Delete(o);
    return text;
}

/* --- plans ------------------------------------------------------------------------------------------- */

cJSON *report_plan(const struct group *g, const struct plan *p)
{
    char *decision = report_decision_text(g);
    cJSON *o = decision ? cJSON_Parse(decision) : NULL, *steps = cJSON_AddArrayToObject(o, "steps");
    free(decision);
    put_str(o, "blocked", p->blocked);
    for (size_t k = 0; k < p->count; k++) {
        const struct step *s = &p->items[k];
        cJSON *st = cJSON_CreateObject();
        put_str(st, "step", step_name(s->kind));
        if (s->inst)
            put_str(st, "instance", s->inst->id);
        if (s->inst && s->inst->notes->host_name[0])
            put_str(st, "host", s->inst->notes->host_name);
        if (s->kind == STEP_LAUNCH)
            put_str(st, "host", g->hosts[s->index].name);
        if (s->kind == STEP_ADMIT || s->kind == STEP_MARK || s->kind == STEP_EVICT)
            put_str(st, "balancer", g->pools[s->index].name);
        put_str(st, "why", s->why);
        cJSON_AddItemToArray(steps, st);
    }
    return o;
}

/* --- status ------------------------------------------------------------------------------------------ */

static void put_health(cJSON *o, const struct engine *e, as_time failing_since, as_time ok_at,
                       const struct as_error *err)
{
    put_bool(o, "ok", ok_at > 0 && !failing_since);
    if (!failing_since)
        return;
    put_str(o, "error", err->msg);
    put_str(o, "class", as_rc_name(err->rc));
    put_num(o, "failing_s", (double)(e->now - failing_since) / 1000.0);
}

static cJSON *source_json(const struct engine *e, const struct source *s)
{
    cJSON *o = cJSON_CreateObject();
    put_str(o, "name", s->cfg->name);
    put_str(o, "driver", s->cfg->driver->name);
    put_bool(o, "idle", source_idle(s));
    cJSON *feeds = cJSON_AddArrayToObject(o, "endpoints"), *series = cJSON_AddArrayToObject(o, "series");
    for (size_t k = 0; k < s->feed_count; k++) {
        const struct feed *f = &s->feeds[k];
        cJSON *fo = cJSON_CreateObject();
        put_str(fo, "endpoint", f->endpoint);
        put_health(fo, e, source_idle(s) ? 0 : f->failing_since, f->last_ok, &f->err);
        if (f->partial_since && !source_idle(s)) {
            put_str(fo, "left_out", f->err.msg);
            put_num(fo, "left_out_s", (double)(e->now - f->partial_since) / 1000.0);
        }
        put_num(fo, "polls", (double)f->polls);
        put_num(fo, "failures", (double)f->failures);
        cJSON_AddItemToArray(feeds, fo);
    }
    for (size_t k = 0; k < s->binding_count; k++) {
        cJSON *so = cJSON_CreateObject();
        struct as_reading r = as_series_read(s->bindings[k]->series, e->now, AS_LAST, 0, 0);
        put_str(so, "metric", as_series_name(s->bindings[k]->series));
        put_reading(so, &r);
        cJSON_AddItemToArray(series, so);
    }
    return o;
}

static void put_weights(cJSON *o, const struct group *g, const struct instance *i)
{
    cJSON *list = cJSON_AddArrayToObject(o, "weights");
    for (size_t k = 0; k < g->pool_count; k++) {
        if (g->pools[k].retired || !i->pools[k].listed)
            continue;
        cJSON *w = cJSON_CreateObject();
        put_str(w, "balancer", g->pools[k].name);
        put_num(w, "weight", i->pools[k].weight);
        put_num(w, "response_ms", i->pools[k].response_ms);
        put_cpu(w, g, i);
        cJSON_AddItemToArray(list, w);
    }
}

static cJSON *instance_json(const struct group *g, const struct instance *i)
{
    cJSON *o = cJSON_CreateObject();
    double held = 0;
    for (size_t k = 0; k < g->pool_count; k++)
        held += i->pools[k].listed ? i->pools[k].held : 0;
    put_str(o, "id", i->id);
    put_str(o, "state", inst_state_name(i->state));
    put_bool(o, "serving", instance_serves(g, i));
    put_num(o, "since_s", (double)(g->engine->now - i->since) / 1000.0);
    put_str(o, "host", i->notes->host_name);
    put_str(o, "address", i->address);
    put_num(o, "port", i->port);
    put_num(o, "sessions", held);
    put_bool(o, "outdated",
             i->notes->revision[0] && strcmp(i->notes->revision, g->cfg->compute.revision) != 0);
    if (g->cfg->balancer.weigh)
        put_weights(o, g, i);
    put_str(o, "health", i->notes->health);
    put_str(o, "reason", i->notes->reason);
    return o;
}

static cJSON *host_json(const struct engine *e, const struct host *h)
{
    cJSON *o = cJSON_CreateObject();
    put_str(o, "host", h->name);
    put_health(o, e, h->failing_since, h->listed_at, &h->err);
    if (h->room >= 0)
        put_num(o, "room", h->room);
    put_num(o, "launching", h->launching);
    if (h->launch.fails) {
        put_num(o, "launch_failures", h->launch.fails);
        put_num(o, "launch_wait_s",
                h->launch.until > e->now ? (double)(h->launch.until - e->now) / 1000.0 : 0);
        put_str(o, "launch_error", h->launch.why);
    }
    return o;
}

static cJSON *pool_json(const struct engine *e, const struct pool *p)
{
    cJSON *o = cJSON_CreateObject();
    put_str(o, "balancer", p->name);
    put_str(o, "pool", p->place ? p->place : "");
    put_health(o, e, p->failing_since, p->listed_at, &p->err);
    put_num(o, "foreign_members", p->foreign);
    if (p->leaving)
        put_bool(o, "leaving", true);
    return o;
}

static void put_counts(cJSON *o, const struct group *g)
{
    int states[INST_STATES] = { 0 };
    for (const struct instance *i = g->instances; i; i = i->next)
        states[i->state]++;
    put_num(o, "wanted", g->desired < 0 ? 0 : g->desired);
    put_num(o, "serving", group_serving(g));
    put_num(o, "pending", group_pending(g));
    put_num(o, "parked", states[INST_PARKED]);
    put_num(o, "standby", g->cfg->compute.standby);
    put_num(o, "draining", states[INST_DRAINING]);
    put_num(o, "failed", states[INST_FAILED]);
    put_num(o, "footprint", group_footprint(g));
}

static void put_launch_state(cJSON *o, const struct group *g)
{
    as_time now = g->engine->now;
    put_num(o, "lead_ms", (double)group_lead(g));
    put_num(o, "lead_measured", g->lead.count);
    put_num(o, "boot_ms", (double)group_boot(g));
    put_num(o, "launch_fails_percent", 100 * group_fails(g));
    put_num(o, "unpark_lead_ms", (double)group_unpark_lead(g));
    put_num(o, "unpark_lead_measured", g->unpark_lead.count);
    put_str(o, "blocked", g->blocked);
    put_str(o, "doubt", g->doubt_since ? g->doubt : "");
    if (g->launch.fails) {
        put_num(o, "launch_failures", g->launch.fails);
        put_num(o, "launch_wait_s", g->launch.until > now ? (double)(g->launch.until - now) / 1000.0 : 0);
        put_str(o, "launch_error", g->launch.why);
    }
    put_num(o, "scale_outs", (double)g->scale_outs);
    put_num(o, "scale_ins", (double)g->scale_ins);
    put_num(o, "launches_total", (double)g->launches);
    put_num(o, "launch_failures_total", (double)g->launch_failures);
    put_num(o, "parks_total", (double)g->parks);
    put_num(o, "unparks_total", (double)g->unparks);
    put_num(o, "unpark_failures_total", (double)g->unpark_failures);
}

static cJSON *group_json(const struct engine *e, const struct group *g)
{
    cJSON *o = cJSON_CreateObject();
    put_str(o, "name", g->cfg->name);
    put_num(o, "min", g->cfg->min);
    put_num(o, "max", g->cfg->max);
    put_counts(o, g);
    put_bool(o, "decided", g->decision.at != 0);
    put_num(o, "floor", g->decision.floor);
    put_num(o, "ceiling", g->decision.ceiling);
    put_str(o, "pause", g->cfg->pause);
    put_str(o, "binding", g->decision.binding);
    put_bool(o, "blind", g->decision.blind);
    put_summary(o, g);
    if (g->decision.at)
        put_num(o, "decided_s", (double)(e->now - g->decision.at) / 1000.0);
    put_launch_state(o, g);
    put_shadows(o, g);
    cJSON *hosts = cJSON_AddArrayToObject(o, "hosts"), *pools = cJSON_AddArrayToObject(o, "balancers");
    cJSON *list = cJSON_AddArrayToObject(o, "instances");
    for (size_t k = 0; k < g->host_count; k++)
        if (!g->hosts[k].retired)
            cJSON_AddItemToArray(hosts, host_json(e, &g->hosts[k]));
    for (size_t k = 0; k < g->pool_count; k++)
        if (!g->pools[k].retired)
            cJSON_AddItemToArray(pools, pool_json(e, &g->pools[k]));
    for (const struct instance *i = g->instances; i; i = i->next)
        cJSON_AddItemToArray(list, instance_json(g, i));
    return o;
}

cJSON *report_status(const struct engine *e)
{
    cJSON *o = cJSON_CreateObject();
    put_str(o, "controller", e->cfg->name);
    put_str(o, "version", AUTOSCALE_VERSION);
    put_num(o, "pid", getpid());
    put_bool(o, "dry_run", !e->world.act);
    report_put_time(o, "time", e->wall);
    put_num(o, "uptime_s", (double)(e->now - e->started) / 1000.0);
    put_num(o, "interval_ms", (double)e->cfg->interval);
    put_num(o, "ticks", (double)e->ticks);
    cJSON *j = cJSON_AddObjectToObject(o, "journal");
    put_bool(j, "ok", !e->journal_failing_since);
    put_str(j, "path", e->cfg->state);
    if (e->journal_failing_since)
        put_str(j, "error", e->journal_err.msg);
    cJSON *sources = cJSON_AddArrayToObject(o, "sources"), *groups = cJSON_AddArrayToObject(o, "groups");
    for (const struct source *s = e->sources; s; s = s->next)
        if (!s->retired)
            cJSON_AddItemToArray(sources, source_json(e, s));
    for (const struct group *g = e->groups; g; g = g->next)
        if (!g->retired)
            cJSON_AddItemToArray(groups, group_json(e, g));
    return o;
}
