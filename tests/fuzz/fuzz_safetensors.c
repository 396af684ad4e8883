/* Any bytes as a safetensors file: refused with a text, or every tensor readable to its last byte. */
#include <stdlib.h>
#include <string.h>

#include "proto/dtype.h"
#include "runtime/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_read(const struct fl_st_tensor *t)
{
    volatile unsigned char sum = 0;
    const unsigned char *p = t->data;
    uint64_t want;
    if (!fl_shape_bytes(t->dtype, t->shape, t->ndim, &want) || want != t->bytes)
        abort();
    for (uint64_t i = 0; i < t->bytes; i++)
        sum = (unsigned char)(sum + p[i]);
    float *out = malloc(t->bytes * 2 + 1);     /* f32 from the narrowest, two bytes */
    if (out != NULL)
        fl_st_to_f32(t, out, NULL);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fl_safetensors st;
    struct fl_err err = { 0 };
    if (fl_safetensors_parse("fuzz", data, size, &st, &err) != FL_OK) {
        if (err.code >= 0 || strncmp(err.text, "fuzz: ", 6) != 0)
            abort();
        return 0;
    }
    for (uint32_t i = 0; i < st.n; i++) {
        fuzz_read(&st.t[i]);
        if (fl_safetensors_find(&st, st.t[i].name) != &st.t[i])
            abort();
    }
    fl_safetensors_close(&st);
    return 0;
}
