/* What a policy that learns is shown of the past: recorded samples of plain series and of formulas, after a restart and
 * in a plan, which reads them where they are and writes nothing. */
#include "../../controller/runtime/history.h"
#include "../../controller/runtime/offline.h"
#include "simkit.h"

#define MINUTES 8

static int learns;            /* calls */
static size_t learnt;         /* minutes of the newest */
static double newest, oldest; /* their means */

static int learner_init(void *state, const struct as_settings *settings, struct as_error *err)
{
    (void)state, (void)settings, (void)err;
    return AS_OK;
}

static void learner_learn(void *state, size_t input, const int64_t *walls, const double *means, size_t count)
{
    (void)state, (void)input;
    learns++;
    learnt = count;
    oldest = means[0];
    newest = means[count - 1];
    for (size_t k = 1; k < count; k++)
        assert_true(walls[k] > walls[k - 1]);
}

static void learner_decide(void *state, const struct as_view *view, struct as_proposal *out)
{
    (void)state, (void)view;
    out->kind = AS_WANT;
    out->count = 1;
}

static const struct as_option learner_options[] = {
    { .name = "metric", .type = AS_OPT_METRIC, .flags = AS_OPT_REQUIRED, .help = "load" }, { 0 }
};
static const struct as_policy_type learner = { .name = "learner",
                                               .summary = "shown the past",
                                               .options = learner_options,
                                               .init = learner_init,
                                               .decide = learner_decide,
                                               .learn = learner_learn };
static const struct as_policy_type forgetter = { .name = "forgetter",
                                                 .summary = "not shown the past",
                                                 .options = learner_options,
                                                 .init = learner_init,
                                                 .decide = learner_decide };
static const struct as_policy_type *const types[] = { &learner, &forgetter, NULL };

#define WEB(state, type, metric)                                                                             \
    "controller = { " state "interval = \"2s\"; };\n"                                                        \
    "sources = { m = { driver = \"sim\"; }; };\n"                                                            \
    "groups = { web = { min = 1; max = 4; compute = { driver = \"sim\"; hosts = [ \"a\" ]; };\n"             \
    "  policies = [ \"p\" ]; }; };\n"                                                                        \
    "policies = { p = { type = \"" type "\"; metric = \"" metric "\"; }; };\n"

static void start(struct kit *k, const char *text)
{
    *k = (struct kit){ .load = 30, .room = 5, .policies = types };
    learns = 0;
    learnt = 0;
    kit_start(k, text, &(struct sim_params){ .seed = 81 });
}

static int count_row(void *arg, const struct journal_sample *row)
{
    (void)row;
    ++*(int *)arg;
    return 0;
}

static int rows_of(struct kit *k, const char *metric)
{
    int n = 0;
    assert_int_equal(journal_each_sample(k->journal, metric, 0, count_row, &n, NULL), AS_OK);
    return n;
}

static void restart_shows(const char *text, double value)
{
    struct kit k;
    start(&k, text);
    kit_run(&k, MINUTES * AS_MINUTE);
    kit_crash(&k);
    assert_int_equal(learns, 0); /* there was no past at the first start */
    kit_boot(&k);
    assert_int_equal(learns, 1);
    assert_in_range(learnt, MINUTES - 2, MINUTES + 1);
    assert_true(oldest > value - 0.001 && oldest < value + 0.001);
    assert_true(newest > value - 0.001 && newest < value + 0.001);
    kit_end(&k);
}

static void a_series_is_learnt_from_after_a_restart(void **state)
{
    (void)state;
    restart_shows(WEB("", "learner", "m.load"), 30);
}

static void a_formula_is_learnt_from_after_a_restart(void **state)
{
    (void)state;
    restart_shows(WEB("", "learner", "m.load + 2 * m.room"), 40);
}

/* Rows nobody would read are not written. */
static void formulas_of_policies_that_do_not_learn_are_not_recorded(void **state)
{
    (void)state;
    struct kit k;
    start(&k, WEB("", "forgetter", "m.load + 2 * m.room"));
    kit_run(&k, MINUTES * AS_MINUTE);
    assert_int_equal(rows_of(&k, "m.load + 2 * m.room"), 0);
    assert_true(rows_of(&k, "m.load") >= MINUTES - 2);
    kit_end(&k);
}

/* As `plan` does it: a private copy of the journal, the samples where they are. */
static void a_plan_is_shown_the_past_too(void **state)
{
    (void)state;
    struct kit k;
    start(&k, WEB("", "learner", "m.load + 2 * m.room"));
    kit_run(&k, MINUTES * AS_MINUTE);
    int recorded = rows_of(&k, "m.load + 2 * m.room");
    char text[1024];
    snprintf(text, sizeof text, WEB("state = \"%s\"; ", "learner", "m.load + 2 * m.room"), k.journal_path);
    struct cfg_hold *hold = kit_config(&k, text);
    struct journal *copy = NULL, *past = NULL;
    struct engine *plan = NULL;
    struct as_error err = { 0 };
    assert_int_equal(offline_journal(cfg_of(hold), &copy, &past, &err), AS_OK);
    struct world w = sim_world(k.sim);
    w.act = false;
    w.forgets = true;
    w.past = past;
    assert_int_equal(engine_new(&w, hold, copy, sim_now(k.sim), sim_wall(k.sim), &plan, &err), AS_OK);
    assert_int_equal(learns, 1);
    assert_true(oldest > 39.999 && oldest < 40.001);
    engine_free(plan);
    journal_close(copy);
    journal_close(past);
    cfg_hold_put(hold);
    assert_int_equal(rows_of(&k, "m.load + 2 * m.room"), recorded);
    kit_end(&k);
}

