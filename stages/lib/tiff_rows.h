/* Rows of 16-bit samples with their bands put into another order. */
#ifndef FL_STAGES_LIB_TIFF_ROWS_H
#define FL_STAGES_LIB_TIFF_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fl_bands {
    uint32_t in, out;            /* samples of a pixel in the file and in the image, at most 4 */
    uint8_t  from[4];            /* image band k is file band from[k] */
    bool     swap;               /* the file's samples are of the other byte order */
};

/* Pixels at any address, a pixel's samples side by side. The plain version. */
void fl_bands_plain(const struct fl_bands *, uint16_t *out, const void *in, size_t pixels);
/* Same, by the best version this processor has. */
void fl_bands_copy(const struct fl_bands *, uint16_t *out, const void *in, size_t pixels);
/* The same where each file band lies by itself, band k at in[k]. */
void fl_planes_plain(const struct fl_bands *, uint16_t *out, const void *const *in, size_t pixels);
void fl_planes_copy(const struct fl_bands *, uint16_t *out, const void *const *in, size_t pixels);

#endif
