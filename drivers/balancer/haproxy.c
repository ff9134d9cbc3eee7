/* The haproxy balancer: keeps the servers of one backend of one HAProxy, as dynamic servers over the
 * runtime socket. It never writes a file, never reloads, and never names a server that the core did not
 * pass in. A server is put into rotation marked down, so that no request reaches it before its checks
 * have passed; all that a dynamic server needs is on its line, since `default-server` does not apply. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../wire/haproxy_cli.h"
#include "autoscale/balancer.h"
#include "haproxy_members.h"

#define CUT_WAIT   2000 /* ms: how long sessions that were cut may take to go away */
#define CHECK_WAIT 200  /* ms: how long the connection of a last check may */
#define RETRY_MS   20

struct balancer {
    struct haproxy_cli cli;
    const struct as_settings *settings;
    const char *backend;
    bool check;
    char suffix[1024]; /* of every `add server` line, after the weight */
    char able[48];     /* epoch of the HAProxy whose backend was found to take servers */
};

static const struct as_option options[] = {
    { .name = "address",
      .type = AS_OPT_STRINGS,
      .flags = AS_OPT_REQUIRED,
      .help = "runtime sockets (`level admin`) of the HAProxys that are kept in step, each "
              "\"/run/haproxy/admin.sock\" or "
              "\"HOST:PORT\"" },
    { .name = "backend",
      .type = AS_OPT_STRING,
      .flags = AS_OPT_REQUIRED,
      .help = "the backend whose servers are managed; servers from its configuration are left alone" },
    { .name = "maxconn",
      .type = AS_OPT_INT,
      .def = "100",
      .min = 1,
      .max = 1000000,
      .help = "most concurrent sessions of one server; the rest waits in HAProxy's queue" },
    { .name = "weight", .type = AS_OPT_INT, .def = "100", .min = 1, .max = 256, .help = "share of new work" },
    { .name = "check",
      .type = AS_OPT_BOOL,
      .def = "true",
      .help = "let HAProxy check each server; without, work reaches it at once" },
    { .name = "inter",
      .type = AS_OPT_DURATION,
      .def = "1s",
      .min = 1,
      .max = 3600000,
      .help = "time between two checks" },
    { .name = "rise",
      .type = AS_OPT_INT,
      .def = "2",
      .min = 1,
      .max = 1000,
      .help = "passed checks before a server gets work" },
    { .name = "fall",
      .type = AS_OPT_INT,
      .def = "2",
      .min = 1,
      .max = 1000,
      .help = "failed checks before a server gets no more" },
    { .name = "check_port", .type = AS_OPT_INT, .min = 1, .max = 65535, .help = "check this port instead" },
    { .name = "slowstart",
      .type = AS_OPT_DURATION,
      .min = 1,
      .max = 86400000,
      .help = "time over which the share of a new server grows to its weight" },
    { .name = "server_options",
      .type = AS_OPT_STRINGS,
      .help = "further keywords of HAProxy's `server` line, such as \"send-proxy-v2\"" },
    { .name = NULL },
};

/* --- opening ---------------------------------------------------------------------------------- */

/* Appends; false when the line is full. */
__attribute__((format(printf, 3, 4))) static bool append(char *line, size_t size, const char *fmt, ...)
{
    size_t len = strlen(line);
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line + len, size - len, fmt, args);
    va_end(args);
    return n >= 0 && (size_t)n < size - len;
}

static bool append_checks(struct balancer *b, const struct as_settings *s)
{
    bool fits =
        append(b->suffix, sizeof b->suffix, " check inter %" PRId64 "ms rise %" PRId64 " fall %" PRId64,
               as_settings_ms(s, "inter"), as_settings_int(s, "rise"), as_settings_int(s, "fall"));
    if (as_settings_has(s, "check_port"))
        fits =
            fits && append(b->suffix, sizeof b->suffix, " port %" PRId64, as_settings_int(s, "check_port"));
    return fits;
}

