/* augment: which views of each tile there are, said as numbers or painted.
 *
 * Takes pixels [B,H,W,C]. Test-time views made of symmetries, crops and scalings travel as numbers: `view` f32 [B,V,5] = g, x, y, w, h, and no pixel
 * is touched; forward applies symmetry g to the whole tile, takes the window and resizes it to its input. What draws from a list of ops (preset or
 * ops: for training by epoch; random:K at test time) is painted here: `input` [B,V,C,S,S], the same bits that forward would make for the same view.
 * A view's draws depend on seed, tile, epoch and the view's number alone. */
#include <stdlib.h>
#include <string.h>

#include "proto/dtype.h"
#include "runtime/rng.h"
#include "runtime/stage.h"
#include "runtime/text.h"
#include "stages/augment/norm.h"
#include "stages/augment/paint.h"
#include "stages/augment/phases.h"
#include "stages/lib/views.h"

enum { AUGMENT_AUTO, AUGMENT_VIEWS, AUGMENT_F32, AUGMENT_PIXELS };       /* option out */
enum { AUGMENT_PAINTED };                                                /* counters */

struct augment {
    json_t *spec, *ops_spec, *augs, *normalise;
    char   *preset;
    int     out;
    bool    exact;
    int64_t size, tile, copies;

    struct fl_views  views;
    struct fl_ops    ops;             /* n = 0: none given */
    struct fl_phases phases;
    struct fl_norm   norm;
    bool     drawn;                   /* at test time: some views are random:K */
    bool     train;                   /* views are copies 0..copies-1 of the ops, by the epoch of the row */
    bool     painted;
    uint32_t side, nviews, columns;
    struct fl_paint  paint;           /* opened by the first batch, which says what the tiles are */
    bool     ready;
    float   *scratch;                 /* a view in f32, where pixels are asked for */
};

/* ---- what the options decide ---- */

static int augment_ops(struct augment *s, uint32_t *size, struct fl_err *err)
{
    const char *names[16] = { NULL };
    if (s->preset != NULL && s->ops_spec != NULL)
        return fl_err_set(err, FL_E_CONFIG, "options preset and ops exclude each other");
    if (s->ops_spec != NULL)
        return fl_ops_parse(s->ops_spec, &s->ops, err);
    for (uint32_t i = 0; s->preset != NULL && fl_presets[i].name != NULL; i++) {
        names[i] = fl_presets[i].name;
        if (strcmp(s->preset, fl_presets[i].name) != 0)
            continue;
        json_t *spec = json_loads(fl_presets[i].ops, 0, NULL);
        int rc = fl_ops_parse(spec, &s->ops, err);
        json_decref(spec);
        *size = *size != 0 ? *size : fl_presets[i].size;
        return rc;
    }
    if (s->preset == NULL)
        return FL_OK;
    const char *near = fl_nearest(s->preset, names);
    return fl_err_set(err, FL_E_CONFIG, "option preset: unknown preset \"%.60s\"%s%s%s", s->preset, near != NULL ? ", did you mean " : "",
                      near != NULL ? near : "", near != NULL ? "?" : "");
}

static int augment_mode(struct augment *s, struct fl_err *err)
{
    s->drawn = false;
    for (uint32_t i = 0; i < s->views.n; i++)
        s->drawn |= s->views.v[i].window == FL_WINDOW_DRAWN;
    s->train = s->ops.n > 0 && s->spec == NULL;
    if (s->drawn && s->ops.n == 0)
        return fl_err_set(err, FL_E_CONFIG, "option views: random:K draws from a list of ops: give preset or ops");
    if (s->ops.n > 0 && !s->drawn && !s->train)
        return fl_err_set(err, FL_E_CONFIG, "option views has no random:K, so nothing draws from %s", s->preset != NULL ? "preset" : "ops");
    if (!s->train && (s->augs != NULL || s->copies != 1))
        return fl_err_set(err, FL_E_CONFIG, "option %s is for training: it wants preset or ops, and no views", s->augs != NULL ? "augs" : "copies");
    s->painted = s->train || s->drawn || s->out == AUGMENT_F32 || s->out == AUGMENT_PIXELS;
    if (s->out == AUGMENT_VIEWS && s->painted)
        return fl_err_set(err, FL_E_CONFIG, "option out: drawn ops can't be said as views, they must be painted (f32 or pixels)");
    return FL_OK;
}

