/* Decoders for joint distributions: any, independent labels, and one weather label with independent others. */
#include "runtime/f2.h"

#include <string.h>

#include "runtime/metric.h"

#define F2_CLAMP 1e-7

/* Counts of m independent labels but one: before x after, so that nothing is divided by a p near 1. */
struct joint_counts {
    uint32_t m;
    double   pre[FL_MAX_LABELS + 1][FL_MAX_LABELS + 1], post[FL_MAX_LABELS + 1][FL_MAX_LABELS + 1];
};

static void joint_fill(struct joint_counts *c, uint32_t m, const double *p)
{
    c->m = m;
    c->pre[0][0] = c->post[m][0] = 1.0;
    for (uint32_t j = 0; j < m; j++) {
        memcpy(c->pre[j + 1], c->pre[j], (j + 1) * sizeof(double));
        fl_f2_join(c->pre[j + 1], j, p[j]);
    }
    for (uint32_t j = m; j-- > 0; ) {
        memcpy(c->post[j], c->post[j + 1], (m - j) * sizeof(double));
        fl_f2_join(c->post[j], m - j - 1, p[j]);
    }
}

/* out[0..m-1] = distribution of the count without label j. */
static void joint_without(const struct joint_counts *c, uint32_t j, double *out)
{
    for (uint32_t s = 0; s < c->m; s++)
        out[s] = 0.0;
    for (uint32_t a = 0; a <= j; a++)
        for (uint32_t b = 0; b <= c->m - 1 - j; b++)
            out[a + b] += c->pre[j][a] * c->post[j + 1][b];
}

/* Label `ids[j]` is true with p[j], independent of the others: Q[., s] = scale * p_j P(others = s - 1 - shift). Labels of equal p get equal
 * rows to the bit, so that ties between them stay ties. */
static void joint_rows(const struct joint_counts *c, uint32_t L, const uint32_t *ids, const double *p, double scale, uint32_t shift, double *Q)
{
    double d[FL_MAX_LABELS];
    for (uint32_t j = 0; j < c->m; j++) {
        double *row = Q + (size_t)ids[j] * L;
        uint32_t same = 0;
        while (p[same] != p[j])
            same++;
        if (same < j) {
            memcpy(row, Q + (size_t)ids[same] * L, L * sizeof *row);
            continue;
        }
        joint_without(c, j, d);
        for (uint32_t s = 0; s < c->m; s++)
            row[s + shift] = scale * p[j] * d[s];
    }
}

void fl_f2_q_independent(const struct fl_f2 *f, const double *p, double *Q, double *none)
{
    struct joint_counts c;
    uint32_t ids[FL_MAX_LABELS];
    for (uint32_t l = 0; l < f->L; l++)
        ids[l] = l;
    memset(Q, 0, (size_t)f->L * f->L * sizeof *Q);
    joint_fill(&c, f->L, p);
    joint_rows(&c, f->L, ids, p, 1.0, 0, Q);
    *none = c.post[0][0];
}

static int joint_is_weather(const struct fl_f2 *f, uint32_t l) { return (int)(f->exclusive >> l & 1); }

void fl_f2_q_weather(const struct fl_f2 *f, const double *q, const double *r, double *Q, double *none)
{
    struct joint_counts c;
    uint32_t ids[FL_MAX_LABELS] = { 0 }, m = 0;
    double p[FL_MAX_LABELS] = { 0.0 }, clear = 0.0;
    for (uint32_t l = 0; l < f->L; l++) {
        if (!joint_is_weather(f, l)) {
            ids[m] = l;
            p[m++] = r[l];
        } else if (l != f->rest_off) {
            clear += q[l];
        }
    }
    memset(Q, 0, (size_t)f->L * f->L * sizeof *Q);
    joint_fill(&c, m, p);
    for (uint32_t l = 0; l < f->L; l++) {
        if (!joint_is_weather(f, l))
            continue;
        if (l == f->rest_off)
            Q[(size_t)l * f->L] = q[l];
        else
            for (uint32_t s = 0; s <= m; s++)
                Q[(size_t)l * f->L + s] = q[l] * c.pre[m][s];
    }
    joint_rows(&c, f->L, ids, p, clear, 1, Q);
    *none = 0.0;
}

