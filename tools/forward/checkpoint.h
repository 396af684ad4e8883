/* What a trainer says of a checkpoint: NAME.checkpoint.json beside its weights NAME.safetensors. */
#ifndef FL_TOOLS_CHECKPOINT_H
#define FL_TOOLS_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/status.h"

struct fl_checkpoint {
    const char *file;              /* as given; borrowed */
    char    *weights;              /* of the same folder, or where "weights" says from there */
    char    *predictions;          /* on the validation tiles; NULL: not stated */
    double   loss;                 /* of the validation */
    int64_t  stage, epoch, step;   /* when it was taken; 0 where not stated */
    int64_t  fold;                 /* -1: not stated */
    bool     cycle_end;
    uint32_t at;                   /* place among those given */
};

/* Reads and checks; the weights must exist. FL_E_INPUT, FL_E_CONFIG (unknown keys, wrong types), FL_E_NUM (a loss that isn't finite), all with file and line. */
int  fl_checkpoint_read(const char *file, struct fl_checkpoint *, struct fl_err *);
void fl_checkpoint_done(struct fl_checkpoint *);

/* Orders for qsort. best: by loss, then the later one first; late: by stage, epoch, step, then by place. */
int  fl_checkpoint_best(const void *, const void *);
int  fl_checkpoint_late(const void *, const void *);

/* Of n checkpoints in order of fl_checkpoint_best, the k whose validation probabilities are least alike: smallest mean Pearson correlation of
 * all pairs, a constant vector being like every other; ties to the smaller sum of losses. pick[k], ascending. All need `predictions` over the
 * same tiles and labels: FL_E_CONFIG, FL_E_LABEL. n at most FL_CHECKPOINT_POOL. */
#define FL_CHECKPOINT_POOL 20
int  fl_checkpoint_diverse(const struct fl_checkpoint *, uint32_t n, uint32_t k, uint32_t *pick, struct fl_err *);

#endif
