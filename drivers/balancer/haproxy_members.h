/* The servers of one HAProxy backend, read from two answers: `show stat BACKEND 6 -1` (status, checks,
 * sessions, and the backend itself) and `show servers state BACKEND` (administrative state, address). Pure. */
#ifndef BALANCER_HAPROXY_MEMBERS_H
#define BALANCER_HAPROXY_MEMBERS_H

#include "../wire/csv.h"
#include "autoscale/balancer.h"

struct haproxy_members { /* borrows both texts */
    struct csv stat, state, state_start;
};

struct haproxy_member {
    struct as_member m;
    bool healthy;        /* its checks pass, all of the latest ones: fit to serve at once */
};

/* AS_EPROTO when one of the answers is no such table. */
int haproxy_members_open(struct haproxy_members *t, const char *stat, size_t stat_len, const char *state,
                         size_t state_len, struct as_error *err);
/* The next server. A name too long for an id is cut and marked with '~', which no id of ours holds. */
bool haproxy_members_next(struct haproxy_members *t, struct haproxy_member *out);

/* The backend's number in HAProxy, as the second answer tells it; 0 when it has no servers. */
long haproxy_members_number(const struct haproxy_members *t);
/* True when the first answer has no servers, but the second has: it is about a frontend of the same name. */
bool haproxy_members_hidden(const struct haproxy_members *t);
/* Does its `balance` take servers at run time? False also when the first answer does not tell. */
bool haproxy_members_dynamic(const struct haproxy_members *t);

#endif
