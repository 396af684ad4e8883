/* Memory runs out at the n-th allocation, for every n that a scenario has: readers of outside bytes and stages say FL_E_NOMEM (or do without), keep
 * nothing and crash nowhere.
 *
 * malloc and its kin are replaced for the whole program, libraries included; those of glibc do the work. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tiffio.h>
#include <unistd.h>

#include "proto/journal.h"
#include "proto/recording.h"
#include "runtime/csv.h"
#include "runtime/folds.h"
#include "runtime/labels.h"
#include "runtime/model.h"
#include "runtime/predictions.h"
#include "runtime/stage.h"
#include "runtime/text.h"
#include "stages/level2/model.h"
#include "stages/lib/inputs.h"
#include "stages/lib/jpeg.h"
#include "stages/lib/sample.h"
#include "stages/lib/tiff.h"
#include "tests/lib/check.h"
#include "tests/lib/harness.h"
#include "tests/lib/tiff_write.h"

#define MOST 20000            /* allocations of a scenario; more would take too long */

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CAN_REPLACE 1

/* ---- the allocator ---- */

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static struct { bool on; long count, fail, live; } heap;      /* count: calls while on; that one fails */

static bool heap_refuses(void)
{
    if (!heap.on || ++heap.count != heap.fail)
        return false;
    errno = ENOMEM;
    return true;
}

static void *heap_given(void *p)
{
    heap.live += p != NULL;
    return p;
}

void *malloc(size_t n) { return heap_refuses() ? NULL : heap_given(__libc_malloc(n)); }
void *calloc(size_t n, size_t size) { return heap_refuses() ? NULL : heap_given(__libc_calloc(n, size)); }
void *aligned_alloc(size_t to, size_t n) { return heap_refuses() ? NULL : heap_given(__libc_memalign(to, n)); }

void *realloc(void *old, size_t n)
{
    if (heap_refuses())
        return NULL;
    void *p = __libc_realloc(old, n);
    heap.live += (p != NULL) - (old != NULL && (p != NULL || n == 0));
    return p;
}

/* The harness's own slabs: counted, never refused. */
int posix_memalign(void **out, size_t to, size_t n)
{
    void *p = heap_given(__libc_memalign(to, n));
    if (p != NULL)
        *out = p;
    return p != NULL ? 0 : ENOMEM;
}

void free(void *p)
{
    heap.live -= p != NULL;
    __libc_free(p);
}

#else
#define CAN_REPLACE 0
static struct { bool on; long count, fail, live; } heap;
#endif

/* ---- running a scenario ---- */

typedef int scenario(struct fl_err *);

/* Each n until one isn't reached. A scenario returns FL_OK only when it has got what it should have. */
static void exhaust(scenario *run, long at_least)
{
    struct fl_err err = { 0 };
    long n = 1;
    if (!CAN_REPLACE) {
        fl_skip("the sanitizer's allocator can't be replaced");
        return;
    }
    for (int warm = 0; warm < 2; warm++) {          /* what libraries keep for good is allocated now */
        heap.count = heap.fail = 0;
        int rc = run(&err);
        heap.on = false;
        CHECK_OK(rc, err);
    }
    for (; n < MOST; n++) {
        memset(&err, 0, sizeof err);
        long before = heap.live;
        heap.count = 0;
        heap.fail = n;
        int rc = run(&err);
        heap.on = false;
        long kept = heap.live - before;          /* before anything is printed */
        if (heap.count < n)
            break;
        if (rc != FL_OK && (rc != FL_E_NOMEM || err.text[0] == '\0'))
            fl_fail_at(__FILE__, __LINE__, "allocation %ld fails: %s: %s", n, fl_status_name(rc), err.text);
        if (kept != 0)
            fl_fail_at(__FILE__, __LINE__, "allocation %ld fails: %ld blocks are kept (%s)", n, kept, err.text);
    }
    CHECK(n < MOST && n > at_least);
}

static int off(int rc)
{
    heap.on = false;
    return rc;
}

static char dir[300];

