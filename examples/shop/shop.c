/* The shop: a small order service over HTTP, made to be scaled. An order occupies one of a few worker slots for the
 * configured service time, so one instance has a known capacity: workers / service time. Health answers never wait
 * behind orders. It must never answer 201 for an order that PostgreSQL has not confirmed, and never drop a request
 * that it has begun when it is asked to stop. */
#include "orderform.h"
#include "pool.h"

#include <arpa/inet.h>
#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define BODY_MAX 4096 /* an order is about 60 bytes */
#define UPLOAD_MAX                                                                                           \
    (64 * 1024) /* of a body that is too large, this much is read to be polite, then we hang up */
#define ANSWER_MAX      512
#define WORKERS_MAX     POOL_MAX
#define CONNECTIONS_MAX 1000
#define IDLE_TIMEOUT_S  75 /* longer than any balancer keeps an idle connection, so that it closes first */

struct settings {
    const char *listen, *database, *password_file;
    int port, workers, pool, service_ms, queue, grace_ms;
};

struct request { /* one HTTP request, from its head to the end of its answer */
    struct MHD_Connection *connection;
    struct request *next;
    size_t received, length;
    bool begun, is_order, answered;
    unsigned status;
    struct order order;
    char answer[ANSWER_MAX];
    char body[BODY_MAX + 1];
};

struct shop {
    struct settings settings;
    struct pool *pool;
    struct MHD_Daemon *http;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct request *head, *tail; /* orders waiting for a worker */
    int waiting, busy;
    bool finish; /* workers leave when the queue is empty */
    pthread_t threads[WORKERS_MAX];
    int thread_count;
    atomic_bool stopping;
    atomic_int active; /* requests begun and not yet answered */
};

/* --- answers ---------------------------------------------------------------------------------------------------- */

static void answer_error(struct request *r, unsigned status, const char *field, const char *text)
{
    cJSON *root = cJSON_CreateObject();
    if (root && field && *field)
        cJSON_AddStringToObject(root, "field", field);
    if (!root || !cJSON_AddStringToObject(root, "error", text) ||
        !cJSON_PrintPreallocated(root, r->answer, sizeof r->answer, 0))
        snprintf(r->answer, sizeof r->answer, "{\"error\":\"the order is not valid\"}");
    cJSON_Delete(root);
    r->status = status;
    r->answered = true;
}

static void answer_stored(struct request *r, int64_t id)
{
    snprintf(r->answer, sizeof r->answer,
             "{\"order_id\":%" PRId64 ",\"user_id\":%" PRId64 ",\"product_id\":%" PRId64 ",\"quantity\":%d}",
             id, r->order.user_id, r->order.product_id, r->order.quantity);
    r->status = MHD_HTTP_CREATED;
    r->answered = true;
}

static enum MHD_Result send_answer(struct shop *shop, struct request *r)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(r->answer), r->answer, MHD_RESPMEM_MUST_COPY);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Type", "application/json");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    if (r->status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, "Allow", r->is_order ? "POST" : "GET");
    if (r->status == MHD_HTTP_SERVICE_UNAVAILABLE)
        MHD_add_response_header(response, "Retry-After", "1");
    if (atomic_load(&shop->stopping)) /* nobody may send a next request on this connection */
        MHD_add_response_header(response, "Connection", "close");
    enum MHD_Result rc = MHD_queue_response(r->connection, r->status, response);
    MHD_destroy_response(response);
    return rc;
}

/* --- workers ----------------------------------------------------------------------------------------------------- */

static void store_order(struct shop *shop, struct request *r)
{
    int64_t id = 0;
    switch (pool_store(shop->pool, &r->order, &id)) {
    case POOL_STORED: answer_stored(r, id); break;
    case POOL_UNAVAILABLE:
        answer_error(r, MHD_HTTP_SERVICE_UNAVAILABLE, NULL,
                     "the database does not answer; nothing was ordered");
        break;
    case POOL_UNKNOWN:
        answer_error(r, MHD_HTTP_SERVICE_UNAVAILABLE, NULL,
                     "the database was lost on the way; the order may have been stored");
        break;
    case POOL_REFUSED:
        answer_error(r, MHD_HTTP_INTERNAL_SERVER_ERROR, NULL,
                     "the database refused the order; nothing was ordered");
        break;
    }
}

