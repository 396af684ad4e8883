/* Any bytes as a fitted second level: refused with a text, or a model that predicts within its own bounds. */
#include <stdlib.h>
#include <string.h>

#include "stages/level2/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_predict(const struct fl_l2_model *m)
{
    size_t P = (size_t)m->M * m->L;
    struct fl_l2_scratch *s = NULL;
    float *x = calloc(2 * P, sizeof *x), *y = calloc(2 * (size_t)m->L, sizeof *y);
    if (x == NULL || y == NULL || fl_l2_scratch_new(m, &s, NULL) != FL_OK)
        abort();
    for (size_t i = 0; i < P; i++)
        x[i] = (float)(i % 11) / 10;
    fl_l2_predict(m, UINT32_MAX, 2, x, s, y);
    for (uint32_t i = 0; i < 2 * m->L; i++)
        if (y[i] < 0 || y[i] > 1)          /* weights may be so large that no number comes out */
            abort();
    fl_l2_scratch_free(s);
    free(x);
    free(y);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fl_l2_model m;
    struct fl_err err = { 0 };
    if (fl_l2_model_parse("fuzz", data, size, &m, &err) != FL_OK) {
        if (err.code >= 0 || strncmp(err.text, "fuzz: ", 6) != 0)
            abort();
        return 0;
    }
    if (m.M == 0 || m.L == 0 || m.L > 64 || m.only >= m.M || (m.L < 64 && m.exclusive >> m.L != 0) || (m.rest_off >= m.L && m.rest_off != UINT32_MAX))
        abort();
    if (m.M <= 64)                     /* names alone can claim thousands of columns */
        fuzz_predict(&m);
    fl_l2_model_done(&m);
    return 0;
}
