/* Where each server of a backend stands. The status column alone cannot tell: a draining server whose
 * checks fail says DOWN there, so the administrative bits of the second table come first. */
#include "haproxy_members.h"

#include <math.h>
#include <string.h>

enum {
    SVNAME,
    TYPE,
    STATUS,
    SCUR,
    QCUR,
    WEIGHT,
    UWEIGHT,
    CHECK_STATUS,
    CHECK_HEALTH,
    CHKDOWN,
    STOT,
    REQ_TOT,
    RTIME,
    ALGO,
    STAT_COLUMNS
};
static const char *const stat_columns[STAT_COLUMNS] = {
    [SVNAME] = "svname",
    [TYPE] = "type",
    [STATUS] = "status",
    [SCUR] = "scur",
    [QCUR] = "qcur",
    [WEIGHT] = "weight",
    [UWEIGHT] = "uweight",
    [CHECK_STATUS] = "check_status",
    [CHECK_HEALTH] = "check_health",
    [CHKDOWN] = "chkdown",
    [STOT] = "stot",
    [REQ_TOT] = "req_tot",
    [RTIME] = "rtime",
    [ALGO] = "algo",
};

enum { SRV_NAME, SRV_ADDR, SRV_PORT, SRV_ADMIN, BE_ID, STATE_COLUMNS };
static const char *const state_columns[STATE_COLUMNS] = {
    [SRV_NAME] = "srv_name",         [SRV_ADDR] = "srv_addr", [SRV_PORT] = "srv_port",
    [SRV_ADMIN] = "srv_admin_state", [BE_ID] = "be_id",
};

#define RTIME_SAMPLES 512 /* HAProxy's TIME_STATS_SAMPLES */
#define RTIME_LEAST   0.5

/* srv_admin_state: forced, inherited, from the configuration, waiting for a name; forced, inherited */
enum { ADMIN_MAINT = 0x01 | 0x02 | 0x04 | 0x20, ADMIN_DRAIN = 0x08 | 0x10 };

int haproxy_members_open(struct haproxy_members *t, const char *stat, size_t stat_len, const char *state,
                         size_t state_len, struct as_error *err)
{
    if (!csv_open(&t->stat, stat, stat_len, ',', stat_columns, STAT_COLUMNS))
        return as_fail(err, AS_EPROTO, "HAProxy's answer to `show stat` is no table of servers");
    if (!csv_open(&t->state, state, state_len, ' ', state_columns, STATE_COLUMNS))
        return as_fail(err, AS_EPROTO, "HAProxy's answer to `show servers state` is no table of servers");
    t->state_start = t->state;
    return AS_OK;
}

/* Both tables have the same order, so the row is nearly always the next one. */
static bool find_state(struct haproxy_members *t, struct csv_field name, struct csv_field *state)
{
    for (int pass = 0; pass < 2; pass++) {
        while (csv_next(&t->state, state))
            if (state[SRV_NAME].len == name.len && memcmp(state[SRV_NAME].text, name.text, name.len) == 0)
                return true;
        t->state = t->state_start;
    }
    return false;
}

static void copy_name(struct csv_field name, char id[AS_ID_MAX])
{
    if (csv_copy(name, id, AS_ID_MAX))
        return;
    size_t n = name.len < AS_ID_MAX - 2 ? name.len : AS_ID_MAX - 2;
    for (size_t i = 0; i < n; i++)
        id[i] = (unsigned char)name.text[i] < ' ' ? '~' : name.text[i];
    id[n] = '~';
    id[n + 1] = '\0';
}

static bool check_passes(struct csv_field status)
{
    /* "* " in front: the next check is on its way, this is the result of the last one. */
    if (csv_starts(status, "* "))
        status = (struct csv_field){ status.text + 2, status.len - 2 };
    return csv_is(status, "L4OK") || csv_is(status, "L6OK") || csv_starts(status, "L7OK") ||
           csv_is(status, "PROCOK");
}

/* A server that is DOWN: failing, or not yet up? Admission itself marks it down once (`health down`). */
static enum as_member_state down_state(const struct csv_field *f)
{
    double downs, health;
    struct csv_field check = f[CHECK_STATUS];
    bool untried = check.len == 0 || csv_is(check, "INI") || csv_is(check, "* INI");
    bool rising = csv_number(f[CHECK_HEALTH], &health) && health > 0;
    if (untried || rising || check_passes(check))
        return AS_MEMBER_CHECKING;
    return csv_number(f[CHKDOWN], &downs) && downs > 1 ? AS_MEMBER_DOWN : AS_MEMBER_CHECKING;
}

