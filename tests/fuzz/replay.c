/* The main() of every fuzz harness in `make check`: runs LLVMFuzzerTestOneInput over the files given (a
 * directory stands for the files in it) and over mutations of each. It is deterministic: the same files
 * give the same mutations, so a crash comes back. It must never write to the corpus.
 *
 *     fuzz_NAME [-n MUTATIONS] FILE_OR_DIRECTORY…      MUTATIONS of each file, default 2000
 *     fuzz_NAME -d FILE                                the one input, nothing else (to look at a crash)
 *
 * A crash prints the file and the mutation number; the input is left in the file that FUZZ_CRASH names. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INPUT_MAX  (1024 * 1024) /* a corpus file; larger ones are refused                         */
#define GROWN_MAX  (64 * 1024)   /* a mutation; keeps a run short                                  */
#define MUTATIONS  2000
#define ROUNDS_MAX 4 /* changes in one mutation                                        */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* there when built with a sanitizer, which ends the process without a signal */
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)(void));

struct input {
    char *path;
    uint8_t *data;
    size_t size;
};

static struct input *corpus;
static size_t corpus_count, corpus_cap;

static struct { /* what runs now, for the crash handler */
    const char *path;
    long mutation;
    const uint8_t *data;
    size_t size;
} running;

static void die(const char *what, const char *path)
{
    fprintf(stderr, "%s '%s': %s\n", what, path, strerror(errno));
    exit(1);
}

static void *need(void *memory)
{
    if (!memory)
        die("out of memory", "");
    return memory;
}

/* --- corpus ----------------------------------------------------------------------------------- */

static void corpus_add_file(const char *path)
{
    uint8_t *data = need(malloc(INPUT_MAX + 1));
    FILE *f = fopen(path, "rb");
    if (!f)
        die("cannot open", path);
    size_t size = fread(data, 1, INPUT_MAX + 1, f);
    if (ferror(f))
        die("cannot read", path);
    fclose(f);
    if (size > INPUT_MAX) {
        errno = EFBIG;
        die("cannot use", path);
    }
    if (corpus_count == corpus_cap) {
        corpus_cap = corpus_cap ? corpus_cap * 2 : 32;
        corpus = need(reallocarray(corpus, corpus_cap, sizeof *corpus));
    }
    struct input in = { need(strdup(path)), need(realloc(data, size ? size : 1)), size };
    corpus[corpus_count++] = in;
}

static void corpus_add(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        die("cannot open", path);
    if (!S_ISDIR(st.st_mode)) {
        corpus_add_file(path);
        return;
    }
    struct dirent **entries;
    int n = scandir(path, &entries, NULL, alphasort); /* sorted: the order must not depend on the disk */
    if (n < 0)
        die("cannot list", path);
    for (int i = 0; i < n; i++) {
        char *inner;
        if (entries[i]->d_name[0] != '.') {
            if (asprintf(&inner, "%s/%s", path, entries[i]->d_name) < 0)
                die("out of memory", path);
            corpus_add(inner);
            free(inner);
        }
        free(entries[i]);
    }
    free(entries);
}

/* --- mutations -------------------------------------------------------------------------------- */

static uint64_t random_state;

static uint64_t next_random(void) /* xorshift64* */
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * UINT64_C(2685821657736338717);
}

static size_t below(size_t n)
{
    return n ? (size_t)(next_random() >> 11) % n : 0;
}

static void seed(const struct input *in)
{
    random_state =
        UINT64_C(14695981039346656037); /* FNV-1a of the contents: moving the file changes nothing */
    for (size_t i = 0; i < in->size; i++)
        random_state = (random_state ^ in->data[i]) * UINT64_C(1099511628211);
    if (random_state == 0)
        random_state = 1;
}

struct buffer {
    uint8_t data[GROWN_MAX];
    size_t size;
};

static void put(struct buffer *b, size_t at, const uint8_t *bytes, size_t n)
{
    if (n > GROWN_MAX - b->size)
        n = GROWN_MAX - b->size;
    memmove(b->data + at + n, b->data + at, b->size - at);
    memmove(b->data + at, bytes, n);
    b->size += n;
}

static void cut(struct buffer *b, size_t at, size_t n)
{
    memmove(b->data + at, b->data + at + n, b->size - at - n);
    b->size -= n;
}

static void flip_bits(struct buffer *b)
{
    for (size_t i = 1 + below(8); b->size && i > 0; i--)
        b->data[below(b->size)] ^= (uint8_t)(1u << below(8));
}

static void overwrite(struct buffer *b)
{
    static const uint8_t telling[] = { 0,   1,    0x7f, 0x80, 0xff, '0', '9', '-',
                                       '"', '\\', '\n', '\r', ',',  '{', '[', '%' };
    for (size_t i = 1 + below(4); b->size && i > 0; i--)
        b->data[below(b->size)] = telling[below(sizeof telling)];
}

