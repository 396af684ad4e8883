/* forward: tiles and their views through k sets of weights of one network.
 *
 * Takes pixels [B,H,W,C] and view [B,V,5] (rows {g, x0, y0, w, h}, see input.h), or input [B,V,C,S,S], views that augment has painted and
 * normalised as norm says; gives prob [B,V,K,L], the sigmoid of the logits
 * (softmax over the exclusive labels where the manifest says so).
 * The network runs at one fixed number of rows, and a view's place among them follows from its tile's place in the batch alone: so a
 * tile's numbers can't depend on what else is in the batch or what was rejected. Rejected tiles and short batches leave rows of zeros. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/dtype.h"
#include "runtime/stage.h"
#include "stages/forward/device.h"
#include "stages/forward/input.h"
#include "stages/forward/plan.h"

#define FORWARD_PRECISIONS "auto|f32|bf16|f16"                        /* option precision: 0, or 1 + enum fl_prec */
enum { FORWARD_RUNS, FORWARD_VIEWS, FORWARD_PADDED };                /* counters */

struct forward {
    char   **weights;
    char    *device;
    int      precision, adapt, mode;
    int64_t  rows;
    struct fl_plan plan;
    struct fl_device dev;
    int      prec;                       /* enum fl_prec */
    struct fl_input input;
    struct fl_prog  *prog;
    struct fl_snap **snaps;              /* [plan.k] */
    float   *logits;                     /* [rows][L]; where the device paints, [K][rows][L] */
    struct fl_fwd_row *row;              /* [rows], where the device paints */
};

/* One batch on its way. Tensors are copied out of the descriptor, which moves them when a row is rejected. */
struct forward_job {
    struct fl_batch *b;
    struct fl_tile   tile;               /* the first */
    size_t           tile_bytes;
    const float     *view;               /* [n][V][5], or NULL and: */
    const float     *painted;            /* [n][V][C][S][S] */
    uint32_t         V;
    float           *prob;               /* [n][V][K][L] */
};

/* ---- what the options decide ---- */

static int forward_plan(struct fl_ctx *ctx, struct fl_plan *plan)
{
    struct forward *s = ctx->state;
    struct fl_err err = { 0 };
    int code = fl_plan_make(s->weights, s->mode, s->adapt, plan, &err);
    return code != FL_OK ? fl_fail(ctx, code, "%s", err.text) : FL_OK;
}

/* Device and precision, as asked for or as this machine has them. */
static int forward_settle(struct fl_ctx *ctx, const struct fl_plan *plan)
{
    struct forward *s = ctx->state;
    struct fl_err err = { 0 };
    char passed[400];
    int code = fl_device_pick(s->device, &s->dev, passed, sizeof passed, &err);
    if (code == FL_OK)
        code = fl_device_precision(&s->dev, s->precision - 1, plan->proven, &s->prec, &err);
    if (code != FL_OK)
        return fl_fail(ctx, code, "%s", err.text);
    if (passed[0] != '\0')
        fl_info(ctx, "%s", passed);
    return FL_OK;
}

static struct fl_fwd_opts forward_opts_of(struct fl_ctx *ctx)
{
    const struct forward *s = ctx->state;
    return (struct fl_fwd_opts){ .rows = (uint32_t)s->rows, .threads = ctx->threads > 0 ? ctx->threads : 1, .device = s->dev.index, .prec = s->prec };
}

static int forward_say(struct fl_ctx *ctx, const struct fl_plan *plan)
{
    struct forward *s = ctx->state;
    struct fl_err err = { 0 };
    struct fl_fwd_memory m;
    struct fl_fwd_opts o = forward_opts_of(ctx);
    int code = s->dev.backend->memory(plan->net, &o, &m, &err);
    if (code != FL_OK)
        return fl_fail(ctx, code, "%s on %s: %s", plan->m.arch, s->dev.name, err.text);
    fl_set_memory(ctx, m.prog + plan->k * m.snap);
    fl_settle(ctx, "device", s->dev.name);
    fl_settle(ctx, "precision", fl_prec_name(s->prec));
    return FL_OK;
}

/* Nothing where a manifest doesn't say it: some of the files would look like all. */
static int forward_snapshots(struct fl_ctx *ctx, const struct fl_plan *plan)
{
    const char **digests = calloc(plan->k, sizeof *digests);
    uint32_t n = 0;
    for (uint32_t i = 0; digests != NULL && i < plan->k; i++)
        if (plan->sha256[i][0] != '\0')
            digests[n++] = plan->sha256[i];
    int code = digests == NULL ? fl_fail(ctx, FL_E_NOMEM, "no memory for %u digests", plan->k) : n == plan->k ? fl_set_snapshots(ctx, n, digests) : FL_OK;
    free(digests);
    return code;
}

