/* The journal: what it remembers, what survives a kill and a full disk, and which files it refuses. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../controller/journal/journal.h"
#include "../../controller/journal/schema.h"

static char dir[64], path[96];
static struct as_error err;

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/autoscale-journal-XXXXXX");
    memset(&err, 0, sizeof err);
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/state.db", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    static const char *const names[] = { "state.db", "state.db-wal", "state.db-shm",    "state.db.lock",
                                         "alias.db", "state?#%.db",  "state?#%.db.lock" };
    char file[128];
    chmod(dir, 0700);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(file, sizeof file, "%s/%s", dir, names[i]);
        unlink(file);
    }
    return rmdir(dir);
}

static struct journal *open_as(enum journal_mode mode)
{
    struct journal *j = NULL;
    int rc = journal_open(path, "shop", mode, &j, &err);
    if (rc)
        print_error("%s\n", err.msg);
    assert_int_equal(rc, AS_OK);
    return j;
}

static void refused(enum journal_mode mode, const char *controller, enum as_rc rc, const char *text)
{
    struct journal *j = NULL;
    assert_int_equal(journal_open(path, controller, mode, &j, &err), rc);
    assert_null(j);
    assert_int_equal(err.rc, rc);
    if (!strstr(err.msg, text))
        print_error("%s\n", err.msg);
    assert_non_null(strstr(err.msg, text));
}

static struct journal_instance instance(const char *id, const char *group, const char *state)
{
    return (struct journal_instance){ .id = id,
                                      .group = group,
                                      .host = "h1",
                                      .state = state,
                                      .address = "10.0.0.7",
                                      .revision = "r1",
                                      .reason = "target wants 3",
                                      .port = 8080,
                                      .wanted_wall = 1000,
                                      .state_wall = 2000 };
}

static void put(struct journal *j, struct journal_instance row)
{
    assert_int_equal(journal_put_instance(j, &row, &err), AS_OK);
}

struct found {
    int count;
    char text[4096];
    struct journal *journal;
};

static int see_instance(void *arg, const struct journal_instance *r)
{
    struct found *f = arg;
    size_t len = strlen(f->text);
    f->count++;
    snprintf(f->text + len, sizeof f->text - len, "%s/%s/%s/%s/%s:%d/%s/%s/%lld/%lld/%lld;", r->id, r->group,
             r->host, r->state, r->address, r->port, r->revision, r->reason, (long long)r->wanted_wall,
             (long long)r->state_wall, (long long)r->serving_wall);
    return 0;
}

static int count_instances(struct journal *j)
{
    struct found f = { 0 };
    assert_int_equal(journal_each_instance(j, NULL, see_instance, &f, &err), AS_OK);
    return f.count;
}

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

static int keep_event(void *arg, const struct journal_event *e)
{
    struct found *f = arg;
    size_t len = strlen(f->text);
    f->count++;
    snprintf(f->text + len, sizeof f->text - len, "%lld %s %s %s %s;", (long long)e->wall, e->group,
             e->instance, e->kind, e->text);
    return 0;
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

static int keep_decision(void *arg, const struct journal_decision *d)
{
    struct found *f = arg;
    size_t len = strlen(f->text);
    f->count++;
    snprintf(f->text + len, sizeof f->text - len, "%lld-%lld x%lld %s %d>%d %s %s %s;", (long long)d->wall,
             (long long)d->last_wall, (long long)d->repeats, d->group, d->current, d->desired, d->outcome,
             d->json, d->last_json);
    return 0;
}

static void decide(struct journal *j, int64_t wall, const char *group, const char *outcome, const char *json)
{
    assert_int_equal(journal_put_decision(j, wall, group, 2, 3, outcome, json, &err), AS_OK);
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

/* --- turns, kill, disk full ---------------------------------------------------------------------- */

