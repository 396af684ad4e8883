/* Decoders under independent labels: thresholds, enumeration, and the exact optimum of one row. */
#include "runtime/f2.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/metric.h"

int fl_f2_init(struct fl_f2 *f, uint32_t L, double beta, double empty_score, uint64_t exclusive, uint32_t rest_off, struct fl_err *err)
{
    if (L == 0 || L > FL_MAX_LABELS)
        return fl_err_set(err, FL_E_CONFIG, "%u labels, want 1..%u", L, FL_MAX_LABELS);
    if (!(beta > 0.0) || !isfinite(beta * beta))
        return fl_err_set(err, FL_E_CONFIG, "beta %g, want a positive number", beta);
    if (!(empty_score >= 0.0 && empty_score <= 1.0))
        return fl_err_set(err, FL_E_CONFIG, "empty_score %g, want 0..1", empty_score);
    if (L < 64 && exclusive >> L)
        return fl_err_set(err, FL_E_CONFIG, "the exclusive group names a label beyond the %u there are", L);
    if (rest_off != UINT32_MAX && (rest_off >= L || !(exclusive >> rest_off & 1)))
        return fl_err_set(err, FL_E_CONFIG, "the label that allows no other is not in the exclusive group");
    *f = (struct fl_f2){ .L = L, .b2 = beta * beta, .empty_score = empty_score, .exclusive = exclusive, .rest_off = rest_off };
    for (uint32_t k = 0; k <= L; k++)
        for (uint32_t s = 0; s <= L; s++)
            f->w[k][s] = k + s ? (1.0 + f->b2) / (k + f->b2 * s) : 0.0;
    return FL_OK;
}

void fl_f2_join(double *d, uint32_t n, double p)
{
    d[n + 1] = d[n] * p;
    for (uint32_t a = n; a > 0; a--)
        d[a] = d[a] * (1.0 - p) + d[a - 1] * p;
    d[0] *= 1.0 - p;
}

/* Sum over a hits among k predicted and b true ones among the m others. The sums over b run side by side, one for each a. */
static double f2_value(const struct fl_f2 *f, uint32_t k, const double *A, uint32_t m, const double *B)
{
    if (k == 0)
        return B[0] * f->empty_score;
    double in[FL_MAX_LABELS + 1] = { 0.0 }, e = 0.0;
    for (uint32_t b = 0; b <= m; b++)
        for (uint32_t a = 1; a <= k; a++)
            in[a] += B[b] * f->w[k][a + b];
    for (uint32_t a = 1; a <= k; a++)
        e += A[a] * a * in[a];
    return e;
}

double fl_f2_expected(const struct fl_f2 *f, const double *p, uint64_t set)
{
    double A[FL_MAX_LABELS + 1] = { 1.0 }, B[FL_MAX_LABELS + 1] = { 1.0 };
    uint32_t k = 0, m = 0;
    for (uint32_t l = 0; l < f->L; l++) {
        if (set >> l & 1)
            fl_f2_join(A, k++, p[l]);
        else
            fl_f2_join(B, m++, p[l]);
    }
    return f2_value(f, k, A, m, B);
}

uint64_t fl_f2_threshold(const struct fl_f2 *f, const double *p, const double *t)
{
    uint64_t set = 0;
    for (uint32_t l = 0; l < f->L; l++)
        if (p[l] > t[l])
            set |= UINT64_C(1) << l;
    return set;
}

