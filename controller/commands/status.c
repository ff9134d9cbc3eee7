/* autoscale status: where everything stands, asked of the running daemon. */
#include <string.h>

#include "ask.h"
#include "autoscale/time.h"
#include "commands.h"

static const char usage[] =
    "usage: autoscale status [-c FILE | --socket PATH] [--json]\n"
    "\n"
    "Shows what the running daemon knows: sources, groups, hosts, balancers and every instance.\n"
    "\n"
    "  -c, --config FILE  configuration (default " COMMANDS_CONFIG_FILE "), for the socket's path\n"
    "      --socket PATH  the daemon's socket\n"
    "      --json         complete, for programs\n"
    "  -h, --help         this text\n"
    "\n"
    "Exit status: 0 all well, 1 the daemon cannot be asked, 2 something is failing.\n";

static const char *span(double seconds, char buf[32])
{
    return as_time_text((as_time)(seconds * 1000), buf, 32);
}

/* "ok", "ok, a series left out for 12s: text" or "FAILING for 12s: text" of a source endpoint, host or balancer. True
 * when it fails. */
static bool print_endpoint(const char *kind, const char *name, const cJSON *o)
{
    char buf[32];
    if (answer_true(o, "ok")) {
        printf("  %-9s %s  ok", kind, name);
        if (*answer_str(o, "left_out"))
            printf(", a series left out for %s: %s", span(answer_num(o, "left_out_s"), buf),
                   answer_str(o, "left_out"));
        return false;
    }
    if (!*answer_str(o, "error")) {
        printf("  %-9s %s  not asked yet", kind, name);
        return false;
    }
    printf("  %-9s %s  %sFAILING%s for %s: %s", kind, name, colour(stdout, "\033[31m"),
           colour(stdout, "\033[0m"), span(answer_num(o, "failing_s"), buf), answer_str(o, "error"));
    return true;
}

static bool print_source(const cJSON *s)
{
    const cJSON *x;
    bool bad = false;
    char buf[32];
    printf("source %s (%s)\n", answer_str(s, "name"), answer_str(s, "driver"));
    if (answer_true(s, "idle")) {
        printf("  not asked: no policy reads it\n");
        return false;
    }
    cJSON_ArrayForEach(x, cJSON_GetObjectItemCaseSensitive(s, "endpoints"))
    {
        bad = print_endpoint("endpoint", answer_str(x, "endpoint"), x) || bad;
        printf("\n");
    }
    cJSON_ArrayForEach(x, cJSON_GetObjectItemCaseSensitive(s, "series"))
    {
        if (strcmp(answer_str(x, "state"), "never") == 0)
            printf("  %-32s no data yet\n", answer_str(x, "metric"));
        else
            printf("  %-32s %.6g  (%s, %s old)\n", answer_str(x, "metric"), answer_num(x, "value"),
                   answer_str(x, "state"), span(answer_num(x, "age_ms") / 1000, buf));
    }
    return bad;
}

static void print_launch_failures(const cJSON *o)
{
    char buf[32];
    int failed = (int)answer_num(o, "launch_failures");
    bool waits = answer_num(o, "launch_wait_s") > 0;
    if (failed > 0)
        printf("; %d %s in a row, next try %s%s: %s", failed,
               failed == 1 ? "launch failed" : "launches failed", waits ? "in " : "now",
               waits ? span(answer_num(o, "launch_wait_s"), buf) : "", answer_str(o, "launch_error"));
}

static void print_instance(const cJSON *i, int host_wide)
{
    char buf[32], where[160];
    snprintf(where, sizeof where, "%s:%d", answer_str(i, "address"), (int)answer_num(i, "port"));
    double sessions = answer_num(i, "sessions");
    printf("  %-22s %-10s %7s  %-21s %-*s %3.0f session%s%s  %s\n", answer_str(i, "id"),
           answer_str(i, "state"), span(answer_num(i, "since_s"), buf),
           *answer_str(i, "address") ? where : "-", host_wide, answer_str(i, "host"), sessions,
           sessions > 0.5 && sessions < 1.5 ? " " : "s", answer_true(i, "outdated") ? "  outdated" : "",
           answer_str(i, "reason"));
}

