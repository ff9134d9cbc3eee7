/* From nginx's numbers to samples. The poll itself is a connection and a request in them: it is taken out. */
#include "nginx_stats.h"

#include <stdio.h>
#include <string.h>

#define COUNT_MAX 9e15 /* exact in a double */

const struct as_series_doc nginx_series[] = {
    { "active", "requests", "connections that are at work: all but the idle ones", AS_MERGE_SUM },
    { "waiting", "connections", "idle keep-alive connections", AS_MERGE_SUM },
    { "request_rate", "1/s", "requests", AS_MERGE_SUM },
    { "dropped_per_second", "1/s", "connections that were accepted and not handled: a limit is reached",
      AS_MERGE_SUM },
    { "request_time_p50_ms", "ms",
      "from the log: half of the requests since the last poll took no longer; not given "
      "when there was none",
      AS_MERGE_MAX },
    { "request_time_p95_ms", "ms", "from the log: 95% of the requests since the last poll took no longer",
      AS_MERGE_MAX },
    { "request_time_p99_ms", "ms", "from the log: 99% of the requests since the last poll took no longer",
      AS_MERGE_MAX },
    { "upstream_time_p95_ms", "ms",
      "from the log: 95% of the requests that went to a server waited no longer for it", AS_MERGE_MAX },
    { "rate_2xx", "1/s", "from the log: answers 200 to 299", AS_MERGE_SUM },
    { "rate_3xx", "1/s", "from the log: answers 300 to 399", AS_MERGE_SUM },
    { "rate_4xx", "1/s", "from the log: answers 400 to 499", AS_MERGE_SUM },
    { "error_rate", "1/s", "from the log: answers 500 to 599", AS_MERGE_SUM },
    { "log_bad_lines", "lines", "lines of the log since the last poll that do not fit log_format",
      AS_MERGE_SUM },
    { .name = NULL },
};

/* --- stub_status --------------------------------------------------------------------------------------- */

struct cursor {
    const char *at, *end;
};

static bool word(struct cursor *c, const char *text)
{
    size_t n = strlen(text);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, text, n) != 0)
        return false;
    c->at += n;
    return true;
}

static bool number(struct cursor *c, double *out)
{
    double n = 0;
    const char *from = c->at;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++)
        n = n * 10 + (*c->at - '0');
    *out = n;
    return c->at > from && n <= COUNT_MAX;
}

bool nginx_status_parse(const char *text, size_t len, struct nginx_status *out)
{
    struct cursor c = { text, text + len };
    struct nginx_status s;
    bool ok = word(&c, "Active connections: ") && number(&c, &s.active) &&
              word(&c, " \nserver accepts handled requests\n ") && number(&c, &s.accepts) && word(&c, " ") &&
              number(&c, &s.handled) && word(&c, " ") && number(&c, &s.requests) &&
              word(&c, " \nReading: ") && number(&c, &s.reading) && word(&c, " Writing: ") &&
              number(&c, &s.writing) && word(&c, " Waiting: ") && number(&c, &s.waiting) && word(&c, " \n") &&
              c.at == c.end;
    if (ok)
        *out = s;
    return ok;
}

/* Requests of ours are not load. After a restart of nginx they may be more than all it counted. */
static double without_own(double rate, double span_s, uint64_t own)
{
    double less = span_s > 0 ? (double)own / span_s : 0;
    return rate > less ? rate - less : 0;
}

int nginx_status_add(struct nginx_stats *s, const struct nginx_status *status, as_time now,
                     struct as_samples *out, struct as_error *err)
{
    double busy = status->active - status->waiting - 1, rate;
    double span = s->requests.seen ? (double)(now - s->requests.at) / 1000 : 0;
    double dropped = status->accepts - status->handled;
    int rc = as_samples_add(out, "", "active", busy > 0 ? busy : 0, 1, err);
    rc = rc ? rc : as_samples_add(out, "", "waiting", status->waiting, 1, err);
    if (rc == AS_OK && as_counter_rate(&s->requests, now, status->requests, &rate))
        rc = as_samples_add(out, "", "request_rate", without_own(rate, span, s->own), 1, err);
    if (rc == AS_OK && as_counter_rate(&s->dropped, now, dropped > 0 ? dropped : 0, &rate))
        rc = as_samples_add(out, "", "dropped_per_second", rate, 1, err);
    s->own = 0;
    return rc;
}

/* --- the log ------------------------------------------------------------------------------------------- */

static int add_times(const struct nginx_tally *t, struct as_samples *out, struct as_error *err)
{
    static const struct {
        const char *name;
        double q;
    } request[] = { { "request_time_p50_ms", 0.5 },
                    { "request_time_p95_ms", 0.95 },
                    { "request_time_p99_ms", 0.99 } };
    int rc = AS_OK;
    for (size_t i = 0; rc == AS_OK && t->request.count && i < sizeof request / sizeof *request; i++)
        rc =
            as_samples_add(out, "", request[i].name, nginx_times_quantile(&t->request, request[i].q), 1, err);
    if (rc == AS_OK && t->upstream.count)
        rc =
            as_samples_add(out, "", "upstream_time_p95_ms", nginx_times_quantile(&t->upstream, 0.95), 1, err);
    return rc;
}

int nginx_tally_samples(const struct nginx_tally *t, const struct nginx_format *f, as_time span,
                        struct as_samples *out, struct as_error *err)
{
    static const char *const classes[6] = {
        [2] = "rate_2xx", [3] = "rate_3xx", [4] = "rate_4xx", [5] = "error_rate"
    };
    double seconds = (double)span / 1000;
    int rc = as_samples_add(out, "", "log_bad_lines", (double)t->bad, 1, err);
    if (rc || (t->bad && !t->lines)) /* nothing was understood: that is not zero */
        return rc;
    for (int k = 2; rc == AS_OK && f->has[NGINX_STATUS] && k < 6; k++)
        rc = as_samples_add(out, "", classes[k], (double)t->classes[k] / seconds, 1, err);
    return rc ? rc : add_times(t, out, err);
}
