/* The record of one instance, as text, and what the kernel tells about a process. Pure: no file is touched here.
 *
 * A process is named by its id, its start time and the boot it was started in. A pid alone is never enough: the
 * kernel gives it to others. */
#ifndef COMPUTE_PROCESS_RECORD_H
#define COMPUTE_PROCESS_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "autoscale/compute.h"

#define PROCESS_RECORD_MAX 4096 /* bytes of a record; a longer file is none                        */
#define PROCESS_BOOT_MAX 40     /* the kernel's boot id with the NUL                               */
#define PROCESS_ENDED_MAX 40

struct process_record {
    char controller[AS_NAME_MAX], group[AS_NAME_MAX]; /* the mark of ownership                     */
    char id[AS_ID_MAX];
    char revision[AS_REVISION_MAX];
    char boot[PROCESS_BOOT_MAX];
    int64_t pid;                /* of the leader, which is its session and group as well           */
    int64_t start;              /* ticks after boot                                                */
    int64_t created_wall;       /* ms                                                              */
    char address[AS_ADDRESS_MAX];
    uint16_t port;
    char ended[PROCESS_ENDED_MAX]; /* "exited (3)" once that is known, otherwise ""                */
};

/* May `id` be part of a file name: letters, digits, '-', '_' and inner dots. */
bool process_id_ok(const char *id);

/* Reads a record strictly: every member once, nothing else, all in range. `text` has size bytes and a NUL
 * behind them. AS_EPROTO with the reason, *out untouched. */
int process_record_parse(const char *text, size_t size, struct process_record *out, struct as_error *err);

/* Returns owned, NULL when out of memory. */
char *process_record_print(const struct process_record *r);

struct process_stat {
    char state;                 /* as in ps(1): R, S, D, T, Z, …                                   */
    int64_t group, session, threads, start;
};

/* Reads the text of /proc/PID/stat; the name in it may hold anything. */
bool process_stat_parse(const char *text, struct process_stat *out);

#endif