static enum as_member_state state_of(const struct csv_field *f, unsigned admin)
{
    struct csv_field status = f[STATUS];
    if ((admin & ADMIN_MAINT) || csv_starts(status, "MAINT"))
        return AS_MEMBER_OUT;
    /* NOLB: it answered 404 under `http-check disable-on-404`, which is a drain by its own wish. */
    if ((admin & ADMIN_DRAIN) || csv_starts(status, "DRAIN") || csv_starts(status, "NOLB"))
        return AS_MEMBER_DRAINING;
    if (csv_starts(status, "UP") || csv_is(status, "no check"))
        return AS_MEMBER_UP;
    return down_state(f);
}

static void read_address(const struct csv_field *state, struct as_member *m, unsigned *admin)
{
    double port, bits;
    if (!csv_copy(state[SRV_ADDR], m->address, sizeof m->address) || strcmp(m->address, "-") == 0)
        m->address[0] = '\0';
    if (csv_number(state[SRV_PORT], &port) && port >= 0 && port <= 65535)
        m->port = (uint16_t)port;
    if (csv_number(state[SRV_ADMIN], &bits) && bits >= 0 && bits <= 0xffff)
        *admin = (unsigned)bits;
}

/* rtime is a mean over up to 512 requests, in whole milliseconds: 0 is quick, not unknown. stot counts
 * sessions that began, req_tot requests that are done; only HTTP has the latter. */
static void read_response(const struct csv_field *f, struct as_member *m)
{
    double done, ms;
    if ((!csv_number(f[REQ_TOT], &done) && !csv_number(f[STOT], &done)) || !csv_number(f[RTIME], &ms))
        return;
    if (!(done > 0) || !(ms >= 0))
        return;
    m->served = done;
    m->response_ms = fmax(ms, RTIME_LEAST);
    m->response_over = fmin(done, RTIME_SAMPLES);
}

static void read_server(struct haproxy_members *t, const struct csv_field *f, struct haproxy_member *out)
{
    struct csv_field state[STATE_COLUMNS];
    double sessions = 0, queued = 0, weight = 0;
    unsigned admin = 0;
    *out = (struct haproxy_member){ 0 };
    copy_name(f[SVNAME], out->m.id);
    if (find_state(t, f[SVNAME], state))
        read_address(state, &out->m, &admin);
    out->m.state = state_of(f, admin);
    /* Whoever waits for this very server (a sticky session) is its work as well. */
    if (csv_number(f[SCUR], &sessions) && csv_number(f[QCUR], &queued))
        sessions += queued;
    out->m.held = fmax(0, sessions);
    /* `weight` is what slow start has reached, `uweight` what was set. */
    if (!csv_number(f[UWEIGHT], &weight))
        csv_number(f[WEIGHT], &weight);
    out->m.weight = (int)fmin(256, fmax(0, weight));
    read_response(f, &out->m);
    /* "UP 1/2" and "DRAIN 1/2": a check has failed, or none has run since it was put there. */
    out->healthy = (csv_is(f[STATUS], "UP") || csv_is(f[STATUS], "DRAIN")) && check_passes(f[CHECK_STATUS]);
}

bool haproxy_members_next(struct haproxy_members *t, struct haproxy_member *out)
{
    struct csv_field fields[STAT_COLUMNS];
    while (csv_next(&t->stat, fields)) {
        if (!csv_is(fields[TYPE], "2"))
            continue;
        read_server(t, fields, out);
        return true;
    }
    return false;
}

/* --- the backend itself ----------------------------------------------------------------------- */

long haproxy_members_number(const struct haproxy_members *t)
{
    struct csv rows = t->state_start;
    struct csv_field state[STATE_COLUMNS];
    double number;
    bool told = csv_next(&rows, state) && csv_number(state[BE_ID], &number) && number >= 1 && number < 1e9;
    return told ? (long)number : 0;
}

bool haproxy_members_hidden(const struct haproxy_members *t)
{
    struct haproxy_members copy = *t;
    struct haproxy_member any;
    return haproxy_members_number(t) > 0 && !haproxy_members_next(&copy, &any);
}

bool haproxy_members_dynamic(const struct haproxy_members *t)
{
    /* Of the others ("source", "uri", "unknown") some do and some do not. */
    static const char *const names[] = { "roundrobin", "leastconn", "first" };
    struct csv rows = t->stat;
    struct csv_field f[STAT_COLUMNS];
    while (csv_next(&rows, f))
        for (size_t i = 0; csv_is(f[TYPE], "1") && i < sizeof names / sizeof *names; i++)
            if (csv_is(f[ALGO], names[i]))
                return true;
    return false;
}
