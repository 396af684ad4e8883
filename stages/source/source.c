/* source: names the tiles of a run and issues them in batches.
 *
 * Gives the tiles of one ordered list, epoch after epoch: id, ordinal, epoch, position in it, path (and span, where it lies in an archive) and, with
 * `labels`, truth. List and order depend on the options alone, so batch k is the same batch however often it is issued. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/stage.h"
#include "stages/source/list.h"

enum { SOURCE_TILES, SOURCE_BATCHES, SOURCE_UNUSED_LABELS, SOURCE_MISSING };

static void source_warn_labels(struct fl_ctx *ctx)
{
    struct source *s = ctx->state;
    const struct fl_truth *t = &s->truth;
    uint64_t odd = t->repeated + t->odd_exclusive + t->odd_rest_off, unused = t->n - s->in.n;
    if (odd > 0)
        fl_warn(ctx, "%s: %llu rows with a tag twice, %llu without exactly one exclusive label, %llu with company for the lone label; first: %s",
                s->labels, (unsigned long long)t->repeated, (unsigned long long)t->odd_exclusive, (unsigned long long)t->odd_rest_off, t->first_odd);
    if (unused > 0 && s->split == SOURCE_ALL)
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
        rc = source_labels(s, ctx->nlabels, ctx->labels, ctx->exclusive, ctx->rest_off, &err);
    if (rc != FL_OK)
        return fl_fail(ctx, rc, "%s", err.text);
    uint64_t epochs = (uint64_t)s->epochs;
    fl_set_total(ctx, s->rounds * epochs, s->rows * epochs);
    fl_set_epochs(ctx, (uint32_t)epochs);
    if (!s->in.archived)
        fl_bind_absent(ctx, "span");
    if (s->labels == NULL)
        fl_bind_absent(ctx, "truth");
    return FL_OK;
}

static void source_close(struct fl_ctx *ctx)
{
    source_list_done(ctx->state);
}

/* What making the list takes, most of it for a while; labels and the orders of two epochs stay. */
static uint64_t source_memory(const struct source *s)
{
    uint64_t truth = s->truth.n * (s->truth.L + sizeof *s->truth.ids), orders = s->epochs > 1 ? 2 * s->in.n * sizeof *s->order.kept[0].tile : 0;
    return fl_inputs_bytes(&s->in) + truth + orders;
}

static int source_describe(struct fl_ctx *ctx)
{
    const struct source *s = ctx->state;
    int rc = source_set_up(ctx);
    if (rc == FL_OK)
        fl_set_memory(ctx, source_memory(s));
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
    if (s->unfolded > 0)
        fl_warn(ctx, "%s: %llu tiles are in no fold and left out", s->folds, (unsigned long long)s->unfolded);
    rc = source_order(s, ctx->seed, &err);
    if (rc == FL_OK && ctx->run_dir != NULL)
        rc = fl_inputs_save(&s->in, ctx->run_dir, &err);
    if (rc == FL_OK && ctx->run_dir != NULL)
        rc = fl_inputs_leave(&s->in, ctx->run_dir, &err);
    return rc == FL_OK ? FL_OK : fl_fail(ctx, rc, "%s", err.text);
}

/* ---- a batch ---- */

/* The memory of its tensors, row by row. */
struct source_rows {
    char     *id, *path;
    uint64_t *ordinal, *position, *span;       /* span: [n][2], or NULL */
    uint32_t *epoch;
    uint8_t  *truth;                           /* or NULL */
};

static int source_tensors(struct fl_ctx *ctx, struct fl_batch *b, struct source_rows *r)
{
    struct source *s = ctx->state;
    uint32_t n = b->n, P = (uint32_t)s->path_max, L = s->truth.L;
    *r = (struct source_rows){ 0 };
    if ((r->id = fl_out(ctx, b, "id", FL_U8, 2, (uint32_t[]){ n, FL_ID_SIZE })) == NULL ||
        (r->ordinal = fl_out(ctx, b, "ordinal", FL_U64, 1, &n)) == NULL || (r->epoch = fl_out(ctx, b, "epoch", FL_U32, 1, &n)) == NULL ||
        (r->position = fl_out(ctx, b, "position", FL_U64, 1, &n)) == NULL || (r->path = fl_out(ctx, b, "path", FL_U8, 2, (uint32_t[]){ n, P })) == NULL)
        return FL_E_BUG;
    if (s->in.archived && (r->span = fl_out(ctx, b, "span", FL_U64, 2, (uint32_t[]){ n, 2 })) == NULL)
        return FL_E_BUG;
    if (s->labels != NULL && (r->truth = fl_out(ctx, b, "truth", FL_U8, 2, (uint32_t[]){ n, L })) == NULL)
        return FL_E_BUG;
    return FL_OK;
}

