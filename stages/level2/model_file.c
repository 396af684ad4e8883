/* A fitted second level on disk: arrays as tensors, the rest as text in the file's __metadata__. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/dtype.h"
#include "runtime/json.h"
#include "runtime/labels.h"
#include "runtime/model.h"
#include "stages/level2/model.h"

#define FILE_FORMAT  1
#define FILE_TENSORS 8u
#define FILE_MODELS  65534u

/* ---- writing ---- */

struct file_out { struct fl_st_tensor t[FILE_TENSORS]; void *data[FILE_TENSORS]; uint32_t n; };

/* A tensor of `count` elements a fit that the caller fills; NULL without memory. */
static void *file_tensor(struct file_out *o, const char *name, int dtype, uint32_t ndim, const uint32_t *shape)
{
    struct fl_st_tensor *t = &o->t[o->n];
    *t = (struct fl_st_tensor){ .dtype = (uint8_t)dtype, .ndim = ndim };
    snprintf(t->name, sizeof t->name, "%s", name);
    memcpy(t->shape, shape, ndim * sizeof *shape);
    if (!fl_shape_bytes(dtype, t->shape, ndim, &t->bytes))
        return NULL;
    t->data = o->data[o->n] = malloc(t->bytes + 1);
    return o->data[o->n++];
}

/* Puts array `from` of fit i (each of n elements of `size` bytes) into its place. */
static void file_put(void *to, uint32_t i, const void *from, size_t n, size_t size)
{
    memcpy((char *)to + i * n * size, from, n * size);
}

static int file_linear(struct file_out *o, const struct fl_l2_model *m)
{
    uint32_t fits = m->parts * m->problems, P = m->linear[0].P, T = m->linear[0].T;
    double *coef = file_tensor(o, "coef", FL_F64, 4, (uint32_t[]){ m->parts, m->problems, P, T });
    double *intercept = coef != NULL ? file_tensor(o, "intercept", FL_F64, 3, (uint32_t[]){ m->parts, m->problems, T }) : NULL;
    for (uint32_t i = 0; intercept != NULL && i < fits; i++) {
        file_put(coef, i, m->linear[i].coef, (size_t)P * T, sizeof *coef);
        file_put(intercept, i, m->linear[i].intercept, T, sizeof *intercept);
    }
    return intercept != NULL;
}

static int file_mlp(struct file_out *o, const struct fl_l2_model *m)
{
    const struct fl_l2_mlp *f = &m->mlp[0];
    uint32_t fits = m->parts * m->problems;
    double *mean = file_tensor(o, "mean", FL_F64, 2, (uint32_t[]){ fits, f->P });
    double *scale = mean ? file_tensor(o, "scale", FL_F64, 2, (uint32_t[]){ fits, f->P }) : NULL;
    float *w1 = scale ? file_tensor(o, "w1", FL_F32, 4, (uint32_t[]){ fits, f->seeds, f->P, f->Hp }) : NULL;
    float *b1 = w1 ? file_tensor(o, "b1", FL_F32, 3, (uint32_t[]){ fits, f->seeds, f->Hp }) : NULL;
    float *w2 = b1 ? file_tensor(o, "w2", FL_F32, 4, (uint32_t[]){ fits, f->seeds, f->Hp, f->Tp }) : NULL;
    float *b2 = w2 ? file_tensor(o, "b2", FL_F32, 3, (uint32_t[]){ fits, f->seeds, f->Tp }) : NULL;
    for (uint32_t i = 0; b2 != NULL && i < fits; i++) {
        f = &m->mlp[i];
        file_put(mean, i, f->mean, f->P, 8);
        file_put(scale, i, f->scale, f->P, 8);
        file_put(w1, i, f->w1, (size_t)f->seeds * f->P * f->Hp, 4);
        file_put(b1, i, f->b1, (size_t)f->seeds * f->Hp, 4);
        file_put(w2, i, f->w2, (size_t)f->seeds * f->Hp * f->Tp, 4);
        file_put(b2, i, f->b2, (size_t)f->seeds * f->Tp, 4);
    }
    return b2 != NULL;
}

