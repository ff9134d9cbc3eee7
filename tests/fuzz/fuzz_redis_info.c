/* The text a Redis server gives to INFO. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../drivers/source/redis_info.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct redis_info info;
    struct as_error err = { 0 };
    char *text = malloc(size ? size : 1); /* exactly so long, so that reading past it is seen */
    if (!text)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    int rc = redis_info_parse(text, size, &info, &err);
    free(text);
    if (rc != AS_OK) {
        if (rc != AS_EPROTO || !err.msg[0])
            abort();
        return 0;
    }
    for (int f = 0; f < REDIS_FIELDS; f++)
        if (!isfinite(info.value[f]) || info.value[f] < 0 || (!info.has[f] && info.value[f] > 0))
            abort();
    if (!info.has[REDIS_USED_MEMORY] || !memchr(info.run_id, '\0', sizeof info.run_id) ||
        !memchr(info.link, '\0', sizeof info.link))
        abort();
    return 0;
}
