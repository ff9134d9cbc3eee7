/* A running nginx as the system shows it: its master, its workers and their age, a test of its configuration
 * and the signal that makes it read it again. Times are ms of the boot clock, in whole ticks of /proc. */
#ifndef BALANCER_NGINX_MASTER_H
#define BALANCER_NGINX_MASTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../wire/subprocess.h"

#define NGINX_WORKERS_MAX 2048

struct nginx_master {
    pid_t pid;
    int64_t start;
};

struct nginx_workers {
    size_t count;             /* of starts; more workers than the cap are AS_EPROTO                   */
    int64_t starts[NGINX_WORKERS_MAX]; /* of all workers, also those that only finish their requests  */
    int64_t oldest;           /* start of the oldest one that takes new work, -1: there is none       */
    pid_t former;             /* a master before an upgrade whose workers take new work, 0: none      */
};

int64_t nginx_boot_ms(void);
void nginx_boot_id(char *buf, size_t size);

/* AS_ENOENT: not running (no pid file, or its pid is no nginx master). AS_EAGAIN: the master is just being replaced.
 * AS_EIO: /proc cannot be read. */
int nginx_master_find(const char *pid_file, struct nginx_master *out, struct as_error *err);
/* Of this master, and of the one before it while an upgrade of nginx (SIGUSR2) has both. */
int nginx_master_workers(const char *pid_file, const struct nginx_master *m, struct nginx_workers *out,
                         struct as_error *err);
/* Never signals a process that is no nginx master. */
int nginx_master_hup(const struct nginx_master *m, struct as_error *err);

/* Runs `NGINX -t -q -c CONFIG`, which `test` holds. AS_EINVAL with nginx's own words when it refuses; AS_EAGAIN when
 * it did not end by the deadline, could not be started, or fails without a word. `err` is not NULL. */
int nginx_config_test(struct subprocess *test, as_time deadline, struct as_error *err);

#endif
