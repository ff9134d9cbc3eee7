/* judge: gathers what decide needs to know about a group, lets the policies propose, decides, and records
 * the decision for the log, the journal and `explain`. It never acts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../model/series.h"
#include "../runtime/log.h"
#include "engine.h"
#include "report.h"
#include "standby.h"

#define REPEAT_EVERY AS_MINUTE /* an unchanged decision is noted in the journal so often */

bool pool_in_use(const struct pool *p)
{
    return !p->retired && !p->leaving;
}

bool instance_serves(const struct group *g, const struct instance *i)
{
    if (i->state != INST_SERVING)
        return false;
    bool any = false, told = false;
    for (size_t k = 0; k < g->pool_count; k++) {
        if (!pool_in_use(&g->pools[k]) || g->pools[k].failing_since || i->pools[k].listed_at == 0)
            continue;
        told = true;
        any = any || (i->pools[k].listed && i->pools[k].state == AS_MEMBER_UP);
    }
    return any || !told; /* no balancer can say: what was true holds */
}

int group_serving(const struct group *g)
{
    int n = 0;
    for (const struct instance *i = g->instances; i; i = i->next)
        n += instance_serves(g, i);
    return n;
}

int group_footprint(const struct group *g)
{
    int n = 0;
    for (const struct instance *i = g->instances; i; i = i->next)
        n += i->state != INST_GONE;
    return n;
}

int group_pending(const struct group *g)
{
    int pending = 0, live = 0, fresh = 0;
    for (const struct instance *i = g->instances; i; i = i->next) {
        pending += inst_pending(i);
        live += inst_live(i);
        fresh += standby_fresh(i);
    }
    if (!standby_wanted(g) || live <= g->desired)
        return pending;
    return pending - (live - g->desired < fresh ? live - g->desired : fresh);
}

/* Nearest rank: only the few largest of at most 64 need sorting. Done when one is added, not at every decision. */
static as_time p95_of(const struct leads *l)
{
    double v[sizeof l->s / sizeof *l->s];
    int n = l->count, above = n - (95 * n + 99) / 100; /* those that took longer */
    memcpy(v, l->s, (size_t)n * sizeof *v);
    for (int k = 0; k <= above; k++)
        for (int i = k + 1; i < n; i++)
            if (v[i] > v[k]) {
                double larger = v[i];
                v[i] = v[k];
                v[k] = larger;
            }
    return (as_time)(v[above] * 1000.0);
}

void leads_add(struct leads *l, double seconds)
{
    int most = sizeof l->s / sizeof *l->s;
    l->s[l->next] = seconds;
    l->next = (l->next + 1) % most;
    l->count += l->count < most;
    l->p95 = p95_of(l);
}

as_time group_lead(const struct group *g)
{
    return g->lead.count ? g->lead.p95 : g->cfg->lead;
}

as_time group_boot(const struct group *g)
{
    return g->boot.count ? g->boot.p95 : group_lead(g);
}

#define ODDS_FADE  0.995 /* half is forgotten after 138 launches      */
#define ODDS_DOUBT 20    /* launches that none of these failures are worth */

void group_count_launch(struct group *g, const struct instance *i, bool failed)
{
    if (failed && g->engine->now - i->launched_at < group_boot(g) / 2)
        return;
    g->odds.failed = ODDS_FADE * g->odds.failed + failed;
    g->odds.all = ODDS_FADE * g->odds.all + 1;
}

double group_fails(const struct group *g)
{
    return g->odds.failed / (g->odds.all + ODDS_DOUBT);
}

as_time group_unpark_lead(const struct group *g)
{
    return g->unpark_lead.count ? g->unpark_lead.p95 : group_lead(g);
}

bool group_observed(const struct group *g)
{
    for (size_t k = 0; k < g->host_count; k++)
        if (!g->hosts[k].retired && g->hosts[k].tries == 0)
            return false;
    for (size_t k = 0; k < g->pool_count; k++)
        if (pool_in_use(&g->pools[k]) && g->pools[k].tries == 0)
            return false;
    return true;
}

const struct pool *group_refused(const struct group *g)
{
    for (size_t k = 0; k < g->pool_count; k++)
        if (pool_in_use(&g->pools[k]) && g->pools[k].refused)
            return &g->pools[k];
    return NULL;
}

/* --- proposals -------------------------------------------------------------------------------------- */

static bool input_failing(const struct policy_input *in)
{
    for (int k = 0; k < in->metric_count; k++)
        if (binding_failing(in->owners[k], in->bound[k]))
            return true;
    return false;
}

