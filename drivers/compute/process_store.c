/* The state directory of the process driver: one record and one log for each instance. Records are replaced whole and
 * are on disk before anything depends on them. It never trusts a directory that someone else could have written to,
 * and never touches a file whose name does not belong to an instance it was asked about. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "process.h"

#define NAME_SIZE (AS_ID_MAX + 16) /* an id with a suffix */
#define SUFFIX    ".json"

/* --- the directory ---------------------------------------------------------------------------------------- */

static int check_directory(const struct process *p, int fd, struct as_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return as_fail(err, AS_EIO, "directory %s: %s", p->directory, strerror(errno));
    if (st.st_uid != geteuid())
        return as_fail(
            err, AS_EINVAL,
            "directory %s belongs to uid %u and not to us (uid %u): its records cannot be trusted, "
            "run as that user or choose another directory",
            p->directory, (unsigned)st.st_uid, (unsigned)geteuid());
    if (st.st_mode & 077)
        return as_fail(err, AS_EINVAL, "directory %s is open to others (mode %04o); run chmod 700 on it",
                       p->directory, (unsigned)st.st_mode & 07777);
    return AS_OK;
}

/* The kernel's lock on the directory itself; each call has its own descriptor, so threads exclude each other too. */
static int take_lock(const struct process *p, int fd, as_time deadline, struct as_error *err)
{
    const struct timespec pause = { .tv_nsec = 2000000 };
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return as_fail(err, AS_EIO, "directory %s cannot be locked: %s", p->directory, strerror(errno));
        if (as_time_left(deadline) == 0)
            return as_fail(err, AS_EAGAIN, "directory %s is locked by another operation", p->directory);
        nanosleep(&pause, NULL);
    }
    return AS_OK;
}

int process_store_open(const struct process *p, bool make, as_time deadline, int *fd, struct as_error *err)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int dir = open(p->directory, flags);
    if (dir < 0 && errno == ENOENT && make) {
        if (mkdir(p->directory, 0700) != 0 && errno != EEXIST)
            return as_fail(err, AS_EINVAL, "directory %s cannot be made: %s", p->directory, strerror(errno));
        dir = open(p->directory, flags);
    }
    if (dir < 0)
        return as_fail(err, errno == ENOENT ? AS_ENOENT : AS_EINVAL, "directory %s: %s", p->directory,
                       strerror(errno));
    int rc = check_directory(p, dir, err);
    if (rc == AS_OK)
        rc = take_lock(p, dir, deadline, err);
    if (rc == AS_OK)
        *fd = dir;
    else
        close(dir);
    return rc;
}

/* --- records ---------------------------------------------------------------------------------------------- */

/* Bytes read, NUL-terminated; -1 with errno. More than the size of a record reads as one byte more. */
static ssize_t read_small(int dir, const char *name, char buf[PROCESS_RECORD_MAX + 2])
{
    struct stat st;
    ssize_t n = 0;
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        for (ssize_t got; n <= PROCESS_RECORD_MAX; n += got)
            if ((got = read(fd, buf + n, (size_t)(PROCESS_RECORD_MAX + 1 - n))) <= 0)
                break;
    close(fd);
    buf[n] = '\0';
    return n;
}

int process_store_load(int dir, const char *id, struct process_record *out, struct as_error *err)
{
    char name[NAME_SIZE], text[PROCESS_RECORD_MAX + 2];
    struct process_record r;
    struct as_error why;
    snprintf(name, sizeof name, "%s" SUFFIX, id);
    ssize_t n = read_small(dir, name, text);
    if (n < 0 && errno != ELOOP)
        return as_fail(err, errno == ENOENT ? AS_ENOENT : AS_EIO, "record %s: %s", name, strerror(errno));
    if (n < 0 || process_record_parse(text, (size_t)n, &r, &why) != AS_OK)
        return as_fail(err, AS_EEXIST, "%s is no record of ours (it %s); look at it and move it away", name,
                       n < 0 ? "is a link" : why.msg);
    if (strcmp(r.id, id) != 0)
        return as_fail(err, AS_EEXIST, "%s is the record of '%s'; look at it and move it away", name, r.id);
    *out = r;
    return AS_OK;
}

static bool write_whole(int fd, const char *text, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, text, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        text += n;
        size -= (size_t)n;
    }
    return fsync(fd) == 0;
}

