/* libvirt's bulk statistics. It checks every number, adds up what a domain has several of, and never makes a rate
 * across a restart of the domain nor a number of what a guest told long ago. */
#include "libvirt_stats.h"

#include <string.h>

#define NUMBER_MOST 0x1p64    /* sums of them stay finite */
#define TOLD_MOST   AS_MINUTE /* a guest that tells nothing new for so long is not believed any more */

const struct as_series_doc libvirt_series[] = {
    { "cpu_percent", "percent",
      "CPU time of the virtual processors by their number; of a group the mean of its machines",
      AS_MERGE_MEAN },
    { "cpu_percent_max", "percent", "groups only: cpu_percent of the busiest machine", AS_MERGE_MAX },
    { "cpus_used", "cpus", "CPU time of the virtual processors for each second; of a group the sum",
      AS_MERGE_SUM },
    { "memory_used", "bytes",
      "memory in use as the guest tells, without what it could drop; missing unless its domain has a virtio "
      "memballoon with <stats period='5'/>, or without news for a minute; of a group the sum",
      AS_MERGE_SUM },
    { "memory_percent", "percent",
      "memory_used by the memory the guest sees; missing with it; of a group the mean", AS_MERGE_MEAN },
    { "memory_percent_max", "percent", "groups only: memory_percent of the fullest machine", AS_MERGE_MAX },
    { "memory_resident", "bytes",
      "host memory of the machine's process, which hardly ever shrinks; of a group the sum", AS_MERGE_SUM },
    { "network_in_rate", "bytes/s", "received by the machine; of a group the sum", AS_MERGE_SUM },
    { "network_out_rate", "bytes/s", "sent by the machine; of a group the sum", AS_MERGE_SUM },
    { "disk_read_rate", "bytes/s", "read from its disks; of a group the sum", AS_MERGE_SUM },
    { "disk_write_rate", "bytes/s", "written to its disks; of a group the sum", AS_MERGE_SUM },
    { "disk_operation_rate", "1/s", "reads and writes of its disks; of a group the sum", AS_MERGE_SUM },
    { "instances", "machines", "running machines; of a group how many there are", AS_MERGE_SUM },
    { 0 },
};
static const int fields[] = {
    LIBVIRT_CPU_PERCENT,    LIBVIRT_CPU_PERCENT, LIBVIRT_CPUS,   LIBVIRT_MEMORY,  LIBVIRT_MEMORY_PERCENT,
    LIBVIRT_MEMORY_PERCENT, LIBVIRT_RESIDENT,    LIBVIRT_NET_IN, LIBVIRT_NET_OUT, LIBVIRT_DISK_READ,
    LIBVIRT_DISK_WRITE,     LIBVIRT_DISK_OPS,    LIBVIRT_ONE,
};
_Static_assert(sizeof fields / sizeof *fields + 1 == sizeof libvirt_series / sizeof *libvirt_series,
               "one field for each series");
const struct fleet_series libvirt_fleet_series = { libvirt_series, fields };

/* --- reading ------------------------------------------------------------------------------------------- */

static bool number(const virTypedParameter *p, double *out)
{
    double v;
    switch (p->type) {
    case VIR_TYPED_PARAM_INT: v = p->value.i; break;
    case VIR_TYPED_PARAM_UINT: v = p->value.ui; break;
    case VIR_TYPED_PARAM_LLONG: v = (double)p->value.l; break;
    case VIR_TYPED_PARAM_ULLONG: v = (double)p->value.ul; break;
    case VIR_TYPED_PARAM_DOUBLE: v = p->value.d; break;
    default: return false;
    }
    if (!(v >= 0 && v <= NUMBER_MOST)) /* nor NAN */
        return false;
    *out = v;
    return true;
}

/* Is it "PREFIX N SUFFIX", as "net.", 0, ".rx.bytes"? */
static bool is_nth(const char *field, const char *prefix, const char *suffix)
{
    size_t n = strlen(prefix), digits;
    if (strncmp(field, prefix, n) != 0)
        return false;
    digits = strspn(field + n, "0123456789");
    return digits > 0 && strcmp(field + n + digits, suffix) == 0;
}

static void add_up(double *sum, double v)
{
    *sum = (*sum < 0 ? 0 : *sum) + v;
}

