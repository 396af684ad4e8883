/* The input kernel: d4 element, window, resize and normalisation of one tile into one row of the network's input. */
#include "stages/forward/input.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "proto/dtype.h"
#include "stages/forward/input_rows.h"

/* Rows of the result turned at once: reading a column touches as many lines of the tile as the window is wide, so each is
 * used for this many pixels while it is in the cache. */
#define INPUT_BLOCK 16u

/* ---- setting up ---- */

const char *fl_input_version(uint32_t i)
{
    for (const struct fl_input_rows *const *r = fl_input_rows; *r != NULL; r++)
        if ((*r)->probe() && i-- == 0)
            return (*r)->name;
    return NULL;
}

int fl_input_use(struct fl_input *in, const char *version)
{
    for (const struct fl_input_rows *const *r = fl_input_rows; *r != NULL; r++)
        if (strcmp((*r)->name, version) == 0 && (*r)->probe()) {
            in->rows = *r;
            return FL_OK;
        }
    return FL_E_DEVICE;
}

int fl_input_init(struct fl_input *in, uint32_t size, uint32_t channels, double M, const double *mean, const double *std, struct fl_err *err)
{
    memset(in, 0, sizeof *in);
    if (size == 0 || channels == 0 || channels > FL_INPUT_CHANNELS)
        return fl_err_set(err, FL_E_SHAPE, "input of %u channels and size %u", channels, size);
    size_t n = (size_t)size * channels;
    in->size = size;
    in->channels = channels;
    in->mul = malloc(n * sizeof *in->mul);
    in->add = malloc(n * sizeof *in->add);
    in->line[0] = malloc(n * sizeof *in->line[0]);
    in->line[1] = malloc(n * sizeof *in->line[1]);
    in->at = malloc(size * sizeof *in->at);
    in->part = malloc(size * sizeof *in->part);
    if (in->mul == NULL || in->add == NULL || in->line[0] == NULL || in->line[1] == NULL || in->at == NULL || in->part == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for the input of size %u", size);
    for (size_t i = 0; i < n; i++) {
        in->mul[i] = (float)(1 / (M * std[i % channels]));
        in->add[i] = (float)(-mean[i % channels] / std[i % channels]);
    }
    return fl_input_use(in, fl_input_version(0));
}

void fl_input_done(struct fl_input *in)
{
    free(in->mul);
    free(in->add);
    free(in->line[0]);
    free(in->line[1]);
    free(in->at);
    free(in->part);
    free(in->turned);
    memset(in, 0, sizeof *in);
}

/* ---- windows ---- */

int fl_window_read(const float row[5], uint32_t h, uint32_t w, struct fl_window *out, struct fl_err *err)
{
    uint32_t v[5];
    for (int i = 0; i < 5; i++) {
        if (!(row[i] >= 0 && row[i] <= 65536) || row[i] != floorf(row[i]))
            return fl_err_set(err, FL_E_INPUT, "view {%g %g %g %g %g} is not made of whole numbers", (double)row[0], (double)row[1],
                              (double)row[2], (double)row[3], (double)row[4]);
        v[i] = (uint32_t)row[i];
    }
    uint32_t wide = v[0] & 4 ? h : w, high = v[0] & 4 ? w : h;
    if (v[0] > 7 || v[3] == 0 || v[4] == 0 || v[1] + v[3] > wide || v[2] + v[4] > high)
        return fl_err_set(err, FL_E_INPUT, "view {%u %u %u %u %u} does not lie in a tile of %u x %u", v[0], v[1], v[2], v[3], v[4], w, h);
    *out = (struct fl_window){ v[0], v[1], v[2], v[3], v[4] };
    return FL_OK;
}

/* An image of elements of `size` bytes; pixel (x, y) lies at at + y*down + x*across bytes. */
struct input_image { const unsigned char *at; ptrdiff_t down, across; };

/* The window of the turned tile as a walk over the tile's own bytes. */
static struct input_image input_walk(const struct fl_tile *tile, const struct fl_window *win, size_t pixel)
{
    ptrdiff_t px = (ptrdiff_t)pixel, row = px * tile->w;
    bool t = win->g & 4;
    ptrdiff_t across = t ? row : px, down = t ? px : row;
    uint32_t wide = t ? tile->h : tile->w, high = t ? tile->w : tile->h;
    ptrdiff_t x = win->x0, y = win->y0;
    if (win->g & 1) {
        x = (ptrdiff_t)wide - 1 - x;
        across = -across;
    }
    if (win->g & 2) {
        y = (ptrdiff_t)high - 1 - y;
        down = -down;
    }
    ptrdiff_t from = x * (win->g & 1 ? -across : across) + y * (win->g & 2 ? -down : down);
    return (struct input_image){ (const unsigned char *)tile->pixels + from, down, across };
}

/* Inlined for each pixel size, so that the copy becomes plain moves. */
static inline __attribute__((always_inline)) void input_turn_n(struct input_image im, uint32_t w, uint32_t h, size_t pixel, unsigned char *out)
{
    for (uint32_t y0 = 0; y0 < h; y0 += INPUT_BLOCK) {
        uint32_t end = h - y0 < INPUT_BLOCK ? h : y0 + INPUT_BLOCK;
        for (uint32_t x = 0; x < w; x++) {
            const unsigned char *p = im.at + (ptrdiff_t)x * im.across + (ptrdiff_t)y0 * im.down;
            unsigned char *q = out + ((size_t)y0 * w + x) * pixel;
            for (uint32_t y = y0; y < end; y++, p += im.down, q += w * pixel)
                memcpy(q, p, pixel);
        }
    }
}

static void input_turn(struct input_image im, uint32_t w, uint32_t h, size_t pixel, unsigned char *out)
{
    switch (pixel) {
    case 3: input_turn_n(im, w, h, 3, out); break;
    case 4: input_turn_n(im, w, h, 4, out); break;
    case 6: input_turn_n(im, w, h, 6, out); break;
    case 8: input_turn_n(im, w, h, 8, out); break;
    default: input_turn_n(im, w, h, pixel, out); break;
    }
}

/* A walk whose pixels follow each other along x: the tile itself, or its turned copy. */
static int input_straight(struct fl_input *in, const struct fl_tile *tile, const struct fl_window *win, size_t pixel, struct input_image *im,
                          struct fl_err *err)
{
    *im = input_walk(tile, win, pixel);
    if (im->across == (ptrdiff_t)pixel)
        return FL_OK;
    size_t need = (size_t)win->w * win->h * pixel;
    if (need > in->room) {
        unsigned char *more = realloc(in->turned, need);
        if (more == NULL)
            return fl_err_set(err, FL_E_NOMEM, "no memory for a window of %u x %u", win->w, win->h);
        in->turned = more;
        in->room = need;
    }
    input_turn(*im, win->w, win->h, pixel, in->turned);
    *im = (struct input_image){ in->turned, (ptrdiff_t)(win->w * pixel), (ptrdiff_t)pixel };
    return FL_OK;
}

/* ---- painting ---- */

static void input_copy(const struct fl_input *in, struct input_image im, int dtype, float *out)
{
    size_t n = (size_t)in->size * in->channels;
    for (uint32_t y = 0; y < in->size; y++, im.at += im.down, out += n)
        if (dtype == FL_U8)
            in->rows->u8(im.at, in->mul, in->add, out, n);
        else
            in->rows->u16((const uint16_t *)(const void *)im.at, in->mul, in->add, out, n);
}

/* Where output i of `size` lies between the pixels of a side of `n`: half-pixel centres, clamped. */
static uint32_t input_between(uint32_t i, uint32_t size, uint32_t n, float *part)
{
    double s = (i + .5) * n / size - .5;
    if (s <= 0) {
        *part = 0;
        return 0;
    }
    uint32_t left = (uint32_t)s;
    if (left >= n - 1) {
        *part = 0;
        return n - 1;
    }
    *part = (float)(s - left);
    return left;
}

static void input_across(struct fl_input *in, uint32_t w)
{
    if (in->across == w)
        return;
    for (uint32_t i = 0; i < in->size; i++)
        in->at[i] = input_between(i, in->size, w, &in->part[i]);
    in->across = w;
}

/* One row of the window resized along x; the last column has no right neighbour, and a share of 0. Inlined for each number
 * of channels, so that the loop over them unrolls. */
#define INPUT_LINE(name, type)                                                                                                   \
    static inline __attribute__((always_inline)) void input_line_##name##_n(const struct fl_input *in, const type *row, uint32_t w, \
                                                                             uint32_t c, float *out)                            \
    {                                                                                                                            \
        for (uint32_t i = 0; i < in->size; i++, out += c) {                                                                      \
            const type *a = row + (size_t)in->at[i] * c, *b = in->at[i] + 1 < w ? a + c : a;                                     \
            float part = in->part[i];                                                                                            \
            for (uint32_t k = 0; k < c; k++)                                                                                     \
                out[k] = (float)a[k] + (float)(b[k] - a[k]) * part;                                                              \
        }                                                                                                                        \
    }                                                                                                                            \
    static void input_line_##name(const struct fl_input *in, const type *row, uint32_t w, float *out)                            \
    {                                                                                                                            \
        switch (in->channels) {                                                                                                  \
        case 3: input_line_##name##_n(in, row, w, 3, out); break;                                                                \
        case 4: input_line_##name##_n(in, row, w, 4, out); break;                                                                \
        default: input_line_##name##_n(in, row, w, in->channels, out); break;                                                    \
        }                                                                                                                        \
    }
