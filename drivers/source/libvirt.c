/* Source `libvirt`: what our machines on one hypervisor use, each and by group, from one question for all of
 * them. Whose a domain is stands in its metadata, which is looked at once for each of its runs. Reads only, and
 * measures no machine of others. A call may hang when the daemon does; it is then the lane that gives it up. */
#include <stdlib.h>
#include <string.h>

#include "../wire/virlink.h"
#include "../wire/virmark.h"
#include "libvirt_stats.h"

struct known { /* a running domain of the newest poll, ours or not */
    unsigned char uuid[VIR_UUID_BUFLEN];
    int run;
    bool ours;
    char id[AS_NAME_MAX], group[AS_NAME_MAX];
    struct libvirt_meter meter;
};

struct libvirt_source {
    struct virlink link;
    const char *uri;
    const struct as_settings *settings;
    const char *controller;
    unsigned stats;
    struct known *known; /* sorted by uuid */
    size_t count;
    struct fleet fleet;
};

struct listing {          /* one poll */
    virDomainPtr *all;    /* as libvirt lists them */
    virDomainPtr *wanted; /* borrowed from all: ours, ends with NULL */
    struct known *known;  /* those that still run, sorted by uuid */
    size_t all_count, count, ours;
};

static const struct as_option options[] = {
    { .name = "hosts",
      .type = AS_OPT_STRINGS,
      .def = "qemu:///system",
      .help = "hypervisors as libvirt URIs: qemu:///system, qemu+tls://host/system, "
              "qemu+ssh://user@host/system" },
    { .name = "groups",
      .type = AS_OPT_STRINGS,
      .help = "measure only machines of these groups; of all groups of this controller when not given" },
    { .name = "measure",
      .type = AS_OPT_STRINGS,
      .help = "what to ask for: cpu, memory, network, disk; all when not given. CPU alone costs the "
              "host far less" },
    { 0 },
};

/* --- whose is it ------------------------------------------------------------------------------------- */

static bool is_wanted(const struct libvirt_source *s, const char *group)
{
    size_t n = as_settings_count(s->settings, "groups");
    for (size_t i = 0; i < n; i++)
        if (strcmp(as_settings_item(s->settings, "groups", i), group) == 0)
            return true;
    return n == 0;
}

/* The mark counts only under its own name: a copy of a domain may have brought it along. */
static bool mark_is_ours(const struct libvirt_source *s, const struct libvirt_mark *m, const char *name)
{
    return strcmp(m->controller, s->controller) == 0 && strcmp(m->id, name) == 0 && m->group[0] &&
           strlen(m->id) < AS_NAME_MAX && strlen(m->group) < AS_NAME_MAX && is_wanted(s, m->group);
}

/* AS_ENOENT: the domain is gone by now. */
static int read_mark(const struct libvirt_source *s, virDomainPtr dom, struct known *k, struct as_error *err)
{
    struct libvirt_mark mark;
    char *text = vir.DomainGetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT, LIBVIRT_NAMESPACE, 0);
    const virError *e = text ? NULL : vir.GetLastError();
    if (!text && (!e || e->code != VIR_ERR_NO_DOMAIN_METADATA))
        return virlib_refused(s->uri, false, "reading a domain's mark", err);
    k->ours = text && libvirt_mark_read(text, &mark) && mark_is_ours(s, &mark, vir.DomainGetName(dom));
    free(text);
    if (k->ours) {
        strcpy(k->id, mark.id);
        strcpy(k->group, mark.group);
    }
    return AS_OK;
}

static int by_uuid(const void *a, const void *b)
{
    return memcmp(((const struct known *)a)->uuid, ((const struct known *)b)->uuid, VIR_UUID_BUFLEN);
}

/* Fills one item: what is known of this run of the domain, or what its metadata says. */
static int know(const struct libvirt_source *s, virDomainPtr dom, struct known *k, struct as_error *err)
{
    if (vir.DomainGetUUID(dom, k->uuid) != 0)
        return virlib_refused(s->uri, false, "reading a domain's UUID", err);
    k->run = (int)vir.DomainGetID(dom);
    const struct known *before = s->count ? bsearch(k, s->known, s->count, sizeof *s->known, by_uuid) : NULL;
    if (!before || before->run != k->run)
        return read_mark(s, dom, k, err);
    *k = *before;
    return AS_OK;
}

/* --- one poll ------------------------------------------------------------------------------------------ */

static void listing_fini(struct listing *l)
{
    for (size_t i = 0; l->all && i < l->all_count; i++)
        vir.DomainFree(l->all[i]);
    free(l->all);
    free(l->wanted);
    free(l->known);
}

static int list(const struct libvirt_source *s, virConnectPtr conn, struct listing *l, struct as_error *err)
{
    int n = vir.ConnectListAllDomains(conn, &l->all, VIR_CONNECT_LIST_DOMAINS_RUNNING);
    if (n < 0)
        return virlib_refused(s->uri, false, "listing domains", err);
    l->all_count = (size_t)n;
    if (l->all_count > FLEET_ROWS_MAX)
        return as_fail(err, AS_EPROTO, "%.60s runs more than %d domains", s->uri, FLEET_ROWS_MAX);
    l->known = calloc(l->all_count + 1, sizeof *l->known);
    l->wanted = calloc(l->all_count + 1, sizeof(virDomainPtr));
    return l->known && l->wanted ? AS_OK : as_fail(err, AS_ENOMEM, "out of memory");
}

