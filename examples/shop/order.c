/* The order client: posts one order to the shop and prints the order's id. Whatever the shop or the network does, it
 * must end with one clear sentence and a documented exit status, and never crash or print an id that the shop did not
 * give. */
#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX 4096
#define TEXT_MAX   200 /* of the shop's own words in an error */

enum exit_status {
    EXIT_ORDERED = 0,
    EXIT_REJECTED = 1,
    EXIT_SHOP_ERROR = 2,
    EXIT_UNREACHABLE = 3,
    EXIT_USAGE = 64
};

struct order_args {
    const char *url;
    long long user, product, quantity;
    long timeout_ms;
};

struct answer {
    size_t length;
    bool too_large;
    char text[ANSWER_MAX + 1];
};

static const char usage_text[] =
    "usage: order [-u URL] [-t SECONDS] --user N --product N --quantity N\n"
    "Posts one order and prints its id.\n"
    "  -u, --url URL        the shop, default http://127.0.0.1:8080\n"
    "  -U, --user N         who orders\n"
    "  -p, --product N      what\n"
    "  -q, --quantity N     how many\n"
    "  -t, --timeout SEC    give up after this long, default 10\n"
    "  -h, --help           this text\n"
    "Exit status: 0 ordered, 1 the shop rejected the order, 2 the shop failed or answered nonsense,\n"
    "             3 the shop cannot be reached or did not answer in time, 64 wrong usage.\n";

static int wrong_usage(const char *what)
{
    fprintf(stderr, "order: %s; see order -h\n", what);
    return EXIT_USAGE;
}

static bool to_number(const char *text, long long *out)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return !errno && end != text && !*end;
}

/* -1 to go on, otherwise the exit status. */
static int read_args(int argc, char **argv, struct order_args *a)
{
    static const struct option options[] = {
        { "url", required_argument, NULL, 'u' },
        { "user", required_argument, NULL, 'U' },
        { "product", required_argument, NULL, 'p' },
        { "quantity", required_argument, NULL, 'q' },
        { "timeout", required_argument, NULL, 't' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    bool user = false, product = false, quantity = false;
    long long seconds = 10;
    for (int c; (c = getopt_long(argc, argv, "u:U:p:q:t:h", options, NULL)) != -1;) {
        bool ok = true;
        switch (c) {
        case 'u': a->url = optarg; break;
        case 'U': ok = user = to_number(optarg, &a->user); break;
        case 'p': ok = product = to_number(optarg, &a->product); break;
        case 'q': ok = quantity = to_number(optarg, &a->quantity); break;
        case 't': ok = to_number(optarg, &seconds) && seconds >= 1 && seconds <= 3600; break;
        case 'h': fputs(usage_text, stdout); return EXIT_ORDERED;
        default: return wrong_usage("that option is not known or lacks its value");
        }
        if (!ok)
            return wrong_usage("user, product, quantity and timeout are whole numbers (timeout 1 to 3600)");
    }
    if (optind < argc)
        return wrong_usage("there are words that belong to no option");
    if (!user || !product || !quantity)
        return wrong_usage("--user, --product and --quantity are needed");
    a->timeout_ms = (long)seconds * 1000;
    return -1;
}

static size_t take(char *data, size_t size, size_t count, void *user)
{
    struct answer *answer = user;
    size_t n = size * count;
    if (n > ANSWER_MAX - answer->length) {
        answer->too_large = true;
        return 0;
    }
    memcpy(answer->text + answer->length, data, n);
    answer->length += n;
    return n;
}

/* Asked beforehand, since libcurl reports an answer that is not HTTP as an unsupported protocol too. */
static bool is_http_url(const char *text)
{
    char *scheme = NULL;
    CURLU *url = curl_url();
    bool ok = url && !curl_url_set(url, CURLUPART_URL, text, 0) &&
              !curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) &&
              (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
    curl_free(scheme);
    curl_url_cleanup(url);
    return ok;
}

/* Posts the order. 0 and the HTTP status, or the exit status after having said what is wrong. */
static int post(const struct order_args *a, struct answer *answer, long *status)
{
    char url[1024], body[128], detail[CURL_ERROR_SIZE] = "";
    size_t length = strlen(a->url);
    while (length > 0 && a->url[length - 1] == '/')
        length--;
    if (snprintf(url, sizeof url, "%.*s/api/order", (int)length, a->url) >= (int)sizeof url)
        return wrong_usage("the URL is too long");
    if (!is_http_url(url))
        return wrong_usage("that is not an http URL");
    snprintf(body, sizeof body, "{\"user_id\":%lld,\"product_id\":%lld,\"quantity\":%lld}", a->user,
             a->product, a->quantity);
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    CURLcode rc = CURLE_OUT_OF_MEMORY;
    if (curl && headers) {
        curl_easy_setopt(curl, CURLOPT_URL, url);
        curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
        curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, a->timeout_ms);
        curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
        rc = curl_easy_perform(curl);
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, status);
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    switch (rc) {
    case CURLE_OK: return 0;
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
        fprintf(stderr, "order: cannot reach the shop at %s: %s; nothing was ordered\n", a->url,
                *detail ? detail : curl_easy_strerror(rc));
        return EXIT_UNREACHABLE;
    case CURLE_OPERATION_TIMEDOUT:
        fprintf(stderr, "order: the shop at %s did not answer within %ld s; the order may have been placed\n",
                a->url, a->timeout_ms / 1000);
        return EXIT_UNREACHABLE;
    default:
        fprintf(stderr, "order: no usable answer from the shop at %s: %s; the order may have been placed\n",
                a->url,
                answer->too_large ? "the answer is too large"
                : *detail         ? detail
                                  : curl_easy_strerror(rc));
        return EXIT_SHOP_ERROR;
    }
}

/* The shop's own reason, made safe to print on a terminal; "" when it gave none. */
static void reason(const cJSON *root, char out[TEXT_MAX])
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, "error"));
    size_t n = 0;
    for (; text && *text && n + 1 < TEXT_MAX; text++)
        out[n++] = (unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text;
    out[n] = '\0';
}

