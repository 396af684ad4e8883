/* Which mapping a piece of memory lies in. */
#ifndef FL_CUDA_MAPS_H
#define FL_CUDA_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The shared mapping of this process that holds all of [p, p + n); false when there is none. */
bool fl_cu_find_mapping(const void *p, size_t n, uintptr_t *at, size_t *bytes, bool *writable);

#endif
