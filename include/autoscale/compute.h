/* A compute driver provisions: it lists, creates and destroys instances on one host (endpoint).
 *
 * Ownership: every object carries a mark of controller, group, instance id and revision. `list` yields
 * exactly the objects with the mark of this controller and group, in whatever state, and
 * nothing else; `destroy` checks the mark again before it touches anything (AS_EEXIST otherwise).
 * create and destroy are idempotent by instance id: creating what exists with our mark brings it to
 * running and returns it, destroying what is gone is AS_OK.
 *
 * Threads: list, create, destroy, park and unpark of one `self` may run at the same time in several
 * threads; open and close run alone. Each returns by its deadline, at the latest a moment after. A
 * write whose answer did not arrive is AS_EUNKNOWN, never AS_EAGAIN. */
#ifndef AUTOSCALE_COMPUTE_H
#define AUTOSCALE_COMPUTE_H

#include "autoscale/settings.h"
#include "autoscale/source.h"

#define AS_ID_MAX 80          /* "<group>-<8 hex>", with the NUL                                   */
#define AS_ADDRESS_MAX 64     /* a literal IPv4 or IPv6 address, without brackets                  */
#define AS_ENDPOINT_MAX 256   /* a host or balancer as the configuration names it, with the NUL     */
#define AS_REVISION_MAX 20
#define AS_INSTANCES_CAP 10000

struct as_owner {             /* borrowed from open to close                                       */
    const char *controller, *group;
};

struct as_launch {            /* what to create; everything else is in the driver's settings       */
    const char *id;
    const char *revision;     /* hash of the template, part of the mark                            */
};

enum as_run_state {
    AS_RUN_CREATED,           /* exists, was never started                                         */
    AS_RUN_RUNNING,
    AS_RUN_PARKED,            /* paused, suspended or saved: memory kept                           */
    AS_RUN_STOPPED,           /* ended; `detail` says how                                          */
};

struct as_instance {
    char id[AS_ID_MAX];
    enum as_run_state state;
    uint16_t port;                /* 0 while not known                                             */
    char address[AS_ADDRESS_MAX]; /* "" while not known                                            */
    char revision[AS_REVISION_MAX];
    int64_t created_wall;         /* ms, 0 when not known                                          */
    char detail[128];             /* for people: "exited (137)"                                    */
};

struct as_instances {         /* zero-initialised by the caller, freed with as_instances_fini      */
    struct as_instance *items;
    size_t count, cap;
    int room;                 /* how many more this host can take, -1 not known; list sets it      */
};

/* Appends a zeroed item and returns it, or NULL (out of memory, or AS_INSTANCES_CAP reached). */
struct as_instance *as_instances_add(struct as_instances *list);
void as_instances_fini(struct as_instances *list);

struct as_compute_driver {
    const char *name, *summary;
    const struct as_option *options;
    const char *endpoints;    /* AS_OPT_STRINGS option that lists the hosts; NULL: one, "local"    */
    size_t state_size;

    int (*open)(void *self, const struct as_settings *settings, const struct as_owner *owner,
                const char *endpoint, struct as_error *err);                            /* offline */
    int (*list)(void *self, as_time deadline, struct as_instances *out, struct as_error *err);
    int (*create)(void *self, as_time deadline, const struct as_launch *launch, struct as_instance *out,
                  struct as_error *err);          /* running when it returns, not yet answering    */
    int (*destroy)(void *self, as_time deadline, const struct as_instance *inst, struct as_error *err);
    /* Warm standby, idempotent too; NULL when not supported. park keeps the memory where it is, save puts it on
     * disk; unpark undoes either and returns with the instance running, not yet answering. */
    int (*park)(void *self, as_time deadline, const struct as_instance *inst, struct as_error *err);
    int (*save)(void *self, as_time deadline, const struct as_instance *inst, struct as_error *err);
    int (*unpark)(void *self, as_time deadline, const struct as_instance *inst, struct as_instance *out,
                  struct as_error *err);
    void (*close)(void *self);
};

#endif