static void turns_do_not_nest_and_need_a_begin(void **state)
{
    (void)state;
    struct journal *j = open_as(JOURNAL_MEMORY);
    assert_int_equal(journal_commit(j, &err), AS_EINVAL);
    assert_int_equal(journal_begin(j, &err), AS_OK);
    assert_int_equal(journal_begin(j, &err), AS_EINVAL);
    assert_int_equal(journal_commit(j, &err), AS_OK);
    journal_close(j);
}

static void a_turn_given_up_leaves_nothing_and_the_next_one_works(void **state)
{
    (void)state;
    struct journal *j = open_as(JOURNAL_WRITE);
    journal_rollback(j); /* none under way */
    decide(j, 10, "web", "hold", "{1}");
    assert_int_equal(journal_begin(j, &err), AS_OK);
    put(j, instance("web-1", "web", "WANTED"));
    decide(j, 11, "web", "out", "{2}");
    journal_rollback(j);
    assert_int_equal(journal_knows_instance(j, "web-1"), 0);
    assert_int_equal(journal_begin(j, &err), AS_OK);
    decide(j, 12, "web", "hold", "{3}");
    assert_int_equal(journal_commit(j, &err), AS_OK);
    struct found f = { 0 };
    assert_int_equal(journal_each_decision(j, NULL, 0, 100, 10, keep_decision, &f, &err), AS_OK);
    assert_string_equal(f.text, "10-12 x1 web 2>3 hold {1} {3};");
    journal_close(j);
}

/* Commits one turn, begins another, and waits to be killed in the middle of it. */
static void child_until_killed(int ready)
{
    struct journal *j = NULL;
    struct journal_instance r = instance("web-1", "web", "CREATING");
    if (journal_open(path, "shop", JOURNAL_WRITE, &j, NULL) || journal_begin(j, NULL) ||
        journal_put_instance(j, &r, NULL) || journal_commit(j, NULL) || journal_begin(j, NULL))
        _exit(1);
    r.id = "web-2";
    if (journal_put_instance(j, &r, NULL) || write(ready, "x", 1) != 1)
        _exit(1);
    for (;;)
        pause();
}

static pid_t start_child(void)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_int_not_equal(pid, -1);
    if (pid == 0)
        child_until_killed(fds[1]);
    close(fds[1]);
    char x;
    assert_int_equal(read(fds[0], &x, 1), 1);
    close(fds[0]);
    return pid;
}

