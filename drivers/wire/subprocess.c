/* Child processes by posix_spawn, which is safe in a process with threads: default signals, an own process group,
 * no descriptor but the standard three. The group is ended before its leader is reaped, while its number cannot
 * belong to anybody else. It must never wait past the deadline, also not for a child that cannot be killed. */
#include "subprocess.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define GRACE_MAX AS_SECOND /* from SIGTERM to SIGKILL, at most; with little time, a quarter of it     */
#define REAP_TIME 100       /* ms before the deadline when SIGKILL is sent, or an eighth of the time   */

struct child {
    pid_t pid;
    int exit_fd;   /* readable when it has ended                                                       */
    int out, errs; /* -1: closed                                                                       */
    char *text;
    size_t size, room, cap;
    char *said; /* SUBPROCESS_STDERR_MAX of the caller's; NULL: not kept                               */
    size_t said_size;
    bool too_big, no_memory, ended;
};

/* --- starting ------------------------------------------------------------------------------------------ */

static int set_attributes(posix_spawnattr_t *attr)
{
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    int rc = posix_spawnattr_setflags(attr,
                                      POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    if (rc == 0)
        rc = posix_spawnattr_setpgroup(attr, 0);
    if (rc == 0)
        rc = posix_spawnattr_setsigdefault(attr, &all);
    return rc ? rc : posix_spawnattr_setsigmask(attr, &none);
}

static int set_actions(posix_spawn_file_actions_t *fa, const struct subprocess *c, int out, int errs)
{
    int rc = posix_spawn_file_actions_addopen(fa, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(fa, out, STDOUT_FILENO);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(fa, errs, STDERR_FILENO);
    if (rc == 0)
        rc = posix_spawn_file_actions_addclosefrom_np(fa, STDERR_FILENO + 1);
    return rc ? rc : posix_spawn_file_actions_addchdir_np(fa, c->directory);
}

static int spawn(const struct subprocess *c, int out, int errs, pid_t *pid)
{
    posix_spawnattr_t attr;
    posix_spawn_file_actions_t fa;
    if (posix_spawnattr_init(&attr) != 0)
        return ENOMEM;
    int rc = posix_spawn_file_actions_init(&fa);
    if (rc == 0) {
        rc = set_attributes(&attr);
        if (rc == 0)
            rc = set_actions(&fa, c, out, errs);
        if (rc == 0)
            rc = posix_spawn(pid, c->argv[0], &fa, &attr, (char *const *)(uintptr_t)c->argv,
                             (char *const *)(uintptr_t)c->envp);
        posix_spawn_file_actions_destroy(&fa);
    }
    posix_spawnattr_destroy(&attr);
    return rc;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* The write ends must not be 0, 1 or 2, which the child replaces one after the other. */
static int make_pipe(int ends[2])
{
    if (pipe2(ends, O_CLOEXEC) != 0)
        return errno;
    int high = ends[1] > STDERR_FILENO ? ends[1] : fcntl(ends[1], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int rc = high < 0 ? errno : 0;
    if (high != ends[1])
        close_fd(&ends[1]);
    ends[1] = high;
    if (rc == 0 && fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0)
        rc = errno;
    return rc;
}

static int start(const struct subprocess *c, struct child *ch, struct as_error *err)
{
    int out[2] = { -1, -1 }, errs[2] = { -1, -1 };
    int rc = make_pipe(out);
    if (rc == 0)
        rc = make_pipe(errs);
    if (rc == 0)
        rc = spawn(c, out[1], errs[1], &ch->pid);
    close_fd(&out[1]);
    close_fd(&errs[1]);
    ch->out = out[0];
    ch->errs = errs[0];
    if (rc == 0 && (ch->exit_fd = pidfd_open(ch->pid, 0)) < 0) {
        rc = errno;
        kill(-ch->pid, SIGKILL);
        waitpid(ch->pid, NULL, 0);
    }
    return rc == 0 ? AS_OK : as_fail(err, AS_EIO, "cannot start %s: %s", c->argv[0], strerror(rc));
}

/* --- listening ----------------------------------------------------------------------------------------- */

static void keep_output(struct child *ch, const char *data, size_t size)
{
    if (size > ch->cap - ch->size) {
        ch->too_big = true;
        return;
    }
    if (ch->size + size + 1 > ch->room) {
        size_t room = ch->room * 2 > ch->size + size + 1 ? ch->room * 2 : ch->size + size + 1;
        char *bigger = realloc(ch->text, room);
        if (!bigger) {
            ch->no_memory = true;
            return;
        }
        ch->text = bigger;
        ch->room = room;
    }
    memcpy(ch->text + ch->size, data, size);
    ch->size += size;
    ch->text[ch->size] = '\0';
}

/* The beginning of standard error is kept, the rest read and forgotten. */
static void keep_errors(struct child *ch, const char *data, size_t size)
{
    size_t room = SUBPROCESS_STDERR_MAX - 1 - ch->said_size, n = size < room ? size : room;
    memcpy(ch->said + ch->said_size, data, n);
    ch->said_size += n;
    ch->said[ch->said_size] = '\0';
}

static bool overflowed(const struct child *ch)
{
    return ch->too_big || ch->no_memory;
}

/* Takes what is there now, at most `rounds` buffers of it. */
static void drain(struct child *ch, int *fd, int rounds)
{
    char data[4096];
    ssize_t n = -1;
    while (*fd >= 0 && !overflowed(ch) && rounds-- > 0 && (n = read(*fd, data, sizeof data)) > 0) {
        if (fd == &ch->out)
            keep_output(ch, data, (size_t)n);
        else
            keep_errors(ch, data, (size_t)n);
    }
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        close_fd(fd);
}

/* Until the leader has ended, or `until`, or its output is too much. */
static void listen_until(struct child *ch, as_time until)
{
    while (!ch->ended && !overflowed(ch)) {
        int left = as_time_left(until);
        struct pollfd fds[] = { { .fd = ch->exit_fd, .events = POLLIN },
                                { .fd = ch->out, .events = POLLIN },
                                { .fd = ch->errs, .events = POLLIN } };
        if (left <= 0 || (poll(fds, 3, left) < 0 && errno != EINTR))
            return;
        if (fds[1].revents)
            drain(ch, &ch->out, 1);
        if (fds[2].revents)
            drain(ch, &ch->errs, 1);
        ch->ended = fds[0].revents != 0;
    }
}

/* --- ending -------------------------------------------------------------------------------------------- */

static bool reap(pid_t pid, int *status)
{
    pid_t got;
    while ((got = waitpid(pid, status, WNOHANG)) < 0 && errno == EINTR)
        ;
    if (got < 0)
        *status = 0xff00; /* somebody else took it: how it ended is not known, so not well */
    return got != 0;
}

static int judge(const struct subprocess *c, int status, struct as_error *err)
{
    char line[121];
    snprintf(line, sizeof line, "%.*s", (int)strcspn(c->said, "\r\n"), c->said);
    for (char *p = line; *p; p++)
        if ((unsigned char)*p < ' ' || (unsigned char)*p >= 0x7f)
            *p = '?';
    const char *sep = *line ? ": " : "";
    if (WIFSIGNALED(status))
        return as_fail(err, AS_EIO, "%.80s was ended by signal %d%s%s", c->argv[0], WTERMSIG(status), sep,
                       line);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return as_fail(err, AS_EIO, "%.80s ended with status %d%s%s", c->argv[0], WEXITSTATUS(status), sep,
                       line);
    return AS_OK;
}

/* Stops what did not stop by itself. True when the leader is gone. */
static bool stop(const struct child *ch, as_time kill_at, as_time deadline, int *status)
{
    /* What it still says does not matter. */
    struct child quiet = { .exit_fd = ch->exit_fd, .out = -1, .errs = -1, .ended = ch->ended };
    if (!quiet.ended && !overflowed(ch)) {
        kill(-ch->pid, SIGTERM);
        listen_until(&quiet, kill_at);
    }
    kill(-ch->pid, SIGKILL); /* also what an ended leader left behind in its group */
    listen_until(&quiet, deadline);
    return reap(ch->pid, status);
}

static int finish(struct subprocess *c, struct child *ch, as_time deadline, as_time kill_at,
                  struct as_error *err)
{
    int status = 0;
    bool in_time = ch->ended;
    if (in_time) {
        drain(ch, &ch->out, 32);
        drain(ch, &ch->errs, 1);
    }
    bool gone = stop(ch, kill_at, deadline, &status);
    if (!gone)
        c->left = ch->pid;
    if (ch->too_big)
        return as_fail(err, AS_EPROTO, "%.100s wrote more than %zu bytes", c->argv[0], c->cap);
    if (ch->no_memory)
        return as_fail(err, AS_ENOMEM, "out of memory for the output of %.100s", c->argv[0]);
    if (!in_time)
        return as_fail(err, AS_EAGAIN, "%.100s did not end in time and was ended", c->argv[0]);
    return judge(c, status, err);
}

/* --- the calls ----------------------------------------------------------------------------------------- */

int subprocess_run(struct subprocess *c, as_time deadline, struct subprocess_answer *out,
                   struct as_error *err)
{
    struct child ch = { .exit_fd = -1, .out = -1, .errs = -1, .cap = c->cap, .said = c->said };
    int left = as_time_left(deadline), status;
    c->said[0] = '\0';
    if (c->left && !reap(c->left, &status))
        return as_fail(err, AS_EAGAIN, "%.100s of an earlier poll was killed and is still there", c->argv[0]);
    c->left = 0;
    if (left <= 0)
        return as_fail(err, AS_EAGAIN, "no time left to run %.100s", c->argv[0]);
    if (!(ch.text = calloc(1, ch.room = 256)))
        return as_fail(err, AS_ENOMEM, "out of memory for the output of %.100s", c->argv[0]);
    as_time reap_time = left / 8 < REAP_TIME ? left / 8 : REAP_TIME;
    as_time grace = left / 4 < GRACE_MAX ? left / 4 : GRACE_MAX;
    int rc = start(c, &ch, err);
    if (rc == AS_OK) {
        listen_until(&ch, deadline - reap_time - grace);
        rc = finish(c, &ch, deadline, deadline - reap_time, err);
    }
    close_fd(&ch.exit_fd);
    close_fd(&ch.out);
    close_fd(&ch.errs);
    if (rc == AS_OK)
        *out = (struct subprocess_answer){ ch.text, ch.size };
    else
        free(ch.text);
    return rc;
}

void subprocess_answer_fini(struct subprocess_answer *a)
{
    free(a->text);
    *a = (struct subprocess_answer){ 0 };
}

void subprocess_fini(struct subprocess *c)
{
    int status;
    if (c->left)
        reap(c->left, &status);
    c->left = 0;
}
