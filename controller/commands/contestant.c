/* A contestant of `autoscale simulate` as a configuration: any policy type, told the trace's load and what one
 * instance carries, in a group that exists only in the simulation. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simulate.h"
#include "tables.h"

static int open_source(void *self, const struct as_settings *s, const char *endpoint, struct as_error *err)
{
    (void)self, (void)s, (void)endpoint, (void)err;
    return AS_OK;
}

static int open_compute(void *self, const struct as_settings *s, const struct as_owner *owner,
                        const char *endpoint, struct as_error *err)
{
    (void)self, (void)s, (void)owner, (void)endpoint, (void)err;
    return AS_OK;
}

static void close_nothing(void *self)
{
    (void)self;
}

static const struct as_option no_options[] = { { 0 } };
static const struct as_series_doc series[] = {
    { "request_rate", "1/s", "requests that arrive", AS_MERGE_SUM },
    { "served_rate", "1/s", "requests that were served", AS_MERGE_SUM },
    { "sessions", "requests", "in service and waiting", AS_MERGE_SUM },
    { "sessions_per_server", "requests", "the same per instance", AS_MERGE_SUM },
    { "sessions_active", "requests", "in service", AS_MERGE_SUM },
    { "queue", "requests", "waiting", AS_MERGE_SUM },
    { "response_time_ms", "ms", "mean response time", AS_MERGE_MEAN },
    { "error_rate", "1/s", "requests lost", AS_MERGE_SUM },
    { "servers_up", "instances", "that serve", AS_MERGE_MAX },
    { "connections_free", "connections", "left at the database", AS_MERGE_MIN },
    { "connections", "connections", "at the database", AS_MERGE_SUM },
    { 0 },
};
static const struct as_source_driver trace_source = { .name = "trace",
                                                      .summary = "the simulated tier",
                                                      .options = no_options,
                                                      .series = series,
                                                      .open = open_source,
                                                      .close = close_nothing };
static const struct as_compute_driver trace_compute = { .name = "trace",
                                                        .summary = "the simulated hosts",
                                                        .options = no_options,
                                                        .open = open_compute,
                                                        .close = close_nothing };
static const struct as_source_driver *const sources[] = { &trace_source, NULL };
static const struct as_compute_driver *const computes[] = { &trace_compute, NULL };
static const struct as_balancer_driver *const balancers[] = { NULL };
const struct as_registry simulate_registry = { sources, computes, balancers, as_policy_types };

static const struct as_option *option_named(const struct as_policy_type *t, const char *name)
{
    for (const struct as_option *o = t->options; o && o->name; o++)
        if (strcmp(o->name, name) == 0)
            return o;
    return NULL;
}

static bool plain(enum as_option_type t)
{
    return t == AS_OPT_BOOL || t == AS_OPT_INT || t == AS_OPT_NUMBER;
}

static void put_option(FILE *out, const struct as_option *o, const char *value)
{
    if (plain(o->type))
        fprintf(out, " %s = %s;", o->name, value);
    else
        fprintf(out, " %s = \"%s\";", o->name, value);
}

/* "option=value" of a spec; *given remembers which of the usual ones were named. */
static int one_option(FILE *out, const struct as_policy_type *t, char *pair, bool given[5],
                      struct as_error *err)
{
    char *value = strchr(pair, '=');
    if (!value)
        return as_fail(err, AS_EINVAL, "'%s': write option=value", pair);
    *value++ = '\0';
    const struct as_option *o = option_named(t, pair);
    if (!o)
        return as_fail(err, AS_EINVAL, "policy type '%s' has no option '%s' (autoscale policies %s)", t->name,
                       pair, t->name);
    if (strpbrk(value, "\"\\;{}\n"))
        return as_fail(err, AS_EINVAL, "'%s': this value cannot be given here", pair);
    given[0] = given[0] || strcmp(pair, "metric") == 0;
    given[1] = given[1] || strcmp(pair, "per_instance") == 0;
    given[2] = given[2] || strcmp(pair, "queue") == 0;
    given[3] = given[3] || strcmp(pair, "served") == 0;
    given[4] = given[4] || strcmp(pair, "day") == 0;
    put_option(out, o, value);
    return AS_OK;
}

/* What every contestant is told unless it says otherwise: the load, what one instance carries, the queue, what is
 * served, and how long a day of the replay lasts. */
static void put_usual(FILE *out, const struct contest *c, const struct as_policy_type *t, const bool given[5])
{
    char capacity[32], day[32];
    snprintf(capacity, sizeof capacity, "%.9g", c->params.tier.capacity / c->params.believed);
    if (!strpbrk(capacity, ".e"))
        strcat(capacity, ".0");
    if (!given[0] && option_named(t, "metric"))
        put_option(out, option_named(t, "metric"), "trace.request_rate");
    if (!given[1] && option_named(t, "per_instance"))
        put_option(out, option_named(t, "per_instance"), capacity);
    if (!given[2] && option_named(t, "queue") &&
        !option_named(t, "drain_time")) /* else its user says how it counts */
        put_option(out, option_named(t, "queue"), "trace.queue");
    if (!given[3] && option_named(t, "served"))
        put_option(out, option_named(t, "served"), "trace.served_rate");
    snprintf(day, sizeof day, "%.0fms", 86400000 / c->params.speed);
    if (!given[4] && option_named(t, "day") && c->params.speed > 1 && c->params.speed <= 1440)
        put_option(out, option_named(t, "day"), day);
}

static int put_policy(FILE *out, const struct contest *c, const char *spec, struct as_error *err)
{
    char text[512], *at = NULL;
    bool given[5] = { false };
    int rc = AS_OK;
    if (strlen(spec) >= sizeof text)
        return as_fail(err, AS_EINVAL, "'%.40s…' is too long", spec);
    strcpy(text, spec);
    char *options = strchr(text, ':');
    if (options)
        *options++ = '\0';
    const struct as_policy_type *t = as_policy_find(&simulate_registry, text);
    if (!t)
        return as_fail(err, AS_EINVAL, "there is no policy type '%s' (autoscale policies lists them)", text);
    fprintf(out, "policies = { it = { type = \"%s\";", t->name);
    for (char *pair = options ? strtok_r(options, ",", &at) : NULL; pair && rc == AS_OK;
         pair = strtok_r(NULL, ",", &at))
        rc = one_option(out, t, pair, given, err);
    put_usual(out, c, t, given);
    fprintf(out, " }; };\n");
    return rc;
}

char *contestant_config(const struct contest *c, const char *spec, struct as_error *err)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) {
        as_fail(err, AS_ENOMEM, "out of memory");
        return NULL;
    }
    fprintf(out, "controller = { interval = \"%gms\"; };\n", c->interval_s * 1000);
    fprintf(out, "sources = { trace = { driver = \"trace\"; max_age = \"%gms\"; }; };\n",
            c->interval_s * 4000 + c->params.metric_delay_s * 1000);
    fprintf(out,
            "groups = { it = { min = %d; max = %d; lead = \"%.0fms\"; compute = { driver = \"trace\"; };"
            " policies = [ \"it\" ]; }; };\n",
            c->min, c->max, (c->params.boot_s > 0.001 ? c->params.boot_s : 0.001) * 1000);
    int rc = put_policy(out, c, spec, err);
    if (fclose(out) != 0 && rc == AS_OK)
        rc = as_fail(err, AS_ENOMEM, "out of memory");
    if (rc == AS_OK)
        return text;
    free(text);
    return NULL;
}
