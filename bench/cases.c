/* The comparisons: what runs on either side. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/bench.h"

#define BATCH        64
#define PAYLOAD      196608                 /* bytes of a tile in the payload graphs: 64 make 12.6 MB */
#define OPEN_TILES   4096                   /* TIFFOpen takes several times as long a tile */
#define CHAIN        30                     /* batches through ZeroMQ */
#define TOUCHED      1000                   /* batches through the graph, start included */
#define HOPS         4
#define HOPPED       5000
#define FLOOR_KEEPS  "64"                   /* tiles: a floor, too, makes a batch; "1" lets it leave all in the cache */
#define STEADY       2000                   /* batches after which nothing grows any more */
#define FRAMES       "200000"

static int case_floor(struct bench *b, const char *kind, const char *files, unsigned have, unsigned n, double *cpu, struct fl_err *err)
{
    char exe[600], list[700], count[16];
    struct bench_cost c = { 0 };
    snprintf(exe, sizeof exe, "%s/bench/floor", b->bin);
    snprintf(list, sizeof list, "%s/%s.%u.list", b->dir, files, have);
    snprintf(count, sizeof count, "%u", n);
    int rc = bench_run(b, (const char *[]){ exe, kind, list, count, FLOOR_KEEPS, NULL }, NULL, &c, err);
    *cpu = c.cpu;
    return rc;
}

/* ---- decode ---- */

static int case_decode(struct bench *b, const char *files, unsigned n, unsigned batch, const char *memory, const char *options, double *rate, struct fl_err *err)
{
    char yaml[2000];
    struct bench_cost c = { 0 };
    snprintf(yaml, sizeof yaml,
             "memory: %s\nstages:\n"
             "  tiles: {stage: source, options: {files: \"@%s/%s.%u.list\", batch: %u}}\n"
             "  decode: {from: tiles, options: {%s}}\n"
             "  sink: {from: decode}\n", memory, b->dir, files, n, batch, options);
    int rc = bench_graph(b, files, yaml, &c, err);
    if (rc == FL_OK)
        *rate = n / c.cpu;
    return rc;
}

static int case_jpeg_ours(struct bench *b, double *rate, struct fl_err *err)
{
    return case_decode(b, "jpeg", BENCH_JPEGS, 64, "40MB", "mode: rgb", rate, err);
}

static int case_jpeg_other(struct bench *b, double *rate, struct fl_err *err)
{
    int rc = case_floor(b, "jpeg", "jpeg", BENCH_JPEGS, BENCH_JPEGS, rate, err);
    *rate = BENCH_JPEGS / *rate;
    return rc;
}

static int case_tif_ours(struct bench *b, double *rate, struct fl_err *err)
{
    return case_decode(b, "tif", BENCH_TIFS, 64, "105MB", "mode: rgbn", rate, err);
}

static int case_tif_open(struct bench *b, double *rate, struct fl_err *err)
{
    int rc = case_floor(b, "tiffopen", "tif", BENCH_TIFS, OPEN_TILES, rate, err);
    *rate = OPEN_TILES / *rate;
    return rc;
}

static int case_tif_mem(struct bench *b, double *rate, struct fl_err *err)
{
    int rc = case_floor(b, "tiffmem", "tif", BENCH_TIFS, BENCH_TIFS, rate, err);
    *rate = BENCH_TIFS / *rate;
    return rc;
}

/* ---- augment ---- */

/* In one core or, with two of each stage, in both; the rate of the processor's time, or of the clock. */
static int case_augment_ours(struct bench *b, unsigned cores, double *rate, struct fl_err *err)
{
    char yaml[2000];
    struct bench_cost c = { 0 };
    int cpu = b->cpu;
    snprintf(yaml, sizeof yaml,
             "memory: 400MB\nstages:\n"
             "  tiles: {stage: source, options: {files: \"@%s/jpeg.%u.list\", batch: %d}}\n"
             "  decode: {from: tiles, instances: %u}\n"
             "  augment: {from: decode, instances: %u, options: {size: 224, ops: [d4, rotate, {scale: {p: 1}}, {contrast: {p: 1}}]}}\n"
             "  sink: {from: augment}\n", b->dir, BENCH_JPEGS, BATCH, cores, cores);
    b->cpu = cores > 1 ? -1 : cpu;
    int rc = bench_graph(b, "augment", yaml, &c, err);
    b->cpu = cpu;
    if (rc == FL_OK)
        *rate = BENCH_JPEGS / (cores > 1 ? c.wall : c.cpu);
    return rc;
}

