/* The engine: the arrow observe -> decide -> plan -> act over all groups, as a state machine without
 * threads, sockets or clocks. The daemon drives it on libuv and real drivers, the simulation and the
 * tests on a virtual clock: same code.
 *
 *   engine_new      bind sources and groups of a configuration, read the journal
 *   engine_turn     something happened or is due: one turn (one clock reading, one transaction)
 *   engine_done     an operation came back (any number before the next turn)
 *   engine_next     when the next turn is due at the latest
 *
 * A turn's intents are durable before its writes are handed to the world. With act == false no writer is
 * ever asked for: the arrow ends before `act`. */
#ifndef LOOP_ENGINE_H
#define LOOP_ENGINE_H

#include "../config/config.h"
#include "../journal/journal.h"
#include "../model/formula.h"
#include "../model/instance.h"
#include "decide.h"
#include "op.h"

/* Configuration shared by what was built from it; freed with its last user. Loop thread only, but for
 * cfg_hold_put, which ports of abandoned calls may do from any thread. */
struct cfg_hold;
struct cfg_hold *cfg_hold_new(struct cfg *cfg); /* takes cfg */
struct cfg_hold *cfg_hold_get(struct cfg_hold *h);
/* Takes `g`, a copy whose balancer settings are its own: kept as long as the rest. False: out of memory, not taken. */
bool cfg_hold_keep(struct cfg_hold *h, struct cfg_group *g);
void cfg_hold_put(struct cfg_hold *h);
const struct cfg *cfg_of(const struct cfg_hold *h);

struct world {  /* what the engine needs of its surroundings                                        */
    void *arg;
    bool act;   /* may writes be asked for? false: plan, dry run                                    */
    bool forgets; /* no history of decisions and events is kept: simulations                        */
    struct journal *past; /* what was before the start is read here, borrowed; NULL: in the engine's journal */
    /* Bind a driver to one endpoint; the handle is returned through unbind. NULL with *err on failure. */
    void *(*bind_source)(void *arg, struct cfg_hold *hold, const struct cfg_source *s, const char *endpoint,
                         struct as_error *err);
    void *(*bind_compute)(void *arg, struct cfg_hold *hold, const struct cfg_group *g, const char *endpoint,
                          struct as_error *err);
    void *(*bind_balancer)(void *arg, struct cfg_hold *hold, const struct cfg_group *g, const char *endpoint,
                           struct as_error *err);
    void (*unbind)(void *arg, void *port); /* operations under way may still come back               */
    void (*submit)(void *arg, struct op *op);
    uint32_t (*random)(void *arg);
};

/* --- sources -------------------------------------------------------------------------------------- */

struct said {               /* what log and history were last told of an endpoint that fails        */
    as_time at;
    char text[sizeof((struct as_error *)0)->msg];
};

struct feed {               /* one endpoint of a source                                             */
    const char *endpoint;
    void *port;
    bool busy;
    as_time last_ok;        /* 0 never                                                              */
    as_time failing_since;  /* 0: the newest poll was good                                          */
    as_time partial_since;  /* answers, but for a part that err names; 0: the newest poll was whole  */
    struct as_error err;
    struct said said;
    uint64_t polls, failures;
};

struct rollup {             /* of a series, by the minute                                           */
    struct journal_sample minute, closed; /* running (mean holds the sum), ready to be written      */
};

struct binding {            /* a series some policy reads                                           */
    enum as_merge merge;
    int users;              /* inputs that read it, since the newest (re)load                        */
    struct as_series *series;
    struct {
        double value, weight;
        as_time at;
        uint32_t place;     /* number of its sample in the newest poll + 1; 0: it was not there         */
        bool left_out;      /* the newest poll could not tell it, and said why                      */
    } *parts;               /* newest value of each feed                                            */
    as_time merged_at;      /* when the parts last became a sample                                  */
    uint64_t round;         /* in which that was                                                    */
    struct rollup past;
    char object[AS_NAME_MAX], name[AS_NAME_MAX]; /* the whole metric is the series' name               */
};