static int know_all(const struct libvirt_source *s, struct listing *l, as_time deadline, struct as_error *err)
{
    for (size_t i = 0; i < l->all_count; i++) {
        struct known *k = &l->known[l->count];
        *k = (struct known){ 0 };
        if (as_time_left(deadline) <= 0)
            return as_fail(err, AS_EAGAIN, "%.60s is too slow in telling whose its domains are", s->uri);
        int rc = know(s, l->all[i], k, err);
        if (rc == AS_ENOENT)
            continue; /* ended since it was listed */
        if (rc != AS_OK)
            return rc;
        l->count++;
        if (k->ours)
            l->wanted[l->ours++] = l->all[i];
    }
    qsort(l->known, l->count, sizeof *l->known, by_uuid);
    return AS_OK;
}

/* One row for each record of a domain of ours. */
static size_t make_rows(struct listing *l, virDomainStatsRecordPtr *records, size_t count, as_time now,
                        struct fleet_row *rows)
{
    size_t n = 0;
    for (size_t i = 0; i < count && n < l->ours; i++) {
        struct known key;
        struct libvirt_usage usage;
        if (vir.DomainGetUUID(records[i]->dom, key.uuid) != 0)
            continue;
        struct known *k = bsearch(&key, l->known, l->count, sizeof *l->known, by_uuid);
        if (!k || !k->ours)
            continue;
        struct fleet_row *row = &rows[n++];
        strcpy(row->id, k->id);
        strcpy(row->group, k->group);
        libvirt_usage_read(records[i]->params, records[i]->nparams, &usage);
        libvirt_meter_take(&k->meter, k->run, &usage, now, row);
    }
    return n;
}

/* A domain that is busy with a long job tells what can be told without waiting for it. */
static int measure(struct libvirt_source *s, struct listing *l, struct as_samples *out, struct as_error *err)
{
    virDomainStatsRecordPtr *records = NULL;
    struct fleet_row *rows = calloc(l->ours + 1, sizeof *rows);
    if (!rows)
        return as_fail(err, AS_ENOMEM, "out of memory");
    int rc = AS_OK, n = 0;
    if (l->ours > 0)
        n = vir.DomainListGetStats(l->wanted, s->stats, &records, VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT);
    if (n < 0)
        rc = virlib_refused(s->uri, false, "asking for statistics", err);
    size_t count = n > 0 ? make_rows(l, records, (size_t)n, as_clock_monotonic(), rows) : 0;
    if (rc == AS_OK)
        rc = fleet_add(&s->fleet, &libvirt_fleet_series, rows, count, out, err);
    if (records)
        vir.DomainStatsRecordListFree(records);
    free(rows);
    return rc;
}

static int source_poll(void *self, as_time deadline, struct as_samples *out, struct as_error *err)
{
    struct libvirt_source *s = self;
    struct listing l = { 0 };
    virConnectPtr conn;
    int rc = virlink_get(&s->link, deadline, &conn, err);
    if (rc != AS_OK)
        return rc;
    rc = list(s, conn, &l, err);
    if (rc == AS_OK)
        rc = know_all(s, &l, deadline, err);
    if (rc == AS_OK)
        rc = measure(s, &l, out, err);
    if (rc == AS_OK) {
        free(s->known);
        s->known = l.known;
        s->count = l.count;
        l.known = NULL;
    }
    listing_fini(&l);
    virlink_put(&s->link, conn);
    return rc;
}

/* --- open and close -------------------------------------------------------------------------------------- */

static void source_own(void *self, const char *controller)
{
    struct libvirt_source *s = self;
    s->controller = controller;
}

static int choose_stats(struct libvirt_source *s, struct as_error *err)
{
    static const struct {
        const char *name;
        unsigned stats;
    } choices[] = {
        { "cpu", VIR_DOMAIN_STATS_VCPU },
        { "memory", VIR_DOMAIN_STATS_BALLOON },
        { "network", VIR_DOMAIN_STATS_INTERFACE },
        { "disk", VIR_DOMAIN_STATS_BLOCK },
    };
    size_t n = as_settings_count(s->settings, "measure");
    s->stats = VIR_DOMAIN_STATS_STATE;
    for (size_t c = 0; n == 0 && c < sizeof choices / sizeof *choices; c++)
        s->stats |= choices[c].stats;
    for (size_t i = 0; i < n; i++) {
        const char *word = as_settings_item(s->settings, "measure", i);
        size_t c = 0;
        while (c < sizeof choices / sizeof *choices && strcmp(word, choices[c].name) != 0)
            c++;
        if (c == sizeof choices / sizeof *choices)
            return as_settings_fail(s->settings, "measure", err,
                                    "'%.40s' is none of cpu, memory, network, disk", word);
        s->stats |= choices[c].stats;
    }
    return AS_OK;
}

static int source_open(void *self, const struct as_settings *settings, const char *endpoint,
                       struct as_error *err)
{
    struct libvirt_source *s = self;
    s->settings = settings;
    s->uri = endpoint;
    virlink_init(&s->link, endpoint);
    const char *fault = virlink_uri_fault(endpoint);
    if (fault)
        return as_settings_fail(settings, "hosts", err, "'%.80s' %s", endpoint, fault);
    return choose_stats(s, err);
}

static void source_close(void *self)
{
    struct libvirt_source *s = self;
    virlink_fini(&s->link);
    fleet_fini(&s->fleet);
    free(s->known);
}

extern const struct as_source_driver as_source_libvirt;
const struct as_source_driver as_source_libvirt = {
    .name = "libvirt",
    .summary =
        "CPU, memory, network and disks of our virtual machines, each and by group; asked only while a "
        "policy reads it",
    .options = options,
    .series = libvirt_series,
    .has_objects = true,
    .endpoints = "hosts",
    .on_demand = true,
    .state_size = sizeof(struct libvirt_source),
    .own = source_own,
    .open = source_open,
    .poll = source_poll,
    .close = source_close,
};