/* The best set of k labels with weather label w: w and the k-1 others of largest gain. */
static double joint_top(const struct fl_f2 *f, const double *D, uint32_t w, uint32_t k, uint64_t *set)
{
    double e = D[(size_t)w * f->L + k - 1];
    *set = UINT64_C(1) << w;
    for (uint32_t n = 1; n < k; n++) {
        uint32_t best = UINT32_MAX;
        for (uint32_t l = 0; l < f->L; l++) {
            if (joint_is_weather(f, l) || *set >> l & 1)
                continue;
            if (best == UINT32_MAX || D[(size_t)l * f->L + k - 1] > D[(size_t)best * f->L + k - 1])
                best = l;
        }
        if (best == UINT32_MAX)     /* all labels are in */
            break;
        e += D[(size_t)best * f->L + k - 1];
        *set |= UINT64_C(1) << best;
    }
    return e;
}

/* Exactly one weather label, and rest_off alone: sizes rising, weather labels rising, the first within a tie of the best. */
static double joint_constrained(const struct fl_f2 *f, const double *D, uint64_t *set)
{
    uint32_t ground = f->L - (uint32_t)__builtin_popcountll(f->exclusive);
    double best = -1.0, won = -1.0;
    for (int pass = 0; pass < 2; pass++)
        for (uint32_t k = 1; k <= ground + 1; k++)
            for (uint32_t w = 0; w < f->L; w++) {
                uint64_t s;
                if (!joint_is_weather(f, w) || (w == f->rest_off && k > 1))
                    continue;
                double e = joint_top(f, D, w, k, &s);
                if (pass == 0 && e > best)
                    best = e;
                if (pass == 1 && won < 0.0 && e >= best - FL_TIE) {
                    won = e;
                    *set = s;
                }
            }
    return won;
}

uint64_t fl_f2_gfm(const struct fl_f2 *f, const double *Q, double none, int weather1, double *e)
{
    double D[FL_MAX_LABELS * FL_MAX_LABELS];
    uint64_t set = 0;
    fl_gfm_gains(f->L, Q, f->b2, D);
    *e = weather1 ? joint_constrained(f, D, &set) : fl_gfm_pick(f->L, D, none * f->empty_score, &set);
    return set;
}

/* Makes q a distribution over the group; uniform when all of it is 0. */
static void joint_normalise(const struct fl_f2 *f, double *q)
{
    double sum = 0.0;
    uint32_t members = (uint32_t)__builtin_popcountll(f->exclusive);
    for (uint32_t l = 0; l < f->L; l++)
        if (joint_is_weather(f, l))
            sum += q[l];
    for (uint32_t l = 0; l < f->L; l++)
        if (joint_is_weather(f, l))
            q[l] = sum > 0.0 ? q[l] / sum : 1.0 / members;
}

void fl_f2_weather_norm(const struct fl_f2 *f, const double *p, double *q, double *r)
{
    memcpy(q, p, f->L * sizeof *q);
    joint_normalise(f, q);
    double open = f->rest_off < f->L ? 1.0 - q[f->rest_off] : 1.0;
    for (uint32_t l = 0; l < f->L; l++)
        r[l] = p[l] >= open ? 1.0 : p[l] / open;
}

static double joint_clamp(double p) { return p < F2_CLAMP ? F2_CLAMP : p > 1.0 - F2_CLAMP ? 1.0 - F2_CLAMP : p; }
static double joint_odds(double p) { return p / (1.0 - p); }

void fl_f2_weather_odds(const struct fl_f2 *f, const double *p, const double *pi, double *q, double *r)
{
    int any = 0;
    double open = f->rest_off < f->L ? 1.0 - pi[f->rest_off] : 1.0;
    for (uint32_t l = 0; l < f->L; l++) {
        double o = joint_odds(joint_clamp(p[l]));
        q[l] = (1.0 - pi[l]) * o;
        any |= joint_is_weather(f, l) && p[l] > 0.0;
        o *= joint_odds(joint_clamp(pi[l] / open)) / joint_odds(joint_clamp(pi[l]));
        r[l] = o / (1.0 + o);
    }
    if (!any)
        memset(q, 0, f->L * sizeof *q);
    joint_normalise(f, q);
}
