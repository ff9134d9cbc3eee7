/* One kept PostgreSQL connection through libpq's asynchronous calls, because the synchronous ones know no
 * deadline. It must never wait past its deadline, never write to the database, and never let a password
 * into an error text. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "autoscale/settings.h"
#include "endpoint.h"
#include "pglink.h"

#define HOST_MAX     256
#define HOSTS_MAX    4 /* addresses of one name that are tried */
#define ADDR_MAX     64
#define PASSWORD_MAX 1024

/* --- parameters ------------------------------------------------------------------------------- */

static const char *param_get(const struct pglink *l, const char *key)
{
    for (int i = 0; i < l->params; i++)
        if (strcmp(l->keys[i], key) == 0)
            return l->values[i];
    return NULL;
}

static int param_add(struct pglink *l, const char *key, const char *value, struct as_error *err)
{
    if (l->params >= PGLINK_PARAMS_MAX)
        return as_fail(err, AS_EINVAL, "too many connection parameters");
    char *k = strdup(key), *v = strdup(value);
    if (!k || !v) {
        free(k);
        free(v);
        return as_fail(err, AS_ENOMEM, "out of memory");
    }
    l->keys[l->params] = k;
    l->values[l->params++] = v;
    return AS_OK;
}

/* The session must not write and must not run away; what the operator set himself stays in front. */
static int param_add_options(struct pglink *l, const char *given, as_time timeout, struct as_error *err)
{
    char *text;
    if (asprintf(&text, "%s%s-c default_transaction_read_only=on -c statement_timeout=%lld",
                 given ? given : "", given ? " " : "", (long long)timeout) < 0)
        return as_fail(err, AS_ENOMEM, "out of memory");
    int rc = param_add(l, "options", text, err);
    free(text);
    return rc;
}

/* libpq's own words are not passed on: for "password=a b" they would quote a piece of the password. */
static PQconninfoOption *conninfo_parse(const char *conninfo, struct as_error *err)
{
    char *text = NULL;
    PQconninfoOption *options = PQconninfoParse(conninfo, &text);
    if (!options)
        as_fail(
            err, AS_EINVAL,
            "not a connection string: write \"host=db1 port=5432 user=autoscale dbname=shop\" (quote values "
            "with spaces) or a postgresql:// URI");
    PQfreemem(text);
    return options;
}

static int params_copy(struct pglink *l, const PQconninfoOption *given, as_time timeout, struct as_error *err)
{
    const char *options = NULL;
    for (const PQconninfoOption *o = given; o->keyword; o++) {
        if (!o->val)
            continue;
        if (strcmp(o->keyword, "password") == 0)
            return as_fail(
                err, AS_EINVAL,
                "a password does not belong here: put it into a file of its own and use password_file");
        if (o->dispchar[0] == '*')
            return as_fail(err, AS_EINVAL, "'%s' is a secret and does not belong here", o->keyword);
        if (strcmp(o->keyword, "options") == 0)
            options = o->val;
        else if (param_add(l, o->keyword, o->val, err) != AS_OK)
            return AS_ENOMEM;
    }
    return param_add_options(l, options, timeout, err);
}

int pglink_init(struct pglink *l, const char *conninfo, const char *password_file, as_time statement_timeout,
                struct as_error *err)
{
    /* keepalives end a connection whose server vanished; Kerberos would be asked with no deadline */
    static const char *const defaults[][2] = {
        { "application_name", "autoscale" }, { "keepalives_idle", "10" },     { "keepalives_interval", "5" },
        { "keepalives_count", "3" },         { "tcp_user_timeout", "20000" }, { "gssencmode", "disable" },
    };
    PQconninfoOption *given = conninfo_parse(conninfo, err);
    if (!given)
        return AS_EINVAL;
    int rc = params_copy(l, given, statement_timeout, err);
    PQconninfoFree(given);
    for (size_t i = 0; rc == AS_OK && i < sizeof defaults / sizeof *defaults; i++)
        if (!param_get(l, defaults[i][0]))
            rc = param_add(l, defaults[i][0], defaults[i][1], err);
    if (rc == AS_OK && password_file && !(l->password_file = strdup(password_file)))
        rc = as_fail(err, AS_ENOMEM, "out of memory");
    return rc;
}

/* --- errors ----------------------------------------------------------------------------------- */

static bool is_state(const char *s)
{
    int digits = 0;
    for (int i = 0; i < 5; i++) {
        bool digit = s[i] >= '0' && s[i] <= '9';
        if (!digit && !(s[i] >= 'A' && s[i] <= 'Z'))
            return false;
        digits += digit;
    }
    return digits > 0 && s[5] == ':' && s[6] == ' ';
}

