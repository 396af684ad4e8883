/* Writes numbers for tables. */
#ifndef FL_STAGES_LIB_NUMBER_H
#define FL_STAGES_LIB_NUMBER_H

#include <stddef.h>

/* The text that printf("%.9g") makes in the C locale, NUL-terminated; its length is returned. */
size_t fl_f32_text(float v, char out[32]);

#endif
