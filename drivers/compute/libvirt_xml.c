/* XML of the libvirt driver: a writer that escapes whatever it is given. What is read back it takes from the
 * scanner of tags, and never reads behind the terminating NUL. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libvirt_xml.h"

/* --- writing ------------------------------------------------------------------------------------------ */

void libvirt_escape(FILE *out, const char *text)
{
    for (; *text; text++)
        switch (*text) {
        case '&': fputs("&amp;", out); break;
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '"': fputs("&quot;", out); break;
        case '\'': fputs("&apos;", out); break;
        case '\t':
        case '\n':
        case '\r': fprintf(out, "&#%d;", *text); break;
        default: /* XML 1.0 cannot say other control characters at all */
            fputc((unsigned char)*text < ' ' ? '?' : *text, out);
        }
}

static void attribute(FILE *out, const char *name, const char *value)
{
    fprintf(out, " %s='", name);
    libvirt_escape(out, value);
    fputc('\'', out);
}

static void element(FILE *out, const char *name, const char *value)
{
    if (!value)
        return;
    fprintf(out, "<%s>", name);
    libvirt_escape(out, value);
    fprintf(out, "</%s>", name);
}

/* Ends a document begun with open_memstream. */
static char *finish(FILE *out, char **text)
{
    bool bad = ferror(out) != 0;
    if (fclose(out) == 0 && !bad)
        return *text;
    free(*text);
    return NULL;
}

char *libvirt_host_xml(const char *mac, const char *name, const char *address)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    fputs("<host", out);
    attribute(out, "mac", mac);
    attribute(out, "name", name);
    attribute(out, "ip", address);
    fputs("/>", out);
    return finish(out, &text);
}

char *libvirt_volume_xml(const char *name, uint64_t capacity, const char *base, const char *format)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    fputs("<volume>", out);
    element(out, "name", name);
    fprintf(out, "<capacity unit='bytes'>%" PRIu64 "</capacity>%s<target><format", capacity,
            base ? "" : "<allocation>0</allocation>");
    attribute(out, "type", base ? "qcow2" : format);
    fputs("/></target>", out);
    if (base) {
        fputs("<backingStore>", out);
        element(out, "path", base);
        fputs("<format", out);
        attribute(out, "type", format);
        fputs("/></backingStore>", out);
    }
    fputs("</volume>", out);
    return finish(out, &text);
}

/* Spanning tree would cost every guest four seconds at boot. Without a dynamic range only the hosts that are added to
 * the network get an address. */
char *libvirt_network_xml(const struct as_settings *s, const struct libvirt_lan *lan)
{
    const char *bridge = as_settings_str(s, "bridge"), *forward = as_settings_str(s, "forward");
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    fputs("<network>", out);
    element(out, "name", as_settings_str(s, "network"));
    fputs("<metadata><autoscale:network xmlns:autoscale='" LIBVIRT_NAMESPACE "'/></metadata>", out);
    if (strcmp(forward, "none") != 0) {
        fputs("<forward", out);
        attribute(out, "mode", forward);
        fputs("/>", out);
    }
    fputs("<bridge", out);
    if (bridge)
        attribute(out, "name", bridge);
    fputs(" stp='off' delay='0'/><ip", out);
    attribute(out, "address", lan->gateway);
    fprintf(out, " prefix='%d'>", lan->prefix);
    if (lan->first) {
        fputs("<dhcp><range", out);
        attribute(out, "start", lan->first);
        attribute(out, "end", lan->last);
        fputs("/></dhcp>", out);
    }
    fputs("</ip></network>", out);
    return finish(out, &text);
}

/* --- domains ------------------------------------------------------------------------------------------ */

static void write_mark(FILE *out, const struct libvirt_mark *m)
{
    fputs("<autoscale:instance xmlns:autoscale='" LIBVIRT_NAMESPACE "'", out);
    attribute(out, "controller", m->controller);
    attribute(out, "group", m->group);
    attribute(out, "id", m->id);
    attribute(out, "revision", m->revision);
    attribute(out, "address", m->address);
    attribute(out, "mac", m->mac);
    fprintf(out, " created='%" PRId64 "'/>", m->created_wall);
}

/* A BIOS is not asked for: hypervisors have it without saying so, and libvirt would look for it in vain. Left to itself
 * libvirt takes a UEFI with Secure Boot where the machine type can have it, which starts no kernel of one's own. */
