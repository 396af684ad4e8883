/* Linear second levels against scikit-learn and SciPy, and the sums of products against plain loops. */
#include <unistd.h>

#include "stages/level2/linear.h"
#include "stages/level2/solve.h"
#include "tests/level2/make.h"
#include "tests/lib/check.h"

static const uint32_t iota[64] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31 };

/* Sums over the rows of fold k, as the definition says. */
FL_TEST(products_are_sums_over_rows)
{
    static const struct { uint32_t n, M, L, K; } sizes[] = { { 7, 1, 1, 2 }, { 211, 3, 5, 4 }, { 97, 4, 4, 2 }, { 400, 2, 17, 3 } };
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int transform = 0; transform < 2; transform++) {
            struct fl_l2_data d = make_data(sizes[s].n, sizes[s].M, sizes[s].L, sizes[s].K, 1, 1);
            struct fl_l2_gram g;
            struct fl_err err = { 0 };
            CHECK_OK(fl_l2_gram(&d, transform, "plain", NULL, &g, &err), err);
            for (uint32_t k = 0; k < d.K; k++)
                for (uint32_t a = 0; a < g.W; a++)
                    for (uint32_t b = 0; b < g.W; b++) {
                        double sum = 0;
                        for (uint32_t i = 0; i < d.n; i++) {
                            double u = a < g.P ? fl_l2_value(transform, d.x[i * g.P + a]) : d.y[i * d.L + a - g.P];
                            double v = b < g.P ? fl_l2_value(transform, d.x[i * g.P + b]) : d.y[i * d.L + b - g.P];
                            sum += d.fold[i] == k ? (u - g.centre[a]) * (v - g.centre[b]) : 0;
                        }
                        CHECK_NEAR(g.prod[((size_t)k * g.W + a) * g.W + b], sum, 1e-10 * (1 + fabs(sum)));
                    }
            fl_l2_gram_done(&g);
            make_free(&d);
        }
}

FL_TEST(kernels_make_the_same_bits)
{
    static const char *const names[] = { "avx2", "avx512" };
    struct fl_l2_data d = make_data(331, 3, 11, 3, 1, 1);
    struct fl_l2_gram plain, other;
    struct fl_err err = { 0 };
    atomic_ullong progress = 0;
    CHECK_OK(fl_l2_gram(&d, FL_L2_LOGIT, "plain", &progress, &plain, &err), err);
    CHECK(progress >= 3);              /* a block of rows in each fold */
    for (int i = 0; i < 2; i++) {
        int rc = fl_l2_gram(&d, FL_L2_LOGIT, names[i], NULL, &other, &err);
        if (rc == FL_E_CONFIG) {
            fl_skip("no %s here", names[i]);
            continue;
        }
        CHECK_INT(rc, FL_OK);
        CHECK(memcmp(plain.prod, other.prod, (size_t)(plain.K + 1) * plain.W * plain.W * sizeof(double)) == 0);
        fl_l2_gram_done(&other);
    }
    fl_l2_gram_done(&plain);
    make_free(&d);
}

/* ---- against other programs ---- */

