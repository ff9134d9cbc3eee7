/* Everything that is read from HAProxy's runtime socket: the framing of answers, refusals, `show info`, and
 * both tables. The same bytes are tried as each of them. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../drivers/balancer/haproxy_members.h"
#include "../../drivers/source/haproxy_stats.h"
#include "../../drivers/wire/haproxy_cli.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_answers(const uint8_t *data, size_t size)
{
    struct haproxy_cli cli = { .endpoint = "/fuzz" };
    struct haproxy_reply reply = { .memory = malloc(size + 1), .len = size };
    char epoch[48], *answer;
    bool stopping;
    struct as_error err;
    size_t len, total = 0;
    if (!reply.memory)
        return;
    if (size > 0)
        memcpy(reply.memory, data, size);
    reply.memory[size] = '\0';
    reply.text = reply.memory;
    while ((answer = haproxy_reply_take(&reply, &len))) {
        total += len + 1;
        if (answer[len] != '\0' || total > size + 1)
            abort();
        if (haproxy_cli_judge(&cli, "fuzz", answer, &err) && strpbrk(err.msg, "\r\n\x1b"))
            abort();
        haproxy_epoch(answer, epoch, sizeof epoch, &stopping);
        haproxy_is_at_least(answer, 2, 6);
    }
    haproxy_reply_fini(&reply);
}

static void try_backends(const char *text, size_t size)
{
    struct haproxy_stats stats = { 0 };
    struct as_samples out = { 0 };
    struct as_error err;
    struct haproxy_filter all = { 0 };
    size_t found, half = size / 2;
    struct haproxy_table first = { 1000, "1@1", text, size }, second = { 2000, "1@1", text, size - half };
    haproxy_stats_add(&stats, &first, &all, &found, &out, &err);
    haproxy_stats_add(&stats, &second, &all, &found, &out, &err);
    for (size_t i = 0; i < out.count; i++)
        if (!isfinite(out.items[i].value) || out.items[i].value < 0 || !(out.items[i].weight > 0))
            abort();
    as_samples_fini(&out);
    haproxy_stats_fini(&stats);
}

static void try_servers(const char *text, size_t size)
{
    struct haproxy_members members;
    struct haproxy_member m;
    if (haproxy_members_open(&members, text, size, text, size, NULL) != AS_OK)
        return;
    if (haproxy_members_number(&members) < 0 ||
        (haproxy_members_hidden(&members) && haproxy_members_next(&members, &m)))
        abort();
    haproxy_members_dynamic(&members);
    while (haproxy_members_next(&members, &m))
        if (!memchr(m.m.id, '\0', sizeof m.m.id) || m.m.weight < 0 || m.m.weight > 256 || !(m.m.held >= 0))
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size ? size : 1); /* exactly so long, so that reading past it is seen */
    if (!text)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    try_answers(data, size);
    try_backends(text, size);
    try_servers(text, size);
    free(text);
    return 0;
}
