/* sink: what is acknowledged is on disk, every tile is in one file once, and the files are exactly these. */
#include <dirent.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/journal.h"
#include "runtime/host.h"
#include "runtime/labels.h"
#include "tests/lib/check.h"
#include "tests/lib/harness.h"

extern const struct fl_stage fl_stage_sink;

#define NL 3u
static const char *const names[NL] = { "clear", "primary", "water" };
static struct fl_err err;

/* ---- helpers ---- */

static const char *in_tmp(const char *rel)
{
    static char paths[8][4096];
    static unsigned turn;
    char *p = paths[turn++ % 8];
    snprintf(p, sizeof paths[0], "%s/%s", fl_tmpdir(), rel);
    return p;
}

static char *slurp(const char *path)
{
    static char texts[4][65536];
    static unsigned turn;
    char *p = texts[turn++ % 4];
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return NULL;
    p[fread(p, 1, sizeof texts[0] - 1, f)] = '\0';
    fclose(f);
    return p;
}

static const char *spill(const char *rel, const char *text)
{
    const char *path = in_tmp(rel);
    FILE *f = fopen(path, "wb");
    if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0)
        abort();
    return path;
}

/* An opened sink in run folder RUN of the case; fmt: its options, each %s a path below the case's folder. NULL and err if not. */
static struct fl_harness *sink_with(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static struct fl_harness *sink_with(const char *fmt, ...)
{
    char options[8192];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(options, sizeof options, fmt, ap);
    va_end(ap);
    mkdir(in_tmp("run"), 0777);
    struct fl_harness *h = fl_harness_new(&fl_stage_sink, &(struct fl_harness_conf){
        .options = options, .B = 4, .edges = 2, .nlabels = NL, .labels = names, .rest_off = FL_NO_LABEL, .run_dir = in_tmp("run") }, &err);
    if (h != NULL && fl_harness_open(h, &err) != FL_OK) {
        fl_harness_close(h);
        return NULL;
    }
    return h;
}

static struct fl_harness *sink_files(void)
{
    return sink_with("{'submission':'%s','probabilities':'%s'}", in_tmp("s.csv"), in_tmp("p.csv"));
}

/* n tiles: prob by edge 0, pred and ef2 by edge 1. Tile with ordinal o: pred = bits of o % 8, prob[l] = (o % 10 + l) / 16. */
static struct fl_batch *tiles(struct fl_harness *h, uint64_t number, uint32_t n)
{
    struct fl_batch *b = fl_harness_batch(h, number, n);
    uint32_t two[2] = { n, NL };
    float *prob = fl_harness_tensor_edge(h, b, 0, "prob", FL_F32, 2, two, NULL);
    uint8_t *pred = fl_harness_tensor_edge(h, b, 1, "pred", FL_U8, 2, two, NULL);
    double *ef2 = fl_harness_tensor_edge(h, b, 1, "ef2", FL_F64, 1, &n, NULL);
    for (uint32_t r = 0; r < n; r++) {
        uint64_t o = number * 4 + r;
        ef2[r] = 0.5;
        for (uint32_t l = 0; l < NL; l++) {
            prob[r * NL + l] = (float)(o % 10 + l) / 16.0f;
            pred[r * NL + l] = o >> l & 1;
        }
    }
    return b;
}

static void reject(struct fl_harness *h, struct fl_batch *b, uint32_t edge, uint32_t row, const char *reason)
{
    int32_t *status = fl_harness_tensor_edge(h, b, edge, "status", FL_I32, 1, &b->n, NULL);
    char *text = fl_harness_tensor_edge(h, b, edge, "reason", FL_U8, 2, (uint32_t[]){ b->n, FL_REASON_SIZE }, NULL);
    status[row] = FL_E_INPUT;
    snprintf(text + (size_t)row * FL_REASON_SIZE, FL_REASON_SIZE, "%s", reason);
}

static uint64_t counter(struct fl_harness *h, const char *name)
{
    for (int i = 0; fl_stage_sink.counters[i] != NULL; i++)
        if (strcmp(fl_stage_sink.counters[i], name) == 0)
            return fl_harness_ctx(h)->host->counters[i];
    return UINT64_MAX;
}

#define PUSH(h, b) CHECK_OK(fl_harness_push(h, b, &err), err)
#define OPENED(h) do { if ((h) == NULL) { fl_fail_at(__FILE__, __LINE__, "open: %s", err.text); return; } } while (0)

/* ---- files ---- */

static const char submission8[] =
    "image_name,tags\nt0,\nt1,clear\nt2,primary\nt3,clear primary\nt4,water\nt6,primary water\nt7,clear primary water\n";
static const char rejects8[] = "id,stage,reason\nt5,decode,\"E_INPUT: \"\"x\"\", short\"\n";

FL_TEST(writes_each_tile_once_in_the_order_of_the_source)
{
    struct fl_harness *h = sink_with("{'submission':'%s','probabilities':'%s','rejects':'%s'}", in_tmp("s.csv"), in_tmp("p.csv"), in_tmp("r.csv"));
    OPENED(h);
    struct fl_batch *b = tiles(h, 1, 4);
    reject(h, b, 1, 1, "decode: E_INPUT: \"x\", short");            /* only the second edge knows */
    PUSH(h, b);
    PUSH(h, tiles(h, 0, 4));
    CHECK_OK(fl_harness_drain(h, &err), err);
    CHECK_STR(slurp(in_tmp("s.csv")), submission8);
    CHECK_STR(slurp(in_tmp("p.csv")), "image_name,clear,primary,water\nt0,0,0.0625,0.125\nt1,0.0625,0.125,0.1875\nt2,0.125,0.1875,0.25\n"
              "t3,0.1875,0.25,0.3125\nt4,0.25,0.3125,0.375\nt6,0.375,0.4375,0.5\nt7,0.4375,0.5,0.5625\n");
    CHECK_STR(slurp(in_tmp("r.csv")), rejects8);
    CHECK_STR(slurp(in_tmp("run/rejects.csv")), rejects8);
    CHECK_NEAR(fl_harness_result(h, "predicted"), 7, 0);
    CHECK_NEAR(fl_harness_result(h, "rejected"), 1, 0);
    CHECK_NEAR(fl_harness_result(h, "expected_f2"), 0.5, 1e-15);
    CHECK_HAS(fl_harness_warnings(h), "1 tiles have an empty prediction; the first is t0");
    CHECK_INT(counter(h, "tiles"), 8);
    CHECK_INT(counter(h, "rejected"), 1);
    CHECK_INT(fl_harness_acked(h), 2);
    fl_harness_close(h);
    CHECK(access(in_tmp(".s.csv.part"), F_OK) != 0);
}

FL_TEST(a_trial_leaves_nothing)
{
    struct fl_harness *h = sink_files();
    OPENED(h);
    CHECK_OK(fl_harness_trial(h, tiles(h, 1, 4), &err), err);
    PUSH(h, tiles(h, 0, 4));
    CHECK_OK(fl_harness_trial(h, tiles(h, 0, 4), &err), err);       /* it is there: nothing to try */
    CHECK_OK(fl_harness_trial(h, tiles(h, 1, 4), &err), err);
    CHECK_OK(fl_harness_idle(h, &err), err);
    CHECK_INT(fl_harness_acked(h), 1);
    CHECK_INT(counter(h, "tiles"), 4);
    CHECK_INT(counter(h, "duplicates"), 0);
    uint64_t *list, n;
    struct fl_journal_sum sum;
    CHECK_OK(fl_journal_committed(in_tmp("run/journal/sink"), &list, &n, &sum, &err), err);
    CHECK_INT(n, 1);
    CHECK_INT(sum.cut + sum.damaged, 0);
    free(list);
    CHECK_OK(fl_harness_trial(h, tiles(h, 1, 4), &err), err);
    struct fl_batch *b = tiles(h, 1, 4);
    reject(h, b, 1, 1, "decode: E_INPUT: \"x\", short");
    PUSH(h, b);
    CHECK_OK(fl_harness_drain(h, &err), err);
    CHECK_STR(slurp(in_tmp("s.csv")), submission8);
    CHECK_INT(fl_harness_acked(h), 2);
    fl_harness_close(h);
}

/* What a float32 needs to be read back as it was. */
FL_TEST(probabilities_read_back_bit_for_bit)
{
    struct fl_harness *h = sink_with("{'probabilities':'%s'}", in_tmp("p.csv"));
    OPENED(h);
    uint32_t n = 4, two[2] = { 4, NL };
    const float want[12] = { 0.1f, 1.0f / 3, 0.99999994f, 1e-45f, 1.17549435e-38f, 1e-7f, 0.2f, 0.30000001f, 0, 1, 0.5f, 0.7234567f };
    struct fl_batch *b = fl_harness_batch(h, 0, n);
    fl_harness_tensor(h, b, "prob", FL_F32, 2, two, want);
    PUSH(h, b);
    CHECK_OK(fl_harness_drain(h, &err), err);
    const char *p = strchr(slurp(in_tmp("p.csv")), '\n');
    for (uint32_t i = 0; i < 12; i++) {
        p = strchr(p, ',');
        CHECK(p != NULL && strtof(p + 1, (char **)&p) == want[i]);
    }
    fl_harness_close(h);
}

FL_TEST(only_rejected_tiles_need_no_results)
{
    struct fl_harness *h = sink_files();
    OPENED(h);
    struct fl_batch *b = fl_harness_batch(h, 0, 1);
    reject(h, b, 0, 0, "net: E_BUG: died on this batch");
    PUSH(h, b);
    CHECK_OK(fl_harness_drain(h, &err), err);
    CHECK_STR(slurp(in_tmp("s.csv")), "image_name,tags\n");
    CHECK_STR(slurp(in_tmp("run/rejects.csv")), "id,stage,reason\nt0,net,E_BUG: died on this batch\n");
    fl_harness_close(h);
}

FL_TEST(values_outside_their_range_are_rejected)
{
    struct fl_harness *h = sink_files();
    OPENED(h);
    struct fl_batch *b = tiles(h, 0, 4);
    ((float *)fl_batch_find(b, "prob")->data)[0] = NAN;
    ((float *)fl_batch_find(b, "prob")->data)[5] = 1.5f;
    ((uint8_t *)fl_batch_find(b, "pred")->data)[6] = 2;
    PUSH(h, b);
    CHECK_OK(fl_harness_drain(h, &err), err);
    CHECK_STR(slurp(in_tmp("s.csv")), "image_name,tags\nt3,clear primary\n");
    CHECK_STR(slurp(in_tmp("run/rejects.csv")), "id,stage,reason\nt0,sink,\"E_NUM: a probability is not in [0,1]\"\n"
              "t1,sink,\"E_NUM: a probability is not in [0,1]\"\nt2,sink,E_NUM: a prediction is neither 0 nor 1\n");
    fl_harness_close(h);
}

/* ---- commits ---- */

FL_TEST(acknowledges_after_the_sync_and_in_groups)
{
    struct fl_harness *h = sink_files();
    OPENED(h);
    PUSH(h, tiles(h, 0, 4));
    CHECK_INT(fl_harness_acked(h), 0);
    CHECK_OK(fl_harness_idle(h, &err), err);
    CHECK_INT(fl_harness_acked(h), 1);
    CHECK_OK(fl_harness_idle(h, &err), err);
    CHECK_INT(counter(h, "commits"), 1);
    uint64_t most = 0, waiting = 0;
    for (uint64_t i = 1; i <= 40; i++) {
        PUSH(h, tiles(h, i, 4));
        waiting = i + 1 - fl_harness_acked(h);
        most = waiting > most ? waiting : most;
    }
    CHECK(most <= 16 && fl_harness_acked(h) >= 18);
    CHECK_OK(fl_harness_drain(h, &err), err);
    CHECK_INT(fl_harness_acked(h), 41);
    fl_harness_close(h);
}

FL_TEST(what_comes_twice_is_dropped_and_acknowledged)
{
    struct fl_harness *h = sink_files();
    OPENED(h);
    struct fl_batch *again = tiles(h, 0, 4);
    PUSH(h, tiles(h, 0, 4));
    PUSH(h, again);                                                  /* before the first is on disk */
    CHECK_OK(fl_harness_idle(h, &err), err);
    CHECK_INT(fl_harness_acked(h), 2);
    PUSH(h, tiles(h, 0, 4));
    CHECK_OK(fl_harness_idle(h, &err), err);
    CHECK_INT(fl_harness_acked(h), 3);
    CHECK_INT(counter(h, "duplicates"), 2);
    CHECK_INT(counter(h, "tiles"), 4);
    CHECK_OK(fl_harness_drain(h, &err), err);
    CHECK_NEAR(fl_harness_result(h, "predicted"), 4, 0);
    fl_harness_close(h);
}

/* A sink that ends without drain is what a kill leaves; what was not synced comes again. */
FL_TEST(goes_on_where_another_sink_was_cut_off)
{
    struct fl_harness *h = sink_files();
    OPENED(h);
    struct fl_batch *b = tiles(h, 1, 4);
    reject(h, b, 0, 1, "decode: E_INPUT: \"x\", short");
    PUSH(h, b);
    CHECK_OK(fl_harness_idle(h, &err), err);
    PUSH(h, tiles(h, 0, 4));                                         /* not synced: lost with the process */
    fl_harness_close(h);
    CHECK(access(in_tmp("s.csv"), F_OK) != 0);

    uint64_t *list, n;
    CHECK_OK(fl_journal_committed(in_tmp("run/journal/sink"), &list, &n, NULL, &err), err);
    bool one = n == 1 && list[0] == 1;
    free(list);
    CHECK(one);
    FILE *f = fopen(in_tmp("run/journal/sink/00000000.j"), "ab");         /* the beginning of a record */
    CHECK(f != NULL && fputs("FLJR....", f) >= 0 && fclose(f) == 0);

    h = sink_files();
    OPENED(h);
    CHECK_HAS(fl_harness_warnings(h), "8 bytes of a torn end cut off");
    PUSH(h, tiles(h, 1, 4));                                         /* its acknowledgement was lost */
    PUSH(h, tiles(h, 0, 4));
    CHECK_OK(fl_harness_drain(h, &err), err);
    CHECK_INT(counter(h, "duplicates"), 1);
    CHECK_STR(slurp(in_tmp("s.csv")), submission8);
    CHECK_STR(slurp(in_tmp("run/rejects.csv")), rejects8);
    CHECK_NEAR(fl_harness_result(h, "predicted") + fl_harness_result(h, "rejected"), 8, 0);
    fl_harness_close(h);

    h = sink_files();                                                /* killed between drain and exit: once more */
    OPENED(h);
    CHECK_OK(fl_harness_drain(h, &err), err);
    CHECK_STR(slurp(in_tmp("s.csv")), submission8);
    fl_harness_close(h);
}

FL_TEST(without_a_run_folder_nothing_stays)
{
    char tmp[4096];
    snprintf(tmp, sizeof tmp, "%s", in_tmp("tmp"));
    CHECK(mkdir(tmp, 0777) == 0 && setenv("TMPDIR", tmp, 1) == 0);
    struct fl_harness *h = fl_harness_new(&fl_stage_sink, NULL, &err);
    int rc = h != NULL ? fl_harness_open(h, &err) : -1;
    if (rc == FL_OK && (rc = fl_harness_push(h, fl_harness_batch(h, 0, 0), &err)) == FL_OK)
        rc = fl_harness_drain(h, &err);
    fl_harness_close(h);
    unsetenv("TMPDIR");
    CHECK_INT(rc, FL_OK);
    CHECK(rmdir(tmp) == 0);
}

/* ---- sample ---- */

FL_TEST(a_sample_rules_the_rows)
{
    const char *sample = spill("sample.csv", "image_name,tags\r\nt3,clear\r\nt0,clear\r\nt2,clear\r\nt1,clear\r\n");
    struct fl_harness *h = sink_with("{'submission':'%s','sample':'%s'}", in_tmp("s.csv"), sample);
    OPENED(h);
    struct fl_batch *b = tiles(h, 0, 4);
    reject(h, b, 0, 2, "decode: E_INPUT: short");
    PUSH(h, b);
    CHECK_OK(fl_harness_drain(h, &err), err);
    CHECK_STR(slurp(in_tmp("s.csv")), "image_name,tags\nt3,clear primary\nt0,\nt2,\nt1,clear\n");
    CHECK_HAS(fl_harness_warnings(h), "1 rejected tiles have an empty row in the submission; the first is t2");
    CHECK_HAS(fl_harness_warnings(h), "1 tiles have an empty prediction; the first is t0");
    fl_harness_close(h);
}

FL_TEST(ids_that_differ_from_the_sample_are_errors)
{
    const char *sample = spill("sample.csv", "image_name,tags\nt0,\nt1,\nt2,\nt3,\nt9,\n");
    struct fl_harness *h = sink_with("{'submission':'%s','sample':'%s'}", in_tmp("s.csv"), sample);
    OPENED(h);
    CHECK_INT(fl_harness_push(h, tiles(h, 1, 4), &err), FL_E_LABEL);
    CHECK_HAS(err.text, "t4: not in the sample submission");
    PUSH(h, tiles(h, 0, 4));
    CHECK_INT(fl_harness_drain(h, &err), FL_E_LABEL);
    CHECK_STR(err.text, "1 ids of the sample submission have no tile, the first is t9");
    fl_harness_close(h);
    CHECK(access(in_tmp("s.csv"), F_OK) != 0);

    sample = spill("twice.csv", "image_name,tags\nt0,\nt1,\nt0,\n");
    CHECK(sink_with("{'submission':'%s','sample':'%s'}", in_tmp("s.csv"), sample) == NULL);
    CHECK_INT(err.code, FL_E_LABEL);
    CHECK_HAS(err.text, "twice.csv: id t0 is there twice");
    sample = spill("odd.csv", "image_name,tags\nt0,\nt 1,\n");
    CHECK(sink_with("{'submission':'%s','sample':'%s'}", in_tmp("s.csv"), sample) == NULL);
    CHECK_HAS(err.text, "odd.csv:3: ");
    sample = spill("short.csv", "image_name,tags\nt0,\nt1\n");
    CHECK(sink_with("{'submission':'%s','sample':'%s'}", in_tmp("s.csv"), sample) == NULL);
    sample = spill("columns.csv", "image_name,tags,image_name\nt0,,t0\n");
    CHECK(sink_with("{'submission':'%s','sample':'%s'}", in_tmp("s.csv"), sample) == NULL);
    sample = spill("other.csv", "id,tags\nt0,\n");
    CHECK(sink_with("{'submission':'%s','sample':'%s'}", in_tmp("s.csv"), sample) == NULL);
    CHECK_HAS(err.text, "other.csv:1: no column image_name");
}

FL_TEST(an_id_in_two_batches_is_an_error_against_a_sample)
{
    const char *sample = spill("sample.csv", "image_name,tags\nt0,\nt1,\nt2,\nt3,\n");
    struct fl_harness *h = sink_with("{'submission':'%s','sample':'%s'}", in_tmp("s.csv"), sample);
    OPENED(h);
    struct fl_batch *b = tiles(h, 1, 1);
    strcpy(fl_batch_find(b, "id")->data, "t2");
    PUSH(h, b);
    PUSH(h, tiles(h, 0, 4));
    CHECK_INT(fl_harness_drain(h, &err), FL_E_LABEL);
    CHECK_HAS(err.text, "t2: there twice");
    fl_harness_close(h);
}

/* ---- score ---- */

/* F2 by hand: t1 {clear} of {clear,water}: 5/(8+1); t2 {primary} of {primary}: 1; t3 {clear,primary} of {water}: 0; t0 no answer: 0. */
FL_TEST(scores_against_a_table_and_tells_what_is_not_in_it)
{
    const char *truth = spill("truth.csv", "image_name,tags\nt3,water\nt1,clear water\nt2,primary\nt0,clear\nt99,water\n");
    struct fl_harness *h = sink_with("{'truth':'%s'}", truth);
    OPENED(h);
    PUSH(h, tiles(h, 0, 4));
    PUSH(h, tiles(h, 1, 2));
    CHECK_OK(fl_harness_drain(h, &err), err);
    CHECK_NEAR(fl_harness_result(h, "f2"), (5.0 / 9 + 1) / 4, 1e-15);
    CHECK_HAS(fl_harness_warnings(h), "2 predicted tiles are not in the truth table and not scored; the first is t4");
    /* all three labels: (5/7 + 10/11 + 5/7 + 5/7) / 4 = .763; {clear,water}: (5/6 + 1 + 0 + 5/6) / 4 = .667 */
    CHECK_NEAR(fl_harness_result(h, "best_constant_f2"), (3 * 5.0 / 7 + 10.0 / 11) / 4, 1e-12);
    fl_harness_close(h);
}

FL_TEST(scores_against_the_truth_that_came_with_the_tiles)
{
    struct fl_harness *h = sink_with("{}");
    OPENED(h);
    struct fl_batch *b = tiles(h, 0, 4);
    const uint8_t y[12] = { 1, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 1 };
    fl_harness_tensor_edge(h, b, 0, "truth", FL_U8, 2, (uint32_t[]){ 4, NL }, y);
    PUSH(h, b);
    CHECK_OK(fl_harness_drain(h, &err), err);
    CHECK_NEAR(fl_harness_result(h, "f2"), (5.0 / 9 + 1) / 4, 1e-15);
    fl_harness_close(h);
}

/* The published scores of constant answers on the real labels. */
FL_TEST(constant_answers_on_the_real_labels_score_as_published)
{
    const struct { uint64_t set; double f2; } cases[] = {
        { 1u << 5 | 1u << 12, 0.642943419 },
        { 1u << 0 | 1u << 5 | 1u << 12 | 1u << 13 | 1u << 16, 0.674643665 },
        { (1u << 17) - 1, 0.483685892 },
    };
    const char *path = fl_data("planet-labels/train_v2.csv.gz");
    if (path == NULL)
        return;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        char options[4200];
        snprintf(options, sizeof options, "{'truth':'%s'}", path);
        struct fl_harness *h = fl_harness_new(&fl_stage_sink, &(struct fl_harness_conf){ .options = options, .B = 4096 }, &err);
        CHECK(h != NULL);
        CHECK_OK(fl_harness_open(h, &err), err);
        for (uint32_t first = 0; first < 40479; first += 4096) {
            uint32_t n = 40479 - first < 4096 ? 40479 - first : 4096;
            struct fl_batch *b = fl_harness_batch(h, first / 4096, n);
            char *id = fl_batch_find(b, "id")->data;
            uint8_t *pred = fl_harness_tensor(h, b, "pred", FL_U8, 2, (uint32_t[]){ n, 17 }, NULL);
            for (uint32_t r = 0; r < n; r++) {
                snprintf(id + (size_t)r * FL_ID_SIZE, FL_ID_SIZE, "train_%u", first + r);
                for (uint32_t l = 0; l < 17; l++)
                    pred[r * 17 + l] = cases[c].set >> l & 1;
            }
            PUSH(h, b);
        }
        CHECK_OK(fl_harness_drain(h, &err), err);
        CHECK_NEAR(fl_harness_result(h, "f2"), cases[c].f2, 5e-10);
        CHECK_NEAR(fl_harness_result(h, "best_constant_f2"), 0.689009656, 5e-10);
        fl_harness_close(h);
    }
}

