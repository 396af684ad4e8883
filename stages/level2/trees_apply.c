/* Predictions of a forest. */
#include <string.h>

#include "stages/level2/trees_own.h"

#define APPLY_ROWS  256u               /* rows, and pairs of a row and a tree, that are looked at together */
#define APPLY_WALKS 4096u

int fl_l2_trees_prove(const struct fl_l2_trees *m, struct fl_err *err)
{
    if (m->trees == 0 || m->first[0] != 0)
        return fl_err_set(err, FL_E_INPUT, "no tree, or the first doesn't begin at node 0");
    for (uint32_t t = 0; t < m->trees; t++) {
        uint64_t from = m->first[t], n = m->first[t + 1] - from;
        if (m->first[t + 1] <= from || n > UINT32_MAX)
            return fl_err_set(err, FL_E_INPUT, "tree %u has no nodes, or too many", t);
        for (uint64_t i = 0; i < n; i++) {
            uint64_t node = m->node[from + i], right = node & UINT32_MAX;
            int leaf = trees_column(node) == FL_L2_LEAF;
            if (leaf ? right >= m->nleaves : right <= i + 1 || right >= n || trees_column(node) >= m->P)
                return fl_err_set(err, FL_E_INPUT, "tree %u, node %llu: it leads nowhere", t, (unsigned long long)i);
        }
    }
    return FL_OK;
}

void fl_l2_trees_steps(const struct fl_l2_trees *m, const struct fl_l2_table *t, uint16_t *steps)
{
    const struct trees_kernel *k = trees_kernel(NULL);
    double scale = trees_scale(m->lo, m->hi);
    for (uint32_t i = 0; i < t->n; i++, steps += m->P) {
        const float *x = t->x + (size_t)(t->rows != NULL ? t->rows[i] : i) * t->stride;
        if (t->columns == NULL && t->transform == FL_L2_PROB)
            k->steps(x, m->P, m->lo, scale, steps);
        else
            for (uint32_t c = 0; c < m->P; c++)
                steps[c] = trees_step(fl_l2_value(t->transform, x[t->columns != NULL ? t->columns[c] : c]), m->lo, scale);
    }
}

static void apply_add(const struct fl_l2_trees *m, uint32_t rows, const uint32_t *leaf, double *sum)
{
    for (uint32_t i = 0; i < rows; i++, sum += m->T) {
        const float *v = m->leaf + (size_t)leaf[i] * m->T;
        for (uint32_t t = 0; t < m->T; t++)
            sum[t] += (double)v[t];
    }
}

static void apply_block(const struct fl_l2_trees *m, const struct trees_kernel *k, uint32_t rows, const uint16_t *steps, double *sum)
{
    uint32_t leaf[APPLY_WALKS], most = APPLY_WALKS / rows;
    memset(sum, 0, (size_t)rows * m->T * sizeof *sum);
    for (uint32_t t = 0; t < m->trees; t += most) {
        struct trees_walk w = { .node = m->node, .first = m->first + t, .trees = m->trees - t < most ? m->trees - t : most, .P = m->P, .rows = rows, .steps = steps };
        k->walk(&w, leaf);
        for (uint32_t j = 0; j < w.trees; j++)
            apply_add(m, rows, leaf + j * rows, sum);
    }
    for (size_t i = 0; i < (size_t)rows * m->T; i++)
        sum[i] /= m->trees;
}

void fl_l2_trees_rows(const struct fl_l2_trees *m, uint32_t n, const uint16_t *steps, double *out)
{
    for (uint32_t from = 0; from < n; from += APPLY_ROWS)
        apply_block(m, trees_kernel(NULL), n - from < APPLY_ROWS ? n - from : APPLY_ROWS, steps + (size_t)from * m->P, out + (size_t)from * m->T);
}