static void truncate_tail(struct buffer *b)
{
    b->size = below(b->size + 1);
}

static void remove_piece(struct buffer *b)
{
    size_t at = below(b->size);
    cut(b, at, below(b->size - at + 1));
}

static void duplicate_piece(struct buffer *b)
{
    uint8_t piece[512];
    size_t at = below(b->size), n = below(b->size - at + 1);
    if (n > sizeof piece)
        n = sizeof piece;
    memcpy(piece, b->data + at, n);
    for (size_t times = 1 + below(8); times > 0; times--)
        put(b, at, piece, n);
}

static void splice_other(struct buffer *b)
{
    const struct input *other = &corpus[below(corpus_count)];
    size_t from = below(other->size), n = below(other->size - from + 1);
    put(b, below(b->size + 1), other->data + from, n);
}

static void insert_token(struct buffer *b) /* what parsers trip over */
{
    static const char *const tokens[] = { "99999999999999999999",
                                          "-1",
                                          "1e999",
                                          "NaN",
                                          "0x10",
                                          "\r\n\r\n",
                                          "\\u0000",
                                          "%n%s",
                                          "{{{{",
                                          "[[[[",
                                          ",,,,",
                                          "\"\"",
                                          "\xef\xbb\xbf",
                                          "\xff\xfe",
                                          "../" };
    const char *token = tokens[below(sizeof tokens / sizeof *tokens)];
    put(b, below(b->size + 1), (const uint8_t *)token, strlen(token));
}

static void mutate(struct buffer *b)
{
    static void (*const kinds[])(struct buffer *) = {
        flip_bits, overwrite, truncate_tail, remove_piece, duplicate_piece, splice_other, insert_token,
    };
    for (size_t i = 1 + below(ROUNDS_MAX); i > 0; i--)
        kinds[below(sizeof kinds / sizeof *kinds)](b);
}

/* --- running ---------------------------------------------------------------------------------- */

/* Leaves the input behind, as well as a broken process can. */
static void report_crash(void)
{
    static char line[4096];
    const char *out = getenv("FUZZ_CRASH");
    int n = snprintf(line, sizeof line, "crash: %s, mutation %ld, %zu bytes\n",
                     running.path ? running.path : "?", running.mutation, running.size);
    if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0)
        _exit(2);
    int fd = out ? open(out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : -1;
    if (fd >= 0 && running.data && write(fd, running.data, running.size) >= 0)
        close(fd);
}

static void on_signal(int sig)
{
    report_crash();
    signal(sig, SIG_DFL);
    raise(sig);
}

static void catch_crashes(void)
{
    static const int signals[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL };
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(report_crash);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (signals[i] == SIGABRT || !__sanitizer_set_death_callback) /* the sanitizer's reports say more */
            signal(signals[i], on_signal);
}

/* The harness gets a block of exactly `size` bytes, so that a sanitizer sees one byte too many. */
static void run(const struct input *in, long mutation, const uint8_t *data, size_t size)
{
    uint8_t *exact = need(malloc(size ? size : 1));
    memcpy(exact, data, size);
    running.path = in->path;
    running.mutation = mutation;
    running.data = exact;
    running.size = size;
    LLVMFuzzerTestOneInput(exact, size);
    running.data = NULL;
    running.size = 0;
    free(exact);
}

static long run_mutations(const struct input *in, long count)
{
    static struct buffer b;
    seed(in);
    for (long i = 1; i <= count; i++) {
        b.size = in->size < GROWN_MAX ? in->size : GROWN_MAX;
        memcpy(b.data, in->data, b.size);
        mutate(&b);
        run(in, i, b.data, b.size);
    }
    return count;
}

static long parse_count(const char *text)
{
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (end == text || *end || errno || n < 0) {
        errno = EINVAL;
        die("not a count", text);
    }
    return n;
}

int main(int argc, char **argv)
{
    long count = MUTATIONS, mutations = 0;
    int option;
    while ((option = getopt(argc, argv, "n:d")) != -1) {
        if (option == '?') {
            fprintf(stderr, "usage: %s [-n MUTATIONS | -d] FILE_OR_DIRECTORY...\n", argv[0]);
            return 1;
        }
        count = option == 'n' ? parse_count(optarg) : 0;
    }
    for (int i = optind; i < argc; i++)
        corpus_add(argv[i]);
    catch_crashes();
    for (size_t i = 0; i < corpus_count; i++) {
        run(&corpus[i], 0, corpus[i].data, corpus[i].size);
        mutations += run_mutations(&corpus[i], count);
    }
    const char *name = strrchr(argv[0], '/');
    printf("%s: %zu files, %ld mutations\n", name ? name + 1 : argv[0], corpus_count, mutations);
    for (size_t i = 0; i < corpus_count; i++) {
        free(corpus[i].path);
        free(corpus[i].data);
    }
    free(corpus);
    return 0;
}
