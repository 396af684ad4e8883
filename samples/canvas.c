/* The canvas of the painter: masks of simple shapes, noise, and surfaces laid through a mask. */
#include "samples/paint.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CANVAS_LATTICE 512u               /* most noise cells along a side, plus one */

static float canvas_clamp(float x)
{
    return x < 0 ? 0 : x > 1 ? 1 : x;
}

static float canvas_smooth(float x)
{
    x = canvas_clamp(x);
    return x * x * (3 - 2 * x);
}

int canvas_new(struct canvas *c, uint32_t size, struct fl_err *err)
{
    memset(c, 0, sizeof *c);
    if (size < 32 || size > 512)
        return fl_err_set(err, FL_E_CONFIG, "size %u: want 32..512", size);
    size_t n = (size_t)size * size;
    c->size = size;
    c->unit = (float)size / 256;
    c->px = calloc(n * 4, sizeof *c->px);
    c->mask = calloc(n, sizeof *c->mask);
    c->noise = calloc(n, sizeof *c->noise);
    c->lattice = calloc((size_t)CANVAS_LATTICE * CANVAS_LATTICE, sizeof *c->lattice);
    if (c->px == NULL || c->mask == NULL || c->noise == NULL || c->lattice == NULL) {
        canvas_free(c);
        return fl_err_set(err, FL_E_NOMEM, "a canvas of %ux%u", size, size);
    }
    return FL_OK;
}

void canvas_free(struct canvas *c)
{
    free(c->px);
    free(c->mask);
    free(c->noise);
    free(c->lattice);
    memset(c, 0, sizeof *c);
}

/* ---- noise ---- */

static void canvas_octave(struct canvas *c, struct fl_rng *r, float cell, float gain)
{
    uint32_t cells = (uint32_t)((float)c->size / cell) + 2;
    cells = cells > CANVAS_LATTICE ? CANVAS_LATTICE : cells;
    for (size_t k = 0; k < (size_t)cells * cells; k++)
        c->lattice[k] = paint_u(r, -1, 1);
    for (uint32_t y = 0; y < c->size; y++) {
        uint32_t iy = (uint32_t)((float)y / cell);
        float fy = canvas_smooth((float)y / cell - (float)iy);
        const float *a = c->lattice + (size_t)iy * cells, *b = a + cells;
        float *out = c->noise + (size_t)y * c->size;
        for (uint32_t x = 0; x < c->size; x++) {
            uint32_t ix = (uint32_t)((float)x / cell);
            float fx = canvas_smooth((float)x / cell - (float)ix);
            float top = a[ix] + (a[ix + 1] - a[ix]) * fx, low = b[ix] + (b[ix + 1] - b[ix]) * fx;
            out[x] += gain * (top + (low - top) * fy);
        }
    }
}

void canvas_noise(struct canvas *c, struct fl_rng *r, float grain, int octaves)
{
    memset(c->noise, 0, sizeof *c->noise * c->size * c->size);
    float gain = 1, cell = grain * c->unit;
    for (int k = 0; k < octaves; k++, gain *= 0.55f, cell *= 0.5f)
        canvas_octave(c, r, cell < 1.5f ? 1.5f : cell, gain);
}

/* ---- masks ---- */

struct canvas_box { int32_t x0, y0, x1, y1; };

static struct canvas_box canvas_clip(const struct canvas *c, float x0, float y0, float x1, float y1)
{
    float top = (float)c->size;
    struct canvas_box b = {
        (int32_t)floorf(fminf(fmaxf(x0, 0), top)), (int32_t)floorf(fminf(fmaxf(y0, 0), top)),
        (int32_t)floorf(fminf(fmaxf(x1 + 1, 0), top)), (int32_t)floorf(fminf(fmaxf(y1 + 1, 0), top)) };
    return b;
}

static void canvas_put(struct canvas *c, int32_t x, int32_t y, float v)
{
    float *m = c->mask + (size_t)y * c->size + (size_t)x;
    v = canvas_clamp(v);
    *m = v > *m ? v : *m;
}

void canvas_clear_mask(struct canvas *c)
{
    memset(c->mask, 0, sizeof *c->mask * c->size * c->size);
}

