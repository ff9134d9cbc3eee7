/* Weights by measured performance, against a model of what HAProxy tells: a mean over the latest 512 requests, in whole
 * milliseconds, and the number of requests. No server, no clock. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../controller/loop/engine.h"

#define MEMBERS 4
#define SAMPLES 512.0

struct bench {
    struct engine engine;
    struct cfg cfg;
    struct cfg_group group_cfg;
    struct group group;
    struct instance instances[MEMBERS];
    struct inst_notes notes[MEMBERS];
    struct membership pools[MEMBERS];
    struct pool lb;
    double mean[MEMBERS], ms[MEMBERS];
};

static void bench_start(struct bench *b, int members)
{
    *b = (struct bench){ .cfg.interval = AS_SECOND, .group_cfg.balancer.weigh = true };
    b->engine.cfg = &b->cfg;
    b->group.engine = &b->engine;
    b->group.cfg = &b->group_cfg;
    b->group.pools = &b->lb;
    b->engine.events_tail = &b->engine.events;
    for (int k = members - 1; k >= 0; k--) {
        b->ms[k] = 20;
        b->instances[k] = (struct instance){
            .notes = &b->notes[k], .state = INST_SERVING, .pools = &b->pools[k], .next = b->group.instances
        };
        b->pools[k] = (struct membership){ .listed = true, .state = AS_MEMBER_UP, .weight = 100 };
        b->group.instances = &b->instances[k];
    }
}

/* What the balancer does with so many requests, by weight, and then tells. */
static void serve(struct bench *b, double requests)
{
    double all = 0;
    for (struct instance *i = b->group.instances; i; i = i->next)
        all += i->pools->weight;
    for (struct instance *i = b->group.instances; i; i = i->next) {
        int k = (int)(i - b->instances);
        struct membership *m = i->pools;
        double n = floor(requests * m->weight / all);
        for (double r = 0; r < n; r++) {
            m->served++;
            b->mean[k] += (b->ms[k] - b->mean[k]) / fmin(m->served, SAMPLES);
        }
        if (n > 0)
            m->worked_at = b->engine.now;
        m->response_ms = fmax(floor(b->mean[k]), 0.5);
        m->response_over = fmin(m->served, SAMPLES);
    }
}

/* So many intervals, of so many requests each; what is aimed at is set at once. */
static void run(struct bench *b, int intervals, double requests)
{
    for (int t = 0; t < intervals; t++) {
        b->engine.now += AS_SECOND;
        serve(b, requests);
        weigh_pool(&b->group, 0);
        for (struct instance *i = b->group.instances; i; i = i->next)
            if (i->pools->weigh > 0)
                i->pools->weight = (int)(i->pools->weigh + 0.5);
    }
}

static void the_slow_one_sinks_to_a_tenth_and_no_further(void **state)
{
    (void)state;
    struct bench b;
    bench_start(&b, MEMBERS);
    b.ms[2] = 300;
    run(&b, 60, 200);
    assert_int_equal(b.pools[2].weight, 10);
    run(&b, 600, 200);
    assert_int_equal(b.pools[2].weight, 10);
    for (int k = 0; k < MEMBERS; k++)
        assert_true(k == 2 || b.pools[k].weight >= 90);
}

static void one_that_is_slow_later_is_found_although_the_mean_remembers(void **state)
{
    (void)state;
    struct bench b;
    bench_start(&b, MEMBERS);
    run(&b, 100, 400);
    assert_int_equal(b.pools[1].weight, 100);
    b.ms[1] = 300;
    run(&b, 60, 200);
    assert_int_equal(b.pools[1].weight, 10);
}

static void it_recovers_long_before_the_mean_has_forgotten(void **state)
{
    (void)state;
    struct bench b;
    bench_start(&b, MEMBERS);
    b.ms[2] = 300;
    run(&b, 120, 200);
    b.ms[2] = 20;
    int t = 0;
    while (b.pools[2].weight < 95 && t++ < 600)
        run(&b, 1, 200);
    assert_in_range(t, 1, 120);
    run(&b, 300, 200);
    assert_int_equal(b.pools[2].weight, 100);
}

