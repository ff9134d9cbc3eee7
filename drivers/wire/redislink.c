/* One kept Redis connection. It must never wait past its deadline, send anything but AUTH and INFO, or repeat
 * what a server says about AUTH: a server that does not know the command quotes its arguments. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#pragma GCC diagnostic push /* hiredis's own inline functions are not clean */
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include <hiredis.h>
#pragma GCC diagnostic pop

#include "autoscale/settings.h"
#include "redislink.h"

#define DEFAULT_PORT 6379
#define PASSWORD_MAX 1024

struct redislink_reader {
    redisReader *replies;
    redisReplyObjectFunctions functions;
};

int redislink_init(struct redislink *l, const char *address, const char *user, const char *password_file,
                   struct as_error *err)
{
    l->user = user;
    l->password_file = password_file;
    return endpoint_init(&l->at, address, DEFAULT_PORT, err);
}

static void link_drop(struct redislink *l)
{
    if (l->reader) {
        redisReaderFree(l->reader->replies);
        free(l->reader);
        close(l->fd);
    }
    l->reader = NULL;
    l->late = false;
}

void redislink_fini(struct redislink *l)
{
    link_drop(l);
    endpoint_fini(&l->at);
}

/* --- errors ----------------------------------------------------------------------------------- */

static int fail_lost(struct redislink *l, const char *why, struct as_error *err)
{
    link_drop(l);
    return as_fail(err, AS_EAGAIN, "connection lost: %s", why);
}

static int fail_late(const struct redislink *l, struct as_error *err)
{
    char span[32];
    return as_fail(err, AS_EAGAIN, "no answer within %s",
                   as_time_text(as_clock_monotonic() - l->began, span, sizeof span));
}

static bool begins(const char *text, const char *word)
{
    return strncasecmp(text, word, strlen(word)) == 0;
}

/* A refusal of any command, whatever was asked; AS_OK when it is none of the known ones. */
static int fail_known(const struct redislink *l, const char *text, struct as_error *err)
{
    if (begins(text, "NOAUTH") || begins(text, "ERR operation not permitted"))
        return as_fail(err, AS_EAUTH, "the server asks for a password and there is none: set password_file");
    if (begins(text, "NOPERM"))
        return as_fail(err, AS_EAUTH, "the user may not run INFO: ACL SETUSER %s +info",
                       l->user ? l->user : "default");
    if (begins(text, "DENIED"))
        return as_fail(err, AS_EAUTH,
                       "the server is in protected mode and takes no connection from this host: give it a "
                       "password or a bind address");
    if (begins(text, "ERR max number of clients"))
        return as_fail(err, AS_EAGAIN,
                       "too many clients, the server has no connection slot left for us: raise maxclients");
    if (begins(text, "BUSY"))
        return as_fail(err, AS_EAGAIN, "the server is busy with a script and answers nothing else");
    if (begins(text, "LOADING"))
        return as_fail(err, AS_EAGAIN, "the server is loading its data set");
    return AS_OK;
}

static int fail_info(struct redislink *l, const redisReply *r, struct as_error *err)
{
    char line[160];
    int rc = fail_known(l, r->str, err);
    if (rc == AS_OK)
        rc = as_fail(err, AS_EPROTO, "INFO gives: %s", endpoint_line(r->str, line, sizeof line));
    link_drop(l); /* what the server says before it closes may be heard once only */
    return rc;
}