void canvas_ellipse(struct canvas *c, float x, float y, const float dir[2], float ra, float rb, float soft)
{
    x *= c->unit;
    y *= c->unit;
    ra *= c->unit;
    rb *= c->unit;
    soft = fmaxf(soft * c->unit, 0.7f);
    float reach = fmaxf(ra, rb) + soft;
    struct canvas_box b = canvas_clip(c, x - reach, y - reach, x + reach, y + reach);
    for (int32_t j = b.y0; j < b.y1; j++)
        for (int32_t i = b.x0; i < b.x1; i++) {
            float dx = (float)i - x, dy = (float)j - y;
            float u = (dx * dir[0] + dy * dir[1]) / ra, v = (dy * dir[0] - dx * dir[1]) / rb;
            canvas_put(c, i, j, 0.5f + (1 - sqrtf(u * u + v * v)) * fminf(ra, rb) / soft);
        }
}

void canvas_disc(struct canvas *c, float x, float y, float r, float soft)
{
    static const float east[2] = { 1, 0 };
    canvas_ellipse(c, x, y, east, r, r, soft);
}

void canvas_segment(struct canvas *c, float x0, float y0, float x1, float y1, float width)
{
    x0 *= c->unit;
    y0 *= c->unit;
    float dx = x1 * c->unit - x0, dy = y1 * c->unit - y0, half = width * c->unit / 2;
    float len2 = fmaxf(dx * dx + dy * dy, 1e-6f);
    struct canvas_box b = canvas_clip(c, fminf(x0, x0 + dx) - half - 1, fminf(y0, y0 + dy) - half - 1,
                                      fmaxf(x0, x0 + dx) + half + 1, fmaxf(y0, y0 + dy) + half + 1);
    for (int32_t j = b.y0; j < b.y1; j++)
        for (int32_t i = b.x0; i < b.x1; i++) {
            float px = (float)i - x0, py = (float)j - y0, t = canvas_clamp((px * dx + py * dy) / len2);
            float qx = px - t * dx, qy = py - t * dy;
            canvas_put(c, i, j, half + 0.5f - sqrtf(qx * qx + qy * qy));
        }
}

void canvas_rect(struct canvas *c, float x, float y, const float dir[2], float half_a, float half_b)
{
    x *= c->unit;
    y *= c->unit;
    half_a *= c->unit;
    half_b *= c->unit;
    float reach = half_a + half_b + 1;
    struct canvas_box b = canvas_clip(c, x - reach, y - reach, x + reach, y + reach);
    for (int32_t j = b.y0; j < b.y1; j++)
        for (int32_t i = b.x0; i < b.x1; i++) {
            float dx = (float)i - x, dy = (float)j - y;
            float u = fabsf(dx * dir[0] + dy * dir[1]), v = fabsf(dy * dir[0] - dx * dir[1]);
            canvas_put(c, i, j, fminf(half_a - u, half_b - v) + 0.5f);
        }
}

void canvas_blob(struct canvas *c, struct fl_rng *r, float x, float y, float radius, float grain, float torn)
{
    canvas_noise(c, r, grain, 3);
    x *= c->unit;
    y *= c->unit;
    radius *= c->unit;
    float reach = radius * (1 + 1.7f * torn) + 2;
    struct canvas_box b = canvas_clip(c, x - reach, y - reach, x + reach, y + reach);
    for (int32_t j = b.y0; j < b.y1; j++)
        for (int32_t i = b.x0; i < b.x1; i++) {
            float dx = (float)i - x, dy = (float)j - y, d = 1 - sqrtf(dx * dx + dy * dy) / radius;
            d += torn * c->noise[(size_t)j * c->size + (size_t)i];
            canvas_put(c, i, j, canvas_smooth(0.5f + d * radius * 0.35f));
        }
}

void canvas_fill(struct canvas *c, struct fl_rng *r, const struct material *m, float alpha)
{
    canvas_noise(c, r, m->grain, 3);
    for (size_t k = 0; k < (size_t)c->size * c->size; k++) {
        float a = c->mask[k] * alpha, light = 1 + m->amount * c->noise[k];
        for (int b = 0; a > 0 && b < 4; b++)
            c->px[4 * k + b] += a * (m->colour[b] * light - c->px[4 * k + b]);
    }
}
