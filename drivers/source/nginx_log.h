/* nginx's access log: lines by a format in nginx's own notation, and what the lines of one interval say.
 *
 * A format is the text of nginx's log_format; $status, $request_time and $upstream_response_time are read, all
 * other variables are skipped over. Memory does not grow with the traffic. */
#ifndef SOURCE_NGINX_LOG_H
#define SOURCE_NGINX_LOG_H

#include <sys/types.h>

#include "autoscale/source.h"

#define NGINX_PARTS_MAX   64
#define NGINX_FORMAT_MAX  1024
#define NGINX_LINE_MAX    (16 * 1024)
#define NGINX_BUCKETS     1024

enum nginx_field { NGINX_SKIP, NGINX_STATUS, NGINX_REQUEST_TIME, NGINX_UPSTREAM_TIME, NGINX_FIELDS };

struct nginx_part {          /* a variable and the fixed text behind it                              */
    enum nginx_field field;
    const char *text;        /* in nginx_format.text                                                 */
    size_t len;
};

struct nginx_format {
    char text[NGINX_FORMAT_MAX];
    const char *before;      /* fixed text before the first variable                                 */
    size_t before_len, count;
    struct nginx_part parts[NGINX_PARTS_MAX];
    bool has[NGINX_FIELDS];
};

struct nginx_line {
    int status;              /* 100..599                                                             */
    double request_ms, upstream_ms; /* < 0: not in this line (no upstream was asked)                 */
};

struct nginx_times {         /* a histogram with about 3% resolution                                 */
    uint64_t buckets[NGINX_BUCKETS], count;
};

struct nginx_tally {         /* of one interval; zero-initialised                                    */
    uint64_t lines, bad, classes[6];
    struct nginx_times request, upstream;
};

struct nginx_follow {        /* a file that is followed over rotations; fds are -1 when closed       */
    const char *path;        /* borrowed                                                             */
    int fd, old;             /* old: rotated away, read once more                                    */
    dev_t dev;
    ino_t ino;
    off_t at, old_at;        /* read so far of fd, of old                                            */
    size_t len;              /* of the unfinished line in buf                                        */
    bool overlong;           /* the rest of a line longer than buf is skipped                        */
    char buf[NGINX_LINE_MAX];
};

/* AS_EINVAL with the reason: two variables side by side, no variable that we read, or too long. */
int nginx_format_init(struct nginx_format *f, const char *text, struct as_error *err);
bool nginx_format_read(const struct nginx_format *f, const char *line, size_t len, struct nginx_line *out);

void nginx_tally_add(struct nginx_tally *t, const struct nginx_format *f, const char *line, size_t len);
void nginx_times_add(struct nginx_times *t, double ms);
/* 0 < q < 1; only with count > 0. */
double nginx_times_quantile(const struct nginx_times *t, double q);

/* A follower starts at the end of the file. AS_EIO: it cannot be read. */
int nginx_follow_open(struct nginx_follow *f, struct as_error *err);
/* Takes what was written since. *skipped counts bytes left out because there were too many to read. */
int nginx_follow_read(struct nginx_follow *f, const struct nginx_format *format, as_time deadline,
                      struct nginx_tally *tally, off_t *skipped, struct as_error *err);
void nginx_follow_close(struct nginx_follow *f);

#endif
