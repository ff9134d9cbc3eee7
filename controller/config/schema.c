/* The option tables of the common blocks. Defaults and ranges stand here and nowhere else. */
#include <stddef.h>

#include "schema.h"

#define MS(x)  ((double)(x))
#define SEC(x) ((double)(x)*1000.0)
#define DAY(x) ((double)(x)*86400000.0)

static const char *const log_levels[] = { "error", "warning", "info", "debug", NULL };

const struct as_option schema_controller[] = {
    { .name = "name",
      .type = AS_OPT_STRING,
      .def = "autoscale",
      .help =
          "the mark put on everything this controller creates: lower case letters, digits and dashes; two "
          "controllers that share a host need two names" },
    { .name = "interval",
      .type = AS_OPT_DURATION,
      .def = "2s",
      .min = MS(100),
      .max = SEC(3600),
      .help = "how often a decision is made, and how often a source is polled unless it says otherwise" },
    { .name = "state",
      .type = AS_OPT_FILE,
      .def = "/var/lib/autoscale/state.db",
      .help = "the journal: intents, instances, decisions and samples" },
    { .name = "socket",
      .type = AS_OPT_FILE,
      .def = "/run/autoscale.sock",
      .help = "the Unix socket on which the daemon answers status, explain, history and reload" },
    { .name = "retention",
      .type = AS_OPT_DURATION,
      .def = "30d",
      .min = SEC(3600),
      .max = DAY(3650),
      .help = "how long decisions and samples are kept in the journal" },
    { .name = "log_level",
      .type = AS_OPT_CHOICE,
      .def = "info",
      .choices = log_levels,
      .help = "how much is logged" },
    { 0 },
};

const struct as_option schema_source[] = {
    { .name = "driver",
      .type = AS_OPT_STRING,
      .flags = AS_OPT_REQUIRED,
      .help = "which source driver measures; autoscale drivers lists them" },
    { .name = "interval",
      .type = AS_OPT_DURATION,
      .min = MS(100),
      .max = SEC(3600),
      .help = "time between polls; when unset, the controller's interval" },
    { .name = "timeout",
      .type = AS_OPT_DURATION,
      .def = "2s",
      .min = MS(10),
      .max = SEC(300),
      .help = "how long one poll may take" },
    { .name = "max_age",
      .type = AS_OPT_DURATION,
      .min = MS(100),
      .max = SEC(86400),
      .help = "samples older than this are stale, and nothing is scaled in on stale data; when unset, three "
              "intervals and one timeout" },
    { 0 },
};

static const char *const parkings[] = { "none", "suspend", "save", NULL };

const struct as_option schema_compute[] = {
    { .name = "driver",
      .type = AS_OPT_STRING,
      .flags = AS_OPT_REQUIRED,
      .help = "which compute driver creates the instances; autoscale drivers lists them" },
    { .name = "launches",
      .type = AS_OPT_INT,
      .def = "4",
      .min = 1,
      .max = 100,
      .help = "how many instances may be created at the same time on one host" },
    { .name = "boots",
      .type = AS_OPT_INT,
      .min = 1,
      .max = 1000,
      .help = "how many instances may be created or boot at the same time on one host, as those that boot "
              "together are "
              "slower each; when unset, any number" },
    { .name = "timeout",
      .type = AS_OPT_DURATION,
      .def = "60s",
      .min = MS(100),
      .max = SEC(3600),
      .help = "how long the creation of one instance may take" },
    { .name = "keep_failed",
      .type = AS_OPT_DURATION,
      .def = "0s",
      .min = 0,
      .max = DAY(30),
      .help = "how long an instance that failed is kept for inspection before it is destroyed; it counts "
              "towards max meanwhile" },
    { .name = "lost_hosts",
      .type = AS_OPT_STRINGS,
      .help = "hosts that are gone for good, as they were named: the instances there are taken for gone and "
              "replaced, and max does not count them any more" },
    { .name = "park",
      .type = AS_OPT_CHOICE,
      .def = "none",
      .choices = parkings,
      .help = "what becomes of an instance in warm standby: suspend keeps its memory where it is, save puts "
              "it on the host's disk; none: there is no standby" },
    { .name = "standby",
      .type = AS_OPT_INT,
      .def = "0",
      .min = 0,
      .max = 1000,
      .help = "how many parked instances are kept beside those that serve, as far as max leaves room for "
              "both; growth takes them before anything new is created" },
    { 0 },
};

