/* View sets: what a view does to a tile, said as one symmetry of the square and one window, or as drawn ops between two symmetries. */
#ifndef FL_STAGES_LIB_VIEWS_H
#define FL_STAGES_LIB_VIEWS_H

#include <jansson.h>
#include <stdint.h>

#include "proto/status.h"

/* ---- the eight symmetries: g = 4T + 2V + H, transpose if T, then flip rows if V, then flip columns if H ---- */

uint32_t fl_d4_compose(uint32_t first, uint32_t then);
uint32_t fl_d4_inverse(uint32_t g);
/* Where pixel (x, y) of the transformed square of side n comes from. */
void fl_d4_source(uint32_t g, uint32_t n, uint32_t x, uint32_t y, uint32_t *sx, uint32_t *sy);

/* ---- view sets ---- */

enum fl_window_kind { FL_WINDOW_NONE, FL_WINDOW_TILE, FL_WINDOW_FIXED, FL_WINDOW_RANDOM, FL_WINDOW_DRAWN };

/* One view: symmetry `before`, window, symmetry `after`. A window once taken is S x S, so that further crops and scalings change nothing.
 * DRAWN stands for the ops of a list with what number k draws from it: painted, not a window. */
struct fl_view {
    uint8_t  before, after;
    uint8_t  window;              /* enum fl_window_kind */
    uint32_t x, y;                /* FIXED */
    uint32_t op, k;               /* RANDOM, DRAWN: the draw's op and view numbers */
};

struct fl_views { uint32_t n, tile, size; struct fl_view *v; };

/* A row of the tensor `view`: g on the whole tile, then the window [x,x+w) x [y,y+h) of the result. */
struct fl_view_row { uint32_t g, x, y, w, h; };

#define FL_VIEWS_MAX 256u

/* spec: a name or a list (product of its members, last member fastest; a list within is a union, and so on in turn); NULL = identity.
 * Names: identity, d4, d4x7, flips, rot90, corners, center, scaled, random_crop:K, random:K (K views of FL_WINDOW_DRAWN). size: side of the network's input, 0 = tile.
 * op of a random_crop: its place in the spec, members and inner lists counted in reading order from 0. FL_E_CONFIG for unknown
 * names, empty lists, more than 256 views, or a size above the tile's that nothing scales. */
int  fl_views_new(const json_t *spec, uint32_t tile, uint32_t size, struct fl_views *, struct fl_err *);
void fl_views_done(struct fl_views *);

/* First view a, then view b on what a made. */
struct fl_view fl_view_then(struct fl_view a, struct fl_view b);
/* Its row, for one with a window that is not random. */
struct fl_view_row fl_view_place(const struct fl_view *, uint32_t tile, uint32_t size);

/* View v (not DRAWN) of the tile called id (its bytes decide random windows). */
int fl_views_row(const struct fl_views *, uint32_t v, uint64_t seed, const char *id, struct fl_view_row *, struct fl_err *);

#endif
