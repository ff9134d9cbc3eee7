/* Networks and addresses of the libvirt driver. An instance's address is settled before it boots: its MAC is
 * made of its id, and the network's DHCP server is told which address belongs to it. It makes a network only
 * where the configuration describes one and none of that name is there, and changes of a network nothing but
 * the entries with our MAC and the instance's name. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "libvirt.h"

#define RESERVE_TRIES 8

static uint64_t mix(uint64_t h, const char *text)
{
    do
        h = (h ^ (unsigned char)*text) * UINT64_C(1099511628211);
    while (*text++);
    return h;
}

static uint64_t hash_of(const struct libvirt *d, const char *id)
{
    uint64_t h = mix(mix(UINT64_C(14695981039346656037), d->owner.controller), id);
    h ^= h >> 33;
    h *= UINT64_C(0xff51afd7ed558ccd);
    return h ^ h >> 33;
}

/* Locally administered, unicast. */
void libvirt_mac(const struct libvirt *d, const char *id, char mac[LIBVIRT_MAC_MAX])
{
    uint64_t h = hash_of(d, id);
    snprintf(mac, LIBVIRT_MAC_MAX, "52:%02x:%02x:%02x:%02x:%02x", (unsigned)(h & 255),
             (unsigned)(h >> 8 & 255), (unsigned)(h >> 16 & 255), (unsigned)(h >> 24 & 255),
             (unsigned)(h >> 32 & 255));
}

static void print_address(uint32_t a, char text[AS_ADDRESS_MAX])
{
    struct in_addr in = { .s_addr = htonl(a) };
    inet_ntop(AF_INET, &in, text, AS_ADDRESS_MAX);
}

/* --- the network ------------------------------------------------------------------------------------ */

/* For machines that come back with their host it does so too. */
static virNetworkPtr start_network(const struct libvirt *d, virConnectPtr conn, const char *xml)
{
    if (!as_settings_bool(d->settings, "autostart"))
        return vir.NetworkCreateXML(conn, xml);
    virNetworkPtr net = vir.NetworkDefineXML(conn, xml);
    if (!net || (vir.NetworkCreate(net) == 0 && vir.NetworkSetAutostart(net, 1) == 0))
        return net;
    if (vir.NetworkIsActive(net) == 0)
        vir.NetworkUndefine(net);
    vir.NetworkFree(net);
    return NULL;
}

static virNetworkPtr make_network(struct libvirt *d, virConnectPtr conn, const char *name,
                                  struct as_error *err)
{
    char gateway[AS_ADDRESS_MAX], first[AS_ADDRESS_MAX], last[AS_ADDRESS_MAX];
    bool dynamic = libvirt_address_from(d) != LIBVIRT_STATIC;
    print_address(d->subnet.gateway, gateway);
    print_address(d->range.first, first);
    print_address(d->range.last, last);
    char *xml = libvirt_network_xml(
        d->settings, &(struct libvirt_lan){ gateway, d->subnet.prefix, dynamic ? first : NULL, last });
    if (!xml) {
        as_fail(err, AS_ENOMEM, "out of memory for network '%s'", name);
        return NULL;
    }
    virNetworkPtr net = start_network(d, conn, xml);
    free(xml);
    if (!net && virlib_refused(d->uri, false, "making the network", err) != AS_OK)
        net = vir.NetworkLookupByName(conn, name); /* somebody beside us may have been faster */
    return net;
}

