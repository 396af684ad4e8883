/* A forest: steps of the columns, trees shared out to threads, leaves gathered in the order of the trees. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/text.h"
#include "stages/level2/trees_own.h"

#define TREES_THREADS 256u
#define FIT_WHOLE     8u               /* columns are moved with the nodes where at least one in so many is looked at */

/* ---- the forest as it grows ---- */

struct forest {
    const struct fl_l2_table *t;
    const struct fl_l2_trees_conf *conf;
    pthread_mutex_t lock;
    pthread_cond_t  turn;
    uint32_t next, merged;             /* trees given out; trees whose leaves are in */
    int      rc;
    struct fl_err err;
    uint64_t *first, *node, nodes, node_cap;
    float   *leaf;
    uint32_t nleaves, leaf_cap;
    uint32_t *slots, nslots;           /* hash of leaves: number + 1 */
};

static int forest_nomem(struct fl_err *err) { return fl_err_set(err, FL_E_NOMEM, "no memory for the forest"); }

static uint32_t forest_slot(const struct forest *f, const float *leaf)
{
    size_t bytes = f->t->T * sizeof *leaf;
    uint32_t at = (uint32_t)(fl_fnv1a(leaf, bytes) >> 16) & (f->nslots - 1);
    while (f->slots[at] != 0 && memcmp(f->leaf + (size_t)(f->slots[at] - 1) * f->t->T, leaf, bytes) != 0)
        at = (at + 1) & (f->nslots - 1);
    return at;
}

static int forest_room(struct forest *f, uint64_t nodes)
{
    if (f->nodes + nodes > f->node_cap) {
        uint64_t cap = f->nodes + nodes + f->node_cap / 2;
        uint64_t *more = realloc(f->node, cap * sizeof *more);
        if (more == NULL)
            return forest_nomem(&f->err);
        f->node = more;
        f->node_cap = cap;
    }
    if (f->nleaves < f->leaf_cap)
        return FL_OK;
    uint32_t cap = f->leaf_cap ? 2 * f->leaf_cap : 4096;
    float *leaf = realloc(f->leaf, (size_t)cap * f->t->T * sizeof *leaf);
    if (leaf != NULL)
        f->leaf = leaf;
    uint32_t *slots = calloc(2 * (size_t)cap, sizeof *slots);
    if (leaf == NULL || slots == NULL) {
        free(slots);
        return forest_nomem(&f->err);
    }
    free(f->slots);
    f->slots = slots;
    f->nslots = 2 * cap;
    f->leaf_cap = cap;
    for (uint32_t i = 0; i < f->nleaves; i++)
        f->slots[forest_slot(f, f->leaf + (size_t)i * f->t->T)] = i + 1;
    return FL_OK;
}

/* Takes a tree over; leaves alike become one. */
static int forest_merge(struct forest *f, const struct trees_work *w, uint32_t tree)
{
    int rc = forest_room(f, w->nnodes);
    for (uint64_t i = 0; rc == FL_OK && i < w->nnodes; i++) {
        uint64_t node = w->node[i];
        if ((node >> 32 & 0xFFFF) == FL_L2_LEAF) {
            const float *leaf = w->leaf + (node & UINT32_MAX) * w->T;
            if ((rc = forest_room(f, 0)) != FL_OK)
                break;
            uint32_t slot = forest_slot(f, leaf);
            if (f->slots[slot] == 0) {
                memcpy(f->leaf + (size_t)f->nleaves * w->T, leaf, w->T * sizeof *leaf);
                f->slots[slot] = ++f->nleaves;
            }
            node = (uint64_t)FL_L2_LEAF << 32 | (f->slots[slot] - 1);
        }
        f->node[f->nodes++] = node;
    }
    f->first[tree + 1] = f->nodes;
    return rc;
}

/* ---- columns ---- */

static double fit_value(const struct fl_l2_table *t, uint32_t i, uint32_t c)
{
    size_t row = t->rows != NULL ? t->rows[i] : i;
    return fl_l2_value(t->transform, t->x[row * t->stride + (t->columns != NULL ? t->columns[c] : c)]);
}

/* Thirty-two rows at a time, so that a line of each column is written once. */
static int fit_steps(const struct fl_l2_table *t, const struct fl_l2_trees_conf *conf, size_t ld, uint16_t *steps, struct fl_err *err)
{
    double scale = trees_scale(conf->lo, conf->hi);
    for (uint32_t from = 0; from < t->n; from += 32) {
        uint32_t rows = t->n - from < 32 ? t->n - from : 32;
        for (uint32_t c = 0; c < t->P; c++)
            for (uint32_t i = 0; i < rows; i++) {
                double v = fit_value(t, from + i, c);
                if (!isfinite(v))
                    return fl_err_set(err, FL_E_NUM, "row %u, column %u: %g", from + i, c, v);
                steps[c * ld + from + i] = trees_step(v, conf->lo, scale);
            }
    }
    return FL_OK;
}

