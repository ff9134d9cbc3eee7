/* Inside of the process driver: what its files share. */
#ifndef COMPUTE_PROCESS_H
#define COMPUTE_PROCESS_H

#include <sys/types.h>

#include "process_record.h"

struct process_identity {       /* whom instances run as; only root can change it                  */
    bool set;
    uid_t uid;
    gid_t gid;
    gid_t *groups;              /* owned                                                           */
    int group_count;
};

struct process {                /* the state of one opened driver, read-only after open            */
    struct as_owner owner;
    const struct as_settings *settings;
    const char *directory, *address;
    uint16_t first, last;       /* ports                                                           */
    int stop_signal;
    char boot[PROCESS_BOOT_MAX];
    struct process_identity identity;
};

/* --- process_open.c ------------------------------------------------------------------------------------ */
extern const struct as_option process_options[];
int process_open(void *self, const struct as_settings *settings, const struct as_owner *owner,
                 const char *endpoint, struct as_error *err);
void process_close(void *self);

/* --- process_store.c: the directory of records and logs ------------------------------------------------- */

/* Opens and locks the directory, alone among all threads and processes until *fd is closed. With `make` it is
 * made when it is not there, without that is AS_ENOENT. A directory others could write to is refused. */
int process_store_open(const struct process *p, bool make, as_time deadline, int *fd, struct as_error *err);

/* AS_ENOENT: there is none. AS_EEXIST: there is a file, but no record. */
int process_store_load(int dir, const char *id, struct process_record *out, struct as_error *err);
/* On disk when it returns AS_OK. */
int process_store_save(int dir, const struct process_record *r, struct as_error *err);
/* Gone is AS_OK. */
int process_store_remove(int dir, const char *id, bool keep_log, struct as_error *err);

struct process_records {        /* zero-initialised by the caller                                  */
    struct process_record *items;
    size_t count, cap;
};
/* All records of all owners. Files that are no records are left out; `left_out` gets the name and fault of the
 * first that looks like one, or "". */
int process_store_all(int dir, struct process_records *out, struct as_error *left_out, struct as_error *err);
void process_records_fini(struct process_records *all);

/* A new, empty log; the one that was there becomes ID.log.1. Returns the descriptor or -1. */
int process_log_open(int dir, const char *id, struct as_error *err);
/* Moves a log that grew over `max` bytes (0: no matter) to ID.log.1 and empties it; true when it did. */
bool process_log_trim(int dir, const char *id, uint64_t max);

/* --- process_kernel.c: living processes ------------------------------------------------------------------- */

enum process_life {
    PROCESS_GONE,               /* there is no process of this pid                                 */
    PROCESS_FOREIGN,            /* there is one, and it is another's                               */
    PROCESS_ENDED,              /* it ended, nobody has asked for its status yet                   */
    PROCESS_RUNNING,
    PROCESS_PAUSED,             /* stopped by a signal                                             */
};

bool process_boot_read(char boot[PROCESS_BOOT_MAX]);
/* 0 when it cannot be read. */
int64_t process_start_of(pid_t pid);
enum process_life process_life(const struct process *p, const struct process_record *r);
/* Signals the instance with everything it started (0: nobody, only counts); returns how many processes still
 * live of those there were. Whoever cannot be proven ours is left alone. */
int process_signal(const struct process *p, const struct process_record *r, int sig);
/* Takes the status of an ended child of ours: true and "exited (3)" in r->ended. False: it was not our child, or
 * its status is taken. */
bool process_reap(struct process_record *r);

/* --- process_spawn.c ---------------------------------------------------------------------------------------- */

/* Starts the command. The record (which has everything but pid and start) is on disk before the command begins, so
 * that a controller that dies at any moment leaves nothing unknown. Nothing is left when it fails, except for
 * AS_EUNKNOWN. */
int process_spawn(const struct process *p, int dir, as_time deadline, struct process_record *r,
                  struct as_error *err);
/* Copies `text` with {port}, {id}, {group} and {address} filled in ("{{" is a brace); NULL: out of memory. */
char *process_expand(const char *text, const struct process_record *r);
/* The first unknown {name} in `text`, as a length; 0: none. */
size_t process_unknown(const char *text, const char **at);

#endif
