/* Writes JPEGs of every kind the decoder must know, and pictures to put in them. */
#ifndef FL_TESTS_JPEG_WRITE_H
#define FL_TESTS_JPEG_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FL_SPACE_YCC = 1, FL_SPACE_RGB, FL_SPACE_GREY, FL_SPACE_CMYK, FL_SPACE_YCCK, FL_SPACE_TWO };

struct fl_jpeg_kind {
    uint32_t width, height;
    int  space;             /* of the file; samples come as RGB, grey, 4 or 2 components as they are */
    int  quality;           /* 0: 90 */
    bool progressive, marker, halved;       /* marker: JFIF or Adobe as the space has it; halved: 2x2 subsampling of components 1, 2 */
    bool one_by_one;        /* a scan for each component */
    bool arithmetic;
    int  restart;           /* MCUs between restart markers; 0: none */
};

/* malloc'd; aborts on failure. pixels: width*height samples triples/quadruples/... */
uint8_t *fl_jpeg_write(const struct fl_jpeg_kind *, const uint8_t *pixels, size_t *len);
/* A picture: waves and noise, never flat. malloc'd. alpha >= 0: every 4th component is this. */
uint8_t *fl_picture(uint32_t width, uint32_t height, uint32_t components, int alpha, uint32_t seed);

#endif
