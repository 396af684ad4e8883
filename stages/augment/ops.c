/* Augmentation ops: the table of kinds, reading lists of them, halving. */
#include "stages/augment/ops.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/rng.h"
#include "runtime/text.h"

#define OPS_DEPTH 4
#define OPS_CELLS 32     /* of a grid, along a side: a value each of FL_OP_VALUES for both sides */

struct ops_kind {
    const char *name;
    bool   bias;
    double p;
    double neutral;                        /* of every range: 0, or 1 for factors */
    struct { const char *key; double lo, hi; } range[FL_OP_RANGES];
};

static const struct ops_kind ops_kinds[FL_OP_KINDS] = {
    [FL_OP_D4]                = { "d4", false, 1, 0, { { 0 } } },
    [FL_OP_OFFSET]            = { "offset", false, .75, 0, { { "dx", -.0625, .0625 }, { "dy", -.0625, .0625 } } },
    [FL_OP_RANDOM_CROP]       = { "random_crop", false, 1, 0, { { 0 } } },
    [FL_OP_ROTATE]            = { "rotate", false, 1, 0, { { "theta", -45, 45 } } },
    [FL_OP_SCALE]             = { "scale", true, .75, 1, { { "s", .9, 1.1 } } },
    [FL_OP_SHEAR]             = { "shear", true, .5, 0, { { "s", -.1, .1 } } },
    [FL_OP_RANDOM_SIZED_CROP] = { "random_sized_crop", true, 1, 0, { { "area", .25, 1 }, { "ratio", .8, 1.25 } } },
    [FL_OP_SCALED]            = { "scaled", false, 1, 0, { { 0 } } },
    [FL_OP_DISTORT_RADIAL]    = { "distort_radial", true, 1, 0, { { "k", -.35, .35 }, { "dx", -.25, .25 }, { "dy", -.25, .25 } } },
    [FL_OP_DISTORT_GRID]      = { "distort_grid", true, 1, 0, { { "u", -.2, .2 } } },
    [FL_OP_DISTORT_ELASTIC]   = { "distort_elastic", true, 1, 0, { { 0 } } },
    [FL_OP_CONTRAST]          = { "contrast", true, .5, 1, { { "al", .8, 1.2 } } },
    [FL_OP_CONTRAST_MID]      = { "contrast_mid", true, 1, 1, { { "al", .8, 1.2 } } },
    [FL_OP_CHANNEL_MUL]       = { "channel_mul", true, .5, 1, { { "m", .9, 1.1 } } },
    [FL_OP_CHANNEL_ADD]       = { "channel_add", true, 1, 0, { { "a", -5, 5 } } },
    [FL_OP_HSV]               = { "hsv", true, .3, 0, { { "dh", -40, 40 }, { "ds", -30, 30 }, { "dv", -20, 20 } } },
    [FL_OP_BLUR]              = { "blur", true, .2, 0, { { "b", 0, .5 } } },
    [FL_OP_BLUR_GAUSS]        = { "blur_gauss", true, .2, 0, { { "s", 0, 1 } } },
    [FL_OP_ONE_OF]            = { "one_of", false, 1, 0, { { 0 } } },
    [FL_OP_GROUP]             = { "group", false, 1, 0, { { 0 } } },
};

