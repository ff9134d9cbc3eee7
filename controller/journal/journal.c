/* The journal's file: opening it safely, the lock against a second daemon, turns as transactions, and
 * SQLite's failures in words. It never replaces, empties or repairs a file, and it writes to one only after
 * it has proved to be this controller's journal. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"
#include "schema.h"

#define BUSY_MS   500
#define OWNER_KEY "journal.controller"

static int damaged(const char *path, const char *why, struct as_error *err)
{
    const char *line = strchr(why, '\n'); /* the first line of a check is a title */
    if (line)
        why = line + 1;
    return as_fail(
        err, AS_EIO,
        "%s is damaged (%.50s): move it aside to start with an empty journal; running instances are "
        "found again by their marks",
        path, why);
}

static const char not_ours[] = "permission denied: run this as root, or as the user that runs autoscale";

static int describe(const struct journal *j, const char *doing, struct as_error *err)
{
    int rc = sqlite3_errcode(j->db);
    const char *why = sqlite3_errmsg(j->db);
    int system = sqlite3_system_errno(j->db);
    switch (rc) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return damaged(j->path, why, err);
    case SQLITE_NOMEM: return as_fail(err, AS_ENOMEM, "out of memory");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return as_fail(err, AS_EAGAIN, "cannot %s %s: another process keeps it locked", doing, j->path);
    case SQLITE_FULL:
        return as_fail(err, AS_EIO, "cannot %s %s: the disk is full: make room on its file system", doing,
                       j->path);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return as_fail(err, AS_EIO,
                       "cannot %s %s: it is not writable: check owner and mode of the file and its "
                       "directory",
                       doing, j->path);
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        if (system)
            why = system == EACCES ? not_ours : strerror(system);
        return as_fail(err, AS_EIO, "cannot %s %s: %s", doing, j->path, why);
    default: return as_fail(err, AS_EIO, "cannot %s %s: %s", doing, j->path, why);
    }
}

int journal_failure(struct journal *j, const char *doing, struct as_error *err)
{
    struct as_error local;
    int rc = describe(j, doing, &local);
    if (j->in_turn && !j->failed.rc)
        j->failed = local;
    if (err)
        *err = local;
    return rc;
}

/* --- opening ------------------------------------------------------------------------------------- */

static int no_directory(const char *path, struct as_error *err)
{
    const char *slash = strrchr(path, '/');
    int length = slash == path ? 1 : slash ? (int)(slash - path) : 1;
    return as_fail(err, AS_EIO,
                   "cannot create %s: there is no directory %.*s: create it, owned by the user that "
                   "runs autoscale",
                   path, length, slash ? path : ".");
}

static int cannot_create(const char *path, struct as_error *err)
{
    if (errno == ENOENT)
        return no_directory(path, err);
    return as_fail(err, AS_EIO, "cannot create %s: %s", path, errno == EACCES ? not_ours : strerror(errno));
}

/* The lock is a file of its own, held by flock: SQLite's own exclusive locking would shut out the readers. */
static int take_lock(struct journal *j, struct as_error *err)
{
    char path[PATH_MAX];
    char pid[24] = "";
    if ((size_t)snprintf(path, sizeof path, "%s.lock", j->path) >= sizeof path)
        return as_fail(err, AS_EINVAL, "the path of the journal is too long");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return cannot_create(path, err);
    j->lock = fd;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return as_fail(err, AS_EIO, "cannot lock %s: %s", path, strerror(errno));
        ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
        pid[n > 0 ? n : 0] = '\0';
        pid[strspn(pid, "0123456789")] = '\0';
        return as_fail(err, AS_EAGAIN, "%s is in use by another autoscale (pid %s)", j->path,
                       *pid ? pid : "unknown");
    }
    int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)n, 0) != n)
        return as_fail(err, AS_EIO, "cannot write %s: %s", path, strerror(errno));
    return AS_OK;
}