/* Pixels aren't normalised: a scale of 1, whatever the bands. */
static int augment_norm(struct augment *s, struct fl_err *err)
{
    if (s->out == AUGMENT_PIXELS && s->normalise != NULL)
        return fl_err_set(err, FL_E_CONFIG, "option normalise is for out f32, not pixels");
    if (s->out != AUGMENT_PIXELS)
        return fl_norm_read(s->normalise, &s->norm, err);
    s->norm = (struct fl_norm){ .std = { 1, 1, 1, 1, 1, 1, 1, 1 } };
    return FL_OK;
}

static int augment_fit(struct augment *s, struct fl_err *err)
{
    int rc = FL_OK;
    if (s->drawn) {
        fl_ops_halve(&s->ops);
        rc = fl_ops_fit(&s->ops, FL_PHASE_FULL, (uint32_t)s->tile, s->side, err);
    }
    for (uint32_t i = 0; s->train && rc == FL_OK && i < s->phases.n; i++)
        rc = fl_ops_fit(&s->ops, s->phases.at[i].phase, (uint32_t)s->tile, s->side, err);
    if (rc == FL_OK && s->painted && (s->tile > 16384 || s->side > 16384))
        rc = fl_err_set(err, FL_E_CONFIG, "tiles of %lld for an input of %u: at most 16384 pixels a side can be painted", (long long)s->tile, s->side);
    return rc;
}

static int augment_options(struct augment *s, struct fl_err *err)
{
    uint32_t size = (uint32_t)s->size;
    int rc = augment_ops(s, &size, err);
    if (rc == FL_OK && !(s->ops.n > 0 && s->spec == NULL))
        rc = fl_views_new(s->spec, (uint32_t)s->tile, size, &s->views, err);
    if (rc == FL_OK)
        rc = augment_mode(s, err);
    if (rc == FL_OK)
        rc = fl_phases_read(s->augs, &s->phases, err);
    if (rc == FL_OK)
        rc = augment_norm(s, err);
    s->side = size != 0 ? size : (uint32_t)s->tile;
    s->nviews = s->train ? (uint32_t)s->copies : s->views.n;
    s->columns = fl_ops_columns(&s->ops);
    return rc == FL_OK ? augment_fit(s, err) : rc;
}

/* What painting allocates besides slabs: an image of rows, room for blurring and elastic displacements. Bands aren't known yet: four. */
static uint64_t augment_memory(const struct augment *s)
{
    uint64_t size = (uint64_t)s->side * s->side, tile = (uint64_t)s->tile * (uint64_t)s->tile, larger = size > tile ? size : tile;
    return s->painted ? sizeof(float) * (size * (4 + 2 + (s->out == AUGMENT_PIXELS ? 4 : 0)) + 3 * larger) : 0;
}

static void augment_bind(struct fl_ctx *ctx)
{
    const struct augment *s = ctx->state;
    fl_set_memory(ctx, augment_memory(s));
    fl_bind(ctx, 'V', s->nviews);
    fl_bind(ctx, 'S', s->side);
    if (s->columns > 0)
        fl_bind(ctx, 'P', s->columns);
    if (s->out != AUGMENT_PIXELS)
        fl_bind_dtype(ctx, "input", s->painted ? FL_F32 : FL_DTYPE_NONE);
    fl_bind_dtype(ctx, "view", s->painted ? FL_DTYPE_NONE : FL_F32);
    fl_bind_dtype(ctx, "norm", s->painted && s->out != AUGMENT_PIXELS ? FL_F64 : FL_DTYPE_NONE);
    fl_bind_dtype(ctx, "params", s->columns > 0 ? FL_F32 : FL_DTYPE_NONE);
    fl_bind_dtype(ctx, "param_names", s->columns > 0 ? FL_U8 : FL_DTYPE_NONE);
}

static int augment_prepare(struct fl_ctx *ctx)
{
    struct augment *s = ctx->state;
    struct fl_err err = { 0 };
    fl_views_done(&s->views);
    s->ops.n = 0;
    if (augment_options(s, &err) != FL_OK)
        return fl_fail(ctx, err.code, "%s", err.text);
    augment_bind(ctx);
    return FL_OK;
}

static int augment_describe(struct fl_ctx *ctx)
{
    struct augment *s = ctx->state;
    int rc = augment_prepare(ctx);
    fl_views_done(&s->views);
    return rc;
}

/* ---- views as numbers ---- */

