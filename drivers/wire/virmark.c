/* The mark of ownership in a domain's metadata, and the scanner of tags it is read with. It is no general XML
 * parser: it reads documents that libvirt has printed, refuses what looks otherwise, and never reads behind the
 * terminating NUL. */
#include "virmark.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* --- tags --------------------------------------------------------------------------------------------- */

/* Behind a comment, declaration or instruction that starts at `at`; NULL when it does not end. */
static const char *skip_special(const char *at)
{
    const char *const kinds[][2] = {
        { "<!--", "-->" }, { "<![CDATA[", "]]>" }, { "<?", "?>" }, { "<!", ">" }
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t length = strlen(kinds[i][0]);
        if (strncmp(at, kinds[i][0], length) != 0)
            continue;
        const char *end = strstr(at + length, kinds[i][1]);
        return end ? end + strlen(kinds[i][1]) : NULL;
    }
    return at;
}

static bool name_byte(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-' || c == '.' || c == ':';
}

bool libvirt_next_tag(const char **at, struct libvirt_tag *tag)
{
    const char *p = strchr(*at, '<');
    for (const char *q; p && (q = skip_special(p)) != p;)
        p = q ? strchr(q, '<') : NULL;
    if (!p)
        return false;
    *tag = (struct libvirt_tag){ .begin = p, .closing = p[1] == '/' };
    tag->name = p + 1 + tag->closing;
    for (p = tag->name; name_byte(*p); p++)
        ;
    tag->name_size = (size_t)(p - tag->name);
    for (char quote = 0; *p && (quote || *p != '>'); p++) /* a '>' between quotes is text */
        if (quote)
            quote = *p == quote ? 0 : quote;
        else if (*p == '"' || *p == '\'')
            quote = *p;
        else if (*p == '<')
            return false;
    if (*p != '>' || tag->name_size == 0)
        return false;
    tag->empty = p[-1] == '/' && !tag->closing;
    tag->end = p + 1;
    *at = tag->end;
    return true;
}

bool libvirt_tag_is(const struct libvirt_tag *tag, const char *name)
{
    return tag->name_size == strlen(name) && memcmp(tag->name, name, tag->name_size) == 0;
}

bool libvirt_root_is(const char *text, const char *name)
{
    struct libvirt_tag tag;
    return libvirt_next_tag(&text, &tag) && !tag.closing && libvirt_tag_is(&tag, name);
}

/* Appends a character as UTF-8; false when it is none or there is no room. */
static bool put_utf8(char *buf, size_t size, size_t *used, unsigned long c)
{
    unsigned char b[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    if (c == 0 || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) || *used + n >= size)
        return false;
    for (size_t i = n; i-- > 1; c >>= 6)
        b[i] = (unsigned char)(0x80 | (c & 0x3f));
    b[0] = (unsigned char)(lead[n] | c);
    memcpy(buf + *used, b, n);
    *used += n;
    return true;
}

/* The character of the reference at `at` ("&lt;", "&#10;"), 0 when it is none; *length gets its size. */
static unsigned long reference(const char *at, const char *end, size_t *length)
{
    static const struct {
        const char *text;
        char c;
    } named[] = { { "&amp;", '&' }, { "&lt;", '<' }, { "&gt;", '>' }, { "&quot;", '"' }, { "&apos;", '\'' } };
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        if ((*length = strlen(named[i].text)) <= (size_t)(end - at) &&
            strncmp(at, named[i].text, *length) == 0)
            return (unsigned char)named[i].c;
    if (end - at < 4 || at[1] != '#')
        return 0;
    bool hex = at[2] == 'x';
    const char *digits = at + 2 + hex;
    size_t n = strspn(digits, hex ? "0123456789abcdefABCDEF" : "0123456789");
    if (n == 0 || n > 7 || digits[n] != ';' || digits + n >= end)
        return 0;
    *length = (size_t)(digits + n + 1 - at);
    return strtoul(digits, NULL, hex ? 16 : 10);
}

static bool decode(const char *from, const char *end, char *buf, size_t size)
{
    size_t used = 0;
    while (from < end) {
        size_t length = 1;
        bool ok;
        if (*from == '&')
            ok = put_utf8(buf, size, &used, reference(from, end, &length));
        else if ((ok = used + 1 < size))
            buf[used++] = *from;
        if (!ok) {
            buf[0] = '\0';
            return false;
        }
        from += length;
    }
    buf[used] = '\0';
    return true;
}

static const char *skip_blanks(const char *p)
{
    return p + strspn(p, " \t\r\n");
}

/* One name="value" at *at; false at the end of the tag or where it is damaged. */
static bool next_attribute(const char **at, const char *end, const char **name, size_t *name_size,
                           const char **value, const char **value_end)
{
    const char *p = skip_blanks(*at);
    for (*name = p; p < end && name_byte(*p); p++)
        ;
    *name_size = (size_t)(p - *name);
    p = skip_blanks(p);
    if (*name_size == 0 || p >= end || *p != '=')
        return false;
    p = skip_blanks(p + 1);
    if (p >= end || (*p != '"' && *p != '\''))
        return false;
    *value = p + 1;
    *value_end = memchr(*value, *p, (size_t)(end - *value));
    if (!*value_end)
        return false;
    *at = *value_end + 1;
    return true;
}

bool libvirt_attribute(const struct libvirt_tag *tag, const char *name, char *buf, size_t size)
{
    const char *at = tag->name + tag->name_size, *found, *value, *value_end;
    size_t length;
    buf[0] = '\0';
    while (next_attribute(&at, tag->end, &found, &length, &value, &value_end))
        if (length == strlen(name) && memcmp(found, name, length) == 0)
            return decode(value, value_end, buf, size);
    return false;
}

/* --- the mark ----------------------------------------------------------------------------------------- */

bool libvirt_mark_read(const char *text, struct libvirt_mark *out)
{
    struct libvirt_mark m = { 0 };
    struct libvirt_tag tag;
    char created[24];
    if (strnlen(text, LIBVIRT_MARK_MAX) == LIBVIRT_MARK_MAX || !libvirt_next_tag(&text, &tag) ||
        tag.closing || !libvirt_tag_is(&tag, "instance"))
        return false;
    if (!libvirt_attribute(&tag, "controller", m.controller, sizeof m.controller) ||
        !libvirt_attribute(&tag, "group", m.group, sizeof m.group) ||
        !libvirt_attribute(&tag, "id", m.id, sizeof m.id) || !m.id[0])
        return false;
    libvirt_attribute(&tag, "revision", m.revision, sizeof m.revision);
    libvirt_attribute(&tag, "address", m.address, sizeof m.address);
    libvirt_attribute(&tag, "mac", m.mac, sizeof m.mac);
    if (libvirt_attribute(&tag, "created", created, sizeof created) && strlen(created) < 16 &&
        strspn(created, "0123456789") == strlen(created))
        m.created_wall = (int64_t)strtoll(created, NULL, 10);
    *out = m;
    return true;
}
