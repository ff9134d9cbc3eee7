/* Launching a virtual machine: its address, its disk, then a domain under the instance's name, transient unless it
 * is to come back with its host, or libvirt keeps a file for its firmware. What fails for good leaves nothing behind; what
 * is in doubt is left for the next list, and said to be in doubt. A domain of that name that is not ours is never
 * touched. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "libvirt.h"

/* --- the machine -------------------------------------------------------------------------------------- */

/* "kvm" where the host has it. Drivers other than QEMU's have one type, named as they are. */
static void choose_type(struct libvirt *d, virConnectPtr conn, char *buf, size_t size)
{
    const char *wanted = as_settings_str(d->settings, "type"), *driver = vir.ConnectGetType(conn);
    size_t i = 0;
    if (driver && strcmp(driver, "QEMU") != 0) {
        for (; driver[i] && i + 1 < size; i++)
            buf[i] = (char)tolower((unsigned char)driver[i]);
        buf[i] = '\0';
        return;
    }
    if (strcmp(wanted, "auto") == 0) {
        char *kvm = vir.ConnectGetDomainCapabilities(conn, NULL, NULL, NULL, "kvm", 0);
        wanted = kvm ? "kvm" : "qemu";
        free(kvm);
    }
    snprintf(buf, size, "%s", wanted);
}

static bool fill_mark(struct libvirt *d, const struct as_launch *launch, struct libvirt_mark *m)
{
    libvirt_mac(d, launch->id, m->mac);
    m->created_wall = as_clock_wall();
    return snprintf(m->controller, sizeof m->controller, "%s", d->owner.controller) < LIBVIRT_NAME_MAX &&
           snprintf(m->group, sizeof m->group, "%s", d->owner.group) < LIBVIRT_NAME_MAX &&
           snprintf(m->id, sizeof m->id, "%s", launch->id) < AS_ID_MAX &&
           snprintf(m->revision, sizeof m->revision, "%s", launch->revision) < AS_REVISION_MAX;
}

/* A template may name what it likes: only a domain under the instance's name, with our mark, is kept. */
static int check_made(struct libvirt *d, virDomainPtr dom, const char *id, struct as_instance *out,
                      struct as_error *err)
{
    int rc = AS_OK;
    if (strcmp(vir.DomainGetName(dom), id) != 0)
        rc =
            as_fail(err, AS_EINVAL, "the template does not name the machine '%s': use <name>{id}</name>", id);
    else if ((rc = libvirt_read(d, dom, out, err)) == AS_OK && out->state != AS_RUN_STOPPED)
        return AS_OK;
    else if (rc != AS_OK && rc != AS_EEXIST && rc != AS_ENOENT)
        return as_fail(err, AS_EUNKNOWN, "'%s' was started on %.60s but cannot be looked at", id, d->uri);
    else if (rc == AS_EEXIST)
        rc = as_fail(err, AS_EINVAL, "the template loses the mark in its <metadata>, have a look at it");
    else
        rc = as_fail(err, AS_EINVAL, "'%s' ended at once on %.60s: look at its serial log", id, d->uri);
    vir.DomainDestroy(dom);
    if (vir.DomainIsPersistent(dom) == 1)
        libvirt_undefine(dom);
    return rc;
}

/* libvirt says only in words, others since 9.2, that a host has not what the configuration asks for; it will not have it
 * at the next try. */
static int start_refused(const struct libvirt *d, struct as_error *err)
{
    int rc = virlib_refused(d->uri, true, "starting the domain", err);
    if (strstr(err->msg, "find any firmware") || strstr(err->msg, "firmware that is compatible"))
        return as_fail(err, AS_EINVAL,
                       "%.60s has no UEFI firmware that fits: install it there (Debian: ovmf)", d->uri);
    if (strstr(err->msg, "nknown CPU model"))
        return as_fail(err, AS_EINVAL,
                       "%.60s knows no such processor: virsh domcapabilities lists those it does", d->uri);
    return rc;
}

/* Only what the hypervisor can tell is looked at here: open has refused what never works. */
static int check_type(const struct libvirt *d, const char *type, struct as_error *err)
{
    const char *cpu = as_settings_str(d->settings, "cpu_mode");
    if (d->template || strcmp(type, "qemu") != 0 || !cpu || strcmp(cpu, "host-passthrough") != 0)
        return AS_OK;
    return as_fail(
        err, AS_EINVAL,
        "%.60s offers no KVM, which cpu_mode = \"host-passthrough\" needs: enable it there, or use "
        "\"maximum\" or \"host-model\"",
        d->uri);
}

struct disks {
    char volume[LIBVIRT_PATH_MAX], seed[LIBVIRT_PATH_MAX]; /* seed "": none */
};

/* To come back with its host it is defined first: one that dies in between is ours, switched off, and found by the next
 * list. So is one whose firmware has variables: of a transient domain libvirt leaves their file behind for good. */
static int start_domain(struct libvirt *d, virConnectPtr conn, const char *xml, virDomainPtr *out,
                        struct as_error *err)
{
    bool comes_back = as_settings_bool(d->settings, "autostart"),
         defined = comes_back || libvirt_has_nvram(xml);
    virDomainPtr dom = defined ? vir.DomainDefineXML(conn, xml) : vir.DomainCreateXML(conn, xml, 0);
    int rc = AS_OK;
    if (!dom)
        return start_refused(d, err);
    if (defined && ((comes_back && vir.DomainSetAutostart(dom, 1) != 0) || vir.DomainCreate(dom) != 0)) {
        rc = start_refused(d, err);
        libvirt_undefine(dom);
        vir.DomainFree(dom);
        return rc;
    }
    *out = dom;
    return rc;
}

