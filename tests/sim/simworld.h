/* A simulated world for the engine: hosts, balancers, sources and health checks under a virtual clock, seeded
 * and repeatable bit for bit. The engine cannot tell it from the real one: it sees the same operations
 * come back, late, failed or with an unknown outcome. It watches the guarantees that can be seen
 * from outside and keeps the first violation. */
#ifndef SIM_SIMWORLD_H
#define SIM_SIMWORLD_H

#include "../../controller/loop/engine.h"

struct simworld;
struct seat;

struct sim_params {
    uint64_t seed;
    as_time call_ms;          /* a list, poll, admit, …; default 2                                      */
    as_time create_ms;        /* default 300                                                            */
    as_time create_jitter_ms; /* uniform on top, default 0                                              */
    as_time boot_ms;          /* created to answering; default 500                                      */
    as_time boot_jitter_ms;
    as_time member_rise_ms;   /* admitted to UP when the target answers; default 1000                   */
    as_time session_ms;       /* longest session: a draining member holds some for half of it to all    */
    double fail_create;       /* share of creates that fail and did not happen                          */
    double unknown_create;    /* share whose answer never comes: half of them happened                  */
    double never_boots;       /* share of instances that never answer                                   */
    double fail_park, fail_unpark; /* share of parks, of unparks that fail for good                     */
    double unknown_switch;    /* share of parks and unparks without an answer: half of them happened     */
    bool accepts_parked;      /* health checks of a parked one pass: the kernel answers for it          */
    double fail_poll;         /* share of polls that fail                                               */
    bool tells_gaps;          /* a poll that leaves a series out says so                                */
    double fail_call;         /* share of other calls that fail with AS_EAGAIN                          */
    double fail_evict;        /* share of evictions that fail so                                        */
    double death_per_hour;    /* of a running instance                                                  */
    as_time vanish_ms;        /* created to gone without a trace; 0 never                               */
    as_time crash_ms;         /* created to ended by itself; 0 never                                    */
    int capacity[2];          /* of hosts "a" and "b", in instances; both 0: hosts do not say           */
};

/* A metric's value now; false: the source does not give it. `up`: members UP of the group that reads it. */
typedef bool (*sim_metric)(void *arg, const char *metric, as_time now, double *value);

struct simworld *sim_new(const struct sim_params *p, sim_metric metric, void *arg);
void sim_free(struct simworld *s);
struct world sim_world(struct simworld *s);
void sim_attach(struct simworld *s, struct engine *e); /* NULL: the daemon is dead; what is under way goes on */
as_time sim_now(const struct simworld *s);
int64_t sim_wall(const struct simworld *s);
/* Runs turns and deliveries until virtual time `until`. `each` is called after every turn, may be NULL. */
void sim_run(struct simworld *s, as_time until, void (*each)(void *arg), void *arg);
struct sim_params *sim_tune(struct simworld *s); /* change the world while it runs */

int sim_alive(const struct simworld *s, const char *group);  /* containers that exist                   */
int sim_up(const struct simworld *s, const char *group);     /* members that take traffic               */
int sim_parked(const struct simworld *s, const char *group); /* containers that are paused              */
void sim_kill_parked(struct simworld *s, const char *group, int n);
void sim_restart_host(struct simworld *s, const char *host, bool wakes); /* parked ones end, or run on   */
void sim_kill(struct simworld *s, const char *group, int n); /* n running ones end by themselves        */
void sim_hang_host(struct simworld *s, const char *host, bool hung); /* calls do not return             */
void sim_lose_members(struct simworld *s);                   /* the balancer restarts                   */
/* A new member of a balancer, by somebody else than the engine. */
struct seat *sim_seat(struct simworld *s, const char *pool, const char *group, const char *id);
int sim_seated(const struct simworld *s, const char *pool);  /* members of a balancer, whatever state    */
uint64_t sim_creates(const struct simworld *s);              /* creates asked for so far                */
const char *sim_violation(const struct simworld *s);         /* "" or the first broken guarantee        */

#endif
