/* The transition table of an instance. Nothing here acts, logs or reads a clock. */
#include <string.h>

#include "instance.h"

static const char *const state_names[INST_STATES] = {
    [INST_WANTED] = "WANTED",         [INST_CREATING] = "CREATING", [INST_UNKNOWN] = "UNKNOWN",
    [INST_BOOTING] = "BOOTING",       [INST_JOINING] = "JOINING",   [INST_SERVING] = "SERVING",
    [INST_DRAINING] = "DRAINING",     [INST_PARKED] = "PARKED",     [INST_LEAVING] = "LEAVING",
    [INST_DESTROYING] = "DESTROYING", [INST_FAILED] = "FAILED",     [INST_GONE] = "GONE",
};

#define TO(s) (1u << INST_##s)

/* Row: from. Bits: the legal next states. */
static const unsigned legal[INST_STATES] = {
    [INST_WANTED] = TO(CREATING) | TO(GONE),
    [INST_CREATING] = TO(BOOTING) | TO(UNKNOWN) | TO(WANTED) | TO(FAILED),
    [INST_UNKNOWN] = TO(BOOTING) | TO(PARKED) | TO(GONE) | TO(LEAVING) | TO(FAILED),
    [INST_BOOTING] = TO(JOINING) | TO(SERVING) | TO(PARKED) | TO(FAILED) | TO(LEAVING),
    [INST_JOINING] = TO(SERVING) | TO(BOOTING) | TO(FAILED) | TO(DRAINING) | TO(LEAVING),
    [INST_SERVING] = TO(DRAINING) | TO(JOINING) | TO(FAILED) | TO(LEAVING),
    [INST_DRAINING] = TO(JOINING) | TO(LEAVING) | TO(FAILED),
    [INST_PARKED] = TO(BOOTING) | TO(LEAVING) | TO(FAILED),
    [INST_LEAVING] = TO(DESTROYING) | TO(PARKED) | TO(GONE),
    [INST_DESTROYING] = TO(GONE),
    [INST_FAILED] = TO(LEAVING),
    [INST_GONE] = 0,
};

const char *inst_state_name(enum inst_state s)
{
    return (unsigned)s < INST_STATES ? state_names[s] : "?";
}

enum inst_state inst_state_parse(const char *name)
{
    int s = 0;
    while (s < INST_STATES && strcmp(state_names[s], name) != 0)
        s++;
    return (enum inst_state)s;
}

bool inst_move_legal(enum inst_state from, enum inst_state to)
{
    return (unsigned)from < INST_STATES && (unsigned)to < INST_STATES && (legal[from] & 1u << to);
}

bool inst_live(const struct instance *i)
{
    return i->state <= INST_SERVING;
}

bool inst_pending(const struct instance *i)
{
    return i->state < INST_SERVING;
}
