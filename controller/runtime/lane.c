/* Lanes: queues of blocking jobs with worker threads that come and go. One mutex guards all lanes: jobs
 * take milliseconds to seconds, the lock nanoseconds. No callback of a job runs under it. A lane never
 * frees a job that the loop holds, never blocks the loop thread, and never touches a job's result. */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lane.h"
#include "log.h"

/* libcurl, libpq and getaddrinfo fit well into this; sanitizers blow frames up. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(SANITIZED) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_BYTES ((size_t)2048 * 1024)
#else
#define STACK_BYTES ((size_t)256 * 1024)
#endif

struct queue {
    struct lane_job *head, *tail;
};

struct worker {
    struct lane *lane;
    struct lane_job *job; /* while it runs one */
    bool lost;            /* its job was abandoned and has not returned */
    struct worker *next;
};

struct lane {
    struct lanes *owner;
    struct lane *next;
    struct worker *workers;
    struct queue queue;
    pthread_cond_t work;
    int width;
    int queued, running; /* jobs */
    int threads;         /* not lost ones */
    int lost;
    bool starved; /* the last thread could not be started; said once */
    char key[];
};

struct lanes {
    pthread_mutex_t mutex;
    pthread_cond_t quiet; /* a worker ended */
    struct lane *lanes;
    struct queue done;
    void (*notify)(void *arg);
    void *arg;
    as_time idle;
    int threads, lost;        /* threads: lost ones too */
    struct lane_job *telling; /* its `abandoned` runs right now on the loop thread */
    bool told_returned;       /* and its `run` returned meanwhile */
    bool closing, orphaned;   /* orphaned: the last worker frees */
};

static void push(struct queue *q, struct lane_job *job)
{
    job->next = NULL;
    if (q->tail)
        q->tail->next = job;
    else
        q->head = job;
    q->tail = job;
}

static struct lane_job *pop(struct queue *q)
{
    struct lane_job *job = q->head;
    if (!job)
        return NULL;
    q->head = job->next;
    if (!q->head)
        q->tail = NULL;
    job->next = NULL;
    return job;
}

static int cond_init_monotonic(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);
    if (rc)
        return rc;
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    rc = pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
    return rc;
}

static struct timespec at(as_time t)
{
    return (struct timespec){ .tv_sec = (time_t)(t / 1000), .tv_nsec = (long)(t % 1000) * 1000000 };
}

static void destroy(struct lanes *ls)
{
    while (ls->lanes) {
        struct lane *l = ls->lanes;
        ls->lanes = l->next;
        pthread_cond_destroy(&l->work);
        free(l);
    }
    pthread_cond_destroy(&ls->quiet);
    pthread_mutex_destroy(&ls->mutex);
    free(ls);
}

/* --- worker threads ------------------------------------------------------------------------------ */

/* Under the lock, so that no notification is under way when lanes_free returns. */
static void finish(struct lanes *ls, struct lane_job *job, enum lane_state state)
{
    job->state = state;
    push(&ls->done, job);
    ls->notify(ls->arg);
}

/* Waits for a job that may still start; NULL: the worker should end. */
static struct lane_job *take_job(struct lane *l)
{
    struct lanes *ls = l->owner;
    as_time until = as_clock_monotonic() + ls->idle;
    while (!ls->closing && l->threads <= l->width) {
        struct lane_job *job = pop(&l->queue);
        if (job) {
            l->queued--;
            if (as_clock_monotonic() < job->deadline)
                return job;
            finish(ls, job, LANE_EXPIRED);
            continue;
        }
        struct timespec ts = at(until);
        int rc = pthread_cond_timedwait(&l->work, &ls->mutex, &ts);
        if (rc == ETIMEDOUT && !l->queue.head)
            return NULL;
    }
    return NULL;
}

