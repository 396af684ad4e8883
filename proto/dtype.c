/* Element types and shape arithmetic. */
#include "proto/dtype.h"

#include <string.h>

static const struct { const char *name; size_t size; } dtypes[FL_DTYPE_COUNT] = {
#define X(sym, name, size) [sym] = { name, size },
    FL_DTYPES(X)
#undef X
};

size_t fl_dtype_size(int dtype)
{
    return dtype > 0 && dtype < FL_DTYPE_COUNT ? dtypes[dtype].size : 0;
}

const char *fl_dtype_name(int dtype)
{
    return dtype > 0 && dtype < FL_DTYPE_COUNT ? dtypes[dtype].name : "?";
}

int fl_dtype_parse(const char *name, size_t len)
{
    for (int i = 1; i < FL_DTYPE_COUNT; i++)
        if (strlen(dtypes[i].name) == len && memcmp(dtypes[i].name, name, len) == 0)
            return i;
    return FL_DTYPE_NONE;
}

bool fl_shape_bytes(int dtype, const uint32_t *shape, uint32_t ndim, uint64_t *bytes)
{
    uint64_t n = fl_dtype_size(dtype);
    if (n == 0 || ndim > FL_MAX_DIMS)
        return false;
    for (uint32_t i = 0; i < ndim; i++)
        if (__builtin_mul_overflow(n, (uint64_t)shape[i], &n))
            return false;
    *bytes = n;
    return true;
}
