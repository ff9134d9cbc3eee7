/* Foreign bytes as a Docker's list of containers, statistics and limits, and the rates made of them. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../drivers/source/docker_stats.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_list(const char *text, size_t size)
{
    struct docker_meter *m = NULL;
    size_t n = 0;
    struct as_error err;
    if (docker_running_parse(text, size, "shop", &m, &n, &err) != AS_OK)
        return;
    for (size_t i = 0; i < n; i++)
        if (!docker_ref_ok(m[i].ref) || !docker_name_ok(m[i].id) || !docker_name_ok(m[i].group) ||
            m[i].cpu.seen)
            abort();
    free(m);
}

/* Twice the same usage, the second time a little later: never a rate that is negative or not finite. */
static void check_usage(const char *text, size_t size)
{
    struct docker_usage u;
    struct docker_meter m = { .cpus = 0.5, .limit_at = 1 };
    struct as_error err;
    if (docker_usage_parse(text, size, &u, &err) != AS_OK)
        return;
    for (int poll = 0; poll < 3; poll++) {
        struct fleet_row row = { 0 };
        docker_meter_take(&m, &u, 1000 + 2000 * poll, &row);
        for (int f = 0; f < FLEET_FIELDS; f++)
            if (row.has[f] && (!isfinite(row.value[f]) || row.value[f] < 0))
                abort();
        if (poll == 0 && (row.has[DOCKER_CPUS] || row.has[DOCKER_THROTTLED]))
            abort();
        u.read_ms += 2000;
        u.cpu_ns += 1e9;
        u.periods += 20;
        u.throttled += 10;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct as_error err;
    double cpus;
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    check_list(text, size);
    check_usage(text, size);
    if (docker_limit_parse(text, size, &cpus, &err) == AS_OK && (!isfinite(cpus) || cpus < 0))
        abort();
    free(text);
    return 0;
}
