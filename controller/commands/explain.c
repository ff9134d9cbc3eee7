/* autoscale explain GROUP: why the group has the size it has, stage by stage, now or at a time in the past. */
#include <inttypes.h>

#include "../runtime/history.h"
#include "ask.h"
#include "commands.h"
#include "tables.h"

static const char usage[] =
    "usage: autoscale explain GROUP [--at TIME] [-c FILE | --socket PATH] [--json]\n"
    "\n"
    "Shows the newest decision about GROUP: what was measured, what each policy proposed, what each stage "
    "made of\n"
    "it, which limit bound it and when it can change. Without a running daemon the journal is read.\n"
    "\n"
    "      --at TIME      the decision in force then: \"10m\" or \"2h\" ago, \"2026-11-27T20:00:00Z\", or\n"
    "                     \"2026-11-27 20:00\" (local time)\n"
    "  -c, --config FILE  configuration (default " COMMANDS_CONFIG_FILE "), for the socket's path\n"
    "      --socket PATH  the daemon's socket\n"
    "      --json         complete, for programs\n"
    "  -h, --help         this text\n"
    "\n"
    "Exit status: 0, 1 no such group or decision, or the daemon cannot be asked.\n";

/* No daemon: what it decided last, or then, from the journal. */
static cJSON *read_journal(struct ask *a, int64_t at)
{
    struct as_error err = { 0 };
    struct journal *j = ask_journal(a);
    cJSON *d = j ? history_decision(j, a->operand, at, a->interval, &err) : NULL;
    if (j && !d)
        fprintf(stderr, "autoscale explain: %s\n", err.msg);
    else if (d)
        fprintf(stderr, "autoscale explain: no daemon answers; from the journal:\n");
    journal_close(j);
    return d;
}

int command_explain(int argc, char **argv)
{
    struct ask a = { .command = "explain", .usage = usage, .extra = "a", .operands_most = 1 };
    char path[ASK_NAME + 64], name[ASK_NAME];
    bool printed = false;
    int64_t at = 0;
    int rc = ask_options(&a, argc, argv);
    if (rc >= 0)
        return rc;
    if (!a.operand)
        return usage_wrong("explain", "name the group");
    if (a.at && (at = ask_time(&a, a.at)) < 0)
        return 1;
    snprintf(path, sizeof path, "/explain?group=%s&at=%" PRId64, ask_name(a.operand, name), at);
    bool live = a.socket || ask_listens(&a);
    cJSON *d = live ? ask_daemon(&a, "GET", path, &printed) : read_journal(&a, at);
    if (!d)
        return 1;
    if (a.json && !printed)
        return tables_print_json(d);
    if (!printed && !*answer_str(d, "time"))
        printf("group %s: no decision yet: hosts and balancers are being listed\n", answer_str(d, "group"));
    else if (!printed)
        print_decision(stdout, d);
    cJSON_Delete(d);
    return 0;
}
