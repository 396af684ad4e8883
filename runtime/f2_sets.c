/* Decoder over the label sets that were seen in training. */
#include <stdlib.h>

#include "runtime/f2.h"
#include "runtime/metric.h"

#define F2_SETS_MAX 4096u

static uint64_t sets_of(const uint8_t *y, uint32_t L)
{
    uint64_t set = 0;
    for (uint32_t l = 0; l < L; l++)
        set |= (uint64_t)(y[l] & 1) << l;
    return set;
}

static int sets_known(const struct fl_f2_sets *s, uint64_t set)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (s->set[i] == set)
            return 1;
    return 0;
}

static double sets_value(const struct fl_f2 *f, uint64_t answer, uint64_t truth)
{
    return fl_fbeta((uint32_t)__builtin_popcountll(answer & truth), (uint32_t)__builtin_popcountll(truth), (uint32_t)__builtin_popcountll(answer), f->b2,
                    f->empty_score);
}

int fl_f2_sets_init(const struct fl_f2 *f, uint64_t rows, const uint8_t *y, struct fl_f2_sets *out, struct fl_err *err)
{
    struct fl_f2_sets s = { .set = malloc(F2_SETS_MAX * sizeof *s.set) };
    int rc = s.set != NULL ? FL_OK : fl_err_set(err, FL_E_NOMEM, "no memory for label sets");
    for (uint64_t r = 0; rc == FL_OK && r < rows; r++) {
        uint64_t set = sets_of(y + r * f->L, f->L);
        if (sets_known(&s, set))
            continue;
        if (s.n == F2_SETS_MAX)
            rc = fl_err_set(err, FL_E_CONFIG, "more than %u different label sets", F2_SETS_MAX);
        else
            s.set[s.n++] = set;
    }
    if (rc == FL_OK && s.n == 0)
        rc = fl_err_set(err, FL_E_CONFIG, "no label sets to choose from");
    s.value = rc == FL_OK ? malloc((size_t)s.n * s.n * sizeof *s.value) : NULL;
    s.weight = rc == FL_OK ? malloc(s.n * sizeof *s.weight) : NULL;
    if (rc == FL_OK && (s.value == NULL || s.weight == NULL))
        rc = fl_err_set(err, FL_E_NOMEM, "no memory for %u label sets", s.n);
    for (uint32_t i = 0; rc == FL_OK && i < s.n; i++)
        for (uint32_t j = 0; j < s.n; j++)
            s.value[(size_t)i * s.n + j] = sets_value(f, s.set[i], s.set[j]);
    if (rc == FL_OK)
        *out = s;
    else
        fl_f2_sets_free(&s);
    return rc;
}

uint64_t fl_f2_labelset(const struct fl_f2_sets *s, uint32_t L, const double *p, double *e)
{
    double sum = 0.0, best = -1.0;
    uint32_t won = 0;
    for (uint32_t u = 0; u < s->n; u++) {
        s->weight[u] = 1.0;
        for (uint32_t l = 0; l < L; l++)
            s->weight[u] *= s->set[u] >> l & 1 ? p[l] : 1.0 - p[l];
        sum += s->weight[u];
    }
    for (uint32_t u = 0; u < s->n; u++)
        s->weight[u] = sum > 0.0 ? s->weight[u] / sum : 1.0 / s->n;
    for (uint32_t t = 0; t < s->n; t++) {
        const double *v = s->value + (size_t)t * s->n;
        double x = 0.0;
        for (uint32_t u = 0; u < s->n; u++)
            x += s->weight[u] * v[u];
        if (x > best + FL_TIE) {
            best = x;
            won = t;
        }
    }
    *e = best;
    return s->set[won];
}

void fl_f2_sets_free(struct fl_f2_sets *s)
{
    free(s->set);
    free(s->value);
    free(s->weight);
    *s = (struct fl_f2_sets){ 0 };
}