/* Forests one after the other: first [fits][trees + 1] counts from the forest's first node; nodes, leaves: how many each has. */
static int file_trees(struct file_out *o, const struct fl_l2_model *m)
{
    uint32_t fits = m->parts * m->problems, trees = m->trees[0].trees, T = m->trees[0].T;
    uint64_t nodes = 0, leaves = 0;
    for (uint32_t i = 0; i < fits; i++) {
        nodes += m->trees[i].first[trees];
        leaves += m->trees[i].nleaves;
    }
    if (nodes > UINT32_MAX || leaves > UINT32_MAX)
        return 0;
    double *range = file_tensor(o, "range", FL_F64, 1, (uint32_t[]){ 2 });
    uint64_t *first = range ? file_tensor(o, "first", FL_I64, 2, (uint32_t[]){ fits, trees + 1 }) : NULL;
    uint64_t *many = first ? file_tensor(o, "leaves", FL_I64, 1, (uint32_t[]){ fits }) : NULL;
    uint64_t *node = many ? file_tensor(o, "node", FL_I64, 1, (uint32_t[]){ (uint32_t)nodes }) : NULL;
    float *leaf = node ? file_tensor(o, "leaf", FL_F32, 2, (uint32_t[]){ (uint32_t)leaves, T }) : NULL;
    for (uint32_t i = 0; leaf != NULL && i < fits; i++) {
        const struct fl_l2_trees *f = &m->trees[i];
        file_put(first, i, f->first, trees + 1, 8);
        many[i] = f->nleaves;
        memcpy(node, f->node, f->first[trees] * sizeof *node);
        memcpy(leaf, f->leaf, (size_t)f->nleaves * T * sizeof *leaf);
        node += f->first[trees];
        leaf += (size_t)f->nleaves * T;
    }
    if (leaf != NULL) {
        range[0] = m->trees[0].lo;
        range[1] = m->trees[0].hi;
    }
    return leaf != NULL;
}

/* Those of the names whose bit is set; NULL without memory. */
static json_t *file_names(uint32_t n, char *const *names, uint64_t bits)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < n && list != NULL; i++)
        if ((i >= 64 || bits >> i & 1) && json_array_append_new(list, json_string(names[i])) != 0) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

