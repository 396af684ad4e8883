/* The stages of a graph in one process: the same objects, called one after the other, no links and no second process.
 *
 *     fused LIST TILES RUNDIR [FRAMES]
 *
 * source, decode, augment, bench_look and sink over TILES files (all of LIST); FRAMES: prints nanoseconds to pack and unpack the header
 * that the sink sees, mean of so many, then its number of tensors and its bytes.
 *
 * One batch is in work at a time, so each stage needs one slab only, and finds in the cache what the one before left there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/frame.h"
#include "runtime/host.h"

#define BATCH  64
#define STAGES 5

extern const struct fl_stage fl_stage_source, fl_stage_decode, fl_stage_augment, fl_stage_bench_look, fl_stage_sink;

static const struct fl_stage *const fused_stages[STAGES] = {
    &fl_stage_source, &fl_stage_decode, &fl_stage_augment, &fl_stage_bench_look, &fl_stage_sink,
};
static const size_t fused_slabs[STAGES] = { 1u << 20, BATCH * 196608u + (1u << 16), 1u << 20, 1u << 16, 0 };

struct fused {
    struct fl_host host;
    struct fused  *next;
    void          *slab;
};

static struct fused fused_graph[STAGES];
static uint64_t fused_tiles;
static struct fl_batch fused_seen;           /* the last batch on its way into the sink */

static int fused_emit(void *owner, struct fl_batch *b)
{
    struct fused *f = owner;
    struct fl_hosted *held = b->host;
    held->used = 0;
    held->marks = false;
    if (f->next->next == NULL)
        fused_seen = *b;
    return fl_host_batch(&f->next->host, b);
}

static void fused_release(void *owner, struct fl_batch *b) { (void)owner; (void)b; }
static void *fused_slab(void *owner, uint32_t slot) { (void)slot; return ((struct fused *)owner)->slab; }
static void fused_result(void *owner, const char *name, double value) { (void)owner; (void)name; (void)value; }
static void fused_alive(void *owner) { (void)owner; }

static int fused_ack(void *owner, uint64_t batch, uint32_t attempt, uint32_t predicted, uint32_t rejected)
{
    (void)owner; (void)batch; (void)attempt; (void)rejected;
    fused_tiles += predicted;
    return FL_OK;
}

static void fused_log(void *owner, int level, const char *text)
{
    (void)owner;
    if (level >= FL_LOG_WARN)
        fprintf(stderr, "fused: %s\n", text);
}

static const struct fl_host_ops fused_ops = {
    .emit = fused_emit, .release = fused_release, .ack = fused_ack, .slab = fused_slab,
    .log = fused_log, .result = fused_result, .alive = fused_alive,
};

static int fused_begin(int i, json_t *options, const char *run_dir)
{
    struct fused *f = &fused_graph[i];
    f->next = i + 1 < STAGES ? f + 1 : NULL;
    f->slab = fused_slabs[i] > 0 ? aligned_alloc(FL_ALIGN, fused_slabs[i]) : NULL;
    if (fused_slabs[i] > 0 && f->slab == NULL)
        return FL_E_NOMEM;
    int rc = fl_host_init(&f->host, fused_stages[i], options, &fused_ops, f);
    json_decref(options);
    f->host.pool = i;
    f->host.slab_bytes = fused_slabs[i];
    f->host.ctx.B = BATCH;
    f->host.ctx.run_dir = run_dir;
    if (rc == FL_OK)
        rc = fl_host_describe(&f->host);
    return rc == FL_OK ? fl_host_open(&f->host) : rc;
}

static int fused_open(const char *list, const char *run_dir)
{
    char files[4200];
    snprintf(files, sizeof files, "@%s", list);
    json_t *options[STAGES] = { json_pack("{s:[s], s:i}", "files", files, "batch", BATCH), json_object(), json_pack("{s:s}", "views", "d4"), json_object(), json_object() };
    int rc = FL_OK;
    for (int i = 0; i < STAGES; i++) {
        if (rc == FL_OK)
            rc = fused_begin(i, options[i], run_dir);
        else
            json_decref(options[i]);
    }
    return rc;
}

static int fused_run(struct fl_hosted *held, uint64_t tiles)
{
    int rc = FL_OK;
    for (uint64_t k = 0; rc == FL_OK && k < (tiles + BATCH - 1) / BATCH; k++) {
        memset(&held->b, 0, offsetof(struct fl_batch, t));
        held->used = 0;
        held->marks = false;
        held->b.host = held;
        held->b.batch = k;
        rc = fl_host_produce(&fused_graph[0].host, &held->b);
    }
    for (int i = 0; rc == FL_OK && i < STAGES; i++)
        rc = fl_host_drain(&fused_graph[i].host);
    return rc;
}

static int fused_frame(long n)
{
    unsigned char buf[FL_FRAME_MAX];
    static struct fl_batch out;
    struct fl_err err = { 0 };
    struct timespec a, b;
    size_t len = 0;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    for (long i = 0; i < n; i++) {
        fused_seen.batch = (uint64_t)i;
        if (fl_frame_pack(&fused_seen, buf, sizeof buf, &len, &err) != FL_OK || fl_frame_unpack(buf, len, &out, &err) != FL_OK || out.batch != (uint64_t)i) {
            fprintf(stderr, "fused: %s\n", err.text);
            return 1;
        }
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    printf("%.1f %u %zu\n", ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / (double)n, out.ntensors, len);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 4 && argc != 5) {
        fprintf(stderr, "usage: fused LIST TILES RUNDIR [FRAMES]\n");
        return 2;
    }
    uint64_t tiles = strtoull(argv[2], NULL, 10);
    struct fl_hosted *held = fl_hosted_new(1);
    int rc = held == NULL ? FL_E_NOMEM : fused_open(argv[1], argv[3]);
    if (rc == FL_OK)
        rc = fused_run(held, tiles);
    if (rc == FL_OK && fused_tiles != tiles)
        rc = FL_E_BUG;
    if (rc == FL_OK && argc == 5)
        rc = fused_frame(strtol(argv[4], NULL, 10));
    for (int i = 0; i < STAGES; i++) {
        if (rc != FL_OK && fused_graph[i].host.err.code != FL_OK)
            fprintf(stderr, "fused: %s: %s\n", fused_stages[i]->name, fused_graph[i].host.err.text);
        if (fused_graph[i].host.stage != NULL)
            fl_host_done(&fused_graph[i].host);
        free(fused_graph[i].slab);
    }
    free(held);
    return rc != FL_OK;
}
