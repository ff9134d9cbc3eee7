/* A small PostgreSQL connection pool with one keeper thread. Every wait has a deadline, because a database that hangs
 * must cost an order a clear refusal and never a stuck worker; no error text shows the password. */
#include "pool.h"

#include <errno.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BORROW_MS    3000 /* an order waits this long for a connection */
#define QUERY_MS     3000
#define IDLE_MS      1000 /* an idle connection is asked for a sign of life after this long */
#define READY_MS     4000
#define KEEPER_MS    250
#define PASSWORD_MAX 256

enum slot_state { SLOT_DOWN, SLOT_FREE, SLOT_TAKEN };

struct slot {
    PGconn *conn;
    enum slot_state state;
    int64_t used_ms;
};

struct pool {
    char *conninfo, *password_file;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t keeper;
    bool stopping, up;   /* up: what was last said in the log */
    int64_t answered_ms; /* last time that the database answered, 0 never */
    int size;
    struct slot slots[POOL_MAX];
};

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void wait_until(struct pool *p, int64_t when_ms)
{
    struct timespec t = { .tv_sec = when_ms / 1000, .tv_nsec = (when_ms % 1000) * 1000000 };
    pthread_cond_timedwait(&p->changed, &p->lock, &t);
}

/* --- one query with a deadline ------------------------------------------------------------------------------- */

/* The next result of the query under way; NULL at its end or, with *late set, when it is not there in time. */
static PGresult *next_result(PGconn *conn, int64_t deadline, bool *late)
{
    while (PQisBusy(conn)) {
        int64_t left = deadline - now_ms();
        struct pollfd fd = { .fd = PQsocket(conn), .events = POLLIN };
        int n = left > 0 ? poll(&fd, 1, (int)left) : 0;
        if (n == 0 || (n < 0 && errno != EINTR)) {
            *late = true;
            return NULL;
        }
        if (n > 0 && !PQconsumeInput(conn))
            break; /* the failure is delivered as a result */
    }
    return PQgetResult(conn);
}

/* The only result, owned by the caller; NULL when none came in time (the connection is then of no more use). */
static PGresult *query(PGconn *conn, const char *sql, int count, const char *const *values)
{
    int64_t deadline = now_ms() + QUERY_MS;
    bool late = false;
    if (!PQsendQueryParams(conn, sql, count, NULL, values, NULL, NULL, 0))
        return NULL;
    PGresult *result = next_result(conn, deadline, &late), *more;
    while (result && (more = next_result(conn, deadline, &late)))
        PQclear(more);
    if (!late)
        return result;
    PQclear(result);
    return NULL;
}

/* --- the keeper -------------------------------------------------------------------------------------------------- */

static bool read_password(const char *path, char password[PASSWORD_MAX])
{
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool ok = fgets(password, PASSWORD_MAX, f) != NULL;
    fclose(f);
    if (ok)
        password[strcspn(password, "\r\n")] = '\0';
    return ok;
}

/* What the server adds to a lost connection; the loss itself is logged in our own words. */
static void ignore_notice(void *arg, const char *message)
{
    (void)arg, (void)message;
}

static PGconn *connect_now(const struct pool *p)
{
    char password[PASSWORD_MAX] = "";
    if (p->password_file && !read_password(p->password_file, password)) {
        fprintf(stderr, "shop: cannot read the password file %s: %s\n", p->password_file, strerror(errno));
        return NULL;
    }
    /* later keywords win over the conninfo; an empty password is not sent */
    const char *keys[] = { "dbname", "password", "connect_timeout", "fallback_application_name", NULL };
    const char *values[] = { p->conninfo, password, "3", "shop", NULL };
    PGconn *conn = PQconnectdbParams(keys, values, 1);
    explicit_bzero(password, sizeof password);
    if (conn && PQstatus(conn) == CONNECTION_OK) {
        PQsetNoticeProcessor(conn, ignore_notice, NULL);
        return conn;
    }
    PQfinish(conn);
    return NULL;
}

static bool ping(PGconn *conn)
{
    PGresult *r = query(conn, "SELECT 1", 0, NULL);
    bool ok = PQresultStatus(r) == PGRES_TUPLES_OK;
    PQclear(r);
    return ok;
}

/* Called with the lock held; says a change of state once. */
static void note_answer(struct pool *p, bool ok)
{
    if (ok)
        p->answered_ms = now_ms();
    if (ok == p->up)
        return;
    p->up = ok;
    fprintf(stderr,
            ok ? "shop: the database answers\n" : "shop: the database does not answer, trying again\n");
}

/* Gives a slot back, its connection dropped unless `ok`. Called with the lock held. */
static void give_back(struct pool *p, struct slot *s, bool ok)
{
    if (!ok) {
        PQfinish(s->conn);
        s->conn = NULL;
    }
    s->state = ok ? SLOT_FREE : SLOT_DOWN;
    s->used_ms = now_ms();
    pthread_cond_broadcast(&p->changed);
}

/* Connects one slot, or pings it when it has been idle; called and returns with the lock held, which is let go
 * meanwhile. A connection that died is no news, one that cannot be replaced is. */
