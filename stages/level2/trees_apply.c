/* Predictions of a forest: several rows walk down a tree at once, so that none waits for the other's memory. */
#include <stdlib.h>
#include <string.h>

#include "stages/level2/trees_own.h"

#define APPLY_ROWS  256u               /* rows whose steps are laid out at once */
#define APPLY_LANES 8u

static inline uint32_t apply_column(uint64_t node) { return (uint32_t)(node >> 32) & 0xFFFF; }

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
            int leaf = apply_column(node) == FL_L2_LEAF;
            if (leaf ? right >= m->nleaves : right <= i + 1 || right >= n || apply_column(node) >= m->P)
                return fl_err_set(err, FL_E_INPUT, "tree %u, node %llu: it leads nowhere", t, (unsigned long long)i);
        }
    }
    return FL_OK;
}

static void apply_add(const struct fl_l2_trees *m, uint32_t leaf, double *sum)
{
    const float *v = m->leaf + (size_t)leaf * m->T;
    for (uint32_t t = 0; t < m->T; t++)
        sum[t] += (double)v[t];
}

/* A lane that has come to a leaf takes the next row. */
static void apply_tree(const struct fl_l2_trees *m, const uint64_t *tree, uint32_t rows, const uint16_t *steps, double *sum)
{
    uint32_t at[APPLY_LANES] = { 0 }, row[APPLY_LANES], lanes = rows < APPLY_LANES ? rows : APPLY_LANES, next = lanes;
    for (uint32_t j = 0; j < lanes; j++)
        row[j] = j;
    while (lanes > 0)
        for (uint32_t j = 0; j < lanes; j++) {
            uint64_t node = tree[at[j]];
            uint32_t c = apply_column(node), right = (uint32_t)node;
            if (c != FL_L2_LEAF) {
                at[j] = steps[(size_t)row[j] * m->P + c] <= (uint16_t)(node >> 48) ? at[j] + 1 : right;
                continue;
            }
            apply_add(m, right, sum + (size_t)row[j] * m->T);
            if (next == rows) {
                lanes--;
                row[j] = row[lanes];
                at[j] = at[lanes];
                j--;
            } else {
                row[j] = next++;
                at[j] = 0;
            }
        }
}

static void apply_block(const struct fl_l2_trees *m, uint32_t rows, const uint16_t *steps, double *sum)
{
    memset(sum, 0, (size_t)rows * m->T * sizeof *sum);
    for (uint32_t k = 0; k < m->trees; k++)
        apply_tree(m, m->node + m->first[k], rows, steps, sum);
    for (size_t i = 0; i < (size_t)rows * m->T; i++)
        sum[i] /= m->trees;
}

void fl_l2_trees_rows(const struct fl_l2_trees *m, uint32_t n, const double *x, uint16_t *steps, double *out)
{
    double scale = trees_scale(m->lo, m->hi);
    for (size_t i = 0; i < (size_t)n * m->P; i++)
        steps[i] = trees_step(x[i], m->lo, scale);
    apply_block(m, n, steps, out);
}

static void apply_steps(const struct fl_l2_trees *m, const struct fl_l2_table *t, uint32_t from, uint32_t rows, uint16_t *steps)
{
    double scale = trees_scale(m->lo, m->hi);
    for (uint32_t i = 0; i < rows; i++) {
        const float *x = t->x + (size_t)(t->rows != NULL ? t->rows[from + i] : from + i) * t->stride;
        for (uint32_t c = 0; c < m->P; c++)
            *steps++ = trees_step(fl_l2_value(t->transform, x[t->columns != NULL ? t->columns[c] : c]), m->lo, scale);
    }
}

int fl_l2_trees_apply(const struct fl_l2_trees *m, const struct fl_l2_table *t, double *out, struct fl_err *err)
{
    uint16_t *steps = malloc((size_t)APPLY_ROWS * m->P * sizeof *steps);
    if (steps == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for %u columns", m->P);
    for (uint32_t from = 0; from < t->n; from += APPLY_ROWS) {
        uint32_t rows = t->n - from < APPLY_ROWS ? t->n - from : APPLY_ROWS;
        apply_steps(m, t, from, rows, steps);
        apply_block(m, rows, steps, out + (size_t)from * m->T);
    }
    free(steps);
    return FL_OK;
}
