/* Manifests and headers of all weights of a forward stage. */
#include "stages/forward/plan.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int plan_differ(const char *a, const char *b, const char *what, const char *va, const char *vb, struct fl_err *err)
{
    return fl_err_set(err, FL_E_CONFIG, "%s: %s is %s, but of %s it is %s", b, what, vb, a, va);
}

static int plan_same_number(const char *a, const char *b, const char *what, double va, double vb, struct fl_err *err)
{
    char ta[32], tb[32];
    if (va == vb)
        return FL_OK;
    snprintf(ta, sizeof ta, "%.12g", va);
    snprintf(tb, sizeof tb, "%.12g", vb);
    return plan_differ(a, b, what, ta, tb, err);
}

static int plan_same_labels(const char *a, const char *b, const struct fl_manifest *x, const struct fl_manifest *y, struct fl_err *err)
{
    char what[32], tx[20], ty[20];
    int code = plan_same_number(a, b, "the number of labels", x->nlabels, y->nlabels, err);
    for (uint32_t i = 0; code == FL_OK && i < x->nlabels; i++)
        if (strcmp(x->labels[i], y->labels[i]) != 0) {
            snprintf(what, sizeof what, "label %u", i + 1);
            code = plan_differ(a, b, what, x->labels[i], y->labels[i], err);
        }
    if (code != FL_OK)
        return code;
    snprintf(tx, sizeof tx, "%#" PRIx64, x->exclusive);
    snprintf(ty, sizeof ty, "%#" PRIx64, y->exclusive);
    if (x->exclusive != y->exclusive)
        return plan_differ(a, b, "the mask of the exclusive labels", tx, ty, err);
    if (x->rest_off != y->rest_off)
        return plan_differ(a, b, "rest_off", x->rest_off < x->nlabels ? x->labels[x->rest_off] : "null",
                           y->rest_off < y->nlabels ? y->labels[y->rest_off] : "null", err);
    return FL_OK;
}

/* All weights read the same input and answer the same question. */
static int plan_agree(const char *a, const char *b, const struct fl_manifest *x, const struct fl_manifest *y, struct fl_err *err)
{
    char what[32];
    int code;
    if (strcmp(x->arch, y->arch) != 0)
        return plan_differ(a, b, "arch", x->arch, y->arch, err);
    if ((code = plan_same_labels(a, b, x, y, err)) != FL_OK)
        return code;
    if (strcmp(x->mode, y->mode) != 0)
        return plan_differ(a, b, "input.mode", x->mode, y->mode, err);
    if ((code = plan_same_number(a, b, "input.channels", x->channels, y->channels, err)) != FL_OK ||
        (code = plan_same_number(a, b, "input.size", x->size, y->size, err)) != FL_OK ||
        (code = plan_same_number(a, b, "input.M", x->M, y->M, err)) != FL_OK ||
        (code = plan_same_number(a, b, "two_layer", x->two_layer, y->two_layer, err)) != FL_OK ||
        (code = plan_same_number(a, b, "softmax", x->softmax, y->softmax, err)) != FL_OK)
        return code;
    for (uint32_t c = 0; c < x->channels && code == FL_OK; c++) {
        snprintf(what, sizeof what, "input.mean of channel %u", c + 1);
        code = plan_same_number(a, b, what, x->mean[c], y->mean[c], err);
        snprintf(what, sizeof what, "input.std of channel %u", c + 1);
        if (code == FL_OK)
            code = plan_same_number(a, b, what, x->std[c], y->std[c], err);
    }
    return code;
}

static int plan_manifest(struct fl_plan *p, char *const *weights, uint32_t i, struct fl_err *err)
{
    struct fl_manifest m;
    int code = fl_manifest_read(weights[i], 1, &m, err);
    if (code != FL_OK)
        return code;
    if (strcmp(m.kind, "network") != 0)
        code = fl_err_set(err, FL_E_CONFIG, "%s: its manifest says kind \"%s\", want \"network\"", weights[i], m.kind);
    else if (i > 0)
        code = plan_agree(weights[0], weights[i], &p->m, &m, err);
    char (*sha256)[65] = realloc(p->sha256, (i + 1) * sizeof *sha256);
    if (sha256 != NULL) {
        p->sha256 = sha256;
        memcpy(sha256[i], m.sha256, sizeof sha256[i]);
    } else if (code == FL_OK) {
        code = fl_err_set(err, FL_E_NOMEM, "no memory for %u files of weights", i + 1);
    }
    unsigned proven = (m.bf16_ok ? 1u << FL_PREC_BF16 : 0) | (m.f16_ok ? 1u << FL_PREC_F16 : 0);
    p->proven = i == 0 ? proven : p->proven & proven;
    if (code == FL_OK && i == 0)
        p->m = m;
    else
        fl_manifest_free(&m);
    return code;
}

