/* sink: commits every tile's result to the run's journal, and in the end writes the files.
 *
 * Takes batches from one or several edges and, of each tensor, the first edge that has it. A batch is acknowledged only
 * when its record is on disk; batches that come close together share one sync. What comes again is dropped and acknowledged
 * once more. The final files are made from the journal alone, so that a killed sink loses nothing. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proto/journal.h"
#include "runtime/labels.h"
#include "runtime/predictions.h"
#include "runtime/stage.h"
#include "runtime/pred_file.h"
#include "stages/lib/results.h"
#include "stages/lib/sample.h"

#define SINK_GROUP    16                     /* batches that may wait for one sync */
#define SINK_WAIT_NS  INT64_C(100000000)     /* and for how long */

enum { SINK_TILES, SINK_REJECTED, SINK_DUPLICATES, SINK_COMMITS };

struct sink_pending { uint64_t batch; uint32_t attempt, predicted, rejected; };

struct sink {
    char *submission, *probabilities, *rejects, *sample_path, *truth_path;      /* options */
    char  **snapshots;
    json_t *about;
    double  beta;
    bool    allow_empty;

    char *dir;                               /* the run's, or a temporary one */
    bool  temporary;                         /* dir goes with the stage */
    struct fl_journal *journal;
    struct fl_results  results;
    struct fl_sample   sample;
    struct fl_truth    truth;
    struct fl_predictions table;             /* of a file of probabilities that isn't CSV */
    struct sink_pending pending[SINK_GROUP + 1];
    uint32_t npending;
    int64_t  since;                          /* when the first of them came */
};

static int sink_fail(struct fl_ctx *ctx, const struct fl_err *err)
{
    return fl_fail(ctx, err->code, "%s", err->text);
}

static int64_t sink_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* ---- open ---- */

static bool sink_ends(const char *path, const char *ext)
{
    size_t n = path != NULL ? strlen(path) : 0, e = strlen(ext);
    return n > e && strcmp(path + n - e, ext) == 0;
}

static bool sink_is_hdf5(const char *path) { return sink_ends(path, ".h5") || sink_ends(path, ".hdf5"); }

static int sink_settings(struct fl_ctx *ctx)
{
    const struct sink *s = ctx->state;
    if (s->sample_path != NULL && s->submission == NULL)
        return fl_fail(ctx, FL_E_CONFIG, "sample rules the rows of the submission, but no submission is wanted");
    if (s->about != NULL && !sink_is_hdf5(s->probabilities))
        return fl_fail(ctx, FL_E_CONFIG, "about is what an HDF5 file of probabilities says of itself; want probabilities: NAME.h5");
    struct fl_pred_meta meta;
    struct fl_err err = { 0 };
    if (fl_pred_meta_json(s->about, &meta, &err) != FL_OK)
        return fl_fail(ctx, FL_E_CONFIG, "about: %s", err.text);
    return fl_pred_meta_snapshots(s->snapshots, &meta, &err) == FL_OK ? FL_OK : fl_fail(ctx, FL_E_CONFIG, "%s", err.text);
}

static int sink_make_dir(struct fl_ctx *ctx, struct sink *s)
{
    const char *tmp = getenv("TMPDIR");
    if (ctx->run_dir != NULL)
        s->dir = strdup(ctx->run_dir);
    else if (asprintf(&s->dir, "%s/flowrun-sink-XXXXXX", tmp != NULL && *tmp != '\0' ? tmp : "/tmp") < 0)
        s->dir = NULL;
    if (s->dir == NULL)
        return fl_fail(ctx, FL_E_NOMEM, "no memory");
    if (ctx->run_dir == NULL && mkdtemp(s->dir) == NULL)
        return fl_fail(ctx, FL_E_IO, "%s: can't make a temporary folder", s->dir);
    s->temporary = ctx->run_dir == NULL;
    return FL_OK;
}

