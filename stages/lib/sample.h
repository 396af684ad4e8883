/* A sample submission: which ids a submission must have, in which order. */
#ifndef FL_STAGES_LIB_SAMPLE_H
#define FL_STAGES_LIB_SAMPLE_H

#include <stdint.h>

#include "proto/status.h"

enum fl_sample_state { FL_SAMPLE_MISSING = 0, FL_SAMPLE_PREDICTED, FL_SAMPLE_REJECTED };

struct fl_sample {
    uint32_t  n;
    char    (*ids)[64];
    uint64_t *pred;          /* [n] label l in bit l; of the caller */
    uint8_t  *state;         /* [n] enum fl_sample_state; of the caller */
    void     *index;
};

/* Reads a CSV whose header has image_name; the other columns don't matter. An id twice, or outside the grammar: FL_E_LABEL
 * naming file and line. Memory: some 90 bytes a row. */
int  fl_sample_read(const char *path, struct fl_sample *, struct fl_err *err);
/* Row of the id, or -1. */
int64_t fl_sample_find(const struct fl_sample *, const char *id);
void fl_sample_free(struct fl_sample *);

#endif
