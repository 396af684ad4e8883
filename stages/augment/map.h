/* Where each pixel of a view comes from: the geometric ops of a view composed into one inverse map. */
#ifndef FL_AUGMENT_MAP_H
#define FL_AUGMENT_MAP_H

#include "stages/augment/loops.h"
#include "stages/augment/ops.h"

enum fl_map_kind { FL_MAP_AFFINE, FL_MAP_RADIAL, FL_MAP_GRID, FL_MAP_ELASTIC };

struct fl_map_step {
    uint8_t kind;
    double  a[6];                       /* affine: as fl_loops.affine; radial: cx, cy, k */
    const struct fl_act *act;           /* grid: its 2n cells */
    uint32_t n;                         /* grid, elastic: side of its image */
};

struct fl_map {
    uint32_t side;                      /* of the source */
    uint32_t n;
    struct fl_map_step step[FL_OPS_MAX + 3];      /* source = step[0](step[1](...)) */
    float   *field[2]; size_t room;     /* elastic: displacements along x and y, [n][n] */
    float   *work; size_t work_room;
    double  *knot;                      /* grid: 2 (cells + 1) knots of each, in the order of the steps */
    size_t   knots, knot_room;
};

/* before, after: symmetries (stages/lib/views.h) ahead of the ops and behind them. The centre of what the ops leave is cut out where it is
 * larger than `size`; smaller: FL_E_CONFIG. *map is reused from view to view (zeroed at first), and refers to `drawn`. */
int  fl_map_make(struct fl_map *, const struct fl_drawn *, const struct fl_draw_key *, uint32_t before, uint32_t after, uint32_t tile, uint32_t size,
                 const struct fl_loops *, struct fl_err *);
/* The map as one affine step that leaves no pixel of the view more than a period off, or NULL. */
const double *fl_map_plain(const struct fl_map *, uint32_t size);
/* Source coordinates of row y of the view, n pixels, in [0, side-1] (reflect-101). */
void fl_map_row(const struct fl_map *, const struct fl_loops *, uint32_t y, uint32_t n, double *sx, double *sy);
void fl_map_done(struct fl_map *);

/* Convolves an image [n][n] in place with a kernel of 2 radius + 1 along rows and then columns, mirrored (reflect-101).
 * work: n*n + n + 2 radius floats. */
void fl_convolve(const struct fl_loops *, float *image, uint32_t n, const float *kernel, uint32_t radius, float *work);
/* Normalised Gaussian weights cut at 4 s into kernel[2 radius + 1]; returns the radius. s up to 64 (513 weights). */
#define FL_GAUSS_MAX 513u
uint32_t fl_gauss(double s, float kernel[FL_GAUSS_MAX]);

#endif
