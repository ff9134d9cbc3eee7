/* What the libvirt driver writes and reads as XML. Pure: no connection here. Everything that goes into a
 * document is escaped, everything that comes out of one is capped. */
#ifndef COMPUTE_LIBVIRT_XML_H
#define COMPUTE_LIBVIRT_XML_H

#include <stdio.h>

#include "../wire/virmark.h"
#include "autoscale/compute.h"

#define LIBVIRT_TEMPLATE_MAX ((size_t)256 << 10)

struct libvirt_machine {           /* what a domain is made of; all borrowed                          */
    const struct as_settings *settings;
    const struct libvirt_mark *mark;
    const char *type;              /* "kvm", "qemu"                                                   */
    const char *volume;            /* path of its disk on the host                                    */
    const char *seed;              /* path of its seed, NULL: none                                    */
    const char *template;          /* the user's own document, NULL: ours                             */
};

struct libvirt_lan {               /* of a network to be made                                         */
    const char *gateway;
    int prefix;
    const char *first, *last;      /* dynamic range; NULL: only reserved addresses are handed out     */
};

/* Writes text so that it is nothing but text, in an element or between quotes. */
void libvirt_escape(FILE *out, const char *text);

/* Return owned documents; NULL: out of memory. */
char *libvirt_domain_xml(const struct libvirt_machine *m);
/* Is libvirt to make a file for the variables of this domain's firmware? */
bool libvirt_has_nvram(const char *xml);
/* Do all machines of this template get one and the same file for them? It would go with the first that goes. */
bool libvirt_shares_nvram(const char *template);
/* A qcow2 overlay of `base`, which has this format; or, without base, a volume of the format itself. */
char *libvirt_volume_xml(const char *name, uint64_t capacity, const char *base, const char *format);
char *libvirt_network_xml(const struct as_settings *s, const struct libvirt_lan *lan);
char *libvirt_host_xml(const char *mac, const char *name, const char *address);

/* The first {word} of a template that we do not know: its length and place, 0 when there is none. */
size_t libvirt_unknown(const char *text, const char **at);
/* Has it a place for this placeholder ("{mac}") outside comments? */
bool libvirt_template_has(const char *text, const char *placeholder);
/* The format in the <target> of a volume, "raw" when it has none. */
void libvirt_volume_format(const char *xml, char *buf, size_t size);

#endif
