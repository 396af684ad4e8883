/* source: names the tiles of a run and issues them in batches.
 *
 * Gives for batch k the tiles [k*batch, (k+1)*batch) of one ordered list: id, ordinal, path and, with `labels`, truth. The list
 * depends on the options alone, so batch k is the same batch however often it is issued. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/labels.h"
#include "runtime/stage.h"
#include "stages/lib/inputs.h"

enum { SOURCE_TILES, SOURCE_BATCHES, SOURCE_UNUSED_LABELS, SOURCE_MISSING };

struct source {
    char  **files;
    char   *csv, *folder, *ext, *labels, *rename;
    int64_t batch, path_max;
    json_t *shuffle;
    struct fl_inputs in;
    struct fl_truth  truth;
};

/* ---- the list ---- */

static int source_csv(struct source *s, struct fl_err *err)
{
    struct fl_truth t;
    int rc = fl_truth_read(s->csv, 0, NULL, 0, FL_NO_LABEL, 1, &t, err);
    if (rc != FL_OK)
        return rc;
    size_t flen = strlen(s->folder);
    const char *slash = flen > 0 && s->folder[flen - 1] == '/' ? "" : "/", *dot = s->ext[0] == '.' ? "" : ".";
    char path[4200];
    for (uint64_t i = 0; rc == FL_OK && i < t.n; i++) {
        if ((size_t)snprintf(path, sizeof path, "%s%s%s%s%s", s->folder, slash, t.ids[i], dot, s->ext) >= sizeof path)
            rc = fl_err_set(err, FL_E_CONFIG, "%.300s...: a path over 4096 bytes", path);
        else
            rc = fl_inputs_path(&s->in, path, err);
    }
    fl_truth_free(&t);
    return rc;
}

static int source_files(struct source *s, struct fl_err *err)
{
    for (char **f = s->files; *f != NULL; f++) {
        int rc = fl_inputs_add(&s->in, *f, err);
        if (rc != FL_OK)
            return rc;
    }
    return FL_OK;
}

/* `shuffle: true` takes the graph's seed, `shuffle: 7` its own. A value from the command line comes as text. */
static int source_seed(const json_t *v, uint64_t *seed, bool *shuffled, struct fl_err *err)
{
    const char *text = json_is_string(v) ? json_string_value(v) : "";
    char *end = "";
    *shuffled = true;
    if (v == NULL || json_is_null(v) || json_is_false(v) || strcmp(text, "false") == 0)
        *shuffled = false;
    else if (json_is_integer(v) && json_integer_value(v) >= 0)
        *seed = (uint64_t)json_integer_value(v);
    else if (text[0] >= '0' && text[0] <= '9')
        *seed = strtoull(text, &end, 10);
    else if (!json_is_true(v) && strcmp(text, "true") != 0)
        end = "?";
    return *end == '\0' ? FL_OK : fl_err_set(err, FL_E_CONFIG, "option shuffle: want true, false or a seed from 0 up");
}

/* A table's tiles come as they stand in it, all others in natural order, unless they are shuffled. */
static int source_order(struct fl_ctx *ctx, struct fl_err *err)
{
    struct source *s = ctx->state;
    uint64_t seed = ctx->seed;
    bool shuffled;
    int rc = source_seed(s->shuffle, &seed, &shuffled, err);
    if (rc != FL_OK || (s->csv != NULL && !shuffled))
        return rc;
    if (shuffled)
        return fl_inputs_shuffle(&s->in, seed, 0, err);
    fl_inputs_sort(&s->in);
    return FL_OK;
}

static int source_options(const struct source *s, struct fl_err *err)
{
    bool files = s->files != NULL && s->files[0] != NULL, shuffled;
    uint64_t seed;
    if (files == (s->csv != NULL))
        return fl_err_set(err, FL_E_CONFIG, files ? "options files and csv exclude each other" : "one of the options files and csv must be given");
    if (s->csv != NULL && s->folder == NULL)
        return fl_err_set(err, FL_E_CONFIG, "option csv needs folder: where the tiles lie");
    return source_seed(s->shuffle, &seed, &shuffled, err);
}

static int source_list(struct source *s, struct fl_err *err)
{
    fl_inputs_done(&s->in);
    fl_inputs_init(&s->in, (size_t)s->path_max);
    int rc = source_options(s, err);
    if (rc == FL_OK && s->rename != NULL)
        rc = fl_inputs_renames(&s->in, s->rename, err);
    if (rc == FL_OK)
        rc = s->csv != NULL ? source_csv(s, err) : source_files(s, err);
    if (rc == FL_OK && s->in.n == 0)
        rc = fl_err_set(err, FL_E_INPUT, "%s: no tiles", s->csv);
    return rc == FL_OK ? fl_inputs_check(&s->in, err) : rc;
}

