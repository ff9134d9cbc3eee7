/* autoscale reload: has the daemon read its configuration again: all of it, or nothing. */
#include "ask.h"
#include "commands.h"

static const char usage[] =
    "usage: autoscale reload [-c FILE | --socket PATH] [--json]\n"
    "\n"
    "Has the running daemon read its configuration again. It is checked first; when anything is wrong with "
    "it nothing\n"
    "changes. What did not change keeps its windows, cooldowns and instances.\n"
    "\n"
    "  -c, --config FILE  configuration (default " COMMANDS_CONFIG_FILE "), for the socket's path\n"
    "      --socket PATH  the daemon's socket\n"
    "      --json         changes and problems as JSON\n"
    "  -h, --help         this text\n"
    "\n"
    "Exit status: 0 done, 1 refused or the daemon cannot be asked.\n";

int command_reload(int argc, char **argv)
{
    struct ask a = { .command = "reload", .usage = usage, .extra = "" };
    const cJSON *x;
    bool printed;
    int rc = ask_options(&a, argc, argv);
    if (rc >= 0)
        return rc;
    cJSON *r = ask_daemon(&a, "POST", "/reload", &printed);
    if (!r)
        return 1;
    bool ok = answer_true(r, "ok");
    if (!printed) {
        cJSON_ArrayForEach(x, cJSON_GetObjectItemCaseSensitive(r, "problems"))
            fprintf(stderr, "%s\n", cJSON_GetStringValue(x));
        if (!ok)
            fprintf(stderr, "autoscale reload: nothing was changed%s%s\n",
                    *answer_str(r, "error") ? ": " : "", answer_str(r, "error"));
        cJSON_ArrayForEach(x, cJSON_GetObjectItemCaseSensitive(r, "changes"))
            printf("%s\n", cJSON_GetStringValue(x));
        int count = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(r, "changes"));
        if (ok && count == 0)
            printf("reloaded: nothing is different\n");
        else if (ok)
            printf("reloaded: %d %s\n", count, count == 1 ? "change" : "changes");
    }
    cJSON_Delete(r);
    return ok ? 0 : 1;
}