static int sink_open_files(const struct fl_ctx *ctx, struct sink *s, struct fl_err *err)
{
    struct { const char *path; struct fl_pred_file **file; } files[] = {
        { s->submission, &s->results.submission },
        { s->probabilities, &s->results.probabilities },
        { s->rejects, &s->results.rejects[1] },
    };
    char *rejects;
    bool plain = strcmp(ctx->name, "sink") == 0;          /* several sinks write several lists */
    if (asprintf(&rejects, "%s/rejects%s%s.csv", s->dir, plain ? "" : "-", plain ? "" : ctx->name) < 0)
        return fl_err_set(err, FL_E_NOMEM, "no memory");
    int rc = fl_pred_open(rejects, &s->results.rejects[0], err);
    free(rejects);
    for (size_t i = 0; rc == FL_OK && i < sizeof files / sizeof *files; i++)
        if (files[i].path != NULL)
            rc = fl_pred_open(files[i].path, files[i].file, err);
    return rc;
}

static int sink_open_journal(struct fl_ctx *ctx, struct sink *s, struct fl_err *err)
{
    char *dir;
    if (asprintf(&dir, "%s/journal/%s", s->dir, ctx->name) < 0)
        return fl_err_set(err, FL_E_NOMEM, "no memory");
    *strrchr(dir, '/') = '\0';
    if (mkdir(dir, 0777) != 0 && errno != EEXIST) {
        fl_err_set(err, FL_E_IO, "%s: %s", dir, strerror(errno));
        free(dir);
        return err->code;
    }
    dir[strlen(dir)] = '/';
    int rc = fl_journal_open(dir, &(struct fl_journal_conf){ .L = ctx->nlabels }, &s->journal, err);
    free(dir);
    if (rc != FL_OK)
        return rc;
    struct fl_journal_sum sum = fl_journal_sum(s->journal);
    if (sum.cut > 0 || sum.damaged > 0)
        fl_warn(ctx, "%s/journal: %" PRIu64 " bytes of a torn end cut off, %" PRIu64 " damaged places passed over", s->dir, sum.cut, sum.damaged);
    if (sum.batches > 0)
        fl_info(ctx, "%s/journal: %" PRIu64 " batches with %" PRIu64 " tiles are committed already", s->dir, sum.batches, sum.tiles);
    return FL_OK;
}

static int sink_read_tables(struct fl_ctx *ctx, struct sink *s, struct fl_err *err)
{
    if (s->sample_path != NULL) {
        int rc = fl_sample_read(s->sample_path, &s->sample, err);
        if (rc != FL_OK)
            return rc;
        s->results.sample = &s->sample;
    }
    if (s->truth_path != NULL) {
        int rc = fl_truth_read(s->truth_path, ctx->nlabels, ctx->labels, ctx->exclusive, ctx->rest_off, s->allow_empty, &s->truth, err);
        if (rc != FL_OK)
            return rc;
        s->results.truth = &s->truth;
    }
    return FL_OK;
}

/* Tables that can't be read are told before anything is started; without labels there is nothing to hold them against. */
static int sink_describe(struct fl_ctx *ctx)
{
    struct sink *s = ctx->state;
    struct fl_err err = { 0 };
    const int settings = sink_settings(ctx);
    if (s->submission != NULL || s->truth_path != NULL)
        fl_bind_want(ctx, "pred");
    if (s->probabilities != NULL)
        fl_bind_want(ctx, "prob");
    if (settings != FL_OK || ctx->nlabels == 0)
        return settings;
    int rc = sink_read_tables(ctx, s, &err);
    if (rc != FL_OK)
        rc = sink_fail(ctx, &err);
    fl_sample_free(&s->sample);
    fl_truth_free(&s->truth);
    return rc;
}

static int sink_table(const struct fl_ctx *ctx, struct sink *s, struct fl_err *err)
{
    if (!sink_is_hdf5(s->probabilities) && !sink_ends(s->probabilities, ".npy"))
        return FL_OK;
    s->results.table = &s->table;
    int rc = fl_pred_meta_json(s->about, &s->table.meta, err);
    if (rc == FL_OK && s->table.meta.nsnapshots == 0)
        rc = fl_pred_meta_snapshots(s->snapshots, &s->table.meta, err);
    s->table.meta.seed = ctx->seed;
    snprintf(s->table.meta.created_by, sizeof s->table.meta.created_by, "flowrun %s", FL_VERSION);
    for (uint32_t l = 0; rc == FL_OK && l < ctx->nlabels; l++)
        rc = fl_predictions_label(&s->table, ctx->labels[l], err);
    return rc;
}

