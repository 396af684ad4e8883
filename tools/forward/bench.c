/* bench: how fast this machine runs a network, and what that is of its best. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "proto/dtype.h"
#include "tools/forward/tool.h"

#define BENCH_STREAMS 64

struct bench {
    char    *model, *arch, *device;
    int      precision, views;
    bool     layers, json;
    int64_t  batch, threads, streams, size, channels, snapshots;
    double   seconds;
    struct fl_device dev;
    struct fl_fwd_opts opts;
    struct fl_tool_model m;
    struct fl_fwd_memory memory;
    pthread_barrier_t gate;
};

/* One program on one thread; several at once are streams. */
struct bench_stream {
    struct bench *b;
    pthread_t     thread;
    struct fl_prog *prog;
    struct fl_snap *snaps[16];
    float        *logits;
    struct fl_input input;              /* with views: paints from `tile` */
    unsigned char *tile;
    double        began, took, best;    /* best: processor time of the shortest execution */
    uint64_t      runs;
    struct fl_err err;
    int           code;
};

/* ---- one stream ---- */

#define BENCH_TILE 256                     /* side of a tile of which views are made, or the network's where that is larger */
enum { BENCH_PAINTED, BENCH_D4 };

static uint32_t bench_side(const struct bench *b) { return b->m.size > BENCH_TILE ? b->m.size : BENCH_TILE; }

