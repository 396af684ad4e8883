/* stack_fit: the end of a graph over `predictions` that fits second levels (docs/second-level.md).
 *
 * Takes prob f32 [B,L] or models f32 [B,P,L] with truth u8 [B,L] and fold u8 [B]. Collects all rows; when the input has ended it fits one
 * configuration, or all of a matrix, fold by fold, several at a time. Rows are kept in RUN/NAME.rows before a batch is acknowledged and until all is
 * fitted, so a stage that is started again has them; of configurations those that are not yet there are fitted. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/merge.h"
#include "runtime/stage.h"
#include "stages/stack_fit/jobs.h"
#include "stages/stack_fit/rows.h"

#define FIT_PATH 4200

enum { FIT_ROWS, FIT_REJECTED, FIT_DONE, FIT_FAILED };

struct stack_fit {
    struct fl_l2_conf conf;            /* first: the options of the configuration are those of fl_l2_conf_opts */
    char   **models;
    json_t  *matrix;
    char    *out;
    int      order, oof;
    char   **sorted;                   /* the models by name */
    uint32_t M, *to;                   /* where the j-th that arrives stands among them */
    struct fit_rows rows;
    bool     fitted;                   /* all of them: the rows aren't needed any more */
};

static int fit_err(struct fl_ctx *ctx, const struct fl_err *err) { return fl_fail(ctx, err->code, "%s", err->text); }