static int forward_describe(struct fl_ctx *ctx)
{
    struct fl_plan plan;
    int code = forward_plan(ctx, &plan);
    if (code != FL_OK)
        return code;
    fl_bind(ctx, 'C', plan.channels);
    fl_bind(ctx, 'S', plan.m.size);
    fl_bind(ctx, 'K', plan.k);
    fl_bind(ctx, 'L', plan.m.nlabels);
    fl_bind_dtype(ctx, "pixels", plan.m.M == 255 ? FL_U8 : FL_U16);
    code = fl_set_labels(ctx, plan.m.nlabels, (const char *const *)plan.m.labels, plan.m.exclusive, plan.m.rest_off);
    if (code == FL_OK)
        code = forward_settle(ctx, &plan);
    if (code == FL_OK)
        code = forward_say(ctx, &plan);
    if (code == FL_OK)
        code = forward_snapshots(ctx, &plan);
    fl_plan_free(&plan);
    return code;
}

static bool forward_offers(uint32_t i, char *text, size_t n)
{
    char why[200] = "";
    const struct fl_backend *b = fl_device_backend(i, why, sizeof why);
    if (b == NULL)
        return false;
    int devices = b->probe != NULL ? b->probe(why, sizeof why) : -1, at;
    at = devices > 0 ? snprintf(text, n, "device %s: %s; precisions", b->name, why) : snprintf(text, n, "device %s: unavailable: %s", b->name, why);
    for (int prec = 0; devices > 0 && prec < FL_PREC_F64; prec++)
        if (b->takes(0, prec) && at > 0 && (size_t)at < n)
            at += snprintf(text + at, n - (size_t)at, " %s", fl_prec_name(prec));
    return true;
}

/* ---- opening ---- */

static void forward_alive(void *ctx) { fl_alive(ctx); }
static void forward_warn(void *ctx, const char *text) { fl_warn(ctx, "%s", text); }

static int forward_compile(struct fl_ctx *ctx)
{
    struct forward *s = ctx->state;
    struct fl_err err = { 0 };
    struct fl_fwd_opts o = forward_opts_of(ctx);
    o.alive = forward_alive;
    o.warn = forward_warn;
    o.of = ctx;
    if (s->prec != FL_PREC_F32 && !(s->plan.proven & 1u << s->prec))
        fl_warn(ctx, "precision: %s asked for, but not every manifest says %s_ok: its effect on these weights was not measured",
                fl_prec_name(s->prec), fl_prec_name(s->prec));
    int code = s->dev.backend->compile(s->plan.net, &o, &s->prog, &err);
    return code != FL_OK ? fl_fail(ctx, code, "%s on %s: %s", s->plan.m.arch, s->dev.name, err.text) : FL_OK;
}

static int forward_load(struct fl_ctx *ctx, uint32_t k)
{
    struct forward *s = ctx->state;
    struct fl_safetensors st;
    struct fl_adapted w;
    struct fl_err err = { 0 };
    int code = fl_safetensors_open(s->weights[k], &st, &err);
    bool open = code == FL_OK;
    if (open)
        code = fl_adapt_load(s->plan.net, &st, s->weights[k], s->plan.adapt, &w, &err);
    if (code == FL_OK) {
        code = s->dev.backend->load(s->prog, &w.weights, &s->snaps[k], &err);
        if (code != FL_OK)
            fl_err_context(&err, "%s", s->weights[k]);
        fl_adapt_free(&w);
    }
    if (open)
        fl_safetensors_close(&st);
    fl_alive(ctx);
    return code != FL_OK ? fl_fail(ctx, code, "%s", err.text) : FL_OK;
}

