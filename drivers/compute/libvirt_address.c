/* Addresses of the libvirt driver. Offline: which host may hand out which, and that no two hand out the same. And asked
 * of a running machine, where they are not known before. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "libvirt.h"

#define AGENT_PATIENCE 2 /* seconds for an agent that is there but hangs */

static bool parse_address(const char *text, size_t length, uint32_t *out)
{
    char buf[INET_ADDRSTRLEN];
    struct in_addr a;
    if (length == 0 || length >= sizeof buf)
        return false;
    memcpy(buf, text, length);
    buf[length] = '\0';
    if (inet_pton(AF_INET, buf, &a) != 1)
        return false;
    *out = ntohl(a.s_addr);
    return true;
}

bool libvirt_range_parse(const char *text, struct libvirt_range *out)
{
    const char *dash = strchr(text, '-');
    struct libvirt_range r;
    if (!dash || !parse_address(text, (size_t)(dash - text), &r.first) ||
        !parse_address(dash + 1, strlen(dash + 1), &r.last))
        return false;
    if (r.last < r.first || r.last - r.first >= LIBVIRT_RANGE_MAX || r.first == 0)
        return false;
    *out = r;
    return true;
}

bool libvirt_subnet_parse(const char *text, struct libvirt_subnet *out)
{
    const char *slash = strchr(text, '/');
    uint32_t base;
    if (!slash || !parse_address(text, (size_t)(slash - text), &base))
        return false;
    size_t digits = strspn(slash + 1, "0123456789");
    int prefix = digits >= 1 && digits <= 2 && !slash[1 + digits] ? atoi(slash + 1) : 0;
    if (prefix < 8 || prefix > 29 || (base & (UINT32_MAX >> prefix)) != 0)
        return false;
    *out = (struct libvirt_subnet){ .base = base, .gateway = base + 1, .prefix = prefix };
    return true;
}

static int read_range(const struct as_settings *s, size_t k, struct libvirt_range *out, struct as_error *err)
{
    const char *text = as_settings_item(s, "range", k);
    if (libvirt_range_parse(text, out))
        return AS_OK;
    return as_settings_fail(s, "range", err, "'%s' must be two IPv4 addresses, FIRST-LAST, at most %d apart",
                            text, LIBVIRT_RANGE_MAX);
}

static int read_subnet(const struct as_settings *s, size_t k, struct libvirt_subnet *out,
                       struct as_error *err)
{
    const char *text = as_settings_item(s, "subnet", k);
    if (libvirt_subnet_parse(text, out))
        return AS_OK;
    return as_settings_fail(
        s, "subnet", err, "'%s' must be the first address of a subnet and its prefix of 8 to 29 bits", text);
}

/* The place of this endpoint among the hosts: what is given for each of them is found by it. */
static size_t place_of(const struct as_settings *s, const char *endpoint)
{
    for (size_t k = 0; k < as_settings_count(s, "hosts"); k++)
        if (strcmp(as_settings_item(s, "hosts", k), endpoint) == 0)
            return k;
    return 0;
}

static int check_counts(const struct as_settings *s, struct as_error *err)
{
    static const char *const names[] = { "range", "subnet" };
    size_t hosts = as_settings_count(s, "hosts");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (as_settings_has(s, names[i]) && as_settings_count(s, names[i]) != hosts)
            return as_settings_fail(
                s, names[i], err,
                "%zu of them for %zu hosts: each host needs its own, in the order of hosts, or "
                "two would hand out the same addresses",
                as_settings_count(s, names[i]), hosts);
    return AS_OK;
}

/* No address may be handed out by this host and by one before it. */
static int check_overlap(const struct libvirt *d, size_t place, struct as_error *err)
{
    const struct as_settings *s = d->settings;
    struct libvirt_range other;
    struct libvirt_subnet net;
    for (size_t k = 0; k < place; k++) {
        int rc = read_range(s, k, &other, err);
        if (rc != AS_OK)
            return rc;
        if (other.first <= d->range.last && d->range.first <= other.last)
            return as_settings_fail(s, "range", err,
                                    "'%s' and '%s' overlap: hosts '%s' and '%s' would hand out the "
                                    "same addresses",
                                    as_settings_item(s, "range", k), as_settings_item(s, "range", place),
                                    as_settings_item(s, "hosts", k), d->uri);
        if (!d->subnet.prefix)
            continue;
        if ((rc = read_subnet(s, k, &net, err)) != AS_OK)
            return rc;
        int prefix = net.prefix < d->subnet.prefix ? net.prefix : d->subnet.prefix;
        if (((net.base ^ d->subnet.base) & ~(UINT32_MAX >> prefix)) == 0)
            return as_settings_fail(s, "subnet", err,
                                    "'%s' and '%s' overlap: a balancer could not tell the machines of "
                                    "hosts '%s' and '%s' apart",
                                    as_settings_item(s, "subnet", k), as_settings_item(s, "subnet", place),
                                    as_settings_item(s, "hosts", k), d->uri);
    }
    return AS_OK;
}

