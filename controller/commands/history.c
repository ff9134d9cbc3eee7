/* autoscale history: what happened, from the running daemon, or from the journal when none runs. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "../runtime/history.h"
#include "ask.h"
#include "commands.h"
#include "tables.h"

static const char usage[] =
    "usage: autoscale history [-g GROUP] [--since TIME] [-n COUNT] [-c FILE | --socket PATH] [--json]\n"
    "       autoscale history --metric NAME [--since TIME] [-c FILE]\n"
    "\n"
    "Shows what happened, oldest first: sizes, instances' lives, failures, reloads, starts and stops.\n"
    "Without a running daemon the journal is read.\n"
    "\n"
    "  -g, --group GROUP  only this group\n"
    "      --since TIME   \"10m\" or \"2h\" ago, \"2026-11-27T20:00:00Z\", or \"2026-11-27 20:00\" (local "
    "time)\n"
    "  -n, --limit COUNT  at most so many events and decisions, the newest (default 50)\n"
    "  -c, --config FILE  configuration (default " COMMANDS_CONFIG_FILE ")\n"
    "      --socket PATH  the daemon's socket\n"
    "      --json         complete, with decisions and their inputs\n"
    "      --metric NAME  instead: what was measured, its mean by the minute, as CSV from the journal; a "
    "trace for\n"
    "                     `autoscale simulate`\n"
    "  -h, --help         this text\n"
    "\n"
    "Exit status: 0, 1 when there is nothing to ask.\n";

static void print_events(const struct ask *a, const cJSON *h)
{
    const cJSON *events = cJSON_GetObjectItemCaseSensitive(h, "events");
    if (cJSON_GetArraySize(events) == 0)
        fprintf(stderr, "autoscale history: nothing is recorded%s%s%s\n", a->group ? " of group " : "",
                a->group ? a->group : "", a->since ? " since then" : "");
    for (int k = cJSON_GetArraySize(events) - 1; k >= 0; k--) {
        const cJSON *e = cJSON_GetArrayItem(events, k);
        const char *who = *answer_str(e, "instance") ? answer_str(e, "instance") : answer_str(e, "group");
        printf("%s  %-13s %-22s %s\n", answer_str(e, "time"), answer_str(e, "kind"), *who ? who : "-",
               answer_str(e, "text"));
    }
}

/* No daemon: the journal itself. */
static cJSON *read_journal(struct ask *a, int64_t since)
{
    struct as_error err = { 0 };
    struct journal *j = ask_journal(a);
    cJSON *h = j ? history_json(j, a->group, since, a->limit, &err) : NULL;
    if (j && !h)
        fprintf(stderr, "autoscale history: %s\n", err.msg);
    journal_close(j);
    return h;
}

static int print_sample(void *arg, const struct journal_sample *s)
{
    time_t at = (time_t)(s->wall / 1000);
    struct tm tm;
    char text[32];
    if (!*(bool *)arg)
        printf("time,%s\n", s->metric);
    *(bool *)arg = true;
    gmtime_r(&at, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return printf("%s,%.10g\n", text, s->mean) < 0; /* nobody reads on */
}

static int say_metric(void *arg, const char *name)
{
    int *n = arg;
    fprintf(stderr, "%s%s", ++*n == 1 ? "; it has " : ", ", name);
    return 0;
}

/* Months of minutes: from the journal itself, whether a daemon writes to it or not. */
static int print_samples(struct ask *a, int64_t since)
{
    struct as_error err = { 0 };
    struct journal *j = ask_journal(a);
    bool any = false;
    int n = 0, rc = j ? journal_each_sample(j, a->metric, since, print_sample, &any, &err) : AS_OK;
    if (rc != AS_OK)
        fprintf(stderr, "autoscale history: %s\n", err.msg);
    if (j && rc == AS_OK && !any) {
        fprintf(stderr, "autoscale history: nothing is recorded of %s%s", a->metric,
                a->since ? " since then" : "");
        journal_each_metric(j, say_metric, &n, NULL);
        fputc('\n', stderr);
    }
    journal_close(j);
    return any && rc == AS_OK && fflush(stdout) == 0 ? 0 : 1;
}

int command_history(int argc, char **argv)
{
    struct ask a = { .command = "history", .usage = usage, .extra = "sgnm", .limit = 50 };
    char path[ASK_NAME + 80], name[ASK_NAME];
    bool printed = false;
    int64_t since = 0;
    int rc = ask_options(&a, argc, argv);
    if (rc >= 0)
        return rc;
    if (a.since && (since = ask_time(&a, a.since)) < 0)
        return 1;
    if (a.metric && (a.json || a.group))
        return usage_wrong(a.command,
                           "--metric prints CSV of the whole platform: without --json and --group");
    if (a.metric)
        return print_samples(&a, since);
    snprintf(path, sizeof path, "/history?group=%s&since=%" PRId64 "&limit=%d",
             ask_name(a.group ? a.group : "", name), since, a.limit);
    bool live = a.socket || ask_listens(&a);
    cJSON *h = live ? ask_daemon(&a, "GET", path, &printed) : read_journal(&a, since);
    if (!h)
        return 1;
    if (a.json && !printed)
        return tables_print_json(h);
    if (!printed)
        print_events(&a, h);
    cJSON_Delete(h);
    return 0;
}
