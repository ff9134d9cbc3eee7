/* What the nginx balancer knows of nginx, and its reloads. It believes nothing before a proof: a signal that was
 * sent says nothing, since nginx keeps its old configuration without a word when the new one fails. */
#include "nginx_view.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE (5 * AS_SECOND) /* a reload not proven by then has failed (nginx tries to bind for 2.5 s) */
#define ROUND_MS 20
#define SPARE_MS 100 /* of a deadline, for what follows a wait */

/* --- looking ------------------------------------------------------------------------------------------- */

void nginx_view_fini(struct nginx_view *v)
{
    nginx_pool_fini(&v->pool);
    free(v->text);
}

/* "web 17": the name must be ours, or the URL shows another upstream's marker. */
static bool read_marker(const struct nginx_link *b, const char *body, uint64_t *generation)
{
    size_t n = strlen(b->upstream);
    char *end;
    if (strncmp(body, b->upstream, n) != 0 || body[n] != ' ' || body[n + 1] < '0' || body[n + 1] > '9')
        return false;
    *generation = strtoull(body + n + 1, &end, 10);
    return strspn(end, " \r\n") == strlen(end);
}

/* A marker that is not there yet (the first reload is still to come) is an answer too: generation 0. */
static int ask_marker(struct nginx_link *b, as_time deadline, struct nginx_view *v, struct as_error *err)
{
    struct http_answer answer;
    struct as_error why;
    int rc = nginx_page_get(&b->marker, deadline, &answer, &why);
    v->generation = 0;
    if (rc == AS_OK) {
        if (!read_marker(b, answer.body, &v->generation)) {
            v->generation = 0;
            snprintf(v->why, sizeof v->why, "the marker does not name the upstream %s", b->upstream);
        }
        http_answer_fini(&answer);
    } else if (rc == AS_ENOENT || (rc == AS_EAGAIN && b->seen == 0 && as_time_left(deadline) > 0)) {
        snprintf(v->why, sizeof v->why, "the marker is not there (%.120s)", why.msg);
    } else {
        return as_fail(err, (enum as_rc)rc, "cannot tell what nginx runs: %s", why.msg);
    }
    if (v->generation > b->seen)
        b->seen = v->generation;
    return AS_OK;
}

static int look_at_nginx(struct nginx_link *b, as_time deadline, struct nginx_view *v, struct as_error *err)
{
    struct as_error why;
    int rc = nginx_master_find(b->pid_file, &v->master, &why);
    v->running = rc == AS_OK;
    if (rc && rc != AS_ENOENT)
        return as_fail(err, (enum as_rc)rc, "%s", why.msg);
    if (!v->running) {
        snprintf(v->why, sizeof v->why, "%.170s", why.msg);
        b->sent = 0; /* what starts reads the file */
        return AS_OK;
    }
    rc = nginx_master_workers(b->pid_file, &v->master, &v->workers, err);
    if (rc == AS_OK && b->has_marker && v->pool.generation)
        rc = ask_marker(b, deadline, v, err);
    return rc;
}

/* Moments of another boot are all in the past. */
static void forget_old_boot(struct nginx_pool *p)
{
    char boot[sizeof p->boot];
    nginx_boot_id(boot, sizeof boot);
    if (strcmp(boot, p->boot) == 0)
        return;
    for (size_t i = 0; i < p->count; i++)
        p->items[i].at = 0;
    snprintf(p->boot, sizeof p->boot, "%s", boot);
}

int nginx_look(struct nginx_link *b, as_time deadline, struct nginx_view *v, struct as_error *err)
{
    int rc = nginx_file_load(b->include, b->mark, &v->pool, &v->text, err);
    if (rc)
        return rc;
    forget_old_boot(&v->pool);
    return look_at_nginx(b, deadline, v, err);
}

bool nginx_effective(const struct nginx_link *b, const struct nginx_view *v, const struct nginx_server *s)
{
    if (!v->running || v->workers.oldest < s->at) /* for a moment old workers take work beside the new ones */
        return false;
    /* A marker above the file's generation is of a file that was put away meanwhile. */
    return !b->has_marker || (s->since <= v->generation && v->generation <= v->pool.generation);
}

int nginx_old_workers(const struct nginx_view *v, const struct nginx_server *s)
{
    int n = 0;
    for (size_t i = 0; i < v->workers.count; i++)
        n += v->workers.starts[i] < s->at;
    return n;
}

