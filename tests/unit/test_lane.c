/* Lanes: jobs run in order on threads that come and go; deadlines, abandoned jobs, shutdown. */
#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../controller/runtime/lane.h"
#include "../../controller/runtime/log.h"

#define PATIENCE (60 * AS_SECOND)
#define FAR      (AS_HOUR)

/* A gate holds jobs inside `run` until it is opened. */
struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    int open, entered;
};

#define GATE                                                                                                 \
    {                                                                                                        \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0                                            \
    }

struct job {
    struct lane_job base;
    int number;
    struct gate *gate;
    struct gate *open_in_abandoned; /* lets `run` return while `abandoned` runs */
    struct lane *resubmit;
    bool blocked_signals;
};

static atomic_int released, ran, notified;
static int abandoned;
static struct lanes *lanes;

static void gate_open(struct gate *g)
{
    pthread_mutex_lock(&g->mutex);
    g->open = 1;
    pthread_cond_broadcast(&g->cond);
    pthread_mutex_unlock(&g->mutex);
}

static void gate_pass(struct gate *g)
{
    pthread_mutex_lock(&g->mutex);
    g->entered++;
    pthread_cond_broadcast(&g->cond);
    while (!g->open)
        pthread_cond_wait(&g->cond, &g->mutex);
    pthread_mutex_unlock(&g->mutex);
}

static void gate_await(struct gate *g, int entered)
{
    pthread_mutex_lock(&g->mutex);
    while (g->entered < entered)
        pthread_cond_wait(&g->cond, &g->mutex);
    pthread_mutex_unlock(&g->mutex);
}

static void run(struct lane_job *base)
{
    struct job *j = (struct job *)base;
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    j->blocked_signals =
        sigismember(&mask, SIGTERM) && sigismember(&mask, SIGHUP) && sigismember(&mask, SIGCHLD);
    if (j->gate)
        gate_pass(j->gate);
    atomic_fetch_add(&ran, 1);
}

static void release(struct lane_job *base)
{
    free(base);
    atomic_fetch_add(&released, 1);
}

static void wait_for(atomic_int *value, int least)
{
    as_time end = as_clock_monotonic() + PATIENCE;
    while (atomic_load(value) < least && as_clock_monotonic() < end)
        usleep(500);
    assert_true(atomic_load(value) >= least);
}

static struct job *new_job(int number, as_time deadline, struct gate *gate);

static void on_abandoned(struct lane_job *base)
{
    struct job *j = (struct job *)base;
    abandoned++;
    if (j->resubmit)
        lane_submit(j->resubmit, &new_job(99, as_clock_monotonic() + FAR, NULL)->base);
    if (j->open_in_abandoned) {
        int before = atomic_load(&ran);
        gate_open(j->open_in_abandoned);
        wait_for(&ran, before + 1); /* `run` is over or about to be; the job must still be ours */
        assert_int_equal(j->number, 7);
    }
}

static struct job *new_job(int number, as_time deadline, struct gate *gate)
{
    struct job *j = calloc(1, sizeof *j);
    assert_non_null(j);
    j->base.run = run;
    j->base.abandoned = on_abandoned;
    j->base.release = release;
    j->base.deadline = deadline;
    j->number = number;
    j->gate = gate;
    return j;
}

static struct job *submit(struct lane *l, int number, struct gate *gate)
{
    struct job *j = new_job(number, as_clock_monotonic() + FAR, gate);
    lane_submit(l, &j->base);
    return j;
}

static void notify(void *arg)
{
    (void)arg;
    atomic_fetch_add(&notified, 1);
}

/* Reaps until `count` jobs came; stores their numbers (negative: expired) and frees them. */
static void reap(int count, int *numbers)
{
    as_time end = as_clock_monotonic() + PATIENCE;
    int n = 0;
    while (n < count && as_clock_monotonic() < end) {
        struct lane_job *job = lanes_reap(lanes);
        if (!job)
            usleep(500);
        while (job) {
            struct lane_job *next = job->next;
            struct job *j = (struct job *)job;
            assert_true(n < count);
            numbers[n++] = job->state == LANE_EXPIRED ? -j->number : j->number;
            free(j);
            job = next;
        }
    }
    assert_int_equal(n, count);
}

