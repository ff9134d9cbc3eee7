/* offline: a private copy of the journal, so that nothing that may not act can write to the real one. */
#include <stdio.h>
#include <stdlib.h>

#include "offline.h"

struct copy {
    struct journal *to;
    const char *group;
    struct as_error *err;
    int rc;
};

static int copy_instance(void *arg, const struct journal_instance *row)
{
    struct copy *c = arg;
    c->rc = journal_put_instance(c->to, row, c->err);
    return c->rc != AS_OK;
}

static int copy_scale(void *arg, int64_t wall, int delta)
{
    struct copy *c = arg;
    c->rc = journal_put_scale(c->to, wall, c->group, delta, c->err);
    return c->rc != AS_OK;
}

static int copy_group(struct journal *from, struct journal *to, const char *group, struct as_error *err)
{
    struct copy c = { to, group, err, AS_OK };
    char key[AS_NAME_MAX + 16], *value = NULL;
    int rc = journal_each_instance(from, group, copy_instance, &c, err);
    if (rc == AS_OK && c.rc == AS_OK)
        rc = journal_each_scale(from, group, as_clock_wall() - AS_DAY, copy_scale, &c, err);
    snprintf(key, sizeof key, "desired/%s", group);
    if (rc == AS_OK && c.rc == AS_OK)
        rc = journal_get(from, key, &value, err);
    if (rc == AS_OK && c.rc == AS_OK && value)
        rc = journal_set(to, key, value, err);
    free(value);
    return rc != AS_OK ? rc : c.rc;
}

int offline_journal(const struct cfg *cfg, struct journal **out, struct journal **past, struct as_error *err)
{
    struct journal *from = NULL, *to = NULL;
    int rc = journal_open(cfg->state, cfg->name, JOURNAL_READ, &from, err);
    if (rc == AS_OK)
        rc = journal_open(NULL, cfg->name, JOURNAL_MEMORY, &to, err);
    if (rc == AS_OK)
        rc = journal_begin(to, err);
    for (size_t k = 0; rc == AS_OK && k < cfg->group_count; k++)
        rc = copy_group(from, to, cfg->groups[k].name, err);
    if (rc == AS_OK)
        rc = journal_commit(to, err);
    if (rc != AS_OK) {
        journal_close(from);
        journal_close(to);
        return rc;
    }
    *out = to;
    *past = from;
    return AS_OK;
}
