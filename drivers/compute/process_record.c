/* Reads and writes the records of the process driver, and reads /proc/PID/stat. What a record says decides which
 * process gets a signal, so a record that is not whole is none. It never reads or writes a file. */
#include "process_record.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../wire/json.h"

#define RECORD_VERSION 1
#define RECORD_MEMBERS 12
#define WHOLE_MAX      INT64_C(999999999999999) /* cJSON prints 15 digits, further ones may get lost */
#define THREADS_FIELD  20                       /* of /proc/PID/stat, counted from 1 */
#define START_FIELD    22

bool process_id_ok(const char *id)
{
    size_t n = strlen(id);
    if (n == 0 || n >= AS_ID_MAX || id[0] == '.' || id[0] == '-')
        return false;
    for (const char *c = id; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("-_.", *c))
            return false;
    return true;
}

/* --- records ------------------------------------------------------------------------------------------- */

static bool take_text(const cJSON *root, const char *name, char *out, size_t size)
{
    const char *text = json_str(root, name);
    size_t n = text ? strlen(text) : 0;
    if (!text || n >= size)
        return false;
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            return false;
    memcpy(out, text, n + 1);
    return true;
}

/* The name of the first member that is wrong or missing, or NULL. */
static const char *take_members(const cJSON *root, struct process_record *r)
{
    const struct {
        const char *name;
        char *text;
        size_t size;
    } texts[] = {
        { "controller", r->controller, sizeof r->controller },
        { "group", r->group, sizeof r->group },
        { "id", r->id, sizeof r->id },
        { "revision", r->revision, sizeof r->revision },
        { "boot", r->boot, sizeof r->boot },
        { "address", r->address, sizeof r->address },
        { "ended", r->ended, sizeof r->ended },
    };
    int64_t version, port = 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!take_text(root, texts[i].name, texts[i].text, texts[i].size))
            return texts[i].name;
    if (!json_int(root, "version", RECORD_VERSION, RECORD_VERSION, &version))
        return "version";
    if (!json_int(root, "pid", 2, INT32_MAX, &r->pid)) /* 1 is init, and -1 would be everybody */
        return "pid";
    if (!json_int(root, "start", 1, WHOLE_MAX, &r->start))
        return "start";
    if (!json_int(root, "created", 0, WHOLE_MAX, &r->created_wall))
        return "created";
    if (!json_int(root, "port", 1, 65535, &port))
        return "port";
    r->port = (uint16_t)port;
    if (!process_id_ok(r->id))
        return "id";
    return r->controller[0] && r->group[0] && r->boot[0] && r->address[0]
               ? NULL
               : "controller, group, boot or address";
}

int process_record_parse(const char *text, size_t size, struct process_record *out, struct as_error *err)
{
    struct process_record r = { 0 };
    if (size > PROCESS_RECORD_MAX)
        return as_fail(err, AS_EPROTO, "is longer than %d bytes", PROCESS_RECORD_MAX);
    cJSON *root = json_parse(text, size);
    if (!root || !cJSON_IsObject(root)) {
        cJSON_Delete(root);
        return as_fail(err, AS_EPROTO, "is not a JSON object");
    }
    const char *wrong = take_members(root, &r);
    int members = cJSON_GetArraySize(root);
    cJSON_Delete(root);
    if (wrong)
        return as_fail(err, AS_EPROTO, "has no valid %s", wrong);
    if (members != RECORD_MEMBERS) /* all known ones are there, so these are doubles or unknown */
        return as_fail(err, AS_EPROTO, "has %d members in place of %d", members, RECORD_MEMBERS);
    *out = r;
    return AS_OK;
}

char *process_record_print(const struct process_record *r)
{
    cJSON *root = cJSON_CreateObject();
    bool ok =
        root && cJSON_AddNumberToObject(root, "version", RECORD_VERSION) &&
        cJSON_AddStringToObject(root, "controller", r->controller) &&
        cJSON_AddStringToObject(root, "group", r->group) && cJSON_AddStringToObject(root, "id", r->id) &&
        cJSON_AddStringToObject(root, "revision", r->revision) &&
        cJSON_AddStringToObject(root, "boot", r->boot) &&
        cJSON_AddNumberToObject(root, "pid", (double)r->pid) &&
        cJSON_AddNumberToObject(root, "start", (double)r->start) &&
        cJSON_AddNumberToObject(root, "created", (double)r->created_wall) &&
        cJSON_AddStringToObject(root, "address", r->address) &&
        cJSON_AddNumberToObject(root, "port", r->port) && cJSON_AddStringToObject(root, "ended", r->ended);
    char *text = ok ? cJSON_PrintUnformatted(root) : NULL;
    cJSON_Delete(root);
    return text;
}

/* --- the kernel's word ------------------------------------------------------------------------------------ */

bool process_stat_parse(const char *text, struct process_stat *out)
{
    const char *at = strrchr(text, ')'); /* the name in front may hold blanks and brackets */
    int64_t fields[START_FIELD + 1] = { 0 };
    if (!at || at[1] != ' ' || !isalpha((unsigned char)at[2]))
        return false;
    char state = at[2];
    at += 3;
    for (int i = 4; i <= START_FIELD; i++) {
        char *end;
        errno = 0;
        fields[i] = strtoll(at, &end, 10);
        if (end == at || errno || *at != ' ')
            return false;
        at = end;
    }
    if (fields[START_FIELD] < 0 || (*at && *at != ' ' && *at != '\n'))
        return false;
    *out = (struct process_stat){ state, fields[5], fields[6], fields[THREADS_FIELD], fields[START_FIELD] };
    return true;
}