static const char *put(const char *name, const char *text)
{
    static char path[8][400];
    static unsigned turn;
    char *p = path[turn++ % 8];
    struct fl_err err;
    snprintf(p, 400, "%s/%s", dir, name);
    if (fl_write_file(p, 0600, text, strlen(text), &err) != FL_OK)
        abort();
    return p;
}

/* ---- readers ---- */

static int read_truth(struct fl_err *err)
{
    static const char text[] = "image_name,tags\na,clear primary\nb,\"haze water\"\nc,cloudy\n";
    struct fl_truth t;
    heap.on = true;
    int rc = fl_truth_parse("t.csv", text, sizeof text - 1, FL_DEFAULT_NLABELS, fl_default_labels, FL_DEFAULT_EXCLUSIVE, FL_DEFAULT_REST_OFF, 0, &t, err);
    if (rc != FL_OK)
        return rc;
    rc = t.n == 3 && fl_truth_find(&t, "c") == 2 ? FL_OK : fl_err_set(err, FL_E_BUG, "another truth");
    fl_truth_free(&t);
    return off(rc);
}

static int read_table(struct fl_err *err)
{
    const char *path = put("l.csv", "image_name,tags\na,clear\n");
    char *text;
    size_t len;
    heap.on = true;
    int rc = fl_csv_load(path, &text, &len, err);
    if (rc == FL_OK)
        free(text);
    return off(rc);
}

static int read_folds(struct fl_err *err)
{
    const char *path = put("f.csv", "image_name,fold\na,0\nb,1\nc,0\n");
    struct fl_folds f;
    heap.on = true;
    int rc = fl_folds_read(path, "fold", &f, err);
    if (rc != FL_OK)
        return rc;
    rc = fl_folds_find(&f, "b", 1) >= 0 ? FL_OK : fl_err_set(err, FL_E_BUG, "b is lost");
    fl_folds_free(&f);
    return off(rc);
}

static int read_sample(struct fl_err *err)
{
    const char *path = put("s.csv", "image_name,tags\na,\nb,\n");
    struct fl_sample s;
    heap.on = true;
    int rc = fl_sample_read(path, &s, err);
    if (rc != FL_OK)
        return rc;
    rc = fl_sample_find(&s, "b") == 1 ? FL_OK : fl_err_set(err, FL_E_BUG, "b is lost");
    fl_sample_free(&s);
    return off(rc);
}

static int read_predictions(struct fl_err *err)
{
    static const char text[] = "image_name,clear,water\na,0.25,0.5\nb,1,0\n";
    static const char *const labels[] = { "clear", "water" };
    struct fl_predictions p;
    heap.on = true;
    int rc = fl_predictions_parse("p.csv", text, sizeof text - 1, &(struct fl_pred_want){ .L = 2, .labels = labels }, &p, err);
    if (rc != FL_OK)
        return rc;
    rc = p.n == 2 ? FL_OK : fl_err_set(err, FL_E_BUG, "another table");
    fl_predictions_free(&p);
    return off(rc);
}

static int read_weights(struct fl_err *err)
{
    struct fl_safetensors st;
    heap.on = true;
    int rc = fl_safetensors_open("samples/models/tilenet-1.safetensors", &st, err);
    if (rc != FL_OK)
        return rc;
    fl_safetensors_close(&st);
    return off(rc);
}

static int read_manifest(struct fl_err *err)
{
    struct fl_manifest m;
    heap.on = true;
    int rc = fl_manifest_read("samples/models/tilenet-1.safetensors", 0, &m, err);
    if (rc != FL_OK)
        return rc;
    rc = m.nlabels == 17 ? FL_OK : fl_err_set(err, FL_E_BUG, "another manifest");
    fl_manifest_free(&m);
    return off(rc);
}

