/* How large a slab each stage needs, and how many batches fit into `memory`. */
#include <stdio.h>
#include <string.h>

#include "launch/config.h"
#include "launch/hosts.h"
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

/* Of the tensors of stage i those that `wanted` (NULL: that it makes itself) tells, and room for marks. */
static bool size_slab(const struct fl_graph *g, uint32_t i, const json_t *wanted, uint64_t *slab)
{
    const struct fl_stage_node *s = &g->stages[i];
    uint64_t sum = 0, bytes;
    for (uint32_t k = 0; k < s->ntensors; k++) {
        const struct fl_flow_tensor *t = &s->tensors[k];
        if ((wanted == NULL ? t->maker == i : fl_listed(wanted, t->name)) && (!fl_shape_bytes(size_widest(t->dtypes), t->shape, t->ndim, &bytes) || !size_add_aligned(&sum, bytes)))
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

static uint64_t size_least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* What a host of the group holds of a batch, and so how many are there at once: as many as keep its processes busy, and two on their way. */
static bool size_far(const struct fl_config *c, struct fl_graph *g, uint32_t number)
{
    struct fl_segment *s = &g->segments[number - 1];
    const struct fl_group *group = &g->hosts->groups[s->group];
    if (!size_slab(g, s->entry, s->send, &s->in_slab) || !size_slab(g, s->exit, s->give, &s->out_slab))
        return false;
    for (uint32_t h = 0; h < group->n; h++) {
        uint64_t own = 0, all = s->in_slab, processes = 0;
        for (uint32_t i = 0; i < g->nstages; i++) {
            uint32_t n = g->stages[i].segment == number ? fl_hosts_instances(g, &g->stages[i], h) : 0;
            uint64_t bytes;
            if (n > 0 && (__builtin_mul_overflow(g->stages[i].memory, n, &bytes) || !size_add(&own, bytes) || !size_add(&all, g->stages[i].slab)))
                return false;
            processes += n;
        }
        uint64_t bound = g->bounded || g->memory > UINT64_MAX - own ? g->memory : g->memory + own;
        if (bound < own || (bound - own) / all == 0) {
            fl_complain(c->complaints, c->memory_mark, "memory is too small for what host %s of %s is to do: one batch needs %llu bytes there, its stages %llu of their own",
                        group->hosts[h].name, group->name, (unsigned long long)all, (unsigned long long)own);
            return true;
        }
        s->window[h] = (uint32_t)size_least(size_least((bound - own) / all, 2 * processes + 2), FL_MAX_SLOTS);
    }
    return true;
}

/* A recorder with a ring holds as many batches, no fewer than are in flight. */
struct size_rings { uint64_t n, bytes; };        /* bytes: of one batch in all of them together */

static uint64_t size_ring(const struct fl_stage_node *s)
{
    return s->tap && strcmp(s->stage, "record") == 0 ? (uint64_t)json_integer_value(json_object_get(s->options, "ring")) : 0;
}

static bool size_ring_memory(const struct fl_graph *g, struct fl_stage_node *s, struct size_rings *r)
{
    double one = size_ring(s) > 0 ? fl_taps_bytes(g, s) : 0;
    if (one * (double)size_ring(s) > 9e18)
        return false;
    r->n = size_ring(s) > r->n ? size_ring(s) : r->n;
    r->bytes += (uint64_t)one;
    s->memory += (uint64_t)one * size_ring(s);
    return true;
}

/* Where more are in flight than the rings were to hold, each of them takes its room there as well. */
static uint64_t size_ring_window(const struct size_rings *r, uint64_t window, uint64_t left, uint64_t all)
{
    if (r->bytes == 0 || window <= r->n)
        return window;
    uint64_t fits = (left + r->n * r->bytes) / (all + r->bytes);
    return size_least(window, fits > r->n ? fits : r->n);
}

static void size_rings_done(struct fl_graph *g)
{
    for (uint32_t i = 0; i < g->nstages; i++)
        if (size_ring(&g->stages[i]) > 0 && g->window > size_ring(&g->stages[i]))
            g->stages[i].memory = (uint64_t)fl_taps_bytes(g, &g->stages[i]) * g->window;
}

void fl_size_plan(const struct fl_config *c, const uint32_t *order, struct fl_graph *g)
{
    uint64_t all = 0, own = 0, instances = 0, bytes, far = 0;
    struct size_rings rings = { 0 };
    for (uint32_t i = 0; i < g->nstages; i++) {
        struct fl_stage_node *s = &g->stages[i];
        const struct fl_entry *e = &c->entries[order[i]];
        if (!s->sink && (!size_slab(g, i, NULL, &s->slab) || (s->segment == 0 && !size_add(&all, s->slab)))) {
            fl_complain(c->complaints, e->mark, "%s: what it gives for one batch does not fit in 64 bits of bytes", e->name);
            return;
        }
        s->cost = s->slab > 0 ? s->slab : 1;
        if (s->segment > 0)
            continue;
        if (!size_ring_memory(g, s, &rings) || __builtin_mul_overflow(s->memory, s->instances, &bytes) || !size_add(&own, bytes)) {
            fl_complain(c->complaints, e->mark, "%s: what it allocates does not fit in 64 bits of bytes", e->name);
            return;
        }
        instances += size_rides_along(g, s) ? 0 : s->instances;
    }
    for (uint32_t k = 0; k < g->nsegments; k++) {
        if (!size_far(c, g, k + 1) || !size_add(&all, g->segments[k].out_slab)) {
            fl_complain(c->complaints, c->memory_mark, "what hosts are to do for one batch does not fit in 64 bits of bytes");
            return;
        }
        for (uint32_t h = 0; h < g->hosts->groups[g->segments[k].group].n; h++)
            far += g->segments[k].window[h];
    }
    if (c->complaints->n > 0)
        return;
    if (!g->bounded && !size_add(&g->memory, own))
        g->memory = UINT64_MAX;
    uint64_t left = g->memory > own ? g->memory - own : 0, window = all > 0 ? left / all : 1, most = 2 * instances + 2 + far;
    if (window == 0 || g->memory < own) {
        size_too_small(c, g, all, own);
        return;
    }
    window = size_least(size_least(window, most), FL_MAX_SLOTS);
    if (g->batches > 0 && g->batches < window)
        window = g->batches;
    g->window = (uint32_t)size_ring_window(&rings, window, left, all);
    size_rings_done(g);
}
