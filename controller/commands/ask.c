/* Asking the daemon: options, the socket, one question. Prints reasons, never acts. */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../config/config.h"
#include "../config/units.h"
#include "../journal/journal.h"
#include "../runtime/client.h"
#include "ask.h"
#include "commands.h"
#include "tables.h"

#define TIMEOUT_MS 10000

static int take_limit(struct ask *a, const char *text)
{
    char *end;
    long n = strtol(text, &end, 10);
    if (*end || n < 1 || n > 5000)
        return usage_wrong(a->command, "'%s' is no number from 1 to 5000", text);
    a->limit = (int)n;
    return -1;
}

static const struct option options[] = {
    { "config", required_argument, NULL, 'c' }, { "socket", required_argument, NULL, 'S' },
    { "json", no_argument, NULL, 'j' },         { "since", required_argument, NULL, 's' },
    { "at", required_argument, NULL, 'a' },     { "group", required_argument, NULL, 'g' },
    { "limit", required_argument, NULL, 'n' },  { "metric", required_argument, NULL, 'm' },
    { "help", no_argument, NULL, 'h' },         { 0 },
};

static int not_here(const struct ask *a, int opt)
{
    const struct option *o = options;
    while (o->val != opt)
        o++;
    return usage_wrong(a->command, "there is no option --%s here", o->name);
}

static int one_option(struct ask *a, int opt)
{
    if (opt == 'h') {
        fputs(a->usage, stdout);
        return 0;
    }
    if (opt == '?')
        return usage_hint(a->command);
    if (opt == 'c')
        a->config = optarg;
    else if (opt == 'S')
        a->socket = optarg;
    else if (opt == 'j')
        a->json = true;
    else if (!strchr(a->extra, opt))
        return not_here(a, opt);
    else if (opt == 's')
        a->since = optarg;
    else if (opt == 'a')
        a->at = optarg;
    else if (opt == 'g')
        a->group = optarg;
    else if (opt == 'm')
        a->metric = optarg;
    else
        return take_limit(a, optarg);
    return -1;
}

int ask_options(struct ask *a, int argc, char **argv)
{
    int opt, rc;
    a->config = COMMANDS_CONFIG_FILE;
    optind = 1;
    while ((opt = getopt_long(argc, argv, "c:g:n:h", options, NULL)) != -1)
        if ((rc = one_option(a, opt)) >= 0)
            return rc;
    if (usage_no_operands(a->command, argc, argv, a->operands_most) != 0)
        return 1;
    a->operand = optind < argc ? argv[optind] : NULL;
    return -1;
}

const char *ask_socket(struct ask *a)
{
    struct cfg *c = NULL;
    struct cfg_problems problems = { 0 };
    char text[700];
    if (a->socket || *a->path)
        return a->socket ? a->socket : a->path;
    if (config_load(a->config, &tables_registry, &c, &problems) == AS_OK) {
        snprintf(a->path, sizeof a->path, "%s", c->socket);
        config_free(c);
    } else {
        config_socket(a->config, a->path, sizeof a->path);
        for (size_t k = 0; k < problems.count; k++)
            fprintf(stderr, "%s\n", config_problem_text(&problems.items[k], text, sizeof text));
        fprintf(stderr,
                "autoscale %s: the configuration cannot be read; asking %s (--socket names another)\n",
                a->command, a->path);
    }
    config_problems_fini(&problems);
    return a->path;
}

bool ask_listens(struct ask *a)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(at.sun_path, sizeof at.sun_path, "%s", ask_socket(a));
    bool nobody =
        connect(fd, (struct sockaddr *)&at, sizeof at) != 0 && (errno == ENOENT || errno == ECONNREFUSED);
    if (fd >= 0)
        close(fd);
    return !nobody;
}

const char *ask_name(const char *name, char buf[ASK_NAME])
{
    char *to = buf;
    for (size_t k = 0; name[k] && k < (ASK_NAME - 1) / 3; k++) {
        unsigned char c = (unsigned char)name[k];
        to += snprintf(to, 4, isalnum(c) || c == '-' || c == '_' ? "%c" : "%%%02X", c);
    }
    *to = '\0';
    return buf;
}

struct journal *ask_journal(struct ask *a)
{
    struct cfg *c = NULL;
    struct cfg_problems problems = { 0 };
    struct journal *j = NULL;
    struct as_error err = { 0 };
    char text[700];
    const char *why = *a->path ? "no daemon answers, and " : ""; /* then the problems were printed, too */
    int rc = config_load(a->config, &tables_registry, &c, &problems);
    for (size_t k = 0; k < problems.count && !*why; k++)
        fprintf(stderr, "%s\n", config_problem_text(&problems.items[k], text, sizeof text));
    config_problems_fini(&problems);
    if (rc != AS_OK)
        fprintf(stderr, "autoscale %s: %sthe journal's path stands in the configuration\n", a->command, why);
    else if (access(c->state, F_OK) != 0)
        fprintf(stderr, "autoscale %s: %sthe journal %s cannot be reached: %s\n", a->command, why, c->state,
                strerror(errno));
    else if (journal_open(c->state, c->name, JOURNAL_READ, &j, &err) != AS_OK)
        fprintf(stderr, "autoscale %s: %s\n", a->command, err.msg);
    a->interval = c ? c->interval : 0;
    config_free(c);
    return j;
}

