/* config_load: the main file, the files of policy_dir, and the order in which sections are read (sources
 * before policies, which name their metrics; policies before groups, which name them). Must never
 * hand out a configuration with an error in it, and must never stop at the first one. */
#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "loader.h"
#include "scan.h"
#include "schema.h"

#define POLICY_FILES_MAX 500

void config_free(struct cfg *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->group_count; i++)
        config_group_fini(&c->groups[i]);
    for (size_t i = 0; i < c->policy_count; i++)
        config_policy_fini(&c->policies[i]);
    for (size_t i = 0; i < c->source_count; i++)
        config_source_fini(&c->sources[i]);
    for (size_t i = 0; i < c->file_count; i++)
        free(c->files[i]);
    free(c->groups);
    free(c->policies);
    free(c->sources);
    free(c->files);
    as_settings_free(c->controller);
    free(c->state);
    free(c->socket);
    free(c);
}

/* --- controller ---------------------------------------------------------------------------------- */

static int take_controller(struct cfg *c, const struct as_settings *s)
{
    c->interval = as_settings_ms(s, "interval");
    c->retention = as_settings_ms(s, "retention");
    snprintf(c->name, sizeof c->name, "%s", as_settings_str(s, "name"));
    snprintf(c->log_level, sizeof c->log_level, "%s", as_settings_str(s, "log_level"));
    c->state = strdup(as_settings_str(s, "state"));
    c->socket = strdup(as_settings_str(s, "socket"));
    return c->state && c->socket ? AS_OK : AS_ENOMEM;
}

/* Without the block every option has its default: an empty one is read in its place. */
static int controller_load(struct loader *l, config_setting_t *root)
{
    struct as_settings *parts[2] = { NULL, NULL };
    const struct as_option *const tables[2] = { schema_controller, NULL };
    config_setting_t *node = config_setting_get_member(root, "controller");
    if (!node)
        node = config_setting_add(root, "controller", CONFIG_TYPE_GROUP);
    if (!node)
        return AS_ENOMEM;
    if (!config_setting_is_group(node)) {
        block_error(l, node, "controller: wants a block, as { … }");
        return AS_OK;
    }
    int rc = block_read(l, node, "controller: ", tables, parts);
    if (rc == AS_ENOMEM)
        return rc;
    const struct as_settings *s = parts[0];
    if (!block_name_legal(as_settings_str(s, "name"))) {
        int line = settings_line(s, "name");
        problems_error(
            l->problems, settings_file(s, line), line,
            "controller: name: \"%.63s\" must be at most 48 lower case letters, digits and dashes, and "
            "begin with a letter",
            as_settings_str(s, "name"));
    }
    if (strlen(as_settings_str(s, "socket")) >= sizeof((struct sockaddr_un *)NULL)->sun_path) {
        int line = settings_line(s, "socket");
        problems_error(l->problems, settings_file(s, line), line,
                       "controller: socket: the path of a Unix socket has at most %zu bytes",
                       sizeof((struct sockaddr_un *)NULL)->sun_path - 1);
    }
    l->cfg->controller = parts[0];
    return take_controller(l->cfg, s);
}

static const char *default_socket(void)
{
    const struct as_option *o = schema_controller;
    while (strcmp(o->name, "socket") != 0)
        o++;
    return o->def;
}

/* libconfig keeps what it had read before a syntax error, and the controller's block stands mostly at the top. */
void config_socket(const char *path, char *out, size_t size)
{
    config_t parsed;
    struct stat st;
    const char *found = NULL;
    config_init(&parsed);
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= CONFIG_FILE_MAX)
        config_read_file(&parsed, path);
    config_lookup_string(&parsed, "controller.socket", &found);
    snprintf(out, size, "%s", found && *found ? found : default_socket());
    config_destroy(&parsed);
}

/* --- the top level ------------------------------------------------------------------------------- */

/* Names that may stand at the top of a file: all, or `only` that one. */
static void check_keys(struct loader *l, const config_setting_t *root, const char *only)
{
    for (int i = 0; i < config_setting_length(root); i++) {
        const config_setting_t *node = config_setting_get_elem(root, (unsigned)i);
        const char *name = config_setting_name(node);
        char hint[96];
        struct suggestion near = { .wrong = name };
        bool known = false;
        for (const char *const *key = schema_top_level; *key; key++) {
            known = known || strcmp(*key, name) == 0;
            suggest_try(&near, *key);
        }
        if (known && only && strcmp(only, name) != 0)
            block_error(l, node, "'%s' belongs in the main file: a file of policy_dir holds only '%s'", name,
                        only);
        else if (!known)
            block_error(l, node, "unknown key '%.63s'%s", name, suggest_text(&near, hint, sizeof hint));
    }
}

