/* Decoders against known vectors, brute force over all sets and truths, and each other. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/metric.h"
#include "runtime/f2.h"
#include "tests/lib/check.h"

#define BIT(i) (UINT64_C(1) << (i))

static uint64_t rnd_state = 1;
static double rnd(void)
{
    rnd_state = rnd_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(rnd_state >> 11) * 0x1p-53;
}

static struct fl_f2 make(uint32_t L, double beta, double empty)
{
    struct fl_f2 f;
    struct fl_err err = { 0 };
    uint64_t ex = L == FL_DEFAULT_NLABELS ? FL_DEFAULT_EXCLUSIVE : 0;
    if (fl_f2_init(&f, L, beta, empty, ex, ex ? FL_DEFAULT_REST_OFF : UINT32_MAX, &err))
        fl_fail_at(__FILE__, __LINE__, "%s", err.text);
    return f;
}

/* Sum over all truths, straight from the definition. */
static double brute_value(uint32_t n, const double *joint, uint64_t h, double b2, double empty)
{
    double e = 0.0;
    for (uint64_t y = 0; y < BIT(n); y++) {
        int tp = __builtin_popcountll(y & h), ny = __builtin_popcountll(y), nh = __builtin_popcountll(h);
        e += joint[y] * (ny + nh == 0 ? empty : (1 + b2) * tp / (b2 * ny + nh));
    }
    return e;
}

static void brute_joint(uint32_t n, const double *p, double *joint)
{
    for (uint64_t y = 0; y < BIT(n); y++) {
        joint[y] = 1.0;
        for (uint32_t l = 0; l < n; l++)
            joint[y] *= y >> l & 1 ? p[l] : 1 - p[l];
    }
}

static const struct { double p[17]; uint64_t set; double e; } vectors[] = {
    { { .02, .01, .10, .005, .003, .85, .01, .002, .22, .30, .05, .12, .98, .45, .02, .03, .18 },
      BIT(5) | BIT(8) | BIT(9) | BIT(12) | BIT(13) | BIT(16), 0.757650260103 },
    { { .04, .04, .04, .04, .04, .04, .04, .04, .04, .04, .04, .04, .04, .04, .04, .04, .04 }, 0x1ffff, 0.146609639418 },
    { { .5, .5, .5, .5, .5, .5, .5, .5, .5, .5, .5, .5, .5, .5, .5, .5, .5 }, 0x1ffff, 0.821500031579 },
    { { [5] = .55, [11] = .45, [12] = 1 }, BIT(5) | BIT(11) | BIT(12), 0.883376623377 },
    { { [0] = .30, [5] = .02, [6] = .70, [10] = .20, [11] = .08, [12] = .28, [13] = .05, [16] = .10 },
      BIT(0) | BIT(6) | BIT(10) | BIT(12), 0.616814605895 },
};

FL_TEST(exact_meets_the_vectors)
{
    struct fl_f2 f = make(17, 2, 0);
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        double e;
        CHECK_INT(fl_f2_exact(&f, vectors[i].p, &e), vectors[i].set);
        CHECK_NEAR(e, vectors[i].e, 1e-12);
        CHECK_NEAR(fl_f2_expected(&f, vectors[i].p, vectors[i].set), vectors[i].e, 1e-12);
    }
    CHECK_NEAR(fl_f2_expected(&f, vectors[0].p, BIT(5) | BIT(8) | BIT(9) | BIT(12) | BIT(13)), 0.757482509, 1e-9);
}