static void return_job(struct worker *w, struct lane_job *job)
{
    struct lane *l = w->lane;
    struct lanes *ls = l->owner;
    bool release = ls->closing;
    w->job = NULL;
    if (w->lost) { /* back from the lost: this thread serves the lane again if there is room for it */
        w->lost = false;
        l->lost--;
        ls->lost--;
        l->threads++;
        release = ls->telling != job;
        if (!release)
            ls->told_returned = true;
    } else {
        l->running--;
        if (!release)
            finish(ls, job, LANE_DONE);
    }
    if (release) {
        pthread_mutex_unlock(&ls->mutex);
        job->release(job);
        pthread_mutex_lock(&ls->mutex);
    }
}

/* Called with the lock held, returns without it. */
static void end_worker(struct worker *w)
{
    struct lane *l = w->lane;
    struct lanes *ls = l->owner;
    struct worker **at_w = &l->workers;
    while (*at_w != w)
        at_w = &(*at_w)->next;
    *at_w = w->next;
    free(w);
    l->threads--;
    ls->threads--;
    bool last = ls->orphaned && ls->threads == 0;
    pthread_cond_signal(&ls->quiet);
    pthread_mutex_unlock(&ls->mutex);
    if (last)
        destroy(ls);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct lanes *ls = w->lane->owner;
    pthread_mutex_lock(&ls->mutex);
    struct lane_job *job;
    while ((job = take_job(w->lane))) {
        job->state = LANE_RUNNING;
        w->job = job;
        w->lane->running++;
        pthread_mutex_unlock(&ls->mutex);
        job->run(job);
        pthread_mutex_lock(&ls->mutex);
        return_job(w, job);
    }
    end_worker(w);
    return NULL;
}

static int start_thread(struct worker *w)
{
    pthread_attr_t attr;
    pthread_t id;
    sigset_t all, before;
    int rc = pthread_attr_init(&attr);
    if (rc)
        return rc;
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all); /* inherited by the thread: signals are the loop's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&id, &attr, work, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return rc;
}

static int hire(struct lane *l)
{
    struct worker *w = calloc(1, sizeof *w);
    if (!w)
        return ENOMEM;
    w->lane = l;
    int rc = start_thread(w);
    if (rc) {
        free(w);
        return rc;
    }
    w->next = l->workers; /* the new thread waits for the lock we hold */
    l->workers = w;
    l->threads++;
    l->owner->threads++;
    return 0;
}

/* Starts threads while more jobs wait than free threads will take. A failure is not final: the jobs stay
 * queued, and the next submit or turn tries again. */
static void staff(struct lane *l)
{
    while (l->queued > l->threads - l->running && l->threads < l->width && l->lost < LANE_LOST_MAX) {
        int rc = hire(l);
        if (rc && !l->starved)
            log_warning("lane", "cannot start a thread for '%s': %s; its jobs wait", l->key, strerror(rc));
        l->starved = rc != 0;
        if (rc)
            return;
    }
}

/* --- the loop thread ----------------------------------------------------------------------------- */

struct lanes *lanes_new(void (*notify)(void *arg), void *arg)
{
    struct lanes *ls = calloc(1, sizeof *ls);
    if (!ls)
        return NULL;
    if (pthread_mutex_init(&ls->mutex, NULL)) {
        free(ls);
        return NULL;
    }
    if (cond_init_monotonic(&ls->quiet)) {
        pthread_mutex_destroy(&ls->mutex);
        free(ls);
        return NULL;
    }
    ls->notify = notify;
    ls->arg = arg;
    ls->idle = LANE_IDLE;
    return ls;
}

void lanes_set_idle(struct lanes *ls, as_time idle)
{
    pthread_mutex_lock(&ls->mutex);
    ls->idle = idle;
    pthread_mutex_unlock(&ls->mutex);
}

static void release_all(struct lane_job *job)
{
    while (job) {
        struct lane_job *next = job->next;
        job->release(job);
        job = next;
    }
}

