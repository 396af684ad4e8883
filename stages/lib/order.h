/* Which tile stands where in an epoch: a pure function of seed, epoch and position. */
#ifndef FL_STAGES_LIB_ORDER_H
#define FL_STAGES_LIB_ORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "stages/lib/inputs.h"

struct fl_order {
    struct fl_inputs *in;
    uint64_t  seed;
    bool      shuffled;                      /* by fl_inputs_order, else as listed */
    struct { uint32_t epoch; uint32_t *tile; } kept[2];      /* the last two epochs asked for; tile NULL = none */
    uint32_t  turn;

    /* balanced: tiles by label, those of label l at first[l] .. first[l+1] */
    uint32_t *by_label, *first;
    uint32_t  nlabels, *used;                /* labels that some tile has */
};

/* balance: position p of an epoch takes a label that some tile has, each as often as any other, then one of the label's tiles, with replacement; the
 * draws are those of "balance/p" (op FL_OP_SHUFFLE). y: [n][L] in the order of the list. FL_E_INPUT when no tile has a label. */
int  fl_order_balance(struct fl_order *, const uint8_t *y, uint32_t L, struct fl_err *);
/* Number in the list of the tile at `position` (below in->n) of the epoch. An epoch that isn't kept is sorted first. */
int  fl_order_tile(struct fl_order *, uint32_t epoch, uint64_t position, uint64_t *tile, struct fl_err *);
void fl_order_done(struct fl_order *);

#endif
