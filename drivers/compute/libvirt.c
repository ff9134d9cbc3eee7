/* Compute driver for virtual machines on one libvirt host. A domain's name is the instance id and an element
 * of ours in its metadata is the mark of ownership: every write looks at it first and touches no other
 * domain. A disk is deleted only after its domain is proven gone, since libvirt would delete it under a
 * running machine. It never waits for an application to answer. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libvirt.h"

#define DESTROY_RESERVE (6 * AS_SECOND) /* of a deadline, kept for switching off after a slow stop */
#define PRESS_AGAIN     (5 * AS_SECOND) /* a guest that still boots loses the power button */
#define NAP_MS          100

bool libvirt_name_ok(const char *id)
{
    size_t n = strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return n > 0 && n < AS_ID_MAX && !id[n] && id[0] != '.' && id[0] != '-';
}

/* --- reading ------------------------------------------------------------------------------------------ */

static void take_state(struct as_instance *out, int state, int reason)
{
    const char *detail = "";
    out->state = AS_RUN_RUNNING;
    switch (state) {
    case VIR_DOMAIN_PAUSED:
        out->state = AS_RUN_PARKED;
        if (reason == VIR_DOMAIN_PAUSED_STARTING_UP) {
            out->state = AS_RUN_CREATED;
            detail = "starting";
        } else if (reason == VIR_DOMAIN_PAUSED_IOERROR) { /* as a rule the pool is full */
            out->state = AS_RUN_STOPPED;
            detail = "halted by an I/O error of its disk";
        }
        break;
    case VIR_DOMAIN_PMSUSPENDED: out->state = AS_RUN_PARKED; break;
    case VIR_DOMAIN_SHUTDOWN: detail = "shutting down"; break;
    case VIR_DOMAIN_CRASHED:
        out->state = AS_RUN_STOPPED;
        detail = "crashed";
        break;
    case VIR_DOMAIN_SHUTOFF:
        out->state = AS_RUN_STOPPED;
        detail = reason == VIR_DOMAIN_SHUTOFF_CRASHED ? "crashed" : "switched off";
        break;
    default: break;
    }
    snprintf(out->detail, sizeof out->detail, "%s", detail);
}

static bool is_ours(const struct libvirt *d, const struct libvirt_mark *m, const char *name)
{
    return strcmp(m->controller, d->owner.controller) == 0 && strcmp(m->group, d->owner.group) == 0 &&
           strcmp(m->id, name) == 0;
}

int libvirt_read(struct libvirt *d, virDomainPtr dom, struct as_instance *out, struct as_error *err)
{
    const char *name = vir.DomainGetName(dom);
    struct libvirt_mark mark = { 0 };
    int state = 0, reason = 0;
    struct as_error own;
    err = err ? err : &own;
    char *text = vir.DomainGetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT, LIBVIRT_NAMESPACE, 0);
    if (!text) {
        const virError *e = vir.GetLastError();
        if (!e || e->code != VIR_ERR_NO_DOMAIN_METADATA)
            return virlib_refused(d->uri, false, "reading a domain's mark", err);
    }
    bool ours = text && libvirt_mark_read(text, &mark) && is_ours(d, &mark, name);
    free(text);
    if (!ours)
        return as_fail(err, AS_EEXIST,
                       "domain '%.80s' on %.60s is not ours (its metadata says so), it is left alone", name,
                       d->uri);
    if (vir.DomainGetState(dom, &state, &reason, 0) != 0)
        return virlib_refused(d->uri, false, "reading a domain's state", err);
    *out = (struct as_instance){ .created_wall = mark.created_wall };
    memcpy(out->id, mark.id, sizeof out->id);
    memcpy(out->revision, mark.revision, sizeof out->revision);
    memcpy(out->address, mark.address, sizeof out->address);
    take_state(out, state, reason);
    if (!out->address[0] && out->state == AS_RUN_RUNNING)
        libvirt_ask_address(d, dom, mark.mac, out->address);
    out->port = out->address[0] ? (uint16_t)as_settings_int(d->settings, "port") : 0;
    if (state == VIR_DOMAIN_SHUTOFF && vir.DomainHasManagedSaveImage(dom, 0) == 1) {
        out->state = AS_RUN_PARKED;
        snprintf(out->detail, sizeof out->detail, "saved");
    }
    return AS_OK;
}

int libvirt_find(struct libvirt *d, virConnectPtr conn, const char *id, virDomainPtr *dom,
                 struct as_instance *out, struct as_error *err)
{
    virDomainPtr found = vir.DomainLookupByName(conn, id);
    if (!found)
        return virlib_refused(d->uri, false, "looking for the domain", err);
    int rc = libvirt_read(d, found, out, err);
    if (rc == AS_OK)
        *dom = found;
    else
        vir.DomainFree(found);
    return rc;
}