FL_TEST(bayes_enum_meets_the_vectors)
{
    struct fl_f2 f = make(17, 2, 0);
    double *work = malloc(FL_F2_ENUM_WORK * sizeof *work), p[17];
    int many;
    CHECK(work != NULL);
    CHECK_INT(fl_f2_bayes_enum(&f, vectors[0].p, work, &many), BIT(5) | BIT(8) | BIT(9) | BIT(12) | BIT(13));
    CHECK_INT(many, 0);
    CHECK_INT(fl_f2_bayes_enum(&f, vectors[1].p, work, &many), 0);
    for (int l = 0; l < 17; l++)
        p[l] = l < 15 ? 0.2 : 0.01;
    double e;
    CHECK_INT(fl_f2_bayes_enum(&f, p, work, &many), fl_f2_exact(&f, p, &e));
    CHECK_INT(many, 1);
    for (int l = 0; l < 17; l++)
        p[l] = l < 14 ? 0.2 : 0.01;
    fl_f2_bayes_enum(&f, p, work, &many);
    CHECK_INT(many, 0);
    free(work);
}

/* The recipe's loop for f free labels, on sets; ties to the first in order with the lowest label slowest. */
static uint64_t slow_enum(uint32_t n, const double *p)
{
    uint64_t on = 0, mask = 0, best = 0;
    double joint[1024], top = -1;
    for (uint32_t l = 0; l < n; l++) {
        if (p[l] >= .5)
            on |= BIT(l);
        else if (p[l] >= .05)
            mask |= BIT(l);
    }
    brute_joint(n, p, joint);
    for (uint64_t y = 0; y < BIT(n); y++)
        if ((y & ~mask) != on || y == 0 || joint[y] <= 1e-7)
            joint[y] = 0;
    for (uint64_t d = 0; d < BIT(n); d++) {
        uint64_t h = 0;
        for (uint32_t l = 0; l < n; l++)
            h |= (d >> (n - 1 - l) & 1) << l;
        if ((h & ~mask) != on)
            continue;
        double e = brute_value(n, joint, h, 4, 0);
        if (e > top + 1e-12) {
            top = e;
            best = h;
        }
    }
    return best;
}

FL_TEST(bayes_enum_equals_its_definition)
{
    double *work = malloc(FL_F2_ENUM_WORK * sizeof *work), p[8];
    CHECK(work != NULL);
    struct fl_f2 f = make(8, 2, 0);
    for (int trial = 0; trial < 200; trial++) {
        int many;
        for (int l = 0; l < 8; l++)
            p[l] = pow(rnd(), 1 + trial % 3);
        CHECK_INT(fl_f2_bayes_enum(&f, p, work, &many), slow_enum(8, p));
    }
    free(work);
}

FL_TEST(exact_equals_brute_force)
{
    static double joint[1024];
    static const double betas[] = { 2, 1, 0.5, 3 };
    for (int trial = 0; trial < 120; trial++) {
        uint32_t n = 1 + (uint32_t)trial % 9;
        double beta = betas[trial % 4], empty = trial % 3 == 2, p[10], e, best = -1;
        if (trial == 119)
            n = 10;
        struct fl_f2 f = make(n, beta, empty);
        for (uint32_t l = 0; l < n; l++)
            p[l] = trial % 5 ? rnd() * rnd() : rnd();
        brute_joint(n, p, joint);
        for (uint64_t h = 0; h < BIT(n); h++) {
            double v = brute_value(n, joint, h, beta * beta, empty);
            CHECK_NEAR(fl_f2_expected(&f, p, h), v, 1e-14);
            best = v > best ? v : best;
        }
        uint64_t set = fl_f2_exact(&f, p, &e);
        CHECK_NEAR(e, best, 1e-12);
        CHECK_NEAR(brute_value(n, joint, set, beta * beta, empty), best, 1e-12);
    }
}

