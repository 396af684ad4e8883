/* Decoders without a graph: bench/f2 exact|plain|enum|rows N [FILE]. Prints rows a second, in processor time of this process.
 *
 * Rows as in the published measurements of such decoders: 17 labels, three to four of them between .05 and .5 on average. `rows` writes
 * them as float64 for the NumPy version beside it. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/f2.h"

#define L 17u

static uint64_t state = 88172645463325252u;
static double unit(void)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(state >> 11) * 0x1p-53;
}

static void fill(double *p, uint32_t n)
{
    for (uint32_t i = 0; i < n * L; i++) {
        double u = unit();
        p[i] = (float)(u < .19 ? .05 + .45 * unit() : u < .34 ? .5 + .5 * unit() : .05 * unit());
    }
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool save(const char *path, const double *p, size_t n)
{
    FILE *o = fopen(path, "wb");
    bool ok = o != NULL && fwrite(p, sizeof *p, n, o) == n;
    return o != NULL && fclose(o) == 0 && ok;
}

static bool known(const char *what)
{
    return strcmp(what, "exact") == 0 || strcmp(what, "plain") == 0 || strcmp(what, "enum") == 0 || strcmp(what, "rows") == 0;
}

int main(int argc, char **argv)
{
    struct fl_f2 f;
    double e, total = 0.0;
    uint32_t n = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
    if (n == 0 || n > 10000000 || !known(argv[1]) || fl_f2_init(&f, L, 2.0, 0.0, 0, UINT32_MAX, NULL) != FL_OK) {
        fprintf(stderr, "usage: f2 exact|plain|enum N, or f2 rows N FILE\n");
        return 2;
    }
    bool exact = strcmp(argv[1], "exact") == 0, plain = strcmp(argv[1], "plain") == 0, rows = strcmp(argv[1], "rows") == 0;
    double *p = malloc((size_t)n * L * sizeof *p), *value = malloc(n * sizeof *value);
    uint64_t *sets = malloc(n * sizeof *sets);
    size_t need = fl_f2_work(L) > FL_F2_ENUM_WORK ? fl_f2_work(L) : FL_F2_ENUM_WORK;
    double *work = aligned_alloc(64, need * sizeof *work);
    if (p == NULL || value == NULL || sets == NULL || work == NULL)
        exit(1);
    fill(p, n);
    int many, bad = 0;
    double start = seconds();
    if (rows)
        bad = !save(argc > 3 ? argv[3] : "", p, (size_t)n * L);
    else if (exact)
        fl_f2_exact_rows(&f, n, p, sets, value, work);
    else
        for (uint32_t i = 0; i < n; i++)
            sets[i] = plain ? fl_f2_exact(&f, p + (size_t)i * L, &value[i]) : fl_f2_bayes_enum(&f, p + (size_t)i * L, work, &many);
    e = seconds() - start;
    for (uint32_t i = 0; i < n && !rows; i++)
        total += (double)__builtin_popcountll(sets[i]);
    if (!rows)
        printf("%.6g %.6f\n", n / e, total / n);
    free(p);
    free(value);
    free(sets);
    free(work);
    return bad;
}
