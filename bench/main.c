/* make bench: runs the comparisons, prints the ratios, writes build/bench.json.
 *
 *     bench BIN [NAME...]     names, or their beginnings (tif/); none: all. RUNS=N pairs of each (9), BENCH_CPU=N: the processor (-1: any) */
#include <jansson.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bench/bench.h"

#define MAX_RUNS 99

static int main_order(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double main_median(double *v, uint64_t n)
{
    qsort(v, n, sizeof *v, main_order);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* Above 1: ours is better. A limit of nothing is kept (1) or missed by so much. */
static double main_ratio(const struct bench_case *c, double ours, double other)
{
    if (c->other == NULL && c->limit == 0)
        return 1 / (1 + ours);
    return c->more ? ours / other : other / ours;
}

/* Every second pair runs the other side first. */
static int main_pair(struct bench *b, const struct bench_case *c, uint64_t i, double *ours, double *other, struct fl_err *err)
{
    int rc = FL_OK;
    b->pair = i;
    b->arg = c->arg;
    *other = c->limit;
    if (i % 2 && c->other != NULL)
        rc = c->other(b, other, err);
    if (rc == FL_OK)
        rc = c->ours(b, ours, err);
    if (rc == FL_OK && i % 2 == 0 && c->other != NULL)
        rc = c->other(b, other, err);
    return rc;
}

static int main_case(struct bench *b, const struct bench_case *c, json_t *list, struct fl_err *err)
{
    double ours[MAX_RUNS], other[MAX_RUNS], ratio[MAX_RUNS];
    for (uint64_t i = 0; i < b->runs; i++) {
        int rc = main_pair(b, c, i, &ours[i], &other[i], err);
        if (rc != FL_OK)
            return fl_err_context(err, "%s", c->name);
        ratio[i] = main_ratio(c, ours[i], other[i]);
    }
    double r = main_median(ratio, b->runs), low = ratio[0], high = ratio[b->runs - 1];
    double a = main_median(ours, b->runs), o = main_median(other, b->runs);
    printf("%-18s %8.3f  %7.3f ..%8.3f  goal %5g %-6s  %10.4g against %10.4g %s\n", c->name, r, low, high, c->goal, c->goal == 0 ? "none" : r >= c->goal ? "met" : "MISSED", a, o, c->unit);
    fflush(stdout);
    json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:i, s:f}", "name", c->name, "what", c->what, "unit", c->unit,
        "ours", a, "other", o, "ratio", r, "low", low, "high", high, "runs", (int)b->runs, "goal", c->goal));
    return FL_OK;
}

static bool main_wanted(const struct bench_case *c, char *const *names)
{
    if (*names == NULL)
        return !c->rival || getenv("RIVALS") != NULL;
    for (; *names != NULL; names++)
        if (strncmp(c->name, *names, strlen(*names)) == 0)
            return true;
    return false;
}

/* The last processor we may use: the first ones tend to serve interrupts. */
static int main_cpu(void)
{
    const char *said = getenv("BENCH_CPU");
    cpu_set_t set;
    if (said != NULL)
        return (int)strtol(said, NULL, 10);
    int cpu = -1;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        for (int i = 0; i < CPU_SETSIZE; i++)
            cpu = CPU_ISSET((unsigned)i, &set) ? i : cpu;
    return cpu;
}

static int main_run(struct bench *b, char *const *names, json_t *list, struct fl_err *err)
{
    int rc = bench_tiles(b, err);
    for (const struct bench_case *c = bench_cases; rc == FL_OK && c->name != NULL; c++)
        if (main_wanted(c, names))
            rc = main_case(b, c, list, err);
    return rc;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench BIN [NAME...]\n");
        return 2;
    }
    struct bench b = { .cpu = main_cpu(), .runs = 9 };
    const char *runs = getenv("RUNS");
    char path[700];
    if (runs != NULL)
        b.runs = strtoul(runs, NULL, 10);
    if (b.runs < 1 || b.runs > MAX_RUNS) {
        fprintf(stderr, "bench: RUNS is 1 to %d\n", MAX_RUNS);
        return 2;
    }
    snprintf(b.bin, sizeof b.bin, "%s", argv[1]);
    snprintf(b.dir, sizeof b.dir, "%s/bench", argv[1]);
    mkdir(b.dir, 0755);
    unsetenv("OPENBLAS_CORETYPE");       /* what a library picks by itself is what is measured, on both sides */
    struct fl_err err = { 0 };
    json_t *list = json_array();
    int rc = main_run(&b, argv + 2, list, &err);
    snprintf(path, sizeof path, "%s/bench.json", b.bin);
    if (rc == FL_OK && json_dump_file(list, path, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) != 0)
        rc = fl_err_set(&err, FL_E_IO, "%s: can't be written", path);
    json_decref(list);
    if (rc != FL_OK)
        fprintf(stderr, "bench: %s\n", err.text);
    return rc == FL_OK ? 0 : 1;
}