static void fit_labels(const struct fl_l2_table *t, uint64_t *label)
{
    for (uint32_t i = 0; i < t->n; i++) {
        const uint8_t *y = t->y + (size_t)(t->rows != NULL ? t->rows[i] : i) * t->y_stride;
        label[i] = 0;
        for (uint32_t o = 0; o < t->T; o++)
            label[i] |= (uint64_t)(y[t->outputs != NULL ? t->outputs[o] : o] & 1) << o;
    }
}

/* ---- threads ---- */

static void work_done(struct trees_work *w, const uint16_t *shared)
{
    if (w->steps != shared)
        free(w->steps);
    free(w->row);
    free(w->label);
    free(w->order);
    free(w->cuts);
    free(w->gather[0]);
    free(w->gather[1]);
    free(w->spare);
    free(w->bits);
    free(w->mask);
    free(w->spare_label);
    free(w->sum);
    free(w->all);
    free(w->node);
    free(w->leaf);
}

static int work_arrays(struct trees_work *w, struct fl_err *err)
{
    size_t n = w->n, words = (n + TREES_WORD - 1) / TREES_WORD, cuts = ((size_t)w->P + 63) / 32 * 32, swaps = 2 * (n / 16 + 1);
    w->order = malloc((w->P + 1) * sizeof *w->order);
    w->cuts = malloc((cuts > swaps ? cuts : swaps) * sizeof *w->cuts);
    w->spare = malloc((n + TREES_SLACK) * 2 * sizeof *w->spare);      /* of steps, or of row numbers */
    w->bits = malloc(words * w->Tp * sizeof *w->bits);
    w->mask = malloc((words + 1) * sizeof *w->mask);
    w->sum = malloc(3 * (size_t)w->T * sizeof *w->sum);
    w->all = calloc(2 * (size_t)w->Tp, sizeof *w->all);
    int ok = w->order && w->cuts && w->spare && w->bits && w->mask && w->sum && w->all;
    if (!w->whole) {
        w->row = malloc(n * sizeof *w->row);
        w->gather[0] = malloc((n + TREES_SLACK) * sizeof *w->gather[0]);
        w->gather[1] = malloc((n + TREES_SLACK) * sizeof *w->gather[1]);
        ok = ok && w->row && w->gather[0] && w->gather[1];
    }
    if (w->real == NULL) {
        w->label = malloc(n * sizeof *w->label);
        w->spare_label = malloc(n * sizeof *w->spare_label);
        ok = ok && w->label && w->spare_label;
    }
    return ok ? FL_OK : forest_nomem(err);
}

struct fit_thread { struct forest *f; struct trees_work w; pthread_t id; int started; };

static void forest_fail(struct forest *f, int rc, const struct fl_err *err)
{
    if (f->rc == FL_OK) {
        f->rc = rc;
        if (err != NULL)
            f->err = *err;
    }
    pthread_cond_broadcast(&f->turn);
}

