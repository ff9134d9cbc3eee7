/* The client's side of the benchmarks: when does somebody outside notice? It talks plain HTTP over loopback and
 * the Docker socket, nothing of autoscale, so that both sides of a ratio are measured by the same eyes.
 *
 *     bench_client react ADDRESS PORT HOLD HOLD_MS NEW SECONDS
 *         learns who serves, opens HOLD requests of HOLD_MS each at once (the load), and prints the milliseconds from then
 *         until NEW instances that were not there before have each answered a request
 *     bench_client launch SOCKET NAME BODY ADDRESS PORT COUNT SECONDS
 *         creates and starts COUNT containers NAME-0… at the same time (BODY with PORT replaced), and prints the
 *         milliseconds until each has given its first byte of HTTP at ADDRESS, PORT and up
 *     bench_client await ADDRESS PORT COUNT SECONDS
 *         the same for containers that somebody else starts
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MAX 8192
#define NAME_SIZE  96
#define MANY       256
#define PAUSE_US   2000

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *fmt, ...)
{
    va_list ap;
    fputs("bench_client: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int number(const char *text, int most)
{
    char *end;
    long n = strtol(text, &end, 10);
    if (end == text || *end || n < 1 || n > most)
        die("'%s' is not a number from 1 to %d", text, most);
    return (int)n;
}

/* --- HTTP ------------------------------------------------------------------------------------------- */

static struct sockaddr_in tcp_address(const char *address, int port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    if (inet_pton(AF_INET, address, &at.sin_addr) != 1)
        die("'%s' is not an address", address);
    return at;
}

