/* What a (tile, epoch, view) draws from a list of ops. Draw 0 of an op decides whether it is applied and is always spent. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/rng.h"
#include "stages/augment/ops.h"

#define DRAW_TRIES 10          /* of a random_sized_crop */

struct draw {
    const struct fl_ops *ops;
    const struct fl_draw_key *key;
    struct fl_drawn *out;
    float   *params;           /* of the op in hand, or NULL */
    int      phase;
    uint32_t n, size, channels;          /* n: side of the image by now */
};

/* ---- parameters ---- */

static double draw_uniform(struct fl_rng *g, struct fl_range r)
{
    uint32_t x = 0;
    fl_rng_next(g, &x);
    return fl_rng_uniform(x, r.lo, r.hi);
}

static uint32_t draw_below(struct fl_rng *g, uint32_t n)
{
    uint32_t x = 0;
    fl_rng_next(g, &x);
    return fl_rng_integer(x, n);
}

/* A whole number in [lo, hi]; halving can leave fractions at the ends, which fall inwards. */
static double draw_whole(struct fl_rng *g, struct fl_range r)
{
    double lo = ceil(r.lo), hi = floor(r.hi);
    return lo > hi ? 0 : lo + draw_below(g, (uint32_t)(hi - lo) + 1);
}

/* Window x0, y0, w, h of the first try of ten that fits, else the centre square; all five draws of a try are spent. */
static void draw_sized_crop(struct fl_rng *g, const struct fl_op *op, uint32_t n, double v[4])
{
    for (int i = 0; i < DRAW_TRIES; i++) {
        double area = draw_uniform(g, op->r[0]) * n * n, ratio = draw_uniform(g, op->r[1]);
        double w = round(sqrt(area * ratio)), h = round(sqrt(area / ratio));
        uint32_t swap = 0, x = 0, y = 0;
        fl_rng_next(g, &swap);
        fl_rng_next(g, &x);
        fl_rng_next(g, &y);
        if (fl_rng_unit(swap) < .5) {
            double t = w;
            w = h;
            h = t;
        }
        if (w < 1 || h < 1 || w > n || h > n)
            continue;
        v[0] = fl_rng_integer(x, n - (uint32_t)w + 1);
        v[1] = fl_rng_integer(y, n - (uint32_t)h + 1);
        v[2] = w;
        v[3] = h;
        return;
    }
    v[0] = v[1] = 0;      /* tiles are square: the centre square of the short side is all of it */
    v[2] = v[3] = n;
}

static void draw_values(const struct draw *d, const struct fl_op *op, struct fl_rng *g, double *v)
{
    switch (op->kind) {
    case FL_OP_D4:
        v[0] = draw_below(g, 8);
        break;
    case FL_OP_RANDOM_CROP:
        v[0] = draw_below(g, d->n - d->size + 1);
        v[1] = draw_below(g, d->n - d->size + 1);
        break;
    case FL_OP_ROTATE:
        v[0] = op->integer ? draw_whole(g, op->r[0]) : draw_uniform(g, op->r[0]);
        break;
    case FL_OP_SHEAR:
        v[0] = draw_uniform(g, op->r[0]);
        v[1] = draw_below(g, 2);
        break;
    case FL_OP_RANDOM_SIZED_CROP:
        draw_sized_crop(g, op, d->n, v);
        break;
    case FL_OP_DISTORT_GRID:
        for (uint32_t i = 0; i < 2 * op->cells; i++)
            v[i] = draw_uniform(g, op->r[0]);
        break;
    case FL_OP_CHANNEL_ADD:
        for (uint32_t c = 0; c < d->channels; c++)
            v[c] = draw_whole(g, op->r[0]);
        break;
    case FL_OP_CONTRAST_MID:
    case FL_OP_CHANNEL_MUL:
        for (uint32_t c = 0; c < d->channels; c++)
            v[c] = draw_uniform(g, op->r[0]);
        break;
    default:              /* one value from each range */
        for (uint32_t i = 0; i < fl_op_values(op); i++)
            v[i] = draw_uniform(g, op->r[i]);
        break;
    }
}

