/* Test-time views: takes pixels [B,H,W,C] by reference, gives `view` f32 [B,V,5] = g, x, y, w, h of each view.
 *
 * No pixel is touched: forward applies symmetry g to the whole tile, takes the window and resizes it to its input. */
#include "runtime/stage.h"
#include "stages/lib/views.h"

struct augment {
    json_t *spec;                 /* views */
    int64_t size, tile;
    struct fl_views views;
};

static int augment_prepare(struct fl_ctx *ctx)
{
    struct augment *s = ctx->state;
    struct fl_err err = { 0 };
    fl_views_done(&s->views);
    if (fl_views_new(s->spec, (uint32_t)s->tile, (uint32_t)s->size, &s->views, &err) != FL_OK)
        return fl_fail(ctx, err.code, "%s", err.text);
    fl_bind(ctx, 'V', s->views.n);
    return FL_OK;
}

static int augment_describe(struct fl_ctx *ctx)
{
    struct augment *s = ctx->state;
    int rc = augment_prepare(ctx);
    fl_views_done(&s->views);
    return rc;
}

static int augment_batch(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct augment *s = ctx->state;
    struct fl_err err = { 0 };
    float *out = fl_out(ctx, b, "view", FL_F32, 3, (uint32_t[]){ b->n, s->views.n, 5 });
    int rc = out != NULL ? FL_OK : FL_E_BUG;
    for (uint32_t row = 0; rc == FL_OK && row < b->n; row++) {
        const char *id = fl_id(b, row);
        for (uint32_t v = 0; rc == FL_OK && v < s->views.n; v++, out += 5) {
            struct fl_view_row r = { 0 };
            if (!fl_rejected(b, row) && fl_views_row(&s->views, v, ctx->seed, id, &r, &err) != FL_OK)
                rc = fl_fail(ctx, err.code, "%s: %s", id, err.text);
            out[0] = (float)r.g;
            out[1] = (float)r.x;
            out[2] = (float)r.y;
            out[3] = (float)r.w;
            out[4] = (float)r.h;
        }
    }
    if (rc == FL_OK)
        return fl_emit(ctx, &b);
    fl_free(ctx, &b);
    return rc;
}

static void augment_close(struct fl_ctx *ctx)
{
    fl_views_done(&((struct augment *)ctx->state)->views);
}

static const struct fl_opt augment_opts[] = {
    { .name = "views", .type = FL_OPT_JSON, .off = offsetof(struct augment, spec),
      .help = "View sets: a name (identity, d4, d4x7, flips, rot90, corners, center, scaled, random_crop:K) or a list of them, whose product is taken; a list within it is a union." },
    { .name = "size", .type = FL_OPT_INT, .off = offsetof(struct augment, size), .def = "0", .min = 0, .max = 65535,
      .help = "Side of the network's input in pixels; 0 is the tile's." },
    { .name = "tile", .type = FL_OPT_INT, .off = offsetof(struct augment, tile), .def = "256", .min = 1, .max = 65535,
      .help = "Side of the tiles in pixels." },
    { 0 }
};

static const struct fl_spec augment_in[] = {
    { .name = "pixels", .dtypes = "u8|u16", .shape = "B,tile,tile,C" },
    { 0 }
};

static const struct fl_spec augment_out[] = {
    { .name = "view", .dtypes = "f32", .shape = "B,V,5" },
    { 0 }
};

static const struct fl_port augment_ports[] = {
    { .name = "in", .flags = FL_IN, .tensors = augment_in },
    { .name = "out", .flags = FL_OUT, .tensors = augment_out },
    { 0 }
};

static const char *const augment_counters[] = { NULL };

const struct fl_stage fl_stage_augment = {
    .name = "augment",
    .help = "Says which views of each tile the network is to see: flips, turns, crops.",
    .state_size = sizeof(struct augment),
    .opts = augment_opts,
    .ports = augment_ports,
    .counters = augment_counters,
    .describe = augment_describe,
    .open = augment_prepare,
    .batch = augment_batch,
    .close = augment_close,
};
