/* Weights of a file as parameters of a net. */
#include "stages/forward/adapt.h"

#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/dtype.h"
#include "runtime/text.h"

#define ADAPT_NONE UINT32_MAX

/* ---- names ---- */

/* Torchvision's own files call a layer `denselayerN.norm.1`, its code `denselayerN.norm1`; likewise relu, conv and .2. */
static void adapt_name(const char *from, char *to, size_t room)
{
    static const char *const kinds[] = { ".norm.", ".relu.", ".conv." };
    snprintf(to, room, "%s", from);
    char *p = strstr(to, "denselayer");
    if (p == NULL)
        return;
    p += strlen("denselayer");
    if (!isdigit((unsigned char)*p))
        return;
    p += strspn(p, "0123456789");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        char *dot = p + strlen(kinds[i]) - 1;
        if (strncmp(p, kinds[i], strlen(kinds[i])) == 0 && (dot[1] == '1' || dot[1] == '2') && dot[2] == '.')
            memmove(dot, dot + 1, strlen(dot));
    }
}

/* Counts training steps; says nothing about the network. */
static bool adapt_is_counter(const char *name)
{
    static const char end[] = "num_batches_tracked";
    size_t n = strlen(name);
    return n >= sizeof end - 1 && strcmp(name + n - (sizeof end - 1), end) == 0;
}

static uint32_t adapt_param(const struct fl_net *net, const char *name, uint32_t guess)
{
    uint32_t n = fl_net_nparams(net);
    if (guess < n && strcmp(fl_net_param(net, guess)->name, name) == 0)      /* files are mostly in the net's order */
        return guess;
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(fl_net_param(net, i)->name, name) == 0)
            return i;
    return ADAPT_NONE;
}

/* The first convolution of the net: its only one that sees the channels of the tile. */
static uint32_t adapt_first(const struct fl_net *net)
{
    for (uint32_t i = 0; i < fl_net_nparams(net); i++)
        if (fl_net_param(net, i)->ndim == 4)
            return i;
    return ADAPT_NONE;
}

/* ---- shapes ---- */

static char *adapt_shape_text(uint32_t ndim, const uint32_t *shape, char *out, size_t room)
{
    size_t n = (size_t)snprintf(out, room, "[");
    for (uint32_t i = 0; i < ndim && n < room; i++)
        n += (size_t)snprintf(out + n, room - n, "%s%u", i > 0 ? "," : "", shape[i]);
    if (n < room)
        snprintf(out + n, room - n, "]");
    return out;
}

static int adapt_shape(const struct fl_param *want, bool first, const struct fl_st_tensor *t, const char *file, int adapt, struct fl_err *err)
{
    uint32_t shape[4] = { want->shape[0], want->shape[1], want->shape[2], want->shape[3] };
    char has[96], wants[96];
    if (first && adapt != FL_ADAPT_NONE)
        shape[1] = 3;
    if (t->ndim != want->ndim || memcmp(t->shape, shape, want->ndim * sizeof shape[0]) != 0)
        return fl_err_set(err, FL_E_SHAPE, "%s: tensor \"%s\" is %s, the network wants %s", file, t->name,
                          adapt_shape_text(t->ndim, t->shape, has, sizeof has), adapt_shape_text(want->ndim, shape, wants, sizeof wants));
    if (t->dtype != FL_F32 && t->dtype != FL_F16 && t->dtype != FL_BF16 && t->dtype != FL_F64)
        return fl_err_set(err, FL_E_SHAPE, "%s: tensor \"%s\" is %s, want floats", file, t->name, fl_dtype_name(t->dtype));
    return FL_OK;
}

static int adapt_extra(const struct fl_net *net, const char *name, const char *file, struct fl_err *err)
{
    uint32_t n = fl_net_nparams(net);
    const char **names = calloc((size_t)n + 1, sizeof *names);
    for (uint32_t i = 0; names != NULL && i < n; i++)
        names[i] = fl_net_param(net, i)->name;
    const char *near = names != NULL ? fl_nearest(name, names) : NULL;
    int code = fl_err_set(err, FL_E_SHAPE, "%s: tensor \"%s\" is not of this network%s%s%s", file, name, near != NULL ? ", nearest is \"" : "",
                          near != NULL ? near : "", near != NULL ? "\"" : "");
    free(names);
    return code;
}

/* from[i]: the tensor of the file that is parameter i; NULL behind the last. */
static int adapt_match_all(const struct fl_net *net, const struct fl_safetensors *st, const char *file, int adapt, const struct fl_st_tensor **from,
                           struct fl_err *err)
{
    uint32_t first = adapt_first(net), next = 0;
    for (uint32_t k = 0; k < st->n; k++) {
        const struct fl_st_tensor *t = &st->t[k];
        char name[sizeof t->name];
        if (adapt_is_counter(t->name))
            continue;
        adapt_name(t->name, name, sizeof name);
        uint32_t i = adapt_param(net, name, next);
        if (i == ADAPT_NONE)
            return adapt_extra(net, t->name, file, err);
        if (from[i] != NULL)
            return fl_err_set(err, FL_E_SHAPE, "%s: tensors \"%s\" and \"%s\" are the same parameter", file, from[i]->name, t->name);
        int code = adapt_shape(fl_net_param(net, i), i == first, t, file, adapt, err);
        if (code != FL_OK)
            return code;
        from[i] = t;
        next = i + 1;
    }
    for (uint32_t i = 0; i < fl_net_nparams(net); i++)
        if (from[i] == NULL)
            return fl_err_set(err, FL_E_SHAPE, "%s: tensor \"%s\" is missing", file, fl_net_param(net, i)->name);
    return FL_OK;
}

