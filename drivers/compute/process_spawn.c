/* Starts the command of an instance. The new process waits until its record is on disk and ends by itself when its
 * parent dies before, so that no process ever runs that no record knows. This program has many threads: between fork
 * and exec only system calls are made, all memory is prepared before. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define PATHS_MAX    32   /* directories of PATH that are tried */
#define SAFE_FD      10   /* descriptors are moved above this before they take their places */
#define KEPT_ENV     1024 /* variables inherited at most */

extern char **environ;

/* --- placeholders ----------------------------------------------------------------------------------------- */

static const char *const known[] = { "{port}", "{id}", "{group}", "{address}" };

static const char *value_of(size_t which, const struct process_record *r, char port[8])
{
    const char *const values[] = { port, r->id, r->group, r->address };
    snprintf(port, 8, "%u", (unsigned)r->port);
    return values[which];
}

/* Index into `known` of what stands at `at`, or -1. */
static int known_at(const char *at)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strncmp(at, known[i], strlen(known[i])) == 0)
            return (int)i;
    return -1;
}

size_t process_unknown(const char *text, const char **at)
{
    for (const char *c = text; (c = strchr(c, '{')); c++) {
        size_t n = strspn(c + 1, "abcdefghijklmnopqrstuvwxyz_");
        if (c[1] == '{') {
            c++;
        } else if (n > 0 && c[n + 1] == '}' && known_at(c) < 0) {
            *at = c;
            return n + 2;
        }
    }
    return 0;
}

char *process_expand(const char *text, const struct process_record *r)
{
    char *out = NULL, port[8];
    size_t size;
    FILE *f = open_memstream(&out, &size);
    if (!f)
        return NULL;
    for (const char *c = text; *c;) {
        int which = *c == '{' ? known_at(c) : -1;
        if (which >= 0) {
            fputs(value_of((size_t)which, r, port), f);
            c += strlen(known[which]);
        } else {
            fputc(*c, f);
            c += c[0] == '{' && c[1] == '{' ? 2 : 1;
        }
    }
    if (fclose(f) != 0) {
        free(out);
        return NULL;
    }
    return out;
}

/* --- what the child needs, prepared -------------------------------------------------------------------------- */

struct launch {
    char **argv, **env;
    char *paths[PATHS_MAX + 1]; /* candidates for the program, in order */
    const char *cwd;
    struct rlimit memory, files; /* rlim_max 0: as inherited */
    int nice;
    bool renice;
    const struct process_identity *identity;
    int null, log, go, status; /* descriptors */
};

static void free_list(char **list)
{
    for (char **s = list; list && *s; s++)
        free(*s);
    free(list);
}

static void launch_fini(struct launch *l)
{
    free_list(l->argv);
    free_list(l->env);
    for (size_t i = 0; l->paths[i]; i++)
        free(l->paths[i]);
    if (l->null >= 0)
        close(l->null);
    if (l->log >= 0)
        close(l->log);
}

static char **make_argv(const struct as_settings *s, const struct process_record *r)
{
    size_t n = as_settings_count(s, "command");
    char **argv = calloc(n + 1, sizeof *argv);
    for (size_t i = 0; argv && i < n; i++)
        if (!(argv[i] = process_expand(as_settings_item(s, "command", i), r))) {
            free_list(argv);
            return NULL;
        }
    return argv;
}

__attribute__((format(printf, 2, 3))) static bool add_env(char **env, const char *fmt, ...)
{
    va_list ap;
    char *text;
    va_start(ap, fmt);
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (n < 0)
        return false;
    size_t name = strcspn(text, "=") + 1;
    char **at = env;
    while (*at && strncmp(*at, text, name) != 0) /* a later one of the same name wins */
        at++;
    free(*at);
    *at = text;
    return true;
}

/* The mark first: whoever asks for it later finds it at once. */
static char **make_env(const struct as_settings *s, const struct process_record *r)
{
    size_t own = as_settings_count(s, "env"), kept = 0;
    bool inherit = as_settings_bool(s, "inherit_env");
    while (inherit && environ && environ[kept] && kept < KEPT_ENV)
        kept++;
    char **env = calloc(own + kept + 5, sizeof *env);
    bool ok = env && add_env(env, "AUTOSCALE_INSTANCE=%s", r->id) &&
              add_env(env, "AUTOSCALE_CONTROLLER=%s", r->controller) &&
              add_env(env, "AUTOSCALE_GROUP=%s", r->group) && add_env(env, "PATH=" DEFAULT_PATH);
    for (size_t i = 0; ok && i < kept; i++)
        if (strncmp(environ[i], "AUTOSCALE_", 10) != 0)
            ok = add_env(env, "%s", environ[i]);
    for (size_t i = 0; ok && i < own; i++) {
        char *value = process_expand(as_settings_item(s, "env", i), r);
        ok = value && add_env(env, "%s=%s", as_settings_key(s, "env", i), value);
        free(value);
    }
    if (ok)
        return env;
    free_list(env);
    return NULL;
}

