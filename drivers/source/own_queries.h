/* Queries of the operator's own, each giving one number: the option `queries` of a source, a map from the names of
 * series to texts. What they share whatever server answers them. Blocking, one call at a time. */
#ifndef SOURCE_OWN_QUERIES_H
#define SOURCE_OWN_QUERIES_H

#include "autoscale/source.h"

#define OWN_NUMBER_MAX 400 /* characters; the largest double has 309 digits */

/* Options of a source that speaks SQL; for the option table, in this order. */
#define OWN_QUERIES_OPTIONS                                                                             \
    { .name = "statement_timeout", .type = AS_OPT_DURATION, .def = "2s", .min = 10, .max = 10 * 60000,  \
      .help = "the server cancels a statement that runs longer" },                                      \
    { .name = "queries", .type = AS_OPT_MAP,                                                            \
      .help = "series of your own: NAME = \"SELECT that gives one number\"; run read-only" }

/* Names and texts of the option as they stand in the settings; `builtin` are the driver's own series. */
int own_queries_check(const struct as_settings *s, const struct as_series_doc *builtin, struct as_error *err);

/* A query as a scalar subquery: so it is one SELECT of one column and at most one row, and however long its text is, the
 * server sends OWN_NUMBER_MAX characters. `cast` makes text of a number ("::text", or ""). Owned by the caller; NULL:
 * out of memory. */
char *own_query_wrap(const char *sql, const char *cast);

/* A plain decimal number: no blanks, hexadecimal, NaN or infinity, which strtod would take. text may be NULL. */
bool own_number_parse(const char *text, double *out);
/* What came of a wrapped query, NULL for no row or NULL: AS_OK, or AS_EPROTO with the reason. */
int own_query_result(const char *cell, double *value, struct as_error *why);

struct own_queries { /* borrows all */
    const struct as_settings *settings;
    void *self;
    /* Runs one; AS_EAGAIN when no time or connection was left. */
    int (*number)(void *self, const char *text, as_time deadline, double *value, struct as_error *why);
};
/* Runs them all. A bad one must not blind the rest: its series is left out, and *note says why (the first one). With any
 * query `queries_failed` counts them. Not AS_OK only when out of memory. */
int own_queries_poll(const struct own_queries *q, as_time deadline, struct as_samples *out, struct as_error *note);

#endif
