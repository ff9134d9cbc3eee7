/* What the tests of the journal share: a file in a directory of the test's own, rows, and what is read back. Included
 * once. */
#ifndef UNIT_JOURNAL_KIT_H
#define UNIT_JOURNAL_KIT_H

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

static inline int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/autoscale-journal-XXXXXX");
    memset(&err, 0, sizeof err);
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/state.db", dir);
    return 0;
}

static inline int teardown(void **state)
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

static inline struct journal *open_as(enum journal_mode mode)
{
    struct journal *j = NULL;
    int rc = journal_open(path, "shop", mode, &j, &err);
    if (rc)
        print_error("%s\n", err.msg);
    assert_int_equal(rc, AS_OK);
    return j;
}

static inline void refused(enum journal_mode mode, const char *controller, enum as_rc rc, const char *text)
{
    struct journal *j = NULL;
    assert_int_equal(journal_open(path, controller, mode, &j, &err), rc);
    assert_null(j);
    assert_int_equal(err.rc, rc);
    if (!strstr(err.msg, text))
        print_error("%s\n", err.msg);
    assert_non_null(strstr(err.msg, text));
}

static inline struct journal_instance instance(const char *id, const char *group, const char *state)
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

static inline void put(struct journal *j, struct journal_instance row)
{
    assert_int_equal(journal_put_instance(j, &row, &err), AS_OK);
}

struct found {
    int count;
    char text[4096];
    struct journal *journal;
};

static inline int see_instance(void *arg, const struct journal_instance *r)
{
    struct found *f = arg;
    size_t len = strlen(f->text);
    f->count++;
    snprintf(f->text + len, sizeof f->text - len, "%s/%s/%s/%s/%s:%d/%s/%s/%lld/%lld/%lld;", r->id, r->group,
             r->host, r->state, r->address, r->port, r->revision, r->reason, (long long)r->wanted_wall,
             (long long)r->state_wall, (long long)r->serving_wall);
    return 0;
}

static inline int count_instances(struct journal *j)
{
    struct found f = { 0 };
    assert_int_equal(journal_each_instance(j, NULL, see_instance, &f, &err), AS_OK);
    return f.count;
}

static inline int keep_event(void *arg, const struct journal_event *e)
{
    struct found *f = arg;
    size_t len = strlen(f->text);
    f->count++;
    snprintf(f->text + len, sizeof f->text - len, "%lld %s %s %s %s;", (long long)e->wall, e->group,
             e->instance, e->kind, e->text);
    return 0;
}

static inline int keep_decision(void *arg, const struct journal_decision *d)
{
    struct found *f = arg;
    size_t len = strlen(f->text);
    f->count++;
    snprintf(f->text + len, sizeof f->text - len, "%lld-%lld x%lld %s %d>%d %s %s %s;", (long long)d->wall,
             (long long)d->last_wall, (long long)d->repeats, d->group, d->current, d->desired, d->outcome,
             d->json, d->last_json);
    return 0;
}

static inline void decide(struct journal *j, int64_t wall, const char *group, const char *outcome, const char *json)
{
    assert_int_equal(journal_put_decision(j, wall, group, 2, 3, outcome, json, &err), AS_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
