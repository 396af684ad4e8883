/* Loads executors from objects of their own. */
#include "stages/forward/plugin.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int plugin_path(const char *name, char *path, size_t n)
{
    char self[PATH_MAX];
    const char *dir = getenv("FLOWRUN_PLUGINS");
    if (dir != NULL)
        return snprintf(path, n, "%s/forward_%s.so", dir, name);
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    self[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(self, '/');
    if (slash != NULL)
        *slash = '\0';
    return snprintf(path, n, "%s/../plugins/forward_%s.so", self, name);
}

/* dlopen counts: the same object comes back when it is asked for again. */
const struct fl_backend *fl_plugin_backend(const char *name, char *why, size_t n)
{
    char path[PATH_MAX + 64];
    plugin_path(name, path, sizeof path);
    if (access(path, F_OK) != 0) {
        snprintf(why, n, "this build has no forward_%s.so", name);
        return NULL;
    }
    void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (so == NULL) {
        snprintf(why, n, "%s", dlerror());
        return NULL;
    }
    const struct fl_backend *b = dlsym(so, FL_PLUGIN_SYMBOL);
    if (b == NULL || b->abi != FL_BACKEND_ABI || strcmp(b->name, name) != 0) {
        snprintf(why, n, "%s is not an executor for this version", path);
        dlclose(so);
        return NULL;
    }
    return b;
}
