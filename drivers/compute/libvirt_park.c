/* Warm standby of the libvirt driver: a machine is paused with its memory in place, or saved with its memory on the
 * host's disk. To be saved it is defined, as libvirt saves no transient domain, and stays so until it is destroyed.
 * The state that is seen afterwards tells, not the words of an error. */
#include <stdlib.h>

#include "libvirt.h"

static int define(struct libvirt *d, virDomainPtr dom, struct as_error *err)
{
    if (vir.DomainIsPersistent(dom) == 1)
        return AS_OK;
    char *xml = vir.DomainGetXMLDesc(dom, VIR_DOMAIN_XML_SECURE | VIR_DOMAIN_XML_INACTIVE);
    virDomainPtr defined = xml ? vir.DomainDefineXML(vir.DomainGetConnect(dom), xml) : NULL;
    free(xml);
    if (!defined)
        return virlib_refused(d->uri, true, "defining the domain", err);
    vir.DomainFree(defined);
    return AS_OK;
}

static int suspend(struct libvirt *d, virDomainPtr dom, struct as_error *err)
{
    return vir.DomainSuspend(dom) == 0 ? AS_OK : virlib_refused(d->uri, true, "suspending", err);
}

static int save(struct libvirt *d, virDomainPtr dom, struct as_error *err)
{
    int rc = define(d, dom, err);
    if (rc == AS_OK && vir.DomainManagedSave(dom, VIR_DOMAIN_SAVE_RUNNING) != 0)
        rc = virlib_refused(d->uri, true, "saving", err);
    return rc;
}

int libvirt_wake(struct libvirt *d, virDomainPtr dom, struct as_error *err)
{
    int done = vir.DomainIsActive(dom) == 1 ? vir.DomainResume(dom) : vir.DomainCreate(dom);
    return done == 0 ? AS_OK : virlib_refused(d->uri, true, "resuming", err);
}

typedef int switching(struct libvirt *d, virDomainPtr dom, struct as_error *err);

static int switch_found(struct libvirt *d, virDomainPtr dom, switching *by, struct as_instance *seen,
                        struct as_error *err)
{
    enum as_run_state want = by == libvirt_wake ? AS_RUN_RUNNING : AS_RUN_PARKED;
    if (seen->state == want)
        return AS_OK;
    if (seen->state != AS_RUN_RUNNING && seen->state != AS_RUN_PARKED)
        return as_fail(err, AS_EINVAL, "'%s' on %.60s does not run: %s", seen->id, d->uri, seen->detail);
    int rc = by(d, dom, err);
    struct as_error why;
    int again = libvirt_read(d, dom, seen, &why);
    if (again != AS_OK)
        return rc != AS_OK ? rc : as_fail(err, AS_EUNKNOWN, "it cannot be looked at again: %.200s", why.msg);
    if (seen->state == want)
        return AS_OK;
    return rc != AS_OK
               ? rc
               : as_fail(err, AS_EUNKNOWN, "'%s' on %.60s did not stay as it was put", seen->id, d->uri);
}

static int switch_to(struct libvirt *d, as_time deadline, const char *id, switching *by,
                     struct as_instance *seen, struct as_error *err)
{
    virConnectPtr conn = NULL;
    virDomainPtr dom = NULL;
    struct as_error own;
    err = err ? err : &own;
    int rc = virlink_get(&d->link, deadline, &conn, err);
    if (rc != AS_OK)
        return rc;
    if ((rc = libvirt_find(d, conn, id, &dom, seen, err)) == AS_OK) {
        rc = switch_found(d, dom, by, seen, err);
        vir.DomainFree(dom);
    }
    virlink_put(&d->link, conn);
    return rc;
}

int libvirt_park(void *self, as_time deadline, const struct as_instance *inst, struct as_error *err)
{
    struct as_instance seen;
    return switch_to(self, deadline, inst->id, suspend, &seen, err);
}

int libvirt_save(void *self, as_time deadline, const struct as_instance *inst, struct as_error *err)
{
    struct as_instance seen;
    return switch_to(self, deadline, inst->id, save, &seen, err);
}

int libvirt_unpark(void *self, as_time deadline, const struct as_instance *inst, struct as_instance *out,
                   struct as_error *err)
{
    struct as_instance seen;
    int rc = switch_to(self, deadline, inst->id, libvirt_wake, &seen, err);
    if (rc == AS_OK && out)
        *out = seen;
    return rc;
}
