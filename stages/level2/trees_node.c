/* One tree: nodes depth first, the best of random cuts at each.
 *
 * Rows of a node lie together, [at, at + n): of the columns themselves (whole), or of a list of rows. With outputs of 0 and 1 only
 * whole numbers are added up, so the order of rows inside a node has no part in the result: a thread's columns are left in the
 * order of its last tree and begin the next one so. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/rng.h"
#include "stages/level2/trees_own.h"

#define NODE_SWAPS 16u                 /* a side with less than one row in so many out of place is put right by swaps */
#define NODE_AHEAD 8u                 /* columns */
#define NODE_NONE  UINT32_MAX

struct node_todo { uint32_t at, n, vary, parent; };      /* vary: columns not known to be constant; parent: whose right child this is */
struct node_list { struct node_todo *v; uint32_t n, cap; };

struct node_best { uint32_t column, nl; uint16_t cut; double score; const uint16_t *v; uint32_t buffer; };

static int node_nomem(struct fl_err *err) { return fl_err_set(err, FL_E_NOMEM, "no memory for a tree"); }

/* ---- nodes and leaves ---- */

static int node_add(struct trees_work *w, uint64_t node, struct fl_err *err)
{
    if (w->nnodes == w->cap) {
        uint64_t cap = w->cap ? 2 * w->cap : 4096;
        uint64_t *more = realloc(w->node, cap * sizeof *more);
        if (more == NULL)
            return node_nomem(err);
        w->node = more;
        w->cap = cap;
    }
    w->node[w->nnodes++] = node;
    return FL_OK;
}

static float *node_leaf(struct trees_work *w, struct fl_err *err)
{
    if (w->nleaves == w->leaf_cap) {
        uint32_t cap = w->leaf_cap ? 2 * w->leaf_cap : 2048;
        float *more = realloc(w->leaf, (size_t)cap * w->T * sizeof *more);
        if (more == NULL) {
            node_nomem(err);
            return NULL;
        }
        w->leaf = more;
        w->leaf_cap = cap;
    }
    if (node_add(w, (uint64_t)FL_L2_LEAF << 32 | w->nleaves, err) != FL_OK)
        return NULL;
    return w->leaf + (size_t)w->nleaves++ * w->T;
}

static int node_count_leaf(struct trees_work *w, const uint64_t *count, uint32_t n, struct fl_err *err)
{
    float *leaf = node_leaf(w, err);
    for (uint32_t t = 0; leaf != NULL && t < w->T; t++)
        leaf[t] = (float)((double)count[t] / n);
    return leaf != NULL ? FL_OK : FL_E_NOMEM;
}

static int node_real_leaf(struct trees_work *w, const double *sum, uint32_t n, struct fl_err *err)
{
    float *leaf = node_leaf(w, err);
    for (uint32_t t = 0; leaf != NULL && t < w->T; t++)
        leaf[t] = (float)(sum[t] / n);
    return leaf != NULL ? FL_OK : FL_E_NOMEM;
}

/* ---- outputs of a node ---- */

static int node_pure(const uint64_t *count, uint32_t T, uint32_t n)
{
    for (uint32_t t = 0; t < T; t++)
        if (count[t] != 0 && count[t] != n)
            return 0;
    return 1;
}

/* Fills all and, when wanted, the bits of each output. */
static void node_labels(struct trees_work *w, uint32_t at, uint32_t n, int bits)
{
    const uint64_t *label = w->label + at;
    memset(w->all, 0, w->Tp * sizeof *w->all);
    if (bits)
        memset(w->bits, 0, (size_t)((n + TREES_WORD - 1) / TREES_WORD) * w->Tp * sizeof *w->bits);
    for (uint32_t i = 0; i < n; i++)
        for (uint64_t m = label[i]; m != 0; m &= m - 1) {
            uint32_t t = (uint32_t)__builtin_ctzll(m);
            w->all[t]++;
            if (bits)
                w->bits[(size_t)(i / TREES_WORD) * w->Tp + t] |= UINT64_C(1) << i % TREES_WORD;
        }
}