int bench_floor_augment(struct bench *b, unsigned cores, double *rate, struct fl_err *err)
{
    char exe[600], list[700], count[16], parts[16];
    struct bench_cost c = { 0 };
    int cpu = b->cpu;
    snprintf(exe, sizeof exe, "%s/bench/floor_augment", b->bin);
    snprintf(list, sizeof list, "%s/jpeg.%u.list", b->dir, BENCH_JPEGS);
    snprintf(count, sizeof count, "%u", BENCH_JPEGS);
    snprintf(parts, sizeof parts, "%u", cores);
    b->cpu = cores > 1 ? -1 : cpu;
    int rc = bench_run(b, (const char *[]){ exe, list, count, FLOOR_KEEPS, parts, NULL }, NULL, &c, err);
    b->cpu = cpu;
    if (rc == FL_OK)
        *rate = BENCH_JPEGS / (cores > 1 ? c.wall : c.cpu);
    return rc;
}

static int case_augment_one(struct bench *b, double *rate, struct fl_err *err) { return case_augment_ours(b, 1, rate, err); }
static int case_augment_one_other(struct bench *b, double *rate, struct fl_err *err) { return bench_floor_augment(b, 1, rate, err); }
static int case_augment_two(struct bench *b, double *rate, struct fl_err *err) { return case_augment_ours(b, 2, rate, err); }
static int case_augment_two_other(struct bench *b, double *rate, struct fl_err *err) { return bench_floor_augment(b, 2, rate, err); }

/* ---- five processes against one ---- */

static int case_five(struct bench *b, const char *sink, double *rate, struct fl_err *err)
{
    char yaml[2000];
    struct bench_cost c = { 0 };
    snprintf(yaml, sizeof yaml,
             "memory: 40MB\nstage_path: [%s/bench/stages]\nstages:\n"
             "  tiles: {stage: source, options: {files: \"@%s/jpeg.%u.list\", batch: %d}}\n"
             "  decode: {from: tiles}\n"
             "  augment: {from: decode, options: {views: d4}}\n"
             "  look: {stage: bench_look, from: augment}\n"
             "  sink: {from: look, stage: %s}\n", b->bin, b->dir, BENCH_JPEGS, BATCH, sink);
    int rc = bench_graph(b, "five", yaml, &c, err);
    if (rc == FL_OK)
        *rate = BENCH_JPEGS / c.cpu;
    return rc;
}

static int case_five_ours(struct bench *b, double *rate, struct fl_err *err) { return case_five(b, "sink", rate, err); }
static int case_five_kept_nothing(struct bench *b, double *rate, struct fl_err *err) { return case_five(b, "bench_end, options: {touch: false}", rate, err); }

static int case_fused_run(struct bench *b, const char *frames, struct bench_cost *c, struct fl_err *err)
{
    char exe[600], list[700], count[16], run[700], out[700];
    snprintf(exe, sizeof exe, "%s/bench/fused", b->bin);
    snprintf(list, sizeof list, "%s/jpeg.%u.list", b->dir, frames != NULL ? BENCH_FEW : BENCH_JPEGS);
    snprintf(count, sizeof count, "%u", frames != NULL ? BENCH_FEW : BENCH_JPEGS);
    snprintf(out, sizeof out, "%s/frames", b->dir);
    int rc = bench_fresh(b, "fused-run", run, sizeof run, err);
    if (rc != FL_OK)
        return rc;
    return bench_run(b, (const char *[]){ exe, list, count, run, frames, NULL }, out, c, err);
}

static int case_fused_other(struct bench *b, double *rate, struct fl_err *err)
{
    struct bench_cost c = { 0 };
    int rc = case_fused_run(b, NULL, &c, err);
    if (rc == FL_OK)
        *rate = BENCH_JPEGS / c.cpu;
    return rc;
}