static bool tend(struct pool *p, struct slot *s)
{
    PGconn *conn = s->conn;
    if (s->state == SLOT_TAKEN || (s->state == SLOT_FREE && now_ms() - s->used_ms < IDLE_MS))
        return true;
    s->state = SLOT_TAKEN;
    pthread_mutex_unlock(&p->lock);
    if (!conn || !ping(conn)) {
        PQfinish(conn);
        conn = connect_now(p);
    }
    pthread_mutex_lock(&p->lock);
    s->conn = conn;
    note_answer(p, conn != NULL);
    give_back(p, s, conn != NULL);
    return conn != NULL;
}

static void *keep(void *arg)
{
    struct pool *p = arg;
    pthread_mutex_lock(&p->lock);
    while (!p->stopping) {
        bool ok = true; /* one failure ends the round: a database that is away is not hammered */
        for (int i = 0; i < p->size && ok && !p->stopping; i++)
            ok = tend(p, &p->slots[i]);
        if (!p->stopping)
            wait_until(p, now_ms() + KEEPER_MS);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* --- for the workers ------------------------------------------------------------------------------------------- */

static struct slot *free_slot(struct pool *p)
{
    for (int i = 0; i < p->size; i++)
        if (p->slots[i].state == SLOT_FREE)
            return &p->slots[i];
    return NULL;
}

/* An idle connection on which the server has something to say is, but for rare notices, one that it has closed: an
 * order is not risked on it. */
static bool is_alive(PGconn *conn)
{
    struct pollfd fd = { .fd = PQsocket(conn), .events = POLLIN };
    return fd.fd >= 0 && poll(&fd, 1, 0) == 0;
}

static struct slot *borrow(struct pool *p)
{
    int64_t deadline = now_ms() + BORROW_MS;
    struct slot *found = NULL;
    pthread_mutex_lock(&p->lock);
    while (!found && now_ms() < deadline) {
        found = free_slot(p);
        if (found && !is_alive(found->conn)) {
            give_back(p, found, false);
            found = NULL;
        } else if (!found) {
            wait_until(p, deadline);
        }
    }
    if (found)
        found->state = SLOT_TAKEN;
    pthread_mutex_unlock(&p->lock);
    return found;
}

enum pool_result pool_store(struct pool *p, const struct order *order, int64_t *order_id)
{
    char user[24], product[24], quantity[12];
    const char *values[] = { user, product, quantity };
    snprintf(user, sizeof user, "%" PRId64, order->user_id);
    snprintf(product, sizeof product, "%" PRId64, order->product_id);
    snprintf(quantity, sizeof quantity, "%d", order->quantity);

    struct slot *s = borrow(p);
    if (!s)
        return POOL_UNAVAILABLE;
    PGresult *r = query(s->conn,
                        "INSERT INTO orders (user_id, product_id, quantity)"
                        " VALUES ($1::bigint, $2::bigint, $3::integer) RETURNING id",
                        3, values);
    enum pool_result result = POOL_UNKNOWN;
    if (PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) == 1) {
        *order_id = strtoll(PQgetvalue(r, 0, 0), NULL, 10);
        result = POOL_STORED;
    } else if (r && PQstatus(s->conn) == CONNECTION_OK) {
        const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
        fprintf(stderr, "shop: the database refused an order (SQLSTATE %s)\n", state ? state : "none");
        result = POOL_REFUSED;
    }
    PQclear(r);
    pthread_mutex_lock(&p->lock);
    if (result != POOL_UNKNOWN)
        note_answer(p, true);
    give_back(p, s, result != POOL_UNKNOWN);
    pthread_mutex_unlock(&p->lock);
    return result;
}

bool pool_ready(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    bool ready = p->answered_ms && now_ms() - p->answered_ms < READY_MS;
    pthread_mutex_unlock(&p->lock);
    return ready;
}

/* --- open and close ---------------------------------------------------------------------------------------------- */

static int check_conninfo(const char *conninfo, char *err, size_t err_size)
{
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    if (!options) {
        snprintf(err, err_size, "DATABASE is not a valid PostgreSQL connection string");
        return -1;
    }
    bool secret = false;
    for (PQconninfoOption *o = options; o->keyword; o++)
        secret = secret || (strcmp(o->keyword, "password") == 0 && o->val);
    PQconninfoFree(options);
    if (secret)
        snprintf(err, err_size,
                 "DATABASE holds a password; put it into a file and name it in DATABASE_PASSWORD_FILE");
    return secret ? -1 : 0;
}

static void pool_free(struct pool *p)
{
    for (int i = 0; i < p->size; i++)
        PQfinish(p->slots[i].conn);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p->conninfo);
    free(p->password_file);
    free(p);
}

struct pool *pool_open(const char *conninfo, const char *password_file, int size, char *err, size_t err_size)
{
    if (check_conninfo(conninfo, err, err_size) < 0)
        return NULL;
    snprintf(err, err_size, "out of memory or threads");
    struct pool *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->size = size;
    p->up = true; /* so that a database away from the start is said */
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, &attr);
    pthread_condattr_destroy(&attr);
    p->conninfo = strdup(conninfo);
    p->password_file = password_file ? strdup(password_file) : NULL;
    if (!p->conninfo || (password_file && !p->password_file) ||
        pthread_create(&p->keeper, NULL, keep, p) != 0) {
        pool_free(p);
        return NULL;
    }
    return p;
}

void pool_close(struct pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->keeper, NULL);
    pool_free(p);
}