int process_store_save(int dir, const struct process_record *r, struct as_error *err)
{
    char name[NAME_SIZE], fresh[NAME_SIZE];
    snprintf(name, sizeof name, "%s" SUFFIX, r->id);
    snprintf(fresh, sizeof fresh, ".%s.new", r->id);
    char *text = process_record_print(r);
    if (!text)
        return as_fail(err, AS_ENOMEM, "out of memory for the record of '%s'", r->id);
    int fd = openat(dir, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write_whole(fd, text, strlen(text));
    free(text);
    if (fd >= 0)
        ok = close(fd) == 0 && ok;
    if (ok && renameat(dir, fresh, dir, name) == 0 && fsync(dir) == 0)
        return AS_OK;
    int failed = errno;
    unlinkat(dir, fresh, 0);
    return as_fail(err, AS_EIO, "record %s cannot be written: %s", name, strerror(failed));
}

int process_store_remove(int dir, const char *id, bool keep_log, struct as_error *err)
{
    static const char *const logs[] = { ".log", ".log.1" };
    char name[NAME_SIZE];
    for (size_t i = 0; i < 2 && !keep_log; i++) {
        snprintf(name, sizeof name, "%s%s", id, logs[i]);
        unlinkat(dir, name, 0);
    }
    snprintf(name, sizeof name, "%s" SUFFIX, id);
    if (unlinkat(dir, name, 0) != 0 && errno != ENOENT)
        return as_fail(err, AS_EIO, "record %s cannot be removed: %s", name, strerror(errno));
    return fsync(dir) == 0 ? AS_OK : as_fail(err, AS_EIO, "removal of record %s: %s", name, strerror(errno));
}

/* --- all records ------------------------------------------------------------------------------------------ */

static bool push_record(struct process_records *all, const struct process_record *r)
{
    if (all->count == all->cap) {
        size_t cap = all->cap ? all->cap * 2 : 16;
        struct process_record *items = reallocarray(all->items, cap, sizeof *items);
        if (!items)
            return false;
        all->items = items;
        all->cap = cap;
    }
    all->items[all->count++] = *r;
    return true;
}

/* The id of a file name "ID.json". */
static bool id_of(const char *name, char id[AS_ID_MAX])
{
    size_t n = strlen(name), tail = strlen(SUFFIX);
    if (n <= tail || n - tail >= AS_ID_MAX || strcmp(name + n - tail, SUFFIX) != 0)
        return false;
    snprintf(id, AS_ID_MAX, "%.*s", (int)(n - tail), name);
    return process_id_ok(id);
}

static int take_entry(int dir, const char *name, struct process_records *all, struct as_error *left_out,
                      struct as_error *err)
{
    char id[AS_ID_MAX];
    struct process_record r;
    struct as_error why;
    if (!id_of(name, id))
        return AS_OK;
    int rc = process_store_load(dir, id, &r, &why);
    if (rc == AS_EEXIST) {
        if (!left_out->msg[0])
            *left_out = why;
        return AS_OK;
    }
    if (rc != AS_OK)
        return rc == AS_ENOENT ? AS_OK : as_fail(err, (enum as_rc)rc, "%s", why.msg);
    if (all->count >= AS_INSTANCES_CAP)
        return as_fail(err, AS_EPROTO, "there are more than %d records in the directory", AS_INSTANCES_CAP);
    return push_record(all, &r) ? AS_OK : as_fail(err, AS_ENOMEM, "out of memory for the records");
}

int process_store_all(int dir, struct process_records *out, struct as_error *left_out, struct as_error *err)
{
    struct process_records all = { 0 };
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = AS_OK;
    DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
    *left_out = (struct as_error){ 0 };
    if (!d) {
        rc = as_fail(err, AS_EIO, "the directory of records cannot be read: %s", strerror(errno));
        if (copy >= 0)
            close(copy);
        return rc;
    }
    for (struct dirent *e; rc == AS_OK && (e = readdir(d));)
        rc = take_entry(dir, e->d_name, &all, left_out, err);
    closedir(d);
    if (rc == AS_OK)
        *out = all;
    else
        process_records_fini(&all);
    return rc;
}

void process_records_fini(struct process_records *all)
{
    free(all->items);
    *all = (struct process_records){ 0 };
}

/* --- logs ------------------------------------------------------------------------------------------------- */

int process_log_open(int dir, const char *id, struct as_error *err)
{
    char name[NAME_SIZE], old[NAME_SIZE];
    snprintf(name, sizeof name, "%s.log", id);
    snprintf(old, sizeof old, "%s.log.1", id);
    renameat(dir, name, dir, old);
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        as_fail(err, AS_EIO, "log %s cannot be made: %s", name, strerror(errno));
    return fd;
}

/* Copied and emptied in place: the process goes on writing to the same file. */
bool process_log_trim(int dir, const char *id, uint64_t max)
{
    char name[NAME_SIZE], old[NAME_SIZE];
    struct stat st;
    off_t from = 0;
    snprintf(name, sizeof name, "%s.log", id);
    snprintf(old, sizeof old, "%s.log.1", id);
    if (max == 0 || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode) ||
        (uint64_t)st.st_size <= max)
        return false;
    int in = openat(dir, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    int out = openat(dir, old, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if ((uint64_t)st.st_size > 2 * max) /* it grew fast: the end is what matters */
        from = st.st_size - (off_t)max;
    while (in >= 0 && out >= 0 && from < st.st_size)
        if (sendfile(out, in, &from, (size_t)(st.st_size - from)) <= 0)
            break;
    bool emptied = in >= 0 && ftruncate(in, 0) == 0;
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    return emptied;
}
