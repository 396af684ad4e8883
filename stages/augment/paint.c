/* Painting views: sampling through the map, photometric ops, normalisation. */
#include "stages/augment/paint.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/dtype.h"

int fl_paint_init(struct fl_paint *p, uint32_t size, uint32_t channels, double M, const double *mean, const double *std, struct fl_err *err)
{
    memset(p, 0, sizeof *p);
    p->size = size;
    p->channels = channels;
    p->top = (float)M;
    p->loops = fl_loops_best();
    const double zero[FL_OP_BANDS] = { 0 }, one[FL_OP_BANDS] = { 1, 1, 1, 1, 1, 1, 1, 1 };
    int rc = fl_input_init(&p->input, size, channels, M, mean, std, err);
    if (rc == FL_OK)
        rc = fl_input_init(&p->raw, size, channels, 1, zero, one, err);
    if (rc != FL_OK)
        return rc;
    size_t n = (size_t)size * size;
    p->sx = malloc(size * sizeof *p->sx);
    p->sy = malloc(size * sizeof *p->sy);
    p->fx = malloc(size * sizeof *p->fx);
    p->fy = malloc(size * sizeof *p->fy);
    p->rows = malloc(n * channels * sizeof *p->rows);
    p->work = malloc((2 * n + size + FL_GAUSS_MAX) * sizeof *p->work);
    if (p->sx == NULL || p->sy == NULL || p->fx == NULL || p->fy == NULL || p->rows == NULL || p->work == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for views of size %u", size);
    return FL_OK;
}

void fl_paint_done(struct fl_paint *p)
{
    fl_input_done(&p->input);
    fl_input_done(&p->raw);
    fl_map_done(&p->map);
    free(p->sx);
    free(p->sy);
    free(p->fx);
    free(p->fy);
    free(p->rows);
    free(p->work);
    memset(p, 0, sizeof *p);
}

/* ---- windows ---- */

/* From rows of pixels to planes. */
static void paint_planes(const float *in, size_t n, uint32_t channels, float *out)
{
    for (uint32_t c = 0; c < channels; c++, out += n)
        for (size_t i = 0; i < n; i++)
            out[i] = in[i * channels + c];
}

int fl_paint_window(struct fl_paint *p, const struct fl_tile *tile, const struct fl_view_row *r, bool normalise, float *out, struct fl_err *err)
{
    const struct fl_window win = { r->g, r->x, r->y, r->w, r->h };
    int rc = fl_input_paint(normalise ? &p->input : &p->raw, tile, &win, p->rows, err);
    if (rc == FL_OK)
        paint_planes(p->rows, (size_t)p->size * p->size, p->channels, out);
    return rc;
}

/* The view as one symmetry and one window, where it is that. */
static bool paint_is_window(const struct fl_paint *p, uint32_t side, const struct fl_drawn *d, uint32_t before, uint32_t after, struct fl_view_row *r)
{
    struct fl_view v = { .before = (uint8_t)before };
    for (uint32_t i = 0; i < d->n; i++) {
        const struct fl_act *a = &d->act[i];
        if (a->op->kind == FL_OP_D4)
            v = fl_view_then(v, (struct fl_view){ .before = (uint8_t)a->v[0] });
        else if (a->op->kind == FL_OP_RANDOM_CROP)
            v = fl_view_then(v, (struct fl_view){ .window = FL_WINDOW_FIXED, .x = (uint32_t)a->v[0], .y = (uint32_t)a->v[1] });
        else if (a->op->kind == FL_OP_SCALED)
            v = fl_view_then(v, (struct fl_view){ .window = FL_WINDOW_TILE });
        else
            return false;
    }
    uint32_t mid = (side - p->size) / 2;
    if (v.window == FL_WINDOW_NONE && d->side >= p->size)
        v = fl_view_then(v, (struct fl_view){ .window = FL_WINDOW_FIXED, .x = mid, .y = mid });
    v = fl_view_then(v, (struct fl_view){ .before = (uint8_t)after });
    *r = fl_view_place(&v, side, p->size);
    return v.window != FL_WINDOW_NONE;
}

/* ---- sampling ---- */

/* Bilinear in double, rounded once: what the fixed-point versions are held against. */
static void paint_exact_row(const struct fl_paint *p, const struct fl_tile *tile, float *const *out)
{
    uint32_t side = tile->w, C = p->channels;
    const uint8_t *u8 = tile->pixels;
    const uint16_t *u16 = tile->pixels;
    for (uint32_t i = 0; i < p->size; i++) {
        uint32_t x0 = (uint32_t)p->sx[i], y0 = (uint32_t)p->sy[i], x1 = x0 + 1 < side ? x0 + 1 : x0, y1 = y0 + 1 < side ? y0 + 1 : y0;
        double px = p->sx[i] - x0, py = p->sy[i] - y0;
        for (uint32_t c = 0; c < C; c++) {
            size_t at[4] = { ((size_t)y0 * side + x0) * C + c, ((size_t)y0 * side + x1) * C + c, ((size_t)y1 * side + x0) * C + c, ((size_t)y1 * side + x1) * C + c };
            double v[4];
            for (int k = 0; k < 4; k++)
                v[k] = tile->dtype == FL_U8 ? u8[at[k]] : u16[at[k]];
            double a = v[0] + (v[1] - v[0]) * px, b = v[2] + (v[3] - v[2]) * px;
            out[c][i] = (float)(a + (b - a) * py);
        }
    }
}

/* A row in fixed point. plain: the map, where it is no more than affine. */
static void paint_row(struct fl_paint *p, const struct fl_tile *tile, const double *plain, uint32_t y, float *const *to)
{
    const struct fl_loops *l = p->loops;
    if (plain != NULL) {
        l->affine_row(plain, y, p->size, tile->w, p->fx, p->fy);
    } else {
        fl_map_row(&p->map, l, y, p->size, p->sx, p->sy);
        l->fixed(p->sx, p->fx, p->size);
        l->fixed(p->sy, p->fy, p->size);
    }
    if (tile->dtype == FL_U8)
        l->sample_u8(tile->pixels, tile->w, p->channels, p->fx, p->fy, p->size, to);
    else
        l->sample_u16(tile->pixels, tile->w, p->channels, p->fx, p->fy, p->size, to);
}

/* Row y's share of what comes next. */
static void paint_ahead(const struct fl_paint *p, uint32_t y)
{
    size_t from = p->ahead_bytes * y / p->size / 64 * 64, to = p->ahead_bytes * (y + 1) / p->size;
    for (; p->ahead != NULL && from < to; from += 64)
        __builtin_prefetch(p->ahead + from, 0, 2);
}

/* normalise, sums: each row while it is in the cache. */
static void paint_sample(struct fl_paint *p, const struct fl_tile *tile, bool normalise, bool sums, float *out)
{
    size_t n = (size_t)p->size * p->size;
    const double *plain = fl_map_plain(&p->map, p->size);
    float *to[FL_OP_BANDS] = { NULL };
    memset(p->sum, 0, sizeof p->sum);
    for (uint32_t y = 0; y < p->size; y++) {
        paint_ahead(p, y);
        for (uint32_t c = 0; c < p->channels; c++)
            to[c] = out + c * n + (size_t)y * p->size;
        if (p->exact) {
            fl_map_row(&p->map, p->loops, y, p->size, p->sx, p->sy);
            paint_exact_row(p, tile, to);
        } else {
            paint_row(p, tile, plain, y, to);
        }
        for (uint32_t c = 0; sums && c < p->channels; c++)
            p->sum[c] += p->loops->sum(to[c], p->size);
        for (uint32_t c = 0; normalise && c < p->channels; c++)
            p->loops->scale(to[c], p->size, p->input.mul[c], p->input.add[c]);
    }
}

/* ---- a view ---- */

/* The photometric op behind `from`, or d->n. */
static uint32_t paint_next(const struct fl_drawn *d, uint32_t from)
{
    while (from < d->n && d->act[from].op->kind < FL_OP_PHOTOMETRIC)
        from++;
    return from;
}

/* All photometric ops; normalisation goes along with the last where that is one of levels, so that the planes are walked once less. */
static void paint_photo(struct fl_paint *p, const struct fl_drawn *d, uint32_t first, bool normalise, float *out)
{
    size_t n = (size_t)p->size * p->size;
    float mul[FL_OP_BANDS], add[FL_OP_BANDS];
    for (uint32_t i = first, next; i < d->n; i = next) {
        const double *sum = i == first ? p->sum : NULL;
        next = paint_next(d, i + 1);
        if (next < d->n || !normalise || !fl_photo_levels(p->loops, &d->act[i], out, p->channels, p->size, p->top, sum, mul, add)) {
            fl_photo(p->loops, &d->act[i], out, p->channels, p->size, p->top, sum, p->work);
            continue;
        }
        for (uint32_t c = 0; c < p->channels; c++)
            p->loops->levels_scale(out + c * n, n, mul[c], add[c], p->top, p->input.mul[c], p->input.add[c]);
        return;
    }
    for (uint32_t c = 0; normalise && c < p->channels; c++)
        p->loops->scale(out + c * n, n, p->input.mul[c], p->input.add[c]);
}

int fl_paint_drawn(struct fl_paint *p, const struct fl_tile *tile, const struct fl_drawn *d, const struct fl_draw_key *key, uint32_t before, uint32_t after,
                   bool normalise, float *out, struct fl_err *err)
{
    struct fl_view_row r;
    uint32_t photo = paint_next(d, 0);
    if (photo == d->n && paint_is_window(p, tile->w, d, before, after, &r))
        return fl_paint_window(p, tile, &r, normalise, out, err);
    int rc = fl_map_make(&p->map, d, key, before, after, tile->w, p->size, p->loops, err);
    if (rc != FL_OK)
        return rc;
    paint_sample(p, tile, normalise && photo == d->n, photo < d->n && d->act[photo].op->kind == FL_OP_CONTRAST, out);
    if (photo < d->n)
        paint_photo(p, d, photo, normalise, out);
    return FL_OK;
}
