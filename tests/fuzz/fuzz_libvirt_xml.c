/* Foreign bytes into everything the libvirt driver reads as XML or as an address. What is read must fit its
 * buffers and must survive being written into a domain and read again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../drivers/compute/libvirt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_mark(const struct libvirt_mark *mark, const struct as_settings *settings)
{
    static const char start[] = "<autoscale:instance";
    struct libvirt_mark again;
    struct libvirt_machine m = { .settings = settings, .mark = mark, .type = "kvm", .volume = "/v" };
    char *xml = libvirt_domain_xml(&m);
    char *at = xml ? strstr(xml, start) : NULL;
    if (!at)
        abort();
    /* libvirt gives the element back without its prefix */
    memmove(at + 1, at + strlen("<autoscale:"), strlen(at + strlen("<autoscale:")) + 1);
    strstr(at, "/>")[2] = '\0';
    bool plain = true; /* XML cannot say control characters: they do not come back */
    for (const char *c = (const char *)mark; c < (const char *)(mark + 1) - sizeof mark->created_wall; c++)
        plain = plain && !(*c > 0 && *c < ' ' && *c != '\t' && *c != '\n' && *c != '\r');
    if (strlen(at) < LIBVIRT_MARK_MAX && plain &&
        (!libvirt_mark_read(at, &again) || strcmp(again.id, mark->id) != 0 ||
         strcmp(again.controller, mark->controller) != 0 || strcmp(again.group, mark->group) != 0))
        abort();
    free(xml);
}

static void check_template(const char *text, const struct as_settings *settings)
{
    static const struct libvirt_mark mark = { .controller = "c", .group = "g", .id = "g-1" };
    struct libvirt_machine m = { .settings = settings, .mark = &mark, .volume = "/v", .template = text };
    const char *at = text;
    size_t n = libvirt_unknown(text, &at);
    if (n && (at < text || at + n > text + strlen(text) || at[n - 1] != '}'))
        abort();
    char *xml = libvirt_domain_xml(&m);
    if (libvirt_root_is(text, "domain") && (!xml || !strstr(xml, "<autoscale:instance")))
        abort();
    libvirt_template_has(text, "{mac}");
    libvirt_has_nvram(text);
    libvirt_shares_nvram(text);
    free(xml);
}

static void check_tags(const char *text)
{
    const char *at = text, *end = text + strlen(text);
    struct libvirt_tag tag;
    char value[40];
    while (libvirt_next_tag(&at, &tag)) {
        if (tag.begin < text || tag.end > end || tag.end <= tag.begin || at != tag.end)
            abort();
        if (libvirt_attribute(&tag, "ip", value, sizeof value) && strlen(value) >= sizeof value)
            abort();
    }
    libvirt_volume_format(text, value, sizeof value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct libvirt_range range;
    struct libvirt_subnet subnet;
    struct libvirt_mark mark;
    struct as_settings *settings = NULL;
    char *text = malloc(size + 1);
    if (!text || as_settings_parse(libvirt_options, "base=\"/b\"; memory=\"64MiB\"; port=1; range=\"x\";",
                                   &settings, NULL) != AS_OK)
        abort();
    memcpy(text, data, size);
    text[size] = '\0';
    if (libvirt_range_parse(text, &range) && (range.last < range.first || range.first == 0))
        abort();
    if (libvirt_subnet_parse(text, &subnet) && (subnet.prefix < 8 || subnet.gateway != subnet.base + 1))
        abort();
    if (libvirt_mark_read(text, &mark))
        check_mark(&mark, settings);
    check_template(text, settings);
    check_tags(text);
    as_settings_free(settings);
    free(text);
    return 0;
}