static int list_tiles(struct fl_err *err)
{
    struct fl_inputs in;
    struct fl_inputs_row row;
    fl_inputs_init(&in, 200);
    heap.on = true;
    int rc = fl_inputs_add(&in, "build/samples/tiles/sample_0000*.jpg", err);
    if (rc == FL_OK)
        fl_inputs_sort(&in);
    if (rc == FL_OK)
        rc = fl_inputs_check(&in, err);
    if (rc == FL_OK)
        rc = fl_inputs_shuffle(&in, 7, 1, err);
    if (rc == FL_OK)
        rc = fl_inputs_save(&in, dir, err);
    if (rc == FL_OK)
        rc = fl_inputs_leave(&in, dir, err);
    if (rc == FL_OK)
        rc = fl_inputs_row(&in, 9, &row, err);
    if (rc == FL_OK && in.n != 10)
        rc = fl_err_set(err, FL_E_BUG, "%llu tiles", (unsigned long long)in.n);
    fl_inputs_done(&in);
    return off(rc);
}

static int keep_journal(struct fl_err *err)
{
    char path[400];
    struct fl_journal *j = NULL;
    struct fl_journal_tile t = { .id = "a", .reason = "" };
    struct fl_journal_rec rec = { 0 };
    static int times;
    snprintf(path, sizeof path, "%s/journal-%d", dir, times++);
    heap.on = true;
    int rc = fl_journal_open(path, &(struct fl_journal_conf){ .L = 17 }, &j, err);
    if (rc == FL_OK && (rc = fl_journal_begin(j, 1, 0, 0, FL_JOURNAL_PRED, err)) == FL_OK && (rc = fl_journal_add(j, &t, err)) == FL_OK &&
        (rc = fl_journal_end(j, err)) == FL_OK && (rc = fl_journal_sync(j, err)) == FL_OK && (rc = fl_journal_read(j, 0, &rec, err)) == FL_OK)
        rc = fl_journal_next(&rec, &t, err);
    fl_journal_rec_done(&rec);
    fl_journal_close(j);
    return off(rc);
}

/* Two batches of four tiles, stored and read again. */
static int keep_recording(struct fl_err *err)
{
    static uint8_t ids[4 * FL_ID_SIZE];
    static float prob[4 * 17];
    struct fl_rec_out *out = NULL;
    struct fl_rec *rec = NULL;
    struct fl_rec_batch got = { 0 };
    struct fl_batch b = { .run = 1, .n = 4 };
    uint64_t *records = NULL, n = 0;
    static int times;
    char edge[32], path[400];
    snprintf(edge, sizeof edge, "edge-%d", times++);
    snprintf(path, sizeof path, "%s/%s", dir, edge);
    *fl_batch_add(&b, "id") = (struct fl_tensor){ .name = "id", .dtype = FL_U8, .ndim = 2, .shape = { 4, FL_ID_SIZE }, .bytes = sizeof ids, .data = ids };
    *fl_batch_add(&b, "prob") = (struct fl_tensor){ .name = "prob", .dtype = FL_F32, .ndim = 2, .shape = { 4, 17 }, .off = 256, .bytes = sizeof prob, .data = prob };
    heap.on = true;
    int rc = fl_rec_out_new(&(struct fl_rec_conf){ .dir = dir, .edge = edge, .run = 1, .B = 4, .text = "{}", .zstd = 3 }, &out, err);
    for (b.batch = 0; rc == FL_OK && b.batch < 2; b.batch++)
        rc = fl_rec_append(out, &b, NULL, 1000 + b.batch, err);
    if (rc == FL_OK)
        rc = fl_rec_finish(out, err);
    fl_rec_out_free(out);
    if (rc == FL_OK)
        rc = fl_rec_open(path, &rec, err);
    if (rc == FL_OK)
        rc = fl_rec_batches(rec, &records, &n, err);
    if (rc == FL_OK && n != 2)
        rc = fl_err_set(err, FL_E_BUG, "%llu batches", (unsigned long long)n);
    for (uint64_t i = 0; rc == FL_OK && i < n; i++)
        rc = fl_rec_read(rec, records[i], &got, err);
    fl_rec_batch_done(&got);
    free(records);
    fl_rec_close(rec);
    return off(rc);
}

static char h5[400];

