/* The seed of a virtual machine: what cloud-init finds of its name and of the user's own files, with the instance's
 * words in the place of placeholders. What the files hold is never printed. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../wire/seed.h"
#include "libvirt.h"

static const char *value_of(const struct libvirt_mark *m, size_t which, const char *port)
{
    const char *const values[] = { m->id, m->id, m->group, m->controller, m->address, m->mac, port };
    return values[which];
}

char *libvirt_seed_text(const char *text, const struct libvirt_mark *mark, int64_t port)
{
    static const char *const words[] = { "{id}",      "{name}", "{group}", "{controller}",
                                         "{address}", "{mac}",  "{port}",  NULL };
    char digits[24], *made = NULL;
    size_t size, k;
    FILE *out = open_memstream(&made, &size);
    if (!out)
        return NULL;
    snprintf(digits, sizeof digits, "%" PRId64, port);
    for (const char *at = text; *at;) {
        for (k = 0; words[k] && strncmp(at, words[k], strlen(words[k])) != 0; k++)
            ;
        if (words[k] && (at == text || at[-1] != '$')) {
            fputs(value_of(mark, k, digits), out);
            at += strlen(words[k]);
        } else {
            fputc(*at++, out);
        }
    }
    if (fclose(out) == 0)
        return made;
    free(made);
    return NULL;
}

int libvirt_seed(struct libvirt *d, virConnectPtr conn, const struct libvirt_mark *mark,
                 char path[LIBVIRT_PATH_MAX], struct as_error *err)
{
    static const char meta[] = "instance-id: {id}\nlocal-hostname: {id}\n", none[] = "#cloud-config\n";
    const char *const from[] = { meta, d->user_data ? d->user_data : none, d->network_config };
    char *texts[3] = { NULL };
    void *image = NULL;
    size_t size = 0;
    int rc = AS_OK;
    for (size_t i = 0; i < 3 && rc == AS_OK; i++)
        if (from[i] && !(texts[i] = libvirt_seed_text(from[i], mark, as_settings_int(d->settings, "port"))))
            rc = as_fail(err, AS_ENOMEM, "out of memory for the seed of '%s'", mark->id);
    if (rc == AS_OK)
        rc = seed_make(&(struct seed_texts){ texts[0], texts[1], texts[2] }, &image, &size, err);
    if (rc == AS_OK)
        rc = libvirt_put(d, conn, mark->id, image, size, path, err);
    free(image);
    for (size_t i = 0; i < 3; i++)
        free(texts[i]);
    return rc;
}