static void *fit_run(void *arg)
{
    struct fit_thread *me = arg;
    struct forest *f = me->f;
    struct fl_err err = { 0 };
    pthread_mutex_lock(&f->lock);
    while (f->rc == FL_OK && f->next < f->conf->trees) {
        uint32_t tree = f->next++;
        pthread_mutex_unlock(&f->lock);
        int rc = trees_grow(&me->w, tree, &err);
        if (f->conf->progress != NULL)
            atomic_fetch_add(f->conf->progress, 1);
        pthread_mutex_lock(&f->lock);
        if (rc != FL_OK)
            forest_fail(f, rc, &err);
        while (f->rc == FL_OK && f->merged != tree)
            pthread_cond_wait(&f->turn, &f->lock);
        if (f->rc != FL_OK)
            break;
        rc = forest_merge(f, &me->w, tree);
        if (rc != FL_OK)
            forest_fail(f, rc, NULL);
        f->merged++;
        pthread_cond_broadcast(&f->turn);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

/* Threads beyond the first bring their own columns when these are moved about. */
static int fit_prepare(struct fit_thread *th, uint32_t threads, const struct trees_work *base, uint16_t *steps, struct fl_err *err)
{
    size_t bytes = ((size_t)base->P * base->ld + TREES_SLACK) * sizeof *steps;
    const struct fl_l2_table *t = th[0].f->t;
    for (uint32_t i = 0; i < threads; i++) {
        struct trees_work *w = &th[i].w;
        *w = *base;
        w->steps = steps;
        if (w->whole && i > 0) {
            w->steps = malloc(bytes);
            if (w->steps == NULL)
                return forest_nomem(err);
            memcpy(w->steps, steps, bytes);
        }
        int rc = work_arrays(w, err);
        if (rc != FL_OK)
            return rc;
        if (w->label != NULL)
            fit_labels(t, w->label);
        for (uint32_t r = 0; w->row != NULL && r < w->n; r++)
            w->row[r] = r;
    }
    return FL_OK;
}

static int fit_threads(struct forest *f, struct fit_thread *th, uint32_t threads)
{
    for (uint32_t i = 1; i < threads; i++)
        th[i].started = pthread_create(&th[i].id, NULL, fit_run, &th[i]) == 0;      /* with fewer threads it takes longer, no more */
    fit_run(&th[0]);
    for (uint32_t i = 1; i < threads; i++)
        if (th[i].started)
            pthread_join(th[i].id, NULL);
    return f->rc;
}

/* ---- whole ---- */

static int fit_check(const struct fl_l2_table *t, const struct fl_l2_trees_conf *conf, struct fl_err *err)
{
    if (t->n == 0 || t->n > FL_L2_TREES_ROWS || t->P == 0 || t->P > FL_L2_MAX_COLUMNS || t->T == 0 || (t->real == NULL && t->T > 64))
        return fl_err_set(err, FL_E_CONFIG, "extra trees: %u rows, %u columns, %u outputs", t->n, t->P, t->T);
    if (conf->trees == 0 || conf->n_min < 2 || conf->min_leaf < 1)
        return fl_err_set(err, FL_E_CONFIG, "extra trees: %u trees, n_min %u, min_leaf %u; want at least 1, 2 and 1", conf->trees, conf->n_min, conf->min_leaf);
    if (trees_kernel(conf->kernel) == NULL)
        return fl_err_set(err, FL_E_CONFIG, "this processor has no kernel %s", conf->kernel);
    return FL_OK;
}

static int fit_forest(struct forest *f, struct trees_work *base, uint32_t threads)
{
    uint16_t *steps = aligned_alloc(64, (((size_t)base->P * base->ld + TREES_SLACK) * sizeof *steps + 63) / 64 * 64);
    struct fit_thread *th = calloc(threads, sizeof *th);
    f->first = calloc((size_t)f->conf->trees + 1, sizeof *f->first);
    int rc = steps && th && f->first ? fit_steps(f->t, f->conf, base->ld, steps, &f->err) : forest_nomem(&f->err);
    for (uint32_t i = 0; th != NULL && i < threads; i++)
        th[i].f = f;
    if (rc == FL_OK)
        rc = fit_prepare(th, threads, base, steps, &f->err);
    if (rc == FL_OK)
        rc = fit_threads(f, th, threads);
    for (uint32_t i = 0; th != NULL && i < threads; i++)
        work_done(&th[i].w, steps);
    free(th);
    free(steps);
    return rc;
}

int fl_l2_trees_fit(const struct fl_l2_table *t, const struct fl_l2_trees_conf *conf, struct fl_l2_trees *out, struct fl_err *err)
{
    int rc = fit_check(t, conf, err);
    if (rc != FL_OK)
        return rc;
    struct forest f = { .t = t, .conf = conf, .lock = PTHREAD_MUTEX_INITIALIZER, .turn = PTHREAD_COND_INITIALIZER };
    uint32_t draw = conf->columns > 0 ? conf->columns : (uint32_t)lround(sqrt(t->P));
    draw = draw < 1 ? 1 : draw > t->P ? t->P : draw;
    uint32_t threads = conf->threads < 1 ? 1 : conf->threads > TREES_THREADS ? TREES_THREADS : conf->threads;
    struct trees_work base = {
        .conf = conf, .k = trees_kernel(conf->kernel), .n = t->n, .P = t->P, .T = t->T, .Tp = (t->T + 7) / 8 * 8, .draw = draw,
        .ld = ((size_t)t->n + 31) / 32 * 32, .whole = t->real == NULL && (uint64_t)draw * FIT_WHOLE >= t->P, .real = t->real,
    };
    rc = fit_forest(&f, &base, threads < conf->trees ? threads : conf->trees);
    free(f.slots);
    struct fl_l2_trees m = { .trees = conf->trees, .P = t->P, .T = t->T, .nleaves = f.nleaves, .lo = conf->lo, .hi = conf->hi,
        .first = f.first, .node = f.node, .leaf = f.leaf, .owned = { f.first, f.node, f.leaf } };
    if (rc == FL_OK) {
        *out = m;
        return FL_OK;
    }
    fl_l2_trees_done(&m);
    return fl_err_set(err, rc, "%s", f.err.text);
}

void fl_l2_trees_done(struct fl_l2_trees *m)
{
    for (int i = 0; i < 3; i++)
        free(m->owned[i]);
    *m = (struct fl_l2_trees){ 0 };
}