static void write_os(FILE *out, const struct as_settings *s)
{
    const char *machine = as_settings_str(s, "machine"), *cpu = as_settings_str(s, "cpu_mode");
    const char *firmware = as_settings_str(s, "firmware"), *model = as_settings_str(s, "cpu_model");
    bool efi = firmware && strcmp(firmware, "efi") == 0;
    fprintf(out, "<os%s><type", efi ? " firmware='efi'" : "");
    if (machine)
        attribute(out, "machine", machine);
    fprintf(out, ">hvm</type>%s",
            efi ? "<firmware><feature enabled='no' name='secure-boot'/></firmware>" : "");
    element(out, "kernel", as_settings_str(s, "kernel"));
    element(out, "initrd", as_settings_str(s, "initrd"));
    element(out, "cmdline", as_settings_str(s, "cmdline"));
    fputs("</os><features><acpi/></features>", out);
    if (model) {
        fputs("<cpu mode='custom' match='exact'>", out);
        element(out, "model", model);
        fputs("</cpu>", out);
    } else if (cpu) {
        fputs("<cpu", out);
        attribute(out, "mode", cpu);
        fputs("/>", out);
    }
}

static void write_devices(FILE *out, const struct libvirt_machine *m)
{
    const char *bus = as_settings_str(m->settings, "disk_bus");
    const char *log = as_settings_str(m->settings, "serial_log");
    fputs("<devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source", out);
    attribute(out, "file", m->volume);
    fprintf(out, "/><target dev='%s'", strcmp(bus, "virtio") == 0 ? "vda" : "sda");
    attribute(out, "bus", bus);
    fputs("/></disk>", out);
    if (m->seed) {
        fputs("<disk type='file' device='disk'><driver name='qemu' type='raw'/><source", out);
        attribute(out, "file", m->seed);
        fprintf(out, "/><target dev='%s'", strcmp(bus, "virtio") == 0 ? "vdb" : "sdb");
        attribute(out, "bus", bus);
        fputs("/><readonly/></disk>", out);
    }
    if (strcmp(bus, "scsi") == 0)
        fputs("<controller type='scsi' model='virtio-scsi'/>", out);
    fputs("<interface type='network'><mac", out);
    attribute(out, "address", m->mark->mac);
    fputs("/><source", out);
    attribute(out, "network", as_settings_str(m->settings, "network"));
    fputs("/><model type='virtio'/></interface>", out);
    if (strcmp(as_settings_str(m->settings, "address"), "agent") == 0)
        fputs("<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>", out);
    if (log) {
        fputs("<serial type='file'><source path='", out);
        libvirt_escape(out, log);
        fputc('/', out);
        libvirt_escape(out, m->mark->id);
        fputs(".log'/></serial>", out);
    }
    /* the guest's own account of its memory, for who measures it */
    fputs("<memballoon model='virtio'><stats period='5'/></memballoon>", out);
    fputs("<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices>", out);
}

static char *built_in(const struct libvirt_machine *m)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    fputs("<domain", out);
    attribute(out, "type", m->type);
    fputc('>', out);
    element(out, "name", m->mark->id);
    fputs("<metadata>", out);
    write_mark(out, m->mark);
    fprintf(out, "</metadata><memory unit='KiB'>%" PRIu64 "</memory><vcpu>%" PRId64 "</vcpu>",
            as_settings_bytes(m->settings, "memory") / 1024, as_settings_int(m->settings, "vcpus"));
    write_os(out, m->settings);
    fputs("<on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>",
          out);
    write_devices(out, m);
    fputs("</domain>", out);
    return finish(out, &text);
}

static const char *const placeholders[] = { "{id}",  "{name}",    "{memory_kib}", "{vcpus}", "{volume}",
                                            "{mac}", "{network}", "{seed}",       NULL };

static void write_placeholder(FILE *out, const struct libvirt_machine *m, size_t which)
{
    switch (which) {
    case 2: fprintf(out, "%" PRIu64, as_settings_bytes(m->settings, "memory") / 1024); break;
    case 3: fprintf(out, "%" PRId64, as_settings_int(m->settings, "vcpus")); break;
    case 4: libvirt_escape(out, m->volume); break;
    case 5: libvirt_escape(out, m->mark->mac); break;
    case 6: libvirt_escape(out, as_settings_str(m->settings, "network")); break;
    case 7: libvirt_escape(out, m->seed ? m->seed : ""); break;
    default: libvirt_escape(out, m->mark->id);
    }
}

