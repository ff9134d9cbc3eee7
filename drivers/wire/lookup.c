/* Lookups by glibc's helper thread. It must never free what that thread still works on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lookup.h"

struct lookup {
    struct gaicb cb;
    struct addrinfo hints;
    char host[LOOKUP_HOST_MAX], port[8];
};

static int start(struct lookup **out, const char *host, unsigned port, struct as_error *err)
{
    struct lookup *l = calloc(1, sizeof *l);
    if (!l)
        return as_fail(err, AS_ENOMEM, "out of memory");
    snprintf(l->host, sizeof l->host, "%s", host);
    snprintf(l->port, sizeof l->port, "%u", port);
    l->hints.ai_socktype = SOCK_STREAM;
    l->cb.ar_name = l->host;
    l->cb.ar_service = port ? l->port : NULL;
    l->cb.ar_request = &l->hints;
    struct gaicb *list[] = { &l->cb };
    int rc = getaddrinfo_a(GAI_NOWAIT, list, 1, NULL);
    if (rc != 0) {
        free(l);
        return as_fail(err, AS_EAGAIN, "cannot resolve '%s': %s", host, gai_strerror(rc));
    }
    *out = l;
    return AS_OK;
}

int lookup_wait(struct lookup **l, const char *host, unsigned port, as_time deadline,
                const struct addrinfo **out, struct as_error *err)
{
    int rc, left, state;
    if (!*l && (rc = start(l, host, port, err)) != AS_OK)
        return rc;
    while ((state = gai_error(&(*l)->cb)) == EAI_INPROGRESS && (left = as_time_left(deadline)) > 0) {
        const struct gaicb *list[] = { &(*l)->cb };
        struct timespec span = { .tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000L };
        gai_suspend(list, 1, &span);
    }
    if (state == EAI_INPROGRESS)
        return as_fail(err, AS_EAGAIN, "the name '%s' was not resolved in time: look at the name servers",
                       host);
    *out = (*l)->cb.ar_result;
    if (state == 0)
        return AS_OK;
    lookup_end(l);
    return as_fail(err, AS_EAGAIN, "cannot resolve '%s': %s", host, gai_strerror(state));
}

void lookup_end(struct lookup **l)
{
    struct lookup *k = *l;
    *l = NULL;
    if (!k || (gai_error(&k->cb) == EAI_INPROGRESS && gai_cancel(&k->cb) == EAI_NOTCANCELED))
        return; /* it belongs to glibc's thread: nobody may free it, so its few bytes stay behind */
    if (k->cb.ar_result)
        freeaddrinfo(k->cb.ar_result);
    free(k);
}