/* --- list ------------------------------------------------------------------------------------------------- */

struct booked {
    uint64_t kib, vcpus;
};

static void book(virDomainPtr dom, struct booked *b)
{
    virDomainInfo info;
    if (vir.DomainIsActive(dom) != 1 || vir.DomainGetInfo(dom, &info) != 0)
        return;
    b->kib += info.maxMem;
    b->vcpus += info.nrVirtCpu;
}

/* What the kernel could give away, page cache included; UINT64_MAX when the host does not tell. */
static uint64_t available_kib(virConnectPtr conn)
{
    virNodeMemoryStats stats[32];
    int n = 0;
    uint64_t sum = 0;
    if (vir.NodeGetMemoryStats(conn, VIR_NODE_MEMORY_STATS_ALL_CELLS, NULL, &n, 0) != 0 || n < 1 || n > 32 ||
        vir.NodeGetMemoryStats(conn, VIR_NODE_MEMORY_STATS_ALL_CELLS, stats, &n, 0) != 0)
        return UINT64_MAX;
    for (int i = 0; i < n; i++)
        if (strcmp(stats[i].field, VIR_NODE_MEMORY_STATS_FREE) == 0 ||
            strcmp(stats[i].field, VIR_NODE_MEMORY_STATS_CACHED) == 0 ||
            strcmp(stats[i].field, VIR_NODE_MEMORY_STATS_BUFFERS) == 0)
            sum += stats[i].value;
    return sum;
}

/* A guest takes its memory over time, so what is promised counts as well as what is used. */
static int room_left(struct libvirt *d, virConnectPtr conn, const struct booked *b)
{
    virNodeInfo node;
    if (vir.NodeGetInfo(conn, &node) != 0)
        return -1;
    uint64_t available = available_kib(conn), unbooked = node.memory > b->kib ? node.memory - b->kib : 0;
    uint64_t kib = available < unbooked ? available : unbooked;
    double vcpus = node.cpus * as_settings_num(d->settings, "cpu_overcommit") - (double)b->vcpus;
    double by_cpu = vcpus / (double)as_settings_int(d->settings, "vcpus");
    double by_memory = (double)kib / ((double)as_settings_bytes(d->settings, "memory") / 1024);
    double room = by_cpu < by_memory ? by_cpu : by_memory;
    return room <= 0 ? 0 : room > AS_INSTANCES_CAP ? AS_INSTANCES_CAP : (int)room;
}

/* Adds the domain when it is ours. One that went away meanwhile is no error. */
static int list_one(struct libvirt *d, virDomainPtr dom, struct as_instances *out, struct as_error *err)
{
    size_t prefix = strlen(d->owner.group);
    const char *name = vir.DomainGetName(dom);
    struct as_instance seen;
    if (strncmp(name, d->owner.group, prefix) != 0 || name[prefix] != '-')
        return AS_OK; /* cannot be ours: its mark need not be asked for */
    int rc = libvirt_read(d, dom, &seen, err);
    if (rc == AS_EEXIST || rc == AS_ENOENT)
        return AS_OK;
    if (rc != AS_OK)
        return rc;
    struct as_instance *i = as_instances_add(out);
    if (!i)
        return as_fail(err, AS_ENOMEM, "too many domains on %.60s", d->uri);
    *i = seen;
    return AS_OK;
}

static int list_all(struct libvirt *d, virConnectPtr conn, struct as_instances *out, struct as_error *err)
{
    virDomainPtr *all = NULL;
    struct booked booked = { 0 };
    int rc = AS_OK, n = vir.ConnectListAllDomains(conn, &all, 0);
    if (n < 0)
        return virlib_refused(d->uri, false, "listing", err);
    for (int i = 0; i < n; i++) {
        if (rc == AS_OK)
            rc = list_one(d, all[i], out, err);
        if (rc == AS_OK)
            book(all[i], &booked);
        vir.DomainFree(all[i]);
    }
    free(all);
    if (rc == AS_OK)
        rc = libvirt_list_left(d, conn, out, err);
    if (rc == AS_OK)
        out->room = room_left(d, conn, &booked);
    return rc;
}

static int libvirt_list(void *self, as_time deadline, struct as_instances *out, struct as_error *err)
{
    struct libvirt *d = self;
    struct as_instances seen = { 0 };
    virConnectPtr conn = NULL;
    struct as_error own;
    err = err ? err : &own;
    int rc = virlink_get(&d->link, deadline, &conn, err);
    if (rc != AS_OK)
        return rc;
    rc = list_all(d, conn, &seen, err);
    virlink_put(&d->link, conn);
    for (size_t i = 0; rc == AS_OK && i < seen.count; i++) {
        struct as_instance *to = as_instances_add(out);
        if (!to)
            rc = as_fail(err, AS_ENOMEM, "too many domains on %.60s", d->uri);
        else
            *to = seen.items[i];
    }
    if (rc == AS_OK)
        out->room = seen.room;
    as_instances_fini(&seen);
    return rc;
}

