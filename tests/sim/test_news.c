/* What is worked out once, when something comes in, and relied upon until the next: whether a source fails, and
 * whether a list is worth a plan. Each must change with what it stands for. */
#include "../../controller/loop/report.h"
#include "../../controller/model/series.h"
#include "simkit.h"

#define WEB(source)                                                                                          \
    "controller = { interval = \"2s\"; };\n"                                                                 \
    "sources = { m = { driver = \"sim\"; " source "}; };\n"                                                  \
    "groups = { web = { min = 2; max = 10; compute = { driver = \"sim\"; hosts = [ \"a\" ]; };\n"            \
    "  health = { http = \"/\"; }; balancer = { driver = \"sim\"; hosts = [ \"lb\" ]; };\n"                  \
    "  policies = [ \"load\" ]; }; };\n"                                                                     \
    "policies = { load = { type = \"target\"; metric = \"m.load\"; per_instance = 10.0; }; };\n"

static const char web_5[] = WEB("");
static const char web_slow[] = WEB("interval = \"3s\"; ");

static const char two_series[] =
    "sources = { m = { driver = \"sim\"; }; };\n"
    "groups = { web = { min = 2; max = 10; compute = { driver = \"sim\"; hosts = [ \"a\" ]; };\n"
    "  health = { http = \"/\"; }; policies = [ \"load\", \"room\" ]; }; };\n"
    "policies = { load = { type = \"target\"; metric = \"m.load\"; per_instance = 10.0; };\n"
    "  room = { type = \"target\"; metric = \"m.room\"; per_instance = 10.0; }; };\n";

static const struct input_record *input_of(struct kit *k)
{
    assert_int_equal(web(k)->decision.proposals[0].input_count, 1);
    return &web(k)->decision.proposals[0].inputs[0];
}

static void G3_a_source_that_answers_again_is_not_failing_any_more(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, web_5, &(struct sim_params){ .seed = 91 });
    kit_run(&k, 20 * AS_SECOND);
    assert_false(input_of(&k)->failing);
    sim_tune(k.sim)->fail_poll = 1;
    kit_run(&k, 3 * AS_SECOND);
    assert_true(input_of(&k)->failing);
    assert_true(web(&k)->decision.blind);
    sim_tune(k.sim)->fail_poll = 0;
    kit_run(&k, 5 * AS_SECOND);
    assert_false(input_of(&k)->failing);
    assert_false(web(&k)->decision.blind);
    kit_end(&k);
}

static void G3_a_series_that_is_told_again_is_not_left_out_any_more(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, web_5, &(struct sim_params){ .seed = 92, .tells_gaps = true });
    kit_run(&k, 20 * AS_SECOND);
    assert_false(input_of(&k)->failing);
    k.blind = true;
    kit_run(&k, 3 * AS_SECOND);
    assert_int_equal(input_of(&k)->reading.fresh, AS_FRESH);
    assert_true(input_of(&k)->failing);
    sim_tune(k.sim)->fail_poll = 1; /* what it left out before does not matter while it gives nothing */
    kit_run(&k, 5 * AS_SECOND);
    assert_true(input_of(&k)->failing);
    sim_tune(k.sim)->fail_poll = 0;
    kit_run(&k, 5 * AS_SECOND);
    assert_true(input_of(&k)->failing);
    k.blind = false;
    kit_run(&k, 5 * AS_SECOND);
    assert_false(input_of(&k)->failing);
    assert_false(web(&k)->decision.blind);
    kit_end(&k);
}

/* Whatever the old source was: the new one has to fail by itself. */
static void G11_a_reload_begins_with_a_source_that_does_not_fail(void **state)
{
    (void)state;
    struct kit k = { .load = 50, .blind = true };
    for (int failing = 0; failing < 2; failing++) {
        kit_start(&k, web_5, &(struct sim_params){ .seed = 93, .tells_gaps = true, .fail_poll = failing });
        kit_run(&k, 20 * AS_SECOND);
        const struct source *old = k.engine->sources;
        assert_true(failing ? old->failing : old->partial);
        k.blind = false;
        sim_tune(k.sim)->fail_poll = 0;
        reload(&k, web_slow);
        kit_run(&k, 10 * AS_SECOND);
        assert_false(input_of(&k)->failing);
        assert_false(web(&k)->decision.blind);
        kit_end(&k);
        k.blind = true;
    }
}

