/* The batch descriptor. */
#include "proto/batch.h"

#include <string.h>

struct fl_tensor *fl_batch_find(const struct fl_batch *b, const char *name)
{
    for (uint32_t i = 0; i < b->ntensors; i++)
        if (strcmp(b->t[i].name, name) == 0)
            return (struct fl_tensor *)&b->t[i];
    return NULL;
}

struct fl_tensor *fl_batch_find_edge(const struct fl_batch *b, uint32_t edge, const char *name)
{
    for (uint32_t i = 0; i < b->ntensors; i++)
        if (b->t[i].edge == edge && strcmp(b->t[i].name, name) == 0)
            return (struct fl_tensor *)&b->t[i];
    return NULL;
}

void fl_batch_drop(struct fl_batch *b, const char *name)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < b->ntensors; i++)
        if (strcmp(b->t[i].name, name) != 0) {
            if (kept != i)
                b->t[kept] = b->t[i];
            kept++;
        }
    b->ntensors = kept;
}

struct fl_tensor *fl_batch_add(struct fl_batch *b, const char *name)
{
    size_t len = strlen(name);
    if (b->ntensors == FL_MAX_TENSORS || len == 0 || len >= FL_NAME_MAX)
        return NULL;
    struct fl_tensor *t = &b->t[b->ntensors++];
    memset(t, 0, sizeof *t);
    memcpy(t->name, name, len + 1);
    return t;
}
