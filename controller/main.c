/* autoscale: picks the subcommand. Everything else is elsewhere. */
#include <curl/curl.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "commands/commands.h"
#include "config/problems.h"

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

/* An answer that did not reach the disk or the pipe is no success. */
static int written(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    fprintf(stderr, "autoscale: the answer could not be written: %s\n", strerror(errno));
    return 1;
}

/* argv[0] is the subcommand's name; it becomes the name that getopt's messages begin with. */
static int run(const struct command *c, int argc, char **argv)
{
    char whole[40];
    snprintf(whole, sizeof whole, "autoscale %s", c->name);
    argv[0] = whole;
    curl_global_init(CURL_GLOBAL_DEFAULT); /* before any thread */
    int status = c->run(argc, argv);
    curl_global_cleanup();
    return written(status);
}

static int unknown(const char *name)
{
    struct suggestion near = { .wrong = name };
    char hint[128];
    for (size_t k = 0; k < sizeof commands / sizeof *commands; k++)
        suggest_try(&near, commands[k].name);
    fprintf(stderr, "autoscale: there is no command '%s'%s\n", name,
            near.best ? suggest_text(&near, hint, sizeof hint) : ": `autoscale -h` lists them");
    return 1;
}

int main(int argc, char **argv)
{
    static char help[] = "--help";
    char *asked[] = { NULL, help, NULL };
    const char *name = argc > 1 ? argv[1] : NULL;
    if (!name) {
        usage(stderr);
        return 1;
    }
    bool wants_help = strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "help") == 0;
    if (wants_help && argc == 2) {
        usage(stdout);
        return written(0);
    }
    if (wants_help)
        name = argv[2];
    if (strcmp(name, "--version") == 0)
        name = "version";
    for (size_t k = 0; k < sizeof commands / sizeof *commands; k++)
        if (strcmp(commands[k].name, name) == 0)
            return wants_help ? run(&commands[k], 2, asked) : run(&commands[k], argc - 1, argv + 1);
    return unknown(name);
}
