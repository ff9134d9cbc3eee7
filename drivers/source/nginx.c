/* The nginx source: load of one nginx from its stub_status page, and response times from its access log when
 * that is configured. Reads only; nothing of a log line but its numbers is kept. */
#include <stdlib.h>
#include <string.h>

#include "../wire/nginx_page.h"
#include "nginx_stats.h"

#define COMBINED                                                                                             \
    "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \"$http_referer\" "     \
    "\"$http_user_agent\""

struct source {
    struct nginx_page page;
    struct nginx_stats stats;
    struct nginx_format format;
    struct nginx_follow log;
    as_time log_at; /* 0: the log is not open */
    struct nginx_tally tally;
};

static const struct as_option options[] = {
    { .name = "address",
      .type = AS_OPT_STRINGS,
      .flags = AS_OPT_REQUIRED,
      .help = "URLs of the stub_status pages of the nginxs, each http://HOST:PORT/PATH or "
              "unix:/SOCKET:/PATH; their "
              "numbers are added up" },
    { .name = "log",
      .type = AS_OPT_STRING,
      .help = "access log of this nginx on this machine, followed over rotations; only with one address" },
    { .name = "log_format",
      .type = AS_OPT_STRING,
      .help = "the text of nginx's log_format for that log; read are $status, $request_time and "
              "$upstream_response_time, so add these to it; when unset, nginx's own \"combined\"" },
    { .name = NULL },
};

static int open_log(struct source *s, const struct as_settings *settings, struct as_error *err)
{
    struct as_error why;
    const char *path = as_settings_str(settings, "log");
    if (!path)
        return AS_OK;
    if (*path != '/')
        return as_settings_fail(settings, "log", err, "must be an absolute path");
    if (as_settings_count(settings, "address") > 1)
        return as_settings_fail(
            settings, "log", err,
            "belongs to one nginx, but there are several addresses: make a source of each");
    const char *format = as_settings_str(settings, "log_format");
    if (nginx_format_init(&s->format, format ? format : COMBINED, &why))
        return as_settings_fail(settings, "log_format", err, "%s", why.msg);
    s->log.path = path;
    return AS_OK;
}

static int source_open(void *self, const struct as_settings *settings, const char *endpoint,
                       struct as_error *err)
{
    struct source *s = self;
    struct as_error why;
    s->log.fd = s->log.old = -1;
    if (nginx_page_init(&s->page, endpoint, &why))
        return as_settings_fail(settings, "address", err, "%s", why.msg);
    return open_log(s, settings, err);
}

static void source_close(void *self)
{
    struct source *s = self;
    nginx_page_fini(&s->page);
    nginx_follow_close(&s->log);
}

static int poll_status(struct source *s, as_time deadline, struct as_samples *out, struct as_error *err)
{
    struct http_answer answer;
    struct nginx_status status;
    s->stats.own++;
    int rc = nginx_page_get(&s->page, deadline, &answer, err);
    if (rc)
        return rc;
    bool good = nginx_status_parse(answer.body, answer.size, &status);
    http_answer_fini(&answer);
    if (!good)
        return as_fail(err, AS_EPROTO, "%s is no stub_status page: give the location of `stub_status;`",
                       s->page.peer.name);
    return nginx_status_add(&s->stats, &status, as_clock_monotonic(), out, err);
}

/* The first look only finds the end of the file. */
static int poll_log(struct source *s, as_time deadline, struct as_samples *out, struct as_error *err)
{
    as_time now = as_clock_monotonic();
    off_t skipped = 0;
    if (!s->log_at) {
        int rc = nginx_follow_open(&s->log, err);
        s->log_at = rc ? 0 : now;
        return rc;
    }
    if (now <= s->log_at)
        return AS_OK;
    s->tally = (struct nginx_tally){ 0 };
    int rc = nginx_follow_read(&s->log, &s->format, deadline, &s->tally, &skipped, err);
    if (rc) {
        nginx_follow_close(&s->log);
        s->log_at = 0;
        return rc;
    }
    rc = nginx_tally_samples(&s->tally, &s->format, now - s->log_at, out, err);
    s->log_at = now;
    if (rc == AS_OK && s->tally.bad && !s->tally.lines)
        return as_fail(err, AS_EPROTO, "no line of %s fits log_format: copy it from nginx's configuration",
                       s->log.path);
    if (rc == AS_OK && skipped)
        return as_fail(err, AS_EPROTO, "%s grew too fast: %lld MiB were not read", s->log.path,
                       (long long)(skipped >> 20));
    return rc;
}

static int source_poll(void *self, as_time deadline, struct as_samples *out, struct as_error *err)
{
    struct source *s = self;
    struct as_error why = { 0 };
    int rc = poll_status(s, deadline, out, err);
    if (rc || !s->log.path)
        return rc;
    rc = poll_log(s, deadline, out, &why);
    if (rc && err) /* a part failed: told, but the page's numbers stand */
        *err = why;
    return rc == AS_ENOMEM ? rc : AS_OK;
}

extern const struct as_source_driver as_source_nginx;
const struct as_source_driver as_source_nginx = {
    .name = "nginx",
    .summary =
        "connections and request rate of nginx (stub_status), request times and answers from its access log",
    .options = options,
    .series = nginx_series,
    .endpoints = "address",
    .state_size = sizeof(struct source),
    .open = source_open,
    .poll = source_poll,
    .close = source_close,
};
