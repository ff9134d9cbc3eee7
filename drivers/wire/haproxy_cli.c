/* One exchange with HAProxy's runtime socket: connect, send a line, read to the end, all before the
 * deadline and without trusting a byte of the answer. It never logs and never keeps a connection. */
#include "haproxy_cli.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PREFIX "set severity-output number;"

/* --- endpoints -------------------------------------------------------------------------------- */

int haproxy_cli_init(struct haproxy_cli *c, const char *endpoint, struct as_error *err)
{
    *c = (struct haproxy_cli){ 0 };
    if (strlen(endpoint) >= sizeof c->endpoint)
        return as_fail(err, AS_EINVAL, "'%.40s…': too long for an address", endpoint);
    strcpy(c->endpoint, endpoint);
    int rc = endpoint_init(&c->at, endpoint, 0, err);
    if (rc == AS_OK && c->at.host[0] && c->at.port == 0)
        return as_fail(err, AS_EINVAL,
                       "'%s' is neither a socket path (/run/haproxy/admin.sock) nor HOST:PORT", endpoint);
    return rc;
}

void haproxy_cli_fini(struct haproxy_cli *c)
{
    endpoint_fini(&c->at);
}

/* --- connecting ------------------------------------------------------------------------------- */

static int open_connection(struct haproxy_cli *c, as_time deadline, int *fd, struct as_error *err)
{
    struct as_error why;
    int rc = endpoint_connect(&c->at, deadline, fd, &why);
    if (rc == AS_EAUTH)
        return as_fail(err, AS_EAUTH,
                       "HAProxy at %s: not allowed to open the socket; give autoscale's user the "
                       "group of the `stats socket` line",
                       c->endpoint);
    return rc ? as_fail(err, (enum as_rc)rc, "HAProxy at %s does not take connections: %s", c->endpoint,
                        why.msg)
              : AS_OK;
}

/* --- talking ---------------------------------------------------------------------------------- */

/* 0 or an errno. */
static int wait_for(int fd, short events, as_time deadline)
{
    int n = endpoint_wait(fd, events, deadline);
    return n > 0 ? 0 : n == 0 ? ETIMEDOUT : errno;
}

