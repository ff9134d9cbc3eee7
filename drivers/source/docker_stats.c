/* Docker's answers about containers in use. It checks every number, takes a container without our whole mark
 * for a stranger, and never makes a rate across a restart of the container or a jump of the daemon's clock. */
#include "docker_stats.h"

#include <stdlib.h>
#include <string.h>

#include "../wire/json.h"

#define NUMBER_MOST (INT64_C(1) << 62) /* a few hundred nanoseconds of years of CPU time may get lost  */
#define CLOCK_SLACK (5 * AS_SECOND)    /* answers may have waited so long                              */

const struct as_series_doc docker_series[] = {
    { "cpu_percent", "percent",
      "CPU time by the limit of the container (cpus), or by one CPU when it has none; of a group the mean of "
      "its containers",
      AS_MERGE_MEAN },
    { "cpu_percent_max", "percent", "groups only: cpu_percent of the busiest container", AS_MERGE_MAX },
    { "cpus_used", "cpus", "CPU time for each second; of a group the sum", AS_MERGE_SUM },
    { "throttled_percent", "percent",
      "scheduling periods in which the CPU limit was used up; missing for a container without a limit; of a "
      "group the mean",
      AS_MERGE_MEAN },
    { "throttled_percent_max", "percent", "groups only: throttled_percent of the most throttled container",
      AS_MERGE_MAX },
    { "memory_used", "bytes", "memory without the page cache that can be dropped; of a group the sum",
      AS_MERGE_SUM },
    { "memory_percent", "percent",
      "memory_used by the limit of the container, or by the host's memory when it has none; of a group the "
      "mean",
      AS_MERGE_MEAN },
    { "memory_percent_max", "percent", "groups only: memory_percent of the fullest container", AS_MERGE_MAX },
    { "instances", "containers", "running containers; of a group how many there are", AS_MERGE_SUM },
    { 0 },
};
static const int fields[] = {
    DOCKER_CPU_PERCENT, DOCKER_CPU_PERCENT,    DOCKER_CPUS,           DOCKER_THROTTLED, DOCKER_THROTTLED,
    DOCKER_MEMORY,      DOCKER_MEMORY_PERCENT, DOCKER_MEMORY_PERCENT, DOCKER_ONE,
};
_Static_assert(sizeof fields / sizeof *fields + 1 == sizeof docker_series / sizeof *docker_series,
               "one field for each series");
const struct fleet_series docker_fleet_series = { docker_series, fields };

/* --- the list ------------------------------------------------------------------------------------------ */

static const char *own_name(const cJSON *c, const char *controller)
{
    const cJSON *name;
    cJSON_ArrayForEach(name, json_get(c, "Names"))
    {
        const char *id =
            docker_marked_id(json_get(c, "Labels"), controller, NULL, cJSON_GetStringValue(name));
        if (id)
            return id;
    }
    return NULL;
}

/* False for what is not ours, does not run, or is parked. */
static bool read_listed(const cJSON *c, const char *controller, struct docker_meter *m)
{
    const char *id = own_name(c, controller), *state = json_str(c, "State"), *ref = json_str(c, "Id");
    const char *group = json_str(json_get(c, "Labels"), DOCKER_LABEL_GROUP);
    if (!id || !group || !state || strcmp(state, "running") != 0 || !docker_ref_ok(ref) ||
        !docker_name_ok(group) || strlen(id) >= sizeof m->id || strlen(group) >= sizeof m->group)
        return false;
    strcpy(m->ref, ref);
    strcpy(m->id, id);
    strcpy(m->group, group);
    return true;
}

static int by_ref(const void *a, const void *b)
{
    return strcmp(((const struct docker_meter *)a)->ref, ((const struct docker_meter *)b)->ref);
}

int docker_running_parse(const char *text, size_t size, const char *controller, struct docker_meter **out,
                         size_t *count, struct as_error *err)
{
    cJSON *root = json_parse(text, size);
    size_t n = 0, listed = cJSON_IsArray(root) ? (size_t)cJSON_GetArraySize(root) : 0;
    if (!cJSON_IsArray(root) || listed > FLEET_ROWS_MAX) {
        bool long_list = listed > FLEET_ROWS_MAX;
        cJSON_Delete(root);
        return long_list ? as_fail(err, AS_EPROTO, "Docker lists more than %d containers", FLEET_ROWS_MAX)
                         : as_fail(err, AS_EPROTO, "Docker's list of containers is no JSON list");
    }
    struct docker_meter *items = calloc(listed + 1, sizeof *items);
    const cJSON *c;
    if (items) {
        cJSON_ArrayForEach(c, root)
        {
            if (read_listed(c, controller, &items[n]))
                n++;
        }
    }
    cJSON_Delete(root);
    if (!items)
        return as_fail(err, AS_ENOMEM, "out of memory");
    qsort(items, n, sizeof *items, by_ref);
    *out = items;
    *count = n;
    return AS_OK;
}

/* --- usage and limits ------------------------------------------------------------------------------------ */

static bool number(const cJSON *object, const char *name, double *out)
{
    int64_t v;
    bool ok = json_int(object, name, 0, NUMBER_MOST, &v);
    if (ok)
        *out = (double)v;
    return ok;
}

