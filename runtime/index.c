/* Hash index over texts kept elsewhere: open addressing, at most two thirds full. */
#include "runtime/index.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/text.h"

int fl_index_init(struct fl_index *x, uint64_t most, fl_index_key *key, const void *items, struct fl_err *err)
{
    memset(x, 0, sizeof *x);
    uint64_t cap = 16;
    while (cap < most + most / 2 + 1)
        cap *= 2;
    x->slots = most < UINT32_MAX ? calloc(cap, sizeof *x->slots) : NULL;
    if (x->slots == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for an index of %llu ids", (unsigned long long)most);
    x->mask = cap - 1;
    x->key = key;
    x->items = items;
    return FL_OK;
}

/* The slot that holds the key, or the free one where it belongs. */
static uint64_t index_slot(const struct fl_index *x, const char *key, size_t len)
{
    uint64_t h = fl_fnv1a(key, len);
    for (uint64_t s = (h ^ h >> 32) & x->mask;; s = (s + 1) & x->mask) {
        if (x->slots[s] == 0)
            return s;
        size_t have;
        const char *k = x->key(x->items, x->slots[s] - 1, &have);
        if (have == len && memcmp(k, key, len) == 0)
            return s;
    }
}

int64_t fl_index_find(const struct fl_index *x, const char *key, size_t len)
{
    if (x->slots == NULL)
        return -1;
    return (int64_t)x->slots[index_slot(x, key, len)] - 1;
}

int64_t fl_index_add(struct fl_index *x, uint32_t i)
{
    size_t len;
    const char *key = x->key(x->items, i, &len);
    uint32_t *slot = &x->slots[index_slot(x, key, len)];
    if (*slot != 0)
        return (int64_t)*slot - 1;
    *slot = i + 1;
    return -1;
}

void fl_index_done(struct fl_index *x)
{
    if (x == NULL)
        return;
    free(x->slots);
    memset(x, 0, sizeof *x);
}