/* 0 or an errno: then the end of the line has not been sent. */
static int send_all(int fd, const char *text, size_t len, as_time deadline)
{
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return errno;
        if (n < 0) {
            int rc = wait_for(fd, POLLOUT, deadline);
            if (rc)
                return rc;
            continue;
        }
        text += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Makes room for at least one more byte and a NUL; 0 or an errno. */
static int grow(struct haproxy_reply *r, size_t *cap)
{
    if (r->len + 1 < *cap)
        return 0;
    if (*cap >= HAPROXY_REPLY_MAX)
        return EMSGSIZE;
    size_t want = *cap ? *cap * 2 : 8192;
    char *bigger = realloc(r->memory, want);
    if (!bigger)
        return ENOMEM;
    r->memory = bigger;
    *cap = want;
    return 0;
}

static int receive_all(int fd, as_time deadline, struct haproxy_reply *r)
{
    size_t cap = 0;
    for (;;) {
        int rc = grow(r, &cap);
        if (rc)
            return rc;
        ssize_t n = recv(fd, r->memory + r->len, cap - r->len - 1, 0);
        if (n == 0)
            break;
        if (n > 0) {
            r->len += (size_t)n;
            if (as_time_left(deadline) == 0)
                return ETIMEDOUT; /* one that trickles must not keep us either */
            continue;
        }
        if (errno != EAGAIN && errno != EINTR)
            return errno;
        rc = wait_for(fd, POLLIN, deadline);
        if (rc)
            return rc;
    }
    r->memory[r->len] = '\0';
    r->text = r->memory;
    return 0;
}

static int talk_failed(const struct haproxy_cli *c, int failure, bool writes, struct as_error *err)
{
    if (failure == ENOMEM)
        return as_fail(err, writes ? AS_EUNKNOWN : AS_ENOMEM, "HAProxy at %s: out of memory for the answer",
                       c->endpoint);
    if (failure == EMSGSIZE)
        return as_fail(err, AS_EPROTO, "HAProxy at %s: the answer is over %zu MiB", c->endpoint,
                       HAPROXY_REPLY_MAX >> 20);
    return as_fail(err, writes ? AS_EUNKNOWN : AS_EAGAIN, "HAProxy at %s %s: %s", c->endpoint,
                   writes ? "was given a command, whether it carried it out is not known"
                          : "gave no whole answer",
                   failure == ETIMEDOUT ? "no answer in time" : strerror(failure));
}

static int talk(const struct haproxy_cli *c, int fd, as_time deadline, bool writes, const char *line,
                struct haproxy_reply *r, struct as_error *err)
{
    char text[HAPROXY_LINE_MAX + sizeof PREFIX + 2];
    int len = snprintf(text, sizeof text, PREFIX "%s\n", line);
    if (len < 0 || (size_t)len >= sizeof text)
        return as_fail(err, AS_EINVAL, "the command for HAProxy is longer than %d bytes", HAPROXY_LINE_MAX);
    int failure = send_all(fd, text, (size_t)len, deadline);
    /* HAProxy carries out whole lines only: without the line end nothing happened. */
    if (failure)
        return as_fail(err, AS_EAGAIN, "HAProxy at %s did not take the command: %s", c->endpoint,
                       failure == ETIMEDOUT ? "no answer in time" : strerror(failure));
    failure = receive_all(fd, deadline, r);
    if (failure)
        return talk_failed(c, failure, writes, err);
    if (!haproxy_reply_take(r, NULL))
        return as_fail(err, writes ? AS_EUNKNOWN : AS_EAGAIN,
                       "HAProxy at %s closed the connection without an answer", c->endpoint);
    return AS_OK;
}

int haproxy_cli_exchange(struct haproxy_cli *c, as_time deadline, bool writes, const char *line,
                         struct haproxy_reply *out, struct as_error *err)
{
    int fd = -1;
    int rc = open_connection(c, deadline, &fd, err);
    if (rc)
        return rc;
    struct haproxy_reply reply = { 0 };
    rc = talk(c, fd, deadline, writes, line, &reply, err);
    close(fd);
    if (rc)
        haproxy_reply_fini(&reply);
    else
        *out = reply;
    return rc;
}

void haproxy_reply_fini(struct haproxy_reply *r)
{
    free(r->memory);
    *r = (struct haproxy_reply){ 0 };
}

/* --- answers ---------------------------------------------------------------------------------- */

static bool is_message(const char *text)
{
    return text[0] == '[' && text[1] >= '0' && text[1] <= '7' && text[2] == ']';
}

/* The newline that ends the last line of the answer at `text`, NULL when it was cut off. An answer ends
 * with an empty line, but for some messages ("Server deleted."), which end with their own line only. */
static char *answer_end(char *text, size_t len)
{
    if (!is_message(text))
        return memmem(text, len, "\n\n", 2);
    char *end = text;
    while ((end = memchr(end, '\n', len - (size_t)(end - text)))) {
        size_t left = len - (size_t)(end + 1 - text);
        if (left == 0 || end[1] == '\n' || is_message(end + 1))
            return end;
        end++;
    }
    return NULL;
}

char *haproxy_reply_take(struct haproxy_reply *r, size_t *len)
{
    if (r->len == 0)
        return NULL;
    char *answer = r->text, *end = answer; /* empty: the empty line is all there is */
    if (*answer != '\n')
        end = answer_end(answer, r->len);
    if (!end) {
        r->len = 0; /* half a table would look like a smaller one */
        return NULL;
    }
    char *next = end + 1;
    if (end != answer && *next == '\n')
        next++;
    *end = '\0';
    r->text = next;
    r->len -= (size_t)(next - answer);
    if (len)
        *len = (size_t)(end - answer);
    return answer;
}

/* What HAProxy says, and what it means. The first that the answer contains counts. */
static const struct refusal {
    const char *says;
    enum as_rc rc;
    const char *advice;
} refusals[] = {
    { "Permission denied", AS_EAUTH, "add `level admin` to its `stats socket` line" },
    { "must use a dynamic load balancing", AS_EINVAL,
      "its `balance` takes no servers at run time: use roundrobin, leastconn, random or first, or add "
      "`hash-type consistent`" },
    { "No such backend", AS_EINVAL, "there is no such backend in its configuration" },
    { "No such proxy", AS_EINVAL, "there is no such backend in its configuration" },
    { "Can't find backend", AS_EINVAL, "there is no such backend in its configuration" },
    { "No such server", AS_ENOENT, "there is no such server" },
    { "Already exists a server", AS_EEXIST, "the name is taken" },
    { "still has connections", AS_EAGAIN, "it still holds connections" },
    { "Only servers in maintenance", AS_EAGAIN, "it was put back into rotation meanwhile" },
    { "elements pointing to it", AS_EINVAL, "a `use-server` or `track` line names it: remove that line" },
    { "experimental", AS_EUNSUP, "this HAProxy is too old: 2.6 or newer is needed" },
    { "Unknown command", AS_EUNSUP, "this is no runtime socket of HAProxy 2.6 or newer" },
};

/* Skips the severity "[3]: "; true when it, or its absence, means a refusal. */
static bool is_refusal(const char **answer)
{
    const char *a = *answer;
    if (!is_message(a))
        return *a != '\0';
    *answer = a + 3 + strspn(a + 3, ": ");
    return a[1] <= '3';
}

int haproxy_cli_judge(const struct haproxy_cli *c, const char *what, const char *answer, struct as_error *err)
{
    if (!answer)
        return as_fail(err, AS_EUNKNOWN, "HAProxy at %s did not answer `%s`", c->endpoint, what);
    if (!is_refusal(&answer))
        return AS_OK;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        if (strstr(answer, refusals[i].says))
            return as_fail(err, refusals[i].rc, "HAProxy at %s refuses `%s`: %s", c->endpoint, what,
                           refusals[i].advice);
    char said[120];
    size_t n = 0;
    for (const char *p = answer; *p && n < sizeof said - 1; p++)
        said[n++] = (unsigned char)*p < ' ' || *p == 127 ? ' ' : *p;
    while (n > 0 && (said[n - 1] == ' ' || said[n - 1] == '.'))
        n--;
    said[n] = '\0';
    return as_fail(err, AS_EINVAL, "HAProxy at %s refuses `%s`: %s", c->endpoint, what, said);
}

/* What follows "\nKEY:" or "KEY:" at the start of the text; NULL when there is none. */
static const char *info_value(const char *info, const char *key)
{
    size_t len = strlen(key);
    for (const char *line = info; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, len) == 0 && line[len] == ':')
            return line + len + 1;
    }
    return NULL;
}