struct source {
    const struct cfg_source *cfg;
    struct cfg_hold *hold;
    struct feed *feeds;
    size_t feed_count;
    struct binding **bindings;
    size_t binding_count;
    as_time next_poll;
    bool weighs;            /* some group's weights go by its cpu_percent                           */
    bool failing, partial;  /* as the newest polls of its feeds left it: some is failing, is partial */
    int round_open;         /* feeds of this round that have not answered yet                       */
    bool fresh_round;       /* something came in since the bindings were last merged                */
    uint64_t round;         /* rounds begun so far                                                  */
    bool minutes_wait;      /* some binding has a minute ready to write                             */
    int inflight;
    bool retired;
    struct source *next;
};

/* --- groups --------------------------------------------------------------------------------------- */

struct backoff {            /* 5 s doubling to 5 min; after it one probe                            */
    int fails;              /* in a row; several that were under way together are one               */
    as_time failed_at;      /* when the newest of them was counted                                  */
    as_time until;          /* closed to launches until then                                        */
    bool probing;           /* half-open: one launch is on its way                                  */
    char why[256]; /* whole: the cause often stands at its end                            */
};

struct leads {              /* newest measured times from a decision to a serving instance          */
    as_time p95;            /* of these                                                             */
    int count, next;
    double s[64];
};

struct odds {               /* of launches: counts that fade                                        */
    double failed, all;
};

#define HOSTS_MOST 256      /* of a group, since the start                                          */

struct host {               /* one compute endpoint of a group                                      */
    void *port;
    bool retired;           /* not in the configuration any more                                    */
    bool listing;
    int tries;              /* lists that ended, good or bad, since the start                       */
    int room;               /* -1 not known                                                         */
    int launching;          /* creates under way                                                    */
    as_time next_list, listed_at /* asked for, of the newest good list; 0 never */, failing_since;
    as_time answers_since;  /* first good list since the start, or since it failed                  */
    as_time destroyed_at;   /* the newest destroy ended: a list asked for before tells nothing of it */
    struct backoff launch;
    char name[AS_ENDPOINT_MAX];
    struct as_error err;
    struct said said;
};

struct pool {               /* one balancer endpoint of a group                                     */
    void *port;
    bool retired;
    bool listing;
    bool refused;           /* AS_EINVAL, AS_EAUTH: cannot be driven as it is                       */
    bool leaving;           /* not in the configuration any more, and our servers are still there   */
    int tries;
    int foreign;            /* members that are not ours                                            */
    as_time next_list, listed_at, failing_since;
    as_time answers_since;  /* when it answered again after it was lost for a while; 0 never lost    */
    as_time noted_at;       /* when the history was last told of weights                            */
    as_time moved_at;       /* all of them serve elsewhere since then; 0: not yet                   */
    as_time empty_since;    /* its lists show none of ours since then; 0: the newest did, or failed  */
    char epoch[48];
    char name[AS_ENDPOINT_MAX];
    const struct as_balancer_driver *driver;
    char *place;            /* the pool there, as driver->pool names it; NULL: it has one            */
    char *terms;            /* the settings it is bound with, as text for the journal               */
    struct as_error err;
    struct said said;
};

struct policy_input {       /* what one AS_OPT_METRIC option reads                                 */
    const char *text;       /* as configured; lives as long as the policy, its series may not       */
    struct as_series *own;  /* a formula's results; NULL for one plain metric                       */
    struct rollup *past;    /* of them, when the policy learns; else NULL                           */
    struct formula *formula; /* NULL: one plain metric as it is                                     */
    int metric_count;       /* 0: the option was not given                                          */
    struct source *owners[FORMULA_METRICS];
    struct binding *bound[FORMULA_METRICS];
};

struct policy_run {
    const struct cfg_policy *cfg;
    struct cfg_hold *hold;
    void *state;
    const struct as_series **inputs; /* what the policy is shown                                    */
    struct policy_input *sources;    /* same order                                                  */
    size_t input_count;
    bool learnt;            /* was shown the past                                                   */
};

#define SHADOW_STEPS 64

struct shadow {             /* what a policy would have done alone; it never acts                  */
    struct policy_run run;
    struct proposal_record record;
    struct damper damper;
    struct decision decision;
    int desired;            /* -1: not begun                                                        */
    struct { as_time ready; int count; } steps[SHADOW_STEPS]; /* growth that would still boot      */
    int step_count;
    double instance_s, missed_s; /* so far                                                          */
};