static int case_frame(struct bench *b, double *us, struct fl_err *err)
{
    char path[700];
    struct bench_cost c = { 0 };
    int rc = case_fused_run(b, FRAMES, &c, err);
    if (rc != FL_OK)
        return rc;
    snprintf(path, sizeof path, "%s/frames", b->dir);
    FILE *f = fopen(path, "re");
    if (f == NULL || fscanf(f, "%lf", us) != 1)
        rc = fl_err_set(err, FL_E_INPUT, "%s: no number", path);
    if (f != NULL)
        fclose(f);
    *us /= 1000;
    return rc;
}

/* ---- what a hop costs ---- */

static int case_row(struct bench *b, unsigned batches, unsigned bytes, const char *touch, const char *memory, double *ms, struct fl_err *err)
{
    char yaml[2000];
    struct bench_cost c = { 0 };
    snprintf(yaml, sizeof yaml,
             "memory: %s\nstage_path: [%s/bench/stages]\nstages:\n"
             "  one: {stage: bench_fill, options: {batches: %u, batch: %d, bytes: %u, touch: %s}}\n"
             "  two: {stage: bench_touch, from: one, options: {touch: %s}}\n"
             "  three: {stage: bench_touch, from: two, options: {touch: %s}}\n"
             "  four: {stage: bench_touch, from: three, options: {touch: %s}}\n"
             "  five: {stage: bench_end, from: four, options: {touch: %s}}\n",
             memory, b->bin, batches, BATCH, bytes, touch, touch, touch, touch, touch);
    int rc = bench_graph(b, "row", yaml, &c, err);
    *ms = c.cpu * 1000 / batches;
    return rc;
}

static int case_touched_ours(struct bench *b, double *ms, struct fl_err *err)
{
    return case_row(b, TOUCHED, PAYLOAD, "true", "14MB", ms, err);
}

static int case_chain_other(struct bench *b, double *ms, struct fl_err *err)
{
    char exe[600], batches[16], bytes[16];
    struct bench_cost c = { 0 };
    snprintf(exe, sizeof exe, "%s/bench/chain", b->bin);
    snprintf(batches, sizeof batches, "%d", CHAIN);
    snprintf(bytes, sizeof bytes, "%d", BATCH * PAYLOAD);
    int rc = bench_run(b, (const char *[]){ exe, batches, bytes, NULL }, NULL, &c, err);
    *ms = c.cpu * 1000 / CHAIN;
    return rc;
}

static int case_hop(struct bench *b, double *us, struct fl_err *err)
{
    int cpu = b->cpu;
    b->cpu = -1;                            /* waking a process on another processor is a part of it */
    int rc = case_row(b, HOPPED, 64, "false", "16MB", us, err);
    b->cpu = cpu;
    *us = *us * 1000 / HOPS;
    return rc;
}

static int case_row_faults(struct bench *b, unsigned batches, double *faults, struct fl_err *err)
{
    double ms;
    int rc = case_row(b, batches, 64, "true", "16MB", &ms, err);
    return rc == FL_OK ? bench_report_faults(b, faults, err) : rc;
}

/* Of a long run less those of a shorter one, per batch more: while it starts, ZeroMQ's queues and the heap still grow (some 40
 * faults a process). Less than one in a hundred batches is none: the growth is not the same in every run. */
static int case_faults(struct bench *b, double *faults, struct fl_err *err)
{
    double few = 0, many = 0;
    int rc = case_row_faults(b, STEADY, &few, err);
    if (rc == FL_OK)
        rc = case_row_faults(b, 3 * STEADY, &many, err);
    *faults = many - few >= 2 * STEADY * 0.01 ? (many - few) / (2 * STEADY) : 0;
    return rc;
}

/* ---- the default graph ---- */

/* The default graph; edges: what of it is recorded, NULL = nothing. tiles: so many of the bench's own, 0: the 300 samples. The recordings
 * are thrown away. */
