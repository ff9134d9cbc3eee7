/* Wrong usage, said in one sentence and always alike: the whole help would push the sentence off the screen. */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>

#include "commands.h"

int usage_hint(const char *command)
{
    fprintf(stderr, "`autoscale %s -h` tells how it is used\n", command);
    return 1;
}

int usage_wrong(const char *command, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "autoscale %s: ", command);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return usage_hint(command);
}

int usage_no_operands(const char *command, int argc, char **argv, int most)
{
    return argc - optind > most ? usage_wrong(command, "'%s' is too much", argv[optind + most]) : 0;
}
