/* decide: merge, stabilise, flap test, rate, bound. Pure integer arithmetic over values; it must never
 * read a clock, log, or look at anything but its arguments. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "decide.h"

const char *stage_name(enum stage_id s)
{
    static const char *const names[STAGES] = { "merge", "stabilise", "flap-test", "rate", "bound" };
    return (unsigned)s < STAGES ? names[s] : "?";
}

void damper_note(struct damper *d, as_time at, int delta)
{
    size_t i = (d->ledger_head + d->ledger_count) % DAMP_LEDGER;
    if (d->ledger_count == DAMP_LEDGER)
        d->ledger_head = (d->ledger_head + 1) % DAMP_LEDGER;
    else
        d->ledger_count++;
    d->ledger[i].at = at;
    d->ledger[i].delta = delta;
    if (delta > 0)
        d->last_out = at;
    else
        d->last_in = at;
}

__attribute__((format(printf, 5, 6))) static int stage(struct decision *out, enum stage_id id, int before,
                                                       int after, const char *fmt, ...)
{
    struct stage_record *r = &out->stages[id];
    r->before = before;
    r->after = after;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->reason, sizeof r->reason, fmt, ap);
    va_end(ap);
    return after;
}

/* The stage had nothing to say: by far the most common outcome, and free of formatting. */
static int pass(struct decision *out, enum stage_id id, int count)
{
    struct stage_record *r = &out->stages[id];
    r->before = r->after = count;
    r->reason[0] = '\0';
    return count;
}

static void hold_until(struct decision *out, as_time when)
{
    if (out->next_change == 0 || when < out->next_change)
        out->next_change = when;
}

/* --- merge: out if any asks, in only if all agree and every input is fresh ------------------------ */

static const struct proposal_record *blind_one(const struct decision *out)
{
    for (size_t i = 0; i < out->proposal_count; i++) {
        const struct proposal_record *r = &out->proposals[i];
        if (r->p.advice)
            continue;
        if (r->p.blind)
            return r;
        for (size_t k = 0; k < r->input_count; k++)
            if (r->inputs[k].failing || r->inputs[k].reading.fresh != AS_FRESH ||
                r->inputs[k].reading.partial)
                return r;
    }
    return NULL;
}

static const struct proposal_record *largest_want(const struct decision *out)
{
    const struct proposal_record *best = NULL;
    for (size_t i = 0; i < out->proposal_count; i++) {
        const struct proposal_record *r = &out->proposals[i];
        if (r->p.kind == AS_WANT && !r->p.advice && (!best || r->p.count > best->p.count))
            best = r;
    }
    return best;
}

static bool load_policies(const struct decision *out)
{
    for (size_t i = 0; i < out->proposal_count; i++)
        if (out->proposals[i].p.kind == AS_WANT || out->proposals[i].p.blind ||
            (out->proposals[i].p.kind == AS_ABSTAIN && out->proposals[i].input_count > 0))
            return true; /* one that measures and has nothing to say is no reason to shrink */
    return false;
}

/* An instance on its way has not relieved anybody yet, so the load looks too high per instance and too low
 * in total: wait for it, but not longer than a launch may take. */
static bool waits_for_pending(const struct decide_in *in)
{
    const struct cfg_group *g = in->group;
    as_time limit = g->compute.timeout + 2 * g->health.boot_timeout;
    return in->pending > 0 && in->pending_since && in->now - in->pending_since < limit;
}

static int merge(const struct decide_in *in, struct decision *out)
{
    int cur = in->current;
    const struct proposal_record *want = largest_want(out), *blind = blind_one(out);
    out->blind = blind != NULL;
    if (out->paused)
        return stage(out, STAGE_MERGE, cur, cur, "paused: %s", in->group->pause);
    if (!want && !load_policies(out))
        return stage(out, STAGE_MERGE, cur, in->group->min, "no policy measures load: the minimum");
    if (!want && !blind)
        return stage(out, STAGE_MERGE, cur, cur, "no policy asks for another size");
    if (!want)
        return stage(out, STAGE_MERGE, cur, cur, "holding: no policy can tell (%s: %.120s)", blind->policy,
                     blind->p.reason);
    if (want->p.count > cur)
        return stage(out, STAGE_MERGE, cur, want->p.count, "%s asks for %d", want->policy, want->p.count);
    if (want->p.count == cur)
        return stage(out, STAGE_MERGE, cur, cur, "%s asks for %d: no change", want->policy, cur);
    if (blind)
        return stage(out, STAGE_MERGE, cur, cur, "holding: %s would do with %d, but %s lacks fresh data",
                     want->policy, want->p.count, blind->policy);
    if (waits_for_pending(in))
        return stage(out, STAGE_MERGE, cur, cur, "holding: %d would do, but %d %s still on the way",
                     want->p.count, in->pending, in->pending == 1 ? "is" : "are");
    return stage(out, STAGE_MERGE, cur, want->p.count, "all agree on fewer; %s asks for the most, %d",
                 want->policy, want->p.count);
}