/* Room for instances of one group, side by side; kept as long as the group. */
enum { INSTANCE_BLOCK = 16 };
struct instance_block {
    struct instance_block *next;
    int used;
    struct instance cells[INSTANCE_BLOCK];
};

struct group {
    /* What every turn asks of every group comes first, in two cache lines: most turns are about one of many. */
    struct group *next;
    bool retired;
    bool dirty;             /* look at it in this turn                                              */
    bool rows_dirty;        /* its row or one of an instance differs from the journal               */
    bool decided;           /* since the start                                                      */
    bool desired_dirty;     /* differs from the journal                                             */
    bool pools_dirty;       /* so do the balancers that may have our servers                        */
    int desired;
    int gone;               /* instances that are proven gone and not yet freed                     */
    int parked;             /* in state PARKED                                                      */
    int inflight;
    as_time due;            /* ask hosts, balancers or instances again then                         */
    as_time plan_due;       /* plan again then: a deadline; 0 none                                  */
    as_time decide_at;      /* when to decide at the latest; 0 nothing due                          */
    size_t wake;            /* its place in the engine's wakes                                      */
    struct instance *instances; /* oldest first */
    struct policy_run *policies;
    size_t policy_count;
    struct source **reads;  /* what its policies read, each once                                    */
    size_t read_count;
    /* What decisions and plans look at, close together: with ten thousand groups the pages of memory count. */
    struct engine *engine;
    const struct cfg_group *cfg;
    struct cfg_hold *hold;
    struct host *hosts;
    size_t host_count;
    struct pool *pools;
    size_t pool_count;
    struct shadow *shadows;
    size_t shadow_count;
    as_time shadowed_at;    /* when the shadows were last charged                                   */
    double instance_s, missed_s; /* of the group itself, over the same time                         */
    int crashes;            /* in a row that died soon after they served; one that lasts ends it    */
    as_time crashed_at;     /* the newest of them                                                   */
    as_time doubt_since;    /* many look dead at once: hold; 0 no                                   */
    int doubted;
    bool unpark_lead_dirty; /* differs from the journal                                             */
    uint32_t dry_said;      /* mark of the steps a dry run has last told of; 0 none yet             */
    struct odds odds;
    as_time outcome_at;     /* when it was last written                                              */
    char outcome[DECISION_TEXT]; /* of the newest decision                                          */
    struct decision decision; /* the newest                                                         */
    struct backoff launch;  /* launches that never come to serve, or die soon after                 */
    struct backoff unpark;  /* parked ones that do not come back: new ones are made meanwhile       */
    struct backoff refill;  /* parked ones that die: the pool is not filled meanwhile               */
    char blocked[320];      /* why fewer launches than wanted, or ""                                */
    struct leads lead, unpark_lead; /* of new instances, of parked ones                             */
    struct leads boot;      /* of new ones whose first launch did not fail                          */
    struct damper damper;
    struct instance_block *blocks;
    struct instance *vacant; /* cells of them that were given back */
    /* The rest is for the group that something happens to. */
    char doubt[160];
    char said[DECISION_TEXT]; /* of the newest that was not as the one before                       */
    uint64_t moves, launches, launch_failures, scale_outs, scale_ins, parks, unparks, unpark_failures;
};

struct event {              /* waits for the turn's transaction                                     */
    char group[AS_NAME_MAX], instance[AS_ID_MAX], kind[24], text[320];
    int64_t wall;
    int delta;              /* of a scale event; 0: none                                            */
    struct event *next;
};

struct wake {               /* when a turn has to look at a group: most are about one of many      */
    as_time at;             /* 0: in the next turn                                                  */
    as_time decide_at;      /* the group's; 0 none. Once its sources have answered it is earlier     */
    struct group *group;
};

