/* A floor by schedule: at least so many instances from a local time, for a duration, on some days; begun early
 * enough that they serve by then, and let go gradually. Says what holds now and nothing else: a tick missed, a
 * restart or a clock set back changes nothing. */
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "schedule.h"

struct floor_policy {
    int count;
    struct tz *tz;
    struct schedule_date *dates;
    struct schedule schedule;
    bool ready;      /* the start is when they serve, not when they are ordered */
    int64_t release; /* seconds in which the floor falls to 0 after the end */
    /* The window that was begun early, and by how much: a lead that shrinks must not take it back. */
    struct {
        int64_t start, by;
    } early;
    /* The next window as of `searched`, so that a tick need not search a decade of days again. */
    bool known, has_next;
    int64_t searched;
    struct schedule_window next;
};

static const struct as_option options[] = {
    { .name = "count",
      .type = AS_OPT_INT,
      .flags = AS_OPT_REQUIRED,
      .min = 1,
      .max = POLICY_COUNT_MAX,
      .help = "at least so many instances while inside the window" },
    { .name = "start",
      .type = AS_OPT_STRING,
      .flags = AS_OPT_REQUIRED,
      .help =
          "local time at which the window begins (\"20:00\"), or date and time (\"2026-11-27 20:00\") for "
          "just once" },
    { .name = "duration",
      .type = AS_OPT_DURATION,
      .flags = AS_OPT_REQUIRED,
      .min = 1000,
      .max = SCHEDULE_DURATION_MAX * 1000.0,
      .help = "how long it lasts, in elapsed time; may pass midnight" },
    { .name = "ready",
      .type = AS_OPT_BOOL,
      .def = "true",
      .help = "start is when the instances serve: they are ordered as much earlier as they take to serve; "
              "false: they "
              "are ordered at start" },
    { .name = "release",
      .type = AS_OPT_DURATION,
      .def = "0s",
      .max = SCHEDULE_DURATION_MAX * 1000.0,
      .help = "after the end the floor falls to nothing in a straight line over this time" },
    { .name = "days",
      .type = AS_OPT_STRINGS,
      .help = "weekdays on which it begins: mon tue wed thu fri sat sun; neither days nor dates: every day" },
    { .name = "dates",
      .type = AS_OPT_STRINGS,
      .help = "further dates on which it begins: \"2026-11-27\", or \"12-24\" for each year" },
    { .name = "timezone",
      .type = AS_OPT_STRING,
      .def = "UTC",
      .help = "IANA name of the zone that start, days and dates are in, as \"Europe/Berlin\"" },
    { 0 },
};

/* --- validation ---------------------------------------------------------------------------------- */

/* "20:00", or a date before it, which then is the only day. */
static int read_start(struct floor_policy *p, const struct as_settings *settings, struct as_error *err)
{
    const char *text = as_settings_str(settings, "start");
    struct schedule *s = &p->schedule;
    if (schedule_parse_time(text, &s->start))
        return AS_OK;
    char date[11] = "";
    if (strlen(text) > sizeof date && (text[10] == ' ' || text[10] == 'T'))
        memcpy(date, text, 10);
    if (!schedule_parse_date(date, &p->dates[0]) || !schedule_parse_time(text + 11, &s->start))
        return as_settings_fail(settings, "start", err,
                                "\"%.40s\" is neither a time (\"20:00\") nor a date and time "
                                "(\"2026-11-27 20:00\")",
                                text);
    if (as_settings_has(settings, "days") || as_settings_has(settings, "dates"))
        return as_settings_fail(settings, "start", err,
                                "has a date already: give just the time beside days or dates");
    s->date_count = 1;
    return AS_OK;
}

static int read_days(struct schedule *s, const struct as_settings *settings, struct as_error *err)
{
    for (size_t i = 0; i < as_settings_count(settings, "days"); i++) {
        const char *text = as_settings_item(settings, "days", i);
        int day = schedule_parse_weekday(text);
        if (day < 0)
            return as_settings_fail(settings, "days", err,
                                    "\"%.40s\" is not a weekday: write mon tue wed thu fri sat sun", text);
        s->weekdays |= 1u << day;
    }
    return AS_OK;
}

static int read_dates(struct floor_policy *p, const struct as_settings *settings, struct as_error *err)
{
    size_t n = as_settings_count(settings, "dates");
    for (size_t i = 0; i < n; i++) {
        const char *text = as_settings_item(settings, "dates", i);
        if (!schedule_parse_date(text, &p->dates[i]))
            return as_settings_fail(
                settings, "dates", err,
                "\"%.40s\" is not a date: write \"2026-11-27\", or \"11-27\" for each year", text);
    }
    if (n)
        p->schedule.date_count = n;
    return AS_OK;
}

static int read_zone(struct floor_policy *p, const struct as_settings *settings, struct as_error *err)
{
    struct as_error why;
    int rc = tz_load(as_settings_str(settings, "timezone"), &p->tz, &why);
    return rc ? as_settings_fail(settings, "timezone", err, "%s", why.msg) : AS_OK;
}

