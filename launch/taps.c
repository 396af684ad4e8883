/* The key `record`: puts a tap behind every edge it names, once a matrix is expanded. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/config.h"
#include "launch/mem.h"
#include "proto/frame.h"
#include "runtime/opt.h"
#include "runtime/text.h"

#define TAPS_KEEP "10GB"

static const char *const taps_keys[] = { "edges", "keep", "every", "ring", "zstd", NULL };

/* NAME, [NAME, ...] or a map with the edges in it. */
static const struct fl_node *taps_edges(const struct fl_config *c)
{
    const struct fl_node *n = c->record;
    return n->kind == FL_NODE_MAP ? fl_node_get(n, "edges", NULL) : n;
}

static bool taps_proper(const struct fl_config *c)
{
    const struct fl_node *n = c->record, *edges = taps_edges(c);
    uint32_t before = c->complaints->n;
    for (uint32_t i = 0; n->kind == FL_NODE_MAP && i < n->n; i++) {
        const char *const *k = taps_keys;
        while (*k != NULL && strcmp(*k, n->keys[i]) != 0)
            k++;
        if (*k == NULL)
            fl_complain(c->complaints, n->key_marks[i], "record: unknown key %.60s%s", n->keys[i],
                        fl_nearest(n->keys[i], taps_keys) != NULL ? fl_did_you_mean(n->keys[i], taps_keys) : ", want edges, keep, every, ring or zstd");
    }
    bool list = edges != NULL && edges->kind == FL_NODE_LIST;
    if (edges == NULL || (list ? edges->n == 0 : edges->kind != FL_NODE_STR))
        fl_complain(c->complaints, edges != NULL ? edges->mark : n->mark, "record: want the names of the stages whose output is to be recorded, or all");
    for (uint32_t i = 0; list && i < edges->n; i++)
        if (edges->items[i]->kind != FL_NODE_STR)
            fl_complain(c->complaints, edges->items[i]->mark, "record: edges has %s, want the name of a stage", fl_node_say(edges->items[i]));
    return c->complaints->n == before;
}

/* ---- which entries ---- */

static bool taps_is(const struct fl_entry *e, const char *name)
{
    return strcmp(e->name, name) == 0 || strcmp(e->full, name) == 0 || strcmp(e->base, name) == 0;
}

static bool taps_is_read(const struct fl_config *c, const struct fl_entry *e)
{
    for (uint32_t i = 0; i < c->nentries; i++)
        for (uint32_t k = 0; c->entries[i].from != NULL && k < c->entries[i].from->n; k++)
            if (taps_is(e, c->entries[i].from->items[k]->text))
                return true;
    return false;
}

static void taps_unknown(const struct fl_config *c, const struct fl_node *n)
{
    const char **names = fl_need((size_t)c->nentries + 2, sizeof *names);
    for (uint32_t i = 0; i < c->nentries; i++)
        names[i] = c->entries[i].base;
    names[c->nentries] = "all";
    fl_complain(c->complaints, n->mark, "record: no stage is called %.60s%s", n->text, fl_did_you_mean(n->text, names));
    free(names);
}

static void taps_choose(const struct fl_config *c, const struct fl_node *n, bool *chosen)
{
    bool all = strcmp(n->text, "all") == 0, found = false;
    for (uint32_t i = 0; i < c->nentries; i++)
        if (all ? taps_is_read(c, &c->entries[i]) : taps_is(&c->entries[i], n->text))
            chosen[i] = found = true;
    if (!found && !all)
        taps_unknown(c, n);
}

/* ---- the entries ---- */

static uint64_t taps_limit(const struct fl_config *c, uint32_t n)
{
    const struct fl_node *keep = c->record->kind == FL_NODE_MAP ? fl_node_get(c->record, "keep", NULL) : NULL;
    uint64_t bytes = 0;
    fl_size_parse(TAPS_KEEP, &bytes, NULL);
    if (keep != NULL && (keep->text == NULL || fl_size_parse(keep->text, &bytes, NULL) != FL_OK || bytes == 0))
        fl_complain(c->complaints, keep->mark, "record: keep is %s, want a size like 10GB or 512MiB", fl_node_say(keep));
    return bytes / n > 0 ? bytes / n : 1;
}

