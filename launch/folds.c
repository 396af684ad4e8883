/* Ways to cut a set into folds. Draws belong to the item (its name) and the label in hand, never to an order. */
#include "launch/folds.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/rng.h"

struct folds_draw { uint64_t key; uint32_t item; };

struct folds {
    const struct fl_fold_items *in;
    uint32_t  k;
    uint64_t  seed;
    uint32_t *fold;
    uint64_t *hash;                    /* [n] of the names */
    bool     *done;                    /* [n] */
    uint8_t  *t;                       /* [n][L]: y, with the columns inverted that are on in most items */
    uint64_t *have;                    /* [k][L] of t, then of y */
    uint64_t *size;                    /* [k] */
    double   *want;                    /* [k][L] and [k]: iterative */
    struct folds_draw *draw;           /* [n] */
    uint32_t *tied;                    /* [k] */
};

static void folds_done(struct folds *f)
{
    free(f->hash);
    free(f->done);
    free(f->t);
    free(f->have);
    free(f->size);
    free(f->want);
    free(f->draw);
    free(f->tied);
}

static int folds_init(struct folds *f, const struct fl_fold_items *in, uint32_t k, uint64_t seed, uint32_t *fold, struct fl_err *err)
{
    *f = (struct folds){ .in = in, .k = k, .seed = seed, .fold = fold };
    if (k < 2 || k > in->n)
        return fl_err_set(err, FL_E_CONFIG, "%u folds of %u, want at least 2 and at most one for each", k, in->n);
    size_t n = in->n, L = in->L > 0 ? in->L : 1;
    f->hash = malloc(n * sizeof *f->hash);
    f->done = calloc(n, sizeof *f->done);
    f->t = malloc(n * L);
    f->have = calloc(k * L, sizeof *f->have);
    f->size = calloc(k, sizeof *f->size);
    f->want = malloc(k * (L + 1) * sizeof *f->want);
    f->draw = malloc(n * sizeof *f->draw);
    f->tied = calloc(k, sizeof *f->tied);
    if (f->hash == NULL || f->done == NULL || f->t == NULL || f->have == NULL || f->size == NULL || f->want == NULL || f->draw == NULL || f->tied == NULL) {
        folds_done(f);
        return fl_err_set(err, FL_E_NOMEM, "no memory for folds of %u", in->n);
    }
    for (size_t i = 0; i < n; i++)
        f->hash[i] = fl_rng_tile(in->names[i], strlen(in->names[i]));
    return FL_OK;
}

/* ---- draws ---- */

static int folds_by_key(const void *a, const void *b, void *arg)
{
    const struct folds_draw *x = a, *y = b;
    const char *const *names = arg;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return strcmp(names[x->item], names[y->item]);
}

/* The items that are still to be placed and have label l in table t (t NULL: all), shuffled; returns how many. */
static uint32_t folds_shuffled(struct folds *f, const uint8_t *t, uint32_t l)
{
    uint32_t m = 0, L = f->in->L;
    for (uint32_t i = 0; i < f->in->n; i++)
        if (!f->done[i] && (t == NULL || t[(size_t)i * L + l]))
            f->draw[m++] = (struct folds_draw){ fl_rng_order(f->seed, f->hash[i], l), i };
    qsort_r(f->draw, m, sizeof *f->draw, folds_by_key, (void *)(uintptr_t)f->in->names);
    return m;
}

static uint32_t folds_tie(const struct folds *f, uint32_t item, uint32_t l, uint32_t n)
{
    uint32_t r[4] = { 0 };
    fl_rng_block(f->seed, f->hash[item], l, 0, FL_OP_TIES, 0, r);
    return fl_rng_integer(r[0], n);
}

/* ---- loop ---- */