/* One endpoint of several answers after the round was closed: windows must not hold twice as many samples for it. */
static void a_late_answer_makes_the_sample_of_its_round_a_better_one(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, web_5, &(struct sim_params){ .seed = 94 });
    kit_run(&k, 21 * AS_SECOND);
    struct source *s = k.engine->sources;
    const struct as_series *series = s->bindings[0]->series;
    size_t before = series_count(series);
    k.engine->now += 100;
    struct op *late = op_new(OP_POLL, k.engine->now, AS_SECOND);
    assert_non_null(late);
    late->source = s;
    assert_int_equal(as_samples_add(&late->samples, "", "load", 70, 1, NULL), AS_OK);
    s->inflight++;
    observe_polled(k.engine, late);
    op_free(late);
    assert_int_equal(series_count(series), before);
    assert_true(as_series_read(series, k.engine->now, AS_LAST, 0, 0).value == 70);
    kit_run(&k, 2 * AS_SECOND);
    assert_int_equal(series_count(series), before + 1);
    assert_true(as_series_read(series, k.engine->now, AS_MAX, 4 * AS_SECOND, 0).value == 70);
    kit_end(&k);
}

/* What the balancer last said of the group, once more. */
static struct op *members_again(struct kit *k)
{
    struct op *op = op_new(OP_MEMBERS, k->engine->now, AS_SECOND);
    assert_non_null(op);
    snprintf(op->members.epoch, sizeof op->members.epoch, "%s", web(k)->pools[0].epoch);
    for (const struct instance *i = web(k)->instances; i; i = i->next) {
        struct as_member *m = as_members_add(&op->members);
        assert_non_null(m);
        snprintf(m->id, sizeof m->id, "%s", i->id);
        m->state = i->pools[0].state;
        m->weight = i->pools[0].weight;
        m->held = i->pools[0].held + 1; /* sessions come and go all the time */
    }
    return op;
}

static struct op *instances_again(struct kit *k)
{
    struct op *op = op_new(OP_LIST, k->engine->now, AS_SECOND);
    assert_non_null(op);
    op->instances.room = web(k)->hosts[0].room;
    for (const struct instance *i = web(k)->instances; i; i = i->next) {
        struct as_instance *seen = as_instances_add(&op->instances);
        assert_non_null(seen);
        snprintf(seen->id, sizeof seen->id, "%s", i->id);
        snprintf(seen->address, sizeof seen->address, "%s", i->address);
        seen->port = i->port;
        seen->state = AS_RUN_RUNNING;
    }
    return op;
}

static bool worth_a_plan(struct kit *k, void (*take)(struct group *g, struct op *op), struct op *op)
{
    struct group *g = web(k);
    g->dirty = false;
    g->due = 0;
    take(g, op);
    op_free(op);
    assert_true(g->dirty || g->due > 0); /* it is looked at again, one way or the other */
    return g->dirty;
}

static void start_calm(struct kit *k)
{
    kit_start(k, web_5, &(struct sim_params){ .seed = 94 });
    kit_run(k, 21 * AS_SECOND);
    assert_int_equal(sim_up(k->sim, "web"), 5);
    worth_a_plan(k, reconcile_pool, members_again(k));
    worth_a_plan(k, reconcile_hosts, instances_again(k));
}

static void members_that_are_as_before_are_no_news(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    start_calm(&k);
    assert_false(worth_a_plan(&k, reconcile_pool, members_again(&k)));
    struct op *op = members_again(&k);
    op->members.items[2].state = AS_MEMBER_OUT;
    assert_true(worth_a_plan(&k, reconcile_pool, op));
    op = members_again(&k);
    assert_false(worth_a_plan(&k, reconcile_pool, op));
    op = members_again(&k);
    op->members.items[1].weight++;
    assert_true(worth_a_plan(&k, reconcile_pool, op));
    op = members_again(&k);
    op->members.count--;
    assert_true(worth_a_plan(&k, reconcile_pool, op));
    op = members_again(&k);
    op->rc = (enum as_rc)as_fail(&op->err, AS_EAGAIN, "no answer");
    assert_true(worth_a_plan(&k, reconcile_pool, op));
    assert_true(worth_a_plan(&k, reconcile_pool, members_again(&k))); /* it answers again */
    kit_end(&k);
}

static void instances_that_are_as_before_are_no_news(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    start_calm(&k);
    assert_false(worth_a_plan(&k, reconcile_hosts, instances_again(&k)));
    struct op *op = instances_again(&k);
    op->instances.room = 7;
    assert_true(worth_a_plan(&k, reconcile_hosts, op));
    op = instances_again(&k);
    op->instances.items[3].port++;
    assert_true(worth_a_plan(&k, reconcile_hosts, op));
    op = instances_again(&k);
    op->instances.items[0].state = AS_RUN_PARKED;
    assert_true(worth_a_plan(&k, reconcile_hosts, op));
    assert_true(worth_a_plan(&k, reconcile_hosts, instances_again(&k))); /* and back */
    op = instances_again(&k);
    op->instances.count--;
    assert_true(worth_a_plan(&k, reconcile_hosts, op));
    assert_true(worth_a_plan(&k, reconcile_hosts, instances_again(&k)));
    op = instances_again(&k);
    op->rc = (enum as_rc)as_fail(&op->err, AS_EAGAIN, "no answer");
    assert_true(worth_a_plan(&k, reconcile_hosts, op));
    assert_true(worth_a_plan(&k, reconcile_hosts, instances_again(&k)));
    kit_end(&k);
}