static int make_domain(struct libvirt *d, virConnectPtr conn, const struct libvirt_mark *mark,
                       const struct disks *disks, struct as_instance *out, struct as_error *err)
{
    char type[32];
    choose_type(d, conn, type, sizeof type);
    int rc = check_type(d, type, err);
    if (rc != AS_OK)
        return rc;
    struct libvirt_machine m = {
        .settings = d->settings,
        .mark = mark,
        .type = type,
        .volume = disks->volume,
        .seed = disks->seed[0] ? disks->seed : NULL,
        .template = d->template,
    };
    char *xml = libvirt_domain_xml(&m);
    if (!xml)
        return as_fail(err, AS_ENOMEM, "out of memory for domain '%s'", mark->id);
    virDomainPtr dom = NULL;
    rc = start_domain(d, conn, xml, &dom, err);
    free(xml);
    if (rc != AS_OK)
        return rc;
    rc = check_made(d, dom, mark->id, out, err);
    vir.DomainFree(dom);
    return rc;
}

/* --- create ----------------------------------------------------------------------------------------------- */

/* A launch failed for good. Nothing is removed unless no domain of this name is there: another one's, or our
 * own that came up after all, keeps what it has. */
static int undo(struct libvirt *d, virConnectPtr conn, const char *id, int rc, struct as_error *err)
{
    struct as_error why;
    if (rc == AS_EUNKNOWN)
        return rc;
    virDomainPtr there = vir.DomainLookupByName(conn, id);
    if (there) {
        vir.DomainFree(there);
        return as_fail(err, AS_EUNKNOWN, "domain '%s' came up on %.60s beside this launch", id, d->uri);
    }
    int gone = virlib_refused(d->uri, false, "looking for the domain", &why);
    if (gone == AS_ENOENT && (gone = libvirt_discard(d, conn, id, &why)) == AS_OK)
        gone = libvirt_release(d, conn, id, &why);
    if (gone == AS_OK)
        return rc;
    char first[160];
    snprintf(first, sizeof first, "%.150s", err->msg);
    return as_fail(err, AS_EUNKNOWN, "%s; removing what was left failed: %.80s", first, why.msg);
}

static int make_all(struct libvirt *d, virConnectPtr conn, struct libvirt_mark *mark, as_time deadline,
                    struct as_instance *out, struct as_error *err)
{
    struct disks disks = { .seed = "" };
    int rc = libvirt_reserve(d, conn, mark->id, mark->address, err);
    if (rc == AS_OK)
        rc = libvirt_clone(d, conn, mark->id, disks.volume, err);
    if (rc == AS_OK && (d->user_data || d->network_config))
        rc = libvirt_seed(d, conn, mark, disks.seed, err);
    if (rc == AS_OK && as_time_left(deadline) == 0)
        rc = as_fail(err, AS_EAGAIN, "%.60s is too slow to launch '%s' in time", d->uri, mark->id);
    if (rc == AS_OK)
        rc = make_domain(d, conn, mark, &disks, out, err);
    return rc == AS_OK ? rc : undo(d, conn, mark->id, rc, err);
}

/* It is there and ours: brought to running. */
static int adopt(struct libvirt *d, virDomainPtr dom, struct as_instance *seen, struct as_error *err)
{
    int rc = AS_OK;
    if (seen->state == AS_RUN_PARKED || seen->state == AS_RUN_STOPPED)
        rc = libvirt_wake(d, dom, err);
    return rc != AS_OK ? rc : libvirt_read(d, dom, seen, err);
}

static int create_or_adopt(struct libvirt *d, virConnectPtr conn, const struct as_launch *launch,
                           as_time deadline, struct as_instance *out, struct as_error *err)
{
    virDomainPtr dom = NULL;
    struct libvirt_mark mark = { 0 };
    int rc = libvirt_find(d, conn, launch->id, &dom, out, err);
    if (rc == AS_OK) {
        rc = adopt(d, dom, out, err);
        vir.DomainFree(dom);
        return rc;
    }
    if (rc != AS_ENOENT)
        return rc;
    if (!fill_mark(d, launch, &mark))
        return as_fail(err, AS_EINVAL, "'%s' or its owner's name is too long for a mark", launch->id);
    return make_all(d, conn, &mark, deadline, out, err);
}

int libvirt_create(void *self, as_time deadline, const struct as_launch *launch, struct as_instance *out,
                   struct as_error *err)
{
    struct libvirt *d = self;
    struct as_instance made = { 0 };
    virConnectPtr conn = NULL;
    struct as_error own;
    err = err ? err : &own;
    if (!libvirt_name_ok(launch->id))
        return as_fail(err, AS_EINVAL, "'%s' cannot be the name of a domain", launch->id);
    int rc = virlink_get(&d->link, deadline, &conn, err);
    if (rc != AS_OK)
        return rc;
    rc = create_or_adopt(d, conn, launch, deadline, &made, err);
    virlink_put(&d->link, conn);
    if (rc == AS_OK)
        *out = made;
    return rc;
}
