/* The second level's side of its comparisons: bench/level2 MODE DIR TREES. bench/level2.py is scikit-learn's; both read the same files.
 *
 *     make            DIR/x.f32 [N + HELD][816], DIR/y.u8 [N + HELD][17]: surrogate predictions of 48 models with shared and own noise
 *     trees-fit       prints seconds, mean squared error on the held-out rows, MB of memory at most
 *     trees-predict   prints seconds for the N rows
 *     ridge10         ten cross-fitted ridges: seconds, mean squared error of the out-of-fold predictions, MB
 *
 * Seconds are processor time of all threads, so that other work on the machine doesn't count. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "stages/level2/linear.h"
#include "stages/level2/model.h"

#define N      40479u
#define HELD   8000u
#define MODELS 48u
#define LABELS 17u
#define COLUMNS (MODELS * LABELS)
#define FOLDS  10u

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double memory_mb(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)r.ru_maxrss / 1024;
}

static FILE *file(const char *dir, const char *name, const char *how)
{
    char path[1000];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, how);
    if (f == NULL) {
        perror(path);
        exit(1);
    }
    return f;
}

static void *need(size_t bytes)
{
    void *p = malloc(bytes);
    if (p == NULL)
        exit(1);
    return p;
}

static void *load(const char *dir, const char *name, size_t rows, size_t row, size_t skip)
{
    FILE *f = file(dir, name, "rb");
    void *p = need(rows * row);
    if (fseek(f, (long)(skip * row), SEEK_SET) != 0 || fread(p, row, rows, f) != rows)
        exit(1);
    fclose(f);
    return p;
}

/* ---- make ---- */

static uint64_t state = 88172645463325252u;
static double unit(void)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return ((double)(state >> 11) + 0.5) * 0x1p-53;
}
static double normal(void) { return sqrt(-2 * log(unit())) * cos(6.283185307179586 * unit()); }

/* Rows of 40,479 that carry each label. */
static const double counts[LABELS] = { 12315, 339, 862, 332, 98, 28431, 2089, 100, 4477, 3660, 2697, 7261, 37513, 8071, 340, 209, 7411 };

static int make(const char *dir)
{
    FILE *fx = file(dir, "x.f32", "wb"), *fy = file(dir, "y.u8", "wb");
    float *x = need(COLUMNS * sizeof *x);
    for (uint32_t i = 0; i < N + HELD; i++) {
        uint8_t y[LABELS];
        for (uint32_t l = 0; l < LABELS; l++) {
            double pi = counts[l] / 40479, shared = normal();
            y[l] = unit() < pi;
            for (uint32_t m = 0; m < MODELS; m++) {
                double v = 2.0 * y[l] - 1 + .64 * shared + .20 * normal();
                x[m * LABELS + l] = (float)(1 / (1 + exp(-(log(pi / (1 - pi)) + 2 * v / (.64 * .64 + .20 * .20)))));
            }
        }
        fwrite(x, sizeof *x, COLUMNS, fx);
        fwrite(y, 1, LABELS, fy);
    }
    free(x);
    return fclose(fx) != 0 || fclose(fy) != 0;
}

/* ---- trees ---- */

static double error(const double *p, const uint8_t *y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (p[i] - y[i]) * (p[i] - y[i]);
    return sum / (double)n;
}

/* As `stack` does it. */
static int predict(struct fl_l2_trees *m, uint32_t n, const float *x, double *out, struct fl_err *err)
{
    struct fl_l2_model model = { .kind = FL_L2_EXTRATREES, .M = MODELS, .L = LABELS, .parts = 1, .problems = 1, .trees = m };
    struct fl_l2_scratch *s;
    float y[FL_L2_BLOCK * LABELS];
    int rc = fl_l2_scratch_new(&model, &s, err);
    for (uint32_t i = 0; rc == FL_OK && i < n; i += FL_L2_BLOCK) {
        uint32_t rows = n - i < FL_L2_BLOCK ? n - i : FL_L2_BLOCK;
        fl_l2_predict(&model, 0, rows, x + (size_t)i * COLUMNS, s, y);
        for (uint32_t j = 0; j < rows * LABELS; j++)
            out[(size_t)i * LABELS + j] = (double)y[j];
    }
    fl_l2_scratch_free(s);
    return rc;
}

