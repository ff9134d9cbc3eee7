/* Options of the Docker driver and what is wrong with them, offline: nothing here asks a daemon. */
#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

#include "docker.h"

/* --- options ------------------------------------------------------------------------------------------ */

static const char *const pull_choices[] = { "never", "missing", NULL };

const struct as_option docker_options[] = {
    { .name = "hosts",
      .type = AS_OPT_STRINGS,
      .def = "unix:///var/run/docker.sock",
      .help = "Docker hosts: unix:///path, tcp://host:port, or https://host:port" },
    { .name = "image",
      .type = AS_OPT_STRING,
      .flags = AS_OPT_REQUIRED,
      .help = "image to run, as Docker names it" },
    { .name = "port",
      .type = AS_OPT_INT,
      .flags = AS_OPT_REQUIRED,
      .min = 1,
      .max = 65535,
      .help = "TCP port the application listens on inside the container" },
    { .name = "command", .type = AS_OPT_STRINGS, .help = "command and arguments instead of the image's own" },
    { .name = "env", .type = AS_OPT_MAP, .help = "environment variables" },
    { .name = "binds",
      .type = AS_OPT_STRINGS,
      .help =
          "mounts as source:target or source:target:ro; the source is a path of the host or a named volume" },
    { .name = "memory",
      .type = AS_OPT_BYTES,
      .min = 6291456,
      .max = 1e14,
      .help = "memory limit; no swap is added to it" },
    { .name = "cpus", .type = AS_OPT_NUMBER, .min = 0.01, .max = 1024, .help = "processor limit in cores" },
    { .name = "network",
      .type = AS_OPT_STRING,
      .help = "network to join, made as a bridge when the host lacks it and then kept; Docker's default "
              "bridge if unset" },
    { .name = "publish",
      .type = AS_OPT_STRING,
      .help =
          "host address to publish the port on, at a free port; unset: the container's own address is used" },
    { .name = "advertise",
      .type = AS_OPT_STRING,
      .help = "address the balancer reaches published ports at, when it differs from publish" },
    { .name = "stop_timeout",
      .type = AS_OPT_DURATION,
      .def = "10s",
      .min = 0,
      .max = 3600000,
      .help = "time between SIGTERM and SIGKILL when an instance is destroyed" },
    { .name = "labels", .type = AS_OPT_MAP, .help = "further container labels; autoscale.* is reserved" },
    { .name = "pull",
      .type = AS_OPT_CHOICE,
      .def = "never",
      .choices = pull_choices,
      .help = "what to do when the host lacks the image: never (report it) or missing (pull it, within the "
              "launch's time)" },
    DOCKER_TLS_OPTIONS,
    { 0 },
};

/* --- open and close ----------------------------------------------------------------------------------- */

static bool is_address(const char *text, bool *any)
{
    unsigned char b[16] = { 0 };
    static const unsigned char zero[16];
    bool ok = strlen(text) < AS_ADDRESS_MAX &&
              (inet_pton(AF_INET, text, b) == 1 || inet_pton(AF_INET6, text, b) == 1);
    *any = ok && memcmp(b, zero, sizeof b) == 0;
    return ok;
}

/* Docker tells where a port is published in its own spelling of the address, by which it is found again. */
static bool is_plain_spelling(const char *text)
{
    unsigned char b[16];
    char plain[INET6_ADDRSTRLEN];
    int family = strchr(text, ':') ? AF_INET6 : AF_INET;
    return inet_pton(family, text, b) == 1 && inet_ntop(family, b, plain, sizeof plain) &&
           strcmp(plain, text) == 0;
}

static int check_addresses(const struct docker *d, const struct as_settings *s, struct as_error *err)
{
    const struct docker_shape *sh = &d->shape;
    bool any = false, ignored;
    if (sh->publish && !is_address(sh->publish, &any))
        return as_settings_fail(s, "publish", err, "'%s' is no IPv4 or IPv6 address", sh->publish);
    if (sh->publish && !is_plain_spelling(sh->publish))
        return as_settings_fail(s, "publish", err,
                                "'%s' must be in its shortest spelling, in lower case, as 2001:db8::1",
                                sh->publish);
    if (sh->advertise && !is_address(sh->advertise, &ignored))
        return as_settings_fail(s, "advertise", err, "'%s' is no IPv4 or IPv6 address", sh->advertise);
    if (sh->advertise && !sh->publish)
        return as_settings_fail(s, "advertise", err, "makes no sense without publish");
    if (any && !sh->advertise)
        return as_settings_fail(
            s, "publish", err, "'%s' is no address a balancer can reach, set advertise as well", sh->publish);
    return AS_OK;
}

static int check_network(const char *name, const struct as_settings *s, struct as_error *err)
{
    if (!name)
        return AS_OK;
    if (strcmp(name, "host") == 0 || strcmp(name, "none") == 0)
        return as_settings_fail(s, "network", err, "instances cannot share the network '%s', name a bridge",
                                name);
    bool ok = isalnum((unsigned char)name[0]) && strlen(name) <= 100;
    for (const char *c = name; *c; c++)
        ok = ok && (isalnum((unsigned char)*c) || strchr("_.-", *c));
    return ok ? AS_OK
              : as_settings_fail(s, "network", err, "'%s' may hold letters, digits, '_', '.' and '-' only",
                                 name);
}

static int check_lists(const struct as_settings *s, struct as_error *err)
{
    for (size_t i = 0; i < as_settings_count(s, "labels"); i++)
        if (strncmp(as_settings_key(s, "labels", i), "autoscale.", 10) == 0)
            return as_settings_fail(s, "labels", err, "'%s' is reserved", as_settings_key(s, "labels", i));
    for (size_t i = 0; i < as_settings_count(s, "binds"); i++) {
        const char *bind = as_settings_item(s, "binds", i), *colon = strchr(bind, ':');
        if (!colon || colon == bind || colon[1] != '/')
            return as_settings_fail(s, "binds", err, "'%s' must be source:/target", bind);
    }
    const char *image = as_settings_str(s, "image");
    for (const char *c = image; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f)
            return as_settings_fail(s, "image", err, "'%s' holds a blank", image);
    return *image ? AS_OK : as_settings_fail(s, "image", err, "is empty");
}

int docker_open(void *self, const struct as_settings *s, const struct as_owner *owner, const char *endpoint,
                struct as_error *err)
{
    struct docker *d = self;
    struct docker_tls tls;
    struct as_error why;
    d->owner = *owner;
    d->shape = (struct docker_shape){
        .settings = s,
        .owner = &d->owner,
        .network = as_settings_str(s, "network"),
        .publish = as_settings_str(s, "publish"),
        .advertise = as_settings_str(s, "advertise"),
        .port = (uint16_t)as_settings_int(s, "port"),
    };
    int rc = check_addresses(d, s, err);
    if (rc == AS_OK)
        rc = check_network(d->shape.network, s, err);
    if (rc == AS_OK)
        rc = check_lists(s, err);
    if (rc == AS_OK)
        rc = docker_tls_read(s, &tls, err);
    if (rc == AS_OK && (rc = docker_host_open(&d->host, endpoint, &tls, &why)) != AS_OK)
        rc = rc == AS_EINVAL ? as_settings_fail(s, "hosts", err, "%s", why.msg)
                             : as_fail(err, (enum as_rc)rc, "%s", why.msg);
    return rc;
}

void docker_close(void *self)
{
    struct docker *d = self;
    docker_host_close(&d->host);
}