static int forward_open(struct fl_ctx *ctx)
{
    struct forward *s = ctx->state;
    struct fl_err err = { 0 };
    int code;
    if ((code = forward_plan(ctx, &s->plan)) != FL_OK || (code = forward_settle(ctx, &s->plan)) != FL_OK)
        return code;
    code = fl_input_init(&s->input, s->plan.m.size, s->plan.channels, s->plan.m.M, s->plan.mean, s->plan.std, &err);
    if (code != FL_OK)
        return fl_fail(ctx, code, "%s", err.text);
    s->snaps = calloc(s->plan.k, sizeof *s->snaps);
    s->logits = calloc((size_t)s->rows * s->plan.m.nlabels * s->plan.k, sizeof *s->logits);
    s->row = calloc((size_t)s->rows, sizeof *s->row);
    if (s->snaps == NULL || s->logits == NULL || s->row == NULL)
        return fl_fail(ctx, FL_E_NOMEM, "no memory for the logits of %lld rows", (long long)s->rows);
    if ((code = forward_compile(ctx)) != FL_OK)
        return code;
    for (uint32_t k = 0; k < s->plan.k; k++)
        if ((code = forward_load(ctx, k)) != FL_OK)
            return code;
    fl_info(ctx, "%s %ux%ux%u, %u set%s of weights, %u labels: device %s, %s, %lld rows, %u thread%s, input by %s", s->plan.m.arch,
            s->plan.channels, s->plan.m.size, s->plan.m.size, s->plan.k, s->plan.k == 1 ? "" : "s", s->plan.m.nlabels, s->dev.name,
            fl_prec_name(s->prec), (long long)s->rows, ctx->threads, ctx->threads == 1 ? "" : "s", fl_input_version(0));
    return FL_OK;
}

/* ---- batches ---- */

static int forward_check_pixels(struct fl_ctx *ctx, const struct fl_tensor *pixels)
{
    const struct forward *s = ctx->state;
    double M = pixels->dtype == FL_U8 ? 255 : 65535;
    if (M != s->plan.m.M)
        return fl_fail(ctx, FL_E_CONFIG, "pixels are %s (M %g), but %s was made for M %g", fl_dtype_name(pixels->dtype), M, s->weights[0],
                       s->plan.m.M);
    if (pixels->shape[3] != s->plan.channels)
        return fl_fail(ctx, FL_E_SHAPE, "pixels have %u channels, but %s wants %u", pixels->shape[3], s->weights[0], s->plan.channels);
    return FL_OK;
}

/* Painted views must be normalised as the weights want it, to the bit. */
static int forward_check_norm(struct fl_ctx *ctx, const struct fl_tensor *norm)
{
    const struct forward *s = ctx->state;
    const double *have = norm != NULL ? norm->data : NULL;
    uint32_t C = s->plan.channels;
    if (have == NULL)
        return fl_fail(ctx, FL_E_CONFIG, "painted views without a tensor norm: not normalised for a network (augment: out: f32)");
    for (uint32_t c = 0; c < C; c++)
        if (have[c] != s->plan.mean[c] || have[C + c] != s->plan.std[c])
            return fl_fail(ctx, FL_E_CONFIG, "band %u was normalised by mean %.9g and std %.9g, but %s wants %.9g and %.9g (augment: normalise)", c + 1, have[c],
                           have[C + c], s->weights[0], s->plan.mean[c], s->plan.std[c]);
    return FL_OK;
}

/* From planes to rows of pixels. */
static void forward_take_painted(const struct forward *s, const float *in, float *out)
{
    size_t n = (size_t)s->input.size * s->input.size;
    uint32_t C = s->input.channels;
    for (uint32_t c = 0; c < C; c++, in += n)
        for (size_t i = 0; i < n; i++)
            out[i * C + c] = in[i];
}

/* Writes row i of the network's input: view `index` of the batch, or zeros. */
static int forward_paint(struct fl_ctx *ctx, const struct forward_job *job, uint64_t index, float *out)
{
    struct forward *s = ctx->state;
    struct fl_err err = { 0 };
    uint32_t row = (uint32_t)(index / job->V), v = (uint32_t)(index % job->V);
    struct fl_window win;
    if (row < job->b->n && job->painted != NULL && !fl_rejected(job->b, row)) {
        forward_take_painted(s, job->painted + index * s->input.size * s->input.size * s->input.channels, out);
        return FL_OK;
    }
    if (row < job->b->n && !fl_rejected(job->b, row)) {
        struct fl_tile tile = job->tile;
        tile.pixels = (const unsigned char *)tile.pixels + row * job->tile_bytes;
        if (fl_window_read(job->view + index * 5, tile.h, tile.w, &win, &err) == FL_OK) {
            int code = fl_input_paint(&s->input, &tile, &win, out, &err);
            return code != FL_OK ? fl_fail(ctx, code, "%s: %s", fl_id(job->b, row), err.text) : FL_OK;
        }
        int code = fl_reject(ctx, job->b, row, FL_E_INPUT, "view %u: %s", v, err.text);
        if (code != FL_OK)
            return code;
    }
    memset(out, 0, (size_t)s->input.size * s->input.size * s->input.channels * sizeof *out);
    return FL_OK;
}

