/* NumPy .npy files in memory: a plain array of numbers, or a table whose columns have names (a structured type). */
#ifndef FL_RUNTIME_NPY_H
#define FL_RUNTIME_NPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

#define FL_NPY_MAX_FIELDS 80u
#define FL_NPY_MAX_DIMS   4u
#define FL_NPY_NAME       64u

struct fl_npy_field {
    char     name[FL_NPY_NAME];      /* "" in a plain array */
    char     kind;                   /* f u i b: numbers; S, U: text */
    bool     big;                    /* the high byte first */
    uint32_t size;                   /* bytes of one value */
    uint32_t off;                    /* from the start of an item */
};

struct fl_npy {
    bool     plain, fortran;         /* plain: one field without a name. fortran: the first index runs fastest */
    uint32_t nfields, item;          /* bytes of an item */
    struct fl_npy_field field[FL_NPY_MAX_FIELDS];
    uint32_t ndim;
    uint64_t shape[FL_NPY_MAX_DIMS], count;      /* count: product of shape */
    const uint8_t *data;             /* count * item bytes, unaligned; borrowed */
};

/* Format versions 1 to 3. The data must end where the shape says. Objects, complex numbers, times, nested types and shapes of more
 * than four dimensions are FL_E_INPUT, naming the file. */
int    fl_npy_parse(const char *name, const void *bytes, size_t len, struct fl_npy *, struct fl_err *);
/* The number at `at` (an item's start plus nothing: the field's offset is added). */
double fl_npy_number(const struct fl_npy_field *, const uint8_t *item);
/* The text, NUL-terminated, without the padding; false where it is no ASCII or does not fit. */
bool   fl_npy_text(const struct fl_npy_field *, const uint8_t *item, char *out, size_t size);

/* The magic, version 1.0 (3.0 where the dictionary is not ASCII) and a header that ends on a multiple of 64, into malloc'd memory. dict: the Python dictionary. */
int    fl_npy_head(const char *dict, char **head, size_t *len, struct fl_err *);

#endif
