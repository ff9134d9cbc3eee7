/* Source `exec`: runs a command without a shell and reads a number, or JSON, from its standard output. It must
 * never outlive its deadline, take output of a command that failed, or pass our environment on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../wire/json.h"
#include "../wire/subprocess.h"
#include "autoscale/source.h"
#include "json_values.h"

#define OUTPUT_MAX (64 * 1024)

struct exec {
    const struct as_settings *settings; /* borrowed */
    struct subprocess command;
    const char **argv;
    char **envp;
};

static const struct as_option options[] = {
    { .name = "command",
      .type = AS_OPT_STRINGS,
      .flags = AS_OPT_REQUIRED,
      .help =
          "absolute path of a program and its arguments, [ \"/usr/local/bin/depth\", \"-q\" ]; no shell is "
          "involved; it is ended when the poll's timeout comes" },
    { .name = "env",
      .type = AS_OPT_MAP,
      .help = "environment of the command, beside PATH and LC_ALL=C; no secrets, name a file it can read" },
    { .name = "directory", .type = AS_OPT_FILE, .def = "/", .help = "working directory of the command" },
    { .name = "values",
      .type = AS_OPT_MAP,
      .help = "the output is JSON, whole or one object a line: NAME = \"/json/pointer\" to a number; when "
              "unset, the "
              "output is one number, the series value" },
    { 0 },
};

static const struct as_series_doc series[] = {
    { "value", "", "the number the command printed, when values is not set", AS_MERGE_SUM },
    { JSON_VALUES_MISSING, "values", "values that the last output did not have", AS_MERGE_SUM },
    { 0 },
};

/* --- what it prints -------------------------------------------------------------------------------------- */

static int read_output(const struct exec *x, const struct subprocess_answer *a, struct as_samples *out,
                       struct as_error *err)
{
    bool many = as_settings_count(x->settings, "values") > 0;
    cJSON *root = json_parse(a->text, a->size);
    double value;
    int rc = AS_OK;
    if (a->size == 0 || strspn(a->text, " \t\r\n") == a->size)
        rc = as_fail(err, AS_EPROTO, "the command printed nothing");
    else if (!many && !json_measure(root, &value))
        rc = as_fail(err, AS_EPROTO, "the command's output is not one number: set values when it is JSON");
    else if (many && !root)
        rc = json_lines(a->text, a->size, &root, err);
    if (rc == AS_OK)
        rc = many ? json_values_add(x->settings, "values", root, out, err)
                  : as_samples_add(out, "", "value", value, 1, err);
    cJSON_Delete(root);
    return rc;
}

static int exec_poll(void *self, as_time deadline, struct as_samples *out, struct as_error *err)
{
    struct exec *x = self;
    struct subprocess_answer a = { 0 };
    size_t before = out->count;
    int rc = subprocess_run(&x->command, deadline, &a, err);
    if (rc == AS_OK)
        rc = read_output(x, &a, out, err);
    if (rc != AS_OK)
        out->count = before;
    subprocess_answer_fini(&a);
    return rc;
}

/* --- open and close -------------------------------------------------------------------------------------- */

static int make_argv(struct exec *x, const struct as_settings *s, struct as_error *err)
{
    size_t count = as_settings_count(s, "command");
    x->argv = calloc(count + 1, sizeof *x->argv);
    if (!x->argv)
        return as_fail(err, AS_ENOMEM, "out of memory");
    for (size_t i = 0; i < count; i++)
        x->argv[i] = as_settings_item(s, "command", i);
    if (x->argv[0][0] != '/')
        return as_settings_fail(s, "command", err,
                                "'%.80s' is no absolute path; arguments are items of their own: "
                                "[ \"/bin/program\", \"argument\" ]",
                                x->argv[0]);
    return AS_OK;
}

static bool add_env(struct exec *x, size_t *n, const char *name, const char *value)
{
    if (asprintf(&x->envp[*n], "%s=%s", name, value) < 0)
        x->envp[*n] = NULL;
    return x->envp[(*n)++] != NULL;
}

static int make_env(struct exec *x, const struct as_settings *s, struct as_error *err)
{
    static const char *const base[][2] = {
        { "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" },
        { "LC_ALL", "C" },
    };
    size_t count = as_settings_count(s, "env"), n = 0;
    bool ok = (x->envp = calloc(count + 3, sizeof *x->envp)) != NULL;
    for (size_t i = 0; ok && i < count; i++)
        ok = add_env(x, &n, as_settings_key(s, "env", i), as_settings_item(s, "env", i));
    for (size_t b = 0; ok && b < 2; b++) {
        bool own = false;
        for (size_t i = 0; i < count; i++)
            own = own || strcmp(as_settings_key(s, "env", i), base[b][0]) == 0;
        ok = own || add_env(x, &n, base[b][0], base[b][1]);
    }
    return ok ? AS_OK : as_fail(err, AS_ENOMEM, "out of memory");
}

static int exec_open(void *self, const struct as_settings *settings, const char *endpoint,
                     struct as_error *err)
{
    struct exec *x = self;
    (void)endpoint;
    x->settings = settings;
    const char *directory = as_settings_str(settings, "directory");
    if (*directory != '/')
        return as_settings_fail(settings, "directory", err, "'%.80s' is no absolute path", directory);
    int rc = json_values_check(settings, "values", err);
    if (rc == AS_OK)
        rc = make_argv(x, settings, err);
    if (rc == AS_OK)
        rc = make_env(x, settings, err);
    x->command = (struct subprocess){
        .argv = x->argv, .envp = (const char *const *)x->envp, .directory = directory, .cap = OUTPUT_MAX
    };
    return rc;
}

static void exec_close(void *self)
{
    struct exec *x = self;
    subprocess_fini(&x->command);
    for (char **e = x->envp; e && *e; e++)
        free(*e);
    free(x->envp);
    free(x->argv);
}

extern const struct as_source_driver as_source_exec;
const struct as_source_driver as_source_exec = {
    .name = "exec",
    .summary = "a number, or numbers in JSON, that a command prints",
    .options = options,
    .series = series,
    .user_series = "values",
    .state_size = sizeof(struct exec),
    .open = exec_open,
    .poll = exec_poll,
    .close = exec_close,
};
