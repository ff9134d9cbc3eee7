/* Reads the mark of ownership: an object whose mark is not whole, or stands under another name, is not ours. */
#include "docker_mark.h"

#include <ctype.h>
#include <string.h>
#include <time.h>

#include "autoscale/compute.h"
#include "json.h"

bool docker_name_ok(const char *id)
{
    size_t n = 0;
    for (; id[n]; n++)
        if (!isalnum((unsigned char)id[n]) && (n == 0 || !strchr("_.-", id[n])))
            return false;
    return n > 1 && n < AS_ID_MAX;
}

bool docker_ref_ok(const char *ref)
{
    size_t n = ref ? strlen(ref) : 0;
    return n > 0 && n < DOCKER_REF_MAX && strspn(ref, "0123456789abcdef") == n;
}

static bool label_is(const cJSON *labels, const char *name, const char *value)
{
    const char *has = json_str(labels, name);
    return has && strcmp(has, value) == 0;
}

/* The name is checked because an image committed from an instance inherits its labels. */
const char *docker_marked_id(const cJSON *labels, const char *controller, const char *group, const char *name)
{
    const char *id = json_str(labels, DOCKER_LABEL_INSTANCE);
    if (!id || !docker_name_ok(id) || !name || name[0] != '/' || strcmp(name + 1, id) != 0)
        return NULL;
    if (!label_is(labels, DOCKER_LABEL_CONTROLLER, controller) ||
        (group && !label_is(labels, DOCKER_LABEL_GROUP, group)))
        return NULL;
    return id;
}

int64_t docker_time(const char *text)
{
    struct tm tm = { 0 };
    if (!text || strlen(text) < 20 || !strptime(text, "%Y-%m-%dT%H:%M:%S", &tm))
        return 0;
    int64_t ms = (int64_t)timegm(&tm) * 1000;
    if (text[19] == '.') {
        int64_t unit = 100;
        for (const char *c = text + 20; unit && *c >= '0' && *c <= '9'; c++, unit /= 10)
            ms += (*c - '0') * unit;
    }
    return ms > 0 ? ms : 0;
}
