/* Foreign bytes into everything of the Docker driver that reads a daemon's answers. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../drivers/compute/docker_json.h"
#include "../../drivers/wire/docker_api.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct as_owner owner = { .controller = "shop", .group = "web" };
    struct docker_shape shapes[2] = { { .owner = &owner, .port = 8080, .publish = "127.0.0.5" },
                                      { .owner = &owner, .port = 8080, .network = "webnet" } };
    struct as_error err;
    char text[DOCKER_MESSAGE_MAX], *copy = malloc(size + 1);
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    copy[size] = '\0';
    for (size_t i = 0; i < 2; i++) {
        struct as_instances list = { 0 };
        struct docker_container c;
        if (docker_read_list(&shapes[i], copy, size, &list, &err) == AS_OK)
            for (size_t n = 0; n < list.count; n++)
                if (!list.items[n].id[0] || (list.items[n].port != 0) != (list.items[n].address[0] != '\0'))
                    abort();
        as_instances_fini(&list);
        if (docker_read_container(&shapes[i], "web-3fa9c1d2", copy, size, &c, &err) == AS_OK && !c.ref[0])
            abort();
    }
    struct http_answer a = { .status = 500, .body = copy, .size = size };
    int least;
    docker_message(&a, text);
    docker_class(500, docker_tail(text));
    docker_version_refused(text, &least);
    docker_minor(copy);
    docker_pull_failed(copy, size, text, sizeof text);
    free(copy);
    return 0;
}
