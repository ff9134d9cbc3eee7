/* Volumes of the libvirt driver: disks, which are qcow2 overlays of a base volume, and seeds for cloud-init. Volumes have
 * no metadata, so the name is the mark: autoscale.CONTROLLER.ID.qcow2, .iso. Neither the base nor a volume of
 * another name is ever written to. */
#include <stdlib.h>
#include <string.h>

#include "libvirt.h"

#define VOLUME_NAME_MAX (LIBVIRT_NAME_MAX + AS_ID_MAX + 20)

static const char *const suffixes[LIBVIRT_KINDS] = { [LIBVIRT_DISK] = ".qcow2", [LIBVIRT_SEED] = ".iso" };

struct base {
    char path[LIBVIRT_PATH_MAX], format[32];
    uint64_t capacity;
};

static void volume_name(const struct libvirt *d, const char *id, enum libvirt_kind kind,
                        char name[VOLUME_NAME_MAX])
{
    snprintf(name, VOLUME_NAME_MAX, "autoscale.%.*s.%s%s", LIBVIRT_NAME_MAX - 1, d->owner.controller, id,
             suffixes[kind]);
}

/* Refreshed when asked: a file put there beside libvirt is not seen otherwise. */
static int find_pool(struct libvirt *d, virConnectPtr conn, const char *name, virStoragePoolPtr *out,
                     struct as_error *err)
{
    struct as_error own;
    err = err ? err : &own;
    *out = vir.StoragePoolLookupByName(conn, name);
    if (!*out && virlib_refused(d->uri, false, "looking for the storage pool", err) == AS_ENOENT)
        return as_fail(err, AS_EINVAL, "storage pool '%s' is not on %.60s: define and start it there", name,
                       d->uri);
    if (!*out)
        return (int)err->rc;
    if (vir.StoragePoolIsActive(*out) != 0)
        return AS_OK;
    vir.StoragePoolFree(*out);
    return as_fail(err, AS_EAGAIN, "storage pool '%s' on %.60s is not started: virsh pool-start %s", name,
                   d->uri, name);
}

/* --- the base ------------------------------------------------------------------------------------------- */

static int read_base(struct libvirt *d, virStorageVolPtr vol, struct base *out, struct as_error *err)
{
    virStorageVolInfo info;
    char *path = vir.StorageVolGetPath(vol), *xml = vir.StorageVolGetXMLDesc(vol, 0);
    int rc = AS_OK;
    if (!path || !xml || vir.StorageVolGetInfo(vol, &info) != 0)
        rc = virlib_refused(d->uri, false, "reading the base image", err);
    else if (strlen(path) >= sizeof out->path)
        rc = as_fail(err, AS_EPROTO, "the path of the base image on %.60s is too long", d->uri);
    if (rc == AS_OK) {
        snprintf(out->path, sizeof out->path, "%s", path);
        libvirt_volume_format(xml, out->format, sizeof out->format);
        out->capacity = info.capacity;
    }
    free(path);
    free(xml);
    return rc;
}

/* NULL when libvirt does not know it. */
static virStorageVolPtr lookup_base(virConnectPtr conn, virStoragePoolPtr pool, const char *base)
{
    return *base == '/' ? vir.StorageVolLookupByPath(conn, base)
                        : vir.StorageVolLookupByName(pool, strchr(base, '/') + 1);
}

static int find_base(struct libvirt *d, virConnectPtr conn, virStoragePoolPtr pool, struct base *out,
                     struct as_error *err)
{
    const char *base = as_settings_str(d->settings, "base");
    virStorageVolPtr vol = lookup_base(conn, pool, base);
    int rc = vol ? AS_OK : virlib_refused(d->uri, false, "looking for the base image", err);
    if (rc == AS_ENOENT && vir.StoragePoolRefresh(pool, 0) == 0 && (vol = lookup_base(conn, pool, base)))
        rc = AS_OK;
    if (rc == AS_ENOENT)
        return as_fail(err, AS_EINVAL, "base image '%s' is in no storage pool of %.60s: put it there", base,
                       d->uri);
    if (rc != AS_OK)
        return rc;
    rc = read_base(d, vol, out, err);
    vir.StorageVolFree(vol);
    return rc;
}

/* The base of "pool/volume" may be in another pool than the disks. */
static int need_base(struct libvirt *d, virConnectPtr conn, virStoragePoolPtr disks, struct base *out,
                     struct as_error *err)
{
    const char *base = as_settings_str(d->settings, "base");
    char name[LIBVIRT_NAME_MAX];
    virStoragePoolPtr pool = NULL;
    if (*base == '/')
        return find_base(d, conn, disks, out, err);
    snprintf(name, sizeof name, "%.*s", (int)strcspn(base, "/"), base);
    int rc = find_pool(d, conn, name, &pool, err);
    if (rc != AS_OK)
        return rc;
    rc = find_base(d, conn, pool, out, err);
    vir.StoragePoolFree(pool);
    return rc;
}

