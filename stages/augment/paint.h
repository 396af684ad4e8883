/* Paints a view of a tile: one sampling through the map of its geometric ops, its photometric ops in order, normalisation. */
#ifndef FL_AUGMENT_PAINT_H
#define FL_AUGMENT_PAINT_H

#include "stages/augment/map.h"
#include "stages/forward/input.h"
#include "stages/lib/views.h"

struct fl_paint {
    uint32_t size, channels;
    float    top;                          /* 255 or 65535 */
    bool     exact;                        /* double coordinates and weights, the reference, instead of 16.16 fixed point */
    const struct fl_loops *loops;
    struct fl_input input, raw;            /* paint views that are one symmetry and one window; raw doesn't normalise */
    struct fl_map map;
    const unsigned char *ahead;            /* what is painted next, or NULL: brought into the cache row by row while this view is sampled */
    size_t   ahead_bytes;
    double   sum[FL_OP_BANDS];             /* of the planes as sampled, row by row; kept where the first photometric op asks for means */
    double  *sx, *sy;                      /* [size] */
    int32_t *fx, *fy;                      /* [size] */
    float   *rows;                         /* [size][size][channels], as fl_input paints it */
    float   *work;                         /* for fl_convolve */
};

/* mean, std: [channels], of values divided by M. done may follow a failed init. */
int  fl_paint_init(struct fl_paint *, uint32_t size, uint32_t channels, double M, const double *mean, const double *std, struct fl_err *);
void fl_paint_done(struct fl_paint *);

/* One symmetry and one window: as forward paints it, bit for bit. out: [channels][size][size]. normalise: else values stay in [0, M]. */
int  fl_paint_window(struct fl_paint *, const struct fl_tile *, const struct fl_view_row *, bool normalise, float *out, struct fl_err *);
/* A view with drawn ops between two symmetries. Where all that was drawn is symmetries, windows and scaled, it is one symmetry and one window,
 * and painted as such. */
int  fl_paint_drawn(struct fl_paint *, const struct fl_tile *, const struct fl_drawn *, const struct fl_draw_key *, uint32_t before, uint32_t after,
                    bool normalise, float *out, struct fl_err *);

/* photo.c: the photometric op, on planes [channels][n] of values in [0, top]. work: for fl_convolve at `side`, n = side * side. */
void fl_photo(const struct fl_loops *, const struct fl_act *, float *planes, uint32_t channels, uint32_t side, float top, const double *sum, float *work);
/* The op as x = clip(x mul + add) a band, where it is one; else false. sum: of each plane, where it is known, or NULL. */
bool fl_photo_levels(const struct fl_loops *, const struct fl_act *, const float *planes, uint32_t channels, uint32_t side, float top, const double *sum,
                     float mul[FL_OP_BANDS], float add[FL_OP_BANDS]);

#endif
