/* Looking at a running nginx through /proc, and acting on it. It must never signal a process that is not the
 * master of the pid file, and never wait longer than its deadline for `nginx -t`. */
#include "nginx_master.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <time.h>
#include <unistd.h>

#define LIST_MAX (NGINX_WORKERS_MAX * 12) /* of pids, as text */
#define READINGS 10

extern char **environ;

/* --- clocks -------------------------------------------------------------------------------------------- */

static int64_t tick_ms(void)
{
    long hz = sysconf(_SC_CLK_TCK);
    return hz > 0 && hz <= 1000 ? 1000 / hz : 10;
}

int64_t nginx_boot_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    int64_t ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    return ms - ms % tick_ms();
}

/* --- /proc --------------------------------------------------------------------------------------------- */

/* Up to size - 1 bytes, NUL-terminated; < 0 with errno. */
static ssize_t read_small(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    size_t used = 0;
    ssize_t n = 0;
    while (used < size - 1 && (n = read(fd, buf + used, size - 1 - used)) > 0)
        used += (size_t)n;
    int saved = errno;
    close(fd);
    errno = saved;
    buf[used] = '\0';
    return n < 0 ? -1 : (ssize_t)used;
}

void nginx_boot_id(char *buf, size_t size)
{
    char id[64];
    ssize_t n = read_small("/proc/sys/kernel/random/boot_id", id, sizeof id);
    id[n > 0 ? strcspn(id, "\n") : 0] = '\0';
    snprintf(buf, size, "%.*s", (int)size - 1, id[0] ? id : "unknown");
}

static bool has_title(pid_t pid, const char *title, char *buf, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    return read_small(path, buf, size) > 0 && strncmp(buf, title, strlen(title)) == 0;
}

/* Parent and start of a process; false when it is gone. */
static bool read_stat(pid_t pid, pid_t *parent, int64_t *start)
{
    char path[64], buf[1024];
    int ppid;
    unsigned long long ticks;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (read_small(path, buf, sizeof buf) <= 0)
        return false;
    const char *after = strrchr(buf, ')'); /* the name before it may hold anything */
    if (!after ||
        sscanf(after + 1, " %*c %d %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
               &ppid, &ticks) != 2)
        return false;
    *parent = ppid;
    *start = (int64_t)ticks * tick_ms();
    return true;
}

static int find_master(const char *pid_file, struct nginx_master *out, struct as_error *err)
{
    char text[32], title[64];
    ssize_t n = read_small(pid_file, text, sizeof text);
    if (n < 0 && errno != ENOENT)
        return as_fail(err, AS_EIO, "cannot read %s: %s", pid_file, strerror(errno));
    if (n < 0)
        return as_fail(err, AS_ENOENT, "nginx is not running: there is no %s", pid_file);
    char *end;
    long pid = strtol(text, &end, 10);
    struct nginx_master m = { .pid = (pid_t)pid };
    pid_t parent;
    if (end == text || strspn(end, " \r\n") != strlen(end) || pid <= 1 || pid > INT32_MAX)
        return as_fail(err, AS_ENOENT, "nginx is not running: %s holds no process id", pid_file);
    if (!has_title(m.pid, "nginx: master process", title, sizeof title) ||
        !read_stat(m.pid, &parent, &m.start))
        return as_fail(err, AS_ENOENT, "nginx is not running: process %ld of %s is no nginx master", pid,
                       pid_file);
    *out = m;
    return AS_OK;
}

/* The master before an upgrade, which has put its pid aside; AS_ENOENT: there is none. */
static int find_former(const char *pid_file, struct nginx_master *out, struct as_error *err)
{
    char *path = NULL;
    if (asprintf(&path, "%s.oldbin", pid_file) < 0)
        return as_fail(err, AS_ENOMEM, "out of memory");
    int rc = find_master(path, out, err);
    free(path);
    return rc;
}

int nginx_master_find(const char *pid_file, struct nginx_master *out, struct as_error *err)
{
    struct nginx_master former;
    int rc = find_master(pid_file, out, err);
    if (rc == AS_ENOENT && find_former(pid_file, &former, NULL) == AS_OK)
        return as_fail(err, AS_EAGAIN, "nginx is just being upgraded: its new master is not there yet");
    return rc;
}

static int note_worker(const struct nginx_master *m, pid_t pid, struct nginx_workers *out,
                       struct as_error *err)
{
    char title[64];
    pid_t parent;
    int64_t start;
    if (!has_title(pid, "nginx: worker process", title, sizeof title) || !read_stat(pid, &parent, &start) ||
        parent != m->pid)
        return AS_OK;
    if (out->count == NGINX_WORKERS_MAX)
        return as_fail(err, AS_EPROTO, "nginx has more than %d worker processes", NGINX_WORKERS_MAX);
    out->starts[out->count++] = start;
    if (!strstr(title, "shutting down") && (out->oldest < 0 || start < out->oldest))
        out->oldest = start;
    return AS_OK;
}