/* --- disks ------------------------------------------------------------------------------------------------ */

static int delete_named(struct libvirt *d, virStoragePoolPtr pool, const char *name, struct as_error *err)
{
    struct as_error own;
    err = err ? err : &own;
    virStorageVolPtr vol = vir.StorageVolLookupByName(pool, name);
    int rc = vol ? AS_OK : virlib_refused(d->uri, false, "looking for the disk", err);
    if (vol && vir.StorageVolDelete(vol, 0) != 0)
        rc = virlib_refused(d->uri, true, "deleting the disk", err);
    if (vol)
        vir.StorageVolFree(vol);
    return rc == AS_ENOENT ? AS_OK : rc;
}

static int path_of(struct libvirt *d, virStorageVolPtr vol, const char *name, char path[LIBVIRT_PATH_MAX],
                   struct as_error *err)
{
    char *made = vir.StorageVolGetPath(vol);
    int rc = AS_OK;
    if (!made || strlen(made) >= LIBVIRT_PATH_MAX)
        rc = as_fail(err, AS_EPROTO, "volume '%s' on %.60s has no usable path", name, d->uri);
    else
        snprintf(path, LIBVIRT_PATH_MAX, "%s", made);
    free(made);
    return rc;
}

/* Takes the document. */
static int make_volume(struct libvirt *d, virStoragePoolPtr pool, const char *name, char *xml,
                       char path[LIBVIRT_PATH_MAX], struct as_error *err)
{
    if (!xml)
        return as_fail(err, AS_ENOMEM, "out of memory for volume '%s'", name);
    virStorageVolPtr vol = vir.StorageVolCreateXML(pool, xml, 0);
    free(xml);
    if (!vol && virlib_refused(d->uri, true, "making a volume", err) == AS_EFULL)
        return as_fail(err, AS_EFULL, "storage pool '%s' on %.60s is full: make room there",
                       as_settings_str(d->settings, "pool"), d->uri);
    if (!vol)
        return (int)err->rc;
    int rc = path_of(d, vol, name, path, err);
    vir.StorageVolFree(vol);
    return rc;
}

static int make_overlay(struct libvirt *d, virStoragePoolPtr pool, const char *name, const struct base *base,
                        char path[LIBVIRT_PATH_MAX], struct as_error *err)
{
    uint64_t wanted = as_settings_bytes(d->settings, "disk");
    wanted = wanted > base->capacity ? wanted : base->capacity;
    return make_volume(d, pool, name, libvirt_volume_xml(name, wanted, base->path, base->format), path, err);
}

int libvirt_clone(struct libvirt *d, virConnectPtr conn, const char *id, char path[LIBVIRT_PATH_MAX],
                  struct as_error *err)
{
    char name[VOLUME_NAME_MAX];
    struct base base;
    virStoragePoolPtr pool = NULL;
    volume_name(d, id, LIBVIRT_DISK, name);
    int rc = find_pool(d, conn, as_settings_str(d->settings, "pool"), &pool, err);
    if (rc != AS_OK)
        return rc;
    rc = need_base(d, conn, pool, &base, err);
    if (rc == AS_OK)
        rc = delete_named(d, pool, name, err);
    if (rc == AS_OK)
        rc = make_overlay(d, pool, name, &base, path, err);
    vir.StoragePoolFree(pool);
    return rc;
}

static int upload(struct libvirt *d, virConnectPtr conn, virStorageVolPtr vol, const void *bytes, size_t size,
                  struct as_error *err)
{
    const char *at = bytes;
    int sent = 0;
    virStreamPtr stream = vir.StreamNew(conn, 0);
    if (!stream || vir.StorageVolUpload(vol, stream, 0, size, 0) != 0)
        sent = -1;
    while (sent >= 0 && size > 0) {
        sent = vir.StreamSend(stream, at, size);
        if (sent > 0) {
            at += sent;
            size -= (size_t)sent;
        } else {
            sent = -1; /* 0 is no answer of a stream that blocks */
        }
    }
    int rc = AS_OK;
    if (sent < 0 || vir.StreamFinish(stream) != 0)
        rc = virlib_refused(d->uri, true, "uploading", err);
    if (stream)
        vir.StreamFree(stream);
    return rc;
}