/* Formulas are worked out once per decision; a result that is missing is not added, so that it ages. */
static void work_out(struct engine *e, struct policy_run *run)
{
    for (size_t k = 0; k < run->input_count; k++) {
        struct policy_input *in = &run->sources[k];
        const struct as_series *read[FORMULA_METRICS];
        if (!in->own)
            continue;
        for (int m = 0; m < in->metric_count; m++)
            read[m] = in->bound[m]->series;
        struct as_reading r = formula_eval(in->formula, read, e->now);
        if (r.fresh != AS_FRESH)
            continue;
        series_push(in->own, e->now, r.value, r.partial);
        if (in->past)
            e->minutes_wait = observe_roll_up(e, in->past, in->text, r.value) || e->minutes_wait;
    }
}

static void record_inputs(const struct policy_run *run, as_time now, struct proposal_record *r)
{
    r->input_count = 0;
    for (size_t k = 0; k < run->input_count && r->input_count < DECIDE_INPUTS_MAX; k++) {
        if (!run->inputs[k])
            continue;
        struct input_record *in = &r->inputs[r->input_count++];
        in->metric = run->sources[k].text;
        in->reading = as_series_read(run->inputs[k], now, AS_LAST, 0, 0);
        in->failing = input_failing(&run->sources[k]);
    }
}

static void view_for(const struct policy_run *run, const struct as_view *base, struct as_view *v)
{
    *v = *base;
    v->inputs = run->inputs;
    v->input_count = run->input_count;
}

void policy_propose(struct engine *e, struct policy_run *run, const struct as_view *base,
                    struct proposal_record *r)
{
    struct as_view v;
    work_out(e, run);
    view_for(run, base, &v);
    r->policy = run->cfg->name;
    r->type = run->cfg->type->name;
    r->damps_itself = run->cfg->type->damps_itself;
    memset(&r->p, 0, offsetof(struct as_proposal, reason) + 1);
    run->cfg->type->decide(run->state, &v, &r->p);
    if (r->p.count < 0)
        r->p.count = 0;
    record_inputs(run, base->now, r);
}

static void propose(struct group *g, const struct as_view *base)
{
    for (size_t p = 0; p < g->policy_count; p++)
        policy_propose(g->engine, &g->policies[p], base, &g->decision.proposals[p]);
    g->decision.proposal_count = g->policy_count;
}

struct sustain_arg {
    const struct group *g;
    const struct as_view *base;
};

static bool all_sustain(void *arg, int count)
{
    const struct sustain_arg *a = arg;
    for (size_t p = 0; p < a->g->policy_count; p++) {
        const struct policy_run *run = &a->g->policies[p];
        const struct as_proposal *said = &a->g->decision.proposals[p].p;
        struct as_view v;
        view_for(run, a->base, &v);
        if (!said->advice && run->cfg->type->sustains && !run->cfg->type->sustains(run->state, &v, count))
            return false;
    }
    return true;
}

/* --- the decision ------------------------------------------------------------------------------------ */

/* Since when is it on its way? Of one that served before, as of one made by another process, its state tells. */
static as_time pending_from(const struct instance *i)
{
    return i->wanted_at && !i->notes->serving_wall ? i->wanted_at : i->since;
}

static void count_group(const struct group *g, struct decide_in *in)
{
    in->serving = group_serving(g);
    in->footprint = group_footprint(g);
    in->parked = standby_usable_count(g);
    in->pending = group_pending(g);
    in->pending_since = 0;
    for (const struct instance *i = g->instances; i && in->pending; i = i->next)
        if (inst_pending(i) && (!in->pending_since || pending_from(i) < in->pending_since))
            in->pending_since = pending_from(i);
}

int host_room(const struct group *g, int host)
{
    const struct host *h = &g->hosts[host];
    int room = h->room;
    for (const struct instance *i = g->instances; i && room > 0; i = i->next)
        if (i->host == host && i->state != INST_GONE)
            room -= i->state == INST_CREATING || i->compute_done >= h->listed_at;
    return room;
}

/* How many more than wanted now; less than none when some that are wanted have no place yet. A suspended one needs no
 * more room than it has; a saved one has given it back. */
static int group_room(const struct group *g)
{
    int room = (g->cfg->compute.park == CFG_PARK_SUSPEND ? standby_usable_count(g) : 0) - g->desired;
    for (const struct instance *i = g->instances; i; i = i->next)
        room += i->host >= 0 && inst_live(i);
    for (size_t k = 0; k < g->host_count; k++) {
        if (g->hosts[k].retired || g->hosts[k].listed_at == 0)
            continue;
        if (g->hosts[k].room < 0)
            return ROOM_UNKNOWN;
        room += host_room(g, (int)k);
    }
    return room;
}