/* Sums of real outputs into sum[0..T); 1 when all rows are alike. */
static int node_sums(struct trees_work *w, uint32_t at, uint32_t n)
{
    const double *first = w->real + (size_t)w->row[at] * w->T;
    int alike = 1;
    memset(w->sum, 0, w->T * sizeof *w->sum);
    for (uint32_t i = 0; i < n; i++) {
        const double *y = w->real + (size_t)w->row[at + i] * w->T;
        for (uint32_t t = 0; t < w->T; t++) {
            w->sum[t] += y[t];
            alike &= y[t] == first[t];
        }
    }
    return alike;
}

static double node_real_score(struct trees_work *w, const struct node_todo *d, const uint16_t *v, uint16_t cut, uint32_t *nl)
{
    double *left = w->sum + w->T, ql = 0, qr = 0;
    memset(left, 0, w->T * sizeof *left);
    *nl = 0;
    for (uint32_t i = 0; i < d->n; i++)
        if (v[i] <= cut) {
            const double *y = w->real + (size_t)w->row[d->at + i] * w->T;
            ++*nl;
            for (uint32_t t = 0; t < w->T; t++)
                left[t] += y[t];
        }
    for (uint32_t t = 0; t < w->T; t++) {
        ql += left[t] * left[t];
        qr += (w->sum[t] - left[t]) * (w->sum[t] - left[t]);
    }
    return ql / *nl + qr / (d->n - *nl);
}

/* ---- the choice ---- */

static const uint16_t *node_column(struct trees_work *w, const struct node_todo *d, uint32_t column, uint32_t buffer)
{
    const uint16_t *v = w->steps + (size_t)column * w->ld;
    if (w->whole)
        return v + d->at;
    uint16_t *to = w->gather[buffer];
    for (uint32_t i = 0; i < d->n; i++)
        to[i] = v[w->row[d->at + i]];
    return to;
}

/* 0 when the column is constant. What is greater in sum of squares over rows is smaller in variance. */
static int node_try(struct trees_work *w, const struct node_todo *d, uint32_t column, uint32_t draw, struct node_best *best)
{
    uint32_t buffer = best->buffer ^ 1;
    const uint16_t *v = node_column(w, d, column, buffer);
    uint16_t lo, hi;
    w->k->range(v, d->n, &lo, &hi);
    if (lo == hi)
        return 0;
    uint16_t cut = (uint16_t)(lo + fl_rng_integer(draw, (uint32_t)hi - lo));
    struct trees_cut c = { 0 };
    double score;
    if (w->real != NULL) {
        score = node_real_score(w, d, v, cut, &c.nl);
    } else {
        w->k->cut(v, d->n, cut, w->Tp, w->bits, w->all, &c);
        score = (double)c.ql / c.nl + (double)c.qr / (d->n - c.nl);
    }
    if (c.nl < w->conf->min_leaf || d->n - c.nl < w->conf->min_leaf)
        return 1;
    if (best->column == NODE_NONE || score > best->score || (score == best->score && column < best->column))
        *best = (struct node_best){ .column = column, .nl = c.nl, .cut = cut, .score = score, .v = v, .buffer = buffer };
    return 1;
}

/* All that vary, none drawn. */
static void node_try_all(struct trees_work *w, struct node_todo *d, uint32_t node, struct node_best *best)
{
    w->k->draws(w->conf->seed, w->h, node, 1, (w->P + 3) / 4, w->cuts);
    for (uint32_t i = 0; i < d->vary;) {
        uint32_t c = w->order[i];
        if (w->whole && i + NODE_AHEAD < d->vary)      /* small nodes wait for little else than their columns' first line */
            __builtin_prefetch(w->steps + (size_t)w->order[i + NODE_AHEAD] * w->ld + d->at);
        if (node_try(w, d, c, w->cuts[c], best)) {
            i++;
        } else {
            w->order[i] = w->order[--d->vary];
            w->order[d->vary] = c;
        }
    }
}

