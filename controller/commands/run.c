/* autoscale run: the daemon, in the foreground. */
#include <getopt.h>
#include <stdio.h>

#include "../runtime/daemon.h"
#include "commands.h"
#include "tables.h"

static const char usage[] = "usage: autoscale run [-c FILE] [--dry-run]\n"
                            "\n"
                            "Runs the controller in the foreground until SIGTERM or SIGINT; instances are "
                            "left serving. SIGHUP reloads.\n"
                            "The log goes to standard error.\n"
                            "\n"
                            "  -c, --config FILE  configuration (default " COMMANDS_CONFIG_FILE ")\n"
                            "      --dry-run      observes and decides, and logs what it would do; it cannot "
                            "act, opens no socket and\n"
                            "                     writes no journal\n"
                            "  -h, --help         this text\n"
                            "\n"
                            "Exit status: 0 stopped by a signal, 1 not started.\n";

int command_run(int argc, char **argv)
{
    static const struct option options[] = {
        { "config", required_argument, NULL, 'c' },
        { "dry-run", no_argument, NULL, 'd' },
        { "help", no_argument, NULL, 'h' },
        { 0 },
    };
    const char *path = COMMANDS_CONFIG_FILE;
    bool dry_run = false;
    int opt;
    optind = 1;
    while ((opt = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        switch (opt) {
        case 'c': path = optarg; break;
        case 'd': dry_run = true; break;
        case 'h': fputs(usage, stdout); return 0;
        default: return usage_hint("run");
        }
    }
    if (optind < argc)
        return usage_wrong("run", "'%s' is too much: the file is named with -c", argv[optind]);
    return daemon_run(path, &tables_registry, dry_run);
}
