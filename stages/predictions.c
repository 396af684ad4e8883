/* predictions: files of predictions as the source of a graph.
 *
 * Gives for batch k the tiles [k*batch, (k+1)*batch) of the models' common tiles, sorted by id: id, ordinal, prob (one model) or
 * models (several, in the order given; what they are called is said by `names` or their paths), and with `labels` truth, with `folds` fold. Models whose tiles differ are refused. */
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/assemble.h"
#include "runtime/labels.h"
#include "runtime/merge.h"
#include "runtime/model.h"
#include "runtime/stage.h"
#include "runtime/text.h"
#include "stages/lib/inputs.h"

enum { PREDS_TILES, PREDS_BATCHES, PREDS_UNUSED_LABELS };

struct preds {
    char  **paths, **names;
    char   *labels, *folds_path, *fold_column, *tta, *columns, *rows, *group;
    int     split, merge;
    int64_t batch;
    bool    allow_empty;
    char  **found;                    /* [nmodels] what the paths stand for */
    uint32_t nmodels;
    struct fl_predictions *model;     /* [nmodels] */
    struct fl_folds folds;
    struct fl_truth truth;
};

static int preds_fail(struct fl_ctx *ctx, const struct fl_err *err) { return fl_fail(ctx, err->code, "%s", err->text); }

/* ---- which models ---- */

static int preds_add(struct preds *s, const char *path, struct fl_err *err)
{
    char **more = realloc(s->found, (s->nmodels + 1) * sizeof *more);
    char *copy = more != NULL ? strdup(path) : NULL;
    if (more != NULL)
        s->found = more;
    if (copy == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for %u models", s->nmodels + 1);
    s->found[s->nmodels++] = copy;
    return FL_OK;
}

static int preds_order(const void *a, const void *b) { return fl_natural_cmp(*(char *const *)a, *(char *const *)b); }

static int preds_pattern(struct preds *s, const char *pattern, struct fl_err *err)
{
    glob_t g;
    int rc = glob(pattern, GLOB_NOSORT, NULL, &g);
    if (rc != 0)
        return fl_err_set(err, FL_E_INPUT, "%s: %s", pattern, rc == GLOB_NOMATCH ? "no such file or folder" : "can't be searched for");
    qsort(g.gl_pathv, g.gl_pathc, sizeof *g.gl_pathv, preds_order);
    for (size_t i = 0; rc == FL_OK && i < g.gl_pathc; i++)
        rc = preds_add(s, g.gl_pathv[i], err);
    globfree(&g);
    return rc;
}

static int preds_list(struct preds *s, struct fl_err *err)
{
    int rc = FL_OK;
    for (char **p = s->paths; rc == FL_OK && p != NULL && *p != NULL; p++)
        rc = strpbrk(*p, "*?[") != NULL ? preds_pattern(s, *p, err) : preds_add(s, *p, err);
    if (rc == FL_OK && s->nmodels == 0)
        rc = fl_err_set(err, FL_E_CONFIG, "files: want at least one file of predictions");
    return rc;
}

/* The last part of a path without .gz and its ending, or the folder it lies in. */
static char *preds_stem(const char *path, bool folder)
{
    static const char *const endings[] = { ".gz", ".h5", ".hdf5", ".npy", ".csv" };
    char *copy = strdup(path), *last = copy;
    for (int up = 0; copy != NULL && up <= folder; up++) {
        char *end = copy + strlen(copy);
        while (end > copy && end[-1] == '/')
            *--end = '\0';
        last = strrchr(copy, '/');
        if (up < folder && last != NULL)
            *last = '\0';
        else if (up < folder)
            *copy = '\0';
        last = last != NULL && up == folder ? last + 1 : copy;
    }
    for (size_t i = 0; copy != NULL && !folder && i < sizeof endings / sizeof *endings; i++) {
        size_t len = strlen(last), n = strlen(endings[i]);
        if (len > n && strcmp(last + len - n, endings[i]) == 0)
            last[len - n] = '\0';
    }
    if (copy != NULL)
        memmove(copy, last, strlen(last) + 1);
    return copy;
}

/* Which two are the same, or one is empty; n when all differ. */
static uint32_t preds_clash(uint32_t n, char *const *names)
{
    for (uint32_t i = 0; i < n; i++) {
        if (names[i] == NULL || names[i][0] == '\0')
            return i;
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(names[i], names[k]) == 0)
                return i;
    }
    return n;
}