static void node_try_some(struct trees_work *w, struct node_todo *d, uint32_t node, struct node_best *best)
{
    struct fl_rng g;
    uint32_t r, cut[4];
    fl_rng_init(&g, w->conf->seed, w->h, node, 0, 0);
    for (uint32_t i = 0; i < w->draw && i < d->vary;) {
        fl_rng_next(&g, &r);
        uint32_t at = i + fl_rng_integer(r, d->vary - i), c = w->order[at];
        fl_rng_block(w->conf->seed, w->h, node, 0, 1, c / 4, cut);
        w->order[at] = w->order[i];
        if (node_try(w, d, c, cut[c % 4], best)) {
            w->order[i++] = c;
        } else {
            w->order[i] = w->order[--d->vary];
            w->order[d->vary] = c;
        }
    }
}

/* ---- the cut ---- */

static void node_swap(struct trees_work *w, const struct node_todo *d, const uint32_t *a, const uint32_t *b, uint32_t pairs)
{
    for (uint32_t i = 0; i < pairs; i++) {
        uint64_t m = w->label[d->at + a[i]];
        w->label[d->at + a[i]] = w->label[d->at + b[i]];
        w->label[d->at + b[i]] = m;
    }
    for (uint32_t c = 0; c < d->vary; c++) {
        uint16_t *v = w->steps + (size_t)w->order[c] * w->ld + d->at;
        for (uint32_t i = 0; i < pairs; i++) {
            uint16_t s = v[a[i]];
            v[a[i]] = v[b[i]];
            v[b[i]] = s;
        }
    }
}

/* Rows on the wrong side of nl: a [..] on the left, b on the right; as many of either. */
static uint32_t node_misplaced(const struct trees_work *w, uint32_t n, uint32_t nl, uint32_t most, uint32_t *a, uint32_t *b)
{
    uint32_t na = 0, nb = 0;
    for (uint32_t i = 0; i < n; i++) {
        int left = (int)(w->mask[i / TREES_WORD] >> i % TREES_WORD & 1);
        if (i < nl && !left) {
            if (na == most)
                return NODE_NONE;
            a[na++] = i;
        } else if (i >= nl && left) {
            b[nb++] = i;
        }
    }
    return na;
}

static void node_part_list(struct trees_work *w, const struct node_todo *d)
{
    uint32_t l = 0, r = 0, *row = w->row != NULL ? w->row + d->at : NULL, *spare_row = (uint32_t *)(void *)w->spare;
    uint64_t *label = w->label != NULL ? w->label + d->at : NULL;
    for (uint32_t i = 0; i < d->n; i++) {
        int left = (int)(w->mask[i / TREES_WORD] >> i % TREES_WORD & 1);
        if (row != NULL)
            *(left ? row + l : spare_row + r) = row[i];
        if (label != NULL)
            *(left ? label + l : w->spare_label + r) = label[i];
        l += (uint32_t)left;
        r += (uint32_t)!left;
    }
    if (row != NULL)
        memcpy(row + l, spare_row, r * sizeof *row);
    if (label != NULL)
        memcpy(label + l, w->spare_label, r * sizeof *label);
}

static void node_part(struct trees_work *w, const struct node_todo *d, uint32_t nl)
{
    uint32_t most = d->n / NODE_SWAPS + 1, *a = w->cuts, *b = w->cuts + most, pairs = NODE_NONE;
    if (!w->whole) {
        node_part_list(w, d);
        return;
    }
    pairs = node_misplaced(w, d->n, nl, most, a, b);
    if (pairs != NODE_NONE) {
        node_swap(w, d, a, b, pairs);
        return;
    }
    for (uint32_t c = 0; c < d->vary; c++)
        w->k->part(w->steps + (size_t)w->order[c] * w->ld + d->at, d->n, w->mask, w->spare);
    node_part_list(w, d);
}

/* Counts of the left side into left [Tp]. */
static void node_left(const struct trees_work *w, uint32_t n, uint64_t *left)
{
    memset(left, 0, w->Tp * sizeof *left);
    for (uint32_t i = 0; i < n; i += TREES_WORD)
        for (uint32_t t = 0; t < w->Tp; t++)
            left[t] += (uint64_t)__builtin_popcountll(w->mask[i / TREES_WORD] & w->bits[(size_t)(i / TREES_WORD) * w->Tp + t]);
}

