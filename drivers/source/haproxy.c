/* The haproxy source: load of the backends of one HAProxy, read from its runtime socket. Each poll is one
 * exchange over a new connection, so a reload is seen at once and no old worker is asked. Reads only. */
#include <stdio.h>
#include <string.h>

#include "../wire/haproxy_cli.h"
#include "haproxy_stats.h"

struct source {
    struct haproxy_cli cli;
    const struct as_settings *settings;
    struct haproxy_stats stats;
};

static const struct as_option options[] = {
    { .name = "address",
      .type = AS_OPT_STRINGS,
      .flags = AS_OPT_REQUIRED,
      .help = "runtime sockets of the HAProxys, each \"/run/haproxy/admin.sock\" or \"HOST:PORT\"; their "
              "numbers are "
              "added up" },
    { .name = "backends", .type = AS_OPT_STRINGS, .help = "measure only these backends; all when not given" },
    { .name = NULL },
};

static int source_open(void *self, const struct as_settings *settings, const char *endpoint,
                       struct as_error *err)
{
    struct source *s = self;
    struct as_error why;
    s->settings = settings;
    if (haproxy_cli_init(&s->cli, endpoint, &why))
        return as_settings_fail(settings, "address", err, "%s", why.msg);
    for (size_t i = 0; i < as_settings_count(settings, "backends"); i++)
        if (!haproxy_name_ok(as_settings_item(settings, "backends", i)))
            return as_settings_fail(settings, "backends", err, "'%s' is not a backend name",
                                    as_settings_item(settings, "backends", i));
    return AS_OK;
}

static bool is_listed(const void *arg, const char *backend)
{
    const struct as_settings *settings = arg;
    for (size_t i = 0; i < as_settings_count(settings, "backends"); i++)
        if (strcmp(as_settings_item(settings, "backends", i), backend) == 0)
            return true;
    return false;
}

static int read_table(struct source *s, struct haproxy_reply *reply, struct as_samples *out,
                      struct as_error *err)
{
    char *info = haproxy_reply_take(reply, NULL), epoch[48];
    bool stopping;
    struct haproxy_table table = { .now = as_clock_monotonic(), .epoch = epoch };
    table.text = haproxy_reply_take(reply, &table.len);
    if (!info || !table.text)
        return as_fail(err, AS_EAGAIN, "HAProxy at %s gave no whole answer", s->cli.endpoint);
    int rc = haproxy_cli_judge(&s->cli, "show stat", *table.text == '#' ? "" : table.text, err);
    if (rc)
        return rc;
    if (!haproxy_epoch(info, epoch, sizeof epoch, &stopping))
        return as_fail(err, AS_EPROTO, "%s does not answer like HAProxy's runtime socket", s->cli.endpoint);
    bool filtered = as_settings_count(s->settings, "backends") > 0;
    struct haproxy_filter filter = { filtered ? is_listed : NULL, s->settings };
    size_t found;
    rc = haproxy_stats_add(&s->stats, &table, &filter, &found, out, err);
    if (rc == AS_OK && filtered && found == 0)
        return as_fail(err, AS_EINVAL, "HAProxy at %s has no backend '%s' nor any other listed in `backends`",
                       s->cli.endpoint, as_settings_item(s->settings, "backends", 0));
    return rc;
}

static int source_poll(void *self, as_time deadline, struct as_samples *out, struct as_error *err)
{
    struct source *s = self;
    struct haproxy_reply reply;
    int rc = haproxy_cli_exchange(&s->cli, deadline, false, "show info;show stat -1 2 -1", &reply, err);
    if (rc)
        return rc;
    rc = read_table(s, &reply, out, err);
    haproxy_reply_fini(&reply);
    return rc;
}

static void source_close(void *self)
{
    struct source *s = self;
    haproxy_stats_fini(&s->stats);
    haproxy_cli_fini(&s->cli);
}

extern const struct as_source_driver as_source_haproxy;
const struct as_source_driver as_source_haproxy = {
    .name = "haproxy",
    .summary = "sessions, queue, request rate, response time and errors of HAProxy backends",
    .options = options,
    .series = haproxy_series,
    .has_objects = true,
    .endpoints = "address",
    .state_size = sizeof(struct source),
    .open = source_open,
    .poll = source_poll,
    .close = source_close,
};
