/* Where the executables of stages are. */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/describe.h"
#include "launch/mem.h"
#include "runtime/text.h"

struct find_dirs { char **v; uint32_t n; };

static void find_add(struct find_dirs *d, const char *dir)
{
    char real[PATH_MAX];
    if (*dir == '\0' || realpath(dir, real) == NULL)
        return;
    d->v = fl_need_grow(d->v, d->n + 1, sizeof *d->v);
    d->v[d->n++] = fl_need_copy(real);
}

static void find_beside_binary(struct find_dirs *d)
{
    char self[PATH_MAX], dir[PATH_MAX + 64];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    if (len <= 0)
        return;
    self[len] = '\0';
    char *slash = strrchr(self, '/');
    if (slash == NULL)
        return;
    *slash = '\0';
    snprintf(dir, sizeof dir, "%s/../stages", self);
    find_add(d, dir);
    snprintf(dir, sizeof dir, "%s/../libexec/flowrun/stages", self);
    find_add(d, dir);
}

static struct find_dirs find_dirs(char *const *path, uint32_t npath)
{
    struct find_dirs d = { 0 };
    for (uint32_t i = 0; i < npath; i++)
        find_add(&d, path[i]);
    const char *env = getenv("FLOWRUN_STAGES");
    if (env != NULL) {
        char *copy = fl_need_copy(env), *save = NULL;
        for (char *p = strtok_r(copy, ":", &save); p != NULL; p = strtok_r(NULL, ":", &save))
            find_add(&d, p);
        free(copy);
    }
    find_beside_binary(&d);
    return d;
}

static void find_dirs_done(struct find_dirs *d)
{
    for (uint32_t i = 0; i < d->n; i++)
        free(d->v[i]);
    free(d->v);
}

static bool find_executable(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

char *fl_find_stage(const char *name, char *const *path, uint32_t npath)
{
    struct find_dirs d = find_dirs(path, npath);
    char *found = NULL;
    for (uint32_t i = 0; i < d.n && found == NULL; i++) {
        found = fl_need_text("%s/%s", d.v[i], name);
        if (!find_executable(found)) {
            free(found);
            found = NULL;
        }
    }
    find_dirs_done(&d);
    return found;
}

static bool find_known(const struct fl_found *v, uint32_t n, const char *name)
{
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(v[i].name, name) == 0)
            return true;
    return false;
}

static int find_order(const void *a, const void *b)
{
    return fl_natural_cmp(((const struct fl_found *)a)->name, ((const struct fl_found *)b)->name);
}

static void find_list(const char *dir, struct fl_found **v, uint32_t *n)
{
    DIR *d = opendir(dir);
    if (d == NULL)
        return;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.' || strchr(e->d_name, '.') != NULL || find_known(*v, *n, e->d_name))
            continue;
        char *exe = fl_need_text("%s/%s", dir, e->d_name);
        if (!find_executable(exe)) {
            free(exe);
            continue;
        }
        *v = fl_need_grow(*v, *n + 1, sizeof **v);
        (*v)[(*n)++] = (struct fl_found){ fl_need_copy(e->d_name), exe };
    }
    closedir(d);
}

void fl_find_all(char *const *path, uint32_t npath, struct fl_found **out, uint32_t *n)
{
    struct find_dirs d = find_dirs(path, npath);
    *out = NULL;
    *n = 0;
    for (uint32_t i = 0; i < d.n; i++)
        find_list(d.v[i], out, n);
    if (*n > 1)
        qsort(*out, *n, sizeof **out, find_order);
    find_dirs_done(&d);
}

void fl_found_free(struct fl_found *v, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        free(v[i].name);
        free(v[i].exe);
    }
    free(v);
}
