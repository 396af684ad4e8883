/* Blend weights: convex cross-entropy by Newton steps on the simplex, and greedy selection. */
#include "stages/level2/blend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/merge.h"
#include "runtime/metric.h"
#include "runtime/f2.h"

#define BLEND_ROWS  1024u              /* from one count of the progress to the next */
#define BLEND_PAIRS 100000u            /* moves of weight within one quadratic problem */
#define BLEND_LEAST 1e-9               /* of a step: none so short is taken */
#define BLEND_NOISE 1e-13              /* of the loss: what two sums over all rows may differ by */

/* Of what was seen at entry (i, l): the probability that prediction m gave it. */
static double blend_seen(const struct fl_l2_blend *b, uint32_t m, uint32_t i, uint32_t l)
{
    size_t e = (size_t)i * b->L + l;
    double p = fl_prob_clamp((double)b->p[m][e]);
    return b->y[e] ? p : 1.0 - p;
}

/* Row i is looked at. */
static void blend_step(const struct fl_l2_blend *b, uint32_t i)
{
    if (b->progress != NULL && i % BLEND_ROWS == 0)
        atomic_fetch_add(b->progress, 1);
}

/* Mean loss; with g [M] and H [M][M] its derivatives too. q: [M] scratch. */
static double blend_at(const struct fl_l2_blend *b, const double *w, double *g, double *H, double *q)
{
    uint32_t M = b->M;
    double loss = 0.0, count = 0.0;
    if (g != NULL) {
        memset(g, 0, M * sizeof *g);
        memset(H, 0, (size_t)M * M * sizeof *H);
    }
    for (uint32_t i = 0; i < b->n; i++) {
        blend_step(b, i);
        if (b->fold != NULL && b->fold[i] == b->skip)
            continue;
        for (uint32_t l = b->label == UINT32_MAX ? 0 : b->label; l < (b->label == UINT32_MAX ? b->L : b->label + 1); l++) {
            double mix = 0.0;
            for (uint32_t m = 0; m < M; m++)
                mix += w[m] * (q[m] = blend_seen(b, m, i, l));
            loss -= log(mix);
            count++;
            for (uint32_t m = 0; g != NULL && m < M; m++) {
                double r = q[m] /= mix;
                g[m] -= r;
                for (uint32_t k = 0; k <= m; k++)
                    H[(size_t)m * M + k] += r * q[k];
            }
        }
    }
    count = count > 0.0 ? count : 1.0;
    for (uint32_t m = 0; g != NULL && m < M; m++) {
        g[m] /= count;
        for (uint32_t k = 0; k <= m; k++)
            H[(size_t)m * M + k] = H[(size_t)k * M + m] = H[(size_t)m * M + k] / count;
    }
    return loss / count;
}

/* How much less the loss could be at most, by its tangent. */
static double blend_gap(uint32_t M, const double *w, const double *g)
{
    double mean = 0.0, least = g[0];
    for (uint32_t m = 0; m < M; m++) {
        mean += w[m] * g[m];
        least = fmin(least, g[m]);
    }
    return mean - least;
}

/* What moving weight from m to `to` gains at most by slopes s, and how much is moved. */
static double blend_move(uint32_t M, const double *H, const double *v, const double *s, uint32_t to, uint32_t m, double *step)
{
    double slope = s[m] - s[to], bend = H[(size_t)to * M + to] + H[(size_t)m * M + m] - 2 * H[(size_t)to * M + m];
    *step = bend * v[m] > slope ? slope / bend : v[m];
    return *step * (slope - fmax(bend, 0.0) * *step / 2);
}

/* Minimises g'(v - w) + (v - w)'H(v - w)/2 over the simplex from v = w: weight moves to the least slope from where that gains most. s: [M] slopes. */
static void blend_quadratic(uint32_t M, const double *g, const double *H, double *v, double *s)
{
    memcpy(s, g, M * sizeof *s);
    for (uint32_t move = 0; move < BLEND_PAIRS; move++) {
        uint32_t to = 0, from = M;
        double most = 0.0, worst = 0.0, step = 0.0, by;
        for (uint32_t m = 1; m < M; m++)
            to = s[m] < s[to] ? m : to;
        for (uint32_t m = 0; m < M; m++) {
            if (!(v[m] > 0.0 && s[m] > s[to]))
                continue;
            double gain = blend_move(M, H, v, s, to, m, &by);
            worst = fmax(worst, s[m] - s[to]);
            if (from == M || gain > most) {
                from = m;
                most = gain;
                step = by;
            }
        }
        if (worst <= FL_L2_BLEND_GAP * 1e-3)
            return;
        v[to] += step;
        v[from] = step == v[from] ? 0.0 : v[from] - step;
        for (uint32_t m = 0; m < M; m++)
            s[m] += step * (H[(size_t)m * M + to] - H[(size_t)m * M + from]);
    }
}

