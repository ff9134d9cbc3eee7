/* What the tests of the process compute driver share: one opened driver, records and files of a test's directory, and
 * the end of whatever a failed test left behind. Included once. */
#ifndef E2E_PROCESS_KIT_H
#define E2E_PROCESS_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../drivers/compute/process.h"

extern const struct as_compute_driver as_compute_process;

#define SLEEPER  "command = [ \"sleep\", \"1000\" ];"
#define ADDRESS  "127.0.83.1"
#define PATIENCE (30 * AS_SECOND)

static char dir[64];

/* --- helpers ---------------------------------------------------------------------------------------- */

struct driver {
    void *state;
    struct as_settings *settings;
    struct as_owner owner;
    struct as_error err;
};

static inline as_time in(as_time ms)
{
    return as_clock_monotonic() + ms;
}

static inline int try_open(struct driver *d, const char *controller, const char *group, const char *text)
{
    char whole[2048];
    *d = (struct driver){ .owner = { .controller = controller, .group = group } };
    d->state = calloc(1, as_compute_process.state_size);
    assert_non_null(d->state);
    snprintf(whole, sizeof whole, "directory = \"%s/state\"; address = \"" ADDRESS "\"; %s", dir, text);
    if (as_settings_parse(as_compute_process.options, whole, &d->settings, &d->err) != AS_OK)
        fail_msg("settings: %s", d->err.msg);
    return as_compute_process.open(d->state, d->settings, &d->owner, "local", &d->err);
}

static inline struct driver open_as(const char *controller, const char *group, const char *text)
{
    struct driver d;
    if (try_open(&d, controller, group, text) != AS_OK)
        fail_msg("open: %s", d.err.msg);
    return d;
}

static inline struct driver open_driver(const char *text)
{
    return open_as("test", "web", text);
}

static inline void close_driver(struct driver *d)
{
    as_compute_process.close(d->state);
    as_settings_free(d->settings);
    free(d->state);
}

static inline int create(struct driver *d, const char *id, struct as_instance *out)
{
    struct as_launch launch = { .id = id, .revision = "r1" };
    struct as_instance ignored;
    d->err = (struct as_error){ 0 };
    return as_compute_process.create(d->state, in(PATIENCE), &launch, out ? out : &ignored, &d->err);
}

static inline void must_create(struct driver *d, const char *id, struct as_instance *out)
{
    if (create(d, id, out) != AS_OK)
        fail_msg("create %s: %s", id, d->err.msg);
}

static inline struct as_instance named(const char *id)
{
    struct as_instance i = { 0 };
    snprintf(i.id, sizeof i.id, "%s", id);
    return i;
}

static inline int destroy(struct driver *d, const char *id)
{
    struct as_instance i = named(id);
    d->err = (struct as_error){ 0 };
    return as_compute_process.destroy(d->state, in(PATIENCE), &i, &d->err);
}

static inline void must_destroy(struct driver *d, const char *id)
{
    if (destroy(d, id) != AS_OK)
        fail_msg("destroy %s: %s", id, d->err.msg);
}

/* How many are listed; *out gets the one of this id when it is. */
static inline size_t list(struct driver *d, const char *id, struct as_instance *out, int *room)
{
    struct as_instances all = { 0 };
    size_t count;
    d->err = (struct as_error){ 0 };
    if (as_compute_process.list(d->state, in(PATIENCE), &all, &d->err) != AS_OK)
        fail_msg("list: %s", d->err.msg);
    count = all.count;
    for (size_t i = 0; out && i < all.count; i++)
        if (strcmp(all.items[i].id, id) == 0)
            *out = all.items[i];
    if (room)
        *room = all.room;
    as_instances_fini(&all);
    return count;
}

/* Waits until the instance is listed in this state. */
static inline struct as_instance await(struct driver *d, const char *id, enum as_run_state state)
{
    struct as_instance i;
    for (as_time until = in(PATIENCE); as_time_left(until) > 0;
         nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL)) {
        i = named("");
        list(d, id, &i, NULL);
        if (i.id[0] && i.state == state)
            return i;
    }
    fail_msg("%s did not reach state %d but is %d: %s", id, state, i.state, i.detail);
    return i;
}

static inline const char *path_of(const char *name)
{
    static char path[640];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static inline char *contents(const char *name)
{
    static char text[65536];
    FILE *f = fopen(path_of(name), "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = '\0';
    if (f)
        fclose(f);
    return text;
}

static inline void put(const char *name, const char *text)
{
    FILE *f = fopen(path_of(name), "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static inline bool exists(const char *name)
{
    struct stat st;
    return lstat(path_of(name), &st) == 0;
}

/* Waits until the file of the test's directory holds the text. */
static inline void await_text(const char *name, const char *text)
{
    as_time until = in(PATIENCE);
    while (!strstr(contents(name), text)) {
        if (as_time_left(until) == 0)
            fail_msg("no '%s' in %s: '%s'", text, name, contents(name));
        nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
    }
}

static inline struct process_record record(const char *id)
{
    struct process_record r;
    struct as_error err;
    char name[128];
    snprintf(name, sizeof name, "state/%s.json", id);
    char *text = contents(name);
    if (process_record_parse(text, strlen(text), &r, &err) != AS_OK)
        fail_msg("record of %s: it %s", id, err.msg);
    return r;
}

static inline void put_record(const struct process_record *r)
{
    char name[128], *text = process_record_print(r);
    assert_non_null(text);
    snprintf(name, sizeof name, "state/%s.json", r->id);
    put(name, text);
    free(text);
}

/* Does a process of this pid live (a zombie does not)? */
static inline bool lives(int64_t pid)
{
    char path[64], text[1024];
    struct process_stat st;
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = '\0';
    if (f)
        fclose(f);
    return n > 0 && process_stat_parse(text, &st) && st.state != 'Z' && st.state != 'X';
}

static inline int listen_on(uint16_t port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    inet_pton(AF_INET, ADDRESS, &at.sin_addr);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 1) != 0)
        fail_msg("cannot listen on " ADDRESS ":%u: %s", (unsigned)port, strerror(errno));
    return fd;
}

static inline int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/as-process-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

/* Ends whatever a failed test left behind, by its records, then removes the directory. */
static inline int teardown(void **state)
{
    char command[128];
    DIR *d = opendir(path_of("state"));
    (void)state;
    for (struct dirent *e; d && (e = readdir(d));) {
        struct process p = { 0 };
        struct process_record r;
        char name[512];
        snprintf(name, sizeof name, "state/%s", e->d_name);
        if (e->d_type != DT_REG) /* a pipe would never end */
            continue;
        char *text = contents(name);
        if (process_boot_read(p.boot) && process_record_parse(text, strlen(text), &r, NULL) == AS_OK)
            process_signal(&p, &r, SIGKILL);
    }
    if (d)
        closedir(d);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

#endif
