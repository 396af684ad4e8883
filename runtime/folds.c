/* Tables of folds. */
#include "runtime/folds.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/csv.h"
#include "runtime/labels.h"

static const char *folds_key(const void *items, uint32_t i, size_t *len)
{
    const struct fl_folds *f = items;
    *len = strlen(f->ids[i]);
    return f->ids[i];
}

static int folds_number(const char *text, uint32_t *fold)
{
    char *end;
    if (*text == '\0') {
        *fold = FL_NO_FOLD;
        return 0;
    }
    unsigned long v = strtoul(text, &end, 10);
    *fold = (uint32_t)v;
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && v < 65536 ? 0 : -1;
}

static int folds_room(struct fl_folds *f, uint32_t *cap, struct fl_err *err)
{
    if (f->n < *cap)
        return FL_OK;
    uint32_t want = *cap > 0 ? 2 * *cap : 1024;
    void *ids = want > *cap ? realloc(f->ids, want * sizeof *f->ids) : NULL;
    if (ids != NULL)
        f->ids = ids;
    void *fold = ids != NULL ? realloc(f->fold, want * sizeof *f->fold) : NULL;
    if (fold == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for %u rows of folds", want);
    f->fold = fold;
    *cap = want;
    return FL_OK;
}

static int folds_rows(struct fl_csv *csv, const char *column, struct fl_folds *f, struct fl_err *err)
{
    uint32_t cap = 0;
    int rc = fl_csv_next(csv, err);
    if (rc < 0)
        return rc;
    int64_t id = rc == FL_OK ? fl_csv_column(csv, "image_name") : -1, at = rc == FL_OK ? fl_csv_column(csv, column) : -1;
    if (id < 0 || at < 0)
        return fl_err_set(err, FL_E_LABEL, "%s:1: no column %.60s", csv->name, id < 0 ? "image_name" : column);
    while ((rc = fl_csv_next(csv, err)) == FL_OK) {
        if (csv->nfields <= (uint64_t)id || csv->nfields <= (uint64_t)at || !fl_id_ok(csv->field[id], csv->width[id]))
            return fl_err_set(err, FL_E_LABEL, "%s:%llu: no id of the form [A-Za-z0-9_.-]{1,63}, or no %.60s", csv->name, (unsigned long long)csv->line, column);
        if ((rc = folds_room(f, &cap, err)) != FL_OK)
            return rc;
        memcpy(f->ids[f->n], csv->field[id], csv->width[id] + 1);
        if (folds_number(csv->field[at], &f->fold[f->n]) != 0)
            return fl_err_set(err, FL_E_LABEL, "%s:%llu: %.60s of %s is \"%.40s\", want a whole number", csv->name, (unsigned long long)csv->line, column,
                              f->ids[f->n], csv->field[at]);
        if (f->fold[f->n] != FL_NO_FOLD && f->fold[f->n] >= f->k)
            f->k = f->fold[f->n] + 1;
        f->n++;
    }
    return rc == FL_END ? FL_OK : rc;
}

int fl_folds_read(const char *path, const char *column, struct fl_folds *f, struct fl_err *err)
{
    char *text;
    size_t len;
    memset(f, 0, sizeof *f);
    int rc = fl_csv_load(path, &text, &len, err);
    if (rc != FL_OK)
        return rc;
    struct fl_csv csv;
    fl_csv_init(&csv, path, text, len);
    rc = folds_rows(&csv, column, f, err);
    fl_csv_done(&csv);
    free(text);
    if (rc == FL_OK)
        rc = fl_index_init(&f->index, f->n, folds_key, f, err);
    for (uint32_t i = 0; rc == FL_OK && i < f->n; i++)
        if (fl_index_add(&f->index, i) >= 0)
            rc = fl_err_set(err, FL_E_LABEL, "%s: id %s is there twice", path, f->ids[i]);
    if (rc != FL_OK)
        fl_folds_free(f);
    return rc;
}

int64_t fl_folds_find(const struct fl_folds *f, const char *id, size_t len)
{
    return f->n > 0 ? fl_index_find(&f->index, id, len) : -1;
}

void fl_folds_free(struct fl_folds *f)
{
    fl_index_done(&f->index);
    free(f->ids);
    free(f->fold);
    memset(f, 0, sizeof *f);
}

int32_t fl_fold_of_path(const char *path)
{
    int32_t fold = -1;
    for (const char *p = path; (p = strstr(p, "fold_")) != NULL; p += 5) {
        size_t digits = strspn(p + 5, "0123456789");
        if ((p == path || p[-1] == '/') && digits > 0 && digits <= 3 && (p[5 + digits] == '/' || p[5 + digits] == '\0'))
            fold = atoi(p + 5);
    }
    return fold;
}