/* What a range may hold at most: an image turned inside out or a kernel wider than any image is a slip of the pen. */
static const struct { uint8_t kind, range; double lo, hi; } ops_bounds[] = {
    { FL_OP_OFFSET, 0, -1, 1 }, { FL_OP_OFFSET, 1, -1, 1 }, { FL_OP_ROTATE, 0, -360, 360 }, { FL_OP_SCALE, 0, .01, 100 },
    { FL_OP_SHEAR, 0, -10, 10 }, { FL_OP_RANDOM_SIZED_CROP, 0, 1e-4, 1 }, { FL_OP_RANDOM_SIZED_CROP, 1, .01, 100 },
    { FL_OP_DISTORT_RADIAL, 0, -100, 100 }, { FL_OP_DISTORT_RADIAL, 1, -1, 1 }, { FL_OP_DISTORT_RADIAL, 2, -1, 1 },
    { FL_OP_DISTORT_GRID, 0, -.99, 100 }, { FL_OP_CONTRAST, 0, 0, 100 }, { FL_OP_CONTRAST_MID, 0, 0, 100 }, { FL_OP_CHANNEL_MUL, 0, 0, 100 },
    { FL_OP_CHANNEL_ADD, 0, -255, 255 }, { FL_OP_HSV, 0, -360, 360 }, { FL_OP_HSV, 1, -255, 255 }, { FL_OP_HSV, 2, -255, 255 },
    { FL_OP_BLUR, 0, 0, 1 }, { FL_OP_BLUR_GAUSS, 0, 0, 8 },
};

const char *fl_op_name(int kind) { return ops_kinds[kind].name; }

/* ---- reading ---- */

static int ops_kind(const char *name, struct fl_err *err)
{
    const char *names[FL_OP_KINDS + 1] = { NULL };
    for (int k = 0; k < FL_OP_KINDS; k++) {
        if (strcmp(ops_kinds[k].name, name) == 0)
            return k;
        names[k] = ops_kinds[k].name;
    }
    const char *near = fl_nearest(name, names);
    fl_err_set(err, FL_E_CONFIG, "ops: unknown op \"%.40s\"%s%s%s", name, near != NULL ? ", did you mean " : "", near != NULL ? near : "",
               near != NULL ? "?" : "");
    return -1;
}

static int ops_number(const char *op, const char *key, const json_t *v, double lo, double hi, double *out, struct fl_err *err)
{
    double x = json_number_value(v);
    if (!json_is_number(v) || !(x >= lo && x <= hi))
        return fl_err_set(err, FL_E_CONFIG, "ops: %s: %s, want a number from %g to %g", op, key, lo, hi);
    *out = x;
    return FL_OK;
}

static int ops_range(struct fl_op *op, uint32_t i, const json_t *v, struct fl_err *err)
{
    const struct ops_kind *k = &ops_kinds[op->kind];
    double lo = 0, hi = 0;
    if (json_is_number(v)) {
        lo = hi = json_number_value(v);
    } else {
        if (!json_is_array(v) || json_array_size(v) != 2 || !json_is_number(json_array_get(v, 0)) || !json_is_number(json_array_get(v, 1)))
            return fl_err_set(err, FL_E_CONFIG, "ops: %s: %s, want [LOW, HIGH] or one number", k->name, k->range[i].key);
        lo = json_number_value(json_array_get(v, 0));
        hi = json_number_value(json_array_get(v, 1));
    }
    for (size_t b = 0; b < sizeof ops_bounds / sizeof ops_bounds[0]; b++)
        if (ops_bounds[b].kind == op->kind && ops_bounds[b].range == i && !(lo >= ops_bounds[b].lo && hi <= ops_bounds[b].hi && lo <= hi))
            return fl_err_set(err, FL_E_CONFIG, "ops: %s: %s is [%g, %g], want two numbers in order from %g to %g", k->name, k->range[i].key, lo,
                              hi, ops_bounds[b].lo, ops_bounds[b].hi);
    op->r[i] = (struct fl_range){ lo, hi };
    return FL_OK;
}

