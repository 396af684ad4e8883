/* The rows a second level is fitted on, as they arrive batch by batch, in memory and on disk: a stage that dies and is started again has them. */
#ifndef FL_STACK_FIT_ROWS_H
#define FL_STACK_FIT_ROWS_H

#include "stages/level2/data.h"
#include "stages/lib/seen.h"

struct fit_rows {
    int      fd;                       /* of the records; -1 = none */
    uint32_t M, L;
    uint64_t n, room;
    char   (*ids)[64];
    uint64_t *ordinal;
    float   *x;                        /* [n][M*L] */
    uint8_t *y, *fold;                 /* [n][L], [n] */
    struct fl_seen seen;               /* batches */
};

/* Takes in what is whole of the records in path (NULL: memory alone); a torn end is cut off. FL_E_IO, FL_E_NOMEM. */
int  fit_rows_open(struct fit_rows *, const char *path, uint32_t M, uint32_t L, struct fl_err *);
int  fit_rows_has(const struct fit_rows *, uint64_t batch);
/* Room for `more` rows behind the n that are there; the caller fills them, then keeps them as this batch: on disk, too. */
int  fit_rows_room(struct fit_rows *, uint64_t more, struct fl_err *);
int  fit_rows_keep(struct fit_rows *, uint64_t batch, uint64_t more, struct fl_err *);
/* By ordinal, whatever the order they came in. FL_E_LABEL: a tile twice. */
int  fit_rows_sort(struct fit_rows *, struct fl_err *);
void fit_rows_done(struct fit_rows *);

#endif
