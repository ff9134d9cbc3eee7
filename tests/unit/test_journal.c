/* The journal: what it remembers, in which order it is read back, and what is forgotten. */
#include "journal_kit.h"

static void instances_are_found_again_after_a_restart(void **state)
{
    (void)state;
    struct journal *j = open_as(JOURNAL_WRITE);
    assert_int_equal(journal_begin(j, &err), AS_OK);
    put(j, instance("web-1", "web", "CREATING"));
    put(j, instance("web-1", "web", "BOOTING"));
    put(j, instance("web-2", "web", "GONE"));
    put(j, instance("api-1", "api", "SERVING"));
    assert_int_equal(journal_commit(j, &err), AS_OK);
    journal_close(j);
    j = open_as(JOURNAL_WRITE);
    struct found f = { 0 };
    assert_int_equal(journal_each_instance(j, "web", see_instance, &f, &err), AS_OK);
    assert_string_equal(f.text, "web-1/web/h1/BOOTING/10.0.0.7:8080/r1/target wants 3/1000/2000/0;");
    assert_int_equal(count_instances(j), 2);
    assert_int_equal(journal_knows_instance(j, "web-2"), 1);
    assert_int_equal(journal_knows_instance(j, "web-9"), 0);
    journal_close(j);
}

static void the_file_is_private_and_marked(void **state)
{
    (void)state;
    struct journal *j = open_as(JOURNAL_WRITE);
    put(j, instance("web-1", "web", "SERVING"));
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    char wal[128];
    snprintf(wal, sizeof wal, "%s-wal", path);
    assert_int_equal(stat(wal, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    journal_close(j);
    sqlite3 *db;
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA application_id", -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(s, 0), SCHEMA_APPLICATION_ID);
    sqlite3_finalize(s);
    sqlite3_close(db);
}

static int stop_at_once(void *arg, const struct journal_event *e)
{
    (void)e;
    ++*(int *)arg;
    return 1;
}

static void events_come_newest_first_within_limits(void **state)
{
    (void)state;
    struct journal *j = open_as(JOURNAL_MEMORY);
    journal_put_event(j, 10, "web", "web-1", "state", "a", &err);
    journal_put_event(j, 20, "api", "", "breaker", "b", &err);
    journal_put_event(j, 30, "web", NULL, "reload", "c", &err);
    journal_put_event(j, 30, "web", "", "reload", "d", &err);
    struct found f = { 0 };
    assert_int_equal(journal_each_event(j, NULL, 15, 10, keep_event, &f, &err), AS_OK);
    assert_string_equal(f.text, "30 web  reload d;30 web  reload c;20 api  breaker b;");
    memset(&f, 0, sizeof f);
    assert_int_equal(journal_each_event(j, "web", 0, 2, keep_event, &f, &err), AS_OK);
    assert_string_equal(f.text, "30 web  reload d;30 web  reload c;");
    int calls = 0;
    assert_int_equal(journal_each_event(j, NULL, 0, 10, stop_at_once, &calls, &err), AS_OK);
    assert_int_equal(calls, 1);
    journal_close(j);
}

static int keep_scale(void *arg, int64_t wall, int delta)
{
    struct found *f = arg;
    size_t len = strlen(f->text);
    snprintf(f->text + len, sizeof f->text - len, "%lld %+d;", (long long)wall, delta);
    return 0;
}

static void the_ledger_gives_the_changes_of_one_group_in_order(void **state)
{
    (void)state;
    struct journal *j = open_as(JOURNAL_MEMORY);
    journal_put_scale(j, 10, "web", 2, &err);
    journal_put_scale(j, 20, "api", 5, &err);
    journal_put_scale(j, 30, "web", -1, &err);
    journal_put_scale(j, 5, "web", 9, &err);
    struct found f = { 0 };
    assert_int_equal(journal_each_scale(j, "web", 10, keep_scale, &f, &err), AS_OK);
    assert_string_equal(f.text, "10 +2;30 -1;");
    journal_close(j);
}

static void a_repeated_decision_is_folded_also_after_a_restart(void **state)
{
    (void)state;
    struct journal *j = open_as(JOURNAL_WRITE);
    decide(j, 10, "web", "hold", "{1}");
    decide(j, 11, "api", "out", "{2}");
    decide(j, 12, "web", "hold", "{3}");
    journal_close(j);
    j = open_as(JOURNAL_WRITE);
    decide(j, 14, "web", "hold", "{4}");
    decide(j, 16, "web", "out", "{5}");
    decide(j, 18, "web", "hold", "{6}");
    struct found f = { 0 };
    assert_int_equal(journal_each_decision(j, "web", 0, 100, 10, keep_decision, &f, &err), AS_OK);
    assert_string_equal(f.text, "18-18 x0 web 2>3 hold {6} {6};16-16 x0 web 2>3 out {5} {5};"
                                "10-14 x2 web 2>3 hold {1} {4};");
    memset(&f, 0, sizeof f);
    assert_int_equal(journal_each_decision(j, NULL, 12, 16, 10, keep_decision, &f, &err), AS_OK);
    assert_int_equal(f.count, 2); /* the folded one overlaps, the api's does not */
    memset(&f, 0, sizeof f);
    assert_int_equal(journal_each_decision(j, NULL, 0, 100, 1, keep_decision, &f, &err), AS_OK);
    assert_int_equal(f.count, 1);
    journal_close(j);
}

static void a_rolled_back_decision_is_not_folded_into(void **state)
{
    (void)state;
    struct journal *j = open_as(JOURNAL_WRITE);
    decide(j, 10, "web", "hold", "{1}");
    assert_int_equal(journal_begin(j, &err), AS_OK);
    decide(j, 11, "web", "out", "{2}");
    journal_close(j); /* the turn never ended */
    j = open_as(JOURNAL_WRITE);
    decide(j, 12, "web", "hold", "{3}");
    struct found f = { 0 };
    assert_int_equal(journal_each_decision(j, NULL, 0, 100, 10, keep_decision, &f, &err), AS_OK);
    assert_string_equal(f.text, "10-12 x1 web 2>3 hold {1} {3};");
    journal_close(j);
}

static int keep_sample(void *arg, const struct journal_sample *s)
{
    struct found *f = arg;
    size_t len = strlen(f->text);
    snprintf(f->text + len, sizeof f->text - len, "%lld %s %g %g %g %d;", (long long)s->wall, s->metric,
             s->mean, s->min, s->max, s->count);
    return 0;
}

static void samples_come_back_by_metric(void **state)
{
    (void)state;
    struct journal *j = open_as(JOURNAL_MEMORY);
    struct journal_sample s = { 60000, "lb.web.sessions", 2.5, 1, 4, 30 };
    assert_int_equal(journal_put_sample(j, &s, &err), AS_OK);
    s.max = 5; /* the same minute again replaces */
    assert_int_equal(journal_put_sample(j, &s, &err), AS_OK);
    s.metric = "db.connections";
    assert_int_equal(journal_put_sample(j, &s, &err), AS_OK);
    s.wall = 120000;
    assert_int_equal(journal_put_sample(j, &s, &err), AS_OK);
    s.mean = 0.0 / (s.count - 30.0);
    assert_int_equal(journal_put_sample(j, &s, &err), AS_EINVAL);
    struct found f = { 0 };
    assert_int_equal(journal_each_sample(j, "lb.web.sessions", 0, keep_sample, &f, &err), AS_OK);
    assert_int_equal(journal_each_sample(j, "db.connections", 60001, keep_sample, &f, &err), AS_OK);
    assert_int_equal(journal_each_sample(j, "unheard.of", 0, keep_sample, &f, &err), AS_OK);
    assert_string_equal(f.text, "60000 lb.web.sessions 2.5 1 5 30;120000 db.connections 2.5 1 5 30;");
    journal_close(j);
}

static void launch_times_are_the_newest_first(void **state)
{
    (void)state;
    struct journal *j = open_as(JOURNAL_MEMORY);
    struct journal_instance r = instance("web-1", "web", "GONE");
    r.serving_wall = 3500;
    put(j, r);
    r.id = "web-2";
    r.wanted_wall = 10000;
    r.serving_wall = 11000;
    put(j, r);
    put(j, instance("web-3", "web", "BOOTING")); /* never served */
    double s[4];
    assert_int_equal(journal_launch_seconds(j, "web", s, 4), 2);
    assert_true(s[0] == 1.0 && s[1] == 2.5);
    assert_int_equal(journal_launch_seconds(j, "web", s, 1), 1);
    assert_int_equal(journal_launch_seconds(j, "api", s, 4), 0);
    journal_close(j);
}

static void values_are_kept_replaced_and_removed(void **state)
{
    (void)state;
    struct journal *j = open_as(JOURNAL_WRITE);
    char *value = NULL;
    assert_int_equal(journal_set(j, "breaker.web", "open", &err), AS_OK);
    assert_int_equal(journal_set(j, "breaker.web", "half", &err), AS_OK);
    journal_close(j);
    j = open_as(JOURNAL_WRITE);
    assert_int_equal(journal_get(j, "breaker.web", &value, &err), AS_OK);
    assert_string_equal(value, "half");
    free(value);
    assert_int_equal(journal_set(j, "breaker.web", NULL, &err), AS_OK);
    assert_int_equal(journal_get(j, "breaker.web", &value, &err), AS_OK);
    assert_null(value);
    journal_close(j);
}

static int journal_in_callback(void *arg, const struct journal_instance *r)
{
    struct found *f = arg;
    f->count++;
    assert_int_equal(journal_knows_instance(f->journal, r->id), 1);
    assert_int_equal(journal_put_event(f->journal, 1, r->group, r->id, "adopted", "", &err), AS_OK);
    struct found inner = { 0 };
    assert_int_equal(journal_each_instance(f->journal, NULL, see_instance, &inner, &err), AS_OK);
    assert_int_equal(inner.count, 2);
    return 0;
}

static void a_callback_may_use_the_journal(void **state)
{
    (void)state;
    struct journal *j = open_as(JOURNAL_MEMORY);
    put(j, instance("web-1", "web", "SERVING"));
    put(j, instance("web-2", "web", "SERVING"));
    struct found f = { .journal = j };
    assert_int_equal(journal_each_instance(j, NULL, journal_in_callback, &f, &err), AS_OK);
    assert_int_equal(f.count, 2);
    journal_close(j);
}

static void pruning_takes_old_history_in_batches_and_never_a_living_instance(void **state)
{
    (void)state;
    struct journal *j = open_as(JOURNAL_WRITE);
    assert_int_equal(journal_begin(j, &err), AS_OK);
    char name[32];
    for (int i = 0; i < 2500; i++)
        journal_put_event(j, i, "web", "", "x", "old", &err);
    journal_put_event(j, 5000, "web", "", "x", "new", &err);
    for (int i = 0; i < 1500; i++) {
        struct journal_sample s = { i, i % 2 ? "a.old" : "b.both", 1, 1, 1, 1 };
        journal_put_sample(j, &s, &err);
    }
    struct journal_sample recent = { 5000, "b.both", 7, 7, 7, 1 };
    journal_put_sample(j, &recent, &err);
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "web-%d", i);
        struct journal_instance r = instance(name, "web", i == 0 ? "SERVING" : "GONE");
        r.state_wall = i == 2 ? 6000 : 1;
        put(j, r);
    }
    journal_put_scale(j, 1, "web", 1, &err);
    decide(j, 1, "web", "hold", "{}");
    assert_int_equal(journal_commit(j, &err), AS_OK);

    bool more = true;
    int calls = 0;
    while (more) {
        assert_int_equal(journal_prune(j, 4000, &more, &err), AS_OK);
        assert_true(++calls < 10);
    }
    assert_int_equal(calls, 3);
    struct found f = { 0 };
    journal_each_event(j, NULL, 0, 10000, keep_event, &f, &err);
    journal_each_sample(j, "a.old", 0, keep_sample, &f, &err);
    journal_each_sample(j, "b.both", 0, keep_sample, &f, &err);
    journal_each_scale(j, "web", 0, keep_scale, &f, &err);
    journal_each_decision(j, NULL, 0, 9000, 10, keep_decision, &f, &err);
    assert_string_equal(f.text, "5000 web  x new;5000 b.both 7 7 7 1;");
    assert_int_equal(journal_knows_instance(j, "web-0"), 1);
    assert_int_equal(journal_knows_instance(j, "web-1"), 0);
    assert_int_equal(journal_knows_instance(j, "web-2"), 1);
    decide(j, 8000, "web", "hold", "{}"); /* its head was pruned: a new row */
    memset(&f, 0, sizeof f);
    journal_each_decision(j, NULL, 0, 9000, 10, keep_decision, &f, &err);
    assert_string_equal(f.text, "8000-8000 x0 web 2>3 hold {} {};");
    journal_close(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(instances_are_found_again_after_a_restart),
        TEST(the_file_is_private_and_marked),
        TEST(events_come_newest_first_within_limits),
        TEST(the_ledger_gives_the_changes_of_one_group_in_order),
        TEST(a_repeated_decision_is_folded_also_after_a_restart),
        TEST(a_rolled_back_decision_is_not_folded_into),
        TEST(samples_come_back_by_metric),
        TEST(launch_times_are_the_newest_first),
        TEST(values_are_kept_replaced_and_removed),
        TEST(a_callback_may_use_the_journal),
        TEST(pruning_takes_old_history_in_batches_and_never_a_living_instance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
