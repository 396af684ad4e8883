/* Brings 16-bit bands to the range of an 8-bit picture of the same ground by matching percentiles. */
#ifndef FL_STAGES_LIB_MATCH_H
#define FL_STAGES_LIB_MATCH_H

#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

#define FL_MATCH_POINTS 32               /* percentiles 0.5 .. 99.5, evenly spaced */

struct fl_match;

struct fl_match *fl_match_new(void);     /* NULL: out of memory */
void fl_match_free(struct fl_match *);

/* bands u16 [pixels][3], like u8 [pixels][3], out u8 [pixels][3]: each band through the piecewise linear map that takes its own percentiles to
 * those of the same band of `like` (as numpy.percentile and numpy.interp have them: linear between order statistics, constant beyond the
 * ends), rounded half to even. pixels >= 1. */
void fl_match_bands(struct fl_match *, const uint16_t *bands, const uint8_t *like, size_t pixels, uint8_t *out);

#endif
