/* autoscale policies: the policy types and their options, from the option tables. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "../config/problems.h"
#include "commands.h"
#include "tables.h"

static const char usage[] = "usage: autoscale policies [NAME] [--json | --man]\n"
                            "\n"
                            "Lists the policy types of this program; with a NAME, its options.\n"
                            "\n"
                            "      --json  as JSON, complete\n"
                            "      --man   as a fragment of the manual page autoscale.conf(5)\n"
                            "  -h, --help  this text\n"
                            "\n"
                            "Exit status: 0, 1 no such policy type or wrong usage.\n";

static const struct as_policy_type *find(const char *name)
{
    struct suggestion near = { .wrong = name };
    char hint[128];
    for (const struct as_policy_type *const *t = as_policy_types; *t; t++) {
        if (strcmp((*t)->name, name) == 0)
            return *t;
        suggest_try(&near, (*t)->name);
    }
    fprintf(stderr, "autoscale policies: no policy type is called '%s'%s\n", name,
            near.best ? suggest_text(&near, hint, sizeof hint) : ": autoscale policies lists them");
    return NULL;
}

static void print_overview(void)
{
    int width = 0;
    for (const struct as_policy_type *const *t = as_policy_types; *t; t++)
        width = (int)strlen((*t)->name) > width ? (int)strlen((*t)->name) : width;
    for (const struct as_policy_type *const *t = as_policy_types; *t; t++)
        printf("%-*s  %s\n", width, (*t)->name, (*t)->summary);
}

static void print_type(const struct as_policy_type *t)
{
    printf("policy %s: %s\n\n  Options in policies.NAME:\n", t->name, t->summary);
    tables_text(stdout, t->options, 4);
}

static void man_type(const struct as_policy_type *t)
{
    printf(".SS \"policy type %s\"\n", t->name);
    tables_man_sentence(stdout, t->summary);
    tables_man(stdout, t->options);
}

static bool type_json(cJSON *all, const struct as_policy_type *t)
{
    cJSON *item = cJSON_CreateObject(), *options = tables_json(t->options);
    bool ok = item && options && cJSON_AddStringToObject(item, "name", t->name) &&
              cJSON_AddStringToObject(item, "summary", t->summary);
    if (ok && (ok = cJSON_AddItemToObject(item, "options", options)))
        options = NULL;
    ok = ok && cJSON_AddItemToArray(all, item);
    if (!ok)
        cJSON_Delete(item);
    cJSON_Delete(options);
    return ok;
}

static int print_json(const struct as_policy_type *only)
{
    cJSON *root = cJSON_CreateArray();
    bool ok = root != NULL;
    for (const struct as_policy_type *const *t = as_policy_types; ok && *t; t++)
        if (!only || *t == only)
            ok = type_json(root, *t);
    if (!ok) {
        cJSON_Delete(root);
        root = NULL;
    }
    return tables_print_json(root);
}

int command_policies(int argc, char **argv)
{
    static const struct option options[] = {
        { "json", no_argument, NULL, 'j' },
        { "man", no_argument, NULL, 'm' },
        { "help", no_argument, NULL, 'h' },
        { 0 },
    };
    const struct as_policy_type *only = NULL;
    int opt, form = 't';
    optind = 1;
    while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (opt == '?')
            return usage_hint("policies");
        if (opt == 'h') {
            fputs(usage, stdout);
            return 0;
        }
        form = opt;
    }
    if (usage_no_operands("policies", argc, argv, 1) != 0)
        return 1;
    if (optind < argc && (only = find(argv[optind])) == NULL)
        return 1;
    if (form == 'j')
        return print_json(only);
    if (form == 't' && !only)
        print_overview();
    for (const struct as_policy_type *const *t = as_policy_types; *t; t++)
        if (only ? *t == only : form == 'm')
            (form == 'm' ? man_type : print_type)(*t);
    return fflush(stdout) != 0;
}
