/* Predictions as .npy: a table with the columns image_name and one a label, or a plain array [rows, labels]. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/npy.h"
#include "runtime/predictions_io.h"

static int pred_npy_room(struct fl_predictions *out, uint64_t n, const char *name, struct fl_err *err)
{
    out->ids = calloc(n > 0 ? n : 1, sizeof *out->ids);
    out->p = malloc((n > 0 ? n : 1) * out->L * sizeof *out->p);
    if (out->ids == NULL || out->p == NULL)
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory for %llu rows", name, (unsigned long long)n);
    out->n = n;
    return FL_OK;
}

static bool pred_npy_is_number(const struct fl_npy_field *f) { return f->kind == 'f' || f->kind == 'u' || f->kind == 'i' || f->kind == 'b'; }

/* A double a hair off [0,1] that float32 can't tell from it is no fault of the file. */
static float pred_npy_value(const struct fl_npy_field *f, const uint8_t *item) { return (float)fl_npy_number(f, item); }

/* ---- a table ---- */

static int pred_npy_table(const char *name, const struct fl_npy *a, struct fl_predictions *out, struct fl_err *err)
{
    const struct fl_npy_field *id = NULL;
    if (a->ndim != 1)
        return fl_err_set(err, FL_E_SHAPE, "%s: a table of %u dimensions, want 1", name, a->ndim);
    for (uint32_t i = 0; i < a->nfields; i++) {
        const struct fl_npy_field *f = &a->field[i];
        bool names = strcmp(f->name, "image_name") == 0;
        if (names ? (f->kind != 'S' && f->kind != 'U') || id != NULL : !pred_npy_is_number(f))
            return fl_err_set(err, FL_E_LABEL, "%s: the column %s is of the wrong type, or there twice", name, f->name);
        if (names)
            id = f;
        else if (fl_pred_label(out, f->name, strlen(f->name), err) != FL_OK)
            return fl_err_context(err, "%s", name);
    }
    if (id == NULL || out->L == 0)
        return fl_err_set(err, FL_E_LABEL, "%s: no column %s", name, id == NULL ? "image_name" : "but image_name");
    int rc = pred_npy_room(out, a->count, name, err);
    for (uint64_t i = 0; rc == FL_OK && i < a->count; i++) {
        const uint8_t *item = a->data + i * a->item;
        if (!fl_npy_text(id, item, out->ids[i], sizeof *out->ids))
            return fl_err_set(err, FL_E_LABEL, "%s: row %llu: an id that is no ASCII, or longer than 63 bytes", name, (unsigned long long)i + 1);
        for (uint32_t l = 0, j = 0; j < a->nfields; j++)
            if (&a->field[j] != id)
                out->p[i * out->L + l++] = pred_npy_value(&a->field[j], item);
    }
    return rc;
}

/* ---- a plain array ---- */

static int pred_npy_columns(const char *name, uint64_t columns, const struct fl_pred_want *want, struct fl_predictions *out, struct fl_err *err)
{
    uint32_t L = want->L > 0 ? want->L : FL_DEFAULT_NLABELS;
    const char *const *labels = want->L > 0 ? want->labels : fl_default_labels;
    int rc = FL_OK;
    if (want->columns != NULL)
        rc = fl_labels_split(want->columns, out->labels, &out->L, err);
    for (uint32_t l = 0; want->columns == NULL && rc == FL_OK && l < L; l++)
        rc = fl_pred_label(out, labels[l], strlen(labels[l]), err);
    if (rc != FL_OK)
        return fl_err_context(err, "%s: columns", name);
    if (columns != out->L)
        return fl_err_set(err, FL_E_SHAPE, "%s: %llu columns, want %u", name, (unsigned long long)columns, out->L);
    return FL_OK;
}