/* Makes the file if it is missing, only ours to read, and its name durable. */
static int make_file(const char *path, struct as_error *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == EEXIST ? AS_OK : cannot_create(path, err);
    close(fd);
    char dir[PATH_MAX];
    snprintf(dir, sizeof dir, "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash)
        slash[slash == dir] = '\0';
    fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    return AS_OK;
}

static bool has_wal(const char *path, bool with_content)
{
    char wal[PATH_MAX];
    struct stat st;
    snprintf(wal, sizeof wal, "%s-wal", path);
    return stat(wal, &st) == 0 && (!with_content || st.st_size > 0);
}

static int quick_check(struct journal *j, struct as_error *err)
{
    sqlite3_stmt *s = NULL;
    int rc = AS_OK;
    if (sqlite3_prepare_v2(j->db, "PRAGMA quick_check(1)", -1, &s, NULL) != SQLITE_OK ||
        sqlite3_step(s) != SQLITE_ROW) {
        rc = journal_failure(j, "read", err);
    } else {
        const char *verdict = (const char *)sqlite3_column_text(s, 0);
        if (!verdict || strcmp(verdict, "ok") != 0)
            rc = damaged(j->path, verdict ? verdict : "unreadable", err);
    }
    sqlite3_finalize(s);
    return rc;
}

static int connect_db(struct journal *j, const char *name, int flags, struct as_error *err)
{
    int rc = sqlite3_open_v2(name, &j->db, flags, NULL);
    if (!j->db)
        return as_fail(err, AS_ENOMEM, "out of memory");
    if (rc != SQLITE_OK)
        return journal_failure(j, "open", err);
    sqlite3_busy_timeout(j->db, BUSY_MS);
    /* A file found bad must stay as it is, its log too: evidence, and maybe a rescue. */
    sqlite3_db_config(j->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_db_config(j->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    return AS_OK;
}

static int check_owner(struct journal *j, const char *controller, bool claim, struct as_error *err)
{
    char *owner = NULL;
    int rc = journal_get(j, OWNER_KEY, &owner, err);
    if (rc)
        return rc;
    if (owner && controller && strcmp(owner, controller) != 0)
        rc = as_fail(
            err, AS_EINVAL,
            "%s belongs to controller '%.60s', not '%.60s': give each controller a state file of its own",
            j->path, owner, controller);
    else if (!owner && claim && controller)
        rc = journal_set(j, OWNER_KEY, controller, err);
    free(owner);
    return rc;
}

static int open_memory(struct journal *j, struct as_error *err)
{
    int rc = connect_db(j, ":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, err);
    if (!rc && schema_upgrade(j->db, schema_steps, schema_version) != SQLITE_OK)
        rc = journal_failure(j, "prepare", err);
    return rc;
}

static int open_write(struct journal *j, const char *controller, struct as_error *err)
{
    int version, rc;
    if ((rc = take_lock(j, err)) || (rc = make_file(j->path, err)))
        return rc;
    bool unclean = has_wal(j->path, true);
    if ((rc = connect_db(j, j->path, SQLITE_OPEN_READWRITE, err)))
        return rc;
    if ((rc = schema_inspect(j->db, j->path, &version, err)))
        return rc == AS_EIO ? journal_failure(j, "read", err) : rc;
    if (sqlite3_db_readonly(j->db, "main") == 1)
        return as_fail(err, AS_EIO, "cannot write %s: it is not writable: check its owner and mode", j->path);
    if ((unclean && (rc = quick_check(j, err))) || (version && (rc = check_owner(j, controller, false, err))))
        return rc;
    /* Now it is ours to write. The caches are small: the daemon's memory is. */
    if (sqlite3_exec(j->db,
                     "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -512;"
                     "PRAGMA journal_size_limit = 4194304; PRAGMA temp_store = MEMORY",
                     NULL, NULL, NULL) != SQLITE_OK ||
        schema_upgrade(j->db, schema_steps, schema_version) != SQLITE_OK)
        return journal_failure(j, "prepare", err);
    if ((rc = check_owner(j, controller, true, err)))
        return rc;
    sqlite3_db_config(j->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    return AS_OK;
}

/* A path as an SQLite URI. False: too long. */
static bool file_uri(const char *path, char *out, size_t size)
{
    size_t len = (size_t)snprintf(out, size, "file:");
    for (; *path; path++) {
        if (len + sizeof "%00?immutable=1" > size)
            return false;
        const char *format = strchr("%?#", *path) ? "%%%02x" : "%c";
        len += (size_t)snprintf(out + len, size - len, format, *path);
    }
    snprintf(out + len, size - len, "?immutable=1");
    return true;
}

/* Without leave to write beside the file SQLite cannot make the index that readers and the writer share. With
 * no log there is no writer and nothing to index: then the file alone is the whole truth. */
static int reopen_immutable(struct journal *j, struct as_error *err)
{
    char uri[3 * PATH_MAX];
    if (has_wal(j->path, false) || !file_uri(j->path, uri, sizeof uri))
        return as_fail(
            err, AS_EIO,
            "cannot read %s with the log beside it: run this as the user that runs autoscale, or as root",
            j->path);
    sqlite3_close(j->db);
    j->db = NULL;
    return connect_db(j, uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, err);
}

static int open_read(struct journal *j, const char *controller, struct as_error *err)
{
    struct stat st;
    int version, rc;
    if (stat(j->path, &st) != 0)
        return errno == ENOENT ? open_memory(j, err)
                               : as_fail(err, AS_EIO, "cannot read %s: %s", j->path, strerror(errno));
    if ((rc = connect_db(j, j->path, SQLITE_OPEN_READONLY, err)))
        return rc;
    rc = schema_inspect(j->db, j->path, &version, err);
    int why = sqlite3_errcode(j->db);
    if (rc == AS_EIO && (why == SQLITE_CANTOPEN || why == SQLITE_READONLY)) {
        if ((rc = reopen_immutable(j, err)))
            return rc;
        rc = schema_inspect(j->db, j->path, &version, err);
    }
    if (rc)
        return rc == AS_EIO ? journal_failure(j, "read", err) : rc;
    if (version == 0) { /* the daemon made it and has not filled it yet */
        sqlite3_close(j->db);
        j->db = NULL;
        return open_memory(j, err);
    }
    if (version < schema_version)
        return as_fail(err, AS_EINVAL,
                       "%s was written by an older autoscale: `autoscale run` brings it up to date", j->path);
    return check_owner(j, controller, false, err);
}

int journal_open(const char *path, const char *controller, enum journal_mode mode, struct journal **out,
                 struct as_error *err)
{
    struct journal *j = calloc(1, sizeof *j);
    if (!j)
        return as_fail(err, AS_ENOMEM, "out of memory");
    j->lock = -1;
    if (mode == JOURNAL_MEMORY) {
        j->path = strdup("the journal in memory");
    } else {
        j->path = realpath(path, NULL); /* two names of one file share one lock */
        if (!j->path)
            j->path = strdup(path);
    }
    int rc = !j->path                 ? as_fail(err, AS_ENOMEM, "out of memory")
             : mode == JOURNAL_MEMORY ? open_memory(j, err)
             : mode == JOURNAL_READ   ? open_read(j, controller, err)
                                      : open_write(j, controller, err);
    if (rc) {
        journal_close(j);
        return rc;
    }
    *out = j;
    return AS_OK;
}

void journal_close(struct journal *j)
{
    if (!j)
        return;
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(j->statements[i]);
    sqlite3_close(j->db); /* rolls an open turn back */
    journal_forget_heads(j);
    if (j->lock >= 0)
        close(j->lock); /* the lock file stays: removing it would race with the next owner */
    free(j->path);
    free(j);
}

/* --- turns --------------------------------------------------------------------------------------- */

void journal_rollback(struct journal *j)
{
    if (!j->in_turn)
        return;
    if (!sqlite3_get_autocommit(j->db)) /* SQLite may have done it itself */
        sqlite3_exec(j->db, "ROLLBACK", NULL, NULL, NULL);
    j->in_turn = false;
    j->failed.rc = AS_OK;
    journal_forget_heads(j);
}

int journal_begin(struct journal *j, struct as_error *err)
{
    if (j->in_turn)
        return as_fail(err, AS_EINVAL, "a turn of the journal is already under way");
    if (sqlite3_exec(j->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        return journal_failure(j, "write", err);
    j->in_turn = true;
    return AS_OK;
}

int journal_commit(struct journal *j, struct as_error *err)
{
    if (!j->in_turn)
        return as_fail(err, AS_EINVAL, "no turn of the journal is under way");
    if (!j->failed.rc && sqlite3_exec(j->db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK) {
        j->in_turn = false;
        return AS_OK;
    }
    if (!j->failed.rc)
        journal_failure(j, "write", NULL); /* kept in j->failed */
    struct as_error failed = j->failed;
    journal_rollback(j);
    if (err)
        *err = failed;
    return (int)failed.rc;
}
