/* 16-bit TIFF tiles: libtiff over memory, plain strips copied straight. */
#ifndef FL_STAGES_LIB_TIFF_H
#define FL_STAGES_LIB_TIFF_H

#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

#define FL_TIFF_BANDS 4

struct fl_tiff;

/* bands[k]: which band of the file (from 0) becomes band k of the image, k < out_bands; the file must have file_bands of them.
 * NULL: out of memory. */
struct fl_tiff *fl_tiff_new(uint32_t file_bands, const uint8_t *bands, uint32_t out_bands);
void fl_tiff_free(struct fl_tiff *);

/* Reads the tags of the first image of a file in memory, which must stay until fl_tiff_read or the next call. FL_E_INPUT,
 * FL_E_SHAPE (number of bands, or not 16-bit unsigned). Nothing that depends on the image's size is allocated here. */
int  fl_tiff_header(struct fl_tiff *, const void *bytes, size_t len, uint32_t *width, uint32_t *height, struct fl_err *err);
/* Decodes into out: height rows of width pixels of out_bands samples. FL_E_INPUT for strips or tiles that lie outside the
 * file, overlap, or don't unpack to all of their pixels. */
int  fl_tiff_read(struct fl_tiff *, uint16_t *out, struct fl_err *err);

#endif