/* Keys that only some kinds have; FL_END when it is none of this kind's. */
static int ops_extra(struct fl_op *op, const char *key, const json_t *v, struct fl_err *err)
{
    const char *name = ops_kinds[op->kind].name;
    double n = 0;
    if (op->kind == FL_OP_ROTATE && strcmp(key, "integer") == 0) {
        if (!json_is_boolean(v))
            return fl_err_set(err, FL_E_CONFIG, "ops: rotate: integer, want true or false");
        op->integer = json_is_true(v);
        return FL_OK;
    }
    if (op->kind == FL_OP_DISTORT_GRID && strcmp(key, "n") == 0) {
        int rc = json_is_integer(v) ? ops_number(name, key, v, 1, OPS_CELLS, &n, err)
                                    : fl_err_set(err, FL_E_CONFIG, "ops: distort_grid: n, want a whole number");
        op->cells = (uint32_t)n;
        return rc;
    }
    if (op->kind == FL_OP_DISTORT_ELASTIC && strcmp(key, "alpha") == 0)
        return ops_number(name, key, v, 0, 1e5, &op->alpha, err);
    if (op->kind == FL_OP_DISTORT_ELASTIC && strcmp(key, "sigma") == 0)
        return ops_number(name, key, v, .5, 64, &op->sigma, err);
    return FL_END;
}

static int ops_key(struct fl_op *op, const char *key, const json_t *v, struct fl_err *err)
{
    const struct ops_kind *k = &ops_kinds[op->kind];
    if (strcmp(key, "p") == 0)
        return ops_number(k->name, key, v, 0, 1, &op->p, err);
    for (uint32_t i = 0; i < FL_OP_RANGES && k->range[i].key != NULL; i++)
        if (strcmp(k->range[i].key, key) == 0)
            return ops_range(op, i, v, err);
    int rc = ops_extra(op, key, v, err);
    return rc == FL_END ? fl_err_set(err, FL_E_CONFIG, "ops: %s: unknown key \"%.40s\"", k->name, key) : rc;
}

static int ops_list(struct fl_ops *, const json_t *, int depth, struct fl_err *);

/* Members of a one_of or group, given as a list or as {p, ops}. */
static int ops_members(struct fl_ops *s, uint32_t at, const json_t *v, int depth, struct fl_err *err)
{
    const char *name = fl_op_name(s->op[at].kind), *key;
    json_t *value;
    const json_t *list = json_is_array(v) ? v : json_object_get(v, "ops");
    if (json_is_object(v))
        json_object_foreach((json_t *)v, key, value) {
            int rc = strcmp(key, "ops") == 0 ? FL_OK : ops_key(&s->op[at], key, value, err);
            if (rc != FL_OK)
                return rc;
        }
    if (list == NULL)
        return fl_err_set(err, FL_E_CONFIG, "ops: %s, want a list of ops, or {p: P, ops: LIST}", name);
    if (depth == OPS_DEPTH)
        return fl_err_set(err, FL_E_CONFIG, "ops: lists nested deeper than %d", OPS_DEPTH);
    return ops_list(s, list, depth + 1, err);
}

static int ops_add(struct fl_ops *s, const char *name, const json_t *v, int depth, struct fl_err *err)
{
    int kind = ops_kind(name, err), rc = FL_OK;
    if (kind < 0)
        return FL_E_CONFIG;
    if (s->n == FL_OPS_MAX)
        return fl_err_set(err, FL_E_CONFIG, "ops: more than %u ops", FL_OPS_MAX);
    const struct ops_kind *k = &ops_kinds[kind];
    uint32_t at = s->n++;
    struct fl_op *op = &s->op[at];
    *op = (struct fl_op){ .kind = (uint8_t)kind, .bias = k->bias, .p = k->p, .alpha = 200, .sigma = 10, .cells = 10 };
    for (uint32_t i = 0; i < FL_OP_RANGES; i++)
        op->r[i] = (struct fl_range){ k->range[i].lo, k->range[i].hi };
    if (kind >= FL_OP_LISTS) {
        rc = ops_members(s, at, v, depth, err);
    } else if (v != NULL && !json_is_object(v)) {
        rc = fl_err_set(err, FL_E_CONFIG, "ops: %s, want a map of its parameters", name);
    } else {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)v, key, value)
            if (rc == FL_OK)
                rc = ops_key(op, key, value, err);
    }
    op->end = s->n;
    return rc;
}

