/* Scanning configuration text. It knows just enough of libconfig's syntax (comments, strings, names,
 * numbers, @include lines) to judge tokens; it accepts nothing and decides nothing else. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scan.h"

struct cursor {
    const char *at;
    int line;
    const char *file;
};

/* Text of several lines that ends in "=", as what stands before a quote that opens: the quote that should have closed
 * it is missing, and every text behind it would be read inside out. */
static bool ends_before_value(const char *from, const char *end)
{
    const char *at = end;
    if (!memchr(from, '\n', (size_t)(end - from)))
        return false;
    while (at > from && (at[-1] == ' ' || at[-1] == '\t' || at[-1] == '[' || at[-1] == '('))
        at--;
    return at > from && (at[-1] == '=' || at[-1] == ':') && memchr(from, '\n', (size_t)(at - from));
}

static void skip_string(struct scan *s, struct cursor *c)
{
    const char *open = c->at;
    int begin = c->line;
    for (c->at++; *c->at && *c->at != '"'; c->at++) {
        if (*c->at == '\\' && c->at[1])
            c->at++;
        c->line += *c->at == '\n';
    }
    if (*c->at && !ends_before_value(open, c->at)) {
        c->at++;
        return;
    }
    problems_error(s->problems, c->file, begin, "the text that begins here has no closing quote");
}

static void skip_line(struct cursor *c)
{
    c->at += strcspn(c->at, "\n");
}

static void skip_comment(struct cursor *c)
{
    for (c->at += 2; *c->at && !(c->at[0] == '*' && c->at[1] == '/'); c->at++)
        c->line += *c->at == '\n';
    c->at += *c->at ? 2 : 0;
}

/* An integer that libconfig would cut to 32 bits (64 with an L) without a word. */
static bool integer_wraps(const char *token, bool *is_integer)
{
    char *end;
    errno = 0;
    long long value = strtoll(token, &end, strncasecmp(token, "0x", 2) == 0 ? 16 : 10);
    bool wide = strcasecmp(end, "L") == 0 || strcasecmp(end, "LL") == 0;
    *is_integer = end > token && (!*end || wide);
    if (!*is_integer)
        return false;
    return errno == ERANGE || (!wide && (value > INT32_MAX || value < INT32_MIN));
}

static bool is_float(const char *token)
{
    char *end;
    strtod(token, &end);
    return end > token && !*end;
}

static void judge_number(struct scan *s, struct cursor *c)
{
    char token[64];
    size_t length = strspn(c->at, "+-.%_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
    snprintf(token, sizeof token, "%.*s", (int)(length < sizeof token ? length : sizeof token - 1), c->at);
    c->at += length ? length : 1;
    bool integer;
    if (integer_wraps(token, &integer)) {
        size_t digits = strcspn(token, "lL");
        bool wide = digits < strlen(token) || digits > 18;
        if (wide)
            problems_error(s->problems, c->file, c->line, "the number %s is too large", token);
        else
            problems_error(s->problems, c->file, c->line,
                           "the number %s does not fit 32 bits and would be cut: write %sL", token, token);
    } else if (!integer && !is_float(token) && strlen(token) < sizeof token - 1) {
        problems_error(s->problems, c->file, c->line, "%s needs double quotes: write \"%s\"", token, token);
    }
}

/* True when the cursor stood on an @include line, which it has passed. */
static bool take_include(struct scan *s, struct cursor *c)
{
    char name[256];
    if (strncmp(c->at, "@include", 8) != 0)
        return false;
    const char *open = c->at + 8 + strspn(c->at + 8, " \t");
    size_t length = *open == '"' ? strcspn(open + 1, "\"\\\n") : 0;
    if (!s->include) {
        problems_error(s->problems, c->file, c->line, "@include is not possible here");
    } else if (length == 0 || length >= sizeof name || open[1 + length] != '"') {
        problems_error(s->problems, c->file, c->line,
                       "@include wants the name of a file, as @include \"web.conf\"");
    } else {
        memcpy(name, open + 1, length);
        name[length] = '\0';
        s->include(s->arg, name, c->file, c->line);
    }
    skip_line(c);
    return true;
}

static bool starts_number(const char *at)
{
    return isdigit((unsigned char)*at) ||
           ((*at == '-' || *at == '+' || *at == '.') && isdigit((unsigned char)at[1]));
}

void scan_text(struct scan *s, const char *file, const char *text)
{
    struct cursor c = { text, 1, file };
    bool fresh_line = true; /* only blanks so far */
    if (strncmp(text, "\xef\xbb\xbf", 3) == 0)
        problems_error(s->problems, file, 1, "the file begins with a byte order mark: save it without one");
    while (*c.at) {
        if (fresh_line && *c.at == '@' && take_include(s, &c))
            continue;
        fresh_line = *c.at == '\n' || (fresh_line && (*c.at == ' ' || *c.at == '\t'));
        if (*c.at == '"')
            skip_string(s, &c);
        else if (*c.at == '#' || strncmp(c.at, "//", 2) == 0)
            skip_line(&c);
        else if (strncmp(c.at, "/*", 2) == 0)
            skip_comment(&c);
        else if (isalpha((unsigned char)*c.at) || *c.at == '*')
            c.at += strspn(c.at, "-_*0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
        else if (starts_number(c.at))
            judge_number(s, &c);
        else
            c.line += *c.at++ == '\n';
    }
}

void scan_syntax_error(struct scan *s, const char *file, const config_t *failed)
{
    int line = config_error_line(failed);
    const char *text = config_error_text(failed);
    if (!text || strcmp(text, "memory exhausted") == 0)
        problems_error(s->problems, file, line, "cannot be parsed: blocks are nested too deeply");
    else if (strcmp(text, "syntax error") == 0)
        problems_error(s->problems, file, line,
                       "syntax error: look for a missing quote, bracket or \"=\" here or on the line before");
    else if (strcmp(text, "duplicate setting name") == 0)
        problems_error(s->problems, file, line, "this name is already set in the same block");
    else
        problems_error(s->problems, file, line, "%s", text);
}
