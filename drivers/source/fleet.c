/* From instances to samples of instances and groups. Does no I/O, and never makes a number of a part that is
 * not known: of a sum with a part missing nothing is said. */
#include "fleet.h"

#include <stdlib.h>
#include <string.h>

struct tally { /* one group's instances, for one series */
    double sum, most;
    size_t told;
};

struct group_tally {
    size_t members;
    bool failed;
};

struct tallies {
    const struct fleet_series *series;
    size_t per_group;
    struct group_tally *groups;
    struct tally *cells; /* per_group of them for each group */
};

static size_t series_count(const struct fleet_series *s)
{
    size_t n = 0;
    while (s->docs[n].name)
        n++;
    return n;
}

static int remember(struct fleet *f, const char *group, size_t *index, struct as_error *err)
{
    for (size_t i = 0; i < f->count; i++)
        if (strcmp(f->groups[i], group) == 0) {
            *index = i;
            return AS_OK;
        }
    if (f->count == FLEET_GROUPS_MAX)
        return as_fail(err, AS_EPROTO, "there are instances of more than %d groups", FLEET_GROUPS_MAX);
    if (f->count == f->cap) {
        size_t cap = f->cap ? 2 * f->cap : 8;
        void *bigger = reallocarray(f->groups, cap, sizeof *f->groups);
        if (!bigger)
            return as_fail(err, AS_ENOMEM, "out of memory");
        f->groups = bigger;
        f->cap = cap;
    }
    strcpy(f->groups[f->count], group);
    *index = f->count++;
    return AS_OK;
}

static void count_row(struct tallies *t, size_t group, const struct fleet_row *row)
{
    t->groups[group].members++;
    t->groups[group].failed = t->groups[group].failed || row->failed;
    for (size_t s = 0; s < t->per_group; s++) {
        struct tally *cell = &t->cells[group * t->per_group + s];
        int field = t->series->fields[s];
        if (row->failed || !row->has[field])
            continue;
        cell->sum += row->value[field];
        cell->most = cell->told == 0 || row->value[field] > cell->most ? row->value[field] : cell->most;
        cell->told++;
    }
}

static int add_group(const struct tallies *t, size_t group, const char *name, struct as_samples *out,
                     struct as_error *err)
{
    const struct group_tally *g = &t->groups[group];
    int rc = AS_OK;
    for (size_t s = 0; rc == AS_OK && !g->failed && s < t->per_group; s++) {
        const struct tally *cell = &t->cells[group * t->per_group + s];
        const struct as_series_doc *doc = &t->series->docs[s];
        if (doc->merge == AS_MERGE_SUM ? cell->told < g->members : cell->told == 0)
            continue;
        if (doc->merge == AS_MERGE_SUM)
            rc = as_samples_add(out, name, doc->name, cell->sum, 1, err);
        else if (doc->merge == AS_MERGE_MAX)
            rc = as_samples_add(out, name, doc->name, cell->most, 1, err);
        else
            rc =
                as_samples_add(out, name, doc->name, cell->sum / (double)cell->told, (double)cell->told, err);
    }
    return rc;
}

static int add_row(const struct fleet_series *series, const struct fleet_row *row, struct as_samples *out,
                   struct as_error *err)
{
    int rc = AS_OK;
    for (size_t s = 0; rc == AS_OK && !row->failed && series->docs[s].name; s++)
        if (series->docs[s].merge != AS_MERGE_MAX && row->has[series->fields[s]])
            rc = as_samples_add(out, row->id, series->docs[s].name, row->value[series->fields[s]], 1, err);
    return rc;
}

static int add_all(const struct fleet *f, const struct tallies *t, const struct fleet_row *rows, size_t count,
                   struct as_samples *out, struct as_error *err)
{
    int rc = AS_OK;
    for (size_t g = 0; rc == AS_OK && g < f->count; g++)
        rc = add_group(t, g, f->groups[g], out, err);
    for (size_t i = 0; rc == AS_OK && i < count; i++)
        rc = add_row(t->series, &rows[i], out, err);
    return rc;
}

int fleet_add(struct fleet *f, const struct fleet_series *series, const struct fleet_row *rows, size_t count,
              struct as_samples *out, struct as_error *err)
{
    struct tallies t = { .series = series, .per_group = series_count(series) };
    size_t before = out->count, *of = calloc(count + 1, sizeof *of);
    int rc = of ? AS_OK : as_fail(err, AS_ENOMEM, "out of memory");
    for (size_t i = 0; rc == AS_OK && i < count; i++)
        rc = remember(f, rows[i].group, &of[i], err);
    if (rc == AS_OK) {
        t.groups = calloc(f->count + 1, sizeof *t.groups);
        t.cells = calloc(f->count + 1, t.per_group * sizeof *t.cells);
        rc = t.groups && t.cells ? AS_OK : as_fail(err, AS_ENOMEM, "out of memory");
    }
    for (size_t i = 0; rc == AS_OK && i < count; i++)
        count_row(&t, of[i], &rows[i]);
    if (rc == AS_OK)
        rc = add_all(f, &t, rows, count, out, err);
    if (rc != AS_OK)
        out->count = before;
    free(t.groups);
    free(t.cells);
    free(of);
    return rc;
}

void fleet_fini(struct fleet *f)
{
    free(f->groups);
    *f = (struct fleet){ 0 };
}
