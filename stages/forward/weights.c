/* What executors compute from weights at load: checks, BN as scale and shift, the order of a linear layer's columns. */
#include <math.h>

#include "stages/forward/lower.h"

static int weights_check_var(const struct fl_low *l, const struct fl_weights *w, int32_t bn, struct fl_err *err)
{
    const struct fl_param *p = bn < 0 ? NULL : &l->params[bn + 3];
    for (uint32_t i = 0; p != NULL && i < p->shape[0]; i++)
        if (w->data[bn + 3][i] + FL_BN_EPS <= 0)
            return fl_err_set(err, FL_E_NUM, "%s: %s[%u] is %g, a variance can't be negative", l->arch, p->name, i, (double)w->data[bn + 3][i]);
    return FL_OK;
}

int fl_low_check(const struct fl_low *l, const struct fl_weights *w, struct fl_err *err)
{
    for (uint32_t i = 0; i < l->nparams; i++) {
        size_t n = fl_param_count(&l->params[i]);
        for (size_t j = 0; j < n; j++)
            if (!isfinite(w->data[i][j]))
                return fl_err_set(err, FL_E_NUM, "%s: %s holds %g at %zu", l->arch, l->params[i].name, (double)w->data[i][j], j);
    }
    for (uint32_t i = 0; i < l->nsteps; i++)
        if (weights_check_var(l, w, l->steps[i].bn, err) != FL_OK || weights_check_var(l, w, l->steps[i].pro, err) != FL_OK)
            return FL_E_NUM;
    return FL_OK;
}

void fl_low_bn(const struct fl_low *l, const struct fl_weights *w, int32_t bn, double *scale, double *shift)
{
    const float *gamma = w->data[bn], *beta = w->data[bn + 1], *mean = w->data[bn + 2], *var = w->data[bn + 3];
    for (uint32_t i = 0; i < l->params[bn].shape[0]; i++) {
        scale[i] = gamma[i] / sqrt(var[i] + FL_BN_EPS);
        shift[i] = beta[i] - mean[i] * scale[i];
    }
}

void fl_low_affine(const struct fl_low *l, const struct fl_weights *w, const struct fl_step *s, double *scale, double *shift)
{
    uint32_t c = l->params[s->w].shape[0];
    for (uint32_t i = 0; i < c; i++) {
        scale[i] = 1;
        shift[i] = 0;
    }
    if (s->bn >= 0)
        fl_low_bn(l, w, s->bn, scale, shift);
    for (uint32_t i = 0; s->b >= 0 && i < c; i++)
        shift[i] += scale[i] * w->data[s->b][i];
}

size_t fl_low_column(const struct fl_low *l, const struct fl_step *s, uint32_t y, uint32_t x, uint32_t c)
{
    const struct fl_value *v = &l->vals[s->in];
    return s->hwc ? ((size_t)y * v->w + x) * v->c + c : ((size_t)c * v->h + y) * v->w + x;
}
