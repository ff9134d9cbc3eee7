/* An instance and its life: THE transition table. Every change of state goes through instance_move.
 *
 *   WANTED -> CREATING -> BOOTING -> JOINING -> SERVING -> DRAINING -> LEAVING -> DESTROYING -> GONE
 *                 \-> UNKNOWN  \-------------- PARKED ---------------/      (FAILED beside them)
 *
 * BOOTING ends when the instance answers its own health check, JOINING when the balancer's checks pass. PARKED is
 * entered from LEAVING (it served) or BOOTING (made for the pool), and left to BOOTING: it is checked anew. */
#ifndef MODEL_INSTANCE_H
#define MODEL_INSTANCE_H

#include "autoscale/balancer.h"

enum inst_state {
    INST_WANTED,     /* id chosen and journalled, nothing sent                                        */
    INST_CREATING,   /* a create is on its way to a host                                              */
    INST_UNKNOWN,    /* a create whose outcome is not known: list before anything else                */
    INST_BOOTING,    /* runs, does not answer its health check yet                                    */
    INST_JOINING,    /* answers, admitted, the balancer's checks have not passed yet                  */
    INST_SERVING,    /* takes traffic                                                                 */
    INST_DRAINING,   /* keeps its sessions, gets no new ones                                          */
    INST_PARKED,     /* warm standby: not serving, counted in the footprint                           */
    INST_LEAVING,    /* being taken out of the balancers                                              */
    INST_DESTROYING, /* a destroy is due or on its way                                                */
    INST_FAILED,     /* does not work; kept for keep_failed                                           */
    INST_GONE,       /* proven gone: the only state outside the footprint                             */
    INST_STATES
};

const char *inst_state_name(enum inst_state s);
/* INST_STATES for an unknown name. */
enum inst_state inst_state_parse(const char *name);
bool inst_move_legal(enum inst_state from, enum inst_state to);

struct membership {        /* how one balancer sees the instance; what every list tells comes first  */
    bool listed;           /* in its newest list                                                      */
    bool busy;             /* a call about it is on its way                                           */
    bool unsure;           /* a call about it had no answer: it may still be carried out              */
    enum as_member_state state;
    int weight;            /* as listed                                                               */
    int fails;
    double held;           /* sessions                                                                */
    double weigh;          /* weight aimed at (weighting = "load"); 0: none yet                       */
    as_time listed_at;     /* when the newest list that was judged was asked for                      */
    as_time changed_at;    /* when our newest call about it ended                                     */
    as_time veiled_until;  /* a reload hid sessions of before it: until then "none" is no proof       */
    as_time retry_at;
    /* The rest is for groups that weigh. */
    double response_ms, response_over, served; /* as listed; 0: not known                             */
    double mark_ms, mark_served; /* response_ms and served where the work that is judged begins       */
    as_time weighed_at, worked_at;
    int noted;             /* weight as the history was last told; 0: not yet                         */
    bool alike;            /* when last judged it answered as fast as the others                      */
};

struct group;

struct inst_notes {               /* what is looked at when something happens to one of them           */
    int64_t wanted_wall, since_wall, serving_wall;
    struct {                      /* as the weighting_source told, smoothed; at 0: never              */
        double percent;
        as_time at, until;        /* believed until                                                  */
    } cpu;
    char revision[AS_REVISION_MAX];
    char host_name[AS_ENDPOINT_MAX]; /* as journalled: outlives the configuration                        */
    char reason[192];             /* of the newest move                                               */
    char health[128];             /* what the newest check said                                       */
};

/* What every turn looks at. Those of a group stand side by side: with a hundred thousand instances the memory that
 * they are read from is most of a tick's cost. */
struct instance {
    struct group *group;          /* whose it is                                                      */
    struct instance *next;
    struct membership *pools;     /* one per balancer of the group                                    */
    struct inst_notes *notes;
    enum inst_state state;
    int host;                     /* index into the group's hosts, -1 none yet                        */
    int passes, misses;           /* health checks in a row                                           */
    int inflight;                 /* operations that point here                                       */
    int fails;
    int tries;                    /* creates asked for, by this process                               */
    bool dirty;                   /* differs from its journal row                                     */
    bool listed;                  /* seen in its host's newest list                                   */
    bool absent;                  /* proven not to exist on its host                                  */
    bool died;                    /* its host says it ended by itself                                 */
    bool force;                   /* leave without waiting for sessions                               */
    bool doubted;                 /* looks dead, but too many do at once                              */
    bool busy;                    /* a compute call is on its way                                     */
    bool probing;                 /* a health check is on its way                                     */
    bool parked;                  /* does not run: as its host said last, or as we told it            */
    bool warm;                    /* on its way back from the pool                                    */
    bool fit;                     /* LEAVING: healthy until then, may be parked                       */
    uint16_t port;
    as_time since;                /* of the state                                                     */
    as_time wanted_at;
    as_time launched_at;          /* its create was asked for; 0: by another process                  */
    as_time compute_done;         /* when our newest compute call about it ended                      */
    as_time retry_at;             /* of a failed destroy                                              */
    as_time next_probe;
    char id[AS_ID_MAX];
    char address[AS_ADDRESS_MAX];
    struct membership only;       /* where `pools` points to when the group has but one balancer      */
};

/* Counted in the total that a decision is compared to: serving, or on its way to it. */
bool inst_live(const struct instance *i);
/* On its way: live, not SERVING. */
bool inst_pending(const struct instance *i);

#endif
