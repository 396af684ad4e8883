/* Element types, and arithmetic on shapes that can't overflow. */
#ifndef FL_PROTO_DTYPE_H
#define FL_PROTO_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FL_MAX_DIMS 6

/*      symbol   name   bytes */
#define FL_DTYPES(X)     \
    X(FL_U8,  "u8",  1)  \
    X(FL_U16, "u16", 2)  \
    X(FL_I32, "i32", 4)  \
    X(FL_U32, "u32", 4)  \
    X(FL_I64, "i64", 8)  \
    X(FL_U64, "u64", 8)  \
    X(FL_F16, "f16", 2)  \
    X(FL_BF16,"bf16",2)  \
    X(FL_F32, "f32", 4)  \
    X(FL_F64, "f64", 8)

enum fl_dtype {
    FL_DTYPE_NONE = 0,
#define X(sym, name, size) sym,
    FL_DTYPES(X)
#undef X
    FL_DTYPE_COUNT
};

/* 0 for an unknown type. */
size_t fl_dtype_size(int dtype);
/* "?" for an unknown type. */
const char *fl_dtype_name(int dtype);
/* FL_DTYPE_NONE for an unknown name; len bytes of name are read. */
int fl_dtype_parse(const char *name, size_t len);

/* *bytes = product(shape) * size of dtype. False (and *bytes untouched) for an unknown type, more than
 * FL_MAX_DIMS dimensions, or when the product does not fit in 64 bits. No dimensions = one element. */
bool fl_shape_bytes(int dtype, const uint32_t *shape, uint32_t ndim, uint64_t *bytes);

#endif