struct engine {
    struct world world;
    struct cfg_hold *hold;
    const struct cfg *cfg;
    struct journal *journal;
    as_time now, started;
    int64_t wall;
    as_time next_tick;
    bool held;  /* observe only: the start is still being checked; engine_release ends it           */
    as_time heard; /* when the first group's balancers had all been asked; 0 not yet                 */
    struct source *sources;
    struct group *groups;
    struct op *outbox, **outbox_tail; /* writes that wait for the commit                            */
    struct op *inbox, **inbox_tail;   /* came back, for the next turn                               */
    struct event *events, **events_tail; /* wait for the commit                                     */
    int event_count;
    bool minutes_wait;      /* some formula has a minute ready to write                             */
    bool transaction;       /* one is open                                                          */
    /* What spares most turns a walk over all groups: */
    struct wake *wakes;     /* of all groups that are not retired, in their order                   */
    size_t wake_count, wake_room;
    bool polled;            /* a source answered in this turn                                       */
    bool rows_dirty;        /* some group's are                                                     */
    bool burials;           /* something is retired or gone and not freed yet                       */
    bool unbound;           /* policies may still look at series of retired sources                 */
    as_time decide_by;      /* no group decides before; 0 none waits                                */
    as_time journal_retry, journal_failing_since; /* 0: it works                                     */
    struct as_error journal_err;
    as_time next_prune;
    uint64_t ticks, turns;
};

/* Reads the journal and binds everything. Takes a reference on hold, borrows the journal. */
int engine_new(const struct world *w, struct cfg_hold *hold, struct journal *j, as_time now, int64_t wall,
               struct engine **out, struct as_error *err);
void engine_free(struct engine *e);
void engine_turn(struct engine *e, as_time now, int64_t wall);
void engine_done(struct engine *e, struct op *op);
as_time engine_next(const struct engine *e);
/* Everything was asked at least once and has answered or failed: what `plan` waits for. */
bool engine_observed(const struct engine *e);
/* The same of the balancers alone: what a start waits for before it begins anything. One that does not answer is not
 * waited for much longer than the others. */
bool engine_balancers_asked(const struct engine *e);
void engine_release(struct engine *e);

/* Swaps the configuration: all or nothing. *diff gets what changed. */
int engine_reload(struct engine *e, struct cfg_hold *hold, struct cfg_diff *diff, struct as_error *err);

struct group *engine_group(struct engine *e, const char *name);

/* A row of the group or of one of its instances has changed. */
static inline void group_rows_changed(struct group *g)
{
    g->rows_dirty = g->engine->rows_dirty = true;
}

/* The journal that knows what was before. */
static inline struct journal *engine_past(const struct engine *e)
{
    return e->world.past ? e->world.past : e->journal;
}

/* reload.c */
bool group_rebind_inputs(struct engine *e, struct source *sources, struct group *g);

/* --- between the files of the loop ---------------------------------------------------------------- */

/* commit.c: the turn's one transaction */
bool engine_transaction(struct engine *e); /* opens it when needed; false: the journal does not work  */
void engine_commit(struct engine *e);
int engine_load(struct engine *e, struct as_error *err);   /* instances, ledgers, counts of the journal */
int group_load(struct group *g, struct as_error *err);
void group_learn(struct group *g);
/* tick.c */
bool engine_wakes_room(struct engine *e, size_t groups); /* false: out of memory, nothing changed     */
void engine_wakes_fill(struct engine *e); /* after groups came or were retired; within that room      */
struct op *engine_op(struct engine *e, enum op_kind kind, as_time timeout);
void engine_submit(struct engine *e, struct op *op); /* reads at once, writes after the commit         */
__attribute__((format(printf, 5, 6))) void engine_event(struct engine *e, const char *group, const char *instance,
                                                        const char *kind, const char *fmt, ...);
void engine_scale_event(struct engine *e, const char *group, int delta, const char *text);
/* Is this worth a line? The first failure always is; another text of the same failure now and then. */
bool engine_says(struct engine *e, struct said *last, bool first, const char *text);
/* bind.c */
int bind_all(struct engine *e, struct cfg_hold *hold, struct as_error *err);
struct source *source_bind(struct engine *e, struct cfg_hold *hold, const struct cfg_source *c, struct as_error *err);
void source_free(struct engine *e, struct source *s);
void source_forget_unread(struct source *s); /* series that no input of a policy reads any more      */
struct group *group_bind(struct engine *e, struct cfg_hold *hold, const struct cfg_group *c, struct as_error *err);
void group_free(struct engine *e, struct group *g);
/* pools.c: the balancers that may have our servers, remembered over restarts */
int pool_bind(struct engine *e, struct pool *p, struct cfg_hold *hold, const struct cfg_group *c, const char *endpoint,
              struct as_error *err);
