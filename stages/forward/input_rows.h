/* Inner loops of the input kernel; every version gives the same bits (one multiplication and one addition, never fused). */
#ifndef FL_FORWARD_INPUT_ROWS_H
#define FL_FORWARD_INPUT_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fl_input_rows {
    const char *name;
    bool (*probe)(void);
    /* out[i] = x[i] * mul[i] + add[i] */
    void (*u8)(const uint8_t *x, const float *mul, const float *add, float *out, size_t n);
    void (*u16)(const uint16_t *x, const float *mul, const float *add, float *out, size_t n);
    /* out[i] = (a[i] + (b[i] - a[i]) * part) * mul[i] + add[i] */
    void (*blend)(const float *a, const float *b, float part, const float *mul, const float *add, float *out, size_t n);
};

extern const struct fl_input_rows fl_input_rows_plain;
extern const struct fl_input_rows *const fl_input_rows[];       /* best first; NULL after the last */

#endif
