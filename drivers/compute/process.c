/* Compute driver for child processes on this machine. An instance is a session of its own with a record in the state
 * directory; it outlives this program and is found again by pid, start time and boot. It never signals a process
 * that it cannot prove to be its own, and never touches the record of another controller or group. */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "process.h"

#define KILL_RESERVE (2 * AS_SECOND) /* of a deadline, kept for SIGKILL after a slow stop */
#define PAUSE_MIN_MS 2
#define PAUSE_MAX_MS 50

static bool is_ours(const struct process *p, const struct process_record *r)
{
    return strcmp(r->controller, p->owner.controller) == 0 && strcmp(r->group, p->owner.group) == 0;
}

/* The record of an instance of ours; AS_ENOENT: there is none, AS_EEXIST: another's, or no record. */
static int load_ours(const struct process *p, int dir, const char *id, struct process_record *r,
                     struct as_error *err)
{
    if (!process_id_ok(id))
        return as_fail(err, AS_EINVAL, "'%s' cannot be the name of a record", id);
    int rc = process_store_load(dir, id, r, err);
    if (rc == AS_OK && !is_ours(p, r))
        rc =
            as_fail(err, AS_EEXIST, "process '%s' belongs to group '%s' of controller '%s', it is left alone",
                    id, r->group, r->controller);
    return rc;
}

static int find_ours(const struct process *p, as_time deadline, const char *id, struct process_record *r,
                     struct as_error *err)
{
    int dir;
    int rc = process_store_open(p, false, deadline, &dir, err);
    if (rc != AS_OK)
        return rc;
    rc = load_ours(p, dir, id, r, err);
    close(dir);
    return rc;
}

static void describe(const struct process *p, const struct process_record *r, enum process_life life,
                     struct as_instance *out)
{
    *out = (struct as_instance){ .port = r->port, .created_wall = r->created_wall };
    snprintf(out->id, sizeof out->id, "%s", r->id);
    snprintf(out->revision, sizeof out->revision, "%s", r->revision);
    snprintf(out->address, sizeof out->address, "%s", r->address);
    out->state = life == PROCESS_RUNNING  ? AS_RUN_RUNNING
                 : life == PROCESS_PAUSED ? AS_RUN_PARKED
                                          : AS_RUN_STOPPED;
    if (out->state != AS_RUN_STOPPED)
        snprintf(out->detail, sizeof out->detail, "pid %lld%s", (long long)r->pid,
                 life == PROCESS_PAUSED ? ", stopped" : "");
    else if (strcmp(r->boot, p->boot) != 0)
        snprintf(out->detail, sizeof out->detail, "ended when the machine restarted");
    else
        snprintf(out->detail, sizeof out->detail, "%s; see %.40s.log%s", r->ended[0] ? r->ended : "ended",
                 r->id, as_settings_bool(p->settings, "keep_logs") ? "" : " (keep_logs keeps it)");
}

/* Looks at the process; takes the status of one that has ended and notes it. */
static enum process_life look(const struct process *p, int dir, struct process_record *r)
{
    enum process_life life = process_life(p, r);
    if (life == PROCESS_ENDED && process_reap(r))
        process_store_save(dir, r, NULL); /* what is lost then is how it ended, not that it did */
    return life;
}

/* Pauses, longer each time, at most to the deadline. */
static void rest(long *ms, as_time deadline)
{
    long left = as_time_left(deadline);
    *ms = *ms ? *ms * 2 : PAUSE_MIN_MS;
    if (*ms > PAUSE_MAX_MS)
        *ms = PAUSE_MAX_MS;
    long now = *ms < left ? *ms : left;
    nanosleep(&(struct timespec){ .tv_nsec = now * 1000000 }, NULL);
}

/* --- ports ------------------------------------------------------------------------------------------------ */

struct ports {
    bool taken[65536];
};

