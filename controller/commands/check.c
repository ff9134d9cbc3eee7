/* autoscale check: reads the configuration and says everything that is wrong with it. Must never
 * connect to anything or change anything. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "../config/config.h"
#include "commands.h"
#include "tables.h"

static const char usage[] =
    "usage: autoscale check [-c FILE] [--json]\n"
    "\n"
    "Reads the configuration without connecting to anything and reports every problem with file and line.\n"
    "\n"
    "  -c, --config FILE  configuration (default " COMMANDS_CONFIG_FILE ")\n"
    "      --json         problems as JSON\n"
    "  -h, --help         this text\n"
    "\n"
    "Exit status: 0 no errors (there may be warnings), 1 errors or wrong usage.\n";

static int count_text(char *buf, size_t size, size_t count, const char *one, const char *many)
{
    return snprintf(buf, size, "%zu %s", count, count == 1 ? one : many);
}

static void print_ok(const char *path, const struct cfg *c, size_t warnings)
{
    char groups[40], sources[40], policies[40], notes[40];
    count_text(groups, sizeof groups, c->group_count, "group", "groups");
    count_text(sources, sizeof sources, c->source_count, "source", "sources");
    count_text(policies, sizeof policies, c->policy_count, "policy", "policies");
    count_text(notes, sizeof notes, warnings, "warning", "warnings");
    printf("%s: ok: %s, %s, %s", path, groups, sources, policies);
    printf(warnings ? " (%s)\n" : "\n", notes);
}

static void print_problems(const struct cfg_problems *p, size_t warnings)
{
    char text[sizeof(struct cfg_problem) + 64];
    for (size_t i = 0; i < p->count; i++)
        fprintf(stderr, "%s\n", config_problem_text(&p->items[i], text, sizeof text));
    if (p->errors + warnings > p->count)
        fprintf(stderr, "autoscale: %zu more problems are not shown\n", p->errors + warnings - p->count);
}

static bool add_problem(cJSON *all, const struct cfg_problem *p)
{
    cJSON *item = cJSON_CreateObject();
    bool ok = item && cJSON_AddStringToObject(item, "file", p->file) &&
              cJSON_AddNumberToObject(item, "line", p->line) &&
              cJSON_AddStringToObject(item, "severity", p->warning ? "warning" : "error") &&
              cJSON_AddStringToObject(item, "text", p->text) && cJSON_AddItemToArray(all, item);
    if (!ok)
        cJSON_Delete(item);
    return ok;
}

static cJSON *report_json(const char *path, const struct cfg *c, const struct cfg_problems *p,
                          size_t warnings)
{
    cJSON *root = cJSON_CreateObject(), *all = NULL;
    bool ok = root && cJSON_AddStringToObject(root, "file", path) &&
              cJSON_AddBoolToObject(root, "ok", c != NULL) &&
              cJSON_AddNumberToObject(root, "errors", (double)p->errors) &&
              cJSON_AddNumberToObject(root, "warnings", (double)warnings);
    if (ok && c)
        ok = cJSON_AddNumberToObject(root, "groups", (double)c->group_count) &&
             cJSON_AddNumberToObject(root, "sources", (double)c->source_count) &&
             cJSON_AddNumberToObject(root, "policies", (double)c->policy_count);
    if (ok)
        ok = (all = cJSON_AddArrayToObject(root, "problems")) != NULL;
    for (size_t i = 0; ok && i < p->count; i++)
        ok = add_problem(all, &p->items[i]);
    if (ok)
        return root;
    cJSON_Delete(root);
    return NULL;
}

static int check(const char *path, bool json)
{
    struct cfg *c = NULL;
    struct cfg_problems problems = { 0 };
    size_t warnings = 0;
    config_load(path, &tables_registry, &c, &problems);
    for (size_t i = 0; i < problems.count; i++)
        warnings += problems.items[i].warning;
    int rc = c ? 0 : 1;
    if (json) {
        if (tables_print_json(report_json(path, c, &problems, warnings)) != 0)
            rc = 1;
    } else {
        print_problems(&problems, warnings);
        if (c)
            print_ok(path, c, warnings);
    }
    config_free(c);
    config_problems_fini(&problems);
    return rc;
}

int command_check(int argc, char **argv)
{
    static const struct option options[] = {
        { "config", required_argument, NULL, 'c' },
        { "json", no_argument, NULL, 'j' },
        { "help", no_argument, NULL, 'h' },
        { 0 },
    };
    const char *path = COMMANDS_CONFIG_FILE;
    bool json = false;
    int opt;
    optind = 1;
    while ((opt = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        switch (opt) {
        case 'c': path = optarg; break;
        case 'j': json = true; break;
        case 'h': fputs(usage, stdout); return 0;
        default: return usage_hint("check");
        }
    }
    if (optind < argc)
        return usage_wrong("check", "'%s' is too much: the file is named with -c", argv[optind]);
    return check(path, json);
}
