/* shadow: what other policies would have done on the live metrics, each alone, through the very stages of a
 * real decision. A shadow has a count of its own, whose growth serves one lead time later; it is charged for
 * instance-seconds and for the time in which it would have had fewer than the load needs. It never acts. */
#include <string.h>

#include "engine.h"

/* What the load needs, as far as the group's own policies can tell; -1: they cannot. */
static int need_of(const struct decision *d)
{
    int need = -1;
    for (size_t k = 0; k < d->proposal_count; k++)
        if (d->proposals[k].p.kind == AS_WANT && d->proposals[k].p.count > need)
            need = d->proposals[k].p.count;
    return need < 0 ? need : need > d->max ? d->max : need < d->min ? d->min : need;
}

/* Instances of the shadow that would serve by now: those still booting are not among them. */
static int would_serve(struct shadow *s, as_time now)
{
    int booting = 0, kept = 0;
    for (int k = 0; k < s->step_count; k++) {
        if (s->steps[k].ready <= now)
            continue;
        booting += s->steps[k].count;
        s->steps[kept++] = s->steps[k];
    }
    s->step_count = kept;
    return s->desired - booting;
}

static void charge(struct shadow *s, as_time now, double seconds, int need)
{
    int serves = would_serve(s, now);
    s->instance_s += s->desired * seconds;
    if (need > serves)
        s->missed_s += seconds;
}

static void move(struct shadow *s, as_time now, as_time lead)
{
    int delta = s->decision.desired - s->desired;
    if (delta == 0)
        return;
    damper_note(&s->damper, now, delta);
    if (delta > 0 && s->step_count < SHADOW_STEPS) {
        s->steps[s->step_count].ready = now + lead;
        s->steps[s->step_count++].count = delta;
    }
    for (int left = -delta; left > 0 && s->step_count > 0;) { /* what still boots goes first */
        int *last = &s->steps[s->step_count - 1].count;
        int cut = *last < left ? *last : left;
        *last -= cut;
        left -= cut;
        if (*last == 0)
            s->step_count--;
    }
    s->desired = s->decision.desired;
}

static void decide_alone(struct group *g, struct shadow *s, const struct as_view *base)
{
    struct as_view v = *base;
    v.current = s->desired;
    v.parked = 0;
    v.pending = s->desired - would_serve(s, base->now);
    policy_propose(g->engine, &s->run, &v, &s->record);
    s->decision.proposals = &s->record;
    s->decision.proposal_count = 1;
    struct decide_in in = { .group = g->cfg,
                            .now = base->now,
                            .now_wall = base->now_wall,
                            .interval = base->interval,
                            .lead = base->lead,
                            .current = s->desired,
                            .serving = s->desired - v.pending,
                            .pending = v.pending,
                            .footprint = s->desired,
                            .pending_since = v.pending ? base->now : 0,
                            .room = ROOM_UNKNOWN };
    decide(&in, &s->damper, &s->decision);
    move(s, base->now, base->lead);
}

void shadow_group(struct group *g, const struct as_view *base)
{
    if (g->shadow_count == 0)
        return;
    double seconds = g->shadowed_at ? (double)(base->now - g->shadowed_at) / 1000.0 : 0;
    int need = need_of(&g->decision);
    g->shadowed_at = base->now;
    g->instance_s += group_footprint(g) * seconds;
    if (need > base->serving)
        g->missed_s += seconds;
    for (size_t k = 0; k < g->shadow_count; k++) {
        struct shadow *s = &g->shadows[k];
        if (s->desired < 0)
            s->desired = base->current;
        else
            charge(s, base->now, seconds, need);
        decide_alone(g, s, base);
    }
}