/* Own words only: the server's might quote the password. */
static int fail_auth(struct redislink *l, const redisReply *r, struct as_error *err)
{
    const char *text = r->str;
    const char *user = l->user ? l->user : "default";
    int rc = AS_OK;
    if (!begins(text, "NOAUTH") && !begins(text, "NOPERM"))
        rc = fail_known(l, text, err);
    if (rc != AS_OK)
        ;
    else if (begins(text, "WRONGPASS") || begins(text, "ERR invalid password"))
        rc = as_fail(err, AS_EAUTH,
                     "the server refuses the password of user '%s': correct password_file or user", user);
    else if (begins(text, "ERR AUTH <password> called without") || begins(text, "ERR Client sent AUTH"))
        rc = as_fail(err, AS_EAUTH, "the server has no password set for user '%s': remove password_file",
                     user);
    else if (begins(text, "ERR wrong number of arguments"))
        rc = as_fail(err, AS_EAUTH, "the server knows no users (Redis before 6): remove user");
    else
        rc = as_fail(err, AS_EAUTH, "the server refuses AUTH for user '%s'", user);
    link_drop(l);
    return rc;
}

/* --- bytes ------------------------------------------------------------------------------------ */

static int link_send(struct redislink *l, const char *bytes, size_t len, as_time deadline,
                     struct as_error *err)
{
    while (len > 0) {
        ssize_t n = send(l->fd, bytes, len, MSG_NOSIGNAL);
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            return fail_lost(l, strerror(errno), err);
        if (endpoint_wait(l->fd, POLLOUT, deadline) <= 0) {
            link_drop(l); /* half a command was sent */
            return fail_late(l, err);
        }
    }
    l->commands++;
    return AS_OK;
}