/* The child that knows HDF5 has an allocator of its own. */
static int keep_hdf5(struct fl_err *err)
{
    struct fl_predictions p = { 0 };
    const float prob[2] = { 0.25f, 0.5f };
    static const char *const labels[] = { "clear", "water" };
    heap.on = true;
    int rc = fl_predictions_label(&p, "clear", err);
    if (rc == FL_OK)
        rc = fl_predictions_label(&p, "water", err);
    if (rc == FL_OK)
        rc = fl_predictions_add(&p, "b", prob, err);
    if (rc == FL_OK)
        rc = fl_predictions_add(&p, "a", prob, err);
    if (rc == FL_OK)
        rc = fl_predictions_write(h5, &p, err);
    fl_predictions_free(&p);
    if (rc == FL_OK)
        rc = fl_predictions_read(h5, &(struct fl_pred_want){ .L = 2, .labels = labels }, &p, err);
    if (rc != FL_OK)
        return off(rc);
    rc = p.n == 2 && p.L == 2 ? FL_OK : fl_err_set(err, FL_E_BUG, "another table");
    fl_predictions_free(&p);
    return off(rc);
}

#define MODELS 2u

/* A fitted second level: two folds of a linear map, written and read. */
static int keep_level2(struct fl_err *err)
{
    static double coef[2 * MODELS * 17 * 17], intercept[17];
    static char *models[] = { "m", "n" };
    struct fl_l2_linear linear[2] = { { .P = MODELS * 17, .T = 17, .coef = coef, .intercept = intercept }, { .P = MODELS * 17, .T = 17, .coef = coef, .intercept = intercept } };
    const struct fl_l2_model m = { .kind = FL_L2_RIDGE, .M = MODELS, .L = 17, .models = models, .labels = (char **)(uintptr_t)fl_default_labels, .rest_off = UINT32_MAX,
                                   .parts = 2, .problems = 1, .linear = linear };
    struct fl_l2_model got;
    struct fl_l2_scratch *s = NULL;
    char path[400];
    snprintf(path, sizeof path, "%s/level2.safetensors", dir);
    heap.on = true;
    int rc = fl_l2_model_write(&m, path, NULL, err);
    if (rc == FL_OK)
        rc = fl_l2_model_read(path, &got, err);
    if (rc != FL_OK)
        return off(rc);
    rc = got.parts == 2 && got.L == 17 ? fl_l2_scratch_new(&got, &s, err) : fl_err_set(err, FL_E_BUG, "another model");
    fl_l2_scratch_free(s);
    fl_l2_model_done(&got);
    return off(rc);
}

/* ---- images ---- */

static char *jpeg;
static size_t jpeg_len;

static int read_jpeg(struct fl_err *err)
{
    uint32_t w, h;
    static uint8_t pixels[256 * 256 * 3];
    heap.on = true;
    struct fl_jpeg *j = fl_jpeg_new(false);
    int rc = j != NULL ? fl_jpeg_header(j, jpeg, jpeg_len, &w, &h, err) : fl_err_set(err, FL_E_NOMEM, "jpeg");
    if (rc == FL_OK)
        rc = fl_jpeg_read(j, pixels, err);
    fl_jpeg_free(j);
    return off(rc);
}

static uint8_t *tiff;
static size_t tiff_len;
static bool tiff_plain;

/* libtiff 4.5.0 itself crashes where the memory for a directory runs out, so that is left alone where it reads one. */
static int read_tiff(struct fl_err *err)
{
    uint32_t w, h;
    static uint16_t pixels[40 * 40 * 4];
    heap.on = tiff_plain;
    struct fl_tiff *t = fl_tiff_new(4, (const uint8_t[]){ 2, 1, 0, 3 }, 4);
    int rc = t != NULL ? fl_tiff_header(t, tiff, tiff_len, &w, &h, err) : fl_err_set(err, FL_E_NOMEM, "tiff");
    heap.on = true;
    if (rc == FL_OK)
        rc = fl_tiff_read(t, pixels, err);
    fl_tiff_free(t);
    return off(rc);
}

/* ---- stages ---- */

