/* A look at the text before libconfig parses it, for what cannot be seen afterwards: integers that
 * libconfig would wrap silently, quantities without quotes, and which files it will include. */
#ifndef CONFIG_SCAN_H
#define CONFIG_SCAN_H

#include <libconfig.h>

#include "problems.h"

#define CONFIG_FILE_MAX (1024 * 1024)

struct scan {
    struct cfg_problems *problems;
    /* Called for each @include, in order; NULL: includes are errors. */
    void (*include)(void *arg, const char *name, const char *from, int line);
    void *arg;
};

void scan_text(struct scan *s, const char *file, const char *text);

/* Adds the error libconfig stopped at. */
void scan_syntax_error(struct scan *s, const char *file, const config_t *failed);

#endif
