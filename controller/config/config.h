/* The configuration: plain structs, immutable once loaded, apart from every run-time struct.
 *
 * config_load reads the file and every *.conf of its policy_dir, strictly, and collects *all* problems
 * before it refuses. Nothing here connects to anything. */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include "autoscale/registry.h"

#define CFG_REVISION_MAX AS_REVISION_MAX

struct cfg_place { /* where a block begins */
    const char *file;
    int line;
};

struct cfg_source {
    char name[AS_NAME_MAX];
    const struct as_source_driver *driver;
    struct as_settings *settings; /* the driver's own options */
    as_time interval;             /* between polls; default the controller's */
    as_time timeout;              /* of one poll; default 2s */
    as_time max_age;              /* older samples are stale; default 3 * interval + timeout */
    struct cfg_place at;
    char *canon; /* canonical text of the whole block: equal text, equal source */
};

struct cfg_policy {
    char name[AS_NAME_MAX];
    const struct as_policy_type *type;
    struct as_settings *settings;
    struct cfg_place at;
    char *canon;
};

struct cfg_rate {      /* scale_out, scale_in */
    as_time window;    /* stabilisation; default out 0s, in 60s */
    as_time cooldown;  /* after a real change in this direction; default out 0s, in 0s */
    as_time period;    /* of the step limits; default 15s */
    int max_step;      /* instances per period, 0: no limit (default) */
    int max_percent;   /* percent of the size at the period's start, 0: no limit (default) */
                       /* both given: the larger allowance holds */
};

enum cfg_health_kind { CFG_HEALTH_RUNNING, CFG_HEALTH_TCP, CFG_HEALTH_HTTP };

struct cfg_health {
    enum cfg_health_kind kind; /* RUNNING: no check of our own: running is healthy */
    char path[256];            /* HTTP */
    int expect;                /* HTTP status, 0: any 2xx */
    as_time interval;          /* default 1s */
    as_time timeout;           /* default 1s */
    as_time boot_timeout;      /* from created to healthy, and from admitted to serving; default 60s */
    int rise, fall;            /* default 2, 3 */
};

enum cfg_park { CFG_PARK_NONE, CFG_PARK_SUSPEND, CFG_PARK_SAVE };

struct cfg_compute {
    const struct as_compute_driver *driver;
    struct as_settings *settings;
    struct as_settings *common; /* the options that every driver has */
    const char **endpoints; /* at least one */
    size_t endpoint_count;
    int launches;           /* parallel launches per host, default 4 */
    int boots;              /* parallel boots per host, those launches among them; 0: not bounded */
    as_time timeout;        /* of a create; default 60s */
    as_time keep_failed;    /* default 0s: destroyed at once */
    enum cfg_park park;     /* default none */
    int standby;            /* parked instances to keep; 0 when park is none */
    char revision[CFG_REVISION_MAX]; /* hash of the template options (not endpoints, limits) */
};

struct cfg_balancer {
    const struct as_balancer_driver *driver; /* NULL: the group has no balancer */
    struct as_settings *settings;
    const char **endpoints;
    size_t endpoint_count;
    as_time drain;          /* deadline of a drain; default 30s */
    as_time timeout;        /* of one call; default 2s */
    bool weigh;             /* weighting = "load" */
    char weigh_source[AS_NAME_MAX]; /* weighting_source: whose cpu_percent it goes by; "": response times */
};

struct cfg_group {
    char name[AS_NAME_MAX];
    int min, max;
    struct cfg_compute compute;
    struct cfg_health health;
    struct cfg_balancer balancer;
    struct cfg_rate out, in;
    char pause[128];      /* why its size is left alone for now; "": it is not */
    as_time lead; /* first guess of the provisioning time, until measured; default 30s */
    const struct cfg_policy **policies; /* borrowed from cfg.policies, in the order given */
    size_t policy_count;
    const struct cfg_policy **shadows; /* evaluated beside them, never acted upon */
    size_t shadow_count;
    struct cfg_place at;
    char *canon;          /* the whole block, the canon of its policies included */
    char *canon_compute;  /* parts, so that reload knows what to rebuild */
    char *canon_balancer;
};

struct cfg {
    struct as_settings *controller; /* the block, for the places of its options */
    char name[AS_NAME_MAX]; /* controller.name: the ownership mark; [a-z0-9-], default "autoscale" */
    as_time interval;       /* default 2s */
    char *state;            /* journal; default /var/lib/autoscale/state.db */
    char *socket;           /* default /run/autoscale.sock */
    as_time retention;      /* default 30d */
    char log_level[8];      /* error warning info debug; default info */
    struct cfg_source *sources;
    size_t source_count;
    struct cfg_policy *policies;
    size_t policy_count;
    struct cfg_group *groups;
    size_t group_count;
    char **files;           /* every file read, the main one first */
    size_t file_count;
    const struct as_registry *registry;
};

struct cfg_problem {
    char file[256];
    int line;      /* 0: about the file as a whole */
    bool warning;  /* a lint: shown by `check`, logged at start, refuses nothing */
    char text[320];
};
struct cfg_problems { /* zero-initialised, freed with config_problems_fini; at most 200 are kept */
    struct cfg_problem *items;
    size_t count, cap, errors;
};

/* AS_OK and *out owned by the caller (config_free); or AS_EINVAL / AS_EIO with *out untouched. In both cases
 * *problems holds what was found, sorted by file and line. Calls the drivers' `open` and the
 * policies' `init` (offline) to validate, and closes them again. */
int config_load(const char *path, const struct as_registry *registry, struct cfg **out,
                struct cfg_problems *problems);
/* Where the daemon's socket is, of a configuration that need not be right: what can be read of it, else the
 * default. */
void config_socket(const char *path, char *out, size_t size);
void config_free(struct cfg *c);
void config_problems_fini(struct cfg_problems *p);
/* "FILE:LINE: error: group 'web': …" into buf; returns buf. */
const char *config_problem_text(const struct cfg_problem *p, char *buf, size_t size);

/* Where an option stands; of none (NULL) or one that was not given, where its block begins. The file is borrowed from the
 * configuration. */
struct cfg_place config_place(const struct as_settings *s, const char *option);

/* The metric "source[.object].series" split into source and the rest. False when malformed. Pure syntax. */
bool config_metric_split(const char *metric, char source[AS_NAME_MAX], char object[AS_NAME_MAX],
                         char series[AS_NAME_MAX]);

/* Is the host one of the group's lost_hosts? */
bool config_host_lost(const struct cfg_group *g, const char *host);

const char *config_park_name(enum cfg_park park);

/* The driver's options of a balancer block as text, for the journal; NULL: out of memory. And back, for a balancer that
 * the configuration does not name any more; *out is the caller's (as_settings_free). */
char *config_balancer_text(const struct cfg_balancer *b);
int config_balancer_recall(const struct as_registry *registry, const char *driver, const char *text,
                           const struct as_balancer_driver **type, struct as_settings **out, struct as_error *err);

/* One line per difference, for the log and `autoscale reload`: "group 'web': max 20 -> 30",
 * "policy 'web-load': per_instance 40 -> 50", "source 'db' added". */
struct cfg_diff {
    char (*lines)[200];
    size_t count, cap;
};
int config_diff(const struct cfg *before, const struct cfg *after, struct cfg_diff *out);
void config_diff_fini(struct cfg_diff *d);

#endif
