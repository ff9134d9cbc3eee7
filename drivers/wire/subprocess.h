/* Runs one command without a shell and waits for it: output captured up to a cap, everything it started in its
 * process group ended by the deadline. Any number of threads may run commands at the same time. */
#ifndef WIRE_SUBPROCESS_H
#define WIRE_SUBPROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "autoscale/error.h"
#include "autoscale/time.h"

#define SUBPROCESS_STDERR_MAX 4096

struct subprocess {            /* zeroed by the caller; strings are borrowed                            */
    const char *const *argv;  /* argv[0] is an absolute path; ends with NULL                         */
    const char *const *envp;  /* the whole environment, ends with NULL                               */
    const char *directory;    /* absolute                                                            */
    size_t cap;               /* most bytes of standard output; more is AS_EPROTO                    */
    pid_t left;               /* a killed child that had not gone by the deadline, 0: none           */
    char said[SUBPROCESS_STDERR_MAX]; /* how its standard error began in the last run                 */
};

struct subprocess_answer {  /* freed with subprocess_answer_fini                                     */
    char *text;             /* standard output, NUL-terminated, never NULL after AS_OK               */
    size_t size;
};

/* AS_OK when it ended with status 0. AS_EIO: it cannot be started, or ended otherwise (the text has the first
 * line of its standard error). AS_EAGAIN: it did not end in time and was ended: SIGTERM first, SIGKILL
 * before the deadline; or the one of an earlier call is still there. */
int subprocess_run(struct subprocess *c, as_time deadline, struct subprocess_answer *out, struct as_error *err);
void subprocess_answer_fini(struct subprocess_answer *a);
/* Takes leave of a child that an earlier call could not wait for. */
void subprocess_fini(struct subprocess *c);

#endif
