/* Batches out of a recording, as an output of a stage: what `recording` (a source) and `recall` (in the middle) share. */
#ifndef FL_STAGES_LIB_RECALL_H
#define FL_STAGES_LIB_RECALL_H

#include "proto/recording.h"
#include "runtime/stage.h"

struct fl_recall {
    struct fl_rec *rec;
    uint64_t *records, n;            /* the last attempt of each batch, ascending by batch */
    uint64_t tiles, last;            /* of them all; greatest batch number */
    struct fl_rec_batch read;
};

/* Opens the recording (one segment, or DIR/EDGE) and finds its batches. fl_fail's code; done may follow. */
int  fl_recall_open(struct fl_ctx *, struct fl_recall *, const char *path);
void fl_recall_done(struct fl_recall *);
/* Leaves out the batches whose heads are damaged. Reads every head. */
int  fl_recall_whole(struct fl_ctx *, struct fl_recall *);
/* In describe: gives the tensors that the batches hold. A first dimension that is the number of tiles in all of them is B. Leaves out as fl_recall_whole does. */
int  fl_recall_give(struct fl_ctx *, struct fl_recall *);
/* Index in records of this batch, or FL_REC_NONE. */
uint64_t fl_recall_find(const struct fl_recall *, uint64_t batch);
/* Reads record records[i] into `read` and copies it into b: number of tiles and tensors. */
int  fl_recall_fill(struct fl_ctx *, struct fl_recall *, uint64_t i, struct fl_batch *b);

#endif
