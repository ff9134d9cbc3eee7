/* A library that is loaded when it is first needed, for what most processes of ours never do. Its functions go into a
 * struct of pointers that has one slot for each. */
#ifndef WIRE_DYNLIB_H
#define WIRE_DYNLIB_H

#include <stddef.h>

#include "autoscale/error.h"

struct dynlib_function {
    const char *name;
    size_t at;                      /* of its slot in the table                                        */
};

struct dynlib {
    const char *file, *what, *package; /* "libx.so.1"; "libx", and the package that has it, for people    */
    const struct dynlib_function *functions;
    size_t count;
};

/* Fills the table; the library is never unloaded. AS_EUNSUP: it is not installed or lacks a function; nothing of
 * the table is to be used then. Of several threads one at a time. */
int dynlib_load(const struct dynlib *l, void *table, struct as_error *err);

#endif