/* ---- ops ---- */

static int draw_span(struct draw *, uint32_t from, uint32_t end, struct fl_err *);

static bool draw_dropped(const struct draw *d, const struct fl_op *op)
{
    return d->phase == FL_PHASE_NONE || (d->phase == FL_PHASE_UNBIASED && op->bias);
}

static float *draw_columns(const struct draw *d, uint32_t number)
{
    float *at = d->params;
    for (uint32_t i = 0; at != NULL && i < number; i++)
        at += 1 + fl_op_values(&d->ops->op[i]);
    return at;
}

static int draw_apply(struct draw *d, uint32_t number, struct fl_rng *g, struct fl_err *err)
{
    const struct fl_op *op = &d->ops->op[number];
    struct fl_act *act = &d->out->act[d->out->n];
    if (op->kind == FL_OP_RANDOM_CROP && d->size > d->n)
        return fl_err_set(err, FL_E_CONFIG, "ops: random_crop: a window of %u does not fit an image of %u", d->size, d->n);
    act->op = op;
    act->number = number;
    memset(act->v, 0, sizeof act->v);
    act->n = d->n;
    draw_values(d, op, g, act->v);
    if (op->kind == FL_OP_RANDOM_CROP || op->kind == FL_OP_RANDOM_SIZED_CROP || op->kind == FL_OP_SCALED)
        d->n = d->size;
    d->out->n++;
    float *to = draw_columns(d, number);
    for (uint32_t i = 0; to != NULL && i < fl_op_values(op); i++)
        to[1 + i] = (float)act->v[i];
    return FL_OK;
}

static int draw_op(struct draw *d, uint32_t number, bool chosen, struct fl_err *err);

/* The member whose share of the weights the draw falls into; the chosen one is applied whatever its p, which was its weight. */
static int draw_choose(struct draw *d, uint32_t number, struct fl_rng *g, struct fl_err *err)
{
    const struct fl_op *op = &d->ops->op[number];
    double sum = 0, at = 0;
    uint32_t r = 0, place = 0;
    fl_rng_next(g, &r);
    for (uint32_t i = number + 1; i < op->end; i = d->ops->op[i].end)
        sum += draw_dropped(d, &d->ops->op[i]) ? 0 : d->ops->op[i].p;
    double u = fl_rng_unit(r) * sum;
    for (uint32_t i = number + 1; i < op->end; i = d->ops->op[i].end, place++) {
        at += draw_dropped(d, &d->ops->op[i]) ? 0 : d->ops->op[i].p;
        if (u >= at)
            continue;
        float *to = draw_columns(d, number);
        if (to != NULL)
            to[1] = (float)place;
        return draw_op(d, i, true, err);
    }
    return FL_OK;
}

static int draw_op(struct draw *d, uint32_t number, bool chosen, struct fl_err *err)
{
    const struct fl_op *op = &d->ops->op[number];
    struct fl_rng g;
    uint32_t r = 0;
    if (draw_dropped(d, op))
        return FL_OK;
    if (fl_rng_init(&g, d->key->seed, d->key->tile, d->key->epoch, d->key->view, number) != FL_OK)
        return fl_err_set(err, FL_E_CONFIG, "view %u or op %u is out of range", d->key->view, number);
    fl_rng_next(&g, &r);
    if (!chosen && !(fl_rng_unit(r) < op->p))
        return FL_OK;
    float *to = draw_columns(d, number);
    if (to != NULL)
        *to = 1;
    if (op->kind == FL_OP_ONE_OF)
        return draw_choose(d, number, &g, err);
    if (op->kind == FL_OP_GROUP)
        return draw_span(d, number + 1, op->end, err);
    return draw_apply(d, number, &g, err);
}