FL_TEST(gfm_equals_exact_and_brute_force)
{
    static double joint[256], Q[64 * 64];
    static const double betas[] = { 2, 1, .5, 3 };
    for (int trial = 0; trial < 100; trial++) {
        uint32_t n = 2 + (uint32_t)trial % 7;
        double beta = betas[trial % 4], b2 = beta * beta, empty = trial % 3 == 2;
        struct fl_f2 f = make(n, beta, empty);
        double p[8], none, e, e2, sum = 0;
        for (uint32_t l = 0; l < n; l++)
            p[l] = rnd();
        fl_f2_q_independent(&f, p, Q, &none);
        uint64_t a = fl_f2_gfm(&f, Q, none, 0, &e), b = fl_f2_exact(&f, p, &e2);
        CHECK_INT(a, b);
        CHECK_NEAR(e, e2, 1e-13);
        for (uint64_t y = 0; y < BIT(n); y++)
            sum += joint[y] = rnd() * rnd();
        memset(Q, 0, sizeof Q);
        for (uint64_t y = 0; y < BIT(n); y++) {
            joint[y] /= sum;
            for (uint32_t l = 0; l < n; l++)
                if (y >> l & 1)
                    Q[l * n + (uint32_t)__builtin_popcountll(y) - 1] += joint[y];
        }
        double best = -1;
        for (uint64_t h = 0; h < BIT(n); h++)
            best = fmax(best, brute_value(n, joint, h, b2, empty));
        a = fl_f2_gfm(&f, Q, joint[0], 0, &e);
        CHECK_NEAR(e, best, 1e-12);
        CHECK_NEAR(brute_value(n, joint, a, b2, empty), best, 1e-12);
    }
}

/* The constraint on independent labels: the best of the sets that it allows. */
FL_TEST(one_weather_label_of_independent_ones)
{
    static double joint[256], Q[64];
    static const double betas[] = { 2, 1, .5, 3 };
    struct fl_err err = { 0 };
    for (int trial = 0; trial < 100; trial++) {
        struct fl_f2 f;
        double p[8], none, e, best = -1, beta = betas[trial % 4];
        CHECK_OK(fl_f2_init(&f, 8, beta, trial % 3 == 2, 0x0f, trial % 2 ? 1 : UINT32_MAX, &err), err);
        for (int l = 0; l < 8; l++)
            p[l] = rnd() * (trial % 5 ? rnd() : 1);
        brute_joint(8, p, joint);
        for (uint64_t h = 0; h < 256; h++)
            if (__builtin_popcountll(h & 15) == 1 && (trial % 2 == 0 || (h & 2) == 0 || h == 2))
                best = fmax(best, brute_value(8, joint, h, beta * beta, 0));
        fl_f2_q_independent(&f, p, Q, &none);
        uint64_t set = fl_f2_gfm(&f, Q, none, 1, &e);
        CHECK_NEAR(e, best, 1e-12);
        CHECK_NEAR(brute_value(8, joint, set, beta * beta, 0), best, 1e-12);
        CHECK_INT(__builtin_popcountll(set & 15), 1);
    }
}

static const double weather_q[17] = { [5] = .55, [6] = .25, [10] = .05, [11] = .15 };
static const double weather_r[17] = { .10, .02, .12, .005, .003, 0, 0, .004, .22, .30, 0, 0, .97, .45, .02, .03, .18 };

FL_TEST(weather_meets_the_vector)
{
    static double Q[17 * 17];
    struct fl_f2 f = make(17, 2, 0);
    double none, e, p[17];
    fl_f2_q_weather(&f, weather_q, weather_r, Q, &none);
    CHECK_INT(fl_f2_gfm(&f, Q, none, 0, &e), BIT(5) | BIT(6) | BIT(9) | BIT(12) | BIT(13));
    CHECK_NEAR(e, 0.633437169352, 1e-12);
    CHECK_INT(fl_f2_gfm(&f, Q, none, 1, &e), BIT(5) | BIT(8) | BIT(9) | BIT(12) | BIT(13) | BIT(16));
    CHECK_NEAR(e, 0.535628522056, 1e-12);
    for (int l = 0; l < 17; l++)
        p[l] = FL_DEFAULT_EXCLUSIVE >> l & 1 ? weather_q[l] : weather_r[l] * (1 - weather_q[6]);
    CHECK_INT(fl_f2_exact(&f, p, &e), BIT(5) | BIT(6) | BIT(8) | BIT(9) | BIT(11) | BIT(12) | BIT(13));
    double q[17], r[17];
    fl_f2_weather_norm(&f, p, q, r);
    for (int l = 0; l < 17; l++)
        CHECK_NEAR(FL_DEFAULT_EXCLUSIVE >> l & 1 ? q[l] - weather_q[l] : r[l] - weather_r[l], 0, 1e-15);
}

