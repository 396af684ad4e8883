/* The versions of the loops of painting for x86. */
#ifndef FL_AUGMENT_LOOPS_X86_H
#define FL_AUGMENT_LOOPS_X86_H

#include "stages/augment/loops.h"

extern const struct fl_loops fl_loops_avx2, fl_loops_avx512;

/* What the loads by hand are for: three bands, two pixels a side and 8 bytes at least, and offsets that fit an int. */
static inline bool loops_x86_rgb(uint32_t side, uint32_t channels)
{
    return channels == 3 && side >= 2 && side <= 16384;
}

#endif
