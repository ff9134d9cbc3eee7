/* What every test with servers of its own needs: ports for them, and what they said before they did not answer. */
#ifndef E2E_SERVER_KIT_H
#define E2E_SERVER_KIT_H

#include <arpa/inet.h>
#include <dirent.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

/* One of the loopback that is free now, below those that the kernel hands out by itself: nobody's outgoing connection
 * takes it before its server listens. None is given twice. */
static inline uint16_t free_port(void)
{
    static unsigned seed;
    static bool given[20000];
    if (seed == 0)
        seed = (unsigned)getpid() * 2654435761u + 1;
    for (int tries = 0; tries < 1000; tries++) {
        uint16_t port = (uint16_t)(10000 + rand_r(&seed) % 10000);
        struct sockaddr_in at = { .sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons(port) };
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool is_free = bind(fd, (struct sockaddr *)&at, sizeof at) == 0;
        close(fd);
        if (is_free && !given[port]) {
            given[port] = true;
            return port;
        }
    }
    fail_msg("no free port");
    return 0;
}

/* What a file names, 0 when it names nobody. */
static inline pid_t pid_in(const char *path)
{
    int pid = 0;
    FILE *f = fopen(path, "re");
    if (f && fscanf(f, "%d", &pid) != 1)
        pid = 0;
    if (f)
        fclose(f);
    return pid;
}

/* Does each thread of this process stand still, or has ended? */
static inline bool stands_still(pid_t pid)
{
    char path[300], text[512];
    bool still = true;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *d = opendir(path);
    for (struct dirent *e; d && still && (e = readdir(d));) {
        snprintf(path, sizeof path, "/proc/%d/task/%s/stat", (int)pid, e->d_name);
        FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "re");
        if (!f)
            continue;
        const char *name = fgets(text, sizeof text, f) ? strrchr(text, ')') : NULL;
        still = !name || name[2] == 'T' || name[2] == 'Z';
        fclose(f);
    }
    if (d)
        closedir(d);
    return still;
}

/* SIGSTOP or SIGKILL, until each of its threads has heard it: on a busy machine one of them may go on answering. */
static inline void still_process(pid_t pid, int number)
{
    assert_true(pid > 1);
    assert_int_equal(kill(pid, number), 0);
    for (int ms = 0; !stands_still(pid); ms += 5) {
        if (ms > 60000)
            fail_msg("process %d does not stop", (int)pid);
        usleep(5000);
    }
}

static inline void hang_process(pid_t pid)
{
    still_process(pid, SIGSTOP);
}

/* The end of a log, for the text of a failure: the log goes with the test's directory. */
static inline const char *end_of(const char *path)
{
    static char text[1001];
    FILE *f = fopen(path, "re");
    if (f && fseek(f, -1000, SEEK_END) != 0)
        rewind(f);
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = '\0';
    if (f)
        fclose(f);
    return text;
}

#endif