static int fit_name_order(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static int fit_models(struct fl_ctx *ctx)
{
    struct stack_fit *s = ctx->state;
    while (s->models != NULL && s->models[s->M] != NULL)
        s->M++;
    if (s->models == NULL || s->M == 0)
        return FL_OK;
    s->sorted = calloc(s->M, sizeof *s->sorted);
    s->to = calloc(s->M, sizeof *s->to);
    if (s->sorted == NULL || s->to == NULL)
        return fl_fail(ctx, FL_E_NOMEM, "%u models", s->M);
    memcpy(s->sorted, s->models, s->M * sizeof *s->sorted);
    qsort(s->sorted, s->M, sizeof *s->sorted, fit_name_order);
    for (uint32_t j = 0; j + 1 < s->M; j++)
        if (strcmp(s->sorted[j], s->sorted[j + 1]) == 0)
            return fl_fail(ctx, FL_E_CONFIG, "models: %s is there twice", s->sorted[j]);
    for (uint32_t j = 0; j < s->M; j++)
        while (strcmp(s->sorted[s->to[j]], s->models[j]) != 0)
            s->to[j]++;
    return FL_OK;
}

static int fit_check(struct fl_ctx *ctx, struct fit_grid *grid)
{
    struct stack_fit *s = ctx->state;
    struct fl_err err = { 0 };
    const char *dot = strrchr(s->out, '.');
    int rc = dot != NULL && strcmp(dot, ".json") == 0 ? fit_models(ctx) : fl_fail(ctx, FL_E_CONFIG, "out: want DIR/NAME.json, got %s", s->out);
    if (rc == FL_OK && fit_grid(&s->conf, s->matrix, s->M, s->sorted, grid, &err) != FL_OK)
        rc = fit_err(ctx, &err);
    return rc;
}

/* Where the rows are kept; "" without a run directory, or when it is too long. */
static const char *fit_rows_path(const struct fl_ctx *ctx, char path[FIT_PATH])
{
    path[0] = '\0';
    if (ctx->run_dir != NULL && snprintf(path, FIT_PATH, "%s/%s.rows", ctx->run_dir, ctx->name) >= FIT_PATH)
        path[0] = '\0';
    return path;
}

static void fit_close(struct fl_ctx *ctx)
{
    struct stack_fit *s = ctx->state;
    char path[FIT_PATH];
    if (s->fitted && *fit_rows_path(ctx, path) != '\0')
        unlink(path);
    free(s->sorted);
    free(s->to);
    s->sorted = NULL;
    s->to = NULL;
    s->M = 0;
    fit_rows_done(&s->rows);
}

static int fit_describe(struct fl_ctx *ctx)
{
    struct stack_fit *s = ctx->state;
    struct fit_grid grid = { 0 };
    s->rows.fd = -1;
    int rc = fit_check(ctx, &grid);
    fit_grid_done(&grid);
    fit_close(ctx);                    /* describe has no close of its own */
    return rc;
}

static int fit_open(struct fl_ctx *ctx)
{
    struct stack_fit *s = ctx->state;
    struct fl_err err = { 0 };
    char path[FIT_PATH];
    s->rows.fd = -1;
    int rc = fit_models(ctx);
    if (rc == FL_OK && s->M == 0)
        rc = fl_fail(ctx, FL_E_CONFIG, "models: what those that arrive are called isn't known");
    if (rc != FL_OK)
        return rc;
    if (*fit_rows_path(ctx, path) == '\0' && ctx->run_dir != NULL)
        return fl_fail(ctx, FL_E_CONFIG, "%.200s...: a path over 4096 bytes", ctx->run_dir);
    return fit_rows_open(&s->rows, ctx->run_dir != NULL ? path : NULL, s->M, ctx->nlabels, &err) == FL_OK ? FL_OK : fit_err(ctx, &err);
}

/* ---- a batch ---- */

static int fit_take_row(struct fl_ctx *ctx, const struct fl_batch *b, uint32_t i, const float *p, uint64_t at)
{
    struct stack_fit *s = ctx->state;
    struct fit_rows *r = &s->rows;
    uint32_t L = ctx->nlabels;
    size_t P = (size_t)s->M * L, bad = fl_prob_first_bad(p, P);
    if (bad < P)
        return fl_fail(ctx, FL_E_NUM, "%s, model %s, label %s: %g is not a probability", fl_id(b, i), s->models[bad / L], ctx->labels[bad % L], (double)p[bad]);
    memcpy(r->ids[at], fl_id(b, i), sizeof r->ids[at]);
    memcpy(&r->ordinal[at], (const char *)fl_in(b, "ordinal")->data + i * sizeof r->ordinal[at], sizeof r->ordinal[at]);
    memcpy(r->y + at * L, (const uint8_t *)fl_in(b, "truth")->data + (size_t)i * L, L);
    r->fold[at] = ((const uint8_t *)fl_in(b, "fold")->data)[i];
    for (uint32_t j = 0; j < s->M; j++)
        memcpy(r->x + at * P + (size_t)s->to[j] * L, p + (size_t)j * L, L * sizeof *p);
    return FL_OK;
}

/* The good rows behind those that are there, `n` of them; they are kept only when they are counted. */
static int fit_put(struct fl_ctx *ctx, const struct fl_batch *b, uint64_t *n)
{
    struct stack_fit *s = ctx->state;
    struct fl_err err = { 0 };
    const struct fl_tensor *t = fl_in(b, "models") != NULL ? fl_in(b, "models") : fl_in(b, "prob");
    uint32_t P = t->ndim == 3 ? t->shape[1] : 1;
    *n = 0;
    if (P != s->M)
        return fl_fail(ctx, FL_E_LABEL, "%u models, but %u names", P, s->M);
    int rc = fit_rows_room(&s->rows, b->n, &err) == FL_OK ? FL_OK : fit_err(ctx, &err);
    for (uint32_t i = 0; rc == FL_OK && i < b->n; i++)
        if (!fl_rejected(b, i))
            rc = fit_take_row(ctx, b, i, (const float *)t->data + (size_t)i * P * ctx->nlabels, s->rows.n + (*n)++);
    return rc;
}

static int fit_trial(struct fl_ctx *ctx, struct fl_batch *b)
{
    uint64_t n;
    return fit_put(ctx, b, &n);
}

static int fit_take(struct fl_ctx *ctx, const struct fl_batch *b)
{
    struct stack_fit *s = ctx->state;
    struct fl_err err = { 0 };
    uint64_t n;
    int rc = fit_put(ctx, b, &n);
    if (rc == FL_OK && fit_rows_keep(&s->rows, b->batch, n, &err) != FL_OK)
        rc = fit_err(ctx, &err);
    fl_count(ctx, FIT_ROWS, n);
    fl_count(ctx, FIT_REJECTED, b->n - n);
    return rc;
}

static int fit_batch(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct stack_fit *s = ctx->state;
    int rc = fit_rows_has(&s->rows, b->batch) ? FL_OK : fit_take(ctx, b);
    if (rc == FL_OK)
        rc = fl_ack_batch(ctx, b);
    fl_free(ctx, &b);
    return rc;
}

/* ---- the fit ---- */

static void fit_alive(void *user) { fl_alive(user); }
static void fit_told(void *user, const char *line) { fl_info(user, "%s", line); }

static int fit_tell(struct fl_ctx *ctx, const struct fit_grid *grid, const struct fit_result *r, uint32_t best)
{
    const struct stack_fit *s = ctx->state;
    uint32_t failed = 0, first = 0;
    for (uint32_t i = 0; i < grid->n; i++) {
        if (r[i].dropped > 0)
            fl_warn(ctx, "%s: %u columns are constant and were left out", grid->c[i].name, r[i].dropped);
        if (r[i].unsettled[0] != '\0')
            fl_warn(ctx, "%s: %s", grid->c[i].name, r[i].unsettled);
        if (r[i].state == 3 && failed++ == 0)
            first = i;
    }
    fl_count(ctx, FIT_DONE, grid->n - failed);
    fl_count(ctx, FIT_FAILED, failed);
    if (best < grid->n) {
        fl_result(ctx, "log_loss", r[best].cross_fitted.log_loss);
        fl_result(ctx, "f2", r[best].cross_fitted.f2);
        fl_result(ctx, "f2_exact", r[best].cross_fitted.f2_exact);
    }
    if (failed > 0)
        return fl_fail(ctx, FL_E_NUM, "%u of %u configurations can't be fitted (%s tells which), the first: %s: %s", failed, grid->n, s->out, grid->c[first].name, r[first].why);
    return FL_OK;
}

static int fit_go(struct fl_ctx *ctx, const struct fit_grid *grid)
{
    struct stack_fit *s = ctx->state;
    struct fl_l2_data d = { .n = (uint32_t)s->rows.n, .M = s->M, .L = ctx->nlabels, .x = s->rows.x, .y = s->rows.y, .fold = s->rows.fold };
    struct fl_err err = { 0 };
    uint32_t best;
    for (uint32_t i = 0; i < d.n; i++)
        d.K = s->rows.fold[i] >= d.K ? s->rows.fold[i] + 1u : d.K;
    if (fl_l2_check(&d, &err) != FL_OK)
        return fit_err(ctx, &err);
    struct fit_result *r = calloc(grid->n, sizeof *r);
    if (r == NULL)
        return fl_fail(ctx, FL_E_NOMEM, "%u configurations", grid->n);
    const struct fit_jobs jobs = {
        .d = &d, .names = { s->sorted, (char *const *)(uintptr_t)ctx->labels, ctx->exclusive, ctx->rest_off }, .ids = s->rows.ids, .grid = grid,
        .threads = ctx->threads, .order = s->order, .oof = s->oof, .out = s->out, .alive = fit_alive, .told = fit_told, .user = ctx,
    };
    int rc = fit_jobs_run(&jobs, r, &best, &err) == FL_OK ? fit_tell(ctx, grid, r, best) : fit_err(ctx, &err);
    free(r);
    return rc;
}

static int fit_drain(struct fl_ctx *ctx)
{
    struct stack_fit *s = ctx->state;
    struct fit_grid grid;
    struct fl_err err = { 0 };
    if (ctx->partial)
        return FL_OK;
    if (fit_rows_sort(&s->rows, &err) != FL_OK || fit_grid(&s->conf, s->matrix, s->M, s->sorted, &grid, &err) != FL_OK)
        return fit_err(ctx, &err);
    int rc = fit_go(ctx, &grid);
    fit_grid_done(&grid);
    s->fitted = rc == FL_OK;           /* close comes after the supervisor knows it */
    return rc;
}

static const struct fl_opt fit_opts[] = {
    { .name = "out", .type = FL_OPT_OUT, .off = offsetof(struct stack_fit, out), .required = 1, .beside = 1,
      .help = "DIR/TABLE.json: all configurations, best first (TABLE.csv and TABLE.txt beside it). Of configuration NAME beside it: NAME.safetensors, the fitted "
              "model; NAME.json, its scores; NAME.h5, its out-of-fold predictions. One whose files are there is not fitted again." },
#include "stages/level2/conf_opts.h"
    { .name = "matrix", .type = FL_OPT_JSON, .off = offsetof(struct stack_fit, matrix),
      .help = "Configurations: a map of the options above whose values may be lists, one configuration for each combination, or a list of such maps. `threads` of "
              "the entry says how many are fitted at once." },
    { .name = "sort", .type = FL_OPT_CHOICE, .off = offsetof(struct stack_fit, order), .def = "log_loss", .choices = FIT_ORDERS, .help = "The cross-fitted score by which the table is sorted." },
    { .name = "oof", .type = FL_OPT_CHOICE, .off = offsetof(struct stack_fit, oof), .def = "h5", .choices = FIT_OOFS, .help = "The form of the out-of-fold predictions' files." },
    { .name = "models", .type = FL_OPT_LIST, .off = offsetof(struct stack_fit, models), .help = "What the models are called that arrive. Not given: as the source says." },
    { 0 }
};

static const struct fl_spec fit_in_tensors[] = {
    { "id", "u8", "B,64", 0 },
    { "ordinal", "u64", "B", 0 },
    { "prob", "f32", "B,L", FL_EITHER },
    { "models", "f32", "B,P,L", FL_EITHER },
    { "truth", "u8", "B,L", 0 },
    { "fold", "u8", "B", 0 },
    { 0 }
};

static const struct fl_port fit_ports[] = { { "in", FL_IN | FL_AGAIN, fit_in_tensors }, { 0 } };

static const char *const fit_counters[] = { "rows", "rejected", "fitted", "failed", NULL };

extern const struct fl_stage fl_stage_stack_fit;
const struct fl_stage fl_stage_stack_fit = {
    .name = "stack_fit",
    .help = "Fits second levels on out-of-fold predictions, one or a matrix of configurations.",
    .state_size = sizeof(struct stack_fit),
    .opts = fit_opts,
    .ports = fit_ports,
    .counters = fit_counters,
    .describe = fit_describe,
    .open = fit_open,
    .batch = fit_batch,
    .trial = fit_trial,
    .drain = fit_drain,
    .close = fit_close,
};