static void blend_between(uint32_t M, const double *w, const double *v, double part, double *out)
{
    for (uint32_t m = 0; m < M; m++)
        out[m] = w[m] + part * (v[m] - w[m]);
}

int fl_l2_blend(const struct fl_l2_blend *b, double *w, struct fl_l2_blend_end *end, struct fl_err *err)
{
    uint32_t M = b->M;
    if (M == 0)
        return fl_err_set(err, FL_E_CONFIG, "no predictions to blend");
    double *g = calloc((size_t)M * M + 5 * (size_t)M, sizeof *g), part = 1.0;
    if (g == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for weights of %u predictions", M);
    double *q = g + M, *v = q + M, *s = v + M, *next = s + M, *H = next + M;
    for (uint32_t m = 0; m < M; m++)
        w[m] = 1.0 / M;
    for (end->steps = 0; part > BLEND_LEAST; end->steps++) {
        double loss = blend_at(b, w, g, H, q);
        end->gap = blend_gap(M, w, g);
        if (end->gap < FL_L2_BLEND_GAP || end->steps == FL_L2_BLEND_STEPS)
            break;
        memcpy(v, w, M * sizeof *v);
        blend_quadratic(M, g, H, v, s);
        part = 1.0;
        do
            blend_between(M, w, v, part, next);
        while (!(blend_at(b, next, NULL, NULL, q) <= loss * (1.0 + BLEND_NOISE)) && (part /= 2) > BLEND_LEAST);
        if (part > BLEND_LEAST)
            memcpy(w, next, M * sizeof *w);
    }
    free(g);
    return FL_OK;
}

/* ---- greedy ---- */

struct greedy { const struct fl_l2_blend *b; struct fl_f2 f; double *sum, *p, *e, *work; uint64_t *sets; int exact; };

/* Mean F2 of (sum + p_m) / many. */
static double greedy_score(struct greedy *g, uint32_t m, uint32_t many)
{
    const struct fl_l2_blend *b = g->b;
    uint32_t L = b->L, rows = 0;
    double t[FL_MAX_LABELS], f2 = 0.0;
    for (uint32_t l = 0; l < L; l++)
        t[l] = 0.2;
    for (size_t i = 0; i < (size_t)b->n * L; i++)
        g->p[i] = (g->sum[i] + (double)b->p[m][i]) / many;
    if (g->exact)
        fl_f2_exact_rows(&g->f, b->n, g->p, g->sets, g->e, g->work);
    for (uint32_t i = 0; i < b->n; i++) {
        blend_step(b, i);
        if (b->fold != NULL && b->fold[i] == b->skip)
            continue;
        uint64_t set = g->exact ? g->sets[i] : fl_f2_threshold(&g->f, g->p + (size_t)i * L, t), truth = 0;
        for (uint32_t l = 0; l < L; l++)
            truth |= (uint64_t)b->y[(size_t)i * L + l] << l;
        f2 += fl_fbeta((uint32_t)__builtin_popcountll(truth & set), (uint32_t)__builtin_popcountll(truth), (uint32_t)__builtin_popcountll(set), 4.0, 0.0);
        rows++;
    }
    return f2 / (rows > 0 ? rows : 1);
}

int fl_l2_greedy(const struct fl_l2_blend *b, uint32_t rounds, int exact, double *w, struct fl_err *err)
{
    struct greedy g = { .b = b, .exact = exact };
    int rc = fl_f2_init(&g.f, b->L, 2.0, 0.0, 0, UINT32_MAX, err);
    if (rc != FL_OK)
        return rc;
    size_t all = (size_t)b->n * b->L;
    g.sum = calloc(all + 1, sizeof *g.sum);
    g.p = malloc((all + 1) * sizeof *g.p);
    g.e = malloc((b->n + 1u) * sizeof *g.e);
    g.sets = malloc((b->n + 1u) * sizeof *g.sets);
    g.work = aligned_alloc(64, (fl_f2_work(b->L) * sizeof *g.work + 63) / 64 * 64);
    rc = g.sum && g.p && g.e && g.sets && g.work ? FL_OK : fl_err_set(err, FL_E_NOMEM, "no memory for %u rows", b->n);
    memset(w, 0, b->M * sizeof *w);
    for (uint32_t r = 0; rc == FL_OK && r < rounds; r++) {
        uint32_t best = 0;
        double most = -1.0;
        for (uint32_t m = 0; m < b->M; m++) {
            double f2 = greedy_score(&g, m, r + 1);
            if (f2 > most) {
                most = f2;
                best = m;
            }
        }
        w[best] += 1.0 / rounds;
        for (size_t i = 0; i < all; i++)
            g.sum[i] += (double)b->p[best][i];
    }
    free(g.sum);
    free(g.p);
    free(g.e);
    free(g.sets);
    free(g.work);
    return rc;
}