/* Sleeps until service_ms after `start`. */
static void serve_out(struct timespec start, int service_ms)
{
    start.tv_sec += service_ms / 1000;
    start.tv_nsec += (long)(service_ms % 1000) * 1000000;
    if (start.tv_nsec >= 1000000000) {
        start.tv_sec++;
        start.tv_nsec -= 1000000000;
    }
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &start, NULL) == EINTR)
        ;
}

static void *work(void *arg)
{
    struct shop *shop = arg;
    pthread_mutex_lock(&shop->lock);
    for (;;) {
        while (!shop->head && !shop->finish)
            pthread_cond_wait(&shop->work, &shop->lock);
        struct request *r = shop->head;
        if (!r)
            break;
        shop->head = r->next;
        shop->waiting--;
        shop->busy++;
        pthread_mutex_unlock(&shop->lock);

        struct timespec start;
        clock_gettime(CLOCK_MONOTONIC, &start);
        store_order(shop, r);
        serve_out(start, shop->settings.service_ms);
        MHD_resume_connection(r->connection); /* r belongs to the HTTP thread again */

        pthread_mutex_lock(&shop->lock);
        shop->busy--;
    }
    pthread_mutex_unlock(&shop->lock);
    return NULL;
}

/* False when the queue is full. The connection sleeps until a worker has answered. */
static bool enqueue(struct shop *shop, struct request *r)
{
    pthread_mutex_lock(&shop->lock);
    bool room = shop->waiting < shop->settings.queue;
    if (room) {
        MHD_suspend_connection(r->connection); /* before a worker can resume it */
        r->next = NULL;
        if (shop->head)
            shop->tail->next = r;
        else
            shop->head = r;
        shop->tail = r;
        shop->waiting++;
        pthread_cond_signal(&shop->work);
    }
    pthread_mutex_unlock(&shop->lock);
    return room;
}

/* --- HTTP -------------------------------------------------------------------------------------------------------- */

/* The process itself, and nothing it depends on: a database outage must not get every instance replaced. */
static void answer_health(struct shop *shop, struct request *r)
{
    bool ok = !atomic_load(&shop->stopping);
    snprintf(r->answer, sizeof r->answer, "{\"status\":\"%s\"}", ok ? "ok" : "stopping");
    r->status = ok ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
    r->answered = true;
}

static void answer_ready(struct shop *shop, struct request *r)
{
    bool db = pool_ready(shop->pool), ok = db && !atomic_load(&shop->stopping);
    pthread_mutex_lock(&shop->lock);
    int busy = shop->busy, waiting = shop->waiting;
    pthread_mutex_unlock(&shop->lock);
    snprintf(r->answer, sizeof r->answer,
             "{\"status\":\"%s\",\"database\":\"%s\",\"workers\":%d,\"busy\":%d,\"waiting\":%d}",
             ok ? "ready" : "not ready", db ? "answers" : "does not answer", shop->settings.workers, busy,
             waiting);
    r->status = ok ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
    r->answered = true;
}

static bool is_json(struct MHD_Connection *connection)
{
    const char *type = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Type");
    static const char json[] = "application/json";
    return type && strncasecmp(type, json, sizeof json - 1) == 0 && strchr("; \t", type[sizeof json - 1]);
}

/* What can be said from the head alone; orders go on to their body. */
static void begin(struct shop *shop, struct request *r, const char *url, const char *method)
{
    bool get = strcmp(method, MHD_HTTP_METHOD_GET) == 0, post = strcmp(method, MHD_HTTP_METHOD_POST) == 0;
    bool health = strcmp(url, "/healthz") == 0, ready = strcmp(url, "/readyz") == 0;
    r->is_order = strcmp(url, "/api/order") == 0;
    if (!r->is_order && !health && !ready)
        answer_error(r, MHD_HTTP_NOT_FOUND, NULL, "there is nothing here; orders go to POST /api/order");
    else if (r->is_order ? !post : !get)
        answer_error(r, MHD_HTTP_METHOD_NOT_ALLOWED, NULL, r->is_order ? "use POST" : "use GET");
    else if (health)
        answer_health(shop, r);
    else if (ready)
        answer_ready(shop, r);
    else if (!is_json(r->connection))
        answer_error(r, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, NULL,
                     "an order is sent as Content-Type: application/json");
}