/* A stage opened, given what `feed` makes, drained and closed. */
static int stage_run(const struct fl_stage *st, const struct fl_harness_conf *conf, struct fl_batch *(*feed)(struct fl_harness *), struct fl_err *err)
{
    heap.on = true;
    struct fl_harness *h = fl_harness_new(st, conf, err);
    if (h == NULL) {
        heap.on = false;
        return err->code != FL_OK ? err->code : fl_err_set(err, FL_E_NOMEM, "the harness");
    }
    int rc = fl_harness_describe(h, err);
    if (rc == FL_OK)
        rc = fl_harness_open(h, err);
    heap.on = false;
    struct fl_batch *b = rc == FL_OK && feed != NULL ? feed(h) : NULL;
    heap.on = true;
    if (rc == FL_OK && feed != NULL)
        rc = fl_harness_push(h, b, err);
    if (rc == FL_OK)
        rc = fl_harness_drain(h, err);
    heap.on = false;
    while (rc == FL_OK && (b = fl_harness_pop(h)) != NULL) {
        for (uint32_t i = 0; i < b->n; i++)
            if (fl_rejected(b, i) != 0)
                rc = fl_err_set(err, FL_E_BUG, "a good tile was rejected");
        fl_harness_free_batch(h, b);
    }
    fl_harness_close(h);
    return rc;
}

extern const struct fl_stage fl_stage_predictions, fl_stage_recording, fl_stage_source, fl_stage_decode, fl_stage_augment, fl_stage_tta_merge, fl_stage_stack, fl_stage_decode_f2, fl_stage_sink, fl_stage_forward;

#define SLAB ((size_t)1 << 20)
#define TILES 2u

static struct fl_batch *feed_paths(struct fl_harness *h)
{
    char paths[TILES][64] = { "build/samples/tiles/sample_00000.jpg", "build/samples/tiles/sample_00001.jpg" };
    struct fl_batch *b = fl_harness_batch(h, 0, TILES);
    fl_harness_tensor(h, b, "path", FL_U8, 2, (uint32_t[]){ TILES, 64 }, paths);
    return b;
}

static struct fl_batch *feed_tiffs(struct fl_harness *h)
{
    char paths[TILES][400];
    for (uint32_t i = 0; i < TILES; i++)
        snprintf(paths[i], sizeof paths[i], "%s/t.tif", dir);
    struct fl_batch *b = fl_harness_batch(h, 0, TILES);
    fl_harness_tensor(h, b, "path", FL_U8, 2, (uint32_t[]){ TILES, 400 }, paths);
    return b;
}

static struct fl_batch *feed_pixels(struct fl_harness *h)
{
    struct fl_batch *b = fl_harness_batch(h, 0, TILES);
    fl_harness_tensor(h, b, "pixels", FL_U8, 4, (uint32_t[]){ TILES, 256, 256, 3 }, NULL);
    return b;
}

static struct fl_batch *feed_views(struct fl_harness *h)
{
    float prob[TILES * 8 * 17];
    for (size_t i = 0; i < TILES * 8 * 17; i++)
        prob[i] = (float)(i % 17) / 17;
    struct fl_batch *b = fl_harness_batch(h, 0, TILES);
    fl_harness_tensor(h, b, "prob", FL_F32, 4, (uint32_t[]){ TILES, 8, 1, 17 }, prob);
    return b;
}

static struct fl_batch *feed_probabilities(struct fl_harness *h)
{
    float prob[TILES * 17];
    for (size_t i = 0; i < TILES * 17; i++)
        prob[i] = (float)(i % 17) / 17;
    struct fl_batch *b = fl_harness_batch(h, 0, TILES);
    fl_harness_tensor(h, b, "prob", FL_F32, 2, (uint32_t[]){ TILES, 17 }, prob);
    return b;
}

static struct fl_batch *feed_predictions(struct fl_harness *h)
{
    struct fl_batch *b = feed_probabilities(h);
    fl_harness_tensor(h, b, "pred", FL_U8, 2, (uint32_t[]){ TILES, 17 }, NULL);
    return b;
}

static int run_decode(struct fl_err *err) { return stage_run(&fl_stage_decode, &(struct fl_harness_conf){ .slab = SLAB }, feed_paths, err); }

static int run_decode_tiff(struct fl_err *err)
{
    return stage_run(&fl_stage_decode, &(struct fl_harness_conf){ .slab = SLAB, .options = "{'mode':'rgbn','size':40}" }, feed_tiffs, err);
}