static char *file_text(const struct fl_l2_model *m, const char *options)
{
    json_t *o = json_pack("{s:i, s:s, s:s, s:s, s:i, s:i, s:s}", "format", FILE_FORMAT, "kind", fl_l2_kind_names[m->kind], "transform",
                          fl_l2_transform_names[m->transform], "features", fl_l2_feature_names[m->features], "parts", (int)m->parts, "hidden",
                          m->mlp != NULL ? (int)m->mlp[0].H : 0, "created_by", "flowrun " FL_VERSION);
    int bad = json_object_set_new(o, "models", file_names(m->M, m->models, UINT64_MAX)) != 0;
    bad |= json_object_set_new(o, "labels", file_names(m->L, m->labels, UINT64_MAX)) != 0;
    bad |= json_object_set_new(o, "exclusive", file_names(m->L, m->labels, m->exclusive)) != 0;
    if (m->features == FL_L2_ONE)
        bad |= json_object_set_new(o, "model", json_string(m->models[m->only])) != 0;
    if (m->rest_off < m->L)
        bad |= json_object_set_new(o, "rest_off", json_string(m->labels[m->rest_off])) != 0;
    if (options != NULL)
        bad |= json_object_set_new(o, "options", json_loads(options, 0, NULL)) != 0;
    char *text = bad ? NULL : fl_json_text(o, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(o);
    return text;
}

int fl_l2_model_write(const struct fl_l2_model *m, const char *path, const char *options, struct fl_err *err)
{
    struct file_out o = { .n = 0 };
    int ok = 1;
    if (m->a != NULL) {
        double *c = file_tensor(&o, "calibration", FL_F64, 2, (uint32_t[]){ 2, m->L });
        ok = c != NULL;
        for (uint32_t l = 0; ok && l < m->L; l++) {
            c[l] = m->a[l];
            c[m->L + l] = m->b[l];
        }
    }
    if (ok && m->parts > 0)
        ok = m->linear != NULL ? file_linear(&o, m) : m->trees != NULL ? file_trees(&o, m) : file_mlp(&o, m);
    char *text = ok ? file_text(m, options) : NULL;
    int rc = text != NULL ? fl_safetensors_write_text(path, text, o.t, o.n, err) : fl_err_set(err, FL_E_NOMEM, "%s: no memory, or more than 2^32 nodes", path);
    for (uint32_t i = 0; i < FILE_TENSORS; i++)
        free(o.data[i]);
    free(text);
    return rc;
}

/* ---- reading ---- */

/* A copy of a tensor that must have this type and shape. */
static void *file_get(const char *path, const struct fl_safetensors *st, const char *name, int dtype, uint32_t ndim, const uint32_t *shape, struct fl_err *err)
{
    const struct fl_st_tensor *t = fl_safetensors_find(st, name);
    if (t == NULL || t->dtype != dtype || t->ndim != ndim || memcmp(t->shape, shape, ndim * sizeof *shape) != 0) {
        fl_err_set(err, FL_E_SHAPE, "%s: tensor %s is missing, or of another type or shape than the text says", path, name);
        return NULL;
    }
    void *p = aligned_alloc(64, (t->bytes + 64) / 64 * 64);
    if (p == NULL)
        fl_err_set(err, FL_E_NOMEM, "%s: no memory for %s", path, name);
    else
        memcpy(p, t->data, t->bytes);
    for (size_t i = 0; p != NULL && dtype != FL_I64 && i < t->bytes / (dtype == FL_F64 ? 8 : 4); i++)
        if (!(dtype == FL_F64 ? isfinite(((double *)p)[i]) : isfinite((double)((float *)p)[i]))) {
            fl_err_set(err, FL_E_NUM, "%s: %s, element %zu is no number", path, name, i);
            free(p);
            return NULL;
        }
    return p;
}

/* A tensor's dimension d, or 0. */
static uint32_t file_dim(const struct fl_safetensors *st, const char *name, uint32_t d)
{
    const struct fl_st_tensor *t = fl_safetensors_find(st, name);
    return t != NULL && d < t->ndim ? t->shape[d] : 0;
}

static void *file_copy(const void *from, size_t n, size_t size)
{
    void *p = aligned_alloc(64, (n * size + 64) / 64 * 64);
    if (p != NULL)
        memcpy(p, from, n * size);
    return p;
}

static int file_nomem(const char *path, struct fl_err *err) { return fl_err_set(err, FL_E_NOMEM, "%s: no memory", path); }

static int file_read_linear(const char *path, const struct fl_safetensors *st, uint32_t P, uint32_t T, struct fl_l2_model *m, struct fl_err *err)
{
    uint32_t fits = m->parts * m->problems;
    int rc = FL_OK;
    double *coef = file_get(path, st, "coef", FL_F64, 4, (uint32_t[]){ m->parts, m->problems, P, T }, err);
    double *intercept = coef != NULL ? file_get(path, st, "intercept", FL_F64, 3, (uint32_t[]){ m->parts, m->problems, T }, err) : NULL;
    if (intercept == NULL)
        rc = err->code;
    else if ((m->linear = calloc(fits, sizeof *m->linear)) == NULL)
        rc = file_nomem(path, err);
    for (uint32_t i = 0; rc == FL_OK && i < fits; i++) {
        m->linear[i] = (struct fl_l2_linear){ .P = P, .T = T, .coef = file_copy(coef + (size_t)i * P * T, (size_t)P * T, 8),
                                              .intercept = file_copy(intercept + (size_t)i * T, T, 8) };
        if (m->linear[i].coef == NULL || m->linear[i].intercept == NULL)
            rc = file_nomem(path, err);
    }
    free(coef);
    free(intercept);
    return rc;
}

static int file_read_mlp(const char *path, const struct fl_safetensors *st, uint32_t P, uint32_t T, uint32_t H, struct fl_l2_model *m, struct fl_err *err)
{
    uint32_t fits = m->parts * m->problems, S = file_dim(st, "w1", 1), Hp = (H + 15) / 16 * 16, Tp = (T + 15) / 16 * 16;
    static const char *const names[6] = { "mean", "scale", "w1", "b1", "w2", "b2" };
    const struct { int dtype; uint32_t ndim, shape[4]; size_t each; } want[6] = {
        { FL_F64, 2, { fits, P }, P }, { FL_F64, 2, { fits, P }, P }, { FL_F32, 4, { fits, S, P, Hp }, (size_t)S * P * Hp },
        { FL_F32, 3, { fits, S, Hp }, (size_t)S * Hp }, { FL_F32, 4, { fits, S, Hp, Tp }, (size_t)S * Hp * Tp }, { FL_F32, 3, { fits, S, Tp }, (size_t)S * Tp },
    };
    void *all[6] = { NULL };
    int rc = H > 0 && H <= 65536 && S > 0 ? FL_OK : fl_err_set(err, FL_E_SHAPE, "%s: a network without units or seeds", path);
    for (int i = 0; rc == FL_OK && i < 6; i++)
        if ((all[i] = file_get(path, st, names[i], want[i].dtype, want[i].ndim, want[i].shape, err)) == NULL)
            rc = err->code;
    if (rc == FL_OK && (m->mlp = calloc(fits, sizeof *m->mlp)) == NULL)
        rc = file_nomem(path, err);
    for (uint32_t i = 0; rc == FL_OK && i < fits; i++) {
        struct fl_l2_mlp *f = &m->mlp[i];
        *f = (struct fl_l2_mlp){ .P = P, .T = T, .H = H, .seeds = S, .Tp = Tp, .Hp = Hp };
        for (int a = 0; a < 6; a++) {
            size_t size = want[a].dtype == FL_F64 ? 8 : 4;
            if ((f->owned[a] = file_copy((char *)all[a] + i * want[a].each * size, want[a].each, size)) == NULL)
                rc = file_nomem(path, err);
        }
        f->mean = f->owned[0], f->scale = f->owned[1], f->w1 = f->owned[2], f->b1 = f->owned[3], f->w2 = f->owned[4], f->b2 = f->owned[5];
    }
    for (int i = 0; i < 6; i++)
        free(all[i]);
    return rc;
}

static int file_read_trees(const char *path, const struct fl_safetensors *st, uint32_t P, uint32_t T, struct fl_l2_model *m, struct fl_err *err)
{
    uint32_t fits = m->parts * m->problems, trees = file_dim(st, "first", 1), nodes = file_dim(st, "node", 0), nleaves = file_dim(st, "leaf", 0);
    double *range = file_get(path, st, "range", FL_F64, 1, (uint32_t[]){ 2 }, err);
    uint64_t *first = range && trees > 1 ? file_get(path, st, "first", FL_I64, 2, (uint32_t[]){ fits, trees }, err) : NULL;
    uint64_t *many = first ? file_get(path, st, "leaves", FL_I64, 1, (uint32_t[]){ fits }, err) : NULL;
    uint64_t *node = many ? file_get(path, st, "node", FL_I64, 1, (uint32_t[]){ nodes }, err) : NULL;
    float *leaf = node ? file_get(path, st, "leaf", FL_F32, 2, (uint32_t[]){ nleaves, T }, err) : NULL;
    int rc = FL_OK;
    uint64_t at = 0, leaf_at = 0;
    if (leaf == NULL)
        rc = err->code != FL_OK ? err->code : fl_err_set(err, FL_E_SHAPE, "%s: no trees", path);
    else if (!(range[1] > range[0]))
        rc = fl_err_set(err, FL_E_NUM, "%s: range is empty", path);
    else if ((m->trees = calloc(fits, sizeof *m->trees)) == NULL)
        rc = file_nomem(path, err);
    for (uint32_t i = 0; rc == FL_OK && i < fits; i++) {
        const uint64_t *f = first + (size_t)i * trees;
        if (f[trees - 1] > nodes - at || many[i] > nleaves - leaf_at || many[i] == 0) {
            rc = fl_err_set(err, FL_E_INPUT, "%s: more nodes or leaves than there are", path);
            break;
        }
        struct fl_l2_trees *t = &m->trees[i];
        *t = (struct fl_l2_trees){ .trees = trees - 1, .P = P, .T = T, .nleaves = (uint32_t)many[i], .lo = range[0], .hi = range[1],
            .owned = { file_copy(f, trees, 8), file_copy(node + at, f[trees - 1], 8), file_copy(leaf + leaf_at * T, many[i] * T, 4) } };
        t->first = t->owned[0], t->node = t->owned[1], t->leaf = t->owned[2];
        rc = t->first && t->node && t->leaf ? fl_l2_trees_prove(t, err) : file_nomem(path, err);
        if (rc == FL_E_INPUT)
            fl_err_context(err, "%s", path);
        at += f[trees - 1];
        leaf_at += many[i];
    }
    free(range);
    free(first);
    free(many);
    free(node);
    free(leaf);
    return rc;
}

/* ---- the text ---- */

static int file_choice(const char *path, const json_t *o, const char *key, const char *const *choices, int *out, struct fl_err *err)
{
    const char *word = json_string_value(json_object_get(o, key));
    for (*out = 0; choices[*out] != NULL; ++*out)
        if (word != NULL && strcmp(word, choices[*out]) == 0)
            return FL_OK;
    return fl_err_set(err, FL_E_CONFIG, "%s: %s \"%.40s\" is not known", path, key, word != NULL ? word : "");
}

static int file_read_names(const char *path, const json_t *list, const char *key, uint32_t most, uint32_t *n, char ***out, struct fl_err *err)
{
    size_t many = json_array_size(list);
    if (many == 0 || many > most)
        return fl_err_set(err, FL_E_CONFIG, "%s: %s, want a list of 1 to %u names", path, key, most);
    *out = calloc(many, sizeof **out);
    for (*n = 0; *out != NULL && *n < many; ++*n) {
        const char *name = json_string_value(json_array_get(list, *n));
        if (name == NULL || *name == '\0')
            return fl_err_set(err, FL_E_CONFIG, "%s: %s, entry %u is no name", path, key, *n);
        for (uint32_t i = 0; i < *n; i++)
            if (strcmp((*out)[i], name) == 0)
                return fl_err_set(err, FL_E_CONFIG, "%s: %s, %.60s is there twice", path, key, name);
        if (((*out)[*n] = strdup(name)) == NULL)
            break;
    }
    return *out != NULL && *n == many ? FL_OK : file_nomem(path, err);
}

static uint32_t file_find(uint32_t n, char *const *names, const char *word)
{
    uint32_t i = 0;
    while (i < n && (word == NULL || strcmp(names[i], word) != 0))
        i++;
    return i;
}

static int file_read_text(const char *path, const json_t *o, struct fl_l2_model *m, uint32_t *hidden, struct fl_err *err)
{
    json_int_t parts = json_integer_value(json_object_get(o, "parts"));
    int rc = json_integer_value(json_object_get(o, "format")) == FILE_FORMAT ? FL_OK : fl_err_set(err, FL_E_CONFIG, "%s: format, want %d", path, FILE_FORMAT);
    if (rc == FL_OK && (rc = file_choice(path, o, "kind", fl_l2_kind_names, &m->kind, err)) == FL_OK &&
        (rc = file_choice(path, o, "transform", fl_l2_transform_names, &m->transform, err)) == FL_OK &&
        (rc = file_choice(path, o, "features", fl_l2_feature_names, &m->features, err)) == FL_OK &&
        (rc = file_read_names(path, json_object_get(o, "labels"), "labels", FL_MAX_LABELS, &m->L, &m->labels, err)) == FL_OK)
        rc = file_read_names(path, json_object_get(o, "models"), "models", FILE_MODELS / m->L, &m->M, &m->models, err);
    if (rc != FL_OK)
        return rc;
    int fitted = !fl_l2_kind_is_average(m->kind);
    if (parts < fitted || parts > (fitted ? (json_int_t)FL_L2_MAX_FOLDS : 0))
        return fl_err_set(err, FL_E_CONFIG, "%s: parts %lld", path, (long long)parts);
    if (!fl_l2_kind_sees(m->kind, m->features))
        return fl_err_set(err, FL_E_CONFIG, "%s: kind %s with features %s", path, fl_l2_kind_names[m->kind], fl_l2_feature_names[m->features]);
    m->problems = m->features == FL_L2_OWN ? m->L : 1;
    m->only = m->features == FL_L2_ONE ? file_find(m->M, m->models, json_string_value(json_object_get(o, "model"))) : 0;
    if (m->only == m->M)
        return fl_err_set(err, FL_E_CONFIG, "%s: model is none of the models", path);
    for (size_t i = 0; i < json_array_size(json_object_get(o, "exclusive")); i++) {
        uint32_t l = file_find(m->L, m->labels, json_string_value(json_array_get(json_object_get(o, "exclusive"), i)));
        if (l == m->L)
            return fl_err_set(err, FL_E_LABEL, "%s: exclusive, entry %zu is none of the labels", path, i);
        m->exclusive |= UINT64_C(1) << l;
    }
    m->rest_off = json_object_get(o, "rest_off") != NULL ? file_find(m->L, m->labels, json_string_value(json_object_get(o, "rest_off"))) : UINT32_MAX;
    if (m->rest_off == m->L)
        return fl_err_set(err, FL_E_LABEL, "%s: rest_off is none of the labels", path);
    m->parts = (uint32_t)parts;
    json_int_t h = json_integer_value(json_object_get(o, "hidden"));
    *hidden = h > 0 && h <= 65536 ? (uint32_t)h : 0;
    return FL_OK;
}

static int file_read_arrays(const char *path, const struct fl_safetensors *st, uint32_t hidden, struct fl_l2_model *m, struct fl_err *err)
{
    uint32_t P = m->features == FL_L2_ALL ? m->M * m->L : m->features == FL_L2_OWN ? m->M : m->L, T = m->features == FL_L2_OWN ? 1 : m->L;
    if (fl_safetensors_find(st, "calibration") != NULL) {
        double *c = file_get(path, st, "calibration", FL_F64, 2, (uint32_t[]){ 2, m->L }, err);
        if (c == NULL)
            return err->code;
        m->a = file_copy(c, m->L, 8);
        m->b = file_copy(c + m->L, m->L, 8);
        free(c);
        if (m->a == NULL || m->b == NULL)
            return file_nomem(path, err);
    }
    if (m->parts == 0)
        return FL_OK;
    if (m->kind == FL_L2_EXTRATREES)
        return file_read_trees(path, st, P, T, m, err);
    return m->kind == FL_L2_MLP ? file_read_mlp(path, st, P, T, hidden, m, err) : file_read_linear(path, st, P, T, m, err);
}

static int file_take(const char *path, const struct fl_safetensors *st, int arrays, struct fl_l2_model *out, struct fl_err *err)
{
    struct fl_l2_model m = { .rest_off = UINT32_MAX };
    uint32_t hidden = 0;
    json_error_t why;
    json_t *o = NULL;
    int rc = st->text != NULL ? fl_json_parse(st->text, strlen(st->text), JSON_REJECT_DUPLICATES, &o, &why) : FL_E_INPUT;
    if (json_is_object(o))
        rc = file_read_text(path, o, &m, &hidden, err);
    else if (rc == FL_E_NOMEM)
        fl_err_set(err, rc, "%s: %s", path, why.text);
    else
        rc = fl_err_set(err, FL_E_INPUT, "%s: not a second-level model: no text in its __metadata__", path);
    json_decref(o);
    if (rc == FL_OK && arrays)
        rc = file_read_arrays(path, st, hidden, &m, err);
    if (rc == FL_OK)
        *out = m;
    else
        fl_l2_model_done(&m);
    return rc;
}

static int file_open(const char *path, int arrays, struct fl_l2_model *out, struct fl_err *err)
{
    struct fl_safetensors st;
    struct fl_err mine = { 0 };
    int rc = fl_safetensors_open(path, &st, &mine);
    if (rc == FL_OK) {
        rc = file_take(path, &st, arrays, out, &mine);
        fl_safetensors_close(&st);
    }
    return rc == FL_OK ? FL_OK : fl_err_set(err, rc, "%s", mine.text);
}

int fl_l2_model_read(const char *path, struct fl_l2_model *out, struct fl_err *err) { return file_open(path, 1, out, err); }
int fl_l2_model_head(const char *path, struct fl_l2_model *out, struct fl_err *err) { return file_open(path, 0, out, err); }

int fl_l2_model_parse(const char *name, const void *bytes, size_t len, struct fl_l2_model *out, struct fl_err *err)
{
    struct fl_safetensors st;
    struct fl_err mine = { 0 };
    int rc = fl_safetensors_parse(name, bytes, len, &st, &mine);
    if (rc == FL_OK) {
        rc = file_take(name, &st, 1, out, &mine);
        fl_safetensors_close(&st);
    }
    return rc == FL_OK ? FL_OK : fl_err_set(err, rc, "%s", mine.text);
}