/* -1 when there is no such number. */
static long long info_number(const char *info, const char *key)
{
    const char *text = info_value(info, key);
    char *rest;
    long long value = text ? strtoll(text, &rest, 10) : -1;
    return text && rest != text && value >= 0 ? value : -1;
}

bool haproxy_is_at_least(const char *info, long major, long minor)
{
    const char *text = info_value(info, "Version");
    char *rest;
    long theirs = text ? strtol(text, &rest, 10) : -1;
    if (!text || *rest != '.')
        return false;
    return theirs > major || (theirs == major && strtol(rest + 1, NULL, 10) >= minor);
}

bool haproxy_epoch(const char *info, char *epoch, size_t size, bool *stopping)
{
    long long pid = info_number(info, "Pid"), start = info_number(info, "Start_time_sec");
    if (pid < 0)
        return false;
    snprintf(epoch, size, "%lld@%lld", pid, start);
    *stopping = info_number(info, "Stopping") > 0;
    return true;
}

bool haproxy_name_ok(const char *name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-";
    size_t len = strlen(name);
    return len > 0 && len < HAPROXY_NAME_MAX && strspn(name, allowed) == len;
}

bool haproxy_words_ok(const char *words)
{
    if (!*words)
        return false;
    for (const char *p = words; *p; p++)
        if (*p < ' ' || *p > '~' || strchr(";\\<\"'#", *p))
            return false;
    return true;
}