static void end_child(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void a_commit_survives_kill_9_and_an_unfinished_turn_does_not(void **state)
{
    (void)state;
    end_child(start_child());
    struct journal *j = open_as(JOURNAL_WRITE);
    assert_int_equal(journal_knows_instance(j, "web-1"), 1);
    assert_int_equal(journal_knows_instance(j, "web-2"), 0);
    journal_close(j);
}

static void a_second_daemon_is_refused_with_the_pid_of_the_first(void **state)
{
    (void)state;
    pid_t pid = start_child();
    char text[64], alias[96];
    snprintf(text, sizeof text, "is in use by another autoscale (pid %ld)", (long)pid);
    refused(JOURNAL_WRITE, "shop", AS_EAGAIN, text);
    snprintf(alias, sizeof alias, "%s/alias.db", dir);
    assert_int_equal(symlink(path, alias), 0); /* another name of the same file */
    char real[96];
    memcpy(real, path, sizeof real);
    memcpy(path, alias, sizeof path);
    refused(JOURNAL_WRITE, "shop", AS_EAGAIN, text);
    memcpy(path, real, sizeof path);
    end_child(pid);
    journal_close(open_as(JOURNAL_WRITE)); /* the lock died with its owner */
}

static void readers_read_while_the_daemon_writes(void **state)
{
    (void)state;
    pid_t pid = start_child();
    struct journal *j = open_as(JOURNAL_READ);
    assert_int_equal(count_instances(j), 1);
    struct journal_instance r = instance("web-9", "web", "WANTED");
    assert_int_equal(journal_put_instance(j, &r, &err), AS_EIO);
    journal_close(j);
    end_child(pid);
}

static int fill(struct journal *j)
{
    static char text[200001];
    memset(text, 'x', sizeof text - 1);
    int rc = journal_begin(j, &err);
    for (int i = 0; !rc && i < 10; i++)
        rc = journal_put_event(j, i, "web", "", "x", text, &err);
    int commit = journal_commit(j, &err);
    return commit ? commit : rc;
}

/* Runs in a child: the limit on file sizes stands for a disk that is full. Returns the exit status. */
static int child_with_full_disk(void)
{
    struct journal *j = NULL;
    struct journal_instance r = instance("web-1", "web", "CREATING");
    struct rlimit limit = { 300000, RLIM_INFINITY };
    signal(SIGXFSZ, SIG_IGN);
    if (journal_open(path, "shop", JOURNAL_WRITE, &j, NULL) || journal_put_instance(j, &r, NULL))
        return 1;
    setrlimit(RLIMIT_FSIZE, &limit);
    if (fill(j) != AS_EIO || !strstr(err.msg, "cannot write") || !strstr(err.msg, "state.db"))
        return 2;
    limit.rlim_cur = RLIM_INFINITY;
    setrlimit(RLIMIT_FSIZE, &limit);
    r.id = "web-2";
    if (journal_begin(j, &err) || journal_put_instance(j, &r, &err) || journal_commit(j, &err))
        return 3;
    struct found f = { 0 };
    if (journal_each_event(j, NULL, 0, 100, keep_event, &f, &err) || f.count != 0)
        return 4;
    journal_close(j);
    return 0;
}

static void a_full_disk_fails_the_turn_whole_and_the_journal_goes_on(void **state)
{
    (void)state;
    pid_t pid = fork();
    assert_int_not_equal(pid, -1);
    if (pid == 0)
        _exit(child_with_full_disk());
    int status = 0;
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    struct journal *j = open_as(JOURNAL_WRITE);
    assert_int_equal(count_instances(j), 2);
    journal_close(j);
}

/* --- files that are refused ---------------------------------------------------------------------- */

static void write_file(const char *content, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, size), (ssize_t)size);
    close(fd);
}

static unsigned long sum_file(void)
{
    unsigned long sum = 5381;
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    for (int c; (c = getc(f)) != EOF;)
        sum = sum * 33 + (unsigned)c;
    fclose(f);
    return sum;
}

static void execute(const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void a_file_that_is_no_database_is_refused_and_untouched(void **state)
{
    (void)state;
    char text[2048];
    memset(text, 'q', sizeof text);
    write_file(text, sizeof text);
    unsigned long before = sum_file();
    refused(JOURNAL_WRITE, "shop", AS_EIO, "is damaged (file is not a database): move it aside");
    refused(JOURNAL_READ, "shop", AS_EIO, "is damaged");
    assert_int_equal(sum_file(), before);
}

/* Overwrites whole pages behind the first with rubbish. */
static void damage(void)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    int fd = open(path, O_WRONLY);
    char rubbish[4096];
    memset(rubbish, 0xa5, sizeof rubbish);
    for (off_t at = 4096; at + 4096 <= st.st_size; at += 8192)
        assert_int_equal(pwrite(fd, rubbish, sizeof rubbish, at), 4096);
    close(fd);
}

static void damage_behind_an_unclean_end_is_found_at_open_and_the_file_untouched(void **state)
{
    (void)state;
    struct journal *j = open_as(JOURNAL_WRITE);
    assert_int_equal(fill(j), AS_OK);
    journal_close(j); /* all pages in the file */
    end_child(start_child());
    damage();
    unsigned long before = sum_file();
    refused(JOURNAL_WRITE, "shop", AS_EIO, "is damaged (");
    assert_non_null(strstr(err.msg, "found again by their marks"));
    assert_null(strchr(err.msg, '\n'));
    assert_int_equal(sum_file(), before);
    char wal[128];
    snprintf(wal, sizeof wal, "%s-wal", path);
    assert_int_equal(access(wal, F_OK), 0);
}

