/* Options of the libvirt driver and what is wrong with them, offline: nothing here asks a hypervisor. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../wire/seed.h"
#include "libvirt.h"

/* --- options ------------------------------------------------------------------------------------------ */

static const char *const type_choices[] = { "auto", "kvm", "qemu", NULL };
static const char *const bus_choices[] = { "virtio", "sata", "scsi", NULL };
static const char *const cpu_choices[] = { "host-passthrough", "host-model", "maximum", NULL };
static const char *const address_choices[] = { "static", "lease", "agent", NULL };
static const char *const firmware_choices[] = { "bios", "efi", NULL };
static const char *const forward_choices[] = { "nat", "route", "open", "none", NULL };

const struct as_option libvirt_options[] = {
    { .name = "hosts",
      .type = AS_OPT_STRINGS,
      .def = "qemu:///system",
      .help = "hypervisors as libvirt URIs: qemu:///system, qemu+tls://host/system, "
              "qemu+ssh://user@host/system" },
    { .name = "base",
      .type = AS_OPT_STRING,
      .flags = AS_OPT_REQUIRED,
      .help =
          "base image every disk is an overlay of: /path, or pool/volume; a pool of the host must hold it" },
    { .name = "pool", .type = AS_OPT_STRING, .def = "default", .help = "storage pool for the disks" },
    { .name = "disk",
      .type = AS_OPT_BYTES,
      .min = 1,
      .max = 1e15,
      .help = "size of the disk when it is to be larger than the base image" },
    { .name = "memory",
      .type = AS_OPT_BYTES,
      .flags = AS_OPT_REQUIRED,
      .min = 1048576,
      .max = 1e14,
      .help = "memory of a machine" },
    { .name = "vcpus",
      .type = AS_OPT_INT,
      .def = "1",
      .min = 1,
      .max = 4096,
      .help = "processors of a machine" },
    { .name = "cpu_overcommit",
      .type = AS_OPT_NUMBER,
      .def = "4",
      .flags = AS_OPT_HOSTS,
      .min = 0.1,
      .max = 1000,
      .help = "virtual processors of all machines together for each processor of the host" },
    { .name = "port",
      .type = AS_OPT_INT,
      .flags = AS_OPT_REQUIRED,
      .min = 1,
      .max = 65535,
      .help = "TCP port the application listens on inside the machine" },
    { .name = "network",
      .type = AS_OPT_STRING,
      .def = "default",
      .help = "libvirt network to join; made when the host lacks it and subnet is given, and then kept" },
    { .name = "address",
      .type = AS_OPT_CHOICE,
      .def = "static",
      .choices = address_choices,
      .help = "how a machine gets its address: static, one of range, reserved before it boots; lease, what "
              "the network's "
              "DHCP gives it; agent, what the QEMU guest agent in it says" },
    { .name = "range",
      .type = AS_OPT_STRINGS,
      .flags = AS_OPT_HOSTS,
      .help = "IPv4 addresses for the machines, FIRST-LAST, one range for each of the hosts in their order; "
              "with address = "
              "static they are reserved in the network's DHCP, so keep its dynamic range apart, else they "
              "are the dynamic "
              "range of a network to be made" },
    { .name = "subnet",
      .type = AS_OPT_STRINGS,
      .flags = AS_OPT_HOSTS,
      .help = "subnet of a network to be made, as 10.90.0.0/24, one for each of the hosts; the host gets its "
              "first address" },
    { .name = "bridge",
      .type = AS_OPT_STRING,
      .help = "bridge of a network to be made; libvirt picks if unset" },
    { .name = "forward",
      .type = AS_OPT_CHOICE,
      .def = "nat",
      .choices = forward_choices,
      .help = "how a network to be made reaches the outside" },
    { .name = "type",
      .type = AS_OPT_CHOICE,
      .def = "auto",
      .choices = type_choices,
      .help = "kvm, qemu (slow emulation), or auto: what the host offers" },
    { .name = "machine",
      .type = AS_OPT_STRING,
      .help = "machine type such as q35; libvirt's default if unset" },
    { .name = "autostart",
      .type = AS_OPT_BOOL,
      .def = "false",
      .help = "a machine is defined and comes back when its host has been restarted, and so does a network "
              "made for it" },
    { .name = "cpu_mode",
      .type = AS_OPT_CHOICE,
      .choices = cpu_choices,
      .help = "processor the guest sees; host-passthrough needs KVM" },
    { .name = "cpu_model",
      .type = AS_OPT_STRING,
      .help = "the processor by its name in libvirt instead of cpu_mode, as Skylake-Server" },
    { .name = "firmware",
      .type = AS_OPT_CHOICE,
      .choices = firmware_choices,
      .help =
          "bios; or efi, which the host must have (Debian: package ovmf) and which is without Secure Boot, "
          "for that write a template; the machine type's default if unset" },
    { .name = "disk_bus",
      .type = AS_OPT_CHOICE,
      .def = "virtio",
      .choices = bus_choices,
      .help = "bus of the disk" },
    { .name = "kernel",
      .type = AS_OPT_STRING,
      .help = "kernel on the host to boot directly, without a boot loader" },
    { .name = "initrd", .type = AS_OPT_STRING, .help = "initial RAM disk on the host for kernel" },
    { .name = "cmdline", .type = AS_OPT_STRING, .help = "kernel command line for kernel" },
    { .name = "serial_log",
      .type = AS_OPT_STRING,
      .help = "directory on the host where each serial console is written to ID.log; it is kept" },
    { .name = "template",
      .type = AS_OPT_FILE,
      .help = "your own domain XML instead of the built-in machine, with {id} {name} {memory_kib} {vcpus} "
              "{volume} "
              "{seed} {mac} {network} in it" },
    { .name = "user_data",
      .type = AS_OPT_FILE,
      .help = "user-data for cloud-init in the machine, with {id} {group} {controller} {address} {mac} "
              "{port} in it; it "
              "is found on a disk labelled cidata (NoCloud)" },
    { .name = "network_config",
      .type = AS_OPT_FILE,
      .help = "network-config for cloud-init, with the same placeholders" },
    { .name = "stop_timeout",
      .type = AS_OPT_DURATION,
      .flags = AS_OPT_HOSTS,
      .def = "20s",
      .min = 0,
      .max = 3600000,
      .help = "time between the ACPI power button and switching off when an instance is destroyed" },
    { 0 },
};