static int forward_take(struct fl_ctx *ctx, const struct forward_job *job, uint64_t index, uint32_t k, const float *logits)
{
    const struct forward *s = ctx->state;
    uint32_t L = s->plan.m.nlabels, row = (uint32_t)(index / job->V);
    float *out = job->prob + (index * s->plan.k + k) * L;
    for (uint32_t l = 0; l < L; l++)
        if (!isfinite(logits[l]))
            return fl_reject(ctx, job->b, row, FL_E_NUM, "view %u, %s: the logit of %s is %g", (uint32_t)(index % job->V), s->weights[k],
                             s->plan.m.labels[l], (double)logits[l]);
    fl_plan_probs(&s->plan.m, logits, out);
    return FL_OK;
}

static int forward_snap(struct fl_ctx *ctx, const struct forward_job *job, uint64_t first, uint32_t k)
{
    struct forward *s = ctx->state;
    struct fl_err err = { 0 };
    uint64_t views = (uint64_t)job->b->n * job->V;
    int code = s->dev.backend->run(s->prog, s->snaps[k], s->logits, &err);
    if (code != FL_OK)
        return fl_fail(ctx, code, "batch %llu, %s: %s", (unsigned long long)job->b->batch, s->weights[k], err.text);
    for (uint64_t i = 0; i < (uint64_t)s->rows && first + i < views && code == FL_OK; i++)
        if (!fl_rejected(job->b, (uint32_t)((first + i) / job->V)))
            code = forward_take(ctx, job, first + i, k, s->logits + i * s->plan.m.nlabels);
    fl_count(ctx, FORWARD_RUNS, 1);
    fl_alive(ctx);
    return code;
}

/* Views first .. first+rows-1 through every set of weights. */
static int forward_execute(struct fl_ctx *ctx, const struct forward_job *job, uint64_t first)
{
    struct forward *s = ctx->state;
    float *in = s->dev.backend->input(s->prog);
    size_t slot = (size_t)s->input.size * s->input.size * s->input.channels;
    uint64_t views = (uint64_t)job->b->n * job->V, used = 0;
    int code = FL_OK;
    for (uint64_t i = 0; i < (uint64_t)s->rows && code == FL_OK; i++) {
        code = forward_paint(ctx, job, first + i, in + i * slot);
        used += first + i < views && !fl_rejected(job->b, (uint32_t)((first + i) / job->V));
    }
    if (used == 0)
        return code;
    fl_count(ctx, FORWARD_VIEWS, used);
    fl_count(ctx, FORWARD_PADDED, (uint64_t)s->rows - used);
    for (uint32_t k = 0; k < s->plan.k && code == FL_OK; k++)
        code = forward_snap(ctx, job, first, k);
    return code;
}

/* ---- on a device that paints the views itself ---- */

struct forward_flight { uint64_t ticket, first; };

/* One row of an execution: view `index` of the batch, or blank. Tiles count from `from`. */
static int forward_row(struct fl_ctx *ctx, const struct forward_job *job, uint64_t index, uint32_t from, struct fl_fwd_row *out)
{
    struct fl_err err = { 0 };
    struct fl_window win;
    uint32_t row = (uint32_t)(index / job->V);
    *out = (struct fl_fwd_row){ .tile = FL_FWD_BLANK };
    if (row >= job->b->n || fl_rejected(job->b, row))
        return FL_OK;
    if (fl_window_read(job->view + index * 5, job->tile.h, job->tile.w, &win, &err) != FL_OK)
        return fl_reject(ctx, job->b, row, FL_E_INPUT, "view %u: %s", (uint32_t)(index % job->V), err.text);
    *out = (struct fl_fwd_row){ row - from, win.g, win.x0, win.y0, win.w, win.h };
    return FL_OK;
}

