/* Reads a file of predictions: a submission, or probabilities with one column a label. */
#include "launch/predictions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/csv.h"
#include "runtime/index.h"
#include "runtime/text.h"

struct predictions_columns { int64_t id; uint32_t of[FL_MAX_LABELS], n; };      /* of[l]: field of label l; n: fields of a row */

/* ---- the label set ---- */

static int predictions_add_label(struct fl_predictions *out, const char *name, size_t len, struct fl_err *err)
{
    if (out->L == FL_MAX_LABELS)
        return fl_err_set(err, FL_E_LABEL, "more than %u labels", FL_MAX_LABELS);
    if (len == 0)
        return fl_err_set(err, FL_E_LABEL, "a label without a name");
    for (uint32_t l = 0; l < out->L; l++)
        if (strlen(out->labels[l]) == len && memcmp(out->labels[l], name, len) == 0)
            return fl_err_set(err, FL_E_LABEL, "the label %s is there twice", out->labels[l]);
    char *copy = strndup(name, len);
    if (copy == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for labels");
    out->labels[out->L++] = copy;
    return FL_OK;
}

static int predictions_names(struct fl_predictions *out, const char *names, struct fl_err *err)
{
    int rc = FL_OK;
    for (const char *p = names; rc == FL_OK && p != NULL; ) {
        size_t len = strcspn(p, ",");
        rc = predictions_add_label(out, p, len, err);
        p = p[len] == ',' ? p + len + 1 : NULL;
    }
    return rc == FL_OK ? FL_OK : fl_err_context(err, "--names");
}

static int predictions_default(struct fl_predictions *out, struct fl_err *err)
{
    int rc = FL_OK;
    for (uint32_t l = 0; rc == FL_OK && l < FL_DEFAULT_NLABELS; l++)
        rc = predictions_add_label(out, fl_default_labels[l], strlen(fl_default_labels[l]), err);
    return rc;
}

static int predictions_by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Columns of which most are called otherwise than the default labels are a label set of their own. */
static int predictions_guess(struct fl_predictions *out, const struct fl_csv *c, struct fl_err *err)
{
    uint32_t known = 0, columns = c->nfields - 1;
    for (uint32_t l = 0; l < FL_DEFAULT_NLABELS; l++)
        known += fl_csv_column(c, fl_default_labels[l]) >= 0;
    if (2 * known >= columns)
        return predictions_default(out, err);
    int rc = FL_OK;
    for (uint32_t i = 0; rc == FL_OK && i < c->nfields; i++)
        if (strcmp(c->field[i], "image_name") != 0)
            rc = predictions_add_label(out, c->field[i], c->width[i], err);
    qsort(out->labels, out->L, sizeof out->labels[0], predictions_by_name);
    return rc;
}

/* ---- probabilities ---- */

static int predictions_where(const struct fl_csv *c, struct fl_err *err)
{
    return fl_err_context(err, "%s:%llu", c->name, (unsigned long long)c->line);
}

static int predictions_header(struct fl_predictions *out, const struct fl_csv *c, struct predictions_columns *cols, struct fl_err *err)
{
    cols->n = c->nfields;
    cols->id = fl_csv_column(c, "image_name");
    if (cols->id < 0)
        return fl_err_set(err, FL_E_LABEL, "no column image_name");
    int rc = out->L == 0 ? predictions_guess(out, c, err) : FL_OK;
    for (uint32_t l = 0; rc == FL_OK && l < out->L; l++) {
        int64_t at = fl_csv_column(c, out->labels[l]);
        if (at < 0)
            return fl_err_set(err, FL_E_LABEL, "no column for the label %s", out->labels[l]);
        cols->of[l] = (uint32_t)at;
    }
    for (uint32_t i = 0; rc == FL_OK && i < c->nfields; i++) {
        uint32_t l = 0;
        while (l < out->L && cols->of[l] != i)
            l++;
        if (l == out->L && (int64_t)i != cols->id)
            return fl_err_set(err, FL_E_LABEL, "unknown or repeated column %.63s", c->field[i]);
    }
    return rc;
}

static int predictions_room(struct fl_predictions *out, uint64_t *cap, struct fl_err *err)
{
    if (out->n < *cap)
        return FL_OK;
    uint64_t more = *cap ? *cap * 2 : 1024;
    char (*ids)[64] = realloc(out->ids, more * sizeof *ids);
    if (ids != NULL)
        out->ids = ids;
    float *p = realloc(out->p, more * (out->L ? out->L : 1) * sizeof *p);
    if (p != NULL)
        out->p = p;
    if (ids == NULL || p == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for %llu rows", (unsigned long long)more);
    *cap = more;
    return FL_OK;
}

static int predictions_row(struct fl_predictions *out, const struct fl_csv *c, const struct predictions_columns *cols, struct fl_err *err)
{
    if (c->nfields != cols->n)
        return fl_err_set(err, FL_E_INPUT, "%u fields, want %u", c->nfields, cols->n);
    if (!fl_id_ok(c->field[cols->id], c->width[cols->id]))
        return fl_err_set(err, FL_E_LABEL, "the id \"%.80s\" is outside [A-Za-z0-9_.-]{1,63}", c->field[cols->id]);
    memcpy(out->ids[out->n], c->field[cols->id], c->width[cols->id] + 1);
    for (uint32_t l = 0; l < out->L; l++) {
        const char *text = c->field[cols->of[l]];
        char *end;
        float v = strtof(text, &end);
        if (end == text || *end != '\0' || !(v >= 0.0f && v <= 1.0f))
            return fl_err_set(err, FL_E_NUM, "%s: \"%.40s\" is not a probability", out->labels[l], text);
        out->p[out->n * out->L + l] = v;
    }
    out->n++;
    return FL_OK;
}

static const char *predictions_key(const void *items, uint32_t i, size_t *len)
{
    const char *id = ((const char (*)[64])items)[i];
    *len = strlen(id);
    return id;
}

static int predictions_unique(const struct fl_predictions *out, const char *path, struct fl_err *err)
{
    struct fl_index index;
    if (out->n > UINT32_MAX - 1)
        return fl_err_set(err, FL_E_INPUT, "%s: too many rows", path);
    int rc = fl_index_init(&index, out->n, predictions_key, out->ids, err);
    if (rc != FL_OK)
        return rc;
    for (uint32_t i = 0; rc == FL_OK && i < out->n; i++)
        if (fl_index_add(&index, i) >= 0)
            rc = fl_err_set(err, FL_E_LABEL, "%s: the id %s is there twice", path, out->ids[i]);
    fl_index_done(&index);
    return rc;
}

static int predictions_table(struct fl_predictions *out, struct fl_csv *c, struct fl_err *err)
{
    struct predictions_columns cols = { 0 };
    uint64_t cap = 0;
    int rc = predictions_header(out, c, &cols, err);
    if (rc != FL_OK)
        return predictions_where(c, err);
    while ((rc = fl_csv_next(c, err)) == FL_OK) {
        rc = predictions_room(out, &cap, err);
        if (rc == FL_OK)
            rc = predictions_row(out, c, &cols, err);
        if (rc != FL_OK)
            return predictions_where(c, err);
    }
    return rc == FL_END ? predictions_unique(out, c->name, err) : rc;
}

/* ---- both kinds ---- */

static int predictions_submission(struct fl_predictions *out, const char *path, const char *text, size_t len, struct fl_err *err)
{
    struct fl_truth t;
    int rc = out->L == 0 ? predictions_default(out, err) : FL_OK;
    if (rc == FL_OK)
        rc = fl_truth_parse(path, text, len, out->L, (const char *const *)out->labels, 0, UINT32_MAX, 1, &t, err);
    if (rc != FL_OK)
        return rc;
    out->n = t.n;
    out->ids = t.ids;
    out->h = t.y;
    t.ids = NULL;
    t.y = NULL;
    fl_truth_free(&t);
    return FL_OK;
}

static int predictions_parse(struct fl_predictions *out, const char *path, const char *text, size_t len, struct fl_err *err)
{
    struct fl_csv c;
    fl_csv_init(&c, path, text, len);
    int rc = fl_csv_next(&c, err);
    if (rc == FL_END)
        rc = fl_err_set(err, FL_E_INPUT, "%s: empty", path);
    else if (rc == FL_OK)
        rc = fl_csv_column(&c, "tags") >= 0 ? predictions_submission(out, path, text, len, err) : predictions_table(out, &c, err);
    fl_csv_done(&c);
    return rc;
}

int fl_predictions_read(const char *path, const char *names, struct fl_predictions *res, struct fl_err *err)
{
    struct fl_predictions out = { 0 };
    char *text = NULL;
    size_t len = 0;
    int rc = predictions_names(&out, names, err);
    if (rc == FL_OK)
        rc = fl_csv_load(path, &text, &len, err);
    if (rc == FL_OK)
        rc = predictions_parse(&out, path, text, len, err);
    if (rc == FL_OK && out.n == 0)
        rc = fl_err_set(err, FL_E_INPUT, "%s: no rows", path);
    free(text);
    if (rc == FL_OK)
        *res = out;
    else
        fl_predictions_free(&out);
    return rc;
}

void fl_predictions_free(struct fl_predictions *p)
{
    free(p->ids);
    free(p->h);
    free(p->p);
    for (uint32_t l = 0; l < p->L; l++)
        free(p->labels[l]);
    *p = (struct fl_predictions){ 0 };
}
