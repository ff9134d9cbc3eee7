/* Metric names. The first dot ends the source and the last one begins the series, so that an object
 * (a backend, a queue) may itself contain dots. */
#include <string.h>

#include "config.h"

static bool metric_part(const char *from, size_t length, char out[AS_NAME_MAX])
{
    if (length == 0 || length >= AS_NAME_MAX)
        return false;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)from[i] <= ' ' || from[i] == 0x7f)
            return false;
    memcpy(out, from, length);
    out[length] = '\0';
    return true;
}

bool config_metric_split(const char *metric, char source[AS_NAME_MAX], char object[AS_NAME_MAX],
                         char series[AS_NAME_MAX])
{
    const char *first = strchr(metric, '.'), *last = strrchr(metric, '.');
    if (!first)
        return false;
    object[0] = '\0';
    return metric_part(metric, (size_t)(first - metric), source) &&
           metric_part(last + 1, strlen(last + 1), series) &&
           (first == last || metric_part(first + 1, (size_t)(last - first - 1), object));
}
