/* Looks at and signals living processes. A signal goes only to what is proven ours: the leader by pid, start time and
 * boot; what it left behind by the session and the mark in its environment. Never to a pid alone. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process.h"

#define ENVIRON_MAX (256 * 1024) /* searched for our mark */

static ssize_t read_file(const char *path, char *buf, size_t size)
{
    size_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    for (ssize_t got; n < size - 1; n += (size_t)got) {
        got = read(fd, buf + n, size - 1 - n);
        if (got < 0 && errno == EINTR)
            got = 0;
        else if (got <= 0)
            break;
    }
    close(fd);
    buf[n] = '\0';
    return (ssize_t)n;
}

bool process_boot_read(char boot[PROCESS_BOOT_MAX])
{
    ssize_t n = read_file("/proc/sys/kernel/random/boot_id", boot, PROCESS_BOOT_MAX);
    boot[n > 0 ? strcspn(boot, "\n") : 0] = '\0';
    return boot[0] != '\0';
}

static bool stat_of(int64_t pid, struct process_stat *out)
{
    char path[48], text[1024];
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    return read_file(path, text, sizeof text) > 0 && process_stat_parse(text, out);
}

int64_t process_start_of(pid_t pid)
{
    struct process_stat st;
    return stat_of(pid, &st) ? st.start : 0;
}

/* One whose first thread has ended goes on in the others. */
static bool has_ended(const struct process_stat *st)
{
    return (st->state == 'Z' && st->threads < 2) || st->state == 'X' || st->state == 'x';
}

enum process_life process_life(const struct process *p, const struct process_record *r)
{
    struct process_stat st;
    if (strcmp(p->boot, r->boot) != 0 || !stat_of(r->pid, &st))
        return PROCESS_GONE;
    if (st.start != r->start)
        return PROCESS_FOREIGN;
    if (has_ended(&st))
        return PROCESS_ENDED;
    return st.state == 'T' ? PROCESS_PAUSED : PROCESS_RUNNING;
}

/* --- what an instance started ---------------------------------------------------------------------------- */

/* Does the environment of `pid` say that it belongs to this instance? */
static bool is_marked(int64_t pid, const struct process_record *r)
{
    char path[48], mark[AS_ID_MAX + 32], owner[AS_NAME_MAX + 32];
    bool id = false, controller = false;
    char *text = malloc(ENVIRON_MAX);
    if (!text)
        return false;
    snprintf(path, sizeof path, "/proc/%lld/environ", (long long)pid);
    snprintf(mark, sizeof mark, "AUTOSCALE_INSTANCE=%s", r->id);
    snprintf(owner, sizeof owner, "AUTOSCALE_CONTROLLER=%s", r->controller);
    ssize_t size = read_file(path, text, ENVIRON_MAX);
    for (ssize_t at = 0; at < size; at += (ssize_t)strlen(text + at) + 1) {
        id = id || strcmp(text + at, mark) == 0;
        controller = controller || strcmp(text + at, owner) == 0;
    }
    free(text);
    return id && controller;
}

/* While the leader is there, even as a zombie, the number of its session is its own. Afterwards another session may
 * have got it: then only the mark proves anything. */
static bool is_member(int64_t pid, const struct process_record *r, bool leader, struct process_stat *st)
{
    return stat_of(pid, st) && st->session == r->pid && st->start >= r->start && !has_ended(st) &&
           (leader || is_marked(pid, r));
}

/* True when the process lives and is a member. It is held while it is looked at, so that the signal reaches the
 * one that was looked at. */
static bool visit(int64_t pid, const struct process_record *r, bool leader, int sig)
{
    struct process_stat st;
    if (!is_member(pid, r, leader, &st))
        return false;
    bool reached = leader && st.group == r->pid; /* by the signal to the group */
    int fd = sig && !reached ? pidfd_open((pid_t)pid, 0) : -1;
    if (fd >= 0 && is_member(pid, r, leader, &st))
        pidfd_send_signal(fd, sig, NULL, 0);
    if (fd >= 0)
        close(fd);
    return true;
}

int process_signal(const struct process *p, const struct process_record *r, int sig)
{
    enum process_life life = process_life(p, r);
    bool leader = life != PROCESS_GONE;
    int living = 0;
    if (life == PROCESS_FOREIGN || strcmp(p->boot, r->boot) != 0)
        return 0; /* the number was free to be given away: everyone of that session is gone */
    if (leader && sig)
        kill(-(pid_t)r->pid, sig);
    DIR *proc = opendir("/proc");
    if (!proc)
        return leader && life != PROCESS_ENDED;
    for (struct dirent *e; (e = readdir(proc));)
        if (isdigit((unsigned char)e->d_name[0]))
            living += visit(strtoll(e->d_name, NULL, 10), r, leader, sig);
    closedir(proc);
    return living;
}

bool process_reap(struct process_record *r)
{
    int status;
    if (waitpid((pid_t)r->pid, &status, WNOHANG) != (pid_t)r->pid)
        return false;
    if (WIFEXITED(status))
        snprintf(r->ended, sizeof r->ended, "exited (%d)", WEXITSTATUS(status));
    else
        snprintf(r->ended, sizeof r->ended, "killed by signal %d", WTERMSIG(status));
    return true;
}
