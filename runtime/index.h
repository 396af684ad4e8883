/* Hash index over texts kept elsewhere: finds the number of an item by its key. */
#ifndef FL_RUNTIME_INDEX_H
#define FL_RUNTIME_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

/* The key of item i; *len receives its length. */
typedef const char *fl_index_key(const void *items, uint32_t i, size_t *len);

struct fl_index {
    fl_index_key *key;
    const void   *items;       /* borrowed */
    uint32_t     *slots;       /* item + 1; 0 = free */
    uint64_t      mask;
};

/* Room for `most` items. FL_E_NOMEM. */
int  fl_index_init(struct fl_index *, uint64_t most, fl_index_key *key, const void *items, struct fl_err *err);
/* The item with this key, or -1. */
int64_t fl_index_find(const struct fl_index *, const char *key, size_t len);
/* Enters item i by its key. Returns -1, or the item that has this key already (nothing is entered then). */
int64_t fl_index_add(struct fl_index *, uint32_t i);
void fl_index_done(struct fl_index *);

#endif
