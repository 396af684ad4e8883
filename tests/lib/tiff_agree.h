/* The directory that stages/lib/tiff_head reads against libtiff's. */
#ifndef FL_TESTS_TIFF_AGREE_H
#define FL_TESTS_TIFF_AGREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where fl_tiff_head takes the file: does libtiff see the same image in it, strip by strip, plain, upright and unsigned? A file that is not taken
 * agrees. *taken tells which, unless NULL. */
bool fl_tiff_agrees(const void *bytes, size_t len, uint32_t bands, bool *taken);

#endif