/* ---- labels ---- */

/* Every tile must have its row. */
static int source_labels(struct fl_ctx *ctx, struct fl_err *err)
{
    struct source *s = ctx->state;
    fl_truth_free(&s->truth);
    int rc = fl_truth_read(s->labels, ctx->nlabels, ctx->labels, ctx->exclusive, ctx->rest_off, 0, &s->truth, err);
    for (uint64_t i = 0; rc == FL_OK && i < s->in.n; i++) {
        char id[FL_ID_SIZE] = { 0 };
        size_t len;
        const char *p = fl_inputs_id(&s->in, i, &len);
        memcpy(id, p, len);
        if (fl_truth_find(&s->truth, id) < 0)
            rc = fl_err_set(err, FL_E_LABEL, "%.200s: no row for tile %s (%.200s)", s->labels, id, fl_inputs_at(&s->in, i));
    }
    return rc;
}

static void source_warn_labels(struct fl_ctx *ctx)
{
    struct source *s = ctx->state;
    const struct fl_truth *t = &s->truth;
    uint64_t odd = t->repeated + t->odd_exclusive + t->odd_rest_off, unused = t->n - s->in.n;
    if (odd > 0)
        fl_warn(ctx, "%s: %llu rows with a tag twice, %llu without exactly one exclusive label, %llu with company for the lone label; first: %s",
                s->labels, (unsigned long long)t->repeated, (unsigned long long)t->odd_exclusive, (unsigned long long)t->odd_rest_off, t->first_odd);
    if (unused > 0)
        fl_warn(ctx, "%s: %llu rows for tiles that are not in this run", s->labels, (unsigned long long)unused);
    fl_count(ctx, SOURCE_UNUSED_LABELS, unused);
}

/* ---- callbacks ---- */

/* All but the order, which describe can do without. */
static int source_set_up(struct fl_ctx *ctx)
{
    struct source *s = ctx->state;
    struct fl_err err = { 0 };
    int rc = source_list(s, &err);
    if (rc == FL_OK && s->labels != NULL)
        rc = source_labels(ctx, &err);
    if (rc != FL_OK)
        return fl_fail(ctx, rc, "%s", err.text);
    uint64_t B = (uint64_t)s->batch;
    fl_set_total(ctx, (s->in.n + B - 1) / B, s->in.n);
    return FL_OK;
}

static void source_close(struct fl_ctx *ctx)
{
    struct source *s = ctx->state;
    fl_inputs_done(&s->in);
    fl_truth_free(&s->truth);
}

static int source_describe(struct fl_ctx *ctx)
{
    int rc = source_set_up(ctx);
    source_close(ctx);      /* describe has no close of its own */
    return rc;
}

static int source_open(struct fl_ctx *ctx)
{
    struct source *s = ctx->state;
    struct fl_err err = { 0 };
    int rc = source_set_up(ctx);
    if (rc != FL_OK)
        return rc;
    if (s->labels != NULL)
        source_warn_labels(ctx);
    rc = source_order(ctx, &err);
    if (rc == FL_OK && ctx->run_dir != NULL)
        rc = fl_inputs_save(&s->in, ctx->run_dir, &err);
    return rc == FL_OK ? FL_OK : fl_fail(ctx, rc, "%s", err.text);
}

static void source_row(struct source *s, uint64_t tile, char *id, char *path, uint8_t *truth)
{
    size_t len;
    const char *p = fl_inputs_id(&s->in, tile, &len);
    memset(id, 0, FL_ID_SIZE);
    memcpy(id, p, len);
    const char *at = fl_inputs_at(&s->in, tile);
    len = strlen(at);
    memcpy(path, at, len);
    memset(path + len, 0, (size_t)s->path_max - len);
    if (truth != NULL)
        memcpy(truth, s->truth.y + (uint64_t)fl_truth_find(&s->truth, id) * s->truth.L, s->truth.L);
}

/* A row of the table without a file is marked here: this is where the name came from. */
static int source_missing(struct fl_ctx *ctx, struct fl_batch *b, uint64_t first)
{
    struct source *s = ctx->state;
    for (uint32_t i = 0; s->csv != NULL && i < b->n; i++) {
        const char *at = fl_inputs_at(&s->in, first + i);
        if (access(at, F_OK) == 0)
            continue;
        int rc = fl_reject(ctx, b, i, FL_E_INPUT, "%s: listed in %s, but no such file", at, s->csv);
        if (rc != FL_OK)
            return rc;
        fl_count(ctx, SOURCE_MISSING, 1);
    }
    return FL_OK;
}