/* Four weather labels {0,1,2,3} (1 = alone) and four others: all sets against all truths. */
FL_TEST(weather_equals_brute_force)
{
    static double joint[256], Q[64];
    struct fl_err err = { 0 };
    static const double betas[] = { 2, 1, .5, 3 };
    struct fl_f2 f;
    for (int trial = 0; trial < 200; trial++) {
        double q[8], r[8], sum = 0, none, e, best = -1, bound = -1, b2 = betas[trial % 4] * betas[trial % 4];
        CHECK_OK(fl_f2_init(&f, 8, betas[trial % 4], 0, 0x0f, 1, &err), err);
        for (int l = 0; l < 8; l++) {
            q[l] = rnd();
            r[l] = rnd() * rnd();
            sum += l < 4 ? q[l] : 0;
        }
        memset(joint, 0, sizeof joint);
        for (int w = 0; w < 4; w++)
            for (uint64_t g = 0; g < 16; g++) {
                double v = q[w] /= g ? 1 : sum;
                for (int j = 0; j < 4 && w != 1; j++)
                    v *= g >> j & 1 ? r[4 + j] : 1 - r[4 + j];
                if (w != 1 || g == 0)
                    joint[BIT(w) | g << 4] = v;
            }
        for (uint64_t h = 0; h < 256; h++) {
            double v = brute_value(8, joint, h, b2, 0);
            best = fmax(best, v);
            if (__builtin_popcountll(h & 15) == 1 && ((h & 2) == 0 || h == 2))
                bound = fmax(bound, v);
        }
        fl_f2_q_weather(&f, q, r, Q, &none);
        uint64_t set = fl_f2_gfm(&f, Q, none, 0, &e);
        CHECK_NEAR(e, best, 1e-12);
        CHECK_NEAR(brute_value(8, joint, set, b2, 0), best, 1e-12);
        set = fl_f2_gfm(&f, Q, none, 1, &e);
        CHECK_NEAR(e, bound, 1e-12);
        CHECK_NEAR(brute_value(8, joint, set, b2, 0), bound, 1e-12);
    }
}

/* Evidence for each label apart, Bayes' rule by hand: odds must recover the true posterior of the weather model. */
FL_TEST(odds_is_bayes_for_separate_evidence)
{
    struct fl_err err = { 0 };
    struct fl_f2 f;
    CHECK_OK(fl_f2_init(&f, 6, 2, 0, 0x07, 2, &err), err);
    double prior[3] = { .6, .3, .1 }, ground[3] = { .2, .5, .05 }, lr[6] = { 3, .5, 2, 1.5, .25, 8 };
    double pi[6], p[6], q[6], r[6], sum = 0;
    for (int l = 0; l < 6; l++) {
        pi[l] = l < 3 ? prior[l] : ground[l - 3] * (1 - prior[2]);
        double o = pi[l] / (1 - pi[l]) * lr[l];
        p[l] = o / (1 + o);
    }
    fl_f2_weather_odds(&f, p, pi, q, r);
    for (int l = 0; l < 3; l++)
        sum += prior[l] * lr[l];
    for (int l = 0; l < 3; l++)
        CHECK_NEAR(q[l], prior[l] * lr[l] / sum, 1e-12);
    for (int l = 0; l < 3; l++) {
        double o = ground[l] / (1 - ground[l]) * lr[3 + l];
        CHECK_NEAR(r[3 + l], o / (1 + o), 1e-12);
    }
    memset(p, 0, sizeof p);
    fl_f2_weather_odds(&f, p, pi, q, r);
    CHECK_NEAR(q[0], 1.0 / 3, 1e-15);
    fl_f2_weather_norm(&f, p, q, r);
    CHECK_NEAR(q[2], 1.0 / 3, 1e-15);
    p[2] = 1;
    fl_f2_weather_norm(&f, p, q, r);
    CHECK_NEAR(q[2], 1, 0);
    CHECK(isfinite(r[3]));
}

