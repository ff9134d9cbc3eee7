/* autoscale: picks the subcommand. Everything else is elsewhere. */
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "commands/commands.h"

static const struct command {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
    { "check", "read the configuration and report every problem, offline", command_check },
    { "plan", "observe the platform, decide once, print what would change and why", command_plan },
    { "run", "the controller, in the foreground (--dry-run: it cannot act)", command_run },
    { "simulate", "replay a recorded load through the same decisions, compare policies", command_simulate },
    { "status", "where everything stands, from the running controller", command_status },
    { "explain", "why a group has the size it has, stage by stage", command_explain },
    { "history", "what happened", command_history },
    { "reload", "have the controller read its configuration again", command_reload },
    { "drivers", "what can measure, provision and route, with options", command_drivers },
    { "policies", "what can decide, with options", command_policies },
    { "version", "version of the program and its libraries", command_version },
};

static void usage(FILE *out)
{
    fprintf(out, "usage: autoscale COMMAND [OPTIONS]\n\n"
                 "Elastic autoscaling for your own hypervisors and Docker hosts.\n\n");
    for (size_t k = 0; k < sizeof commands / sizeof *commands; k++)
        fprintf(out, "  %-9s %s\n", commands[k].name, commands[k].summary);
    fprintf(out, "\n`autoscale COMMAND -h` tells the options of each.\n");
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    if (!name) {
        usage(stderr);
        return 1;
    }
    if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "help") == 0) {
        usage(stdout);
        return 0;
    }
    if (strcmp(name, "--version") == 0)
        name = "version";
    curl_global_init(CURL_GLOBAL_DEFAULT); /* before any thread */
    for (size_t k = 0; k < sizeof commands / sizeof *commands; k++)
        if (strcmp(commands[k].name, name) == 0) {
            int status = commands[k].run(argc - 1, argv + 1);
            curl_global_cleanup();
            return status;
        }
    fprintf(stderr, "autoscale: there is no command '%s'; `autoscale -h` lists them\n", name);
    return 1;
}
