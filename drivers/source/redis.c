/* Source `redis`: memory, evictions, commands, clients and the replication link of one server per lane, all
 * from INFO over one kept connection. It must never take a server that loads its data, or one that has just
 * restarted, for an idle one. */
#include <stdlib.h>
#include <string.h>

#include "../wire/redislink.h"
#include "autoscale/source.h"
#include "redis_info.h"

struct redis {
    struct redislink link;
    char run_id[sizeof((struct redis_info *)0)->run_id];
    struct as_counter commands, evictions;
    double hits, misses; /* of the last poll */
    bool seen_lookups;
};

static const struct as_option options[] = {
    { .name = "address",
      .type = AS_OPT_STRINGS,
      .flags = AS_OPT_REQUIRED,
      .help =
          "Redis servers, each \"HOST:PORT\" (port 6379 when not given) or the path of a unix socket; TLS is "
          "not spoken" },
    { .name = "user", .type = AS_OPT_STRING, .help = "ACL user (Redis 6 and later); needs +info" },
    { .name = "password_file", .type = AS_OPT_SECRET, .help = "file that holds the password of the user" },
    { 0 },
};

static const struct as_series_doc series[] = {
    { "memory_used", "bytes", "memory in use by data and overhead", AS_MERGE_SUM },
    { "memory_limit", "bytes", "maxmemory; missing when no limit is set", AS_MERGE_SUM },
    { "memory_used_ratio", "ratio",
      "memory in use by the limit, of several servers the fullest; missing without", AS_MERGE_MAX },
    { "hit_ratio", "ratio",
      "key lookups that found the key since the last poll; missing when there were none", AS_MERGE_MEAN },
    { "evictions_per_second", "1/s", "keys evicted for want of memory since the last poll", AS_MERGE_SUM },
    { "operations_per_second", "1/s", "commands since the last poll, ours excluded", AS_MERGE_SUM },
    { "clients", "clients", "client connections, ours included, replicas excluded", AS_MERGE_SUM },
    { "clients_blocked", "clients", "clients waiting in a blocking command", AS_MERGE_SUM },
    { "clients_max", "clients", "limit of client connections; of several servers the smallest",
      AS_MERGE_MIN },
    { "replication_link_up", "0 or 1",
      "1 when the replica is connected to its master, of several the worst; missing on a master",
      AS_MERGE_MIN },
    { 0 },
};

static int add(struct as_samples *out, const char *name, double value, double weight, struct as_error *err)
{
    return as_samples_add(out, "", name, value, weight, err);
}

static int add_gauges(struct as_samples *out, const struct redis_info *i, struct as_error *err)
{
    static const struct {
        enum redis_field field;
        const char *name;
    } gauges[] = {
        { REDIS_USED_MEMORY, "memory_used" },
        { REDIS_CONNECTED_CLIENTS, "clients" },
        { REDIS_BLOCKED_CLIENTS, "clients_blocked" },
        { REDIS_MAXCLIENTS, "clients_max" },
    };
    int rc = AS_OK;
    double limit = i->value[REDIS_MAXMEMORY];
    for (size_t g = 0; rc == AS_OK && g < sizeof gauges / sizeof *gauges; g++)
        if (i->has[gauges[g].field])
            rc = add(out, gauges[g].name, i->value[gauges[g].field], 1, err);
    if (rc == AS_OK && limit > 0)
        rc = add(out, "memory_limit", limit, 1, err);
    if (rc == AS_OK && limit > 0)
        rc = add(out, "memory_used_ratio", i->value[REDIS_USED_MEMORY] / limit, 1, err);
    if (rc == AS_OK && i->link[0])
        rc = add(out, "replication_link_up", strcmp(i->link, "up") == 0, 1, err);
    return rc;
}

/* A server that started anew counts from zero, and may well be past its old numbers by now. */
static void notice_restart(struct redis *r, const struct redis_info *i)
{
    if (strcmp(r->run_id, i->run_id) == 0)
        return;
    memcpy(r->run_id, i->run_id, sizeof r->run_id);
    r->commands = r->evictions = (struct as_counter){ 0 };
    r->seen_lookups = false;
}