static void take_ports(const struct process_records *all, struct ports *ports)
{
    memset(ports, 0, sizeof *ports);
    for (size_t i = 0; i < all->count; i++)
        ports->taken[all->items[i].port] = true;
}

static int room(const struct process *p, const struct ports *ports)
{
    int free_ports = 0;
    for (int port = p->first; port <= p->last; port++)
        free_ports += !ports->taken[port];
    return free_ports;
}

static socklen_t socket_address(const char *text, uint16_t port, struct sockaddr_storage *out)
{
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
        memcpy(out, &v4, sizeof v4);
        return sizeof v4;
    }
    inet_pton(AF_INET6, text, &v6.sin6_addr);
    memcpy(out, &v6, sizeof v6);
    return sizeof v6;
}

/* 0 when nobody has the port, otherwise errno. */
static int try_port(const char *address, uint16_t port)
{
    struct sockaddr_storage at = { 0 };
    socklen_t size = socket_address(address, port, &at);
    int fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0)
        return errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one); /* as servers do: TIME_WAIT is no obstacle */
    int rc = bind(fd, (struct sockaddr *)&at, size) == 0 ? 0 : errno;
    close(fd);
    return rc;
}

static int choose_port(const struct process *p, const struct ports *ports, uint16_t *out,
                       struct as_error *err)
{
    for (int port = p->first; port <= p->last; port++) {
        if (ports->taken[port])
            continue;
        int failed = try_port(p->address, (uint16_t)port);
        if (failed == 0) {
            *out = (uint16_t)port;
            return AS_OK;
        }
        if (failed == EMFILE || failed == ENFILE || failed == ENOBUFS || failed == ENOMEM)
            return as_fail(err, AS_EAGAIN, "port %d cannot be tried: %s", port, strerror(failed));
        if (failed != EADDRINUSE)
            return as_fail(err, AS_EINVAL, "port %d of %s cannot be used: %s", port, p->address,
                           strerror(failed));
    }
    return as_fail(err, AS_EFULL, "all ports %u-%u of %s are taken", (unsigned)p->first, (unsigned)p->last,
                   p->address);
}

/* The ports of all records are taken, whoever they belong to and whether their process lives. */
static int pick_port(const struct process *p, int dir, uint16_t *out, struct as_error *err)
{
    struct process_records all = { 0 };
    struct as_error left_out;
    struct ports ports;
    int rc = process_store_all(dir, &all, &left_out, err);
    if (rc != AS_OK)
        return rc;
    take_ports(&all, &ports);
    process_records_fini(&all);
    return choose_port(p, &ports, out, err);
}

/* --- list --------------------------------------------------------------------------------------------------- */

static int list_locked(const struct process *p, int dir, struct as_instances *out, struct as_error *err)
{
    struct process_records all = { 0 };
    struct as_error left_out;
    struct as_instances found = { 0 };
    struct ports ports;
    int rc = process_store_all(dir, &all, &left_out, err);
    for (size_t i = 0; rc == AS_OK && i < all.count; i++) {
        struct process_record *r = &all.items[i];
        if (!is_ours(p, r))
            continue;
        struct as_instance *item = as_instances_add(&found);
        if (!item)
            rc = as_fail(err, AS_ENOMEM, "out of memory for the list of processes");
        else
            describe(p, r, look(p, dir, r), item);
        process_log_trim(dir, r->id, as_settings_bytes(p->settings, "log_max"));
    }
    take_ports(&all, &ports);
    process_records_fini(&all);
    if (rc != AS_OK) {
        as_instances_fini(&found);
        return rc;
    }
    found.room = room(p, &ports);
    *out = found;
    return left_out.msg[0] ? as_fail(err, AS_OK, "%s", left_out.msg) : AS_OK;
}

static int process_list(void *self, as_time deadline, struct as_instances *out, struct as_error *err)
{
    const struct process *p = self;
    int dir;
    int rc = process_store_open(p, false, deadline, &dir, err);
    if (rc == AS_ENOENT) { /* nothing was ever started */
        out->room = p->last - p->first + 1;
        return AS_OK;
    }
    if (rc != AS_OK)
        return rc;
    rc = list_locked(p, dir, out, err);
    close(dir);
    return rc;
}