FL_TEST(exact_is_never_below_the_others)
{
    struct fl_f2 f = make(17, 2, 0);
    double *work = malloc(FL_F2_ENUM_WORK * sizeof *work), p[17], t[17], e;
    CHECK(work != NULL);
    for (int trial = 0; trial < 2000; trial++) {
        int many;
        for (int l = 0; l < 17; l++)
            p[l] = (float)pow(rnd(), 1 + trial % 6);
        fl_f2_exact(&f, p, &e);
        int nfree = 0;
        for (int l = 0; l < 17; l++)
            nfree += p[l] >= .05 && p[l] < .5;
        if (nfree <= 9) {
            uint64_t b = fl_f2_bayes_enum(&f, p, work, &many);
            CHECK(fl_f2_expected(&f, p, b) <= e + 1e-12);
        }
        for (int c = 0; c < 20; c++) {
            for (int l = 0; l < 17; l++)
                t[l] = c * 0.05;
            CHECK(fl_f2_expected(&f, p, fl_f2_threshold(&f, p, t)) <= e + 1e-12);
        }
        fl_f2_exact(&f, p, &e);
    }
    free(work);
}

FL_TEST(a_label_over_three_elevenths_is_always_in)
{
    struct fl_f2 f = make(17, 2, 0);
    for (int trial = 0; trial < 2000; trial++) {
        double p[17], e;
        for (int l = 0; l < 17; l++)
            p[l] = rnd();
        uint64_t set = fl_f2_exact(&f, p, &e);
        for (int l = 0; l < 17; l++)
            CHECK(p[l] <= 3.0 / 11 || (set >> l & 1));
    }
}

FL_TEST(order_of_labels_does_not_matter)
{
    struct fl_f2 f = make(12, 2, 0);
    for (int trial = 0; trial < 500; trial++) {
        double p[12], s[12], e, e2;
        int to[12];
        for (int l = 0; l < 12; l++) {
            p[l] = rnd() * rnd();
            to[l] = l;
        }
        for (int l = 11; l > 0; l--) {
            int j = (int)(rnd() * (l + 1)), tmp = to[l];
            to[l] = to[j];
            to[j] = tmp;
        }
        for (int l = 0; l < 12; l++)
            s[to[l]] = p[l];
        uint64_t a = fl_f2_exact(&f, p, &e), b = fl_f2_exact(&f, s, &e2), moved = 0;
        for (int l = 0; l < 12; l++)
            moved |= (a >> l & 1) << to[l];
        CHECK_INT(moved, b);
        CHECK(e == e2);
    }
}

FL_TEST(ties_go_to_the_smaller_set)
{
    struct fl_f2 f = make(3, 2, 0);
    double e, two[2] = { 1, 3.0 / 11 }, zero[3] = { 0 };
    struct fl_f2 g = make(2, 2, 0);
    CHECK_INT(fl_f2_exact(&g, two, &e), 1);
    CHECK_NEAR(e, 1 - 4 * two[1] / 9, 1e-15);
    CHECK_INT(fl_f2_exact(&f, zero, &e), 0);
    f = make(3, 2, 1);
    CHECK_INT(fl_f2_exact(&f, zero, &e), 0);
    CHECK_NEAR(e, 1, 0);
}

/* One million draws: standard error below 4e-4. */
FL_TEST(expected_value_equals_monte_carlo)
{
    struct fl_f2 f = make(17, 2, 0);
    double e, sum = 0;
    uint64_t set = fl_f2_exact(&f, vectors[4].p, &e);
    for (int i = 0; i < 1000000; i++) {
        uint64_t y = 0;
        for (int l = 0; l < 17; l++)
            y |= (uint64_t)(rnd() < vectors[4].p[l]) << l;
        int tp = __builtin_popcountll(y & set);
        sum += tp ? 5.0 * tp / (4 * __builtin_popcountll(y) + __builtin_popcountll(set)) : 0;
    }
    CHECK_NEAR(sum / 1e6, e, 2e-3);
}