static int run_augment(struct fl_err *err) { return stage_run(&fl_stage_augment, &(struct fl_harness_conf){ .slab = SLAB, .options = "{'views':'d4','size':96}" }, feed_pixels, err); }

static int run_painted(struct fl_err *err)
{
    return stage_run(&fl_stage_augment, &(struct fl_harness_conf){ .slab = 8 * SLAB, .options = "{'ops':['d4','rotate','distort_grid','contrast','blur'],'size':64}" }, feed_pixels, err);
}

static int run_merge(struct fl_err *err) { return stage_run(&fl_stage_tta_merge, &(struct fl_harness_conf){ .slab = SLAB }, feed_views, err); }
static int run_stack(struct fl_err *err) { return stage_run(&fl_stage_stack, &(struct fl_harness_conf){ .slab = SLAB }, feed_probabilities, err); }
static int run_decode_f2(struct fl_err *err) { return stage_run(&fl_stage_decode_f2, &(struct fl_harness_conf){ .slab = SLAB }, feed_probabilities, err); }

static int run_source(struct fl_err *err)
{
    return stage_run(&fl_stage_source, &(struct fl_harness_conf){ .slab = SLAB, .options = "{'files':['build/samples/tiles/sample_0000*.jpg'],'labels':'build/samples/labels.csv','shuffle':1}" }, NULL, err);
}

static struct fl_batch *feed_models(struct fl_harness *h)
{
    float prob[TILES * 17];
    for (size_t i = 0; i < TILES * 17; i++)
        prob[i] = (float)(i % 17) / 17;
    struct fl_batch *b = fl_harness_batch(h, 0, TILES);
    for (uint32_t e = 0; e < MODELS; e++)
        fl_harness_tensor_edge(h, b, e, "prob", FL_F32, 2, (uint32_t[]){ TILES, 17 }, prob);
    return b;
}

static int run_fitted(struct fl_err *err)
{
    static char options[600];
    snprintf(options, sizeof options, "{'model':'%s/level2.safetensors','models':['n','m']}", dir);
    return stage_run(&fl_stage_stack, &(struct fl_harness_conf){ .slab = SLAB, .edges = MODELS, .options = options }, feed_models, err);
}

static int run_predictions(struct fl_err *err)
{
    static char options[600];
    snprintf(options, sizeof options, "{'files':['%s'],'labels':'%s'}", put("p.csv", "image_name,clear,water\na,0.25,0.5\nb,1,0\n"), put("l.csv", "image_name,tags\na,clear\nb,water\n"));
    return stage_run(&fl_stage_predictions, &(struct fl_harness_conf){ .slab = SLAB, .options = options, .nlabels = 2, .labels = (const char *const[]){ "clear", "water" }, .rest_off = UINT32_MAX }, NULL, err);
}

static int run_recording(struct fl_err *err)
{
    static char options[600];
    snprintf(options, sizeof options, "{'recording':'%s/edge-0'}", dir);
    return stage_run(&fl_stage_recording, &(struct fl_harness_conf){ .slab = SLAB, .options = options }, NULL, err);
}

static int run_sink(struct fl_err *err)
{
    static char options[900], run[400];
    snprintf(run, sizeof run, "%s/run", dir);
    snprintf(options, sizeof options, "{'submission':'%s/p.csv','probabilities':'%s/q.csv','truth':'%s'}", dir, dir, put("truth.csv", "image_name,tags\nt0,clear\nt1,haze\n"));
    return stage_run(&fl_stage_sink, &(struct fl_harness_conf){ .options = options }, feed_predictions, err);
}

static int run_forward(struct fl_err *err)
{
    return stage_run(&fl_stage_forward, &(struct fl_harness_conf){ .slab = SLAB, .options = "{'weights':['samples/models/tilenet-1.safetensors'],'device':'ref','rows':2}" }, NULL, err);
}

/* ---- cases ---- */

static void fresh(void)
{
    snprintf(dir, sizeof dir, "%s", fl_tmpdir());
}