static void another_controllers_journal_is_refused(void **state)
{
    (void)state;
    journal_close(open_as(JOURNAL_WRITE));
    refused(JOURNAL_WRITE, "staging", AS_EINVAL, "belongs to controller 'shop', not 'staging'");
    refused(JOURNAL_READ, "staging", AS_EINVAL, "belongs to controller 'shop'");
    journal_close(open_as(JOURNAL_WRITE));
}

static void another_programs_database_is_refused_and_untouched(void **state)
{
    (void)state;
    execute("CREATE TABLE shopping(list TEXT)");
    unsigned long before = sum_file();
    refused(JOURNAL_WRITE, "shop", AS_EINVAL, "is a database of another program");
    refused(JOURNAL_READ, "shop", AS_EINVAL, "is a database of another program");
    assert_int_equal(sum_file(), before);
}

static void a_newer_schema_is_refused_and_untouched(void **state)
{
    (void)state;
    journal_close(open_as(JOURNAL_WRITE));
    execute("PRAGMA user_version = 99");
    unsigned long before = sum_file();
    refused(JOURNAL_WRITE, "shop", AS_EINVAL, "written by a newer autoscale (version 99");
    refused(JOURNAL_READ, "shop", AS_EINVAL, "upgrade this autoscale");
    assert_int_equal(sum_file(), before);
}

static void an_empty_file_is_initialised(void **state)
{
    (void)state;
    write_file("", 0);
    struct journal *j = open_as(JOURNAL_READ);
    assert_int_equal(count_instances(j), 0);
    journal_close(j);
    j = open_as(JOURNAL_WRITE);
    put(j, instance("web-1", "web", "SERVING"));
    assert_int_equal(count_instances(j), 1);
    journal_close(j);
}

static void a_missing_directory_is_named(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "%s/none/state.db", dir);
    refused(JOURNAL_WRITE, "shop", AS_EIO, "/none: create it");
    struct journal *j = open_as(JOURNAL_READ); /* nothing was ever written there */
    journal_close(j);
}

static void a_missing_file_reads_as_empty_and_is_not_made(void **state)
{
    (void)state;
    struct journal *j = open_as(JOURNAL_READ);
    assert_int_equal(count_instances(j), 0);
    journal_close(j);
    assert_int_equal(access(path, F_OK), -1);
}