static int augment_say(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct augment *s = ctx->state;
    struct fl_err err = { 0 };
    float *out = fl_out(ctx, b, "view", FL_F32, 3, (uint32_t[]){ b->n, s->nviews, 5 });
    if (out == NULL)
        return FL_E_BUG;
    for (uint32_t row = 0; row < b->n; row++)
        for (uint32_t v = 0; v < s->nviews; v++, out += 5) {
            struct fl_view_row r = { 0 };
            if (!fl_rejected(b, row) && fl_views_row(&s->views, v, ctx->seed, fl_id(b, row), &r, &err) != FL_OK)
                return fl_fail(ctx, err.code, "%s: %s", fl_id(b, row), err.text);
            out[0] = (float)r.g;
            out[1] = (float)r.x;
            out[2] = (float)r.y;
            out[3] = (float)r.w;
            out[4] = (float)r.h;
        }
    return FL_OK;
}

/* ---- painting ---- */

/* One batch in work. Tensors are copied out of the descriptor, which moves them when one is added. */
struct augment_job {
    struct fl_batch *b;
    struct fl_tile   tile;               /* the first */
    size_t           tile_bytes;
    uint32_t         channels;
    const uint32_t  *epoch;              /* [n] or NULL */
    unsigned char   *input;              /* [n][V][C][S][S] */
    float           *params;             /* [n][V][columns] or NULL */
};

static int augment_ready(struct fl_ctx *ctx, const struct fl_tensor *pixels)
{
    struct augment *s = ctx->state;
    struct fl_err err = { 0 };
    if (s->ready)
        return FL_OK;
    int rc = fl_norm_fit(&s->norm, pixels->shape[3], &err);
    if (rc == FL_OK)
        rc = fl_paint_init(&s->paint, s->side, pixels->shape[3], pixels->dtype == FL_U8 ? 255 : 65535, s->norm.mean, s->norm.std, &err);
    s->paint.exact = s->exact;
    if (rc == FL_OK && s->out == AUGMENT_PIXELS && (s->scratch = malloc((size_t)s->side * s->side * pixels->shape[3] * sizeof *s->scratch)) == NULL)
        rc = fl_err_set(&err, FL_E_NOMEM, "no memory for a view of size %u", s->side);
    if (rc != FL_OK)
        return fl_fail(ctx, rc, "%s", err.text);
    fl_info(ctx, "%u view%s of %u pixels a side, %u bands, painted by %s", s->nviews, s->nviews == 1 ? "" : "s", s->side, pixels->shape[3],
            s->exact ? "exact" : s->paint.loops->name);
    s->ready = true;
    return FL_OK;
}

/* The batch's tensors: what is made, and what the tiles must be like from first batch to last. */
static int augment_job(struct fl_ctx *ctx, struct fl_batch *b, struct augment_job *job)
{
    struct augment *s = ctx->state;
    const struct fl_tensor pixels = *fl_in(b, "pixels"), *epoch = fl_in(b, "epoch");
    uint32_t C = pixels.shape[3];
    int rc = augment_ready(ctx, &pixels);
    if (rc != FL_OK)
        return rc;
    if (C != s->paint.channels || (pixels.dtype == FL_U8) != (s->paint.top == 255))
        return fl_fail(ctx, FL_E_SHAPE, "batch %llu: tiles of %u bands of %s, unlike those before", (unsigned long long)b->batch, C, fl_dtype_name(pixels.dtype));
    *job = (struct augment_job){ .b = b, .tile = { pixels.data, pixels.dtype, pixels.shape[1], pixels.shape[2] }, .channels = C };
    job->tile_bytes = (size_t)pixels.shape[1] * pixels.shape[2] * C * fl_dtype_size(pixels.dtype);
    job->epoch = epoch != NULL ? epoch->data : NULL;
    job->input = fl_out(ctx, b, "input", s->out == AUGMENT_PIXELS ? pixels.dtype : FL_F32, 5, (uint32_t[]){ b->n, s->nviews, C, s->side, s->side });
    double *norm = job->input != NULL && s->out != AUGMENT_PIXELS ? fl_out(ctx, b, "norm", FL_F64, 2, (uint32_t[]){ 2, C }) : NULL;
    if (job->input == NULL || (norm == NULL && s->out != AUGMENT_PIXELS))
        return FL_E_BUG;
    if (norm != NULL) {
        memcpy(norm, s->norm.mean, C * sizeof *norm);
        memcpy(norm + C, s->norm.std, C * sizeof *norm);
    }
    if (s->columns == 0)
        return FL_OK;
    job->params = fl_out(ctx, b, "params", FL_F32, 3, (uint32_t[]){ b->n, s->nviews, s->columns });
    char *names = job->params != NULL ? fl_out(ctx, b, "param_names", FL_U8, 2, (uint32_t[]){ s->columns, 32 }) : NULL;
    if (names == NULL)
        return FL_E_BUG;
    fl_ops_column_names(&s->ops, names);
    return FL_OK;
}