static int find_network(struct libvirt *d, virConnectPtr conn, virNetworkPtr *out, struct as_error *err)
{
    const char *name = as_settings_str(d->settings, "network");
    struct as_error own;
    err = err ? err : &own;
    virNetworkPtr net = vir.NetworkLookupByName(conn, name);
    if (!net && virlib_refused(d->uri, false, "looking for the network", err) != AS_ENOENT)
        return (int)err->rc;
    if (!net && !d->subnet.prefix)
        return as_fail(err, AS_EINVAL,
                       "network '%s' is not on %.60s: make it there, or describe it here with subnet", name,
                       d->uri);
    if (!net && !(net = make_network(d, conn, name, err)))
        return (int)err->rc;
    if (vir.NetworkIsActive(net) == 0) {
        vir.NetworkFree(net);
        return as_fail(err, AS_EAGAIN, "network '%s' on %.60s is not started: virsh net-start %s", name,
                       d->uri, name);
    }
    *out = net;
    return AS_OK;
}

/* --- addresses ------------------------------------------------------------------------------------------ */

struct taken {
    unsigned char bits[LIBVIRT_RANGE_MAX / 8];
    char mine[AS_ADDRESS_MAX]; /* "": our MAC has no entry                        */
    bool clash;                /* our MAC is somebody else's                      */
};

static void take(struct taken *t, const struct libvirt_range *r, const char *text)
{
    struct in_addr in;
    if (inet_pton(AF_INET, text, &in) != 1)
        return;
    uint32_t a = ntohl(in.s_addr);
    if (a >= r->first && a <= r->last)
        t->bits[(a - r->first) / 8] |= (unsigned char)(1u << (a - r->first) % 8);
}

static void read_entries(const struct libvirt *d, const char *xml, const char *mac, const char *id,
                         struct taken *t)
{
    struct libvirt_tag tag;
    char seen_mac[32], name[256], ip[AS_ADDRESS_MAX];
    while (libvirt_next_tag(&xml, &tag)) {
        if (tag.closing)
            continue;
        if (libvirt_tag_is(&tag, "ip") && libvirt_attribute(&tag, "address", ip, sizeof ip))
            take(t, &d->range, ip);
        if (!libvirt_tag_is(&tag, "host") || !libvirt_attribute(&tag, "ip", ip, sizeof ip))
            continue;
        take(t, &d->range, ip);
        libvirt_attribute(&tag, "name", name, sizeof name);
        if (!libvirt_attribute(&tag, "mac", seen_mac, sizeof seen_mac) || strcasecmp(seen_mac, mac) != 0)
            continue;
        if (strcmp(name, id) == 0)
            snprintf(t->mine, sizeof t->mine, "%s", ip);
        else
            t->clash = true;
    }
}

/* Addresses the dynamic range has lent to others; not every driver can tell. */
static void read_leases(const struct libvirt *d, virNetworkPtr net, const char *mac, struct taken *t)
{
    virNetworkDHCPLeasePtr *leases = NULL;
    int n = vir.NetworkGetDHCPLeases(net, NULL, &leases, 0);
    for (int i = 0; i < n; i++) {
        if (leases[i]->ipaddr && leases[i]->mac && strcasecmp(leases[i]->mac, mac) != 0)
            take(t, &d->range, leases[i]->ipaddr);
        vir.NetworkDHCPLeaseFree(leases[i]);
    }
    free(leases);
}

static int read_taken(struct libvirt *d, virNetworkPtr net, const char *id, struct taken *t,
                      struct as_error *err)
{
    char mac[LIBVIRT_MAC_MAX];
    libvirt_mac(d, id, mac);
    char *xml = vir.NetworkGetXMLDesc(net, 0);
    if (!xml)
        return virlib_refused(d->uri, false, "reading the network", err);
    memset(t, 0, sizeof *t);
    read_entries(d, xml, mac, id, t);
    free(xml);
    read_leases(d, net, mac, t);
    return AS_OK;
}

/* A free address, tried from a place that the id decides: one just given back is not lent again at once. */
static bool pick_free(const struct libvirt *d, const struct taken *t, const char *id,
                      char out[AS_ADDRESS_MAX])
{
    uint32_t n = d->range.last - d->range.first + 1, start = (uint32_t)(hash_of(d, id) >> 20) % n;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t k = (start + i) % n;
        if (t->bits[k / 8] & 1u << k % 8)
            continue;
        print_address(d->range.first + k, out);
        return true;
    }
    return false;
}

