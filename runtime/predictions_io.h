/* Between the files that read and write predictions: each form's reader, and what passes to and from the HDF5 process. */
#ifndef FL_RUNTIME_PREDICTIONS_IO_H
#define FL_RUNTIME_PREDICTIONS_IO_H

#include "runtime/csv.h"
#include "runtime/predictions.h"

/* Each fills n, ids, p and the file's own columns as labels; the caller proves ids and values and brings columns into order. */
int fl_pred_read_csv(struct fl_csv *, struct fl_predictions *, struct fl_err *);      /* the header is read already */
int fl_pred_read_npy(const char *name, const char *bytes, size_t len, const struct fl_pred_want *, struct fl_predictions *, struct fl_err *);
int fl_pred_read_hdf5(const char *path, const struct fl_pred_want *, struct fl_predictions *, struct fl_err *);
/* rows sorted, all proven; fd: the file to fill. */
int fl_pred_write_hdf5(const char *path, int fd, const struct fl_predictions *, struct fl_err *);

int fl_pred_label(struct fl_predictions *, const char *name, size_t len, struct fl_err *);      /* appends a label */

/* ---- the HDF5 process ----
 *
 * `flowrun-hdf5 read|write` has the file as descriptor 3 and a memfd as 4. The memfd begins with this struct; behind it lie n ids of
 * 64 bytes and n rows of L float32. read: the struct comes with `group` and goes back with the rest. */
#define FL_HDF5_MAGIC   "FLPRED1"
#define FL_HDF5_SECONDS 60u
#define FL_HDF5_BYTES   ((uint64_t)2 << 30)          /* most of a memfd */

struct fl_hdf5_wire {
    char     magic[8];
    int32_t  status;
    uint32_t L;
    uint64_t n;
    char     text[400], group[64];
    char     labels[FL_MAX_LABELS][64];
    struct fl_pred_meta meta;
};

/* Runs the process on the two descriptors. FL_E_INPUT: it crashed, or took more than `seconds`; FL_E_IO: it can't be started. */
int fl_hdf5_run(const char *mode, const char *path, int file, int memfd, unsigned seconds, struct fl_err *);

#endif