FL_TEST(a_label_table) { exhaust(read_truth, 3); }
FL_TEST(a_file_of_text) { fresh(); exhaust(read_table, 1); }
FL_TEST(a_table_of_folds) { fresh(); exhaust(read_folds, 3); }
FL_TEST(a_sample_submission) { fresh(); exhaust(read_sample, 3); }
FL_TEST(a_table_of_predictions) { exhaust(read_predictions, 3); }
FL_TEST(weights) { exhaust(read_weights, 3); }
FL_TEST(a_manifest) { exhaust(read_manifest, 10); }
FL_TEST(a_list_of_tiles) { fresh(); exhaust(list_tiles, 5); }
FL_TEST(a_journal) { fresh(); exhaust(keep_journal, 3); }

FL_TEST(a_recording) { fresh(); exhaust(keep_recording, 5); exhaust(run_recording, 5); }
FL_TEST(predictions) { fresh(); exhaust(run_predictions, 10); }

FL_TEST(predictions_in_hdf5)
{
    fresh();
    snprintf(h5, sizeof h5, "%s/p.h5", dir);
    exhaust(keep_hdf5, 5);
}

FL_TEST(a_second_level)
{
    fresh();
    exhaust(keep_level2, 20);
    exhaust(run_fitted, 10);
}

FL_TEST(a_jpeg)
{
    struct fl_err err;
    CHECK_OK(fl_read_file("build/samples/tiles/sample_00000.jpg", 1 << 20, &jpeg, &jpeg_len, &err), err);
    exhaust(read_jpeg, 5);
    free(jpeg);
}

FL_TEST(tiffs)
{
    static const struct fl_tiff_kind kinds[] = {
        { 40, 40, 4, .rows = 7 }, { 40, 40, 4, .packing = COMPRESSION_LZW, .rows = 16 }, { 40, 40, 4, .packing = COMPRESSION_ADOBE_DEFLATE, .predictor = 2 },
        { 40, 40, 4, .tile = 32, .planar = true, .swapped = true }, { 40, 40, 4, .planar = true, .swapped = true, .rows = 9 },
    };
    uint16_t *pixels = calloc(40 * 40 * 4, 2);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        tiff = fl_tiff_write(&kinds[i], pixels, &tiff_len);
        tiff_plain = kinds[i].packing == 0 && kinds[i].tile == 0;
        exhaust(read_tiff, 1);
        free(tiff);
    }
    free(pixels);
}

FL_TEST(source) { exhaust(run_source, 10); }
FL_TEST(decode) { exhaust(run_decode, 5); }

FL_TEST(decode_of_tiffs)
{
    static const struct fl_tiff_kind kind = { 40, 40, 4, .rows = 7 };
    char path[400];
    struct fl_err err;
    uint16_t *pixels = calloc(40 * 40 * 4, 2);
    fresh();
    tiff = fl_tiff_write(&kind, pixels, &tiff_len);
    snprintf(path, sizeof path, "%s/t.tif", dir);
    CHECK_OK(fl_write_file(path, 0600, tiff, tiff_len, &err), err);
    exhaust(run_decode_tiff, 5);
    free(pixels); free(tiff);
}

FL_TEST(augment) { exhaust(run_augment, 5); }
FL_TEST(painting) { exhaust(run_painted, 5); }
FL_TEST(tta_merge) { exhaust(run_merge, 3); }
FL_TEST(stack) { exhaust(run_stack, 3); }
FL_TEST(decode_f2) { exhaust(run_decode_f2, 3); }
FL_TEST(sink) { fresh(); exhaust(run_sink, 10); }
FL_TEST(forward) { exhaust(run_forward, 30); }

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(a_label_table), CASE(a_file_of_text), CASE(a_table_of_folds), CASE(a_sample_submission), CASE(a_table_of_predictions), CASE(weights), CASE(a_manifest),
        CASE(a_list_of_tiles), CASE(a_journal), CASE(a_recording), CASE(predictions), CASE(predictions_in_hdf5), CASE(a_second_level),
        CASE(a_jpeg), CASE(tiffs), CASE(source), CASE(decode), CASE(decode_of_tiffs), CASE(augment), CASE(painting), CASE(tta_merge), CASE(stack),
        CASE(decode_f2), CASE(sink), CASE(forward), { 0 }
    };
    return fl_run(cases, argc, argv);
}
