/* What the tests of the libvirt drivers share: namespaces of their own, a directory for a private libvirtd, and an end in
 * which everything in them ends too, whatever happened. Only for tests/e2e; include it after cmocka.h. */
#ifndef LIBVIRT_KIT_H
#define LIBVIRT_KIT_H

#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIB "bash tests/e2e/lib/libvirtd.sh "

static char dir[] = "/tmp/as-libvirt-XXXXXX";
static char uri[128];
static bool usable; /* false: every test is skipped */

__attribute__((format(printf, 1, 2))) static int shell(const char *fmt, ...)
{
    char command[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(command, sizeof command, fmt, ap);
    va_end(ap);
    return system(command);
}

static void need_libvirt(void)
{
    if (!usable)
        skip();
}

/* The exit status of this child; whatever else ends meanwhile is buried, or libvirt would wait for it. */
static int wait_for_child(pid_t child)
{
    int status = 0;
    pid_t pid = 0;
    while (pid != child && child > 0)
        if ((pid = wait(&status)) < 0)
            return 1;
    return child > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* The first process of the namespaces: with it everything in them ends. */
static int run_first(int (*tests)(void))
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("proc", "/proc", "proc", 0, NULL) != 0)
        return 1;
    pid_t pid = fork();
    return pid == 0 ? tests() : wait_for_child(pid);
}

static int run_inside(int (*tests)(void))
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID) != 0)
        return 1;
    pid_t pid = fork();
    return pid == 0 ? run_first(tests) : wait_for_child(pid);
}

static int libvirt_kit_main(int (*tests)(void))
{
    usable = geteuid() == 0 && system("test -z \"$(" LIB "missing)\"") == 0;
    if (!usable) {
        shell("echo \"libvirt is not tested: $([ $(id -u) = 0 ] && " LIB
              "missing | tr '\\n' ';' || echo needs root)\"");
        return tests();
    }
    signal(SIGPIPE, SIG_IGN); /* as autoscale does: libvirt's client writes to a daemon that was killed a moment before */
    if (!mkdtemp(dir))
        return 1;
    pid_t pid = fork();
    if (pid == 0)
        return run_inside(tests);
    int status = wait_for_child(pid);
    shell("rm -rf %s", dir);
    return status;
}

#endif