/* Starts views first .. first+rows-1; *started is false when none of them is to be seen. */
static int forward_submit(struct fl_ctx *ctx, const struct forward_job *job, uint64_t first, struct forward_flight *f, bool *started)
{
    struct forward *s = ctx->state;
    struct fl_err err = { 0 };
    uint64_t last = first + (uint64_t)s->rows - 1, end = (uint64_t)job->b->n * job->V, used = 0;
    uint32_t from = (uint32_t)(first / job->V), to = (uint32_t)((last < end ? last : end - 1) / job->V);
    int code = FL_OK;
    for (uint32_t i = 0; i < (uint32_t)s->rows && code == FL_OK; i++) {
        code = forward_row(ctx, job, first + i, from, &s->row[i]);
        used += s->row[i].tile != FL_FWD_BLANK;
    }
    *started = false;
    if (code != FL_OK || used == 0)
        return code;
    struct fl_fwd_views v = { (const unsigned char *)job->tile.pixels + from * job->tile_bytes, to - from + 1, job->tile.h, job->tile.w,
                              job->tile.dtype == FL_U16, s->row, s->input.mul, s->input.add };
    code = s->dev.backend->submit(s->prog, s->snaps, s->plan.k, &v, &f->ticket, &err);
    if (code != FL_OK)
        return fl_fail(ctx, code, "batch %llu: %s", (unsigned long long)job->b->batch, err.text);
    f->first = first;
    *started = true;
    fl_count(ctx, FORWARD_VIEWS, used);
    fl_count(ctx, FORWARD_PADDED, (uint64_t)s->rows - used);
    return FL_OK;
}

/* Takes the logits of an execution; after a failure it only waits, since the device still reads the tiles. */
static int forward_land(struct fl_ctx *ctx, const struct forward_job *job, const struct forward_flight *f, int before)
{
    struct forward *s = ctx->state;
    struct fl_err err = { 0 };
    uint64_t views = (uint64_t)job->b->n * job->V;
    int code = s->dev.backend->wait(s->prog, f->ticket, s->logits, &err);
    if (before != FL_OK)
        return before;
    if (code != FL_OK)
        return fl_fail(ctx, code, "batch %llu: %s", (unsigned long long)job->b->batch, err.text);
    for (uint32_t k = 0; k < s->plan.k; k++)
        for (uint64_t i = 0; i < (uint64_t)s->rows && f->first + i < views && code == FL_OK; i++)
            if (!fl_rejected(job->b, (uint32_t)((f->first + i) / job->V)))
                code = forward_take(ctx, job, f->first + i, k, s->logits + ((uint64_t)k * (uint64_t)s->rows + i) * s->plan.m.nlabels);
    fl_count(ctx, FORWARD_RUNS, s->plan.k);
    fl_alive(ctx);
    return code;
}

/* All views of a batch: the next execution is started before the last one is waited for. */
static int forward_fly(struct fl_ctx *ctx, const struct forward_job *job)
{
    struct forward *s = ctx->state;
    struct forward_flight f[FL_FWD_DEPTH];
    uint32_t open = 0;
    int code = FL_OK;
    for (uint64_t first = 0; first < (uint64_t)job->b->n * job->V && code == FL_OK; first += (uint64_t)s->rows) {
        if (open == FL_FWD_DEPTH) {
            code = forward_land(ctx, job, &f[0], code);
            f[0] = f[--open];
        }
        bool started = false;
        if (code == FL_OK)
            code = forward_submit(ctx, job, first, &f[open], &started);
        open += started;
    }
    for (uint32_t i = 0; i < open; i++)
        code = forward_land(ctx, job, &f[i], code);
    return code;
}

static int forward_inputs(struct fl_ctx *ctx, struct forward_job *job)
{
    const struct fl_batch *b = job->b;
    const struct fl_tensor *pixels = fl_in(b, "pixels"), *view = fl_in(b, "view"), *input = fl_in(b, "input");
    if (input != NULL) {
        job->painted = input->data;
        job->V = input->shape[1];
        return forward_check_norm(ctx, fl_in(b, "norm"));
    }
    if (pixels == NULL)
        return fl_fail(ctx, FL_E_PROTO, "batch %llu: views without pixels", (unsigned long long)b->batch);
    job->tile = (struct fl_tile){ pixels->data, pixels->dtype, pixels->shape[1], pixels->shape[2] };
    job->tile_bytes = (size_t)pixels->shape[1] * pixels->shape[2] * pixels->shape[3] * fl_dtype_size(pixels->dtype);
    job->view = view->data;
    job->V = view->shape[1];
    return forward_check_pixels(ctx, pixels);
}

