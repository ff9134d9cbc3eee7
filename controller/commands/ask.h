/* What the commands that ask the daemon share: options, the call, how times and decisions are printed. */
#ifndef COMMANDS_ASK_H
#define COMMANDS_ASK_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct ask {
    const char *config, *socket; /* --socket overrides what the configuration says              */
    bool json;
    const char *usage;           /* printed by -h, and on standard error for wrong usage         */
    const char *operands[4];
    int operand_count;
    /* options some commands take; NULL or 0 when not given */
    const char *since, *at, *group;
    int limit;
};

/* Parses argv. -1: go on; otherwise the exit status. `extra`: which of "sagn" (since, at, group, limit). */
int ask_options(struct ask *a, int argc, char **argv, const char *extra);
/* The socket's path, owned by the caller; NULL with the reason printed. */
char *ask_socket(const struct ask *a);
/* Asks the daemon. NULL with the reason printed, also for an answer that says "error". With --json the answer is
 * printed as it is and *printed set. */
cJSON *ask_daemon(const struct ask *a, const char *method, const char *path, bool *printed);

/* "10m", "2h" (ago), "2026-11-27T20:00:00Z" or "2026-11-27 20:00" (local): wall ms, -1 when it is none. */
int64_t ask_time(const char *text);

const char *answer_str(const cJSON *o, const char *name);      /* "" when missing */
double answer_num(const cJSON *o, const char *name);           /* 0 when missing  */
bool answer_true(const cJSON *o, const char *name);
/* The table of shadow policies, nothing when there are none. */
void print_shadows(FILE *out, const cJSON *d);
/* A decision in full: inputs, proposals, stages, result. */
void print_decision(FILE *out, const cJSON *d);
/* Colour codes when out is a terminal, "" otherwise. */
const char *colour(FILE *out, const char *code);

#endif
