/* Numbers in tables: written exactly, read strictly. */
#ifndef FL_RUNTIME_NUMBER_H
#define FL_RUNTIME_NUMBER_H

#include <stdbool.h>
#include <stddef.h>

/* The text that printf("%.9g") makes in the C locale, NUL-terminated; its length is returned. */
size_t fl_f32_text(float v, char out[32]);

/* A decimal number and nothing else: [+-] digits [. digits] [e [+-] digits], with a digit before the exponent. False for what strtod
 * takes besides (blanks, hexadecimal, inf, nan) and for what overflows. */
bool fl_number_parse(const char *text, double *v);

#endif