static bool all_damp_themselves(const struct decision *out)
{
    bool any = false;
    for (size_t i = 0; i < out->proposal_count; i++) {
        const struct proposal_record *r = &out->proposals[i];
        if (r->p.advice || r->p.kind == AS_FLOOR || r->p.kind == AS_CEILING)
            continue;
        if (!r->damps_itself && (r->p.kind == AS_WANT || r->input_count > 0))
            return false;
        any = any || r->damps_itself;
    }
    return any;
}

/* --- stabilise: asymmetric windows over what was asked for --------------------------------------- */

static void remember_want(struct damper *d, as_time now, int want)
{
    /* Equal neighbours merge: an entry says "from its time until the next one's"; the ring then holds
     * changes, not ticks, and a window of any length fits. */
    if (d->want_count) {
        size_t last = (d->want_head + d->want_count - 1) % DAMP_WANTS;
        if (d->wants[last].want == want)
            return;
    }
    if (d->want_count == DAMP_WANTS) { /* drop the lower of the two oldest: errs to more instances */
        size_t a = d->want_head, b = (a + 1) % DAMP_WANTS;
        if (d->wants[a].want > d->wants[b].want)
            d->wants[b].want = d->wants[a].want;
        d->want_head = b;
        d->want_count--;
    }
    size_t i = (d->want_head + d->want_count++) % DAMP_WANTS;
    d->wants[i].at = now;
    d->wants[i].want = want;
}

/* Lowest or highest want in force at any time in (now - window, now]; *since: when that extreme ends to count. */
static int window_extreme(const struct damper *d, as_time now, as_time window, bool highest, as_time *until)
{
    int best = 0;
    bool any = false;
    as_time end = now; /* an entry is in force until the next one's time */
    for (size_t k = d->want_count; k-- > 0;) {
        size_t i = (d->want_head + k) % DAMP_WANTS;
        if (any && end <= now - window)
            break;
        int w = d->wants[i].want;
        if (!any || (highest ? w > best : w < best)) {
            best = w;
            *until = end + window;
        }
        any = true;
        end = d->wants[i].at;
    }
    return best;
}

static int stabilise(const struct decide_in *in, struct damper *d, struct decision *out, int want,
                     bool damped)
{
    const struct cfg_group *g = in->group;
    int cur = in->current;
    if (d->want_count == 0) /* first sight, also after a restart: what is there is what was wanted */
        remember_want(d, in->now, cur);
    remember_want(d, in->now, want);
    if (damped)
        return pass(out, STAGE_STABILISE, want);
    as_time lo_until = in->now, hi_until = in->now;
    int lo = window_extreme(d, in->now, g->out.window, false, &lo_until);
    int hi = window_extreme(d, in->now, g->in.window, true, &hi_until);
    char span[32];
    if (want > cur && lo < want) {
        hold_until(out, lo_until);
        return stage(out, STAGE_STABILISE, want, lo > cur ? lo : cur,
                     "at least %d was wanted for all of the last %s", lo,
                     as_time_text(g->out.window, span, sizeof span));
    }
    if (want < cur && hi > want) {
        hold_until(out, hi_until);
        return stage(out, STAGE_STABILISE, want, hi < cur ? hi : cur, "%d was wanted within the last %s", hi,
                     as_time_text(g->in.window, span, sizeof span));
    }
    return pass(out, STAGE_STABILISE, want);
}

/* --- flap test: refuse a scale-in that would at once ask to come back ------------------------------ */