static int forward_run(struct fl_ctx *ctx, struct forward_job *job)
{
    struct forward *s = ctx->state;
    const struct fl_batch *b = job->b;
    int code = forward_inputs(ctx, job);
    if (code != FL_OK)
        return code;
    uint32_t shape[4] = { b->n, job->V, s->plan.k, s->plan.m.nlabels };
    size_t tile_probs = (size_t)job->V * s->plan.k * s->plan.m.nlabels;
    job->prob = fl_out(ctx, job->b, "prob", FL_F32, 4, shape);
    if (job->prob == NULL)
        return FL_E_BUG;
    memset(job->prob, 0, b->n * tile_probs * sizeof *job->prob);
    bool fly = s->dev.backend->submit != NULL && job->view != NULL;
    if (fly)
        code = forward_fly(ctx, job);
    for (uint64_t first = 0; !fly && first < (uint64_t)b->n * job->V && code == FL_OK; first += (uint64_t)s->rows)
        code = forward_execute(ctx, job, first);
    for (uint32_t row = 0; row < b->n; row++)      /* what was computed before a later view failed */
        if (fl_rejected(b, row))
            memset(job->prob + row * tile_probs, 0, tile_probs * sizeof *job->prob);
    return code;
}

static int forward_batch(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct forward_job job = { .b = b };
    int code = forward_run(ctx, &job);
    if (code != FL_OK) {
        fl_free(ctx, &b);
        return code;
    }
    return fl_emit(ctx, &b);
}

static void forward_close(struct fl_ctx *ctx)
{
    struct forward *s = ctx->state;
    for (uint32_t k = 0; s->snaps != NULL && k < s->plan.k; k++)
        if (s->snaps[k] != NULL)
            s->dev.backend->snap_free(s->snaps[k]);
    if (s->prog != NULL)
        s->dev.backend->prog_free(s->prog);
    free(s->snaps);
    free(s->logits);
    free(s->row);
    fl_input_done(&s->input);
    fl_plan_free(&s->plan);
}

static const struct fl_opt forward_opts[] = {
    { .name = "weights", .type = FL_OPT_PATHS, .off = offsetof(struct forward, weights), .required = 1,
      .help = "Weights of one network: NAME.safetensors, each with its manifest NAME.json beside it; several are snapshots" },
    { .name = "device", .type = FL_OPT_STR, .off = offsetof(struct forward, device), .def = "auto",
      .help = "auto, cpu (oneDNN), cuda or cuda:N (cuDNN), ref (plain C); auto takes the first of cuda, cpu, ref that can be used, once for the whole run" },
    { .name = "precision", .type = FL_OPT_CHOICE, .off = offsetof(struct forward, precision), .def = "auto", .choices = FORWARD_PRECISIONS,
      .help = "Arithmetic; auto is f16 or bf16 where the device computes in it and every manifest says so (bf16_ok, f16_ok), else f32" },
    { .name = "rows", .type = FL_OPT_INT, .off = offsetof(struct forward, rows), .def = "64", .min = 1, .max = 4096,
      .help = "Rows (tiles times views) of one execution of the network; short ones are padded with zeros" },
    { .name = "mode", .type = FL_OPT_CHOICE, .off = offsetof(struct forward, mode), .def = "manifest", .choices = FL_PLAN_MODES,
      .help = "Bands of the tiles; rgbn with weights for rgb gives the network a fourth channel" },
    { .name = "channels_adapt", .type = FL_OPT_CHOICE, .off = offsetof(struct forward, adapt), .def = "zero", .choices = "zero|mean|timm",
      .help = "Weights of that fourth channel: zeros, the mean of the three, or a copy of the first (the last two scale all by 3/4)" },
    { 0 },
};

static const struct fl_port forward_ports[] = {
    { "in", FL_IN, (const struct fl_spec[]){ { "pixels", "u8|u16", "B,H,W,C", FL_OPTIONAL | FL_TAKEN }, { "view", "f32", "B,V,5", FL_EITHER | FL_TAKEN },
                                             { "input", "f32", "B,V,C,S,S", FL_EITHER | FL_TAKEN }, { "norm", "f64", "2,C", FL_OPTIONAL | FL_TAKEN }, { 0 } } },
    { "out", FL_OUT, (const struct fl_spec[]){ { "prob", "f32", "B,V,K,L", 0 }, { 0 } } },
    { 0 },
};

static const char *const forward_counters[] = { "runs", "views", "padded", NULL };

const struct fl_stage fl_stage_forward = {
    .name = "forward",
    .help = "Runs tiles and their views through one network with one or several sets of weights.",
    .state_size = sizeof(struct forward),
    .opts = forward_opts,
    .ports = forward_ports,
    .counters = forward_counters,
    .threads = true,
    .describe = forward_describe,
    .offers = forward_offers,
    .open = forward_open,
    .batch = forward_batch,
    .close = forward_close,
};