/* --- destroy ------------------------------------------------------------------------------------------- */

/* Is it not running any more? A transient domain is not even there then. False when it cannot be told. */
static bool is_off(virDomainPtr dom)
{
    int state = 0;
    if (vir.DomainGetState(dom, &state, NULL, 0) != 0)
        return vir.GetLastErrorCode() == VIR_ERR_NO_DOMAIN;
    return state == VIR_DOMAIN_SHUTOFF;
}

/* The power button, again and again, until it is off or patience ends. A refusal does not matter: switching
 * off follows. */
static void shut_down(struct libvirt *d, virDomainPtr dom, as_time deadline)
{
    as_time now = as_clock_monotonic(), press = now;
    as_time until = now + as_settings_ms(d->settings, "stop_timeout");
    if (until > deadline - DESTROY_RESERVE)
        until = deadline - DESTROY_RESERVE;
    for (; now < until && !is_off(dom); now = as_clock_monotonic()) {
        if (now >= press) {
            if (vir.DomainShutdown(dom) != 0)
                return;
            press = now + PRESS_AGAIN;
            continue;
        }
        usleep(NAP_MS * 1000);
    }
}

int libvirt_undefine(virDomainPtr dom)
{
    unsigned saved = VIR_DOMAIN_UNDEFINE_MANAGED_SAVE;
    if (vir.DomainUndefineFlags(dom, saved | VIR_DOMAIN_UNDEFINE_NVRAM) == 0)
        return 0;
    return vir.DomainUndefineFlags(dom, saved); /* not every kind of host knows of NVRAM */
}

/* Off, and not defined either. Proven, not believed: its disk is deleted next. */
static int remove_domain(struct libvirt *d, virConnectPtr conn, virDomainPtr dom, struct as_error *err)
{
    unsigned char uuid[VIR_UUID_BUFLEN];
    if (vir.DomainGetUUID(dom, uuid) != 0)
        return virlib_refused(d->uri, false, "reading a domain", err);
    if (!is_off(dom) && vir.DomainDestroy(dom) != 0 && !is_off(dom))
        return virlib_refused(d->uri, true, "switching off", err);
    if (vir.DomainIsPersistent(dom) == 1)
        libvirt_undefine(dom);
    virDomainPtr left = vir.DomainLookupByUUID(conn, uuid);
    if (!left) {
        int rc = virlib_refused(d->uri, true, "looking for the domain", err);
        return rc == AS_ENOENT ? AS_OK : rc;
    }
    as_fail(err, AS_EAGAIN, "domain '%.80s' on %.60s is switched off but still there, undefine it",
            vir.DomainGetName(left), d->uri);
    vir.DomainFree(left);
    return AS_EAGAIN;
}

static int destroy_found(struct libvirt *d, virConnectPtr conn, const char *id, as_time deadline,
                         struct as_error *err)
{
    virDomainPtr dom = NULL;
    struct as_instance seen;
    int rc = libvirt_find(d, conn, id, &dom, &seen, err);
    if (rc == AS_OK) {
        if (seen.state == AS_RUN_RUNNING)
            shut_down(d, dom, deadline);
        rc = remove_domain(d, conn, dom, err);
        vir.DomainFree(dom);
    } else if (rc == AS_ENOENT) {
        rc = AS_OK;
    }
    if (rc == AS_OK)
        rc = libvirt_discard(d, conn, id, err);
    if (rc == AS_OK)
        rc = libvirt_release(d, conn, id, err);
    return rc;
}

static int libvirt_destroy(void *self, as_time deadline, const struct as_instance *inst, struct as_error *err)
{
    struct libvirt *d = self;
    virConnectPtr conn = NULL;
    struct as_error own;
    err = err ? err : &own;
    if (!libvirt_name_ok(inst->id))
        return as_fail(err, AS_EINVAL, "'%s' cannot be the name of a domain", inst->id);
    int rc = virlink_get(&d->link, deadline, &conn, err);
    if (rc != AS_OK)
        return rc;
    rc = destroy_found(d, conn, inst->id, deadline, err);
    virlink_put(&d->link, conn);
    return rc;
}

const struct as_compute_driver as_compute_libvirt = {
    .name = "libvirt",
    .summary = "virtual machines on libvirt hosts",
    .options = libvirt_options,
    .endpoints = "hosts",
    .state_size = sizeof(struct libvirt),
    .open = libvirt_open,
    .list = libvirt_list,
    .create = libvirt_create,
    .destroy = libvirt_destroy,
    .park = libvirt_park,
    .save = libvirt_save,
    .unpark = libvirt_unpark,
    .close = libvirt_close,
};