/* The whole body is here. True when the order went to the workers. */
static bool place_order(struct shop *shop, struct request *r)
{
    struct order_problem problem;
    if (r->received > BODY_MAX) {
        answer_error(r, MHD_HTTP_CONTENT_TOO_LARGE, NULL, "the body is larger than 4096 bytes");
    } else if (order_parse(r->body, r->length, &r->order, &problem) < 0) {
        answer_error(r, MHD_HTTP_BAD_REQUEST, problem.field, problem.text);
    } else if (!enqueue(shop, r)) {
        answer_error(r, MHD_HTTP_SERVICE_UNAVAILABLE, NULL,
                     "too many orders are waiting; nothing was ordered");
    } else {
        return true;
    }
    return false;
}

static enum MHD_Result take_body(struct request *r, const char *data, size_t *size)
{
    size_t room = BODY_MAX - r->length, n = *size < room ? *size : room;
    if (r->received + *size > UPLOAD_MAX)
        return MHD_NO;
    if (!r->answered) {
        memcpy(r->body + r->length, data, n);
        r->length += n;
    }
    r->received += *size;
    *size = 0;
    return MHD_YES;
}

static enum MHD_Result handle(void *cls, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *data, size_t *size,
                              void **state)
{
    struct shop *shop = cls;
    struct request *r = *state;
    (void)version;
    if (!r) { /* the slot made in on_uri is missing: out of memory */
        return MHD_NO;
    }
    if (!r->begun) {
        r->begun = true;
        r->connection = connection;
        begin(shop, r, url, method);
        return MHD_YES;
    }
    if (*size)
        return take_body(r, data, size);
    if (!r->answered && place_order(shop, r))
        return MHD_YES; /* asleep until resumed with r->answered set */
    return send_answer(shop, r);
}

static void *on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
    struct shop *shop = cls;
    struct request *r = calloc(1, sizeof *r);
    (void)uri, (void)connection;
    if (r)
        atomic_fetch_add(&shop->active, 1);
    return r;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode why)
{
    struct shop *shop = cls;
    (void)connection, (void)why;
    if (!*state)
        return;
    free(*state);
    *state = NULL;
    atomic_fetch_sub(&shop->active, 1);
}

/* --- start and stop ---------------------------------------------------------------------------------------------- */

static int env_int(const char *name, int fallback, int min, int max)
{
    const char *text = getenv(name);
    if (!text || !*text)
        return fallback;
    char *end;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (errno || *end || v < min || v > max) {
        fprintf(stderr, "shop: %s must be a whole number from %d to %d\n", name, min, max);
        exit(64);
    }
    return (int)v;
}

static void read_settings(struct settings *s)
{
    const char *listen_on = getenv("LISTEN");
    s->listen = listen_on && *listen_on ? listen_on : "127.0.0.1";
    s->port = env_int("PORT", 8080, 0, 65535);
    s->database = getenv("DATABASE");
    s->password_file = getenv("DATABASE_PASSWORD_FILE");
    s->workers = env_int("SHOP_WORKERS", 4, 1, WORKERS_MAX);
    s->pool = env_int("SHOP_DB_POOL", s->workers, 1, POOL_MAX);
    s->service_ms = env_int("SHOP_SERVICE_MS", 40, 0, 60000);
    s->queue = env_int("SHOP_QUEUE", 256, 1, 10000);
    s->grace_ms = env_int("SHOP_GRACE_MS", 20000, 0, 600000);
    if (!s->database || !*s->database) {
        fprintf(stderr,
                "shop: DATABASE is not set; give a PostgreSQL connection string without a password, such as"
                " \"host=/run/postgresql user=shop dbname=shop\"\n");
        exit(64);
    }
}

static bool start_http(struct shop *shop)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)shop->settings.port) };
    if (inet_pton(AF_INET, shop->settings.listen, &at.sin_addr) != 1) {
        fprintf(stderr, "shop: LISTEN must be an IPv4 address such as 127.0.0.1\n");
        return false;
    }
    shop->http = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, (uint16_t)shop->settings.port, NULL, NULL,
        handle, shop, MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&at, MHD_OPTION_URI_LOG_CALLBACK, on_uri, shop,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, shop, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)16384, MHD_OPTION_END);
    if (!shop->http)
        fprintf(stderr, "shop: cannot listen on %s port %d: %s\n", shop->settings.listen, shop->settings.port,
                strerror(errno));
    return shop->http != NULL;
}