/* View v of a tile into planes of f32. */
static int augment_view(struct fl_ctx *ctx, const struct augment_job *job, uint32_t row, uint32_t v, float *params, float *out, struct fl_err *err)
{
    struct augment *s = ctx->state;
    const char *id = fl_id(job->b, row);
    struct fl_tile tile = job->tile;
    const struct fl_view *view = s->train ? NULL : &s->views.v[v];
    tile.pixels = (const unsigned char *)tile.pixels + row * job->tile_bytes;
    bool normalise = s->out != AUGMENT_PIXELS;
    struct fl_drawn d = { .side = (uint32_t)s->tile };
    if (view != NULL && view->window != FL_WINDOW_DRAWN) {
        struct fl_view_row r;
        int rc = fl_views_row(&s->views, v, ctx->seed, id, &r, err);
        return rc == FL_OK ? fl_paint_window(&s->paint, &tile, &r, normalise, out, err) : rc;
    }
    uint32_t epoch = view != NULL ? FL_EPOCH_TEST : job->epoch != NULL ? job->epoch[row] : 0;
    const struct fl_draw_key key = { ctx->seed, fl_rng_tile(id, strlen(id)), epoch, view != NULL ? view->k : v };
    int phase = view != NULL ? FL_PHASE_FULL : fl_phase_at(&s->phases, epoch);
    int rc = fl_ops_draw(&s->ops, phase, &key, (uint32_t)s->tile, s->side, job->channels, &d, params, err);
    if (rc != FL_OK)
        return rc;
    return fl_paint_drawn(&s->paint, &tile, &d, &key, view != NULL ? view->before : 0, view != NULL ? view->after : 0, normalise, out, err);
}

/* Back to the tile's own type, rounded to nearest. */
static void augment_round(const float *in, size_t n, int dtype, void *out)
{
    if (dtype == FL_U8)
        for (size_t i = 0; i < n; i++)
            ((uint8_t *)out)[i] = (uint8_t)(in[i] + .5f);
    else
        for (size_t i = 0; i < n; i++)
            ((uint16_t *)out)[i] = (uint16_t)(in[i] + .5f);
}

static int augment_row(struct fl_ctx *ctx, const struct augment_job *job, uint32_t row)
{
    struct augment *s = ctx->state;
    struct fl_err err = { 0 };
    size_t n = (size_t)s->side * s->side * job->channels, bytes = n * fl_dtype_size(s->out == AUGMENT_PIXELS ? job->tile.dtype : FL_F32);
    for (uint32_t v = 0; v < s->nviews; v++) {
        size_t at = (size_t)row * s->nviews + v;
        unsigned char *out = job->input + at * bytes;
        float *params = job->params != NULL ? job->params + at * s->columns : NULL;
        if (params != NULL)
            memset(params, 0, s->columns * sizeof *params);
        if (fl_rejected(job->b, row)) {
            memset(out, 0, bytes);
            continue;
        }
        bool next = v + 1 == s->nviews && row + 1 < job->b->n;
        s->paint.ahead = next ? (const unsigned char *)job->tile.pixels + (row + 1) * job->tile_bytes : NULL;
        s->paint.ahead_bytes = job->tile_bytes;
        float *to = s->out == AUGMENT_PIXELS ? s->scratch : (float *)(void *)out;
        int rc = augment_view(ctx, job, row, v, params, to, &err);
        if (rc != FL_OK)
            return fl_fail(ctx, rc, "%s: %s", fl_id(job->b, row), err.text);
        if (s->out == AUGMENT_PIXELS)
            augment_round(to, n, job->tile.dtype, out);
        fl_count(ctx, AUGMENT_PAINTED, 1);
        fl_alive(ctx);
    }
    return FL_OK;
}

static int augment_batch(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct augment *s = ctx->state;
    struct augment_job job;
    int rc = s->painted ? augment_job(ctx, b, &job) : augment_say(ctx, b);
    for (uint32_t row = 0; s->painted && rc == FL_OK && row < b->n; row++)
        rc = augment_row(ctx, &job, row);
    if (rc == FL_OK)
        return fl_emit(ctx, &b);
    fl_free(ctx, &b);
    return rc;
}