/* --- stopping ------------------------------------------------------------------------------------------------ */

/* True when the instance and all it started are gone. The leader is asked first, which is cheap. */
static bool is_gone(const struct process *p, const struct process_record *r)
{
    enum process_life life = process_life(p, r);
    return life != PROCESS_RUNNING && life != PROCESS_PAUSED && process_signal(p, r, 0) == 0;
}

static bool wait_gone(const struct process *p, const struct process_record *r, as_time until)
{
    long ms = 0;
    while (!is_gone(p, r)) {
        if (as_time_left(until) == 0)
            return false;
        rest(&ms, until);
    }
    return true;
}

static int kill_all(const struct process *p, const struct process_record *r, as_time deadline,
                    struct as_error *err)
{
    long ms = 0;
    for (;;) { /* again and again: one that forks faster than it is looked at must not escape */
        process_signal(p, r, SIGKILL);
        if (is_gone(p, r))
            return AS_OK;
        if (as_time_left(deadline) == 0)
            return as_fail(err, AS_EUNKNOWN, "process %lld of '%s' is still there after SIGKILL",
                           (long long)r->pid, r->id);
        rest(&ms, deadline);
    }
}

static int stop(const struct process *p, const struct process_record *r, as_time deadline,
                struct as_error *err)
{
    as_time patience = as_settings_ms(p->settings, "stop_timeout");
    as_time allowed = as_time_left(deadline) - KILL_RESERVE;
    if (patience > allowed)
        patience = allowed;
    if (is_gone(p, r))
        return AS_OK;
    if (patience > 0) {
        process_signal(p, r, p->stop_signal);
        process_signal(p, r, SIGCONT); /* a parked one could not hear it */
        if (wait_gone(p, r, as_clock_monotonic() + patience))
            return AS_OK;
    }
    return kill_all(p, r, deadline, err);
}

/* Removes the record, unless it was made anew meanwhile. */
static int forget(const struct process *p, const struct process_record *stopped, as_time deadline,
                  struct as_error *err)
{
    struct process_record r;
    int dir;
    int rc = process_store_open(p, false, deadline, &dir, err);
    if (rc != AS_OK)
        return rc == AS_ENOENT ? AS_OK : rc;
    rc = load_ours(p, dir, stopped->id, &r, err);
    if (rc == AS_OK && (r.pid != stopped->pid || r.start != stopped->start))
        rc = as_fail(err, AS_EAGAIN, "'%s' was started again while it was destroyed", r.id);
    else if (rc == AS_OK)
        rc = process_store_remove(dir, r.id, as_settings_bool(p->settings, "keep_logs"), err);
    close(dir);
    return rc == AS_ENOENT ? AS_OK : rc;
}

static int process_destroy(void *self, as_time deadline, const struct as_instance *inst, struct as_error *err)
{
    const struct process *p = self;
    struct process_record r;
    int rc = find_ours(p, deadline, inst->id, &r, err);
    if (rc == AS_ENOENT)
        return AS_OK;
    if (rc == AS_OK)
        rc = stop(p, &r, deadline, err);
    if (rc != AS_OK)
        return rc;
    if (process_life(p, &r) == PROCESS_ENDED)
        process_reap(&r);
    return forget(p, &r, deadline, err);
}

/* --- park ------------------------------------------------------------------------------------------------------ */