static int build_suffix(struct balancer *b, const struct as_settings *s, struct as_error *err)
{
    /* Without the pool a dynamic server never reuses a connection (measured on 2.6). */
    bool fits =
        append(b->suffix, sizeof b->suffix, " maxconn %" PRId64 " pool-max-conn -1 pool-purge-delay 5s",
               as_settings_int(s, "maxconn"));
    if (b->check)
        fits = fits && append_checks(b, s);
    if (as_settings_has(s, "slowstart"))
        fits = fits && append(b->suffix, sizeof b->suffix, " slowstart %" PRId64 "ms",
                              as_settings_ms(s, "slowstart"));
    for (size_t i = 0; i < as_settings_count(s, "server_options"); i++) {
        const char *words = as_settings_item(s, "server_options", i);
        if (!haproxy_words_ok(words))
            return as_settings_fail(s, "server_options", err,
                                    "'%s' has characters that do not belong on a `server` line", words);
        fits = fits && append(b->suffix, sizeof b->suffix, " %s", words);
    }
    return fits ? AS_OK : as_settings_fail(s, "server_options", err, "too long");
}

static int balancer_open(void *self, const struct as_settings *settings, const struct as_owner *owner,
                         const char *endpoint, struct as_error *err)
{
    struct balancer *b = self;
    struct as_error why;
    (void)owner;
    if (haproxy_cli_init(&b->cli, endpoint, &why))
        return as_settings_fail(settings, "address", err, "%s", why.msg);
    b->settings = settings;
    b->backend = as_settings_str(settings, "backend");
    b->check = as_settings_bool(settings, "check");
    if (!haproxy_name_ok(b->backend))
        return as_settings_fail(settings, "backend", err, "'%s' is not a backend name", b->backend);
    return build_suffix(b, settings, err);
}

static void balancer_close(void *self)
{
    struct balancer *b = self;
    haproxy_cli_fini(&b->cli);
}

/* --- exchanges -------------------------------------------------------------------------------- */

/* One exchange of writes that answer nothing but refusals; the first refusal is the result. */
static int write_line(struct balancer *b, as_time deadline, const char *what, const char *line, int commands,
                      struct as_error *err)
{
    struct haproxy_reply reply;
    int rc = haproxy_cli_exchange(&b->cli, deadline, true, line, &reply, err);
    if (rc)
        return rc;
    for (int i = 0; i < commands && rc == AS_OK; i++)
        rc = haproxy_cli_judge(&b->cli, what, haproxy_reply_take(&reply, NULL), err);
    haproxy_reply_fini(&reply);
    return rc;
}

/* Formats a command about one server; the caller has checked the name. */
struct text {
    char s[HAPROXY_LINE_MAX];
};

__attribute__((format(printf, 1, 2))) static struct text command(const char *fmt, ...)
{
    struct text t;
    va_list args;
    va_start(args, fmt);
    vsnprintf(t.s, sizeof t.s, fmt, args);
    va_end(args);
    return t;
}

struct pool { /* one look at the backend */
    struct haproxy_reply reply;
    struct haproxy_members members;
    char epoch[48];
    bool modern; /* a HAProxy that takes servers at run time, as far as its version tells */
};

/* The three answers about the backend. AS_ENOENT when there is none of that name. */
static int read_pool(struct balancer *b, struct pool *p, struct as_error *err)
{
    size_t stat_len = 0, state_len = 0;
    bool stopping;
    const char *info = haproxy_reply_take(&p->reply, NULL);
    p->modern = info && haproxy_is_at_least(info, 2, 6);
    const char *stat = haproxy_reply_take(&p->reply, &stat_len);
    const char *state = haproxy_reply_take(&p->reply, &state_len);
    if (!info || !stat || !state)
        return as_fail(err, AS_EAGAIN, "HAProxy at %s gave no whole answer", b->cli.endpoint);
    if (!haproxy_epoch(info, p->epoch, sizeof p->epoch, &stopping))
        return as_fail(err, AS_EPROTO, "%s does not answer like HAProxy's runtime socket", b->cli.endpoint);
    if (stopping)
        return as_fail(err, AS_EAGAIN, "HAProxy at %s is just being replaced by a reload", b->cli.endpoint);
    if (strstr(stat, "No such proxy") || strstr(state, "Can't find backend"))
        return as_fail(
            err, AS_ENOENT,
            "HAProxy at %s has no backend '%s': correct `backend`, or add it to HAProxy's configuration",
            b->cli.endpoint, b->backend);
    struct text what = command("show stat %s", b->backend);
    int rc = haproxy_cli_judge(&b->cli, what.s, *stat == '#' ? "" : stat, err);
    return rc ? rc : haproxy_members_open(&p->members, stat, stat_len, state, state_len, err);
}