/* Runs in a child without rights on the directory. 0: read one instance, else the class. */
static int read_unprivileged(void)
{
    pid_t pid = fork();
    assert_int_not_equal(pid, -1);
    if (pid == 0) {
        struct journal *j = NULL;
        struct found f = { 0 };
        if (geteuid() == 0 && setuid(65534) != 0)
            _exit(99);
        int rc = journal_open(path, "shop", JOURNAL_READ, &j, &err);
        if (!rc)
            rc = journal_each_instance(j, NULL, see_instance, &f, &err);
        journal_close(j);
        _exit(rc ? rc : f.count == 1 ? 0 : 98);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void a_reader_without_write_permission_reads_a_closed_journal(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "%s/state?#%%.db", dir); /* the way there is a URI */
    struct journal *j = open_as(JOURNAL_WRITE);
    put(j, instance("web-1", "web", "SERVING"));
    journal_close(j);
    chmod(path, 0444);
    chmod(dir, 0555);
    assert_int_equal(read_unprivileged(), 0);
}

static void a_reader_that_cannot_join_the_log_says_so(void **state)
{
    (void)state;
    end_child(start_child()); /* leaves a log */
    char shm[128];
    snprintf(shm, sizeof shm, "%s-shm", path);
    unlink(shm);
    snprintf(shm, sizeof shm, "%s-wal", path);
    chmod(shm, 0444);
    chmod(path, 0444);
    chmod(dir, 0555);
    assert_int_equal(read_unprivileged(), AS_EIO);
    chmod(path, 0600);
}

/* --- migration ----------------------------------------------------------------------------------- */

static int file_version(void)
{
    sqlite3 *db;
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    int version = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return version;
}

static void an_older_file_is_taken_to_the_next_version_with_its_rows(void **state)
{
    (void)state;
    struct journal *j = open_as(JOURNAL_WRITE);
    put(j, instance("web-1", "web", "SERVING"));
    journal_close(j);
    assert_int_equal(file_version(), schema_version);
    assert_int_equal(schema_version, 1); /* a new version brings its own test with a real older file */
    const char *const steps[] = { schema_steps[0],
                                  "ALTER TABLE instance ADD COLUMN zone TEXT NOT NULL DEFAULT 'a'",
                                  "CREATE TABLE zone(name TEXT)" };
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(schema_upgrade(db, steps, 3), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(file_version(), 3);
    execute("INSERT INTO zone SELECT zone FROM instance WHERE id = 'web-1' AND zone = 'a'");
}

static void a_failing_migration_changes_nothing(void **state)
{
    (void)state;
    journal_close(open_as(JOURNAL_WRITE));
    const char *const steps[] = { schema_steps[0], "CREATE TABLE zone(name TEXT)",
                                  "CREATE TABLE zone(name TEXT)" };
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(schema_upgrade(db, steps, 3), SQLITE_ERROR);
    sqlite3_close(db);
    assert_int_equal(file_version(), 1);
    execute("CREATE TABLE zone(name TEXT)"); /* the first half is not there either */
}

int main(void)
{
#define JOURNAL_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        JOURNAL_TEST(instances_are_found_again_after_a_restart),
        JOURNAL_TEST(the_file_is_private_and_marked),
        JOURNAL_TEST(events_come_newest_first_within_limits),
        JOURNAL_TEST(the_ledger_gives_the_changes_of_one_group_in_order),
        JOURNAL_TEST(a_repeated_decision_is_folded_also_after_a_restart),
        JOURNAL_TEST(a_rolled_back_decision_is_not_folded_into),
        JOURNAL_TEST(samples_come_back_by_metric),
        JOURNAL_TEST(launch_times_are_the_newest_first),
        JOURNAL_TEST(values_are_kept_replaced_and_removed),
        JOURNAL_TEST(a_callback_may_use_the_journal),
        JOURNAL_TEST(pruning_takes_old_history_in_batches_and_never_a_living_instance),
        JOURNAL_TEST(turns_do_not_nest_and_need_a_begin),
        JOURNAL_TEST(a_turn_given_up_leaves_nothing_and_the_next_one_works),
        JOURNAL_TEST(a_commit_survives_kill_9_and_an_unfinished_turn_does_not),
        JOURNAL_TEST(a_second_daemon_is_refused_with_the_pid_of_the_first),
        JOURNAL_TEST(readers_read_while_the_daemon_writes),
        JOURNAL_TEST(a_full_disk_fails_the_turn_whole_and_the_journal_goes_on),
        JOURNAL_TEST(a_file_that_is_no_database_is_refused_and_untouched),
        JOURNAL_TEST(damage_behind_an_unclean_end_is_found_at_open_and_the_file_untouched),
        JOURNAL_TEST(another_controllers_journal_is_refused),
        JOURNAL_TEST(another_programs_database_is_refused_and_untouched),
        JOURNAL_TEST(a_newer_schema_is_refused_and_untouched),
        JOURNAL_TEST(an_empty_file_is_initialised),
        JOURNAL_TEST(a_missing_directory_is_named),
        JOURNAL_TEST(a_missing_file_reads_as_empty_and_is_not_made),
        JOURNAL_TEST(a_reader_without_write_permission_reads_a_closed_journal),
        JOURNAL_TEST(a_reader_that_cannot_join_the_log_says_so),
        JOURNAL_TEST(an_older_file_is_taken_to_the_next_version_with_its_rows),
        JOURNAL_TEST(a_failing_migration_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
