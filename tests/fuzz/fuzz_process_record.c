/* Foreign bytes into the record and stat readers of the process driver. What is accepted must be safe to act on and
 * must survive being written and read again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../drivers/compute/process.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_record(const struct process_record *r)
{
    struct process_record again;
    struct as_error err;
    if (r->pid < 2 || r->start < 1 || r->port == 0 || !process_id_ok(r->id) || !r->controller[0])
        abort();
    char *text = process_record_print(r);
    if (!text)
        return;
    int rc = process_record_parse(text, strlen(text), &again, &err);
    if (rc != AS_OK && strlen(text) <= PROCESS_RECORD_MAX)
        abort();
    if (rc == AS_OK && (again.pid != r->pid || again.start != r->start || strcmp(again.group, r->group) != 0))
        abort();
    free(text);
}

static void check_expansion(const char *text)
{
    static const struct process_record r = {
        .id = "web-3fa9c1d2", .group = "web", .address = "::1", .port = 1
    };
    const char *at = text;
    size_t n = process_unknown(text, &at);
    if (n && (at < text || at + n > text + strlen(text) || at[n - 1] != '}'))
        abort();
    free(process_expand(text, &r));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct process_record r;
    struct process_stat st;
    struct as_error err;
    char *copy = malloc(size + 1);
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    copy[size] = '\0';
    if (process_record_parse(copy, size, &r, &err) == AS_OK)
        check_record(&r);
    if (process_stat_parse(copy, &st) && st.start < 0)
        abort();
    check_expansion(copy);
    free(copy);
    return 0;
}
