/* Options of the process driver and what is wrong with them, offline: nothing is made or started here. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "process.h"

#define ACCOUNT_MAX 16384 /* of what getpwnam_r stores */
#define GROUPS_MAX  1024

static const char *const signal_choices[] = { "TERM", "INT", "QUIT", NULL };

const struct as_option process_options[] = {
    { .name = "command",
      .type = AS_OPT_STRINGS,
      .flags = AS_OPT_REQUIRED,
      .help =
          "program and arguments, started without a shell and kept in the foreground; {port}, {id}, {group} "
          "and {address} are filled in, {{ stands for a brace" },
    { .name = "directory",
      .type = AS_OPT_STRING,
      .flags = AS_OPT_REQUIRED,
      .help =
          "state directory with the record and the log of each instance, for us alone (mode 0700); made when "
          "missing" },
    { .name = "address",
      .type = AS_OPT_STRING,
      .def = "127.0.0.1",
      .help = "address of this machine that instances listen on and the balancer reaches" },
    { .name = "ports",
      .type = AS_OPT_STRING,
      .def = "20000-20999",
      .help = "range of ports, one for each instance, as FIRST-LAST" },
    { .name = "env",
      .type = AS_OPT_MAP,
      .help = "environment variables, filled in like the command; AUTOSCALE_* is reserved" },
    { .name = "inherit_env",
      .type = AS_OPT_BOOL,
      .def = "false",
      .help = "pass the environment of autoscale on too; without, there is PATH alone" },
    { .name = "cwd", .type = AS_OPT_STRING, .def = "/", .help = "working directory" },
    { .name = "user",
      .type = AS_OPT_STRING,
      .help = "account to run as, by name or number; only when autoscale runs as root" },
    { .name = "memory",
      .type = AS_OPT_BYTES,
      .min = 1048576,
      .max = 1e14,
      .help = "limit of the address space of each process (RLIMIT_AS)" },
    { .name = "open_files",
      .type = AS_OPT_INT,
      .min = 16,
      .max = 1048576,
      .help = "limit of open files (RLIMIT_NOFILE)" },
    { .name = "nice",
      .type = AS_OPT_INT,
      .min = -20,
      .max = 19,
      .help = "scheduling priority, 19 gives way to everyone; below 0 needs privileges" },
    { .name = "stop_signal",
      .type = AS_OPT_CHOICE,
      .def = "TERM",
      .choices = signal_choices,
      .help = "signal that asks an instance to end, sent to all its processes" },
    { .name = "stop_timeout",
      .type = AS_OPT_DURATION,
      .def = "10s",
      .min = 0,
      .max = 3600000,
      .help = "time between that signal and SIGKILL" },
    { .name = "log_max",
      .type = AS_OPT_BYTES,
      .def = "16MiB",
      .min = 0,
      .max = 1e12,
      .help = "size at which a log begins anew, with one old one kept; 0 is no limit" },
    { .name = "keep_logs",
      .type = AS_OPT_BOOL,
      .def = "false",
      .help = "keep the logs of destroyed instances" },
    { 0 },
};

/* --- checks ------------------------------------------------------------------------------------------------ */

static bool is_printable(const char *text)
{
    for (const char *c = text; *c; c++)
        if (iscntrl((unsigned char)*c))
            return false;
    return true;
}

static int check_command(const struct as_settings *s, struct as_error *err)
{
    const char *program = as_settings_count(s, "command") ? as_settings_item(s, "command", 0) : "", *at;
    size_t n;
    if (!*program || !is_printable(program))
        return as_settings_fail(s, "command", err, "names no program");
    if (strchr(program, '/') && program[0] != '/')
        return as_settings_fail(s, "command", err, "'%s' must be an absolute path, or a name that is in PATH",
                                program);
    for (size_t i = 0; i < as_settings_count(s, "command"); i++)
        if ((n = process_unknown(as_settings_item(s, "command", i), &at)) > 0)
            return as_settings_fail(s, "command", err,
                                    "'%.*s' is none of {port}, {id}, {group} and {address}; "
                                    "write {{ for a brace",
                                    (int)n, at);
    return AS_OK;
}

static int check_env(const struct as_settings *s, struct as_error *err)
{
    const char *at;
    size_t n;
    for (size_t i = 0; i < as_settings_count(s, "env"); i++) {
        if (strncmp(as_settings_key(s, "env", i), "AUTOSCALE_", 10) == 0)
            return as_settings_fail(s, "env", err, "'%s' is reserved", as_settings_key(s, "env", i));
        if ((n = process_unknown(as_settings_item(s, "env", i), &at)) > 0)
            return as_settings_fail(s, "env", err,
                                    "'%.*s' is none of {port}, {id}, {group} and {address}; "
                                    "write {{ for a brace",
                                    (int)n, at);
    }
    return AS_OK;
}

static int check_path(const struct as_settings *s, const char *name, struct as_error *err)
{
    const char *path = as_settings_str(s, name);
    if (path[0] == '/' && is_printable(path))
        return AS_OK;
    return as_settings_fail(s, name, err, "'%s' must be an absolute path", path);
}

