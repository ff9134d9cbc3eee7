/* Source `http`: GETs a JSON document and picks numbers out of it by JSON pointer (RFC 6901). It must never take
 * a text, an object or an absent member for a number. */
#include <string.h>

#include "../wire/json.h"
#include "../wire/site.h"
#include "autoscale/source.h"
#include "json_values.h"

#define ANSWER_MAX (4 * 1024 * 1024)

struct http_source {
    const struct as_settings *settings; /* borrowed */
    struct site site;
};

static const struct as_option options[] = {
    { .name = "url",
      .type = AS_OPT_STRINGS,
      .flags = AS_OPT_REQUIRED,
      .help = "URL of the JSON document; the numbers of several are added up" },
    { .name = "values",
      .type = AS_OPT_MAP,
      .flags = AS_OPT_REQUIRED,
      .help = "the series: NAME = \"/json/pointer/0\" to a number; true and false count as 1 and 0" },
    SITE_OPTIONS,
    { 0 },
};

static const struct as_series_doc series[] = {
    { JSON_VALUES_MISSING, "values", "values that the last document did not have", AS_MERGE_SUM },
    { 0 },
};

static int read_document(const struct http_source *h, const struct http_answer *a, struct as_samples *out,
                         struct as_error *err)
{
    int rc = site_judge(&h->site, a->status, err);
    if (rc != AS_OK)
        return rc;
    cJSON *root = json_parse(a->body, a->size);
    if (!root)
        return as_fail(err, AS_EPROTO, "%s does not answer with JSON", h->site.peer.name);
    rc = json_values_add(h->settings, "values", root, out, err);
    cJSON_Delete(root);
    return rc;
}

static int http_poll(void *self, as_time deadline, struct as_samples *out, struct as_error *err)
{
    const struct http_source *h = self;
    struct http_answer a = { 0 };
    size_t before = out->count;
    int rc = site_get(&h->site, NULL, ANSWER_MAX, deadline, &a, err);
    if (rc == AS_OK)
        rc = read_document(h, &a, out, err);
    if (rc != AS_OK)
        out->count = before;
    http_answer_fini(&a);
    return rc;
}

static int http_open(void *self, const struct as_settings *settings, const char *endpoint,
                     struct as_error *err)
{
    struct http_source *h = self;
    h->settings = settings;
    int rc = json_values_check(settings, "values", err);
    return rc == AS_OK ? site_open(&h->site, settings, "url", endpoint, err) : rc;
}

static void http_close(void *self)
{
    struct http_source *h = self;
    site_close(&h->site);
}

extern const struct as_source_driver as_source_http;
const struct as_source_driver as_source_http = {
    .name = "http",
    .summary = "numbers of a JSON document that is fetched by HTTP",
    .options = options,
    .series = series,
    .user_series = "values",
    .endpoints = "url",
    .state_size = sizeof(struct http_source),
    .open = http_open,
    .poll = http_poll,
    .close = http_close,
};
