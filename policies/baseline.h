/* What the baselines share: their common options, their own clock, windows of past counts. A baseline is a
 * published algorithm as an ordinary policy, told the whole load and what one instance carries of it. */
#ifndef POLICIES_BASELINE_H
#define POLICIES_BASELINE_H

#include "common.h"

/* For the option table, first. `DEFAULT_TARGET` is the share of an instance's capacity that is aimed at. */
#define BASELINE_OPTIONS(DEFAULT_TARGET)                                                                \
    { .name = "metric", .type = AS_OPT_METRIC, .flags = AS_OPT_REQUIRED,                                \
      .help = "the whole load of the group, as requests per second" },                                  \
    { .name = "per_instance", .type = AS_OPT_NUMBER, .flags = AS_OPT_REQUIRED, .min = 1e-9,             \
      .max = 1e15, .help = "how much of the load one instance carries at 100 %" },                      \
    { .name = "target", .type = AS_OPT_PERCENT, .def = DEFAULT_TARGET, .min = 0.01, .max = 1,           \
      .help = "the part of per_instance an instance shall carry" }

#define BASELINE_WINDOW_OPTION                                                                          \
    { .name = "window", .type = AS_OPT_DURATION, .def = "0s", .max = 3600000,                           \
      .help = "the load is its mean over this time; 0s takes the newest value" }

struct baseline {
    const char *metric; /* borrowed from the settings */
    double per_instance, target;
    double unit; /* per_instance * target: the load an instance shall carry */
    bool has_last;
    int last; /* what it wanted when its period passed last */
    char reason[AS_REASON_MAX];
};
void baseline_init(struct baseline *b, const struct as_settings *settings);

/* The mean load over `window` (0: the newest value), never negative. False when it is missing or stale: then
 * *out abstains, blind. Partial data sets out->blind. */
bool baseline_load(const struct baseline *b, const struct as_view *view, as_time window, double *load,
                   struct as_proposal *out);

/* True when a period has passed, and the next one begins: on a grid, so that ticks which do not divide
 * the period keep its mean. True at the first call. *next starts as 0. */
bool baseline_due(as_time *next, as_time now, as_time period);

/* Wants `count`, with out->reason already set, and remembers both. Never fewer than current on partial data. */
void baseline_want(struct baseline *b, const struct as_view *view, int count, struct as_proposal *out);
/* What was wanted last; before that the present size. */
void baseline_repeat(const struct baseline *b, const struct as_view *view, struct as_proposal *out);
/* What stands when nothing acts: the size that is there, or what was wanted and is not there yet. */
int baseline_stand(const struct baseline *b, const struct as_view *view);
/* "LOAD / UNIT per instance = NEED", for the start of a reason. */
void baseline_explain(const struct baseline *b, double load, const char *then, struct as_proposal *out);

/* --- one point per period: the mean of what the ticks of the period showed ---------------------------- */
struct baseline_meter {
    as_time next;
    double sum;
    int count;
    bool partial;
};
struct baseline_point {
    bool missing, partial;
    double value;
};
void baseline_meter_add(struct baseline_meter *m, double value, bool partial);
/* True when the period has ended. The first begins with the first call. A period in which nothing was
 * added, or that was skipped by late ticks, gives a missing point. */
bool baseline_meter_end(struct baseline_meter *m, as_time now, as_time period, struct baseline_point *point);

/* --- counts of the past, bounded ----------------------------------------------------------------------- */
struct baseline_past {
    struct baseline_mark {
        as_time at;
        int count;
    } *ring;
    size_t capacity, first, count;
};
/* Room for one count per `period` over `span`. The caller frees ring. */
int baseline_past_init(struct baseline_past *p, as_time span, as_time period, struct as_error *err);
void baseline_past_add(struct baseline_past *p, as_time now, int count);
/* Of `count` and those remembered at `since` or later. */
int baseline_past_max(const struct baseline_past *p, as_time since, int count);
int baseline_past_min(const struct baseline_past *p, as_time since, int count);

/* --- instances that warm up: a rise of `serving` counts so for `warmup` -------------------------------- */
#define BASELINE_WARMING 32
struct baseline_warming {
    struct baseline_mark cohorts[BASELINE_WARMING]; /* at: when they are warm */
    size_t count;
    bool seen;
    int serving;
};
int baseline_warming(struct baseline_warming *w, const struct as_view *view, as_time warmup);

#endif