static int flap_test(const struct decide_in *in, struct decision *out, int want, bool damped)
{
    if (want >= in->current || !in->sustains || damped)
        return pass(out, STAGE_FLAP, want);
    int c = want;
    while (c < in->current && !in->sustains(in->arg, c))
        c++;
    if (c == want)
        return pass(out, STAGE_FLAP, want);
    if (c == in->current)
        return stage(out, STAGE_FLAP, want, c, "with fewer than %d the load would ask for more at once", c);
    return stage(out, STAGE_FLAP, want, c, "with %d the load would ask for more at once", c - 1);
}

/* --- rate: cooldowns and step limits ------------------------------------------------------------- */

/* Net changes of one direction within the period. */
static int ledger_sum(const struct damper *d, as_time since, bool out, as_time *oldest)
{
    int sum = 0;
    for (size_t k = 0; k < d->ledger_count; k++) {
        size_t i = (d->ledger_head + k) % DAMP_LEDGER;
        if (d->ledger[i].at <= since || (d->ledger[i].delta > 0) != out)
            continue;
        if (sum == 0)
            *oldest = d->ledger[i].at;
        sum += d->ledger[i].delta > 0 ? d->ledger[i].delta : -d->ledger[i].delta;
    }
    return sum;
}

/* The largest number of instances that may be added or removed within one period. */
static int allowance(const struct cfg_rate *r, int start, bool out)
{
    int by_step = r->max_step, by_percent = 0;
    if (r->max_percent > 0) {
        long scaled = (long)start * r->max_percent;
        by_percent = (int)(out ? (scaled + 99) / 100 : scaled / 100);
        if (by_percent < 1)
            by_percent = 1; /* a percentage of a small group must not stop it for good */
    }
    return by_step > by_percent ? by_step : by_percent;
}

static int rate(const struct decide_in *in, const struct damper *d, struct decision *out, int want)
{
    int cur = in->current;
    if (want == cur)
        return pass(out, STAGE_RATE, want);
    bool up = want > cur;
    const struct cfg_rate *r = up ? &in->group->out : &in->group->in;
    as_time last = up ? d->last_out : d->last_in;
    char span[32];
    if (last && r->cooldown && in->now < last + r->cooldown) {
        hold_until(out, last + r->cooldown);
        return stage(out, STAGE_RATE, want, cur, "cooldown of scale-%s: %s left", up ? "out" : "in",
                     as_time_text(last + r->cooldown - in->now, span, sizeof span));
    }
    if (!r->max_step && !r->max_percent)
        return pass(out, STAGE_RATE, want);
    as_time oldest = in->now;
    int done_same = ledger_sum(d, in->now - r->period, up, &oldest);
    int start = up ? cur - done_same : cur + done_same;
    int left = allowance(r, start > 0 ? start : 0, up) - done_same;
    if (left < 0)
        left = 0;
    int limited = up ? (want > cur + left ? cur + left : want) : (want < cur - left ? cur - left : want);
    if (limited == want)
        return pass(out, STAGE_RATE, want);
    hold_until(out, oldest + r->period);
    return stage(out, STAGE_RATE, want, limited, "at most %d %s per %s", left + done_same,
                 up ? "more" : "fewer", as_time_text(r->period, span, sizeof span));
}

/* --- bound: floors, ceilings, room, min and max -------------------------------------------------- */

struct bounds {
    int floor, ceiling;
    char floor_name[BIND_TEXT], ceiling_name[BIND_TEXT];
};

static void lower_ceiling(struct bounds *b, int count, const char *kind, const char *name)
{
    if (count < b->ceiling) {
        b->ceiling = count;
        snprintf(b->ceiling_name, sizeof b->ceiling_name, "%s%s%s", kind, *name ? " " : "", name);
    }
}

