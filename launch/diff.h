/* Compares batches tensor by tensor and says where they differ. */
#ifndef FL_LAUNCH_DIFF_H
#define FL_LAUNCH_DIFF_H

#include <stdbool.h>
#include <stdio.h>

#include "proto/batch.h"

/* The element at p, of any type, as a number. */
double fl_diff_value(int dtype, const unsigned char *p);

/* Prints a table row on `out` for each tensor of one name that is not the same in both: first differing element, how many, greatest
 * absolute and relative difference, ulp, and a histogram of the differences in ulp. Rows that both call rejected are left out, since
 * their values mean nothing. loose: floats may differ by 1e-3 of their size, or 1e-4 (another instruction set). Number of rows printed. */
uint32_t fl_diff_batch(FILE *out, const char *edge, const struct fl_batch *want, const struct fl_batch *got, bool loose);

#endif
