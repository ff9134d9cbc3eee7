/* The web server inside the instances of the end-to-end tests: HTTP/1.1 with keep-alive, one thread per connection.
 * It says which instance answered, and it must never be kinder than a real server: until it is warm every path
 * answers 500, and SIGTERM ends it at once, with whatever it was answering.
 *
 *   /healthz     200 when warm                       WEB_PORT        8080
 *   /slow/MS     200 after MS milliseconds           WEB_SERVICE_MS  0: time any other path takes
 *   /hold        200 at the next /release            WEB_WARMUP_MS   0: 500 until then; -1: for ever
 *   any other    200 after WEB_SERVICE_MS            WEB_ADDRESS     0.0.0.0
 *                                                    WEB_NAME        of the host: who answered
 *   WEB_SLOW names a file; while it holds "NAME MS", every path of the instance of that name takes MS longer. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX 8192

static long service_ms, warmup_ms, started_ms;
static atomic_int releases;
static char host[65];

static long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static long env_number(const char *name, long otherwise)
{
    const char *text = getenv(name);
    return text ? strtol(text, NULL, 10) : otherwise;
}

static void nap(long ms)
{
    struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
    while (ms > 0 && nanosleep(&t, &t) != 0) {
    }
}

static long slowness(void)
{
    const char *path = getenv("WEB_SLOW");
    char name[65] = "";
    long ms = 0;
    FILE *f = path ? fopen(path, "re") : NULL;
    if (f && (fscanf(f, "%64s %ld", name, &ms) != 2 || strcmp(name, host) != 0))
        ms = 0;
    if (f)
        fclose(f);
    return ms;
}

static void hold(void)
{
    int before = atomic_load(&releases);
    while (atomic_load(&releases) == before)
        nap(20);
}

static void take_time(const char *path)
{
    if (strncmp(path, "/slow/", 6) == 0)
        nap(strtol(path + 6, NULL, 10));
    else if (strcmp(path, "/hold") == 0)
        hold();
    else if (strcmp(path, "/release") == 0)
        atomic_fetch_add(&releases, 1);
    else
        nap(service_ms + slowness());
}

static int answer(int fd, const char *path)
{
    int warm = warmup_ms >= 0 && now_ms() - started_ms >= warmup_ms, n;
    char text[512];
    if (warm && strncmp(path, "/healthz", 8) != 0)
        take_time(path);
    n = snprintf(
        text, sizeof text,
        "HTTP/1.1 %s\r\nX-Instance: %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s\n",
        warm ? "200 OK" : "500 Not Warm", host, strlen(host) + 1, host);
    return write(fd, text, (size_t)n) == n;
}

static void *serve(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char head[HEAD_MAX + 1], path[256], *end;
    size_t have = 0;
    ssize_t n;
    while (have < HEAD_MAX && (n = read(fd, head + have, HEAD_MAX - have)) > 0) {
        have += (size_t)n;
        head[have] = '\0';
        while ((end = strstr(head, "\r\n\r\n")) != NULL) {
            if (sscanf(head, "%*15s %255s", path) != 1 || !answer(fd, path) ||
                strstr(head, "onnection: close"))
                goto out;
            end += 4;
            have -= (size_t)(end - head);
            memmove(head, end, have + 1);
        }
    }
out:
    close(fd);
    return NULL;
}

int main(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_ANY) } };
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0), client;
    pthread_attr_t attr;
    pthread_t thread;
    signal(SIGPIPE, SIG_IGN);
    gethostname(host, sizeof host - 1);
    if (getenv("WEB_NAME"))
        snprintf(host, sizeof host, "%s", getenv("WEB_NAME"));
    service_ms = env_number("WEB_SERVICE_MS", 0);
    warmup_ms = env_number("WEB_WARMUP_MS", 0);
    started_ms = now_ms();
    if (getenv("WEB_ADDRESS") && inet_pton(AF_INET, getenv("WEB_ADDRESS"), &at.sin_addr) != 1)
        return 64;
    at.sin_port = htons((uint16_t)env_number("WEB_PORT", 8080));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 1024) != 0) {
        perror("web");
        return 1;
    }
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, 64 * 1024);
    while ((client = accept(fd, NULL, NULL)) >= 0) {
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (pthread_create(&thread, &attr, serve, (void *)(intptr_t)client) != 0)
            close(client);
    }
    return 1;
}