static void find_bounds(const struct decide_in *in, const struct decision *out, struct bounds *b)
{
    *b = (struct bounds){ .floor = in->group->min, .ceiling = in->group->max };
    snprintf(b->floor_name, sizeof b->floor_name, "min");
    snprintf(b->ceiling_name, sizeof b->ceiling_name, "max");
    if (in->room != ROOM_UNKNOWN && in->room < in->group->max)
        lower_ceiling(b, in->current + in->room, "room on the hosts", "");
    for (size_t i = 0; i < out->proposal_count && !out->paused; i++) {
        const struct proposal_record *r = &out->proposals[i];
        if (r->p.advice)
            continue;
        if (r->p.kind == AS_CEILING)
            lower_ceiling(b, r->p.count, "ceiling", r->policy);
        if (r->p.kind == AS_FLOOR && r->p.count > b->floor) {
            b->floor = r->p.count;
            snprintf(b->floor_name, sizeof b->floor_name, "floor %s", r->policy);
        }
    }
    if (b->ceiling < in->group->min)
        b->ceiling = in->group->min; /* the minimum holds whatever a ceiling says */
}

static int bound(const struct decide_in *in, struct decision *out, int want)
{
    struct bounds b;
    find_bounds(in, out, &b);
    const struct cfg_group *g = in->group;
    int n = want;
    const char *by = "";
    if (n < b.floor) {
        n = b.floor;
        by = b.floor_name;
    }
    if (n > b.ceiling) { /* a ceiling stops growth and never takes anything away; only max does */
        int keep = in->current < want ? in->current : want;
        n = b.ceiling > keep ? b.ceiling : keep;
        by = n < want || strcmp(by, "") != 0 ? b.ceiling_name : by;
    }
    if (n > g->max) {
        n = g->max;
        by = "max";
    }
    if (n < g->min) {
        n = g->min;
        by = "min";
    }
    out->floor = b.floor;
    out->ceiling = b.ceiling;
    snprintf(out->binding, sizeof out->binding, "%s", by);
    if (n == want)
        return pass(out, STAGE_BOUND, n);
    return stage(out, STAGE_BOUND, want, n, "bound by %s (%d to %d)", by, b.floor, b.ceiling);
}

void decide(const struct decide_in *in, struct damper *d, struct decision *out)
{
    out->at = in->now;
    out->wall = in->now_wall;
    out->min = in->group->min;
    out->max = in->group->max;
    out->current = in->current;
    out->serving = in->serving;
    out->pending = in->pending;
    out->parked = in->parked;
    out->lead = in->lead;
    out->unpark_lead = in->unpark_lead;
    out->footprint = in->footprint;
    out->next_change = 0;
    out->paused = *in->group->pause != '\0';
    int n = merge(in, out);
    bool damped = all_damp_themselves(out);
    n = stabilise(in, d, out, n, damped);
    n = flap_test(in, out, n, damped);
    n = rate(in, d, out, n);
    out->desired = bound(in, out, n);
}

void decision_outcome(const struct decision *d, char *buf, size_t size)
{
    size_t n = 0;
    const struct proposal_record *want = largest_want(d);
    bool held = want && want->p.count < d->current && d->stages[STAGE_MERGE].after == d->current;
    n += (size_t)snprintf(buf, size, "%d->%d%s%s%s", d->current, d->desired, d->paused ? " paused" : "",
                          d->blind ? " blind" : "", held ? " held" : "");
    for (int s = 0; s < STAGES && n < size; s++)
        if (d->stages[s].before != d->stages[s].after)
            n += (size_t)snprintf(buf + n, size - n, " %s:%d", stage_name((enum stage_id)s),
                                  d->stages[s].after);
    if (d->binding[0] && n < size)
        snprintf(buf + n, size - n, " by %s", d->binding);
}

void decision_summary(const struct decision *d, char *buf, size_t size)
{
    int last = STAGE_MERGE;
    for (int s = STAGE_STABILISE; s < STAGES; s++)
        if (d->stages[s].before != d->stages[s].after)
            last = s; /* the last stage that changed the number decides */
    const char *why = d->stages[last].reason;
    const struct proposal_record *want = last < STAGE_BOUND ? largest_want(d) : NULL;
    if (d->desired == d->current)
        snprintf(buf, size, "stays at %d: %s", d->desired, why);
    else if (want && last == STAGE_MERGE)
        snprintf(buf, size, "%d -> %d: %s (%s)", d->current, d->desired, why, want->p.reason);
    else if (want)
        snprintf(buf, size, "%d -> %d: %s; %s asks for %d (%s)", d->current, d->desired, why, want->policy,
                 want->p.count, want->p.reason);
    else
        snprintf(buf, size, "%d -> %d: %s", d->current, d->desired, why);
}
