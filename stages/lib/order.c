/* The order of an epoch: sorted by key, kept for two epochs, since batches near a boundary are issued from both; or drawn by label. */
#include "stages/lib/order.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/rng.h"

int fl_order_balance(struct fl_order *o, const uint8_t *y, uint32_t L, struct fl_err *err)
{
    uint64_t n = o->in->n, at = 0, all = 0;
    for (uint64_t i = 0; i < n * L; i++)
        all += y[i];
    o->by_label = malloc((all + 1) * sizeof *o->by_label);
    o->first = calloc(L + 1, sizeof *o->first);
    o->used = calloc(L + 1, sizeof *o->used);
    if (o->by_label == NULL || o->first == NULL || o->used == NULL || all >= UINT32_MAX)
        return fl_err_set(err, FL_E_NOMEM, "no memory to balance %llu tiles", (unsigned long long)n);
    for (uint32_t l = 0; l < L; l++) {
        o->first[l] = (uint32_t)at;
        for (uint64_t i = 0; i < n; i++)
            if (y[i * L + l])
                o->by_label[at++] = (uint32_t)i;
        if (at > o->first[l])
            o->used[o->nlabels++] = l;
    }
    o->first[L] = (uint32_t)at;
    return o->nlabels > 0 ? FL_OK : fl_err_set(err, FL_E_INPUT, "balance: no tile has a label");
}

static uint64_t order_drawn(const struct fl_order *o, uint32_t epoch, uint64_t position)
{
    char name[40];
    uint32_t r[4] = { 0 };
    int len = snprintf(name, sizeof name, "balance/%llu", (unsigned long long)position);
    fl_rng_block(o->seed, fl_rng_tile(name, (size_t)len), epoch, 0, FL_OP_SHUFFLE, 0, r);
    uint32_t l = o->used[fl_rng_integer(r[0], o->nlabels)];
    return o->by_label[o->first[l] + fl_rng_integer(r[1], o->first[l + 1] - o->first[l])];
}

int fl_order_tile(struct fl_order *o, uint32_t epoch, uint64_t position, uint64_t *tile, struct fl_err *err)
{
    if (o->nlabels > 0 || !o->shuffled) {
        *tile = o->nlabels > 0 ? order_drawn(o, epoch, position) : position;
        return FL_OK;
    }
    for (int k = 0; k < 2; k++)
        if (o->kept[k].tile != NULL && o->kept[k].epoch == epoch) {
            *tile = o->kept[k].tile[position];
            return FL_OK;
        }
    uint32_t k = o->turn++ % 2;
    if (o->kept[k].tile == NULL && (o->kept[k].tile = malloc((o->in->n + 1) * sizeof *o->kept[k].tile)) == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for the order of %llu tiles", (unsigned long long)o->in->n);
    int rc = fl_inputs_order(o->in, o->seed, epoch, o->kept[k].tile, err);
    if (rc != FL_OK) {
        free(o->kept[k].tile);
        o->kept[k].tile = NULL;
        return rc;
    }
    o->kept[k].epoch = epoch;
    *tile = o->kept[k].tile[position];
    return FL_OK;
}

void fl_order_done(struct fl_order *o)
{
    free(o->kept[0].tile);
    free(o->kept[1].tile);
    free(o->by_label);
    free(o->first);
    free(o->used);
    memset(o, 0, sizeof *o);
}