static int reference(const struct fl_l2_data *d, const struct fl_l2_folds *f, double *out, size_t n)
{
    char in[300], res[300], cmd[900];
    snprintf(in, sizeof in, "%s/in", fl_tmpdir());
    snprintf(res, sizeof res, "%s/out", fl_tmpdir());
    FILE *file = fopen(in, "wb");
    uint32_t rows, P = d->M * d->L, *row = fl_l2_rows(d, f, &rows);
    int32_t head[4] = { (int32_t)rows, (int32_t)P, (int32_t)d->L, (int32_t)d->M };
    fwrite(head, sizeof head, 1, file);
    for (uint32_t i = 0; i < rows; i++)
        for (uint32_t c = 0; c < P; c++)
            fwrite(&(double){ (double)d->x[(size_t)row[i] * P + c] }, 8, 1, file);
    for (uint32_t i = 0; i < rows; i++)
        for (uint32_t l = 0; l < d->L; l++)
            fwrite(&(double){ d->y[(size_t)row[i] * d->L + l] }, 8, 1, file);
    fclose(file);
    free(row);
    if (access("/usr/bin/python3", X_OK) != 0 || system("/usr/bin/python3 -c 'import sklearn, scipy' 2>/dev/null") != 0) {
        fl_skip("no scikit-learn and SciPy for /usr/bin/python3");
        return 0;
    }
    snprintf(cmd, sizeof cmd, "OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 /usr/bin/python3 -B tests/level2/linear.py %s %s", in, res);
    if (system(cmd) != 0 || (file = fopen(res, "rb")) == NULL) {
        fl_fail_at(__FILE__, __LINE__, "%s failed", cmd);
        return 0;
    }
    size_t got = fread(out, sizeof *out, n, file);
    fclose(file);
    if (got != n)
        fl_fail_at(__FILE__, __LINE__, "%zu numbers, want %zu", got, n);
    return got == n;
}

/* The largest difference of the coefficients and intercepts that stand at *ref; moves on. */
static double differ(const struct fl_l2_linear *m, const double **ref)
{
    double worst = 0;
    for (size_t i = 0; i < (size_t)m->P * m->T; i++)
        worst = fmax(worst, fabs(m->coef[i] - (*ref)[i]));
    *ref += (size_t)m->P * m->T;
    for (uint32_t t = 0; t < m->T; t++)
        worst = fmax(worst, fabs(m->intercept[t] - (*ref)[t]));
    *ref += m->T;
    return worst;
}

FL_TEST(as_scikit_learn_and_scipy)
{
    struct fl_l2_data d = make_data(700, 4, 5, 7, .7, .8);
    uint32_t P = d.M * d.L;
    double out[5 * (20 * 5 + 5)];
    const double *ref = out;
    struct fl_l2_gram g;
    struct fl_l2_normal a;
    struct fl_l2_linear m;
    struct fl_err err = { 0 };
    struct fl_l2_folds f = fl_l2_all_folds(d.K);
    fl_l2_drop(&f, 3);
    if (!reference(&d, &f, out, sizeof out / sizeof *out)) {
        make_free(&d);
        return;
    }
    CHECK_OK(fl_l2_gram(&d, FL_L2_PROB, NULL, NULL, &g, &err), err);
    CHECK_OK(fl_l2_normal(&g, &f, P, iota, d.L, iota, &a, &err), err);
    static const struct { double lambda; unsigned flags; } fits[] = { { 1, 0 }, { 30, 0 }, { 0, 0 }, { 0, FL_L2_NONNEG } };
    for (size_t i = 0; i < 4; i++) {
        CHECK_OK(fl_l2_linear_fit(&a, fits[i].lambda, fits[i].flags, NULL, &m, &err), err);
        CHECK_NEAR(differ(&m, &ref), 0, 1e-8);
        fl_l2_linear_done(&m);
    }
    CHECK_OK(fl_l2_linear_two(&a, d.M, d.L, 1, NULL, &m, &err), err);
    CHECK_NEAR(differ(&m, &ref), 0, 1e-8);
    fl_l2_linear_done(&m);
    fl_l2_normal_done(&a);
    fl_l2_gram_done(&g);
    make_free(&d);
}

/* ---- what is odd ---- */