static int check_inside(const struct libvirt *d, size_t place, struct as_error *err)
{
    uint32_t broadcast = d->subnet.base | (UINT32_MAX >> d->subnet.prefix);
    if (d->range.first > d->subnet.gateway && d->range.last < broadcast)
        return AS_OK;
    return as_settings_fail(
        d->settings, "range", err, "'%s' must lie inside subnet '%s', behind the host's own first address",
        as_settings_item(d->settings, "range", place), as_settings_item(d->settings, "subnet", place));
}

enum libvirt_address libvirt_address_from(const struct libvirt *d)
{
    const char *name = as_settings_str(d->settings, "address");
    return strcmp(name, "static") == 0  ? LIBVIRT_STATIC
           : strcmp(name, "lease") == 0 ? LIBVIRT_LEASE
                                        : LIBVIRT_AGENT;
}

int libvirt_check_addresses(struct libvirt *d, struct as_error *err)
{
    const struct as_settings *s = d->settings;
    size_t place = place_of(s, d->uri);
    bool makes = as_settings_has(s, "subnet");
    if (!makes && as_settings_has(s, "bridge"))
        return as_settings_fail(s, "bridge", err, "makes no sense without subnet");
    if (!as_settings_has(s, "range")) {
        if (libvirt_address_from(d) == LIBVIRT_STATIC || makes)
            return as_settings_fail(s, "range", err,
                                    "is needed with address = \"static\" and for a network to be made");
        return AS_OK;
    }
    int rc = check_counts(s, err);
    if (rc == AS_OK)
        rc = read_range(s, place, &d->range, err);
    if (rc == AS_OK && makes)
        rc = read_subnet(s, place, &d->subnet, err);
    if (rc == AS_OK && makes)
        rc = check_inside(d, place, err);
    return rc == AS_OK ? check_overlap(d, place, err) : rc;
}

/* --- of a running machine ------------------------------------------------------------------------------- */

static bool usable(const virDomainIPAddress *a)
{
    return a->addr && strlen(a->addr) < AS_ADDRESS_MAX &&
           (a->type == VIR_IP_ADDR_TYPE_IPV4
                ? strncmp(a->addr, "169.254.", 8) != 0 && strncmp(a->addr, "127.", 4) != 0
                : strncasecmp(a->addr, "fe80:", 5) != 0 && strcmp(a->addr, "::1") != 0);
}

/* IPv4 rather than IPv6; the first of several. */
static void pick_address(const virDomainInterface *face, char out[AS_ADDRESS_MAX])
{
    for (int want = VIR_IP_ADDR_TYPE_IPV4; want <= VIR_IP_ADDR_TYPE_IPV6 && !out[0]; want++)
        for (unsigned i = 0; i < face->naddrs && !out[0]; i++)
            if (face->addrs[i].type == want && usable(&face->addrs[i]))
                snprintf(out, AS_ADDRESS_MAX, "%s", face->addrs[i].addr);
}

void libvirt_ask_address(const struct libvirt *d, virDomainPtr dom, const char *mac, char out[AS_ADDRESS_MAX])
{
    virDomainInterfacePtr *faces = NULL;
    bool agent = libvirt_address_from(d) == LIBVIRT_AGENT;
    if (agent)
        vir.DomainAgentSetResponseTimeout(dom, AGENT_PATIENCE, 0);
    int n = vir.DomainInterfaceAddresses(
        dom, &faces,
        agent ? VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT : VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE, 0);
    out[0] = '\0';
    for (int i = 0; i < n; i++) {
        if (!out[0] && faces[i]->hwaddr && strcasecmp(faces[i]->hwaddr, mac) == 0)
            pick_address(faces[i], out);
        vir.DomainInterfaceFree(faces[i]);
    }
    free(faces);
}