static int judge(const struct answer *answer, long status)
{
    cJSON *root = cJSON_ParseWithLengthOpts(answer->text, answer->length + 1, NULL, 1);
    char why[TEXT_MAX];
    reason(root, why);
    const cJSON *id = cJSON_GetObjectItemCaseSensitive(root, "order_id");
    bool has_id = cJSON_IsNumber(id) && id->valuedouble >= 1 && id->valuedouble <= 9007199254740991.0;
    int rc = EXIT_SHOP_ERROR;
    if (status == 201 && has_id) {
        printf("%" PRId64 "\n", (int64_t)id->valuedouble);
        rc = EXIT_ORDERED;
    } else if (status >= 200 && status < 300) {
        fprintf(stderr, "order: the shop answered %ld without an order id; the order may have been placed\n",
                status);
    } else if (status >= 400 && status < 500) {
        fprintf(stderr, "order: the shop rejected the order (%ld): %s\n", status,
                *why ? why : "no reason given");
        rc = EXIT_REJECTED;
    } else {
        fprintf(stderr, "order: the shop failed (%ld): %s\n", status, *why ? why : "no reason given");
    }
    cJSON_Delete(root);
    return rc;
}

int main(int argc, char **argv)
{
    static struct answer answer;
    struct order_args args = { .url = "http://127.0.0.1:8080" };
    long status = 0;
    int rc = read_args(argc, argv, &args);
    if (rc >= 0)
        return rc;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        fprintf(stderr, "order: libcurl does not start\n");
        return EXIT_SHOP_ERROR;
    }
    rc = post(&args, &answer, &status);
    if (rc == 0)
        rc = judge(&answer, status);
    curl_global_cleanup();
    if (fflush(stdout) != 0 && rc == EXIT_ORDERED) {
        fprintf(stderr, "order: the order is placed but its id cannot be printed: %s\n", strerror(errno));
        return EXIT_SHOP_ERROR;
    }
    return rc;
}