/* What a shadow would have done depends on what it knows, as much as what the policy itself does. */
static void a_shadow_is_shown_the_past_too(void **state)
{
    (void)state;
    struct kit k;
    start(&k, "controller = { interval = \"2s\"; };\n"
              "sources = { m = { driver = \"sim\"; }; };\n"
              "groups = { web = { min = 1; max = 4; compute = { driver = \"sim\"; hosts = [ \"a\" ]; };\n"
              "  policies = [ \"q\" ]; shadow = [ \"p\" ]; }; };\n"
              "policies = { p = { type = \"learner\"; metric = \"m.load\"; };\n"
              "  q = { type = \"forgetter\"; metric = \"m.load\"; }; };\n");
    kit_run(&k, MINUTES * AS_MINUTE);
    kit_crash(&k);
    kit_boot(&k);
    assert_int_equal(learns, 1);
    assert_in_range(learnt, MINUTES - 2, MINUTES + 1);
    kit_end(&k);
}

/* Launches of instances that are gone were measured too, and what a parked one takes. */
static void a_plan_knows_how_long_launches_took(void **state)
{
    (void)state;
    struct kit k;
    start(&k, WEB("", "learner", "m.load"));
    kit_run(&k, 20 * AS_SECOND);
    for (int n = 0; n < 3; n++) {
        sim_kill(k.sim, "web", 1);
        kit_run(&k, 2 * AS_MINUTE);
    }
    assert_int_equal(journal_set(k.journal, "unpark-ms/web", "1234", NULL), AS_OK);
    assert_int_equal(web(&k)->lead.count, 4);
    char text[1024];
    snprintf(text, sizeof text, WEB("state = \"%s\"; ", "learner", "m.load"), k.journal_path);
    struct cfg_hold *hold = kit_config(&k, text);
    struct journal *copy = NULL, *past = NULL;
    struct engine *plan = NULL;
    struct as_error err = { 0 };
    assert_int_equal(offline_journal(cfg_of(hold), &copy, &past, &err), AS_OK);
    struct world w = sim_world(k.sim);
    w.act = false;
    w.past = past;
    assert_int_equal(engine_new(&w, hold, copy, sim_now(k.sim), sim_wall(k.sim), &plan, &err), AS_OK);
    assert_int_equal(engine_group(plan, "web")->lead.count, 4);
    assert_int_equal(group_lead(engine_group(plan, "web")), group_lead(web(&k)));
    assert_int_equal(group_unpark_lead(engine_group(plan, "web")), 1234);
    engine_free(plan);
    journal_close(copy);
    journal_close(past);
    cfg_hold_put(hold);
    kit_end(&k);
}

/* Decisions may be an hour apart: between two of them the first is in force. */
static void a_rare_decision_is_in_force_until_the_next(void **state)
{
    (void)state;
    struct kit k;
    struct as_error err = { 0 };
    start(&k, "controller = { interval = \"20m\"; };\n"
              "sources = { m = { driver = \"sim\"; }; };\n"
              "groups = { web = { min = 1; max = 4; compute = { driver = \"sim\"; hosts = [ \"a\" ]; };\n"
              "  policies = [ \"p\" ]; }; };\n"
              "policies = { p = { type = \"forgetter\"; metric = \"m.load\"; }; };\n");
    kit_run(&k, 115 * AS_MINUTE);
    cJSON *d =
        history_decision(k.journal, "web", sim_wall(k.sim) - 5 * AS_MINUTE, k.engine->cfg->interval, &err);
    assert_non_null(d);
    cJSON_Delete(d);
    assert_null(
        history_decision(k.journal, "web", sim_wall(k.sim) + 3 * AS_HOUR, k.engine->cfg->interval, &err));
    kit_end(&k);
}

/* Pruned every hour: what is left is from the last hour, and from the hour since it was last pruned. */
static void what_is_older_than_the_retention_is_deleted(void **state)
{
    (void)state;
    struct kit k;
    start(&k, WEB("retention = \"1h\"; ", "learner", "m.load"));
    kit_run(&k, 4 * AS_HOUR);
    assert_in_range(rows_of(&k, "m.load"), 55, 125);
    kit_end(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_series_is_learnt_from_after_a_restart),
        cmocka_unit_test(a_formula_is_learnt_from_after_a_restart),
        cmocka_unit_test(formulas_of_policies_that_do_not_learn_are_not_recorded),
        cmocka_unit_test(a_plan_is_shown_the_past_too),
        cmocka_unit_test(a_shadow_is_shown_the_past_too),
        cmocka_unit_test(a_plan_knows_how_long_launches_took),
        cmocka_unit_test(a_rare_decision_is_in_force_until_the_next),
        cmocka_unit_test(what_is_older_than_the_retention_is_deleted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
