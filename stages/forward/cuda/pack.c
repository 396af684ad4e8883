/* Weights as the device holds them: BN folded, [K][R][S][C], zeros in padded channels. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stages/forward/cuda/kernels.h"
#include "stages/forward/cuda/program.h"

/* Stores at element i; false when the value left the range of the type. */
static bool pack_put(void *to, int type, size_t i, double x)
{
    float f = (float)x;
    fl_cu_store(type, to, i, f);
    return isfinite(fl_cu_load(type, to, i));
}

static int pack_range(const struct fl_cu_program *p, int32_t param, struct fl_err *err)
{
    return fl_err_set(err, FL_E_NUM, "%s: a value of %s, with its batch normalisation, is too large for %s", p->low->arch, p->low->params[param].name,
                      p->type == FL_CU_F16 ? "f16" : "the precision");
}

/* Row o of a linear layer: columns in the order of the packed NHWC input, whose pixels have op->in.c channels. */
static bool pack_linear(const struct fl_cu_program *p, const struct fl_cu_op *op, const float *row, uint32_t channels, double scale, void *to, size_t at)
{
    const struct fl_step *s = &p->low->steps[op->step];
    bool ok = true;
    for (uint32_t y = 0; y < op->in.h; y++)
        for (uint32_t x = 0; x < op->in.w; x++, at += op->in.c)
            for (uint32_t c = 0; c < channels; c++) {
                size_t column = s->hwc ? ((size_t)y * op->in.w + x) * channels + c : ((size_t)c * op->in.h + y) * op->in.w + x;
                ok = pack_put(to, p->type, at + c, scale * row[column]) && ok;
            }
    return ok;
}

/* Filter o: [C][R][S] of the file to [R][S][C padded]. */
static bool pack_filter(const struct fl_cu_program *p, const struct fl_cu_op *op, const float *from, uint32_t channels, double scale, void *to, size_t at)
{
    uint32_t taps = op->layer.k * op->layer.k, padded = op->layer.ci / op->layer.groups;
    bool ok = true;
    for (uint32_t t = 0; t < taps; t++)
        for (uint32_t c = 0; c < channels; c++)
            ok = pack_put(to, p->type, at + (size_t)t * padded + c, scale * from[(size_t)c * taps + t]) && ok;
    return ok;
}

static int pack_layer(const struct fl_cu_program *p, const struct fl_weights *weights, const struct fl_cu_op *op, double *affine, unsigned char *block,
                      struct fl_err *err)
{
    const struct fl_step *s = &p->low->steps[op->step];
    const struct fl_param *w = &p->low->params[s->w];
    const struct fl_cu_layer *l = &op->layer;
    size_t columns = fl_param_count(w) / w->shape[0], row = (size_t)l->k * l->k * (l->ci / l->groups);
    uint32_t channels = s->kind == FL_OP_CONV ? w->shape[1] : (uint32_t)(columns / ((size_t)op->in.h * op->in.w));
    bool ok = true;
    fl_low_affine(p->low, weights, s, affine, affine + w->shape[0]);
    for (uint32_t o = 0; o < w->shape[0]; o++) {
        const float *from = weights->data[s->w] + o * columns;
        ok = (s->kind == FL_OP_CONV ? pack_filter(p, op, from, channels, affine[o], block + op->w, o * row)
                                    : pack_linear(p, op, from, channels, affine[o], block + op->w, o * row)) && ok;
        ok = pack_put(block + op->bias, l->f32_bias ? FL_CU_F32 : p->type, o, affine[w->shape[0] + o]) && ok;
    }
    return ok ? FL_OK : pack_range(p, s->w, err);
}

static int pack_bn(const struct fl_cu_program *p, const struct fl_weights *weights, const struct fl_cu_op *op, double *affine, unsigned char *block,
                   struct fl_err *err)
{
    const struct fl_step *s = &p->low->steps[op->step];
    int32_t bn = s->kind == FL_OP_BN ? s->bn : s->pro;
    uint32_t c = p->low->params[bn].shape[0];
    bool ok = true;
    fl_low_bn(p->low, weights, bn, affine, affine + c);
    for (uint32_t i = 0; i < c; i++) {
        ok = pack_put(block + op->scale, FL_CU_F32, i, affine[i]) && ok;
        ok = pack_put(block + op->shift, FL_CU_F32, i, affine[c + i]) && ok;
    }
    return ok ? FL_OK : pack_range(p, bn, err);
}

static size_t pack_channels(const struct fl_cu_program *p)
{
    size_t most = 1;
    for (uint32_t i = 0; i < p->low->nparams; i++)
        most = p->low->params[i].shape[0] > most ? p->low->params[i].shape[0] : most;
    return most;
}

int fl_cu_pack(const struct fl_cu_program *p, const struct fl_weights *weights, void *block, struct fl_err *err)
{
    int code = fl_low_check(p->low, weights, err);
    if (code != FL_OK)
        return code;
    double *affine = malloc(2 * pack_channels(p) * sizeof *affine);
    if (affine == NULL)
        return fl_err_set(err, FL_E_NOMEM, "cuda: no memory for the weights of %s", p->low->arch);
    memset(block, 0, p->weight_bytes);
    for (uint32_t i = 0; i < p->nops && code == FL_OK; i++) {
        const struct fl_cu_op *op = &p->ops[i];
        if (op->kind == FL_CU_CONV)
            code = pack_layer(p, weights, op, affine, block, err);
        if (code == FL_OK && op->scale != FL_CU_NONE)
            code = pack_bn(p, weights, op, affine, block, err);
    }
    free(affine);
    return code;
}