/* Fills l->paths; false when out of memory. */
static bool find_candidates(struct launch *l)
{
    const char *path = DEFAULT_PATH;
    size_t count = 0;
    if (strchr(l->argv[0], '/'))
        return (l->paths[0] = strdup(l->argv[0])) != NULL;
    for (char **e = l->env; *e; e++)
        if (strncmp(*e, "PATH=", 5) == 0)
            path = *e + 5;
    while (*path && count < PATHS_MAX) {
        size_t n = strcspn(path, ":");
        if (*path == '/') { /* an empty or relative one would be looked up in a directory nobody chose */
            if (asprintf(&l->paths[count], "%.*s/%s", (int)n, path, l->argv[0]) < 0) {
                l->paths[count] = NULL;
                return false;
            }
            count++;
        }
        path += path[n] ? n + 1 : n;
    }
    return true;
}

static void set_limits(struct launch *l, const struct as_settings *s)
{
    uint64_t memory = as_settings_bytes(s, "memory");
    int64_t files = as_settings_int(s, "open_files");
    l->memory = (struct rlimit){ memory, memory };
    l->files = (struct rlimit){ (rlim_t)files, (rlim_t)files };
    l->renice = as_settings_has(s, "nice");
    l->nice = (int)as_settings_int(s, "nice");
}

static int prepare(const struct process *p, int dir, const struct process_record *r, struct launch *l,
                   struct as_error *err)
{
    *l = (struct launch){ .cwd = as_settings_str(p->settings, "cwd"), .identity = &p->identity, .log = -1 };
    l->null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (l->null < 0)
        return as_fail(err, AS_EIO, "/dev/null: %s", strerror(errno));
    set_limits(l, p->settings);
    l->argv = make_argv(p->settings, r);
    l->env = make_env(p->settings, r);
    if (!l->argv || !l->env || !find_candidates(l))
        return as_fail(err, AS_ENOMEM, "out of memory for starting '%s'", r->id);
    l->log = process_log_open(dir, r->id, err);
    return l->log < 0 ? AS_EIO : AS_OK;
}

/* --- the child ----------------------------------------------------------------------------------------------- */

enum step { STEP_SETUP, STEP_LIMIT, STEP_NICE, STEP_USER, STEP_CWD, STEP_EXEC };

static const char *const step_texts[] = {
    [STEP_SETUP] = "setting up the process",        [STEP_LIMIT] = "setting its limits",
    [STEP_NICE] = "setting its nice value",         [STEP_USER] = "changing to its user",
    [STEP_CWD] = "changing to its directory (cwd)", [STEP_EXEC] = "starting the command",
};

struct failure {
    enum step step;
    int number; /* errno */
};

_Noreturn static void give_up(int status, enum step step)
{
    struct failure f = { step, errno };
    ssize_t n = write(status, &f, sizeof f);
    _exit(n < 0 ? 126 : 127);
}

