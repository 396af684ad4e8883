/* Rows of 16-bit samples with their bands put into another order. */
#ifndef FL_STAGES_LIB_TIFF_ROWS_H
#define FL_STAGES_LIB_TIFF_ROWS_H

#include <stddef.h>
#include <stdint.h>

struct fl_bands {
    uint32_t in, out;            /* samples of a pixel in the file and in the image, at most 4 */
    uint8_t  from[4];            /* image band k is file band from[k] */
};

/* Pixels of host-order samples at any address. The plain version. */
void fl_bands_plain(const struct fl_bands *, uint16_t *out, const void *in, size_t pixels);
/* Same, by the best version this processor has. */
void fl_bands_copy(const struct fl_bands *, uint16_t *out, const void *in, size_t pixels);

#endif