static int count_threads(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/task");
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void await_threads(int wanted)
{
    as_time end = as_clock_monotonic() + PATIENCE;
    while (count_threads() != wanted && as_clock_monotonic() < end)
        usleep(500);
    assert_int_equal(count_threads(), wanted);
}

static int base_threads;

static int setup(void **state)
{
    (void)state;
    released = ran = notified = 0;
    abandoned = 0;
    base_threads = count_threads();
    lanes = lanes_new(notify, NULL);
    return lanes ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    lanes_free(lanes, as_clock_monotonic() + PATIENCE);
    lanes = NULL;
    await_threads(base_threads);
    return 0;
}

static void jobs_of_a_lane_run_in_order_and_come_back_in_order(void **state)
{
    (void)state;
    struct lane *l = lanes_get(lanes, "a", 1);
    for (int i = 1; i <= 50; i++)
        submit(l, i, NULL);
    int got[50];
    reap(50, got);
    for (int i = 0; i < 50; i++)
        assert_int_equal(got[i], i + 1);
    assert_int_equal(lane_load(l), 0);
    assert_true(notified > 0);
}

static void a_key_names_one_lane(void **state)
{
    (void)state;
    struct lane *a = lanes_get(lanes, "a", 1);
    assert_ptr_equal(lanes_get(lanes, "a", 2), a);
    assert_ptr_not_equal(lanes_get(lanes, "b", 1), a);
}

static void a_hung_lane_does_not_delay_another(void **state)
{
    (void)state;
    struct gate g = GATE;
    struct lane *hung = lanes_get(lanes, "hung", 1), *other = lanes_get(lanes, "other", 1);
    submit(hung, 1, &g);
    gate_await(&g, 1);
    submit(hung, 2, NULL);
    submit(other, 3, NULL);
    int got[3];
    reap(1, got);
    assert_int_equal(got[0], 3);
    assert_int_equal(lane_load(hung), 2);
    gate_open(&g);
    reap(2, got);
    assert_int_equal(got[0], 1);
    assert_int_equal(got[1], 2);
}

static void width_bounds_how_many_run_at_once(void **state)
{
    (void)state;
    struct gate g = GATE;
    struct lane *l = lanes_get(lanes, "wide", 3);
    for (int i = 1; i <= 8; i++)
        submit(l, i, &g);
    gate_await(&g, 3);
    assert_int_equal(count_threads() - base_threads, 3);
    assert_int_equal(lane_load(l), 8);
    assert_int_equal(g.entered, 3);
    gate_open(&g);
    int got[8];
    reap(8, got);
}

static void threads_start_on_demand_and_end_when_idle(void **state)
{
    (void)state;
    lanes_set_idle(lanes, 5);
    struct lane *l = lanes_get(lanes, "a", 4);
    assert_int_equal(count_threads(), base_threads);
    int got[1];
    for (int i = 1; i <= 3; i++) {
        submit(l, i, NULL);
        reap(1, got);
        assert_int_equal(got[0], i);
        await_threads(base_threads);
    }
}

static void workers_block_all_signals(void **state)
{
    (void)state;
    submit(lanes_get(lanes, "a", 1), 1, NULL);
    wait_for(&notified, 1);
    struct lane_job *job = lanes_reap(lanes);
    assert_non_null(job);
    assert_true(((struct job *)job)->blocked_signals);
    free(job);
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_false(sigismember(&mask, SIGTERM)); /* ours are as before */
}

static void a_queued_job_expires_at_its_deadline_without_having_run(void **state)
{
    (void)state;
    struct gate g = GATE;
    struct lane *l = lanes_get(lanes, "a", 1);
    submit(l, 1, &g);
    gate_await(&g, 1);
    as_time now = as_clock_monotonic();
    lane_submit(l, &new_job(2, now + 5000, NULL)->base);
    lane_submit(l, &new_job(3, now + 9000, NULL)->base);
    lanes_expire(lanes, now + 4999);
    assert_null(lanes_reap(lanes));
    lanes_expire(lanes, now + 5000);
    int got[2];
    reap(1, got);
    assert_int_equal(got[0], -2);
    assert_int_equal(lane_load(l), 2);
    gate_open(&g);
    reap(2, got);
    assert_int_equal(got[0], 1);
    assert_int_equal(got[1], 3);
    assert_int_equal(ran, 2);
}

static void a_worker_does_not_start_what_has_expired(void **state)
{
    (void)state;
    lane_submit(lanes_get(lanes, "a", 1), &new_job(5, as_clock_monotonic() - 1, NULL)->base);
    int got[1];
    reap(1, got);
    assert_int_equal(got[0], -5);
    assert_int_equal(ran, 0);
}

static void an_overdue_job_is_abandoned_after_the_grace_and_the_lane_goes_on(void **state)
{
    (void)state;
    struct gate g = GATE;
    struct lane *l = lanes_get(lanes, "a", 1);
    as_time now = as_clock_monotonic();
    lane_submit(l, &new_job(1, now + FAR, &g)->base);
    gate_await(&g, 1);
    struct job *second = new_job(2, now + 2 * FAR, NULL);
    lane_submit(l, &second->base);
    lanes_expire(lanes, now + FAR + LANE_GRACE - 1);
    assert_int_equal(abandoned, 0);
    lanes_expire(lanes, now + FAR + LANE_GRACE);
    assert_int_equal(abandoned, 1);
    int got[1];
    reap(1, got); /* by a fresh thread, while the first still hangs */
    assert_int_equal(got[0], 2);
    assert_int_equal(released, 0);
    assert_int_equal(lane_load(l), 0);
    lanes_expire(lanes, now + 2 * FAR);
    assert_int_equal(abandoned, 1); /* once */
    gate_open(&g);
    wait_for(&released, 1);
    assert_null(lanes_reap(lanes)); /* the late result is dropped */
}

static void a_job_that_returns_while_it_is_abandoned_is_freed_after_the_callback(void **state)
{
    (void)state;
    struct gate g = GATE;
    struct lane *l = lanes_get(lanes, "a", 1);
    as_time now = as_clock_monotonic();
    struct job *j = new_job(7, now + FAR, &g);
    j->open_in_abandoned = &g;
    lane_submit(l, &j->base);
    gate_await(&g, 1);
    lanes_expire(lanes, now + FAR + LANE_GRACE);
    assert_int_equal(abandoned, 1);
    wait_for(&released, 1);
    assert_null(lanes_reap(lanes));
}

static void the_abandoned_callback_may_submit(void **state)
{
    (void)state;
    struct gate g = GATE;
    struct lane *l = lanes_get(lanes, "a", 1);
    as_time now = as_clock_monotonic();
    struct job *j = new_job(1, now + FAR, &g);
    j->resubmit = l;
    lane_submit(l, &j->base);
    gate_await(&g, 1);
    lanes_expire(lanes, now + FAR + LANE_GRACE);
    int got[1];
    reap(1, got);
    assert_int_equal(got[0], 99);
    gate_open(&g);
    wait_for(&released, 1);
}

static void a_lane_that_lost_its_threads_waits_expires_and_recovers(void **state)
{
    (void)state;
    struct gate g = GATE;
    struct lane *l = lanes_get(lanes, "a", 1);
    as_time now = as_clock_monotonic();
    for (int i = 1; i <= LANE_LOST_MAX; i++) {
        lane_submit(l, &new_job(i, now + FAR, &g)->base);
        gate_await(&g, i);
        lanes_expire(lanes, now + FAR + LANE_GRACE);
        assert_int_equal(abandoned, i);
    }
    int threads = count_threads();
    lane_submit(l, &new_job(10, now + 2 * FAR, NULL)->base);
    lane_submit(l, &new_job(11, now + 3 * FAR, NULL)->base);
    lanes_expire(lanes, now + 2 * FAR);
    int got[1];
    reap(1, got);
    assert_int_equal(got[0], -10);
    assert_int_equal(count_threads(), threads); /* no further thread was started */
    gate_open(&g);
    reap(1, got);
    assert_int_equal(got[0], 11);
    wait_for(&released, LANE_LOST_MAX);
    assert_int_equal(ran, LANE_LOST_MAX + 1);
}

static void freeing_waits_for_running_jobs_and_releases_the_rest(void **state)
{
    (void)state;
    struct gate g = GATE;
    struct lane *l = lanes_get(lanes, "a", 1);
    submit(l, 1, NULL);
    wait_for(&notified, 1); /* finished, not reaped */
    submit(l, 2, &g);
    gate_await(&g, 1);
    submit(l, 3, NULL); /* queued */
    gate_open(&g);
    lanes_free(lanes, as_clock_monotonic() + PATIENCE);
    assert_int_equal(released, 3);
    await_threads(base_threads);
    lanes = lanes_new(notify, NULL);
}

static void freeing_leaves_a_stuck_job_behind_and_its_return_cleans_up(void **state)
{
    (void)state;
    struct gate g = GATE;
    struct lane *l = lanes_get(lanes, "a", 1);
    submit(l, 1, &g);
    gate_await(&g, 1);
    int before = notified;
    lanes_free(lanes, as_clock_monotonic() + 10);
    assert_int_equal(released, 0);
    gate_open(&g);
    wait_for(&released, 1);
    await_threads(base_threads);
    assert_int_equal(notified, before);
    lanes = lanes_new(notify, NULL);
}

static void many_lanes_and_jobs_lose_nothing(void **state)
{
    (void)state;
    enum { LANES = 20, JOBS = 2000 };
    lanes_set_idle(lanes, 1);
    static bool seen[JOBS + 1];
    static int got[JOBS];
    memset(seen, 0, sizeof seen);
    for (int i = 1; i <= JOBS; i++) {
        char key[16];
        snprintf(key, sizeof key, "lane %d", i % LANES);
        submit(lanes_get(lanes, key, 1 + i % 3), i, NULL);
        if (i % 100 == 0)
            lanes_expire(lanes, as_clock_monotonic());
    }
    reap(JOBS, got);
    for (int i = 0; i < JOBS; i++) {
        assert_in_range(got[i], 1, JOBS);
        assert_false(seen[got[i]]);
        seen[got[i]] = true;
    }
}

/* A thread sanitizer starts a thread of its own beside the first one: before we count. */
static void *nothing(void *arg)
{
    return arg;
}

static int warm_up(void **state)
{
    (void)state;
    pthread_t t;
    return pthread_create(&t, NULL, nothing, NULL) || pthread_join(t, NULL);
}

int main(void)
{
#define LANE_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        LANE_TEST(jobs_of_a_lane_run_in_order_and_come_back_in_order),
        LANE_TEST(a_key_names_one_lane),
        LANE_TEST(a_hung_lane_does_not_delay_another),
        LANE_TEST(width_bounds_how_many_run_at_once),
        LANE_TEST(threads_start_on_demand_and_end_when_idle),
        LANE_TEST(workers_block_all_signals),
        LANE_TEST(a_queued_job_expires_at_its_deadline_without_having_run),
        LANE_TEST(a_worker_does_not_start_what_has_expired),
        LANE_TEST(an_overdue_job_is_abandoned_after_the_grace_and_the_lane_goes_on),
        LANE_TEST(a_job_that_returns_while_it_is_abandoned_is_freed_after_the_callback),
        LANE_TEST(the_abandoned_callback_may_submit),
        LANE_TEST(a_lane_that_lost_its_threads_waits_expires_and_recovers),
        LANE_TEST(freeing_waits_for_running_jobs_and_releases_the_rest),
        LANE_TEST(freeing_leaves_a_stuck_job_behind_and_its_return_cleans_up),
        LANE_TEST(many_lanes_and_jobs_lose_nothing),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