/* --- reloads ------------------------------------------------------------------------------------------- */

void nginx_want_reload(struct nginx_link *b, as_time at)
{
    if (!b->wanted || at < b->due)
        b->due = at;
    b->wanted = true;
}

static as_time next_turn(const struct nginx_link *b)
{
    return b->last ? b->last + b->interval : 0;
}

static void judge_reload(struct nginx_link *b, const struct nginx_view *v, as_time now)
{
    bool proven = v->workers.oldest >= b->sent_at && (!b->has_marker || v->generation >= b->sent_generation);
    if (proven) {
        b->sent = 0;
        b->failed = false;
        return;
    }
    if (now - b->sent < PATIENCE)
        return;
    b->sent = 0;
    b->failed = true;
    if (v->workers.former)
        snprintf(
            b->reason, sizeof b->reason,
            "the workers of the master before its upgrade still serve as before, kill -QUIT %d ends them",
            (int)v->workers.former);
    else if (v->why[0])
        snprintf(b->reason, sizeof b->reason, "%.120s; is our file included at http level?", v->why);
    else
        snprintf(b->reason, sizeof b->reason,
                 "it goes on with its old configuration, a `listen` may be in use");
}

int nginx_reload_step(struct nginx_link *b, const struct nginx_view *v, struct as_error *err)
{
    as_time now = as_clock_monotonic();
    if (!v->running)
        return AS_OK;
    if (b->sent)
        judge_reload(b, v, now);
    as_time due = next_turn(b) > b->due ? next_turn(b) : b->due;
    if (!b->wanted || b->sent || now < due)
        return AS_OK;
    int64_t at = nginx_boot_ms();
    int rc = nginx_master_hup(&v->master, err);
    if (rc)
        return rc;
    b->wanted = false;
    b->sent = b->last = now;
    b->sent_at = at;
    b->sent_generation = v->pool.generation;
    return AS_OK;
}

bool nginx_moving(const struct nginx_link *b)
{
    return b->sent || (b->wanted && b->due == 0);
}

static int look_again(struct nginx_link *b, as_time deadline, struct nginx_view *v, struct as_error *err)
{
    int rc;
    poll(NULL, 0, ROUND_MS);
    v->why[0] = '\0';
    rc = look_at_nginx(b, deadline, v, err);
    return rc ? rc : nginx_reload_step(b, v, err);
}

static int not_proven(const struct nginx_link *b, struct as_error *err)
{
    if (b->failed)
        return as_fail(err, AS_EUNKNOWN, "nginx did not take the reload: %s; read nginx's error log",
                       b->reason);
    return as_fail(err, AS_EAGAIN, "the reload of nginx is still under way");
}

/* Before a write: a reload that reads the file while it changes would prove nothing. */
int nginx_await_reload(struct nginx_link *b, as_time deadline, struct nginx_view *v, struct as_error *err)
{
    int rc = nginx_reload_step(b, v, err);
    while (rc == AS_OK && b->sent && v->running && as_time_left(deadline) > SPARE_MS)
        rc = look_again(b, deadline, v, err);
    if (rc)
        return rc;
    return b->sent && v->running ? as_fail(err, AS_EAGAIN, "a reload of nginx is still under way") : AS_OK;
}

/* After a write. What failed before is waited for, so that the caller hears the reason. */
int nginx_push(struct nginx_link *b, as_time deadline, struct nginx_view *v, bool wait, struct as_error *err)
{
    if (!v->running)
        return as_fail(err, AS_EAGAIN, "%s is written, but %s: start it", b->include, v->why);
    nginx_want_reload(b, 0);
    int rc = nginx_reload_step(b, v, err);
    wait = wait || b->failed;
    while (rc == AS_OK && wait && nginx_moving(b) && v->running && as_time_left(deadline) > SPARE_MS)
        rc = look_again(b, deadline, v, err);
    if (rc == AS_EAGAIN && !b->failed) { /* the file is written, and nginx may have been told */
        if (err)
            err->rc = AS_EUNKNOWN;
        return AS_EUNKNOWN;
    }
    if ((rc && rc != AS_EAGAIN) || !wait)
        return rc;
    return rc || nginx_moving(b) || b->failed ? not_proven(b, err) : AS_OK;
}