static int trees(const char *dir, uint32_t ntrees, int fit)
{
    struct fl_err err = { 0 };
    struct fl_l2_table t = { .n = N, .P = COLUMNS, .T = LABELS, .stride = COLUMNS, .y_stride = LABELS };
    struct fl_l2_trees_conf conf = { .seed = 1, .trees = ntrees, .columns = COLUMNS, .n_min = 2, .min_leaf = 1, .threads = 2, .hi = 1 };
    struct fl_l2_trees m;
    float *x = load(dir, "x.f32", N, COLUMNS * sizeof *x, 0);
    uint8_t *y = load(dir, "y.u8", N, LABELS, 0);
    t.x = x;
    t.y = y;
    double start = now();
    if (fl_l2_trees_fit(&t, &conf, &m, &err) != FL_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    double took = now() - start, mb = memory_mb();
    if (fit) {
        free(x);
        free(y);
        t.n = HELD;
        t.x = x = load(dir, "x.f32", HELD, COLUMNS * sizeof *x, N);
        t.y = y = load(dir, "y.u8", HELD, LABELS, N);
    }
    double *out = need((size_t)t.n * LABELS * sizeof *out);
    start = now();
    if (predict(&m, t.n, x, out, &err) != FL_OK) {
        fprintf(stderr, "%s\n", err.text);
        free(out);
        return 1;
    }
    if (!fit)
        took = now() - start;
    printf("%.6f %.6f %.1f %llu nodes\n", took, error(out, y, (size_t)t.n * LABELS), mb, (unsigned long long)m.first[m.trees]);
    free(out);
    free(x);
    free(y);
    fl_l2_trees_done(&m);
    return 0;
}

/* ---- ridge ---- */

static int ridge(const char *dir)
{
    struct fl_err err = { 0 };
    uint8_t *fold = need(N), *y = load(dir, "y.u8", N, LABELS, 0);
    float *x = load(dir, "x.f32", N, COLUMNS * sizeof *x, 0);
    double *out = need((size_t)N * LABELS * sizeof *out), row[COLUMNS];
    uint32_t columns[COLUMNS], outputs[LABELS];
    for (uint32_t i = 0; i < N; i++)
        fold[i] = (uint8_t)(i % FOLDS);
    for (uint32_t i = 0; i < COLUMNS; i++)
        columns[i] = i;
    for (uint32_t i = 0; i < LABELS; i++)
        outputs[i] = i;
    struct fl_l2_data d = { .n = N, .M = MODELS, .L = LABELS, .K = FOLDS, .x = x, .y = y, .fold = fold };
    struct fl_l2_gram g;
    double start = now();
    int rc = fl_l2_gram(&d, FL_L2_PROB, NULL, NULL, &g, &err);
    for (uint32_t k = 0; rc == FL_OK && k < FOLDS; k++) {
        struct fl_l2_folds f = fl_l2_all_folds(FOLDS);
        struct fl_l2_normal a;
        struct fl_l2_linear m;
        fl_l2_drop(&f, k);
        if ((rc = fl_l2_normal(&g, &f, COLUMNS, columns, LABELS, outputs, &a, &err)) != FL_OK || (rc = fl_l2_linear_fit(&a, 1, 0, NULL, &m, &err)) != FL_OK)
            break;
        for (uint32_t i = k; i < N; i += FOLDS) {
            for (uint32_t c = 0; c < COLUMNS; c++)
                row[c] = (double)x[(size_t)i * COLUMNS + c];
            fl_l2_linear_apply(&m, row, out + (size_t)i * LABELS);
        }
        fl_l2_linear_done(&m);
        fl_l2_normal_done(&a);
    }
    if (rc != FL_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    printf("%.6f %.9f %.1f\n", now() - start, error(out, y, (size_t)N * LABELS), memory_mb());
    fl_l2_gram_done(&g);
    free(fold);
    free(x);
    free(y);
    free(out);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "make") == 0)
        return make(argv[2]);
    if (argc == 4 && strncmp(argv[1], "trees-", 6) == 0)
        return trees(argv[2], (uint32_t)strtoul(argv[3], NULL, 10), strcmp(argv[1], "trees-fit") == 0);
    if (argc == 4 && strcmp(argv[1], "ridge10") == 0)
        return ridge(argv[2]);
    fprintf(stderr, "usage: level2 make|trees-fit|trees-predict|ridge10 DIR TREES\n");
    return 2;
}
