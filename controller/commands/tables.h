/* Option tables for people (text), programs (JSON) and the manual page (roff, man(7)). */
#ifndef COMMANDS_TABLES_H
#define COMMANDS_TABLES_H

#include <cjson/cJSON.h>
#include <stdio.h>

#include "autoscale/registry.h"

/* Every driver and policy of the program. */
extern const struct as_registry tables_registry;

void tables_text(FILE *out, const struct as_option *options, int indent);
void tables_man(FILE *out, const struct as_option *options);
/* NULL: out of memory. The caller owns the array. */
cJSON *tables_json(const struct as_option *options);

/* Text with what roff would take as its own escaped; first letter upper case, ends with a full stop. */
void tables_man_sentence(FILE *out, const char *text);
void tables_man_word(FILE *out, const char *text);

/* Prints and frees; returns the exit status. */
int tables_print_json(cJSON *json);

#endif
