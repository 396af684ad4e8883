/* flowrun show: what is in a recording. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "launch/diff.h"
#include "launch/mem.h"
#include "launch/show.h"

static void show_statistics(const struct fl_tensor *t)
{
    uint64_t n = t->bytes / fl_dtype_size(t->dtype), nan = 0;
    double low = INFINITY, high = -INFINITY, sum = 0, square = 0;
    if (n == 0) {
        printf("      empty\n");
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        double v = fl_diff_value(t->dtype, (const unsigned char *)t->data + i * fl_dtype_size(t->dtype));
        if (isnan(v)) {
            nan++;
            continue;
        }
        low = v < low ? v : low;
        high = v > high ? v : high;
        sum += v;
        square += v * v;
    }
    double mean = n > nan ? sum / (double)(n - nan) : NAN, var = n > nan ? square / (double)(n - nan) - mean * mean : NAN;
    printf("      least %.6g, greatest %.6g, mean %.6g, deviation %.6g", low, high, mean, var > 0 ? sqrt(var) : 0.0);
    printf(nan > 0 ? ", %" PRIu64 " not a number\n" : "\n", nan);
}

static void show_record(const struct fl_rec_batch *b, bool tensors)
{
    char stamp[40];
    time_t t = (time_t)(b->time / 1000000000u);
    struct tm tm;
    uint64_t bytes = 0, stored = 0, rejected = 0;
    strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S", localtime_r(&t, &tm));
    for (uint32_t i = 0; i < b->b.ntensors; i++) {
        bytes += b->b.t[i].bytes;
        stored += b->stored[i];
    }
    const struct fl_tensor *status = fl_batch_find(&b->b, "status");
    for (uint32_t r = 0; status != NULL && status->dtype == FL_I32 && r < b->b.n && r < status->bytes / 4; r++)
        rejected += ((const int32_t *)status->data)[r] != 0;
    printf("  batch %" PRIu64 ", attempt %u: %u tiles, %u tensors, %" PRIu64 " bytes (%" PRIu64 " stored), %s.%03u", b->b.batch, b->b.attempt, b->b.n, b->b.ntensors, bytes, stored,
           stamp, (unsigned)(b->time / 1000000u % 1000u));
    printf(rejected > 0 ? ", %" PRIu64 " rejected\n" : "\n", rejected);
    for (uint32_t i = 0; tensors && i < b->b.ntensors; i++) {
        const struct fl_tensor *e = &b->b.t[i];
        printf("    %-16s %-4s [", e->name, fl_dtype_name(e->dtype));
        for (uint32_t d = 0; d < e->ndim; d++)
            printf("%s%u", d ? "," : "", e->shape[d]);
        printf("]\n");
        show_statistics(e);
    }
}

/* shown: records so far. */
static int show_recording(const char *path, const struct fl_args *a, const struct fl_batches *batches, uint64_t *shown)
{
    struct fl_rec *r;
    struct fl_rec_batch b = { 0 };
    struct fl_err err = { 0 };
    int status = 0;
    if (fl_rec_open(path, &r, &err) != FL_OK) {
        fprintf(stderr, "flowrun: %s\n", err.text);
        return 2;
    }
    const struct fl_rec_info *info = fl_rec_info(r);
    printf("%s: run %016" PRIx64 ", %" PRIu64 " records in %u segments, at most %u tiles a batch", info->edge, info->run, fl_rec_count(r), info->files, info->B);
    if (info->damaged + info->torn > 0)
        printf(", %" PRIu64 " damaged places, %" PRIu64 " bytes torn off", info->damaged, info->torn);
    printf("\n");
    for (uint64_t i = 0; i < fl_rec_count(r); i++) {
        if (!fl_batches_have(batches, fl_rec_at(r, i)->batch))
            continue;
        ++*shown;
        if (fl_rec_read(r, i, &b, &err) == FL_OK) {
            show_record(&b, a->tensor);
        } else {
            printf("  %s\n", err.text);
            status = 1;
        }
    }
    fl_rec_batch_done(&b);
    fl_rec_close(r);
    return status;
}

static int show_all(const struct fl_replay *r, char *const *edges, uint32_t n, const struct fl_args *a, const struct fl_batches *batches, uint64_t *shown)
{
    int status = 0;
    for (uint32_t i = 0; i < n; i++) {
        int s = show_recording(fl_replay_path(r, edges[i]), a, batches, shown);
        status = s > status ? s : status;
    }
    if (n == 0)
        printf("no edge was recorded\n");
    return status;
}

static int show_run(const struct fl_args *a, const struct fl_batches *batches, uint64_t *shown)
{
    struct fl_replay r;
    struct fl_err err = { 0 };
    uint32_t n = 0;
    int status = 2;
    if (fl_replay_open(a->files[0], &r, &err) != FL_OK) {
        fprintf(stderr, "flowrun: %s\n", err.text);
        fl_replay_done(&r);
        return 2;
    }
    char **edges = fl_replay_edges(&r, &n);
    status = a->png != NULL ? fl_show_sheet(&r, edges, n, a) : show_all(&r, edges, n, a, batches, shown);
    for (uint32_t i = 0; i < n; i++)
        free(edges[i]);
    free(edges);
    fl_replay_done(&r);
    return status;
}

/* A file of a recording, or DIR/EDGE, is one edge; what else there is has several. */
static bool show_is_one(const char *what)
{
    size_t len = strlen(what);
    struct fl_rec *r = NULL;
    bool one = len > 4 && strcmp(what + len - 4, ".flr") == 0;
    if (!one && access(what, F_OK) != 0)
        one = fl_rec_open(what, &r, NULL) == FL_OK;
    fl_rec_close(r);
    return one;
}

int fl_cmd_show(const struct fl_args *a)
{
    struct fl_batches batches;
    struct fl_err err = { 0 };
    uint64_t shown = 0;
    if (a->png == NULL ? a->tile != NULL || a->stage != NULL : a->tensor) {
        fprintf(stderr, a->png == NULL ? "flowrun: --tile and --stage go with --png\n" : "flowrun: --tensor or --png, not both\n");
        return 2;
    }
    if (fl_batches_read(a->batch, &batches, &err) != FL_OK) {
        fprintf(stderr, "flowrun: %s\n", err.text);
        return 2;
    }
    int status = a->png == NULL && show_is_one(a->files[0]) ? show_recording(a->files[0], a, &batches, &shown) : show_run(a, &batches, &shown);
    if (status == 0 && a->png == NULL && !batches.all && shown == 0) {
        fprintf(stderr, "flowrun: %s: none of these batches was recorded\n", a->files[0]);
        status = 2;
    }
    free(batches.v);
    return status;
}
