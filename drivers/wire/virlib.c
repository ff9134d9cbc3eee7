/* libvirt as a library found at run time, and what its errors mean. It never unloads: threads of libvirt's own
 * may be in it. Nothing libvirt has to say reaches standard error: it becomes our error. */
#include "virlib.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>

#include "dynlib.h"

struct virlib vir;

/* --- loading ------------------------------------------------------------------------------------------ */

static const struct dynlib_function functions[] = {
#define VIRLIB_NAME(f) { "vir" #f, offsetof(struct virlib, f) },
    VIRLIB_FUNCTIONS(VIRLIB_NAME)
#undef VIRLIB_NAME
};

static const struct dynlib library = { "libvirt.so.0", "libvirt", "libvirt0", functions,
                                       sizeof functions / sizeof *functions };

static void quiet(void *data, virErrorPtr error)
{
    (void)data;
    (void)error;
}

static void *run_events(void *unused)
{
    (void)unused;
    for (;;)
        if (vir.EventRunDefaultImpl() < 0)
            return NULL;
}

/* Keep-alive answers are read by the event loop: one thread for all connections, for good. */
static bool start_events(void)
{
    pthread_t thread;
    sigset_t all, before;
    vir.SetErrorFunc(NULL, quiet);
    if (vir.Initialize() < 0 || vir.EventRegisterDefaultImpl() < 0)
        return false;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool ok = pthread_create(&thread, NULL, run_events, NULL) == 0;
    if (ok)
        pthread_detach(thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return ok;
}

/* Called with the lock. */
static int load(struct as_error *err)
{
    int rc = dynlib_load(&library, &vir, err);
    if (rc != AS_OK)
        return rc;
    return start_events() ? AS_OK : as_fail(err, AS_EAGAIN, "libvirt's event loop cannot be started");
}

int virlib_load(struct as_error *err)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static bool loaded;
    pthread_mutex_lock(&lock);
    int rc = loaded ? AS_OK : load(err);
    loaded = rc == AS_OK;
    pthread_mutex_unlock(&lock);
    return rc;
}

/* --- errors ------------------------------------------------------------------------------------------- */

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

int virlib_refused(const char *at, bool wrote, const char *what, struct as_error *err)
{
    const virError *e = vir.GetLastError();
    if (!e || e->code == VIR_ERR_OK)
        return as_fail(err, wrote ? AS_EUNKNOWN : AS_EAGAIN, "%s on %.60s failed without a reason", what, at);
    enum as_rc rc = class_of(e);
    if (rc != AS_EAUTH && is_lost(e))
        rc = wrote ? AS_EUNKNOWN : AS_EAGAIN;
    /* QEMU and its tools say this only in words */
    if (rc == AS_EAGAIN && e->message &&
        (strstr(e->message, "annot allocate memory") || strstr(e->message, "No space left on device")))
        rc = AS_EFULL;
    const char *text = e->message ? e->message : "no reason given",
               *tool = strstr(text, "unexpected exit status ");
    if (tool && (tool = strstr(tool, ": "))) /* what a tool said, without its command line */
        text = tool + 2;
    return as_fail(err, rc, "%s on %.60s: %.*s", what, at, (int)strcspn(text, "\n"), text);
}