const char *pglink_sqlstate(const char *message, char state[6])
{
    for (const char *p = message; (p = strstr(p, ":  ")); p++)
        if (is_state(p + 3)) {
            memcpy(state, p + 3, 5);
            state[5] = '\0';
            return p + 10;
        }
    return NULL;
}

static int fail_state(struct as_error *err, const char *state, const char *text, enum as_rc otherwise)
{
    char line[180];
    endpoint_line(text, line, sizeof line);
    if (strcmp(state, "53300") == 0)
        return as_fail(err, AS_EAGAIN, "too many clients, the server has no connection slot left for us: %s",
                       line);
    if (strcmp(state, "57P03") == 0)
        return as_fail(err, AS_EAGAIN, "the server is starting or stopping: %s", line);
    if (strcmp(state, "57014") == 0)
        return as_fail(err, AS_EAGAIN, "%s (statement_timeout)", line);
    if (strcmp(state, "3D000") == 0)
        return as_fail(err, AS_EINVAL, "%s: correct dbname in conninfo", line);
    if (strncmp(state, "28", 2) == 0)
        return as_fail(err, AS_EAUTH, "the server refuses us: %s", line);
    if (strcmp(state, "42501") == 0)
        return as_fail(err, AS_EAUTH, "%s", line);
    static const char *const passing[] = { "08", "40", "53", "55", "57", "58" };
    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++)
        if (strncmp(state, passing[i], 2) == 0)
            return as_fail(err, AS_EAGAIN, "%s", line);
    return as_fail(err, otherwise, "%s (SQLSTATE %s)", line, state);
}

static void link_drop(struct pglink *l)
{
    PQfinish(l->conn); /* does not wait: the connection is non-blocking */
    l->conn = NULL;
    l->late = false;
}

static int fail_connect(struct pglink *l, struct as_error *err)
{
    char state[6], line[200];
    const char *all = PQerrorMessage(l->conn), *text = pglink_sqlstate(all, state);
    int rc;
    if (text)
        rc = fail_state(err, state, text, AS_EAGAIN);
    else if (PQconnectionNeedsPassword(l->conn))
        rc = as_fail(err, AS_EAUTH, "the server asks for a password and there is none: set password_file");
    else
        rc = as_fail(err, AS_EAGAIN, "%s", endpoint_line(all, line, sizeof line));
    link_drop(l);
    return rc;
}

static int fail_lost(struct pglink *l, struct as_error *err)
{
    char line[180];
    int rc = as_fail(err, AS_EAGAIN, "connection lost: %s",
                     endpoint_line(PQerrorMessage(l->conn), line, sizeof line));
    link_drop(l);
    return rc;
}

static int fail_late(const struct pglink *l, const char *what, struct as_error *err)
{
    char span[32];
    return as_fail(err, AS_EAGAIN, "%s within %s", what,
                   as_time_text(as_clock_monotonic() - l->began, span, sizeof span));
}

/* --- host names ------------------------------------------------------------------------------- */

/* libpq resolves names with getaddrinfo, which may hang; so a name is looked up here and libpq gets addresses. A
 * list of hosts and names from the environment are left to libpq. */
struct addresses {
    char hosts[HOSTS_MAX * HOST_MAX], addrs[HOSTS_MAX * ADDR_MAX]; /* comma-separated; "": none needed */
};

static bool needs_lookup(const struct pglink *l, const char *host)
{
    unsigned char addr[sizeof(struct in6_addr)];
    return host && *host && *host != '/' && *host != '@' && !strchr(host, ',') && strlen(host) < HOST_MAX &&
           !param_get(l, "hostaddr") && inet_pton(AF_INET, host, addr) != 1 &&
           inet_pton(AF_INET6, host, addr) != 1;
}

static void addresses_take(const char *host, const struct addrinfo *found, struct addresses *out)
{
    size_t h = 0, a = 0;
    int n = 0;
    for (const struct addrinfo *i = found; i && n < HOSTS_MAX; i = i->ai_next) {
        char addr[ADDR_MAX - 1];
        if (getnameinfo(i->ai_addr, i->ai_addrlen, addr, sizeof addr, NULL, 0, NI_NUMERICHOST) != 0)
            continue;
        h += (size_t)snprintf(out->hosts + h, sizeof out->hosts - h, "%s%s", n ? "," : "", host);
        a += (size_t)snprintf(out->addrs + a, sizeof out->addrs - a, "%s%s", n ? "," : "", addr);
        n++;
    }
}

static int link_resolve(struct pglink *l, as_time deadline, struct addresses *out, struct as_error *err)
{
    const char *host = param_get(l, "host");
    const struct addrinfo *found;
    if (!needs_lookup(l, host))
        return AS_OK;
    int rc = lookup_wait(&l->lookup, host, 0, deadline, &found, err);
    if (rc != AS_OK)
        return rc;
    addresses_take(host, found, out);
    lookup_end(&l->lookup);
    return AS_OK;
}