/* One of half the speed, where work waits for work: the busier a member, the longer it takes. */
static void queue_up(struct bench *b, double rate)
{
    double all = 0;
    for (int k = 0; k < MEMBERS; k++)
        all += b->pools[k].weight;
    for (int k = 0; k < MEMBERS; k++) {
        double service = k == 0 ? 40 : 20;
        b->ms[k] = service / (1 - fmin(0.95, rate * b->pools[k].weight / all * service / 1000));
    }
}

static void one_of_half_the_speed_settles_where_all_answer_alike(void **state)
{
    (void)state;
    struct bench b;
    int least = 256, most = 0;
    double slow = 0, others = 0;
    bench_start(&b, MEMBERS);
    for (int t = 0; t < 600; t++) {
        queue_up(&b, 100);
        run(&b, 1, 100);
        if (t < 200)
            continue;
        least = b.pools[0].weight < least ? b.pools[0].weight : least;
        most = b.pools[0].weight > most ? b.pools[0].weight : most;
        slow += b.ms[0] / 400;
        others += (b.ms[1] + b.ms[2] + b.ms[3]) / 1200;
    }
    assert_in_range(least, 10, 40); /* 23 is where they meet */
    assert_in_range(most, 15, 60);
    assert_true(slow < 1.5 * others);
}

static void alike_is_let_be(void **state)
{
    (void)state;
    struct bench b;
    bench_start(&b, MEMBERS);
    for (int k = 0; k < MEMBERS; k++)
        b.ms[k] = 50 + k; /* within a tenth of the median */
    run(&b, 300, 300);
    for (int k = 0; k < MEMBERS; k++)
        assert_int_equal(b.pools[k].weight, 100);
}

static void what_cannot_be_told_apart_is_let_be(void **state)
{
    (void)state;
    struct bench b;
    bench_start(&b, MEMBERS);
    b.ms[0] = 0.2; /* whole milliseconds say nothing about these */
    b.ms[1] = 0.4;
    b.ms[2] = 0.9;
    b.ms[3] = 0.6;
    run(&b, 300, 300);
    for (int k = 0; k < MEMBERS; k++)
        assert_int_equal(b.pools[k].weight, 100);
}

static void a_quicker_one_gets_more_up_to_twice(void **state)
{
    (void)state;
    struct bench b;
    bench_start(&b, MEMBERS);
    for (int k = 0; k < MEMBERS; k++)
        b.ms[k] = k == 3 ? 20 : 200;
    run(&b, 300, 300);
    assert_int_equal(b.pools[3].weight, 200);
    assert_true(b.pools[0].weight >= 90);
}

static void nothing_is_weighed_with_nothing_to_compare(void **state)
{
    (void)state;
    struct bench b;
    bench_start(&b, 1);
    b.ms[0] = 500;
    run(&b, 30, 100);
    assert_int_equal(b.pools[0].weight, 100);
    assert_true(b.pools[0].weigh == 0);
}

static void without_work_the_weight_drifts_back(void **state)
{
    (void)state;
    struct bench b;
    bench_start(&b, MEMBERS);
    b.ms[0] = 300;
    run(&b, 120, 200);
    assert_int_equal(b.pools[0].weight, 10);
    run(&b, 9, 0);
    assert_int_equal(b.pools[0].weight, 10); /* a pause is no rest */
    run(&b, 120, 0);
    assert_int_equal(b.pools[0].weight, 100);
}

static void a_restarted_balancer_is_measured_anew(void **state)
{
    (void)state;
    struct bench b;
    bench_start(&b, MEMBERS);
    b.ms[1] = 300;
    run(&b, 120, 200);
    for (int k = 0; k < MEMBERS; k++) {
        b.pools[k].served = b.pools[k].response_over = 0;
        b.mean[k] = 0;
    }
    b.ms[1] = 20;
    b.ms[3] = 300;
    run(&b, 150, 200);
    assert_int_equal(b.pools[1].weight, 100);
    assert_int_equal(b.pools[3].weight, 10);
}

