/* Configuration files: read whole (at most 1 MiB, regular files only), scanned, then parsed. The names of all
 * files read live in the configuration, and every place points to them. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loader.h"
#include "scan.h"

#define INCLUDES_CAP  1000 /* in all: files that include each other twice grow without bound */
#define INCLUDE_DEPTH 10   /* what libconfig follows */

static const char *files_add(struct cfg *c, const char *path)
{
    for (size_t i = 0; i < c->file_count; i++)
        if (strcmp(c->files[i], path) == 0)
            return c->files[i];
    char **files = reallocarray(c->files, c->file_count + 1, sizeof *files);
    if (!files)
        return NULL;
    c->files = files;
    files[c->file_count] = strdup(path);
    return files[c->file_count] ? files[c->file_count++] : NULL;
}

char *files_path(const struct loader *l, const char *name)
{
    char *path = NULL;
    if (*name == '/' || strcmp(l->dir, ".") == 0)
        return strdup(name);
    return asprintf(&path, "%s/%s", l->dir, name) < 0 ? NULL : path;
}

const char *files_name(void *loader, const char *included)
{
    struct loader *l = loader;
    if (!included)
        return l->file;
    char *path = files_path(l, included);
    const char *name = path ? files_add(l->cfg, path) : NULL;
    free(path);
    return name ? name : l->file;
}

/* NULL, or why the file cannot be used; *text is owned by the caller. */
static const char *slurp(int fd, char **text)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return strerror(errno);
    if (!S_ISREG(st.st_mode))
        return "not a regular file";
    char *buf = malloc(CONFIG_FILE_MAX + 2);
    if (!buf)
        return "out of memory";
    size_t used = 0;
    ssize_t n = 0;
    while (used <= CONFIG_FILE_MAX && (n = read(fd, buf + used, CONFIG_FILE_MAX + 1 - used)) > 0)
        used += (size_t)n;
    const char *wrong = n < 0                             ? strerror(errno)
                        : used > CONFIG_FILE_MAX          ? "larger than 1 MiB"
                        : memchr(buf, '\0', used) != NULL ? "it holds a NUL byte, so it is no text"
                                                          : NULL;
    if (wrong) {
        free(buf);
        return wrong;
    }
    buf[used] = '\0';
    *text = buf;
    return NULL;
}

static const char *read_text(const char *path, char **text)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return strerror(errno);
    const char *wrong = slurp(fd, text);
    close(fd);
    return wrong;
}

struct include {
    struct loader *l;
    int depth;
};

static void scan_file(struct loader *l, const char *file, const char *text, int depth);

/* An @include line: the file is read here only to be scanned; libconfig opens it again. */
static void take_include(void *arg, const char *name, const char *from, int line)
{
    const struct include *in = arg;
    struct loader *l = in->l;
    if (*name == '/') {
        problems_error(l->problems, from, line, "@include takes a name relative to the main file, not %s",
                       name);
        return;
    }
    if (in->depth >= INCLUDE_DEPTH || l->includes++ >= INCLUDES_CAP) {
        problems_error(l->problems, from, line, "@include \"%s\": files include each other too deeply", name);
        return;
    }
    char *path = files_path(l, name), *text = NULL;
    const char *kept = path ? files_add(l->cfg, path) : NULL;
    const char *wrong = kept ? read_text(kept, &text) : NULL;
    if (!kept)
        l->failed = true;
    else if (wrong)
        problems_error(l->problems, from, line, "@include \"%s\" cannot be read: %s", name, wrong);
    else
        scan_file(l, kept, text, in->depth + 1);
    free(text);
    free(path);
}

static void scan_file(struct loader *l, const char *file, const char *text, int depth)
{
    struct include in = { l, depth };
    struct scan scan = { l->problems, take_include, &in };
    scan_text(&scan, file, text);
}

int files_parse(struct loader *l, const char *path, config_t *out)
{
    char *text = NULL;
    config_init(out);
    l->file = files_add(l->cfg, path);
    if (!l->file)
        return AS_ENOMEM;
    const char *wrong = read_text(path, &text);
    if (wrong) {
        problems_error(l->problems, l->file, 0, "cannot be read: %s", wrong);
        return AS_EIO;
    }
    size_t errors = l->problems->errors;
    int rc = AS_EINVAL;
    scan_file(l, l->file, text, 0);
    config_set_include_dir(out, l->dir);
    if (l->problems->errors == errors) /* else libconfig would follow what was refused */
        rc = config_read_string(out, text) == CONFIG_TRUE ? AS_OK : AS_EINVAL;
    if (rc && l->problems->errors == errors) {
        struct scan scan = { .problems = l->problems };
        scan_syntax_error(&scan, files_name(l, config_error_file(out)), out);
    }
    free(text);
    return l->failed ? AS_ENOMEM : rc;
}
