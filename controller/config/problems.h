/* Collecting problems: the reader never stops at the first one. Every problem has a place and one
 * sentence; errors refuse the configuration, warnings do not. */
#ifndef CONFIG_PROBLEMS_H
#define CONFIG_PROBLEMS_H

#include "config.h"

#define CFG_PROBLEMS_CAP 200 /* kept; more are only counted */

/* Adds a problem. Out of memory, or over the cap, only `errors` grows. */
__attribute__((format(printf, 4, 5))) void problems_error(struct cfg_problems *p, const char *file, int line,
                                                          const char *fmt, ...);
__attribute__((format(printf, 4, 5))) void problems_warn(struct cfg_problems *p, const char *file, int line,
                                                         const char *fmt, ...);

/* By order of `files`, then line, then errors before warnings, then text; drops repeats. */
void problems_sort(struct cfg_problems *p, char *const *files, size_t file_count);

/* "Did you mean": try the names that exist; `best` is the nearest one, NULL when none is near. */
struct suggestion {
    const char *wrong, *best; /* borrowed */
    size_t distance;
};
void suggest_try(struct suggestion *s, const char *name);
/* ": did you mean 'x'?" into buf, or "" when nothing is near. Returns buf. */
const char *suggest_text(const struct suggestion *s, char *buf, size_t size);

#endif