/* While something is under way no list is taken for an old one: what it proves counts by its time. */
static void every_list_is_news_while_an_instance_is_on_its_way(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    start_calm(&k);
    web(&k)->instances->state = INST_DRAINING;
    assert_true(worth_a_plan(&k, reconcile_pool, members_again(&k)));
    assert_true(worth_a_plan(&k, reconcile_hosts, instances_again(&k)));
    web(&k)->instances->state = INST_SERVING;
    web(&k)->instances->pools[0].changed_at = k.engine->now; /* a call ended after the list before */
    web(&k)->instances->pools[0].listed_at = k.engine->now - 1;
    assert_true(worth_a_plan(&k, reconcile_pool, members_again(&k)));
    kit_end(&k);
}

/* One poll: "name=value name=value". */
static void poll(struct kit *k, const char *text)
{
    struct source *s = k->engine->sources;
    struct op *op = op_new(OP_POLL, k->engine->now, AS_SECOND);
    assert_non_null(op);
    op->source = s;
    s->inflight++;
    char name[16];
    double value;
    for (int n; sscanf(text, " %15[^=]=%lf%n", name, &value, &n) == 2; text += n)
        assert_int_equal(as_samples_add(&op->samples, "", name, value, 1, NULL), AS_OK);
    observe_polled(k->engine, op);
    op_free(op);
}

static double value_of(struct kit *k, const char *metric)
{
    const struct source *s = k->engine->sources;
    for (size_t n = 0; n < s->binding_count; n++)
        if (strcmp(as_series_name(s->bindings[n]->series), metric) == 0)
            return s->bindings[n]->parts[0].value;
    fail_msg("%s is not bound", metric);
    return 0;
}

static void a_series_is_found_wherever_a_poll_has_it(void **state)
{
    (void)state;
    static const struct {
        const char *poll;
        double load, room;
    } rows[] = {
        { "load=10 room=20", 10, 20 },
        { "load=11 room=21", 11, 21 },
        { "room=22 load=12", 12, 22 },
        { "other=1 more=2 room=23 load=13", 13, 23 },
        { "load=14", 14, 23 }, /* what is not told keeps its last value and ages */
        { "other=3", 14, 23 },
        { "", 14, 23 },
        { "room=25 other=4 load=15 load=99", 15, 25 },
        { "other=5 load=16 room=26", 16, 26 },
    };
    struct kit k = { .load = 50, .room = 50 };
    kit_start(&k, two_series, &(struct sim_params){ .seed = 96 });
    kit_run(&k, 10 * AS_SECOND);
    for (size_t n = 0; n < sizeof rows / sizeof *rows; n++) {
        poll(&k, rows[n].poll);
        assert_true(value_of(&k, "m.load") == rows[n].load);
        assert_true(value_of(&k, "m.room") == rows[n].room);
    }
    kit_end(&k);
}

static void back_to_even_is_the_usual_weight_and_not_nearly(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    struct plan plan = { 0 };
    start_calm(&k);
    struct membership *m = &web(&k)->instances->pools[0];
    m->listed_at = k.engine->now;
    m->weigh = 100; /* as when weighting = "load" has been taken back */
    m->weight = 97;
    assert_true(plan_group(web(&k), k.engine->now, &plan));
    assert_int_equal(plan.count, 1);
    assert_int_equal(plan.items[0].kind, STEP_WEIGH);
    assert_int_equal(plan.items[0].weight, 100);
    plan_fini(&plan);
    kit_end(&k);
}

static void the_summary_is_of_the_newest_decision(void **state)
{
    (void)state;
    struct kit k = { .load = 50 };
    kit_start(&k, web_5, &(struct sim_params){ .seed = 95 });
    kit_run(&k, 60 * AS_SECOND);
    char *text = report_decision_text(web(&k));
    assert_non_null(text);
    assert_non_null(strstr(text, "\"summary\":\"stays at 5: load asks for 5: no change\""));
    free(text);
    kit_end(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(G3_a_source_that_answers_again_is_not_failing_any_more),
        cmocka_unit_test(G3_a_series_that_is_told_again_is_not_left_out_any_more),
        cmocka_unit_test(G11_a_reload_begins_with_a_source_that_does_not_fail),
        cmocka_unit_test(a_late_answer_makes_the_sample_of_its_round_a_better_one),
        cmocka_unit_test(members_that_are_as_before_are_no_news),
        cmocka_unit_test(instances_that_are_as_before_are_no_news),
        cmocka_unit_test(every_list_is_news_while_an_instance_is_on_its_way),
        cmocka_unit_test(a_series_is_found_wherever_a_poll_has_it),
        cmocka_unit_test(back_to_even_is_the_usual_weight_and_not_nearly),
        cmocka_unit_test(the_summary_is_of_the_newest_decision),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