static void source_row(const struct source *s, const struct fl_inputs_row *tile, uint32_t row, const struct source_rows *r)
{
    size_t len = strlen(tile->id), P = (size_t)s->path_max;
    char *id = r->id + (size_t)row * FL_ID_SIZE, *path = r->path + (size_t)row * P;
    memset(id, 0, FL_ID_SIZE);
    memcpy(id, tile->id, len);
    len = strlen(tile->path);
    memcpy(path, tile->path, len);
    memset(path + len, 0, P - len);
    if (r->span != NULL)
        memcpy(&r->span[2 * (size_t)row], tile->span, sizeof tile->span);
    if (r->truth != NULL)
        memcpy(r->truth + (size_t)row * s->truth.L, s->truth.y + (uint64_t)fl_truth_find(&s->truth, id) * s->truth.L, s->truth.L);
}

/* A row of the table without a file is marked here: this is where the name came from. */
static int source_missing(struct fl_ctx *ctx, struct fl_batch *b, const struct source_rows *r)
{
    struct source *s = ctx->state;
    for (uint32_t i = 0; s->csv != NULL && i < b->n; i++) {
        const char *at = r->path + (size_t)i * (size_t)s->path_max;
        if (fl_held(ctx, b, i) || access(at, F_OK) == 0)
            continue;
        int rc = fl_reject(ctx, b, i, FL_E_INPUT, "%s: listed in %s, but no such file", at, s->csv);
        if (rc != FL_OK)
            return rc;
        fl_count(ctx, SOURCE_MISSING, 1);
    }
    return FL_OK;
}

/* Asks the kernel to read what the decoders will want, while batches before this one are decoded. A file that can't be opened is theirs to tell of. */
static void source_ahead(struct fl_ctx *ctx, const struct fl_batch *b, const struct source_rows *r)
{
    const struct source *s = ctx->state;
    for (uint32_t i = 0; s->readahead && i < b->n; i++) {
        char path[4200];
        const char *at = r->path + (size_t)i * (size_t)s->path_max;
        size_t len = strlen(at);
        uint64_t off = 0, bytes = 0;
        if (fl_held(ctx, b, i))
            continue;
        if (r->span != NULL && r->span[2 * (size_t)i + 1] > 0) {
            off = r->span[2 * (size_t)i];
            bytes = r->span[2 * (size_t)i + 1];
            len = (size_t)(strrchr(at, '/') - at);
        }
        memcpy(path, at, len);
        path[len] = '\0';
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
            continue;
        posix_fadvise(fd, (off_t)off, (off_t)bytes, POSIX_FADV_WILLNEED);
        close(fd);
    }
}

static int source_fill(struct fl_ctx *ctx, struct fl_batch *b, uint32_t epoch, uint64_t first)
{
    struct source *s = ctx->state;
    struct source_rows r;
    struct fl_inputs_row tile;
    struct fl_err err = { 0 };
    int rc = source_tensors(ctx, b, &r);
    for (uint32_t i = 0; rc == FL_OK && i < b->n; i++) {
        uint64_t at;
        if ((rc = fl_order_tile(&s->order, epoch, (first + i) % s->in.n, &at, &err)) != FL_OK || (rc = fl_inputs_row(&s->in, at, &tile, &err)) != FL_OK)
            return fl_fail(ctx, rc, "%s", err.text);
        r.ordinal[i] = (uint64_t)epoch * s->rows + first + i;
        r.epoch[i] = epoch;
        r.position[i] = first + i;
        source_row(s, &tile, i, &r);
    }
    if (rc != FL_OK)
        return rc;
    source_ahead(ctx, b, &r);
    return source_missing(ctx, b, &r);
}