static int ops_list(struct fl_ops *s, const json_t *list, int depth, struct fl_err *err)
{
    if (!json_is_array(list) || json_array_size(list) == 0)
        return fl_err_set(err, FL_E_CONFIG, "ops: want a list of ops, not an empty one");
    int rc = FL_OK;
    for (size_t i = 0; rc == FL_OK && i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        void *first = json_is_object(v) ? json_object_iter((json_t *)v) : NULL;
        if (json_is_string(v))
            rc = ops_add(s, json_string_value(v), NULL, depth, err);
        else if (first != NULL && json_object_size(v) == 1)
            rc = ops_add(s, json_object_iter_key(first), json_object_iter_value(first), depth, err);
        else
            rc = fl_err_set(err, FL_E_CONFIG, "ops: entry %zu of a list, want NAME or {NAME: {...}}", i + 1);
    }
    return rc;
}

int fl_ops_parse(const json_t *spec, struct fl_ops *out, struct fl_err *err)
{
    struct fl_ops s = { 0 };
    int rc = ops_list(&s, spec, 0, err);
    if (rc == FL_OK)
        *out = s;
    return rc;
}

/* ---- halving ---- */

static void ops_halve(struct fl_op *op)
{
    double neutral = ops_kinds[op->kind].neutral;
    for (uint32_t i = 0; i < FL_OP_RANGES; i++) {
        struct fl_range *r = &op->r[i];
        double m = neutral;
        if (op->kind == FL_OP_RANDOM_SIZED_CROP && i == 1) {       /* a ratio: about its middle in the logarithm */
            m = sqrt(r->lo * r->hi);
            *r = (struct fl_range){ sqrt(r->lo * m), sqrt(r->hi * m) };
            continue;
        }
        if (op->kind == FL_OP_RANDOM_SIZED_CROP && i == 0)
            m = (r->lo + r->hi) / 2;
        if (op->kind == FL_OP_ROTATE && r->lo == 0 && r->hi == 360)
            *r = (struct fl_range){ -180, 180 };
        *r = (struct fl_range){ m + (r->lo - m) / 2, m + (r->hi - m) / 2 };
    }
    op->alpha /= 2;
}

void fl_ops_halve(struct fl_ops *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        ops_halve(&s->op[i]);
}

/* ---- fitting ---- */

/* True when it is applied to every tile and makes the image `size` wide. */
static bool ops_enlarges(const struct fl_ops *s, uint32_t from, uint32_t end, int phase)
{
    for (uint32_t i = from; i < end; i = s->op[i].end) {
        const struct fl_op *op = &s->op[i];
        bool here = op->kind == FL_OP_SCALED || (op->kind == FL_OP_RANDOM_SIZED_CROP && phase == FL_PHASE_FULL);
        if (op->p == 1 && (here || (op->kind == FL_OP_GROUP && ops_enlarges(s, i + 1, op->end, phase))))
            return true;
    }
    return false;
}

int fl_ops_fit(const struct fl_ops *s, int phase, uint32_t tile, uint32_t size, struct fl_err *err)
{
    uint32_t elastic = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        elastic += s->op[i].kind == FL_OP_DISTORT_ELASTIC;
        if (elastic > 1)
            return fl_err_set(err, FL_E_CONFIG, "ops: distort_elastic stands there twice");
        uint64_t n = tile > size ? tile : size;
        if (s->op[i].kind == FL_OP_DISTORT_ELASTIC && 1 + 2 * ((n * n + 3) / 4) > FL_RNG_BLOCKS)
            return fl_err_set(err, FL_E_CONFIG, "ops: distort_elastic: %llu pixels a side need more draws than there are", (unsigned long long)n);
    }
    if (size <= tile || (phase != FL_PHASE_NONE && ops_enlarges(s, 0, s->n, phase)))
        return FL_OK;
    return fl_err_set(err, FL_E_CONFIG, "a tile of %u is smaller than the input of %u, and no op with p 1 brings every tile to it%s; add scaled", tile,
                      size, phase == FL_PHASE_FULL ? "" : " without bias");
}
