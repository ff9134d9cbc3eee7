/* Sites: checked URLs with their headers, credentials and TLS files. It must never let a credential into a URL,
 * a header of the configuration or an error text, and has no way to skip the check of a certificate. */
#include "site.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the URL ------------------------------------------------------------------------------------------- */

static const char *authority_of(const char *url)
{
    return strncmp(url, "http://", 7) == 0 ? url + 7 : strncmp(url, "https://", 8) == 0 ? url + 8 : NULL;
}

/* The text of a URL may hold a password, so it is not repeated before that is excluded. */
static int check_url(const struct as_settings *settings, const char *option, const char *url,
                     struct as_error *err)
{
    const char *host = authority_of(url);
    if (!host)
        return as_settings_fail(settings, option, err, "must begin with http:// or https://");
    size_t n = strcspn(host, "/?#");
    if (memchr(host, '@', n))
        return as_settings_fail(
            settings, option, err,
            "a user or password does not belong into the URL: use user and password_file");
    if (n == 0 || *host == ':')
        return as_settings_fail(settings, option, err, "'%.80s' names no host", url);
    for (const unsigned char *c = (const unsigned char *)url; *c; c++)
        if (*c <= ' ' || *c >= 0x7f)
            return as_settings_fail(settings, option, err,
                                    "'%.80s' holds a blank or a character that must be written as %%XX", url);
    if (strchr(url, '#'))
        return as_settings_fail(settings, option, err, "'%.80s' has a fragment, which is never sent", url);
    return AS_OK;
}

static int split_url(struct site *s, const char *url)
{
    size_t n = strcspn(url, "?");
    s->query = strdup(url + n);
    s->base = s->query ? strndup(url, n) : NULL;
    return s->base ? AS_OK : AS_ENOMEM;
}

/* --- headers and credentials ----------------------------------------------------------------------------- */

static bool is_header_name(const char *name)
{
    if (!*name || strlen(name) > 100)
        return false;
    for (; *name; name++)
        if (!isalnum((unsigned char)*name) && !strchr("-_", *name))
            return false;
    return true;
}

static bool is_one_line(const char *value)
{
    for (; *value; value++)
        if (((unsigned char)*value < ' ' && *value != '\t') || *value == 0x7f)
            return false;
    return true;
}

/* These are the client's own, or would carry a secret that stands in the configuration. */
static bool is_reserved(const char *name)
{
    static const char *const names[] = { "Authorization",  "Proxy-Authorization", "Cookie",
                                         "Content-Length", "Transfer-Encoding",   "Connection",
                                         "Expect",         "Accept-Encoding" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcasecmp(names[i], name) == 0)
            return true;
    return false;
}

static int make_headers(struct site *s, const struct as_settings *settings, struct as_error *err)
{
    size_t count = as_settings_count(settings, "headers");
    s->headers = calloc(count + 1, sizeof *s->headers);
    if (!s->headers)
        return as_fail(err, AS_ENOMEM, "out of memory");
    for (size_t i = 0; i < count; i++) {
        const char *name = as_settings_key(settings, "headers", i);
        const char *value = as_settings_item(settings, "headers", i);
        if (!is_header_name(name) || !is_one_line(value))
            return as_settings_fail(settings, "headers", err, "'%.40s' is no header of one line", name);
        if (is_reserved(name))
            return as_settings_fail(
                settings, "headers", err, "%s cannot be set%s", name,
                strcasecmp(name, "Authorization") == 0 ? ": use token_file, or user and password_file" : "");
        if (asprintf(&s->headers[i], *value ? "%s: %s" : "%s;", name, value) < 0) {
            s->headers[i] = NULL;
            return as_fail(err, AS_ENOMEM, "out of memory");
        }
    }
    return AS_OK;
}

static int check_auth(const struct as_settings *settings, const struct http_auth *auth, struct as_error *err)
{
    if (auth->token_file && (auth->user || auth->password_file))
        return as_settings_fail(settings, "token_file", err, "give either a token or a user with a password");
    if (auth->token_header && !auth->token_file)
        return as_settings_fail(settings, "token_header", err, "has no meaning without token_file");
    if (auth->token_header && (!is_header_name(auth->token_header)))
        return as_settings_fail(settings, "token_header", err, "'%.40s' is no name of a header",
                                auth->token_header);
    if (!auth->user != !auth->password_file)
        return as_settings_fail(settings, auth->user ? "user" : "password_file", err,
                                "user and password_file need each other");
    if (auth->user && (strchr(auth->user, ':') || !is_one_line(auth->user)))
        return as_settings_fail(settings, "user", err, "must not hold a colon or a line break");
    return AS_OK;
}