cJSON *ask_daemon(struct ask *a, const char *method, const char *path, bool *printed)
{
    struct as_error err = { 0 };
    char *body = NULL;
    int status = 0;
    cJSON *answer = NULL;
    *printed = false;
    if (client_call(ask_socket(a), method, path, TIMEOUT_MS, &body, &status, &err) != AS_OK)
        fprintf(stderr, "autoscale %s: %s\n", a->command, err.msg);
    else if (!(answer = cJSON_Parse(body)))
        fprintf(stderr, "autoscale %s: the daemon's answer is no JSON (HTTP %d)\n", a->command, status);
    if (answer && cJSON_IsString(cJSON_GetObjectItemCaseSensitive(answer, "error")) && status != 200 &&
        status != 422) {
        fprintf(stderr, "autoscale %s: %s\n", a->command, answer_str(answer, "error"));
        cJSON_Delete(answer);
        answer = NULL;
    }
    if (answer && a->json) {
        puts(body);
        *printed = true;
    }
    free(body);
    return answer;
}

static int64_t time_of(const char *text)
{
    struct tm tm = { 0 };
    as_time ago;
    const char *end;
    if (units_duration(text, &ago))
        return as_clock_wall() - ago;
    end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    int64_t ms = 0; /* as history prints them: that decision, not the one before it */
    if (end && *end == '.') {
        end++;
        for (int unit = 100; *end >= '0' && *end <= '9'; end++, unit /= 10)
            ms += (*end - '0') * unit;
    }
    if (end && strcmp(end, "Z") == 0)
        return (int64_t)timegm(&tm) * 1000 + ms;
    tm = (struct tm){ .tm_isdst = -1 };
    end = strptime(text, "%Y-%m-%d %H:%M", &tm);
    if (end && *end == ':')
        end = strptime(text, "%Y-%m-%d %H:%M:%S", &tm);
    tm.tm_isdst = -1;
    return end && !*end ? (int64_t)mktime(&tm) * 1000 : -1;
}

int64_t ask_time(const struct ask *a, const char *text)
{
    int64_t at = time_of(text);
    if (at < 0)
        fprintf(stderr,
                "autoscale %s: '%s' is no time: write 10m, 2h, 2026-11-27T20:00:00Z or '2026-11-27 20:00'\n",
                a->command, text);
    return at;
}

const char *answer_str(const cJSON *o, const char *name)
{
    const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, name));
    return s ? s : "";
}

double answer_num(const cJSON *o, const char *name)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, name);
    return cJSON_IsNumber(v) ? v->valuedouble : 0;
}

bool answer_true(const cJSON *o, const char *name)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, name));
}

const char *colour(FILE *out, const char *code)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    bool plain = (no && *no) || (term && strcmp(term, "dumb") == 0);
    return isatty(fileno(out)) && !plain ? code : "";
}

/* --- decisions ------------------------------------------------------------------------------------------- */

static void print_input(FILE *out, const cJSON *in)
{
    char age[32];
    const char *state = answer_str(in, "state");
    fprintf(out, "      %-34s ", answer_str(in, "metric"));
    if (strcmp(state, "never") == 0)
        fprintf(out, "no data yet");
    else
        fprintf(out, "%.6g  %s, %s old%s", answer_num(in, "value"), state,
                as_time_text((as_time)answer_num(in, "age_ms"), age, sizeof age),
                answer_true(in, "partial") ? ", partial: an endpoint is missing" : "");
    fprintf(out, "%s\n",
            answer_true(in, "source_failing") ? "; its source does not answer or leaves it out" : "");
}

static void print_proposal(FILE *out, const cJSON *p)
{
    const char *kind = answer_str(p, "kind");
    fprintf(out, "    %s (%s): ", answer_str(p, "policy"), answer_str(p, "type"));
    if (strcmp(kind, "abstain") == 0)
        fprintf(out, "abstains");
    else
        fprintf(out, "%s%s %d", answer_true(p, "advice") ? "would say " : "", kind,
                (int)answer_num(p, "count"));
    fprintf(out, "%s%s\n", *answer_str(p, "reason") ? ": " : "", answer_str(p, "reason"));
    const cJSON *in;
    cJSON_ArrayForEach(in, cJSON_GetObjectItemCaseSensitive(p, "inputs")) print_input(out, in);
}