/* Without a list of children that can be relied on: everybody is asked for his parent. */
static int scan_processes(const struct nginx_master *m, struct nginx_workers *out, struct as_error *err)
{
    DIR *dir = opendir("/proc");
    if (!dir)
        return as_fail(err, AS_EIO, "cannot read /proc: %s", strerror(errno));
    int rc = AS_OK;
    for (struct dirent *e; rc == AS_OK && (e = readdir(dir));) {
        long pid = strtol(e->d_name, NULL, 10);
        rc = pid > 1 ? note_worker(m, (pid_t)pid, out, err) : AS_OK;
    }
    closedir(dir);
    return rc;
}

/* The kernel leaves a child out when one before it ends meanwhile, as in a reload. Of two readings that are alike the
 * first left out none: the one that ended would stand in it, and not in the second. */
static bool read_children(const struct nginx_master *m, char list[LIST_MAX])
{
    char path[64], before[LIST_MAX];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)m->pid, (int)m->pid);
    bool alike = false;
    for (int i = 0; i < READINGS && !alike; i++) {
        if (read_small(path, list, LIST_MAX) < 0)
            return false;
        alike = i > 0 && strcmp(list, before) == 0;
        strcpy(before, list);
    }
    return alike;
}

static int add_workers(const struct nginx_master *m, struct nginx_workers *out, struct as_error *err)
{
    char list[LIST_MAX];
    if (!read_children(m, list))
        return scan_processes(m, out, err);
    int rc = AS_OK;
    char *at = list, *end;
    for (long pid; rc == AS_OK && (pid = strtol(at, &end, 10)) > 0; at = end)
        rc = note_worker(m, (pid_t)pid, out, err);
    return rc;
}

int nginx_master_workers(const char *pid_file, const struct nginx_master *m, struct nginx_workers *out,
                         struct as_error *err)
{
    struct nginx_master former;
    *out = (struct nginx_workers){ .oldest = -1 };
    int rc = find_former(pid_file, &former, err);
    if (rc == AS_OK)
        rc = add_workers(&former, out, err);
    else if (rc == AS_ENOENT)
        rc = AS_OK;
    if (out->oldest >= 0)
        out->former = former.pid;
    return rc ? rc : add_workers(m, out, err);
}

int nginx_master_hup(const struct nginx_master *m, struct as_error *err)
{
    char title[64];
    pid_t parent;
    int64_t start;
    int fd = pidfd_open(m->pid, 0), rc = -1; /* holds the process: its number cannot be given to another */
    if (fd >= 0 && has_title(m->pid, "nginx: master process", title, sizeof title) &&
        read_stat(m->pid, &parent, &start) && start == m->start)
        rc = pidfd_send_signal(fd, SIGHUP, NULL, 0);
    else
        errno = ESRCH;
    int why = errno;
    if (fd >= 0)
        close(fd);
    if (rc == 0)
        return AS_OK;
    return as_fail(err, why == EPERM ? AS_EAUTH : AS_EAGAIN, "cannot signal nginx (process %d): %s",
                   (int)m->pid, strerror(why));
}

/* --- nginx -t ------------------------------------------------------------------------------------------ */

/* The first complaint of severity emerg, without nginx's decoration; one line, printable. */
static const char *complaint(char *said)
{
    char *at = strstr(said, "[emerg] ");
    at = at ? at + strlen("[emerg] ") : said;
    at[strcspn(at, "\r\n")] = '\0';
    for (char *s = at; *s; s++)
        if (*s < ' ' || *s > '~')
            *s = '?';
    return at;
}

int nginx_config_test(struct subprocess *test, as_time deadline, struct as_error *err)
{
    struct subprocess_answer nothing = { 0 };
    const char *nginx = test->argv[0];
    if (access(nginx, X_OK) != 0)
        return as_fail(err, AS_EINVAL, "cannot run %s: %s", nginx, strerror(errno));
    test->envp = (const char *const *)environ;
    int rc = subprocess_run(test, deadline, &nothing, err);
    subprocess_answer_fini(&nothing);
    if (rc == AS_EIO && test->said[0])
        return as_fail(err, AS_EINVAL, "nginx refuses its configuration: %.200s", complaint(test->said));
    return rc == AS_EIO ? as_fail(err, AS_EAGAIN, "%s", err->msg) : rc;
}
