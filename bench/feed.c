/* The feed of a trainer: against a plain loop, and against the loaders of others (bench/feed.py). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bench/bench.h"

#define PYTHON      "/usr/bin/python3"
#define FLOOR_KEEPS "64"                  /* tiles: a floor, too, makes a batch */
#define RIVAL_FILES BENCH_FEW             /* others are slower, and need no more to be steady */

/* The figure in the last line that a program prints. */
static int feed_says(struct bench *b, const char *const *argv, double *value, struct fl_err *err)
{
    char out[700], line[200] = "";
    struct bench_cost c;
    snprintf(out, sizeof out, "%s/says", b->dir);
    int rc = bench_run(b, argv, out, &c, err);
    if (rc != FL_OK)
        return rc;
    FILE *f = fopen(out, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        ;
    if (f != NULL)
        fclose(f);
    char *end;
    *value = strtod(line, &end);
    return end != line ? FL_OK : fl_err_set(err, FL_E_INPUT, "%s: no figure", out);
}

/* Both cores of the machine, or the one that the bench is pinned to. */
static int feed_python(struct bench *b, const char *python, const char *side, unsigned n, unsigned cores, const char *kind, double *value, struct fl_err *err)
{
    char list[700], count[16], how[16];
    int cpu = b->cpu;
    snprintf(list, sizeof list, "%s/jpeg.%u.list", b->dir, n);
    snprintf(count, sizeof count, "%u", n);
    snprintf(how, sizeof how, "%u", cores);
    b->cpu = cores > 1 ? -1 : cpu;
    int rc = strcmp(side, "ours") == 0 ? feed_says(b, (const char *[]){ python, "-B", "bench/feed.py", side, list, count, how, kind, NULL }, value, err)
                                       : feed_says(b, (const char *[]){ python, "-B", "bench/feed.py", side, list, count, kind, NULL }, value, err);
    b->cpu = cpu;
    return rc;
}

int bench_feed_ours(struct bench *b, double *rate, struct fl_err *err)
{
    return feed_python(b, PYTHON, "ours", BENCH_JPEGS, b->arg, b->arg > 1 ? "wall" : "cpu", rate, err);
}

int bench_feed_floor(struct bench *b, double *rate, struct fl_err *err)
{
    return bench_floor_augment(b, b->arg, rate, err);
}

/* Against a loader with two workers, by the clock: what it waits for is a part of what it costs. */
int bench_feed_two(struct bench *b, double *rate, struct fl_err *err)
{
    return feed_python(b, PYTHON, "ours", BENCH_JPEGS, 2, "wall", rate, err);
}

int bench_feed_torchvision(struct bench *b, double *rate, struct fl_err *err)
{
    return feed_python(b, PYTHON, "torchvision", RIVAL_FILES, 2, "wall", rate, err);
}

int bench_feed_opencv(struct bench *b, double *rate, struct fl_err *err)
{
    return feed_python(b, PYTHON, "opencv", RIVAL_FILES, 2, "wall", rate, err);
}

/* On both cores, whatever the bench is pinned to. */
static int feed_alone(struct bench *b, const char *side, double *value, struct fl_err *err)
{
    char list[700], count[16];
    snprintf(list, sizeof list, "%s/jpeg.%d.list", b->dir, BENCH_JPEGS);
    snprintf(count, sizeof count, "%d", BENCH_JPEGS);
    int cpu = b->cpu;
    b->cpu = -1;
    int rc = feed_says(b, (const char *[]){ PYTHON, "-B", "bench/feed.py", side, list, count, NULL }, value, err);
    b->cpu = cpu;
    return rc;
}

int bench_feed_consumer(struct bench *b, double *us, struct fl_err *err) { return feed_alone(b, "consumer", us, err); }
int bench_feed_first(struct bench *b, double *s, struct fl_err *err) { return feed_alone(b, "first", s, err); }

/* A venv of pinned versions, made once. */
static int feed_rival(struct bench *b, const char *side, double *rate, struct fl_err *err)
{
    char python[600], make[1600];
    struct bench_cost c;
    struct stat st;
    snprintf(python, sizeof python, "%s/rivals-feed/bin/python", b->bin);
    if (stat(python, &st) != 0) {
        snprintf(make, sizeof make, PYTHON " -m venv %s/rivals-feed && %s -m pip install -q nvidia-dali-cuda120==2.4.0 spdl==0.8.0 opencv-python-headless==4.12.0.88 numpy==2.2.6",
                 b->bin, python);
        int rc = bench_run(b, (const char *[]){ "/bin/sh", "-c", make, NULL }, NULL, &c, err);
        if (rc != FL_OK)
            return rc;
    }
    return feed_python(b, python, side, RIVAL_FILES, 2, "wall", rate, err);
}

int bench_feed_dali(struct bench *b, double *rate, struct fl_err *err) { return feed_rival(b, "dali", rate, err); }
int bench_feed_spdl(struct bench *b, double *rate, struct fl_err *err) { return feed_rival(b, "spdl", rate, err); }