/* --- checks ------------------------------------------------------------------------------------------- */

/* What XML cannot say would be changed silently. */
static int check_texts(const struct as_settings *s, struct as_error *err)
{
    static const char *const names[] = { "base",      "pool",   "network", "bridge",  "machine",
                                         "cpu_model", "kernel", "initrd",  "cmdline", "serial_log" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *text = as_settings_str(s, names[i]);
        if (!text)
            continue;
        if (!*text)
            return as_settings_fail(s, names[i], err, "is empty");
        for (const char *c = text; *c; c++)
            if ((unsigned char)*c < ' ' || *c == 0x7f)
                return as_settings_fail(s, names[i], err, "holds a control character");
    }
    const char *const paths[] = { "kernel", "initrd", "serial_log" };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (as_settings_str(s, paths[i]) && as_settings_str(s, paths[i])[0] != '/')
            return as_settings_fail(s, paths[i], err, "'%s' must be an absolute path on the host",
                                    as_settings_str(s, paths[i]));
    for (size_t i = 1; i < sizeof paths / sizeof *paths; i++) {
        const char *name = i == 1 ? "initrd" : "cmdline";
        if (as_settings_has(s, name) && !as_settings_has(s, "kernel"))
            return as_settings_fail(s, name, err, "makes no sense without kernel");
    }
    const char *base = as_settings_str(s, "base"), *slash = strchr(base, '/');
    if (!slash || !slash[1] || (slash != base && strchr(slash + 1, '/')))
        return as_settings_fail(s, "base", err, "'%s' must be /path or pool/volume", base);
    return AS_OK;
}

static int check_processor(const struct as_settings *s, struct as_error *err)
{
    const char *mode = as_settings_str(s, "cpu_mode");
    if (mode && as_settings_has(s, "cpu_model"))
        return as_settings_fail(s, "cpu_model", err, "and cpu_mode exclude each other");
    if (mode && strcmp(mode, "host-passthrough") == 0 && strcmp(as_settings_str(s, "type"), "qemu") == 0)
        return as_settings_fail(
            s, "cpu_mode", err,
            "host-passthrough needs KVM, and type = \"qemu\" does without: use \"maximum\" "
            "or \"host-model\"");
    return AS_OK;
}