/* --- connecting ------------------------------------------------------------------------------- */

static void ignore_notice(void *arg, const PGresult *notice)
{
    (void)arg;
    (void)notice; /* libpq would print it to standard error */
}

/* 1 ready, 0 deadline passed, -1 failed. libpq decides itself what a hang-up means. */
static int link_wait(const struct pglink *l, short events, as_time deadline)
{
    struct pollfd fd = { .fd = PQsocket(l->conn), .events = events };
    int left, n = 0;
    while ((left = as_time_left(deadline)) >
           0) { /* asked first: a peer that always has a byte must not win */
        n = poll(&fd, 1, left);
        if (n >= 0 || errno != EINTR)
            break;
        n = 0;
    }
    return n;
}

static int connect_start(struct pglink *l, const struct addresses *at, const char *password,
                         struct as_error *err)
{
    const char *keys[PGLINK_PARAMS_MAX + 4], *values[PGLINK_PARAMS_MAX + 4];
    int n = 0;
    for (int i = 0; i < l->params; i++) {
        keys[n] = l->keys[i];
        values[n++] = l->values[i];
    }
    if (at->addrs[0]) { /* later words replace earlier ones */
        keys[n] = "host";
        values[n++] = at->hosts;
        keys[n] = "hostaddr";
        values[n++] = at->addrs;
    }
    if (*password) {
        keys[n] = "password";
        values[n++] = password;
    }
    keys[n] = values[n] = NULL;
    l->conn = PQconnectStartParams(keys, values, 0);
    return l->conn ? AS_OK : as_fail(err, AS_ENOMEM, "out of memory");
}

static int connect_finish(struct pglink *l, as_time deadline, struct as_error *err)
{
    PQsetErrorVerbosity(l->conn, PQERRORS_VERBOSE); /* the only way to the SQLSTATE of a refusal */
    PQsetNoticeReceiver(l->conn, ignore_notice, NULL);
    if (PQstatus(l->conn) == CONNECTION_BAD)
        return fail_connect(l, err);
    PostgresPollingStatusType step = PGRES_POLLING_WRITING;
    while (step != PGRES_POLLING_OK) {
        int n = link_wait(l, step == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline);
        if (n <= 0) {
            int rc = n == 0 ? fail_late(l, "no connection", err)
                            : as_fail(err, AS_EIO, "poll: %s", strerror(errno));
            link_drop(l);
            return rc;
        }
        step = PQconnectPoll(l->conn);
        if (step == PGRES_POLLING_FAILED)
            return fail_connect(l, err);
    }
    return PQsetnonblocking(l->conn, 1) == 0 ? AS_OK : fail_lost(l, err);
}

static int link_connect(struct pglink *l, as_time deadline, struct as_error *err)
{
    char password[PASSWORD_MAX] = "";
    struct addresses at = { 0 };
    int rc = link_resolve(l, deadline, &at, err);
    if (rc == AS_OK && l->password_file)
        rc = as_secret_read(l->password_file, password, sizeof password, err);
    if (rc == AS_OK)
        rc = connect_start(l, &at, password, err);
    explicit_bzero(password, sizeof password);
    return rc == AS_OK ? connect_finish(l, deadline, err) : rc;
}

/* --- statements ------------------------------------------------------------------------------- */

static int set_late(struct pglink *l, const char *what, struct as_error *err)
{
    if (!l->late)
        l->late_since = as_clock_monotonic();
    l->late = true;
    return fail_late(l, what, err);
}

/* Reads what has come. What a peer sends grows libpq's buffer, so it is counted, as well as that can be done
 * from outside: libpq reads on while a fast peer sends, up to the message (1 GiB) the peer announced. */
static int link_consume(struct pglink *l, struct as_error *err)
{
    int waiting = 0;
    if (ioctl(PQsocket(l->conn), FIONREAD, &waiting) == 0 && waiting > 0)
        l->received += (size_t)waiting;
    if (!PQconsumeInput(l->conn))
        return fail_lost(l, err);
    if (l->received <= PGLINK_ANSWER_MAX)
        return AS_OK;
    link_drop(l);
    return as_fail(err, AS_EPROTO, "the answer is larger than %d KiB", PGLINK_ANSWER_MAX / 1024);
}