static int update_entry(struct libvirt *d, virNetworkPtr net, unsigned command, const char *id,
                        const char *address, struct as_error *err)
{
    char mac[LIBVIRT_MAC_MAX];
    libvirt_mac(d, id, mac);
    char *xml = libvirt_host_xml(mac, id, address);
    if (!xml)
        return as_fail(err, AS_ENOMEM, "out of memory for the address of '%s'", id);
    int done = vir.NetworkUpdate(net, command, VIR_NETWORK_SECTION_IP_DHCP_HOST, -1, xml,
                                 VIR_NETWORK_UPDATE_AFFECT_LIVE);
    int rc = done == 0 ? AS_OK : virlib_refused(d->uri, false, "reserving an address", err);
    /* a machine that comes back with its host needs it then, too; a network that does not is not asked to keep it */
    if (rc == AS_OK && as_settings_bool(d->settings, "autostart") && vir.NetworkIsPersistent(net) == 1)
        vir.NetworkUpdate(net, command, VIR_NETWORK_SECTION_IP_DHCP_HOST, -1, xml,
                          VIR_NETWORK_UPDATE_AFFECT_CONFIG);
    free(xml);
    return rc;
}

/* Other processes reserve in the same network: who comes second is refused by libvirt and looks again. */
static int reserve_in(struct libvirt *d, virNetworkPtr net, const char *id, char address[AS_ADDRESS_MAX],
                      struct as_error *err)
{
    struct taken t;
    int rc = AS_EAGAIN;
    for (int i = 0; i < RESERVE_TRIES && rc == AS_EAGAIN; i++) {
        if ((rc = read_taken(d, net, id, &t, err)) != AS_OK)
            return rc;
        if (t.clash)
            return as_fail(err, AS_EAGAIN, "the MAC made for '%s' is taken in network '%s' on %.60s", id,
                           as_settings_str(d->settings, "network"), d->uri);
        if (t.mine[0]) {
            snprintf(address, AS_ADDRESS_MAX, "%s", t.mine);
            return AS_OK;
        }
        if (!pick_free(d, &t, id, address))
            return as_fail(err, AS_EFULL, "no address of its range is free on %.60s: widen it", d->uri);
        rc = update_entry(d, net, VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, id, address, err);
    }
    return rc;
}

int libvirt_reserve(struct libvirt *d, virConnectPtr conn, const char *id, char address[AS_ADDRESS_MAX],
                    struct as_error *err)
{
    virNetworkPtr net = NULL;
    pthread_mutex_lock(&d->address_lock);
    int rc = find_network(d, conn, &net, err);
    address[0] = '\0';
    if (rc == AS_OK) {
        if (libvirt_address_from(d) == LIBVIRT_STATIC)
            rc = reserve_in(d, net, id, address, err);
        vir.NetworkFree(net);
    }
    pthread_mutex_unlock(&d->address_lock);
    return rc;
}

int libvirt_release(struct libvirt *d, virConnectPtr conn, const char *id, struct as_error *err)
{
    struct taken t;
    struct as_error own;
    err = err ? err : &own;
    virNetworkPtr net = vir.NetworkLookupByName(conn, as_settings_str(d->settings, "network"));
    if (!net)
        return virlib_refused(d->uri, false, "looking for the network", err) == AS_ENOENT ? AS_OK
                                                                                          : (int)err->rc;
    int rc = AS_OK;
    pthread_mutex_lock(&d->address_lock);
    if (vir.NetworkIsActive(net) == 1 && (rc = read_taken(d, net, id, &t, err)) == AS_OK && t.mine[0])
        rc = update_entry(d, net, VIR_NETWORK_UPDATE_COMMAND_DELETE, id, t.mine, err);
    pthread_mutex_unlock(&d->address_lock);
    vir.NetworkFree(net);
    return rc;
}