static bool start_workers(struct shop *shop)
{
    while (shop->thread_count < shop->settings.workers) {
        if (pthread_create(&shop->threads[shop->thread_count], NULL, work, shop) != 0) {
            fprintf(stderr, "shop: cannot start %d worker threads\n", shop->settings.workers);
            return false;
        }
        shop->thread_count++;
    }
    return true;
}

static void stop_workers(struct shop *shop)
{
    pthread_mutex_lock(&shop->lock);
    shop->finish = true;
    pthread_cond_broadcast(&shop->work);
    pthread_mutex_unlock(&shop->lock);
    while (shop->thread_count > 0)
        pthread_join(shop->threads[--shop->thread_count], NULL);
}

static bool is_connected(struct MHD_Daemon *http)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    return info && info->num_connections > 0;
}

/* Stops accepting, lets what has begun finish, and lingers while clients may still be sending on a connection that
 * they kept open. False when requests were still running at the deadline. */
static bool finish_requests(struct shop *shop)
{
    const int step_ms = 10, linger_ms = 200;
    int waited_ms = 0, quiet_ms = 0;
    atomic_store(&shop->stopping, true);
    MHD_socket listening = MHD_quiesce_daemon(shop->http);
    if (listening != MHD_INVALID_SOCKET)
        close(listening);
    while (waited_ms < shop->settings.grace_ms && is_connected(shop->http) && quiet_ms < linger_ms) {
        struct timespec step = { .tv_nsec = step_ms * 1000000 };
        nanosleep(&step, NULL);
        waited_ms += step_ms;
        quiet_ms = atomic_load(&shop->active) ? 0 : quiet_ms + step_ms;
    }
    return atomic_load(&shop->active) == 0;
}

static void say_started(const struct shop *shop)
{
    const struct settings *s = &shop->settings;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(shop->http, MHD_DAEMON_INFO_BIND_PORT);
    printf("shop: listening on %s port %d workers=%d service_ms=%d pool=%d\n", s->listen,
           info ? info->port : s->port, s->workers, s->service_ms, s->pool);
    fflush(stdout);
}

static int serve(struct shop *shop, const sigset_t *signals)
{
    char err[160];
    int number = 0;
    shop->pool = pool_open(shop->settings.database, shop->settings.password_file, shop->settings.pool, err,
                           sizeof err);
    if (!shop->pool) {
        fprintf(stderr, "shop: %s\n", err);
        return 1;
    }
    int rc = 1;
    if (start_workers(shop) && start_http(shop)) {
        say_started(shop);
        sigwait(signals, &number);
        if (!finish_requests(shop)) {
            fprintf(stderr, "shop: %d requests still running after the grace time, leaving them\n",
                    atomic_load(&shop->active));
            _exit(1); /* their workers may be stuck; a clean stop would wait for them */
        }
        rc = 0;
        printf("shop: stopped\n");
    }
    if (shop->http)
        MHD_stop_daemon(shop->http);
    stop_workers(shop);
    pool_close(shop->pool);
    return rc;
}

int main(int argc, char **argv)
{
    static struct shop shop = { .lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER };
    (void)argv;
    if (argc > 1) {
        puts("usage: shop        (no arguments; everything comes from the environment)\n"
             "  DATABASE                 PostgreSQL connection string, without a password (required)\n"
             "  DATABASE_PASSWORD_FILE   file whose first line is the password\n"
             "  LISTEN, PORT             default 127.0.0.1, 8080; port 0 takes a free one and prints it\n"
             "  SHOP_WORKERS             orders served at the same time, default 4\n"
             "  SHOP_SERVICE_MS          how long one order occupies a worker, default 40\n"
             "  SHOP_DB_POOL             database connections, default one per worker\n"
             "  SHOP_QUEUE               orders that may wait for a worker, default 256\n"
             "  SHOP_GRACE_MS            time for running requests after SIGTERM, default 20000");
        return strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0 ? 0 : 64;
    }
    read_settings(&shop.settings);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* before any thread: only sigwait takes them */
    signal(SIGPIPE, SIG_IGN);
    return serve(&shop, &signals);
}