/* What the models are called: as told, else their files or folders, else (where these are all alike, as in a/oof.h5, b/oof.h5) what those lie in. */
static int preds_called(struct fl_ctx *ctx, struct fl_err *err)
{
    const struct preds *s = ctx->state;
    uint32_t told = 0, clash, n = s->nmodels;
    while (s->names != NULL && s->names[told] != NULL)
        told++;
    if (told > 0 && told != n)
        return fl_err_set(err, FL_E_CONFIG, "names: %u names for %u models", told, n);
    char **all = calloc(n, sizeof *all);
    bool lost = all == NULL;
    for (int folder = 0; all != NULL && folder < 2; folder++) {
        for (uint32_t m = 0; m < n; m++) {
            free(all[m]);
            all[m] = told > 0 ? strdup(s->names[m]) : preds_stem(s->found[m], folder);
            lost |= all[m] == NULL;
        }
        if (preds_clash(n, all) == n)
            break;
    }
    clash = all != NULL ? preds_clash(n, all) : 0;
    int rc = lost ? fl_err_set(err, FL_E_NOMEM, "names of %u models", n)
           : clash < n ? fl_err_set(err, FL_E_CONFIG, "names: model %u, %s, has no name of its own, want names: [...]", clash, s->found[clash])
                       : fl_set_models(ctx, n, (const char *const *)all);
    for (uint32_t m = 0; all != NULL && m < n; m++)
        free(all[m]);
    free(all);
    return rc;
}

/* ---- reading ---- */

static int preds_read(struct fl_ctx *ctx, struct preds *s, uint32_t m, struct fl_err *err)
{
    const struct fl_assemble how = {
        .split = s->split, .merge = s->merge, .tta = s->tta, .folds = s->folds_path != NULL ? &s->folds : NULL,
        .want = { .L = ctx->nlabels, .labels = ctx->labels, .columns = s->columns, .rows = s->rows, .group = s->group },
    };
    fl_alive(ctx);
    return fl_assemble(s->found[m], &how, &s->model[m], err);
}

/* Model m has the tiles of model 0. */
static int preds_same(const struct preds *s, uint32_t m, struct fl_err *err)
{
    const struct fl_predictions *x = &s->model[0], *y = &s->model[m];
    for (uint64_t i = 0; i < x->n || i < y->n; i++) {
        int c = i == x->n ? 1 : i == y->n ? -1 : strcmp(x->ids[i], y->ids[i]);
        if (c != 0)
            return fl_err_set(err, FL_E_LABEL, "%s is in %s, but not in %s", c < 0 ? x->ids[i] : y->ids[i], s->found[c < 0 ? 0 : m], s->found[c < 0 ? m : 0]);
    }
    return FL_OK;
}

static int preds_truth(struct fl_ctx *ctx, struct fl_err *err)
{
    struct preds *s = ctx->state;
    int rc = fl_truth_read(s->labels, ctx->nlabels, ctx->labels, ctx->exclusive, ctx->rest_off, s->allow_empty, &s->truth, err);
    for (uint64_t i = 0; rc == FL_OK && i < s->model[0].n; i++)
        if (fl_truth_find(&s->truth, s->model[0].ids[i]) < 0)
            rc = fl_err_set(err, FL_E_LABEL, "%s: no row for the tile %s of %s", s->labels, s->model[0].ids[i], s->found[0]);
    return rc;
}

