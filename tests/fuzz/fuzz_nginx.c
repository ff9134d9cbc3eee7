/* Everything that is read for nginx: our include file, the stub_status page, log formats and log lines. The
 * same bytes are tried as each of them. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../drivers/balancer/nginx_file.h"
#include "../../drivers/source/nginx_stats.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is taken is written again as the same pool. */
static void try_file(const char *text, size_t size)
{
    const struct nginx_style style = { .mark = "shop/web", .upstream = "web", .zone_kib = 64 };
    struct nginx_pool p = { 0 }, again = { 0 };
    struct as_error err;
    if (nginx_file_parse(text, size, "shop/web", &p, &err) != AS_OK || p.generation == 0) {
        nginx_pool_fini(&p);
        return;
    }
    char *out = nginx_file_render(&p, &style);
    if (!out || nginx_file_parse(out, strlen(out), "shop/web", &again, &err) != AS_OK ||
        again.count != p.count)
        abort();
    for (size_t i = 0; i < p.count; i++)
        if (strcmp(p.items[i].id, again.items[i].id) != 0 || p.items[i].down != again.items[i].down ||
            p.items[i].since != again.items[i].since || p.items[i].port != again.items[i].port)
            abort();
    free(out);
    nginx_pool_fini(&p);
    nginx_pool_fini(&again);
}

static void try_status(const char *text, size_t size)
{
    struct nginx_status status;
    struct nginx_stats stats = { 0 };
    struct as_samples out = { 0 };
    if (nginx_status_parse(text, size, &status) &&
        nginx_status_add(&stats, &status, 1000, &out, NULL) != AS_OK)
        abort();
    for (size_t i = 0; i < out.count; i++)
        if (!(out.items[i].value >= 0))
            abort();
    as_samples_fini(&out);
}

static void try_line(const struct nginx_format *f, const char *text, size_t size)
{
    struct nginx_line l;
    static struct nginx_tally tally;
    if (nginx_format_read(f, text, size, &l) &&
        (l.status < 0 || l.status > 599 || isnan(l.request_ms) || isnan(l.upstream_ms)))
        abort();
    tally = (struct nginx_tally){ 0 };
    nginx_tally_add(&tally, f, text, size);
    if (tally.request.count && !(nginx_times_quantile(&tally.request, 0.99) <= 90000000))
        abort();
}

static void try_format(const char *text, size_t size)
{
    struct nginx_format f;
    const char *cut = memchr(text, '\n', size);
    size_t n = cut ? (size_t)(cut - text) : size;
    char *format = strndup(text, n);
    if (format && nginx_format_init(&f, format, NULL) == AS_OK)
        try_line(&f, cut ? cut + 1 : "", cut ? size - n - 1 : 0);
    free(format);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nginx_format f;
    char *text = malloc(size ? size : 1); /* exactly so long, so that reading past it is seen */
    if (!text)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    try_file(text, size);
    try_status(text, size);
    try_format(text, size);
    if (nginx_format_init(&f, "[$time_local] \"$request\" $status $request_time $upstream_response_time",
                          NULL) == AS_OK)
        try_line(&f, text, size);
    free(text);
    return 0;
}