/* ---- refusals ---- */

FL_TEST(files_need_their_tensors)
{
    struct fl_harness *h = sink_with("{'submission':'%s'}", in_tmp("s.csv"));
    OPENED(h);
    CHECK_INT(fl_harness_push(h, fl_harness_batch(h, 0, 2), &err), FL_E_CONFIG);
    CHECK_HAS(err.text, "no edge into sink has pred");
    fl_harness_close(h);
    h = sink_with("{'probabilities':'%s'}", in_tmp("p.csv"));
    OPENED(h);
    CHECK_INT(fl_harness_push(h, fl_harness_batch(h, 0, 2), &err), FL_E_CONFIG);
    CHECK_HAS(err.text, "no edge into sink has prob");
    fl_harness_close(h);
}

FL_TEST(outputs_that_cant_be_written_are_refused_at_once)
{
    spill("file", "x");
    CHECK(sink_with("{'submission':'%s'}", in_tmp("file/s.csv")) == NULL);
    CHECK_INT(err.code, FL_E_IO);
    CHECK_HAS(err.text, "file/.s.csv.part: can't write");
    CHECK(sink_with("{'submission':'%s'}", in_tmp("run")) == NULL);
    CHECK_INT(err.code, FL_E_CONFIG);
    CHECK(sink_with("{'submission':'/dev/full'}") == NULL);
    CHECK_INT(err.code, FL_E_CONFIG);
    CHECK_HAS(err.text, "/dev/full: is there, and no regular file");
    CHECK(sink_with("{'submission':'%s','probabilities':'%s'}", in_tmp("s.csv"), in_tmp("s.csv")) == NULL);
    CHECK_HAS(err.text, "s.csv: another run, or another option of this one, writes to it");
    CHECK(sink_with("{'sample':'%s'}", in_tmp("file")) == NULL);
    CHECK_INT(err.code, FL_E_CONFIG);
}

