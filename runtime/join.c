/* The join: one entry a slot. */
#include "runtime/join.h"

#include <stdlib.h>
#include <string.h>

struct entry { struct fl_hosted *whole; uint64_t batch; uint32_t gen; };

struct fl_join { uint32_t window, edges, open; struct entry *e; };

int fl_join_new(uint32_t window, uint32_t edges, struct fl_join **out, struct fl_err *err)
{
    struct fl_join *j = calloc(1, sizeof *j);
    if (j == NULL || (j->e = calloc(window, sizeof *j->e)) == NULL) {
        free(j);
        return fl_err_set(err, FL_E_NOMEM, "join");
    }
    j->window = window;
    j->edges = edges;
    *out = j;
    return FL_OK;
}

void fl_join_free(struct fl_join *j)
{
    if (j == NULL)
        return;
    for (uint32_t i = 0; i < j->window; i++)
        free(j->e[i].whole);
    free(j->e);
    free(j);
}

static bool join_has(const struct fl_hosted *w, uint32_t edge)
{
    for (uint32_t i = 0; i < w->nparts; i++)
        if (w->parts[i].edge == edge)
            return true;
    return false;
}

/* The parts share what lies at one place (ids, ordinals): it is kept once. Tensors stay in the order of the edges. */
static int join_merge(struct fl_hosted *w, const struct fl_hosted *part, struct fl_err *err)
{
    for (uint32_t i = 0; i < part->b.ntensors; i++) {
        const struct fl_tensor *t = &part->b.t[i];
        bool same = false;
        for (uint32_t k = 0; k < w->b.ntensors && !same; k++)
            same = w->b.t[k].place == t->place && w->b.t[k].off == t->off && strcmp(w->b.t[k].name, t->name) == 0;
        if (same)
            continue;
        struct fl_tensor *new = fl_batch_add(&w->b, t->name);
        if (new == NULL)
            return fl_err_set(err, FL_E_BUG, "join: more than %d tensors in batch %llu", FL_MAX_TENSORS, (unsigned long long)w->b.batch);
        *new = *t;
    }
    return FL_OK;
}

static int join_by_edge(const void *a, const void *b)
{
    const struct fl_tensor *x = a, *y = b;
    return x->edge < y->edge ? -1 : x->edge > y->edge;
}

/* qsort is not stable, and the order within an edge does not matter: names are unique there. */
static void join_order(struct fl_hosted *w)
{
    qsort(w->b.t, w->b.ntensors, sizeof w->b.t[0], join_by_edge);
}

int fl_join_add(struct fl_join *j, struct fl_hosted *part, struct fl_hosted **whole, struct fl_hosted **dropped, struct fl_err *err)
{
    struct entry *e = &j->e[part->b.slot % j->window];
    *whole = *dropped = NULL;
    if (e->whole != NULL && (e->gen != part->b.gen || e->batch != part->b.batch)) {
        *dropped = e->whole;
        e->whole = NULL;
        j->open--;
    }
    if (e->whole == NULL) {
        struct fl_hosted *w = fl_hosted_new(j->edges);
        if (w == NULL) {
            free(part);
            return fl_err_set(err, FL_E_NOMEM, "join");
        }
        w->b = part->b;
        w->b.host = w;
        w->b.ntensors = 0;
        *e = (struct entry){ .whole = w, .batch = part->b.batch, .gen = part->b.gen };
        j->open++;
    } else if (join_has(e->whole, part->parts[0].edge)) {
        *dropped = part;
        return FL_END;
    }
    int rc = part->b.n == e->whole->b.n ? join_merge(e->whole, part, err)
           : fl_err_set(err, FL_E_PROTO, "join: parts of batch %llu have %u and %u tiles", (unsigned long long)part->b.batch, e->whole->b.n, part->b.n);
    e->whole->parts[e->whole->nparts++] = part->parts[0];
    free(part);
    if (rc != FL_OK)
        return rc;
    if (e->whole->nparts < j->edges)
        return FL_END;
    *whole = e->whole;
    e->whole = NULL;
    j->open--;
    join_order(*whole);
    return FL_OK;
}

struct fl_hosted *fl_join_cancel(struct fl_join *j, uint32_t slot, uint32_t gen)
{
    struct entry *e = &j->e[slot % j->window];
    struct fl_hosted *w = e->whole;
    if (w == NULL || e->gen != gen)
        return NULL;
    e->whole = NULL;
    j->open--;
    return w;
}

uint32_t fl_join_open(const struct fl_join *j)
{
    return j->open;
}
