/* NoCloud seeds. Pure but for loading libarchive: it opens no file of ours. */
#include "seed.h"

#include <archive.h>
#include <archive_entry.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "dynlib.h"

#define IMAGE_SLACK ((size_t)1 << 20) /* for what an image has beside its files */

#define ARCHIVE_FUNCTIONS(X)                                                                                 \
    X(archive_write_new)                                                                                     \
    X(archive_write_set_format_iso9660)                                                                      \
    X(archive_write_set_format_option)                                                                       \
    X(archive_write_set_bytes_in_last_block)                                                                 \
    X(archive_write_open_memory)                                                                             \
    X(archive_write_header)                                                                                  \
    X(archive_write_data)                                                                                    \
    X(archive_write_close)                                                                                   \
    X(archive_write_free)                                                                                    \
    X(archive_error_string)                                                                                  \
    X(archive_entry_new)                                                                                     \
    X(archive_entry_free)                                                                                    \
    X(archive_entry_set_pathname)                                                                            \
    X(archive_entry_set_size)                                                                                \
    X(archive_entry_set_filetype)                                                                            \
    X(archive_entry_set_perm)

static struct {
#define SLOT(f) __typeof__(f) *f;
    ARCHIVE_FUNCTIONS(SLOT)
#undef SLOT
} lib;

static int load(struct as_error *err)
{
    static const struct dynlib_function functions[] = {
#define ROW(f) { #f, offsetof(__typeof__(lib), f) },
        ARCHIVE_FUNCTIONS(ROW)
#undef ROW
    };
    static const struct dynlib library = { "libarchive.so.13", "libarchive", "libarchive13", functions,
                                           sizeof functions / sizeof *functions };
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static bool loaded;
    pthread_mutex_lock(&lock);
    int rc = loaded ? AS_OK : dynlib_load(&library, &lib, err);
    loaded = rc == AS_OK;
    pthread_mutex_unlock(&lock);
    return rc;
}

static bool add(struct archive *a, const char *name, const char *text)
{
    size_t size = text ? strlen(text) : 0;
    if (!text)
        return true;
    struct archive_entry *e = lib.archive_entry_new();
    if (!e)
        return false;
    lib.archive_entry_set_pathname(e, name);
    lib.archive_entry_set_size(e, (la_int64_t)size);
    lib.archive_entry_set_filetype(e, AE_IFREG);
    lib.archive_entry_set_perm(e, 0444);
    bool ok = lib.archive_write_header(a, e) == ARCHIVE_OK &&
              lib.archive_write_data(a, text, size) == (la_ssize_t)size;
    lib.archive_entry_free(e);
    return ok;
}

static bool write_image(struct archive *a, const struct seed_texts *t, void *image, size_t room, size_t *used)
{
    return lib.archive_write_set_format_iso9660(a) == ARCHIVE_OK &&
           lib.archive_write_set_format_option(a, "iso9660", "volume-id", "cidata") == ARCHIVE_OK &&
           lib.archive_write_set_bytes_in_last_block(a, 1) == ARCHIVE_OK &&
           lib.archive_write_open_memory(a, image, room, used) == ARCHIVE_OK &&
           add(a, "meta-data", t->meta) && add(a, "user-data", t->user) &&
           add(a, "network-config", t->network) && lib.archive_write_close(a) == ARCHIVE_OK;
}

static size_t length(const char *text)
{
    return text ? strlen(text) : 0;
}

int seed_make(const struct seed_texts *texts, void **image, size_t *size, struct as_error *err)
{
    size_t room = length(texts->meta) + length(texts->user) + length(texts->network) + IMAGE_SLACK, used = 0;
    int rc = load(err);
    if (rc != AS_OK)
        return rc;
    struct archive *a = lib.archive_write_new();
    void *made = malloc(room);
    if (!a || !made)
        rc = as_fail(err, AS_ENOMEM, "out of memory for a seed");
    else if (!write_image(a, texts, made, room, &used)) {
        const char *why = lib.archive_error_string(a);
        rc = as_fail(err, AS_EIO, "the seed cannot be made: %.150s", why ? why : "no reason given");
    }
    if (a)
        lib.archive_write_free(a);
    if (rc != AS_OK) {
        free(made);
        return rc;
    }
    *image = made;
    *size = used;
    return AS_OK;
}