/* A fold with the fewest of label l by now, drawn among those; counts the item's labels of table t there. */
static void folds_put(struct folds *f, const uint8_t *t, uint32_t item, uint32_t l)
{
    uint32_t L = f->in->L, tied = 0;
    uint64_t least = UINT64_MAX;
    for (uint32_t k = 0; k < f->k; k++) {
        uint64_t have = f->have[(size_t)k * L + l];
        tied = have < least ? 1 : tied + (have == least);
        least = have < least ? have : least;
    }
    uint32_t pick = tied > 1 ? folds_tie(f, item, l, tied) : 0, k = 0;
    while (f->have[(size_t)k * L + l] != least || pick-- > 0)
        k++;
    f->fold[item] = k;
    f->done[item] = true;
    f->size[k]++;
    for (uint32_t m = 0; m < L; m++)
        f->have[(size_t)k * L + m] += t[(size_t)item * L + m];
}

static void folds_label(struct folds *f, const uint8_t *t, uint32_t l)
{
    uint32_t m = folds_shuffled(f, t, l);
    for (uint32_t i = 0; i < m; i++)
        folds_put(f, t, f->draw[i].item, l);
}

static void folds_totals(const struct folds *f, const uint8_t *t, uint64_t *total)
{
    for (uint32_t l = 0; l < f->in->L; l++)
        total[l] = 0;
    for (uint32_t i = 0; i < f->in->n; i++)
        for (uint32_t l = 0; l < f->in->L; l++)
            total[l] += t[(size_t)i * f->in->L + l];
}

/* Labels by rising total, ties by number. */
static void folds_sort(const uint64_t *total, uint32_t L, uint32_t *order)
{
    for (uint32_t l = 0; l < L; l++) {
        uint32_t at = l;
        for (; at > 0 && total[order[at - 1]] > total[l]; at--)
            order[at] = order[at - 1];
        order[at] = l;
    }
}

static void folds_rest(struct folds *f)
{
    uint32_t m = folds_shuffled(f, NULL, f->in->L);
    for (uint32_t i = 0; i < m; i++) {
        uint32_t best = 0;
        for (uint32_t k = 1; k < f->k; k++)
            best = f->size[k] < f->size[best] ? k : best;
        f->fold[f->draw[i].item] = best;
        f->done[f->draw[i].item] = true;
        f->size[best]++;
    }
}

/* Counts of the true labels, where columns were inverted until now. */
static void folds_recount(struct folds *f)
{
    uint32_t L = f->in->L;
    memset(f->have, 0, (size_t)f->k * L * sizeof *f->have);
    for (uint32_t i = 0; i < f->in->n; i++)
        for (uint32_t l = 0; f->done[i] && l < L; l++)
            f->have[(size_t)f->fold[i] * L + l] += f->in->y[(size_t)i * L + l];
}

int fl_folds_loop(const struct fl_fold_items *in, uint32_t k, uint64_t seed, uint32_t *fold, struct fl_err *err)
{
    struct folds f;
    uint64_t total[64] = { 0 }, inverted[64] = { 0 };
    uint32_t order[64] = { 0 }, L = in->L;
    int rc = folds_init(&f, in, k, seed, fold, err);
    if (rc != FL_OK)
        return rc;
    folds_totals(&f, in->y, total);
    for (size_t i = 0; i < (size_t)in->n * L; i++)
        f.t[i] = in->y[i] ^ (2 * total[i % L] > in->n);
    folds_totals(&f, f.t, inverted);
    folds_sort(inverted, L, order);
    for (uint32_t i = 0; i < L; i++)
        folds_label(&f, f.t, order[i]);
    folds_recount(&f);
    folds_sort(total, L, order);
    for (uint32_t i = L; i-- > 0; )
        if (2 * total[order[i]] > in->n)
            folds_label(&f, in->y, order[i]);
    folds_rest(&f);
    folds_done(&f);
    return FL_OK;
}

/* ---- iterative ---- */

