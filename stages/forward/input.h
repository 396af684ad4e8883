/* The input kernel: a view of a tile, painted into one row of the network's input. */
#ifndef FL_FORWARD_INPUT_H
#define FL_FORWARD_INPUT_H

#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

#define FL_INPUT_CHANNELS 8

/* d4 element g = 4T+2V+H on the whole tile (transpose if T, then flip rows if V, then flip columns if H), then the window
 * [x0, x0+w) x [y0, y0+h) of the result. */
struct fl_window { uint32_t g, x0, y0, w, h; };

struct fl_tile { const void *pixels; int dtype; uint32_t h, w; };      /* FL_U8 or FL_U16, [h][w][channels of the input] */

struct fl_input_rows;                        /* the inner loops in one instruction set */

struct fl_input {
    uint32_t size, channels;                 /* the network's */
    float   *mul, *add;                      /* [size * channels]: t = x * mul + add, repeated along a row */
    float   *line[2];                        /* [size * channels]: two rows of the window, resized along x */
    uint32_t line_y[2];                      /* which rows these are; UINT32_MAX: none */
    uint32_t *at; float *part;               /* [size]: left neighbour and share of the right one, for windows of width `across` */
    uint32_t across;                         /* 0: none yet */
    unsigned char *turned; size_t room;      /* the window after a d4 element other than 0 */
    const struct fl_input_rows *rows;
};

/* t = (x/M - mean)/std for each channel. done may follow a failed init. */
int  fl_input_init(struct fl_input *, uint32_t size, uint32_t channels, double M, const double *mean, const double *std, struct fl_err *);
void fl_input_done(struct fl_input *);
/* The instruction sets this machine can do, best first, plain C last; NULL after the last. init takes the first. */
const char *fl_input_version(uint32_t i);
int  fl_input_use(struct fl_input *, const char *version);       /* FL_E_DEVICE when this machine can't */

/* Proves a row {g, x0, y0, w, h} of tensor "view" against a tile of h x w; FL_E_INPUT, naming the fault. */
int  fl_window_read(const float row[5], uint32_t h, uint32_t w, struct fl_window *, struct fl_err *);

/* Writes [size][size][channels]: the window itself where it is size x size, else bilinear with half-pixel centres, clamped at the
 * window's border, no antialiasing. */
int  fl_input_paint(struct fl_input *, const struct fl_tile *, const struct fl_window *, float *out, struct fl_err *);

#endif