static int check_tls(const struct as_settings *settings, const struct site *s, struct as_error *err)
{
    const struct http_peer *p = &s->peer;
    if (!p->tls_cert != !p->tls_key)
        return as_settings_fail(settings, p->tls_cert ? "tls_cert" : "tls_key", err,
                                "tls_cert and tls_key need each other");
    if ((p->tls_ca || p->tls_cert) && strncmp(s->base, "http://", 7) == 0)
        return as_settings_fail(settings, p->tls_ca ? "tls_ca" : "tls_cert", err,
                                "'%.80s' would not use the TLS files: write https://", s->base);
    return AS_OK;
}

int site_open(struct site *s, const struct as_settings *settings, const char *option, const char *url,
              struct as_error *err)
{
    int rc = check_url(settings, option, url, err);
    if (rc != AS_OK)
        return rc;
    if (split_url(s, url) != AS_OK)
        return as_fail(err, AS_ENOMEM, "out of memory");
    s->peer = (struct http_peer){ .name = s->base,
                                  .base = s->base,
                                  .tls_ca = as_settings_str(settings, "tls_ca"),
                                  .tls_cert = as_settings_str(settings, "tls_cert"),
                                  .tls_key = as_settings_str(settings, "tls_key") };
    s->auth = (struct http_auth){ .token_file = as_settings_str(settings, "token_file"),
                                  .token_header = as_settings_str(settings, "token_header"),
                                  .user = as_settings_str(settings, "user"),
                                  .password_file = as_settings_str(settings, "password_file") };
    rc = check_auth(settings, &s->auth, err);
    if (rc == AS_OK)
        rc = check_tls(settings, s, err);
    return rc == AS_OK ? make_headers(s, settings, err) : rc;
}

void site_close(struct site *s)
{
    for (char **h = s->headers; h && *h; h++)
        free(*h);
    free(s->headers);
    free(s->base);
    free(s->query);
    *s = (struct site){ 0 };
}

/* --- asking -------------------------------------------------------------------------------------------- */

int site_get(const struct site *s, const char *path, size_t cap, as_time deadline, struct http_answer *out,
             struct as_error *err)
{
    struct http_request req = { .method = "GET",
                                .path = path ? path : s->query,
                                .cap = cap,
                                .deadline = deadline,
                                .headers = (const char *const *)s->headers,
                                .auth = &s->auth };
    int rc = http_call(&s->peer, &req, out, err);
    if (rc == AS_EUNKNOWN && err)
        err->rc = AS_EAGAIN;
    return rc == AS_EUNKNOWN ? AS_EAGAIN : rc;
}

int site_judge(const struct site *s, long status, struct as_error *err)
{
    const char *name = s->peer.name;
    if (status >= 200 && status < 300)
        return AS_OK;
    if (status == 401 || status == 403)
        return as_fail(err, AS_EAUTH, "%s refuses us (HTTP %ld): check %s", name, status,
                       s->auth.token_file ? s->auth.token_file
                       : s->auth.user     ? s->auth.password_file
                                          : "whether it wants token_file or password_file");
    if (status == 404)
        return as_fail(err, AS_ENOENT, "%s has nothing at this URL (HTTP 404)", name);
    if (status >= 300 && status < 400)
        return as_fail(err, AS_EINVAL,
                       "%s redirects (HTTP %ld), which is not followed: configure the final URL", name,
                       status);
    if (status == 429 || status >= 500)
        return as_fail(err, AS_EAGAIN, "%s cannot answer now (HTTP %ld)", name, status);
    return as_fail(err, status >= 400 ? AS_EINVAL : AS_EPROTO, "%s answers HTTP %ld", name, status);
}

const char *site_text(const char *text, char out[SITE_TEXT_MAX])
{
    size_t n = 0;
    for (; *text && n < SITE_TEXT_MAX - 1; text++) {
        unsigned char c = (unsigned char)*text;
        char plain = c >= 0x7f ? '?' : c < ' ' ? ' ' : (char)c;
        if (plain != ' ' || (n > 0 && out[n - 1] != ' '))
            out[n++] = plain;
    }
    while (n > 0 && (out[n - 1] == ' ' || out[n - 1] == '.'))
        n--;
    out[n] = '\0';
    return out;
}
