/* Configuration text as a stranger might write it: through the settings parser, and through the whole
 * reader from a file of its own. Must never crash, never leak, and never accept without a result. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../controller/config/config.h"

static const char *const colours[] = { "red", "green", NULL };

static const struct as_option inner[] = {
    { .name = "from", .type = AS_OPT_NUMBER, .help = "begin" },
    { .name = "change", .type = AS_OPT_STRING, .flags = AS_OPT_REQUIRED, .help = "change" },
    { 0 },
};

static const struct as_option table[] = {
    { .name = "text", .type = AS_OPT_STRING, .def = "x", .help = "text" },
    { .name = "secret_file", .type = AS_OPT_SECRET, .help = "secret" },
    { .name = "flag", .type = AS_OPT_BOOL, .help = "flag" },
    { .name = "count", .type = AS_OPT_INT, .min = 1, .max = 100, .help = "count" },
    { .name = "number", .type = AS_OPT_NUMBER, .help = "number" },
    { .name = "interval", .type = AS_OPT_DURATION, .min = 1, .max = 1e9, .help = "interval" },
    { .name = "memory", .type = AS_OPT_BYTES, .help = "memory" },
    { .name = "share", .type = AS_OPT_PERCENT, .max = 1, .help = "share" },
    { .name = "colour", .type = AS_OPT_CHOICE, .choices = colours, .help = "colour" },
    { .name = "hosts", .type = AS_OPT_STRINGS, .help = "hosts" },
    { .name = "env", .type = AS_OPT_MAP, .help = "env" },
    { .name = "metric", .type = AS_OPT_METRIC, .help = "metric" },
    { .name = "tls", .type = AS_OPT_GROUP, .sub = inner, .help = "tls" },
    { .name = "steps", .type = AS_OPT_LIST, .sub = inner, .help = "steps" },
    { 0 },
};

static const struct as_series_doc series[] = { { "load", "1", "load", AS_MERGE_SUM }, { 0 } };

static int open_any(void *self, const struct as_settings *settings, const struct as_owner *owner,
                    const char *endpoint, struct as_error *err)
{
    (void)self, (void)settings, (void)owner, (void)endpoint, (void)err;
    return AS_OK;
}

static int open_source(void *self, const struct as_settings *settings, const char *endpoint,
                       struct as_error *err)
{
    (void)self, (void)endpoint;
    return as_settings_has(settings, "count") ? as_settings_fail(settings, "count", err, "no") : AS_OK;
}

static void close_any(void *self)
{
    (void)self;
}

static int init_any(void *state, const struct as_settings *settings, struct as_error *err)
{
    (void)state, (void)settings, (void)err;
    return AS_OK;
}

static const struct as_source_driver source = { .name = "s",
                                                .options = table,
                                                .series = series,
                                                .user_series = "env",
                                                .endpoints = "hosts",
                                                .open = open_source,
                                                .close = close_any };
static const struct as_compute_driver compute = {
    .name = "c", .options = table, .open = open_any, .close = close_any
};
static const struct as_balancer_driver balancer = {
    .name = "b", .options = table, .endpoints = "hosts", .open = open_any, .close = close_any
};
static const struct as_policy_type step = { .name = "step", .options = table, .init = init_any };
static const struct as_policy_type target = { .name = "target", .options = table, .init = init_any };

static const struct as_source_driver *const sources[] = { &source, NULL };
static const struct as_compute_driver *const computes[] = { &compute, NULL };
static const struct as_balancer_driver *const balancers[] = { &balancer, NULL };
static const struct as_policy_type *const policies[] = { &step, &target, NULL };
static const struct as_registry registry = { sources, computes, balancers, policies };

static void parse_block(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    struct as_settings *s = NULL;
    struct as_error err = { 0 };
    if (!text)
        return;
    memcpy(text, data, size);
    text[size] = '\0';
    if ((as_settings_parse(table, text, &s, &err) == AS_OK) != (s != NULL))
        abort();
    if (!s && !*err.msg)
        abort();
    as_settings_free(s);
    free(text);
}

/* A configuration differs from itself in nothing. */
static void diff_with_itself(const struct cfg *c)
{
    struct cfg_diff d = { 0 };
    if (config_diff(c, c, &d) != AS_OK || d.count != 0)
        abort();
    config_diff_fini(&d);
}

static void load_file(const uint8_t *data, size_t size)
{
    char path[64];
    struct cfg *c = NULL;
    struct cfg_problems problems = { 0 };
    int fd = memfd_create("config", 0);
    if (fd < 0)
        return;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (write(fd, data, size) == (ssize_t)size) {
        int rc = config_load(path, &registry, &c, &problems);
        if ((rc == AS_OK) != (c != NULL) || (rc == AS_OK) != (problems.errors == 0))
            abort();
        if (c)
            diff_with_itself(c);
    }
    config_free(c);
    config_problems_fini(&problems);
    close(fd);
}

/* libconfig 1.5 loses the token it was reading when it meets a syntax error; all else counts. */
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig.so";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse_block(data, size);
    load_file(data, size);
    return 0;
}