static bool print_group(const cJSON *g)
{
    const cJSON *x;
    bool bad = *answer_str(g, "doubt") || *answer_str(g, "blocked") || answer_num(g, "launch_failures") > 0;
    printf("group %s%s%s: wanted %d, serving %d", colour(stdout, "\033[1m"), answer_str(g, "name"),
           colour(stdout, "\033[0m"), (int)answer_num(g, "wanted"), (int)answer_num(g, "serving"));
    if (answer_num(g, "standby") > 0 || answer_num(g, "parked") > 0)
        printf(", parked %d of %d", (int)answer_num(g, "parked"), (int)answer_num(g, "standby"));
    static const char *const counts[] = { "pending", "draining", "failed" };
    for (size_t k = 0; k < 3; k++)
        if (answer_num(g, counts[k]) > 0)
            printf(", %s %d", counts[k], (int)answer_num(g, counts[k]));
    printf(", footprint %d; min %d, max %d%s%s\n", (int)answer_num(g, "footprint"), (int)answer_num(g, "min"),
           (int)answer_num(g, "max"), *answer_str(g, "binding") ? "; bound by " : "",
           answer_str(g, "binding"));
    printf("  decision  %s\n", answer_true(g, "decided") ? answer_str(g, "summary")
                                                         : "none yet: hosts and balancers are being listed");
    if (*answer_str(g, "blocked"))
        printf("  blocked   %s\n", answer_str(g, "blocked"));
    if (*answer_str(g, "doubt"))
        printf("  doubt     %s\n", answer_str(g, "doubt"));
    print_shadows(stdout, g);
    cJSON_ArrayForEach(x, cJSON_GetObjectItemCaseSensitive(g, "hosts"))
    {
        bad = print_endpoint("host", answer_str(x, "host"), x) || bad;
        print_launch_failures(x);
        printf("\n");
    }
    cJSON_ArrayForEach(x, cJSON_GetObjectItemCaseSensitive(g, "balancers"))
    {
        bad = print_endpoint("balancer", answer_str(x, "balancer"), x) || bad;
        if (answer_num(x, "foreign_members") > 0)
            printf(", %d member%s not ours", (int)answer_num(x, "foreign_members"),
                   answer_num(x, "foreign_members") < 2 ? " that is" : "s that are");
        if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(x, "leaving")))
            printf("%s%s, left the configuration: our servers leave it", *answer_str(x, "pool") ? ", " : "",
                   answer_str(x, "pool"));
        printf("\n");
    }
    int wide = 5;
    cJSON_ArrayForEach(x, cJSON_GetObjectItemCaseSensitive(g, "hosts"))
    {
        int length = (int)strlen(answer_str(x, "host"));
        wide = length > wide ? length : wide;
    }
    cJSON_ArrayForEach(x, cJSON_GetObjectItemCaseSensitive(g, "instances")) print_instance(x, wide);
    return bad;
}

static bool anything_bad(const cJSON *s)
{
    const cJSON *x, *y;
    cJSON_ArrayForEach(x, cJSON_GetObjectItemCaseSensitive(s, "sources")) cJSON_ArrayForEach(
        y, cJSON_GetObjectItemCaseSensitive(x, "endpoints")) if (*answer_str(y, "error")) return true;
    cJSON_ArrayForEach(x, cJSON_GetObjectItemCaseSensitive(s, "groups"))
    {
        if (*answer_str(x, "doubt") || *answer_str(x, "blocked") || answer_num(x, "launch_failures") > 0)
            return true;
        cJSON_ArrayForEach(
            y, cJSON_GetObjectItemCaseSensitive(x, "hosts")) if (*answer_str(y, "error")) return true;
        cJSON_ArrayForEach(
            y, cJSON_GetObjectItemCaseSensitive(x, "balancers")) if (*answer_str(y, "error")) return true;
    }
    return !answer_true(cJSON_GetObjectItemCaseSensitive(s, "journal"), "ok");
}

static void print_status(const cJSON *s)
{
    char buf[32];
    const cJSON *x, *journal = cJSON_GetObjectItemCaseSensitive(s, "journal");
    printf("autoscale %s, controller %s, pid %d, up %s%s\n", answer_str(s, "version"),
           answer_str(s, "controller"), (int)answer_num(s, "pid"), span(answer_num(s, "uptime_s"), buf),
           answer_true(s, "dry_run") ? ", DRY RUN" : "");
    if (!answer_true(journal, "ok"))
        printf("journal %s %sFAILING%s: %s\n", answer_str(journal, "path"), colour(stdout, "\033[31m"),
               colour(stdout, "\033[0m"), answer_str(journal, "error"));
    cJSON_ArrayForEach(x, cJSON_GetObjectItemCaseSensitive(s, "sources")) print_source(x);
    cJSON_ArrayForEach(x, cJSON_GetObjectItemCaseSensitive(s, "groups")) print_group(x);
}

int command_status(int argc, char **argv)
{
    struct ask a = { .command = "status", .usage = usage, .extra = "" };
    bool printed;
    int rc = ask_options(&a, argc, argv);
    if (rc >= 0)
        return rc;
    cJSON *s = ask_daemon(&a, "GET", "/status", &printed);
    if (!s)
        return 1;
    if (!printed)
        print_status(s);
    rc = anything_bad(s) ? 2 : 0;
    cJSON_Delete(s);
    return rc;
}
