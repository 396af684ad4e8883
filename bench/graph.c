/* Runs graphs under flowrun and reads their reports. */
#include <ftw.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/bench.h"

static int graph_unlink(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st; (void)type; (void)ftw;
    return remove(path);
}

static int graph_write(const char *path, const char *text, struct fl_err *err)
{
    FILE *f = fopen(path, "we");
    bool ok = f != NULL && fputs(text, f) >= 0;
    if (f != NULL && fclose(f) != 0)
        ok = false;
    return ok ? FL_OK : fl_err_set(err, FL_E_IO, "%s: can't be written", path);
}

int bench_fresh(struct bench *b, const char *name, char *path, size_t size, struct fl_err *err)
{
    snprintf(path, size, "%s/%s", b->dir, name);
    nftw(path, graph_unlink, 16, FTW_DEPTH | FTW_PHYS);
    return mkdir(path, 0755) == 0 ? FL_OK : fl_err_set(err, FL_E_IO, "%s: can't be made", path);
}

int bench_graph(struct bench *b, const char *name, const char *yaml, struct bench_cost *cost, struct fl_err *err)
{
    char flowrun[600], file[700], run[700];
    snprintf(flowrun, sizeof flowrun, "%s/bin/flowrun", b->bin);
    snprintf(file, sizeof file, "%s/%s.yaml", b->dir, name);
    int rc = bench_fresh(b, "run", run, sizeof run, err);
    if (rc == FL_OK)
        rc = graph_write(file, yaml, err);
    if (rc != FL_OK)
        return rc;
    const char *argv[16], *const own[] = { flowrun, file, "-q", "--run", run, NULL };
    size_t n = 0;
    for (; b->within != NULL && b->within[n] != NULL && n < 9; n++)
        argv[n] = b->within[n];
    memcpy(argv + n, own, sizeof own);
    return bench_run(b, argv, NULL, cost, err);
}

static json_t *graph_report(struct bench *b, struct fl_err *err)
{
    char path[700];
    json_error_t je;
    snprintf(path, sizeof path, "%s/run/report.json", b->dir);
    json_t *j = json_load_file(path, 0, &je);
    if (j == NULL)
        fl_err_set(err, FL_E_INPUT, "%s: %s", path, je.text);
    return j;
}

int bench_report(struct bench *b, const char *key, double *value, struct fl_err *err)
{
    json_t *j = graph_report(b, err);
    if (j == NULL)
        return err->code;
    const json_t *v = json_object_get(j, key);
    int rc = json_is_number(v) ? FL_OK : fl_err_set(err, FL_E_INPUT, "report.json: no %s", key);
    if (rc == FL_OK)
        *value = json_number_value(v);
    json_decref(j);
    return rc;
}

int bench_report_faults(struct bench *b, double *faults, struct fl_err *err)
{
    json_t *j = graph_report(b, err), *stage;
    const char *name;
    if (j == NULL)
        return err->code;
    *faults = 0;
    json_object_foreach(json_object_get(j, "stages"), name, stage)
        *faults += json_number_value(json_object_get(stage, "page_faults"));
    json_decref(j);
    return FL_OK;
}

int bench_report_cpu(struct bench *b, const char *prefix, double *seconds, struct fl_err *err)
{
    json_t *j = graph_report(b, err), *stage;
    const char *name;
    if (j == NULL)
        return err->code;
    *seconds = 0;
    json_object_foreach(json_object_get(j, "stages"), name, stage)
        if (strncmp(name, prefix, strlen(prefix)) == 0)
            *seconds += json_number_value(json_object_get(stage, "cpu_s"));
    json_decref(j);
    return *seconds > 0 ? FL_OK : fl_err_set(err, FL_E_INPUT, "report.json: no cpu_s of %s*", prefix);
}

int bench_report_counter(struct bench *b, const char *stage, const char *counter, double *value, struct fl_err *err)
{
    json_t *j = graph_report(b, err);
    if (j == NULL)
        return err->code;
    const json_t *v = json_object_get(json_object_get(json_object_get(json_object_get(j, "stages"), stage), "counters"), counter);
    int rc = json_is_integer(v) ? FL_OK : fl_err_set(err, FL_E_INPUT, "report.json: no %s.%s", stage, counter);
    if (rc == FL_OK)
        *value = (double)json_integer_value(v);
    json_decref(j);
    return rc;
}
