/* The journal's file: what survives a kill and a full disk, which files it refuses, and how an older one is taken on. */
#include "journal_kit.h"

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
    const struct CMUnitTest tests[] = {
        TEST(turns_do_not_nest_and_need_a_begin),
        TEST(a_turn_given_up_leaves_nothing_and_the_next_one_works),
        TEST(a_commit_survives_kill_9_and_an_unfinished_turn_does_not),
        TEST(a_second_daemon_is_refused_with_the_pid_of_the_first),
        TEST(readers_read_while_the_daemon_writes),
        TEST(a_full_disk_fails_the_turn_whole_and_the_journal_goes_on),
        TEST(a_file_that_is_no_database_is_refused_and_untouched),
        TEST(damage_behind_an_unclean_end_is_found_at_open_and_the_file_untouched),
        TEST(another_controllers_journal_is_refused),
        TEST(another_programs_database_is_refused_and_untouched),
        TEST(a_newer_schema_is_refused_and_untouched),
        TEST(an_empty_file_is_initialised),
        TEST(a_missing_directory_is_named),
        TEST(a_missing_file_reads_as_empty_and_is_not_made),
        TEST(a_reader_without_write_permission_reads_a_closed_journal),
        TEST(a_reader_that_cannot_join_the_log_says_so),
        TEST(an_older_file_is_taken_to_the_next_version_with_its_rows),
        TEST(a_failing_migration_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
