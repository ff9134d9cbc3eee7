/* The parts of config_load. Every part reads its blocks, adds its problems and goes on; only running
 * out of memory stops the reading (AS_ENOMEM). A broken entry stays in its array, so that names which refer to it are
 * not reported a second time; the whole configuration is thrown away at the end. */
#ifndef CONFIG_LOADER_H
#define CONFIG_LOADER_H

#include "config.h"
#include "schema.h"
#include "settings_internal.h"

#define WHERE_MAX 192

struct loader {
    struct cfg *cfg;
    struct cfg_problems *problems;
    char *dir;        /* of the main file: what relative names are relative to */
    const char *file; /* now read; one of cfg->files */
    size_t includes;  /* @include lines followed */
    bool failed;      /* out of memory in a callback */
};

/* --- files.c ----------------------------------------------------------------------------------- */

/* Reads and parses a file into *out (initialised here, destroy it in any case) and sets l->file. AS_OK, AS_EIO
 * (cannot be read), AS_EINVAL or AS_ENOMEM; the problem is added, at `from`:`line` when the file is
 * named there, else at the file itself. */
int files_parse(struct loader *l, const char *path, config_t *out);
/* "DIR/name" of a name as it stands in the main file, owned by the caller; NULL: out of memory. */
char *files_path(const struct loader *l, const char *name);
/* The lasting name for what libconfig calls `included` (NULL: the file being read). */
const char *files_name(void *loader, const char *included);

/* --- block.c ----------------------------------------------------------------------------------- */

struct cfg_place block_place(struct loader *l, const config_setting_t *node);
__attribute__((format(printf, 3, 4))) void block_error(struct loader *l, const config_setting_t *node,
                                                       const char *fmt, ...);
/* Is it a block with a legal name? Adds what is wrong. `kind` is "source", "group", ... */
bool block_named(struct loader *l, const config_setting_t *node, const char *kind);
/* The names of groups and controllers, which become part of host and object names. */
bool block_name_legal(const char *name);
/* What may be chosen by name: drivers, policy types. */
#define CHOICE_MAX 64
struct block_choice {
    const char *key, *what; /* "driver", "source driver" */
    const char *names[CHOICE_MAX];
    size_t count;
};
/* Index of the name that stands under the key, or -1 after adding what is wrong. */
int block_pick(struct loader *l, const config_setting_t *node, const char *where, const struct block_choice *from);
/* Reads a block against the common table and the driver's (NULL: none). outs[0], outs[1] are the caller's. */
int block_read(struct loader *l, const config_setting_t *node, const char *where,
               const struct as_option *const tables[2], struct as_settings *outs[2]);
/* Adds the error of a driver's open or a policy's init at its place. */
void block_refused(struct loader *l, const struct as_settings *s, const char *where, const struct as_error *err);
/* The endpoints of the option `name` (NULL: the one called `alone`); items borrowed from s. */
int block_endpoints(struct loader *l, const struct as_settings *s, const char *where, const char *name,
                    const char *alone, const char ***out, size_t *count);
/* ": did you mean 'x'?" or " (there are: a, b, c)" into buf. */
const char *block_hint(const char *wrong, const char *const *names, size_t count, char *buf, size_t size);

/* --- the sections ------------------------------------------------------------------------------- */

int config_load_sources(struct loader *l, const config_setting_t *sources);
int config_load_policies(struct loader *l, const config_setting_t *policies);
int config_load_groups(struct loader *l, const config_setting_t *groups);
int config_load_compute(struct loader *l, struct cfg_group *g, const config_setting_t *node);
/* Without the block: what is left of one that was taken away goes by the defaults. */
int config_no_balancer(struct cfg_group *g);
int config_load_balancer(struct loader *l, struct cfg_group *g, const config_setting_t *node);

/* Frees what a section owns; accepts half-built ones. */
void config_source_fini(struct cfg_source *s);
void config_policy_fini(struct cfg_policy *p);
void config_group_fini(struct cfg_group *g);

/* Adds warnings about a configuration that has no errors. */
void config_lint(const struct cfg *c, struct cfg_problems *problems);

#endif
