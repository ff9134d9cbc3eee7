/* autoscale drivers: what can measure, provision and route, from the option tables. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "../config/problems.h"
#include "../config/schema.h"
#include "commands.h"
#include "tables.h"

static const char usage[] = "usage: autoscale drivers [NAME] [--json | --man]\n"
                            "       autoscale drivers --man-blocks\n"
                            "\n"
                            "Lists the drivers of this program; with a NAME, its options and series.\n"
                            "\n"
                            "      --json        as JSON, complete\n"
                            "      --man         as a fragment of the manual page autoscale.conf(5)\n"
                            "      --man-blocks  the same for the blocks every configuration has\n"
                            "  -h, --help        this text\n"
                            "\n"
                            "Exit status: 0, 1 no such driver or wrong usage.\n";

/* The three kinds of drivers, seen alike. */
struct driver {
    const char *kind, *block; /* "source", the block it stands in */
    const char *name, *summary, *endpoints;
    const struct as_option *options;
    const struct as_series_doc *series;
    const char *user_series;
    bool has_objects;
};

#define DRIVERS_MAX 128

static size_t collect(struct driver all[DRIVERS_MAX])
{
    const struct as_registry *r = &tables_registry;
    size_t n = 0;
    for (size_t i = 0; r->sources[i] && n < DRIVERS_MAX; i++, n++) {
        const struct as_source_driver *d = r->sources[i];
        all[n] = (struct driver){ "source",   "sources.NAME", d->name,        d->summary,    d->endpoints,
                                  d->options, d->series,      d->user_series, d->has_objects };
    }
    for (size_t i = 0; r->computes[i] && n < DRIVERS_MAX; i++, n++) {
        const struct as_compute_driver *d = r->computes[i];
        all[n] = (struct driver){ .kind = "compute",
                                  .block = "groups.NAME.compute",
                                  .name = d->name,
                                  .summary = d->summary,
                                  .endpoints = d->endpoints,
                                  .options = d->options };
    }
    for (size_t i = 0; r->balancers[i] && n < DRIVERS_MAX; i++, n++) {
        const struct as_balancer_driver *d = r->balancers[i];
        all[n] = (struct driver){ .kind = "balancer",
                                  .block = "groups.NAME.balancer",
                                  .name = d->name,
                                  .summary = d->summary,
                                  .endpoints = d->endpoints,
                                  .options = d->options };
    }
    return n;
}

/* --- text ---------------------------------------------------------------------------------------- */

static void print_overview(const struct driver *all, size_t count)
{
    int width = 0;
    for (size_t i = 0; i < count; i++)
        width = (int)strlen(all[i].name) > width ? (int)strlen(all[i].name) : width;
    for (size_t i = 0; i < count; i++)
        printf("%-8s  %-*s  %s\n", all[i].kind, width, all[i].name, all[i].summary);
}

static void print_series(const struct driver *d)
{
    int name = 0, unit = 0;
    for (const struct as_series_doc *s = d->series; s && s->name; s++) {
        name = (int)strlen(s->name) > name ? (int)strlen(s->name) : name;
        unit = (int)strlen(s->unit) > unit ? (int)strlen(s->unit) : unit;
    }
    if (d->series && d->series->name)
        printf("\n  Series, as \"NAME.%sSERIES\" in a metric:\n", d->has_objects ? "OBJECT." : "");
    for (const struct as_series_doc *s = d->series; s && s->name; s++)
        printf("    %-*s  %-*s  %s\n", name, s->name, unit, s->unit, s->help);
    if (d->user_series)
        printf("\n  Further series: the names in %s.\n", d->user_series);
}

static void print_driver(const struct driver *d)
{
    printf("%s %s: %s\n\n  Options in %s:\n", d->kind, d->name, d->summary, d->block);
    tables_text(stdout, d->options, 4);
    print_series(d);
}

/* --- manual page --------------------------------------------------------------------------------- */

static void man_driver(const struct driver *d)
{
    printf(".SS \"%s driver %s\"\n", d->kind, d->name);
    tables_man_sentence(stdout, d->summary);
    tables_man(stdout, d->options);
    if (d->series && d->series->name)
        printf(".PP\nSeries, as \\(dqNAME.%sSERIES\\(dq in a metric:\n", d->has_objects ? "OBJECT." : "");
    for (const struct as_series_doc *s = d->series; s && s->name; s++) {
        fputs(".TP\n\\fB", stdout);
        tables_man_word(stdout, s->name);
        fputs("\\fR (", stdout);
        tables_man_word(stdout, s->unit);
        fputs(")\n", stdout);
        tables_man_sentence(stdout, s->help);
    }
    if (d->user_series) {
        printf(".PP\nFurther series are the names in ");
        tables_man_word(stdout, d->user_series);
        printf(".\n");
    }
}