/* One read of what has come. */
static int link_feed(struct redislink *l, struct as_error *err)
{
    char bytes[16384];
    ssize_t n = recv(l->fd, bytes, sizeof bytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return AS_OK;
    if (n <= 0)
        return fail_lost(l, n == 0 ? "the server closed it" : strerror(errno), err);
    l->received += (size_t)n;
    if (l->received > REDISLINK_REPLY_MAX) {
        link_drop(l);
        return as_fail(err, AS_EPROTO, "the answer is larger than %d KiB", REDISLINK_REPLY_MAX / 1024);
    }
    return redisReaderFeed(l->reader->replies, bytes, (size_t)n) == REDIS_OK
               ? AS_OK
               : as_fail(err, AS_ENOMEM, "out of memory");
}

/* The reply to the oldest command; the caller's. */
static int link_reply(struct redislink *l, as_time deadline, redisReply **out, struct as_error *err)
{
    void *reply = NULL;
    for (;;) {
        if (redisReaderGetReply(l->reader->replies, &reply) != REDIS_OK) {
            link_drop(l);
            return as_fail(
                err, AS_EPROTO,
                "the server does not speak Redis's protocol: look at the address (TLS is not spoken)");
        }
        if (reply)
            break;
        int n = endpoint_wait(l->fd, POLLIN, deadline);
        if (n == 0) {
            l->late_since = l->late ? l->late_since : as_clock_monotonic();
            l->late = true;
            return fail_late(l, err);
        }
        if (n < 0)
            return fail_lost(l, strerror(errno), err);
        int rc = link_feed(l, err);
        if (rc != AS_OK)
            return rc;
    }
    l->received = 0;
    *out = reply;
    return AS_OK;
}

/* --- connecting ------------------------------------------------------------------------------- */

/* Nothing we ask is answered with a list, whose announced length would be allocated at once. */
static void *refuse_list(const redisReadTask *task, int elements)
{
    (void)task;
    (void)elements;
    return NULL;
}

static int link_open(struct redislink *l, as_time deadline, struct as_error *err)
{
    int fd = -1, rc = endpoint_connect(&l->at, deadline, &fd, err);
    if (rc != AS_OK)
        return rc;
    struct redislink_reader *r = calloc(1, sizeof *r);
    if (!r || !(r->replies = redisReaderCreate())) {
        free(r);
        close(fd);
        return as_fail(err, AS_ENOMEM, "out of memory");
    }
    r->functions = *r->replies->fn;
    r->functions.createArray = refuse_list;
    r->replies->fn = &r->functions;
    l->fd = fd;
    l->received = 0;
    l->reader = r;
    return AS_OK;
}

static int auth_send(struct redislink *l, const char *password, as_time deadline, struct as_error *err)
{
    const char *argv[3] = { "AUTH", l->user ? l->user : password, password };
    char *command = NULL;
    int len = redisFormatCommandArgv(&command, l->user ? 3 : 2, argv, NULL);
    if (len < 0)
        return as_fail(err, AS_ENOMEM, "out of memory");
    int rc = link_send(l, command, (size_t)len, deadline, err);
    explicit_bzero(command, (size_t)len);
    redisFreeCommand(command);
    return rc;
}

static int link_auth(struct redislink *l, as_time deadline, struct as_error *err)
{
    char password[PASSWORD_MAX] = "";
    redisReply *reply = NULL;
    int rc = as_secret_read(l->password_file, password, sizeof password, err);
    if (rc == AS_OK)
        rc = auth_send(l, password, deadline, err);
    explicit_bzero(password, sizeof password);
    if (rc == AS_OK)
        rc = link_reply(l, deadline, &reply, err);
    if (rc == AS_OK && reply->type == REDIS_REPLY_ERROR)
        rc = fail_auth(l, reply, err);
    if (reply)
        freeReplyObject(reply);
    if (rc != AS_OK)
        link_drop(l); /* a late answer to AUTH is not worth waiting for */
    return rc;
}

static int link_connect(struct redislink *l, as_time deadline, struct as_error *err)
{
    int rc = link_open(l, deadline, err);
    return rc == AS_OK && l->password_file ? link_auth(l, deadline, err) : rc;
}

/* --- commands --------------------------------------------------------------------------------- */

/* Waits for the answer of an earlier call and drops it. */
static int link_drain(struct redislink *l, as_time deadline, struct as_error *err)
{
    redisReply *reply = NULL;
    if (as_clock_monotonic() - l->late_since > REDISLINK_LATE_MAX) {
        link_drop(l);
        return AS_OK;
    }
    int rc = link_reply(l, deadline, &reply, err);
    if (rc != AS_OK)
        return rc;
    freeReplyObject(reply);
    l->late = false;
    return AS_OK;
}

/* Takes the text out of a reply that is one. */
static int text_take(const redisReply *r, char **text, size_t *len, struct as_error *err)
{
    char *copy = malloc(r->len + 1);
    if (!copy)
        return as_fail(err, AS_ENOMEM, "out of memory");
    memcpy(copy, r->str, r->len);
    copy[r->len] = '\0';
    *text = copy;
    *len = r->len;
    return AS_OK;
}

static int link_run(struct redislink *l, as_time deadline, char **text, size_t *len, struct as_error *err)
{
    static const char info[] = "*1\r\n$4\r\nINFO\r\n";
    redisReply *reply = NULL;
    int rc = link_send(l, info, sizeof info - 1, deadline, err);
    if (rc == AS_OK)
        rc = link_reply(l, deadline, &reply, err);
    if (rc != AS_OK)
        return rc;
    if (reply->type == REDIS_REPLY_STRING)
        rc = text_take(reply, text, len, err);
    else if (reply->type == REDIS_REPLY_ERROR)
        rc = fail_info(l, reply, err);
    else
        rc = as_fail(err, AS_EPROTO, "INFO gives no text: look at the address");
    freeReplyObject(reply);
    return rc;
}

int redislink_info(struct redislink *l, as_time deadline, char **text, size_t *len, struct as_error *err)
{
    int rc = AS_OK;
    l->began = as_clock_monotonic();
    for (int attempt = 0; attempt < 2; attempt++) {
        bool kept = l->reader != NULL;
        if (l->late)
            rc = link_drain(l, deadline, err);
        if (rc == AS_OK && !l->reader)
            rc = link_connect(l, deadline, err);
        if (rc == AS_OK)
            rc = link_run(l, deadline, text, len, err);
        if (rc != AS_EAGAIN || !kept || l->reader)
            return rc;
        rc = AS_OK; /* a kept connection turned out dead: worth a second try */
        if (err)
            *err = (struct as_error){ 0 };
    }
    return rc;
}
