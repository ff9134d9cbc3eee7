/* Lanes: blocking driver calls on worker threads. A lane belongs to one endpoint in one role ("docker
 * unix:///run/docker.sock act"); it has a queue, first in first out, and up to `width` threads, started
 * when there is work and ended after a minute without. Values go in, values come out; nothing else is
 * shared. Threads run with all signals blocked and a small stack (256 KiB).
 *
 * Every job has a deadline on as_clock_monotonic. Once per turn the loop thread calls lanes_expire, then
 * lanes_reap to get finished jobs:
 *   - a job that was never started by its deadline comes back LANE_EXPIRED: it did not happen;
 *   - a job still running LANE_GRACE after its deadline is abandoned: its `abandoned` callback is called
 *     (on the loop thread) so that the core can count the outcome as unknown; the job stays with its
 *     thread and is freed by `release` when the call ever returns; its late result is dropped. The lane
 *     goes on with a fresh thread as long as fewer than LANE_LOST_MAX are lost; then no thread is started
 *     any more until a lost one returns: with none left alive, jobs just wait and expire. */
#ifndef RUNTIME_LANE_H
#define RUNTIME_LANE_H

#include <stdbool.h>
#include <stddef.h>

#include "autoscale/time.h"

#define LANE_GRACE (1 * AS_SECOND)
#define LANE_LOST_MAX 4
#define LANE_IDLE AS_MINUTE

enum lane_state { LANE_QUEUED, LANE_RUNNING, LANE_DONE, LANE_EXPIRED };

struct lane_job { /* embedded in the caller's job; all three callbacks are required */
    void (*run)(struct lane_job *job);       /* worker thread; blocking */
    void (*abandoned)(struct lane_job *job); /* loop thread, while `run` still runs: must copy what it needs,
                                              * not free; may submit other jobs */
    void (*release)(struct lane_job *job);   /* any thread: frees an abandoned job, or one left at lanes_free */
    as_time deadline;
    enum lane_state state;                   /* of a job the loop holds: LANE_DONE or LANE_EXPIRED */
    struct lane_job *next;                   /* the lane's; links what lanes_reap returns */
};

struct lanes;
struct lane;

/* All functions here are for the loop thread. notify is called on a worker thread whenever finished jobs wait
 * to be reaped (uv_async_send); it must not call back into the lanes. NULL: out of memory. */
struct lanes *lanes_new(void (*notify)(void *arg), void *arg);
/* Waits for running jobs at most until `deadline`, hands all jobs not reaped to their `release`, leaves
 * stuck threads behind (they release their job and the lanes' memory when they return). notify is not
 * called any more after this returns. NULL is legal. */
void lanes_free(struct lanes *ls, as_time deadline);
/* Threads end after this long without work: LANE_IDLE unless set, for threads going idle from now on. */
void lanes_set_idle(struct lanes *ls, as_time idle);

/* Finds or makes the lane of this key (copied); lanes live as long as `lanes`. A lane found takes the new
 * width. NULL: out of memory. */
struct lane *lanes_get(struct lanes *ls, const char *key, int width);
/* The lane owns the job until it comes back through lanes_reap (or release). Never blocks. */
void lane_submit(struct lane *l, struct lane_job *job);
/* Jobs in the queue or running; abandoned ones do not count. */
int lane_load(const struct lane *l);

/* A list of finished and expired jobs, linked by `next`, oldest first; NULL when none. */
struct lane_job *lanes_reap(struct lanes *ls);
void lanes_expire(struct lanes *ls, as_time now);

#endif