static int case_default(struct bench *b, const char *edges, const char *ring, unsigned tiles, struct bench_cost *c, double *seconds, struct fl_err *err)
{
    char exe[600], run[700], pred[760], prob[760], rec[800], files[760];
    snprintf(exe, sizeof exe, "%s/bin/flowrun", b->bin);
    snprintf(files, sizeof files, "tiles.files=@%s/jpeg.%u.list", b->dir, tiles);
    int rc = bench_fresh(b, "run", run, sizeof run, err);
    if (rc != FL_OK)
        return rc;
    rmdir(run);
    snprintf(pred, sizeof pred, "sink.submission=%s/predictions.csv", b->dir);
    snprintf(prob, sizeof prob, "sink.probabilities=%s/probs.csv", b->dir);
    snprintf(rec, sizeof rec, "record.edges=%s", edges != NULL ? edges : "");
    const char *argv[] = { exe, "pipeline.yaml", "-q", "--run", run, "--set", pred, "--set", prob, "--set", tiles > 0 ? files : "seed=42", "--set", tiles > 0 ? "sink.truth=" : "seed=42", edges != NULL ? "--set" : NULL, rec, ring != NULL ? "--set" : NULL, ring, NULL };
    rc = bench_run(b, argv, NULL, c, err);
    return rc == FL_OK ? bench_report(b, "seconds", seconds, err) : rc;
}

/* CPU ms a tile: a run of BENCH_NET tiles less one of BENCH_START, so that the start of the processes has no part in it. */
static int case_per_tile(struct bench *b, const char *edges, const char *ring, double *ms, struct fl_err *err)
{
    struct bench_cost few = { 0 }, many = { 0 };
    double seconds;
    int rc = case_default(b, edges, ring, BENCH_START, &few, &seconds, err);
    if (rc == FL_OK)
        rc = case_default(b, edges, ring, BENCH_NET, &many, &seconds, err);
    *ms = (many.cpu - few.cpu) / (BENCH_NET - BENCH_START) * 1e3;
    return rc;
}

static int case_ring(struct bench *b, double *ms, struct fl_err *err)
{
    return case_per_tile(b, "all", "record.ring=8", ms, err);
}

/* One run, start and the first filling of the rings included; by its own processes, since pairs of runs scatter by more than the rings cost. */
static int case_ring_share(struct bench *b, double *percent, struct fl_err *err)
{
    struct bench_cost c = { 0 };
    double seconds, recorders = 0;
    int rc = case_default(b, "all", "record.ring=8", BENCH_RING, &c, &seconds, err);
    if (rc == FL_OK)
        rc = bench_report_cpu(b, "record-", &recorders, err);
    *percent = 100 * recorders / (c.cpu - recorders);
    return rc;
}

static int case_unrecorded(struct bench *b, double *ms, struct fl_err *err)
{
    return case_per_tile(b, NULL, NULL, ms, err);
}

/* Seconds of the whole graph, all edges to disk; against the slower of the graph without that and a plain write of as many bytes. */
static int case_full(struct bench *b, double *seconds, struct fl_err *err)
{
    struct bench_cost c = { 0 };
    return case_default(b, "all", NULL, 0, &c, seconds, err);
}

#define FULL_BYTES (300 * (2 * UINT64_C(196608) + 4096))     /* pixels twice, by decode and augment, and the rest */

static int case_full_other(struct bench *b, double *seconds, struct fl_err *err)
{
    struct bench_cost c = { 0 };
    char path[700], file[720];
    static char block[1 << 20];
    int rc = case_default(b, NULL, NULL, 0, &c, seconds, err);
    if (rc == FL_OK)
        rc = bench_fresh(b, "write", path, sizeof path, err);
    if (rc != FL_OK)
        return rc;
    snprintf(file, sizeof file, "%s/x", path);
    double start = bench_now();
    FILE *f = fopen(file, "wbe");
    for (uint64_t done = 0; f != NULL && done < FULL_BYTES; done += sizeof block)
        if (fwrite(block, 1, sizeof block, f) != sizeof block)
            break;
    if (f == NULL || fclose(f) != 0)
        return fl_err_set(err, FL_E_IO, "%s: can't be written", file);
    double disk = bench_now() - start;
    *seconds = disk > *seconds ? disk : *seconds;
    return FL_OK;
}