static int add_hit_ratio(struct redis *r, struct as_samples *out, const struct redis_info *i,
                         struct as_error *err)
{
    if (!i->has[REDIS_HITS] || !i->has[REDIS_MISSES])
        return AS_OK;
    int rc = AS_OK;
    double hits = i->value[REDIS_HITS] - r->hits, misses = i->value[REDIS_MISSES] - r->misses;
    if (r->seen_lookups && hits >= 0 && misses >= 0 && hits + misses > 0)
        rc = add(out, "hit_ratio", hits / (hits + misses), hits + misses, err);
    r->hits = i->value[REDIS_HITS];
    r->misses = i->value[REDIS_MISSES];
    r->seen_lookups = true;
    return rc;
}

static int add_rates(struct redis *r, struct as_samples *out, const struct redis_info *i,
                     struct as_error *err)
{
    as_time now = as_clock_monotonic();
    double rate;
    int rc = AS_OK;
    notice_restart(r, i);
    if (i->has[REDIS_COMMANDS] &&
        as_counter_rate(&r->commands, now, i->value[REDIS_COMMANDS] - (double)r->link.commands, &rate))
        rc = add(out, "operations_per_second", rate, 1, err);
    if (rc == AS_OK && i->has[REDIS_EVICTED] &&
        as_counter_rate(&r->evictions, now, i->value[REDIS_EVICTED], &rate))
        rc = add(out, "evictions_per_second", rate, 1, err);
    return rc == AS_OK ? add_hit_ratio(r, out, i, err) : rc;
}

static int fail_loading(const struct redis_info *i, struct as_error *err)
{
    if (!i->has[REDIS_LOADING_PERCENT])
        return as_fail(err, AS_EAGAIN, "the server is loading its data set");
    return as_fail(err, AS_EAGAIN, "the server is loading its data set (%.0f%% done)",
                   i->value[REDIS_LOADING_PERCENT]);
}

static int redis_poll(void *self, as_time deadline, struct as_samples *out, struct as_error *err)
{
    struct redis *r = self;
    struct redis_info info;
    size_t before = out->count, len = 0;
    char *text = NULL;
    int rc = redislink_info(&r->link, deadline, &text, &len, err);
    if (rc != AS_OK)
        return rc;
    rc = redis_info_parse(text, len, &info, err);
    free(text);
    if (rc != AS_OK)
        return rc;
    if (info.value[REDIS_LOADING] > 0)
        return fail_loading(&info, err);
    rc = add_gauges(out, &info, err);
    if (rc == AS_OK)
        rc = add_rates(r, out, &info, err);
    if (rc != AS_OK)
        out->count = before;
    return rc;
}

static int redis_open(void *self, const struct as_settings *settings, const char *endpoint,
                      struct as_error *err)
{
    struct redis *r = self;
    struct as_error why = { 0 };
    const char *user = as_settings_str(settings, "user"), *file = as_settings_str(settings, "password_file");
    if (user && !file)
        return as_settings_fail(settings, "user", err, "needs password_file beside it");
    if (user && (!*user || strpbrk(user, " \t\r\n")))
        return as_settings_fail(settings, "user", err, "'%.60s' is not the name of a user", user);
    if (redislink_init(&r->link, endpoint, user, file, &why) != AS_OK)
        return as_settings_fail(settings, "address", err, "%s", why.msg);
    return AS_OK;
}

static void redis_close(void *self)
{
    struct redis *r = self;
    redislink_fini(&r->link);
}

const struct as_source_driver as_source_redis = {
    .name = "redis",
    .summary = "memory, evictions, commands, clients and replication of Redis servers",
    .options = options,
    .series = series,
    .endpoints = "address",
    .state_size = sizeof(struct redis),
    .open = redis_open,
    .poll = redis_poll,
    .close = redis_close,
};