static void print_stage(FILE *out, const cJSON *s)
{
    int before = (int)answer_num(s, "before"), after = (int)answer_num(s, "after");
    const char *reason = answer_str(s, "reason");
    if (before == after && !*reason)
        fprintf(out, "    %-10s %d\n", answer_str(s, "stage"), after);
    else if (before == after)
        fprintf(out, "    %-10s %d  %s\n", answer_str(s, "stage"), after, reason);
    else
        fprintf(out, "    %-10s %s%d -> %d%s  %s\n", answer_str(s, "stage"), colour(out, "\033[1m"), before,
                after, colour(out, "\033[0m"), reason);
}

void print_shadows(FILE *out, const cJSON *d)
{
    const cJSON *x, *list = cJSON_GetObjectItemCaseSensitive(d, "shadows");
    if (!list)
        return;
    fprintf(out, "  shadows    %-20s %6s %15s %15s\n", "", "wants", "instance-hours", "missed minutes");
    fprintf(out, "    %-28s %6s %15.2f %15.1f\n", "(as it is)", "", answer_num(d, "instance_hours"),
            answer_num(d, "missed_minutes"));
    cJSON_ArrayForEach(x, list)
        fprintf(out, "    %-28s %6d %15.2f %15.1f\n", answer_str(x, "policy"), (int)answer_num(x, "wanted"),
                answer_num(x, "instance_hours"), answer_num(x, "missed_minutes"));
}

static void print_leads(FILE *out, const cJSON *d)
{
    char one[32], two[32];
    fprintf(out, "  lead       a parked one serves after %s, a new one after %s\n",
            as_time_text((as_time)answer_num(d, "unpark_lead_ms"), one, sizeof one),
            as_time_text((as_time)answer_num(d, "lead_ms"), two, sizeof two));
}

void print_decision(FILE *out, const cJSON *d)
{
    char span[32];
    const cJSON *x;
    fprintf(out, "group %s, decided %s\n", answer_str(d, "group"), answer_str(d, "time"));
    fprintf(out, "  %s%s%s\n", colour(out, "\033[1m"), answer_str(d, "summary"), colour(out, "\033[0m"));
    int parked = (int)answer_num(d, "parked");
    fprintf(out, "  counts     wanted until now %d, serving %d, ", (int)answer_num(d, "current"),
            (int)answer_num(d, "serving"));
    if (parked > 0)
        fprintf(out, "parked %d, ", parked);
    fprintf(out, "on the way %d, footprint %d (min %d, max %d)\n", (int)answer_num(d, "pending"),
            (int)answer_num(d, "footprint"), (int)answer_num(d, "min"), (int)answer_num(d, "max"));
    if (parked > 0)
        print_leads(out, d);
    fprintf(out, "  proposals\n");
    if (cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(d, "proposals")) == 0)
        fprintf(out, "    none: the group has no policies\n");
    cJSON_ArrayForEach(x, cJSON_GetObjectItemCaseSensitive(d, "proposals")) print_proposal(out, x);
    fprintf(out, "  stages\n");
    cJSON_ArrayForEach(x, cJSON_GetObjectItemCaseSensitive(d, "stages")) print_stage(out, x);
    print_shadows(out, d);
    if (cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(d, "weights")) > 0)
        fprintf(out, "  weights\n");
    cJSON_ArrayForEach(x, cJSON_GetObjectItemCaseSensitive(d, "weights"))
    {
        fprintf(out, "    %-24s %3.0f  ", answer_str(x, "instance"), answer_num(x, "weight"));
        if (cJSON_GetObjectItemCaseSensitive(x, "cpu_percent"))
            fprintf(out, "CPU at %.0f %%, ", answer_num(x, "cpu_percent"));
        if (answer_num(x, "response_ms") > 0)
            fprintf(out, "answers in %.0f ms, ", answer_num(x, "response_ms"));
        fprintf(out, "%.0f sessions\n", answer_num(x, "sessions"));
    }
    fprintf(out, "  limits     %d to %d%s%s\n", (int)answer_num(d, "floor"), (int)answer_num(d, "ceiling"),
            *answer_str(d, "binding") ? "; bound by " : "", answer_str(d, "binding"));
    if (answer_num(d, "next_change_ms") > 0)
        fprintf(out, "  next       a held change can happen %s after that\n",
                as_time_text((as_time)answer_num(d, "next_change_ms"), span, sizeof span));
    if (*answer_str(d, "blocked"))
        fprintf(out, "  blocked    %s\n", answer_str(d, "blocked"));
    if (*answer_str(d, "doubt"))
        fprintf(out, "  doubt      %s\n", answer_str(d, "doubt"));
}
