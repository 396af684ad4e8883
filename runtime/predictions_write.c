/* Writes files of predictions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/npy.h"
#include "runtime/pred_file.h"
#include "runtime/predictions_io.h"

/* ---- order ---- */

static int write_by_id(const void *a, const void *b, void *ids)
{
    return strcmp(((const char (*)[64])ids)[*(const uint32_t *)a], ((const char (*)[64])ids)[*(const uint32_t *)b]);
}

static bool write_sorted(const struct fl_predictions *p)
{
    for (uint64_t i = 1; i < p->n; i++)
        if (strcmp(p->ids[i - 1], p->ids[i]) >= 0)
            return false;
    return true;
}

int fl_predictions_sort(struct fl_predictions *p, struct fl_err *err)
{
    if (write_sorted(p))
        return FL_OK;
    uint32_t L = p->L, *order = malloc((p->n + 1) * sizeof *order);
    char (*ids)[64] = malloc((p->n + 1) * sizeof *ids);
    float *prob = p->p != NULL ? malloc((p->n + 1) * L * sizeof *prob) : NULL;
    uint8_t *h = p->h != NULL ? malloc((p->n + 1) * L) : NULL;
    if (order == NULL || ids == NULL || (p->p != NULL && prob == NULL) || (p->h != NULL && h == NULL)) {
        free(order);
        free(ids);
        free(prob);
        free(h);
        return fl_err_set(err, FL_E_NOMEM, "no memory to sort %llu rows", (unsigned long long)p->n);
    }
    for (uint32_t i = 0; i < p->n; i++)
        order[i] = i;
    qsort_r(order, p->n, sizeof *order, write_by_id, p->ids);
    for (uint64_t i = 0; i < p->n; i++) {
        memcpy(ids[i], p->ids[order[i]], sizeof *ids);
        if (prob != NULL)
            memcpy(prob + i * L, p->p + (uint64_t)order[i] * L, L * sizeof *prob);
        if (h != NULL)
            memcpy(h + i * L, p->h + (uint64_t)order[i] * L, L);
    }
    free(order);
    free(p->ids);
    free(p->p);
    free(p->h);
    p->room = 0;
    p->ids = ids;
    p->p = prob;
    p->h = h;
    return FL_OK;
}

/* ---- the forms ---- */

static int write_csv(struct fl_pred_file *f, const struct fl_predictions *p, struct fl_err *err)
{
    (void)err;
    fl_pred_probabilities_head(f, p->L, (const char *const *)p->labels);
    for (uint64_t i = 0; i < p->n; i++)
        fl_pred_probabilities(f, p->ids[i], p->p + i * p->L, p->L);
    return FL_OK;
}

/* A structured array, so that the file says itself what its rows and columns are. */
static int write_npy_head(struct fl_pred_file *f, const struct fl_predictions *p, struct fl_err *err)
{
    char dict[FL_MAX_LABELS * 80 + 256], *head;
    size_t len = (size_t)snprintf(dict, sizeof dict, "{'descr': [('image_name', 'S64')");
    for (uint32_t l = 0; l < p->L; l++) {
        if (strpbrk(p->labels[l], "'\\\r\n") != NULL)
            return fl_err_set(err, FL_E_CONFIG, "%s: the label %s can't be named in a .npy file", fl_pred_path(f), p->labels[l]);
        len += (size_t)snprintf(dict + len, sizeof dict - len, ", ('%s', '<f4')", p->labels[l]);
    }
    snprintf(dict + len, sizeof dict - len, "], 'fortran_order': False, 'shape': (%llu,), }", (unsigned long long)p->n);
    int rc = fl_npy_head(dict, &head, &len, err);
    if (rc != FL_OK)
        return rc;
    fl_pred_bytes(f, head, len);
    free(head);
    return FL_OK;
}

static int write_npy(struct fl_pred_file *f, const struct fl_predictions *p, struct fl_err *err)
{
    int rc = write_npy_head(f, p, err);
    for (uint64_t i = 0; rc == FL_OK && i < p->n; i++) {
        char id[64] = "";
        strcpy(id, p->ids[i]);
        fl_pred_bytes(f, id, sizeof id);
        fl_pred_bytes(f, p->p + i * p->L, p->L * sizeof *p->p);
    }
    return rc;
}

static int write_hdf5(struct fl_pred_file *f, const struct fl_predictions *p, struct fl_err *err)
{
    return fl_pred_write_hdf5(fl_pred_path(f), fl_pred_fd(f), p, err);
}

static const struct { const char *ext; int (*write)(struct fl_pred_file *, const struct fl_predictions *, struct fl_err *); } write_forms[] = {
    { ".h5", write_hdf5 }, { ".hdf5", write_hdf5 }, { ".npy", write_npy }, { ".csv", write_csv },
};

static size_t write_form(const char *path)
{
    size_t i = 0, len = strlen(path);
    for (; i < sizeof write_forms / sizeof *write_forms; i++) {
        size_t n = strlen(write_forms[i].ext);
        if (len > n && strcmp(path + len - n, write_forms[i].ext) == 0)
            break;
    }
    return i;
}

bool fl_predictions_writable(const char *path)
{
    return write_form(path) < sizeof write_forms / sizeof *write_forms;
}

static int write_prove(const struct fl_predictions *p, struct fl_err *err)
{
    if (p->p == NULL)
        return fl_err_set(err, FL_E_CONFIG, "no probabilities to write");
    for (uint64_t i = 1; i < p->n; i++)
        if (strcmp(p->ids[i - 1], p->ids[i]) == 0)
            return fl_err_set(err, FL_E_LABEL, "the id %s is there twice", p->ids[i]);
    for (uint64_t i = 0; i < p->n * p->L; i++)
        if (!(p->p[i] >= 0.0f && p->p[i] <= 1.0f))
            return fl_err_set(err, FL_E_NUM, "%s: %s: %g is not a probability", p->ids[i / p->L], p->labels[i % p->L], (double)p->p[i]);
    return FL_OK;
}

int fl_predictions_fill(struct fl_pred_file *f, struct fl_predictions *p, struct fl_err *err)
{
    int rc = fl_predictions_sort(p, err);
    if (rc == FL_OK)
        rc = write_prove(p, err);
    if (rc != FL_OK)
        return fl_err_context(err, "%s", fl_pred_path(f));
    return write_forms[write_form(fl_pred_path(f))].write(f, p, err);
}

int fl_predictions_write(const char *path, struct fl_predictions *p, struct fl_err *err)
{
    struct fl_pred_file *f;
    if (!fl_predictions_writable(path))
        return fl_err_set(err, FL_E_CONFIG, "%s: want .h5, .hdf5, .npy or .csv", path);
    int rc = fl_pred_open(path, &f, err);
    if (rc != FL_OK)
        return rc;
    rc = fl_predictions_fill(f, p, err);
    if (rc == FL_OK)
        rc = fl_pred_finish(f, err);
    if (rc == FL_OK)
        rc = fl_pred_commit(f, err);
    fl_pred_close(f);
    return rc;
}
