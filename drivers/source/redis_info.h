/* The text INFO gives: "key:value" lines in sections. Pure. */
#ifndef SOURCE_REDIS_INFO_H
#define SOURCE_REDIS_INFO_H

#include <stdbool.h>
#include <stddef.h>

#include "autoscale/error.h"

enum redis_field { /* numbers we read; the names are in redis_info.c, in the same order            */
    REDIS_USED_MEMORY,
    REDIS_MAXMEMORY,
    REDIS_CONNECTED_CLIENTS,
    REDIS_BLOCKED_CLIENTS,
    REDIS_MAXCLIENTS,
    REDIS_COMMANDS,
    REDIS_HITS,
    REDIS_MISSES,
    REDIS_EVICTED,
    REDIS_LOADING,
    REDIS_LOADING_PERCENT,
    REDIS_FIELDS,
};

struct redis_info {
    double value[REDIS_FIELDS];  /* finite and not negative                                        */
    bool has[REDIS_FIELDS];
    char run_id[64];             /* another one after each start of the server; "" when not told   */
    char link[16];               /* master_link_status of a replica, "" on a master                */
};

/* AS_EPROTO: not such a text, or a number in it is none. Of a key given twice the first counts. */
int redis_info_parse(const char *text, size_t len, struct redis_info *out, struct as_error *err);

#endif