static int adapt_match(const struct fl_net *net, const struct fl_safetensors *st, const char *file, int adapt, const struct fl_st_tensor ***out,
                       struct fl_err *err)
{
    const struct fl_st_tensor **from = calloc((size_t)fl_net_nparams(net) + 1, sizeof *from);
    if (from == NULL)
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory for %u tensors", file, fl_net_nparams(net));
    int code = adapt_match_all(net, st, file, adapt, from, err);
    if (code == FL_OK)
        *out = from;
    else
        free(from);
    return code;
}

int fl_adapt_check(const struct fl_net *net, const struct fl_safetensors *st, const char *file, int adapt, struct fl_err *err)
{
    const struct fl_st_tensor **from = NULL;
    int code = adapt_match(net, st, file, adapt, &from, err);
    free(from);
    return code;
}

/* ---- values ---- */

static void adapt_nir(const float *rgb, size_t plane, int adapt, float *out)
{
    float share = adapt == FL_ADAPT_ZERO ? 1 : .75f;
    for (size_t i = 0; i < plane; i++) {
        double r = rgb[i], g = rgb[plane + i], b = rgb[2 * plane + i];
        double nir = adapt == FL_ADAPT_ZERO ? 0 : adapt == FL_ADAPT_TIMM ? r : (r + g + b) / 3;
        out[i] = share * rgb[i];
        out[plane + i] = share * rgb[plane + i];
        out[2 * plane + i] = share * rgb[2 * plane + i];
        out[3 * plane + i] = (float)(adapt == FL_ADAPT_ZERO ? 0 : .75 * nir);
    }
}

/* [O,3,k,k] of the file becomes [O,4,k,k] of the net. */
static int adapt_widen(const struct fl_param *p, const struct fl_st_tensor *t, int adapt, float *out, struct fl_err *err)
{
    size_t plane = (size_t)p->shape[2] * p->shape[3];
    float *rgb = malloc(p->shape[0] * 3 * plane * sizeof *rgb);
    if (rgb == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for tensor \"%s\"", t->name);
    int code = fl_st_to_f32(t, rgb, err);
    for (uint32_t o = 0; o < p->shape[0] && code == FL_OK; o++)
        adapt_nir(rgb + o * 3 * plane, plane, adapt, out + o * 4 * plane);
    free(rgb);
    return code;
}

/* Can be used where it lies in the file. */
static bool adapt_in_place(const struct fl_st_tensor *t, bool widened)
{
    return !widened && t->dtype == FL_F32 && (uintptr_t)t->data % sizeof(float) == 0;
}

static int adapt_fill(const struct fl_net *net, const struct fl_st_tensor **from, const char *file, int adapt, struct fl_adapted *w, struct fl_err *err)
{
    uint32_t first = adapt == FL_ADAPT_NONE ? ADAPT_NONE : adapt_first(net);
    float *at = w->all;
    for (uint32_t i = 0; from[i] != NULL; i++) {
        const struct fl_param *p = fl_net_param(net, i);
        size_t n = fl_param_count(p);
        int code = FL_OK;
        if (adapt_in_place(from[i], i == first)) {
            w->data[i] = from[i]->data;
        } else {
            code = i == first ? adapt_widen(p, from[i], adapt, at, err) : fl_st_to_f32(from[i], at, err);
            w->data[i] = at;
            at += n;
        }
        if (code != FL_OK)
            return fl_err_context(err, "%s", file);
        for (size_t k = 0; k < n; k++)
            if (!isfinite(w->data[i][k]))
                return fl_err_set(err, FL_E_NUM, "%s: tensor \"%s\": element %zu is %g", file, from[i]->name, k, (double)w->data[i][k]);
    }
    return FL_OK;
}

int fl_adapt_load(const struct fl_net *net, const struct fl_safetensors *st, const char *file, int adapt, struct fl_adapted *out, struct fl_err *err)
{
    const struct fl_st_tensor **from = NULL;
    int code = adapt_match(net, st, file, adapt, &from, err);
    if (code != FL_OK)
        return code;
    size_t all = 0;
    uint32_t first = adapt == FL_ADAPT_NONE ? ADAPT_NONE : adapt_first(net);
    for (uint32_t i = 0; from[i] != NULL; i++)
        all += adapt_in_place(from[i], i == first) ? 0 : fl_param_count(fl_net_param(net, i));
    struct fl_adapted w = { .all = calloc(all + 1, sizeof(float)), .data = calloc((size_t)fl_net_nparams(net) + 1, sizeof(float *)) };
    code = w.all == NULL || w.data == NULL ? fl_err_set(err, FL_E_NOMEM, "%s: no memory for %zu weights", file, all)
                                           : adapt_fill(net, from, file, adapt, &w, err);
    free(from);
    if (code != FL_OK) {
        fl_adapt_free(&w);
        return code;
    }
    w.weights.data = w.data;
    *out = w;
    return FL_OK;
}

void fl_adapt_free(struct fl_adapted *w)
{
    free(w->all);
    free(w->data);
    memset(w, 0, sizeof *w);
}