/* `name`: the backend's for `show stat`, or its number. */
static int look_as(struct balancer *b, as_time deadline, const char *name, struct pool *p,
                   struct as_error *err)
{
    struct text line =
        command("show info;show stat %s 6 -1;show servers state %s;show cli level", name, b->backend);
    int rc = haproxy_cli_exchange(&b->cli, deadline, false, line.s, &p->reply, err);
    if (rc)
        return rc;
    rc = read_pool(b, p, err);
    if (rc)
        haproxy_reply_fini(&p->reply);
    return rc;
}

/* Looks at the backend; on success the caller ends the reply, in which the level of the socket is left.
 * HAProxy takes the name in `show stat NAME` for a frontend's as well: then it is asked by the number. */
static int look(struct balancer *b, as_time deadline, struct pool *p, struct as_error *err)
{
    int rc = look_as(b, deadline, b->backend, p, err);
    if (rc || !haproxy_members_hidden(&p->members))
        return rc;
    long number = haproxy_members_number(&p->members);
    haproxy_reply_fini(&p->reply);
    rc = look_as(b, deadline, command("%ld", number).s, p, err);
    if (rc || haproxy_members_number(&p->members) == number)
        return rc;
    haproxy_reply_fini(&p->reply);
    return as_fail(err, AS_EAGAIN, "HAProxy at %s changed while it was looked at", b->cli.endpoint);
}

static int find(struct balancer *b, as_time deadline, const char *id, struct haproxy_member *out,
                struct as_error *err)
{
    struct pool p = { 0 };
    int rc = look(b, deadline, &p, err);
    if (rc)
        return rc;
    bool found = false;
    while (!found && haproxy_members_next(&p.members, out))
        found = strcmp(out->m.id, id) == 0;
    haproxy_reply_fini(&p.reply);
    if (found)
        return AS_OK;
    return as_fail(err, AS_ENOENT, "HAProxy at %s has no server '%s/%s'", b->cli.endpoint, b->backend, id);
}

static int check_id(const struct as_member *m, struct as_error *err)
{
    if (haproxy_name_ok(m->id))
        return AS_OK;
    return as_fail(err, AS_EINVAL, "'%s' cannot be the name of a server in HAProxy", m->id);
}

/* --- listing ---------------------------------------------------------------------------------- */

static int judge_trial(struct balancer *b, const char *answer, struct as_error *err)
{
    if (answer && (strstr(answer, "expects <name>") || strstr(answer, "is not permitted")))
        return AS_OK;
    struct text what = command("add server %s/NAME", b->backend);
    int rc = haproxy_cli_judge(&b->cli, what.s, answer, err);
    return rc == AS_EUNKNOWN ? AS_EAGAIN : rc; /* no answer: and there was nothing to carry out */
}

/* An `add server` without an address under a name that is not permitted: it cannot succeed, and is refused for
 * the socket's or the backend's sake before anybody looks at what is missing. */
static int try_to_add(struct balancer *b, as_time deadline, struct as_error *err)
{
    struct text line = command("add server %s/+", b->backend);
    struct haproxy_reply reply;
    int rc = haproxy_cli_exchange(&b->cli, deadline, false, line.s, &reply, err);
    if (rc)
        return rc;
    rc = judge_trial(b, haproxy_reply_take(&reply, NULL), err);
    haproxy_reply_fini(&reply);
    return rc;
}

/* Can this backend take servers, on this socket? As a rule the look has told. The trial ends in an alert in
 * HAProxy's log, so it is made only where the look cannot tell, and once for each start of HAProxy. */
static int check_able(struct balancer *b, as_time deadline, struct pool *p, struct as_error *err)
{
    const char *level = haproxy_reply_take(&p->reply, NULL);
    bool admin = level && strstr(level, "admin");
    if (admin && strcmp(b->able, p->epoch) == 0)
        return AS_OK;
    bool told = admin && p->modern && haproxy_members_dynamic(&p->members);
    int rc = told ? AS_OK : try_to_add(b, deadline, err);
    if (rc == AS_OK)
        snprintf(b->able, sizeof b->able, "%s", p->epoch);
    return rc;
}

static int copy_members(struct pool *p, struct as_members *out, struct as_error *err)
{
    struct haproxy_member found;
    size_t before = out->count;
    while (haproxy_members_next(&p->members, &found)) {
        struct as_member *m = as_members_add(out);
        if (!m) {
            bool full = out->count >= AS_MEMBERS_CAP;
            out->count = before;
            return full ? as_fail(err, AS_EPROTO, "a backend with more than %d servers", AS_MEMBERS_CAP)
                        : as_fail(err, AS_ENOMEM, "out of memory for the servers of a backend");
        }
        *m = found.m;
    }
    snprintf(out->epoch, sizeof out->epoch, "%s", p->epoch);
    return AS_OK;
}

