/* Prometheus' query answers, and JSON pointers: the first line is a pointer, the rest a document. The whole is also
 * tried as an answer to an instant and to a range query. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../drivers/source/prometheus_result.h"
#include "../../drivers/wire/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_answer(const char *text, size_t size)
{
    struct prom_ask asks[] = { { 0 }, { .start_wall = 100000, .step = 10000, .steps = 4 } };
    for (size_t i = 0; i < 2; i++)
        for (int r = 0; prom_reduce_names[r]; r++) {
            struct as_error err = { 0 };
            double value = NAN;
            asks[i].reduce = (enum prom_reduce)r;
            asks[i].over = (enum prom_over)(r % 4);
            int rc = prom_result(&asks[i], text, size, &value, &err);
            if (rc == AS_OK ? !isfinite(value) : !err.msg[0] || strpbrk(err.msg, "\r\n\x1b"))
                abort();
        }
}

static void try_pointer(char *text, size_t size)
{
    char *end = memchr(text, '\n', size);
    if (!end)
        return;
    *end = '\0';
    size_t line = (size_t)(end - text) + 1;
    cJSON *root = json_parse(text + line, size - line);
    const cJSON *item = json_pointer(root, text);
    double value = 0;
    if (item && !json_pointer_ok(text))
        abort();
    if (json_measure(item, &value) && !isfinite(value))
        abort();
    if (!*json_kind(item))
        abort();
    cJSON_Delete(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1); /* the readers want a NUL behind it, and nothing more */
    if (!text)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    try_answer(text, size);
    try_pointer(text, size);
    free(text);
    return 0;
}