static void first_count(struct group *g)
{
    int live = 0;
    for (const struct instance *i = g->instances; i; i = i->next)
        live += inst_live(i);
    if (g->desired < 0)
        g->desired = live;
    if (g->desired < g->cfg->min)
        g->desired = g->cfg->min;
    if (g->desired > g->cfg->max)
        g->desired = g->cfg->max;
    g->desired_dirty = true;
    group_rows_changed(g);
    g->decided = true;
}

/* Groups that began together repeat at different moments: a thousand rows in one tick would hold up the loop. */
static as_time repeat_phase(const struct group *g)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (const char *c = g->cfg->name; *c; c++)
        h = (h ^ (unsigned char)*c) * 16777619u;
    return (as_time)(h >> 8) % REPEAT_EVERY;
}

/* Tells the log, in words that most decisions need not be put into. */
static void say(struct group *g, bool changed)
{
    char summary[DECISION_TEXT];
    if (!changed && !log_shows(LOG_LEVEL_DEBUG))
        return;
    decision_summary(&g->decision, summary, sizeof summary);
    bool news =
        changed && strcmp(summary, g->said) != 0; /* a want beyond the bounds may change all the time */
    if (g->decision.desired != g->decision.current ? changed : news)
        log_info(g->cfg->name, "%s%s", g->engine->world.act ? "" : "[dry run] ", summary);
    else
        log_debug(g->cfg->name, "%s", summary);
    memcpy(g->said, summary, sizeof summary);
}

static void record(struct group *g)
{
    struct engine *e = g->engine;
    char outcome[DECISION_TEXT];
    decision_outcome(&g->decision, outcome, sizeof outcome);
    bool changed = strcmp(outcome, g->outcome) != 0;
    say(g, changed);
    if (changed)
        memcpy(g->outcome, outcome, sizeof outcome);
    if (e->world.forgets || (!changed && g->outcome_at && e->now - g->outcome_at < REPEAT_EVERY))
        return;
    bool first = !g->outcome_at;
    g->outcome_at = 0; /* until it is written, here and by the turn's commit, the next decision tries again */
    if (!engine_transaction(e))
        return;
    char *json = report_decision_text(g);
    if (json && journal_put_decision(e->journal, e->wall, g->cfg->name, g->decision.current,
                                     g->decision.desired, outcome, json, NULL) == AS_OK)
        g->outcome_at = first ? e->now - repeat_phase(g) : e->now;
    free(json);
}

static void adopt_decision(struct group *g)
{
    struct engine *e = g->engine;
    int delta = g->decision.desired - g->desired;
    if (delta == 0 || !e->world.act)
        return;
    g->desired = g->decision.desired;
    g->desired_dirty = true;
    group_rows_changed(g);
    g->scale_outs += delta > 0;
    g->scale_ins += delta < 0;
    damper_note(&g->damper, e->now, delta);
    char summary[DECISION_TEXT];
    decision_summary(&g->decision, summary, sizeof summary);
    engine_scale_event(e, g->cfg->name, delta, summary);
}

void group_decide(struct group *g)
{
    struct engine *e = g->engine;
    g->decide_at = 0;
    if (e->held || !group_observed(g) || (!g->decided && group_refused(g)))
        return; /* a balancer that cannot be driven as it is: nothing is begun */
    if (!g->decided)
        first_count(g);
    group_forget_crashes(g);
    struct decide_in in = { .group = g->cfg,
                            .now = e->now,
                            .now_wall = e->wall,
                            .interval = e->cfg->interval,
                            .lead = group_lead(g),
                            .unpark_lead = group_unpark_lead(g),
                            .current = g->desired,
                            .room = group_room(g) };
    count_group(g, &in);
    struct as_view base = { .now = e->now,
                            .now_wall = e->wall,
                            .interval = in.interval,
                            .lead = in.lead,
                            .boot = group_boot(g),
                            .fails = group_fails(g),
                            .unpark_lead = in.unpark_lead,
                            .parked = in.parked,
                            .min = g->cfg->min,
                            .max = g->cfg->max,
                            .current = g->desired,
                            .serving = in.serving,
                            .pending = g->desired > in.serving ? g->desired - in.serving : 0 };
    propose(g, &base);
    struct sustain_arg arg = { g, &base };
    in.sustains = all_sustain;
    in.arg = &arg;
    decide(&in, &g->damper, &g->decision);
    shadow_group(g, &base);
    record(g);
    adopt_decision(g);
    g->dirty = true;
}
