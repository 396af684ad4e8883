/* A linear second level read from safetensors: out = coef . x + intercept. */
#include "stages/lib/linear.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/dtype.h"
#include "runtime/model.h"

int fl_linear_check(const char *path, const char *kind, uint32_t L, const char *const *labels, struct fl_err *err)
{
    struct fl_manifest m;
    int rc = fl_manifest_read(path, 1, &m, err);
    if (rc != FL_OK)
        return rc;
    if (strcmp(m.kind, kind) != 0)
        rc = fl_err_set(err, FL_E_CONFIG, "%s: its manifest says kind %s, want %s", path, m.kind, kind);
    else if (m.nlabels != L)
        rc = fl_err_set(err, FL_E_LABEL, "%s: made for %u labels, this graph has %u", path, m.nlabels, L);
    for (uint32_t l = 0; rc == FL_OK && l < L; l++)
        if (strcmp(m.labels[l], labels[l]) != 0)
            rc = fl_err_set(err, FL_E_LABEL, "%s: label %u is %s, in this graph %s", path, l, m.labels[l], labels[l]);
    fl_manifest_free(&m);
    return rc;
}

/* Copies a tensor into double; the mapped data may be unaligned. */
static int linear_tensor(const char *path, const struct fl_safetensors *st, const char *name, uint32_t ndim, uint32_t rows, uint32_t columns,
                         double **out, struct fl_err *err)
{
    const struct fl_st_tensor *t = fl_safetensors_find(st, name);
    size_t n = (size_t)rows * columns;
    if (t == NULL)
        return fl_err_set(err, FL_E_CONFIG, "%s: no tensor %s", path, name);
    if (t->dtype != FL_F64 && t->dtype != FL_F32)
        return fl_err_set(err, FL_E_CONFIG, "%s: %s is %s, want f64 or f32", path, name, fl_dtype_name(t->dtype));
    if (n == 0 || t->ndim != ndim || t->shape[0] != rows || (ndim == 2 && t->shape[1] != columns))
        return fl_err_set(err, FL_E_SHAPE, "%s: %s is [%u%s%.0u], want [%u%s%.0u]: one column a model and label", path, name,
                          t->ndim > 0 ? t->shape[0] : 0, t->ndim > 1 ? ", " : "", t->ndim > 1 ? t->shape[1] : 0, rows,
                          ndim == 2 ? ", " : "", ndim == 2 ? columns : 0);
    double *d = malloc(n * sizeof *d);
    if (d == NULL)
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory for %s", path, name);
    *out = d;
    for (size_t i = 0; i < n; i++) {
        float f;
        if (t->dtype == FL_F64) {
            memcpy(&d[i], (const char *)t->data + i * 8, 8);
        } else {
            memcpy(&f, (const char *)t->data + i * 4, 4);
            d[i] = f;
        }
        if (!isfinite(d[i]))
            return fl_err_set(err, FL_E_NUM, "%s: value %zu of %s is not finite", path, i, name);
    }
    return FL_OK;
}

int fl_linear_read(const char *path, const char *kind, uint32_t L, const char *const *labels, uint32_t models, struct fl_linear *out,
                   struct fl_err *err)
{
    struct fl_linear m = { .L = L, .models = models };
    struct fl_safetensors st;
    int rc = fl_linear_check(path, kind, L, labels, err);
    if (rc == FL_OK)
        rc = fl_safetensors_open(path, &st, err);
    if (rc != FL_OK)
        return rc;
    rc = linear_tensor(path, &st, "coef", 2, L, L * models, &m.coef, err);
    if (rc == FL_OK)
        rc = linear_tensor(path, &st, "intercept", 1, L, 1, &m.intercept, err);
    fl_safetensors_close(&st);
    if (rc == FL_OK)
        *out = m;
    else
        fl_linear_done(&m);
    return rc;
}

void fl_linear_done(struct fl_linear *m)
{
    free(m->coef);
    free(m->intercept);
    *m = (struct fl_linear){ 0 };
}

void fl_linear_apply(const struct fl_linear *m, const double *x, double *out)
{
    size_t columns = (size_t)m->L * m->models;
    for (uint32_t l = 0; l < m->L; l++) {
        const double *w = m->coef + l * columns;
        double sum = 0.0;
        for (size_t c = 0; c < columns; c++)
            sum += w[c] * x[c];
        out[l] = sum + m->intercept[l];
    }
}
