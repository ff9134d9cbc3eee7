/* autoscale explain GROUP: why the group has the size it has, stage by stage, now or at a time in the past. */
#include <inttypes.h>

#include "ask.h"
#include "commands.h"

static const char usage[] =
    "usage: autoscale explain GROUP [--at TIME] [-c FILE | --socket PATH] [--json]\n"
    "\n"
    "Shows the newest decision about GROUP: what was measured, what each policy proposed, what each stage "
    "made of\n"
    "it, which limit bound it and when it can change.\n"
    "\n"
    "      --at TIME      the decision in force then: \"10m\" or \"2h\" ago, \"2026-11-27T20:00:00Z\", or\n"
    "                     \"2026-11-27 20:00\" (local time)\n"
    "  -c, --config FILE  configuration (default " COMMANDS_CONFIG_FILE "), for the socket's path\n"
    "      --socket PATH  the daemon's socket\n"
    "      --json         complete, for programs\n"
    "  -h, --help         this text\n"
    "\n"
    "Exit status: 0, 1 no such group or decision, or the daemon cannot be asked.\n";

int command_explain(int argc, char **argv)
{
    struct ask a = { .usage = usage };
    char path[256];
    bool printed;
    int64_t at = 0;
    int rc = ask_options(&a, argc, argv, "a");
    if (rc >= 0)
        return rc;
    if (a.operand_count != 1) {
        fprintf(stderr, "autoscale explain: name one group\n%s", usage);
        return 1;
    }
    if (a.at && (at = ask_time(a.at)) < 0) {
        fprintf(
            stderr,
            "autoscale explain: '%s' is no time: write 10m, 2h, 2026-11-27T20:00:00Z or '2026-11-27 20:00'\n",
            a.at);
        return 1;
    }
    snprintf(path, sizeof path, "/explain?group=%.100s&at=%" PRId64, a.operands[0], at);
    cJSON *d = ask_daemon(&a, "GET", path, &printed);
    if (!d)
        return 1;
    if (!printed && !*answer_str(d, "time"))
        printf("group %s: no decision yet: hosts and balancers are being listed\n", answer_str(d, "group"));
    else if (!printed)
        print_decision(stdout, d);
    cJSON_Delete(d);
    return 0;
}
