/* One URL of the configuration and how to talk to it: headers, credentials from files, TLS. What the sources
 * that speak plain HTTP share. TLS certificates are always verified; a URL never carries a password. */
#ifndef WIRE_SITE_H
#define WIRE_SITE_H

#include "autoscale/settings.h"
#include "http.h"

#define SITE_TEXT_MAX 120

/* Rows of the option table of a driver that uses a site. */
#define SITE_OPTIONS                                                                                                   \
    { .name = "headers",                                                                                               \
      .type = AS_OPT_MAP,                                                                                              \
      .help = "further request headers, NAME = \"value\"; no credentials, use token_file or password_file" },          \
        { .name = "token_file",                                                                                        \
          .type = AS_OPT_SECRET,                                                                                       \
          .help = "file that holds a token, sent as \"Authorization: Bearer TOKEN\" and read again at each poll" },    \
        { .name = "token_header",                                                                                      \
          .type = AS_OPT_STRING,                                                                                       \
          .help = "header that carries the bare token instead of Authorization, as \"X-Api-Key\"" },                   \
        { .name = "user", .type = AS_OPT_STRING, .help = "user name of HTTP basic authentication" },                   \
        { .name = "password_file",                                                                                     \
          .type = AS_OPT_SECRET,                                                                                       \
          .help = "file that holds the password of user, read again at each poll" },                                   \
        { .name = "tls_ca",                                                                                            \
          .type = AS_OPT_FILE,                                                                                         \
          .help = "PEM file of the authorities that sign the server's certificate; the system's when unset" },         \
        { .name = "tls_cert", .type = AS_OPT_FILE, .help = "PEM file of our client certificate" },                     \
    {                                                                                                                  \
        .name = "tls_key", .type = AS_OPT_SECRET, .help = "PEM file of our client certificate's key"                   \
    }

struct site {               /* zeroed by the caller; site_close accepts a half-opened one           */
    struct http_peer peer;
    struct http_auth auth;
    char *base;             /* scheme, host, port and path of the URL, as configured               */
    char *query;            /* "?..." of the URL, or ""                                            */
    char **headers;         /* "Name: value", ends with NULL                                       */
};

/* Checks `url` (of the option `option`) and the options above, offline; borrows the settings. */
int site_open(struct site *s, const struct as_settings *settings, const char *option, const char *url,
              struct as_error *err);
void site_close(struct site *s);

/* GETs base + path, or with a NULL path the URL as configured. As http_call, but a lost answer is AS_EAGAIN: a
 * read may be repeated. */
int site_get(const struct site *s, const char *path, size_t cap, as_time deadline, struct http_answer *out,
             struct as_error *err);
/* AS_OK for 2xx; else an error that says what the status means here. */
int site_judge(const struct site *s, long status, struct as_error *err);

/* Foreign text fit for an error: printable ASCII in one line, cut. Returns out. */
const char *site_text(const char *text, char out[SITE_TEXT_MAX]);

#endif
