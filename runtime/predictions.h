/* Files of predictions: the one interface between models, stackers and decoders.
 *
 * Four forms, told by content and not by name: HDF5 (the project's own, what h5py users write, pandas' fixed format), CSV with
 * `image_name` and one column a label in any order, CSV `image_name,tags` (a submission), and .npy (a table with named columns,
 * or a plain array whose rows and columns the caller names). .gz of the CSV and .npy forms is unpacked. */
#ifndef FL_RUNTIME_PREDICTIONS_H
#define FL_RUNTIME_PREDICTIONS_H

#include <jansson.h>
#include <stdbool.h>

#include "runtime/labels.h"

#define FL_PRED_FORMAT        1        /* format_version of the project's HDF5 files */
#define FL_PRED_MAX_SNAPSHOTS 64

/* Where predictions come from. "" and 0: not stated. */
struct fl_pred_meta {
    int32_t  fold;                                   /* -1: not stated */
    uint32_t n_views, nsnapshots;
    uint64_t seed;
    char     model[64], member[64], split[16], tta[64], merge[32], created_by[64];
    char     snapshots[FL_PRED_MAX_SNAPSHOTS][65];   /* SHA-256 of the weights, lower-case hex */
};

struct fl_predictions {
    uint64_t n, room;                        /* rows, and for how many there is memory: 0 = for n */
    char   (*ids)[64];                       /* [n], in file order, all different */
    uint8_t *h;                              /* [n][L] of a submission, else NULL */
    float   *p;                              /* [n][L] of probabilities in [0,1], else NULL */
    uint32_t L;
    char    *labels[FL_MAX_LABELS];          /* in the order of the columns of h or p */
    struct fl_pred_meta meta;
};

/* What is wanted of a file; zeroed: what it holds. */
struct fl_pred_want {
    uint32_t L;                              /* the label set, and so the order of columns; 0: the default one, or, where most columns */
    const char *const *labels;               /* have other names, the file's own in its order */
    const char *columns;                     /* of a plain .npy: its columns, comma-separated; NULL: those of labels */
    const char *rows;                        /* of a plain .npy: a table whose image_name column names its rows, or a pattern: train_{} */
    const char *group;                       /* HDF5: the group pandas wrote; NULL: prob, or the only one */
    bool        tags;                        /* a submission will do */
};

/* FL_E_INPUT, FL_E_LABEL (columns, tags, ids), FL_E_SHAPE, FL_E_NUM (values outside [0,1]), FL_E_CONFIG (want), all naming the file
 * and, in CSV, the line. HDF5 is read in a process of its own, with limits on time and memory: a file that crashes libhdf5 is FL_E_INPUT. */
int  fl_predictions_read(const char *path, const struct fl_pred_want *, struct fl_predictions *, struct fl_err *);
/* The CSV and .npy forms from memory; `name` is what messages call it. */
int  fl_predictions_parse(const char *name, const char *bytes, size_t len, const struct fl_pred_want *, struct fl_predictions *, struct fl_err *);
void fl_predictions_free(struct fl_predictions *);

/* A label more; before any row. */
int  fl_predictions_label(struct fl_predictions *, const char *name, struct fl_err *);
/* {"model": ..., "fold": 3, ...} with any of the members of struct fl_pred_meta but seed and created_by; NULL: nothing is stated. Unknown
 * keys and values that don't fit: FL_E_CONFIG. */
int  fl_pred_meta_json(const json_t *map, struct fl_pred_meta *, struct fl_err *);
/* Their list of snapshots from an option's; NULL: none. FL_E_CONFIG. */
int  fl_pred_meta_snapshots(char *const *digests, struct fl_pred_meta *, struct fl_err *);
/* A row more at the end; L is settled, prob has L values. */
int  fl_predictions_add(struct fl_predictions *, const char *id, const float *prob, struct fl_err *);
/* Rows sorted bytewise by id. */
int  fl_predictions_sort(struct fl_predictions *, struct fl_err *);
/* Whether a path ends in .h5, .hdf5, .npy or .csv. */
bool fl_predictions_writable(const char *path);
/* Probabilities into such a file, under a temporary name until complete; their rows are sorted by id first. The same predictions make
 * the same bytes. FL_E_CONFIG: another extension; FL_E_LABEL: an id twice; FL_E_NUM; FL_E_IO. */
int  fl_predictions_write(const char *path, struct fl_predictions *, struct fl_err *);
/* The same into a file that is open already (its path must be writable) and that the caller finishes and commits. */
struct fl_pred_file;
int  fl_predictions_fill(struct fl_pred_file *, struct fl_predictions *, struct fl_err *);

/* The column of a label, or -1. */
int64_t fl_pred_column(const struct fl_predictions *, const char *label);
/* "a,b,c" into labels (each of its own memory): 1 to 64, not empty, all different; else FL_E_CONFIG or FL_E_LABEL and nothing is kept. */
int  fl_labels_split(const char *text, char *labels[FL_MAX_LABELS], uint32_t *L, struct fl_err *);

#endif
