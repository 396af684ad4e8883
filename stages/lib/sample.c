/* A sample submission: ids in their order. */
#include "stages/lib/sample.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/csv.h"
#include "runtime/index.h"
#include "runtime/labels.h"

static const char *sample_key(const void *items, uint32_t i, size_t *len)
{
    const struct fl_sample *s = items;
    *len = strlen(s->ids[i]);
    return s->ids[i];
}

static int sample_grow(struct fl_sample *s, uint64_t *cap, const char *path, struct fl_err *err)
{
    if (s->n < *cap)
        return FL_OK;
    uint64_t want = *cap > 0 ? 2 * *cap : 1024;
    void *ids = want < UINT32_MAX ? realloc(s->ids, want * sizeof *s->ids) : NULL;
    if (ids == NULL)
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory for %llu rows", path, (unsigned long long)want);
    s->ids = ids;
    *cap = want;
    return FL_OK;
}

static int sample_rows(struct fl_csv *csv, const char *path, struct fl_sample *s, struct fl_err *err)
{
    uint64_t cap = 0;
    int rc = fl_csv_next(csv, err);
    if (rc < 0)
        return rc;
    int64_t column = rc == FL_OK ? fl_csv_column(csv, "image_name") : -1;
    uint32_t columns = csv->nfields;
    if (column < 0)
        return fl_err_set(err, FL_E_LABEL, "%s:1: no column image_name", path);
    for (uint32_t i = 0; i < columns; i++)
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(csv->field[i], csv->field[j]) == 0)
                return fl_err_set(err, FL_E_LABEL, "%s:1: the column %.60s comes twice", path, csv->field[i]);
    while ((rc = fl_csv_next(csv, err)) == FL_OK) {
        if (csv->nfields != columns)
            return fl_err_set(err, FL_E_LABEL, "%s:%llu: %u columns, the header has %u", path, (unsigned long long)csv->line, csv->nfields, columns);
        if (!fl_id_ok(csv->field[column], csv->width[column]))
            return fl_err_set(err, FL_E_LABEL, "%s:%llu: no id of the form [A-Za-z0-9_.-]{1,63}", path, (unsigned long long)csv->line);
        if ((rc = sample_grow(s, &cap, path, err)) != FL_OK)
            return rc;
        memcpy(s->ids[s->n], csv->field[column], csv->width[column] + 1);
        s->n++;
    }
    return rc == FL_END ? FL_OK : rc;
}

static int sample_index(struct fl_sample *s, const char *path, struct fl_err *err)
{
    struct fl_index *index = calloc(1, sizeof *index);
    s->pred = calloc(s->n > 0 ? s->n : 1, sizeof *s->pred);
    s->state = calloc(s->n > 0 ? s->n : 1, sizeof *s->state);
    if (index == NULL || s->pred == NULL || s->state == NULL) {
        free(index);
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory for %u rows", path, s->n);
    }
    int rc = fl_index_init(index, s->n, sample_key, s, err);
    if (rc != FL_OK) {
        free(index);
        return rc;
    }
    s->index = index;
    for (uint32_t i = 0; i < s->n; i++)
        if (fl_index_add(index, i) >= 0)
            return fl_err_set(err, FL_E_LABEL, "%s: id %s is there twice", path, s->ids[i]);
    return FL_OK;
}

int fl_sample_read(const char *path, struct fl_sample *s, struct fl_err *err)
{
    char *text;
    size_t len;
    memset(s, 0, sizeof *s);
    int rc = fl_csv_load(path, &text, &len, err);
    if (rc != FL_OK)
        return rc;
    struct fl_csv csv;
    fl_csv_init(&csv, path, text, len);
    rc = sample_rows(&csv, path, s, err);
    fl_csv_done(&csv);
    free(text);
    if (rc == FL_OK)
        rc = sample_index(s, path, err);
    if (rc != FL_OK)
        fl_sample_free(s);
    return rc;
}

int64_t fl_sample_find(const struct fl_sample *s, const char *id)
{
    return fl_index_find(s->index, id, strlen(id));
}

void fl_sample_free(struct fl_sample *s)
{
    if (s->index != NULL)
        fl_index_done(s->index);
    free(s->index);
    free(s->ids);
    free(s->pred);
    free(s->state);
    memset(s, 0, sizeof *s);
}
