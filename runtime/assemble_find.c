/* Finds the files of a model's folds. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/assemble.h"

/* TTA out of SPLIT_TTA.EXT into tta; false when the name is another. */
static bool assemble_is_file(const char *name, const char *split, char tta[64])
{
    static const char *const exts[] = { ".h5", ".hdf5", ".npy", ".csv", ".csv.gz" };
    size_t len = strlen(name), s = strlen(split);
    if (strncmp(name, split, s) != 0 || name[s] != '_')
        return false;
    for (size_t i = 0; i < sizeof exts / sizeof *exts; i++) {
        size_t e = strlen(exts[i]);
        if (len > s + 1 + e && len - s - 1 - e < 64 && strcmp(name + len - e, exts[i]) == 0) {
            memcpy(tta, name + s + 1, len - s - 1 - e);
            tta[len - s - 1 - e] = '\0';
            return true;
        }
    }
    return false;
}

/* The file of fold k, malloc'd. */
static int assemble_find(const char *dir, uint32_t k, const struct fl_assemble *how, char **path, struct fl_err *err)
{
    char folder[4200], tta[64];
    snprintf(folder, sizeof folder, "%.4000s/fold_%u", dir, k);
    DIR *d = opendir(folder);
    int rc = d != NULL ? FL_OK : fl_err_set(err, FL_E_LABEL, "%s: %s", folder, strerror(errno));
    *path = NULL;
    for (struct dirent *e; rc == FL_OK && (e = readdir(d)) != NULL; ) {
        if (!assemble_is_file(e->d_name, fl_split_names[how->split], tta) || (how->tta != NULL && strcmp(tta, how->tta) != 0))
            continue;
        if (*path != NULL)
            rc = fl_err_set(err, FL_E_CONFIG, "%s: %s and %s%s", folder, strrchr(*path, '/') + 1, e->d_name, how->tta == NULL ? ": which test-time views are meant must be said" : "");
        else if (asprintf(path, "%s/%s", folder, e->d_name) < 0)
            rc = fl_err_set(err, FL_E_NOMEM, "no memory");
    }
    if (d != NULL)
        closedir(d);
    if (rc == FL_OK && *path == NULL)
        rc = fl_err_set(err, FL_E_LABEL, "%s: no file %s_%s.h5, .hdf5, .npy or .csv", folder, fl_split_names[how->split], how->tta != NULL ? how->tta : "*");
    return rc;
}

static uint32_t assemble_count(const char *dir)
{
    DIR *d = opendir(dir);
    uint32_t n = 0;
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL; )
        n += strncmp(e->d_name, "fold_", 5) == 0 && fl_fold_of_path(e->d_name) >= 0;
    if (d != NULL)
        closedir(d);
    return n;
}

/* Model and views as the folders call them, where the files don't say. */
static void assemble_named(const char *dir, const char *path, const struct fl_assemble *how, struct fl_pred_meta *m)
{
    char tta[64];
    const char *name = strrchr(path, '/') + 1;
    size_t len = strlen(dir);
    if (m->tta[0] == '\0' && assemble_is_file(name, fl_split_names[how->split], tta))
        strcpy(m->tta, tta);
    while (len > 1 && dir[len - 1] == '/')
        len--;
    size_t start = len;
    while (start > 0 && dir[start - 1] != '/')
        start--;
    if (m->model[0] == '\0' && len - start < sizeof m->model)
        memcpy(m->model, dir + start, len - start);
}

int fl_assemble_folder(const char *dir, const struct fl_assemble *how, struct fl_predictions *out, struct fl_err *err)
{
    char *paths[FL_MAX_FOLDS] = { NULL };
    uint32_t n = assemble_count(dir);
    int rc = n >= 2 && n <= FL_MAX_FOLDS ? FL_OK : fl_err_set(err, FL_E_LABEL, "%s: %u folders fold_K, want 2 to %u", dir, n, FL_MAX_FOLDS);
    for (uint32_t k = 0; rc == FL_OK && k < n; k++)
        rc = assemble_find(dir, k, how, &paths[k], err);
    if (rc == FL_OK)
        rc = fl_assemble_files((const char *const *)paths, n, how, out, err);
    if (rc == FL_OK)
        assemble_named(dir, paths[0], how, &out->meta);
    for (uint32_t k = 0; k < n && k < FL_MAX_FOLDS; k++)
        free(paths[k]);
    return rc;
}
