/* Fits many configurations on the same rows, several at a time, and writes what comes out: files of each, a table of all. */
#ifndef FL_STACK_FIT_JOBS_H
#define FL_STACK_FIT_JOBS_H

#include "stages/stack_fit/grid.h"

enum fit_order { FIT_LOG_LOSS, FIT_F2, FIT_F2_EXACT };
#define FIT_ORDERS "log_loss|f2|f2_exact"
enum fit_oof { FIT_OOF_H5, FIT_OOF_NPY, FIT_OOF_CSV, FIT_OOF_NONE };
#define FIT_OOFS "h5|npy|csv|none"

struct fit_jobs {
    const struct fl_l2_data *d;
    struct fl_l2_names names;
    char (*ids)[64];                   /* [n] */
    const struct fit_grid *grid;
    uint32_t threads;
    int      order, oof;
    const char *out;                   /* DIR/TABLE.json; the files of configuration NAME are DIR/NAME.safetensors, .json and .h5 (.npy, .csv) */
    void   (*alive)(void *user);       /* on the caller's thread, as work goes on */
    void   (*told)(void *user, const char *line);       /* likewise, whenever a configuration is done */
    void    *user;
};

/* What became of a configuration. */
struct fit_result {
    int  state;                        /* 0 not yet, 1 fitted, 2 was there already, 3 failed */
    char why[400];
    struct fl_l2_score in_sample, cross_fitted, nested;
    bool has_nested;
    uint32_t dropped;
    char unsettled[FL_L2_UNSETTLED];
};

/* A configuration whose files are there, from the same rows and options, is not fitted again. result [grid->n]; best: index, or grid->n when all failed.
 * One that fails leaves the others alone: what is returned tells of the files that all have in common (FL_E_IO, FL_E_NOMEM). */
int fit_jobs_run(const struct fit_jobs *, struct fit_result *result, uint32_t *best, struct fl_err *);

#endif
