/* The subcommands. argv[0] is the subcommand's own name; the result is the exit status of the program.
 * Each knows -h. Answers go to standard output, complaints to standard error. */
#ifndef COMMANDS_COMMANDS_H
#define COMMANDS_COMMANDS_H

#define COMMANDS_CONFIG_FILE "/etc/autoscale/autoscale.conf" /* unless -c names another */

/* Wrong usage: "autoscale COMMAND: TEXT" and where help is; each gives exit status 1. */
__attribute__((format(printf, 2, 3))) int usage_wrong(const char *command, const char *fmt, ...);
/* The same when getopt has already said what is wrong. */
int usage_hint(const char *command);
/* 0 when at most `most` operands follow the options that getopt has read. */
int usage_no_operands(const char *command, int argc, char **argv, int most);

int command_check(int argc, char **argv);
int command_plan(int argc, char **argv);
int command_run(int argc, char **argv);
int command_simulate(int argc, char **argv);
int command_status(int argc, char **argv);
int command_explain(int argc, char **argv);
int command_history(int argc, char **argv);
int command_reload(int argc, char **argv);
int command_drivers(int argc, char **argv);
int command_policies(int argc, char **argv);
int command_version(int argc, char **argv);

#endif