static int sink_open(struct fl_ctx *ctx)
{
    struct sink *s = ctx->state;
    struct fl_err err = { 0 };
    int rc = sink_settings(ctx);
    if (rc == FL_OK)
        rc = sink_make_dir(ctx, s);
    if (rc != FL_OK)
        return rc;
    s->results.L = ctx->nlabels;
    s->results.score.b2 = s->beta * s->beta;
    s->results.labels = ctx->labels;
    if (sink_table(ctx, s, &err) != FL_OK || sink_read_tables(ctx, s, &err) != FL_OK || sink_open_journal(ctx, s, &err) != FL_OK || sink_open_files(ctx, s, &err) != FL_OK)
        return sink_fail(ctx, &err);
    return FL_OK;
}

/* ---- batch ---- */

/* What a batch brings, of each tensor the one of the lowest edge. */
struct sink_in { const float *prob; const uint8_t *pred, *truth; const double *ef2; const uint64_t *ordinal; uint32_t columns; };

static const void *sink_first(const struct fl_ctx *ctx, const struct fl_batch *b, const char *name)
{
    const struct fl_tensor *t = NULL;
    for (uint32_t e = 0; t == NULL && e < ctx->edges; e++)
        t = fl_batch_find_edge(b, e, name);
    return t != NULL ? t->data : NULL;
}

static struct sink_in sink_take_tensors(const struct fl_ctx *ctx, const struct fl_batch *b)
{
    struct sink_in in = {
        .prob = sink_first(ctx, b, "prob"), .pred = sink_first(ctx, b, "pred"), .truth = sink_first(ctx, b, "truth"),
        .ef2 = sink_first(ctx, b, "ef2"), .ordinal = sink_first(ctx, b, "ordinal"),
    };
    in.columns = (in.prob != NULL ? FL_JOURNAL_PROB : 0u) | (in.pred != NULL ? FL_JOURNAL_PRED : 0u) |
                 (in.ef2 != NULL ? FL_JOURNAL_EF2 : 0u) | (in.truth != NULL ? FL_JOURNAL_TRUTH : 0u);
    return in;
}

/* A row is bad when any edge says so: each marks only what it saw itself. */
static int sink_rejected(const struct fl_ctx *ctx, const struct fl_batch *b, uint32_t row, char reason[FL_REASON_SIZE])
{
    for (uint32_t e = 0; e < ctx->edges; e++) {
        const struct fl_tensor *status = fl_batch_find_edge(b, e, "status"), *text = fl_batch_find_edge(b, e, "reason");
        if (status == NULL || status->dtype != FL_I32 || status->bytes / sizeof(int32_t) <= row)
            continue;
        int code = ((const int32_t *)status->data)[row];
        if (code == FL_OK)
            continue;
        bool told = text != NULL && text->bytes / FL_REASON_SIZE > row;
        snprintf(reason, FL_REASON_SIZE, "%.*s", FL_REASON_SIZE - 1, told ? (const char *)text->data + (size_t)row * FL_REASON_SIZE : "");
        return code < 0 && code >= -255 ? code : FL_E_BUG;
    }
    return FL_OK;
}

/* 0/1 bytes to bits. False when a value is neither. */
static bool sink_bits(const uint8_t *row, uint32_t L, uint64_t *bits)
{
    *bits = 0;
    for (uint32_t l = 0; l < L; l++) {
        if (row[l] > 1)
            return false;
        *bits |= (uint64_t)row[l] << l;
    }
    return true;
}

/* Why a row that nobody rejected can't stand in the results, or NULL. Fills in pred and truth. */
static const char *sink_unfit(const struct sink_in *in, uint32_t row, uint32_t L, struct fl_journal_tile *t)
{
    t->prob = in->prob != NULL ? in->prob + (size_t)row * L : NULL;
    for (uint32_t l = 0; t->prob != NULL && l < L; l++)
        if (!(t->prob[l] >= 0.0f && t->prob[l] <= 1.0f))
            return "a probability is not in [0,1]";
    if (in->pred != NULL && !sink_bits(in->pred + (size_t)row * L, L, &t->pred))
        return "a prediction is neither 0 nor 1";
    if (in->truth != NULL && !sink_bits(in->truth + (size_t)row * L, L, &t->truth))
        return "a true label is neither 0 nor 1";
    t->ef2 = in->ef2 != NULL ? in->ef2[row] : 0.0;
    return NULL;
}

