/* What the libvirt driver writes and reads as XML. Pure: no connection here. Everything that goes into a
 * document is escaped, everything that comes out of one is capped. */
#ifndef COMPUTE_LIBVIRT_XML_H
#define COMPUTE_LIBVIRT_XML_H

#include <stdio.h>

#include "autoscale/compute.h"

#define LIBVIRT_NAMESPACE    "urn:autoscale:instance:1"
#define LIBVIRT_NAME_MAX     128   /* of a controller or group in a mark                              */
#define LIBVIRT_MAC_MAX      18
#define LIBVIRT_MARK_MAX     4096  /* bytes of our element as libvirt returns it                      */
#define LIBVIRT_TEMPLATE_MAX ((size_t)256 << 10)

struct libvirt_mark {              /* who a domain belongs to and what we gave it                     */
    char controller[LIBVIRT_NAME_MAX], group[LIBVIRT_NAME_MAX];
    char id[AS_ID_MAX], revision[AS_REVISION_MAX];
    char address[AS_ADDRESS_MAX], mac[LIBVIRT_MAC_MAX];
    int64_t created_wall;
};

struct libvirt_machine {           /* what a domain is made of; all borrowed                          */
    const struct as_settings *settings;
    const struct libvirt_mark *mark;
    const char *type;              /* "kvm", "qemu"                                                   */
    const char *volume;            /* path of its disk on the host                                    */
    const char *template;          /* the user's own document, NULL: ours                             */
};

struct libvirt_tag {               /* one start or end tag, pointing into the scanned text            */
    const char *begin, *end;       /* from '<' to behind '>'                                          */
    const char *name;
    size_t name_size;
    bool closing, empty;           /* </x>, <x/>                                                      */
};

/* Writes text so that it is nothing but text, in an element or between quotes. */
void libvirt_escape(FILE *out, const char *text);

/* Return owned documents; NULL: out of memory. */
char *libvirt_domain_xml(const struct libvirt_machine *m);
char *libvirt_volume_xml(const char *name, uint64_t capacity, const char *base, const char *base_format);
char *libvirt_network_xml(const struct as_settings *s, const char *gateway, int prefix);
char *libvirt_host_xml(const char *mac, const char *name, const char *address);

/* The first {word} of a template that we do not know: its length and place, 0 when there is none. */
size_t libvirt_unknown(const char *text, const char **at);
/* Has it a place for this placeholder ("{mac}") outside comments? */
bool libvirt_template_has(const char *text, const char *placeholder);
/* Is the first element of the document this one? */
bool libvirt_root_is(const char *text, const char *name);

/* The next tag at or behind *at, comments and declarations skipped; moves *at behind it. */
bool libvirt_next_tag(const char **at, struct libvirt_tag *tag);
bool libvirt_tag_is(const struct libvirt_tag *tag, const char *name);
/* The decoded value of an attribute; false when it is missing, damaged or too long, buf is "" then. */
bool libvirt_attribute(const struct libvirt_tag *tag, const char *name, char *buf, size_t size);

/* Our element as virDomainGetMetadata returns it. False: it is not one of ours. */
bool libvirt_mark_read(const char *text, struct libvirt_mark *out);
/* The format in the <target> of a volume, "raw" when it has none. */
void libvirt_volume_format(const char *xml, char *buf, size_t size);

#endif