static void floor_fini(void *state)
{
    struct floor_policy *p = state;
    tz_free(p->tz);
    free(p->dates);
    p->tz = NULL;
    p->dates = NULL;
}

static int floor_init(void *state, const struct as_settings *settings, struct as_error *err)
{
    struct floor_policy *p = state;
    struct schedule *s = &p->schedule;
    size_t dates = as_settings_count(settings, "dates");
    if (dates > SCHEDULE_DATES_MAX)
        return as_settings_fail(settings, "dates", err, "has %zu dates, more than %d", dates,
                                SCHEDULE_DATES_MAX);
    p->dates = calloc(dates + 1, sizeof *p->dates);
    if (!p->dates)
        return as_fail(err, AS_ENOMEM, "out of memory for a schedule");
    p->count = (int)as_settings_int(settings, "count");
    s->duration = as_settings_ms(settings, "duration") / 1000;
    p->ready = as_settings_bool(settings, "ready");
    p->release = as_settings_ms(settings, "release") / 1000;
    int rc = read_start(p, settings, err);
    if (!rc)
        rc = read_days(s, settings, err);
    if (!rc)
        rc = read_dates(p, settings, err);
    if (!rc)
        rc = read_zone(p, settings, err);
    if (rc) {
        floor_fini(p);
        return rc;
    }
    s->tz = p->tz;
    s->dates = p->dates;
    if (!s->weekdays && !s->date_count)
        s->weekdays = SCHEDULE_EVERY_DAY;
    return AS_OK;
}

/* --- decision ------------------------------------------------------------------------------------ */

static bool next_window(struct floor_policy *p, int64_t t)
{
    bool still = p->known && t >= p->searched &&
                 (p->has_next ? t < p->next.start : t - p->searched < AS_DAY / AS_SECOND);
    if (!still) {
        p->has_next = schedule_next(&p->schedule, t, &p->next);
        p->searched = t;
        p->known = true;
    }
    return p->has_next;
}

/* Seconds before the start of `w` at which to begin: what a launch takes, or parked ones to come back, and the tick in which it is noticed. */
static int64_t early_by(const struct floor_policy *p, const struct as_view *view,
                        const struct schedule_window *w)
{
    if (!p->ready || view->lead <= 0)
        return 0;
    int64_t by = (as_view_lead(view, p->count) + view->interval + 999) / 1000;
    return p->early.start == w->start && p->early.by > by ? p->early.by : by;
}

static bool begins_early(struct floor_policy *p, const struct as_view *view, int64_t t,
                         struct as_proposal *out)
{
    if (!next_window(p, t))
        return false;
    int64_t by = early_by(p, view, &p->next);
    if (t < p->next.start - by)
        return false;
    char from[64], span[24];
    p->early.start = p->next.start;
    p->early.by = by;
    out->kind = AS_FLOOR;
    out->count = p->count;
    policy_reason(out, "at least %d, begun %s early to serve from %s", p->count,
                  as_time_text(by * 1000, span, sizeof span),
                  schedule_text(p->tz, p->next.start, t, from, sizeof from));
    return true;
}

/* The same windows, longer by the release: the end of the last of them tells how far it has come. */
static bool releases(const struct floor_policy *p, int64_t t, struct as_proposal *out)
{
    struct schedule longer = p->schedule;
    struct schedule_window w;
    longer.duration += p->release;
    if (p->release <= 0 || !schedule_inside(&longer, t, &w))
        return false;
    char at[64], to[64];
    out->kind = AS_FLOOR;
    out->count = (int)((p->count * (w.end - t) + p->release - 1) / p->release);
    policy_reason(out, "at least %d of %d: ended %s, released until %s", out->count, p->count,
                  schedule_text(p->tz, w.end - p->release, t, at, sizeof at),
                  schedule_text(p->tz, w.end, t, to, sizeof to));
    return true;
}

static void floor_decide(void *state, const struct as_view *view, struct as_proposal *out)
{
    struct floor_policy *p = state;
    struct schedule_window w;
    char from[64], to[64];
    int64_t t = view->now_wall / 1000 - (view->now_wall % 1000 < 0);
    if (schedule_inside(&p->schedule, t, &w)) {
        out->kind = AS_FLOOR;
        out->count = p->count;
        policy_reason(out, "at least %d from %s until %s", p->count,
                      schedule_text(p->tz, w.start, t, from, sizeof from),
                      schedule_text(p->tz, w.end, t, to, sizeof to));
    } else if (begins_early(p, view, t, out) || releases(p, t, out)) {
        return;
    } else if (next_window(p, t)) {
        policy_reason(out, "next from %s, at least %d",
                      schedule_text(p->tz, p->next.start, t, from, sizeof from), p->count);
    } else {
        policy_reason(out, "no further window: every date of the schedule is past");
    }
}

const struct as_policy_type as_policy_floor = {
    .name = "floor",
    .summary = "a floor by schedule: at least so many instances from a local time, for a duration",
    .options = options,
    .state_size = sizeof(struct floor_policy),
    .init = floor_init,
    .decide = floor_decide,
    .fini = floor_fini,
};