static const char *const weightings[] = { "even", "load", NULL };

const struct as_option schema_balancer[] = {
    { .name = "driver",
      .type = AS_OPT_STRING,
      .flags = AS_OPT_REQUIRED,
      .help = "which balancer driver routes to the instances; autoscale drivers lists them" },
    { .name = "drain",
      .type = AS_OPT_DURATION,
      .def = "30s",
      .min = 0,
      .max = DAY(7),
      .help = "how long an instance that leaves may finish its sessions before they are cut" },
    { .name = "timeout",
      .type = AS_OPT_DURATION,
      .def = "2s",
      .min = MS(10),
      .max = SEC(300),
      .help = "how long one call to the balancer may take" },
    { .name = "weighting",
      .type = AS_OPT_CHOICE,
      .def = "even",
      .choices = weightings,
      .help = "even: every member has the same weight; load: a member that answers slower than the group's "
              "median "
              "gets less work, bounded and smoothed" },
    { .name = "weighting_source",
      .type = AS_OPT_STRING,
      .help = "with weighting = load: the source that measures the instances' CPU (docker, libvirt); a "
              "member whose CPU is "
              "busier than the median then gets less work, whatever it answers in" },
    { 0 },
};

const struct as_option schema_policy[] = {
    { .name = "type",
      .type = AS_OPT_STRING,
      .flags = AS_OPT_REQUIRED,
      .help = "how the policy forms its proposal; autoscale policies lists the types" },
    { 0 },
};

const struct as_option schema_health[] = {
    { .name = "http",
      .type = AS_OPT_STRING,
      .help = "path that is fetched from the instance, as \"/healthz\"" },
    { .name = "expect",
      .type = AS_OPT_INT,
      .min = 100,
      .max = 599,
      .help = "the HTTP status that means healthy; when unset, any 2xx" },
    { .name = "tcp",
      .type = AS_OPT_BOOL,
      .help =
          "true: healthy is what accepts a TCP connection; false without http: whatever runs is healthy" },
    { .name = "interval",
      .type = AS_OPT_DURATION,
      .def = "1s",
      .min = MS(50),
      .max = SEC(3600),
      .help = "time between two checks of one instance" },
    { .name = "timeout",
      .type = AS_OPT_DURATION,
      .def = "1s",
      .min = MS(10),
      .max = SEC(300),
      .help = "how long one check may take" },
    { .name = "boot_timeout",
      .type = AS_OPT_DURATION,
      .def = "60s",
      .min = MS(100),
      .max = DAY(1),
      .help =
          "an instance that is not healthy so long after it was created, or takes no traffic so long after "
          "it was admitted, has failed" },
    { .name = "rise",
      .type = AS_OPT_INT,
      .def = "2",
      .min = 1,
      .max = 100,
      .help = "this many checks in a row must pass before an instance is healthy" },
    { .name = "fall",
      .type = AS_OPT_INT,
      .def = "3",
      .min = 1,
      .max = 100,
      .help = "this many checks in a row must fail before a healthy instance is replaced" },
    { 0 },
};