static int source_fill(struct fl_ctx *ctx, struct fl_batch *b, uint64_t first)
{
    struct source *s = ctx->state;
    uint32_t n = b->n, P = (uint32_t)s->path_max, L = s->truth.L;
    char *id = fl_out(ctx, b, "id", FL_U8, 2, (uint32_t[]){ n, FL_ID_SIZE });
    uint64_t *ordinal = id != NULL ? fl_out(ctx, b, "ordinal", FL_U64, 1, &n) : NULL;
    char *path = ordinal != NULL ? fl_out(ctx, b, "path", FL_U8, 2, (uint32_t[]){ n, P }) : NULL;
    uint8_t *truth = path != NULL && s->labels != NULL ? fl_out(ctx, b, "truth", FL_U8, 2, (uint32_t[]){ n, L }) : NULL;
    if (path == NULL || (s->labels != NULL && truth == NULL))
        return FL_E_BUG;
    for (uint32_t i = 0; i < n; i++) {
        ordinal[i] = first + i;
        source_row(s, first + i, id + (size_t)i * FL_ID_SIZE, path + (size_t)i * P, truth != NULL ? truth + (size_t)i * L : NULL);
    }
    return source_missing(ctx, b, first);
}

static int source_produce(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct source *s = ctx->state;
    uint64_t B = (uint64_t)s->batch, n = s->in.n;
    if (b->batch >= (n + B - 1) / B) {
        int rc = fl_fail(ctx, FL_E_BUG, "batch %llu asked for, there are %llu tiles", (unsigned long long)b->batch, (unsigned long long)n);
        fl_free(ctx, &b);
        return rc;
    }
    uint64_t first = b->batch * B;
    b->n = (uint32_t)(n - first < B ? n - first : B);
    int rc = source_fill(ctx, b, first);
    if (rc != FL_OK) {
        fl_free(ctx, &b);
        return rc;
    }
    fl_count(ctx, SOURCE_TILES, b->n);
    fl_count(ctx, SOURCE_BATCHES, 1);
    return fl_emit(ctx, &b);
}

static const struct fl_opt source_opts[] = {
    { .name = "files", .type = FL_OPT_LIST, .off = offsetof(struct source, files),
      .help = "tiles: files, folders, patterns (*, ?, [..]), or @LIST, a file with one path a line; issued in natural order of their paths" },
    { .name = "csv", .type = FL_OPT_PATH, .off = offsetof(struct source, csv),
      .help = "table with a column image_name (.csv or .csv.gz): its tiles, in its order, as FOLDER/ID.EXT; one without a file is a rejected row" },
    { .name = "folder", .type = FL_OPT_PATH, .off = offsetof(struct source, folder), .help = "with csv: where the tiles lie" },
    { .name = "ext", .type = FL_OPT_STR, .off = offsetof(struct source, ext), .def = "jpg", .help = "with csv: the extension of the tiles" },
    { .name = "labels", .type = FL_OPT_PATH, .off = offsetof(struct source, labels),
      .help = "label table (image_name,tags or one column a label; .gz too): adds the tensor truth; every tile must have a row" },
    { .name = "batch", .type = FL_OPT_INT, .off = offsetof(struct source, batch), .def = "64", .min = 1, .max = 4096, .help = "tiles in a batch" },
    { .name = "rename", .type = FL_OPT_PATH, .off = offsetof(struct source, rename),
      .help = "table old,new of file names: the tile in file `old` is called as `new`" },
    { .name = "shuffle", .type = FL_OPT_JSON, .off = offsetof(struct source, shuffle),
      .help = "true: order by the graph's seed instead of by path; a number: by this seed" },
    { .name = "path_max", .type = FL_OPT_INT, .off = offsetof(struct source, path_max), .def = "512", .min = 16, .max = 4096,
      .help = "room for a path in the batch, with its end; a longer path is refused" },
    { 0 }
};

static const struct fl_spec source_out[] = {
    { "id", "u8", "B,64", 0 },
    { "ordinal", "u64", "B", 0 },
    { "path", "u8", "B,path_max", 0 },
    { "truth", "u8", "B,L", FL_OPTIONAL },
    { 0 }
};

static const struct fl_port source_ports[] = { { "out", FL_OUT, source_out }, { 0 } };

static const char *const source_counters[] = { "tiles", "batches", "unused_labels", "missing", NULL };

extern const struct fl_stage fl_stage_source;
const struct fl_stage fl_stage_source = {
    .name = "source",
    .help = "Names the tiles of a run and issues them in batches.",
    .state_size = sizeof(struct source),
    .opts = source_opts,
    .ports = source_ports,
    .counters = source_counters,
    .describe = source_describe,
    .open = source_open,
    .produce = source_produce,
    .close = source_close,
};