FL_TEST(all_kernels_make_the_same_bits)
{
    static const uint32_t sizes[] = { 1, 2, 17, 33, 64 };
    static const char *const names[] = { "avx512", "plain" };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (uint32_t n = 1; n <= 131; n = n * 5 + 1) {
            uint32_t L = sizes[i];
            struct fl_f2 f = make(L, 2, i == 1);
            double *work = aligned_alloc(64, fl_f2_work(L) * sizeof *work), *p = malloc(n * L * sizeof *p), e[131], e1;
            uint64_t sets[131];
            CHECK(work != NULL && p != NULL);
            for (uint32_t j = 0; j < n * L; j++)
                p[j] = j % 7 == 3 ? 0 : j % 11 == 5 ? 1 : (float)(rnd() * rnd());
            for (int k = 0; k < 2; k++) {
                if (!fl_f2_exact_kernel(names[k], &f, n, p, sets, e, work))
                    continue;
                for (uint32_t r = 0; r < n; r++) {
                    CHECK_INT(sets[r], fl_f2_exact(&f, p + r * L, &e1));
                    CHECK(memcmp(&e[r], &e1, sizeof e1) == 0);
                }
            }
            free(work);
            free(p);
        }
    CHECK(!fl_f2_exact_kernel("none", NULL, 0, NULL, NULL, NULL, NULL));
}

FL_TEST(the_runner_up_is_the_best_of_the_others)
{
    for (int trial = 0; trial < 300; trial++) {
        uint32_t n = 1 + (uint32_t)trial % 9;
        struct fl_f2 f = make(n, trial % 3 == 0 ? 1 : 2, trial % 2 * 0.5);
        double p[9], e, best = -1;
        for (uint32_t l = 0; l < n; l++)
            p[l] = trial % 5 == 0 ? (double)(l % 3) / 2 : rnd();
        uint64_t set = trial % 4 == 0 ? (uint64_t)(rnd() * (double)BIT(n)) : fl_f2_exact(&f, p, &e);
        for (uint64_t h = 0; h < BIT(n); h++)
            if (h != set && fl_f2_expected(&f, p, h) > best)
                best = fl_f2_expected(&f, p, h);
        uint64_t second = fl_f2_runner_up(&f, p, set, &e);
        CHECK(second != set);
        CHECK_NEAR(e, best, 1e-12);
        CHECK_NEAR(fl_f2_expected(&f, p, second), e, 1e-15);
    }
}

FL_TEST(labelset_equals_its_definition)
{
    static const uint8_t rows[6][5] = { { 1, 0, 1, 0, 0 }, { 0, 0, 0, 1, 0 }, { 1, 0, 1, 0, 0 }, { 1, 1, 1, 1, 1 }, { 0, 1, 0, 0, 1 }, { 0, 0, 0, 1, 0 } };
    struct fl_f2 f = make(5, 2, 0);
    struct fl_f2_sets s;
    struct fl_err err = { 0 };
    CHECK_OK(fl_f2_sets_init(&f, 6, rows[0], &s, &err), err);
    CHECK_INT(s.n, 4);
    for (int trial = 0; trial < 50; trial++) {
        double p[5], e, best = -1, w[6], sum = 0;
        uint64_t want = 0;
        for (int l = 0; l < 5; l++)
            p[l] = trial == 0 ? (double)(l == 0) : rnd();      /* trial 0: none of the sets has a chance */
        for (int u = 0; u < 6; u++) {
            w[u] = u == 2 || u == 5 ? 0 : 1;
            for (int l = 0; trial > 0 && l < 5; l++)
                w[u] *= rows[u][l] ? p[l] : 1 - p[l];
            sum += w[u];
        }
        for (int t = 0; t < 6; t++) {
            double v = 0;
            for (int u = 0; u < 6; u++) {
                int tp = 0, ny = 0, nh = 0;
                for (int l = 0; l < 5; l++) {
                    tp += rows[t][l] & rows[u][l];
                    nh += rows[t][l];
                    ny += rows[u][l];
                }
                v += w[u] / sum * 5 * tp / (4 * ny + nh);
            }
            if (v > best + 1e-12) {
                best = v;
                want = 0;
                for (int l = 0; l < 5; l++)
                    want |= (uint64_t)rows[t][l] << l;
            }
        }
        CHECK_INT(fl_f2_labelset(&s, 5, p, &e), want);
        CHECK_NEAR(e, best, 1e-12);
    }
    fl_f2_sets_free(&s);
    CHECK_INT(fl_f2_sets_init(&f, 0, rows[0], &s, &err), FL_E_CONFIG);
}

