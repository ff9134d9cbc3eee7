/* Reading and writing the include file of the nginx balancer. It must never replace a file that does not
 * carry our mark, and never leave a half-written one. */
#include "nginx_file.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MARK       "# written by autoscale: "
#define MARK_END   "; do not edit"
#define EMPTY_LINE "    server 127.0.0.1:1 down; # keeps nginx content while there is no member"

/* --- names and pools ----------------------------------------------------------------------------------- */

bool nginx_name_ok(const char *name, size_t max)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    size_t len = strlen(name);
    return len > 0 && len <= max && strspn(name, allowed) == len;
}

bool nginx_address(const char *text, char *out, size_t size)
{
    struct in6_addr bits;
    int family = strchr(text, ':') ? AF_INET6 : AF_INET;
    return inet_pton(family, text, &bits) == 1 && inet_ntop(family, &bits, out, (socklen_t)size);
}

struct nginx_server *nginx_pool_find(const struct nginx_pool *p, const char *id)
{
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->items[i].id, id) == 0)
            return &p->items[i];
    return NULL;
}

struct nginx_server *nginx_pool_add(struct nginx_pool *p)
{
    if (p->count >= AS_MEMBERS_CAP)
        return NULL;
    if (p->count == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 16;
        struct nginx_server *bigger = reallocarray(p->items, cap, sizeof *bigger);
        if (!bigger)
            return NULL;
        p->items = bigger;
        p->cap = cap;
    }
    p->items[p->count] = (struct nginx_server){ 0 };
    return &p->items[p->count++];
}

void nginx_pool_drop(struct nginx_pool *p, struct nginx_server *s)
{
    size_t after = p->count - (size_t)(s - p->items) - 1;
    memmove(s, s + 1, after * sizeof *s);
    p->count--;
}

void nginx_pool_fini(struct nginx_pool *p)
{
    free(p->items);
    *p = (struct nginx_pool){ 0 };
}

/* --- writing ------------------------------------------------------------------------------------------- */

static void print_variable(FILE *out, const char *upstream)
{
    fputs("$autoscale_", out);
    for (; *upstream; upstream++)
        fputc(*upstream == '-' || *upstream == '.' ? '_' : *upstream, out);
}

static void print_server(FILE *out, const struct nginx_server *s, const char *params)
{
    bool v6 = strchr(s->address, ':');
    fprintf(out, "    server %s%s%s:%u weight=%d%s%s; # %s since %" PRIu64 " at %" PRId64 "\n", v6 ? "[" : "",
            s->address, v6 ? "]" : "", s->port, s->weight, params, s->down ? " down" : "", s->id, s->since,
            s->at);
}

char *nginx_file_render(const struct nginx_pool *p, const struct nginx_style *style)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    fprintf(out, MARK "%s" MARK_END "\n# generation %" PRIu64 " boot %s\nmap $nginx_version ", style->mark,
            p->generation, p->boot);
    print_variable(out, style->upstream);
    fprintf(out, " { default \"%s %" PRIu64 "\"; }\nupstream %s {\n    zone %s %uk;\n", style->upstream,
            p->generation, style->upstream, style->upstream, style->zone_kib);
    if (style->method[0])
        fprintf(out, "    %s\n", style->method);
    for (size_t i = 0; i < p->count; i++)
        print_server(out, &p->items[i], style->params);
    if (p->count == 0)
        fputs(EMPTY_LINE "\n", out);
    if (style->keepalive > 0)
        fprintf(out, "    keepalive %d;\n", style->keepalive);
    fputs("}\n", out);
    bool bad = ferror(out);
    if (fclose(out) != 0 || bad) {
        free(text);
        return NULL;
    }
    return text;
}

/* --- reading ------------------------------------------------------------------------------------------- */

static bool skip(const char **at, const char *word)
{
    size_t n = strlen(word);
    if (strncmp(*at, word, n) != 0)
        return false;
    *at += n;
    return true;
}

