/* What the tests of sources against real servers share: private servers as child processes, waiting for
 * conditions, and one opened source whose polls are checked for secrets and for keeping their deadline. */
#ifndef SOURCE_KIT_H
#define SOURCE_KIT_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "autoscale/source.h"
#include "server_kit.h"

#define SECRET  "kept-secret-8d1f"
#define WRONG   "wrong-secret-77aa"
#define TIMEOUT (20 * AS_SECOND) /* of a poll that shall succeed: the machine may be busy             */
#define LATE    (15 * AS_SECOND) /* so late may a deadline be kept there; without one nothing ended   */
#define PATIENCE 60              /* seconds for a condition                                           */

static char root[64], secret_file[128], wrong_file[128];

/* --- files and processes ---------------------------------------------------------------------- */

static inline void write_file(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

/* A private directory with the two password files; false when it cannot be made. */
static inline bool root_make(const char *name)
{
    snprintf(root, sizeof root, "/tmp/autoscale-%s.XXXXXX", name);
    if (!mkdtemp(root) || chmod(root, 0711) != 0)
        return false;
    snprintf(secret_file, sizeof secret_file, "%s/secret", root);
    snprintf(wrong_file, sizeof wrong_file, "%s/wrong", root);
    write_file(secret_file, SECRET "\n", 0600);
    write_file(wrong_file, WRONG "\n", 0600);
    return true;
}

static inline void root_remove(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/rm", "rm", "-rf", "--", root, (char *)NULL);
        _exit(127);
    }
    if (pid > 0)
        waitpid(pid, NULL, 0);
}

/* Makes a directory for a server, owned by its user when we are root. */
static inline void place_make(const char *path, const char *user)
{
    const struct passwd *pw = getpwnam(user);
    assert_int_equal(mkdir(path, 0700), 0);
    if (geteuid() == 0 && pw)
        assert_int_equal(chown(path, pw->pw_uid, pw->pw_gid), 0);
}

/* As `user` when we are root and there is one; it dies with us. Its output goes to `log`. */
static inline pid_t start_command(const char *user, const char *log, const char *const argv[])
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    int in = open("/dev/null", O_RDONLY), out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        _exit(126);
    const struct passwd *pw = user ? getpwnam(user) : NULL;
    if (geteuid() == 0 && pw && (setgid(pw->pw_gid) != 0 || setuid(pw->pw_uid) != 0))
        _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* after setuid, which clears it */
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

static inline void stop_process(pid_t *pid, int sig)
{
    if (*pid <= 0)
        return;
    kill(*pid, sig);
    kill(*pid, SIGCONT);
    waitpid(*pid, NULL, 0);
    *pid = 0;
}

/* Calls `ready` every 20 ms until it is true. */
static inline bool wait_until(bool (*ready)(void *), void *arg)
{
    as_time end = as_clock_monotonic() + PATIENCE * AS_SECOND;
    do {
        if (ready(arg))
            return true;
        usleep(20000);
    } while (as_clock_monotonic() < end);
    return false;
}

/* --- a peer that is no server ----------------------------------------------------------------- */

/* Sends `first`, then one byte of `drip` every 50 ms for ever, to whoever connects. */
static inline pid_t start_dripper(int *port, const char *first, char drip)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;
    int s = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(s >= 0);
    assert_int_equal(bind(s, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(s, 8), 0);
    assert_int_equal(getsockname(s, (struct sockaddr *)&at, &len), 0);
    *port = ntohs(at.sin_port);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0) {
        close(s);
        return pid;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        int c = accept(s, NULL, NULL);
        if (write(c, first, strlen(first)) >= 0)
            while (write(c, &drip, 1) == 1)
                usleep(50000);
        close(c);
    }
}

/* --- the source under test -------------------------------------------------------------------- */

struct probe {
    const struct as_source_driver *driver;
    struct as_settings *settings;
    void *self;
    struct as_samples samples;
    struct as_error err;
    as_time took;
};

static inline const char *first_endpoint(const struct as_source_driver *d, const struct as_settings *s)
{
    return d->endpoints ? as_settings_item(s, d->endpoints, 0) : "";
}

