/* Loading a library at run time. It knows no library by name. */
#include "dynlib.h"

#include <dlfcn.h>
#include <string.h>

int dynlib_load(const struct dynlib *l, void *table, struct as_error *err)
{
    void *library = dlopen(l->file, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return as_fail(err, AS_EUNSUP, "%s is not installed: apt install %s", l->what, l->package);
    for (size_t i = 0; i < l->count; i++) {
        void *found = dlsym(library, l->functions[i].name);
        if (!found)
            return as_fail(err, AS_EUNSUP, "this machine's %s is too old: it lacks %s", l->what,
                           l->functions[i].name);
        memcpy((char *)table + l->functions[i].at, &found, sizeof found);
    }
    return AS_OK;
}