#define BLOCK_OPTIONS 64

/* The options of a block; blocks in it have a section of their own, and are not told twice. */
static void man_flat(const struct as_option *options)
{
    struct as_option flat[BLOCK_OPTIONS + 1] = { 0 };
    for (size_t i = 0; options[i].name && i < BLOCK_OPTIONS; i++) {
        flat[i] = options[i];
        flat[i].sub = NULL;
    }
    tables_man(stdout, flat);
}

static void man_blocks(void)
{
    for (const struct schema_block *b = schema_blocks; b->title; b++) {
        printf(".SS \"%s\"\n%s\n", b->title, b->summary);
        man_flat(b->options);
    }
}

/* --- JSON ---------------------------------------------------------------------------------------- */

static bool add_series(cJSON *item, const struct driver *d)
{
    cJSON *all = cJSON_AddArrayToObject(item, "series");
    bool ok = all != NULL;
    for (const struct as_series_doc *s = d->series; ok && s && s->name; s++) {
        cJSON *one = cJSON_CreateObject();
        ok = one && cJSON_AddStringToObject(one, "name", s->name) &&
             cJSON_AddStringToObject(one, "unit", s->unit) && cJSON_AddStringToObject(one, "help", s->help) &&
             cJSON_AddItemToArray(all, one);
        if (!ok)
            cJSON_Delete(one);
    }
    if (ok && d->user_series)
        ok = cJSON_AddStringToObject(item, "series_from", d->user_series) != NULL;
    return ok && cJSON_AddBoolToObject(item, "has_objects", d->has_objects);
}

static bool driver_json(cJSON *all, const struct driver *d)
{
    cJSON *item = cJSON_CreateObject(), *options = tables_json(d->options);
    bool ok = item && options && cJSON_AddStringToObject(item, "kind", d->kind) &&
              cJSON_AddStringToObject(item, "name", d->name) &&
              cJSON_AddStringToObject(item, "summary", d->summary) &&
              (d->endpoints ? cJSON_AddStringToObject(item, "endpoints", d->endpoints)
                            : cJSON_AddNullToObject(item, "endpoints"));
    if (ok && (ok = cJSON_AddItemToObject(item, "options", options)))
        options = NULL;
    if (ok && strcmp(d->kind, "source") == 0)
        ok = add_series(item, d);
    ok = ok && cJSON_AddItemToArray(all, item);
    if (!ok)
        cJSON_Delete(item);
    cJSON_Delete(options);
    return ok;
}

static int print_json(const struct driver *all, size_t count)
{
    cJSON *root = cJSON_CreateArray();
    bool ok = root != NULL;
    for (size_t i = 0; ok && i < count; i++)
        ok = driver_json(root, &all[i]);
    if (!ok) {
        cJSON_Delete(root);
        root = NULL;
    }
    return tables_print_json(root);
}

/* --- the command --------------------------------------------------------------------------------- */

/* Keeps the drivers of this name (a source and a balancer may share one). */
static size_t only_named(struct driver *all, size_t count, const char *name)
{
    struct suggestion near = { .wrong = name };
    char hint[128];
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        suggest_try(&near, all[i].name);
        if (strcmp(all[i].name, name) == 0)
            all[kept++] = all[i];
    }
    if (!kept)
        fprintf(stderr, "autoscale drivers: no driver is called '%s'%s\n", name,
                near.best ? suggest_text(&near, hint, sizeof hint) : ": autoscale drivers lists them");
    return kept;
}

int command_drivers(int argc, char **argv)
{
    static const struct option options[] = {
        { "json", no_argument, NULL, 'j' },
        { "man", no_argument, NULL, 'm' },
        { "man-blocks", no_argument, NULL, 'b' },
        { "help", no_argument, NULL, 'h' },
        { 0 },
    };
    struct driver all[DRIVERS_MAX];
    int opt, form = 't';
    optind = 1;
    while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (opt == '?')
            return usage_hint("drivers");
        if (opt == 'h') {
            fputs(usage, stdout);
            return 0;
        }
        form = opt;
    }
    if (usage_no_operands("drivers", argc, argv, 1) != 0)
        return 1;
    size_t count = collect(all);
    if (optind < argc && (count = only_named(all, count, argv[optind])) == 0)
        return 1;
    if (form == 'j')
        return print_json(all, count);
    if (form == 'b')
        man_blocks();
    else if (form == 't' && optind == argc)
        print_overview(all, count);
    else
        for (size_t i = 0; i < count; i++) {
            if (form == 't' && i)
                printf("\n");
            (form == 'm' ? man_driver : print_driver)(&all[i]);
        }
    return fflush(stdout) != 0;
}
