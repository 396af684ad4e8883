/* Rows of 4-component JPEG samples into RGB. */
#ifndef FL_STAGES_LIB_JPEG_ROWS_H
#define FL_STAGES_LIB_JPEG_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Copies three of each four samples; returns false when a fourth one is not 255. The plain version. */
bool fl_jpeg_rgbx_plain(uint8_t *out, const uint8_t *in, size_t pixels);
/* Same, by the best version this processor has. */
bool fl_jpeg_rgbx(uint8_t *out, const uint8_t *in, size_t pixels);
/* c' = round(c*k/255) of each of three samples, k the fourth. */
void fl_jpeg_cmyk(uint8_t *out, const uint8_t *in, size_t pixels);
/* Copies bytes to out past the cache where out is on 64 bytes: pixels that are read much later, by another process. They are there for others
 * after fl_jpeg_settle, once an image. */
void fl_jpeg_far(uint8_t *out, const uint8_t *in, size_t bytes);
void fl_jpeg_settle(void);

#endif
