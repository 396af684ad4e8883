/* The second level against scikit-learn: bench/level2 and bench/level2.py on the same rows, both sides in processor time. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/bench.h"

#define SECOND_TREES "8"
#define SECOND_SAME  1.02              /* errors that count as equal; of two forests, other draws alone make less */

/* Of a pair's two sides, whichever ran first leaves what its predictions are worth to the other. */
static double second_error[2];         /* mean squared: ours, theirs; 0: not run yet */

static int second_rows(struct bench *b, const char *exe, struct fl_err *err)
{
    char path[700];
    struct bench_cost c;
    snprintf(path, sizeof path, "%s/y.u8", b->dir);
    return access(path, F_OK) == 0 ? FL_OK : bench_run(b, (const char *[]){ exe, "make", b->dir, SECOND_TREES, NULL }, NULL, &c, err);
}

/* Speed is worth nothing where the predictions are worse. */
static int second_same(struct bench *b, int side, double error, struct fl_err *err)
{
    if (b->pair == 0 && second_error[0] > 0 && second_error[1] > 0)
        second_error[0] = second_error[1] = 0;
    second_error[side] = error;
    if (second_error[0] > SECOND_SAME * second_error[1] && second_error[1] > 0)
        return fl_err_set(err, FL_E_NUM, "mean squared error %.6f against %.6f: not the same quality", second_error[0], second_error[1]);
    return FL_OK;
}

static int second_side(struct bench *b, int side, const char *mode, double *seconds, struct fl_err *err)
{
    char exe[600], out[700];
    struct bench_cost c;
    double error;
    snprintf(exe, sizeof exe, "%s/bench/level2", b->bin);
    snprintf(out, sizeof out, "%s/second", b->dir);
    int cpu = b->cpu, rc = second_rows(b, exe, err);
    if (rc != FL_OK)
        return rc;
    b->cpu = -1;                       /* two threads each */
    if (side == 0)
        rc = bench_run(b, (const char *[]){ exe, mode, b->dir, SECOND_TREES, NULL }, out, &c, err);
    else
        rc = bench_run(b, (const char *[]){ "/usr/bin/python3", "-B", "bench/level2.py", mode, b->dir, SECOND_TREES, NULL }, out, &c, err);
    b->cpu = cpu;
    FILE *f = rc == FL_OK ? fopen(out, "re") : NULL;
    if (rc == FL_OK && (f == NULL || fscanf(f, "%lf %lf", seconds, &error) != 2))
        rc = fl_err_set(err, FL_E_INPUT, "%s: no figures", out);
    if (f != NULL)
        fclose(f);
    return rc == FL_OK ? second_same(b, side, error, err) : rc;
}

static const char *const second_modes[] = { "trees-fit", "trees-predict", "ridge10" };

int bench_second_ours(struct bench *b, double *seconds, struct fl_err *err)
{
    return second_side(b, 0, second_modes[b->arg], seconds, err);
}

int bench_second_sklearn(struct bench *b, double *seconds, struct fl_err *err)
{
    return second_side(b, 1, second_modes[b->arg], seconds, err);
}
