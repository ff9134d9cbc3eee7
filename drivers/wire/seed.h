/* The disk that cloud-init's NoCloud reads in a guest: an ISO image labelled "cidata" with meta-data, user-data and
 * network-config. It is made in memory by libarchive, which is loaded when the first is made. */
#ifndef WIRE_SEED_H
#define WIRE_SEED_H

#include <stddef.h>

#include "autoscale/error.h"

#define SEED_TEXT_MAX ((size_t)256 << 10) /* of each of the files                                      */

struct seed_texts {                 /* borrowed; NULL: no such file                                    */
    const char *meta, *user, *network;
};

/* *image is the caller's to free. AS_EUNSUP: libarchive is not installed. */
int seed_make(const struct seed_texts *texts, void **image, size_t *size, struct as_error *err);

#endif