static double bench_cpu(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* A tile of noise for every eight rows. */
static int bench_tiles(struct bench_stream *s)
{
    const struct bench *b = s->b;
    static const double mean[8] = { .5, .5, .5, .5, .5, .5, .5, .5 }, std[8] = { .25, .25, .25, .25, .25, .25, .25, .25 };
    size_t n = (size_t)(b->batch + 7) / 8 * bench_side(b) * bench_side(b) * b->m.channels;
    float *noise = malloc(n * sizeof *noise);
    int code = fl_input_init(&s->input, b->m.size, b->m.channels, 255, mean, std, &s->err);
    s->tile = malloc(n);
    if (code == FL_OK && (noise == NULL || s->tile == NULL))
        code = fl_err_set(&s->err, FL_E_NOMEM, "no memory for tiles");
    if (code == FL_OK) {
        fl_tool_fill("bench", noise, n, 0, 256);
        for (size_t i = 0; i < n; i++)
            s->tile[i] = (unsigned char)noise[i];
    }
    free(noise);
    return code;
}

/* Row i is the centre of tile i/8 under element i%8. */
static int bench_paint(struct bench_stream *s)
{
    const struct bench *b = s->b;
    uint32_t side = bench_side(b), at = (side - b->m.size) / 2;
    size_t tile = (size_t)side * side * b->m.channels, row = (size_t)b->m.size * b->m.size * b->m.channels;
    float *in = b->dev.backend->input(s->prog);
    int code = FL_OK;
    for (uint32_t i = 0; i < (uint32_t)b->batch && code == FL_OK; i++) {
        struct fl_window w = { i % 8, at, at, b->m.size, b->m.size };
        code = fl_input_paint(&s->input, &(struct fl_tile){ s->tile + i / 8 * tile, FL_U8, side, side }, &w, in + i * row, &s->err);
    }
    return code;
}

static int bench_make(struct bench_stream *s)
{
    struct bench *b = s->b;
    int code = b->dev.backend->compile(b->m.net, &b->opts, &s->prog, &s->err);
    for (int64_t k = 0; k < b->snapshots && code == FL_OK; k++)
        code = b->dev.backend->load(s->prog, &b->m.weights, &s->snaps[k], &s->err);
    s->logits = malloc((size_t)b->batch * 65536 * sizeof(float));
    if (code != FL_OK || s->logits == NULL)
        return code != FL_OK ? code : fl_err_set(&s->err, FL_E_NOMEM, "no memory for logits");
    fl_tool_fill("bench", b->dev.backend->input(s->prog), (size_t)b->batch * b->m.size * b->m.size * b->m.channels, -2, 4);
    return b->views == BENCH_D4 ? bench_tiles(s) : FL_OK;
}

static int bench_once(struct bench_stream *s)
{
    double start = bench_cpu();
    int code = s->b->views == BENCH_D4 ? bench_paint(s) : FL_OK;
    for (int64_t k = 0; k < s->b->snapshots && code == FL_OK; k++)
        code = s->b->dev.backend->run(s->prog, s->snaps[k], s->logits, &s->err);
    double took = bench_cpu() - start;
    s->best = s->best == 0 || took < s->best ? took : s->best;
    return code;
}

static void *bench_thread(void *of)
{
    struct bench_stream *s = of;
    const struct bench *b = s->b;
    s->code = bench_make(s);
    if (s->code == FL_OK)
        s->code = bench_once(s);                /* warm */
    s->best = 0;
    if (s->code == FL_OK && b->layers && b->dev.backend->profile != NULL)
        b->dev.backend->profile(s->prog, true);
    pthread_barrier_wait(&s->b->gate);
    s->began = fl_tool_now();
    do {
        s->code = s->code == FL_OK ? bench_once(s) : s->code;
        s->runs++;
        s->took = fl_tool_now() - s->began;
    } while (s->code == FL_OK && (s->took < b->seconds || s->runs < 2));
    return NULL;
}

static void bench_free(struct bench *b, struct bench_stream *s)
{
    for (int64_t k = 0; k < b->snapshots; k++)
        if (s->snaps[k] != NULL)
            b->dev.backend->snap_free(s->snaps[k]);
    if (s->prog != NULL)
        b->dev.backend->prog_free(s->prog);
    fl_input_done(&s->input);
    free(s->tile);
    free(s->logits);
}

/* ---- the report ---- */

struct bench_result { double rate, flops, peak, rss, cpu; };      /* cpu: tiles a second of processor time in the best execution; 0 with several threads */

static json_t *bench_layers(struct bench *b, const struct bench_stream *s)
{
    struct fl_layer l;
    double all = 0;
    json_t *list = json_array();
    for (uint32_t i = 0; b->dev.backend->layer(s->prog, i, &l); i++)
        all += l.seconds;
    for (uint32_t i = 0; b->dev.backend->layer(s->prog, i, &l); i++) {
        double each = l.seconds / (double)s->runs / (double)b->snapshots, flops = each > 0 ? 2 * (double)l.macs / each : 0;
        if (!b->json)
            printf("%4u  %-20s %4u -> %4u  %3u x %-3u %8.3f ms %5.1f %%  %8.1f GFLOP/s  %s\n", i, l.kind, l.ci, l.co, l.h, l.w, each * 1e3,
                   all > 0 ? 100 * l.seconds / all : 0, flops / 1e9, l.impl);
        json_array_append_new(list, json_pack("{s:i, s:s, s:i, s:i, s:i, s:i, s:I, s:f, s:s}", "step", (int)i, "kind", l.kind, "in", (int)l.ci, "out", (int)l.co,
            "height", (int)l.h, "width", (int)l.w, "macs", (json_int_t)l.macs, "seconds", each, "kernel", l.impl));
    }
    return list;
}

static int bench_report(struct bench *b, const struct bench_stream *s, const struct bench_result *r)
{
    json_t *layers = b->layers ? bench_layers(b, s) : NULL;
    double own = (double)(b->memory.prog + b->memory.snap * (uint64_t)b->snapshots), dev = (double)(b->memory.device_prog + b->memory.device_snap * (uint64_t)b->snapshots);
    if (!b->json) {
        printf("%s, %u channels at %u px, device %s, %s, %u rows, %u threads, %d streams, %d snapshots\n", b->m.name, b->m.channels, b->m.size, b->dev.name,
               fl_prec_name(b->opts.prec), b->opts.rows, b->opts.threads, (int)b->streams, (int)b->snapshots);
        printf("  %.2f tiles/s, %.1f GFLOP/s", r->rate, r->flops / 1e9);
        if (r->peak > 0)
            printf(", %.3f of %.1f GFLOP/s that a large matmul reaches", r->flops / r->peak, r->peak / 1e9);
        if (r->cpu > 0)
            printf("\n  %.2f tiles a second of processor time in the best execution", r->cpu);
        printf("\n  memory of a stream: %.1f MB", own / 1e6);
        if (dev > 0)
            printf(", on the device %.1f MB", dev / 1e6);
        printf("; this process at most %.1f MB\n", r->rss / 1e6);
        json_decref(layers);
        return FL_OK;
    }
    json_t *j = json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "arch", b->m.name, "device", b->dev.name,
        "precision", fl_prec_name(b->opts.prec), "size", (int)b->m.size, "rows", (int)b->opts.rows, "threads", (int)b->opts.threads, "streams", (int)b->streams,
        "snapshots", (int)b->snapshots, "tiles_s", r->rate, "tiles_cpu_s", r->cpu, "gflop_cpu_s", r->cpu * 2e-9 * (double)fl_net_macs(b->m.net) * (double)b->snapshots, "gflop_s", r->flops / 1e9, "matmul_gflop_s", r->peak / 1e9, "memory", own, "device_memory", dev, "rss", r->rss);
    if (layers != NULL)
        json_object_set_new(j, "layers", layers);
    json_dumpf(j, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(7));
    putchar('\n');
    json_decref(j);
    return FL_OK;
}