/* True when it was one of those that a domain has several of. */
static bool take_count(const char *field, double v, struct libvirt_usage *u)
{
    static const struct {
        const char *prefix, *suffix;
        enum libvirt_count count;
    } counts[] = {
        { "vcpu.", ".time", LIBVIRT_COUNT_CPU_NS },
        { "net.", ".rx.bytes", LIBVIRT_COUNT_NET_IN },
        { "net.", ".tx.bytes", LIBVIRT_COUNT_NET_OUT },
        { "block.", ".rd.bytes", LIBVIRT_COUNT_DISK_READ },
        { "block.", ".wr.bytes", LIBVIRT_COUNT_DISK_WRITE },
        { "block.", ".rd.reqs", LIBVIRT_COUNT_DISK_OPS },
        { "block.", ".wr.reqs", LIBVIRT_COUNT_DISK_OPS },
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (is_nth(field, counts[i].prefix, counts[i].suffix)) {
            add_up(&u->counts[counts[i].count], v);
            return true;
        }
    return false;
}

struct balloon {
    double available, usable, unused, caches, rss, told_at;
};

static void take_balloon(const char *field, double v, struct balloon *b)
{
    const struct {
        const char *name;
        double *at;
    } names[] = {
        { "balloon.available", &b->available },
        { "balloon.usable", &b->usable },
        { "balloon.unused", &b->unused },
        { "balloon.disk_caches", &b->caches },
        { "balloon.rss", &b->rss },
        { "balloon.last-update", &b->told_at },
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(field, names[i].name) == 0)
            *names[i].at = v;
}

static double from_kib(double kib)
{
    return kib < 0 ? -1 : kib * 1024;
}

void libvirt_usage_read(const virTypedParameter *params, int count, struct libvirt_usage *out)
{
    struct balloon b = { -1, -1, -1, -1, -1, -1 };
    *out = (struct libvirt_usage){ .vcpus = -1 };
    for (int i = 0; i < LIBVIRT_COUNTS; i++)
        out->counts[i] = -1;
    for (int i = 0; i < count; i++) {
        double v;
        if (!memchr(params[i].field, '\0', sizeof params[i].field) || !number(&params[i], &v))
            continue;
        if (strcmp(params[i].field, "vcpu.current") == 0)
            out->vcpus = v;
        else if (!take_count(params[i].field, v, out))
            take_balloon(params[i].field, v, &b);
    }
    /* guests older than Linux 3.14 do not tell what could be had: what is free, and cache */
    double spare = b.usable >= 0 ? b.usable : b.unused < 0 ? -1 : b.unused + (b.caches > 0 ? b.caches : 0);
    out->guest_total = from_kib(b.available);
    out->guest_free = from_kib(spare);
    out->told_at = b.told_at;
    out->resident = from_kib(b.rss);
}

/* --- rates --------------------------------------------------------------------------------------------- */

/* The balloon keeps what the guest told last, also when the guest hangs. */
static bool told_of_late(struct libvirt_meter *m, const struct libvirt_usage *u, as_time now)
{
    if (u->told_at < 0)
        return true; /* a libvirt that does not say when */
    if (m->told_since == 0 || m->told_at < u->told_at || m->told_at > u->told_at)
        m->told_since = now;
    m->told_at = u->told_at;
    return now - m->told_since <= TOLD_MOST;
}

static void take_memory(struct libvirt_meter *m, const struct libvirt_usage *u, as_time now,
                        struct fleet_row *row)
{
    if (u->resident >= 0)
        fleet_set(row, LIBVIRT_RESIDENT, u->resident);
    if (!told_of_late(m, u, now) || u->guest_total <= 0 || u->guest_free < 0)
        return;
    double used = u->guest_total > u->guest_free ? u->guest_total - u->guest_free : 0;
    fleet_set(row, LIBVIRT_MEMORY, used);
    fleet_set(row, LIBVIRT_MEMORY_PERCENT, 100 * used / u->guest_total);
}

void libvirt_meter_take(struct libvirt_meter *m, int run, const struct libvirt_usage *u, as_time now,
                        struct fleet_row *row)
{
    static const int to[LIBVIRT_COUNTS] = {
        [LIBVIRT_COUNT_CPU_NS] = LIBVIRT_CPUS,           [LIBVIRT_COUNT_NET_IN] = LIBVIRT_NET_IN,
        [LIBVIRT_COUNT_NET_OUT] = LIBVIRT_NET_OUT,       [LIBVIRT_COUNT_DISK_READ] = LIBVIRT_DISK_READ,
        [LIBVIRT_COUNT_DISK_WRITE] = LIBVIRT_DISK_WRITE, [LIBVIRT_COUNT_DISK_OPS] = LIBVIRT_DISK_OPS,
    };
    if (m->run != run)
        *m = (struct libvirt_meter){ .run = run };
    for (int i = 0; i < LIBVIRT_COUNTS; i++) {
        double rate, unit = i == LIBVIRT_COUNT_CPU_NS ? 1e9 : 1;
        if (u->counts[i] >= 0 && as_counter_rate(&m->counts[i], now, u->counts[i], &rate))
            fleet_set(row, to[i], rate / unit);
    }
    if (row->has[LIBVIRT_CPUS] && u->vcpus > 0)
        fleet_set(row, LIBVIRT_CPU_PERCENT, 100 * row->value[LIBVIRT_CPUS] / u->vcpus);
    take_memory(m, u, now, row);
    fleet_set(row, LIBVIRT_ONE, 1);
}