/* "train_{}": the number of the row, from 0, stands for {}. */
static int pred_npy_pattern(const char *pattern, struct fl_predictions *out, struct fl_err *err)
{
    const char *at = strstr(pattern, "{}");
    for (uint64_t i = 0; i < out->n; i++)
        if ((size_t)snprintf(out->ids[i], sizeof *out->ids, "%.*s%llu%s", (int)(at - pattern), pattern, (unsigned long long)i, at + 2) >= sizeof *out->ids)
            return fl_err_set(err, FL_E_CONFIG, "rows: %.80s makes ids of more than 63 bytes", pattern);
    return FL_OK;
}

static int pred_npy_listed(const char *table, const char *text, size_t len, const char *name, struct fl_predictions *out, struct fl_err *err)
{
    struct fl_csv c;
    uint64_t n = 0;
    fl_csv_init(&c, table, text, len);
    int rc = fl_csv_next(&c, err);
    int64_t at = rc == FL_OK ? fl_csv_column(&c, "image_name") : -1;
    if (rc >= 0 && at < 0)
        rc = fl_err_set(err, FL_E_LABEL, "%s: no column image_name", table);
    while (rc == FL_OK && (rc = fl_csv_next(&c, err)) == FL_OK) {
        if (c.nfields <= (uint64_t)at || !fl_id_ok(c.field[at], c.width[at]))
            rc = fl_err_set(err, FL_E_LABEL, "%s:%llu: no id of the form [A-Za-z0-9_.-]{1,63}", table, (unsigned long long)c.line);
        else if (n++ < out->n)
            memcpy(out->ids[n - 1], c.field[at], c.width[at]);
    }
    fl_csv_done(&c);
    if (rc == FL_END && n != out->n)
        rc = fl_err_set(err, FL_E_SHAPE, "%s: %llu rows, but %s names %llu", name, (unsigned long long)out->n, table, (unsigned long long)n);
    return rc == FL_END ? FL_OK : rc;
}

static int pred_npy_rows(const char *name, const struct fl_pred_want *want, struct fl_predictions *out, struct fl_err *err)
{
    if (want->rows == NULL)
        return fl_err_set(err, FL_E_CONFIG, "%s: a plain array has no ids; name its rows by a table or a pattern like train_{}", name);
    if (strstr(want->rows, "{}") != NULL)
        return pred_npy_pattern(want->rows, out, err);
    char *text;
    size_t len;
    int rc = fl_csv_load(want->rows, &text, &len, err);
    if (rc != FL_OK)
        return rc;
    rc = pred_npy_listed(want->rows, text, len, name, out, err);
    free(text);
    return rc;
}

static int pred_npy_plain(const char *name, const struct fl_npy *a, const struct fl_pred_want *want, struct fl_predictions *out, struct fl_err *err)
{
    if (a->ndim != 2 || !pred_npy_is_number(&a->field[0]))
        return fl_err_set(err, FL_E_SHAPE, "%s: want numbers in two dimensions, rows and labels", name);
    int rc = pred_npy_columns(name, a->shape[1], want, out, err);
    if (rc == FL_OK)
        rc = pred_npy_room(out, a->shape[0], name, err);
    if (rc == FL_OK)
        rc = pred_npy_rows(name, want, out, err);
    for (uint64_t i = 0; rc == FL_OK && i < out->n; i++)
        for (uint32_t l = 0; l < out->L; l++)
            out->p[i * out->L + l] = pred_npy_value(&a->field[0], a->data + (a->fortran ? l * out->n + i : i * out->L + l) * a->item);
    return rc;
}

int fl_pred_read_npy(const char *name, const char *bytes, size_t len, const struct fl_pred_want *want, struct fl_predictions *out, struct fl_err *err)
{
    struct fl_npy a;
    int rc = fl_npy_parse(name, bytes, len, &a, err);
    if (rc != FL_OK)
        return rc;
    if (a.plain)
        return pred_npy_plain(name, &a, want, out, err);
    if (want->rows != NULL || want->columns != NULL)
        return fl_err_set(err, FL_E_CONFIG, "%s: columns and rows are named for plain .npy arrays, this one names its own", name);
    return pred_npy_table(name, &a, out, err);
}
