/* One model's predictions out of the files of its folds: out of fold (val), or averaged (test). */
#ifndef FL_RUNTIME_ASSEMBLE_H
#define FL_RUNTIME_ASSEMBLE_H

#include "runtime/folds.h"
#include "runtime/predictions.h"

enum fl_split { FL_SPLIT_VAL, FL_SPLIT_TEST };
#define FL_SPLITS "val|test"
extern const char *const fl_split_names[];      /* by enum fl_split */

#define FL_MAX_FOLDS 255u

struct fl_assemble {
    int         split;               /* enum fl_split */
    int         merge;               /* enum fl_merge, of test */
    const char *tta;                 /* which of a folder's files; NULL: the only one */
    const struct fl_folds *folds;    /* val: needed. test: NULL, or its tiles may not be among the test tiles */
    struct fl_pred_want want;
};

/* path: a folder MODEL that holds fold_K/SPLIT_TTA.{h5,hdf5,npy,csv,csv.gz} for K = 0, 1, ...; or one file of predictions, which is
 * taken as it is (val: its ids must be those of the folds).
 *
 * Leaks are refused, FL_E_LABEL: val: the tiles of the K files are not exactly those of the fold table, a tile stands in the file of
 * another fold than its own, a file states another fold than that of its folder, one and the same snapshot stands behind two folds
 * (one of them was trained on the other's tiles). test: a file lacks a tile that another has, or a tile is in the fold table.
 * A file that states another split or model than its place: FL_E_LABEL. Rows come out sorted by id. */
int fl_assemble(const char *path, const struct fl_assemble *, struct fl_predictions *, struct fl_err *);

/* The part of it that takes a folder. */
int fl_assemble_folder(const char *dir, const struct fl_assemble *, struct fl_predictions *, struct fl_err *);

/* The same for K files whose folds they state themselves, or their paths do (.../fold_K/...). */
int fl_assemble_files(const char *const *paths, uint32_t n, const struct fl_assemble *, struct fl_predictions *, struct fl_err *);

#endif