/* Labels by falling p, equal ones by rising id. */
static void f2_order(uint32_t L, const double *p, uint32_t *order)
{
    for (uint32_t i = 0; i < L; i++) {
        uint32_t at = i;
        for (; at > 0 && p[order[at - 1]] < p[i]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}

/* For a fixed size k the k most probable labels are best: for p_i >= p_j label i adds at least as much as j, whatever else is in the set.
 * So only n+1 sets are candidates, each valued from the counts of its two parts. */
uint64_t fl_f2_exact(const struct fl_f2 *f, const double *p, double *e)
{
    uint32_t n = f->L, order[FL_MAX_LABELS] = { 0 };
    double A[FL_MAX_LABELS + 1] = { 1.0 }, B[FL_MAX_LABELS + 1][FL_MAX_LABELS + 1], E[FL_MAX_LABELS + 1] = { 0.0 }, best = 0.0;
    f2_order(n, p, order);
    B[n][0] = 1.0;
    for (uint32_t k = n; k-- > 0; ) {
        memcpy(B[k], B[k + 1], (n - k) * sizeof B[k][0]);
        fl_f2_join(B[k], n - k - 1, p[order[k]]);
    }
    for (uint32_t k = 0; k <= n; k++) {
        E[k] = f2_value(f, k, A, n - k, B[k]);
        if (E[k] > best)
            best = E[k];
        if (k < n)
            fl_f2_join(A, k, p[order[k]]);
    }
    uint32_t k = 0;
    uint64_t set = 0;
    for (; k < n && E[k] < best - FL_TIE; k++)
        set |= UINT64_C(1) << order[k];
    *e = E[k];
    return set;
}

/* The set of assignment c of the free labels; the lowest free label is the slowest digit. */
static uint64_t f2_assign(uint32_t nfree, const uint32_t *free_, uint32_t c)
{
    uint64_t set = 0;
    for (uint32_t j = 0; j < nfree; j++)
        if (c >> (nfree - 1 - j) & 1)
            set |= UINT64_C(1) << free_[j];
    return set;
}

/* What a truth is believed beside its probability. */
struct f2_belief { int hacks; uint64_t primary; };

static double f2_doubt(const struct fl_f2 *f, const struct f2_belief *b, uint64_t y)
{
    if (!b->hacks)
        return 1.0;
    uint64_t rest = f->rest_off < f->L ? UINT64_C(1) << f->rest_off : 0, group = y & f->exclusive;
    if ((y & rest) != 0 && y != rest)
        return (y & b->primary) != 0 ? 0.87 : 0.9;
    return (group & (group - 1)) != 0 ? 0.9 : 1.0;
}

static double f2_truth(const struct fl_f2 *f, const struct f2_belief *b, const double *p, uint64_t y)
{
    double q = f2_doubt(f, b, y);
    for (uint32_t l = 0; l < f->L; l++)
        q *= y >> l & 1 ? p[l] : 1.0 - p[l];
    return y == 0 || q <= 1e-7 ? 0.0 : q;
}

/* Scores of all assignments against all truths. Both are the fixed labels plus free ones, so counts of the digits are enough. */
static double f2_enum_scores(const struct fl_f2 *f, uint32_t fixed, uint32_t nfree, const double *truth, double *score)
{
    uint8_t digits[1u << FL_F2_FREE];
    uint32_t n = 1u << nfree;
    double best = 0.0;
    digits[0] = 0;
    for (uint32_t c = 1; c < n; c++)
        digits[c] = (uint8_t)(digits[c >> 1] + (c & 1));
    for (uint32_t h = 0; h < n; h++) {
        const double *w = f->w[fixed + digits[h]] + fixed;
        double s = 0.0;
        for (uint32_t y = 0; y < n; y++)
            s += truth[y] * (double)(fixed + digits[y & h]) * w[digits[y]];
        score[h] = s;
        if (s > best)
            best = s;
    }
    return best;
}

static uint64_t f2_enum(const struct fl_f2 *f, const double *p, const struct f2_belief *b, double *work, int *many)
{
    uint32_t free_[FL_MAX_LABELS], nfree = 0, fixed = 0;
    uint64_t on = 0;
    for (uint32_t l = 0; l < f->L; l++) {
        if (p[l] >= 0.5) {
            on |= UINT64_C(1) << l;
            fixed++;
        } else if (p[l] >= 0.05) {
            free_[nfree++] = l;
        }
    }
    *many = nfree > FL_F2_FREE;
    if (*many) {
        double e;
        return fl_f2_exact(f, p, &e);
    }
    double *truth = work, *score = work + (1u << FL_F2_FREE);
    for (uint32_t y = 0; y < 1u << nfree; y++)
        truth[y] = f2_truth(f, b, p, on | f2_assign(nfree, free_, y));
    double best = f2_enum_scores(f, fixed, nfree, truth, score);
    uint32_t h = 0;
    while (score[h] < best - FL_TIE)
        h++;
    return on | f2_assign(nfree, free_, h);
}

uint64_t fl_f2_bayes_enum(const struct fl_f2 *f, const double *p, double *work, int *many)
{
    return f2_enum(f, p, &(struct f2_belief){ 0, 0 }, work, many);
}

uint64_t fl_f2_bayes_enum_hacks(const struct fl_f2 *f, const double *p, uint32_t primary, double *work, int *many)
{
    return f2_enum(f, p, &(struct f2_belief){ 1, primary < f->L ? UINT64_C(1) << primary : 0 }, work, many);
}

/* For a fixed size the best set is a prefix of the order, the second best the prefix with its last label and the next one exchanged. */
uint64_t fl_f2_runner_up(const struct fl_f2 *f, const double *p, uint64_t set, double *e)
{
    uint32_t n = f->L, order[FL_MAX_LABELS] = { 0 };
    uint64_t prefix = 0, best = 0;
    f2_order(n, p, order);
    *e = -1.0;
    for (uint32_t k = 0; k <= n; k++) {
        uint64_t other = prefix;
        if (prefix == set && k > 0 && k < n)
            other = prefix ^ UINT64_C(1) << order[k - 1] ^ UINT64_C(1) << order[k];
        double v = other != set ? fl_f2_expected(f, p, other) : -1.0;
        if (v > *e + FL_TIE) {
            *e = v;
            best = other;
        }
        if (k < n)
            prefix |= UINT64_C(1) << order[k];
    }
    return best;
}

double fl_f2_threshold_of(double beta) { return 1.0 / (1.0 + beta * beta); }

/* Mean F-beta when label l takes threshold t and the others stay: tp, ny, nh are each row's counts without label l. */
static double f2_try(const struct fl_f2 *f, uint64_t n, const float *p, const uint8_t *y, uint32_t l, double t, const uint8_t *counts)
{
    double sum = 0.0;
    for (uint64_t r = 0; r < n; r++) {
        uint32_t h = p[r * f->L + l] > t, c = y[r * f->L + l];
        sum += fl_fbeta(counts[3 * r] + (h & c), counts[3 * r + 1] + c, counts[3 * r + 2] + h, f->b2, f->empty_score);
    }
    return sum / (double)n;
}

static void f2_counts(const struct fl_f2 *f, uint64_t n, const float *p, const uint8_t *y, uint32_t but, const double *t, uint8_t *counts)
{
    for (uint64_t r = 0; r < n; r++) {
        uint32_t tp = 0, ny = 0, nh = 0;
        for (uint32_t l = 0; l < f->L; l++) {
            uint32_t h = p[r * f->L + l] > t[l], c = y[r * f->L + l];
            tp += l != but && (h & c);
            ny += l != but && c;
            nh += l != but && h;
        }
        counts[3 * r] = (uint8_t)tp;
        counts[3 * r + 1] = (uint8_t)ny;
        counts[3 * r + 2] = (uint8_t)nh;
    }
}

int fl_f2_fit_per_class(const struct fl_f2 *f, uint64_t n, const float *p, const uint8_t *y, uint64_t fixed, double *t, struct fl_err *err)
{
    if (n == 0)
        return fl_err_set(err, FL_E_INPUT, "no rows to fit thresholds on");
    uint8_t *counts = calloc(n, 3);
    if (counts == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for %llu rows", (unsigned long long)n);
    for (uint32_t l = 0; l < f->L; l++)
        t[l] = fl_f2_threshold_of(sqrt(f->b2));
    for (uint32_t l = 0; l < f->L; l++) {
        double best = -1.0;
        if (fixed >> l & 1)
            continue;
        f2_counts(f, n, p, y, l, t, counts);
        for (int g = 5; g <= 49; g++) {
            double s = f2_try(f, n, p, y, l, g / 100.0, counts);
            if (s > best) {
                best = s;
                t[l] = g / 100.0;
            }
        }
    }
    free(counts);
    return FL_OK;
}