/* From before the process is made to the first acknowledged batch. What flowrun does before and after the time that its report
 * tells of is all counted as start. The first 70 tiles: what comes after the first batch has no part in it. */
static int case_start(struct bench *b, double *seconds, struct fl_err *err)
{
    char exe[600], run[700], pred[760], prob[760];
    struct bench_cost c = { 0 };
    double first = 0, start = 0, rest = 0;
    snprintf(exe, sizeof exe, "%s/bin/flowrun", b->bin);
    int rc = bench_fresh(b, "run", run, sizeof run, err);
    if (rc != FL_OK)
        return rc;
    rmdir(run);
    snprintf(pred, sizeof pred, "sink.submission=%s/predictions.csv", b->dir);
    snprintf(prob, sizeof prob, "sink.probabilities=%s/probs.csv", b->dir);
    int cpu = b->cpu;
    b->cpu = -1;
    rc = bench_run(b, (const char *[]){ exe, "pipeline.yaml", "-q", "--run", run, "--set", pred, "--set", prob, "--set", "tiles.files=build/samples/tiles/sample_000[0-6]*.jpg", NULL }, NULL, &c, err);
    b->cpu = cpu;
    if (rc == FL_OK && (rc = bench_report(b, "first_result_s", &first, err)) == FL_OK && (rc = bench_report(b, "start_s", &start, err)) == FL_OK)
        rc = bench_report(b, "seconds", &rest, err);
    *seconds = c.wall - (start + rest) + first;
    return rc;
}

/* ---- decoders ---- */

#define F2_ROWS "40000"

/* The first number a program prints. */
static int case_says(struct bench *b, const char *const *argv, double *value, struct fl_err *err)
{
    char path[700];
    struct bench_cost c;
    snprintf(path, sizeof path, "%s/says", b->dir);
    int rc = bench_run(b, argv, path, &c, err);
    if (rc != FL_OK)
        return rc;
    FILE *f = fopen(path, "re");
    if (f == NULL || fscanf(f, "%lf", value) != 1)
        rc = fl_err_set(err, FL_E_INPUT, "%s: no number", path);
    if (f != NULL)
        fclose(f);
    return rc;
}

static int case_f2(struct bench *b, const char *how, double *rate, struct fl_err *err)
{
    char exe[600];
    snprintf(exe, sizeof exe, "%s/bench/f2", b->bin);
    return case_says(b, (const char *[]){ exe, how, F2_ROWS, NULL }, rate, err);
}

static int case_f2_exact(struct bench *b, double *rate, struct fl_err *err) { return case_f2(b, "exact", rate, err); }
static int case_f2_plain(struct bench *b, double *rate, struct fl_err *err) { return case_f2(b, "plain", rate, err); }
static int case_f2_enum(struct bench *b, double *rate, struct fl_err *err) { return case_f2(b, "enum", rate, err); }

/* arg: NumPy on all rows at once, or on one after another. */
static int case_f2_numpy(struct bench *b, double *rate, struct fl_err *err)
{
    char exe[600], rows[700];
    struct bench_cost c;
    snprintf(exe, sizeof exe, "%s/bench/f2", b->bin);
    snprintf(rows, sizeof rows, "%s/f2.rows", b->dir);
    int rc = bench_run(b, (const char *[]){ exe, "rows", F2_ROWS, rows, NULL }, NULL, &c, err);
    return rc == FL_OK ? case_says(b, (const char *[]){ "/usr/bin/python3", "bench/f2.py", rows, F2_ROWS, b->arg ? "row" : "all", NULL }, rate, err) : rc;
}