static void a_restarted_controller_goes_on_from_what_is_set(void **state)
{
    (void)state;
    struct bench b;
    bench_start(&b, MEMBERS);
    b.ms[1] = 300;
    run(&b, 120, 200);
    for (int k = 0; k < MEMBERS; k++)
        b.pools[k].weigh = b.pools[k].mark_ms = b.pools[k].mark_served = 0;
    run(&b, 1, 200);
    assert_int_equal(b.pools[1].weight, 10);
}

static void even_again_means_the_usual_weight(void **state)
{
    (void)state;
    struct bench b;
    bench_start(&b, MEMBERS);
    b.ms[1] = 300;
    run(&b, 120, 200);
    b.group_cfg.balancer.weigh = false;
    run(&b, 1, 200);
    for (int k = 0; k < MEMBERS; k++)
        assert_int_equal(b.pools[k].weight, 100);
}

/* Takes what was written for the history, newest last; returns how many entries there were. */
static int history(struct bench *b, char *last, size_t size)
{
    int n = 0;
    last[0] = '\0';
    for (struct event *v = b->engine.events; v; n++) {
        struct event *next = v->next;
        snprintf(last, size, "%s %s", v->kind, v->text);
        free(v);
        v = next;
    }
    b->engine.events = NULL;
    b->engine.events_tail = &b->engine.events;
    b->engine.event_count = 0;
    return n;
}

static void steps_of_a_minute_are_one_entry_of_the_history(void **state)
{
    (void)state;
    struct bench b;
    char last[400];
    bench_start(&b, MEMBERS);
    for (int k = 0; k < MEMBERS; k++)
        snprintf(b.instances[k].id, sizeof b.instances[k].id, "web-%d", k);
    snprintf(b.lb.name, sizeof b.lb.name, "lb");
    run(&b, 100, 400);
    weigh_note(&b.group, 0);
    assert_int_equal(history(&b, last, sizeof last), 0); /* where they start is no change */
    b.ms[2] = 300;
    for (int t = 0; t < 180; t++) {
        run(&b, 1, 200);
        weigh_note(&b.group, 0);
    }
    assert_in_range(history(&b, last, sizeof last), 1, 3); /* a dozen steps down to 10 */
    assert_int_equal(b.pools[2].noted, 10);
    assert_non_null(strstr(last, "weights lb: web-2 "));
    assert_non_null(strstr(last, " -> 10 ("));
    assert_null(strstr(last, "web-1"));
    for (int t = 0; t < 180; t++) {
        run(&b, 1, 200);
        weigh_note(&b.group, 0);
    }
    assert_int_equal(history(&b, last, sizeof last), 0); /* at rest there is nothing to tell */
}

/* --- by CPU ---------------------------------------------------------------------------------------------- */

/* So many readings of instances that get their share of `load` (percent of one CPU, all together), of which each
 * makes as much work as its cost says. */
static void read_cpu(struct bench *b, int readings, double load, const double cost[MEMBERS])
{
    strcpy(b->group_cfg.balancer.weigh_source, "use");
    for (int t = 0; t < readings; t++) {
        double all = 0;
        b->engine.now += 5 * AS_SECOND;
        for (int k = 0; k < MEMBERS; k++)
            all += b->pools[k].weight;
        for (int k = 0; k < MEMBERS; k++)
            weigh_cpu_take(&b->instances[k], load * cost[k] * b->pools[k].weight / all, b->engine.now,
                           20 * AS_SECOND);
        for (int again = 0; again < 3; again++) { /* lists come oftener than readings */
            weigh_pool(&b->group, 0);
            b->engine.now += AS_SECOND;
        }
        for (int k = 0; k < MEMBERS; k++)
            if (b->pools[k].weigh > 0)
                b->pools[k].weight = (int)(b->pools[k].weigh + 0.5);
    }
}