FL_TEST(folds_by_adding_or_taking_away_are_one)
{
    struct fl_l2_data d = make_data(300, 2, 3, 5, 1, 1);
    struct fl_l2_folds three = fl_l2_all_folds(5), two = { { 0x18 } };
    struct fl_err err = { 0 };
    fl_l2_drop(&three, 3);
    fl_l2_drop(&three, 4);
    for (int which = 0; which < 2; which++) {
        const struct fl_l2_folds *f = which ? &two : &three;
        uint32_t n, *rows = fl_l2_rows(&d, f, &n);
        struct fl_l2_gram g;
        struct fl_l2_normal a;
        CHECK_OK(fl_l2_gram(&d, FL_L2_PROB, NULL, NULL, &g, &err), err);
        CHECK_OK(fl_l2_normal(&g, f, 6, iota, 3, iota, &a, &err), err);
        CHECK_INT(a.n, n);
        for (uint32_t i = 0; i < 6; i++) {
            double mean = 0, xx = 0;
            for (uint32_t r = 0; r < n; r++)
                mean += (double)d.x[rows[r] * 6 + i] / n;
            for (uint32_t r = 0; r < n; r++)
                xx += ((double)d.x[rows[r] * 6 + i] - mean) * ((double)d.x[rows[r] * 6 + i] - mean);
            CHECK_NEAR(a.mean[i], mean, 1e-12);
            CHECK_NEAR(a.xx[i * 6 + i], xx, 1e-10);
        }
        free(rows);
        fl_l2_normal_done(&a);
        fl_l2_gram_done(&g);
    }
    make_free(&d);
}

FL_TEST(constant_columns_are_dropped_and_dependent_ones_told)
{
    struct fl_l2_data d = make_data(200, 2, 3, 2, 1, 1);
    float *x = (float *)d.x;
    struct fl_l2_folds f = fl_l2_all_folds(2);
    struct fl_l2_gram g;
    struct fl_l2_normal a;
    struct fl_l2_linear m;
    struct fl_err err = { 0 };
    for (uint32_t i = 0; i < d.n; i++) {
        x[i * 6 + 1] = .3f;
        x[i * 6 + 5] = x[i * 6];
    }
    CHECK_OK(fl_l2_gram(&d, FL_L2_PROB, NULL, NULL, &g, &err), err);
    CHECK_OK(fl_l2_normal(&g, &f, 6, iota, 3, iota, &a, &err), err);
    CHECK_INT(fl_l2_linear_fit(&a, 0, 0, NULL, &m, &err), FL_E_NUM);
    CHECK_HAS(err.text, "lambda");
    CHECK_OK(fl_l2_linear_fit(&a, 1, 0, NULL, &m, &err), err);
    CHECK_INT(m.dropped, 1);
    for (uint32_t t = 0; t < 3; t++) {
        CHECK(m.coef[1 * 3 + t] == 0);
        CHECK_NEAR(m.coef[0 * 3 + t], m.coef[5 * 3 + t], 1e-9);
    }
    fl_l2_linear_done(&m);
    CHECK_OK(fl_l2_linear_fit(&a, 0, FL_L2_NONNEG, NULL, &m, &err), err);
    fl_l2_linear_done(&m);
    fl_l2_normal_done(&a);
    fl_l2_gram_done(&g);
    make_free(&d);
}

/* Kuhn-Tucker: gradient 0 where x > 0, not above 0 elsewhere. */
FL_TEST(nnls_is_optimal)
{
    for (int round = 0; round < 20; round++) {
        enum { N = 23 };
        double B[N][N], A[N * N], b[N], x[N];
        struct fl_err err = { 0 };
        for (uint32_t i = 0; i < N * N; i++)
            B[i / N][i % N] = make_normal() + 1;
        for (uint32_t i = 0; i < N; i++) {
            b[i] = make_normal() * 5 + 1;
            for (uint32_t j = 0; j < N; j++) {
                A[i * N + j] = i == j ? 1e-3 : 0;
                for (uint32_t k = 0; k < N; k++)
                    A[i * N + j] += B[k][i] * B[k][j];
            }
        }
        CHECK_OK(fl_l2_nnls(N, A, round % 2, b, 1, x, NULL, &err), err);
        for (uint32_t i = 0; i < N; i++) {
            double g = b[i] - round % 2 * x[i];
            for (uint32_t j = 0; j < N; j++)
                g -= A[i * N + j] * x[j];
            CHECK(x[i] >= 0);
            CHECK(x[i] > 0 ? fabs(g) < 1e-8 : g < 1e-8);
        }
    }
}