/* Straight from the text: all assignments of the free labels against all, with what the hacks take off. */
FL_TEST(hacks_equal_their_definition)
{
    struct fl_f2 f = make(17, 2, 0);
    double *work = malloc(FL_F2_ENUM_WORK * sizeof *work);
    CHECK(work != NULL);
    int changed = 0;
    for (int trial = 0; trial < 120; trial++) {
        double p[17], best = -1, e[64] = { 0 };
        uint64_t sets[64], on = 0;
        uint32_t free_[6], nfree = 0;
        for (uint32_t l = 0; l < 17; l++) {
            bool open = nfree < 6 && (l == 5 || l == 6 || l == 11 || l == 12 || rnd() < .2);
            p[l] = open ? .05 + .449 * rnd() : rnd() < .2 ? .5 + .5 * rnd() : .049 * rnd();
            if (open)
                free_[nfree++] = l;
            else if (p[l] >= .5)
                on |= BIT(l);
        }
        for (uint32_t c = 0; c < BIT(nfree); c++) {
            sets[c] = on;
            for (uint32_t j = 0; j < nfree; j++)
                sets[c] |= (uint64_t)(c >> (nfree - 1 - j) & 1) << free_[j];
        }
        for (uint32_t y = 0; y < BIT(nfree); y++) {
            uint64_t t = sets[y], group = t & FL_DEFAULT_EXCLUSIVE;
            double q = t & BIT(6) && t != BIT(6) ? (t & BIT(12) ? .87 : .9) : __builtin_popcountll(group) > 1 ? .9 : 1;
            for (uint32_t l = 0; l < 17; l++)
                q *= t >> l & 1 ? p[l] : 1 - p[l];
            if (t == 0 || q <= 1e-7)
                continue;
            for (uint32_t h = 0; h < BIT(nfree); h++)
                e[h] += q * 5 * __builtin_popcountll(t & sets[h]) / (4 * __builtin_popcountll(t) + __builtin_popcountll(sets[h]));
        }
        for (uint32_t h = 0; h < BIT(nfree); h++)
            best = e[h] > best ? e[h] : best;
        uint32_t h = 0;
        while (e[h] < best - 1e-12)
            h++;
        int many;
        CHECK_INT(fl_f2_bayes_enum_hacks(&f, p, 12, work, &many), sets[h]);
        changed += fl_f2_bayes_enum(&f, p, work, &many) != sets[h];
    }
    CHECK(changed > 0);
    free(work);
}

/* Sixty-four labels: brute force is out of reach, but no neighbour of the answer is better, and all kernels agree with it. */
FL_TEST(sixty_four_labels)
{
    struct fl_f2 f = make(64, 2, 0);
    for (int trial = 0; trial < 20; trial++) {
        double p[64], e, other;
        for (int l = 0; l < 64; l++)
            p[l] = pow(rnd(), 1 + trial % 4);
        uint64_t set = fl_f2_exact(&f, p, &e);
        CHECK_NEAR(fl_f2_expected(&f, p, set), e, 1e-12);
        for (int l = 0; l < 64; l++) {
            CHECK(fl_f2_expected(&f, p, set ^ BIT(l)) <= e + 1e-12);
            for (int m = 0; m < l; m++)
                CHECK(fl_f2_expected(&f, p, set ^ BIT(l) ^ BIT(m)) <= e + 1e-12);
        }
        CHECK(fl_f2_runner_up(&f, p, set, &other) != set);
        CHECK(other <= e + 1e-12);
    }
}