INPUT_LINE(u8, uint8_t)
INPUT_LINE(u16, uint16_t)

/* The resized row y, made only if it isn't one of the two at hand; `keep` must stay. */
static const float *input_row(struct fl_input *in, struct input_image im, int dtype, uint32_t w, uint32_t y, uint32_t keep)
{
    for (int i = 0; i < 2; i++)
        if (in->line_y[i] == y)
            return in->line[i];
    int i = in->line_y[0] == keep;
    const unsigned char *row = im.at + (ptrdiff_t)y * im.down;
    if (dtype == FL_U8)
        input_line_u8(in, row, w, in->line[i]);
    else
        input_line_u16(in, (const uint16_t *)(const void *)row, w, in->line[i]);
    in->line_y[i] = y;
    return in->line[i];
}

static void input_resize(struct fl_input *in, struct input_image im, int dtype, uint32_t w, uint32_t h, float *out)
{
    size_t n = (size_t)in->size * in->channels;
    input_across(in, w);
    in->line_y[0] = in->line_y[1] = UINT32_MAX;
    for (uint32_t y = 0; y < in->size; y++, out += n) {
        float part;
        uint32_t top = input_between(y, in->size, h, &part), bottom = top + 1 < h ? top + 1 : top;
        const float *a = input_row(in, im, dtype, w, top, bottom), *b = input_row(in, im, dtype, w, bottom, top);
        in->rows->blend(a, b, part, in->mul, in->add, out, n);
    }
}

int fl_input_paint(struct fl_input *in, const struct fl_tile *tile, const struct fl_window *win, float *out, struct fl_err *err)
{
    struct input_image im;
    if (tile->dtype != FL_U8 && tile->dtype != FL_U16)
        return fl_err_set(err, FL_E_SHAPE, "pixels are %s, want u8 or u16", fl_dtype_name(tile->dtype));
    int code = input_straight(in, tile, win, in->channels * fl_dtype_size(tile->dtype), &im, err);
    if (code != FL_OK)
        return code;
    if (win->w == in->size && win->h == in->size)
        input_copy(in, im, tile->dtype, out);
    else
        input_resize(in, im, tile->dtype, win->w, win->h, out);
    return FL_OK;
}
