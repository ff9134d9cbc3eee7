/* Foreign bytes as the typed parameters of a domain's statistics: records of a type, 8 bytes of value and a name
 * that ends with a NUL. Whatever they say, no rate is negative or not finite, and none is of one poll. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../drivers/source/libvirt_stats.h"

#define PARAMS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int make_params(const uint8_t *data, size_t size, virTypedParameter *params)
{
    int n = 0;
    while (n < PARAMS_MAX && size > 9) {
        virTypedParameter *p = &params[n++];
        const uint8_t *name = data + 9, *end = memchr(name, '\0', size - 9);
        size_t length = end ? (size_t)(end - name) : size - 9;
        size_t copied = length < sizeof p->field ? length : sizeof p->field; /* not always terminated */
        *p = (virTypedParameter){ .type = data[0] % 9 };
        memcpy(&p->value, data + 1, 8);
        memcpy(p->field, name, copied);
        if (p->type == VIR_TYPED_PARAM_STRING)
            p->value.s = NULL;
        data = name + length + (end != NULL);
        size -= 9 + length + (end != NULL);
    }
    return n;
}

static void check(const struct fleet_row *row, bool first)
{
    for (int f = 0; f < FLEET_FIELDS; f++)
        if (row->has[f] && (!isfinite(row->value[f]) || row->value[f] < 0))
            abort();
    if (first && (row->has[LIBVIRT_CPUS] || row->has[LIBVIRT_NET_IN] || row->has[LIBVIRT_DISK_OPS]))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    virTypedParameter params[PARAMS_MAX];
    struct libvirt_usage first, second;
    struct libvirt_meter m = { 0 };
    size_t half = size / 2;
    libvirt_usage_read(params, make_params(data, size, params), &first);
    libvirt_usage_read(params, make_params(data + half, size - half, params), &second);
    const struct libvirt_usage *const polls[] = { &first, &second, &first, &first };
    for (int i = 0; i < 4; i++) {
        struct fleet_row row = { 0 };
        libvirt_meter_take(&m, 1, polls[i], 1000 + 2000 * i, &row);
        check(&row, i == 0);
    }
    return 0;
}