/* Digits only, no sign, no overflow. */
static bool take_number(const char **at, uint64_t most, uint64_t *out)
{
    uint64_t n = 0;
    const char *from = *at;
    for (; **at >= '0' && **at <= '9'; (*at)++) {
        uint64_t digit = (uint64_t)(**at - '0');
        if (n > (most - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    *out = n;
    return *at > from;
}

/* Up to one of `ends`; false when it is empty or too long. */
static bool take_word(const char **at, const char *ends, char *out, size_t size)
{
    size_t n = strcspn(*at, ends);
    if (n == 0 || n >= size)
        return false;
    memcpy(out, *at, n);
    out[n] = '\0';
    *at += n;
    return true;
}

static bool take_address(const char **at, struct nginx_server *s)
{
    char raw[AS_ADDRESS_MAX];
    uint64_t port;
    bool v6 = skip(at, "[");
    if (!take_word(at, v6 ? "]" : ":", raw, sizeof raw) || (v6 && !skip(at, "]")))
        return false;
    if (!nginx_address(raw, s->address, sizeof s->address) || v6 != (strchr(s->address, ':') != NULL))
        return false;
    if (!skip(at, ":") || !take_number(at, 65535, &port) || port == 0)
        return false;
    s->port = (uint16_t)port;
    return true;
}

/* What stands between the weight and the semicolon; only `down` means something to us. */
static bool take_params(const char **at, struct nginx_server *s)
{
    char word[64];
    while (skip(at, " ")) {
        if (!take_word(at, " ;", word, sizeof word))
            return false;
        if (strcmp(word, "down") == 0)
            s->down = true;
        else if (strncmp(word, "max_conns=", 10) != 0 && strncmp(word, "max_fails=", 10) != 0 &&
                 strncmp(word, "fail_timeout=", 13) != 0)
            return false;
    }
    return true;
}

static bool parse_server(const char *line, struct nginx_server *s)
{
    const char *at = line;
    uint64_t weight, when;
    bool ok = skip(&at, "    server ") && take_address(&at, s) && skip(&at, " weight=") &&
              take_number(&at, 65535, &weight) && weight > 0 && take_params(&at, s) && skip(&at, "; # ") &&
              take_word(&at, " ", s->id, sizeof s->id) && skip(&at, " since ") &&
              take_number(&at, UINT64_MAX, &s->since) && skip(&at, " at ") &&
              take_number(&at, INT64_MAX, &when) && *at == '\0';
    if (!ok || !nginx_name_ok(s->id, AS_ID_MAX - 1))
        return false;
    s->weight = (int)weight;
    s->at = (int64_t)when;
    return true;
}

static bool parse_generation(const char *line, struct nginx_pool *p)
{
    const char *at = line;
    return skip(&at, "# generation ") && take_number(&at, UINT64_MAX, &p->generation) && p->generation > 0 &&
           skip(&at, " boot ") && nginx_name_ok(at, sizeof p->boot - 1) && strcpy(p->boot, at);
}

/* Lines that follow from the settings: they may be of older settings, and are written anew each time. */
static bool is_plain(const char *line)
{
    static const char *const begins[] = { "map $nginx_version $autoscale_", "upstream ", "    zone ",
                                          "    hash ", "    keepalive " };
    static const char *const whole[] = { "    least_conn;", "    ip_hash;", "    random two least_conn;",
                                         EMPTY_LINE, "}" };
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++)
        if (strncmp(line, begins[i], strlen(begins[i])) == 0)
            return true;
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (strcmp(line, whole[i]) == 0)
            return true;
    return false;
}

static int check_mark(const char *line, const char *mark, struct as_error *err)
{
    const char *at = line;
    if (!skip(&at, MARK))
        return as_fail(err, AS_EEXIST, "was not written by autoscale: move it away, or choose another path");
    size_t n = strlen(mark);
    if (strncmp(at, mark, n) == 0 && strcmp(at + n, MARK_END) == 0)
        return AS_OK;
    return as_fail(err, AS_EEXIST, "belongs to another controller or group: each needs its own path");
}

static int parse_line(const char *line, int number, const char *mark, struct nginx_pool *p,
                      struct as_error *err)
{
    if (number == 1)
        return check_mark(line, mark, err);
    if (number == 2 && parse_generation(line, p))
        return AS_OK;
    struct nginx_server s = { 0 };
    if (number > 2 && parse_server(line, &s)) {
        struct nginx_server *slot = s.since <= p->generation ? nginx_pool_add(p) : NULL;
        if (!slot)
            return as_fail(err, AS_EEXIST, "cannot be read back in line %d: too many servers, or edited",
                           number);
        *slot = s;
        return AS_OK;
    }
    if (number > 2 && is_plain(line))
        return AS_OK;
    return as_fail(err, AS_EEXIST, "was edited in line %d: undo that, or move the file away", number);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool has_twins(const struct nginx_pool *p)
{
    const char **ids = calloc(p->count + 1, sizeof *ids);
    bool twins = !ids;
    for (size_t i = 0; ids && i < p->count; i++)
        ids[i] = p->items[i].id;
    if (ids && p->count > 1)
        qsort(ids, p->count, sizeof *ids, by_id);
    for (size_t i = 1; ids && i < p->count; i++)
        twins = twins || strcmp(ids[i - 1], ids[i]) == 0;
    free(ids);
    return twins;
}

static int parse_lines(char *text, const char *mark, struct nginx_pool *p, struct as_error *err)
{
    int number = 0, rc = AS_OK;
    char *line = text, *end;
    bool closed = false;
    for (; rc == AS_OK && (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        rc = closed ? as_fail(err, AS_EEXIST, "was edited: something follows its last line")
                    : parse_line(line, ++number, mark, p, err);
        closed = closed || strcmp(line, "}") == 0;
    }
    if (rc)
        return rc;
    if (*line || !closed)
        return as_fail(err, AS_EEXIST, "%s",
                       number == 0 ? "was not written by autoscale: choose another path"
                                   : "was edited: its end is missing");
    if (has_twins(p))
        return as_fail(err, AS_EEXIST, "was edited: it names a server twice");
    return AS_OK;
}

int nginx_file_parse(const char *text, size_t len, const char *mark, struct nginx_pool *out,
                     struct as_error *err)
{
    struct nginx_pool p = { 0 };
    char *copy = strndup(text, len);
    if (!copy)
        return as_fail(err, AS_ENOMEM, "out of memory");
    if (strlen(copy) != len) {
        free(copy);
        return as_fail(err, AS_EEXIST, "was not written by autoscale: it is no text");
    }
    bool blank = strspn(copy, " \t\r\n") == len;
    int rc = blank ? AS_OK : parse_lines(copy, mark, &p, err);
    free(copy);
    if (rc == AS_OK)
        *out = p;
    else
        nginx_pool_fini(&p);
    return rc;
}

/* --- the file ------------------------------------------------------------------------------------------ */

/* Reads all of it; owned text with a NUL behind. */
static int read_all(int fd, char **text, size_t *len, struct as_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > NGINX_FILE_MAX)
        return as_fail(err, AS_EEXIST, "is no plain file of ours");
    size_t size = (size_t)st.st_size, used = 0;
    char *buf = malloc(size + 1);
    if (!buf)
        return as_fail(err, AS_ENOMEM, "out of memory");
    while (used < size) {
        ssize_t n = read(fd, buf + used, size - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            free(buf);
            return as_fail(err, AS_EIO, "cannot be read: %s", strerror(errno));
        }
        if (n == 0)
            break;
        used += (size_t)n;
    }
    buf[used] = '\0';
    *text = buf;
    *len = used;
    return AS_OK;
}

int nginx_file_load(const char *path, const char *mark, struct nginx_pool *out, char **text,
                    struct as_error *err)
{
    struct as_error why = { 0 };
    char *buf = NULL;
    size_t len = 0;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), rc;
    if (fd < 0 && errno == ENOENT) {
        *out = (struct nginx_pool){ 0 };
        *text = NULL;
        return AS_OK;
    }
    if (fd < 0)
        return as_fail(err, errno == ELOOP ? AS_EEXIST : AS_EIO, "%s: %s", path,
                       errno == ELOOP ? "is a symbolic link: configure the file itself" : strerror(errno));
    rc = read_all(fd, &buf, &len, &why);
    close(fd);
    rc = rc ? rc : nginx_file_parse(buf, len, mark, out, &why);
    if (rc) {
        free(buf);
        return as_fail(err, (enum as_rc)rc, "%s %s", path, why.msg);
    }
    *text = buf;
    return AS_OK;
}

static int write_all(int fd, const char *text)
{
    size_t left = strlen(text);
    while (left > 0) {
        ssize_t n = write(fd, text, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        text += n;
        left -= (size_t)n;
    }
    return fsync(fd);
}

/* The file beside: hidden, so that an include of the whole directory does not take it. */
static int write_aside(int dir, const char *aside, const char *text)
{
    int fd = openat(dir, aside, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        return -1;
    int rc = write_all(fd, text), saved = errno;
    if (close(fd) != 0 && rc == 0)
        return -1;
    errno = saved;
    return rc;
}

int nginx_file_store(const char *path, const char *text, struct as_error *err)
{
    const char *name = strrchr(path, '/') + 1; /* the path is absolute */
    char *folder = strndup(path, (size_t)(name - path)), *aside = NULL;
    int dir = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1, rc = -1;
    free(folder);
    if (dir >= 0 && asprintf(&aside, ".%s.autoscale-new", name) < 0)
        aside = NULL;
    if (dir >= 0 && !text)
        rc = unlinkat(dir, name, 0) == 0 || errno == ENOENT ? fsync(dir) : -1;
    else if (aside && write_aside(dir, aside, text) == 0)
        rc = renameat(dir, aside, dir, name) == 0 ? fsync(dir) : -1;
    int why = errno;
    if (rc != 0 && aside)
        unlinkat(dir, aside, 0);
    free(aside);
    if (dir >= 0)
        close(dir);
    return rc == 0 ? AS_OK : as_fail(err, AS_EIO, "cannot write %s: %s", path, strerror(why));
}