static int dial(const struct sockaddr *at, socklen_t len)
{
    int fd = socket(at->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = { .tv_sec = 30 };
    if (fd < 0)
        die("socket: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, at, len) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool send_text(int fd, const char *text)
{
    size_t n = strlen(text);
    return send(fd, text, n, MSG_NOSIGNAL) == (ssize_t)n;
}

/* Reads to the end, keeps what fits. */
static size_t read_answer(int fd, char *answer)
{
    size_t have = 0;
    char rest[1024];
    for (ssize_t n = 1; n > 0;) {
        bool full = have == ANSWER_MAX - 1;
        n = full ? read(fd, rest, sizeof rest) : read(fd, answer + have, ANSWER_MAX - 1 - have);
        have += !full && n > 0 ? (size_t)n : 0;
    }
    answer[have] = '\0';
    return have;
}

/* --- who answers -------------------------------------------------------------------------------------- */

struct names {
    char name[MANY][NAME_SIZE];
    int count;
};

static bool names_add(struct names *s, const char *name)
{
    for (int k = 0; k < s->count; k++)
        if (strcmp(s->name[k], name) == 0)
            return false;
    if (s->count == MANY)
        die("more than %d instances answer", MANY);
    snprintf(s->name[s->count++], NAME_SIZE, "%s", name);
    return true;
}

/* One request on a connection of its own. False when nobody answered it with 200. */
static bool who_answers(const struct sockaddr_in *at, char *name)
{
    char answer[ANSWER_MAX];
    int fd = dial((const struct sockaddr *)at, sizeof *at);
    if (fd < 0)
        return false;
    size_t n = send_text(fd, "GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
                   ? read_answer(fd, answer)
                   : 0;
    close(fd);
    const char *by = n ? strcasestr(answer, "\nX-Instance: ") : NULL;
    return n && strncmp(answer, "HTTP/1.1 200", 12) == 0 && by && sscanf(by + 13, "%95s", name) == 1;
}

/* The numbers of a run: how many requests, how long each, how many new instances, how long to wait. */
struct burst {
    int hold, hold_ms, wanted, seconds;
};

static void react(const char *address, int port, struct burst b)
{
    struct sockaddr_in at = tcp_address(address, port);
    struct names known = { 0 };
    char name[NAME_SIZE], request[128];
    int held[MANY], fresh = 0;
    snprintf(request, sizeof request, "GET /slow/%d HTTP/1.1\r\nHost: bench\r\n\r\n", b.hold_ms);
    for (int k = 0; k < 50; k++)
        if (who_answers(&at, name))
            names_add(&known, name);
    if (known.count == 0)
        die("nobody serves at %s:%d", address, port);
    for (int k = 0; k < b.hold; k++)
        if ((held[k] = dial((struct sockaddr *)&at, sizeof at)) < 0)
            die("%s:%d does not accept", address, port);
    double start = now_ms();
    for (int k = 0; k < b.hold; k++)
        if (!send_text(held[k], request))
            die("%s:%d does not take a request", address, port);
    while (fresh < b.wanted) {
        if (who_answers(&at, name) && names_add(&known, name))
            fresh++;
        else
            usleep(PAUSE_US);
        if (now_ms() - start > b.seconds * 1e3)
            die("%d of %d new instances served within %d s", fresh, b.wanted, b.seconds);
    }
    printf("%.1f\n", now_ms() - start);
}

/* --- the same by hand ------------------------------------------------------------------------------------ */

struct launch {
    pthread_t thread;
    const char *socket, *name, *body, *address;
    int number, port, seconds;
};

static void docker_post(const struct launch *l, const char *path, const char *body)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    char answer[ANSWER_MAX], request[ANSWER_MAX];
    snprintf(at.sun_path, sizeof at.sun_path, "%s", l->socket);
    int fd = dial((struct sockaddr *)&at, sizeof at), status = 0;
    if (fd < 0)
        die("Docker at %s does not accept", l->socket);
    snprintf(
        request, sizeof request,
        "POST /v1.40%s HTTP/1.1\r\nHost: docker\r\nConnection: close\r\nContent-Type: application/json\r\n"
        "Content-Length: %zu\r\n\r\n%s",
        path, strlen(body), body);
    if (!send_text(fd, request) || read_answer(fd, answer) == 0 ||
        sscanf(answer, "HTTP/1.1 %d", &status) != 1 || status >= 300)
        die("Docker answered %.300s", answer);
    close(fd);
}

static void first_byte(const struct launch *l)
{
    struct sockaddr_in at = tcp_address(l->address, l->port);
    double until = now_ms() + l->seconds * 1e3;
    char byte;
    for (;;) {
        int fd = dial((struct sockaddr *)&at, sizeof at);
        bool got = fd >= 0 && send_text(fd, "GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n") &&
                   read(fd, &byte, 1) == 1;
        if (fd >= 0)
            close(fd);
        if (got)
            return;
        if (now_ms() > until)
            die("%s-%d gave no answer within %d s", l->name, l->number, l->seconds);
        usleep(PAUSE_US);
    }
}

static void *launch_one(void *arg)
{
    const struct launch *l = arg;
    char body[ANSWER_MAX / 2], path[256];
    const char *at = strstr(l->body, "PORT");
    if (!at)
        die("the body names no PORT");
    snprintf(body, sizeof body, "%.*s%d%s", (int)(at - l->body), l->body, l->port, at + 4);
    snprintf(path, sizeof path, "/containers/create?name=%s-%d", l->name, l->number);
    docker_post(l, path, body);
    snprintf(path, sizeof path, "/containers/%s-%d/start", l->name, l->number);
    docker_post(l, path, "");
    first_byte(l);
    return NULL;
}

static void *await_one(void *arg)
{
    first_byte(arg);
    return NULL;
}

static void launch(const struct launch *like, int count, void *(*each)(void *))
{
    struct launch all[MANY];
    double start = now_ms();
    for (int k = 0; k < count; k++) {
        all[k] = *like;
        all[k].number = k;
        all[k].port = like->port + k;
        if (pthread_create(&all[k].thread, NULL, each, &all[k]) != 0)
            die("no thread");
    }
    for (int k = 0; k < count; k++)
        pthread_join(all[k].thread, NULL);
    printf("%.1f\n", now_ms() - start);
}

/* From now until the first 200. Nobody is there at first, so that no attempt may take long. */
static void serves(const char *address, int port, int seconds)
{
    struct sockaddr_in at = tcp_address(address, port);
    struct timeval patience = { .tv_usec = 200000 };
    double start = now_ms();
    char answer[ANSWER_MAX];
    for (bool served = false; !served; usleep(PAUSE_US)) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            die("socket: %s", strerror(errno));
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* of connect as well */
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ .tv_sec = 5 }, sizeof patience);
        served = connect(fd, (struct sockaddr *)&at, sizeof at) == 0 &&
                 send_text(fd, "GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n") &&
                 read_answer(fd, answer) > 0 && strncmp(answer + 8, " 200", 4) == 0;
        close(fd);
        if (!served && now_ms() - start > seconds * 1e3)
            die("%s:%d did not serve within %d s", address, port, seconds);
    }
    printf("%.1f\n", now_ms() - start);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "serves") == 0) {
        serves(argv[2], number(argv[3], 65535), number(argv[4], 600));
        return 0;
    }
    if (argc == 8 && strcmp(argv[1], "react") == 0) {
        struct burst b = { number(argv[4], MANY), number(argv[5], 600000), number(argv[6], MANY),
                           number(argv[7], 600) };
        react(argv[2], number(argv[3], 65535), b);
        return 0;
    }
    if (argc == 9 && strcmp(argv[1], "launch") == 0) {
        struct launch like = { .socket = argv[2],
                               .name = argv[3],
                               .body = argv[4],
                               .address = argv[5],
                               .port = number(argv[6], 65535),
                               .seconds = number(argv[8], 600) };
        launch(&like, number(argv[7], MANY), launch_one);
        return 0;
    }
    if (argc == 6 && strcmp(argv[1], "await") == 0) {
        struct launch like = { .name = "container",
                               .address = argv[2],
                               .port = number(argv[3], 65535),
                               .seconds = number(argv[5], 600) };
        launch(&like, number(argv[4], MANY), await_one);
        return 0;
    }
    fputs("usage: bench_client react ADDRESS PORT HOLD HOLD_MS NEW SECONDS\n"
          "       bench_client launch SOCKET NAME BODY ADDRESS PORT COUNT SECONDS\n"
          "       bench_client await ADDRESS PORT COUNT SECONDS\n"
          "       bench_client serves ADDRESS PORT SECONDS\n",
          stderr);
    return 2;
}