static int switch_to(const struct process *p, as_time deadline, const char *id, enum process_life want,
                     struct as_instance *out, struct as_error *err)
{
    struct process_record r;
    long ms = 0;
    int rc = find_ours(p, deadline, id, &r, err);
    if (rc != AS_OK)
        return rc;
    for (;;) {
        enum process_life life = process_life(p, &r);
        if (life != PROCESS_RUNNING && life != PROCESS_PAUSED)
            return as_fail(err, AS_EINVAL, "'%s' does not run any more", id);
        if (life == want) {
            if (out)
                describe(p, &r, life, out);
            return AS_OK;
        }
        if (as_time_left(deadline) == 0)
            return as_fail(err, AS_EUNKNOWN, "'%s' was signalled and has not followed", id);
        process_signal(p, &r, want == PROCESS_PAUSED ? SIGSTOP : SIGCONT);
        rest(&ms, deadline);
    }
}

static int process_park(void *self, as_time deadline, const struct as_instance *inst, struct as_error *err)
{
    return switch_to(self, deadline, inst->id, PROCESS_PAUSED, NULL, err);
}

static int process_unpark(void *self, as_time deadline, const struct as_instance *inst,
                          struct as_instance *out, struct as_error *err)
{
    return switch_to(self, deadline, inst->id, PROCESS_RUNNING, out, err);
}

/* --- create ---------------------------------------------------------------------------------------------------- */

static int start_new(const struct process *p, int dir, as_time deadline, const struct as_launch *launch,
                     struct as_instance *out, struct as_error *err)
{
    struct process_record r = { .created_wall = as_clock_wall() };
    snprintf(r.controller, sizeof r.controller, "%s", p->owner.controller);
    snprintf(r.group, sizeof r.group, "%s", p->owner.group);
    snprintf(r.id, sizeof r.id, "%s", launch->id);
    snprintf(r.revision, sizeof r.revision, "%s", launch->revision);
    snprintf(r.boot, sizeof r.boot, "%s", p->boot);
    snprintf(r.address, sizeof r.address, "%s", p->address);
    int rc = pick_port(p, dir, &r.port, err);
    if (rc == AS_OK)
        rc = process_spawn(p, dir, deadline, &r, err);
    if (rc == AS_OK)
        describe(p, &r, PROCESS_RUNNING, out);
    return rc;
}

/* There is a record of ours: returns what runs, or clears the way for a new start. AS_ENOENT: start it. */
static int resume(const struct process *p, int dir, as_time deadline, struct process_record *r,
                  struct as_instance *out, struct as_error *err)
{
    enum process_life life = look(p, dir, r);
    if (life == PROCESS_PAUSED) {
        process_signal(p, r, SIGCONT);
        life = PROCESS_RUNNING;
    }
    if (life == PROCESS_RUNNING) {
        describe(p, r, life, out);
        return AS_OK;
    }
    int rc = kill_all(p, r, deadline, err); /* what it left behind would be forgotten with its record */
    if (rc == AS_OK)
        rc = process_store_remove(dir, r->id, true, err);
    return rc == AS_OK ? AS_ENOENT : rc;
}

static int create_locked(const struct process *p, int dir, as_time deadline, const struct as_launch *launch,
                         struct as_instance *out, struct as_error *err)
{
    struct process_record r;
    int rc = load_ours(p, dir, launch->id, &r, err);
    if (rc == AS_OK)
        rc = resume(p, dir, deadline, &r, out, err);
    return rc == AS_ENOENT ? start_new(p, dir, deadline, launch, out, err) : rc;
}

static int process_create(void *self, as_time deadline, const struct as_launch *launch,
                          struct as_instance *out, struct as_error *err)
{
    const struct process *p = self;
    int dir;
    int rc = process_store_open(p, true, deadline, &dir, err);
    if (rc != AS_OK)
        return rc;
    rc = create_locked(p, dir, deadline, launch, out, err);
    close(dir);
    return rc;
}

const struct as_compute_driver as_compute_process = {
    .name = "process",
    .summary = "local processes of this machine, without root or containers",
    .options = process_options,
    .state_size = sizeof(struct process),
    .open = process_open,
    .list = process_list,
    .create = process_create,
    .destroy = process_destroy,
    .park = process_park,
    .unpark = process_unpark,
    .close = process_close,
};
