/* JPEG tiles to RGB: libjpeg over memory, one decompressor for the life of the process. */
#ifndef FL_STAGES_LIB_JPEG_H
#define FL_STAGES_LIB_JPEG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

struct fl_jpeg;

/* cmyk: 4 components that are not plain R,G,B,255 are converted (c' = round(c*k/255)) instead of refused. NULL: out of memory. */
struct fl_jpeg *fl_jpeg_new(bool cmyk);
void fl_jpeg_free(struct fl_jpeg *);

/* Reads the header of an image in memory, which must stay until fl_jpeg_read or the next call. Nothing that depends on the
 * image's size is allocated. FL_E_INPUT, FL_E_SHAPE (not 3 or 4 components). */
int  fl_jpeg_header(struct fl_jpeg *, const void *bytes, size_t len, uint32_t *width, uint32_t *height, struct fl_err *err);
/* Decodes it into out: height rows of width RGB triples. Anything libjpeg warns of is FL_E_INPUT: no partly grey image passes. */
int  fl_jpeg_read(struct fl_jpeg *, uint8_t *out, struct fl_err *err);

#endif
