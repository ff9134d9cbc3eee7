/* report: what the daemon tells people, as JSON: status, decisions, plans. Stable and complete; reads only. */
#ifndef LOOP_REPORT_H
#define LOOP_REPORT_H

#include <cjson/cJSON.h>

#include "engine.h"
#include "plan.h"

/* All return owned values, NULL when out of memory. A decision and a status are to be printed, not looked into: their
 * whole numbers are text already. */
char *report_decision_text(const struct group *g);         /* the newest decision, one line */
cJSON *report_decision(const struct group *g);
cJSON *report_status(const struct engine *e);
cJSON *report_plan(const struct group *g, const struct plan *p); /* its decision may be looked into */
/* A wall time as text in UTC, to the millisecond. */
void report_put_time(cJSON *o, const char *name, int64_t wall);

#endif