FL_TEST(per_class_fit_raises_the_score)
{
    struct fl_f2 f = make(17, 2, 0);
    struct fl_err err = { 0 };
    static float p[400 * 17];
    static uint8_t y[400 * 17], h[400 * 17];
    double t[17], flat[17];
    for (int i = 0; i < 400 * 17; i++) {
        y[i] = rnd() < .15;
        p[i] = (float)(y[i] ? .1 + .9 * rnd() : .45 * rnd());
    }
    CHECK_OK(fl_f2_fit_per_class(&f, 400, p, y, 0, t, &err), err);
    struct fl_metric a, b;
    for (int l = 0; l < 17; l++) {
        flat[l] = .2;
        CHECK(t[l] >= .05 && t[l] <= .49);
    }
    CHECK_OK(fl_metric_binarise(400, 17, p, flat, h, &err), err);
    CHECK_OK(fl_metric(400, 17, y, h, 2, 0, NULL, &a, &err), err);
    CHECK_OK(fl_metric_binarise(400, 17, p, t, h, &err), err);
    CHECK_OK(fl_metric(400, 17, y, h, 2, 0, NULL, &b, &err), err);
    CHECK(b.mean >= a.mean);
    CHECK_INT(fl_f2_fit_per_class(&f, 0, p, y, 0, t, &err), FL_E_INPUT);
}

FL_TEST(bad_settings_are_named)
{
    struct fl_f2 f;
    struct fl_err err = { 0 };
    CHECK_INT(fl_f2_init(&f, 0, 2, 0, 0, UINT32_MAX, &err), FL_E_CONFIG);
    CHECK_INT(fl_f2_init(&f, 65, 2, 0, 0, UINT32_MAX, &err), FL_E_CONFIG);
    CHECK_INT(fl_f2_init(&f, 3, 0, 0, 0, UINT32_MAX, &err), FL_E_CONFIG);
    CHECK_INT(fl_f2_init(&f, 3, NAN, 0, 0, UINT32_MAX, &err), FL_E_CONFIG);
    CHECK_INT(fl_f2_init(&f, 3, 2, 2, 0, UINT32_MAX, &err), FL_E_CONFIG);
    CHECK_INT(fl_f2_init(&f, 3, 2, 0, 8, UINT32_MAX, &err), FL_E_CONFIG);
    CHECK_INT(fl_f2_init(&f, 3, 2, 0, 3, 2, &err), FL_E_CONFIG);
    CHECK_HAS(err.text, "exclusive");
    CHECK_INT(fl_f2_init(&f, 64, 2, 0, 0, UINT32_MAX, &err), FL_OK);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(exact_meets_the_vectors), CASE(bayes_enum_meets_the_vectors), CASE(bayes_enum_equals_its_definition),
        CASE(exact_equals_brute_force), CASE(gfm_equals_exact_and_brute_force), CASE(one_weather_label_of_independent_ones), CASE(weather_meets_the_vector),
        CASE(weather_equals_brute_force), CASE(odds_is_bayes_for_separate_evidence), CASE(exact_is_never_below_the_others),
        CASE(a_label_over_three_elevenths_is_always_in), CASE(order_of_labels_does_not_matter),
        CASE(ties_go_to_the_smaller_set), CASE(expected_value_equals_monte_carlo),
        CASE(all_kernels_make_the_same_bits), CASE(the_runner_up_is_the_best_of_the_others),
        CASE(labelset_equals_its_definition), CASE(hacks_equal_their_definition), CASE(sixty_four_labels), CASE(per_class_fit_raises_the_score), CASE(bad_settings_are_named), { 0 }
    };
    return fl_run(cases, argc, argv);
}