static int source_produce(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct source *s = ctx->state;
    uint64_t B = (uint64_t)s->batch, epoch = b->batch / s->rounds, first = b->batch % s->rounds * B;
    if (epoch >= (uint64_t)s->epochs) {
        int rc = fl_fail(ctx, FL_E_BUG, "batch %llu asked for, there are %lld epochs of %llu", (unsigned long long)b->batch, (long long)s->epochs,
                         (unsigned long long)s->rounds);
        fl_free(ctx, &b);
        return rc;
    }
    b->n = (uint32_t)(s->rows - first < B ? s->rows - first : B);
    int rc = source_fill(ctx, b, (uint32_t)epoch, first);
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
      .help = "tiles: files, folders, patterns (*, ?, [..]), tar archives, or @LIST, a file with one path a line; issued in natural order of their paths" },
    { .name = "csv", .type = FL_OPT_PATH, .off = offsetof(struct source, csv),
      .help = "table with a column image_name (.csv or .csv.gz): its tiles, in its order, as FOLDER/ID.EXT; one without a file is a rejected row" },
    { .name = "folder", .type = FL_OPT_PATH, .off = offsetof(struct source, folder), .help = "with csv: where the tiles lie" },
    { .name = "ext", .type = FL_OPT_STR, .off = offsetof(struct source, ext), .def = "jpg", .help = "with csv: the extension of the tiles" },
    { .name = "labels", .type = FL_OPT_PATH, .off = offsetof(struct source, labels),
      .help = "label table (image_name,tags or one column a label; .gz too): adds the tensor truth; every tile must have a row" },
    { .name = "allow_empty", .type = FL_OPT_BOOL, .off = offsetof(struct source, allow_empty), .def = "false",
      .help = "with labels: a tile may have none at all; else a row without any is refused" },
    { .name = "batch", .type = FL_OPT_INT, .off = offsetof(struct source, batch), .def = "64", .min = 1, .max = 4096, .help = "tiles in a batch" },
    { .name = "rename", .type = FL_OPT_PATH, .off = offsetof(struct source, rename),
      .help = "table old,new of file names: the tile in file `old` is called as `new`" },
    { .name = "folds", .type = FL_OPT_PATH, .off = offsetof(struct source, folds), .help = "with split: table of folds (image_name and a column of numbers; flowrun folds makes one)" },
    { .name = "fold_column", .type = FL_OPT_STR, .off = offsetof(struct source, fold_column), .def = "fold", .help = "column of that table" },
    { .name = "fold", .type = FL_OPT_INT, .off = offsetof(struct source, fold), .def = "-1", .min = -1, .max = 65535, .help = "with split: which fold is held out" },
    { .name = "split", .type = FL_OPT_CHOICE, .off = offsetof(struct source, split), .def = "all", .choices = "all|train|val",
      .help = "all tiles, those of all folds but the one held out, or those of that one; tiles in no fold belong to neither" },
    { .name = "epochs", .type = FL_OPT_INT, .off = offsetof(struct source, epochs), .def = "1", .min = 1, .max = 1000000,
      .help = "rounds over the tiles, each in an order of its own where they are shuffled" },
    { .name = "last", .type = FL_OPT_CHOICE, .off = offsetof(struct source, last), .def = "keep", .choices = "keep|drop|pad",
      .help = "an epoch's last batch, where it is short: kept so, left out, or filled with the epoch's first tiles again (their position is the number of tiles or more)" },
    { .name = "balance", .type = FL_OPT_CHOICE, .off = offsetof(struct source, balance), .def = "none", .choices = "none|label",
      .help = "label: each row takes a label, all alike, and a tile that has it, with replacement; an epoch has as many rows as there are tiles" },
    { .name = "readahead", .type = FL_OPT_BOOL, .off = offsetof(struct source, readahead), .def = "false",
      .help = "asks the kernel to read a batch's files when it is issued; for disks that are slower than the decoders" },
    { .name = "shuffle", .type = FL_OPT_JSON, .off = offsetof(struct source, shuffle),
      .help = "true: order by the graph's seed instead of by path; a number: by this seed" },
    { .name = "path_max", .type = FL_OPT_INT, .off = offsetof(struct source, path_max), .def = "512", .min = 16, .max = 4096,
      .help = "room for a path in the batch, with its end; a longer path is refused" },
    { 0 }
};

static const struct fl_spec source_out[] = {
    { "id", "u8", "B,64", 0 },
    { "ordinal", "u64", "B", 0 },
    { "epoch", "u32", "B", 0 },
    { "position", "u64", "B", 0 },
    { "path", "u8", "B,path_max", 0 },
    { "span", "u64", "B,2", FL_OPTIONAL },
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
