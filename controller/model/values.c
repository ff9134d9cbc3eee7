/* The value lists that drivers fill and the core reads (samples, instances, members), and the rate
 * of a counter. They grow by doubling up to the cap of their contract and never past it, so that no
 * peer can make the process swallow its memory; a failed addition leaves the list as it was. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autoscale/balancer.h"
#include "autoscale/compute.h"
#include "autoscale/source.h"

/* Makes room for one more item; returns the zeroed slot after the last one, NULL when there is none. */
static void *grow(void **items, size_t *cap, size_t count, size_t item_size, size_t limit)
{
    if (count >= limit)
        return NULL;
    if (count == *cap) {
        size_t want = *cap ? *cap * 2 : 16;
        if (want > limit)
            want = limit;
        void *bigger = reallocarray(*items, want, item_size);
        if (!bigger)
            return NULL;
        *items = bigger;
        *cap = want;
    }
    return memset((char *)*items + count * item_size, 0, item_size);
}

int as_samples_add(struct as_samples *out, const char *object, const char *series, double value,
                   double weight, struct as_error *err)
{
    if (strlen(object) >= AS_NAME_MAX || strlen(series) >= AS_NAME_MAX || !*series)
        return as_fail(err, AS_EPROTO, "the name '%.70s' of a series or object is empty or too long",
                       strlen(object) >= AS_NAME_MAX ? object : series);
    if (!isfinite(value) || !isfinite(weight) || weight <= 0)
        return as_fail(err, AS_EPROTO, "the value of '%s' is not a finite number", series);
    if (out->count >= AS_SAMPLES_CAP)
        return as_fail(err, AS_EPROTO, "more than %d values in one poll", AS_SAMPLES_CAP);
    void *items = out->items;
    struct as_sample *s = grow(&items, &out->cap, out->count, sizeof *s, AS_SAMPLES_CAP);
    out->items = items;
    if (!s)
        return as_fail(err, AS_ENOMEM, "out of memory for samples");
    strcpy(s->object, object);
    strcpy(s->series, series);
    s->value = value;
    s->weight = weight;
    out->count++;
    return AS_OK;
}

void as_samples_fini(struct as_samples *s)
{
    free(s->items);
    *s = (struct as_samples){ 0 };
}

bool as_counter_rate(struct as_counter *c, as_time now, double value, double *rate)
{
    struct as_counter before = *c;
    if (!isfinite(value))
        return false;
    if (before.seen && now <= before.at && value >= before.last)
        return false; /* no time has passed: keep the older point, the next poll compares with it */
    *c = (struct as_counter){ .last = value, .at = now, .seen = true };
    if (!before.seen || value < before.last || now <= before.at)
        return false;
    *rate = (value - before.last) * 1000.0 / (double)(now - before.at);
    return true;
}

struct as_instance *as_instances_add(struct as_instances *list)
{
    void *items = list->items;
    struct as_instance *i = grow(&items, &list->cap, list->count, sizeof *i, AS_INSTANCES_CAP);
    list->items = items;
    if (i)
        list->count++;
    return i;
}

void as_instances_fini(struct as_instances *list)
{
    free(list->items);
    *list = (struct as_instances){ 0 };
}

struct as_member *as_members_add(struct as_members *list)
{
    void *items = list->items;
    struct as_member *m = grow(&items, &list->cap, list->count, sizeof *m, AS_MEMBERS_CAP);
    list->items = items;
    if (m)
        list->count++;
    return m;
}

void as_members_fini(struct as_members *list)
{
    free(list->items);
    *list = (struct as_members){ 0 };
}
