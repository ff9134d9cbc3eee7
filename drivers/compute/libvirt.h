/* The libvirt driver's state and what its files share. */
#ifndef COMPUTE_LIBVIRT_H
#define COMPUTE_LIBVIRT_H

#include <pthread.h>

#include "../wire/virlink.h"
#include "libvirt_xml.h"

#define LIBVIRT_PATH_MAX  1024
#define LIBVIRT_RANGE_MAX 65536     /* most addresses of a range                                       */

struct libvirt_range {              /* host byte order, both inclusive                                 */
    uint32_t first, last;
};

struct libvirt_subnet {             /* of a network to be made                                         */
    uint32_t base, gateway;
    int prefix;                     /* 0: not described                                                */
};

struct libvirt {
    const char *uri;
    const struct as_settings *settings;
    struct as_owner owner;
    struct libvirt_range range;
    struct libvirt_subnet subnet;
    char *template;                 /* owned, NULL: the built-in machine                               */
    char *user_data, *network_config; /* owned, of the seed; both NULL: there is none                  */
    struct virlink link;
    pthread_mutex_t address_lock;   /* one reservation at a time                                       */
};

extern const struct as_option libvirt_options[];
int libvirt_open(void *self, const struct as_settings *s, const struct as_owner *owner, const char *endpoint,
                 struct as_error *err);
void libvirt_close(void *self);

/* --- libvirt_address.c ------------------------------------------------------------------------------- */

enum libvirt_address { LIBVIRT_STATIC, LIBVIRT_LEASE, LIBVIRT_AGENT };

enum libvirt_address libvirt_address_from(const struct libvirt *d);
/* What this host hands out, and that it does not overlap with what another one does. */
int libvirt_check_addresses(struct libvirt *d, struct as_error *err);
/* The address a running machine has on the interface with our MAC; "" when it is not known yet. */
void libvirt_ask_address(const struct libvirt *d, virDomainPtr dom, const char *mac, char out[AS_ADDRESS_MAX]);
bool libvirt_range_parse(const char *text, struct libvirt_range *out);
bool libvirt_subnet_parse(const char *text, struct libvirt_subnet *out);

/* --- libvirt_network.c ------------------------------------------------------------------------------- */

void libvirt_mac(const struct libvirt *d, const char *id, char mac[LIBVIRT_MAC_MAX]);
/* Finds or makes the network and reserves an address in it; the same one again for the same id. Without static
 * addresses there is nothing to reserve: it is "". AS_EFULL: the range is used up. */
int libvirt_reserve(struct libvirt *d, virConnectPtr conn, const char *id, char address[AS_ADDRESS_MAX],
                    struct as_error *err);
/* Gives the address of this id back; it is no error when there is none. */
int libvirt_release(struct libvirt *d, virConnectPtr conn, const char *id, struct as_error *err);

/* --- libvirt_volume.c, libvirt_seed.c ---------------------------------------------------------------- */

enum libvirt_kind { LIBVIRT_DISK, LIBVIRT_SEED, LIBVIRT_KINDS };

/* Makes the disk of an instance as an overlay of the base; one that an earlier attempt left is replaced. The
 * caller knows that no domain of this id is there. */
int libvirt_clone(struct libvirt *d, virConnectPtr conn, const char *id, char path[LIBVIRT_PATH_MAX],
                  struct as_error *err);
/* Makes the seed of an instance of these bytes, in the place of one that is there. */
int libvirt_put(struct libvirt *d, virConnectPtr conn, const char *id, const void *bytes, size_t size,
                char path[LIBVIRT_PATH_MAX], struct as_error *err);
/* Makes what the configuration says cloud-init should find. */
int libvirt_seed(struct libvirt *d, virConnectPtr conn, const struct libvirt_mark *mark, char path[LIBVIRT_PATH_MAX],
                 struct as_error *err);
/* A text with {id} {name} {group} {controller} {address} {mac} {port} replaced, but not ${id}. Owned; NULL: out of
 * memory. */
char *libvirt_seed_text(const char *text, const struct libvirt_mark *mark, int64_t port);
/* Deletes the disk and seed of this id. Only after the domain is proven gone: libvirt itself does not look. */
int libvirt_discard(struct libvirt *d, virConnectPtr conn, const char *id, struct as_error *err);
/* Adds the instances of which only the disk is left. */
int libvirt_list_left(struct libvirt *d, virConnectPtr conn, struct as_instances *out, struct as_error *err);

/* --- libvirt.c, libvirt_launch.c --------------------------------------------------------------------- */

bool libvirt_name_ok(const char *id);
/* AS_ENOENT: no domain of this name; AS_EEXIST: one, but not ours. The caller frees *dom on AS_OK. */
int libvirt_find(struct libvirt *d, virConnectPtr conn, const char *id, virDomainPtr *dom,
                 struct as_instance *out, struct as_error *err);
/* Reads mark and state; AS_EEXIST when the mark is not ours. */
int libvirt_read(struct libvirt *d, virDomainPtr dom, struct as_instance *out, struct as_error *err);
/* Of a domain that is off, what was saved of it too. */
int libvirt_undefine(virDomainPtr dom);
int libvirt_create(void *self, as_time deadline, const struct as_launch *launch, struct as_instance *out,
                   struct as_error *err);

/* --- libvirt_park.c ---------------------------------------------------------------------------------- */

int libvirt_park(void *self, as_time deadline, const struct as_instance *inst, struct as_error *err);
int libvirt_save(void *self, as_time deadline, const struct as_instance *inst, struct as_error *err);
int libvirt_unpark(void *self, as_time deadline, const struct as_instance *inst, struct as_instance *out,
                   struct as_error *err);
/* Lets a suspended or saved domain go on. */
int libvirt_wake(struct libvirt *d, virDomainPtr dom, struct as_error *err);

#endif