/* The next result of the statement, NULL after the last. Sends what is still to be sent. */
static int link_result(struct pglink *l, as_time deadline, PGresult **out, struct as_error *err)
{
    for (;;) {
        int unsent = PQflush(l->conn);
        if (unsent < 0)
            return fail_lost(l, err);
        if (!unsent && !PQisBusy(l->conn))
            break;
        int n = link_wait(l, unsent ? POLLIN | POLLOUT : POLLIN, deadline);
        if (n == 0)
            return set_late(l, "no answer", err);
        if (n < 0)
            return fail_lost(l, err);
        int rc = link_consume(l, err);
        if (rc != AS_OK)
            return rc;
    }
    *out = PQgetResult(l->conn);
    return AS_OK;
}

static bool is_copy(const PGresult *r)
{
    ExecStatusType s = PQresultStatus(r);
    return s == PGRES_COPY_IN || s == PGRES_COPY_OUT || s == PGRES_COPY_BOTH;
}

/* Waits for the answer of an earlier call and drops it. */
static int link_drain(struct pglink *l, as_time deadline, struct as_error *err)
{
    PGresult *r = NULL;
    if (as_clock_monotonic() - l->late_since > PGLINK_LATE_MAX) {
        link_drop(l);
        return AS_OK;
    }
    do {
        int rc = link_result(l, deadline, &r, err);
        if (rc != AS_OK)
            return rc;
        if (is_copy(r)) {
            link_drop(l); /* its result would be given again and again */
            PQclear(r);
            return AS_OK;
        }
        PQclear(r);
    } while (r);
    l->late = false;
    return AS_OK;
}

struct answer {
    PGresult *row;
    int rows, rc;
};

/* Sorts one result into the answer; takes it. False when the connection had to be given up. */
static bool answer_add(struct pglink *l, struct answer *a, PGresult *r, struct as_error *err)
{
    ExecStatusType status = PQresultStatus(r);
    if (status == PGRES_SINGLE_TUPLE && a->rows++ == 0) {
        a->row = r;
        return true;
    }
    bool copy = is_copy(r);
    if (copy) {
        a->rc = as_fail(err, AS_EPROTO, "a COPY gives no row: use SELECT");
        link_drop(l);
    } else if (status == PGRES_FATAL_ERROR || status == PGRES_NONFATAL_ERROR ||
               status == PGRES_BAD_RESPONSE) {
        const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE); /* NULL: libpq's own error */
        const char *text = state ? PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY) : PQresultErrorMessage(r);
        a->rc = fail_state(err, state ? state : "08000", text, AS_EPROTO);
    }
    PQclear(r);
    return !copy;
}

static int link_collect(struct pglink *l, as_time deadline, PGresult **out, struct as_error *err)
{
    struct answer a = { 0 };
    PGresult *r = NULL;
    int rc;
    while ((rc = link_result(l, deadline, &r, err)) == AS_OK && r)
        if (!answer_add(l, &a, r, err))
            break;
    if (l->conn && PQstatus(l->conn) == CONNECTION_BAD)
        link_drop(l);
    if (rc == AS_OK)
        rc = a.rc;
    if (rc == AS_OK && a.rows != 1)
        rc = as_fail(err, AS_EPROTO, a.rows ? "it gives more than one row" : "it gives no row");
    if (rc == AS_OK)
        *out = a.row;
    else
        PQclear(a.row);
    return rc;
}

static int link_run(struct pglink *l, const char *sql, as_time deadline, PGresult **out, struct as_error *err)
{
    l->received = 0;
    /* with parameters: the extended protocol takes one statement only */
    if (!PQsendQueryParams(l->conn, sql, 0, NULL, NULL, NULL, NULL, 0) || !PQsetSingleRowMode(l->conn))
        return fail_lost(l, err);
    return link_collect(l, deadline, out, err);
}

int pglink_row(struct pglink *l, const char *sql, as_time deadline, PGresult **out, struct as_error *err)
{
    int rc = AS_OK;
    l->began = as_clock_monotonic();
    for (int attempt = 0; attempt < 2; attempt++) {
        bool kept = l->conn != NULL;
        if (l->late)
            rc = link_drain(l, deadline, err);
        if (rc == AS_OK && !l->conn)
            rc = link_connect(l, deadline, err);
        if (rc == AS_OK)
            rc = link_run(l, sql, deadline, out, err);
        if (rc != AS_EAGAIN || !kept || l->conn)
            return rc;
        rc = AS_OK; /* a kept connection turned out dead: worth a second try */
        if (err)
            *err = (struct as_error){ 0 };
    }
    return rc;
}

bool pglink_usable(const struct pglink *l)
{
    return l->conn && !l->late;
}

void pglink_fini(struct pglink *l)
{
    link_drop(l);
    lookup_end(&l->lookup);
    for (int i = 0; i < l->params; i++) {
        free(l->keys[i]);
        free(l->values[i]);
    }
    free(l->password_file);
    memset(l, 0, sizeof *l);
}