static int sink_wants(struct fl_ctx *ctx, const struct sink *s, uint32_t columns)
{
    if (s->results.submission != NULL && !(columns & FL_JOURNAL_PRED))
        return fl_fail(ctx, FL_E_CONFIG, "submission is wanted, but no edge into %s has pred (decode_f2 makes it)", ctx->name);
    if (s->results.truth != NULL && !(columns & FL_JOURNAL_PRED))
        return fl_fail(ctx, FL_E_CONFIG, "truth is given, but no edge into %s has pred (decode_f2 makes it)", ctx->name);
    if (s->results.probabilities != NULL && !(columns & FL_JOURNAL_PROB))
        return fl_fail(ctx, FL_E_CONFIG, "probabilities are wanted, but no edge into %s has prob", ctx->name);
    return FL_OK;
}

static int sink_add_row(struct fl_ctx *ctx, struct sink *s, const struct fl_batch *b, const struct sink_in *in, uint32_t row, uint32_t *rejected)
{
    struct fl_err err;
    char id[FL_ID_SIZE], reason[FL_REASON_SIZE] = "";
    snprintf(id, sizeof id, "%.*s", FL_ID_SIZE - 1, fl_id(b, row));
    struct fl_journal_tile t = { .ordinal = in->ordinal[row], .id = id, .reason = reason };
    if (s->results.sample != NULL && fl_sample_find(&s->sample, id) < 0)
        return fl_fail(ctx, FL_E_LABEL, "%s: not in the sample submission %s", id, s->sample_path);
    t.status = sink_rejected(ctx, b, row, reason);
    const char *unfit = t.status == FL_OK ? sink_unfit(in, row, ctx->nlabels, &t) : NULL;
    if (unfit != NULL) {
        t.status = FL_E_NUM;
        snprintf(reason, sizeof reason, "%s: %s: %s", ctx->name, fl_status_name(FL_E_NUM), unfit);
    }
    *rejected += t.status != FL_OK;
    int rc = t.status == FL_OK ? sink_wants(ctx, s, in->columns) : FL_OK;
    if (rc != FL_OK)
        return rc;
    return fl_journal_add(s->journal, &t, &err) == FL_OK ? FL_OK : sink_fail(ctx, &err);
}

static int sink_rows(struct fl_ctx *ctx, struct sink *s, const struct fl_batch *b, const struct sink_in *in, uint32_t *rejected)
{
    int rc = FL_OK;
    for (uint32_t row = 0; rc == FL_OK && row < b->n; row++)
        rc = sink_add_row(ctx, s, b, in, row, rejected);
    return rc;
}

static int sink_record(struct fl_ctx *ctx, struct sink *s, const struct fl_batch *b, struct sink_pending *p)
{
    struct fl_err err;
    struct sink_in in = sink_take_tensors(ctx, b);
    if (in.ordinal == NULL)
        return fl_fail(ctx, FL_E_BUG, "batch %" PRIu64 " came without ordinal", b->batch);
    int rc = fl_journal_begin(s->journal, b->run, b->batch, b->attempt, in.columns, &err);
    if (rc == FL_END) {
        struct fl_journal_rec rec = { 0 };
        if (fl_journal_peek(s->journal, b->batch, &rec, &err) != FL_OK)
            return sink_fail(ctx, &err);
        fl_count(ctx, SINK_DUPLICATES, 1);
        p->rejected = rec.rejected;
        p->predicted = rec.n - rec.rejected;
        return FL_OK;
    }
    if (rc != FL_OK)
        return sink_fail(ctx, &err);
    if ((rc = sink_rows(ctx, s, b, &in, &p->rejected)) != FL_OK)
        return rc;
    if (fl_journal_end(s->journal, &err) != FL_OK)
        return sink_fail(ctx, &err);
    p->predicted = b->n - p->rejected;
    fl_count(ctx, SINK_TILES, b->n);
    fl_count(ctx, SINK_REJECTED, p->rejected);
    return FL_OK;
}

