/* Reads files of predictions: which form it is, whose ids and values are proven, whose columns are brought into order. */
#include "runtime/predictions.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/index.h"
#include "runtime/predictions_io.h"
#include "runtime/text.h"

/* ---- label sets ---- */

int fl_pred_label(struct fl_predictions *out, const char *name, size_t len, struct fl_err *err)
{
    if (out->L == FL_MAX_LABELS)
        return fl_err_set(err, FL_E_LABEL, "more than %u labels", FL_MAX_LABELS);
    if (len == 0 || len > 63 || memchr(name, '\0', len) != NULL)
        return fl_err_set(err, FL_E_LABEL, "a label's name of %zu bytes, want 1 to 63", len);
    for (uint32_t l = 0; l < out->L; l++)
        if (strlen(out->labels[l]) == len && memcmp(out->labels[l], name, len) == 0)
            return fl_err_set(err, FL_E_LABEL, "the label %s is there twice", out->labels[l]);
    char *copy = strndup(name, len);
    if (copy == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for labels");
    out->labels[out->L++] = copy;
    return FL_OK;
}

int fl_predictions_label(struct fl_predictions *p, const char *name, struct fl_err *err)
{
    return fl_pred_label(p, name, strlen(name), err);
}

int fl_labels_split(const char *text, char *labels[FL_MAX_LABELS], uint32_t *L, struct fl_err *err)
{
    struct fl_predictions names = { 0 };
    int rc = FL_OK;
    for (const char *p = text; rc == FL_OK && p != NULL; ) {
        size_t len = strcspn(p, ",");
        rc = fl_pred_label(&names, p, len, err);
        p = p[len] == ',' ? p + len + 1 : NULL;
    }
    if (rc != FL_OK) {
        fl_predictions_free(&names);
        return rc;
    }
    memcpy(labels, names.labels, names.L * sizeof *labels);
    *L = names.L;
    return FL_OK;
}

int64_t fl_pred_column(const struct fl_predictions *out, const char *label)
{
    for (uint32_t l = 0; l < out->L; l++)
        if (strcmp(out->labels[l], label) == 0)
            return l;
    return -1;
}

/* The label set these columns are read as. */
static void predictions_set(const struct fl_predictions *out, const struct fl_pred_want *want, uint32_t *L, const char *const **labels)
{
    uint32_t known = 0;
    *L = want->L;
    *labels = want->labels;
    for (uint32_t l = 0; l < FL_DEFAULT_NLABELS; l++)
        known += fl_pred_column(out, fl_default_labels[l]) >= 0;
    if (*L == 0 && 2 * known >= out->L) {
        *L = FL_DEFAULT_NLABELS;
        *labels = fl_default_labels;
    }
}

static void predictions_permute(struct fl_predictions *out, const uint32_t *of)
{
    float row[FL_MAX_LABELS] = { 0 };
    char *names[FL_MAX_LABELS];
    memcpy(names, out->labels, sizeof names);
    for (uint32_t l = 0; l < out->L; l++)
        out->labels[l] = names[of[l]];
    for (uint64_t i = 0; i < out->n; i++) {
        float *p = out->p + i * out->L;
        memcpy(row, p, out->L * sizeof *row);
        for (uint32_t l = 0; l < out->L; l++)
            p[l] = row[of[l]];
    }
}

/* Columns into the order of the label set. Exactly its labels must be there. */
static int predictions_arrange(struct fl_predictions *out, const struct fl_pred_want *want, const char *name, struct fl_err *err)
{
    uint32_t L, of[FL_MAX_LABELS];
    const char *const *labels;
    predictions_set(out, want, &L, &labels);
    if (L == 0)
        return FL_OK;
    for (uint32_t l = 0; l < L; l++) {
        int64_t at = fl_pred_column(out, labels[l]);
        if (at < 0)
            return fl_err_set(err, FL_E_LABEL, "%s: no column for the label %s", name, labels[l]);
        of[l] = (uint32_t)at;
    }
    for (uint32_t i = 0; i < out->L; i++) {
        uint32_t l = 0;
        while (l < L && of[l] != i)
            l++;
        if (l == L)
            return fl_err_set(err, FL_E_LABEL, "%s: the column %s is no label of this set", name, out->labels[i]);
    }
    predictions_permute(out, of);
    return FL_OK;
}

/* ---- ids and values ---- */

static const char *predictions_key(const void *items, uint32_t i, size_t *len)
{
    const char *id = ((const char (*)[64])items)[i];
    *len = strlen(id);
    return id;
}

static int predictions_unique(const struct fl_predictions *out, const char *name, struct fl_err *err)
{
    struct fl_index index;
    int rc = fl_index_init(&index, out->n, predictions_key, out->ids, err);
    if (rc != FL_OK)
        return rc;
    for (uint32_t i = 0; rc == FL_OK && i < out->n; i++)
        if (fl_index_add(&index, i) >= 0)
            rc = fl_err_set(err, FL_E_LABEL, "%s: the id %s is there twice", name, out->ids[i]);
    fl_index_done(&index);
    return rc;
}

static int predictions_prove(const struct fl_predictions *out, const char *name, struct fl_err *err)
{
    if (out->n == 0)
        return fl_err_set(err, FL_E_INPUT, "%s: no rows", name);
    if (out->n > UINT32_MAX - 1)
        return fl_err_set(err, FL_E_INPUT, "%s: too many rows", name);
    for (uint64_t i = 0; i < out->n; i++)
        if (!fl_id_ok(out->ids[i], strnlen(out->ids[i], 64)))
            return fl_err_set(err, FL_E_LABEL, "%s: row %llu: the id \"%.63s\" is outside [A-Za-z0-9_.-]{1,63}", name, (unsigned long long)i + 1, out->ids[i]);
    for (uint64_t i = 0; out->p != NULL && i < out->n; i++)
        for (uint32_t l = 0; l < out->L; l++) {
            float v = out->p[i * out->L + l];
            if (!(v >= 0.0f && v <= 1.0f))
                return fl_err_set(err, FL_E_NUM, "%s: %s: %s: %g is not a probability", name, out->ids[i], out->labels[l], (double)v);
        }
    return predictions_unique(out, name, err);
}

/* ---- the forms ---- */

static int predictions_submission(struct fl_predictions *out, const struct fl_pred_want *want, const char *name, const char *text, size_t len,
                                  struct fl_err *err)
{
    struct fl_truth t;
    uint32_t L = want->L != 0 ? want->L : FL_DEFAULT_NLABELS;
    const char *const *labels = want->L != 0 ? want->labels : fl_default_labels;
    int rc = FL_OK;
    if (!want->tags)
        return fl_err_set(err, FL_E_LABEL, "%s: holds tags, want probabilities, one column a label", name);
    for (uint32_t l = 0; rc == FL_OK && l < L; l++)
        rc = fl_pred_label(out, labels[l], strlen(labels[l]), err);
    if (rc == FL_OK)
        rc = fl_truth_parse(name, text, len, L, labels, 0, UINT32_MAX, 1, &t, err);
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

static int predictions_csv(struct fl_predictions *out, const struct fl_pred_want *want, const char *name, const char *text, size_t len,
                           struct fl_err *err)
{
    struct fl_csv c;
    fl_csv_init(&c, name, text, len);
    int rc = fl_csv_next(&c, err);
    if (rc == FL_END)
        rc = fl_err_set(err, FL_E_INPUT, "%s: empty", name);
    else if (rc == FL_OK)
        rc = fl_csv_column(&c, "tags") >= 0 ? predictions_submission(out, want, name, text, len, err) : fl_pred_read_csv(&c, out, err);
    fl_csv_done(&c);
    return rc;
}

static int predictions_bytes(struct fl_predictions *out, const struct fl_pred_want *want, const char *name, const char *bytes, size_t len,
                             struct fl_err *err)
{
    if (len >= 6 && memcmp(bytes, "\x93NUMPY", 6) == 0)
        return fl_pred_read_npy(name, bytes, len, want, out, err);
    if (want->columns != NULL || want->rows != NULL)
        return fl_err_set(err, FL_E_CONFIG, "%s: columns and rows are named for plain .npy arrays, which this file is not", name);
    return predictions_csv(out, want, name, bytes, len, err);
}

/* What a reader left is whole only now. */
static int predictions_settle(int rc, struct fl_predictions *got, const struct fl_pred_want *want, const char *name, struct fl_predictions *res,
                              struct fl_err *err)
{
    if (rc == FL_OK)
        rc = predictions_prove(got, name, err);
    if (rc == FL_OK && got->p != NULL)
        rc = predictions_arrange(got, want, name, err);
    if (rc == FL_OK)
        *res = *got;
    else
        fl_predictions_free(got);
    return rc;
}

int fl_predictions_parse(const char *name, const char *bytes, size_t len, const struct fl_pred_want *want, struct fl_predictions *res,
                         struct fl_err *err)
{
    struct fl_predictions got = { .meta.fold = -1 };
    int rc = predictions_bytes(&got, want, name, bytes, len, err);
    return predictions_settle(rc, &got, want, name, res, err);
}

static bool predictions_is_hdf5(const char *path)
{
    char head[8] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool is = fd >= 0 && pread(fd, head, sizeof head, 0) == (ssize_t)sizeof head && memcmp(head, "\x89HDF\r\n\x1a\n", 8) == 0;
    if (fd >= 0)
        close(fd);
    return is;
}

int fl_predictions_read(const char *path, const struct fl_pred_want *want, struct fl_predictions *res, struct fl_err *err)
{
    struct fl_predictions got = { .meta.fold = -1 };
    char *text = NULL;
    size_t len = 0;
    if (predictions_is_hdf5(path)) {
        int rc = want->columns != NULL || want->rows != NULL
                     ? fl_err_set(err, FL_E_CONFIG, "%s: columns and rows are named for plain .npy arrays, which this file is not", path)
                     : fl_pred_read_hdf5(path, want, &got, err);
        return predictions_settle(rc, &got, want, path, res, err);
    }
    int rc = fl_csv_load(path, &text, &len, err);
    if (rc == FL_OK)
        rc = fl_predictions_parse(path, text, len, want, res, err);
    free(text);
    return rc;
}

void fl_predictions_free(struct fl_predictions *p)
{
    free(p->ids);
    free(p->h);
    free(p->p);
    for (uint32_t l = 0; l < p->L; l++)
        free(p->labels[l]);
    *p = (struct fl_predictions){ .meta.fold = -1 };
}

static int predictions_room(struct fl_predictions *p, struct fl_err *err)
{
    if (p->n < p->room)
        return FL_OK;
    uint64_t more = p->room ? p->room * 2 : 1024;
    char (*ids)[64] = realloc(p->ids, more * sizeof *ids);
    if (ids != NULL)
        p->ids = ids;
    float *prob = realloc(p->p, more * (p->L ? p->L : 1) * sizeof *prob);
    if (prob != NULL)
        p->p = prob;
    if (ids == NULL || prob == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for %llu rows", (unsigned long long)more);
    p->room = more;
    return FL_OK;
}

int fl_predictions_add(struct fl_predictions *p, const char *id, const float *prob, struct fl_err *err)
{
    int rc = predictions_room(p, err);
    if (rc != FL_OK)
        return rc;
    memset(p->ids[p->n], 0, sizeof *p->ids);
    snprintf(p->ids[p->n], sizeof *p->ids, "%s", id);
    memcpy(p->p + p->n * p->L, prob, p->L * sizeof *prob);
    p->n++;
    return FL_OK;
}