void pool_fini(struct engine *e, struct pool *p);
bool pool_same(const struct pool *a, const struct pool *b);
void pool_say_leaving(const struct group *g, const struct pool *p);
int pools_recall(struct group *g, struct as_error *err); /* those of before that are not named any more */
int pools_write(const struct group *g, struct as_error *err);
/* lifecycle.c: the one function that changes a state; it journals, counts and logs */
__attribute__((format(printf, 3, 4))) void instance_move(struct instance *i, enum inst_state to, const char *fmt, ...);
struct instance *instance_new(struct group *g, const char *id);
struct instance *instance_find(const struct group *g, const char *id);
void instance_free(struct instance *i);
void instances_fini(struct group *g);
void instance_take_pools(struct instance *i, struct membership *pools); /* takes `pools`, frees those of before */
void group_write_off(struct group *g); /* instances on hosts that the configuration says are lost   */
void group_forget_crashes(struct group *g); /* once a later one has lasted                          */
/* observe.c */
void observe_tick(struct engine *e);
void observe_group(struct group *g); /* lists and health checks that are due                           */
void observe_at(struct group *g, as_time when); /* look at the group again then, at the latest         */
void observe_hasten(struct group *g); /* lists that something waits for are due early; after each step  */
void observe_polled(struct engine *e, struct op *op);
void observe_probed(struct group *g, struct op *op);
/* True when an endpoint of `s` does not answer, or answers that it cannot tell this series now. */
bool binding_failing(const struct source *s, const struct binding *b);
void sources_weigh(struct engine *e); /* notes which of them some group's weights go by             */
bool source_idle(const struct source *s); /* nobody reads it: it is not asked                      */
/* Adds a value to its minute; true when a minute that is over waits in `closed` for the next commit. `metric` is
 * borrowed until then. */
bool observe_roll_up(struct engine *e, struct rollup *r, const char *metric, double v);
void observe_close_rounds(struct engine *e); /* stop waiting for those that did not answer         */
/* reconcile.c */
void reconcile_hosts(struct group *g, struct op *op);
void reconcile_pool(struct group *g, struct op *op);
void reconcile_doubt(struct group *g); /* many look dead at once: hold                               */
/* shadow.c: what other policies would have done, after each decision                                  */
void shadow_group(struct group *g, const struct as_view *base);
/* dry.c: tells the log what a dry run would do                                                         */
void dry_say(struct group *g);
/* judge.c: one policy's proposal, recorded                                                            */
void policy_propose(struct engine *e, struct policy_run *run, const struct as_view *base, struct proposal_record *r);
/* weigh.c: aims the weights of one balancer's members by what they were measured at                    */
void weigh_pool(struct group *g, int pool);
void weigh_cpu_take(struct instance *i, double percent, as_time now, as_time max_age);
void weigh_note(struct group *g, int pool); /* what the weights have become, for the history           */
/* judge.c: gather what decide needs, decide, record */
void group_decide(struct group *g);
bool group_observed(const struct group *g);
const struct pool *group_refused(const struct group *g); /* a balancer that cannot be driven, or NULL  */
int group_footprint(const struct group *g);
int group_serving(const struct group *g);
/* How many more this host takes: what it said, less the launches that it may not have counted. -1: not known. */
int host_room(const struct group *g, int host);
int group_pending(const struct group *g); /* on their way to serve; those made for the pool are not    */
as_time group_lead(const struct group *g);
as_time group_unpark_lead(const struct group *g); /* until one was measured, that of a new instance      */
as_time group_boot(const struct group *g);        /* of new ones whose first launch did not fail          */
void leads_add(struct leads *l, double seconds);
/* A launch came to its end. One that failed at once does not count: it is tried again before anybody misses it. */
void group_count_launch(struct group *g, const struct instance *i, bool failed);
double group_fails(const struct group *g);        /* share of launches that fail late                     */
bool instance_serves(const struct group *g, const struct instance *i);
bool pool_in_use(const struct pool *p); /* named by the configuration                               */

#endif