/* ---- the command ---- */

static int bench_open(struct bench *b, struct fl_err *err)
{
    char passed[400];
    int code;
    if ((b->model == NULL) == (b->arch == NULL))
        return fl_err_set(err, FL_E_CONFIG, "want either --model FILE or --arch NAME");
    if (b->model != NULL && (b->size != 0 || b->channels != 0))
        return fl_err_set(err, FL_E_CONFIG, "--%s goes with --arch, a model has its own", b->size != 0 ? "size" : "channels");
    if ((code = fl_device_pick(b->device, &b->dev, passed, sizeof passed, err)) != FL_OK ||
        (code = fl_device_precision(&b->dev, b->precision, 0, &b->opts.prec, err)) != FL_OK)
        return code;
    b->opts.rows = (uint32_t)b->batch;
    b->opts.threads = (uint32_t)b->threads;
    b->opts.device = b->dev.index;
    uint32_t size = b->size != 0 ? (uint32_t)b->size : 224, channels = b->channels != 0 ? (uint32_t)b->channels : 3;
    code = b->model != NULL ? fl_tool_model_read(b->model, &b->m, err) : fl_tool_model_make(b->arch, size, channels, &b->m, err);
    return code == FL_OK ? b->dev.backend->memory(b->m.net, &b->opts, &b->memory, err) : code;
}

static int bench_streams(struct bench *b, struct bench_stream *s, struct bench_result *r, struct fl_err *err)
{
    int code = FL_OK;
    pthread_barrier_init(&b->gate, NULL, (unsigned)b->streams);
    for (int64_t i = 0; i < b->streams; i++) {
        s[i].b = b;
        if (pthread_create(&s[i].thread, NULL, bench_thread, &s[i]) != 0)
            abort();                            /* the others would wait for it for ever */
    }
    for (int64_t i = 0; i < b->streams; i++) {
        pthread_join(s[i].thread, NULL);
        r->rate += (double)(s[i].runs * b->opts.rows) / s[i].took;
        if (code == FL_OK && s[i].code != FL_OK)
            code = fl_err_set(err, s[i].code, "%s", s[i].err.text);
    }
    pthread_barrier_destroy(&b->gate);
    if (code == FL_OK && b->threads == 1 && b->streams == 1 && s[0].best > 0)
        r->cpu = b->opts.rows / s[0].best;
    r->flops = r->rate * 2 * (double)fl_net_macs(b->m.net) * (double)b->snapshots;
    return code;
}