static inline void probe_open(struct probe *p, const struct as_source_driver *d, const char *text)
{
    memset(p, 0, sizeof *p);
    p->driver = d;
    if (as_settings_parse(d->options, text, &p->settings, &p->err) != AS_OK)
        fail_msg("settings: %s", p->err.msg);
    p->self = calloc(1, d->state_size);
    assert_non_null(p->self);
    if (d->own)
        d->own(p->self, "test");
    if (d->open(p->self, p->settings, first_endpoint(d, p->settings), &p->err) != AS_OK)
        fail_msg("open: %s", p->err.msg);
}

static inline int probe_poll_within(struct probe *p, as_time span)
{
    as_samples_fini(&p->samples);
    memset(&p->err, 0, sizeof p->err);
    as_time began = as_clock_monotonic();
    int rc = p->driver->poll(p->self, began + span, &p->samples, &p->err);
    p->took = as_clock_monotonic() - began;
    if (rc != AS_OK) {
        assert_int_equal(p->err.rc, rc);
        assert_int_equal(p->samples.count, 0);
    }
    assert_null(strstr(p->err.msg, SECRET));
    assert_null(strstr(p->err.msg, WRONG));
    return rc;
}

static inline int probe_poll(struct probe *p)
{
    return probe_poll_within(p, TIMEOUT);
}

static inline void probe_ok(struct probe *p)
{
    if (probe_poll(p) != AS_OK)
        fail_msg("poll: %s", p->err.msg);
}

static inline void probe_close(struct probe *p)
{
    p->driver->close(p->self);
    free(p->self);
    as_samples_fini(&p->samples);
    as_settings_free(p->settings);
}

static inline double value(const struct probe *p, const char *series) /* NAN: missing */
{
    for (size_t i = 0; i < p->samples.count; i++)
        if (strcmp(p->samples.items[i].series, series) == 0)
            return p->samples.items[i].value;
    return NAN;
}

static inline double value_of(const struct probe *p, const char *object, const char *series) /* NAN: missing */
{
    for (size_t i = 0; i < p->samples.count; i++)
        if (strcmp(p->samples.items[i].object, object) == 0 && strcmp(p->samples.items[i].series, series) == 0)
            return p->samples.items[i].value;
    return NAN;
}

static inline void assert_value(const struct probe *p, const char *series, double want)
{
    double got = value(p, series);
    if (isnan(want) ? !isnan(got) : !(fabs(got - want) < 1e-9))
        fail_msg("%s is %g, not %g", series, got, want);
}

static inline void assert_text(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("no '%s' in '%s'", part, text);
}

struct expected {
    struct probe *p;
    const char *series;
    double low, high;
};

static inline bool has_value(void *arg)
{
    struct expected *e = arg;
    double v = probe_poll(e->p) == AS_OK ? value(e->p, e->series) : NAN;
    return v >= e->low - 1e-9 && v <= e->high + 1e-9;
}

/* Polls until the series is in the range. */
static inline void wait_range(struct probe *p, const char *series, double low, double high)
{
    if (!wait_until(has_value, &(struct expected){ p, series, low, high }))
        fail_msg("%s is %g, not in %g..%g; %s", series, value(p, series), low, high, p->err.msg);
}

static inline void wait_value(struct probe *p, const char *series, double want)
{
    wait_range(p, series, want, want);
}

static inline void assert_open_refuses(const struct as_source_driver *d, const char *text, const char *want)
{
    struct as_settings *s = NULL;
    struct as_error err = { 0 };
    void *self = calloc(1, d->state_size);
    assert_non_null(self);
    if (as_settings_parse(d->options, text, &s, &err) != AS_OK)
        fail_msg("settings: %s", err.msg);
    if (d->own)
        d->own(self, "test");
    assert_int_equal(d->open(self, s, first_endpoint(d, s), &err), AS_EINVAL);
    assert_text(err.msg, want);
    assert_null(strstr(err.msg, SECRET));
    d->close(self);
    free(self);
    as_settings_free(s);
}

#endif