/* What can be told from the first model; the others are read when the graph runs. */
static int preds_first(struct fl_ctx *ctx, struct fl_err *err)
{
    struct preds *s = ctx->state;
    int rc = preds_list(s, err);
    if (rc == FL_OK && s->folds_path != NULL)
        rc = fl_folds_read(s->folds_path, s->fold_column, &s->folds, err);
    if (rc == FL_OK && s->folds.k > FL_MAX_FOLDS)
        rc = fl_err_set(err, FL_E_LABEL, "%s: fold %u, want numbers from 0 to %u", s->folds_path, s->folds.k - 1, FL_MAX_FOLDS - 1);
    if (rc != FL_OK)
        return rc;
    s->model = calloc(s->nmodels, sizeof *s->model);
    if (s->model == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for %u models", s->nmodels);
    rc = preds_read(ctx, s, 0, err);
    if (rc == FL_OK && s->labels != NULL && ctx->nlabels > 0)
        rc = preds_truth(ctx, err);
    uint64_t B = (uint64_t)s->batch, n = s->model[0].n;
    if (rc == FL_OK)
        fl_set_total(ctx, (n + B - 1) / B, n);
    return rc;
}

/* Tiles and values as they were when the run began, or it can't go on. */
static int preds_save(struct fl_ctx *ctx, struct fl_err *err)
{
    struct preds *s = ctx->state;
    struct fl_inputs in;
    char digest[65], *all = calloc(s->nmodels, 64), path[160];
    if (all == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for %u models", s->nmodels);
    for (uint32_t m = 0; m < s->nmodels; m++) {
        fl_sha256(s->model[m].p, s->model[m].n * s->model[m].L * sizeof *s->model[m].p, digest);
        memcpy(all + (size_t)m * 64, digest, 64);
        fl_alive(ctx);
    }
    fl_sha256(all, (size_t)s->nmodels * 64, digest);
    free(all);
    fl_inputs_init(&in, sizeof path);
    int rc = FL_OK;
    for (uint64_t i = 0; rc == FL_OK && i < s->model[0].n; i++) {
        snprintf(path, sizeof path, "%s/%s.row", digest, s->model[0].ids[i]);
        rc = fl_inputs_path(&in, path, err);
    }
    if (rc == FL_OK)
        rc = fl_inputs_save(&in, ctx->run_dir, err);
    fl_inputs_done(&in);
    return rc;
}

/* ---- callbacks ---- */

static void preds_close(struct fl_ctx *ctx)
{
    struct preds *s = ctx->state;
    for (uint32_t m = 0; m < s->nmodels; m++) {
        free(s->found[m]);
        if (s->model != NULL)
            fl_predictions_free(&s->model[m]);
    }
    free(s->found);
    free(s->model);
    fl_folds_free(&s->folds);
    fl_truth_free(&s->truth);
    s->found = NULL;
    s->model = NULL;
    s->nmodels = 0;
}

static void preds_bind(struct fl_ctx *ctx)
{
    const struct preds *s = ctx->state;
    fl_bind_absent(ctx, s->nmodels > 1 ? "prob" : "models");
    if (s->labels == NULL)
        fl_bind_absent(ctx, "truth");
    if (s->folds_path == NULL || s->split == FL_SPLIT_TEST)
        fl_bind_absent(ctx, "fold");
    fl_bind(ctx, 'P', s->nmodels);
}

static int preds_describe(struct fl_ctx *ctx)
{
    struct fl_err err = { 0 };
    int rc = preds_first(ctx, &err);
    if (rc == FL_OK)
        rc = preds_called(ctx, &err);
    preds_bind(ctx);
    preds_close(ctx);      /* describe has no close of its own */
    return rc == FL_OK ? FL_OK : preds_fail(ctx, &err);
}

static int preds_open(struct fl_ctx *ctx)
{
    struct preds *s = ctx->state;
    struct fl_err err = { 0 };
    int rc = preds_first(ctx, &err);
    preds_bind(ctx);
    for (uint32_t m = 1; rc == FL_OK && m < s->nmodels; m++) {
        rc = preds_read(ctx, s, m, &err);
        if (rc == FL_OK)
            rc = preds_same(s, m, &err);
    }
    if (rc == FL_OK && s->labels != NULL)
        fl_count(ctx, PREDS_UNUSED_LABELS, s->truth.n - s->model[0].n);
    if (rc == FL_OK && ctx->run_dir != NULL)
        rc = preds_save(ctx, &err);
    return rc == FL_OK ? FL_OK : preds_fail(ctx, &err);
}

static void preds_ids(const struct preds *s, uint64_t first, uint32_t n, char *id, uint64_t *ordinal)
{
    memcpy(id, s->model[0].ids[first], (size_t)n * FL_ID_SIZE);
    for (uint32_t i = 0; i < n; i++)
        ordinal[i] = first + i;
}

/* [n][P][L]: the models of a tile one after another. */
static void preds_rows(const struct preds *s, uint64_t first, uint32_t n, float *out)
{
    uint32_t L = s->model[0].L;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t m = 0; m < s->nmodels; m++, out += L)
            memcpy(out, s->model[m].p + (first + i) * L, L * sizeof *out);
}

static int preds_known(struct fl_ctx *ctx, struct fl_batch *b, uint64_t first)
{
    const struct preds *s = ctx->state;
    uint8_t *truth = s->labels != NULL ? fl_out(ctx, b, "truth", FL_U8, 2, (uint32_t[]){ b->n, s->truth.L }) : NULL;
    bool folds = s->folds_path != NULL && s->split == FL_SPLIT_VAL;
    uint8_t *fold = folds ? fl_out(ctx, b, "fold", FL_U8, 1, &b->n) : NULL;
    if ((s->labels != NULL && truth == NULL) || (folds && fold == NULL))
        return FL_E_BUG;
    for (uint32_t i = 0; i < b->n; i++) {
        const char *id = s->model[0].ids[first + i];
        if (truth != NULL)
            memcpy(truth + (size_t)i * s->truth.L, s->truth.y + (uint64_t)fl_truth_find(&s->truth, id) * s->truth.L, s->truth.L);
        if (fold != NULL)
            fold[i] = (uint8_t)s->folds.fold[fl_folds_find(&s->folds, id, strlen(id))];
    }
    return FL_OK;
}

static int preds_fill(struct fl_ctx *ctx, struct fl_batch *b, uint64_t first)
{
    const struct preds *s = ctx->state;
    uint32_t n = b->n, L = s->model[0].L;
    char *id = fl_out(ctx, b, "id", FL_U8, 2, (uint32_t[]){ n, FL_ID_SIZE });
    uint64_t *ordinal = id != NULL ? fl_out(ctx, b, "ordinal", FL_U64, 1, &n) : NULL;
    float *p = NULL;
    if (ordinal != NULL && s->nmodels == 1)
        p = fl_out(ctx, b, "prob", FL_F32, 2, (uint32_t[]){ n, L });
    else if (ordinal != NULL)
        p = fl_out(ctx, b, "models", FL_F32, 3, (uint32_t[]){ n, s->nmodels, L });
    if (p == NULL)
        return FL_E_BUG;
    preds_ids(s, first, n, id, ordinal);
    preds_rows(s, first, n, p);
    return preds_known(ctx, b, first);
}

static int preds_produce(struct fl_ctx *ctx, struct fl_batch *b)
{
    const struct preds *s = ctx->state;
    uint64_t B = (uint64_t)s->batch, n = s->model[0].n, first = b->batch * B;
    int rc = FL_OK;
    if (b->batch >= (n + B - 1) / B)
        rc = fl_fail(ctx, FL_E_BUG, "batch %llu asked for, there are %llu tiles", (unsigned long long)b->batch, (unsigned long long)n);
    b->n = (uint32_t)(rc != FL_OK ? 0 : n - first < B ? n - first : B);
    if (rc == FL_OK)
        rc = preds_fill(ctx, b, first);
    if (rc != FL_OK) {
        fl_free(ctx, &b);
        return rc;
    }
    fl_count(ctx, PREDS_TILES, b->n);
    fl_count(ctx, PREDS_BATCHES, 1);
    return fl_emit(ctx, &b);
}

static const struct fl_opt preds_opts[] = {
    { .name = "files", .type = FL_OPT_LIST, .off = offsetof(struct preds, paths), .required = 1,
      .help = "One or several models: each a file of predictions, or a folder with fold_K/SPLIT_TTA.h5 (.hdf5, .npy, .csv), or a pattern of such." },
    { .name = "names", .type = FL_OPT_LIST, .off = offsetof(struct preds, names),
      .help = "What the models are called, in the order of files; else after their files or folders." },
    { .name = "split", .type = FL_OPT_CHOICE, .off = offsetof(struct preds, split), .def = "test", .choices = FL_SPLITS,
      .help = "Of a folder: val, predictions out of fold, or test, averaged over folds." },
    { .name = "tta", .type = FL_OPT_STR, .off = offsetof(struct preds, tta), .help = "Of a folder: which file of each fold, where there are several." },
    { .name = "merge", .type = FL_OPT_CHOICE, .off = offsetof(struct preds, merge), .def = "mean", .choices = FL_MERGE_CHOICES,
      .help = "Of a folder's split test: how its folds are averaged." },
    { .name = "folds", .type = FL_OPT_PATH, .off = offsetof(struct preds, folds_path),
      .help = "Fold table: checked against split val, which then gives the tensor fold; with split test none of its tiles may be there." },
    { .name = "fold_column", .type = FL_OPT_STR, .off = offsetof(struct preds, fold_column), .def = "fold", .help = "The fold table's column." },
    { .name = "labels", .type = FL_OPT_PATH, .off = offsetof(struct preds, labels),
      .help = "Label table (image_name,tags or one column a label; .gz too): adds the tensor truth; every tile must have a row." },
    { .name = "allow_empty", .type = FL_OPT_BOOL, .off = offsetof(struct preds, allow_empty), .def = "false",
      .help = "With labels: a tile may have none at all; else a row without any is refused." },
    { .name = "batch", .type = FL_OPT_INT, .off = offsetof(struct preds, batch), .def = "256", .min = 1, .max = 4096, .help = "Tiles in a batch." },
    { .name = "rows", .type = FL_OPT_STR, .off = offsetof(struct preds, rows),
      .help = "Of a plain .npy: a table whose column image_name names its rows, or a pattern like train_{}." },
    { .name = "columns", .type = FL_OPT_STR, .off = offsetof(struct preds, columns), .help = "Of a plain .npy: its columns, comma-separated." },
    { .name = "group", .type = FL_OPT_STR, .off = offsetof(struct preds, group), .help = "Of HDF5 that pandas wrote: the group (prob, or the only one)." },
    { 0 }
};

static const struct fl_spec preds_out[] = {
    { "id", "u8", "B,64", 0 },
    { "ordinal", "u64", "B", 0 },
    { "prob", "f32", "B,L", FL_OPTIONAL },
    { "models", "f32", "B,P,L", FL_OPTIONAL },
    { "truth", "u8", "B,L", FL_OPTIONAL },
    { "fold", "u8", "B", FL_OPTIONAL },
    { 0 }
};

static const struct fl_port preds_ports[] = { { "out", FL_OUT, preds_out }, { 0 } };

static const char *const preds_counters[] = { "tiles", "batches", "unused_labels", NULL };

extern const struct fl_stage fl_stage_predictions;
const struct fl_stage fl_stage_predictions = {
    .name = "predictions",
    .help = "Files of predictions as a source: the probabilities of one or several models.",
    .state_size = sizeof(struct preds),
    .opts = preds_opts,
    .ports = preds_ports,
    .counters = preds_counters,
    .describe = preds_describe,
    .open = preds_open,
    .produce = preds_produce,
    .close = preds_close,
};