/* The file an option names, as text; *out stays NULL when the option is not given. */
static int read_text(const struct as_settings *s, const char *option, size_t most, char **out,
                     struct as_error *err)
{
    const char *path = as_settings_str(s, option);
    FILE *f = path ? fopen(path, "re") : NULL;
    if (!path)
        return AS_OK;
    if (!f)
        return as_settings_fail(s, option, err, "cannot read '%s': %s", path, strerror(errno));
    char *text = malloc(most + 1);
    size_t n = text ? fread(text, 1, most + 1, f) : 0;
    bool bad = ferror(f) != 0;
    fclose(f);
    if (!text)
        return as_fail(err, AS_ENOMEM, "out of memory for '%s'", path);
    *out = text;
    if (bad || n > most || memchr(text, '\0', n))
        return as_settings_fail(s, option, err, "'%s' cannot be read as text of at most %zu KiB", path,
                                most >> 10);
    text[n] = '\0';
    return AS_OK;
}

static int check_seed(const struct libvirt *d, const char *option, const char *text, struct as_error *err)
{
    if (!text || libvirt_address_from(d) == LIBVIRT_STATIC || !strstr(text, "{address}"))
        return AS_OK;
    return as_settings_fail(d->settings, option, err,
                            "'%s' uses {address}, which is known before the boot only with "
                            "address = \"static\"",
                            as_settings_str(d->settings, option));
}

/* Without its own name, address or disk an instance would be its sister. */
static int check_template(struct libvirt *d, const char *path, struct as_error *err)
{
    static const char *const wanted[] = { "{mac}", "{volume}" };
    const struct as_settings *s = d->settings;
    const char *at = NULL;
    int rc = read_text(s, "template", LIBVIRT_TEMPLATE_MAX, &d->template, err);
    if (rc != AS_OK)
        return rc;
    size_t n = libvirt_unknown(d->template, &at);
    if (n)
        return as_settings_fail(s, "template", err, "'%s' holds %.*s, which is no placeholder", path,
                                (int)(n < 40 ? n : 40), at);
    if (!libvirt_root_is(d->template, "domain"))
        return as_settings_fail(s, "template", err, "'%s' is no <domain> document", path);
    if (!libvirt_template_has(d->template, "{id}") && !libvirt_template_has(d->template, "{name}"))
        return as_settings_fail(s, "template", err, "'%s' must name the machine {id}", path);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (!libvirt_template_has(d->template, wanted[i]))
            return as_settings_fail(s, "template", err, "'%s' must use %s", path, wanted[i]);
    if (libvirt_template_has(d->template, "<uuid"))
        return as_settings_fail(s, "template", err,
                                "'%s' fixes a <uuid>, which each machine needs its own of", path);
    if (libvirt_shares_nvram(d->template))
        return as_settings_fail(
            s, "template", err,
            "'%s' fixes the file in <nvram>, which each machine needs its own of: name it "
            "with {id}, or leave it to libvirt",
            path);
    bool seeds = d->user_data || d->network_config, used = libvirt_template_has(d->template, "{seed}");
    if (seeds != used)
        return as_settings_fail(s, "template", err,
                                seeds ? "'%s' must use {seed}, the disk with user_data"
                                      : "'%s' uses {seed}, but there is no user_data",
                                path);
    return AS_OK;
}

int libvirt_open(void *self, const struct as_settings *s, const struct as_owner *owner, const char *endpoint,
                 struct as_error *err)
{
    struct libvirt *d = self;
    *d = (struct libvirt){ .uri = endpoint, .settings = s, .owner = *owner };
    virlink_init(&d->link, endpoint);
    pthread_mutex_init(&d->address_lock, NULL);
    const char *fault = virlink_uri_fault(endpoint);
    if (fault)
        return as_settings_fail(s, "hosts", err, "'%.80s' %s", endpoint, fault);
    int rc = libvirt_check_addresses(d, err);
    if (rc == AS_OK)
        rc = check_texts(s, err);
    if (rc == AS_OK)
        rc = check_processor(s, err);
    if (rc == AS_OK)
        rc = read_text(s, "user_data", SEED_TEXT_MAX, &d->user_data, err);
    if (rc == AS_OK)
        rc = read_text(s, "network_config", SEED_TEXT_MAX, &d->network_config, err);
    if (rc == AS_OK)
        rc = check_seed(d, "user_data", d->user_data, err);
    if (rc == AS_OK)
        rc = check_seed(d, "network_config", d->network_config, err);
    if (rc == AS_OK && as_settings_has(s, "template"))
        rc = check_template(d, as_settings_str(s, "template"), err);
    return rc;
}

void libvirt_close(void *self)
{
    struct libvirt *d = self;
    if (!d->uri)
        return;
    virlink_fini(&d->link);
    free(d->template);
    free(d->user_data);
    free(d->network_config);
    pthread_mutex_destroy(&d->address_lock);
    *d = (struct libvirt){ 0 };
}
