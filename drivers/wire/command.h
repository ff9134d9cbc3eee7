/* Runs one command without a shell and waits for it: output captured up to a cap, everything it started in its
 * process group ended by the deadline. Any number of threads may run commands at the same time. */
#ifndef WIRE_COMMAND_H
#define WIRE_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "autoscale/error.h"
#include "autoscale/time.h"

#define COMMAND_STDERR_MAX 1024

struct command {            /* zeroed by the caller; strings are borrowed                            */
    const char *const *argv;  /* argv[0] is an absolute path; ends with NULL                         */
    const char *const *envp;  /* the whole environment, ends with NULL                               */
    const char *directory;    /* absolute                                                            */
    size_t cap;               /* most bytes of standard output; more is AS_EPROTO                    */
    pid_t left;               /* a killed child that had not gone by the deadline, 0: none           */
};

struct command_answer {     /* freed with command_answer_fini                                        */
    char *text;             /* standard output, NUL-terminated, never NULL after AS_OK               */
    size_t size;
};

/* AS_OK when it ended with status 0. AS_EIO: it cannot be started, or ended otherwise (the text has the first line of
 * its standard error). AS_EAGAIN: it did not end in time and was ended: SIGTERM first, SIGKILL before the
 * deadline; or the one of an earlier call is still there. */
int command_run(struct command *c, as_time deadline, struct command_answer *out, struct as_error *err);
void command_answer_fini(struct command_answer *a);
/* Takes leave of a child that an earlier call could not wait for. */
void command_fini(struct command *c);

#endif