int libvirt_put(struct libvirt *d, virConnectPtr conn, const char *id, const void *bytes, size_t size,
                char path[LIBVIRT_PATH_MAX], struct as_error *err)
{
    char name[VOLUME_NAME_MAX];
    virStoragePoolPtr pool = NULL;
    virStorageVolPtr vol = NULL;
    volume_name(d, id, LIBVIRT_SEED, name);
    int rc = find_pool(d, conn, as_settings_str(d->settings, "pool"), &pool, err);
    if (rc != AS_OK)
        return rc;
    rc = delete_named(d, pool, name, err);
    if (rc == AS_OK)
        rc = make_volume(d, pool, name, libvirt_volume_xml(name, size, NULL, "raw"), path, err);
    if (rc == AS_OK && !(vol = vir.StorageVolLookupByName(pool, name)))
        rc = virlib_refused(d->uri, true, "looking for a volume", err);
    if (rc == AS_OK)
        rc = upload(d, conn, vol, bytes, size, err);
    if (vol)
        vir.StorageVolFree(vol);
    vir.StoragePoolFree(pool);
    return rc;
}

int libvirt_discard(struct libvirt *d, virConnectPtr conn, const char *id, struct as_error *err)
{
    char name[VOLUME_NAME_MAX];
    virStoragePoolPtr pool = NULL;
    int rc = find_pool(d, conn, as_settings_str(d->settings, "pool"), &pool, err);
    if (rc != AS_OK)
        return rc == AS_EINVAL ? AS_OK : rc; /* without the pool there is no volume */
    for (enum libvirt_kind kind = 0; kind < LIBVIRT_KINDS && rc == AS_OK; kind++) {
        volume_name(d, id, kind, name);
        rc = delete_named(d, pool, name, err);
    }
    vir.StoragePoolFree(pool);
    return rc;
}

/* --- what is left -------------------------------------------------------------------------------------- */

/* The id in the name of such a volume of our group; false when it is not one. */
static bool id_of(const struct libvirt *d, const char *name, const char *suffix, char id[AS_ID_MAX])
{
    char prefix[VOLUME_NAME_MAX];
    int n = snprintf(prefix, sizeof prefix, "autoscale.%.*s.%s-", LIBVIRT_NAME_MAX - 1, d->owner.controller,
                     d->owner.group);
    size_t own = strlen(d->owner.group) + 1, length = strlen(name), tail = strlen(suffix);
    if (n < 0 || (size_t)n >= sizeof prefix || strncmp(name, prefix, (size_t)n) != 0 ||
        length <= (size_t)n + tail || strcmp(name + length - tail, suffix) != 0)
        return false;
    const char *from = name + (size_t)n - own;
    size_t size = length - tail - (size_t)(from - name);
    if (size >= AS_ID_MAX)
        return false;
    memcpy(id, from, size);
    id[size] = '\0';
    /* "web-1234" is of group web, "web-two-1234" is not */
    return libvirt_name_ok(id) && !strchr(id + own, '-');
}

static bool is_listed(const struct as_instances *list, const char *id)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i].id, id) == 0)
            return true;
    return false;
}

/* A domain of that name is there all the same when it came up after the listing, or is not ours. */
static bool has_domain(virConnectPtr conn, const char *id)
{
    virDomainPtr dom = vir.DomainLookupByName(conn, id);
    if (!dom)
        return vir.GetLastErrorCode() != VIR_ERR_NO_DOMAIN;
    vir.DomainFree(dom);
    return true;
}

static int add_left(struct libvirt *d, virConnectPtr conn, virStorageVolPtr vol, enum libvirt_kind kind,
                    struct as_instances *out)
{
    char id[AS_ID_MAX];
    const char *name = vir.StorageVolGetName(vol);
    struct as_instance left = { .state = AS_RUN_STOPPED,
                                .detail = "the machine is gone, only its disk is left" };
    if (!name || !id_of(d, name, suffixes[kind], id) || is_listed(out, id) || has_domain(conn, id))
        return AS_OK;
    snprintf(left.id, sizeof left.id, "%s", id);
    struct as_instance *i = as_instances_add(out);
    if (!i)
        return AS_ENOMEM;
    *i = left;
    return AS_OK;
}

int libvirt_list_left(struct libvirt *d, virConnectPtr conn, struct as_instances *out, struct as_error *err)
{
    virStorageVolPtr *all = NULL;
    virStoragePoolPtr pool = NULL;
    struct as_error own;
    err = err ? err : &own;
    int rc = find_pool(d, conn, as_settings_str(d->settings, "pool"), &pool, err);
    if (rc == AS_EINVAL) /* no pool, so no disks; a launch will say what is missing */
        return AS_OK;
    if (rc != AS_OK)
        return rc;
    int n = vir.StoragePoolListAllVolumes(pool, &all, 0);
    if (n < 0)
        rc = virlib_refused(d->uri, false, "listing the disks", err);
    for (enum libvirt_kind kind = 0; kind < LIBVIRT_KINDS; kind++)
        for (int i = 0; i < n && rc == AS_OK; i++)
            if ((rc = add_left(d, conn, all[i], kind, out)) != AS_OK)
                as_fail(err, AS_ENOMEM, "too many disks on %.60s", d->uri);
    for (int i = 0; i < n; i++)
        vir.StorageVolFree(all[i]);
    free(all);
    vir.StoragePoolFree(pool);
    return rc;
}