static int bench_run(void *state, struct fl_err *err)
{
    struct bench *b = state;
    struct bench_stream s[BENCH_STREAMS] = { { 0 } };
    struct bench_result r = { 0 };
    struct rusage ru;
    int code = bench_open(b, err);
    if (code == FL_OK)
        code = bench_streams(b, s, &r, err);
    if (code == FL_OK && getrusage(RUSAGE_SELF, &ru) == 0)
        r.rss = (double)ru.ru_maxrss * 1024;
    if (code == FL_OK && b->dev.backend->peak != NULL)
        code = b->dev.backend->peak(&b->opts, (uint32_t)b->streams, &r.peak, err);
    if (code == FL_OK)
        code = bench_report(b, &s[0], &r);
    for (int64_t i = 0; i < b->streams; i++)
        bench_free(b, &s[i]);
    fl_tool_model_free(&b->m);
    return code;
}

static const struct fl_opt bench_opts[] = {
    { .name = "model", .type = FL_OPT_PATH, .off = offsetof(struct bench, model), .help = "weights, NAME.safetensors with NAME.json beside it" },
    { .name = "arch", .type = FL_OPT_STR, .off = offsetof(struct bench, arch), .help = "instead: a network with made-up weights and 17 labels" },
    { .name = "size", .type = FL_OPT_INT, .off = offsetof(struct bench, size), .min = 32, .max = 2048, .help = "its input's side; 224" },
    { .name = "channels", .type = FL_OPT_INT, .off = offsetof(struct bench, channels), .min = 1, .max = 8, .help = "its input's channels; 3" },
    { .name = "device", .type = FL_OPT_STR, .off = offsetof(struct bench, device), .def = "auto", .help = "as in a pipeline" },
    { .name = "precision", .type = FL_OPT_CHOICE, .off = offsetof(struct bench, precision), .def = "f32", .choices = "f32|bf16|f16", .help = "arithmetic" },
    { .name = "batch", .type = FL_OPT_INT, .off = offsetof(struct bench, batch), .def = "8", .min = 1, .max = 4096, .help = "rows of one execution" },
    { .name = "threads", .type = FL_OPT_INT, .off = offsetof(struct bench, threads), .def = "1", .min = 1, .max = 1024, .help = "threads of a stream" },
    { .name = "streams", .type = FL_OPT_INT, .off = offsetof(struct bench, streams), .def = "1", .min = 1, .max = BENCH_STREAMS, .help = "networks side by side" },
    { .name = "snapshots", .type = FL_OPT_INT, .off = offsetof(struct bench, snapshots), .def = "1", .min = 1, .max = 16, .help = "sets of weights on one input" },
    { .name = "views", .type = FL_OPT_CHOICE, .off = offsetof(struct bench, views), .def = "none", .choices = "none|d4", .help = "d4: rows are painted anew each time, eight views of a tile of 256 pixels" },
    { .name = "seconds", .type = FL_OPT_FLOAT, .off = offsetof(struct bench, seconds), .def = "2", .min = 0.01, .max = 3600, .help = "how long to measure" },
    { .name = "layers", .type = FL_OPT_BOOL, .off = offsetof(struct bench, layers), .help = "time of each layer" },
    { .name = "json", .type = FL_OPT_BOOL, .off = offsetof(struct bench, json), .help = "as JSON" },
    { 0 }
};

const struct fl_tool fl_tool_bench = {
    .name = "bench", .usage = "usage: flowrun bench forward (--model FILE | --arch NAME) [--OPTION VALUE]...",
    .help = "Runs a network on tiles of noise: tiles and GFLOP a second, share of what a large matmul reaches, memory, time of each layer.",
    .opts = bench_opts, .state_size = sizeof(struct bench), .run = bench_run,
};