static void augment_close(struct fl_ctx *ctx)
{
    struct augment *s = ctx->state;
    fl_views_done(&s->views);
    fl_paint_done(&s->paint);
    free(s->scratch);
}

static const struct fl_opt augment_opts[] = {
    { .name = "views", .type = FL_OPT_JSON, .off = offsetof(struct augment, spec),
      .help = "View sets: a name (identity, d4, d4x7, flips, rot90, corners, center, scaled, random_crop:K, random:K) or a list of them, whose product is taken; a list within it is a union. random:K draws from preset or ops with every range halved." },
    { .name = "size", .type = FL_OPT_INT, .off = offsetof(struct augment, size), .def = "0", .min = 0, .max = 65535,
      .help = "Side of the network's input in pixels; 0 is the preset's, or the tile's." },
    { .name = "tile", .type = FL_OPT_INT, .off = offsetof(struct augment, tile), .def = "256", .min = 1, .max = 65535,
      .help = "Side of the tiles in pixels." },
    { .name = "preset", .type = FL_OPT_STR, .off = offsetof(struct augment, preset),
      .help = "A member's list of ops: albu, alno, n01z3, ternaus, nizhib, kostia, kostia_public, romul (docs/augment.md)." },
    { .name = "ops", .type = FL_OPT_JSON, .off = offsetof(struct augment, ops_spec),
      .help = "A list of ops of one's own: NAME, {NAME: {RANGE: [LOW, HIGH], p: P}}, {one_of: LIST} or {group: {p: P, ops: LIST}} (docs/augment.md)." },
    { .name = "augs", .type = FL_OPT_JSON, .off = offsetof(struct augment, augs),
      .help = "Training: full (default), unbiased (ops that shift the statistics of pixels are left out) or none; or a map of the epoch from which each holds, {0: full, 27: unbiased}." },
    { .name = "copies", .type = FL_OPT_INT, .off = offsetof(struct augment, copies), .def = "1", .min = 1, .max = 256,
      .help = "Training: views of each tile in an epoch, drawn separately." },
    { .name = "out", .type = FL_OPT_CHOICE, .off = offsetof(struct augment, out), .def = "auto", .choices = "auto|views|f32|pixels",
      .help = "views: numbers, painted by forward; f32: normalised planes; pixels: planes of the tiles' own type, not normalised. auto: views where nothing is drawn, else f32." },
    { .name = "normalise", .type = FL_OPT_JSON, .off = offsetof(struct augment, normalise),
      .help = "With f32: imagenet (default), planet_jpg, dpn, none, {mean: [..], std: [..]} of values in [0,1], the manifest of weights, or a file of flowrun stats." },
    { .name = "exact", .type = FL_OPT_BOOL, .off = offsetof(struct augment, exact), .def = "false",
      .help = "Sample with coordinates and weights in double instead of 16.16 fixed point; slower, equal within 1e-4 of the range." },
    { 0 }
};

static const struct fl_spec augment_in[] = {
    { .name = "pixels", .dtypes = "u8|u16", .shape = "B,tile,tile,C" },
    { .name = "epoch", .dtypes = "u32", .shape = "B", .flags = FL_OPTIONAL },
    { 0 }
};

static const struct fl_spec augment_out[] = {
    { .name = "view", .dtypes = "f32", .shape = "B,V,5", .flags = FL_OPTIONAL },
    { .name = "input", .dtypes = "f32|u8|u16", .shape = "B,V,C,S,S", .flags = FL_OPTIONAL },
    { .name = "norm", .dtypes = "f64", .shape = "2,C", .flags = FL_OPTIONAL },
    { .name = "params", .dtypes = "f32", .shape = "B,V,P", .flags = FL_OPTIONAL },
    { .name = "param_names", .dtypes = "u8", .shape = "P,32", .flags = FL_OPTIONAL },
    { 0 }
};

static const struct fl_port augment_ports[] = {
    { .name = "in", .flags = FL_IN, .tensors = augment_in },
    { .name = "out", .flags = FL_OUT, .tensors = augment_out },
    { 0 }
};

static const char *const augment_counters[] = { "painted", NULL };

const struct fl_stage fl_stage_augment = {
    .name = "augment",
    .help = "Makes the views of each tile: flips, turns and crops as numbers for the network, or drawn augmentations, painted.",
    .state_size = sizeof(struct augment),
    .opts = augment_opts,
    .ports = augment_ports,
    .counters = augment_counters,
    .describe = augment_describe,
    .open = augment_prepare,
    .batch = augment_batch,
    .close = augment_close,
};
