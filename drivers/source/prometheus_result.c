/* Reads answers of Prometheus' query API. The series are added up at each moment first and the moments reduced
 * afterwards, so that instances which come and go within the window are not counted twice. It must never turn
 * an absent, stale or partial result into a number. */
#include "prometheus_result.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../wire/json.h"
#include "../wire/site.h"

const char *const prom_reduce_names[] = { "sum", "max", "min", "avg", "count", NULL };
const char *const prom_over_names[] = { "mean", "max", "min", "last", NULL };

struct bucket { /* the series at one moment */
    double sum, most, least;
    int count;
    bool broken; /* some series is NaN or infinite there */
};

int prom_name_index(const char *const *names, const char *name)
{
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

/* --- values -------------------------------------------------------------------------------------------- */

/* Values are texts: "12.5", "1e+06", "NaN", "+Inf", "-Inf". False when it is none of these. */
static bool read_value(const cJSON *item, double *out)
{
    static const char *const odd[] = { "NaN", "+Inf", "-Inf" };
    const char *text = cJSON_GetStringValue(item);
    char *end;
    if (!text || !*text || strlen(text) > 400)
        return false;
    *out = NAN;
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        if (strcmp(text, odd[i]) == 0)
            return true;
    if (strspn(text, "0123456789+-.eE") != strlen(text))
        return false;
    *out = strtod(text, &end);
    return *end == '\0';
}

/* [ unix seconds, "value" ] */
static bool read_point(const cJSON *point, double *at, double *value)
{
    const cJSON *first = cJSON_IsArray(point) ? point->child : NULL;
    if (!cJSON_IsNumber(first) || !first->next || first->next->next)
        return false;
    *at = first->valuedouble;
    return isfinite(*at) && read_value(first->next, value);
}

static void bucket_add(struct bucket *b, double value)
{
    if (!isfinite(value)) {
        b->broken = true;
        return;
    }
    b->sum += value;
    b->most = b->count == 0 || value > b->most ? value : b->most;
    b->least = b->count == 0 || value < b->least ? value : b->least;
    b->count++;
}

/* False when there is no number: nothing at that moment, or something that is none. */
static bool bucket_value(const struct bucket *b, enum prom_reduce reduce, double *out)
{
    if (b->broken || b->count == 0)
        return false;
    double value = reduce == PROM_MAX     ? b->most
                   : reduce == PROM_MIN   ? b->least
                   : reduce == PROM_AVG   ? b->sum / b->count
                   : reduce == PROM_COUNT ? b->count
                                          : b->sum;
    if (isfinite(value))
        *out = value;
    return isfinite(value);
}

/* --- results ------------------------------------------------------------------------------------------- */

static int nonsense(struct as_error *err)
{
    return as_fail(err, AS_EPROTO, "the answer is not that of Prometheus' query API");
}

static int instant(const struct prom_ask *ask, const char *type, const cJSON *result, double *out,
                   struct as_error *err)
{
    struct bucket all = { 0 };
    double at, value;
    if (strcmp(type, "scalar") == 0) {
        if (!read_point(result, &at, &value))
            return nonsense(err);
        bucket_add(&all, value);
    } else if (strcmp(type, "vector") == 0 && cJSON_IsArray(result)) {
        for (const cJSON *s = result->child; s; s = s->next) {
            if (!read_point(json_get(s, "value"), &at, &value) || all.count >= PROM_SERIES_MAX)
                return nonsense(err);
            bucket_add(&all, value);
        }
    } else if (strcmp(type, "matrix") == 0 || strcmp(type, "string") == 0) {
        return as_fail(err, AS_EINVAL, "it gives a %s: write an expression that gives a number per series",
                       strcmp(type, "string") == 0 ? "text" : "range");
    } else {
        return nonsense(err);
    }
    if (bucket_value(&all, ask->reduce, out))
        return AS_OK;
    if (all.count == 0 && !all.broken)
        return as_fail(err, AS_ENOENT, "it gives no data");
    return as_fail(err, AS_ENOENT, "its value is not a finite number");
}

/* Puts each point of a series into the bucket of its step. */
static bool sort_points(const struct prom_ask *ask, const cJSON *values, struct bucket *buckets)
{
    if (!cJSON_IsArray(values))
        return false;
    for (const cJSON *p = values->child; p; p = p->next) {
        double at, value;
        if (!read_point(p, &at, &value))
            return false;
        double step = round((at * 1000 - (double)ask->start_wall) / (double)ask->step);
        double drift = at * 1000 - (double)ask->start_wall - step * (double)ask->step;
        if (!(step >= 0 && step < ask->steps) || fabs(drift) > 10)
            return false;
        bucket_add(&buckets[(int)step], value);
    }
    return true;
}

static double reduce_steps(enum prom_over over, const struct bucket *b)
{
    return over == PROM_OVER_MAX ? b->most : over == PROM_OVER_MIN ? b->least : b->sum / b->count;
}

/* The last step is now: a result without it has ended, however much came before. */
static int fold(const struct prom_ask *ask, const struct bucket *buckets, double *out, struct as_error *err)
{
    struct bucket moments = { 0 };
    double last, value;
    bool any = false;
    for (int i = 0; i < ask->steps; i++) {
        any = any || buckets[i].count > 0 || buckets[i].broken;
        if (bucket_value(&buckets[i], ask->reduce, &value))
            bucket_add(&moments, value);
    }
    if (!any)
        return as_fail(err, AS_ENOENT, "it gives no data");
    if (!bucket_value(&buckets[ask->steps - 1], ask->reduce, &last))
        return as_fail(err, AS_ENOENT,
                       buckets[ask->steps - 1].broken || buckets[ask->steps - 1].count
                           ? "its last value is not a finite number"
                           : "its data ended within the window");
    value = ask->over == PROM_OVER_LAST ? last : reduce_steps(ask->over, &moments);
    if (!isfinite(value))
        return as_fail(err, AS_ENOENT, "its value is not a finite number");
    *out = value;
    return AS_OK;
}

static int range(const struct prom_ask *ask, const char *type, const cJSON *result, double *out,
                 struct as_error *err)
{
    if (strcmp(type, "matrix") != 0 || !cJSON_IsArray(result))
        return nonsense(err);
    struct bucket *buckets = calloc((size_t)ask->steps, sizeof *buckets);
    if (!buckets)
        return as_fail(err, AS_ENOMEM, "out of memory");
    bool ok = true;
    for (const cJSON *s = result->child; ok && s; s = s->next)
        ok = sort_points(ask, json_get(s, "values"), buckets);
    int rc = ok ? fold(ask, buckets, out, err) : nonsense(err);
    free(buckets);
    return rc;
}

/* --- answers ------------------------------------------------------------------------------------------- */

static int refused(const cJSON *root, struct as_error *err)
{
    char text[SITE_TEXT_MAX];
    const char *type = json_str(root, "errorType"), *why = json_str(root, "error");
    if (!type || !why)
        return nonsense(err);
    bool wrong = strcmp(type, "bad_data") == 0 || strcmp(type, "execution") == 0;
    return as_fail(err, wrong ? AS_EINVAL : AS_EAGAIN, "the server %s: %s",
                   wrong ? "refuses it" : "cannot evaluate it now", site_text(why, text));
}

static int read_answer(const struct prom_ask *ask, const cJSON *root, double *out, struct as_error *err)
{
    const char *status = json_str(root, "status");
    const cJSON *data = json_get(root, "data"), *warnings = json_get(root, "warnings");
    const char *type = json_str(data, "resultType");
    if (status && strcmp(status, "error") == 0)
        return refused(root, err);
    if (!status || strcmp(status, "success") != 0 || !type)
        return nonsense(err);
    if (cJSON_IsArray(warnings) &&
        warnings->child) { /* a store behind the server is missing: a part is no whole */
        char text[SITE_TEXT_MAX];
        const char *said = cJSON_GetStringValue(warnings->child);
        return as_fail(err, AS_EAGAIN, "the server warns that the result is not whole: %s",
                       site_text(said ? said : "", text));
    }
    const cJSON *result = json_get(data, "result");
    return ask->steps ? range(ask, type, result, out, err) : instant(ask, type, result, out, err);
}

int prom_result(const struct prom_ask *ask, const char *body, size_t size, double *out, struct as_error *err)
{
    cJSON *root = json_parse(body, size);
    int rc = root ? read_answer(ask, root, out, err) : nonsense(err);
    cJSON_Delete(root);
    return rc;
}
