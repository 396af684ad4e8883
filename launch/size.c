/* How large a slab each stage needs, and how many batches fit into `memory`. */
#include <stdio.h>

#include "launch/config.h"
#include "runtime/page.h"

#define SIZE_PAGE 4096u

static bool size_add(uint64_t *sum, uint64_t n)
{
    return !__builtin_add_overflow(*sum, n, sum);
}

/* Adds n rounded up to FL_ALIGN: every tensor starts on such a line. */
static bool size_add_aligned(uint64_t *sum, uint64_t n)
{
    return n <= UINT64_MAX - FL_ALIGN && size_add(sum, (n + FL_ALIGN - 1) / FL_ALIGN * FL_ALIGN);
}

/* The largest of the types a tensor may have; FL_DTYPE_NONE for none. */
static int size_widest(uint32_t bits)
{
    int widest = FL_DTYPE_NONE;
    for (int t = 1; t < FL_DTYPE_COUNT; t++)
        if ((bits & 1u << t) && fl_dtype_size(t) > fl_dtype_size(widest))
            widest = t;
    return widest;
}

static bool size_slab(const struct fl_graph *g, uint32_t i, uint64_t *slab)
{
    const struct fl_stage_node *s = &g->stages[i];
    uint64_t sum = 0, bytes;
    for (uint32_t k = 0; k < s->ntensors; k++) {
        const struct fl_flow_tensor *t = &s->tensors[k];
        if (t->maker == i && (!fl_shape_bytes(size_widest(t->dtypes), t->shape, t->ndim, &bytes) || !size_add_aligned(&sum, bytes)))
            return false;
    }
    /* Any stage may reject a tile: it then writes the marks anew, into its own slab. */
    if (!size_add_aligned(&sum, 4 * (uint64_t)g->B) || !size_add_aligned(&sum, (uint64_t)FL_REASON_SIZE * g->B) || sum > UINT64_MAX / 2)
        return false;
    *slab = (sum + SIZE_PAGE - 1) / SIZE_PAGE * SIZE_PAGE;
    return true;
}

static const char *size_text(uint64_t bytes, char text[32])
{
    if (bytes >= 1000000000)
        snprintf(text, 32, "%.2fGB", (double)bytes / 1e9);
    else if (bytes < 1000)
        snprintf(text, 32, "%u bytes", (unsigned)bytes);
    else if (bytes < 1000000)
        snprintf(text, 32, "%.1fkB", (double)bytes / 1e3);
    else
        snprintf(text, 32, "%.1fMB", (double)bytes / 1e6);
    return text;
}

static void size_too_small(const struct fl_config *c, const struct fl_graph *g, uint64_t all, uint64_t own)
{
    char need[32], have[32], self[32];
    size_text(g->memory, have);
    size_text(all, need);
    if (own == 0)
        fl_complain(c->complaints, c->memory_mark, "memory is %s, but one batch of %u tiles needs %s in all stages together (%llu bytes)",
                    have, g->B, need, (unsigned long long)all);
    else
        fl_complain(c->complaints, c->memory_mark,
                    "memory is %s, but stages allocate %s of their own, and one batch of %u tiles needs %s in all stages together (%llu bytes in total)",
                    have, size_text(own, self), g->B, need, (unsigned long long)(all + own));
}

/* A tap beside other readers of its edge works on batches that are in flight anyway. */
static bool size_rides_along(const struct fl_graph *g, const struct fl_stage_node *tap)
{
    for (uint32_t i = 0; tap->tap && tap->nfrom == 1 && i < g->nstages; i++)
        for (uint32_t k = 0; &g->stages[i] != tap && k < g->stages[i].nfrom; k++)
            if (g->stages[i].from[k] == tap->from[0])
                return true;
    return false;
}

void fl_size_plan(const struct fl_config *c, const uint32_t *order, struct fl_graph *g)
{
    uint64_t all = 0, own = 0, instances = 0, bytes;
    for (uint32_t i = 0; i < g->nstages; i++) {
        struct fl_stage_node *s = &g->stages[i];
        const struct fl_entry *e = &c->entries[order[i]];
        if (!s->sink && (!size_slab(g, i, &s->slab) || !size_add(&all, s->slab))) {
            fl_complain(c->complaints, e->mark, "%s: what it gives for one batch does not fit in 64 bits of bytes", e->name);
            return;
        }
        if (__builtin_mul_overflow(s->memory, s->instances, &bytes) || !size_add(&own, bytes)) {
            fl_complain(c->complaints, e->mark, "%s: what it allocates does not fit in 64 bits of bytes", e->name);
            return;
        }
        s->cost = s->slab > 0 ? s->slab : 1;
        instances += size_rides_along(g, s) ? 0 : s->instances;
    }
    if (!g->bounded && !size_add(&g->memory, own))
        g->memory = UINT64_MAX;
    uint64_t left = g->memory > own ? g->memory - own : 0, window = all > 0 ? left / all : 1, most = 2 * instances + 2;
    if (window == 0 || g->memory < own) {
        size_too_small(c, g, all, own);
        return;
    }
    window = window < most ? window : most;
    window = window < FL_MAX_SLOTS ? window : FL_MAX_SLOTS;
    if (g->batches > 0 && g->batches < window)
        window = g->batches;
    g->window = (uint32_t)window;
}