static void expand(FILE *out, const char *from, const char *to, const struct libvirt_machine *m)
{
    while (from < to) {
        size_t k = 0, length = 0;
        for (; placeholders[k]; k++) {
            length = strlen(placeholders[k]);
            if (length <= (size_t)(to - from) && strncmp(from, placeholders[k], length) == 0)
                break;
        }
        if (placeholders[k]) {
            write_placeholder(out, m, k);
            from += length;
        } else {
            fputc(*from++, out);
        }
    }
}

/* The user's document with our mark: into his <metadata>, or right behind <domain>. */
static char *from_template(const struct libvirt_machine *m)
{
    const char *at = m->template, *end = m->template + strlen(m->template), *place = NULL;
    struct libvirt_tag tag;
    bool own = false;
    char *text = NULL;
    size_t size;
    while (!own && libvirt_next_tag(&at, &tag)) {
        own = libvirt_tag_is(&tag, "metadata") && !tag.closing && !tag.empty;
        if (own || (!place && libvirt_tag_is(&tag, "domain")))
            place = tag.end;
    }
    FILE *out = place ? open_memstream(&text, &size) : NULL;
    if (!out)
        return NULL;
    expand(out, m->template, place, m);
    if (!own)
        fputs("<metadata>", out);
    write_mark(out, m->mark);
    if (!own)
        fputs("</metadata>", out);
    expand(out, place, end, m);
    return finish(out, &text);
}

char *libvirt_domain_xml(const struct libvirt_machine *m)
{
    return m->template ? from_template(m) : built_in(m);
}

bool libvirt_has_nvram(const char *xml)
{
    struct libvirt_tag tag;
    char value[16];
    while (libvirt_next_tag(&xml, &tag))
        if (libvirt_tag_is(&tag, "nvram") ||
            (libvirt_tag_is(&tag, "os") && libvirt_attribute(&tag, "firmware", value, sizeof value) &&
             strcmp(value, "efi") == 0) ||
            (libvirt_tag_is(&tag, "loader") && libvirt_attribute(&tag, "type", value, sizeof value) &&
             strcmp(value, "pflash") == 0))
            return true;
    return false;
}

/* Does the text name a place, and no place of each machine's own? */
static bool is_shared_place(const char *text, size_t size)
{
    size_t blank = strspn(text, " \t\r\n");
    char place[512];
    if (blank >= size)
        return false;
    snprintf(place, sizeof place, "%.*s", (int)(size < sizeof place ? size : sizeof place - 1), text);
    return !strstr(place, "{id}") && !strstr(place, "{name}");
}

bool libvirt_shares_nvram(const char *template)
{
    struct libvirt_tag tag, end;
    while (libvirt_next_tag(&template, &tag)) {
        const char *inside = template, *stop = NULL;
        if (!libvirt_tag_is(&tag, "nvram") || tag.closing || tag.empty)
            continue;
        while (!stop && libvirt_next_tag(&template, &end))
            stop = end.closing && libvirt_tag_is(&end, "nvram") ? end.begin : NULL;
        if (is_shared_place(inside, stop ? (size_t)(stop - inside) : strlen(inside)))
            return true;
    }
    return false;
}

size_t libvirt_unknown(const char *text, const char **at)
{
    for (const char *open = strchr(text, '{'); open; open = strchr(open + 1, '{')) {
        size_t k = 0, word = strspn(open + 1, "abcdefghijklmnopqrstuvwxyz_");
        if (word == 0 || open[word + 1] != '}')
            continue;
        while (placeholders[k] && strncmp(open, placeholders[k], strlen(placeholders[k])) != 0)
            k++;
        if (!placeholders[k]) {
            *at = open;
            return word + 2;
        }
    }
    return 0;
}

bool libvirt_template_has(const char *text, const char *placeholder)
{
    const char *comment = strstr(text, "<!--"), *found = strstr(text, placeholder);
    while (comment && found && comment < found) {
        const char *end = strstr(comment + 4, "-->");
        if (!end)
            return false;
        found = end > found ? strstr(end, placeholder) : found;
        comment = strstr(end, "<!--");
    }
    return found != NULL;
}

/* --- reading ------------------------------------------------------------------------------------------ */

void libvirt_volume_format(const char *xml, char *buf, size_t size)
{
    struct libvirt_tag tag;
    bool inside = false;
    while (libvirt_next_tag(&xml, &tag)) {
        if (libvirt_tag_is(&tag, "target"))
            inside = !tag.closing;
        else if (inside && libvirt_tag_is(&tag, "format") && libvirt_attribute(&tag, "type", buf, size))
            return;
    }
    snprintf(buf, size, "raw");
}
