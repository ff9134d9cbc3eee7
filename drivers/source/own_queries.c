/* Own queries: checked when the source is opened, run one after the other at each poll. It must never let a query that
 * fails take another's number along. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "own_queries.h"

static bool is_builtin(const struct as_series_doc *s, const char *name)
{
    while (s->name && strcmp(s->name, name) != 0)
        s++;
    return s->name != NULL;
}

int own_queries_check(const struct as_settings *s, const struct as_series_doc *builtin, struct as_error *err)
{
    for (size_t i = 0; i < as_settings_count(s, "queries"); i++) {
        const char *name = as_settings_key(s, "queries", i), *text = as_settings_item(s, "queries", i);
        if (strlen(name) >= AS_NAME_MAX)
            return as_settings_fail(s, "queries", err, "the name '%.32s...' is longer than %d characters",
                                    name, AS_NAME_MAX - 1);
        if (is_builtin(builtin, name))
            return as_settings_fail(s, "queries", err,
                                    "'%s' is a series of the driver itself: choose another name", name);
        if (strspn(text, " \t\r\n;") == strlen(text))
            return as_settings_fail(s, "queries", err, "'%s' is empty", name);
    }
    return AS_OK;
}

char *own_query_wrap(const char *sql, const char *cast)
{
    size_t len = strlen(sql);
    char *text;
    while (len > 0 && strchr(" \t\r\n;", sql[len - 1]))
        len--;
    /* the line break ends a comment */
    return asprintf(&text, "select left((%.*s\n)%s, %d)", (int)len, sql, cast, OWN_NUMBER_MAX) < 0 ? NULL
                                                                                                   : text;
}

bool own_number_parse(const char *text, double *out)
{
    char *end;
    if (!text || !*text || strspn(text, "0123456789+-.eE") != strlen(text))
        return false;
    double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value))
        return false;
    *out = value;
    return true;
}

int own_query_result(const char *cell, double *value, struct as_error *why)
{
    if (!cell)
        return as_fail(why, AS_EPROTO, "it gives no row or NULL: use coalesce() if that means a number");
    if (strlen(cell) >= OWN_NUMBER_MAX || !own_number_parse(cell, value))
        return as_fail(why, AS_EPROTO, "it gives '%.40s', which is not a number", cell);
    return AS_OK;
}

int own_queries_poll(const struct own_queries *q, as_time deadline, struct as_samples *out,
                     struct as_error *note)
{
    size_t count = as_settings_count(q->settings, "queries");
    int failed = 0;
    for (size_t i = 0; i < count; i++) {
        const char *name = as_settings_key(q->settings, "queries", i);
        struct as_error why = { 0 };
        double value;
        int rc = q->number(q->self, as_settings_item(q->settings, "queries", i), deadline, &value, &why);
        if (rc == AS_OK)
            rc = as_samples_add(out, "", name, value, 1, &why);
        if (rc == AS_ENOMEM)
            return as_fail(note, AS_ENOMEM, "%s", why.msg);
        if (rc != AS_OK && failed++ == 0)
            as_fail(note, (enum as_rc)rc, "query '%s': %s", name, why.msg);
    }
    return count == 0 ? AS_OK : as_samples_add(out, "", "queries_failed", failed, 1, note);
}
