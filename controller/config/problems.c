/* Problems of a configuration: the list, its order, its text, and the search for the name that was
 * meant. It must never lose the fact that there was an error, even when memory runs out. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "problems.h"

#define NAME_LIMIT 64 /* longer names are compared by their beginning */

static struct cfg_problem *problems_slot(struct cfg_problems *p)
{
    if (p->count >= CFG_PROBLEMS_CAP)
        return NULL;
    if (p->count == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 16;
        struct cfg_problem *items = reallocarray(p->items, cap, sizeof *items);
        if (!items)
            return NULL;
        p->items = items;
        p->cap = cap;
    }
    struct cfg_problem *slot = &p->items[p->count++];
    memset(slot, 0, sizeof *slot);
    return slot;
}

/* Keeps the end of an over-long path: that is the part that tells files apart. */
static void problem_place(struct cfg_problem *slot, const char *file, int line)
{
    size_t length = strlen(file);
    size_t room = sizeof slot->file - 1;
    snprintf(slot->file, sizeof slot->file, "%s", length > room ? file + (length - room) : file);
    slot->line = line;
}

void problems_error(struct cfg_problems *p, const char *file, int line, const char *fmt, ...)
{
    p->errors++;
    struct cfg_problem *slot = problems_slot(p);
    if (!slot)
        return;
    problem_place(slot, file, line);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(slot->text, sizeof slot->text, fmt, ap);
    va_end(ap);
}

void problems_warn(struct cfg_problems *p, const char *file, int line, const char *fmt, ...)
{
    struct cfg_problem *slot = problems_slot(p);
    if (!slot)
        return;
    problem_place(slot, file, line);
    slot->warning = true;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(slot->text, sizeof slot->text, fmt, ap);
    va_end(ap);
}

struct file_order {
    char *const *files;
    size_t count;
};

static size_t file_rank(const struct file_order *order, const char *file)
{
    size_t length = strlen(file);
    for (size_t i = 0; i < order->count; i++) {
        size_t whole = strlen(order->files[i]);
        if (whole >= length && strcmp(order->files[i] + (whole - length), file) == 0)
            return i;
    }
    return order->count;
}

static int problem_compare(const void *a, const void *b, void *arg)
{
    const struct cfg_problem *x = a, *y = b;
    const struct file_order *order = arg;
    size_t i = file_rank(order, x->file), k = file_rank(order, y->file);
    if (i != k)
        return i < k ? -1 : 1;
    if (x->line != y->line)
        return x->line < y->line ? -1 : 1;
    if (x->warning != y->warning)
        return x->warning ? 1 : -1;
    return strcmp(x->text, y->text);
}

void problems_sort(struct cfg_problems *p, char *const *files, size_t file_count)
{
    if (p->count < 2)
        return;
    struct file_order order = { files, file_count };
    qsort_r(p->items, p->count, sizeof *p->items, problem_compare, &order);
    size_t kept = 1;
    for (size_t i = 1; i < p->count; i++) {
        if (problem_compare(&p->items[kept - 1], &p->items[i], &order) != 0)
            p->items[kept++] = p->items[i];
        else if (!p->items[i].warning)
            p->errors--;
    }
    p->count = kept;
}

void config_problems_fini(struct cfg_problems *p)
{
    free(p->items);
    *p = (struct cfg_problems){ 0 };
}

const char *config_problem_text(const struct cfg_problem *p, char *buf, size_t size)
{
    const char *kind = p->warning ? "warning" : "error";
    if (p->line > 0)
        snprintf(buf, size, "%s:%d: %s: %s", p->file, p->line, kind, p->text);
    else
        snprintf(buf, size, "%s: %s: %s", p->file, kind, p->text);
    return buf;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment: insert, delete, replace, and swap of neighbours cost one each. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][NAME_LIMIT + 1];
    size_t n = strnlen(a, NAME_LIMIT), m = strnlen(b, NAME_LIMIT);
    size_t *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= m; j++)
        before[j] = last[j] = j;
    for (size_t i = 1; i <= n; i++) {
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t cost = a[i - 1] == b[j - 1] ? 0 : 1;
            row[j] = least(least(last[j] + 1, row[j - 1] + 1), last[j - 1] + cost);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], before[j - 2] + 1);
        }
        size_t *spare = before;
        before = last;
        last = row;
        row = spare;
    }
    return last[m];
}

/* Near enough to be a slip: a third of the letters, or one name begins with the other. */
void suggest_try(struct suggestion *s, const char *name)
{
    size_t length = strnlen(s->wrong, NAME_LIMIT), other = strnlen(name, NAME_LIMIT);
    size_t limit = length < 3 ? 1 : (length + 1) / 3;
    size_t distance = edit_distance(s->wrong, name);
    bool begins = length >= 3 && other >= 3 && strncmp(s->wrong, name, least(length, other)) == 0;
    if (distance > limit && begins)
        distance = limit + 1;
    else if (distance > limit || distance >= length)
        return;
    if (!s->best || distance < s->distance) {
        s->best = name;
        s->distance = distance;
    }
}

const char *suggest_text(const struct suggestion *s, char *buf, size_t size)
{
    if (s->best)
        snprintf(buf, size, ": did you mean '%s'?", s->best);
    else if (size)
        buf[0] = '\0';
    return buf;
}
