/* What every test with servers of its own needs: ports for them, and what they said before they did not answer. */
#ifndef E2E_SERVER_KIT_H
#define E2E_SERVER_KIT_H

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

/* One of the loopback that is free now, below those that the kernel hands out by itself: nobody's outgoing connection
 * takes it before its server listens. */
static inline uint16_t free_port(void)
{
    static unsigned seed;
    if (seed == 0)
        seed = (unsigned)getpid() * 2654435761u + 1;
    for (int tries = 0; tries < 1000; tries++) {
        uint16_t port = (uint16_t)(10000 + rand_r(&seed) % 10000);
        struct sockaddr_in at = { .sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons(port) };
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool is_free = bind(fd, (struct sockaddr *)&at, sizeof at) == 0;
        close(fd);
        if (is_free)
            return port;
    }
    fail_msg("no free port");
    return 0;
}

/* The end of a log, for the text of a failure: the log goes with the test's directory. */
static inline const char *end_of(const char *path)
{
    static char text[1001];
    FILE *f = fopen(path, "re");
    if (f && fseek(f, -1000, SEEK_END) != 0)
        rewind(f);
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = '\0';
    if (f)
        fclose(f);
    return text;
}

#endif
