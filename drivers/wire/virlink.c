/* One lock for all links: it is held for moments, never during a call that leaves this process. The attempts
 * own themselves: a link that gives one up forgets it, and it closes what it may still get. */
#include "virlink.h"
#include "virssh.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define KEEPALIVE_INTERVAL 2                /* seconds; a dead daemon is noticed after */
#define KEEPALIVE_COUNT    3                /* this many of them */
#define ATTEMPT_MAX        (60 * AS_SECOND) /* after that another one is made beside it; twice as long */
#define GIVEN_UP_MAX       10               /* after each that was given up, this often */
#define CLOSING_MAX        (AS_SECOND / 5) /* what the end of a link waits; a daemon that hangs takes longer */
#define STACK_BYTES        ((size_t)1 << 20)

struct virlink_attempt {
    char *uri;
    as_time begun;
    bool done, forgotten; /* forgotten: nobody waits for it any more */
    virConnectPtr conn;
    struct virssh *ssh; /* NULL: libvirt starts none */
    struct as_error err;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;

const char *virlink_uri_fault(const char *uri)
{
    size_t scheme = strspn(uri, "abcdefghijklmnopqrstuvwxyz0123456789+");
    bool ok = scheme > 0 && strncmp(uri + scheme, "://", 3) == 0 && strlen(uri) > scheme + 3;
    for (const char *c = uri; *c; c++)
        ok = ok && (unsigned char)*c > ' ' && *c != 0x7f;
    return ok ? virssh_fault(uri) : "is no libvirt URI such as qemu:///system";
}

/* --- an attempt ----------------------------------------------------------------------------------------- */

static void close_connection(virConnectPtr conn)
{
    vir.ConnectClose(conn);
    virssh_closed(conn);
}

static void free_attempt(struct virlink_attempt *a)
{
    free(a->uri);
    free(a);
}

static void connect_refused(struct virlink_attempt *a)
{
    const virError *e = vir.GetLastError();
    int code = e ? e->code : VIR_ERR_OK, number = e ? e->int1 : 0;
    virlib_refused(a->uri, false, "connecting", &a->err);
    if (virssh_is(a->uri) && virssh_refused(a->uri, &a->err))
        return;
    switch (code) {
    case VIR_ERR_AUTH_FAILED:
    case VIR_ERR_AUTH_CANCELLED:
    case VIR_ERR_AUTH_UNAVAILABLE: a->err.rc = AS_EAUTH; break;
    case VIR_ERR_NO_CONNECT:
    case VIR_ERR_INVALID_ARG:
    case VIR_ERR_CONFIG_UNSUPPORTED: a->err.rc = AS_EINVAL; break;
    default: a->err.rc = code == VIR_ERR_SYSTEM_ERROR && number == EACCES ? AS_EAUTH : AS_EAGAIN;
    }
}

static void *run_attempt(void *data)
{
    struct virlink_attempt *a = data;
    virssh_starts(a->ssh);
    virConnectPtr conn = vir.ConnectOpen(a->uri);
    virssh_ended(a->ssh, conn);
    if (!conn)
        connect_refused(a);
    else
        vir.ConnectSetKeepAlive(conn, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT); /* not every driver can */
    pthread_mutex_lock(&lock);
    bool forgotten = a->forgotten;
    a->ssh = NULL;
    a->conn = conn;
    a->done = true;
    pthread_cond_broadcast(&ended);
    pthread_mutex_unlock(&lock);
    if (!forgotten)
        return NULL;
    if (conn)
        close_connection(conn);
    free_attempt(a);
    return NULL;
}

/* All signals are blocked in it: libvirt writes into connections whose daemon is gone. */
static bool run_detached(void *(*run)(void *), void *data)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, before;
    if (pthread_attr_init(&attr) != 0)
        return false;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool ok = pthread_create(&thread, &attr, run, data) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return ok;
}

/* Called with the lock. */
static int begin_attempt(struct virlink *l, struct as_error *err)
{
    struct virlink_attempt *a = calloc(1, sizeof *a);
    if (!a || !(a->uri = virssh_quiet(l->uri))) {
        free(a);
        return as_fail(err, AS_ENOMEM, "out of memory for connecting to %.60s", l->uri);
    }
    a->begun = as_clock_monotonic();
    a->ssh = virssh_is(l->uri) ? virssh_new() : NULL;
    if (!run_detached(run_attempt, a)) {
        virssh_ended(a->ssh, NULL);
        free_attempt(a);
        return as_fail(err, AS_EAGAIN, "no thread can be started for connecting to %.60s", l->uri);
    }
    l->attempt = a;
    return AS_OK;
}

/* --- closing -------------------------------------------------------------------------------------------- */

struct closing {
    virConnectPtr conn[VIRLINK_IDLE];
    int count;
    bool done, forgotten; /* forgotten: nobody waits for it any more */
};

static void *run_closing(void *data)
{
    struct closing *c = data;
    for (int i = 0; i < c->count; i++)
        close_connection(c->conn[i]); /* asks the daemon */
    pthread_mutex_lock(&lock);
    bool forgotten = c->forgotten;
    c->done = true;
    pthread_cond_broadcast(&ended);
    pthread_mutex_unlock(&lock);
    if (forgotten)
        free(c);
    return NULL;
}

