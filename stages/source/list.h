/* The list of a source: which tiles, by its options, in which order, with which labels. */
#ifndef FL_SOURCE_LIST_H
#define FL_SOURCE_LIST_H

#include <jansson.h>

#include "runtime/labels.h"
#include "stages/lib/inputs.h"
#include "stages/lib/order.h"

enum { SOURCE_ALL, SOURCE_TRAIN, SOURCE_VAL };        /* option split */
enum { SOURCE_KEEP, SOURCE_DROP, SOURCE_PAD };        /* option last */
enum { SOURCE_EVEN, SOURCE_BY_LABEL };                /* option balance */

struct source {
    char  **files;
    char   *csv, *folder, *ext, *labels, *rename, *folds, *fold_column;
    int64_t batch, path_max, fold, epochs;
    int     split, last, balance;
    bool    readahead, allow_empty;
    json_t *shuffle;

    struct fl_inputs in;
    struct fl_truth  truth;                           /* L = 0: no labels */
    struct fl_order  order;
    uint64_t unfolded;                                /* tiles left out because they are in no fold */
    uint64_t rounds, rows;                            /* batches of an epoch; rows of an epoch, the padded ones among them */
};

/* The tiles, in the order of RUN/inputs but for shuffling, and what an epoch of them is. */
int  source_list(struct source *, struct fl_err *);
/* Every tile must have its row. Names as in fl_truth_read. */
int  source_labels(struct source *, uint32_t L, const char *const *labels, uint64_t exclusive, uint32_t rest_off, struct fl_err *);
/* One epoch is shuffled in the list itself; of several each has its own order. */
int  source_order(struct source *, uint64_t seed, struct fl_err *);
void source_list_done(struct source *);

#endif
