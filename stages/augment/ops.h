/* Augmentation ops: which there are, lists of them as data, and what a (tile, epoch, view) draws from a list. */
#ifndef FL_AUGMENT_OPS_H
#define FL_AUGMENT_OPS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/status.h"

#define FL_OPS_MAX    60u      /* op numbers from 60 up are reserved (runtime/rng.h) */
#define FL_OP_RANGES  3u
#define FL_OP_VALUES  64u      /* most parameters of one op: a grid of 32 + 32 cells */
#define FL_OP_BANDS   8u

enum fl_op_kind {
    FL_OP_D4, FL_OP_OFFSET, FL_OP_RANDOM_CROP, FL_OP_ROTATE, FL_OP_SCALE, FL_OP_SHEAR, FL_OP_RANDOM_SIZED_CROP, FL_OP_SCALED,
    FL_OP_DISTORT_RADIAL, FL_OP_DISTORT_GRID, FL_OP_DISTORT_ELASTIC,
    FL_OP_PHOTOMETRIC,         /* from here on: pixel values, not places */
    FL_OP_CONTRAST = FL_OP_PHOTOMETRIC, FL_OP_CONTRAST_MID, FL_OP_CHANNEL_MUL, FL_OP_CHANNEL_ADD, FL_OP_HSV, FL_OP_BLUR, FL_OP_BLUR_GAUSS,
    FL_OP_LISTS,               /* from here on: ops of ops */
    FL_OP_ONE_OF = FL_OP_LISTS, FL_OP_GROUP,
    FL_OP_KINDS
};

struct fl_range { double lo, hi; };

struct fl_op {
    uint8_t  kind;                         /* enum fl_op_kind */
    bool     bias;                         /* shifts the statistics of the pixels: dropped in the phase `unbiased` */
    bool     integer;                      /* rotate: whole degrees */
    double   p;                            /* of being applied; within a one_of: its weight */
    struct fl_range r[FL_OP_RANGES];       /* what is drawn, in the order of fl_op_param */
    double   alpha, sigma;                 /* distort_elastic */
    uint32_t cells;                        /* distort_grid: along a side */
    uint32_t end;                          /* number of the first op behind it and its members */
};

/* Ops in pre-order: an op's place is its number in the draws, and a list's members follow it. */
struct fl_ops { uint32_t n; struct fl_op op[FL_OPS_MAX]; };

enum fl_phase { FL_PHASE_FULL, FL_PHASE_UNBIASED, FL_PHASE_NONE };

const char *fl_op_name(int kind);

/* spec: a list whose members are NAME, {NAME: {KEY: VALUE, ...}}, {one_of: LIST} or {group: {p: P, ops: LIST}}. FL_E_CONFIG naming the op for
 * what isn't known, ranges that aren't finite or stand reversed, p outside [0,1], an empty list, more than 60 ops. */
int  fl_ops_parse(const json_t *spec, struct fl_ops *, struct fl_err *);
/* Every range halved about its neutral value, for views at test time; d4 and random_crop stay. */
void fl_ops_halve(struct fl_ops *);
/* FL_E_CONFIG where a tile of side `tile` may come out smaller than `size`: only random_sized_crop and scaled enlarge. Also where an elastic
 * distortion needs more draws than there are. */
int  fl_ops_fit(const struct fl_ops *, int phase, uint32_t tile, uint32_t size, struct fl_err *);

/* ---- member presets ---- */

struct fl_preset { const char *name; uint32_t size; const char *ops; };     /* size: 0 is the tile's; ops: JSON, as fl_ops_parse takes it */
extern const struct fl_preset fl_presets[];                                  /* ends with a NULL name */

/* ---- draws ---- */

/* One op that is applied to one view, with what was drawn for it. */
struct fl_act {
    const struct fl_op *op;
    uint32_t number;                       /* of the op */
    uint32_t n;                            /* side of the image that it is applied to */
    double   v[FL_OP_VALUES];
};

/* All that is applied, in order; side: of the image that it leaves. */
struct fl_drawn { uint32_t n, side; struct fl_act act[FL_OPS_MAX]; };

struct fl_draw_key { uint64_t seed, tile; uint32_t epoch, view; };           /* tile: fl_rng_tile of the id */

/* Parameters of an op: how many of its values are reported (of one value a band those of four), and what they are called. */
#define FL_OP_SHOWN 4u
uint32_t    fl_op_values(const struct fl_op *);
const char *fl_op_value_name(const struct fl_op *, uint32_t i, char text[16]);

/* Draws a view of a tile of side `tile` for a network of side `size`. params: [fl_ops_columns] receives for each op in pre-order 1 or 0
 * (applied or not), then its values (0 where it isn't applied); may be NULL. */
int  fl_ops_draw(const struct fl_ops *, int phase, const struct fl_draw_key *, uint32_t tile, uint32_t size, uint32_t channels,
                 struct fl_drawn *, float *params, struct fl_err *);
uint32_t fl_ops_columns(const struct fl_ops *);
/* Writes fl_ops_columns names of 32 bytes, NUL padded: "NUMBER.op" and "NUMBER.op.value". */
void fl_ops_column_names(const struct fl_ops *, char *names);

#endif