static int take_address(struct process *p, const struct as_settings *s, struct as_error *err)
{
    static const unsigned char zero[16];
    unsigned char b[16] = { 0 };
    p->address = as_settings_str(s, "address");
    if (strlen(p->address) >= AS_ADDRESS_MAX ||
        (inet_pton(AF_INET, p->address, b) != 1 && inet_pton(AF_INET6, p->address, b) != 1))
        return as_settings_fail(s, "address", err, "'%s' is no IPv4 or IPv6 address", p->address);
    if (memcmp(b, zero, sizeof b) == 0)
        return as_settings_fail(s, "address", err, "'%s' is no address a balancer can reach", p->address);
    return AS_OK;
}

/* The number at *at, which moves behind it; 0 when there is none from 1 to 65535. */
static uint16_t read_port(const char **at)
{
    unsigned n = 0;
    const char *c = *at;
    for (; isdigit((unsigned char)*c) && n <= 65535; c++)
        n = n * 10 + (unsigned)(*c - '0');
    *at = c;
    return n <= 65535 ? (uint16_t)n : 0;
}

static int take_ports(struct process *p, const struct as_settings *s, struct as_error *err)
{
    const char *text = as_settings_str(s, "ports"), *at = text;
    p->first = p->last = read_port(&at);
    if (p->first && *at == '-') {
        at++;
        p->last = read_port(&at);
    }
    if (!p->first || !p->last || *at || p->last < p->first)
        return as_settings_fail(s, "ports", err, "'%s' must be FIRST-LAST, both from 1 to 65535", text);
    return AS_OK;
}

/* --- user ---------------------------------------------------------------------------------------------------- */

static int find_account(const char *name, struct passwd *out, char *buf, size_t size)
{
    struct passwd *found = NULL;
    char *end;
    unsigned long uid = strtoul(name, &end, 10);
    bool number = isdigit((unsigned char)name[0]) && !*end && uid < UINT32_MAX;
    int rc =
        number ? getpwuid_r((uid_t)uid, out, buf, size, &found) : getpwnam_r(name, out, buf, size, &found);
    return found ? 0 : rc ? rc : ENOENT;
}

static int take_groups(struct process_identity *who, const char *name, struct as_error *err)
{
    who->group_count = GROUPS_MAX;
    who->groups = calloc(GROUPS_MAX, sizeof *who->groups);
    if (!who->groups)
        return as_fail(err, AS_ENOMEM, "out of memory for the groups of '%s'", name);
    if (getgrouplist(name, who->gid, who->groups, &who->group_count) < 0)
        return as_fail(err, AS_EINVAL, "user: '%s' is in more than %d groups", name, GROUPS_MAX);
    return AS_OK;
}

static int take_user(struct process *p, const struct as_settings *s, struct as_error *err)
{
    const char *name = as_settings_str(s, "user");
    struct passwd account;
    if (!name)
        return AS_OK;
    if (geteuid() != 0)
        return as_settings_fail(s, "user", err,
                                "only root can start processes as '%s'; remove it to run them as "
                                "the user of autoscale",
                                name);
    char *buf = malloc(ACCOUNT_MAX);
    if (!buf)
        return as_fail(err, AS_ENOMEM, "out of memory for the account '%s'", name);
    int failed = find_account(name, &account, buf, ACCOUNT_MAX), rc;
    if (failed == 0) {
        p->identity.set = true;
        p->identity.uid = account.pw_uid;
        p->identity.gid = account.pw_gid;
        rc = take_groups(&p->identity, account.pw_name, err);
    } else {
        rc = as_settings_fail(s, "user", err, "there is no account '%s': %s", name,
                              failed == ENOENT ? "not found" : strerror(failed));
    }
    free(buf);
    return rc;
}

/* --- open and close ------------------------------------------------------------------------------------------ */

static int signal_of(const char *name)
{
    return strcmp(name, "INT") == 0 ? SIGINT : strcmp(name, "QUIT") == 0 ? SIGQUIT : SIGTERM;
}

int process_open(void *self, const struct as_settings *s, const struct as_owner *owner, const char *endpoint,
                 struct as_error *err)
{
    struct process *p = self;
    (void)endpoint; /* there is one: this machine */
    p->owner = *owner;
    p->settings = s;
    p->directory = as_settings_str(s, "directory");
    p->stop_signal = signal_of(as_settings_str(s, "stop_signal"));
    int rc = check_command(s, err);
    if (rc == AS_OK)
        rc = check_env(s, err);
    if (rc == AS_OK)
        rc = check_path(s, "directory", err);
    if (rc == AS_OK)
        rc = check_path(s, "cwd", err);
    if (rc == AS_OK)
        rc = take_address(p, s, err);
    if (rc == AS_OK)
        rc = take_ports(p, s, err);
    if (rc == AS_OK)
        rc = take_user(p, s, err);
    if (rc == AS_OK && !process_boot_read(p->boot))
        rc = as_fail(err, AS_EIO, "the boot id of this machine cannot be read from /proc");
    return rc;
}

void process_close(void *self)
{
    struct process *p = self;
    free(p->identity.groups);
}
