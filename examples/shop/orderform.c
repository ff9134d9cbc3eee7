/* The check of an order's JSON. Everything that is not exactly an order is refused with the field and the reason;
 * nothing is guessed, rounded or ignored, and it must never read past the body it was given. */
#include "orderform.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct field {
    const char *name;
    double max;
    double value;
    int seen;
};

__attribute__((format(printf, 3, 4))) static int refuse(struct order_problem *problem, const char *field,
                                                        const char *format, ...)
{
    va_list args;
    va_start(args, format);
    snprintf(problem->field, sizeof problem->field, "%s", field);
    vsnprintf(problem->text, sizeof problem->text, format, args);
    va_end(args);
    return -1;
}

static int take_field(const cJSON *item, struct field *fields, size_t count, struct order_problem *problem)
{
    for (size_t i = 0; i < count; i++) {
        struct field *f = &fields[i];
        if (strcmp(item->string, f->name) != 0)
            continue;
        if (f->seen++)
            return refuse(problem, f->name, "%s is given twice", f->name);
        double v = item->valuedouble;
        /* valueint saturates, so the range is checked on the double */
        if (!cJSON_IsNumber(item) || !isfinite(v) || v != floor(v) || v < 1 || v > f->max)
            return refuse(problem, f->name, "%s must be a whole number from 1 to %.0f", f->name, f->max);
        f->value = v;
        return 0;
    }
    return refuse(problem, item->string, "this field is not part of an order");
}

static int take_fields(const cJSON *root, struct order *out, struct order_problem *problem)
{
    struct field fields[] = {
        { "user_id", (double)ORDER_ID_MAX, 0, 0 },
        { "product_id", (double)ORDER_ID_MAX, 0, 0 },
        { "quantity", ORDER_QUANTITY_MAX, 0, 0 },
    };
    const size_t count = sizeof fields / sizeof fields[0];

    if (!cJSON_IsObject(root))
        return refuse(problem, "", "the body must be one JSON object");
    for (const cJSON *item = root->child; item; item = item->next)
        if (take_field(item, fields, count, problem) < 0)
            return -1;
    for (size_t i = 0; i < count; i++)
        if (!fields[i].seen)
            return refuse(problem, fields[i].name, "%s is missing", fields[i].name);
    out->user_id = (int64_t)fields[0].value;
    out->product_id = (int64_t)fields[1].value;
    out->quantity = (int)fields[2].value;
    return 0;
}

int order_parse(const char *body, size_t length, struct order *out, struct order_problem *problem)
{
    if (length == 0)
        return refuse(problem, "", "the body is empty; an order is a JSON object");
    if (memchr(body, '\0', length))
        return refuse(problem, "", "the body is not valid JSON");
    /* asking for the terminating NUL is what refuses trailing garbage */
    cJSON *root = cJSON_ParseWithLengthOpts(body, length + 1, NULL, 1);
    if (!root)
        return refuse(problem, "", "the body is not valid JSON");
    int rc = take_fields(root, out, problem);
    cJSON_Delete(root);
    return rc;
}