/* The block of this name, or NULL: absent, or not a block (a problem). */
static const config_setting_t *section(struct loader *l, const config_setting_t *root, const char *name)
{
    const config_setting_t *node = config_setting_get_member(root, name);
    if (!node || config_setting_is_group(node))
        return node;
    block_error(l, node, "%s: wants a block, as { name = { … }; }", name);
    return NULL;
}

/* --- policy_dir ---------------------------------------------------------------------------------- */

static int is_policy_file(const struct dirent *e)
{
    size_t length = strlen(e->d_name);
    return e->d_name[0] != '.' && length > 5 && strcmp(e->d_name + length - 5, ".conf") == 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int policy_file(struct loader *l, const char *path)
{
    config_t parsed;
    int rc = files_parse(l, path, &parsed);
    if (rc == AS_OK) {
        check_keys(l, config_root_setting(&parsed), "policies");
        rc = config_load_policies(l, section(l, config_root_setting(&parsed), "policies"));
    }
    config_destroy(&parsed);
    return rc == AS_ENOMEM ? rc : AS_OK;
}

static int policy_files(struct loader *l, const config_setting_t *node, const char *dir)
{
    struct dirent **entries = NULL;
    int count = scandir(dir, &entries, is_policy_file, by_name);
    int rc = AS_OK;
    if (count < 0) {
        block_error(l, node, "policy_dir: %s cannot be read: %s", dir, strerror(errno));
        return AS_OK;
    }
    if (count > POLICY_FILES_MAX)
        block_error(l, node, "policy_dir: %s holds %d files, at most %d are read", dir, count,
                    POLICY_FILES_MAX);
    for (int i = 0; i < count; i++) {
        char *path = NULL;
        if (rc == AS_OK && i < POLICY_FILES_MAX)
            rc = asprintf(&path, "%s/%s", dir, entries[i]->d_name) < 0 ? AS_ENOMEM : policy_file(l, path);
        free(path);
        free(entries[i]);
    }
    free(entries);
    return rc;
}

static int policy_dir_load(struct loader *l, const config_setting_t *root)
{
    const config_setting_t *node = config_setting_get_member(root, "policy_dir");
    if (!node)
        return AS_OK;
    if (config_setting_type(node) != CONFIG_TYPE_STRING || !node->value.sval || !*node->value.sval) {
        block_error(l, node, "policy_dir: wants the path of a directory in double quotes");
        return AS_OK;
    }
    char *dir = files_path(l, node->value.sval);
    const char *main_file = l->file;
    int rc = dir ? policy_files(l, node, dir) : AS_ENOMEM;
    l->file = main_file;
    free(dir);
    return rc;
}

/* --- the whole ----------------------------------------------------------------------------------- */

static int load_sections(struct loader *l, config_setting_t *root)
{
    check_keys(l, root, NULL);
    int rc = controller_load(l, root);
    if (rc == AS_OK)
        rc = config_load_sources(l, section(l, root, "sources"));
    if (rc == AS_OK)
        rc = config_load_policies(l, section(l, root, "policies"));
    if (rc == AS_OK)
        rc = policy_dir_load(l, root);
    const config_setting_t *groups = section(l, root, "groups");
    if (rc == AS_OK)
        rc = config_load_groups(l, groups);
    bool empty = !groups || config_setting_length(groups) == 0;
    if (rc == AS_OK && empty && l->problems->errors == 0)
        problems_error(l->problems, l->file, 0, "there is no group: add groups = { web = { … }; };");
    return rc;
}

static int load_main(struct loader *l, const char *path)
{
    config_t parsed;
    int rc = files_parse(l, path, &parsed);
    if (rc == AS_OK)
        rc = load_sections(l, config_root_setting(&parsed));
    config_destroy(&parsed);
    if (l->failed)
        rc = AS_ENOMEM;
    return rc;
}

int config_load(const char *path, const struct as_registry *registry, struct cfg **out,
                struct cfg_problems *problems)
{
    struct loader l = { .problems = problems };
    char *copy = strdup(path);
    int rc = AS_ENOMEM;
    l.cfg = calloc(1, sizeof *l.cfg);
    l.dir = copy ? strdup(dirname(copy)) : NULL;
    if (l.cfg && l.dir) {
        l.cfg->registry = registry;
        rc = load_main(&l, path);
    }
    if (rc == AS_ENOMEM)
        problems_error(problems, path, 0, "out of memory");
    if (rc == AS_OK && problems->errors)
        rc = AS_EINVAL;
    if (rc == AS_OK)
        config_lint(l.cfg, problems);
    if (l.cfg)
        problems_sort(problems, l.cfg->files, l.cfg->file_count);
    if (rc == AS_OK)
        *out = l.cfg;
    else
        config_free(l.cfg);
    free(l.dir);
    free(copy);
    return rc == AS_OK || rc == AS_EIO ? rc : AS_EINVAL;
}