const struct bench_case bench_cases[] = {
    { .name = "decode/turbojpeg", .what = "source, decode, sink against a tjDecompress2 loop over the same JPEGs", .unit = "tiles/CPU s", .goal = 0.95, .more = true,
      .ours = case_jpeg_ours, .other = case_jpeg_other },
    { .name = "tif/tiffopen", .what = "source, decode, sink against a TIFFOpen loop over the same plain TIFs", .unit = "tiles/CPU s", .goal = 5, .more = true,
      .ours = case_tif_ours, .other = case_tif_open },
    { .name = "tif/pread", .what = "the same against pread into a reused buffer and libtiff over memory", .unit = "tiles/CPU s", .goal = 0.90, .more = true,
      .ours = case_tif_ours, .other = case_tif_mem },
    { .name = "augment/floor", .what = "JPEGs to turned, scaled, contrasted f32 planes of 224 px: the graph against a plain loop in fixed point, one core", .unit = "tiles/CPU s",
      .goal = 0.95, .more = true, .ours = case_augment_one, .other = case_augment_one_other },
    { .name = "augment/floor2", .what = "the same on two cores at once, two decoders and two augmenters against two loops", .unit = "tiles/s", .goal = 0.95, .more = true,
      .ours = case_augment_two, .other = case_augment_two_other },
    { .name = "feed/floor", .what = "JPEGs to augmented f32 planes of 224 px in NumPy's hands, through the feed, against a plain loop in fixed point, one core", .unit = "tiles/CPU s",
      .goal = 0.95, .more = true, .ours = bench_feed_ours, .other = bench_feed_floor, .arg = 1 },
    { .name = "feed/floor2", .what = "the same on two cores at once against two loops", .unit = "tiles/s", .goal = 0.95, .more = true,
      .ours = bench_feed_ours, .other = bench_feed_floor, .arg = 2 },
    { .name = "feed/torchvision", .what = "the feed against a DataLoader with torchvision's transforms, two workers, malloc tuned", .unit = "tiles/s", .goal = 15, .more = true,
      .ours = bench_feed_two, .other = bench_feed_torchvision },
    { .name = "feed/opencv", .what = "the feed against a DataLoader with OpenCV, two workers, malloc tuned", .unit = "tiles/s", .goal = 10, .more = true,
      .ours = bench_feed_two, .other = bench_feed_opencv },
    { .name = "feed/consumer", .what = "what a batch costs the consuming Python", .unit = "CPU us", .goal = 1, .ours = bench_feed_consumer, .limit = 20 },
    { .name = "feed/first", .what = "from flowrun.Feed(...) to the first batch in the program's hands", .unit = "s", .goal = 1, .ours = bench_feed_first, .limit = 1 },
    { .name = "graph/fused", .what = "source, decode, augment, look, sink: five processes against one", .unit = "tiles/CPU s", .goal = 0.95, .more = true,
      .ours = case_five_ours, .other = case_fused_other },
    { .name = "delivery/none", .what = "the same five processes against a sink that acknowledges and keeps nothing: journal, its syncs, the files made from it", .unit = "tiles/CPU s",
      .goal = 0.97, .more = true, .ours = case_five_ours, .other = case_five_kept_nothing },
    { .name = "graph/zeromq", .what = "five processes that fill and read a batch of 12.6 MB: slabs against payload over ZeroMQ", .unit = "CPU ms/batch", .goal = 15,
      .ours = case_touched_ours, .other = case_chain_other },
    { .name = "hop/limit", .what = "a batch over one hop, sent and received, supervisor included", .unit = "CPU us", .goal = 1, .ours = case_hop, .limit = 100 },
    { .name = "msgpack/limit", .what = "pack and unpack the header that a sink sees", .unit = "CPU us", .goal = 1, .ours = case_frame, .limit = 1 },
    { .name = "faults/limit", .what = "page faults of five processes in steady state", .unit = "faults/batch", .goal = 1, .ours = case_faults, .limit = 0 },
    { .name = "exact/plain", .what = "the exact decoder, 17 labels: rows side by side in vectors against one after another", .unit = "tiles/CPU s", .goal = 6, .more = true,
      .ours = case_f2_exact, .other = case_f2_plain },
    { .name = "exact/numpy", .what = "the same against NumPy with all rows at once", .unit = "tiles/CPU s", .goal = 100, .more = true, .rival = true,
      .ours = case_f2_exact, .other = case_f2_numpy },
    { .name = "exact/numpy-row", .what = "the same against that NumPy code called with one row at a time", .unit = "tiles/CPU s", .goal = 100, .more = true, .rival = true,
      .ours = case_f2_exact, .other = case_f2_numpy, .arg = 1 },
    { .name = "extratrees-fit/sklearn", .what = "8 extra trees on 40,479 x 816, 17 labels, all columns at a node, against scikit-learn's at an equal held-out error", .unit = "CPU s",
      .goal = 12, .rival = true, .ours = bench_second_ours, .other = bench_second_sklearn, .arg = 0 },
    { .name = "extratrees-predict/sklearn", .what = "their predictions of the 40,479 rows", .unit = "CPU s", .goal = 3, .rival = true,
      .ours = bench_second_ours, .other = bench_second_sklearn, .arg = 1 },
    { .name = "ridge10/sklearn", .what = "ten cross-fitted ridges in double against ten fits of scikit-learn's", .unit = "CPU s", .goal = 5, .rival = true,
      .ours = bench_second_ours, .other = bench_second_sklearn, .arg = 2 },
    { .name = "bayes_enum/limit", .what = "enumeration of the uncertain labels", .unit = "tiles/CPU s", .goal = 1, .more = true, .ours = case_f2_enum, .limit = 1e5 },
    { .name = "start/limit", .what = "start of flowrun pipeline.yaml to the first result", .unit = "s", .goal = 1, .ours = case_start, .limit = 1 },
    { .name = "death/limit", .what = "kill -9 of a stage until flowrun tells of it", .unit = "ms", .goal = 1, .ours = bench_death, .limit = 50 },
    { .name = "ring/limit", .what = "what the recorders of a ring of 8 batches on all edges take of the processor, for 100 of all others of the default graph", .unit = "%", .goal = 1, .ours = case_ring_share, .limit = 3 },
    { .name = "record/ring", .what = "the default graph with all edges in a ring of 8 batches against none recorded", .unit = "CPU ms a tile", .goal = 0.97, .ours = case_ring, .other = case_unrecorded },
    { .name = "record/full", .what = "the default graph with all edges recorded against the slower of it unrecorded and a plain write", .unit = "s", .goal = 0.9,
      .ours = case_full, .other = case_full_other },
    { .name = "hosts/2", .what = "a stage of fixed time on two hosts against one, twice", .unit = "batches/s", .goal = 0.97, .more = true,
      .ours = bench_hosts_many, .other = bench_hosts_one, .arg = 2 },
    { .name = "hosts/4", .what = "on four", .unit = "batches/s", .goal = 0.97, .more = true, .ours = bench_hosts_many, .other = bench_hosts_one, .arg = 4 },
    { .name = "hosts/8", .what = "on eight", .unit = "batches/s", .goal = 0.97, .more = true, .ours = bench_hosts_many, .other = bench_hosts_one, .arg = 8 },
    { .name = "hosts/1:2:4", .what = "on three hosts of speed 1, 2 and 4 against the first, seven times", .unit = "batches/s", .goal = 0.95, .more = true,
      .ours = bench_hosts_many, .other = bench_hosts_one, .arg = 124 },
    { .name = "link/1gbit", .what = "payload to a host over a link shaped to 1 Gbit/s, encrypted, against the link", .unit = "MB/s", .goal = 0.90, .more = true,
      .ours = bench_link_curve, .limit = 125, .arg = 1000 },
    { .name = "link/curve", .what = "payload over a link of 10 Gbit/s, encrypted against open; reported", .unit = "MB/s", .more = true,
      .ours = bench_link_curve, .other = bench_link_open, .arg = 10000 },
    { .name = "link/cpu", .what = "what that costs both hosts together; reported", .unit = "CPU ms/MB", .ours = bench_link_curve_cpu, .other = bench_link_open_cpu, .arg = 10000 },
    { .name = "vgg16/matmul", .what = "vgg16 in f32, batch 8, one thread, against oneDNN's own matmul", .unit = "GFLOP/s", .goal = 0.85, .more = true,
      .ours = bench_forward_flops, .other = bench_forward_matmul, .arg = 4 },
    { .name = "resnet50/matmul", .what = "resnet50 in f32, batch 8, one thread, against oneDNN's own matmul", .unit = "GFLOP/s", .goal = 0.85, .more = true,
      .ours = bench_forward_flops, .other = bench_forward_matmul, .arg = 2 },
    { .name = "snapshots/one", .what = "resnet50: three sets of weights on one input against one", .unit = "passes/s", .goal = 0.95, .more = true,
      .ours = bench_forward_three, .other = bench_forward_one, .arg = 2 },
    { .name = "d4/forward", .what = "densenet121: eight views painted of each tile, against the passes alone", .unit = "passes/s", .goal = 0.95, .more = true,
      .ours = bench_forward_d4, .other = bench_forward_one, .arg = 0 },
    /* Comparisons with programs that a user would pick instead, marked .rival: they need what the build doesn't. */
    { .name = "feed/dali", .what = "the feed against NVIDIA DALI on the CPU, two threads", .unit = "tiles/s", .goal = 1.5, .more = true, .rival = true,
      .ours = bench_feed_two, .other = bench_feed_dali },
    { .name = "feed/spdl", .what = "the feed against SPDL with OpenCV in two threads", .unit = "tiles/s", .goal = 1.5, .more = true, .rival = true,
      .ours = bench_feed_two, .other = bench_feed_spdl },
    { .name = "f32/onnxruntime/densenet121", .what = "f32 at 224 px, batches of 1 and 8, 2 threads or 2 streams", .unit = "tiles/s", .goal = 0.90, .more = true, .rival = true,
      .ours = bench_forward_f32, .other = bench_forward_ort, .arg = 0 },
    { .name = "f32/onnxruntime/densenet169", .what = "f32 at 224 px, batches of 1 and 8, 2 threads or 2 streams", .unit = "tiles/s", .goal = 0.90, .more = true, .rival = true,
      .ours = bench_forward_f32, .other = bench_forward_ort, .arg = 1 },
    { .name = "f32/onnxruntime/resnet50", .what = "f32 at 224 px, batches of 1 and 8, 2 threads or 2 streams", .unit = "tiles/s", .goal = 0.90, .more = true, .rival = true,
      .ours = bench_forward_f32, .other = bench_forward_ort, .arg = 2 },
    { .name = "f32/onnxruntime/resnext50_32x4d", .what = "f32 at 224 px, batches of 1 and 8, 2 threads or 2 streams", .unit = "tiles/s", .goal = 0.90, .more = true, .rival = true,
      .ours = bench_forward_f32, .other = bench_forward_ort, .arg = 3 },
    { .name = "f32/onnxruntime/vgg16", .what = "f32 at 224 px, batches of 1 and 8, 2 threads or 2 streams", .unit = "tiles/s", .goal = 0.90, .more = true, .rival = true,
      .ours = bench_forward_f32, .other = bench_forward_ort, .arg = 4 },
    { .name = "f32/onnxruntime/geomean", .what = "the five nets in f32 against ONNX Runtime", .unit = "tiles/s", .goal = 1.0, .more = true, .rival = true,
      .ours = bench_forward_f32, .other = bench_forward_ort, .arg = BENCH_NETS },
    { .name = "f32/onnxruntime/256", .what = "at 256 px the four nets without vgg16, in f32 against ONNX Runtime", .unit = "tiles/s", .goal = 0.97, .more = true, .rival = true,
      .ours = bench_forward_f32_256, .other = bench_forward_ort_256, .arg = BENCH_NETS },
    { .name = "bf16/onnxruntime/geomean", .what = "in bf16 against ONNX Runtime in f32", .unit = "tiles/s", .goal = 1.7, .more = true, .rival = true,
      .ours = bench_forward_bf16, .other = bench_forward_ort, .arg = BENCH_NETS },
    { .name = "bf16/openvino/geomean", .what = "in bf16 against OpenVINO at its default precision", .unit = "tiles/s", .goal = 1.0, .more = true, .rival = true,
      .ours = bench_forward_bf16, .other = bench_forward_openvino, .arg = BENCH_NETS },
    { 0 }
};