static void reset_signals(void)
{
    struct sigaction plain = { .sa_handler = SIG_DFL };
    sigset_t none;
    for (int sig = 1; sig < NSIG; sig++)
        sigaction(sig, &plain, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Afterwards: 0 null, 1 and 2 the log, 3 go, 4 status, nothing else. Another child's ends of pipes must not stay
 * open here, or that child would not see its parent die. */
static bool place_descriptors(struct launch *l)
{
    int *fds[] = { &l->null, &l->log, &l->go, &l->status };
    for (size_t i = 0; i < 4; i++)
        if ((*fds[i] = fcntl(*fds[i], F_DUPFD_CLOEXEC, SAFE_FD)) < 0)
            return false;
    if (dup2(l->null, 0) < 0 || dup2(l->log, 1) < 0 || dup2(l->log, 2) < 0 || dup3(l->go, 3, O_CLOEXEC) < 0 ||
        dup3(l->status, 4, O_CLOEXEC) < 0)
        return false;
    l->go = 3;
    l->status = 4;
    return close_range(5, ~0U, 0) == 0;
}

static void become(const struct launch *l)
{
    const struct process_identity *who = l->identity;
    if (l->memory.rlim_max && setrlimit(RLIMIT_AS, &l->memory) != 0)
        give_up(l->status, STEP_LIMIT);
    if (l->files.rlim_max && setrlimit(RLIMIT_NOFILE, &l->files) != 0)
        give_up(l->status, STEP_LIMIT);
    if (l->renice && setpriority(PRIO_PROCESS, 0, l->nice) != 0)
        give_up(l->status, STEP_NICE);
    if (who->set && (setgroups((size_t)who->group_count, who->groups) != 0 || setgid(who->gid) != 0 ||
                     setuid(who->uid) != 0))
        give_up(l->status, STEP_USER);
    if (chdir(l->cwd) != 0)
        give_up(l->status, STEP_CWD);
}

/* As the shell does: the first candidate that can be started; "permission denied" is worth more than "not found". */
static void execute(const struct launch *l)
{
    int denied = 0;
    for (char *const *path = l->paths; *path; path++) {
        execve(*path, l->argv, l->env);
        if (errno == EACCES)
            denied = EACCES;
        else if (errno != ENOENT && errno != ENOTDIR)
            give_up(l->status, STEP_EXEC);
    }
    errno = denied ? denied : ENOENT;
    give_up(l->status, STEP_EXEC);
}

_Noreturn static void child(struct launch *l)
{
    char byte;
    ssize_t n;
    reset_signals();
    setsid();
    umask(022);
    if (!place_descriptors(l))
        give_up(l->status, STEP_SETUP);
    do
        n = read(l->go, &byte, 1);
    while (n < 0 && errno == EINTR);
    if (n != 1) /* the parent is gone or could not write the record */
        _exit(127);
    become(l);
    execute(l);
    _exit(127);
}

/* --- the parent ------------------------------------------------------------------------------------------------ */

static int refused(const struct failure *f, const struct launch *l, struct as_error *err)
{
    bool busy = f->number == EAGAIN || f->number == ENOMEM || f->number == EMFILE || f->number == ENFILE;
    if (f->step == STEP_EXEC)
        return as_fail(err, busy ? AS_EAGAIN : AS_EINVAL, "the command '%s' cannot be started: %s",
                       l->argv[0], strerror(f->number));
    return as_fail(err, busy ? AS_EAGAIN : AS_EINVAL, "%s failed: %s", step_texts[f->step],
                   strerror(f->number));
}

/* Waits until the command runs (the pipe closes) or says why it does not. */
static int await_exec(int fd, as_time deadline, const struct launch *l, struct as_error *err)
{
    struct failure f;
    struct pollfd ready = { .fd = fd, .events = POLLIN };
    int n;
    do
        n = poll(&ready, 1, as_time_left(deadline));
    while (n < 0 && errno == EINTR);
    if (n == 0)
        return as_fail(err, AS_EUNKNOWN, "the command '%s' has not started by the deadline", l->argv[0]);
    ssize_t got = read(fd, &f, sizeof f);
    if (got == 0)
        return AS_OK;
    if (got != sizeof f || f.step > STEP_EXEC)
        return as_fail(err, AS_EUNKNOWN, "the start of '%s' cannot be followed", l->argv[0]);
    return refused(&f, l, err);
}

/* The child exists and waits. Writes its record and lets it go. */
static int release(int dir, pid_t pid, int go, struct process_record *r, struct as_error *err)
{
    r->pid = pid;
    r->start = process_start_of(pid);
    if (r->start == 0)
        return as_fail(err, AS_EIO, "the start time of process %d cannot be read", (int)pid);
    int rc = process_store_save(dir, r, err);
    if (rc == AS_OK && write(go, "g", 1) != 1) /* it was killed meanwhile: the status pipe is closed too */
        rc = as_fail(err, AS_EAGAIN, "the new process ended before it could start");
    return rc;
}

/* Four ends, close on exec; pipes[0] is go, pipes[1] is status. */
static bool open_pipes(int pipes[2][2])
{
    if (pipe2(pipes[0], O_CLOEXEC) != 0)
        return false;
    if (pipe2(pipes[1], O_CLOEXEC) == 0)
        return true;
    close(pipes[0][0]);
    close(pipes[0][1]);
    return false;
}

static int start(int dir, as_time deadline, struct launch *l, struct process_record *r, struct as_error *err)
{
    int pipes[2][2];
    if (!open_pipes(pipes))
        return as_fail(err, AS_EAGAIN, "no pipe for starting '%s': %s", r->id, strerror(errno));
    l->go = pipes[0][0];
    l->status = pipes[1][1];
    sigset_t all, before; /* a handler of ours must not run in the child */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0)
        child(l);
    int failed = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(pipes[0][0]);
    close(pipes[1][1]);
    int rc = pid < 0 ? as_fail(err, AS_EAGAIN, "no new process for '%s': %s", r->id, strerror(failed))
                     : release(dir, pid, pipes[0][1], r, err);
    close(pipes[0][1]);
    if (rc == AS_OK)
        rc = await_exec(pipes[1][0], deadline, l, err);
    close(pipes[1][0]);
    if (pid > 0 && rc != AS_OK && rc != AS_EUNKNOWN) /* it ends by itself */
        waitpid(pid, NULL, 0);
    return rc;
}

int process_spawn(const struct process *p, int dir, as_time deadline, struct process_record *r,
                  struct as_error *err)
{
    struct launch l;
    int rc = prepare(p, dir, r, &l, err);
    if (rc == AS_OK)
        rc = start(dir, deadline, &l, r, err);
    launch_fini(&l);
    if (rc != AS_OK && rc != AS_EUNKNOWN)
        process_store_remove(dir, r->id, false, NULL);
    return rc;
}
