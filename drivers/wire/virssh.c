/* libvirt tells nobody which process it has started. The kernel does: a child belongs to the thread that forked it, and
 * that is the one which connects. A process is signalled only while libvirt has not closed its connection, so while it is
 * still our child and its number nobody else's. */
#include "virssh.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- the address ---------------------------------------------------------------------------------------- */

bool virssh_is(const char *uri)
{
    const char *plus = strchr(uri, '+');
    return plus && strncmp(plus, "+ssh://", 7) == 0;
}

/* The value of a parameter, NULL: not given. */
static const char *parameter(const char *uri, const char *name)
{
    size_t length = strlen(name);
    const char *at = strchr(uri, '?');
    while (at && (strncmp(at + 1, name, length) != 0 || at[1 + length] != '='))
        at = strpbrk(at + 1, "&;");
    return at ? at + 1 + length + 1 : NULL;
}

const char *virssh_fault(const char *uri)
{
    static const char *const of_libraries[] = { "known_hosts", "known_hosts_verify", "sshauth" };
    if (!virssh_is(uri))
        return NULL;
    for (size_t i = 0; i < sizeof of_libraries / sizeof *of_libraries; i++)
        if (parameter(uri, of_libraries[i]))
            return "gives ssh known_hosts, known_hosts_verify or sshauth, which libvirt would ignore: write "
                   "them into the ssh_config of the user autoscale runs as, or use qemu+libssh2://";
    const char *no_tty = parameter(uri, "no_tty");
    if (no_tty && *no_tty != '1')
        return "lets ssh ask, and nobody is there to answer: leave no_tty out";
    return NULL;
}

char *virssh_quiet(const char *uri)
{
    char *text = NULL;
    if (!virssh_is(uri) || parameter(uri, "no_tty"))
        return strdup(uri);
    return asprintf(&text, "%s%cno_tty=1", uri, strchr(uri, '?') ? '&' : '?') < 0 ? NULL : text;
}

/* --- what it said --------------------------------------------------------------------------------------- */

/* The last line that ssh wrote; "": none. libvirt puts words of its own in front and the reason of the read behind. */
static void last_line(const char *message, char *out, size_t size)
{
    const char *colon = strstr(message, ": "), *start = colon ? colon + 2 : message, *end = start;
    for (const char *c = strstr(start, ": "); c; c = strstr(c + 1, ": "))
        end = c;
    while (end > start && strchr("\r\n", end[-1]))
        end--;
    for (const char *c = start; c < end; c++)
        if (strchr("\r\n", *c))
            start = c + 1;
    snprintf(out, size, "%.*s", (int)(end - start), start);
}

bool virssh_refused(const char *uri, struct as_error *err)
{
    const virError *e = vir.GetLastError();
    const char *message = e && e->message ? e->message : "";
    char said[120];
    if (strncmp(message, "Cannot recv data: ", 18) != 0 &&
        strncmp(message, "End of file while reading data: ", 32) != 0)
        return false;
    last_line(message, said, sizeof said);
    if (strstr(message, "IDENTIFICATION HAS CHANGED"))
        as_fail(err, AS_EAUTH, "the host key of %.60s is not the one in ssh's known_hosts: find out why",
                uri);
    else if (strstr(message, "Host key verification failed"))
        as_fail(err, AS_EAUTH,
                "ssh does not know the host key of %.60s: put it into ~/.ssh/known_hosts of the user "
                "autoscale runs as",
                uri);
    else if (strstr(message, "Permission denied"))
        as_fail(err, AS_EAUTH, "%.60s refuses our key (ssh: %s): look at keyfile", uri, said);
    else
        as_fail(err, AS_EAGAIN, "connecting to %.60s: ssh: %s", uri,
                *said ? said : "the other end hung up without a word");
    return true;
}

/* --- the process ---------------------------------------------------------------------------------------- */

struct virssh {
    pid_t thread;       /* that connects; 0: none any more */
    pid_t pid;          /* 0: not known (yet) */
    virConnectPtr conn; /* NULL: not connected */
    struct virssh *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct virssh *all;

/* The processes of a thread of ours, as the kernel lists them: "12 34 ". */
static void children_of(pid_t thread, char *text, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)thread);
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, size - 1, f) : 0;
    text[n] = '\0';
    if (f)
        fclose(f);
}

/* Called with the lock. */
static void stop(const struct virssh *s)
{
    char text[256] = "", *at = text;
    if (s->pid > 0) {
        kill(s->pid, SIGTERM);
        return;
    }
    if (s->thread > 0)
        children_of(s->thread, text, sizeof text);
    for (long pid; (pid = strtol(at, &at, 10)) > 1;)
        kill((pid_t)pid, SIGTERM);
}

static void stop_all(void)
{
    pthread_mutex_lock(&lock);
    for (const struct virssh *s = all; s; s = s->next)
        stop(s);
    pthread_mutex_unlock(&lock);
}

struct virssh *virssh_new(void)
{
    static bool at_exit;
    struct virssh *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    pthread_mutex_lock(&lock);
    s->next = all;
    all = s;
    if (!at_exit)
        at_exit = atexit(stop_all) == 0;
    pthread_mutex_unlock(&lock);
    return s;
}

void virssh_starts(struct virssh *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&lock);
    s->thread = gettid();
    pthread_mutex_unlock(&lock);
}

/* Called with the lock. */
static void forget(struct virssh *s)
{
    struct virssh **at = &all;
    while (*at && *at != s)
        at = &(*at)->next;
    if (*at)
        *at = s->next;
    free(s);
}

void virssh_ended(struct virssh *s, virConnectPtr conn)
{
    char text[256] = "";
    if (!s)
        return;
    pthread_mutex_lock(&lock);
    if (conn) {
        children_of(s->thread, text, sizeof text);
        s->pid = (pid_t)strtol(text, NULL, 10);
        s->thread = 0;
        s->conn = conn;
    } else {
        forget(s);
    }
    pthread_mutex_unlock(&lock);
}

void virssh_stop(struct virssh *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&lock);
    stop(s);
    pthread_mutex_unlock(&lock);
}

void virssh_closed(virConnectPtr conn)
{
    pthread_mutex_lock(&lock);
    struct virssh *s = all;
    while (s && s->conn != conn)
        s = s->next;
    if (s)
        forget(s);
    pthread_mutex_unlock(&lock);
}