/* Of all that are kept, on a thread of its own; false: there is none for it. */
static bool close_beside(struct virlink *l)
{
    struct closing *c = calloc(1, sizeof *c);
    as_time deadline = as_clock_monotonic() + CLOSING_MAX;
    const struct timespec until = { .tv_sec = deadline / AS_SECOND,
                                    .tv_nsec = deadline % AS_SECOND * 1000000 };
    if (!c)
        return false;
    memcpy(c->conn, l->idle, sizeof c->conn);
    c->count = l->idle_count;
    if (!run_detached(run_closing, c)) {
        free(c);
        return false;
    }
    pthread_mutex_lock(&lock);
    while (!c->done && pthread_cond_clockwait(&ended, &lock, CLOCK_MONOTONIC, &until) == 0)
        ;
    bool done = c->done;
    c->forgotten = !done;
    pthread_mutex_unlock(&lock);
    if (done)
        free(c);
    return true;
}

/* --- the link ------------------------------------------------------------------------------------------- */

/* Called with the lock. False: enough are kept already. */
static bool keep(struct virlink *l, virConnectPtr conn)
{
    if (l->idle_count == VIRLINK_IDLE)
        return false;
    l->idle[l->idle_count++] = conn;
    return true;
}

/* Called with the lock. Takes what an ended attempt has brought. */
static int end_attempt(struct virlink *l, struct as_error *err)
{
    struct virlink_attempt *a = l->attempt;
    l->attempt = NULL;
    l->given_up = 0;
    if (a->conn && !keep(l, a->conn))
        close_connection(a->conn);
    int rc = a->conn ? AS_OK : as_fail(err, a->err.rc, "%s", a->err.msg);
    free_attempt(a);
    return rc;
}

/* Called with the lock. It keeps its thread until libvirt lets it go, at once where that waits for an ssh that we can
 * end: that is why a host that hangs for days must not be tried anew every minute. */
static void forget_attempt(struct virlink *l)
{
    if (l->attempt && l->attempt->done) {
        struct as_error unused;
        end_attempt(l, &unused);
    } else if (l->attempt) {
        l->attempt->forgotten = true;
        virssh_stop(l->attempt->ssh);
        l->attempt = NULL;
    }
}

/* Called with the lock. */
static bool takes_for_ever(const struct virlink *l)
{
    return l->attempt && !l->attempt->done &&
           as_clock_monotonic() - l->attempt->begun > ATTEMPT_MAX << l->given_up;
}

/* Called with the lock, which it lets go while it waits. */
static int connect_by(struct virlink *l, as_time deadline, struct as_error *err)
{
    const struct timespec until = { .tv_sec = deadline / AS_SECOND,
                                    .tv_nsec = deadline % AS_SECOND * 1000000 };
    if (takes_for_ever(l)) {
        forget_attempt(l);
        l->given_up += l->given_up < GIVEN_UP_MAX;
    }
    while (l->idle_count == 0) {
        int rc = AS_OK;
        if (!l->attempt)
            rc = begin_attempt(l, err);
        else if (l->attempt->done)
            rc = end_attempt(l, err);
        else if (pthread_cond_clockwait(&ended, &lock, CLOCK_MONOTONIC, &until) != 0)
            rc = as_fail(err, AS_EAGAIN, "%.60s does not answer: look whether its %s hangs", l->uri,
                         virssh_is(l->uri) ? "sshd or libvirtd" : "libvirtd");
        if (rc != AS_OK)
            return rc;
    }
    return AS_OK;
}

void virlink_init(struct virlink *l, const char *uri)
{
    *l = (struct virlink){ .uri = uri };
}

void virlink_fini(struct virlink *l)
{
    pthread_mutex_lock(&lock);
    forget_attempt(l);
    pthread_mutex_unlock(&lock);
    if (l->idle_count > 0 && close_beside(l))
        l->idle_count = 0;
    while (l->idle_count > 0)
        close_connection(l->idle[--l->idle_count]);
}

/* Called with the lock. Those that were lost meanwhile; returns how many, for the caller to close without it. */
static int take_dead(struct virlink *l, virConnectPtr dead[VIRLINK_IDLE])
{
    int n = 0, kept = 0;
    for (int i = 0; i < l->idle_count; i++) {
        if (vir.ConnectIsAlive(l->idle[i]) == 1)
            l->idle[kept++] = l->idle[i];
        else
            dead[n++] = l->idle[i];
    }
    l->idle_count = kept;
    return n;
}

int virlink_get(struct virlink *l, as_time deadline, virConnectPtr *out, struct as_error *err)
{
    struct as_error own;
    err = err ? err : &own;
    int rc = virlib_load(err);
    if (rc != AS_OK)
        return rc;
    vir.ResetLastError();
    virConnectPtr dead[VIRLINK_IDLE];
    pthread_mutex_lock(&lock);
    int n = take_dead(l, dead);
    rc = connect_by(l, deadline, err);
    if (rc == AS_OK)
        *out = l->idle[--l->idle_count];
    pthread_mutex_unlock(&lock);
    while (n > 0)
        close_connection(dead[--n]);
    return rc;
}

void virlink_put(struct virlink *l, virConnectPtr conn)
{
    bool alive = vir.ConnectIsAlive(conn) == 1;
    pthread_mutex_lock(&lock);
    bool kept = alive && keep(l, conn);
    pthread_cond_broadcast(&ended); /* somebody may wait for an attempt */
    pthread_mutex_unlock(&lock);
    if (!kept)
        close_connection(conn);
}
