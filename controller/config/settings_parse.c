/* Settings from a piece of text (tests, tools), and secrets from their files. A secret never enters a
 * message, a settings tree or a canonical text: only the path of its file does. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scan.h"
#include "settings_internal.h"

static const char *text_name(void *arg, const char *included)
{
    (void)arg, (void)included;
    return "settings";
}

/* The first problem in the order of lines becomes the error. */
static int first_problem(struct cfg_problems *problems, struct as_error *err)
{
    problems_sort(problems, NULL, 0);
    if (problems->count == 0)
        return as_fail(err, AS_ENOMEM, "out of memory");
    as_fail(err, AS_EINVAL, "%s", problems->items[0].text);
    if (err)
        err->line = problems->items[0].line;
    return AS_EINVAL;
}

static int parse_text(const struct as_option *options, const char *text, struct cfg_problems *problems,
                      struct as_settings **out)
{
    const struct settings_scope scope = { problems, "", text_name, NULL, NULL };
    const struct as_option *const tables[] = { options, NULL };
    struct scan scan = { .problems = problems };
    if (strlen(text) > CONFIG_FILE_MAX) {
        problems_error(problems, "settings", 0, "the text is larger than 1 MiB");
        return AS_EINVAL;
    }
    scan_text(&scan, "settings", text);
    if (problems->errors)
        return AS_EINVAL;
    config_t parsed;
    config_init(&parsed);
    int rc = config_read_string(&parsed, text) == CONFIG_TRUE ? AS_OK : AS_EINVAL;
    if (rc)
        scan_syntax_error(&scan, "settings", &parsed);
    else
        rc = settings_read(&scope, config_root_setting(&parsed), tables, out);
    config_destroy(&parsed);
    return rc;
}

int as_settings_parse(const struct as_option *options, const char *text, struct as_settings **out,
                      struct as_error *err)
{
    struct cfg_problems problems = { 0 };
    struct as_settings *read = NULL;
    int rc = parse_text(options, text, &problems, &read);
    if (rc == AS_OK) {
        *out = read;
    } else {
        as_settings_free(read);
        rc = rc == AS_ENOMEM ? as_fail(err, AS_ENOMEM, "out of memory") : first_problem(&problems, err);
    }
    config_problems_fini(&problems);
    return rc;
}

static int secret_open(const char *path, int *out, struct as_error *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return as_fail(err, AS_EIO, "secret file %s: %s", path, strerror(errno));
    int rc = AS_OK;
    if (fstat(fd, &st) != 0)
        rc = as_fail(err, AS_EIO, "secret file %s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        rc = as_fail(err, AS_EINVAL, "secret file %s is not a regular file", path);
    else if (st.st_mode & (S_IRWXG | S_IRWXO))
        rc = as_fail(err, AS_EINVAL, "secret file %s can be read by others: run chmod 600 %s", path, path);
    if (rc)
        close(fd);
    else
        *out = fd;
    return rc;
}

int settings_secret_check(const char *path, struct as_error *err)
{
    int fd = -1;
    int rc = secret_open(path, &fd, err);
    if (rc == AS_OK)
        close(fd);
    return rc;
}

int as_secret_read(const char *path, char *buf, size_t size, struct as_error *err)
{
    int fd = -1;
    int rc = secret_open(path, &fd, err);
    if (rc)
        return rc;
    char raw[4098]; /* one more than the longest secret and its newline tells that there is more */
    size_t used = 0;
    ssize_t n;
    while (used < sizeof raw &&
           ((n = read(fd, raw + used, sizeof raw - used)) > 0 || (n < 0 && errno == EINTR)))
        used += n > 0 ? (size_t)n : 0;
    int failure = n < 0 ? errno : 0;
    close(fd);
    if (used && raw[used - 1] == '\n')
        used--;
    if (failure)
        rc = as_fail(err, AS_EIO, "secret file %s: %s", path, strerror(failure));
    else if (used == 0)
        rc = as_fail(err, AS_EINVAL, "secret file %s is empty", path);
    else if (used >= size || used == sizeof raw)
        rc = as_fail(err, AS_EINVAL, "secret file %s is too long (at most %zu bytes)", path,
                     size > sizeof raw - 2 ? sizeof raw - 2 : size - 1);
    else if (memchr(raw, '\0', used))
        rc = as_fail(err, AS_EINVAL, "secret file %s holds a NUL byte", path);
    if (rc == AS_OK) {
        memcpy(buf, raw, used);
        buf[used] = '\0';
    }
    explicit_bzero(raw, sizeof raw);
    return rc;
}
