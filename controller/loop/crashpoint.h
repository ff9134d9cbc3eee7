/* Crash points: where the tests kill the daemon. Nothing in an ordinary build; a build with
 * AUTOSCALE_TEST_HOOKS dies by SIGKILL at the first point that matches AUTOSCALE_CRASH ("before:CREATING"). */
#ifndef LOOP_CRASHPOINT_H
#define LOOP_CRASHPOINT_H

#ifdef AUTOSCALE_TEST_HOOKS
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline void crashpoint(const char *when, const char *what)
{
    const char *at = getenv("AUTOSCALE_CRASH");
    size_t n = strlen(when);
    if (at && strncmp(at, when, n) == 0 && at[n] == ':' && strcmp(at + n + 1, what) == 0)
        kill(getpid(), SIGKILL);
}
#else
#define crashpoint(when, what) ((void)0)
#endif

#endif
