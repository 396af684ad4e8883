/* The directory of a plain 16-bit TIFF, read without libtiff. */
#ifndef FL_STAGES_LIB_TIFF_HEAD_H
#define FL_STAGES_LIB_TIFF_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A table of the file: n unsigned numbers of `size` bytes each, proven to lie in it. */
struct fl_tiff_table { const unsigned char *at; uint32_t size, n; };

struct fl_tiff_head {
    uint32_t width, height, rows;      /* pixels; rows of a strip, at most height */
    bool     planar;                   /* each band in strips of its own, those of the first band first */
    bool     big_endian;
    uint64_t at;                       /* where the directory begins */
    struct fl_tiff_table off, bytes;   /* of the strips, as many as such an image has; where they lie is not proven */
};

/* True for what most tiles are: a classic TIFF of `bands` unsigned 16-bit bands, uncompressed, in strips, the first row at the top, 0 black
 * or RGB, all tags that matter present and within the file. Everything else is false and says nothing: it may be in order, and is libtiff's. */
bool fl_tiff_head(struct fl_tiff_head *, const void *bytes, size_t len, uint32_t bands);
uint32_t fl_tiff_entry(const struct fl_tiff_head *, const struct fl_tiff_table *, uint32_t i);

#endif
