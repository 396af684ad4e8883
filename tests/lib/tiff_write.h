/* Writes TIFFs in every layout by libtiff. */
#ifndef FL_TESTS_TIFF_WRITE_H
#define FL_TESTS_TIFF_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fl_tiff_kind {
    uint32_t width, height, bands;
    int  bits;               /* 0: 16 */
    int  format;             /* SAMPLEFORMAT_*; 0: not written */
    int  packing;            /* COMPRESSION_*; 0: none */
    int  predictor;          /* 2; 0: not written */
    int  photometric;        /* PHOTOMETRIC_*; 0: 0 is black (so that 0 is white can't be written) */
    int  orientation;        /* ORIENTATION_*; 0: not written */
    bool planar, swapped, bigtiff;
    uint32_t rows;           /* of a strip; 0: all in one */
    uint32_t tile;           /* side of a tile; 0: strips */
};

/* The file's bytes, malloc'd; aborts on failure. pixels: chunky, of 16 (or `bits`) bits. */
uint8_t *fl_tiff_write(const struct fl_tiff_kind *, const void *pixels, size_t *len);

#endif
