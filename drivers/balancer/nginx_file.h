/* The include file of the nginx balancer: one upstream, written by us alone, and our whole memory.
 *
 * Each server carries the generation (a number that grows with every write) and the moment at which it got
 * its present state, so that after a restart it is still known which of them a running nginx has seen. The
 * file also defines the variable $autoscale_UPSTREAM with "UPSTREAM GENERATION" as its value. */
#ifndef BALANCER_NGINX_FILE_H
#define BALANCER_NGINX_FILE_H

#include "autoscale/balancer.h"

#define NGINX_FILE_MAX     (8 * 1024 * 1024)
#define NGINX_UPSTREAM_MAX 36 /* nginx refuses longer names of variables by default */

struct nginx_server {
    char id[AS_ID_MAX];
    char address[AS_ADDRESS_MAX];
    uint16_t port;
    int weight;
    bool down;
    uint64_t since;           /* generation that brought it into this state (up or down, address)      */
    int64_t at;               /* ms of the boot clock just before that generation was written          */
};

struct nginx_pool {           /* zero-initialised, freed with nginx_pool_fini                          */
    struct nginx_server *items;
    size_t count, cap;
    uint64_t generation;      /* 0: there is no file yet                                               */
    char boot[40];            /* which boot the clock of `at` belongs to                               */
};

struct nginx_style {          /* how the file is written; strings are borrowed                         */
    const char *mark;         /* "controller/group"                                                    */
    const char *upstream;
    char method[192];         /* "least_conn;", "" for round robin                                     */
    char params[96];          /* of each server: " max_conns=64"                                       */
    unsigned zone_kib;
    int keepalive;            /* idle connections of a worker, 0: none                                 */
};

/* Names fit to be interpolated: letters, digits, '.', '_', '-'; 1 to max bytes. */
bool nginx_name_ok(const char *name, size_t max);
/* A literal address, IPv4 or IPv6, as it is written in the file (without brackets). */
bool nginx_address(const char *text, char *out, size_t size);

struct nginx_server *nginx_pool_find(const struct nginx_pool *p, const char *id);
/* Appends a zeroed server, or NULL: out of memory, or AS_MEMBERS_CAP reached. */
struct nginx_server *nginx_pool_add(struct nginx_pool *p);
void nginx_pool_drop(struct nginx_pool *p, struct nginx_server *s);
void nginx_pool_fini(struct nginx_pool *p);

/* Strict: a text that does not carry our mark, or a line that we do not write, is AS_EEXIST. A text of blanks
 * is an empty pool of generation 0. *out is filled only on AS_OK. */
int nginx_file_parse(const char *text, size_t len, const char *mark, struct nginx_pool *out, struct as_error *err);
/* Returns owned text, NULL: out of memory. */
char *nginx_file_render(const struct nginx_pool *p, const struct nginx_style *style);

/* *text is the owned content, NULL when there is no file; also on AS_EEXIST nothing is left to free. */
int nginx_file_load(const char *path, const char *mark, struct nginx_pool *out, char **text, struct as_error *err);
/* Durable when it returns AS_OK: written aside, synced, renamed, directory synced. NULL removes the file. */
int nginx_file_store(const char *path, const char *text, struct as_error *err);

#endif