/* Both sides will be leaves: they are made at once, and no row is moved. FL_END: they are not. */
static int node_two_leaves(struct trees_work *w, uint32_t n, uint32_t nl, struct fl_err *err)
{
    uint64_t *left = w->all + w->Tp, right[64];
    if (w->real != NULL)
        return FL_END;
    node_left(w, n, left);
    for (uint32_t t = 0; t < w->T; t++)
        right[t] = w->all[t] - left[t];
    if ((nl >= w->conf->n_min && !node_pure(left, w->T, nl)) || (n - nl >= w->conf->n_min && !node_pure(right, w->T, n - nl)))
        return FL_END;
    uint64_t at = w->nnodes - 1;
    int rc = node_count_leaf(w, left, nl, err);
    if (rc == FL_OK)
        rc = node_count_leaf(w, right, n - nl, err);
    if (rc == FL_OK)
        w->node[at] |= at + 2;
    return rc;
}

static int node_push(struct node_list *list, struct node_todo d, struct fl_err *err)
{
    if (list->n == list->cap) {
        uint32_t cap = list->cap ? 2 * list->cap : 256;
        struct node_todo *more = realloc(list->v, cap * sizeof *more);
        if (more == NULL)
            return node_nomem(err);
        list->v = more;
        list->cap = cap;
    }
    list->v[list->n++] = d;
    return FL_OK;
}

/* ---- a node ---- */

/* FL_END: it is no leaf by its rows. */
static int node_is_leaf(struct trees_work *w, const struct node_todo *d, struct fl_err *err)
{
    int small = d->n < w->conf->n_min;
    if (w->real != NULL)
        return node_sums(w, d->at, d->n) || small ? node_real_leaf(w, w->sum, d->n, err) : FL_END;
    node_labels(w, d->at, d->n, !small);
    return small || node_pure(w->all, w->T, d->n) ? node_count_leaf(w, w->all, d->n, err) : FL_END;
}

static int node_make(struct trees_work *w, struct node_todo d, struct node_list *list, struct fl_err *err)
{
    uint32_t node = (uint32_t)w->nnodes;
    if (d.parent != NODE_NONE)
        w->node[d.parent] |= node;
    int rc = node_is_leaf(w, &d, err);
    if (rc != FL_END)
        return rc;
    struct node_best best = { .column = NODE_NONE };
    if (w->draw >= d.vary)
        node_try_all(w, &d, node, &best);
    else
        node_try_some(w, &d, node, &best);
    if (best.column == NODE_NONE)
        return w->real != NULL ? node_real_leaf(w, w->sum, d.n, err) : node_count_leaf(w, w->all, d.n, err);
    if ((rc = node_add(w, (uint64_t)best.cut << 48 | (uint64_t)best.column << 32, err)) != FL_OK)
        return rc;
    w->k->mask(best.v, d.n, best.cut, w->mask);
    rc = node_two_leaves(w, d.n, best.nl, err);
    if (rc != FL_END)
        return rc;
    node_part(w, &d, best.nl);
    rc = node_push(list, (struct node_todo){ d.at + best.nl, d.n - best.nl, d.vary, node }, err);
    return rc != FL_OK ? rc : node_push(list, (struct node_todo){ d.at, best.nl, d.vary, NODE_NONE }, err);
}

int trees_grow(struct trees_work *w, uint32_t tree, struct fl_err *err)
{
    char name[32];
    struct node_list list = { 0 };
    snprintf(name, sizeof name, "extratrees/%u", tree);
    w->h = fl_rng_tile(name, strlen(name));
    w->nnodes = 0;
    w->nleaves = 0;
    for (uint32_t c = 0; c < w->P; c++)
        w->order[c] = c;
    for (uint32_t i = 0; w->real != NULL && i < w->n; i++)      /* sums of real numbers depend on their order */
        w->row[i] = i;
    int rc = node_push(&list, (struct node_todo){ 0, w->n, w->P, NODE_NONE }, err);
    while (rc == FL_OK && list.n > 0)
        rc = node_make(w, list.v[--list.n], &list, err);
    free(list.v);
    return rc;
}
