/* The mark of ownership in a domain's metadata, and the little of XML that libvirt's answers are read with. Pure:
 * no connection here. Everything read is capped. */
#ifndef WIRE_VIRMARK_H
#define WIRE_VIRMARK_H

#include <stdbool.h>
#include <stddef.h>

#include "autoscale/compute.h"

#define LIBVIRT_NAMESPACE    "urn:autoscale:instance:1"
#define LIBVIRT_NAME_MAX     128   /* of a controller or group in a mark                              */
#define LIBVIRT_MAC_MAX      18
#define LIBVIRT_MARK_MAX     4096  /* bytes of our element as libvirt returns it                      */

struct libvirt_mark {              /* who a domain belongs to and what we gave it                     */
    char controller[LIBVIRT_NAME_MAX], group[LIBVIRT_NAME_MAX];
    char id[AS_ID_MAX], revision[AS_REVISION_MAX];
    char address[AS_ADDRESS_MAX], mac[LIBVIRT_MAC_MAX];
    int64_t created_wall;
};

struct libvirt_tag {               /* one start or end tag, pointing into the scanned text            */
    const char *begin, *end;       /* from '<' to behind '>'                                          */
    const char *name;
    size_t name_size;
    bool closing, empty;           /* </x>, <x/>                                                      */
};

/* The next tag at or behind *at, comments and declarations skipped; moves *at behind it. */
bool libvirt_next_tag(const char **at, struct libvirt_tag *tag);
bool libvirt_tag_is(const struct libvirt_tag *tag, const char *name);
/* The decoded value of an attribute; false when it is missing, damaged or too long, buf is "" then. */
bool libvirt_attribute(const struct libvirt_tag *tag, const char *name, char *buf, size_t size);

/* Is the first element of the document this one? */
bool libvirt_root_is(const char *text, const char *name);

/* Our element as virDomainGetMetadata returns it. False: it is not one of ours. */
bool libvirt_mark_read(const char *text, struct libvirt_mark *out);

#endif