static int balancer_list(void *self, as_time deadline, struct as_members *out, struct as_error *err)
{
    struct balancer *b = self;
    struct pool p = { 0 };
    struct as_error why;
    int rc = look(b, deadline, &p, &why);
    if (rc) /* a backend that is not there is a mistake in a configuration, ours or HAProxy's */
        return as_fail(err, rc == AS_ENOENT ? AS_EINVAL : (enum as_rc)rc, "%s", why.msg);
    rc = check_able(b, deadline, &p, err);
    rc = rc ? rc : copy_members(&p, out, err);
    haproxy_reply_fini(&p.reply);
    return rc;
}

/* --- admitting -------------------------------------------------------------------------------- */

static int address_text(const struct as_member *m, char *buf, size_t size, struct as_error *err)
{
    struct in6_addr bits;
    bool v4 = inet_pton(AF_INET, m->address, &bits) == 1,
         v6 = !v4 && inet_pton(AF_INET6, m->address, &bits) == 1;
    /* HAProxy accepts a host name here, and then never resolves it. */
    if (!v4 && !v6)
        return as_fail(err, AS_EINVAL, "'%s' of %s is not a literal address", m->address, m->id);
    if (m->port == 0)
        return as_fail(err, AS_EINVAL, "%s has no port", m->id);
    snprintf(buf, size, v6 ? "[%s]:%u" : "%s:%u", m->address, m->port);
    return AS_OK;
}

static int weight_of(struct balancer *b, const struct as_member *m)
{
    int w = m->weight > 0 ? m->weight : (int)as_settings_int(b->settings, "weight");
    return w > 256 ? 256 : w;
}

/* Into rotation, marked down: the checks must bring it up. Plain `ready` would make it UP at once. */
static int start(struct balancer *b, as_time deadline, const char *id, struct as_error *err)
{
    struct text what = command("set server %s/%s state ready", b->backend, id), line = what;
    if (b->check)
        line = command("enable health %s/%s;set server %s/%s state drain;set server %s/%s health down;%s",
                       b->backend, id, b->backend, id, b->backend, id, what.s);
    return write_line(b, deadline, what.s, line.s, b->check ? 4 : 1, err);
}

static int add(struct balancer *b, as_time deadline, const struct as_member *m, const char *address,
               struct as_error *err)
{
    struct text what = command("add server %s/%s", b->backend, m->id);
    struct text line = command("%s %s weight %d%s", what.s, address, weight_of(b, m), b->suffix);
    int rc = write_line(b, deadline, what.s, line.s, 1, err);
    return rc ? rc : start(b, deadline, m->id, err);
}

static bool same_address(const struct as_member *a, const struct as_member *b)
{
    struct in6_addr x = { 0 }, y = { 0 };
    if (a->port != b->port)
        return false;
    bool v4 = inet_pton(AF_INET, a->address, &x) == 1 && inet_pton(AF_INET, b->address, &y) == 1;
    bool v6 = inet_pton(AF_INET6, a->address, &x) == 1 && inet_pton(AF_INET6, b->address, &y) == 1;
    return (v4 || v6) && memcmp(&x, &y, v4 ? sizeof(struct in_addr) : sizeof x) == 0;
}

static int balancer_evict(void *self, as_time deadline, const struct as_member *m, bool force,
                          struct as_error *err);
static int balancer_weight(void *self, as_time deadline, const struct as_member *m, int weight,
                           struct as_error *err);

static int admit_again(struct balancer *b, as_time deadline, const struct as_member *m, const char *address,
                       struct as_error *err)
{
    struct haproxy_member now;
    int rc = find(b, deadline, m->id, &now, err);
    if (rc == AS_ENOENT) /* taken out while we looked */
        return as_fail(err, AS_EAGAIN, "%s left HAProxy at %s meanwhile", m->id, b->cli.endpoint);
    if (rc)
        return rc;
    if (!same_address(&now.m, m)) { /* left over from an instance that had this name before */
        rc = balancer_evict(b, deadline, m, false, err);
        return rc ? rc : add(b, deadline, m, address, err);
    }
    if (now.m.state == AS_MEMBER_DRAINING && (now.healthy || !b->check)) {
        struct text line = command("set server %s/%s state ready", b->backend, m->id);
        rc = write_line(b, deadline, line.s, line.s, 1, err);
    } else if (now.m.state == AS_MEMBER_DRAINING || now.m.state == AS_MEMBER_OUT) {
        rc = start(b, deadline, m->id, err);
    }
    if (rc == AS_OK && now.m.weight != weight_of(b, m))
        rc = balancer_weight(b, deadline, m, weight_of(b, m), err);
    return rc;
}

