/* From the journal to the result files and figures: one pass, batch by batch, in the order of the source. */
#ifndef FL_STAGES_LIB_RESULTS_H
#define FL_STAGES_LIB_RESULTS_H

#include <stdint.h>

#include "proto/journal.h"
#include "proto/status.h"
#include "runtime/labels.h"
#include "runtime/pred_file.h"
#include "runtime/predictions.h"
#include "stages/lib/sample.h"
#include "stages/lib/score.h"

#define FL_RESULTS_REJECTS 2

/* A kind of tile worth a warning: how many, and the first. */
struct fl_results_note { uint64_t n; char first[FL_ID_SIZE]; };

struct fl_results {
    /* In. Files are opened by the caller and closed by it; NULL: not wanted. */
    struct fl_predictions *table;       /* gathers the probabilities of a file that isn't CSV; its labels and meta are set. NULL: CSV, row by row */
    struct fl_pred_file *submission, *probabilities, *rejects[FL_RESULTS_REJECTS];
    struct fl_sample *sample;           /* rules the submission's rows; NULL: predicted tiles in the order of the source */
    const struct fl_truth *truth;       /* NULL: the truth that came with the tiles, if any */
    uint32_t L;
    const char *const *labels;
    void   (*alive)(void *);            /* called now and then */
    void    *user;

    /* Out. */
    uint64_t predicted, rejected;
    struct fl_score score;              /* of the tiles whose truth is known */
    uint64_t expected_n;                /* tiles with an expected F2, and the sum of these */
    double   expected;
    struct fl_results_note empty;       /* predicted without any label */
    struct fl_results_note blank;       /* rejected, and for the sample's sake in the submission without labels */
    struct fl_results_note untold;      /* predicted, not in the truth table */
    struct fl_results_note disorder;    /* whose ordinal is not above the one before */
};

/* Writes all files, syncs all, then renames all. FL_E_CONFIG: a column that a file needs is not in the journal; FL_E_LABEL: ids
 * missing from, extra to or repeated against the sample; FL_E_IO naming the file. */
int  fl_results_write(struct fl_journal *, struct fl_results *, struct fl_err *err);

#endif