FL_TEST(links_are_followed_and_an_old_file_stays_until_the_end)
{
    CHECK(mkdir(in_tmp("real"), 0777) == 0);
    spill("real/s.csv", "old\n");
    CHECK(symlink("real/s.csv", in_tmp("link.csv")) == 0);
    struct fl_harness *h = sink_with("{'submission':'%s'}", in_tmp("link.csv"));
    OPENED(h);
    PUSH(h, tiles(h, 0, 2));
    CHECK_STR(slurp(in_tmp("real/s.csv")), "old\n");
    CHECK_OK(fl_harness_drain(h, &err), err);
    fl_harness_close(h);
    CHECK_STR(slurp(in_tmp("real/s.csv")), "image_name,tags\nt0,\nt1,clear\n");
    struct stat st;
    CHECK(lstat(in_tmp("link.csv"), &st) == 0 && S_ISLNK(st.st_mode));
}

/* No room for the final file: named, the old one untouched, and with room again the next sink ends the work. */
FL_TEST(a_full_disk_at_the_end_can_be_made_good)
{
    struct rlimit old, few;
    CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0);
    few = old;
    few.rlim_cur = 1000;
    struct fl_harness *h = sink_with("{'probabilities':'%s'}", in_tmp("p.csv"));
    OPENED(h);
    for (uint64_t i = 0; i < 40; i++)
        PUSH(h, tiles(h, i, 4));
    CHECK_OK(fl_harness_idle(h, &err), err);
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &few);
    int rc = fl_harness_drain(h, &err);
    fl_harness_close(h);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, before);
    CHECK_INT(rc, FL_E_IO);
    CHECK_HAS(err.text, ".p.csv.part: can't write: File too large");
    CHECK(access(in_tmp("p.csv"), F_OK) != 0 && access(in_tmp(".p.csv.part"), F_OK) != 0);
    h = sink_with("{'probabilities':'%s'}", in_tmp("p.csv"));
    OPENED(h);
    CHECK_OK(fl_harness_drain(h, &err), err);
    CHECK_NEAR(fl_harness_result(h, "predicted"), 160, 0);
    CHECK_HAS(slurp(in_tmp("p.csv")), "\nt159,");
    fl_harness_close(h);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(writes_each_tile_once_in_the_order_of_the_source),
        CASE(a_trial_leaves_nothing),
        CASE(probabilities_read_back_bit_for_bit),
        CASE(only_rejected_tiles_need_no_results),
        CASE(values_outside_their_range_are_rejected),
        CASE(acknowledges_after_the_sync_and_in_groups),
        CASE(what_comes_twice_is_dropped_and_acknowledged),
        CASE(goes_on_where_another_sink_was_cut_off),
        CASE(without_a_run_folder_nothing_stays),
        CASE(a_sample_rules_the_rows),
        CASE(ids_that_differ_from_the_sample_are_errors),
        CASE(an_id_in_two_batches_is_an_error_against_a_sample),
        CASE(scores_against_a_table_and_tells_what_is_not_in_it),
        CASE(scores_against_the_truth_that_came_with_the_tiles),
        CASE(constant_answers_on_the_real_labels_score_as_published),
        CASE(files_need_their_tensors),
        CASE(outputs_that_cant_be_written_are_refused_at_once),
        CASE(links_are_followed_and_an_old_file_stays_until_the_end),
        CASE(a_full_disk_at_the_end_can_be_made_good),
        { 0 }
    };
    return fl_run(cases, argc, argv);
}