/* One sync for all that waits, then their acknowledgements. A batch that came twice may be among them: its record, too,
 * is on disk only now. */
static int sink_commit(struct fl_ctx *ctx)
{
    struct sink *s = ctx->state;
    struct fl_err err;
    if (s->npending == 0)
        return FL_OK;
    if (fl_journal_sync(s->journal, &err) != FL_OK)
        return sink_fail(ctx, &err);
    fl_count(ctx, SINK_COMMITS, 1);
    uint32_t n = s->npending;
    s->npending = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct sink_pending *p = &s->pending[i];
        int rc = fl_ack(ctx, p->batch, p->attempt, p->predicted, p->rejected);
        if (rc != FL_OK)
            return rc;
    }
    return FL_OK;
}

static int sink_batch(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct sink *s = ctx->state;
    struct sink_pending p = { .batch = b->batch, .attempt = b->attempt };
    int rc = sink_record(ctx, s, b, &p);
    fl_free(ctx, &b);
    if (rc != FL_OK)
        return rc;
    if (s->npending == 0)
        s->since = sink_now();
    s->pending[s->npending++] = p;
    return s->npending > SINK_GROUP || sink_now() - s->since >= SINK_WAIT_NS ? sink_commit(ctx) : FL_OK;
}

/* A record that is never ended: the next one takes its place. */
static int sink_trial(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct sink *s = ctx->state;
    struct fl_err err;
    struct sink_in in = sink_take_tensors(ctx, b);
    uint32_t rejected = 0;
    if (in.ordinal == NULL)
        return fl_fail(ctx, FL_E_BUG, "batch %" PRIu64 " came without ordinal", b->batch);
    int rc = fl_journal_begin(s->journal, b->run, b->batch, b->attempt, in.columns, &err);
    if (rc == FL_END)
        return FL_OK;
    return rc == FL_OK ? sink_rows(ctx, s, b, &in, &rejected) : sink_fail(ctx, &err);
}

/* ---- the end ---- */

static void sink_alive(void *ctx)
{
    fl_alive(ctx);
}

static void sink_note(struct fl_ctx *ctx, const struct fl_results_note *note, const char *what)
{
    if (note->n > 0)
        fl_warn(ctx, "%" PRIu64 " %s; the first is %s", note->n, what, note->first);
}

static void sink_report(struct fl_ctx *ctx, const struct fl_results *r)
{
    const struct sink *s = ctx->state;
    sink_note(ctx, &r->empty, "tiles have an empty prediction");
    sink_note(ctx, &r->blank, "rejected tiles have an empty row in the submission");
    sink_note(ctx, &r->untold, "predicted tiles are not in the truth table and not scored");
    sink_note(ctx, &r->disorder, "tiles don't stand in the order of the source");
    fl_result(ctx, "predicted", (double)r->predicted);
    fl_result(ctx, "rejected", (double)r->rejected);
    if (r->expected_n > 0)
        fl_result(ctx, "expected_f2", r->expected / (double)r->expected_n);
    if (r->score.n > 0) {
        fl_result(ctx, s->beta == 2.0 ? "f2" : "fbeta", fl_score_mean(&r->score));
        fl_result(ctx, s->beta == 2.0 ? "best_constant_f2" : "best_constant_fbeta", fl_score_best_constant(&r->score, r->L));
    } else if (r->truth != NULL) {
        fl_warn(ctx, "no predicted tile is in the truth table: no f2");
    }
}

static int sink_drain(struct fl_ctx *ctx)
{
    struct sink *s = ctx->state;
    struct fl_err err;
    int rc = sink_commit(ctx);
    if (rc != FL_OK || ctx->partial)                       /* the journal says what is missing; the files come with the rest */
        return rc;
    s->results.alive = sink_alive;
    s->results.user = ctx;
    if (fl_results_write(s->journal, &s->results, &err) != FL_OK)
        return sink_fail(ctx, &err);
    sink_report(ctx, &s->results);
    return FL_OK;
}

