/* A run as a picture: load, demand, supply and decisions, for a report. */
#ifndef SIM_SVG_H
#define SIM_SVG_H

#include "autoscale/error.h"
#include "replay.h"

/* Overwrites `path`. `title` is shown on top. */
int svg_write(const char *path, const struct replay *r, const char *title, struct as_error *err);

#endif
