/* What the commands that ask the daemon share: options, the call, how times and decisions are printed. */
#ifndef COMMANDS_ASK_H
#define COMMANDS_ASK_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define ASK_NAME 301

struct ask {
    const char *command;         /* its name, for messages */
    const char *usage;           /* printed by -h */
    const char *extra;           /* which of "sagnm" it takes: since, at, group, limit, metric */
    int operands_most;
    const char *config, *socket; /* --socket overrides what the configuration says */
    bool json;
    const char *operand;
    char path[256];              /* the socket, once it was looked for */
    /* options some commands take; NULL or 0 when not given */
    const char *since, *at, *group, *metric;
    int limit;
    int64_t interval; /* of the decisions in the journal that was opened; ms */
};

/* Parses argv. -1: go on; otherwise the exit status. */
int ask_options(struct ask *a, int argc, char **argv);
/* The socket's path. A configuration with errors must not keep the daemon from being asked: its problems are
 * printed, and what can be read of it, or the default, is used. */
const char *ask_socket(struct ask *a);
/* False when surely nobody listens there; a killed daemon leaves its socket behind. */
bool ask_listens(struct ask *a);
/* Asks the daemon. NULL with the reason printed, also for an answer that says "error". With --json the answer is
 * printed as it is and *printed set. */
cJSON *ask_daemon(struct ask *a, const char *method, const char *path, bool *printed);
/* A name as part of a path, its first 100 bytes: whatever was typed, it is asked for, and nothing else. Returns buf. */
const char *ask_name(const char *name, char buf[ASK_NAME]);
/* The configuration's journal, to be read: without a daemon, or for what is too much to ask it for. NULL with the
 * reason printed. */
struct journal *ask_journal(struct ask *a);

/* "10m", "2h" (ago), "2026-11-27T20:00:00Z" or "2026-11-27 20:00" (local) as wall ms; -1, and said why. */
int64_t ask_time(const struct ask *a, const char *text);

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