/* The label with the fewest items left, above none; ties by the draws of "folds/<label>". L when there is none. */
static uint32_t folds_rarest(const struct folds *f, const uint64_t *left, uint32_t step)
{
    uint32_t best = f->in->L;
    uint64_t key = 0;
    for (uint32_t l = 0; l < f->in->L; l++) {
        if (left[l] == 0 || (best < f->in->L && left[l] > left[best]))
            continue;
        char name[128] = "folds/";
        uint32_t r[4] = { 0 };
        strncat(name, f->in->labels[l], sizeof name - 7);
        fl_rng_block(f->seed, fl_rng_tile(name, strlen(name)), step, 0, FL_OP_TIES, 0, r);
        uint64_t mine = (uint64_t)r[0] << 32 | r[1];
        if (best == f->in->L || left[l] < left[best] || mine < key) {
            best = l;
            key = mine;
        }
    }
    return best;
}

/* The fold that wants most of label l, of those the one that wants most items, of those one drawn. */
static uint32_t folds_wanting(const struct folds *f, uint32_t item, uint32_t l)
{
    uint32_t L = f->in->L, *tied = f->tied, n = 0;
    const double *all = f->want + (size_t)f->k * L;
    for (uint32_t k = 0; k < f->k; k++) {
        double a = f->want[(size_t)k * L + l], b = n > 0 ? f->want[(size_t)tied[0] * L + l] : 0;
        if (n > 0 && (a < b || (a == b && all[k] < all[tied[0]])))
            continue;
        if (n > 0 && (a > b || all[k] > all[tied[0]]))
            n = 0;
        tied[n++] = k;
    }
    return tied[n > 1 ? folds_tie(f, item, l, n) : 0];
}

static void folds_assign(struct folds *f, uint32_t item, uint32_t k, uint64_t *left)
{
    uint32_t L = f->in->L;
    f->fold[item] = k;
    f->done[item] = true;
    f->want[(size_t)f->k * L + k] -= 1;
    for (uint32_t l = 0; l < L; l++)
        if (f->in->y[(size_t)item * L + l]) {
            f->want[(size_t)k * L + l] -= 1;
            left[l]--;
        }
}

int fl_folds_iterative(const struct fl_fold_items *in, uint32_t k, uint64_t seed, uint32_t *fold, struct fl_err *err)
{
    struct folds f;
    uint64_t left[64] = { 0 };
    uint32_t L = in->L, l;
    int rc = folds_init(&f, in, k, seed, fold, err);
    if (rc != FL_OK)
        return rc;
    folds_totals(&f, in->y, left);
    for (uint32_t i = 0; i < k; i++) {
        f.want[(size_t)k * L + i] = (double)in->n / k;
        for (l = 0; l < L; l++)
            f.want[(size_t)i * L + l] = (double)left[l] / k;
    }
    for (uint32_t step = 0; (l = folds_rarest(&f, left, step)) < L; step++)
        for (uint32_t i = 0, m = folds_shuffled(&f, in->y, l); i < m; i++)
            folds_assign(&f, f.draw[i].item, folds_wanting(&f, f.draw[i].item, l), left);
    for (uint32_t i = 0, m = folds_shuffled(&f, NULL, L); i < m; i++) {
        uint32_t best = 0;
        const double *all = f.want + (size_t)k * L;
        for (uint32_t g = 1; g < k; g++)
            best = all[g] > all[best] ? g : best;
        folds_assign(&f, f.draw[i].item, best, left);
    }
    folds_done(&f);
    return FL_OK;
}

/* ---- random ---- */

int fl_folds_random(const struct fl_fold_items *in, uint32_t k, uint64_t seed, uint32_t *fold, struct fl_err *err)
{
    struct folds f;
    int rc = folds_init(&f, in, k, seed, fold, err);
    if (rc != FL_OK)
        return rc;
    uint32_t m = folds_shuffled(&f, NULL, 0);
    for (uint32_t i = 0; i < m; i++)
        fold[f.draw[i].item] = i % k;
    folds_done(&f);
    return FL_OK;
}