/* Removes the files of a folder, then the folder. */
static void sink_remove(const char *path)
{
    DIR *d = opendir(path);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        unlinkat(dirfd(d), e->d_name, 0);
    if (d != NULL)
        closedir(d);
    rmdir(path);
}

static void sink_close(struct fl_ctx *ctx)
{
    struct sink *s = ctx->state;
    fl_journal_close(s->journal);
    fl_pred_close(s->results.submission);
    fl_pred_close(s->results.probabilities);
    for (int i = 0; i < FL_RESULTS_REJECTS; i++)
        fl_pred_close(s->results.rejects[i]);
    fl_sample_free(&s->sample);
    fl_truth_free(&s->truth);
    fl_predictions_free(&s->table);
    char *journal;
    if (s->temporary && asprintf(&journal, "%s/journal/%s", s->dir, ctx->name) >= 0) {
        sink_remove(journal);
        *strrchr(journal, '/') = '\0';
        sink_remove(journal);
        sink_remove(s->dir);
        free(journal);
    }
    free(s->dir);
}

static const struct fl_opt sink_opts[] = {
    { .name = "submission", .type = FL_OPT_OUT, .off = offsetof(struct sink, submission), .help = "CSV image_name,tags: the tags of each predicted tile." },
    { .name = "probabilities", .type = FL_OPT_OUT, .off = offsetof(struct sink, probabilities), .help = "File of predictions, each predicted tile's probability of every label: .h5 and .npy are sorted by id, else CSV in the order of the source." },
    { .name = "about", .type = FL_OPT_JSON, .off = offsetof(struct sink, about),
      .help = "What an HDF5 file of probabilities says of itself: a map with any of model, member, fold, split (val, test), tta, merge, n_views, snapshots." },
    { .name = "snapshots", .type = FL_OPT_LIST, .off = offsetof(struct sink, snapshots),
      .help = "The same as in about: SHA-256 of the weights of all networks that had a part in it. Not given: of those upstream." },
    { .name = "rejects", .type = FL_OPT_OUT, .off = offsetof(struct sink, rejects), .help = "CSV id,stage,reason of rejected tiles, besides the rejects.csv of the run folder." },
    { .name = "sample", .type = FL_OPT_PATH, .off = offsetof(struct sink, sample_path), .help = "Sample submission: its ids, in its order, are the rows of the submission." },
    { .name = "truth", .type = FL_OPT_PATH, .off = offsetof(struct sink, truth_path), .help = "Label table to score the predictions against (mean F-beta)." },
    { .name = "allow_empty", .type = FL_OPT_BOOL, .off = offsetof(struct sink, allow_empty), .def = "false",
      .help = "With truth: a tile may have no label at all; else a row without any is refused." },
    { .name = "beta", .type = FL_OPT_FLOAT, .off = offsetof(struct sink, beta), .def = "2", .min = 1e-3, .max = 1e3,
      .help = "Of the score: recall weighs beta times as much as precision." },
    { 0 }
};

static const struct fl_spec sink_in_tensors[] = {
    { "id", "u8", "B,64", 0 },
    { "ordinal", "u64", "B", 0 },
    { "prob", "f32", "B,L", FL_OPTIONAL },
    { "pred", "u8", "B,L", FL_OPTIONAL },
    { "ef2", "f64", "B", FL_OPTIONAL },
    { "truth", "u8", "B,L", FL_OPTIONAL },
    { 0 }
};

static const struct fl_port sink_ports[] = {
    { "in", FL_IN | FL_MANY, sink_in_tensors },
    { 0 }
};

static const char *const sink_counters[] = { "tiles", "rejected", "duplicates", "commits", NULL };

extern const struct fl_stage fl_stage_sink;

const struct fl_stage fl_stage_sink = {
    .name = "sink",
    .help = "Commits results to the run's journal and writes the final files.",
    .state_size = sizeof(struct sink),
    .opts = sink_opts,
    .ports = sink_ports,
    .counters = sink_counters,
    .describe = sink_describe,
    .open = sink_open,
    .batch = sink_batch,
    .trial = sink_trial,
    .idle = sink_commit,
    .drain = sink_drain,
    .close = sink_close,
};
