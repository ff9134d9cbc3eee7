/* JSON objects on lines, as a command of the source `exec` prints them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../drivers/source/json_values.h"

#define NAMES_COMPARED 64 /* each with each */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Of members of the same name one is left. */
static void check_names(const cJSON *all)
{
    int n = 0;
    for (const cJSON *a = all->child; a && n < NAMES_COMPARED; a = a->next, n++)
        if (!a->string || cJSON_GetObjectItemCaseSensitive(all, a->string) != a)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cJSON *all = NULL;
    struct as_error err = { 0 };
    char *text = malloc(size + 1); /* the reader wants a NUL behind it, and nothing more */
    if (!text)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    int rc = json_lines(text, size, &all, &err);
    if (rc == AS_OK ? !cJSON_IsObject(all) : all || !err.msg[0])
        abort();
    if (all)
        check_names(all);
    cJSON_Delete(all);
    free(text);
    return 0;
}
