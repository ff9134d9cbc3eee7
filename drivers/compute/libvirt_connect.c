/* The connection to one libvirtd: opened when first needed, kept with keep-alive, opened anew after a loss,
 * as libvirt never does by itself. A call may hang when the daemon does; it is then the lane that gives it up.
 * Nothing libvirt has to say reaches standard error: it becomes our error. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "libvirt.h"

#define KEEPALIVE_INTERVAL 2 /* seconds; a dead daemon is noticed after */
#define KEEPALIVE_COUNT    3 /* this many of them */

/* --- the process ------------------------------------------------------------------------------------ */

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void quiet(void *data, virErrorPtr error)
{
    (void)data;
    (void)error;
}

static void *run_events(void *unused)
{
    (void)unused;
    for (;;)
        if (virEventRunDefaultImpl() < 0)
            return NULL;
}

/* Keep-alive answers are read by the event loop: one thread for all connections, for good. */
static void start_events(void)
{
    pthread_t thread;
    sigset_t all, before;
    virSetErrorFunc(NULL, quiet);
    if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0)
        return;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, NULL, run_events, NULL) == 0)
        pthread_detach(thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* --- errors ------------------------------------------------------------------------------------------ */

static bool is_lost(const virError *e)
{
    switch (e->code) {
    case VIR_ERR_RPC:
    case VIR_ERR_GNUTLS_ERROR:
    case VIR_ERR_SSH:
    case VIR_ERR_LIBSSH: return true;
    default: return e->domain == VIR_FROM_RPC || e->domain == VIR_FROM_REMOTE;
    }
}

static enum as_rc class_of(const virError *e)
{
    switch (e->code) {
    case VIR_ERR_NO_DOMAIN:
    case VIR_ERR_NO_NETWORK:
    case VIR_ERR_NO_STORAGE_POOL:
    case VIR_ERR_NO_STORAGE_VOL:
    case VIR_ERR_NO_DOMAIN_METADATA: return AS_ENOENT;
    case VIR_ERR_DOM_EXIST:
    case VIR_ERR_NETWORK_EXIST:
    case VIR_ERR_STORAGE_VOL_EXIST: return AS_EEXIST;
    case VIR_ERR_AUTH_FAILED:
    case VIR_ERR_AUTH_CANCELLED:
    case VIR_ERR_AUTH_UNAVAILABLE:
    case VIR_ERR_OPERATION_DENIED:
    case VIR_ERR_ACCESS_DENIED: return AS_EAUTH;
    case VIR_ERR_XML_ERROR:
    case VIR_ERR_XML_DETAIL:
    case VIR_ERR_XML_INVALID_SCHEMA:
    case VIR_ERR_CONFIG_UNSUPPORTED:
    case VIR_ERR_OS_TYPE:
    case VIR_ERR_INVALID_ARG: return AS_EINVAL;
    case VIR_ERR_NO_SUPPORT:
    case VIR_ERR_ARGUMENT_UNSUPPORTED:
    case VIR_ERR_OPERATION_UNSUPPORTED: return AS_EUNSUP;
    case VIR_ERR_SYSTEM_ERROR:
        return e->int1 == ENOSPC || e->int1 == EDQUOT || e->int1 == ENOMEM ? AS_EFULL : AS_EAGAIN;
    default: return AS_EAGAIN;
    }
}

int libvirt_refused(const struct libvirt *d, bool wrote, const char *what, struct as_error *err)
{
    const virError *e = virGetLastError();
    if (!e || e->code == VIR_ERR_OK)
        return as_fail(err, wrote ? AS_EUNKNOWN : AS_EAGAIN, "%s on %.60s failed without a reason", what,
                       d->uri);
    enum as_rc rc = class_of(e);
    if (rc != AS_EAUTH && is_lost(e))
        rc = wrote ? AS_EUNKNOWN : AS_EAGAIN;
    /* QEMU says this only in words */
    if (rc == AS_EAGAIN && e->message && strstr(e->message, "annot allocate memory"))
        rc = AS_EFULL;
    const char *text = e->message ? e->message : "no reason given";
    return as_fail(err, rc, "%s on %.60s: %.*s", what, d->uri, (int)strcspn(text, "\n"), text);
}

/* --- the connection --------------------------------------------------------------------------------------- */

static int connect_refused(const struct libvirt *d, struct as_error *err)
{
    const virError *e = virGetLastError();
    int code = e ? e->code : VIR_ERR_OK;
    libvirt_refused(d, false, "connecting", err);
    if (code == VIR_ERR_AUTH_FAILED || code == VIR_ERR_AUTH_CANCELLED || code == VIR_ERR_AUTH_UNAVAILABLE)
        return (int)(err->rc = AS_EAUTH);
    if (code == VIR_ERR_SYSTEM_ERROR && e->int1 == EACCES)
        return (int)(err->rc = AS_EAUTH);
    if (code == VIR_ERR_NO_CONNECT || code == VIR_ERR_INVALID_ARG || code == VIR_ERR_CONFIG_UNSUPPORTED)
        return (int)(err->rc = AS_EINVAL);
    return (int)(err->rc = AS_EAGAIN);
}

/* Called with the lock. */
static int link_again(struct libvirt *d, struct as_error *err)
{
    if (d->conn && virConnectIsAlive(d->conn) == 1)
        return AS_OK;
    if (d->conn)
        virConnectClose(d->conn);
    d->conn = virConnectOpen(d->uri);
    if (!d->conn)
        return connect_refused(d, err);
    virConnectSetKeepAlive(d->conn, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT); /* not every driver can */
    return AS_OK;
}

int libvirt_link(struct libvirt *d, as_time deadline, virConnectPtr *out, struct as_error *err)
{
    struct as_error own;
    struct timespec until = { .tv_sec = deadline / AS_SECOND, .tv_nsec = deadline % AS_SECOND * 1000000 };
    err = err ? err : &own;
    pthread_once(&once, start_events);
    virResetLastError();
    if (pthread_mutex_clocklock(&d->link_lock, CLOCK_MONOTONIC, &until) != 0)
        return as_fail(err, AS_EAGAIN, "%.60s does not answer: look whether its libvirtd hangs", d->uri);
    int rc = link_again(d, err);
    if (rc == AS_OK) {
        virConnectRef(d->conn);
        *out = d->conn;
    }
    pthread_mutex_unlock(&d->link_lock);
    return rc;
}