static int balancer_admit(void *self, as_time deadline, const struct as_member *m, struct as_error *err)
{
    struct balancer *b = self;
    char address[AS_ADDRESS_MAX + 16];
    int rc = check_id(m, err);
    rc = rc ? rc : address_text(m, address, sizeof address, err);
    rc = rc ? rc : add(b, deadline, m, address, err);
    return rc == AS_EEXIST ? admit_again(b, deadline, m, address, err) : rc;
}

/* --- draining, evicting, weight --------------------------------------------------------------- */

static int balancer_drain(void *self, as_time deadline, const struct as_member *m, struct as_error *err)
{
    struct balancer *b = self;
    int rc = check_id(m, err);
    if (rc)
        return rc;
    struct text line = command("set server %s/%s state drain", b->backend, m->id);
    return write_line(b, deadline, line.s, line.s, 1, err);
}

/* Out of rotation and deleted, in one exchange; the answer to the deletion is the result. */
static int delete_once(struct balancer *b, as_time deadline, const char *id, bool cut, struct as_error *err)
{
    struct text what = command("del server %s/%s", b->backend, id);
    struct text line = command("set server %s/%s state maint;%s", b->backend, id, what.s);
    if (cut)
        line = command("set server %s/%s state maint;shutdown sessions server %s/%s;%s", b->backend, id,
                       b->backend, id, what.s);
    struct haproxy_reply reply;
    int rc = haproxy_cli_exchange(&b->cli, deadline, true, line.s, &reply, err);
    if (rc)
        return rc;
    haproxy_reply_take(&reply, NULL);
    if (cut)
        haproxy_reply_take(&reply, NULL);
    rc = haproxy_cli_judge(&b->cli, what.s, haproxy_reply_take(&reply, NULL), err);
    haproxy_reply_fini(&reply);
    return rc == AS_ENOENT ? AS_OK : rc;
}

static int balancer_evict(void *self, as_time deadline, const struct as_member *m, bool force,
                          struct as_error *err)
{
    struct balancer *b = self;
    struct haproxy_member now;
    int rc = check_id(m, err);
    rc = rc ? rc : find(b, deadline, m->id, &now, err);
    if (rc == AS_ENOENT)
        return AS_OK;
    if (rc)
        return rc;
    if (now.m.held > 0 && !force)
        return as_fail(err, AS_EAGAIN, "%s still holds %.0f sessions in HAProxy at %s", m->id, now.m.held,
                       b->cli.endpoint);
    /* Connections end a moment after their sessions were cut, or after the last health check. */
    as_time until = as_clock_monotonic() + (force ? CUT_WAIT : CHECK_WAIT);
    until = until < deadline ? until : deadline;
    while ((rc = delete_once(b, deadline, m->id, force, err)) == AS_EAGAIN && as_time_left(until) > RETRY_MS)
        poll(NULL, 0, RETRY_MS);
    return rc;
}

static int balancer_weight(void *self, as_time deadline, const struct as_member *m, int weight,
                           struct as_error *err)
{
    struct balancer *b = self;
    int rc = check_id(m, err);
    if (rc)
        return rc;
    if (weight < 1 || weight > 256)
        return as_fail(err, AS_EINVAL, "weight %d of %s is not within 1 and 256", weight, m->id);
    struct text line = command("set server %s/%s weight %d", b->backend, m->id, weight);
    return write_line(b, deadline, line.s, line.s, 1, err);
}

extern const struct as_balancer_driver as_balancer_haproxy;
const struct as_balancer_driver as_balancer_haproxy = {
    .name = "haproxy",
    .summary = "servers of a HAProxy backend (2.6 or newer), over its runtime socket",
    .options = options,
    .endpoints = "address",
    .pool = "backend",
    .state_size = sizeof(struct balancer),
    .open = balancer_open,
    .list = balancer_list,
    .admit = balancer_admit,
    .drain = balancer_drain,
    .evict = balancer_evict,
    .times_members = true,
    .weight = balancer_weight,
    .close = balancer_close,
};