/* The page cache that nobody has used of late is not in use: a container that reads files would seem full.
 * Control groups of version 1 tell it twice, of which "total" is with the children. */
static void read_memory(const cJSON *memory, struct docker_usage *u)
{
    const cJSON *stats = json_get(memory, "stats");
    double used, cache = 0;
    u->memory = -1;
    number(memory, "limit", &u->memory_limit);
    if (!number(memory, "usage", &used))
        return;
    if (!number(stats, "total_inactive_file", &cache))
        number(stats, "inactive_file", &cache);
    u->memory = used > cache ? used - cache : 0;
}

static int read_usage(const cJSON *root, struct docker_usage *u, struct as_error *err)
{
    const cJSON *cpu = json_get(root, "cpu_stats"), *throttling = json_get(cpu, "throttling_data");
    const char *read = json_str(root, "read");
    if (!read || !cJSON_IsObject(cpu))
        return as_fail(err, AS_EPROTO, "Docker's statistics of a container have no time or no CPU");
    u->read_ms = docker_time(read);
    if (u->read_ms == 0) /* the year 1: what it answers for a container that has ended */
        return as_fail(err, AS_ENOENT, "the container does not run");
    if (!number(json_get(cpu, "cpu_usage"), "total_usage", &u->cpu_ns))
        return as_fail(err, AS_EPROTO, "Docker's statistics of a container have no CPU time");
    number(throttling, "periods", &u->periods);
    number(throttling, "throttled_periods", &u->throttled);
    read_memory(json_get(root, "memory_stats"), u);
    return AS_OK;
}

int docker_usage_parse(const char *text, size_t size, struct docker_usage *out, struct as_error *err)
{
    struct docker_usage u = { 0 };
    cJSON *root = json_parse(text, size);
    int rc = read_usage(root, &u, err);
    cJSON_Delete(root);
    if (rc == AS_OK)
        *out = u;
    return rc;
}

int docker_limit_parse(const char *text, size_t size, double *cpus, struct as_error *err)
{
    cJSON *root = json_parse(text, size);
    const cJSON *host = json_get(root, "HostConfig");
    double nano = 0, quota = 0, period = 0;
    if (!cJSON_IsObject(host)) {
        cJSON_Delete(root);
        return as_fail(err, AS_EPROTO, "Docker's description of a container has no limits");
    }
    number(host, "NanoCpus", &nano);
    number(host, "CpuQuota", &quota);
    if (!number(host, "CpuPeriod", &period) || period == 0)
        period = 100000; /* microseconds: the kernel's default */
    cJSON_Delete(root);
    *cpus = nano > 0 ? nano / 1e9 : quota / period;
    return AS_OK;
}

/* --- rates ----------------------------------------------------------------------------------------------- */

/* Did both clocks go on alike? When the daemon's was set, a rate over that would be nonsense. */
static bool clock_jumped(const struct docker_meter *m, const struct docker_usage *u, as_time now)
{
    as_time theirs = u->read_ms - m->read_ms, ours = now - m->at;
    return llabs(theirs - ours) > CLOCK_SLACK + ours / 4;
}

static void take_cpu(struct docker_meter *m, const struct docker_usage *u, struct fleet_row *row)
{
    double rate;
    if (!as_counter_rate(&m->cpu, u->read_ms, u->cpu_ns, &rate))
        return;
    fleet_set(row, DOCKER_CPUS, rate / 1e9);
    if (m->limit_at > 0)
        fleet_set(row, DOCKER_CPU_PERCENT, 100 * rate / 1e9 / (m->cpus > 0 ? m->cpus : 1));
}

static void take_throttling(struct docker_meter *m, const struct docker_usage *u, bool again,
                            struct fleet_row *row)
{
    double periods = u->periods - m->periods, throttled = u->throttled - m->throttled;
    m->periods = u->periods;
    m->throttled = u->throttled;
    if (!again || m->cpus <= 0 || periods < 0 || throttled < 0)
        return;
    /* periods pass only while the container wants to run: an idle one has none, and was not held back */
    double share = periods > 0 ? throttled / periods : 0;
    fleet_set(row, DOCKER_THROTTLED, 100 * (share < 1 ? share : 1));
}

void docker_meter_take(struct docker_meter *m, const struct docker_usage *u, as_time now,
                       struct fleet_row *row)
{
    bool again = m->cpu.seen && !clock_jumped(m, u, now) && u->cpu_ns >= m->cpu.last;
    if (!again)
        m->cpu = (struct as_counter){ 0 };
    if (!again || u->read_ms > m->read_ms) { /* otherwise the daemon told the same once more */
        take_cpu(m, u, row);
        take_throttling(m, u, again, row);
        m->read_ms = u->read_ms;
        m->at = now;
    }
    if (u->memory >= 0)
        fleet_set(row, DOCKER_MEMORY, u->memory);
    if (u->memory >= 0 && u->memory_limit > 0)
        fleet_set(row, DOCKER_MEMORY_PERCENT, 100 * u->memory / u->memory_limit);
    fleet_set(row, DOCKER_ONE, 1);
}
