/* Brings an image to the side of the graph's tiles: centre cut with mirrored edges, or bilinear. */
#ifndef FL_STAGES_LIB_FIT_H
#define FL_STAGES_LIB_FIT_H

#include <stdint.h>

#include "proto/status.h"

struct fl_image {
    const void *data;            /* rows of pixels of `channels` samples */
    uint32_t    width, height, channels;
    uint32_t    sample;          /* bytes of a sample: 1 (u8) or 2 (u16) */
};

/* The centre size x size cut out; what is missing is mirrored without repeating the edge (reflect-101). Where a side is odd
 * against size, the larger part is left right and below when cut, and added right and below when mirrored. */
void fl_fit_cut(const struct fl_image *, uint32_t size, void *out);
/* Bilinear with half-pixel centres, rounded to nearest. FL_E_NOMEM. */
int  fl_fit_resize(const struct fl_image *, uint32_t size, void *out, struct fl_err *err);

#endif