/* A fourth band has no statistics in an RGB manifest: those that its weights come from stand in, so that the copied
 * weights see numbers of the size they were trained on. */
static void plan_widen(struct fl_plan *p, int adapt)
{
    p->adapt = adapt;
    p->channels = 4;
    if (adapt != FL_ADAPT_ZERO)            /* with zeros the answers are those that were checked, else the weights are others */
        p->proven = 0;
    p->mean[3] = adapt == FL_ADAPT_MEAN ? (p->mean[0] + p->mean[1] + p->mean[2]) / 3 : p->mean[0];
    p->std[3] = adapt == FL_ADAPT_MEAN ? (p->std[0] + p->std[1] + p->std[2]) / 3 : p->std[0];
}

static int plan_mode(struct fl_plan *p, const char *file, int mode, int adapt, struct fl_err *err)
{
    static const char *const modes[] = { "manifest", "rgb", "rgbn", "ngb" };
    p->adapt = FL_ADAPT_NONE;
    p->channels = p->m.channels;
    memcpy(p->mean, p->m.mean, sizeof p->mean);
    memcpy(p->std, p->m.std, sizeof p->std);
    if (mode == 0 || strcmp(modes[mode], p->m.mode) == 0)
        return FL_OK;
    if (strcmp(modes[mode], "rgbn") != 0 || strcmp(p->m.mode, "rgb") != 0)
        return fl_err_set(err, FL_E_CONFIG, "mode: %s asked for, but the weights %s are for %s", modes[mode], file, p->m.mode);
    plan_widen(p, adapt);
    return FL_OK;
}

static int plan_tensors(const struct fl_plan *p, const char *file, struct fl_err *err)
{
    struct fl_safetensors st;
    int code = fl_safetensors_open(file, &st, err);
    if (code != FL_OK)
        return code;
    code = fl_adapt_check(p->net, &st, file, p->adapt, err);
    fl_safetensors_close(&st);
    return code;
}

int fl_plan_make(char *const *weights, int mode, int adapt, struct fl_plan *out, struct fl_err *err)
{
    struct fl_plan p = { 0 };
    int code = FL_OK;
    for (; weights != NULL && weights[p.k] != NULL && code == FL_OK; p.k++)
        code = plan_manifest(&p, weights, p.k, err);
    if (code == FL_OK && p.k == 0)
        code = fl_err_set(err, FL_E_CONFIG, "weights: want at least one file");
    if (code == FL_OK)
        code = plan_mode(&p, weights[0], mode, adapt, err);
    if (code == FL_OK) {
        code = fl_net_new(p.m.arch, p.channels, p.m.size, p.m.nlabels, p.m.two_layer, &p.net, err);
        if (code != FL_OK)
            fl_err_context(err, "%s", weights[0]);
    }
    for (uint32_t i = 0; i < p.k && code == FL_OK; i++)
        code = plan_tensors(&p, weights[i], err);
    if (code == FL_OK)
        *out = p;
    else
        fl_plan_free(&p);
    return code;
}

void fl_plan_free(struct fl_plan *p)
{
    fl_manifest_free(&p->m);
    free(p->sha256);
    if (p->net != NULL)
        fl_net_free(p->net);
    memset(p, 0, sizeof *p);
}

void fl_plan_probs(const struct fl_manifest *m, const float *logits, float *out)
{
    uint64_t group = m->softmax ? m->exclusive : 0;
    float top = -INFINITY, sum = 0;
    for (uint32_t l = 0; l < m->nlabels; l++)
        if (group >> l & 1)
            top = fmaxf(top, logits[l]);
    for (uint32_t l = 0; l < m->nlabels; l++) {
        float e = expf(group >> l & 1 ? logits[l] - top : -logits[l]);
        out[l] = group >> l & 1 ? e : 1.0f / (1.0f + e);
        sum += group >> l & 1 ? e : 0;
    }
    for (uint32_t l = 0; l < m->nlabels; l++)
        if (group >> l & 1)
            out[l] /= sum;
}
