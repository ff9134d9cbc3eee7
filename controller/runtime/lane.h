/* Lanes: blocking driver calls on worker threads. A lane belongs to one endpoint in one role ("docker
 * unix:///run/docker.sock act"); it has a queue and up to `width` threads, started when there is work
 * and ended after a minute without. Values go in, values come out; nothing else is shared.
 *
 * Every job has a deadline. The loop thread calls lanes_reap to get finished jobs and lanes_expire
 * once per turn:
 *   - a job that was never started by its deadline comes back LANE_EXPIRED: it did not happen;
 *   - a job still running LANE_GRACE after its deadline is abandoned: its `abandoned` callback is called
 *     (on the loop thread) so that the core can count the outcome as unknown; the job stays with its
 *     thread and is freed by `release` when the call ever returns; its late result is dropped. The lane
 *     goes on with a fresh thread as long as fewer than LANE_LOST_MAX are lost; then jobs
 *     just wait and expire. */
#ifndef RUNTIME_LANE_H
#define RUNTIME_LANE_H

#include <stdbool.h>
#include <stddef.h>

#include "autoscale/time.h"

#define LANE_GRACE (1 * AS_SECOND)
#define LANE_LOST_MAX 4

enum lane_state { LANE_QUEUED, LANE_RUNNING, LANE_DONE, LANE_EXPIRED };

struct lane_job { /* embedded in the caller's job */
    void (*run)(struct lane_job *job);       /* worker thread; blocking */
    void (*abandoned)(struct lane_job *job); /* loop thread; must copy what it needs, not free */
    void (*release)(struct lane_job *job);   /* any thread: frees an abandoned job */
    as_time deadline;
    enum lane_state state;                   /* of a job the loop holds: LANE_DONE or LANE_EXPIRED */
    struct lane_job *next;                   /* the lane's */
    void *lane;                              /* the lane's */
};

struct lanes;
struct lane;

/* notify is called on a worker thread whenever finished jobs wait to be reaped (uv_async_send). */
struct lanes *lanes_new(void (*notify)(void *arg), void *arg);
/* Waits for running jobs at most until `deadline`, hands queued ones to their `release`, leaves
 * stuck threads behind. */
void lanes_free(struct lanes *ls, as_time deadline);

/* Finds or makes the lane of this key; lanes live as long as `lanes`. NULL: out of memory. */
struct lane *lanes_get(struct lanes *ls, const char *key, int width);
/* The lane owns the job until it comes back through lanes_reap (or release). Never blocks. */
void lane_submit(struct lane *l, struct lane_job *job);
/* Jobs in the queue or running. */
int lane_load(const struct lane *l);

/* A list of finished and expired jobs, linked by `next`, oldest first; NULL when none. */
struct lane_job *lanes_reap(struct lanes *ls);
void lanes_expire(struct lanes *ls, as_time now);

#endif
