/* One look at the include file and at nginx, and the reloads between them: what nginx is proven to run, when it
 * is told to read the file again, and when it is taken for deaf. */
#ifndef BALANCER_NGINX_VIEW_H
#define BALANCER_NGINX_VIEW_H

#include "../wire/nginx_page.h"
#include "nginx_file.h"
#include "nginx_master.h"

#define NGINX_REASON 180

struct nginx_link {           /* memory between calls                                                 */
    const char *include, *pid_file, *mark, *upstream; /* borrowed                                      */
    bool has_marker;
    struct nginx_page marker;
    as_time interval;         /* least time between two reloads                                       */
    uint64_t seen;            /* highest generation the marker ever showed                            */
    bool wanted, failed;
    as_time due;              /* of the wanted reload, 0: at once                                     */
    as_time sent, last;       /* of the one under way (0: none); of the last one                      */
    uint64_t sent_generation;
    int64_t sent_at;          /* boot clock                                                           */
    char reason[NGINX_REASON]; /* why the last one is taken for failed                                */
};

struct nginx_view {           /* zero-initialised, freed with nginx_view_fini                         */
    struct nginx_pool pool;
    char *text;               /* of the file, NULL when there is none                                 */
    bool running;
    struct nginx_master master;
    struct nginx_workers workers;
    uint64_t generation;      /* by the marker, 0: nginx runs none of ours                            */
    char why[NGINX_REASON];   /* why it does not run, or what the marker says instead                 */
};

/* Reads the file and looks at nginx; one that does not run is AS_OK. AS_EEXIST: the file is not ours. */
int nginx_look(struct nginx_link *b, as_time deadline, struct nginx_view *v, struct as_error *err);
void nginx_view_fini(struct nginx_view *v);

/* Does nginx run the configuration that brought this server into its present state, in all workers that take
 * new work? */
bool nginx_effective(const struct nginx_link *b, const struct nginx_view *v, const struct nginx_server *s);
/* Workers from before that moment: each may still serve requests as it was before. */
int nginx_old_workers(const struct nginx_view *v, const struct nginx_server *s);

/* A reload at `at`, or earlier when another one is needed before; 0: as soon as the interval allows. */
void nginx_want_reload(struct nginx_link *b, as_time at);
/* A reload comes without being asked for (one that only weights wait for may be far away). */
bool nginx_moving(const struct nginx_link *b);
/* Judges the reload under way, and sends the wanted one when it is due. */
int nginx_reload_step(struct nginx_link *b, const struct nginx_view *v, struct as_error *err);
/* Before a write: waits for the reload under way. AS_EAGAIN when it is not proven by the deadline. */
int nginx_await_reload(struct nginx_link *b, as_time deadline, struct nginx_view *v, struct as_error *err);
/* After a write: a reload is wanted. With `wait`, or when the last one failed, AS_OK means that it is proven;
 * AS_EUNKNOWN with the reason when it is not. AS_EAGAIN when nginx does not run. */
int nginx_push(struct nginx_link *b, as_time deadline, struct nginx_view *v, bool wait, struct as_error *err);

#endif
