/* The element types of safetensors by name; for the reader and the writer alone. */
#ifndef FL_RUNTIME_SAFETENSORS_NAMES_H
#define FL_RUNTIME_SAFETENSORS_NAMES_H

#include <stdint.h>

/* enum fl_dtype for "F32", ...; FL_DTYPE_NONE for a type that is not read here. */
uint8_t fl_safetensors_dtype(const char *name);
/* "F32" for FL_F32, ...; NULL for a type that is not written here. */
const char *fl_safetensors_dtype_name(int dtype);

#endif
