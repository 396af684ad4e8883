/* A table of folds: which part of a cross-validation each tile belongs to. */
#ifndef FL_RUNTIME_FOLDS_H
#define FL_RUNTIME_FOLDS_H

#include <stdint.h>

#include "proto/status.h"
#include "runtime/index.h"

#define FL_NO_FOLD UINT32_MAX      /* an empty field: in the table, but in no fold */

struct fl_folds {
    uint32_t  n;
    char    (*ids)[64];
    uint32_t *fold;                /* [n] 0 .. k-1, or FL_NO_FOLD */
    uint32_t  k;                   /* the largest fold + 1 */
    struct fl_index index;
};

/* Reads a CSV (.gz too) with columns image_name and `column`. FL_E_LABEL naming file and line for an id twice or outside the grammar, a fold that is no
 * whole number below 65536, a missing column. */
int  fl_folds_read(const char *path, const char *column, struct fl_folds *, struct fl_err *);
/* Row of the id, or -1. */
int64_t fl_folds_find(const struct fl_folds *, const char *id, size_t len);
/* K of the last part of a path that reads fold_K, or -1. */
int32_t fl_fold_of_path(const char *path);
void fl_folds_free(struct fl_folds *);

#endif