/* Columns that differ by rounding only, as files of one network twice: it settles, and nothing is negative or no number. */
FL_TEST(nnls_settles_on_columns_that_are_nearly_one)
{
    enum { N = 12 };
    for (int round = 0; round < 200; round++) {
        double B[40][N], A[N * N], b[N] = { 0 }, x[N], near = pow(10, -4 - round % 13);
        struct fl_err err = { 0 };
        for (uint32_t i = 0; i < 40; i++) {
            double y = make_normal();
            for (uint32_t j = 0; j < N; j++)
                B[i][j] = j % 3 == 0 ? y + make_normal() : B[i][j - 1] + near * make_normal();
            for (uint32_t j = 0; j < N; j++)
                b[j] += (round % 2 ? 1 : -1e-9) * B[i][j] * y;
        }
        for (uint32_t i = 0; i < N * N; i++) {
            A[i] = 0;
            for (uint32_t k = 0; k < 40; k++)
                A[i] += B[k][i / N] * B[k][i % N];
        }
        CHECK_OK(fl_l2_nnls(N, A, 0, b, 1, x, NULL, &err), err);
        for (uint32_t i = 0; i < N; i++)
            CHECK(x[i] >= 0 && isfinite(x[i]));
    }
}

/* What watches over a fit must see it get on within one long solution, not only between them. */
FL_TEST(long_solutions_tell_that_they_get_on)
{
    enum { N = 300 };
    atomic_ullong seen = 0;
    double *a = calloc((size_t)N * N, sizeof *a), b[N], x[N];
    struct fl_err err = { 0 };
    for (uint32_t i = 0; i < N; i++) {
        a[i * N + i] = 2;
        b[i] = 1;
    }
    CHECK_OK(fl_l2_nnls(N, a, 0, b, 1, x, &seen, &err), err);
    CHECK(atomic_load(&seen) >= N);
    atomic_store(&seen, 0);
    CHECK_INT(fl_l2_cholesky(N, a, 1, 1e-12, &seen), N);
    CHECK(atomic_load(&seen) >= N / 40);
    free(a);
}

FL_TEST(bad_data_is_named)
{
    struct fl_l2_data d = make_data(20, 2, 2, 2, 1, 1);
    struct fl_err err = { 0 };
    CHECK_OK(fl_l2_check(&d, &err), err);
    ((float *)d.x)[3 * 4 + 2] = NAN;
    CHECK_INT(fl_l2_check(&d, &err), FL_E_NUM);
    CHECK_HAS(err.text, "row 3, model 1, label 0");
    ((float *)d.x)[3 * 4 + 2] = .5f;
    ((uint8_t *)d.y)[1] = 2;
    CHECK_INT(fl_l2_check(&d, &err), FL_E_NUM);
    ((uint8_t *)d.y)[1] = 1;
    ((uint8_t *)d.fold)[7] = 2;
    CHECK_INT(fl_l2_check(&d, &err), FL_E_LABEL);
    ((uint8_t *)d.fold)[7] = 0;
    d.K = 1;
    CHECK_INT(fl_l2_check(&d, &err), FL_E_CONFIG);
    d.K = 3;
    CHECK_INT(fl_l2_check(&d, &err), FL_E_LABEL);
    make_free(&d);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(products_are_sums_over_rows), CASE(kernels_make_the_same_bits), CASE(as_scikit_learn_and_scipy),
        CASE(folds_by_adding_or_taking_away_are_one), CASE(constant_columns_are_dropped_and_dependent_ones_told), CASE(nnls_is_optimal), CASE(nnls_settles_on_columns_that_are_nearly_one),
        CASE(long_solutions_tell_that_they_get_on), CASE(bad_data_is_named), { 0 }
    };
    return fl_run(cases, argc, argv);
}