void lanes_free(struct lanes *ls, as_time deadline)
{
    if (!ls)
        return;
    pthread_mutex_lock(&ls->mutex);
    ls->closing = true;
    struct queue left = ls->done;
    ls->done = (struct queue){ 0 };
    for (struct lane *l = ls->lanes; l; l = l->next) {
        for (struct lane_job *job; (job = pop(&l->queue));)
            push(&left, job);
        l->queued = 0;
        pthread_cond_broadcast(&l->work);
    }
    struct timespec until = at(deadline);
    int rc = 0;
    while (ls->threads > ls->lost && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&ls->quiet, &ls->mutex, &until);
    ls->orphaned = ls->threads > 0;
    bool last = !ls->orphaned;
    pthread_mutex_unlock(&ls->mutex);
    release_all(left.head);
    if (last)
        destroy(ls);
}

static struct lane *lane_new(struct lanes *ls, const char *key)
{
    size_t size = strlen(key) + 1;
    struct lane *l = calloc(1, sizeof *l + size);
    if (!l)
        return NULL;
    if (cond_init_monotonic(&l->work)) {
        free(l);
        return NULL;
    }
    memcpy(l->key, key, size);
    l->owner = ls;
    return l;
}

struct lane *lanes_get(struct lanes *ls, const char *key, int width)
{
    pthread_mutex_lock(&ls->mutex);
    struct lane *l = ls->lanes;
    while (l && strcmp(l->key, key) != 0)
        l = l->next;
    if (!l && (l = lane_new(ls, key))) {
        l->next = ls->lanes;
        ls->lanes = l;
    }
    if (l)
        l->width = width < 1 ? 1 : width;
    pthread_mutex_unlock(&ls->mutex);
    return l;
}

void lane_submit(struct lane *l, struct lane_job *job)
{
    assert(job->run && job->abandoned && job->release);
    pthread_mutex_lock(&l->owner->mutex);
    job->state = LANE_QUEUED;
    push(&l->queue, job);
    l->queued++;
    staff(l);
    pthread_cond_signal(&l->work);
    pthread_mutex_unlock(&l->owner->mutex);
}

int lane_load(const struct lane *l)
{
    pthread_mutex_lock(&l->owner->mutex);
    int load = l->queued + l->running;
    pthread_mutex_unlock(&l->owner->mutex);
    return load;
}

struct lane_job *lanes_reap(struct lanes *ls)
{
    pthread_mutex_lock(&ls->mutex);
    struct lane_job *head = ls->done.head;
    ls->done = (struct queue){ 0 };
    pthread_mutex_unlock(&ls->mutex);
    return head;
}

static void expire_queued(struct lane *l, as_time now)
{
    struct queue kept = { 0 };
    for (struct lane_job *job; (job = pop(&l->queue));) {
        if (job->deadline > now) {
            push(&kept, job);
            continue;
        }
        l->queued--;
        job->state = LANE_EXPIRED;
        push(&l->owner->done, job);
    }
    l->queue = kept;
}

static struct worker *find_overdue(struct lane *l, as_time now)
{
    for (struct worker *w = l->workers; w; w = w->next) {
        if (w->job && !w->lost && w->job->deadline + LANE_GRACE <= now)
            return w;
    }
    return NULL;
}

/* The callback runs without the lock; a `run` that returns meanwhile leaves the job to us. */
static void abandon(struct lanes *ls, struct worker *w)
{
    struct lane_job *job = w->job;
    w->lost = true;
    w->lane->running--;
    w->lane->threads--;
    w->lane->lost++;
    ls->lost++;
    ls->telling = job;
    ls->told_returned = false;
    pthread_mutex_unlock(&ls->mutex);
    job->abandoned(job);
    pthread_mutex_lock(&ls->mutex);
    ls->telling = NULL;
    if (ls->told_returned) {
        pthread_mutex_unlock(&ls->mutex);
        job->release(job);
        pthread_mutex_lock(&ls->mutex);
    }
}

void lanes_expire(struct lanes *ls, as_time now)
{
    pthread_mutex_lock(&ls->mutex);
    /* Lanes are only ever added, by this thread, at the head: the walk survives the callbacks. */
    for (struct lane *l = ls->lanes; l; l = l->next) {
        expire_queued(l, now);
        for (struct worker *w; (w = find_overdue(l, now));)
            abandon(ls, w);
        staff(l);
    }
    pthread_mutex_unlock(&ls->mutex);
}