#define RATE_OPTIONS(window_default, window_help)                                                            \
    { .name = "window",                                                                                      \
      .type = AS_OPT_DURATION,                                                                               \
      .def = window_default,                                                                                 \
      .min = 0,                                                                                              \
      .max = DAY(1),                                                                                         \
      .help = window_help },                                                                                 \
        { .name = "cooldown",                                                                                \
          .type = AS_OPT_DURATION,                                                                           \
          .def = "0s",                                                                                       \
          .min = 0,                                                                                          \
          .max = DAY(1),                                                                                     \
          .help = "no further change in this direction so long after one" },                                 \
        { .name = "period",                                                                                  \
          .type = AS_OPT_DURATION,                                                                           \
          .def = "15s",                                                                                      \
          .min = SEC(1),                                                                                     \
          .max = DAY(1),                                                                                     \
          .help = "the time that max_step and max_percent are for" },                                        \
        { .name = "max_step",                                                                                \
          .type = AS_OPT_INT,                                                                                \
          .def = "0",                                                                                        \
          .min = 0,                                                                                          \
          .max = 1000,                                                                                       \
          .help = "most instances changed in one period; 0 for no limit" },                                  \
        { .name = "max_percent",                                                                             \
          .type = AS_OPT_PERCENT,                                                                            \
          .def = "0%",                                                                                       \
          .min = 0,                                                                                          \
          .max = 100,                                                                                        \
          .help =                                                                                            \
              "most of the group's size at the start of the period changed in one period; 0% for no limit; " \
              "when both limits are given the larger allowance holds" },                                     \
    {                                                                                                        \
        0                                                                                                    \
    }

const struct as_option schema_scale_out[] = {
    RATE_OPTIONS("0s", "grow only to what was wanted throughout this time"),
};

const struct as_option schema_scale_in[] = {
    RATE_OPTIONS("60s", "shrink only to the largest count wanted within this time"),
};

const struct as_option schema_group[] = {
    { .name = "min",
      .type = AS_OPT_INT,
      .flags = AS_OPT_REQUIRED,
      .min = 0,
      .max = 1000,
      .help = "least instances that serve, whatever the metrics say" },
    { .name = "max",
      .type = AS_OPT_INT,
      .flags = AS_OPT_REQUIRED,
      .min = 1,
      .max = 1000,
      .help = "most instances that may exist at any moment, those that fail or leave included" },
    { .name = "compute",
      .type = AS_OPT_GROUP,
      .flags = AS_OPT_REQUIRED,
      .help = "what an instance is and where it runs" },
    { .name = "balancer",
      .type = AS_OPT_GROUP,
      .help = "what routes to the instances; without it nothing does" },
    { .name = "health",
      .type = AS_OPT_GROUP,
      .def = "{}",
      .sub = schema_health,
      .help = "when an instance counts as healthy; when unset, a TCP connection if there is a balancer, and "
              "whatever runs if there is none" },
    { .name = "policies", .type = AS_OPT_STRINGS, .help = "names of the policies that size the group" },
    { .name = "shadow",
      .type = AS_OPT_STRINGS,
      .help = "names of policies that are evaluated beside them without acting: what each would have cost "
              "and missed "
              "is shown by status and explain" },
    { .name = "scale_out",
      .type = AS_OPT_GROUP,
      .def = "{}",
      .sub = schema_scale_out,
      .help = "how growth is damped" },
    { .name = "scale_in",
      .type = AS_OPT_GROUP,
      .def = "{}",
      .sub = schema_scale_in,
      .help = "how shrinking is damped" },
    { .name = "pause",
      .type = AS_OPT_STRING,
      .help = "leave the size where it is, whatever the policies say, and show this text as the reason; min "
              "and max "
              "go on to hold, and instances that die are replaced" },
    { .name = "lead",
      .type = AS_OPT_DURATION,
      .def = "30s",
      .min = 0,
      .max = DAY(1),
      .help = "first guess of the time from a decision to a serving instance, used until it was measured" },
    { 0 },
};

const struct schema_block schema_blocks[] = {
    { "controller", "The controller itself.", schema_controller },
    { "sources.NAME", "What measures. Beside these options stand those of the driver.", schema_source },
    { "groups.NAME", "A group of equal instances that is sized as one.", schema_group },
    { "groups.NAME.compute", "What an instance is. Beside these options stand those of the driver.",
      schema_compute },
    { "groups.NAME.health", "The controller's own health check.", schema_health },
    { "groups.NAME.balancer", "What routes. Beside these options stand those of the driver.",
      schema_balancer },
    { "groups.NAME.scale_out", "Damping of growth.", schema_scale_out },
    { "groups.NAME.scale_in", "Damping of shrinking.", schema_scale_in },
    { "policies.NAME", "How a group is sized. Beside this option stand those of the type.", schema_policy },
    { 0 },
};

const char *const schema_top_level[] = { "controller", "sources", "groups", "policies", "policy_dir", NULL };
