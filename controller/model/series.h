/* The writer's side of autoscale/series.h: a ring of fixed capacity that the observer fills.
 *
 * Nothing is allocated after series_new (but by series_resize); a read costs O(samples in the window).
 * One thread owns a series. Size: 16 bytes per sample and about 64 for the rest. */
#ifndef MODEL_SERIES_H
#define MODEL_SERIES_H

#include "autoscale/series.h"

#define SERIES_CAPACITY_MAX 1000000

/* Copies `name`. `capacity` is brought into [1, SERIES_CAPACITY_MAX]. A sample older than `max_age` is
 * stale; max_age 0: never. NULL when out of memory. Freed with series_free, which accepts NULL. */
struct as_series *series_new(const char *name, size_t capacity, as_time max_age);
void series_free(struct as_series *s);

/* Adds a sample; the oldest falls out of a full ring. A value that is not finite is not stored: the
 * series ages instead. Samples arrive in time order: an earlier `now` is taken as the newest time. */
void series_push(struct as_series *s, as_time now, double value, bool partial);
/* Puts this sample in the place of the newest. */
void series_amend(struct as_series *s, as_time now, double value, bool partial);

/* Changes the capacity and keeps the newest samples that fit. False, with nothing changed, when out of
 * memory. Pointers to the series stay valid. */
bool series_resize(struct as_series *s, size_t capacity);

size_t series_capacity(const struct as_series *s);
size_t series_count(const struct as_series *s); /* samples held */

#endif
