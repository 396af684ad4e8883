/* Label tables: which labels there are, and the truth read from a CSV (recipe: train_v2.csv or one-hot columns). */
#ifndef FL_RUNTIME_LABELS_H
#define FL_RUNTIME_LABELS_H

#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

#define FL_MAX_LABELS 64

/* The default label set, alphabetical: 17 names; weather group and cloudy, as in struct fl_ctx. */
extern const char *const fl_default_labels[];      /* 17 names, then NULL */
#define FL_DEFAULT_NLABELS   17u
#define FL_DEFAULT_EXCLUSIVE ((UINT64_C(1) << 5) | (UINT64_C(1) << 6) | (UINT64_C(1) << 10) | (UINT64_C(1) << 11))
#define FL_DEFAULT_REST_OFF  6u

struct fl_truth {
    uint64_t n;
    char    (*ids)[64];        /* [n], in file order */
    uint8_t *y;                /* [n][L], 0 or 1 */
    uint32_t L;
    uint64_t repeated;         /* rows in which a tag is written twice */
    uint64_t odd_exclusive;    /* rows without exactly one label of the exclusive group */
    uint64_t odd_rest_off;     /* rows where the lone label has company */
    char     first_odd[160];   /* "line N: ID: what" of the first such row, or "" */
    void    *index;            /* hash of ids */
};

/* Reads `image_name,tags` or `image_name,<L columns in any order>` (plain or .gz by zlib when the name ends so). LF or CRLF.
 * Unknown tag, repeated id, id outside [A-Za-z0-9_.-]{1,63}, missing column, empty tags (unless allow_empty): FL_E_LABEL naming file and line. */
int  fl_truth_read(const char *path, uint32_t L, const char *const *labels, uint64_t exclusive, uint32_t rest_off,
                   int allow_empty, struct fl_truth *out, struct fl_err *err);
/* Same from memory: `name` is what messages call it. */
int  fl_truth_parse(const char *name, const char *text, size_t len, uint32_t L, const char *const *labels, uint64_t exclusive,
                    uint32_t rest_off, int allow_empty, struct fl_truth *out, struct fl_err *err);
/* Row of the id, or -1. */
int64_t fl_truth_find(const struct fl_truth *, const char *id);
void fl_truth_free(struct fl_truth *);

/* True when the id fits the grammar [A-Za-z0-9_.-]{1,63}. */
int  fl_id_ok(const char *id, size_t len);

#endif