static void taps_add(struct fl_config *c, const char *edge, uint64_t limit)
{
    const struct fl_node *n = c->record;
    struct fl_mark mark = n->mark;
    char bytes[32];
    c->entries = fl_need_grow(c->entries, c->nentries + (size_t)1, sizeof *c->entries);
    struct fl_entry *e = &c->entries[c->nentries++];
    *e = (struct fl_entry){ .full = fl_need_text("record-%s", edge), .base = fl_need_text("record-%s", edge), .stage = fl_need_copy("record"),
                            .mark = mark, .stage_mark = mark, .options_mark = mark, .instances_mark = mark, .instances = 1, .threads = 1 };
    fl_entry_name(e);
    e->from = fl_node_new(FL_NODE_LIST, mark);
    fl_node_push(e->from, fl_node_scalar(edge, false, mark));
    e->options = fl_node_new(FL_NODE_MAP, mark);
    snprintf(bytes, sizeof bytes, "%llu", (unsigned long long)limit);
    fl_node_set(e->options, "limit", mark, fl_node_scalar(bytes, true, mark));
    for (const char *const *k = taps_keys + 2; n->kind == FL_NODE_MAP && *k != NULL; k++)
        if (fl_node_get(n, *k, NULL) != NULL)
            fl_node_set(e->options, *k, mark, fl_node_copy(fl_node_get(n, *k, NULL)));
}

void fl_taps_expand(struct fl_config *c)
{
    if (c->record == NULL || c->record->kind == FL_NODE_NULL || !taps_proper(c))
        return;
    const struct fl_node *edges = taps_edges(c);
    uint32_t n = c->nentries, count = 0;
    bool *chosen = fl_need(n, sizeof *chosen), list = edges->kind == FL_NODE_LIST;
    for (uint32_t i = 0; i < (list ? edges->n : 1); i++)
        taps_choose(c, list ? edges->items[i] : edges, chosen);
    for (uint32_t i = 0; i < n; i++)
        count += chosen[i];
    uint64_t limit = count > 0 ? taps_limit(c, count) : 0;
    if (n + count > FL_MAX_ENTRIES)
        fl_complain(c->complaints, c->record->mark, "record: more than %d stages with the taps", FL_MAX_ENTRIES);
    for (uint32_t i = 0; i < n && n + count <= FL_MAX_ENTRIES; i++)
        if (chosen[i]) {
            char *edge = fl_need_copy(c->entries[i].name);
            taps_add(c, edge, limit);
            free(edge);
        }
    free(chosen);
}

/* ---- what each may keep ---- */

double fl_taps_bytes(const struct fl_graph *g, const struct fl_stage_node *tap)
{
    const struct fl_stage_node *maker = &g->stages[tap->from[0]];
    double sum = 2 * FL_FRAME_MAX;
    for (uint32_t k = 0; k < maker->ntensors; k++) {
        const struct fl_flow_tensor *t = &maker->tensors[k];
        double bytes = 0;
        for (int d = 1; d < FL_DTYPE_COUNT; d++)
            if (t->dtypes & 1u << d && (double)fl_dtype_size(d) > bytes)
                bytes = (double)fl_dtype_size(d);
        for (uint32_t d = 0; d < t->ndim; d++)
            bytes *= t->shape[d] > 0 ? t->shape[d] : g->B;
        sum += bytes;
    }
    return sum;
}

/* What is kept must hold one batch of each edge, or as many as the ring has. */
static void taps_room(const struct fl_config *c, double keep, double one, double ring)
{
    const struct fl_node *said = c->record->kind == FL_NODE_MAP ? fl_node_get(c->record, "keep", NULL) : NULL;
    double need = one * (ring > 1 ? ring : 1);
    if (keep >= need)
        return;
    char batches[40] = "one batch";
    if (ring > 1)
        snprintf(batches, sizeof batches, "a ring of %.0f batches", ring);
    fl_complain(c->complaints, said != NULL ? said->mark : c->record->mark, "record: keep is %s, but %s of each edge takes more: want at least %.0f%s",
                said != NULL ? said->text : TAPS_KEEP, batches, ceil(need >= 1e6 ? need / 1e6 : need / 1e3), need >= 1e6 ? "MB" : "kB");
}

void fl_taps_share(const struct fl_config *c, struct fl_graph *g)
{
    double sum = 0, keep = 0, ring = 0;
    if (c->record == NULL)
        return;
    for (int turn = 0; turn < 2; turn++)
        for (uint32_t i = 0; i < g->nstages; i++) {
            const struct fl_stage_node *s = &g->stages[i];
            if (!s->tap || strcmp(s->stage, "record") != 0 || strncmp(s->name, "record-", 7) != 0)
                continue;
            double bytes = fl_taps_bytes(g, s);
            if (turn == 1)
                fl_need_put(s->options, "limit", json_integer((json_int_t)(keep * (bytes / sum)) + 1));
            sum += turn == 0 ? bytes : 0;
            keep += turn == 0 ? (double)json_integer_value(json_object_get(s->options, "limit")) : 0;
            ring = (double)json_integer_value(json_object_get(s->options, "ring"));
        }
    taps_room(c, keep, sum, ring);
}
