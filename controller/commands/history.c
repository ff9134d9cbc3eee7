/* autoscale history: what happened, from the running daemon, or from the journal when none runs. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../config/config.h"
#include "../runtime/history.h"
#include "ask.h"
#include "commands.h"
#include "tables.h"

static const char usage[] =
    "usage: autoscale history [-g GROUP] [--since TIME] [-n COUNT] [-c FILE | --socket PATH] [--json]\n"
    "\n"
    "Shows what happened, oldest first: changes of size, instances' lives, failures, reloads.\n"
    "Without a running daemon the journal is read.\n"
    "\n"
    "  -g, --group GROUP  only this group\n"
    "      --since TIME   \"10m\" or \"2h\" ago, \"2026-11-27T20:00:00Z\", or \"2026-11-27 20:00\" (local "
    "time)\n"
    "  -n, --limit COUNT  at most so many events and decisions, the newest (default 50)\n"
    "  -c, --config FILE  configuration (default " COMMANDS_CONFIG_FILE ")\n"
    "      --socket PATH  the daemon's socket\n"
    "      --json         complete, with decisions and their inputs\n"
    "  -h, --help         this text\n"
    "\n"
    "Exit status: 0, 1 when there is nothing to ask.\n";

static void print_events(const cJSON *h)
{
    const cJSON *events = cJSON_GetObjectItemCaseSensitive(h, "events");
    for (int k = cJSON_GetArraySize(events) - 1; k >= 0; k--) {
        const cJSON *e = cJSON_GetArrayItem(events, k);
        const char *who = *answer_str(e, "instance") ? answer_str(e, "instance") : answer_str(e, "group");
        printf("%s  %-13s %-22s %s\n", answer_str(e, "time"), answer_str(e, "kind"), *who ? who : "-",
               answer_str(e, "text"));
    }
}

/* No daemon: the journal itself. */
static cJSON *read_journal(const struct ask *a, int64_t since, int limit)
{
    struct cfg *c = NULL;
    struct cfg_problems problems = { 0 };
    struct journal *j = NULL;
    struct as_error err = { 0 };
    cJSON *h = NULL;
    int rc = config_load(a->config, &tables_registry, &c, &problems);
    config_problems_fini(&problems);
    if (rc != AS_OK)
        return NULL;
    if (access(c->state, F_OK) != 0)
        fprintf(stderr, "autoscale history: there is no journal %s yet\n", c->state);
    else if (journal_open(c->state, c->name, JOURNAL_READ, &j, &err) != AS_OK ||
             !(h = history_json(j, a->group, since, limit, &err)))
        fprintf(stderr, "autoscale history: %s\n", err.msg);
    journal_close(j);
    config_free(c);
    return h;
}

/* A killed daemon leaves its socket behind: only a connection tells. */
static bool daemon_listens(const struct ask *a)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    char *path = ask_socket(a);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path ? path : "");
    bool nobody =
        connect(fd, (struct sockaddr *)&at, sizeof at) != 0 && (errno == ENOENT || errno == ECONNREFUSED);
    if (fd >= 0)
        close(fd);
    free(path);
    return !nobody;
}

int command_history(int argc, char **argv)
{
    struct ask a = { .usage = usage, .limit = 50 };
    char path[256];
    bool printed = false;
    int64_t since = 0;
    int rc = ask_options(&a, argc, argv, "sgn");
    if (rc >= 0)
        return rc;
    if (a.operand_count) {
        fprintf(stderr, "autoscale history: '%s' is too much: a group is named with -g\n", a.operands[0]);
        return 1;
    }
    if (a.since && (since = ask_time(a.since)) < 0) {
        fprintf(
            stderr,
            "autoscale history: '%s' is no time: write 10m, 2h, 2026-11-27T20:00:00Z or '2026-11-27 20:00'\n",
            a.since);
        return 1;
    }
    snprintf(path, sizeof path, "/history?group=%.100s&since=%" PRId64 "&limit=%d", a.group ? a.group : "",
             since, a.limit);
    bool live = a.socket || daemon_listens(&a);
    cJSON *h = live ? ask_daemon(&a, "GET", path, &printed) : read_journal(&a, since, a.limit);
    if (!h)
        return 1;
    if (a.json && !printed)
        return tables_print_json(h);
    if (!printed)
        print_events(h);
    cJSON_Delete(h);
    return 0;
}
