/* decide: from proposals to one number, in stages that each leave a record. Pure: the only memory is
 * the damper the caller passes in. The stages are those of `autoscale explain`. */
#ifndef LOOP_DECIDE_H
#define LOOP_DECIDE_H

#include "../config/config.h"

#define DECIDE_INPUTS_MAX 4 /* no policy has more */

struct input_record {             /* what a policy saw                                               */
    const char *metric;           /* borrowed from the configuration                                 */
    struct as_reading reading;    /* the newest value                                                */
    bool failing;                 /* its source's newest poll failed, wholly or in part              */
};

struct proposal_record {
    const char *policy, *type;    /* borrowed                                                        */
    bool damps_itself;
    struct as_proposal p;
    struct input_record inputs[DECIDE_INPUTS_MAX];
    size_t input_count;
};

enum stage_id { STAGE_MERGE, STAGE_STABILISE, STAGE_FLAP, STAGE_RATE, STAGE_BOUND, STAGES };

struct stage_record {
    int before, after;
    char reason[AS_REASON_MAX];   /* "" when the stage had nothing to say                            */
};

enum { BIND_TEXT = 96 };

struct decision {
    as_time at;
    int64_t wall;
    int min, max;                 /* of the group                                                    */
    int current;                  /* desired count until now                                         */
    int serving, pending, parked, footprint;
    as_time lead, unpark_lead;    /* until a new instance serves, until a parked one does            */
    struct proposal_record *proposals;
    size_t proposal_count;
    struct stage_record stages[STAGES];
    bool paused;                  /* the group's size is left alone                                  */
    bool blind;                   /* some input was missing, stale or partial                        */
    int floor, ceiling;           /* in force after the BOUND stage                                  */
    char binding[BIND_TEXT];      /* the constraint that made the number other than asked, or ""     */
    as_time next_change;          /* monotonic; earliest time a hold can end, 0 none                 */
    int desired;
};

const char *stage_name(enum stage_id s);

#define DAMP_WANTS 256
#define DAMP_LEDGER 128

struct damper {                   /* the memory of stages 3 and 4                                    */
    as_time last_out, last_in;    /* of a real change; 0: never                                      */
    size_t want_head, want_count, ledger_head, ledger_count;
    struct { as_time at; int want; } wants[DAMP_WANTS]; /* changes of what was asked for                */
    struct { as_time at; int delta; } ledger[DAMP_LEDGER]; /* real changes of the desired count       */
};

/* Remembers a real change of the desired count. */
void damper_note(struct damper *d, as_time at, int delta);

#define ROOM_UNKNOWN (-1000000)

struct decide_in {
    const struct cfg_group *group;
    as_time now;
    int64_t now_wall;
    as_time interval, lead, unpark_lead;
    int current, serving, pending, parked, footprint; /* parked: ready to come back                  */
    as_time pending_since;        /* of the oldest instance on its way, 0 none                       */
    int room;                     /* how many more the hosts can take, the parked ones among them; negative: so many
                                   * fewer; ROOM_UNKNOWN */
    bool (*sustains)(void *arg, int count); /* would this count ask at once for more? not: true       */
    void *arg;
};

/* out->proposals is filled by the caller beforehand; everything else is written here. */
void decide(const struct decide_in *in, struct damper *d, struct decision *out);

enum { DECISION_TEXT = 256 };
/* What was decided and why, without the measured values: equal texts fold in the journal. */
void decision_outcome(const struct decision *d, char *buf, size_t size);
/* One line for people: "3 -> 5: web-load asks for 5 (184 sessions / 40 per instance = 4.6)". */
void decision_summary(const struct decision *d, char *buf, size_t size);

#endif