static int draw_span(struct draw *d, uint32_t from, uint32_t end, struct fl_err *err)
{
    int rc = FL_OK;
    for (uint32_t i = from; rc == FL_OK && i < end; i = d->ops->op[i].end)
        rc = draw_op(d, i, false, err);
    return rc;
}

int fl_ops_draw(const struct fl_ops *ops, int phase, const struct fl_draw_key *key, uint32_t tile, uint32_t size, uint32_t channels,
                struct fl_drawn *out, float *params, struct fl_err *err)
{
    struct draw d = { ops, key, out, params, phase, tile, size, channels };
    out->n = 0;
    if (params != NULL)
        memset(params, 0, fl_ops_columns(ops) * sizeof *params);
    int rc = draw_span(&d, 0, ops->n, err);
    out->side = d.n;
    return rc;
}

/* ---- names ---- */

uint32_t fl_op_values(const struct fl_op *op)
{
    switch (op->kind) {
    case FL_OP_D4: case FL_OP_ROTATE: case FL_OP_SCALE: case FL_OP_CONTRAST: case FL_OP_BLUR: case FL_OP_BLUR_GAUSS: case FL_OP_ONE_OF:
        return 1;
    case FL_OP_OFFSET: case FL_OP_RANDOM_CROP: case FL_OP_SHEAR:
        return 2;
    case FL_OP_DISTORT_RADIAL: case FL_OP_HSV:
        return 3;
    case FL_OP_RANDOM_SIZED_CROP:
        return 4;
    case FL_OP_DISTORT_GRID:
        return 2 * op->cells;
    case FL_OP_CONTRAST_MID: case FL_OP_CHANNEL_MUL: case FL_OP_CHANNEL_ADD:
        return FL_OP_SHOWN;
    default:
        return 0;
    }
}

const char *fl_op_value_name(const struct fl_op *op, uint32_t i, char text[16])
{
    static const char *const names[FL_OP_KINDS][4] = {
        [FL_OP_D4] = { "g" }, [FL_OP_OFFSET] = { "dx", "dy" }, [FL_OP_RANDOM_CROP] = { "x0", "y0" }, [FL_OP_ROTATE] = { "theta" },
        [FL_OP_SCALE] = { "s" }, [FL_OP_SHEAR] = { "s", "axis" }, [FL_OP_RANDOM_SIZED_CROP] = { "x0", "y0", "w", "h" },
        [FL_OP_DISTORT_RADIAL] = { "k", "dx", "dy" }, [FL_OP_CONTRAST] = { "al" }, [FL_OP_HSV] = { "dh", "ds", "dv" }, [FL_OP_BLUR] = { "b" },
        [FL_OP_BLUR_GAUSS] = { "s" }, [FL_OP_ONE_OF] = { "choice" },
    };
    if (i < 4 && names[op->kind][i] != NULL)
        return names[op->kind][i];
    if (op->kind == FL_OP_DISTORT_GRID)
        snprintf(text, 16, "%c%u", i < op->cells ? 'x' : 'y', i % op->cells);
    else
        snprintf(text, 16, "%u", i);
    return text;
}

uint32_t fl_ops_columns(const struct fl_ops *ops)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < ops->n; i++)
        n += 1 + fl_op_values(&ops->op[i]);
    return n;
}

void fl_ops_column_names(const struct fl_ops *ops, char *names)
{
    char text[16];
    memset(names, 0, (size_t)fl_ops_columns(ops) * 32);
    for (uint32_t i = 0; i < ops->n; i++) {
        const char *op = fl_op_name(ops->op[i].kind);
        snprintf(names, 32, "%u.%s", i, op);
        names += 32;
        for (uint32_t v = 0; v < fl_op_values(&ops->op[i]); v++, names += 32)
            snprintf(names, 32, "%u.%s.%s", i, op, fl_op_value_name(&ops->op[i], v, text));
    }
}