static void by_cpu_a_burdened_instance_gets_less_until_all_are_as_busy(void **state)
{
    (void)state;
    struct bench b;
    bench_start(&b, MEMBERS);
    read_cpu(&b, 60, 160, (double[]){ 1, 1, 3, 1 });
    assert_in_range(b.pools[2].weight, 30, 50); /* a third, or as near as they count as alike */
    for (int k = 0; k < MEMBERS; k++)
        assert_true(k == 2 || (b.pools[k].weight >= 90 && b.pools[k].weight <= 110));
    read_cpu(&b, 60, 160, (double[]){ 1, 1, 1, 1 });
    assert_in_range(b.pools[2].weight, 90, 110);
    read_cpu(&b, 100, 160, (double[]){ 1, 1, 1000, 1 });
    assert_int_equal(b.pools[2].weight, 10); /* never to zero */
}

static void by_cpu_one_reading_is_one_step(void **state)
{
    (void)state;
    struct bench b;
    bench_start(&b, MEMBERS);
    read_cpu(&b, 1, 160, (double[]){ 1, 1, 100, 1 });
    assert_int_equal(b.pools[2].weight, 77);
}

static void by_cpu_nobody_is_judged_who_has_nothing_to_do(void **state)
{
    (void)state;
    struct bench b;
    bench_start(&b, MEMBERS);
    b.pools[1].weight = 50;
    read_cpu(&b, 60, 8, (double[]){ 1, 9, 1, 1 });
    for (int k = 0; k < MEMBERS; k++)
        assert_int_equal(b.pools[k].weight, 100);
}

static void by_cpu_an_old_reading_moves_nothing(void **state)
{
    (void)state;
    struct bench b;
    bench_start(&b, MEMBERS);
    read_cpu(&b, 2, 160, (double[]){ 1, 1, 3, 1 });
    int before = b.pools[2].weight;
    assert_true(before < 100);
    for (int t = 0; t < 100; t++) {
        b.engine.now += AS_SECOND;
        weigh_pool(&b.group, 0);
    }
    assert_int_equal((int)(b.pools[2].weigh + 0.5), before);
    for (int k = 1; k < MEMBERS; k++) /* one alone has nobody to be compared to */
        b.instances[k].notes->cpu.at = 0;
    weigh_cpu_take(&b.instances[0], 99, b.engine.now, AS_MINUTE);
    weigh_pool(&b.group, 0);
    assert_int_equal((int)(b.pools[0].weigh + 0.5), 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_cpu_a_burdened_instance_gets_less_until_all_are_as_busy),
        cmocka_unit_test(by_cpu_one_reading_is_one_step),
        cmocka_unit_test(by_cpu_nobody_is_judged_who_has_nothing_to_do),
        cmocka_unit_test(by_cpu_an_old_reading_moves_nothing),
        cmocka_unit_test(the_slow_one_sinks_to_a_tenth_and_no_further),
        cmocka_unit_test(one_that_is_slow_later_is_found_although_the_mean_remembers),
        cmocka_unit_test(it_recovers_long_before_the_mean_has_forgotten),
        cmocka_unit_test(one_of_half_the_speed_settles_where_all_answer_alike),
        cmocka_unit_test(alike_is_let_be),
        cmocka_unit_test(what_cannot_be_told_apart_is_let_be),
        cmocka_unit_test(a_quicker_one_gets_more_up_to_twice),
        cmocka_unit_test(nothing_is_weighed_with_nothing_to_compare),
        cmocka_unit_test(without_work_the_weight_drifts_back),
        cmocka_unit_test(a_restarted_balancer_is_measured_anew),
        cmocka_unit_test(a_restarted_controller_goes_on_from_what_is_set),
        cmocka_unit_test(even_again_means_the_usual_weight),
        cmocka_unit_test(steps_of_a_minute_are_one_entry_of_the_history),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
